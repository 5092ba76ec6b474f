/* outq.c - bytes on their way to one socket.
 *
 * Called by the codecs, which append, and by the connection, which writes and consumes: the hottest
 * code of the program.  One thread.  The common append is a bounds check and a memcpy; everything
 * else is kept out of line in append_slowly.
 *
 * A block's bytes are [rd, wr); room is left up to `lim`.  In an owned block they lie in its own
 * data. A borrowed block points at foreign bytes and has no room (lim == wr), so the fast path
 * needs no second test; it is as large as any other, so that settling it needs no allocation in the
 * usual case.
 * Invariants: no block of a chain is empty (but one made by an outq_space that nobody filled, which
 * goes with the next consume); len is the sum of the blocks; an empty queue owns no block.
 */
#include "base/outq.h"

#include "base/check.h"
#include "base/mem.h"

#include <sys/uio.h>

struct outq_block {
    struct outq_block *next;
    const uint8_t *rd;
    uint8_t *wr, *lim;          /* owned blocks; for a borrowed one both are NULL */
    const uint8_t *foreign_end; /* NULL: owned */
    uint8_t data[];
};

#define BLOCK_ROOM (OUTQ_BLOCK - sizeof(struct outq_block))
#define FREE_MAX 512 /* blocks kept; what a burst needed beyond goes back to the heap */
#define SPACE_MAX 1024
#define MOVE_COPY_MAX 4096 /* a move copies up to this much rather than grow the chain */

static const uint8_t *block_end(const struct outq_block *b)
{
    return b->foreign_end != NULL ? b->foreign_end : b->wr;
}

static size_t block_len(const struct outq_block *b)
{
    return (size_t)(block_end(b) - b->rd);
}

static size_t block_room(const struct outq_block *b)
{
    return (size_t)(b->lim - b->wr);
}

static void block_make_owned(struct outq_block *b)
{
    b->rd = b->wr = b->data;
    b->lim = b->data + BLOCK_ROOM;
    b->foreign_end = NULL;
}

static struct outq_block *block_take(struct outq_pool *p)
{
    struct outq_block *b = p->free;
    if (LIKELY(b != NULL)) {
        p->free = b->next;
        p->nfree--;
    } else {
        b = mem_resize(NULL, OUTQ_BLOCK);
    }
    p->in_use++;
    b->next = NULL;
    block_make_owned(b);
    return b;
}

static void block_give(struct outq_pool *p, struct outq_block *b)
{
    DCHECK(p->in_use > 0);
    p->in_use--;
    if (UNLIKELY(p->nfree >= FREE_MAX)) {
        mem_free(b);
        return;
    }
    b->next = p->free;
    p->free = b;
    p->nfree++;
}

/* A new owned block at the end of q. */
static struct outq_block *extend(struct outq *q)
{
    struct outq_block *b = block_take(q->pool);
    if (q->tail == NULL)
        q->head = b;
    else
        q->tail->next = b;
    q->tail = b;
    return b;
}

void outq_pool_init(struct outq_pool *p)
{
    *p = (struct outq_pool){0};
}

void outq_pool_fini(struct outq_pool *p)
{
    CHECK(p->in_use == 0);
    while (p->free != NULL) {
        struct outq_block *b = p->free;
        p->free = b->next;
        mem_free(b);
    }
    outq_pool_init(p);
}

void outq_init(struct outq *q, struct outq_pool *pool)
{
    *q = (struct outq){.pool = pool};
}

void outq_clear(struct outq *q)
{
    while (q->head != NULL) {
        struct outq_block *b = q->head;
        q->head = b->next;
        block_give(q->pool, b);
    }
    outq_init(q, q->pool);
}

static __attribute__((noinline)) void append_slowly(struct outq *q, const uint8_t *p, size_t n)
{
    q->len += n;
    struct outq_block *b = q->tail;
    for (;;) {
        size_t piece = b == NULL ? 0 : MIN(n, block_room(b));
        if (piece > 0) {
            memcpy(b->wr, p, piece);
            b->wr += piece;
            p += piece;
            n -= piece;
        }
        if (n == 0)
            return;
        b = extend(q);
    }
}

void outq_put(struct outq *q, const void *p, size_t n)
{
    struct outq_block *b = q->tail;
    if (LIKELY(b != NULL && n <= block_room(b) && n > 0)) {
        memcpy(b->wr, p, n);
        b->wr += n;
        q->len += n;
        return;
    }
    if (n > 0)
        append_slowly(q, p, n);
}

void outq_put_str(struct outq *q, struct str s)
{
    outq_put(q, s.p, s.n);
}

void outq_put_borrowed(struct outq *q, const void *p, size_t n)
{
    if (n < OUTQ_BORROW_MIN) {
        outq_put(q, p, n);
        return;
    }
    q->len += n;
    q->borrowed = true;
    struct outq_block *b = q->tail;
    if (b != NULL && b->foreign_end == p) {
        b->foreign_end += n; /* goes on where the last one ended */
        return;
    }
    b = extend(q);
    b->rd = p;
    b->wr = b->lim = NULL;
    b->foreign_end = b->rd + n;
}

/* Copies b's foreign bytes into b and, where they do not fit, into blocks behind it. */
static void settle_block(struct outq *q, struct outq_block *b)
{
    const uint8_t *from = b->rd;
    size_t left = block_len(b);
    for (;;) {
        block_make_owned(b);
        size_t piece = MIN(left, BLOCK_ROOM);
        memcpy(b->data, from, piece);
        b->wr += piece;
        from += piece;
        left -= piece;
        if (left == 0)
            return;
        struct outq_block *more = block_take(q->pool);
        more->next = b->next;
        b->next = more;
        if (q->tail == b)
            q->tail = more;
        b = more;
    }
}

void outq_settle(struct outq *q)
{
    if (!q->borrowed)
        return;
    for (struct outq_block *b = q->head; b != NULL; b = b->next) {
        if (b->foreign_end != NULL)
            settle_block(q, b);
    }
    q->borrowed = false;
}

uint8_t *outq_space(struct outq *q, size_t n)
{
    CHECK(n <= SPACE_MAX);
    struct outq_block *b = q->tail;
    if (UNLIKELY(b == NULL || n > block_room(b)))
        b = extend(q);
    uint8_t *to = b->wr;
    b->wr += n;
    q->len += n;
    return to;
}

void outq_put_u8(struct outq *q, uint8_t v)
{
    *outq_space(q, 1) = v;
}

void outq_put_be16(struct outq *q, uint16_t v)
{
    uint8_t *to = outq_space(q, 2);
    to[0] = (uint8_t)(v >> 8);
    to[1] = (uint8_t)v;
}

void outq_put_be32(struct outq *q, uint32_t v)
{
    uint8_t *to = outq_space(q, 4);
    to[0] = (uint8_t)(v >> 24);
    to[1] = (uint8_t)(v >> 16);
    to[2] = (uint8_t)(v >> 8);
    to[3] = (uint8_t)v;
}

/* writev takes its bytes through a pointer without const, though it only reads them. */
static void *unconst(const uint8_t *p)
{
    void *q;
    memcpy(&q, &p, sizeof(q));
    return q;
}

int outq_iov(const struct outq *q, struct iovec *iov, int max)
{
    int n = 0;
    for (const struct outq_block *b = q->head; b != NULL && n < max; b = b->next) {
        size_t len = block_len(b);
        if (len > 0)
            iov[n++] = (struct iovec){.iov_base = unconst(b->rd), .iov_len = len};
    }
    return n;
}

static bool any_borrowed(const struct outq *q)
{
    for (const struct outq_block *b = q->head; b != NULL; b = b->next) {
        if (b->foreign_end != NULL)
            return true;
    }
    return false;
}

void outq_consume(struct outq *q, size_t n)
{
    CHECK(n <= q->len);
    q->len -= n;
    bool gone = false;
    while (q->head != NULL) {
        struct outq_block *b = q->head;
        size_t len = block_len(b);
        if (n < len) {
            b->rd += n;
            break;
        }
        n -= len;
        gone |= b->foreign_end != NULL;
        q->head = b->next;
        block_give(q->pool, b);
    }
    if (q->head == NULL)
        q->tail = NULL;
    if (gone)
        q->borrowed = any_borrowed(q);
}

void outq_move(struct outq *q, struct outq *from)
{
    CHECK(q->pool == from->pool);
    if (from->head == NULL)
        return;
    if (q->tail == NULL) {
        q->head = from->head;
    } else if (from->len <= MOVE_COPY_MAX && from->head == from->tail && !from->borrowed &&
               from->len <= block_room(q->tail)) {
        outq_put(q, from->head->rd, from->len);
        outq_clear(from);
        return;
    } else {
        q->tail->next = from->head;
    }
    q->tail = from->tail;
    q->len += from->len;
    q->borrowed |= from->borrowed;
    outq_init(from, from->pool);
}
