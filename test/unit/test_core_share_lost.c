/* test_core_share_lost.c - a server that several clients share, or on which one of their reads runs
 * alone, is lost: what nobody has seen anything of is sent again, within bounds. */
#include "base/base.h"

#include "test/unit/support/share_rig.h"

#include <stdio.h>
#include <sys/socket.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* ---- servers that are lost ------------------------------------------------------------------- */

static void those_without_output_are_served_elsewhere_when_the_server_is_lost(void **state)
{
    (void)state;
    static const char *const last_words[] = {"", "bye shutdown x\n"};
    for (size_t i = 0; i < ARRAY_LEN(last_words); i++) {
        struct share_rig x;
        share_three(&x, SHARE_TWO_SERVERS);
        peer_say(&x.s[0], last_words[i]);
        peer_close(&x.s[0]);
        rig_settle(x.r);
        share_server(&x, 1);
        share_server(&x, 2);
        share_silent(&x, "012");
        share_heard(&x, 1, "0");
        share_heard(&x, 2, "1");
        share_answer(&x, 2, "1");
        share_heard(&x, 2, "2");
        share_answer(&x, 2, "2");
        share_answer(&x, 1, "0");
        share_answered(&x, "012");
        assert_int_equal(share_stats(&x)->repeated, 3);
        share_free(&x);
    }
}

/* It is one request, however often it is sent. */
static void read_that_is_sent_again_is_counted_once(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, SHARE_TWO_SERVERS, 3);
    struct stats before = *share_stats(&x);
    share_ask(&x, "01");
    share_heard(&x, 0, "01");
    rig_wait(x.r, 40 * SHARE_MSEC); /* overdue: the second one goes elsewhere */
    rig_wait(x.r, 40 * SHARE_MSEC);
    share_elsewhere(&x, "1");
    share_answer(&x, 0, "01");
    share_answered(&x, "0");
    const struct stats *now = share_stats(&x);
    assert_int_equal(now->repeated - before.repeated, 1);
    assert_int_equal(now->queries - before.queries, 2);
    assert_int_equal(now->xacts - before.xacts, 2);
    assert_in_range(now->wait_time - before.wait_time, 1, 50 * SHARE_MSEC);
    share_round(&x, "1"); /* and its next one is counted again */
    assert_int_equal(now->queries - before.queries, 3);
    assert_int_equal(now->xacts - before.xacts, 3);
    share_free(&x);
}

/* Also one that was queued for a server alone and got it; and it has still waited longest. */
static void one_that_is_sent_again_may_lose_its_server_again(void **state)
{
    (void)state;
    struct share_rig x;
    share_three(&x, "default_pool_size = 1\n");
    peer_close(&x.s[0]);
    share_server(&x, 1);
    share_heard(&x, 1, "0");
    peer_close(&x.s[1]);
    share_server(&x, 2);
    share_silent(&x, "012");
    for (int i = 0; i < 3; i++) {
        char who[2] = {"012"[i], '\0'};
        share_heard(&x, 2, who);
        share_answer(&x, 2, who);
        share_answered(&x, who);
    }
    share_free(&x);
}

static void first_execution_is_sent_again_when_its_server_is_lost(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, "default_pool_size = 1\n", 1);
    peer_say(&x.c[0], "Q select 1 from t\n");
    peer_hears(x.r, &x.s[0], "Q select 1 from t\n");
    peer_close(&x.s[0]);
    share_server(&x, 1);
    peer_hears(x.r, &x.s[1], "Q select 1 from t\n");
    peer_say(&x.s[1], "row 1\nok read\ndone I\n");
    peer_hears(x.r, &x.c[0], "row 1\nok read\ndone I\n");
    share_free(&x);
}

/* What may have been done already is not done twice, and in a transaction nothing is. */
static void what_is_no_repeatable_read_is_not_sent_again(void **state)
{
    (void)state;
    static const char *const texts[] = {"Q update t set a = 1\n", "Q select 1 from v\n",
                                        "Q select a from t for update\n"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        for (int queued = 0; queued < 2; queued++) {
            struct share_rig x;
            share_new(&x, 1, "default_pool_size = 1\n", 2);
            if (queued)
                share_ask(&x, "1");
            peer_say(&x.c[0], texts[i]);
            if (queued) {
                share_heard(&x, 0, "1");
                rig_settle(x.r);
                share_answer(&x, 0, "1");
            }
            peer_hears(x.r, &x.s[0], texts[i]);
            peer_close(&x.s[0]);
            peer_hears_until(x.r, &x.c[0], "err server_lost", NULL, 0);
            peer_hears(x.r, &x.c[0], "done I\n");
            rig_accepts_nothing(x.r);
            share_free(&x);
        }
    }
}

/* Who has cancelled it does not want it from the start. */
static void cancelled_request_is_not_sent_again(void **state)
{
    (void)state;
    struct share_rig x;
    struct peer p;
    share_new(&x, 1, "default_pool_size = 1\n", 2);
    share_ask(&x, "0");
    share_heard(&x, 0, "0");
    share_cancel(&x, 0);
    share_accept_cancel(&x, &p);
    peer_close(&x.s[0]);
    peer_hears_until(x.r, &x.c[0], "err ", NULL, 0);
    peer_hears(x.r, &x.c[0], "done I\n");
    rig_accepts_nothing(x.r);
    peer_close(&p);
    share_free(&x);
}

static void the_one_whose_answer_had_begun_is_told_of_the_loss(void **state)
{
    (void)state;
    struct share_rig x;
    share_three(&x, "default_pool_size = 1\n");
    peer_say(&x.s[0], "row begun\n");
    peer_hears(x.r, &x.c[0], "row begun\n");
    peer_close(&x.s[0]);
    peer_hears_until(x.r, &x.c[0], "bye ", NULL, 0);
    peer_hears_end(x.r, &x.c[0]);
    share_elsewhere(&x, "12");
    share_free(&x);
}

/* The same for one that has its server alone: it would come twice. */
static void answer_that_had_begun_alone_is_not_begun_again(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, "default_pool_size = 1\n", 1);
    peer_say(&x.c[0], "Q select 1 from t\n");
    peer_hears(x.r, &x.s[0], "Q select 1 from t\n");
    peer_say(&x.s[0], "row begun\n");
    peer_hears(x.r, &x.c[0], "row begun\n");
    peer_close(&x.s[0]);
    peer_hears_until(x.r, &x.c[0], "bye ", NULL, 0);
    peer_hears_end(x.r, &x.c[0]);
    rig_accepts_nothing(x.r);
    share_free(&x);
}

static void what_kills_every_server_is_given_up(void **state)
{
    (void)state;
    struct share_rig x;
    char line[128];
    share_new(&x, 1, "default_pool_size = 1\n", 2);
    share_ask(&x, "0");
    share_heard(&x, 0, "0");
    int killed = 0;
    for (;; killed++) {
        assert_in_range(killed, 0, 5);
        peer_close(&x.s[0]);
        rig_settle(x.r);
        if (recv(x.c[0].fd, line, sizeof(line), MSG_PEEK) > 0)
            break;
        share_server(&x, 0);
        share_heard(&x, 0, "0");
    }
    assert_true(killed > 0);
    peer_hears_until(x.r, &x.c[0], "err ", NULL, 0);
    peer_hears(x.r, &x.c[0], "done I\n"); /* and its connection goes on */
    share_ask(&x, "0");
    share_server(&x, 0);
    share_heard(&x, 0, "0");
    share_answer(&x, 0, "0");
    share_answered(&x, "0");
    share_free(&x);
}

/* After it was left to the slow one: the others are served already or wait. */
static void server_that_was_left_to_one_may_be_lost_too(void **state)
{
    (void)state;
    struct share_rig x;
    share_three(&x, SHARE_TWO_SERVERS);
    for (int i = 0; i < 4; i++)
        rig_wait(x.r, 10 * SHARE_MSEC);
    share_server(&x, 1);
    share_heard(&x, 1, "1");
    peer_close(&x.s[0]); /* of the read that had it alone nothing was heard: it is sent again */
    share_answer(&x, 1, "1");
    share_answered(&x, "1");
    share_server(&x, 2); /* opened when the lost one's place was free */
    share_heard(&x, 1, "2");
    share_heard(&x, 2, "0");
    share_answer(&x, 1, "2");
    share_answered(&x, "2");
    share_answer(&x, 2, "0");
    share_answered(&x, "0");
    share_free(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(those_without_output_are_served_elsewhere_when_the_server_is_lost),
        cmocka_unit_test(read_that_is_sent_again_is_counted_once),
        cmocka_unit_test(one_that_is_sent_again_may_lose_its_server_again),
        cmocka_unit_test(first_execution_is_sent_again_when_its_server_is_lost),
        cmocka_unit_test(what_is_no_repeatable_read_is_not_sent_again),
        cmocka_unit_test(cancelled_request_is_not_sent_again),
        cmocka_unit_test(the_one_whose_answer_had_begun_is_told_of_the_loss),
        cmocka_unit_test(answer_that_had_begun_alone_is_not_begun_again),
        cmocka_unit_test(what_kills_every_server_is_given_up),
        cmocka_unit_test(server_that_was_left_to_one_may_be_lost_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
