/* test_core_share_leave.c - one of several clients on a server leaves, cancels, runs into its
 * timeout, is slow or does not read: the others get their answers. */
#include "base/base.h"

#include "test/unit/support/share_rig.h"

#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* The one client's request was sent to whichever server. */
static void asked_somewhere(struct share_rig *x, const char *client)
{
    char byte;
    int s = recv(x->s[0].fd, &byte, 1, MSG_PEEK) == 1 ? 0 : 1;
    share_heard(x, s, client);
    share_answer(x, s, client);
    share_answered(x, client);
}

/* ---- clients that leave ---------------------------------------------------------------------- */

static void answer_of_one_that_left_is_swallowed(void **state)
{
    (void)state;
    for (int who = 0; who < 3; who++) {
        struct share_rig x;
        share_three(&x, "default_pool_size = 1\n");
        peer_close(&x.c[who]);
        rig_settle(x.r);
        share_ask(&x, "3");
        share_answer(&x, 0, "012");
        share_answered(&x, who == 0 ? "12" : who == 1 ? "02" : "01");
        share_silent(&x, "3");
        rig_accepts_nothing(x.r); /* nobody's query is cancelled: it is a short one */
        share_heard(&x, 0, "3");
        share_answer(&x, 0, "3");
        share_answered(&x, "3");
        share_free(&x);
    }
}

static void answer_of_one_that_left_in_the_middle_of_it_is_swallowed(void **state)
{
    (void)state;
    struct share_rig x;
    share_three(&x, "default_pool_size = 1\n");
    peer_say(&x.s[0], "row half\n");
    peer_hears(x.r, &x.c[0], "row half\n");
    peer_close(&x.c[0]);
    rig_settle(x.r);
    peer_say(&x.s[0], "row other half\nok read\ndone I\n");
    share_answer(&x, 0, "12");
    share_answered(&x, "12");
    share_free(&x);
}

static void all_may_leave(void **state)
{
    (void)state;
    struct share_rig x;
    share_three(&x, "default_pool_size = 1\n");
    for (int i = 0; i < 3; i++)
        peer_close(&x.c[i]);
    rig_settle(x.r);
    share_answer(&x, 0, "012");
    share_round(&x, "3");
    share_free(&x);
}

/* ---- cancel ---------------------------------------------------------------------------------- */

static void cancel_of_the_running_one_strikes_it_alone(void **state)
{
    (void)state;
    struct share_rig x;
    struct peer p;
    share_three(&x, SHARE_TWO_SERVERS);
    share_cancel(&x, 0);
    share_accept_cancel(&x, &p); /* a connection of its own, so after the neighbours were taken */
    assert_int_equal(share_stats(&x)->repeated, 2);
    share_elsewhere(&x, "12");
    peer_close(&p);
    peer_say(&x.s[0], "err cancelled x\ndone I\n");
    peer_hears(x.r, &x.c[0], "err cancelled x\ndone I\n");
    share_silent(&x, "12");
    peer_hears_nothing(x.r, &x.s[0]); /* not lent before it has answered all */
    share_answer(&x, 0, "1");
    assert_int_equal(rig_pool(x.r, 0)->nidle, 1);
    peer_say(&x.s[0], "err cancelled x\ndone I\n"); /* a neighbour was hit */
    share_silent(&x, "012");
    assert_int_equal(rig_pool(x.r, 0)->nidle, 2);
    share_free(&x);
}

/* The cancel may strike later than the answer: until its connection ends the server is nobody's. */
static void cancel_that_strikes_late_hits_no_neighbour(void **state)
{
    (void)state;
    struct share_rig x;
    struct peer p;
    share_three(&x, "default_pool_size = 1\n");
    share_cancel(&x, 0);
    share_accept_cancel(&x, &p);
    share_answer(&x, 0, "0");
    share_answered(&x, "0");
    peer_say(&x.s[0], "row 1\nerr cancelled x\ndone I\n");
    share_answer(&x, 0, "2");
    share_silent(&x, "12");
    peer_hears_nothing(x.r, &x.s[0]);
    peer_close(&p);
    rig_settle(x.r);
    share_heard(&x, 0, "1");
    share_answer(&x, 0, "1");
    share_answered(&x, "1");
    share_heard(&x, 0, "2");
    share_answer(&x, 0, "2");
    share_answered(&x, "2");
    share_free(&x);
}

static void cancel_of_one_that_does_not_run_yet_is_answered_at_once(void **state)
{
    (void)state;
    struct share_rig x;
    share_three(&x, SHARE_TWO_SERVERS);
    share_cancel(&x, 1);
    peer_hears(x.r, &x.c[1], "err cancelled -\ndone I\n");
    rig_accepts_nothing(x.r); /* neither a cancel nor another server */
    share_ask(&x, "1");
    share_answer(&x, 0, "0"); /* and what the database says to the first is swallowed */
    share_answered(&x, "0");
    share_silent(&x, "1");
    share_answer(&x, 0, "12");
    share_answered(&x, "2");
    share_heard(&x, 0, "1");
    share_answer(&x, 0, "1");
    share_answered(&x, "1");
    share_free(&x);
}

/* It was to describe the statement as well, and never did: the client knows no rows that it must be
 * kept to. */
static void description_that_was_taken_away_was_not_given(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, "default_pool_size = 1\n", 3);
    peer_say(&x.c[1], "P a select 1\nS\n");
    peer_hears(x.r, &x.s[0], "P h0000000000001000 select 1\nS\n");
    peer_say(&x.s[0], "parsed\ndone I\n");
    peer_hears(x.r, &x.c[1], "parsed\ndone I\n");
    share_ask(&x, "0");
    peer_say(&x.c[1], "D a\nB a 7\nE 0\nS\n");
    peer_hears(x.r, &x.s[0], "Q select '0'\nD h0000000000001000\nB h0000000000001000 7\nE 0\nS\n");
    share_cancel(&x, 1);
    peer_hears(x.r, &x.c[1], "err cancelled -\ndone I\n");
    share_answer(&x, 0, "0");
    share_answered(&x, "0");
    peer_say(&x.s[0], "described\nbound\nrow 7\nok read\ndone I\n");
    rig_settle(x.r);
    atomic_fetch_add(&rig_pool(x.r, 0)->shared->db->shared.definitions, 1);
    peer_say(&x.c[1], "B a 8\nE 0\nS\n");
    peer_hears(x.r, &x.s[0],
               "C h0000000000001000\nP h0000000000001001 select 1\n"
               "B h0000000000001001 8\nE 0\nS\n");
    peer_say(&x.s[0], "closed\nparsed\nbound\nrow 8\nok read\ndone I\n");
    peer_hears(x.r, &x.c[1], "bound\nrow 8\nok read\ndone I\n");
    share_free(&x);
}

/* ---- timeouts -------------------------------------------------------------------------------- */

/* Neighbours that are overdue are sent again after some milliseconds, so at its timeout the oldest
 * has its server alone. */
static void query_timeout_strikes_its_own_request_alone(void **state)
{
    (void)state;
    struct share_rig x;
    struct peer p;
    share_three(&x, SHARE_TWO_SERVERS "query_timeout = 2\n");
    rig_wait(x.r, 40 * SHARE_MSEC);
    rig_wait(x.r, 40 * SHARE_MSEC);
    share_elsewhere(&x, "12");
    rig_wait(x.r, 2000 * SHARE_MSEC);
    share_accept_cancel(&x, &p);
    peer_close(&p);
    peer_say(&x.s[0], "err cancelled x\ndone I\n");
    share_answer(&x, 0, "12");
    peer_hears_until(x.r, &x.c[0], "done I", NULL, 0);
    share_silent(&x, "12");
    share_free(&x);
}

/* Before anything else could be done about it. A neighbour is told so too or gets its answer. */
static void query_timeout_of_all_at_once_tells_each(void **state)
{
    (void)state;
    struct share_rig x;
    struct peer p;
    char byte;
    share_three(&x, "default_pool_size = 1\nquery_timeout = 2\n");
    rig_wait(x.r, 3000 * SHARE_MSEC);
    share_accept_cancel(&x, &p);
    peer_say(&x.s[0], "err cancelled x\ndone I\n");
    share_answer(&x, 0, "12");
    peer_close(&p);
    rig_settle(x.r);
    peer_hears_until(x.r, &x.c[0], "done I", NULL, 0);
    for (int i = 1; i < 3; i++) {
        char who[2] = {(char)('0' + i), '\0'};
        if (recv(x.c[i].fd, &byte, 1, MSG_PEEK) == 1) {
            peer_hears(x.r, &x.c[i], "err query_timeout -\ndone I\n");
            continue;
        }
        share_heard(&x, 0, who);
        share_answer(&x, 0, who);
        share_answered(&x, who);
    }
    peer_hears_nothing(x.r, &x.s[0]);
    share_free(&x);
}

/* ---- slow ones ------------------------------------------------------------------------------- */

static void those_behind_an_overdue_answer_are_served_elsewhere(void **state)
{
    (void)state;
    for (int begun = 0; begun < 2; begun++) {
        struct share_rig x;
        share_three(&x, SHARE_TWO_SERVERS);
        if (begun) { /* also when the slow one has begun to answer */
            peer_say(&x.s[0], "row begun\n");
            peer_hears(x.r, &x.c[0], "row begun\n");
        }
        for (int i = 0; i < 4; i++)
            rig_wait(x.r, 10 * SHARE_MSEC);
        assert_int_equal(share_stats(&x)->repeated, 2);
        assert_int_equal(share_stats(&x)->unshared, 1);
        share_elsewhere(&x, "12");
        share_answer(&x, 0, "0");
        share_answered(&x, "0");
        share_answer(&x, 0, "12"); /* too late */
        share_silent(&x, "12");
        share_free(&x);
    }
}

static void nobody_is_sent_behind_an_overdue_answer(void **state)
{
    (void)state;
    struct share_rig x;
    share_three(&x, SHARE_TWO_SERVERS);
    rig_wait(x.r, 6 * SHARE_MSEC);
    share_ask(&x, "3");
    peer_hears_nothing(x.r, &x.s[0]);
    share_server(&x, 1);
    share_heard(&x, 1, "3");
    share_answer(&x, 1, "3");
    share_answered(&x, "3");
    share_free(&x);
}

/* With a single server they wait for it, but in their order and without harm. */
static void those_behind_an_overdue_answer_wait_when_there_is_no_other_server(void **state)
{
    (void)state;
    struct share_rig x;
    share_three(&x, "default_pool_size = 1\n");
    for (int i = 0; i < 10; i++)
        rig_wait(x.r, 10 * SHARE_MSEC);
    rig_accepts_nothing(x.r);
    share_answer(&x, 0, "012");
    share_answered(&x, "0");
    for (int i = 1; i < 3; i++) {
        char who[2] = {(char)('0' + i), '\0'};
        share_heard(&x, 0, who);
        share_answer(&x, 0, who);
        share_answered(&x, who);
    }
    share_free(&x);
}

/* Says rows to c until the proxy takes its neighbours away. */
static void large_answer_that_is_not_read(struct share_rig *x)
{
    static const char row[] = "row 0123456789012345678901234567890123456789012345678901234567890\n";
    for (int i = 0; i < 1000000 && share_stats(x)->unshared == 0; i++) {
        ssize_t n = 0;
        while (n < (ssize_t)sizeof(row) - 1) {
            ssize_t k = send(x->s[0].fd, row + n, sizeof(row) - 1 - (size_t)n, MSG_NOSIGNAL);
            n += MAX(k, 0);
            rig_turn(x->r);
        }
    }
    assert_int_equal(share_stats(x)->unshared, 1);
}

static void one_that_does_not_read_stalls_nobody(void **state)
{
    (void)state;
    struct share_rig x;
    share_three(&x, SHARE_TWO_SERVERS);
    large_answer_that_is_not_read(&x);
    share_elsewhere(&x, "12");
    share_silent(&x, "12");
    peer_close(&x.c[0]);
    share_free(&x);
}

/* ---- sent again ------------------------------------------------------------------------------ */

/* The slow one is nobody's any more: it is cancelled, and only it. */
static void slow_request_of_one_that_left_is_cancelled_for_those_behind_it(void **state)
{
    (void)state;
    struct share_rig x;
    struct peer p;
    share_three(&x, "default_pool_size = 1\n");
    peer_close(&x.c[0]);
    for (int i = 0; i < 4; i++)
        rig_wait(x.r, 10 * SHARE_MSEC);
    share_accept_cancel(&x, &p);
    peer_close(&p);
    peer_say(&x.s[0], "err cancelled x\ndone I\n");
    share_answer(&x, 0, "12");
    for (int i = 1; i < 3; i++) {
        char who[2] = {(char)('0' + i), '\0'};
        share_heard(&x, 0, who);
        share_answer(&x, 0, who);
        share_answered(&x, who);
    }
    share_free(&x);
}

static void what_was_sent_in_advance_comes_after_what_is_sent_again(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, SHARE_TWO_SERVERS, 2);
    share_ask(&x, "0");
    peer_say(&x.c[1], "Q select '1'\nQ update t set a = 1\nQ sel");
    rig_settle(x.r);
    share_heard(&x, 0, "01");
    for (int i = 0; i < 4; i++)
        rig_wait(x.r, 10 * SHARE_MSEC);
    share_server(&x, 1);
    peer_hears(x.r, &x.s[1], "Q select '1'\nQ update t set a = 1\n"); /* it has its own server */
    peer_say(&x.s[1], "row 1\nok read\ndone I\nok write\ndone I\n");
    peer_hears(x.r, &x.c[1], "row 1\nok read\ndone I\nok write\ndone I\n");
    share_answer(&x, 0, "01");
    share_answered(&x, "0");
    peer_say(&x.c[1], "ect '1'\n");
    rig_settle(x.r);
    asked_somewhere(&x, "1");
    share_free(&x);
}

/* The one that the server was left to goes on while answers for nobody are still to come. */
static void next_request_of_the_slow_one_is_answered_with_its_own_rows(void **state)
{
    (void)state;
    struct share_rig x;
    share_three(&x, SHARE_TWO_SERVERS);
    for (int i = 0; i < 4; i++)
        rig_wait(x.r, 10 * SHARE_MSEC);
    share_elsewhere(&x, "12");
    share_answer(&x, 0, "0");
    share_answered(&x, "0");
    share_ask(&x, "0");
    share_answer(&x, 0, "1");
    share_silent(&x, "012");
    share_answer(&x, 0, "2");
    share_silent(&x, "12");
    asked_somewhere(&x, "0");
    share_free(&x);
}

static void one_that_waits_to_be_sent_again_may_leave_or_be_cancelled(void **state)
{
    (void)state;
    struct share_rig x;
    share_three(&x, "default_pool_size = 1\n");
    for (int i = 0; i < 4; i++)
        rig_wait(x.r, 10 * SHARE_MSEC);
    share_cancel(&x, 1);
    peer_hears(x.r, &x.c[1], "err cancelled -\ndone I\n");
    peer_close(&x.c[2]);
    rig_settle(x.r);
    share_answer(&x, 0, "012");
    share_answered(&x, "0");
    share_silent(&x, "1");
    peer_hears_nothing(x.r, &x.s[0]);
    for (int i = 0; i < 3; i++)
        share_round(&x, i == 0 ? "1" : i == 1 ? "3" : "0");
    share_free(&x);
}

static void one_that_waits_to_be_sent_again_waits_no_longer_than_it_may(void **state)
{
    (void)state;
    struct share_rig x;
    share_three(&x, "default_pool_size = 1\nquery_wait_timeout = 2\n");
    for (int i = 0; i < 4; i++)
        rig_wait(x.r, 10 * SHARE_MSEC);
    rig_wait(x.r, 2000 * SHARE_MSEC);
    peer_hears(x.r, &x.c[1], "err pool_timeout -\ndone I\n");
    peer_hears(x.r, &x.c[2], "err pool_timeout -\ndone I\n");
    share_answer(&x, 0, "012");
    share_answered(&x, "0");
    for (int i = 0; i < 3; i++)
        share_round(&x, i == 0 ? "1" : i == 1 ? "2" : "0");
    share_free(&x);
}

/* It was sent before the process was told to end, as its neighbour was. */
static void one_that_waits_to_be_sent_again_is_served_though_the_process_drains(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, "default_pool_size = 1\n", 3);
    share_ask(&x, "01");
    share_heard(&x, 0, "01");
    rig_wait(x.r, 40 * SHARE_MSEC); /* overdue: the other one is taken away, and waits */
    share_ask(&x, "2");
    atomic_store(&x.r->process.shared.phase, PHASE_DRAIN_SERVERS);
    clients_housekeeping(rig_worker(x.r));
    peer_hears_until(x.r, &x.c[2], "bye shutdown", NULL, 0);
    share_silent(&x, "1");
    share_answer(&x, 0, "01");
    peer_hears(x.r, &x.c[0], "row 0\nok read\ndone I\nbye shutdown -\n");
    share_server(&x, 1);
    share_heard(&x, 1, "1");
    share_answer(&x, 1, "1");
    peer_hears(x.r, &x.c[1], "row 1\nok read\ndone I\nbye shutdown -\n");
    share_free(&x);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(answer_of_one_that_left_is_swallowed),
    cmocka_unit_test(answer_of_one_that_left_in_the_middle_of_it_is_swallowed),
    cmocka_unit_test(all_may_leave),
    cmocka_unit_test(cancel_of_the_running_one_strikes_it_alone),
    cmocka_unit_test(cancel_that_strikes_late_hits_no_neighbour),
    cmocka_unit_test(cancel_of_one_that_does_not_run_yet_is_answered_at_once),
    cmocka_unit_test(description_that_was_taken_away_was_not_given),
    cmocka_unit_test(query_timeout_strikes_its_own_request_alone),
    cmocka_unit_test(query_timeout_of_all_at_once_tells_each),
    cmocka_unit_test(those_behind_an_overdue_answer_are_served_elsewhere),
    cmocka_unit_test(nobody_is_sent_behind_an_overdue_answer),
    cmocka_unit_test(those_behind_an_overdue_answer_wait_when_there_is_no_other_server),
    cmocka_unit_test(one_that_does_not_read_stalls_nobody),
    cmocka_unit_test(slow_request_of_one_that_left_is_cancelled_for_those_behind_it),
    cmocka_unit_test(what_was_sent_in_advance_comes_after_what_is_sent_again),
    cmocka_unit_test(next_request_of_the_slow_one_is_answered_with_its_own_rows),
    cmocka_unit_test(one_that_waits_to_be_sent_again_may_leave_or_be_cancelled),
    cmocka_unit_test(one_that_waits_to_be_sent_again_is_served_though_the_process_drains),
    cmocka_unit_test(one_that_waits_to_be_sent_again_waits_no_longer_than_it_may),
};

int main(void)
{
    return cmocka_run_group_tests(tests, NULL, NULL);
}
