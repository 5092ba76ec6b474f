/* pool_cluster.h - the pool of a clustered entry: one pool for each node behind it.
 *
 * A client's pool is that of its entry and login, as without a cluster; it knows the client's
 * settings, catalog and limits, but has no servers when the entry is a cluster.  Those live in a
 * pool for each node, made like any other, with the node's address in place of the entry's and with
 * limits of its own: pool_size counts per node.  A request is sent to one of them (session_route.c)
 * and waits there; one that no node may have now waits in the client's own pool, is "held", and is
 * looked at again whenever the topology has changed.
 *
 * Invariants: a node's pool lives as long as the entry's; a node that is gone, fenced or drained
 * gets nothing new and closes its servers when they are released; nobody waits for a server of a
 * node that may not be used.
 * Called by pool.c, pools.c, session_route.c, and by messages of the prober.
 * Thread: the owning worker's.
 */
#ifndef PENSTOCK_PROXY_POOL_CLUSTER_H
#define PENSTOCK_PROXY_POOL_CLUSTER_H

#include "proxy/cluster/cluster.h"
#include "proxy/pool/pool.h"
#include "router/rules.h"

#define POOL_LEARNED 256u /* digests; more push the older ones out */

struct pool_cluster {
    struct cluster *cluster;                /* borrowed from the process */
    struct topology *topology;              /* reference; NULL: nothing is known yet */
    struct freshness_db *writes;            /* borrowed from the cluster: of this database */
    struct pool *nodes[TOPOLOGY_NODES_MAX]; /* owned by the worker's list; NULL: none */
    uint64_t turn;                          /* differs from one decision to the next */
    uint64_t failing;                       /* nodes to which the last connection failed */
    uint64_t learned[POOL_LEARNED];         /* digests that a standby has refused */
    int held;                               /* requests, and */
    size_t held_bytes;                      /* what they keep in their clients' buffers */
};

/* On making and on reload: p is of a clustered entry, or not any more. */
void pool_cluster_configure(struct pool *p);
void pool_cluster_free(struct pool *p); /* its nodes are nobody's then, and end by themselves */

/* The pool of that node, or NULL: there is none. */
struct pool *pool_cluster_node(const struct pool *home, int node);
/* The node may be used: it is neither down nor fenced nor drained. */
bool pool_cluster_usable(const struct pool *home, int node);
/* Nodes to which no connection can be made at this moment: bit = index. */
uint64_t pool_cluster_failing(const struct pool *home);
/* Where the proxy's own statements for p run: p itself, or a node's. NULL: none can be used. */
struct pool *pool_cluster_any(struct pool *p);
int pool_cluster_servers(const struct pool *p); /* of all its nodes, or its own */

/* p, of a client that has a server of its own from the start, leads to the primary, or with
 * route=replica to a replica. false: there is none. True also where there is no cluster. */
bool pool_cluster_settle(struct pool *p);

/* w waits in home until it is told to look again. false: too many do. */
bool pool_cluster_hold(struct pool *home, struct waiter *w, usec_t since);
/* One more (1) or less (-1) waits in home. */
void pool_cluster_count(struct pool *home, const struct waiter *w, int step);
/* No connection could be made to p's node. */
void pool_cluster_node_failed(struct pool *p, enum server_error se);

/* A server of p was lost unexpectedly, or said goodbye: those that wait idle are looked at, and the
 * node is asked. */
void pool_cluster_server_lost(struct pool *p);

/* A standby has refused a statement with this digest: it writes. */
void pool_cluster_learn(struct pool *home, uint64_t digest);
bool pool_cluster_learned(const struct pool *home, uint64_t digest);
/* What route= of its entry asks for. */
enum rules_wish pool_cluster_wish(const struct pool *home);

/* Whole worker. */
void pool_cluster_arrived(struct worker *w, struct cluster *c); /* there is a new topology */
void pool_cluster_retry(struct worker *w, struct cluster *c);   /* those held look again */

#endif
