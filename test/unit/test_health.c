/* test_health.c - roles, states and the primary, from scripted and from random answers. */
#include "router/health.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define STEP 100000 /* check_interval */
#define SYSTEM UINT64_C(4711)

struct rig {
    struct health h;
    struct topology_live *live;
    usec_t now;
    unsigned nnodes;
};

static void rig_init_with(struct rig *r, unsigned nnodes, const struct topology_policy *policy)
{
    struct health_rules rules;
    r->nnodes = nnodes;
    r->now = 50 * (usec_t)USEC_PER_SEC;
    r->live = topology_live_new(0);
    health_rules_default(&rules, STEP);
    health_init(&r->h, &rules, policy, r->live, r->now);
    for (unsigned i = 0; i < nnodes; i++)
        health_add(&r->h, (int)i, r->now);
}

static void rig_init(struct rig *r, unsigned nnodes)
{
    rig_init_with(r, nnodes, &(struct topology_policy){.consistency = CONSISTENCY_SESSION});
}

static void rig_fini(struct rig *r)
{
    topology_live_put(&r->live);
}

static unsigned answer_of(struct rig *r, int node, uint64_t system, bool in_recovery,
                          uint32_t timeline)
{
    struct health_answer a = {
        .in_recovery = in_recovery,
        .system = system,
        .timeline = timeline,
        .position = 1000,
        .number = health_ask(&r->h, node, r->now),
        .sent_at = r->now,
    };
    return health_answer(&r->h, node, &a, r->now + 300);
}

static unsigned primary_says(struct rig *r, int node, uint32_t timeline)
{
    return answer_of(r, node, SYSTEM, false, timeline);
}

static unsigned replica_says(struct rig *r, int node, uint32_t timeline)
{
    return answer_of(r, node, SYSTEM, true, timeline);
}

static unsigned fails(struct rig *r, int node)
{
    return health_failed(&r->h, node, HEALTH_REFUSED, r->now);
}

/* Node 0 primary on timeline 1, the others replicas. */
static void settle(struct rig *r)
{
    for (int k = 0; k < 3; k++) {
        (void)primary_says(r, 0, 1);
        for (unsigned i = 1; i < r->nnodes; i++)
            (void)replica_says(r, (int)i, 1);
        r->now += STEP;
    }
    assert_int_equal(r->h.primary, 0);
}

static void is(const struct rig *r, int node, enum node_role role, enum node_state state)
{
    const struct health_node *n = &r->h.nodes[node];
    if (n->role != role || n->state != state)
        fail_msg("node %d is %s %s, not %s %s", node, topology_role_name(n->role),
                 topology_state_name(n->state), topology_role_name(role),
                 topology_state_name(state));
}

static void first_primary_is_chosen_when_all_have_been_heard(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 3);
    assert_int_equal(primary_says(&r, 0, 1) & HEALTH_PRIMARY, 0);
    assert_int_equal(r.h.primary, TOPOLOGY_NONE);
    (void)replica_says(&r, 1, 1);
    assert_int_equal(r.h.primary, TOPOLOGY_NONE);
    assert_true((fails(&r, 2) & HEALTH_PRIMARY) != 0);
    assert_int_equal(r.h.primary, 0);
    assert_int_equal(r.h.epoch, 1);
    is(&r, 0, NODE_PRIMARY, NODE_UP);
    is(&r, 1, NODE_REPLICA, NODE_UP);
    is(&r, 2, NODE_UNKNOWN, NODE_DOWN);
    rig_fini(&r);
}

static void a_silent_node_does_not_keep_the_cluster_waiting_for_ever(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 2);
    (void)primary_says(&r, 0, 1);
    (void)health_ask(&r.h, 1, r.now);
    r.now += r.h.rules.silent_us - 1000;
    (void)primary_says(&r, 0, 1);
    assert_int_equal(health_tick(&r.h, r.now), 0);
    r.now += 1000;
    assert_true((health_tick(&r.h, r.now) & HEALTH_PRIMARY) != 0);
    assert_int_equal(r.h.primary, 0);
    rig_fini(&r);
}

static void a_node_that_was_never_asked_does_not_either(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 2);
    (void)primary_says(&r, 0, 1);
    r.now += r.h.rules.settle_us - 1;
    assert_int_equal(health_tick(&r.h, r.now), 0);
    r.now += 1;
    assert_true((health_tick(&r.h, r.now) & HEALTH_PRIMARY) != 0);
    rig_fini(&r);
}

static void an_old_primary_that_answers_first_is_not_taken(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 3);
    (void)primary_says(&r, 0, 1);
    (void)primary_says(&r, 1, 2);
    (void)replica_says(&r, 2, 2);
    assert_int_equal(r.h.primary, 1);
    is(&r, 0, NODE_UNKNOWN, NODE_FENCED);
    assert_int_equal(r.h.alarms, TOPOLOGY_OLD_PRIMARY);
    rig_fini(&r);
}

static void two_first_primaries_on_one_timeline_are_none(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 2);
    for (int i = 0; i < 50; i++) {
        (void)primary_says(&r, 0, 2);
        (void)primary_says(&r, 1, 2);
        r.now += STEP;
        (void)health_tick(&r.h, r.now);
    }
    assert_int_equal(r.h.primary, TOPOLOGY_NONE);
    assert_int_equal(r.h.alarms, TOPOLOGY_TWO_PRIMARIES);
    is(&r, 0, NODE_UNKNOWN, NODE_FENCED);
    /* One of them was the wrong one, and becomes a replica of the other. */
    for (int i = 0; i < 3; i++) {
        (void)replica_says(&r, 1, 2);
        (void)primary_says(&r, 0, 2);
        r.now += STEP;
    }
    assert_int_equal(r.h.primary, 0);
    assert_int_equal(r.h.alarms, 0);
    is(&r, 1, NODE_REPLICA, NODE_UP);
    rig_fini(&r);
}

static void a_promotion_is_followed_after_it_was_confirmed(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 3);
    settle(&r);
    uint64_t epoch = r.h.epoch;
    /* The old one still answers as primary: a later timeline is enough. */
    assert_int_equal(primary_says(&r, 1, 2) & HEALTH_PRIMARY, 0);
    assert_int_equal(r.h.primary, 0);
    is(&r, 1, NODE_UNKNOWN, NODE_FENCED); /* no reads from who is neither */
    (void)primary_says(&r, 0, 1);
    assert_int_equal(r.h.primary, 0);
    assert_true((primary_says(&r, 1, 2) & HEALTH_PRIMARY) != 0);
    assert_int_equal(r.h.primary, 1);
    assert_true(r.h.epoch > epoch);
    is(&r, 0, NODE_UNKNOWN, NODE_FENCED);
    assert_int_equal(r.h.alarms, TOPOLOGY_OLD_PRIMARY);
    rig_fini(&r);
}

static void what_is_not_said_twice_in_a_row_is_not_confirmed(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 3);
    settle(&r);
    (void)primary_says(&r, 1, 2);
    (void)fails(&r, 1);
    (void)primary_says(&r, 1, 2);
    assert_int_equal(r.h.primary, 0);
    (void)primary_says(&r, 1, 3); /* promoted once more */
    assert_int_equal(r.h.primary, 0);
    (void)replica_says(&r, 1, 1);
    (void)primary_says(&r, 1, 3);
    assert_int_equal(r.h.primary, 0);
    (void)primary_says(&r, 1, 3);
    assert_int_equal(r.h.primary, 1);
    rig_fini(&r);
}

static void a_fenced_node_is_back_when_it_follows_again(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 2);
    settle(&r);
    (void)primary_says(&r, 1, 2);
    (void)primary_says(&r, 1, 2);
    for (int i = 0; i < 100; i++) {
        (void)primary_says(&r, 0, 1);
        r.now += STEP;
        is(&r, 0, NODE_UNKNOWN, NODE_FENCED);
    }
    for (int i = 0; i < 4; i++) {
        (void)fails(&r, 0);
        is(&r, 0, NODE_UNKNOWN, NODE_FENCED);
    }
    for (int i = 0; i < 20; i++) {
        (void)replica_says(&r, 0, 2);
        r.now += STEP;
    }
    is(&r, 0, NODE_REPLICA, NODE_UP);
    assert_int_equal(r.h.alarms, 0);
    rig_fini(&r);
}

static void equal_timelines_keep_the_current_primary_and_raise_an_alarm(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 3);
    settle(&r);
    for (int i = 0; i < 10; i++) {
        (void)primary_says(&r, 1, 1);
        assert_int_equal(r.h.primary, 0);
    }
    is(&r, 1, NODE_UNKNOWN, NODE_FENCED);
    assert_int_equal(r.h.alarms, TOPOLOGY_TWO_PRIMARIES);
    /* Also when the current one is down: it may be the better one. */
    for (int i = 0; i < 5; i++)
        (void)fails(&r, 0);
    (void)primary_says(&r, 1, 1);
    (void)primary_says(&r, 1, 1);
    assert_int_equal(r.h.primary, 0);
    is(&r, 0, NODE_PRIMARY, NODE_DOWN);
    rig_fini(&r);
}

static void another_system_is_neither_primary_nor_replica(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 3);
    settle(&r);
    for (int i = 0; i < 3; i++)
        (void)answer_of(&r, 1, SYSTEM + 1, false, 9);
    assert_int_equal(r.h.primary, 0);
    is(&r, 1, NODE_UNKNOWN, NODE_FENCED);
    assert_int_equal(r.h.alarms, TOPOLOGY_OTHER_SYSTEM);
    (void)answer_of(&r, 1, SYSTEM + 1, true, 9);
    is(&r, 1, NODE_UNKNOWN, NODE_DOWN);
    rig_fini(&r);
}

static void a_primary_that_is_in_recovery_is_none(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 3);
    settle(&r);
    assert_true((replica_says(&r, 0, 1) & HEALTH_PRIMARY) != 0);
    assert_int_equal(r.h.primary, TOPOLOGY_NONE);
    is(&r, 1, NODE_REPLICA, NODE_UP); /* reads go on */
    (void)primary_says(&r, 1, 2);
    assert_int_equal(r.h.primary, TOPOLOGY_NONE);
    (void)primary_says(&r, 1, 2);
    assert_int_equal(r.h.primary, 1);
    rig_fini(&r);
}

static void a_primary_that_does_not_answer_stays_it_until_another_is_confirmed(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 3);
    settle(&r);
    for (int i = 0; i < 2; i++)
        assert_int_equal(fails(&r, 0), 0);
    assert_int_equal(fails(&r, 0) & (HEALTH_STATE | HEALTH_PRIMARY), HEALTH_STATE);
    is(&r, 0, NODE_PRIMARY, NODE_DOWN);
    assert_int_equal(r.h.primary, 0);
    (void)replica_says(&r, 1, 1);
    assert_int_equal(r.h.primary, 0);
    (void)primary_says(&r, 1, 2);
    (void)primary_says(&r, 1, 2);
    assert_int_equal(r.h.primary, 1);
    is(&r, 0, NODE_UNKNOWN, NODE_DOWN);
    (void)primary_says(&r, 0, 1);
    is(&r, 0, NODE_UNKNOWN, NODE_FENCED);
    assert_int_equal(r.h.primary, 1);
    rig_fini(&r);
}

static void a_restarted_primary_is_the_same_primary(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 2);
    settle(&r);
    uint64_t epoch = r.h.epoch;
    for (int i = 0; i < 5; i++)
        (void)fails(&r, 0);
    for (int i = 0; i < 20; i++) {
        (void)primary_says(&r, 0, 1);
        r.now += STEP;
    }
    is(&r, 0, NODE_PRIMARY, NODE_UP);
    assert_int_equal(r.h.epoch, epoch);
    rig_fini(&r);
}

static void silence_is_down_at_once(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 2);
    settle(&r);
    (void)health_ask(&r.h, 1, r.now);
    r.now += r.h.rules.silent_us - 1;
    (void)health_ask(&r.h, 1, r.now); /* asking again does not make it younger */
    assert_int_equal(health_tick(&r.h, r.now), 0);
    r.now += 1;
    assert_true((health_tick(&r.h, r.now) & HEALTH_STATE) != 0);
    is(&r, 1, NODE_REPLICA, NODE_DOWN);
    assert_int_equal(r.h.nodes[1].failure, HEALTH_SILENT);
    rig_fini(&r);
}

/* Probes until the node is up again; how long that took. */
static usec_t time_to_return(struct rig *r, int node)
{
    usec_t from = r->now;
    for (int i = 0; i < 1000 && r->h.nodes[node].state != NODE_UP; i++) {
        (void)replica_says(r, node, 1);
        r->now += STEP;
    }
    return r->now - from;
}

static void a_node_that_keeps_falling_stays_away_longer(void **state)
{
    struct rig r;
    usec_t before = 0, took = 0;
    (void)state;
    rig_init(&r, 2);
    settle(&r);
    for (int k = 0; k < 12; k++) {
        for (int i = 0; i < 3; i++)
            (void)fails(&r, 1);
        is(&r, 1, NODE_REPLICA, NODE_DOWN);
        took = time_to_return(&r, 1);
        assert_true(k == 0 || took >= before);
        before = took;
    }
    assert_in_range(took, r.h.rules.penalty_max_us, r.h.rules.penalty_max_us + 4 * STEP);
    /* A long good time is a fresh start. */
    for (int i = 0; i < 1500; i++) {
        (void)replica_says(&r, 1, 1);
        r.now += STEP;
    }
    for (int i = 0; i < 3; i++)
        (void)fails(&r, 1);
    assert_true(time_to_return(&r, 1) <= 5 * STEP);
    rig_fini(&r);
}

static void one_failure_is_not_down_but_forgets_freshness(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 2);
    settle(&r);
    (void)primary_says(&r, 0, 1);
    (void)replica_says(&r, 1, 1);
    assert_true(atomic_load(&r.live->nodes[1].replayed) > 0);
    assert_int_equal(fails(&r, 1), 0);
    is(&r, 1, NODE_REPLICA, NODE_UP);
    assert_int_equal(atomic_load(&r.live->nodes[1].replayed), 0);
    (void)replica_says(&r, 1, 1);
    assert_true(atomic_load(&r.live->nodes[1].replayed) > 0);
    rig_fini(&r);
}

static void an_answer_from_before_a_loss_publishes_nothing(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 2);
    settle(&r);
    struct health_answer a = {
        .in_recovery = true, .system = SYSTEM, .timeline = 1, .position = 1000, .sent_at = r.now};
    (void)health_ask(&r.h, 1, r.now);
    freshness_forget(r.live, 1); /* a worker has lost a connection to it */
    (void)health_answer(&r.h, 1, &a, r.now);
    assert_int_equal(atomic_load(&r.live->nodes[1].replayed), 0);
    (void)replica_says(&r, 1, 1);
    assert_true(atomic_load(&r.live->nodes[1].replayed) > 0);
    rig_fini(&r);
}

static void slow_is_entered_at_the_limit_and_left_at_half_of_it(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 2);
    settle(&r);
    struct health_answer a = {.in_recovery = true, .system = SYSTEM, .timeline = 1, .position = 1};
    static const struct {
        usec_t took;
        enum node_state state;
    } rows[] = {
        {10 * STEP, NODE_UP},  {11 * STEP, NODE_SLOW}, {9 * STEP, NODE_SLOW},
        {6 * STEP, NODE_SLOW}, {4 * STEP, NODE_UP},    {9 * STEP, NODE_UP},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (int k = 0; k < 60; k++) { /* until the smoothed time is there */
            a.sent_at = r.now;
            r.now += rows[i].took;
            (void)health_answer(&r.h, 1, &a, r.now);
        }
        is(&r, 1, NODE_REPLICA, rows[i].state);
    }
    rig_fini(&r);
}

static void lagging_is_entered_at_the_limit_and_left_at_half_of_it(void **state)
{
    static const struct {
        uint64_t behind;
        enum node_state state;
    } rows[] = {
        {0, NODE_UP},        {1000, NODE_UP},     {1001, NODE_LAGGING},
        {900, NODE_LAGGING}, {501, NODE_LAGGING}, {500, NODE_UP},
    };
    struct rig r;
    (void)state;
    rig_init_with(&r, 2, &(struct topology_policy){.max_lag_bytes = 1000});
    settle(&r);
    struct health_answer p = {.system = SYSTEM, .timeline = 1, .position = 100000};
    p.number = health_ask(&r.h, 0, r.now);
    p.sent_at = r.now;
    (void)health_answer(&r.h, 0, &p, r.now);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct health_answer a = {.in_recovery = true, .system = SYSTEM, .timeline = 1};
        a.position = p.position - rows[i].behind;
        a.sent_at = r.now;
        (void)health_answer(&r.h, 1, &a, r.now);
        is(&r, 1, NODE_REPLICA, rows[i].state);
    }
    rig_fini(&r);
}

static void a_replica_on_the_old_timeline_lags_since_the_switch(void **state)
{
    struct rig r;
    (void)state;
    rig_init_with(&r, 3, &(struct topology_policy){.max_lag_us = USEC_PER_SEC});
    settle(&r);
    for (int i = 0; i < 3; i++) {
        (void)primary_says(&r, 1, 2);
        (void)replica_says(&r, 2, 1);
        r.now += STEP;
    }
    assert_int_equal(r.h.primary, 1);
    is(&r, 2, NODE_REPLICA, NODE_UP);
    r.now += USEC_PER_SEC;
    (void)primary_says(&r, 1, 2);
    (void)replica_says(&r, 2, 1);
    is(&r, 2, NODE_REPLICA, NODE_LAGGING);
    assert_int_equal(atomic_load(&r.live->nodes[2].replayed), 0);
    (void)replica_says(&r, 2, 2);
    is(&r, 2, NODE_REPLICA, NODE_UP);
    rig_fini(&r);
}

static void without_any_primary_replicas_serve_once_the_start_is_over(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 2);
    (void)replica_says(&r, 0, 1);
    is(&r, 0, NODE_UNKNOWN, NODE_DOWN);
    (void)replica_says(&r, 1, 1);
    is(&r, 0, NODE_REPLICA, NODE_UP);
    is(&r, 1, NODE_REPLICA, NODE_UP);
    rig_fini(&r);
}

static void members_come_and_go(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 3);
    settle(&r);
    assert_true((health_remove(&r.h, 0, r.now) & HEALTH_PRIMARY) != 0);
    assert_int_equal(r.h.primary, TOPOLOGY_NONE);
    assert_int_equal(primary_says(&r, 0, 1), 0); /* an answer that comes late */
    health_add(&r.h, 0, r.now);
    is(&r, 0, NODE_UNKNOWN, NODE_DOWN);
    (void)primary_says(&r, 0, 1);
    (void)primary_says(&r, 0, 1);
    assert_int_equal(r.h.primary, 0);
    rig_fini(&r);
}

static void a_snapshot_shows_what_is_known(void **state)
{
    struct rig r;
    struct topology_node nodes[2] = {
        {.used = true, .name = STR_INIT("a:1"), .weight = 1},
        {.used = true, .name = STR_INIT("b:2"), .weight = 3, .drained = true}};
    (void)state;
    rig_init(&r, 2);
    settle(&r);
    struct topology model = {
        .nodes = nodes, .nnodes = 2, .live = r.live, .name = STR("main"), .primary = TOPOLOGY_NONE};
    struct topology *t = health_publish(&r.h, &model);
    assert_int_equal(t->primary, 0);
    assert_int_equal(t->epoch, r.h.epoch);
    assert_int_equal(t->nodes[0].role, NODE_PRIMARY);
    assert_int_equal(t->nodes[1].role, NODE_REPLICA);
    assert_int_equal(t->nodes[1].weight, 3);
    assert_true(t->nodes[1].drained);
    topology_put(&t);
    rig_fini(&r);
}

/* ---- random lives ---------------------------------------------------------------------------- */

static uint64_t seed;

static unsigned dice(unsigned sides)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(seed >> 33) % sides;
}

#define LIVES 3u

struct life { /* what a node really is */
    bool alive, in_recovery;
    uint32_t timeline;
};

/* Things happen to nodes as they do: they stop, start, are promoted, demoted and rewound. */
static void fate(struct life *l, uint32_t *newest)
{
    switch (dice(12)) {
    case 0:
        l->alive = !l->alive;
        break;
    case 1:
        if (l->in_recovery) {
            l->in_recovery = false;
            l->timeline = ++*newest;
        }
        break;
    case 2:
        l->in_recovery = true;
        l->timeline = *newest;
        break;
    default:
        break;
    }
}

static void check_invariants(const struct rig *r, int before, const unsigned *said)
{
    const struct health *h = &r->h;
    unsigned primaries = 0;
    for (unsigned i = 0; i < LIVES; i++) {
        const struct health_node *n = &h->nodes[i];
        primaries += n->role == NODE_PRIMARY ? 1 : 0;
        assert_int_equal(n->role == NODE_PRIMARY, h->primary == (int)i);
        /* Who takes writes and is not the one is fenced; nobody reads there. */
        if (n->claims && (int)i != h->primary && n->heard && n->successes > 0)
            assert_int_equal(n->state, NODE_FENCED);
        if (n->role == NODE_REPLICA)
            assert_true(n->in_recovery && n->state != NODE_FENCED);
    }
    assert_true(primaries <= 1);
    if (h->primary == TOPOLOGY_NONE)
        return;
    assert_int_equal(h->nodes[h->primary].timeline >= h->timeline, 1);
    /* But for the first choice, a switch has been said often enough, in a row, by the new one. */
    if (before != h->primary && h->epoch > 1)
        assert_true(said[h->primary] >= h->rules.confirm);
}

static void one_random_life(uint64_t number)
{
    struct rig r;
    struct life lives[LIVES] = {{true, false, 1}, {true, true, 1}, {true, true, 1}};
    unsigned said[LIVES] = {0}; /* same claim in a row */
    uint32_t newest = 1, claimed[LIVES] = {0};
    seed = number;
    rig_init(&r, LIVES);
    for (int step = 0; step < 400; step++) {
        int node = (int)dice(LIVES), before = r.h.primary;
        struct life *l = &lives[node];
        uint64_t epoch = r.h.epoch;
        enum node_state was = r.h.nodes[node].state;
        fate(&lives[dice(LIVES)], &newest);
        bool answers = l->alive && dice(20) != 0;
        if (answers) {
            bool same = !l->in_recovery && claimed[node] == l->timeline;
            said[node] = l->in_recovery ? 0 : same ? said[node] + 1 : 1;
            claimed[node] = l->in_recovery ? 0 : l->timeline;
            (void)answer_of(&r, node, SYSTEM, l->in_recovery, l->timeline);
        } else {
            said[node] = claimed[node] = 0;
            (void)fails(&r, node);
        }
        check_invariants(&r, before, said);
        assert_true(r.h.epoch >= epoch);
        if (was == NODE_FENCED && r.h.nodes[node].state != NODE_FENCED && answers)
            assert_true(l->in_recovery || r.h.primary == node); /* fenced stays fenced */
        r.now += STEP;
        (void)health_tick(&r.h, r.now);
    }
    /* Left alone, the cluster finds the one on the newest timeline. */
    for (unsigned i = 0; i < LIVES; i++)
        lives[i] = (struct life){true, i != 1, newest + 1};
    for (int step = 0; step < 4000; step++) {
        int node = step % (int)LIVES;
        (void)answer_of(&r, node, SYSTEM, lives[node].in_recovery, lives[node].timeline);
        r.now += STEP;
    }
    is(&r, 0, NODE_REPLICA, NODE_UP);
    is(&r, 1, NODE_PRIMARY, NODE_UP);
    is(&r, 2, NODE_REPLICA, NODE_UP);
    assert_int_equal(r.h.alarms, 0);
    rig_fini(&r);
}

static void in_random_lives_there_are_never_two_primaries(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= 300; i++)
        one_random_life(i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_primary_is_chosen_when_all_have_been_heard),
        cmocka_unit_test(a_silent_node_does_not_keep_the_cluster_waiting_for_ever),
        cmocka_unit_test(a_node_that_was_never_asked_does_not_either),
        cmocka_unit_test(an_old_primary_that_answers_first_is_not_taken),
        cmocka_unit_test(two_first_primaries_on_one_timeline_are_none),
        cmocka_unit_test(a_promotion_is_followed_after_it_was_confirmed),
        cmocka_unit_test(what_is_not_said_twice_in_a_row_is_not_confirmed),
        cmocka_unit_test(a_fenced_node_is_back_when_it_follows_again),
        cmocka_unit_test(equal_timelines_keep_the_current_primary_and_raise_an_alarm),
        cmocka_unit_test(another_system_is_neither_primary_nor_replica),
        cmocka_unit_test(a_primary_that_is_in_recovery_is_none),
        cmocka_unit_test(a_primary_that_does_not_answer_stays_it_until_another_is_confirmed),
        cmocka_unit_test(a_restarted_primary_is_the_same_primary),
        cmocka_unit_test(silence_is_down_at_once),
        cmocka_unit_test(a_node_that_keeps_falling_stays_away_longer),
        cmocka_unit_test(one_failure_is_not_down_but_forgets_freshness),
        cmocka_unit_test(an_answer_from_before_a_loss_publishes_nothing),
        cmocka_unit_test(slow_is_entered_at_the_limit_and_left_at_half_of_it),
        cmocka_unit_test(lagging_is_entered_at_the_limit_and_left_at_half_of_it),
        cmocka_unit_test(a_replica_on_the_old_timeline_lags_since_the_switch),
        cmocka_unit_test(without_any_primary_replicas_serve_once_the_start_is_over),
        cmocka_unit_test(members_come_and_go),
        cmocka_unit_test(a_snapshot_shows_what_is_known),
        cmocka_unit_test(in_random_lives_there_are_never_two_primaries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
