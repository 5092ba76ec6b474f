/* scram.c - from passwords to SCRAM keys and verifiers, see scram.h.
 *
 * Called by: scram_server.c, scram_client.c, the proxy's password checks and its store of
 * verifiers. SaltedPassword = PBKDF2-HMAC-SHA-256(SASLprep(password), salt, iterations) ClientKey =
 * HMAC(SaltedPassword, "Client Key")   StoredKey = SHA-256(ClientKey) ServerKey =
 * HMAC(SaltedPassword, "Server Key") No state, any thread.  Invariant: intermediate keys are wiped
 * on every path.
 */
#include "base/base.h"

#include "protocol/auth/scram.h"

#include <openssl/evp.h>

#include "base/mem.h"
#include "base/random.h"
#include "protocol/auth/saslprep.h"
#include "protocol/auth/scram_hash.h"
#include "protocol/auth/scram_message.h"

void scram_keys_wipe(struct scram_keys *keys)
{
    mem_wipe(keys, sizeof(*keys));
    memset(keys, 0, sizeof(*keys));
}

enum status scram_derive_keys(struct scram_keys *out, struct str password, int iterations,
                              struct str salt)
{
    memset(out, 0, sizeof(*out));
    if (password.n == 0 || password.n > SECRET_PLAIN_MAX || iterations < 1 ||
        iterations > SECRET_ITERATIONS_MAX || salt.n == 0 || salt.n > SECRET_SALT_MAX)
        return ST_LIMIT;
    char *prepared;
    size_t n;
    enum status st = saslprep_password(password, &prepared, &n);
    if (st != ST_OK)
        return st;
    uint8_t salted[SECRET_KEY_LEN];
    struct scram_hash h;
    scram_hash_begin(&h);
    bool ok = PKCS5_PBKDF2_HMAC(prepared, (int)n, (const uint8_t *)salt.p, (int)salt.n, iterations,
                                EVP_sha256(), SECRET_KEY_LEN, salted) == 1 &&
              scram_hash_hmac(&h, salted, STR("Client Key"), out->client_key) &&
              scram_hash_hmac(&h, salted, STR("Server Key"), out->server_key);
    scram_hash_end(&h);
    saslprep_free(&prepared, n);
    mem_wipe(salted, sizeof(salted));
    out->have_client_key = out->have_server_key = ok;
    if (!ok)
        scram_keys_wipe(out);
    return ok ? ST_OK : ST_UNSUPPORTED;
}

static bool stored_key(const uint8_t client_key[SECRET_KEY_LEN], uint8_t stored[SECRET_KEY_LEN])
{
    struct scram_hash h;
    scram_hash_begin(&h);
    bool ok = scram_hash_key(&h, client_key, stored);
    scram_hash_end(&h);
    return ok;
}

enum status scram_derive_verifier(struct secret *out, struct str password, int iterations,
                                  struct str salt)
{
    uint8_t fresh[SCRAM_SALT_LEN], stored[SECRET_KEY_LEN];
    struct scram_keys keys;
    if (salt.n == 0) {
        random_bytes(fresh, sizeof(fresh));
        salt = (struct str){(const char *)fresh, sizeof(fresh)};
    }
    enum status st = scram_derive_keys(&keys, password, iterations, salt);
    if (st == ST_OK && !stored_key(keys.client_key, stored))
        st = ST_UNSUPPORTED;
    if (st == ST_OK)
        st = secret_set_scram(out, salt, iterations, stored, keys.server_key);
    scram_keys_wipe(&keys);
    return st;
}

bool scram_check_password(const struct secret *verifier, struct str password,
                          struct scram_keys *keys)
{
    struct scram_keys found;
    uint8_t stored[SECRET_KEY_LEN];
    if (verifier->kind != SECRET_SCRAM)
        return false;
    struct str salt = {(const char *)verifier->bytes, verifier->len};
    bool same = scram_derive_keys(&found, password, verifier->iterations, salt) == ST_OK &&
                stored_key(found.client_key, stored) &&
                secret_equal(stored, verifier->stored_key, SECRET_KEY_LEN) &&
                secret_equal(found.server_key, verifier->server_key, SECRET_KEY_LEN);
    if (same && keys != NULL)
        *keys = found;
    scram_keys_wipe(&found);
    return same;
}
