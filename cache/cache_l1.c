/* cache_l1.c - see cache_l1.h.
 *
 * A shard is a hash of lines; a line is one name with the variants (cells) below it.  Time is
 * counted in stamps: each invalidation in a shard takes the next one.  A line remembers the stamp
 * of its last invalidation, a ticket that of its lookup, and a store is refused when the line's is
 * the later.  What the line of a forgotten name may have remembered is kept in `forgotten`, for all
 * names of the shard.
 *
 * A scope has a generation and a count of open writes, both atomic: a cell is worth nothing once
 * its generation is not the scope's.  Order: a writer counts itself open, then moves the
 * generation; a reader loads the generation, then looks whether a write is open.
 */
#include "cache/cache_l1.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/random.h"
#include "cache/cache_l1_line.h"

#include <stdatomic.h>

#define SHARDS_MAX 64u
#define SHARD_BYTES_MIN ((size_t)1 << 20)
#define WASTED_MAX 3u /* so many stores in a row that were never used: the name is hot */
#define HOT_RETRY 16u /* of such a name one miss in so many is stored all the same */
#define BUCKETS_MIN 64u

struct cache_l1 {
    struct {
        _Atomic size_t shard_bytes;
        struct shard shards[SHARDS_MAX];
        pthread_mutex_t scopes_lock;
        struct cache_scope *scopes; /* owned list */
    } shared;
    uint32_t nshards; /* a power of two */
};

struct cache_l1 *cache_l1_new(size_t memory)
{
    struct cache_l1 *l1 = mem_new(sizeof(*l1));
    l1->nshards = 1;
    while (l1->nshards < SHARDS_MAX && memory / (2 * l1->nshards) >= SHARD_BYTES_MIN)
        l1->nshards *= 2;
    cache_l1_resize(l1, memory);
    CHECK(pthread_mutex_init(&l1->shared.scopes_lock, NULL) == 0);
    for (uint32_t i = 0; i < l1->nshards; i++) {
        struct shard *s = &l1->shared.shards[i];
        CHECK(pthread_mutex_init(&s->lock, NULL) == 0);
        s->nbuckets = BUCKETS_MIN;
        s->buckets = mem_new(s->nbuckets * sizeof(struct cache_line *));
        s->dice = random_u64();
        list_init(&s->recent);
    }
    return l1;
}

void cache_l1_resize(struct cache_l1 *l1, size_t memory)
{
    atomic_store_explicit(&l1->shared.shard_bytes, memory / l1->nshards, memory_order_relaxed);
}

static void lock(struct shard *s)
{
    CHECK(pthread_mutex_lock(&s->lock) == 0);
}

static void unlock(struct shard *s)
{
    CHECK(pthread_mutex_unlock(&s->lock) == 0);
}

/* ---- scopes ---------------------------------------------------------------------------------- */

struct cache_scope *cache_l1_scope(struct cache_l1 *l1, struct str database, struct str rule)
{
    CHECK(pthread_mutex_lock(&l1->shared.scopes_lock) == 0);
    struct cache_scope *s = l1->shared.scopes;
    while (s != NULL && !(str_eq(str_of(s->database), database) && str_eq(str_of(s->rule), rule)))
        s = s->next;
    if (s == NULL) {
        s = mem_new(sizeof(*s));
        s->database = str_dup(database);
        s->rule = str_dup(rule);
        s->seed = random_u64();
        s->next = l1->shared.scopes;
        l1->shared.scopes = s;
    }
    CHECK(pthread_mutex_unlock(&l1->shared.scopes_lock) == 0);
    return s;
}

void cache_l1_scope_names(const struct cache_scope *s, const char **database, const char **rule)
{
    *database = s->database;
    *rule = s->rule;
}

uint64_t cache_l1_entries(const struct cache_scope *s)
{
    return atomic_load_explicit(&s->shared.entries, memory_order_relaxed);
}

uint64_t cache_l1_bytes(const struct cache_scope *s)
{
    return atomic_load_explicit(&s->shared.bytes, memory_order_relaxed);
}

static bool scope_closed(const struct cache_scope *s, usec_t now)
{
    return atomic_load(&s->shared.open) > 0 || atomic_load(&s->shared.lost_until) > now;
}

/* ---- lines and cells, under the shard's lock ------------------------------------------------- */

static struct shard *shard_of(struct cache_l1 *l1, const struct cache_scope *scope,
                              const struct cache_key *key, uint64_t *hash)
{
    uint64_t parts[2] = {key->hash, scope->seed};
    *hash = hash_bytes(parts, sizeof(parts), 0);
    return &l1->shared.shards[(*hash >> 32) & (l1->nshards - 1)];
}

static bool line_closed(const struct cache_line *l, usec_t now)
{
    return l->open > 0 || l->lost_until > now;
}

/* ---- readers --------------------------------------------------------------------------------- */

/* The line is there and open for reading. */
static bool look_in(struct shard *s, struct cache_line *l, const struct cache_l1_ask *ask,
                    uint64_t generation, struct cache_entry **out)
{
    struct cell **at = cache_l1_line_cell(l, ask->key->identity);
    if (at == NULL)
        return false;
    if ((*at)->generation != generation || (*at)->expires <= ask->now) {
        cache_l1_line_drop_cell(s, l, at);
        return false;
    }
    if (ask->want_desc && (*at)->entry->desc.n == 0)
        return false;
    (*at)->used = l->used = true;
    l->wasted = 0;
    *out = cache_entry_get((*at)->entry);
    return true;
}

static bool is_hot(struct cache_line *l)
{
    return l->wasted >= WASTED_MAX && ++l->skipped % HOT_RETRY != 0;
}

enum cache_l1_result cache_l1_lookup(struct cache_l1 *l1, const struct cache_l1_ask *ask,
                                     struct cache_ticket *ticket, struct cache_entry **out)
{
    enum cache_l1_result res = CACHE_L1_MISS;
    uint64_t hash, generation = atomic_load(&ask->scope->shared.generation);
    struct shard *s = shard_of(l1, ask->scope, ask->key, &hash);
    *out = NULL;
    if (scope_closed(ask->scope, ask->now))
        return CACHE_L1_WRITE;
    lock(s);
    s->now = MAX(s->now, ask->now);
    struct cache_line *l = cache_l1_line_find(s, ask->scope, ask->key, hash);
    if (l != NULL) {
        if (line_closed(l, ask->now))
            res = CACHE_L1_WRITE;
        else if (look_in(s, l, ask, generation, out))
            res = CACHE_L1_HIT;
        else if (is_hot(l))
            res = CACHE_L1_HOT;
    }
    *ticket = (struct cache_ticket){
        .stamp = s->stamp, .generation = generation, .hot = res == CACHE_L1_HOT};
    unlock(s);
    return res;
}

static usec_t jitter(struct shard *s, usec_t ttl)
{
    s->dice = s->dice * 6364136223846793005u + 1442695040888963407u;
    return ttl - (usec_t)((s->dice >> 33) % (uint64_t)(ttl / 10 + 1));
}

static bool late(const struct shard *s, const struct cache_line *l, const struct cache_l1_put *put)
{
    uint64_t changed = l != NULL ? l->changed : s->forgotten;
    return changed > put->ticket.stamp || (l != NULL && line_closed(l, put->now)) ||
           atomic_load(&put->scope->shared.generation) != put->ticket.generation ||
           scope_closed(put->scope, put->now);
}

static struct cell *make_cell(const struct cache_l1_put *put)
{
    struct str identity = put->key->identity;
    struct cell *c = mem_try(sizeof(*c) + identity.n);
    if (c == NULL)
        return NULL;
    *c = (struct cell){.generation = put->ticket.generation, .n = identity.n};
    memcpy(c->identity, identity.p, identity.n);
    c->entry = cache_entry_get(put->entry);
    return c;
}

static void add_cell(struct shard *s, struct cache_line *l, struct cell *c)
{
    size_t n = sizeof(*c) + c->n + cache_entry_bytes(c->entry);
    c->next = l->cells;
    l->cells = c;
    l->bytes += n;
    s->bytes += n;
    s->ncells++;
    atomic_fetch_add_explicit(&l->scope->shared.entries, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&l->scope->shared.bytes, n, memory_order_relaxed);
}

/* Under the lock. */
static bool store(struct cache_l1 *l1, struct shard *s, const struct cache_l1_put *put,
                  uint64_t hash)
{
    size_t max = atomic_load_explicit(&l1->shared.shard_bytes, memory_order_relaxed);
    size_t n = sizeof(struct cell) + put->key->identity.n + cache_entry_bytes(put->entry);
    struct cache_line *l = cache_l1_line_find(s, put->scope, put->key, hash);
    if (late(s, l, put)) {
        s->refused++;
        if (l != NULL && l->wasted < WASTED_MAX)
            l->wasted++;
        return false;
    }
    size_t line = l == NULL ? sizeof(*l) + put->key->name.n : 0;
    if (n + line > max / 4 || !cache_l1_line_make_room(s, n + line, max, l))
        return false;
    /* Making room may have raised `forgotten`; what this ticket says of its own line still
     * holds. */
    struct cell *c = make_cell(put);
    if (c == NULL)
        return false;
    if (l == NULL) {
        l = cache_l1_line_make(s, put->scope, put->key, hash);
        l->changed = MIN(l->changed, put->ticket.stamp);
    }
    struct cell **old = cache_l1_line_cell(l, put->key->identity);
    if (old != NULL)
        cache_l1_line_drop_cell(s, l, old);
    c->expires = put->now + jitter(s, put->ttl_us);
    add_cell(s, l, c);
    return true;
}

bool cache_l1_store(struct cache_l1 *l1, const struct cache_l1_put *put)
{
    uint64_t hash;
    struct shard *s = shard_of(l1, put->scope, put->key, &hash);
    if (put->ticket.hot)
        return false;
    lock(s);
    s->now = MAX(s->now, put->now);
    bool ok = store(l1, s, put, hash);
    unlock(s);
    return ok;
}

bool cache_l1_is_void(struct cache_l1 *l1, const struct cache_l1_put *put)
{
    uint64_t hash;
    struct shard *s = shard_of(l1, put->scope, put->key, &hash);
    lock(s);
    bool is = late(s, cache_l1_line_find(s, put->scope, put->key, hash), put);
    unlock(s);
    return is;
}

/* ---- writers --------------------------------------------------------------------------------- */

/* What is there is void, and so is every ticket given out so far. */
static void invalidate(struct shard *s, struct cache_line *l)
{
    bool unused = l->cells != NULL;
    for (const struct cell *c = l->cells; c != NULL; c = c->next)
        unused &= !c->used;
    if (unused && l->wasted < WASTED_MAX)
        l->wasted++;
    l->changed = ++s->stamp;
    cache_l1_line_drop_cells(s, l);
}

void cache_l1_write_begin(struct cache_l1 *l1, struct cache_scope *scope,
                          const struct cache_key *key, struct cache_write *w)
{
    uint64_t hash;
    *w = (struct cache_write){.scope = scope};
    if (key == NULL) {
        atomic_fetch_add(&scope->shared.open, 1);
        atomic_fetch_add(&scope->shared.generation, 1);
        return;
    }
    struct shard *s = shard_of(l1, scope, key, &hash);
    w->shard = (uint32_t)(s - l1->shared.shards);
    lock(s);
    struct cache_line *l = cache_l1_line_find(s, scope, key, hash);
    if (l == NULL)
        l = cache_l1_line_make(s, scope, key, hash);
    if (l->open++ == 0)
        list_remove(&l->recent);
    invalidate(s, l);
    unlock(s);
    w->line = l;
}

/* until 0: it has ended. */
static void end_line(struct cache_l1 *l1, struct cache_write *w, usec_t until)
{
    struct shard *s = &l1->shared.shards[w->shard];
    struct cache_line *l = w->line;
    lock(s);
    CHECK(l->open > 0);
    invalidate(s, l);
    l->lost_until = MAX(l->lost_until, until);
    if (--l->open == 0) {
        list_push_front(&s->recent, &l->recent);
        (void)cache_l1_line_make_room(s, 0, atomic_load(&l1->shared.shard_bytes), NULL);
    }
    unlock(s);
}

static void end_scope(struct cache_scope *scope, usec_t until)
{
    int64_t was = atomic_load(&scope->shared.lost_until);
    while (until > was && !atomic_compare_exchange_weak(&scope->shared.lost_until, &was, until)) {
    }
    atomic_fetch_add(&scope->shared.generation, 1);
    uint64_t before = atomic_fetch_sub(&scope->shared.open, 1);
    CHECK(before > 0);
}

void cache_l1_write_lost(struct cache_l1 *l1, struct cache_write *w, usec_t until)
{
    if (w->line != NULL)
        end_line(l1, w, until);
    else
        end_scope(w->scope, until);
    *w = (struct cache_write){0};
}

void cache_l1_write_end(struct cache_l1 *l1, struct cache_write *w)
{
    cache_l1_write_lost(l1, w, 0);
}

void cache_l1_drop(struct cache_l1 *l1, struct cache_scope *scope, const struct cache_key *key)
{
    struct cache_write w;
    cache_l1_write_begin(l1, scope, key, &w);
    cache_l1_write_end(l1, &w);
}

bool cache_l1_ends_soon(struct cache_l1 *l1, const struct cache_scope *scope,
                        const struct cache_key *key, usec_t now)
{
    uint64_t hash;
    if (scope_closed(scope, now))
        return false; /* a write to a whole table takes its time */
    struct shard *s = shard_of(l1, scope, key, &hash);
    lock(s);
    const struct cache_line *l = cache_l1_line_find(s, scope, key, hash);
    bool soon = l != NULL && l->open > 0 && l->lost_until <= now;
    unlock(s);
    return soon;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static void drop_shard(struct shard *s)
{
    struct list *node;
    while ((node = list_first(&s->recent)) != NULL)
        cache_l1_line_drop(s, container_of(node, struct cache_line, recent));
}

void cache_l1_drop_all(struct cache_l1 *l1)
{
    CHECK(pthread_mutex_lock(&l1->shared.scopes_lock) == 0);
    for (struct cache_scope *s = l1->shared.scopes; s != NULL; s = s->next)
        atomic_fetch_add(&s->shared.generation, 1);
    CHECK(pthread_mutex_unlock(&l1->shared.scopes_lock) == 0);
    /* Lines with a write, open or lost, stay; what they hold is void by its generation. */
    for (uint32_t i = 0; i < l1->nshards; i++) {
        struct shard *s = &l1->shared.shards[i];
        struct list *it, *tmp;
        lock(s);
        LIST_EACH(it, tmp, &s->recent) {
            struct cache_line *l = container_of(it, struct cache_line, recent);
            if (l->lost_until <= s->now)
                cache_l1_line_drop(s, l);
        }
        unlock(s);
    }
}

void cache_l1_counts(struct cache_l1 *l1, struct cache_l1_counts *out)
{
    *out = (struct cache_l1_counts){0};
    for (uint32_t i = 0; i < l1->nshards; i++) {
        struct shard *s = &l1->shared.shards[i];
        lock(s);
        out->entries += s->ncells;
        out->bytes += s->bytes;
        out->lines += s->nlines;
        out->evicted += s->evicted;
        out->refused += s->refused;
        unlock(s);
    }
}

void cache_l1_free(struct cache_l1 **l1)
{
    struct cache_l1 *it = *l1;
    *l1 = NULL;
    if (it == NULL)
        return;
    for (uint32_t i = 0; i < it->nshards; i++) {
        struct shard *s = &it->shared.shards[i];
        drop_shard(s);
        CHECK(s->nlines == 0);
        mem_free(s->buckets);
        (void)pthread_mutex_destroy(&s->lock);
    }
    for (struct cache_scope *s = it->shared.scopes, *next; s != NULL; s = next) {
        next = s->next;
        mem_free(s->database);
        mem_free(s->rule);
        mem_free(s);
    }
    (void)pthread_mutex_destroy(&it->shared.scopes_lock);
    mem_free(it);
}
