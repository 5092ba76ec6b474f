/* metrics_gather.h - the gatherers of metrics_table that stand in files of their own.
 *
 * metrics_pool.c    pools: numbers, states, measures
 * metrics_node.c    clusters and their nodes, routing
 * metrics_cache.c   the result cache and Redis
 *
 * Each writes the samples of one row of the table; `at` of the row says what each takes from it.
 * Only for metrics.c.  Pure.
 */
#ifndef PENSTOCK_PROXY_METRICS_GATHER_H
#define PENSTOCK_PROXY_METRICS_GATHER_H

#include "proxy/metrics/metrics.h"

#define METRICS_GATHERER(name)                                                                     \
    void name(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)

METRICS_GATHERER(metrics_pool_number); /* at: offset in struct admin_pool_row, as of time */
METRICS_GATHERER(metrics_pool_time);
METRICS_GATHERER(metrics_pool_limit); /* the same as the number */
METRICS_GATHERER(metrics_pool_stat);  /* at: which of STATS_COUNTERS */
METRICS_GATHERER(metrics_pool_clients);
METRICS_GATHERER(metrics_pool_servers);
METRICS_GATHERER(metrics_pool_pins);
METRICS_GATHERER(metrics_pool_errors);
METRICS_GATHERER(metrics_pool_refusals);
METRICS_GATHERER(metrics_pool_timeouts);
METRICS_GATHERER(metrics_pool_histogram); /* at: enum measure_time */
METRICS_GATHERER(metrics_pool_depth);

METRICS_GATHERER(metrics_node_epoch); /* clusters: */
METRICS_GATHERER(metrics_node_alarms);
METRICS_GATHERER(metrics_node_held);
METRICS_GATHERER(metrics_node_reasons); /* at: offset of an array in struct admin_cluster_row */
METRICS_GATHERER(metrics_node_role);    /* nodes: */
METRICS_GATHERER(metrics_node_state);
METRICS_GATHERER(metrics_node_drained);
METRICS_GATHERER(metrics_node_weight);
METRICS_GATHERER(metrics_node_number); /* at: offset in struct admin_node_row, as of time; */
METRICS_GATHERER(metrics_node_time);   /* what is below 0 is not known and left out */
METRICS_GATHERER(metrics_node_servers);
METRICS_GATHERER(metrics_node_requests);

METRICS_GATHERER(metrics_cache_number); /* at: offset in struct metrics_cache */
METRICS_GATHERER(metrics_cache_memory); /* the same, only where answers are in memory */
METRICS_GATHERER(metrics_cache_bypasses);
METRICS_GATHERER(metrics_cache_store); /* at: offset in struct metrics_store */
METRICS_GATHERER(metrics_cache_redis); /* at: offset in struct redis_counts */
METRICS_GATHERER(metrics_cache_redis_times);

#undef METRICS_GATHERER

#endif
