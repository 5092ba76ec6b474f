/* buf.h - the growable byte queue with a hard maximum.
 *
 * Bytes are appended at the end and consumed from the front.  Unlike everything the loop turn uses
 * (proxy/net/conn.h has its own blocks for the data path), this is for configuration, console rows,
 * messages that are built piece by piece, and tests.
 * Invariant: start <= end <= cap; the content is contiguous at buf_data().
 * Growth beyond max sets the sticky failed flag and appends nothing, so that a builder may append
 * many times and test once.
 */
#ifndef PENSTOCK_BUF_H
#define PENSTOCK_BUF_H

#include "base/base.h"
#include "base/str.h"

struct buf {
    uint8_t *mem; /* owned */
    size_t start, end, cap;
    size_t max;  /* hard maximum of bytes held */
    bool failed; /* an append did not fit or memory was out */
};

void buf_init(struct buf *b, size_t max); /* allocates nothing */
void buf_fini(struct buf *b);             /* frees; b is as after buf_init */
void buf_reset(struct buf *b);            /* empties, keeps the memory, clears failed */

/* Makes room for n more bytes and returns where they go, or NULL (then failed is set). The caller
 * writes at most n bytes there and calls buf_commit. */
uint8_t *buf_reserve(struct buf *b, size_t n);
void buf_commit(struct buf *b, size_t n);

void buf_put(struct buf *b, const void *p, size_t n);
void buf_put_str(struct buf *b, struct str s);
void buf_put_z(struct buf *b, const char *z);    /* with the terminating zero byte */
void buf_put_text(struct buf *b, const char *z); /* without it */
void buf_put_u8(struct buf *b, uint8_t v);
void buf_put_be16(struct buf *b, uint16_t v);
void buf_put_be32(struct buf *b, uint32_t v);
void buf_printf(struct buf *b, const char *fmt, ...) ATTR_PRINTF(2, 3);
void buf_patch_be32(struct buf *b, size_t at, uint32_t v); /* at: offset from buf_data */

void buf_consume(struct buf *b, size_t n); /* n <= buf_len */

const uint8_t *buf_data(const struct buf *b); /* valid until the next append */
size_t buf_len(const struct buf *b);
struct str buf_str(const struct buf *b);

#endif
