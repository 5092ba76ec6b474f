/* pg_values.c - see pg_values.h.
 *
 * A Bind message is, behind its two names: count and codes of the parameters' formats (none: all
 * text; one: for all), count and values, count and codes of the result's formats, likewise.
 */
#include "protocol/pg/pg_values.h"

#include "protocol/pg/pg_frame.h"

#define OID_INT8 20u
#define OID_INT2 21u
#define OID_INT4 23u
#define OID_TEXT 25u
#define OID_UNKNOWN 705u
#define OID_VARCHAR 1043u
#define OID_UUID 2950u

static enum wire_type type_of(uint32_t oid)
{
    switch (oid) {
    case 0:
    case OID_UNKNOWN:
        return WIRE_TYPE_OPEN;
    case OID_INT2:
    case OID_INT4:
    case OID_INT8:
        return WIRE_TYPE_INT;
    case OID_TEXT:
    case OID_VARCHAR:
        return WIRE_TYPE_TEXT;
    case OID_UUID:
        return WIRE_TYPE_UUID;
    default:
        return WIRE_TYPE_OTHER;
    }
}

/* Format number i of a list of codes; anything but 0 and 1 is an error of the client's. */
static bool format_at(struct str codes, size_t count, size_t i, bool *binary)
{
    if (count > 1 && i >= count)
        return false;
    struct pg_reader r = pg_frame_reader(codes);
    (void)pg_frame_get_n(&r, count > 1 ? 2 * i : 0);
    uint16_t code = count == 0 ? 0 : pg_frame_get_u16(&r);
    *binary = code == 1;
    return code <= 1;
}

int pg_values_bind(const struct wire_part *part, struct str types, struct wire_value *out, int max)
{
    struct pg_reader r = pg_frame_reader(part->values), t = pg_frame_reader(types);
    size_t nformats = pg_frame_get_u16(&r);
    struct str formats = pg_frame_get_n(&r, nformats * 2);
    size_t n = pg_frame_get_u16(&r);
    size_t ntypes = types.n == 0 ? 0 : pg_frame_get_u16(&t);
    if (r.bad || t.bad || n > (size_t)max || ntypes > n || (nformats > 1 && nformats != n))
        return -1;
    for (size_t i = 0; i < n; i++) {
        struct wire_value *v = &out[i];
        *v = (struct wire_value){.type = WIRE_TYPE_OPEN};
        if (i < ntypes)
            v->type = type_of(pg_frame_get_u32(&t));
        uint32_t len = pg_frame_get_u32(&r);
        v->null = len == UINT32_MAX;
        v->bytes = v->null ? STR_NONE : pg_frame_get_n(&r, len);
        if (r.bad || t.bad || !format_at(formats, nformats, i, &v->binary))
            return -1;
    }
    return (int)n;
}

struct str pg_values_formats(const struct wire_part *part)
{
    struct pg_reader r = pg_frame_reader(part->values);
    (void)pg_frame_get_n(&r, (size_t)pg_frame_get_u16(&r) * 2);
    size_t n = pg_frame_get_u16(&r);
    for (size_t i = 0; i < n && !r.bad; i++) {
        uint32_t len = pg_frame_get_u32(&r);
        if (len != UINT32_MAX)
            (void)pg_frame_get_n(&r, len);
    }
    size_t codes = pg_frame_get_u16(&r);
    struct str list = pg_frame_get_n(&r, codes * 2);
    if (!pg_frame_done(&r))
        return part->values; /* malformed: equal to nothing but itself */
    for (size_t i = 0; i < list.n; i++)
        if (list.p[i] != '\0')
            return list;
    return STR("");
}

bool pg_values_var_result(struct str name)
{
    /* Limits of time, logging, names for people, and how much memory or how many processes a plan
     * may use: they decide whether and how fast, not what. */
    static const char *const harmless[] = {
        "application_name",
        "client_connection_check_interval",
        "client_min_messages",
        "deadlock_timeout",
        "idle_in_transaction_session_timeout",
        "idle_session_timeout",
        "lock_timeout",
        "maintenance_work_mem",
        "statement_timeout",
        "synchronous_commit",
        "tcp_keepalives_count",
        "tcp_keepalives_idle",
        "tcp_keepalives_interval",
        "tcp_user_timeout",
        "transaction_timeout",
        "work_mem",
    };
    for (size_t i = 0; i < ARRAY_LEN(harmless); i++)
        if (str_ieq(name, str_of(harmless[i])))
            return false;
    return !str_istarts(name, STR("log_"));
}
