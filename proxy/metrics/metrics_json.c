/* metrics_json.c - the sample as JSON; see metrics_json.h.
 *
 * Numbers of one struct are written from tables of name and offset, as metrics.c has them.
 */
#include "proxy/metrics/metrics_json.h"

#include "base/mem.h"
#include "proxy/metrics/metrics_out.h"
#include "proxy/metrics/metrics_trouble.h"

#include <inttypes.h>
#include <stdlib.h>

#define TROUBLE_BYTES 65536

struct field {
    const char *name;
    size_t at;
};

/* A comma, unless what stands before it opens something. */
static void separate(struct buf *b)
{
    size_t n = buf_len(b);
    uint8_t last = n > 0 ? buf_data(b)[n - 1] : '{';
    if (last != '{' && last != '[' && last != ':')
        buf_put_u8(b, ',');
}

static void key(struct buf *b, const char *name)
{
    separate(b);
    buf_printf(b, "\"%s\":", name);
}

static void number(struct buf *b, const char *name, int64_t v)
{
    key(b, name);
    buf_printf(b, "%" PRId64, v);
}

static void text(struct buf *b, const char *name, const char *value)
{
    key(b, name);
    metrics_out_json(b, value);
}

static void open_object(struct buf *b, const char *name)
{
    if (name != NULL)
        key(b, name);
    else
        separate(b);
    buf_put_u8(b, '{');
}

static void fields(struct buf *b, const void *row, const struct field *f, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int64_t v;
        memcpy(&v, (const char *)row + f[i].at, sizeof(v));
        number(b, f[i].name, v);
    }
}

/* ---- pools ----------------------------------------------------------------------------------- */

#define ROW(field) offsetof(struct admin_pool_row, field)

static void put_stats(struct buf *b, const struct stats *s)
{
    open_object(b, "counters");
    for (int i = 0; i < STATS_N; i++)
        number(b, stats_names[i].metric, (int64_t)stats_value(s, i));
    buf_put_u8(b, '}');
}

static uint64_t sum(const uint64_t *n, size_t count)
{
    uint64_t all = 0;
    for (size_t i = 0; i < count; i++)
        all += n[i];
    return all;
}

static void put_measured(struct buf *b, const struct measure_counts *c)
{
    uint64_t errors = c->other_codes;
    for (int i = 0; i < MEASURE_CODES; i++)
        errors += c->codes[i].n;
    number(b, "errors", (int64_t)errors);
    number(b, "refusals", (int64_t)sum(c->told, CAUSES));
    number(b, "timeouts", (int64_t)sum(c->timeouts, MEASURE_TIMEOUTS));
    number(b, "cancels", (int64_t)c->cancels);
}

static void put_states(struct buf *b, const struct admin_pool_row *r)
{
    static const struct field clients[] = {{"idle", ROW(cl_idle)},
                                           {"waiting", ROW(cl_waiting)},
                                           {"active", ROW(cl_busy)},
                                           {"sharing", ROW(cl_sharing)},
                                           {"holding", ROW(cl_held)}};
    static const struct field servers[] = {
        {"connecting", ROW(sv_login)}, {"idle", ROW(sv_idle)},
        {"active", ROW(sv_alone)},     {"shared", ROW(sv_shared)},
        {"cleaning", ROW(sv_tested)},  {"cancelling", ROW(sv_canceled)}};
    open_object(b, "clients");
    fields(b, r, clients, ARRAY_LEN(clients));
    buf_put_u8(b, '}');
    open_object(b, "servers");
    fields(b, r, servers, ARRAY_LEN(servers));
    buf_put_u8(b, '}');
    open_object(b, "pins");
    for (int i = 0; i < ADMIN_PINS; i++)
        if (r->pins[i] > 0)
            number(b, admin_names_pin[i], r->pins[i]);
    buf_put_u8(b, '}');
}

static void put_pool(struct buf *b, const struct admin_pool_row *r)
{
    static const struct field rest[] = {{"limit", ROW(limit)},
                                        {"oldest_wait", ROW(maxwait)},
                                        {"longest_transaction", ROW(longest_tx)},
                                        {"idle_in_transaction", ROW(idle_in_tx)},
                                        {"longest_idle_in_transaction", ROW(longest_idle_in_tx)},
                                        {"in_flight", ROW(in_flight)},
                                        {"width", ROW(share_width)},
                                        {"failing", ROW(failing)}};
    open_object(b, NULL);
    text(b, "database", r->shared->db->name);
    text(b, "user", r->shared->user->name);
    text(b, "mode", config_pool_mode_name((enum config_pool_mode)r->mode));
    text(b, "cluster", r->cluster != NULL ? r->cluster->name : "");
    put_states(b, r);
    fields(b, r, rest, ARRAY_LEN(rest));
    put_stats(b, &r->stats);
    put_measured(b, &r->measured.counts);
    buf_put_u8(b, '}');
}

static int by_weight(const void *x, const void *y)
{
    const struct admin_pool_row *a = *(const struct admin_pool_row *const *)x;
    const struct admin_pool_row *b = *(const struct admin_pool_row *const *)y;
    if (a->maxwait != b->maxwait)
        return a->maxwait > b->maxwait ? -1 : 1;
    if (a->stats.query_time != b->stats.query_time)
        return a->stats.query_time > b->stats.query_time ? -1 : 1;
    return a < b ? -1 : a > b;
}

static int by_place(const void *x, const void *y)
{
    const struct admin_pool_row *a = *(const struct admin_pool_row *const *)x;
    const struct admin_pool_row *b = *(const struct admin_pool_row *const *)y;
    return a < b ? -1 : a > b;
}

/* The weightiest, in the order of names. */
static void put_pools(struct buf *b, const struct metrics_sample *s)
{
    const struct admin_pool_row **order = mem_new((s->npools + 1) *
                                                  sizeof(struct admin_pool_row *));
    size_t n = MIN(s->npools, (size_t)METRICS_JSON_POOLS);
    for (size_t i = 0; i < s->npools; i++)
        order[i] = &s->pools[i];
    qsort(order, s->npools, sizeof(struct admin_pool_row *), by_weight);
    qsort(order, n, sizeof(struct admin_pool_row *), by_place);
    key(b, "pools");
    buf_put_u8(b, '[');
    for (size_t i = 0; i < n; i++)
        put_pool(b, order[i]);
    buf_put_u8(b, ']');
    number(b, "pools_in_all", (int64_t)s->npools);
    mem_free(order);
}

/* ---- nodes and the cache --------------------------------------------------------------------- */

static void put_node(struct buf *b, const struct admin_nodes *all, const struct admin_node_row *r)
{
#define NODE(name, field)                                                                          \
    {                                                                                              \
        name, offsetof(struct admin_node_row, field)                                               \
    }
    static const struct field numbers[] = {
        NODE("lag", lag_us),           NODE("lag_bytes", lag_bytes),
        NODE("missing", behind),       NODE("in_flight", in_flight),
        NODE("answer", latency_us),    NODE("since_change", changed_us),
        NODE("waiting", waiting),      NODE("transactions", transactions),
        NODE("of_cluster", of_cluster)};
    static const struct field servers[] = {
        NODE("connecting", sv_login), NODE("idle", sv_idle),       NODE("active", sv_alone),
        NODE("shared", sv_shared),    NODE("cleaning", sv_tested), NODE("cancelling", sv_canceled)};
#undef NODE
    char *name = str_dup(r->node->name);
    open_object(b, NULL);
    text(b, "cluster", all->clusters[r->cluster].cluster->name);
    text(b, "node", name);
    text(b, "role", topology_role_name(r->node->role));
    text(b, "state", r->node->drained ? "drained" : topology_state_name(r->node->state));
    fields(b, r, numbers, ARRAY_LEN(numbers));
    open_object(b, "servers");
    fields(b, r, servers, ARRAY_LEN(servers));
    buf_put_u8(b, '}');
    open_object(b, "requests");
    for (int i = 0; i < ROUTE_REASONS; i++)
        if (r->requests[i] > 0)
            number(b, route_reason_name((enum route_reason)i), r->requests[i]);
    buf_printf(b, "}}");
    mem_free(name);
}

static void put_nodes(struct buf *b, const struct admin_nodes *all)
{
    key(b, "clusters");
    buf_put_u8(b, '[');
    for (size_t i = 0; i < all->nclusters; i++) {
        open_object(b, NULL);
        text(b, "name", all->clusters[i].cluster->name);
        number(b, "held", all->clusters[i].waiting);
        buf_put_u8(b, '}');
    }
    buf_put_u8(b, ']');
    key(b, "nodes");
    buf_put_u8(b, '[');
    for (size_t i = 0; i < all->nnodes; i++)
        put_node(b, all, &all->nodes[i]);
    buf_put_u8(b, ']');
}

static void put_rule(struct buf *b, const struct metrics_cache *c)
{
    open_object(b, NULL);
    text(b, "rule", c->rule);
    text(b, "database", c->database);
    text(b, "state",
         !c->wanted    ? "off"
         : c->in_force ? "in force"
         : c->refused  ? "refused"
                       : "unchecked");
#define X(field, metric, help) number(b, #field, (int64_t)c->counts.field);
    SESSION_COUNTERS(X)
#undef X
    number(b, "in_memory", c->in_memory);
    number(b, "entries", c->entries);
    number(b, "bytes", c->bytes);
    open_object(b, "bypasses");
    for (int i = CACHE_BYPASS_NONE + 1; i < CACHE_BYPASS_COUNT; i++)
        if (c->counts.bypass[i] > 0)
            number(b, cache_gate_word((enum cache_bypass)i), (int64_t)c->counts.bypass[i]);
    buf_printf(b, "}}");
}

static void put_cache(struct buf *b, const struct metrics_sample *s)
{
    key(b, "cache");
    buf_put_u8(b, '[');
    for (size_t i = 0; i < s->ncache; i++)
        put_rule(b, &s->cache[i]);
    buf_put_u8(b, ']');
}

/* ---- the rest -------------------------------------------------------------------------------- */

/* [[bucket, count], ...] of base/histogram.h; empty buckets are left out. */
static void put_times(struct buf *b, const struct metrics_sample *s)
{
    static const char *const names[MEASURE_TIMES] = {"wait", "query", "transaction"};
    open_object(b, "times");
    for (int i = 0; i < MEASURE_TIMES; i++) {
        key(b, names[i]);
        buf_put_u8(b, '[');
        for (int k = 0; k < HISTOGRAM_BUCKETS; k++) {
            if (s->times[i][k] == 0)
                continue;
            separate(b);
            buf_printf(b, "[%d,%" PRIu64 "]", k, s->times[i][k]);
        }
        buf_put_u8(b, ']');
    }
    buf_put_u8(b, '}');
}

static void put_totals(struct buf *b, const struct metrics_sample *s)
{
#define TOTAL(field)                                                                               \
    {                                                                                              \
#field, offsetof(struct metrics_totals, field)                                             \
    }
    static const struct field totals[] = {
        TOTAL(clients), TOTAL(client_limit), TOTAL(buffer_bytes), TOTAL(buffer_limit),
        TOTAL(paused),  TOTAL(suspended),    TOTAL(draining),     TOTAL(started_wall)};
#undef TOTAL
    struct admin_pool_row all = {.shared = NULL};
    struct measured measured = {.times = {{.sum_us = 0}}};
    for (size_t i = 0; i < s->npools; i++) {
        stats_add(&all.stats, &s->pools[i].stats);
        measure_add(&measured, &s->pools[i].measured);
        all.cl_idle += s->pools[i].cl_idle;
        all.cl_waiting += s->pools[i].cl_waiting;
        all.cl_busy += s->pools[i].cl_busy;
        all.cl_sharing += s->pools[i].cl_sharing;
        all.cl_held += s->pools[i].cl_held;
        all.sv_login += s->pools[i].sv_login;
        all.sv_idle += s->pools[i].sv_idle;
        all.sv_alone += s->pools[i].sv_alone;
        all.sv_shared += s->pools[i].sv_shared;
        all.sv_tested += s->pools[i].sv_tested;
        all.sv_canceled += s->pools[i].sv_canceled;
        all.maxwait = MAX(all.maxwait, s->pools[i].maxwait);
        for (int k = 0; k < ADMIN_PINS; k++)
            all.pins[k] += s->pools[i].pins[k];
    }
    open_object(b, "totals");
    fields(b, &s->totals, totals, ARRAY_LEN(totals));
    open_object(b, "all");
    put_states(b, &all);
    number(b, "oldest_wait", all.maxwait);
    put_stats(b, &all.stats);
    put_measured(b, &measured.counts);
    buf_printf(b, "}}");
}

static void put_workers(struct buf *b, const struct metrics_sample *s)
{
#define COUNT(field)                                                                               \
    {                                                                                              \
#field, offsetof(struct admin_counts, field)                                               \
    }
    static const struct field counts[] = {COUNT(clients), COUNT(login_clients), COUNT(waiting),
                                          COUNT(servers), COUNT(pools),         COUNT(turns),
                                          COUNT(cpu_us)};
#undef COUNT
#define REDIS(name, field)                                                                         \
    {                                                                                              \
        name, offsetof(struct redis_counts, field)                                                 \
    }
    static const struct field redis[] = {REDIS("up", up), REDIS("requests", asked),
                                         REDIS("late", late), REDIS("time", sum_us)};
#undef REDIS
    key(b, "workers");
    buf_put_u8(b, '[');
    for (unsigned i = 0; i < s->nworkers; i++) {
        open_object(b, NULL);
        fields(b, &s->workers[i], counts, ARRAY_LEN(counts));
        if (s->workers[i].redis.wanted) {
            open_object(b, "redis");
            fields(b, &s->workers[i].redis, redis, ARRAY_LEN(redis));
            buf_put_u8(b, '}');
        }
        buf_put_u8(b, '}');
    }
    buf_put_u8(b, ']');
}

static void put_process(struct buf *b, const struct metrics_process *p)
{
    open_object(b, "process");
    number(b, "cpu", p->cpu);
    number(b, "resident_bytes", p->resident_bytes);
    number(b, "open_fds", p->open_fds);
    number(b, "max_fds", p->max_fds);
    buf_put_u8(b, '}');
}

static void put_trouble(struct buf *b, const struct metrics_sample *s,
                        const struct metrics_process *p)
{
    struct buf lines;
    buf_init(&lines, TROUBLE_BYTES);
    metrics_trouble(s, p, &lines);
    key(b, "trouble");
    buf_put_u8(b, '[');
    struct str rest = buf_str(&lines);
    while (rest.n > 0) {
        char *one = str_dup(str_cut(&rest, '\n'));
        separate(b);
        metrics_out_json(b, one);
        mem_free(one);
    }
    buf_put_u8(b, ']');
    buf_fini(&lines);
}

static void put_statements(struct buf *b, const struct metrics_sample *s)
{
    char digest[24];
    key(b, "statements");
    buf_put_u8(b, '[');
    for (size_t i = 0; i < s->nstatements; i++) {
        const struct metrics_statement *x = &s->statements[i];
        open_object(b, NULL);
        text(b, "database", x->database);
        text(b, "host", x->host);
        snprintf(digest, sizeof(digest), "%016" PRIx64, x->digest);
        text(b, "digest", digest);
        number(b, "calls", (int64_t)x->calls);
        number(b, "cached", (int64_t)x->cached);
        number(b, "errors", (int64_t)x->errors);
        number(b, "rows", (int64_t)x->rows);
        number(b, "total", (int64_t)x->total_us);
        number(b, "wait", (int64_t)x->wait_us);
        number(b, "p95", x->p95_us);
        number(b, "max", x->max_us);
        text(b, "text", x->text);
        buf_put_u8(b, '}');
    }
    buf_put_u8(b, ']');
}

void metrics_json(const struct metrics_sample *s, const struct metrics_process *p, struct buf *out)
{
    open_object(out, NULL);
    text(out, "version", PENSTOCK_VERSION);
    number(out, "now", s->taken_wall);
    put_totals(out, s);
    put_process(out, p);
    put_times(out, s);
    put_trouble(out, s, p);
    put_workers(out, s);
    put_pools(out, s);
    put_nodes(out, &s->nodes);
    put_cache(out, s);
    put_statements(out, s);
    buf_put_u8(out, '}');
}
