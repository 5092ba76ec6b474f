/* cache_script.h - what Redis does for us in one step: small Lua programs.
 *
 * Private to cache_redis.c; constant texts.  Each works on the keys it is given alone (RENEW and
 * LEAVE on two).  Fields that begin with an exclamation mark are ours: "!w" the open writes as
 * "nonce=deadline;..." and "!l:FIELD" a lease as "nonce=deadline"; all others are entries.
 */
#ifndef PENSTOCK_CACHE_SCRIPT_H
#define PENSTOCK_CACHE_SCRIPT_H

#include "cache/cache_lease.h"

/* NULL: the command is a plain one. */
const char *cache_script_text(enum cache_cmd_kind kind);

#endif
