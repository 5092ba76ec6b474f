/* listener.h - the sockets that clients connect to.
 *
 * Made and used by main, on the main thread's loop: TCP sockets for a listen_addr list and the Unix
 * socket DIR/.s.PGSQL.PORT.  A new connection is accepted in a burst, tuned, and handed to
 * on_accept, which owns the descriptor from then on (non-blocking, close-on-exec) and gives it to a
 * worker.
 *
 * Short of descriptors or memory the listeners rest for half a second, because a level-triggered
 * loop would spin; the clients that are already in the queue are accepted with a spare descriptor
 * and closed, which tells them sooner than silence.
 * The Unix socket's file: a stale one is recognised by connecting to it and replaced; a live one,
 * or a file that is no socket, is an error.  It is removed only while it is still ours.
 */
#ifndef PENSTOCK_PROXY_LISTENER_H
#define PENSTOCK_PROXY_LISTENER_H

#include "base/base.h"
#include "base/status.h"
#include "base/str.h"
#include "proxy/net/sockopt.h"

#include <ev.h>
#include <sys/socket.h>

#define LISTENER_SOCKETS_MAX 64

struct listener;

/* Listening sockets that the process was started with. Those that are taken are -1 afterwards. */
struct listener_given {
    int *fds;
    int n;
    bool instead; /* they are what is listened on, whatever addrs and unix_dir say */
};

struct listener_config { /* strings are copied */
    const char *addrs;   /* listen_addr: "*", names and addresses with commas; NULL or "": no TCP */
    const char *unix_dir;   /* NULL or "": no Unix socket; @name: abstract */
    const char *unix_group; /* name or number; NULL or "": the process's */
    int unix_mode;          /* 0777 */
    uint16_t port;          /* 0: any free one, the same for all addresses (tests) */
    int backlog;
    int defer_accept_s; /* TCP_DEFER_ACCEPT; 0: off */
    bool reuseport;
    double rest_s; /* after a shortage; 0: half a second */
    struct sockopt_tcp tcp;
    struct listener_given given; /* used while listener_new runs */
};

/* fd is the receiver's. pid: of a Unix peer (0: unknown or TCP), for "unix(pid)". It may close
 * or pause the listener, but neither free nor reopen it. */
struct listener_handler {
    void (*on_accept)(void *arg, int fd, const struct sockaddr_storage *peer, int unix_pid);
    void *arg;
};

enum listener_kind { LISTENER_TCP = 1u << 0, LISTENER_UNIX = 1u << 1, LISTENER_ALL = 3u };

/* Opens everything or nothing; "*" is content with one of IPv4 and IPv6. An address that one of the
 * given sockets has is not opened but taken from there. Looks names up, and may block for that.
 * ST_IO or ST_INVALID with the address and the reason. */
enum status listener_new(struct ev_loop *loop, const struct listener_config *cfg,
                         struct listener_handler handler, struct listener **out,
                         struct error *err) ATTR_NODISCARD;
void listener_free(struct listener **l);

/* Shutdown: no more connections of these kinds; the Unix socket's file goes too. Idempotent. */
void listener_close(struct listener *l, enum listener_kind kinds);
/* Opens again what listener_close closed. */
enum status listener_reopen(struct listener *l, enum listener_kind kinds,
                            struct error *err) ATTR_NODISCARD;
/* For a successor: writes the open sockets to fds (room for LISTENER_SOCKETS_MAX), borrowed;
 * returns how many. */
int listener_fds(const struct listener *l, int *fds);
/* The sockets are a successor's now: closes them here and leaves the Unix socket's file alone. */
void listener_leave(struct listener *l);
/* Leaves clients in the kernel's queue for a while (SUSPEND). */
void listener_pause(struct listener *l);
void listener_resume(struct listener *l);

/* After a reload: for connections accepted from now on. */
void listener_set_tcp(struct listener *l, struct sockopt_tcp tcp, int defer_accept_s);
uint16_t listener_port(const struct listener *l);
/* Calls row for each open socket: "127.0.0.1" and its port, or "/tmp/.s.PGSQL.6432" and 0. */
void listener_each(const struct listener *l,
                   void (*row)(void *arg, const char *where, uint16_t port), void *arg);

#endif
