/* digest.c - see digest.h.  OpenSSL's one-shot functions cannot fail. */
#include "protocol/auth/digest.h"

#include "base/check.h"

#include <openssl/sha.h>

void digest_sha256(const void *p, size_t n, uint8_t out[DIGEST_BYTES])
{
    CHECK(SHA256(p, n, out) != NULL);
}

void digest_sha1(const void *p, size_t n, uint8_t out[DIGEST_SHA1_BYTES])
{
    CHECK(SHA1(p, n, out) != NULL);
}
