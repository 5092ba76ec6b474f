/* statements.c - statistics of statements; see statements.h.
 *
 * A hash of chains over rows that also hang on one ring.  The hand of the clock stands in the ring:
 * to make room it looks at the next few rows, drops the least and ages the others a little, so
 * that room is made in constant time and what has not run for long falls behind.
 */
#include "proxy/statements.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"

#define SLOTS 4096    /* a power of two */
#define LOOK_AT 16    /* rows of which one gives way */
#define AGE 24        /* each loses so large a part of its worth; LOOK_AT / ln 2 */
#define CALL_WORTH 50 /* microseconds: a call counts for something however short it was */
#define HIT_WORTH 5   /* and an answer from the cache */
#define JOINT "; "

struct row {
    struct statement s; /* first */
    struct row *chain;
    struct list ring;
    uint64_t worth;
    char text[];
};

struct statements {
    bool on;
    size_t max_bytes, bytes, nrows;
    uint64_t evicted;
    struct row **slots; /* owned; NULL while off */
    struct list ring;   /* head is the hand: the next to be looked at is the first */
};

/* ---- batches --------------------------------------------------------------------------------- */

void statement_batch_add(struct statement_batch *b, struct facts *f)
{
    b->runs++;
    if (f == NULL || f->shown_digest == 0) {
        b->unseen = true;
        return;
    }
    for (unsigned i = 0; i < b->n; i++)
        if (b->facts[i]->shown_digest == f->shown_digest)
            return;
    if (b->n < STATEMENTS_BATCH)
        b->facts[b->n++] = facts_get(f);
    else
        b->more = true;
}

void statement_batch_move(struct statement_batch *to, struct statement_batch *from)
{
    if (to->runs == 0) {
        *to = *from;
        *from = (struct statement_batch){0};
        return;
    }
    uint32_t runs = to->runs + from->runs;
    for (unsigned i = 0; i < from->n; i++)
        statement_batch_add(to, from->facts[i]);
    to->runs = runs;
    to->more = to->more || from->more;
    to->unseen = to->unseen || from->unseen;
    statement_batch_clear(from);
}

void statement_batch_clear(struct statement_batch *b)
{
    for (unsigned i = 0; i < b->n; i++)
        facts_put(&b->facts[i]);
    b->n = 0;
    b->runs = 0;
    b->more = b->unseen = false;
}

static bool is_one(const struct statement_batch *b)
{
    return b->n == 1 && !b->more && !b->unseen;
}

uint64_t statement_batch_digest(const struct statement_batch *b)
{
    if (b->n == 0)
        return 0;
    uint64_t digest = b->facts[0]->shown_digest;
    for (unsigned i = 1; i < b->n; i++)
        digest = hash_bytes(&b->facts[i]->shown_digest, sizeof(digest), digest);
    return b->more || b->unseen ? hash_bytes(&digest, sizeof(digest), 1) : digest;
}

/* Appends s. False: it did not fit and was cut between two characters. */
static bool append(char *dst, size_t cap, size_t *at, struct str s)
{
    static const char dots[] = "...";
    size_t n = s.n, room = cap - sizeof(dots) - *at; /* the dots always fit */
    bool fits = n <= room;
    if (!fits) {
        n = room;
        while (n > 0 && ((unsigned char)s.p[n] & 0xc0) == 0x80)
            n--;
    }
    if (n > 0)
        memcpy(dst + *at, s.p, n);
    *at += n;
    if (fits)
        return true;
    memcpy(dst + *at, dots, sizeof(dots) - 1);
    *at += sizeof(dots) - 1;
    return false;
}

size_t statement_batch_text(const struct statement_batch *b, char *dst, size_t cap)
{
    size_t at = 0;
    bool fits = true;
    CHECK(cap >= 16);
    for (unsigned i = 0; i < b->n && fits; i++)
        fits = (i == 0 || append(dst, cap, &at, STR(JOINT))) &&
               append(dst, cap, &at, b->facts[i]->shown);
    if (fits && b->n > 0 && (b->more || b->unseen))
        append(dst, cap, &at, STR(JOINT "..."));
    dst[at] = '\0';
    return at;
}

/* ---- the table ------------------------------------------------------------------------------- */

struct statements *statements_new(void)
{
    struct statements *t = mem_new(sizeof(*t));
    list_init(&t->ring);
    return t;
}

void statements_free(struct statements **tp)
{
    struct statements *t = *tp;
    *tp = NULL;
    if (t == NULL)
        return;
    statements_reset(t);
    mem_free(t->slots);
    mem_free(t);
}

static struct row **slot_of(const struct statements *t, const struct statement_key *key)
{
    uint64_t h = key->digest ^ ((uintptr_t)key->db >> 4) ^ ((uintptr_t)key->host >> 4);
    return &t->slots[(h ^ h >> 32) & (SLOTS - 1)];
}

static struct row *find(const struct statements *t, const struct statement_key *key)
{
    struct row *r = *slot_of(t, key);
    while (r != NULL &&
           (r->s.key.digest != key->digest || r->s.key.db != key->db || r->s.key.host != key->host))
        r = r->chain;
    return r;
}

static size_t bytes_of(const struct row *r)
{
    return sizeof(*r) + r->s.text.n + 1;
}

static void drop(struct statements *t, struct row *r)
{
    struct row **at = slot_of(t, &r->s.key);
    while (*at != r)
        at = &(*at)->chain;
    *at = r->chain;
    list_remove(&r->ring);
    t->bytes -= bytes_of(r);
    t->nrows--;
    mem_free(r);
}

/* The next rows on the ring move behind the hand, worth a little less; the least of them goes. When
 * as many have gone as the table holds, what is left is worth about half. */
static void evict(struct statements *t)
{
    struct row *least = NULL;
    struct list *l;
    for (size_t i = 0; i < MIN(t->nrows, (size_t)LOOK_AT); i++) {
        l = list_pop_front(&t->ring);
        list_push_back(&t->ring, l);
        struct row *r = container_of(l, struct row, ring);
        if (least == NULL || r->worth < least->worth)
            least = r;
        r->worth -= (r->worth + AGE - 1) / AGE;
    }
    CHECK(least != NULL);
    drop(t, least);
    t->evicted++;
}

static struct row *add(struct statements *t, const struct statement_key *key,
                       const struct statement_batch *b)
{
    char text[STATEMENTS_TEXT_MAX];
    size_t n = statement_batch_text(b, text, sizeof(text));
    if (sizeof(struct row) + n + 1 > t->max_bytes)
        return NULL;
    while (t->bytes + sizeof(struct row) + n + 1 > t->max_bytes)
        evict(t);
    struct row *r = mem_new(sizeof(*r) + n + 1);
    r->s.key = *key;
    memcpy(r->text, text, n + 1);
    r->s.text = (struct str){r->text, n};
    struct row **slot = slot_of(t, key);
    r->chain = *slot;
    *slot = r;
    list_init(&r->ring);
    list_push_back(&t->ring, &r->ring);
    t->bytes += bytes_of(r);
    t->nrows++;
    return r;
}

void statements_configure(struct statements *t, bool on, size_t max_bytes)
{
    t->on = on;
    t->max_bytes = max_bytes;
    if (!on) {
        statements_reset(t);
        mem_free(t->slots);
        t->slots = NULL;
        return;
    }
    if (t->slots == NULL)
        t->slots = mem_new(SLOTS * sizeof(struct row *));
    while (t->bytes > t->max_bytes)
        evict(t);
}

bool statements_on(const struct statements *t)
{
    return t->on;
}

/* NULL: the memory allowed is less than this one row. */
static struct row *row_of(struct statements *t, const struct db_shared *db, const char *host,
                          const struct statement_batch *b)
{
    const struct statement_key key = {db, host, statement_batch_digest(b)};
    struct row *r = find(t, &key);
    return LIKELY(r != NULL) ? r : add(t, &key, b);
}

void statements_note_cached(struct statements *t, const struct db_shared *db,
                            const struct statement_batch *b)
{
    struct row *r = row_of(t, db, NULL, b);
    if (UNLIKELY(r == NULL))
        return;
    r->s.cached++;
    r->worth += HIT_WORTH;
}

void statements_note(struct statements *t, const struct statement_run *run)
{
    const struct statement_batch *b = run->batch;
    struct row *r = row_of(t, run->db, run->host, b);
    if (UNLIKELY(r == NULL))
        return;
    struct statement *s = &r->s;
    uint32_t calls = is_one(b) || b->n == 0 ? b->runs : 1;
    usec_t took = MAX(run->took, 0), each = calls > 1 ? took / calls : took;
    s->calls += calls;
    s->errors += run->failed;
    s->rows += run->rows;
    s->total_us += (uint64_t)took;
    s->wait_us += (uint64_t)MAX(run->waited, 0);
    s->max_us = MAX(s->max_us, each);
    sketch_add(&s->times, each, calls);
    r->worth += (uint64_t)took + CALL_WORTH;
}

void statements_reset(struct statements *t)
{
    struct list *l;
    while ((l = list_first(&t->ring)) != NULL)
        drop(t, container_of(l, struct row, ring));
    t->evicted = 0;
}

void statements_each(const struct statements *t, void (*fn)(void *arg, const struct statement *s),
                     void *arg)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &t->ring)
        fn(arg, &container_of(it, struct row, ring)->s);
}

void statements_count(const struct statements *t, struct statements_counts *out)
{
    *out = (struct statements_counts){t->nrows, t->bytes, t->evicted};
}
