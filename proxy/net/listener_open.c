/* listener_open.c - makes listening sockets from configuration; see listener_open.h.  Main
 * thread. */
#include "proxy/net/listener_open.h"

#include <errno.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define HOST_CAP 256

/* ---- sockets that are there already ---------------------------------------------------------- */

/* Only the part that counts is compared: of a Unix address what the kernel says of its length. */
static bool has_address(int fd, const struct sockaddr_storage *want)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    memset(&ss, 0, sizeof(ss));
    return getsockname(fd, (struct sockaddr *)&ss, &len) == 0 && memcmp(&ss, want, sizeof(ss)) == 0;
}

/* A given socket with that address, which is the caller's from now on; -1: none. */
static int take_given(const struct listener_given *g, const struct sockaddr_storage *ss)
{
    for (int i = 0; i < g->n; i++) {
        int fd = g->fds[i];
        if (fd < 0 || !has_address(fd, ss))
            continue;
        g->fds[i] = -1;
        return fd;
    }
    return -1;
}

static bool is_listening(int fd)
{
    int on = 0, type = 0;
    socklen_t len = sizeof(on);
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) != 0 || !on)
        return false;
    len = sizeof(type);
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM;
}

static enum status add_given(int fd, struct listener_socket *s, struct error *err)
{
    socklen_t len = sizeof(s->addr);
    memset(s, 0, sizeof(*s));
    s->fd = fd;
    if (!is_listening(fd) || getsockname(fd, (struct sockaddr *)&s->addr, &len) != 0)
        return error_set(err, ST_INVALID, "descriptor %d is no listening stream socket", fd);
    if (s->addr.ss_family != AF_UNIX && s->addr.ss_family != AF_INET &&
        s->addr.ss_family != AF_INET6)
        return error_set(err, ST_INVALID, "descriptor %d listens on an address of unknown kind",
                         fd);
    s->kind = s->addr.ss_family == AF_UNIX ? LISTENER_UNIX : LISTENER_TCP;
    return ST_OK;
}

enum status listener_open_given(const struct listener_config *cfg, struct listener_socket *list,
                                int *n, struct error *err)
{
    for (int i = 0; i < cfg->given.n; i++) {
        if (*n == LISTENER_SOCKETS_MAX)
            return error_set(err, ST_LIMIT, "too many addresses to listen on");
        struct listener_socket *s = &list[(*n)++];
        int fd = cfg->given.fds[i];
        cfg->given.fds[i] = -1;
        enum status st = add_given(fd, s, err);
        if (st != ST_OK)
            return st;
        if (s->kind == LISTENER_TCP && cfg->defer_accept_s > 0)
            listener_open_defer(s->fd, cfg->defer_accept_s);
    }
    return ST_OK;
}

/* ---- TCP ------------------------------------------------------------------------------------- */

void listener_open_defer(int fd, int seconds)
{
    (void)setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof(seconds));
}

static bool set_on(int fd, int level, int name)
{
    int on = 1;
    return setsockopt(fd, level, name, &on, sizeof(on)) == 0;
}

/* Returns the descriptor or -1 with errno. */
static int tcp_socket(const struct listener_config *cfg, const struct sockaddr_storage *ss)
{
    int fd = socket(ss->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (!set_on(fd, SOL_SOCKET, SO_REUSEADDR) ||
        (cfg->reuseport && !set_on(fd, SOL_SOCKET, SO_REUSEPORT)) ||
        (ss->ss_family == AF_INET6 && !set_on(fd, IPPROTO_IPV6, IPV6_V6ONLY)) ||
        bind(fd, (const struct sockaddr *)ss, sockopt_len((const struct sockaddr *)ss)) != 0)
        goto fail;
    if (cfg->defer_accept_s > 0)
        listener_open_defer(fd, cfg->defer_accept_s);
    if (listen(fd, cfg->backlog) != 0)
        goto fail;
    return fd;
fail:;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

struct opening { /* one run over the listen_addr list */
    const struct listener_config *cfg;
    struct listener_socket *list;
    int *n;
    uint16_t port;
};

static bool already_there(const struct opening *o, const struct sockaddr_storage *ss)
{
    for (int i = 0; i < *o->n; i++)
        if (memcmp(&o->list[i].addr, ss, sizeof(*ss)) == 0)
            return true;
    return false;
}

/* Returns 0 or errno. */
static int add_tcp(struct opening *o, struct sockaddr_storage *ss)
{
    sockopt_set_port(ss, o->port);
    if (o->port != 0 && already_there(o, ss))
        return 0;
    if (*o->n == LISTENER_SOCKETS_MAX)
        return ENOSPC;
    int fd = take_given(&o->cfg->given, ss);
    if (fd >= 0)
        listener_open_defer(fd, o->cfg->defer_accept_s);
    else if ((fd = tcp_socket(o->cfg, ss)) < 0)
        return errno;
    struct listener_socket *s = &o->list[(*o->n)++];
    memset(s, 0, sizeof(*s));
    s->fd = fd;
    s->kind = LISTENER_TCP;
    socklen_t len = sizeof(s->addr);
    if (getsockname(fd, (struct sockaddr *)&s->addr, &len) != 0)
        return errno;
    char text[SOCKOPT_TEXT_MAX];
    o->port = sockopt_format((const struct sockaddr *)&s->addr, 0, text, sizeof(text));
    return 0;
}

/* A machine without IPv6 (or IPv4) still has names and wildcards that mean both. */
static bool family_is_missing(int error)
{
    return error == EAFNOSUPPORT || error == EADDRNOTAVAIL;
}

static enum status add_all(struct opening *o, const char *name, struct addrinfo *found,
                           struct error *err)
{
    int added = 0, missing = 0;
    for (struct addrinfo *ai = found; ai != NULL; ai = ai->ai_next) {
        struct sockaddr_storage ss;
        memset(&ss, 0, sizeof(ss));
        memcpy(&ss, ai->ai_addr, MIN(ai->ai_addrlen, sizeof(ss)));
        int rc = add_tcp(o, &ss);
        if (rc == 0)
            added++;
        else if (family_is_missing(rc))
            missing = rc;
        else
            return error_set(err, ST_IO, "cannot listen on %s port %u: %s", name, o->port,
                             strerrordesc_np(rc));
    }
    if (added == 0)
        return error_set(err, ST_IO, "cannot listen on %s port %u: %s", name, o->port,
                         missing != 0 ? strerrordesc_np(missing) : "no address");
    return ST_OK;
}

static enum status add_name(struct opening *o, struct str word, struct error *err)
{
    char name[HOST_CAP];
    struct addrinfo *found = NULL;
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    if (!str_copy(name, sizeof(name), word))
        return error_set(err, ST_INVALID, "a name in listen_addr is too long");
    bool any = str_eq(word, STR("*"));
    /* an address in brackets, as in a URL */
    if (word.n > 2 && name[0] == '[' && name[word.n - 1] == ']') {
        memmove(name, name + 1, word.n - 2);
        name[word.n - 2] = '\0';
    }
    int rc = getaddrinfo(any ? NULL : name, any ? "0" : NULL, &hints, &found);
    if (rc != 0)
        return error_set(err, ST_INVALID, "cannot listen on \"%s\": %s", name, gai_strerror(rc));
    enum status st = add_all(o, name, found, err);
    freeaddrinfo(found);
    return st;
}

enum status listener_open_tcp(const struct listener_config *cfg, struct listener_socket *list,
                              int *n, struct error *err)
{
    struct opening o = {cfg, list, n, cfg->port};
    struct str rest = str_of(cfg->addrs);
    while (rest.n > 0) {
        struct str word = str_trim(str_cut(&rest, ','));
        if (word.n == 0)
            continue;
        enum status st = add_name(&o, word, err);
        if (st != ST_OK)
            return st;
    }
    return ST_OK;
}

/* ---- Unix ------------------------------------------------------------------------------------ */

static enum status find_group(const char *name, gid_t *gid, struct error *err)
{
    char mem[16384];
    struct group gr, *found = NULL;
    int64_t number = 0;
    if (str_to_i64(str_of(name), 0, INT32_MAX, &number)) {
        *gid = (gid_t)number;
        return ST_OK;
    }
    int rc = getgrnam_r(name, &gr, mem, sizeof(mem), &found);
    if (found == NULL)
        return error_set(err, ST_INVALID, "unix_socket_group \"%s\": %s", name,
                         rc != 0 ? strerrordesc_np(rc) : "no such group");
    *gid = gr.gr_gid;
    return ST_OK;
}

/* Makes the path free: a socket that nobody listens on is removed. */
static enum status clear_path(const struct sockaddr_un *un, uint32_t len, struct error *err)
{
    struct stat sb;
    if (lstat(un->sun_path, &sb) != 0)
        return errno == ENOENT
                   ? ST_OK
                   : error_set(err, ST_IO, "%s: %s", un->sun_path, strerrordesc_np(errno));
    if (!S_ISSOCK(sb.st_mode))
        return error_set(err, ST_INVALID, "%s exists and is not a socket", un->sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_set(err, ST_IO, "socket: %s", strerrordesc_np(errno));
    int rc = connect(fd, (const struct sockaddr *)un, len) == 0 ? 0 : errno;
    close(fd);
    if (rc == ENOENT)
        return ST_OK;
    if (rc == 0 || rc == EAGAIN || rc == EINPROGRESS)
        return error_set(err, ST_IO, "another process listens on %s", un->sun_path);
    if (rc != ECONNREFUSED)
        return error_set(err, ST_IO, "%s: %s", un->sun_path, strerrordesc_np(rc));
    if (unlink(un->sun_path) != 0 && errno != ENOENT)
        return error_set(err, ST_IO, "cannot remove %s: %s", un->sun_path, strerrordesc_np(errno));
    return ST_OK;
}

/* Between bind and listen nobody can connect, so the rights are right before they matter. */
static enum status set_rights(const struct listener_config *cfg, const char *path,
                              struct listener_socket *s, struct error *err)
{
    struct stat sb;
    gid_t gid = (gid_t)-1;
    if (lstat(path, &sb) == 0) {
        s->dev = sb.st_dev;
        s->ino = sb.st_ino;
    }
    if (cfg->unix_group != NULL && cfg->unix_group[0] != '\0') {
        enum status st = find_group(cfg->unix_group, &gid, err);
        if (st != ST_OK)
            return st;
        if (chown(path, (uid_t)-1, gid) != 0)
            return error_set(err, ST_IO, "cannot give %s to group \"%s\": %s", path,
                             cfg->unix_group, strerrordesc_np(errno));
    }
    if (chmod(path, (mode_t)cfg->unix_mode & 07777) != 0)
        return error_set(err, ST_IO, "cannot change the mode of %s: %s", path,
                         strerrordesc_np(errno));
    return ST_OK;
}

enum status listener_open_unix(const struct listener_config *cfg, struct listener_socket *list,
                               int *n, struct error *err)
{
    struct sockaddr_storage ss;
    struct sockaddr_un un;
    uint32_t len = 0;
    enum status st = sockopt_unix_addr(cfg->unix_dir, cfg->port, &ss, &len, err);
    if (st != ST_OK)
        return st;
    memcpy(&un, &ss, sizeof(un));
    bool abstract = un.sun_path[0] == '\0';
    if (*n == LISTENER_SOCKETS_MAX)
        return error_set(err, ST_LIMIT, "too many addresses to listen on");
    int fd = take_given(&cfg->given, &ss);
    bool listens = fd >= 0;
    if (!listens && !abstract && (st = clear_path(&un, len, err)) != ST_OK)
        return st;
    if (!listens)
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_set(err, ST_IO, "socket: %s", strerrordesc_np(errno));
    struct listener_socket *s = &list[(*n)++];
    memset(s, 0, sizeof(*s));
    s->fd = fd;
    s->kind = LISTENER_UNIX;
    s->addr = ss;
    if (!listens && bind(fd, (const struct sockaddr *)&un, len) != 0)
        return error_set(err, ST_IO, "cannot listen on %s/.s.PGSQL.%u: %s", cfg->unix_dir,
                         cfg->port, strerrordesc_np(errno));
    if (!abstract && (st = set_rights(cfg, un.sun_path, s, err)) != ST_OK)
        return st;
    if (!listens && listen(fd, cfg->backlog) != 0)
        return error_set(err, ST_IO, "cannot listen on %s/.s.PGSQL.%u: %s", cfg->unix_dir,
                         cfg->port, strerrordesc_np(errno));
    return ST_OK;
}

void listener_open_discard(struct listener_socket *s)
{
    struct sockaddr_un un;
    struct stat sb;
    if (s->fd < 0)
        return;
    close(s->fd);
    s->fd = -1;
    if (s->kind != LISTENER_UNIX || s->ino == 0)
        return;
    memcpy(&un, &s->addr, sizeof(un));
    if (lstat(un.sun_path, &sb) == 0 && sb.st_dev == s->dev && sb.st_ino == s->ino)
        (void)unlink(un.sun_path);
}
