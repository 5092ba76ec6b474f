/* freshness.c - numbered probes and the marks of clients; the rule is in freshness.h.
 *
 * Order between threads: the prober takes a number with a sequentially consistent step and only
 * then writes the probe; a worker that has read an idle marker loads the number after it.  The
 * database saw the write before it answered the worker, so a probe whose number the worker does not
 * see yet was sent later.  What is published for a node is released after the position behind it.
 */
#include "router/freshness.h"

#include "base/check.h"
#include "base/hash.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- tokens ---------------------------------------------------------------------------------- */

void freshness_token_format(const struct freshness_token *t, char text[FRESHNESS_TOKEN_TEXT])
{
    text[0] = '\0';
    if (t->system != 0) {
        (void)snprintf(text, FRESHNESS_TOKEN_TEXT, "%" PRIx64 ".%" PRIx32 ".%" PRIx64, t->system,
                       t->timeline, t->position);
    }
}

/* All of s in lower-case hexadecimal, without zeros in front: one text for one number. */
static bool from_hex(struct str s, uint64_t max, uint64_t *out)
{
    return (s.n == 1 || !str_starts(s, STR("0"))) && str_to_hex(s, out) && *out <= max;
}

enum status freshness_token_parse(struct str text, struct freshness_token *out, struct error *err)
{
    struct str rest = text;
    uint64_t system = 0, timeline = 0, position = 0;
    *out = (struct freshness_token){0};
    if (text.n == 0)
        return ST_OK;
    bool ok = from_hex(str_cut(&rest, '.'), UINT64_MAX, &system) && system != 0;
    ok = ok && from_hex(str_cut(&rest, '.'), UINT32_MAX, &timeline) && timeline != 0;
    if (!ok || !from_hex(rest, UINT64_MAX, &position))
        return error_set(err, ST_INVALID, "not a token: it is not of the form that was given out");
    *out = (struct freshness_token){
        .system = system, .timeline = (uint32_t)timeline, .position = position};
    return ST_OK;
}

/* ---- the prober ------------------------------------------------------------------------------ */

void freshness_init(struct freshness *f)
{
    f->n = 0;
    f->system = 0;
    f->timeline = 0;
}

uint64_t freshness_number(struct topology_live *l)
{
    return atomic_fetch_add(&l->sent, 1u) + 1;
}

/* The one goes whose neighbours are the closest for their age: what is left lies the farther apart
 * the older it is, and reaches far back. */
static void thin_out(struct freshness *f)
{
    uint64_t newest = f->probes[f->n - 1].number;
    unsigned worst = 1;
    double least = 0;
    for (unsigned i = 1; i + 1 < f->n; i++) {
        uint64_t gap = f->probes[i + 1].number - f->probes[i - 1].number;
        double share = (double)gap / (double)(newest - f->probes[i].number);
        if (i == 1 || share < least) {
            least = share;
            worst = i;
        }
    }
    f->n--;
    memmove(&f->probes[worst], &f->probes[worst + 1], (f->n - worst) * sizeof(*f->probes));
}

void freshness_primary(struct freshness *f, const struct freshness_probe *p, uint32_t timeline)
{
    if (timeline != f->timeline || p->number == 0)
        return;
    const struct freshness_probe *last = f->n > 0 ? &f->probes[f->n - 1] : NULL;
    if (last != NULL && (p->number <= last->number || p->position < last->position))
        return;
    if (f->n == FRESHNESS_PROBES)
        thin_out(f);
    f->probes[f->n++] = *p;
}

/* How many of the probes, from the oldest, have a position that does not lie behind this one. */
static unsigned replayed_count(const struct freshness *f, uint64_t position)
{
    unsigned lo = 0, hi = f->n;
    while (lo < hi) {
        unsigned mid = lo + (hi - lo) / 2;
        if (f->probes[mid].position <= position)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

void freshness_replica(struct freshness *f, struct topology_live *l, int node, uint64_t position,
                       uint32_t timeline)
{
    struct topology_node_live *n = &l->nodes[node];
    unsigned count = timeline != 0 && timeline == f->timeline ? replayed_count(f, position) : 0;
    uint64_t before = atomic_load_explicit(&n->position, memory_order_relaxed);
    if (position < before)
        freshness_forget(l, node);
    atomic_store_explicit(&n->timeline, timeline, memory_order_relaxed);
    atomic_store_explicit(&n->position, position, memory_order_release);
    atomic_store_explicit(&n->replayed, count > 0 ? f->probes[count - 1].number : 0,
                          memory_order_release);
}

void freshness_forget(struct topology_live *l, int node)
{
    struct topology_node_live *n = &l->nodes[node];
    atomic_store_explicit(&n->replayed, 0, memory_order_release);
    atomic_store_explicit(&n->position, 0, memory_order_release);
    atomic_store_explicit(&n->timeline, 0, memory_order_release);
    atomic_fetch_add(&n->life, 1u);
}

void freshness_reset(struct freshness *f, struct topology_live *l, uint64_t system,
                     uint32_t timeline)
{
    f->n = 0;
    f->system = system;
    f->timeline = timeline;
    for (int i = 0; i < (int)TOPOLOGY_NODES_MAX; i++)
        freshness_forget(l, i);
}

/* A standby at that position has all that the primary had sent to its log by then. */
static bool has(const struct freshness_probe *p, uint64_t position)
{
    return position >= p->position || (p->settled != 0 && position >= p->settled);
}

void freshness_lag(const struct freshness *f, uint64_t position, usec_t now, usec_t *us,
                   int64_t *bytes)
{
    *us = -1;
    *bytes = -1;
    if (f->n == 0)
        return;
    uint64_t newest = f->probes[f->n - 1].position;
    *bytes = has(&f->probes[f->n - 1], position) ? 0 : (int64_t)(newest - position);
    unsigned count = replayed_count(f, position);
    while (count < f->n && has(&f->probes[count], position))
        count++;
    *us = count == f->n ? 0 : MAX(now - f->probes[count].sent_at, 0);
}

/* ---- a client's mark ------------------------------------------------------------------------- */

void freshness_wrote(struct freshness_mark *m, const struct topology_live *l)
{
    m->wrote = atomic_load(&l->sent);
}

void freshness_read(struct freshness_mark *m, const struct topology_live *l, int node)
{
    m->saw = atomic_load(&l->sent);
    m->saw_node = (uint8_t)(node + 1);
    m->saw_life = node < 0 ? 0 : (uint32_t)atomic_load(&l->nodes[node].life);
}

static bool token_met(const struct freshness_token *t, const struct topology_node_live *n)
{
    if (t->system == 0)
        return true;
    /* A later timeline contains all of an earlier one that was not lost with its primary. */
    return atomic_load_explicit(&n->position, memory_order_acquire) >= t->position &&
           atomic_load_explicit(&n->timeline, memory_order_relaxed) >= t->timeline;
}

bool freshness_met(const struct freshness_mark *m, const struct topology_live *l, int node)
{
    const struct topology_node_live *n = &l->nodes[node];
    uint64_t replayed = atomic_load_explicit(&n->replayed, memory_order_acquire);
    if (m->wrote > 0 && replayed <= m->wrote)
        return false;
    if (!token_met(&m->token, n))
        return false;
    bool again = m->saw_node == node + 1 && m->saw_life == (uint32_t)atomic_load(&n->life);
    return m->saw == 0 || again || replayed > m->saw;
}

bool freshness_has(const struct topology_live *l, int node, uint64_t number)
{
    return atomic_load_explicit(&l->nodes[node].replayed, memory_order_acquire) > number;
}

/* ---- database scope -------------------------------------------------------------------------- */

/* By the bare name: the same table may be named with its schema and without. */
static void add_slot(struct freshness_set *s, struct str name)
{
    uint16_t slot = (uint16_t)(hash_bytes(name.p, name.n, 0) % FRESHNESS_SLOTS);
    for (unsigned i = 0; i < s->n; i++) {
        if (s->slots[i] == slot)
            return;
    }
    if (s->n == FRESHNESS_SET_MAX) {
        s->all = true;
        return;
    }
    s->slots[s->n++] = slot;
}

/* Code behind the name touches no table that the text does not show: it is known, or (where only
 * writing counts) its label says that it cannot write. */
static bool calls_are_open(const struct facts *f, const struct catalog *cat, bool labels)
{
    for (uint16_t i = 0; i < f->nfunctions; i++) {
        const struct fact_name *fn = &f->functions[i];
        if (!catalog_function_proved(cat, fn->schema, fn->name) &&
            !(labels && catalog_function_use(cat, fn->schema, fn->name) == CATALOG_STANDBY))
            return false;
    }
    return true;
}

/* Reading it runs nothing that may write. */
static bool reads_only(const struct fact_name *r, const struct catalog *cat)
{
    return catalog_relation_proved(cat, r->schema, r->name) ||
           catalog_relation_use(cat, r->schema, r->name) == CATALOG_STANDBY;
}

void freshness_set_written(struct freshness_set *s, const struct facts *f,
                           const struct catalog *cat)
{
    const uint32_t anywhere = FX_DDL | FX_LOAD | FX_EXECUTE | FX_UNKNOWN | FX_TEMP;
    bool hidden = f->operators && cat != NULL && catalog_has_volatile_code(cat);
    if ((f->effects & anywhere) != 0 || cat == NULL || hidden || !calls_are_open(f, cat, true)) {
        s->all |= (f->effects & (FX_EMPTY | FX_SHOW)) == 0 || !f->complete;
        return;
    }
    bool named = false;
    for (uint16_t i = 0; i < f->nrelations; i++) {
        const struct fact_name *r = &f->relations[i];
        if (!r->written) {
            s->all |= !reads_only(r, cat);
            continue;
        }
        named = true;
        s->all |= !catalog_relation_plain(cat, r->schema, r->name);
        add_slot(s, r->name);
    }
    /* COMMIT PREPARED and the like */
    s->all |= (f->effects & FX_WRITE) != 0 && !named && (f->effects & FX_READ) == 0;
}

void freshness_set_read(struct freshness_set *s, const struct facts *f, const struct catalog *cat)
{
    *s = (struct freshness_set){0};
    s->all = cat == NULL || !f->complete || !calls_are_open(f, cat, false);
    for (uint16_t i = 0; i < f->nrelations && !s->all; i++) {
        const struct fact_name *r = &f->relations[i];
        s->all = !catalog_relation_plain(cat, r->schema, r->name);
        add_slot(s, r->name);
    }
}

bool freshness_set_empty(const struct freshness_set *s)
{
    return s->n == 0 && !s->all;
}

static void slot_open(struct freshness_slot *s)
{
    atomic_fetch_add(&s->open, 1u);
}

/* The mark is there before the slot is closed, so a reader sees one or the other. */
static void slot_close(struct freshness_slot *s, uint64_t number)
{
    uint_fast64_t was = atomic_load(&s->mark);
    while (was < number && !atomic_compare_exchange_weak(&s->mark, &was, number)) {
    }
    unsigned before = (unsigned)atomic_fetch_sub(&s->open, 1u);
    CHECK(before > 0);
}

static bool slot_need(const struct freshness_slot *s, uint64_t *number)
{
    if (atomic_load(&s->open) > 0)
        return false;
    uint64_t mark = atomic_load(&s->mark);
    *number = MAX(*number, mark);
    return true;
}

void freshness_db_open(struct freshness_db *db, const struct freshness_set *s)
{
    if (freshness_set_empty(s))
        return;
    slot_open(&db->any);
    if (s->all)
        slot_open(&db->whole);
    for (unsigned i = 0; i < s->n; i++)
        slot_open(&db->slots[s->slots[i]]);
}

void freshness_db_close(struct freshness_db *db, const struct freshness_set *s,
                        const struct topology_live *l)
{
    if (freshness_set_empty(s))
        return;
    uint64_t number = atomic_load(&l->sent);
    slot_close(&db->any, number);
    if (s->all)
        slot_close(&db->whole, number);
    for (unsigned i = 0; i < s->n; i++)
        slot_close(&db->slots[s->slots[i]], number);
}

bool freshness_db_need(const struct freshness_db *db, const struct freshness_set *s,
                       uint64_t *number)
{
    *number = 0;
    if (s->all)
        return slot_need(&db->any, number);
    if (!slot_need(&db->whole, number))
        return false;
    for (unsigned i = 0; i < s->n; i++) {
        if (!slot_need(&db->slots[s->slots[i]], number))
            return false;
    }
    return true;
}
