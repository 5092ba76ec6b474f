/* test_pg_values.c - values, types and formats of Bind messages, also damaged ones. */
#include "protocol/pg/pg_values.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define BYTES(lit) ((struct str){lit, sizeof(lit) - 1})

static int bind(struct str tail, struct str types, struct wire_value *out, int max)
{
    struct wire_part part = {.kind = PART_BIND, .values = tail};
    return pg_values_bind(&part, types, out, max);
}

static void values_come_with_type_and_format(void **state)
{
    (void)state;
    struct wire_value v[3];
    /* formats 0 and 1, "42", int4 42; types text, int4; result formats none */
    struct str tail = BYTES("\0\2\0\0\0\1\0\2\0\0\0\2"
                            "42"
                            "\0\0\0\4\0\0\0\x2a\0\0");
    assert_int_equal(bind(tail, BYTES("\0\2\0\0\0\x19\0\0\0\x17"), v, 3), 2);
    assert_true(v[0].type == WIRE_TYPE_TEXT && !v[0].binary && str_eq(v[0].bytes, STR("42")));
    assert_true(v[1].type == WIRE_TYPE_INT && v[1].binary && v[1].bytes.n == 4);
    assert_int_equal(bind(tail, BYTES("\0\0"), v, 3), 2);
    assert_int_equal(v[0].type, WIRE_TYPE_OPEN);
    assert_int_equal(bind(tail, STR(""), v, 1), -1);
}

static void nulls_and_one_format_for_all(void **state)
{
    (void)state;
    struct wire_value v[3];
    struct str tail = BYTES("\0\1\0\1\0\2\xff\xff\xff\xff\0\0\0\0\0\0");
    assert_int_equal(bind(tail, BYTES("\0\1\0\0\x0b\x86"), v, 3), 2);
    assert_true(v[0].null && v[0].type == WIRE_TYPE_UUID && v[0].binary);
    assert_true(!v[1].null && v[1].binary && v[1].bytes.n == 0);
}

static void damaged_messages_have_no_values(void **state)
{
    (void)state;
    static const struct str bad[] = {
        {"", 0},
        {"\0\1\0\2\0\1\0\0\0\0\0\0", 12},     /* format 2 */
        {"\0\2\0\0\0\0\0\1\0\0\0\0\0\0", 14}, /* two formats, one value */
        {"\0\0\0\1\0\0\0\5"
         "abc",
         11},                    /* cut */
        {"\0\0\0\2\0\0\0\0", 8}, /* a value is missing */
    };
    struct wire_value v[3];
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(bind(bad[i], STR(""), v, 3), -1);
    /* more types than values */
    assert_int_equal(bind(BYTES("\0\0\0\0\0\0"), BYTES("\0\1\0\0\0\x17"), v, 3), -1);
}

static void formats_of_the_result_are_empty_when_all_are_text(void **state)
{
    (void)state;
    struct wire_part none = {.values = BYTES("\0\0\0\1\0\0\0\1x\0\0")};
    struct wire_part text = {.values = BYTES("\0\0\0\1\0\0\0\1x\0\2\0\0\0\0")};
    struct wire_part binary = {.values = BYTES("\0\0\0\1\xff\xff\xff\xff\0\1\0\1")};
    struct wire_part bad = {.values = BYTES("\0\0\0\0\0\2\0\1")};
    struct wire_part more = {.values = BYTES("\0\0\0\0\0\0x")};
    assert_true(str_eq(pg_values_formats(&none), STR("")));
    assert_true(str_eq(pg_values_formats(&text), STR("")));
    assert_true(str_eq(pg_values_formats(&binary), BYTES("\0\1")));
    assert_true(str_eq(pg_values_formats(&bad), bad.values));
    assert_true(str_eq(pg_values_formats(&more), more.values));
}

static void settings_that_change_no_answer_are_known(void **state)
{
    (void)state;
    assert_false(pg_values_var_result(STR("application_name")));
    assert_false(pg_values_var_result(STR("Statement_Timeout")));
    assert_false(pg_values_var_result(STR("log_duration")));
    assert_true(pg_values_var_result(STR("DateStyle")));
    assert_true(pg_values_var_result(STR("search_path")));
    assert_true(pg_values_var_result(STR("app.tenant")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_come_with_type_and_format),
        cmocka_unit_test(nulls_and_one_format_for_all),
        cmocka_unit_test(damaged_messages_have_no_values),
        cmocka_unit_test(formats_of_the_result_are_empty_when_all_are_text),
        cmocka_unit_test(settings_that_change_no_answer_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
