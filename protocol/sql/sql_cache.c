/* sql_cache.c - statement text to facts: see sql_cache.h.
 *
 * An open hash of chains over entries that also hang on one recency list.  The key of an entry is
 * the normalised text, the hint and the dialect, borrowed from its facts; a text that the grammar
 * refused is kept under its raw bytes instead, so that it cannot spoil a statement that only looks
 * like it once constants are out.  Texts over the caps share one set of facts that knows nothing.
 *
 * A hit allocates nothing: the text is normalised into the cache's scratch and compared there.
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

#define RAW_KEY 0x80000000u /* in the dialect of an entry: keyed by raw bytes */
#define SLOTS_MIN 1024u
#define ENTRY_BYTES_MIN 512u /* what an entry is taken to need when slots are counted */
#define RAW_MAX 8192u        /* longer refused texts are not kept */

struct key {
    struct str text, hint;
    uint64_t hash;
    uint32_t dialect;
};

struct entry {
    struct list recent;  /* most recently used first */
    struct entry *chain; /* next in the same slot */
    struct facts *facts; /* reference */
    struct key key;      /* borrowed from facts, or from raw */
    size_t bytes;
    char raw[];
};

struct sql_cache {
    struct entry **slots; /* owned */
    size_t nslots;        /* a power of two */
    struct list recent;
    size_t max_bytes;
    struct facts *unknown; /* reference; for texts over the caps */
    struct sql_cache_stats stats;
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

static void drop(struct sql_cache *c, struct entry *e)
{
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

static struct facts *find(struct sql_cache *c, const struct key *k)
{
    for (struct entry *e = c->slots[k->hash & (c->nslots - 1)]; e != NULL; e = e->chain) {
        if (LIKELY(same(&e->key, k))) {
            list_remove(&e->recent);
            list_push_front(&c->recent, &e->recent);
            c->stats.hits++;
            return facts_get(e->facts);
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
    f = sql_draft_finish(&d, n->text, n->hint, n->digest, &bytes);
    if (d.complete) {
        insert(c, k, f, bytes);
    } else if (text.n <= RAW_MAX) {
        insert(c, &raw, f, bytes);
    }
    sql_draft_fini(&d);
    return f;
}

struct facts *sql_cache_get(struct sql_cache *c, struct str text, uint32_t dialect)
{
    struct sql_normal n;

    dialect &= ~RAW_KEY;
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

void sql_cache_stats(const struct sql_cache *c, struct sql_cache_stats *out)
{
    *out = c->stats;
}
