/* pg_stream.c - see pg_stream.h. */
#include "test/unit/support/pg_stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/uio.h>

#include <cmocka.h>

#include "base/mem.h"

static void init(struct pg_stream *s, size_t size)
{
    memset(s, 0, sizeof *s);
    s->st = mem_new(size);
    outq_pool_init(&s->pool);
    outq_init(&s->out, &s->pool);
    buf_init(&s->log, 1u << 22);
    buf_init(&s->span, 1u << 22);
    buf_init(&s->in, 1u << 22);
}

static void fini(struct pg_stream *s)
{
    outq_clear(&s->out);
    outq_pool_fini(&s->pool);
    buf_fini(&s->log);
    buf_fini(&s->span);
    buf_fini(&s->in);
    mem_free(s->st);
}

void pg_stream_message(struct buf *b, char type, struct str body)
{
    if (type)
        buf_put_u8(b, (uint8_t)type);
    buf_put_be32(b, (uint32_t)body.n + 4);
    buf_put_str(b, body);
}

struct str pg_stream_sent(struct pg_stream *s, struct buf *b)
{
    struct iovec iov[64];
    buf_reset(b);
    while (s->out.len > 0) {
        int n = outq_iov(&s->out, iov, 64);
        size_t len = 0;
        for (int i = 0; i < n; i++) {
            buf_put(b, iov[i].iov_base, iov[i].iov_len);
            len += iov[i].iov_len;
        }
        outq_consume(&s->out, len);
    }
    return buf_str(b);
}

/* Message types of the bytes for the client, as letters: enough to compare, and easy to read. A
 * message that is cut at the end cannot happen: events that close a span come at borders. */
static void log_span(struct pg_stream *s)
{
    struct str x = buf_str(&s->span);
    if (x.n == 0)
        return;
    buf_put_text(&s->log, "[");
    size_t at = 0;
    while (at + 5 <= x.n) {
        buf_put_u8(&s->log, (uint8_t)x.p[at]);
        size_t n = 0;
        for (size_t i = 1; i < 5; i++)
            n = n << 8 | (uint8_t)x.p[at + i];
        at += n + 1;
    }
    if (at != x.n)
        buf_put_text(&s->log, "+cut");
    buf_put_text(&s->log, "] ");
    buf_reset(&s->span);
}

const char *pg_stream_log(struct pg_stream *s)
{
    log_span(s);
    buf_put_u8(&s->log, 0);
    const char *z = (const char *)buf_data(&s->log);
    return z;
}

/* ---- client ---------------------------------------------------------------------------------- */

static void log_part(struct pg_stream *s, const struct wire_part *p)
{
    static const char *const names[] = {
        "query",   "call",  "parse",        "bind",  "describe", "describe_portal",
        "execute", "close", "close_portal", "flush", "sync"};
    buf_printf(&s->log, "%s", names[p->kind]);
    if (p->name.n + p->portal.n + p->text.n > 0 || p->row_limit > 0)
        buf_printf(&s->log, "(" STR_FMT "|" STR_FMT "|" STR_FMT "|%u)", STR_ARG(p->name),
                   STR_ARG(p->portal), STR_ARG(p->text), p->row_limit);
    buf_put_text(&s->log, p->cut ? "... " : " ");
}

static void log_request(struct pg_stream *s, const struct wire_req *r)
{
    if (r->flags & REQ_START)
        buf_put_text(&s->log, r->flags & REQ_SIMPLE ? "<simple " : "< ");
    size_t n = 0;
    for (uint16_t i = 0; i < r->nparts; i++) {
        log_part(s, &r->parts[i]);
        assert_ptr_equal(r->parts[i].raw.p, r->raw.p + n);
        n += r->parts[i].raw.n;
    }
    assert_int_equal(n, r->raw.n);
    if (r->flags & REQ_END)
        buf_put_text(&s->log, "> ");
}

static void log_login(struct pg_stream *s, const struct wire_login *l)
{
    buf_printf(&s->log, "LOGIN " STR_FMT "@" STR_FMT " 3.%d%s", STR_ARG(l->user),
               STR_ARG(l->database), l->minor, l->replication ? " replication" : "");
    for (int i = 0; i < l->nvars; i++)
        buf_printf(&s->log, " " STR_FMT "='" STR_FMT "'", STR_ARG(l->vars[i].name),
                   STR_ARG(l->vars[i].value));
    buf_put_text(&s->log, " ");
}

static void log_client(struct pg_stream *s, const struct wire_client_event *ev)
{
    /* merged, as their pieces are cut anywhere */
    if (ev->kind == CE_BODY || ev->kind == CE_UPLOAD) {
        buf_put_str(&s->span, ev->req.raw);
        if (ev->req.flags & REQ_END) {
            log_span(s);
            buf_put_text(&s->log, "> ");
        }
        return;
    }
    if (ev->kind != CE_MORE && ev->kind != CE_IGNORED)
        log_span(s);
    switch (ev->kind) {
    case CE_MORE:
    case CE_IGNORED:
    case CE_BODY:
    case CE_UPLOAD:
        break;
    case CE_TLS:
        buf_printf(&s->log, "TLS%s%s ", ev->direct_tls ? "-direct" : "",
                   ev->tls_refuse ? "-no" : "");
        break;
    case CE_LOGIN:
        log_login(s, &ev->login);
        break;
    case CE_CRED:
        buf_printf(&s->log, "CRED " STR_FMT " ", STR_ARG(ev->data));
        break;
    case CE_CANCEL:
        buf_printf(&s->log, "CANCEL %d ", ev->key.n);
        break;
    case CE_REQ:
        log_request(s, &ev->req);
        break;
    case CE_SKIPPED:
        buf_put_text(&s->log, "SKIPPED ");
        break;
    case CE_QUIT:
        buf_put_text(&s->log, "QUIT ");
        s->stop = true;
        break;
    case CE_BAD:
        buf_printf(&s->log, "BAD %s ", ev->reason);
        s->stop = true;
        break;
    }
}

void pg_stream_feed_client(struct pg_stream *s, struct str bytes)
{
    struct wire_part parts[WIRE_PARTS_MAX];
    static struct wire_client_event ev;
    buf_put_str(&s->in, bytes);
    while (!s->stop) {
        size_t n = buf_len(&s->in);
        /* a heap copy of exactly the input: a sanitizer sees every byte read beyond it */
        char *copy = n > 0 ? mem_copy(buf_data(&s->in), n) : NULL;
        pg_wire.cl_feed(s->st, (struct str){copy, n}, s->full, parts, &ev);
        assert_true(ev.consumed <= n);
        log_client(s, &ev);
        buf_consume(&s->in, ev.consumed);
        mem_free(copy);
        if (ev.kind == CE_MORE)
            break;
        if (ev.kind == CE_TLS && ev.direct_tls)
            break;
    }
}

void pg_stream_client(struct pg_stream *s)
{
    init(s, pg_wire.client_size);
    pg_wire.cl_init(s->st);
}

void pg_stream_running(struct pg_stream *s)
{
    struct wire_auth a = {.method = AUTH_TRUST};
    struct buf sent;
    pg_stream_client(s);
    pg_stream_feed_client(s, BYTES("\0\0\0\20\0\3\0\0user\0u\0\0"));
    assert_int_equal(pg_wire.cl_auth_start(s->st, &a, &s->out), AUTH_OK);
    pg_wire.cl_welcome(s->st, NULL, 0, NULL, &s->out);
    buf_init(&sent, 1u << 16);
    (void)pg_stream_sent(s, &sent);
    buf_fini(&sent);
    buf_reset(&s->log);
}

void pg_stream_fini_client(struct pg_stream *s)
{
    pg_wire.cl_fini(s->st);
    fini(s);
}

/* ---- server ---------------------------------------------------------------------------------- */

static void log_row(struct pg_stream *s, const struct wire_server_event *ev)
{
    buf_put_text(&s->log, "ROW");
    for (int i = 0; i < ev->ncols; i++)
        buf_printf(&s->log, " " STR_FMT, ev->cols[i].p ? (int)ev->cols[i].n : 4,
                   ev->cols[i].p ? ev->cols[i].p : "NULL");
    buf_put_text(&s->log, " ");
}

static void log_server(struct pg_stream *s, const struct wire_server_event *ev)
{
    bool aside = ev->kind == SV_FATAL || ev->kind == SV_NOTICE; /* out is not part of the stream */
    if (!aside)
        buf_put_str(&s->span, ev->out);
    if (ev->kind != SV_MORE && !(ev->kind == SV_SPAN && ev->error == SE_NONE))
        log_span(s);
    switch (ev->kind) {
    case SV_MORE:
        break;
    case SV_SPAN:
        if (ev->error != SE_NONE)
            buf_put_text(&s->log, "UPLOAD-FAILED ");
        break;
    case SV_TLS:
        buf_printf(&s->log, "TLS=%d ", ev->tls);
        break;
    case SV_AUTH:
        buf_put_text(&s->log, "AUTH ");
        break;
    case SV_READY:
        buf_printf(&s->log, "READY key=%d ", ev->key.n);
        break;
    case SV_ACK:
        buf_put_text(&s->log, "ACK ");
        break;
    case SV_ROW:
        log_row(s, ev);
        break;
    case SV_VAR:
        buf_printf(&s->log, "VAR " STR_FMT "=" STR_FMT " ", STR_ARG(ev->var.name),
                   STR_ARG(ev->var.value));
        break;
    case SV_NOTIFY:
        buf_printf(&s->log, "NOTIFY %u " STR_FMT "=" STR_FMT " ", ev->pid, STR_ARG(ev->channel),
                   STR_ARG(ev->payload));
        break;
    case SV_NOTICE:
        buf_printf(&s->log, "NOTICE %d ", (int)ev->out.n);
        break;
    case SV_UPLOAD:
        buf_printf(&s->log, "UPLOAD%s ", ev->upload_ends_sync ? "-void" : "");
        s->upload_void = ev->upload_ends_sync;
        break;
    case SV_DONE:
        buf_printf(&s->log, "DONE tx=%d err=%d tags=%x " STR_FMT STR_FMT "\n", ev->tx, ev->error,
                   ev->tags, STR_ARG(ev->code), STR_ARG(ev->message));
        break;
    case SV_FATAL:
        buf_printf(&s->log, "FATAL err=%d out=%d " STR_FMT " " STR_FMT " ", ev->error,
                   (int)ev->out.n, STR_ARG(ev->code), STR_ARG(ev->message));
        s->stop = true;
        break;
    case SV_BAD:
        buf_printf(&s->log, "BAD %s ", ev->reason);
        s->stop = true;
        break;
    }
}

void pg_stream_feed_server(struct pg_stream *s, struct str bytes)
{
    static struct wire_server_event ev;
    buf_put_str(&s->in, bytes);
    while (!s->stop) {
        size_t n = buf_len(&s->in);
        char *copy = n > 0 ? mem_copy(buf_data(&s->in), n) : NULL;
        pg_wire.sv_feed(s->st, (struct str){copy, n}, s->full, &ev);
        assert_true(ev.consumed <= n);
        log_server(s, &ev);
        buf_consume(&s->in, ev.consumed);
        mem_free(copy);
        if (ev.kind == SV_MORE)
            break;
    }
}

void pg_stream_server(struct pg_stream *s)
{
    init(s, pg_wire.server_size);
    pg_wire.sv_init(s->st);
}

void pg_stream_logged_in(struct pg_stream *s)
{
    struct wire_target t = {.user = STR("u"), .database = STR("d")};
    struct buf sent;
    pg_stream_server(s);
    pg_wire.sv_open(s->st, &t, &s->out);
    pg_stream_feed_server(s, BYTES("R\0\0\0\10\0\0\0\0K\0\0\0\14\0\0\0\1\0\0\0\2Z\0\0\0\5I"));
    buf_init(&sent, 1u << 16);
    (void)pg_stream_sent(s, &sent);
    buf_fini(&sent);
    assert_string_equal(pg_stream_log(s), "READY key=8 ");
    buf_reset(&s->log);
}

void pg_stream_fini_server(struct pg_stream *s)
{
    pg_wire.sv_fini(s->st);
    fini(s);
}

/* ---- every way of feeding -------------------------------------------------------------------- */

static void run_once(bool client, void (*prepare)(struct pg_stream *), struct str bytes, size_t cut,
                     const char *expected)
{
    struct pg_stream s;
    void (*feed)(struct pg_stream *, struct str) = client ? pg_stream_feed_client
                                                          : pg_stream_feed_server;
    prepare(&s);
    if (cut == SIZE_MAX)
        for (size_t i = 0; i < bytes.n; i++)
            feed(&s, (struct str){bytes.p + i, 1});
    else {
        feed(&s, (struct str){bytes.p, cut});
        feed(&s, (struct str){bytes.p + cut, bytes.n - cut});
    }
    assert_string_equal(pg_stream_log(&s), expected);
    if (client)
        pg_stream_fini_client(&s);
    else
        pg_stream_fini_server(&s);
}

void pg_stream_all_ways(bool client, void (*prepare)(struct pg_stream *), struct str bytes,
                        const char *expected)
{
    run_once(client, prepare, bytes, SIZE_MAX, expected);
    for (size_t cut = 0; cut <= bytes.n; cut++)
        run_once(client, prepare, bytes, cut, expected);
}
