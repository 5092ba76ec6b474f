/* http_open.c - the listening socket of the HTTP port; see http_open.h. */
#include "proxy/http/http_open.h"

#include "base/str.h"
#include "proxy/net/sockopt.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <unistd.h>

#define BACKLOG 64

static bool is_loopback(const struct sockaddr_storage *ss)
{
    if (ss->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)ss;
        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)ss;
    return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) != 0;
}

enum status http_open_parse(const char *text, struct http_address *out, struct error *err)
{
    struct str s = str_trim(str_of(text)), host = STR("127.0.0.1");
    size_t colon = s.n;
    int64_t port;
    while (colon > 0 && s.p[colon - 1] != ':')
        colon--;
    if (colon > 0)
        host = (struct str){s.p, colon - 1};
    if (str_eq(host, STR("*")))
        host = STR("0.0.0.0");
    else if (str_ieq(host, STR("localhost")))
        host = STR("127.0.0.1");
    bool bare6 = str_find(host, ':') >= 0 && host.p[0] != '['; /* ::1 is an address, not a port */
    if (bare6 || !str_to_i64((struct str){s.p + colon, s.n - colon}, 1, 65535, &port) ||
        !sockopt_parse(host, (uint16_t)port, &out->ss, &out->len))
        return error_set(err, ST_INVALID,
                         "http_listen: %.100s is neither PORT nor ADDRESS:PORT nor [ADDRESS]:PORT",
                         text);
    out->loopback = is_loopback(&out->ss);
    return ST_OK;
}

static bool share(int s)
{
    int on = 1;
    return setsockopt(s, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0;
}

/* Two processes with one port would answer in turns, each for itself: whoever is not the heir finds
 * the port taken, because it does not share when it binds. It may be shared with afterwards. */
static bool bind_and_listen(int s, const struct http_address *a, bool heir)
{
    int on = 1;
    return setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 && (!heir || share(s)) &&
           bind(s, (const struct sockaddr *)&a->ss, a->len) == 0 && (heir || share(s)) &&
           listen(s, BACKLOG) == 0;
}

enum status http_open(const struct http_address *a, bool heir, int *fd, struct error *err)
{
    int saved;
    int s = socket(a->ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s < 0)
        return error_set(err, ST_IO, "http_listen: %s", strerrordesc_np(errno));
    if (!bind_and_listen(s, a, heir)) {
        saved = errno;
        close(s);
        return error_set(err, ST_IO, "http_listen: %s%s", strerrordesc_np(saved),
                         saved == EADDRINUSE ? "; each process needs a port of its own" : "");
    }
    *fd = s;
    return ST_OK;
}
