/* secret.c - parses, compares and wipes stored secrets, see secret.h.
 *
 * Called by: userlist.c, scram*.c, md5.c and the proxy's credential store.  No state; a struct
 * secret may be read by any thread once it is parsed. Invariant: every path that leaves
 * secret_parse with an error has wiped what it had copied.
 */
#include "base/base.h"

#include "protocol/auth/secret.h"

#include <openssl/crypto.h>

#include "base/mem.h"
#include "protocol/auth/b64.h"

#define SCRAM_PREFIX STR("SCRAM-SHA-256$")
#define MD5_PREFIX STR("md5")

void secret_init(struct secret *s)
{
    memset(s, 0, sizeof(*s));
}

void secret_fini(struct secret *s)
{
    if (s->bytes != NULL) {
        mem_wipe(s->bytes, s->len);
        mem_free(s->bytes);
    }
    mem_wipe(s, sizeof(*s));
    secret_init(s);
}

static enum status set_bytes(struct secret *s, struct str text)
{
    s->bytes = mem_try(MAX(text.n, 1u));
    if (s->bytes == NULL)
        return ST_MEMORY;
    if (text.n > 0)
        memcpy(s->bytes, text.p, text.n);
    s->len = text.n;
    return ST_OK;
}

static bool is_md5(struct str text)
{
    if (text.n != MD5_PREFIX.n + SECRET_MD5_HEX || !str_starts(text, MD5_PREFIX))
        return false;
    for (size_t i = MD5_PREFIX.n; i < text.n; i++) {
        char c = text.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
    }
    return true;
}

static bool decode_key(uint8_t key[SECRET_KEY_LEN], struct str text)
{
    size_t n;
    return b64_decode(key, SECRET_KEY_LEN, &n, text) && n == SECRET_KEY_LEN;
}

/* rest: the text behind "SCRAM-SHA-256$" */
static enum status parse_scram(struct secret *s, struct str rest)
{
    if (str_find(rest, ':') < 0 || str_find(rest, '$') < 0)
        return ST_INVALID;
    struct str count = str_cut(&rest, ':');
    struct str salt_text = str_cut(&rest, '$');
    if (str_find(rest, ':') < 0)
        return ST_INVALID;
    struct str stored_text = str_cut(&rest, ':');
    uint8_t salt[SECRET_SALT_MAX], stored[SECRET_KEY_LEN], server[SECRET_KEY_LEN];
    size_t nsalt;
    int64_t iterations;
    enum status st = ST_INVALID;
    if (count.n > 0 && count.p[0] >= '1' && count.p[0] <= '9' &&
        str_to_i64(count, 1, SECRET_ITERATIONS_MAX, &iterations) &&
        b64_decode(salt, sizeof(salt), &nsalt, salt_text) && nsalt > 0 &&
        decode_key(stored, stored_text) && decode_key(server, rest)) {
        struct str salt_bytes = {(const char *)salt, nsalt};
        st = secret_set_scram(s, salt_bytes, (int)iterations, stored, server);
    }
    mem_wipe(stored, sizeof(stored));
    mem_wipe(server, sizeof(server));
    return st;
}

enum status secret_parse(struct secret *s, struct str text, struct error *err)
{
    if (text.n == 0)
        return ST_OK;
    if (memchr(text.p, 0, text.n) != NULL)
        return error_set(err, ST_INVALID, "secret holds a zero byte");
    if (is_md5(text)) {
        s->kind = SECRET_MD5;
        memcpy(s->md5_hex, text.p + MD5_PREFIX.n, SECRET_MD5_HEX);
        return ST_OK;
    }
    if (str_starts(text, SCRAM_PREFIX)) {
        struct str rest = {text.p + SCRAM_PREFIX.n, text.n - SCRAM_PREFIX.n};
        enum status st = parse_scram(s, rest);
        if (st == ST_INVALID)
            return error_set(err, st, "malformed SCRAM-SHA-256 verifier");
        return st == ST_OK ? st : error_set(err, st, "out of memory");
    }
    if (text.n > SECRET_PLAIN_MAX)
        return error_set(err, ST_LIMIT, "password is longer than %d bytes", SECRET_PLAIN_MAX);
    if (set_bytes(s, text) != ST_OK)
        return error_set(err, ST_MEMORY, "out of memory");
    s->kind = SECRET_PLAIN;
    return ST_OK;
}

enum status secret_set_scram(struct secret *s, struct str salt, int iterations,
                             const uint8_t stored_key[SECRET_KEY_LEN],
                             const uint8_t server_key[SECRET_KEY_LEN])
{
    if (salt.n == 0 || salt.n > SECRET_SALT_MAX || iterations < 1 ||
        iterations > SECRET_ITERATIONS_MAX)
        return ST_LIMIT;
    if (set_bytes(s, salt) != ST_OK)
        return ST_MEMORY;
    s->kind = SECRET_SCRAM;
    s->iterations = iterations;
    memcpy(s->stored_key, stored_key, SECRET_KEY_LEN);
    memcpy(s->server_key, server_key, SECRET_KEY_LEN);
    return ST_OK;
}

struct str secret_plain(const struct secret *s)
{
    if (s->kind != SECRET_PLAIN)
        return STR_NONE;
    return (struct str){(const char *)s->bytes, s->len};
}

enum status secret_format_scram(const struct secret *s, struct buf *out)
{
    if (s->kind != SECRET_SCRAM)
        return ST_UNSUPPORTED;
    char salt[B64_LEN(SECRET_SALT_MAX)], stored[B64_LEN(SECRET_KEY_LEN)],
        server[B64_LEN(SECRET_KEY_LEN)];
    b64_encode(salt, s->bytes, s->len);
    b64_encode(stored, s->stored_key, SECRET_KEY_LEN);
    b64_encode(server, s->server_key, SECRET_KEY_LEN);
    buf_put_str(out, SCRAM_PREFIX);
    buf_printf(out, "%d:", s->iterations);
    buf_put(out, salt, B64_LEN(s->len));
    buf_put_u8(out, '$');
    buf_put(out, stored, sizeof(stored));
    buf_put_u8(out, ':');
    buf_put(out, server, sizeof(server));
    return out->failed ? ST_MEMORY : ST_OK;
}

bool secret_equal(const void *a, const void *b, size_t n)
{
    return CRYPTO_memcmp(a, b, n) == 0;
}

bool secret_same(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || secret_equal(a.p, b.p, a.n));
}
