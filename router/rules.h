/* rules.h - route rules of the configuration: what the statement is -> where it goes.
 *
 * An immutable list in the order of the file; the first rule that matches decides.  A rule names a
 * statement by its digest (as the console shows it), or by a pattern over its normalised text
 * (constants and parameters are `$?` there, for which a pattern may also say $1, $2 ...; `*` stands
 * for any run of characters; case and runs of blanks do not count).  Asked once per statement and
 * worker: the answer is kept in the facts.
 *
 * Built on one thread, then shared read-only; atomic reference counts.
 */
#ifndef PENSTOCK_RULES_H
#define PENSTOCK_RULES_H

#include "base/base.h"
#include "base/status.h"
#include "base/str.h"
#include "protocol/sql_facts.h"

/* Where something wants a statement to go. */
enum rules_wish {
    WISH_NONE,
    WISH_PRIMARY,
    WISH_REPLICA, /* demanded: what a replica cannot do fails there */
    WISH_PREFER,  /* a replica when there is one and the statement may go there */
    WISH_AUTO,    /* as the analysis says, whatever stands lower in the order */
};

struct rules;

struct rules *rules_new(void); /* empty, one reference */
/* One more rule. query: "digest:" and 16 hexadecimal digits, or a pattern. */
enum status rules_add(struct rules *r, struct str name, struct str query, enum rules_wish wish,
                      struct error *err) ATTR_NODISCARD;
struct rules *rules_get(struct rules *r);
void rules_put(struct rules **r); /* NULL is fine */

/* The wish of the first rule that matches f, or WISH_NONE; r may be NULL. *name: that rule's, or
 * empty; may be NULL. */
enum rules_wish rules_match(const struct rules *r, struct facts *f, struct str *name);

/* "primary", "replica", "prefer-replica", "auto". false: no such word. */
bool rules_wish_of(struct str word, enum rules_wish *out) ATTR_NODISCARD;
const char *rules_wish_name(enum rules_wish w);

#endif
