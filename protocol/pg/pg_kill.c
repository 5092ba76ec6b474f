/* pg_kill.c - see pg_kill.h.  Any thread; no state.
 *
 * Only the plain form is taken: whatever else a statement says, and whatever PostgreSQL would
 * refuse, the database must answer.
 */
#include "protocol/pg/pg_kill.h"

#include "protocol/pg/pg_frame.h"
#include "protocol/pg/pg_key.h"
#include "protocol/sql/sql_lex.h"

#define TEXT_MAX 200 /* longer ones hold more than the plain form */
#define OID_INT8 20u
#define OID_INT4 23u

/* ---- the text -------------------------------------------------------------------------------- */

struct form { /* what a text says */
    bool terminate;
    bool param; /* $1 instead of a number */
    bool cast;
    uint64_t number;
};

static bool read_number(struct str s, uint64_t *out)
{
    *out = 0;
    if (s.n == 0 || s.n > 10)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        *out = *out * 10 + (uint64_t)(s.p[i] - '0');
    }
    return true;
}

static bool read_name(const struct sql_token *tok, struct form *f)
{
    f->terminate = sql_lex_is_word(tok, STR("pg_terminate_backend"));
    return f->terminate || sql_lex_is_word(tok, STR("pg_cancel_backend"));
}

static bool is_integer(const struct sql_token *tok)
{
    return sql_lex_is_word(tok, STR("int")) || sql_lex_is_word(tok, STR("int4")) ||
           sql_lex_is_word(tok, STR("integer"));
}

/* Leaves the token behind the argument in tok. */
static bool read_argument(struct sql_lex *lx, struct sql_token *tok, struct form *f)
{
    f->param = tok->kind == SQL_TOK_PARAM && str_eq(tok->text, STR("$1"));
    f->cast = false;
    f->number = 0;
    if (!f->param && (tok->kind != SQL_TOK_NUMBER || !read_number(tok->text, &f->number)))
        return false;
    if (sql_lex_next(lx, tok) != SQL_TOK_CAST)
        return true;
    f->cast = true;
    sql_lex_next(lx, tok);
    if (!is_integer(tok))
        return false;
    sql_lex_next(lx, tok);
    return true;
}

static bool read_text(struct str text, struct form *f)
{
    struct sql_lex lx;
    struct sql_token tok;
    if (text.n > TEXT_MAX)
        return false;
    sql_lex_init(&lx, text, 0);
    sql_lex_next(&lx, &tok);
    if (!sql_lex_is_word(&tok, STR("select")))
        return false;
    sql_lex_next(&lx, &tok);
    if (sql_lex_is_word(&tok, STR("pg_catalog"))) {
        sql_lex_next(&lx, &tok);
        if (!sql_lex_is_self(&tok, '.'))
            return false;
        sql_lex_next(&lx, &tok);
    }
    if (!read_name(&tok, f))
        return false;
    sql_lex_next(&lx, &tok);
    if (!sql_lex_is_self(&tok, '('))
        return false;
    sql_lex_next(&lx, &tok);
    if (!read_argument(&lx, &tok, f) || !sql_lex_is_self(&tok, ')'))
        return false;
    sql_lex_next(&lx, &tok);
    if (sql_lex_is_self(&tok, ';'))
        sql_lex_next(&lx, &tok);
    return tok.kind == SQL_TOK_END;
}

/* ---- what is bound --------------------------------------------------------------------------- */

/* The type of $1 as the database would have it; false: it refuses the statement. */
static bool param_type(const struct form *f, struct str types, struct wire_kill *out)
{
    struct pg_reader r = pg_frame_reader(types);
    uint32_t n = types.n > 0 ? pg_frame_get_u16(&r) : 0;
    out->nparams = f->param ? 1 : 0;
    out->param = (struct wire_column){"", COL_INT4};
    if (n > (uint32_t)out->nparams)
        return false;
    uint32_t oid = n > 0 ? pg_frame_get_u32(&r) : 0;
    if (oid == OID_INT8 && f->cast)
        out->param.type = COL_INT8;
    else if (oid != 0 && oid != OID_INT4)
        return false;
    return !r.bad;
}

static bool read_value(struct str v, bool binary, size_t size, uint64_t *out)
{
    if (!binary)
        return read_number(v, out);
    *out = 0;
    for (size_t i = 0; i < v.n && i < size; i++)
        *out = *out << 8 | (uint8_t)v.p[i];
    return v.n == size;
}

/* Format codes: none means text, one is for all. */
static bool read_formats(struct pg_reader *r, bool *binary)
{
    uint32_t n = pg_frame_get_u16(r);
    uint32_t code = 0;
    if (n > 1)
        return false;
    if (n == 1)
        code = pg_frame_get_u16(r);
    *binary = code == 1;
    return code <= 1 && !r->bad;
}

static bool read_bind(const struct wire_part *bind, struct form *f, struct wire_kill *out)
{
    struct pg_reader r = pg_frame_reader(bind->values);
    bool binary = false, binary_answer = false;
    uint32_t nparams = (uint32_t)out->nparams;
    if (!read_formats(&r, &binary) || pg_frame_get_u16(&r) != nparams)
        return false;
    if (nparams == 1) {
        uint32_t len = pg_frame_get_u32(&r);
        if (len == UINT32_MAX) /* null */
            return false;
        struct str v = pg_frame_get_n(&r, len);
        if (r.bad || !read_value(v, binary, out->param.type == COL_INT8 ? 8 : 4, &f->number))
            return false;
    }
    if (!read_formats(&r, &binary_answer) || !pg_frame_done(&r))
        return false;
    if (binary_answer) {
        out->column.type = COL_BOOL_BINARY;
        out->yes = (struct str){"\1", 1};
    }
    return true;
}

bool pg_kill_read(const struct wire_kill_ask *ask, struct wire_kill *out)
{
    struct form f;
    if (!read_text(ask->text, &f))
        return false;
    out->terminate = f.terminate;
    out->column = (struct wire_column){f.terminate ? "pg_terminate_backend" : "pg_cancel_backend",
                                       COL_BOOL};
    out->yes = STR("t");
    out->tag = "SELECT 1";
    if (!param_type(&f, ask->types, out))
        return false;
    if (ask->bind == NULL ? f.param : !read_bind(ask->bind, &f, out))
        return false;
    return f.number <= INT32_MAX && pg_key_client((uint32_t)f.number, ask->peer, &out->id);
}
