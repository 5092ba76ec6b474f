/* session_fill.c - the answer to a query that missed, recorded on its way to the client and kept;
 * see session_cache.h.
 *
 * A fill belongs to its client until the request is sent, then to the flight.  It ends exactly
 * once, kept or not, and then the clients that had waited for it look again.
 */
#include "proxy/session_cache.h"

#include "base/check.h"
#include "base/mem.h"
#include "proxy/pool/pool_cluster.h"

struct session_fill {
    struct worker *worker;       /* borrowed */
    struct varset *told;         /* reference: what the client knew of its settings */
    struct config_cache *config; /* reference: its rules */
    const struct session_binding *binding;
    const struct cache_rule *rule; /* of config's set */
    struct cache_ticket ticket;
    struct cache_read read;      /* where the store is Redis, and */
    bool redis;                  /* it was asked */
    struct cache_flight *flight; /* owned; NULL: nobody else is told */
    bool passed_on;              /* and not kept */
    struct buf raw;              /* what the client was sent; failed: too much */
    struct cache_key key;
};

struct session_fill *session_fill_new(struct client *c, const struct session_binding *b,
                                      const struct cache_rule *rule, const struct cache_key *key)
{
    struct session_fill *x = mem_new(sizeof(*x));
    x->worker = c->conn.worker;
    x->config = config_cache_get(x->worker->cache->config);
    x->binding = b;
    x->rule = rule;
    x->told = varset_get(c->told);
    buf_init(&x->raw, rule->max_result + SESSION_ANSWER_EXTRA);
    cache_key_copy(&x->key, key);
    return x;
}

void session_fill_lead(struct session_fill *x, struct cache_ticket ticket,
                       struct cache_flight *flight)
{
    x->ticket = ticket;
    x->flight = flight;
}

void session_fill_read(struct session_fill *x, const struct cache_read *read)
{
    x->read = *read;
    x->redis = true;
}

void session_fill_pass_on(struct session_fill *x)
{
    x->passed_on = true;
}

void session_fill_sent(struct session_fill *x)
{
    if (x->flight != NULL)
        cache_flight_sent(x->flight);
}

void session_fill_record(struct session_fill *x, struct str bytes)
{
    if (!x->raw.failed)
        buf_put_str(&x->raw, bytes);
}

static struct cache_entry *make_entry(struct session_fill *x)
{
    struct wire_kept kept;
    if (x->raw.failed || !x->worker->wire->answers->read(buf_str(&x->raw), &kept) ||
        kept.rows.n > x->rule->max_result)
        return NULL;
    struct cache_entry_parts e = {.created_ms = clock_wall_us() / 1000,
                                  .rows = kept.nrows,
                                  .desc = kept.desc,
                                  .data = kept.rows,
                                  .complete = kept.complete,
                                  .stamp = x->read.generation};
    if (x->read.state == CACHE_READ_LEASED)
        cache_lease_stamp(&x->read, &e);
    cache_key_digest(&x->key, e.digest);
    return cache_entry_new(&e);
}

/* What is worth to be kept, or told to others. One reference; NULL: nothing. */
static struct cache_entry *entry_of(struct session_fill *x)
{
    const struct session_cache *sc = x->worker->cache;
    if (x->config != sc->config || !session_cache_ready(sc) || !session_cache_alone(x->worker))
        return NULL; /* other rules are coming, or another process */
    return make_entry(x);
}

/* What may be old is for nobody, neither here nor elsewhere. */
static bool keep_in_both(struct session_fill *x, const struct cache_l1_put *put)
{
    struct session_cache *sc = x->worker->cache;
    const struct session_redis_what what = {x->binding, x->rule, &x->key};
    bool local = x->rule->local_us > 0;
    bool kept = local && cache_l1_store(sc->l1, put);
    if (local && !kept && cache_l1_is_void(sc->l1, put))
        return false;
    return (x->redis && session_redis_store(sc, &what, &x->read, x->ticket, put->entry)) || kept;
}

static bool keep(struct session_fill *x, struct cache_entry *e)
{
    struct session_cache *sc = x->worker->cache;
    struct cache_l1_put put = {.scope = x->binding->scopes[x->rule->index],
                               .key = &x->key,
                               .ticket = x->ticket,
                               .entry = e,
                               .now = x->worker->now,
                               .ttl_us = x->rule->ttl_us};
    if (sc->config->redis.host == NULL)
        return cache_l1_store(sc->l1, &put);
    put.ttl_us = x->rule->local_us;
    return keep_in_both(x, &put);
}

/* Those who wait are told, or look again. e: what came of it, NULL: nothing. */
static void tell(struct session_fill *x, struct cache_entry *e, bool kept)
{
    struct session_cache *sc = x->worker->cache;
    struct list early;
    const struct session_await_for f = {.scope = x->binding->scopes[x->rule->index],
                                        .key = &x->key,
                                        .second = sc->config->redis.host != NULL};
    list_init(&early);
    cache_flight_answered(x->flight, &early);
    session_await_wake(&early, e);
    if (e == NULL || kept || !session_await_pass_on(sc, &f, x->flight))
        session_await_land(sc, &x->flight);
}

/* Frees. */
static void end(struct session_fill **xp, struct cache_entry *e, bool kept)
{
    struct session_fill *x = *xp;
    *xp = NULL;
    if (x->read.state == CACHE_READ_LEASED && x->config == x->worker->cache->config)
        session_redis_give(x->worker->cache, &x->key, &x->read); /* it was not stored */
    if (x->flight != NULL)
        tell(x, e, kept);
    config_cache_put(&x->config);
    varset_put(&x->told);
    buf_fini(&x->raw);
    mem_free(x);
}

void session_fill_drop(struct session_fill **xp)
{
    if (*xp != NULL)
        end(xp, NULL, false);
}

struct cache_flight *session_fill_cede(struct session_fill **xp)
{
    if (*xp == NULL)
        return NULL;
    struct cache_flight *flight = (*xp)->flight;
    (*xp)->flight = NULL;
    session_fill_drop(xp);
    return flight;
}

/* A replica may lack what was written before the ticket was taken. */
static bool on_primary(const struct server *s)
{
    const struct pool *home = s->pool->home;
    const struct topology *t = home != NULL && home->cluster != NULL ? home->cluster->topology
                                                                     : NULL;
    return home == NULL || (t != NULL && t->primary == s->pool->node);
}

bool session_fill_as_asked(const struct session_fill *x, const struct client *c)
{
    return x->told == c->told;
}

void session_fill_done(struct session_fill **xp, const struct server *s, bool ok)
{
    struct session_fill *x = *xp;
    struct cache_entry *e = ok && on_primary(s) ? entry_of(x) : NULL;
    bool kept = e != NULL && !x->passed_on && keep(x, e);
    if (!x->passed_on && x->config == x->worker->cache->config) {
        struct session_counts *n = &x->binding->counts[x->rule->index];
        n->fills += kept;
        n->refused += !kept;
    }
    end(xp, e, kept);
    cache_entry_put(&e);
}
