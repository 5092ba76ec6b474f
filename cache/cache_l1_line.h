/* cache_l1_line.h - what a shard of the first level holds: lines, and the cells below them.
 *
 * Private to cache_l1.c, which says what may be served and stored; here is where it lies and what
 * it weighs.  A line is one name of a scope, a cell one variant of its answer.  A line with an open
 * write is on no recency list, so that it stays; one with a lost write is passed over when room is
 * made.  All functions under the shard's lock.
 */
#ifndef PENSTOCK_CACHE_L1_LINE_H
#define PENSTOCK_CACHE_L1_LINE_H

#include "base/base.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/str.h"
#include "cache/cache_entry.h"
#include "cache/cache_key.h"

#include <pthread.h>

struct cache_scope {
    struct cache_scope *next;
    char *database, *rule; /* owned */
    uint64_t seed;
    struct {
        _Atomic uint64_t generation, open, entries, bytes;
        _Atomic int64_t lost_until;
    } shared;
};

struct cell {
    struct cell *next;
    struct cache_entry *entry; /* reference */
    uint64_t generation;
    usec_t expires;
    bool used;
    size_t n;
    char identity[];
};

struct cache_line {
    struct cache_line *chain; /* in its bucket */
    struct list recent;       /* unlinked while a write is open */
    struct cell *cells;       /* owned */
    struct cache_scope *scope;
    uint64_t hash, changed;
    usec_t lost_until;
    uint32_t open;
    uint8_t wasted, skipped;
    bool used;
    size_t bytes; /* of the line and its cells */
    size_t n;
    char name[];
};

struct shard {
    pthread_mutex_t lock;
    struct cache_line **buckets; /* owned; a power of two */
    size_t nbuckets, nlines, ncells, bytes;
    uint64_t stamp, forgotten, evicted, refused;
    uint64_t dice;
    usec_t now; /* the latest that a caller has told */
    struct list recent;
};

/* NULL: there is none. hash: of the scope and the name. */
struct cache_line *cache_l1_line_find(const struct shard *s, const struct cache_scope *scope,
                                      const struct cache_key *key, uint64_t hash);
/* There must be none. It is empty, on the recency list, and remembers what was forgotten. */
struct cache_line *cache_l1_line_make(struct shard *s, struct cache_scope *scope,
                                      const struct cache_key *key, uint64_t hash);
/* Frees it with its cells. What it remembers is remembered for the whole shard from now on. */
void cache_l1_line_drop(struct shard *s, struct cache_line *l);
/* Room for n more bytes below max, by dropping lines that were not used; keep is not dropped.
 * false: there is none. */
bool cache_l1_line_make_room(struct shard *s, size_t n, size_t max, const struct cache_line *keep);

/* Where the cell of that variant hangs; NULL: there is none. */
struct cell **cache_l1_line_cell(struct cache_line *l, struct str identity);
void cache_l1_line_drop_cell(struct shard *s, struct cache_line *l, struct cell **at);
void cache_l1_line_drop_cells(struct shard *s, struct cache_line *l);

#endif
