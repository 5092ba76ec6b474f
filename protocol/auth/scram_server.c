/* scram_server.c - SCRAM, server role: a client logs in here.  See scram.h.
 *
 * Called by: the PostgreSQL codec.
 * Order of trust: nothing of a client's message is used before the whole message has been parsed;
 * the header of the first message is compared with the "c=" of the final one, so that a man in the
 * middle can change neither; a client that says it could bind to the channel but believes that we
 * could not ('y') is refused when we can, for then somebody has edited our offer. An unknown user
 * meets the same messages and the same work as a known one: the salt is derived from a secret and
 * the name, so that it stays the same from try to try, and the last step always fails. One thread
 * per structure.
 */
#include "base/base.h"

#include "protocol/auth/scram.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/random.h"
#include "protocol/auth/b64.h"
#include "protocol/auth/scram_hash.h"
#include "protocol/auth/scram_message.h"

struct str scram_server_mechanisms(bool plus)
{
    /* the terminator of each literal is the last, empty name */
    return plus ? (struct str){"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0", 34}
                : (struct str){"SCRAM-SHA-256\0", 15};
}

/* The key behind invented salts, when the caller has none: the process's hash key, stretched. */
static void default_mock_key(uint8_t key[SECRET_KEY_LEN])
{
    for (size_t i = 0; i < SECRET_KEY_LEN; i += sizeof(uint64_t)) {
        const char label[] = {
            's', 'c', 'r', 'a', 'm', ' ', 'm', 'o', 'c', 'k', (char)('0' + i / 8)};
        uint64_t part = hash_seeded(label, sizeof(label));
        memcpy(key + i, &part, sizeof(part));
    }
}

static enum status init_mock(struct scram_server *s, const struct scram_server_config *cfg,
                             int iterations)
{
    uint8_t key[SECRET_KEY_LEN], salt[SECRET_KEY_LEN], unknown[2 * SECRET_KEY_LEN];
    if (cfg->mock_key != NULL)
        memcpy(key, cfg->mock_key, sizeof(key));
    else
        default_mock_key(key);
    s->mock = true;
    random_bytes(unknown, sizeof(unknown));
    struct str user = cfg->user.n > 0 ? cfg->user : STR(" ");
    enum status st = ST_UNSUPPORTED;
    struct scram_hash h;
    scram_hash_begin(&h);
    if (scram_hash_hmac(&h, key, user, salt)) {
        struct str text = {(const char *)salt, SCRAM_SALT_LEN};
        st = secret_set_scram(&s->verifier, text, iterations, unknown, unknown + SECRET_KEY_LEN);
    }
    scram_hash_end(&h);
    mem_wipe(key, sizeof(key));
    return st;
}

static enum status init_verifier(struct scram_server *s, const struct scram_server_config *cfg)
{
    const struct secret *from = cfg->secret;
    int iterations = cfg->iterations == 0 ? SCRAM_ITERATIONS : cfg->iterations;
    if (iterations < 1 || iterations > SECRET_ITERATIONS_MAX)
        return ST_LIMIT;
    switch (from == NULL ? SECRET_NONE : from->kind) {
    case SECRET_PLAIN:
        return scram_derive_verifier(&s->verifier, secret_plain(from), iterations, cfg->salt);
    case SECRET_SCRAM:
        return secret_set_scram(&s->verifier, (struct str){(const char *)from->bytes, from->len},
                                from->iterations, from->stored_key, from->server_key);
    case SECRET_NONE:
    case SECRET_MD5:
        break;
    }
    return init_mock(s, cfg, iterations);
}

enum status scram_server_init(struct scram_server *s, const struct scram_server_config *cfg,
                              struct error *err)
{
    memset(s, 0, sizeof(*s));
    s->state = SCRAM_SERVER_FAILED;
    secret_init(&s->verifier);
    buf_init(&s->own_nonce, SCRAM_NONCE_MAX);
    buf_init(&s->binding, SCRAM_BINDING_MAX);
    buf_init(&s->expect_c, SCRAM_MESSAGE_MAX);
    buf_init(&s->transcript, SCRAM_MESSAGE_BUF_MAX);
    buf_init(&s->reply, SCRAM_MESSAGE_MAX);
    if (cfg->binding.n > SCRAM_BINDING_MAX || cfg->nonce.n > SCRAM_NONCE_MAX)
        return error_set(err, ST_LIMIT, "SCRAM: channel binding data or nonce too long");
    scram_message_put_nonce(&s->own_nonce, cfg->nonce);
    buf_put_str(&s->binding, cfg->binding);
    enum status st = init_verifier(s, cfg);
    if (st == ST_OK && (s->own_nonce.failed || s->binding.failed))
        st = ST_MEMORY;
    if (st != ST_OK)
        return error_set(err, st, "SCRAM: cannot prepare a verifier: %s", status_name(st));
    s->state = SCRAM_SERVER_START;
    return ST_OK;
}

void scram_server_fini(struct scram_server *s)
{
    secret_fini(&s->verifier);
    scram_message_wipe_buf(&s->own_nonce);
    scram_message_wipe_buf(&s->binding);
    scram_message_wipe_buf(&s->expect_c);
    scram_message_wipe_buf(&s->transcript);
    scram_message_wipe_buf(&s->reply);
    scram_keys_wipe(&s->keys);
    s->state = SCRAM_SERVER_FAILED;
}

/* Checks the GS2 header of message against the mechanism; *bare is what follows it. */
static enum status read_header(struct scram_server *s, bool plus, struct str message,
                               struct str *bare, struct error *err)
{
    char flag = message.n > 0 ? message.p[0] : 0;
    struct str header = flag == 'p' ? SCRAM_MESSAGE_BINDING : flag == 'y' ? STR("y,,") : STR("n,,");
    if (flag != 'p' && flag != 'y' && flag != 'n')
        return error_set(err, ST_INVALID, "malformed SCRAM message: channel binding flag");
    if (plus != (flag == 'p'))
        return error_set(err, ST_INVALID,
                         "SCRAM: channel binding flag does not fit the selected mechanism");
    if (flag == 'y' && buf_len(&s->binding) > 0)
        return error_set(err, ST_DENIED,
                         "SCRAM: client believes that channel binding was not offered");
    if (!str_starts(message, header)) {
        if (flag == 'p' && !str_starts(message, STR("p=tls-server-end-point,")))
            return error_set(err, ST_UNSUPPORTED, "SCRAM: unsupported channel binding type");
        header.n--;
        if (str_starts(message, header) && message.n > header.n && message.p[header.n] == 'a')
            return error_set(err, ST_UNSUPPORTED, "SCRAM: authorization identity");
        return error_set(err, ST_INVALID, "malformed SCRAM message: header");
    }
    *bare = (struct str){message.p + header.n, message.n - header.n};
    struct buf input;
    buf_init(&input, SCRAM_MESSAGE_MAX);
    buf_put_str(&input, header);
    if (flag == 'p')
        buf_put_str(&input, buf_str(&s->binding));
    scram_message_put_b64(&s->expect_c, buf_data(&input), buf_len(&input));
    bool failed = input.failed || s->expect_c.failed;
    buf_fini(&input);
    return failed ? error_set(err, ST_MEMORY, "out of memory") : ST_OK;
}

static enum status read_first(struct scram_server *s, struct str mechanism, struct str message,
                              struct str *bare, struct str *nonce, struct error *err)
{
    if (message.n > SCRAM_MESSAGE_MAX)
        return error_set(err, ST_LIMIT, "SCRAM message is longer than %d bytes", SCRAM_MESSAGE_MAX);
    bool plus = str_eq(mechanism, SCRAM_MESSAGE_PLUS) && buf_len(&s->binding) > 0;
    if (!plus && !str_eq(mechanism, SCRAM_MESSAGE_PLAIN))
        return error_set(err, ST_UNSUPPORTED, "client selected an invalid SASL mechanism");
    enum status st = read_header(s, plus, message, bare, err);
    if (st != ST_OK)
        return st;
    struct str rest = *bare, user;
    if (str_starts(rest, STR("m=")))
        return error_set(err, ST_UNSUPPORTED, "SCRAM: mandatory extension");
    /* the name is not used: the one of the start-up packet counts, as in PostgreSQL */
    if (!scram_message_need(&rest, 'n', &user) || !scram_message_need(&rest, 'r', nonce) ||
        !scram_message_nonce(*nonce) || !scram_message_skip(rest))
        return error_set(err, ST_INVALID, "malformed SCRAM message: first message");
    if (nonce->n > SCRAM_NONCE_MAX)
        return error_set(err, ST_LIMIT, "SCRAM: nonce is longer than %d", SCRAM_NONCE_MAX);
    return ST_OK;
}

enum status scram_server_first(struct scram_server *s, struct str mechanism, struct str message,
                               struct str *reply, struct error *err)
{
    struct str bare = STR_NONE, nonce = STR_NONE;
    bool in_order = s->state == SCRAM_SERVER_START;
    s->state = SCRAM_SERVER_FAILED;
    if (!in_order)
        return error_set(err, ST_INVALID, "SCRAM message out of order");
    enum status st = read_first(s, mechanism, message, &bare, &nonce, err);
    if (st != ST_OK)
        return st;
    buf_put(&s->reply, "r=", 2);
    buf_put_str(&s->reply, nonce);
    buf_put_str(&s->reply, buf_str(&s->own_nonce));
    buf_put(&s->reply, ",s=", 3);
    scram_message_put_b64(&s->reply, s->verifier.bytes, s->verifier.len);
    buf_printf(&s->reply, ",i=%d", s->verifier.iterations);

    buf_put_str(&s->transcript, bare);
    buf_put_u8(&s->transcript, ',');
    s->nonce_at = buf_len(&s->transcript) + 2;
    s->nonce_len = nonce.n + buf_len(&s->own_nonce);
    buf_put_str(&s->transcript, buf_str(&s->reply));
    if (s->reply.failed || s->transcript.failed)
        return error_set(err, ST_MEMORY, "out of memory");
    s->state = SCRAM_SERVER_SENT;
    *reply = buf_str(&s->reply);
    return ST_OK;
}

/* Parses client-final: its proof, and *signed_part, what the proof covers of it. */
static enum status read_final(struct scram_server *s, struct str message, struct str *signed_part,
                              uint8_t proof[SECRET_KEY_LEN], struct error *err)
{
    if (message.n > SCRAM_MESSAGE_MAX)
        return error_set(err, ST_LIMIT, "SCRAM message is longer than %d bytes", SCRAM_MESSAGE_MAX);
    struct str rest = message, binding = STR_NONE, nonce = STR_NONE, value = STR_NONE;
    char name = 0;
    if (!scram_message_need(&rest, 'c', &binding) || !scram_message_need(&rest, 'r', &nonce))
        return error_set(err, ST_INVALID, "malformed SCRAM message: final message");
    while (name != 'p') {
        if (!scram_message_attr(&rest, &name, &value))
            return error_set(err, ST_INVALID, "malformed SCRAM message: no proof");
        if (name == 'm')
            return error_set(err, ST_UNSUPPORTED, "SCRAM: mandatory extension");
    }
    size_t n;
    if (rest.p != NULL || !b64_decode(proof, SECRET_KEY_LEN, &n, value) || n != SECRET_KEY_LEN)
        return error_set(err, ST_INVALID, "malformed SCRAM message: proof");
    struct str sent = {buf_str(&s->transcript).p + s->nonce_at, s->nonce_len};
    if (!str_eq(nonce, sent))
        return error_set(err, ST_DENIED, "SCRAM: nonce does not match");
    if (!str_eq(binding, buf_str(&s->expect_c)))
        return error_set(err, ST_DENIED, "SCRAM: channel binding check failed");
    *signed_part = (struct str){message.p, (size_t)(value.p - message.p) - strlen(",p=")};
    return ST_OK;
}

/* true if proof shows that the client knows the password; then the keys are complete. */
static bool check_proof(struct scram_server *s, struct scram_hash *h,
                        const uint8_t proof[SECRET_KEY_LEN])
{
    uint8_t key[SECRET_KEY_LEN], stored[SECRET_KEY_LEN];
    bool ok = scram_hash_hmac(h, s->verifier.stored_key, buf_str(&s->transcript), key);
    scram_message_xor(key, proof);
    ok = ok && scram_hash_key(h, key, stored);
    ok = ok && secret_equal(stored, s->verifier.stored_key, SECRET_KEY_LEN);
    ok = ok && !s->mock;
    if (ok) {
        memcpy(s->keys.client_key, key, SECRET_KEY_LEN);
        memcpy(s->keys.server_key, s->verifier.server_key, SECRET_KEY_LEN);
        s->keys.have_client_key = s->keys.have_server_key = true;
    }
    mem_wipe(key, sizeof(key));
    return ok;
}

/* The client's proof is checked, and ours is made: the reply. */
static enum status prove(struct scram_server *s, const uint8_t proof[SECRET_KEY_LEN],
                         struct error *err)
{
    uint8_t signature[SECRET_KEY_LEN];
    struct scram_hash h;
    scram_hash_begin(&h);
    bool ok = check_proof(s, &h, proof);
    buf_reset(&s->reply);
    if (ok && scram_hash_hmac(&h, s->verifier.server_key, buf_str(&s->transcript), signature)) {
        buf_put(&s->reply, "v=", 2);
        scram_message_put_b64(&s->reply, signature, sizeof(signature));
    }
    scram_hash_end(&h);
    if (!ok)
        return error_set(err, ST_DENIED, "SCRAM: proof does not match");
    if (buf_len(&s->reply) == 0 || s->reply.failed) {
        scram_keys_wipe(&s->keys);
        return error_set(err, ST_MEMORY, "out of memory");
    }
    return ST_OK;
}

enum status scram_server_final(struct scram_server *s, struct str message, struct str *reply,
                               struct error *err)
{
    uint8_t proof[SECRET_KEY_LEN] = {0};
    struct str signed_part = STR_NONE;
    bool in_order = s->state == SCRAM_SERVER_SENT;
    s->state = SCRAM_SERVER_FAILED;
    if (!in_order)
        return error_set(err, ST_INVALID, "SCRAM message out of order");
    enum status st = read_final(s, message, &signed_part, proof, err);
    if (st != ST_OK)
        return st;
    buf_put_u8(&s->transcript, ',');
    buf_put_str(&s->transcript, signed_part);
    if (s->transcript.failed)
        return error_set(err, ST_MEMORY, "out of memory");
    st = prove(s, proof, err);
    if (st != ST_OK)
        return st;
    s->state = SCRAM_SERVER_DONE;
    *reply = buf_str(&s->reply);
    return ST_OK;
}
