/* admin_cache.c - SHOW CACHE and CACHE FLUSH.
 *
 * A worker counts for itself and sees the databases that its clients use; rows of the same database
 * and rule are added up.  Thread: main, except what is gathered on the workers.
 */
#include "base/mem.h"
#include "proxy/admin/admin_work.h"
#include "proxy/session_cache.h"
#include "proxy/worker.h"

#include <stdlib.h>

/* ---- on workers ------------------------------------------------------------------------------ */

static void put_rows(struct session_cache *sc, const struct session_binding *b,
                     struct admin_part *part)
{
    size_t n = (size_t)cache_rule_count(b->set);
    part->cache = mem_resize(part->cache, (part->ncache + n + 1) * sizeof(*part->cache));
    for (size_t i = 0; i < n; i++) {
        const struct cache_bound_rule *bound = b->bound != NULL ? cache_deps_rule(b->bound, (int)i)
                                                                : NULL;
        struct admin_cache_row *row = &part->cache[part->ncache++];
        memset(row, 0, sizeof(*row));
        row->db = b->db;
        row->rule = (int)i;
        row->usable = bound != NULL && bound->usable;
        row->checked = session_cache_ready(sc) && session_cache_current(b);
        if (bound != NULL)
            memcpy(row->why, bound->why, sizeof(row->why));
        row->entries = (int64_t)cache_l1_entries(b->scopes[i]);
        row->bytes = (int64_t)cache_l1_bytes(b->scopes[i]);
        row->counts = b->counts[i];
    }
}

void admin_cache_collect(struct worker *w, struct admin_gather *g, struct admin_part *part)
{
    struct list *it, *tmp;
    (void)g;
    if (w->cache->config->nrules == 0)
        return;
    LIST_EACH(it, tmp, &w->cache->bindings) {
        const struct session_binding *b = container_of(it, struct session_binding, link);
        if (b->set == w->cache->config->set)
            put_rows(w->cache, b, part);
    }
}

/* ---- SHOW CACHE ------------------------------------------------------------------------------ */

static int by_place(const void *x, const void *y)
{
    const struct admin_cache_row *a = x, *b = y;
    int d = a->rule - b->rule;
    return d != 0 ? d : strcmp(a->db->name, b->db->name);
}

static void add(struct session_counts *into, const struct session_counts *n)
{
    uint64_t *to = (uint64_t *)into;
    const uint64_t *from = (const uint64_t *)n;
    for (size_t i = 0; i < sizeof(*into) / sizeof(*to); i++)
        to[i] += from[i];
}

struct admin_cache_row *admin_cache_merged(const struct admin_gather *g, size_t *n)
{
    size_t all = 0, kept = 0;
    for (unsigned i = 0; i < g->nparts; i++)
        all += g->parts[i].ncache;
    struct admin_cache_row *rows = mem_new((all + 1) * sizeof(*rows));
    all = 0;
    for (unsigned i = 0; i < g->nparts; i++)
        for (size_t k = 0; k < g->parts[i].ncache; k++)
            rows[all++] = g->parts[i].cache[k];
    qsort(rows, all, sizeof(*rows), by_place);
    for (size_t i = 0; i < all; i++) {
        if (kept > 0 && by_place(&rows[kept - 1], &rows[i]) == 0) {
            add(&rows[kept - 1].counts, &rows[i].counts);
            rows[kept - 1].checked = rows[kept - 1].checked && rows[i].checked;
        } else {
            rows[kept++] = rows[i];
        }
    }
    *n = kept;
    return rows;
}

const char *admin_cache_state(const struct config_cache_rule *rule, const struct admin_cache_row *r)
{
    if (rule->mode == CONFIG_CACHE_OFF)
        return "off";
    if (r == NULL)
        return "unused"; /* no client of any database yet */
    if (!r->checked)
        return "unchecked";
    return r->usable ? "ready" : "refused";
}

static void put_bypasses(struct buf *b, const struct session_counts *n)
{
    struct buf text;
    buf_init(&text, 4096);
    for (int i = CACHE_BYPASS_NONE + 1; i < CACHE_BYPASS_COUNT; i++)
        if (n->bypass[i] > 0)
            buf_printf(&text, "%s%s=%llu", buf_len(&text) > 0 ? " " : "",
                       cache_gate_word((enum cache_bypass)i), (unsigned long long)n->bypass[i]);
    admin_reply_str(b, buf_len(&text) > 0 ? buf_str(&text) : STR(""));
    buf_fini(&text);
}

/* Where the rule's answers are; the first level first. */
static const char *places(bool redis, const struct config_cache_rule *rule)
{
    if (redis)
        return rule->local_ttl > 0 ? "memory, redis" : "redis";
    return rule->mode == CONFIG_CACHE_LEASE ? "memory, exclusive" : "memory";
}

static void put_row(struct buf *b, bool redis, const struct config_cache_rule *rule,
                    const struct admin_cache_row *r)
{
    static const struct session_counts none;
    const struct session_counts *n = r != NULL ? &r->counts : &none;
    uint64_t asked = n->hits + n->misses;
    admin_reply_text(b, rule->name);
    if (r != NULL)
        admin_reply_text(b, r->db->name);
    else
        admin_reply_null(b);
    admin_reply_text(b, config_cache_mode_name(rule->mode));
    admin_reply_text(b, places(redis, rule));
    admin_reply_text(b, admin_cache_state(rule, r));
    if (redis && rule->local_ttl == 0) /* it alone knows */
        admin_reply_null(b);
    else
        admin_reply_int(b, r != NULL ? r->entries : 0);
    admin_reply_int(b, (int64_t)n->hits);
    admin_reply_int(b, (int64_t)n->misses);
    admin_reply_printf(b, "%.4f", asked > 0 ? (double)n->hits / (double)asked : 0.0);
    admin_reply_int(b, (int64_t)n->waits);
    admin_reply_int(b, (int64_t)n->fills);
    admin_reply_int(b, (int64_t)n->refused);
    admin_reply_int(b, (int64_t)n->invalidations);
    put_bypasses(b, n);
    admin_reply_text(b, r != NULL ? r->why : "");
    admin_reply_int(b, (int64_t)n->local_hits);
}

static void finish_show(struct admin_gather *g)
{
    const struct config_cache *cfg = admin_config(g->admin)->cache;
    struct buf *b = &g->reply->rows;
    bool redis = cfg->redis.host != NULL;
    size_t n, at = 0;
    struct admin_cache_row *rows = admin_cache_merged(g, &n);
    for (size_t i = 0; i < cfg->nrules; i++) {
        bool any = false;
        for (; at < n && rows[at].rule == (int)i; at++, any = true)
            put_row(b, redis, cfg->rules[i], &rows[at]);
        if (!any)
            put_row(b, redis, cfg->rules[i], NULL);
    }
    mem_free(rows);
    admin_answer(g->admin, g->reply);
    g->reply = NULL;
}

void admin_cache_show(struct admin *a, struct admin_reply *r)
{
    struct admin_gather *g = admin_gather_new(a, r);
    g->view = VIEW_CACHE;
    g->collect = admin_cache_collect;
    g->finish = finish_show;
    admin_gather_start(g);
}

/* ---- CACHE FLUSH ----------------------------------------------------------------------------- */

static void drop_key(struct session_cache *sc, struct cache_scope *scope,
                     const struct cache_key *key)
{
    cache_l1_drop(sc->l1, scope, key);
    if (sc->config->local)
        session_redis_remove(sc, scope, key);
}

static void drop_rule(struct session_cache *sc, const struct session_binding *b, int rule)
{
    cache_l1_drop(sc->l1, b->scopes[rule], NULL);
    if (sc->config->redis.host != NULL)
        session_redis_drop_rule(sc, b, rule);
}

/* What is to go: a rule, or a key of any rule; empty: everything. A database may be known to any of
 * the workers, so each of them tells Redis. */
static void flush(struct worker *w, struct admin_gather *g, struct admin_part *part)
{
    struct str what = str_of(g->reply->cmd.value);
    struct list *it, *tmp;
    bool redis = w->cache->config->redis.host != NULL;
    LIST_EACH(it, tmp, &w->cache->bindings) {
        const struct session_binding *b = container_of(it, struct session_binding, link);
        struct cache_rules *set = b->set;
        const struct cache_rule *named = cache_rule_named(set, what);
        for (int i = 0; i < cache_rule_count(set); i++) {
            struct cache_key key;
            if (what.n == 0 || named == cache_rule_at(set, i))
                drop_rule(w->cache, b, i);
            else if (named == NULL && cache_key_of_name(cache_rule_at(set, i), what, &key))
                drop_key(w->cache, b->scopes[i], &key);
        }
    }
    bool is_key = what.n > 0 && cache_rule_named(w->cache->config->set, what) == NULL;
    const struct cache_key bare = {.name = what}; /* it need not be of a database known here */
    if (redis && is_key && w->index == 0)
        session_redis_remove(w->cache, NULL, &bare);
    part->counts.found += redis && !redis_is_up(w->cache->redis);
}

static void finish_flush(struct admin_gather *g)
{
    int64_t unheard = 0;
    for (unsigned i = 0; i < g->nparts; i++)
        unheard += g->parts[i].counts.found;
    if (unheard == 0)
        admin_answer(g->admin, g->reply);
    else
        admin_answer_error(g->admin, g->reply, "Redis cannot be reached, it may keep its answers");
    g->reply = NULL;
}

void admin_cache_flush(struct admin *a, struct admin_reply *r)
{
    struct admin_gather *g = admin_gather_new(a, r);
    g->collect = flush;
    g->finish = finish_flush;
    admin_gather_start(g);
}
