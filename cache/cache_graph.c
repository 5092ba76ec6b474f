/* cache_graph.c - see cache_graph.h.
 *
 * Two passes over the details: relations first, then what refers to them by number.  What refers to
 * a relation that is not there (a temporary or system one) is left out; those who ask find no node
 * for it and take the worst.
 */
#include "cache/cache_graph.h"

#include "base/mem.h"

#include <stdlib.h>

struct numbered { /* by id, for the second pass */
    uint32_t id, node;
};

static int by_name(const void *a, const void *b)
{
    const struct cache_graph_node *x = a, *y = b;
    int c = str_cmp(x->relation.name, y->relation.name);
    return c != 0 ? c : str_cmp(x->relation.schema, y->relation.schema);
}

static int by_from(const void *a, const void *b)
{
    const struct cache_graph_edge *x = a, *y = b;
    return (x->from > y->from) - (x->from < y->from);
}

static int by_node(const void *a, const void *b)
{
    const struct cache_graph_column *x = a, *y = b;
    if (x->node != y->node)
        return x->node < y->node ? -1 : 1;
    return str_cmp(x->name, y->name);
}

static int by_id(const void *a, const void *b)
{
    const struct numbered *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static void count(struct cache_graph *g, const struct catalog *c)
{
    struct catalog_detail d;
    uint32_t nodes = 0, columns = 0, edges = 0;
    for (size_t i = 0; catalog_next_detail(c, &i, &d);) {
        nodes += d.kind == CATALOG_RELATION;
        columns += d.kind == CATALOG_COLUMN;
        edges++;
    }
    g->nodes = mem_new(nodes * sizeof(*g->nodes));
    g->columns = mem_new(columns * sizeof(*g->columns));
    g->edges = mem_new((edges - nodes - columns) * sizeof(*g->edges));
}

static void read_nodes(struct cache_graph *g, const struct catalog *c)
{
    struct catalog_detail d;
    for (size_t i = 0; catalog_next_detail(c, &i, &d);)
        if (d.kind == CATALOG_RELATION)
            g->nodes[g->nnodes++].relation = d;
    qsort(g->nodes, g->nnodes, sizeof(*g->nodes), by_name);
}

static bool node_of(const struct numbered *ids, uint32_t n, uint32_t id, uint32_t *out)
{
    struct numbered key = {.id = id};
    const struct numbered *hit = bsearch(&key, ids, n, sizeof(*ids), by_id);
    if (hit != NULL)
        *out = hit->node;
    return hit != NULL;
}

static void add_edge(struct cache_graph *g, const struct catalog_detail *d, uint32_t from,
                     uint32_t to)
{
    g->edges[g->nedges++] = (struct cache_graph_edge){.from = from, .to = to, .detail = *d};
}

static void add_detail(struct cache_graph *g, const struct numbered *ids,
                       const struct catalog_detail *d)
{
    uint32_t from, to = 0;
    if (d->kind == CATALOG_IMMUTABLE) {
        (void)map_put(&g->immutable, d->name, g);
        return;
    }
    if (d->kind == CATALOG_RELATION || !node_of(ids, g->nnodes, d->id, &from))
        return;
    switch (d->kind) {
    case CATALOG_COLUMN:
        g->columns[g->ncolumns++] = (struct cache_graph_column){
            .node = from, .name = d->name, .type = d->type};
        break;
    case CATALOG_VIEW:
    case CATALOG_REFERENCE:
        if (node_of(ids, g->nnodes, d->id2, &to))
            add_edge(g, d, from, to);
        break;
    case CATALOG_CHILD:
        if (node_of(ids, g->nnodes, d->id2, &to))
            add_edge(g, d, to, from);
        break;
    case CATALOG_CODE:
    case CATALOG_RULE:
    case CATALOG_UNSTEADY:
        add_edge(g, d, from, from);
        break;
    case CATALOG_RELATION:
    case CATALOG_IMMUTABLE:
        break;
    }
}

void cache_graph_init(struct cache_graph *g, const struct catalog *c)
{
    struct catalog_detail d;
    *g = (struct cache_graph){0};
    map_init(&g->immutable);
    count(g, c);
    read_nodes(g, c);
    struct numbered *ids = mem_new(g->nnodes * sizeof(*ids));
    for (uint32_t i = 0; i < g->nnodes; i++)
        ids[i] = (struct numbered){.id = g->nodes[i].relation.id, .node = i};
    qsort(ids, g->nnodes, sizeof(*ids), by_id);
    for (size_t i = 0; catalog_next_detail(c, &i, &d);)
        add_detail(g, ids, &d);
    mem_free(ids);
    qsort(g->edges, g->nedges, sizeof(*g->edges), by_from);
    qsort(g->columns, g->ncolumns, sizeof(*g->columns), by_node);
    for (uint32_t i = g->nedges; i-- > 0;) {
        struct cache_graph_node *n = &g->nodes[g->edges[i].from];
        n->first = i;
        n->n++;
    }
}

void cache_graph_fini(struct cache_graph *g)
{
    mem_free(g->nodes);
    mem_free(g->edges);
    mem_free(g->columns);
    map_fini(&g->immutable);
    *g = (struct cache_graph){0};
}

void cache_graph_find(const struct cache_graph *g, struct str schema, struct str name,
                      uint32_t *from, uint32_t *to)
{
    uint32_t low = 0, high = g->nnodes;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        const struct catalog_detail *r = &g->nodes[mid].relation;
        int c = str_cmp(r->name, name);
        if (c == 0 && schema.n > 0)
            c = str_cmp(r->schema, schema);
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    *from = *to = low;
    while (*to < g->nnodes && str_eq(g->nodes[*to].relation.name, name) &&
           (schema.n == 0 || str_eq(g->nodes[*to].relation.schema, schema)))
        (*to)++;
}

const struct cache_graph_column *cache_graph_column(const struct cache_graph *g, uint32_t node,
                                                    struct str name)
{
    struct cache_graph_column key = {.node = node, .name = name};
    if (g->ncolumns == 0)
        return NULL;
    return bsearch(&key, g->columns, g->ncolumns, sizeof(*g->columns), by_node);
}
