/* server.c - a connection to a database: states, in-flight queue, release test; see server.h. */
#include "proxy/server.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/cancel.h"
#include "proxy/job.h"
#include "proxy/listen.h"
#include "proxy/session_cache.h"

#include <stdatomic.h>

#define LEAKED_MAX 16 /* forgotten statements before a server is replaced */

const char *const server_state_names[] = {"connect", "login",  "init",  "idle",
                                          "active",  "shared", "closed"};

/* ---- in-flight queue ------------------------------------------------------------------------- */

struct flight *server_flight(struct server *s, uint32_t i)
{
    return &s->flights[(s->fl_head + i) & (s->fl_cap - 1)];
}

/* Slots not in use own memory too: it is kept for the next flight. */
static void free_slot(struct server *s, struct flight *f)
{
    mem_free(f->journal);
    mem_free(f->copy.p);
    s->conn.worker->memory.in_bytes -= f->copy.cap;
    session_note_forget(f);
    f->journal = NULL;
    f->copy.p = NULL;
    f->cap_journal = 0;
    f->copy.cap = 0;
}

void server_free_slots(struct server *s)
{
    for (uint32_t i = s->fl_count; i < s->fl_cap; i++)
        free_slot(s, server_flight(s, i));
}

static void grow_flights(struct server *s)
{
    uint32_t cap = s->fl_cap == 0 ? 4 : s->fl_cap * 2;
    struct flight *ring = mem_new(cap * sizeof(*ring));
    for (uint32_t i = 0; i < s->fl_count; i++)
        ring[i] = *server_flight(s, i);
    server_free_slots(s);
    mem_free(s->flights);
    s->flights = ring;
    s->fl_head = 0;
    s->fl_cap = cap;
}

struct flight *server_push(struct server *s, enum flight_kind kind, struct client *c)
{
    if (s->fl_count == s->fl_cap)
        grow_flights(s);
    struct flight *f = server_flight(s, s->fl_count++);
    struct journal *journal = f->journal;
    uint16_t cap = f->cap_journal;
    uint8_t *copy = f->copy.p;
    uint32_t copy_cap = f->copy.cap;
    char *said = f->said.p;
    *f = (struct flight){.kind = kind, .client = c, .journal = journal, .cap_journal = cap};
    f->copy.p = copy;
    f->copy.cap = copy_cap;
    f->said.p = said;
    if (kind != FLIGHT_CLIENT) {
        f->ended = true;
        s->unnamed_known = false; /* a text of ours replaces the unnamed statement */
        stmt_put(&s->unnamed);
    }
    return f;
}

struct flight *server_front(struct server *s)
{
    return s->fl_count == 0 ? NULL : server_flight(s, 0);
}

struct flight *server_back(struct server *s)
{
    return s->fl_count == 0 ? NULL : server_flight(s, s->fl_count - 1);
}

void server_pop(struct server *s)
{
    struct flight *f = server_flight(s, 0);
    facts_put(&f->facts);
    statement_batch_clear(&f->batch);
    mem_free((void *)(uintptr_t)f->text.p);
    f->text = STR_NONE;
    f->client = NULL;
    if (f->fill != NULL)
        session_fill_drop(&f->fill);
    s->fl_head = (s->fl_head + 1) & (s->fl_cap - 1);
    s->fl_count--;
    s->flights_done++;
}

/* ---- states ---------------------------------------------------------------------------------- */

static const uint8_t legal[] = {
    [SV_CONNECT] = 1u << SV_LOGIN | 1u << SV_CLOSED,
    [SV_LOGIN] = 1u << SV_INIT | 1u << SV_CONNECT | 1u << SV_CLOSED,
    [SV_INIT] = 1u << SV_IDLE | 1u << SV_ACTIVE | 1u << SV_CLOSED,
    [SV_IDLE] = 1u << SV_ACTIVE | 1u << SV_SHARED | 1u << SV_CLOSED,
    [SV_ACTIVE] = 1u << SV_IDLE | 1u << SV_SHARED | 1u << SV_CLOSED,
    [SV_SHARED] = 1u << SV_ACTIVE | 1u << SV_CLOSED,
    [SV_CLOSED] = 0,
};

static int *pool_count(struct pool *p, enum server_state st)
{
    switch (st) {
    case SV_CONNECT:
    case SV_LOGIN:
    case SV_INIT:
        return &p->nconnecting;
    case SV_IDLE:
        return &p->nidle;
    case SV_ACTIVE:
        return &p->nactive;
    case SV_SHARED:
        return &p->nsharing;
    case SV_CLOSED:
        return NULL;
    }
    return NULL;
}

static void enter_list(struct server *s)
{
    struct pool *p = s->pool;
    switch (s->state) {
    case SV_CONNECT:
    case SV_LOGIN:
    case SV_INIT:
        list_push_back(&p->connecting, &s->link);
        break;
    case SV_IDLE:
        if (worker_options(s->conn.worker)->server_round_robin)
            list_push_back(&p->idle, &s->link);
        else
            list_push_front(&p->idle, &s->link);
        break;
    case SV_ACTIVE:
        list_push_back(&p->active, &s->link);
        break;
    case SV_SHARED:
        list_push_back(&p->sharing, &s->link);
        break;
    case SV_CLOSED:
        break;
    }
}

void server_set_state(struct server *s, enum server_state to)
{
    CHECK(legal[s->state] & (1u << to));
    if (s->state == SV_SHARED)
        pool_share_end(s);
    int *from_count = pool_count(s->pool, s->state), *to_count = pool_count(s->pool, to);
    list_remove(&s->link);
    if (from_count != NULL)
        --*from_count;
    if (to_count != NULL)
        ++*to_count;
    s->state = to;
    enter_list(s);
    if (to == SV_IDLE)
        s->idle_since = s->conn.worker->now;
    else if (to == SV_ACTIVE || to == SV_SHARED)
        s->request_at = s->conn.worker->now;
}

/* ---- life ------------------------------------------------------------------------------------ */

void server_free(struct mortal *m)
{
    struct server *s = container_of(m, struct server, mortal);
    conn_wire(&s->conn)->sv_fini(s->wire_state);
    while (s->fl_count > 0)
        server_pop(s);
    server_free_slots(s);
    mem_free(s->flights);
    session_write_free(s);
    stmt_put(&s->unnamed);
    stmt_set_fini(&s->stmts);
    varset_put(&s->vars);
    varset_put(&s->profile);
    varset_put(&s->question.names);
    varset_put(&s->question.answered);
    mem_wipe(&s->key, sizeof(s->key));
    mem_free(s);
}

/* What is in flight and will never be answered. */
static void drop_flights(struct server *s)
{
    for (uint32_t i = 0; i < s->fl_count; i++) {
        struct flight *f = server_flight(s, i);
        session_undo(s, f);
        if (f->batch.runs > 0)
            session_note(s, f, 0, true);
        session_fill_drop(&f->fill);
        if (f->job != NULL) {
            struct job *j = f->job;
            f->job = NULL;
            job_lost(j);
        }
    }
}

void server_close(struct server *s, const char *why)
{
    if (s->state == SV_CLOSED)
        return;
    struct pool *p = s->pool;
    struct worker *w = s->conn.worker;
    enum server_state was = s->state;
    session_write_lost(s, false);
    session_server_lost(s, STR_NONE, STR_NONE);
    if (s->state == SV_CLOSED)
        return;
    if (worker_options(w)->log_disconnections && was > SV_LOGIN)
        LOG_LIMITED(LL_LOG, "S-%p: %s/%s closing because: %s (age=%llds)", (void *)s,
                    p->shared->db->name, p->shared->user->name, why,
                    (long long)((w->now - s->connected_at) / USEC_PER_SEC));
    server_set_state(s, SV_CLOSED);
    p->stats.sent += s->conn.bytes_in;
    if (s->shared_listener)
        listen_server_lost(s);
    drop_flights(s);
    timeout_stop(&s->timeout);
    server_login_abandon(s);
    cancel_forget_server(s);
    list_remove(&s->all);
    conn_close(&s->conn);
    worker_bury(w, &s->mortal);
    pool_forget(p, s);
}

void server_quit(struct server *s, const char *why)
{
    if (conn_is_open(&s->conn) && s->state >= SV_IDLE) {
        conn_wire(&s->conn)->sv_quit(s->wire_state, &s->conn.out);
        conn_flush(&s->conn);
    }
    server_close(s, why);
}

/* ---- release --------------------------------------------------------------------------------- */

bool server_has_state(const struct server *s)
{
    return s->tx != TX_IDLE || s->pins != 0 || s->asks != 0;
}

/* The same, leaving aside what is in flight. */
static enum server_work left_over(const struct server *s)
{
    if (s->half_request || s->upload || s->half_message)
        return WORK_PART;
    if (s->doubtful)
        return WORK_DOUBT;
    if (s->shared_listener)
        return WORK_LISTENS;
    if (s->cancels > 0)
        return WORK_CANCEL;
    if (s->tx != TX_IDLE)
        return WORK_TX;
    if (s->asks != 0)
        return WORK_ASK;
    if (s->pins != 0)
        return WORK_PIN;
    if (s->reset.due)
        return WORK_CLEAN;
    return WORK_NONE;
}

enum server_work server_work(const struct server *s)
{
    if (s->fl_count > 0)
        return WORK_IN_FLIGHT;
    enum server_work work = left_over(s);
    if (work != WORK_NONE)
        return work;
    if (s->conn.out.len > 0 || conn_wire(&s->conn)->sv_pending(s->wire_state) > 0)
        return WORK_UNWRITTEN;
    return WORK_NONE;
}

bool server_may_share(struct server *s, const struct varset *vars, const struct stmt *stmt)
{
    if (s->state != SV_SHARED && s->fl_count > 0)
        return false; /* what is in flight is somebody's alone */
    if (left_over(s) != WORK_NONE || s->client != NULL)
        return false;
    /* Nothing may have to be put in front but the statement itself, and no name that a client chose
     * may be there: it could be met by a neighbour. */
    if (s->vars != vars || s->tainted_by != 0 || map_count(&s->stmts.by_name) > 0)
        return false;
    const struct stmt_entry *e = stmt == NULL ? NULL : stmt_set_find(&s->stmts, stmt);
    return e == NULL || e->flight <= s->flights_done; /* a neighbour's preparation may still fail */
}

bool server_too_old(const struct server *s)
{
    usec_t life = s->pool->limits[CONFIG_SERVER_LIFETIME];
    return life > 0 && s->conn.worker->now - s->connected_at > life;
}

const char *server_unwanted(struct server *s)
{
    if (atomic_load_explicit(&s->pool->shared->db->shared.epoch, memory_order_relaxed) != s->epoch)
        return "database configuration changed";
    if (s->pool->gone)
        return "database removed";
    if (s->dns_stale)
        return "host name resolves to other addresses";
    if (server_too_old(s))
        return "server lifetime over";
    if (s->leaked > LEAKED_MAX || map_count(&s->stmts.by_name) > LEAKED_MAX)
        return "too many leftover statements";
    if (process_phase(s->conn.worker->process) >= PHASE_DRAIN_SERVERS)
        return "shutting down";
    return NULL;
}

static void to_pool(struct server *s)
{
    timeout_stop(&s->timeout);
    const char *why = server_unwanted(s);
    if (why != NULL)
        server_quit(s, why);
    else
        pool_put(s->pool, s);
}

void server_release(struct server *s)
{
    if (s->state != SV_ACTIVE || s->client != NULL)
        return;
    switch (server_work(s)) {
    case WORK_IN_FLIGHT:
    case WORK_CANCEL:
        return; /* whoever ends that will call again */
    case WORK_PART:
    case WORK_DOUBT:
    case WORK_UNWRITTEN:
        server_close(s, "unclean server");
        return;
    case WORK_LISTENS:
        return;
    case WORK_TX:
    case WORK_ASK:
    case WORK_PIN:
    case WORK_CLEAN:
        server_clean(s);
        return;
    case WORK_NONE:
        to_pool(s);
        return;
    }
}

bool server_needs_check(const struct server *s)
{
    const struct config_options *o = worker_options(s->conn.worker);
    return o->server_check_delay > 0 && o->server_check_query[0] != '\0' &&
           (s->was_idle || s->state == SV_IDLE) &&
           s->conn.worker->now - s->idle_since > o->server_check_delay;
}
