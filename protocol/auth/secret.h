/* secret.h - what is known of a user's password: plain text, md5 hash or SCRAM verifier.
 *
 * Called by: userlist.c, the SCRAM and md5 exchanges, the credential store of the proxy.
 * A stored text (userlist.txt, pg_authid, auth_query) is told apart as PostgreSQL does it:
 * "md5" and 32 lower case hex digits is an md5 hash, "SCRAM-SHA-256$iterations:salt$stored:server"
 * a verifier, the empty text no password at all, and everything else is the password itself. One
 * difference: a text that begins like a verifier but is not one is refused instead of being taken
 * for a password.
 *
 * Invariants: a struct secret owns its memory; secret_fini wipes it; a secret is not changed after
 * it was parsed, so that several threads may read it.  A secret of SECRET_NONE authenticates
 * nobody. Nothing in here is ever logged; error texts hold no part of the secret.
 */
#ifndef PENSTOCK_SECRET_H
#define PENSTOCK_SECRET_H

#include "base/base.h"
#include "base/buf.h"
#include "base/status.h"
#include "base/str.h"

#define SECRET_PLAIN_MAX 65530 /* bytes of a plain password: what fits a PostgreSQL message */
#define SECRET_KEY_LEN 32      /* SHA-256 */
#define SECRET_SALT_MAX 1024   /* bytes of a SCRAM salt, ours and a peer's */
#define SECRET_ITERATIONS_MAX 10000000 /* SCRAM iterations, ours and a peer's */
#define SECRET_MD5_HEX 32

enum secret_kind { SECRET_NONE, SECRET_PLAIN, SECRET_MD5, SECRET_SCRAM };

struct secret {
    enum secret_kind kind;
    int iterations;               /* SECRET_SCRAM */
    uint8_t *bytes;               /* owned; SECRET_PLAIN: the password, SECRET_SCRAM: the salt */
    size_t len;                   /* of bytes */
    char md5_hex[SECRET_MD5_HEX]; /* SECRET_MD5, not terminated, without the prefix "md5" */
    uint8_t stored_key[SECRET_KEY_LEN]; /* SECRET_SCRAM */
    uint8_t server_key[SECRET_KEY_LEN]; /* SECRET_SCRAM */
};

/* Keys that one SCRAM login left behind and another can use: with the ClientKey a login works, with
 * the ServerKey the other side's proof is checked. Only valid for the verifier (salt, iterations)
 * they were made for. Wiped by the owner. */
struct scram_keys {
    uint8_t client_key[SECRET_KEY_LEN];
    uint8_t server_key[SECRET_KEY_LEN];
    bool have_client_key;
    bool have_server_key;
};

void secret_init(struct secret *s); /* SECRET_NONE, owns nothing */
void secret_fini(struct secret *s); /* wipes and frees; s is as after secret_init */

/* Parses a stored text into s, which must be as after secret_init. ST_INVALID: a text that begins
 * like a SCRAM verifier but is not one, or that holds a zero byte; ST_LIMIT: plain text over
 * SECRET_PLAIN_MAX; ST_MEMORY. After an error s is as after secret_init. */
enum status secret_parse(struct secret *s, struct str text, struct error *err) ATTR_NODISCARD;

/* Makes s (as after secret_init) a SCRAM verifier of these parts. Used by scram.c. */
enum status secret_set_scram(struct secret *s, struct str salt, int iterations,
                             const uint8_t stored_key[SECRET_KEY_LEN],
                             const uint8_t server_key[SECRET_KEY_LEN]) ATTR_NODISCARD;

/* The password of a SECRET_PLAIN, borrowed; STR_NONE for the other kinds. */
struct str secret_plain(const struct secret *s);

/* Appends the verifier as pg_authid stores it. ST_UNSUPPORTED: s is no verifier; ST_MEMORY: out is
 * full. */
enum status secret_format_scram(const struct secret *s, struct buf *out) ATTR_NODISCARD;

/* Comparisons in a time that does not depend on the content (that of secret_same tells the
 * lengths). */
bool secret_equal(const void *a, const void *b, size_t n);
bool secret_same(struct str a, struct str b);

#endif
