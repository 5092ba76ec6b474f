/* sql_cache.h - statement text to facts, per worker.
 *
 * Text goes through the fast lexer (sql_lex.h), which takes constants out; the normalised text is
 * the key, compared whole.  A miss asks the real grammar once (sql_pgparse.h) within the caps of
 * length and nesting; what is over the caps or does not parse has facts with `complete` false.
 * Bounded by bytes, least recently used first.  Worker thread only; the facts are reference-counted
 * within that worker.
 */
#ifndef PENSTOCK_SQL_CACHE_H
#define PENSTOCK_SQL_CACHE_H

#include "protocol/sql_facts.h"

struct sql_cache;

struct sql_cache_stats {
    uint64_t hits, misses, parsed, too_deep, evicted;
    size_t entries, bytes;
};

struct sql_cache *sql_cache_new(size_t max_bytes);
void sql_cache_free(struct sql_cache **c); /* facts still referenced live on until facts_put */

/* Never NULL; the caller owns one reference. dialect: SQL_DIALECT_ bits. */
struct facts *sql_cache_get(struct sql_cache *c, struct str text, uint32_t dialect);

void sql_cache_stats(const struct sql_cache *c, struct sql_cache_stats *out);

#endif
