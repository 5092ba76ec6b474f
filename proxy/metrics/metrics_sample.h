/* metrics_sample.h - what the whole process looks like at one time, for whoever shows it.
 *
 * Made on the main thread from one question to all workers (admin_gather.h), as the console's views
 * are, so that their numbers agree; after that nobody changes it, and any thread may read it.  It
 * borrows names from the registry and clusters, which live as long as the process, and nothing
 * else.
 */
#ifndef PENSTOCK_PROXY_METRICS_SAMPLE_H
#define PENSTOCK_PROXY_METRICS_SAMPLE_H

#include "base/refs.h"
#include "proxy/admin/admin_work.h"

struct metrics_database {
    const char *name;
    int64_t servers, clients, server_limit, client_limit; /* limits: 0 is none */
    int64_t paused, disabled;
};

struct metrics_user {
    const char *name;
    int64_t servers, clients;
};

struct metrics_statement {
    const char *database, *host;
    uint64_t digest, calls, cached, errors, rows, total_us, wait_us;
    usec_t p95_us, max_us;
    char *text; /* owned; empty: not seen */
};

struct metrics_cache { /* a rule of the result cache in a database */
    const char *database;
    char *rule;                        /* owned */
    int64_t wanted, in_force;          /* its mode is not off; it is answered from */
    int64_t refused;                   /* it cannot be safe in that database */
    int64_t in_memory, entries, bytes; /* entries: where they are in memory */
    struct session_counts counts;
    char why[200]; /* it is refused */
};

struct metrics_store { /* the result cache's memory */
    int64_t used;      /* there are rules, and their answers are in memory */
    int64_t entries, bytes, limit, evicted;
};

struct metrics_totals { /* of the process */
    int64_t clients, client_limit;
    int64_t buffer_bytes, buffer_limit;
    int64_t paused, suspended, draining;
    usec_t started_wall;
};

struct metrics_sample {
    struct refs refs;
    usec_t taken_wall;
    struct metrics_totals totals;
    struct admin_pool_row
        *pools; /* owned arrays, in the order of names; one for each node, or all */
    size_t npools;
    struct metrics_database *databases;
    size_t ndatabases;
    struct metrics_user *users;
    size_t nusers;
    struct metrics_statement *statements; /* those that took the most time in all, if asked for */
    size_t nstatements;
    struct admin_nodes nodes;
    struct metrics_cache *cache; /* in the order of rules */
    size_t ncache;
    struct metrics_store store;
    uint64_t times[MEASURE_TIMES][HISTOGRAM_BUCKETS]; /* of all pools that there are */
    unsigned nworkers;
    struct admin_counts workers[]; /* by index */
};

#define METRICS_STATEMENTS 20

enum metrics_use {
    METRICS_FOR_SCRAPE, /* pools of nodes apart */
    METRICS_FOR_PAGE,   /* pools of nodes together; statements */
};

/* Asks the workers; done gets the sample (one reference, which is its own) on the main thread,
 * later, and arg. Not at all when the process ends before that: the caller keeps arg until then.
 * Main thread, while there are workers. */
void metrics_sample_take(struct admin *a, enum metrics_use use,
                         void (*done)(void *arg, struct metrics_sample *s), void *arg);
struct metrics_sample *metrics_sample_get(struct metrics_sample *s);
void metrics_sample_put(struct metrics_sample **s);

#endif
