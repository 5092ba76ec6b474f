/* fuzz_pg_server.c - libFuzzer target: replies of a server, protocol/pg/pg_server*.c and
 * pg_track.c.
 *
 * The first byte chooses how the replies are cut into reads; bytes up to 0xff are commands that
 * send something, the rest are the server's bytes; a byte 0x80..0x8f in front of a read sends more.
 * With the first byte odd the server is at its login.  Checked: slices lie in the input (or are the
 * made-up confirmations), events make progress, nothing of an own answer is for the client, and the
 * number of pending requests falls by one with each SV_DONE and never otherwise.
 */
#include "base/base.h"

#include "base/check.h"
#include "base/mem.h"
#include "protocol/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
    void *st;
    struct outq_pool pool;
    struct outq out;
    struct wire_server_event ev;
    bool stop;
};

static void command(struct run *r, uint8_t what)
{
    struct wire_part p = {.raw = STR("P\0\0\0\6\0\0"),
                          .name = STR(""),
                          .portal = STR(""),
                          .text = STR(""),
                          .types = STR("")};
    struct wire_handle h;
    pg_wire.handle_make(1, what, &h);
    what &= 0x1f;
    p.kind = (enum wire_part_kind)(what % 11);
    if (what < 11)
        pg_wire.sv_parts(r->st, &p, 1, p.raw, &r->out);
    else if (what < 14)
        pg_wire.sv_part_fake(r->st, &p);
    else if (what == 14)
        pg_wire.sv_prepare(r->st, &h, STR("x"), STR(""), &r->out);
    else if (what == 15)
        pg_wire.sv_unprepare(r->st, &h, &r->out);
    else if (what == 16)
        pg_wire.sv_text(r->st, OWN_QUIET, STR("x"), &r->out);
    else if (what == 17)
        pg_wire.sv_text(r->st, OWN_ROWS, STR("x"), &r->out);
    else if (what == 18)
        pg_wire.sv_sync(r->st, &r->out);
    else if (what == 19 && p.kind == PART_PARSE)
        pg_wire.sv_part_tracked(r->st, &p, &r->out);
    outq_clear(&r->out);
}

static bool inside(struct str s, struct str in)
{
    return s.n == 0 || (s.p >= in.p && s.n <= in.n && s.p + s.n <= in.p + in.n);
}

static void check_event(struct run *r, struct str in, int before)
{
    const struct wire_server_event *ev = &r->ev;
    CHECK(ev->consumed <= in.n);
    bool made_up = ev->kind == SV_ACK && ev->out.n == 5 && ev->consumed == 0;
    CHECK(made_up || inside(ev->out, in));
    CHECK(made_up || ev->out.n <= ev->consumed);
    int after = pg_wire.sv_pending(r->st);
    CHECK(after == before - (ev->kind == SV_DONE));
    switch (ev->kind) {
    case SV_MORE:
        CHECK(ev->need == 0 || ev->need > in.n - ev->consumed);
        break;
    case SV_SPAN:
        CHECK(ev->out.n > 0);
        break;
    case SV_ACK:
        break;
    case SV_ROW:
        CHECK(ev->ncols <= WIRE_COLS_MAX && ev->out.n == 0);
        for (int i = 0; i < ev->ncols; i++)
            CHECK(inside(ev->cols[i], in));
        break;
    case SV_VAR:
        CHECK(inside(ev->var.name, in) && inside(ev->var.value, in));
        break;
    case SV_NOTIFY:
        CHECK(inside(ev->channel, in) && inside(ev->payload, in));
        break;
    case SV_NOTICE:
    case SV_UPLOAD:
        CHECK(ev->out.n > 0);
        break;
    case SV_DONE:
    case SV_READY:
        CHECK(ev->consumed > 0);
        break;
    case SV_TLS:
        CHECK(ev->consumed == 1);
        break;
    case SV_AUTH: {
        struct wire_cred c = {.user = STR("u")};
        struct error err;
        if (pg_wire.sv_auth(r->st, &c, ev->data, &r->out, &err) == AUTH_FAIL)
            r->stop = true;
        outq_clear(&r->out);
        break;
    }
    case SV_BAD:
        CHECK(ev->reason != NULL);
    /* fall through */
    case SV_FATAL:
        r->stop = true;
        break;
    }
}

static size_t feed(struct run *r, const uint8_t *p, size_t n)
{
    size_t used = 0;
    while (!r->stop) {
        char *copy = n > used ? mem_copy(p + used, n - used) : NULL;
        struct str in = {copy, n - used};
        int before = pg_wire.sv_pending(r->st);
        pg_wire.sv_feed(r->st, in, false, &r->ev);
        check_event(r, in, before);
        mem_free(copy);
        used += r->ev.consumed;
        if (r->ev.kind == SV_MORE)
            break;
    }
    return used;
}

static void play(struct run *r, const uint8_t *data, size_t size, size_t chunk)
{
    size_t at = 0;
    while (at < size && data[at] != 0xff)
        command(r, data[at++]);
    at += at < size;
    size_t start = at;
    while (at < size && !r->stop) {
        if ((data[at] & 0xf0) == 0x80 && start == at) {
            command(r, data[at++]);
            start = at;
            continue;
        }
        at += MIN(chunk, size - at);
        start += feed(r, data + start, at - start);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char hello[] = "R\0\0\0\10\0\0\0\0Z\0\0\0\5I";
    struct wire_target t = {.user = STR("u"), .database = STR("d")};
    struct run r = {.st = mem_new(pg_wire.server_size)};
    outq_pool_init(&r.pool);
    outq_init(&r.out, &r.pool);
    pg_wire.sv_init(r.st);
    pg_wire.sv_open(r.st, &t, &r.out);
    outq_clear(&r.out);
    uint8_t mode = size > 0 ? data[0] : 0;
    if (mode & 1) {
        r.stop = false;
        size_t used = 1;
        while (used < size && !r.stop) {
            size_t n = feed(&r, data + used, size - used);
            if (n == 0)
                break;
            used += n;
        }
    } else {
        (void)feed(&r, (const uint8_t *)hello, sizeof hello - 1);
        CHECK(!r.stop);
        if (size > 1)
            play(&r, data + 1, size - 1, (size_t)(mode >> 1) + 1);
    }
    pg_wire.sv_fini(r.st);
    outq_clear(&r.out);
    outq_pool_fini(&r.pool);
    mem_free(r.st);
    return 0;
}
