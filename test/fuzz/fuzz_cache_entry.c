/* fuzz_cache_entry.c - libFuzzer target: what Redis gives back under our keys may be anything.
 *
 * The bytes are decoded as they are, and once more with the checksum made right, so that the fuzzer
 * gets behind it.  What is accepted must encode to the same bytes.
 */
#include "base/base.h"

#include "base/check.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "cache/cache_entry.h"

#include <endian.h>

#define AT_DIGEST 32
#define AT_CRC 80
#define BODY_MAX 65536u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(struct str bytes)
{
    static const uint8_t nobody[CACHE_DIGEST_BYTES];
    const uint8_t *digest = nobody;
    struct cache_entry *e;
    struct error err = {{0}};
    struct buf b;
    if (bytes.n >= CACHE_ENTRY_HEADER)
        digest = (const uint8_t *)bytes.p + AT_DIGEST;
    if (cache_entry_decode(bytes, digest, BODY_MAX, &e, &err) != ST_OK) {
        CHECK(e == NULL && err.text[0] != '\0');
        return;
    }
    CHECK(e->desc.n + e->data.n + e->complete.n == bytes.n - CACHE_ENTRY_HEADER);
    buf_init(&b, SIZE_MAX);
    cache_entry_encode(e, &b);
    CHECK(str_eq(buf_str(&b), bytes));
    buf_fini(&b);
    cache_entry_put(&e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = mem_copy(size > 0 ? data : (const uint8_t *)"", size > 0 ? size : 1);
    struct str bytes = {(const char *)copy, size};
    decode(bytes);
    if (size >= CACHE_ENTRY_HEADER) {
        uint32_t crc = crc32c(0, copy, AT_CRC);
        crc = htobe32(crc32c(crc, copy + CACHE_ENTRY_HEADER, size - CACHE_ENTRY_HEADER));
        memcpy(copy + AT_CRC, &crc, sizeof(crc));
        decode(bytes);
    }
    mem_free(copy);
    return 0;
}
