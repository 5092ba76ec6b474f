/* http_open.h - the listening socket of the HTTP port.
 *
 * Called by http.c only.  Main thread.
 */
#ifndef PENSTOCK_PROXY_HTTP_OPEN_H
#define PENSTOCK_PROXY_HTTP_OPEN_H

#include "base/status.h"

#include <sys/socket.h>

struct http_address {
    struct sockaddr_storage ss;
    uint32_t len;
    bool loopback; /* nobody from outside comes here */
};

/* PORT (on 127.0.0.1), ADDRESS:PORT, [ADDRESS]:PORT or *:PORT (all IPv4 addresses). Names are not
 * looked up, but for localhost. */
enum status http_open_parse(const char *text, struct http_address *out,
                            struct error *err) ATTR_NODISCARD;
/* *fd is non-blocking and listens. The port may be opened once more by an heir of this process, so
 * that a new program can take over from the old one; to anybody else it is taken. */
enum status http_open(const struct http_address *a, bool heir, int *fd,
                      struct error *err) ATTR_NODISCARD;

#endif
