/* saslprep.h - RFC 4013 preparation of passwords, the way PostgreSQL applies it.
 *
 * Called by: scram.c before a password is hashed.  PostgreSQL's rules, which differ from the RFC
 * and which a verifier made by PostgreSQL therefore carries in it:
 *  - pure ASCII is taken as it is;
 *  - a password that is not UTF-8, is empty after mapping, holds prohibited or unassigned
 * characters or breaks the rule for right-to-left text is used raw instead of being refused;
 *  - prohibition and direction are tested before normalisation, not after.
 * Pure, any thread; every buffer that held the password is wiped.
 */
#ifndef PENSTOCK_SASLPREP_H
#define PENSTOCK_SASLPREP_H

#include "base/base.h"
#include "base/status.h"
#include "base/str.h"

/* Prepares in. ST_OK: *out is heap text of *n bytes, terminated, freed with saslprep_free.
 * ST_INVALID: in cannot be prepared; ST_MEMORY. */
enum status saslprep_prepare(struct str in, char **out, size_t *n) ATTR_NODISCARD;

/* The same, but what cannot be prepared comes out as it went in. ST_OK or ST_MEMORY. */
enum status saslprep_password(struct str in, char **out, size_t *n) ATTR_NODISCARD;

void saslprep_free(char **text, size_t n); /* wipes, frees, clears the pointer; NULL is fine */

#endif
