/* admin_statements.c - SHOW STATEMENTS and RESET STATEMENTS.
 *
 * Each worker copies its rows into its part of a gather, texts behind one another; the main thread
 * sorts them by key, adds up what belongs together and orders the result by total time.  What the
 * result cache answered has no host and is shown with the statement's row.
 * Thread: collect and forget on each worker, the rest on main.
 */
#include "base/mem.h"
#include "proxy/admin/admin_work.h"
#include "proxy/pool/registry.h"
#include "proxy/worker.h"

#include <inttypes.h>
#include <stdlib.h>

#define UNSEEN "(not seen)"

/* ---- on a worker ----------------------------------------------------------------------------- */

static void copy(void *arg, const struct statement *s)
{
    struct admin_part *part = arg;
    struct admin_statement *row = &part->statements[part->nstatements++];
    row->s = *s;
    row->at = buf_len(&part->rows);
    buf_put_str(&part->rows, s->text);
}

void admin_statements_collect(struct worker *w, struct admin_gather *g, struct admin_part *part)
{
    struct statements_counts n;
    (void)g;
    statements_count(w->statements, &n);
    part->statements = mem_new((n.rows + 1) * sizeof(*part->statements));
    statements_each(w->statements, copy, part);
}

static void forget(struct worker *w, struct admin_gather *g, struct admin_part *part)
{
    (void)g;
    (void)part;
    statements_reset(w->statements);
}

/* ---- merging --------------------------------------------------------------------------------- */

static int by_key(const void *x, const void *y)
{
    const struct statement_key *a = &((const struct admin_statement *)x)->s.key;
    const struct statement_key *b = &((const struct admin_statement *)y)->s.key;
    if (a->digest != b->digest)
        return a->digest < b->digest ? -1 : 1;
    if (a->db != b->db)
        return a->db < b->db ? -1 : 1;
    return a->host == b->host ? 0 : a->host < b->host ? -1 : 1;
}

static int by_time(const void *x, const void *y)
{
    const struct statement *a = &((const struct admin_statement *)x)->s;
    const struct statement *b = &((const struct admin_statement *)y)->s;
    return a->total_us == b->total_us ? 0 : a->total_us > b->total_us ? -1 : 1;
}

static void merge(struct statement *into, const struct statement *s)
{
    into->calls += s->calls;
    into->errors += s->errors;
    into->rows += s->rows;
    into->cached += s->cached;
    into->total_us += s->total_us;
    into->wait_us += s->wait_us;
    into->max_us = MAX(into->max_us, s->max_us);
    sketch_merge(&into->times, &s->times);
}

/* rows[0], of no host, is what the cache answered of the statement of rows[1] to rows[n - 1]. True:
 * it is counted with the one of them that ran most often. */
static bool join_cached(struct admin_statement *rows, size_t n)
{
    struct statement *most = NULL;
    for (size_t i = 1; i < n; i++)
        if (most == NULL || rows[i].s.calls > most->calls)
            most = &rows[i].s;
    if (most == NULL || rows[0].s.key.host != NULL)
        return false;
    most->cached += rows[0].s.cached;
    return true;
}

static bool same_statement(const struct statement *a, const struct statement *b)
{
    return a->key.digest == b->key.digest && a->key.db == b->key.db;
}

/* n rows by key, each once. Those of no host go to where their statement ran, if it did; returns
 * how many are left. */
static size_t join(struct admin_statement *rows, size_t n)
{
    size_t kept = 0, next;
    for (size_t i = 0; i < n; i = next) {
        for (next = i + 1; next < n && same_statement(&rows[i].s, &rows[next].s); next++)
            continue;
        size_t from = i + join_cached(&rows[i], next - i);
        memmove(&rows[kept], &rows[from], (next - from) * sizeof(*rows));
        kept += next - from;
    }
    return kept;
}

/* Texts move while a part grows; now they stay. */
static void take_texts(struct admin_part *part)
{
    const char *texts = buf_str(&part->rows).p;
    for (size_t i = 0; i < part->nstatements; i++) {
        struct admin_statement *row = &part->statements[i];
        row->s.text.p = part->rows.failed ? NULL : texts + row->at;
        if (part->rows.failed)
            row->s.text.n = 0;
    }
}

struct admin_statement *admin_statements_merged(struct admin_gather *g, size_t *n)
{
    size_t all = 0, kept = 0;
    for (unsigned i = 0; i < g->nparts; i++)
        all += g->parts[i].nstatements;
    struct admin_statement *rows = mem_new((all + 1) * sizeof(*rows));
    all = 0;
    for (unsigned i = 0; i < g->nparts; i++) {
        struct admin_part *part = &g->parts[i];
        take_texts(part);
        if (part->nstatements > 0)
            memcpy(&rows[all], part->statements, part->nstatements * sizeof(*rows));
        all += part->nstatements;
    }
    qsort(rows, all, sizeof(*rows), by_key);
    for (size_t i = 0; i < all; i++) {
        if (kept > 0 && by_key(&rows[kept - 1], &rows[i]) == 0)
            merge(&rows[kept - 1].s, &rows[i].s);
        else
            rows[kept++] = rows[i];
    }
    kept = join(rows, kept);
    qsort(rows, kept, sizeof(*rows), by_time);
    *n = kept;
    return rows;
}

/* ---- answers --------------------------------------------------------------------------------- */

static void put_number(struct buf *b, uint64_t v)
{
    admin_reply_printf(b, "%" PRIu64, v);
}

static void put_statement(struct buf *b, const struct statement *s)
{
    admin_reply_text(b, s->key.db->name);
    admin_reply_text(b, s->key.host != NULL ? s->key.host : "");
    admin_reply_printf(b, "%016" PRIx64, s->key.digest);
    put_number(b, s->calls);
    put_number(b, s->cached);
    put_number(b, s->errors);
    put_number(b, s->rows);
    put_number(b, s->total_us);
    put_number(b, s->calls > 0 ? s->total_us / s->calls : 0);
    usec_t p95 = sketch_quantile(&s->times, 0.95);
    admin_reply_int(b, MIN(p95, s->max_us)); /* a bucket's middle may lie above what was seen */
    admin_reply_int(b, s->max_us);
    put_number(b, s->wait_us);
    admin_reply_str(b, s->text.n > 0 ? s->text : STR(UNSEEN));
}

static void answer(struct admin_gather *g)
{
    admin_answer(g->admin, g->reply);
    g->reply = NULL;
}

void admin_statements_finish(struct admin_gather *g)
{
    size_t n;
    struct admin_statement *rows = admin_statements_merged(g, &n);
    for (size_t i = 0; i < n; i++)
        put_statement(&g->reply->rows, &rows[i].s);
    mem_free(rows);
    answer(g);
}

void admin_statements_reset(struct admin *a, struct admin_reply *r)
{
    struct admin_gather *g = admin_gather_new(a, r);
    g->collect = forget;
    g->finish = answer;
    admin_gather_start(g);
}
