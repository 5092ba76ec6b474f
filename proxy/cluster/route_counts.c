/* route_counts.c - see route_counts.h.  Worker thread. */
#include "proxy/cluster/route_counts.h"

#include "base/mem.h"
#include "proxy/worker.h"

struct route_counts *route_counts_of(struct worker *w, const struct cluster *c)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &w->routes) {
        struct route_counts *n = container_of(it, struct route_counts, link);
        if (n->cluster == c)
            return n;
    }
    struct route_counts *n = mem_new(sizeof(*n));
    n->cluster = c;
    list_init(&n->nodes);
    list_init(&n->link);
    list_push_back(&w->routes, &n->link);
    return n;
}

struct route_node_counts *route_counts_node(struct route_counts *n, const char *node)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &n->nodes) {
        struct route_node_counts *x = container_of(it, struct route_node_counts, link);
        if (strcmp(x->node, node) == 0)
            return x;
    }
    struct route_node_counts *x = mem_new(sizeof(*x));
    x->cluster = n->cluster;
    x->node = node;
    list_init(&x->link);
    list_push_back(&n->nodes, &x->link);
    return x;
}

void route_counts_free_all(struct worker *w)
{
    struct list *l, *inner;
    while ((l = list_first(&w->routes)) != NULL) {
        struct route_counts *n = container_of(l, struct route_counts, link);
        while ((inner = list_first(&n->nodes)) != NULL) {
            list_remove(inner);
            mem_free(container_of(inner, struct route_node_counts, link));
        }
        list_remove(&n->link);
        mem_free(n);
    }
}
