/* test_pg_kill.c - which statements stop another session, and which only look like it. */
#include "base/base.h"

#include "protocol/pg/pg_kill.h"
#include "protocol/pg/pg_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define BASE 4194305u

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
        assert_true(pg_kill_read(str_of(texts[i]), BASE, &k));
        assert_int_equal(k.id, 5);
        assert_false(k.terminate);
        assert_string_equal(k.column, "pg_cancel_backend");
    }
    struct wire_kill k;
    assert_true(pg_kill_read(STR("SELECT pg_terminate_backend(2147483647)"), BASE, &k));
    assert_true(k.terminate);
    assert_int_equal(k.id, 2147483647 - BASE);
}

static void anything_else_is_for_the_database(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "SELECT",
        "SELECT pg_cancel_backend(4194304)",
        "SELECT pg_cancel_backend(2147483648)",
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
        if (pg_kill_read(str_of(texts[i]), BASE, &k))
            fail_msg("taken: %s", texts[i]);
    }
}

static void every_cut_of_the_plain_form_is_refused(void **state)
{
    (void)state;
    struct str text = STR("SELECT pg_cancel_backend(4194310)");
    for (size_t n = 0; n < text.n; n++) {
        struct wire_kill k;
        assert_false(pg_kill_read((struct str){text.p, n}, BASE, &k));
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
        cmocka_unit_test(anything_else_is_for_the_database),
        cmocka_unit_test(every_cut_of_the_plain_form_is_refused),
        cmocka_unit_test(listening_is_ended_for_one_channel_or_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
