/* cache_flight.c - see cache_flight.h. */
#include "cache/cache_flight.h"

#include "base/check.h"
#include "base/mem.h"

struct cache_flight {
    struct list early, waiters;
    size_t n;
    char identity[];
};

void cache_flight_init(struct cache_flights *fs)
{
    map_init(&fs->by_identity);
}

void cache_flight_fini(struct cache_flights *fs)
{
    CHECK(map_count(&fs->by_identity) == 0);
    map_fini(&fs->by_identity);
}

struct cache_flight *cache_flight_join(struct cache_flights *fs, const struct cache_key *key,
                                       struct cache_waiter *w)
{
    struct cache_flight *f = map_get(&fs->by_identity, key->identity);
    if (f != NULL) {
        list_push_back(&f->waiters, &w->node);
        return NULL;
    }
    f = mem_new(sizeof(*f) + key->identity.n);
    list_init(&f->early);
    list_init(&f->waiters);
    f->n = key->identity.n;
    memcpy(f->identity, key->identity.p, f->n);
    (void)map_put(&fs->by_identity, key->identity, f);
    return f;
}

bool cache_flight_is_of(const struct cache_flight *f, const struct cache_key *key)
{
    return str_eq((struct str){f->identity, f->n}, key->identity);
}

static void move_all(struct list *from, struct list *to)
{
    struct list *node;
    while ((node = list_pop_front(from)) != NULL)
        list_push_back(to, node);
}

void cache_flight_sent(struct cache_flight *f)
{
    move_all(&f->waiters, &f->early);
}

void cache_flight_answered(struct cache_flight *f, struct list *early)
{
    move_all(&f->early, early);
}

struct cache_waiter *cache_flight_next(struct cache_flight *f)
{
    struct list *node = list_pop_front(&f->waiters);
    return node == NULL ? NULL : container_of(node, struct cache_waiter, node);
}

void cache_flight_land(struct cache_flights *fs, struct cache_flight **f, struct list *woken)
{
    struct cache_flight *it = *f;
    *f = NULL;
    CHECK(map_remove(&fs->by_identity, (struct str){it->identity, it->n}) == it);
    move_all(&it->early, woken);
    move_all(&it->waiters, woken);
    mem_free(it);
}

void cache_flight_leave(struct cache_waiter *w)
{
    list_remove(&w->node);
}
