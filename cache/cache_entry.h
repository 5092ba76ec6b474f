/* cache_entry.h - one cached answer: immutable, reference-counted, served without copying.
 *
 * Made by the worker that recorded an answer, or from what Redis returned; then shared by all
 * workers, read-only.  The reference count is atomic.  The body is three runs of bytes of the
 * codec, one behind the other: description of the rows (may be missing), rows, completion.  This
 * file does not look into them.
 *
 * In Redis an entry is a header of fixed size, big-endian, then the body:
 *   magic 4, version 1, flags 1 (0), reserved 2 (0), epoch 8, stamp 8, created ms 8, digest 32,
 *   rows 4, lengths of description, rows and completion 4 each, CRC32C of all other bytes 4.
 * stamp: in mode ttl 0; in lease the rule's generation as it was before the query was sent; the
 * modes bounded and strict will keep a log position there, and the identity of the primary in
 * epoch, which is 0 until then.
 */
#ifndef PENSTOCK_CACHE_ENTRY_H
#define PENSTOCK_CACHE_ENTRY_H

#include "base/base.h"
#include "base/buf.h"
#include "base/refs.h"
#include "base/status.h"
#include "base/str.h"

#define CACHE_ENTRY_HEADER 84
#define CACHE_ENTRY_VERSION 1
#define CACHE_DIGEST_BYTES 32

struct cache_entry {
    struct {
        struct refs refs; /* private to cache_entry.c */
    } shared;
    uint64_t epoch, stamp;
    int64_t created_ms;                 /* wall clock; for people, never for validity */
    uint8_t digest[CACHE_DIGEST_BYTES]; /* of the identity (cache_key.h) */
    uint32_t rows;                      /* 0: the answer is that there are none */
    struct str desc, data, complete;    /* in the same block; desc.n 0: was not recorded */
};

struct cache_entry_parts { /* what an entry is made of; copied */
    uint64_t epoch, stamp;
    int64_t created_ms;
    uint8_t digest[CACHE_DIGEST_BYTES];
    uint32_t rows;
    struct str desc, data, complete;
};

/* One reference; NULL when memory is out or a length does not fit 32 bits. */
struct cache_entry *cache_entry_new(const struct cache_entry_parts *from) ATTR_NODISCARD;
struct cache_entry *cache_entry_get(struct cache_entry *e); /* any thread; returns e */
void cache_entry_put(struct cache_entry **e);               /* any thread; NULL is fine; clears */
size_t cache_entry_bytes(const struct cache_entry *e);      /* of memory */

/* Appends header and body. */
void cache_entry_encode(const struct cache_entry *e, struct buf *out);
/* ST_INVALID with the reason: foreign bytes, another version, cut, lengths that do not add up,
 * wrong checksum, another digest than the one asked for. ST_LIMIT: more than max_body bytes. */
enum status cache_entry_decode(struct str bytes, const uint8_t digest[CACHE_DIGEST_BYTES],
                               size_t max_body, struct cache_entry **out,
                               struct error *err) ATTR_NODISCARD;

#endif
