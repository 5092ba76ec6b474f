/* fuzz_startup.c - libFuzzer target: the first packets of a client, protocol/pg/pg_startup.c.
 *
 * Checked: whole and byte by byte give the same outcome, nothing beyond the input is read, what a
 * login says is not empty where it must not be, and the answer begins with what was negotiated.
 */
#include "base/base.h"

#include "base/check.h"
#include "base/mem.h"
#include "protocol/pg/pg_startup.h"
#include "protocol/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    unsigned kinds; /* of the events so far, mixed */
    int nvars;
    size_t text; /* bytes of all names and values */
};

static void note(struct outcome *o, const struct wire_client_event *ev)
{
    o->kinds = o->kinds * 31 + (unsigned)ev->kind + 1;
    if (ev->kind != CE_LOGIN)
        return;
    const struct wire_login *l = &ev->login;
    CHECK(l->user.n > 0 && l->database.n > 0);
    CHECK(l->nvars >= 0 && l->nvars <= PG_STARTUP_VARS_MAX);
    CHECK(l->minor <= PG_STARTUP_MINOR);
    o->nvars = l->nvars;
    o->text += l->user.n + l->database.n;
    for (int i = 0; i < l->nvars; i++) {
        CHECK(l->vars[i].name.n > 0);
        o->text += l->vars[i].name.n + l->vars[i].value.n;
    }
}

static struct outcome run(const uint8_t *data, size_t size, size_t step)
{
    struct outcome o = {0};
    struct wire_client_event ev;
    struct outq_pool pool;
    struct outq out;
    void *st = mem_new(pg_wire.client_size);
    size_t used = 0, end = 0;
    bool stop = false;
    outq_pool_init(&pool);
    outq_init(&out, &pool);
    pg_wire.cl_init(st);
    while (!stop && end < size) {
        end += MIN(step, size - end);
        for (;;) {
            char *copy = end > used ? mem_copy(data + used, end - used) : NULL;
            pg_wire.cl_feed(st, (struct str){copy, end - used}, false, NULL, &ev);
            CHECK(ev.consumed <= end - used);
            if (ev.kind != CE_MORE)
                note(&o, &ev);
            mem_free(copy);
            used += ev.consumed;
            if (ev.kind == CE_TLS)
                pg_wire.cl_tls_reply(st, false, &out);
            stop = ev.kind == CE_LOGIN || ev.kind == CE_CANCEL || ev.kind == CE_BAD ||
                   (ev.kind == CE_TLS && ev.direct_tls);
            if (stop || ev.kind == CE_MORE)
                break;
        }
    }
    pg_wire.cl_error(st, &(struct wire_fault){.cause = C_AUTH, .fatal = true}, &out);
    CHECK(out.len > 0);
    outq_clear(&out);
    outq_pool_fini(&pool);
    pg_wire.cl_fini(st);
    mem_free(st);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 2 * PG_STARTUP_MAX)
        return 0;
    struct outcome whole = run(data, size, size + 1), bytes = run(data, size, 1);
    CHECK(whole.kinds == bytes.kinds && whole.nvars == bytes.nvars && whole.text == bytes.text);
    return 0;
}
