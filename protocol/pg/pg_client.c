/* pg_client.c - what a client says: start-up, requests, uploads, what is skipped after an error.
 *
 * Called through pg_wire.c.  See pg_client.h for the life of requests and uploads.
 * Invariants: an event consumes what it tells about and nothing else; a length is refused as soon
 * as its five bytes are there, before anybody waits or makes room for the message.
 */
#include "protocol/pg/pg_client.h"

#include "protocol/pg/pg_startup.h"

void pg_client_init(void *st)
{
    memset(st, 0, sizeof(struct pg_client));
}

void pg_client_fini(void *st)
{
    struct pg_client *c = st;
    pg_startup_login_free(&c->login);
    pg_client_auth_free(&c->auth);
}

void pg_client_limits(void *st, size_t max_message)
{
    struct pg_client *c = st;
    c->max_message = (uint32_t)MIN(max_message, (size_t)PG_FRAME_LARGE);
}

void pg_client_raw(void *st)
{
    struct pg_client *c = st;
    c->phase = PG_CL_RAW;
}

bool pg_client_wants_server(const void *st, struct str in)
{
    const struct pg_client *c = st;
    if (c->phase != PG_CL_RUN || c->open || c->body_left > 0 || c->upload != PG_UP_NONE ||
        c->skip != PG_SKIP_NONE || in.n < PG_FRAME_HEAD)
        return false;
    char t = in.p[0];
    if (t != 'Q' && t != 'P' && t != 'B' && t != 'E' && t != 'D')
        return false;
    return pg_frame_u32(in.p + 1) < in.n;
}

static void more(struct wire_client_event *ev, size_t need)
{
    ev->kind = CE_MORE;
    ev->need = need;
}

static void bad(struct wire_client_event *ev, const char *reason)
{
    ev->kind = CE_BAD;
    ev->reason = reason;
}

static void req_event(struct wire_client_event *ev, enum client_event kind, struct str raw,
                      uint32_t flags)
{
    ev->kind = kind;
    ev->consumed = raw.n;
    ev->req = (struct wire_req){.flags = flags, .raw = raw};
}

static enum pg_frame_result read_head(const struct pg_client *c, struct str in, size_t at,
                                      struct pg_frame *f, struct wire_client_event *ev)
{
    if (at < in.n) {
        uint32_t limit = pg_client_part_limit(in.p[at], c->max_message);
        if (limit == 0) {
            bad(ev, "unknown pkt");
            return PG_FRAME_BAD;
        }
        enum pg_frame_result r = pg_frame_read(in, at, limit, f);
        if (r == PG_FRAME_BAD)
            bad(ev, "bad packet length");
        if (r != PG_FRAME_SHORT)
            return r;
    }
    more(ev, at == in.n ? 0 : PG_FRAME_HEAD);
    return PG_FRAME_SHORT;
}

/* ---- start-up -------------------------------------------------------------------------------- */

static void on_startup(struct pg_client *c, const struct pg_startup *s,
                       struct wire_client_event *ev)
{
    c->login = pg_startup_login_new(s, &ev->reason);
    if (!c->login) {
        ev->kind = CE_BAD;
        return;
    }
    c->minor = (uint8_t)c->login->login.minor;
    c->phase = PG_CL_LOGIN;
    ev->kind = CE_LOGIN;
    ev->login = c->login->login;
}

static void ask_encryption(struct pg_client *c, enum pg_startup_kind kind,
                           struct wire_client_event *ev)
{
    bool gss = kind == PG_STARTUP_WANTS_GSS;
    bool *seen = gss ? &c->gss_seen : &c->tls_seen;
    if (*seen) {
        bad(ev, "encryption was asked for twice");
        return;
    }
    *seen = true;
    c->gss_pending = gss;
    ev->kind = CE_TLS;
    ev->direct_tls = kind == PG_STARTUP_WANTS_DIRECT_TLS;
    ev->tls_refuse = gss;
}

static void feed_startup(struct pg_client *c, struct str in, struct wire_client_event *ev)
{
    struct pg_startup s = pg_startup_read(in);
    ev->consumed = s.total;
    switch (s.kind) {
    case PG_STARTUP_MORE:
        more(ev, s.need);
        break;
    case PG_STARTUP_BAD:
        bad(ev, s.reason);
        break;
    case PG_STARTUP_LOGIN:
        on_startup(c, &s, ev);
        break;
    case PG_STARTUP_WANTS_TLS:
    case PG_STARTUP_WANTS_GSS:
        ask_encryption(c, s.kind, ev);
        break;
    case PG_STARTUP_WANTS_DIRECT_TLS:
        if (c->gss_seen) /* a hello after other packets is no hello */
            bad(ev, "bad packet header");
        else
            ask_encryption(c, s.kind, ev);
        break;
    case PG_STARTUP_WANTS_CANCEL:
        ev->kind = CE_CANCEL;
        ev->key.n = (uint16_t)s.body.n;
        memcpy(ev->key.b, s.body.p, s.body.n);
        break;
    }
}

static void feed_auth(struct str in, struct wire_client_event *ev)
{
    struct pg_frame f;
    if (in.n > 0 && in.p[0] != 'p' && in.p[0] != 'X') {
        bad(ev, "unexpected packet during login");
        return;
    }
    enum pg_frame_result r = pg_frame_read(in, 0, PG_CLIENT_CRED_MAX, &f);
    if (r == PG_FRAME_BAD) {
        bad(ev, "password too long");
        return;
    }
    if (r == PG_FRAME_SHORT || f.total > in.n) {
        more(ev, r == PG_FRAME_SHORT ? PG_FRAME_HEAD : f.total);
        return;
    }
    ev->kind = f.type == 'X' ? CE_QUIT : CE_CRED;
    ev->consumed = f.total;
    ev->data = pg_frame_slice(in, PG_FRAME_HEAD, f.total);
}

/* ---- bodies of long messages ----------------------------------------------------------------- */

static void feed_body(struct pg_client *c, struct str in, struct wire_client_event *ev)
{
    size_t n = MIN(c->body_left, in.n);
    if (n == 0) {
        more(ev, 0);
        return;
    }
    struct str raw = {in.p, n};
    c->body_left -= n;
    bool last = c->body_left == 0;
    switch (c->body) {
    case PG_BODY_PART:
        req_event(ev, CE_BODY, raw, 0);
        break;
    case PG_BODY_PART_END:
        req_event(ev, CE_BODY, raw, last ? REQ_END : 0);
        break;
    case PG_BODY_UPLOAD:
        req_event(ev, CE_UPLOAD, raw, 0);
        break;
    case PG_BODY_UPLOAD_LAST:
        req_event(ev, CE_UPLOAD, raw, last ? REQ_END : 0);
        break;
    case PG_BODY_UPLOAD_REST:
        req_event(ev, CE_UPLOAD, raw, last ? REQ_REST : 0);
        break;
    case PG_BODY_IGNORE:
        req_event(ev, CE_IGNORED, raw, 0);
        break;
    }
}

static void start_body(struct pg_client *c, enum pg_client_body body, size_t left)
{
    c->body = body;
    c->body_left = left;
}

/* ---- skipping after cl_error ----------------------------------------------------------------- */

static void skipped(struct pg_client *c, size_t consumed, struct wire_client_event *ev)
{
    c->skip = PG_SKIP_NONE;
    c->open = false;
    ev->kind = CE_SKIPPED;
    ev->consumed = consumed;
}

static void feed_skip(struct pg_client *c, struct str in, struct wire_client_event *ev)
{
    size_t pos = 0;
    for (;;) {
        size_t n = MIN(c->body_left, in.n - pos);
        c->body_left -= n;
        pos += n;
        if (c->skip == PG_SKIP_NOW || (c->skip == PG_SKIP_BODY && c->body_left == 0)) {
            skipped(c, pos, ev);
            return;
        }
        struct pg_frame f;
        if (c->body_left > 0 || read_head(c, in, pos, &f, ev) == PG_FRAME_SHORT)
            break;
        if (ev->kind == CE_BAD)
            return;
        if (f.type == 'X') {
            ev->kind = CE_QUIT;
            return;
        }
        if (f.type == 'S') {
            start_body(c, PG_BODY_IGNORE, f.total);
            c->skip = PG_SKIP_BODY;
        } else {
            start_body(c, PG_BODY_IGNORE, f.total);
        }
    }
    if (pos > 0)
        ev->kind = CE_IGNORED;
    else
        more(ev, c->body_left > 0 ? 0 : ev->need);
    ev->consumed = pos;
}

/* ---- uploads --------------------------------------------------------------------------------- */

void pg_client_upload(void *st, bool sync_void)
{
    struct pg_client *c = st;
    c->awaits = false;
    if (sync_void)
        c->upload = PG_UP_VOID;
    else
        c->upload = c->open ? PG_UP_OPEN : PG_UP_SIMPLE;
}

bool pg_client_upload_over(void *st)
{
    struct pg_client *c = st;
    bool cut = c->body_left > 0 && (c->body == PG_BODY_UPLOAD || c->body == PG_BODY_UPLOAD_LAST);
    c->upload = PG_UP_NONE;
    if (cut)
        c->body = PG_BODY_UPLOAD_REST;
    return cut;
}

/* What a message means to the upload: where it leads, and whether it is the upload's last. */
static enum pg_client_upload upload_next(enum pg_client_upload u, char type, bool *last)
{
    bool copy_end = type == 'c' || type == 'f';
    bool harmless = type == 'd' || type == 'H' || type == 'S'; /* data, or ignored by the server */
    *last = false;
    switch (u) {
    case PG_UP_SIMPLE:
    case PG_UP_OPEN:
        if (harmless)
            return u;
        *last = true; /* anything else makes the server fail the upload: it is over as well */
        return PG_UP_NONE;
    case PG_UP_VOID:
        if (harmless)
            return u;
        return copy_end ? PG_UP_VOID_DONE : PG_UP_VOID_BROKEN;
    case PG_UP_VOID_DONE:
    case PG_UP_VOID_BROKEN:
        *last = type == 'S';
        return *last ? PG_UP_NONE : u;
    case PG_UP_NONE:
        break;
    }
    return u;
}

/* After CopyDone the server takes usual messages again; no client is known to send any before its
 * Sync, and their answers would not be expected. */
static bool upload_refuses(enum pg_client_upload u, char type)
{
    return u == PG_UP_VOID_DONE && type != 'S' && type != 'H' && type != 'd' && type != 'c' &&
           type != 'f';
}

static void upload_event(struct pg_client *c, struct str raw, bool ends_request,
                         struct wire_client_event *ev)
{
    bool now = ends_request && c->body_left == 0;
    req_event(ev, CE_UPLOAD, raw, now ? REQ_END : 0);
    if (ends_request && c->body_left > 0)
        c->body = PG_BODY_UPLOAD_LAST;
}

static void feed_upload(struct pg_client *c, struct str in, struct wire_client_event *ev)
{
    size_t pos = 0;
    struct pg_frame f;
    while (c->body_left == 0 && c->upload != PG_UP_NONE) {
        enum pg_frame_result r = read_head(c, in, pos, &f, ev);
        if (r != PG_FRAME_OK || f.type == 'X' || upload_refuses(c->upload, f.type)) {
            if (pos > 0)
                break; /* first hand out what is good */
            if (r == PG_FRAME_OK && f.type == 'X')
                ev->kind = CE_QUIT;
            else if (r == PG_FRAME_OK)
                bad(ev, "unexpected packet at the end of an upload");
            return;
        }
        bool open = c->upload == PG_UP_OPEN, last = false;
        size_t n = MIN(f.total, in.n - pos);
        c->upload = upload_next(c->upload, f.type, &last);
        pos += n;
        start_body(c, PG_BODY_UPLOAD, f.total - n);
        if (last) { /* of an open request only the upload is over */
            upload_event(c, (struct str){in.p, pos}, !open, ev);
            return;
        }
    }
    upload_event(c, (struct str){in.p, pos}, false, ev);
}

/* ---- requests -------------------------------------------------------------------------------- */

struct piece {
    struct pg_client *c;
    struct str in;
    struct wire_part *parts;
    struct wire_client_event *ev;
    size_t pos;
    uint16_t n;
    uint32_t flags;
    bool full;
    bool closed; /* nothing may be added */
};

static void add_flags(struct piece *p, const struct wire_part *part)
{
    enum wire_part_kind k = part->kind;
    bool text = k == PART_QUERY || k == PART_CALL;
    if (k == PART_QUERY && p->n == 0 && (p->flags & REQ_START))
        p->flags |= REQ_SIMPLE;
    if (k == PART_SYNC || (text && !part->cut))
        p->flags |= REQ_END;
    if (k == PART_FLUSH)
        p->flags |= REQ_FLUSH;
    if (k == PART_EXECUTE)
        p->c->awaits = true;
    p->closed = k == PART_SYNC || k == PART_FLUSH || text || part->cut;
}

/* Messages that are not parts of a request; they are looked at only when no piece is being made. */
static void other_message(struct piece *p, const struct pg_frame *f)
{
    struct wire_client_event *ev = p->ev;
    if (f->type == 'X') {
        ev->kind = CE_QUIT;
        ev->consumed = MIN(f->total, p->in.n);
        return;
    }
    /* copy messages without an upload, or a Flush without a request */
    size_t n = MIN(f->total, p->in.n);
    start_body(p->c, PG_BODY_IGNORE, f->total - n);
    ev->kind = CE_IGNORED;
    ev->early = p->c->open && p->c->awaits;
    ev->consumed = n;
}

static bool is_other(const struct piece *p, char type)
{
    if (type == 'H')
        return p->n == 0 && !p->c->open;
    return type == 'd' || type == 'c' || type == 'f' || type == 'X';
}

/* Adds the next message. false: the piece ends here; with p->n == 0 the event is filled. */
static bool add_part(struct piece *p)
{
    struct pg_frame f;
    struct wire_client_event *ev = p->ev;
    if (read_head(p->c, p->in, p->pos, &f, ev) != PG_FRAME_OK)
        return false;
    if (is_other(p, f.type)) {
        if (p->n == 0)
            other_message(p, &f);
        return false;
    }
    size_t n = MIN(f.total, p->in.n - p->pos);
    if (n < f.total && (!p->full || p->n > 0)) {
        more(ev, f.total);
        return false;
    }
    struct wire_part *part = &p->parts[p->n];
    struct str raw = pg_frame_slice(p->in, p->pos, p->pos + n);
    if (!pg_client_part_read(part, raw, f.total, &ev->reason)) {
        ev->kind = CE_BAD;
        return false;
    }
    add_flags(p, part);
    if (part->cut)
        start_body(p->c,
                   part->kind == PART_QUERY || part->kind == PART_CALL ? PG_BODY_PART_END
                                                                       : PG_BODY_PART,
                   f.total - n);
    p->n++;
    p->pos += n;
    return !p->closed && p->n < WIRE_PARTS_MAX;
}

static void feed_request(struct pg_client *c, struct str in, bool full, struct wire_part *parts,
                         struct wire_client_event *ev)
{
    struct piece p = {.c = c, .in = in, .parts = parts, .ev = ev, .full = full};
    p.flags = c->open ? 0 : REQ_START;
    while (add_part(&p)) {
    }
    if (p.n == 0)
        return;
    /* a cut Query is complete for the purpose of what may follow: only its body can */
    bool ended = (p.flags & REQ_END) || (c->body_left > 0 && c->body == PG_BODY_PART_END);
    c->open = !ended;
    ev->reason = NULL;
    req_event(ev, CE_REQ, (struct str){in.p, p.pos}, p.flags);
    ev->req.nparts = p.n;
    ev->req.parts = parts;
}

/* What the piece has changed is told by its flags: nothing of it was in the middle of a message. */
void pg_client_unread(void *st, const struct wire_client_event *ev)
{
    struct pg_client *c = st;
    if (ev->kind == CE_REQ)
        c->open = !(ev->req.flags & REQ_START);
    else if (ev->kind != CE_IGNORED)
        return;
    c->body_left = 0;
}

static void feed_run(struct pg_client *c, struct str in, bool full, struct wire_part *parts,
                     struct wire_client_event *ev)
{
    if (c->skip != PG_SKIP_NONE)
        feed_skip(c, in, ev);
    else if (c->body_left > 0)
        feed_body(c, in, ev);
    else if (c->upload != PG_UP_NONE)
        feed_upload(c, in, ev);
    else
        feed_request(c, in, full, parts, ev);
}

void pg_client_feed(void *st, struct str in, bool full, struct wire_part *parts,
                    struct wire_client_event *ev)
{
    struct pg_client *c = st;
    ev->kind = CE_MORE;
    ev->consumed = 0;
    ev->need = 0;
    ev->reason = NULL;
    ev->direct_tls = false;
    ev->early = false;
    ev->tls_refuse = false;
    if (!in.p)
        in = STR(""); /* no arithmetic on NULL below */
    switch (c->phase) {
    case PG_CL_START:
        feed_startup(c, in, ev);
        break;
    case PG_CL_AUTH:
        feed_auth(in, ev);
        break;
    case PG_CL_LOGIN:
    case PG_CL_WAIT:
        break; /* the core has the word */
    case PG_CL_RUN:
        feed_run(c, in, full, parts, ev);
        break;
    case PG_CL_RAW:
        if (in.n > 0)
            req_event(ev, CE_BODY, in, 0);
        break;
    }
}
