/* hash.c - SipHash-2-4 and the content hash.
 *
 * Called by map.c (seeded) and by caches whose lookup compares the full key (hash_bytes).  Any
 * thread after hash_seed_init.  Before it the seed is zero: fine for unit tests, and the only cost
 * of forgetting it in main would be that a peer could choose colliding keys.
 *
 * The content hash folds 16 bytes a step through a 64 x 64 -> 128 bit multiplication whose halves
 * are xored.  It is not cryptographic and values must not leave the process.
 */
#include "base/hash.h"

#include "base/random.h"

static uint8_t process_key[16];

void hash_seed_init(void)
{
    random_bytes(process_key, sizeof(process_key));
}

static uint64_t read64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static uint64_t read32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static uint64_t read64_le(const uint8_t *p)
{
    uint64_t v = read64(p);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

static uint64_t rotate(uint64_t v, unsigned by)
{
    return v << by | v >> (64 - by);
}

static void sip_rounds(uint64_t v[4], int n)
{
    for (int i = 0; i < n; i++) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = rotate(v[1], 13) ^ v[0];
        v[3] = rotate(v[3], 16) ^ v[2];
        v[0] = rotate(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = rotate(v[1], 17) ^ v[2];
        v[3] = rotate(v[3], 21) ^ v[0];
        v[2] = rotate(v[2], 32);
    }
}

static void sip_absorb(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_rounds(v, 2);
    v[0] ^= word;
}

uint64_t hash_siphash(const uint8_t key[16], const void *p, size_t n)
{
    const uint64_t k0 = read64_le(key), k1 = read64_le(key + 8);
    uint64_t v[4] = {k0 ^ 0x736f6d6570736575u, k1 ^ 0x646f72616e646f6du, k0 ^ 0x6c7967656e657261u,
                     k1 ^ 0x7465646279746573u};
    const uint8_t *at = p;
    size_t left = n;
    for (; left >= 8; left -= 8, at += 8)
        sip_absorb(v, read64_le(at));
    uint64_t last = (uint64_t)n << 56;
    for (size_t i = 0; i < left; i++)
        last |= (uint64_t)at[i] << (8 * i);
    sip_absorb(v, last);
    v[2] ^= 0xff;
    sip_rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t hash_seeded(const void *p, size_t n)
{
    return hash_siphash(process_key, p, n);
}

/* Odd constants with about as many ones as zeros. */
#define FOLD_A 0x9e3779b97f4a7c15u
#define FOLD_B 0xd1b54a32d192ed03u
#define FOLD_C 0xaef17502108ef2d9u

static uint64_t fold(uint64_t a, uint64_t b)
{
    __extension__ unsigned __int128 product = a;
    product *= b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t hash_bytes(const void *p, size_t n, uint64_t seed)
{
    const uint8_t *at = p;
    uint64_t h = fold(seed ^ FOLD_A, (uint64_t)n ^ FOLD_B);
    size_t left = n;
    if (left > 32) {
        /* Two independent chains hide the latency of the multiplication. */
        uint64_t g = h ^ FOLD_C;
        for (; left > 32; left -= 32, at += 32) {
            h = fold(read64(at) ^ FOLD_A, read64(at + 8) ^ h);
            g = fold(read64(at + 16) ^ FOLD_B, read64(at + 24) ^ g);
        }
        h ^= rotate(g, 23);
    }
    if (left > 16) {
        h = fold(read64(at) ^ FOLD_C, read64(at + 8) ^ h);
        left -= 16;
        at += 16;
    }
    /* The last 0 to 16 bytes: two reads that may overlap. */
    uint64_t a = 0, b = 0;
    if (left >= 8) {
        a = read64(at);
        b = read64(at + left - 8);
    } else if (left >= 4) {
        a = read32(at);
        b = read32(at + left - 4);
    } else if (left > 0) {
        a = (uint64_t)at[0] << 16 | (uint64_t)at[left / 2] << 8 | at[left - 1];
    }
    h = fold(a ^ FOLD_A ^ h, b ^ FOLD_B);
    return fold(h ^ FOLD_C, FOLD_A);
}
