/* scram.h - SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, 7677) as PostgreSQL speaks it.
 *
 * Called by: the PostgreSQL codec (logins of clients, logins to servers), the proxy's password
 * checks. Both roles are structures that are fed with messages and give out messages; no socket, no
 * loop:
 *
 *   server role                                   client role
 *   scram_server_init                             scram_client_init
 *   scram_server_first(mechanism, client-first)   scram_client_first(offered mechanisms)
 *   scram_server_final(client-final)              scram_client_final(server-first)
 *   scram_server_fini                             scram_client_verify(server-final)
 *                                                 scram_client_fini
 *
 * A reply is borrowed from the structure until the next call on it.  After any result but ST_OK the
 * exchange is over and every further call is ST_INVALID, as is a call out of order.
 *
 * Limits: a message SCRAM_MESSAGE_MAX, a peer's nonce SCRAM_NONCE_MAX, a salt SECRET_SALT_MAX,
 * iterations 1 to SECRET_ITERATIONS_MAX (or less, where the caller says so).  Nothing is allocated
 * by a length that a peer announced.
 *
 * Cost: turning a password into keys takes `iterations` HMACs (4096 of them: about a millisecond),
 * all else microseconds.  The server role pays it only for a plain secret: callers keep the
 * verifier that scram_derive_verifier makes.  The client role pays it unless it has keys or a
 * filled cache.
 *
 * Invariants: keys and passwords are wiped by fini; comparisons that a peer could time are constant
 * in time; no message or key ever stands in an error text.  One thread per structure.
 */
#ifndef PENSTOCK_SCRAM_H
#define PENSTOCK_SCRAM_H

#include "base/base.h"
#include "base/buf.h"
#include "base/status.h"
#include "base/str.h"
#include "protocol/auth/secret.h"

#define SCRAM_ITERATIONS 4096  /* default for verifiers made here */
#define SCRAM_SALT_LEN 16      /* of salts made here */
#define SCRAM_MESSAGE_MAX 8192 /* bytes of one message of a peer */
#define SCRAM_NONCE_MAX 1024   /* characters of a peer's part of the nonce */
#define SCRAM_BINDING_MAX 1024 /* bytes of channel binding data */

/* ---- keys
 * ----------------------------------------------------------------------------------------- */

/* Makes out (as after secret_init) the verifier of password, which is prepared with SASLprep first.
 * salt empty: SCRAM_SALT_LEN random bytes. ST_LIMIT: salt, iterations or password out of range or
 * password empty; ST_MEMORY; ST_UNSUPPORTED: the cryptographic library refuses. */
enum status scram_derive_verifier(struct secret *out, struct str password, int iterations,
                                  struct str salt) ATTR_NODISCARD;

/* ClientKey and ServerKey of a password. Statuses as above. */
enum status scram_derive_keys(struct scram_keys *out, struct str password, int iterations,
                              struct str salt) ATTR_NODISCARD;

/* true if password is the one of verifier (kind SECRET_SCRAM). keys, may be NULL: filled when true.
 */
bool scram_check_password(const struct secret *verifier, struct str password,
                          struct scram_keys *keys) ATTR_NODISCARD;

void scram_keys_wipe(struct scram_keys *keys);

/* ---- server role
 * ---------------------------------------------------------------------------------- */

struct scram_server_config {     /* everything is borrowed for the call of scram_server_init only */
    const struct secret *secret; /* NULL, none or md5: an exchange that looks real and fails */
    struct str user;         /* from the start-up packet; decides the salt of such an exchange */
    int iterations;          /* for a plain secret and for such an exchange; 0: SCRAM_ITERATIONS */
    struct str binding;      /* tls-server-end-point data; not empty: -PLUS is offered */
    const uint8_t *mock_key; /* 32 secret bytes behind invented salts; NULL: the process's hash key.
                                Where salts must survive a restart, pass one that does. */
    struct str nonce;        /* tests: our part of the nonce; empty: random */
    struct str salt;         /* tests: the salt for a plain secret; empty: random */
};

enum scram_server_state {
    SCRAM_SERVER_START,
    SCRAM_SERVER_SENT,
    SCRAM_SERVER_DONE,
    SCRAM_SERVER_FAILED
};

struct scram_server {
    enum scram_server_state state;
    bool mock;              /* must fail at the end */
    struct secret verifier; /* owned */
    struct scram_keys keys; /* after DONE: ClientKey and ServerKey of this login */
    struct buf own_nonce;
    struct buf binding;         /* empty: -PLUS is not offered */
    struct buf expect_c;        /* after the first message: what "c=" must hold, base64 */
    struct buf transcript;      /* AuthMessage as far as it is known */
    size_t nonce_at, nonce_len; /* both parts of the nonce, in transcript */
    struct buf reply;
};

/* What a server offers in AuthenticationSASL: names, each ended by a zero byte, and a last zero
 * byte. */
struct str scram_server_mechanisms(bool plus);

/* s needs no preparation. After an error only scram_server_fini may be called. ST_LIMIT: configured
 * values out of range; ST_MEMORY; ST_UNSUPPORTED. */
enum status scram_server_init(struct scram_server *s, const struct scram_server_config *cfg,
                              struct error *err) ATTR_NODISCARD;
void scram_server_fini(struct scram_server *s); /* wipes everything */

/* client-first with the mechanism that the client selected. ST_OK: send *reply (server-first).
 * ST_INVALID: malformed; ST_LIMIT: too long; ST_UNSUPPORTED: unknown mechanism, extension or
 * binding; ST_DENIED: downgrade seen. */
enum status scram_server_first(struct scram_server *s, struct str mechanism, struct str message,
                               struct str *reply, struct error *err) ATTR_NODISCARD;

/* client-final. ST_OK: authenticated, send *reply (server-final), s->keys are complete. ST_DENIED:
 * wrong password, unknown user or changed messages; the others as above. */
enum status scram_server_final(struct scram_server *s, struct str message, struct str *reply,
                               struct error *err) ATTR_NODISCARD;

/* ---- client role
 * ---------------------------------------------------------------------------------- */

/* Keys of one password for one salt, so that reconnecting does not pay the iterations again. Owned
 * by the caller, zeroed at first, one per password and server, wiped by scram_client_cache_wipe
 * when either changes. Written only after the server has proved that it knows the verifier. */
struct scram_client_cache {
    int iterations; /* 0: nothing cached */
    size_t salt_len;
    uint8_t salt[SECRET_SALT_MAX];
    uint8_t client_key[SECRET_KEY_LEN];
    uint8_t server_key[SECRET_KEY_LEN];
};

struct scram_client_config { /* borrowed for the call of scram_client_init only, except cache */
    struct str password;     /* used when keys is NULL */
    const struct scram_keys *keys;    /* passed through from a client's login; both keys needed */
    struct str user;                  /* PostgreSQL ignores it: leave it empty */
    struct str binding;               /* tls-server-end-point data; empty: no TLS */
    int max_iterations;               /* of the server; 0: SECRET_ITERATIONS_MAX */
    struct scram_client_cache *cache; /* may be NULL; borrowed until fini */
    struct str nonce;                 /* tests: our nonce; empty: random */
};

enum scram_client_state {
    SCRAM_CLIENT_START,
    SCRAM_CLIENT_SENT_FIRST,
    SCRAM_CLIENT_SENT_FINAL,
    SCRAM_CLIENT_DONE,
    SCRAM_CLIENT_FAILED,
};

struct scram_client {
    enum scram_client_state state;
    struct secret password; /* owned; none with passed-through keys */
    bool fixed_keys;        /* keys came from outside */
    int max_iterations;
    int iterations; /* from the server */
    struct scram_keys keys;
    struct scram_client_cache *cache; /* borrowed, may be NULL */
    uint8_t salt[SECRET_SALT_MAX];
    size_t salt_len;
    uint8_t signature[SECRET_KEY_LEN]; /* what the server must prove */
    struct buf binding;                /* empty: no TLS */
    struct buf user;                   /* escaped */
    struct buf nonce;                  /* ours */
    struct buf header; /* GS2 header, with binding data behind it where it is used */
    struct buf transcript;
    struct buf reply;
};

/* c needs no preparation. After an error only scram_client_fini may be called. ST_INVALID: no
 * usable credentials; ST_LIMIT; ST_MEMORY. */
enum status scram_client_init(struct scram_client *c, const struct scram_client_config *cfg,
                              struct error *err) ATTR_NODISCARD;
void scram_client_fini(struct scram_client *c); /* wipes everything but the caller's cache */

/* offered: the body of AuthenticationSASL (names, each ended by a zero byte, then a zero byte).
 * ST_OK: *mechanism is the chosen one (-PLUS when it is offered and there is binding data), a
 * constant, also zero-terminated; *reply is client-first. ST_UNSUPPORTED: nothing we speak is
 * offered. */
enum status scram_client_first(struct scram_client *c, struct str offered, struct str *mechanism,
                               struct str *reply, struct error *err) ATTR_NODISCARD;

/* server-first (AuthenticationSASLContinue). ST_OK: *reply is client-final. */
enum status scram_client_final(struct scram_client *c, struct str message, struct str *reply,
                               struct error *err) ATTR_NODISCARD;

/* server-final (AuthenticationSASLFinal). ST_OK: the server has proved itself; c->keys may be kept.
 * ST_DENIED: wrong proof or an error from the server. */
enum status scram_client_verify(struct scram_client *c, struct str message,
                                struct error *err) ATTR_NODISCARD;

/* true once scram_client_verify has succeeded: an AuthenticationOk before that must be refused. */
bool scram_client_done(const struct scram_client *c);

void scram_client_cache_wipe(struct scram_client_cache *cache);

#endif
