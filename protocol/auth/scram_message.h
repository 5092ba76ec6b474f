/* scram_message.h - what both SCRAM roles need to read messages and to compute proofs.
 *
 * Included by: scram.c, scram_server.c, scram_client.c only.  Pure, any thread.
 */
#ifndef PENSTOCK_SCRAM_MESSAGE_H
#define PENSTOCK_SCRAM_MESSAGE_H

#include "base/base.h"
#include "base/buf.h"
#include "base/str.h"
#include "protocol/auth/secret.h"

#define SCRAM_MESSAGE_NONCE_RAW 18       /* random bytes of a nonce made here: 24 characters */
#define SCRAM_MESSAGE_BUF_MAX (4 * 8192) /* transcript: three messages and what separates them */

#define SCRAM_MESSAGE_PLUS STR("SCRAM-SHA-256-PLUS")
#define SCRAM_MESSAGE_PLAIN STR("SCRAM-SHA-256")
#define SCRAM_MESSAGE_BINDING STR("p=tls-server-end-point,,")

/* Takes the attribute "x=value" from the front of *rest, which moves behind its comma, or becomes
 * STR_NONE at the end. false: no attribute there. The value may be empty; it holds no zero byte. */
bool scram_message_attr(struct str *rest, char *name, struct str *value) ATTR_NODISCARD;

/* The same, for an attribute that must be called name. */
bool scram_message_need(struct str *rest, char name, struct str *value) ATTR_NODISCARD;

/* Skips extensions: any attributes up to the end. false: malformed. */
bool scram_message_skip(struct str rest) ATTR_NODISCARD;

/* Printable ASCII without blank and comma, at least one character: what a nonce is made of. */
bool scram_message_nonce(struct str s) ATTR_NODISCARD;

/* Appends fixed, or, when that is empty, a random nonce of 24 characters. */
void scram_message_put_nonce(struct buf *b, struct str fixed);

void scram_message_put_b64(struct buf *b, const void *p, size_t n);

/* a = a XOR b */
void scram_message_xor(uint8_t a[SECRET_KEY_LEN], const uint8_t b[SECRET_KEY_LEN]);

/* Wipes what b holds, then frees it. */
void scram_message_wipe_buf(struct buf *b);

#endif
