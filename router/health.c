/* health.c - roles, states and the primary; the rules are in health.h.
 *
 * Every call notes what it was told in the node, then judges: judge_primary() for the cluster, and
 * judge_node() for the node.  set_node() is the only place that changes a role or a state.
 */
#include "router/health.h"

#include "base/check.h"

#define ROUND_TRIP_SHIFT 2 /* a new round trip counts a quarter */

void health_rules_default(struct health_rules *r, usec_t check_interval_us)
{
    usec_t step = MAX(check_interval_us, 1000);
    *r = (struct health_rules){
        .fall = 3,
        .rise = 2,
        .confirm = 2,
        .slow_us = 10 * step,
        .silent_us = MAX(5 * step, USEC_PER_SEC),
        .settle_us = 20 * step,
        .penalty_us = 2 * step,
        .penalty_max_us = 30 * (usec_t)USEC_PER_SEC,
    };
}

void health_init(struct health *h, const struct health_rules *rules,
                 const struct topology_policy *policy, struct topology_live *live, usec_t now)
{
    CHECK(rules->fall > 0 && rules->rise > 0 && rules->confirm > 0);
    memset(h, 0, sizeof(*h));
    h->rules = *rules;
    h->policy = *policy;
    h->live = live;
    h->primary = TOPOLOGY_NONE;
    h->started_at = now;
    freshness_init(&h->freshness);
}

static struct health_node *node_at(struct health *h, int node)
{
    CHECK(node >= 0 && node < (int)TOPOLOGY_NODES_MAX);
    return &h->nodes[node];
}

/* ---- moves ----------------------------------------------------------------------------------- */

static unsigned set_node(struct health *h, int node, enum node_role role, enum node_state state,
                         usec_t now)
{
    struct health_node *n = &h->nodes[node];
    unsigned changed = 0;
    CHECK((role == NODE_PRIMARY) == (node == h->primary));
    CHECK(role != NODE_PRIMARY || (state != NODE_FENCED && state != NODE_LAGGING));
    if (n->role != role)
        changed |= HEALTH_ROLE;
    if (n->state != state)
        changed |= HEALTH_STATE;
    if (changed == 0)
        return 0;
    if (n->state == NODE_DOWN && state != NODE_DOWN)
        n->returned_at = now;
    n->role = role;
    n->state = state;
    n->changed_at = now;
    return changed;
}

/* Nobody is the primary any more. */
static unsigned resign(struct health *h, enum node_state state, usec_t now)
{
    int was = h->primary;
    if (was == TOPOLOGY_NONE)
        return 0;
    h->primary = TOPOLOGY_NONE;
    h->epoch++;
    h->primary_at = now;
    return HEALTH_PRIMARY | set_node(h, was, NODE_UNKNOWN, state, now);
}

static unsigned become_primary(struct health *h, int node, usec_t now)
{
    struct health_node *n = &h->nodes[node];
    unsigned changed = HEALTH_PRIMARY;
    if (h->primary != TOPOLOGY_NONE && h->primary != node) {
        const struct health_node *old = &h->nodes[h->primary];
        changed |= resign(h, old->failures == 0 ? NODE_FENCED : NODE_DOWN, now);
    }
    h->primary = node;
    h->epoch++;
    h->chosen = true;
    h->primary_at = now;
    h->system = n->system;
    h->timeline = n->timeline;
    n->lag_us = 0;
    n->lag_bytes = 0;
    freshness_reset(&h->freshness, h->live, n->system, n->timeline);
    for (int i = 0; i < (int)TOPOLOGY_NODES_MAX; i++) {
        struct health_node *o = &h->nodes[i];
        o->confirmations = 0;
        o->other_system = o->used && o->system != 0 && o->system != h->system;
    }
    return changed | set_node(h, node, NODE_PRIMARY, NODE_UP, now);
}

/* ---- the cluster ----------------------------------------------------------------------------- */

static bool all_heard(const struct health *h)
{
    for (int i = 0; i < (int)TOPOLOGY_NODES_MAX; i++) {
        if (h->nodes[i].used && !h->nodes[i].heard)
            return false;
    }
    return true;
}

/* Takes writes, answers, and is of this cluster; an unknown cluster is that of the first node. */
static bool is_candidate(const struct health *h, int node, uint64_t system)
{
    const struct health_node *n = &h->nodes[node];
    return n->used && n->claims && n->failures == 0 && n->timeline >= h->timeline &&
           n->timeline != 0 && (system == 0 || n->system == system);
}

/* The only candidate on the highest timeline, or TOPOLOGY_NONE. */
static int find_candidate(const struct health *h, bool *tied)
{
    uint64_t system = h->system;
    int best = TOPOLOGY_NONE;
    *tied = false;
    for (int i = 0; i < (int)TOPOLOGY_NODES_MAX; i++) {
        if (!is_candidate(h, i, system))
            continue;
        system = h->nodes[i].system;
        if (best == TOPOLOGY_NONE || h->nodes[i].timeline > h->nodes[best].timeline) {
            best = i;
            *tied = false;
        } else if (h->nodes[i].timeline == h->nodes[best].timeline) {
            *tied = true;
        }
    }
    return best;
}

/* Without a primary the replicas' own system has to do. */
static void settle_system(struct health *h)
{
    for (int i = 0; i < (int)TOPOLOGY_NODES_MAX && h->system == 0; i++) {
        if (h->nodes[i].used)
            h->system = h->nodes[i].system;
    }
}

static bool is_settled(struct health *h, usec_t now)
{
    if (!h->chosen && !all_heard(h) && now - h->started_at < h->rules.settle_us)
        return false;
    return true;
}

static uint32_t alarms_now(const struct health *h)
{
    uint32_t alarms = 0;
    bool tied = false;
    if (h->primary == TOPOLOGY_NONE) {
        (void)find_candidate(h, &tied);
        alarms |= tied ? (uint32_t)TOPOLOGY_TWO_PRIMARIES : 0;
    }
    for (int i = 0; i < (int)TOPOLOGY_NODES_MAX; i++) {
        const struct health_node *n = &h->nodes[i];
        if (!n->used || i == h->primary)
            continue;
        bool writes = n->claims && n->failures == 0;
        if (n->other_system)
            alarms |= TOPOLOGY_OTHER_SYSTEM;
        else if (writes && n->timeline < h->timeline)
            alarms |= TOPOLOGY_OLD_PRIMARY;
        else if (writes && n->timeline == h->timeline && h->primary != TOPOLOGY_NONE)
            alarms |= TOPOLOGY_TWO_PRIMARIES;
    }
    return alarms;
}

static unsigned judge_alarms(struct health *h)
{
    uint32_t now = alarms_now(h);
    if (now == h->alarms)
        return 0;
    h->alarms = now;
    return HEALTH_ALARM;
}

/* Is there another primary, or a first one? */
static unsigned judge_primary(struct health *h, usec_t now)
{
    bool tied = false;
    if (!is_settled(h, now))
        return 0;
    int best = find_candidate(h, &tied);
    if (best == TOPOLOGY_NONE) {
        if (!h->chosen && h->primary == TOPOLOGY_NONE)
            settle_system(h);
        return 0;
    }
    const struct health_node *n = &h->nodes[best];
    /* A later timeline of the current primary itself is a switch too: history has forked. */
    if (h->primary != TOPOLOGY_NONE && n->timeline == h->timeline)
        return 0;
    if (tied || (h->chosen && n->confirmations < h->rules.confirm))
        return 0;
    return become_primary(h, best, now);
}

/* ---- a node ---------------------------------------------------------------------------------- */

static bool over(int64_t value, uint64_t limit, bool already)
{
    if (limit == 0 || value < 0)
        return false;
    return (uint64_t)value > (already ? limit / 2 : limit);
}

/* A state for a node that answers and is one of the cluster's. What it has entered it leaves only
 * at half the limit. */
static enum node_state state_of(const struct health *h, const struct health_node *n)
{
    bool lagging = n->state == NODE_LAGGING, slow = n->state == NODE_SLOW;
    if (n->role == NODE_REPLICA && (over(n->lag_us, (uint64_t)h->policy.max_lag_us, lagging) ||
                                    over(n->lag_bytes, h->policy.max_lag_bytes, lagging)))
        return NODE_LAGGING;
    if (over(n->round_trip_us, (uint64_t)h->rules.slow_us, slow))
        return NODE_SLOW;
    return NODE_UP;
}

static bool is_back(const struct health *h, const struct health_node *n, usec_t now)
{
    if (!n->fell)
        return n->successes > 0;
    return n->successes >= h->rules.rise && now - n->good_since >= n->penalty_us;
}

/* What a node is after an answer. */
static unsigned judge_node(struct health *h, int node, usec_t now)
{
    struct health_node *n = &h->nodes[node];
    if (node == h->primary) {
        enum node_state state = n->state == NODE_DOWN && !is_back(h, n, now) ? NODE_DOWN
                                                                             : state_of(h, n);
        return set_node(h, node, NODE_PRIMARY, state, now);
    }
    if (n->claims || n->other_system)
        return set_node(h, node, NODE_UNKNOWN, n->claims ? NODE_FENCED : NODE_DOWN, now);
    if (h->system == 0)
        return set_node(h, node, NODE_UNKNOWN, NODE_DOWN, now);
    bool down = (n->state == NODE_DOWN || n->state == NODE_FENCED) && !is_back(h, n, now);
    unsigned changed = set_node(h, node, NODE_REPLICA, down ? NODE_DOWN : n->state, now);
    if (down)
        return changed;
    return changed | set_node(h, node, NODE_REPLICA, state_of(h, n), now);
}

/* All others: another primary has changed what their answers mean. */
static unsigned judge_all(struct health *h, usec_t now)
{
    unsigned changed = 0;
    for (int i = 0; i < (int)TOPOLOGY_NODES_MAX; i++) {
        struct health_node *n = &h->nodes[i];
        if (n->used && n->heard && n->failures == 0 && n->successes > 0)
            changed |= judge_node(h, i, now);
    }
    return changed | judge_alarms(h);
}

static void note_lag(struct health *h, int node, usec_t now)
{
    struct health_node *n = &h->nodes[node];
    freshness_lag(&h->freshness, n->position, now, &n->lag_us, &n->lag_bytes);
    /* One that stayed on the old timeline is as old as the switch, whatever its position says. */
    if (n->timeline != 0 && n->timeline < h->timeline && h->primary != TOPOLOGY_NONE) {
        n->lag_us = MAX(n->lag_us, now - h->primary_at);
        n->lag_bytes = -1;
    }
}

static uint16_t one_more(uint16_t n)
{
    return n == UINT16_MAX ? n : (uint16_t)(n + 1);
}

static void note_answer(struct health *h, int node, const struct health_answer *a, usec_t now)
{
    struct health_node *n = &h->nodes[node];
    usec_t took = MAX(now - a->sent_at, 0);
    bool was_candidate = n->claims && n->timeline == a->timeline && n->system == a->system;
    n->heard = true;
    n->asked_at = 0;
    n->failures = 0;
    if (n->successes == 0)
        n->good_since = now;
    n->successes = one_more(n->successes);
    n->round_trip_us = n->round_trip_us == 0
                           ? took
                           : n->round_trip_us + (took - n->round_trip_us) / (1 << ROUND_TRIP_SHIFT);
    n->in_recovery = a->in_recovery;
    n->claims = !a->in_recovery;
    n->system = a->system;
    n->timeline = a->timeline;
    n->position = a->position;
    n->other_system = h->system != 0 && a->system != h->system;
    if (!n->claims)
        n->confirmations = 0;
    else
        n->confirmations = was_candidate ? one_more(n->confirmations) : 1;
}

/* The current primary has said that it is none, or belongs to an earlier time. */
static unsigned judge_current(struct health *h, int node, usec_t now)
{
    const struct health_node *n = &h->nodes[node];
    if (node != h->primary)
        return 0;
    if (n->claims && !n->other_system && n->timeline >= h->timeline)
        return 0;
    return resign(h, n->claims ? NODE_FENCED : NODE_DOWN, now);
}

static void publish_position(struct health *h, int node, const struct health_answer *a)
{
    struct health_node *n = &h->nodes[node];
    if (node == h->primary) {
        struct freshness_probe p = {.number = a->number,
                                    .position = a->position,
                                    .sent_at = a->sent_at,
                                    .settled = a->settled};
        freshness_primary(&h->freshness, &p, a->timeline);
    } else if (n->in_recovery && !n->other_system &&
               n->asked_life == (uint32_t)atomic_load(&h->live->nodes[node].life)) {
        freshness_replica(&h->freshness, h->live, node, a->position, a->timeline);
    }
}

unsigned health_answer(struct health *h, int node, const struct health_answer *a, usec_t now)
{
    struct health_node *n = node_at(h, node);
    unsigned changed = 0;
    if (!n->used)
        return 0;
    note_answer(h, node, a, now);
    changed |= judge_current(h, node, now);
    changed |= judge_primary(h, now);
    publish_position(h, node, a);
    if (n->in_recovery)
        note_lag(h, node, now);
    /* A node that was refused while the system was not known is looked at again with all. */
    return changed | judge_node(h, node, now) |
           ((changed & HEALTH_PRIMARY) != 0 || h->epoch == 0 ? judge_all(h, now) : 0) |
           judge_alarms(h);
}

/* ---- failures -------------------------------------------------------------------------------- */

/* Falls soon after it came back: longer next time. */
static void punish(struct health *h, struct health_node *n, usec_t now)
{
    bool soon = n->fell && n->returned_at != 0 &&
                now - n->returned_at < 4 * MAX(n->penalty_us, h->rules.penalty_us);
    usec_t next = soon ? 2 * n->penalty_us : h->rules.penalty_us;
    n->penalty_us = MIN(MAX(next, h->rules.penalty_us), h->rules.penalty_max_us);
    n->fell = true;
}

static unsigned fall(struct health *h, int node, usec_t now)
{
    struct health_node *n = &h->nodes[node];
    if (n->state == NODE_DOWN || n->state == NODE_FENCED)
        return 0;
    punish(h, n, now);
    return set_node(h, node, n->role, NODE_DOWN, now);
}

static unsigned failed(struct health *h, int node, enum health_failure why, bool at_once,
                       usec_t now)
{
    struct health_node *n = node_at(h, node);
    unsigned changed = 0;
    if (!n->used)
        return 0;
    n->heard = true;
    n->failure = why;
    n->successes = 0;
    n->confirmations = 0;
    n->failures = one_more(n->failures);
    freshness_forget(h->live, node);
    if (at_once || n->failures >= h->rules.fall)
        changed |= fall(h, node, now);
    changed |= judge_primary(h, now);
    if ((changed & HEALTH_PRIMARY) != 0 || h->epoch == 0)
        changed |= judge_all(h, now);
    return changed | judge_alarms(h);
}

unsigned health_failed(struct health *h, int node, enum health_failure why, usec_t now)
{
    return failed(h, node, why, false, now);
}

unsigned health_tick(struct health *h, usec_t now)
{
    unsigned changed = 0;
    for (int i = 0; i < (int)TOPOLOGY_NODES_MAX; i++) {
        struct health_node *n = &h->nodes[i];
        if (n->used && n->asked_at != 0 && now - n->asked_at >= h->rules.silent_us) {
            n->asked_at = 0;
            changed |= failed(h, i, HEALTH_SILENT, true, now);
        }
    }
    changed |= judge_primary(h, now);
    if ((changed & HEALTH_PRIMARY) != 0 || h->epoch == 0)
        changed |= judge_all(h, now);
    return changed;
}

/* ---- members --------------------------------------------------------------------------------- */

void health_add(struct health *h, int node, usec_t now)
{
    struct health_node *n = node_at(h, node);
    if (n->used)
        return;
    *n = (struct health_node){
        .used = true,
        .role = NODE_UNKNOWN,
        .state = NODE_DOWN,
        .lag_us = -1,
        .lag_bytes = -1,
        .changed_at = now,
    };
    freshness_forget(h->live, node);
}

unsigned health_remove(struct health *h, int node, usec_t now)
{
    struct health_node *n = node_at(h, node);
    unsigned changed = 0;
    if (!n->used)
        return 0;
    if (node == h->primary)
        changed |= resign(h, NODE_DOWN, now);
    n->used = false;
    freshness_forget(h->live, node);
    return changed | HEALTH_STATE | judge_alarms(h);
}

uint64_t health_ask(struct health *h, int node, usec_t now)
{
    struct health_node *n = node_at(h, node);
    if (n->asked_at == 0)
        n->asked_at = now;
    n->asked_life = (uint32_t)atomic_load(&h->live->nodes[node].life);
    return node == h->primary || !n->in_recovery ? freshness_number(h->live) : 0;
}

struct topology *health_publish(const struct health *h, const struct topology *was)
{
    struct topology_node nodes[TOPOLOGY_NODES_MAX];
    struct topology model = *was;
    CHECK(was->nnodes <= TOPOLOGY_NODES_MAX);
    for (unsigned i = 0; i < was->nnodes; i++) {
        const struct health_node *n = &h->nodes[i];
        nodes[i] = was->nodes[i];
        nodes[i].used = was->nodes[i].used && n->used;
        nodes[i].role = n->role;
        nodes[i].state = n->state;
        nodes[i].lag_us = n->lag_us;
        nodes[i].lag_bytes = n->lag_bytes;
        nodes[i].changed_at = n->changed_at;
    }
    model.nodes = nodes;
    model.live = h->live;
    model.policy = h->policy;
    model.epoch = h->epoch;
    model.alarms = h->alarms;
    model.primary = (int16_t)h->primary;
    return topology_new(&model);
}

const char *health_failure_name(enum health_failure why)
{
    switch (why) {
    case HEALTH_REFUSED:
        return "refused";
    case HEALTH_LOST:
        return "connection lost";
    case HEALTH_SILENT:
        return "no answer";
    case HEALTH_STARTING:
        return "starting or stopping";
    case HEALTH_LOGIN:
        return "login refused";
    }
    return "?";
}
