/* pg_node.c - see pg_node.h. */
#include "protocol/pg/pg_node.h"

#include "protocol/wire.h"
#include "protocol/wire_node.h"

/* OFFSET 0 has the volatile function called once, so that a promotion in between does not mix two
 * answers.  A standby follows the timeline that it receives; where it does not stream, or the login
 * may not see that (it takes pg_monitor), what its control file says is late but never too new. */
const char pg_node_probe[] =
    "SELECT n.r, c.system_identifier,"
    " CASE WHEN n.r THEN pg_catalog.lpad(pg_catalog.to_hex(GREATEST("
    "(SELECT max(w.received_tli) FROM pg_catalog.pg_stat_wal_receiver AS w),"
    " (SELECT k.timeline_id FROM pg_catalog.pg_control_checkpoint() AS k),"
    " (SELECT m.min_recovery_end_timeline FROM pg_catalog.pg_control_recovery() AS m))), 8, '0')"
    " ELSE pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()) END,"
    " CASE WHEN n.r THEN pg_catalog.pg_last_wal_replay_lsn()"
    " ELSE pg_catalog.pg_current_wal_insert_lsn() END,"
    " i.wal_block_size, i.bytes_per_wal_segment,"
    " CASE WHEN n.r THEN NULL ELSE pg_catalog.pg_current_wal_flush_lsn() END"
    " FROM (SELECT pg_catalog.pg_is_in_recovery() AS r OFFSET 0) AS n,"
    " pg_catalog.pg_control_system() AS c, pg_catalog.pg_control_init() AS i";

#define PAGE_HEAD 24    /* SizeOfXLogShortPHD */
#define SEGMENT_HEAD 40 /* SizeOfXLogLongPHD: of the first page of a file */

static bool read_hex(struct str s, uint32_t *out)
{
    uint64_t v = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A' + 10)
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
                                                : 16u;
        if (digit == 16 || s.n > 8)
            return false;
        v = v << 4 | digit;
    }
    *out = (uint32_t)v;
    return s.n > 0;
}

/* "16/B374D848" */
static bool read_position(struct str s, uint64_t *out)
{
    uint32_t high = 0, low = 0;
    struct str rest = s, first = str_cut(&rest, '/');
    if (!read_hex(first, &high) || !read_hex(rest, &low))
        return false;
    *out = (uint64_t)high << 32 | low;
    return true;
}

/* An insert position is where the next record goes. When the last one has filled its page, that is
 * behind the head of the next page, which a standby that has replayed all of it does not count. A
 * record never ends right behind a head. */
static uint64_t end_of_last(uint64_t position, uint64_t page, uint64_t segment)
{
    if (position % segment == SEGMENT_HEAD)
        return position - SEGMENT_HEAD;
    return position % page == PAGE_HEAD ? position - PAGE_HEAD : position;
}

/* The last record in the log may be there in part, and a standby does not replay parts. */
#define PART_OF_RECORD 65536

static uint64_t settled(uint64_t position, uint64_t flushed)
{
    if (flushed >= position)
        return position;
    return flushed > PART_OF_RECORD ? flushed - PART_OF_RECORD : 1;
}

enum status pg_node_row(const struct str *cols, int ncols, struct wire_probe *out)
{
    int64_t id = 0, page = 0, segment = 0;
    *out = (struct wire_probe){0};
    uint64_t flushed = 0;
    if (ncols != 7 || cols[0].n != 1 || cols[1].p == NULL ||
        !str_to_i64(cols[4], 1, INT32_MAX, &page) || !str_to_i64(cols[5], 1, INT32_MAX, &segment))
        return ST_INVALID;
    out->in_recovery = cols[0].p[0] == 't';
    if (!str_to_i64(cols[1], INT64_MIN, INT64_MAX, &id))
        return ST_INVALID;
    out->system_id = (uint64_t)id;
    /* A standby that has replayed nothing yet has no position: that of the beginning. */
    if (cols[3].p != NULL && !read_position(cols[3], &out->position))
        return ST_INVALID;
    out->position = end_of_last(out->position, (uint64_t)page, (uint64_t)segment);
    if (cols[6].p != NULL && !read_position(cols[6], &flushed))
        return ST_INVALID;
    out->settled = settled(out->position, flushed);
    bool known = cols[2].n >= 8 && read_hex((struct str){cols[2].p, 8}, &out->timeline);
    bool complete = known && out->timeline != 0 && cols[3].p != NULL;
    return complete || out->in_recovery ? ST_OK : ST_INVALID;
}

bool pg_node_var(struct str name)
{
    return str_eq(name, STR("in_hot_standby"));
}

void pg_node_wishes(const struct wire_var *v, struct wire_wishes *out)
{
    if (str_eq(v->name, STR("penstock.route")))
        out->route = v->value;
    else if (str_eq(v->name, STR("penstock.token")))
        out->token = v->value;
    else if (str_eq(v->name, STR("default_transaction_read_only")))
        out->read_only = str_eq(v->value, STR("on"));
    else if (str_eq(v->name, STR("default_transaction_isolation")))
        out->serializable = str_ieq(v->value, STR("serializable"));
}

/* The words of libpq's connection parameter, in those of penstock.route. */
static const struct {
    struct str word, route;
} attrs[] = {
    {STR_INIT("any"), STR_INIT("auto")},
    {STR_INIT("read-write"), STR_INIT("primary")},
    {STR_INIT("primary"), STR_INIT("primary")},
    {STR_INIT("read-only"), STR_INIT("replica")},
    {STR_INIT("standby"), STR_INIT("replica")},
    {STR_INIT("prefer-standby"), STR_INIT("prefer-replica")},
};

bool pg_node_startup(const struct wire_var *v, struct wire_wishes *out)
{
    if (!str_eq(v->name, STR("target_session_attrs")))
        return false;
    out->route = v->value; /* any other word is told to be none */
    for (size_t i = 0; i < ARRAY_LEN(attrs); i++)
        if (str_eq(v->value, attrs[i].word))
            out->route = attrs[i].route;
    return true;
}

static struct str next_word(struct str *rest)
{
    *rest = str_trim(*rest);
    size_t n = 0;
    while (n < rest->n && rest->p[n] > ' ' && rest->p[n] != ';')
        n++;
    struct str word = {rest->p, n};
    *rest = (struct str){rest->p + n, rest->n - n};
    return word;
}

const char *pg_node_begin_tag(struct str text)
{
    struct str word = next_word(&text);
    if (str_ieq(word, STR("set")))
        return "SET";
    return str_ieq(word, STR("start")) ? "START TRANSACTION" : "BEGIN";
}

enum wire_ours pg_node_ours(struct str text)
{
    struct str rest = text;
    if (!str_ieq(next_word(&rest), STR("show")))
        return WIRE_OURS_NONE;
    struct str name = next_word(&rest);
    rest = str_trim(rest);
    if (rest.n > 0 && !str_eq(rest, STR(";")))
        return WIRE_OURS_NONE;
    if (str_ieq(name, STR("last")) || str_ieq(name, STR("penstock.last")))
        return WIRE_OURS_LAST;
    return str_ieq(name, STR("penstock.token")) ? WIRE_OURS_TOKEN : WIRE_OURS_NONE;
}
