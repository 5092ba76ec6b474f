/* cluster_node.h - one watched node and its control connection; shared by cluster_watch.c and
 * cluster_node.c only.
 *
 * A node is a configured host, or one address of a host name that has several.  Its index in
 * x->nodes is that of the topology and stays the same as long as the watch lives.
 * Thread: the watching worker's.
 */
#ifndef PENSTOCK_PROXY_CLUSTER_NODE_H
#define PENSTOCK_PROXY_CLUSTER_NODE_H

#include "base/base.h"
#include "proxy/cluster/cluster.h"
#include "proxy/config/config.h"
#include "proxy/job.h"
#include "proxy/pool/pool.h"
#include "protocol/wire_node.h"

#define WATCH_TEXT 300

struct watch;

struct watch_node {
    struct watch *watch; /* borrowed */
    int index;
    struct job job;
    bool asking;   /* the job is under way */
    bool silent;   /* the last one was given up: its connection is not used again */
    bool answered; /* a row has come that makes sense */
    struct wire_probe seen;
    uint32_t timeline; /* of a standby: the newest that it was seen to follow since it was lost */
    uint64_t number;   /* of the question under way, or of the last one */
    usec_t sent_at;
    usec_t gap;        /* to the next one, while it is behind */
    struct pool *pool; /* owned: its only server is the control connection */
    struct config_database db;
    struct config_host host;
    char name[WATCH_TEXT], address[WATCH_TEXT];
    const char *zone; /* borrowed from the configuration */
    int weight;
    bool wanted; /* while nodes are compared with the configuration */
};

struct watch {
    struct list link;      /* in worker->watches */
    struct worker *worker; /* borrowed */
    struct cluster *cluster;
    const struct config_cluster *config; /* borrowed from the worker's runtime; renewed on reload */
    struct health health;
    struct topology_live *live;                   /* reference */
    struct topology *published;                   /* reference; NULL: nothing was yet */
    struct watch_node *nodes[TOPOLOGY_NODES_MAX]; /* owned */
    char *names[TOPOLOGY_NODES_MAX]; /* owned: who has or had that index; NULL: nobody */
    struct timeout tick, soon;
    bool wanted; /* a probe of the primary, when the one under way is done or the gap over */
    bool stopped;
    uint64_t answered; /* number of the newest answered probe of the primary */
    usec_t looked_up_at;
    struct list questions; /* of names, to the resolver */
};

void watch_node_ask(struct watch_node *n);
void watch_node_close(struct watch_node *n); /* its connection ends; its job is over */
void watch_node_free(struct watch_node **n); /* closed before */

/* Hosts and addresses are compared with the nodes: those that are new join, others leave. */
void watch_look_up(struct watch *x);
void watch_nodes_renew(struct watch *x); /* the configuration is another one */
void watch_abandon_questions(struct watch *x);

/* ---- told to cluster_watch.c ---- */
void watch_changed(struct watch *x, unsigned changes); /* health_change bits */
void watch_answered(struct watch *x, struct watch_node *n);

#endif
