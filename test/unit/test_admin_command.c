/* test_admin_command.c - the console's grammar, its table of rights, and the rows of an answer. */
#include "base/base.h"

#include "base/mem.h"
#include "proxy/admin/admin_command.h"
#include "proxy/admin/admin_reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct {
    const char *text;
    enum admin_command_kind kind;
    const char *arg, *value;
} good[] = {
    {"SHOW POOLS", CMD_SHOW, "POOLS", ""},
    {"show pools;", CMD_SHOW, "pools", ""},
    {" \t\r\n Show  stats_totals ; \n", CMD_SHOW, "stats_totals", ""},
    {"SELECT lists", CMD_SHOW, "lists", ""},
    {"SHOW \"clients\"", CMD_SHOW, "clients", ""},
    {"SHOW DateStyle", CMD_SHOW_FAKED, "DateStyle", ""},
    {"SET query_timeout=5", CMD_SET, "query_timeout", "5"},
    {"set query_timeout = 0.5 ;", CMD_SET, "query_timeout", "0.5"},
    {"SET k TO v", CMD_SET, "k", "v"},
    {"SET k to'v'", CMD_SET, "k", "v"},
    {"SET k = 'a ''b'' ; c'", CMD_SET, "k", "a 'b' ; c"},
    {"SET k = ''", CMD_SET, "k", ""},
    {"SET server_check_query = 'select 1'", CMD_SET, "server_check_query", "select 1"},
    {"SET datestyle TO 'ISO'", CMD_SET_FAKED, "datestyle", "ISO"},
    {"RELOAD", CMD_RELOAD, "", ""},
    {"CACHE FLUSH", CMD_CACHE_FLUSH, "", ""},
    {"cache flush balance;", CMD_CACHE_FLUSH, "", "balance"},
    {"CACHE FLUSH 'balance:42 x'", CMD_CACHE_FLUSH, "", "balance:42 x"},
    {"CACHE FORGET MEMBER db-1:6432;", CMD_CACHE_FORGET, "db-1:6432", ""},
    {"cache forget member \"a b/0f\"", CMD_CACHE_FORGET, "a b/0f", ""},
    {"CACHE FLUSH balance:42 ;", CMD_CACHE_FLUSH, "", "balance:42"},
    {"PAUSE", CMD_PAUSE, "", ""},
    {"PAUSE app", CMD_PAUSE, "app", ""},
    {"pause \"My Db\";", CMD_PAUSE, "My Db", ""},
    {"PAUSE \"a\"\"b\"", CMD_PAUSE, "a\"b", ""},
    {"RESET STATEMENTS", CMD_RESET, "STATEMENTS", ""},
    {"RESUME", CMD_RESUME, "", ""},
    {"RESUME a_1", CMD_RESUME, "a_1", ""},
    {"SUSPEND", CMD_SUSPEND, "", ""},
    {"UPGRADE;", CMD_UPGRADE, "", ""},
    {"DISABLE app", CMD_DISABLE, "app", ""},
    {"ENABLE app", CMD_ENABLE, "app", ""},
    {"DRAIN 10.0.0.1:5432;", CMD_DRAIN, "10.0.0.1:5432", ""},
    {"undrain [::1]:5432@::1", CMD_UNDRAIN, "[::1]:5432@::1", ""},
    {"drain \"db-1:5432\"", CMD_DRAIN, "db-1:5432", ""},
    {"EXPLAIN ROUTE SELECT 1; SELECT 2;", CMD_EXPLAIN, "", ""},
    {"RECONNECT", CMD_RECONNECT, "", ""},
    {"WAIT_CLOSE app", CMD_WAIT_CLOSE, "app", ""},
    {"KILL", CMD_KILL, "", ""},
    {"KILL_CLIENT 17", CMD_KILL_CLIENT, "17", ""},
    {"SHUTDOWN", CMD_SHUTDOWN, "", ""},
    {"SHUTDOWN WAIT_FOR_SERVERS", CMD_SHUTDOWN_SERVERS, "WAIT_FOR_SERVERS", ""},
    {"shutdown wait_for_clients;", CMD_SHUTDOWN_CLIENTS, "wait_for_clients", ""},
};

static const char *const bad[] = {
    "",
    ";",
    "   ",
    "SHOW",
    "RESET",
    "RESET ALL",
    "EXPLAIN",
    "EXPLAIN ROUTE",
    "EXPLAIN ROUTE  \n",
    "EXPLAIN SELECT 1",
    "EXPLAIN ROUTESELECT 1",
    "SHOW nothing",
    "CACHE",
    "CACHE FLUSH a b",
    "CACHE FLUSHED",
    "CACHE DROP",
    "CACHE FORGET",
    "CACHE FORGET one",
    "CACHE FORGET MEMBER",
    "CACHE FORGET MEMBER \"\"",
    "CACHE FORGET MEMBER a b",
    "CACHE FORGETMEMBER a",
    "SHOW POOLS;;",
    "SHOW POOLS; SHOW POOLS",
    "SHOW POOLS x",
    "SHOWPOOLS",
    "SHOW\"pools\"",
    "SHOW \"pools",
    "SHOW 'pools'",
    "SELECT 1",
    "SELECT",
    "RELOAD now",
    "SUSPEND app",
    "PAUSE \"\"",
    "PAUSE a-b",
    "DISABLE",
    "ENABLE;",
    "KILL_CLIENT",
    "KILL_CLIENT x",
    "KILL_CLIENT -1",
    "KILL_CLIENT 99999999999999999999",
    "SHUTDOWN later",
    "SET",
    "SET a",
    "SET a =",
    "SET a TO",
    "SET a b",
    "SET a = b c",
    "SET a = 'b",
    "SET a = 'b' 'c'",
    "SET a = b;;",
    "SETa=b",
    "SET = b",
    "begin",
    "WAIT_CLOSE_WAIT_CLOSE_WAIT_CLOSE",
    "\x01\x02\xff",
};

static void commands_of_the_grammar_are_understood(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct admin_command cmd;
        struct error err = {""};
        if (admin_command_parse(str_of(good[i].text), &cmd, &err) != ST_OK)
            fail_msg("%s: %s", good[i].text, err.text);
        assert_int_equal(cmd.kind, good[i].kind);
        assert_string_equal(cmd.arg, good[i].arg);
        assert_string_equal(cmd.value, good[i].value);
        if (cmd.kind == CMD_KILL_CLIENT)
            assert_int_equal(cmd.client, 17);
        if (cmd.kind == CMD_SHOW)
            assert_non_null(cmd.view);
    }
}

static void everything_else_is_an_error_with_a_text(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct admin_command cmd;
        struct error err = {""};
        if (admin_command_parse(str_of(bad[i]), &cmd, &err) != ST_INVALID)
            fail_msg("accepted: %s", bad[i]);
        assert_true(err.text[0] != '\0');
    }
}

/* Commands cut at any point, in memory that ends where they do. */
static void cut_commands_are_never_read_behind_their_end(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        for (size_t n = 0; n < strlen(good[i].text); n++) {
            struct admin_command cmd;
            struct error err;
            char *text = mem_copy(good[i].text, n > 0 ? n : 1);
            enum status st = admin_command_parse((struct str){text, n}, &cmd, &err);
            assert_true(st == ST_OK || st == ST_INVALID);
            mem_free(text);
        }
    }
}

static void lengths_are_bounded_to_the_byte(void **state)
{
    (void)state;
    struct admin_command cmd;
    struct error err;
    char text[400];
    char name[300];
    memset(name, 'a', sizeof(name));
    for (int quoted = 0; quoted < 2; quoted++) {
        const char *q = quoted ? "\"" : "";
        snprintf(text, sizeof(text), "PAUSE %s%.*s%s", q, ADMIN_ARG_MAX, name, q);
        assert_int_equal(admin_command_parse(str_of(text), &cmd, &err), ST_OK);
        assert_int_equal(strlen(cmd.arg), ADMIN_ARG_MAX);
        snprintf(text, sizeof(text), "PAUSE %s%.*s%s", q, ADMIN_ARG_MAX + 1, name, q);
        assert_int_equal(admin_command_parse(str_of(text), &cmd, &err), ST_INVALID);
        q = quoted ? "'" : "";
        snprintf(text, sizeof(text), "SET k=%s%.*s%s", q, ADMIN_VALUE_MAX, name, q);
        assert_int_equal(admin_command_parse(str_of(text), &cmd, &err), ST_OK);
        assert_int_equal(strlen(cmd.value), ADMIN_VALUE_MAX);
        snprintf(text, sizeof(text), "SET k=%s%.*s%s", q, ADMIN_VALUE_MAX + 1, name, q);
        assert_int_equal(admin_command_parse(str_of(text), &cmd, &err), ST_INVALID);
    }
}

static void a_statement_is_kept_whole_or_refused(void **state)
{
    static char text[ADMIN_STATEMENT_MAX + 100] = "EXPLAIN ROUTE ";
    struct admin_command cmd;
    struct error err;
    size_t n = strlen(text);
    (void)state;
    assert_int_equal(admin_command_parse(STR("explain\troute\n SELECT ';' ; "), &cmd, &err), ST_OK);
    assert_string_equal(cmd.statement, "SELECT ';' ; ");
    memset(text + n, 'a', ADMIN_STATEMENT_MAX + 1);
    struct str longest = {text, n + ADMIN_STATEMENT_MAX}, longer = {text, longest.n + 1};
    assert_int_equal(admin_command_parse(longest, &cmd, &err), ST_OK);
    assert_int_equal(strlen(cmd.statement), ADMIN_STATEMENT_MAX);
    assert_int_equal(admin_command_parse(longer, &cmd, &err), ST_INVALID);
}

static void error_names_the_command_and_cuts_between_characters(void **state)
{
    (void)state;
    struct admin_command cmd;
    struct error err;
    char text[400];
    assert_int_equal(admin_command_parse(STR(" frob x "), &cmd, &err), ST_INVALID);
    assert_string_equal(err.text, "invalid command 'frob x', use SHOW HELP;");
    for (size_t lead = 90; lead < 104; lead++) {
        memset(text, 'a', lead);
        memcpy(text + lead, "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac", 9);
        assert_int_equal(admin_command_parse((struct str){text, lead + 9}, &cmd, &err), ST_INVALID);
        const char *end = strstr(err.text, "', use");
        assert_non_null(end);
        assert_true(end[-1] == 'a' || (unsigned char)end[-1] == 0xac);
    }
}

/* Whatever changes something needs the full role; a new command without a row would have none. */
static void stats_user_is_refused_all_but_views_and_faked_settings(void **state)
{
    (void)state;
    bool seen[CMDS] = {false};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct admin_command cmd;
        struct error err = {""};
        assert_int_equal(admin_command_parse(str_of(good[i].text), &cmd, &err), ST_OK);
        bool harmless = cmd.kind == CMD_SHOW || cmd.kind == CMD_SHOW_FAKED ||
                        cmd.kind == CMD_SET_FAKED || cmd.kind == CMD_EXPLAIN;
        assert_int_equal(admin_command_refused(&cmd, ADMIN_STATS, &err), !harmless);
        assert_int_equal(err.text[0] != '\0', !harmless);
        assert_false(admin_command_refused(&cmd, ADMIN_FULL, &err));
        seen[cmd.kind] = true;
    }
    for (int i = 0; i < CMDS; i++)
        assert_true(seen[i]); /* every command stands in the table above */
}

static void views_are_complete_and_only_descriptors_are_for_administrators(void **state)
{
    (void)state;
    for (int i = 0; i < VIEWS; i++) {
        struct admin_command cmd;
        struct error err;
        char text[64];
        assert_int_equal(admin_views[i].id, i);
        assert_ptr_equal(admin_view_find(str_of(admin_views[i].name)), &admin_views[i]);
        snprintf(text, sizeof(text), "SHOW %s", admin_views[i].name);
        assert_int_equal(admin_command_parse(str_of(text), &cmd, &err), ST_OK);
        assert_int_equal(admin_command_refused(&cmd, ADMIN_STATS, &err), i == VIEW_FDS);
        const struct wire_column *cols;
        assert_int_equal(admin_command_columns(&cmd, &cols), admin_views[i].ncols);
        for (int k = 0; k < admin_views[i].ncols; k++)
            assert_non_null(cols[k].name);
    }
}

static void tags_are_those_of_the_command(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"select pools", "SHOW"},         {"set a = 'b c'", "SET a=b c"},
        {"set timezone = 'UTC'", "SET"},  {"shutdown wait_for_clients", "SHUTDOWN"},
        {"explain route x", "EXPLAIN"},   {"wait_close", "WAIT_CLOSE"},
        {"kill_client 1", "KILL_CLIENT"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct admin_command cmd;
        struct error err;
        char tag[400];
        assert_int_equal(admin_command_parse(str_of(rows[i][0]), &cmd, &err), ST_OK);
        admin_command_tag(&cmd, tag, sizeof(tag));
        assert_string_equal(tag, rows[i][1]);
    }
}

static void rows_come_back_as_they_were_put(void **state)
{
    (void)state;
    struct admin_reply *r = admin_reply_new();
    struct str v[3], rest;
    for (int i = 0; i < 3; i++) {
        admin_reply_int(&r->rows, -i);
        admin_reply_text(&r->rows, i == 1 ? "" : "text");
        admin_reply_str(&r->rows, i == 2 ? STR("\0x") : STR_NONE);
    }
    rest = buf_str(&r->rows);
    assert_true(admin_reply_next(&rest, v, 3));
    assert_true(str_eq(v[0], STR("0")) && str_eq(v[1], STR("text")) && v[2].p == NULL);
    assert_true(admin_reply_next(&rest, v, 3));
    assert_true(str_eq(v[0], STR("-1")) && v[1].p != NULL && v[1].n == 0 && v[2].p == NULL);
    assert_true(admin_reply_next(&rest, v, 3));
    assert_true(str_eq(v[0], STR("-2")) && str_eq(v[2], STR("\0x")));
    assert_false(admin_reply_next(&rest, v, 3));
    admin_reply_free(&r);
    assert_null(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_of_the_grammar_are_understood),
        cmocka_unit_test(everything_else_is_an_error_with_a_text),
        cmocka_unit_test(cut_commands_are_never_read_behind_their_end),
        cmocka_unit_test(lengths_are_bounded_to_the_byte),
        cmocka_unit_test(a_statement_is_kept_whole_or_refused),
        cmocka_unit_test(error_names_the_command_and_cuts_between_characters),
        cmocka_unit_test(stats_user_is_refused_all_but_views_and_faked_settings),
        cmocka_unit_test(views_are_complete_and_only_descriptors_are_for_administrators),
        cmocka_unit_test(tags_are_those_of_the_command),
        cmocka_unit_test(rows_come_back_as_they_were_put),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
