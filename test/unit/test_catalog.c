/* test_catalog.c - rows in, answers out: the snapshot of names, its limits and its references. */
#include "protocol/catalog.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>

static enum status add(struct catalog *c, const char *kind, const char *schema, const char *name,
                       const char *flags)
{
    struct str cols[4] = {str_of(kind), str_of(schema), str_of(name), str_of(flags)};
    return catalog_add_row(c, cols, 4, NULL);
}

static bool reads(const struct catalog *c, const char *schema, const char *name)
{
    return catalog_relation_proved(c, str_of(schema), str_of(name));
}

static bool writes(const struct catalog *c, const char *schema, const char *name)
{
    return catalog_relation_write_proved(c, str_of(schema), str_of(name));
}

static bool calls(const struct catalog *c, const char *schema, const char *name)
{
    return catalog_function_proved(c, str_of(schema), str_of(name));
}

static void an_empty_snapshot_proves_nothing(void **state)
{
    (void)state;
    struct catalog *c = catalog_new(7);
    assert_int_equal(catalog_generation(c), 7);
    assert_false(reads(c, "public", "t"));
    assert_false(reads(c, "", "t"));
    assert_false(writes(c, "pg_catalog", "pg_class"));
    assert_false(calls(c, "", "lower"));
    assert_false(catalog_has_custom_code(c));
    catalog_put(&c);
    assert_null(c);
}

static void relations_are_proved_by_their_flags(void **state)
{
    (void)state;
    struct catalog *c = catalog_new(1);
    assert_int_equal(add(c, "r", "public", "both", "rw"), ST_OK);
    assert_int_equal(add(c, "r", "public", "reads", "r"), ST_OK);
    assert_int_equal(add(c, "r", "public", "none", ""), ST_OK);
    assert_int_equal(add(c, "r", "public", "odd", "w"), ST_OK);
    assert_true(reads(c, "public", "both") && writes(c, "public", "both"));
    assert_true(reads(c, "public", "reads") && !writes(c, "public", "reads"));
    assert_true(!reads(c, "public", "none") && !writes(c, "public", "none"));
    /* Writing reads too. */
    assert_true(!reads(c, "public", "odd") && !writes(c, "public", "odd"));
    catalog_put(&c);
}

static void a_bare_name_that_is_suspect_anywhere_is_suspect(void **state)
{
    (void)state;
    static const char *const order[2][2] = {{"rw", ""}, {"", "rw"}};
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        struct catalog *c = catalog_new(1);
        assert_int_equal(add(c, "r", "a", "t", order[i][0]), ST_OK);
        assert_int_equal(add(c, "r", "b", "t", order[i][1]), ST_OK);
        assert_int_equal(add(c, "r", "c", "t", "rw"), ST_OK);
        assert_false(reads(c, "", "t"));
        assert_int_equal(reads(c, "a", "t"), i == 0);
        assert_int_equal(reads(c, "b", "t"), i == 1);
        assert_true(writes(c, "c", "t"));
        assert_false(reads(c, "d", "t"));
        catalog_put(&c);
    }
}

static void a_bare_name_keeps_what_all_schemas_prove(void **state)
{
    (void)state;
    struct catalog *c = catalog_new(1);
    assert_int_equal(add(c, "r", "a", "t", "rw"), ST_OK);
    assert_true(writes(c, "", "t"));
    assert_int_equal(add(c, "r", "b", "t", "r"), ST_OK);
    assert_true(reads(c, "", "t"));
    assert_false(writes(c, "", "t"));
    catalog_put(&c);
}

static void names_are_compared_exactly_and_schema_and_name_do_not_run_together(void **state)
{
    (void)state;
    struct catalog *c = catalog_new(1);
    assert_int_equal(add(c, "r", "ab", "c", "rw"), ST_OK);
    assert_false(reads(c, "a", "bc"));
    assert_false(reads(c, "AB", "c"));
    assert_false(reads(c, "ab", "C"));
    assert_false(reads(c, "", "ab"));
    assert_false(catalog_relation_proved(c, STR(""), STR("ab\0c")));
    assert_false(catalog_relation_proved(c, STR("a"), STR("")));
    assert_false(catalog_relation_proved(c, STR_NONE, STR_NONE));
    assert_true(catalog_relation_proved(c, STR_NONE, STR("c")));
    catalog_put(&c);
}

static void functions_are_proved_bare_or_only_with_their_schema(void **state)
{
    (void)state;
    struct catalog *c = catalog_new(1);
    assert_int_equal(add(c, "f", "pg_catalog", "lower", "bq"), ST_OK);
    assert_int_equal(add(c, "f", "pg_catalog", "upper", "q"), ST_OK);
    assert_int_equal(add(c, "f", "pg_catalog", "setseed", ""), ST_OK);
    assert_true(calls(c, "", "lower") && calls(c, "pg_catalog", "lower"));
    assert_true(!calls(c, "", "upper") && calls(c, "pg_catalog", "upper"));
    assert_true(!calls(c, "", "setseed") && !calls(c, "pg_catalog", "setseed"));
    assert_false(calls(c, "public", "lower"));
    /* A relation of the same name is another thing. */
    assert_false(reads(c, "pg_catalog", "lower"));
    catalog_put(&c);
}

static void a_read_is_repeatable_only_where_it_is_proved_too(void **state)
{
    (void)state;
    static const struct {
        const char *kind, *schema, *name, *flags;
        bool full, bare;
    } rows[] = {
        {"r", "public", "table", "rws", true, true},
        {"r", "public", "triggers", "rs", true, true},
        {"r", "public", "random", "rw", false, false},
        {"r", "public", "nothing", "", false, false},
        {"r", "public", "odd", "s", false, false},
        {"f", "pg_catalog", "lower", "bqs", true, true},
        {"f", "pg_catalog", "shadowed", "qs", true, false},
        {"f", "pg_catalog", "random", "bq", false, false},
        {"f", "pg_catalog", "odd", "s", false, false},
    };
    struct catalog *c = catalog_new(1);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(add(c, rows[i].kind, rows[i].schema, rows[i].name, rows[i].flags), ST_OK);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        bool (*ask)(const struct catalog *, struct str, struct str) =
            rows[i].kind[0] == 'r' ? catalog_relation_repeatable : catalog_function_repeatable;
        assert_int_equal(ask(c, str_of(rows[i].schema), str_of(rows[i].name)), rows[i].full);
        assert_int_equal(ask(c, STR(""), str_of(rows[i].name)), rows[i].bare);
        assert_false(ask(c, STR("other"), str_of(rows[i].name)));
    }
    /* One namesake that is not, and the bare name is not. */
    assert_int_equal(add(c, "r", "other", "table", "rw"), ST_OK);
    assert_int_equal(add(c, "f", "other", "lower", "bq"), ST_OK);
    assert_false(catalog_relation_repeatable(c, STR(""), STR("table")));
    assert_true(catalog_relation_repeatable(c, STR("public"), STR("table")));
    assert_false(catalog_function_repeatable(c, STR(""), STR("lower")));
    assert_true(catalog_function_repeatable(c, STR("pg_catalog"), STR("lower")));
    catalog_put(&c);
}

static void volatile_code_is_remembered_apart(void **state)
{
    (void)state;
    struct catalog *c = catalog_new(1);
    assert_false(catalog_has_volatile_code(c));
    assert_int_equal(add(c, "v", "", "operator", ""), ST_OK);
    assert_true(catalog_has_volatile_code(c) && !catalog_has_custom_code(c));
    assert_int_equal(add(c, "c", "", "cast", ""), ST_OK);
    assert_true(catalog_has_volatile_code(c) && catalog_has_custom_code(c));
    catalog_put(&c);
}

static enum catalog_use use_of(const struct catalog *c, const char *schema, const char *name)
{
    return catalog_relation_use(c, str_of(schema), str_of(name));
}

static void why_a_standby_may_not_read_is_told(void **state)
{
    static const struct {
        const char *name, *flags;
        enum catalog_use use;
    } rows[] = {
        {"yes", "rwst", CATALOG_STANDBY},      {"label", "t", CATALOG_STANDBY},
        {"volatile", "rw", CATALOG_VOLATILE},  {"unlogged", "rwsu", CATALOG_UNLOGGED},
        {"sequence", "rwz", CATALOG_SEQUENCE}, {"far", "x", CATALOG_FOREIGN},
        {"sessions", "ry", CATALOG_SHOWS},
    };
    struct catalog *c = catalog_new(1);
    (void)state;
    assert_int_equal(use_of(c, "public", "yes"), CATALOG_UNKNOWN);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(add(c, "r", "public", rows[i].name, rows[i].flags), ST_OK);
        assert_int_equal(use_of(c, "public", rows[i].name), rows[i].use);
        assert_int_equal(use_of(c, "", rows[i].name), rows[i].use);
        assert_int_equal(use_of(c, "other", rows[i].name), CATALOG_UNKNOWN);
    }
    /* One namesake spoils the bare name. */
    assert_int_equal(add(c, "r", "other", "yes", "rwsu"), ST_OK);
    assert_int_equal(use_of(c, "public", "yes"), CATALOG_STANDBY);
    assert_int_equal(use_of(c, "", "yes"), CATALOG_VOLATILE);
    assert_int_equal(add(c, "f", "public", "f", "t"), ST_OK);
    assert_int_equal(add(c, "f", "public", "g", "y"), ST_OK);
    assert_int_equal(catalog_function_use(c, STR("public"), STR("f")), CATALOG_STANDBY);
    assert_int_equal(catalog_function_use(c, STR(""), STR("g")), CATALOG_SHOWS);
    assert_int_equal(catalog_function_use(c, STR(""), STR("h")), CATALOG_UNKNOWN);
    assert_false(calls(c, "public", "f")); /* a label is no proof of what is left behind */
    catalog_put(&c);
}

static void a_table_for_itself_is_marked(void **state)
{
    struct catalog *c = catalog_new(1);
    (void)state;
    assert_int_equal(add(c, "r", "public", "a", "rwstp"), ST_OK);
    assert_int_equal(add(c, "r", "public", "b", "rwst"), ST_OK);
    assert_true(catalog_relation_plain(c, STR(""), STR("a")));
    assert_false(catalog_relation_plain(c, STR(""), STR("b")));
    assert_int_equal(add(c, "r", "other", "a", "rwst"), ST_OK);
    assert_true(catalog_relation_plain(c, STR("public"), STR("a")));
    assert_false(catalog_relation_plain(c, STR(""), STR("a")));
    catalog_put(&c);
}

static void custom_code_is_remembered(void **state)
{
    (void)state;
    struct catalog *c = catalog_new(1);
    assert_int_equal(add(c, "c", "", "operator", ""), ST_OK);
    assert_int_equal(add(c, "c", "", "cast", ""), ST_OK);
    assert_true(catalog_has_custom_code(c));
    assert_false(catalog_has_volatile_code(c));
    catalog_put(&c);
}

static void rows_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    static const char *const bad[][4] = {
        {"x", "public", "t", "rw"},   {"", "public", "t", "rw"},      {"rr", "public", "t", "rw"},
        {"r", "", "t", "rw"},         {"r", "public", "", "rw"},      {"r", "public", "t", "k"},
        {"r", "public", "t", "rsws"}, {"f", "pg_catalog", "f", "ss"}, {"r", "public", "t", "rr"},
        {"r", "public", "t", "b"},    {"f", "pg_catalog", "f", "r"},  {"f", "", "f", "b"},
        {NULL, "public", "t", "rw"},  {"r", NULL, "t", "rw"},         {"r", "public", NULL, "rw"},
        {"r", "public", "t", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct catalog *c = catalog_new(1);
        struct error err = {{0}};
        struct str cols[4];
        for (size_t k = 0; k < 4; k++)
            cols[k] = str_of(bad[i][k]);
        assert_int_equal(catalog_add_row(c, cols, 4, &err), ST_INVALID);
        assert_true(err.text[0] != '\0');
        assert_false(reads(c, "public", "t"));
        catalog_put(&c);
    }
}

static void a_wrong_number_of_columns_is_refused(void **state)
{
    (void)state;
    struct catalog *c = catalog_new(1);
    struct str cols[5] = {STR("r"), STR("public"), STR("t"), STR("rw"), STR("")};
    static const int counts[] = {-1, 0, 1, 3, 5, 16};
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        assert_int_equal(catalog_add_row(c, cols, counts[i], NULL), ST_INVALID);
    assert_int_equal(catalog_add_row(c, cols, 4, NULL), ST_OK);
    catalog_put(&c);
}

static void names_with_zero_bytes_and_long_names_are_refused(void **state)
{
    (void)state;
    struct catalog *c = catalog_new(1);
    static char text[256];
    memset(text, 'n', sizeof(text));
    struct str fits = {text, 255}, over = {text, 256};
    struct str rows[][4] = {
        {STR("r"), STR("public"), over, STR("rw")},
        {STR("r"), over, STR("t"), STR("rw")},
        {STR("r"), STR("public"), STR("t\0x"), STR("rw")},
        {STR("r"), STR("pub\0lic"), STR("t"), STR("rw")},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(catalog_add_row(c, rows[i], 4, NULL), ST_INVALID);
    assert_false(catalog_relation_proved(c, STR(""), over));
    struct str row[4] = {STR("r"), fits, fits, STR("rw")};
    assert_int_equal(catalog_add_row(c, row, 4, NULL), ST_OK);
    assert_true(catalog_relation_write_proved(c, fits, fits));
    assert_true(catalog_relation_write_proved(c, STR(""), fits));
    catalog_put(&c);
}

static void the_millionth_name_is_the_last(void **state)
{
    (void)state;
    struct catalog *c = catalog_new(1);
    /* The same few names again and again: rows are counted, which bounds the names. */
    struct str row[4] = {STR("r"), STR("s"), STR("t"), STR("rw")};
    for (int i = 0; i < 1000000; i++) {
        if (catalog_add_row(c, row, 4, NULL) != ST_OK)
            fail();
    }
    struct error err = {{0}};
    assert_int_equal(catalog_add_row(c, row, 4, &err), ST_LIMIT);
    assert_true(err.text[0] != '\0');
    catalog_put(&c);
}

static void many_names_are_all_found(void **state)
{
    (void)state;
    struct catalog *c = catalog_new(1);
    char name[32];
    for (int i = 0; i < 20000; i++) {
        (void)snprintf(name, sizeof(name), "t%d", i);
        assert_int_equal(add(c, "r", "public", name, i % 3 == 0 ? "r" : "rw"), ST_OK);
    }
    for (int i = 0; i < 20000; i++) {
        (void)snprintf(name, sizeof(name), "t%d", i);
        if (!reads(c, "", name) || writes(c, "public", name) != (i % 3 != 0))
            fail_msg("%s is wrong", name);
    }
    catalog_put(&c);
}

static void *take_and_give_back(void *arg)
{
    struct catalog *shared = arg;
    for (int i = 0; i < 10000; i++) {
        struct catalog *mine = catalog_get(shared);
        if (!catalog_relation_proved(mine, STR(""), STR("t")))
            return arg;
        catalog_put(&mine);
    }
    struct catalog *given = shared;
    catalog_put(&given);
    return NULL;
}

static void details_come_back_as_they_were_given(void **state)
{
    (void)state;
    struct catalog *c = catalog_new(1);
    struct catalog_detail d[4];
    int n = 0;
    assert_false(catalog_has_details(c));
    assert_int_equal(add(c, "relation", "app", "v", "16400 v p"), ST_OK);
    assert_int_equal(add(c, "column", "16400", "user_id", "int8"), ST_OK);
    assert_int_equal(add(c, "key", "16400", "16401", "du"), ST_OK);
    assert_int_equal(add(c, "code", "app", "f", "16400"), ST_OK);
    assert_int_equal(add(c, "end", "", "", ""), ST_OK);
    assert_true(catalog_has_details(c));
    for (size_t i = 0; n < 4 && catalog_next_detail(c, &i, &d[n]);)
        n++;
    assert_int_equal(n, 4);
    assert_true(d[0].kind == CATALOG_RELATION && d[0].id == 16400);
    assert_true(d[0].what == CATALOG_IS_VIEW && d[0].flags == CATALOG_POLICIES);
    assert_true(str_eq(d[0].schema, STR("app")) && str_eq(d[0].name, STR("v")));
    assert_true(d[1].kind == CATALOG_COLUMN && d[1].id == 16400 && d[1].type == CATALOG_INT8);
    assert_true(str_eq(d[1].name, STR("user_id")));
    assert_true(d[2].kind == CATALOG_REFERENCE && d[2].id2 == 16401);
    assert_int_equal(d[2].flags, CATALOG_ON_DELETE | CATALOG_ON_UPDATE);
    assert_true(d[3].kind == CATALOG_CODE && str_eq(d[3].name, STR("f")));
    catalog_put(&c);
}

static void details_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    static const char *const bad[][4] = {
        {"relation", "app", "t", ""},
        {"relation", "app", "t", "x r "},
        {"relation", "app", "", "1 r "},
        {"relation", "app", "t", "1 rr "},
        {"column", "0", "c", "int8"},
        {"column", "1", "c", "float8"},
        {"column", "4294967296", "c", ""},
        {"child", "1", "x", ""},
        {"key", "", "1", ""},
        {"code", "app", "f", ""},
        {"unsteady", "", "", "1"},
        {"immutable", "pg_catalog", "", ""},
        {"nonsense", "1", "2", "3"},
    };
    struct catalog *c = catalog_new(1);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(add(c, bad[i][0], bad[i][1], bad[i][2], bad[i][3]), ST_INVALID);
    catalog_put(&c);
}

static void references_are_counted_across_threads(void **state)
{
    (void)state;
    struct catalog *c = catalog_new(1);
    assert_int_equal(add(c, "r", "public", "t", "rw"), ST_OK);
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_give_back, catalog_get(c)), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        void *failed = NULL;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    assert_true(reads(c, "public", "t"));
    catalog_put(&c);
    catalog_put(&c); /* NULL is fine */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_snapshot_proves_nothing),
        cmocka_unit_test(relations_are_proved_by_their_flags),
        cmocka_unit_test(a_bare_name_that_is_suspect_anywhere_is_suspect),
        cmocka_unit_test(a_bare_name_keeps_what_all_schemas_prove),
        cmocka_unit_test(names_are_compared_exactly_and_schema_and_name_do_not_run_together),
        cmocka_unit_test(functions_are_proved_bare_or_only_with_their_schema),
        cmocka_unit_test(a_read_is_repeatable_only_where_it_is_proved_too),
        cmocka_unit_test(volatile_code_is_remembered_apart),
        cmocka_unit_test(why_a_standby_may_not_read_is_told),
        cmocka_unit_test(a_table_for_itself_is_marked),
        cmocka_unit_test(custom_code_is_remembered),
        cmocka_unit_test(rows_that_make_no_sense_are_refused),
        cmocka_unit_test(a_wrong_number_of_columns_is_refused),
        cmocka_unit_test(names_with_zero_bytes_and_long_names_are_refused),
        cmocka_unit_test(the_millionth_name_is_the_last),
        cmocka_unit_test(many_names_are_all_found),
        cmocka_unit_test(details_come_back_as_they_were_given),
        cmocka_unit_test(details_that_make_no_sense_are_refused),
        cmocka_unit_test(references_are_counted_across_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
