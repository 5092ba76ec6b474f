/* test_core_leave.c - clients that vanish, servers that are lost, cancels and timeouts; on the toy
 * codec. */
#include "base/base.h"

#include "test/unit/support/core_rig.h"
#include "test/unit/support/toy_wire.h"

#include <stdio.h>
#include <sys/socket.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define ONE_SERVER "default_pool_size = 1\n"

static struct rig *rig(const char *options)
{
    return rig_new(&toy_wire, 1, options, NULL);
}

static void leave(struct rig *r, struct peer *a, struct peer *b)
{
    if (a != NULL)
        peer_close(a);
    if (b != NULL)
        peer_close(b);
    rig_free(&r);
}

/* The connection that carries a cancel request for the first server. */
static void accept_cancel(struct rig *r, struct peer *x)
{
    rig_accept(r, x);
    peer_hears(r, x, "cancel key\n");
}

/* ---- clients that vanish --------------------------------------------------------------------- */

/* The server is neither lent before its answer is complete nor before the cancel has done its
 * work. */
static void request_of_a_client_that_left_is_cancelled_and_drained(void **state)
{
    (void)state;
    for (int cancel_first = 0; cancel_first < 2; cancel_first++) {
        struct rig *r = rig(ONE_SERVER);
        struct peer a, b, s, x;
        rig_toy_client(r, 0, &a, &s);
        rig_toy_client(r, 0, &b, NULL);
        peer_say(&a, "Q select 1\n");
        peer_hears(r, &s, "Q select 1\n");
        peer_say(&s, "row 1\n");
        peer_hears(r, &a, "row 1\n");
        peer_close(&a);
        accept_cancel(r, &x);
        peer_say(&b, "Q select 2\n");
        peer_hears_nothing(r, &s);
        if (cancel_first)
            peer_close(&x);
        else
            peer_say(&s, "row 2\nerr cancelled x\ndone I\n");
        peer_hears_nothing(r, &s);
        if (cancel_first)
            peer_say(&s, "row 2\nerr cancelled x\ndone I\n");
        else
            peer_close(&x);
        peer_hears(r, &s, "Q select 2\n");
        peer_say(&s, "row b\ndone I\n");
        peer_hears(r, &b, "row b\ndone I\n"); /* and nothing of a's answer */
        leave(r, &b, &s);
    }
}

static void cancel_that_never_ends_costs_the_server(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER);
    struct peer a, s, x;
    rig_toy_client(r, 0, &a, &s);
    peer_say(&a, "Q select 1\n");
    peer_hears(r, &s, "Q select 1\n");
    peer_close(&a);
    accept_cancel(r, &x);
    peer_say(&s, "done I\n");
    peer_hears_nothing(r, &s);
    rig_wait(r, 11 * (usec_t)USEC_PER_SEC); /* cancel_wait_timeout */
    peer_hears_end(r, &x);
    peer_hears_end(r, &s);
    leave(r, NULL, NULL);
}

static void half_a_request_of_a_client_that_left_closes_the_server(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER);
    struct peer a, s;
    rig_toy_client(r, 0, &a, &s);
    peer_say(&a, "P - select 1\nF\n");
    peer_hears(r, &s, "P - select 1\nF\n");
    peer_say(&s, "parsed\n");
    peer_hears(r, &a, "parsed\n");
    peer_close(&a);
    peer_hears_end(r, &s);
    leave(r, NULL, NULL);
}

static void upload_of_a_client_that_left_closes_the_server(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER);
    struct peer a, s;
    rig_toy_client(r, 0, &a, &s);
    peer_say(&a, "Q select 1\n");
    peer_hears(r, &s, "Q select 1\n");
    peer_say(&s, "up\n");
    peer_hears(r, &a, "up\n");
    peer_say(&a, "+1\n");
    peer_hears(r, &s, "+1\n");
    peer_close(&a);
    peer_hears_end(r, &s);
    leave(r, NULL, NULL);
}

static void transaction_of_a_client_that_left_is_ended(void **state)
{
    (void)state;
    static const char *const markers[] = {"done T\n", "done E\n"};
    for (size_t i = 0; i < ARRAY_LEN(markers); i++) {
        struct rig *r = rig(ONE_SERVER);
        struct peer a, b, s;
        rig_toy_client(r, 0, &a, &s);
        rig_toy_client(r, 0, &b, NULL);
        peer_say(&a, "Q begin\n");
        peer_hears(r, &s, "Q begin\n");
        peer_say(&s, markers[i]);
        peer_hears(r, &a, markers[i]);
        peer_say(&b, "Q select 2\n");
        rig_settle(r);
        peer_close(&a);
        peer_hears(r, &s, "clean tx\n");
        peer_say(&s, "done I\n");
        peer_hears(r, &s, "Q select 2\n");
        leave(r, &b, &s);
    }
}

static void server_that_cannot_be_cleaned_is_closed(void **state)
{
    (void)state;
    static const char *const answers[] = {"err other x\ndone T\n", "done T\n", ""};
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        struct rig *r = rig(ONE_SERVER);
        struct peer a, s;
        rig_toy_client(r, 0, &a, &s);
        peer_say(&a, "Q begin\n");
        peer_hears(r, &s, "Q begin\n");
        peer_say(&s, "done T\n");
        peer_hears(r, &a, "done T\n");
        peer_close(&a);
        peer_hears(r, &s, "clean tx\n");
        if (i != 1) { /* a rollback that leaves the transaction open is simply tried again */
            peer_say(&s, answers[i]);
            rig_wait(r, 6 * (usec_t)USEC_PER_SEC);
            peer_hears_end(r, &s);
        }
        leave(r, NULL, i == 1 ? &s : NULL);
    }
}

static void client_that_left_the_queue_is_not_served(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER);
    struct peer a, b, c, s;
    rig_toy_client(r, 0, &a, &s);
    rig_toy_client(r, 0, &b, NULL);
    rig_toy_client(r, 0, &c, NULL);
    peer_say(&a, "Q select 1\n");
    peer_hears(r, &s, "Q select 1\n");
    peer_say(&b, "Q select 2\n");
    rig_settle(r);
    peer_say(&c, "Q select 3\n");
    rig_settle(r);
    assert_int_equal(rig_pool(r, 0)->nwaiters, 2);
    peer_close(&b);
    rig_settle(r);
    assert_int_equal(rig_pool(r, 0)->nwaiters, 1);
    peer_say(&s, "done I\n");
    peer_hears(r, &s, "Q select 3\n");
    peer_close(&c);
    leave(r, &a, &s);
}

/* ---- servers that are lost ------------------------------------------------------------------- */

static void client_goes_on_when_nothing_of_the_answer_had_reached_it(void **state)
{
    (void)state;
    static const struct {
        const char *says, *asks, *passed, *hears;
    } cases[] = {
        {"Q select 1\n", "Q select 1\n", "", "err server_lost -\ndone I\n"},
        {"Q select 1\n", "Q select 1\n", "bye shutdown going down\n",
         "err shutdown going down\ndone I\n"},
        {"Q select 1\nQ select 2\n", "Q select 1\nQ select 2\n", "",
         "err server_lost -\ndone I\nerr server_lost -\ndone I\n"},
        {"P - select 1\nB -\nE 0\nS\n", "P - select 1\nB -\nE 0\nS\n", "",
         "err server_lost -\ndone I\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rig *r = rig(ONE_SERVER);
        struct peer c, s;
        rig_toy_client(r, 0, &c, &s);
        peer_say(&c, cases[i].says);
        peer_hears(r, &s, cases[i].asks);
        if (cases[i].passed[0] != '\0')
            peer_say(&s, cases[i].passed);
        peer_close(&s);
        peer_hears(r, &c, cases[i].hears);
        peer_say(&c, "Q select 3\n");
        rig_toy_server(r, &s);
        peer_hears(r, &s, "Q select 3\n");
        peer_say(&s, "done I\n");
        peer_hears(r, &c, "done I\n");
        leave(r, &c, &s);
    }
}

static void client_goes_on_after_the_end_of_a_request_that_was_half_sent(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER);
    struct peer c, s;
    rig_toy_client(r, 0, &c, &s);
    peer_say(&c, "P - select 1\nF\n");
    peer_hears(r, &s, "P - select 1\nF\n");
    peer_close(&s);
    peer_hears(r, &c, "err server_lost -\n"); /* no idle marker before its end */
    peer_say(&c, "B -\nE 0\n");
    peer_hears_nothing(r, &c);
    peer_say(&c, "S\n");
    peer_hears(r, &c, "done I\n");
    peer_say(&c, "Q select 3\n");
    rig_toy_server(r, &s);
    peer_hears(r, &s, "Q select 3\n");
    leave(r, &c, &s);
}

static void client_is_closed_when_a_part_of_the_answer_had_reached_it(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER);
    struct peer c, s;
    rig_toy_client(r, 0, &c, &s);
    peer_say(&c, "Q select 1\n");
    peer_hears(r, &s, "Q select 1\n");
    peer_say(&s, "row 1\n");
    peer_hears(r, &c, "row 1\n");
    peer_close(&s);
    peer_hears(r, &c, "bye server_lost -\n");
    peer_hears_end(r, &c);
    leave(r, NULL, NULL);
}

static void client_with_an_open_transaction_hears_that_its_outcome_is_unknown(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER);
    struct peer c, s;
    rig_toy_client(r, 0, &c, &s);
    peer_say(&c, "Q begin\n");
    peer_hears(r, &s, "Q begin\n");
    peer_say(&s, "done T\n");
    peer_hears(r, &c, "done T\n");
    peer_close(&s);
    peer_hears(r, &c, "bye server_lost_in_tx -\n");
    peer_hears_end(r, &c);
    leave(r, NULL, NULL);
}

static void server_lost_while_settings_are_waited_for_fails_that_request_alone(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER);
    struct peer b, c, s;
    rig_toy_client(r, 0, &b, &s);
    rig_toy_client_with(r, &c, &s, "role=x");
    peer_close(&s);
    rig_settle(r);
    for (int i = 0; i < 2; i++) {
        peer_say(&c, "Q select 1\n");
        rig_toy_server(r, &s);
        peer_hears(r, &s, "set role=x;\n");
        peer_close(&s);
        peer_hears(r, &c, "err server_lost -\ndone I\n");
    }
    peer_close(&b);
    leave(r, &c, &s);
}

static void idle_server_that_is_lost_is_nobodys_trouble(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER);
    struct peer c, s;
    rig_toy_client(r, 0, &c, &s);
    rig_toy_ask(r, &c, &s);
    peer_close(&s);
    rig_settle(r);
    assert_int_equal(rig_pool(r, 0)->nidle, 0);
    peer_hears_nothing(r, &c);
    peer_say(&c, "Q select 3\n");
    rig_toy_server(r, &s);
    peer_hears(r, &s, "Q select 3\n");
    leave(r, &c, &s);
}

/* ---- cancel ---------------------------------------------------------------------------------- */

/* Logs a client in and keeps the line "hi KEY". */
static void client_with_key(struct rig *r, struct peer *c, char *key, size_t cap)
{
    char line[128];
    rig_client(r, 0, c);
    peer_say(c, "hello u d\n");
    peer_hears_until(r, c, "hi ", line, sizeof(line));
    peer_hears(r, c, "done I\n");
    snprintf(key, cap, "cancel %s\n", line + 3);
}

static void say_cancel(struct rig *r, const char *request)
{
    struct peer x;
    rig_client(r, 0, &x);
    peer_say(&x, request);
    peer_hears_end(r, &x);
}

static void cancel_reaches_the_server_that_works_for_the_client(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER);
    struct peer a, c, s, x;
    char key[160];
    rig_toy_client(r, 0, &a, &s);
    client_with_key(r, &c, key, sizeof(key));
    peer_say(&c, "Q select 1\n");
    peer_hears(r, &s, "Q select 1\n");
    say_cancel(r, key);
    accept_cancel(r, &x);
    peer_close(&x);
    peer_say(&s, "err cancelled x\ndone I\n");
    peer_hears(r, &c, "err cancelled x\ndone I\n");
    rig_toy_ask(r, &c, &s);
    peer_close(&a);
    leave(r, &c, &s);
}

static void cancel_of_a_waiting_client_answers_it_and_nobody_else(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER);
    struct peer a, c, s;
    char key[160];
    rig_toy_client(r, 0, &a, &s);
    client_with_key(r, &c, key, sizeof(key));
    peer_say(&a, "Q select 1\n");
    peer_hears(r, &s, "Q select 1\n");
    peer_say(&c, "Q select 2\n");
    rig_settle(r);
    say_cancel(r, key);
    peer_hears(r, &c, "err cancelled -\ndone I\n");
    rig_accepts_nothing(r);
    peer_say(&s, "done I\n");
    peer_hears(r, &a, "done I\n");
    peer_hears_nothing(r, &s);
    rig_toy_ask(r, &c, &s);
    peer_close(&a);
    leave(r, &c, &s);
}

static void cancel_with_a_wrong_key_or_for_an_idle_client_does_nothing(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER);
    struct peer a, c, s;
    char key[160], wrong[160];
    rig_toy_client(r, 0, &a, &s);
    client_with_key(r, &c, key, sizeof(key));
    say_cancel(r, key); /* idle */
    peer_say(&c, "Q select 1\n");
    peer_hears(r, &s, "Q select 1\n");
    for (size_t i = 0; i < 32; i++) { /* each digit of secret and number */
        memcpy(wrong, key, sizeof(wrong));
        wrong[7 + i] = (char)(key[7 + i] == '5' ? '6' : '5');
        say_cancel(r, wrong);
    }
    say_cancel(r, "cancel x\n");
    rig_accepts_nothing(r);
    peer_say(&s, "done I\n");
    peer_hears(r, &c, "done I\n");
    peer_close(&a);
    leave(r, &c, &s);
}

/* ---- timeouts -------------------------------------------------------------------------------- */

static void query_timeout_cancels_and_the_client_goes_on(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER "query_timeout = 2\n");
    struct peer c, s, x;
    rig_toy_client(r, 0, &c, &s);
    peer_say(&c, "Q select 1\n");
    peer_hears(r, &s, "Q select 1\n");
    rig_wait(r, USEC_PER_SEC);
    rig_accepts_nothing(r);
    rig_wait(r, USEC_PER_SEC);
    accept_cancel(r, &x);
    peer_close(&x);
    peer_say(&s, "err cancelled x\ndone I\n");
    peer_hears_until(r, &c, "done I", NULL, 0);
    rig_toy_ask(r, &c, &s);
    leave(r, &c, &s);
}

static void query_timeout_that_the_server_ignores_costs_the_server_alone(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER "query_timeout = 2\n");
    struct peer c, s, x;
    rig_toy_client(r, 0, &c, &s);
    peer_say(&c, "Q select 1\n");
    peer_hears(r, &s, "Q select 1\n");
    rig_wait(r, 2 * (usec_t)USEC_PER_SEC);
    accept_cancel(r, &x);
    peer_close(&x);
    rig_wait(r, 11 * (usec_t)USEC_PER_SEC);
    peer_hears_end(r, &s);
    peer_hears(r, &c, "err query_timeout -\ndone I\n");
    peer_say(&c, "Q select 3\n");
    rig_toy_server(r, &s);
    peer_hears(r, &s, "Q select 3\n");
    leave(r, &c, &s);
}

/* Each for itself, not the pipeline as a whole. */
static void query_timeout_of_a_pipeline_is_that_of_each_request(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER "query_timeout = 2\n");
    struct peer c, s, x;
    rig_toy_client(r, 0, &c, &s);
    peer_say(&c, "Q select 1\nQ select 2\nQ select 3\n");
    peer_hears(r, &s, "Q select 1\nQ select 2\nQ select 3\n");
    for (int i = 0; i < 2; i++) {
        rig_wait(r, 3 * (usec_t)USEC_PER_SEC / 2);
        peer_say(&s, "ok read\ndone I\n");
        peer_hears(r, &c, "ok read\ndone I\n");
    }
    rig_accepts_nothing(r);
    rig_wait(r, 3 * (usec_t)USEC_PER_SEC);
    accept_cancel(r, &x);
    peer_close(&x);
    peer_say(&s, "err cancelled x\ndone I\n");
    peer_hears_until(r, &c, "done I", NULL, 0);
    leave(r, &c, &s);
}

/* A timeout that met nothing of the client's must not be held against what it asks later. */
static void query_timeout_during_a_question_of_ours_harms_nothing(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER "query_timeout = 2\n");
    struct peer c, s, x;
    rig_toy_client(r, 0, &c, &s);
    peer_say(&c, "Q select who_knows()\n");
    peer_hears(r, &s, "Q select who_knows()\n");
    peer_say(&s, "ok read\ndone I\n");
    peer_hears(r, &c, "ok read\ndone I\n");
    peer_hears_until(r, &s, "state ", NULL, 0);
    rig_wait(r, 3 * (usec_t)USEC_PER_SEC);
    rig_accepts_nothing(r);
    peer_say(&s, "row locks|yes\ndone I\n"); /* the client keeps its server */
    rig_settle(r);
    peer_say(&c, "Q select 1\n");
    peer_hears(r, &s, "Q select 1\n");
    rig_wait(r, 2 * (usec_t)USEC_PER_SEC);
    accept_cancel(r, &x); /* and not a closed server */
    peer_close(&x);
    peer_say(&s, "err cancelled x\ndone I\n");
    peer_hears_until(r, &c, "done I", NULL, 0);
    leave(r, &c, &s);
}

/* The statement in front of it is ours: the client is told, and has lost nothing. */
static void query_timeout_before_the_query_began_costs_the_server_alone(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER "query_timeout = 2\n");
    struct peer a, c, s;
    rig_toy_client(r, 0, &a, &s);
    rig_toy_client_with(r, &c, &s, "zone=x");
    rig_toy_ask(r, &c, &s);
    peer_say(&a, "Q select 1\n");
    peer_hears(r, &s, "set zone;\nQ select 1\n");
    rig_wait(r, 2 * (usec_t)USEC_PER_SEC);
    peer_hears_end(r, &s);
    peer_hears(r, &a, "err query_timeout -\ndone I\n");
    rig_accepts_nothing(r); /* no cancel: nothing of the client's has begun */
    peer_say(&a, "Q select 1\n");
    rig_toy_server(r, &s);
    peer_hears(r, &s, "Q select 1\n");
    peer_close(&c);
    leave(r, &a, &s);
}

static void client_that_waits_too_long_is_told_and_goes_on(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER "query_wait_timeout = 3\n");
    struct peer a, c, s;
    rig_toy_client(r, 0, &a, &s);
    rig_toy_client(r, 0, &c, NULL);
    peer_say(&a, "Q select 1\n");
    peer_hears(r, &s, "Q select 1\n");
    peer_say(&c, "Q select 2\n");
    rig_settle(r);
    rig_wait(r, 3 * (usec_t)USEC_PER_SEC);
    peer_hears(r, &c, "err pool_timeout -\ndone I\n");
    peer_say(&s, "done I\n");
    peer_hears(r, &a, "done I\n");
    rig_toy_ask(r, &c, &s);
    peer_close(&a);
    leave(r, &c, &s);
}

static void idle_transaction_timeout_ends_client_and_transaction(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER "idle_transaction_timeout = 3\n");
    struct peer c, s;
    rig_toy_client(r, 0, &c, &s);
    peer_say(&c, "Q begin\n");
    peer_hears(r, &s, "Q begin\n");
    peer_say(&s, "done T\n");
    peer_hears(r, &c, "done T\n");
    rig_wait(r, 3 * (usec_t)USEC_PER_SEC);
    peer_hears(r, &c, "bye idle_tx_timeout -\n");
    peer_hears(r, &s, "clean tx\n");
    peer_say(&s, "done I\n");
    rig_settle(r);
    assert_int_equal(rig_pool(r, 0)->nidle, 1);
    leave(r, &c, &s);
}

static void idle_client_is_told_before_it_is_closed(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER "client_idle_timeout = 3\n");
    struct peer c, s;
    rig_toy_client(r, 0, &c, &s);
    rig_wait(r, 3 * (usec_t)USEC_PER_SEC);
    peer_hears(r, &c, "bye idle_timeout -\n");
    peer_hears_end(r, &c);
    leave(r, NULL, &s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_of_a_client_that_left_is_cancelled_and_drained),
        cmocka_unit_test(cancel_that_never_ends_costs_the_server),
        cmocka_unit_test(half_a_request_of_a_client_that_left_closes_the_server),
        cmocka_unit_test(upload_of_a_client_that_left_closes_the_server),
        cmocka_unit_test(transaction_of_a_client_that_left_is_ended),
        cmocka_unit_test(server_that_cannot_be_cleaned_is_closed),
        cmocka_unit_test(client_that_left_the_queue_is_not_served),
        cmocka_unit_test(client_goes_on_when_nothing_of_the_answer_had_reached_it),
        cmocka_unit_test(client_goes_on_after_the_end_of_a_request_that_was_half_sent),
        cmocka_unit_test(client_is_closed_when_a_part_of_the_answer_had_reached_it),
        cmocka_unit_test(client_with_an_open_transaction_hears_that_its_outcome_is_unknown),
        cmocka_unit_test(server_lost_while_settings_are_waited_for_fails_that_request_alone),
        cmocka_unit_test(idle_server_that_is_lost_is_nobodys_trouble),
        cmocka_unit_test(cancel_reaches_the_server_that_works_for_the_client),
        cmocka_unit_test(cancel_of_a_waiting_client_answers_it_and_nobody_else),
        cmocka_unit_test(cancel_with_a_wrong_key_or_for_an_idle_client_does_nothing),
        cmocka_unit_test(query_timeout_cancels_and_the_client_goes_on),
        cmocka_unit_test(query_timeout_that_the_server_ignores_costs_the_server_alone),
        cmocka_unit_test(query_timeout_of_a_pipeline_is_that_of_each_request),
        cmocka_unit_test(query_timeout_during_a_question_of_ours_harms_nothing),
        cmocka_unit_test(query_timeout_before_the_query_began_costs_the_server_alone),
        cmocka_unit_test(client_that_waits_too_long_is_told_and_goes_on),
        cmocka_unit_test(idle_transaction_timeout_ends_client_and_transaction),
        cmocka_unit_test(idle_client_is_told_before_it_is_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
