/* rules.c - the list of route rules; see rules.h.
 *
 * At most RULES_MAX rules of patterns of at most PATTERN_MAX bytes.  A pattern is folded when it is
 * added; the statement's text is folded as it is compared, so that nothing is copied.
 */
#include "router/rules.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/refs.h"

#define RULES_MAX 1000u
#define PATTERN_MAX 8192u
#define DIGEST_PREFIX "digest:"
#define DIGEST_DIGITS 16u

struct rule {
    char *name;    /* owned */
    char *pattern; /* owned; NULL: by digest */
    uint64_t digest;
    enum rules_wish wish;
};

struct rules {
    struct refs refs;
    /* names this list in the memo of facts, also after its address is reused */
    uint64_t generation;
    struct rule *list; /* owned */
    size_t n;
};

struct rules *rules_new(void)
{
    struct rules *r = mem_new(sizeof(*r));
    refs_init(&r->refs);
    r->generation = random_u64() | 1u;
    return r;
}

struct rules *rules_get(struct rules *r)
{
    refs_get(&r->refs);
    return r;
}

void rules_put(struct rules **r)
{
    struct rules *was = *r;
    *r = NULL;
    if (was == NULL || !refs_put(&was->refs))
        return;
    for (size_t i = 0; i < was->n; i++) {
        mem_free(was->list[i].name);
        mem_free(was->list[i].pattern);
    }
    mem_free(was->list);
    mem_free(was);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool parse_digest(struct str s, uint64_t *out)
{
    uint64_t v = 0;
    if (s.n != DIGEST_DIGITS)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = (char)(s.p[i] | 0x20);
        if (is_digit(s.p[i]))
            v = v << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            v = v << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    *out = v;
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

static char fold(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* Lower case, one blank for a run of blanks, and the mark of a constant for $1, $2 ... */
static char *fold_pattern(struct str s)
{
    char *out = mem_new(s.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        bool blank = is_blank(s.p[i]);
        if (blank && n > 0 && out[n - 1] == ' ')
            continue;
        out[n++] = blank ? ' ' : fold(s.p[i]);
        if (s.p[i] != '$' || i + 1 == s.n || !is_digit(s.p[i + 1]))
            continue;
        out[n++] = '?';
        while (i + 1 < s.n && is_digit(s.p[i + 1]))
            i++;
    }
    return out;
}

enum status rules_add(struct rules *r, struct str name, struct str query, enum rules_wish wish,
                      struct error *err)
{
    struct rule rule = {.wish = wish};
    struct str text = str_trim(query);
    if (r->n == RULES_MAX)
        return error_set(err, ST_LIMIT, "more than %u route rules", RULES_MAX);
    if (text.n == 0)
        return error_set(err, ST_INVALID, "a route rule needs a query");
    if (text.n > PATTERN_MAX)
        return error_set(err, ST_LIMIT, "a route rule's query is longer than %u", PATTERN_MAX);
    if (str_istarts(text, STR(DIGEST_PREFIX))) {
        struct str digits = {text.p + strlen(DIGEST_PREFIX), text.n - strlen(DIGEST_PREFIX)};
        if (!parse_digest(str_trim(digits), &rule.digest))
            return error_set(err, ST_INVALID, "a digest is %u hexadecimal digits", DIGEST_DIGITS);
    } else {
        rule.pattern = fold_pattern(text);
    }
    rule.name = str_dup(name);
    r->list = mem_resize(r->list, (r->n + 1) * sizeof(*r->list));
    r->list[r->n++] = rule;
    return ST_OK;
}

/* The next folded byte of the text, '\0' at its end. */
static char next_folded(struct str text, size_t *at)
{
    if (*at >= text.n)
        return '\0';
    char c = text.p[(*at)++];
    if (!is_blank(c))
        return fold(c);
    while (*at < text.n && is_blank(text.p[*at]))
        (*at)++;
    return ' ';
}

/* Where a comparison failed, the last star takes one byte more: at most length times length. */
static bool matches(const char *pattern, struct str text)
{
    const char *star = NULL;
    size_t at = 0, retry = 0;
    for (;;) {
        size_t ahead = at;
        char c = next_folded(text, &ahead);
        if (*pattern == '*') {
            star = ++pattern;
            retry = at;
        } else if (c != '\0' && *pattern == c) {
            pattern++;
            at = ahead;
        } else if (c == '\0' && *pattern == '\0') {
            return true;
        } else if (star == NULL || retry >= text.n) {
            return false;
        } else {
            (void)next_folded(text, &retry);
            at = retry;
            pattern = star;
        }
    }
}

static uint32_t find(const struct rules *r, const struct facts *f)
{
    struct str text = str_trim(f->text);
    for (size_t i = 0; i < r->n; i++) {
        const struct rule *rule = &r->list[i];
        if (rule->pattern == NULL ? rule->digest == f->digest : matches(rule->pattern, text))
            return (uint32_t)i + 1;
    }
    return 0;
}

enum rules_wish rules_match(const struct rules *r, struct facts *f, struct str *name)
{
    if (name != NULL)
        *name = STR_NONE;
    if (r == NULL || r->n == 0)
        return WISH_NONE;
    if (UNLIKELY(f->rule_generation != r->generation)) {
        f->rule_memo = find(r, f);
        f->rule_generation = r->generation;
    }
    if (f->rule_memo == 0)
        return WISH_NONE;
    const struct rule *rule = &r->list[f->rule_memo - 1];
    if (name != NULL)
        *name = str_of(rule->name);
    return rule->wish;
}

static const struct {
    struct str word;
    enum rules_wish wish;
} words[] = {
    {STR_INIT("primary"), WISH_PRIMARY},
    {STR_INIT("replica"), WISH_REPLICA},
    {STR_INIT("prefer-replica"), WISH_PREFER},
    {STR_INIT("auto"), WISH_AUTO},
};

bool rules_wish_of(struct str word, enum rules_wish *out)
{
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (str_ieq(word, words[i].word)) {
            *out = words[i].wish;
            return true;
        }
    }
    return false;
}

const char *rules_wish_name(enum rules_wish w)
{
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (words[i].wish == w)
            return words[i].word.p;
    }
    return "none";
}
