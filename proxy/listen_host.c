/* listen_host.c - the listening server of a pool, for the whole process; see listen_host.h. */
#include "proxy/listen_host.h"

#include "base/check.h"
#include "base/mem.h"
#include "proxy/listen_post.h"
#include "proxy/session.h"

#include <stdatomic.h>

#define VARS_MAX 64     /* settings of the client that are taken back */
#define SEAT_WORKER 256 /* a seat is a running number and the worker's index below this */

struct wanted { /* a channel that the server listens to */
    enum channel_state state;
    uint32_t ticket; /* of the LISTEN that is awaited */
    int nworkers;    /* that want it */
    struct {
        bool wants;
        uint32_t asked; /* the ticket that is to be answered; 0: none */
    } worker[];         /* by index */
};

static struct pool_shared *shared_of(const struct listen_host *h)
{
    return h->listen->pool->shared;
}

unsigned listen_host_worker(uint64_t seat)
{
    return (unsigned)(seat % SEAT_WORKER);
}

/* ---- the seat -------------------------------------------------------------------------------- */

/* Settings of the client that made it must not bend what others are told. */
static int to_reset(const struct server *s, struct wire_var delta[VARS_MAX])
{
    return varset_diff(s->vars, s->conn.worker->vars.empty, delta, VARS_MAX);
}

/* What was set with other rights first: it cannot be reset by name. Less is left after that. */
static void reset(struct server *s)
{
    struct wire_var delta[VARS_MAX];
    session_forget_unlisted(s);
    int n = to_reset(s, delta);
    if (n > 0) {
        conn_wire(&s->conn)->sv_vars(s->wire_state, delta, n, &s->conn.out);
        server_push(s, FLIGHT_VARS, NULL);
    }
    varset_put(&s->vars);
    s->vars = varset_empty(&s->conn.worker->vars);
}

static void free_seat(const struct pool *p)
{
    atomic_store_explicit(&p->shared->shared.listener, 0, memory_order_release);
}

static uint64_t take_seat(struct pool *p)
{
    uint64_t n = atomic_fetch_add_explicit(&p->shared->shared.seats, 1, memory_order_relaxed) + 1;
    uint64_t seat = n * SEAT_WORKER + p->worker->index, nobody = 0;
    return atomic_compare_exchange_strong_explicit(&p->shared->shared.listener, &nobody, seat,
                                                   memory_order_acq_rel, memory_order_relaxed)
               ? seat
               : 0;
}

bool listen_host_take(struct listen *l, struct server *s)
{
    struct wire_var delta[VARS_MAX];
    uint64_t seat = to_reset(s, delta) > VARS_MAX ? 0 : take_seat(l->pool);
    if (seat == 0)
        return false;
    if (!pool_set_apart(l->pool)) {
        free_seat(l->pool);
        return false;
    }
    s->shared_listener = true;
    reset(s);
    struct listen_host *h = mem_new(sizeof(*h));
    h->listen = l;
    h->server = s;
    h->seat = seat;
    h->checked_at = s->conn.worker->now;
    map_init(&h->channels);
    l->host = h;
    return true;
}

static void end(struct listen_host *h)
{
    struct str name;
    void *v;
    free_seat(h->listen->pool);
    h->listen->host = NULL;
    for (size_t i = 0; map_next(&h->channels, &i, &name, &v);)
        mem_free(v);
    map_fini(&h->channels);
    mem_free(h);
}

/* Nobody listens any more: the server goes back to its pool, clean. */
static void give_back(struct listen_host *h)
{
    struct server *s = h->server;
    if (!pool_take_in(h->listen->pool)) {
        server_quit(s, "nobody listens any more"); /* ends h */
        return;
    }
    end(h);
    s->shared_listener = false;
    s->reset.due = true;
    s->pins |= PIN_LISTEN; /* cleaned in full, whatever the reset query is */
    if (s->fl_count == 0)
        session_settle(s);
}

/* ---- channels -------------------------------------------------------------------------------- */

static struct flight *tell(struct listen_host *h, struct str channel, bool on)
{
    struct server *s = h->server;
    conn_wire(&s->conn)->sv_listen(s->wire_state, channel, on, &s->conn.out);
    struct flight *f = server_push(s, FLIGHT_LISTEN, NULL);
    server_arm(s);
    return f;
}

static struct wanted *find_or_add(struct listen_host *h, struct str channel)
{
    struct wanted *wd = map_get(&h->channels, channel);
    if (wd != NULL)
        return wd;
    unsigned n = h->server->conn.worker->process->nworkers;
    wd = mem_new(sizeof(*wd) + n * sizeof(wd->worker[0]));
    map_put(&h->channels, channel, wd);
    return wd;
}

static void add_worker(struct wanted *wd, unsigned worker)
{
    wd->nworkers += !wd->worker[worker].wants;
    wd->worker[worker].wants = true;
}

void listen_host_has(struct listen_host *h, struct str channel)
{
    struct wanted *wd = find_or_add(h, channel);
    wd->state = CHANNEL_ON;
    add_worker(wd, h->server->conn.worker->index);
}

void listen_host_want(struct listen_host *h, unsigned worker, struct str channel, uint32_t ticket)
{
    struct wanted *wd = find_or_add(h, channel);
    add_worker(wd, worker);
    if (wd->state == CHANNEL_ON) {
        listen_post_answer(h, worker, channel, ticket, true);
        return;
    }
    wd->worker[worker].asked = ticket;
    if (wd->state == CHANNEL_SENT)
        return;
    struct flight *f = tell(h, channel, true);
    f->text = (struct str){str_dup(channel), channel.n};
    f->effects = wd->ticket = WHAT_TICKET | ++h->tickets;
    wd->state = CHANNEL_SENT;
}

/* Nobody wants it any more. */
static void drop(struct listen_host *h, struct str channel)
{
    mem_free(map_remove(&h->channels, channel));
    if (map_count(&h->channels) == 0)
        give_back(h);
}

void listen_host_unwant(struct listen_host *h, unsigned worker, struct str channel)
{
    struct wanted *wd = map_get(&h->channels, channel);
    if (wd == NULL || !wd->worker[worker].wants)
        return; /* a LISTEN that has failed */
    wd->worker[worker].wants = false;
    wd->worker[worker].asked = 0;
    if (--wd->nworkers > 0)
        return;
    tell(h, channel, false);
    drop(h, channel);
}

void listen_host_done(struct listen_host *h, const struct flight *f, bool ok)
{
    struct wanted *wd = !(f->effects & WHAT_TICKET) ? NULL : map_get(&h->channels, f->text);
    if (wd == NULL || wd->state != CHANNEL_SENT || wd->ticket != f->effects)
        return; /* nobody wanted it any more */
    unsigned n = h->server->conn.worker->process->nworkers;
    wd->state = CHANNEL_ON;
    for (unsigned i = 0; i < n; i++) {
        if (wd->worker[i].asked == 0)
            continue;
        listen_post_answer(h, i, f->text, wd->worker[i].asked, ok);
        wd->worker[i].asked = 0;
    }
    if (!ok)
        drop(h, f->text);
}

void listen_host_heard(struct listen_host *h, const struct wire_server_event *ev)
{
    const struct wanted *wd = map_get(&h->channels, ev->channel);
    unsigned n = h->server->conn.worker->process->nworkers;
    for (unsigned i = 0; wd != NULL && i < n; i++)
        if (wd->worker[i].wants)
            listen_post_heard(h, i, ev);
}

/* ---- upkeep ---------------------------------------------------------------------------------- */

void listen_host_lost(struct listen_host *h)
{
    listen_post_lost(h);
    end(h);
}

/* PAUSE ends when no server is left, and the others listen to the wrong place. */
static const char *unwanted(const struct listen_host *h)
{
    const struct server *s = h->server;
    const struct pool *p = h->listen->pool;
    bool suspended = atomic_load_explicit(&p->worker->process->shared.suspended,
                                          memory_order_relaxed);
    if (pool_paused(p) && !suspended)
        return "database paused";
    if (s->dns_stale)
        return "host name resolves to other addresses";
    if (s->epoch != atomic_load_explicit(&shared_of(h)->db->shared.epoch, memory_order_relaxed))
        return "database configuration changed";
    if (!pool_has_room_beside_those_apart(p))
        return "no server is left for clients beside the listening ones";
    return NULL;
}

/* A peer that vanished without a word would leave the clients deaf: it is asked from time to
 * time. */
void listen_host_housekeeping(struct listen_host *h)
{
    struct server *s = h->server;
    struct worker *w = s->conn.worker;
    usec_t every = worker_options(w)->server_check_delay;
    const char *why = unwanted(h);
    if (why != NULL) {
        server_quit(s, why); /* ends h */
        return;
    }
    if (s->fl_count > 0 || every == 0 || w->now - h->checked_at < every)
        return;
    h->checked_at = w->now;
    conn_wire(&s->conn)->sv_ping(s->wire_state, &s->conn.out);
    server_push(s, FLIGHT_LISTEN, NULL);
    server_arm(s);
}
