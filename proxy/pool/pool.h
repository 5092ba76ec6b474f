/* pool.h - servers that are interchangeable for a client, as one worker has them, and who waits for
 * one.  Where the entry is a cluster, each node has a pool of its own (pool_cluster.h).
 *
 * A pool is (database entry, user) on one worker; its limits are those of the process-wide struct
 * pool_shared (registry.h).  Whoever needs a server embeds a struct waiter: a client with a
 * request, or the proxy itself with a statement of its own (auth_query, catalog).
 *
 * Invariants: a server is on exactly one of the pool's lists, decided by its state
 * (server_set_state); waiters are served in FIFO order, but for reads, which may find a place
 * behind others before an older waiter has got its server alone; a server that could serve a waiter
 * is never idle at the end of a loop turn; the process-wide count of servers is taken before a
 * connection is begun and given back when it is closed.
 * Between workers: an idle server goes to a worker whose oldest waiter is older than ours by
 * POOL_SLACK_US, or which waits while we do not; a worker without idle servers and without room to
 * open one asks those that have some (pool_move.c).
 * Thread: the owning worker's.
 */
#ifndef PENSTOCK_PROXY_POOL_H
#define PENSTOCK_PROXY_POOL_H

#include "base/base.h"
#include "base/clock.h"
#include "base/list.h"
#include "protocol/auth/scram.h"
#include "protocol/catalog.h"
#include "proxy/config/config.h"
#include "proxy/measure.h"
#include "proxy/pool/pace.h"
#include "proxy/pool/registry.h"
#include "proxy/pool/width.h"
#include "proxy/stats.h"
#include "proxy/worker.h"

struct server;
struct pool;
struct cluster;
struct pool_cluster;
struct pool_place;
struct job;
struct stmt;
struct topology_live;
struct topology_node;
struct route_counts;
struct route_node_counts;
struct session_binding;

#define POOL_HOSTS_MAX 16
#define POOL_SLACK_US 5000

/* what a waiter waits for; each kind has a queue of its own */
enum waiter_kind {
    WAIT_UNSEEN,  /* a request that has not been looked at yet: it is when its turn comes */
    WAIT_SHARE,   /* a read that may stand behind those of others (pool_share.c) */
    WAIT_ALONE,   /* a server with nothing in flight */
    WAIT_PROFILE, /* a login that waits for the settings to report, not for a server */
    WAITER_KINDS,
};

struct waiter {
    struct list link;
    usec_t since;
    struct pool *pool;
    enum waiter_kind kind;
    uint32_t bytes; /* of its request, where that is held (pool_cluster.h) */
    /* Takes the server over (it is in state SV_ACTIVE, bound to nobody). */
    void (*granted)(struct waiter *w, struct server *s);
    /* UNSEEN, SHARE: s is or may become SV_SHARED and has room: true when a place was taken, and w
     * is queued no more. Otherwise w is of kind ALONE now, or cannot be asked at this moment. s
     * NULL: says only whether it could (SHARE) or not (ALONE). The member itself is NULL where w is
     * always of another kind. */
    bool (*offered)(struct waiter *w, struct server *s);
    /* No server: cause, and the database's own code and text when it refused the login. */
    void (*failed)(struct waiter *w, enum cause cause, struct str code, struct str text);
    /* It waits no more, and shall look for a pool again: its node may not be used now, or (failed)
     * no connection could be made to it. NULL in pools without a cluster. */
    void (*again)(struct waiter *w, bool failed);
};

struct pool {
    struct worker *worker;               /* borrowed */
    struct pool_shared *shared;          /* borrowed from the registry */
    const struct config_database *entry; /* borrowed from the worker's runtime; renewed on reload */
    const struct config_database *db;    /* the same, or with a node's address: in place */
    struct pool_place *place;            /* owned: a node's address; NULL: that of the entry */
    struct pool *home;                   /* borrowed: whose node's pool this is; NULL: nobody's */
    struct pool_cluster *cluster; /* owned: the nodes behind it; NULL: it has servers itself */
    int node;                     /* index in the topology, with home */
    struct topology_live *live;   /* reference: the node's numbers; stays when home has gone, as */
    struct cluster *member;       /* borrowed from the process: what it is a node of */
    struct route_counts *routes;  /* borrowed from the worker, with cluster */
    struct route_node_counts *routed; /* the same, of a node's pool */
    enum server_error failed_as;      /* why no connection could be made, the last time */
    bool probes;        /* the control connection of a cluster's node (cluster_watch.h) */
    struct list link;   /* in worker->pool_list, in the order of serial */
    uint64_t serial;    /* counts the worker's pools, from 1 */
    struct list giving; /* in worker->giving */
    char *key;          /* owned */
    size_t key_len;
    enum config_pool_mode mode;
    usec_t limits[CONFIG_TIMEOUTS]; /* in force for its clients */
    struct timeout scheduled;       /* waiters are to be looked at soon */
    struct list idle;               /* servers, most recently used first */
    struct list active, connecting;
    struct list sharing; /* servers in SV_SHARED, least recently fed first */
    int nidle, nactive, nconnecting, nsharing;
    struct list waiting[WAITER_KINDS]; /* oldest first */
    int nwaiting[WAITER_KINDS], nwaiters;
    struct {             /* pool_share.c */
        int depth;       /* multiplex_depth; 1: nothing is shared */
        int ndraining;   /* of nsharing: fed no more */
        bool wants_more; /* one more server would be fed */
        struct width width;
        struct pace *pace;     /* owned; NULL: nothing is shared */
        usec_t epoch_at;       /* when the epoch of `width` began */
        uint64_t done, behind; /* requests of this epoch: answered, sent behind others */
        struct timeout sweep;  /* looks for answers that are overdue */
    } share;
    int nclients;
    int steal_pending;
    struct varset *profile;  /* what clients are welcomed with; NULL: not known yet */
    struct map accepted;     /* settings this database has taken: "name=value" */
    struct listen *listen;   /* owned by listen.c; NULL until a client listens */
    struct job *catalog_job; /* fetching it; NULL: not under way */
    struct catalog *catalog; /* reference; NULL: not known yet */
    /* borrowed from the worker: the database as the result cache sees it; NULL: it has no rules */
    struct session_binding *cache;
    usec_t retry_at, backoff; /* after a failed connect */
    bool ever_ready;          /* some server of this pool has logged in since the start */
    unsigned next_host, next_addr;
    usec_t dns_asked_at;
    /* keys made from a plain password, kept for the next login */
    struct scram_client_cache scram_cache;
    struct varset *direct_vars; /* replication: the client's own start-up parameters; reference */
    char replication[16];       /* replication mode of its only client; empty: an ordinary pool */
    usec_t host_down_until[POOL_HOSTS_MAX];
    struct list clients; /* all clients of this pool */
    usec_t empty_since;  /* neither clients nor servers; 0: in use */
    struct stats stats;
    struct measure measure;
    bool gone; /* its database entry was removed: closes when the last client left */
};

/* Found or made for that database entry, the name clients call it by, and user. NULL: names too
 * long. */
struct pool *pool_for(struct worker *w, const struct config_database *db, struct str name,
                      struct str user);
/* A pool of its own for a replication client. */
struct pool *pool_private(struct worker *w, const struct config_database *db, struct str name,
                          struct str user, uint64_t id);
/* A pool of one connection for the prober, made for that entry. */
struct pool *pool_for_probes(struct worker *w, const struct config_database *db, struct str name,
                             struct str key);
/* That of one node of home's cluster, found or made. */
struct pool *pool_for_node(struct pool *home, const struct topology_node *n);
/* p is that of the node with this name. */
bool pool_is_for_node(const struct pool *p, const struct topology_node *n);
/* The address of a node in place of the hosts of the entry. */
void pool_set_place(struct pool *p, const struct topology_node *n);
void pool_renew_place(struct pool *p); /* the entry is another one; does nothing without a place */
/* A new pool of that worker, under a key of its own. */
struct pool *pool_make(struct worker *w, const struct config_database *db, struct pool_shared *sh,
                       struct str key);
/* The name to verify in a certificate of the server that is reached by that host. */
const char *pool_tls_name(const struct pool *p, int host);
void pool_free(struct pool *p); /* has no servers and no clients */
void pool_reconfigure(struct pool *p, const struct config_database *db);
/* Looks at the waiters soon, from a place where anything may happen. */
void pool_schedule(struct pool *p);

/* A server now (state SV_ACTIVE), or NULL: then w is queued as w->kind says and will be granted,
 * offered a place or failed later, never from inside this call; *refused is set when the queue is
 * full and w is not queued. */
struct server *pool_take(struct pool *p, struct waiter *w, const struct varset *like,
                         bool *refused);
/* An idle server, preferably with the wished settings (NULL: any); it stays idle. NULL: none. */
struct server *pool_pick_idle(struct pool *p, const struct varset *like);
/* A request that comes now would be queued. A hint. */
bool pool_would_wait(const struct pool *p);
/* A server's state changed so that waiters may be served: grants, opens, or gives away. */
void pool_dispatch(struct pool *p);
/* Logged in (first or again): profile is known. */
void pool_server_ready(struct pool *p, struct server *s);
/* A server that had not logged in yet is gone. */
void pool_connect_failed(struct pool *p, enum server_error se, struct str code, struct str text);
/* An active server passed the release test. */
void pool_put(struct pool *p, struct server *s);
/* A server was closed: its place is free. */
void pool_forget(struct pool *p, struct server *s);

/* The queues (pool_queue.c). */
bool pool_join_queue(struct pool *p, struct waiter *w); /* behind the others; false: it is full */
void pool_leave_queue(struct waiter *w);                /* does nothing when not queued */
/* w was served once and must be served again: it keeps its seniority. */
void pool_rejoin_queue(struct pool *p, struct waiter *w, usec_t since);
/* w, which is queued, is of that kind, and keeps its seniority. */
void pool_requeue_as(struct pool *p, struct waiter *w, enum waiter_kind kind);
/* The oldest of those kinds (bits 1 << enum waiter_kind), or NULL. */
struct waiter *pool_oldest(const struct pool *p, unsigned kinds);
#define WAIT_FOR_SERVER (1u << WAIT_UNSEEN | 1u << WAIT_SHARE | 1u << WAIT_ALONE)
#define WAIT_ANY (WAIT_FOR_SERVER | 1u << WAIT_PROFILE)
int pool_wanting(const struct pool *p); /* how many wait for a server */
/* All are told to look for a pool again (waiter.again), oldest first. */
void pool_send_away(struct pool *p, bool failed);
/* All are told, oldest first. */
void pool_fail_all(struct pool *p, enum cause cause, struct str code, struct str text);
/* Nobody will get a server here any more. */
void pool_fail_waiters(struct pool *p, enum cause cause, struct str text);

/* Reads of several clients on one server (pool_share.c). */
bool pool_shares(const struct pool *p);
/* How many servers those who wait would use; reads that only need a place among those of others do
 * not count once as many servers are fed as is good for them. */
int pool_servers_wanted(const struct pool *p);
unsigned pool_users(const struct pool *p); /* the kinds of waiters that would use one more */
/* Those who have not been looked at say what they wait for: some may need a server alone. */
void pool_look_at_unseen(struct pool *p);
/* A place for a read with these settings and, where it uses one, this prepared statement: a server
 * in SV_SHARED, or a free one that pool_share_begin must be called with. NULL: none now. */
struct server *pool_share(struct pool *p, const struct varset *vars, const struct stmt *stmt);
bool pool_has_room(const struct pool *p); /* a hint: some server could take one more */
void pool_share_begin(struct server *s);  /* IDLE or ACTIVE: several may use it from now on */
void pool_share_fed(struct server *s);    /* a request was sent to it */
/* The answer of a shared server's oldest request is complete and it has been popped. */
void pool_share_done(struct server *s);
void pool_share_end(struct server *s); /* before it leaves SV_SHARED */
void pool_unfeed(struct server *s);    /* gets nothing more until it is empty */
void pool_share_check(struct pool *p); /* now and then: servers that must go are fed no more */
/* s is free (state SV_ACTIVE or SV_IDLE): to whoever's turn it is, or idle. */
void pool_hand(struct pool *p, struct server *s);
void pool_grant(struct pool *p, struct waiter *w, struct server *s);
void pool_share_configure(struct pool *p); /* at the beginning, and on reload */
void pool_share_free(struct pool *p);

/* A server is to listen for all clients of the pool: it no longer counts in pool_size, so that a
 * small pool is not starved by it.  It counts in the limits of database and user; false: those
 * would leave no server beside the listening ones. */
bool pool_set_apart(struct pool *p);
/* It is an ordinary one again; false: the pool has no room for it. */
bool pool_take_in(struct pool *p);
/* pool_set_apart would still have allowed it: limits change. */
bool pool_has_room_beside_those_apart(const struct pool *p);

/* More servers than pool_size and the reserve allow: a reload has made them smaller. */
bool pool_too_large(const struct pool *p);
int pool_limit(const struct pool *p); /* pool_size by precedence; INT_MAX for unlimited */
enum config_pool_mode pool_mode(const struct pool *p);
bool pool_paused(const struct pool *p);

/* Asks the database for its catalog snapshot when it is missing or old (pool_catalog.c). */
void catalog_wanted(struct pool *p);
void catalog_stale(struct pool *p); /* definitions have changed */
/* p->catalog shows every change of definitions that went through us. */
bool catalog_is_current(const struct pool *p);
void catalog_abandon(struct pool *p);

/* Whole worker (pools.c). */
/* That worker's half of it, for what another thread sent. NULL: it has none (any more). */
struct pool *pool_by_shared(struct worker *w, const struct pool_shared *sh);
void pools_housekeeping(struct worker *w);
void pools_reconfigure(struct worker *w, const struct runtime *old);
void pools_close_all(struct worker *w);
void pools_free(struct worker *w);
void pool_close_servers(struct pool *p, const char *why);
void pool_retire_servers(struct pool *p); /* idle ones now, used ones when released */
void pool_free_when_empty(struct pool *p);
void pool_open_one(struct pool *p); /* for min_pool_size, if the limits allow */

void pool_dns_check(struct pool *p); /* pool_dns.c: marks servers whose name means others now */

/* pool_move.c: servers between workers. */
void pool_ask_others(struct pool *p);           /* we have waiters and no room */
bool pool_idle_elsewhere(const struct pool *p); /* another worker has an idle server. A hint. */
/* Another worker's waiter is older than ours: a server should go there. */
bool pool_wanted_elsewhere(const struct pool *p);
/* Another worker's waiter should have s, which has just been released here. It stays idle until the
 * turn's end, because its own callback may still be on the stack. */
bool pool_gives_away(struct pool *p, const struct server *s);
/* The same for one that cannot move because of what clients prepared by text under their own names:
 * it is being cleaned and will be released again. */
bool pool_cleans_to_give(struct pool *p, struct server *s);
void pools_give(struct worker *w);     /* at the turn's end */
void pool_poke_others(struct pool *p); /* a place in the limits became free */
void pool_publish(struct pool *p);     /* idle count and oldest waiter, for the others */

#endif
