/* cancel_conn.h - a connection that carries one cancel request and nothing else.
 *
 * Embedded as the first member by cancel.c (to a server) and peer.c (to another process).  It
 * connects, starts TLS if it is to have it, writes the request and waits for the other side to
 * close, which says that the request has been acted on.
 * Thread: the owning worker's.
 */
#ifndef PENSTOCK_PROXY_CANCEL_CONN_H
#define PENSTOCK_PROXY_CANCEL_CONN_H

#include "proxy/net/conn.h"
#include "proxy/timeout.h"
#include "proxy/worker.h"
#include "protocol/wire.h"

#include <sys/socket.h>

enum cancel_end {
    CANCEL_SENT,        /* the other side has closed after the request was written */
    CANCEL_UNREACHABLE, /* it was lost before, or TLS was refused: nothing was sent */
    CANCEL_LATE,        /* cancel_wait_timeout */
    CANCEL_ABANDONED,   /* the worker ends */
};

struct tls;

struct cancel_conn {
    struct conn conn; /* first */
    struct mortal mortal;
    struct list link;    /* worker->cancels */
    struct wire_key key; /* of the request; the opener sets it */
    struct tls *tls;     /* owned until the handshake begins; NULL: plain, or begun */
    void *wire_state;    /* owned; reads the answer to the TLS request. NULL: not needed */
    bool sent;
    struct timeout timeout;
    /* Once, from the loop or from cancel_conn_abandon; the connection is closed already, and its
     * memory lives to the end of the turn. */
    void (*ended)(struct cancel_conn *x, enum cancel_end how);
};

/* x is zeroed but for key and ended, and on the heap: it frees itself. like: a TLS connection to
 * the same address whose ways are to be followed, or NULL for a plain one. When it fails nothing
 * of x is kept, and ended is not called. */
enum status cancel_conn_open(struct cancel_conn *x, struct worker *w,
                             const struct sockaddr_storage *addr, uint32_t len,
                             const struct tls *like, struct error *err) ATTR_NODISCARD;
void cancel_conn_abandon(struct list *link); /* one of worker->cancels */

#endif
