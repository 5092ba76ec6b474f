/* md5.h - PostgreSQL's md5 password exchange, both roles.
 *
 * Called by: the PostgreSQL codec (AuthenticationMD5Password) and the checks of plain passwords.
 * The response to a salt is "md5" hex(md5(hex(md5(password user)) salt)); the stored form is
 * "md5" hex(md5(password user)).  A plain secret and a stored md5 secret can answer, a SCRAM
 * verifier cannot.  Pure, any thread.  Where OpenSSL refuses MD5 (FIPS) everything here fails.
 */
#ifndef PENSTOCK_MD5_H
#define PENSTOCK_MD5_H

#include "base/base.h"
#include "base/status.h"
#include "base/str.h"
#include "protocol/auth/secret.h"

#define MD5_TEXT_LEN 35 /* "md5" and 32 hex digits */
#define MD5_SALT_LEN 4

/* The stored form of a password: MD5_TEXT_LEN characters, terminated. false: MD5 is not available.
 */
bool md5_hash_password(struct str password, struct str user,
                       char out[MD5_TEXT_LEN + 1]) ATTR_NODISCARD;

/* Client role: the response to a server's salt, terminated. ST_DENIED: the secret is none or a
 * SCRAM verifier, which cannot answer; ST_UNSUPPORTED: MD5 is not available. */
enum status md5_response(const struct secret *s, struct str user, const uint8_t salt[MD5_SALT_LEN],
                         char out[MD5_TEXT_LEN + 1]) ATTR_NODISCARD;

/* Server role: true if response (without its terminating zero) is the right one. s NULL or of a
 * kind that cannot answer: false, after the same work. */
bool md5_verify(const struct secret *s, struct str user, const uint8_t salt[MD5_SALT_LEN],
                struct str response) ATTR_NODISCARD;

/* true if password is the one of a SECRET_MD5. */
bool md5_check_password(const struct secret *s, struct str user,
                        struct str password) ATTR_NODISCARD;

#endif
