/* session_route.c - which node a request goes to; see session_route.h.  Worker thread. */
#include "proxy/session_route.h"

#include "proxy/session_cache.h"

#include "base/check.h"
#include "base/mem.h"
#include "protocol/wire_node.h"

/* ---- wishes ---------------------------------------------------------------------------------- */

static enum rules_wish wish_of(struct client *c, struct str word)
{
    enum rules_wish w = WISH_NONE;
    char text[128];
    if (word.n == 0 || rules_wish_of(word, &w))
        return w;
    struct str known = STR("; known are primary, replica, prefer-replica and auto");
    size_t n = MIN(word.n, (size_t)40);
    memcpy(text, word.p, n);
    memcpy(text + n, known.p, known.n);
    conn_wire(&c->conn)->cl_notice(c->wire_state, STR("no such route, it is not followed"),
                                   (struct str){text, n + known.n}, &c->conn.out);
    conn_dirty(&c->conn);
    return WISH_NONE;
}

/* The settings that the client has made, where they have changed since the last look. */
static void read_settings(struct client *c)
{
    struct client_route *x = c->route;
    struct wire_wishes w = {STR_NONE, STR_NONE, false, false};
    struct error err;
    if (x->seen == c->vars)
        return;
    varset_put(&x->seen);
    x->seen = varset_get(c->vars);
    for (int i = 0; i < c->vars->n; i++)
        conn_wire(&c->conn)->var_wishes(&c->vars->vars[i], &w);
    x->setting = wish_of(c, w.route);
    x->read_only = w.read_only;
    x->serializable = w.serializable;
    if (freshness_token_parse(w.token, &x->mark.token, &err) != ST_OK) {
        x->mark.token = (struct freshness_token){0};
        conn_wire(&c->conn)->cl_notice(c->wire_state, STR("malformed token, it is not followed"),
                                       STR_NONE, &c->conn.out);
        conn_dirty(&c->conn);
    }
}

bool session_route_begin(struct client *c, const struct wire_var *vars, int nvars)
{
    struct wire_wishes w = {STR_NONE, STR_NONE, false, false};
    if (c->pool->cluster == NULL)
        return true;
    c->route = mem_new(sizeof(*c->route));
    c->route->last.node = TOPOLOGY_NONE;
    for (int i = 0; i < nvars; i++)
        (void)conn_wire(&c->conn)->startup_wishes(&vars[i], &w);
    return w.route.n == 0 || rules_wish_of(w.route, &c->route->startup);
}

bool session_route_bound(struct client *c, const struct plan *plan)
{
    const struct server *s = c->server;
    if (!server_has_state(s) || s->pool->home == NULL)
        return true; /* it was chosen for this request */
    c->route->last = (struct route_choice){.target = ROUTE_NODE,
                                           .reason = s->tx != TX_IDLE ? ROUTE_BOUND_TRANSACTION
                                                                      : ROUTE_BOUND_PIN,
                                           .verdict = c->route->last.verdict,
                                           .node = (int16_t)s->pool->node,
                                           .replica = c->route->last.replica};
    if (plan->verdict != STANDBY_ADVISORY_LOCK || s->tx != TX_OPEN ||
        c->pool->cluster->topology == NULL)
        return true;
    struct route_ask ask = {.topology = c->pool->cluster->topology,
                            .verdict = plan->verdict,
                            .bound = (int16_t)s->pool->node};
    route_decide(&ask, &c->route->last);
    return c->route->last.target != ROUTE_ERROR;
}

void session_route_end(struct client *c)
{
    if (c->route == NULL)
        return;
    varset_put(&c->route->seen);
    mem_free(c->route);
    c->route = NULL;
}

/* ---- judging --------------------------------------------------------------------------------- */

/* The one statement that all parts are about, or NULL. */
static struct facts *one_statement(const struct client *c, const struct wire_req *r,
                                   const struct plan *plan)
{
    struct stmt *const *stmts = c->conn.worker->part_stmts;
    const struct stmt *used = NULL;
    if (r->flags & REQ_SIMPLE)
        return r->nparts == 1 ? plan->facts : NULL;
    for (int i = 0; i < r->nparts; i++) {
        enum wire_part_kind k = r->parts[i].kind;
        if (k != PART_PARSE && k != PART_BIND && k != PART_DESCRIBE && k != PART_CLOSE)
            continue;
        if (stmts[i] == NULL || stmts[i]->text->by_text || (used != NULL && stmts[i] != used))
            return NULL;
        used = stmts[i];
    }
    return used == NULL ? NULL : used->facts;
}

/* A request in pieces is not known to its end. */
static bool is_whole(const struct wire_req *r)
{
    if ((r->flags & (REQ_START | REQ_END)) != (REQ_START | REQ_END))
        return false;
    for (int i = 0; i < r->nparts; i++)
        if (r->parts[i].cut || r->parts[i].kind == PART_CALL)
            return false;
    return true;
}

void session_route_judge(struct client *c, const struct wire_req *r, struct plan *plan)
{
    plan->statement = is_whole(r) && !c->passthrough ? one_statement(c, r, plan) : NULL;
    plan->verdict = plan->statement == NULL ? STANDBY_NOT_PARSED
                                            : sql_standby(plan->statement, c->pool->catalog);
    plan->whole = plan->statement != NULL;
}

/* What only concerns the session is no write, unless it comes with a read, which may call
 * anything. */
bool session_route_may_write(const struct plan *plan)
{
    bool session_only = (plan->effects & (FX_READ | FX_WRITE | FX_DDL | FX_UNKNOWN)) == 0 &&
                        plan->whole;
    switch ((int)plan->verdict) {
    case STANDBY_OK:
        return false;
    case STANDBY_SETTING:
    case STANDBY_SHOW:
    case STANDBY_TRANSACTION:
    case STANDBY_EMPTY:
        return !session_only;
    default:
        return true;
    }
}

/* ---- deciding -------------------------------------------------------------------------------- */

/* What is to be kept by the result cache is asked of the primary: a replica may lack what was
 * written before. */
static enum rules_wish hint_of(const struct client *c, struct facts *f)
{
    enum rules_wish hint = f != NULL ? route_hint(f) : WISH_NONE;
    return hint == WISH_NONE && c->cached != NULL && c->cached->fill != NULL ? WISH_PRIMARY : hint;
}

static void fill_ask(struct client *c, const struct plan *plan, struct freshness_set *reads,
                     struct route_ask *a)
{
    struct client_route *x = c->route;
    struct pool_cluster *pc = c->pool->cluster;
    struct facts *f = plan->statement;
    bool begins = f != NULL && (f->effects & FX_BEGIN) != 0 && (f->effects & FX_MULTI) == 0;
    *a = (struct route_ask){
        .topology = pc->topology,
        .verdict = begins ? STANDBY_OK : plan->verdict,
        .hint = hint_of(c, f),
        .setting = x->setting,
        .rule = f != NULL ? rules_match(c->pool->entry->cluster->rules, f, NULL) : WISH_NONE,
        .startup = x->startup,
        .entry = pool_cluster_wish(c->pool),
        .bound = TOPOLOGY_NONE,
        .begins_block = begins,
        .read_only = begins && (f->read_only_begin || (x->read_only && !f->read_write_begin)),
        .serializable = x->serializable || (begins && f->serializable_begin),
        .learned = f != NULL && pool_cluster_learned(c->pool, f->digest),
        .avoid = x->avoid | pool_cluster_failing(c->pool),
        .random = ++pc->turn * UINT64_C(0x9e3779b97f4a7c15),
        .mark = &x->mark};
    if (pc->topology->policy.consistency == CONSISTENCY_DATABASE) {
        if (plan->verdict == STANDBY_OK)
            freshness_set_read(reads, f, c->pool->catalog);
        else
            reads->all = true;
        a->db = pc->writes;
        a->reads = reads;
    }
}

static enum routed hold(struct client *c, const struct wire_req *r, struct wire_fault *fault)
{
    struct client_route *x = c->route;
    usec_t now = c->conn.worker->now;
    if (x->held_since == 0)
        x->held_since = now;
    fault->cause = C_NO_NODE;
    if (session_route_patience(c) <= 0)
        return ROUTE_REFUSED;
    c->waiter.kind = WAIT_ALONE;
    c->waiter.bytes = (uint32_t)MIN(r->raw.n, (size_t)UINT32_MAX);
    fault->cause = C_POOL_FULL;
    if (!pool_cluster_hold(c->pool, &c->waiter, x->held_since))
        return ROUTE_REFUSED;
    if (c->wait_at == 0)
        c->wait_at = now;
    client_set_state(c, CL_WAIT);
    return ROUTE_HELD;
}

enum routed session_route(struct client *c, const struct wire_req *r, struct plan *plan,
                          struct wire_fault *fault)
{
    struct pool_cluster *pc = c->pool->cluster;
    struct freshness_set reads = {0};
    struct route_ask ask;
    if (pc->topology == NULL)
        return hold(c, r, fault);
    read_settings(c);
    fill_ask(c, plan, &reads, &ask);
    route_decide(&ask, &c->route->last);
    const struct route_choice *to = &c->route->last;
    switch (to->target) {
    case ROUTE_NODE:
        plan->to = pool_cluster_node(c->pool, to->node);
        return plan->to != NULL ? ROUTED : hold(c, r, fault);
    case ROUTE_WAIT:
        return hold(c, r, fault);
    case ROUTE_ERROR:
        break;
    }
    fault->cause = C_NO_NODE;
    return ROUTE_REFUSED;
}

void session_route_again(struct client *c, bool failed)
{
    struct client_route *x = c->route;
    const struct pool *p = c->waiter.pool;
    if (failed && p->home != NULL)
        x->avoid |= UINT64_C(1) << p->node;
    else
        x->avoid = 0;
    if (failed && x->held_since == 0)
        x->held_since = c->conn.worker->now;
    client_set_state(c, CL_IDLE);
    session_go_on_later(c);
}

void session_route_lost(struct client *c, int node)
{
    if (node >= 0)
        c->route->avoid |= UINT64_C(1) << node;
    if (c->state != CL_IDLE)
        client_set_state(c, CL_IDLE);
    session_go_on_later(c);
}

usec_t session_route_patience(const struct client *c)
{
    usec_t hold_us = c->pool->entry->cluster->failover_hold;
    return c->route->held_since + hold_us - c->conn.worker->now;
}

/* ---- what the answer teaches ----------------------------------------------------------------- */

static bool database_scope(const struct pool *home)
{
    const struct topology *t = home->cluster->topology;
    return t != NULL && t->policy.consistency == CONSISTENCY_DATABASE;
}

/* The tables that a transaction writes are known from its statements, and open to be read nowhere
 * else from the sending of what may commit it. */
static void note_writing(struct client *c, struct server *s, struct flight *f,
                         const struct plan *plan)
{
    if (plan->statement != NULL)
        freshness_set_written(&s->writing, plan->statement, c->pool->catalog);
    else
        s->writing.all = true;
    if (s->tx != TX_IDLE && plan->whole && (plan->effects & (FX_END | FX_MULTI | FX_UNKNOWN)) == 0)
        return;
    if (s->fl_count > 1)
        s->writing.all = true; /* what is before it is not known to have ended */
    f->writing = s->writing;
    freshness_db_open(c->pool->cluster->writes, &f->writing);
}

void session_route_sent(struct client *c, struct server *s, struct flight *f,
                        const struct plan *plan)
{
    struct pool *p = s->pool;
    bool ends = s->wrote && (plan->effects & FX_END) != 0;
    if (p->home == NULL)
        return;
    f->reads = plan->verdict == STANDBY_OK;
    f->routed = true;
    topology_request_begins(p->live, p->node);
    if (!session_route_may_write(plan) && !ends)
        return;
    s->wrote = true;
    if (database_scope(c->pool))
        note_writing(c, s, f, plan);
}

void session_route_more(struct server *s, struct flight *f)
{
    f->reads = false;
    s->wrote = true;
}

void session_route_done(struct server *s, struct flight *f, enum tx_state tx, bool lost)
{
    struct pool *p = s->pool;
    struct client *c = f->client;
    if (!f->routed)
        return;
    f->routed = false;
    if (c != NULL && c->route != NULL && !lost) {
        c->route->avoid = 0;
        c->route->held_since = 0;
    }
    topology_request_ends(p->live, p->node, lost ? -1 : p->worker->now - f->start);
    if (p->home == NULL || p->home->cluster == NULL)
        return;
    if (!freshness_set_empty(&f->writing))
        freshness_db_close(p->home->cluster->writes, &f->writing, p->live);
    if (f->reads && c != NULL && c->route != NULL)
        freshness_read(&c->route->mark, p->live, p->node);
    if (!s->wrote || tx != TX_IDLE)
        return;
    if (s->fl_count == 1) { /* what is behind it may write too, and ends later */
        s->wrote = false;
        s->writing = (struct freshness_set){0};
    }
    if (c != NULL && c->route != NULL)
        freshness_wrote(&c->route->mark, p->live);
    cluster_wrote(p->home->cluster->cluster, p->worker);
}
