/* test_pg_frame.c - unit tests of protocol/pg/pg_frame.c, pg_tag.c and pg_text.c. */
#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"
#include "protocol/pg/pg_frame.h"
#include "protocol/pg/pg_tag.h"
#include "protocol/pg/pg_text.h"
#include "protocol/sql_facts.h"

#define BYTES(lit) ((struct str){(lit), sizeof(lit) - 1})

static void header_needs_five_bytes_and_no_more(void **state)
{
    (void)state;
    struct pg_frame f;
    struct str in = BYTES("Q\0\0\1\0");
    for (size_t n = 0; n < 5; n++) {
        char *copy = n > 0 ? mem_copy(in.p, n) : NULL;
        assert_int_equal(pg_frame_read((struct str){copy ? copy : "", n}, 0, 1000, &f),
                         PG_FRAME_SHORT);
        mem_free(copy);
    }
    assert_int_equal(pg_frame_read(in, 0, 1000, &f), PG_FRAME_OK);
    assert_int_equal(f.type, 'Q');
    assert_int_equal(f.total, 257);
    assert_int_equal(pg_frame_read(in, 5, 1000, &f), PG_FRAME_SHORT);
}

static void frame_longer_than_limit_is_refused_before_allocation(void **state)
{
    (void)state;
    struct pg_frame f;
    assert_int_equal(pg_frame_read(BYTES("Q\0\0\0\144"), 0, 100, &f), PG_FRAME_OK);
    assert_int_equal(pg_frame_read(BYTES("Q\0\0\0\145"), 0, 100, &f), PG_FRAME_BAD);
    assert_int_equal(pg_frame_read(BYTES("Q\0\0\0\3"), 0, 100, &f), PG_FRAME_BAD);
    assert_int_equal(pg_frame_read(BYTES("Q\x80\0\0\0"), 0, 100, &f), PG_FRAME_BAD);
    assert_int_equal(pg_frame_read(BYTES("Q\xff\xff\xff\xff"), 0, UINT32_MAX, &f), PG_FRAME_OK);
    assert_true(f.total == 0x100000000u);
}

static void reader_never_goes_beyond_its_end(void **state)
{
    (void)state;
    struct pg_reader r = pg_frame_reader(BYTES("\1\0\2\0\0\0\3ab\0xy"));
    assert_int_equal(pg_frame_get_u8(&r), 1);
    assert_int_equal(pg_frame_get_u16(&r), 2);
    assert_int_equal(pg_frame_get_u32(&r), 3);
    assert_true(str_eq(pg_frame_get_z(&r), STR("ab")));
    assert_false(pg_frame_done(&r));
    assert_int_equal(pg_frame_get_u32(&r), 0);
    assert_true(r.bad);
    assert_int_equal(pg_frame_get_u8(&r), 0); /* once bad, always bad */
    r = pg_frame_reader(BYTES("ab"));
    assert_int_equal(pg_frame_get_z(&r).n, 0);
    assert_true(r.bad);
    r = pg_frame_reader(BYTES("ab"));
    assert_int_equal(pg_frame_get_n(&r, SIZE_MAX).n, 0);
    assert_true(r.bad);
    r = pg_frame_reader(STR_NONE);
    assert_true(pg_frame_done(&r));
}

static void tags_say_what_was_done(void **state)
{
    (void)state;
    assert_int_equal(pg_tag_bits(STR("SELECT 5")), WT_READ);
    assert_int_equal(pg_tag_bits(STR("INSERT 0 1")), WT_WRITE);
    assert_int_equal(pg_tag_bits(STR("SET")), WT_SET);
    assert_int_equal(pg_tag_bits(STR("SET CONSTRAINTS")), WT_TX);
    assert_int_equal(pg_tag_bits(STR("RESET")), WT_RESET);
    assert_int_equal(pg_tag_bits(STR("DISCARD ALL")), WT_DISCARD);
    assert_int_equal(pg_tag_bits(STR("DISCARD PLANS")), WT_DISCARD_PART);
    assert_int_equal(pg_tag_bits(STR("DEALLOCATE")), WT_DEALLOCATE);
    assert_int_equal(pg_tag_bits(STR("DEALLOCATE ALL")), WT_DEALLOCATE_ALL);
    assert_int_equal(pg_tag_bits(STR("PREPARE")), WT_PREPARE);
    assert_int_equal(pg_tag_bits(STR("PREPARE TRANSACTION")), WT_TX);
    assert_int_equal(pg_tag_bits(STR("UNLISTEN")), WT_LISTEN);
    assert_int_equal(pg_tag_bits(STR("ROLLBACK")), WT_TX | WT_ROLLBACK);
    assert_int_equal(pg_tag_bits(STR("COMMIT")), WT_TX);
    assert_int_equal(pg_tag_bits(STR("CLOSE CURSOR ALL")), WT_CURSOR);
    assert_int_equal(pg_tag_bits(STR("CREATE TABLE")), WT_DDL);
    assert_int_equal(pg_tag_bits(STR("SETTLE")), WT_DDL);
    assert_int_equal(pg_tag_bits(STR("DO")), WT_CODE);
    assert_int_equal(pg_tag_bits(STR("DOMAIN")), WT_DDL);
    assert_int_equal(pg_tag_bits(STR("COPY 7")), WT_COPY);
    assert_int_equal(pg_tag_bits(STR("")), WT_DDL);
}

static void tags_say_how_many_rows(void **state)
{
    (void)state;
    assert_int_equal(pg_tag_rows(STR("SELECT 5")), 5);
    assert_int_equal(pg_tag_rows(STR("INSERT 0 120")), 120);
    assert_int_equal(pg_tag_rows(STR("COPY 18446744073709551615")), UINT64_MAX);
    assert_int_equal(pg_tag_rows(STR("CREATE TABLE")), 0);
    assert_int_equal(pg_tag_rows(STR("X5")), 0);
    assert_int_equal(pg_tag_rows(STR("5")), 0);
    assert_int_equal(pg_tag_rows(STR("SELECT ")), 0);
    assert_int_equal(pg_tag_rows(STR("")), 0);
}

static void text_is(struct buf *b, const char *expect)
{
    assert_false(b->failed);
    assert_int_equal(buf_len(b), strlen(expect));
    assert_memory_equal(buf_data(b), expect, strlen(expect));
    buf_reset(b);
}

static void literals_and_names_are_quoted(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, PG_TEXT_MAX);
    pg_text_literal(STR("a'b\\c\"d"), &b);
    text_is(&b, "E'a''b\\\\c\"d'");
    pg_text_literal(STR("''"), &b);
    text_is(&b, "E''''''");
    pg_text_literal(STR_NONE, &b);
    text_is(&b, "E''");
    pg_text_literal(BYTES("a\0'; drop"), &b);
    text_is(&b, "E'a'");
    pg_text_identifier(STR("a\"b'\\"), &b);
    text_is(&b, "\"a\"\"b'\\\"");
    buf_fini(&b);
}

static void settings_go_out_in_order_of_rank(void **state)
{
    (void)state;
    struct buf b;
    struct wire_var v[] = {
        {STR("role"), STR("r")},
        {STR("statement_timeout"), STR("1")},
        {STR("client_encoding"), STR("UTF8")},
        {STR("a.b"), STR_NONE},
        {STR("x"), STR("\\'")},
        {STR("Session_Authorization"), STR("s")},
    };
    buf_init(&b, PG_TEXT_MAX);
    pg_text_vars(v, 6, &b);
    /* The encoding before all values; the old identity is left before the new one is taken. */
    text_is(&b, "SELECT pg_catalog.set_config(E'client_encoding',E'UTF8',false);"
                "RESET \"role\";"
                "RESET \"Session_Authorization\";"
                "RESET \"a\".\"b\";"
                "SELECT pg_catalog.set_config(E'x',E'\\\\''',false);"
                "SELECT pg_catalog.set_config(E'Session_Authorization',E's',false);"
                "SELECT pg_catalog.set_config(E'role',E'r',false);"
                "SELECT pg_catalog.set_config(E'statement_timeout',E'1',false)");
    buf_fini(&b);
}

static void short_time_limits_are_told_from_long_ones(void **state)
{
    (void)state;
    static const char *const hurries[] = {"1", "999", "40ms", "500us", "0.5s", " 5", "", "x"};
    static const char *const has_time[] = {"0", "1000", "20837ms", "1s", "5min", "1h", "1d"};
    for (size_t i = 0; i < ARRAY_LEN(hurries); i++)
        assert_true(
            pg_text_var_hurries(&(struct wire_var){STR("Statement_Timeout"), str_of(hurries[i])}));
    for (size_t i = 0; i < ARRAY_LEN(has_time); i++)
        assert_false(
            pg_text_var_hurries(&(struct wire_var){STR("statement_timeout"), str_of(has_time[i])}));
    assert_false(pg_text_var_hurries(&(struct wire_var){STR("lock_timeout"), STR("1")}));
}

static void text_that_is_not_ascii_goes_as_hex(void **state)
{
    (void)state;
    struct buf b;
    struct wire_var v = {STR("x"), BYTES("\x83\\'")}; /* SJIS: one character and a quote */
    buf_init(&b, PG_TEXT_MAX);
    pg_text_vars(&v, 1, &b);
    text_is(&b, "SELECT pg_catalog.set_config(E'x',pg_catalog.convert_from(pg_catalog.decode("
                "E'835c27',E'hex'),pg_catalog.pg_client_encoding()),false)");
    buf_fini(&b);
}

static void answers_are_decoded(void **state)
{
    (void)state;
    struct wire_answer a;
    struct str var[] = {STR("v"), STR("x"), STR("1"), STR("d")};
    assert_int_equal(pg_text_ask_row(var, 4, &a), ST_OK);
    assert_int_equal(a.about, ASK_VARS);
    assert_true(a.is_default && str_eq(a.var.name, STR("x")) && str_eq(a.var.value, STR("1")));
    assert_false(a.was_set);
    var[3] = STR("s");
    assert_int_equal(pg_text_ask_row(var, 4, &a), ST_OK);
    assert_true(a.is_default && a.was_set);
    struct str lock[] = {STR("l"), STR_NONE, STR_NONE, STR("t")};
    assert_int_equal(pg_text_ask_row(lock, 4, &a), ST_OK);
    assert_true(a.about == ASK_LOCKS && a.held);
    lock[3] = STR("f");
    assert_int_equal(pg_text_ask_row(lock, 4, &a), ST_OK);
    assert_false(a.held);
    struct str bad[] = {STR("?"), STR_NONE, STR_NONE, STR_NONE};
    assert_int_equal(pg_text_ask_row(bad, 4, &a), ST_INVALID);
    assert_int_equal(pg_text_ask_row(var, 3, &a), ST_INVALID);
    var[1] = STR_NONE;
    assert_int_equal(pg_text_ask_row(var, 4, &a), ST_INVALID);
}

static void dialect_follows_standard_conforming_strings(void **state)
{
    (void)state;
    assert_int_equal(pg_text_dialect(STR("Standard_Conforming_Strings"), STR("OFF"), 0),
                     SQL_DIALECT_BACKSLASH);
    assert_int_equal(
        pg_text_dialect(STR("standard_conforming_strings"), STR("on"), SQL_DIALECT_BACKSLASH), 0);
    assert_int_equal(pg_text_dialect(STR("other"), STR("off"), 0), 0);
    assert_true(pg_text_var_rank(STR("ROLE")) > pg_text_var_rank(STR("session_authorization")));
    assert_int_equal(pg_text_var_rank(STR("TimeZone")), 0);
    assert_true(pg_text_var_analysis(STR("search_path")));
    assert_false(pg_text_var_analysis(STR("application_name")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_needs_five_bytes_and_no_more),
        cmocka_unit_test(frame_longer_than_limit_is_refused_before_allocation),
        cmocka_unit_test(reader_never_goes_beyond_its_end),
        cmocka_unit_test(tags_say_what_was_done),
        cmocka_unit_test(tags_say_how_many_rows),
        cmocka_unit_test(literals_and_names_are_quoted),
        cmocka_unit_test(settings_go_out_in_order_of_rank),
        cmocka_unit_test(short_time_limits_are_told_from_long_ones),
        cmocka_unit_test(text_that_is_not_ascii_goes_as_hex),
        cmocka_unit_test(answers_are_decoded),
        cmocka_unit_test(dialect_follows_standard_conforming_strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
