/* test_tls.c - the TLS layer: handshake, records, back-pressure, ends, ALPN, channel binding. */
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

#define ROUNDS 200000

/* n patterned bytes from one end to the other; the receiver asks for `piece` at a time. */
static void transfer(struct link *k, struct end *from, struct end *to, size_t n, size_t piece)
{
    struct outq_pool pool;
    struct outq q;
    uint8_t *mem = malloc(n), got[70000];
    size_t done = 0;
    outq_pool_init(&pool);
    outq_init(&q, &pool);
    for (size_t i = 0; i < n; i++)
        mem[i] = (uint8_t)(i * 7 + i / 251);
    for (size_t i = 0; i < n; i += 700)
        outq_put(&q, mem + i, MIN((size_t)700, n - i));
    for (int i = 0; i < ROUNDS && done < n; i++) {
        enum tls_io io = tls_write(from->tls, &q);
        assert_true(io == TLS_IO_OK || io == TLS_IO_WANT_WRITE);
        assert_int_equal(io == TLS_IO_OK, q.len == 0);
        relay(k);
        do {
            size_t part = 0;
            io = tls_read(to->tls, got, MIN(piece, sizeof(got)), &part);
            assert_true(io == TLS_IO_OK || io == TLS_IO_WANT_READ);
            assert_int_equal(io == TLS_IO_OK, part > 0);
            assert_true(part <= n - done);
            assert_memory_equal(got, mem + done, part);
            done += part;
        } while (tls_pending(to->tls) > 0);
    }
    assert_int_equal(done, n);
    outq_clear(&q);
    outq_pool_fini(&pool);
    free(mem);
}

static void both_roles_shake_hands_and_carry_bytes(void **state)
{
    (void)state;
    struct tls_ctx *s = server_ctx("server"), *c = client_ctx(TLS_REQUIRE, NULL, NULL);
    struct link k;
    char text[128];
    connect_ends(&k, s, c, "db.example", false);
    assert_up(&k);
    tls_describe(k.server.tls, text, sizeof(text));
    assert_true(strncmp(text, "TLSv1.3/TLS_", 12) == 0);
    tls_ctx_put(&s); /* living connections keep their context */
    tls_ctx_put(&c);
    assert_null(s);
    transfer(&k, &k.client, &k.server, 10, 65536);
    transfer(&k, &k.server, &k.client, 100, 65536);
    close_link(&k);
}

static void bytes_that_trickle_in_are_put_together(void **state)
{
    (void)state;
    struct tls_ctx *s = server_ctx("server"), *c = client_ctx(TLS_REQUIRE, NULL, NULL);
    struct link k;
    static const size_t chunks[] = {1, 7};
    for (size_t i = 0; i < ARRAY_LEN(chunks); i++) {
        open_sockets(&k, chunks[i]);
        k.server.tls = tls_start(s, k.server.fd, true, NULL, false);
        k.client.tls = tls_start(c, k.client.fd, false, NULL, false);
        handshake(&k);
        assert_up(&k);
        transfer(&k, &k.client, &k.server, 3000, 11);
        transfer(&k, &k.server, &k.client, 3000, 65536);
        close_link(&k);
    }
    tls_ctx_put(&s);
    tls_ctx_put(&c);
}

static void half_a_record_is_not_pending_and_two_records_are(void **state)
{
    (void)state;
    struct tls_ctx *s = server_ctx("server"), *c = client_ctx(TLS_REQUIRE, NULL, NULL);
    struct link k;
    struct outq_pool pool;
    struct outq q;
    char got[64];
    size_t n = 0;
    connect_ends(&k, s, c, NULL, false);
    assert_up(&k);
    assert_int_equal(tls_read(k.client.tls, got, sizeof(got), &n), TLS_IO_WANT_READ); /* tickets */
    outq_pool_init(&pool);
    outq_init(&q, &pool);
    outq_put(&q, "half", 4);
    assert_int_equal(tls_write(k.server.tls, &q), TLS_IO_OK);
    assert_true(move(k.server.far, k.client.far, 10));
    assert_int_equal(tls_read(k.client.tls, got, sizeof(got), &n), TLS_IO_WANT_READ);
    assert_int_equal(tls_pending(k.client.tls), 0);
    assert_true(move(k.server.far, k.client.far, 65536));
    assert_int_equal(tls_read(k.client.tls, got, sizeof(got), &n), TLS_IO_OK);
    assert_int_equal(n, 4);
    assert_int_equal(tls_pending(k.client.tls), 0);
    outq_put(&q, "first", 5);
    assert_int_equal(tls_write(k.server.tls, &q), TLS_IO_OK);
    outq_put(&q, "second", 6);
    assert_int_equal(tls_write(k.server.tls, &q), TLS_IO_OK);
    assert_true(move(k.server.far, k.client.far, 65536));
    assert_int_equal(tls_read(k.client.tls, got, 5, &n), TLS_IO_OK);
    assert_int_equal(n, 5);
    assert_true(tls_pending(k.client.tls) > 0); /* "second" is here, and no poll will say so */
    assert_int_equal(tls_read(k.client.tls, got, sizeof(got), &n), TLS_IO_OK);
    assert_memory_equal(got, "second", 6);
    assert_int_equal(tls_pending(k.client.tls), 0);
    outq_pool_fini(&pool);
    close_link(&k);
    tls_ctx_put(&s);
    tls_ctx_put(&c);
}

static void a_full_socket_stops_writing_and_loses_nothing(void **state)
{
    (void)state;
    struct tls_ctx *s = server_ctx("server"), *c = client_ctx(TLS_REQUIRE, NULL, NULL);
    struct link k;
    int small = 4096;
    connect_ends(&k, s, c, NULL, false);
    assert_up(&k);
    k.chunk = 1000;
    setsockopt(k.server.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    transfer(&k, &k.server, &k.client, 300000, 4000);
    transfer(&k, &k.client, &k.server, 300000, 65536);
    close_link(&k);
    tls_ctx_put(&s);
    tls_ctx_put(&c);
}

static void direct_tls_demands_alpn(void **state)
{
    (void)state;
    struct tls_ctx *s = server_ctx("server"), *c = client_ctx(TLS_REQUIRE, NULL, NULL);
    struct link k;
    connect_ends(&k, s, c, NULL, true);
    assert_up(&k);
    close_link(&k);
    /* the client offers nothing */
    open_sockets(&k, 65536);
    k.server.tls = tls_start(s, k.server.fd, true, NULL, true);
    k.client.tls = tls_start(c, k.client.fd, false, NULL, false);
    handshake(&k);
    assert_int_equal(k.server.io, TLS_IO_ERROR);
    assert_int_equal(k.client.io, TLS_IO_ERROR); /* by the alert */
    assert_non_null(strstr(k.client.err.text, "no application protocol"));
    close_link(&k);
    tls_ctx_put(&s);
    tls_ctx_put(&c);
}

static void alpn_is_chosen_when_offered_and_refused_when_foreign(void **state)
{
    (void)state;
    static const struct {
        const char *offer;
        bool ok;
    } rows[] = {
        {NULL, true},      {"\x0apostgresql", true}, {"\x02h2\x0apostgresql\x08http/1.1", true},
        {"\x02h2", false}, {"\x09postgresq", false}, {"\x0bpostgresqlx", false},
    };
    struct tls_ctx *s = server_ctx("server");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct foreign f;
        struct link k;
        foreign_init(&f, NULL);
        if (foreign_connect(&f, s, &k, rows[i].offer) != rows[i].ok)
            fail_msg("offer %zu: %s", i, k.server.err.text);
        foreign_close(&f, &k);
        foreign_fini(&f);
    }
    tls_ctx_put(&s);
}

static void both_ends_compute_the_same_end_point(void **state)
{
    (void)state;
    static const struct {
        const char *pair;
        size_t len;
    } rows[] = {{"server", 32}, {"server384", 48}, {"server_sha1", 32}, {"ed25519", 0}};
    /* OpenSSL's usual security level would not even load a certificate signed with SHA-1 */
    const struct tls_settings weak = {.mode = TLS_REQUIRE, .ciphers = "ALL:@SECLEVEL=0"};
    struct tls_ctx *c = make(&weak, false);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct tls_settings set = server_settings(rows[i].pair);
        set.ciphers = weak.ciphers;
        struct tls_ctx *s = make(&set, true);
        struct link k;
        uint8_t a[64], b[64], want[64];
        open_sockets(&k, 1);
        k.server.tls = tls_start(s, k.server.fd, true, NULL, false);
        /* not before the handshake */
        assert_int_equal(tls_end_point(k.server.tls, a, sizeof(a)), 0);
        close_link(&k);
        connect_ends(&k, s, c, NULL, false);
        assert_up(&k);
        assert_int_equal(tls_end_point(k.server.tls, a, sizeof(a)), rows[i].len);
        assert_int_equal(tls_end_point(k.client.tls, b, sizeof(b)), rows[i].len);
        assert_memory_equal(a, b, rows[i].len);
        assert_int_equal(certs_hash(&world.certs, rows[i].pair, want), rows[i].len);
        assert_memory_equal(a, want, rows[i].len);
        close_link(&k);
        tls_ctx_put(&s);
    }
    tls_ctx_put(&c);
}

static void the_peers_end_is_seen_with_and_without_notice(void **state)
{
    (void)state;
    struct tls_ctx *s = server_ctx("server"), *c = client_ctx(TLS_REQUIRE, NULL, NULL);
    for (int polite = 0; polite < 2; polite++) {
        struct link k;
        char got[16];
        size_t n = 0;
        connect_ends(&k, s, c, NULL, false);
        assert_up(&k);
        transfer(&k, &k.server, &k.client, 10, 10);
        if (polite) {
            tls_free(&k.server.tls);
            relay(&k);
        } else {
            close(k.client.far);
            k.client.far = -1;
        }
        for (int again = 0; again < 2; again++) {
            assert_int_equal(tls_read(k.client.tls, got, sizeof(got), &n), TLS_IO_EOF);
            assert_int_equal(n, 0);
            assert_int_equal(tls_pending(k.client.tls), 1); /* nobody must wait for a poll */
        }
        close_link(&k);
    }
    tls_ctx_put(&s);
    tls_ctx_put(&c);
}

static void bytes_before_an_end_are_delivered_first(void **state)
{
    (void)state;
    struct tls_ctx *s = server_ctx("server"), *c = client_ctx(TLS_REQUIRE, NULL, NULL);
    struct link k;
    struct outq_pool pool;
    struct outq q;
    char got[64];
    size_t n = 0;
    connect_ends(&k, s, c, NULL, false);
    assert_up(&k);
    assert_int_equal(tls_read(k.client.tls, got, sizeof(got), &n), TLS_IO_WANT_READ);
    outq_pool_init(&pool);
    outq_init(&q, &pool);
    outq_put(&q, "last words", 10);
    assert_int_equal(tls_write(k.server.tls, &q), TLS_IO_OK);
    tls_free(&k.server.tls);
    relay(&k);
    assert_int_equal(tls_read(k.client.tls, got, sizeof(got), &n), TLS_IO_OK);
    assert_int_equal(n, 10);
    assert_int_equal(tls_pending(k.client.tls), 1);
    assert_int_equal(tls_read(k.client.tls, got, sizeof(got), &n), TLS_IO_EOF);
    outq_pool_fini(&pool);
    close_link(&k);
    tls_ctx_put(&s);
    tls_ctx_put(&c);
}

static void noise_instead_of_tls_is_an_error_with_a_reason(void **state)
{
    (void)state;
    static const struct str noise[] = {{"GET / HTTP/1.0\r\n\r\n", 18},
                                       {"\x16\x03\x01\x00\x05hello", 10},
                                       {"\x15\x03\x01\x00\x02\x02\x28", 7},
                                       {"\x80\x2e\x01\x03\x01", 5},
                                       {"", 0}};
    struct tls_ctx *s = server_ctx("server");
    for (size_t i = 0; i < ARRAY_LEN(noise); i++) {
        struct link k;
        open_sockets(&k, 65536);
        k.server.tls = tls_start(s, k.server.fd, true, NULL, false);
        assert_int_equal(send(k.server.far, noise[i].p, noise[i].n, 0), noise[i].n);
        shutdown(k.server.far, SHUT_WR);
        do
            k.server.io = tls_handshake(k.server.tls, &k.server.err);
        while (waiting(&k.server));
        assert_true(k.server.io == TLS_IO_ERROR || k.server.io == TLS_IO_EOF);
        assert_true(strlen(k.server.err.text) > 0);
        assert_int_equal(tls_handshake(k.server.tls, &k.server.err), k.server.io);
        close_link(&k);
    }
    tls_ctx_put(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_roles_shake_hands_and_carry_bytes),
        cmocka_unit_test(bytes_that_trickle_in_are_put_together),
        cmocka_unit_test(half_a_record_is_not_pending_and_two_records_are),
        cmocka_unit_test(a_full_socket_stops_writing_and_loses_nothing),
        cmocka_unit_test(direct_tls_demands_alpn),
        cmocka_unit_test(alpn_is_chosen_when_offered_and_refused_when_foreign),
        cmocka_unit_test(both_ends_compute_the_same_end_point),
        cmocka_unit_test(the_peers_end_is_seen_with_and_without_notice),
        cmocka_unit_test(bytes_before_an_end_are_delivered_first),
        cmocka_unit_test(noise_instead_of_tls_is_an_error_with_a_reason),
    };
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
