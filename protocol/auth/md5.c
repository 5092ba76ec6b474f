/* md5.c - PostgreSQL's md5 password exchange, see md5.h.
 *
 * Called by: the PostgreSQL codec and the proxy's password checks.  No state, any thread.
 * Invariant: hashes that are worth stealing are wiped from the stack.
 */
#include "base/base.h"

#include "protocol/auth/md5.h"

#include <openssl/evp.h>

#include "base/mem.h"

/* hex(md5(a b)) into 32 characters */
static bool hash_two(struct str a, struct str b, char hex[SECRET_MD5_HEX])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t sum[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_md5(), NULL) == 1 &&
              EVP_DigestUpdate(ctx, a.p, a.n) == 1 && EVP_DigestUpdate(ctx, b.p, b.n) == 1 &&
              EVP_DigestFinal_ex(ctx, sum, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    for (size_t i = 0; ok && i < SECRET_MD5_HEX / 2; i++) {
        hex[2 * i] = digits[sum[i] >> 4];
        hex[2 * i + 1] = digits[sum[i] & 15];
    }
    mem_wipe(sum, sizeof(sum));
    return ok;
}

static bool put_text(struct str a, struct str b, char out[MD5_TEXT_LEN + 1])
{
    memcpy(out, "md5", 3);
    out[MD5_TEXT_LEN] = 0;
    return hash_two(a, b, out + 3);
}

bool md5_hash_password(struct str password, struct str user, char out[MD5_TEXT_LEN + 1])
{
    return put_text(password, user, out);
}

enum status md5_response(const struct secret *s, struct str user, const uint8_t salt[MD5_SALT_LEN],
                         char out[MD5_TEXT_LEN + 1])
{
    char inner[MD5_TEXT_LEN + 1];
    enum status st = ST_DENIED;
    switch (s->kind) {
    case SECRET_PLAIN:
        st = md5_hash_password(secret_plain(s), user, inner) ? ST_OK : ST_UNSUPPORTED;
        break;
    case SECRET_MD5:
        memcpy(inner + 3, s->md5_hex, SECRET_MD5_HEX);
        st = ST_OK;
        break;
    case SECRET_NONE:
    case SECRET_SCRAM:
        break;
    }
    struct str hash = {inner + 3, SECRET_MD5_HEX};
    struct str salt_bytes = {(const char *)salt, MD5_SALT_LEN};
    if (st == ST_OK && !put_text(hash, salt_bytes, out))
        st = ST_UNSUPPORTED;
    mem_wipe(inner, sizeof(inner));
    return st;
}

bool md5_verify(const struct secret *s, struct str user, const uint8_t salt[MD5_SALT_LEN],
                struct str response)
{
    /* an unknown user costs what a plain secret costs */
    static const char nobody[] = "no password";
    struct secret stand_in = {.kind = SECRET_MD5};
    bool known = s != NULL && (s->kind == SECRET_PLAIN || s->kind == SECRET_MD5);
    char want[MD5_TEXT_LEN + 1];
    if (!known) {
        if (!md5_hash_password(STR(nobody), user, want))
            return false;
        memcpy(stand_in.md5_hex, want + 3, SECRET_MD5_HEX);
    }
    if (md5_response(known ? s : &stand_in, user, salt, want) != ST_OK)
        return false;
    bool same = secret_same((struct str){want, MD5_TEXT_LEN}, response);
    mem_wipe(want, sizeof(want));
    return same && known;
}

bool md5_check_password(const struct secret *s, struct str user, struct str password)
{
    char text[MD5_TEXT_LEN + 1];
    if (s->kind != SECRET_MD5 || password.n == 0 || !md5_hash_password(password, user, text))
        return false;
    bool same = secret_equal(text + 3, s->md5_hex, SECRET_MD5_HEX);
    mem_wipe(text, sizeof(text));
    return same;
}
