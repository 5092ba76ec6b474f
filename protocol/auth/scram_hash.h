/* scram_hash.h - SHA-256 and HMAC-SHA-256 for the SCRAM exchanges.
 *
 * OpenSSL's one-shot functions look the algorithm up by its name for every call, which costs more
 * than the hashing.  A step of an exchange needs up to three in a row, so it looks it up once:
 * begin, any number of hashes, end.
 * Included by: scram.c, scram_server.c, scram_client.c only.  One thread per structure.
 */
#ifndef PENSTOCK_SCRAM_HASH_H
#define PENSTOCK_SCRAM_HASH_H

#include "base/base.h"
#include "base/str.h"
#include "protocol/auth/secret.h"

#include <openssl/types.h>

struct scram_hash {
    EVP_MD *md;      /* owned; NULL: the library has no SHA-256 */
    EVP_MD_CTX *ctx; /* owned */
};

void scram_hash_begin(struct scram_hash *h); /* never fails: then the hashes do */
void scram_hash_end(struct scram_hash *h);

/* out = SHA-256(in). false: the library refuses. */
bool scram_hash_key(struct scram_hash *h, const uint8_t in[SECRET_KEY_LEN],
                    uint8_t out[SECRET_KEY_LEN]) ATTR_NODISCARD;
/* out = HMAC-SHA-256(key, data); out may be key. false: the library refuses. */
bool scram_hash_hmac(struct scram_hash *h, const uint8_t key[SECRET_KEY_LEN], struct str data,
                     uint8_t out[SECRET_KEY_LEN]) ATTR_NODISCARD;

#endif
