/* metrics.c - the rows of the table and their gatherers; see metrics.h.  Pure. */
#include "proxy/metrics/metrics.h"

#include "base/mem.h"

#include <stdio.h>

#define LABELS_MAX ((size_t)1 << 30)

static uint64_t number_at(const void *row, size_t at)
{
    int64_t v;
    memcpy(&v, (const char *)row + at, sizeof(v));
    return v > 0 ? (uint64_t)v : 0;
}

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
    metrics_out_line(o, &(struct metrics_line){.value = number_at(&v->sample->totals, m->at)});
}

static void started(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)
{
    metrics_out_line(o, &(struct metrics_line){.form = METRICS_SECONDS,
                                               .value = number_at(&v->sample->totals, m->at)});
}

static void process(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)
{
    metrics_out_line(o, &(struct metrics_line){.value = number_at(v->process, m->at)});
}

static void process_cpu(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)
{
    metrics_out_line(
        o, &(struct metrics_line){.form = METRICS_SECONDS, .value = number_at(v->process, m->at)});
}

/* ---- workers --------------------------------------------------------------------------------- */

static void of_workers(const struct metrics_view *v, const struct metric *m, struct metrics_out *o,
                       enum metrics_form form)
{
    char index[16];
    for (unsigned i = 0; i < v->sample->nworkers; i++) {
        snprintf(index, sizeof(index), "%u", i);
        metrics_out_line(o,
                         &(struct metrics_line){.extra = "worker",
                                                .extra_value = index,
                                                .form = form,
                                                .value = number_at(&v->sample->workers[i], m->at)});
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

/* ---- pools ----------------------------------------------------------------------------------- */

static void of_pools(const struct metrics_view *v, const struct metric *m, struct metrics_out *o,
                     enum metrics_form form)
{
    for (size_t i = 0; i < v->sample->npools; i++)
        metrics_out_line(o,
                         &(struct metrics_line){.labels = v->pool_labels[i],
                                                .form = form,
                                                .value = number_at(&v->sample->pools[i], m->at)});
}

static void pool(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)
{
    of_pools(v, m, o, METRICS_WHOLE);
}

static void pool_time(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)
{
    of_pools(v, m, o, METRICS_SECONDS);
}

/* at: which of STATS_COUNTERS. */
static void pool_stat(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)
{
    const struct stats_name *n = &stats_names[m->at];
    for (size_t i = 0; i < v->sample->npools; i++)
        metrics_out_line(o, &(struct metrics_line){
                                .labels = v->pool_labels[i],
                                .form = n->unit == STATS_USEC ? METRICS_SECONDS : METRICS_WHOLE,
                                .value = stats_value(&v->sample->pools[i].stats, (int)m->at)});
}

struct state { /* a number of a pool and the word for it */
    const char *word;
    size_t at;
};

static void of_states(const struct metrics_view *v, struct metrics_out *o,
                      const struct state *states, size_t n)
{
    for (size_t i = 0; i < v->sample->npools; i++)
        for (size_t k = 0; k < n; k++)
            metrics_out_line(
                o, &(struct metrics_line){.labels = v->pool_labels[i],
                                          .extra = "state",
                                          .extra_value = states[k].word,
                                          .value = number_at(&v->sample->pools[i], states[k].at)});
}

#define ROW(field) offsetof(struct admin_pool_row, field)

static void pool_clients(const struct metrics_view *v, const struct metric *m,
                         struct metrics_out *o)
{
    static const struct state states[] = {{"idle", ROW(cl_idle)},
                                          {"waiting", ROW(cl_waiting)},
                                          {"active", ROW(cl_busy)},
                                          {"sharing", ROW(cl_sharing)},
                                          {"holding", ROW(cl_held)}};
    (void)m;
    of_states(v, o, states, ARRAY_LEN(states));
}

static void pool_servers(const struct metrics_view *v, const struct metric *m,
                         struct metrics_out *o)
{
    static const struct state states[] = {
        {"connecting", ROW(sv_login)}, {"idle", ROW(sv_idle)},
        {"active", ROW(sv_alone)},     {"shared", ROW(sv_shared)},
        {"cleaning", ROW(sv_tested)},  {"cancelling", ROW(sv_canceled)}};
    (void)m;
    of_states(v, o, states, ARRAY_LEN(states));
}

/* Only reasons that there are: the rest would be a dozen zeros for each pool. */
static void pool_pins(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)
{
    (void)m;
    for (size_t i = 0; i < v->sample->npools; i++)
        for (int k = 0; k < ADMIN_PINS; k++)
            if (v->sample->pools[i].pins[k] > 0)
                metrics_out_line(
                    o, &(struct metrics_line){.labels = v->pool_labels[i],
                                              .extra = "reason",
                                              .extra_value = admin_names_pin[k],
                                              .value = (uint64_t)v->sample->pools[i].pins[k]});
}

/* ---- measures of pools ----------------------------------------------------------------------- */

static void pool_count(const struct metrics_view *v, size_t i, const char *label, const char *word,
                       uint64_t n, struct metrics_out *o)
{
    metrics_out_line(
        o, &(struct metrics_line){
               .labels = v->pool_labels[i], .extra = label, .extra_value = word, .value = n});
}

/* Codes and causes: only those that have come up. */
static void pool_errors(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)
{
    (void)m;
    for (size_t i = 0; i < v->sample->npools; i++) {
        const struct measure_counts *c = &v->sample->pools[i].measured.counts;
        for (int k = 0; k < MEASURE_CODES && c->codes[k].n > 0; k++)
            pool_count(v, i, "code", c->codes[k].text, c->codes[k].n, o);
        if (c->other_codes > 0)
            pool_count(v, i, "code", "other", c->other_codes, o);
    }
}

static void pool_refusals(const struct metrics_view *v, const struct metric *m,
                          struct metrics_out *o)
{
    (void)m;
    for (size_t i = 0; i < v->sample->npools; i++)
        for (int k = 0; k < CAUSES; k++)
            if (v->sample->pools[i].measured.counts.told[k] > 0)
                pool_count(v, i, "cause", cause_name((enum cause)k),
                           v->sample->pools[i].measured.counts.told[k], o);
}

static void pool_timeouts(const struct metrics_view *v, const struct metric *m,
                          struct metrics_out *o)
{
    (void)m;
    for (size_t i = 0; i < v->sample->npools; i++)
        for (int k = 0; k < MEASURE_TIMEOUTS; k++)
            pool_count(v, i, "timeout", measure_timeout_names[k],
                       v->sample->pools[i].measured.counts.timeouts[k], o);
}

struct bound { /* of a histogram's buckets: below the octave, or up to the depth, before next */
    int next;
    const char *le;
};

static void put_histogram(struct metrics_out *o, struct str labels, const uint64_t *counts,
                          const struct bound *bounds, size_t nbounds)
{
    uint64_t n = 0;
    int at = 0;
    struct metrics_line l = {.suffix = "_bucket", .labels = labels, .extra = "le"};
    for (size_t i = 0; i < nbounds; i++) {
        while (at < bounds[i].next)
            n += counts[at++];
        l.extra_value = bounds[i].le;
        l.value = n;
        metrics_out_line(o, &l);
    }
    metrics_out_line(o, &(struct metrics_line){.suffix = "_count", .labels = labels, .value = n});
}

/* at: enum measure_time. */
static void pool_histogram(const struct metrics_view *v, const struct metric *m,
                           struct metrics_out *o)
{
    static const struct bound bounds[] = {
        {8, "0.000128"},  {9, "0.000256"},   {10, "0.000512"},           {11, "0.001024"},
        {12, "0.002048"}, {13, "0.004096"},  {14, "0.008192"},           {15, "0.016384"},
        {16, "0.032768"}, {17, "0.065536"},  {18, "0.131072"},           {19, "0.262144"},
        {20, "0.524288"}, {21, "1.048576"},  {22, "2.097152"},           {23, "4.194304"},
        {24, "8.388608"}, {25, "16.777216"}, {HISTOGRAM_OCTAVES, "+Inf"}};
    for (size_t i = 0; i < v->sample->npools; i++) {
        const struct measured *x = &v->sample->pools[i].measured;
        put_histogram(o, v->pool_labels[i], x->times[m->at].octaves, bounds, ARRAY_LEN(bounds));
        metrics_out_line(o, &(struct metrics_line){.suffix = "_sum",
                                                   .labels = v->pool_labels[i],
                                                   .form = METRICS_SECONDS,
                                                   .value = x->times[m->at].sum_us});
    }
}

static void pool_depth(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)
{
    static const struct bound bounds[] = {{1, "1.0"},  {2, "2.0"},  {3, "4.0"},  {4, "8.0"},
                                          {5, "16.0"}, {6, "32.0"}, {7, "64.0"}, {7, "+Inf"}};
    (void)m;
    for (size_t i = 0; i < v->sample->npools; i++) {
        const struct measure_counts *c = &v->sample->pools[i].measured.counts;
        if (c->depth_sum == 0)
            continue; /* it does not share */
        put_histogram(o, v->pool_labels[i], c->depth, bounds, ARRAY_LEN(bounds));
        metrics_out_line(o, &(struct metrics_line){.suffix = "_sum",
                                                   .labels = v->pool_labels[i],
                                                   .value = c->depth_sum});
    }
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

static void of_name(struct metrics_out *o, const char *label, const char *name, uint64_t value)
{
    struct buf b;
    buf_init(&b, LABELS_MAX);
    metrics_out_label(&b, label, name);
    metrics_out_line(o, &(struct metrics_line){.labels = buf_str(&b), .value = value});
    buf_fini(&b);
}

static void database(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)
{
    for (size_t i = 0; i < v->sample->ndatabases; i++)
        of_name(o, "database", v->sample->databases[i].name,
                number_at(&v->sample->databases[i], m->at));
}

static void user(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)
{
    for (size_t i = 0; i < v->sample->nusers; i++)
        of_name(o, "user", v->sample->users[i].name, number_at(&v->sample->users[i], m->at));
}

/* ---- the table ------------------------------------------------------------------------------- */

enum {
#define X(field, name, total, metric, unit, help) STAT_##field,
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
#define G METRIC_GAUGE
#define C METRIC_COUNTER
#define POOL "database, user"

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

    {"penstock_pool_clients", G, "", POOL ", state", "Clients by state.", pool_clients, 0},
    {"penstock_pool_servers", G, "", POOL ", state", "Servers by state.", pool_servers, 0},
    {"penstock_pool_servers_limit", G, "", POOL,
     "pool_size, of each node in a cluster; 0: no limit.", pool, ROW(limit)},
    {"penstock_pool_oldest_wait_seconds", G, "seconds", POOL,
     "How long the first of the waiting clients has waited.", pool_time, ROW(maxwait)},
    {"penstock_pool_longest_transaction_seconds", G, "seconds", POOL,
     "Age of the oldest open transaction.", pool_time, ROW(longest_tx)},
    {"penstock_pool_idle_in_transaction", G, "", POOL,
     "Clients that are in a transaction and send nothing.", pool, ROW(idle_in_tx)},
    {"penstock_pool_longest_idle_in_transaction_seconds", G, "seconds", POOL,
     "For how long the worst of them has sent nothing.", pool_time, ROW(longest_idle_in_tx)},
    {"penstock_pool_pinned_servers", G, "", POOL ", reason",
     "Servers that stay with their client, by reason; one may have several.", pool_pins, 0},
    {"penstock_pool_cancels_in_flight", G, "", POOL, "Cancel requests on their way to servers.",
     pool, ROW(cancels)},
    {"penstock_pool_in_flight_requests", G, "", POOL,
     "Requests that servers have not answered yet.", pool, ROW(in_flight)},
    {"penstock_pool_share_width", G, "", POOL,
     "On how many servers, at most, clients share; summed over workers.", pool, ROW(share_width)},
    {"penstock_pool_failing_workers", G, "", POOL,
     "Workers whose last connection to the database failed.", pool, ROW(failing)},

#define X(field, name, total, metric, unit, help)                                                  \
    {"penstock_pool_" metric, C, STATS_UNIT_##unit, POOL, help, pool_stat, STAT_##field},
    STATS_COUNTERS(X)
#undef X

        {"penstock_pool_wait_seconds", METRIC_HISTOGRAM, "seconds", POOL,
         "How long clients waited for their server; 0 for those that did not.", pool_histogram,
         MEASURE_WAIT},
    {"penstock_pool_query_seconds", METRIC_HISTOGRAM, "seconds", POOL,
     "How long requests took, from being sent to the end of their answer.", pool_histogram,
     MEASURE_REQUEST},
    {"penstock_pool_transaction_seconds", METRIC_HISTOGRAM, "seconds", POOL,
     "How long transactions took, from their server to their end.", pool_histogram, MEASURE_XACT},
    {"penstock_pool_share_depth", METRIC_HISTOGRAM, "", POOL,
     "Requests in flight on a shared server when one was sent, that one included.", pool_depth, 0},
    {"penstock_pool_errors", C, "", POOL ", code",
     "Errors of the database in answers to clients, by its code.", pool_errors, 0},
    {"penstock_pool_refusals", C, "", POOL ", cause",
     "Errors of the proxy's own that clients were told, by cause.", pool_refusals, 0},
    {"penstock_pool_timeouts", C, "", POOL ", timeout", "Timeouts of clients that ran out.",
     pool_timeouts, 0},
    {"penstock_pool_cancels", C, "", POOL, "Requests that their client asked to be stopped.", pool,
     COUNT(cancels)},
    {"penstock_pool_server_logins", C, "", POOL, "Connections to the database that were made.",
     pool, COUNT(logins)},
    {"penstock_pool_failed_server_logins", C, "", POOL,
     "Attempts to connect to the database that failed.", pool, COUNT(failed_logins)},
    {"penstock_worker_refusals", C, "", "worker, cause",
     "Errors that clients were told which had no pool yet, by cause.", worker_refusals, 0},
};

const size_t metrics_count = ARRAY_LEN(metrics_table);

/* ---- the page -------------------------------------------------------------------------------- */

/* The texts are in *mem, which the caller frees with the list. */
static struct str *label_pools(const struct metrics_sample *s, struct buf *mem)
{
    struct str *labels = mem_new((s->npools + 1) * sizeof(*labels));
    size_t *ends = mem_new((s->npools + 1) * sizeof(*ends));
    struct buf one;
    buf_init(mem, LABELS_MAX);
    buf_init(&one, LABELS_MAX);
    for (size_t i = 0; i < s->npools; i++) {
        buf_reset(&one);
        metrics_out_label(&one, "database", s->pools[i].shared->db->name);
        metrics_out_label(&one, "user", s->pools[i].shared->user->name);
        buf_put_str(mem, buf_str(&one));
        ends[i] = buf_len(mem);
    }
    for (size_t i = 0, from = 0; i < s->npools; from = ends[i++])
        labels[i] = (struct str){(const char *)buf_data(mem) + from, ends[i] - from};
    buf_fini(&one);
    mem_free(ends);
    return labels;
}

void metrics_text(const struct metrics_sample *s, const struct metrics_process *p, struct buf *out)
{
    struct buf mem;
    struct metrics_out o = {.to = out};
    struct str *labels = label_pools(s, &mem);
    const struct metrics_view v = {.sample = s, .process = p, .pool_labels = labels};
    for (size_t i = 0; i < metrics_count; i++) {
        metrics_out_head(&o, &metrics_table[i]);
        metrics_table[i].gather(&v, &metrics_table[i], &o);
    }
    buf_put_text(out, "# EOF\n");
    mem_free(labels);
    buf_fini(&mem);
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
