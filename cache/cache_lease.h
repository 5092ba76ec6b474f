/* cache_lease.h - mode lease on Redis: what is asked and what the answers mean, as pure steps.
 *
 * Called by the worker that owns a Redis connection: a step yields commands (struct cache_cmd),
 * which cache_redis.h turns into bytes; the answers, or their failure, are given to the next step.
 * No clock, no socket, no memory: all structures are plain values that may be copied, which is how
 * test/unit/test_cache_model.c explores them.  Decision 016 says why it is right.
 *
 * One entry is a hash under its name; the rule's generation is a key of its own; the world is a
 * third: the epoch and the names of the proxies that take part (cache_member.h).
 *   read     world, members, generation, entry (in this order, one round trip).  An entry counts
 *   when
 *            its epoch and its stamp are those just read, all members are there and no write is
 *            open.
 *   miss     the same again with scripts that take a lease; then the query; then a store, which
 *            Redis refuses when the lease is gone.
 *   write    begin: drop entry and leases, leave an intent with a deadline.  Then the write.  After
 *            the database's acknowledgement and before the client's: end, which drops entry, leases
 *            and the intent.  Writes of unknown rows do the same to the generation.
 * A write whose begin or end did not reach Redis lets the proxy's membership lapse first (hold), or
 * is refused before it is sent (refuse), or goes on (proceed: others may serve old answers until
 * their time to live ends).
 */
#ifndef PENSTOCK_CACHE_LEASE_H
#define PENSTOCK_CACHE_LEASE_H

#include "base/base.h"
#include "base/str.h"
#include "cache/cache_entry.h"

enum cache_cmd_kind {
    CACHE_CMD_TIME,       /* answer: ms, of Redis' clock */
    CACHE_CMD_WORLD,      /* answer: a = epoch (0: none), b = hash of the members' names, open =
                             quarantine */
    CACHE_CMD_MEMBERS,    /* answer: a = how many of those known are there */
    CACHE_CMD_RULE,       /* answer: a = generation (0: none), open = writes */
    CACHE_CMD_ENTRY,      /* answer: value or none, open = writes */
    CACHE_CMD_TAKE_RULE,  /* like RULE; makes a generation (fresh) where there is none */
    CACHE_CMD_TAKE_ENTRY, /* like ENTRY; a = 1: the lease (nonce, ms) is ours. flag: whatever is
                             there did not count */
    CACHE_CMD_STORE,      /* a = 1: stored under the lease nonce, for ms */
    CACHE_CMD_GIVE,       /* the lease nonce is not needed any more */
    CACHE_CMD_KEEP,       /* a = 1: stored for ms, under no lease (mode ttl) */
    CACHE_CMD_BEGIN,      /* an intent (nonce) for ms */
    CACHE_CMD_END,
    CACHE_CMD_RULE_BEGIN, /* likewise; the generation becomes fresh */
    CACHE_CMD_RULE_END,
    CACHE_CMD_RENEW,  /* be a member (nonce: the incarnation) until ms; flag: epoch becomes fresh.
                        answer: a = epoch, b = hash of the names, value = the names, ms = clock,
                        c = number of the definitions */
    CACHE_CMD_LEAVE,  /* no member any more; epoch becomes fresh */
    CACHE_CMD_DROP,   /* CACHE FLUSH of an entry: END without an intent */
    CACHE_CMD_CENSUS, /* answer: value = "NAME=1,NAME=0": the members, and who of them is there */
    CACHE_CMD_FORGET, /* a member that is not there is none any more; epoch becomes fresh. answer: a
                         as enum cache_forget */
    CACHE_CMD_COUNT,
};

enum cache_forget { CACHE_FORGET_NOBODY, CACHE_FORGET_DONE, CACHE_FORGET_PRESENT };

struct cache_cmd {
    enum cache_cmd_kind kind;
    bool flag;
    uint64_t nonce, fresh; /* never 0 */
    uint64_t ms;
};

enum cache_answer_state {
    CACHE_ANSWER_OK,
    CACHE_ANSWER_FAILED,  /* no answer in time, connection lost, an error: it may have been done */
    CACHE_ANSWER_REFUSED, /* an error that says that it was not done, and nothing of it */
    CACHE_ANSWER_FOREIGN, /* the key is not ours: another type */
};

struct cache_answer {
    enum cache_answer_state state;
    bool open;
    uint64_t a, b, c, ms;
    struct str value; /* p NULL: none */
};

struct cache_view {             /* what this process knows of the world, by its membership */
    uint64_t server;            /* of the connection: a hash of the server's run id */
    uint64_t names;             /* hash of the members' names that CACHE_CMD_MEMBERS asks for */
    uint32_t members, expected; /* how many they are; at least so many there must be (0: any) */
};

/* ---- reading --------------------------------------------------------------------------------- */

enum cache_read_state {
    CACHE_READ_NEW,
    CACHE_READ_ASKED,
    CACHE_READ_TAKING,
    CACHE_READ_LEASED, /* the query may be sent and its answer stored */
    CACHE_READ_STORING,
    CACHE_READ_OVER,
};

struct cache_read {
    enum cache_read_state state;
    bool value; /* there was one */
    uint64_t nonce, epoch, generation;
};

enum cache_read_next {
    /* Decode it; if cache_lease_counts says so it is the answer. Otherwise, after asked: take;
     * after taken: as bypass. */
    CACHE_READ_VALUE,
    CACHE_READ_TAKE,   /* cache_lease_take */
    CACHE_READ_FILL,   /* ask the database, then store */
    CACHE_READ_BYPASS, /* ask the database, store nothing */
};

#define CACHE_READ_CMDS 4

/* Writes CACHE_READ_CMDS commands; the answers come in the same order. */
void cache_lease_ask(struct cache_read *r, struct cache_cmd *out);
enum cache_read_next cache_lease_asked(struct cache_read *r, const struct cache_view *view,
                                       const struct cache_answer *in);
/* nonce, fresh: random. lease_ms: after it another may take the lease. */
void cache_lease_take(struct cache_read *r, uint64_t nonce, uint64_t fresh, uint64_t lease_ms,
                      struct cache_cmd *out);
enum cache_read_next cache_lease_taken(struct cache_read *r, const struct cache_view *view,
                                       const struct cache_answer *in);
bool cache_lease_counts(const struct cache_read *r, const struct cache_entry *e);
/* Epoch and stamp of the entry to be made: as they were before the query. */
void cache_lease_stamp(const struct cache_read *r, struct cache_entry_parts *p);
void cache_lease_store(struct cache_read *r, uint64_t ttl_ms, struct cache_cmd *out);
/* Of a lease that was taken and will not be used: others need not wait for its end. */
void cache_lease_give(const struct cache_read *r, struct cache_cmd *out);

/* ---- writing --------------------------------------------------------------------------------- */

enum cache_without_redis { CACHE_PROCEED, CACHE_HOLD, CACHE_REFUSE };

enum cache_intent_state {
    CACHE_INTENT_NEW,
    CACHE_INTENT_BEGINNING,
    CACHE_INTENT_HELD,
    CACHE_INTENT_MISSED, /* begin failed */
    CACHE_INTENT_ENDING,
    CACHE_INTENT_CLEAR,
    CACHE_INTENT_UNCLEAR, /* end failed */
};

struct cache_intent { /* one name, or a whole rule, that a write may change */
    enum cache_intent_state state;
    bool whole;
    uint64_t nonce;
};

enum cache_write_next {
    CACHE_WRITE_WAIT,   /* for answers */
    CACHE_WRITE_GO,     /* send it; or pass the acknowledgement on */
    CACHE_WRITE_LAPSE,  /* the same, once the membership has lapsed (cache_member_lapse) */
    CACHE_WRITE_REFUSE, /* tell the client an error and end what has begun */
};

void cache_lease_begin(struct cache_intent *i, bool whole, uint64_t nonce, uint64_t fresh,
                       uint64_t ms, struct cache_cmd *out);
void cache_lease_begun(struct cache_intent *i, const struct cache_answer *a);
/* Also after a rollback, and for intents whose begin failed: it may have arrived. */
void cache_lease_end(struct cache_intent *i, uint64_t fresh, struct cache_cmd *out);
void cache_lease_ended(struct cache_intent *i, const struct cache_answer *a);

/* May the write be sent? joined: this process has been a member since it started. */
enum cache_write_next cache_lease_may_write(const struct cache_intent *i, int n,
                                            enum cache_without_redis policy, bool joined);
/* May its acknowledgement be passed on? */
enum cache_write_next cache_lease_may_ack(const struct cache_intent *i, int n,
                                          enum cache_without_redis policy);

bool cache_lease_policy(struct str word, enum cache_without_redis *out); /* "proceed", ... */

#endif
