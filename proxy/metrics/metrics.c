/* metrics.c - the rows of the table and their gatherers; see metrics.h.  Pure. */
#include "proxy/metrics/metrics_gather.h"

#include "base/mem.h"

#include <stdio.h>

#define LABELS_MAX ((size_t)1 << 30)

/* ---- the process ----------------------------------------------------------------------------- */

static void build(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)
{
    (void)v;
    (void)m;
    metrics_out_line(
        o, &(struct metrics_line){.extra = "version", .extra_value = PENSTOCK_VERSION, .value = 1});
}

static void totals(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)
{
    metrics_out_line(
        o, &(struct metrics_line){.value = metrics_out_number(&v->sample->totals, m->at)});
}

static void started(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)
{
    metrics_out_line(
        o, &(struct metrics_line){.form = METRICS_SECONDS,
                                  .value = metrics_out_number(&v->sample->totals, m->at)});
}

static void process(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)
{
    metrics_out_line(o, &(struct metrics_line){.value = metrics_out_number(v->process, m->at)});
}

static void process_cpu(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)
{
    metrics_out_line(o, &(struct metrics_line){.form = METRICS_SECONDS,
                                               .value = metrics_out_number(v->process, m->at)});
}

/* ---- workers --------------------------------------------------------------------------------- */

static void of_workers(const struct metrics_view *v, const struct metric *m, struct metrics_out *o,
                       enum metrics_form form)
{
    char index[16];
    for (unsigned i = 0; i < v->sample->nworkers; i++) {
        snprintf(index, sizeof(index), "%u", i);
        metrics_out_line(
            o, &(struct metrics_line){.extra = "worker",
                                      .extra_value = index,
                                      .form = form,
                                      .value = metrics_out_number(&v->sample->workers[i], m->at)});
    }
}

static void worker(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)
{
    of_workers(v, m, o, METRICS_WHOLE);
}

static void worker_time(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)
{
    of_workers(v, m, o, METRICS_SECONDS);
}

static void worker_refusals(const struct metrics_view *v, const struct metric *m,
                            struct metrics_out *o)
{
    struct buf b;
    (void)m;
    for (unsigned i = 0; i < v->sample->nworkers; i++) {
        buf_init(&b, LABELS_MAX);
        buf_printf(&b, "worker=\"%u\"", i);
        for (int k = 0; k < CAUSES; k++)
            if (v->sample->workers[i].told[k] > 0)
                metrics_out_line(
                    o, &(struct metrics_line){.labels = buf_str(&b),
                                              .extra = "cause",
                                              .extra_value = cause_name((enum cause)k),
                                              .value = (uint64_t)v->sample->workers[i].told[k]});
        buf_fini(&b);
    }
}

/* ---- databases and users --------------------------------------------------------------------- */

static void database(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)
{
    for (size_t i = 0; i < v->sample->ndatabases; i++)
        metrics_out_line(o, &(struct metrics_line){
                                .labels = v->database_labels[i],
                                .value = metrics_out_number(&v->sample->databases[i], m->at)});
}

static void user(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)
{
    for (size_t i = 0; i < v->sample->nusers; i++)
        metrics_out_line(
            o, &(struct metrics_line){.labels = v->user_labels[i],
                                      .value = metrics_out_number(&v->sample->users[i], m->at)});
}

/* ---- the table ------------------------------------------------------------------------------- */

enum {
#define X(field, name, total, metric, unit, side, help) STAT_##field,
    STATS_COUNTERS(X)
#undef X
};

#define STATS_UNIT_STATS_EVENTS ""
#define STATS_UNIT_STATS_BYTES "bytes"
#define STATS_UNIT_STATS_USEC "seconds"

#define TOTAL(field) offsetof(struct metrics_totals, field)
#define COUNT(field) offsetof(struct admin_pool_row, measured.counts.field)
#define PROCESS(field) offsetof(struct metrics_process, field)
#define WORKER(field) offsetof(struct admin_counts, field)
#define DATABASE(field) offsetof(struct metrics_database, field)
#define USER(field) offsetof(struct metrics_user, field)
#define ROW(field) offsetof(struct admin_pool_row, field)
#define CLUSTER_ROW(field) offsetof(struct admin_cluster_row, field)
#define NODE_ROW(field) offsetof(struct admin_node_row, field)
#define RULE(field) offsetof(struct metrics_cache, field)
#define STORE(field) offsetof(struct metrics_store, field)
#define REDIS(field) offsetof(struct redis_counts, field)
#define G METRIC_GAUGE
#define C METRIC_COUNTER
#define POOL "database, user"
#define SERVERS_OF "database, user, node" /* counted by the pool of a node, in a cluster */
#define SIDE_STATS_OF_CLIENTS POOL
#define SIDE_STATS_OF_SERVERS SERVERS_OF
#define NODE "cluster, node"
#define CACHE "rule, database"

const struct metric metrics_table[] = {
    {"penstock_build", METRIC_INFO, "", "version", "The version that runs.", build, 0},
    {"process_start_time_seconds", G, "seconds", "", "When the process began, since 1970.", started,
     TOTAL(started_wall)},
    {"process_cpu_seconds", C, "seconds", "", "Processor time of all threads.", process_cpu,
     PROCESS(cpu)},
    {"process_resident_memory_bytes", G, "bytes", "", "Memory in use.", process,
     PROCESS(resident_bytes)},
    {"process_virtual_memory_bytes", G, "bytes", "", "Address space.", process,
     PROCESS(virtual_bytes)},
    {"process_open_fds", G, "", "", "Open file descriptors.", process, PROCESS(open_fds)},
    {"process_max_fds", G, "", "", "How many may be open; 0: no limit.", process, PROCESS(max_fds)},

    {"penstock_clients", G, "", "", "Clients that have logged in.", totals, TOTAL(clients)},
    {"penstock_clients_limit", G, "", "", "max_client_conn.", totals, TOTAL(client_limit)},
    {"penstock_buffer_bytes", G, "bytes", "", "Buffers of all connections.", totals,
     TOTAL(buffer_bytes)},
    {"penstock_buffer_limit_bytes", G, "bytes", "", "max_buffer_memory; 0: no limit.", totals,
     TOTAL(buffer_limit)},
    {"penstock_paused", G, "", "", "1 after PAUSE without a database.", totals, TOTAL(paused)},
    {"penstock_suspended", G, "", "", "1 after SUSPEND.", totals, TOTAL(suspended)},
    {"penstock_draining", G, "", "", "1 while the process waits for its end.", totals,
     TOTAL(draining)},

    {"penstock_worker_cpu_seconds", C, "seconds", "worker", "Processor time of the thread.",
     worker_time, WORKER(cpu_us)},
    {"penstock_worker_turns", C, "", "worker", "Turns of the thread's event loop.", worker,
     WORKER(turns)},
    {"penstock_worker_clients", G, "", "worker", "Clients, those that log in among them.", worker,
     WORKER(clients)},
    {"penstock_worker_login_clients", G, "", "worker", "Clients that have not logged in yet.",
     worker, WORKER(login_clients)},
    {"penstock_worker_waiting_clients", G, "", "worker", "Clients that wait for a server.", worker,
     WORKER(waiting)},
    {"penstock_worker_servers", G, "", "worker", "Connections to databases.", worker,
     WORKER(servers)},
    {"penstock_worker_idle_servers", G, "", "worker", "Those that nobody uses.", worker,
     WORKER(servers_idle)},
    {"penstock_worker_pools", G, "", "worker", "Pools.", worker, WORKER(pools)},
    {"penstock_worker_server_statements", G, "", "worker",
     "Prepared statements on all of its servers together.", worker, WORKER(statements)},
    {"penstock_worker_statement_texts", G, "", "worker", "Different texts of prepared statements.",
     worker, WORKER(statement_texts)},
    {"penstock_worker_analysed_statements", G, "", "worker",
     "Statements of which it is known what they do.", worker, WORKER(sql_entries)},
    {"penstock_worker_analysed_bytes", G, "bytes", "worker",
     "Memory of those; sql_cache_memory is the limit.", worker, WORKER(sql_bytes)},
    {"penstock_worker_parsed_statements", C, "", "worker",
     "Statements that went through the parser.", worker, WORKER(sql_parsed)},
    {"penstock_worker_tracked_statements", G, "", "worker", "Statements with statistics.", worker,
     WORKER(tracked)},
    {"penstock_worker_tracked_statements_bytes", G, "bytes", "worker", "Memory of those.", worker,
     WORKER(tracked_bytes)},
    {"penstock_worker_evicted_statements", C, "", "worker",
     "Statistics of statements that gave way to others.", worker, WORKER(tracked_evicted)},
    {"penstock_worker_buffer_blocks", G, "", "worker", "Blocks of output in use.", worker,
     WORKER(blocks_used)},
    {"penstock_worker_free_buffer_blocks", G, "", "worker", "Blocks kept for the next output.",
     worker, WORKER(blocks_free)},

    {"penstock_database_servers", G, "", "database", "Connections to the database.", database,
     DATABASE(servers)},
    {"penstock_database_servers_limit", G, "", "database", "max_db_connections; 0: no limit.",
     database, DATABASE(server_limit)},
    {"penstock_database_clients", G, "", "database", "Clients of the database.", database,
     DATABASE(clients)},
    {"penstock_database_clients_limit", G, "", "database",
     "max_db_client_connections; 0: no limit.", database, DATABASE(client_limit)},
    {"penstock_database_paused", G, "", "database", "1 after PAUSE or KILL.", database,
     DATABASE(paused)},
    {"penstock_database_disabled", G, "", "database", "1 after DISABLE.", database,
     DATABASE(disabled)},
    {"penstock_user_servers", G, "", "user", "Connections to databases as this user.", user,
     USER(servers)},
    {"penstock_user_clients", G, "", "user", "Clients of this user.", user, USER(clients)},

    {"penstock_pool_clients", G, "", POOL ", state", "Clients by state.", metrics_pool_clients, 0},
    {"penstock_pool_servers", G, "", SERVERS_OF ", state", "Servers by state.",
     metrics_pool_servers, 0},
    {"penstock_pool_servers_limit", G, "", SERVERS_OF,
     "pool_size, of each node in a cluster; 0: no limit.", metrics_pool_limit, ROW(limit)},
    {"penstock_pool_oldest_wait_seconds", G, "seconds", POOL,
     "How long the first of the waiting clients has waited.", metrics_pool_time, ROW(maxwait)},
    {"penstock_pool_longest_transaction_seconds", G, "seconds", POOL,
     "Age of the oldest open transaction.", metrics_pool_time, ROW(longest_tx)},
    {"penstock_pool_idle_in_transaction", G, "", POOL,
     "Clients that are in a transaction and send nothing.", metrics_pool_number, ROW(idle_in_tx)},
    {"penstock_pool_longest_idle_in_transaction_seconds", G, "seconds", POOL,
     "For how long the worst of them has sent nothing.", metrics_pool_time,
     ROW(longest_idle_in_tx)},
    {"penstock_pool_pinned_servers", G, "", SERVERS_OF ", reason",
     "Servers that stay with their client, by reason; one may have several.", metrics_pool_pins, 0},
    {"penstock_pool_cancels_in_flight", G, "", SERVERS_OF,
     "Cancel requests on their way to servers.", metrics_pool_number, ROW(cancels)},
    {"penstock_pool_in_flight_requests", G, "", SERVERS_OF,
     "Requests that servers have not answered yet.", metrics_pool_number, ROW(in_flight)},
    {"penstock_pool_share_width", G, "", SERVERS_OF,
     "On how many servers, at most, clients share; summed over workers.", metrics_pool_limit,
     ROW(share_width)},
    {"penstock_pool_failing_workers", G, "", SERVERS_OF,
     "Workers whose last connection to the database failed.", metrics_pool_number, ROW(failing)},

#define X(field, name, total, metric, unit, side, help)                                            \
    {"penstock_pool_" metric, C,           STATS_UNIT_##unit, SIDE_##side, help,                   \
     metrics_pool_stat,       STAT_##field},
    STATS_COUNTERS(X)
#undef X

        {"penstock_pool_wait_seconds", METRIC_HISTOGRAM, "seconds", SERVERS_OF,
         "How long clients waited for their server; 0 for those that did not.",
         metrics_pool_histogram, MEASURE_WAIT},
    {"penstock_pool_query_seconds", METRIC_HISTOGRAM, "seconds", SERVERS_OF,
     "How long requests took, from being sent to the end of their answer.", metrics_pool_histogram,
     MEASURE_REQUEST},
    {"penstock_pool_transaction_seconds", METRIC_HISTOGRAM, "seconds", SERVERS_OF,
     "How long transactions took, from their server to their end.", metrics_pool_histogram,
     MEASURE_XACT},
    {"penstock_pool_share_depth", METRIC_HISTOGRAM, "", SERVERS_OF,
     "Requests in flight on a shared server when one was sent, that one included.",
     metrics_pool_depth, 0},
    {"penstock_pool_errors", C, "", SERVERS_OF ", code",
     "Errors of the database in answers to clients, by its code.", metrics_pool_errors, 0},
    {"penstock_pool_refusals", C, "", POOL ", cause",
     "Errors of the proxy's own that clients were told, by cause.", metrics_pool_refusals, 0},
    {"penstock_pool_timeouts", C, "", POOL ", timeout", "Timeouts of clients that ran out.",
     metrics_pool_timeouts, 0},
    {"penstock_pool_cancels", C, "", POOL, "Requests that their client asked to be stopped.",
     metrics_pool_number, COUNT(cancels)},
    {"penstock_pool_server_logins", C, "", SERVERS_OF,
     "Connections to the database that were made.", metrics_pool_number, COUNT(logins)},
    {"penstock_pool_failed_server_logins", C, "", SERVERS_OF,
     "Attempts to connect to the database that failed.", metrics_pool_number, COUNT(failed_logins)},
    {"penstock_worker_refusals", C, "", "worker, cause",
     "Errors that clients were told which had no pool yet, by cause.", worker_refusals, 0},

    {"penstock_cluster_primary_changes", C, "", "cluster",
     "Primaries that were chosen, the first included.", metrics_node_epoch, 0},
    {"penstock_cluster_alarm", G, "", "cluster, alarm",
     "1: somebody has to look; two nodes take writes, or one belongs to another cluster.",
     metrics_node_alarms, 0},
    {"penstock_cluster_held_requests", G, "", "cluster",
     "Requests that wait because no node may have them now.", metrics_node_held, 0},
    {"penstock_cluster_holds", C, "", "cluster, reason",
     "Requests that had to wait for a node, by the first reason.", metrics_node_reasons,
     CLUSTER_ROW(held)},
    {"penstock_cluster_refusals", C, "", "cluster, reason", "Requests that no node was found for.",
     metrics_node_reasons, CLUSTER_ROW(refused)},
    {"penstock_node_role", G, "", NODE ", role", "1 for the role that the node has.",
     metrics_node_role, 0},
    {"penstock_node_state", G, "", NODE ", state", "1 for the state that the node is in.",
     metrics_node_state, 0},
    {"penstock_node_drained", G, "", NODE, "1 after DRAIN.", metrics_node_drained, 0},
    {"penstock_node_weight", G, "", NODE, "Its weight among replicas.", metrics_node_weight, 0},
    {"penstock_node_lag_seconds", G, "seconds", NODE,
     "How old what the replica shows is; left out while it is not known.", metrics_node_time,
     NODE_ROW(lag_us)},
    {"penstock_node_lag_bytes", G, "bytes", NODE,
     "Log of the primary that the replica has not replayed.", metrics_node_number,
     NODE_ROW(lag_bytes)},
    {"penstock_node_missing_probes", G, "", NODE,
     "Freshness: probes of the primary since the newest whose position the replica shows.",
     metrics_node_number, NODE_ROW(behind)},
    {"penstock_node_since_change_seconds", G, "seconds", NODE,
     "Since when the node has its role and state.", metrics_node_time, NODE_ROW(changed_us)},
    {"penstock_node_answer_seconds", G, "seconds", NODE, "How long requests take, smoothed.",
     metrics_node_time, NODE_ROW(latency_us)},
    {"penstock_node_in_flight_requests", G, "", NODE,
     "Requests that the node has not answered yet.", metrics_node_number, NODE_ROW(in_flight)},
    {"penstock_node_waiting_clients", G, "", NODE, "Clients that wait for one of its servers.",
     metrics_node_number, NODE_ROW(waiting)},
    {"penstock_node_servers", G, "", NODE ", state", "Connections to the node by state.",
     metrics_node_servers, 0},
    {"penstock_node_transactions", C, "", NODE, "Transactions that ended on the node.",
     metrics_node_number, NODE_ROW(transactions)},
    {"penstock_node_requests", C, "", NODE ", reason",
     "Requests sent to the node, by why they went there.", metrics_node_requests, 0},

    {"penstock_cache_rule_in_force", G, "", CACHE,
     "1: answers of the rule may come from the cache.", metrics_cache_number, RULE(in_force)},
#define X(field, metric, help)                                                                     \
    {"penstock_cache_" metric, C, "", CACHE, help, metrics_cache_number, RULE(counts.field)},
    SESSION_COUNTERS(X)
#undef X
        {"penstock_cache_bypasses", C, "", CACHE ", reason",
         "Reads of the rule that went past the cache, by reason.", metrics_cache_bypasses, 0},
    {"penstock_cache_entries", G, "", CACHE, "Answers that are kept in memory.",
     metrics_cache_memory, RULE(entries)},
    {"penstock_cache_entries_bytes", G, "bytes", CACHE, "Memory of these.", metrics_cache_memory,
     RULE(bytes)},
    {"penstock_cache_memory_bytes", G, "bytes", "", "Memory of all rules' answers.",
     metrics_cache_store, STORE(bytes)},
    {"penstock_cache_memory_limit_bytes", G, "bytes", "", "memory of [cache].", metrics_cache_store,
     STORE(limit)},
    {"penstock_cache_evictions", C, "", "", "Answers that gave way to others.", metrics_cache_store,
     STORE(evicted)},
    {"penstock_redis_up", G, "", "worker", "1: the thread's connection to Redis is up.",
     metrics_cache_redis, REDIS(up)},
    {"penstock_redis_circuit_open", G, "", "worker",
     "1: Redis is not asked, because it did not answer.", metrics_cache_redis, REDIS(open)},
#define X(field, metric, help)                                                                     \
    {"penstock_redis_" metric, C, "", "worker", help, metrics_cache_redis, REDIS(field)},
    REDIS_COUNTERS(X)
#undef X
        {"penstock_redis_answer_seconds", METRIC_HISTOGRAM, "seconds", "worker",
         "How long Redis took to answer.", metrics_cache_redis_times, 0},
};

const size_t metrics_count = ARRAY_LEN(metrics_table);

/* ---- the page -------------------------------------------------------------------------------- */

struct labels { /* of rows that appear in many families */
    struct buf text;
    struct str *of; /* owned array: parts of text */
};

static void label_pool(const struct metrics_sample *s, size_t i, struct buf *to)
{
    metrics_out_label(to, "database", s->pools[i].shared->db->name);
    metrics_out_label(to, "user", s->pools[i].shared->user->name);
    if (s->pools[i].shared->node[0] != '\0')
        metrics_out_label(to, "node", s->pools[i].shared->node);
}

static void label_database(const struct metrics_sample *s, size_t i, struct buf *to)
{
    metrics_out_label(to, "database", s->databases[i].name);
}

static void label_user(const struct metrics_sample *s, size_t i, struct buf *to)
{
    metrics_out_label(to, "user", s->users[i].name);
}

/* put writes those of row i, of n. */
static void labels_init(struct labels *l, const struct metrics_sample *s, size_t n,
                        void (*put)(const struct metrics_sample *s, size_t i, struct buf *to))
{
    size_t *ends = mem_new((n + 1) * sizeof(*ends));
    struct buf one;
    l->of = mem_new((n + 1) * sizeof(*l->of));
    buf_init(&l->text, LABELS_MAX);
    buf_init(&one, LABELS_MAX);
    for (size_t i = 0; i < n; i++) {
        buf_reset(&one);
        put(s, i, &one);
        buf_put_str(&l->text, buf_str(&one));
        ends[i] = buf_len(&l->text);
    }
    for (size_t i = 0, from = 0; i < n; from = ends[i++])
        l->of[i] = (struct str){(const char *)buf_data(&l->text) + from, ends[i] - from};
    buf_fini(&one);
    mem_free(ends);
}

static void labels_fini(struct labels *l)
{
    mem_free(l->of);
    buf_fini(&l->text);
}

void metrics_text(const struct metrics_sample *s, const struct metrics_process *p, struct buf *out)
{
    struct labels pools, databases, users;
    struct metrics_out o = {.to = out};
    labels_init(&pools, s, s->npools, label_pool);
    labels_init(&databases, s, s->ndatabases, label_database);
    labels_init(&users, s, s->nusers, label_user);
    const struct metrics_view v = {.sample = s,
                                   .process = p,
                                   .pool_labels = pools.of,
                                   .database_labels = databases.of,
                                   .user_labels = users.of};
    for (size_t i = 0; i < metrics_count; i++) {
        metrics_out_head(&o, &metrics_table[i]);
        metrics_table[i].gather(&v, &metrics_table[i], &o);
    }
    buf_put_text(out, "# EOF\n");
    labels_fini(&pools);
    labels_fini(&databases);
    labels_fini(&users);
}

void metrics_print_manual(FILE *out)
{
    static const char *const types[] = {"gauge", "counter", "histogram", "info"};
    static const char *const suffixes[] = {"", "_total", "", "_info"};
    fputs("| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n", out);
    for (size_t i = 0; i < metrics_count; i++) {
        const struct metric *m = &metrics_table[i];
        fprintf(out, "| %s%s | %s | %s | %s |\n", m->name, suffixes[m->type], types[m->type],
                m->labels, m->help);
    }
}
