/* cache_flight.h - one query per missing key and worker: the others wait and look again.
 *
 * A waiter never takes the leader's answer, for that query was sent before the waiter came (threat
 * 12): when the flight lands it repeats its lookup.  A waiter that misses again does not wait a
 * second time (the fill was refused, or the entry is gone): it asks the database by itself.  So a
 * request waits for one query of another, at most.
 * One table per worker; the owner's thread only.  Bounded by the waiters, who are clients.
 */
#ifndef PENSTOCK_CACHE_FLIGHT_H
#define PENSTOCK_CACHE_FLIGHT_H

#include "base/base.h"
#include "base/list.h"
#include "base/map.h"
#include "cache/cache_key.h"

struct cache_flight; /* somebody's query on its way */

struct cache_waiter { /* embedded in who waits */
    struct list node;
};

struct cache_flights {
    struct map by_identity;
};

void cache_flight_init(struct cache_flights *fs);
void cache_flight_fini(struct cache_flights *fs); /* none under way */

/* Nobody has asked for this identity: returns the flight, which the caller lands exactly once.
 * Otherwise NULL, and w is on the list of the flight under way. */
struct cache_flight *cache_flight_join(struct cache_flights *fs, const struct cache_key *key,
                                       struct cache_waiter *w);
/* The leader's answer is stored, or will not be. The waiters move to the list `woken` (initialised
 * by the caller), in the order they came; each repeats its lookup. */
void cache_flight_land(struct cache_flights *fs, struct cache_flight **f, struct list *woken);
/* the waiter goes away; also if it is on no list */
void cache_flight_leave(struct cache_waiter *w);

#endif
