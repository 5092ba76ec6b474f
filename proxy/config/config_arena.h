/* config_arena.h - memory of one configuration snapshot, freed and wiped whole.
 *
 * Called by the configuration reader only, on the main thread.  Every text of a snapshot lives in
 * such an arena, so that nothing in it needs an owner of its own and no secret survives in freed
 * memory. Invariant: a pointer handed out stays valid until config_arena_fini.
 */
#ifndef PENSTOCK_PROXY_CONFIG_ARENA_H
#define PENSTOCK_PROXY_CONFIG_ARENA_H

#include "base/str.h"

struct config_chunk;

struct config_arena {
    struct config_chunk *chunks; /* owned */
};

void config_arena_init(struct config_arena *a); /* allocates nothing */
void config_arena_fini(struct config_arena *a); /* wipes and frees everything */

/* n zeroed bytes, aligned for any type; never NULL. */
void *config_arena_new(struct config_arena *a, size_t n);

/* A terminated copy of s; never NULL, also for STR_NONE. */
const char *config_arena_dup(struct config_arena *a, struct str s);

#endif
