/* redis.h - a worker's connection to Redis: pipelined, bounded in time, and never waited for.
 *
 * One connection per worker on our own socket and timers; hiredis is only the parser
 * (cache_redis.h). Commands of all clients go out in the one write at the turn's end, and answers
 * are matched in order. A question waits for `limit` at most; then it is answered with "nothing"
 * and its slot stays in the row until the reply comes.  Several late answers in a row, or one that
 * is very late, close the connection: until it is open again, after a pause that doubles, every
 * question is refused at once (the circuit breaker).  So Redis that is away, slow or stopped costs
 * a client `limit` at the most, and soon nothing.
 * Called by session_look.c, session_fill.c and session_write.c.  Thread: the worker's.
 */
#ifndef PENSTOCK_PROXY_REDIS_H
#define PENSTOCK_PROXY_REDIS_H

#include "base/list.h"
#include "cache/cache_redis.h"
#include "proxy/timeout.h"

struct worker;
struct redis;
struct config_cache;

struct redis_ask { /* embedded in who asks; zeroed before its first use */
    struct timeout timeout;
    struct redis *redis; /* while it waits; NULL: it does not */
    uint64_t number;     /* of its place in the row */
    /* Once. reply NULL: none in time, or the connection is lost. It may be called from inside
     * nothing that redis_ask was called from. */
    void (*done)(struct redis_ask *a, const struct cache_reply *reply);
};

struct redis_counts {
    uint64_t asked, late, refused, lost; /* lost: connections */
};

struct redis *redis_new(struct worker *w);
void redis_free(struct redis **r);
/* The rules and where their answers are have changed; without Redis the connection ends. cfg lives
 * until the next call. */
void redis_configure(struct redis *r, const struct config_cache *cfg);
/* True: done will be called. False: not now. */
bool redis_ask(struct redis *r, struct redis_ask *a, const struct str *argv, int n);
/* Nobody waits for the answer; lost when there is no connection. */
void redis_tell(struct redis *r, const struct str *argv, int n);
/* The asker goes away: done is not called. Also for one that does not wait. */
void redis_forget(struct redis_ask *a);
bool redis_is_up(const struct redis *r);
void redis_count(const struct redis *r, struct redis_counts *out);

#endif
