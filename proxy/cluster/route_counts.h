/* route_counts.h - what a worker has sent to the nodes of a cluster, and why.
 *
 * One struct per worker and cluster and one per node of it, made when the worker first has a pool
 * for them and there until the worker ends, so that no count falls when pools come and go.  Nodes
 * are told apart by name: an index of the topology may mean another one tomorrow.
 * Counted by session_route.c, copied for SHOW NODES, SHOW ROUTING and the metrics (admin_nodes.c).
 * Thread: the worker's.
 */
#ifndef PENSTOCK_PROXY_ROUTE_COUNTS_H
#define PENSTOCK_PROXY_ROUTE_COUNTS_H

#include "base/list.h"
#include "proxy/cluster/cluster.h"
#include "router/route.h"

struct worker;

struct route_node_counts {
    struct list link;              /* in route_counts.nodes */
    const struct cluster *cluster; /* borrowed from the process */
    const char *node;              /* borrowed from the registry: pool_shared.node */
    uint64_t transactions; /* of pools that are gone; those of living ones stand in their stats */
    uint64_t requests[ROUTE_REASONS]; /* sent to the node, by why it was that one */
};

struct route_counts {
    struct list link;              /* in worker->routes */
    const struct cluster *cluster; /* borrowed from the process */
    struct list nodes;             /* owned */
    uint64_t held[ROUTE_REASONS];  /* requests that no node could have at once, and of these: */
    uint64_t refused[ROUTE_REASONS];
};

/* Found or made. node lives as long as the process. */
struct route_counts *route_counts_of(struct worker *w, const struct cluster *c);
struct route_node_counts *route_counts_node(struct route_counts *n, const char *node);
void route_counts_free_all(struct worker *w); /* after its pools */

#endif
