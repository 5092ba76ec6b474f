/* saslprep.c - SASLprep as PostgreSQL applies it, see saslprep.h.
 *
 * Called by: scram.c.  Steps: UTF-8 to code points, mapping, prohibition and direction, NFKC,
 * UTF-8. Normalisation is the algorithm of Unicode annex 15: full compatibility decomposition,
 * canonical ordering of combining marks, canonical composition.  Time is linear in the length
 * (ordering is a counting sort), because a login with a plain password lets the peer choose the
 * text. No state, any thread.  Invariant: wiped before freed.
 */
#include "base/base.h"

#include "protocol/auth/saslprep.h"

#include <stdlib.h>

#include "base/mem.h"
#include "protocol/auth/saslprep_tables.h"

#define DECOMP_MAX 18 /* code points that one code point can become */

/* Hangul syllables are computed (Unicode 3.12): base, counts of the three parts */
#define S_BASE 0xac00u
#define L_BASE 0x1100u
#define V_BASE 0x1161u
#define T_BASE 0x11a7u
#define L_COUNT 19u
#define V_COUNT 21u
#define T_COUNT 28u
#define S_COUNT (L_COUNT * V_COUNT * T_COUNT)

struct text { /* code points; owned, wiped by text_fini */
    uint32_t *cp;
    size_t n, cap;
};

static bool text_init(struct text *t, size_t cap)
{
    t->n = 0;
    t->cap = cap;
    t->cp = mem_try(MAX(cap, 1u) * sizeof(t->cp[0]));
    return t->cp != NULL;
}

static void text_fini(struct text *t)
{
    if (t->cp != NULL)
        mem_wipe(t->cp, t->cap * sizeof(t->cp[0]));
    mem_free(t->cp);
    t->cp = NULL;
}

static int range_cmp(const void *key, const void *item)
{
    uint32_t code = *(const uint32_t *)key;
    const struct saslprep_range *r = item;
    return code < r->first ? -1 : code > r->last;
}

static bool in_ranges(uint32_t code, const struct saslprep_range *r, size_t n)
{
    return bsearch(&code, r, n, sizeof(r[0]), range_cmp) != NULL;
}

static int class_cmp(const void *key, const void *item)
{
    uint32_t code = *(const uint32_t *)key;
    const struct saslprep_class *r = item;
    return code < r->first ? -1 : code > r->last;
}

static uint32_t class_of(uint32_t code)
{
    const struct saslprep_class *r = bsearch(&code, saslprep_classes, saslprep_nclasses, sizeof(*r),
                                             class_cmp);
    return r != NULL ? r->ccc : 0;
}

/* One code point of in at *at, which moves behind it. false: not legal UTF-8. */
static bool decode_one(struct str in, size_t *at, uint32_t *code)
{
    const uint8_t *p = (const uint8_t *)in.p + *at;
    size_t left = in.n - *at;
    size_t len = p[0] < 0x80 ? 1 : p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if ((p[0] >= 0x80 && p[0] < 0xc2) || p[0] > 0xf4 || len > left)
        return false;
    uint32_t v = len == 1 ? p[0] : p[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return false;
        v = v << 6 | (p[i] & 0x3f);
    }
    if (v < least[len] || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff) || v == 0)
        return false;
    *code = v;
    *at += len;
    return true;
}

static size_t encode_one(uint32_t v, char *dst)
{
    if (v < 0x80) {
        dst[0] = (char)v;
        return 1;
    }
    size_t len = v < 0x800 ? 2 : v < 0x10000 ? 3 : 4;
    for (size_t i = len - 1; i > 0; i--) {
        dst[i] = (char)(0x80 | (v & 0x3f));
        v >>= 6;
    }
    dst[0] = (char)((0xf00u >> len & 0xff) | v);
    return len;
}

/* Decodes and maps: spaces to space, some characters to nothing. */
static bool map_text(struct str in, struct text *t)
{
    for (size_t at = 0; at < in.n;) {
        uint32_t code;
        if (!decode_one(in, &at, &code))
            return false;
        /* U+200B is in both tables: as in PostgreSQL, the space wins */
        if (in_ranges(code, saslprep_spaces, saslprep_nspaces))
            t->cp[t->n++] = ' ';
        else if (!in_ranges(code, saslprep_nothing, saslprep_nnothing))
            t->cp[t->n++] = code;
    }
    return t->n > 0;
}

static bool is_right_left(uint32_t code)
{
    return in_ranges(code, saslprep_right_left, saslprep_nright_left);
}

static bool permitted(const struct text *t)
{
    bool right_left = false, left_right = false;
    for (size_t i = 0; i < t->n; i++) {
        if (in_ranges(t->cp[i], saslprep_prohibited, saslprep_nprohibited))
            return false;
        right_left = right_left || is_right_left(t->cp[i]);
        left_right = left_right || in_ranges(t->cp[i], saslprep_left_right, saslprep_nleft_right);
    }
    if (!right_left)
        return true;
    return !left_right && is_right_left(t->cp[0]) && is_right_left(t->cp[t->n - 1]);
}

static int decomp_cmp(const void *key, const void *item)
{
    uint32_t code = *(const uint32_t *)key;
    const struct saslprep_decomp *d = item;
    return code < d->code ? -1 : code > d->code;
}

/* Writes the decomposition of code to dst, at most DECOMP_MAX code points; returns how many. */
static size_t decompose_one(uint32_t code, uint32_t *dst)
{
    if (code - S_BASE < S_COUNT) {
        uint32_t s = code - S_BASE, t = s % T_COUNT;
        dst[0] = L_BASE + s / (V_COUNT * T_COUNT);
        dst[1] = V_BASE + s / T_COUNT % V_COUNT;
        if (t == 0)
            return 2;
        dst[2] = T_BASE + t;
        return 3;
    }
    const struct saslprep_decomp *d = bsearch(&code, saslprep_decomps, saslprep_ndecomps,
                                              sizeof(*d), decomp_cmp);
    if (d == NULL) {
        dst[0] = code;
        return 1;
    }
    memcpy(dst, saslprep_pool + d->at, d->len * sizeof(dst[0]));
    return d->len;
}

/* Stable sort of a run of combining marks by class; spare has room for n. */
static void sort_marks(uint32_t *cp, size_t n, uint32_t *spare)
{
    size_t at[257] = {0};
    for (size_t i = 0; i < n; i++)
        at[class_of(cp[i]) + 1]++;
    for (size_t c = 1; c < ARRAY_LEN(at); c++)
        at[c] += at[c - 1];
    for (size_t i = 0; i < n; i++)
        spare[at[class_of(cp[i])]++] = cp[i];
    memcpy(cp, spare, n * sizeof(cp[0]));
}

static void order_marks(struct text *t, uint32_t *spare)
{
    for (size_t i = 0; i < t->n;) {
        size_t end = i;
        while (end < t->n && class_of(t->cp[end]) != 0)
            end++;
        if (end - i > 1)
            sort_marks(t->cp + i, end - i, spare);
        i = end + 1;
    }
}

static int pair_cmp(const void *key, const void *item)
{
    const struct saslprep_pair *a = key, *b = item;
    if (a->first != b->first)
        return a->first < b->first ? -1 : 1;
    return a->second < b->second ? -1 : a->second > b->second;
}

/* What first and second compose to, or 0. */
static uint32_t compose_pair(uint32_t first, uint32_t second)
{
    if (first - L_BASE < L_COUNT && second - V_BASE < V_COUNT)
        return S_BASE + ((first - L_BASE) * V_COUNT + (second - V_BASE)) * T_COUNT;
    if (first - S_BASE < S_COUNT && (first - S_BASE) % T_COUNT == 0 && second > T_BASE &&
        second < T_BASE + T_COUNT)
        return first + (second - T_BASE);
    struct saslprep_pair key = {first, second, 0};
    const struct saslprep_pair *p = bsearch(&key, saslprep_pairs, saslprep_npairs, sizeof(*p),
                                            pair_cmp);
    return p != NULL ? p->code : 0;
}

static void compose(struct text *t)
{
    size_t kept = 1, starter = 0;
    uint32_t last = class_of(t->cp[0]);
    bool base = last == 0; /* marks before the first base combine with nothing */
    for (size_t i = 1; i < t->n; i++) {
        uint32_t code = t->cp[i], ccc = class_of(code);
        bool open = base && (last == 0 || last < ccc);
        uint32_t both = open ? compose_pair(t->cp[starter], code) : 0;
        if (both != 0) {
            t->cp[starter] = both;
            continue;
        }
        if (ccc == 0) {
            starter = kept;
            base = true;
        }
        last = ccc;
        t->cp[kept++] = code;
    }
    t->n = kept;
}

/* to = NFKC of from */
static enum status normalise(const struct text *from, struct text *to)
{
    uint32_t one[DECOMP_MAX];
    size_t n = 0;
    for (size_t i = 0; i < from->n; i++)
        n += decompose_one(from->cp[i], one);
    struct text spare = {NULL, 0, 0};
    if (!text_init(to, n) || !text_init(&spare, n)) {
        text_fini(&spare);
        return ST_MEMORY;
    }
    for (size_t i = 0; i < from->n; i++)
        to->n += decompose_one(from->cp[i], to->cp + to->n);
    order_marks(to, spare.cp);
    compose(to);
    text_fini(&spare);
    mem_wipe(one, sizeof(one));
    return ST_OK;
}

static enum status encode(const struct text *t, char **out, size_t *n)
{
    char *dst = mem_try(t->n * 4 + 1);
    if (dst == NULL)
        return ST_MEMORY;
    size_t len = 0;
    for (size_t i = 0; i < t->n; i++)
        len += encode_one(t->cp[i], dst + len);
    dst[len] = 0;
    *out = dst;
    *n = len;
    return ST_OK;
}

static enum status copy_raw(struct str in, char **out, size_t *n)
{
    char *dst = mem_try(in.n + 1);
    if (dst == NULL)
        return ST_MEMORY;
    if (in.n > 0)
        memcpy(dst, in.p, in.n);
    dst[in.n] = 0;
    *out = dst;
    *n = in.n;
    return ST_OK;
}

static bool is_ascii(struct str in)
{
    for (size_t i = 0; i < in.n; i++) {
        if ((uint8_t)in.p[i] >= 0x80)
            return false;
    }
    return true;
}

enum status saslprep_prepare(struct str in, char **out, size_t *n)
{
    *out = NULL;
    *n = 0;
    if (is_ascii(in))
        return copy_raw(in, out, n);
    struct text mapped = {NULL, 0, 0}, done = {NULL, 0, 0};
    enum status st = ST_MEMORY;
    if (text_init(&mapped, in.n))
        st = map_text(in, &mapped) && permitted(&mapped) ? ST_OK : ST_INVALID;
    if (st == ST_OK)
        st = normalise(&mapped, &done);
    if (st == ST_OK)
        st = encode(&done, out, n);
    text_fini(&mapped);
    text_fini(&done);
    return st;
}

enum status saslprep_password(struct str in, char **out, size_t *n)
{
    enum status st = saslprep_prepare(in, out, n);
    return st == ST_INVALID ? copy_raw(in, out, n) : st;
}

void saslprep_free(char **text, size_t n)
{
    if (*text != NULL)
        mem_wipe(*text, n);
    mem_free(*text);
    *text = NULL;
}
