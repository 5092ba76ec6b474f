/* cache_link.h - one pipelined connection to Redis, without its socket.
 *
 * The caller owns socket, TLS and timers: it writes what is in `out`, gives in what it reads, tells
 * the time, and says when the connection is there or lost.  This file greets (AUTH, SELECT,
 * scripts, the server's run id), sends batches of commands, gives each its answers in order, and
 * sees to it that nobody waits longer than the timeout: a batch that is late has failed, and its
 * answers are thrown away when they come.
 *
 * Circuit breaker: after a number of failures in a row the connection is given up (cache_link_step
 * says so) and nothing is sent until it has been made anew, after a pause that doubles up to its
 * maximum.  Meanwhile cache_link_send fails at once, which costs a client nothing.  The same goes
 * for a server that refuses writes because it is a replica or is loading: after a fail-over the
 * name may lead elsewhere.  That it greets proves nothing then, so the pause grows until a write is
 * taken.
 *
 * Owner thread only.  Callbacks come from within cache_link_input, _step and _lost; they may send.
 */
#ifndef PENSTOCK_CACHE_LINK_H
#define PENSTOCK_CACHE_LINK_H

#include "base/base.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/histogram.h"
#include "base/list.h"
#include "cache/cache_redis.h"

#define CACHE_LINK_FAILURES 5         /* in a row, then the connection is given up */
#define CACHE_LINK_ASTRAY 3           /* writes refused like that, and none taken in between */
#define CACHE_LINK_PENDING_MAX 65536u /* commands without answer */

struct cache_link_setup {      /* borrowed for as long as the link lives */
    struct str user, password; /* password empty: no AUTH; user empty: the default one */
    uint32_t database;
    usec_t timeout;       /* of a batch */
    usec_t greet_timeout; /* of the greeting */
    usec_t pause_max;     /* between two attempts; the first is a 64th of it */
    size_t reply_max;     /* bytes */
};

enum cache_link_state {
    CACHE_LINK_DOWN,     /* no connection; not before `retry` */
    CACHE_LINK_GREETING, /* connected */
    CACHE_LINK_UP,
};

struct cache_batch; /* below */

struct cache_link_counts {
    uint64_t sent, failed, late, full; /* batches; full: Redis was out of memory */
    uint64_t connects, losses;
    uint64_t errors; /* answers that are errors */
};

struct cache_link {
    const struct cache_link_setup *setup;
    enum cache_link_state state;
    struct buf out;  /* to be written; the caller consumes it */
    usec_t retry;    /* DOWN: when to connect */
    uint64_t server; /* UP: hash of the run id */
    struct cache_link_counts counts;
    struct histogram took; /* by batches whose answers have all come in time */
    char reason[160];      /* why it was lost last; never a secret */
    /* private */
    struct cache_redis_reader *reader;
    struct cache_redis_scripts scripts;
    struct list batches; /* that wait, oldest first: so is their time */
    struct cache_slot *slots;
    size_t first, n, cap;
    uint64_t popped; /* slots so far */
    uint32_t failures, astray;
    bool doubted; /* given up as astray, and no write was taken since */
    usec_t pause, greet_until, now;
    int greetings;
};

struct cache_batch { /* embedded in whoever asks; CACHE_READ_CMDS commands at most */
    struct list node;
    struct cache_link *link; /* borrowed; while it waits */
    int n, got;
    struct cache_cmd cmds[CACHE_READ_CMDS];
    struct cache_answer answers[CACHE_READ_CMDS]; /* values borrow: only within done */
    struct buf values;                            /* owned; what answers borrow from */
    usec_t until;
    uint64_t seq; /* of its first slot */
    bool waiting;
    /* All answers are there, or the rest have failed. */
    void (*done)(struct cache_batch *b);
};

void cache_link_init(struct cache_link *l, const struct cache_link_setup *setup);
void cache_link_fini(struct cache_link *l); /* batches that wait fail */

/* The socket is connected (and TLS is up): the greeting is in out. */
void cache_link_connected(struct cache_link *l, usec_t now);
/* ST_OK, or the connection is to be closed and cache_link_lost called; the reason is set. */
enum status cache_link_input(struct cache_link *l, struct str bytes, usec_t now) ATTR_NODISCARD;
/* Closed, could not be connected, or given up. reason NULL: as set. */
void cache_link_lost(struct cache_link *l, const char *reason, usec_t now);

void cache_batch_init(struct cache_batch *b, void (*done)(struct cache_batch *b));
void cache_batch_fini(struct cache_batch *b); /* also while it waits: it is forgotten */
/* Its answers are not wanted any more: done is not called. Also for one that does not wait. */
void cache_batch_forget(struct cache_batch *b);

/* Sends the commands set in b->cmds[0..n). false: it is down or full, nothing was sent and done is
 * not called. */
bool cache_link_send(struct cache_link *l, struct cache_batch *b, int n,
                     const struct cache_redis_where *w, usec_t now) ATTR_NODISCARD;

/* One command whose answer nobody waits for. false: as above. */
bool cache_link_tell(struct cache_link *l, const struct cache_cmd *c,
                     const struct cache_redis_where *w);

/* When cache_link_step has to be called; INT64_MAX: not. */
usec_t cache_link_due(const struct cache_link *l);
/* Lets late batches fail. false: the connection is to be given up (close, then cache_link_lost). */
bool cache_link_step(struct cache_link *l, usec_t now);

#endif
