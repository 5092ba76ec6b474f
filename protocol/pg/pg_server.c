/* pg_server.c - replies of running requests.  See pg_server.h for how they are read.
 *
 * Called through pg_wire.c.  Invariant: an event never holds bytes of two requests, and a message
 * is only counted once: whoever must first hand out the bytes before it returns without touching
 * the queue.
 */
#include "protocol/pg/pg_server.h"

#include "protocol/pg/pg_error.h"
#include "protocol/pg/pg_frame.h"
#include "protocol/pg/pg_tag.h"

struct walk {
    struct pg_server *s;
    struct str in;
    size_t start, pos; /* in[start, pos) goes to the client, and */
    bool preamble;     /* so is the message being looked at */
    bool ran;          /* there is more in it than confirmations and descriptions */
    struct wire_server_event *ev;
};

enum step { GO_ON, RETURN };

/* ---- ends of a walk -------------------------------------------------------------------------- */

static enum step finish(struct walk *w, enum server_event kind, size_t consumed)
{
    w->ev->kind = kind;
    w->ev->out = pg_frame_slice(w->in, w->start, w->pos);
    w->ev->consumed = consumed;
    w->ev->preamble = w->s->split && !w->ran && w->pos > w->start;
    return RETURN;
}

static enum step more(struct walk *w, size_t need)
{
    w->ev->need = need;
    return finish(w, SV_MORE, w->pos);
}

static bool has_span(const struct walk *w)
{
    return w->pos > w->start;
}

static enum step span(struct walk *w)
{
    return finish(w, SV_SPAN, w->pos);
}

/* What came before is good and goes out first; the next call meets the same bytes again. */
static enum step bad(struct walk *w, const char *reason)
{
    if (has_span(w))
        return span(w);
    pg_server_bad(w->ev, reason);
    w->ev->consumed = w->pos;
    return RETURN;
}

/* ---- bodies ---------------------------------------------------------------------------------- */

static enum step body(struct walk *w)
{
    struct pg_server *s = w->s;
    size_t n = MIN(s->body_left, w->in.n - w->pos);
    if (n == 0)
        return more(w, 0);
    w->ran = w->ran || (s->body_out && !s->body_preamble);
    s->body_left -= n;
    w->pos += n;
    if (!s->body_out)
        w->start = w->pos; /* a swallowed message never follows bytes that were not handed out */
    return GO_ON;
}

/* Takes a message whose header was counted: to the client, or to nobody (then nothing may be
 * waiting). */
static enum step take(struct walk *w, size_t total, bool to_client)
{
    w->s->body_left = total;
    w->s->body_out = to_client;
    w->s->body_preamble = w->preamble;
    return body(w);
}

/* The whole answer is ours: a text, or the end of a run of own prepares. */
static bool is_own(unsigned entry)
{
    return (entry & PX_OWN) && ((entry & PX_KIND) == PX_QUERY || (entry & PX_KIND) == PX_SYNC);
}

/* The bytes of a message that must be seen whole. false: *st says what to return. */
static bool whole(struct walk *w, size_t total, enum step *st)
{
    if (total > PG_SERVER_WHOLE_MAX) {
        *st = bad(w, "message of the server is too long");
        return false;
    }
    if (total > w->in.n - w->pos) {
        *st = more(w, total);
        return false;
    }
    return true;
}

static struct str message_body(const struct walk *w, size_t total)
{
    return pg_frame_slice(w->in, w->pos + PG_FRAME_HEAD, w->pos + total);
}

/* ---- made-up replies ------------------------------------------------------------------------- */

static enum step fake(struct walk *w, unsigned entry)
{
    if (has_span(w))
        return span(w);
    pg_track_pop(&w->s->track);
    finish(w, SV_ACK, w->pos);
    w->ev->out = (entry & PX_KIND) == PX_PARSE ? STR("1\0\0\0\4") : STR("3\0\0\0\4");
    w->ev->preamble = w->s->split;
    return RETURN;
}

/* ---- single messages ------------------------------------------------------------------------- */

static void end_request(struct pg_server *s)
{
    s->error = SE_NONE;
    s->tags = 0;
    s->rows = 0;
    s->answered = false;
    s->uploading = false;
    s->upload_open = false;
}

static enum step on_ready(struct walk *w, size_t total)
{
    struct pg_server *s = w->s;
    enum step st = RETURN;
    if (total != 6)
        return bad(w, "malformed idle marker");
    if (!whole(w, total, &st))
        return st;
    if (s->track.count == 0)
        return bad(w, "idle marker without a request");
    unsigned entry = pg_track_head(&s->track);
    unsigned kind = entry & PX_KIND;
    if (kind != PX_SYNC && !((kind == PX_QUERY || kind == PX_CALL) && s->answered))
        return bad(w, "idle marker while answers are missing");
    char c = w->in.p[w->pos + PG_FRAME_HEAD];
    if (c != 'I' && c != 'T' && c != 'E')
        return bad(w, "unknown transaction state");
    w->ev->tx = c == 'I' ? TX_IDLE : c == 'T' ? TX_OPEN : TX_FAILED;
    w->ev->tags = s->tags;
    w->ev->rows = s->rows;
    pg_server_tell_error(s, w->ev);
    pg_track_pop(&s->track);
    end_request(s);
    w->ran = true;
    w->pos += total;
    if (is_own(entry))
        w->start = w->pos;
    return finish(w, SV_DONE, w->pos);
}

static enum step on_fatal(struct walk *w, size_t total, bool own)
{
    struct pg_server *s = w->s;
    size_t have = w->in.n - w->pos;
    if (has_span(w))
        return span(w);
    if (total <= PG_SERVER_WHOLE_MAX && total > have)
        return more(w, total);
    pg_server_tell_error(s, w->ev);
    s->phase = PG_SV_DEAD;
    w->ran = true;
    if (total > have) { /* too long to be passed on in one piece: the core has the text */
        w->pos = w->start = w->in.n;
    } else {
        w->pos += total;
        if (own)
            w->start = w->pos;
    }
    return finish(w, SV_FATAL, w->pos);
}

static enum step on_error(struct walk *w, size_t total)
{
    struct pg_server *s = w->s;
    size_t look = MIN(total, (size_t)PG_SERVER_ERROR_LOOK);
    if (look > w->in.n - w->pos)
        return more(w, look);
    struct pg_error e;
    pg_error_read(message_body(w, look), &e);
    bool idle = s->track.count == 0;
    bool own = !idle && (pg_track_head(&s->track) & PX_OWN) && pg_track_own(&s->track);
    if (pg_error_is_fatal(&e)) {
        s->error = SE_NONE; /* the goodbye is what counts now */
        pg_server_note_error(s, &e);
        return on_fatal(w, total, own);
    }
    if (idle)
        return bad(w, "error without a request");
    bool upload = s->uploading && s->upload_open;
    bool alone = s->split && !own && !upload && total <= PG_SERVER_WHOLE_MAX;
    if ((own || alone) && has_span(w))
        return span(w);
    if (alone && total > w->in.n - w->pos)
        return more(w, total);
    pg_server_note_error(s, &e);
    s->answered = true;
    s->uploading = false;
    pg_track_error(&s->track);
    if (alone) {
        w->ran = true;
        w->pos += total;
        w->ev->refused = pg_error_class(&e);
        return span(w);
    }
    enum step st = take(w, total, !own);
    if (upload) { /* the client must be let out of its upload before it sends its end marker */
        w->ev->error = s->error;
        return span(w);
    }
    return st;
}

static enum step on_var(struct walk *w, size_t total)
{
    enum step st = RETURN;
    if (has_span(w))
        return span(w);
    if (!whole(w, total, &st))
        return st;
    if (!pg_server_read_var(message_body(w, total), &w->ev->var))
        return bad(w, "malformed setting");
    w->pos += total;
    w->start = w->pos;
    return finish(w, SV_VAR, w->pos);
}

static enum step on_notify(struct walk *w, size_t total)
{
    enum step st = RETURN;
    if (has_span(w))
        return span(w);
    if (!whole(w, total, &st))
        return st;
    struct pg_reader r = pg_frame_reader(message_body(w, total));
    w->ev->pid = pg_frame_get_u32(&r);
    w->ev->channel = pg_frame_get_z(&r);
    w->ev->payload = pg_frame_get_z(&r);
    if (!pg_frame_done(&r))
        return bad(w, "malformed notification");
    w->pos += total;
    w->start = w->pos;
    return finish(w, SV_NOTIFY, w->pos);
}

/* A notice of a running request has an event of its own: it is not a part of the answer, so a
 * request whose server is lost behind it may still be answered with an error. */
static enum step on_notice(struct walk *w, size_t total)
{
    struct pg_track *t = &w->s->track;
    enum step st = RETURN;
    if (t->count > 0 || t->skipping) {
        bool own = t->count > 0 && (pg_track_head(t) & PX_OWN);
        if (has_span(w))
            return span(w);
        st = take(w, total, !own);
        if (own || st == RETURN || w->s->body_left > 0)
            return st;
        w->ev->notice = true;
        return span(w);
    }
    if (!whole(w, total, &st))
        return st;
    w->pos += total;
    return finish(w, SV_NOTICE, w->pos);
}

static enum step on_complete(struct walk *w, size_t total, bool own)
{
    struct pg_server *s = w->s;
    if (own && has_span(w))
        return span(w);
    size_t look = MIN(total, (size_t)PG_SERVER_TAG_LOOK);
    if (look > w->in.n - w->pos)
        return more(w, look);
    struct str tag = pg_frame_clean(message_body(w, look));
    s->tags |= pg_tag_bits(tag);
    s->rows += pg_tag_rows(tag);
    s->answered = true;
    s->uploading = false;
    if ((pg_track_head(&s->track) & PX_KIND) == PX_EXECUTE)
        pg_track_pop(&s->track);
    return take(w, total, !own);
}

/* ParseComplete, CloseComplete, ...: five bytes that confirm the head. */
static enum step on_ack(struct walk *w, size_t total)
{
    struct pg_track *t = &w->s->track;
    unsigned entry = pg_track_head(t);
    if (total != PG_FRAME_HEAD)
        return bad(w, "malformed confirmation");
    size_t end = w->pos + total;
    pg_track_pop(t);
    if (!(entry & PX_OWN))
        w->pos = end;
    if (!(entry & PX_TRACKED))
        return GO_ON;
    return finish(w, SV_ACK, end);
}

static enum step on_upload(struct walk *w, size_t total, unsigned entry)
{
    struct pg_server *s = w->s;
    enum step st = RETURN;
    if (entry & PX_OWN)
        return bad(w, "own statement asks for an upload");
    if (!whole(w, total, &st))
        return st;
    bool simple = (entry & PX_KIND) == PX_QUERY;
    enum pg_upload u = pg_track_upload(&s->track);
    if (simple && u != PG_UPLOAD_OPEN)
        u = PG_UPLOAD_LOST; /* nothing may follow a text until its idle marker */
    if (u == PG_UPLOAD_LOST)
        return bad(w, "upload in the middle of pipelined requests");
    if (u == PG_UPLOAD_DOOMED)
        return take(w, total, true); /* an error follows: the next message refutes the upload */
    s->uploading = true;
    s->upload_open = u == PG_UPLOAD_OPEN && !simple;
    w->ev->upload_ends_sync = u == PG_UPLOAD_VOID;
    w->ran = true;
    w->pos += total;
    return finish(w, SV_UPLOAD, w->pos);
}

static enum step on_own_row(struct walk *w, size_t total)
{
    enum step st = RETURN;
    if (!whole(w, total, &st))
        return st;
    struct wire_server_event *ev = w->ev;
    struct pg_reader r = pg_frame_reader(message_body(w, total));
    ev->ncols = pg_frame_get_u16(&r);
    if (ev->ncols > WIRE_COLS_MAX)
        return bad(w, "row of an own statement has too many columns");
    for (int i = 0; i < ev->ncols; i++) {
        uint32_t n = pg_frame_get_u32(&r);
        ev->cols[i] = n == UINT32_MAX ? STR_NONE : pg_frame_get_n(&r, n);
    }
    if (!pg_frame_done(&r))
        return bad(w, "malformed row");
    w->pos += total;
    w->start = w->pos;
    return finish(w, SV_ROW, w->pos);
}

/* Rows in a row: the one place where the time per message matters. */
static enum step rows(struct walk *w, size_t total)
{
    w->ran = true;
    const char *p = w->in.p + w->pos;
    const char *end = w->in.p + w->in.n;
    while (total <= (size_t)(end - p)) {
        p += total;
        if ((size_t)(end - p) < PG_FRAME_HEAD || *p != 'D')
            break;
        uint32_t len = pg_frame_u32(p + 1);
        if (len < 4 || len > PG_FRAME_LARGE)
            break;
        total = (size_t)len + 1;
    }
    w->pos = (size_t)(p - w->in.p);
    return GO_ON; /* what is left is looked at anew */
}

/* ---- what may come when ---------------------------------------------------------------------- */

#define BIT(kind) (1u << (kind))

/* The heads of the queue at which a message of this type makes sense. */
static unsigned heads_of(char type)
{
    switch (type) {
    case '1':
        return BIT(PX_PARSE);
    case '2':
        return BIT(PX_BIND);
    case '3':
        return BIT(PX_CLOSE);
    case 't':
        return BIT(PX_DESCRIBE);
    case 'n':
        return BIT(PX_DESCRIBE_PORTAL);
    case 'T':
        return BIT(PX_DESCRIBE_PORTAL) | BIT(PX_QUERY);
    case 'D':
    case 'd':
    case 'c':
    case 'H':
    case 'C':
    case 'I':
    case 'G':
        return BIT(PX_QUERY) | BIT(PX_EXECUTE);
    case 's':
        return BIT(PX_EXECUTE);
    case 'V':
        return BIT(PX_CALL);
    default:
        return 0;
    }
}

/* It confirms or describes; nothing has been run for it. */
static bool is_preamble(char type)
{
    return type == '1' || type == '2' || type == '3' || type == 't' || type == 'n' || type == 'T';
}

static enum step on_reply(struct walk *w, char type, size_t total)
{
    struct pg_server *s = w->s;
    struct pg_track *t = &s->track;
    if (t->count == 0)
        return bad(w, "message without a request");
    unsigned entry = pg_track_head(t);
    unsigned kind = entry & PX_KIND;
    bool own = is_own(entry);
    if (!(heads_of(type) & BIT(kind)))
        return bad(w, "message does not answer the request");
    w->preamble = is_preamble(type);
    if (own && has_span(w))
        return span(w);
    switch (type) {
    case '1':
    case '2':
    case '3':
        return on_ack(w, total);
    case 'C':
        return on_complete(w, total, own);
    case 'G':
        return on_upload(w, total, entry);
    case 'D':
        if (entry & PX_ROWS)
            return on_own_row(w, total);
        if (!own && total <= w->in.n - w->pos)
            return rows(w, total);
        break;
    case 't':
        pg_track_set_head(t, (entry & ~PX_KIND) | PX_DESCRIBE_PORTAL);
        break;
    case 'I':
    case 'V':
    case 's':
        s->answered = true;
        break;
    default:
        break;
    }
    if (kind == PX_DESCRIBE_PORTAL || (kind == PX_EXECUTE && (type == 'I' || type == 's')))
        pg_track_pop(t);
    return take(w, total, !own);
}

static enum step next(struct walk *w)
{
    struct pg_server *s = w->s;
    if (s->body_left > 0)
        return body(w);
    w->preamble = false;
    if (s->track.count > 0) {
        unsigned entry = pg_track_head(&s->track);
        if (entry & PX_FAKE)
            return fake(w, entry);
    }
    struct pg_frame f;
    switch (pg_frame_read(w->in, w->pos, PG_FRAME_LARGE, &f)) {
    case PG_FRAME_SHORT:
        return more(w, w->pos == w->in.n ? 0 : PG_FRAME_HEAD);
    case PG_FRAME_BAD:
        return bad(w, "malformed message of the server");
    case PG_FRAME_OK:
        break;
    }
    switch (f.type) {
    case 'Z':
        return on_ready(w, f.total);
    case 'E':
        return on_error(w, f.total);
    case 'S':
        return on_var(w, f.total);
    case 'A':
        return on_notify(w, f.total);
    case 'N':
        return on_notice(w, f.total);
    default:
        return on_reply(w, f.type, f.total);
    }
}

static void begin(struct wire_server_event *ev)
{
    ev->consumed = 0;
    ev->need = 0;
    ev->out = STR("");
    ev->upload_ends_sync = false;
    ev->notice = false;
    ev->preamble = false;
    ev->refused = SE_NONE;
    ev->error = SE_NONE;
    ev->tags = 0;
    ev->rows = 0;
    ev->ncols = 0;
    ev->reason = NULL;
}

void pg_server_feed(void *st, struct str in, bool full, struct wire_server_event *ev)
{
    struct pg_server *s = st;
    (void)full; /* whatever is waited for is shorter than any buffer the core may have */
    begin(ev);
    if (!in.p)
        in = STR(""); /* no arithmetic on NULL below */
    if (s->phase == PG_SV_RAW || s->phase == PG_SV_DEAD) {
        ev->kind = s->phase == PG_SV_RAW && in.n > 0 ? SV_SPAN : SV_MORE;
        ev->out = s->phase == PG_SV_RAW ? in : STR("");
        ev->consumed = in.n;
        return;
    }
    if (s->phase != PG_SV_RUN) {
        pg_server_login_feed(s, in, ev);
        return;
    }
    if (s->track.broken) {
        pg_server_bad(ev, "too many or mixed requests: answers can no longer be told apart");
        return;
    }
    struct walk w = {.s = s, .in = in, .ev = ev};
    while (next(&w) == GO_ON) {
    }
}
