/* test_core_begin.c - a BEGIN that is answered before a server has it, on the toy codec: when it
 * goes out, where, what goes with it, and what becomes of it when no server can be had. */
#include "base/base.h"

#include "proxy/session_begin.h"
#include "proxy/session_route.h"
#include "test/unit/support/cluster_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define HOLD "begin_hold = 0.01\n"
#define LATE (20 * NODES_MSEC)

static void say(struct cluster_rig *x, int c, const char *text)
{
    peer_say(&x->c[c], text);
    rig_settle(x->r);
}

static void begins(struct cluster_rig *x, int c, const char *text)
{
    say(x, c, text);
    peer_hears(x->r, &x->c[c], "ok tx\ndone T\n");
}

/* s hears that, and says that its transaction is open. */
static void opens(struct cluster_rig *x, int s, const char *text)
{
    peer_hears(x->r, &x->s[s], text);
    peer_say(&x->s[s], "ok tx\ndone T\n");
    rig_settle(x->r);
}

/* c holds a server of its node by a transaction that was not held back. */
static void occupies(struct cluster_rig *x, int c, int s)
{
    nodes_asks(x, c, s, "begin read write");
    peer_say(&x->s[s], "ok tx\ndone T\n");
    peer_hears(x->r, &x->c[c], "ok tx\ndone T\n");
}

static void ends(struct cluster_rig *x, int c, int s)
{
    nodes_asks(x, c, s, "commit");
    peer_say(&x->s[s], "ok tx\ndone I\n");
    peer_hears_until(x->r, &x->c[c], "done I", NULL, 0);
}

/* One server for each node, and so many requests behind each other. */
static void one_server(struct cluster_rig *x, int depth)
{
    char text[512];
    snprintf(text, sizeof(text),
             "default_pool_size = 1\nmultiplex_depth = %d\n[cluster main]\nprobe_user = p\n" HOLD
             "hosts = %s, %s",
             depth, x->names[0], x->names[1]);
    rig_reload(x->r, text, "cluster=main");
}

static void held_until_the_first_statement_and_awaited_before_a_write(void **state)
{
    (void)state;
    struct cluster_rig x;
    nodes_new(&x, 2, HOLD);
    begins(&x, 0, "Q begin\n");
    peer_hears_nothing(x.r, &x.s[0]);
    say(&x, 0, "Q update t set a = 1\n");
    opens(&x, 0, "Q begin\n");
    peer_hears(x.r, &x.s[0], "Q update t set a = 1\n");
    peer_say(&x.s[0], "ok write\ndone T\n");
    peer_hears(x.r, &x.c[0], "ok write\ndone T\n");
    ends(&x, 0, 0);
    router_rig_replayed(&x.m, 1, 9); /* a replica would do again */
    begins(&x, 0, "Q begin\n");
    say(&x, 0, "Q select 1 from t\n"); /* in one write */
    peer_hears(x.r, &x.s[0], "Q begin\nQ select 1 from t\n");
    peer_say(&x.s[0], "ok tx\ndone T\nrow 1\nok read\ndone T\n");
    peer_hears(x.r, &x.c[0], "row 1\nok read\ndone T\n");
    ends(&x, 0, 0);
    nodes_free(&x);
}

/* A client that only waits with its BEGIN is not one that could share a server. */
static void reload_that_begins_to_share_serves_who_waits_to_begin(void **state)
{
    (void)state;
    struct cluster_rig x;
    nodes_new(&x, 2, HOLD);
    one_server(&x, 1);
    nodes_client(&x, 1, "");
    nodes_client(&x, 2, "");
    occupies(&x, 0, 0);
    begins(&x, 1, "Q begin\n");
    rig_wait(x.r, LATE);
    say(&x, 2, "Q update t set a = 1\n");
    one_server(&x, 8);
    ends(&x, 0, 0);
    opens(&x, 0, "Q begin\n");
    ends(&x, 1, 0);
    peer_hears(x.r, &x.s[0], "Q update t set a = 1\n");
    nodes_answers_write(&x, 0, 2);
    nodes_free(&x);
}

/* The statement that comes later is not held to account for what the BEGIN met. */
static void begin_that_met_a_failure_is_tried_again_and_fails_no_statement(void **state)
{
    (void)state;
    struct cluster_rig x;
    nodes_new(&x, 2, HOLD "failover_hold = 10\n");
    nodes_client(&x, 1, "");
    occupies(&x, 1, 0);
    nodes_refuse(&x, 0);
    begins(&x, 0, "Q begin\n");
    rig_wait(x.r, LATE);
    rig_wait(x.r, 11 * USEC_PER_SEC);
    nodes_listen(&x, 0);
    say(&x, 0, "Q update t set a = 1\n");
    for (int i = 0; i < 5; i++)
        rig_wait(x.r, 300 * NODES_MSEC);
    peer_hears_nothing(x.r, &x.c[0]);
    nodes_server(&x, 0, 1);
    opens(&x, 1, "Q begin\n");
    peer_hears(x.r, &x.s[1], "Q update t set a = 1\n");
    peer_say(&x.s[1], "ok write\ndone T\n");
    peer_hears(x.r, &x.c[0], "ok write\ndone T\n");
    nodes_free(&x);
}

static void begin_goes_out_by_itself_when_there_is_a_primary_again(void **state)
{
    (void)state;
    struct cluster_rig x;
    nodes_new(&x, 2, HOLD);
    begins(&x, 0, "Q begin\n");
    x.m.model.primary = TOPOLOGY_NONE;
    nodes_tell(&x);
    rig_wait(x.r, LATE);
    peer_hears_nothing(x.r, &x.s[0]);
    x.m.model.primary = 0;
    nodes_tell(&x);
    rig_wait(x.r, 150 * NODES_MSEC);
    opens(&x, 0, "Q begin\n");
    ends(&x, 0, 0);
    nodes_free(&x);
}

/* The setting before it is answered alone: the transaction is none the less open. */
static void transaction_lost_behind_its_settings_has_failed(void **state)
{
    (void)state;
    struct cluster_rig x;
    nodes_new(&x, 2, HOLD);
    rig_client(x.r, 0, &x.c[1]);
    say(&x, 1, "hello u d mode=1\n");
    peer_hears(x.r, &x.s[0], "set mode=1;\n");
    peer_say(&x.s[0], "done I\n");
    peer_hears_until(x.r, &x.c[1], "done I", NULL, 0);
    say(&x, 0, "Q update t set a = 1\n");
    peer_hears(x.r, &x.s[0], "set mode;\nQ update t set a = 1\n");
    peer_say(&x.s[0], "done I\n");
    nodes_answers_write(&x, 0, 0);
    begins(&x, 1, "Q begin\n");
    say(&x, 1, "Q select 1 from t\n");
    peer_hears(x.r, &x.s[0], "set mode=1;\nQ begin\nQ select 1 from t\n");
    peer_say(&x.s[0], "done I\n");
    rig_settle(x.r);
    peer_close(&x.s[0]);
    peer_hears_until(x.r, &x.c[1], "err server_lost_in_tx", NULL, 0);
    peer_hears(x.r, &x.c[1], "done E\n");
    say(&x, 1, "Q rollback\n");
    peer_hears(x.r, &x.c[1], "ok rollback\ndone I\n");
    nodes_free(&x);
}

static void statement_behind_its_begin_does_not_wait_for_a_node_that_is_down(void **state)
{
    (void)state;
    struct cluster_rig x;
    nodes_new(&x, 2, HOLD);
    begins(&x, 0, "Q begin read only\n");
    say(&x, 0, "Q select 1 from t\n");
    nodes_server(&x, 1, 1);
    peer_hears(x.r, &x.s[1], "Q begin read only\nQ select 1 from t\n");
    x.m.nodes[1].state = NODE_DOWN;
    nodes_tell(&x);
    peer_hears_until(x.r, &x.c[0], "err server_lost_in_tx", NULL, 0);
    peer_hears(x.r, &x.c[0], "done E\n");
    nodes_free(&x);
}

/* The server that was chosen for a transaction goes back with its refusal. */
static void lock_that_is_refused_leaves_nothing_for_the_next_request(void **state)
{
    (void)state;
    struct cluster_rig x;
    nodes_new(&x, 2, HOLD);
    one_server(&x, 1);
    nodes_client(&x, 1, "");
    begins(&x, 1, "Q begin read only\n");
    rig_wait(x.r, LATE);
    nodes_server(&x, 1, 1);
    opens(&x, 1, "Q begin read only\n");
    begins(&x, 0, "Q begin read only\n");
    rig_wait(x.r, LATE);
    say(&x, 0, "Q select pg_advisory_xact_lock(1)\nQ rollback\nQ select pg_advisory_lock(1)\n");
    ends(&x, 1, 1);
    peer_hears_until(x.r, &x.c[0], "err unsupported", NULL, 0);
    peer_hears(x.r, &x.c[0], "done E\nok rollback\ndone I\n");
    peer_hears(x.r, &x.s[0], "Q select pg_advisory_lock(1)\n");
    peer_hears_nothing(x.r, &x.s[1]);
    nodes_free(&x);
}

static void cancel_that_comes_before_the_statement_is_sent_is_for_it(void **state)
{
    (void)state;
    struct cluster_rig x;
    char line[128], key[160];
    struct peer asks, cancel;
    nodes_new(&x, 2, HOLD);
    rig_client(x.r, 0, &x.c[1]);
    peer_say(&x.c[1], "hello u d\n");
    peer_hears_until(x.r, &x.c[1], "hi", line, sizeof(line));
    snprintf(key, sizeof(key), "cancel %s\n", line + 3);
    peer_hears_until(x.r, &x.c[1], "done I", NULL, 0);
    begins(&x, 1, "Q begin\n");
    say(&x, 1, "Q update t set a = 1\n");
    peer_hears(x.r, &x.s[0], "Q begin\n");
    rig_client(x.r, 0, &asks);
    peer_say(&asks, key);
    rig_settle(x.r);
    peer_say(&x.s[0], "ok tx\ndone T\n");
    peer_hears(x.r, &x.s[0], "Q update t set a = 1\n");
    rig_accept_from(x.r, x.fd[0], &cancel);
    peer_hears(x.r, &cancel, "cancel key\n");
    peer_close(&cancel);
    peer_close(&asks);
    peer_say(&x.s[0], "err cancelled x\ndone E\n");
    peer_hears_until(x.r, &x.c[1], "done E", NULL, 0);
    nodes_free(&x);
}

/* Which tables it will read is not known when it is sent to a replica. */
static void transaction_is_not_sent_to_a_replica_that_lacks_any_write(void **state)
{
    (void)state;
    struct cluster_rig x;
    nodes_new(&x, 2, HOLD "consistency = database\n");
    x.m.model.policy.consistency = CONSISTENCY_DATABASE;
    nodes_tell(&x);
    nodes_client(&x, 1, "");
    begins(&x, 0, "Q begin read only\n");
    nodes_asks(&x, 1, 0, "update u set a = 1");
    nodes_answers_write(&x, 0, 1);
    say(&x, 0, "Q select 1 from t\n");
    peer_hears(x.r, &x.s[0], "Q begin read only\nQ select 1 from t\n");
    nodes_free(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(held_until_the_first_statement_and_awaited_before_a_write),
        cmocka_unit_test(reload_that_begins_to_share_serves_who_waits_to_begin),
        cmocka_unit_test(begin_that_met_a_failure_is_tried_again_and_fails_no_statement),
        cmocka_unit_test(begin_goes_out_by_itself_when_there_is_a_primary_again),
        cmocka_unit_test(transaction_lost_behind_its_settings_has_failed),
        cmocka_unit_test(statement_behind_its_begin_does_not_wait_for_a_node_that_is_down),
        cmocka_unit_test(lock_that_is_refused_leaves_nothing_for_the_next_request),
        cmocka_unit_test(transaction_is_not_sent_to_a_replica_that_lacks_any_write),
        cmocka_unit_test(cancel_that_comes_before_the_statement_is_sent_is_for_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
