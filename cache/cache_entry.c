/* cache_entry.c - see cache_entry.h.
 *
 * Offsets of the header are written once, below; encode and decode share them.  Decode trusts
 * nothing: whoever can write to Redis can write anything under our keys.
 */
#include "cache/cache_entry.h"

#include "base/check.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "base/refs.h"

#include <endian.h>

enum {
    AT_MAGIC = 0,
    AT_VERSION = 4,
    AT_FLAGS = 5,
    AT_RESERVED = 6,
    AT_EPOCH = 8,
    AT_STAMP = 16,
    AT_CREATED = 24,
    AT_DIGEST = 32,
    AT_ROWS = 64,
    AT_DESC = 68,
    AT_DATA = 72,
    AT_COMPLETE = 76,
    AT_CRC = 80,
};

static const uint8_t magic[4] = {'P', 'S', 'K', 0x91};

struct cache_entry *cache_entry_new(const struct cache_entry_parts *from)
{
    const size_t most = UINT32_MAX / 4;
    if (from->desc.n > most || from->data.n > most || from->complete.n > most)
        return NULL;
    size_t body = from->desc.n + from->data.n + from->complete.n;
    struct cache_entry *e = mem_try(sizeof(*e) + body);
    if (e == NULL)
        return NULL;
    char *to = (char *)(e + 1);
    const struct str in[3] = {from->desc, from->data, from->complete};
    struct str out[3];
    for (size_t i = 0; i < ARRAY_LEN(in); i++) {
        out[i] = (struct str){to, in[i].n};
        if (in[i].n > 0)
            memcpy(to, in[i].p, in[i].n);
        to += in[i].n;
    }
    refs_init(&e->shared.refs);
    e->epoch = from->epoch;
    e->stamp = from->stamp;
    e->created_ms = from->created_ms;
    memcpy(e->digest, from->digest, sizeof(e->digest));
    e->rows = from->rows;
    e->desc = out[0];
    e->data = out[1];
    e->complete = out[2];
    return e;
}

struct cache_entry *cache_entry_get(struct cache_entry *e)
{
    refs_get(&e->shared.refs);
    return e;
}

void cache_entry_put(struct cache_entry **e)
{
    struct cache_entry *was = *e;
    *e = NULL;
    if (was != NULL && refs_put(&was->shared.refs))
        mem_free(was);
}

static size_t body_bytes(const struct cache_entry *e)
{
    return e->desc.n + e->data.n + e->complete.n;
}

size_t cache_entry_bytes(const struct cache_entry *e)
{
    return sizeof(*e) + body_bytes(e);
}

static void put32(uint8_t *at, uint32_t v)
{
    v = htobe32(v);
    memcpy(at, &v, sizeof(v));
}

static void put64(uint8_t *at, uint64_t v)
{
    v = htobe64(v);
    memcpy(at, &v, sizeof(v));
}

static uint32_t get32(const char *at)
{
    uint32_t v;
    memcpy(&v, at, sizeof(v));
    return be32toh(v);
}

static uint64_t get64(const char *at)
{
    uint64_t v;
    memcpy(&v, at, sizeof(v));
    return be64toh(v);
}

void cache_entry_encode(const struct cache_entry *e, struct buf *out)
{
    uint8_t head[CACHE_ENTRY_HEADER] = {0};
    memcpy(head + AT_MAGIC, magic, sizeof(magic));
    head[AT_VERSION] = CACHE_ENTRY_VERSION;
    put64(head + AT_EPOCH, e->epoch);
    put64(head + AT_STAMP, e->stamp);
    put64(head + AT_CREATED, (uint64_t)e->created_ms);
    memcpy(head + AT_DIGEST, e->digest, sizeof(e->digest));
    put32(head + AT_ROWS, e->rows);
    put32(head + AT_DESC, (uint32_t)e->desc.n);
    put32(head + AT_DATA, (uint32_t)e->data.n);
    put32(head + AT_COMPLETE, (uint32_t)e->complete.n);
    uint32_t crc = crc32c(0, head, AT_CRC);
    put32(head + AT_CRC, crc32c(crc, e->desc.p, body_bytes(e)));
    buf_put(out, head, sizeof(head));
    buf_put(out, e->desc.p, body_bytes(e));
}

/* The lengths of the parts are those of the body, exactly. */
static bool cut_body(struct str bytes, struct cache_entry_parts *parts)
{
    const char *p = bytes.p;
    struct str rest = {p + CACHE_ENTRY_HEADER, bytes.n - CACHE_ENTRY_HEADER};
    uint64_t desc = get32(p + AT_DESC), data = get32(p + AT_DATA);
    uint64_t complete = get32(p + AT_COMPLETE);
    if (desc + data + complete != rest.n)
        return false;
    parts->desc = (struct str){rest.p, (size_t)desc};
    parts->data = (struct str){rest.p + desc, (size_t)data};
    parts->complete = (struct str){rest.p + desc + data, (size_t)complete};
    return true;
}

enum status cache_entry_decode(struct str bytes, const uint8_t digest[CACHE_DIGEST_BYTES],
                               size_t max_body, struct cache_entry **out, struct error *err)
{
    const char *p = bytes.p;
    struct cache_entry_parts parts = {0};
    *out = NULL;
    if (bytes.n < CACHE_ENTRY_HEADER || memcmp(p + AT_MAGIC, magic, sizeof(magic)) != 0)
        return error_set(err, ST_INVALID, "no entry of ours");
    if (p[AT_VERSION] != CACHE_ENTRY_VERSION)
        return error_set(err, ST_INVALID, "entry of version %u", (unsigned)(uint8_t)p[AT_VERSION]);
    if (p[AT_FLAGS] != 0 || p[AT_RESERVED] != 0 || p[AT_RESERVED + 1] != 0)
        return error_set(err, ST_INVALID, "entry with flags that are not known");
    if (bytes.n - CACHE_ENTRY_HEADER > max_body)
        return error_set(err, ST_LIMIT, "entry of %zu bytes", bytes.n);
    if (!cut_body(bytes, &parts))
        return error_set(err, ST_INVALID, "entry whose lengths do not add up");
    uint32_t crc = crc32c(0, p, AT_CRC);
    crc = crc32c(crc, p + CACHE_ENTRY_HEADER, bytes.n - CACHE_ENTRY_HEADER);
    if (crc != get32(p + AT_CRC))
        return error_set(err, ST_INVALID, "entry with a wrong checksum");
    if (memcmp(p + AT_DIGEST, digest, CACHE_DIGEST_BYTES) != 0)
        return error_set(err, ST_INVALID, "entry of another request");
    parts.epoch = get64(p + AT_EPOCH);
    parts.stamp = get64(p + AT_STAMP);
    parts.created_ms = (int64_t)get64(p + AT_CREATED);
    parts.rows = get32(p + AT_ROWS);
    memcpy(parts.digest, digest, CACHE_DIGEST_BYTES);
    *out = cache_entry_new(&parts);
    return *out != NULL ? ST_OK : error_set(err, ST_MEMORY, "no memory for an entry");
}
