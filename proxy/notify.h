/* notify.h - tells the service manager how the process is doing: systemd's NOTIFY_SOCKET.
 *
 * Called by main.c and watchdog.c, on the main thread.  Each message is one datagram of NAME=value
 * lines to the Unix socket that the environment names; without such a name nothing is sent.  A
 * message that cannot be sent is dropped: a manager that does not listen is no reason to fail.
 */
#ifndef PENSTOCK_PROXY_NOTIFY_H
#define PENSTOCK_PROXY_NOTIFY_H

#include "base/base.h"
#include "base/clock.h"

#include <sys/socket.h>

struct notify {
    int fd; /* owned; -1: nobody wants to know */
    socklen_t len;
    struct sockaddr_storage addr;
    usec_t watchdog; /* the manager kills a process that was silent for so long; 0: it does not */
};

/* Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. heir: the process takes over from one that
 * these were meant for, so the process number in them is not ours. Before any thread is started. */
void notify_init(struct notify *n, bool heir);
void notify_fini(struct notify *n);

/* text: lines as sd_notify takes them, without the last line's end. */
void notify_send(const struct notify *n, const char *fmt, ...) ATTR_PRINTF(2, 3);
/* A reload begins; it ends with a notify_send of READY=1. */
void notify_reloading(const struct notify *n);

#endif
