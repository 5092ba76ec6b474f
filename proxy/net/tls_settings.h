/* tls_settings.h - the words of the *_tls_* keys turned into OpenSSL's terms.
 *
 * Called by tls_ctx.c only, on the main thread, while a context is made.  Each function sets one
 * thing on a context nobody else has yet, or says in err why the text of the key is wrong.
 */
#ifndef PENSTOCK_PROXY_TLS_SETTINGS_H
#define PENSTOCK_PROXY_TLS_SETTINGS_H

#include "base/base.h"
#include "base/status.h"
#include "proxy/net/tls_ctx.h"

#include <openssl/ssl.h>

/* secure | all | legacy | a list of tlsv1, tlsv1.0 .. tlsv1.3, an item with ! or - in front is
 * taken out. */
enum status tls_settings_protocols(SSL_CTX *ctx, const char *text,
                                   struct error *err) ATTR_NODISCARD;
/* PgBouncer's short words (default, secure, fast, normal, compat, all, ...) or OpenSSL's syntax;
 * curve "none" takes ephemeral curves out of TLS 1.2. */
enum status tls_settings_ciphers(SSL_CTX *ctx, const struct tls_settings *s,
                                 struct error *err) ATTR_NODISCARD;
enum status tls_settings_key_exchange(SSL_CTX *ctx, const struct tls_settings *s,
                                      struct error *err) ATTR_NODISCARD;
/* Certificate chain and key, or several of them. */
enum status tls_settings_certificates(SSL_CTX *ctx, const struct tls_settings *s,
                                      struct error *err) ATTR_NODISCARD;
/* Puts OpenSSL's oldest complaint behind `what` into err and empties its queue. Returns
 * ST_INVALID. */
enum status tls_settings_openssl_error(struct error *err, const char *what, const char *value);

#endif
