/* session_begin.c - a BEGIN that is answered before any server has it; see session_begin.h.  Worker
 * thread. */
#include "proxy/session_begin.h"

#include "base/check.h"
#include "protocol/wire_node.h"
#include "proxy/session_answer.h"
#include "proxy/session_route.h"

#define LATER_US 100000 /* between two attempts to begin without a statement */

bool session_begun(const struct client *c)
{
    return c->route != NULL && c->route->begin.facts != NULL;
}

bool session_begun_alone(const struct client *c)
{
    return session_begun(c) && c->route->kept == NULL && c->conn.in_len == 0;
}

bool session_is_beginning(struct server *s)
{
    for (uint32_t i = 0; i < s->fl_count; i++)
        if (server_flight(s, i)->kind == FLIGHT_BEGIN)
            return true;
    return false;
}

enum tx_state session_tx(const struct client *c)
{
    if (c->aborted != ABORTED_NOT)
        return TX_FAILED;
    if (c->server != NULL)
        return c->server->tx;
    return session_begun(c) ? TX_OPEN : TX_IDLE;
}

/* ---- holding --------------------------------------------------------------------------------- */

/* It cannot fail, and its transaction may turn out to be one for a replica. */
static bool is_open_begin(const struct facts *f)
{
    return f != NULL && f->complete && (f->effects & FX_BEGIN) != 0 &&
           (f->effects & ~(uint32_t)(FX_BEGIN | FX_TXCTL)) == 0 && !f->read_write_begin &&
           !f->serializable_begin && f->hint.n == 0;
}

/* It only adds READ ONLY to the BEGIN that is held, before anything else has been done. */
static bool is_modes(const struct client *c, const struct facts *f)
{
    return f != NULL && f->complete && f->effects == FX_LOCAL && f->read_only_begin &&
           !f->serializable_begin && f->hint.n == 0 && c->route->begin.modes == NULL;
}

/* The database refuses a name that is taken. */
static bool may_name(const struct client *c, struct str name)
{
    return session_can_name(c, name) &&
           (name.n == 0 || c->names == NULL || stmt_names_find(c->names, name) == NULL);
}

/* What comes with a statement of the protocol is what PostgreSQL would take: no values, no types,
 * and a name that we can give. */
static bool is_plain(const struct client *c, const struct wire_req *r)
{
    const struct wire *wire = conn_wire(&c->conn);
    struct wire_value value;
    struct batch b;
    if (r->flags & REQ_SIMPLE)
        return r->nparts == 1;
    if (wire->bind_values == NULL || !session_batch_of_one(c, r, &b))
        return false;
    for (int i = 0; i < r->nparts; i++)
        if (r->parts[i].portal.n > 0 || r->parts[i].kind == PART_CLOSE_PORTAL)
            return false;
    return wire->bind_values(&r->parts[b.bind], b.stmt->text->types, &value, 1) == 0 &&
           (b.parse < 0 || may_name(c, r->parts[b.parse].name));
}

static bool may_hold_now(const struct client *c)
{
    const struct worker *w = c->conn.worker;
    return c->pool->entry->cluster->begin_hold > 0 && c->first_start == 0 && c->listen == NULL &&
           pool_mode(c->pool) == CONFIG_POOL_TRANSACTION && !worker_options(w)->disable_pqexec &&
           process_phase(w->process) == PHASE_RUN && !pool_paused(c->pool);
}

bool session_begin_hold(struct client *c, const struct wire_req *r, const struct plan *plan)
{
    struct client_route *x = c->route;
    const struct wire *wire = conn_wire(&c->conn);
    struct facts *f = plan->statement;
    bool more = session_begun(c);
    if (!plan->whole || wire->begin_tag == NULL || !(more ? is_modes(c, f) : is_open_begin(f)) ||
        !may_hold_now(c) || !is_plain(c, r) || !session_route_may_read(c, plan))
        return false;
    session_answer_none(c, r, str_of(wire->begin_tag(f->text)));
    wire->cl_idle(c->wire_state, TX_OPEN, &c->conn.out);
    conn_dirty(&c->conn);
    x->last = (struct route_choice){.target = ROUTE_WAIT,
                                    .reason = ROUTE_BEGIN_HELD,
                                    .verdict = plan->verdict,
                                    .node = TOPOLOGY_NONE};
    c->pool->stats.queries++;
    if (more) {
        x->begin.modes = facts_get(f);
    } else {
        x->begin.facts = facts_get(f);
        worker_timeout(c->conn.worker, &x->begin.late, c->pool->entry->cluster->begin_hold);
    }
    worker_timeout(c->conn.worker, &c->timeout, client_limit_us(c, CL_IDLE));
    return true;
}

void session_begin_drop(struct client *c)
{
    if (!session_begun(c))
        return;
    timeout_stop(&c->route->begin.late);
    facts_put(&c->route->begin.facts);
    facts_put(&c->route->begin.modes);
}

/* ---- sending --------------------------------------------------------------------------------- */

static struct flight *send_one(struct client *c, struct server *s, struct facts *what)
{
    struct worker *w = c->conn.worker;
    conn_wire(&s->conn)->sv_text(s->wire_state, OWN_QUIET, what->text, &s->conn.out);
    struct flight *f = server_push(s, FLIGHT_BEGIN, c);
    f->effects = FX_BEGIN;
    f->ended = true;
    f->start = f->first_start = w->now;
    if (w->noting.on)
        statement_batch_add(&f->batch, what);
    return f;
}

void session_begin_send(struct client *c, struct server *s, bool glued)
{
    struct worker *w = c->conn.worker;
    struct client_route *x = c->route;
    DCHECK(c->server == s && s->tx == TX_IDLE);
    struct flight *f = send_one(c, s, x->begin.facts);
    if (x->begin.modes != NULL)
        f = send_one(c, s, x->begin.modes);
    f->waits = !glued;
    session_begin_drop(c);
    s->tx = TX_OPEN; /* for its client it is */
    if (!timeout_running(&c->tx_timeout))
        worker_timeout(w, &c->tx_timeout, c->pool->limits[CONFIG_TRANSACTION]);
    s->request_at = w->now;
    c->barrier = c->barrier || !glued;
    conn_dirty(&s->conn);
}

void session_begin_alone(struct client *c, struct server *s)
{
    const struct wire_req none = {0};
    const struct plan plan = {.effects = FX_BEGIN};
    if (session_prelude(c, s, &none, &plan) == PRELUDE_WAIT)
        c->barrier = true;
    else
        session_begin_send(c, s, false);
}

void session_begin_later(struct client *c)
{
    usec_t hold = c->pool->entry->cluster->begin_hold;
    worker_timeout(c->conn.worker, &c->route->begin.late, MAX(hold, LATER_US));
}

/* The client takes its time: the transaction begins without it. */
static void on_late(struct timeout *t)
{
    struct client_route *x = container_of(t, struct client_route, begin.late);
    struct client *c = x->client;
    bool refused = false;
    if (c->state != CL_IDLE || x->kept != NULL)
        return; /* its first statement is on its way */
    struct pool *p = c->barrier ? NULL : session_route_begin_to(c);
    if (p == NULL) {
        session_begin_later(c);
        return;
    }
    c->waiter.kind = WAIT_ALONE;
    struct server *s = pool_take(p, &c->waiter, c->vars, &refused);
    if (s != NULL) {
        session_attach(c, s);
        session_begin_alone(c, s);
    } else if (refused) {
        session_begin_later(c);
    } else {
        c->wait_at = c->conn.worker->now;
        client_set_state(c, CL_WAIT);
    }
}

void session_begin_init(struct client *c)
{
    c->route->client = c;
    timeout_init(&c->route->begin.late, on_late);
}

void session_begin_done(struct server *s, struct flight *f, const struct wire_server_event *ev)
{
    if (f->batch.runs > 0)
        session_note(s, f, ev->rows, ev->error != SE_NONE);
    if (ev->error == SE_NONE && ev->tx == TX_OPEN)
        return;
    /* It was told to be open: what follows may not run outside of it. */
    s->tx = TX_OPEN;
    server_close(s, "a transaction could not be begun");
}

void session_begin_cancel(struct client *c, struct server *s)
{
    if (c == NULL || !c->cancel_later || session_is_beginning(s))
        return;
    c->cancel_later = false;
    (void)session_cancel_running(c, C_CANCELLED);
}
