/* test_core_await.c - reads that wait for a write to their key, or for a query that was not sent
 * yet, on the toy codec: who is told what, and for how long anybody waits. */
#include "base/base.h"

#include "base/clock.h"
#include "proxy/cancel.h"
#include "proxy/session_cache.h"
#include "test/unit/support/cached_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define WAITING POOL "[cache]\nwait = 0.02\n" RULE
#define ONE_SERVER                                                                                 \
    "default_pool_size = 1\nmultiplex_depth = 1\nserver_check_delay = 100000\n"                    \
    "server_idle_timeout = 0\nserver_lifetime = 0\n[cache]\nwait = 0.02\n" RULE
#define OTHER_WRITE "Q UPDATE app.other SET v = 1 WHERE user_id = 5\n"
#define ALL_WRITE "Q UPDATE app.accounts SET v = 1\n"
#define DONE "ok write\ndone I\n"

/* Client c writes row 5 on server 0, which has not answered yet. */
static void writes(struct cached *x, int c)
{
    cached_say(x, c, WRITE);
    peer_hears(x->r, &x->s[0], WRITE);
}

static void written(struct cached *x, int c)
{
    peer_say(&x->s[0], DONE);
    peer_hears(x->r, &x->c[c], DONE);
}

static const struct session_counts *counts(struct cached *x)
{
    return &rig_pool(x->r, 0)->cache->counts[0];
}

static void readers_wait_for_the_write_and_one_query_answers_all(void **state)
{
    (void)state;
    struct cached x;
    cached_begin(&x, WAITING);
    cached_miss(&x, 0, 0, "a");
    writes(&x, 1);
    cached_say(&x, 0, READ);
    cached_say(&x, 2, READ);
    cached_say(&x, 3, READ);
    rig_accepts_nothing(x.r); /* none of them asks the database */
    written(&x, 1);
    peer_hears(x.r, &x.s[0], READ);
    cached_row(&x, 0, "b");
    cached_hears(&x, 0, "b");
    cached_hears(&x, 2, "b");
    cached_hears(&x, 3, "b");
    peer_hears_nothing(x.r, &x.s[0]);
    cached_hit(&x, 1, "b");
    assert_int_equal(counts(&x)->waits, 3);
    assert_int_equal(counts(&x)->misses, 2);
    assert_int_equal(counts(&x)->hits, 3);
    cached_end(&x);
}

/* The write takes longer than they wait: they ask, and who comes then does not wait for it, for a
 * while. */
static void nobody_waits_long(void **state)
{
    (void)state;
    struct cached x;
    cached_begin(&x, WAITING);
    writes(&x, 1);
    cached_say(&x, 0, READ);
    rig_wait(x.r, 19 * MSEC);
    rig_accepts_nothing(x.r);
    rig_wait(x.r, 2 * MSEC);
    rig_toy_server(x.r, &x.s[1]);
    peer_hears(x.r, &x.s[1], READ);
    cached_say(&x, 2, READ);
    rig_toy_server(x.r, &x.s[2]);
    peer_hears(x.r, &x.s[2], READ);
    cached_row(&x, 1, "a");
    cached_row(&x, 2, "a");
    cached_hears(&x, 0, "a");
    cached_hears(&x, 2, "a");
    written(&x, 1);
    assert_int_equal(counts(&x)->bypass[CACHE_BYPASS_WRITE], 2);
    assert_int_equal(counts(&x)->waits, 1);
    cached_end(&x);
}

/* It may take as long as it likes to change a whole table. */
static void nobody_waits_for_a_write_to_all_of_a_rule(void **state)
{
    (void)state;
    struct cached x;
    cached_begin(&x, WAITING);
    cached_say(&x, 1, ALL_WRITE);
    peer_hears(x.r, &x.s[0], ALL_WRITE);
    cached_say(&x, 0, READ);
    rig_toy_server(x.r, &x.s[1]);
    peer_hears(x.r, &x.s[1], READ);
    cached_row(&x, 1, "a");
    cached_hears(&x, 0, "a");
    written(&x, 1);
    cached_end(&x);
}

static void who_waits_for_a_write_and_leaves_disturbs_nobody(void **state)
{
    (void)state;
    struct cached x;
    cached_begin(&x, WAITING);
    writes(&x, 1);
    cached_say(&x, 0, READ); /* the one that the next one waits for */
    cached_say(&x, 2, READ);
    peer_close(&x.c[0]);
    rig_settle(x.r);
    rig_accepts_nothing(x.r);
    written(&x, 1);
    peer_hears(x.r, &x.s[0], READ);
    cached_row(&x, 0, "b");
    cached_hears(&x, 2, "b");
    cached_end(&x);
}

static void write_that_is_lost_is_not_waited_for(void **state)
{
    (void)state;
    struct cached x;
    cached_begin(&x, WAITING);
    writes(&x, 1);
    cached_say(&x, 0, READ);
    peer_close(&x.s[0]);
    rig_settle(x.r);
    rig_wait(x.r, 2 * MSEC);
    rig_toy_server(x.r, &x.s[1]);
    peer_hears(x.r, &x.s[1], READ);
    cached_row(&x, 1, "a");
    cached_hears(&x, 0, "a");
    cached_end(&x);
}

/* The query waits for a server while others come: its answer is younger than all of these
 * questions, whatever is written before it is told. */
static void who_came_before_the_query_was_sent_is_told_its_answer(void **state)
{
    (void)state;
    struct cached x;
    cached_begin(&x, ONE_SERVER);
    cached_say(&x, 1, OTHER_WRITE);
    peer_hears(x.r, &x.s[0], OTHER_WRITE);
    cached_say(&x, 0, READ);
    cached_say(&x, 2, READ);
    cached_say(&x, 3, WRITE); /* after the read in the queue for the server */
    written(&x, 1);
    peer_hears(x.r, &x.s[0], READ);
    cached_row(&x, 0, "a");
    cached_hears(&x, 0, "a");
    cached_hears(&x, 2, "a");
    peer_hears(x.r, &x.s[0], WRITE);
    written(&x, 3);
    cached_say(&x, 2, READ);
    peer_hears(x.r, &x.s[0], READ);
    cached_row(&x, 0, "b");
    cached_hears(&x, 2, "b");
    cached_end(&x);
}

/* A key that is always written before it is read is not kept, but a query is shared: by those who
 * came before it was sent, and by all who came later in one more. */
static void hot_key_costs_two_queries_however_many_ask(void **state)
{
    (void)state;
    struct cached x;
    cached_begin(&x, WAITING);
    for (int i = 0; i < 4; i++) {
        cached_miss(&x, 0, 0, "a");
        cached_runs(&x, 1, 0, WRITE, DONE);
    }
    assert_int_equal(counts(&x)->bypass[CACHE_BYPASS_HOT], 1);
    cached_asks(&x, 0, 0);
    for (int i = 1; i < 4; i++)
        cached_say(&x, i, READ);
    rig_accepts_nothing(x.r);
    cached_row(&x, 0, "b");
    cached_hears(&x, 0, "b");
    peer_hears(x.r, &x.s[0], READ);
    cached_row(&x, 0, "c");
    for (int i = 1; i < 4; i++)
        cached_hears(&x, i, "c");
    peer_hears_nothing(x.r, &x.s[0]);
    assert_int_equal(counts(&x)->bypass[CACHE_BYPASS_HOT], 3);
    cached_end(&x);
}

/* What a read has waited for a query is not taken from its patience with writes. */
static void long_query_does_not_make_a_young_write_a_long_one(void **state)
{
    (void)state;
    struct cached x;
    cached_begin(&x, WAITING);
    cached_asks(&x, 0, 0);
    cached_say(&x, 2, READ);
    rig_wait(x.r, 100 * MSEC);
    cached_say(&x, 1, WRITE);
    rig_toy_server(x.r, &x.s[1]);
    peer_hears(x.r, &x.s[1], WRITE);
    cached_row(&x, 0, "a");
    cached_hears(&x, 0, "a"); /* too late to be kept, and too early for the other one */
    cached_say(&x, 3, READ);
    peer_hears_nothing(x.r, &x.s[0]);
    rig_accepts_nothing(x.r);
    peer_say(&x.s[1], DONE);
    peer_hears(x.r, &x.c[1], DONE);
    int s = peer_pending(&x.s[0]) ? 0 : 1;
    peer_hears(x.r, &x.s[s], READ);
    cached_row(&x, s, "b");
    cached_hears(&x, 2, "b");
    cached_hears(&x, 3, "b");
    cached_end(&x);
}

/* Its request goes on without the cache, and it holds up nobody. */
static void rules_that_go_away_leave_nobody_waiting(void **state)
{
    (void)state;
    struct cached x;
    cached_begin(&x, WAITING);
    writes(&x, 1);
    cached_say(&x, 0, READ);
    cached_say(&x, 2, READ);
    rig_accepts_nothing(x.r);
    rig_reload(x.r, POOL, NULL);
    written(&x, 1);
    rig_wait(x.r, 2 * MSEC);
    struct session_cache *sc = rig_worker(x.r)->cache;
    assert_true(list_empty(&sc->awaits));
    rig_toy_server(x.r, &x.s[1]);
    peer_hears(x.r, &x.s[0], READ);
    peer_hears(x.r, &x.s[1], READ);
    cached_row(&x, 0, "b");
    cached_row(&x, 1, "b");
    cached_hears(&x, 0, "b");
    cached_hears(&x, 2, "b");
    cached_end(&x);
}

/* Threat 12: between the query and the question something was written and acknowledged. */
static void who_came_after_the_query_was_sent_is_not(void **state)
{
    (void)state;
    struct cached x;
    cached_begin(&x, WAITING);
    cached_asks(&x, 0, 0);
    cached_say(&x, 1, WRITE);
    rig_toy_server(x.r, &x.s[1]);
    peer_hears(x.r, &x.s[1], WRITE);
    peer_say(&x.s[1], DONE);
    peer_hears(x.r, &x.c[1], DONE);
    cached_say(&x, 1, READ); /* waits for the query of client 0, which may have missed the write */
    cached_row(&x, 0, "a");
    cached_hears(&x, 0, "a");
    int s = peer_pending(&x.s[0]) ? 0 : 1;
    peer_hears(x.r, &x.s[s], READ);
    cached_row(&x, s, "b");
    cached_hears(&x, 1, "b");
    cached_end(&x);
}

/* What was given belongs to the question that waited, and to no later one. */
static void cancelled_wait_leaves_nothing_behind(void **state)
{
    (void)state;
    struct cached x;
    cached_begin(&x, WAITING);
    writes(&x, 1);
    cached_say(&x, 0, READ);
    struct client *reader = worker_slot_find(rig_worker(x.r), rig_worker(x.r)->process->first_id);
    assert_true(reader != NULL && reader->state == CL_CACHE);
    cancel_client(reader);
    peer_hears(x.r, &x.c[0], "err cancelled -\ndone I\n");
    written(&x, 1);
    peer_hears_nothing(x.r, &x.s[0]);
    cached_end(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_wait_for_the_write_and_one_query_answers_all),
        cmocka_unit_test(nobody_waits_long),
        cmocka_unit_test(nobody_waits_for_a_write_to_all_of_a_rule),
        cmocka_unit_test(who_waits_for_a_write_and_leaves_disturbs_nobody),
        cmocka_unit_test(write_that_is_lost_is_not_waited_for),
        cmocka_unit_test(who_came_before_the_query_was_sent_is_told_its_answer),
        cmocka_unit_test(hot_key_costs_two_queries_however_many_ask),
        cmocka_unit_test(long_query_does_not_make_a_young_write_a_long_one),
        cmocka_unit_test(rules_that_go_away_leave_nobody_waiting),
        cmocka_unit_test(who_came_after_the_query_was_sent_is_not),
        cmocka_unit_test(cancelled_wait_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
