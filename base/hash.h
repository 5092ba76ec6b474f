/* hash.h - SipHash-2-4 for tables that peers fill, and a fast content hash.
 *
 * hash_seeded is keyed with a secret drawn once per process by hash_seed_init (main, before threads
 * start); hash_bytes is not secret and only for tables whose lookup compares the full key anyway.
 * Source: SipHash, Aumasson and Bernstein, 2012.
 */
#ifndef PENSTOCK_HASH_H
#define PENSTOCK_HASH_H

#include "base/base.h"

void hash_seed_init(void);
uint64_t hash_siphash(const uint8_t key[16], const void *p, size_t n);
uint64_t hash_seeded(const void *p, size_t n);
uint64_t hash_bytes(const void *p, size_t n, uint64_t seed); /* about 1 ns per 8 bytes */

#endif
