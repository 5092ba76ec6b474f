/* process.h - what all threads of the process share, and how it is published.
 *
 * One struct process exists, made by main.c and borrowed by everything.  Its parts are of three
 * kinds: constant after start (workers, wire, salt), the current runtime snapshot (immutable,
 * reference- counted, replaced by the main thread and delivered to workers by message), and
 * `shared`: the named exceptions, atomics and the registry's lock.
 */
#ifndef PENSTOCK_PROXY_PROCESS_H
#define PENSTOCK_PROXY_PROCESS_H

#include "base/base.h"
#include "base/clock.h"
#include "base/refs.h"
#include "proxy/config/config.h"
#include "proxy/net/mailbox.h"
#include "proxy/net/resolver.h"
#include "proxy/net/tls_ctx.h"
#include "protocol/wire.h"

struct worker;
struct cache_l1;
struct member;
struct registry;
struct cluster_set;
struct admin;
struct upgrade;
struct predecessor;
struct http;

/* Configuration and what was made from it; immutable once published. */
struct runtime {
    struct refs refs;
    struct config *config;      /* reference */
    struct tls_ctx *client_tls; /* reference; NULL: no TLS for clients */
    struct tls_ctx *server_tls; /* reference; NULL: no TLS to servers */
    struct tls_ctx *redis_tls;  /* reference; NULL: no TLS to Redis */
};

/* only ever grows */
enum process_phase {
    PHASE_RUN,
    PHASE_HANDED_OVER,        /* a successor has the listeners; ends when the last client left */
    PHASE_DRAIN_CLIENTS,      /* no new clients; ends when the last one left */
    PHASE_DRAIN_SERVERS,      /* no new requests; ends when no server is in use */
    PHASE_DRAIN_TRANSACTIONS, /* the same, and a pin alone keeps no client */
    PHASE_STOP,
};

struct process {
    const struct wire *wire;
    struct worker **workers; /* owned array */
    unsigned nworkers;
    uint64_t salt; /* makes statement handles unguessable */
    usec_t started_wall;
    struct resolver *resolver;
    struct registry *registry;       /* pools, databases and users as all threads see them */
    struct cluster_set *clusters;    /* and clusters */
    struct mailbox *main_box;        /* the main thread's */
    struct admin *admin;             /* console back end; main thread only */
    struct upgrade *upgrade;         /* towards a successor; main thread only */
    struct predecessor *predecessor; /* NULL: there was none; main thread only */
    uint32_t first_id; /* of client slots, a multiple of nworkers: a predecessor's are others */
    struct http *http; /* the HTTP port; main thread only; NULL: there is none */
    struct cache_l1 *answers; /* owned: what the result cache keeps, for all workers */
    struct member *member;    /* owned, by the workers together (session_cache.c) */
    struct {
        _Atomic int clients;       /* past login, for max_client_conn */
        _Atomic int login_clients; /* accepted, and not past it */
        _Atomic uint32_t end_id;   /* above every client slot so far */
        _Atomic bool predecessor;  /* it still serves clients */
        _Atomic bool upgrading;    /* this process or the other one is to take over */
        _Atomic int phase;         /* enum process_phase */
        _Atomic bool suspended;
        _Atomic bool paused;         /* PAUSE without a database */
        _Atomic size_t buffer_bytes; /* of all connections */
        _Atomic uint64_t next_id;    /* of clients and servers, for the console */
        /* Questions to all workers that are under way: what they count must not go meanwhile. */
        _Atomic int gathers;
        /* The newest snapshot, which a worker may not have got yet. To be compared only. */
        _Atomic(const struct runtime *) newest;
    } shared;
};

struct runtime *runtime_get(struct runtime *r);
void runtime_put(struct runtime **r);
/* Makes TLS contexts for cfg (reference taken over also on failure). Main thread. */
enum status runtime_new(struct config *cfg, struct tls_ticket_keys *tickets, struct runtime **out,
                        struct error *err) ATTR_NODISCARD;

enum process_phase process_phase(const struct process *p);

/* As many descriptors as the process may have; says so when that is too few. */
void process_raise_fd_limit(const struct config_options *o);
unsigned process_worker_count(const struct config_options *o);

#endif
