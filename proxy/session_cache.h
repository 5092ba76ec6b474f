/* session_cache.h - the result cache between clients and servers.
 *
 * session_cache.c   a worker's view of the cache: rules, databases, upkeep
 * session_look.c    a read is looked up: answered, waiting for another's query, or on its way with
 *                   a struct session_fill
 * session_await.c   a read waits for the end of a write to its key, or for another process's query
 * session_fill.c    the answer to such a query is recorded on its way to the client, and kept
 * session_redis.c   entries in Redis, where that is the store (redis.h); a rule with a local_ttl
 *                   has a first level in memory in front of it, as it is with store = memory
 * session_intent.c  what other processes must know of a write, before it is sent and after it was
 *                   acknowledged, where Redis is the store and the mode lease
 * session_write.c   what may change cached answers is noted before it is sent, and invalidates
 *                   before its end is passed to the client
 *
 * What is safe is decided below cache/: cache_gate (may this session be served at all), cache_key
 * (which entry), cache_deps (what a statement may change), cache_l1 (what may be served and
 * stored). Here is when these are asked.
 *
 * Rules come into force together: a worker adopts a new set with the runtime that brings it, and
 * nothing is served or kept until all have (config_cache.shared), because a worker that does not
 * know a rule does not invalidate its entries either.  What a database's catalogs say of the rules
 * is a struct cache_bound, one per worker and database entry, renewed with each catalog snapshot.
 * A client of a pool without rules pays for one comparison with NULL.
 * Thread: the worker's, except session_cache_retire (main).
 */
#ifndef PENSTOCK_PROXY_SESSION_CACHE_H
#define PENSTOCK_PROXY_SESSION_CACHE_H

#include "base/buf.h"
#include "cache/cache_deps.h"
#include "cache/cache_flight.h"
#include "cache/cache_gate.h"
#include "cache/cache_l1.h"
#include "protocol/wire_answer.h"
#include "proxy/member.h"
#include "proxy/redis.h"
#include "proxy/session.h"

/* of an answer that is not its rows: a description and the like */
#define SESSION_ANSWER_EXTRA 4096

/* field, metric (between penstock_cache_ and _total), help; SHOW CACHE has them by field */
#define SESSION_COUNTERS(X)                                                                        \
    X(hits, "hits", "Reads that were answered from the cache.")                                    \
    X(local_hits, "local_hits", "Of the hits, those found in memory.")                             \
    X(misses, "misses", "Reads that found nothing and were left to the database.")                 \
    X(waits, "waits", "Reads that waited for another client's query, or a write, before that.")    \
    X(fills, "fills", "Answers that were put in.")                                                 \
    X(refused, "refused_answers", "Answers that were not kept: too large, or a write came.")       \
    X(invalidations, "invalidations", "Writes that dropped entries of the rule.")

struct session_counts { /* of one rule in one database, of one worker */
#define X(field, metric, help) uint64_t field;
    SESSION_COUNTERS(X)
#undef X
    uint64_t bypass[CACHE_BYPASS_COUNT];
};

struct session_binding { /* a database entry, as the cache of this worker sees it */
    struct list link;
    struct db_shared *db; /* borrowed from the registry */
    char *dbname;         /* owned: the database's name on its server, which names the scopes */
    uint8_t place[CACHE_DIGEST_BYTES]; /* of entry, database and where that is */
    struct cache_rules *set;           /* reference: that the arrays are about */
    struct cache_bound *bound;         /* reference; NULL: the catalog is not known */
    struct cache_scope *scopes[CONFIG_CACHE_RULES_MAX]; /* borrowed from the store */
    struct session_counts *counts;                      /* owned, by rule */
};

#define SESSION_VAIN 64
struct session_vain { /* somebody has waited for that key in vain: nobody else does, until then */
    uint64_t hash;
    usec_t until;
};

struct session_cache {           /* of a worker */
    struct config_cache *config; /* reference */
    struct cache_l1 *l1;         /* borrowed from the process */
    struct worker *worker;       /* borrowed: its */
    struct redis *redis;         /* owned; does nothing unless it is the store */
    struct member_view members;  /* those that share it, as far as this worker knows */
    struct list acks;            /* acknowledgements that wait (session_intent.c), and */
    struct list left;            /* intents whose end may not have reached Redis */
    uint32_t nleft;
    struct timeout again; /* runs while there are such */
    usec_t missing_told;  /* the last time that members were missing */
    struct cache_memo *memo;
    struct cache_flights flights;
    struct list awaits; /* struct session_await: reads that wait for the end of a write */
    struct session_vain vain[SESSION_VAIN]; /* by key; others of the same place give way */
    struct timeout look_again;              /* at these */
    struct list bindings;
};

struct session_fill;  /* a query whose answer is to be kept */
struct session_await; /* somebody waits until it is worth while to ask */

enum session_second { SECOND_NONE, SECOND_ASKED, SECOND_ANSWERED };

struct session_cached {         /* of a client, from its first statement with a rule on */
    struct varset *vars, *told; /* references: what `key` and the flags below were made of */
    struct cache_session key;
    uint8_t place[CACHE_DIGEST_BYTES]; /* and this: of the binding */
    bool serializable, other_role;
    bool waits;      /* on `waiter`, state CL_CACHE */
    usec_t patience; /* its present request waits for writes until then; 0: it has not yet */
    uint8_t rides;   /* for so many queries of others it has waited */
    bool counted;    /* it has been looked at in vain before */
    struct cache_waiter waiter;
    struct session_await *await; /* owned: it waits for a write, and others for it */
    struct cache_entry *given;   /* reference: the answer to a query that was sent after it had
                                    asked */
    struct client *client;       /* borrowed: itself */
    struct session_fill *fill;   /* owned: of its request, which has not been sent yet */
    bool hit;                    /* its last statement with a rule was answered from the cache */
    struct {                     /* the second level's word on its present request */
        enum session_second state;
        struct cache_batch batch;
        struct buf identity; /* asked for; and its digest */
        uint8_t digest[CACHE_DIGEST_BYTES];
        size_t max;                 /* bytes of an entry */
        struct cache_entry *entry;  /* reference; NULL: none */
        bool leased;                /* mode lease: what follows was read under */
        struct cache_view view;     /* this view of the members */
        struct cache_read read;     /* what is known before the query */
        bool took;                  /* Redis has given a lease */
        enum cache_read_next next;  /* what the answer says */
        enum cache_bypass why;      /* it says BYPASS */
        bool ends_soon;             /* the same, but not for long */
        struct cache_ticket ticket; /* with a first level: taken before it was asked, */
        usec_t asked;               /* then */
        bool foreign;               /* what is there is not ours */
    } second;
    enum cache_bypass why; /* otherwise: why not; NONE: it was not there */
    uint16_t rule;
};

/* ---- session_cache.c ---- */

struct session_cache *session_cache_new(struct worker *w);
void session_cache_free(struct session_cache **sc);
/* The runtime of w has changed, or it begins. */
void session_cache_adopt(struct worker *w);
/* The pool, its database entry or its catalog is new: p->cache follows. */
void session_cache_bind(struct pool *p);
/* What is kept of the pool's database goes, and what is being fetched for it is not kept. */
void session_cache_drop(struct pool *p);
/* Its entry leads to another database now: the same, and the catalog is asked for anew. */
void session_cache_retarget(struct pool *p);
/* Another node is the primary, which may lack what was kept. Any thread. */
void session_cache_forget(struct process *p);
/* Other rules follow: nothing is served or kept by cfg any more, nor by those who share its Redis,
 * until all workers go by next. Main thread. */
void session_cache_retire(struct process *p, struct config_cache *cfg, struct config_cache *next);
/* A process that takes over is about to write beside this one, perhaps by other rules; and: it has
 * failed. Main thread. */
void session_cache_step_aside(struct process *p);
void session_cache_step_back(struct process *p);
/* Rules are in force, and the catalog shows all changes of definitions that were seen. */
bool session_cache_ready(const struct session_cache *sc);
/* No other process, older or newer, passes on writes during an upgrade. */
bool session_cache_alone(const struct worker *w);
bool session_cache_current(const struct session_binding *b);
void session_cache_client_free(struct client *c);

/* ---- session_look.c ---- */

enum session_read {
    READ_PASS,     /* the database is to be asked */
    READ_ANSWERED, /* done */
    READ_WAITS,    /* in state CL_CACHE; its request is looked at again */
};

/* A new request of a client of a pool with rules, planned. */
enum session_read session_look(struct client *c, const struct wire_req *r, const struct plan *plan);
/* The client waits in vain: its request goes its own way. */
void session_look_alone(struct client *c);
/* The client leaves, or its request is refused: nothing is owed to the cache any more. */
void session_look_forget(struct client *c);

/* ---- session_await.c ---- */

struct session_await_for { /* borrowed */
    const struct cache_scope *scope;
    const struct cache_key *key;
    bool second; /* Redis has to be asked how it stands */
};

/* The client of x, whose request cannot be answered now, is in state CL_CACHE and its request
 * looked at again.  false: it has waited long enough.  flight: of the query that it was about to
 * lead, which is taken over; NULL: none. */
bool session_await(struct session_cache *sc, struct session_cached *x,
                   const struct session_await_for *f, struct cache_flight *flight);
/* Its request is about to be looked at. */
void session_await_pause(struct session_cached *x);
/* It may wait for another client's query once more. */
bool session_await_ride(struct session_cached *x);
/* The answer to the query of that flight is not kept: one of those who came after it was sent looks
 * again, and the others wait for that one. false: there is nobody. */
bool session_await_pass_on(struct session_cache *sc, const struct session_await_for *f,
                           struct cache_flight *flight);
/* The flight of who waited, as the leader of a query for that key; NULL: x has none. */
struct cache_flight *session_await_lead(struct session_cached *x, const struct cache_key *key);
/* Those who waited look again. e: the answer to a query that was sent after they had asked; NULL:
 * none. */
void session_await_wake(struct list *woken, struct cache_entry *e);
/* The flight is over, and who waits for it looks again. */
void session_await_land(struct session_cache *sc, struct cache_flight **flight);
/* It waits no more; those who waited with it look for themselves. Nothing if it does not. */
void session_await_end(struct session_cached *x);
/* Something was written to its end: who waited for that looks again. */
void session_await_look(struct session_cache *sc);
void session_await_init(struct session_cache *sc);
void session_await_fini(struct session_cache *sc); /* nobody waits */

/* ---- session_fill.c ---- */

struct session_fill *session_fill_new(struct client *c, const struct session_binding *b,
                                      const struct cache_rule *rule, const struct cache_key *key);
void session_fill_lead(struct session_fill *x, struct cache_ticket ticket,
                       struct cache_flight *flight);
/* Its entry is for Redis, too, with what was read there before. */
void session_fill_read(struct session_fill *x, const struct cache_read *read);
/* The answer is for those who wait for it, and is not kept. */
void session_fill_pass_on(struct session_fill *x);
/* Its query is about to be sent. */
void session_fill_sent(struct session_fill *x);
/* Bytes of the answer, as the client gets them. */
void session_fill_record(struct session_fill *x, struct str bytes);
/* No setting of c was reported to be another since the query was looked up, or its answer may not
 * be what its key says. */
bool session_fill_as_asked(const struct session_fill *x, const struct client *c);
/* The answer of s is complete; ok: without an error, and nothing else is open. Frees. */
void session_fill_done(struct session_fill **x, const struct server *s, bool ok);
/* It will not be sent. Frees; its flight, which may be NULL, is the caller's. NULL is fine. */
struct cache_flight *session_fill_cede(struct session_fill **x);
/* It will not be. Frees; NULL is fine. */
void session_fill_drop(struct session_fill **x);

/* ---- session_redis.c ---- */

void session_redis_init(struct session_cached *x);
void session_redis_fini(struct session_cached *x);
/* Entries of the rule are in Redis, and so are the marks of open writes. */
bool session_redis_leases(const struct session_cache *sc, const struct cache_rule *rule);

struct session_redis_what { /* of a question, or of an entry; borrowed */
    const struct session_binding *binding;
    const struct cache_rule *rule;
    const struct cache_key *key;
};

/* NONE: x->client is looked at again when the answer is here. Otherwise nothing can be served. */
enum cache_bypass session_redis_ask(struct session_cache *sc, struct session_cached *x,
                                    const struct session_redis_what *what);
/* The same after a miss, for a lease. False: Redis is not to be had. */
bool session_redis_take(struct session_cache *sc, struct session_cached *x,
                        const struct session_redis_what *what);
/* The lease of that read is not needed any more. */
void session_redis_give(struct session_cache *sc, const struct cache_key *key,
                        const struct cache_read *read);
void session_redis_forget(struct session_cached *x);
/* read: what was known before the query; ticket: of the first level, if the rule has one. */
bool session_redis_store(struct session_cache *sc, const struct session_redis_what *what,
                         struct cache_read *read, struct cache_ticket ticket,
                         const struct cache_entry *e);
/* Nobody waits for that; what this process has of it in front of Redis is closed until Redis has
 * answered. scope NULL: it has nothing. */
void session_redis_remove(struct session_cache *sc, struct cache_scope *scope,
                          const struct cache_key *key);
/* All entries of a rule. */
void session_redis_drop_scope(struct session_cache *sc, struct cache_scope *scope);
void session_redis_drop_rule(struct session_cache *sc, const struct session_binding *b, int rule);

/* ---- session_intent.c ---- */

struct session_intent; /* a name, or a rule, that a write on a server may change */
struct session_ack;    /* the end of a write, not told to its client yet */

/* Redis is told of it. key NULL: the whole rule. sent: the write is under way already. It belongs
 * to s until it is added to an acknowledgement or s is lost. */
struct session_intent *session_intent_new(struct server *s, const struct cache_scope *scope,
                                          const struct cache_key *key, bool sent);
/* After one or several of these: what is sent to s from now on waits until Redis knows all of them,
 * or what write_without_redis says was done. */
void session_intent_wait(struct server *s);
/* The same when nothing can wait any more. */
void session_intent_sent(struct server *s);
/* What c (NULL: nobody) is sent from now on waits until the ends of these are known. Ends by
 * itself. */
struct session_ack *session_ack_new(struct worker *w, struct client *c);
void session_ack_add(struct session_ack *a, struct session_intent *i);
void session_ack_start(struct session_ack *a, struct server *s); /* after the last one was added */
/* s is lost. ended: the database itself has ended the session; otherwise what runs there may go on,
 * until then at the latest. Its intents are gone. */
void session_intent_lost(struct server *s, bool ended, usec_t until);
void session_intent_free(struct server *s);
/* The connection to Redis is new: what the last one may have left there is taken away. */
void session_intent_clear(struct session_cache *sc);
void session_intent_again(struct timeout *t);        /* of session_cache.again */
void session_ack_drop_all(struct session_cache *sc); /* the worker ends */

/* ---- session_write.c ---- */

/* A piece of a request is about to be sent as a part of the newest flight of s. */
void session_write_note(struct client *c, struct server *s, const struct wire_req *r,
                        const struct plan *plan);
/* Whatever is under way on s may write anything, for all that is known. */
void session_write_unknown(struct server *s);
/* The flight at the front was answered; before that is passed on. */
void session_write_done(struct server *s, const struct wire_server_event *ev);
/* s is lost. ended: the database itself has ended the session. */
void session_write_lost(struct server *s, bool ended);
void session_write_free(struct server *s);

#endif
