/* pg_frame.c - see pg_frame.h.  Any thread; no state. */
#include "protocol/pg/pg_frame.h"

enum pg_frame_result pg_frame_read(struct str in, size_t at, uint32_t limit, struct pg_frame *f)
{
    if (PG_FRAME_HEAD > in.n - at)
        return PG_FRAME_SHORT;
    f->type = in.p[at];
    uint32_t len = pg_frame_u32(in.p + at + 1);
    if (len < 4 || len > limit)
        return PG_FRAME_BAD;
    f->total = (size_t)len + 1;
    return PG_FRAME_OK;
}

struct pg_reader pg_frame_reader(struct str body)
{
    return (struct pg_reader){body.p, body.n, false};
}

static const char *take(struct pg_reader *r, size_t n)
{
    if (r->bad || n > r->n) {
        r->bad = true;
        return NULL;
    }
    const char *p = r->p;
    r->p += n;
    r->n -= n;
    return p;
}

uint8_t pg_frame_get_u8(struct pg_reader *r)
{
    const char *p = take(r, 1);
    return p ? (uint8_t)*p : 0;
}

uint16_t pg_frame_get_u16(struct pg_reader *r)
{
    const char *p = take(r, 2);
    return p ? pg_frame_u16(p) : 0;
}

uint32_t pg_frame_get_u32(struct pg_reader *r)
{
    const char *p = take(r, 4);
    return p ? pg_frame_u32(p) : 0;
}

struct str pg_frame_get_z(struct pg_reader *r)
{
    const char *z = r->bad || r->n == 0 ? NULL : memchr(r->p, 0, r->n);
    if (!z) {
        r->bad = true;
        return STR(""); /* never NULL: callers compare and copy */
    }
    size_t n = (size_t)(z - r->p);
    const char *p = take(r, n + 1);
    return (struct str){p, n};
}

struct str pg_frame_get_n(struct pg_reader *r, size_t n)
{
    const char *p = take(r, n);
    return p ? (struct str){p, n} : STR("");
}

struct str pg_frame_get_rest(struct pg_reader *r)
{
    return pg_frame_get_n(r, r->n);
}

bool pg_frame_done(const struct pg_reader *r)
{
    return !r->bad && r->n == 0;
}

void pg_frame_put_head(struct outq *q, char type, size_t body)
{
    outq_put_u8(q, (uint8_t)type);
    outq_put_be32(q, (uint32_t)(body + 4));
}

void pg_frame_put_empty(struct outq *q, char type)
{
    pg_frame_put_head(q, type, 0);
}

struct str pg_frame_clean(struct str s)
{
    const char *z = s.n > 0 ? memchr(s.p, 0, s.n) : NULL;
    return (struct str){s.p, z ? (size_t)(z - s.p) : s.n};
}

void pg_frame_put_z(struct outq *q, struct str s)
{
    s = pg_frame_clean(s);
    if (s.n > 0)
        outq_put(q, s.p, s.n);
    outq_put_u8(q, 0);
}
