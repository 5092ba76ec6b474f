/* test_core_share.c - several clients' reads on one server, on the toy codec: whose answer goes to
 * whom, which requests may share, and which never do. */
#include "base/base.h"

#include "test/unit/support/share_rig.h"

#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define ONE_SERVER "default_pool_size = 1\n"

/* ---- answers --------------------------------------------------------------------------------- */

static void answers_come_in_order_and_to_those_who_asked(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 5);
    for (int i = 0; i < 3; i++) { /* again and again on the same server */
        share_ask(&x, "31042");
        share_heard(&x, 0, "31042");
        share_answer(&x, 0, "310");
        share_answered(&x, "310");
        share_silent(&x, "42");
        share_ask(&x, "1");
        share_heard(&x, 0, "1");
        share_answer(&x, 0, "421");
        share_answered(&x, "421");
    }
    assert_int_equal(share_stats(&x)->shared, 15);
    assert_int_equal(share_stats(&x)->repeated, 0);
    assert_int_equal(rig_pool(x.r, 0)->nidle, 1);
    rig_accepts_nothing(x.r);
    share_free(&x);
}

static void answers_are_told_apart_at_every_split(void **state)
{
    (void)state;
    static const char text[] = "row 0\nok read\ndone I\nrow 1\nok read\ndone I\n"
                               "row 2\nok read\ndone I\n";
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 3);
    for (size_t at = 1; at < sizeof(text) - 1; at++) {
        share_ask(&x, "012");
        share_heard(&x, 0, "012");
        peer_say_bytes(&x.s[0], text, at);
        rig_settle(x.r);
        peer_say_bytes(&x.s[0], text + at, sizeof(text) - 1 - at);
        share_answered(&x, "012");
    }
    share_free(&x);
}

static void error_of_one_touches_no_other(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 3);
    share_ask(&x, "012");
    share_heard(&x, 0, "012");
    share_answer(&x, 0, "0");
    peer_say(&x.s[0], "err other x\ndone I\n");
    share_answer(&x, 0, "2");
    share_answered(&x, "02");
    peer_hears(x.r, &x.c[1], "err other x\ndone I\n");
    share_round(&x, "102");
    assert_int_equal(share_stats(&x)->repeated, 0);
    share_free(&x);
}

static void notices_and_settings_go_to_whom_they_belong(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 2);
    share_ask(&x, "01");
    share_heard(&x, 0, "01");
    peer_say(&x.s[0], "note a\nrow 0\nok read\ndone I\nnote b\nrow 1\nok read\ndone I\n");
    peer_hears(x.r, &x.c[0], "note a\nrow 0\nok read\ndone I\n");
    peer_hears(x.r, &x.c[1], "note b\nrow 1\nok read\ndone I\n");
    share_free(&x);
}

/* Queued while the server still had the old value, they hear of the new one before their rows. */
static void setting_that_changes_meanwhile_is_told_to_those_behind_in_time(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 3);
    share_ask(&x, "012");
    share_heard(&x, 0, "012");
    peer_say(&x.s[0], "row 0\nvar zone x\nok read\ndone I\n");
    peer_hears(x.r, &x.c[0], "row 0\nvar zone x\nok read\ndone I\n");
    share_answer(&x, 0, "1");
    peer_hears(x.r, &x.c[1], "var zone x\nrow 1\nok read\ndone I\n");
    peer_say(&x.s[0], "row 2\n");
    peer_hears(x.r, &x.c[2], "var zone x\nrow 2\n");
    peer_say(&x.s[0], "ok read\ndone I\n");
    peer_hears(x.r, &x.c[2], "ok read\ndone I\n");
    share_free(&x);
}

/* A client may send in advance; its next request is looked at when its previous one is done. */
static void next_request_of_a_client_waits_for_its_previous_one(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 2);
    peer_say(&x.c[0], "Q select '0'\nQ select '00'\n");
    rig_settle(x.r);
    share_ask(&x, "1");
    share_heard(&x, 0, "01");
    share_answer(&x, 0, "0");
    share_answered(&x, "0");
    peer_hears(x.r, &x.s[0], "Q select '00'\n");
    share_answer(&x, 0, "10");
    share_answered(&x, "10");
    share_free(&x);
}

/* What is kept of requests in flight counts as buffer memory, as long as it is kept. */
static void kept_requests_count_as_memory(void **state)
{
    (void)state;
    struct share_rig x;
    char text[3000] = "Q select '";
    share_new(&x, 1, ONE_SERVER, 2);
    const size_t *bytes = &rig_worker(x.r)->memory.in_bytes;
    memset(text + 10, 'a', 2900);
    memcpy(text + 2910, "'\n", 3);
    for (int i = 0; i < 20; i++) { /* slots are used again */
        peer_say(&x.c[0], text);
        peer_hears(x.r, &x.s[0], text);
        share_ask(&x, "1");
        share_heard(&x, 0, "1");
        assert_in_range(*bytes, strlen(text), 20000);
        share_answer(&x, 0, "01");
        share_answered(&x, "01");
    }
    peer_close(&x.s[0]);
    rig_settle(x.r);
    assert_int_equal(*bytes, 0);
    share_free(&x);
}

/* ---- depth ----------------------------------------------------------------------------------- */

static void depth_is_bounded(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER "multiplex_depth = 3\n", 6);
    share_ask(&x, "012345");
    share_heard(&x, 0, "012");
    share_answer(&x, 0, "0");
    share_heard(&x, 0, "3"); /* those who wait have their places in their order */
    share_answer(&x, 0, "12");
    share_heard(&x, 0, "45");
    share_answer(&x, 0, "345");
    share_answered(&x, "012345");
    share_free(&x);
}

static void depth_of_one_shares_nothing(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER "multiplex_depth = 1\n", 3);
    share_ask(&x, "012");
    for (int i = 0; i < 3; i++) {
        char who[2] = {(char)('0' + i), '\0'};
        share_heard(&x, 0, who);
        share_silent(&x, "012");
        share_answer(&x, 0, who);
        share_answered(&x, who);
    }
    assert_int_equal(share_stats(&x)->shared, 0);
    share_free(&x);
}

/* Two servers that are both known to be free. */
static void open_both(struct share_rig *x)
{
    for (int i = 0; i < 2; i++) {
        peer_say(&x->c[i], "Q update t set a = 1\n");
        if (i == 1)
            share_server(x, 1);
        peer_hears(x->r, &x->s[i], "Q update t set a = 1\n");
    }
    for (int i = 0; i < 2; i++) {
        peer_say(&x->s[i], "ok write\ndone I\n");
        peer_hears(x->r, &x->c[i], "ok write\ndone I\n");
    }
}

static void free_servers_come_first_and_then_all_evenly(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, "default_pool_size = 2\n", 6);
    open_both(&x);
    share_ask(&x, "01");
    assert_int_equal(rig_pool(x.r, 0)->nsharing, 2);
    assert_int_equal(share_stats(&x)->shared, 0);
    share_ask(&x, "2345");
    assert_int_equal(share_stats(&x)->shared, 4);
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &rig_pool(x.r, 0)->sharing)
        assert_int_equal(container_of(it, struct server, link)->fl_count, 3);
    share_free(&x);
}

/* ---- who may share --------------------------------------------------------------------------- */

/* It has been seen to be short, so that this alone does not keep it from standing behind others. */
static void execute_once(struct share_rig *x, const char *text, const char *answer)
{
    peer_say(&x->c[1], text);
    peer_hears(x->r, &x->s[0], text);
    peer_say(&x->s[0], answer);
    peer_hears(x->r, &x->c[1], answer);
}

/* text stands behind nobody, and nobody stands behind it. */
static void stands_alone(const char *text, bool leaves_questions)
{
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 4);
    if (!leaves_questions)
        execute_once(&x, text, "ok read\ndone I\n");
    share_ask(&x, "0");
    peer_say(&x.c[1], text);
    share_heard(&x, 0, "0");
    share_silent(&x, "123");
    share_answer(&x, 0, "0");
    share_answered(&x, "0");
    peer_hears(x.r, &x.s[0], text);
    share_ask(&x, "23");
    peer_hears_nothing(x.r, &x.s[0]);
    peer_say(&x.s[0], "ok read\ndone I\n");
    peer_hears(x.r, &x.c[1], "ok read\ndone I\n");
    if (leaves_questions) {
        peer_hears(x.r, &x.s[0], "state all locks temp cursors prepared listen\n");
        peer_say(&x.s[0], "done I\n"); /* and what could not be asked for is undone */
        peer_hears(x.r, &x.s[0], "clean settings\nQ select '2'\n");
        peer_say(&x.s[0], "done I\n");
        share_answer(&x, 0, "2");
        share_answered(&x, "2");
        share_heard(&x, 0, "3");
        share_answer(&x, 0, "3");
        share_answered(&x, "3");
    } else {
        share_heard(&x, 0, "23");
        share_answer(&x, 0, "23");
        share_answered(&x, "23");
    }
    share_free(&x);
}

static void whatever_is_not_a_repeatable_read_stands_alone(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool leaves_questions;
    } rows[] = {
        {"Q update t set a = 1\n", false},
        {"Q insert into t values (1)\n", false},
        {"Q with x as (delete from t returning 1) select 1 from x\n", false},
        {"Q select a from t for update\n", false},
        {"Q select 1; select 2\n", false},
        {"Q copy t to stdout\n", false},
        {"Q select 1 from v\n", false},
        {"Q select 1 from unheard_of\n", true},
        {"Q select unheard_of(1)\n", true},
        {"Q select random()\n", true}, /* the rig's catalog knows no functions */
        {"Q not a statement\n", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        stands_alone(rows[i].text, rows[i].leaves_questions);
}

static void first_execution_stands_alone(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 3);
    share_ask(&x, "0");
    peer_say(&x.c[1], "Q select a from t where a = 1\n");
    share_heard(&x, 0, "0");
    peer_hears_nothing(x.r, &x.s[0]);
    share_answer(&x, 0, "0");
    share_answered(&x, "0");
    peer_hears(x.r, &x.s[0], "Q select a from t where a = 1\n");
    share_ask(&x, "2");
    peer_hears_nothing(x.r, &x.s[0]);
    peer_say(&x.s[0], "row 1\nok read\ndone I\n");
    peer_hears(x.r, &x.c[1], "row 1\nok read\ndone I\n");
    share_heard(&x, 0, "2");
    share_free(&x);
}

static void batch_of_several_executions_stands_alone(void **state)
{
    (void)state;
    static const char *const texts[] = {"P - select 1\nB - 1\nE 0\nB - 2\nE 0\nS\n",
                                        "P - select 1\nB - 1\nE 0\nE 0\nS\n"};
    static const char *const answers[] = {"parsed\nbound\nok read\nbound\nok read\ndone I\n",
                                          "parsed\nbound\nok read\nok read\ndone I\n"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct share_rig x;
        share_new(&x, 1, ONE_SERVER, 2);
        execute_once(&x, texts[i], answers[i]);
        share_ask(&x, "0");
        peer_say(&x.c[1], texts[i]);
        share_heard(&x, 0, "0");
        peer_hears_nothing(x.r, &x.s[0]);
        share_answer(&x, 0, "0");
        share_answered(&x, "0");
        peer_hears(x.r, &x.s[0], texts[i]);
        share_ask(&x, "0");
        peer_hears_nothing(x.r, &x.s[0]);
        share_free(&x);
    }
}

static void reads_in_a_transaction_stand_alone(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 3);
    peer_say(&x.c[0], "Q begin\n");
    peer_hears(x.r, &x.s[0], "Q begin\n");
    peer_say(&x.s[0], "ok tx\ndone T\n");
    peer_hears(x.r, &x.c[0], "ok tx\ndone T\n");
    share_ask(&x, "012");
    share_heard(&x, 0, "0");
    peer_say(&x.s[0], "row 0\nok read\ndone T\n");
    peer_hears(x.r, &x.c[0], "row 0\nok read\ndone T\n");
    peer_hears_nothing(x.r, &x.s[0]); /* nor in the pause between two of them */
    peer_say(&x.c[0], "Q commit\n");
    peer_hears(x.r, &x.s[0], "Q commit\n");
    peer_say(&x.s[0], "ok tx\ndone I\n");
    peer_hears(x.r, &x.c[0], "ok tx\ndone I\n");
    share_heard(&x, 0, "12");
    share_answer(&x, 0, "12");
    share_answered(&x, "12");
    share_free(&x);
}

/* The first execution of a digest has a server alone; a long one makes it keep that. */
static void slow_statements_stand_alone_until_they_are_quick_again(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 2);
    share_ask(&x, "0");
    share_heard(&x, 0, "0");
    rig_wait(x.r, 200000);
    share_answer(&x, 0, "0");
    share_answered(&x, "0");
    int alone = 0;
    while (share_stats(&x)->shared == 0) {
        assert_in_range(alone++, 0, 50);
        share_ask(&x, "01");
        share_heard(&x, 0, share_stats(&x)->shared == 0 ? "0" : "01");
        share_answer(&x, 0, "0");
        share_answered(&x, "0");
        if (share_stats(&x)->shared == 0)
            share_heard(&x, 0, "1");
        share_answer(&x, 0, "1");
        share_answered(&x, "1");
    }
    assert_true(alone > 2);
    share_free(&x);
}

static void other_settings_never_share(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 2);
    int other = share_client(&x, 0, "color=red");
    assert_int_equal(other, 2);
    peer_say(&x.c[2], "Q select '2'\n");
    peer_hears(x.r, &x.s[0], "Q select '2'\n"); /* it still has its setting */
    share_ask(&x, "01");
    peer_hears_nothing(x.r, &x.s[0]);
    share_answer(&x, 0, "2");
    share_answered(&x, "2");
    peer_hears(x.r, &x.s[0], "set color;\nQ select '0'\n");
    share_ask(&x, "2");
    peer_hears_nothing(x.r, &x.s[0]);
    peer_say(&x.s[0], "done I\n");
    share_answer(&x, 0, "0");
    share_answered(&x, "0");
    share_silent(&x, "12");
    share_free(&x);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(answers_come_in_order_and_to_those_who_asked),
    cmocka_unit_test(answers_are_told_apart_at_every_split),
    cmocka_unit_test(error_of_one_touches_no_other),
    cmocka_unit_test(notices_and_settings_go_to_whom_they_belong),
    cmocka_unit_test(setting_that_changes_meanwhile_is_told_to_those_behind_in_time),
    cmocka_unit_test(next_request_of_a_client_waits_for_its_previous_one),
    cmocka_unit_test(kept_requests_count_as_memory),
    cmocka_unit_test(depth_is_bounded),
    cmocka_unit_test(depth_of_one_shares_nothing),
    cmocka_unit_test(free_servers_come_first_and_then_all_evenly),
    cmocka_unit_test(whatever_is_not_a_repeatable_read_stands_alone),
    cmocka_unit_test(first_execution_stands_alone),
    cmocka_unit_test(batch_of_several_executions_stands_alone),
    cmocka_unit_test(reads_in_a_transaction_stand_alone),
    cmocka_unit_test(slow_statements_stand_alone_until_they_are_quick_again),
    cmocka_unit_test(other_settings_never_share),
};

int main(void)
{
    return cmocka_run_group_tests(tests, NULL, NULL);
}
