/* sql_slots.c - constants and parameters of a text, in order: see protocol/sql_slots.h.
 *
 * The tokens that count are those which sql_normalize writes as its placeholder (and the constants
 * that it keeps, which are equal in both texts then).  Pure.
 */
#include "base/base.h"
#include "protocol/sql/sql_lex.h"
#include "protocol/sql_slots.h"

/* A quoted text in which nothing is special but the doubled quote. */
static bool plain_string(struct str text, uint32_t dialect)
{
    if (text.n < 2 ||
        ((dialect & SQL_DIALECT_BACKSLASH) != 0 && memchr(text.p, '\\', text.n) != NULL)) {
        return false;
    }
    for (size_t i = 1; i + 1 < text.n; i++) {
        if (text.p[i] == '\'' && text.p[++i] != '\'') {
            return false; /* continued on another line */
        }
    }
    return true;
}

/* false: no place for a value. */
static bool read_slot(const struct sql_token *tok, uint32_t dialect, struct sql_slot *out)
{
    int64_t n = 0;

    *out = (struct sql_slot){.kind = SQL_SLOT_OTHER, .text = tok->text};
    switch (tok->kind) {
    case SQL_TOK_PARAM: {
        struct str digits = {tok->text.p + 1, tok->text.n - 1};
        if (str_to_i64(digits, 1, UINT16_MAX, &n)) {
            out->kind = SQL_SLOT_PARAM;
            out->param = (uint32_t)n;
        }
        return true;
    }
    case SQL_TOK_NUMBER:
        out->kind = SQL_SLOT_NUMBER;
        return true;
    case SQL_TOK_STRING:
        if (plain_string(tok->text, dialect)) {
            out->kind = SQL_SLOT_STRING;
        }
        return true;
    case SQL_TOK_ESTRING:
    case SQL_TOK_USTRING:
    case SQL_TOK_NSTRING:
    case SQL_TOK_BITS:
    case SQL_TOK_DOLLAR:
        return true;
    case SQL_TOK_END:
    case SQL_TOK_BAD:
    case SQL_TOK_WORD:
    case SQL_TOK_QUOTED:
    case SQL_TOK_UQUOTED:
    case SQL_TOK_OP:
    case SQL_TOK_CAST:
    case SQL_TOK_SELF:
        break;
    }
    return false;
}

int sql_slots_read(struct str text, uint32_t dialect, struct sql_slot *out, int max)
{
    struct sql_lex lx;
    struct sql_token tok;
    struct sql_slot slot;
    int n = 0;

    sql_lex_init(&lx, text, dialect);
    while (sql_lex_next(&lx, &tok) != SQL_TOK_END) {
        if (tok.kind == SQL_TOK_BAD) {
            return -1;
        }
        if (!read_slot(&tok, dialect, &slot)) {
            continue;
        }
        if (n == max) {
            return -1;
        }
        out[n++] = slot;
    }
    return n;
}

bool sql_slots_string(const struct sql_slot *slot, char *dst, size_t cap, struct str *out)
{
    size_t n = 0;

    if (slot->kind != SQL_SLOT_STRING) {
        return false;
    }
    for (size_t i = 1; i + 1 < slot->text.n; i++) {
        if (n == cap) {
            return false;
        }
        dst[n++] = slot->text.p[i];
        i += slot->text.p[i] == '\'';
    }
    *out = (struct str){dst, n};
    return true;
}
