/* cache_deps.c - see cache_deps.h.
 *
 * What a statement writes is a set of nodes of the graph: the tables it names as written, what lies
 * below views and in partitions, and what foreign keys drag along; with it go the functions that it
 * calls or that writing runs.  A rule is reached when it reads one of the nodes, or when a function
 * is not one that the rule lists as harmless.
 *
 * A point needs more: one UPDATE, DELETE or INSERT whose rows all have known values in the columns
 * that make up the rule's key, and which does not change these columns.
 */
#include "cache/cache_deps.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/refs.h"
#include "cache/cache_bind.h"

#define MEMO_SLOTS 1024u

struct cache_bound *cache_deps_bind(struct cache_rules *rules, struct catalog *catalog)
{
    struct cache_bound *b = mem_new(sizeof(*b));
    refs_init(&b->shared.refs);
    b->serial = random_u64() | 1u;
    b->rules = cache_rule_set_get(rules);
    b->catalog = catalog_get(catalog);
    cache_graph_init(&b->graph, catalog);
    b->n = cache_rule_count(rules);
    b->each = mem_new((size_t)b->n * sizeof(*b->each));
    for (int i = 0; i < b->n; i++)
        cache_bind_rule(b, cache_rule_at(rules, i), &b->each[i]);
    return b;
}

void cache_deps_put(struct cache_bound **b)
{
    struct cache_bound *was = *b;
    *b = NULL;
    if (was == NULL || !refs_put(&was->shared.refs))
        return;
    for (int i = 0; i < was->n; i++)
        mem_free(was->each[i].reads);
    mem_free(was->each);
    cache_graph_fini(&was->graph);
    catalog_put(&was->catalog);
    cache_rule_set_put(&was->rules);
    mem_free(was);
}

const struct catalog *cache_deps_catalog(const struct cache_bound *b)
{
    return b->catalog;
}

const struct cache_bound_rule *cache_deps_rule(const struct cache_bound *b, int index)
{
    return &b->each[index].bound;
}

/* ---- what a statement writes ----------------------------------------------------------------- */

struct writes {
    const struct cache_bound *b;
    const struct facts *f;
    uint8_t *nodes; /* owned; by node: 0, or a bit of how it is written */
    uint32_t *todo; /* owned */
    uint32_t ntodo;
    bool anything; /* no saying what it writes */
};

enum { WRITTEN = 1, DRAGGED = 2 }; /* by name and below; through a foreign key */

static void reach(struct writes *w, uint32_t node, uint8_t how)
{
    if ((w->nodes[node] & how) != 0)
        return;
    w->todo[w->ntodo++] = node; /* again for the other way of being written: more may follow */
    w->nodes[node] |= how;
}

/* The action of a foreign key may follow this statement. */
static bool drags(const struct writes *w, uint8_t how, uint32_t flags)
{
    if (how == DRAGGED)
        return flags != 0;
    switch (w->f->shape) {
    case FACT_INSERT:
        return w->f->upsert && (flags & CATALOG_ON_UPDATE) != 0;
    case FACT_UPDATE:
        return (flags & CATALOG_ON_UPDATE) != 0;
    case FACT_DELETE:
        return (flags & CATALOG_ON_DELETE) != 0;
    case FACT_SELECT:
    case FACT_OTHER:
        break;
    }
    return true; /* TRUNCATE CASCADE follows every key */
}

static void follow(struct writes *w, uint32_t node)
{
    const struct cache_graph *g = &w->b->graph;
    const struct cache_graph_node *n = &g->nodes[node];
    uint8_t how = (w->nodes[node] & DRAGGED) != 0 ? DRAGGED : WRITTEN;
    for (uint32_t i = n->first; i < n->first + n->n; i++) {
        const struct cache_graph_edge *e = &g->edges[i];
        bool key = e->detail.kind == CATALOG_REFERENCE;
        if (e->detail.kind == CATALOG_VIEW || e->detail.kind == CATALOG_CHILD)
            reach(w, e->to, how);
        else if (key && drags(w, how, e->detail.flags))
            reach(w, e->to, DRAGGED);
        else if (e->detail.kind == CATALOG_RULE)
            w->anything = true;
    }
}

static void write_relation(struct writes *w, const struct fact_name *rel)
{
    uint32_t from, to;
    cache_graph_find(&w->b->graph, rel->schema, rel->name, &from, &to);
    if (from == to)
        w->anything = true; /* a table of the system, a temporary or a new one */
    for (uint32_t i = from; i < to; i++)
        reach(w, i, WRITTEN);
}

/* Reading it, views and policies included, runs no code but what the catalogs prove. */
static bool reads_safely(const struct writes *w)
{
    const struct facts *f = w->f;
    for (uint16_t i = 0; i < f->nrelations; i++)
        if (!catalog_relation_proved(w->b->catalog, f->relations[i].schema, f->relations[i].name))
            return false;
    return true;
}

/* What it may do; a CALL does what its procedure does, which is a function to those who list it. */
static uint32_t effects_of(const struct facts *f)
{
    bool call = (f->effects & FX_LOAD) != 0 && (f->effects & FX_MULTI) == 0 && f->nfunctions > 0;
    return call ? f->effects & ~(uint32_t)(FX_LOAD | FX_UNKNOWN | FX_WRITE) : f->effects;
}

static void find_writes(struct writes *w)
{
    const struct facts *f = w->f;
    uint32_t effects = effects_of(f);
    const uint32_t unknown = FX_UNKNOWN | FX_DDL | FX_LOAD | FX_EXECUTE;
    bool names_nothing = f->nrelations == 0 && f->nfunctions == 0 && !f->operators &&
                         !f->custom_types && !f->custom_operators;
    if (!f->complete || (effects & unknown) != 0 ||
        ((effects & FX_WRITE) != 0 && f->nrelations == 0)) { /* COMMIT PREPARED */
        w->anything = true;
        return;
    }
    if (names_nothing)
        return;
    if (!catalog_has_details(w->b->catalog) || catalog_has_custom_code(w->b->catalog) ||
        !reads_safely(w)) {
        w->anything = true;
        return;
    }
    for (uint16_t i = 0; i < f->nrelations && (effects & FX_WRITE) != 0; i++)
        if (f->relations[i].written)
            write_relation(w, &f->relations[i]);
    while (w->ntodo > 0)
        follow(w, w->todo[--w->ntodo]);
}

/* ---- what that means to a rule --------------------------------------------------------------- */

/* The statement, or what it writes, runs a function that is not known to leave the rule's tables
 * alone. */
static bool runs_strangers(const struct writes *w, const struct cache_rule *r)
{
    const struct cache_graph *g = &w->b->graph;
    for (uint16_t i = 0; i < w->f->nfunctions; i++) {
        const struct fact_name *fn = &w->f->functions[i];
        if (!catalog_function_proved(w->b->catalog, fn->schema, fn->name) &&
            !cache_rule_has_function(r, fn->schema, fn->name))
            return true;
    }
    for (uint32_t i = 0; i < g->nedges; i++) {
        const struct catalog_detail *d = &g->edges[i].detail;
        if (d->kind == CATALOG_CODE && w->nodes[g->edges[i].from] != 0 &&
            !cache_rule_has_function(r, d->schema, d->name))
            return true;
    }
    return false;
}

/* The key that all written rows of the rule's tables have, or NULL. target: the node written by
 * name. */
static const struct cache_bind_key *common_key(const struct writes *w,
                                               const struct cache_bind_rule *rule, uint32_t target)
{
    uint8_t mark = 0;
    for (uint32_t i = 0; i < w->b->graph.nnodes; i++) {
        if (w->nodes[i] == 0 || rule->reads[i] == 0)
            continue;
        if ((w->nodes[i] & DRAGGED) != 0 || rule->reads[i] == CACHE_BIND_NO_KEY ||
            (mark != 0 && mark != rule->reads[i]))
            return NULL;
        mark = rule->reads[i];
    }
    /* A column of that name in a view is another one. */
    if (w->b->graph.nodes[target].relation.what != CATALOG_TABLE)
        return NULL;
    return mark == 0 ? NULL : &rule->keys[mark - 1];
}

static bool has_word(const struct str *words, uint16_t n, struct str word)
{
    for (uint16_t i = 0; i < n; i++)
        if (str_eq(words[i], word))
            return true;
    return false;
}

static const struct fact_match *find_match(const struct facts *f, uint16_t row, struct str column)
{
    for (uint16_t i = 0; i < f->nmatches; i++) {
        const struct fact_match *m = &f->matches[i];
        if (m->holds && m->relation == f->target && m->row == row && str_eq(m->column, column))
            return m;
    }
    return NULL;
}

static struct str column_of(const struct cache_bind_key *k, uint32_t param)
{
    for (int i = 0; i < k->ncolumns; i++)
        if (k->param[i] == param)
            return k->column[i];
    return STR_NONE;
}

/* The statement's text gives the value of this column for each row, and does not change it. */
static bool column_known(const struct facts *f, enum cache_type type, struct str column)
{
    uint16_t rows = f->shape == FACT_INSERT ? f->rows : 1;
    if (has_word(f->assigned, f->nassigned, column) ||
        (f->upsert && !has_word(f->conflict, f->nconflict, column)))
        return false;
    for (uint16_t row = 0; row < rows; row++) {
        const struct fact_match *m = find_match(f, row, column);
        if (m == NULL || !cache_bind_cast_fits(type, m->cast))
            return false;
    }
    return true;
}

/* The key that a point is made of; NULL: the rows cannot be told. */
static const struct cache_bind_key *point_key(const struct writes *w,
                                              const struct cache_bind_rule *rule)
{
    const struct facts *f = w->f;
    const struct cache_rule *r = rule->bound.rule;
    uint32_t from, to;
    if (f->shape != FACT_UPDATE && f->shape != FACT_DELETE && f->shape != FACT_INSERT)
        return NULL;
    if (f->rows > CACHE_POINTS_MAX)
        return NULL;
    cache_graph_find(&w->b->graph, f->relations[f->target].schema, f->relations[f->target].name,
                     &from, &to);
    const struct cache_bind_key *k = to == from + 1 ? common_key(w, rule, from) : NULL;
    if (k == NULL)
        return NULL;
    for (uint32_t p = 1; p <= (uint32_t)r->nparams; p++)
        if (cache_bind_in_key(r, p) && !column_known(f, rule->bound.types[p - 1], column_of(k, p)))
            return NULL;
    return k;
}

static enum cache_reach reach_of(const struct writes *w, const struct cache_bind_rule *rule,
                                 uint8_t *key)
{
    bool touched = false;
    if (!rule->bound.usable)
        return CACHE_REACH_NONE; /* it has no entries */
    if (w->anything || runs_strangers(w, rule->bound.rule))
        return CACHE_REACH_ALL;
    for (uint32_t i = 0; i < w->b->graph.nnodes && !touched; i++)
        touched = w->nodes[i] != 0 && rule->reads[i] != 0;
    if (!touched)
        return CACHE_REACH_NONE;
    const struct cache_bind_key *k = point_key(w, rule);
    *key = k == NULL ? 0 : (uint8_t)(k - rule->keys);
    return k == NULL ? CACHE_REACH_ALL : CACHE_REACH_POINT;
}

static void judge(const struct cache_bound *b, const struct facts *f, struct cache_impact *out)
{
    struct writes w = {.b = b, .f = f};
    w.nodes = mem_new(b->graph.nnodes);
    w.todo = mem_new(2 * b->graph.nnodes * sizeof(*w.todo));
    find_writes(&w);
    out->harmless = true;
    for (int i = 0; i < b->n; i++) {
        out->reach[i] = (uint8_t)reach_of(&w, &b->each[i], &out->key[i]);
        out->harmless &= out->reach[i] == CACHE_REACH_NONE;
    }
    mem_free(w.nodes);
    mem_free(w.todo);
}

/* ---- the memo -------------------------------------------------------------------------------- */

struct memo_slot {
    struct facts *facts; /* reference, so that the pointer means this text for as long */
    uint64_t serial;
    struct cache_impact impact;
};

struct cache_memo {
    struct memo_slot slots[MEMO_SLOTS];
    struct cache_impact none; /* of no rules */
};

struct cache_memo *cache_deps_memo_new(void)
{
    struct cache_memo *m = mem_new(sizeof(*m));
    m->none.harmless = true;
    return m;
}

static void clear(struct memo_slot *s)
{
    facts_put(&s->facts);
    mem_free(s->impact.reach);
    *s = (struct memo_slot){0};
}

void cache_deps_memo_free(struct cache_memo **m)
{
    struct cache_memo *it = *m;
    *m = NULL;
    if (it == NULL)
        return;
    for (size_t i = 0; i < MEMO_SLOTS; i++)
        clear(&it->slots[i]);
    mem_free(it);
}

const struct cache_impact *cache_deps_impact(struct cache_memo *m, struct cache_bound *b,
                                             struct facts *f)
{
    if (b == NULL || b->n == 0)
        return &m->none;
    struct memo_slot *s = &m->slots[((uintptr_t)f >> 4) * 0x9e3779b97f4a7c15u >> 54];
    if (LIKELY(s->facts == f && s->serial == b->serial))
        return &s->impact;
    clear(s);
    s->facts = facts_get(f);
    s->serial = b->serial;
    s->impact.nrules = b->n;
    s->impact.facts = f;
    s->impact.reach = mem_new(2 * (size_t)b->n);
    s->impact.key = s->impact.reach + b->n;
    judge(b, f, &s->impact);
    return &s->impact;
}

/* ---- points ---------------------------------------------------------------------------------- */

struct written_text { /* a statement's own text, with the places of its values */
    const struct facts *facts;
    const struct cache_request *request;
    const struct sql_slot *slots;
    int nslots;
};

/* The bytes are those of the writer's encoding, and an entry may have been made under another. */
static bool means_more(enum cache_type type, struct str value)
{
    for (size_t i = 0; type == CACHE_TYPE_TEXT && i < value.n; i++)
        if ((unsigned char)value.p[i] >= 0x80)
            return true;
    return false;
}

/* The values of one row's key columns, as a name. false: one has no canonical form. */
static bool point_of_row(const struct cache_bind_rule *rule, const struct cache_bind_key *k,
                         const struct written_text *text, uint16_t row, struct cache_key *out)
{
    const struct cache_rule *r = rule->bound.rule;
    char bytes[CACHE_RULE_PARAMS][CACHE_VALUE_MAX];
    struct str values[CACHE_RULE_PARAMS] = {{NULL, 0}};
    for (uint32_t p = 1; p <= (uint32_t)r->nparams; p++) {
        if (!cache_bind_in_key(r, p))
            continue;
        const struct fact_match *m = find_match(text->facts, row, column_of(k, p));
        struct str *value = &values[p - 1];
        if (m == NULL || m->slot >= text->nslots ||
            cache_key_value(rule->bound.types[p - 1], &text->slots[m->slot], text->request,
                            bytes[p - 1], value) != CACHE_KEY_OK ||
            means_more(rule->bound.types[p - 1], *value))
            return false;
        /* varchar(n) drops blanks from the end of what is too long. */
        if (text->facts->shape == FACT_INSERT && value->n > 0 && value->p[value->n - 1] == ' ')
            return false;
    }
    return cache_key_name(r, values, out);
}

int cache_deps_points(const struct cache_bound *b, const struct cache_impact *impact, int rule,
                      const struct cache_request *q, struct cache_key *out)
{
    struct sql_slot slots[SQL_SLOTS_MAX];
    const struct cache_bind_rule *r = &b->each[rule];
    struct written_text text = {.facts = impact->facts, .request = q, .slots = slots};
    int rows = impact->facts->shape == FACT_INSERT ? impact->facts->rows : 1;
    text.nslots = sql_slots_read(q->text, q->dialect, slots, SQL_SLOTS_MAX);
    if (impact->reach[rule] != CACHE_REACH_POINT || text.nslots < 0)
        return -1;
    for (int row = 0; row < rows; row++)
        if (!point_of_row(r, &r->keys[impact->key[rule]], &text, (uint16_t)row, &out[row]))
            return -1;
    return rows;
}
