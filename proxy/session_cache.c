/* session_cache.c - a worker's view of the result cache: rules, databases, upkeep; see
 * session_cache.h. */
#include "proxy/session_cache.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/mem.h"
#include "protocol/auth/digest.h"
#include "proxy/config/config_cache.h"

#include <stdatomic.h>

static struct session_binding *binding_of(struct list *l)
{
    return container_of(l, struct session_binding, link);
}

static void on_redis(struct worker *w)
{
    if (w->index == 0)
        member_connected(w, redis_server(w->cache->redis));
    session_intent_clear(w->cache);
}

struct session_cache *session_cache_new(struct worker *w)
{
    struct session_cache *sc = mem_new(sizeof(*sc));
    if (w->index == 0)
        w->process->member = member_new();
    sc->l1 = w->process->answers;
    sc->worker = w;
    sc->memo = cache_deps_memo_new();
    sc->redis = redis_new(w, on_redis);
    list_init(&sc->acks);
    list_init(&sc->left);
    timeout_init(&sc->again, session_intent_again);
    cache_flight_init(&sc->flights);
    session_await_init(sc);
    list_init(&sc->bindings);
    return sc;
}

static void binding_free(struct session_binding *b)
{
    cache_deps_put(&b->bound);
    cache_rule_set_put(&b->set);
    mem_free(b->counts);
    mem_free(b->dbname);
    mem_free(b);
}

void session_cache_free(struct session_cache **scp)
{
    struct session_cache *sc = *scp;
    struct process *p = sc->worker->process;
    struct list *l;
    if (sc->worker->index == 0)
        member_leave(sc->worker);
    session_ack_drop_all(sc);
    *scp = NULL;
    while ((l = list_pop_front(&sc->bindings)) != NULL)
        binding_free(binding_of(l));
    redis_free(&sc->redis);
    if (sc->worker->index + 1 == p->nworkers)
        member_free(&p->member); /* workers end in their order */
    cache_deps_memo_free(&sc->memo);
    session_await_fini(sc);
    cache_flight_fini(&sc->flights);
    config_cache_put(&sc->config);
    mem_free(sc);
}

/* ---- databases ------------------------------------------------------------------------------- */

static struct session_binding *find(struct session_cache *sc, const struct db_shared *db)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &sc->bindings)
        if (binding_of(it)->db == db)
            return binding_of(it);
    return NULL;
}

/* Rules that keep their name keep what was counted. */
static void carry_counts(struct session_binding *b, struct cache_rules *set)
{
    int n = cache_rule_count(set);
    struct session_counts *counts = mem_new((size_t)MAX(n, 1) * sizeof(*counts));
    for (int i = 0; i < n && b->set != NULL; i++) {
        const struct cache_rule *was = cache_rule_named(b->set, cache_rule_at(set, i)->name);
        if (was != NULL)
            counts[i] = b->counts[was->index];
    }
    mem_free(b->counts);
    b->counts = counts;
}

/* What the catalog, which may be NULL, now says of the rules now in force. */
static void bind_to(struct session_cache *sc, struct session_binding *b, struct catalog *catalog)
{
    struct cache_rules *set = sc->config->set;
    if (b->set != set) {
        carry_counts(b, set);
        cache_rule_set_put(&b->set);
        b->set = cache_rule_set_get(set);
    }
    cache_deps_put(&b->bound);
    if (catalog != NULL)
        b->bound = cache_deps_bind(set, catalog);
    for (int i = 0; i < cache_rule_count(set); i++)
        b->scopes[i] = cache_l1_scope(sc->l1, str_of(b->dbname), cache_rule_at(set, i)->name);
}

/* The catalog is to be asked for soon. */
static void look_anew(struct db_shared *db)
{
    atomic_store_explicit(&db->shared.catalog_stale, true, memory_order_relaxed);
}

static const struct catalog *catalog_of(const struct session_binding *b)
{
    return b->bound != NULL ? cache_deps_catalog(b->bound) : NULL;
}

/* Two databases of one name, or behind entries of one name, are two: answers of one must not be
 * taken for the other's by who shares Redis. */
static void note_place(struct session_binding *b, const struct config_database *db)
{
    struct buf text;
    buf_init(&text, SIZE_MAX);
    buf_put_z(&text, b->db->name);
    buf_put_z(&text, b->dbname);
    for (size_t i = 0; i < db->nhosts; i++)
        buf_printf(&text, "%s:%d,", db->hosts[i].host, db->hosts[i].port);
    digest_sha256(buf_data(&text), buf_len(&text), b->place);
    buf_fini(&text);
}

static struct session_binding *binding_for(struct session_cache *sc, const struct pool *p)
{
    struct db_shared *db = p->shared->db;
    struct session_binding *b = find(sc, db);
    const char *dbname = db->name;
    if (p->gone && b != NULL) /* its entry is no more */
        dbname = b->dbname;
    else if (!p->gone && p->db->dbname != NULL)
        dbname = p->db->dbname;
    if (b == NULL) {
        b = mem_new(sizeof(*b));
        b->db = db;
        list_init(&b->link);
        list_push_back(&sc->bindings, &b->link);
    }
    struct catalog *now = registry_catalog(p->worker->process->registry, db);
    bool same_name = b->dbname != NULL && strcmp(b->dbname, dbname) == 0;
    if (!same_name) {
        mem_free(b->dbname);
        b->dbname = str_dup(str_of(dbname));
    }
    if (!p->gone)
        note_place(b, p->entry);
    if (!same_name || catalog_of(b) != now || b->set != sc->config->set)
        bind_to(sc, b, now);
    if (now != NULL && !catalog_has_details(now))
        look_anew(db); /* it was asked for before there were rules */
    if (now != NULL)
        catalog_put(&now);
    return b;
}

void session_cache_bind(struct pool *p)
{
    struct session_cache *sc = p->worker->cache;
    p->cache = NULL;
    if (sc->config->nrules > 0 && p->worker->wire->answers != NULL && p->replication[0] == '\0' &&
        !p->probes)
        p->cache = binding_for(sc, p);
}

bool session_cache_current(const struct session_binding *b)
{
    struct db_shared *db = b->db;
    uint32_t known = atomic_load_explicit(&db->shared.catalog_definitions, memory_order_acquire);
    uint32_t needed = atomic_load_explicit(&db->shared.reshaped, memory_order_acquire);
    return b->bound != NULL && (int32_t)(known - needed) >= 0 &&
           cache_deps_catalog(b->bound) ==
               atomic_load_explicit(&db->shared.catalog, memory_order_acquire);
}

/* ---- rules ----------------------------------------------------------------------------------- */

bool session_cache_ready(const struct session_cache *sc)
{
    return atomic_load_explicit(&sc->config->shared.in_force, memory_order_acquire);
}

bool session_cache_alone(const struct worker *w)
{
    const struct process *p = w->process;
    return !atomic_load_explicit(&p->shared.predecessor, memory_order_acquire) &&
           !atomic_load_explicit(&p->shared.upgrading, memory_order_acquire);
}

void session_cache_drop(struct pool *p)
{
    const struct session_binding *b = p->cache;
    struct session_cache *sc = p->worker->cache;
    for (int i = 0; b != NULL && i < cache_rule_count(b->set); i++) {
        cache_l1_drop(sc->l1, b->scopes[i], NULL);
        if (sc->config->redis.host != NULL)
            session_redis_drop_scope(sc, b->scopes[i]);
    }
}

void session_cache_retarget(struct pool *p)
{
    if (p->cache == NULL)
        return;
    registry_reshaped(p->worker->process->registry);
    session_cache_drop(p);
}

/* What is in Redis, on each worker. */
static void forget(struct worker *w, void *arg)
{
    struct session_cache *sc = w->cache;
    struct list *it, *tmp;
    (void)arg;
    if (sc->config->redis.host == NULL)
        return;
    LIST_EACH(it, tmp, &sc->bindings) {
        const struct session_binding *b = binding_of(it);
        for (int i = 0; i < cache_rule_count(b->set); i++)
            session_redis_drop_rule(sc, b, i);
    }
}

void session_cache_forget(struct process *p)
{
    if (p->answers != NULL)
        cache_l1_drop_all(p->answers);
    if (p->member != NULL)
        member_void(p->member);
    for (unsigned i = 0; i < p->nworkers; i++)
        if (p->workers[i] != NULL)
            worker_post_call(p->workers[i], forget, NULL);
}

/* Writes are recorded otherwise, or elsewhere, by next: others must not go by what they see of
 * cfg. */
static bool records_otherwise(const struct config_cache *cfg, const struct config_cache *next)
{
    return cfg->leased && (!next->leased || strcmp(cfg->rules_name, next->rules_name) != 0 ||
                           strcmp(cfg->member, next->member) != 0 ||
                           strcmp(cfg->opt.prefix, next->opt.prefix) != 0 ||
                           strcmp(cfg->opt.store, next->opt.store) != 0);
}

void session_cache_retire(struct process *p, struct config_cache *cfg, struct config_cache *next)
{
    if (cfg == next)
        return;
    atomic_store_explicit(&cfg->shared.in_force, false, memory_order_release);
    if (!records_otherwise(cfg, next) || p->member == NULL)
        return;
    atomic_store_explicit(&next->shared.cut_off, true, memory_order_release);
    member_cut_off(p->member);
}

void session_cache_step_aside(struct process *p)
{
    if (p->member != NULL)
        member_cut_off(p->member);
}

void session_cache_step_back(struct process *p)
{
    if (p->member != NULL)
        member_resume(p->member);
}

/* All workers go by cfg. What was kept under other rules goes: some of it was not watched. */
static void put_in_force(struct session_cache *sc, struct config_cache *cfg)
{
    cache_l1_resize(sc->l1, (size_t)cfg->opt.memory);
    cache_l1_drop_all(sc->l1);
    member_adopt(sc->worker->process->member, cfg);
    if (atomic_exchange(&cfg->shared.cut_off, false))
        member_resume(sc->worker->process->member);
    atomic_store_explicit(&cfg->shared.in_force, true, memory_order_release);
}

void session_cache_adopt(struct worker *w)
{
    struct session_cache *sc = w->cache;
    struct config_cache *cfg = worker_config(w)->cache;
    struct list *it, *tmp;
    if (sc->config == cfg)
        return;
    config_cache_put(&sc->config);
    sc->config = config_cache_get(cfg);
    LIST_EACH(it, tmp, &w->pool_list) {
        struct pool *p = container_of(it, struct pool, link);
        session_cache_bind(p);
        look_anew(p->shared->db); /* the rules may be about tables that are new as well */
    }
    LIST_EACH(it, tmp, &w->servers)
        session_write_unknown(container_of(it, struct server, all));
    if (atomic_fetch_add(&cfg->shared.adopted, 1) + 1 == w->process->nworkers)
        put_in_force(sc, cfg);
    redis_configure(sc->redis, cfg);
    if (w->index == 0)
        member_configure(w);
}

void session_cache_client_free(struct client *c)
{
    struct session_cached *k = c->cached;
    if (k == NULL)
        return;
    DCHECK(k->fill == NULL && !k->waits && k->second.entry == NULL && k->await == NULL &&
           k->given == NULL);
    session_redis_fini(k);
    varset_put(&k->vars);
    varset_put(&k->told);
    mem_free(k);
    c->cached = NULL;
}
