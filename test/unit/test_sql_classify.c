/* test_sql_classify.c - statements and what they do. */
#include "base/mem.h"
#include "protocol/sql/sql_builtin.h"
#include "protocol/sql/sql_cache.h"
#include "protocol/sql/sql_classify.h"
#include "test/unit/test_sql_cases.h"
#include "test/unit/test_sql_support.h"

#include <setjmp.h>

#include <cmocka.h>

static const char *effects_of(struct sql_cache *c, struct str text, uint32_t dialect,
                              struct facts_line *line)
{
    struct facts *f = sql_cache_get(c, text, dialect);
    const char *s = facts_describe(f, line);

    facts_put(&f);
    assert_null(f);
    return s;
}

static void statements_have_the_effects_of_the_table(void **state)
{
    struct sql_cache *c = sql_cache_new(1 << 20);
    struct facts_line line;

    (void)state;
    assert_true(ARRAY_LEN(cases) >= 200);
    for (int round = 0; round < 2; round++) { /* the second time from the cache */
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
            const char *got = effects_of(c, str_of(cases[i].text), 0, &line);
            if (strcmp(got, cases[i].want) != 0)
                fail_msg("%s\n got:  %s\n want: %s", cases[i].text, got, cases[i].want);
        }
    }
    sql_cache_free(&c);
}

/* What the classifier says from tokens, the grammar must say too. */
static void classifier_agrees_with_the_grammar(void **state)
{
    struct sql_cache *c = sql_cache_new(1 << 20);
    struct facts_line quick;
    struct facts_line slow;
    char text[256];
    size_t known = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sql_draft d;
        sql_draft_init(&d);
        bool taken = sql_classify(str_of(cases[i].text), 0, &d);
        if (!taken)
            assert_true(d.effects == 0 && !d.complete && d.vars.n == 0 && !d.has_prepared);
        sql_draft_fini(&d);
        if (!taken || cases[i].want[0] == '\0' || strcmp(cases[i].want, "empty") == 0)
            continue;
        /* a second statement leaves the classifier out; SHOW adds no effect but its own bit */
        (void)snprintf(text, sizeof(text), "%s; SHOW x", cases[i].text);
        if (strstr(cases[i].text, "--") != NULL)
            continue;
        struct facts *a = sql_cache_get(c, str_of(cases[i].text), 0);
        struct facts *b = sql_cache_get(c, str_of(text), 0);
        const uint32_t own = FX_SHOW | FX_MULTI;
        if (!b->complete || (a->effects | own) != (b->effects | own) || a->nvars != b->nvars ||
            !str_eq(a->prepared, b->prepared) || !str_eq(a->channel, b->channel) ||
            a->vars_reset != b->vars_reset || a->resets != b->resets)
            fail_msg("%s\n tokens:  %s\n grammar: %s", text, facts_describe(a, &quick),
                     facts_describe(b, &slow));
        facts_put(&a);
        facts_put(&b);
        known++;
    }
    assert_true(known > 60);
    sql_cache_free(&c);
}

static void every_prefix_and_split_of_a_text_is_taken_without_harm(void **state)
{
    static const char text[] =
        "SET \"A\".b TO 'c', -1; /* x */ SELECT set_config('a', E'\\'', false) "
        "FROM t WHERE $$ $$ = U&\"d\"; LISTEN e; PREPARE f AS SELECT 1";
    struct sql_cache *c = sql_cache_new(1 << 20);
    struct facts_line line;

    (void)state;
    for (uint32_t dialect = 0; dialect < 2; dialect++) {
        for (size_t n = 0; n < sizeof(text); n++) {
            char *exact = mem_copy(text, n + 1);
            (void)effects_of(c, (struct str){exact, n}, dialect, &line);
            (void)effects_of(c, (struct str){exact + n, sizeof(text) - 1 - n > n ? 1 : 0}, dialect,
                             &line);
            (void)effects_of(c, (struct str){text + n, sizeof(text) - 1 - MIN(n, sizeof(text) - 1)},
                             dialect, &line);
            mem_free(exact);
        }
    }
    sql_cache_free(&c);
}

static void backslash_dialect_changes_what_a_text_does(void **state)
{
    struct sql_cache *c = sql_cache_new(1 << 20);
    struct facts_line line;
    struct str text = STR("SELECT 'a\\'; SET x = 1; --'");

    (void)state;
    assert_string_equal(effects_of(c, text, 0, &line), "read vars multi v:x +ops");
    assert_string_equal(effects_of(c, text, SQL_DIALECT_BACKSLASH, &line), "read +repeat");
    text = STR("SELECT 'a\\'', set_config('x\\'y', 'b', false), 'c'");
    assert_string_equal(effects_of(c, text, 0, &line), "unknown +cut");
    text = STR("SELECT set_config('x\\x41', 'b', false)");
    assert_string_equal(effects_of(c, text, SQL_DIALECT_BACKSLASH, &line),
                        "read vars f:set_config v:xa");
    sql_cache_free(&c);
}

static void body_of_prepare_is_found(void **state)
{
    static const struct effect_case bodies[] = {
        {"PREPARE a AS SELECT 1", "SELECT 1"},
        {"prepare \"A\" (int, numeric(10, 2)) as /* x */ SELECT ')' ;", "SELECT ')' "},
        {"PREPARE a (int AS SELECT 1", ""},
        {"PREPARE a AS SELECT 1; SELECT 2", ""},
        {"PREPARE a AS", ""},
        {"PREPARE TRANSACTION 'a'", ""},
        {"SELECT 1", ""},
        {"PREPARE a AS SELECT 'x", ""},
    };
    struct str body;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        bool ok = sql_classify_prepared_body(str_of(bodies[i].text), 0, &body);
        assert_int_equal(ok, bodies[i].want[0] != '\0');
        assert_true(!ok || str_eq(body, str_of(bodies[i].want)));
    }
}

static void built_in_tables_are_in_order_and_complete(void **state)
{
    static const char *const types[] = {"int4", "text", "bool", "xml", "bit", "uuid", "aclitem"};
    static const char *const operators[] = {"=", "!!", "~~*", "BETWEEN", "||", "?", "<>"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        assert_true(sql_builtin_type(str_of(types[i])));
    for (size_t i = 0; i < ARRAY_LEN(operators); i++)
        assert_true(sql_builtin_operator(str_of(operators[i])));
    assert_false(sql_builtin_type(STR("int")) || sql_builtin_type(STR("texts")));
    assert_false(sql_builtin_type(STR("tex")) || sql_builtin_type(STR("")));
    assert_false(sql_builtin_operator(STR("<#>")) || sql_builtin_operator(STR("<=>")));
    assert_int_equal(sql_builtin_function(STR("abs")), 0);
    assert_int_equal(sql_builtin_function(STR("pg_advisory_unlock")), FX_LOCKS);
    assert_int_equal(sql_builtin_function(STR("pg_try_advisory_xact_lock")), 0);
    assert_true((sql_builtin_function(STR("query_to_xmlschema")) & FX_UNKNOWN) != 0);
}

static struct catalog *small_catalog(uint64_t generation, bool custom_code)
{
    static const struct str rows[][4] = {
        {{"r", 1}, {"public", 6}, {"t", 1}, {"rw", 2}},
        {{"r", 1}, {"public", 6}, {"v", 1}, {"r", 1}},
        {{"r", 1}, {"public", 6}, {"x", 1}, {"", 0}},
        {{"f", 1}, {"pg_catalog", 10}, {"now", 3}, {"bq", 2}},
        {{"f", 1}, {"pg_catalog", 10}, {"abs", 3}, {"q", 1}},
    };
    static const struct str custom[4] = {{"c", 1}, {"", 0}, {"operator", 8}, {"", 0}};
    struct catalog *cat = catalog_new(generation);
    struct error err;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(catalog_add_row(cat, rows[i], 4, &err), ST_OK);
    if (custom_code)
        assert_int_equal(catalog_add_row(cat, custom, 4, &err), ST_OK);
    return cat;
}

static bool unknown_with(struct sql_cache *c, const char *text, const struct catalog *cat)
{
    struct facts *f = sql_cache_get(c, str_of(text), 0);
    uint32_t first = sql_effects(f, cat);

    assert_int_equal(sql_effects(f, cat), first); /* from the memo */
    assert_int_equal(first & ~(uint32_t)FX_UNKNOWN, f->effects & ~(uint32_t)FX_UNKNOWN);
    facts_put(&f);
    return (first & FX_UNKNOWN) != 0;
}

static void catalog_decides_what_is_unknown(void **state)
{
    static const struct {
        const char *text;
        bool none, plain, custom; /* unknown without a catalog, with one, with one that has code */
    } table[] = {
        {"SELECT 1", false, false, false},
        {"BEGIN", false, false, false},
        {"SET x = 1", false, false, false},
        {"SELECT 1 + 1", true, false, true},
        {"SELECT * FROM t", true, false, true},
        {"INSERT INTO t VALUES (1)", true, false, true},
        {"SELECT * FROM v", true, false, true},
        {"INSERT INTO v VALUES (1)", true, true, true},
        {"SELECT * FROM x", true, true, true},
        {"SELECT * FROM missing", true, true, true},
        {"SELECT now()", true, false, true},
        {"SELECT abs(1)", true, true, true},
        {"SELECT pg_catalog.abs(1)", true, false, true},
        {"SELECT f(1)", true, true, true},
        {"SELECT 'a'::mood", true, false, true},
        {"SELECT 1 <#> 2", true, false, true},
        {"WITH w AS (SELECT * FROM t) SELECT * FROM w", true, false, true},
        {"CREATE TABLE z (a int)", true, true, true},
        {"EXECUTE p", true, true, true},
        {"DO $$ $$", true, true, true},
        {"SELECT 'x", true, true, true},
    };
    struct sql_cache *c = sql_cache_new(1 << 20);
    struct catalog *plain = small_catalog(1, false);
    struct catalog *custom = small_catalog(1, true); /* same generation, another database */

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        bool got[3] = {unknown_with(c, table[i].text, NULL), unknown_with(c, table[i].text, plain),
                       unknown_with(c, table[i].text, custom)};
        if (got[0] != table[i].none || got[1] != table[i].plain || got[2] != table[i].custom)
            fail_msg("%s: %d %d %d", table[i].text, got[0], got[1], got[2]);
    }
    catalog_put(&plain);
    catalog_put(&custom);
    sql_cache_free(&c);
}

static struct catalog *catalog_of_reads(uint64_t generation, const char *code)
{
    static const char *const rows[][4] = {
        {"r", "public", "t", "rws"},
        {"r", "public", "trg", "rs"},
        {"r", "public", "rnd", "rw"},
        {"r", "public", "bad", ""},
        {"r", "public", "seq", "rw"},
        {"f", "pg_catalog", "now", "bqs"},
        {"f", "pg_catalog", "abs", "qs"},
        {"f", "pg_catalog", "random", "bq"},
        {"f", "pg_catalog", "pg_advisory_xact_lock", "bq"},
        {"f", "pg_catalog", "nextval", "bqs"}, /* the text shows what it does */
    };
    struct catalog *cat = catalog_new(generation);

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct str cols[4] = {str_of(rows[i][0]), str_of(rows[i][1]), str_of(rows[i][2]),
                              str_of(rows[i][3])};
        assert_int_equal(catalog_add_row(cat, cols, 4, NULL), ST_OK);
    }
    struct str kind[4] = {str_of(code), STR(""), STR("operator"), STR("")};
    if (kind[0].n > 0)
        assert_int_equal(catalog_add_row(cat, kind, 4, NULL), ST_OK);
    return cat;
}

static bool repeats(struct sql_cache *c, const char *text, const struct catalog *cat)
{
    struct facts *f = sql_cache_get(c, str_of(text), 0);
    bool first = sql_repeatable(f, cat);
    uint32_t effects = sql_effects(f, cat);

    assert_int_equal(sql_repeatable(f, cat), first); /* from the memo */
    if (first && effects != FX_READ && effects != FX_SHOW)
        fail_msg("%s: %x", text, effects);
    facts_put(&f);
    return first;
}

static void only_what_is_shown_harmless_is_repeatable(void **state)
{
    static const struct {
        const char *text;
        bool plain;
    } table[] = {
        {"SELECT 1", true},
        {"SELECT $1 + 1", true},
        {"VALUES (1), (2)", true},
        {"TABLE t", true},
        {"SELECT * FROM t, public.trg WHERE a = $1 ORDER BY b LIMIT 1", true},
        {"WITH w AS (SELECT * FROM t) SELECT * FROM w", true},
        {"SELECT now()", true},
        {"SELECT pg_catalog.abs(1)", true},
        {"SELECT 'a'::mood, 1 <#> 2", true},
        {"/* penstock: route=replica */ SELECT a FROM t;", true},
        {"SELECT abs(1)", false},
        {"SELECT random()", false},
        {"SELECT a FROM t WHERE b < (SELECT random())", false},
        {"SELECT pg_advisory_xact_lock(1)", false},
        {"SELECT nextval('seq')", false},
        {"SELECT missing()", false},
        {"SELECT (t).now, (t).b FROM t", false},
        {"SELECT * FROM rnd", false},
        {"SELECT * FROM t, rnd", false},
        {"SELECT * FROM bad", false},
        {"SELECT * FROM missing", false},
        {"SELECT * FROM other.t", false},
        {"SELECT * FROM t FOR UPDATE", false},
        {"SELECT * FROM (SELECT * FROM t FOR SHARE) x", false},
        {"SELECT * INTO z FROM t", false},
        {"WITH w AS (INSERT INTO t VALUES (1) RETURNING a) SELECT * FROM w", false},
        {"SELECT 1; SELECT 2", false},
        {"", false},
        {"EXPLAIN SELECT 1", false},
        {"INSERT INTO t VALUES (1)", false},
        {"COPY t TO STDOUT", false},
        {"DECLARE c CURSOR FOR SELECT 1", false},
        {"FETCH c", false},
        {"EXECUTE p", false},
        {"PREPARE p AS SELECT 1", false},
        {"BEGIN", false},
        {"SET a = 1", false},
        {"SELECT set_config('a', 'b', true)", false},
        {"SELECT 'x", false},
    };
    struct sql_cache *c = sql_cache_new(1 << 20);
    struct catalog *plain = catalog_of_reads(1, "");
    struct catalog *code[2] = {catalog_of_reads(1, "c"), catalog_of_reads(1, "v")};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (repeats(c, table[i].text, plain) != table[i].plain)
            fail_msg("%s: not %d", table[i].text, table[i].plain);
        if (repeats(c, table[i].text, NULL) || repeats(c, table[i].text, code[0]) ||
            repeats(c, table[i].text, code[1]))
            fail_msg("%s: without a catalog, or with code behind types", table[i].text);
    }
    assert_true(repeats(c, "SHOW work_mem", NULL) && repeats(c, "SHOW ALL", code[0]));
    for (size_t i = 0; i < ARRAY_LEN(code); i++)
        catalog_put(&code[i]);
    catalog_put(&plain);
    sql_cache_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statements_have_the_effects_of_the_table),
        cmocka_unit_test(classifier_agrees_with_the_grammar),
        cmocka_unit_test(every_prefix_and_split_of_a_text_is_taken_without_harm),
        cmocka_unit_test(backslash_dialect_changes_what_a_text_does),
        cmocka_unit_test(body_of_prepare_is_found),
        cmocka_unit_test(built_in_tables_are_in_order_and_complete),
        cmocka_unit_test(catalog_decides_what_is_unknown),
        cmocka_unit_test(only_what_is_shown_harmless_is_repeatable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
