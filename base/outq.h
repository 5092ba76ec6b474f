/* outq.h - bytes on their way to one socket, in blocks from a free list.
 *
 * Called by the codecs (which only append) and by proxy/net/conn.c (which writes it out and
 * consumes). An empty queue owns no block, so an idle connection costs nothing here.
 * Small appends are copied into 16 KiB blocks.  outq_put_borrowed may keep a reference to the
 * caller's bytes instead; the caller must then have the queue written or settled (outq_settle
 * copies what is left) before those bytes change.  One thread: a queue and its block pool belong to
 * one worker.
 */
#ifndef PENSTOCK_OUTQ_H
#define PENSTOCK_OUTQ_H

#include "base/base.h"
#include "base/str.h"

struct iovec;
struct outq_block;

#define OUTQ_BLOCK 16384     /* bytes of a block, header included */
#define OUTQ_BORROW_MIN 4096 /* shorter pieces are always copied */

struct outq_pool { /* per worker; outlives its queues */
    struct outq_block *free;
    size_t nfree, in_use; /* blocks */
};

struct outq {
    struct outq_pool *pool; /* borrowed from the worker */
    struct outq_block *head, *tail;
    size_t len;    /* bytes queued, borrowed ones included */
    bool borrowed; /* at least one block refers to foreign bytes */
};

void outq_pool_init(struct outq_pool *p);
void outq_pool_fini(struct outq_pool *p); /* frees the free list; CHECKs that nothing is in use */

void outq_init(struct outq *q, struct outq_pool *pool);
void outq_clear(struct outq *q); /* gives all blocks back */

void outq_put(struct outq *q, const void *p, size_t n);
void outq_put_str(struct outq *q, struct str s);
void outq_put_borrowed(struct outq *q, const void *p, size_t n);
void outq_settle(struct outq *q); /* copies what is still borrowed */

/* n contiguous bytes (n <= 1024) to be filled in by the caller at once. */
uint8_t *outq_space(struct outq *q, size_t n);
void outq_put_u8(struct outq *q, uint8_t v);
void outq_put_be16(struct outq *q, uint16_t v);
void outq_put_be32(struct outq *q, uint32_t v);

/* Fills at most max iovecs from the front; returns how many. */
int outq_iov(const struct outq *q, struct iovec *iov, int max);
void outq_consume(struct outq *q, size_t n); /* n <= len; gives emptied blocks back */

/* Appends all of from to q and empties from. Same pool. */
void outq_move(struct outq *q, struct outq *from);

#endif
