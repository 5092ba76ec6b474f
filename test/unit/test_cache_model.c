/* test_cache_model.c - every order of events that two proxies, Redis and a database can bring
 * about.
 *
 * The steps of cache_lease.c are run as they are; Redis (what the scripts of cache_script.c do),
 * the database, the network and time are played by this file.  A depth-first search visits each
 * state once.  One row is written twice by clients of proxy P while reads run through proxy R.
 * Time is taken apart into events that may come at any moment: an intent or a lease ends, a
 * presence ends.
 *
 * Checked in every state:
 *   fresh      a read never returns less than what was acknowledged before it began
 *   monotonic  nor less than what another read had returned before it began (without losses)
 * Each rule can be taken away; the search must then find a violation, or it looks at too little.
 */
#include "cache/cache_lease.h"

#include "base/hash.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define READERS 2
#define P 1u /* members, as bits */
#define R 2u

/* what a mutant takes away */
enum rule {
    ALL_RULES = 0,
    END_DROPS_VALUE,   /* the end drops entry and leases, not only its intent */
    STORE_NEEDS_LEASE, /* a store is refused when the lease is gone */
    STAMP_IS_BEFORE,   /* the generation stored is that before the query */
    GENERATION_COUNTS, /* an entry of an older generation is none */
    INTENTS_CLOSE,     /* nothing is served or leased while a write is open */
    BEGIN_DROPS_VALUE, /* the begin drops entry and leases */
    /* no acknowledgement before the end was answered or the presence lapsed */
    END_IS_AWAITED,
    BEGIN_IS_AWAITED, /* no write before the begin was answered or the presence lapsed */
    MEMBERS_COUNT,    /* nothing is served while a member is absent */
    DIRT_VOIDS,       /* who returns after unrecorded writes changes the epoch */
};

struct setup {
    const char *name;
    enum rule without;
    bool whole;                          /* the writes are to unknown rows of the table */
    uint8_t writes, reads;               /* budgets */
    uint8_t losses, flushes, cuts, ends; /* DEL, FLUSHALL, commands lost, deadlines passed */
    bool monotonic;
    uint8_t readers; /* at once */
};

/* of a writer */
enum phase {
    W_IDLE,
    W_READY, /* may it be sent? */
    W_SENT,
    W_DONE, /* committed, and the proxy knows */
    W_ENDED,
};

/* of a reader */
enum step {
    S_IDLE,
    S_RULE, /* world and members were asked */
    S_ENTRY,
    S_TAKE, /* to be taken */
    S_TAKE_RULE,
    S_TAKE_ENTRY,
    S_QUERY, /* the lease is there */
    S_STORE,
    S_DIRECT, /* bypass */
};

struct reader {
    struct cache_read read;
    struct cache_answer in[CACHE_READ_CMDS];
    uint8_t step, floor, got;
};

struct entry {
    bool there;
    uint8_t version, epoch, generation;
};

struct world {
    /* Redis */
    uint8_t epoch, generation, names, present;
    bool quarantine, rule_open, open;
    uint8_t lease; /* nonce; 0: none */
    struct entry entry;
    /* the database */
    uint8_t committed;
    /* P */
    struct cache_intent intent;
    uint8_t phase, acked, seen;
    bool lapsing, dirty;
    /* R */
    struct reader readers[READERS];
    /* what is left to happen */
    uint8_t writes, reads, losses, flushes, cuts, ends;
    uint8_t next; /* the last number given out: nonces, generations, epochs */
};

struct search {
    const struct setup *setup;
    uint64_t *seen; /* owned; hashes of states, open addressing */
    size_t cap, n;
    struct world *stack; /* owned */
    size_t depth, room;
    const char *violation;
    bool full;
};

static bool mutant(const struct search *s, enum rule r)
{
    return s->setup->without == r;
}

/* ---- Redis ----------------------------------------------------------------------------------- */

static struct cache_answer exec_world(const struct world *w)
{
    return (struct cache_answer){.a = w->epoch, .b = w->names, .open = w->quarantine};
}

static struct cache_answer exec_members(const struct search *s, const struct world *w)
{
    uint8_t present = mutant(s, MEMBERS_COUNT) ? w->names : w->present;
    return (struct cache_answer){.a = (uint64_t)((present & P) != 0) + ((present & R) != 0)};
}

static struct cache_answer exec_rule(const struct search *s, struct world *w, bool take)
{
    bool open = w->rule_open && !mutant(s, INTENTS_CLOSE);
    if (take && w->generation == 0)
        w->generation = ++w->next;
    return (struct cache_answer){.a = w->generation, .open = open};
}

static struct cache_answer exec_entry(const struct search *s, const struct world *w)
{
    struct cache_answer a = {.open = w->open && !mutant(s, INTENTS_CLOSE)};
    if (w->entry.there)
        a.value = STR("v");
    return a;
}

static struct cache_answer exec_take_entry(const struct search *s, struct world *w,
                                           const struct cache_cmd *c)
{
    struct cache_answer a = {.open = w->open && !mutant(s, INTENTS_CLOSE)};
    if (a.open)
        return a;
    if (w->entry.there && !c->flag) {
        a.value = STR("v");
    } else if (w->lease == 0) {
        w->lease = (uint8_t)c->nonce;
        a.a = 1;
    }
    return a;
}

static void exec_store(const struct search *s, struct world *w, const struct cache_cmd *c,
                       struct entry e)
{
    if (!mutant(s, STORE_NEEDS_LEASE) &&
        ((w->open && !mutant(s, INTENTS_CLOSE)) || w->lease != c->nonce))
        return;
    w->lease = 0;
    w->entry = e;
}

static void drop_entry(struct world *w)
{
    w->entry = (struct entry){0};
    w->lease = 0;
}

static void exec_intent(const struct search *s, struct world *w, const struct cache_cmd *c)
{
    bool begins = c->kind == CACHE_CMD_BEGIN || c->kind == CACHE_CMD_RULE_BEGIN;
    bool drops = !mutant(s, begins ? BEGIN_DROPS_VALUE : END_DROPS_VALUE);
    if (c->kind == CACHE_CMD_BEGIN || c->kind == CACHE_CMD_END) {
        w->open = begins;
        if (drops)
            drop_entry(w);
        return;
    }
    w->rule_open = begins;
    if (drops)
        w->generation = (uint8_t)c->fresh;
}

static void exec_renew(struct world *w, uint8_t who, bool dirty)
{
    if (w->epoch == 0) {
        w->epoch = ++w->next;
        w->names = 0;
        w->quarantine = true;
    }
    if ((w->names & who) == 0 || dirty) {
        w->names |= who;
        w->epoch = ++w->next;
    }
    w->present |= who;
}

/* ---- readers --------------------------------------------------------------------------------- */

static void returns(struct search *s, struct world *w, struct reader *r, uint8_t version)
{
    if (version < r->floor)
        s->violation = "a read returned less than was known before it began";
    if (s->setup->monotonic && version > w->seen)
        w->seen = version;
    *r = (struct reader){0};
}

static void next_of(struct search *s, struct world *w, struct reader *r, enum cache_read_next next,
                    bool taken)
{
    struct cache_entry e = {.epoch = w->entry.epoch, .stamp = w->entry.generation};
    switch (next) {
    case CACHE_READ_VALUE:
        if (mutant(s, GENERATION_COUNTS))
            e.stamp = r->read.generation;
        if (cache_lease_counts(&r->read, &e)) {
            returns(s, w, r, w->entry.version);
            return;
        }
        r->step = taken ? S_DIRECT : S_TAKE;
        return;
    case CACHE_READ_TAKE:
        r->step = S_TAKE;
        return;
    case CACHE_READ_FILL:
        r->step = S_QUERY;
        return;
    case CACHE_READ_BYPASS:
        r->step = S_DIRECT;
        return;
    }
}

static void store(struct search *s, struct world *w, struct reader *r)
{
    struct cache_cmd c;
    struct entry e = {.there = true, .version = r->got};
    if (mutant(s, STAMP_IS_BEFORE))
        r->read.generation = w->generation;
    e.epoch = (uint8_t)r->read.epoch;
    e.generation = (uint8_t)r->read.generation;
    cache_lease_store(&r->read, 1, &c);
    exec_store(s, w, &c, e);
    *r = (struct reader){0};
}

/* One step; what it asks is answered at once, but other events may come between the questions. */
static void read_step(struct search *s, struct world *w, struct reader *r)
{
    struct cache_cmd c[CACHE_READ_CMDS];
    struct cache_view view = {.names = P | R, .members = 2};
    switch ((enum step)r->step) {
    case S_IDLE:
        w->reads--;
        r->floor = s->setup->monotonic && w->seen > w->acked ? w->seen : w->acked;
        cache_lease_ask(&r->read, c);
        r->in[0] = exec_world(w);
        r->in[1] = exec_members(s, w);
        r->step = S_RULE;
        return;
    case S_RULE:
        r->in[2] = exec_rule(s, w, false);
        r->step = S_ENTRY;
        return;
    case S_ENTRY:
        r->in[3] = exec_entry(s, w);
        next_of(s, w, r, cache_lease_asked(&r->read, &view, r->in), false);
        return;
    case S_TAKE:
        w->next++;
        cache_lease_take(&r->read, w->next, w->next, 1, c);
        r->in[0] = exec_world(w);
        r->in[1] = exec_members(s, w);
        r->step = S_TAKE_RULE;
        return;
    case S_TAKE_RULE:
        r->in[2] = exec_rule(s, w, true);
        r->step = S_TAKE_ENTRY;
        return;
    case S_TAKE_ENTRY:
        c[3] = (struct cache_cmd){.nonce = r->read.nonce, .flag = r->read.value};
        r->in[3] = exec_take_entry(s, w, &c[3]);
        next_of(s, w, r, cache_lease_taken(&r->read, &view, r->in), true);
        return;
    case S_QUERY: { /* the client has its answer; the store follows when it follows */
        struct reader keep = *r;
        keep.got = w->committed;
        keep.step = S_STORE;
        returns(s, w, r, w->committed);
        *r = keep;
        return;
    }
    case S_STORE:
        store(s, w, r);
        return;
    case S_DIRECT:
        returns(s, w, r, w->committed);
        return;
    }
}

/* ---- the writer ------------------------------------------------------------------------------ */

static void write_step(struct search *s, struct world *w)
{
    struct cache_cmd c;
    const struct cache_answer ok = {.state = CACHE_ANSWER_OK};
    enum cache_write_next next;
    switch ((enum phase)w->phase) {
    case W_IDLE:
        w->writes--;
        cache_lease_begin(&w->intent, s->setup->whole, 1, ++w->next, 1, &c);
        exec_intent(s, w, &c);
        cache_lease_begun(&w->intent, &ok);
        w->phase = W_READY;
        return;
    case W_READY:
        next = cache_lease_may_write(&w->intent, 1, CACHE_HOLD, true);
        if (next == CACHE_WRITE_LAPSE && !mutant(s, BEGIN_IS_AWAITED)) {
            w->lapsing = w->dirty = true;
            if ((w->present & P) != 0)
                return;
        }
        w->phase = W_SENT;
        return;
    case W_SENT:
        w->committed++;
        w->phase = W_DONE;
        return;
    case W_DONE:
        cache_lease_end(&w->intent, ++w->next, &c);
        exec_intent(s, w, &c);
        cache_lease_ended(&w->intent, &ok);
        w->phase = W_ENDED;
        return;
    case W_ENDED:
        next = cache_lease_may_ack(&w->intent, 1, CACHE_HOLD);
        if (next == CACHE_WRITE_LAPSE && !mutant(s, END_IS_AWAITED)) {
            w->lapsing = w->dirty = true;
            if ((w->present & P) != 0)
                return;
        }
        w->acked = w->committed;
        w->lapsing = false;
        w->phase = W_IDLE;
        return;
    }
}

/* The begin or the end of a write does not reach Redis. */
static void cut_step(const struct search *s, struct world *w)
{
    struct cache_cmd c;
    const struct cache_answer failed = {.state = CACHE_ANSWER_FAILED};
    w->cuts--;
    if (w->phase == W_IDLE) {
        w->writes--;
        cache_lease_begin(&w->intent, s->setup->whole, 1, ++w->next, 1, &c);
        cache_lease_begun(&w->intent, &failed);
        w->phase = W_READY;
    } else {
        cache_lease_end(&w->intent, ++w->next, &c);
        cache_lease_ended(&w->intent, &failed);
        w->phase = W_ENDED;
    }
}

/* ---- the search ------------------------------------------------------------------------------ */

static void push(struct search *s, const struct world *w)
{
    uint64_t h = hash_bytes(w, sizeof(*w), 7) | 1u;
    for (size_t i = h % s->cap;; i = (i + 1) % s->cap) {
        if (s->seen[i] == h)
            return;
        if (s->seen[i] == 0) {
            s->seen[i] = h;
            break;
        }
    }
    if (++s->n > s->cap / 2 || s->depth == s->room) {
        s->full = true;
        return;
    }
    s->stack[s->depth++] = *w;
}

/* The environment: whatever may happen now. */
static void push_faults(struct search *s, const struct world *w)
{
    struct world n;
    if (w->losses > 0 && (w->entry.there || w->lease != 0 || w->open)) {
        n = *w;
        n.losses--;
        drop_entry(&n);
        n.open = false;
        push(s, &n);
    }
    if (w->flushes > 0) {
        n = *w;
        n.flushes--;
        drop_entry(&n);
        n.open = n.rule_open = n.quarantine = false;
        n.epoch = n.generation = n.names = n.present = 0;
        push(s, &n);
    }
    if (w->ends > 0 && (w->open || w->rule_open || w->lease != 0)) {
        n = *w;
        n.ends--;
        n.open = n.rule_open = false;
        n.lease = 0;
        push(s, &n);
    }
    if (w->cuts > 0 && ((w->phase == W_IDLE && w->writes > 0) || w->phase == W_DONE)) {
        n = *w;
        cut_step(s, &n);
        push(s, &n);
    }
}

static void push_members(struct search *s, const struct world *w)
{
    struct world n;
    if (w->lapsing && (w->present & P) != 0) { /* its deadline has passed */
        n = *w;
        n.present &= (uint8_t)~P;
        push(s, &n);
    }
    if (!w->lapsing && ((w->present & P) == 0 || (w->names & P) == 0 || w->dirty)) {
        n = *w;
        exec_renew(&n, P, n.dirty && !mutant(s, DIRT_VOIDS));
        n.dirty = false;
        push(s, &n);
    }
    if ((w->present & R) == 0 || (w->names & R) == 0) {
        n = *w;
        exec_renew(&n, R, false);
        push(s, &n);
    }
    if (w->quarantine && w->names == (P | R)) {
        n = *w;
        n.quarantine = false;
        push(s, &n);
    }
}

static void expand(struct search *s, const struct world *w)
{
    struct world n;
    if (w->phase != W_IDLE || w->writes > 0) {
        n = *w;
        write_step(s, &n);
        push(s, &n);
    }
    for (int i = 0; i < s->setup->readers; i++) {
        if (w->readers[i].step == S_IDLE && w->reads == 0)
            continue;
        n = *w;
        read_step(s, &n, &n.readers[i]);
        push(s, &n);
    }
    push_faults(s, w);
    push_members(s, w);
}

static bool full_search(void)
{
    const char *how = getenv("PENSTOCK_MODEL");
    return how != NULL && strcmp(how, "full") == 0;
}

/* The violation found, or NULL when there is none. */
static const char *explore(const struct setup *setup, size_t *states)
{
    bool all = full_search() && setup->without == ALL_RULES;
    struct search s = {
        .setup = setup, .cap = (size_t)1 << (all ? 26 : 20), .room = (size_t)1 << (all ? 22 : 17)};
    struct world w;
    s.seen = mem_new(s.cap * sizeof(*s.seen));
    s.stack = mem_new(s.room * sizeof(*s.stack));
    memset(&w, 0, sizeof(w)); /* also what lies between the members: states are compared as bytes */
    w.epoch = w.generation = w.next = 1;
    w.names = w.present = P | R;
    w.writes = setup->writes;
    w.reads = (uint8_t)(setup->reads + all);
    w.losses = setup->losses;
    w.flushes = setup->flushes;
    w.cuts = setup->cuts;
    w.ends = setup->ends;
    push(&s, &w);
    while (s.depth > 0 && s.violation == NULL && !s.full) {
        w = s.stack[--s.depth];
        expand(&s, &w);
    }
    *states = s.n;
    mem_free(s.seen);
    mem_free(s.stack);
    assert_false(s.full && s.violation == NULL);
    return s.violation;
}

/* With PENSTOCK_MODEL=full each has one more read, and takes minutes. */
static const struct setup clean[] = {
    {"one row, nothing lost", ALL_RULES, false, 2, 3, 0, 0, 0, 0, true, READERS},
    {"a table, nothing lost", ALL_RULES, true, 2, 2, 0, 0, 0, 0, true, READERS},
    {"one row, keys lost and deadlines passed", ALL_RULES, false, 2, 2, 1, 0, 0, 1, false, READERS},
    {"one row, everything lost", ALL_RULES, false, 1, 2, 0, 1, 0, 0, false, 1},
    {"a table, everything lost", ALL_RULES, true, 1, 2, 0, 1, 0, 0, false, 1},
    {"one row, commands lost", ALL_RULES, false, 1, 3, 0, 0, 2, 0, true, READERS},
    {"a table, commands lost", ALL_RULES, true, 1, 2, 0, 0, 2, 0, true, READERS},
    {"one row, commands and keys lost", ALL_RULES, false, 1, 2, 1, 0, 1, 1, false, READERS},
};

static const struct setup broken[] = {
    {"the end only takes its intent away", END_DROPS_VALUE, false, 1, 3, 1, 0, 0, 0, false,
     READERS},
    {"a store without lease", STORE_NEEDS_LEASE, false, 1, 3, 0, 0, 0, 0, false, READERS},
    {"the stamp is read after the query", STAMP_IS_BEFORE, true, 1, 3, 0, 0, 0, 0, false, READERS},
    {"older generations count", GENERATION_COUNTS, true, 1, 3, 0, 0, 0, 0, false, READERS},
    {"intents close nothing", INTENTS_CLOSE, false, 1, 3, 0, 0, 0, 0, true, READERS},
    {"intents close nothing in a table", INTENTS_CLOSE, true, 1, 3, 0, 0, 0, 0, true, READERS},
    {"the begin leaves the entry", BEGIN_DROPS_VALUE, false, 1, 3, 0, 0, 0, 1, true, READERS},
    {"the end is not awaited", END_IS_AWAITED, false, 1, 3, 1, 0, 1, 0, false, READERS},
    {"the begin is not awaited", BEGIN_IS_AWAITED, false, 1, 3, 0, 0, 1, 0, true, READERS},
    {"members do not count", MEMBERS_COUNT, false, 1, 3, 0, 0, 2, 0, false, READERS},
    {"a return changes no epoch", DIRT_VOIDS, false, 1, 3, 0, 0, 2, 0, false, READERS},
};

static void with_all_rules_no_order_of_events_is_wrong(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(clean); i++) {
        size_t states;
        const char *violation = explore(&clean[i], &states);
        print_message("%s: %zu states\n", clean[i].name, states);
        if (violation != NULL)
            fail_msg("%s: %s", clean[i].name, violation);
    }
}

static void without_any_one_rule_there_is_a_wrong_order(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        size_t states;
        if (explore(&broken[i], &states) == NULL)
            fail_msg("%s: not noticed in %zu states", broken[i].name, states);
        print_message("%s: noticed after %zu states\n", broken[i].name, states);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_all_rules_no_order_of_events_is_wrong),
        cmocka_unit_test(without_any_one_rule_there_is_a_wrong_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
