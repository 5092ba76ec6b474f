/* sql_classify.c - see sql_classify.h.
 *
 * A reader with one token of lookahead; each command is a function that eats what it knows and must
 * end at the end of the text.  The draft is written only when that end has been reached, so that a
 * half recognised command leaves no trace.
 */
#include "base/base.h"
#include "protocol/sql/sql_classify.h"
#include "protocol/sql/sql_lex.h"

#define NAME_CAP 64 /* PostgreSQL cuts longer names; the grammar knows how */

struct reader {
    struct sql_lex lx;
    struct sql_token tok;
};

static void advance(struct reader *r)
{
    (void)sql_lex_next(&r->lx, &r->tok);
}

static bool eat(struct reader *r, struct str word)
{
    if (!sql_lex_is_word(&r->tok, word)) {
        return false;
    }
    advance(r);
    return true;
}

static bool at_self(const struct reader *r, char c)
{
    return sql_lex_is_self(&r->tok, c);
}

/* Only semicolons are left. */
static bool at_end(struct reader *r)
{
    while (at_self(r, ';')) {
        advance(r);
    }
    return r->tok.kind == SQL_TOK_END;
}

/* Words that are no names: taking them for names would read another command into the text. */
static bool reserved(const struct sql_token *tok)
{
    static const char *const words[] = {
        "all",       "analyse",    "analyze",   "and",          "any",          "array",
        "as",        "asc",        "both",      "case",         "cast",         "check",
        "collate",   "column",     "create",    "current_role", "current_user", "default",
        "desc",      "distinct",   "do",        "else",         "end",          "except",
        "false",     "fetch",      "for",       "foreign",      "from",         "grant",
        "group",     "having",     "in",        "initially",    "intersect",    "into",
        "lateral",   "leading",    "limit",     "localtime",    "not",          "null",
        "offset",    "on",         "only",      "or",           "order",        "placing",
        "primary",   "references", "returning", "select",       "session_user", "some",
        "symmetric", "table",      "then",      "to",           "trailing",     "true",
        "union",     "unique",     "user",      "using",        "variadic",     "when",
        "where",     "window",     "with",
    };

    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (sql_lex_is_word(tok, str_of(words[i]))) {
            return true;
        }
    }
    return false;
}

static bool eat_name(struct reader *r, char *buf, struct str *out)
{
    if (reserved(&r->tok) || !sql_lex_name(&r->tok, buf, NAME_CAP, out)) {
        return false;
    }
    advance(r);
    return true;
}

static bool finish(struct reader *r, struct sql_draft *d, uint32_t effects)
{
    if (!at_end(r)) {
        return false;
    }
    d->effects |= effects;
    d->complete = true;
    return true;
}

struct modes { /* what was said last */
    bool read_only, read_write, serializable;
};

static bool eat_access(struct reader *r, struct modes *m)
{
    m->read_only = eat(r, STR("only"));
    m->read_write = !m->read_only;
    return m->read_only || eat(r, STR("write"));
}

static bool eat_isolation(struct reader *r, struct modes *m)
{
    if (!eat(r, STR("level"))) {
        return false;
    }
    m->serializable = eat(r, STR("serializable"));
    return m->serializable || (eat(r, STR("repeatable")) && eat(r, STR("read"))) ||
           (eat(r, STR("read")) && (eat(r, STR("committed")) || eat(r, STR("uncommitted"))));
}

/* Modes of BEGIN, START TRANSACTION, SET TRANSACTION and SET SESSION CHARACTERISTICS. */
static bool eat_modes(struct reader *r, struct modes *m)
{
    *m = (struct modes){0};
    while (r->tok.kind == SQL_TOK_WORD) {
        if (eat(r, STR("read"))) {
            if (!eat_access(r, m)) {
                return false;
            }
        } else if (eat(r, STR("isolation"))) {
            if (!eat_isolation(r, m)) {
                return false;
            }
        } else {
            (void)eat(r, STR("not"));
            if (!eat(r, STR("deferrable"))) {
                return false;
            }
        }
        if (at_self(r, ',')) {
            advance(r);
            if (r->tok.kind != SQL_TOK_WORD) {
                return false;
            }
        }
    }
    return true;
}

static void note_modes(struct sql_draft *d, const struct modes *m)
{
    d->read_only_begin = m->read_only;
    d->read_write_begin = m->read_write;
    d->serializable_begin = m->serializable;
}

static bool on_begin(struct reader *r, struct sql_draft *d, bool start)
{
    struct modes m;

    if (start) {
        if (!eat(r, STR("transaction"))) {
            return false;
        }
    } else if (!eat(r, STR("transaction"))) {
        (void)eat(r, STR("work"));
    }
    if (!eat_modes(r, &m) || !finish(r, d, FX_BEGIN | FX_TXCTL)) {
        return false;
    }
    note_modes(d, &m);
    return true;
}

/* COMMIT, END, ROLLBACK, ABORT; PREPARED forms go to the grammar. */
static bool on_end(struct reader *r, struct sql_draft *d, bool to_savepoint)
{
    char buf[NAME_CAP];
    struct str name;
    uint32_t chain = 0;

    if (!eat(r, STR("transaction"))) {
        (void)eat(r, STR("work"));
    }
    if (to_savepoint && eat(r, STR("to"))) {
        (void)eat(r, STR("savepoint"));
        return eat_name(r, buf, &name) && finish(r, d, FX_TXCTL);
    }
    if (eat(r, STR("and"))) {
        chain = eat(r, STR("no")) ? 0 : FX_BEGIN;
        if (!eat(r, STR("chain"))) {
            return false;
        }
    }
    return finish(r, d, FX_END | FX_TXCTL | chain);
}

static bool on_savepoint(struct reader *r, struct sql_draft *d, bool release)
{
    char buf[NAME_CAP];
    struct str name;

    if (release) {
        (void)eat(r, STR("savepoint"));
    }
    return eat_name(r, buf, &name) && finish(r, d, FX_TXCTL);
}

/* A setting's name: one or more names with dots, joined in buf. */
static bool eat_setting(struct reader *r, char *buf, size_t cap, struct str *out)
{
    size_t n = 0;
    struct str part;

    for (;;) {
        if (cap - n < NAME_CAP + 1 || !eat_name(r, buf + n, &part)) {
            return false;
        }
        n += part.n;
        if (!at_self(r, '.')) {
            *out = (struct str){buf, n};
            return true;
        }
        buf[n++] = '.';
        advance(r);
    }
}

/* One value of SET: a word, a quoted name, a constant, a signed number. */
static bool eat_value(struct reader *r)
{
    switch (r->tok.kind) {
    case SQL_TOK_OP:
        if (!str_eq(r->tok.text, STR("-")) && !str_eq(r->tok.text, STR("+"))) {
            return false;
        }
        advance(r);
        if (r->tok.kind != SQL_TOK_NUMBER) {
            return false;
        }
        break;
    case SQL_TOK_WORD:
        if (sql_lex_is_word(&r->tok, STR("default")) ||
            (reserved(&r->tok) && !sql_lex_is_word(&r->tok, STR("true")) &&
             !sql_lex_is_word(&r->tok, STR("false")) && !sql_lex_is_word(&r->tok, STR("on")))) {
            return false;
        }
        break;
    case SQL_TOK_QUOTED:
    case SQL_TOK_STRING:
    case SQL_TOK_ESTRING:
    case SQL_TOK_DOLLAR:
    case SQL_TOK_NUMBER:
        break;
    case SQL_TOK_NSTRING:
    case SQL_TOK_USTRING:
    case SQL_TOK_UQUOTED:
    case SQL_TOK_BITS:
    case SQL_TOK_PARAM:
    case SQL_TOK_CAST:
    case SQL_TOK_SELF:
    case SQL_TOK_END:
    case SQL_TOK_BAD:
        return false;
    }
    advance(r);
    return true;
}

static bool eat_values(struct reader *r)
{
    while (eat_value(r)) {
        if (!at_self(r, ',')) {
            return true;
        }
        advance(r);
    }
    return false;
}

static bool finish_var(struct reader *r, struct sql_draft *d, struct str name, bool local,
                       bool reset)
{
    if (!finish(r, d, local ? FX_LOCAL : 0)) {
        return false;
    }
    if (!local) {
        sql_draft_var(d, name, reset);
    }
    return true;
}

/* SET TIME ZONE value | DEFAULT | LOCAL; SET NAMES; SET ROLE; SET SESSION AUTHORIZATION. */
static bool set_special(struct reader *r, struct sql_draft *d, struct str name, bool local)
{
    bool zone = str_eq(name, STR("timezone"));
    bool encoding = str_eq(name, STR("client_encoding"));
    bool bare_names = encoding && at_end(r);
    bool reset = bare_names || eat(r, STR("default")) || (zone && eat(r, STR("local")));

    if (!reset && !eat_value(r)) {
        return false;
    }
    return finish_var(r, d, name, local, reset);
}

static bool set_plain(struct reader *r, struct sql_draft *d, bool local)
{
    char buf[4 * NAME_CAP];
    struct str name;

    if (!eat_setting(r, buf, sizeof(buf), &name)) {
        return false;
    }
    if (r->tok.kind == SQL_TOK_OP && str_eq(r->tok.text, STR("="))) {
        advance(r);
    } else if (!eat(r, STR("to"))) {
        return false;
    }
    bool reset = eat(r, STR("default"));
    if (!reset && !eat_values(r)) {
        return false;
    }
    return finish_var(r, d, name, local, reset);
}

static bool set_characteristics(struct reader *r, struct sql_draft *d)
{
    struct modes m;

    if (!eat(r, STR("as")) || !eat(r, STR("transaction")) || r->tok.kind != SQL_TOK_WORD ||
        !eat_modes(r, &m) || !finish(r, d, 0)) {
        return false;
    }
    sql_draft_var(d, STR("default_transaction_isolation"), false);
    sql_draft_var(d, STR("default_transaction_read_only"), false);
    sql_draft_var(d, STR("default_transaction_deferrable"), false);
    return true;
}

static bool set_transaction(struct reader *r, struct sql_draft *d)
{
    struct modes m;

    if (r->tok.kind != SQL_TOK_WORD || !eat_modes(r, &m) || !finish(r, d, FX_LOCAL)) {
        return false;
    }
    note_modes(d, &m);
    return true;
}

static bool on_set(struct reader *r, struct sql_draft *d)
{
    bool local = eat(r, STR("local"));
    bool session = !local && eat(r, STR("session"));

    if (session && eat(r, STR("authorization"))) {
        return set_special(r, d, STR("session_authorization"), false);
    }
    if (session && eat(r, STR("characteristics"))) {
        return set_characteristics(r, d);
    }
    struct reader saved = *r; /* all of these words may be names of settings */
    if (eat(r, STR("time")) && eat(r, STR("zone"))) {
        return set_special(r, d, STR("timezone"), local);
    }
    *r = saved;
    if (eat(r, STR("names")) && r->tok.kind != SQL_TOK_OP) {
        return set_special(r, d, STR("client_encoding"), local);
    }
    *r = saved;
    if (eat(r, STR("role")) && r->tok.kind != SQL_TOK_OP && !sql_lex_is_word(&r->tok, STR("to"))) {
        return set_special(r, d, STR("role"), local);
    }
    *r = saved;
    if (!session && !local && eat(r, STR("transaction")) && r->tok.kind != SQL_TOK_OP) {
        return set_transaction(r, d);
    }
    *r = saved;
    return set_plain(r, d, local);
}

static bool on_reset(struct reader *r, struct sql_draft *d)
{
    char buf[4 * NAME_CAP];
    struct str name;

    if (eat(r, STR("all"))) {
        return finish(r, d, FX_VARS_ALL);
    }
    struct reader saved = *r;
    if (eat(r, STR("session")) && eat(r, STR("authorization"))) {
        return finish_var(r, d, STR("session_authorization"), false, true);
    }
    *r = saved;
    if (eat(r, STR("time")) && eat(r, STR("zone"))) {
        return finish_var(r, d, STR("timezone"), false, true);
    }
    *r = saved;
    return eat_setting(r, buf, sizeof(buf), &name) && finish_var(r, d, name, false, true);
}

static bool on_show(struct reader *r, struct sql_draft *d)
{
    char buf[4 * NAME_CAP];
    struct str name;

    if (!eat(r, STR("all")) && !eat_setting(r, buf, sizeof(buf), &name)) {
        return false; /* SHOW TIME ZONE and such: the grammar */
    }
    if (!finish(r, d, FX_SHOW)) {
        return false;
    }
    d->repeatable_text = true;
    return true;
}

static bool on_discard(struct reader *r, struct sql_draft *d)
{
    if (eat(r, STR("all"))) {
        return finish(r, d, FX_DISCARD_ALL);
    }
    if (eat(r, STR("temp")) || eat(r, STR("temporary"))) {
        return finish(r, d, FX_TEMP);
    }
    if (eat(r, STR("sequences"))) {
        return finish(r, d, FX_SEQ_WRITE);
    }
    return eat(r, STR("plans")) && finish(r, d, 0);
}

static bool on_listen(struct reader *r, struct sql_draft *d, uint32_t effect)
{
    char buf[NAME_CAP];
    struct str name = STR_NONE;
    bool star = effect == FX_UNLISTEN && r->tok.kind == SQL_TOK_OP && str_eq(r->tok.text, STR("*"));

    if (star) {
        advance(r);
    } else if (!eat_name(r, buf, &name)) {
        return false;
    }
    if (!finish(r, d, 0)) {
        return false;
    }
    sql_draft_channel(d, effect, name);
    return true;
}

static bool on_notify(struct reader *r, struct sql_draft *d)
{
    char buf[NAME_CAP];
    struct str name;

    if (!eat_name(r, buf, &name)) {
        return false;
    }
    if (at_self(r, ',')) {
        advance(r);
        if (r->tok.kind != SQL_TOK_STRING && r->tok.kind != SQL_TOK_ESTRING &&
            r->tok.kind != SQL_TOK_DOLLAR) {
            return false;
        }
        advance(r);
    }
    return finish(r, d, FX_NOTIFY);
}

static bool on_deallocate(struct reader *r, struct sql_draft *d)
{
    char buf[NAME_CAP];
    struct str name;
    struct reader saved = *r;

    /* DEALLOCATE PREPARE x, but also DEALLOCATE prepare */
    if (eat(r, STR("prepare")) && at_end(r)) {
        *r = saved;
    }
    if (eat(r, STR("all"))) {
        return finish(r, d, FX_DEALLOCATE_ALL);
    }
    if (!eat_name(r, buf, &name) || !finish(r, d, 0)) {
        return false;
    }
    sql_draft_prepared(d, FX_DEALLOCATE, name);
    return true;
}

static bool on_first_word(struct reader *r, struct sql_draft *d)
{
    if (eat(r, STR("begin"))) {
        return on_begin(r, d, false);
    }
    if (eat(r, STR("start"))) {
        return on_begin(r, d, true);
    }
    if (eat(r, STR("commit")) || eat(r, STR("end"))) {
        return on_end(r, d, false);
    }
    if (eat(r, STR("rollback"))) {
        return on_end(r, d, true);
    }
    if (eat(r, STR("abort"))) {
        return on_end(r, d, false);
    }
    if (eat(r, STR("savepoint"))) {
        return on_savepoint(r, d, false);
    }
    if (eat(r, STR("release"))) {
        return on_savepoint(r, d, true);
    }
    if (eat(r, STR("set"))) {
        return on_set(r, d);
    }
    if (eat(r, STR("reset"))) {
        return on_reset(r, d);
    }
    if (eat(r, STR("show"))) {
        return on_show(r, d);
    }
    if (eat(r, STR("discard"))) {
        return on_discard(r, d);
    }
    if (eat(r, STR("listen"))) {
        return on_listen(r, d, FX_LISTEN);
    }
    if (eat(r, STR("unlisten"))) {
        return on_listen(r, d, FX_UNLISTEN);
    }
    if (eat(r, STR("notify"))) {
        return on_notify(r, d);
    }
    return eat(r, STR("deallocate")) && on_deallocate(r, d);
}

bool sql_classify(struct str text, uint32_t dialect, struct sql_draft *d)
{
    struct reader r;

    sql_lex_init(&r.lx, text, dialect);
    advance(&r);
    if (at_end(&r)) {
        return finish(&r, d, FX_EMPTY);
    }
    return r.tok.kind == SQL_TOK_WORD && on_first_word(&r, d);
}

/* Over a bracketed list; r stands on its opening. */
static bool skip_list(struct reader *r)
{
    uint32_t depth = 0;

    do {
        depth += at_self(r, '(') ? 1 : 0;
        depth -= at_self(r, ')') ? 1 : 0;
        if (r->tok.kind == SQL_TOK_END || r->tok.kind == SQL_TOK_BAD) {
            return false;
        }
        advance(r);
    } while (depth > 0);
    return true;
}

bool sql_classify_prepared_body(struct str text, uint32_t dialect, struct str *body)
{
    struct reader r;
    char buf[NAME_CAP];
    struct str name;

    sql_lex_init(&r.lx, text, dialect);
    advance(&r);
    if (!eat(&r, STR("prepare")) || !eat_name(&r, buf, &name)) {
        return false;
    }
    if (at_self(&r, '(') && !skip_list(&r)) {
        return false;
    }
    if (!eat(&r, STR("as")) || r.tok.kind == SQL_TOK_END || r.tok.kind == SQL_TOK_BAD) {
        return false;
    }
    const char *from = r.tok.text.p;
    while (r.tok.kind != SQL_TOK_END && r.tok.kind != SQL_TOK_BAD && !at_self(&r, ';')) {
        advance(&r);
    }
    *body = (struct str){from, (size_t)(r.tok.text.p - from)};
    return at_end(&r);
}
