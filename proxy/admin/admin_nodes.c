/* admin_nodes.c - SHOW NODES, SHOW ROUTING, DRAIN and UNDRAIN: clusters as the console sees them.
 *
 * Roles and states come from the newest topology, positions from its live numbers, transactions and
 * requests from all workers.
 * Thread: main, except admin_nodes_collect.
 */
#include "proxy/admin/admin_work.h"

#include "base/mem.h"
#include "proxy/cluster/cluster.h"
#include "proxy/worker.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- on workers ------------------------------------------------------------------------------ */

void admin_nodes_collect(struct worker *w, struct admin_gather *g, struct admin_part *part)
{
    struct list *it, *tmp;
    (void)g;
    size_t n = 1;
    LIST_EACH(it, tmp, &w->routes)
        n += 1 + list_count(&container_of(it, struct route_counts, link)->nodes);
    part->routes = mem_new(n * sizeof(*part->routes));
    part->routed = mem_new(n * sizeof(*part->routed));
    LIST_EACH(it, tmp, &w->routes) {
        const struct route_counts *c = container_of(it, struct route_counts, link);
        part->routes[part->nroutes++] = *c;
        struct list *node, *next;
        LIST_EACH(node, next, &c->nodes)
            part->routed[part->nrouted++] = *container_of(node, struct route_node_counts, link);
    }
}

static void collect(struct worker *w, struct admin_gather *g, struct admin_part *part)
{
    admin_live_pools(w, g, part);
    if (!part->more)
        admin_nodes_collect(w, g, part);
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* How many probes of the primary were sent since the newest one whose position it has. */
static int64_t behind(const struct topology *t, int i)
{
    uint64_t sent = atomic_load_explicit(&t->live->sent, memory_order_relaxed);
    uint64_t has = atomic_load_explicit(&t->live->nodes[i].replayed, memory_order_relaxed);
    return t->nodes[i].role != NODE_REPLICA || has == 0 ? -1 : (int64_t)(sent - MIN(sent, has));
}

static void add_pool(struct admin_node_row *to, const struct admin_pool_row *p)
{
    to->transactions += (int64_t)p->stats.xacts;
    to->sv_login += p->sv_login;
    to->sv_idle += p->sv_idle;
    to->sv_alone += p->sv_alone;
    to->sv_shared += p->sv_shared;
    to->sv_tested += p->sv_tested;
    to->sv_canceled += p->sv_canceled;
    to->waiting += p->cl_waiting;
}

static void add_routes(struct admin_node_row *to, const struct route_node_counts *from)
{
    to->transactions += (int64_t)from->transactions;
    for (int i = 0; i < ROUTE_REASONS; i++)
        to->requests[i] += (int64_t)from->requests[i];
}

/* What the workers have counted of the node with that name. */
static void add_parts(const struct admin_gather *g, const struct cluster *c, struct str node,
                      struct admin_node_row *to)
{
    for (unsigned i = 0; i < g->nparts; i++) {
        const struct admin_part *part = &g->parts[i];
        for (size_t k = 0; k < part->npools; k++)
            if (part->pools[k].cluster == c && str_eq(str_of(part->pools[k].shared->node), node))
                add_pool(to, &part->pools[k]);
        for (size_t k = 0; k < part->nrouted; k++)
            if (part->routed[k].cluster == c && str_eq(str_of(part->routed[k].node), node))
                add_routes(to, &part->routed[k]);
    }
}

static void take_node(const struct admin_gather *g, const struct admin_cluster_row *c, int i,
                      struct admin_node_row *row)
{
    const struct topology *t = c->topology;
    const struct topology_node *n = &t->nodes[i];
    bool replica = n->role == NODE_REPLICA;
    row->node = n;
    row->lag_us = replica ? atomic_load(&c->cluster->shared.lag_us[i]) : -1;
    row->lag_bytes = replica ? atomic_load(&c->cluster->shared.lag_bytes[i]) : -1;
    row->behind = behind(t, i);
    row->in_flight = (int64_t)atomic_load(&t->live->nodes[i].in_flight);
    row->latency_us = (int64_t)atomic_load(&t->live->nodes[i].latency_us);
    row->changed_us = n->changed_at > 0 ? clock_mono_us() - n->changed_at : -1;
    add_parts(g, c->cluster, n->name, row);
}

struct taking {
    struct admin_nodes *to;
    size_t cap;
};

/* Under the lock of the clusters. */
static void take_cluster(void *arg, struct cluster *c)
{
    struct taking *x = arg;
    struct topology *t = atomic_load(&c->shared.current);
    if (t == NULL)
        return;
    if (x->to->nclusters == x->cap) {
        x->cap = MAX(x->cap * 2, (size_t)8);
        x->to->clusters = mem_resize(x->to->clusters, x->cap * sizeof(*x->to->clusters));
    }
    struct admin_cluster_row *row = &x->to->clusters[x->to->nclusters++];
    memset(row, 0, sizeof(*row));
    row->cluster = c;
    row->topology = topology_get(t);
    row->waiting = atomic_load_explicit(&c->shared.waiting, memory_order_relaxed);
}

static int by_name(const void *x, const void *y)
{
    return strcmp(((const struct admin_cluster_row *)x)->cluster->name,
                  ((const struct admin_cluster_row *)y)->cluster->name);
}

static void add_holds(const struct admin_gather *g, struct admin_cluster_row *to)
{
    for (unsigned i = 0; i < g->nparts; i++) {
        for (size_t k = 0; k < g->parts[i].nroutes; k++) {
            const struct route_counts *n = &g->parts[i].routes[k];
            for (int r = 0; n->cluster == to->cluster && r < ROUTE_REASONS; r++) {
                to->held[r] += (int64_t)n->held[r];
                to->refused[r] += (int64_t)n->refused[r];
            }
        }
    }
}

static void take_nodes(const struct admin_gather *g, struct admin_nodes *out, int cluster)
{
    const struct admin_cluster_row *c = &out->clusters[cluster];
    const struct topology *t = c->topology;
    int64_t all = 0;
    size_t first = out->nnodes;
    out->nodes = mem_resize(out->nodes, (first + t->nnodes + 1) * sizeof(*out->nodes));
    for (int i = 0; i < t->nnodes; i++) {
        if (!t->nodes[i].used)
            continue;
        struct admin_node_row *row = &out->nodes[out->nnodes++];
        memset(row, 0, sizeof(*row));
        row->cluster = cluster;
        take_node(g, c, i, row);
        all += row->transactions;
    }
    for (size_t i = first; i < out->nnodes; i++)
        out->nodes[i].of_cluster = all;
}

void admin_nodes_take(const struct admin_gather *g, struct admin_nodes *out)
{
    memset(out, 0, sizeof(*out));
    cluster_each(g->admin->process->clusters, take_cluster, &(struct taking){.to = out});
    if (out->nclusters > 0)
        qsort(out->clusters, out->nclusters, sizeof(*out->clusters), by_name);
    for (size_t i = 0; i < out->nclusters; i++) {
        add_holds(g, &out->clusters[i]);
        take_nodes(g, out, (int)i);
    }
}

void admin_nodes_free(struct admin_nodes *n)
{
    for (size_t i = 0; i < n->nclusters; i++)
        topology_put(&n->clusters[i].topology);
    mem_free(n->clusters);
    mem_free(n->nodes);
    memset(n, 0, sizeof(*n));
}

/* ---- SHOW NODES ------------------------------------------------------------------------------ */

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

static void put_node(struct buf *b, const struct admin_nodes *all, const struct admin_node_row *r)
{
    const struct topology_node *n = r->node;
    double of = (double)MAX(r->of_cluster, (int64_t)1);
    admin_reply_text(b, all->clusters[r->cluster].cluster->name);
    admin_reply_str(b, n->name);
    admin_reply_text(b, topology_role_name(n->role));
    admin_reply_text(b, n->drained ? "drained" : topology_state_name(n->state));
    put_ms(b, r->lag_us);
    put_number(b, r->lag_bytes);
    put_number(b, r->behind);
    admin_reply_int(b, r->transactions);
    admin_reply_printf(b, "%.1f", 100.0 * (double)r->transactions / of);
    admin_reply_int(b, r->in_flight);
    put_ms(b, r->latency_us);
    admin_reply_int(b, n->weight);
    admin_reply_str(b, n->zone);
    put_ms(b, r->changed_us);
}

static void put_nodes(struct buf *b, const struct admin_nodes *all)
{
    for (size_t i = 0; i < all->nnodes; i++)
        put_node(b, all, &all->nodes[i]);
}

/* ---- SHOW ROUTING ---------------------------------------------------------------------------- */

/* One row for each reason that has come up: of a node, or of requests that no node got (n NULL). */
static void put_reasons(struct buf *b, const struct admin_cluster_row *c,
                        const struct topology_node *n, const int64_t *requests)
{
    for (int i = 0; i < ROUTE_REASONS; i++) {
        bool any = n != NULL ? requests[i] > 0 : c->held[i] + c->refused[i] > 0;
        if (!any)
            continue;
        admin_reply_text(b, c->cluster->name);
        if (n != NULL)
            admin_reply_str(b, n->name);
        else
            admin_reply_null(b);
        admin_reply_text(b, route_reason_name((enum route_reason)i));
        admin_reply_int(b, n != NULL ? requests[i] : 0);
        admin_reply_int(b, n == NULL ? c->held[i] : 0);
        admin_reply_int(b, n == NULL ? c->refused[i] : 0);
    }
}

static void put_routing(struct buf *b, const struct admin_nodes *all)
{
    size_t at = 0;
    for (size_t i = 0; i < all->nclusters; i++) {
        const struct admin_cluster_row *c = &all->clusters[i];
        for (; at < all->nnodes && all->nodes[at].cluster == (int)i; at++)
            put_reasons(b, c, all->nodes[at].node, all->nodes[at].requests);
        put_reasons(b, c, NULL, NULL);
    }
}

static void finish(struct admin_gather *g)
{
    struct admin_reply *r = g->reply;
    struct admin_nodes all;
    admin_nodes_take(g, &all);
    if (g->view == VIEW_ROUTING)
        put_routing(&r->rows, &all);
    else
        put_nodes(&r->rows, &all);
    admin_nodes_free(&all);
    g->reply = NULL;
    admin_answer(g->admin, r);
}

void admin_nodes_show(struct admin *a, struct admin_reply *r)
{
    struct admin_gather *g = admin_gather_new(a, r);
    g->view = r->cmd.view->id;
    g->collect = collect;
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
