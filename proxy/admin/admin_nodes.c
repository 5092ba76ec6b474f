/* admin_nodes.c - SHOW NODES, DRAIN and UNDRAIN: clusters as the console sees them.
 *
 * Roles and states come from the newest topology, positions from its live numbers, requests from
 * the pools of all workers.
 * Thread: main.
 */
#include "proxy/admin/admin_work.h"

#include "base/mem.h"
#include "proxy/cluster/cluster.h"

#include <stdatomic.h>
#include <stdio.h>

struct listing {
    struct admin_gather *gather;
    struct buf *rows;
};

/* Transactions that were sent to the node since the start, and to all nodes of its cluster. */
static void count_share(const struct admin_gather *g, const struct topology *t, int node,
                        uint64_t *its, uint64_t *all)
{
    *its = *all = 0;
    for (unsigned i = 0; i < g->nparts; i++) {
        for (size_t k = 0; k < g->parts[i].npools; k++) {
            const struct admin_pool_row *row = &g->parts[i].pools[k];
            if (row->live != t->live)
                continue;
            *all += row->stats.xacts;
            *its += row->node == node ? row->stats.xacts : 0;
        }
    }
}

static void put_number(struct buf *b, int64_t n)
{
    if (n < 0)
        admin_reply_null(b);
    else
        admin_reply_int(b, n);
}

static void put_ms(struct buf *b, usec_t us)
{
    char text[32];
    snprintf(text, sizeof(text), "%lld.%03lld", (long long)(us / 1000), (long long)(us % 1000));
    if (us < 0)
        admin_reply_null(b);
    else
        admin_reply_text(b, text);
}

static void put_share(struct buf *b, uint64_t its, uint64_t all)
{
    char text[32];
    snprintf(text, sizeof(text), "%.1f", all == 0 ? 0.0 : 100.0 * (double)its / (double)all);
    admin_reply_text(b, text);
}

/* How many probes of the primary were sent since the newest one whose position it has. */
static int64_t behind(const struct topology *t, int i)
{
    uint64_t sent = atomic_load_explicit(&t->live->sent, memory_order_relaxed);
    uint64_t has = atomic_load_explicit(&t->live->nodes[i].replayed, memory_order_relaxed);
    return t->nodes[i].role != NODE_REPLICA || has == 0 ? -1 : (int64_t)(sent - MIN(sent, has));
}

static void put_node(const struct listing *l, struct cluster *c, const struct topology *t, int i)
{
    const struct topology_node *n = &t->nodes[i];
    const struct topology_node_live *live = &t->live->nodes[i];
    uint64_t its, all;
    count_share(l->gather, t, i, &its, &all);
    admin_reply_text(l->rows, c->name);
    admin_reply_str(l->rows, n->name);
    admin_reply_text(l->rows, topology_role_name(n->role));
    admin_reply_text(l->rows, n->drained ? "drained" : topology_state_name(n->state));
    put_ms(l->rows, n->role == NODE_REPLICA ? atomic_load(&c->shared.lag_us[i]) : -1);
    put_number(l->rows, n->role == NODE_REPLICA ? atomic_load(&c->shared.lag_bytes[i]) : -1);
    put_number(l->rows, behind(t, i));
    admin_reply_int(l->rows, (int64_t)its);
    put_share(l->rows, its, all);
    admin_reply_int(l->rows, (int64_t)atomic_load(&live->in_flight));
    put_ms(l->rows, (usec_t)atomic_load(&live->latency_us));
    admin_reply_int(l->rows, n->weight);
    admin_reply_str(l->rows, n->zone);
    put_ms(l->rows, n->changed_at > 0 ? clock_mono_us() - n->changed_at : -1);
}

static void put_cluster(void *arg, struct cluster *c)
{
    struct topology *t = atomic_load(&c->shared.current);
    for (int i = 0; t != NULL && i < t->nnodes; i++)
        if (t->nodes[i].used)
            put_node(arg, c, t, i);
}

static void finish(struct admin_gather *g)
{
    struct listing l = {g, &g->reply->rows};
    struct admin_reply *r = g->reply;
    cluster_each(g->admin->process->clusters, put_cluster, &l);
    g->reply = NULL;
    admin_answer(g->admin, r);
}

void admin_nodes_show(struct admin *a, struct admin_reply *r)
{
    struct admin_gather *g = admin_gather_new(a, r);
    g->view = r->cmd.view->id;
    g->collect = admin_live_pools;
    g->finish = finish;
    admin_gather_start(g);
}

/* ---- drain ----------------------------------------------------------------------------------- */

struct search {
    struct str name;
    struct cluster *cluster;
    int node, found;
};

static void look(void *arg, struct cluster *c)
{
    struct search *s = arg;
    const struct topology *t = atomic_load(&c->shared.current);
    int i = t == NULL ? TOPOLOGY_NONE : topology_find(t, s->name);
    if (i == TOPOLOGY_NONE)
        return;
    s->cluster = c;
    s->node = i;
    s->found++;
}

void admin_nodes_drain(struct admin *a, struct admin_reply *r, bool on)
{
    struct search s = {.name = str_of(r->cmd.arg)};
    cluster_each(a->process->clusters, look, &s);
    if (s.found == 0) {
        admin_answer_error(a, r, "no such node, see SHOW NODES");
        return;
    }
    cluster_drain(s.cluster, a->process, s.node, on);
    admin_answer(a, r);
}
