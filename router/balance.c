/* balance.c - two drawn by weight, the less busy one taken; see balance.h. */
#include "router/balance.h"

/* Latencies up to this are alike, and so is a node that nobody has asked yet. */
#define LATENCY_FLOOR_US 64u
#define COST_UNIT 256u

/* The best class that has anybody: 3 own zone and quick, 2 quick, 1 own zone, 0 the rest. */
static uint64_t best_class(const struct topology *t, uint64_t allowed, uint64_t *weights)
{
    uint64_t best = 0;
    int rank = -1;
    for (unsigned i = 0; i < t->nnodes; i++) {
        const struct topology_node *n = &t->nodes[i];
        if ((allowed >> i & 1u) == 0 || n->weight == 0)
            continue;
        bool near = t->zone.n > 0 && str_eq(n->zone, t->zone);
        int mine = (n->state != NODE_SLOW ? 2 : 0) + (near ? 1 : 0);
        if (mine > rank) {
            rank = mine;
            best = 0;
            *weights = 0;
        }
        if (mine == rank) {
            best |= UINT64_C(1) << i;
            *weights += n->weight;
        }
    }
    return best;
}

static int draw(const struct topology *t, uint64_t among, uint64_t ticket)
{
    for (unsigned i = 0; i < t->nnodes; i++) {
        if ((among >> i & 1u) == 0)
            continue;
        if (ticket < t->nodes[i].weight)
            return (int)i;
        ticket -= t->nodes[i].weight;
    }
    return TOPOLOGY_NONE;
}

/* Latency counts by its power of two: what is 10% slower is noise. */
static uint64_t cost_of(const struct topology *t, int node)
{
    const struct topology_node_live *l = &t->live->nodes[node];
    int64_t flying = (int64_t)atomic_load_explicit(&l->in_flight, memory_order_relaxed);
    uint64_t latency = atomic_load_explicit(&l->latency_us, memory_order_relaxed);
    uint64_t step = 63u - (unsigned)__builtin_clzll(MAX(latency, LATENCY_FLOOR_US));
    uint64_t load = (uint64_t)MAX(flying, 0) * COST_UNIT / t->nodes[node].weight;
    return (load + COST_UNIT) << step;
}

/* Scrambles a counter, so that callers need no better source than one (the mix of splitmix64). */
static uint64_t scramble(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

int balance_pick(const struct topology *t, uint64_t allowed, uint64_t random)
{
    uint64_t weights = 0;
    uint64_t among = best_class(t, allowed, &weights);
    if (among == 0)
        return TOPOLOGY_NONE;
    if ((among & (among - 1)) == 0)
        return __builtin_ctzll(among);
    uint64_t r = scramble(random);
    int a = draw(t, among, (r & UINT32_MAX) % weights);
    int b = draw(t, among, (r >> 32) % weights);
    return a == b || cost_of(t, a) <= cost_of(t, b) ? a : b;
}
