/* cancel_conn.c - a connection that carries one cancel request; see cancel_conn.h. */
#include "proxy/cancel_conn.h"

#include "base/log.h"
#include "base/mem.h"
#include "proxy/net/conn_tls.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static void drop_tls(struct cancel_conn *x)
{
    if (x->tls != NULL)
        tls_free(&x->tls);
    if (x->wire_state == NULL)
        return;
    conn_wire(&x->conn)->sv_fini(x->wire_state);
    mem_free(x->wire_state);
    x->wire_state = NULL;
}

static void cancel_conn_free(struct mortal *m)
{
    struct cancel_conn *x = container_of(m, struct cancel_conn, mortal);
    mem_wipe(&x->key, sizeof(x->key));
    mem_free(x);
}

static void finish(struct cancel_conn *x, enum cancel_end how)
{
    timeout_stop(&x->timeout);
    list_remove(&x->link);
    drop_tls(x);
    conn_close(&x->conn);
    worker_bury(x->conn.worker, &x->mortal);
    x->ended(x, how);
}

static void send_request(struct cancel_conn *x)
{
    conn_wire(&x->conn)->cancel_bytes(&x->key, &x->conn.out);
    mem_wipe(&x->key, sizeof(x->key));
    x->sent = true;
    conn_dirty(&x->conn);
}

/* The answer to the TLS request. A server that spoke TLS a moment ago and does not now is not sent
 * the key in the clear. */
static size_t on_data(struct conn *c, struct str data, bool full)
{
    struct cancel_conn *x = (struct cancel_conn *)c;
    struct wire_server_event ev;
    if (x->tls == NULL)
        return data.n; /* nothing else is ever answered */
    conn_wire(&x->conn)->sv_feed(x->wire_state, data, full, &ev);
    if (ev.kind == SV_MORE)
        return ev.consumed;
    if (ev.kind != SV_TLS || !ev.tls || ev.consumed < data.n) {
        LOG_LIMITED(LL_WARNING, "cancel request: the server does not start TLS");
        finish(x, CANCEL_UNREACHABLE);
        return data.n;
    }
    struct tls *t = x->tls;
    x->tls = NULL;
    conn_secure(c, t);
    return data.n;
}

static void on_gone(struct conn *c, const char *why)
{
    struct cancel_conn *x = (struct cancel_conn *)c;
    if (!x->sent)
        LOG_LIMITED(LL_WARNING, "cancel request: %s", why);
    finish(x, x->sent ? CANCEL_SENT : CANCEL_UNREACHABLE);
}

static void on_drained(struct conn *c)
{
    (void)c;
}

static void on_connected(struct conn *c)
{
    struct cancel_conn *x = (struct cancel_conn *)c;
    if (x->tls == NULL) {
        send_request(x);
        return;
    }
    x->wire_state = mem_new(conn_wire(&x->conn)->server_size);
    conn_wire(&x->conn)->sv_init(x->wire_state);
    conn_wire(&x->conn)->sv_tls_request(x->wire_state, &c->out);
    conn_dirty(c);
}

static void on_secure(struct conn *c)
{
    send_request((struct cancel_conn *)c);
}

static void on_timeout(struct timeout *t)
{
    finish(container_of(t, struct cancel_conn, timeout), CANCEL_LATE);
}

static const struct conn_ops cancel_ops = {on_data, on_gone, on_drained, on_connected, on_secure};

enum status cancel_conn_open(struct cancel_conn *x, struct worker *w,
                             const struct sockaddr_storage *addr, uint32_t len,
                             const struct tls *like, struct error *err)
{
    int fd = socket(addr->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_set(err, ST_IO, "no socket: %s", strerrordesc_np(errno));
    if (like != NULL && (x->tls = tls_start_like(like, fd)) == NULL) {
        close(fd);
        return error_set(err, ST_MEMORY, "no memory for TLS");
    }
    conn_init(&x->conn, w, &cancel_ops, fd);
    x->conn.is_server = true;
    enum status st = conn_connect(&x->conn, (const struct sockaddr *)addr, len, err);
    if (st != ST_OK) {
        drop_tls(x);
        conn_close(&x->conn);
        return st;
    }
    x->mortal.free = cancel_conn_free;
    list_init(&x->link);
    list_push_back(&w->cancels, &x->link);
    timeout_init(&x->timeout, on_timeout);
    worker_timeout(w, &x->timeout, worker_options(w)->cancel_wait_timeout);
    return ST_OK;
}

void cancel_conn_abandon(struct list *link)
{
    finish(container_of(link, struct cancel_conn, link), CANCEL_ABANDONED);
}
