/* test_cache_deps.c - which rules are safe, and what a statement writes to them. */
#include "test/unit/support/cache_rig.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define BALANCE "SELECT balance FROM app.accounts WHERE user_id = $1"
#define SUM "SELECT sum(amount) FROM app.ledger WHERE user_id = $1"

struct expect {
    const char *text, *reach;
};

static void check_all(struct cache_rig *r, const struct expect *e, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *got = cache_rig_reach(r, e[i].text);
        if (strcmp(got, e[i].reach) != 0)
            fail_msg("%s\n  is %s, not %s", e[i].text, got, e[i].reach);
    }
}

static const char *why(struct cache_rig *r, const char *query, const char *const *rows)
{
    static char text[256];
    cache_rig_init(r);
    assert_true(cache_rig_rule(r, "rule", query, NULL));
    cache_rig_bind(r, rows);
    const struct cache_bound_rule *b = cache_deps_rule(r->bound, 0);
    (void)str_copy(text, sizeof(text), str_of(b->usable ? "" : b->why));
    cache_rig_fini(r);
    return text;
}

static void writes_of_one_row_reach_one_key(void **state)
{
    (void)state;
    static const struct expect cases[] = {
        {"UPDATE app.accounts SET balance = 1 WHERE user_id = 42", "balance:42"},
        {"UPDATE app.accounts SET balance = 1 WHERE 42 = user_id", "balance:42"},
        {"update app.accounts a set balance = 1 where a.user_id = '042' and a.name = 'x'",
         "balance:42"},
        {"UPDATE app.accounts SET balance = 1 WHERE name = 'x' AND (user_id = 42 AND true)",
         "balance:42"},
        {"UPDATE app.accounts SET balance = 1 WHERE user_id = 42::bigint", "balance:42"},
        {"UPDATE accounts SET balance = 1 WHERE user_id = 42 RETURNING *", "balance:42"},
        {"UPDATE app.accounts a SET balance = l.amount FROM app.ledger l WHERE a.user_id = 42",
         "balance:42"},
        {"WITH x AS (SELECT 1) UPDATE app.accounts SET balance = 1 WHERE user_id = 42",
         "balance:42"},
        {"DELETE FROM app.accounts WHERE user_id = 42", "balance:42"},
        {"INSERT INTO app.accounts (user_id, balance) VALUES (42, 1)", "balance:42"},
        {"INSERT INTO app.accounts (balance, user_id) VALUES (1, 42), (2, 43)",
         "balance:42 balance:43"},
        {"INSERT INTO app.accounts (user_id) VALUES (42) ON CONFLICT DO NOTHING", "balance:42"},
        {"INSERT INTO app.accounts (user_id) OVERRIDING SYSTEM VALUE VALUES (42)", "balance:42"},
        {"INSERT INTO app.accounts (user_id, balance) VALUES (42, 1) ON CONFLICT (user_id) DO "
         "UPDATE SET balance = excluded.balance",
         "balance:42"},
    };
    struct cache_rig r;
    cache_rig_init(&r);
    assert_true(cache_rig_rule(&r, "balance", BALANCE, NULL));
    cache_rig_bind(&r, NULL);
    check_all(&r, cases, ARRAY_LEN(cases));
    cache_rig_fini(&r);
}

static void bound_values_make_points_too(void **state)
{
    (void)state;
    struct cache_rig r;
    const char *values[] = {"7", "42"};
    const char *odd[] = {"7", "4 2"};
    const char *text = "UPDATE app.accounts SET balance = $1 WHERE user_id = $2";
    cache_rig_init(&r);
    assert_true(cache_rig_rule(&r, "balance", BALANCE, NULL));
    cache_rig_bind(&r, NULL);
    assert_string_equal(cache_rig_reach_bound(&r, text, values, 2), "balance:42");
    assert_string_equal(cache_rig_reach_bound(&r, text, odd, 2), "all");
    assert_string_equal(cache_rig_reach_bound(&r, text, values, 1), "all");
    cache_rig_fini(&r);
}

static void what_cannot_be_followed_reaches_all(void **state)
{
    (void)state;
    static const struct expect cases[] = {
        {"UPDATE app.accounts SET balance = 1", "all"},
        {"UPDATE app.accounts SET user_id = 43 WHERE user_id = 42", "all"},
        {"UPDATE app.accounts SET balance = 1 WHERE user_id = 42 OR name = 'x'", "all"},
        {"UPDATE app.accounts SET balance = 1 WHERE NOT user_id = 42", "all"},
        {"UPDATE app.accounts SET balance = 1 WHERE user_id = 41 + 1", "all"},
        {"UPDATE app.accounts SET balance = 1 WHERE user_id = 42.0", "all"},
        {"UPDATE app.accounts SET balance = 1 WHERE user_id = -42", "all"},
        {"UPDATE app.accounts SET balance = 1 WHERE user_id = 42::numeric", "all"},
        {"UPDATE app.accounts SET balance = 1 WHERE user_id IN (42)", "all"},
        {"UPDATE app.accounts SET balance = 1 FROM app.ledger WHERE user_id = 42", "all"},
        {"UPDATE app.accounts a SET balance = 1 FROM app.ledger l WHERE l.user_id = 42", "all"},
        {"UPDATE app.accounts SET balance = 1 WHERE EXISTS (SELECT FROM app.accounts b WHERE "
         "b.user_id = 42)",
         "all"},
        {"DELETE FROM app.accounts USING app.ledger l WHERE l.user_id = 42", "all"},
        {"INSERT INTO app.accounts VALUES (42, 1)", "all"},
        {"INSERT INTO app.accounts (balance) VALUES (1)", "all"},
        {"INSERT INTO app.accounts (user_id) VALUES (DEFAULT)", "all"},
        {"INSERT INTO app.accounts (user_id) SELECT 42", "all"},
        {"INSERT INTO app.accounts (user_id) OVERRIDING USER VALUE VALUES (42)", "all"},
        {"INSERT INTO app.accounts (user_id, name) VALUES (42, 'x') ON CONFLICT (name) DO UPDATE "
         "SET balance = 1",
         "all"},
        {"INSERT INTO app.accounts (user_id) VALUES (42) ON CONFLICT (user_id) DO UPDATE SET "
         "user_id = 43",
         "all"},
        {"INSERT INTO app.accounts (user_id) VALUES (42) ON CONFLICT ON CONSTRAINT k DO UPDATE SET "
         "balance = 1",
         "all"},
        {"WITH x AS (DELETE FROM app.accounts) UPDATE app.accounts SET balance = 1 WHERE user_id = "
         "42",
         "all"},
        {"WITH x AS (UPDATE app.accounts SET balance = 1 WHERE user_id = 42 RETURNING 1) SELECT * "
         "FROM x",
         "all"},
        {"UPDATE app.accounts SET balance = 1 WHERE user_id = 1; SELECT 1", "all"},
        {"MERGE INTO app.accounts a USING app.ledger l ON a.user_id = 42 WHEN MATCHED THEN DELETE",
         "all"},
        {"TRUNCATE app.accounts", "all"},
        {"COPY app.accounts FROM STDIN", "all"},
        {"EXPLAIN ANALYZE UPDATE app.accounts SET balance = 1 WHERE user_id = 42", "all"},
        {"DO $$BEGIN END$$", "all"},
        {"CALL app.work()", "all"},
        {"SELECT app.work()", "all"},
        {"EXECUTE x", "all"},
        {"COMMIT PREPARED 'x'", "all"},
        {"ALTER TABLE app.ledger ADD x int", "all"},
        {"REFRESH MATERIALIZED VIEW app.m", "all"},
        {"VACUUM FULL", "all"},
        {"UPDATE unknown SET x = 1", "all"},
        {"this is no sql", "all"},
    };
    struct cache_rig r;
    cache_rig_init(&r);
    assert_true(cache_rig_rule(&r, "balance", BALANCE, NULL));
    cache_rig_bind(&r, NULL);
    check_all(&r, cases, ARRAY_LEN(cases));
    cache_rig_fini(&r);
}

static void what_is_proved_harmless_reaches_nothing(void **state)
{
    (void)state;
    static const struct expect cases[] = {
        {"SELECT * FROM app.accounts", "none"},
        {"SELECT * FROM app.accounts FOR UPDATE", "none"},
        {"UPDATE app.ledger SET amount = 1 WHERE user_id = 42", "none"},
        {"INSERT INTO app.ledger VALUES (1, 2, 3)", "none"},
        {"EXPLAIN UPDATE app.accounts SET balance = 1", "none"},
        {"COPY app.accounts TO STDOUT", "none"},
        {"BEGIN", "none"},
        {"COMMIT", "none"},
        {"SET work_mem = '1MB'", "none"},
        {"SHOW work_mem", "none"},
        {"PREPARE x AS DELETE FROM app.accounts", "none"},
        {"SELECT lower('X')", "none"},
    };
    struct cache_rig r;
    cache_rig_init(&r);
    assert_true(cache_rig_rule(&r, "balance", BALANCE, NULL));
    cache_rig_bind(&r, NULL);
    check_all(&r, cases, ARRAY_LEN(cases));
    cache_rig_fini(&r);
}

static void the_catalog_tells_what_hangs_together(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "r|app|v|rws",
        "relation|app|v|10 v ",
        "view|10|1|",
        "r|app|parent|rws",
        "relation|app|parent|11 p ",
        "child|1|11|",
        "r|app|child|rws",
        "relation|app|child|12 r ",
        "child|12|1|",
        "r|app|users|rws",
        "relation|app|users|13 r ",
        "key|13|1|d",
        "r|app|countries|rws",
        "relation|app|countries|14 r ",
        "key|14|13|u",
        "r|app|audited|rws",
        "relation|app|audited|15 r ",
        "code|app|audit|15",
        "r|app|ruled|rws",
        "relation|app|ruled|16 r ",
        "rule||r1|16",
        "r|app|fresh|rws",
        NULL,
    };
    static const struct expect cases[] = {
        {"UPDATE app.v SET balance = 1 WHERE user_id = 42", "all"},
        {"UPDATE app.parent SET balance = 1 WHERE user_id = 42", "balance:42"},
        {"UPDATE app.child SET balance = 1 WHERE user_id = 42", "balance:42"},
        {"TRUNCATE app.child", "all"},
        {"DELETE FROM app.users WHERE user_id = 42", "all"},
        {"UPDATE app.users SET name = 'x' WHERE user_id = 42", "none"},
        {"INSERT INTO app.users (name) VALUES ('x')", "none"},
        {"TRUNCATE app.users CASCADE", "all"},
        {"DELETE FROM app.countries", "none"},
        {"UPDATE app.countries SET x = 1", "all"},
        {"UPDATE app.audited SET x = 1", "all"},
        {"UPDATE app.ruled SET x = 1", "all"},
        {"SELECT * FROM app.audited", "none"},
        {"UPDATE app.fresh SET x = 1", "all"},
    };
    struct cache_rig r;
    cache_rig_init(&r);
    assert_true(cache_rig_rule(&r, "balance", BALANCE, NULL));
    cache_rig_bind(&r, rows);
    check_all(&r, cases, ARRAY_LEN(cases));
    cache_rig_fini(&r);
}

static void listed_functions_are_harmless_to_their_rule_alone(void **state)
{
    (void)state;
    static const char *const rows[] = {"code|app|touch|1", "code|app|touch|2", NULL};
    struct str functions[] = {STR("app.touch"), STR("work")};
    struct cache_rule_text text = {.name = STR("balance"),
                                   .query = STR(BALANCE),
                                   .key = STR("balance:$1"),
                                   .mode = CACHE_LEASE,
                                   .ttl_us = 1,
                                   .functions = functions,
                                   .nfunctions = 2};
    struct cache_rig r;
    cache_rig_init(&r);
    assert_true(cache_rig_add(&r, &text));
    assert_true(cache_rig_rule(&r, "sum", SUM, NULL));
    cache_rig_bind(&r, rows);
    assert_string_equal(
        cache_rig_reach(&r, "UPDATE app.accounts SET balance = 1 WHERE user_id = 42"),
        "balance:42 all");
    assert_string_equal(cache_rig_reach(&r, "SELECT app.work()"), "none all");
    assert_string_equal(cache_rig_reach(&r, "CALL app.work(1)"), "none all");
    assert_string_equal(cache_rig_reach(&r, "CALL app.other(work())"), "all all");
    assert_string_equal(cache_rig_reach(&r, "SELECT work(); DO 'x'"), "all all");
    cache_rig_fini(&r);
}

static void keys_of_two_parameters_need_both(void **state)
{
    (void)state;
    static const struct expect cases[] = {
        {"UPDATE app.status SET x = 1 WHERE user_id = 42 AND code = 'a b'", "s:42:a b"},
        {"UPDATE app.status SET x = 1 WHERE user_id = 42", "all"},
        {"INSERT INTO app.status (user_id, code) VALUES (42, 'it''s')", "s:42:it's"},
        {"INSERT INTO app.status (user_id, code) VALUES (42, E'x')", "all"},
        {"INSERT INTO app.status (user_id, code) VALUES (42, 'x ')", "all"},
        {"UPDATE app.status SET x = 1 WHERE user_id = 42 AND code = 'x '", "s:42:x "},
    };
    struct cache_rig r;
    cache_rig_init(&r);
    assert_true(cache_rig_rule(&r, "s", "SELECT x FROM app.status WHERE code = $2 AND user_id = $1",
                               "s:$1:$2"));
    cache_rig_bind(&r, NULL);
    check_all(&r, cases, ARRAY_LEN(cases));
    cache_rig_fini(&r);
}

static void keys_are_stated_where_they_cannot_be_derived(void **state)
{
    (void)state;
    static const char *query =
        "SELECT a.balance, l.amount FROM app.accounts a JOIN app.ledger l ON "
        "l.user_id = a.user_id WHERE a.user_id = $1";
    struct cache_rule_table tables[] = {{STR("app.ledger"), STR("user_id")},
                                        {STR("app.accounts"), STR("*")}};
    struct cache_rule_text text = {.name = STR("b"),
                                   .query = str_of(query),
                                   .key = STR("b:$1"),
                                   .mode = CACHE_LEASE,
                                   .ttl_us = 1,
                                   .tables = tables};
    struct cache_rig r;
    for (int n = 0; n <= 2; n++) {
        cache_rig_init(&r);
        text.ntables = n;
        assert_true(cache_rig_add(&r, &text));
        cache_rig_bind(&r, NULL);
        assert_string_equal(cache_rig_reach(&r, "UPDATE app.accounts SET x = 1 WHERE user_id = 42"),
                            n < 2 ? "b:42" : "all");
        assert_string_equal(cache_rig_reach(&r, "UPDATE app.ledger SET x = 1 WHERE user_id = 42"),
                            n > 0 ? "b:42" : "all");
        cache_rig_fini(&r);
    }
}

static void a_table_that_is_read_twice_has_no_key(void **state)
{
    (void)state;
    static const char *const rows[] = {"r|app|v|rws", "relation|app|v|10 v ", "view|10|1|", NULL};
    static const char *const queries[] = {
        "SELECT a.x FROM app.accounts a, app.accounts b WHERE a.user_id = $1",
        "SELECT a.x FROM app.accounts a, app.v WHERE a.user_id = $1",
        "SELECT x FROM app.accounts WHERE user_id = $1 OR name = 'x'",
        "SELECT (SELECT x FROM app.accounts b LIMIT 1) FROM app.accounts WHERE user_id = $1",
    };
    for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
        struct cache_rig r;
        cache_rig_init(&r);
        assert_true(cache_rig_rule(&r, "b", queries[i], NULL));
        cache_rig_bind(&r, rows);
        assert_true(cache_deps_rule(r.bound, 0)->usable);
        assert_string_equal(cache_rig_reach(&r, "UPDATE app.accounts SET x = 1 WHERE user_id = 42"),
                            "all");
        cache_rig_fini(&r);
    }
}

static void unsafe_rules_say_why(void **state)
{
    (void)state;
    static const struct {
        const char *query, *rows[4], *why;
    } cases[] = {
        {BALANCE, {NULL}, ""},
        {"SELECT lower(name) FROM app.accounts WHERE user_id = $1", {NULL}, ""},
        {"SELECT x FROM app.nothing WHERE user_id = $1", {NULL}, "there is no table nothing"},
        {"SELECT x FROM app.accounts WHERE user_id = $1 AND t > now()", {NULL}, "now()"},
        {"SELECT app.f(x) FROM app.accounts WHERE user_id = $1", {NULL}, "f()"},
        {"SELECT x FROM app.accounts WHERE balance = $1", {NULL}, "column balance is none of"},
        {"SELECT x FROM app.accounts WHERE user_id > $1", {NULL}, "$1 is not compared"},
        {"SELECT x FROM app.accounts WHERE user_id = $1::text", {NULL}, "column user_id is none"},
        {"SELECT x FROM app.accounts WHERE user_id = $1 OR name = $1", {NULL}, "two types"},
        {"SELECT x FROM app.v WHERE user_id = $1",
         {"r|app|v|rws", "relation|app|v|10 v ", "column|10|user_id|int8"},
         ""},
        {"SELECT x FROM app.v WHERE user_id = $1",
         {"r|app|v|rws", "relation|app|v|10 v ", "unsteady||it calls now|10"},
         "it calls now"},
        {"SELECT x FROM app.f WHERE user_id = $1",
         {"r|app|f|rws", "relation|app|f|10 f "},
         "neither a table nor a view"},
        {"SELECT x FROM app.p WHERE user_id = $1",
         {"r|app|p|rws", "relation|app|p|10 r p"},
         "row level security"},
        {BALANCE, {"relation|app|child|10 r p", "child|10|1|"}, "row level security"},
        {BALANCE, {"r|app|accounts|rw"}, "may run code"},
        {BALANCE, {"c||operator|"}, "code of its own"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cache_rig r;
        const char *rows[5] = {cases[i].rows[0], cases[i].rows[1], cases[i].rows[2],
                               cases[i].rows[3], NULL};
        const char *got = why(&r, cases[i].query, rows);
        if (cases[i].why[0] == '\0' ? got[0] != '\0' : strstr(got, cases[i].why) == NULL)
            fail_msg("%s\n  is refused because \"%s\", not \"%s\"", cases[i].query, got,
                     cases[i].why);
    }
}

static void without_a_bound_there_is_nothing_to_do(void **state)
{
    (void)state;
    struct cache_rig r;
    cache_rig_init(&r);
    assert_string_equal(cache_rig_reach(&r, "DELETE FROM app.accounts"), "");
    cache_rig_fini(&r);
}

static void a_catalog_without_details_proves_nothing(void **state)
{
    (void)state;
    struct cache_rig r;
    cache_rig_init(&r);
    assert_true(cache_rig_rule(&r, "balance", BALANCE, NULL));
    r.catalog = catalog_new(1);
    r.bound = cache_deps_bind(r.rules, r.catalog);
    assert_false(cache_deps_rule(r.bound, 0)->usable);
    cache_rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_of_one_row_reach_one_key),
        cmocka_unit_test(bound_values_make_points_too),
        cmocka_unit_test(what_cannot_be_followed_reaches_all),
        cmocka_unit_test(what_is_proved_harmless_reaches_nothing),
        cmocka_unit_test(the_catalog_tells_what_hangs_together),
        cmocka_unit_test(listed_functions_are_harmless_to_their_rule_alone),
        cmocka_unit_test(keys_of_two_parameters_need_both),
        cmocka_unit_test(keys_are_stated_where_they_cannot_be_derived),
        cmocka_unit_test(a_table_that_is_read_twice_has_no_key),
        cmocka_unit_test(unsafe_rules_say_why),
        cmocka_unit_test(without_a_bound_there_is_nothing_to_do),
        cmocka_unit_test(a_catalog_without_details_proves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
