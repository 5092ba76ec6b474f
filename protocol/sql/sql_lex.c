/* sql_lex.c - the scanner behind sql_lex.h.
 *
 * The rules are those of PostgreSQL's scan.l (documentation, "Lexical Structure"), re-stated: one
 * table gives each byte a class, the class of a token's first byte picks the function that finds
 * its end.
 *
 * Invariants: p <= end always; every function advances p or sets bad.  No lookahead beyond end.
 */
#include "base/base.h"
#include "protocol/sql/sql_lex.h"

enum char_class {
    C_BAD,
    C_SPACE,
    C_WORD,
    C_DIGIT,
    C_SELF,
    C_OP,
    C_QUOTE,
    C_DQUOTE,
    C_DOLLAR,
    C_DOT,
    C_COLON,
    C_MINUS,
    C_SLASH,
    C_PREFIX, /* a letter that may open a string: e b x n u */
};

#define CLASS_MASK 0x1fu
#define IS_IDENT 0x20u /* may continue an identifier */
#define IS_OP 0x40u    /* may be part of an operator */
#define IS_SPACE 0x80u

static const uint8_t char_table[256] = {
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x81, 0x81, 0x81, 0x81, 0x81, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x81, 0x45, 0x07, 0x45, 0x28, 0x45, 0x45, 0x06, 0x04, 0x04, 0x45, 0x45, 0x04, 0x4b, 0x09, 0x4c,
    0x23, 0x23, 0x23, 0x23, 0x23, 0x23, 0x23, 0x23, 0x23, 0x23, 0x0a, 0x04, 0x45, 0x45, 0x45, 0x45,
    0x45, 0x22, 0x2d, 0x22, 0x22, 0x2d, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x2d, 0x22,
    0x22, 0x22, 0x22, 0x22, 0x22, 0x2d, 0x22, 0x22, 0x2d, 0x22, 0x22, 0x04, 0x00, 0x04, 0x45, 0x22,
    0x45, 0x22, 0x2d, 0x22, 0x22, 0x2d, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x2d, 0x22,
    0x22, 0x22, 0x22, 0x22, 0x22, 0x2d, 0x22, 0x22, 0x2d, 0x22, 0x22, 0x00, 0x45, 0x00, 0x45, 0x00,
    0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22,
    0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22,
    0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22,
    0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22,
    0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22,
    0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22,
    0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22,
    0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22,
};

static uint8_t bits_of(char c)
{
    return char_table[(uint8_t)c];
}

static bool is_digit(char c)
{
    return (uint8_t)(c - '0') < 10;
}

void sql_lex_init(struct sql_lex *lx, struct str text, uint32_t dialect)
{
    const char *from = text.n > 0 ? text.p : "";

    *lx = (struct sql_lex){.p = from, .end = from + text.n, .dialect = dialect};
    /* a zero byte would cut the text short for the grammar, which reads C strings */
    lx->bad = memchr(from, '\0', text.n) != NULL;
    if ((dialect & SQL_DIALECT_MULTIBYTE) != 0) {
        for (size_t i = 0; i < text.n; i++) {
            lx->bad |= (uint8_t)from[i] >= 0x80;
        }
    }
}

/* The byte n places ahead, or 0. */
static char peek(const struct sql_lex *lx, ptrdiff_t n)
{
    return lx->end - lx->p > n ? lx->p[n] : '\0';
}

static void note_hint(struct sql_lex *lx, const char *from, const char *to)
{
    struct str s = str_trim((struct str){from, (size_t)(to - from)});

    if (!str_istarts(s, STR("penstock:"))) {
        return;
    }
    if (lx->ntokens == 0) {
        if (lx->hint.n == 0) {
            lx->hint = s;
        }
    } else {
        lx->trailer = s;
        lx->trailer_at = lx->ntokens;
    }
}

/* p stands on the opening of a block comment; they nest. */
static void skip_block(struct sql_lex *lx)
{
    const char *from = lx->p + 2;
    size_t depth = 1;

    lx->p += 2;
    while (lx->end - lx->p >= 2) {
        if (lx->p[0] == '*' && lx->p[1] == '/') {
            lx->p += 2;
            if (--depth == 0) {
                note_hint(lx, from, lx->p - 2);
                return;
            }
        } else if (lx->p[0] == '/' && lx->p[1] == '*') {
            lx->p += 2;
            depth++;
        } else {
            lx->p++;
        }
    }
    lx->bad = true;
}

static const char *line_end(const char *p, const char *end)
{
    while (p < end && *p != '\n' && *p != '\r') {
        p++;
    }
    return p;
}

static void skip_blanks(struct sql_lex *lx)
{
    while (lx->p < lx->end && !lx->bad) {
        if ((bits_of(*lx->p) & IS_SPACE) != 0) {
            lx->p++;
        } else if (*lx->p == '-' && peek(lx, 1) == '-') {
            lx->p = line_end(lx->p, lx->end);
        } else if (*lx->p == '/' && peek(lx, 1) == '*') {
            skip_block(lx);
        } else {
            return;
        }
    }
}

/* Behind a closing quote: blanks (line comments count) with a newline among them, then a quote,
 * carry the literal on.  Moves p behind that quote, or leaves it. */
static bool continue_string(struct sql_lex *lx)
{
    const char *p = lx->p;
    bool newline = false;

    while (p < lx->end) {
        if ((bits_of(*p) & IS_SPACE) != 0) {
            newline |= *p == '\n' || *p == '\r';
            p++;
        } else if (*p == '-' && lx->end - p > 1 && p[1] == '-') {
            p = line_end(p, lx->end);
        } else {
            break;
        }
    }
    if (!newline || p >= lx->end || *p != '\'') {
        return false;
    }
    lx->p = p + 1;
    return true;
}

/* p stands behind the opening quote. */
static void scan_string(struct sql_lex *lx, bool backslash)
{
    while (lx->p < lx->end) {
        char c = *lx->p++;
        if (c == '\\' && backslash) {
            if (lx->p == lx->end) {
                break;
            }
            lx->p++;
        } else if (c == '\'') {
            if (peek(lx, 0) == '\'') {
                lx->p++;
            } else if (!continue_string(lx)) {
                return;
            }
        }
    }
    lx->bad = true;
}

/* Likewise, but a quote cannot be doubled: it ends the literal and another one begins. */
static void scan_bits(struct sql_lex *lx)
{
    while (lx->p < lx->end) {
        if (*lx->p++ == '\'' && (peek(lx, 0) == '\'' || !continue_string(lx))) {
            return;
        }
    }
    lx->bad = true;
}

static void scan_quoted(struct sql_lex *lx)
{
    while (lx->p < lx->end) {
        if (*lx->p++ != '"') {
            continue;
        }
        if (peek(lx, 0) != '"') {
            return;
        }
        lx->p++;
    }
    lx->bad = true;
}

static const char *ident_end(const char *p, const char *end)
{
    while (p < end && (bits_of(*p) & IS_IDENT) != 0) {
        p++;
    }
    return p;
}

static enum sql_token_kind scan_prefixed(struct sql_lex *lx)
{
    char next = peek(lx, 1);
    char first = (char)(*lx->p | 0x20);
    bool backslash = (lx->dialect & SQL_DIALECT_BACKSLASH) != 0;

    if (next == '\'' && first != 'u') {
        lx->p += 2;
        if (first == 'e' || first == 'n') {
            scan_string(lx, first == 'e' || backslash);
            return first == 'e' ? SQL_TOK_ESTRING : SQL_TOK_NSTRING;
        }
        scan_bits(lx);
        return SQL_TOK_BITS;
    }
    if (first == 'u' && next == '&' && (peek(lx, 2) == '"' || peek(lx, 2) == '\'')) {
        bool ident = peek(lx, 2) == '"';
        lx->p += 3;
        if (ident) {
            scan_quoted(lx);
            return SQL_TOK_UQUOTED;
        }
        lx->bad |= backslash; /* the server refuses it: "unsafe use" */
        scan_string(lx, false);
        return SQL_TOK_USTRING;
    }
    lx->p = ident_end(lx->p, lx->end);
    return SQL_TOK_WORD;
}

static enum sql_token_kind scan_dollar(struct sql_lex *lx)
{
    const char *start = lx->p;
    const char *p = lx->p + 1;

    if (p < lx->end && is_digit(*p)) {
        while (p < lx->end && is_digit(*p)) {
            p++;
        }
        lx->p = p;
        return SQL_TOK_PARAM;
    }
    while (p < lx->end && *p != '$' && (bits_of(*p) & IS_IDENT) != 0) {
        p++;
    }
    if (p >= lx->end || *p != '$') {
        lx->bad = true;
        return SQL_TOK_BAD;
    }
    size_t n = (size_t)(p + 1 - start); /* the tag with both dollars */
    const char *q = memmem(p + 1, (size_t)(lx->end - p - 1), start, n);
    if (q == NULL) {
        lx->bad = true;
        return SQL_TOK_BAD;
    }
    lx->p = q + n;
    return SQL_TOK_DOLLAR;
}

/* Digits with single underscores between them, as PostgreSQL 16 has it. */
static const char *digits(const char *p, const char *end)
{
    while (p < end && (is_digit(*p) || (*p == '_' && end - p > 1 && is_digit(p[1])))) {
        p++;
    }
    return p;
}

static bool is_radix(char c)
{
    c = (char)(c | 0x20);
    return c == 'x' || c == 'o' || c == 'b';
}

/* Up to PostgreSQL 15, 0x1f and 1_000 were a number and a word glued to it; newer ones take them
 * whole. Both readings end at the same place once all that may continue a word is taken along: a
 * dollar sign there must not open a quote. */
static void scan_number(struct sql_lex *lx)
{
    const char *start = lx->p;
    const char *p = start;
    const char *end = lx->end;

    if (*p == '0' && end - p > 2 && is_radix(p[1])) {
        lx->p = ident_end(p, end);
        return;
    }
    p = digits(p, end);
    if (p < end && *p == '.' && !(end - p > 1 && p[1] == '.')) {
        p = digits(p + 1, end);
    }
    if (p < end && (*p | 0x20) == 'e') {
        const char *q = p + 1;
        if (q < end && (*q == '+' || *q == '-')) {
            q++;
        }
        if (q < end && is_digit(*q)) {
            p = digits(q, end);
        }
    }
    if (UNLIKELY(memchr(start, '_', (size_t)(p - start)) != NULL)) {
        p = ident_end(p, end);
    }
    lx->p = p;
}

/* An operator ends before a comment, and before trailing + or - unless it holds one of
 * ~!@#%^&|`?. */
static void scan_op(struct sql_lex *lx)
{
    const char *start = lx->p;
    const char *p = start;
    bool special = false;

    while (p < lx->end && (bits_of(*p) & IS_OP) != 0) {
        if (lx->end - p > 1 && ((*p == '/' && p[1] == '*') || (*p == '-' && p[1] == '-'))) {
            break;
        }
        special |= strchr("~!@#%^&|`?", *p) != NULL;
        p++;
    }
    while (p - start > 1 && !special && (p[-1] == '+' || p[-1] == '-')) {
        p--;
    }
    lx->p = p;
}

static enum sql_token_kind scan_colon(struct sql_lex *lx)
{
    char next = peek(lx, 1);

    lx->p += next == ':' || next == '=' ? 2 : 1;
    return next == ':' ? SQL_TOK_CAST : next == '=' ? SQL_TOK_OP : SQL_TOK_SELF;
}

static enum sql_token_kind scan_token(struct sql_lex *lx)
{
    switch ((enum char_class)(bits_of(*lx->p) & CLASS_MASK)) {
    case C_WORD:
        lx->p = ident_end(lx->p, lx->end);
        return SQL_TOK_WORD;
    case C_PREFIX:
        return scan_prefixed(lx);
    case C_DIGIT:
        scan_number(lx);
        return SQL_TOK_NUMBER;
    case C_SELF:
        lx->p++;
        return SQL_TOK_SELF;
    case C_OP:
    case C_MINUS:
    case C_SLASH:
        scan_op(lx);
        return SQL_TOK_OP;
    case C_QUOTE:
        lx->p++;
        scan_string(lx, (lx->dialect & SQL_DIALECT_BACKSLASH) != 0);
        return SQL_TOK_STRING;
    case C_DQUOTE:
        lx->p++;
        scan_quoted(lx);
        return SQL_TOK_QUOTED;
    case C_DOLLAR:
        return scan_dollar(lx);
    case C_DOT:
        if (is_digit(peek(lx, 1))) {
            scan_number(lx);
            return SQL_TOK_NUMBER;
        }
        lx->p++;
        return SQL_TOK_SELF;
    case C_COLON:
        return scan_colon(lx);
    case C_SPACE: /* skipped before */
    case C_BAD:
        break;
    }
    lx->bad = true;
    return SQL_TOK_BAD;
}

enum sql_token_kind sql_lex_next(struct sql_lex *lx, struct sql_token *tok)
{
    const char *before = lx->p;

    if (LIKELY(!lx->bad)) {
        skip_blanks(lx);
    }
    tok->space = lx->p != before;
    const char *start = lx->p;
    if (UNLIKELY(lx->bad)) {
        tok->kind = SQL_TOK_BAD;
    } else if (lx->p == lx->end) {
        tok->kind = SQL_TOK_END;
    } else {
        tok->kind = scan_token(lx);
        lx->ntokens++;
        if (UNLIKELY(lx->bad)) {
            tok->kind = SQL_TOK_BAD;
        }
    }
    tok->text = (struct str){start, (size_t)(lx->p - start)};
    return tok->kind;
}

struct str sql_lex_hint(const struct sql_lex *lx)
{
    if (lx->hint.n != 0) {
        return lx->hint;
    }
    return lx->trailer.n != 0 && lx->trailer_at == lx->ntokens ? lx->trailer : STR_NONE;
}

bool sql_lex_is_word(const struct sql_token *tok, struct str w)
{
    return tok->kind == SQL_TOK_WORD && str_ieq(tok->text, w);
}

bool sql_lex_is_self(const struct sql_token *tok, char c)
{
    return tok->kind == SQL_TOK_SELF && *tok->text.p == c;
}

bool sql_lex_name(const struct sql_token *tok, char *dst, size_t cap, struct str *out)
{
    size_t n = 0;

    if (tok->kind == SQL_TOK_WORD) {
        if (tok->text.n >= cap) {
            return false;
        }
        for (n = 0; n < tok->text.n; n++) {
            char c = tok->text.p[n];
            dst[n] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
        }
    } else if (tok->kind == SQL_TOK_QUOTED) {
        for (size_t i = 1; i + 1 < tok->text.n; i++) {
            if (n + 1 >= cap) {
                return false;
            }
            dst[n++] = tok->text.p[i];
            i += tok->text.p[i] == '"'; /* a doubled quote stands for one */
        }
    }
    *out = (struct str){dst, n};
    return n > 0;
}
