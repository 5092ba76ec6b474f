/* test_cache_gate.c - the one gate: each reason by itself, and their order. */
#include "cache/cache_gate.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct cache_rule rule = {.mode = CACHE_LEASE};
static const struct cache_bound_rule bound = {.usable = true};

static struct cache_gate open_gate(void)
{
    return (struct cache_gate){.rule = &rule, .bound = &bound, .user = STR("u")};
}

static void nothing_against_it_lets_it_pass(void **state)
{
    (void)state;
    struct cache_gate g = open_gate();
    assert_int_equal(cache_gate_check(&g), CACHE_BYPASS_NONE);
}

static void each_reason_stops_it_and_the_first_is_told(void **state)
{
    (void)state;
    static struct str users[] = {{"v", 1}};
    static const struct cache_rule off = {.mode = CACHE_OFF},
                                   others = {.mode = CACHE_TTL, .users = users, .nusers = 1};
    static const struct cache_bound_rule refused = {.usable = false};
    struct cache_gate g = open_gate();
    /* From the last reason to the first: each one covers those before. */
    g.upgrading = true;
    assert_int_equal(cache_gate_check(&g), CACHE_BYPASS_UPGRADE);
    g.row_limit = true;
    assert_int_equal(cache_gate_check(&g), CACHE_BYPASS_ROW_LIMIT);
    g.not_alone = true;
    assert_int_equal(cache_gate_check(&g), CACHE_BYPASS_PIPELINE);
    g.pinned = true;
    assert_int_equal(cache_gate_check(&g), CACHE_BYPASS_PINNED);
    g.temp_objects = true;
    assert_int_equal(cache_gate_check(&g), CACHE_BYPASS_TEMP);
    g.settings_unknown = true;
    assert_int_equal(cache_gate_check(&g), CACHE_BYPASS_SETTINGS);
    g.other_role = true;
    assert_int_equal(cache_gate_check(&g), CACHE_BYPASS_ROLE);
    g.serializable = true;
    assert_int_equal(cache_gate_check(&g), CACHE_BYPASS_ISOLATION);
    g.tx_open = true;
    assert_int_equal(cache_gate_check(&g), CACHE_BYPASS_TRANSACTION);
    g.rule = &others;
    assert_int_equal(cache_gate_check(&g), CACHE_BYPASS_USER);
    g.bound = &refused;
    assert_int_equal(cache_gate_check(&g), CACHE_BYPASS_REFUSED);
    g.bound = NULL;
    assert_int_equal(cache_gate_check(&g), CACHE_BYPASS_UNCHECKED);
    g.hint = STR("penstock: cache=off");
    assert_int_equal(cache_gate_check(&g), CACHE_BYPASS_HINT);
    g.rule = &off;
    assert_int_equal(cache_gate_check(&g), CACHE_BYPASS_OFF);
}

static void hints_are_read_word_by_word(void **state)
{
    (void)state;
    assert_true(cache_gate_hint_off(STR("penstock: cache=off")));
    assert_true(cache_gate_hint_off(STR("penstock:cache=off")));
    assert_true(cache_gate_hint_off(STR("penstock: route=replica CACHE=OFF")));
    assert_false(cache_gate_hint_off(STR("penstock: cache=on")));
    assert_false(cache_gate_hint_off(STR("penstock: nocache=off")));
    assert_false(cache_gate_hint_off(STR("")));
}

static void every_reason_has_a_word_and_a_text(void **state)
{
    (void)state;
    for (int i = 0; i < CACHE_BYPASS_COUNT; i++) {
        assert_true(cache_gate_word((enum cache_bypass)i)[0] != '\0');
        assert_true(cache_gate_text((enum cache_bypass)i)[0] != '\0');
    }
    assert_int_equal(cache_gate_of_key(CACHE_KEY_OK), CACHE_BYPASS_NONE);
    assert_int_equal(cache_gate_of_key(CACHE_KEY_CONSTANT), CACHE_BYPASS_CONSTANT);
    assert_int_equal(cache_gate_of_key(CACHE_KEY_VALUE), CACHE_BYPASS_VALUE);
    assert_int_equal(cache_gate_of_key(CACHE_KEY_LENGTH), CACHE_BYPASS_LENGTH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_against_it_lets_it_pass),
        cmocka_unit_test(each_reason_stops_it_and_the_first_is_told),
        cmocka_unit_test(hints_are_read_word_by_word),
        cmocka_unit_test(every_reason_has_a_word_and_a_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
