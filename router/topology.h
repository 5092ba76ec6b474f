/* topology.h - what is known of a cluster: an immutable snapshot, and the few numbers that move.
 *
 * A cluster is the set of nodes that replicate one primary.  Roles are discovered (health.h), never
 * configured.  Whoever probes builds a snapshot whenever a role, a state or a policy has changed
 * and hands it to the workers; they read it without a lock and drop their reference to the old one.
 * What moves with every probe and every request (how far a node has replayed, how busy it is) would
 * need a new snapshot a thousand times a second: it stands in struct topology_live, in atomics that
 * all snapshots of the cluster share.
 *
 * A node is named by its index.  A host that leaves the configuration or the DNS leaves a hole
 * (used is false) and gets its index back when it returns; another host gets a hole only when every
 * index has had an owner, and then it is a new life of the node.  So a snapshot, a pool, a client's
 * mark and the live numbers do not speak of different nodes.
 *
 * Threads: building is one thread's; struct topology is read-only after topology_new; reference
 * counts and struct topology_live are atomic.  No time is read here.
 */
#ifndef PENSTOCK_TOPOLOGY_H
#define PENSTOCK_TOPOLOGY_H

#include "base/base.h"
#include "base/clock.h"
#include "base/refs.h"
#include "base/str.h"

#include <stdatomic.h>

#define TOPOLOGY_NODES_MAX 64u /* so that a set of nodes is one uint64_t */
#define TOPOLOGY_NONE (-1)

enum node_role { NODE_UNKNOWN, NODE_PRIMARY, NODE_REPLICA };

enum node_state {
    NODE_UP,
    NODE_SLOW,    /* answers late: gets reads only when no other replica can */
    NODE_LAGGING, /* a replica beyond the policy's lag: gets nothing */
    NODE_DOWN,    /* does not answer, or not yet long enough */
    NODE_FENCED,  /* takes writes and is not the cluster's primary: gets nothing, its pools drain */
};

enum consistency {
    CONSISTENCY_OFF,
    CONSISTENCY_SESSION, /* a client's reads see its own writes and never go backwards */
    /* they also see every write acknowledged through this process before they began */
    CONSISTENCY_DATABASE,
};

struct topology_policy {
    enum consistency consistency;
    bool no_replica_is_error; /* otherwise the primary serves what no replica can */
    usec_t max_lag_us;        /* 0: any */
    uint64_t max_lag_bytes;   /* 0: any */
};

/* What has to be looked at by a person. */
enum topology_alarm {
    TOPOLOGY_TWO_PRIMARIES = 1u << 0, /* on one timeline; the current one is kept, or none chosen */
    TOPOLOGY_OTHER_SYSTEM = 1u << 1,  /* a node belongs to another cluster */
    TOPOLOGY_OLD_PRIMARY = 1u << 2,   /* a fenced node still takes writes on an older timeline */
};

struct topology_node {
    struct str name; /* for people: host:port, and the address where a name has several */
    struct str host; /* what to connect to */
    struct str zone; /* empty: none */
    uint16_t port;
    uint16_t weight; /* 0: no reads by choice, only when a request demands this node */
    bool used;       /* false: a hole, everything else is meaningless */
    bool drained;    /* by the console: gets nothing new */
    enum node_role role;
    enum node_state state;
    usec_t lag_us;     /* as of the snapshot, for people; -1: not known */
    int64_t lag_bytes; /* likewise */
    usec_t changed_at; /* monotonic time of the last change of role or state */
};

struct topology_live;

struct topology {
    struct refs refs; /* private */
    struct str name;  /* of the cluster */
    struct str zone;  /* this process's own; empty: none */
    struct topology_policy policy;
    uint64_t epoch;    /* counts the changes of primary; 0 before the first is known */
    uint32_t alarms;   /* topology_alarm bits */
    int16_t primary;   /* index, or TOPOLOGY_NONE; it may be down */
    uint16_t nnodes;   /* indices below this may be used */
    uint64_t readable; /* made by topology_new: nodes that may get reads, bit = index */
    struct topology_node *nodes;
    struct topology_live *live; /* reference */
};

/* Numbers of one node. Written by the prober, but for the last two, which workers keep. */
struct topology_node_live {
    /* The newest numbered probe of the primary (freshness.h) whose position this node has
     * replayed; 0: none, or not to be trusted. */
    alignas(64) atomic_uint_fast64_t replayed;
    atomic_uint_fast64_t position; /* the newest replay position it has told; 0: none */
    atomic_uint_fast32_t timeline; /* of that position; 0: not known */
    /* Counts restarts, changes of role and steps back: what a client has seen of an earlier life
     * of the node proves nothing of this one. */
    atomic_uint_fast32_t life;
    alignas(64) atomic_int_fast32_t in_flight; /* requests sent and not answered, of all workers */
    atomic_uint_fast32_t latency_us;           /* smoothed; topology_latency */
};

struct topology_live {
    struct refs refs;                      /* private */
    alignas(64) atomic_uint_fast64_t sent; /* number of the newest probe of the primary */
    struct topology_node_live nodes[TOPOLOGY_NODES_MAX];
};

/* A snapshot with one reference that copies what the model says, its nodes and all texts, and takes
 * a reference of its own to model->live, which must be set. model->refs does not count. */
struct topology *topology_new(const struct topology *model);
struct topology *topology_get(struct topology *t); /* one more reference; returns t */
void topology_put(struct topology **t);            /* drops one and clears the pointer; NULL fine */

/* Fresh numbers with one reference. first: no probe number up to it is used again, so that marks
 * of clients survive a change of the live object; 0 at the start. */
struct topology_live *topology_live_new(uint64_t first);
struct topology_live *topology_live_get(struct topology_live *l);
void topology_live_put(struct topology_live **l);

/* A worker sends a request to the node, and has its answer (or has lost it) after took_us, which is
 * smoothed into latency_us; took_us negative: tells nothing of the node's speed. Any thread. */
void topology_request_begins(struct topology_live *l, int node);
void topology_request_ends(struct topology_live *l, int node, usec_t took_us);

/* The node may get reads: used, a replica, not drained, neither lagging nor down nor fenced. */
bool topology_readable(const struct topology *t, int node);
/* Index of the node with that name, or TOPOLOGY_NONE. */
int topology_find(const struct topology *t, struct str name);

/* Lower-case words for the console and logs; never NULL. */
const char *topology_role_name(enum node_role role);
const char *topology_state_name(enum node_state state);
const char *topology_consistency_name(enum consistency c);

#endif
