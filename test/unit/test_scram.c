/* test_scram.c - unit tests of protocol/auth/scram*.c.
 *
 * The two roles talk to each other; one conversation is fixed by the example of RFC 7677. Iteration
 * counts are small where nothing depends on them, so that the whole runs in a moment.  Malformed
 * messages are in test_scram_messages.c.
 */
#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "protocol/auth/b64.h"
#include "protocol/auth/scram.h"

#define BINDING STR("\x01\x02hash of a certificate\xff")
#define CLIENT_NONCE "rOprNGfwEbeRWgbNEkqO"
#define SERVER_NONCE "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define NONCES CLIENT_NONCE SERVER_NONCE
#define SALT_B64 "W22ZaJ0SNY7soEsUEjb6gQ=="
#define SERVER_FIRST "r=" NONCES ",s=" SALT_B64 ",i=4096"

/* One login. Set the configurations, run talk(), look at the results, call done(). */
struct login {
    struct scram_client client;
    struct scram_server server;
    struct scram_client_config ccfg;
    struct scram_server_config scfg;
    struct str offered; /* empty: what the server offers */
    struct error err;
    enum status server_status, client_status;
    /* test hook: changes message number 0 to 3 on its way; -1: none */
    int change_message;
    size_t change_at;
    uint8_t change_xor;
    size_t length[4]; /* of each message as it was sent */
};

static struct secret secret_of(const char *text)
{
    struct secret s;
    secret_init(&s);
    assert_int_equal(secret_parse(&s, str_of(text), NULL), ST_OK);
    return s;
}

static struct secret verifier_of(const char *password, int iterations)
{
    struct secret s;
    secret_init(&s);
    assert_int_equal(scram_derive_verifier(&s, str_of(password), iterations, STR_NONE), ST_OK);
    return s;
}

/* Message number i on its way: a heap copy of exact size, changed if the login asks for it. */
static struct str carry(struct login *l, int i, struct str sent)
{
    l->length[i] = sent.n;
    char *copy = mem_copy(sent.p, sent.n);
    if (l->change_message == i && l->change_at < sent.n)
        copy[l->change_at] = (char)(copy[l->change_at] ^ l->change_xor);
    return (struct str){copy, sent.n};
}

static void drop(struct str s)
{
    mem_free((void *)(uintptr_t)s.p);
}

static void talk_on(struct login *l, struct str mechanism, struct str first)
{
    struct str message = carry(l, 0, first), reply = STR_NONE;
    l->server_status = scram_server_first(&l->server, mechanism, message, &reply, &l->err);
    drop(message);
    if (l->server_status != ST_OK)
        return;
    message = carry(l, 1, reply);
    l->client_status = scram_client_final(&l->client, message, &reply, &l->err);
    drop(message);
    if (l->client_status != ST_OK)
        return;
    message = carry(l, 2, reply);
    l->server_status = scram_server_final(&l->server, message, &reply, &l->err);
    drop(message);
    if (l->server_status != ST_OK)
        return;
    message = carry(l, 3, reply);
    l->client_status = scram_client_verify(&l->client, message, &l->err);
    drop(message);
}

static void talk(struct login *l)
{
    struct str mechanism, first;
    l->server_status = l->client_status = ST_AGAIN;
    assert_int_equal(scram_server_init(&l->server, &l->scfg, &l->err), ST_OK);
    assert_int_equal(scram_client_init(&l->client, &l->ccfg, &l->err), ST_OK);
    struct str offered = l->offered.n > 0 ? l->offered
                                          : scram_server_mechanisms(l->scfg.binding.n > 0);
    l->client_status = scram_client_first(&l->client, offered, &mechanism, &first, &l->err);
    if (l->client_status == ST_OK)
        talk_on(l, mechanism, first);
}

static bool both_satisfied(const struct login *l)
{
    return l->server_status == ST_OK && l->server.state == SCRAM_SERVER_DONE &&
           l->client_status == ST_OK && scram_client_done(&l->client);
}

static void done(struct login *l)
{
    scram_client_fini(&l->client);
    scram_server_fini(&l->server);
}

static struct login login_of(const struct secret *secret, const char *password)
{
    struct login l;
    memset(&l, 0, sizeof(l));
    l.change_message = -1;
    l.scfg.secret = secret;
    l.scfg.iterations = 2;
    l.scfg.user = STR("alice");
    l.ccfg.password = str_of(password);
    return l;
}

static void example_of_rfc_7677_is_reproduced_by_both_roles(void **state)
{
    (void)state;
    struct secret secret = secret_of("pencil");
    char salt[16];
    size_t n;
    assert_true(b64_decode((uint8_t *)salt, sizeof(salt), &n, STR(SALT_B64)));
    struct login l = login_of(&secret, "pencil");
    l.ccfg.user = STR("user");
    l.ccfg.nonce = STR(CLIENT_NONCE);
    l.scfg.nonce = STR(SERVER_NONCE);
    l.scfg.salt = (struct str){salt, n};
    l.scfg.iterations = 0; /* 4096 */
    struct str mechanism, text;
    assert_int_equal(scram_server_init(&l.server, &l.scfg, &l.err), ST_OK);
    assert_int_equal(scram_client_init(&l.client, &l.ccfg, &l.err), ST_OK);
    assert_int_equal(
        scram_client_first(&l.client, scram_server_mechanisms(false), &mechanism, &text, &l.err),
        ST_OK);
    assert_true(str_eq(text, STR("n,,n=user,r=" CLIENT_NONCE)));
    assert_true(str_eq(mechanism, STR("SCRAM-SHA-256")));
    assert_int_equal(scram_server_first(&l.server, mechanism, text, &text, &l.err), ST_OK);
    assert_true(str_eq(text, STR(SERVER_FIRST)));
    assert_int_equal(scram_client_final(&l.client, text, &text, &l.err), ST_OK);
    assert_true(
        str_eq(text, STR("c=biws,r=" NONCES ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")));
    assert_int_equal(scram_server_final(&l.server, text, &text, &l.err), ST_OK);
    assert_true(str_eq(text, STR("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")));
    assert_false(scram_client_done(&l.client));
    assert_int_equal(scram_client_verify(&l.client, text, &l.err), ST_OK);
    assert_true(scram_client_done(&l.client));
    done(&l);
    secret_fini(&secret);
}

static void verifier_has_the_text_that_postgresql_makes(void **state)
{
    (void)state;
    struct secret s;
    struct buf out;
    char salt[16];
    size_t n;
    assert_true(b64_decode((uint8_t *)salt, sizeof(salt), &n, STR(SALT_B64)));
    secret_init(&s);
    assert_int_equal(scram_derive_verifier(&s, STR("pencil"), 4096, (struct str){salt, n}), ST_OK);
    buf_init(&out, 1000);
    assert_int_equal(secret_format_scram(&s, &out), ST_OK);
    assert_true(str_eq(buf_str(&out), STR("SCRAM-SHA-256$4096:" SALT_B64
                                          "$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
                                          ":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=")));
    assert_true(scram_check_password(&s, STR("pencil"), NULL));
    assert_false(scram_check_password(&s, STR("Pencil"), NULL));
    assert_false(scram_check_password(&s, STR_NONE, NULL));
    buf_fini(&out);
    secret_fini(&s);
}

static void roles_agree_in_all_combinations(void **state)
{
    (void)state;
    static const char password[] = "p=ss, w\xc3\xb6rd \xe2\x85\xa8";
    struct secret secrets[2] = {secret_of(password), verifier_of(password, 3)};
    for (unsigned i = 0; i < 16; i++) {
        bool server_tls = i & 2, client_tls = i & 4, right = i & 8;
        struct login l = login_of(&secrets[i & 1], right ? password : "p=ss");
        l.scfg.binding = server_tls ? BINDING : STR_NONE;
        l.ccfg.binding = client_tls ? BINDING : STR_NONE;
        l.ccfg.user = STR("a,b=c");
        talk(&l);
        assert_int_equal(both_satisfied(&l), right);
        assert_int_equal(l.server.keys.have_client_key, right);
        if (!right)
            assert_int_equal(l.server_status, ST_DENIED);
        if (right)
            assert_memory_equal(&l.server.keys, &l.client.keys, sizeof(l.client.keys));
        done(&l);
    }
    secret_fini(&secrets[0]);
    secret_fini(&secrets[1]);
}

static void plus_is_chosen_when_both_sides_can_bind(void **state)
{
    (void)state;
    static const char only_plus[] = "SCRAM-SHA-256-PLUS\0";
    static const char others[] = "OAUTHBEARER\0SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0";
    const struct {
        struct str offered, binding, mechanism;
        char flag;
        enum status st;
    } rows[] = {
        {scram_server_mechanisms(true), BINDING, STR("SCRAM-SHA-256-PLUS"), 'p', ST_OK},
        {scram_server_mechanisms(true), STR_NONE, STR("SCRAM-SHA-256"), 'n', ST_OK},
        {scram_server_mechanisms(false), BINDING, STR("SCRAM-SHA-256"), 'y', ST_OK},
        {scram_server_mechanisms(false), STR_NONE, STR("SCRAM-SHA-256"), 'n', ST_OK},
        {{only_plus, sizeof(only_plus)}, BINDING, STR("SCRAM-SHA-256-PLUS"), 'p', ST_OK},
        {{only_plus, sizeof(only_plus)}, STR_NONE, STR_NONE, 0, ST_UNSUPPORTED},
        {{others, sizeof(others)}, BINDING, STR("SCRAM-SHA-256-PLUS"), 'p', ST_OK},
        {{others, 13}, BINDING, STR_NONE, 0, ST_INVALID},
        {{others, sizeof(others) - 1}, BINDING, STR_NONE, 0, ST_INVALID},
        {STR_NONE, BINDING, STR_NONE, 0, ST_INVALID},
        {STR("SCRAM-SHA-256"), BINDING, STR_NONE, 0, ST_INVALID},
        {{"\0", 1}, BINDING, STR_NONE, 0, ST_UNSUPPORTED},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct scram_client c;
        struct scram_client_config cfg = {.password = STR("x"), .binding = rows[i].binding};
        struct str mechanism, first;
        assert_int_equal(scram_client_init(&c, &cfg, NULL), ST_OK);
        assert_int_equal(scram_client_first(&c, rows[i].offered, &mechanism, &first, NULL),
                         rows[i].st);
        if (rows[i].st == ST_OK) {
            assert_true(str_eq(mechanism, rows[i].mechanism));
            assert_int_equal(first.p[0], rows[i].flag);
        }
        scram_client_fini(&c);
    }
}

static void different_certificates_do_not_bind(void **state)
{
    (void)state;
    struct secret secret = verifier_of("x", 2);
    struct login l = login_of(&secret, "x");
    l.scfg.binding = BINDING;
    l.ccfg.binding = STR("hash of the certificate of a man in the middle");
    talk(&l);
    assert_int_equal(l.server_status, ST_DENIED);
    done(&l);
    /* -PLUS cut out of the offer on the way: the client says y, the server knows better */
    l = login_of(&secret, "x");
    l.scfg.binding = l.ccfg.binding = BINDING;
    l.offered = scram_server_mechanisms(false);
    talk(&l);
    assert_int_equal(l.server_status, ST_DENIED);
    done(&l);
    secret_fini(&secret);
}

static void any_changed_byte_of_any_message_prevents_the_login(void **state)
{
    (void)state;
    struct secret secret = verifier_of("x", 1);
    for (int tls = 0; tls < 2; tls++) {
        size_t lengths[4] = {1, 1, 1, 1};
        for (int m = 0; m < 4; m++) {
            for (size_t at = 0; at < lengths[m]; at++) {
                for (unsigned bit = 0; bit < 8; bit++) {
                    struct login l = login_of(&secret, "x");
                    l.scfg.binding = l.ccfg.binding = tls ? BINDING : STR_NONE;
                    l.change_message = m;
                    l.change_at = at;
                    l.change_xor = (uint8_t)(1u << bit);
                    talk(&l);
                    lengths[m] = l.length[m];
                    assert_false(both_satisfied(&l));
                    assert_false(scram_client_done(&l.client));
                    assert_int_equal(l.server.state == SCRAM_SERVER_DONE, m == 3);
                    done(&l);
                }
            }
            assert_true(lengths[m] > 20);
        }
    }
    secret_fini(&secret);
}

static void longest_permitted_nonces_and_bindings_complete_a_login(void **state)
{
    (void)state;
    char nonce[SCRAM_NONCE_MAX], binding[SCRAM_BINDING_MAX], salt[SECRET_SALT_MAX];
    memset(nonce, 'x', sizeof(nonce));
    memset(binding, 'y', sizeof(binding));
    memset(salt, 'z', sizeof(salt));
    struct secret secret = secret_of("x");
    struct login l = login_of(&secret, "x");
    l.ccfg.nonce = l.scfg.nonce = (struct str){nonce, sizeof(nonce)};
    l.ccfg.binding = l.scfg.binding = (struct str){binding, sizeof(binding)};
    l.scfg.salt = (struct str){salt, sizeof(salt)};
    talk(&l);
    assert_true(both_satisfied(&l));
    done(&l);
    struct scram_server s;
    l.scfg.binding.n++;
    assert_int_equal(scram_server_init(&s, &l.scfg, NULL), ST_LIMIT);
    scram_server_fini(&s);
    struct scram_server_config bad = {.secret = &secret, .iterations = SECRET_ITERATIONS_MAX + 1};
    assert_int_equal(scram_server_init(&s, &bad, NULL), ST_LIMIT);
    scram_server_fini(&s);
    secret_fini(&secret);
}

static void copy_server_first(struct scram_server_config *cfg, char *dst, size_t cap)
{
    struct scram_server s;
    struct str reply;
    cfg->nonce = STR("SSSS");
    assert_int_equal(scram_server_init(&s, cfg, NULL), ST_OK);
    assert_int_equal(scram_server_first(&s, STR("SCRAM-SHA-256"), STR("n,,n=,r=abc"), &reply, NULL),
                     ST_OK);
    assert_true(str_copy(dst, cap, reply));
    scram_server_fini(&s);
}

static void unknown_users_look_real_and_always_fail(void **state)
{
    (void)state;
    static const uint8_t key[32] = "a key that stays the same 012345";
    struct secret md5 = secret_of("md5b8c8f3ef4d0dbd6bc0c0f4c9d42ee0c1"), none = secret_of("");
    const struct secret *const kinds[] = {NULL, &none, &md5};
    char ghost[200], again[200], other[200];
    for (size_t i = 0; i < 2 * ARRAY_LEN(kinds); i++) {
        struct login l = login_of(kinds[i / 2], "whatever");
        l.scfg.mock_key = i % 2 ? key : NULL;
        l.scfg.user = STR("ghost");
        talk(&l);
        assert_int_equal(l.client.state, SCRAM_CLIENT_SENT_FINAL);
        assert_int_equal(l.server_status, ST_DENIED);
        assert_string_equal(l.err.text, "SCRAM: proof does not match");
        done(&l);
        copy_server_first(&l.scfg, ghost, sizeof(ghost));
        copy_server_first(&l.scfg, again, sizeof(again));
        assert_string_equal(ghost, again);
        l.scfg.user = STR("ghosu");
        copy_server_first(&l.scfg, other, sizeof(other));
        assert_int_equal(strlen(other), strlen(ghost));
        assert_string_not_equal(ghost, other);
        assert_string_equal(ghost + strlen(ghost) - 4, ",i=2");
    }
    /* even with the verifier that would fit, such an exchange fails */
    struct secret real = verifier_of("x", 2);
    struct login l = login_of(&real, "x");
    struct str mechanism, text;
    assert_int_equal(scram_server_init(&l.server, &l.scfg, NULL), ST_OK);
    l.server.mock = true;
    assert_int_equal(scram_client_init(&l.client, &l.ccfg, NULL), ST_OK);
    assert_int_equal(
        scram_client_first(&l.client, scram_server_mechanisms(false), &mechanism, &text, NULL),
        ST_OK);
    talk_on(&l, mechanism, text);
    assert_int_equal(l.server_status, ST_DENIED);
    done(&l);
    secret_fini(&real);
    secret_fini(&md5);
}

static void keys_of_one_login_open_a_server_with_the_same_verifier_only(void **state)
{
    (void)state;
    struct secret same = verifier_of("x", 4), other = verifier_of("x", 4);
    struct login l = login_of(&same, "x");
    talk(&l);
    assert_true(both_satisfied(&l));
    struct scram_keys keys = l.server.keys;
    assert_true(keys.have_client_key && keys.have_server_key);
    done(&l);
    assert_false(l.server.keys.have_client_key);

    l = login_of(&same, "");
    l.ccfg.keys = &keys;
    talk(&l);
    assert_true(both_satisfied(&l));
    done(&l);
    l = login_of(&other, "");
    l.ccfg.keys = &keys;
    talk(&l);
    assert_int_equal(l.server_status, ST_DENIED);
    done(&l);
    /* a server that accepts the proof but cannot sign is not believed */
    keys.server_key[0] ^= 1;
    l = login_of(&same, "");
    l.ccfg.keys = &keys;
    talk(&l);
    assert_int_equal(l.client_status, ST_DENIED);
    done(&l);
    struct scram_client c;
    keys.have_server_key = false;
    struct scram_client_config cfg = {.keys = &keys, .password = STR("x")};
    assert_int_equal(scram_client_init(&c, &cfg, NULL), ST_INVALID);
    scram_client_fini(&c);
    secret_fini(&same);
    secret_fini(&other);
}

static void cache_is_filled_by_success_and_used_for_its_salt_only(void **state)
{
    (void)state;
    struct scram_client_cache cache = {0};
    struct secret one = verifier_of("x", 4), two, three = verifier_of("x", 4);
    secret_init(&two);
    struct str same_salt = {(const char *)three.bytes, three.len};
    assert_int_equal(scram_derive_verifier(&two, STR("x"), 5, same_salt), ST_OK);
    struct login l = login_of(&one, "wrong");
    l.ccfg.cache = &cache;
    talk(&l);
    assert_int_equal(cache.iterations, 0);
    done(&l);
    l.ccfg.password = STR("x");
    talk(&l);
    assert_true(both_satisfied(&l));
    assert_int_equal(cache.iterations, 4);
    assert_int_equal(cache.salt_len, SCRAM_SALT_LEN);
    done(&l);
    /* shows that the cache is used: only it knows the password */
    l.ccfg.password = STR("not the password");
    talk(&l);
    assert_true(both_satisfied(&l));
    done(&l);
    l.scfg.secret = &three;
    l.ccfg.password = STR("x");
    talk(&l);
    assert_true(both_satisfied(&l));
    done(&l);
    l.ccfg.password = STR("not the password");
    l.scfg.secret = &two;
    talk(&l);
    assert_int_equal(l.server_status, ST_DENIED);
    assert_int_equal(cache.iterations, 4);
    done(&l);
    l.ccfg.password = STR("x");
    talk(&l);
    assert_true(both_satisfied(&l));
    assert_int_equal(cache.iterations, 5);
    done(&l);
    scram_client_cache_wipe(&cache);
    assert_int_equal(cache.iterations, 0);
    secret_fini(&one);
    secret_fini(&two);
    secret_fini(&three);
}

static void calls_out_of_order_are_refused(void **state)
{
    (void)state;
    struct secret secret = verifier_of("x", 1);
    struct scram_server_config scfg = {.secret = &secret};
    struct scram_client_config ccfg = {.password = STR("x")};
    struct scram_server s;
    struct scram_client c;
    struct str reply, mechanism;
    assert_int_equal(scram_server_init(&s, &scfg, NULL), ST_OK);
    assert_int_equal(scram_server_final(&s, STR("c=biws"), &reply, NULL), ST_INVALID);
    assert_int_equal(scram_server_first(&s, STR("SCRAM-SHA-256"), STR("n,,n=,r=a"), &reply, NULL),
                     ST_INVALID);
    scram_server_fini(&s);
    assert_int_equal(scram_client_init(&c, &ccfg, NULL), ST_OK);
    assert_int_equal(scram_client_verify(&c, STR("v=x"), NULL), ST_INVALID);
    assert_int_equal(
        scram_client_first(&c, scram_server_mechanisms(false), &mechanism, &reply, NULL),
        ST_INVALID);
    scram_client_fini(&c);
    struct login l = login_of(&secret, "x");
    talk(&l);
    assert_true(both_satisfied(&l));
    assert_int_equal(scram_client_verify(&l.client, STR("v=x"), NULL), ST_INVALID);
    assert_false(scram_client_done(&l.client));
    done(&l);
    ccfg.password = STR_NONE;
    assert_int_equal(scram_client_init(&c, &ccfg, NULL), ST_INVALID);
    scram_client_fini(&c);
    secret_fini(&secret);
}

static void lack_of_memory_is_a_status_at_every_allocation(void **state)
{
    (void)state;
    struct secret secret = verifier_of("x", 1);
    int failed = 0;
    for (unsigned nth = 1; nth < 60; nth++) {
        struct login l = login_of(&secret, "x");
        struct str mechanism, first;
        mem_fail_nth(nth);
        bool ready = scram_server_init(&l.server, &l.scfg, NULL) == ST_OK;
        ready = scram_client_init(&l.client, &l.ccfg, NULL) == ST_OK && ready;
        if (ready && scram_client_first(&l.client, scram_server_mechanisms(false), &mechanism,
                                        &first, NULL) == ST_OK)
            talk_on(&l, mechanism, first);
        mem_fail_nth(0);
        failed += !both_satisfied(&l);
        done(&l);
    }
    assert_in_range(failed, 10, 50);
    secret_fini(&secret);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(example_of_rfc_7677_is_reproduced_by_both_roles),
        cmocka_unit_test(verifier_has_the_text_that_postgresql_makes),
        cmocka_unit_test(roles_agree_in_all_combinations),
        cmocka_unit_test(plus_is_chosen_when_both_sides_can_bind),
        cmocka_unit_test(different_certificates_do_not_bind),
        cmocka_unit_test(any_changed_byte_of_any_message_prevents_the_login),
        cmocka_unit_test(longest_permitted_nonces_and_bindings_complete_a_login),
        cmocka_unit_test(unknown_users_look_real_and_always_fail),
        cmocka_unit_test(keys_of_one_login_open_a_server_with_the_same_verifier_only),
        cmocka_unit_test(cache_is_filled_by_success_and_used_for_its_salt_only),
        cmocka_unit_test(calls_out_of_order_are_refused),
        cmocka_unit_test(lack_of_memory_is_a_status_at_every_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
