/* test_core_prepared.c - prepared statements between clients and servers, on the toy codec:
 * clients' names become the server's handles, equal texts are prepared once, and errors take back
 * what did not happen.
 *
 * Handles are "h" and the salt of the rig (0x1000) plus a running number. */
#include "base/base.h"

#include "test/unit/support/core_rig.h"
#include "test/unit/support/toy_wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define ONE_SERVER "default_pool_size = 1\n"
#define H0 "h0000000000001000"
#define H1 "h0000000000001001"
#define H2 "h0000000000001002"

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

/* c says; the server hears and says; c hears. An empty text: nothing. */
static void talk(struct pair *x, struct peer *c, const char *const line[4])
{
    peer_say(c, line[0]);
    if (line[1][0] != '\0')
        peer_hears(x->r, &x->s, line[1]);
    else
        peer_hears_nothing(x->r, &x->s);
    if (line[2][0] != '\0')
        peer_say(&x->s, line[2]);
    peer_hears(x->r, c, line[3]);
}

#define TALK(x, c, ...) talk((x), (c), (const char *const[4]){__VA_ARGS__})

/* a prepares select 1 as s. */
static void prepare_first(struct pair *x)
{
    TALK(x, &x->a, "P s select 1\nS\n", "P " H0 " select 1\nS\n", "parsed\ndone I\n",
         "parsed\ndone I\n");
}

static void equal_texts_of_two_clients_are_prepared_once(void **state)
{
    (void)state;
    struct pair x;
    set_up(&x, ONE_SERVER);
    prepare_first(&x);
    TALK(&x, &x.b, "P other select 1\nS\n", "S\n", "done I\n", "parsed\ndone I\n");
    TALK(&x, &x.b, "B other 7\nE 0\nS\n", "B " H0 " 7\nE 0\nS\n", "bound\nrow 1\nok read\ndone I\n",
         "bound\nrow 1\nok read\ndone I\n");
    TALK(&x, &x.a, "D s\nB s\nE 0\nS\n", "D " H0 "\nB " H0 "\nE 0\nS\n",
         "described\nbound\nok read\ndone I\n", "described\nbound\nok read\ndone I\n");
    tear_down(&x);
}

static void one_name_of_two_clients_means_two_statements(void **state)
{
    (void)state;
    struct pair x;
    set_up(&x, ONE_SERVER);
    prepare_first(&x);
    TALK(&x, &x.b, "P s select 2\nS\n", "P " H1 " select 2\nS\n", "parsed\ndone I\n",
         "parsed\ndone I\n");
    TALK(&x, &x.a, "B s\nS\n", "B " H0 "\nS\n", "bound\ndone I\n", "bound\ndone I\n");
    TALK(&x, &x.b, "B s\nS\n", "B " H1 "\nS\n", "bound\ndone I\n", "bound\ndone I\n");
    tear_down(&x);
}

static void statement_follows_its_client_to_another_server(void **state)
{
    (void)state;
    struct pair x;
    set_up(&x, ONE_SERVER);
    prepare_first(&x);
    peer_close(&x.s);
    rig_settle(x.r);
    peer_say(&x.a, "B s\nE 0\nS\n");
    rig_toy_server(x.r, &x.s);
    peer_hears(x.r, &x.s, "P " H1 " select 1\nB " H1 "\nE 0\nS\n");
    peer_say(&x.s, "parsed\nbound\nok read\ndone I\n");
    peer_hears(x.r, &x.a, "bound\nok read\ndone I\n"); /* it never asked for the preparing */
    tear_down(&x);
}

static void error_of_a_preparing_it_did_not_ask_for_is_the_clients_to_hear(void **state)
{
    (void)state;
    struct pair x;
    set_up(&x, ONE_SERVER);
    prepare_first(&x);
    peer_close(&x.s);
    rig_settle(x.r);
    peer_say(&x.a, "B s\nE 0\nS\n");
    rig_toy_server(x.r, &x.s);
    peer_hears(x.r, &x.s, "P " H1 " select 1\nB " H1 "\nE 0\nS\n");
    peer_say(&x.s, "err other no such table\ndone I\n");
    peer_hears(x.r, &x.a, "err other no such table\ndone I\n");
    TALK(&x, &x.a, "B s\nS\n", "P " H2 " select 1\nB " H2 "\nS\n", "parsed\nbound\ndone I\n",
         "bound\ndone I\n"); /* and it is tried again the next time */
    tear_down(&x);
}

static void statement_that_was_refused_is_not_remembered(void **state)
{
    (void)state;
    struct pair x;
    set_up(&x, ONE_SERVER);
    TALK(&x, &x.a, "P s select 1\nB s\nS\n", "P " H0 " select 1\nB " H0 "\nS\n",
         "err other x\ndone I\n", "err other x\ndone I\n");
    TALK(&x, &x.a, "B s\nS\n", "B s\nS\n", "err unknown x\ndone I\n", "err unknown x\ndone I\n");
    TALK(&x, &x.b, "P t select 1\nS\n", "P " H1 " select 1\nS\n", "parsed\ndone I\n",
         "parsed\ndone I\n");
    tear_down(&x);
}

static void what_was_confirmed_before_an_error_stays(void **state)
{
    (void)state;
    struct pair x;
    set_up(&x, ONE_SERVER);
    TALK(&x, &x.a, "P s select 1\nP t select 2\nP u select 3\nS\n",
         "P " H0 " select 1\nP " H1 " select 2\nP " H2 " select 3\nS\n",
         "parsed\nerr other x\ndone I\n", "parsed\nerr other x\ndone I\n");
    TALK(&x, &x.a, "B s\nS\n", "B " H0 "\nS\n", "bound\ndone I\n", "bound\ndone I\n");
    TALK(&x, &x.a, "B t\nS\n", "B t\nS\n", "err unknown x\ndone I\n", "err unknown x\ndone I\n");
    TALK(&x, &x.a, "B u\nS\n", "B u\nS\n", "err unknown x\ndone I\n", "err unknown x\ndone I\n");
    tear_down(&x);
}

static void closed_statement_is_gone_for_its_client_alone(void **state)
{
    (void)state;
    struct pair x;
    set_up(&x, ONE_SERVER);
    prepare_first(&x);
    TALK(&x, &x.b, "P t select 1\nS\n", "S\n", "done I\n", "parsed\ndone I\n");
    TALK(&x, &x.a, "C s\nS\n", "S\n", "done I\n", "closed\ndone I\n");
    TALK(&x, &x.a, "B s\nS\n", "B s\nS\n", "err unknown x\ndone I\n", "err unknown x\ndone I\n");
    TALK(&x, &x.b, "B t\nS\n", "B " H0 "\nS\n", "bound\ndone I\n", "bound\ndone I\n");
    TALK(&x, &x.a, "C never\nS\n", "S\n", "done I\n", "closed\ndone I\n");
    tear_down(&x);
}

static void least_recently_used_statement_makes_room(void **state)
{
    (void)state;
    struct pair x;
    set_up(&x, ONE_SERVER "max_prepared_statements = 2\n");
    prepare_first(&x);
    TALK(&x, &x.a, "P t select 2\nS\n", "P " H1 " select 2\nS\n", "parsed\ndone I\n",
         "parsed\ndone I\n");
    TALK(&x, &x.a, "B s\nS\n", "B " H0 "\nS\n", "bound\ndone I\n", "bound\ndone I\n");
    TALK(&x, &x.a, "P u select 3\nS\n", "C " H1 "\nP " H2 " select 3\nS\n",
         "closed\nparsed\ndone I\n", "parsed\ndone I\n");
    TALK(&x, &x.a, "B t\nS\n", "C " H0 "\nP h0000000000001003 select 2\nB h0000000000001003\nS\n",
         "closed\nparsed\nbound\ndone I\n", "bound\ndone I\n");
    tear_down(&x);
}

static void unnamed_statement_of_another_client_is_never_used(void **state)
{
    (void)state;
    struct pair x;
    set_up(&x, ONE_SERVER);
    TALK(&x, &x.a, "P - select 1\nS\n", "P - select 1\nS\n", "parsed\ndone I\n",
         "parsed\ndone I\n");
    TALK(&x, &x.b, "P - select 2\nS\n", "P - select 2\nS\n", "parsed\ndone I\n",
         "parsed\ndone I\n");
    TALK(&x, &x.a, "B -\nE 0\nS\n", "P - select 1\nB -\nE 0\nS\n",
         "parsed\nbound\nok read\ndone I\n", "bound\nok read\ndone I\n");
    TALK(&x, &x.a, "B -\nE 0\nS\n", "B -\nE 0\nS\n", "bound\nok read\ndone I\n",
         "bound\nok read\ndone I\n");
    tear_down(&x);
}

static void client_without_an_unnamed_statement_finds_none(void **state)
{
    (void)state;
    struct pair x;
    set_up(&x, ONE_SERVER);
    TALK(&x, &x.a, "P - select 1\nS\n", "P - select 1\nS\n", "parsed\ndone I\n",
         "parsed\ndone I\n");
    TALK(&x, &x.b, "B -\nE 0\nS\n", "C -\nB -\nE 0\nS\n", "closed\nerr unknown x\ndone I\n",
         "err unknown x\ndone I\n");
    tear_down(&x);
}

/* The acknowledgement that we make up must not wait for bytes that the server has no reason to
 * send. */
static void made_up_answers_come_at_once_and_in_order(void **state)
{
    (void)state;
    struct pair x;
    set_up(&x, ONE_SERVER);
    prepare_first(&x);
    TALK(&x, &x.b, "P t select 1\nF\n", "F\n", "", "parsed\n");
    TALK(&x, &x.b, "S\n", "S\n", "done I\n", "done I\n");
    TALK(&x, &x.b, "P u select 2\nP v select 1\nF\n", "P " H1 " select 2\nF\n", "parsed\n",
         "parsed\nparsed\n");
    TALK(&x, &x.b, "S\n", "S\n", "done I\n", "done I\n");
    TALK(&x, &x.b, "P w select 1\nP y select 3\nC w\nF\n", "P " H2 " select 3\nF\n", "parsed\n",
         "parsed\nparsed\nclosed\n");
    TALK(&x, &x.b, "S\n", "S\n", "done I\n", "done I\n");
    tear_down(&x);
}

static void made_up_answer_behind_an_error_is_skipped_like_a_real_one(void **state)
{
    (void)state;
    struct pair x;
    set_up(&x, ONE_SERVER);
    prepare_first(&x);
    TALK(&x, &x.b, "P t select 2\nP u select 1\nS\n", "P " H1 " select 2\nS\n",
         "err other x\ndone I\n", "err other x\ndone I\n");
    TALK(&x, &x.b, "B u\nS\n", "B u\nS\n", "err unknown x\ndone I\n", "err unknown x\ndone I\n");
    tear_down(&x);
}

static void name_used_twice_is_refused_by_the_server_itself(void **state)
{
    (void)state;
    struct pair x;
    set_up(&x, ONE_SERVER);
    prepare_first(&x);
    TALK(&x, &x.a, "P s select 2\nS\n", "P s \nP s select 2\nS\n", "parsed\nerr exists x\ndone I\n",
         "err exists x\ndone I\n");
    TALK(&x, &x.a, "B s\nS\n", "C s\nS\nB " H0 "\nS\n", "closed\ndone I\nbound\ndone I\n",
         "bound\ndone I\n"); /* the placeholder goes first */
    tear_down(&x);
}

static void simple_query_forgets_the_unnamed_statement(void **state)
{
    (void)state;
    struct pair x;
    set_up(&x, ONE_SERVER);
    TALK(&x, &x.a, "P - select 1\nS\n", "P - select 1\nS\n", "parsed\ndone I\n",
         "parsed\ndone I\n");
    TALK(&x, &x.a, "Q select 9\n", "Q select 9\n", "done I\n", "done I\n");
    TALK(&x, &x.a, "B -\nS\n", "B -\nS\n", "err unknown x\ndone I\n", "err unknown x\ndone I\n");
    tear_down(&x);
}

static void settings_that_decide_analysis_are_part_of_the_identity(void **state)
{
    (void)state;
    struct pair x;
    struct peer c;
    set_up(&x, ONE_SERVER);
    prepare_first(&x);
    rig_toy_client_with(x.r, &c, &x.s, "search_path=p");
    peer_say(&c, "P s select 1\nS\n");
    peer_hears(x.r, &x.s, "P " H1 " select 1\nS\n");
    peer_say(&x.s, "parsed\ndone I\n");
    peer_hears(x.r, &c, "parsed\ndone I\n");
    peer_close(&c);
    tear_down(&x);
}

static void session_mode_maps_nothing_and_cleans_afterwards(void **state)
{
    (void)state;
    struct pair x;
    set_up(&x, ONE_SERVER "pool_mode = session\n");
    TALK(&x, &x.a, "P s select 1\nS\n", "P s select 1\nS\n", "parsed\ndone I\n",
         "parsed\ndone I\n");
    TALK(&x, &x.a, "B s\nS\n", "B s\nS\n", "bound\ndone I\n", "bound\ndone I\n");
    peer_say(&x.b, "Q select 2\n");
    peer_hears_nothing(x.r, &x.s);
    peer_close(&x.a);
    peer_hears(x.r, &x.s, "clean full\n");
    peer_say(&x.s, "done I\n");
    peer_hears(x.r, &x.s, "Q select 2\n");
    tear_down(&x);
}

/* What an earlier request of the same write was to prepare may have been skipped. */
static void unnamed_statement_that_was_skipped_is_not_taken_for_prepared(void **state)
{
    (void)state;
    struct pair x;
    set_up(&x, ONE_SERVER);
    TALK(&x, &x.b, "P - select 'b'\nS\n", "P - select 'b'\nS\n", "parsed\ndone I\n",
         "parsed\ndone I\n");
    TALK(&x, &x.a, "B nope\nP - select 'a'\nS\nB -\nE 0\nS\n",
         "B nope\nP - select 'a'\nS\nP - select 'a'\nB -\nE 0\nS\n",
         "err unknown x\ndone I\nparsed\nbound\nrow a\nok read\ndone I\n",
         "err unknown x\ndone I\nbound\nrow a\nok read\ndone I\n");
    tear_down(&x);
}

static void name_that_a_text_prepared_is_not_met_by_the_next_client(void **state)
{
    (void)state;
    struct pair x;
    set_up(&x, ONE_SERVER);
    TALK(&x, &x.a, "Q prepare pp as select 'a'\n", "Q prepare pp as select 'a'\n",
         "ok prepare\ndone I\n", "ok prepare\ndone I\n");
    TALK(&x, &x.b, "P - select 1\nB -\nE 0\nS\nB pp\nE 0\nS\n",
         "C pp\nS\nP - select 1\nB -\nE 0\nS\n", "closed\ndone I\nparsed\nbound\nok read\ndone I\n",
         "parsed\nbound\nok read\ndone I\n");
    peer_hears(x.r, &x.s, "B pp\nE 0\nS\n");
    peer_say(&x.s, "err unknown x\ndone I\n");
    peer_hears(x.r, &x.b, "err unknown x\ndone I\n");
    TALK(&x, &x.a, "Q execute pp\n", "Q prepare pp as select 'a'\nQ execute pp\n",
         "ok prepare\ndone I\nrow a\ndone I\n", "row a\ndone I\n");
    tear_down(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_texts_of_two_clients_are_prepared_once),
        cmocka_unit_test(one_name_of_two_clients_means_two_statements),
        cmocka_unit_test(statement_follows_its_client_to_another_server),
        cmocka_unit_test(error_of_a_preparing_it_did_not_ask_for_is_the_clients_to_hear),
        cmocka_unit_test(statement_that_was_refused_is_not_remembered),
        cmocka_unit_test(what_was_confirmed_before_an_error_stays),
        cmocka_unit_test(closed_statement_is_gone_for_its_client_alone),
        cmocka_unit_test(least_recently_used_statement_makes_room),
        cmocka_unit_test(unnamed_statement_of_another_client_is_never_used),
        cmocka_unit_test(client_without_an_unnamed_statement_finds_none),
        cmocka_unit_test(made_up_answers_come_at_once_and_in_order),
        cmocka_unit_test(made_up_answer_behind_an_error_is_skipped_like_a_real_one),
        cmocka_unit_test(name_used_twice_is_refused_by_the_server_itself),
        cmocka_unit_test(simple_query_forgets_the_unnamed_statement),
        cmocka_unit_test(settings_that_decide_analysis_are_part_of_the_identity),
        cmocka_unit_test(session_mode_maps_nothing_and_cleans_afterwards),
        cmocka_unit_test(unnamed_statement_that_was_skipped_is_not_taken_for_prepared),
        cmocka_unit_test(name_that_a_text_prepared_is_not_met_by_the_next_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
