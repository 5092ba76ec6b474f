/* health.h - which node is what, from the answers to probes: a pure machine with hysteresis.
 *
 * Whoever probes tells what came back, with the time, and gets to know what has changed; then
 * health_publish makes the snapshot for the workers.  No socket, no clock, no allocation but in
 * health_publish.  One thread.
 *
 * The primary is the node that is not in recovery, has the cluster's system identifier and is on
 * the highest timeline.
 *   - First choice: when every node has answered or failed once, or at the end of settle_us, so
 *     that an old primary is not taken for the one because it answered first.
 *   - A switch needs `confirm` answers in a row of the new one that say the same.  It does not need
 *     the old one to be gone: a higher timeline is a promotion that has happened.
 *   - Equal timelines: the current one stays, the other is fenced, an alarm is raised.  With no
 *     current one, none is chosen.
 *   - A primary that does not answer stays the primary, down, until another is confirmed; one that
 *     says that it is in recovery is none any more.
 *   - Any other node that takes writes is fenced, until it says that it is in recovery.
 *
 * A node is down after `fall` failures in a row, probes and requests of the data path taken
 * together, or at once when its probe has been silent for silent_us.  It is back after `rise` good
 * probes over at least its penalty, which doubles whenever it falls again soon: a node whose probes
 * work and whose connections do not costs its clients less and less.  Busy is not ill: a full pool,
 * a long queue, a refusal for too many connections are never told to this machine as failures.
 *
 * Positions are neutral numbers that the codec makes, with one rule: the end of the last record,
 * comparable between insert and replay (no page header counted in one and not in the other).
 * The timeline of a node that takes writes is that of its insert position, not the one its last
 * checkpoint recorded; of a node in recovery the newest that it is known to follow, 0: not known.
 */
#ifndef PENSTOCK_HEALTH_H
#define PENSTOCK_HEALTH_H

#include "base/base.h"
#include "base/clock.h"
#include "router/freshness.h"
#include "router/topology.h"

struct health_rules {
    uint16_t fall, rise, confirm; /* at least 1 each */
    usec_t slow_us;               /* smoothed round trip of probes; 0: never slow */
    usec_t silent_us;             /* an unanswered probe of that age makes the node down */
    usec_t settle_us;             /* longest wait before the first choice of a primary */
    usec_t penalty_us;            /* least time before a fallen node is back, */
    usec_t penalty_max_us;        /* and the most it grows to */
};

/* 3 failures, 2 good ones, 2 to confirm; slow from 10 intervals on, silent after 5 (at least 1 s),
 * settled after 20; penalties from 2 intervals to 30 s. */
void health_rules_default(struct health_rules *r, usec_t check_interval_us);

struct health_answer {
    bool in_recovery;
    uint64_t system;
    uint32_t timeline;
    uint64_t position; /* insert position, or how far it has replayed */
    /* Of a primary: what is in its log by now. The rest of the position is in its memory, perhaps
     * until an open transaction ends, and no standby is to blame for lacking it. 0: all of it. */
    uint64_t settled;
    uint64_t number; /* freshness_number of this probe; 0: it had none */
    usec_t sent_at;
};

enum health_failure {
    HEALTH_REFUSED,  /* nobody listens there */
    HEALTH_LOST,     /* connection reset or closed */
    HEALTH_SILENT,   /* no answer in time */
    HEALTH_STARTING, /* it says that it is starting or stopping */
    HEALTH_LOGIN,    /* it refused the login of a probe: for logs; counts like the others */
};

/* What a call has changed. */
enum health_change {
    HEALTH_ROLE = 1u << 0,
    HEALTH_STATE = 1u << 1,
    HEALTH_PRIMARY = 1u << 2, /* another primary, or none any more: epoch or index differ */
    HEALTH_ALARM = 1u << 3,   /* raised or gone */
};

struct health_node {
    bool used, heard; /* heard: has answered or failed since it was added */
    enum node_role role;
    enum node_state state;
    bool in_recovery, other_system, claims; /* claims: its last answer said that it takes writes */
    uint16_t failures, successes;           /* in a row */
    uint16_t confirmations;                 /* answers in a row that make it the next primary */
    uint32_t timeline;
    uint64_t system, position;
    usec_t round_trip_us; /* smoothed */
    usec_t asked_at;      /* when the oldest unanswered probe was sent; 0: none */
    uint32_t asked_life;  /* topology_node_live.life at that time */
    bool fell;            /* has been down since it was added */
    usec_t good_since, returned_at, penalty_us, changed_at;
    usec_t lag_us;
    int64_t lag_bytes;
    enum health_failure failure; /* the last one */
};

struct health {
    struct health_rules rules;
    struct topology_policy policy;
    struct freshness freshness;
    struct topology_live *live; /* borrowed */
    uint64_t system;            /* of the cluster; 0: not known yet */
    uint64_t epoch;
    uint32_t timeline; /* of the primary, now or last */
    uint32_t alarms;
    int primary;                   /* index, or TOPOLOGY_NONE */
    bool chosen;                   /* there has been a primary, or settle_us is over */
    usec_t started_at, primary_at; /* primary_at: of the last change of primary */
    struct health_node nodes[TOPOLOGY_NODES_MAX];
};

void health_init(struct health *h, const struct health_rules *rules,
                 const struct topology_policy *policy, struct topology_live *live, usec_t now);
/* The node joins, unknown and down until it answers. */
void health_add(struct health *h, int node, usec_t now);
/* It leaves. Returns health_change bits, as all below. */
unsigned health_remove(struct health *h, int node, usec_t now);

/* A probe is being sent. Returns its number for health_answer: not 0 when this node is taken for
 * the primary or may be it. Before anything is written. */
uint64_t health_ask(struct health *h, int node, usec_t now);
unsigned health_answer(struct health *h, int node, const struct health_answer *a, usec_t now);
/* A probe, or a request of the data path (also a connection that could not be made), failed for a
 * reason that lies with the node. */
/* Whatever it was, what is known of the node's freshness is forgotten until it answers again: a
 * database that restarts may come back with an earlier state. For the same reason a worker that
 * loses a connection to a replica calls freshness_forget before it asks any node again. */
unsigned health_failed(struct health *h, int node, enum health_failure why, usec_t now);
/* Time has passed: silence and the first choice. At least once per interval. */
unsigned health_tick(struct health *h, usec_t now);

/* A snapshot like `was` (nodes' names, weights, policy, drained) with what is known now. One
 * reference. */
struct topology *health_publish(const struct health *h, const struct topology *was);

const char *health_failure_name(enum health_failure why);

#endif
