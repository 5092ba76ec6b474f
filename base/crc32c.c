/* crc32c.c - see crc32c.h.
 *
 * Polynomial 0x1edc6f41, reflected.  With SSE 4.2 eight bytes cost one instruction; without it a
 * table of sixteen entries takes four bits at a time, which is enough for what is checked (answers
 * that travel to and from Redis).
 */
#include "base/crc32c.h"

static uint32_t step_plain(uint32_t crc, const uint8_t *p, size_t n)
{
    static const uint32_t by_nibble[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    for (size_t i = 0; i < n; i++) {
        crc = crc >> 4 ^ by_nibble[(crc ^ p[i]) & 15];
        crc = crc >> 4 ^ by_nibble[(crc ^ p[i] >> 4) & 15];
    }
    return crc;
}

uint32_t crc32c_plain(uint32_t crc, const void *p, size_t n)
{
    return ~step_plain(~crc, p, n);
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t step_sse(uint32_t crc, const uint8_t *p, size_t n)
{
    uint64_t wide = crc;
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, sizeof(word));
        wide = __builtin_ia32_crc32di(wide, word);
    }
    crc = (uint32_t)wide;
    for (size_t i = 0; i < n; i++)
        crc = __builtin_ia32_crc32qi(crc, p[i]);
    return crc;
}
#endif

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        return ~step_sse(~crc, p, n);
#endif
    return crc32c_plain(crc, p, n);
}
