/* session_await.c - a read waits for the end of a write to its key, or for another process's query;
 * see session_cache.h.
 *
 * While a write is open nobody is served what it may change.  Most writes to one row are over in a
 * moment, and a key that is written often is mostly one that is read often: if all of its readers
 * went to the database meanwhile, that would be most of the load that the cache is there to take
 * off.  So one of them waits for the end, and the others for that one, as they wait for the leader
 * of a query; then a single query answers them all.
 *
 * Waiting only moves a look-up to a later time: what may be served is decided when it comes.  It is
 * bounded by the option wait, and by a number of queries of others.  Who has waited for a write in
 * vain says so, and for a while nobody else of that worker waits for that key.
 * Called by session_look.c, session_fill.c and session_write.c.  Thread: the worker's.
 */
#include "proxy/session_cache.h"

#include "base/check.h"
#include "base/mem.h"

#define AGAIN_US 1000  /* for what ends on another worker */
#define RIDES_MAX 2    /* queries of others that a request waits for */
#define VAIN_TIMES 10  /* as long as somebody has waited in vain */
#define SECOND_US 3000 /* Redis is asked how it stands, by one reader of a key and worker */

struct session_await {
    struct list link;
    struct session_cached *of;     /* borrowed: its owner */
    struct cache_flight *flight;   /* owned */
    struct session_await_for what; /* key: the one below */
    struct cache_key key;
    bool waits;   /* otherwise its owner is about to look */
    usec_t until; /* what is asked of Redis is asked again then */
};

static struct session_cache *cache_of(const struct session_cached *x)
{
    return x->client->conn.worker->cache;
}

static usec_t now_of(const struct session_cache *sc)
{
    return sc->worker->now;
}

bool session_await_ride(struct session_cached *x)
{
    if (x->rides == RIDES_MAX)
        return false;
    x->rides++;
    return true;
}

static struct session_vain *vain_of(struct session_cache *sc, const struct cache_key *key)
{
    return &sc->vain[key->hash % SESSION_VAIN];
}

static bool is_vain(struct session_cache *sc, const struct cache_key *key)
{
    const struct session_vain *v = vain_of(sc, key);
    return v->hash == key->hash && now_of(sc) < v->until;
}

/* So that what takes long costs one reader of a worker its patience now and then, not each. */
static void was_vain(struct session_cache *sc, const struct cache_key *key)
{
    *vain_of(sc, key) = (struct session_vain){
        .hash = key->hash, .until = now_of(sc) + VAIN_TIMES * sc->config->opt.wait};
}

/* ---- those who wait -------------------------------------------------------------------------- */

static struct session_cached *cached_of(struct cache_waiter *w)
{
    return container_of(w, struct session_cached, waiter);
}

void session_await_wake(struct list *woken, struct cache_entry *e)
{
    struct list *l;
    while ((l = list_pop_front(woken)) != NULL) {
        struct session_cached *x = cached_of(container_of(l, struct cache_waiter, node));
        session_look_alone(x->client);
        if (e != NULL)
            x->given = cache_entry_get(e);
    }
}

void session_await_land(struct session_cache *sc, struct cache_flight **flight)
{
    struct list woken;
    list_init(&woken);
    cache_flight_land(&sc->flights, flight, &woken);
    session_await_wake(&woken, NULL);
}

/* Frees; its flight is the caller's. */
static struct cache_flight *take_flight(struct session_cached *x)
{
    struct session_await *a = x->await;
    struct cache_flight *flight = a->flight;
    x->await = NULL;
    list_remove(&a->link);
    mem_free(a);
    return flight;
}

void session_await_end(struct session_cached *x)
{
    if (x->await == NULL)
        return;
    struct cache_flight *flight = take_flight(x);
    session_await_land(cache_of(x), &flight);
}

struct cache_flight *session_await_lead(struct session_cached *x, const struct cache_key *key)
{
    if (x->await == NULL)
        return NULL;
    if (cache_flight_is_of(x->await->flight, key))
        return take_flight(x);
    session_await_end(x);
    return NULL;
}

void session_await_pause(struct session_cached *x)
{
    if (x->await != NULL)
        x->await->waits = false;
}

/* ---- to wait --------------------------------------------------------------------------------- */

/* flight NULL: others may have one. Returns NULL when x waits for that. */
static struct session_await *begin(struct session_cache *sc, struct session_cached *x,
                                   const struct session_await_for *f, struct cache_flight *flight)
{
    if (flight == NULL)
        flight = cache_flight_join(&sc->flights, f->key, &x->waiter);
    if (flight == NULL)
        return NULL;
    struct session_await *a = mem_new(sizeof(*a));
    a->of = x;
    a->flight = flight;
    a->what = *f;
    cache_key_copy(&a->key, f->key);
    a->what.key = &a->key;
    list_init(&a->link);
    list_push_back(&sc->awaits, &a->link);
    return a;
}

/* Whether it is worth while, and x has patience left. */
static bool may_wait(struct session_cache *sc, struct session_cached *x,
                     const struct session_await_for *f, bool leads)
{
    if (sc->config->opt.wait == 0 || is_vain(sc, f->key) ||
        (!f->second && !cache_l1_ends_soon(sc->l1, f->scope, f->key, now_of(sc))))
        return false;
    if (x->patience == 0)
        x->patience = now_of(sc) + sc->config->opt.wait;
    if (now_of(sc) < x->patience)
        return true;
    if (leads) /* it has watched it for so long */
        was_vain(sc, f->key);
    return false;
}

bool session_await(struct session_cache *sc, struct session_cached *x,
                   const struct session_await_for *f, struct cache_flight *flight)
{
    if (!may_wait(sc, x, f, flight != NULL || x->await != NULL)) {
        if (flight != NULL)
            session_await_land(sc, &flight);
        return false;
    }
    if (flight == NULL)
        flight = session_await_lead(x, f->key);
    x->await = begin(sc, x, f, flight);
    x->waits = x->await == NULL;
    if (x->await != NULL) {
        x->await->waits = true;
        x->await->until = MIN(now_of(sc) + SECOND_US, x->patience);
        if (!timeout_running(&sc->look_again))
            worker_timeout(sc->worker, &sc->look_again, AGAIN_US);
    }
    client_set_state(x->client, CL_CACHE);
    return true;
}

bool session_await_pass_on(struct session_cache *sc, const struct session_await_for *f,
                           struct cache_flight *flight)
{
    struct cache_waiter *w = cache_flight_next(flight);
    if (w == NULL)
        return false;
    struct session_cached *x = cached_of(w);
    x->await = begin(sc, x, f, flight);
    session_look_alone(x->client);
    return true;
}

/* ---- to look again --------------------------------------------------------------------------- */

static bool is_due(const struct session_cache *sc, const struct session_await *a)
{
    const struct session_await_for *f = &a->what;
    if (!a->waits)
        return false;
    if (f->second)
        return now_of(sc) >= a->until;
    return now_of(sc) >= a->of->patience ||
           !cache_l1_ends_soon(sc->l1, f->scope, f->key, now_of(sc));
}

void session_await_look(struct session_cache *sc)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &sc->awaits) {
        struct session_await *a = container_of(it, struct session_await, link);
        if (!is_due(sc, a))
            continue;
        a->waits = false;
        session_look_alone(a->of->client);
    }
}

static void on_time(struct timeout *t)
{
    struct session_cache *sc = container_of(t, struct session_cache, look_again);
    session_await_look(sc);
    if (!list_empty(&sc->awaits))
        worker_timeout(sc->worker, &sc->look_again, AGAIN_US);
}

void session_await_init(struct session_cache *sc)
{
    list_init(&sc->awaits);
    timeout_init(&sc->look_again, on_time);
}

void session_await_fini(struct session_cache *sc)
{
    CHECK(list_empty(&sc->awaits));
    timeout_stop(&sc->look_again);
}
