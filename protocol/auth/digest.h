/* digest.h - SHA-256 (and SHA-1) of some bytes.
 *
 * Called by the result cache, for what must be the same in every process and hard to collide. Any
 * thread.
 */
#ifndef PENSTOCK_DIGEST_H
#define PENSTOCK_DIGEST_H

#include "base/base.h"

#define DIGEST_BYTES 32

void digest_sha256(const void *p, size_t n, uint8_t out[DIGEST_BYTES]);

/* SHA-1, only where another program wants it as a name (Redis' scripts). */
#define DIGEST_SHA1_BYTES 20
void digest_sha1(const void *p, size_t n, uint8_t out[DIGEST_SHA1_BYTES]);

#endif
