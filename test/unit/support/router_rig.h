/* router_rig.h - a cluster for the unit tests of router/: a snapshot made by hand. */
#ifndef PENSTOCK_TEST_ROUTER_RIG_H
#define PENSTOCK_TEST_ROUTER_RIG_H

#include "router/topology.h"

struct router_rig {
    struct topology model;
    struct topology_node nodes[TOPOLOGY_NODES_MAX];
    struct topology_live *live; /* owned */
    struct topology *now;       /* reference; router_rig_publish replaces it */
};

/* Node 0 is the primary, the others replicas; all up, weight 1; consistency session. */
void router_rig_init(struct router_rig *r, unsigned nnodes);
void router_rig_fini(struct router_rig *r);
/* After a change of the model or its nodes. */
void router_rig_publish(struct router_rig *r);
/* The node has replayed the probe of that number. */
void router_rig_replayed(struct router_rig *r, int node, uint64_t number);

#endif
