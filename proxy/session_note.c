/* session_note.c - what is remembered of a request when it is over; see session.h.
 *
 * A flight carries what it runs (struct statement_batch) only while somebody wants to know:
 * worker->noting.  Its time is counted from when it became what the server works on: behind other
 * clients' requests on a shared server it waited, as it did for the server itself.  A request that
 * was slow is logged without a single constant; only with log_parameters does its flight keep what
 * was said in it.
 * Called by session.c when a request goes out, by session_reply.c for answers and by server.c for
 * what was lost.  Thread: the worker's.
 */
#include "proxy/session.h"

#include "base/log.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>

#define SAID_MAX 1024 /* bytes of values that are kept */
#define VALUES_MAX 32 /* and how many of a bind */
#define SLOW "slow request"
#define SLOW_PER_SEC 100 /* lines of each second */

/* ---- going out ------------------------------------------------------------------------------- */

static void said(struct flight *f, struct str s)
{
    size_t n = MIN(s.n, (size_t)SAID_MAX - f->said.n);
    if (n > 0)
        memcpy(f->said.p + f->said.n, s.p, n);
    f->said.n = (uint16_t)(f->said.n + n);
}

static void said_values(struct server *s, struct flight *f, const struct wire_part *bind)
{
    const struct wire *wire = s->conn.worker->wire;
    struct str values[VALUES_MAX];
    int n = wire->bind_texts == NULL ? 0 : wire->bind_texts(bind, values, VALUES_MAX);
    for (int i = 0; i < n; i++) {
        if (f->said.n > 0)
            said(f, STR(", "));
        said(f, values[i]);
    }
}

static void keep_said(struct server *s, struct flight *f, const struct wire_req *r)
{
    if (f->said.p == NULL)
        f->said.p = mem_new(SAID_MAX);
    for (int i = 0; i < r->nparts; i++) {
        const struct wire_part *p = &r->parts[i];
        if (p->kind == PART_QUERY)
            said(f, p->text);
        else if (p->kind == PART_BIND && !p->cut)
            said_values(s, f, p);
    }
}

void session_note_begin(struct server *s, struct flight *f, const struct wire_req *r,
                        struct plan *plan)
{
    statement_batch_move(&f->batch, &plan->batch);
    if (s->conn.worker->noting.said)
        keep_said(s, f, r);
}

void session_note_forget(struct flight *f)
{
    if (f->said.p != NULL)
        mem_wipe(f->said.p, SAID_MAX); /* it may hold anything that clients say */
    mem_free(f->said.p);
    f->said.p = NULL;
}

/* ---- over ------------------------------------------------------------------------------------ */

/* Of every hundred as many as the option says, evenly. */
static bool is_sampled(struct worker *w)
{
    w->noting.credit += w->noting.percent;
    if (w->noting.credit < 100)
        return false;
    w->noting.credit -= 100;
    return true;
}

static void log_slow(const struct server *s, const struct flight *f,
                     const struct statement_run *run, uint32_t dropped)
{
    char digest[20], query[STATEMENTS_TEXT_MAX];
    snprintf(digest, sizeof(digest), "%016" PRIx64, statement_batch_digest(run->batch));
    size_t n = statement_batch_text(run->batch, query, sizeof(query));
    const struct pool_shared *p = s->pool->shared;
    const struct log_field fields[] = {
        {.name = "database", .text = str_of(p->db->name)},
        {.name = "user", .text = str_of(p->user->name)},
        {.name = "client",
         .kind = LOG_NUMBER,
         .number = f->client != NULL ? (int64_t)f->client->id : 0},
        {.name = "host", .text = str_of(run->host)},
        {.name = "digest", .text = str_of(digest)},
        {.name = "duration_ms", .kind = LOG_USEC, .number = run->took},
        {.name = "wait_ms", .kind = LOG_USEC, .number = run->waited},
        {.name = "rows", .kind = LOG_NUMBER, .number = (int64_t)run->rows},
        {.name = "failed", .kind = LOG_NUMBER, .number = run->failed},
        {.name = "left_out", .kind = LOG_NUMBER, .number = dropped},
        {.name = "query", .text = {query, n}},
        {.name = "values", .text = {f->said.p, f->said.n}},
    };
    log_event(LL_LOG, SLOW, fields, ARRAY_LEN(fields) - (f->said.n == 0));
}

void session_note(struct server *s, const struct flight *f, uint64_t rows, bool failed)
{
    struct worker *w = s->conn.worker;
    usec_t began = s->state == SV_SHARED ? MAX(f->start, s->front_at) : f->start;
    const struct statement_run run = {
        .batch = &f->batch,
        .db = s->pool->shared->db,
        .host = s->host,
        .took = w->now - began,
        .waited = f->waited + (began - f->start),
        .rows = rows,
        .failed = failed,
    };
    if (statements_on(w->statements))
        statements_note(w->statements, &run);
    if (LIKELY(run.took + run.waited < w->noting.slow_us) || !is_sampled(w))
        return;
    uint32_t dropped = 0;
    LOG_PASSING(LL_LOG, SLOW, SLOW_PER_SEC, dropped, log_slow(s, f, &run, dropped));
}

void session_note_cached(struct client *c, const struct plan *plan)
{
    struct worker *w = c->conn.worker;
    if (statements_on(w->statements) && plan->batch.runs > 0)
        statements_note_cached(w->statements, c->pool->shared->db, &plan->batch);
}
