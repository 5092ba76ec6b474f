/* cache_l1_line.c - see cache_l1_line.h. */
#include "cache/cache_l1_line.h"

#include "base/mem.h"

#include <stdatomic.h>

#define EVICT_TRIES 64

struct cache_line *cache_l1_line_find(const struct shard *s, const struct cache_scope *scope,
                                      const struct cache_key *key, uint64_t hash)
{
    struct cache_line *l = s->buckets[hash & (s->nbuckets - 1)];
    while (l != NULL && !(l->hash == hash && l->scope == scope && l->n == key->name.n &&
                          memcmp(l->name, key->name.p, l->n) == 0))
        l = l->chain;
    return l;
}

void cache_l1_line_drop_cell(struct shard *s, struct cache_line *l, struct cell **at)
{
    struct cell *c = *at;
    size_t n = sizeof(*c) + c->n + cache_entry_bytes(c->entry);
    *at = c->next;
    l->bytes -= n;
    s->bytes -= n;
    s->ncells--;
    atomic_fetch_sub_explicit(&l->scope->shared.entries, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&l->scope->shared.bytes, n, memory_order_relaxed);
    cache_entry_put(&c->entry);
    mem_free(c);
}

void cache_l1_line_drop_cells(struct shard *s, struct cache_line *l)
{
    while (l->cells != NULL)
        cache_l1_line_drop_cell(s, l, &l->cells);
}

void cache_l1_line_drop(struct shard *s, struct cache_line *l)
{
    struct cache_line **at = &s->buckets[l->hash & (s->nbuckets - 1)];
    while (*at != l)
        at = &(*at)->chain;
    *at = l->chain;
    s->forgotten = MAX(s->forgotten, l->changed);
    cache_l1_line_drop_cells(s, l);
    list_remove(&l->recent);
    s->bytes -= l->bytes;
    s->nlines--;
    mem_free(l);
}

static void grow(struct shard *s)
{
    size_t n = 2 * s->nbuckets;
    struct cache_line **to = mem_new(n * sizeof(*to));
    for (size_t i = 0; i < s->nbuckets; i++) {
        for (struct cache_line *l = s->buckets[i], *next; l != NULL; l = next) {
            next = l->chain;
            l->chain = to[l->hash & (n - 1)];
            to[l->hash & (n - 1)] = l;
        }
    }
    mem_free(s->buckets);
    s->buckets = to;
    s->nbuckets = n;
}

struct cache_line *cache_l1_line_make(struct shard *s, struct cache_scope *scope,
                                      const struct cache_key *key, uint64_t hash)
{
    if (s->nlines >= s->nbuckets)
        grow(s);
    struct cache_line *l = mem_new(sizeof(*l) + key->name.n);
    l->scope = scope;
    l->hash = hash;
    l->changed = s->forgotten;
    l->n = key->name.n;
    memcpy(l->name, key->name.p, l->n);
    l->bytes = sizeof(*l) + l->n;
    l->chain = s->buckets[hash & (s->nbuckets - 1)];
    s->buckets[hash & (s->nbuckets - 1)] = l;
    list_init(&l->recent);
    list_push_front(&s->recent, &l->recent);
    s->nlines++;
    s->bytes += l->bytes;
    return l;
}

bool cache_l1_line_make_room(struct shard *s, size_t n, size_t max, const struct cache_line *keep)
{
    for (int tries = 0; s->bytes + n > max && tries < EVICT_TRIES; tries++) {
        struct list *node = list_last(&s->recent);
        if (node == NULL)
            break;
        struct cache_line *l = container_of(node, struct cache_line, recent);
        if (l == keep || l->used || l->lost_until > s->now) {
            l->used = false;
            list_remove(node);
            list_push_front(&s->recent, node);
            continue;
        }
        cache_l1_line_drop(s, l);
        s->evicted++;
    }
    return s->bytes + n <= max;
}

struct cell **cache_l1_line_cell(struct cache_line *l, struct str identity)
{
    struct cell **at = &l->cells;
    while (*at != NULL &&
           !((*at)->n == identity.n && memcmp((*at)->identity, identity.p, identity.n) == 0))
        at = &(*at)->next;
    return *at == NULL ? NULL : at;
}
