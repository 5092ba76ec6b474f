/* test_str.c - borrowed text. */
#include "base/mem.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void assert_str(struct str s, const char *want)
{
    assert_int_equal(s.n, strlen(want));
    if (s.n > 0)
        assert_memory_equal(s.p, want, s.n);
}

static void comparison_folds_ascii_only(void **state)
{
    (void)state;
    assert_true(str_eq(STR("abc"), STR("abc")));
    assert_false(str_eq(STR("abc"), STR("abd")));
    assert_false(str_eq(STR("abc"), STR("ab")));
    assert_true(str_eq(STR_NONE, STR("")));
    assert_true(str_eq(STR("a\0b"), STR("a\0b")));
    assert_false(str_eq(STR("a\0b"), STR("a\0c")));
    assert_true(str_ieq(STR("SeLeCt"), STR("select")));
    assert_false(str_ieq(STR("\xc4"), STR("\xe4")));
    assert_false(str_ieq(STR("["), STR("{"))); /* differ by the case bit, are no letters */
    assert_false(str_ieq(STR("@"), STR("`")));
}

static void prefix_longer_than_text_is_no_prefix(void **state)
{
    (void)state;
    assert_true(str_starts(STR("penstock: x"), STR("penstock:")));
    assert_false(str_starts(STR("pen"), STR("penstock")));
    assert_false(str_starts(STR("Penstock"), STR("pen")));
    assert_true(str_istarts(STR("Penstock"), STR("pEN")));
    assert_false(str_istarts(STR("Pe"), STR("pEN")));
    assert_true(str_starts(STR("x"), STR_NONE));
    assert_true(str_starts(STR_NONE, STR_NONE));
    assert_false(str_starts(STR_NONE, STR("x")));
}

static void order_is_bytewise_and_shorter_first(void **state)
{
    (void)state;
    assert_true(str_cmp(STR("a"), STR("b")) < 0);
    assert_true(str_cmp(STR("b"), STR("a")) > 0);
    assert_true(str_cmp(STR("a"), STR("ab")) < 0);
    assert_true(str_cmp(STR("ab"), STR("a")) > 0);
    assert_int_equal(str_cmp(STR("ab"), STR("ab")), 0);
    assert_int_equal(str_cmp(STR_NONE, STR("")), 0);
    assert_true(str_cmp(STR_NONE, STR("a")) < 0);
    assert_true(str_cmp(STR("\xff"), STR("a")) > 0);
}

static void trim_takes_blanks_from_both_ends(void **state)
{
    (void)state;
    assert_str(str_trim(STR(" \t a b \r\n")), "a b");
    assert_str(str_trim(STR(" \t\r\n")), "");
    assert_str(str_trim(STR("")), "");
    assert_str(str_trim(STR_NONE), "");
    assert_str(str_trim(STR("x")), "x");
    assert_str(str_trim(STR("\vx")), "\vx");
}

static void cut_walks_through_all_fields(void **state)
{
    (void)state;
    struct str rest = STR("a,,bc,");
    assert_str(str_cut(&rest, ','), "a");
    assert_str(str_cut(&rest, ','), "");
    assert_str(str_cut(&rest, ','), "bc");
    assert_str(rest, "");
    assert_str(str_cut(&rest, ','), "");
    rest = STR("whole");
    assert_str(str_cut(&rest, ','), "whole");
    assert_str(rest, "");
    rest = STR_NONE;
    assert_str(str_cut(&rest, ','), "");
    assert_null(rest.p);
}

static void find_gives_first_index_or_minus_one(void **state)
{
    (void)state;
    assert_int_equal(str_find(STR("abcb"), 'b'), 1);
    assert_int_equal(str_find(STR("abc"), 'x'), -1);
    assert_int_equal(str_find(STR_NONE, 'x'), -1);
    assert_int_equal(str_find(STR("a\0b"), 'b'), 2);
    struct str cut = {"abc", 2};
    assert_int_equal(str_find(cut, 'c'), -1);
}

static void numbers_are_parsed_whole_and_within_bounds(void **state)
{
    (void)state;
    static const struct {
        struct str in;
        bool ok;
        int64_t want;
    } cases[] = {
        {STR_INIT("0"), true, 0},
        {STR_INIT("-0"), true, 0},
        {STR_INIT("007"), true, 7},
        {STR_INIT("-12"), true, -12},
        {STR_INIT("9223372036854775807"), true, INT64_MAX},
        {STR_INIT("9223372036854775808"), false, 0},
        {STR_INIT("-9223372036854775808"), true, INT64_MIN},
        {STR_INIT("-9223372036854775809"), false, 0},
        {STR_INIT("99999999999999999999999999"), false, 0},
        {STR_INIT(""), false, 0},
        {STR_INIT("-"), false, 0},
        {STR_INIT("--1"), false, 0},
        {STR_INIT("+1"), false, 0},
        {STR_INIT(" 1"), false, 0},
        {STR_INIT("1 "), false, 0},
        {STR_INIT("1a"), false, 0},
        {STR_INIT("0x10"), false, 0},
        {STR_INIT("1\0"), false, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t v = 0;
        assert_int_equal(str_to_i64(cases[i].in, INT64_MIN, INT64_MAX, &v), cases[i].ok);
        assert_true(v == cases[i].want);
    }
}

static void number_outside_its_range_leaves_the_result_alone(void **state)
{
    (void)state;
    int64_t v = 42;
    assert_false(str_to_i64(STR("11"), 1, 10, &v));
    assert_false(str_to_i64(STR("0"), 1, 10, &v));
    assert_true(v == 42);
    assert_true(str_to_i64(STR("10"), 1, 10, &v));
    assert_true(v == 10);
    assert_true(str_to_i64(STR("1"), 1, 10, &v));
    assert_true(v == 1);
}

static void copy_says_when_it_cut(void **state)
{
    (void)state;
    char dst[4];
    assert_true(str_copy(dst, sizeof(dst), STR("abc")));
    assert_string_equal(dst, "abc");
    assert_false(str_copy(dst, sizeof(dst), STR("wxyz")));
    assert_string_equal(dst, "wxy");
    assert_true(str_copy(dst, 1, STR_NONE));
    assert_string_equal(dst, "");
    assert_false(str_copy(dst, 1, STR("a")));
    assert_string_equal(dst, "");
}

static void heap_copy_is_terminated(void **state)
{
    (void)state;
    struct str part = {"abcdef", 3};
    char *z = str_dup(part);
    assert_string_equal(z, "abc");
    mem_free(z);
    z = str_dup(STR_NONE);
    assert_string_equal(z, "");
    mem_free(z);
    assert_str(str_of("xy"), "xy");
    assert_null(str_of(NULL).p);
}

static void hexadecimal_numbers_are_lower_case_and_whole(void **state)
{
    static const struct {
        struct str in;
        uint64_t v;
        bool ok;
    } cases[] = {
        {STR_INIT("0"), 0, true},
        {STR_INIT("00ff"), 0xff, true},
        {STR_INIT("0123456789abcdef"), UINT64_C(0x0123456789abcdef), true},
        {STR_INIT("ffffffffffffffff"), UINT64_MAX, true},
        {STR_INIT(""), 0, false},
        {STR_INIT("00123456789abcdef"), 0, false}, /* 17 digits */
        {STR_INIT("FF"), 0, false},
        {STR_INIT("12 "), 0, false},
        {STR_INIT("g"), 0, false},
        {STR_INIT("0x1"), 0, false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t v = 7;
        assert_int_equal(str_to_hex(cases[i].in, &v), cases[i].ok);
        assert_true(v == (cases[i].ok ? cases[i].v : 7));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comparison_folds_ascii_only),
        cmocka_unit_test(hexadecimal_numbers_are_lower_case_and_whole),
        cmocka_unit_test(prefix_longer_than_text_is_no_prefix),
        cmocka_unit_test(order_is_bytewise_and_shorter_first),
        cmocka_unit_test(trim_takes_blanks_from_both_ends),
        cmocka_unit_test(cut_walks_through_all_fields),
        cmocka_unit_test(find_gives_first_index_or_minus_one),
        cmocka_unit_test(numbers_are_parsed_whole_and_within_bounds),
        cmocka_unit_test(number_outside_its_range_leaves_the_result_alone),
        cmocka_unit_test(copy_says_when_it_cut),
        cmocka_unit_test(heap_copy_is_terminated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
