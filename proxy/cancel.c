/* cancel.c - cancel requests, in both directions.
 *
 * From a client: the key names worker and client; the owner checks the secret and acts.  A key that
 * names nobody does nothing, silently, as PostgreSQL does it.
 * To a server: a raw connection carries the request; the server is not released before that
 * connection has ended, because the database sends the signal before it closes it: so a cancel can
 * never hit the next client's statement.
 * Thread: the worker's that owns the target.
 */
#include "proxy/cancel.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/admin/console.h"
#include "proxy/session_share.h"

#include <openssl/crypto.h>
#include <sys/socket.h>
#include <unistd.h>

struct cancel {
    struct conn conn; /* first */
    struct mortal mortal;
    struct list link;      /* worker->cancels */
    struct server *server; /* borrowed; NULL: closed meanwhile */
    struct wire_key key;
    struct timeout timeout;
};

static void cancel_free(struct mortal *m)
{
    mem_free(container_of(m, struct cancel, mortal));
}

static void finish(struct cancel *x)
{
    struct worker *w = x->conn.worker;
    struct server *s = x->server;
    x->server = NULL;
    timeout_stop(&x->timeout);
    list_remove(&x->link);
    conn_close(&x->conn);
    worker_bury(w, &x->mortal);
    if (s == NULL)
        return;
    s->cancels--;
    if (s->cancels == 0 && s->fl_count == 0 && s->state == SV_ACTIVE)
        session_settle(s);
}

static size_t on_data(struct conn *c, struct str data, bool full)
{
    (void)c;
    (void)full;
    return data.n; /* nothing is ever answered */
}

static void on_gone(struct conn *c, const char *why)
{
    (void)why;
    finish((struct cancel *)c);
}

static void on_drained(struct conn *c)
{
    (void)c;
}

static void on_connected(struct conn *c)
{
    struct cancel *x = (struct cancel *)c;
    c->worker->wire->cancel_bytes(&x->key, &c->out);
    conn_dirty(c);
}

static void on_timeout(struct timeout *t)
{
    struct cancel *x = container_of(t, struct cancel, timeout);
    struct server *s = x->server;
    if (s != NULL) /* whether it will still be hit is not known */
        s->doubtful = true;
    finish(x);
}

static const struct conn_ops cancel_ops = {on_data, on_gone, on_drained, on_connected, NULL, NULL};

void cancel_server(struct server *s)
{
    struct worker *w = s->conn.worker;
    int fd = socket(s->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || s->key.n == 0) {
        if (fd >= 0)
            close(fd);
        s->doubtful = true; /* it cannot be stopped: it will not be used again */
        return;
    }
    struct cancel *x = mem_new(sizeof(*x));
    conn_init(&x->conn, w, &cancel_ops, fd);
    x->conn.is_server = true;
    x->mortal.free = cancel_free;
    x->server = s;
    x->key = s->key;
    list_init(&x->link);
    list_push_back(&w->cancels, &x->link);
    timeout_init(&x->timeout, on_timeout);
    worker_timeout(w, &x->timeout, worker_options(w)->cancel_wait_timeout);
    s->cancels++;
    struct error err;
    if (conn_connect(&x->conn, (struct sockaddr *)&s->addr, s->addr_len, &err) != ST_OK) {
        LOG_LIMITED(LL_WARNING, "cancel request: %s", err.text);
        finish(x);
    }
}

void cancel_abandon(struct list *link)
{
    struct cancel *x = container_of(link, struct cancel, link);
    x->server = NULL;
    finish(x);
}

void cancel_forget_server(struct server *s)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &s->conn.worker->cancels) {
        struct cancel *x = container_of(it, struct cancel, link);
        if (x->server == s)
            x->server = NULL;
    }
}

/* ---- from clients ---------------------------------------------------------------------------- */

void cancel_client(struct client *c)
{
    switch (c->state) {
    case CL_WAIT:
        session_wait_failed(c, C_CANCELLED, STR_NONE, STR_NONE);
        break;
    case CL_SHARED:
        if (session_share_stop(c, C_CANCELLED))
            session_cancel_running(c, C_CANCELLED);
        break;
    case CL_BUSY:
        session_cancel_running(c, C_CANCELLED);
        break;
    case CL_ADMIN:
        console_cancel(c);
        break;
    case CL_STARTUP:
    case CL_AUTH:
    case CL_WELCOME:
    case CL_IDLE:
    case CL_HELD:
    case CL_ENDING:
    case CL_CLOSED:
        break;
    }
}

void cancel_make_key(struct client *c, int minor, struct wire_key *key)
{
    const struct wire *wire = c->conn.worker->wire;
    uint32_t id;
    uint8_t secret[sizeof(c->secret)];
    size_t n = 0;
    wire->key_make(c->slot, c->secret, minor, key);
    if (wire->key_read(key, &id, secret, &n) == ST_OK)
        c->nsecret = (uint8_t)n;
}

struct request {
    uint32_t id;
    uint8_t secret[32];
    size_t nsecret;
};

static void deliver(struct worker *w, void *arg)
{
    struct request *q = arg;
    struct client *c = worker_slot_find(w, q->id);
    /* The whole secret, not a part of it: a client of the newer protocol has the longer one. */
    if (c != NULL && q->nsecret == c->nsecret &&
        CRYPTO_memcmp(c->secret, q->secret, q->nsecret) == 0)
        cancel_client(c);
    mem_wipe(q, sizeof(*q));
    mem_free(q);
}

void cancel_request(struct worker *w, const struct wire_key *key)
{
    struct request *q = mem_new(sizeof(*q));
    if (w->wire->key_read(key, &q->id, q->secret, &q->nsecret) != ST_OK || q->nsecret < 4) {
        mem_free(q);
        return;
    }
    struct worker *owner = w->process->workers[q->id % w->process->nworkers];
    if (owner == w)
        deliver(w, q);
    else
        worker_post_call(owner, deliver, q);
}
