/* admin_stats.c - SHOW STATS and its kin, averages per period, and the statistics line of the log.
 *
 * Counters belong to pools and are summed over workers per database when asked for.  Each
 * stats_period a snapshot is taken; averages are those of the last complete period, as in
 * PgBouncer: counts and bytes per second, times per transaction or query, waiting time per second.
 * Thread: main.
 */
#include "base/log.h"
#include "base/mem.h"
#include "proxy/admin/admin_work.h"
#include "proxy/worker.h"

#include <inttypes.h>

/* In the order of STATS_COUNTERS. */
enum {
    ASSIGNMENTS,
    XACTS,
    QUERIES,
    RECEIVED,
    SENT,
    XACT_TIME,
    QUERY_TIME,
    WAIT_TIME,
    PARSES,
    SV_PARSES,
    BINDS,
    LOGINS,
    SHARED,
    REPEATED,
    UNSHARED
};
_Static_assert(UNSHARED + 1 == STATS_N, "the order of the counters is that of stats.h");

/* ---- averages -------------------------------------------------------------------------------- */

static void averages(const struct stats *now, const struct stats *then, usec_t period,
                     uint64_t avg[STATS_N])
{
    uint64_t d[STATS_N];
    for (int i = 0; i < STATS_N; i++) { /* a pool that went away took its counters along */
        uint64_t a = stats_value(now, i), b = stats_value(then, i);
        d[i] = a > b ? a - b : 0;
        avg[i] = period > 0 ? d[i] * USEC_PER_SEC / (uint64_t)period : 0;
    }
    avg[XACT_TIME] = d[XACTS] > 0 ? d[XACT_TIME] / d[XACTS] : 0;
    avg[QUERY_TIME] = d[QUERIES] > 0 ? d[QUERY_TIME] / d[QUERIES] : 0;
}

static const struct stats *find(const struct admin_snapshot *s, const struct db_shared *db)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->rows[i].shared->db == db)
            return &s->rows[i].stats;
    return NULL;
}

/* db NULL: the console. */
static void averages_of(const struct admin *a, const struct db_shared *db, uint64_t avg[STATS_N])
{
    static const struct stats none;
    const struct stats *now = db != NULL ? find(&a->newer, db) : &a->newer.console;
    const struct stats *then = db != NULL ? find(&a->older, db) : &a->older.console;
    usec_t period = a->older.at > 0 ? a->newer.at - a->older.at : 0;
    averages(now != NULL ? now : &none, then != NULL ? then : &none, period, avg);
}

/* ---- rows ------------------------------------------------------------------------------------ */

struct line {
    const char *database;
    const struct stats *total;
    uint64_t avg[STATS_N];
};

static void put_number(struct buf *b, uint64_t v)
{
    admin_reply_printf(b, "%" PRIu64, v);
}

static void put_line(struct buf *b, enum admin_view_id view, const struct line *l)
{
    admin_reply_text(b, l->database);
    for (int i = 0; i < STATS_N && view == VIEW_STATS_TOTALS; i++)
        put_number(b, stats_value(l->total, i));
    for (int i = 0; i < STATS_N && view == VIEW_STATS_AVERAGES; i++)
        put_number(b, l->avg[i]);
    if (view != VIEW_STATS)
        return;
    for (int i = 0; i < LOGINS; i++)
        put_number(b, stats_value(l->total, i));
    for (int i = 0; i < LOGINS; i++)
        put_number(b, l->avg[i]);
    for (int i = LOGINS; i < STATS_N; i++) {
        put_number(b, stats_value(l->total, i));
        put_number(b, l->avg[i]);
    }
}

static void put_totals(struct buf *b, const struct line *l, int from, int to)
{
    for (int i = from; i < to; i++) {
        admin_reply_printf(b, "total_%s", stats_names[i].total);
        put_number(b, stats_value(l->total, i));
    }
    for (int i = from; i < to; i++) {
        admin_reply_printf(b, "avg_%s", stats_names[i].total);
        put_number(b, l->avg[i]);
    }
}

static void show_totals(struct admin_gather *g, const struct admin_pool_row *rows, size_t n)
{
    const struct admin *a = g->admin;
    struct stats total = a->console, now = a->newer.console, then = a->older.console;
    struct line l = {.total = &total};
    for (size_t i = 0; i < n; i++)
        stats_add(&total, &rows[i].stats);
    for (size_t i = 0; i < a->newer.n; i++)
        stats_add(&now, &a->newer.rows[i].stats);
    for (size_t i = 0; i < a->older.n; i++)
        stats_add(&then, &a->older.rows[i].stats);
    averages(&now, &then, a->older.at > 0 ? a->newer.at - a->older.at : 0, l.avg);
    put_totals(&g->reply->rows, &l, 0, SHARED);
    put_totals(&g->reply->rows, &l, SHARED, STATS_N); /* ours, at the end */
}

static void show_lines(struct admin_gather *g, const struct admin_pool_row *rows, size_t n)
{
    bool console_done = false;
    for (size_t i = 0; i <= n; i++) {
        const char *name = i < n ? rows[i].shared->db->name : NULL;
        if (!console_done && (name == NULL || strcmp(name, ADMIN_DATABASE) > 0)) {
            struct line l = {.database = ADMIN_DATABASE, .total = &g->admin->console};
            averages_of(g->admin, NULL, l.avg);
            put_line(&g->reply->rows, g->view, &l);
            console_done = true;
        }
        if (name == NULL)
            break;
        struct line l = {.database = name, .total = &rows[i].stats};
        averages_of(g->admin, rows[i].shared->db, l.avg);
        put_line(&g->reply->rows, g->view, &l);
    }
}

void admin_stats_show(struct admin_gather *g)
{
    size_t n;
    struct admin_pool_row *rows = admin_gather_databases(g, &n);
    if (g->view == VIEW_TOTALS)
        show_totals(g, rows, n);
    else
        show_lines(g, rows, n);
    mem_free(rows);
    admin_answer(g->admin, g->reply);
    g->reply = NULL;
}

/* ---- periods --------------------------------------------------------------------------------- */

static void log_period(const struct admin *a)
{
    struct stats now = a->newer.console, then = a->older.console;
    uint64_t avg[STATS_N];
    for (size_t i = 0; i < a->newer.n; i++)
        stats_add(&now, &a->newer.rows[i].stats);
    for (size_t i = 0; i < a->older.n; i++)
        stats_add(&then, &a->older.rows[i].stats);
    averages(&now, &then, a->older.at > 0 ? a->newer.at - a->older.at : 0, avg);
    log_line(LL_LOG,
             "stats: %" PRIu64 " xacts/s, %" PRIu64 " queries/s, %" PRIu64
             " client parses/s, %" PRIu64 " server parses/s, %" PRIu64 " binds/s, %" PRIu64
             " client logins/s, in %" PRIu64 " B/s, out %" PRIu64 " B/s, xact %" PRIu64
             " us, query %" PRIu64 " us, wait %" PRIu64 " us",
             avg[XACTS], avg[QUERIES], avg[PARSES], avg[SV_PARSES], avg[BINDS], avg[LOGINS],
             avg[RECEIVED], avg[SENT], avg[XACT_TIME], avg[QUERY_TIME], avg[WAIT_TIME]);
}

static void snapshot_taken(struct admin_gather *g)
{
    struct admin *a = g->admin;
    mem_free(a->older.rows);
    a->older = a->newer;
    a->newer.rows = admin_gather_databases(g, &a->newer.n);
    a->newer.console = a->console;
    a->newer.at = clock_mono_us();
    a->ticking = false;
    if (a->older.at > 0 && config_globals(admin_config(a))->log_stats)
        log_period(a);
}

void admin_stats_tick(struct admin *a)
{
    if (a->ticking)
        return;
    a->ticking = true;
    struct admin_gather *g = admin_gather_new(a, NULL);
    g->collect = admin_live_pools;
    g->finish = snapshot_taken;
    admin_gather_start(g);
}

void admin_stats_fini(struct admin *a)
{
    mem_free(a->older.rows);
    mem_free(a->newer.rows);
}
