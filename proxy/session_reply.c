/* session_reply.c - from server to client: answers, their ends, and what follows; see session.h.
 *
 * The front of the in-flight queue says whose the bytes are.  When the last request in flight is
 * done the server is settled: state that may have changed is asked for, a transaction whose client
 * has gone is ended, and a server that passes the release test goes back to its pool.
 * Thread: the worker's.
 */
#include "proxy/session_begin.h"
#include "proxy/session_cache.h"
#include "proxy/session_retry.h"
#include "proxy/session_route.h"
#include "proxy/session_share.h"

#include "base/check.h"
#include "base/log.h"
#include "proxy/job.h"
#include "proxy/listen.h"

#include <stdatomic.h>

/* The request of f may still go to another node: its client is not told yet, or never. */
static bool kept_back(struct server *s, struct flight *f, const struct wire_server_event *ev)
{
    if (ev->preamble)
        return session_retry_hold(s->conn.worker, f, ev->out);
    return ev->refused != SE_NONE && session_retry(s, f, ev->refused);
}

/* Hands bytes of the current request's answer to its client. */
static void forward(struct server *s, const struct wire_server_event *ev)
{
    struct flight *f = server_front(s);
    struct client *c = f != NULL ? f->client : s->client;
    if (c == NULL || (f != NULL && f->kind != FLIGHT_CLIENT) || !conn_is_open(&c->conn))
        return;
    if (f != NULL && f->copy.n > 0 && kept_back(s, f, ev))
        return;
    if (f != NULL && f->nheld > 0) {
        struct str held = session_retry_held(f);
        if (f->fill != NULL)
            session_fill_record(f->fill, held);
        outq_put_str(&c->conn.out, held);
    }
    if (f != NULL && ev->kind == SV_SPAN && ev->notice)
        f->noticed = true;
    else if (f != NULL)
        f->output = true;
    if (f != NULL && UNLIKELY(f->fill != NULL))
        session_fill_record(f->fill, ev->out);
    if (UNLIKELY(c->early)) /* was it what its data waits for? */
        session_go_on_later(c);
    outq_put_borrowed(&c->conn.out, ev->out.p, ev->out.n);
    conn_dirty(&c->conn);
    if (c->conn.out.borrowed) { /* a large piece: written from where it lies */
        conn_flush(&c->conn);
        outq_settle(&c->conn.out);
    }
    if (!conn_is_open(&c->conn) || !conn_above_high(&c->conn))
        return;
    if (s->state == SV_SHARED) /* it does not read: that is its own affair */
        session_unshare(s);
    conn_pause(&s->conn, PAUSE_PEER);
}

/* A setting changed: the record follows, and a client whose request caused it is told in place. */
static void on_var(struct server *s, const struct wire_var *v)
{
    session_note_report(s, v);
    struct flight *f = server_front(s);
    if (f != NULL && f->kind == FLIGHT_CLIENT && f->client != NULL)
        session_report(f->client, s);
}

static void on_notify(struct server *s, const struct wire_server_event *ev)
{
    if (listen_notified(s, ev))
        return;
    if (s->client != NULL && (s->pins & PIN_LISTEN || s->client->passthrough || s->fl_count > 0)) {
        conn_wire(&s->conn)->cl_notify(s->client->wire_state, ev->pid, ev->channel, ev->payload,
                                       &s->client->conn.out);
        conn_dirty(&s->client->conn);
    }
}

static void on_upload(struct server *s, const struct wire_server_event *ev)
{
    struct flight *f = server_front(s);
    s->upload = true;
    if (f == NULL || f->client == NULL) {
        s->doubtful = true; /* nobody will ever send the data */
        server_close(s, "upload without a client");
        return;
    }
    f->client->upload = true;
    conn_wire(&s->conn)->cl_upload(f->client->wire_state, ev->upload_ends_sync);
    session_go_on(f->client);
}

/* An upload whose request has not been ended by the client yet: what is left of it is dropped. */
static void upload_failed(struct server *s)
{
    struct flight *f = server_front(s);
    s->upload = false;
    if (f == NULL || f->client == NULL || !f->client->upload)
        return;
    f->client->upload = false;
    s->half_message = conn_wire(&s->conn)->cl_upload_over(f->client->wire_state);
}

/* ---- ends ------------------------------------------------------------------------------------ */

static void count_request(struct server *s, const struct flight *f,
                          const struct wire_server_event *ev)
{
    struct stats *st = &s->pool->stats;
    struct measure *m = &s->pool->measure;
    usec_t now = s->conn.worker->now;
    st->query_time += (uint64_t)(now - f->start);
    measure_took(m, MEASURE_REQUEST, now - f->start);
    if (UNLIKELY(ev->error != SE_NONE))
        measure_error(m, ev->code);
    if (ev->tx != TX_IDLE)
        return;
    st->xacts++;
    if (f->client == NULL)
        return;
    st->xact_time += (uint64_t)(now - f->client->xact_at);
    measure_took(m, MEASURE_XACT, now - f->client->xact_at);
    f->client->xact_at = now;
}

/* What is prepared may be planned for what no longer is. Inside a transaction others see nothing of
 * it yet, so its end counts as well; an answer that tells of it counts when the change bypassed
 * us. */
static void note_definitions(struct server *s, const struct wire_server_event *ev)
{
    bool changes = (ev->tags & WT_DDL) != 0;
    if (changes || ev->error == SE_PLAN_CHANGED || (s->defining && ev->tx == TX_IDLE))
        catalog_stale(s->pool);
    s->defining = (s->defining || changes) && ev->tx != TX_IDLE;
}

static void request_done(struct server *s, struct flight *f, const struct wire_server_event *ev)
{
    struct client *c = f->client;
    session_route_done(s, f, ev->tx, false);
    session_apply(s, f, ev);
    session_note_asks(s, f, ev->tags, ev->error != SE_NONE);
    if (!f->taken)
        count_request(s, f, ev);
    if (f->batch.runs > 0)
        session_note(s, f, ev->rows, ev->error != SE_NONE);
    note_definitions(s, ev);
    if (s->upload && c != NULL && c->upload) {
        c->upload = false;
        s->half_message = conn_wire(&s->conn)->cl_upload_over(c->wire_state);
    }
    s->upload = false;
    if (c == NULL)
        return;
    c->timed_out = 0;
    c->lost = 0;
    if (ev->tx == TX_IDLE)
        timeout_stop(&c->tx_timeout);
    if (s->fl_count > 1 && s->client == c) /* the next of a pipeline has a time of its own */
        worker_timeout(s->conn.worker, &c->timeout, client_limit_us(c, CL_BUSY));
    if (UNLIKELY(f->fill != NULL))
        session_fill_done(&f->fill, s,
                          ev->error == SE_NONE && ev->tx == TX_IDLE &&
                              session_fill_as_asked(f->fill, c));
    if (f->digest != 0 && s->state == SV_ACTIVE && ev->error == SE_NONE)
        pace_note(s->pool->share.pace, f->digest, s->conn.worker->now - f->start);
    listen_request_done(c, ev);
}

static void vars_done(struct server *s, struct flight *f, const struct wire_server_event *ev)
{
    struct client *c = f->client;
    if (ev->error == SE_NONE) {
        session_vars_accepted(s);
        return;
    }
    /* The request, if it was glued, runs under other settings than its client's: nothing of it may
     * be believed, and the connection cannot be continued as if it had been set up. */
    LOG_LIMITED(LL_WARNING, "setting refused by the server: " STR_FMT, STR_ARG(ev->message));
    s->doubtful = true;
    if (c == NULL)
        return;
    f->client = NULL;
    const struct wire_fault told = {
        .cause = C_BAD_SETTING, .code = ev->code, .text = ev->message, .fatal = true};
    client_tell(c, &told);
    client_end(c, "server refused a setting");
}

static void own_done(struct server *s, struct flight *f, const struct wire_server_event *ev)
{
    switch (f->kind) {
    case FLIGHT_VARS:
        vars_done(s, f, ev);
        break;
    case FLIGHT_LIFT:
        session_limits_lifted(s, f, ev->error);
        break;
    case FLIGHT_PREP:
        session_apply(s, f, ev);
        break;
    case FLIGHT_BEGIN:
        session_begin_done(s, f, ev);
        break;
    case FLIGHT_CHECK:
        if (ev->error != SE_NONE)
            s->doubtful = s->check_failed = true;
        break;
    case FLIGHT_ASK:
        timeout_stop(&s->timeout);
        if (ev->error == SE_NONE || !server_ask_again(s, f, ev->error))
            session_ask_done(s, f, ev->error == SE_NONE);
        break;
    case FLIGHT_CLEAN:
        server_cleaned(s, ev->error == SE_NONE);
        break;
    case FLIGHT_JOB:
        job_done(s, f, ev);
        break;
    case FLIGHT_CONNECT:
        server_init_done(s, ev->error == SE_NONE);
        break;
    case FLIGHT_LISTEN:
        listen_done(s, f, ev->error == SE_NONE);
        break;
    case FLIGHT_CLIENT:
        UNREACHABLE();
    }
}

/* The settings that a request will run under are told before its answer, and not those in between
 * that its prelude went through. */
static void report_before(struct server *s)
{
    const struct flight *f = server_front(s);
    if (f != NULL && f->kind == FLIGHT_CLIENT && f->client != NULL && f->client->told != s->profile)
        session_report(f->client, s);
}

static void on_done(struct server *s, const struct wire_server_event *ev)
{
    struct flight *f = server_front(s);
    if (f == NULL) {
        server_close(s, "answer without a request");
        return;
    }
    struct client *waiting = f->waits ? f->client : NULL;
    struct client *begins = f->kind == FLIGHT_BEGIN ? f->client : NULL;
    if (f->kind == FLIGHT_CLIENT || f->kind == FLIGHT_BEGIN || !session_is_beginning(s))
        s->tx =
            ev->tx; /* what goes before a BEGIN that was answered does not end its transaction */
    if (f->kind == FLIGHT_CLIENT)
        request_done(s, f, ev);
    else
        own_done(s, f, ev);
    if (s->state == SV_CLOSED)
        return;
    if (s->state == SV_SHARED) {
        session_shared_done(s);
        if (s->state == SV_SHARED)
            report_before(s);
        return;
    }
    if (waiting != NULL && f->client == waiting && !s->doubtful) {
        server_pop(s);
        session_go_on(waiting); /* its request has been held back for this */
        if (s->state == SV_ACTIVE && s->client == waiting && s->fl_count == 0 &&
            session_begun(waiting))
            session_begin_alone(waiting, s);
        session_begin_cancel(begins, s);
        if (s->state == SV_ACTIVE && s->client == waiting && s->fl_count == 0 && !waiting->barrier)
            session_settle(s);
        return;
    }
    server_pop(s);
    session_begin_cancel(begins, s);
    report_before(s);
    if (s->state == SV_ACTIVE && !session_share_let_go(s))
        session_settle(s);
}

/* Counts a server that is held outside a transaction; true: one too many (max_pinned). */
static bool one_pin_too_many(const struct client *c)
{
    struct server *s = c->server;
    int max = worker_options(s->conn.worker)->max_pinned;
    if (c->passthrough || s->counts_pinned || s->tx != TX_IDLE || s->pins == 0 ||
        listen_may_move(c, s))
        return false;
    s->counts_pinned = true;
    int others = atomic_fetch_add_explicit(&s->pool->shared->shared.pinned, 1,
                                           memory_order_relaxed);
    return max > 0 && others >= max;
}

/* A client keeps its server; what it had sent in advance goes on. */
static void hold(struct client *c)
{
    if (one_pin_too_many(c)) {
        client_fatal(c, C_TOO_MANY, STR("too many clients keep a server connection (max_pinned)"));
        return;
    }
    if (c->state == CL_BUSY)
        client_set_state(c, CL_HELD);
    listen_flush(c);
    session_go_on(c);
}

/* Nothing of the client is left on the server: it goes back. */
static void let_go(struct server *s)
{
    struct client *c = s->client;
    if (c == NULL) {
        server_release(s);
        return;
    }
    session_detach(c);
    client_set_state(c, CL_IDLE);
    listen_flush(c);
    server_release(s);
    session_go_on(c);
}

static void ask(struct server *s)
{
    if (s->client != NULL)
        s->client->barrier = true;
    if (s->client != NULL || s->reset.unknown)
        server_ask(s);
    else
        server_clean(s);
}

/* A transaction or a pin: the client keeps its server, nobody's is ended. */
static void hold_or_clean(struct server *s)
{
    if (s->client != NULL)
        hold(s->client);
    else
        server_clean(s);
}

static void settle_pinned(struct server *s)
{
    struct client *c = s->client;
    if (c != NULL && listen_settle(c, s))
        return;
    if (c != NULL && worker_options(s->conn.worker)->server_reset_query_always)
        let_go(s);
    else
        hold_or_clean(s);
}

void session_settle(struct server *s)
{
    struct client *c = s->client;
    enum server_work work = server_work(s);
    if (c != NULL && c->passthrough && work > WORK_TX) {
        s->asks = 0;
        hold(c);
        return;
    }
    switch (work) {
    case WORK_IN_FLIGHT:
    case WORK_PART: /* the rest comes from the client, or the server was closed */
    case WORK_LISTENS:
        break;
    case WORK_DOUBT:
        server_close(s, "state in doubt");
        break;
    case WORK_CANCEL: /* nothing is started that it could hit */
        if (c != NULL)
            c->barrier = true;
        break;
    case WORK_TX:
        hold_or_clean(s);
        break;
    case WORK_ASK:
        ask(s);
        break;
    case WORK_PIN:
        settle_pinned(s);
        break;
    case WORK_CLEAN:
    case WORK_UNWRITTEN:
    case WORK_NONE:
        let_go(s);
        break;
    }
}

/* ---- events ---------------------------------------------------------------------------------- */

static void on_row(struct server *s, const struct wire_server_event *ev)
{
    struct flight *f = server_front(s);
    if (f == NULL)
        return;
    if (f->kind == FLIGHT_ASK)
        session_ask_row(s, ev);
    else if (f->kind == FLIGHT_JOB && f->job != NULL && f->job->row != NULL)
        f->job->row(f->job, ev->cols, ev->ncols);
}

static void on_fatal(struct server *s, const struct wire_server_event *ev)
{
    struct pool *p = s->pool;
    s->goodbye = ev->error;
    session_write_lost(s, true);
    session_server_lost(s, ev->code, ev->message);
    server_close(s, "server said goodbye");
    pool_cluster_server_lost(p);
}

static void on_event(struct server *s, const struct wire_server_event *ev)
{
    switch (ev->kind) {
    case SV_MORE:
    case SV_SPAN:
        break;
    case SV_ACK:
        if (server_front(s) != NULL)
            server_front(s)->acks++;
        break;
    case SV_ROW:
        on_row(s, ev);
        break;
    case SV_VAR:
        on_var(s, &ev->var);
        break;
    case SV_NOTIFY:
        on_notify(s, ev);
        break;
    case SV_NOTICE:
        if (s->client != NULL) {
            outq_put_str(&s->client->conn.out, ev->out);
            conn_dirty(&s->client->conn);
        }
        break;
    case SV_UPLOAD:
        on_upload(s, ev);
        break;
    case SV_DONE:
        on_done(s, ev);
        break;
    case SV_FATAL:
        on_fatal(s, ev);
        break;
    case SV_BAD:
        LOG_LIMITED(LL_WARNING, "server connection out of step: %s", ev->reason);
        server_close(s, ev->reason);
        break;
    case SV_TLS:
    case SV_AUTH:
    case SV_READY:
        server_close(s, "login message after login");
        break;
    }
}

/* Before anything of the requests in flight has been written there can be no answer to them; only
 * what a server says unasked may come. */
static bool too_early(const struct server *s, const struct wire_server_event *ev)
{
    if (s->conn.bytes_out != s->written || s->fl_count == 0)
        return false;
    return ev->kind != SV_VAR && ev->kind != SV_NOTIFY && ev->kind != SV_NOTICE &&
           ev->kind != SV_FATAL && ev->kind != SV_BAD && (ev->kind != SV_MORE || ev->consumed > 0);
}

/* Cached answers that a request has changed must be gone before its end is told. */
static void before_passing(struct server *s, const struct wire_server_event *ev)
{
    if (ev->kind == SV_DONE && UNLIKELY(s->writes != NULL || s->pool->cache != NULL))
        session_write_done(s, ev);
}

size_t session_output(struct server *s, struct str data, bool full)
{
    size_t used = 0;
    for (;;) {
        struct wire_server_event ev;
        struct str rest = {data.p == NULL ? NULL : data.p + used, data.n - used};
        conn_wire(&s->conn)->sv_feed(s->wire_state, rest, full && used == 0, &ev);
        used += ev.consumed;
        if (data.n > 0 && UNLIKELY(too_early(s, &ev))) {
            server_close(s, "answer before the request");
            return data.n;
        }
        before_passing(s, &ev);
        if (ev.out.n > 0 && ev.kind != SV_FATAL && ev.kind != SV_NOTICE)
            forward(s, &ev);
        if (s->state == SV_CLOSED)
            return data.n;
        on_event(s, &ev);
        if (ev.kind == SV_SPAN && ev.error != SE_NONE)
            upload_failed(s);
        if (s->state == SV_CLOSED)
            return data.n;
        if (ev.kind == SV_MORE || (used == data.n && s->fl_count == 0))
            return used;
    }
}
