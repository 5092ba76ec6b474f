/* test_pg_kill.c - which statements stop another session, and which only look like it. */
#include "base/base.h"

#include "protocol/pg/pg_kill.h"
#include "protocol/pg/pg_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define OWN 0x0203 /* this process among its peers */

static void plain_form_is_recognised(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "SELECT pg_cancel_backend(4194310)",
        "select PG_Cancel_Backend ( 4194310 ) ;",
        "/* why */ SELECT pg_catalog.pg_cancel_backend(4194310) -- so",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct wire_kill k;
        assert_true(pg_kill_read(str_of(texts[i]), 0, &k));
        assert_int_equal(k.id, 5);
        assert_false(k.terminate);
        assert_string_equal(k.column, "pg_cancel_backend");
    }
    struct wire_kill k;
    assert_true(pg_kill_read(STR("SELECT pg_terminate_backend(8388608)"), 0, &k));
    assert_true(k.terminate);
    assert_int_equal(k.id, 8388608 - 4194305);
}

/* The pid names the process too; the last group of pids is shared by clients. */
static void with_peers_only_own_clients_are_named(void **state)
{
    (void)state;
    static const struct {
        uint32_t pid;
        uint16_t peer;
        bool taken;
        uint32_t id;
    } cases[] = {
        {0x01030205, OWN, true, 5},    {0x7e0302ff, OWN, true, 126 * 256 - 1},
        {0x7f030205, OWN, false, 0},   {0x01030205, 0x0302, false, 0},
        {0x01030205, 0, false, 0},     {0x00030205, OWN, false, 0},
        {4194305 + 77, OWN, true, 77},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct wire_kill k;
        char text[64];
        snprintf(text, sizeof text, "SELECT pg_cancel_backend(%u)", (unsigned)cases[i].pid);
        assert_int_equal(pg_kill_read(str_of(text), cases[i].peer, &k), cases[i].taken);
        if (cases[i].taken)
            assert_int_equal(k.id, cases[i].id);
    }
}

static void anything_else_is_for_the_database(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "SELECT",
        "SELECT pg_cancel_backend(4194304)",
        "SELECT pg_cancel_backend(2147483648)",
        "SELECT pg_cancel_backend(16777217)",
        "SELECT pg_cancel_backend(99999999999999999999)",
        "SELECT pg_cancel_backend(-4194310)",
        "SELECT pg_cancel_backend(4194310.0)",
        "SELECT pg_cancel_backend(0x400006)",
        "SELECT pg_cancel_backend('4194310')",
        "SELECT pg_cancel_backend(4194310), 1",
        "SELECT pg_cancel_backend(4194310); SELECT 1",
        "SELECT pg_cancel_backend(4194310) AS x",
        "SELECT pg_cancel_backend(4194310) FROM t",
        "SELECT other.pg_cancel_backend(4194310)",
        "SELECT \"pg_cancel_backend\"(4194310)",
        "SELECT pg_terminate_backend(4194310, 5)",
        "SELECT pg_cancel_backend($1)",
        "SELECT pg_cancel_backend(4194310",
        "SELECT pg_cancel_backend 4194310)",
        "SELECT pg_catalog pg_cancel_backend(4194310)",
        "SELECT pg_cancel_backend(4194310) /* not closed",
        "EXPLAIN SELECT pg_cancel_backend(4194310)",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct wire_kill k;
        if (pg_kill_read(str_of(texts[i]), 0, &k))
            fail_msg("taken: %s", texts[i]);
    }
}

static void every_cut_of_the_plain_form_is_refused(void **state)
{
    (void)state;
    struct str text = STR("SELECT pg_cancel_backend(4194310)");
    for (size_t n = 0; n < text.n; n++) {
        struct wire_kill k;
        assert_false(pg_kill_read((struct str){text.p, n}, 0, &k));
    }
}

static void listening_is_ended_for_one_channel_or_all(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, PG_TEXT_MAX);
    pg_text_listen(STR("a\"b"), true, &b);
    assert_true(str_eq(buf_str(&b), STR("LISTEN \"a\"\"b\"")));
    buf_reset(&b);
    pg_text_listen(STR("a"), false, &b);
    assert_true(str_eq(buf_str(&b), STR("UNLISTEN \"a\"")));
    buf_reset(&b);
    pg_text_listen(STR(""), false, &b);
    assert_true(str_eq(buf_str(&b), STR("UNLISTEN *")));
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_form_is_recognised),
        cmocka_unit_test(with_peers_only_own_clients_are_named),
        cmocka_unit_test(anything_else_is_for_the_database),
        cmocka_unit_test(every_cut_of_the_plain_form_is_refused),
        cmocka_unit_test(listening_is_ended_for_one_channel_or_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
