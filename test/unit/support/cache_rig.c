/* cache_rig.c - see cache_rig.h. */
#include "test/unit/support/cache_rig.h"

#include "base/check.h"

#include <stdio.h>

static const char *const always[] = {
    "r|app|accounts|rws",
    "r|app|ledger|rws",
    "r|app|status|rws",
    "r|app|big|rws",
    "f|pg_catalog|sum|bqs",
    "f|pg_catalog|now|bqs",
    "f|pg_catalog|lower|bqs",
    "relation|app|accounts|1 r ",
    "relation|app|ledger|2 r ",
    "relation|app|status|3 r ",
    "relation|app|big|4 r ",
    "column|1|user_id|int8",
    "column|1|name|text",
    "column|2|id|int8",
    "column|2|user_id|int8",
    "column|3|code|text",
    "column|3|user_id|int8",
    "immutable|pg_catalog|sum|",
    "immutable|pg_catalog|lower|",
};

void cache_rig_init(struct cache_rig *r)
{
    *r = (struct cache_rig){0};
    r->sql = sql_cache_new(1 << 20);
    r->rules = cache_rule_set_new();
    r->memo = cache_deps_memo_new();
}

void cache_rig_fini(struct cache_rig *r)
{
    cache_deps_memo_free(&r->memo);
    cache_deps_put(&r->bound);
    catalog_put(&r->catalog);
    cache_rule_set_put(&r->rules);
    sql_cache_free(&r->sql);
}

struct facts *cache_rig_facts(struct cache_rig *r, const char *text)
{
    return sql_cache_get(r->sql, str_of(text), 0);
}

bool cache_rig_add(struct cache_rig *r, const struct cache_rule_text *text)
{
    struct sql_cache *own = sql_cache_new(1 << 16);
    struct facts *f = sql_cache_get(own, text->query, 0);
    struct error err = {{0}};
    bool ok = cache_rule_add(r->rules, text, f, &err) == ST_OK;
    facts_put(&f);
    sql_cache_free(&own);
    (void)str_copy(r->error, sizeof(r->error), str_of(err.text));
    return ok;
}

bool cache_rig_rule(struct cache_rig *r, const char *name, const char *query, const char *key)
{
    char made[128];
    (void)snprintf(made, sizeof(made), "%s:$1", name);
    struct cache_rule_text text = {.name = str_of(name),
                                   .query = str_of(query),
                                   .key = str_of(key == NULL ? made : key),
                                   .mode = CACHE_LEASE,
                                   .ttl_us = USEC_PER_SEC,
                                   .max_result = 65536};
    return cache_rig_add(r, &text);
}

static void add_row(struct catalog *c, const char *row)
{
    struct str rest = str_of(row), cols[4];
    struct error err;
    for (int i = 0; i < 3; i++)
        cols[i] = str_cut(&rest, '|');
    cols[3] = rest.p == NULL ? STR("") : rest;
    CHECK(catalog_add_row(c, cols, 4, &err) == ST_OK);
}

void cache_rig_bind(struct cache_rig *r, const char *const *rows)
{
    catalog_put(&r->catalog);
    cache_deps_put(&r->bound);
    r->catalog = catalog_new(1);
    for (size_t i = 0; i < ARRAY_LEN(always); i++)
        add_row(r->catalog, always[i]);
    for (; rows != NULL && *rows != NULL; rows++)
        add_row(r->catalog, *rows);
    add_row(r->catalog, "end|||");
    r->bound = cache_deps_bind(r->rules, r->catalog);
}

static const char *describe(struct cache_rig *r, struct facts *f, const struct cache_request *q)
{
    static char line[4096];
    struct cache_key keys[CACHE_POINTS_MAX];
    const struct cache_impact *impact = cache_deps_impact(r->memo, r->bound, f);
    size_t at = 0;
    line[0] = '\0';
    for (int i = 0; i < impact->nrules; i++) {
        const char *sep = at > 0 ? " " : "";
        int n = -1;
        if (impact->reach[i] == CACHE_REACH_NONE) {
            at += (size_t)snprintf(line + at, sizeof(line) - at, "%snone", sep);
            continue;
        }
        if (impact->reach[i] == CACHE_REACH_POINT)
            n = cache_deps_points(r->bound, impact, i, q, keys);
        if (n < 0)
            at += (size_t)snprintf(line + at, sizeof(line) - at, "%sall", sep);
        for (int k = 0; k < n; k++)
            at += (size_t)snprintf(line + at, sizeof(line) - at, "%s" STR_FMT, k > 0 ? " " : sep,
                                   STR_ARG(keys[k].name));
    }
    return line;
}

const char *cache_rig_reach_bound(struct cache_rig *r, const char *text, const char *const *values,
                                  int n)
{
    struct facts *f = cache_rig_facts(r, text);
    struct wire_value bound[CACHE_RULE_PARAMS] = {{.null = false}};
    for (int i = 0; i < n; i++)
        bound[i].bytes = str_of(values[i]);
    struct cache_request q = {.text = str_of(text), .values = bound, .nvalues = n};
    const char *line = describe(r, f, &q);
    facts_put(&f);
    return line;
}

const char *cache_rig_reach(struct cache_rig *r, const char *text)
{
    struct facts *f = cache_rig_facts(r, text);
    struct cache_request q = {.text = str_of(text)};
    const char *line = describe(r, f, &q);
    facts_put(&f);
    return line;
}
