/* conn_tls.c - TLS as a layer under struct conn; see conn_tls.h.
 *
 * Two things here are not obvious.  First, SSL_has_pending counts the bytes of an incomplete record
 * too, which nobody can read yet; `starved` remembers that OpenSSL has asked for more, and from
 * then on the poll, not tls_pending, is the one to announce bytes.  Second, OpenSSL insists that a
 * write that would block is repeated with the same bytes and at least the same length.  tls_write
 * always offers exactly min(16 KiB, queue length) bytes, and queues only grow at their end, so a
 * repetition is never shorter.
 * Thread: the owning worker's.
 */
#include "proxy/net/conn_tls.h"

#include "base/mem.h"
#include "base/outq.h"
#include "proxy/net/sockopt.h"
#include "proxy/net/tls_ctx.h"

#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/uio.h>

#define RECORD_MAX 16384
#define GATHER_MAX 64

struct tls {
    SSL *ssl;            /* owned */
    struct tls_ctx *ctx; /* reference */
    char *host;          /* owned; client role: whom it was started for, or NULL */
    bool server_role, direct;
    bool nameless;     /* verify-full without a name to verify */
    bool early;        /* reads come from memory until tls_begin_with's bytes are used up */
    bool starved;      /* what is buffered is less than a record */
    bool blocked;      /* a record is half-written */
    enum tls_io ended; /* TLS_IO_OK until it failed or the peer closed */
};

/* ---- start and end --------------------------------------------------------------------------- */

/* The host as OpenSSL wants it: without brackets, scope and final dot. */
static bool host_text(const char *host, char *dst, size_t cap, bool *numeric)
{
    struct sockaddr_storage ss;
    uint32_t len = 0;
    struct str h = str_of(host);
    *numeric = sockopt_parse(h, 0, &ss, &len);
    if (*numeric) {
        sockopt_format((const struct sockaddr *)&ss, 0, dst, cap);
        return true;
    }
    if (h.n > 0 && h.p[h.n - 1] == '.')
        h.n--;
    return h.n > 0 && str_copy(dst, cap, h);
}

static bool set_host(struct tls *t, const char *host)
{
    char text[256];
    bool numeric = false;
    bool verify = tls_ctx_mode(t->ctx) == TLS_VERIFY_FULL;
    if (host == NULL || !host_text(host, text, sizeof(text), &numeric)) {
        t->nameless = verify;
        return true;
    }
    if (!numeric && SSL_set_tlsext_host_name(t->ssl, text) != 1)
        return false;
    if (!verify)
        return true;
    SSL_set_hostflags(t->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (numeric)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(t->ssl), text) == 1;
    return SSL_set1_host(t->ssl, text) == 1;
}

static bool set_client_role(struct tls *t, const char *host)
{
    static const unsigned char offer[] = "\x0a" TLS_ALPN;
    SSL_set_connect_state(t->ssl);
    if (!set_host(t, host))
        return false;
    /* this one function answers 0 for success */
    return !t->direct || SSL_set_alpn_protos(t->ssl, offer, sizeof(offer) - 1) == 0;
}

struct tls *tls_start(struct tls_ctx *ctx, int fd, bool server_role, const char *host, bool direct)
{
    ERR_clear_error();
    struct tls *t = mem_new(sizeof(*t));
    t->ctx = tls_ctx_get(ctx);
    t->server_role = server_role;
    t->direct = direct;
    t->ended = TLS_IO_OK;
    t->ssl = SSL_new(tls_ctx_ssl(ctx));
    if (t->ssl == NULL || SSL_set_app_data(t->ssl, t) != 1 || SSL_set_fd(t->ssl, fd) != 1)
        goto fail;
    if (server_role)
        SSL_set_accept_state(t->ssl);
    else if (!set_client_role(t, host))
        goto fail;
    if (!server_role && host != NULL)
        t->host = str_dup(str_of(host));
    return t;
fail:
    SSL_free(t->ssl);
    tls_ctx_put(&t->ctx);
    mem_free(t);
    return NULL;
}

struct tls *tls_start_like(const struct tls *like, int fd)
{
    return tls_start(like->ctx, fd, false, like->host, like->direct);
}

bool tls_begin_with(struct tls *t, struct str bytes)
{
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio == NULL || bytes.n > INT_MAX || BIO_write(bio, bytes.p, (int)bytes.n) != (int)bytes.n) {
        BIO_free(bio);
        ERR_clear_error();
        return false;
    }
    SSL_set0_rbio(t->ssl, bio);
    t->early = true;
    return true;
}

/* Back to the socket when memory is empty. False: there is more of it. */
static bool leave_memory(struct tls *t)
{
    if (BIO_pending(SSL_get_rbio(t->ssl)) > 0 || BIO_up_ref(SSL_get_wbio(t->ssl)) != 1)
        return false;
    SSL_set0_rbio(t->ssl, SSL_get_wbio(t->ssl));
    t->early = false;
    return true;
}

void tls_free(struct tls **t)
{
    struct tls *mine = *t;
    *t = NULL;
    if (mine == NULL)
        return;
    bool sound = mine->ended == TLS_IO_OK || mine->ended == TLS_IO_EOF;
    if (sound && !mine->blocked && SSL_is_init_finished(mine->ssl)) {
        ERR_clear_error();
        (void)SSL_shutdown(mine->ssl); /* one try: nobody waits for the peer's answer */
    }
    ERR_clear_error();
    SSL_free(mine->ssl);
    tls_ctx_put(&mine->ctx);
    mem_free(mine->host);
    mem_free(mine);
}

/* ---- steps ----------------------------------------------------------------------------------- */

static enum tls_io result_of(struct tls *t, int rc)
{
    int saved = errno;
    switch (SSL_get_error(t->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        return TLS_IO_WANT_READ;
    case SSL_ERROR_WANT_WRITE:
        return TLS_IO_WANT_WRITE;
    case SSL_ERROR_ZERO_RETURN:
        t->ended = TLS_IO_EOF;
        break;
    case SSL_ERROR_SYSCALL:
        t->ended = saved == 0 || saved == ECONNRESET ? TLS_IO_EOF : TLS_IO_ERROR;
        break;
    default:
        t->ended = ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING
                       ? TLS_IO_EOF
                       : TLS_IO_ERROR;
        break;
    }
    return t->ended;
}

static void describe_failure(struct tls *t, enum tls_io io, struct error *err)
{
    unsigned long code = ERR_peek_error();
    const char *why = code != 0 ? ERR_reason_error_string(code) : NULL;
    long verify = SSL_get_verify_result(t->ssl);
    if (io == TLS_IO_EOF)
        (void)error_set(err, ST_IO, "TLS handshake failed: the peer closed the connection");
    else if (ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED && verify != X509_V_OK)
        (void)error_set(err, ST_DENIED, "TLS handshake failed: %s: %s", why,
                        X509_verify_cert_error_string(verify));
    else if (why != NULL)
        (void)error_set(err, ST_INVALID, "TLS handshake failed: %s", why);
    else
        (void)error_set(err, ST_IO, "TLS handshake failed: connection lost");
}

/* What a finished handshake must have brought. */
static enum tls_io check_handshake(struct tls *t, struct error *err)
{
    const unsigned char *alpn = NULL;
    unsigned n = 0;
    if (!t->direct)
        return TLS_IO_OK;
    SSL_get0_alpn_selected(t->ssl, &alpn, &n);
    if (n == sizeof(TLS_ALPN) - 1 && memcmp(alpn, TLS_ALPN, n) == 0)
        return TLS_IO_OK;
    t->ended = TLS_IO_ERROR;
    (void)error_set(err, ST_INVALID, "direct TLS without ALPN \"%s\"", TLS_ALPN);
    return t->ended;
}

enum tls_io tls_handshake(struct tls *t, struct error *err)
{
    if (t->nameless) {
        t->ended = TLS_IO_ERROR;
        (void)error_set(err, ST_INVALID, "verify-full needs a host name to verify");
    }
    if (t->ended != TLS_IO_OK)
        return t->ended;
    enum tls_io io = TLS_IO_WANT_READ;
    for (bool again = true; again && io == TLS_IO_WANT_READ;) {
        ERR_clear_error();
        errno = 0;
        int rc = SSL_do_handshake(t->ssl);
        if (rc == 1 && (!t->early || leave_memory(t)))
            return check_handshake(t, err);
        io = rc == 1 ? TLS_IO_ERROR : result_of(t, rc); /* a hello ends where we must answer it */
        again = t->early && leave_memory(t);
    }
    if (io == TLS_IO_ERROR)
        t->ended = io;
    if (io == TLS_IO_EOF || io == TLS_IO_ERROR)
        describe_failure(t, io, err);
    return io;
}

enum tls_io tls_read(struct tls *t, void *p, size_t n, size_t *got)
{
    *got = 0;
    if (t->ended != TLS_IO_OK)
        return t->ended;
    ERR_clear_error();
    do {
        size_t part = 0;
        errno = 0;
        int rc = SSL_read_ex(t->ssl, (uint8_t *)p + *got, n - *got, &part);
        if (rc != 1) {
            enum tls_io io = result_of(t, rc);
            t->starved = io == TLS_IO_WANT_READ;
            /* an end behind these bytes is remembered and comes with the next call */
            return *got > 0 ? TLS_IO_OK : io;
        }
        t->starved = false;
        *got += part;
        /* further records that came with the same read(2) cost no system call */
    } while (*got < n && SSL_has_pending(t->ssl));
    return TLS_IO_OK;
}

/* The first `want` bytes of q in one piece: in place if they are, else gathered in mem. */
static const uint8_t *front(const struct outq *q, size_t want, uint8_t *mem, size_t *have)
{
    struct iovec iov[GATHER_MAX];
    int n = outq_iov(q, iov, GATHER_MAX);
    *have = 0;
    if (n > 0 && iov[0].iov_len >= want) {
        *have = want;
        return iov[0].iov_base;
    }
    for (int i = 0; i < n && *have < want; i++) {
        size_t part = MIN(iov[i].iov_len, want - *have);
        memcpy(mem + *have, iov[i].iov_base, part);
        *have += part;
    }
    return mem;
}

enum tls_io tls_write(struct tls *t, struct outq *q)
{
    uint8_t mem[RECORD_MAX];
    if (t->ended != TLS_IO_OK)
        return t->ended;
    ERR_clear_error();
    while (q->len > 0) {
        size_t have = 0, done = 0;
        const uint8_t *p = front(q, MIN(q->len, (size_t)RECORD_MAX), mem, &have);
        errno = 0;
        int rc = SSL_write_ex(t->ssl, p, have, &done);
        if (rc != 1) {
            enum tls_io io = result_of(t, rc);
            t->blocked = io == TLS_IO_WANT_READ || io == TLS_IO_WANT_WRITE;
            return io;
        }
        t->blocked = false;
        outq_consume(q, done);
    }
    return TLS_IO_OK;
}

size_t tls_pending(const struct tls *t)
{
    if (t->ended != TLS_IO_OK)
        return 1; /* the reader must learn of it, and the socket may stay silent */
    int ready = SSL_pending(t->ssl);
    if (ready > 0)
        return (size_t)ready;
    return !t->starved && SSL_has_pending(t->ssl) ? 1 : 0;
}

/* ---- facts ----------------------------------------------------------------------------------- */

int tls_on_client_hello(struct ssl_st *ssl, int *alert, void *arg)
{
    (void)arg;
    const struct tls *t = SSL_get_app_data(ssl);
    const unsigned char *ext = NULL;
    size_t n = 0;
    if (t == NULL || !t->direct ||
        SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation, &ext,
                                  &n) == 1)
        return SSL_CLIENT_HELLO_SUCCESS;
    *alert = SSL_AD_NO_APPLICATION_PROTOCOL;
    ERR_raise(ERR_LIB_SSL, SSL_R_NO_APPLICATION_PROTOCOL);
    return SSL_CLIENT_HELLO_ERROR;
}

size_t tls_cert_hash(struct x509_st *cert, uint8_t *dst, size_t cap)
{
    int nid = NID_undef;
    unsigned n = 0;
    if (cert == NULL || cap < EVP_MAX_MD_SIZE ||
        X509_get_signature_info(cert, &nid, NULL, NULL, NULL) != 1 || nid == NID_undef) {
        ERR_clear_error();
        return 0; /* EdDSA, for one, names no hash of its own */
    }
    const EVP_MD *md = nid == NID_md5 || nid == NID_sha1 ? EVP_sha256() : EVP_get_digestbynid(nid);
    if (md == NULL || X509_digest(cert, md, dst, &n) != 1)
        return 0;
    return n;
}

size_t tls_end_point(const struct tls *t, uint8_t *dst, size_t cap)
{
    if (!SSL_is_init_finished(t->ssl))
        return 0;
    if (!t->server_role)
        return tls_cert_hash(SSL_get0_peer_certificate(t->ssl), dst, cap);
    if (!SSL_session_reused(t->ssl))
        return tls_cert_hash(SSL_get_certificate(t->ssl), dst, cap);
    /* the client remembers the certificate of the first handshake, which may have been another */
    void *kept = NULL;
    size_t n = 0;
    if (SSL_SESSION_get0_ticket_appdata(SSL_get_session(t->ssl), &kept, &n) != 1 || n > cap)
        return 0;
    if (n > 0)
        memcpy(dst, kept, n);
    return n;
}

static bool name_text(const X509_NAME *name, char *dst, size_t cap)
{
    bool ok = false;
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio != NULL && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0) {
        char *p = NULL;
        long n = BIO_get_mem_data(bio, &p);
        ok = n > 0 && memchr(p, 0, (size_t)n) == NULL &&
             str_copy(dst, cap, (struct str){p, (size_t)n});
    }
    BIO_free(bio);
    return ok;
}

static bool common_name(const X509_NAME *name, char *dst, size_t cap)
{
    int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    if (at < 0)
        return false;
    unsigned char *utf8 = NULL;
    int n = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
    /* a zero byte inside would make the name look shorter than what the CA has signed */
    bool ok = n > 0 && memchr(utf8, 0, (size_t)n) == NULL &&
              str_copy(dst, cap, (struct str){(const char *)utf8, (size_t)n});
    OPENSSL_free(utf8);
    return ok;
}

bool tls_peer_name(const struct tls *t, bool dn, char *dst, size_t cap)
{
    dst[0] = '\0';
    X509 *cert = SSL_get0_peer_certificate(t->ssl);
    if (!SSL_is_init_finished(t->ssl) || cert == NULL ||
        (SSL_get_verify_mode(t->ssl) & SSL_VERIFY_PEER) == 0 ||
        SSL_get_verify_result(t->ssl) != X509_V_OK)
        return false;
    const X509_NAME *name = X509_get_subject_name(cert);
    bool ok = dn ? name_text(name, dst, cap) : common_name(name, dst, cap);
    if (!ok)
        dst[0] = '\0'; /* half a name is somebody else's */
    ERR_clear_error();
    return ok;
}

void tls_describe(const struct tls *t, char *dst, size_t cap)
{
    const char *cipher = SSL_get_cipher_name(t->ssl);
    snprintf(dst, cap, "%s/%s", SSL_get_version(t->ssl), cipher != NULL ? cipher : "none");
}

bool tls_is_resumed(const struct tls *t)
{
    return SSL_is_init_finished(t->ssl) && SSL_session_reused(t->ssl);
}
