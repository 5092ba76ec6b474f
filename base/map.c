/* map.c - the hash map.
 *
 * Called by whoever names things: databases, users, statements, settings.  One thread per map.
 * Open addressing with linear probing; the full hash is kept in the slot, so that a probe compares
 * keys only when the hashes agree and growing does not hash again.  A removed slot becomes a
 * tombstone only when the run of slots goes on behind it.
 * Invariants: cap is 0 or a power of two; used + dead <= 3/4 cap, so that every probe ends.
 */
#include "base/map.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"

#define CAP_FIRST 16

struct map_slot {
    char *key; /* owned; NULL: never used, or a tombstone when hash says so */
    size_t n;
    uint64_t hash; /* of an empty slot: 0, or TOMBSTONE */
    void *value;   /* borrowed */
};

#define TOMBSTONE 1u

void map_init(struct map *m)
{
    *m = (struct map){0};
}

void map_fini(struct map *m)
{
    for (size_t i = 0; i < m->cap; i++)
        mem_free(m->slots[i].key);
    mem_free(m->slots);
    map_init(m);
}

/* The slot that holds key, or NULL. */
static struct map_slot *find(const struct map *m, struct str key, uint64_t hash)
{
    if (m->used == 0)
        return NULL;
    size_t mask = m->cap - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        struct map_slot *s = &m->slots[i];
        if (s->key == NULL) {
            if (s->hash != TOMBSTONE)
                return NULL;
        } else if (s->hash == hash && s->n == key.n && memcmp(s->key, key.p, key.n) == 0) {
            return s;
        }
    }
}

/* The first slot on the way of hash that holds no key. */
static struct map_slot *find_free(const struct map *m, uint64_t hash)
{
    size_t mask = m->cap - 1, i = hash & mask;
    while (m->slots[i].key != NULL)
        i = (i + 1) & mask;
    return &m->slots[i];
}

/* A new table without tombstones; larger only when the entries need it. */
static void rehash(struct map *m)
{
    struct map old = *m;
    size_t cap = MAX(old.cap, (size_t)CAP_FIRST);
    if (old.used >= cap / 2)
        cap *= 2;
    m->slots = mem_new(cap * sizeof(*m->slots));
    m->cap = cap;
    m->dead = 0;
    for (size_t i = 0; i < old.cap; i++) {
        if (old.slots[i].key != NULL)
            *find_free(m, old.slots[i].hash) = old.slots[i];
    }
    mem_free(old.slots);
}

static uint64_t hash_of(struct str key)
{
    return hash_seeded(key.p, key.n);
}

static struct str safe(struct str key)
{
    return key.p == NULL ? STR("") : key;
}

void *map_get(const struct map *m, struct str key)
{
    key = safe(key);
    const struct map_slot *s = m->used == 0 ? NULL : find(m, key, hash_of(key));
    return s == NULL ? NULL : s->value;
}

void *map_put(struct map *m, struct str key, void *value)
{
    key = safe(key);
    uint64_t hash = hash_of(key);
    struct map_slot *s = find(m, key, hash);
    if (s != NULL) {
        void *was = s->value;
        s->value = value;
        return was;
    }
    if (m->used + m->dead + 1 > m->cap / 4 * 3)
        rehash(m);
    s = find_free(m, hash);
    if (s->hash == TOMBSTONE)
        m->dead--;
    *s = (struct map_slot){.key = str_dup(key), .n = key.n, .hash = hash, .value = value};
    m->used++;
    return NULL;
}

void *map_remove(struct map *m, struct str key)
{
    key = safe(key);
    struct map_slot *s = m->used == 0 ? NULL : find(m, key, hash_of(key));
    if (s == NULL)
        return NULL;
    void *was = s->value;
    mem_free(s->key);
    *s = (struct map_slot){.hash = TOMBSTONE};
    m->used--;
    m->dead++;
    /* At the end of a run neither this slot nor the tombstones before it are needed to go on. */
    size_t mask = m->cap - 1, i = (size_t)(s - m->slots);
    const struct map_slot *next = &m->slots[(i + 1) & mask];
    if (next->key == NULL && next->hash != TOMBSTONE) {
        for (; m->slots[i].key == NULL && m->slots[i].hash == TOMBSTONE; i = (i - 1) & mask) {
            m->slots[i].hash = 0;
            m->dead--;
        }
    }
    return was;
}

size_t map_count(const struct map *m)
{
    return m->used;
}

bool map_next(const struct map *m, size_t *iter, struct str *key, void **value)
{
    for (; *iter < m->cap; (*iter)++) {
        const struct map_slot *s = &m->slots[*iter];
        if (s->key == NULL)
            continue;
        *key = (struct str){s->key, s->n};
        *value = s->value;
        (*iter)++;
        return true;
    }
    return false;
}
