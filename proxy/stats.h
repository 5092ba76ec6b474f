/* stats.h - the counters of pools, in one table that the console and the metrics are made from.
 *
 * Each worker's pool has a struct stats that only its worker writes; readers ask the worker by
 * message.  Times are microseconds.  Bytes are counted by connections and added here when one ends
 * or changes workers; readers add those of the living (admin_live.c).
 */
#ifndef PENSTOCK_PROXY_STATS_H
#define PENSTOCK_PROXY_STATS_H

#include "base/base.h"
#include "base/clock.h"

/* What a counter counts; decides how it is printed as a metric. */
enum stats_unit { STATS_EVENTS, STATS_BYTES, STATS_USEC };
/* Whose pool counts it in a cluster: the entry's, which has the clients, or the node's. */
enum stats_side { STATS_OF_CLIENTS, STATS_OF_SERVERS };

/* field, name in SHOW STATS_TOTALS, name in SHOW TOTALS, metric, unit, side, help. The metric is
 * the part of its name between penstock_pool_ and _total; bytes and seconds stand at its end. */
#define STATS_COUNTERS(X)                                                                          \
    X(server_assignments, "server_assignment_count", "server_assignment_count",                    \
      "server_assignments", STATS_EVENTS, STATS_OF_SERVERS,                                        \
      "Times that a server was given to a client.")                                                \
    X(xacts, "xact_count", "xact_count", "transactions", STATS_EVENTS, STATS_OF_SERVERS,           \
      "Transactions that ended; a request outside one counts as one.")                             \
    X(queries, "query_count", "query_count", "queries", STATS_EVENTS, STATS_OF_SERVERS,            \
      "Requests sent to servers.")                                                                 \
    X(received, "bytes_received", "client_bytes", "client_received_bytes", STATS_BYTES,            \
      STATS_OF_CLIENTS, "Bytes read from clients.")                                                \
    X(sent, "bytes_sent", "server_bytes", "server_received_bytes", STATS_BYTES, STATS_OF_SERVERS,  \
      "Bytes read from servers.")                                                                  \
    X(xact_time, "xact_time", "xact_time", "transaction_time_seconds", STATS_USEC,                 \
      STATS_OF_SERVERS, "Time that transactions took, from their server to their end.")            \
    X(query_time, "query_time", "query_time", "query_time_seconds", STATS_USEC, STATS_OF_SERVERS,  \
      "Time that requests took on their servers.")                                                 \
    X(wait_time, "wait_time", "wait_time", "wait_time_seconds", STATS_USEC, STATS_OF_SERVERS,      \
      "Time that clients waited for a server.")                                                    \
    X(client_parses, "client_parse_count", "ps_client_parse_count", "client_parses", STATS_EVENTS, \
      STATS_OF_CLIENTS, "Statements that clients prepared.")                                       \
    X(server_parses, "server_parse_count", "ps_server_parse_count", "server_parses", STATS_EVENTS, \
      STATS_OF_SERVERS, "Statements that were prepared on servers.")                               \
    X(binds, "bind_count", "ps_bind_count", "binds", STATS_EVENTS, STATS_OF_CLIENTS,               \
      "Prepared statements that were bound to values.")                                            \
    X(client_logins, "client_login_count", "client_login_count", "client_logins", STATS_EVENTS,    \
      STATS_OF_CLIENTS, "Clients that logged in.")                                                 \
    X(shared, "shared_count", "shared_count", "shared_requests", STATS_EVENTS, STATS_OF_SERVERS,   \
      "Requests sent behind others on a shared server.")                                           \
    X(repeated, "repeated_count", "repeated_count", "repeated_requests", STATS_EVENTS,             \
      STATS_OF_SERVERS, "Requests sent again on another server.")                                  \
    X(unshared, "unshared_count", "unshared_count", "unshared_servers", STATS_EVENTS,              \
      STATS_OF_SERVERS, "Shared servers taken from those behind an overdue answer.")

struct stats {
#define X(field, name, total, metric, unit, side, help) uint64_t field;
    STATS_COUNTERS(X)
#undef X
};

#define STATS_N 15

struct stats_name {
    const char *name, *total, *metric;
    enum stats_unit unit;
    const char *help;
    size_t offset;
};
extern const struct stats_name stats_names[STATS_N];

void stats_add(struct stats *into, const struct stats *from);
uint64_t stats_value(const struct stats *s, int i);

#endif
