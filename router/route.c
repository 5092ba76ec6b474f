/* route.c - the decision; see route.h.
 *
 * Three steps: what is wished and by whom, whether a replica may be asked at all, and which one.
 */
#include "router/route.h"

#include "router/balance.h"

struct wish {
    enum rules_wish what;
    enum route_reason by;
};

static struct wish strongest(const struct route_ask *a)
{
    const struct wish order[] = {
        {a->hint, ROUTE_BY_HINT},       {a->setting, ROUTE_BY_SETTING}, {a->rule, ROUTE_BY_RULE},
        {a->startup, ROUTE_BY_STARTUP}, {a->entry, ROUTE_BY_ENTRY},
    };
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        if (order[i].what != WISH_NONE)
            return order[i];
    }
    return (struct wish){WISH_AUTO, ROUTE_BY_ANALYSIS};
}

static void choose(struct route_choice *out, enum route_target target, int node,
                   enum route_reason why)
{
    out->target = target;
    out->node = (int16_t)node;
    out->reason = why;
}

/* A primary that is down is waited for: its successor may be near. */
static void to_primary(const struct route_ask *a, struct route_choice *out, enum route_reason why)
{
    const struct topology *t = a->topology;
    int p = t->primary;
    if (p == TOPOLOGY_NONE || t->nodes[p].state == NODE_DOWN || (a->avoid >> p & 1u) != 0)
        choose(out, ROUTE_WAIT, TOPOLOGY_NONE, ROUTE_NO_PRIMARY);
    else
        choose(out, ROUTE_NODE, p, why);
}

/* Takes out what does not show yet what this client must see. *why: when nothing is left. */
static uint64_t fresh_among(const struct route_ask *a, uint64_t set, enum route_reason *why)
{
    const struct topology *t = a->topology;
    uint64_t need = 0;
    *why = ROUTE_NOT_FRESH;
    if (t->policy.consistency == CONSISTENCY_OFF)
        return set;
    if (a->unsettled) {
        *why = ROUTE_UNSETTLED;
        return 0;
    }
    if (t->policy.consistency == CONSISTENCY_DATABASE && a->db != NULL &&
        !freshness_db_need(a->db, a->reads, &need)) {
        *why = ROUTE_WRITING;
        return 0;
    }
    for (uint64_t left = set; left != 0; left &= left - 1) {
        int i = __builtin_ctzll(left);
        bool met = (a->mark == NULL || freshness_met(a->mark, t->live, i)) &&
                   (need == 0 || freshness_has(t->live, i, need));
        if (!met)
            set &= ~(UINT64_C(1) << i);
    }
    return set;
}

/* To a replica, or where it goes without one. */
static void to_replica(const struct route_ask *a, struct route_choice *out, struct wish w)
{
    bool demanded = w.what == WISH_REPLICA;
    enum route_reason lack = ROUTE_NO_REPLICA;
    uint64_t up = a->topology->readable & ~a->avoid;
    uint64_t fresh = up == 0 ? 0 : fresh_among(a, up, &lack);
    int node = balance_pick(a->topology, fresh, a->random);
    out->demanded = demanded;
    if (node != TOPOLOGY_NONE) {
        bool block = a->read_only && w.by == ROUTE_BY_ANALYSIS;
        out->replica = true;
        choose(out, ROUTE_NODE, node, block ? ROUTE_READ_ONLY : w.by);
    } else if (fresh == 0 && up != 0 && demanded) {
        choose(out, ROUTE_WAIT, TOPOLOGY_NONE, lack);
    } else if (a->topology->policy.no_replica_is_error && up == 0 && w.what != WISH_PREFER) {
        choose(out, ROUTE_ERROR, TOPOLOGY_NONE, ROUTE_NO_REPLICA);
    } else {
        out->demanded = false;
        to_primary(a, out, up != 0 && fresh != 0 ? ROUTE_NO_REPLICA : lack);
    }
}

static enum sql_standby verdict_of(const struct route_ask *a)
{
    if (a->verdict == STANDBY_OK && a->serializable)
        return STANDBY_SERIALIZABLE;
    if (a->verdict == STANDBY_OK && a->learned)
        return STANDBY_LEARNED;
    return a->verdict;
}

static void bound(const struct route_ask *a, struct route_choice *out)
{
    const struct topology_node *n = &a->topology->nodes[a->bound];
    out->replica = n->role == NODE_REPLICA;
    if (out->replica && a->verdict == STANDBY_ADVISORY_LOCK && !a->bound_by_pin)
        choose(out, ROUTE_ERROR, TOPOLOGY_NONE, ROUTE_LOCK_IN_READ_ONLY);
    else
        choose(out, ROUTE_NODE, a->bound,
               a->bound_by_pin ? ROUTE_BOUND_PIN : ROUTE_BOUND_TRANSACTION);
}

void route_decide(const struct route_ask *a, struct route_choice *out)
{
    *out = (struct route_choice){.node = TOPOLOGY_NONE, .verdict = verdict_of(a)};
    if (a->bound != TOPOLOGY_NONE) {
        bound(a, out);
        return;
    }
    struct wish w = strongest(a);
    switch (w.what) {
    case WISH_NONE:
    case WISH_PRIMARY:
        to_primary(a, out, w.by);
        return;
    case WISH_REPLICA:
        to_replica(a, out, w);
        return;
    case WISH_AUTO:
    case WISH_PREFER:
        break;
    }
    /* A block that is not READ ONLY may write later, and could not be moved then. */
    if (out->verdict != STANDBY_OK || (a->begins_block && !a->read_only))
        to_primary(a, out, ROUTE_BY_ANALYSIS);
    else
        to_replica(a, out, w.what == WISH_AUTO ? (struct wish){w.what, ROUTE_BY_ANALYSIS} : w);
}

static bool cut_word(struct str *rest, struct str *word)
{
    *rest = str_trim(*rest);
    size_t n = 0;
    while (n < rest->n && rest->p[n] != ' ' && rest->p[n] != '\t' && rest->p[n] != ',' &&
           rest->p[n] != '\n')
        n++;
    *word = (struct str){rest->p, n};
    *rest = (struct str){rest->p + n, rest->n - n};
    if (rest->n > 0 && rest->p[0] == ',')
        *rest = (struct str){rest->p + 1, rest->n - 1};
    return n > 0;
}

enum rules_wish route_hint(const struct facts *f)
{
    struct str rest = f->hint, word;
    enum rules_wish wish = WISH_NONE;
    if (rest.n == 0)
        return WISH_NONE;
    (void)str_cut(&rest, ':');
    while (cut_word(&rest, &word)) {
        struct str value = word;
        struct str key = str_cut(&value, '=');
        if (str_ieq(key, STR("route")) && rules_wish_of(value, &wish))
            return wish;
    }
    return WISH_NONE;
}

const char *route_reason_name(enum route_reason r)
{
    static const char *const names[] = {
        [ROUTE_BOUND_TRANSACTION] = "in_transaction",
        [ROUTE_BOUND_PIN] = "pinned",
        [ROUTE_LOCK_IN_READ_ONLY] = "lock_in_read_only",
        [ROUTE_BY_HINT] = "hint",
        [ROUTE_BY_SETTING] = "setting",
        [ROUTE_BY_RULE] = "rule",
        [ROUTE_BY_STARTUP] = "startup",
        [ROUTE_BY_ENTRY] = "entry",
        [ROUTE_BY_ANALYSIS] = "analysis",
        [ROUTE_READ_ONLY] = "read_only",
        [ROUTE_BEGIN_HELD] = "begin_held",
        [ROUTE_UNSETTLED] = "unsettled",
        [ROUTE_NOT_FRESH] = "not_fresh",
        [ROUTE_WRITING] = "being_written",
        [ROUTE_NO_REPLICA] = "no_replica",
        [ROUTE_NO_PRIMARY] = "no_primary",
    };
    return (size_t)r < ARRAY_LEN(names) && names[r] != NULL ? names[r] : "?";
}
