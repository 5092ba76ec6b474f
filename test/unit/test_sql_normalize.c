/* test_sql_normalize.c - constants out, caps kept. */
#include "base/mem.h"
#include "protocol/sql/sql_normalize.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static char scratch[SQL_SCRATCH_BYTES];

struct norm_case {
    const char *text, *want;
};

static void assert_text(struct str got, const char *want)
{
    char line[1024];

    assert_true(str_copy(line, sizeof(line), got));
    assert_string_equal(line, want);
}

static void check_all(const struct norm_case *c, size_t n, uint32_t dialect)
{
    struct sql_normal out;

    for (size_t i = 0; i < n; i++) {
        sql_normalize(str_of(c[i].text), dialect, scratch, sizeof(scratch), &out);
        assert_int_equal(out.state, SQL_NORMAL_OK);
        assert_text(out.text, c[i].want);
    }
}

static void layout_case_and_constants_do_not_matter(void **state)
{
    static const struct norm_case cases[] = {
        {"SELECT abalance FROM pgbench_accounts WHERE aid = 12345;",
         "select abalance from pgbench_accounts where aid = $?"},
        {"select\tabalance/* x */from pgbench_accounts\n where aid='x' -- y",
         "select abalance from pgbench_accounts where aid = $?"},
        {"SELECT abalance FROM pgbench_accounts WHERE aid = $1",
         "select abalance from pgbench_accounts where aid = $?"},
        {"SELECT E'a\\'b', $$c$$, N'd', B'1', X'f', 1.5e5, 'e'\n'f'",
         "select $?, $?, $?, $?, $?, $?, $?"},
        {"SELECT a IN (1,2,  3)", "select a in ($?, $?, $?)"},
        {"SELECT a :: INT , \"B\" . \"c\" , TRUE,NULL", "select a::int, \"B\".\"c\", true, null"},
        {"SELECT -1, a*-1, a@-1", "select - $?, a * - $?, a @- $?"},
        {"SELECT a[ 1 : 2 ], f( x )", "select a[$? : $?], f(x)"},
        {"SELECT date'2020-01-01', 1a", "select date $?, $? a"},
        {"SELECT t . *, count( * ) FROM t", "select t.*, count(*) from t"},
        {";; SELECT 1;; ;SELECT 2 ;", "select $?; select $?"},
        {"  ", ""},
        {"-- x", ""},
        {"SELECT \xc3\x89 FROM \xc3\xa9", "select \xc3\x89 from \xc3\xa9"},
    };

    (void)state;
    check_all(cases, ARRAY_LEN(cases), 0);
}

static void constants_that_facts_hang_on_stay(void **state)
{
    static const struct norm_case cases[] = {
        {"SET x TO 'A', 5", "set x to 'A', 5"},
        {"SET x = 1; SELECT 1", "set x = 1; select $?"},
        {"UPDATE t SET x = 1", "update t set x = $?"},
        {"NOTIFY a, 'B'", "notify a, 'B'"},
        {"SELECT set_config('a', 'b', false), 'c'", "select set_config('a', $?, false), $?"},
        {"SELECT Set_Config/**/('a', f('b'), 't')", "select set_config ('a', f('b'), 't')"},
        {"SELECT \"set_config\"('a', 'b', 'c')", "select \"set_config\"('a', $?, 'c')"},
        {"SELECT set_config(set_config('a','b','c'), 'd', 'e')",
         "select set_config(set_config('a', 'b', 'c'), $?, 'e')"},
        {"SELECT set_config, 'a'", "select set_config, $?"},
        {"SELECT set_config + ('a')", "select set_config + ($?)"},
        {"SELECT pg_advisory_lock(1), pg_try_advisory_lock_shared(2, 3)",
         "select pg_advisory_lock(1), pg_try_advisory_lock_shared(2, 3)"},
        {"SELECT pg_advisory_xact_lock(1)", "select pg_advisory_xact_lock($?)"},
        {"SELECT pg_notify('a', 'b')", "select pg_notify('a', 'b')"},
        {"SELECT 1, U&\"a\" UESCAPE '!', 2", "select $?, U&\"a\" uescape '!', 2"},
        {"SELECT U&'a' UESCAPE '!'", "select U&'a' uescape '!'"},
    };

    (void)state;
    check_all(cases, ARRAY_LEN(cases), 0);
}

static void nothing_that_a_client_has_chosen_is_shown(void **state)
{
    static const struct norm_case cases[] = {
        {"SET app.key = hunter2", "set app.key = $?"},
        {"SET app.key TO hunter2; SELECT 1", "set app.key to $?; select $?"},
        {"set session x = a, 'b', -1", "set session x = $?"},
        {"SET LOCAL search_path TO \"$user\", public", "set local search_path to $?"},
        {"SET x=U&'a' UESCAPE '!'", "set x = $?"},
        {"SET x = (1; SELECT b", "set x = $?; select b"},
        {"SET TIME ZONE 'UTC'", "set time zone $?"},
        {"SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
         "set transaction isolation level serializable"},
        {"SET x FROM CURRENT", "set x from current"},
        {"ALTER ROLE bob SET app.key = hunter2", "alter role bob set app.key = $?"},
        {"ALTER USER \"set\" IN DATABASE d SET x TO hunter2; SELECT a = b",
         "alter user \"set\" in database d set x to $?; select a = b"},
        {"ALTER ROLE ALL SET search_path = a, 'b', c", "alter role all set search_path = $?"},
        {"ALTER DATABASE d SET x TO hunter2", "alter database d set x to $?"},
        {"alter system set x = hunter2", "alter system set x = $?"},
        {"ALTER FUNCTION f(int, text) STABLE SET x = hunter2",
         "alter function f(int, text) stable set x = $?"},
        {"ALTER PROCEDURE s.p SET x TO hunter2", "alter procedure s.p set x to $?"},
        {"ALTER ROUTINE r SET x TO hunter2", "alter routine r set x to $?"},
        {"ALTER ROLE bob RENAME TO alice", "alter role bob rename to alice"},
        {"ALTER DATABASE d SET TABLESPACE t", "alter database d set tablespace t"},
        {"ALTER TABLE t ALTER a SET DEFAULT b = c", "alter table t alter a set default b = c"},
        {"ALTER ROLE bob SET x FROM CURRENT", "alter role bob set x from current"},
        {"NOTIFY a, 'B'", "notify a, $?"},
        {"SELECT set_config('a', 'b', false)", "select set_config($?, $?, false)"},
        {"UPDATE t SET x = y", "update t set x = y"},
        {"SELECT 1 AS case; SET x TO hunter2", "select $? as case; set x to $?"},
        {"SELECT 1 AS case; ALTER ROLE bob SET x = hunter2",
         "select $? as case; alter role bob set x = $?"},
        {"SELECT (1; SET x TO hunter2", "select ($?; set x to $?"},
        {"SELECT 1 AS case; ALTER FUNCTION f(a int = b) SET x = hunter2",
         "select $? as case; alter function f(a int = b) set x = $?"},
        {"SET x = CASE; SELECT y", "set x = $?; select y"},
        {"CREATE FUNCTION f(a int) RETURNS int BEGIN ATOMIC UPDATE t SET x = CASE WHEN a > 1 "
         "THEN b ELSE c END; SELECT a; END; SET x TO hunter2",
         "create function f(a int) returns int begin atomic update t set x = case when a > $? "
         "then b else c end; select a; end; set x to $?"},
        {"SELECT a = b", "select a = b"},
    };
    struct sql_normal out;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        sql_normalize_shown(str_of(cases[i].text), 0, scratch, sizeof(scratch), &out);
        assert_text(out.text, cases[i].want);
    }
    sql_normalize(STR("SET x = word"), 0, scratch, sizeof(scratch), &out);
    assert_true(out.kept); /* what is shown is asked for */
    assert_text(out.text, "set x = word");
    sql_normalize(STR("ALTER ROLE bob SET x = word, 'b', 1"), 0, scratch, sizeof(scratch), &out);
    assert_true(out.kept);
    assert_text(out.text, "alter role bob set x = word, $?, $?"); /* no facts hang on it */
}

static void same_statement_has_same_digest_whatever_its_hint(void **state)
{
    struct sql_normal a;
    struct sql_normal b;

    (void)state;
    sql_normalize(STR("SELECT 1"), 0, scratch, sizeof(scratch), &a);
    assert_false(a.params);
    sql_normalize(STR("/* penstock: route=primary */ select  $2;"), 0, scratch, sizeof(scratch),
                  &b);
    assert_true(b.params);
    assert_int_equal(a.digest, b.digest);
    assert_true(str_eq(b.hint, STR("penstock: route=primary")));
    sql_normalize(STR("SELECT 1, 2"), 0, scratch, sizeof(scratch), &b);
    assert_true(a.digest != b.digest);
    assert_int_equal(b.nstatements, 1);
    sql_normalize(STR(";a;b;;c;"), 0, scratch, sizeof(scratch), &b);
    assert_int_equal(b.nstatements, 3);
}

static void grammar_text_keeps_the_class_of_constants(void **state)
{
    static const struct norm_case cases[] = {
        {"SELECT 1.5, 'it''s', E'a\\'', N'a', X'f', $$a$$, $1, 1_000, 0x1F -- x",
         "select 1.5, '', '', N'', B'0', '', $1, 1, 1"},
        {"SELECT set_config('a', 'b', 'c')", "select set_config('a', '', 'c')"},
        {"SET x = 'a\\'", "set x = 'a\\'"},
    };
    static const struct norm_case backslash[] = {
        {"SET x = 'a\\'b'", "set x = E'a\\'b'"},
        {"SET x = N'a\\'b'", "set x = E'a\\'b'"},
        {"SET x = E'a\\'b'", "set x = E'a\\'b'"},
        {"SELECT 'a\\'b'", "select ''"},
    };
    struct sql_normal out;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        sql_normalize_for_grammar(str_of(cases[i].text), 0, scratch, sizeof(scratch), &out);
        assert_string_equal(scratch, cases[i].want);
    }
    for (size_t i = 0; i < ARRAY_LEN(backslash); i++) {
        sql_normalize_for_grammar(str_of(backslash[i].text), SQL_DIALECT_BACKSLASH, scratch,
                                  sizeof(scratch), &out);
        assert_string_equal(scratch, backslash[i].want);
    }
}

static enum sql_normal_state state_of(struct str text, uint32_t dialect)
{
    struct sql_normal out;

    sql_normalize(text, dialect, scratch, sizeof(scratch), &out);
    return out.state;
}

static void unterminated_text_is_bad_in_its_dialect(void **state)
{
    (void)state;
    assert_int_equal(state_of(STR("SELECT 'a\\'"), 0), SQL_NORMAL_OK);
    assert_int_equal(state_of(STR("SELECT 'a\\'"), SQL_DIALECT_BACKSLASH), SQL_NORMAL_BAD);
    assert_int_equal(state_of(STR("SELECT 'a\\'b'"), 0), SQL_NORMAL_BAD);
    assert_int_equal(state_of(STR("SELECT 'a\\'b'"), SQL_DIALECT_BACKSLASH), SQL_NORMAL_OK);
    assert_int_equal(state_of(STR("SELECT /*"), 0), SQL_NORMAL_BAD);
    assert_int_equal(state_of(STR("SELECT \xff"), SQL_DIALECT_MULTIBYTE), SQL_NORMAL_BAD);
    assert_int_equal(state_of(STR("SELECT 1\0; DROP"), 0), SQL_NORMAL_BAD);
}

/* "select " and n times piece, so cut that it fits the cap of length. */
static enum sql_normal_state repeated(const char *piece, size_t times, const char *tail)
{
    size_t n = strlen(piece);
    size_t total = 7 + n * times + strlen(tail);
    char *text = mem_new(total + 1);

    memcpy(text, "select ", 7);
    for (size_t i = 0; i < times; i++)
        memcpy(text + 7 + i * n, piece, n);
    memcpy(text + 7 + n * times, tail, strlen(tail));
    enum sql_normal_state st = state_of((struct str){text, total}, 0);
    mem_free(text);
    return st;
}

static void length_depth_and_chains_have_caps(void **state)
{
    (void)state;
    assert_int_equal(repeated("(", 200, "1"), SQL_NORMAL_OK);
    assert_int_equal(repeated("(", 201, "1"), SQL_NORMAL_TOO_DEEP);
    assert_int_equal(repeated("[", 201, "1"), SQL_NORMAL_TOO_DEEP);
    assert_int_equal(repeated("case when ", 201, "1"), SQL_NORMAL_TOO_DEEP);
    assert_int_equal(repeated("case 1 end ", 1000, "1"), SQL_NORMAL_OK);
    assert_int_equal(repeated("(1),", 5000, "1"), SQL_NORMAL_OK);
    assert_int_equal(repeated("1+", 15000, "1"), SQL_NORMAL_OK);
    assert_int_equal(repeated("1+", 16001, "1"), SQL_NORMAL_TOO_DEEP);
    assert_int_equal(repeated("not ", 16001, "1"), SQL_NORMAL_TOO_DEEP);
    assert_int_equal(repeated("1,", 30000, "1"), SQL_NORMAL_OK);
    assert_int_equal(repeated("1,", 33000, "1"), SQL_NORMAL_TOO_DEEP);
    assert_int_equal(repeated(" ", SQL_TEXT_MAX - 8, "1"), SQL_NORMAL_OK);
    assert_int_equal(repeated(" ", SQL_TEXT_MAX - 7, "1"), SQL_NORMAL_TOO_DEEP);
}

static void text_that_does_not_fit_the_scratch_is_refused(void **state)
{
    struct sql_normal out;
    char small[64];

    (void)state;
    for (size_t cap = 16; cap <= sizeof(small); cap++) {
        memset(small, '~', sizeof(small));
        sql_normalize_for_grammar(STR("SELECT a, 'b' FROM \"c\""), 0, small, cap, &out);
        assert_true(out.state == SQL_NORMAL_TOO_DEEP || out.text.n < cap);
        for (size_t i = cap; i < sizeof(small); i++)
            assert_int_equal(small[i], '~');
    }
    assert_int_equal(out.state, SQL_NORMAL_OK);
}

static void every_prefix_is_taken_without_harm(void **state)
{
    static const char text[] = "/* penstock:a */ SELECT set_config('a', E'\\'', N'b'), CASE WHEN "
                               "$1 THEN U&\"c\" END[1:2]; "
                               "SET x = $$y$$; NOTIFY z, 'z' -- end";
    struct sql_normal out;

    (void)state;
    for (uint32_t dialect = 0; dialect < 2; dialect++) {
        for (size_t n = 0; n < sizeof(text); n++) {
            char *exact = mem_copy(text, n > 0 ? n : 1);
            sql_normalize((struct str){exact, n}, dialect, scratch, sizeof(scratch), &out);
            sql_normalize_for_grammar((struct str){exact, n}, dialect, scratch, sizeof(scratch),
                                      &out);
            mem_free(exact);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layout_case_and_constants_do_not_matter),
        cmocka_unit_test(constants_that_facts_hang_on_stay),
        cmocka_unit_test(nothing_that_a_client_has_chosen_is_shown),
        cmocka_unit_test(same_statement_has_same_digest_whatever_its_hint),
        cmocka_unit_test(grammar_text_keeps_the_class_of_constants),
        cmocka_unit_test(unterminated_text_is_bad_in_its_dialect),
        cmocka_unit_test(length_depth_and_chains_have_caps),
        cmocka_unit_test(text_that_does_not_fit_the_scratch_is_refused),
        cmocka_unit_test(every_prefix_is_taken_without_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
