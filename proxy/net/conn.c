/* conn.c - one socket on a worker's loop; see conn.h for what it promises.
 *
 * The read path: bytes kept from the last time are put in front in the scratch buffer when they are
 * few, so that a piece of a message never forces a buffer of its own to grow while rows stream;
 * only a client whose message waits for something keeps a buffer.
 * Invariants: in_len > 0 exactly when `in` is set; no callback runs on a closed connection; the
 * watcher's events follow from paused, want_write and state in one place (update_events).
 */
#include "proxy/net/conn.h"

#include "base/check.h"
#include "proxy/net/conn_tls.h"
#include "proxy/worker.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define KEEP_IN_FRONT 8192 /* kept bytes up to this are copied in front of the scratch buffer */
#define IOV_MAX_ONCE 64

static void on_io(struct ev_loop *loop, ev_io *w, int revents);

/* ev_io_set and a pair of stop and start cost two list operations; the kernel hears of it only when
 * the set of events really differs at the next poll. */
static void update_events(struct conn *c)
{
    int events = 0;
    if (c->state == CONN_CONNECTING)
        events = EV_WRITE;
    else if (c->state != CONN_CLOSED)
        events = (c->paused == 0 ? EV_READ : 0) | (c->want_write && c->corks == 0 ? EV_WRITE : 0);
    int now = ev_is_active(&c->io) ? c->io.events & (EV_READ | EV_WRITE) : 0;
    if (events == now)
        return;
    /* Stopping drops what is pending: a wish to look at kept input again must not get lost. */
    int pending = ev_is_pending(&c->io) ? ev_clear_pending(c->worker->loop, &c->io) : 0;
    ev_io_stop(c->worker->loop, &c->io);
    if (events != 0) {
        ev_io_set(&c->io, c->fd, events);
        ev_io_start(c->worker->loop, &c->io);
    }
    if (pending & EV_CUSTOM)
        ev_feed_event(c->worker->loop, &c->io, EV_CUSTOM);
}

void conn_init(struct conn *c, struct worker *w, const struct conn_ops *ops, int fd)
{
    c->ops = ops;
    c->worker = w;
    c->fd = fd;
    c->state = CONN_CLOSED;
    outq_init(&c->out, &w->blocks);
    list_init(&c->dirty);
    ev_io_init(&c->io, on_io, fd, EV_READ);
}

void conn_start(struct conn *c)
{
    c->state = CONN_OPEN;
    update_events(c);
}

enum status conn_connect(struct conn *c, const struct sockaddr *sa, uint32_t len, struct error *err)
{
    int rc = connect(c->fd, sa, len);
    if (rc != 0 && errno != EINPROGRESS && errno != EAGAIN)
        return error_set(err, ST_IO, "connect failed: %s", strerrordesc_np(errno));
    /* A Unix socket connects at once; it is treated as if it had not, so that callers see one
     * order. */
    c->state = CONN_CONNECTING;
    update_events(c);
    return ST_OK;
}

static void free_in(struct conn *c)
{
    if (c->in != NULL)
        worker_in_free(c->worker, c->in, c->in_cap);
    c->in = NULL;
    c->in_len = c->in_cap = 0;
}

void conn_close(struct conn *c)
{
    if (c->state == CONN_CLOSED && c->fd < 0)
        return;
    c->state = CONN_CLOSED;
    ev_io_stop(c->worker->loop, &c->io);
    if (c->tls != NULL)
        tls_free(&c->tls);
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    list_remove(&c->dirty);
    outq_clear(&c->out);
    free_in(c);
}

bool conn_is_open(const struct conn *c)
{
    return c->state != CONN_CLOSED;
}

const struct wire *conn_wire(const struct conn *c)
{
    return c->worker->wire;
}

bool conn_above_high(struct conn *c)
{
    bool high = c->out.len > CONN_OUT_HIGH;
    c->was_high = c->was_high || high;
    return high;
}

/* ---- writing --------------------------------------------------------------------------------- */

void conn_dirty(struct conn *c)
{
    if (c->state == CONN_CLOSED) {
        outq_clear(&c->out);
        return;
    }
    if (!list_linked(&c->dirty) && !c->want_write)
        list_push_back(&c->worker->dirty[c->is_server ? 0 : 1], &c->dirty);
}

enum write_step { WRITE_ALL, WRITE_WAIT, WRITE_FAILED };

static enum write_step write_plain(struct conn *c)
{
    while (c->out.len > 0) {
        struct iovec iov[IOV_MAX_ONCE];
        int n = outq_iov(&c->out, iov, IOV_MAX_ONCE);
        size_t want = 0;
        for (int i = 0; i < n; i++)
            want += iov[i].iov_len;
        struct msghdr m = {.msg_iov = iov, .msg_iovlen = (size_t)n};
        ssize_t sent = n == 1 ? send(c->fd, iov[0].iov_base, iov[0].iov_len,
                                     MSG_NOSIGNAL | MSG_DONTWAIT)
                              : sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EAGAIN ? WRITE_WAIT : WRITE_FAILED;
        c->bytes_out += (uint64_t)sent;
        outq_consume(&c->out, (size_t)sent);
        if ((size_t)sent < want)
            return WRITE_WAIT;
    }
    return WRITE_ALL;
}

static enum write_step write_tls(struct conn *c)
{
    size_t before = c->out.len;
    enum tls_io io = tls_write(c->tls, &c->out);
    c->bytes_out += before - c->out.len;
    if (io == TLS_IO_OK)
        return c->out.len == 0 ? WRITE_ALL : WRITE_WAIT;
    return io == TLS_IO_WANT_READ || io == TLS_IO_WANT_WRITE ? WRITE_WAIT : WRITE_FAILED;
}

static void wrote(struct conn *c, bool all)
{
    c->want_write = !all;
    if (c->linger && all) {
        /* The peer gets FIN after our last words; what it still sends is read and dropped until it
         * closes, or until the owner's timer closes for good. */
        shutdown(c->fd, SHUT_WR);
    }
    update_events(c);
    if (c->out.len > CONN_OUT_HIGH) {
        c->was_high = true;
    } else if (c->was_high && c->out.len <= CONN_OUT_LOW) {
        c->was_high = false;
        c->ops->on_drained(c);
    }
}

void conn_flush(struct conn *c)
{
    list_remove(&c->dirty);
    if (c->state != CONN_OPEN || c->out.len == 0 || UNLIKELY(c->corks > 0))
        return;
    enum write_step step = c->tls != NULL ? write_tls(c) : write_plain(c);
    if (step == WRITE_FAILED) {
        outq_clear(&c->out);
        c->ops->on_gone(c, "write failed");
        return;
    }
    if (step == WRITE_ALL && !c->want_write && !c->linger && !c->was_high)
        return; /* the common case */
    wrote(c, step == WRITE_ALL);
}

void conn_cork(struct conn *c)
{
    c->corks++;
    update_events(c);
}

void conn_uncork(struct conn *c)
{
    CHECK(c->corks > 0);
    if (--c->corks > 0 || c->state == CONN_CLOSED)
        return;
    update_events(c);
    if (c->out.len > 0)
        conn_dirty(c);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Keeps what on_data left over. rest may lie in the scratch buffer or in c->in. */
static bool keep(struct conn *c, struct str rest)
{
    if (rest.n == 0) {
        free_in(c);
        return true;
    }
    uint8_t *at = c->in;
    uint32_t cap = c->in_cap;
    if (at == NULL || cap < rest.n) {
        cap = (uint32_t)rest.n;
        at = worker_in_alloc(c->worker, &cap);
        if (at == NULL)
            return false;
    }
    memmove(at, rest.p, rest.n);
    if (at != c->in) {
        free_in(c);
        c->in = at;
        c->in_cap = cap;
    }
    c->in_len = (uint32_t)rest.n;
    return true;
}

static void deliver(struct conn *c, uint8_t *p, size_t n)
{
    size_t used = c->ops->on_data(c, (struct str){(const char *)p, n}, n >= CONN_IN_MAX);
    if (c->state == CONN_CLOSED)
        return;
    DCHECK(used <= n);
    if (!keep(c, (struct str){(const char *)p + used, n - used}))
        c->ops->on_gone(c, "out of memory");
}

bool conn_unread(struct conn *c, struct str bytes)
{
    DCHECK(!c->in_callback && bytes.n <= CONN_UNREAD_MAX);
    uint32_t cap = c->in_len + (uint32_t)bytes.n;
    uint8_t *p = worker_in_alloc(c->worker, &cap);
    if (p == NULL)
        return false;
    uint32_t len = c->in_len + (uint32_t)bytes.n;
    memcpy(p, bytes.p, bytes.n);
    if (c->in_len > 0)
        memcpy(p + bytes.n, c->in, c->in_len);
    free_in(c);
    c->in = p;
    c->in_cap = cap;
    c->in_len = len;
    return true;
}

/* Where to read to, with the kept bytes already in front. */
static uint8_t *read_place(struct conn *c, size_t *have, size_t *room)
{
    *have = c->in_len;
    if (c->in_len <= KEEP_IN_FRONT) {
        if (c->in_len > 0)
            memcpy(c->worker->scratch, c->in, c->in_len);
        *room = CONN_SCRATCH - c->in_len;
        return c->worker->scratch;
    }
    if (c->in_cap < CONN_IN_MAX) {
        uint32_t cap = CONN_IN_MAX;
        uint8_t *p = worker_in_alloc(c->worker, &cap);
        if (p == NULL)
            return NULL;
        memcpy(p, c->in, c->in_len);
        uint32_t len = c->in_len;
        free_in(c);
        c->in = p;
        c->in_cap = cap;
        c->in_len = len;
    }
    *room = c->in_len < CONN_IN_MAX ? CONN_IN_MAX - c->in_len : 0; /* more: see conn_unread */
    return c->in;
}

static ssize_t read_some(struct conn *c, uint8_t *p, size_t room, const char **why)
{
    if (c->tls == NULL) {
        ssize_t n = recv(c->fd, p, room, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return 0;
        if (n <= 0)
            *why = n == 0 ? "closed by peer" : strerrordesc_np(errno);
        return n > 0 ? n : -1;
    }
    size_t got = 0;
    enum tls_io io = tls_read(c->tls, p, room, &got);
    if (io == TLS_IO_OK)
        return (ssize_t)got;
    if (io == TLS_IO_WANT_READ || io == TLS_IO_WANT_WRITE)
        return 0;
    *why = io == TLS_IO_EOF ? "closed by peer" : "TLS error";
    return -1;
}

static void read_input(struct conn *c)
{
    do {
        size_t have, room;
        uint8_t *p = read_place(c, &have, &room);
        if (p == NULL) {
            c->ops->on_gone(c, "out of memory");
            return;
        }
        if (room == 0) { /* a message waits for something; it cannot grow any more */
            conn_pause(c, PAUSE_WAIT);
            return;
        }
        const char *why = NULL;
        ssize_t n = read_some(c, p + have, room, &why);
        if (n < 0) {
            c->ops->on_gone(c, why);
            return;
        }
        if (n == 0)
            return;
        c->bytes_in += (uint64_t)n;
        if (!c->linger)
            deliver(c, p, have + (size_t)n);
    } while (c->state == CONN_OPEN && c->tls != NULL && c->paused == 0 && tls_pending(c->tls) > 0);
}

void conn_kick(struct conn *c)
{
    conn_resume(c, PAUSE_WAIT);
    if (c->state != CONN_OPEN || c->in_len == 0 || c->linger || c->in_callback)
        return;
    c->in_callback = true;
    deliver(c, c->in, c->in_len);
    c->in_callback = false;
}

/* ---- events ---------------------------------------------------------------------------------- */

static void finish_connect(struct conn *c)
{
    int e = 0;
    socklen_t n = sizeof(e);
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &e, &n) != 0)
        e = errno;
    if (e != 0) {
        c->ops->on_gone(c, strerrordesc_np(e));
        return;
    }
    c->state = CONN_OPEN;
    update_events(c);
    if (c->ops->on_connected != NULL)
        c->ops->on_connected(c);
}

static void handshake(struct conn *c)
{
    struct error err = {""};
    enum tls_io io = tls_handshake(c->tls, &err);
    if (io == TLS_IO_OK) {
        c->state = CONN_OPEN;
        c->want_write = c->out.len > 0;
        update_events(c);
        c->ops->on_secure(c);
        if (c->state == CONN_OPEN && c->paused == 0 && tls_pending(c->tls) > 0)
            read_input(c);
        return;
    }
    if (io == TLS_IO_EOF || io == TLS_IO_ERROR) {
        c->ops->on_gone(c, err.text[0] != '\0' ? err.text : "TLS handshake failed");
        return;
    }
    c->want_write = io == TLS_IO_WANT_WRITE;
    update_events(c);
}

void conn_secure(struct conn *c, struct tls *tls)
{
    c->tls = tls;
    c->state = CONN_HANDSHAKE;
    /* Not at once: on_data is on the stack, and what it has not given back yet would come in front
     * of the first bytes from inside TLS. */
    ev_feed_event(c->worker->loop, &c->io, EV_CUSTOM);
}

static void on_io(struct ev_loop *loop, ev_io *w, int revents)
{
    (void)loop;
    struct conn *c = container_of(w, struct conn, io);
    if (UNLIKELY(c->state != CONN_OPEN)) {
        if (c->state == CONN_CONNECTING)
            finish_connect(c);
        else if (c->state == CONN_HANDSHAKE)
            handshake(c);
        return;
    }
    if (UNLIKELY(revents & EV_WRITE))
        conn_flush(c);
    if (UNLIKELY(revents & EV_CUSTOM)) /* session_go_on_later */
        conn_kick(c);
    if ((revents & EV_READ) && c->state == CONN_OPEN && c->paused == 0) {
        c->in_callback = true;
        read_input(c);
        c->in_callback = false;
    }
}

void conn_pause(struct conn *c, enum conn_pause why)
{
    c->paused |= (uint8_t)why;
    update_events(c);
}

void conn_resume(struct conn *c, enum conn_pause why)
{
    if ((c->paused & why) == 0)
        return;
    c->paused &= (uint8_t) ~(unsigned)why;
    update_events(c);
    /* What TLS has decrypted already will not be announced by the socket. */
    if (c->paused == 0 && c->state == CONN_OPEN && c->tls != NULL && tls_pending(c->tls) > 0)
        ev_feed_event(c->worker->loop, &c->io, EV_READ);
}

void conn_close_after_flush(struct conn *c)
{
    if (c->state != CONN_OPEN) {
        conn_close(c);
        return;
    }
    c->linger = true;
    c->paused = 0;
    free_in(c);
    list_remove(&c->dirty);
    if (c->out.len == 0)
        wrote(c, true);
    else
        conn_flush(c);
}

/* ---- moving between workers ------------------------------------------------------------------ */

bool conn_can_move(const struct conn *c)
{
    return c->state == CONN_OPEN && c->in_len == 0 && c->out.len == 0 && c->paused == 0 &&
           c->corks == 0 && !c->want_write && (c->tls == NULL || tls_pending(c->tls) == 0);
}

void conn_detach(struct conn *c)
{
    ev_io_stop(c->worker->loop, &c->io);
    list_remove(&c->dirty);
    c->worker = NULL;
}

void conn_attach(struct conn *c, struct worker *w)
{
    c->worker = w;
    c->out.pool = &w->blocks;
    update_events(c);
}

bool conn_peek_quiet(const struct conn *c)
{
    char b;
    ssize_t n = recv(c->fd, &b, 1, MSG_PEEK | MSG_DONTWAIT);
    return n < 0 && errno == EAGAIN;
}
