/* sql_quick.c - the skeleton of a plain text; see sql_quick.h.  Pure. */
#include "protocol/sql/sql_quick.h"

enum quick_class { Q_COPY, Q_WORD, Q_DIGIT, Q_STRING, Q_QUOTED, Q_STOP, Q_DASH, Q_SLASH, Q_POINT };

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

/* Copies a word with its digits. Strings with a prefix (E'', N'', U&"") begin with a word. */
static const char *copy_word(const char *p, const char *end, char **out)
{
    char *to = *out;
    while (p < end && (class_at(p) == Q_WORD || class_at(p) == Q_DIGIT))
        *to++ = *p++;
    *out = to;
    if (p < end && (class_at(p) == Q_STRING || class_at(p) == Q_STOP || *p == '&'))
        return NULL;
    return p;
}

static const char *copy_quoted(const char *p, const char *end, char **out)
{
    const char *close = memchr(p + 1, '"', (size_t)(end - p - 1));
    if (close == NULL)
        return NULL;
    size_t n = (size_t)(close + 1 - p);
    memcpy(*out, p, n);
    *out += n;
    return close + 1;
}

static const char *step(const char *p, const char *end, char **out)
{
    switch ((enum quick_class)class_at(p)) {
    case Q_WORD:
        return copy_word(p, end, out);
    case Q_DIGIT:
        *(*out)++ = NUMBER_MARK;
        return skip_number(p, end);
    case Q_STRING:
        *(*out)++ = STRING_MARK;
        return skip_string(p, end);
    case Q_QUOTED:
        return copy_quoted(p, end, out);
    case Q_DASH:
    case Q_SLASH:
        if (p + 1 < end && (p[1] == '-' || p[1] == '*'))
            return NULL;
        break;
    case Q_POINT:
        if (p + 1 < end && class_at(p + 1) == Q_DIGIT)
            return NULL;
        break;
    case Q_STOP:
        return NULL;
    case Q_COPY:
        break;
    }
    *(*out)++ = *p;
    return p + 1;
}

bool sql_quick(struct str text, char *dst, size_t *n)
{
    const char *p = text.p, *end = text.p + text.n;
    char *out = dst;
    if (text.n == 0 || text.n > SQL_QUICK_MAX)
        return false;
    while (p != NULL && p < end)
        p = step(p, end, &out);
    *n = (size_t)(out - dst);
    return p != NULL;
}
