/* worker.h - a thread with one libev loop, and everything it owns.
 *
 * A worker owns its clients and servers with all their state; nobody else touches them.  It is
 * reached by messages (mailbox.h) only.  A loop turn is: time is taken once, sockets and timers are
 * served, and before the next wait everything produced is written (servers first, so that the
 * database starts working) and closed connections are freed.
 */
#ifndef PENSTOCK_PROXY_WORKER_H
#define PENSTOCK_PROXY_WORKER_H

#include "base/base.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/map.h"
#include "proxy/net/conn.h"
#include "proxy/net/mailbox.h"
#include "proxy/process.h"
#include "proxy/statements.h"
#include "proxy/stats.h"
#include "proxy/stmt.h"
#include "proxy/timeout.h"
#include "proxy/varset.h"
#include "protocol/sql/sql_cache.h"

#include <ev.h>
#include <pthread.h>

#define WORKER_IN_CLASSES 3

struct client;
struct route_kept;
struct session_cache;

struct client_slot { /* finds a client by the id in its cancel key */
    struct client *client;
    uint32_t next_free;
};

struct worker {
    unsigned index;
    struct process *process; /* borrowed */
    const struct wire *wire;
    struct runtime *runtime; /* reference: the snapshot this worker goes by */
    pthread_t thread;
    struct ev_loop *loop;
    ev_prepare prepare;
    ev_check check;
    ev_timer timer; /* the earliest deadline of `timeouts` */
    struct mailbox mailbox;
    usec_t now;       /* monotonic time of this loop turn */
    uint8_t *scratch; /* CONN_SCRATCH bytes, for reading */
    struct outq_pool blocks;
    void *in_free[WORKER_IN_CLASSES];
    struct list dirty[2]; /* connections with output: [0] servers, [1] clients */
    struct list closed;   /* struct mortal, freed at the turn's end */
    struct timeouts timeouts;
    struct varset_table vars;
    struct stmt_registry stmts;
    struct sql_cache *sql;
    struct statements *statements;
    struct {            /* what is done when a request is over (session_note.c) */
        bool on;        /* anything at all */
        bool said;      /* flights keep what was said in the request */
        usec_t slow_us; /* those that took so long are logged; INT64_MAX: none */
        int percent;    /* of these, and */
        int credit;     /* what is left of it */
    } noting;
    struct session_cache *cache; /* owned: its view of the result cache */
    struct list clients;         /* all of them */
    struct list servers;
    struct list cancels; /* connections that carry a cancel request */
    struct list peers;   /* struct peer: requests that are passed on (peer.c) */
    struct {             /* memory.c */
        size_t in_bytes; /* input that is kept, and requests that may be sent again */
        size_t published;
        usec_t over_since, looked_at;
        bool paused;
    } memory;
    struct map pools; /* key -> struct pool */
    struct list pool_list;
    struct list watches; /* clusters that this worker probes (cluster_watch.h) */
    struct list routes;  /* what it has sent to which node (route_counts.h) */
    uint64_t pools_made;
    struct list giving; /* pools with an idle server that another worker should have */
    struct timeout housekeeping;
    struct map verifiers;      /* user -> struct verifier of client_login.c */
    struct client_slot *slots; /* owned array */
    uint32_t nslots, free_slot;
    uint64_t told[CAUSES]; /* errors told to clients that have no pool (yet) */
    struct wire_part parts[WIRE_PARTS_MAX];
    struct stmt *part_stmts[WIRE_PARTS_MAX];
    struct route_kept *kept_free; /* owned: room for requests that wait (session_kept.h) */
    struct {
        _Atomic int clients; /* for the accepting thread's choice */
    } shared;
};

/* What is freed at the end of the loop turn. */
struct mortal {
    struct list link;
    void (*free)(struct mortal *m);
};

struct worker *worker_new(struct process *p, unsigned index, struct runtime *rt);
enum status worker_start(struct worker *w, struct error *err) ATTR_NODISCARD;
void worker_join(struct worker *w);
void worker_free(struct worker **w);

/* Main thread: hands a fresh socket over (the worker closes it when it cannot serve it). */
void worker_post_socket(struct worker *w, int fd, const struct sockaddr_storage *peer,
                        bool is_unix);
/* Main thread: a new snapshot (one reference is passed on). */
void worker_post_runtime(struct worker *w, struct runtime *rt);
/* Any thread: run fn(worker, arg) on the worker. */
void worker_post_call(struct worker *w, void (*fn)(struct worker *w, void *arg), void *arg);

/* ---- the rest: owner thread only ---- */
void worker_bury(struct worker *w, struct mortal *m);
uint8_t *worker_in_alloc(struct worker *w,
                         uint32_t *cap); /* *cap: wanted, rounded up; NULL: no memory */
void worker_in_free(struct worker *w, uint8_t *p, uint32_t cap);
uint32_t worker_slot_take(struct worker *w, struct client *c); /* process-wide id */
void worker_slot_drop(struct worker *w, uint32_t id);
struct client *worker_slot_find(const struct worker *w, uint32_t id);
void worker_timeout(struct worker *w, struct timeout *t, usec_t length);
const struct config *worker_config(const struct worker *w);
const struct config_options *worker_options(const struct worker *w);
/* The tcp_* options, which clients' sockets get from the listener, and servers' from here. */
struct sockopt_tcp;
struct sockopt_tcp worker_tcp(const struct config_options *o);
void worker_tune_server(struct worker *w, int fd);

#endif
