/* cache_key.h - what makes two requests equal: the name of an entry and its identity.
 *
 * The name is for people and for invalidation ("balance:42"): all variants of an answer (users,
 * formats, settings) lie below one name and go away together.  The identity decides which of them
 * is meant: rule, user, settings, formats and the value of every parameter, in a canonical form, so
 * that 42 in a text, '42' and a bound 42 in text or binary form of any width are one.  Identities
 * are compared whole, never by a hash; Redis holds the SHA-256 of it.
 *
 * Called by the worker for each request that belongs to a rule; nothing is allocated.
 */
#ifndef PENSTOCK_CACHE_KEY_H
#define PENSTOCK_CACHE_KEY_H

#include "base/base.h"
#include "base/str.h"
#include "cache/cache_entry.h"
#include "cache/cache_rule.h"
#include "protocol/wire.h"

#define CACHE_IDENTITY_MAX 1024
#define CACHE_FIELD_BYTES 16 /* hex digits: the field of a Redis hash */

/* The type of a column that parameters are compared with: what decides the canonical form.
 * Anything else cannot be told apart safely ('042', 1.0 = 1.00, citext, char(n), float, times) and
 * makes a rule refuse (threat 37). */
enum cache_type {
    CACHE_TYPE_NONE,
    CACHE_TYPE_INT2,
    CACHE_TYPE_INT4,
    CACHE_TYPE_INT8,
    CACHE_TYPE_UUID,
    CACHE_TYPE_TEXT, /* text and varchar under a deterministic collation */
};

/* Of a session: made when its database, user or settings change, kept with it. */
struct cache_session {
    uint8_t digest[CACHE_DIGEST_BYTES]; /* of database and settings */
    struct str user;                    /* borrowed */
};

/* settings: all that may change what a read returns (wire.h, var_result), sorted by name; names are
 * compared folded. Slow (a digest): when something changed only. */
void cache_key_session(struct str database, const struct wire_var *settings, int n,
                       uint8_t digest[CACHE_DIGEST_BYTES]);

struct cache_request {
    struct str text; /* of the statement, as the client wrote it */
    uint32_t dialect;
    const struct wire_value *values; /* of the bind part; NULL in the simple protocol */
    int nvalues;
    struct str formats; /* of the result's columns, from the codec; empty: all text */
};

struct cache_key {
    struct str name;     /* "balance:42" */
    struct str identity; /* both in bytes[] */
    uint64_t hash;       /* of the name and the rule; seeded, of this process */
    char bytes[CACHE_KEY_TEXT + CACHE_IDENTITY_MAX];
};

enum cache_key_result {
    CACHE_KEY_OK,
    CACHE_KEY_CONSTANT, /* a constant differs from the rule's, or a parameter stands in its place */
    CACHE_KEY_VALUE,    /* a value is NULL, no value of the type, of a type that is not known */
    CACHE_KEY_LENGTH,   /* name or identity too long */
};

/* Of the rules with the normalised text of r (cache_rule_find), the one whose constants stand in
 * the request; r itself when it is the only one, or when none fits. */
const struct cache_rule *cache_key_rule(const struct cache_rule *r, const struct cache_request *q);

/* types: of $1 ... $nparams (cache_deps.h). A struct cache_key may be copied only with
 * cache_key_copy, for it points into itself. */
enum cache_key_result cache_key_make(const struct cache_rule *r, const enum cache_type *types,
                                     const struct cache_session *s, const struct cache_request *q,
                                     struct cache_key *out);
void cache_key_copy(struct cache_key *dst, const struct cache_key *src);

/* The name alone, from canonical values of the template's parameters (index 0 is $1; unused ones
 * empty): for invalidation. false: too long. */
bool cache_key_name(const struct cache_rule *r, const struct str *values,
                    struct cache_key *out) ATTR_NODISCARD;

/* The same from the name as a person wrote it: for CACHE FLUSH. */
bool cache_key_of_name(const struct cache_rule *r, struct str name,
                       struct cache_key *out) ATTR_NODISCARD;

/* The canonical form of a value, written to dst of CACHE_VALUE_MAX bytes. */
#define CACHE_VALUE_MAX 200
enum cache_key_result cache_key_value(enum cache_type type, const struct sql_slot *slot,
                                      const struct cache_request *q, char *dst, struct str *out);

void cache_key_digest(const struct cache_key *k, uint8_t out[CACHE_DIGEST_BYTES]);
void cache_key_field(const uint8_t digest[CACHE_DIGEST_BYTES], char out[CACHE_FIELD_BYTES + 1]);

#endif
