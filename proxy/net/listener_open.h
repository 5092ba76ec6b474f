/* listener_open.h - makes listening sockets from configuration, without a loop.
 *
 * Called by listener.c only, on the main thread.
 */
#ifndef PENSTOCK_PROXY_LISTENER_OPEN_H
#define PENSTOCK_PROXY_LISTENER_OPEN_H

#include "proxy/net/listener.h"

struct listener_socket {
    ev_io io;                /* initialised by listener.c */
    int fd;                  /* owned; -1: closed */
    enum listener_kind kind; /* one of TCP and UNIX */
    struct sockaddr_storage addr;
    uint64_t dev, ino; /* of the Unix socket's file, 0: none */
};

/* Append to list (room for LISTENER_SOCKETS_MAX) and count up *n. What was opened before a failure
 * stays in the list for the caller to discard. */
enum status listener_open_tcp(const struct listener_config *cfg, struct listener_socket *list,
                              int *n, struct error *err) ATTR_NODISCARD;
enum status listener_open_unix(const struct listener_config *cfg, struct listener_socket *list,
                               int *n, struct error *err) ATTR_NODISCARD;
/* All of cfg->given, in place of what the configuration names. */
enum status listener_open_given(const struct listener_config *cfg, struct listener_socket *list,
                                int *n, struct error *err) ATTR_NODISCARD;
/* Closes, and removes the file of a Unix socket if it is still this socket's. */
void listener_open_discard(struct listener_socket *s);
/* TCP_DEFER_ACCEPT; a kernel without it is fine. */
void listener_open_defer(int fd, int seconds);

#endif
