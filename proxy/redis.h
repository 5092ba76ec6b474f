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

#include "cache/cache_link.h"

struct worker;
struct redis;
struct config_cache;

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

#endif
