/* pool_cluster.c - one pool for each node of a cluster; see pool_cluster.h.  Worker thread. */
#include "proxy/pool/pool_cluster.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/cluster/route_counts.h"
#include "proxy/listen.h"
#include "proxy/server.h"
#include "proxy/session_begin.h"
#include "proxy/session_ours.h"
#include "proxy/session_route.h"

#include <stdatomic.h>

#define RETRY_US 100000       /* those held look again, whatever is heard */
#define BACKOFF_MAX_US 250000 /* after a failed connection to a node that is said to be up */

static uint64_t bit(int node)
{
    return UINT64_C(1) << node;
}

static int nnodes(const struct topology *t)
{
    return t == NULL ? 0 : t->nnodes;
}

static const struct topology_node *node_at(const struct topology *t, int i)
{
    return i < nnodes(t) && t->nodes[i].used ? &t->nodes[i] : NULL;
}

static bool may_be_used(const struct topology_node *n)
{
    return n != NULL && !n->drained && n->state != NODE_DOWN && n->state != NODE_FENCED;
}

/* ---- looking --------------------------------------------------------------------------------- */

struct pool *pool_cluster_node(const struct pool *home, int node)
{
    return node < 0 ? NULL : home->cluster->nodes[node];
}

bool pool_cluster_usable(const struct pool *home, int node)
{
    return home->cluster != NULL && may_be_used(node_at(home->cluster->topology, node));
}

uint64_t pool_cluster_failing(const struct pool *home)
{
    const struct pool_cluster *pc = home->cluster;
    uint64_t set = 0;
    for (uint64_t left = pc->failing; left != 0; left &= left - 1) {
        int i = __builtin_ctzll(left);
        const struct pool *p = pc->nodes[i];
        if (p != NULL && p->nidle + p->nsharing == 0 && p->retry_at > p->worker->now)
            set |= bit(i);
    }
    return set;
}

struct pool *pool_cluster_any(struct pool *p)
{
    const struct pool_cluster *pc = p->cluster;
    if (pc == NULL)
        return p;
    const struct topology *t = pc->topology;
    uint64_t failing = pool_cluster_failing(p);
    if (t != NULL && t->primary >= 0 && may_be_used(node_at(t, t->primary)) &&
        (failing & bit(t->primary)) == 0)
        return pc->nodes[t->primary];
    for (int i = 0; i < nnodes(t); i++)
        if (may_be_used(node_at(t, i)) && t->nodes[i].role == NODE_REPLICA &&
            (failing & bit(i)) == 0)
            return pc->nodes[i];
    return NULL;
}

bool pool_cluster_settle(struct pool *p)
{
    if (p->entry->cluster_name == NULL)
        return true;
    struct cluster *c = cluster_of(p->worker->process->clusters, str_of(p->entry->cluster_name));
    struct topology *t = cluster_topology(c);
    int found = TOPOLOGY_NONE;
    if (p->entry->route != CONFIG_ROUTE_REPLICA && t != NULL)
        found = t->primary;
    for (int i = 0; p->entry->route == CONFIG_ROUTE_REPLICA && i < nnodes(t); i++)
        if (topology_readable(t, i))
            found = i;
    bool ok = found >= 0 && may_be_used(node_at(t, found));
    if (ok)
        pool_set_place(p, &t->nodes[found]);
    topology_put(&t);
    return ok;
}

static int servers_of(const struct pool *p)
{
    return p->nidle + p->nactive + p->nsharing + p->nconnecting;
}

int pool_cluster_servers(const struct pool *p)
{
    int n = servers_of(p);
    for (int i = 0; p->cluster != NULL && i < (int)TOPOLOGY_NODES_MAX; i++)
        if (p->cluster->nodes[i] != NULL)
            n += servers_of(p->cluster->nodes[i]) + p->cluster->nodes[i]->nwaiters;
    return n;
}

/* ---- what a node's servers must hear of a change --------------------------------------------- */

/* The node does not answer. What it was asked and can be asked elsewhere is; with gone, another is
 * the primary now, and nothing that this one still says counts. */
static void node_is_down(struct pool *p, bool gone)
{
    struct list *it, *tmp;
    struct list *l;
    while ((l = list_first(&p->connecting)) != NULL)
        server_close(container_of(l, struct server, link), "node is down");
    while ((l = list_first(&p->sharing)) != NULL)
        server_close(container_of(l, struct server, link), "node is down");
    LIST_EACH(it, tmp, &p->idle)
        server_quit(container_of(it, struct server, link), "node is down");
    LIST_EACH(it, tmp, &p->active) {
        struct server *s = container_of(it, struct server, link);
        if (gone || session_can_repeat(s) || session_is_beginning(s))
            server_close(s, "node is down");
    }
}

static void node_changed(struct pool *p, const struct topology_node *was,
                         const struct topology_node *is, bool replaced)
{
    bool could = may_be_used(was), can = may_be_used(is);
    bool same_role = was != NULL && is != NULL && was->role == is->role;
    if (can && !could) {
        p->retry_at = 0;
        p->backoff = 0;
    }
    if (could && !can && is != NULL && is->state == NODE_DOWN)
        node_is_down(p, replaced);
    else if (could && !can)
        pool_retire_servers(p);
    else if (replaced && is != NULL && is->state == NODE_DOWN)
        node_is_down(p, true);
    if (p->nwaiters > 0 && (!can || !same_role))
        pool_send_away(p, false);
}

static int routed_on(struct list *servers)
{
    struct list *it, *tmp;
    int n = 0;
    LIST_EACH(it, tmp, servers) {
        struct server *s = container_of(it, struct server, link);
        for (uint32_t i = 0; i < s->fl_count; i++)
            n += server_flight(s, i)->routed;
    }
    return n;
}

/* What is in flight there is counted where its end will be. */
static void number(struct pool *p, const struct topology *t, int i)
{
    if (p->live == t->live && p->node == i)
        return;
    for (int n = routed_on(&p->active) + routed_on(&p->sharing); n > 0; n--) {
        topology_request_ends(p->live, p->node, -1);
        topology_request_begins(t->live, i);
    }
    topology_live_put(&p->live);
    p->live = topology_live_get(t->live);
    p->node = i;
}

/* The index may mean another host than it did, and the numbers may have begun anew. */
static void renumber(struct pool *home, const struct topology *t, int i)
{
    struct pool_cluster *pc = home->cluster;
    struct pool *p = pc->nodes[i];
    const struct topology_node *n = node_at(t, i);
    if (p != NULL && (n == NULL || !pool_is_for_node(p, n))) {
        pool_retire_servers(p);
        pool_send_away(p, false);
        if (n == NULL)
            return;
        listen_pool_left(p);
        p->home = NULL;
        p->gone = true;
        pc->nodes[i] = NULL;
    }
    if (n == NULL)
        return;
    if (pc->nodes[i] == NULL) {
        pc->nodes[i] = pool_for_node(home, n);
        pc->nodes[i]->member = pc->cluster;
        pc->nodes[i]->routed = route_counts_node(home->routes, pc->nodes[i]->shared->node);
    }
    number(pc->nodes[i], t, i);
}

/* The numbers are others than those in which its clients' marks are, if they have any: what they
 * have written may be missing everywhere but on the primary. */
static void mark_all(struct pool *home)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &home->clients)
        session_route_wrote_elsewhere(container_of(it, struct client, in_pool));
}

static void adopt(struct pool *home)
{
    struct pool_cluster *pc = home->cluster;
    struct topology *was = pc->topology, *is = cluster_topology(pc->cluster);
    if (is == was || is == NULL) {
        topology_put(&is);
        return;
    }
    pc->topology = is;
    pc->failing = 0;
    if (was == NULL || was->live != is->live)
        mark_all(home);
    for (int i = 0; i < MAX(nnodes(was), nnodes(is)); i++) {
        renumber(home, is, i);
        bool replaced = was != NULL && was->primary == i && is->primary != i &&
                        is->primary != TOPOLOGY_NONE;
        if (pc->nodes[i] != NULL)
            node_changed(pc->nodes[i], node_at(was, i), node_at(is, i), replaced);
    }
    topology_put(&was);
    pool_send_away(home, false);
}

/* ---- beginning and end ----------------------------------------------------------------------- */

static const char *database_of(const struct pool *p)
{
    return p->entry->dbname != NULL ? p->entry->dbname : p->shared->db->name;
}

/* They are not this pool's any more, and end when they are empty. */
static void let_nodes_go(struct pool *p)
{
    for (int i = 0; i < (int)TOPOLOGY_NODES_MAX; i++) {
        struct pool *n = p->cluster->nodes[i];
        if (n == NULL)
            continue;
        pool_retire_servers(n);
        pool_send_away(n, false);
        listen_pool_left(n);
        n->home = NULL;
        n->gone = true;
    }
}

void pool_cluster_free(struct pool *p)
{
    if (p->cluster == NULL)
        return;
    let_nodes_go(p);
    topology_put(&p->cluster->topology);
    mem_free(p->cluster);
    p->cluster = NULL;
    p->routes = NULL;
}

/* A reload takes an entry out of its cluster while clients are logged in, or into one. */
static void leave_all(struct pool *p)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &p->clients) {
        struct client *c = container_of(it, struct client, in_pool);
        session_ours_end(c);
        session_route_end(c);
    }
}

static void enter_all(struct pool *p)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &p->clients)
        (void)session_route_begin(container_of(it, struct client, in_pool), NULL, 0);
}

void pool_cluster_configure(struct pool *p)
{
    struct worker *w = p->worker;
    const char *name = p->entry->cluster_name;
    if (p->cluster != NULL && (name == NULL || strcmp(p->cluster->cluster->name, name) != 0)) {
        pool_send_away(p, false);
        pool_cluster_free(p);
        leave_all(p);
    }
    if (name == NULL || p->cluster != NULL || p->replication[0] != '\0')
        return;
    p->cluster = mem_new(sizeof(*p->cluster));
    p->cluster->cluster = cluster_of(w->process->clusters, str_of(name));
    p->routes = route_counts_of(w, p->cluster->cluster);
    p->cluster->writes = cluster_writes(p->cluster->cluster, str_of(database_of(p)));
    enter_all(p);
    adopt(p);
    if (p->nwaiters > 0) /* those that waited for servers which the entry had without a cluster */
        pool_send_away(p, false);
}

/* ---- holding --------------------------------------------------------------------------------- */

void pool_cluster_count(struct pool *home, const struct waiter *w, int step)
{
    struct pool_cluster *pc = home->cluster;
    pc->held += step;
    pc->held_bytes += step > 0 ? w->bytes : -(size_t)w->bytes;
    atomic_fetch_add_explicit(&pc->cluster->shared.waiting, step, memory_order_relaxed);
}

bool pool_cluster_hold(struct pool *home, struct waiter *w, usec_t since)
{
    const struct pool_cluster *pc = home->cluster;
    const struct config_cluster *cc = home->entry->cluster;
    if ((cc->failover_hold_requests > 0 && pc->held >= cc->failover_hold_requests) ||
        (cc->failover_hold_bytes > 0 &&
         pc->held_bytes + w->bytes > (size_t)cc->failover_hold_bytes))
        return false;
    pool_rejoin_queue(home, w, since);
    if (!timeout_running(&home->scheduled))
        worker_timeout(home->worker, &home->scheduled, RETRY_US);
    return true;
}

static enum health_failure failure_of(enum server_error se)
{
    return se == SE_STARTING || se == SE_SHUTDOWN ? HEALTH_STARTING : HEALTH_REFUSED;
}

void pool_cluster_node_failed(struct pool *p, enum server_error se)
{
    struct pool_cluster *pc = p->home->cluster;
    pc->failing |= bit(p->node);
    p->backoff = MIN(p->backoff, BACKOFF_MAX_US);
    p->retry_at = p->worker->now + p->backoff;
    cluster_failed(pc->cluster, p->worker, p->node, failure_of(se));
}

void pool_cluster_server_lost(struct pool *p)
{
    struct list *it, *tmp;
    if (p->home == NULL || p->home->cluster == NULL)
        return;
    LIST_EACH(it, tmp, &p->idle) {
        struct server *s = container_of(it, struct server, link);
        if (!conn_peek_quiet(&s->conn))
            server_close(s, "server closed or spoke while idle");
    }
    /* Who waits was promised what the node has shown until now, and it may be another life of it
     * that takes the next connection. */
    pool_send_away(p, false);
    cluster_failed(p->home->cluster->cluster, p->worker, p->node, HEALTH_LOST);
}

/* ---- what standbys have refused -------------------------------------------------------------- */

void pool_cluster_learn(struct pool *home, uint64_t digest)
{
    home->cluster->learned[digest % POOL_LEARNED] = digest;
}

bool pool_cluster_learned(const struct pool *home, uint64_t digest)
{
    return digest != 0 && home->cluster->learned[digest % POOL_LEARNED] == digest;
}

enum rules_wish pool_cluster_wish(const struct pool *home)
{
    switch (home->entry->route) {
    case CONFIG_ROUTE_AUTO:
        break;
    case CONFIG_ROUTE_PRIMARY:
        return WISH_PRIMARY;
    case CONFIG_ROUTE_REPLICA:
        return WISH_REPLICA;
    }
    return WISH_NONE;
}

/* ---- whole worker ---------------------------------------------------------------------------- */

static void each(struct worker *w, const struct cluster *c, void (*fn)(struct pool *home))
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &w->pool_list) {
        struct pool *p = container_of(it, struct pool, link);
        if (p->cluster != NULL && p->cluster->cluster == c)
            fn(p);
    }
}

void pool_cluster_arrived(struct worker *w, struct cluster *c)
{
    each(w, c, adopt);
}

static void retry(struct pool *home)
{
    pool_send_away(home, false);
}

void pool_cluster_retry(struct worker *w, struct cluster *c)
{
    each(w, c, retry);
}
