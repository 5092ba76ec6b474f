/* test_pg_node.c - what a node's answer to a probe is read as, and what is refused. */
#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "protocol/pg/pg_node.h"
#include "protocol/wire.h"
#include "protocol/wire_node.h"

static enum status read4(const char *r, const char *id, const char *file, const char *lsn,
                         struct wire_probe *out)
{
    struct str cols[7] = {str_of(r),   str_of(id),      str_of(file), str_of(lsn),
                          STR("8192"), STR("16777216"), STR_NONE};
    return pg_node_row(cols, 7, out);
}

static void a_primary_tells_its_timeline_and_position(void **state)
{
    (void)state;
    struct wire_probe p;
    assert_int_equal(
        read4("f", "7300000000000000001", "0000000A0000000100000016", "16/B374D848", &p), ST_OK);
    assert_false(p.in_recovery);
    assert_int_equal(p.system_id, UINT64_C(7300000000000000001));
    assert_int_equal(p.timeline, 10);
    assert_int_equal(p.position, UINT64_C(0x16B374D848));
}

static void a_standby_tells_what_it_has_replayed(void **state)
{
    (void)state;
    struct wire_probe p;
    assert_int_equal(read4("t", "-5", "0000000b", "0/1", &p), ST_OK);
    assert_true(p.in_recovery);
    assert_int_equal(p.system_id, (uint64_t)-5);
    assert_int_equal(p.timeline, 11);
    assert_int_equal(p.position, 1);
    assert_int_equal(read4("t", "1", NULL, NULL, &p), ST_OK);
    assert_int_equal(p.timeline, 0);
    assert_int_equal(p.position, 0);
}

static void a_page_head_behind_the_last_record_does_not_count(void **state)
{
    (void)state;
    static const struct {
        const char *told;
        uint64_t meant;
    } cases[] = {{"0/2018", 0x2000},       {"0/2020", 0x2020},       {"0/2028", 0x2028},
                 {"0/1000028", 0x1000000}, {"0/1000018", 0x1000000}, {"0/1000030", 0x1000030}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct wire_probe p;
        assert_int_equal(read4("f", "1", "000000010000000000000001", cases[i].told, &p), ST_OK);
        assert_int_equal(p.position, cases[i].meant);
    }
}

static void any_other_row_is_refused(void **state)
{
    (void)state;
    static const char *const rows[][4] = {
        {"", "1", "000000010000000000000001", "0/1"},
        {"f", NULL, "000000010000000000000001", "0/1"},
        {"f", "x", "000000010000000000000001", "0/1"},
        {"f", "1", NULL, "0/1"},
        {"f", "1", "0000000", "0/1"},
        {"f", "1", "000000000000000000000001", "0/1"},
        {"f", "1", "0000000x0000000000000001", "0/1"},
        {"f", "1", "000000010000000000000001", NULL},
        {"f", "1", "000000010000000000000001", "01"},
        {"f", "1", "000000010000000000000001", "0/"},
        {"f", "1", "000000010000000000000001", "/0"},
        {"t", "1", NULL, "123456789/0"},
        {"t", "1", NULL, "g/0"},
    };
    struct wire_probe p;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(read4(rows[i][0], rows[i][1], rows[i][2], rows[i][3], &p), ST_INVALID);
    struct str three[3] = {STR("t"), STR("1"), STR_NONE};
    assert_int_equal(pg_node_row(three, 3, &p), ST_INVALID);
}

static void what_is_not_flushed_is_asked_of_no_standby(void **state)
{
    (void)state;
    static const struct {
        const char *flushed;
        uint64_t settled;
    } cases[] = {{"1/20000", UINT64_C(0x100020000)},
                 {"1/30000", UINT64_C(0x100020000)},
                 {"1/1FFF8", UINT64_C(0x10000fff8)}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct wire_probe p;
        struct str cols[7] = {
            STR("f"),    STR("1"),        STR("000000010000000000000001"), STR("1/20000"),
            STR("8192"), STR("16777216"), str_of(cases[i].flushed)};
        assert_int_equal(pg_node_row(cols, 7, &p), ST_OK);
        assert_int_equal(p.position, UINT64_C(0x100020000));
        assert_int_equal(p.settled, cases[i].settled);
    }
}

static void our_own_statements_are_known_and_no_others(void **state)
{
    (void)state;
    assert_int_equal(pg_node_ours(STR("SHOW LAST")), WIRE_OURS_LAST);
    assert_int_equal(pg_node_ours(STR(" show\n penstock.last ; ")), WIRE_OURS_LAST);
    assert_int_equal(pg_node_ours(STR("show penstock.token;")), WIRE_OURS_TOKEN);
    static const char *const others[] = {
        "SHOW", "SHOW penstock.route", "SHOW LAST x", "SHOWLAST", "SET LAST",
        "",     "SHOW LAST;;",         "SHOW lastval"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        assert_int_equal(pg_node_ours(str_of(others[i])), WIRE_OURS_NONE);
}

static void settings_tell_where_statements_may_go(void **state)
{
    (void)state;
    struct wire_wishes w = {STR_NONE, STR_NONE, false, false};
    static const struct wire_var vars[] = {
        {STR_INIT("penstock.route"), STR_INIT("replica")},
        {STR_INIT("penstock.token"), STR_INIT("1.2.3")},
        {STR_INIT("default_transaction_read_only"), STR_INIT("on")},
        {STR_INIT("default_transaction_isolation"), STR_INIT("serializable")},
        {STR_INIT("timezone"), STR_INIT("on")}};
    for (size_t i = 0; i < ARRAY_LEN(vars); i++)
        pg_node_wishes(&vars[i], &w);
    assert_true(str_eq(w.route, STR("replica")) && str_eq(w.token, STR("1.2.3")));
    assert_true(w.read_only && w.serializable);
    const struct wire_var attrs = {STR("target_session_attrs"), STR("read-only")};
    assert_true(pg_node_startup(&attrs, &w) && str_eq(w.route, STR("replica")));
    assert_false(pg_node_startup(&vars[4], &w));
    assert_true(pg_node_var(STR("in_hot_standby")));
    assert_false(pg_node_var(STR("TimeZone")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_primary_tells_its_timeline_and_position),
        cmocka_unit_test(a_standby_tells_what_it_has_replayed),
        cmocka_unit_test(a_page_head_behind_the_last_record_does_not_count),
        cmocka_unit_test(any_other_row_is_refused),
        cmocka_unit_test(what_is_not_flushed_is_asked_of_no_standby),
        cmocka_unit_test(our_own_statements_are_known_and_no_others),
        cmocka_unit_test(settings_tell_where_statements_may_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
