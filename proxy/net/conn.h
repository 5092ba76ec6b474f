/* conn.h - one socket on a worker's loop: reading, writing, back-pressure, TLS as a layer.
 *
 * Embedded as the first member of struct client and struct server, whose struct conn_ops decide
 * what bytes mean.  Purpose: bytes are read once and written once (design.md, "A request's way
 * through").
 *
 * Reading: a readable socket is read into the worker's scratch buffer and on_data sees the bytes in
 * place; what it leaves is kept in `in` (size-classed, from the worker's free lists) and shown
 * again, in front of new bytes, with the next call.  A message that does not fit CONN_IN_MAX is
 * announced by full = true.
 * Writing: users append to `out` and call conn_dirty; everything that a loop turn produced for one
 * socket leaves in one write at the turn's end.  What the kernel does not take waits for
 * writability. Back-pressure: the reader of a source pauses it (conn_pause) while the destination
 * holds more than CONN_OUT_HIGH; on_drained tells when it fell below CONN_OUT_LOW.
 * Corks: while there is one nothing is written, whatever is appended; for what must not reach the
 * peer before something else has happened elsewhere.
 * Closing: conn_close is immediate for the socket; the memory lives to the end of the loop turn.
 * After it no callback comes any more.
 * Thread: the owning worker's only.
 */
#ifndef PENSTOCK_PROXY_CONN_H
#define PENSTOCK_PROXY_CONN_H

#include "base/base.h"
#include "base/list.h"
#include "base/outq.h"
#include "base/status.h"
#include "base/str.h"

#include <ev.h>

struct worker;
struct conn;
struct tls;

#define CONN_SCRATCH 65536 /* bytes read at once */
#define CONN_IN_MAX 65536  /* largest piece kept unconsumed */
#define CONN_UNREAD_MAX 4096
#define CONN_OUT_HIGH (256 * 1024)
#define CONN_OUT_LOW (64 * 1024)

/* reasons not to read; reading goes on when none is left */
enum conn_pause {
    PAUSE_PEER = 1u << 0,   /* the destination is full */
    PAUSE_WAIT = 1u << 1,   /* the input buffer is full while a server is awaited */
    PAUSE_ADMIN = 1u << 2,  /* SUSPEND */
    PAUSE_MEMORY = 1u << 3, /* max_buffer_memory */
    PAUSE_OWN = 1u << 4,    /* its own output is full */
};

struct conn_ops {
    /* Uses bytes from the front and returns how many. full: data is as long as it will ever get. */
    size_t (*on_data)(struct conn *c, struct str data, bool full);
    /* The peer closed, the socket failed or TLS broke. The receiver must conn_close in the end. */
    void (*on_gone)(struct conn *c, const char *why);
    void (*on_drained)(struct conn *c); /* out fell to CONN_OUT_LOW after having been above HIGH */
    void (*on_connected)(struct conn *c); /* after conn_connect; may be NULL */
    void (*on_secure)(struct conn *c);    /* TLS handshake done; may be NULL */
};

enum conn_state { CONN_CLOSED, CONN_CONNECTING, CONN_HANDSHAKE, CONN_OPEN };

struct conn {
    const struct conn_ops *ops;
    struct worker *worker; /* borrowed: the owner */
    ev_io io;
    struct outq out;
    uint8_t *in; /* owned, from the worker's free lists; NULL when in_len is 0 */
    uint32_t in_len, in_cap;
    struct tls *tls;   /* owned; NULL: plain */
    struct list dirty; /* on worker->dirty[] while out has bytes to write */
    int fd;            /* -1 when closed */
    uint8_t state;     /* enum conn_state, set by conn.c only */
    uint8_t paused;    /* conn_pause bits */
    bool want_write, was_high, in_callback, is_server, linger;
    uint32_t corks; /* reasons not to write */
    uint64_t bytes_in, bytes_out;
};

/* fd < 0: not open yet. The conn must be zeroed. Takes fd, which must be non-blocking. */
void conn_init(struct conn *c, struct worker *w, const struct conn_ops *ops, int fd);
void conn_start(struct conn *c); /* begins to read (state OPEN) */
struct sockaddr;
/* Starts a non-blocking connect; on_connected or on_gone follows, never from inside this call. */
enum status conn_connect(struct conn *c, const struct sockaddr *sa, uint32_t len,
                         struct error *err) ATTR_NODISCARD;
void conn_close(struct conn *c); /* idempotent; unsent bytes are dropped */
/* Writes what it can at the turn's end, then closes: for the last error message. Reading stops and
 * what was read is dropped, so that the kernel sends FIN rather than RST. */
void conn_close_after_flush(struct conn *c);
bool conn_is_open(const struct conn *c);
struct wire;
const struct wire *conn_wire(const struct conn *c); /* the protocol that its owner speaks */

void conn_dirty(struct conn *c); /* out was appended to: written at the turn's end */
void conn_flush(struct conn *c); /* now; may end in on_gone */
/* Output waits from now on, until there have been as many uncorks. */
void conn_cork(struct conn *c);
void conn_uncork(struct conn *c);
void conn_pause(struct conn *c, enum conn_pause why);
void conn_resume(struct conn *c, enum conn_pause why);
/* Shows kept input to on_data again, without reading: a reason not to consume has gone. */
void conn_kick(struct conn *c);
/* Puts bytes that on_data had used (at most CONN_UNREAD_MAX) in front of what is kept. Not from
 * inside the connection's own callback. False: no memory. */
bool conn_unread(struct conn *c, struct str bytes);
/* Too much is queued: the caller pauses the source, and on_drained will tell when it may go on. */
bool conn_above_high(struct conn *c);

/* Starts TLS: on_secure or on_gone follows, possibly from inside this call. Takes tls over. */
void conn_secure(struct conn *c, struct tls *tls);

/* Before a socket changes workers: no buffers, no TLS bytes pending, not paused. A test, not a
 * CHECK. */
bool conn_can_move(const struct conn *c);
void conn_detach(struct conn *c);                   /* old owner: stops the watcher */
void conn_attach(struct conn *c, struct worker *w); /* new owner: starts it */

/* A non-destructive look whether the peer has closed or spoken (one system call). */
bool conn_peek_quiet(const struct conn *c);

#endif
