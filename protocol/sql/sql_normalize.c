/* sql_normalize.c - the pass behind sql_normalize.h.
 *
 * Tokens are written with one blank between them, but none where SQL never needs one (after an
 * opening bracket, a dot or ::, before a closing bracket, a comma, a dot or ::), so that layout
 * does not matter. A semicolon is written when the next token comes, so that trailing ones vanish.
 *
 * Invariant: the output is as unambiguous as the input.  No two texts that the grammar accepts and
 * cuts into different tokens (constants apart) give the same output: operators and words always
 * keep a blank between them, the placeholder is no token, and what the grammar refuses never enters
 * the cache.
 */
#include "base/base.h"
#include "base/hash.h"
#include "protocol/sql/sql_normalize.h"

enum keep_mode {
    KEEP_NONE = 0,
    KEEP_CALL,      /* until the call's parenthesis closes */
    KEEP_CALL_NAME, /* likewise, but not the second argument */
};

struct pass {
    struct sql_lex lx;
    char *start, *out, *end;
    struct sql_normal *res;
    uint32_t depth, case_depth, chain;
    bool for_grammar;
    bool shown;           /* no constant stays */
    bool at_start;        /* no token of this statement yet */
    bool semicolon;       /* one waits to be written */
    bool tight;           /* the token before wants no blank after it */
    bool keep_statement;  /* SET, NOTIFY: until the semicolon */
    bool keep_rest;       /* U& was seen */
    const char *altered;  /* this statement is ALTER: what stands behind that; else NULL */
    bool set;             /* this statement is SET, or ALTER of what has settings, and */
    bool hides;           /* what is left of it is its value, which is not shown */
    enum keep_mode armed; /* the next token may open a call whose constants stay */
    enum keep_mode keep;
    uint32_t keep_depth, keep_arg;
};

/* n more bytes, the blank and the semicolon before them, and what copy_folded steps over. */
static bool has_room(const struct pass *ps, size_t n)
{
    return (size_t)(ps->end - ps->out) > n + 12;
}

static void put(struct pass *ps, struct str s)
{
    memcpy(ps->out, s.p, s.n);
    ps->out += s.n;
}

static void begin_token(struct pass *ps, bool tight)
{
    if (UNLIKELY(ps->semicolon)) {
        *ps->out++ = ';';
        ps->semicolon = false;
        ps->tight = false;
    }
    if (!tight && !ps->tight) {
        *ps->out++ = ' ';
    }
    ps->tight = false;
    if (ps->at_start) {
        ps->res->nstatements++;
        ps->at_start = false;
    }
}

static bool keeps_constant(const struct pass *ps)
{
    if (UNLIKELY(ps->shown)) {
        return false;
    }
    if (LIKELY(!ps->keep_statement && !ps->keep_rest && ps->keep == KEEP_NONE)) {
        return false;
    }
    bool value = ps->keep == KEEP_CALL_NAME && ps->depth == ps->keep_depth && ps->keep_arg == 1;
    return ps->keep_statement || ps->keep_rest || !value;
}

/* A function whose facts hang on its constants. */
static enum keep_mode keep_for(struct str name)
{
    if (str_eq(name, STR("set_config"))) {
        return KEEP_CALL_NAME;
    }
    if (str_eq(name, STR("pg_notify"))) {
        return KEEP_CALL;
    }
    bool lock = str_starts(name, STR("pg_advisory_")) || str_starts(name, STR("pg_try_advisory_"));
    if (lock && memmem(name.p, name.n, "_xact_", 6) == NULL) {
        return KEEP_CALL;
    }
    return KEEP_NONE;
}

static void case_word(struct pass *ps, struct str w)
{
    if (w.n == 4 && memcmp(w.p, "case", 4) == 0) {
        ps->case_depth++;
        ps->depth++;
    } else if (w.n == 3 && memcmp(w.p, "end", 3) == 0 && ps->case_depth > 0 && ps->depth > 0) {
        ps->case_depth--;
        ps->depth--;
    }
}

/* The value of SET may be a word as well as a constant: it is one placeholder, whatever it is, and
 * whatever seems to be open before it, for CASE may also be the name of a column. */
static void hide_value(struct pass *ps)
{
    if (!ps->shown) {
        return;
    }
    begin_token(ps, false);
    put(ps, STR("$?"));
    ps->hides = true;
}

/* ALTER ROLE ... SET and its like: what has settings is named by the word behind ALTER.  Of TABLE
 * and others SET says something else, which is no secret. */
static bool alters_settings(const struct pass *ps)
{
    static const char *const objects[] = {" role ",     " user ",      " database ", " system ",
                                          " function ", " procedure ", " routine "};
    struct str rest = {ps->altered, (size_t)(ps->out - ps->altered)};
    for (size_t i = 0; i < ARRAY_LEN(objects); i++) {
        if (str_starts(rest, str_of(objects[i]))) {
            return true;
        }
    }
    return false;
}

static void on_set(struct pass *ps, bool first)
{
    if (first) {
        ps->keep_statement = true;
    } else if (LIKELY(ps->altered == NULL) || !alters_settings(ps)) {
        return;
    }
    ps->set = true;
    ps->res->kept = true; /* also a value that is a word */
}

/* w is folded. Only a few first letters and lengths need a closer look. */
static void look_at_word(struct pass *ps, struct str w, bool first)
{
    switch (w.p[0]) {
    case 'a':
        if (first && str_eq(w, STR("alter"))) {
            ps->altered = ps->out;
        }
        break;
    case 'c':
    case 'e':
        case_word(ps, w);
        break;
    case 'n':
        ps->keep_statement |= first && str_eq(w, STR("notify"));
        break;
    case 'p':
        if (w.n >= 9 && w.p[2] == '_') { /* pg_ */
            ps->armed = keep_for(w);
        }
        break;
    case 's':
        if (w.n == 10) {
            ps->armed = keep_for(w);
        }
        if (w.n == 3 && memcmp(w.p, "set", 3) == 0) {
            on_set(ps, first);
        }
        break;
    case 't':
        if (ps->set && w.n == 2 && w.p[1] == 'o') {
            hide_value(ps);
        }
        break;
    default:
        break;
    }
}

/* Eight bytes with their ASCII capitals folded: the top bit of each byte of `upper` says that it is
 * one; the case bit is two places below. */
static uint64_t fold8(uint64_t x)
{
    const uint64_t each = 0x0101010101010101u;
    uint64_t low = x & (0x7f * each);
    uint64_t from_a = low + (0x80 - 'A') * each;
    uint64_t past_z = low + (0x7f - 'Z') * each;
    uint64_t upper = ~x & (from_a ^ past_z) & (0x80 * each);

    return x | upper >> 2;
}

/* Copies n bytes folded; works in steps of eight, so dst has room for seven more. */
static void copy_folded(char *dst, const char *src, size_t n)
{
    uint64_t x;

    memcpy(dst, src, n);
    for (size_t i = 0; i < n; i += sizeof(x)) {
        memcpy(&x, dst + i, sizeof(x));
        x = fold8(x);
        memcpy(dst + i, &x, sizeof(x));
    }
}

static void put_word(struct pass *ps, const struct sql_token *tok)
{
    bool first = ps->at_start;

    begin_token(ps, false);
    char *dst = ps->out;
    copy_folded(dst, tok->text.p, tok->text.n);
    ps->out += tok->text.n;
    ps->chain++;
    ps->armed = KEEP_NONE;
    look_at_word(ps, (struct str){dst, tok->text.n}, first);
}

static void put_quoted(struct pass *ps, const struct sql_token *tok)
{
    begin_token(ps, false);
    put(ps, tok->text);
    ps->chain++;
    ps->armed = KEEP_NONE;
    if (tok->kind == SQL_TOK_UQUOTED) {
        ps->keep_rest = true;
    } else {
        ps->armed = keep_for((struct str){tok->text.p + 1, tok->text.n - 2});
    }
}

/* The shortest constant of the class, for the grammar. */
static struct str stand_in(const struct sql_token *tok)
{
    if (tok->kind == SQL_TOK_NUMBER) {
        for (size_t i = 0; i < tok->text.n; i++) {
            if (strchr("0123456789.eE+-", tok->text.p[i]) == NULL) {
                return STR("1"); /* spellings newer than the grammar */
            }
        }
        return tok->text;
    }
    if (tok->kind == SQL_TOK_BITS) {
        return STR("B'0'");
    }
    return tok->kind == SQL_TOK_NSTRING ? STR("N''") : STR("''");
}

static void put_kept(struct pass *ps, const struct sql_token *tok)
{
    struct str s = tok->text;
    bool backslash = (ps->lx.dialect & SQL_DIALECT_BACKSLASH) != 0;
    bool plain = tok->kind == SQL_TOK_STRING || tok->kind == SQL_TOK_NSTRING;

    if (ps->for_grammar && backslash && plain) {
        *ps->out++ = 'E';
        if (tok->kind == SQL_TOK_NSTRING) {
            s = (struct str){s.p + 1, s.n - 1};
        }
    }
    put(ps, s);
}

static void put_constant(struct pass *ps, const struct sql_token *tok)
{
    ps->armed = KEEP_NONE;
    begin_token(ps, false);
    if (tok->kind == SQL_TOK_USTRING) {
        ps->keep_rest = true;
    }
    if (UNLIKELY(keeps_constant(ps))) {
        ps->res->kept = true;
        put_kept(ps, tok);
    } else if (ps->for_grammar) {
        put(ps, stand_in(tok));
    } else {
        *ps->out++ = '$';
        *ps->out++ = '?';
    }
}

static void put_param(struct pass *ps, const struct sql_token *tok)
{
    ps->armed = KEEP_NONE;
    ps->res->params = true;
    begin_token(ps, false);
    put(ps, ps->for_grammar ? tok->text : STR("$?"));
}

static void put_op(struct pass *ps, const struct sql_token *tok)
{
    ps->armed = KEEP_NONE;
    ps->chain++;
    ps->res->operators |= tok->text.n > 1 || *tok->text.p != '*';
    begin_token(ps, tok->kind == SQL_TOK_CAST);
    put(ps, tok->text);
    ps->tight = tok->kind == SQL_TOK_CAST;
    if (UNLIKELY(ps->set) && str_eq(tok->text, STR("="))) {
        hide_value(ps);
    }
}

static void end_statement(struct pass *ps)
{
    ps->semicolon |= !ps->at_start;
    ps->at_start = true;
    ps->keep_statement = ps->set = ps->hides = false;
    ps->altered = NULL;
    ps->armed = KEEP_NONE;
}

static void open_bracket(struct pass *ps, const struct sql_token *tok)
{
    begin_token(ps, !tok->space);
    *ps->out++ = *tok->text.p;
    ps->tight = true;
    ps->depth++;
    if (ps->armed != KEEP_NONE && *tok->text.p == '(' && ps->keep == KEEP_NONE) {
        ps->keep = ps->armed;
        ps->keep_depth = ps->depth;
        ps->keep_arg = 0;
    }
}

static void close_bracket(struct pass *ps, char c)
{
    begin_token(ps, true);
    *ps->out++ = c;
    if (ps->keep != KEEP_NONE && ps->depth <= ps->keep_depth) {
        ps->keep = KEEP_NONE;
    }
    ps->depth -= ps->depth > 0;
}

static void put_self(struct pass *ps, const struct sql_token *tok)
{
    char c = *tok->text.p;

    switch (c) {
    case ';':
        end_statement(ps);
        return;
    case '(':
    case '[':
        open_bracket(ps, tok);
        break;
    case ')':
    case ']':
        close_bracket(ps, c);
        break;
    case ',':
        begin_token(ps, true);
        *ps->out++ = c;
        ps->keep_arg += ps->depth == ps->keep_depth;
        break;
    case '.':
        begin_token(ps, true);
        *ps->out++ = c;
        ps->tight = true;
        break;
    default: /* a lone colon */
        begin_token(ps, false);
        *ps->out++ = c;
        break;
    }
    ps->armed = KEEP_NONE;
}

static void put_token(struct pass *ps, const struct sql_token *tok)
{
    if (UNLIKELY(ps->hides) && (tok->kind != SQL_TOK_SELF || *tok->text.p != ';')) {
        return;
    }
    switch (tok->kind) {
    case SQL_TOK_WORD:
        put_word(ps, tok);
        break;
    case SQL_TOK_QUOTED:
    case SQL_TOK_UQUOTED:
        put_quoted(ps, tok);
        break;
    case SQL_TOK_STRING:
    case SQL_TOK_ESTRING:
    case SQL_TOK_USTRING:
    case SQL_TOK_NSTRING:
    case SQL_TOK_BITS:
    case SQL_TOK_DOLLAR:
    case SQL_TOK_NUMBER:
        put_constant(ps, tok);
        break;
    case SQL_TOK_PARAM:
        put_param(ps, tok);
        break;
    case SQL_TOK_OP:
    case SQL_TOK_CAST:
        put_op(ps, tok);
        break;
    case SQL_TOK_SELF:
        put_self(ps, tok);
        break;
    case SQL_TOK_END:
    case SQL_TOK_BAD:
        break;
    }
}

static void run(struct pass *ps)
{
    struct sql_token tok;

    while (sql_lex_next(&ps->lx, &tok) != SQL_TOK_END) {
        if (UNLIKELY(tok.kind == SQL_TOK_BAD)) {
            ps->res->state = SQL_NORMAL_BAD;
            return;
        }
        if (UNLIKELY(!has_room(ps, tok.text.n) || ps->depth > SQL_DEPTH_MAX ||
                     ps->chain > SQL_CHAIN_MAX)) {
            ps->res->state = SQL_NORMAL_TOO_DEEP;
            return;
        }
        put_token(ps, &tok);
    }
    ps->res->text = (struct str){ps->start, (size_t)(ps->out - ps->start)};
    ps->res->hint = sql_lex_hint(&ps->lx);
}

static void normalize(struct pass *ps, struct str text, uint32_t dialect, struct str scratch)
{
    struct sql_normal *res = ps->res;

    *res = (struct sql_normal){.state = SQL_NORMAL_OK};
    if (UNLIKELY(text.n > SQL_TEXT_MAX)) {
        res->state = SQL_NORMAL_TOO_DEEP;
        return;
    }
    sql_lex_init(&ps->lx, text, dialect);
    ps->at_start = ps->tight = true;
    ps->end = ps->start + scratch.n;
    ps->out = ps->start;
    run(ps);
}

void sql_normalize(struct str text, uint32_t dialect, char *scratch, size_t cap,
                   struct sql_normal *out)
{
    struct pass ps = {.start = scratch, .res = out};

    normalize(&ps, text, dialect, (struct str){scratch, cap});
    if (out->state == SQL_NORMAL_OK) {
        out->digest = hash_bytes(out->text.p, out->text.n, 0);
    }
}

void sql_normalize_shown(struct str text, uint32_t dialect, char *scratch, size_t cap,
                         struct sql_normal *out)
{
    struct pass ps = {.start = scratch, .res = out, .shown = true};

    normalize(&ps, text, dialect, (struct str){scratch, cap});
    if (out->state == SQL_NORMAL_OK) {
        out->digest = hash_bytes(out->text.p, out->text.n, 0);
    }
}

void sql_normalize_for_grammar(struct str text, uint32_t dialect, char *scratch, size_t cap,
                               struct sql_normal *out)
{
    struct pass ps = {.start = scratch, .res = out, .for_grammar = true};

    normalize(&ps, text, dialect, (struct str){scratch, cap - 1});
    if (out->state == SQL_NORMAL_OK) {
        scratch[out->text.n] = '\0';
    }
}
