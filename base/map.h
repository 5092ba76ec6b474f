/* map.h - hash map from byte strings to pointers.
 *
 * Keys are copied into the map; values are borrowed from the caller.  Hashing is seeded per process
 * (hash.h), so that a peer cannot choose colliding keys.  Open addressing, grows by doubling, one
 * thread.  Iteration order is unspecified; removing the current entry while iterating is allowed.
 */
#ifndef PENSTOCK_MAP_H
#define PENSTOCK_MAP_H

#include "base/base.h"
#include "base/str.h"

struct map_slot;

struct map {
    struct map_slot *slots; /* owned; NULL until the first put */
    size_t cap, used, dead;
};

void map_init(struct map *m);                       /* allocates nothing */
void map_fini(struct map *m);                       /* frees keys and table, not the values */
void *map_get(const struct map *m, struct str key); /* NULL when missing */
/* returns the value that was there, or NULL */
void *map_put(struct map *m, struct str key, void *value);
void *map_remove(struct map *m, struct str key); /* returns the value that was there, or NULL */
size_t map_count(const struct map *m);

/* for (size_t i = 0; map_next(m, &i, &key, &value);) */
bool map_next(const struct map *m, size_t *iter, struct str *key, void **value);

#endif
