/* refs.h - the reference count of an immutable object that threads share.
 *
 * Used by every snapshot that more than one thread reads: configuration, TLS contexts, catalogs,
 * topologies, cached answers.  The object's own NAME_get and NAME_put call these; nobody else looks
 * at the count.  A count that was 0 already is a bug and ends the process.
 * Any thread.  Objects of one thread alone count in a plain integer.
 */
#ifndef PENSTOCK_REFS_H
#define PENSTOCK_REFS_H

#include "base/base.h"

#include <stdatomic.h>

struct refs {
    atomic_uint n;
};

void refs_init(struct refs *r); /* one reference: the maker's */
void refs_get(struct refs *r);  /* the caller has one already */
/* True: it was the last, and what other threads did with the object comes before the return. */
bool refs_put(struct refs *r) ATTR_NODISCARD;

#endif
