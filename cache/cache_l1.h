/* cache_l1.h - the first level: entries in this process's memory, for all workers.
 *
 * Shards, each with a lock of its own that is held for a probe and a few pointer writes: the named
 * exception to "a worker owns all it touches".  Bounded by bytes, least recently used first (an
 * entry that was used since the hand last passed is spared once).  Entries are handed out by
 * reference.  Any thread.
 *
 * The protocol of mode lease, for one process:
 *   reader:  cache_l1_lookup  -> hit | miss with a ticket | bypass
 *            (query is sent after the lookup) ... cache_l1_store with that ticket
 *   writer:  cache_l1_write_begin(scope, key or NULL)  before the write (its COMMIT) is forwarded
 *            cache_l1_write_end                        after the server's acknowledgement was read
 *            and
 *                                                      before it is passed on; also when it failed
 * Begin and end drop what the write may change and make every older ticket void; between them
 * nothing is served and nothing stored.  Why a hit is never stale: a write acknowledged before the
 * lookup ended before it, so it dropped the entry or came before the entry's ticket, and then the
 * entry's query was sent after the write was visible.  Why reads do not go backwards: from before a
 * write may become visible until all older answers are gone, nothing older is served.
 *
 * A write whose outcome is not known (the server was lost after it was sent) must not end: call
 * cache_l1_write_lost instead, and what it may change is neither served nor stored until the
 * deadline.
 *
 * Mode ttl makes the same calls; there it is a courtesy, for writes that pass the proxy by are not
 * seen in either mode.
 */
#ifndef PENSTOCK_CACHE_L1_H
#define PENSTOCK_CACHE_L1_H

#include "base/base.h"
#include "base/clock.h"
#include "base/str.h"
#include "cache/cache_entry.h"
#include "cache/cache_key.h"

struct cache_l1;
struct cache_scope; /* all entries of one rule in one database: what a table write drops at once */
struct cache_line;  /* one name of a scope, with the variants below it */

struct cache_l1_counts {
    uint64_t entries, bytes, lines, evicted, refused; /* refused: stores that came too late */
};

/* memory: bytes of entries with all that belongs to them. */
struct cache_l1 *cache_l1_new(size_t memory);
void cache_l1_free(struct cache_l1 **l1);                 /* no open writes, no other thread */
void cache_l1_resize(struct cache_l1 *l1, size_t memory); /* takes effect with the next stores */
void cache_l1_counts(struct cache_l1 *l1, struct cache_l1_counts *out);

/* The scope of that name, made when there is none; it lives as long as the store. Not for the data
 * path: keep the pointer. */
struct cache_scope *cache_l1_scope(struct cache_l1 *l1, struct str database, struct str rule);
/* Its names, which live as long. */
void cache_l1_scope_names(const struct cache_scope *s, const char **database, const char **rule);
uint64_t cache_l1_entries(const struct cache_scope *s); /* stored now; those that are void count
                                                             until they are found */
uint64_t cache_l1_bytes(const struct cache_scope *s);   /* of these */

enum cache_l1_result {
    CACHE_L1_HIT,
    CACHE_L1_MISS,  /* the ticket allows a store */
    CACHE_L1_WRITE, /* a write is open: ask the database, store nothing */
    CACHE_L1_HOT,   /* what is stored is void before it is used: likewise */
};

struct cache_ticket { /* of a lookup; plain value */
    uint64_t stamp, generation;
    bool hot; /* it allows no store */
};

struct cache_l1_ask {
    struct cache_scope *scope;
    const struct cache_key *key;
    usec_t now;     /* of the loop turn */
    bool want_desc; /* an entry without description of rows is no hit */
};
/* *out: a reference, on a hit only. *ticket: on a miss, and where it is hot. */
enum cache_l1_result cache_l1_lookup(struct cache_l1 *l1, const struct cache_l1_ask *ask,
                                     struct cache_ticket *ticket, struct cache_entry **out);

struct cache_l1_put {
    struct cache_scope *scope;
    const struct cache_key *key;
    struct cache_ticket ticket;
    struct cache_entry *entry; /* the store takes a reference of its own */
    usec_t now, ttl_us;        /* ttl_us is shortened by up to a tenth, at random */
};
/* false: the ticket is void or of a hot name, or it is too large. */
bool cache_l1_store(struct cache_l1 *l1, const struct cache_l1_put *put);
/* An invalidation came since the ticket, or a write is open: what was read with it, here or
 * elsewhere, may be old. What is void once stays so. put->entry and ttl_us are not looked at. */
bool cache_l1_is_void(struct cache_l1 *l1, const struct cache_l1_put *put);

struct cache_write { /* an open write; the caller's memory, begun once and ended once */
    struct cache_scope *scope;
    struct cache_line *line; /* NULL: the whole scope */
    uint32_t shard;
};

/* key NULL: everything of the scope. Only the name of the key is used. */
void cache_l1_write_begin(struct cache_l1 *l1, struct cache_scope *scope,
                          const struct cache_key *key, struct cache_write *w);
void cache_l1_write_end(struct cache_l1 *l1, struct cache_write *w);
/* Instead of the end: nothing of it is served or stored before that time. */
void cache_l1_write_lost(struct cache_l1 *l1, struct cache_write *w, usec_t until);

/* Readers who find a write open may wait for its end instead of asking the database.  true: that is
 * worth while, for nothing but writes to the very name are open. */
bool cache_l1_ends_soon(struct cache_l1 *l1, const struct cache_scope *scope,
                        const struct cache_key *key, usec_t now);

/* A write that began and ended: CACHE FLUSH. key NULL: the whole scope. */
void cache_l1_drop(struct cache_l1 *l1, struct cache_scope *scope, const struct cache_key *key);
void cache_l1_drop_all(struct cache_l1 *l1);

#endif
