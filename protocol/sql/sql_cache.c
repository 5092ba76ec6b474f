/* sql_cache.c - statement text to facts: see sql_cache.h.
 *
 * An open hash of chains over entries that also hang on one recency list.  The key of an entry is
 * the normalised text, the hint and the dialect, borrowed from its facts; a text that the grammar
 * refused is kept under its raw bytes instead, so that it cannot spoil a statement that only looks
 * like it once constants are out.  Texts over the caps share one set of facts that knows nothing.
 *
 * A hit allocates nothing: the text is normalised into the cache's scratch and compared there.
 *
 * In front of all that stands a direct-mapped table keyed by skeletons (sql_quick.h).  It holds
 * only facts that no constant can change: reads, writes and transaction commands that the grammar
 * has understood.
 */
#include "base/base.h"
#include "base/check.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/mem.h"
#include "protocol/sql/sql_cache.h"
#include "protocol/sql/sql_classify.h"
#include "protocol/sql/sql_draft.h"
#include "protocol/sql/sql_normalize.h"
#include "protocol/sql/sql_pgparse.h"
#include "protocol/sql/sql_quick.h"

#define RAW_KEY 0x80000000u /* in the dialect of an entry: keyed by raw bytes */
#define SLOTS_MIN 1024u
#define ENTRY_BYTES_MIN 512u /* what an entry is taken to need when slots are counted */
#define QUICK_SLOTS 1024u
#define QUICK_EFFECTS (FX_READ | FX_WRITE | FX_SEQ_WRITE | FX_BEGIN | FX_END | FX_TXCTL)
#define RAW_MAX 8192u /* longer refused texts are not kept */

struct key {
    struct str text, hint;
    uint64_t hash;
    uint32_t dialect;
};

struct quick {
    struct entry *entry; /* borrowed; NULL: empty */
    uint64_t hash;
    size_t n;
    char *skeleton; /* owned */
};

struct entry {
    struct list recent;  /* most recently used first */
    struct quick *quick; /* the one place in the quick table that refers to it, or NULL */
    struct entry *chain; /* next in the same slot */
    struct facts *facts; /* reference */
    struct key key;      /* borrowed from facts, or from raw */
    size_t bytes;
    char raw[];
};

struct sql_cache {
    struct entry *last;   /* that the last find or insert was about; NULL: none */
    struct entry **slots; /* owned */
    size_t nslots;        /* a power of two */
    struct list recent;
    size_t max_bytes;
    struct facts *unknown; /* reference; for texts over the caps */
    struct sql_cache_stats stats;
    struct quick quick[QUICK_SLOTS];
    char skeleton[SQL_QUICK_MAX];
    char scratch[SQL_SCRATCH_BYTES];
    char grammar[SQL_SCRATCH_BYTES];
};

static struct facts *facts_unknown(void)
{
    struct sql_draft d;
    size_t bytes;

    sql_draft_init(&d);
    struct facts *f = sql_draft_finish(&d, STR_NONE, STR_NONE, 0, &bytes);
    sql_draft_fini(&d);
    return f;
}

struct sql_cache *sql_cache_new(size_t max_bytes)
{
    struct sql_cache *c = mem_new(sizeof(*c));

    c->nslots = SLOTS_MIN;
    while (c->nslots < max_bytes / ENTRY_BYTES_MIN && c->nslots < (1u << 20)) {
        c->nslots *= 2;
    }
    c->slots = mem_new(c->nslots * sizeof(struct entry *));
    list_init(&c->recent);
    c->max_bytes = max_bytes;
    c->unknown = facts_unknown();
    return c;
}

static void clear_quick(struct quick *q)
{
    if (q == NULL || q->entry == NULL) {
        return;
    }
    q->entry->quick = NULL;
    q->entry = NULL;
    mem_free(q->skeleton);
    q->skeleton = NULL;
}

static void drop(struct sql_cache *c, struct entry *e)
{
    clear_quick(e->quick);
    struct entry **at = &c->slots[e->key.hash & (c->nslots - 1)];

    while (*at != e) {
        at = &(*at)->chain;
    }
    *at = e->chain;
    list_remove(&e->recent);
    c->stats.entries--;
    c->stats.bytes -= e->bytes;
    facts_put(&e->facts);
    mem_free(e);
}

static struct entry *oldest(struct sql_cache *c)
{
    struct list *node = list_last(&c->recent);

    return node == NULL ? NULL : container_of(node, struct entry, recent);
}

void sql_cache_free(struct sql_cache **c)
{
    struct sql_cache *it = *c;
    struct entry *e;

    *c = NULL;
    if (it == NULL) {
        return;
    }
    while ((e = oldest(it)) != NULL) {
        drop(it, e);
    }
    facts_put(&it->unknown);
    mem_free(it->slots);
    mem_free(it);
}

static bool same(const struct key *a, const struct key *b)
{
    return a->hash == b->hash && a->dialect == b->dialect && str_eq(a->text, b->text) &&
           str_eq(a->hint, b->hint);
}

static struct facts *use(struct sql_cache *c, struct entry *e)
{
    if (c->recent.next != &e->recent) {
        list_remove(&e->recent);
        list_push_front(&c->recent, &e->recent);
    }
    c->stats.hits++;
    c->last = e;
    return facts_get(e->facts);
}

static struct facts *find(struct sql_cache *c, const struct key *k)
{
    for (struct entry *e = c->slots[k->hash & (c->nslots - 1)]; e != NULL; e = e->chain) {
        if (LIKELY(same(&e->key, k))) {
            return use(c, e);
        }
    }
    return NULL;
}

/* Takes over no reference: the entry gets its own. */
static void insert(struct sql_cache *c, const struct key *k, struct facts *f, size_t bytes)
{
    bool raw = (k->dialect & RAW_KEY) != 0;
    size_t tail = raw ? k->text.n : 0;
    struct entry *e;

    bytes += sizeof(*e) + tail;
    if (bytes > c->max_bytes) {
        return;
    }
    while (c->stats.bytes + bytes > c->max_bytes && (e = oldest(c)) != NULL) {
        drop(c, e);
        c->stats.evicted++;
    }
    e = mem_new(sizeof(*e) + tail);
    list_init(&e->recent);
    e->facts = facts_get(f);
    e->key = *k;
    if (raw) {
        memcpy(e->raw, k->text.p, tail);
        e->key.text.p = e->raw;
    } else {
        e->key.text = f->text;
        e->key.hint = f->hint;
    }
    e->bytes = bytes;
    e->chain = c->slots[k->hash & (c->nslots - 1)];
    c->slots[k->hash & (c->nslots - 1)] = e;
    list_push_front(&c->recent, &e->recent);
    c->last = e;
    c->stats.entries++;
    c->stats.bytes += bytes;
}

static struct key make_key(struct str text, struct str hint, uint64_t digest, uint32_t dialect)
{
    struct key k = {.text = text, .hint = hint, .hash = digest + dialect, .dialect = dialect};

    if (UNLIKELY(hint.n > 0)) {
        k.hash = hash_bytes(hint.p, hint.n, k.hash);
    }
    return k;
}

/* The key of what the grammar refused, or what is no SQL. */
static struct key raw_key(struct str text, uint32_t dialect)
{
    return make_key(text, STR_NONE, hash_bytes(text.p, text.n, 1), dialect | RAW_KEY);
}

/* Asks classifier and grammar; the draft is complete when one of them understood. */
static void analyse(struct sql_cache *c, struct str text, uint32_t dialect, struct sql_draft *d)
{
    struct sql_normal n;

    if (sql_classify(text, dialect, d)) {
        return;
    }
    sql_normalize_for_grammar(text, dialect, c->grammar, sizeof(c->grammar), &n);
    if (n.state == SQL_NORMAL_OK) {
        c->stats.parsed++;
        sql_pgparse(c->grammar, d);
        /* the grammar hides the minus of -1, but not that of -'1' */
        d->operators |= n.operators && (d->effects & (FX_READ | FX_WRITE)) != 0;
    }
}

/* What people may see of a text in which constants stay. The grammar's scratch is free again. */
static void put_shown(struct sql_cache *c, struct str text, uint32_t dialect, struct sql_draft *d)
{
    struct sql_normal n;

    sql_normalize_shown(text, dialect, c->grammar, sizeof(c->grammar), &n);
    if (n.state == SQL_NORMAL_OK) {
        d->shown = n.text;
        d->shown_digest = n.digest;
    } else {
        d->shown = STR("(not shown)"); /* never the text itself: it may carry a password */
        d->shown_digest = 0;
    }
}

static struct facts *get_slow(struct sql_cache *c, struct str text, const struct key *k,
                              const struct sql_normal *n)
{
    struct key raw = raw_key(text, k->dialect);
    struct facts *f = find(c, &raw);
    struct sql_draft d;
    size_t bytes;

    if (f != NULL) {
        return f;
    }
    c->stats.misses++;
    sql_draft_init(&d);
    if (n->state == SQL_NORMAL_OK) {
        analyse(c, text, k->dialect, &d);
    }
    if (n->kept && n->state == SQL_NORMAL_OK) {
        put_shown(c, text, k->dialect, &d);
    }
    f = sql_draft_finish(&d, n->text, n->hint, n->digest, &bytes);
    if (d.complete) {
        insert(c, k, f, bytes);
    } else if (text.n <= RAW_MAX) {
        insert(c, &raw, f, bytes);
    }
    sql_draft_fini(&d);
    return f;
}

static struct facts *get_normal(struct sql_cache *c, struct str text, uint32_t dialect)
{
    struct sql_normal n;

    sql_normalize(text, dialect, c->scratch, sizeof(c->scratch), &n);
    if (UNLIKELY(n.state == SQL_NORMAL_TOO_DEEP)) {
        c->stats.misses++;
        c->stats.too_deep++;
        return facts_get(c->unknown);
    }
    struct key k = make_key(n.text, n.hint, n.digest, dialect);
    if (LIKELY(n.state == SQL_NORMAL_OK)) {
        struct facts *f = find(c, &k);
        if (LIKELY(f != NULL)) {
            return f;
        }
    }
    return get_slow(c, text, &k, &n);
}

/* Lets the skeleton in c->skeleton lead to the entry that was found or made last. */
static void keep_quick(struct sql_cache *c, struct quick *q, size_t n, uint64_t hash)
{
    struct entry *e = c->last;

    if (e == NULL || !e->facts->complete || e->facts->hint.n > 0 ||
        (e->facts->effects & ~(uint32_t)QUICK_EFFECTS) != 0) {
        return;
    }
    clear_quick(q);
    clear_quick(e->quick);
    q->skeleton = mem_copy(c->skeleton, n);
    q->n = n;
    q->hash = hash;
    q->entry = e;
    e->quick = q;
}

struct facts *sql_cache_get(struct sql_cache *c, struct str text, uint32_t dialect)
{
    size_t n;

    dialect &= ~RAW_KEY;
    if (dialect != 0 || !sql_quick(text, c->skeleton, &n)) {
        return get_normal(c, text, dialect);
    }
    uint64_t hash = hash_bytes(c->skeleton, n, 2);
    struct quick *q = &c->quick[hash & (QUICK_SLOTS - 1)];
    if (LIKELY(q->entry != NULL && q->hash == hash && q->n == n &&
               memcmp(q->skeleton, c->skeleton, n) == 0)) {
        return use(c, q->entry);
    }
    c->last = NULL;
    struct facts *f = get_normal(c, text, dialect);
    keep_quick(c, q, n, hash);
    return f;
}

void sql_cache_stats(const struct sql_cache *c, struct sql_cache_stats *out)
{
    *out = c->stats;
}
