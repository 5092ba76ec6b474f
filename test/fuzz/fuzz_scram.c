/* fuzz_scram.c - libFuzzer target: both SCRAM roles.
 *
 * The first byte chooses what is fed:
 *   0  server role: the rest, cut at the first newline, is client-first and client-final
 *   1  client role: server-first and server-final likewise
 *   2  both roles talk; the rest is triples (message, position, XOR) of changes on the way
 *   3  the rest is a stored secret
 *   4  the rest is a password for SASLprep
 * Bit 7 of it: with channel binding.  Invariants: hostile input never authenticates; a conversation
 * with any effective change never satisfies both sides; one without changes always does.
 */
#include "base/base.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/str.h"
#include "protocol/auth/saslprep.h"
#include "protocol/auth/scram.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BINDING STR("certificate hash")

static void make_verifier(struct secret *s)
{
    secret_init(s);
    CHECK(scram_derive_verifier(s, STR("pencil"), 1, STR("0123456789abcdef")) == ST_OK);
}

static void start_server(struct scram_server *s, bool bind)
{
    struct secret secret;
    make_verifier(&secret);
    struct scram_server_config cfg = {
        .secret = &secret, .binding = bind ? BINDING : STR_NONE, .nonce = STR("server")};
    CHECK(scram_server_init(s, &cfg, NULL) == ST_OK);
    secret_fini(&secret);
}

static void start_client(struct scram_client *c, bool bind, struct str *mechanism,
                         struct str *first)
{
    /* few iterations: a fuzzer would find the slowest count at once */
    struct scram_client_config cfg = {.password = STR("pencil"),
                                      .binding = bind ? BINDING : STR_NONE,
                                      .nonce = STR("client"),
                                      .max_iterations = 3};
    CHECK(scram_client_init(c, &cfg, NULL) == ST_OK);
    CHECK(scram_client_first(c, scram_server_mechanisms(bind), mechanism, first, NULL) == ST_OK);
}

static void feed_server(struct str input, bool bind)
{
    struct scram_server s;
    struct error err;
    struct str reply, first = str_cut(&input, '\n');
    start_server(&s, bind);
    struct str mechanism = bind ? STR("SCRAM-SHA-256-PLUS") : STR("SCRAM-SHA-256");
    if (scram_server_first(&s, mechanism, first, &reply, &err) == ST_OK)
        CHECK(scram_server_final(&s, input, &reply, &err) != ST_OK);
    CHECK(s.state != SCRAM_SERVER_DONE && !s.keys.have_client_key);
    scram_server_fini(&s);
}

static void feed_client(struct str input, bool bind)
{
    struct scram_client c;
    struct error err;
    struct str mechanism, reply, first = str_cut(&input, '\n');
    start_client(&c, bind, &mechanism, &reply);
    if (scram_client_final(&c, first, &reply, &err) == ST_OK)
        CHECK(scram_client_verify(&c, input, &err) != ST_OK);
    CHECK(!scram_client_done(&c));
    scram_client_fini(&c);
}

/* A heap copy of message number i, changed as the input says; *changed becomes true if it differs.
 */
static struct str carry(struct str sent, uint8_t i, struct str changes, bool *changed)
{
    char *copy = mem_copy(sent.p, sent.n);
    for (size_t k = 0; k + 2 < changes.n; k += 3) {
        if ((changes.p[k] & 3) == i)
            copy[(uint8_t)changes.p[k + 1] % sent.n] ^= changes.p[k + 2];
    }
    *changed = *changed || memcmp(copy, sent.p, sent.n) != 0;
    return (struct str){copy, sent.n};
}

static void drop(struct str s)
{
    mem_free((void *)(uintptr_t)s.p);
}

static void talk(struct str changes, bool bind)
{
    struct scram_server s;
    struct scram_client c;
    struct str mechanism, text;
    bool changed = false, server_ok = false, client_ok = false;
    start_server(&s, bind);
    start_client(&c, bind, &mechanism, &text);
    struct str m0 = carry(text, 0, changes, &changed), m1 = STR_NONE, m2 = STR_NONE, m3 = STR_NONE;
    if (scram_server_first(&s, mechanism, m0, &text, NULL) == ST_OK) {
        m1 = carry(text, 1, changes, &changed);
        if (scram_client_final(&c, m1, &text, NULL) == ST_OK) {
            m2 = carry(text, 2, changes, &changed);
            server_ok = scram_server_final(&s, m2, &text, NULL) == ST_OK;
            CHECK(server_ok == !changed);
        }
    }
    if (server_ok) {
        m3 = carry(text, 3, changes, &changed);
        client_ok = scram_client_verify(&c, m3, NULL) == ST_OK;
    }
    CHECK(client_ok == !changed && client_ok == scram_client_done(&c));
    drop(m0);
    drop(m1);
    drop(m2);
    drop(m3);
    scram_client_fini(&c);
    scram_server_fini(&s);
}

static void parse_secret(struct str input)
{
    struct secret s;
    struct buf out;
    secret_init(&s);
    buf_init(&out, 4096);
    if (secret_parse(&s, input, NULL) == ST_OK && s.kind == SECRET_SCRAM) {
        /* a verifier has one text only, but for leading zeros, which are refused */
        CHECK(secret_format_scram(&s, &out) == ST_OK);
        CHECK(str_eq(buf_str(&out), input));
    }
    buf_fini(&out);
    secret_fini(&s);
}

static void prepare(struct str input)
{
    char *out = NULL;
    size_t n;
    CHECK(saslprep_password(input, &out, &n) == ST_OK);
    CHECK(out[n] == 0);
    saslprep_free(&out, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct str rest = {(const char *)data + 1, size - 1};
    bool bind = data[0] & 0x80;
    switch ((data[0] & 0x7f) % 5) {
    case 0:
        feed_server(rest, bind);
        break;
    case 1:
        feed_client(rest, bind);
        break;
    case 2:
        talk(rest, bind);
        break;
    case 3:
        parse_secret(rest);
        break;
    case 4:
        prepare(rest);
        break;
    }
    return 0;
}
