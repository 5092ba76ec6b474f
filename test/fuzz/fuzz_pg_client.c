/* fuzz_pg_client.c - libFuzzer target: requests of a client, protocol/pg/pg_client*.c.
 *
 * The first byte chooses how the rest is cut into reads and whether the buffer counts as full; a
 * byte 0xfe in front of a read makes the core do something (give up the request, begin or end an
 * upload).
 * Checked: events consume what is there and nothing more, all slices lie in the input, every event
 * but CE_MORE makes progress, a request has one start and one end, and cl_unread gives the same
 * bytes again.
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
    struct wire_part parts[WIRE_PARTS_MAX];
    struct wire_client_event ev;
    bool open; /* a request has started and not ended */
    bool skipping;
    bool stop;
};

static bool inside(struct str s, struct str in)
{
    return s.n == 0 || (s.p >= in.p && s.n <= in.n && s.p + s.n <= in.p + in.n);
}

static void check_request(struct run *r, struct str in)
{
    const struct wire_req *q = &r->ev.req;
    CHECK(!r->skipping);
    CHECK(q->nparts > 0 && q->nparts <= WIRE_PARTS_MAX);
    CHECK(!(q->flags & REQ_START) == r->open);
    size_t n = 0;
    for (uint16_t i = 0; i < q->nparts; i++) {
        const struct wire_part *p = &q->parts[i];
        CHECK(p->raw.p == in.p + n);
        n += p->raw.n;
        CHECK(inside(p->name, in) && inside(p->portal, in) && inside(p->text, in) &&
              inside(p->types, in));
        CHECK(!p->cut || i + 1 == q->nparts);
    }
    CHECK(n == q->raw.n && n == r->ev.consumed);
    r->open = !(q->flags & REQ_END);
}

static void check_event(struct run *r, struct str in)
{
    const struct wire_client_event *ev = &r->ev;
    CHECK(ev->consumed <= in.n);
    switch (ev->kind) {
    case CE_REQ:
        check_request(r, in);
        break;
    case CE_BODY:
    case CE_UPLOAD:
        CHECK(inside(ev->req.raw, in) && ev->consumed == ev->req.raw.n && ev->consumed > 0);
        if (ev->req.flags & REQ_END)
            r->open = false;
        break;
    case CE_SKIPPED:
        CHECK(r->skipping);
        r->skipping = r->open = false;
        pg_wire.cl_idle(r->st, TX_IDLE, &r->out);
        break;
    case CE_IGNORED:
        CHECK(ev->consumed > 0);
        break;
    case CE_MORE:
        CHECK(ev->consumed == 0 && (ev->need == 0 || ev->need > in.n));
        break;
    case CE_BAD:
        CHECK(ev->reason != NULL);
    /* fall through */
    case CE_QUIT:
        r->stop = true;
        break;
    case CE_TLS:
    case CE_LOGIN:
    case CE_CRED:
    case CE_CANCEL:
        CHECK(false);
    }
    outq_clear(&r->out);
}

static size_t feed(struct run *r, const uint8_t *p, size_t n, bool full)
{
    size_t used = 0;
    while (!r->stop) {
        char *copy = n > used ? mem_copy(p + used, n - used) : NULL;
        struct str in = {copy, n - used};
        pg_wire.cl_feed(r->st, in, full, r->parts, &r->ev);
        if (r->ev.kind == CE_REQ && r->ev.consumed % 3 == 0) {
            size_t consumed = r->ev.consumed;
            pg_wire.cl_unread(r->st, &r->ev);
            pg_wire.cl_feed(r->st, in, full, r->parts, &r->ev);
            CHECK(r->ev.kind == CE_REQ && r->ev.consumed == consumed);
        }
        check_event(r, in);
        mem_free(copy);
        used += r->ev.consumed;
        if (r->ev.kind == CE_MORE)
            break;
    }
    return used;
}

static void act(struct run *r, uint8_t what)
{
    if (what % 4 == 0 && r->open) {
        pg_wire.cl_error(r->st, &(struct wire_fault){.cause = C_QUERY_TIMEOUT, .req_open = true},
                         &r->out);
        r->skipping = true;
    } else if (what % 4 == 1 && !r->skipping) {
        pg_wire.cl_upload(r->st, !r->open && (what & 4));
    } else if (what % 4 == 2) {
        pg_wire.cl_upload_over(r->st);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char hello[] = "\0\0\0\20\0\3\0\0user\0u\0";
    struct run r = {.st = mem_new(pg_wire.client_size)};
    struct wire_auth a = {.method = AUTH_TRUST};
    outq_pool_init(&r.pool);
    outq_init(&r.out, &r.pool);
    pg_wire.cl_init(r.st);
    pg_wire.cl_feed(r.st, (struct str){hello, sizeof hello}, false, r.parts, &r.ev);
    CHECK(r.ev.kind == CE_LOGIN && pg_wire.cl_auth_start(r.st, &a, &r.out) == AUTH_OK);
    pg_wire.cl_welcome(r.st, NULL, 0, NULL, &r.out);
    outq_clear(&r.out);
    uint8_t mode = size > 0 ? data[0] : 0;
    size_t at = size > 0 ? 1 : 0, start = at, chunk = (size_t)(mode & 0x7f) + 1;
    while (at < size && !r.stop) {
        if (data[at] == 0xfe && at + 1 < size && start == at) {
            act(&r, data[at + 1]);
            at += 2;
            start = at;
            continue;
        }
        at += MIN(chunk, size - at);
        start += feed(&r, data + start, at - start, (mode & 0x80) != 0);
    }
    pg_wire.cl_fini(r.st);
    outq_clear(&r.out);
    outq_pool_fini(&r.pool);
    mem_free(r.st);
    return 0;
}
