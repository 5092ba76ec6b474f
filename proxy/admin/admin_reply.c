/* admin_reply.c - the object that carries a command and its answer; see admin_reply.h.  Its
 * holder's thread. */
#include "proxy/admin/admin_reply.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define PRINTED_MAX 512

struct admin_reply *admin_reply_new(void)
{
    struct admin_reply *r = mem_new(sizeof(*r));
    buf_init(&r->rows, ADMIN_ROWS_MAX);
    return r;
}

void admin_reply_free(struct admin_reply **rp)
{
    struct admin_reply *r = *rp;
    *rp = NULL;
    if (r == NULL)
        return;
    buf_fini(&r->rows);
    mem_wipe(&r->cmd, sizeof(r->cmd)); /* SET may hold a secret */
    mem_free(r);
}

void admin_reply_str(struct buf *b, struct str s)
{
    if (s.p == NULL) {
        admin_reply_null(b);
        return;
    }
    buf_put_be32(b, (uint32_t)s.n);
    if (s.n > 0)
        buf_put_str(b, s);
}

void admin_reply_text(struct buf *b, const char *z)
{
    admin_reply_str(b, str_of(z));
}

void admin_reply_null(struct buf *b)
{
    buf_put_be32(b, ADMIN_NULL);
}

void admin_reply_printf(struct buf *b, const char *fmt, ...)
{
    char text[PRINTED_MAX];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    admin_reply_text(b, n < 0 ? "" : text);
}

void admin_reply_int(struct buf *b, int64_t v)
{
    admin_reply_printf(b, "%" PRId64, v);
}

void admin_reply_time(struct buf *b, int64_t wall_us)
{
    char text[64];
    clock_format(wall_us, text, sizeof(text));
    admin_reply_text(b, text);
}

static uint32_t take_u32(struct str *s)
{
    CHECK(s->n >= 4);
    const unsigned char *p = (const unsigned char *)s->p;
    uint32_t v = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    s->p += 4;
    s->n -= 4;
    return v;
}

bool admin_reply_next(struct str *rest, struct str *values, int ncols)
{
    if (rest->n == 0)
        return false;
    for (int i = 0; i < ncols; i++) {
        uint32_t n = take_u32(rest);
        values[i] = STR_NONE;
        if (n == ADMIN_NULL)
            continue;
        CHECK(n <= rest->n);
        values[i] = (struct str){rest->p, n};
        rest->p += n;
        rest->n -= n;
    }
    return true;
}
