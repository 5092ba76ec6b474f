/* pg_frame.h - bytes of PostgreSQL's protocol: message headers, readers that cannot overrun,
 * writers.
 *
 * Called by the other files of protocol/pg only.  A message is one type byte and a big-endian
 * length that counts itself but not the type byte.  Nothing here allocates; every length a peer
 * announces is compared with a limit before anybody makes room for it, and every check is `len >
 * available`. Pure functions; any thread.
 */
#ifndef PENSTOCK_PG_FRAME_H
#define PENSTOCK_PG_FRAME_H

#include "base/base.h"
#include "base/outq.h"
#include "base/str.h"

#include <endian.h>

#define PG_FRAME_HEAD 5            /* type byte and length */
#define PG_FRAME_LARGE 0x3ffffffeu /* PostgreSQL's own limit for texts and data: MaxAllocSize - 1 */
#define PG_FRAME_SMALL 10000u      /* and for messages that carry only names */

static inline uint32_t pg_frame_u32(const char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return be32toh(v);
}

static inline uint16_t pg_frame_u16(const char *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return be16toh(v);
}

static inline struct str pg_frame_slice(struct str s, size_t from, size_t to)
{
    return (struct str){s.p + from, to - from}; /* from <= to <= s.n */
}

enum pg_frame_result {
    PG_FRAME_OK,
    PG_FRAME_SHORT, /* fewer than PG_FRAME_HEAD bytes */
    PG_FRAME_BAD,   /* length below 4 or over the limit */
};

struct pg_frame {
    char type;
    size_t total; /* bytes of the whole message, type byte included */
};

/* Reads the header at in[at]. limit: largest length field allowed. Nothing beyond the header is
 * read. */
enum pg_frame_result pg_frame_read(struct str in, size_t at, uint32_t limit, struct pg_frame *f);

/* Reads from a message body. Once something did not fit, bad is set and every read gives zero or
 * empty. */
struct pg_reader {
    const char *p;
    size_t n;
    bool bad;
};

struct pg_reader pg_frame_reader(struct str body);
uint8_t pg_frame_get_u8(struct pg_reader *r);
uint16_t pg_frame_get_u16(struct pg_reader *r);
uint32_t pg_frame_get_u32(struct pg_reader *r);
struct str pg_frame_get_z(struct pg_reader *r); /* up to a zero byte, which is skipped */
struct str pg_frame_get_n(struct pg_reader *r, size_t n);
struct str pg_frame_get_rest(struct pg_reader *r);
bool pg_frame_done(const struct pg_reader *r); /* everything was read and nothing was missing */

/* Header of a message with `body` bytes behind it. */
void pg_frame_put_head(struct outq *q, char type, size_t body);
/* A message without body. */
void pg_frame_put_empty(struct outq *q, char type);
/* s and a zero byte; s is cut at a zero byte inside, so that a message cannot be forged. */
void pg_frame_put_z(struct outq *q, struct str s);
/* s up to its first zero byte: what pg_frame_put_z writes. */
struct str pg_frame_clean(struct str s);

#endif
