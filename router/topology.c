/* topology.c - snapshots of a cluster in one block each; see topology.h.
 *
 * topology_new lays out struct topology, its nodes and then the bytes of all texts, so that the
 * last reference frees one pointer.  Nothing here decides anything.
 */
#include "router/topology.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/refs.h"

#include <stdlib.h>

/* A new request time counts an eighth. */
#define LATENCY_SHIFT 3
#define LATENCY_MAX_US 10000000

static size_t text_size(const struct topology *t)
{
    size_t n = t->name.n + t->zone.n;
    for (unsigned i = 0; i < t->nnodes; i++)
        n += t->nodes[i].name.n + t->nodes[i].host.n + t->nodes[i].zone.n;
    return n;
}

/* Makes *s a copy of itself in the block. */
static void keep(struct str *s, char **to)
{
    if (s->n == 0) {
        *s = STR_NONE;
        return;
    }
    memcpy(*to, s->p, s->n);
    s->p = *to;
    *to += s->n;
}

static bool readable(const struct topology_node *n)
{
    return n->used && !n->drained && n->role == NODE_REPLICA &&
           (n->state == NODE_UP || n->state == NODE_SLOW);
}

struct topology *topology_new(const struct topology *model)
{
    CHECK(model->live != NULL && model->nnodes <= TOPOLOGY_NODES_MAX);
    size_t nodes = model->nnodes * sizeof(struct topology_node);
    struct topology *t = mem_new(sizeof(*t) + nodes + text_size(model));
    t->name = model->name;
    t->zone = model->zone;
    t->policy = model->policy;
    t->epoch = model->epoch;
    t->alarms = model->alarms;
    t->primary = model->primary;
    t->nnodes = model->nnodes;
    t->live = topology_live_get(model->live);
    refs_init(&t->refs);
    t->nodes = (struct topology_node *)(void *)(t + 1);
    if (nodes > 0)
        memcpy(t->nodes, model->nodes, nodes);
    char *to = (char *)(t + 1) + nodes;
    keep(&t->name, &to);
    keep(&t->zone, &to);
    for (unsigned i = 0; i < t->nnodes; i++) {
        keep(&t->nodes[i].name, &to);
        keep(&t->nodes[i].host, &to);
        keep(&t->nodes[i].zone, &to);
        t->readable |= (uint64_t)readable(&t->nodes[i]) << i;
    }
    return t;
}

struct topology *topology_get(struct topology *t)
{
    refs_get(&t->refs);
    return t;
}

void topology_put(struct topology **t)
{
    struct topology *was = *t;
    *t = NULL;
    if (was == NULL || !refs_put(&was->refs))
        return;
    topology_live_put(&was->live);
    mem_free(was);
}

struct topology_live *topology_live_new(uint64_t first)
{
    /* Its members stand on cache lines of their own, which mem_new does not promise. */
    struct topology_live *l = aligned_alloc(alignof(struct topology_live), sizeof(*l));
    CHECK(l != NULL);
    memset(l, 0, sizeof(*l));
    refs_init(&l->refs);
    atomic_init(&l->sent, first);
    return l;
}

struct topology_live *topology_live_get(struct topology_live *l)
{
    refs_get(&l->refs);
    return l;
}

void topology_live_put(struct topology_live **l)
{
    struct topology_live *was = *l;
    *l = NULL;
    if (was != NULL && refs_put(&was->refs))
        free(was);
}

void topology_request_begins(struct topology_live *l, int node)
{
    atomic_fetch_add_explicit(&l->nodes[node].in_flight, 1, memory_order_relaxed);
}

void topology_request_ends(struct topology_live *l, int node, usec_t took_us)
{
    struct topology_node_live *n = &l->nodes[node];
    atomic_fetch_sub_explicit(&n->in_flight, 1, memory_order_relaxed);
    if (took_us < 0)
        return;
    /* Two workers may overwrite each other: one sample is lost. */
    int64_t took = MIN(took_us, LATENCY_MAX_US);
    int64_t was = (int64_t)atomic_load_explicit(&n->latency_us, memory_order_relaxed);
    int64_t now = was == 0 ? took : was + (took - was) / (1 << LATENCY_SHIFT);
    atomic_store_explicit(&n->latency_us, (uint_fast32_t)MAX(now, 1), memory_order_relaxed);
}

bool topology_readable(const struct topology *t, int node)
{
    return node >= 0 && node < t->nnodes && (t->readable >> node & 1u) != 0;
}

int topology_find(const struct topology *t, struct str name)
{
    for (int i = 0; i < t->nnodes; i++) {
        if (t->nodes[i].used && str_eq(t->nodes[i].name, name))
            return i;
    }
    return TOPOLOGY_NONE;
}

const char *topology_role_name(enum node_role role)
{
    switch (role) {
    case NODE_UNKNOWN:
        return "unknown";
    case NODE_PRIMARY:
        return "primary";
    case NODE_REPLICA:
        return "replica";
    }
    return "?";
}

const char *topology_state_name(enum node_state state)
{
    switch (state) {
    case NODE_UP:
        return "up";
    case NODE_SLOW:
        return "slow";
    case NODE_LAGGING:
        return "lagging";
    case NODE_DOWN:
        return "down";
    case NODE_FENCED:
        return "fenced";
    }
    return "?";
}

const char *topology_consistency_name(enum consistency c)
{
    switch (c) {
    case CONSISTENCY_OFF:
        return "off";
    case CONSISTENCY_SESSION:
        return "session";
    case CONSISTENCY_DATABASE:
        return "database";
    }
    return "?";
}
