/* test_tls_ctx.c - TLS contexts: verification in both roles, tickets, versions, settings. */
#include "base/base.h"

#include "test/unit/support/tls_link.h"

#include <errno.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct verify_row {
    enum tls_mode mode;
    const char *ca, *host, *error; /* error NULL: it must work */
};

static void the_server_is_verified_as_far_as_the_mode_says(void **state)
{
    (void)state;
    static const struct verify_row rows[] = {
        {TLS_PREFER, NULL, "db.example", NULL},
        {TLS_REQUIRE, "other_ca.crt", "db.example", NULL},
        {TLS_VERIFY_CA, "ca.crt", "db.example", NULL},
        {TLS_VERIFY_CA, "ca.crt", "wrong.example", NULL},
        {TLS_VERIFY_CA, "ca.crt", NULL, NULL},
        {TLS_VERIFY_CA, "other_ca.crt", "db.example", "certificate verify failed"},
        {TLS_VERIFY_CA, NULL, "db.example", "certificate verify failed"}, /* the system's CAs */
        {TLS_VERIFY_FULL, "ca.crt", "db.example", NULL},
        {TLS_VERIFY_FULL, "ca.crt", "db.example.", NULL},
        {TLS_VERIFY_FULL, "ca.crt", "DB.Example", NULL},
        {TLS_VERIFY_FULL, "ca.crt", "127.0.0.1", NULL},
        {TLS_VERIFY_FULL, "ca.crt", "::1", NULL},
        {TLS_VERIFY_FULL, "ca.crt", "127.0.0.2", "IP address mismatch"},
        {TLS_VERIFY_FULL, "ca.crt", "wrong.example", "ostname mismatch"},
        {TLS_VERIFY_FULL, "ca.crt", "server", "ostname mismatch"}, /* the CN, but there are SANs */
        {TLS_VERIFY_FULL, "ca.crt", NULL, "needs a host name"},
        {TLS_VERIFY_FULL, "other_ca.crt", "db.example", "certificate verify failed"},
    };
    struct tls_ctx *s = server_ctx("server");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct verify_row *r = &rows[i];
        struct tls_ctx *c = client_ctx(r->mode, r->ca, NULL);
        struct link k;
        connect_ends(&k, s, c, r->host, false);
        bool ok = k.client.io == TLS_IO_OK;
        if (ok != (r->error == NULL) || (!ok && strstr(k.client.err.text, r->error) == NULL))
            fail_msg("row %zu: %d \"%s\"", i, (int)k.client.io, k.client.err.text);
        close_link(&k);
        tls_ctx_put(&c);
    }
    tls_ctx_put(&s);
}

static bool resumes(struct tls_ctx *first, struct tls_ctx *second, const char *pair, int version)
{
    struct foreign f;
    struct link k;
    foreign_init(&f, pair);
    SSL_CTX_set_max_proto_version(f.ctx, version);
    assert_true(foreign_connect(&f, first, &k, NULL));
    assert_false(tls_is_resumed(k.server.tls));
    foreign_close(&f, &k);
    assert_non_null(f.session);
    assert_true(foreign_connect(&f, second, &k, NULL));
    bool resumed = tls_is_resumed(k.server.tls);
    assert_int_equal(resumed, SSL_session_reused(f.ssl));
    char name[64];
    assert_int_equal(tls_peer_name(k.server.tls, false, name, sizeof(name)), pair != NULL);
    foreign_close(&f, &k);
    foreign_fini(&f);
    return resumed;
}

static void sessions_resume_on_any_context_with_the_same_keys(void **state)
{
    (void)state;
    struct tls_ctx *a = server_ctx("server"), *b = server_ctx("server");
    assert_true(resumes(a, b, NULL, TLS1_3_VERSION));
    assert_true(resumes(a, b, NULL, TLS1_2_VERSION));
    struct tls_ticket_keys *mine = world.tickets;
    world.tickets = tls_ticket_keys_new();
    struct tls_ctx *c = server_ctx("server");
    assert_false(resumes(a, c, NULL, TLS1_3_VERSION));
    assert_false(resumes(a, c, NULL, TLS1_2_VERSION));
    tls_ticket_keys_free(&world.tickets);
    world.tickets = mine;
    tls_ctx_put(&a);
    tls_ctx_put(&b);
    tls_ctx_put(&c);
}

static void a_session_does_not_survive_a_change_of_the_client_ca(void **state)
{
    (void)state;
    struct tls_settings s = server_settings("server");
    s.ca_file = path("ca.crt");
    struct tls_ctx *a = make(&s, true), *b = make(&s, true);
    s.mode = TLS_VERIFY_CA;
    struct tls_ctx *stricter = make(&s, true);
    s.mode = TLS_REQUIRE;
    s.ca_file = path("both_ca.crt");
    struct tls_ctx *other = make(&s, true);
    assert_true(resumes(a, b, "client", TLS1_3_VERSION)); /* with the client's name */
    assert_false(resumes(a, stricter, "client", TLS1_3_VERSION));
    assert_false(resumes(a, other, "client", TLS1_3_VERSION));
    assert_false(resumes(a, other, "client", TLS1_2_VERSION));
    tls_ctx_put(&a);
    tls_ctx_put(&b);
    tls_ctx_put(&other);
    tls_ctx_put(&stricter);
}

static void a_resumed_session_is_bound_to_the_certificate_the_client_saw(void **state)
{
    (void)state;
    struct tls_ctx *a = server_ctx("server"), *b = server_ctx("server384");
    struct foreign f;
    struct link k;
    uint8_t first[64], second[64];
    foreign_init(&f, NULL);
    assert_true(foreign_connect(&f, a, &k, NULL));
    assert_int_equal(tls_end_point(k.server.tls, first, sizeof(first)), 32);
    foreign_close(&f, &k);
    assert_true(foreign_connect(&f, b, &k, NULL)); /* reloaded with another certificate */
    assert_true(tls_is_resumed(k.server.tls));
    assert_int_equal(tls_end_point(k.server.tls, second, sizeof(second)), 32);
    assert_memory_equal(first, second, 32);
    foreign_close(&f, &k);
    foreign_fini(&f);
    tls_ctx_put(&a);
    tls_ctx_put(&b);
}

struct client_row {
    enum tls_mode mode;
    const char *ca;   /* of the server */
    const char *pair; /* the client's certificate */
    bool ok;
    const char *cn;
};

static void client_certificates_are_asked_for_and_demanded_by_the_mode(void **state)
{
    (void)state;
    static const struct client_row rows[] = {
        {TLS_REQUIRE, NULL, "client", true, NULL}, /* not asked for */
        {TLS_REQUIRE, "ca.crt", NULL, true, NULL},
        {TLS_PREFER, "ca.crt", "client", true, "alice"},
        {TLS_REQUIRE, "ca.crt", "stranger", false, NULL},
        {TLS_VERIFY_CA, "ca.crt", NULL, false, NULL},
        {TLS_VERIFY_CA, "ca.crt", "client", true, "alice"},
        {TLS_VERIFY_FULL, "ca.crt", "client", true, "alice"},
        {TLS_VERIFY_FULL, "ca.crt", "stranger", false, NULL},
        {TLS_VERIFY_CA, "ca.crt", "zero", true, NULL}, /* a CN with a zero byte is no name */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct client_row *r = &rows[i];
        struct tls_settings s = server_settings("server");
        char cn[64] = "x", tiny[3] = "x";
        s.mode = r->mode;
        s.ca_file = r->ca != NULL ? path(r->ca) : NULL;
        struct tls_ctx *server = make(&s, true), *client = client_ctx(TLS_REQUIRE, NULL, r->pair);
        struct link k;
        connect_ends(&k, server, client, NULL, false);
        if ((k.server.io == TLS_IO_OK) != r->ok)
            fail_msg("row %zu: %s", i, k.server.err.text);
        assert_int_equal(tls_peer_name(k.server.tls, false, cn, sizeof(cn)), r->cn != NULL);
        assert_string_equal(cn, r->cn != NULL ? r->cn : "");
        assert_false(tls_peer_name(k.server.tls, false, tiny, sizeof(tiny))); /* never cut */
        if (r->cn != NULL) {
            assert_true(tls_peer_name(k.server.tls, true, cn, sizeof(cn)));
            assert_string_equal(cn, "CN=alice,O=Penstock");
        }
        close_link(&k);
        tls_ctx_put(&server);
        tls_ctx_put(&client);
    }
}

static void versions_outside_the_list_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *server, *client;
        const char *version; /* NULL: no common one */
    } rows[] = {
        {"secure", "tlsv1.2", "TLSv1.2"}, {"", "tlsv1.3", "TLSv1.3"},
        {"tlsv1.3", "tlsv1.2", NULL},     {"tlsv1.2", "secure", "TLSv1.2"},
        {"all,!tlsv1.3", "", "TLSv1.2"},  {"tlsv1.2:tlsv1.3", "tlsv1.3", "TLSv1.3"},
        {"-tlsv1.3", "TLSv1.3", NULL},    {NULL, "tlsv1.1", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct tls_settings a = server_settings("server"), b = {.mode = TLS_REQUIRE};
        a.protocols = rows[i].server;
        b.protocols = rows[i].client;
        struct tls_ctx *s = make(&a, true), *c = make(&b, false);
        struct link k;
        char text[128];
        connect_ends(&k, s, c, NULL, false);
        bool ok = k.server.io == TLS_IO_OK && k.client.io == TLS_IO_OK;
        if (ok != (rows[i].version != NULL))
            fail_msg("row %zu: %s", i, k.server.err.text);
        tls_describe(k.server.tls, text, sizeof(text));
        if (ok)
            assert_memory_equal(text, rows[i].version, 7);
        close_link(&k);
        tls_ctx_put(&s);
        tls_ctx_put(&c);
    }
}

static void the_client_chooses_among_several_certificates(void **state)
{
    (void)state;
    struct tls_settings s = server_settings("server");
    char crts[300], keys[300];
    snprintf(crts, sizeof(crts), "%s, %s", path("server384.crt"), path("ed25519.crt"));
    snprintf(keys, sizeof(keys), "%s, %s", path("server384.key"), path("ed25519.key"));
    s.cert_file = crts;
    s.key_file = keys;
    struct tls_ctx *ctx = make(&s, true);
    static char algs[][16] = {"ECDSA+SHA256", "ed25519"};
    for (size_t i = 0; i < ARRAY_LEN(algs); i++) {
        struct foreign f;
        struct link k;
        uint8_t hash[64];
        foreign_init(&f, NULL);
        assert_int_equal(SSL_CTX_set1_sigalgs_list(f.ctx, algs[i]), 1);
        assert_true(foreign_connect(&f, ctx, &k, NULL));
        assert_int_equal(tls_end_point(k.server.tls, hash, sizeof(hash)), i == 0 ? 48 : 0);
        foreign_close(&f, &k);
        foreign_fini(&f);
    }
    tls_ctx_put(&ctx);
}

struct bad_row {
    struct tls_settings s;
    const char *error;
    bool client_role;
};

static void settings_that_cannot_work_are_refused_with_the_reason(void **state)
{
    (void)state;
    const char *crt = path("server.crt"), *key = path("server.key");
    char two[300];
    snprintf(two, sizeof(two), "%s,%s", crt, crt);
    const struct bad_row rows[] = {
        {{.mode = TLS_REQUIRE}, "certificate", false},
        {{.cert_file = "/nowhere/x.crt", .key_file = key}, "/nowhere/x.crt", false},
        {{.cert_file = crt, .key_file = "/nowhere/x.key"}, "/nowhere/x.key", false},
        {{.cert_file = crt, .key_file = path("client.key")}, "client.key", false},
        {{.cert_file = crt}, "server.crt", false}, /* no key in it */
        {{.cert_file = two, .key_file = key}, "as many", false},
        {{.key_file = key}, "no certificate", true},
        {{.cert_file = crt, .key_file = path("locked.key")}, "locked.key", false},
        {{.cert_file = crt, .key_file = key, .ca_file = "/nowhere/ca"}, "/nowhere/ca", false},
        {{.cert_file = crt, .key_file = key, .ca_file = key}, "no certificate", false},
        {{.cert_file = crt, .key_file = key, .ca_file = path("damaged.crt")}, "damaged.crt", false},
        {{.mode = TLS_VERIFY_CA, .cert_file = crt, .key_file = key}, "CA", false},
        {{.protocols = "sslv3"}, "sslv3", true},
        {{.protocols = "tlsv1.3,"}, NULL, true},
        {{.protocols = "!secure,!tlsv1.0,!tlsv1.1"}, "no TLS protocol", true},
        {{.ciphers = "NO-SUCH-CIPHER"}, "NO-SUCH-CIPHER", true},
        {{.tls13_ciphers = "TLS_NONE"}, "TLS_NONE", true},
        {{.ecdhcurve = "nocurve"}, "nocurve", true},
        {{.dheparams = "/etc/dh.pem"}, "dheparams", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct tls_ctx *c = NULL;
        struct error err = {""};
        enum status st = tls_ctx_new(&rows[i].s, !rows[i].client_role, world.tickets, &c, &err);
        if (rows[i].error == NULL) {
            assert_int_equal(st, ST_OK);
            tls_ctx_put(&c);
            continue;
        }
        if (st != ST_INVALID || strstr(err.text, rows[i].error) == NULL)
            fail_msg("row %zu: %d \"%s\"", i, (int)st, err.text);
        assert_null(c);
    }
}

static void every_short_word_for_ciphers_and_key_exchange_is_known(void **state)
{
    (void)state;
    static const char *const ciphers[] = {"default", "secure", "fast",     "normal",      "compat",
                                          "all",     "legacy", "insecure", "HIGH:!aNULL", ""};
    static const char *const curves[] = {"auto", "none", "prime256v1", "secp384r1", "X25519", ""};
    static const char *const dh[] = {"auto", "none", "legacy", ""};
    for (size_t i = 0; i < ARRAY_LEN(ciphers); i++) {
        struct tls_settings s = server_settings("server");
        s.ciphers = ciphers[i];
        s.tls13_ciphers = i == 0 ? "TLS_AES_128_GCM_SHA256" : NULL;
        s.ecdhcurve = curves[i % ARRAY_LEN(curves)];
        s.dheparams = dh[i % ARRAY_LEN(dh)];
        struct tls_ctx *a = make(&s, true), *b = client_ctx(TLS_REQUIRE, NULL, NULL);
        struct link k;
        connect_ends(&k, a, b, NULL, false);
        assert_up(&k);
        close_link(&k);
        tls_ctx_put(&a);
        tls_ctx_put(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_server_is_verified_as_far_as_the_mode_says),
        cmocka_unit_test(sessions_resume_on_any_context_with_the_same_keys),
        cmocka_unit_test(a_session_does_not_survive_a_change_of_the_client_ca),
        cmocka_unit_test(a_resumed_session_is_bound_to_the_certificate_the_client_saw),
        cmocka_unit_test(client_certificates_are_asked_for_and_demanded_by_the_mode),
        cmocka_unit_test(versions_outside_the_list_are_refused),
        cmocka_unit_test(the_client_chooses_among_several_certificates),
        cmocka_unit_test(settings_that_cannot_work_are_refused_with_the_reason),
        cmocka_unit_test(every_short_word_for_ciphers_and_key_exchange_is_known),
    };
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
