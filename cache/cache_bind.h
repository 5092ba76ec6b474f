/* cache_bind.h - a rule seen through a database's catalogs; private to cache_deps.
 *
 * cache_bind.c decides whether a rule is safe and what it reads, cache_deps.c what a statement
 * writes to that.
 */
#ifndef PENSTOCK_CACHE_BIND_H
#define PENSTOCK_CACHE_BIND_H

#include "base/refs.h"
#include "cache/cache_deps.h"
#include "cache/cache_graph.h"

struct cache_bind_key { /* rows of this relation belong to the entries whose parameter they equal */
    uint32_t node;
    int ncolumns;
    struct str column[CACHE_RULE_COLUMNS]; /* borrowed from the rule */
    uint32_t param[CACHE_RULE_COLUMNS];
};

struct cache_bind_rule {
    struct cache_bound_rule bound;
    uint8_t *reads; /* owned; by node: 0, or 1 + the index of the key it has, or 255 without */
    struct cache_bind_key keys[CACHE_RULE_TABLES];
    int nkeys;
};

#define CACHE_BIND_NO_KEY 255

struct cache_bound {
    struct {
        struct refs refs;
    } shared;
    uint64_t serial;           /* tells it from every other, also in a memo that outlives it */
    struct cache_rules *rules; /* reference */
    struct catalog *catalog;   /* reference */
    struct cache_graph graph;
    int n;
    struct cache_bind_rule *each; /* owned; by rule index */
};

/* Fills the rule's part. The graph is ready. */
void cache_bind_rule(struct cache_bound *b, const struct cache_rule *r,
                     struct cache_bind_rule *out);

/* The value under this cast is still what the column is compared with. */
bool cache_bind_cast_fits(enum cache_type type, enum fact_cast cast);

/* The parameter is part of the rule's key. */
bool cache_bind_in_key(const struct cache_rule *r, uint32_t param);

#endif
