/* router_rig.c - see router_rig.h. */
#include "test/unit/support/router_rig.h"

void router_rig_init(struct router_rig *r, unsigned nnodes)
{
    static const char *const names[] = {"a:1", "b:2", "c:3", "d:4"};
    memset(r, 0, sizeof(*r));
    r->live = topology_live_new(0);
    r->model.name = STR("main");
    r->model.policy.consistency = CONSISTENCY_SESSION;
    r->model.nnodes = (uint16_t)nnodes;
    r->model.nodes = r->nodes;
    r->model.live = r->live;
    r->model.epoch = 1;
    for (unsigned i = 0; i < nnodes; i++) {
        r->nodes[i].used = true;
        r->nodes[i].name = str_of(names[i % ARRAY_LEN(names)]);
        r->nodes[i].host = STR("localhost");
        r->nodes[i].port = (uint16_t)(i + 1);
        r->nodes[i].weight = 1;
        r->nodes[i].role = i == 0 ? NODE_PRIMARY : NODE_REPLICA;
    }
    router_rig_publish(r);
}

void router_rig_fini(struct router_rig *r)
{
    topology_put(&r->now);
    topology_live_put(&r->live);
}

void router_rig_publish(struct router_rig *r)
{
    topology_put(&r->now);
    r->now = topology_new(&r->model);
}

void router_rig_replayed(struct router_rig *r, int node, uint64_t number)
{
    atomic_store(&r->live->nodes[node].replayed, number);
}
