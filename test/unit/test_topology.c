/* test_topology.c - snapshots of a cluster, and which replica gets a read. */
#include "router/balance.h"
#include "router/topology.h"
#include "test/unit/support/router_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define BIT(node) (UINT64_C(1) << (node))

static void a_snapshot_keeps_its_own_copy_of_the_model(void **state)
{
    struct router_rig r;
    char name[] = "db1:5432", zone[] = "north";
    (void)state;
    router_rig_init(&r, 2);
    r.nodes[1].name = str_of(name);
    r.nodes[1].zone = str_of(zone);
    r.model.alarms = TOPOLOGY_OLD_PRIMARY;
    router_rig_publish(&r);
    struct topology *t = topology_get(r.now);
    memset(name, 'x', sizeof(name) - 1);
    memset(zone, 'x', sizeof(zone) - 1);
    r.nodes[1].state = NODE_DOWN;
    router_rig_fini(&r); /* the snapshot keeps the live numbers too */
    assert_true(str_eq(t->name, STR("main")));
    assert_true(str_eq(t->nodes[1].name, STR("db1:5432")));
    assert_true(str_eq(t->nodes[1].zone, STR("north")));
    assert_int_equal(t->nodes[1].state, NODE_UP);
    assert_int_equal(t->alarms, TOPOLOGY_OLD_PRIMARY);
    assert_int_equal(topology_find(t, STR("db1:5432")), 1);
    assert_int_equal(topology_find(t, STR("db1")), TOPOLOGY_NONE);
    topology_request_begins(t->live, 1);
    topology_put(&t);
    assert_null(t);
    topology_put(&t);
}

static void only_replicas_in_good_state_are_read(void **state)
{
    static const struct {
        enum node_role role;
        enum node_state state;
        bool used, drained, readable;
    } rows[] = {
        {NODE_REPLICA, NODE_UP, true, false, true},
        {NODE_REPLICA, NODE_SLOW, true, false, true},
        {NODE_REPLICA, NODE_LAGGING, true, false, false},
        {NODE_REPLICA, NODE_DOWN, true, false, false},
        {NODE_REPLICA, NODE_FENCED, true, false, false},
        {NODE_REPLICA, NODE_UP, true, true, false},
        {NODE_REPLICA, NODE_UP, false, false, false},
        {NODE_UNKNOWN, NODE_UP, true, false, false},
        {NODE_PRIMARY, NODE_UP, true, false, false},
    };
    struct router_rig r;
    (void)state;
    router_rig_init(&r, 2);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        r.nodes[1].role = rows[i].role;
        r.nodes[1].state = rows[i].state;
        r.nodes[1].used = rows[i].used;
        r.nodes[1].drained = rows[i].drained;
        router_rig_publish(&r);
        assert_int_equal(topology_readable(r.now, 1), rows[i].readable);
    }
    assert_false(topology_readable(r.now, -1));
    assert_false(topology_readable(r.now, 2));
    router_rig_fini(&r);
}

static void latency_follows_what_requests_took(void **state)
{
    struct router_rig r;
    (void)state;
    router_rig_init(&r, 2);
    struct topology_node_live *n = &r.live->nodes[1];
    for (int i = 0; i < 100; i++) {
        topology_request_begins(r.live, 1);
        assert_int_equal(atomic_load(&n->in_flight), 1);
        topology_request_ends(r.live, 1, 800);
    }
    assert_int_equal(atomic_load(&n->in_flight), 0);
    assert_in_range(atomic_load(&n->latency_us), 790, 810);
    topology_request_begins(r.live, 1);
    topology_request_ends(r.live, 1, -1); /* lost: says nothing of speed */
    assert_in_range(atomic_load(&n->latency_us), 790, 810);
    topology_request_begins(r.live, 1);
    topology_request_ends(r.live, 1, INT64_MAX);
    assert_in_range(atomic_load(&n->latency_us), 1000000, 10000000);
    router_rig_fini(&r);
}

/* How often each of the nodes is picked in `picks` picks. */
static void count_picks(const struct router_rig *r, uint64_t allowed, int picks,
                        int count[TOPOLOGY_NODES_MAX])
{
    memset(count, 0, TOPOLOGY_NODES_MAX * sizeof(*count));
    for (int i = 0; i < picks; i++) {
        int node = balance_pick(r->now, allowed, (uint64_t)i);
        if (node != TOPOLOGY_NONE)
            count[node]++;
    }
}

static void nobody_allowed_is_nobody(void **state)
{
    struct router_rig r;
    (void)state;
    router_rig_init(&r, 3);
    assert_int_equal(balance_pick(r.now, 0, 1), TOPOLOGY_NONE);
    r.nodes[1].weight = 0;
    router_rig_publish(&r);
    assert_int_equal(balance_pick(r.now, BIT(1), 1), TOPOLOGY_NONE);
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(balance_pick(r.now, BIT(1) | BIT(2), i), 2);
    router_rig_fini(&r);
}

static void an_idle_cluster_is_read_by_weight(void **state)
{
    struct router_rig r;
    int count[TOPOLOGY_NODES_MAX];
    (void)state;
    router_rig_init(&r, 4);
    r.nodes[3].weight = 2;
    router_rig_publish(&r);
    count_picks(&r, BIT(1) | BIT(2) | BIT(3), 8000, count);
    assert_in_range(count[1], 1800, 2200);
    assert_in_range(count[2], 1800, 2200);
    assert_in_range(count[3], 3800, 4200);
    router_rig_fini(&r);
}

static void busy_nodes_get_less_and_slow_ones_too(void **state)
{
    struct router_rig r;
    int count[TOPOLOGY_NODES_MAX];
    (void)state;
    router_rig_init(&r, 3);
    for (int i = 0; i < 10; i++)
        topology_request_begins(r.live, 1);
    count_picks(&r, BIT(1) | BIT(2), 4000, count);
    assert_in_range(count[1], 800, 1200); /* only when both draws fall on it */
    for (int i = 0; i < 10; i++)
        topology_request_ends(r.live, 1, 5000);
    atomic_store(&r.live->nodes[2].latency_us, 100);
    count_picks(&r, BIT(1) | BIT(2), 4000, count);
    assert_in_range(count[1], 800, 1200);
    router_rig_fini(&r);
}

static void own_zone_comes_first_and_the_slow_last(void **state)
{
    static const struct {
        const char *zone1, *zone2;
        enum node_state state1, state2;
        int picked; /* 0: both */
    } rows[] = {
        {"here", "there", NODE_UP, NODE_UP, 1},   {"there", "here", NODE_UP, NODE_UP, 2},
        {"here", "here", NODE_UP, NODE_UP, 0},    {"there", "there", NODE_UP, NODE_UP, 0},
        {"here", "there", NODE_SLOW, NODE_UP, 2}, {"here", "there", NODE_SLOW, NODE_SLOW, 1},
        {"", "", NODE_UP, NODE_SLOW, 1},
    };
    struct router_rig r;
    int count[TOPOLOGY_NODES_MAX];
    (void)state;
    router_rig_init(&r, 3);
    r.model.zone = STR("here");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        r.nodes[1].zone = str_of(rows[i].zone1);
        r.nodes[2].zone = str_of(rows[i].zone2);
        r.nodes[1].state = rows[i].state1;
        r.nodes[2].state = rows[i].state2;
        router_rig_publish(&r);
        count_picks(&r, BIT(1) | BIT(2), 200, count);
        if (rows[i].picked == 0)
            assert_true(count[1] > 50 && count[2] > 50);
        else
            assert_int_equal(count[rows[i].picked], 200);
    }
    router_rig_fini(&r);
}

static void every_word_has_a_name(void **state)
{
    (void)state;
    assert_string_equal(topology_role_name(NODE_PRIMARY), "primary");
    assert_string_equal(topology_state_name(NODE_FENCED), "fenced");
    assert_string_equal(topology_consistency_name(CONSISTENCY_DATABASE), "database");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_snapshot_keeps_its_own_copy_of_the_model),
        cmocka_unit_test(only_replicas_in_good_state_are_read),
        cmocka_unit_test(latency_follows_what_requests_took),
        cmocka_unit_test(nobody_allowed_is_nobody),
        cmocka_unit_test(an_idle_cluster_is_read_by_weight),
        cmocka_unit_test(busy_nodes_get_less_and_slow_ones_too),
        cmocka_unit_test(own_zone_comes_first_and_the_slow_last),
        cmocka_unit_test(every_word_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
