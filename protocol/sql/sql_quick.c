/* sql_quick.c - the skeleton of a plain text; see sql_quick.h.  Pure. */
#include "protocol/sql/sql_quick.h"

enum quick_class { Q_WORD, Q_DIGIT, Q_COPY, Q_STRING, Q_QUOTED, Q_STOP, Q_DASH, Q_SLASH, Q_POINT };

#define NUMBER_MARK '\1'
#define STRING_MARK '\2'

/* clang-format off */
#define C Q_COPY
#define W Q_WORD
#define D Q_DIGIT
#define S Q_STRING
#define U Q_QUOTED
#define X Q_STOP
#define M Q_DASH
#define L Q_SLASH
#define P Q_POINT
static const uint8_t class_of[256] = {
    X, X, X, C, C, C, C, C, C, C, C, C, C, C, C, C, /* 0x00 */
    C, C, C, C, C, C, C, C, C, C, C, C, C, C, C, C, /* 0x10 */
    C, C, U, C, X, C, C, S, C, C, C, C, C, M, P, L, /* 0x20 */
    D, D, D, D, D, D, D, D, D, D, C, C, C, C, C, C, /* 0x30 */
    C, W, W, W, W, W, W, W, W, W, W, W, W, W, W, W, /* 0x40 */
    W, W, W, W, W, W, W, W, W, W, W, C, X, C, C, W, /* 0x50 */
    C, W, W, W, W, W, W, W, W, W, W, W, W, W, W, W, /* 0x60 */
    W, W, W, W, W, W, W, W, W, W, W, C, C, C, C, C, /* 0x70 */
    W, W, W, W, W, W, W, W, W, W, W, W, W, W, W, W, /* 0x80 */
    W, W, W, W, W, W, W, W, W, W, W, W, W, W, W, W, /* 0x90 */
    W, W, W, W, W, W, W, W, W, W, W, W, W, W, W, W, /* 0xa0 */
    W, W, W, W, W, W, W, W, W, W, W, W, W, W, W, W, /* 0xb0 */
    W, W, W, W, W, W, W, W, W, W, W, W, W, W, W, W, /* 0xc0 */
    W, W, W, W, W, W, W, W, W, W, W, W, W, W, W, W, /* 0xd0 */
    W, W, W, W, W, W, W, W, W, W, W, W, W, W, W, W, /* 0xe0 */
    W, W, W, W, W, W, W, W, W, W, W, W, W, W, W, W, /* 0xf0 */
};
#undef C
#undef W
#undef D
#undef S
#undef U
#undef X
#undef M
#undef L
#undef P
/* clang-format on */

static unsigned class_at(const char *p)
{
    return class_of[(unsigned char)*p];
}

/* Behind a simple string, or NULL. */
static const char *skip_string(const char *p, const char *end)
{
    const char *close = memchr(p + 1, '\'', (size_t)(end - p - 1));
    if (close == NULL || memchr(p, '\\', (size_t)(close - p)) != NULL)
        return NULL;
    if (close + 1 < end && (close[1] == '\'' || class_at(close + 1) == Q_WORD))
        return NULL;
    return close + 1;
}

/* Behind a decimal number, or NULL. */
static const char *skip_number(const char *p, const char *end)
{
    while (p < end && class_at(p) == Q_DIGIT)
        p++;
    if (p < end && (class_at(p) == Q_WORD || class_at(p) == Q_POINT || class_at(p) == Q_STOP))
        return NULL;
    return p;
}

/* Behind a word with its digits, or NULL: a quote behind a word makes it a prefix (E'', N'',
 * U&""). */
static const char *skip_word(const char *p, const char *end)
{
    while (p < end && class_at(p) <= Q_DIGIT)
        p++;
    if (p < end && (class_at(p) == Q_STRING || class_at(p) == Q_STOP || *p == '&'))
        return NULL;
    return p;
}

static const char *skip_quoted(const char *p, const char *end)
{
    const char *close = memchr(p + 1, '"', (size_t)(end - p - 1));
    return close == NULL ? NULL : close + 1;
}

/* Behind one byte that stays as it is, or NULL where it begins a comment or a number. */
static const char *skip_other(const char *p, const char *end)
{
    unsigned c = class_at(p);
    if (p + 1 == end || c == Q_COPY)
        return p + 1;
    if (c == Q_POINT)
        return class_at(p + 1) == Q_DIGIT ? NULL : p + 1;
    return p[1] == '-' || p[1] == '*' ? NULL : p + 1;
}

/* Behind what stands at p, or NULL. *mark: what replaces it in the skeleton, 0: itself. */
static const char *step(const char *p, const char *end, char *mark)
{
    *mark = 0;
    switch ((enum quick_class)class_at(p)) {
    case Q_WORD:
        return skip_word(p, end);
    case Q_DIGIT:
        *mark = NUMBER_MARK;
        return skip_number(p, end);
    case Q_STRING:
        *mark = STRING_MARK;
        return skip_string(p, end);
    case Q_QUOTED:
        return skip_quoted(p, end);
    case Q_COPY:
    case Q_DASH:
    case Q_SLASH:
    case Q_POINT:
        return skip_other(p, end);
    case Q_STOP:
        return NULL;
    }
    return NULL;
}

bool sql_quick(struct str text, char *dst, size_t *n)
{
    const char *p = text.p, *end = text.p + text.n, *kept = text.p;
    char *out = dst, mark;
    if (text.n == 0 || text.n > SQL_QUICK_MAX)
        return false;
    while (p < end) {
        const char *next = step(p, end, &mark);
        if (next == NULL)
            return false;
        if (mark != 0) { /* everything since the last constant is copied at once */
            memcpy(out, kept, (size_t)(p - kept));
            out += p - kept;
            *out++ = mark;
            kept = next;
        }
        p = next;
    }
    memcpy(out, kept, (size_t)(end - kept));
    out += end - kept;
    *n = (size_t)(out - dst);
    return true;
}
