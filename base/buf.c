/* buf.c - the growable byte queue.
 *
 * Called by configuration, console, codecs' helpers and tests; not by the data path.  Invariants:
 * start <= end <= cap, end - start <= max, and once `failed` is set nothing is appended until
 * buf_reset, so that a message with a hole in it is never taken for a whole one.
 */
#include "base/buf.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>

#define CAP_FIRST 128

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void buf_fini(struct buf *b)
{
    mem_free(b->mem);
    buf_init(b, b->max);
}

void buf_reset(struct buf *b)
{
    b->start = b->end = 0;
    b->failed = false;
}

/* Makes room for n bytes behind end, whatever max says. */
static bool make_room(struct buf *b, size_t n)
{
    size_t len = b->end - b->start;
    if (n <= b->cap - b->end)
        return true;
    /* Moving pays only when at most half of the memory is in use: then each byte moves at most once
     * between two fillings. */
    if (b->start > 0 && n <= b->cap - len && len <= b->cap / 2) {
        memmove(b->mem, b->mem + b->start, len);
    } else {
        size_t want;
        if (__builtin_add_overflow(len, n, &want))
            return false;
        size_t cap = MAX(want, b->cap <= SIZE_MAX / 2 ? b->cap * 2 : want);
        cap = MAX(cap, (size_t)CAP_FIRST);
        if (b->start > 0)
            memmove(b->mem, b->mem + b->start, len);
        b->start = 0;
        b->end = len;
        uint8_t *mem = mem_try_resize(b->mem, cap);
        if (mem == NULL)
            return false;
        b->mem = mem;
        b->cap = cap;
    }
    b->start = 0;
    b->end = len;
    return true;
}

uint8_t *buf_reserve(struct buf *b, size_t n)
{
    if (b->failed)
        return NULL;
    if (n > b->max - (b->end - b->start) || !make_room(b, n)) {
        b->failed = true;
        return NULL;
    }
    return b->mem == NULL ? NULL : b->mem + b->end;
}

void buf_commit(struct buf *b, size_t n)
{
    CHECK(n <= b->cap - b->end);
    b->end += n;
}

void buf_put(struct buf *b, const void *p, size_t n)
{
    if (n == 0)
        return;
    uint8_t *to = buf_reserve(b, n);
    if (to == NULL)
        return;
    memcpy(to, p, n);
    b->end += n;
}

void buf_put_str(struct buf *b, struct str s)
{
    buf_put(b, s.p, s.n);
}

void buf_put_z(struct buf *b, const char *z)
{
    buf_put(b, z, strlen(z) + 1);
}

void buf_put_text(struct buf *b, const char *z)
{
    buf_put(b, z, strlen(z));
}

void buf_put_u8(struct buf *b, uint8_t v)
{
    buf_put(b, &v, 1);
}

void buf_put_be16(struct buf *b, uint16_t v)
{
    const uint8_t be[2] = {(uint8_t)(v >> 8), (uint8_t)v};
    buf_put(b, be, sizeof(be));
}

static void write_be32(uint8_t *to, uint32_t v)
{
    to[0] = (uint8_t)(v >> 24);
    to[1] = (uint8_t)(v >> 16);
    to[2] = (uint8_t)(v >> 8);
    to[3] = (uint8_t)v;
}

void buf_put_be32(struct buf *b, uint32_t v)
{
    uint8_t be[4];
    write_be32(be, v);
    buf_put(b, be, sizeof(be));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    /* The terminator needs a byte that does not count against max. */
    if (b->failed || n < 0 || (size_t)n > b->max - (b->end - b->start) ||
        !make_room(b, (size_t)n + 1)) {
        b->failed = true;
    } else {
        vsnprintf((char *)b->mem + b->end, (size_t)n + 1, fmt, again);
        b->end += (size_t)n;
    }
    va_end(again);
}

void buf_patch_be32(struct buf *b, size_t at, uint32_t v)
{
    if (b->failed)
        return; /* the place to patch may be what did not fit */
    size_t len = b->end - b->start;
    CHECK(len >= 4 && at <= len - 4);
    write_be32(b->mem + b->start + at, v);
}

void buf_consume(struct buf *b, size_t n)
{
    CHECK(n <= b->end - b->start);
    b->start += n;
    if (b->start == b->end)
        b->start = b->end = 0;
}

const uint8_t *buf_data(const struct buf *b)
{
    static const uint8_t nothing[1];
    return b->mem == NULL ? nothing : b->mem + b->start;
}

size_t buf_len(const struct buf *b)
{
    return b->end - b->start;
}

struct str buf_str(const struct buf *b)
{
    return (struct str){(const char *)buf_data(b), buf_len(b)};
}
