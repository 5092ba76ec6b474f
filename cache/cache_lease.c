/* cache_lease.c - see cache_lease.h. */
#include "cache/cache_lease.h"

#include "base/check.h"

/* ---- reading --------------------------------------------------------------------------------- */

static void set_read(struct cache_read *r, enum cache_read_state to)
{
    static const uint8_t legal[] = {
        [CACHE_READ_NEW] = 1u << CACHE_READ_ASKED,
        [CACHE_READ_ASKED] = 1u << CACHE_READ_TAKING | 1u << CACHE_READ_OVER,
        [CACHE_READ_TAKING] = 1u << CACHE_READ_LEASED | 1u << CACHE_READ_OVER,
        [CACHE_READ_LEASED] = 1u << CACHE_READ_STORING | 1u << CACHE_READ_OVER,
        [CACHE_READ_STORING] = 1u << CACHE_READ_OVER,
        [CACHE_READ_OVER] = 0,
    };
    CHECK((legal[r->state] >> to & 1) != 0);
    r->state = to;
}

void cache_lease_ask(struct cache_read *r, struct cache_cmd *out)
{
    static const enum cache_cmd_kind kinds[CACHE_READ_CMDS] = {CACHE_CMD_WORLD, CACHE_CMD_MEMBERS,
                                                               CACHE_CMD_RULE, CACHE_CMD_ENTRY};
    *r = (struct cache_read){.state = CACHE_READ_NEW};
    for (int i = 0; i < CACHE_READ_CMDS; i++)
        out[i] = (struct cache_cmd){.kind = kinds[i]};
    set_read(r, CACHE_READ_ASKED);
}

/* All members are there, by a list that is the world's, and the world is not new. */
static bool world_counts(struct cache_read *r, const struct cache_view *view,
                         const struct cache_answer *world, const struct cache_answer *members)
{
    if (world->state != CACHE_ANSWER_OK || members->state != CACHE_ANSWER_OK || world->a == 0 ||
        world->open || world->b != view->names)
        return false;
    r->epoch = world->a ^ view->server;
    return view->members > 0 && members->a == view->members && view->members >= view->expected;
}

enum cache_read_next cache_lease_asked(struct cache_read *r, const struct cache_view *view,
                                       const struct cache_answer *in)
{
    const struct cache_answer *rule = &in[2], *entry = &in[3];
    if (!world_counts(r, view, &in[0], &in[1]) || rule->state != CACHE_ANSWER_OK ||
        entry->state != CACHE_ANSWER_OK) {
        set_read(r, CACHE_READ_OVER);
        return CACHE_READ_BYPASS;
    }
    /* An intent may have outlived its deadline: the scripts of a take can tell. */
    r->generation = rule->a;
    r->value = entry->value.p != NULL;
    if (r->generation == 0 || rule->open || entry->open || !r->value)
        return CACHE_READ_TAKE;
    return CACHE_READ_VALUE;
}

void cache_lease_take(struct cache_read *r, uint64_t nonce, uint64_t fresh, uint64_t lease_ms,
                      struct cache_cmd *out)
{
    set_read(r, CACHE_READ_TAKING);
    r->nonce = nonce;
    out[0] = (struct cache_cmd){.kind = CACHE_CMD_WORLD};
    out[1] = (struct cache_cmd){.kind = CACHE_CMD_MEMBERS};
    out[2] = (struct cache_cmd){.kind = CACHE_CMD_TAKE_RULE, .fresh = fresh};
    out[3] = (struct cache_cmd){
        .kind = CACHE_CMD_TAKE_ENTRY, .nonce = nonce, .ms = lease_ms, .flag = r->value};
}

enum cache_read_next cache_lease_taken(struct cache_read *r, const struct cache_view *view,
                                       const struct cache_answer *in)
{
    const struct cache_answer *rule = &in[2], *entry = &in[3];
    bool sound = world_counts(r, view, &in[0], &in[1]) && rule->state == CACHE_ANSWER_OK &&
                 !rule->open && rule->a != 0 && entry->state == CACHE_ANSWER_OK && !entry->open;
    r->generation = rule->a;
    if (sound && entry->a == 1) {
        set_read(r, CACHE_READ_LEASED);
        return CACHE_READ_FILL;
    }
    set_read(r, CACHE_READ_OVER);
    return sound && entry->value.p != NULL ? CACHE_READ_VALUE : CACHE_READ_BYPASS;
}

bool cache_lease_counts(const struct cache_read *r, const struct cache_entry *e)
{
    return e->epoch == r->epoch && e->stamp == r->generation && r->generation != 0;
}

void cache_lease_stamp(const struct cache_read *r, struct cache_entry_parts *p)
{
    CHECK(r->state == CACHE_READ_LEASED);
    p->epoch = r->epoch;
    p->stamp = r->generation;
}

void cache_lease_store(struct cache_read *r, uint64_t ttl_ms, struct cache_cmd *out)
{
    set_read(r, CACHE_READ_STORING);
    *out = (struct cache_cmd){.kind = CACHE_CMD_STORE, .nonce = r->nonce, .ms = ttl_ms};
}

void cache_lease_give(const struct cache_read *r, struct cache_cmd *out)
{
    *out = (struct cache_cmd){.kind = CACHE_CMD_GIVE, .nonce = r->nonce};
}

/* ---- writing --------------------------------------------------------------------------------- */

static void set_intent(struct cache_intent *i, enum cache_intent_state to)
{
    static const uint8_t legal[] = {
        [CACHE_INTENT_NEW] = 1u << CACHE_INTENT_BEGINNING,
        [CACHE_INTENT_BEGINNING] = 1u << CACHE_INTENT_HELD | 1u << CACHE_INTENT_MISSED,
        [CACHE_INTENT_HELD] = 1u << CACHE_INTENT_ENDING,
        [CACHE_INTENT_MISSED] = 1u << CACHE_INTENT_ENDING,
        [CACHE_INTENT_ENDING] = 1u << CACHE_INTENT_CLEAR | 1u << CACHE_INTENT_UNCLEAR,
        [CACHE_INTENT_CLEAR] = 0,
        [CACHE_INTENT_UNCLEAR] = 1u << CACHE_INTENT_ENDING,
    };
    CHECK((legal[i->state] >> to & 1) != 0);
    i->state = to;
}

void cache_lease_begin(struct cache_intent *i, bool whole, uint64_t nonce, uint64_t fresh,
                       uint64_t ms, struct cache_cmd *out)
{
    *i = (struct cache_intent){.state = CACHE_INTENT_NEW, .whole = whole, .nonce = nonce};
    *out = (struct cache_cmd){.kind = whole ? CACHE_CMD_RULE_BEGIN : CACHE_CMD_BEGIN,
                              .nonce = nonce,
                              .fresh = fresh,
                              .ms = ms};
    set_intent(i, CACHE_INTENT_BEGINNING);
}

/* A foreign value under our name is no entry: nothing can be stored or served there. */
static bool arrived(const struct cache_answer *a)
{
    return a->state == CACHE_ANSWER_OK || a->state == CACHE_ANSWER_FOREIGN;
}

void cache_lease_begun(struct cache_intent *i, const struct cache_answer *a)
{
    set_intent(i, arrived(a) ? CACHE_INTENT_HELD : CACHE_INTENT_MISSED);
}

void cache_lease_end(struct cache_intent *i, uint64_t fresh, struct cache_cmd *out)
{
    set_intent(i, CACHE_INTENT_ENDING);
    *out = (struct cache_cmd){
        .kind = i->whole ? CACHE_CMD_RULE_END : CACHE_CMD_END, .nonce = i->nonce, .fresh = fresh};
}

void cache_lease_ended(struct cache_intent *i, const struct cache_answer *a)
{
    set_intent(i, arrived(a) ? CACHE_INTENT_CLEAR : CACHE_INTENT_UNCLEAR);
}

static bool any_in(const struct cache_intent *i, int n, enum cache_intent_state state)
{
    for (int k = 0; k < n; k++)
        if (i[k].state == state)
            return true;
    return false;
}

enum cache_write_next cache_lease_may_write(const struct cache_intent *i, int n,
                                            enum cache_without_redis policy, bool joined)
{
    if (any_in(i, n, CACHE_INTENT_BEGINNING))
        return CACHE_WRITE_WAIT;
    if (!any_in(i, n, CACHE_INTENT_MISSED))
        return CACHE_WRITE_GO;
    switch (policy) {
    case CACHE_PROCEED:
        return CACHE_WRITE_GO;
    case CACHE_HOLD:
        return joined ? CACHE_WRITE_LAPSE : CACHE_WRITE_REFUSE;
    case CACHE_REFUSE:
        break;
    }
    return CACHE_WRITE_REFUSE;
}

/* Also after a begin that failed: what its absence of intent let others store is dropped by the
 * end. */
enum cache_write_next cache_lease_may_ack(const struct cache_intent *i, int n,
                                          enum cache_without_redis policy)
{
    if (any_in(i, n, CACHE_INTENT_ENDING))
        return CACHE_WRITE_WAIT;
    if (!any_in(i, n, CACHE_INTENT_UNCLEAR) || policy == CACHE_PROCEED)
        return CACHE_WRITE_GO;
    return CACHE_WRITE_LAPSE;
}

bool cache_lease_policy(struct str word, enum cache_without_redis *out)
{
    static const char *const words[] = {
        [CACHE_PROCEED] = "proceed", [CACHE_HOLD] = "hold", [CACHE_REFUSE] = "refuse"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (str_ieq(word, str_of(words[i]))) {
            *out = (enum cache_without_redis)i;
            return true;
        }
    }
    return false;
}
