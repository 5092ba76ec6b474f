/* cache_flight.h - one query per missing key and worker: the others wait for it.
 *
 * Who came before the query was sent may take its answer, whatever was written since: it is what
 * the database said after they had asked.  Who came later may not (threat 12): they repeat their
 * lookup when the flight lands.
 * One table per worker; the owner's thread only.  Bounded by the waiters, who are clients.
 */
#ifndef PENSTOCK_CACHE_FLIGHT_H
#define PENSTOCK_CACHE_FLIGHT_H

#include "base/base.h"
#include "base/list.h"
#include "base/map.h"
#include "cache/cache_key.h"

struct cache_flight; /* somebody's query on its way, or about to be */

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
/* The flight is about this very identity. */
bool cache_flight_is_of(const struct cache_flight *f, const struct cache_key *key);
/* The query is about to be sent: who waits now came before. */
void cache_flight_sent(struct cache_flight *f);
/* The query has been answered: those who came before it was sent move to `early`. The flight goes
 * on with who came later. */
void cache_flight_answered(struct cache_flight *f, struct list *early);
/* Takes the first of those who wait off the list; NULL: nobody does. */
struct cache_waiter *cache_flight_next(struct cache_flight *f);
/* The query has ended, or was given up. Who waits moves to the list `woken` (initialised by the
 * caller), in the order they came; each repeats its lookup. */
void cache_flight_land(struct cache_flights *fs, struct cache_flight **f, struct list *woken);
/* the waiter goes away; also if it is on no list */
void cache_flight_leave(struct cache_waiter *w);

#endif
