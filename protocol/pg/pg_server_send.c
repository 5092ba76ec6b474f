/* pg_server_send.c - what goes to a server: a client's requests and statements put between them.
 *
 * Called through pg_wire.c.  Each call appends bytes and the entries for the answers they lead to;
 * the two must never differ, for the reply stream is cut by the entries.
 */
#include "base/hash.h"
#include "protocol/pg/pg_frame.h"
#include "protocol/pg/pg_server.h"

static unsigned expect_of(enum wire_part_kind kind)
{
    switch (kind) {
    case PART_QUERY:
        return PX_QUERY;
    case PART_CALL:
        return PX_CALL;
    case PART_PARSE:
        return PX_PARSE;
    case PART_BIND:
        return PX_BIND;
    case PART_DESCRIBE:
        return PX_DESCRIBE;
    case PART_DESCRIBE_PORTAL:
        return PX_DESCRIBE_PORTAL;
    case PART_EXECUTE:
        return PX_EXECUTE;
    case PART_CLOSE:
    case PART_CLOSE_PORTAL:
        return PX_CLOSE;
    case PART_SYNC:
    case PART_FLUSH:
        break;
    }
    return PX_SYNC;
}

static void push_part(struct pg_server *s, enum wire_part_kind kind, unsigned flags)
{
    if (kind != PART_FLUSH)
        pg_track_push(&s->track, expect_of(kind) | flags);
}

void pg_server_parts(void *st, const struct wire_part *parts, int n, struct str raw,
                     struct outq *out)
{
    struct pg_server *s = st;
    for (int i = 0; i < n; i++)
        push_part(s, parts[i].kind, 0);
    outq_put_str(out, raw);
}

static struct str handle_name(const struct wire_handle *h)
{
    const char *p = (const char *)h->b;
    return pg_frame_clean((struct str){p, sizeof h->b});
}

/* The message with the name that lies at its start (after `lead` bytes of body and the portal, for
 * a Bind) replaced. The header's length counts bytes that may come later as CE_BODY. */
static void put_renamed(const struct wire_part *part, size_t name_at, struct str name,
                        struct outq *out)
{
    size_t body = pg_frame_u32(part->raw.p + 1) - 4;
    pg_frame_put_head(out, part->raw.p[0], body - part->name.n + name.n);
    outq_put_str(out, pg_frame_slice(part->raw, PG_FRAME_HEAD, name_at));
    outq_put_str(out, name);
    outq_put_str(out, pg_frame_slice(part->raw, name_at + part->name.n, part->raw.n));
}

void pg_server_part_named(void *st, const struct wire_part *part, const struct wire_handle *h,
                          struct outq *out)
{
    struct pg_server *s = st;
    size_t name_at = PG_FRAME_HEAD;
    if (part->kind == PART_BIND)
        name_at += part->portal.n + 1;
    else if (part->kind == PART_DESCRIBE || part->kind == PART_CLOSE)
        name_at += 1;
    push_part(s, part->kind, part->kind == PART_PARSE ? PX_TRACKED : 0);
    put_renamed(part, name_at, handle_name(h), out);
}

void pg_server_part_tracked(void *st, const struct wire_part *part, struct outq *out)
{
    struct pg_server *s = st;
    push_part(s, part->kind, PX_TRACKED);
    outq_put_str(out, part->raw);
}

void pg_server_part_fake(void *st, const struct wire_part *part)
{
    struct pg_server *s = st;
    if (part->kind == PART_PARSE || part->kind == PART_CLOSE || part->kind == PART_CLOSE_PORTAL)
        push_part(s, part->kind, PX_FAKE);
}

void pg_server_body(void *st, struct str raw, struct outq *out)
{
    (void)st;
    outq_put_str(out, raw);
}

void pg_server_prepare(void *st, const struct wire_handle *h, struct str text, struct str types,
                       struct outq *out)
{
    struct pg_server *s = st;
    struct str name = handle_name(h);
    struct str clean = pg_frame_clean(text);
    if (types.n == 0)
        types = (struct str){"\0", 2}; /* no types given: a count of zero */
    pg_track_push(&s->track, PX_PARSE | PX_OWN | PX_TRACKED);
    pg_frame_put_head(out, 'P', name.n + 1 + clean.n + 1 + types.n);
    pg_frame_put_z(out, name);
    pg_frame_put_z(out, clean);
    outq_put_str(out, types);
}

void pg_server_unprepare(void *st, const struct wire_handle *h, struct outq *out)
{
    struct pg_server *s = st;
    struct str name = handle_name(h);
    pg_track_push(&s->track, PX_CLOSE | PX_OWN | PX_TRACKED);
    pg_frame_put_head(out, 'C', 1 + name.n + 1);
    outq_put_u8(out, 'S');
    pg_frame_put_z(out, name);
}

void pg_server_sync(void *st, struct outq *out)
{
    struct pg_server *s = st;
    pg_track_push(&s->track, PX_SYNC | PX_OWN);
    pg_frame_put_empty(out, 'S');
}

void pg_server_quit(void *st, struct outq *out)
{
    (void)st;
    pg_frame_put_empty(out, 'X');
}

/* "p", the number in base 36, "_", 8 digits of a keyed hash of the number: unique by the number,
 * and not to be guessed without the salt even by someone who can read other names. 1 + 13 + 1 + 8 =
 * 23 bytes. */
void pg_server_handle_make(uint64_t salt, uint64_t n, struct wire_handle *h)
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    uint8_t key[16], message[8];
    uint64_t mirrored = ~salt;
    memcpy(key, &salt, 8);
    memcpy(key + 8, &mirrored, 8);
    memcpy(message, &n, 8);
    uint64_t tag = hash_siphash(key, message, sizeof message);
    memset(h, 0, sizeof *h);
    size_t at = 0;
    h->b[at++] = 'p';
    char number[13];
    size_t len = 0;
    do {
        number[len++] = digits[n % 36];
        n /= 36;
    } while (n > 0);
    while (len > 0)
        h->b[at++] = (uint8_t)number[--len];
    h->b[at++] = '_';
    for (int i = 0; i < 8; i++, tag /= 36)
        h->b[at++] = (uint8_t)digits[tag % 36];
}

bool pg_server_handle_named(struct str name, struct wire_handle *h)
{
    if (name.n >= sizeof h->b || pg_frame_clean(name).n != name.n)
        return false;
    memset(h, 0, sizeof *h);
    if (name.n > 0)
        memcpy(h->b, name.p, name.n);
    return true;
}
