/* session_share.c - requests of several clients on one server; see session_share.h.  Worker
 * thread. */
#include "proxy/session_begin.h"
#include "proxy/session_retry.h"
#include "proxy/session_route.h"
#include "proxy/session_share.h"

#include "base/check.h"
#include "base/mem.h"
#include "proxy/listen.h"

/* A larger request is neither shared nor kept for sending it again. */
#define COPY_MAX SESSION_COPY_MAX

/* ---- which requests -------------------------------------------------------------------------- */

static bool is_whole(const struct wire_req *r)
{
    if ((r->flags & (REQ_START | REQ_END)) != (REQ_START | REQ_END) || r->raw.n > COPY_MAX)
        return false;
    for (int i = 0; i < r->nparts; i++)
        if (r->parts[i].cut)
            return false;
    return true;
}

/* Something of the client's is on its server, so that this request is about that too; or it would
 * be, as soon as it has one. */
static bool tied(const struct client *c)
{
    const struct server *s = c->server;
    return c->passthrough || session_begun(c) ||
           (s != NULL && (s->fl_count > 0 || server_has_state(s)));
}

const struct facts *session_share_reads(struct client *c, const struct wire_req *r,
                                        const struct plan *plan, const struct stmt **stmt)
{
    struct facts *f = NULL;
    *stmt = NULL;
    if (!pool_shares(c->pool) || tied(c) || c->listen != NULL || !is_whole(r) ||
        conn_above_high(&c->conn)) /* it does not read: whoever stands behind it would wait */
        return NULL;
    if (r->flags & REQ_SIMPLE) {
        f = r->nparts == 1 ? plan->facts : NULL;
    } else {
        struct batch b;
        if (!session_batch_of_one(c, r, &b) || (b.parse >= 0 && r->parts[b.parse].name.n > 0))
            return NULL; /* a name that is given is final only when it is confirmed */
        f = b.stmt->facts;
        *stmt = b.stmt;
    }
    return f != NULL && sql_repeatable(f, c->pool->catalog) ? f : NULL;
}

/* ---- sending --------------------------------------------------------------------------------- */

void session_share_room(struct worker *w, struct flight *f, uint32_t n)
{
    if (f->copy.cap >= n)
        return;
    w->memory.in_bytes -= f->copy.cap;
    f->copy.cap = MAX(n, 256u);
    f->copy.p = mem_resize(f->copy.p, f->copy.cap);
    w->memory.in_bytes += f->copy.cap;
}

void session_share_keep(struct worker *w, struct flight *f, struct str raw)
{
    session_share_room(w, f, (uint32_t)raw.n);
    memcpy(f->copy.p, raw.p, raw.n);
    f->copy.n = (uint32_t)raw.n;
}

static void send_to(struct client *c, struct server *s, const struct wire_req *r, struct plan *plan)
{
    if (s->state != SV_SHARED)
        pool_share_begin(s);
    if (c->told != s->profile)
        session_report(c, s);
    session_served(c, s);
    struct flight *f = session_push(c, s, r, plan);
    f->ended = true;
    client_set_state(c, CL_SHARED);
    s->pool->stats.shared += s->fl_count > 1;
    measure_depth(&s->pool->measure, s->fl_count);
    session_send(c, s, f, r);
    conn_dirty(&s->conn);
    pool_share_fed(s);
}

void session_share_note(struct client *c, const struct wire_req *r, struct plan *plan)
{
    const struct stmt *stmt;
    const struct facts *f = session_share_reads(c, r, plan, &stmt);
    plan->digest = f != NULL ? f->digest : 0;
}

bool session_share(struct client *c, const struct wire_req *r, struct plan *plan)
{
    const struct stmt *stmt;
    struct pool *p = plan->to;
    const struct facts *f = session_share_reads(c, r, plan, &stmt);
    if (f == NULL)
        return false;
    plan->digest = f->digest;
    if (!pace_is_short(p->share.pace, f->digest))
        return false;
    plan->may_share = true;
    struct server *s = pool_share(p, c->vars, stmt);
    if (s == NULL)
        return false;
    send_to(c, s, r, plan);
    return true;
}

bool session_share_offered(struct client *c, const struct wire_req *r, struct plan *plan)
{
    const struct stmt *stmt;
    struct pool *p = c->waiter.pool;
    struct server *s = c->offered;
    const struct facts *f = session_share_reads(c, r, plan, &stmt);
    bool may = f != NULL && pace_is_short(p->share.pace, f->digest);
    bool checked = s != NULL && (s->state == SV_SHARED || !server_needs_check(s));
    if (may && checked && server_may_share(s, c->vars, stmt)) {
        pool_leave_queue(&c->waiter);
        plan->digest = f->digest;
        send_to(c, s, r, plan);
        return true;
    }
    /* With other settings than this server's it may never find a place: it gets a server alone. */
    pool_requeue_as(p, &c->waiter, may && s == NULL ? WAIT_SHARE : WAIT_ALONE);
    return false;
}

bool session_offered(struct waiter *w, struct server *s)
{
    struct client *c = container_of(w, struct client, waiter);
    if (session_begun(c)) { /* its transaction wants a server alone, with a statement or without */
        pool_requeue_as(w->pool, w, WAIT_ALONE);
        return false;
    }
    c->looking = true;
    c->offered = s;
    conn_kick(&c->conn);
    c->looking = false;
    c->offered = NULL;
    return s != NULL && c->server == s;
}

/* ---- answered -------------------------------------------------------------------------------- */

void session_shared_done(struct server *s)
{
    struct flight *f = server_front(s);
    struct client *c = f->client;
    usec_t now = s->conn.worker->now;
    pace_note(s->pool->share.pace, f->digest, now - MAX(f->start, s->front_at));
    server_pop(s);
    if (c != NULL) {
        c->server = NULL;
        c->lost = 0;
        client_set_state(c, CL_IDLE);
        listen_flush(c);
    }
    pool_share_done(s);
    if (c != NULL)
        session_go_on(c);
}

/* ---- taken away ------------------------------------------------------------------------------ */

/* The request of flight f, of which nothing has reached its client, is that client's next one
 * again. The server goes on with it, for nobody. False: the client had to be closed. */
static bool take_back(struct server *s, struct flight *f)
{
    struct client *c = f->client;
    struct str copy = {(const char *)f->copy.p, f->copy.n};
    session_disown(s, f);
    f->taken = true;
    c->first_start = f->first_start;
    statement_batch_clear(&f->batch); /* noted where it is answered */
    c->server = NULL;
    timeout_stop(&c->tx_timeout);
    if (conn_unread(&c->conn, copy))
        return true;
    client_fatal(c, C_OVERLOAD, STR_NONE);
    return false;
}

/* It waits for a server of its own, as if it had waited since it was sent first. */
static void wait_again(struct client *c, int node)
{
    if (c->route != NULL) {
        session_route_lost(c, node);
        return;
    }
    c->wait_at = c->conn.worker->now; /* what was before that has been counted */
    c->waiter.kind = WAIT_ALONE;
    client_set_state(c, CL_WAIT);
    pool_rejoin_queue(c->pool, &c->waiter, c->first_start);
    pool_schedule(c->pool);
}

/* failed: the node that it was sent to (in a cluster); TOPOLOGY_NONE: it has not failed. */
static void repeat(struct server *s, struct flight *f, int failed)
{
    struct client *c = f->client;
    s->pool->stats.repeated++;
    if (take_back(s, f))
        wait_again(c, failed);
}

void session_unshare(struct server *s)
{
    struct flight *front = server_front(s);
    struct client *c = front->client;
    front->digest = 0; /* its time tells nothing any more */
    for (uint32_t i = 1; i < s->fl_count; i++)
        if (server_flight(s, i)->client != NULL)
            repeat(s, server_flight(s, i), TOPOLOGY_NONE);
    s->pool->stats.unshared += s->fl_count > 1;
    server_set_state(s, SV_ACTIVE);
    if (s->pool->nwaiters > 0) /* one server less is shared: another may be begun with */
        pool_schedule(s->pool);
    if (c == NULL) {
        server_drain(s);
        return;
    }
    /* What it sends next needs all that is put in front of a first request. */
    s->client = c;
    c->barrier = true;
    client_set_state(c, CL_BUSY);
}

/* Nothing but what was taken away is in flight. */
static bool rest_is_nobodys(struct server *s)
{
    for (uint32_t i = 0; i < s->fl_count; i++) {
        const struct flight *f = server_flight(s, i);
        if (f->kind != FLIGHT_CLIENT || f->client != NULL)
            return false;
    }
    return s->fl_count > 0 && !server_has_state(s);
}

bool session_share_let_go(struct server *s)
{
    struct client *c = s->client;
    if (c == NULL || !rest_is_nobodys(s))
        return false;
    session_detach(c);
    client_set_state(c, CL_IDLE);
    listen_flush(c);
    server_drain_soon(s);
    session_go_on(c);
    return true;
}

bool session_share_stop(struct client *c, enum cause why)
{
    struct server *s = c->server;
    struct flight *front = server_front(s);
    if (front->client == c) {
        session_unshare(s);
        return true;
    }
    session_disown_all(s, c);
    c->server = NULL;
    timeout_stop(&c->tx_timeout);
    client_set_state(c, CL_IDLE);
    client_tell(c, &(struct wire_fault){.cause = why});
    listen_flush(c);
    session_go_on_later(c);
    return false;
}

void session_share_leave(struct client *c)
{
    struct server *s = c->server;
    if (s == NULL) /* it was taken away already */
        return;
    session_disown_all(s, c);
    c->server = NULL;
}

/* One whose answer has begun cannot be repeated, and one that has lost several servers may be what
 * they died of. */
static void lose(struct server *s, struct flight *f, const struct wire_fault *told)
{
    struct client *c = f->client;
    bool again = session_retry_lost(s, f);
    bool fatal = f->output;
    if (again) {
        c->lost++;
        repeat(s, f, s->pool->node);
        return;
    }
    session_disown(s, f);
    c->server = NULL;
    timeout_stop(&c->tx_timeout);
    c->lost = 0;
    struct wire_fault x = *told;
    x.fatal = fatal;
    client_tell(c, &x);
    if (fatal) {
        client_end(c, "server connection lost");
        return;
    }
    client_set_state(c, CL_IDLE);
    listen_flush(c);
    session_go_on_later(c);
}

/* The one flight of its client, which has seen nothing of the answer, or NULL. */
static struct flight *only_flight(struct server *s)
{
    const struct client *c = s->client;
    struct flight *its = NULL;
    if (c == NULL || c->conn.in_callback || c->timed_out != 0 || s->cancels > 0 ||
        server_has_state(s))
        return NULL;
    for (uint32_t i = 0; i < s->fl_count; i++) {
        struct flight *f = server_flight(s, i);
        if (f->kind == FLIGHT_BEGIN)
            return NULL; /* without it the request would be outside of its transaction */
        if (f->client != c || f->kind != FLIGHT_CLIENT)
            continue;
        if (its != NULL || !session_retry_lost(s, f))
            return NULL;
        its = f;
    }
    return its;
}

void session_share_take_back(struct server *s, struct flight *f)
{
    repeat(s, f, s->pool->node);
}

bool session_can_repeat(struct server *s)
{
    return s->state == SV_SHARED || only_flight(s) != NULL;
}

bool session_share_lost_alone(struct server *s)
{
    struct client *c = s->client;
    struct flight *its = only_flight(s);
    if (its == NULL)
        return false;
    c->lost++;
    s->pool->stats.repeated++;
    session_detach(c);
    client_set_state(c, CL_IDLE);
    c->early = false;
    c->barrier = false;
    if (take_back(s, its))
        wait_again(c, s->pool->node);
    return true;
}

void session_share_lost(struct server *s, struct str code, struct str text)
{
    const struct wire_fault told = {.cause = C_SERVER_LOST, .code = code, .text = text};
    for (uint32_t i = 0; i < s->fl_count; i++)
        if (server_flight(s, i)->client != NULL)
            lose(s, server_flight(s, i), &told);
}
