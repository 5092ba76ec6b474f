/* admin_route.c - EXPLAIN ROUTE: where a statement would go, and why, without running it.
 *
 * Each worker decides for its own pools of clustered entries, for they hold the catalogs: as for a
 * client that has just logged in, has set nothing, written nothing and seen nothing.  The main
 * thread keeps one row for each database: of the first worker whose pool knows its catalog, or of
 * any.  A database that nobody has used since the start has no pool and no row.
 * Thread: main, but collect(), which runs on each worker.
 */
#include "proxy/admin/admin_work.h"

#include "base/map.h"
#include "protocol/sql_standby.h"
#include "proxy/pool/pool.h"
#include "proxy/pool/pool_cluster.h"
#include "proxy/worker.h"
#include "router/route.h"

#include <inttypes.h>

#define COLUMNS 8 /* as in admin_command.c; in front stands whether the catalog is known */

static void decide(const struct pool *p, struct facts *f, struct route_choice *to, struct str *rule)
{
    struct freshness_set reads = {0};
    struct freshness_mark mark = {0};
    struct route_ask ask = {.topology = p->cluster->topology,
                            .verdict = sql_standby(f, p->catalog),
                            .hint = route_hint(f),
                            .rule = rules_match(p->entry->cluster->rules, f, rule),
                            .entry = pool_cluster_wish(p),
                            .bound = TOPOLOGY_NONE,
                            .learned = pool_cluster_learned(p, f->digest),
                            .random = p->cluster->turn,
                            .mark = &mark};
    if ((f->effects & FX_BEGIN) != 0 && (f->effects & FX_MULTI) == 0) {
        ask.verdict = STANDBY_OK;
        ask.begins_block = true;
        ask.read_only = f->read_only_begin;
        ask.serializable = f->serializable_begin;
    }
    if (ask.topology->policy.consistency == CONSISTENCY_DATABASE) {
        freshness_set_read(&reads, f, p->catalog);
        ask.db = p->cluster->writes;
        ask.reads = &reads;
    }
    route_decide(&ask, to);
    if (ask.begins_block)
        to->verdict = sql_standby(f, p->catalog);
}

static const char *target_name(const struct route_choice *to)
{
    switch (to->target) {
    case ROUTE_NODE:
        return to->replica ? "replica" : "primary";
    case ROUTE_WAIT:
        return "wait";
    case ROUTE_ERROR:
        return "error";
    }
    return "?";
}

static void put_row(struct buf *b, const struct pool *p, struct facts *f)
{
    const struct topology *t = p->cluster->topology;
    struct route_choice to = {.node = TOPOLOGY_NONE};
    struct str rule = STR_NONE;
    decide(p, f, &to, &rule);
    admin_reply_int(b, p->catalog != NULL);
    admin_reply_text(b, p->shared->db->name);
    admin_reply_text(b, target_name(&to));
    admin_reply_str(b, to.node == TOPOLOGY_NONE ? STR_NONE : t->nodes[to.node].name);
    admin_reply_text(b, route_reason_name(to.reason));
    admin_reply_text(b, sql_standby_name(to.verdict));
    admin_reply_printf(b, "%016" PRIx64, f->digest);
    admin_reply_str(b, rule);
    admin_reply_str(b, f->complete ? f->text : STR_NONE);
}

static void collect(struct worker *w, struct admin_gather *g, struct admin_part *part)
{
    struct facts *f = sql_cache_get(w->sql, str_of(g->reply->cmd.statement), 0);
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &w->pool_list) {
        const struct pool *p = container_of(it, struct pool, link);
        if (p->cluster != NULL && p->cluster->topology != NULL && !p->gone)
            put_row(&part->rows, p, f);
    }
    facts_put(&f);
}

/* Rows of pools that know their catalog, or of the others; one for each database. */
static void put_once(struct admin_gather *g, struct map *seen, bool known)
{
    struct str values[COLUMNS + 1];
    for (unsigned i = 0; i < g->nparts; i++) {
        struct str rest = buf_str(&g->parts[i].rows);
        while (admin_reply_next(&rest, values, COLUMNS + 1)) {
            if (str_eq(values[0], STR("1")) != known || map_get(seen, values[1]) != NULL)
                continue;
            (void)map_put(seen, values[1], g);
            for (int k = 1; k <= COLUMNS; k++)
                admin_reply_str(&g->reply->rows, values[k]);
        }
    }
}

static void finish(struct admin_gather *g)
{
    struct admin_reply *r = g->reply;
    struct map seen;
    map_init(&seen);
    put_once(g, &seen, true);
    put_once(g, &seen, false);
    map_fini(&seen);
    g->reply = NULL;
    admin_answer(g->admin, r);
}

void admin_route_explain(struct admin *a, struct admin_reply *r)
{
    struct admin_gather *g = admin_gather_new(a, r);
    g->collect = collect;
    g->finish = finish;
    admin_gather_start(g);
}
