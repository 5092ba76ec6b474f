/* stats.h - the counters of pools, in one table that the console and the metrics are made from.
 *
 * Each worker's pool has a struct stats that only its worker writes; readers ask the worker by
 * message. Times are microseconds.
 */
#ifndef PENSTOCK_PROXY_STATS_H
#define PENSTOCK_PROXY_STATS_H

#include "base/base.h"
#include "base/clock.h"

/* field, name in SHOW STATS_TOTALS */
#define STATS_COUNTERS(X)                                                                          \
    X(server_assignments, "server_assignment_count")                                               \
    X(xacts, "xact_count")                                                                         \
    X(queries, "query_count")                                                                      \
    X(received, "bytes_received")                                                                  \
    X(sent, "bytes_sent")                                                                          \
    X(xact_time, "xact_time")                                                                      \
    X(query_time, "query_time")                                                                    \
    X(wait_time, "wait_time")                                                                      \
    X(client_parses, "client_parse_count")                                                         \
    X(server_parses, "server_parse_count")                                                         \
    X(binds, "bind_count")                                                                         \
    X(client_logins, "client_login_count")                                                         \
    X(shared, "shared_count")     /* requests sent behind others */                                \
    X(repeated, "repeated_count") /* requests sent again on another server */                      \
    X(unshared, "unshared_count") /* servers taken from those behind an overdue answer */

struct stats {
#define X(field, name) uint64_t field;
    STATS_COUNTERS(X)
#undef X
};

#define STATS_N 15

struct stats_name {
    const char *name;
    size_t offset;
};
extern const struct stats_name stats_names[STATS_N];

void stats_add(struct stats *into, const struct stats *from);
uint64_t stats_value(const struct stats *s, int i);

#endif
