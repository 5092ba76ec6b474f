/* conn_tls.h - TLS as a layer under struct conn.
 *
 * Called by conn.c (reading, writing, handshake) and by the client and server machines (start,
 * facts for authentication).  OpenSSL 3 on the socket itself, non-blocking, with partial writes,
 * released buffers and read-ahead.  Thread: the owning worker's; the SSL_CTX behind it is shared
 * (tls_ctx.h).
 *
 * Read-ahead means that one read(2) may bring several records: after the handshake and after every
 * TLS_IO_OK the reader asks tls_pending and goes on while it is not 0, or schedules itself: no poll
 * will wake it.  tls_pending is 0 when nothing, or only the beginning of a record, is buffered;
 * OpenSSL gives its read buffer back only when it is empty, so a half-received record keeps 32 KiB
 * until its rest comes.
 * A failed or ended layer stays so: every later call answers the same.
 * Needs SIGPIPE ignored by the process.
 */
#ifndef PENSTOCK_PROXY_CONN_TLS_H
#define PENSTOCK_PROXY_CONN_TLS_H

#include "base/status.h"
#include "base/str.h"

struct tls;
struct tls_ctx;
struct outq;

#define TLS_ALPN "postgresql"

/* Starts TLS on fd, as server (accepting) or client. host: name for SNI and verification on the
 * client side, or NULL (with verify-full the handshake then fails); an address is never sent as SNI
 * and is compared with the certificate's IP entries. direct: ALPN "postgresql" is demanded of the
 * client (server role) or offered and demanded of the server (client role).
 * Takes a reference on ctx. NULL when OpenSSL has no memory. */
struct tls *tls_start(struct tls_ctx *ctx, int fd, bool server_role, const char *host, bool direct);
/* The same once more, on another socket to the same peer: context and host of like, which is of the
 * client role. */
struct tls *tls_start_like(const struct tls *like, int fd);
/* What had been read from the socket already, behind a PROXY header: the handshake begins with it.
 * Before the first tls_handshake. false: no memory. */
bool tls_begin_with(struct tls *t, struct str bytes) ATTR_NODISCARD;
/* Sends close-notify if it can without blocking: call it before fd is closed. NULL inside is
 * fine. */
void tls_free(struct tls **t);

enum tls_io { TLS_IO_OK, TLS_IO_WANT_READ, TLS_IO_WANT_WRITE, TLS_IO_EOF, TLS_IO_ERROR };

/* One step of the handshake. err says what the peer did wrong (certificate, version, ALPN). */
enum tls_io tls_handshake(struct tls *t, struct error *err);
/* OK: *got > 0 bytes. WANT_WRITE is possible (a key update that could not be answered): read again
 * when the socket is writable. EOF also without close-notify: the protocol inside knows where it
 * ends. */
enum tls_io tls_read(struct tls *t, void *p, size_t n, size_t *got);
/* Writes from the front of q and consumes; stops at the first would-block. OK: q is empty. Between
 * a would-block and the next call q may only grow at its end (or be settled). */
enum tls_io tls_write(struct tls *t, struct outq *q);
/* decrypted or buffered bytes that no poll will announce */
size_t tls_pending(const struct tls *t);

/* Hash of the server's certificate for SCRAM-SHA-256-PLUS (RFC 5929 tls-server-end-point): our own
 * when we accepted, the peer's when we connected. Returns its length, 0 when undefined. cap >=
 * 64. */
size_t tls_end_point(const struct tls *t, uint8_t *dst, size_t cap);
/* The verified client certificate's common name (or, dn true, its RFC 2253 subject); false:
 * none. */
bool tls_peer_name(const struct tls *t, bool dn, char *dst, size_t cap);
/* "TLSv1.3/TLS_AES_256_GCM_SHA384" */
void tls_describe(const struct tls *t, char *dst, size_t cap);
bool tls_is_resumed(const struct tls *t); /* the handshake was short: a ticket was accepted */

/* For tls_ctx.c: OpenSSL's client-hello callback, and RFC 5929's hash of a certificate (0:
 * undefined). */
struct ssl_st;
struct x509_st;
int tls_on_client_hello(struct ssl_st *ssl, int *alert, void *arg);
size_t tls_cert_hash(struct x509_st *cert, uint8_t *dst, size_t cap);

#endif
