/* scram_client.c - SCRAM, client role: we log in to a server.  See scram.h.
 *
 * Called by: the PostgreSQL codec.
 * The server is not trusted before it has proved that it knows the verifier: its nonce, salt and
 * iteration count are bounded, a login is complete only after scram_client_verify, and the cache of
 * the caller is not written earlier. Two kinds of credentials: a password, from which keys are
 * derived for the salt that the server names (once per salt with a cache), or ClientKey and
 * ServerKey that a client's own login left in the server role; those fit only a server with the
 * same verifier, and any other refuses them. One thread per structure.
 */
#include "base/base.h"

#include "protocol/auth/scram.h"

#include "base/mem.h"
#include "protocol/auth/b64.h"
#include "protocol/auth/scram_hash.h"
#include "protocol/auth/scram_message.h"

static void put_escaped(struct buf *b, struct str user)
{
    for (size_t i = 0; i < user.n; i++) {
        if (user.p[i] == ',')
            buf_put(b, "=2C", 3);
        else if (user.p[i] == '=')
            buf_put(b, "=3D", 3);
        else
            buf_put_u8(b, (uint8_t)user.p[i]);
    }
}

static enum status take_credentials(struct scram_client *c, const struct scram_client_config *cfg,
                                    struct error *err)
{
    if (cfg->keys != NULL) {
        if (!cfg->keys->have_client_key || !cfg->keys->have_server_key)
            return error_set(err, ST_INVALID, "SCRAM: passed-through keys are incomplete");
        c->fixed_keys = true;
        c->keys = *cfg->keys;
        return ST_OK;
    }
    if (cfg->password.n == 0)
        return error_set(err, ST_INVALID, "SCRAM: the server asks for a password, none is known");
    if (cfg->password.n > SECRET_PLAIN_MAX)
        return error_set(err, ST_LIMIT, "password is longer than %d bytes", SECRET_PLAIN_MAX);
    c->password.bytes = mem_try(cfg->password.n);
    if (c->password.bytes == NULL)
        return error_set(err, ST_MEMORY, "out of memory");
    memcpy(c->password.bytes, cfg->password.p, cfg->password.n);
    c->password.len = cfg->password.n;
    c->password.kind = SECRET_PLAIN;
    return ST_OK;
}

enum status scram_client_init(struct scram_client *c, const struct scram_client_config *cfg,
                              struct error *err)
{
    memset(c, 0, sizeof(*c));
    c->state = SCRAM_CLIENT_FAILED;
    secret_init(&c->password);
    buf_init(&c->binding, SCRAM_BINDING_MAX);
    buf_init(&c->user, SCRAM_MESSAGE_MAX / 2);
    buf_init(&c->nonce, SCRAM_NONCE_MAX);
    buf_init(&c->header, SCRAM_MESSAGE_MAX);
    buf_init(&c->transcript, SCRAM_MESSAGE_BUF_MAX);
    buf_init(&c->reply, SCRAM_MESSAGE_MAX);
    c->cache = cfg->cache;
    c->max_iterations = cfg->max_iterations == 0 ? SECRET_ITERATIONS_MAX : cfg->max_iterations;
    if (cfg->binding.n > SCRAM_BINDING_MAX || cfg->nonce.n > SCRAM_NONCE_MAX ||
        cfg->user.n > SCRAM_MESSAGE_MAX / 6 || c->max_iterations < 1 ||
        c->max_iterations > SECRET_ITERATIONS_MAX)
        return error_set(err, ST_LIMIT, "SCRAM: configured value out of range");
    enum status st = take_credentials(c, cfg, err);
    if (st != ST_OK)
        return st;
    buf_put_str(&c->binding, cfg->binding);
    put_escaped(&c->user, cfg->user);
    scram_message_put_nonce(&c->nonce, cfg->nonce);
    if (c->binding.failed || c->user.failed || c->nonce.failed)
        return error_set(err, ST_MEMORY, "out of memory");
    c->state = SCRAM_CLIENT_START;
    return ST_OK;
}

void scram_client_fini(struct scram_client *c)
{
    secret_fini(&c->password);
    scram_keys_wipe(&c->keys);
    mem_wipe(c->signature, sizeof(c->signature));
    scram_message_wipe_buf(&c->binding);
    scram_message_wipe_buf(&c->user);
    scram_message_wipe_buf(&c->nonce);
    scram_message_wipe_buf(&c->header);
    scram_message_wipe_buf(&c->transcript);
    scram_message_wipe_buf(&c->reply);
    c->cache = NULL;
    c->state = SCRAM_CLIENT_FAILED;
}

/* Looks for our two names in the server's list. false: the list is malformed. */
static bool read_offer(struct str offered, bool *plain, bool *plus)
{
    *plain = *plus = false;
    for (;;) {
        ptrdiff_t end = str_find(offered, '\0');
        if (end < 0)
            return false;
        if (end == 0)
            return offered.n == 1;
        struct str name = str_cut(&offered, '\0');
        *plain = *plain || str_eq(name, SCRAM_MESSAGE_PLAIN);
        *plus = *plus || str_eq(name, SCRAM_MESSAGE_PLUS);
    }
}

static enum status choose(struct scram_client *c, struct str offered, struct str *mechanism,
                          struct error *err)
{
    bool plain, plus, can_bind = buf_len(&c->binding) > 0;
    if (!read_offer(offered, &plain, &plus))
        return error_set(err, ST_INVALID, "malformed list of SASL mechanisms");
    if (plus && can_bind) {
        *mechanism = SCRAM_MESSAGE_PLUS;
        buf_put_str(&c->header, SCRAM_MESSAGE_BINDING);
        return ST_OK;
    }
    if (!plain)
        return error_set(err, ST_UNSUPPORTED, "server offers no SASL mechanism that can be used");
    *mechanism = SCRAM_MESSAGE_PLAIN;
    buf_put_str(&c->header, can_bind ? STR("y,,") : STR("n,,"));
    return ST_OK;
}

enum status scram_client_first(struct scram_client *c, struct str offered, struct str *mechanism,
                               struct str *reply, struct error *err)
{
    bool in_order = c->state == SCRAM_CLIENT_START;
    c->state = SCRAM_CLIENT_FAILED;
    if (!in_order)
        return error_set(err, ST_INVALID, "SCRAM message out of order");
    enum status st = choose(c, offered, mechanism, err);
    if (st != ST_OK)
        return st;
    buf_put(&c->transcript, "n=", 2);
    buf_put_str(&c->transcript, buf_str(&c->user));
    buf_put(&c->transcript, ",r=", 3);
    buf_put_str(&c->transcript, buf_str(&c->nonce));
    buf_put_str(&c->reply, buf_str(&c->header));
    buf_put_str(&c->reply, buf_str(&c->transcript));
    if (str_eq(*mechanism, SCRAM_MESSAGE_PLUS))
        buf_put_str(&c->header, buf_str(&c->binding));
    if (c->transcript.failed || c->reply.failed || c->header.failed)
        return error_set(err, ST_MEMORY, "out of memory");
    c->state = SCRAM_CLIENT_SENT_FIRST;
    *reply = buf_str(&c->reply);
    return ST_OK;
}

/* Parses server-first; salt and iterations go into c. */
static enum status read_server_first(struct scram_client *c, struct str message, struct str *nonce,
                                     struct error *err)
{
    if (message.n > SCRAM_MESSAGE_MAX)
        return error_set(err, ST_LIMIT, "SCRAM message is longer than %d bytes", SCRAM_MESSAGE_MAX);
    struct str rest = message, salt, count, own = buf_str(&c->nonce);
    int64_t iterations;
    if (str_starts(rest, STR("m=")))
        return error_set(err, ST_UNSUPPORTED, "SCRAM: mandatory extension");
    if (!scram_message_need(&rest, 'r', nonce) || !scram_message_need(&rest, 's', &salt) ||
        !scram_message_need(&rest, 'i', &count) || rest.p != NULL)
        return error_set(err, ST_INVALID, "malformed SCRAM message from the server");
    if (!scram_message_nonce(*nonce) || !str_starts(*nonce, own) || nonce->n == own.n)
        return error_set(err, ST_INVALID, "SCRAM: the server's nonce is invalid");
    if (nonce->n - own.n > SCRAM_NONCE_MAX)
        return error_set(err, ST_LIMIT, "SCRAM: nonce is longer than %d", SCRAM_NONCE_MAX);
    if (!b64_decode(c->salt, sizeof(c->salt), &c->salt_len, salt) || c->salt_len == 0)
        return error_set(err, ST_INVALID, "SCRAM: the server's salt is invalid");
    if (count.n == 0 || count.p[0] < '1' || count.p[0] > '9' ||
        !str_to_i64(count, 1, c->max_iterations, &iterations))
        return error_set(err, ST_INVALID, "SCRAM: the server's iteration count is not in 1 to %d",
                         c->max_iterations);
    c->iterations = (int)iterations;
    return ST_OK;
}

static bool cache_fits(const struct scram_client *c)
{
    const struct scram_client_cache *k = c->cache;
    return k != NULL && k->iterations == c->iterations && k->salt_len == c->salt_len &&
           memcmp(k->salt, c->salt, c->salt_len) == 0;
}

static enum status find_keys(struct scram_client *c)
{
    if (c->fixed_keys)
        return ST_OK;
    if (cache_fits(c)) {
        memcpy(c->keys.client_key, c->cache->client_key, SECRET_KEY_LEN);
        memcpy(c->keys.server_key, c->cache->server_key, SECRET_KEY_LEN);
        c->keys.have_client_key = c->keys.have_server_key = true;
        return ST_OK;
    }
    struct str salt = {(const char *)c->salt, c->salt_len};
    return scram_derive_keys(&c->keys, secret_plain(&c->password), c->iterations, salt);
}

/* Computes our proof and the signature that the server owes us. */
static bool make_proof(struct scram_client *c, uint8_t proof[SECRET_KEY_LEN])
{
    uint8_t stored[SECRET_KEY_LEN];
    struct str text = buf_str(&c->transcript);
    struct scram_hash h;
    scram_hash_begin(&h);
    bool ok = scram_hash_key(&h, c->keys.client_key, stored) &&
              scram_hash_hmac(&h, stored, text, proof) &&
              scram_hash_hmac(&h, c->keys.server_key, text, c->signature);
    scram_hash_end(&h);
    if (ok)
        scram_message_xor(proof, c->keys.client_key);
    mem_wipe(stored, sizeof(stored));
    return ok;
}

enum status scram_client_final(struct scram_client *c, struct str message, struct str *reply,
                               struct error *err)
{
    struct str nonce = STR_NONE;
    uint8_t proof[SECRET_KEY_LEN];
    bool in_order = c->state == SCRAM_CLIENT_SENT_FIRST;
    c->state = SCRAM_CLIENT_FAILED;
    if (!in_order)
        return error_set(err, ST_INVALID, "SCRAM message out of order");
    enum status st = read_server_first(c, message, &nonce, err);
    if (st != ST_OK)
        return st;
    st = find_keys(c);
    if (st != ST_OK)
        return error_set(err, st, "SCRAM: cannot derive keys: %s", status_name(st));
    buf_reset(&c->reply);
    buf_put(&c->reply, "c=", 2);
    scram_message_put_b64(&c->reply, buf_data(&c->header), buf_len(&c->header));
    buf_put(&c->reply, ",r=", 3);
    buf_put_str(&c->reply, nonce);
    buf_put_u8(&c->transcript, ',');
    buf_put_str(&c->transcript, message);
    buf_put_u8(&c->transcript, ',');
    buf_put_str(&c->transcript, buf_str(&c->reply));
    if (c->reply.failed || c->transcript.failed)
        return error_set(err, ST_MEMORY, "out of memory");
    if (!make_proof(c, proof))
        return error_set(err, ST_UNSUPPORTED, "SCRAM: HMAC-SHA-256 is not available");
    buf_put(&c->reply, ",p=", 3);
    scram_message_put_b64(&c->reply, proof, sizeof(proof));
    if (c->reply.failed)
        return error_set(err, ST_MEMORY, "out of memory");
    c->state = SCRAM_CLIENT_SENT_FINAL;
    *reply = buf_str(&c->reply);
    return ST_OK;
}

static void fill_cache(struct scram_client *c)
{
    if (c->cache == NULL || c->fixed_keys)
        return;
    memcpy(c->cache->salt, c->salt, c->salt_len);
    c->cache->salt_len = c->salt_len;
    c->cache->iterations = c->iterations;
    memcpy(c->cache->client_key, c->keys.client_key, SECRET_KEY_LEN);
    memcpy(c->cache->server_key, c->keys.server_key, SECRET_KEY_LEN);
}

enum status scram_client_verify(struct scram_client *c, struct str message, struct error *err)
{
    bool in_order = c->state == SCRAM_CLIENT_SENT_FINAL;
    c->state = SCRAM_CLIENT_FAILED;
    if (!in_order)
        return error_set(err, ST_INVALID, "SCRAM message out of order");
    if (message.n > SCRAM_MESSAGE_MAX)
        return error_set(err, ST_LIMIT, "SCRAM message is longer than %d bytes", SCRAM_MESSAGE_MAX);
    struct str rest = message, value;
    char name;
    if (!scram_message_attr(&rest, &name, &value) || rest.p != NULL)
        return error_set(err, ST_INVALID, "malformed SCRAM message from the server");
    if (name == 'e')
        return error_set(err, ST_DENIED, "SCRAM: the server refuses: %.*s", (int)MIN(value.n, 64u),
                         value.p);
    uint8_t got[SECRET_KEY_LEN];
    size_t n;
    if (name != 'v' || !b64_decode(got, sizeof(got), &n, value) || n != sizeof(got))
        return error_set(err, ST_INVALID, "malformed SCRAM message from the server");
    if (!secret_equal(got, c->signature, sizeof(got)))
        return error_set(err, ST_DENIED, "SCRAM: the server did not prove that it knows the user");
    fill_cache(c);
    c->state = SCRAM_CLIENT_DONE;
    return ST_OK;
}

bool scram_client_done(const struct scram_client *c)
{
    return c->state == SCRAM_CLIENT_DONE;
}

void scram_client_cache_wipe(struct scram_client_cache *cache)
{
    mem_wipe(cache, sizeof(*cache));
    memset(cache, 0, sizeof(*cache));
}
