/* test_ctl.c - the console's answers as table, CSV and JSON, and the pages of `penstock top`. */
#include "base/base.h"

#include "base/hash.h"
#include "base/mem.h"
#include "proxy/ctl/ctl_print.h"
#include "proxy/ctl/top_page.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static struct ctl_column columns[] = {{"name", false}, {"n", true}};

static void prints(const char *const *cells, size_t nrows, enum ctl_format format, const char *want)
{
    struct ctl_table t = {2, nrows, columns, (const char **)(uintptr_t)cells, NULL};
    struct buf out;
    buf_init(&out, 65536);
    ctl_print(&t, format, &out);
    buf_put_z(&out, "");
    assert_string_equal((const char *)buf_data(&out), want);
    buf_fini(&out);
}

static const char *const rows[] = {"a", "5", "b\xc3\xa4r", "12345"};
static const char *const odd[] = {"say \"a, b\"\n", NULL, "\x1b[31m", "-0x"};

static void tables_have_aligned_columns(void **state)
{
    (void)state;
    prints(rows, 2, CTL_TABLE,
           " name | n    \n------+-------\n a    |     5\n b\xc3\xa4r  | 12345\n(2 rows)\n");
    prints(NULL, 0, CTL_TABLE, " name | n\n------+---\n(0 rows)\n");
    prints(odd, 1, CTL_TABLE,
           " name           | n\n----------------+---\n say \"a, b\"\\x0a |  \n(1 row)\n");
}

static void terminals_are_not_steered_by_what_clients_say(void **state)
{
    (void)state;
    prints(odd + 2, 1, CTL_TABLE, " name     | n  \n----------+-----\n \\x1b[31m | -0x\n(1 row)\n");
}

static void csv_is_quoted_where_it_must_be(void **state)
{
    (void)state;
    prints(rows, 2, CTL_CSV, "name,n\na,5\nb\xc3\xa4r,12345\n");
    prints(odd, 1, CTL_CSV, "name,n\n\"say \"\"a, b\"\"\n\",\n");
}

static void json_has_numbers_and_nulls(void **state)
{
    (void)state;
    prints(NULL, 0, CTL_JSON, "[]\n");
    prints(rows, 2, CTL_JSON,
           "[\n{\"name\": \"a\", \"n\": 5},\n{\"name\": \"b\xc3\xa4r\", \"n\": 12345}\n]\n");
    prints(odd, 2, CTL_JSON,
           "[\n{\"name\": \"say \\\"a, b\\\"\\u000a\", \"n\": null},\n"
           "{\"name\": \"\\u001b[31m\", \"n\": \"-0x\"}\n]\n");
}

/* ---- pages ----------------------------------------------------------------------------------- */

#define TABLE(cols, cells)                                                                         \
    {                                                                                              \
        ARRAY_LEN(cols), ARRAY_LEN(cells) / ARRAY_LEN(cols), cols, cells, NULL                     \
    }

static struct ctl_column stats_cols[] = {{"database", false},         {"total_xact_count", true},
                                         {"total_query_count", true}, {"total_xact_time", true},
                                         {"total_query_time", true},  {"total_received", true},
                                         {"total_sent", true}};
static const char *stats_then[] = {"app", "100", "200", "1000000", "500000", "0", "0"};
static const char *stats_now[] = {"app", "300", "600", "1400000", "700000", "2000000", "4000000"};
static struct ctl_column pool_cols[] = {
    {"database", false},  {"user", false},     {"cl_active", true}, {"cl_waiting", true},
    {"sv_active", true},  {"sv_idle", true},   {"maxwait", true},   {"maxwait_us", true},
    {"pool_mode", false}, {"sv_pinned", true}, {"in_flight", true}};
static const char *pool_cells[] = {
    "app",  "web",    "7", "0", "3", "2", "0", "0",      "transaction", "1", "3",
    "bank", "teller", "5", "2", "4", "0", "1", "250000", "session",     "0", "4"};
static struct ctl_column statement_cols[] = {
    {"database", false}, {"host", false},      {"digest", false},   {"calls", true},
    {"errors", true},    {"total_time", true}, {"mean_time", true}, {"p95_time", true},
    {"wait_time", true}, {"query", false}};
static const char *statements_then[] = {"app", "h", "1", "10", "0", "1", "1", "1", "0", "select a"};
static const char *statements_now[] = {
    "app",     "h",
    "1",       "110",
    "0",       "5000000",
    "45454",   "90000",
    "2200000", "select a",
    "app",     "h",
    "2",       "20",
    "3",       "9000000",
    "1234567", "2000000",
    "0",       "select something that is longer than the line is wide for sure \xc3\xa4\x1b"};

static struct ctl_table then_stats = TABLE(stats_cols, stats_then),
                        now_stats = TABLE(stats_cols, stats_now),
                        now_pools = TABLE(pool_cols, pool_cells),
                        then_statements = TABLE(statement_cols, statements_then),
                        now_statements = TABLE(statement_cols, statements_now);

static struct top_wish wish_of(enum top_view view)
{
    struct top_wish w = {.view = view, .where = "/tmp:6432", .now = "12:00", .trouble = ""};
    for (int i = 0; i < TOP_VIEWS; i++)
        w.sort[i] = top_page_sort((enum top_view)i);
    return w;
}

static int width_of(const char *z)
{
    int n = 0;
    for (; *z != '\0'; z++)
        n += ((unsigned char)*z & 0xc0) != 0x80;
    return n;
}

static struct top_line page[40];

static void draw(const struct top_look *now, const struct top_look *before,
                 const struct top_wish *wish, int width, int height)
{
    top_page(now, before, wish, width, height, page);
    for (int i = 0; i < height; i++)
        assert_true(width_of(page[i].text) <= width);
}

static bool says(int line, const char *text)
{
    return strstr(page[line].text, text) != NULL;
}

static void pools_page_tells_of_the_whole_and_of_each(void **state)
{
    (void)state;
    const struct top_look before = {.stats = &then_stats, .at = 10};
    const struct top_look now = {
        .stats = &now_stats, .pools = &now_pools, .rows = &now_pools, .at = 12};
    struct top_wish wish = wish_of(TOP_POOLS);
    draw(&now, &before, &wish, 80, 24);
    assert_true(says(0, "/tmp:6432") && says(0, "12:00"));
    assert_true(says(1, "clients 14, waiting 2, longest 1250 ms; servers 7 in use, 2 idle"));
    assert_int_equal(page[1].style, TOP_ALARM);
    assert_true(says(2, "100 tx/s, 200 requests/s, 2.0 ms/tx, 0.5 ms/request, in 1.00 MB/s"));
    assert_true(says(3, "q quit"));
    assert_int_equal(page[4].style, TOP_HEAD);
    assert_true(says(4, "*wait ms") && says(4, "database"));
    assert_true(says(5, "bank") && says(5, "1250.0")); /* the longest wait first */
    assert_true(says(6, "app") && says(6, " trans "));
    assert_string_equal(page[7].text, "");
    wish.reverse = true;
    draw(&now, &before, &wish, 80, 24);
    assert_true(says(5, "app"));
    wish.reverse = false;
    wish.sort[TOP_POOLS] = 0;
    draw(&now, &before, &wish, 80, 24);
    assert_true(says(4, "*database") && says(5, "app"));
    wish.first = 1;
    draw(&now, &before, &wish, 80, 24);
    assert_true(says(5, "bank"));
    assert_string_equal(page[6].text, "");
}

static void statements_page_has_rates_and_fits(void **state)
{
    (void)state;
    const struct top_look before = {.stats = &then_stats, .rows = &then_statements, .at = 10};
    const struct top_look now = {
        .stats = &now_stats, .pools = &now_pools, .rows = &now_statements, .at = 12};
    struct top_wish wish = wish_of(TOP_STATEMENTS);
    draw(&now, &before, &wish, 80, 24);
    assert_true(says(4, "*total ms"));
    assert_true(says(5, "9000.0") && says(5, "1234.6") && says(5, "2000.0") && says(5, "   10.0"));
    assert_true(says(6, "   50.0") && says(6, "   20.0") && says(6, "select a"));
    wish.sort[TOP_STATEMENTS] = 0; /* calls a second */
    draw(&now, &before, &wish, 120, 24);
    assert_true(says(5, "select a"));
    assert_true(says(6, "wide for sure") || width_of(page[6].text) == 120);
    draw(&now, &before, &wish, 400, 24);
    assert_true(says(6, "wide for sure \xc3\xa4?")); /* no escape reaches the terminal */
}

static void first_page_and_small_screens_do_no_harm(void **state)
{
    (void)state;
    const struct top_look none = {0};
    const struct top_look now = {
        .stats = &now_stats, .pools = &now_pools, .rows = &now_statements, .at = 12};
    for (int view = 0; view < TOP_VIEWS; view++) {
        struct top_wish wish = wish_of((enum top_view)view);
        for (int width = 1; width < 100; width += 7) {
            for (int height = 1; height < 30; height += 3) {
                draw(&now, &none, &wish, width, height);
                draw(&none, &none, &wish, width, height);
            }
        }
        draw(&now, &none, &wish, 20, 5);
        assert_string_equal(page[0].text, "too small");
        wish.trouble = "connection refused";
        draw(&now, &none, &wish, 80, 24);
        assert_string_equal(page[3].text, "connection refused");
        assert_int_equal(page[3].style, TOP_ALARM);
    }
}

int main(void)
{
    hash_seed_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_have_aligned_columns),
        cmocka_unit_test(terminals_are_not_steered_by_what_clients_say),
        cmocka_unit_test(csv_is_quoted_where_it_must_be),
        cmocka_unit_test(json_has_numbers_and_nulls),
        cmocka_unit_test(pools_page_tells_of_the_whole_and_of_each),
        cmocka_unit_test(statements_page_has_rates_and_fits),
        cmocka_unit_test(first_page_and_small_screens_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
