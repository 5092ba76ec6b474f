/* pg_answer.c - answers that are kept and given again; see pg_answer.h.
 *
 * A kept answer may have been outside of the process in between.  Whoever took it from there asks
 * answer_whole once; the other functions rely on that.
 */
#include "protocol/pg/pg_answer.h"

#include "protocol/pg/pg_client.h"
#include "protocol/pg/pg_frame.h"
#include "protocol/pg/pg_values.h"

#define COLUMN_TAIL 16 /* of a column's description: what stands between its name and its format */

/* ---- reading --------------------------------------------------------------------------------- */

static bool read_frame(struct str in, size_t at, struct pg_frame *f)
{
    return at < in.n && pg_frame_read(in, at, PG_FRAME_LARGE, f) == PG_FRAME_OK &&
           f->total <= in.n - at;
}

/* Calls visit, which may be NULL, with the place of each column's format. False: not a
 * description. */
static bool each_format(struct str desc, void (*visit)(void *arg, size_t column, size_t at),
                        void *arg)
{
    struct pg_reader r = pg_frame_reader(pg_frame_slice(desc, PG_FRAME_HEAD, desc.n));
    size_t n = pg_frame_get_u16(&r);
    for (size_t i = 0; i < n && !r.bad; i++) {
        (void)pg_frame_get_z(&r);
        (void)pg_frame_get_n(&r, COLUMN_TAIL);
        size_t at = (size_t)(r.p - desc.p);
        (void)pg_frame_get_u16(&r);
        if (!r.bad && visit != NULL)
            visit(arg, i, at);
    }
    return pg_frame_done(&r);
}

/* Description, rows and completion from in[*at] on; *at moves behind them. */
static bool read_result(struct str in, size_t *at, struct wire_kept *k)
{
    struct pg_frame f;
    size_t pos = *at;
    k->desc = STR("");
    k->nrows = 0;
    if (!read_frame(in, pos, &f))
        return false;
    if (f.type == 'T') {
        k->desc = pg_frame_slice(in, pos, pos + f.total);
        pos += f.total;
        if (!each_format(k->desc, NULL, NULL))
            return false;
    }
    size_t start = pos;
    for (; read_frame(in, pos, &f) && f.type == 'D'; pos += f.total)
        k->nrows++;
    k->rows = pg_frame_slice(in, start, pos);
    if (!read_frame(in, pos, &f) || f.type != 'C')
        return false;
    k->complete = pg_frame_slice(in, pos, pos + f.total);
    *at = pos + f.total;
    return true;
}

static size_t skip(struct str in, size_t pos, char from, char to)
{
    struct pg_frame f;
    while (read_frame(in, pos, &f) && f.type >= from && f.type <= to)
        pos += f.total;
    return pos;
}

static bool answer_read(struct str raw, struct wire_kept *out)
{
    struct pg_frame f;
    size_t pos = skip(raw, 0, '1', '2'); /* Parse and Bind are confirmed, */
    if (!read_result(raw, &pos, out))
        return false;
    pos = skip(raw, pos, '3', '3'); /* and so is Close */
    return read_frame(raw, pos, &f) && f.type == 'Z' && f.total == PG_FRAME_HEAD + 1 &&
           pos + f.total == raw.n && raw.p[pos + PG_FRAME_HEAD] == 'I';
}

static bool answer_whole(const struct wire_kept *k)
{
    struct pg_frame f;
    size_t pos = 0;
    uint32_t n = 0;
    if (k->desc.n > 0 && (!read_frame(k->desc, 0, &f) || f.type != 'T' || f.total != k->desc.n ||
                          !each_format(k->desc, NULL, NULL)))
        return false;
    for (; read_frame(k->rows, pos, &f) && f.type == 'D'; pos += f.total)
        n++;
    return pos == k->rows.n && n == k->nrows && read_frame(k->complete, 0, &f) && f.type == 'C' &&
           f.total == k->complete.n;
}

/* ---- what can be answered -------------------------------------------------------------------- */

struct shape { /* of a batch, as far as it was looked at */
    const struct wire_part *parse, *bind, *run;
    bool described;
};

/* One more part of: Parse (or none), Bind, Describe of the portal (or none), Execute, Close of the
 * portal (or none). */
static bool next_fits(struct shape *s, const struct wire_part *p)
{
    bool same = s->bind != NULL && str_eq(p->portal, s->bind->portal);
    switch (p->kind) {
    case PART_PARSE:
        if (s->parse != NULL || s->bind != NULL)
            return false;
        s->parse = p;
        return true;
    case PART_BIND:
        if (s->bind != NULL || (s->parse != NULL && !str_eq(s->parse->name, p->name)))
            return false;
        s->bind = p;
        return true;
    case PART_DESCRIBE_PORTAL:
        s->described = true;
        return same && s->run == NULL;
    case PART_EXECUTE:
        if (!same || s->run != NULL || p->row_limit != 0)
            return false;
        s->run = p;
        return true;
    case PART_CLOSE_PORTAL:
        return same && s->run != NULL;
    case PART_QUERY:
    case PART_CALL:
    case PART_DESCRIBE:
    case PART_CLOSE:
    case PART_FLUSH:
    case PART_SYNC:
        return false;
    }
    return false;
}

static bool answer_fits(const struct wire_kept *k, const struct wire_req *r)
{
    struct shape s = {0};
    bool has_desc = k == NULL || k->desc.n > 0;
    if ((r->flags & (REQ_START | REQ_END)) != (REQ_START | REQ_END))
        return false;
    if (r->flags & REQ_SIMPLE)
        return r->nparts == 1 && !r->parts[0].cut && has_desc;
    for (int i = 0; i < r->nparts - 1; i++) {
        if (r->parts[i].cut || !next_fits(&s, &r->parts[i]))
            return false;
    }
    return s.run != NULL && r->parts[r->nparts - 1].kind == PART_SYNC && (has_desc || !s.described);
}

/* ---- answering ------------------------------------------------------------------------------- */

struct describe {
    struct str desc;
    struct str codes; /* as in Bind: none is text for all, one holds for all */
    size_t done;
    struct outq *out;
};

static void put_format(void *arg, size_t column, size_t at)
{
    struct describe *d = arg;
    size_t n = d->codes.n / 2;
    uint16_t code = 0;
    if (n == 1)
        code = pg_frame_u16(d->codes.p);
    else if (n > column)
        code = pg_frame_u16(d->codes.p + 2 * column);
    outq_put(d->out, d->desc.p + d->done, at - d->done);
    outq_put_be16(d->out, code);
    d->done = at + 2;
}

/* A description has the formats that the request asked for. */
static void put_description(struct str desc, const struct wire_part *bind, struct outq *out)
{
    struct describe d = {desc, STR(""), 0, out};
    if (bind != NULL)
        d.codes = pg_values_formats(bind);
    (void)each_format(desc, put_format, &d);
    outq_put(out, desc.p + d.done, desc.n - d.done);
}

static void put_rows(const struct wire_kept *k, struct outq *out)
{
    outq_put_borrowed(out, k->rows.p, k->rows.n);
    outq_put_str(out, k->complete);
}

static void answer_give(void *st, const struct wire_req *r, const struct wire_kept *k,
                        struct outq *out)
{
    const struct wire_part *bind = NULL;
    for (int i = 0; i < r->nparts; i++) {
        const struct wire_part *p = &r->parts[i];
        switch (p->kind) {
        case PART_QUERY:
            put_description(k->desc, NULL, out);
            put_rows(k, out);
            pg_client_idle(st, TX_IDLE, out);
            break;
        case PART_BIND:
            bind = p;
            pg_client_ack(st, p->kind, out);
            break;
        case PART_PARSE:
        case PART_CLOSE_PORTAL:
            pg_client_ack(st, p->kind, out);
            break;
        case PART_DESCRIBE_PORTAL:
            put_description(k->desc, bind, out);
            break;
        case PART_EXECUTE:
            put_rows(k, out);
            break;
        case PART_SYNC:
            pg_client_idle(st, TX_IDLE, out);
            break;
        case PART_DESCRIBE:
        case PART_CLOSE:
        case PART_CALL:
        case PART_FLUSH:
            break; /* never in a request that fits */
        }
    }
}

const struct wire_answers pg_answers = {answer_read, answer_whole, answer_fits, answer_give};
