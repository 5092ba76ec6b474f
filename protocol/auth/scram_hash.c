/* scram_hash.c - SHA-256 and HMAC-SHA-256 for SCRAM; see scram_hash.h.
 *
 * HMAC (RFC 2104) is written out over the digest: H(key ^ opad, H(key ^ ipad, data)), the key being
 * shorter than a block and padded with zeroes.  What is derived from the key is wiped.
 */
#include "protocol/auth/scram_hash.h"

#include "base/mem.h"

#include <openssl/evp.h>

#define BLOCK 64 /* bytes of a block of SHA-256 */
#define INNER 0x36
#define OUTER 0x5c

void scram_hash_begin(struct scram_hash *h)
{
    h->md = EVP_MD_fetch(NULL, "SHA256", NULL);
    h->ctx = EVP_MD_CTX_new();
}

void scram_hash_end(struct scram_hash *h)
{
    EVP_MD_CTX_free(h->ctx);
    EVP_MD_free(h->md);
    *h = (struct scram_hash){NULL, NULL};
}

/* SHA-256 of a and b in a row. */
static bool digest(struct scram_hash *h, struct str a, struct str b, uint8_t out[SECRET_KEY_LEN])
{
    unsigned n = 0;
    return h->md != NULL && h->ctx != NULL && EVP_DigestInit_ex2(h->ctx, h->md, NULL) == 1 &&
           EVP_DigestUpdate(h->ctx, a.p, a.n) == 1 && EVP_DigestUpdate(h->ctx, b.p, b.n) == 1 &&
           EVP_DigestFinal_ex(h->ctx, out, &n) == 1 && n == SECRET_KEY_LEN;
}

bool scram_hash_key(struct scram_hash *h, const uint8_t in[SECRET_KEY_LEN],
                    uint8_t out[SECRET_KEY_LEN])
{
    return digest(h, (struct str){(const char *)in, SECRET_KEY_LEN}, STR(""), out);
}

static struct str pad(char block[BLOCK], const uint8_t key[SECRET_KEY_LEN], uint8_t with)
{
    memset(block, with, BLOCK);
    for (size_t i = 0; i < SECRET_KEY_LEN; i++)
        block[i] = (char)(key[i] ^ with);
    return (struct str){block, BLOCK};
}

bool scram_hash_hmac(struct scram_hash *h, const uint8_t key[SECRET_KEY_LEN], struct str data,
                     uint8_t out[SECRET_KEY_LEN])
{
    char inner[BLOCK], outer[BLOCK];
    uint8_t sum[SECRET_KEY_LEN];
    struct str first = pad(inner, key, INNER), second = pad(outer, key, OUTER);
    bool ok = digest(h, first, data, sum) &&
              digest(h, second, (struct str){(const char *)sum, sizeof(sum)}, out);
    mem_wipe(inner, sizeof(inner));
    mem_wipe(outer, sizeof(outer));
    mem_wipe(sum, sizeof(sum));
    return ok;
}
