/* tls_ctx.h - TLS contexts made from configuration: certificates, versions, ciphers, verification.
 *
 * Made on the main thread at start and at reload (certificates are read again), shared read-only by
 * the workers through a reference count; old connections keep the context they began with.  The
 * session ticket keys of the server role are drawn once per process and shared by workers and by
 * successive contexts, so that a resumption works on any worker and after a reload.  A session made
 * under another CA file or another verification is never resumed, nor one whose client certificate
 * has expired since.
 *
 * Server role: verify-ca and verify-full demand a client certificate of the CA; the other modes ask
 * for one only when there is a CA (a wrong one still breaks the handshake).  ALPN: "postgresql" is
 * chosen when it is among the client's offers; offers without it are refused.
 * Client role: the chain is verified by verify-ca and verify-full only (by the system's CAs when
 * there is no ca_file); verify-full also compares the host that tls_start is given.
 */
#ifndef PENSTOCK_PROXY_TLS_CTX_H
#define PENSTOCK_PROXY_TLS_CTX_H

#include "base/status.h"
#include "base/str.h"

struct tls_ctx;

enum tls_mode { TLS_DISABLE, TLS_ALLOW, TLS_PREFER, TLS_REQUIRE, TLS_VERIFY_CA, TLS_VERIFY_FULL };

struct tls_settings { /* borrowed strings; NULL or empty: default */
    enum tls_mode mode;
    /* cert_file and key_file may be lists with commas (an RSA and an ECDSA pair: the client
     * chooses); an empty key_file means that the certificate file holds the key too */
    const char *cert_file, *key_file, *ca_file;
    const char *protocols; /* secure | all | list as PgBouncer's *_tls_protocols */
    const char *ciphers, *tls13_ciphers;
    const char *ecdhcurve; /* auto | none | name */
    const char *dheparams; /* auto | none | legacy */
};

struct tls_ticket_keys; /* process-wide; made by main */
struct tls_ticket_keys *tls_ticket_keys_new(void);
void tls_ticket_keys_free(struct tls_ticket_keys **k);

/* ST_INVALID with the file and reason when something cannot be loaded; minimum version is TLS 1.2
 * unless the protocols say otherwise. tickets: for the server role, else NULL. */
enum status tls_ctx_new(const struct tls_settings *s, bool server_role,
                        struct tls_ticket_keys *tickets, struct tls_ctx **out,
                        struct error *err) ATTR_NODISCARD;
struct tls_ctx *tls_ctx_get(struct tls_ctx *c);
void tls_ctx_put(struct tls_ctx **c);
enum tls_mode tls_ctx_mode(const struct tls_ctx *c);
/* OpenSSL's SSL_CTX, borrowed: for conn_tls.c only. */
struct ssl_ctx_st;
struct ssl_ctx_st *tls_ctx_ssl(const struct tls_ctx *c);

#endif
