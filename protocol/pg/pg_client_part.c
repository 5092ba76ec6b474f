/* pg_client_part.c - one message of a request taken apart.
 *
 * Called by pg_client.c.  A message may be cut (there is no room for all of it): then the names
 * must be there, and the text is as much as came.  Pure.
 */
#include "protocol/pg/pg_client.h"

#define FIRST_OWN_OID 16384 /* what initdb made has smaller ones */

uint32_t pg_client_part_limit(char type, uint32_t max_message)
{
    uint32_t limit = 0;
    switch (type) {
    case 'Q':
    case 'P':
    case 'B':
    case 'F':
    case 'd':
        limit = PG_FRAME_LARGE;
        break;
    case 'D':
    case 'E':
    case 'C':
    case 'S':
    case 'H':
    case 'X':
    case 'c':
    case 'f':
        limit = PG_FRAME_SMALL;
        break;
    default:
        return 0;
    }
    return max_message > 0 && max_message < limit ? max_message : limit;
}

static void read_text(struct wire_part *part, struct pg_reader *r)
{
    if (!part->cut) {
        part->text = pg_frame_get_z(r);
        return;
    }
    struct str rest = pg_frame_get_rest(r);
    part->text = pg_frame_clean(rest);
}

/* 'S' or 'P' and a name. */
static bool read_target(struct wire_part *part, struct pg_reader *r, enum wire_part_kind statement,
                        enum wire_part_kind portal)
{
    uint8_t which = pg_frame_get_u8(r);
    struct str name = pg_frame_get_z(r);
    if (which != 'S' && which != 'P')
        return false;
    part->kind = which == 'S' ? statement : portal;
    if (which == 'S')
        part->name = name;
    else
        part->portal = name;
    return pg_frame_done(r);
}

static bool read_parse(struct wire_part *part, struct pg_reader *r)
{
    part->kind = PART_PARSE;
    part->name = pg_frame_get_z(r);
    read_text(part, r);
    if (part->cut)
        return !r->bad;
    part->types = (struct str){r->p, r->n};
    size_t n = pg_frame_get_u16(r);
    (void)pg_frame_get_n(r, n * 4);
    return pg_frame_done(r);
}

static bool read_bind(struct wire_part *part, struct pg_reader *r)
{
    part->kind = PART_BIND;
    part->portal = pg_frame_get_z(r);
    part->name = pg_frame_get_z(r);
    part->values = part->cut ? STR_NONE : pg_frame_get_rest(r);
    return !r->bad; /* values are the server's business */
}

bool pg_client_types_custom(struct str types)
{
    struct pg_reader r = pg_frame_reader(types);
    size_t n = types.n == 0 ? 0 : pg_frame_get_u16(&r);
    for (size_t i = 0; i < n && !r.bad; i++)
        if (pg_frame_get_u32(&r) >= FIRST_OWN_OID)
            return true;
    return r.bad;
}

int pg_client_bind_texts(const struct wire_part *part, struct str *out, int max)
{
    struct pg_reader r = pg_frame_reader(part->values);
    int n = 0;
    size_t formats = pg_frame_get_u16(&r);
    (void)pg_frame_get_n(&r, formats * 2); /* a text is the same in both formats */
    size_t values = pg_frame_get_u16(&r);
    for (size_t i = 0; i < values && n < max && !r.bad; i++) {
        uint32_t len = pg_frame_get_u32(&r);
        if (len == UINT32_MAX)
            continue; /* null */
        struct str v = pg_frame_get_n(&r, len);
        if (!r.bad && v.n > 0 && memchr(v.p, 0, v.n) == NULL)
            out[n++] = v;
    }
    return n;
}

static bool read_query(struct wire_part *part, struct pg_reader *r)
{
    part->kind = PART_QUERY;
    read_text(part, r);
    return part->cut ? !r->bad : pg_frame_done(r);
}

static bool read_execute(struct wire_part *part, struct pg_reader *r)
{
    part->kind = PART_EXECUTE;
    part->portal = pg_frame_get_z(r);
    part->row_limit = pg_frame_get_u32(r);
    return pg_frame_done(r);
}

static const char *read_body(struct wire_part *part, char type, struct pg_reader *r)
{
    bool ok = true;
    switch (type) {
    case 'Q':
        ok = read_query(part, r);
        return ok ? NULL : "broken Query packet";
    case 'P':
        ok = read_parse(part, r);
        return ok ? NULL : "broken Parse packet";
    case 'B':
        ok = read_bind(part, r);
        return ok ? NULL : "broken Bind packet";
    case 'D':
        ok = read_target(part, r, PART_DESCRIBE, PART_DESCRIBE_PORTAL);
        return ok ? NULL : "broken Describe packet";
    case 'C':
        ok = read_target(part, r, PART_CLOSE, PART_CLOSE_PORTAL);
        return ok ? NULL : "broken Close packet";
    case 'E':
        ok = read_execute(part, r);
        return ok ? NULL : "broken Execute packet";
    case 'F':
        part->kind = PART_CALL;
        return NULL;
    case 'S':
        part->kind = PART_SYNC;
        return r->n == 0 ? NULL : "broken Sync packet";
    case 'H':
        part->kind = PART_FLUSH;
        return r->n == 0 ? NULL : "broken Flush packet";
    default:
        return "unknown pkt";
    }
}

bool pg_client_part_read(struct wire_part *part, struct str raw, size_t total, const char **reason)
{
    part->cut = total > raw.n;
    part->row_limit = 0;
    part->raw = raw;
    part->name = part->portal = part->text = part->types = STR("");
    struct pg_reader r = pg_frame_reader(pg_frame_slice(raw, PG_FRAME_HEAD, raw.n));
    char type = raw.p[0];
    const char *why = read_body(part, type, &r);
    if (!why && part->cut && type != 'Q' && type != 'P' && type != 'B' && type != 'F')
        why = "packet too long";
    *reason = why;
    return why == NULL;
}
