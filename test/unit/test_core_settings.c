/* test_core_settings.c - what the proxy has on record of settings never differs from what the
 * database has, on the toy codec: questions that fail, strangers, resets, time limits. */
#include "base/base.h"

#include "test/unit/support/core_rig.h"
#include "test/unit/support/toy_wire.h"

#include <stdio.h>
#include <sys/socket.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define ONE_SERVER "default_pool_size = 1\n"

static struct rig *rig(void)
{
    return rig_new(&toy_wire, 1, ONE_SERVER, NULL);
}

static void leave(struct rig *r, struct peer *a, struct peer *b)
{
    if (a != NULL)
        peer_close(a);
    if (b != NULL)
        peer_close(b);
    rig_free(&r);
}

/* c says text, of which nothing but tag is known to come back. */
static void run(struct rig *r, struct peer *c, struct peer *s, const char *text, const char *answer)
{
    peer_say(c, text);
    peer_hears(r, s, text);
    peer_say(s, answer);
    peer_hears(r, c, answer);
}

/* ---- questions that fail --------------------------------------------------------------------- */

/* The client believes in its setting: it must not go on without it. */
static void client_whose_settings_are_not_known_does_not_go_on(void **state)
{
    (void)state;
    static const char *const answers[] = {"err other x\ndone I\n", "row what|is|this|?\ndone I\n",
                                          "row var|zone|x\n", "bye other x\n"};
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        struct rig *r = rig();
        struct peer c, s;
        rig_toy_client(r, 0, &c, &s);
        run(r, &c, &s, "Q select who_knows()\n", "done I\n");
        peer_hears(r, &s, "state all locks temp cursors prepared listen\n");
        peer_say(&s, answers[i]);
        if (i == 2)
            peer_close(&s);
        peer_hears_until(r, &c, "bye ", NULL, 0);
        peer_hears_end(r, &c);
        if (i < 2)
            peer_hears_end(r, &s);
        leave(r, NULL, NULL);
    }
}

/* Not everything that can be named may be asked for by name. */
static void question_by_name_that_is_refused_is_asked_in_full(void **state)
{
    (void)state;
    struct rig *r = rig();
    struct peer c, s;
    rig_toy_client(r, 0, &c, &s);
    run(r, &c, &s, "Q set zone to 'x'\n", "ok set\ndone I\n");
    peer_hears(r, &s, "state vars:zone\n");
    peer_say(&s, "err other nobody may see that\ndone I\n");
    peer_hears(r, &s, "state all\n");
    peer_say(&s, "row var|zone|y\ndone I\n");
    rig_toy_ask(r, &c, &s);
    leave(r, &c, &s);
}

/* Its value would be taken for a wish, which the next client may have no right to reset. */
static void setting_that_was_refused_is_not_asked_for_by_name(void **state)
{
    (void)state;
    struct rig *r = rig();
    struct peer a, b, s;
    rig_toy_client(r, 0, &a, &s);
    rig_toy_client(r, 0, &b, NULL);
    run(r, &a, &s, "Q set zone to 'x'\n", "err other refused\ndone I\n");
    peer_hears(r, &s, "state all\n");
    peer_say(&s, "done I\n");
    peer_say(&b, "Q select 1\n");
    peer_hears(r, &s, "clean settings\nQ select 1\n");
    peer_say(&s, "done I\nrow 1\ndone I\n");
    peer_hears(r, &b, "row 1\ndone I\n");
    peer_close(&a);
    leave(r, &b, &s);
}

static void question_that_is_cut_off_is_repeated(void **state)
{
    (void)state;
    struct rig *r = rig();
    struct peer c, s;
    rig_toy_client(r, 0, &c, &s);
    run(r, &c, &s, "Q set pace to '1'\n", "ok set\ndone I\n");
    peer_hears(r, &s, "state vars:pace\n");
    for (int i = 0; i < 5; i++) {
        peer_say(&s, "err cancelled x\ndone I\n");
        peer_hears(r, &s, "state all\n");
    }
    peer_say(&s, "row var|pace|1\ndone I\n");
    rig_toy_ask(r, &c, &s);
    leave(r, &c, &s);
}

/* ---- strangers ------------------------------------------------------------------------------- */

/* a ran unknown code and has the setting zone=x. */
static void taint(struct rig *r, struct peer *a, struct peer *s)
{
    rig_toy_client(r, 0, a, s);
    run(r, a, s, "Q select who_knows()\n", "var zone x\ndone I\n");
    peer_hears(r, s, "state all locks temp cursors prepared listen\n");
    peer_say(s, "row var|zone|x\ndone I\n");
    rig_settle(r);
}

static void settings_are_tried_as_a_whole_after_a_stranger(void **state)
{
    (void)state;
    struct rig *r = rig();
    struct peer a, b, s;
    taint(r, &a, &s);
    rig_client(r, 0, &b);
    peer_say(&b, "hello u d zone=x mode=1\n");
    peer_hears(r, &s, "clean settings\nset mode=1;zone=x;\n");
    peer_say(&s, "var zone utc\ndone I\nvar zone x\ndone I\n");
    peer_hears_until(r, &b, "done I", NULL, 0);
    rig_toy_ask(r, &b, &s);
    peer_close(&a);
    leave(r, &b, &s);
}

/* What a stranger left is never told to a client. */
static void client_is_told_the_settings_that_its_request_runs_under(void **state)
{
    (void)state;
    struct rig *r = rig();
    struct peer a, b, s;
    taint(r, &a, &s);
    rig_toy_client(r, 0, &b, NULL);
    peer_say(&b, "Q select 1\n");
    peer_hears(r, &s, "clean settings\nQ select 1\n");
    peer_say(&s, "var zone utc\ndone I\nrow 1\ndone I\n");
    peer_hears(r, &b, "row 1\ndone I\n");
    peer_close(&a);
    leave(r, &b, &s);
}

/* ---- resets ---------------------------------------------------------------------------------- */

/* A session that was discarded says nothing about what the next client does. */
static void reset_of_one_client_is_not_anothers(void **state)
{
    (void)state;
    struct rig *r = rig();
    struct peer a, b, s;
    rig_toy_client(r, 0, &a, &s);
    rig_toy_client_with(r, &b, &s, "zone=x");
    peer_say(&a, "Q discard all\n");
    peer_hears_until(r, &s, "Q discard all", NULL, 0);
    peer_say(&s, "var zone utc\ndone I\nok discard\ndone I\n");
    peer_hears_until(r, &a, "done I", NULL, 0);
    peer_say(&b, "Q select who_knows()\n");
    peer_hears_until(r, &s, "Q select who_knows()", NULL, 0);
    peer_say(&s, "var zone x\ndone I\nvar zone utc\ndone I\n");
    peer_hears_until(r, &b, "done I", NULL, 0);
    peer_hears(r, &s, "state all locks temp cursors prepared listen\n");
    /* that it is the database's default now is what b wanted */
    peer_say(&s, "row var|zone|utc|set\ndone I\n");
    rig_toy_ask(r, &b, &s);
    peer_close(&a);
    leave(r, &b, &s);
}

/* ---- time limits ----------------------------------------------------------------------------- */

/* A request that is glued to settings would run under others when those are cut off; so nothing is
 * glued before the limit is out of the way, and its timer may still strike once after that. */
static void short_time_limit_is_put_away_before_anything_else(void **state)
{
    (void)state;
    static const char *const answers[] = {"done I\ndone I\n",
                                          "done I\nerr cancelled late\ndone I\n"};
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        struct rig *r = rig();
        struct peer a, b, s;
        rig_toy_client(r, 0, &b, &s);
        rig_toy_client_with(r, &a, &s, "pace=1");
        peer_say(&b, "Q select 1\n");
        peer_hears(r, &s, "set pace;\nset pace;\n");
        peer_say(&s, answers[i]);
        peer_hears(r, &s, "Q select 1\n");
        peer_say(&s, "row 1\ndone I\n");
        peer_hears(r, &b, "row 1\ndone I\n");
        peer_say(&a, "Q select 2\n");
        peer_hears(r, &s, "set pace=1;\nQ select 2\n");
        peer_say(&s, "done I\nrow 2\ndone I\n");
        peer_hears(r, &a, "row 2\ndone I\n");
        rig_toy_ask(r, &a, &s); /* under its own limit nothing needs to be put away */
        peer_close(&b);
        leave(r, &a, &s);
    }
}

/* Also one that was only put away at the second try: its timer could still strike. */
static const char *const not_lifted[] = {
    "err other x\ndone I\ndone I\n", "err cancelled x\ndone I\nerr cancelled x\ndone I\n",
    "err cancelled x\ndone I\ndone I\n", "done I\nerr other x\ndone I\n"};

static void limit_that_cannot_be_put_away_costs_the_server_alone(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(not_lifted); i++) {
        struct rig *r = rig();
        struct peer a, b, s;
        rig_toy_client(r, 0, &b, &s);
        rig_toy_client_with(r, &a, &s, "pace=1");
        peer_say(&b, "Q select 1\n");
        peer_hears(r, &s, "set pace;\nset pace;\n");
        peer_say(&s, not_lifted[i]);
        peer_hears_end(r, &s);
        rig_toy_server(r, &s);
        peer_hears(r, &s, "Q select 1\n");
        peer_say(&s, "row 1\ndone I\n");
        peer_hears(r, &b, "row 1\ndone I\n");
        peer_close(&a);
        leave(r, &b, &s);
    }
}

static void settings_are_not_tried_under_a_strangers_time_limit(void **state)
{
    (void)state;
    for (size_t i = 0; i <= ARRAY_LEN(not_lifted); i++) {
        struct rig *r = rig();
        struct peer a, b, s;
        rig_toy_client(r, 0, &b, &s);
        rig_toy_client_with(r, &a, &s, "pace=1");
        peer_close(&b);
        rig_client(r, 0, &b);
        peer_say(&b, "hello u d mode=1\n");
        peer_hears(r, &s, "set pace;\nset pace;\n");
        if (i < ARRAY_LEN(not_lifted)) {
            peer_say(&s, not_lifted[i]);
            peer_hears_end(r, &s);
            rig_toy_server(r, &s);
        } else {
            peer_say(&s, "done I\ndone I\n");
        }
        peer_hears(r, &s, "set mode=1;\n");
        peer_say(&s, "done I\n");
        peer_hears_until(r, &b, "done I", NULL, 0);
        peer_close(&a);
        leave(r, &b, &s);
    }
}

static void server_lost_while_a_limit_is_put_away_is_told(void **state)
{
    (void)state;
    struct rig *r = rig();
    struct peer a, b, s;
    rig_toy_client(r, 0, &b, &s);
    rig_toy_client_with(r, &a, &s, "pace=1");
    peer_close(&b);
    rig_client(r, 0, &b);
    peer_say(&b, "hello u d mode=1\n");
    peer_hears(r, &s, "set pace;\nset pace;\n");
    peer_close(&s);
    peer_hears_until(r, &b, "done I", NULL, 0); /* nobody could be asked: with its first request */
    peer_close(&a);
    leave(r, &b, NULL);
}

/* ---- cleaning -------------------------------------------------------------------------------- */

/* The configured query is for sessions; what has to go before a server moves has to go. */
static void server_with_names_is_cleaned_before_it_moves(void **state)
{
    (void)state;
    static const char *const queries[] = {"", "server_reset_query =\n",
                                          "server_reset_query = something\n"};
    for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
        char options[128];
        struct peer a, b, s;
        snprintf(options, sizeof(options), ONE_SERVER "%s", queries[i]);
        struct rig *r = rig_new(&toy_wire, 2, options, NULL);
        rig_toy_client(r, 0, &a, &s);
        rig_toy_client(r, 1, &b, NULL);
        run(r, &a, &s, "Q prepare x as select 1\n", "ok prepare\ndone I\n");
        peer_say(&b, "Q select 1\n");
        peer_hears(r, &s, "clean full\n");
        peer_say(&s, "ok discard\ndone I\n");
        peer_hears(r, &s, "Q select 1\n");
        peer_say(&s, "row 1\ndone I\n");
        peer_hears(r, &b, "row 1\ndone I\n");
        peer_close(&b);
        leave(r, &a, &s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(client_whose_settings_are_not_known_does_not_go_on),
        cmocka_unit_test(question_by_name_that_is_refused_is_asked_in_full),
        cmocka_unit_test(setting_that_was_refused_is_not_asked_for_by_name),
        cmocka_unit_test(question_that_is_cut_off_is_repeated),
        cmocka_unit_test(settings_are_tried_as_a_whole_after_a_stranger),
        cmocka_unit_test(client_is_told_the_settings_that_its_request_runs_under),
        cmocka_unit_test(reset_of_one_client_is_not_anothers),
        cmocka_unit_test(short_time_limit_is_put_away_before_anything_else),
        cmocka_unit_test(limit_that_cannot_be_put_away_costs_the_server_alone),
        cmocka_unit_test(settings_are_not_tried_under_a_strangers_time_limit),
        cmocka_unit_test(server_lost_while_a_limit_is_put_away_is_told),
        cmocka_unit_test(server_with_names_is_cleaned_before_it_moves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
