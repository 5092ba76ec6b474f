/* digest.c - see digest.h.  OpenSSL's one-shot function cannot fail. */
#include "protocol/auth/digest.h"

#include "base/check.h"

#include <openssl/sha.h>

void digest_sha256(const void *p, size_t n, uint8_t out[DIGEST_BYTES])
{
    CHECK(SHA256(p, n, out) != NULL);
}
