/* test_metrics.c - the text of metrics, and who may come to the HTTP port. */
#include "proxy/http/http_auth.h"
#include "proxy/http/http_open.h"
#include "proxy/http/http_page.h"
#include "proxy/metrics/metrics.h"
#include "proxy/metrics/metrics_trouble.h"

#include "base/histogram.h"
#include "base/mem.h"

#include <inttypes.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void assert_text(struct buf *b, const char *want)
{
    buf_put_u8(b, '\0');
    assert_false(b->failed);
    assert_string_equal((const char *)buf_data(b), want);
    buf_fini(b);
}

static void a_label_is_escaped_and_bytes_that_are_no_text_are_spelled(void **state)
{
    static const struct {
        const char *value, *want;
    } cases[] = {
        {"app", "d=\"app\""},
        {"", "d=\"\""},
        {"a\"b\\c\nd", "d=\"a\\\"b\\\\c\\nd\""},
        {"a=1,b={}", "d=\"a=1,b={}\""},
        {"gr\xc3\xbc\xc3\x9f", "d=\"gr\xc3\xbc\xc3\x9f\""},
        {"\xf0\x9f\x90\x98", "d=\"\xf0\x9f\x90\x98\""},
        {"\xff", "d=\"\\\\xff\""},
        {"a\xc3", "d=\"a\\\\xc3\""},
        {"\xc0\xaf", "d=\"\\\\xc0\\\\xaf\""},
        {"\xed\xa0\x80", "d=\"\\\\xed\\\\xa0\\\\x80\""},
        {"\xf4\x90\x80\x80", "d=\"\\\\xf4\\\\x90\\\\x80\\\\x80\""},
        {"\xe0\x80\xaf", "d=\"\\\\xe0\\\\x80\\\\xaf\""},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b;
        buf_init(&b, 4096);
        metrics_out_label(&b, "d", cases[i].value);
        assert_text(&b, cases[i].want);
    }
}

static void a_text_becomes_json(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 4096);
    metrics_out_json(&b, "a\"\\\n\x01\x7f\xff\xc3\xbc</script>");
    assert_text(&b, "\"a\\\"\\\\\\u000a\\u0001\\u007f\\\\xff\xc3\xbc</script>\"");
}

static void times_are_written_without_rounding(void **state)
{
    static const struct metric m = {.name = "t_seconds", .type = METRIC_GAUGE};
    static const struct {
        uint64_t us;
        const char *want;
    } cases[] = {
        {0, "t_seconds 0.000000\n"},
        {1, "t_seconds 0.000001\n"},
        {1500000, "t_seconds 1.500000\n"},
        {UINT64_MAX, "t_seconds 18446744073709.551615\n"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b;
        struct metrics_out o = {.to = &b};
        buf_init(&b, 4096);
        metrics_out_begin(&o, &m);
        metrics_out_line(&o, &(struct metrics_line){.form = METRICS_SECONDS, .value = cases[i].us});
        assert_text(&b, cases[i].want);
    }
}

static void a_line_has_all_its_labels_and_the_suffix_of_its_type(void **state)
{
    static const struct metric m = {.name = "n", .type = METRIC_COUNTER};
    struct buf b;
    struct metrics_out o = {.to = &b};
    (void)state;
    buf_init(&b, 4096);
    metrics_out_begin(&o, &m);
    metrics_out_line(&o, &(struct metrics_line){.labels = STR("a=\"1\""),
                                                .extra = "state",
                                                .extra_value = "idle",
                                                .value = UINT64_MAX});
    metrics_out_line(&o, &(struct metrics_line){.extra = "w", .extra_value = "0"});
    assert_text(&b, "n_total{a=\"1\",state=\"idle\"} 18446744073709551615\nn_total{w=\"0\"} 0\n");
}

static void bucket_lines(void (*put)(struct metrics_out *o, struct str labels,
                                     const uint64_t *octaves, uint64_t sum_us),
                         const uint64_t *octaves, struct buf *b)
{
    static const struct metric m = {.name = "t_seconds", .type = METRIC_HISTOGRAM};
    struct metrics_out o = {.to = b};
    buf_init(b, 1 << 16);
    metrics_out_begin(&o, &m);
    put(&o, STR("d=\"x\""), octaves, 1500000);
}

static void a_histogram_has_all_its_buckets_also_empty_ones(void **state)
{
    uint64_t none[HISTOGRAM_OCTAVES] = {0}, some[HISTOGRAM_OCTAVES] = {0};
    struct buf b;
    (void)state;
    some[0] = 2;  /* 0 */
    some[12] = 3; /* below 4.096 ms */
    some[34] = 1; /* hours */
    bucket_lines(metrics_out_waits, some, &b);
    assert_text(&b, "t_seconds_bucket{d=\"x\",le=\"0.000256\"} 2\n"
                    "t_seconds_bucket{d=\"x\",le=\"0.001024\"} 2\n"
                    "t_seconds_bucket{d=\"x\",le=\"0.004096\"} 5\n"
                    "t_seconds_bucket{d=\"x\",le=\"0.016384\"} 5\n"
                    "t_seconds_bucket{d=\"x\",le=\"0.065536\"} 5\n"
                    "t_seconds_bucket{d=\"x\",le=\"0.262144\"} 5\n"
                    "t_seconds_bucket{d=\"x\",le=\"1.048576\"} 5\n"
                    "t_seconds_bucket{d=\"x\",le=\"4.194304\"} 5\n"
                    "t_seconds_bucket{d=\"x\",le=\"16.777216\"} 5\n"
                    "t_seconds_bucket{d=\"x\",le=\"+Inf\"} 6\n"
                    "t_seconds_count{d=\"x\"} 6\n"
                    "t_seconds_sum{d=\"x\"} 1.500000\n");
    for (int i = 0; i < 2; i++) {
        size_t lines = 0;
        bucket_lines(metrics_out_times, i > 0 ? some : none, &b);
        for (size_t k = 0; k < buf_len(&b); k++)
            lines += buf_data(&b)[k] == '\n';
        assert_int_equal(lines, 18);
        buf_fini(&b);
    }
}

static void every_time_is_below_the_bound_of_its_bucket(void **state)
{
    (void)state;
    for (uint64_t us = 1; us < (uint64_t)20 * USEC_PER_SEC; us = us * 3 / 2 + 1) {
        uint64_t octaves[HISTOGRAM_OCTAVES] = {0};
        struct histogram h = {0};
        struct buf b;
        histogram_add(&h, (usec_t)us);
        assert_int_equal(histogram_fold(&h, octaves, NULL), us);
        bucket_lines(metrics_out_times, octaves, &b);
        buf_put_u8(&b, '\0');
        for (const char *p = (const char *)buf_data(&b); (p = strstr(p, "le=\"")) != NULL; p++) {
            double le = strtod(p + 4, NULL);
            bool in = strncmp(strchr(p, '}'), "} 1", 3) == 0;
            assert_int_equal(in, (double)us < le * 1e6);
        }
        buf_fini(&b);
    }
}

static void numbers_are_whole(void **state)
{
    static const struct metric m = {.name = "n", .type = METRIC_GAUGE};
    (void)state;
    for (uint64_t v = 0; v < UINT64_MAX / 20; v = v * 10 + 9) {
        char want[32];
        struct buf b;
        struct metrics_out o = {.to = &b};
        buf_init(&b, 4096);
        metrics_out_begin(&o, &m);
        metrics_out_line(&o, &(struct metrics_line){.value = v});
        snprintf(want, sizeof(want), "n %" PRIu64 "\n", v);
        assert_text(&b, want);
    }
}

static void a_page_that_does_not_fit_says_so(void **state)
{
    struct metrics_sample *s = mem_new(sizeof(*s));
    struct metrics_process p = {0};
    struct buf b;
    (void)state;
    buf_init(&b, 2000);
    metrics_text(s, &p, &b);
    assert_true(b.failed);
    buf_fini(&b);
    mem_free(s);
}

static size_t lines_with(const struct buf *b, const char *name, const char *labels)
{
    char line[256];
    size_t n = 0;
    snprintf(line, sizeof(line), "\n%s{%s", name, labels);
    for (const char *p = (const char *)buf_data(b); (p = strstr(p, line)) != NULL; p++)
        n++;
    return n;
}

static void servers_are_shown_of_nodes_and_clients_of_their_entry(void **state)
{
    static struct db_shared plain = {.name = "plain"}, app = {.name = "app"};
    static struct user_shared u = {.name = "u"};
    static struct pool_shared shared[] = {{.db = &app, .user = &u, .node = ""},
                                          {.db = &app, .user = &u, .node = "n:1"},
                                          {.db = &plain, .user = &u, .node = ""}};
    static const char *const of_servers[] = {"penstock_pool_servers",
                                             "penstock_pool_servers_limit",
                                             "penstock_pool_share_width",
                                             "penstock_pool_queries_total",
                                             "penstock_pool_wait_seconds_bucket",
                                             "penstock_pool_server_logins_total"};
    static const char *const of_clients[] = {
        "penstock_pool_clients", "penstock_pool_oldest_wait_seconds",
        "penstock_pool_client_logins_total", "penstock_pool_timeouts_total"};
    struct metrics_sample *s = mem_new(sizeof(*s));
    struct metrics_process p = {0};
    struct buf b;
    (void)state;
    s->npools = ARRAY_LEN(shared);
    s->pools = mem_new(s->npools * sizeof(*s->pools));
    for (size_t i = 0; i < s->npools; i++)
        s->pools[i] = (struct admin_pool_row){.shared = &shared[i],
                                              .cluster = i < 2 ? (const struct cluster *)s
                                                               : NULL, /* is not looked into */
                                              .limit = 20,
                                              .share_width = 8};
    s->pools[0].stats.xacts = 7; /* may be of a time before the cluster: nothing is lost */
    buf_init(&b, 1 << 20);
    metrics_text(s, &p, &b);
    buf_put_u8(&b, '\0');
    for (size_t i = 0; i < ARRAY_LEN(of_servers); i++) {
        assert_int_equal(lines_with(&b, of_servers[i], "database=\"app\",user=\"u\"}"), 0);
        assert_int_equal(lines_with(&b, of_servers[i], "database=\"app\",user=\"u\",state"), 0);
        assert_int_equal(lines_with(&b, of_servers[i], "database=\"app\",user=\"u\",le"), 0);
        assert_true(lines_with(&b, of_servers[i], "database=\"app\",user=\"u\",node=\"n:1\"") > 0);
        assert_true(lines_with(&b, of_servers[i], "database=\"plain\",user=\"u\"") > 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(of_clients); i++) {
        assert_int_equal(lines_with(&b, of_clients[i], "database=\"app\",user=\"u\",node"), 0);
        assert_true(lines_with(&b, of_clients[i], "database=\"app\",user=\"u\"") > 0);
        assert_true(lines_with(&b, of_clients[i], "database=\"plain\",user=\"u\"") > 0);
    }
    assert_non_null(strstr((const char *)buf_data(&b),
                           "penstock_pool_transactions_total{database=\"app\",user=\"u\"} 7\n"));
    assert_null(strstr((const char *)buf_data(&b), "database=\"plain\",user=\"u\",node"));
    buf_fini(&b);
    mem_free(s->pools);
    mem_free(s);
}

static void names_end_with_their_unit_and_none_comes_twice(void **state)
{
    (void)state;
    for (size_t i = 0; i < metrics_count; i++) {
        const struct metric *m = &metrics_table[i];
        size_t n = strlen(m->name), u = strlen(m->unit);
        assert_true(u == 0 || (n > u + 1 && m->name[n - u - 1] == '_' &&
                               strcmp(m->name + n - u, m->unit) == 0));
        assert_true(m->help[0] != '\0' && m->help[strlen(m->help) - 1] == '.');
        assert_null(strpbrk(m->help, "\n\"|"));
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(m->name, metrics_table[k].name);
    }
}

/* ---- measures -------------------------------------------------------------------------------- */

static void codes_are_told_apart_up_to_a_number_and_odd_ones_are_not_kept(void **state)
{
    struct measure m = {0};
    struct measured sum = {0}, one;
    char code[8];
    (void)state;
    measure_init(&m, false);
    for (int i = 0; i < MEASURE_CODES + 6; i++) {
        snprintf(code, sizeof(code), "A%04d", i);
        measure_error(&m, str_of(code));
    }
    measure_error(&m, STR("A0003"));
    measure_error(&m, STR("\"}\n"));
    measure_error(&m, STR(""));
    measure_error(&m, STR("A00030000"));
    assert_string_equal(m.counts.codes[3].text, "A0003");
    assert_int_equal(m.counts.codes[3].n, 2);
    assert_int_equal(m.counts.other_codes, 9);
    struct measure other = {0};
    measure_error(&other, STR("A0003"));
    measure_error(&other, STR("B0000"));
    measure_read(&m, &one, NULL);
    measure_add(&sum, &one);
    measure_read(&other, &one, NULL);
    measure_add(&sum, &one);
    assert_int_equal(sum.counts.codes[3].n, 3);
    assert_int_equal(sum.counts.other_codes, 10);
    measure_fini(&m);
}

static void a_depth_is_noted_in_the_bucket_that_it_is_not_above(void **state)
{
    static const uint32_t depths[] = {1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64};
    static const uint64_t want[MEASURE_DEPTHS] = {1, 1, 2, 2, 2, 2, 2};
    struct measure m = {0};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(depths); i++)
        measure_depth(&m, depths[i]);
    assert_memory_equal(m.counts.depth, want, sizeof(want));
    assert_int_equal(m.counts.depth_sum, 194);
}

static void times_are_noted_only_where_they_are_shown(void **state)
{
    struct measure off = {0}, on = {0};
    struct measured out;
    (void)state;
    measure_init(&off, false);
    measure_took(&off, MEASURE_WAIT, 100);
    measure_read(&off, &out, NULL);
    assert_int_equal(out.times[MEASURE_WAIT].sum_us, 0);
    measure_init(&on, true);
    measure_took(&on, MEASURE_XACT, 100);
    measure_read(&on, &out, NULL);
    assert_int_equal(out.times[MEASURE_XACT].sum_us, 100);
    assert_int_equal(out.times[MEASURE_XACT].octaves[7], 1);
    assert_int_equal(out.times[MEASURE_WAIT].sum_us, 0);
    measure_fini(&on);
}

/* ---- the page -------------------------------------------------------------------------------- */

static void trouble_is_said_in_words(void **state)
{
    static struct db_shared bank = {.name = (char *)"bank"}, shop = {.name = (char *)"shop"};
    static struct user_shared app = {.name = (char *)"app"};
    struct pool_shared one = {.db = &bank, .user = &app}, two = {.db = &shop, .user = &app};
    struct admin_pool_row pools[] = {
        {.shared = &two, .failing = 1, .sv_login = 1, .cl_waiting = 1, .maxwait = 150000},
        {.shared = &one,
         .cl_waiting = 14,
         .maxwait = 2100000,
         .sv_active = 20,
         .longest_idle_in_tx = 75040000,
         .idle_in_tx = 3}};
    struct metrics_database held = {.name = "old", .paused = 1};
    struct metrics_sample *s = mem_new(sizeof(*s));
    struct metrics_process p = {.open_fds = 95, .max_fds = 100};
    struct buf b;
    (void)state;
    pools[1].pins[ADMIN_PIN_TX] = 20;
    s->pools = pools;
    s->npools = 2;
    s->databases = &held;
    s->ndatabases = 1;
    buf_init(&b, 4096);
    metrics_trouble(s, &p, &b);
    assert_text(&b, "95 of 100 file descriptors are open\n"
                    "pool bank/app: 14 clients waiting, oldest 2.1 s; all 20 servers in "
                    "transactions, longest idle in transaction 75.0 s\n"
                    "pool shop/app: 1 client waiting, oldest 0.1 s; 1 server "
                    "connecting\n"
                    "pool shop/app: the last attempt to connect to the database failed\n"
                    "database old: paused\n");
    pools[0] = (struct admin_pool_row){.shared = &two, .cl_waiting = 5, .maxwait = 99999};
    pools[1].cl_waiting = pools[1].maxwait = 0;
    held.paused = 0;
    p.open_fds = 10;
    buf_init(&b, 4096);
    metrics_trouble(s, &p, &b);
    assert_text(&b, "pool bank/app: 3 clients idle in a transaction, longest 75.0 s\n");
    mem_free(s);
}

static void lines_of_trouble_are_bounded(void **state)
{
    static struct metrics_database held[METRICS_TROUBLE_MAX + 7];
    struct metrics_sample *s = mem_new(sizeof(*s));
    struct metrics_process p = {0};
    struct buf b;
    int lines = 0;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(held); i++)
        held[i] = (struct metrics_database){.name = "d", .disabled = 1};
    s->databases = held;
    s->ndatabases = ARRAY_LEN(held);
    buf_init(&b, 4096);
    metrics_trouble(s, &p, &b);
    struct str rest = buf_str(&b), last = STR("");
    while (rest.n > 0) {
        last = str_cut(&rest, '\n');
        lines++;
    }
    assert_int_equal(lines, METRICS_TROUBLE_MAX + 1);
    assert_true(str_eq(last, STR("and 7 more")));
    buf_fini(&b);
    mem_free(s);
}

static void the_page_is_whole_and_its_policy_names_two_hashes(void **state)
{
    char policy[HTTP_PAGE_POLICY_MAX];
    struct str page = http_page_text();
    (void)state;
    assert_true(str_starts(page, STR("<!doctype html>")));
    assert_true(str_eq(str_trim((struct str){page.p + page.n - 8, 8}), STR("</html>")));
    http_page_policy(policy, sizeof(policy));
    assert_non_null(strstr(policy, "default-src 'none'"));
    assert_non_null(strstr(policy, "script-src 'sha256-"));
    assert_non_null(strstr(policy, "style-src 'sha256-"));
    assert_null(strstr(policy, "unsafe"));
    assert_null(memmem(page.p, page.n, "innerHTML", 9));
}

/* ---- the port -------------------------------------------------------------------------------- */

static void an_address_is_a_port_or_an_address_and_a_port(void **state)
{
    static const struct {
        const char *text;
        bool good, loopback;
    } cases[] = {
        {"9127", true, true},
        {" 9127 ", true, true},
        {"localhost:9127", true, true},
        {"127.0.0.1:9127", true, true},
        {"127.8.9.1:1", true, true},
        {"[::1]:9127", true, true},
        {"*:65535", true, false},
        {"0.0.0.0:9127", true, false},
        {"10.0.0.1:9127", true, false},
        {"[2001:db8::1]:9127", true, false},
        {"", false, false},
        {"0", false, false},
        {"65536", false, false},
        {"-1", false, false},
        {"127.0.0.1", false, false},
        {"127.0.0.1:", false, false},
        {":9127", false, false},
        {"::1", false, false},
        {"::1:9127", false, false},
        {"[::1]", false, false},
        {"db.example:9127", false, false},
        {"9127x", false, false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_address a;
        struct error err = {""};
        enum status st = http_open_parse(cases[i].text, &a, &err);
        if ((st == ST_OK) != cases[i].good)
            fail_msg("%s: %s", cases[i].text, err.text);
        if (st == ST_OK)
            assert_int_equal(a.loopback, cases[i].loopback);
    }
}

static void a_host_is_plain_when_nobody_else_could_name_it(void **state)
{
    (void)state;
    assert_true(http_auth_host_is_plain(NULL));
    assert_true(http_auth_host_is_plain("localhost"));
    assert_true(http_auth_host_is_plain("LocalHost:9127"));
    assert_true(http_auth_host_is_plain("127.0.0.1:9127"));
    assert_true(http_auth_host_is_plain("[::1]:9127"));
    assert_false(http_auth_host_is_plain(""));
    assert_false(http_auth_host_is_plain("example.com"));
    assert_false(http_auth_host_is_plain("localhost.example.com"));
    assert_false(http_auth_host_is_plain("127.0.0.1.example.com:80"));
    assert_false(http_auth_host_is_plain("[::1.example.com"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_label_is_escaped_and_bytes_that_are_no_text_are_spelled),
        cmocka_unit_test(a_text_becomes_json),
        cmocka_unit_test(times_are_written_without_rounding),
        cmocka_unit_test(a_line_has_all_its_labels_and_the_suffix_of_its_type),
        cmocka_unit_test(a_histogram_has_all_its_buckets_also_empty_ones),
        cmocka_unit_test(every_time_is_below_the_bound_of_its_bucket),
        cmocka_unit_test(numbers_are_whole),
        cmocka_unit_test(a_page_that_does_not_fit_says_so),
        cmocka_unit_test(servers_are_shown_of_nodes_and_clients_of_their_entry),
        cmocka_unit_test(names_end_with_their_unit_and_none_comes_twice),
        cmocka_unit_test(codes_are_told_apart_up_to_a_number_and_odd_ones_are_not_kept),
        cmocka_unit_test(a_depth_is_noted_in_the_bucket_that_it_is_not_above),
        cmocka_unit_test(times_are_noted_only_where_they_are_shown),
        cmocka_unit_test(trouble_is_said_in_words),
        cmocka_unit_test(lines_of_trouble_are_bounded),
        cmocka_unit_test(the_page_is_whole_and_its_policy_names_two_hashes),
        cmocka_unit_test(an_address_is_a_port_or_an_address_and_a_port),
        cmocka_unit_test(a_host_is_plain_when_nobody_else_could_name_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
