/* test_statements.c - the table of statistics of statements and the small histogram in it. */
#include "base/base.h"

#include "base/mem.h"
#include "proxy/pool/registry.h"
#include "proxy/statements.h"
#include "protocol/sql/sql_cache.h"

#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define ROOMY ((size_t)1 << 20)

static struct db_shared app = {.name = "app"}, bank = {.name = "bank"};
static const char here[] = "10.0.0.1:5432", there[] = "10.0.0.2:5432";

struct table {
    struct statements *t;
    struct sql_cache *sql;
};

static void table_new(struct table *x, size_t bytes)
{
    x->t = statements_new();
    x->sql = sql_cache_new(ROOMY);
    statements_configure(x->t, true, bytes);
}

static void table_free(struct table *x)
{
    statements_free(&x->t);
    assert_null(x->t);
    sql_cache_free(&x->sql);
}

static void batch_add(struct table *x, struct statement_batch *b, const char *text)
{
    struct facts *f = sql_cache_get(x->sql, str_of(text), 0);
    statement_batch_add(b, f);
    facts_put(&f);
}

static void note(struct table *x, const char *text, struct statement_run run)
{
    struct statement_batch b = {0};
    batch_add(x, &b, text);
    run.batch = &b;
    run.db = run.db != NULL ? run.db : &app;
    run.host = run.host != NULL ? run.host : here;
    statements_note(x->t, &run);
    statement_batch_clear(&b);
}

static void took(struct table *x, const char *text, usec_t us)
{
    note(x, text, (struct statement_run){.took = us, .rows = 1});
}

struct wanted {
    const char *text;
    struct statement found;
    int n;
};

static void look(void *arg, const struct statement *s)
{
    struct wanted *w = arg;
    if (!str_eq(s->text, str_of(w->text)))
        return;
    w->found = *s;
    w->n++;
}

/* The row of that text, of which there is one; calls is 0 when there is none. */
static struct statement row(struct table *x, const char *text)
{
    struct wanted w = {.text = text};
    statements_each(x->t, look, &w);
    assert_true(w.n <= 1);
    return w.found;
}

static size_t nrows(struct table *x)
{
    struct statements_counts n;
    statements_count(x->t, &n);
    return n.rows;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void calls_with_other_constants_are_one_row(void **state)
{
    (void)state;
    struct table x;
    table_new(&x, ROOMY);
    note(&x, "SELECT a FROM t WHERE id = 5",
         (struct statement_run){.took = 100, .waited = 7, .rows = 1});
    note(&x, "select  a from t\nwhere id = 'x' -- why",
         (struct statement_run){.took = 300, .waited = 3, .rows = 2, .failed = true});
    note(&x, "select a from t where id = $1", (struct statement_run){.took = 200});
    struct statement s = row(&x, "select a from t where id = $?");
    assert_int_equal(nrows(&x), 1);
    assert_int_equal(s.calls, 3);
    assert_int_equal(s.errors, 1);
    assert_int_equal(s.rows, 3);
    assert_int_equal(s.total_us, 600);
    assert_int_equal(s.wait_us, 10);
    assert_int_equal(s.max_us, 300);
    assert_true(s.key.digest != 0);
    table_free(&x);
}

static void databases_and_hosts_have_rows_of_their_own(void **state)
{
    (void)state;
    struct table x;
    table_new(&x, ROOMY);
    const struct statement_run runs[] = {
        {.db = &app, .host = here}, {.db = &app, .host = there}, {.db = &bank, .host = here}};
    for (size_t i = 0; i < ARRAY_LEN(runs); i++)
        note(&x, "select 1", runs[i]);
    for (size_t i = 0; i < ARRAY_LEN(runs); i++)
        note(&x, "select 2", runs[i]);
    assert_int_equal(nrows(&x), 3);
    table_free(&x);
}

static void what_the_cache_answers_has_no_host_and_is_no_call(void **state)
{
    (void)state;
    struct table x;
    struct statement_batch b = {0};
    table_new(&x, ROOMY);
    took(&x, "select a from t where id = 1", 100);
    batch_add(&x, &b, "select a from t where id = 2");
    for (int i = 0; i < 3; i++)
        statements_note_cached(x.t, &app, &b);
    assert_int_equal(nrows(&x), 2);
    statements_reset(x.t);
    statements_note_cached(x.t, &app, &b);
    struct statement s = row(&x, "select a from t where id = $?");
    assert_null(s.key.host);
    assert_int_equal(s.cached, 1);
    assert_int_equal(s.calls, 0);
    assert_int_equal(s.total_us, 0);
    statement_batch_clear(&b);
    table_free(&x);
}

/* Constants on which facts hang stay in the text of the facts, not in what is shown. */
static void no_row_shows_a_constant(void **state)
{
    (void)state;
    static const struct {
        const char *first, *second, *shown;
    } rows[] = {
        {"SET app.token = 'secret'", "SET app.token = 'other'", "set app.token = $?"},
        {"NOTIFY c, 'secret'", "NOTIFY c, 'other'", "notify c, $?"},
        {"SELECT set_config('app.x', 'secret', false)", "SELECT set_config('app.y', 'z', true)",
         "select set_config($?, $?, false)"},
        {"SELECT pg_advisory_lock(4711)", "SELECT pg_advisory_lock(1)",
         "select pg_advisory_lock($?)"},
        {"ALTER ROLE r PASSWORD 'secret'", "ALTER ROLE r PASSWORD 'x'", "alter role r password $?"},
        {"ALTER ROLE r SET app.token = secret", "ALTER ROLE r SET app.token = other",
         "alter role r set app.token = $?"},
        {"ALTER DATABASE d SET app.token TO secret", "ALTER DATABASE d SET app.token TO 'x'",
         "alter database d set app.token to $?"},
        {"ALTER SYSTEM SET app.token = secret", "ALTER SYSTEM SET app.token = other, 1",
         "alter system set app.token = $?"},
        {"SET app.token TO secret", "SET app.token TO other", "set app.token to $?"},
        {"SELECT U&'secret' UESCAPE '!'", "SELECT U&'other' UESCAPE '!'", "select $? uescape $?"},
        {"SELEC 'secret'", "SELEC 'other'", "selec $?"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct table x;
        table_new(&x, ROOMY);
        took(&x, rows[i].first, 1);
        struct statement s = row(&x, rows[i].shown);
        if (s.calls != 1)
            fail_msg("%s is not shown as %s", rows[i].first, rows[i].shown);
        took(&x, rows[i].second, 1);
        assert_int_equal(nrows(&x), i == 2 ? 2 : 1); /* true and false are words */
        table_free(&x);
    }
}

static void what_is_not_understood_is_one_row_without_text(void **state)
{
    (void)state;
    struct table x;
    table_new(&x, ROOMY);
    struct statement_batch b = {0};
    statement_batch_add(&b, NULL);
    batch_add(&x, &b, "select 'never ends");
    assert_int_equal(statement_batch_digest(&b), 0);
    statements_note(x.t, &(struct statement_run){.batch = &b, .db = &app, .host = here});
    statement_batch_clear(&b);
    assert_int_equal(nrows(&x), 1);
    assert_int_equal(row(&x, "").calls, 2);
    table_free(&x);
}

/* ---- batches --------------------------------------------------------------------------------- */

static void note_batch(struct table *x, const char *const *texts, usec_t us)
{
    struct statement_batch b = {0};
    for (; *texts != NULL; texts++)
        batch_add(x, &b, *texts);
    statements_note(x->t, &(struct statement_run){
                              .batch = &b, .db = &app, .host = here, .took = us, .rows = 6});
    statement_batch_clear(&b);
}

static void same_statement_many_times_is_as_many_calls(void **state)
{
    (void)state;
    struct table x;
    table_new(&x, ROOMY);
    note_batch(&x,
               (const char *[]){"insert into t values (1)", "insert into t values (2)",
                                "insert into t values (3)", NULL},
               3000);
    struct statement s = row(&x, "insert into t values ($?)");
    assert_int_equal(s.calls, 3);
    assert_int_equal(s.rows, 6);
    assert_int_equal(s.total_us, 3000);
    assert_int_equal(s.max_us, 1000);
    assert_int_equal(sketch_quantile(&s.times, 0.5) / 100, 9); /* 896 to 1023 */
    table_free(&x);
}

static void different_statements_are_one_call_of_their_batch(void **state)
{
    (void)state;
    struct table x;
    table_new(&x, ROOMY);
    for (int i = 1; i <= 2; i++) /* how many of each does not make another batch */
        note_batch(&x,
                   (const char *[]){"begin", "insert into t values (1)",
                                    i == 1 ? "commit" : "insert into t values (2)",
                                    i == 1 ? NULL : "commit", NULL},
                   500);
    struct statement s = row(&x, "begin; insert into t values ($?); commit");
    assert_int_equal(nrows(&x), 1);
    assert_int_equal(s.calls, 2);
    assert_int_equal(s.total_us, 1000);
    note_batch(&x, (const char *[]){"insert into t values (1)", "begin", "commit", NULL}, 500);
    assert_int_equal(nrows(&x), 2);
    table_free(&x);
}

static void longer_batch_says_that_there_was_more(void **state)
{
    (void)state;
    struct table x;
    table_new(&x, ROOMY);
    note_batch(&x, (const char *[]){"select a", "select b", "select c", "select d", NULL}, 1);
    note_batch(
        &x, (const char *[]){"select a", "select b", "select c", "select d", "select e", NULL}, 1);
    assert_int_equal(row(&x, "select a; select b; select c; select d").calls, 1);
    assert_int_equal(row(&x, "select a; select b; select c; select d; ...").calls, 1);
    struct statement_batch b = {0};
    batch_add(&x, &b, "select a");
    statement_batch_add(&b, NULL);
    statements_note(x.t, &(struct statement_run){.batch = &b, .db = &app, .host = here});
    statement_batch_clear(&b);
    assert_int_equal(row(&x, "select a; ...").calls, 1);
    table_free(&x);
}

static void pieces_of_a_request_are_put_together(void **state)
{
    (void)state;
    struct table x;
    table_new(&x, ROOMY);
    struct statement_batch first = {0}, second = {0}, none = {0};
    statement_batch_move(&first, &none);
    assert_int_equal(first.runs, 0);
    batch_add(&x, &second, "select a");
    statement_batch_move(&first, &second); /* the first piece had none */
    assert_int_equal(second.runs + second.n, 0);
    batch_add(&x, &second, "select a");
    batch_add(&x, &second, "select b");
    statement_batch_move(&first, &second);
    assert_int_equal(first.runs, 3);
    assert_int_equal(first.n, 2);
    assert_int_equal(second.runs + second.n, 0);
    statement_batch_clear(&first);
    table_free(&x); /* the leak checker knows whether all references were dropped */
}

static void long_texts_are_cut_between_characters(void **state)
{
    (void)state;
    struct table x;
    char text[64], dst[24];
    table_new(&x, ROOMY);
    for (int n = 0; n < 8; n++) {
        struct statement_batch b = {0};
        snprintf(text, sizeof(text), "select %.*s\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4 from t",
                 n, "aaaaaaaa");
        batch_add(&x, &b, text);
        size_t len = statement_batch_text(&b, dst, sizeof(dst));
        assert_true(len < sizeof(dst));
        assert_int_equal(dst[len], '\0');
        assert_int_equal(strlen(dst), len);
        assert_string_equal(dst + len - 3, "...");
        /* before the dots stands a whole letter */
        size_t umlauts = 0;
        for (size_t i = 7 + (size_t)n; i < len - 3; i++)
            umlauts += (unsigned char)dst[i] >= 0x80;
        assert_int_equal(umlauts % 2, 0);
        statement_batch_clear(&b);
    }
    table_free(&x);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void some_statement(char *dst, size_t cap, int i)
{
    snprintf(dst, cap, "select column_%d from t", i);
}

static void memory_is_bounded_and_what_went_is_counted(void **state)
{
    (void)state;
    struct table x;
    struct statements_counts n;
    char text[64];
    table_new(&x, 65536);
    for (int i = 0; i < 1000; i++) {
        some_statement(text, sizeof(text), i);
        took(&x, text, 10);
        statements_count(x.t, &n);
        assert_true(n.bytes <= 65536);
    }
    assert_in_range(n.rows, 50, 120);
    assert_int_equal(n.evicted, 1000 - n.rows);
    statements_configure(x.t, true, 20000);
    statements_count(x.t, &n);
    assert_true(n.bytes <= 20000 && n.rows > 0);
    statements_reset(x.t);
    statements_count(x.t, &n);
    assert_int_equal(n.rows + n.bytes + n.evicted, 0);
    table_free(&x);
}

static void valuable_statement_survives_a_flood_of_others(void **state)
{
    (void)state;
    struct table x;
    char text[64];
    table_new(&x, 65536);
    took(&x, "select slow", 30 * (usec_t)USEC_PER_SEC); /* once, but long */
    for (int i = 0; i < 400; i++) {                     /* several times what the table holds */
        some_statement(text, sizeof(text), i);
        took(&x, text, 10);
        took(&x, "select often", 10);
    }
    assert_int_equal(row(&x, "select often").calls, 400);
    assert_int_equal(row(&x, "select slow").calls, 1);
    table_free(&x);
}

static void what_was_valuable_long_ago_gives_way(void **state)
{
    (void)state;
    struct table x;
    char text[64];
    table_new(&x, 65536);
    took(&x, "select slow", 1000);
    for (int i = 0; i < 5000 && row(&x, "select slow").calls > 0; i++) {
        some_statement(text, sizeof(text), i);
        took(&x, text, 10);
    }
    assert_int_equal(row(&x, "select slow").calls, 0);
    table_free(&x);
}

static void row_larger_than_the_memory_is_not_kept(void **state)
{
    (void)state;
    struct table x;
    table_new(&x, 100);
    took(&x, "select 1", 1);
    assert_int_equal(nrows(&x), 0);
    table_free(&x);
}

static void switched_off_forgets_everything(void **state)
{
    (void)state;
    struct table x;
    table_new(&x, ROOMY);
    took(&x, "select 1", 1);
    statements_configure(x.t, false, ROOMY);
    assert_false(statements_on(x.t));
    assert_int_equal(nrows(&x), 0);
    statements_configure(x.t, true, ROOMY);
    took(&x, "select 1", 1);
    assert_int_equal(nrows(&x), 1);
    table_free(&x);
}

/* ---- sketch ---------------------------------------------------------------------------------- */

static void quantiles_err_by_an_eighth_at_most(void **state)
{
    (void)state;
    static const usec_t values[] = {
        0, 1, 3, 4, 7, 8, 100, 999, 12345, 1000000, 59 * 60 * 1000000LL};
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        struct sketch s = {{0}};
        sketch_add(&s, values[i], 1);
        double got = (double)sketch_quantile(&s, 0.95), want = (double)values[i];
        assert_true(got >= want * 0.875 && got <= want * 1.125);
    }
    struct sketch s = {{0}};
    assert_int_equal(sketch_quantile(&s, 0.5), 0);
    sketch_add(&s, -5, 1);
    assert_int_equal(sketch_quantile(&s, 1), 0);
}

static void quantile_is_the_share_of_all(void **state)
{
    (void)state;
    struct sketch a = {{0}}, b = {{0}};
    sketch_add(&a, 1, 94);
    sketch_add(&b, 1000, 6);
    sketch_merge(&a, &b);
    assert_int_equal(sketch_quantile(&a, 0.5), 1);
    assert_int_equal(sketch_quantile(&a, 0.94), 1);
    assert_int_equal(sketch_quantile(&a, 0.95) / 100, 9);
    sketch_add(&a, INT64_MAX, UINT32_MAX); /* counts stop at their maximum */
    sketch_add(&a, INT64_MAX, UINT32_MAX);
    assert_true(sketch_quantile(&a, 0.95) > 3600 * (usec_t)USEC_PER_SEC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_with_other_constants_are_one_row),
        cmocka_unit_test(databases_and_hosts_have_rows_of_their_own),
        cmocka_unit_test(what_the_cache_answers_has_no_host_and_is_no_call),
        cmocka_unit_test(no_row_shows_a_constant),
        cmocka_unit_test(what_is_not_understood_is_one_row_without_text),
        cmocka_unit_test(same_statement_many_times_is_as_many_calls),
        cmocka_unit_test(different_statements_are_one_call_of_their_batch),
        cmocka_unit_test(longer_batch_says_that_there_was_more),
        cmocka_unit_test(pieces_of_a_request_are_put_together),
        cmocka_unit_test(long_texts_are_cut_between_characters),
        cmocka_unit_test(memory_is_bounded_and_what_went_is_counted),
        cmocka_unit_test(valuable_statement_survives_a_flood_of_others),
        cmocka_unit_test(what_was_valuable_long_ago_gives_way),
        cmocka_unit_test(row_larger_than_the_memory_is_not_kept),
        cmocka_unit_test(switched_off_forgets_everything),
        cmocka_unit_test(quantiles_err_by_an_eighth_at_most),
        cmocka_unit_test(quantile_is_the_share_of_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
