/* admin_work.h - what the main thread's half of the console shares between its files.
 *
 * admin.c runs commands, admin_gather.c asks all workers at once, admin_hold.c keeps commands that
 * wait (PAUSE, WAIT_CLOSE, SUSPEND) and changes holds, admin_show.c fills views from what the main
 * thread can see, admin_live.c those of workers' objects, admin_stats.c counters and averages.
 * Thread: main, except the collect functions, which run on each worker and touch only their own
 * part.
 */
#ifndef PENSTOCK_PROXY_ADMIN_WORK_H
#define PENSTOCK_PROXY_ADMIN_WORK_H

#include "base/base.h"
#include "base/list.h"
#include "proxy/admin/admin.h"
#include "proxy/admin/admin_names.h"
#include "proxy/admin/admin_reply.h"
#include "proxy/cluster/route_counts.h"
#include "proxy/peer.h"
#include "proxy/pool/registry.h"
#include "proxy/redis.h"
#include "proxy/session_cache.h"
#include "proxy/statements.h"
#include "proxy/stats.h"

#include <ev.h>

struct worker;
struct pool;
struct admin_gather;

#define ADMIN_DATABASE "pgbouncer" /* as which the console shows itself */

/* ---- counts of a worker: rows of SHOW WORKERS, LISTS, MEM ------------------------------------ */

struct admin_counts {
    int64_t clients, login_clients, consoles, waiting;
    int64_t servers, servers_idle, pools;
    int64_t statements, statement_texts, varsets;
    int64_t blocks_used, blocks_free;
    int64_t sql_entries, sql_bytes, sql_parsed, turns;
    int64_t cpu_us;
    int64_t tracked, tracked_bytes, tracked_evicted; /* statistics of statements */
    int64_t told[CAUSES]; /* errors told to clients that have no pool (yet) */
    struct redis_counts redis;
    int64_t found; /* of what was looked for: killed clients, closing servers, unwritten buffers */
};

/* ---- pools as one worker has them ------------------------------------------------------------ */

struct admin_pool_row {
    const struct pool_shared *shared; /* lives as long as the process */
    int64_t cl_active, cl_waiting, cancels;
    int64_t cl_idle, cl_busy, cl_sharing, cl_held; /* the parts of cl_active */
    int64_t sv_active, sv_canceled, sv_idle, sv_tested, sv_login, sv_pinned;
    int64_t sv_alone, sv_shared; /* the parts of sv_active */
    int64_t in_flight, share_width;
    int64_t pins[ADMIN_PINS]; /* servers that stay with their client, by reason */
    int64_t idle_in_tx;
    int64_t failing; /* workers whose last connection to the database failed */
    int64_t limit;   /* servers, of all workers together; 0: no limit */
    usec_t maxwait, longest_tx, longest_idle_in_tx;
    int mode;                      /* enum config_pool_mode */
    int balance;                   /* enum config_balance */
    bool left_only;                /* no worker has it any more: stats is all there is */
    bool probes;                   /* the control connections of a cluster */
    const struct cluster *cluster; /* of its entry, or whose node's pool it is; NULL: none */
    struct stats stats;
    struct measured measured; /* where the gather wants it */
};

struct admin_peer_row {
    int id;
    struct peer_counts counts;
};

struct admin_statement { /* one worker's row, or all of them merged */
    struct statement s;  /* text: in the part's rows once the part is complete */
    size_t at;           /* where in these */
};

struct admin_cache_row { /* a rule in a database, of one worker or all merged */
    const struct db_shared *db;
    int rule;
    bool usable, checked;
    char why[200];
    int64_t entries, bytes; /* of the store in memory, which all workers share */
    struct session_counts counts;
};

struct admin_part { /* of a gather: one worker's */
    struct buf rows;
    struct admin_counts counts;
    struct admin_pool_row *pools; /* owned array */
    size_t npools, cap_pools;
    uint64_t after; /* the last pool that has a row: pool->serial */
    bool more;      /* collect has not finished, and is called again in the next turn */
    bool later;     /* nor will it in a turn: admin_gather_done follows */
    uint64_t (*times)[HISTOGRAM_BUCKETS]; /* owned, MEASURE_TIMES of them; NULL: not wanted */
    struct admin_peer_row *peers; /* owned array: those that this worker passes requests on to */
    size_t npeers;
    struct admin_statement *statements; /* owned array */
    size_t nstatements;
    struct route_counts *routes; /* owned arrays of copies; their lists are not to be followed */
    size_t nroutes;
    struct route_node_counts *routed;
    size_t nrouted;
    struct admin_cache_row *cache; /* owned array */
    size_t ncache;
};

/* ---- asking all workers ---------------------------------------------------------------------- */

struct admin_scope {
    struct db_shared *db; /* NULL: all */
};

struct admin_wait;

struct admin_gather {
    struct message m;
    struct list link; /* in admin->gathers */
    struct admin *admin;
    struct admin_reply *reply; /* owned; NULL: nobody waits for an answer */
    struct admin_wait *wait;   /* borrowed; NULL: none */
    struct admin_scope scope;
    void *arg;                   /* of whoever waits without a reply, */
    void (*free_arg)(void *arg); /* and how it ends with the gather; NULL: it does not */
    uint64_t client;             /* KILL_CLIENT */
    enum admin_view_id view;
    bool last_call; /* SUSPEND: the time is over */
    bool measures;  /* what pools have measured is wanted too */
    usec_t started_wall;
    void (*collect)(struct worker *w, struct admin_gather *g, struct admin_part *part);
    bool started;
    void (*finish)(struct admin_gather *g); /* main thread; g is freed afterwards */
    _Atomic unsigned left;
    unsigned nparts;
    struct admin_part parts[];
};

/* For a gather that the caller fills in and starts. reply and wait may be NULL. */
struct admin_gather *admin_gather_new(struct admin *a, struct admin_reply *reply);
void admin_gather_start(struct admin_gather *g);
/* On a worker whose collect has set part->later: the part is complete now. */
void admin_gather_done(struct admin_gather *g);
void admin_gather_free_all(struct admin *a);
/* Sum over workers. */
void admin_gather_counts(const struct admin_gather *g, struct admin_counts *out);
/* Pools of all workers merged per database and user, in that order; *n rows, the caller frees
 * them. */
struct admin_pool_row *admin_gather_pools(const struct admin_gather *g, size_t *n);
/* The same, with a cluster's nodes apart: the entry's own row, which has the clients, comes
 * first. */
struct admin_pool_row *admin_gather_nodes(const struct admin_gather *g, size_t *n);
/* The same with what nodes have counted whose pools are closed, while their entry has a pool. */
struct admin_pool_row *admin_gather_counted(const struct admin_gather *g, size_t *n);
/* The same per database: stats only. */
struct admin_pool_row *admin_gather_databases(const struct admin_gather *g, size_t *n);
/* expected: how many there will be, or so; not 0. */
struct admin_pool_row *admin_gather_add_pool(struct admin_part *part, size_t expected);
bool admin_gather_in_scope(const struct admin_gather *g, const struct pool *p);

/* ---- the console's state --------------------------------------------------------------------- */

struct admin_snapshot {          /* counters per database at one time, in the order of names */
    struct admin_pool_row *rows; /* owned */
    size_t n;
    struct stats console;
    usec_t at;
};

struct admin {
    struct process *process;
    const struct admin_ops *ops;
    struct list gathers;
    struct list waits;
    ev_timer poll; /* runs while there are waits */
    bool global_pause;
    uint64_t suspended_by;              /* client id; 0: nobody */
    struct admin_snapshot older, newer; /* two ends of the last complete period */
    bool ticking;                       /* a snapshot is being gathered */
    struct stats console;               /* the console's own queries */
    struct admin_reply *upgrading;      /* owned; who waits for a successor; NULL: nobody */
};

/* admin.c */
const struct config *admin_config(const struct admin *a);
void admin_answer(struct admin *a, struct admin_reply *r); /* posts it back */
void admin_answer_error(struct admin *a, struct admin_reply *r, const char *fmt, ...)
    ATTR_PRINTF(3, 4);

/* admin_hold.c: each takes the reply. */
void admin_hold_init(struct admin *a);
void admin_hold_fini(struct admin *a);
void admin_hold_pause(struct admin *a, struct admin_reply *r);
void admin_hold_resume(struct admin *a, struct admin_reply *r);
void admin_hold_suspend(struct admin *a, struct admin_reply *r);
void admin_hold_disable(struct admin *a, struct admin_reply *r, bool on);
void admin_hold_reconnect(struct admin *a, struct admin_reply *r);
void admin_hold_wait_close(struct admin *a, struct admin_reply *r);
void admin_hold_kill(struct admin *a, struct admin_reply *r);
void admin_hold_kill_client(struct admin *a, struct admin_reply *r);
void admin_hold_cancel(struct admin *a, uint64_t client);
void admin_hold_client_gone(struct admin *a, uint64_t client);

/* admin_hold_work.c: on workers. */
void admin_hold_work_close_idle(struct worker *w, struct admin_gather *g, struct admin_part *part);
void admin_hold_work_wake(struct worker *w, struct admin_gather *g, struct admin_part *part);
void admin_hold_work_suspend(struct worker *w, struct admin_gather *g, struct admin_part *part);
void admin_hold_work_unsuspend(struct worker *w, struct admin_gather *g, struct admin_part *part);
void admin_hold_work_reconnect(struct worker *w, struct admin_gather *g, struct admin_part *part);
void admin_hold_work_count_closing(struct worker *w, struct admin_gather *g,
                                   struct admin_part *part);
void admin_hold_work_kill(struct worker *w, struct admin_gather *g, struct admin_part *part);
void admin_hold_work_kill_client(struct worker *w, struct admin_gather *g, struct admin_part *part);

/* admin_show.c */
void admin_show(struct admin *a, struct admin_reply *r);

/* admin_cache.c */
void admin_cache_collect(struct worker *w, struct admin_gather *g, struct admin_part *part);
/* One row for each rule and database, in the order of rules; *n rows, the caller frees them. */
struct admin_cache_row *admin_cache_merged(const struct admin_gather *g, size_t *n);
/* ready, or why not: off, unused (r is NULL: no client of any database yet), unchecked, refused. */
const char *admin_cache_state(const struct config_cache_rule *rule,
                              const struct admin_cache_row *r);
/* Each takes the reply. */
void admin_cache_show(struct admin *a, struct admin_reply *r);
void admin_cache_flush(struct admin *a, struct admin_reply *r);

/* admin_members.c: each takes the reply. */
void admin_members_show(struct admin *a, struct admin_reply *r);
void admin_members_forget(struct admin *a, struct admin_reply *r);

/* admin_entries.c: all rows. */
void admin_entries_databases(struct admin *a, struct buf *b);
void admin_entries_users(struct admin *a, struct buf *b);

/* admin_live.c: on workers. */
void admin_live_connections(struct worker *w, struct admin_gather *g, struct admin_part *part);
void admin_live_pools(struct worker *w, struct admin_gather *g,
                      struct admin_part *part); /* and counts */
void admin_live_peers(struct worker *w, struct admin_gather *g, struct admin_part *part);

/* admin_statements.c */
void admin_statements_collect(struct worker *w, struct admin_gather *g, struct admin_part *part);
/* Those of all workers merged, the most time first; *n rows, the caller frees them; their texts
 * live as long as g. */
struct admin_statement *admin_statements_merged(struct admin_gather *g, size_t *n);
void admin_statements_finish(struct admin_gather *g);                /* of VIEW_STATEMENTS */
void admin_statements_reset(struct admin *a, struct admin_reply *r); /* takes the reply */

/* admin_nodes.c */
struct admin_node_row {
    int cluster;                      /* index */
    const struct topology_node *node; /* borrowed from the cluster's topology */
    usec_t lag_us;                    /* of a replica; -1: not known, as: */
    int64_t lag_bytes, behind; /* behind: probes of the primary since the newest that it has */
    int64_t in_flight, latency_us, changed_us;
    int64_t transactions, of_cluster; /* that ended on it, and on all nodes of its cluster */
    int64_t sv_login, sv_idle, sv_alone, sv_shared, sv_tested, sv_canceled;
    int64_t waiting; /* clients, for one of its servers */
    int64_t requests[ROUTE_REASONS];
};

struct admin_cluster_row {
    const struct cluster *cluster; /* lives as long as the process */
    struct topology *topology;     /* reference */
    int64_t waiting;               /* requests that are held just now */
    int64_t held[ROUTE_REASONS], refused[ROUTE_REASONS];
};

struct admin_nodes {                    /* in the order of names, and of indices */
    struct admin_cluster_row *clusters; /* owned arrays */
    size_t nclusters;
    struct admin_node_row *nodes;
    size_t nnodes;
};

void admin_nodes_collect(struct worker *w, struct admin_gather *g, struct admin_part *part);
/* From a gather that has collected the pools and the above. */
void admin_nodes_take(const struct admin_gather *g, struct admin_nodes *out);
void admin_nodes_free(struct admin_nodes *n);
void admin_nodes_show(struct admin *a, struct admin_reply *r); /* and SHOW ROUTING */
void admin_nodes_drain(struct admin *a, struct admin_reply *r, bool on);

/* admin_route.c */
void admin_route_explain(struct admin *a, struct admin_reply *r);

/* admin_stats.c */
void admin_stats_show(struct admin_gather *g); /* finish of VIEW_STATS* and VIEW_TOTALS */
void admin_stats_tick(struct admin *a);
void admin_stats_fini(struct admin *a);

#endif
