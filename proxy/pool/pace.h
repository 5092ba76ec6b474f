/* pace.h - how long statements of one pool take, by digest: a running mean in a small, bounded
 * table.
 *
 * Asked by pool_share.c before a request may stand behind another one, told by session_share.c and
 * session_reply.c when an answer is complete.  The table is direct-mapped: of two digests that fall
 * on one place the newer is kept, and the other is unknown again, which only costs it a server of
 * its own once.  A single slow execution makes a digest slow for a while; quick ones make it quick
 * again.
 * Times are those on the server: from the end of the answer before it, or from when it was sent.
 * Thread: the worker's that owns the pool.
 */
#ifndef PENSTOCK_PROXY_PACE_H
#define PENSTOCK_PROXY_PACE_H

#include "base/base.h"
#include "base/clock.h"

#define PACE_SHORT_US 5000 /* mean up to which others may stand behind */

struct pace;

struct pace *pace_new(void);
void pace_free(struct pace **p);
/* An execution of digest took so long. */
void pace_note(struct pace *p, uint64_t digest, usec_t took);
/* Known and expected to be short. */
bool pace_is_short(const struct pace *p, uint64_t digest);

#endif
