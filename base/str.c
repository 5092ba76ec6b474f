/* str.c - borrowed text.
 *
 * Called by everything that cuts text.  Pure functions, any thread; nothing here asks the locale
 * and nothing but str_dup allocates.
 */
#include "base/str.h"

#include "base/check.h"
#include "base/mem.h"

static unsigned char fold(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* memcmp must not be handed NULL, not even for no bytes. */
static bool same(const char *a, const char *b, size_t n)
{
    return n == 0 || memcmp(a, b, n) == 0;
}

static bool isame(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (fold(a[i]) != fold(b[i]))
            return false;
    }
    return true;
}

struct str str_of(const char *z)
{
    return z == NULL ? STR_NONE : (struct str){z, strlen(z)};
}

bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && same(a.p, b.p, a.n);
}

bool str_ieq(struct str a, struct str b)
{
    return a.n == b.n && isame(a.p, b.p, a.n);
}

bool str_starts(struct str s, struct str prefix)
{
    return s.n >= prefix.n && same(s.p, prefix.p, prefix.n);
}

bool str_istarts(struct str s, struct str prefix)
{
    return s.n >= prefix.n && isame(s.p, prefix.p, prefix.n);
}

int str_cmp(struct str a, struct str b)
{
    size_t n = MIN(a.n, b.n);
    int c = n == 0 ? 0 : memcmp(a.p, b.p, n);
    if (c != 0)
        return c;
    return a.n < b.n ? -1 : a.n > b.n;
}

struct str str_trim(struct str s)
{
    while (s.n > 0 && is_blank(s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

struct str str_cut(struct str *rest, char c)
{
    struct str whole = *rest;
    ptrdiff_t at = str_find(whole, c);
    if (at < 0) {
        *rest = whole.p == NULL ? STR_NONE : (struct str){whole.p + whole.n, 0};
        return whole;
    }
    size_t n = (size_t)at;
    *rest = (struct str){whole.p + n + 1, whole.n - n - 1};
    return (struct str){whole.p, n};
}

ptrdiff_t str_find(struct str s, char c)
{
    const char *at = s.n == 0 ? NULL : memchr(s.p, c, s.n);
    return at == NULL ? -1 : at - s.p;
}

bool str_to_i64(struct str s, int64_t min, int64_t max, int64_t *out)
{
    bool negative = s.n > 0 && s.p[0] == '-';
    size_t i = negative ? 1 : 0;
    if (i == s.n)
        return false;
    /* Counted downwards: the negative range is the larger one. */
    int64_t v = 0;
    for (; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        if (__builtin_mul_overflow(v, (int64_t)10, &v) ||
            __builtin_sub_overflow(v, (int64_t)(s.p[i] - '0'), &v))
            return false;
    }
    if (!negative && __builtin_sub_overflow((int64_t)0, v, &v))
        return false;
    if (v < min || v > max)
        return false;
    *out = v;
    return true;
}

bool str_to_hex(struct str s, uint64_t *out)
{
    uint64_t v = 0;
    if (s.n == 0 || s.n > 16)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c >= '0' && c <= '9')
            v = v << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            v = v << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    *out = v;
    return true;
}

bool str_copy(char *dst, size_t cap, struct str s)
{
    CHECK(cap > 0);
    size_t n = MIN(s.n, cap - 1);
    if (n > 0)
        memcpy(dst, s.p, n);
    dst[n] = '\0';
    return n == s.n;
}

char *str_dup(struct str s)
{
    char *z = mem_resize(NULL, s.n + 1);
    if (s.n > 0)
        memcpy(z, s.p, s.n);
    z[s.n] = '\0';
    return z;
}
