/* test_core_share_pool.c - servers that several clients share and what else a pool does: writes
 * that wait for a server alone, pause, reconnect, reload, two workers, prepared statements. */
#include "base/base.h"

#include "test/unit/support/share_rig.h"

#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define ONE_SERVER "default_pool_size = 1\n"
#define H0 "h0000000000001000"
#define H1 "h0000000000001001"
#define H2 "h0000000000001002"
#define WRITE "Q update t set a = 1\n"

/* ---- who needs a server alone ---------------------------------------------------------------- */

/* Client 0's answer comes, whereupon it asks again at once, and so on: never empty by itself. */
static void feed(struct share_rig *x, int rounds)
{
    for (int i = 0; i < rounds; i++) {
        const char *who = i % 2 == 0 ? "0" : "1";
        share_answer(x, 0, who);
        share_answered(x, who);
        share_ask(x, who);
        share_heard(x, 0, who);
    }
}

static void write_gets_a_server_that_is_constantly_fed(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 4);
    share_ask(&x, "01");
    share_heard(&x, 0, "01");
    feed(&x, 10);
    peer_say(&x.c[2], WRITE);
    rig_settle(x.r);
    share_answer(&x, 0, "0");
    share_answered(&x, "0");
    share_ask(&x, "0"); /* younger than the write: behind it */
    share_answer(&x, 0, "1");
    share_answered(&x, "1");
    share_ask(&x, "1");
    peer_hears(x.r, &x.s[0], WRITE);
    peer_say(&x.s[0], "ok write\ndone I\n");
    peer_hears(x.r, &x.c[2], "ok write\ndone I\n");
    share_heard(&x, 0, "01"); /* and it is shared again */
    share_answer(&x, 0, "01");
    share_answered(&x, "01");
    share_free(&x);
}

/* As many as are needed, one after the other, in their order. */
static void several_writes_are_served_in_their_order(void **state)
{
    (void)state;
    struct share_rig x;
    char text[64];
    share_new(&x, 1, ONE_SERVER, 5);
    share_ask(&x, "01");
    share_heard(&x, 0, "01");
    for (int i = 2; i < 5; i++) {
        snprintf(text, sizeof(text), "Q update t set a = %d\n", i);
        peer_say(&x.c[i], text);
        rig_settle(x.r);
    }
    peer_hears_nothing(x.r, &x.s[0]);
    share_answer(&x, 0, "01");
    share_answered(&x, "01");
    share_ask(&x, "01");
    for (int i = 2; i < 5; i++) {
        snprintf(text, sizeof(text), "Q update t set a = %d\n", i);
        peer_hears(x.r, &x.s[0], text);
        peer_say(&x.s[0], "ok write\ndone I\n");
        peer_hears(x.r, &x.c[i], "ok write\ndone I\n");
    }
    share_heard(&x, 0, "01");
    share_free(&x);
}

static void transaction_gets_a_server_that_is_constantly_fed(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 3);
    share_ask(&x, "01");
    share_heard(&x, 0, "01");
    peer_say(&x.c[2], "Q begin\n");
    rig_settle(x.r);
    share_answer(&x, 0, "01");
    share_answered(&x, "01");
    share_ask(&x, "01");
    peer_hears(x.r, &x.s[0], "Q begin\n");
    peer_say(&x.s[0], "ok tx\ndone T\n");
    peer_hears(x.r, &x.c[2], "ok tx\ndone T\n");
    peer_hears_nothing(x.r, &x.s[0]);
    peer_close(&x.c[2]);
    peer_hears(x.r, &x.s[0], "clean tx\n");
    peer_say(&x.s[0], "done I\n");
    share_heard(&x, 0, "01");
    share_free(&x);
}

/* ---- who needs another server ---------------------------------------------------------------- */

#define THREE_OF_TWO "default_pool_size = 3\nmultiplex_depth = 2\n"

/* As if that had been found to be the best. */
static void set_width(struct share_rig *x, unsigned worker, int n)
{
    rig_pool(x->r, worker)->share.width.now = n;
    rig_pool(x->r, worker)->share.width.base = n;
}

static void reads_that_wait_for_a_place_open_no_server(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, THREE_OF_TWO, 5);
    set_width(&x, 0, 1);
    share_ask(&x, "01234");
    share_heard(&x, 0, "01");
    rig_accepts_nothing(x.r);
    set_width(&x, 0, 2); /* now one of them would use another server */
    pool_schedule(rig_pool(x.r, 0));
    share_server(&x, 1);
    share_heard(&x, 1, "23");
    rig_accepts_nothing(x.r);
    share_answer(&x, 0, "01");
    share_heard(&x, 0, "4");
    share_answer(&x, 0, "4");
    share_answer(&x, 1, "23");
    share_answered(&x, "01234");
    share_free(&x);
}

static void write_behind_reads_that_wait_has_a_server_opened(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, THREE_OF_TWO, 5);
    set_width(&x, 0, 1);
    share_ask(&x, "0123");
    peer_say(&x.c[4], WRITE);
    share_heard(&x, 0, "01");
    share_server(&x, 1);
    peer_hears(x.r, &x.s[1], WRITE);
    rig_accepts_nothing(x.r);
    peer_say(&x.s[1], "ok write\ndone I\n");
    peer_hears(x.r, &x.c[4], "ok write\ndone I\n");
    peer_hears_nothing(x.r, &x.s[1]); /* it is free, and not one that reads should use */
    assert_int_equal(rig_pool(x.r, 0)->nidle, 1);
    share_answer(&x, 0, "01");
    share_answered(&x, "01");
    share_heard(&x, 0, "23");
    share_free(&x);
}

/* Two servers of the first worker, both free. */
static void open_two(struct share_rig *x)
{
    peer_say(&x->c[0], WRITE);
    peer_hears(x->r, &x->s[0], WRITE);
    peer_say(&x->c[1], WRITE);
    share_server(x, 1);
    peer_hears(x->r, &x->s[1], WRITE);
    for (int i = 1; i >= 0; i--) {
        peer_say(&x->s[i], "ok write\ndone I\n");
        peer_hears(x->r, &x->c[i], "ok write\ndone I\n");
    }
    assert_int_equal(rig_pool(x->r, 0)->nidle, 2);
}

static void server_that_waiting_reads_would_not_use_goes_to_another_worker(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 2, "default_pool_size = 2\nmultiplex_depth = 2\n", 4);
    (void)share_client(&x, 1, NULL);
    set_width(&x, 0, 1);
    share_ask(&x, "0");
    share_heard(&x, 0, "0");
    peer_say(&x.c[3], WRITE);
    share_server(&x, 1);
    peer_hears(x.r, &x.s[1], WRITE);
    share_ask(&x, "12");
    share_heard(&x, 0, "1");
    peer_say(&x.s[1], "ok write\ndone I\n");
    peer_hears(x.r, &x.c[3], "ok write\ndone I\n");
    peer_hears_nothing(x.r, &x.s[1]);
    peer_say(&x.c[4], WRITE);
    peer_hears(x.r, &x.s[1], WRITE);
    peer_say(&x.s[1], "ok write\ndone I\n");
    peer_hears(x.r, &x.c[4], "ok write\ndone I\n");
    share_answer(&x, 0, "01");
    share_answered(&x, "01");
    share_heard(&x, 0, "2");
    share_free(&x);
}

static void reads_that_wait_for_a_place_ask_no_other_worker_for_a_server(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 2, "default_pool_size = 2\nmultiplex_depth = 2\n", 2);
    for (int i = 2; i < 5; i++)
        (void)share_client(&x, 1, NULL);
    catalog_wanted(rig_pool(x.r, 1));
    open_two(&x);
    share_ask(&x, "2"); /* the other worker has one now, and knows that the read is short */
    share_heard(&x, 0, "2");
    share_answer(&x, 0, "2");
    share_answered(&x, "2");
    set_width(&x, 1, 1);
    share_ask(&x, "234");
    share_heard(&x, 0, "23");
    rig_wait(x.r, 6000);
    peer_hears_nothing(x.r, &x.s[1]);
    assert_int_equal(rig_pool(x.r, 0)->nidle, 1);
    peer_say(&x.c[0], WRITE);
    peer_hears(x.r, &x.s[1], WRITE);
    share_free(&x);
}

/* ---- pause, reconnect, reload ---------------------------------------------------------------- */

static void paused_pool_drains_its_shared_servers(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 3);
    share_ask(&x, "01");
    share_heard(&x, 0, "01");
    struct pool *p = rig_pool(x.r, 0);
    atomic_fetch_or(&p->shared->db->shared.hold, (uint32_t)DB_PAUSED);
    share_ask(&x, "2");
    share_answer(&x, 0, "0");
    share_answered(&x, "0");
    share_ask(&x, "0");
    share_answer(&x, 0, "1");
    share_answered(&x, "1");
    peer_hears_nothing(x.r, &x.s[0]);
    assert_int_equal(p->nsharing, 0);
    atomic_fetch_and(&p->shared->db->shared.hold, ~(uint32_t)DB_PAUSED);
    pool_schedule(p);
    share_heard(&x, 0, "20");
    share_answer(&x, 0, "20");
    share_answered(&x, "20");
    share_free(&x);
}

/* RECONNECT, a reload, a new address: what is in flight is finished, and nothing more is sent. */
static void server_that_must_go_is_fed_no_more(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 3);
    share_ask(&x, "01");
    share_heard(&x, 0, "01");
    atomic_fetch_add(&rig_pool(x.r, 0)->shared->db->shared.epoch, 1);
    rig_wait(x.r, (usec_t)USEC_PER_SEC / 100);
    pool_retire_servers(rig_pool(x.r, 0));
    pool_share_check(rig_pool(x.r, 0));
    share_ask(&x, "2");
    peer_hears_nothing(x.r, &x.s[0]);
    share_answer(&x, 0, "01");
    share_answered(&x, "01");
    peer_hears(x.r, &x.s[0], "bye\n");
    peer_hears_end(x.r, &x.s[0]);
    share_server(&x, 1);
    share_heard(&x, 1, "2");
    share_answer(&x, 1, "2");
    share_answered(&x, "2");
    share_free(&x);
}

static void server_past_its_lifetime_is_replaced_though_it_is_constantly_fed(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER "server_lifetime = 5\n", 2);
    int seconds = 0, spoke = 0;
    while (spoke == 0) {
        char byte;
        assert_in_range(seconds++, 0, 20);
        share_ask(&x, "01");
        share_heard(&x, 0, "01");
        share_answer(&x, 0, "01");
        share_answered(&x, "01");
        rig_wait(x.r, (usec_t)USEC_PER_SEC);
        spoke = recv(x.s[0].fd, &byte, 1, MSG_PEEK) == 1;
    }
    peer_hears(x.r, &x.s[0], "bye\n");
    share_free(&x);
}

static void reload_switches_sharing_off_and_on(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 3);
    share_ask(&x, "01");
    share_heard(&x, 0, "01");
    share_reload(&x, ONE_SERVER "multiplex_depth = 1\n");
    share_ask(&x, "2");
    peer_hears_nothing(x.r, &x.s[0]); /* what was begun is finished */
    share_answer(&x, 0, "01");
    share_answered(&x, "01");
    share_heard(&x, 0, "2");
    share_ask(&x, "01");
    peer_hears_nothing(x.r, &x.s[0]);
    share_reload(&x, ONE_SERVER "multiplex_depth = 2\n");
    share_answer(&x, 0, "2");
    share_answered(&x, "2");
    share_heard(&x, 0, "01"); /* also those who have been queued for a server alone */
    share_answer(&x, 0, "01");
    share_answered(&x, "01");
    share_ask(&x, "012");
    share_heard(&x, 0, "01");
    share_answer(&x, 0, "01");
    share_answered(&x, "01");
    share_heard(&x, 0, "2");
    share_free(&x);
}

/* ---- two workers ----------------------------------------------------------------------------- */

static void server_moves_though_it_is_constantly_fed(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 2, ONE_SERVER, 2);
    (void)share_client(&x, 1, NULL);
    catalog_wanted(rig_pool(x.r, 1));
    share_ask(&x, "01");
    share_heard(&x, 0, "01");
    share_ask(&x, "2");
    rig_wait(x.r, 6000); /* it is older than any that comes now */
    int rounds = 0;
    const char *who = "0";
    while (rig_pool(x.r, 0)->nsharing > 0) {
        assert_in_range(rounds++, 0, 20);
        share_answer(&x, 0, who);
        share_answered(&x, who);
        if (rig_pool(x.r, 0)->nsharing == 0)
            break;
        share_ask(&x, who);
        rig_wait(x.r, 100);
        who = *who == '0' ? "1" : "0";
    }
    share_heard(&x, 0, "2");
    share_answer(&x, 0, "2");
    share_answered(&x, "2");
    assert_in_range(rounds, 0, 3);
    share_free(&x);
}

/* ---- prepared statements --------------------------------------------------------------------- */

static void say_prepare(struct share_rig *x, int c, const char *name)
{
    char text[64];
    snprintf(text, sizeof(text), "P %s select 1\nS\n", name);
    peer_say(&x->c[c], text);
}

/* Both have it under a name of their own; it is one at the server, and prepared by a confirmed
 * request. */
static void named_statements_of_several_clients_share(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 2);
    say_prepare(&x, 0, "a");
    peer_hears(x.r, &x.s[0], "P " H0 " select 1\nS\n");
    peer_say(&x.s[0], "parsed\ndone I\n");
    peer_hears(x.r, &x.c[0], "parsed\ndone I\n");
    say_prepare(&x, 1, "b");
    peer_hears(x.r, &x.s[0], "S\n");
    peer_say(&x.s[0], "done I\n");
    peer_hears(x.r, &x.c[1], "parsed\ndone I\n");
    peer_say(&x.c[0], "B a 7\nE 0\nS\n");
    rig_settle(x.r);
    peer_say(&x.c[1], "B b 8\nE 0\nS\n");
    peer_hears(x.r, &x.s[0], "B " H0 " 7\nE 0\nS\nB " H0 " 8\nE 0\nS\n");
    peer_say(&x.s[0], "bound\nrow 7\nok read\ndone I\nbound\nrow 8\nok read\ndone I\n");
    peer_hears(x.r, &x.c[0], "bound\nrow 7\nok read\ndone I\n");
    peer_hears(x.r, &x.c[1], "bound\nrow 8\nok read\ndone I\n");
    assert_int_equal(share_stats(&x)->shared, 1);
    share_free(&x);
}

/* Each brings its own text in the unnamed statement. */
static void unnamed_statements_of_several_clients_share(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 2);
    for (int i = 0; i < 3; i++) {
        peer_say(&x.c[0], "P - select 1\nB - 7\nE 0\nS\n");
        rig_settle(x.r);
        peer_say(&x.c[1], "P - select 2\nB - 8\nE 0\nS\n");
        peer_hears(x.r, &x.s[0], "P - select 1\nB - 7\nE 0\nS\nP - select 2\nB - 8\nE 0\nS\n");
        peer_say(&x.s[0], "parsed\nbound\nrow 7\nok read\ndone I\n");
        peer_say(&x.s[0], "parsed\nbound\nrow 8\nok read\ndone I\n");
        peer_hears(x.r, &x.c[0], "parsed\nbound\nrow 7\nok read\ndone I\n");
        peer_hears(x.r, &x.c[1], "parsed\nbound\nrow 8\nok read\ndone I\n");
    }
    share_free(&x);
}

/* The unnamed statement of one that asks later is not that of its neighbour. */
static void unnamed_statement_is_not_taken_from_a_neighbour(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 2);
    peer_say(&x.c[0], "P - select 1\nB - 7\nE 0\nS\n");
    peer_hears(x.r, &x.s[0], "P - select 1\nB - 7\nE 0\nS\n");
    peer_say(&x.s[0], "parsed\nbound\nrow 7\nok read\ndone I\n");
    peer_hears(x.r, &x.c[0], "parsed\nbound\nrow 7\nok read\ndone I\n");
    peer_say(&x.c[1], "P - select 2\nB - 8\nE 0\nS\n");
    rig_settle(x.r);
    peer_say(&x.c[0], "B - 9\nE 0\nS\n"); /* its own text must be there again */
    peer_hears(x.r, &x.s[0], "P - select 2\nB - 8\nE 0\nS\nP - select 1\nB - 9\nE 0\nS\n");
    peer_say(&x.s[0], "err other x\ndone I\n"); /* the first is skipped to its end */
    peer_say(&x.s[0], "parsed\nbound\nrow 9\nok read\ndone I\n");
    peer_hears(x.r, &x.c[1], "err other x\ndone I\n");
    peer_hears(x.r, &x.c[0], "bound\nrow 9\nok read\ndone I\n");
    share_free(&x);
}

/* Its own text is the same, but whether the neighbour's preparing succeeds is not known yet. */
static void unnamed_statement_that_a_neighbour_prepares_is_not_relied_on(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 3);
    for (int i = 0; i < 2; i++) {
        peer_say(&x.c[i], "P - select 1\nB - 7\nE 0\nS\n");
        peer_hears(x.r, &x.s[0], "P - select 1\nB - 7\nE 0\nS\n");
        peer_say(&x.s[0], "parsed\nbound\nok read\ndone I\n");
        peer_hears(x.r, &x.c[i], "parsed\nbound\nok read\ndone I\n");
    }
    share_round(&x, "2"); /* a simple query forgets it */
    peer_say(&x.c[0], "P - select 1\nB - 7\nE 0\nS\n");
    rig_settle(x.r);
    peer_say(&x.c[1], "B - 8\nE 0\nS\n");
    peer_hears(x.r, &x.s[0], "P - select 1\nB - 7\nE 0\nS\nP - select 1\nB - 8\nE 0\nS\n");
    peer_say(&x.s[0], "err other x\ndone I\nparsed\nbound\nrow 8\nok read\ndone I\n");
    peer_hears(x.r, &x.c[0], "err other x\ndone I\n");
    peer_hears(x.r, &x.c[1], "bound\nrow 8\nok read\ndone I\n");
    share_free(&x);
}

/* It may still fail, so nobody is sent behind it with the same one. */
static void statement_that_a_neighbour_prepares_is_not_relied_on(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, "default_pool_size = 2\n", 3);
    for (int i = 0; i < 2; i++) {
        say_prepare(&x, i, "a");
        peer_hears(x.r, &x.s[0], i == 0 ? "P " H0 " select 1\nS\n" : "S\n");
        peer_say(&x.s[0], i == 0 ? "parsed\ndone I\n" : "done I\n");
        peer_hears(x.r, &x.c[i], "parsed\ndone I\n");
    }
    peer_say(&x.c[2], WRITE); /* another server, which has not got it */
    peer_hears(x.r, &x.s[0], WRITE);
    peer_say(&x.c[0], "B a 7\nE 0\nS\n");
    share_server(&x, 1);
    peer_hears(x.r, &x.s[1], "P " H1 " select 1\nB " H1 " 7\nE 0\nS\n");
    peer_say(&x.c[1], "B a 8\nE 0\nS\n");
    peer_hears_nothing(x.r, &x.s[1]);
    peer_say(&x.s[1], "err other x\ndone I\n");
    peer_hears(x.r, &x.c[0], "err other x\ndone I\n");
    peer_hears(x.r, &x.s[1], "P " H2 " select 1\nB " H2 " 8\nE 0\nS\n");
    peer_say(&x.s[1], "parsed\nbound\nrow 8\nok read\ndone I\n");
    peer_hears(x.r, &x.c[1], "bound\nrow 8\nok read\ndone I\n");
    share_free(&x);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(write_gets_a_server_that_is_constantly_fed),
    cmocka_unit_test(several_writes_are_served_in_their_order),
    cmocka_unit_test(transaction_gets_a_server_that_is_constantly_fed),
    cmocka_unit_test(reads_that_wait_for_a_place_open_no_server),
    cmocka_unit_test(write_behind_reads_that_wait_has_a_server_opened),
    cmocka_unit_test(server_that_waiting_reads_would_not_use_goes_to_another_worker),
    cmocka_unit_test(reads_that_wait_for_a_place_ask_no_other_worker_for_a_server),
    cmocka_unit_test(paused_pool_drains_its_shared_servers),
    cmocka_unit_test(server_that_must_go_is_fed_no_more),
    cmocka_unit_test(server_past_its_lifetime_is_replaced_though_it_is_constantly_fed),
    cmocka_unit_test(reload_switches_sharing_off_and_on),
    cmocka_unit_test(server_moves_though_it_is_constantly_fed),
    cmocka_unit_test(named_statements_of_several_clients_share),
    cmocka_unit_test(unnamed_statements_of_several_clients_share),
    cmocka_unit_test(unnamed_statement_is_not_taken_from_a_neighbour),
    cmocka_unit_test(unnamed_statement_that_a_neighbour_prepares_is_not_relied_on),
    cmocka_unit_test(statement_that_a_neighbour_prepares_is_not_relied_on),
};

int main(void)
{
    return cmocka_run_group_tests(tests, NULL, NULL);
}
