/* pg_server_login.c - start-up of a server connection: TLS request, authentication, first idle
 * marker.
 *
 * Called through pg_wire.c.  The server may be hostile: lengths are checked before anything is
 * waited for, every message of the login is short, and AuthenticationOk in the middle of a SCRAM
 * exchange is refused, for it would skip the server's proof.  What only the login needs is on the
 * heap and goes with it.
 */
#include "base/mem.h"
#include "protocol/auth/md5.h"
#include "protocol/auth/scram.h"
#include "protocol/pg/pg_error.h"
#include "protocol/pg/pg_frame.h"
#include "protocol/pg/pg_server.h"

#define CODE_TLS 80877103u
#define VERSION_3_2 ((3u << 16) | 2u)
#define AUTH_MESSAGE_MAX 16384 /* of the server, before it is trusted */

enum auth_type {
    AT_OK = 0,
    AT_CLEAR = 3,
    AT_MD5 = 5,
    AT_SASL = 10,
    AT_SASL_MORE = 11,
    AT_SASL_END = 12
};

struct pg_server_login {
    struct wire_key key;
    struct scram_client *scram; /* owned; once the server has asked for it */
    struct str user;            /* of the target; owned copy */
};

static void scram_drop(struct pg_server_login *l)
{
    if (!l->scram)
        return;
    scram_client_fini(l->scram);
    mem_free(l->scram);
    l->scram = NULL;
}

void pg_server_login_free(struct pg_server_login **l)
{
    if (!*l)
        return;
    scram_drop(*l);
    mem_wipe(&(*l)->key, sizeof((*l)->key));
    mem_free(*l);
    *l = NULL;
}

void pg_server_tls_request(void *st, struct outq *out)
{
    struct pg_server *s = st;
    outq_put_be32(out, 8);
    outq_put_be32(out, CODE_TLS);
    s->phase = PG_SV_TLS;
}

static size_t pair_len(struct str name, struct str value)
{
    return pg_frame_clean(name).n + pg_frame_clean(value).n + 2;
}

static void put_pair(struct outq *out, struct str name, struct str value)
{
    pg_frame_put_z(out, name);
    pg_frame_put_z(out, value);
}

void pg_server_open(void *st, const struct wire_target *t, struct outq *out)
{
    struct pg_server *s = st;
    size_t n = 8 + pair_len(STR("user"), t->user) + pair_len(STR("database"), t->database) + 1;
    if (t->replication)
        n += pair_len(STR("replication"), t->replication_mode);
    for (int i = 0; i < t->nvars; i++)
        if (t->vars[i].name.n > 0) /* an empty name would end the packet */
            n += pair_len(t->vars[i].name, t->vars[i].value);
    outq_put_be32(out, (uint32_t)n);
    outq_put_be32(out, VERSION_3_2);
    put_pair(out, STR("user"), t->user);
    put_pair(out, STR("database"), t->database);
    if (t->replication)
        put_pair(out, STR("replication"), t->replication_mode);
    for (int i = 0; i < t->nvars; i++)
        if (t->vars[i].name.n > 0)
            put_pair(out, t->vars[i].name, t->vars[i].value);
    outq_put_u8(out, 0);
    pg_server_login_free(&s->login);
    s->login = mem_new(sizeof *s->login + t->user.n);
    char *copy = (char *)(s->login + 1);
    if (t->user.n > 0)
        memcpy(copy, t->user.p, t->user.n);
    s->login->user = (struct str){copy, t->user.n};
    s->phase = PG_SV_LOGIN;
}

/* ---- reading --------------------------------------------------------------------------------- */

static void on_tls_answer(struct pg_server *s, struct str in, struct wire_server_event *ev)
{
    if (in.n == 0) {
        ev->kind = SV_MORE;
        ev->need = 1;
        return;
    }
    if (in.p[0] != 'S' && in.p[0] != 'N') {
        pg_server_bad(ev, "unexpected answer to the TLS request");
        return;
    }
    ev->kind = SV_TLS;
    ev->tls = in.p[0] == 'S';
    ev->consumed = 1;
    s->phase = PG_SV_NEW;
}

static void on_auth(struct pg_server *s, struct str body, struct wire_server_event *ev)
{
    struct pg_reader r = pg_frame_reader(body);
    uint32_t type = pg_frame_get_u32(&r);
    if (r.bad || s->phase != PG_SV_LOGIN) {
        pg_server_bad(ev, "unexpected authentication message");
        return;
    }
    if (type != AT_OK) {
        ev->kind = SV_AUTH;
        ev->data = body;
        return;
    }
    if (s->login->scram && !scram_client_done(s->login->scram)) {
        pg_server_bad(ev, "server ends SCRAM without its proof");
        return;
    }
    scram_drop(s->login);
    s->phase = PG_SV_BOOT;
    ev->kind = SV_MORE;
}

static void on_login_error(struct pg_server *s, struct str body, struct str message,
                           struct wire_server_event *ev)
{
    struct pg_error e;
    pg_error_read(body, &e);
    s->error = SE_NONE;
    pg_server_note_error(s, &e);
    pg_server_tell_error(s, ev);
    ev->kind = SV_FATAL;
    ev->out = message;
    s->phase = PG_SV_DEAD;
}

static void on_key(struct pg_server *s, struct str body, struct wire_server_event *ev)
{
    struct wire_key *k = &s->login->key;
    if (body.n < 8 || body.n > sizeof k->b) {
        pg_server_bad(ev, "cancel key of impossible length");
        return;
    }
    k->n = (uint16_t)body.n;
    memcpy(k->b, body.p, body.n);
    ev->kind = SV_MORE;
}

static void on_version(struct str body, struct wire_server_event *ev)
{
    struct pg_reader r = pg_frame_reader(body);
    uint32_t version = pg_frame_get_u32(&r);
    /* the manual and the servers differ */
    uint32_t minor = version >> 16 == 3 ? version & 0xffff : version;
    if (r.bad || minor > 2) {
        pg_server_bad(ev, "server wants a protocol that is not spoken here");
        return;
    }
    ev->kind = SV_MORE; /* nothing between 3.0 and 3.2 matters but the key, and that is opaque */
}

static void on_first_ready(struct pg_server *s, struct str body, struct wire_server_event *ev)
{
    if (body.n != 1 || body.p[0] != 'I') {
        pg_server_bad(ev, "malformed first idle marker");
        return;
    }
    ev->kind = SV_READY;
    ev->tx = TX_IDLE;
    ev->key = s->login->key;
    pg_server_login_free(&s->login);
    s->phase = PG_SV_RUN;
}

static void on_message(struct pg_server *s, char type, struct str message,
                       struct wire_server_event *ev)
{
    struct str body = pg_frame_slice(message, PG_FRAME_HEAD, message.n);
    bool boot = s->phase == PG_SV_BOOT;
    ev->consumed = message.n;
    if (type == 'R')
        on_auth(s, body, ev);
    else if (type == 'E')
        on_login_error(s, body, message, ev);
    else if (type == 'N') {
        ev->kind = SV_NOTICE;
        ev->out = message;
    } else if (type == 'v' && !boot)
        on_version(body, ev);
    else if (type == 'K' && boot)
        on_key(s, body, ev);
    else if (type == 'Z' && boot)
        on_first_ready(s, body, ev);
    else if (type == 'S' && boot && pg_server_read_var(body, &ev->var))
        ev->kind = SV_VAR;
    else
        pg_server_bad(ev, "unexpected message during login");
}

void pg_server_login_feed(struct pg_server *s, struct str in, struct wire_server_event *ev)
{
    if (s->phase == PG_SV_TLS) {
        on_tls_answer(s, in, ev);
        return;
    }
    if (s->phase == PG_SV_NEW) {
        ev->kind = SV_MORE;
        if (in.n > 0)
            pg_server_bad(ev, "server talks before it was asked");
        return;
    }
    size_t done = 0;
    do { /* messages that mean nothing to the core are not events */
        struct pg_frame f;
        enum pg_frame_result r = pg_frame_read(in, done, AUTH_MESSAGE_MAX, &f);
        if (r == PG_FRAME_BAD) {
            pg_server_bad(ev, "malformed message during login");
            break;
        }
        if (r == PG_FRAME_SHORT || f.total > in.n - done) {
            ev->kind = SV_MORE;
            ev->need = r == PG_FRAME_SHORT ? PG_FRAME_HEAD : f.total;
            break;
        }
        on_message(s, f.type, pg_frame_slice(in, done, done + f.total), ev);
        done += f.total;
    } while (ev->kind == SV_MORE);
    ev->consumed = done;
}

/* ---- answering ------------------------------------------------------------------------------- */

static enum auth_result fail(struct error *err, const char *text)
{
    (void)error_set(err, ST_DENIED, "%s", text);
    return AUTH_FAIL;
}

static enum auth_result answer_clear(const struct wire_cred *c, struct outq *out, struct error *err)
{
    if (!c->secret || c->secret->kind != SECRET_PLAIN)
        return fail(err, "the server wants a clear-text password, and none is known");
    struct str pw = secret_plain(c->secret);
    pg_frame_put_head(out, 'p', pw.n + 1);
    outq_put_str(out, pw);
    outq_put_u8(out, 0);
    return AUTH_MORE;
}

static enum auth_result answer_md5(const struct wire_cred *c, struct str user, struct pg_reader *r,
                                   struct outq *out, struct error *err)
{
    struct str salt = pg_frame_get_n(r, MD5_SALT_LEN);
    if (!pg_frame_done(r))
        return fail(err, "malformed md5 request of the server");
    if (!c->secret)
        return fail(err, "the server wants an md5 password, and none is known");
    uint8_t bytes[MD5_SALT_LEN];
    char text[MD5_TEXT_LEN + 1];
    memcpy(bytes, salt.p, sizeof bytes);
    if (md5_response(c->secret, user, bytes, text) != ST_OK)
        return fail(err, "the server wants md5, which the stored secret cannot answer");
    pg_frame_put_head(out, 'p', sizeof text);
    outq_put(out, text, sizeof text);
    mem_wipe(text, sizeof text);
    return AUTH_MORE;
}

static enum auth_result scram_start(struct pg_server_login *l, const struct wire_cred *c,
                                    struct str offered, struct outq *out, struct error *err)
{
    if (l->scram)
        return fail(err, "the server starts SCRAM twice");
    struct scram_client_config cfg = {.binding = c->channel_binding, .cache = c->cache};
    bool plain = c->secret && c->secret->kind == SECRET_PLAIN;
    if (!plain && !c->keys)
        return fail(err, "the server wants SCRAM, and neither a password nor keys are known");
    cfg.password = plain ? secret_plain(c->secret) : STR_NONE;
    cfg.keys = plain ? NULL : c->keys;
    l->scram = mem_new(sizeof *l->scram);
    struct str mechanism = STR_NONE, reply = STR_NONE;
    if (scram_client_init(l->scram, &cfg, err) != ST_OK)
        return AUTH_FAIL;
    if (scram_client_first(l->scram, offered, &mechanism, &reply, err) != ST_OK)
        return AUTH_FAIL;
    pg_frame_put_head(out, 'p', mechanism.n + 1 + 4 + reply.n);
    pg_frame_put_z(out, mechanism);
    outq_put_be32(out, (uint32_t)reply.n);
    outq_put_str(out, reply);
    return AUTH_MORE;
}

static enum auth_result scram_step(struct pg_server_login *l, bool end, struct str message,
                                   struct outq *out, struct error *err)
{
    if (!l->scram)
        return fail(err, "SCRAM message without an exchange");
    if (end)
        return scram_client_verify(l->scram, message, err) == ST_OK ? AUTH_MORE : AUTH_FAIL;
    struct str reply = STR_NONE;
    if (scram_client_final(l->scram, message, &reply, err) != ST_OK)
        return AUTH_FAIL;
    pg_frame_put_head(out, 'p', reply.n);
    outq_put_str(out, reply);
    return AUTH_MORE;
}

enum auth_result pg_server_auth(void *st, const struct wire_cred *c, struct str data,
                                struct outq *out, struct error *err)
{
    struct pg_server *s = st;
    struct pg_server_login *l = s->login;
    struct pg_reader r = pg_frame_reader(data);
    uint32_t type = pg_frame_get_u32(&r);
    if (!l || r.bad)
        return fail(err, "authentication message outside of a login");
    switch (type) {
    case AT_CLEAR:
        return answer_clear(c, out, err);
    case AT_MD5:
        return answer_md5(c, c->user.n > 0 ? c->user : l->user, &r, out, err);
    case AT_SASL:
        return scram_start(l, c, pg_frame_get_rest(&r), out, err);
    case AT_SASL_MORE:
    case AT_SASL_END:
        return scram_step(l, type == AT_SASL_END, pg_frame_get_rest(&r), out, err);
    default:
        (void)error_set(err, ST_UNSUPPORTED, "the server wants authentication of type %u",
                        (unsigned)type);
        return AUTH_FAIL;
    }
}
