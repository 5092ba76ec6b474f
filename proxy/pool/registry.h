/* registry.h - pools, databases and users as all workers see them: limits and who has what.
 *
 * The process-wide half of pooling.  Entries are looked up under the registry's lock when a client
 * logs in and live as long as the process; their numbers are atomics, so that limits are exact
 * across workers without a lock on the data path.
 * A server counts in its pool, its database and its user from before it connects until it is
 * closed.  The one that listens for a pool's clients does not count in the pool.
 */
#ifndef PENSTOCK_PROXY_REGISTRY_H
#define PENSTOCK_PROXY_REGISTRY_H

#include "base/base.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/str.h"
#include "protocol/auth/scram.h"
#include "protocol/catalog.h"
#include "proxy/measure.h"
#include "proxy/stats.h"
#include "protocol/wire.h"

#include <pthread.h>

#define WORKERS_MAX 64

/* bits: why a database gives out no server */
enum db_hold {
    DB_PAUSED = 1u << 0,
    DB_DISABLED = 1u << 1, /* refuses new logins only */
};

struct db_shared {
    char *name; /* owned */
    struct {
        _Atomic int servers, clients;
        _Atomic int apart;      /* of servers: those that listen for all clients of their pool */
        _Atomic uint32_t hold;  /* db_hold bits */
        _Atomic uint32_t epoch; /* servers of an older epoch are closed on release (RECONNECT) */
        _Atomic(struct catalog *) catalog; /* replaced under the registry's lock only */
        _Atomic uint32_t definitions;      /* raised by every change of a definition that is seen */
        _Atomic uint32_t catalog_definitions; /* what it was when the snapshot was asked for */
        /* what it was raised to by the newest change that cached answers may depend on */
        _Atomic uint32_t reshaped;
        _Atomic bool catalog_stale;    /* a definition was changed through us */
        _Atomic int64_t catalog_asked; /* time of the last question, so that one worker asks */
    } shared;
};

struct user_shared {
    char *name; /* owned */
    struct {
        _Atomic int servers, clients;
        _Atomic int apart; /* as in db_shared */
    } shared;
};

struct profile { /* settings a server reported at login: immutable */
    int n;
    struct wire_var vars[];
};

struct pool_shared {
    char *key;        /* owned; unique: "database\0user", or with "\0node" behind it */
    const char *node; /* borrowed from key: the node of a cluster whose pool it is; empty: none */
    struct db_shared *db;
    struct user_shared *user;
    struct {
        _Atomic int servers;
        _Atomic int waiting;
        _Atomic int pinned; /* servers held outside transactions, not counting session mode */
        _Atomic uint64_t listener; /* seat of the listening server (listen_host.h); 0: none */
        _Atomic uint64_t seats;    /* so many have been taken */
        _Atomic(const struct profile *) profile; /* set once, never freed before the end */
        struct {
            _Atomic int idle;
            _Atomic int64_t oldest; /* since when that worker's first waiter waits; 0: none */
        } worker[WORKERS_MAX];
        /* of workers' pools that are gone; under the registry's lock */
        struct stats left;
        struct measured left_measured;
    } shared;
};

struct registry;
struct registry *registry_new(void);
void registry_free(struct registry **r);

/* Any thread; found or made. Pointers stay valid until registry_free. */
struct db_shared *registry_db(struct registry *r, struct str name);
struct user_shared *registry_user(struct registry *r, struct str name);
struct pool_shared *registry_pool(struct registry *r, struct str db, struct str user,
                                  struct str key);
/* The name under which statistics show a host: "host:port". One pointer for equal names. */
const char *registry_host(struct registry *r, const char *host, int port);
/* Calls fn for each under the lock. */
void registry_each_db(struct registry *r, void (*fn)(void *arg, struct db_shared *d), void *arg);
void registry_each_user(struct registry *r, void (*fn)(void *arg, struct user_shared *u),
                        void *arg);
void registry_each_pool(struct registry *r, void (*fn)(void *arg, struct pool_shared *p),
                        void *arg);

/* A worker's pool ends: what it has counted is kept, so that no sum ever falls. */
void registry_leave(struct registry *r, struct pool_shared *p, const struct stats *s,
                    const struct measured *m);

/* The settings to welcome clients with; keeps the first. */
void registry_set_profile(struct registry *r, struct pool_shared *p, const struct wire_var *vars,
                          int n);

/* The catalog snapshot of a database: one reference, or NULL. */
struct catalog *registry_catalog(struct registry *r, struct db_shared *d);
/* Takes over c, which was asked for when d's definitions were at that number; one that is older
 * than what is known already is dropped. */
void registry_set_catalog(struct registry *r, struct db_shared *d, struct catalog *c,
                          uint32_t definitions);

/* Something was defined that cached answers may depend on: in which databases is not known, because
 * several entries may lead to one. */
void registry_reshaped(struct registry *r);

/* SCRAM keys that a user's client proved at login, for logging in to servers as that user. */
bool registry_keys(struct registry *r, struct str user, struct scram_keys *out);
void registry_set_keys(struct registry *r, struct str user, const struct scram_keys *keys);
/* Secrets that auth_query found, as text for secret_parse. false: unknown, or learned before
 * `since`. */
bool registry_secret(struct registry *r, struct str db, struct str user, usec_t since, char *dst,
                     size_t cap);
void registry_set_secret(struct registry *r, struct str db, struct str user, usec_t now,
                         struct str secret);

#endif
