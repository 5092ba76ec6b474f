/* test_core_cluster_lost.c - nodes of a cluster that fail, on the toy codec: what is held and for
 * how long, what is sent again elsewhere, and what is never sent twice. */
#include "base/base.h"

#include "proxy/session_route.h"
#include "test/unit/support/cluster_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static void set_state(struct cluster_rig *x, int node, enum node_state state)
{
    x->m.nodes[node].state = state;
    nodes_tell(x);
}

/* s[1] is of node 1, and works on a read of client 0. */
static void read_on_the_replica(struct cluster_rig *x)
{
    peer_say(&x->c[0], "Q select 1 from t\n");
    nodes_server(x, 1, 1);
    peer_hears(x->r, &x->s[1], "Q select 1 from t\n");
}

/* ---- sent again ------------------------------------------------------------------------------ */

static void read_is_sent_to_another_node_when_its_server_is_lost(void **state)
{
    (void)state;
    static const char *const last_words[] = {"", "bye shutdown x\n"};
    for (size_t i = 0; i < ARRAY_LEN(last_words); i++) {
        struct cluster_rig x;
        nodes_new(&x, 2, "");
        read_on_the_replica(&x);
        peer_say(&x.s[1], last_words[i]);
        peer_close(&x.s[1]);
        peer_hears(x.r, &x.s[0], "Q select 1 from t\n");
        nodes_answers(&x, 0, 0);
        nodes_free(&x);
    }
}

/* Its client has seen a part of the answer. */
static void read_with_output_is_not_sent_again(void **state)
{
    (void)state;
    struct cluster_rig x;
    nodes_new(&x, 2, "");
    read_on_the_replica(&x);
    peer_say(&x.s[1], "row 1\n");
    peer_hears(x.r, &x.c[0], "row 1\n");
    peer_close(&x.s[1]);
    peer_hears_until(x.r, &x.c[0], "bye ", NULL, 0);
    peer_hears_nothing(x.r, &x.s[0]);
    nodes_free(&x);
}

static void write_whose_server_is_lost_is_reported_and_not_sent_again(void **state)
{
    (void)state;
    struct cluster_rig x;
    nodes_new(&x, 2, "");
    nodes_asks(&x, 0, 0, "update t set a = 1");
    peer_close(&x.s[0]);
    peer_hears_until(x.r, &x.c[0], "err server_lost_in_tx", NULL, 0);
    peer_hears(x.r, &x.c[0], "done I\n");
    nodes_accept_nothing(&x, 0);
    nodes_free(&x);
}

/* A server that says goodbye because it shuts down has not committed it. */
static void write_is_sent_again_when_its_server_says_that_it_shuts_down(void **state)
{
    (void)state;
    struct cluster_rig x;
    nodes_new(&x, 2, "");
    nodes_asks(&x, 0, 0, "update t set a = 1");
    peer_say(&x.s[0], "bye shutdown x\n");
    peer_close(&x.s[0]);
    rig_settle(x.r);
    rig_wait(x.r, 150 * NODES_MSEC); /* there is no other primary: it is asked again soon */
    nodes_server(&x, 0, 2);
    peer_hears(x.r, &x.s[2], "Q update t set a = 1\n");
    nodes_answers_write(&x, 2, 0);
    nodes_free(&x);
}

static void what_a_standby_refuses_goes_to_the_primary_and_from_then_on_at_once(void **state)
{
    (void)state;
    static const char *const codes[] = {"err readonly x\ndone I\n", "err unable x\ndone I\n"};
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        struct cluster_rig x;
        nodes_new(&x, 2, "");
        read_on_the_replica(&x);
        peer_say(&x.s[1], codes[i]);
        peer_hears(x.r, &x.s[0], "Q select 1 from t\n");
        nodes_answers(&x, 0, 0);
        router_rig_replayed(&x.m, 1, 6);
        nodes_reads(&x, 0, 0);
        peer_hears_nothing(x.r, &x.s[1]);
        nodes_free(&x);
    }
}

/* A conflict with replay says nothing of the statement. */
static void read_that_a_standby_cancels_is_sent_again_and_not_learned(void **state)
{
    (void)state;
    struct cluster_rig x;
    nodes_new(&x, 2, "");
    read_on_the_replica(&x);
    peer_say(&x.s[1], "err conflict x\ndone I\n");
    peer_hears(x.r, &x.s[0], "Q select 1 from t\n");
    nodes_answers(&x, 0, 0);
    router_rig_replayed(&x.m, 1, 6);
    nodes_reads(&x, 0, 1);
    nodes_free(&x);
}

static void refusal_of_a_demanded_replica_is_the_clients_to_hear(void **state)
{
    (void)state;
    struct cluster_rig x;
    nodes_new(&x, 2, "");
    nodes_client(&x, 1, " kind=replica");
    peer_say(&x.c[1], "Q update t set a = 1\n");
    nodes_server(&x, 1, 1);
    peer_hears(x.r, &x.s[1], "Q update t set a = 1\n");
    peer_say(&x.s[1], "err readonly x\ndone I\n");
    peer_hears(x.r, &x.c[1], "err readonly x\ndone I\n");
    peer_hears_nothing(x.r, &x.s[0]);
    nodes_free(&x);
}

/* A request that kills its servers must not kill them all. */
static void read_that_has_lost_three_servers_is_given_up(void **state)
{
    (void)state;
    struct cluster_rig x;
    nodes_new(&x, 2, "");
    read_on_the_replica(&x);
    peer_close(&x.s[1]);
    peer_hears(x.r, &x.s[0], "Q select 1 from t\n");
    peer_close(&x.s[0]);
    rig_settle(x.r);
    peer_hears_nothing(x.r, &x.c[0]);
    rig_wait(x.r, 150 * NODES_MSEC); /* both were tried: once more from the beginning */
    nodes_server(&x, 1, 2);
    peer_hears(x.r, &x.s[2], "Q select 1 from t\n");
    peer_close(&x.s[2]);
    peer_hears_until(x.r, &x.c[0], "err server_lost ", NULL, 0);
    nodes_free(&x);
}

/* ---- nodes that are down --------------------------------------------------------------------- */

static void read_on_a_node_that_hangs_is_sent_elsewhere_when_it_is_down(void **state)
{
    (void)state;
    struct cluster_rig x;
    nodes_new(&x, 2, "");
    read_on_the_replica(&x);
    set_state(&x, 1, NODE_DOWN);
    peer_hears_end(x.r, &x.s[1]);
    peer_hears(x.r, &x.s[0], "Q select 1 from t\n");
    nodes_answers(&x, 0, 0);
    nodes_free(&x);
}

/* Its outcome is not known: the server may answer yet, and if another is the primary it never
 * counts. */
static void write_on_a_primary_that_is_down_waits_until_there_is_another(void **state)
{
    (void)state;
    struct cluster_rig x;
    nodes_new(&x, 2, "");
    nodes_asks(&x, 0, 0, "update t set a = 1");
    set_state(&x, 0, NODE_DOWN);
    peer_hears_nothing(x.r, &x.c[0]);
    x.m.nodes[0].role = NODE_UNKNOWN;
    x.m.nodes[1].role = NODE_PRIMARY;
    x.m.model.primary = 1;
    x.m.model.epoch++;
    nodes_tell(&x);
    peer_hears_until(x.r, &x.c[0], "err server_lost_in_tx", NULL, 0);
    peer_hears_end(x.r, &x.s[0]);
    nodes_free(&x);
}

static void servers_of_a_fenced_node_are_closed_when_they_are_released(void **state)
{
    (void)state;
    struct cluster_rig x;
    nodes_new(&x, 2, "");
    nodes_asks(&x, 0, 0, "begin");
    peer_say(&x.s[0], "ok tx\ndone T\n");
    peer_hears(x.r, &x.c[0], "ok tx\ndone T\n");
    x.m.nodes[0].role = NODE_UNKNOWN;
    x.m.nodes[0].state = NODE_FENCED;
    x.m.nodes[1].role = NODE_PRIMARY;
    x.m.model.primary = 1;
    nodes_tell(&x);
    nodes_asks(&x, 0, 0, "commit");
    peer_say(&x.s[0], "ok tx\ndone I\n");
    peer_hears(x.r, &x.c[0], "ok tx\ndone I\n");
    peer_hears(x.r, &x.s[0], "bye\n");
    peer_hears_end(x.r, &x.s[0]);
    nodes_free(&x);
}

/* ---- holding --------------------------------------------------------------------------------- */

/* There is no primary: c's write waits. */
static void begin_hold(struct cluster_rig *x, int c)
{
    peer_say(&x->c[c], "Q update t set a = 1\n");
    peer_hears_nothing(x->r, &x->c[c]);
}

static void no_primary(struct cluster_rig *x, const char *keys)
{
    nodes_new(x, 2, keys);
    nodes_client(x, 1, "");
    nodes_client(x, 2, "");
    set_state(x, 0, NODE_DOWN);
    peer_hears(x->r, &x->s[0], "bye\n");
    peer_hears_end(x->r, &x->s[0]);
}

static void write_without_a_primary_is_held_until_there_is_one(void **state)
{
    (void)state;
    struct cluster_rig x;
    no_primary(&x, "failover_hold = 5\n");
    begin_hold(&x, 0);
    begin_hold(&x, 1);
    assert_int_equal(nodes_home(&x)->cluster->held, 2);
    assert_int_equal(nodes_home(&x)->cluster->held_bytes, 2 * strlen("Q update t set a = 1\n"));
    rig_wait(x.r, 4000 * NODES_MSEC);
    peer_hears_nothing(x.r, &x.c[0]);
    set_state(&x, 0, NODE_UP);
    nodes_server(&x, 0, 1);
    nodes_server(&x, 0, 2);
    peer_hears(x.r, &x.s[1], "Q update t set a = 1\n");
    peer_hears(x.r, &x.s[2], "Q update t set a = 1\n");
    peer_say(&x.s[1], "ok write\ndone I\n");
    peer_say(&x.s[2], "ok write\ndone I\n");
    peer_hears(x.r, &x.c[0], "ok write\ndone I\n");
    peer_hears(x.r, &x.c[1], "ok write\ndone I\n");
    assert_int_equal(nodes_home(&x)->cluster->held_bytes, 0);
    nodes_free(&x);
}

static void held_request_is_refused_when_its_time_is_over(void **state)
{
    (void)state;
    struct cluster_rig x;
    no_primary(&x, "failover_hold = 5\n");
    begin_hold(&x, 0);
    rig_wait(x.r, 2000 * NODES_MSEC);
    begin_hold(&x, 1);
    rig_wait(x.r, 3100 * NODES_MSEC);
    peer_hears_until(x.r, &x.c[0], "err no_node", NULL, 0);
    peer_hears(x.r, &x.c[0], "done I\n");
    peer_hears_nothing(x.r, &x.c[1]); /* each has its own time */
    assert_int_equal(nodes_home(&x)->cluster->held, 1);
    rig_wait(x.r, 2000 * NODES_MSEC);
    peer_hears_until(x.r, &x.c[1], "err no_node", NULL, 0);
    nodes_free(&x);
}

static void nothing_is_held_where_failover_hold_is_0(void **state)
{
    (void)state;
    struct cluster_rig x;
    no_primary(&x, "failover_hold = 0\n");
    peer_say(&x.c[0], "Q update t set a = 1\n");
    peer_hears_until(x.r, &x.c[0], "err no_node", NULL, 0);
    nodes_free(&x);
}

static void no_more_is_held_than_requests_and_bytes_allow(void **state)
{
    (void)state;
    static const char *const bounds[] = {"failover_hold_requests = 2\n",
                                         "failover_hold_bytes = 50\n"};
    for (size_t i = 0; i < ARRAY_LEN(bounds); i++) {
        struct cluster_rig x;
        no_primary(&x, bounds[i]);
        begin_hold(&x, 0);
        begin_hold(&x, 1);
        peer_say(&x.c[2], "Q update t set a = 1\n");
        peer_hears_until(x.r, &x.c[2], "err pool_full", NULL, 0);
        peer_close(&x.c[0]); /* who leaves makes room */
        rig_settle(x.r);
        peer_hears(x.r, &x.c[2], "done I\n");
        begin_hold(&x, 2);
        nodes_free(&x);
    }
}

/* They go on while writes wait. */
static void reads_are_served_while_there_is_no_primary(void **state)
{
    (void)state;
    struct cluster_rig x;
    no_primary(&x, "");
    begin_hold(&x, 1);
    read_on_the_replica(&x);
    nodes_answers(&x, 1, 0);
    nodes_free(&x);
}

static void node_that_refuses_connections_is_avoided_while_others_can_read(void **state)
{
    (void)state;
    struct cluster_rig x;
    nodes_new(&x, 2, "");
    nodes_refuse(&x, 1);
    nodes_reads(&x, 0, 0);
    nodes_reads(&x, 0, 0);
    nodes_listen(&x, 1);
    router_rig_replayed(&x.m, 1, 9);
    rig_wait(x.r, 300 * NODES_MSEC); /* it is tried again before long */
    read_on_the_replica(&x);
    nodes_answers(&x, 1, 0);
    nodes_free(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(read_is_sent_to_another_node_when_its_server_is_lost),
        cmocka_unit_test(read_with_output_is_not_sent_again),
        cmocka_unit_test(write_whose_server_is_lost_is_reported_and_not_sent_again),
        cmocka_unit_test(write_is_sent_again_when_its_server_says_that_it_shuts_down),
        cmocka_unit_test(what_a_standby_refuses_goes_to_the_primary_and_from_then_on_at_once),
        cmocka_unit_test(read_that_a_standby_cancels_is_sent_again_and_not_learned),
        cmocka_unit_test(refusal_of_a_demanded_replica_is_the_clients_to_hear),
        cmocka_unit_test(read_that_has_lost_three_servers_is_given_up),
        cmocka_unit_test(read_on_a_node_that_hangs_is_sent_elsewhere_when_it_is_down),
        cmocka_unit_test(write_on_a_primary_that_is_down_waits_until_there_is_another),
        cmocka_unit_test(servers_of_a_fenced_node_are_closed_when_they_are_released),
        cmocka_unit_test(write_without_a_primary_is_held_until_there_is_one),
        cmocka_unit_test(held_request_is_refused_when_its_time_is_over),
        cmocka_unit_test(nothing_is_held_where_failover_hold_is_0),
        cmocka_unit_test(no_more_is_held_than_requests_and_bytes_allow),
        cmocka_unit_test(reads_are_served_while_there_is_no_primary),
        cmocka_unit_test(node_that_refuses_connections_is_avoided_while_others_can_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
