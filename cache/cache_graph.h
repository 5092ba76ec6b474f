/* cache_graph.h - the relations of one database and how they hang together.
 *
 * Private to cache_deps.c.  Made from the details of a catalog snapshot (protocol/catalog.h), from
 * which it borrows its strings; immutable after that.  Nodes are relations, numbered from 0; edges
 * say what is read or written along with them.
 */
#ifndef PENSTOCK_CACHE_GRAPH_H
#define PENSTOCK_CACHE_GRAPH_H

#include "base/base.h"
#include "base/map.h"
#include "base/str.h"
#include "protocol/catalog.h"

struct cache_graph_edge { /* a detail seen from a node */
    uint32_t from;
    uint32_t to; /* VIEW, CHILD, REFERENCE; for CHILD from the parent down to the child */
    struct catalog_detail detail;
};

struct cache_graph_node {
    struct catalog_detail relation;
    uint32_t first, n; /* of its edges */
};

struct cache_graph_column {
    uint32_t node;
    struct str name;
    enum catalog_type type;
};

struct cache_graph {
    struct cache_graph_node *nodes;     /* owned arrays; sorted by name, then schema */
    struct cache_graph_edge *edges;     /* sorted by from */
    struct cache_graph_column *columns; /* sorted by node, then name */
    uint32_t nnodes, nedges, ncolumns;
    struct map immutable; /* names of built-in functions; values are not NULL */
};

void cache_graph_init(struct cache_graph *g, const struct catalog *c);
void cache_graph_fini(struct cache_graph *g);

/* The nodes of that name are [*from, *to); with a schema at most one. */
void cache_graph_find(const struct cache_graph *g, struct str schema, struct str name,
                      uint32_t *from, uint32_t *to);
/* NULL: it has no such column, or of another type. */
const struct cache_graph_column *cache_graph_column(const struct cache_graph *g, uint32_t node,
                                                    struct str name);

#endif
