/* cluster_rig.h - a rig whose database is a cluster of scripted nodes.
 *
 * Each node is a listening socket of its own, and what the nodes are is said by the test: nobody
 * probes, for the toy codec has no question for that.  A test changes x->m (router_rig.h) and
 * publishes it, as the prober would.  Node 0 is the primary, the others replicas, all of them up
 * and fresh.  Time stands still but for rig_wait.  The catalog knows t, u and v (rig_know_catalog).
 */
#ifndef PENSTOCK_CLUSTER_RIG_H
#define PENSTOCK_CLUSTER_RIG_H

#include "proxy/pool/pool_cluster.h"
#include "test/unit/support/core_rig.h"
#include "test/unit/support/router_rig.h"

#define CLUSTER_NODES_MAX 3
#define NODES_MSEC ((usec_t)1000)

struct cluster_rig {
    struct rig *r;
    struct router_rig m;
    struct cluster *cluster; /* borrowed */
    struct peer c[3];        /* clients; the first has logged in, with s[0] */
    struct peer s[6];        /* servers; s[0] is of node 0 */
    int fd[CLUSTER_NODES_MAX], port[CLUSTER_NODES_MAX];
    char names[CLUSTER_NODES_MAX][32], options[512];
};

/* keys: lines of the [cluster]. */
void nodes_new(struct cluster_rig *x, unsigned nnodes, const char *keys);
void nodes_free(struct cluster_rig *x);
void nodes_tell(struct cluster_rig *x); /* publishes x->m */
/* Another [cluster], or with db NULL the entry without one. */
void nodes_reload(struct cluster_rig *x, const char *keys, const char *db);

void nodes_client(struct cluster_rig *x, int c, const char *startup); /* logs c in */
void nodes_server(struct cluster_rig *x, int node, int s);  /* accepts s of node, logs it in */
void nodes_accept_nothing(struct cluster_rig *x, int node); /* nobody has connected to it */
void nodes_refuse(struct cluster_rig *x, int node);         /* takes no connection any more */
void nodes_listen(struct cluster_rig *x, int node);         /* takes them again */

/* c says "Q TEXT", s hears it. */
void nodes_asks(struct cluster_rig *x, int c, int s, const char *text);
/* s answers with one row, or as a write; c hears that. */
void nodes_answers(struct cluster_rig *x, int s, int c);
void nodes_answers_write(struct cluster_rig *x, int s, int c);
/* Both: a read of c goes to s. */
void nodes_reads(struct cluster_rig *x, int c, int s);
void nodes_writes(struct cluster_rig *x, int c, int s);

struct pool *nodes_home(struct cluster_rig *x);
const struct client *nodes_at(struct cluster_rig *x); /* the client that logged in last */

#endif
