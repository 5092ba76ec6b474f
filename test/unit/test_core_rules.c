/* test_core_rules.c - rules that keep clients apart and that only show in rare orders of events, on
 * the toy codec; test/mutants proves that each is noticed when broken. */
#include "base/base.h"

#include "test/unit/support/core_rig.h"
#include "test/unit/support/toy_wire.h"

#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define ONE_SERVER "default_pool_size = 1\n"
#define H0 "h0000000000001000"
#define H1 "h0000000000001001"
#define STATE_ALL "state all locks temp cursors prepared listen\n"

struct pair { /* two clients over one server */
    struct rig *r;
    struct peer a, b, s;
};

static void set_up(struct pair *x, const char *options)
{
    x->r = rig_new(&toy_wire, 1, options, NULL);
    rig_toy_client(x->r, 0, &x->a, &x->s);
    rig_toy_client(x->r, 0, &x->b, NULL);
}

static void tear_down(struct pair *x)
{
    peer_close(&x->a);
    peer_close(&x->b);
    peer_close(&x->s);
    rig_free(&x->r);
}

/* c says; the server hears and says; c hears. */
static void talk(struct pair *x, struct peer *c, const char *const line[4])
{
    peer_say(c, line[0]);
    peer_hears(x->r, &x->s, line[1]);
    peer_say(&x->s, line[2]);
    peer_hears(x->r, c, line[3]);
}

#define TALK(x, c, ...) talk((x), (c), (const char *const[4]){__VA_ARGS__})

static struct server *first_server(struct rig *r)
{
    struct list *l = list_first(&rig_worker(r)->servers);
    assert_non_null(l);
    return container_of(l, struct server, all);
}

static void accept_cancel(struct rig *r, struct peer *x)
{
    rig_accept(r, x);
    peer_hears(r, x, "cancel key\n");
}

/* Logs in and keeps the line that cancels. */
static void client_with_key(struct rig *r, struct peer *c, char *cancel, size_t cap)
{
    char line[128];
    rig_client(r, 0, c);
    peer_say(c, "hello u d\n");
    peer_hears_until(r, c, "hi ", line, sizeof(line));
    peer_hears(r, c, "done I\n");
    snprintf(cancel, cap, "cancel %s\n", line + 3);
}

static void say_cancel(struct rig *r, const char *request)
{
    struct peer x;
    rig_client(r, 0, &x);
    peer_say(&x, request);
    peer_hears_end(r, &x);
}

/* ---- cancel requests that may still strike --------------------------------------------------- */

static void next_statement_of_a_transaction_waits_for_the_cancel_before_it(void **state)
{
    (void)state;
    struct pair x;
    struct peer c, k;
    char cancel[160];
    set_up(&x, ONE_SERVER);
    client_with_key(x.r, &c, cancel, sizeof(cancel));
    TALK(&x, &c, "Q begin\n", "Q begin\n", "done T\n", "done T\n");
    peer_say(&c, "Q select 1\n");
    peer_hears(x.r, &x.s, "Q select 1\n");
    say_cancel(x.r, cancel);
    accept_cancel(x.r, &k);
    peer_say(&x.s, "row 1\ndone T\n"); /* it was too late */
    peer_hears(x.r, &c, "row 1\ndone T\n");
    peer_say(&c, "Q select 2\n");
    peer_hears_nothing(x.r, &x.s);
    peer_close(&k);
    peer_hears(x.r, &x.s, "Q select 2\n");
    peer_say(&x.s, "done T\n");
    peer_hears(x.r, &c, "done T\n");
    peer_close(&c);
    tear_down(&x);
}

static void request_sent_in_advance_waits_for_the_cancel_of_the_one_before(void **state)
{
    (void)state;
    struct pair x;
    struct peer c, k;
    char cancel[160];
    set_up(&x, ONE_SERVER);
    client_with_key(x.r, &c, cancel, sizeof(cancel));
    peer_say(&c, "Q select 1\n");
    peer_hears(x.r, &x.s, "Q select 1\n");
    say_cancel(x.r, cancel);
    accept_cancel(x.r, &k);
    peer_say(&c, "Q select 2\n");
    peer_hears_nothing(x.r, &x.s);
    peer_say(&x.s, "err cancelled x\ndone I\n");
    peer_hears(x.r, &c, "err cancelled x\ndone I\n");
    peer_hears_nothing(x.r, &x.s);
    peer_close(&k);
    peer_hears(x.r, &x.s, "Q select 2\n");
    peer_say(&x.s, "done I\n");
    peer_hears(x.r, &c, "done I\n");
    peer_close(&c);
    tear_down(&x);
}

static void server_without_a_key_is_closed_when_its_client_leaves_it_running(void **state)
{
    (void)state;
    struct pair x;
    set_up(&x, ONE_SERVER);
    first_server(x.r)->key.n = 0;
    peer_say(&x.a, "Q select 1\n");
    peer_hears(x.r, &x.s, "Q select 1\n");
    peer_close(&x.a);
    rig_settle(x.r);
    peer_say(&x.s, "row 1\ndone I\n");
    peer_hears_end(x.r, &x.s);
    tear_down(&x);
}

/* ---- what unknown code left ------------------------------------------------------------------ */

static void
settings_of_unknown_code_are_reset_before_a_stranger_and_not_before_its_client(void **state)
{
    (void)state;
    struct pair x;
    set_up(&x, ONE_SERVER);
    TALK(&x, &x.a, "Q select who_knows()\n", "Q select who_knows()\n", "done I\n", "done I\n");
    peer_hears(x.r, &x.s, STATE_ALL);
    peer_say(&x.s, "done I\n");
    rig_toy_ask(x.r, &x.a, &x.s); /* its own */
    TALK(&x, &x.b, "Q select 2\n", "clean settings\nQ select 2\n", "done I\ndone I\n", "done I\n");
    rig_toy_ask(x.r, &x.b, &x.s); /* once is enough */
    rig_toy_ask(x.r, &x.a, &x.s);
    tear_down(&x);
}

/* Without a catalog a call may be of anybody's function, so state is asked for as well. */
static void sequence_values_of_another_client_are_never_seen(void **state)
{
    (void)state;
    struct pair x;
    set_up(&x, ONE_SERVER);
    for (int i = 0; i < 2; i++) {
        TALK(&x, &x.a, "Q select nextval('s')\n", "Q select nextval('s')\n", "row 7\ndone I\n",
             "row 7\ndone I\n");
        peer_hears(x.r, &x.s, STATE_ALL);
        peer_say(&x.s, "done I\n");
    }
    TALK(&x, &x.b, "Q select 1\n", "clean settings\nQ select 1\n", "done I\ndone I\n",
         "done I\n"); /* cannot see any */
    TALK(&x, &x.b, "Q select lastval()\n", "clean sequences\nQ select lastval()\n",
         "done I\nerr other x\ndone I\n", "err other x\ndone I\n");
    tear_down(&x);
}

/* The database says that it did what the text did not announce. */
static void state_is_asked_for_after_an_unannounced_change(void **state)
{
    (void)state;
    static const struct {
        const char *answer, *asked;
    } cases[] = {
        {"ok set\ndone I\n", "state all\n"},
        {"ok reset\ndone I\n", "state all\n"},
        {"ok listen\ndone I\n", "state listen\n"},
        {"ok prepare\ndone I\n", "state prepared\n"},
        {"ok deallocate\ndone I\n", "state prepared\n"},
        {"ok code\ndone I\n", STATE_ALL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct pair x;
        set_up(&x, ONE_SERVER);
        TALK(&x, &x.a, "Q select 1\n", "Q select 1\n", cases[i].answer, cases[i].answer);
        peer_hears(x.r, &x.s, cases[i].asked);
        peer_say(&x.s, "done I\n");
        rig_settle(x.r);
        tear_down(&x);
    }
}

/* ---- statements: what did not happen is taken back ------------------------------------------- */

/* Whatever the reset query of sessions is: it may leave the statement where it is. */
static void statement_that_could_not_be_closed_under_its_name_is_cleaned_away(void **state)
{
    (void)state;
    static const char *const options[] = {ONE_SERVER, ONE_SERVER "server_reset_query =\n",
                                          ONE_SERVER "server_reset_query = something\n"};
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        struct pair x;
        set_up(&x, options[i]);
        TALK(&x, &x.a, "Q prepare pp as select 1\n", "Q prepare pp as select 1\n",
             "ok prepare\ndone I\n", "ok prepare\ndone I\n");
        TALK(&x, &x.a, "B nope\nC pp\nS\n", "B nope\nC pp\nS\n", "err unknown x\ndone I\n",
             "err unknown x\ndone I\n");
        peer_hears(x.r, &x.s, "clean full\n");
        peer_say(&x.s, "done I\n");
        rig_toy_ask(x.r, &x.b, &x.s);
        tear_down(&x);
    }
}

/* Evicted, but the request in which that was to happen failed before: the server still has them. */
static void server_with_too_many_forgotten_statements_is_replaced(void **state)
{
    (void)state;
    struct pair x;
    char says[64], hears[128];
    set_up(&x, ONE_SERVER "max_prepared_statements = 1\n");
    int tries = 0, n = 0;
    for (; tries < 40 && rig_pool(x.r, 0)->nidle == 1; tries++, n += 2) {
        snprintf(says, sizeof(says), "P s%d select %d\nS\n", n, n);
        snprintf(hears, sizeof(hears), "P h%016x select %d\nS\n", 0x1000 + n, n);
        TALK(&x, &x.a, says, hears, "parsed\ndone I\n", "parsed\ndone I\n");
        snprintf(says, sizeof(says), "B nope\nP s%d select %d\nS\n", n + 1, n + 1);
        snprintf(hears, sizeof(hears), "B nope\nC h%016x\nP h%016x select %d\nS\n", 0x1000 + n,
                 0x1000 + n + 1, n + 1);
        TALK(&x, &x.a, says, hears, "err unknown x\ndone I\n", "err unknown x\ndone I\n");
    }
    assert_in_range(tries, 2, 30);
    peer_hears(x.r, &x.s, "bye\n");
    peer_hears_end(x.r, &x.s);
    tear_down(&x);
}

static void unnamed_statement_that_was_refused_is_not_met_by_another_client(void **state)
{
    (void)state;
    struct pair x;
    set_up(&x, ONE_SERVER);
    TALK(&x, &x.b, "P - select 1\nS\n", "P - select 1\nS\n", "parsed\ndone I\n",
         "parsed\ndone I\n");
    TALK(&x, &x.a, "P - select 2\nS\n", "P - select 2\nS\n", "parsed\ndone I\n",
         "parsed\ndone I\n");
    TALK(&x, &x.a, "P - select 1\nS\n", "P - select 1\nS\n", "err cancelled x\ndone I\n",
         "err cancelled x\ndone I\n");
    TALK(&x, &x.b, "B -\nS\n", "P - select 1\nB -\nS\n", "parsed\nbound\ndone I\n",
         "bound\ndone I\n");
    tear_down(&x);
}

/* A text of our own replaces the unnamed statement. */
static void unnamed_statement_is_prepared_anew_after_a_text_of_our_own(void **state)
{
    (void)state;
    struct pair x;
    struct peer c;
    set_up(&x, ONE_SERVER);
    rig_toy_client_with(x.r, &c, &x.s, "zone=x");
    TALK(&x, &x.a, "P - select 1\nS\n", "set zone;\nP - select 1\nS\n",
         "var zone utc\ndone I\nparsed\ndone I\n", "parsed\ndone I\n");
    TALK(&x, &c, "P s select 2\nS\n", "set zone=x;\nP " H0 " select 2\nS\n",
         "var zone x\ndone I\nparsed\ndone I\n", "parsed\ndone I\n");
    TALK(&x, &x.a, "B -\nS\n", "set zone;\nP - select 1\nB -\nS\n",
         "var zone utc\ndone I\nparsed\nbound\ndone I\n", "bound\ndone I\n");
    peer_close(&c);
    tear_down(&x);
}

static void name_that_was_lost_with_its_server_means_nothing(void **state)
{
    (void)state;
    struct pair x;
    set_up(&x, ONE_SERVER);
    peer_say(&x.a, "P s select 1\nS\n");
    peer_hears(x.r, &x.s, "P " H0 " select 1\nS\n");
    peer_close(&x.s);
    peer_hears(x.r, &x.a, "err server_lost -\ndone I\n");
    peer_say(&x.a, "B s\nS\n");
    rig_toy_server(x.r, &x.s);
    peer_hears(x.r, &x.s, "B s\nS\n");
    tear_down(&x);
}

static void statement_is_prepared_anew_after_definitions_changed(void **state)
{
    (void)state;
    struct pair x;
    set_up(&x, ONE_SERVER);
    TALK(&x, &x.a, "P s select 1\nS\n", "P " H0 " select 1\nS\n", "parsed\ndone I\n",
         "parsed\ndone I\n");
    TALK(&x, &x.b, "Q alter table t add c int\n", "Q alter table t add c int\n", "ok ddl\ndone I\n",
         "ok ddl\ndone I\n");
    peer_hears(x.r, &x.s, STATE_ALL); /* a trigger may have run */
    peer_say(&x.s, "done I\n");
    TALK(&x, &x.a, "B s\nS\n", "clean settings\nC " H0 "\nP " H1 " select 1\nB " H1 "\nS\n",
         "done I\nclosed\nparsed\nbound\ndone I\n", "bound\ndone I\n");
    tear_down(&x);
}

static void server_with_names_of_its_clients_is_cleaned_before_it_moves(void **state)
{
    (void)state;
    struct rig *r = rig_new(&toy_wire, 2, ONE_SERVER, NULL);
    struct peer a, b, s;
    rig_toy_client(r, 0, &a, &s);
    rig_toy_client(r, 1, &b, NULL);
    peer_say(&a, "Q prepare pp as select 1\n");
    peer_hears(r, &s, "Q prepare pp as select 1\n");
    peer_say(&s, "ok prepare\ndone I\n");
    peer_hears(r, &a, "ok prepare\ndone I\n");
    peer_say(&b, "Q select 2\n");
    peer_hears(r, &s, "clean full\n");
    peer_say(&s, "done I\n");
    peer_hears(r, &s, "Q select 2\n");
    peer_close(&a);
    peer_close(&b);
    peer_close(&s);
    rig_free(&r);
}

/* ---- servers that are lost or speak out of turn ---------------------------------------------- */

/* What it had set may be gone with the server, and nobody knows. */
static void client_whose_state_was_being_asked_for_ends_with_its_server(void **state)
{
    (void)state;
    struct pair x;
    set_up(&x, ONE_SERVER);
    TALK(&x, &x.a, "Q set zone to 'x'\n", "Q set zone to 'x'\n", "ok set\ndone I\n",
         "ok set\ndone I\n");
    peer_hears(x.r, &x.s, "state vars:zone\n");
    peer_close(&x.s);
    peer_hears(x.r, &x.a, "bye server_lost -\n");
    peer_hears_end(x.r, &x.a);
    tear_down(&x);
}

static void client_with_a_pin_ends_with_its_server(void **state)
{
    (void)state;
    struct pair x;
    set_up(&x, ONE_SERVER);
    TALK(&x, &x.a, "Q select who_knows()\n", "Q select who_knows()\n", "done I\n", "done I\n");
    peer_hears(x.r, &x.s, STATE_ALL);
    peer_say(&x.s, "row temp|yes\ndone I\n");
    rig_settle(x.r);
    peer_say(&x.a, "Q select 1\n");
    peer_hears(x.r, &x.s, "Q select 1\n");
    peer_close(&x.s);
    peer_hears(x.r, &x.a, "bye server_lost -\n");
    peer_hears_end(x.r, &x.a);
    tear_down(&x);
}

/* Its transaction is rolled back for nobody: that may not take for ever. */
static void rollback_that_takes_too_long_costs_the_server(void **state)
{
    (void)state;
    struct pair x;
    set_up(&x, ONE_SERVER);
    TALK(&x, &x.a, "Q begin\n", "Q begin\n", "ok tx\ndone T\n", "ok tx\ndone T\n");
    peer_close(&x.a);
    peer_hears(x.r, &x.s, "clean tx\n");
    rig_wait(x.r, 4 * (usec_t)USEC_PER_SEC);
    peer_hears_nothing(x.r, &x.s);
    rig_wait(x.r, 2 * (usec_t)USEC_PER_SEC);
    peer_hears_end(x.r, &x.s);
    peer_say(&x.b, "Q select 1\n");
    rig_toy_server(x.r, &x.s);
    peer_hears(x.r, &x.s, "Q select 1\n");
    tear_down(&x);
}

static void notice_before_the_answer_does_not_count_as_a_part_of_it(void **state)
{
    (void)state;
    struct pair x;
    set_up(&x, ONE_SERVER);
    peer_say(&x.a, "Q select 1\n");
    peer_hears(x.r, &x.s, "Q select 1\n");
    peer_say(&x.s, "note going down soon\n");
    peer_hears(x.r, &x.a, "note going down soon\n");
    peer_close(&x.s);
    peer_hears(x.r, &x.a, "err server_lost -\ndone I\n");
    tear_down(&x);
}

/* Both are read in the same turn of the loop, in either order: an answer that was there before the
 * request was written belongs to nobody. */
static void answer_that_came_before_the_request_is_never_handed_out(void **state)
{
    (void)state;
    int refused = 0;
    for (int order = 0; order < 2; order++) {
        struct pair x;
        set_up(&x, ONE_SERVER);
        if (order == 0)
            peer_say(&x.s, "row stray\nok read\ndone I\n");
        peer_say(&x.a, "Q select 1\n");
        if (order == 1)
            peer_say(&x.s, "row stray\nok read\ndone I\n");
        rig_settle(x.r);
        peer_hears_end(x.r, &x.s);
        if (rig_pool(x.r, 0)->nwaiters == 0) { /* the request came first */
            refused++;
            peer_hears(x.r, &x.a, "err server_lost -\ndone I\n");
            peer_say(&x.a, "Q select 1\n");
        }
        rig_toy_server(x.r, &x.s);
        peer_hears(x.r, &x.s, "Q select 1\n");
        peer_say(&x.s, "row right\nok read\ndone I\n");
        peer_hears(x.r, &x.a, "row right\nok read\ndone I\n");
        tear_down(&x);
    }
    assert_int_equal(refused, 1);
}

/* Likewise a server that has closed while it was idle costs nobody an error. */
static void server_that_closed_while_idle_is_noticed_before_it_is_lent(void **state)
{
    (void)state;
    for (int order = 0; order < 2; order++) {
        struct pair x;
        set_up(&x, ONE_SERVER);
        rig_wait(x.r, 300000);
        if (order == 0)
            peer_close(&x.s);
        peer_say(&x.a, "Q select 1\n");
        if (order == 1)
            peer_close(&x.s);
        rig_toy_server(x.r, &x.s);
        peer_hears(x.r, &x.s, "Q select 1\n");
        tear_down(&x);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(next_statement_of_a_transaction_waits_for_the_cancel_before_it),
        cmocka_unit_test(request_sent_in_advance_waits_for_the_cancel_of_the_one_before),
        cmocka_unit_test(server_without_a_key_is_closed_when_its_client_leaves_it_running),
        cmocka_unit_test(
            settings_of_unknown_code_are_reset_before_a_stranger_and_not_before_its_client),
        cmocka_unit_test(sequence_values_of_another_client_are_never_seen),
        cmocka_unit_test(state_is_asked_for_after_an_unannounced_change),
        cmocka_unit_test(statement_that_could_not_be_closed_under_its_name_is_cleaned_away),
        cmocka_unit_test(server_with_too_many_forgotten_statements_is_replaced),
        cmocka_unit_test(unnamed_statement_that_was_refused_is_not_met_by_another_client),
        cmocka_unit_test(unnamed_statement_is_prepared_anew_after_a_text_of_our_own),
        cmocka_unit_test(name_that_was_lost_with_its_server_means_nothing),
        cmocka_unit_test(statement_is_prepared_anew_after_definitions_changed),
        cmocka_unit_test(server_with_names_of_its_clients_is_cleaned_before_it_moves),
        cmocka_unit_test(client_whose_state_was_being_asked_for_ends_with_its_server),
        cmocka_unit_test(client_with_a_pin_ends_with_its_server),
        cmocka_unit_test(rollback_that_takes_too_long_costs_the_server),
        cmocka_unit_test(notice_before_the_answer_does_not_count_as_a_part_of_it),
        cmocka_unit_test(answer_that_came_before_the_request_is_never_handed_out),
        cmocka_unit_test(server_that_closed_while_idle_is_noticed_before_it_is_lent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
