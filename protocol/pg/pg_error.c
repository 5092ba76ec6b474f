/* pg_error.c - see pg_error.h.  Any thread; no state. */
#include "protocol/pg/pg_error.h"

#include "protocol/pg/pg_frame.h"

void pg_error_read(struct str body, struct pg_error *e)
{
    struct str plain = STR(""), v = STR("");
    *e = (struct pg_error){STR(""), STR(""), STR(""), STR(""), STR("")};
    struct pg_reader r = pg_frame_reader(body);
    for (;;) {
        uint8_t field = pg_frame_get_u8(&r);
        struct str s = field ? pg_frame_get_z(&r) : STR("");
        if (!field || r.bad)
            break;
        if (field == 'S')
            plain = s;
        else if (field == 'V')
            v = s;
        else if (field == 'C')
            e->code = s;
        else if (field == 'M')
            e->message = s;
        else if (field == 'D')
            e->detail = s;
        else if (field == 'R')
            e->routine = s;
    }
    e->severity = v.n > 0 ? v : plain;
}

bool pg_error_is_fatal(const struct pg_error *e)
{
    return str_eq(e->severity, STR("FATAL")) || str_eq(e->severity, STR("PANIC"));
}

static const struct {
    const char *code;
    enum server_error error;
} classes[] = {
    {"26000", SE_STMT_UNKNOWN}, {"42P05", SE_STMT_EXISTS}, {"57P01", SE_SHUTDOWN},
    {"57P02", SE_SHUTDOWN},     {"57P03", SE_STARTING},    {"3D000", SE_NO_DB},
    {"53300", SE_TOO_MANY},     {"57014", SE_CANCELLED},   {"40001", SE_STANDBY_CONFLICT},
    {"40P01", SE_DEADLOCK},     {"25006", SE_READ_ONLY},
};

enum server_error pg_error_class(const struct pg_error *e)
{
    for (size_t i = 0; i < ARRAY_LEN(classes); i++)
        if (str_eq(e->code, str_of(classes[i].code)))
            return classes[i].error;
    if (e->code.n == 5 && str_starts(e->code, STR("28")))
        return SE_AUTH;
    /* 0A000 is used for much else; the text may be translated, the routine's name is not */
    if (str_eq(e->code, STR("0A000")) &&
        (str_eq(e->message, STR("cached plan must not change result type")) ||
         str_eq(e->routine, STR("RevalidateCachedQuery"))))
        return SE_PLAN_CHANGED;
    if (str_eq(e->code, STR("0A000")) || str_eq(e->code, STR("55000")))
        return SE_UNABLE; /* serializable, unlogged tables, positions: during recovery */
    return SE_OTHER;
}

/* Texts as PgBouncer's users know them, codes as PostgreSQL would give them. */
static const struct {
    enum cause cause;
    const char *code, *text;
} causes[] = {
    {C_PROTOCOL, "08P01", "protocol violation"},
    {C_AUTH, "28P01", "password authentication failed"},
    {C_NO_DB, "3D000", "no such database"},
    {C_DB_DISABLED, "57P03", "database is disabled"},
    {C_TOO_MANY, "53300", "no more connections allowed (max_client_conn)"},
    {C_POOL_TIMEOUT, "57014", "query_wait_timeout"},
    {C_POOL_FULL, "53300", "too many clients are waiting for a server (max_waiting)"},
    {C_SERVER_DOWN, "08006", "cannot connect to the server"},
    {C_NO_NODE, "57P03", "no node of the cluster can serve this now"},
    {C_SERVER_LOST, "08006", "server conn crashed?"},
    {C_SERVER_LOST_IN_TX, "08007",
     "server connection lost; the outcome of the transaction is unknown"},
    {C_NOT_RECORDED, "58000", "Redis could not be told of the write, which was not sent"},
    {C_TX_ABORTED, "25P02",
     "current transaction is aborted, commands ignored until end of transaction block"},
    {C_QUERY_TIMEOUT, "57014", "query timeout"},
    {C_CANCELLED, "57014", "canceling statement due to user request"},
    {C_IDLE_TX_TIMEOUT, "25P03", "idle transaction timeout"},
    {C_TX_TIMEOUT, "25P04", "transaction timeout"},
    {C_IDLE_TIMEOUT, "57P05", "client_idle_timeout"},
    {C_LOGIN_TIMEOUT, "08P01", "client_login_timeout"},
    {C_SHUTDOWN, "57P01", "server shutting down"},
    {C_KILLED, "57P01", "admin forced disconnect"},
    {C_DENIED, "42501", "permission denied to stop a client of another user"},
    {C_UNSUPPORTED, "0A000", "not supported"},
    {C_TX_IN_STATEMENT_MODE, "08P01", "transaction blocks not allowed in statement pooling mode"},
    {C_OVERLOAD, "53200", "bouncer resources exhaustion"},
    {C_BAD_SETTING, "22023", "invalid server parameter"},
    {C_TLS_REQUIRED, "28000", "SSL required"},
    {C_ADMIN, "08P01", "command failed"},
    {C_BAD_CONFIG, "F0000", "configuration file error"},
    {C_STMT_UNKNOWN, "26000", "prepared statement does not exist"},
    {C_STMT_EXISTS, "42P05", "prepared statement already exists"},
    {C_STMT_TOO_MANY, "53400", "too many prepared statements"},
    {C_PORTAL_UNKNOWN, "34000", "portal does not exist"},
    {C_INTERNAL, "XX000", "internal error"},
};

struct str pg_error_code(enum cause c)
{
    for (size_t i = 0; i < ARRAY_LEN(causes); i++)
        if (causes[i].cause == c)
            return str_of(causes[i].code);
    return STR("XX000");
}

struct str pg_error_text(enum cause c)
{
    for (size_t i = 0; i < ARRAY_LEN(causes); i++)
        if (causes[i].cause == c)
            return str_of(causes[i].text);
    return STR("internal error");
}

static void put_field(struct outq *q, char field, struct str s)
{
    outq_put_u8(q, (uint8_t)field);
    pg_frame_put_z(q, s);
}

static size_t field_len(struct str s)
{
    return 1 + pg_frame_clean(s).n + 1;
}

static void put_fields(struct outq *q, char type, struct str severity, struct str code,
                       struct str text, struct str detail)
{
    size_t n = field_len(severity) * 2 + field_len(code) + field_len(text) + 1;
    if (detail.n > 0)
        n += field_len(detail);
    pg_frame_put_head(q, type, n);
    put_field(q, 'S', severity);
    put_field(q, 'V', severity);
    put_field(q, 'C', code);
    put_field(q, 'M', text);
    if (detail.n > 0)
        put_field(q, 'D', detail);
    outq_put_u8(q, 0);
}

void pg_error_write(struct outq *q, bool fatal, struct str code, struct str text)
{
    put_fields(q, 'E', fatal ? STR("FATAL") : STR("ERROR"), code, text, STR_NONE);
}

void pg_error_notice(struct outq *q, struct str text, struct str detail)
{
    put_fields(q, 'N', STR("NOTICE"), STR("00000"), text, detail);
}
