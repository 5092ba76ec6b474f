/* pg_client_auth.c - login of a client: what is asked of it and whether its answer is right.
 *
 * Called through pg_wire.c.  A user that is unknown goes through the same exchange, with the same
 * work, and fails at its end.  The method md5 turns into SCRAM for a secret that is a verifier, as
 * PostgreSQL does it.  Passwords live in the input of the call only.
 */
#include "base/mem.h"
#include "base/random.h"
#include "protocol/auth/md5.h"
#include "protocol/auth/scram.h"
#include "protocol/pg/pg_client.h"

enum stage { ASKED_CLEAR, ASKED_MD5, ASKED_SASL, SENT_SERVER_FIRST, OVER };

struct pg_client_auth {
    enum stage stage;
    uint8_t salt[MD5_SALT_LEN];
    struct scram_server *scram; /* owned */
};

void pg_client_auth_free(struct pg_client_auth **a)
{
    if (!*a)
        return;
    if ((*a)->scram) {
        scram_server_fini((*a)->scram);
        mem_free((*a)->scram);
    }
    mem_free(*a);
    *a = NULL;
}

static void put_auth(struct outq *out, uint32_t type, struct str data)
{
    pg_frame_put_head(out, 'R', 4 + data.n);
    outq_put_be32(out, type);
    outq_put_str(out, data);
}

static enum auth_result fail(struct pg_client *c)
{
    c->phase = PG_CL_WAIT;
    if (c->auth)
        c->auth->stage = OVER;
    return AUTH_FAIL;
}

static enum auth_result pass(struct pg_client *c)
{
    c->phase = PG_CL_WAIT;
    pg_client_auth_free(&c->auth);
    return AUTH_OK;
}

static enum auth_result start_scram(struct pg_client *c, const struct wire_auth *a,
                                    struct outq *out)
{
    struct scram_server_config cfg = {.secret = a->secret,
                                      .user = a->user,
                                      .iterations = a->scram_iterations,
                                      .binding = a->channel_binding};
    c->auth->stage = ASKED_SASL;
    c->auth->scram = mem_new(sizeof *c->auth->scram);
    if (scram_server_init(c->auth->scram, &cfg, NULL) != ST_OK)
        return fail(c);
    put_auth(out, 10, scram_server_mechanisms(a->channel_binding.n > 0));
    return AUTH_MORE;
}

enum auth_result pg_client_auth_start(void *st, struct wire_auth *a, struct outq *out)
{
    struct pg_client *c = st;
    pg_client_negotiate(c, out);
    a->password = STR_NONE;
    if (a->method == AUTH_TRUST)
        return pass(c);
    pg_client_auth_free(&c->auth);
    c->auth = mem_new(sizeof *c->auth);
    c->phase = PG_CL_AUTH;
    bool verifier = a->secret && a->secret->kind == SECRET_SCRAM;
    if (a->method == AUTH_SCRAM || (a->method == AUTH_MD5 && verifier))
        return start_scram(c, a, out);
    if (a->method == AUTH_MD5) {
        c->auth->stage = ASKED_MD5;
        random_bytes(c->auth->salt, sizeof c->auth->salt);
        put_auth(out, 5, (struct str){(const char *)c->auth->salt, sizeof c->auth->salt});
        return AUTH_MORE;
    }
    c->auth->stage = ASKED_CLEAR;
    put_auth(out, 3, STR(""));
    return AUTH_MORE;
}

/* One zero-terminated text and nothing else. */
static bool read_password(struct str data, struct str *password)
{
    struct pg_reader r = pg_frame_reader(data);
    *password = pg_frame_get_z(&r);
    return pg_frame_done(&r);
}

static bool check_plain(const struct wire_auth *a, struct str password)
{
    const struct secret *s = a->secret;
    struct scram_keys unused;
    switch (s ? s->kind : SECRET_NONE) {
    case SECRET_PLAIN:
        return password.n > 0 && secret_same(secret_plain(s), password);
    case SECRET_MD5:
        return md5_check_password(s, a->user, password);
    case SECRET_SCRAM:
        return scram_check_password(s, password, a->learned);
    case SECRET_NONE:
        break;
    }
    /* spends the time that a verifier would, so that the delay does not tell who exists */
    int n = a->scram_iterations > 0 ? a->scram_iterations : SCRAM_ITERATIONS;
    if (scram_derive_keys(&unused, password, n, STR("0123456789abcdef")) == ST_OK)
        scram_keys_wipe(&unused);
    return false;
}

static enum auth_result scram_first(struct pg_client *c, struct str data, struct outq *out)
{
    struct pg_reader r = pg_frame_reader(data);
    struct str mechanism = pg_frame_get_z(&r);
    uint32_t n = pg_frame_get_u32(&r);
    /* -1, no message, does not fit either */
    struct str message = pg_frame_get_n(&r, n), reply = STR_NONE;
    if (!pg_frame_done(&r))
        return fail(c);
    if (scram_server_first(c->auth->scram, mechanism, message, &reply, NULL) != ST_OK)
        return fail(c);
    put_auth(out, 11, reply);
    c->auth->stage = SENT_SERVER_FIRST;
    return AUTH_MORE;
}

static enum auth_result scram_final(struct pg_client *c, struct wire_auth *a, struct str data,
                                    struct outq *out)
{
    struct str reply = STR_NONE;
    if (scram_server_final(c->auth->scram, data, &reply, NULL) != ST_OK)
        return fail(c);
    put_auth(out, 12, reply);
    if (a->learned)
        *a->learned = c->auth->scram->keys;
    return pass(c);
}

enum auth_result pg_client_auth_step(void *st, struct wire_auth *a, struct str data,
                                     struct outq *out)
{
    struct pg_client *c = st;
    struct str password = STR("");
    a->password = STR_NONE;
    if (!c->auth)
        return fail(c);
    switch (c->auth->stage) {
    case ASKED_SASL:
        return scram_first(c, data, out);
    case SENT_SERVER_FIRST:
        return scram_final(c, a, data, out);
    case ASKED_MD5:
        if (read_password(data, &password) &&
            md5_verify(a->secret, a->user, c->auth->salt, password))
            return pass(c);
        return fail(c);
    case ASKED_CLEAR:
        if (!read_password(data, &password))
            return fail(c);
        a->password = password;
        if (a->method == AUTH_EXTERNAL) {
            c->phase = PG_CL_WAIT; /* the verdict comes as cl_welcome or cl_error */
            return AUTH_MORE;
        }
        return check_plain(a, password) ? pass(c) : fail(c);
    case OVER:
        break;
    }
    return fail(c);
}
