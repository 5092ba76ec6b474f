/* pg_text.c - see pg_text.h.  Any thread; no state. */
#include "protocol/pg/pg_text.h"

#include "protocol/pg/pg_frame.h"
#include "protocol/sql_facts.h"

#define EQ " OPERATOR(pg_catalog.=) "

const char pg_text_reset_query[] = "DISCARD ALL";

/* An expired password is no password: without it the role could log in here after its time. */
const char pg_text_auth_query[] =
    "SELECT rolname, CASE WHEN rolvaliduntil OPERATOR(pg_catalog.<) pg_catalog.now() THEN NULL"
    " ELSE rolpassword END FROM pg_catalog.pg_authid"
    " WHERE rolname" EQ "$1 AND rolcanlogin";

static void put_doubled(struct str s, const char *doubled, struct buf *out)
{
    size_t from = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (!strchr(doubled, s.p[i]))
            continue;
        buf_put(out, s.p + from, i + 1 - from);
        from = i; /* the character itself goes out once more */
    }
    buf_put(out, s.p + from, s.n - from);
}

void pg_text_literal(struct str s, struct buf *out)
{
    buf_put_text(out, "E'");
    s = pg_frame_clean(s);
    if (s.n > 0)
        put_doubled(s, "'\\", out);
    buf_put_u8(out, '\'');
}

void pg_text_identifier(struct str s, struct buf *out)
{
    buf_put_u8(out, '"');
    s = pg_frame_clean(s);
    if (s.n > 0)
        put_doubled(s, "\"", out);
    buf_put_u8(out, '"');
}

/* A text of which nothing is known but that it is in the client's encoding. In some of those (SJIS,
 * BIG5, GBK) the second byte of a character may look like a backslash, and doubling it would break
 * out of the literal: text that is not ASCII goes as hex and is converted by the server. */
static void put_value(struct str s, struct buf *out)
{
    bool ascii = true;
    s = pg_frame_clean(s);
    for (size_t i = 0; i < s.n && ascii; i++)
        ascii = (uint8_t)s.p[i] < 0x80;
    if (ascii) {
        pg_text_literal(s, out);
        return;
    }
    static const char hex[] = "0123456789abcdef";
    buf_put_text(out, "pg_catalog.convert_from(pg_catalog.decode(E'");
    for (size_t i = 0; i < s.n; i++) {
        buf_put_u8(out, (uint8_t)hex[(uint8_t)s.p[i] >> 4]);
        buf_put_u8(out, (uint8_t)hex[(uint8_t)s.p[i] & 15]);
    }
    buf_put_text(out, "',E'hex'),pg_catalog.pg_client_encoding())");
}

/* ---- settings -------------------------------------------------------------------------------- */

/* Whoever may become a role is decided by the session's user, so the user comes first; everything
 * else is set with the user's rights, so the role comes last. */
int pg_text_var_rank(struct str name)
{
    if (str_ieq(name, STR("session_authorization")))
        return 1;
    if (str_ieq(name, STR("role")))
        return 2;
    return 0;
}

bool pg_text_var_analysis(struct str name)
{
    static const char *const names[] = {
        "search_path",           "role",
        "session_authorization", "standard_conforming_strings",
        "escape_string_warning", "backslash_quote",
        "transform_null_equals", "default_tablespace",
        "row_security",          "array_nulls",
        "client_encoding",       "temp_tablespaces",
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_ieq(name, str_of(names[i])))
            return true;
    return false;
}

static bool is_limit(struct str name)
{
    return str_ieq(name, STR("statement_timeout")) || str_ieq(name, STR("lock_timeout"));
}

/* From a second on, statements that take a millisecond are safe even on a busy machine. What cannot
 * be read is taken for short; locks that others hold are nothing that statements of ours wait
 * for. */
bool pg_text_var_hurries(const struct wire_var *v)
{
    static const char *const long_units[] = {"s", "min", "h", "d"};
    struct str unit = v->value;
    int64_t n = 0;
    if (!str_ieq(v->name, STR("statement_timeout")))
        return false;
    while (unit.n > 0 && unit.p[0] >= '0' && unit.p[0] <= '9')
        unit = (struct str){unit.p + 1, unit.n - 1};
    if (!str_to_i64((struct str){v->value.p, v->value.n - unit.n}, 0, INT64_MAX, &n))
        return true;
    for (size_t i = 0; i < ARRAY_LEN(long_units); i++)
        if (str_eq(unit, str_of(long_units[i])))
            return false;
    if (unit.n > 0 && !str_eq(unit, STR("ms")))
        return true;
    return n > 0 && n < 1000;
}

bool pg_text_var_serializable(const struct wire_var *v)
{
    return str_ieq(v->name, STR("default_transaction_isolation")) &&
           str_ieq(v->value, STR("serializable"));
}

bool pg_text_var_free(struct str name)
{
    return str_ieq(name, STR("application_name"));
}

/* Encodings in which a byte below 128 may be the second half of a character. What is not known to
 * be harmless is taken for one of them. */
static bool odd_encoding(struct str value)
{
    static const char *const plain[] = {
        "utf",       "unicode",    "sql_ascii", "latin",      "iso", "win12", "win866",  "win874",
        "windows12", "windows866", "koi8",      "windows874", "euc", "mule",  "us-ascii"};
    for (size_t i = 0; i < ARRAY_LEN(plain); i++)
        if (str_istarts(value, str_of(plain[i])))
            return false;
    return true;
}

uint32_t pg_text_dialect(struct str var, struct str value, uint32_t dialect)
{
    if (str_ieq(var, STR("client_encoding")))
        return odd_encoding(value) ? dialect | SQL_DIALECT_MULTIBYTE
                                   : dialect & ~SQL_DIALECT_MULTIBYTE;
    if (!str_ieq(var, STR("standard_conforming_strings")))
        return dialect;
    static const char *const off[] = {"off", "false", "no",  "0",    "f",
                                      "n",   "fa",    "fal", "fals", "of"};
    for (size_t i = 0; i < ARRAY_LEN(off); i++)
        if (str_ieq(value, str_of(off[i])))
            return dialect | SQL_DIALECT_BACKSLASH;
    return dialect & ~SQL_DIALECT_BACKSLASH;
}

/* a.b is two identifiers. */
static void put_setting_name(struct str name, struct buf *out)
{
    struct str rest = pg_frame_clean(name);
    bool first = true;
    do {
        struct str word = str_cut(&rest, '.');
        if (!first)
            buf_put_u8(out, '.');
        pg_text_identifier(word, out);
        first = false;
    } while (rest.n > 0);
}

static void put_delta(const struct wire_var *v, struct buf *out)
{
    if (buf_len(out) > 0)
        buf_put_u8(out, ';');
    if (!v->value.p) {
        buf_put_text(out, "RESET ");
        put_setting_name(v->name, out);
        return;
    }
    buf_put_text(out, "SELECT pg_catalog.set_config(");
    pg_text_literal(v->name, out);
    buf_put_u8(out, ',');
    put_value(v->value, out);
    buf_put_text(out, ",false)");
}

#define VARS_PASSES 7

/* The encoding comes first, for the values are in it. Role and user are left before anything is set
 * with the rights of the user who logged in, and the new ones are entered behind that. A time limit
 * must not strike the rest. */
static int vars_pass(const struct wire_var *v)
{
    int rank = pg_text_var_rank(v->name);
    if (rank == 2)
        return v->value.p == NULL ? 1 : 5;
    if (rank == 1)
        return v->value.p == NULL ? 2 : 4;
    if (str_ieq(v->name, STR("client_encoding")))
        return 0;
    return is_limit(v->name) ? 6 : 3;
}

/* Something else is to be left first. */
static bool is_left(const struct wire_var *v, int pass)
{
    const struct wire_var reset = {v->name, STR_NONE};
    return pg_text_var_rank(v->name) != 0 && v->value.p != NULL && vars_pass(&reset) == pass;
}

void pg_text_vars(const struct wire_var *delta, int n, struct buf *out)
{
    for (int pass = 0; pass < VARS_PASSES; pass++) {
        for (int i = 0; i < n; i++) {
            if (vars_pass(&delta[i]) == pass)
                put_delta(&delta[i], out);
            if (is_left(&delta[i], pass))
                put_delta(&(struct wire_var){delta[i].name, STR_NONE}, out);
        }
    }
}

void pg_text_listen(struct str channel, bool on, struct buf *out)
{
    buf_put_text(out, on ? "LISTEN " : "UNLISTEN ");
    if (!on && channel.n == 0)
        buf_put_u8(out, '*');
    else
        pg_text_identifier(channel, out);
}

/* ---- questions ------------------------------------------------------------------------------- */

/* What these show cannot be set, or belongs to the transaction. */
#define UNSETTABLE                                                                                 \
    "(ARRAY[E'seed',E'transaction_isolation',E'transaction_read_only',"                            \
    "E'transaction_deferrable',E'is_superuser'])"

/* aside: the time limits in force are not the session's, see below. unlisted: only those that the
 * database does not list, for the others are asked for by what they are. */
static void ask_named(const struct str *names, int n, bool aside, bool unlisted, struct buf *out)
{
    buf_put_text(out, aside ? "SELECT E'v',n,pg_catalog.current_setting(CASE pg_catalog.lower(n)"
                              " WHEN E'statement_timeout' THEN E'penstock.s'"
                              " WHEN E'lock_timeout' THEN E'penstock.l' ELSE n END,true),E''"
                            : "SELECT E'v',n,pg_catalog.current_setting(n,true),E''");
    buf_put_text(out, " FROM pg_catalog.unnest(ARRAY[");
    for (int i = 0; i < n; i++) {
        if (i > 0)
            buf_put_u8(out, ',');
        pg_text_literal(names[i], out);
    }
    buf_put_text(out, "]::pg_catalog.text[]) AS t(n)"
                      " WHERE n OPERATOR(pg_catalog.<>) ALL " UNSETTABLE);
    if (unlisted)
        buf_put_text(out, " AND NOT EXISTS(SELECT 1 FROM pg_catalog.pg_settings AS g WHERE"
                          " pg_catalog.lower(g.name)" EQ "pg_catalog.lower(n))");
}

/* Whoever has set himself a short time limit must not lose his connection by our questions. The
 * limits are put aside, so that they can be told with the rest. */
#define LIMIT(name) "pg_catalog.current_setting(E'" name "')"
#define PUT_ASIDE(statement, lock)                                                                 \
    "SELECT WHERE pg_catalog.set_config(E'" statement                                              \
    "'," LIMIT("statement_timeout") ",true)"                                                       \
                                    " OPERATOR(pg_catalog.||) pg_catalog.set_config(E'" lock       \
                                    "'," LIMIT("lock_timeout") ",true)"                            \
                                                               " IS NULL;"
static const char put_limits_aside[] = PUT_ASIDE(
    "penstock.s",
    "penstock.l") "SET LOCAL statement_timeout TO DEFAULT;SET LOCAL lock_timeout TO "
                  "DEFAULT;" PUT_ASIDE("penstock.sd",
                                       "penstock.ld") "SET LOCAL statement_timeout=0;SET LOCAL "
                                                      "lock_timeout=0;";

/* A RESET makes the source of a setting what it was, so what is listed was set, if only to the
 * value that a RESET returns to. pg_settings leaves out the identity, so that is asked by name. The
 * user who logged in is told by the activity view, whose column stays as it was at login. */
static const char ask_changed[] =
    "SELECT E'v',name,pg_catalog.current_setting(name,true),CASE WHEN setting" EQ "reset_val"
    " THEN E's' ELSE E'' END FROM pg_catalog.pg_settings WHERE source" EQ "E'session'"
    " AND name OPERATOR(pg_catalog.<>) ALL(ARRAY[E'statement_timeout',E'lock_timeout'])"
    " AND name OPERATOR(pg_catalog.<>) ALL" UNSETTABLE
    " UNION ALL SELECT E'v',E'statement_timeout',v,CASE WHEN v" EQ "d THEN E'd' ELSE E'' END"
    " FROM (SELECT pg_catalog.current_setting(E'penstock.s'),"
    "pg_catalog.current_setting(E'penstock.sd')) AS t(v,d)"
    " UNION ALL SELECT E'v',E'lock_timeout',v,CASE WHEN v" EQ "d THEN E'd' ELSE E'' END"
    " FROM (SELECT pg_catalog.current_setting(E'penstock.l'),"
    "pg_catalog.current_setting(E'penstock.ld')) AS t(v,d)"
    " UNION ALL SELECT E'v',E'role',r,CASE WHEN r" EQ "E'none' THEN E'd' ELSE E'' END"
    " FROM (SELECT pg_catalog.current_setting(E'role')) AS t(r)"
    " UNION ALL SELECT E'v',E'session_authorization',u::pg_catalog.text,CASE WHEN EXISTS"
    "(SELECT 1 FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) AS a"
    " JOIN pg_catalog.pg_roles AS o ON o.oid" EQ "a.usesysid WHERE o.rolname" EQ "u)"
    " THEN E'd' ELSE E'' END FROM (SELECT session_user) AS t(u)";

static const char ask_locks[] =
    "SELECT E'l',NULL,NULL,CASE WHEN EXISTS(SELECT 1 FROM pg_catalog.pg_locks WHERE pid" EQ
    "pg_catalog.pg_backend_pid() AND locktype" EQ "E'advisory') THEN E't' ELSE E'f' END";

/* Whatever lies in the temporary schema depends on it, and that is indexed. */
static const char ask_temp[] =
    "SELECT E't',NULL,NULL,CASE WHEN EXISTS(SELECT 1 FROM pg_catalog.pg_depend WHERE refclassid" EQ
    "2615 AND refobjid" EQ "pg_catalog.pg_my_temp_schema()) THEN E't' ELSE E'f' END";

static const char ask_cursors[] =
    "SELECT E'c',NULL,NULL,CASE WHEN EXISTS(SELECT 1 FROM pg_catalog.pg_cursors WHERE is_holdable)"
    " THEN E't' ELSE E'f' END";

static const char ask_prepared[] =
    "SELECT E'p',name,statement,NULL FROM pg_catalog.pg_prepared_statements WHERE from_sql";

static const char ask_listen[] =
    "SELECT E'n',c,NULL,NULL FROM pg_catalog.pg_listening_channels() AS t(c)";

void pg_text_ask(uint32_t asks, const struct str *names, int n, struct buf *out)
{
    static const struct {
        uint32_t ask;
        const char *text;
    } parts[] = {
        {ASK_VARS_ALL, ask_changed}, {ASK_LOCKS, ask_locks},       {ASK_TEMP, ask_temp},
        {ASK_CURSORS, ask_cursors},  {ASK_PREPARED, ask_prepared}, {ASK_LISTEN, ask_listen},
    };
    bool aside = (asks & ~(uint32_t)ASK_VARS) != 0;
    if (aside)
        buf_put_text(out, put_limits_aside);
    /* the first branch gives the columns their types */
    buf_put_text(out, "SELECT NULL::pg_catalog.text AS about,NULL::pg_catalog.text AS name,"
                      "NULL::pg_catalog.text AS value,NULL::pg_catalog.text AS extra WHERE false");
    if ((asks & ASK_VARS) && n > 0) {
        buf_put_text(out, " UNION ALL ");
        ask_named(names, n, aside, (asks & ASK_VARS_ALL) != 0, out);
    }
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (asks & parts[i].ask) {
            buf_put_text(out, " UNION ALL ");
            buf_put_text(out, parts[i].text);
        }
}

enum status pg_text_ask_row(const struct str *cols, int ncols, struct wire_answer *out)
{
    memset(out, 0, sizeof *out);
    if (ncols != 4 || !cols[0].p || cols[0].n != 1)
        return ST_INVALID;
    bool named = true;
    switch (cols[0].p[0]) {
    case 'v':
        out->about = ASK_VARS;
        break;
    case 'p':
        out->about = ASK_PREPARED;
        break;
    case 'n':
        out->about = ASK_LISTEN;
        break;
    case 'l':
        out->about = ASK_LOCKS;
        named = false;
        break;
    case 't':
        out->about = ASK_TEMP;
        named = false;
        break;
    case 'c':
        out->about = ASK_CURSORS;
        named = false;
        break;
    default:
        return ST_INVALID;
    }
    if (named && !cols[1].p)
        return ST_INVALID;
    out->var.name = cols[1];
    out->var.value = cols[2];
    out->held = !named && cols[3].p && str_eq(cols[3], STR("t"));
    out->was_set = out->about == ASK_VARS && cols[3].p && str_eq(cols[3], STR("s"));
    out->is_default = out->about == ASK_VARS && cols[3].p &&
                      (out->was_set || str_eq(cols[3], STR("d")));
    return ST_OK;
}
