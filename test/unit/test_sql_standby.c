/* test_sql_standby.c - which statements a standby may run and why not: the table that the
 * integration tests run for real, here with a catalog made by hand. */
#include "protocol/sql/sql_cache.h"
#include "protocol/sql_standby.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

struct entry {
    const char *text, *node, *reason;
};

static const struct entry table[] = {
#include "test/integration/route_table.inc"
};

/* The rows that the catalog question gives for the objects of the table (route_objects.py). */
static const char *const rows[][4] = {
    {"r", "public", "users", "rwst"},
    {"r", "public", "accounts", "rwst"},
    {"r", "public", "scratch", "rwstp"},
    {"r", "public", "logs", "rwsup"},
    {"r", "public", "far", "x"},
    {"r", "public", "part", "rwst"},
    {"r", "public", "part1", "rwst"},
    {"r", "public", "seq", "rwz"},
    {"r", "public", "with_trigger", "rst"},
    {"r", "public", "guarded", "t"},
    {"r", "public", "guarded_at_random", "rw"},
    {"r", "public", "v_accounts", "rwst"},
    {"r", "public", "v_of_view", "rwst"},
    {"r", "public", "v_random", "rw"},
    {"r", "public", "v_of_random", "rw"},
    {"r", "public", "v_writes", ""},
    {"r", "public", "v_stable_code", "t"},
    {"r", "public", "v_locks", "rw"},
    {"r", "public", "v_logs", "rwsu"},
    {"r", "public", "v_seq", "rw"},
    {"r", "public", "v_sessions", "rw"},
    {"r", "public", "mat", "rwst"},
    {"r", "pg_catalog", "pg_class", "rwst"},
    {"r", "pg_catalog", "pg_type", "rwst"},
    {"r", "pg_catalog", "pg_tables", "rwst"},
    {"r", "information_schema", "tables", "rwst"},
    {"r", "pg_catalog", "pg_sequences", "rwy"},
    {"r", "pg_catalog", "pg_stat_activity", "rwy"},
    {"r", "pg_catalog", "pg_stat_user_tables", "rwy"},
    {"r", "pg_catalog", "pg_stat_replication", "rwy"},
    {"r", "pg_catalog", "pg_locks", "rwy"},
    {"r", "pg_catalog", "pg_settings", "ry"},
    {"r", "pg_catalog", "pg_prepared_statements", "rwy"},
    {"r", "pg_catalog", "pg_replication_slots", "rwy"},
    {"f", "public", "fn_stable", "t"},
    {"f", "public", "fn_immutable", "t"},
    {"f", "public", "fn_sql", "t"},
    {"f", "public", "fn_volatile", ""},
    {"f", "public", "fn_writes", ""},
    {"f", "public", "fn_mixed", ""},
    {"f", "public", "total", "t"},
    {"f", "public", "total_volatile", ""},
};

static const char *const steady[] = {
    "age",
    "array_agg",
    "count",
    "current_database",
    "current_schema",
    "date_trunc",
    "extract",
    "format_type",
    "generate_series",
    "has_table_privilege",
    "json_agg",
    "jsonb_build_object",
    "length",
    "lower",
    "max",
    "md5",
    "min",
    "now",
    "obj_description",
    "percentile_cont",
    "pg_get_viewdef",
    "rank",
    "row_number",
    "string_agg",
    "substring",
    "sum",
    "to_char",
    "to_json",
    "to_regclass",
    "transaction_timestamp",
    "unnest",
    "upper",
    "version",
    "similar_to_escape",
    "timezone",
};

static const char *const unsteady[] = {
    "random",           "setseed",  "query_to_xml",      "clock_timestamp",    "timeofday",
    "gen_random_uuid",  "pg_sleep", "pg_is_in_recovery", "pg_current_wal_lsn", "pg_relation_size",
    "pg_database_size", "system",
};

static const char *const shows[] = {
    "current_setting", "inet_server_addr",     "inet_server_port",
    "pg_backend_pid",  "pg_stat_get_numscans", "pg_postmaster_start_time",
};

static void add(struct catalog *c, const char *kind, const char *schema, const char *name,
                const char *flags)
{
    struct str cols[4] = {str_of(kind), str_of(schema), str_of(name), str_of(flags)};
    assert_int_equal(catalog_add_row(c, cols, 4, NULL), ST_OK);
}

static struct catalog *make_catalog(uint64_t generation)
{
    struct catalog *c = catalog_new(generation);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        add(c, rows[i][0], rows[i][1], rows[i][2], rows[i][3]);
    for (size_t i = 0; i < ARRAY_LEN(steady); i++)
        add(c, "f", "pg_catalog", steady[i], "bqst");
    for (size_t i = 0; i < ARRAY_LEN(unsteady); i++)
        add(c, "f", "pg_catalog", unsteady[i], "bq");
    for (size_t i = 0; i < ARRAY_LEN(shows); i++)
        add(c, "f", "pg_catalog", shows[i], "bqy");
    return c;
}

static enum sql_standby verdict(struct sql_cache *sql, const struct catalog *cat, const char *text)
{
    struct facts *f = sql_cache_get(sql, str_of(text), 0);
    enum sql_standby v = sql_standby(f, cat);
    assert_int_equal(sql_standby(f, cat), v); /* from the memo */
    facts_put(&f);
    return v;
}

static void every_statement_of_the_table_has_its_reason(void **state)
{
    struct sql_cache *sql = sql_cache_new(1 << 20);
    struct catalog *cat = make_catalog(1);
    unsigned wrong = 0;
    (void)state;
    assert_true(ARRAY_LEN(table) >= 150);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const struct entry *e = &table[i];
        enum sql_standby v = verdict(sql, cat, e->text);
        const char *node = v == STANDBY_OK ? "replica" : "primary";
        if (strcmp(sql_standby_name(v), e->reason) != 0 || strcmp(node, e->node) != 0) {
            print_error("%s: %s, not %s\n", e->text, sql_standby_name(v), e->reason);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
    catalog_put(&cat);
    sql_cache_free(&sql);
}

static void without_a_catalog_nothing_is_a_read(void **state)
{
    struct sql_cache *sql = sql_cache_new(1 << 20);
    struct catalog *empty = catalog_new(2);
    (void)state;
    assert_int_equal(verdict(sql, NULL, "SELECT 1"), STANDBY_NO_CATALOG);
    assert_int_equal(verdict(sql, NULL, "UPDATE t SET a = 1"), STANDBY_WRITE);
    assert_int_equal(verdict(sql, empty, "SELECT 1"), STANDBY_OK);
    assert_int_equal(verdict(sql, empty, "SELECT lower('A')"), STANDBY_UNKNOWN_FUNCTION);
    assert_int_equal(verdict(sql, empty, "SELECT * FROM t"), STANDBY_UNKNOWN_RELATION);
    catalog_put(&empty);
    sql_cache_free(&sql);
}

static void the_memo_belongs_to_one_catalog(void **state)
{
    struct sql_cache *sql = sql_cache_new(1 << 20);
    struct catalog *a = catalog_new(1), *b = catalog_new(2);
    (void)state;
    add(a, "r", "public", "t", "rwst");
    add(b, "r", "public", "t", "rwsu");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(verdict(sql, a, "SELECT * FROM t"), STANDBY_OK);
        assert_int_equal(verdict(sql, b, "SELECT * FROM t"), STANDBY_UNLOGGED);
    }
    catalog_put(&a);
    catalog_put(&b);
    sql_cache_free(&sql);
}

static void volatile_code_behind_operators_spoils_every_read(void **state)
{
    struct sql_cache *sql = sql_cache_new(1 << 20);
    struct catalog *c = make_catalog(1);
    (void)state;
    add(c, "c", "", "operator", "");
    assert_int_equal(verdict(sql, c, "SELECT * FROM accounts"), STANDBY_OK);
    catalog_put(&c);
    c = make_catalog(2);
    add(c, "v", "", "operator", "");
    assert_int_equal(verdict(sql, c, "SELECT * FROM accounts"), STANDBY_CUSTOM_CODE);
    assert_int_equal(verdict(sql, c, "SELECT 1"), STANDBY_CUSTOM_CODE);
    catalog_put(&c);
    sql_cache_free(&sql);
}

static void modes_of_a_transaction_are_known(void **state)
{
    static const struct {
        const char *text;
        bool only, write, serializable;
    } cases[] = {
        {"BEGIN", false, false, false},
        {"BEGIN READ ONLY", true, false, false},
        {"BEGIN READ WRITE", false, true, false},
        {"BEGIN READ ONLY, READ WRITE", false, true, false},
        {"START TRANSACTION READ ONLY", true, false, false},
        {"BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE", true, false, true},
        {"BEGIN ISOLATION LEVEL SERIALIZABLE ISOLATION LEVEL READ COMMITTED", false, false, false},
        {"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", true, false, false},
        {"SET TRANSACTION READ ONLY", true, false, false},
        {"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE", false, true, false},
        {"SET TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY", true, false, true},
        {"SET TRANSACTION SNAPSHOT '00000003-0000001B-1'", false, false, false},
        /* by the grammar, for these are more than one statement or have a quoted word */
        {"BEGIN; ", false, false, false},
        {"BEGIN READ ONLY; SELECT 1", false, false, false},
    };
    struct sql_cache *sql = sql_cache_new(1 << 20);
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct facts *f = sql_cache_get(sql, str_of(cases[i].text), 0);
        if (f->read_only_begin != cases[i].only || f->read_write_begin != cases[i].write ||
            f->serializable_begin != cases[i].serializable)
            fail_msg("%s: %d %d %d", cases[i].text, f->read_only_begin, f->read_write_begin,
                     f->serializable_begin);
        facts_put(&f);
    }
    sql_cache_free(&sql);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_statement_of_the_table_has_its_reason),
        cmocka_unit_test(without_a_catalog_nothing_is_a_read),
        cmocka_unit_test(the_memo_belongs_to_one_catalog),
        cmocka_unit_test(volatile_code_behind_operators_spoils_every_read),
        cmocka_unit_test(modes_of_a_transaction_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
