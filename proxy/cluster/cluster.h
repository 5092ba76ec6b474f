/* cluster.h - clusters as all threads see them: the newest topology, and what is asked of the
 * prober.
 *
 * One struct cluster per [cluster] of the configuration, made when it is first named and there
 * until the process ends, as the entries of the registry are.  One worker probes the nodes and
 * publishes what it finds (cluster_watch.h); the pools of every worker take the snapshot over when
 * they are told that there is a new one (pool_cluster.h).
 * Thread: any; the mutex inside is a named exception of design.md ("Threads"), held for a look at a
 * table or a pointer and never on the data path.
 */
#ifndef PENSTOCK_PROXY_CLUSTER_H
#define PENSTOCK_PROXY_CLUSTER_H

#include "base/base.h"
#include "base/str.h"
#include "router/freshness.h"
#include "router/health.h"
#include "router/topology.h"

struct process;
struct worker;
struct cluster_set;

#define CLUSTER_WATCHER 0u /* the worker that probes */

struct cluster {
    char *name;              /* owned */
    struct cluster_set *set; /* borrowed */
    struct {
        _Atomic(struct topology *) current; /* one reference; replaced under the set's lock */
        _Atomic bool wrote;                 /* a probe of the primary has been asked for */
        _Atomic int waiting;                /* requests that wait for a replica to catch up */
        _Atomic uint64_t drained;           /* nodes taken out by the console: bit = index */
        /* of replicas, as of their last answer, for people; -1: not known */
        _Atomic int64_t lag_us[TOPOLOGY_NODES_MAX], lag_bytes[TOPOLOGY_NODES_MAX];
    } shared;
};

struct cluster_set *cluster_set_new(void);
void cluster_set_free(struct cluster_set **s);
struct cluster *cluster_of(struct cluster_set *s, struct str name); /* found or made */
/* Calls fn for each, in no order, under the lock. */
void cluster_each(struct cluster_set *s, void (*fn)(void *arg, struct cluster *c), void *arg);

/* One reference, or NULL: nothing is known yet. */
struct topology *cluster_topology(struct cluster *c);
/* Takes t over; every worker is told. */
void cluster_publish(struct cluster *c, struct process *p, struct topology *t);
/* Something moved that those who wait for a replica want to know; told only when somebody waits. */
void cluster_moved(struct cluster *c, struct process *p);

/* The tables that are being written, for all clients of one database of the cluster. Found or made;
 * there until the process ends. */
struct freshness_db *cluster_writes(struct cluster *c, struct str dbname);

/* ---- what workers ask of the prober (cluster_watch.c) ---- */
/* A write has been acknowledged: the primary is probed soon. */
void cluster_wrote(struct cluster *c, struct worker *w);
/* A connection to the node could not be made, or was lost (HEALTH_LOST): it is asked at once. */
void cluster_failed(struct cluster *c, struct worker *w, int node, enum health_failure why);
/* The console takes a node out, or puts it back. */
void cluster_drain(struct cluster *c, struct process *p, int node, bool on);

#endif
