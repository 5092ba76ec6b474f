/* tls_link.h - two TLS ends in one process, over a relay that can be slow.  For test_tls*.c.
 *
 * Certificates are made once per program (certs.h) and written to a private directory, because
 * contexts read files.  Each end has its own socket pair to the relay, which moves as many bytes at
 * a time as the test says.  foreign_*: a client of another make, OpenSSL itself, with tickets and
 * any ALPN.
 */
#ifndef PENSTOCK_TEST_TLS_LINK_H
#define PENSTOCK_TEST_TLS_LINK_H

#include "base/base.h"

#include "base/outq.h"
#include "proxy/net/conn_tls.h"
#include "proxy/net/tls_ctx.h"
#include "test/unit/support/certs.h"

#include <openssl/ssl.h>

struct tls_link_world {
    struct certs certs;
    struct tls_ticket_keys *tickets;
};
extern struct tls_link_world world;

struct end {
    int fd, far; /* ours, and the relay's side of it */
    struct tls *tls;
    enum tls_io io;
    struct error err;
};

struct link {
    struct end server, client;
    size_t chunk; /* bytes the relay moves at once */
};

struct foreign {
    SSL_CTX *ctx;
    SSL *ssl;
    SSL_SESSION *session; /* the newest ticket */
};

int world_setup(void **state);
int world_teardown(void **state);
const char *path(const char *name); /* of a file of certs.h; the last eight stay valid */
struct tls_ctx *make(const struct tls_settings *s, bool server_role); /* fails the test */
struct tls_settings server_settings(const char *pair);
struct tls_ctx *server_ctx(const char *pair);
struct tls_ctx *client_ctx(enum tls_mode mode, const char *ca, const char *pair);

void open_sockets(struct link *k, size_t chunk);
void close_link(struct link *k);
bool move(int from, int to, size_t chunk);
bool relay(struct link *k);
bool waiting(const struct end *e);
void handshake(struct link *k); /* until both are through, or nothing moves any more */
void connect_ends(struct link *k, struct tls_ctx *server, struct tls_ctx *client, const char *host,
                  bool direct);
void assert_up(struct link *k);

void foreign_init(struct foreign *f, const char *pair);
void foreign_fini(struct foreign *f);
/* One connection with what was kept of the last; then a read, so that tickets arrive. */
bool foreign_connect(struct foreign *f, struct tls_ctx *server, struct link *k, const char *alpn);
void foreign_close(struct foreign *f, struct link *k);

#endif
