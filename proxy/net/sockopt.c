/* sockopt.c - options, addresses and peer credentials of sockets; see sockopt.h.  Any thread. */
#include "proxy/net/sockopt.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/un.h>

struct option {
    int level, name, value;
    const char *text;
};

static bool is_inet(int fd)
{
    int family = AF_UNSPEC;
    socklen_t len = sizeof(family);
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len) != 0)
        return false;
    return family == AF_INET || family == AF_INET6;
}

enum status sockopt_tune(int fd, const struct sockopt_tcp *o, struct error *err)
{
    return is_inet(fd) ? sockopt_tune_tcp(fd, o, err) : ST_OK;
}

enum status sockopt_tune_tcp(int fd, const struct sockopt_tcp *o, struct error *err)
{
    int alive = o->keepalive ? 1 : 0;
    const struct option all[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY"},
        {SOL_SOCKET, SO_KEEPALIVE, alive, "SO_KEEPALIVE"},
        {IPPROTO_TCP, TCP_KEEPCNT, alive * o->keepcnt, "TCP_KEEPCNT"},
        {IPPROTO_TCP, TCP_KEEPIDLE, alive * o->keepidle_s, "TCP_KEEPIDLE"},
        {IPPROTO_TCP, TCP_KEEPINTVL, alive * o->keepintvl_s, "TCP_KEEPINTVL"},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, o->user_timeout_ms, "TCP_USER_TIMEOUT"},
        {SOL_SOCKET, SO_SNDBUF, o->buffer, "SO_SNDBUF"},
        {SOL_SOCKET, SO_RCVBUF, o->buffer, "SO_RCVBUF"},
    };
    enum status st = ST_OK;
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        const struct option *x = &all[i];
        if (x->value <= 0)
            continue; /* a fresh socket has the default already */
        if (setsockopt(fd, x->level, x->name, &x->value, sizeof(x->value)) != 0 && st == ST_OK)
            st = error_set(err, ST_IO, "cannot set %s to %d: %s", x->text, x->value,
                           strerrordesc_np(errno));
    }
    return st;
}

enum status sockopt_peer_cred(int fd, struct sockopt_cred *out, struct error *err)
{
    struct ucred uc;
    socklen_t len = sizeof(uc);
    memset(out, 0, sizeof(*out));
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &uc, &len) != 0)
        return error_set(err, ST_IO, "cannot read the peer's credentials: %s",
                         strerrordesc_np(errno));
    /* not a Unix socket, or never connected: the kernel says pid 0 and uid -1 */
    if (len < sizeof(uc) || uc.uid == (uid_t)-1)
        return error_set(err, ST_MISSING, "the peer has no credentials");
    out->uid = uc.uid;
    out->gid = uc.gid;
    out->pid = uc.pid;
    return ST_OK;
}

enum status sockopt_user_name(uint32_t uid, char *dst, size_t cap, struct error *err)
{
    char mem[16384];
    struct passwd pw, *found = NULL;
    dst[0] = '\0';
    int rc = getpwuid_r(uid, &pw, mem, sizeof(mem), &found);
    if (rc != 0)
        return error_set(err, ST_IO, "cannot look up user id %u: %s", uid, strerrordesc_np(rc));
    if (found == NULL)
        return error_set(err, ST_MISSING, "user id %u has no name", uid);
    if (!str_copy(dst, cap, str_of(found->pw_name))) {
        dst[0] = '\0'; /* half a name is somebody else's */
        return error_set(err, ST_LIMIT, "the name of user id %u is too long", uid);
    }
    return ST_OK;
}

uint16_t sockopt_format(const struct sockaddr *sa, int unix_pid, char *dst, size_t cap)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    dst[0] = '\0';
    if (sa->sa_family == AF_INET) {
        memcpy(&v4, sa, sizeof(v4));
        inet_ntop(AF_INET, &v4.sin_addr, dst, (socklen_t)cap);
        return ntohs(v4.sin_port);
    }
    if (sa->sa_family == AF_INET6) {
        memcpy(&v6, sa, sizeof(v6));
        inet_ntop(AF_INET6, &v6.sin6_addr, dst, (socklen_t)cap);
        return ntohs(v6.sin6_port);
    }
    if (sa->sa_family == AF_UNIX)
        snprintf(dst, cap, "unix(%d)", unix_pid);
    else
        snprintf(dst, cap, "unknown");
    return 0;
}

static bool parse_scope(const char *scope, uint32_t *id)
{
    int64_t n = 0;
    *id = if_nametoindex(scope);
    if (*id != 0)
        return true;
    if (!str_to_i64(str_of(scope), 1, UINT32_MAX, &n))
        return false;
    *id = (uint32_t)n;
    return true;
}

static bool parse_v6(struct str text, uint16_t port, struct sockaddr_in6 *v6)
{
    char mem[INET6_ADDRSTRLEN + IF_NAMESIZE + 1];
    if (text.n >= 2 && text.p[0] == '[' && text.p[text.n - 1] == ']')
        text = (struct str){text.p + 1, text.n - 2};
    if (!str_copy(mem, sizeof(mem), text) || memchr(text.p, 0, text.n) != NULL)
        return false;
    memset(v6, 0, sizeof(*v6));
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    char *scope = strchr(mem, '%');
    if (scope != NULL) {
        *scope++ = '\0';
        if (!parse_scope(scope, &v6->sin6_scope_id))
            return false;
    }
    return inet_pton(AF_INET6, mem, &v6->sin6_addr) == 1;
}

bool sockopt_parse(struct str text, uint16_t port, struct sockaddr_storage *out, uint32_t *len)
{
    char mem[INET_ADDRSTRLEN];
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    memset(out, 0, sizeof(*out));
    memset(&v4, 0, sizeof(v4));
    *len = 0;
    if (text.n == 0)
        return false;
    if (str_copy(mem, sizeof(mem), text) && memchr(text.p, 0, text.n) == NULL &&
        inet_pton(AF_INET, mem, &v4.sin_addr) == 1) {
        v4.sin_family = AF_INET;
        v4.sin_port = htons(port);
        memcpy(out, &v4, sizeof(v4));
        *len = sizeof(v4);
        return true;
    }
    if (!parse_v6(text, port, &v6))
        return false;
    memcpy(out, &v6, sizeof(v6));
    *len = sizeof(v6);
    return true;
}

enum status sockopt_unix_addr(const char *dir, uint16_t port, struct sockaddr_storage *out,
                              uint32_t *len, struct error *err)
{
    struct sockaddr_un un;
    memset(&un, 0, sizeof(un));
    memset(out, 0, sizeof(*out));
    *len = 0;
    un.sun_family = AF_UNIX;
    int n = snprintf(un.sun_path, sizeof(un.sun_path), "%s/.s.PGSQL.%u", dir, port);
    if (n < 0 || (size_t)n >= sizeof(un.sun_path))
        return error_set(err, ST_LIMIT,
                         "Unix socket path in \"%s\" is too long (at most %zu bytes)", dir,
                         sizeof(un.sun_path) - 1);
    *len = (uint32_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n + 1);
    if (un.sun_path[0] == '@') {
        un.sun_path[0] = '\0';
        (*len)--; /* an abstract name is its bytes, a trailing zero would belong to it */
    }
    memcpy(out, &un, sizeof(un));
    return ST_OK;
}

uint32_t sockopt_len(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET)
        return sizeof(struct sockaddr_in);
    if (sa->sa_family == AF_INET6)
        return sizeof(struct sockaddr_in6);
    if (sa->sa_family == AF_UNIX)
        return sizeof(struct sockaddr_un);
    return 0;
}

void sockopt_set_port(struct sockaddr_storage *ss, uint16_t port)
{
    /* the port is at the same place in both, but each is written through its own type */
    if (ss->ss_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, ss, sizeof(v4));
        v4.sin_port = htons(port);
        memcpy(ss, &v4, sizeof(v4));
    } else if (ss->ss_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, ss, sizeof(v6));
        v6.sin6_port = htons(port);
        memcpy(ss, &v6, sizeof(v6));
    }
}
