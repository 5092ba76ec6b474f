/* tls_link.c - two TLS ends in one process; see tls_link.h. */
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

struct tls_link_world world;

#define ROUNDS 200000

const char *path(const char *name)
{
    static char mem[8][128];
    static int turn;
    char *p = mem[turn++ % 8];
    snprintf(p, sizeof(mem[0]), "%s/%s", world.certs.dir, name);
    return p;
}

struct tls_ctx *make(const struct tls_settings *s, bool server_role)
{
    struct tls_ctx *c = NULL;
    struct error err = {""};
    if (tls_ctx_new(s, server_role, server_role ? world.tickets : NULL, &c, &err) != ST_OK)
        fail_msg("context: %s", err.text);
    return c;
}

struct tls_settings server_settings(const char *pair)
{
    char crt[64], key[64];
    snprintf(crt, sizeof(crt), "%s.crt", pair);
    snprintf(key, sizeof(key), "%s.key", pair);
    return (struct tls_settings){
        .mode = TLS_REQUIRE, .cert_file = path(crt), .key_file = path(key)};
}

struct tls_ctx *server_ctx(const char *pair)
{
    struct tls_settings s = server_settings(pair);
    return make(&s, true);
}

struct tls_ctx *client_ctx(enum tls_mode mode, const char *ca, const char *pair)
{
    struct tls_settings s = pair != NULL ? server_settings(pair) : (struct tls_settings){0};
    s.mode = mode;
    s.ca_file = ca != NULL ? path(ca) : NULL;
    return make(&s, false);
}

/* ---- two ends -------------------------------------------------------------------------------- */

void open_sockets(struct link *k, size_t chunk)
{
    int a[2], b[2];
    memset(k, 0, sizeof(*k));
    k->chunk = chunk;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, a), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, b), 0);
    k->server.fd = a[0];
    k->server.far = a[1];
    k->client.fd = b[0];
    k->client.far = b[1];
    k->server.io = k->client.io = TLS_IO_WANT_READ;
}

void close_link(struct link *k)
{
    tls_free(&k->server.tls);
    tls_free(&k->client.tls);
    assert_null(k->server.tls);
    int all[] = {k->server.fd, k->server.far, k->client.fd, k->client.far};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (all[i] >= 0)
            close(all[i]);
}

bool move(int from, int to, size_t chunk)
{
    char mem[65536];
    ssize_t n = recv(from, mem, MIN(chunk, sizeof(mem)), MSG_PEEK);
    if (n <= 0)
        return false;
    ssize_t sent = send(to, mem, (size_t)n, MSG_NOSIGNAL);
    if (sent <= 0)
        return false;
    assert_int_equal(read(from, mem, (size_t)sent), sent);
    return true;
}

bool relay(struct link *k)
{
    bool a = move(k->server.far, k->client.far, k->chunk);
    bool b = move(k->client.far, k->server.far, k->chunk);
    return a || b;
}

bool waiting(const struct end *e)
{
    return e->io == TLS_IO_WANT_READ || e->io == TLS_IO_WANT_WRITE;
}

void handshake(struct link *k)
{
    for (int i = 0; i < ROUNDS && (waiting(&k->server) || waiting(&k->client)); i++) {
        if (waiting(&k->client))
            k->client.io = tls_handshake(k->client.tls, &k->client.err);
        relay(k);
        if (waiting(&k->server))
            k->server.io = tls_handshake(k->server.tls, &k->server.err);
        bool moved = relay(k);
        /* one side is through or has failed and the other waits for bytes that nobody will send */
        if (!moved && (!waiting(&k->server) || !waiting(&k->client)) && i > 20000 / (int)k->chunk)
            break;
    }
}

void connect_ends(struct link *k, struct tls_ctx *server, struct tls_ctx *client, const char *host,
                  bool direct)
{
    open_sockets(k, 65536);
    k->server.tls = tls_start(server, k->server.fd, true, NULL, direct);
    k->client.tls = tls_start(client, k->client.fd, false, host, direct);
    assert_non_null(k->server.tls);
    assert_non_null(k->client.tls);
    handshake(k);
}

void assert_up(struct link *k)
{
    if (k->server.io != TLS_IO_OK || k->client.io != TLS_IO_OK)
        fail_msg("server: %d %s; client: %d %s", (int)k->server.io, k->server.err.text,
                 (int)k->client.io, k->client.err.text);
}

/* ---- a client of another make: OpenSSL itself, with tickets and any ALPN --------------------- */

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    struct foreign *f = SSL_get_app_data(ssl);
    SSL_SESSION_free(f->session);
    f->session = session;
    return 1;
}

void foreign_init(struct foreign *f, const char *pair)
{
    memset(f, 0, sizeof(*f));
    f->ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_session_cache_mode(f->ctx, SSL_SESS_CACHE_CLIENT);
    SSL_CTX_sess_set_new_cb(f->ctx, keep_session);
    if (pair == NULL)
        return;
    struct tls_settings s = server_settings(pair);
    assert_int_equal(SSL_CTX_use_certificate_chain_file(f->ctx, s.cert_file), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey_file(f->ctx, s.key_file, SSL_FILETYPE_PEM), 1);
}

void foreign_fini(struct foreign *f)
{
    SSL_SESSION_free(f->session);
    SSL_CTX_free(f->ctx);
}

/* One connection with what was kept of the last; then a message, so that tickets arrive. */
bool foreign_connect(struct foreign *f, struct tls_ctx *server, struct link *k, const char *alpn)
{
    open_sockets(k, 65536);
    k->server.tls = tls_start(server, k->server.fd, true, NULL, false);
    f->ssl = SSL_new(f->ctx);
    SSL_set_app_data(f->ssl, f);
    SSL_set_fd(f->ssl, k->client.fd);
    SSL_set_connect_state(f->ssl);
    if (alpn != NULL)
        SSL_set_alpn_protos(f->ssl, (const unsigned char *)alpn, (unsigned)strlen(alpn));
    if (f->session != NULL)
        SSL_set_session(f->ssl, f->session);
    for (int i = 0; i < 100; i++) {
        char byte;
        if (SSL_do_handshake(f->ssl) == 1)
            SSL_read(f->ssl, &byte, 1);
        relay(k);
        if (waiting(&k->server))
            k->server.io = tls_handshake(k->server.tls, &k->server.err);
        relay(k);
    }
    return k->server.io == TLS_IO_OK && SSL_is_init_finished(f->ssl);
}

void foreign_close(struct foreign *f, struct link *k)
{
    SSL_shutdown(f->ssl);
    SSL_free(f->ssl);
    f->ssl = NULL;
    close_link(k);
}

int world_setup(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    world.tickets = tls_ticket_keys_new();
    return certs_make(&world.certs) ? 0 : -1;
}

int world_teardown(void **state)
{
    (void)state;
    tls_ticket_keys_free(&world.tickets);
    certs_remove(&world.certs);
    return 0;
}
