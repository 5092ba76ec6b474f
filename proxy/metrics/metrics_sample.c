/* metrics_sample.c - one question to all workers, and what the main thread knows; see
 * metrics_sample.h.  Thread: main, but for reference counts. */
#include "proxy/metrics/metrics_sample.h"

#include "base/mem.h"
#include "base/refs.h"
#include "proxy/worker.h"

#include <stdatomic.h>
#include <stdlib.h>

struct question {
    enum metrics_use use;
    void (*done)(void *arg, struct metrics_sample *s);
    void *arg;
};

/* ---- what the main thread knows -------------------------------------------------------------- */

struct growing {
    void *list; /* owned array */
    size_t n, cap;
};

static void *grow(struct growing *g, size_t size)
{
    if (g->n == g->cap) {
        g->cap = MAX(g->cap * 2, (size_t)32);
        g->list = mem_resize(g->list, g->cap * size);
    }
    return (char *)g->list + g->n++ * size;
}

static void add_database(void *arg, struct db_shared *d)
{
    struct metrics_database *m = grow(arg, sizeof(*m));
    uint32_t hold = atomic_load_explicit(&d->shared.hold, memory_order_relaxed);
    *m = (struct metrics_database){
        .name = d->name,
        .servers = atomic_load_explicit(&d->shared.servers, memory_order_relaxed),
        .clients = atomic_load_explicit(&d->shared.clients, memory_order_relaxed),
        .paused = (hold & DB_PAUSED) != 0,
        .disabled = (hold & DB_DISABLED) != 0};
}

static void add_user(void *arg, struct user_shared *u)
{
    struct metrics_user *m = grow(arg, sizeof(*m));
    *m = (struct metrics_user){
        .name = u->name,
        .servers = atomic_load_explicit(&u->shared.servers, memory_order_relaxed),
        .clients = atomic_load_explicit(&u->shared.clients, memory_order_relaxed)};
}

/* Control connections of clusters are nobody's pool: what they find out is told of the nodes. */
static void fill_pools(struct metrics_sample *s, const struct admin_gather *g, enum metrics_use use)
{
    size_t n;
    s->pools = use == METRICS_FOR_SCRAPE ? admin_gather_counted(g, &n) : admin_gather_pools(g, &n);
    for (size_t i = 0; i < n; i++) {
        if (s->pools[i].probes)
            continue;
        if (s->npools < i)
            s->pools[s->npools] = s->pools[i];
        s->npools++;
    }
}

static int by_database(const void *x, const void *y)
{
    return strcmp(((const struct metrics_database *)x)->name,
                  ((const struct metrics_database *)y)->name);
}

static int by_user(const void *x, const void *y)
{
    return strcmp(((const struct metrics_user *)x)->name, ((const struct metrics_user *)y)->name);
}

static void fill_databases(struct metrics_sample *s, struct registry *r, const struct config *cfg)
{
    struct growing g = {NULL, 0, 0};
    registry_each_db(r, add_database, &g);
    s->databases = g.list;
    for (size_t i = 0; i < g.n; i++) {
        struct metrics_database *d = &s->databases[i];
        const struct config_database *entry = config_find_database(cfg, str_of(d->name));
        if (entry == NULL && d->servers == 0 && d->clients == 0)
            continue; /* removed, and left by all */
        if (entry != NULL) {
            d->server_limit = config_max_db_connections(cfg, entry);
            d->client_limit = config_max_db_client_connections(cfg, entry);
        }
        s->databases[s->ndatabases++] = *d;
    }
    if (s->ndatabases > 0)
        qsort(s->databases, s->ndatabases, sizeof(*s->databases), by_database);
}

static void fill_users(struct metrics_sample *s, struct registry *r)
{
    struct growing g = {NULL, 0, 0};
    registry_each_user(r, add_user, &g);
    s->users = g.list;
    s->nusers = g.n;
    if (s->nusers > 0)
        qsort(s->users, s->nusers, sizeof(*s->users), by_user);
}

static void fill_totals(struct metrics_totals *t, const struct process *p,
                        const struct config_options *o)
{
    t->clients = atomic_load_explicit(&p->shared.clients, memory_order_relaxed);
    t->client_limit = o->max_client_conn;
    t->buffer_bytes = (int64_t)atomic_load_explicit(&p->shared.buffer_bytes, memory_order_relaxed);
    t->buffer_limit = o->max_buffer_memory;
    t->paused = atomic_load(&p->shared.paused);
    t->suspended = atomic_load(&p->shared.suspended);
    t->draining = process_phase(p) != PHASE_RUN;
    t->started_wall = p->started_wall;
}

/* ---- the result cache ------------------------------------------------------------------------ */

static void fill_rule(struct metrics_cache *to, const struct config_cache *cfg,
                      const struct admin_cache_row *r)
{
    const struct config_cache_rule *rule = cfg->rules[r->rule];
    *to = (struct metrics_cache){.database = r->db->name,
                                 .rule = str_dup(str_of(rule->name)),
                                 .wanted = rule->mode != CONFIG_CACHE_OFF,
                                 .in_memory = cfg->redis.host == NULL || rule->local_ttl > 0,
                                 .entries = r->entries,
                                 .bytes = r->bytes,
                                 .counts = r->counts};
    to->in_force = to->wanted && r->checked && r->usable;
    to->refused = to->wanted && r->checked && !r->usable;
    memcpy(to->why, r->why, sizeof(to->why));
}

static void fill_cache(struct metrics_sample *s, const struct admin_gather *g,
                       const struct config_cache *cfg)
{
    size_t n;
    struct admin_cache_row *rows = admin_cache_merged(g, &n);
    s->cache = mem_new((n + 1) * sizeof(*s->cache));
    for (size_t i = 0; i < n; i++) /* a worker may go by older rules still, which were more */
        if ((size_t)rows[i].rule < cfg->nrules)
            fill_rule(&s->cache[s->ncache++], cfg, &rows[i]);
    mem_free(rows);
    s->store.used = cfg->nrules > 0 && (cfg->redis.host == NULL || cfg->local);
    if (!s->store.used || g->admin->process->answers == NULL)
        return;
    struct cache_l1_counts in;
    cache_l1_counts(g->admin->process->answers, &in);
    s->store.entries = (int64_t)in.entries;
    s->store.bytes = (int64_t)in.bytes;
    s->store.limit = cfg->opt.memory;
    s->store.evicted = (int64_t)in.evicted;
}

/* ---- asking ---------------------------------------------------------------------------------- */

static void fill_statements(struct metrics_sample *s, struct admin_gather *g)
{
    size_t n;
    struct admin_statement *rows = admin_statements_merged(g, &n);
    s->nstatements = MIN(n, (size_t)METRICS_STATEMENTS);
    s->statements = mem_new((s->nstatements + 1) * sizeof(*s->statements));
    for (size_t i = 0; i < s->nstatements; i++) {
        const struct statement *x = &rows[i].s;
        s->statements[i] = (struct metrics_statement){
            .database = x->key.db->name,
            .host = x->key.host != NULL ? x->key.host : "",
            .digest = x->key.digest,
            .calls = x->calls,
            .cached = x->cached,
            .errors = x->errors,
            .rows = x->rows,
            .total_us = x->total_us,
            .wait_us = x->wait_us,
            .p95_us = MIN(sketch_quantile(&x->times, 0.95), x->max_us),
            .max_us = x->max_us,
            .text = str_dup(x->text.p != NULL ? x->text : STR(""))};
    }
    mem_free(rows);
}

static void add_times(uint64_t (*into)[HISTOGRAM_BUCKETS], uint64_t (*from)[HISTOGRAM_BUCKETS])
{
    for (int i = 0; i < MEASURE_TIMES && from != NULL; i++)
        for (int k = 0; k < HISTOGRAM_BUCKETS; k++)
            into[i][k] += from[i][k];
}

static void gathered(struct admin_gather *g)
{
    struct question *q = g->arg;
    const struct process *p = g->admin->process;
    const struct config *cfg = admin_config(g->admin);
    struct metrics_sample *s = mem_new(sizeof(*s) + g->nparts * sizeof(s->workers[0]));
    refs_init(&s->refs);
    s->taken_wall = clock_wall_us();
    s->nworkers = g->nparts;
    for (unsigned i = 0; i < g->nparts; i++) {
        s->workers[i] = g->parts[i].counts;
        add_times(s->times, g->parts[i].times);
    }
    fill_pools(s, g, q->use);
    fill_databases(s, p->registry, cfg);
    fill_users(s, p->registry);
    fill_statements(s, g);
    fill_totals(&s->totals, p, config_globals(cfg));
    admin_nodes_take(g, &s->nodes);
    fill_cache(s, g, cfg->cache);
    q->done(q->arg, s);
}

static void collect(struct worker *w, struct admin_gather *g, struct admin_part *part)
{
    admin_live_pools(w, g, part);
    if (part->more)
        return;
    admin_nodes_collect(w, g, part);
    admin_cache_collect(w, g, part);
}

static void collect_all(struct worker *w, struct admin_gather *g, struct admin_part *part)
{
    collect(w, g, part);
    if (!part->more)
        admin_statements_collect(w, g, part);
}

void metrics_sample_take(struct admin *a, enum metrics_use use,
                         void (*done)(void *arg, struct metrics_sample *s), void *arg)
{
    struct admin_gather *g = admin_gather_new(a, NULL);
    struct question *q = mem_new(sizeof(*q));
    *q = (struct question){use, done, arg};
    g->arg = q;
    g->free_arg = mem_free;
    g->measures = true;
    g->collect = use == METRICS_FOR_PAGE ? collect_all : collect;
    g->finish = gathered;
    admin_gather_start(g);
}

struct metrics_sample *metrics_sample_get(struct metrics_sample *s)
{
    refs_get(&s->refs);
    return s;
}

void metrics_sample_put(struct metrics_sample **sp)
{
    struct metrics_sample *s = *sp;
    *sp = NULL;
    if (s == NULL || !refs_put(&s->refs))
        return;
    mem_free(s->pools);
    mem_free(s->databases);
    mem_free(s->users);
    admin_nodes_free(&s->nodes);
    for (size_t i = 0; i < s->ncache; i++)
        mem_free(s->cache[i].rule);
    mem_free(s->cache);
    for (size_t i = 0; i < s->nstatements; i++)
        mem_free(s->statements[i].text);
    mem_free(s->statements);
    mem_free(s);
}
