/* cache_member.h - this process among the proxies that share a Redis.
 *
 * A member promises that none of its writes is acknowledged without an intent or an end in Redis
 * while it is present; so an entry counts only while all members are present.  Presence is a key
 * with an absolute deadline on Redis' own clock, renewed a few times in its period: a renewal that
 * is stuck on the way, or in a stopped Redis, revives nothing.
 *
 * A write that could not be recorded lets the presence lapse: no renewal is sent any more, and
 * after the time that cache_member_lapse returns Redis has forgotten us, so nobody serves anything.
 * A renewal that Redis refuses sets nothing, so it prolongs nothing either: while Redis answers but
 * takes no writes, the first one waits and the others find that the time is over.
 * When the write is over (cache_member_resume) the next renewal changes the epoch, which voids
 * every entry there is.
 * Who does not know a rule does not record the writes that it is about.  So a member's name ends
 * with a slash and a short name of its rules, and entries count only while all members have ours;
 * with other rules a process is another member, which takes the place of the one it was.
 *
 * A member that is gone for good must be forgotten by hand (CACHE_CMD_LEAVE), for nobody can know
 * whether it still writes.  A name belongs to one process at a time.
 *
 * One for each process, driven by one thread; what others need is copied by the caller. No clock:
 * times are told, all on one monotonic clock that does not stop in suspend.
 */
#ifndef PENSTOCK_CACHE_MEMBER_H
#define PENSTOCK_CACHE_MEMBER_H

#include "base/base.h"
#include "base/clock.h"
#include "cache/cache_lease.h"

#define CACHE_MEMBER_RULES 8 /* bytes of the name of a set of rules */

enum cache_member_state {
    CACHE_MEMBER_STRANGER, /* Redis' clock is not known: CACHE_CMD_TIME comes first */
    CACHE_MEMBER_OUT,
    CACHE_MEMBER_IN,
};

struct cache_member {
    enum cache_member_state state;
    bool joined, asking;
    usec_t period, until;              /* until: Redis has surely forgotten what was sent so far, */
    usec_t before;                     /* or all of it but what is asked now */
    usec_t due, told;                  /* next renewal; when the clock was told: */
    uint64_t clock_ms;                 /* Redis' clock then, or earlier */
    usec_t lapse;                      /* nothing is sent before, */
    uint32_t holders;                  /* nor while there are some */
    uint64_t incarnation, dirt, clean; /* unrecorded writes so far; of which an epoch was changed */
    uint64_t sent_dirt;
    uint64_t need;                      /* entries count once an epoch was changed for so much */
    uint64_t next;                      /* another server, where nothing counts before */
    usec_t moved;                       /* the last one has forgotten us */
    char rules[CACHE_MEMBER_RULES + 1]; /* empty: all that are members have the same */
    struct cache_view view;
};

#define CACHE_MEMBER_NEVER INT64_MAX

/* period: of the presence, at least 10 ms. incarnation: random. */
void cache_member_init(struct cache_member *m, usec_t period, uint64_t incarnation,
                       uint32_t expected);
/* A command is due: true, and it goes out now. At most one at a time. */
bool cache_member_step(struct cache_member *m, usec_t now, uint64_t fresh, struct cache_cmd *out);
void cache_member_answer(struct cache_member *m, const struct cache_answer *a, usec_t now);
/* The connection is new: the server behind it may be another, and its clock too. */
void cache_member_connected(struct cache_member *m, uint64_t server);

/* Other rules from now on, which the process goes by as a whole: nothing counts until the epoch has
 * been changed, for what was kept under the same rules long ago was not watched meanwhile. */
void cache_member_rules(struct cache_member *m, struct str name);
/* Another Redis from now on, which has never seen this process. */
void cache_member_moved(struct cache_member *m);
/* Nothing that is kept counts any more. */
void cache_member_void(struct cache_member *m);

/* An unrecorded write wants to be sent or acknowledged. Returns when it may be: CACHE_MEMBER_NEVER,
 * this process has never been a member, so nobody would notice its absence. */
usec_t cache_member_lapse(struct cache_member *m, usec_t now);
/* The same while such a write waits, as is known now: sooner, if the renewal that was under way
 * then was refused. */
usec_t cache_member_forgotten(const struct cache_member *m);
/* Its end was acknowledged, or it has failed; once for each lapse. */
void cache_member_resume(struct cache_member *m);
/* Under CACHE_PROCEED: it goes on at once, but entries made so far shall not outlive our return. */
void cache_member_dirty(struct cache_member *m);

#endif
