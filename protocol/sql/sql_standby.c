/* sql_standby.c - may a statement run on a standby; see protocol/sql_standby.h.
 *
 * First what the text says by itself, the plainest reason before the finer ones; then what the
 * catalog says of the names in it.
 */
#include "protocol/sql_standby.h"

#include "protocol/sql/sql_builtin.h"

/* The first entry with one of its bits among the effects decides. */
static const struct {
    uint32_t effects;
    enum sql_standby why;
} by_effect[] = {
    {FX_EMPTY, STANDBY_EMPTY},
    {FX_MULTI, STANDBY_SEVERAL},
    {FX_LOAD, STANDBY_CODE},
    {FX_TXCTL, STANDBY_TRANSACTION},
    {FX_KILL, STANDBY_KILL},
    {FX_PREPARE | FX_EXECUTE | FX_DEALLOCATE | FX_DEALLOCATE_ALL, STANDBY_PREPARED},
    {FX_LISTEN | FX_UNLISTEN | FX_NOTIFY, STANDBY_NOTIFY},
    {FX_LOCKS, STANDBY_ADVISORY_LOCK},
    {FX_DDL, STANDBY_DDL},
    {FX_TEMP, STANDBY_TEMP},
    {FX_WRITE, STANDBY_WRITE},
    {FX_SEQ_READ | FX_SEQ_WRITE, STANDBY_SEQUENCE},
    {FX_VARS_NAMED | FX_VARS_ALL | FX_ROLE | FX_LOCAL | FX_DISCARD_ALL, STANDBY_SETTING},
    {FX_CURSOR, STANDBY_CURSOR},
    {FX_SHOW, STANDBY_SHOW},
};

static enum sql_standby by_function_name(const struct facts *f)
{
    for (uint16_t i = 0; i < f->nfunctions; i++) {
        if (sql_builtin_advisory(f->functions[i].name))
            return STANDBY_ADVISORY_LOCK;
    }
    return STANDBY_OK;
}

/* A write with a finer name. */
static enum sql_standby write_kind(const struct facts *f)
{
    if (f->explains)
        return STANDBY_EXPLAIN_WRITE;
    if (f->selects && f->modifies)
        return STANDBY_WRITE_IN_WITH;
    if (f->into)
        return STANDBY_INTO;
    if (f->locks_rows)
        return STANDBY_ROW_LOCK;
    if (f->locks_table)
        return STANDBY_TABLE_LOCK;
    if (f->selects && (f->effects & FX_SEQ_WRITE) != 0)
        return STANDBY_SEQUENCE;
    return STANDBY_WRITE;
}

static enum sql_standby by_text(const struct facts *f)
{
    if (!f->complete)
        return STANDBY_NOT_PARSED;
    /* EXPLAIN without ANALYZE has lost its effects, but planning a write is no business of a
     * standby. */
    if (f->explains && (f->modifies || f->into || f->locks_rows))
        return STANDBY_EXPLAIN_WRITE;
    for (size_t i = 0; i < ARRAY_LEN(by_effect); i++) {
        if ((f->effects & by_effect[i].effects) == 0)
            continue;
        if (by_effect[i].why == STANDBY_WRITE || (by_effect[i].why == STANDBY_DDL && f->into))
            return write_kind(f);
        return by_effect[i].why;
    }
    if ((f->effects & FX_READ) == 0)
        return (f->effects & FX_UNKNOWN) != 0 ? STANDBY_NOT_PARSED : STANDBY_SETTING;
    return by_function_name(f);
}

static enum sql_standby by_use(enum catalog_use use, bool function)
{
    switch (use) {
    case CATALOG_UNKNOWN:
        return function ? STANDBY_UNKNOWN_FUNCTION : STANDBY_UNKNOWN_RELATION;
    case CATALOG_STANDBY:
        return STANDBY_OK;
    case CATALOG_VOLATILE:
        return function ? STANDBY_VOLATILE : STANDBY_VOLATILE_RELATION;
    case CATALOG_SHOWS:
        return STANDBY_SERVER_VIEW;
    case CATALOG_UNLOGGED:
        return STANDBY_UNLOGGED;
    case CATALOG_SEQUENCE:
        return STANDBY_SEQUENCE;
    case CATALOG_FOREIGN:
        return STANDBY_FOREIGN;
    }
    return STANDBY_NOT_PARSED;
}

static enum sql_standby by_names(const struct facts *f, const struct catalog *cat)
{
    for (uint16_t i = 0; i < f->nfunctions; i++) {
        const struct fact_name *fn = &f->functions[i];
        enum sql_standby why = by_use(catalog_function_use(cat, fn->schema, fn->name), true);
        if (why != STANDBY_OK)
            return why;
    }
    for (uint16_t i = 0; i < f->nrelations; i++) {
        const struct fact_name *r = &f->relations[i];
        enum sql_standby why = by_use(catalog_relation_use(cat, r->schema, r->name), false);
        if (why != STANDBY_OK)
            return why;
    }
    return STANDBY_OK;
}

static enum sql_standby judge(const struct facts *f, const struct catalog *cat)
{
    enum sql_standby why = by_text(f);
    if (why != STANDBY_OK)
        return why;
    if (cat == NULL)
        return STANDBY_NO_CATALOG;
    why = by_names(f, cat);
    if (why != STANDBY_OK)
        return why;
    /* A function that the text alone found strange, and the catalog did not. */
    if ((f->effects & FX_UNKNOWN) != 0)
        return STANDBY_VOLATILE;
    return catalog_has_volatile_code(cat) ? STANDBY_CUSTOM_CODE : STANDBY_OK;
}

enum sql_standby sql_standby(struct facts *f, const struct catalog *cat)
{
    if (cat == NULL)
        return judge(f, NULL);
    if (UNLIKELY(f->standby_catalog != cat || f->standby_generation != catalog_generation(cat))) {
        f->standby_memo = (uint8_t)judge(f, cat);
        f->standby_catalog = cat;
        f->standby_generation = catalog_generation(cat);
    }
    return (enum sql_standby)f->standby_memo;
}

const char *sql_standby_name(enum sql_standby why)
{
    static const char *const names[] = {
        [STANDBY_OK] = "read",
        [STANDBY_NOT_PARSED] = "not understood",
        [STANDBY_SEVERAL] = "several statements",
        [STANDBY_WRITE] = "write",
        [STANDBY_WRITE_IN_WITH] = "write in with",
        [STANDBY_ROW_LOCK] = "row lock",
        [STANDBY_TABLE_LOCK] = "table lock",
        [STANDBY_INTO] = "select into",
        [STANDBY_DDL] = "ddl",
        [STANDBY_EXPLAIN_WRITE] = "explain of a write",
        [STANDBY_ADVISORY_LOCK] = "advisory lock",
        [STANDBY_SEQUENCE] = "sequence",
        [STANDBY_NOTIFY] = "notify",
        [STANDBY_KILL] = "stops a session",
        [STANDBY_CODE] = "code",
        [STANDBY_SETTING] = "setting",
        [STANDBY_SHOW] = "show",
        [STANDBY_TRANSACTION] = "transaction control",
        [STANDBY_CURSOR] = "cursor",
        [STANDBY_PREPARED] = "prepared by text",
        [STANDBY_TEMP] = "temporary object",
        [STANDBY_VOLATILE] = "volatile function",
        [STANDBY_UNKNOWN_FUNCTION] = "unknown function",
        [STANDBY_SERVER_VIEW] = "shows the server",
        [STANDBY_UNLOGGED] = "unlogged table",
        [STANDBY_UNKNOWN_RELATION] = "unknown relation",
        [STANDBY_FOREIGN] = "foreign table",
        [STANDBY_VOLATILE_RELATION] = "volatile view",
        [STANDBY_CUSTOM_CODE] = "volatile operators",
        [STANDBY_NO_CATALOG] = "catalog not known",
        [STANDBY_EMPTY] = "empty",
        [STANDBY_SERIALIZABLE] = "serializable",
        [STANDBY_LEARNED] = "refused by a standby before",
    };
    return (size_t)why < ARRAY_LEN(names) && names[why] != NULL ? names[why] : "?";
}
