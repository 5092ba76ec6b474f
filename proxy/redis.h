/* redis.h - a worker's connection to Redis: the socket, the address and the timer of a cache_link.
 *
 * cache/cache_link.h knows what is said and how long anybody waits: it pipelines, matches answers,
 * lets late ones fail and gives a connection up that does not answer.  Here is what it leaves to
 * its caller: the name is resolved, the socket is one of the worker's loop, what is to be sent
 * leaves in the one write at the turn's end, and one timer of libev tells the link when its time
 * has come. Called by session_redis.c.  Thread: the worker's.
 */
#ifndef PENSTOCK_PROXY_REDIS_H
#define PENSTOCK_PROXY_REDIS_H

#include "base/histogram.h"
#include "cache/cache_link.h"

struct worker;
struct redis;
struct config_cache;

/* field, metric (between penstock_redis_ and _total), help; SHOW REDIS has them by field */
#define REDIS_COUNTERS(X)                                                                          \
    X(asked, "requests", "Batches of commands sent to Redis.")                                     \
    X(late, "late_answers", "Batches without an answer in redis_timeout.")                         \
    X(refused, "refused_requests", "Batches not sent: no connection, or too much under way.")      \
    X(errors, "error_answers", "Answers that are errors.")                                         \
    X(connects, "connects", "Connections that were made.")                                         \
    X(failures, "failures", "Connections that were lost or could not be made.")

struct redis_counts {
#define X(field, metric, help) int64_t field;
    REDIS_COUNTERS(X)
#undef X
    int64_t wanted, up, open;                   /* open: the circuit breaker, nothing is sent */
    int64_t octaves[HISTOGRAM_OCTAVES], sum_us; /* of the time that answers took */
};

/* up: the connection is there; may send. */
struct redis *redis_new(struct worker *w, void (*up)(struct worker *w));
void redis_free(struct redis **r); /* who waits is told that there is no answer */
/* Where answers are kept may have changed: the connection begins, ends, or is made anew. What is
 * needed of cfg is copied. */
void redis_configure(struct redis *r, const struct config_cache *cfg);
/* As cache_link_send: false, nothing was sent and done is not called. */
bool redis_send(struct redis *r, struct cache_batch *b, int n, const struct cache_redis_where *w);
/* As cache_link_tell: nobody waits for the answer. */
bool redis_tell(struct redis *r, const struct cache_cmd *c, const struct cache_redis_where *w);
/* The same, written at once: the loop does not run any more. */
void redis_last_words(struct redis *r, const struct cache_cmd *c,
                      const struct cache_redis_where *w);
bool redis_is_up(const struct redis *r);
uint64_t redis_server(const struct redis *r); /* hash of its run id; 0: not up */
void redis_count(const struct redis *r, struct redis_counts *out);

#endif
