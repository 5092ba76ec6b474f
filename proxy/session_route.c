/* session_route.c - which node a request goes to; see session_route.h.  Worker thread. */
#include "proxy/session_route.h"

#include "proxy/cluster/route_counts.h"
#include "proxy/session_begin.h"
#include "proxy/session_cache.h"
#include "proxy/session_kept.h"

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
    session_begin_init(c);
    for (int i = 0; i < nvars; i++)
        (void)conn_wire(&c->conn)->startup_wishes(&vars[i], &w);
    return w.route.n == 0 || rules_wish_of(w.route, &c->route->startup);
}

bool session_route_bound(struct client *c, const struct plan *plan)
{
    const struct server *s = c->server;
    bool tx = s->tx == TX_OPEN || session_begun(c);
    if ((!server_has_state(s) && !tx) || s->pool->home == NULL)
        return true;       /* it was chosen for this request */
    if (!session_begun(c)) /* otherwise it was chosen for this request, or for the BEGIN */
        c->route->last = (struct route_choice){.target = ROUTE_NODE,
                                               .reason = s->tx != TX_IDLE ? ROUTE_BOUND_TRANSACTION
                                                                          : ROUTE_BOUND_PIN,
                                               .verdict = c->route->last.verdict,
                                               .node = (int16_t)s->pool->node,
                                               .replica = c->route->last.replica};
    if (plan->verdict != STANDBY_ADVISORY_LOCK || !tx || c->pool->cluster->topology == NULL)
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
    if (session_begun(c)) /* its entry leaves the cluster: what it was told of is not there */
        c->aborted = ABORTED_UNTOLD;
    session_begin_drop(c);
    session_kept_drop(c);
    varset_put(&c->route->seen);
    mem_free(c->route);
    c->route = NULL;
}

/* ---- judging, once for a request ------------------------------------------------------------- */

static bool begins_block(const struct facts *f)
{
    return f != NULL && (f->effects & FX_BEGIN) != 0 && (f->effects & (FX_MULTI | FX_END)) == 0;
}

/* The one statement that all parts are about, or NULL. Where that follows a BEGIN in the same
 * request, as some drivers have it, plan->begin is that. */
static struct facts *one_statement(const struct client *c, const struct wire_req *r,
                                   struct plan *plan)
{
    struct stmt *const *stmts = c->conn.worker->part_stmts;
    const struct stmt *used = NULL;
    if (r->flags & REQ_SIMPLE)
        return r->nparts == 1 ? plan->facts : NULL;
    for (int i = 0; i < r->nparts; i++) {
        enum wire_part_kind k = r->parts[i].kind;
        if (k != PART_PARSE && k != PART_BIND && k != PART_DESCRIBE && k != PART_CLOSE)
            continue;
        if (stmts[i] == NULL || stmts[i]->text->by_text)
            return NULL;
        if (used != NULL && stmts[i] != used) {
            if (plan->begin != NULL || !begins_block(used->facts))
                return NULL;
            plan->begin = used->facts;
        }
        used = stmts[i];
    }
    return used == NULL ? NULL : used->facts;
}

/* A request in pieces is not known to its end. That of a driver which asks what a statement
 * returns before it goes on is good enough for the first one of a block: what decides is whether
 * the block is READ ONLY. */
static bool is_known(const struct client *c, const struct wire_req *r)
{
    if ((r->flags & REQ_START) == 0 || ((r->flags & REQ_END) == 0 && !session_begun(c)))
        return false;
    for (int i = 0; i < r->nparts; i++)
        if (r->parts[i].cut || r->parts[i].kind == PART_CALL)
            return false;
    return true;
}

void session_route_judge(struct client *c, const struct wire_req *r, struct plan *plan)
{
    plan->statement = is_known(c, r) && !c->passthrough ? one_statement(c, r, plan) : NULL;
    plan->verdict = plan->statement == NULL ? STANDBY_NOT_PARSED
                                            : sql_standby(plan->statement, c->pool->catalog);
    plan->whole = plan->statement != NULL && plan->begin == NULL && (r->flags & REQ_END) != 0;
}

void session_route_over(struct client *c)
{
    struct client_route *x = c->route;
    if (x == NULL)
        return;
    session_kept_drop(c);
    x->avoid = 0;
    x->held_since = 0;
    c->lost = 0;
    if (c->state != CL_WAIT)
        c->wait_at = c->first_start = 0;
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

/* The modes of the block that begins with the request, if one does. */
static void fill_block(const struct client *c, const struct plan *plan, struct route_ask *a)
{
    const struct client_route *x = c->route;
    const struct facts *f = plan->statement;
    const struct facts *begin = plan->begin != NULL ? plan->begin : x->begin.facts;
    if (begin == NULL && begins_block(f))
        begin = f;
    a->serializable = x->serializable;
    if (begin == NULL)
        return;
    a->begins_block = true;
    a->read_only = begin->read_only_begin || (x->read_only && !begin->read_write_begin) ||
                   x->begin.modes != NULL;
    a->serializable = x->serializable || begin->serializable_begin;
    if (f == NULL || plan->verdict == STANDBY_OK)
        return;
    /* What concerns the session or the transaction says nothing of what it will read, or says it
     * outright. */
    if ((f->effects & FX_UNKNOWN) == 0 &&
        (plan->verdict == STANDBY_TRANSACTION || plan->verdict == STANDBY_SETTING))
        a->verdict = STANDBY_OK;
    a->read_only = (a->read_only || f->read_only_begin) && !f->read_write_begin;
    a->serializable = a->serializable || f->serializable_begin;
}

static void fill_ask(struct client *c, const struct plan *plan, struct freshness_set *reads,
                     struct route_ask *a)
{
    struct client_route *x = c->route;
    struct pool_cluster *pc = c->pool->cluster;
    struct facts *f = plan->statement;
    *a = (struct route_ask){.topology = pc->topology,
                            .verdict = plan->verdict,
                            .hint = hint_of(c, f),
                            .setting = x->setting,
                            .rule = f != NULL ? rules_match(c->pool->entry->cluster->rules, f, NULL)
                                              : WISH_NONE,
                            .startup = x->startup,
                            .entry = pool_cluster_wish(c->pool),
                            .bound = TOPOLOGY_NONE,
                            .learned = f != NULL && pool_cluster_learned(c->pool, f->digest),
                            .avoid = x->avoid | pool_cluster_failing(c->pool),
                            .random = ++pc->turn * UINT64_C(0x9e3779b97f4a7c15),
                            .mark = &x->mark};
    fill_block(c, plan, a);
    if (pc->topology->policy.consistency == CONSISTENCY_DATABASE) {
        if (plan->verdict == STANDBY_OK && !a->begins_block) /* a block may read more */
            freshness_set_read(reads, f, c->pool->catalog);
        else
            reads->all = true;
        a->db = pc->writes;
        a->reads = reads;
    }
}

static enum routed refuse(struct client *c, struct wire_fault *fault, enum cause cause)
{
    fault->cause = cause;
    c->pool->routes->refused[c->route->last.reason]++;
    return ROUTE_REFUSED;
}

static enum routed hold(struct client *c, const struct wire_req *r, struct wire_fault *fault)
{
    struct client_route *x = c->route;
    usec_t now = c->conn.worker->now;
    if (x->held_since == 0) {
        x->held_since = now;
        c->pool->routes->held[x->last.reason]++;
    }
    if (session_route_patience(c) <= 0)
        return refuse(c, fault, C_NO_NODE);
    c->waiter.kind = WAIT_ALONE;
    c->waiter.bytes = (uint32_t)MIN(r->raw.n, (size_t)UINT32_MAX);
    if (!pool_cluster_hold(c->pool, &c->waiter, x->held_since))
        return refuse(c, fault, C_POOL_FULL);
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
    if (pc->topology == NULL) {
        c->route->last.reason = ROUTE_NO_PRIMARY;
        return hold(c, r, fault);
    }
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
    return refuse(c, fault, C_NO_NODE);
}

bool session_route_may_read(struct client *c, const struct plan *plan)
{
    struct freshness_set reads = {0};
    struct route_choice to;
    struct route_ask ask;
    if (c->pool->cluster->topology == NULL)
        return false;
    read_settings(c);
    fill_ask(c, plan, &reads, &ask);
    ask.read_only = true;
    route_decide(&ask, &to);
    return to.target == ROUTE_NODE && to.replica;
}

struct pool *session_route_begin_to(struct client *c)
{
    const struct plan plan = {.verdict = STANDBY_TRANSACTION, .statement = c->route->begin.facts};
    struct freshness_set reads = {0};
    struct route_ask ask;
    if (c->pool->cluster->topology == NULL)
        return NULL;
    fill_ask(c, &plan, &reads, &ask);
    route_decide(&ask, &c->route->last);
    return c->route->last.target == ROUTE_NODE ? pool_cluster_node(c->pool, c->route->last.node)
                                               : NULL;
}

void session_route_again(struct client *c, bool failed)
{
    struct client_route *x = c->route;
    const struct pool *p = c->waiter.pool;
    if (session_begun_alone(c)) { /* no request has failed */
        client_set_state(c, CL_IDLE);
        session_begin_later(c);
        return;
    }
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

enum cause session_route_give_up(struct client *c)
{
    c->pool->routes->refused[c->route->last.reason]++;
    return C_NO_NODE;
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
    if (plan->whole)
        freshness_set_written(&s->writing, plan->statement, c->pool->catalog);
    else
        s->writing.all = true;
    if (s->tx != TX_IDLE && plan->whole && (plan->effects & (FX_END | FX_MULTI | FX_UNKNOWN)) == 0)
        return;
    if (s->fl_count > 1)
        s->writing.all = true; /* what is before it is not known to have ended */
    f->writing = s->writing;
    f->opened = c->pool->cluster->writes;
    freshness_db_open(f->opened, &f->writing);
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
    p->routed->requests[c->route->last.reason]++;
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

/* Its pool may have left the cluster meanwhile, whose numbers go on without it. */
static void close_written(const struct pool *p, const struct flight *f)
{
    struct topology *t = p->home == NULL ? cluster_topology(p->member) : NULL;
    freshness_db_close(f->opened, &f->writing, t != NULL ? t->live : p->live);
    topology_put(&t);
}

void session_route_wrote_elsewhere(struct client *c)
{
    struct pool_cluster *pc = c->pool->cluster;
    const struct freshness_set all = {.all = true};
    if (c->route == NULL || pc->topology == NULL)
        return;
    freshness_wrote(&c->route->mark, pc->topology->live);
    if (!database_scope(c->pool))
        return;
    freshness_db_open(pc->writes, &all);
    freshness_db_close(pc->writes, &all, pc->topology->live);
}

void session_route_done(struct server *s, struct flight *f, enum tx_state tx, bool lost)
{
    struct pool *p = s->pool;
    struct client *c = f->client;
    if (!f->routed) { /* its server is of a time when the entry had no cluster, or other nodes */
        if (f->kind == FLIGHT_CLIENT && c != NULL && c->route != NULL && p->home == NULL)
            session_route_wrote_elsewhere(c);
        return;
    }
    f->routed = false;
    if (c != NULL && c->route != NULL && !lost) {
        c->route->avoid = 0;
        c->route->held_since = 0;
    }
    topology_request_ends(p->live, p->node, lost ? -1 : p->worker->now - f->start);
    if (!freshness_set_empty(&f->writing))
        close_written(p, f);
    struct topology *now = c != NULL && c->route != NULL ? c->pool->cluster->topology : NULL;
    if (f->reads && !lost && now != NULL)
        freshness_read(&c->route->mark, now->live, p->home != NULL ? p->node : TOPOLOGY_NONE);
    if (!s->wrote || tx != TX_IDLE)
        return;
    if (s->fl_count == 1) { /* what is behind it may write too, and ends later */
        s->wrote = false;
        s->writing = (struct freshness_set){0};
    }
    if (now != NULL)
        freshness_wrote(&c->route->mark, now->live);
    cluster_wrote(p->member, p->worker);
}
