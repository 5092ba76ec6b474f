/* cache_bind.c - see cache_bind.h.
 *
 * A rule is refused, with the first reason found, when its answer may depend on more than the
 * tables it reads and what the identity of an entry holds, or when the type of a parameter is not
 * known. Whether writes can be followed to single keys is a second question, whose answer never
 * refuses.
 */
#include "cache/cache_bind.h"

#include "base/mem.h"

#include <stdio.h>

struct binder {
    struct cache_bound *b;
    const struct cache_graph *g;
    const struct cache_rule *r;
    struct cache_bind_rule *out;
    uint32_t *todo; /* owned; nodes whose edges are to be followed */
    uint32_t ntodo;
    uint8_t *arrivals; /* owned; by node: in how many ways it is read, counted up to 2 */
};

/* Remembers the first reason. Returns false, for the one line that fails. */
static bool refuse(struct binder *x, const char *before, struct str name, const char *after)
{
    char *why = x->out->bound.why;
    if (why[0] == '\0')
        (void)snprintf(why, sizeof(x->out->bound.why), "%s" STR_FMT "%s", before, STR_ARG(name),
                       after);
    return false;
}

static bool refuse_relation(struct binder *x, const char *before, const struct catalog_detail *rel,
                            const char *after)
{
    char name[160];
    (void)snprintf(name, sizeof(name), STR_FMT "." STR_FMT, STR_ARG(rel->schema),
                   STR_ARG(rel->name));
    return refuse(x, before, str_of(name), after);
}

bool cache_bind_cast_fits(enum cache_type type, enum fact_cast cast)
{
    switch (cast) {
    case FACT_CAST_NONE:
        return true;
    case FACT_CAST_INT:
        return type >= CACHE_TYPE_INT2 && type <= CACHE_TYPE_INT8;
    case FACT_CAST_UUID:
        return type == CACHE_TYPE_UUID;
    case FACT_CAST_TEXT:
        return type == CACHE_TYPE_TEXT;
    }
    return false;
}

bool cache_bind_in_key(const struct cache_rule *r, uint32_t param)
{
    for (int i = 0; i < r->nparts; i++)
        if (r->parts[i].param == param)
            return true;
    return false;
}

static enum cache_type type_of(enum catalog_type t)
{
    switch (t) {
    case CATALOG_INT2:
        return CACHE_TYPE_INT2;
    case CATALOG_INT4:
        return CACHE_TYPE_INT4;
    case CATALOG_INT8:
        return CACHE_TYPE_INT8;
    case CATALOG_UUID:
        return CACHE_TYPE_UUID;
    case CATALOG_TEXT:
        return CACHE_TYPE_TEXT;
    }
    return CACHE_TYPE_NONE;
}

/* ---- what it reads --------------------------------------------------------------------------- */

static void reach(struct binder *x, uint32_t node)
{
    if (x->arrivals[node] < 2)
        x->arrivals[node]++;
    if (x->out->reads[node] != 0)
        return;
    x->out->reads[node] = CACHE_BIND_NO_KEY;
    x->todo[x->ntodo++] = node;
}

/* One relation of those it reads, by name or through others. */
static bool check_node(struct binder *x, uint32_t node)
{
    const struct cache_graph_node *n = &x->g->nodes[node];
    const struct catalog_detail *rel = &n->relation;
    if (rel->what == CATALOG_OTHER)
        return refuse_relation(x, "", rel, " is neither a table nor a view");
    if ((rel->flags & CATALOG_POLICIES) != 0)
        return refuse_relation(x, "", rel, " has row level security");
    for (uint32_t i = n->first; i < n->first + n->n; i++) {
        const struct cache_graph_edge *e = &x->g->edges[i];
        if (e->detail.kind == CATALOG_UNSTEADY)
            return refuse(x, "of a view it reads: ", e->detail.name, "");
        if (e->detail.kind == CATALOG_VIEW || e->detail.kind == CATALOG_CHILD)
            reach(x, e->to);
    }
    return true;
}

static bool read_relation(struct binder *x, struct str schema, struct str name)
{
    uint32_t from, to;
    cache_graph_find(x->g, schema, name, &from, &to);
    if (from == to)
        return refuse(x, "there is no table ", name, ", or it is not a user's");
    if (x->r->nusers > 1 && schema.n == 0 && to > from + 1)
        return refuse(x, "its users may mean different tables by ", name, ", so it needs a schema");
    if (!catalog_relation_repeatable(x->b->catalog, schema, name))
        return refuse(x, "reading ", name, " may run code that is not known");
    for (uint32_t i = from; i < to; i++)
        reach(x, i);
    return true;
}

static bool read_tables(struct binder *x)
{
    const struct facts *f = x->r->facts;
    for (uint16_t i = 0; i < f->nrelations; i++)
        if (!read_relation(x, f->relations[i].schema, f->relations[i].name))
            return false;
    for (int i = 0; i < x->r->nstated; i++)
        if (!read_relation(x, x->r->stated[i].schema, x->r->stated[i].table))
            return false;
    while (x->ntodo > 0)
        if (!check_node(x, x->todo[--x->ntodo]))
            return false;
    return true;
}

static bool check_functions(struct binder *x)
{
    const struct facts *f = x->r->facts;
    for (uint16_t i = 0; i < f->nfunctions; i++) {
        const struct fact_name *fn = &f->functions[i];
        if (cache_rule_has_function(x->r, fn->schema, fn->name))
            continue;
        if (!catalog_function_proved(x->b->catalog, fn->schema, fn->name) ||
            map_get(&x->g->immutable, fn->name) == NULL)
            return refuse(x, "", fn->name, "() does not depend on its arguments alone");
    }
    return true;
}

/* ---- the types of its parameters ------------------------------------------------------------- */

/* The type of a column in every relation of that name; NONE when they differ. */
static enum cache_type column_type(struct binder *x, const struct fact_name *rel, struct str column)
{
    enum cache_type type = CACHE_TYPE_NONE;
    uint32_t from, to;
    cache_graph_find(x->g, rel->schema, rel->name, &from, &to);
    for (uint32_t i = from; i < to; i++) {
        const struct cache_graph_column *c = cache_graph_column(x->g, i, column);
        enum cache_type t = c == NULL ? CACHE_TYPE_NONE : type_of(c->type);
        if (t == CACHE_TYPE_NONE || (i > from && t != type))
            return CACHE_TYPE_NONE;
        type = t;
    }
    return type;
}

static const struct fact_match *match_of_slot(const struct facts *f, int slot)
{
    for (uint16_t i = 0; i < f->nmatches; i++)
        if (f->matches[i].slot == slot)
            return &f->matches[i];
    return NULL;
}

static bool find_types(struct binder *x)
{
    const struct facts *f = x->r->facts;
    enum cache_type *types = x->out->bound.types;
    for (int i = 0; i < x->r->nslots; i++) {
        const struct sql_slot *s = &x->r->slots[i];
        if (s->kind != SQL_SLOT_PARAM)
            continue;
        const struct fact_match *m = match_of_slot(f, i);
        enum cache_type *type = &types[s->param - 1];
        if (m == NULL)
            return refuse(x, "", s->text, " is not compared with a column, as in column = $1");
        enum cache_type t = column_type(x, &f->relations[m->relation], m->column);
        if (t == CACHE_TYPE_NONE || !cache_bind_cast_fits(t, m->cast))
            return refuse(x, "column ", m->column,
                          " is none of int2, int4, int8, uuid, text, varchar");
        if (*type != CACHE_TYPE_NONE && *type != t)
            return refuse(x, "", s->text, " is compared with columns of two types");
        *type = t;
    }
    return true;
}

/* ---- keys ------------------------------------------------------------------------------------ */

static const struct cache_stated *stated_for(const struct binder *x,
                                             const struct catalog_detail *rel)
{
    for (int i = 0; i < x->r->nstated; i++) {
        const struct cache_stated *st = &x->r->stated[i];
        if (str_eq(st->table, rel->name) && (st->schema.n == 0 || str_eq(st->schema, rel->schema)))
            return st;
    }
    return NULL;
}

static void add_column(struct cache_bind_key *k, struct str column, uint32_t param)
{
    for (int i = 0; i < k->ncolumns; i++)
        if (k->param[i] == param)
            return;
    if (k->ncolumns == CACHE_RULE_COLUMNS)
        return;
    k->column[k->ncolumns] = column;
    k->param[k->ncolumns++] = param;
}

/* What its own WHERE says of the relation with this index. */
static void derive_key(struct binder *x, int relation, struct cache_bind_key *k)
{
    const struct facts *f = x->r->facts;
    for (uint16_t i = 0; i < f->nmatches; i++) {
        const struct fact_match *m = &f->matches[i];
        const struct sql_slot *s = &x->r->slots[m->slot];
        if (m->holds && m->relation == relation && s->kind == SQL_SLOT_PARAM)
            add_column(k, m->column, s->param);
    }
}

/* All parameters of the rule's key are known from a row of it. */
static bool covers(const struct binder *x, const struct cache_bind_key *k)
{
    bool any = false;
    for (int i = 0; i < x->r->nparts; i++) {
        bool found = x->r->parts[i].param == 0;
        any |= !found;
        for (int c = 0; c < k->ncolumns; c++)
            found |= k->param[c] == x->r->parts[i].param;
        if (!found)
            return false;
    }
    return any;
}

/* The columns exist, with the types of their parameters: what is stated may be wrong. */
static bool key_fits(const struct binder *x, const struct cache_bind_key *k)
{
    for (int i = 0; i < k->ncolumns; i++) {
        const struct cache_graph_column *c = cache_graph_column(x->g, k->node, k->column[i]);
        if (c == NULL || type_of(c->type) != x->out->bound.types[k->param[i] - 1])
            return false;
    }
    return true;
}

/* Partitions and heirs have the columns of their parent. What is read in two ways gets no key from
 * one of them. */
static void spread_key(struct binder *x, uint32_t node, uint8_t mark)
{
    const struct cache_graph_node *n = &x->g->nodes[node];
    x->out->reads[node] = mark;
    for (uint32_t i = n->first; i < n->first + n->n; i++) {
        const struct cache_graph_edge *e = &x->g->edges[i];
        if (e->detail.kind == CATALOG_CHILD && x->arrivals[e->to] == 1)
            spread_key(x, e->to, mark);
    }
}

static void find_key(struct binder *x, int relation, const struct fact_name *rel)
{
    uint32_t from, to;
    cache_graph_find(x->g, rel->schema, rel->name, &from, &to);
    const struct catalog_detail *d = &x->g->nodes[from].relation;
    if (to != from + 1 || x->out->nkeys == CACHE_RULE_TABLES)
        return;
    struct cache_bind_key k = {.node = from};
    const struct cache_stated *st = stated_for(x, d);
    if (st != NULL && !st->whole)
        for (int i = 0; i < st->ncolumns; i++)
            add_column(&k, st->column[i], st->param[i]);
    else if (st == NULL && relation >= 0 && rel->times == 1 && d->what == CATALOG_TABLE &&
             x->arrivals[from] == 1)
        derive_key(x, relation, &k);
    if (k.ncolumns == 0 || !covers(x, &k) || !key_fits(x, &k))
        return;
    x->out->keys[x->out->nkeys++] = k;
    spread_key(x, from, (uint8_t)x->out->nkeys);
}

static void find_keys(struct binder *x)
{
    const struct facts *f = x->r->facts;
    for (uint16_t i = 0; i < f->nrelations; i++)
        find_key(x, i, &f->relations[i]);
    for (int i = 0; i < x->r->nstated; i++) {
        const struct cache_stated *st = &x->r->stated[i];
        struct fact_name name = {.schema = st->schema, .name = st->table, .times = 1};
        uint32_t from, to;
        cache_graph_find(x->g, st->schema, st->table, &from, &to);
        if (x->out->reads[from] == CACHE_BIND_NO_KEY)
            find_key(x, -1, &name);
    }
    x->out->bound.points = x->out->nkeys > 0;
    for (uint32_t i = 0; i < x->g->nnodes; i++) {
        if (x->out->reads[i] != CACHE_BIND_NO_KEY || x->g->nodes[i].relation.what != CATALOG_TABLE)
            continue;
        (void)refuse_relation(x, "every write to ", &x->g->nodes[i].relation, " drops all entries");
    }
}

static bool check_database(struct binder *x)
{
    if (!catalog_has_details(x->b->catalog))
        return refuse(x, "the database's catalog is not known yet", STR(""), "");
    if (catalog_has_custom_code(x->b->catalog) || catalog_has_volatile_code(x->b->catalog))
        return refuse(x, "the database runs code of its own behind operators, casts or types",
                      STR(""), "");
    return true;
}

void cache_bind_rule(struct cache_bound *b, const struct cache_rule *r, struct cache_bind_rule *out)
{
    struct binder x = {.b = b, .g = &b->graph, .r = r, .out = out};
    out->bound.rule = r;
    out->reads = mem_new(x.g->nnodes);
    x.todo = mem_new(x.g->nnodes * sizeof(*x.todo));
    x.arrivals = mem_new(x.g->nnodes);
    out->bound.usable = check_database(&x) && read_tables(&x) && check_functions(&x) &&
                        find_types(&x);
    if (out->bound.usable)
        find_keys(&x);
    mem_free(x.todo);
    mem_free(x.arrivals);
}
