/* certs.h - a small certification authority for tests: keys and certificates in a private
 * directory.
 *
 * Called by test_tls.c once per run.  ca and other_ca sign; both_ca.crt holds both; server,
 * server384, server_sha1, ed25519 (names: db.example, 127.0.0.1, ::1), client (CN alice), zero (a
 * CN with a zero byte) come from ca, stranger from other_ca.  NAME.crt, NAME.key; locked.key has a
 * pass phrase; damaged.crt is cut in the middle.
 */
#ifndef PENSTOCK_TEST_CERTS_H
#define PENSTOCK_TEST_CERTS_H

#include "base/base.h"

struct certs {
    char dir[32];
};

bool certs_make(struct certs *c);
void certs_remove(struct certs *c);
/* RFC 5929's hash of NAME.crt, computed here and not by the program; returns its length. */
size_t certs_hash(const struct certs *c, const char *name, uint8_t *dst);

#endif
