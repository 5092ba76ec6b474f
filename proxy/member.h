/* member.h - this process among those that share a Redis in mode lease, for all its workers.
 *
 * cache/cache_member.h decides; here is who asks it.  The first worker renews the presence over its
 * own connection; every worker reads the view, and any may let the presence lapse because a write
 * of its could not be recorded.  So the state lies behind a mutex, held for a few assignments: one
 * of the named exceptions to "a worker owns all it touches".
 *
 * A change of definitions is told to all members with the next renewals, so that none of them
 * judges its writes by a catalog of yesterday for longer than a part of a presence.
 *
 * While a predecessor of this process still serves clients the name is the predecessor's: nothing
 * is sent.  A process that ends in order leaves, so that the others go on without it.
 */
#ifndef PENSTOCK_PROXY_MEMBER_H
#define PENSTOCK_PROXY_MEMBER_H

#include "base/clock.h"
#include "base/status.h"
#include "cache/cache_member.h"
#include "cache/cache_redis.h"

struct worker;
struct member;
struct config_cache;

#define MEMBER_NAME_MAX (CONFIG_CACHE_MEMBER_MAX + CACHE_MEMBER_RULES + 2)
#define MEMBER_NAMES_MAX (CACHE_REDIS_MEMBERS * (CACHE_REDIS_NAME_MAX + 1))

struct member_view {  /* a worker's copy */
    uint32_t version; /* of what it was made */
    struct cache_view view;
    bool joined; /* this process has been a member since it started */
    char names[MEMBER_NAMES_MAX];
};

struct member *member_new(void);
void member_free(struct member **m);

/* ---- any worker ---- */

/* Our own name, with its rules; empty: there are none yet. cap: MEMBER_NAME_MAX. */
void member_name(struct member *m, char *dst, size_t cap);
/* Brings the copy up to date. */
void member_look(struct member *m, struct member_view *copy);
/* As in cache_member.h: when the write may be sent or acknowledged, or CACHE_MEMBER_NEVER. */
usec_t member_lapse(struct member *m, usec_t now);
usec_t member_forgotten(struct member *m);
void member_resume(struct member *m);
void member_dirty(struct member *m);
/* All workers go by these rules. */
void member_adopt(struct member *m, const struct config_cache *cfg);
/* Definitions were changed through this process: all members ask their databases anew. */
void member_defined(struct member *m);
/* Nothing that is kept counts any more: another node is the primary, or somebody wants it. */
void member_void(struct member *m);

/* ---- the main thread ---- */

/* Before this process goes by other rules, or another one writes beside it: returns when all have
 * forgotten it, a tenth of a second later. member_resume ends it. */
void member_cut_off(struct member *m);

/* ---- the first worker ---- */

/* Its rules, or where they keep answers, have changed: the renewals begin or end. */
void member_configure(struct worker *w);
/* Its connection to Redis is there. server: as cache_link has it. */
void member_connected(struct worker *w, uint64_t server);
/* The process ends, and no worker runs any more. */
void member_leave(struct worker *w);

#endif
