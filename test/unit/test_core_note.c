/* test_core_note.c - what is remembered of requests that are over, on the toy codec. */
#include "base/base.h"

#include "test/unit/support/share_rig.h"
#include "test/unit/support/toy_wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define ONE_SERVER "default_pool_size = 1\n"
#define MSEC ((usec_t)1000)

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

/* The row of that text; calls is 0 when there is none. */
static struct statement row(struct rig *r, const char *text)
{
    struct wanted w = {.text = text};
    statements_each(rig_worker(r)->statements, look, &w);
    assert_true(w.n <= 1);
    return w.found;
}

static size_t nrows(struct rig *r)
{
    struct statements_counts n;
    statements_count(rig_worker(r)->statements, &n);
    return n.rows;
}

struct pair {
    struct rig *r;
    struct peer c, s;
};

static void pair_new(struct pair *x, const char *options)
{
    x->r = rig_new(&toy_wire, 1, options, NULL);
    rig_toy_client(x->r, 0, &x->c, &x->s);
}

static void pair_free(struct pair *x)
{
    peer_close(&x->c);
    peer_close(&x->s);
    rig_free(&x->r);
}

static void talk(struct pair *x, const char *request, const char *answer)
{
    peer_say(&x->c, request);
    peer_hears_until(x->r, &x->s, request[0] == 'Q' ? "Q" : "S", NULL, 0);
    peer_say(&x->s, answer);
    peer_hears_until(x->r, &x->c, "done", NULL, 0);
}

/* ---- what is noted --------------------------------------------------------------------------- */

static void time_rows_and_errors_are_noted_with_the_end_of_the_answer(void **state)
{
    (void)state;
    struct pair x;
    pair_new(&x, ONE_SERVER);
    peer_say(&x.c, "Q select 7\n");
    peer_hears(x.r, &x.s, "Q select 7\n");
    rig_wait(x.r, 20 * MSEC);
    peer_say(&x.s, "row a\nrow b\nok read\n");
    peer_hears(x.r, &x.c, "row a\nrow b\nok read\n");
    assert_int_equal(nrows(x.r), 0);
    peer_say(&x.s, "done I\n");
    peer_hears(x.r, &x.c, "done I\n");
    struct statement s = row(x.r, "select $?");
    assert_int_equal(s.calls, 1);
    assert_int_equal(s.rows, 2);
    assert_int_equal(s.errors, 0);
    assert_int_equal(s.total_us / MSEC, 20);
    assert_int_equal(s.wait_us / MSEC, 0);
    assert_int_equal(s.max_us, s.total_us);
    assert_string_equal(s.key.db->name, "d");
    assert_non_null(strstr(s.key.host, "127.0.0.1:"));
    talk(&x, "Q select 8\n", "err unknown no\ndone I\n");
    s = row(x.r, "select $?");
    assert_int_equal(s.calls, 2);
    assert_int_equal(s.errors, 1);
    pair_free(&x);
}

static void prepared_and_simple_are_one_statement(void **state)
{
    (void)state;
    struct pair x;
    pair_new(&x, ONE_SERVER);
    talk(&x, "Q select 5\n", "ok read\ndone I\n");
    talk(&x, "P s select $1\nS\n", "parsed\ndone I\n");
    assert_int_equal(row(x.r, "select $?").calls, 1); /* not run yet */
    talk(&x, "B s 5\nE 0\nS\n", "bound\nok read\ndone I\n");
    talk(&x, "P - select $1\nB - 5\nE 0\nS\n", "parsed\nbound\nok read\ndone I\n");
    assert_int_equal(row(x.r, "select $?").calls, 3);
    assert_int_equal(nrows(x.r), 1);
    talk(&x, "B s 5\nE 0\nB s 6\nE 0\nS\n", "bound\nok read\nbound\nok read\ndone I\n");
    assert_int_equal(row(x.r, "select $?").calls, 5);
    pair_free(&x);
}

static void pieces_of_one_request_are_noted_once(void **state)
{
    (void)state;
    struct pair x;
    pair_new(&x, ONE_SERVER);
    peer_say(&x.c, "P - select a\nB -\nE 0\nF\n");
    peer_hears_until(x.r, &x.s, "F", NULL, 0);
    peer_say(&x.s, "parsed\nbound\nok read\n");
    peer_hears_until(x.r, &x.c, "ok", NULL, 0);
    assert_int_equal(nrows(x.r), 0);
    talk(&x, "P - select b\nB -\nE 0\nS\n", "parsed\nbound\nok read\ndone I\n");
    assert_int_equal(nrows(x.r), 1);
    assert_int_equal(row(x.r, "select a; select b").calls, 1);
    pair_free(&x);
}

static void empty_requests_and_own_statements_are_not_noted(void **state)
{
    (void)state;
    struct pair x;
    pair_new(&x, ONE_SERVER);
    talk(&x, "Q ;\n", "ok read\ndone I\n");
    talk(&x, "P s select 1\nS\n", "parsed\ndone I\n");
    assert_int_equal(nrows(x.r), 0);
    pair_free(&x);
}

static void switched_off_nothing_is_kept(void **state)
{
    (void)state;
    struct pair x;
    pair_new(&x, ONE_SERVER "track_statements = 0\n");
    talk(&x, "Q select 1\n", "ok read\ndone I\n");
    assert_int_equal(nrows(x.r), 0);
    rig_reload(x.r, ONE_SERVER, NULL);
    talk(&x, "Q select 1\n", "ok read\ndone I\n");
    assert_int_equal(nrows(x.r), 1);
    rig_reload(x.r, ONE_SERVER "track_statements = 0\n", NULL);
    assert_int_equal(nrows(x.r), 0);
    pair_free(&x);
}

/* ---- waiting --------------------------------------------------------------------------------- */

static void waiting_for_a_server_is_told_from_running(void **state)
{
    (void)state;
    struct pair x;
    struct peer b;
    pair_new(&x, ONE_SERVER "multiplex_depth = 1\n");
    rig_toy_client(x.r, 0, &b, NULL);
    peer_say(&x.c, "Q select a\n");
    peer_hears(x.r, &x.s, "Q select a\n");
    peer_say(&b, "Q select b\n");
    rig_settle(x.r);
    rig_wait(x.r, 30 * MSEC);
    peer_say(&x.s, "ok read\ndone I\n");
    peer_hears(x.r, &x.c, "ok read\ndone I\n");
    peer_hears(x.r, &x.s, "Q select b\n");
    rig_wait(x.r, 10 * MSEC);
    peer_say(&x.s, "ok read\ndone I\n");
    peer_hears(x.r, &b, "ok read\ndone I\n");
    struct statement s = row(x.r, "select b");
    assert_int_equal(s.wait_us / MSEC, 30);
    assert_int_equal(s.total_us / MSEC, 10);
    peer_say(&b, "Q select b\n"); /* what it waited before is not counted again */
    peer_hears(x.r, &x.s, "Q select b\n");
    peer_say(&x.s, "ok read\ndone I\n");
    peer_hears(x.r, &b, "ok read\ndone I\n");
    assert_int_equal(row(x.r, "select b").wait_us / MSEC, 30);
    peer_close(&b);
    pair_free(&x);
}

static void standing_behind_another_clients_read_is_waiting(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 2);
    struct statement before = row(x.r, "select $?");
    share_ask(&x, "01");
    share_heard(&x, 0, "01");
    rig_wait(x.r, 2 * MSEC);
    share_answer(&x, 0, "0");
    share_answered(&x, "0");
    rig_wait(x.r, 3 * MSEC);
    share_answer(&x, 0, "1");
    share_answered(&x, "1");
    struct statement s = row(x.r, "select $?");
    assert_int_equal(s.calls - before.calls, 2);
    assert_int_equal((s.wait_us - before.wait_us) / MSEC, 2);
    assert_int_equal((s.total_us - before.total_us) / MSEC, 5);
    share_free(&x);
}

/* ---- losing ---------------------------------------------------------------------------------- */

static void request_lost_with_its_server_is_an_error(void **state)
{
    (void)state;
    struct pair x;
    pair_new(&x, ONE_SERVER);
    peer_say(&x.c, "Q insert into t values (1)\n");
    peer_hears(x.r, &x.s, "Q insert into t values (1)\n");
    peer_close(&x.s);
    peer_hears_until(x.r, &x.c, "bye", NULL, 0);
    struct statement s = row(x.r, "insert into t values ($?)");
    assert_int_equal(s.calls, 1);
    assert_int_equal(s.errors, 1);
    pair_free(&x);
}

static void read_that_is_sent_again_is_noted_once(void **state)
{
    (void)state;
    struct share_rig x;
    share_three(&x, SHARE_TWO_SERVERS);
    struct statement before = row(x.r, "select $?");
    peer_close(&x.s[0]);
    share_server(&x, 1);
    share_server(&x, 2);
    share_heard(&x, 1, "0");
    share_heard(&x, 2, "1");
    share_answer(&x, 2, "1");
    share_heard(&x, 2, "2");
    share_answer(&x, 2, "2");
    share_answer(&x, 1, "0");
    share_answered(&x, "012");
    struct statement s = row(x.r, "select $?");
    assert_int_equal(s.calls - before.calls, 3);
    assert_int_equal(s.errors - before.errors, 0);
    share_free(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_rows_and_errors_are_noted_with_the_end_of_the_answer),
        cmocka_unit_test(prepared_and_simple_are_one_statement),
        cmocka_unit_test(pieces_of_one_request_are_noted_once),
        cmocka_unit_test(empty_requests_and_own_statements_are_not_noted),
        cmocka_unit_test(switched_off_nothing_is_kept),
        cmocka_unit_test(waiting_for_a_server_is_told_from_running),
        cmocka_unit_test(standing_behind_another_clients_read_is_waiting),
        cmocka_unit_test(request_lost_with_its_server_is_an_error),
        cmocka_unit_test(read_that_is_sent_again_is_noted_once),
    };
    clock_test_stop();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
