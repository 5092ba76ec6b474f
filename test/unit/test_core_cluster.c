/* test_core_cluster.c - entries with a cluster behind them, on the toy codec: which node's pool a
 * request goes to, what makes it wait, and what a changed topology does to servers and clients. */
#include "base/base.h"

#include "proxy/session_route.h"
#include "test/unit/support/cluster_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* The second node has replayed that probe, and those who wait are told. */
static void replayed(struct cluster_rig *x, int node, uint64_t number)
{
    router_rig_replayed(&x->m, node, number);
    atomic_store(&x->m.live->sent, MAX(number, atomic_load(&x->m.live->sent)));
    cluster_moved(x->cluster, &x->r->process);
    rig_settle(x->r);
}

/* ---- which node ------------------------------------------------------------------------------ */

static void reads_go_to_a_replica_and_writes_to_the_primary(void **state)
{
    (void)state;
    struct cluster_rig x;
    nodes_new(&x, 2, "");
    peer_say(&x.c[0], "Q select 1 from t\n");
    nodes_server(&x, 1, 1);
    peer_hears(x.r, &x.s[1], "Q select 1 from t\n");
    nodes_answers(&x, 1, 0);
    nodes_writes(&x, 0, 0);
    peer_hears_nothing(x.r, &x.s[1]);
    nodes_free(&x);
}

static void own_write_is_read_from_the_primary_until_the_replica_has_a_later_probe(void **state)
{
    (void)state;
    struct cluster_rig x;
    nodes_new(&x, 2, "");
    nodes_client(&x, 1, "");
    nodes_writes(&x, 0, 0);
    nodes_reads(&x, 0, 0);
    peer_say(&x.c[1], "Q select 1 from t\n"); /* who has written nothing need not wait */
    nodes_server(&x, 1, 1);
    peer_hears(x.r, &x.s[1], "Q select 1 from t\n");
    nodes_answers(&x, 1, 1);
    replayed(&x, 1, 5); /* the probe that had been sent before the write was acknowledged */
    nodes_reads(&x, 0, 0);
    replayed(&x, 1, 6);
    nodes_reads(&x, 0, 1);
    nodes_free(&x);
}

static void transaction_stays_on_its_node_and_its_end_marks_what_it_wrote(void **state)
{
    (void)state;
    struct cluster_rig x;
    nodes_new(&x, 2, "");
    nodes_asks(&x, 0, 0, "begin");
    peer_say(&x.s[0], "ok tx\ndone T\n");
    peer_hears(x.r, &x.c[0], "ok tx\ndone T\n");
    nodes_asks(&x, 0, 0, "update t set a = 1");
    peer_say(&x.s[0], "ok write\ndone T\n");
    peer_hears(x.r, &x.c[0], "ok write\ndone T\n");
    nodes_asks(&x, 0, 0, "select 1 from t");
    peer_say(&x.s[0], "row 1\nok read\ndone T\n");
    peer_hears(x.r, &x.c[0], "row 1\nok read\ndone T\n");
    replayed(&x, 1, 7); /* before the end: of no use */
    nodes_asks(&x, 0, 0, "commit");
    peer_say(&x.s[0], "ok tx\ndone I\n");
    peer_hears(x.r, &x.c[0], "ok tx\ndone I\n");
    nodes_reads(&x, 0, 0);
    replayed(&x, 1, 8);
    peer_say(&x.c[0], "Q select 1 from t\n");
    nodes_server(&x, 1, 1);
    peer_hears(x.r, &x.s[1], "Q select 1 from t\n");
    nodes_answers(&x, 1, 0);
    nodes_free(&x);
}

static void kind_of_node_may_be_wished_at_the_start_and_in_a_hint(void **state)
{
    (void)state;
    struct cluster_rig x;
    nodes_new(&x, 2, "");
    nodes_client(&x, 1, " kind=primary");
    nodes_reads(&x, 1, 0);
    replayed(&x, 1, 6); /* it shows what the primary has shown */
    peer_say(&x.c[1], "Q /* penstock: route=replica */ select 1 from t\n");
    nodes_server(&x, 1, 1);
    peer_hears(x.r, &x.s[1], "Q /* penstock: route=replica */ select 1 from t\n");
    nodes_answers(&x, 1, 1);
    struct peer wrong;
    rig_client(x.r, 0, &wrong);
    peer_say(&wrong, "hello u d kind=sideways\n");
    peer_hears_until(x.r, &wrong, "bye bad_setting", NULL, 0);
    peer_close(&wrong);
    nodes_free(&x);
}

/* ---- waiting for freshness ------------------------------------------------------------------- */

static void demanded_replica_that_is_not_fresh_is_waited_for(void **state)
{
    (void)state;
    struct cluster_rig x;
    nodes_new(&x, 2, "");
    nodes_client(&x, 1, " kind=replica");
    nodes_asks(&x, 1, 0, "/* penstock: route=primary */ update t set a = 1");
    nodes_answers_write(&x, 0, 1);
    peer_say(&x.c[1], "Q select 1 from t\n");
    peer_hears_nothing(x.r, &x.c[1]);
    assert_int_equal(nodes_home(&x)->cluster->held, 1);
    replayed(&x, 1, 5);
    peer_hears_nothing(x.r, &x.s[0]);
    assert_int_equal(nodes_home(&x)->cluster->held, 1);
    replayed(&x, 1, 6);
    nodes_server(&x, 1, 1);
    peer_hears(x.r, &x.s[1], "Q select 1 from t\n");
    assert_int_equal(nodes_home(&x)->cluster->held, 0);
    nodes_answers(&x, 1, 1);
    nodes_free(&x);
}

/* What is being committed may be seen on the primary by others before its writer knows. */
static void database_scope_reads_the_primary_while_a_table_is_written(void **state)
{
    (void)state;
    struct cluster_rig x;
    nodes_new(&x, 2, "consistency = database\n");
    x.m.model.policy.consistency = CONSISTENCY_DATABASE;
    nodes_tell(&x);
    nodes_client(&x, 1, "");
    nodes_asks(&x, 0, 0, "update t set a = 1");
    peer_say(&x.c[1], "Q select 1 from t\n");
    struct peer *second = &x.s[2]; /* the first one of the primary is busy */
    nodes_server(&x, 0, 2);
    peer_hears(x.r, second, "Q select 1 from t\n");
    nodes_answers(&x, 2, 1);
    nodes_answers_write(&x, 0, 0);
    peer_say(&x.c[1], "Q select 1 from t\n"); /* and after it, until a replica has it */
    peer_hears_nothing(x.r, &x.c[1]);
    nodes_free(&x);
}

/* ---- a topology that changes ----------------------------------------------------------------- */

static void drained_node_gets_nothing_new_and_its_servers_leave_when_they_are_free(void **state)
{
    (void)state;
    struct cluster_rig x;
    nodes_new(&x, 2, "");
    peer_say(&x.c[0], "Q select 1 from t\n");
    nodes_server(&x, 1, 1);
    peer_hears(x.r, &x.s[1], "Q select 1 from t\n");
    x.m.nodes[1].drained = true;
    nodes_tell(&x);
    nodes_answers(&x, 1, 0); /* what had begun is finished */
    peer_hears(x.r, &x.s[1], "bye\n");
    peer_hears_end(x.r, &x.s[1]);
    nodes_reads(&x, 0, 0);
    x.m.nodes[1].drained = false;
    nodes_tell(&x);
    replayed(&x, 1, 9);
    peer_say(&x.c[0], "Q select 1 from t\n");
    nodes_server(&x, 1, 1);
    peer_hears(x.r, &x.s[1], "Q select 1 from t\n");
    nodes_answers(&x, 1, 0);
    nodes_free(&x);
}

/* They cannot know that the place they wait for leads nowhere. */
static void those_that_wait_for_a_node_look_again_when_it_is_drained(void **state)
{
    (void)state;
    struct cluster_rig x;
    nodes_new(&x, 2, "");
    nodes_client(&x, 1, "");
    peer_say(&x.c[1], "Q select 1 from t\n"); /* waits for a server that never logs in */
    rig_accept_from(x.r, x.fd[1], &x.s[1]);
    x.m.nodes[1].drained = true;
    nodes_tell(&x);
    peer_hears(x.r, &x.s[0], "Q select 1 from t\n");
    nodes_answers(&x, 0, 1);
    nodes_free(&x);
}

static void entry_that_leaves_its_cluster_and_returns_disturbs_nobody(void **state)
{
    (void)state;
    struct cluster_rig x;
    nodes_new(&x, 2, "");
    nodes_reload(&x, "", NULL); /* to the rig's own address */
    peer_say(&x.c[0], "Q select 1 from t\n");
    rig_toy_server(x.r, &x.s[2]);
    peer_hears(x.r, &x.s[2], "Q select 1 from t\n");
    nodes_answers(&x, 2, 0);
    nodes_reload(&x, "", "cluster=main");
    nodes_tell(&x);
    peer_say(&x.c[0], "Q update t set a = 1\n");
    nodes_server(&x, 0, 3);
    peer_hears(x.r, &x.s[3], "Q update t set a = 1\n");
    nodes_answers_write(&x, 3, 0);
    nodes_free(&x);
}

/* An index may mean another host after a reload: what is meant for the new one must not reach the
 * servers of the old one. */
static void index_that_is_used_again_means_the_new_host(void **state)
{
    (void)state;
    for (int between = 0; between < 2; between++) { /* with the hole published, and without */
        struct cluster_rig x;
        nodes_new(&x, 3, "");
        x.m.model.nnodes = 2;
        nodes_tell(&x);
        peer_say(&x.c[0], "Q select 1 from t\n");
        nodes_server(&x, 1, 1);
        peer_hears(x.r, &x.s[1], "Q select 1 from t\n");
        nodes_answers(&x, 1, 0);
        if (between) {
            x.m.nodes[1].used = false;
            nodes_tell(&x);
        }
        x.m.nodes[1] = x.m.nodes[2]; /* as the watch does: the lowest index that is free */
        nodes_tell(&x);
        peer_hears(x.r, &x.s[1], "bye\n");
        peer_hears_end(x.r, &x.s[1]);
        replayed(&x, 1, 9);
        peer_say(&x.c[0], "Q select 1 from t\n");
        nodes_server(&x, 2, 2);
        peer_hears(x.r, &x.s[2], "Q select 1 from t\n");
        nodes_answers(&x, 2, 0);
        nodes_free(&x);
    }
}

/* Whoever writes there still is told nothing wrong by being read afterwards. */
static void write_on_a_node_that_leaves_is_marked_when_it_is_done(void **state)
{
    (void)state;
    struct cluster_rig x;
    nodes_new(&x, 3, "");
    x.m.model.nnodes = 2;
    nodes_tell(&x);
    nodes_asks(&x, 0, 0, "update t set a = 1");
    x.m.nodes[0] = x.m.nodes[2]; /* the address of the primary is another one */
    x.m.nodes[0].role = NODE_PRIMARY;
    nodes_tell(&x);
    nodes_answers_write(&x, 0, 0);
    peer_say(&x.c[0], "Q select 1 from t\n");
    nodes_server(&x, 2, 2);
    peer_hears(x.r, &x.s[2], "Q select 1 from t\n");
    nodes_answers(&x, 2, 0);
    nodes_free(&x);
}

/* The end of its transaction is sent when the node is none any more. */
static void transaction_on_a_node_that_leaves_is_marked_at_its_end(void **state)
{
    (void)state;
    struct cluster_rig x;
    nodes_new(&x, 3, "");
    x.m.model.nnodes = 2;
    nodes_tell(&x);
    nodes_asks(&x, 0, 0, "begin");
    peer_say(&x.s[0], "ok tx\ndone T\n");
    peer_hears(x.r, &x.c[0], "ok tx\ndone T\n");
    nodes_asks(&x, 0, 0, "update t set a = 1");
    peer_say(&x.s[0], "ok write\ndone T\n");
    peer_hears(x.r, &x.c[0], "ok write\ndone T\n");
    x.m.nodes[0] = x.m.nodes[2];
    x.m.nodes[0].role = NODE_PRIMARY;
    nodes_tell(&x);
    nodes_asks(&x, 0, 0, "commit");
    peer_say(&x.s[0], "ok tx\ndone I\n");
    peer_hears(x.r, &x.c[0], "ok tx\ndone I\n");
    peer_say(&x.c[0], "Q select 1 from t\n");
    nodes_server(&x, 2, 2);
    peer_hears(x.r, &x.s[2], "Q select 1 from t\n");
    nodes_answers(&x, 2, 0);
    nodes_free(&x);
}

/* What it has written through the entry's own address is older than anything known of the nodes. */
static void write_before_its_entry_joined_a_cluster_is_read_from_the_primary(void **state)
{
    (void)state;
    struct cluster_rig x;
    nodes_new(&x, 2, "");
    nodes_reload(&x, "", NULL);
    peer_say(&x.c[0], "Q update t set a = 1\n");
    rig_toy_server(x.r, &x.s[2]);
    peer_hears(x.r, &x.s[2], "Q update t set a = 1\n");
    nodes_answers_write(&x, 2, 0);
    nodes_reload(&x, "", "cluster=main");
    nodes_tell(&x);
    peer_say(&x.c[0], "Q select 1 from t\n");
    nodes_server(&x, 0, 3);
    peer_hears(x.r, &x.s[3], "Q select 1 from t\n");
    nodes_answers(&x, 3, 0);
    nodes_free(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_go_to_a_replica_and_writes_to_the_primary),
        cmocka_unit_test(own_write_is_read_from_the_primary_until_the_replica_has_a_later_probe),
        cmocka_unit_test(transaction_stays_on_its_node_and_its_end_marks_what_it_wrote),
        cmocka_unit_test(kind_of_node_may_be_wished_at_the_start_and_in_a_hint),
        cmocka_unit_test(demanded_replica_that_is_not_fresh_is_waited_for),
        cmocka_unit_test(database_scope_reads_the_primary_while_a_table_is_written),
        cmocka_unit_test(drained_node_gets_nothing_new_and_its_servers_leave_when_they_are_free),
        cmocka_unit_test(those_that_wait_for_a_node_look_again_when_it_is_drained),
        cmocka_unit_test(entry_that_leaves_its_cluster_and_returns_disturbs_nobody),
        cmocka_unit_test(index_that_is_used_again_means_the_new_host),
        cmocka_unit_test(write_on_a_node_that_leaves_is_marked_when_it_is_done),
        cmocka_unit_test(transaction_on_a_node_that_leaves_is_marked_at_its_end),
        cmocka_unit_test(write_before_its_entry_joined_a_cluster_is_read_from_the_primary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
