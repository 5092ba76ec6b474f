/* session.c - from client to server: requests, bodies, uploads; see session.h.
 *
 * A request is looked at (session_plan.c), gets a server or a place in the queue, what it needs is
 * put in front of it (session_vars.c), and its bytes go on.  When it has to wait, its bytes stay in
 * the client's input buffer and are fed again later (cl_unread), so that there is one way in and
 * nothing half-done.
 */
#include "proxy/session_begin.h"
#include "proxy/session_cache.h"
#include "proxy/session_kept.h"
#include "proxy/session_ours.h"
#include "proxy/session_retry.h"
#include "proxy/session_route.h"
#include "proxy/session_share.h"

#include "base/check.h"
#include "base/log.h"
#include "proxy/kill.h"
#include "proxy/listen.h"

#include <stdatomic.h>

/* What a client does next must see the outcome of these: settings and names are asked for or
 * learned when the request is done, so nothing more is sent before. */
#define BARRIER_EFFECTS                                                                            \
    (FX_UNKNOWN | FX_VARS_NAMED | FX_VARS_ALL | FX_ROLE | FX_PREPARE | FX_DEALLOCATE |             \
     FX_DEALLOCATE_ALL | FX_DISCARD_ALL | FX_LISTEN | FX_UNLISTEN | FX_EXECUTE | FX_COPY |         \
     FX_KILL)

enum taken { TAKEN, LEFT };

static bool may_go_on(const struct client *c)
{
    if (c->barrier)
        return false;
    if (c->state == CL_WAIT)
        return c->looking;
    return c->state == CL_IDLE || c->state == CL_BUSY || c->state == CL_HELD;
}

/* The request of this client that is still being sent, or NULL. */
static struct flight *open_flight(struct client *c)
{
    if (c->server == NULL)
        return NULL;
    struct flight *f = server_back(c->server);
    return f != NULL && f->kind == FLIGHT_CLIENT && f->client == c && !f->ended ? f : NULL;
}

void session_served(struct client *c, struct server *s)
{
    struct worker *w = c->conn.worker;
    c->server = s;
    c->xact_at = w->now;
    s->request_wall = c->request_wall;
    s->pool->stats.server_assignments++; /* of its node, in a cluster */
    c->waited = c->wait_at != 0 ? w->now - c->wait_at : 0;
    s->pool->stats.wait_time += (uint64_t)c->waited;
    measure_took(&s->pool->measure, MEASURE_WAIT, c->waited);
    c->wait_at = 0;
    c->told_queued = false;
    c->timed_out = 0;
}

void session_attach(struct client *c, struct server *s)
{
    session_served(c, s);
    s->client = c;
    client_set_state(c, CL_BUSY);
}

void session_detach(struct client *c)
{
    struct server *s = c->server;
    if (s->conn.paused != 0) {
        conn_resume(&s->conn, PAUSE_PEER);
        conn_resume(&s->conn, PAUSE_MEMORY);
    }
    conn_resume(&c->conn, PAUSE_PEER);
    if ((c->passthrough && s->session_begun) ||
        worker_options(c->conn.worker)->server_reset_query_always)
        s->reset.due = true;
    s->unnamed_large = false;
    if (s->counts_pinned) {
        s->counts_pinned = false;
        atomic_fetch_sub_explicit(&s->pool->shared->shared.pinned, 1, memory_order_relaxed);
    }
    s->client = NULL;
    c->server = NULL;
    c->upload = false;
    timeout_stop(&c->tx_timeout);
}

void session_granted(struct client *c, struct server *s)
{
    session_attach(c, s);
    session_go_on(c);
    if (s->state == SV_ACTIVE && s->client == c && s->fl_count == 0 && session_begun(c))
        session_begin_alone(c, s);
    /* Input that came to nothing (refused, or the peer spoke nonsense) must not keep the server. */
    if (s->state == SV_ACTIVE && s->client == c && s->fl_count == 0 && !c->barrier)
        session_settle(s);
}

void session_go_on(struct client *c)
{
    c->early = false;
    c->barrier = false;
    conn_kick(&c->conn);
}

void session_go_on_later(struct client *c)
{
    c->early = false;
    c->barrier = false;
    if (c->conn.in_len > 0 && conn_is_open(&c->conn))
        ev_feed_event(c->conn.worker->loop, &c->conn.io, EV_CUSTOM);
}

/* The request is answered with f instead of being run. */
static void tell_refused(struct client *c, const struct wire_req *r, struct wire_fault *f)
{
    f->req_open = (r->flags & REQ_END) == 0;
    c->skipping = f->req_open;
    session_look_forget(c);
    if (session_begun(c))
        c->aborted = ABORTED_TOLD;
    session_begin_drop(c);
    if (c->aborted != ABORTED_NOT) {
        c->aborted = ABORTED_TOLD;
        f->tx = TX_FAILED;
    }
    client_tell(c, f);
}

static void refuse_as_told(struct client *c, const struct wire_req *r)
{
    const struct refusal *x = &c->refusal;
    tell_refused(c, r, &(struct wire_fault){.cause = x->cause, .code = x->code, .text = x->text});
    c->refusal.set = false;
}

static void refuse(struct client *c, const struct wire_req *r, enum cause cause, struct str text)
{
    enum tx_state tx = session_tx(c);
    if (c->server != NULL && tx == TX_OPEN) {
        /* The transaction does not know of the refusal; going on in it would not be what the client
         * thinks, so it ends here. */
        session_give_up_tx(c);
    }
    tell_refused(c, r, &(struct wire_fault){.cause = cause, .text = text, .tx = tx});
}

/* Something a text may not do here at all. */
static bool refused_by_policy(struct client *c, const struct wire_req *r, const struct plan *plan)
{
    if (pool_mode(c->pool) == CONFIG_POOL_STATEMENT && (plan->effects & FX_BEGIN)) {
        refuse(c, r, C_TX_IN_STATEMENT_MODE, STR_NONE);
        return true;
    }
    if ((r->flags & REQ_SIMPLE) && worker_options(c->conn.worker)->disable_pqexec) {
        client_fatal(c, C_UNSUPPORTED, STR("PQexec disallowed"));
        return true;
    }
    return false;
}

/* A lone end-of-request marker needs no server. */
static bool answer_locally(struct client *c, const struct wire_req *r)
{
    if ((c->server != NULL && c->aborted == ABORTED_NOT) || r->nparts != 1)
        return false;
    if (r->parts[0].kind == PART_FLUSH)
        return true;
    if (r->parts[0].kind != PART_SYNC)
        return false;
    conn_wire(&c->conn)->cl_idle(c->wire_state, session_tx(c), &c->conn.out);
    conn_dirty(&c->conn);
    return true;
}

/* Queues a client whose request would have to wait, without looking at the request: most requests
 * of a busy pool wait, and what waits is looked at when its turn comes. */
static bool queued_unseen(struct client *c, struct str in)
{
    const struct wire *wire = conn_wire(&c->conn);
    bool refused = false;
    if (c->server != NULL || c->state != CL_IDLE || c->refusal.set || c->route != NULL ||
        c->pool->cache != NULL || !pool_would_wait(c->pool) || wire->cl_wants_server == NULL ||
        !wire->cl_wants_server(c->wire_state, in))
        return false;
    c->waiter.kind = pool_shares(c->pool) ? WAIT_UNSEEN : WAIT_ALONE;
    struct server *s = pool_take(c->pool, &c->waiter, c->vars, &refused);
    if (s != NULL) {
        session_attach(c, s);
        return false;
    }
    if (refused)
        return false; /* the request itself will be told */
    c->wait_at = c->conn.worker->now;
    client_set_state(c, CL_WAIT);
    return true;
}

static enum taken get_server(struct client *c, const struct wire_req *r, const struct plan *plan)
{
    bool refused = false;
    c->request_at = c->conn.worker->now;
    c->waiter.kind = plan->may_share ? WAIT_SHARE : WAIT_ALONE;
    struct server *s = pool_take(plan->to, &c->waiter, c->vars, &refused);
    if (s != NULL) {
        session_attach(c, s);
        return TAKEN;
    }
    if (refused) {
        refuse(c, r, C_POOL_FULL, STR_NONE);
        return LEFT;
    }
    c->wait_at = c->conn.worker->now;
    client_set_state(c, CL_WAIT);
    return LEFT;
}

static void sent_piece(struct client *c, struct server *s, struct flight *f,
                       const struct wire_req *r)
{
    f->ended = (r->flags & REQ_END) != 0;
    s->half_request = !f->ended;
    conn_dirty(&s->conn);
    if (conn_above_high(&s->conn))
        conn_pause(&c->conn, PAUSE_PEER);
    if (s->wire_fakes) {
        s->wire_fakes = false;
        session_output(s, STR_NONE, false);
    }
}

struct flight *session_push(struct client *c, struct server *s, const struct wire_req *r,
                            struct plan *plan)
{
    struct worker *w = c->conn.worker;
    struct flight *f = server_push(s, FLIGHT_CLIENT, c);
    f->effects = plan->effects;
    f->start = w->now;
    f->first_start = c->first_start != 0 ? c->first_start : f->start;
    f->facts = plan->facts;
    plan->facts = NULL;
    f->digest = plan->digest;
    f->waited = c->waited;
    c->waited = 0;
    if (w->noting.on)
        session_note_begin(s, f, r, plan);
    if (f->digest != 0)
        session_share_keep(w, f, r->raw);
    if (UNLIKELY(c->cached != NULL)) {
        f->fill = c->cached->fill;
        c->cached->fill = NULL;
        if (f->fill != NULL)
            session_fill_sent(f->fill);
        DCHECK(c->cached->await == NULL && c->cached->given == NULL);
        c->cached->counted = false;
    }
    if (s->tx == TX_IDLE && !timeout_running(&c->tx_timeout))
        worker_timeout(w, &c->tx_timeout, c->pool->limits[CONFIG_TRANSACTION]);
    s->request_at = w->now;
    s->pool->stats.queries += c->first_start == 0;
    c->first_start = 0;
    if (c->route != NULL)
        session_route_sent(c, s, f, plan);
    if (c->route != NULL)
        session_retry_keep(c, s, f, r, plan);
    return f;
}

static void begin(struct client *c, struct server *s, const struct wire_req *r, struct plan *plan)
{
    if (plan->effects & FX_UNLISTEN)
        listen_note_unlisten(c, r, plan);
    struct flight *f = session_push(c, s, r, plan);
    if (plan->effects & FX_PREPARE)
        f->text = (struct str){str_dup(plan->text), plan->text.n};
    if (c->state != CL_BUSY)
        client_set_state(c, CL_BUSY);
    if (c->pool->cache != NULL)
        session_write_note(c, s, r, plan);
    session_send(c, s, f, r);
    sent_piece(c, s, f, r);
}

/* The BEGIN that was answered goes out before the first statement of its transaction. Only a
 * proven read follows at once: should BEGIN fail, it has done no harm. */
static enum taken begin_first(struct client *c, struct server *s, const struct wire_req *r,
                              struct plan *plan)
{
    bool glued = plan->whole && plan->verdict == STANDBY_OK &&
                 sql_repeatable(plan->statement, c->pool->catalog);
    if (session_prelude(c, s, r, plan) == PRELUDE_WAIT) {
        c->barrier = true;
        return LEFT;
    }
    session_begin_send(c, s, glued);
    return glued ? TAKEN : LEFT;
}

/* A planned request and its server: prelude, first piece. */
static enum taken start_on(struct client *c, struct server *s, const struct wire_req *r,
                           struct plan *plan)
{
    if (refused_by_policy(c, r, plan)) {
        if (c->server == s && s->fl_count == 0)
            session_settle(s); /* it was taken for nothing */
        return TAKEN;
    }
    if (session_begun(c) && s->fl_count == 0 && begin_first(c, s, r, plan) == LEFT)
        return LEFT;
    if (s->fl_count > 0 &&
        ((plan->effects & BARRIER_EFFECTS) || s->cancels > 0 || session_unconfirmed(s))) {
        c->barrier = true; /* lifted when what is in flight is done */
        return LEFT;
    }
    if ((plan->effects & FX_KILL) && s->fl_count == 0) {
        enum kill_step k = kill_request(c, r);
        if (k == KILL_DONE && c->server == s && s->fl_count == 0)
            session_settle(s);
        if (k != KILL_PASS)
            return k == KILL_DONE ? TAKEN : LEFT;
    }
    switch (s->fl_count > 0 ? PRELUDE_NONE : session_prelude(c, s, r, plan)) {
    case PRELUDE_NONE:
    case PRELUDE_GLUED:
        begin(c, s, r, plan);
        return TAKEN;
    case PRELUDE_WAIT:
        c->barrier = true;
        return LEFT;
    }
    return LEFT;
}

/* A planned request of a client without a server: shares one, or has one now. */
static enum taken find_server(struct client *c, const struct wire_req *r, struct plan *plan)
{
    if (c->state == CL_WAIT)
        return session_share_offered(c, r, plan) ? TAKEN : LEFT;
    plan->to = c->pool;
    if (c->route != NULL && (plan->effects & (FX_BEGIN | FX_LOCAL)) != 0 &&
        session_begin_hold(c, r, plan))
        return TAKEN;
    if (c->route != NULL) {
        struct wire_fault fault = {0};
        switch (session_route(c, r, plan, &fault)) {
        case ROUTED:
            break;
        case ROUTE_HELD:
            return LEFT;
        case ROUTE_REFUSED:
            refuse(c, r, fault.cause, STR_NONE);
            return TAKEN;
        }
    }
    if (session_share(c, r, plan))
        return TAKEN;
    if (get_server(c, r, plan) == LEFT)
        return c->state == CL_WAIT ? LEFT : TAKEN; /* TAKEN: refused, the queue was full */
    return start_on(c, c->server, r, plan);
}

/* A planned request of a client that has a server already. */
static enum taken go_on_there(struct client *c, const struct wire_req *r, struct plan *plan)
{
    struct server *s = c->server;
    if (c->route != NULL && s->fl_count > 0 && plan->verdict == STANDBY_ADVISORY_LOCK) {
        c->barrier = true; /* whether a transaction is open is known when what is before is done */
        return LEFT;
    }
    if (c->route != NULL && !session_route_bound(c, plan)) {
        refuse(c, r, C_UNSUPPORTED, STR("an advisory lock of a replica is seen by nobody else"));
        if (c->server == s && s->fl_count == 0)
            session_settle(s); /* it was chosen for this transaction */
        return TAKEN;
    }
    session_share_note(c, r, plan);
    return start_on(c, s, r, plan);
}

static enum session_read look_in_cache(struct client *c, const struct wire_req *r,
                                       const struct plan *plan)
{
    if (c->pool->cache != NULL && !c->aborted && !session_begun(c))
        return session_look(c, r, plan);
    if (c->cached != NULL)
        session_look_forget(c); /* it waited, and then its rules went away */
    return READ_PASS;
}

/* A request that has not begun yet. */
static enum taken start_request(struct client *c, const struct wire_req *r)
{
    struct plan plan = {0};
    if (c->refusal.set) {
        refuse_as_told(c, r);
        return TAKEN;
    }
    if (answer_locally(c, r))
        return TAKEN;
    bool again = c->route != NULL && session_kept_recall(c, r, &plan);
    if (!again)
        session_plan(c, r, &plan);
    if (!again && c->route != NULL)
        session_route_judge(c, r, &plan);
    enum taken t;
    enum session_read did = look_in_cache(c, r, &plan);
    bool may_be_ours = did == READ_PASS && !again && (c->route != NULL || c->pool->cache != NULL);
    enum ours ours = may_be_ours && !c->aborted ? session_ours(c, r, &plan) : OURS_NOT;
    if (did == READ_ANSWERED)
        session_note_cached(c, &plan);
    if (did != READ_PASS) {
        t = did == READ_ANSWERED ? TAKEN : LEFT;
    } else if (ours != OURS_NOT) {
        t = ours == OURS_ANSWERED ? TAKEN : LEFT;
    } else if (c->aborted) {
        session_aborted(c, r, &plan);
        t = TAKEN;
    } else {
        t = c->server == NULL ? find_server(c, r, &plan) : go_on_there(c, r, &plan);
    }
    if (t == LEFT && c->route != NULL && c->state == CL_WAIT && c->pool->cache == NULL)
        session_kept_put(c, r, &plan);
    session_plan_done(c, r, &plan);
    return t;
}

/* The last piece of an open request stops another client. KILL_DONE: only its end marker is still
 * to be sent, or c has stopped itself. */
static enum kill_step kill_in_piece(struct client *c, const struct wire_req *r)
{
    struct server *s = c->server;
    const struct wire *wire = conn_wire(&c->conn);
    bool alone = s->fl_count == 1 && wire->sv_answered != NULL && wire->sv_answered(s->wire_state);
    return alone ? kill_request(c, r) : KILL_PASS;
}

static enum taken next_piece(struct client *c, struct flight *f, const struct wire_req *r)
{
    struct plan plan = {0};
    struct wire_req rest = *r;
    session_plan(c, r, &plan);
    enum kill_step k = plan.effects & FX_KILL ? kill_in_piece(c, r) : KILL_PASS;
    if (k == KILL_DONE) {
        rest.parts += rest.nparts - 1;
        rest.nparts = 1;
        rest.raw = rest.parts->raw;
    }
    if (k != KILL_WAIT && c->server != NULL) {
        f->effects |= plan.effects;
        if (c->conn.worker->noting.on)
            session_note_begin(c->server, f, r, &plan);
        if (c->route != NULL)
            session_route_more(c->server, f);
        if (plan.effects & FX_UNLISTEN)
            listen_note_unlisten(c, r, &plan);
        if (c->pool->cache != NULL)
            session_write_note(c, c->server, &rest, &plan);
        session_send(c, c->server, f, &rest);
        sent_piece(c, c->server, f, &rest);
    }
    session_plan_done(c, r, &plan);
    return k == KILL_WAIT ? LEFT : TAKEN;
}

/* After the end of a request with lasting effects was sent, nothing more is until it is done. */
static void raise_barrier(struct client *c, const struct flight *f)
{
    if (f != NULL && f->client == c && f->ended && (f->effects & BARRIER_EFFECTS))
        c->barrier = true;
}

static enum taken on_request(struct client *c, const struct wire_req *r)
{
    struct flight *f = open_flight(c);
    enum taken t = f == NULL ? start_request(c, r) : next_piece(c, f, r);
    if (t == TAKEN && c->server != NULL && c->state != CL_SHARED)
        raise_barrier(c, server_back(c->server));
    return t;
}

static void on_body(struct client *c, const struct wire_req *r)
{
    struct server *s = c->server;
    struct flight *f = open_flight(c);
    bool rest = s != NULL && s->half_message;
    if (s == NULL || (f == NULL && !c->upload && !c->replication && !rest))
        /* the server was lost on the way; the codec drops the rest up to the request's end */
        return;
    conn_wire(&c->conn)->sv_body(s->wire_state, r->raw, &s->conn.out);
    if (f != NULL && (r->flags & REQ_END)) {
        f->ended = true;
        s->half_request = false;
        raise_barrier(c, f);
    }
    conn_dirty(&s->conn);
    if (conn_above_high(&s->conn))
        conn_pause(&c->conn, PAUSE_PEER);
    if (!rest || !(r->flags & REQ_REST))
        return;
    s->half_message = false;
    if (s->fl_count == 0)
        session_settle(s);
}

static void on_skipped(struct client *c)
{
    c->skipping = false;
    conn_wire(&c->conn)->cl_idle(c->wire_state, session_tx(c), &c->conn.out);
    conn_dirty(&c->conn);
}

/* Data of an upload came before the server has asked for it, in the same go as the statement: it
 * waits for the question, or for the error that comes instead.  Only a statement that may ask is
 * waited for, because the answer to any other could stay with the server until the request's
 * end. */
static bool waits_to_upload(struct client *c)
{
    const struct flight *f = open_flight(c);
    const uint32_t copy_in = FX_COPY | FX_WRITE;
    if (f == NULL || (f->effects & copy_in) != copy_in)
        return false;
    const struct wire *wire = conn_wire(&c->conn);
    if (wire->sv_skips == NULL || wire->sv_skips(c->server->wire_state) ||
        wire->sv_answered(c->server->wire_state))
        return false;
    c->early = true;
    c->barrier = true;
    return true;
}

/* One event; LEFT: its bytes were not used. */
static enum taken on_event(struct client *c, const struct wire_client_event *ev)
{
    switch (ev->kind) {
    case CE_REQ:
        return on_request(c, &ev->req);
    case CE_BODY:
    case CE_UPLOAD:
        on_body(c, &ev->req);
        return TAKEN;
    case CE_SKIPPED:
        on_skipped(c);
        return TAKEN;
    case CE_IGNORED:
        return ev->early && waits_to_upload(c) ? LEFT : TAKEN;
    case CE_QUIT:
        client_close(c, "client close request");
        return TAKEN;
    case CE_BAD:
        client_fatal(c, C_PROTOCOL, str_of(ev->reason));
        return TAKEN;
    case CE_MORE:
        return LEFT;
    case CE_TLS:
    case CE_LOGIN:
    case CE_CRED:
    case CE_CANCEL:
        client_fatal(c, C_PROTOCOL, STR_NONE);
        return TAKEN;
    }
    return TAKEN;
}

size_t session_input(struct client *c, struct str data, bool full)
{
    struct worker *w = c->conn.worker;
    size_t used = 0;
    while (used < data.n && may_go_on(c)) {
        struct wire_client_event ev;
        struct str rest = {data.p + used, data.n - used};
        if (queued_unseen(c, rest))
            break;
        if (c->route == NULL || !session_kept_reread(c, rest, &ev))
            w->wire->cl_feed(c->wire_state, rest, full && used == 0, w->parts, &ev);
        if (on_event(c, &ev) == LEFT) {
            if (ev.kind == CE_REQ || ev.kind == CE_IGNORED)
                w->wire->cl_unread(c->wire_state, &ev);
            break;
        }
        used += ev.consumed;
        if (!conn_is_open(&c->conn))
            return data.n;
        if (c->conn.paused & PAUSE_OWN)
            break;
    }
    struct server *s = c->server;
    if (s != NULL && s->conn.out.borrowed) {
        conn_flush(&s->conn);
        if (c->server == s)
            outq_settle(&s->conn.out);
    }
    return used;
}
