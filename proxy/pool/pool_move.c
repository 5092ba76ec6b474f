/* pool_move.c - idle servers go where the oldest waiter is; see pool.h.
 *
 * Each worker publishes, per pool, how many idle servers it has and since when its first waiter
 * waits. A released server goes to another worker when that one waits and we do not, or when its
 * waiter is older than ours by POOL_SLACK_US.  A worker that can open no more asks the others for
 * what they have. A server moves only while nothing is in its buffers; it takes along what is known
 * of its session.
 * Thread: each function runs on the worker that owns what it touches; the parcel belongs to the
 * message.
 */
#include "base/check.h"
#include "base/mem.h"
#include "proxy/pool/pool.h"
#include "proxy/server.h"

#include <stdatomic.h>

struct handover {
    struct message m;
    struct pool_shared *to;
    struct server *server;         /* owned while under way */
    struct varset *vars, *profile; /* exported */
    struct stmt_parcel *stmts;
};

struct plea {
    struct pool_shared *pool;
    struct worker *from;
};

void pool_publish(struct pool *p)
{
    unsigned i = p->worker->index;
    const struct waiter *first = pool_oldest(p, pool_users(p) | 1u << WAIT_PROFILE);
    int64_t oldest = first == NULL ? 0 : first->since;
    atomic_store_explicit(&p->shared->shared.worker[i].idle, p->nidle, memory_order_relaxed);
    atomic_store_explicit(&p->shared->shared.worker[i].oldest, oldest, memory_order_release);
}

/* The worker with the oldest waiter but us, or NULL. */
static struct worker *oldest_elsewhere(const struct pool *p, usec_t *since)
{
    const struct process *proc = p->worker->process;
    struct worker *best = NULL;
    *since = INT64_MAX;
    for (unsigned i = 0; i < proc->nworkers; i++) {
        int64_t t = atomic_load_explicit(&p->shared->shared.worker[i].oldest, memory_order_acquire);
        if (i == p->worker->index || t == 0 || t >= *since)
            continue;
        *since = t;
        best = proc->workers[i];
    }
    return best;
}

static bool can_move(const struct server *s)
{
    return conn_can_move(&s->conn) && map_count(&s->stmts.by_name) == 0 && s->fl_count == 0 &&
           s->cancels == 0 && s->pool->replication[0] == '\0';
}

/* ---- arriving -------------------------------------------------------------------------------- */

static void discard(struct handover *h)
{
    mem_free(h->vars);
    mem_free(h->profile);
    stmt_parcel_free(h->stmts);
    mem_free(h);
}

/* The pool is gone here: the connection ends, its place becomes free. */
static void turn_away(struct worker *w, struct server *s, struct pool_shared *sh)
{
    s->conn.worker = w;
    conn_close(&s->conn);
    s->vars = varset_empty(&w->vars);
    s->profile = varset_empty(&w->vars);
    s->question.names = varset_empty(&w->vars);
    worker_bury(w, &s->mortal);
    atomic_fetch_sub_explicit(&sh->shared.servers, 1, memory_order_acq_rel);
    atomic_fetch_sub_explicit(&sh->db->shared.servers, 1, memory_order_acq_rel);
    atomic_fetch_sub_explicit(&sh->user->shared.servers, 1, memory_order_acq_rel);
}

static void on_arrival(struct message *m, void *ctx)
{
    struct handover *h = container_of(m, struct handover, m);
    struct worker *w = ctx;
    struct server *s = h->server;
    struct pool *p = pool_by_shared(w, h->to);
    if (p == NULL) {
        turn_away(w, s, h->to);
        discard(h);
        return;
    }
    s->pool = p;
    conn_attach(&s->conn, w);
    list_push_back(&w->servers, &s->all);
    s->vars = varset_import(&w->vars, h->vars);
    s->profile = varset_import(&w->vars, h->profile);
    s->question.names = varset_empty(&w->vars);
    stmt_set_import(&s->stmts, &w->stmts, h->stmts);
    h->stmts = NULL;
    discard(h);
    if (p->steal_pending > 0)
        p->steal_pending--;
    p->ever_ready = true;
    list_push_back(&p->active, &s->link); /* as if released here */
    p->nactive++;
    s->state = SV_ACTIVE;
    server_release(s);
}

/* ---- leaving --------------------------------------------------------------------------------- */

/* s is ACTIVE or IDLE in p and may move. */
static void send_to(struct pool *p, struct server *s, struct worker *to)
{
    struct handover *h = mem_new(sizeof(*h));
    h->m.deliver = on_arrival;
    h->to = p->shared;
    h->server = s;
    h->vars = varset_export(s->vars);
    h->profile = varset_export(s->profile);
    h->stmts = stmt_set_export(&s->stmts);
    list_remove(&s->link);
    if (s->state == SV_IDLE)
        p->nidle--;
    else
        p->nactive--;
    list_remove(&s->all);
    p->stats.sent += s->conn.bytes_in;
    s->conn.bytes_in = 0;
    timeout_stop(&s->timeout);
    varset_put(&s->vars);
    varset_put(&s->profile);
    varset_put(&s->question.names);
    stmt_put(&s->unnamed);
    s->unnamed_known = false;
    server_free_slots(s); /* they count in this worker's memory */
    s->pool = NULL;
    conn_detach(&s->conn);
    pool_publish(p);
    if (!mailbox_post(&to->mailbox, &h->m)) {
        turn_away(p->worker, s, p->shared);
        discard(h);
    }
}

/* The worker that should have a server of ours: its waiter is older than our oldest of those kinds
 * by more than the slack. NULL: nobody. */
static struct worker *deserving(const struct pool *p, unsigned ours)
{
    if (p->worker->process->nworkers == 1 ||
        atomic_load_explicit(&p->shared->shared.waiting, memory_order_relaxed) == p->nwaiters)
        return NULL;
    usec_t theirs;
    struct worker *to = oldest_elsewhere(p, &theirs);
    if (to == NULL || pool_paused(p))
        return NULL;
    const struct waiter *first = pool_oldest(p, ours | 1u << WAIT_PROFILE);
    if (first != NULL && first->since <= theirs + POOL_SLACK_US)
        return NULL;
    return to;
}

bool pool_wanted_elsewhere(const struct pool *p)
{
    return deserving(p, WAIT_ANY) != NULL;
}

bool pool_gives_away(struct pool *p, const struct server *s)
{
    if (deserving(p, pool_users(p)) == NULL || !can_move(s))
        return false;
    if (!list_linked(&p->giving))
        list_push_back(&p->worker->giving, &p->giving);
    return true;
}

bool pool_cleans_to_give(struct pool *p, struct server *s)
{
    if (map_count(&s->stmts.by_name) == 0 || deserving(p, pool_users(p)) == NULL)
        return false;
    s->reset.due = true;
    server_clean(s);
    return true;
}

void pools_give(struct worker *w)
{
    struct list *l;
    while ((l = list_pop_front(&w->giving)) != NULL) {
        struct pool *p = container_of(l, struct pool, giving);
        struct worker *to = deserving(p, pool_users(p));
        struct list *it, *tmp;
        LIST_EACH(it, tmp, &p->idle) {
            struct server *s = container_of(it, struct server, link);
            if (to == NULL || !can_move(s))
                continue;
            send_to(p, s, to);
            break;
        }
        if (pool_wanting(p) > 0 && p->nidle > 0)
            pool_dispatch(p); /* it did not go; ours may have it */
    }
}

/* Another worker has waiters and cannot open a server. */
static void on_plea(struct worker *w, void *arg)
{
    struct plea *q = arg;
    struct pool *p = pool_by_shared(w, q->pool);
    struct worker *from = q->from;
    mem_free(q);
    if (p == NULL)
        return;
    pool_dispatch(p); /* ours have it first, if they have a use for it */
    if (pool_servers_wanted(p) > 0)
        return;
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &p->idle) {
        struct server *s = container_of(it, struct server, link);
        if (can_move(s)) {
            send_to(p, s, from);
            return;
        }
        if (map_count(&s->stmts.by_name) > 0) {
            server_set_state(s, SV_ACTIVE);
            server_release(s); /* as if it had just been released: it is cleaned there */
            return;
        }
    }
    pool_publish(p);
}

static void on_poke(struct worker *w, void *arg)
{
    struct pool *p = pool_by_shared(w, arg);
    if (p != NULL && p->nwaiters > 0)
        pool_schedule(p);
}

/* The limits of the database or the user are used up, perhaps by idle servers of other pools. */
static void evict_for(struct worker *w, void *arg)
{
    struct plea *q = arg;
    const struct pool_shared *sh = q->pool;
    struct worker *from = q->from;
    struct list *it, *tmp;
    mem_free(q);
    LIST_EACH(it, tmp, &w->pool_list) {
        struct pool *p = container_of(it, struct pool, link);
        struct list *l = list_last(&p->idle);
        if (p->shared == sh || l == NULL ||
            (p->shared->db != sh->db && p->shared->user != sh->user))
            continue;
        server_quit(container_of(l, struct server, link), "evicted");
        worker_post_call(from, on_poke, (void *)(uintptr_t)sh);
        return;
    }
}

static struct plea *make_plea(const struct pool *p)
{
    struct plea *q = mem_new(sizeof(*q));
    q->pool = p->shared;
    q->from = p->worker;
    return q;
}

bool pool_idle_elsewhere(const struct pool *p)
{
    for (unsigned i = 0; i < p->worker->process->nworkers; i++)
        if (i != p->worker->index &&
            atomic_load_explicit(&p->shared->shared.worker[i].idle, memory_order_relaxed) > 0)
            return true;
    return false;
}

void pool_ask_others(struct pool *p)
{
    const struct process *proc = p->worker->process;
    int servers_wanted = pool_servers_wanted(p);
    int wanted = MAX(servers_wanted, p->nwaiting[WAIT_PROFILE] > 0); /* a first login needs one */
    bool any = false;
    for (unsigned i = 0; i < proc->nworkers && p->steal_pending < servers_wanted; i++) {
        if (i == p->worker->index ||
            atomic_load_explicit(&p->shared->shared.worker[i].idle, memory_order_relaxed) == 0)
            continue;
        p->steal_pending++;
        any = true;
        worker_post_call(proc->workers[i], on_plea, make_plea(p));
    }
    int have = atomic_load_explicit(&p->shared->shared.servers, memory_order_relaxed);
    if (any || have >= pool_limit(p) || wanted == 0)
        return;
    for (unsigned i = 0; i < proc->nworkers; i++)
        worker_post_call(proc->workers[i], evict_for, make_plea(p));
}

void pool_poke_others(struct pool *p)
{
    usec_t since;
    struct worker *to = oldest_elsewhere(p, &since);
    if (to != NULL)
        worker_post_call(to, on_poke, p->shared);
}
