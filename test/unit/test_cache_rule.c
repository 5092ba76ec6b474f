/* test_cache_rule.c - rules from texts, what is refused, and how statements find them. */
#include "test/unit/support/cache_rig.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define QUERY "SELECT balance FROM app.accounts WHERE user_id = $1"

static void statements_find_their_rule_in_any_spelling(void **state)
{
    (void)state;
    static const char *const same[] = {
        QUERY,
        "select balance from app.accounts where user_id=42",
        "SELECT balance -- of one\n FROM app.accounts WHERE user_id = '7';",
    };
    static const char *const other[] = {
        "SELECT balance FROM app.accounts WHERE user_id = $1 LIMIT 1",
        "SELECT balance FROM accounts WHERE user_id = $1",
        "SELECT 1",
    };
    struct cache_rig r;
    cache_rig_init(&r);
    struct facts *f = cache_rig_facts(&r, QUERY);
    assert_null(cache_rule_find(r.rules, f));
    facts_put(&f);
    assert_true(cache_rig_rule(&r, "other", "SELECT x FROM t WHERE id = $1", NULL));
    assert_true(cache_rig_rule(&r, "balance", QUERY, NULL));
    for (size_t i = 0; i < ARRAY_LEN(same); i++) {
        f = cache_rig_facts(&r, same[i]);
        const struct cache_rule *found = cache_rule_find(r.rules, f);
        assert_non_null(found);
        assert_int_equal(found->index, 1);
        facts_put(&f);
    }
    for (size_t i = 0; i < ARRAY_LEN(other); i++) {
        f = cache_rig_facts(&r, other[i]);
        assert_null(cache_rule_find(r.rules, f));
        facts_put(&f);
    }
    assert_ptr_equal(cache_rule_named(r.rules, STR("balance")), cache_rule_at(r.rules, 1));
    assert_null(cache_rule_named(r.rules, STR("nobody")));
    cache_rig_fini(&r);
}

static void rules_that_differ_in_constants_stand_side_by_side(void **state)
{
    (void)state;
    struct cache_rig r;
    cache_rig_init(&r);
    assert_true(cache_rig_rule(&r, "a", "SELECT x FROM t WHERE id = $1 AND s = 'a'", NULL));
    assert_true(cache_rig_rule(&r, "b", "SELECT x FROM t WHERE id = $1 AND s = 'b'", NULL));
    assert_false(cache_rig_rule(&r, "c", "select x from t where id = $1 and s = 'a'", NULL));
    assert_string_equal(r.error, "rules a and c have one query");
    struct facts *f = cache_rig_facts(&r, "SELECT x FROM t WHERE id = 1 AND s = 'c'");
    const struct cache_rule *found = cache_rule_find(r.rules, f);
    assert_ptr_equal(found, cache_rule_at(r.rules, 0));
    assert_ptr_equal(found->same, cache_rule_at(r.rules, 1));
    assert_null(found->same->same);
    assert_int_not_equal(found->text_hash, found->same->text_hash);
    facts_put(&f);
    cache_rig_fini(&r);
}

static void unusable_rules_are_refused_with_the_reason(void **state)
{
    (void)state;
    static const struct {
        const char *query, *key, *why;
    } cases[] = {
        {"SELECT FROM WHERE", "k", "cannot be parsed"},
        {"UPDATE t SET x = 1 WHERE id = $1", "k:$1", "not one SELECT"},
        {"SELECT x FROM t WHERE id = $1 FOR UPDATE", "k:$1", "not one SELECT"},
        {"SELECT x INTO y FROM t WHERE id = $1", "k:$1", "not one SELECT"},
        {"SELECT x FROM t WHERE id = $1; SELECT 1", "k:$1", "not one SELECT"},
        {"WITH w AS (DELETE FROM t RETURNING 1) SELECT * FROM w", "k", "not one SELECT"},
        {"SELECT nextval('s'), x FROM t", "k", "not one SELECT"},
        {"SHOW work_mem", "k", "not one SELECT"},
        {"SELECT 1", "k", "no table"},
        {"SELECT x FROM t WHERE u = current_user", "k", "CURRENT_USER"},
        {"SELECT x FROM t WHERE d > 'today'", "k", "another time every day"},
        {"SELECT x FROM t WHERE d > ' NOW '", "k", "another time every day"},
        {"SELECT x FROM t WHERE d > E'tomorrow 12:00'", "k", "another time every day"},
        {"SELECT x::app.mine FROM t", "k", "not built in"},
        {"SELECT x FROM t WHERE a = $2", "k:$2", "there is no $1"},
        {"SELECT x FROM t WHERE a = $9", "k", "at most 8 parameters"},
        {"SELECT x FROM t WHERE a = $1", "", "key must have"},
        {"SELECT x FROM t WHERE a = $1", "k:$2", "followed by the number"},
        {"SELECT x FROM t WHERE a = $1", "k:$", "followed by the number"},
        {"SELECT x FROM t WHERE a = $1", "k:$x", "followed by the number"},
    };
    struct cache_rig r;
    cache_rig_init(&r);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (cache_rig_rule(&r, "r", cases[i].query, cases[i].key) ||
            strstr(r.error, cases[i].why) == NULL)
            fail_msg("%s: \"%s\", not \"%s\"", cases[i].query, r.error, cases[i].why);
    }
    assert_int_equal(cache_rule_count(r.rules), 0);
    assert_true(cache_rig_rule(&r, "r", "SELECT x FROM t WHERE known = 'unknown'", "k"));
    assert_false(cache_rig_rule(&r, "r", "SELECT y FROM t", "k"));
    assert_string_equal(r.error, "two rules of the name r");
    cache_rig_fini(&r);
}

static void modes_of_later_releases_say_so(void **state)
{
    (void)state;
    struct cache_rig r;
    struct cache_rule_text text = {
        .name = STR("r"), .query = STR(QUERY), .key = STR("k"), .mode = CACHE_STRICT, .ttl_us = 1};
    enum cache_mode m;
    cache_rig_init(&r);
    assert_false(cache_rig_add(&r, &text));
    assert_non_null(strstr(r.error, "mode strict is not in this release"));
    text.mode = CACHE_BOUNDED;
    assert_false(cache_rig_add(&r, &text));
    assert_non_null(strstr(r.error, "mode bounded is not in this release"));
    text.mode = CACHE_LEASE;
    text.ttl_us = 0;
    assert_false(cache_rig_add(&r, &text));
    assert_true(cache_rule_mode(STR("Lease"), &m) && m == CACHE_LEASE);
    assert_false(cache_rule_mode(STR("leases"), &m));
    cache_rig_fini(&r);
}

static void stated_tables_are_taken_apart(void **state)
{
    (void)state;
    static const struct {
        const char *query, *columns;
        bool ok;
    } cases[] = {
        {"SELECT x FROM t WHERE a = $1", "a", true},
        {"SELECT x FROM t WHERE a = $1", "a = $1", true},
        {"SELECT x FROM t WHERE a = $1", " * ", true},
        {"SELECT x FROM t WHERE a = $1", "", false},
        {"SELECT x FROM t WHERE a = $1", "a = $2", false},
        {"SELECT x FROM t WHERE a = $1", "a = b", false},
        {"SELECT x FROM t WHERE a = $1", "a = $1x", false},
        {"SELECT x FROM t WHERE a = $1 AND b = $2", "a, b", false},
        {"SELECT x FROM t WHERE a = $1 AND b = $2", "a = $1, b=$2", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cache_rig r;
        struct cache_rule_table table = {STR("app.t"), str_of(cases[i].columns)};
        struct cache_rule_text text = {.name = STR("r"),
                                       .query = str_of(cases[i].query),
                                       .key = STR("k:$1"),
                                       .mode = CACHE_TTL,
                                       .ttl_us = 1,
                                       .tables = &table,
                                       .ntables = 1};
        cache_rig_init(&r);
        assert_int_equal(cache_rig_add(&r, &text), cases[i].ok);
        if (cases[i].ok) {
            const struct cache_stated *st = &cache_rule_at(r.rules, 0)->stated[0];
            assert_true(str_eq(st->schema, STR("app")) && str_eq(st->table, STR("t")));
            assert_true(st->whole || (str_eq(st->column[0], STR("a")) && st->param[0] == 1));
        }
        cache_rig_fini(&r);
    }
}

static void listed_functions_match_with_and_without_schema(void **state)
{
    (void)state;
    struct str functions[] = {STR("app.f"), STR("g")};
    struct cache_rule_text text = {.name = STR("r"),
                                   .query = STR(QUERY),
                                   .key = STR("k"),
                                   .mode = CACHE_TTL,
                                   .ttl_us = 1,
                                   .functions = functions,
                                   .nfunctions = 2};
    struct cache_rig r;
    cache_rig_init(&r);
    assert_true(cache_rig_add(&r, &text));
    const struct cache_rule *rule = cache_rule_at(r.rules, 0);
    assert_true(cache_rule_has_function(rule, STR("app"), STR("f")));
    assert_true(cache_rule_has_function(rule, STR(""), STR("f")));
    assert_false(cache_rule_has_function(rule, STR("other"), STR("f")));
    assert_true(cache_rule_has_function(rule, STR("other"), STR("g")));
    assert_false(cache_rule_has_function(rule, STR("app"), STR("h")));
    cache_rig_fini(&r);
}

static void rules_with_other_times_share_no_entries(void **state)
{
    (void)state;
    static const struct {
        usec_t ttl, local;
    } times[] = {{300, 0}, {300, 100}, {200, 0}, {200, 100}};
    struct cache_rule_text text = {
        .name = STR("r"), .query = STR(QUERY), .key = STR("k:$1"), .mode = CACHE_TTL};
    uint64_t words = 0, entries[ARRAY_LEN(times)];
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        struct cache_rig r;
        cache_rig_init(&r);
        text.ttl_us = times[i].ttl;
        text.local_us = times[i].local;
        assert_true(cache_rig_add(&r, &text));
        const struct cache_rule *rule = cache_rule_at(r.rules, 0);
        entries[i] = rule->entry_hash;
        for (size_t k = 0; k < i; k++)
            assert_int_not_equal(entries[k], entries[i]);
        /* names, and what is known of writes to them, stay the same */
        assert_true(i == 0 || words == rule->text_hash);
        words = rule->text_hash;
        assert_int_equal(rule->local_us, times[i].local);
        cache_rig_fini(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statements_find_their_rule_in_any_spelling),
        cmocka_unit_test(rules_that_differ_in_constants_stand_side_by_side),
        cmocka_unit_test(unusable_rules_are_refused_with_the_reason),
        cmocka_unit_test(modes_of_later_releases_say_so),
        cmocka_unit_test(stated_tables_are_taken_apart),
        cmocka_unit_test(listed_functions_match_with_and_without_schema),
        cmocka_unit_test(rules_with_other_times_share_no_entries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
