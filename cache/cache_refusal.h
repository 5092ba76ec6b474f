/* cache_refusal.h - which errors of Redis say that a command was not carried out.
 *
 * Called by cache_redis.c and cache_link.c with the text of an error.  A membership is prolonged by
 * what may have arrived (cache_member.h), so it matters whether an error leaves that open: only
 * what Redis says before it begins is certain.  An error of a proxy before Redis, or one from the
 * middle of a script, is not.  Pure; any thread.
 */
#ifndef PENSTOCK_CACHE_REFUSAL_H
#define PENSTOCK_CACHE_REFUSAL_H

#include "base/base.h"
#include "base/str.h"

/* Nothing of the command, or of our script, was done. */
bool cache_refusal_certain(struct str error);
/* The server is a replica, or is loading what it holds: what is to be written goes elsewhere. */
bool cache_refusal_astray(struct str error);

#endif
