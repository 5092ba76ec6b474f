/* test_pg_kill.c - which statements stop another session, and which only look like it. */
#include "base/base.h"

#include "protocol/pg/pg_kill.h"
#include "protocol/pg/pg_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static bool read_simple(struct str text, uint16_t peer, struct wire_kill *k)
{
    return pg_kill_read(&(struct wire_kill_ask){.text = text, .peer = peer}, k);
}

#define OWN 0x0203 /* this process among its peers */

static void plain_form_is_recognised(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "SELECT pg_cancel_backend(4194310)",
        "select PG_Cancel_Backend ( 4194310 ) ;",
        "SELECT pg_cancel_backend(4194310::int)",
        "SELECT pg_cancel_backend(4194310 :: INTEGER)",
        "/* why */ SELECT pg_catalog.pg_cancel_backend(4194310) -- so",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct wire_kill k;
        assert_true(read_simple(str_of(texts[i]), 0, &k));
        assert_int_equal(k.id, 5);
        assert_false(k.terminate);
        assert_string_equal(k.column.name, "pg_cancel_backend");
    }
    struct wire_kill k;
    assert_true(read_simple(STR("SELECT pg_terminate_backend(8388608)"), 0, &k));
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
        assert_int_equal(read_simple(str_of(text), cases[i].peer, &k), cases[i].taken);
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
        "SELECT pg_cancel_backend(4194310::bigint)",
        "SELECT pg_cancel_backend(4194310::int::int)",
        "SELECT pg_cancel_backend(4194310::)",
        "SELECT pg_cancel_backend(4194310",
        "SELECT pg_cancel_backend 4194310)",
        "SELECT pg_catalog pg_cancel_backend(4194310)",
        "SELECT pg_cancel_backend(4194310) /* not closed",
        "EXPLAIN SELECT pg_cancel_backend(4194310)",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct wire_kill k;
        if (read_simple(str_of(texts[i]), 0, &k))
            fail_msg("taken: %s", texts[i]);
    }
}

static void every_cut_of_the_plain_form_is_refused(void **state)
{
    (void)state;
    struct str text = STR("SELECT pg_cancel_backend(4194310)");
    for (size_t n = 0; n < text.n; n++) {
        struct wire_kill k;
        assert_false(read_simple((struct str){text.p, n}, 0, &k));
    }
}

#define BYTES(literal) ((struct str){literal, sizeof(literal) - 1})
#define NONE BYTES("\0\0")       /* no formats, or no types */
#define BINARY BYTES("\0\1\0\1") /* one for all */

struct bound {
    const char *text;
    struct str types, formats, values, results;
    bool taken, binary;
    int nparams;
};

static bool read_bound(const struct bound *b, struct wire_kill *k)
{
    struct buf all;
    buf_init(&all, 1000);
    buf_put_str(&all, b->formats);
    buf_put_str(&all, b->values);
    buf_put_str(&all, b->results);
    struct wire_part bind = {.kind = PART_BIND, .values = buf_str(&all)};
    struct wire_kill_ask ask = {.text = str_of(b->text), .types = b->types, .bind = &bind};
    bool taken = pg_kill_read(&ask, k);
    for (size_t n = 0; taken && n < buf_len(&all); n++) { /* no cut of it is */
        struct wire_kill unused;
        bind.values.n = n;
        assert_false(pg_kill_read(&ask, &unused));
    }
    buf_fini(&all);
    return taken;
}

#define ONE_TEXT                                                                                   \
    BYTES("\0\1\0\0\0\7"                                                                           \
          "4194310")
#define ONE_INT4 BYTES("\0\1\0\0\0\4\0\100\0\6")
#define ONE_INT8 BYTES("\0\1\0\0\0\10\0\0\0\0\0\100\0\6")
#define INT4 BYTES("\0\1\0\0\0\27")
#define INT8 BYTES("\0\1\0\0\0\24")
#define TEXT BYTES("\0\1\0\0\0\31")
#define ANY BYTES("\0\1\0\0\0\0")

static void bound_numbers_are_read(void **state)
{
    (void)state;
    static const char plain[] = "SELECT pg_cancel_backend($1)";
    static const char cast[] = "SELECT pg_cancel_backend($1::int4)";
    static const char fixed[] = "SELECT pg_cancel_backend(4194310)";
    const struct bound cases[] = {
        {fixed, NONE, NONE, NONE, NONE, true, false, 0},
        {fixed, STR(""), NONE, NONE, BINARY, true, true, 0},
        {plain, NONE, NONE, ONE_TEXT, NONE, true, false, 1},
        {plain, ANY, NONE, ONE_TEXT, BYTES("\0\1\0\0"), true, false, 1},
        {plain, INT4, BINARY, ONE_INT4, BINARY, true, true, 1},
        {cast, NONE, BINARY, ONE_INT4, NONE, true, false, 1},
        {cast, INT8, BINARY, ONE_INT8, NONE, true, false, 1},
        {cast, INT8, NONE, ONE_TEXT, NONE, true, false, 1},
        /* what PostgreSQL refuses, or answers in another way */
        {plain, INT8, BINARY, ONE_INT8, NONE, false, false, 0},
        {plain, TEXT, NONE, ONE_TEXT, NONE, false, false, 0},
        {plain, INT4, BINARY, ONE_INT8, NONE, false, false, 0},
        {plain, INT4, BINARY, ONE_TEXT, NONE, false, false, 0},
        {plain, NONE, NONE, ONE_INT4, NONE, false, false, 0},
        {plain, NONE, NONE, NONE, NONE, false, false, 0},
        {plain, NONE, NONE, BYTES("\0\1\xff\xff\xff\xff"), NONE, false, false, 0},
        {plain, NONE, NONE, BYTES("\0\1\0\0\0\0"), NONE, false, false, 0},
        {plain, NONE, NONE, BYTES("\0\1\0\0\0\2-1"), NONE, false, false, 0},
        {plain, NONE, BYTES("\0\1\0\2"), ONE_INT4, NONE, false, false, 0},
        {plain, NONE, NONE, ONE_TEXT, BYTES("\0\2\0\1\0\1"), false, false, 0},
        {plain, NONE, NONE, ONE_TEXT, BYTES("\0\0x"), false, false, 0},
        {plain, BYTES("\0\2\0\0\0\27\0\0\0\27"), NONE, ONE_TEXT, NONE, false, false, 0},
        {fixed, INT4, NONE, ONE_TEXT, NONE, false, false, 0},
        {fixed, NONE, NONE, ONE_TEXT, NONE, false, false, 0},
        {"SELECT pg_cancel_backend($2)", NONE, NONE, ONE_TEXT, NONE, false, false, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct wire_kill k;
        if (read_bound(&cases[i], &k) != cases[i].taken)
            fail_msg("case %zu", i);
        if (!cases[i].taken)
            continue;
        assert_int_equal(k.id, 5);
        assert_int_equal(k.nparams, cases[i].nparams);
        assert_int_equal(k.column.type, cases[i].binary ? COL_BOOL_BINARY : COL_BOOL);
        assert_true(str_eq(k.yes, cases[i].binary ? STR("\1") : STR("t")));
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
        cmocka_unit_test(bound_numbers_are_read),
        cmocka_unit_test(listening_is_ended_for_one_channel_or_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
