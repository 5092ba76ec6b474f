/* session_ours.c - statements that the proxy answers itself; see session_ours.h.  Worker thread. */
#include "proxy/session_ours.h"

#include "base/mem.h"
#include "protocol/wire_node.h"
#include "proxy/job.h"
#include "proxy/session_answer.h"
#include "proxy/session_begin.h"
#include "proxy/session_cache.h"
#include "proxy/session_route.h"

#define TOKEN_LIMIT_US (5 * USEC_PER_SEC)
#define COLUMNS_MAX 6

struct token_question {
    struct job job;
    struct client *client; /* borrowed */
    bool done, known;
    struct freshness_token token;
};

struct answer {
    struct wire_column columns[COLUMNS_MAX];
    struct str values[COLUMNS_MAX];
    int n;
};

/* ---- answering ------------------------------------------------------------------------------- */

static enum ours answer(struct client *c, const struct wire_req *r, const struct answer *a)
{
    session_answer_parts(c, r,
                         &(struct session_answer){.columns = a->columns,
                                                  .stated = a->columns,
                                                  .values = a->values,
                                                  .n = a->n,
                                                  .tag = conn_wire(&c->conn)->show_tag});
    conn_wire(&c->conn)->cl_idle(c->wire_state, session_tx(c), &c->conn.out);
    conn_dirty(&c->conn);
    return OURS_ANSWERED;
}

static void put_column(struct answer *a, const char *name, const char *value)
{
    a->columns[a->n] = (struct wire_column){name, COL_TEXT};
    a->values[a->n++] = str_of(value);
}

static void put_route(const struct client *c, struct answer *a)
{
    const struct route_choice *last = &c->route->last;
    const struct topology *t = c->pool->cluster->topology;
    put_column(a, "node", NULL);
    if (t != NULL && last->node >= 0 && last->node < t->nnodes)
        a->values[0] = t->nodes[last->node].name;
    put_column(a, "role", last->node < 0 ? NULL : last->replica ? "replica" : "primary");
    put_column(a, "reason", route_reason_name(last->reason));
    put_column(a, "statement", sql_standby_name(last->verdict));
}

/* Of its last statement that has a rule. */
static void put_cache(const struct client *c, struct answer *a)
{
    const struct session_cached *x = c->cached;
    const struct cache_rules *set = c->conn.worker->cache->config->set;
    bool known = x != NULL && x->rule < cache_rule_count(set);
    put_column(a, "cache_rule", NULL);
    if (known)
        a->values[a->n - 1] = cache_rule_at(set, x->rule)->name;
    put_column(a, "cache",
               !known                        ? NULL
               : x->hit                      ? "hit"
               : x->why == CACHE_BYPASS_NONE ? "miss"
                                             : cache_gate_word(x->why));
}

static enum ours show_last(struct client *c, const struct wire_req *r)
{
    struct answer a = {.n = 0};
    if (c->route != NULL)
        put_route(c, &a);
    if (c->pool->cache != NULL)
        put_cache(c, &a);
    return answer(c, r, &a);
}

/* ---- the token ------------------------------------------------------------------------------- */

static void on_row(struct job *j, const struct str *cols, int ncols)
{
    struct token_question *q = container_of(j, struct token_question, job);
    struct wire_probe p;
    const struct wire *wire = conn_wire(&q->client->conn);
    if (wire->probe_row(cols, ncols, &p) != ST_OK || p.in_recovery)
        return;
    q->token = (struct freshness_token){
        .system = p.system_id, .timeline = p.timeline, .position = p.position};
    q->known = true;
}

static void on_done(struct job *j, bool ok, struct str message)
{
    struct token_question *q = container_of(j, struct token_question, job);
    (void)message;
    q->done = true;
    q->known = q->known && ok;
    session_go_on_later(q->client);
}

/* True: under way. */
static bool ask_primary(struct client *c)
{
    const struct topology *t = c->pool->cluster->topology;
    struct pool *p = t == NULL ? NULL : pool_cluster_node(c->pool, t->primary);
    if (p == NULL || !pool_cluster_usable(c->pool, t->primary))
        return false;
    struct token_question *q = c->route->question = mem_new(sizeof(*q));
    q->client = c;
    q->job.text = str_of(conn_wire(&c->conn)->probe_query);
    q->job.row = on_row;
    q->job.done = on_done;
    q->job.limit = TOKEN_LIMIT_US;
    c->barrier = true;
    job_start(p, &q->job);
    return true;
}

void session_ours_end(struct client *c)
{
    struct token_question *q = c->route != NULL ? c->route->question : NULL;
    if (q == NULL)
        return;
    c->route->question = NULL;
    if (!q->done)
        job_cancel(&q->job);
    mem_free(q);
}

static enum ours show_token(struct client *c, const struct wire_req *r)
{
    struct token_question *q = c->route->question;
    char text[FRESHNESS_TOKEN_TEXT];
    struct answer a = {.n = 0};
    if (q == NULL && ask_primary(c))
        return OURS_WAITS;
    if (q != NULL && !q->done) {
        c->barrier = true;
        return OURS_WAITS;
    }
    if (q == NULL || !q->known) {
        session_ours_end(c);
        client_tell(c, &(struct wire_fault){.cause = C_NO_NODE, .tx = session_tx(c)});
        return OURS_ANSWERED;
    }
    freshness_token_format(&q->token, text);
    session_ours_end(c);
    put_column(&a, "penstock.token", text);
    return answer(c, r, &a);
}

static bool is_whole(const struct wire_req *r)
{
    uint32_t both = REQ_START | REQ_END;
    return (r->flags & both) == both && !r->parts[r->nparts - 1].cut;
}

enum ours session_ours(struct client *c, const struct wire_req *r, const struct plan *plan)
{
    struct batch b;
    struct str text = plan->text;
    const struct wire *wire = conn_wire(&c->conn);
    bool whole = plan->whole || (c->route == NULL && is_whole(r));
    if (!whole || (plan->effects & FX_SHOW) == 0 || wire->ours == NULL)
        return OURS_NOT;
    if ((r->flags & REQ_SIMPLE) == 0) {
        if (!session_batch_of_one(c, r, &b))
            return OURS_NOT;
        text = b.stmt->text->text;
    }
    enum wire_ours what = wire->ours(text);
    if (what == WIRE_OURS_NONE || (what != WIRE_OURS_LAST && c->route == NULL))
        return OURS_NOT;
    if (c->server != NULL && (c->server->fl_count > 0 || c->server->tx == TX_FAILED)) {
        if (c->server->fl_count == 0)
            return OURS_NOT; /* the database says what may be said there */
        c->barrier = true;
        return OURS_WAITS;
    }
    return what == WIRE_OURS_LAST ? show_last(c, r) : show_token(c, r);
}
