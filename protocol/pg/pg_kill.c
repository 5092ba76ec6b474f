/* pg_kill.c - see pg_kill.h.  Any thread; no state.
 *
 * Only the plain form is taken: whatever else a statement says, the database must answer it.
 */
#include "protocol/pg/pg_kill.h"

#include "protocol/pg/pg_key.h"
#include "protocol/sql/sql_lex.h"

#define TEXT_MAX 200 /* longer ones hold more than the plain form */

static bool read_number(struct str s, uint32_t *out)
{
    uint64_t v = 0;
    if (s.n == 0 || s.n > 10)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        v = v * 10 + (uint64_t)(s.p[i] - '0');
    }
    *out = (uint32_t)v;
    return v <= INT32_MAX;
}

static bool read_name(const struct sql_token *tok, struct wire_kill *out)
{
    out->terminate = sql_lex_is_word(tok, STR("pg_terminate_backend"));
    out->column = out->terminate ? "pg_terminate_backend" : "pg_cancel_backend";
    return out->terminate || sql_lex_is_word(tok, STR("pg_cancel_backend"));
}

bool pg_kill_read(struct str text, uint16_t peer, struct wire_kill *out)
{
    struct sql_lex lx;
    struct sql_token tok;
    uint32_t pid = 0;
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
    if (!read_name(&tok, out))
        return false;
    sql_lex_next(&lx, &tok);
    if (!sql_lex_is_self(&tok, '('))
        return false;
    sql_lex_next(&lx, &tok);
    if (tok.kind != SQL_TOK_NUMBER || !read_number(tok.text, &pid) ||
        !pg_key_client(pid, peer, &out->id))
        return false;
    sql_lex_next(&lx, &tok);
    if (!sql_lex_is_self(&tok, ')'))
        return false;
    sql_lex_next(&lx, &tok);
    if (sql_lex_is_self(&tok, ';'))
        sql_lex_next(&lx, &tok);
    out->tag = "SELECT 1";
    return tok.kind == SQL_TOK_END;
}
