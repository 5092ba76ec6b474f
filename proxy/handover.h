/* handover.h - what a process and its successor say to each other: short datagrams over one socket.
 *
 * The older one (upgrade.h) made the socket and started the newer one (predecessor.h) with its
 * other end.  Between two versions of the program only additions are allowed: a kind that is not
 * known is skipped, and so are bytes behind those that are.
 * Keeps no state; main thread.
 */
#ifndef PENSTOCK_PROXY_HANDOVER_H
#define PENSTOCK_PROXY_HANDOVER_H

#include "base/base.h"
#include "base/status.h"
#include "protocol/wire.h"

enum handover_kind {
    HANDOVER_READY = 'r',     /* newer: serves, the older may close its listeners */
    HANDOVER_CANCEL = 'c',    /* newer: a cancel request with a key that is not its own */
    HANDOVER_CANCELLED = 'd', /* older: the request of that number was acted on */
    HANDOVER_REOPEN = 'l',    /* newer: the log files have been moved */
};

struct handover_message {
    uint8_t kind;    /* enum handover_kind, or of a later version */
    uint32_t number; /* CANCEL, CANCELLED: chosen by the newer one */
    struct wire_key key;
};

/* Two connected ends, close-on-exec and non-blocking. */
enum status handover_pair(int fds[2], struct error *err) ATTR_NODISCARD;
/* ST_IO: it cannot be sent, or not now. */
enum status handover_send(int fd, const struct handover_message *m) ATTR_NODISCARD;
/* ST_AGAIN: none has come. ST_IO: the other side is gone. */
enum status handover_receive(int fd, struct handover_message *m) ATTR_NODISCARD;

#endif
