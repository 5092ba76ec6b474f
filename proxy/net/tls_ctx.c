/* tls_ctx.c - TLS contexts made from configuration; see tls_ctx.h.
 *
 * Made on the main thread and afterwards read-only; the callbacks run on the worker that does the
 * handshake and touch only that connection.
 *
 * What a resumed session must not do is slip past a check that a full handshake would make.
 * Sessions are therefore bound, by OpenSSL's session id context, to a digest of the CA file and the
 * way clients are verified; a reload that changes either makes old tickets useless.  The ticket
 * also carries the hash of the certificate that the client saw, because SCRAM's channel binding of
 * a resumed connection refers to that one and not to the one loaded today.
 */
#include "proxy/net/tls_ctx.h"

#include "base/mem.h"
#include "base/random.h"
#include "base/refs.h"
#include "proxy/net/conn_tls.h"
#include "proxy/net/tls_settings.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>

#define READ_BUFFER 32768 /* two full records; released between reads */
#define SESSION_LIFE 7200 /* seconds */

struct tls_ticket_keys {
    uint8_t bytes[80]; /* name, HMAC key and AES key as SSL_CTX_set_tlsext_ticket_keys has them */
};

struct tls_ctx {
    SSL_CTX *ssl; /* owned */
    enum tls_mode mode;
    struct {
        struct refs refs;
    } shared;
};

struct tls_ticket_keys *tls_ticket_keys_new(void)
{
    struct tls_ticket_keys *k = mem_new(sizeof(*k));
    random_bytes(k->bytes, sizeof(k->bytes));
    return k;
}

void tls_ticket_keys_free(struct tls_ticket_keys **k)
{
    if (*k == NULL)
        return;
    mem_wipe(*k, sizeof(**k));
    mem_free(*k);
    *k = NULL;
}

/* ---- callbacks ------------------------------------------------------------------------------- */

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *outlen,
                   const unsigned char *in, unsigned inlen, void *arg)
{
    (void)ssl;
    (void)arg;
    for (size_t i = 0; i < inlen;) {
        size_t n = in[i];
        if (n > inlen - i - 1)
            break;
        if (n == sizeof(TLS_ALPN) - 1 && memcmp(in + i + 1, TLS_ALPN, n) == 0) {
            *out = in + i + 1;
            *outlen = (unsigned char)n;
            return SSL_TLSEXT_ERR_OK;
        }
        i += 1 + n;
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int on_ticket_made(SSL *ssl, void *arg)
{
    (void)arg;
    uint8_t hash[EVP_MAX_MD_SIZE];
    size_t n = tls_cert_hash(SSL_get_certificate(ssl), hash, sizeof(hash));
    if (SSL_session_reused(ssl))
        return 1; /* a renewed ticket keeps the hash it came with */
    return n == 0 ? 1 : SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), hash, n);
}

static SSL_TICKET_RETURN on_ticket_shown(SSL *ssl, SSL_SESSION *ss, const unsigned char *name,
                                         size_t name_len, SSL_TICKET_STATUS status, void *arg)
{
    (void)ssl;
    (void)name;
    (void)name_len;
    (void)arg;
    if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW)
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    X509 *peer = SSL_SESSION_get0_peer(ss);
    if (peer != NULL && X509_cmp_current_time(X509_get0_notAfter(peer)) <= 0)
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

/* ---- the CA file ----------------------------------------------------------------------------- */

static enum status add_ca(SSL_CTX *ctx, X509 *cert, bool server_role, EVP_MD_CTX *sum)
{
    uint8_t hash[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (X509_digest(cert, EVP_sha256(), hash, &n) != 1 || EVP_DigestUpdate(sum, hash, n) != 1 ||
        X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), cert) != 1)
        return ST_INVALID;
    if (server_role && SSL_CTX_add_client_CA(ctx, cert) != 1)
        return ST_INVALID;
    return ST_OK;
}

static enum status load_ca(SSL_CTX *ctx, const char *path, bool server_role, EVP_MD_CTX *sum,
                           struct error *err)
{
    int count = 0;
    enum status st = ST_OK;
    BIO *bio = BIO_new_file(path, "r");
    if (bio == NULL)
        return tls_settings_openssl_error(err, "cannot load CA file", path);
    for (X509 *cert; st == ST_OK && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL;) {
        st = add_ca(ctx, cert, server_role, sum);
        X509_free(cert);
        count++;
    }
    BIO_free(bio);
    /* the end of the file is reported as a missing start line; anything else is damage */
    unsigned long code = ERR_peek_last_error();
    bool ended = ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
    if (st != ST_OK || !ended)
        return tls_settings_openssl_error(err, "cannot load CA file", path);
    ERR_clear_error();
    if (count == 0)
        return error_set(err, ST_INVALID, "CA file \"%s\" holds no certificate", path);
    return ST_OK;
}

/* ---- roles ----------------------------------------------------------------------------------- */

static bool has(const char *z)
{
    return z != NULL && z[0] != '\0';
}

static enum status bind_sessions(SSL_CTX *ctx, EVP_MD_CTX *sum, int verify, struct error *err)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    uint8_t how = (uint8_t)verify;
    if (EVP_DigestUpdate(sum, &how, 1) != 1 || EVP_DigestFinal_ex(sum, digest, &n) != 1 ||
        SSL_CTX_set_session_id_context(ctx, digest, MIN(n, SSL_MAX_SID_CTX_LENGTH)) != 1)
        return tls_settings_openssl_error(err, "TLS", "session context");
    return ST_OK;
}

static enum status server_role_init(SSL_CTX *ctx, const struct tls_settings *s, EVP_MD_CTX *sum,
                                    struct tls_ticket_keys *tickets, struct error *err)
{
    int verify = SSL_VERIFY_NONE;
    bool demanded = s->mode == TLS_VERIFY_CA || s->mode == TLS_VERIFY_FULL;
    if (!has(s->cert_file))
        return error_set(err, ST_INVALID, "TLS for clients needs a certificate and a key file");
    if (demanded && !has(s->ca_file))
        return error_set(err, ST_INVALID, "verifying client certificates needs a CA file");
    if (has(s->ca_file))
        verify = SSL_VERIFY_PEER | (demanded ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0);
    SSL_CTX_set_verify(ctx, verify, NULL);
    SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
    SSL_CTX_set_client_hello_cb(ctx, tls_on_client_hello, NULL);
    if (tickets == NULL) {
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(ctx, 0);
        return bind_sessions(ctx, sum, verify, err);
    }
    SSL_CTX_set_num_tickets(ctx, 1);
    SSL_CTX_set_timeout(ctx, SESSION_LIFE);
    if (SSL_CTX_set_tlsext_ticket_keys(ctx, tickets->bytes, (long)sizeof(tickets->bytes)) != 1 ||
        SSL_CTX_set_session_ticket_cb(ctx, on_ticket_made, on_ticket_shown, NULL) != 1)
        return tls_settings_openssl_error(err, "TLS", "session tickets");
    return bind_sessions(ctx, sum, verify, err);
}

static enum status client_role_init(SSL_CTX *ctx, const struct tls_settings *s, struct error *err)
{
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET); /* PostgreSQL resumes nothing */
    if (s->mode != TLS_VERIFY_CA && s->mode != TLS_VERIFY_FULL) {
        SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
        return ST_OK;
    }
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    if (!has(s->ca_file) && SSL_CTX_set_default_verify_paths(ctx) != 1)
        return tls_settings_openssl_error(err, "cannot load CAs from", "the system's directory");
    return ST_OK;
}

static enum status configure(struct tls_ctx *c, const struct tls_settings *s, bool server_role,
                             struct tls_ticket_keys *tickets, struct error *err)
{
    SSL_CTX *ctx = c->ssl;
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_default_read_buffer_len(ctx, READ_BUFFER);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets carry their own state */
    enum status st = tls_settings_protocols(ctx, s->protocols, err);
    if (st == ST_OK)
        st = tls_settings_ciphers(ctx, s, err);
    if (st == ST_OK)
        st = tls_settings_key_exchange(ctx, s, err);
    if (st == ST_OK)
        st = tls_settings_certificates(ctx, s, err);
    if (st != ST_OK)
        return st;
    EVP_MD_CTX *sum = EVP_MD_CTX_new();
    if (sum == NULL || EVP_DigestInit_ex(sum, EVP_sha256(), NULL) != 1)
        st = tls_settings_openssl_error(err, "TLS", "digest");
    if (st == ST_OK && has(s->ca_file))
        st = load_ca(ctx, s->ca_file, server_role, sum, err);
    if (st == ST_OK)
        st = server_role ? server_role_init(ctx, s, sum, tickets, err)
                         : client_role_init(ctx, s, err);
    EVP_MD_CTX_free(sum);
    return st;
}

/* ---- life ------------------------------------------------------------------------------------ */

enum status tls_ctx_new(const struct tls_settings *s, bool server_role,
                        struct tls_ticket_keys *tickets, struct tls_ctx **out, struct error *err)
{
    *out = NULL;
    ERR_clear_error();
    struct tls_ctx *c = mem_new(sizeof(*c));
    refs_init(&c->shared.refs);
    c->mode = s->mode;
    c->ssl = SSL_CTX_new(server_role ? TLS_server_method() : TLS_client_method());
    if (c->ssl == NULL) {
        mem_free(c);
        return tls_settings_openssl_error(err, "TLS", "new context");
    }
    enum status st = configure(c, s, server_role, tickets, err);
    if (st != ST_OK) {
        tls_ctx_put(&c);
        return st;
    }
    *out = c;
    return ST_OK;
}

struct tls_ctx *tls_ctx_get(struct tls_ctx *c)
{
    if (c != NULL)
        refs_get(&c->shared.refs);
    return c;
}

void tls_ctx_put(struct tls_ctx **c)
{
    struct tls_ctx *mine = *c;
    *c = NULL;
    if (mine == NULL || !refs_put(&mine->shared.refs))
        return;
    SSL_CTX_free(mine->ssl);
    mem_free(mine);
}

enum tls_mode tls_ctx_mode(const struct tls_ctx *c)
{
    return c->mode;
}

struct ssl_ctx_st *tls_ctx_ssl(const struct tls_ctx *c)
{
    return c->ssl;
}
