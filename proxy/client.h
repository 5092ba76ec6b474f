/* client.h - a connection from an application: its machine and its login.
 *
 * States (client_set_state is the only place that changes one; it checks a table of legal moves,
 * restarts the timer that belongs to the state and counts):
 *   CL_STARTUP  TLS, start-up packet       -> CL_AUTH, CL_CLOSED
 *   CL_AUTH     exchange of credentials    -> CL_WELCOME, CL_CLOSED
 *   CL_WELCOME  no server known yet: waits for the settings to report -> CL_IDLE, CL_CLOSED
 *   CL_IDLE     logged in, no server       -> CL_WAIT, CL_CACHE, CL_BUSY, CL_SHARED, CL_ENDING
 *   CL_CACHE    Redis, another client's query for the same answer or a write to its key is waited
 *               for; its request is in the input buffer -> CL_IDLE (to look again), CL_ENDING
 *   CL_WAIT     queued for a server; its request is in the input buffer
 *               -> CL_BUSY, CL_SHARED, CL_IDLE, CL_ENDING
 *   CL_BUSY     holds a server, something is in flight -> CL_IDLE, CL_HELD, CL_ENDING
 *   CL_SHARED   its only request is in flight on a server that others use too; nothing more is read
 *               -> CL_IDLE, CL_BUSY (the server was left to it), CL_WAIT (to be sent again),
 *               CL_ENDING
 *   CL_HELD     keeps its server, nothing in flight (transaction or pin)
 *               -> CL_BUSY, CL_IDLE, CL_ENDING
 *   CL_ADMIN    console session            -> CL_ENDING
 *   CL_ENDING   last words are being written -> CL_CLOSED
 *   CL_CLOSED   freed at the end of the loop turn
 */
#ifndef PENSTOCK_PROXY_CLIENT_H
#define PENSTOCK_PROXY_CLIENT_H

#include "base/base.h"
#include "base/clock.h"
#include "base/list.h"
#include "proxy/net/conn.h"
#include "proxy/pool/pool.h"
#include "proxy/stmt.h"
#include "proxy/timeout.h"
#include "proxy/varset.h"
#include "proxy/worker.h"

struct server;
struct login;
struct client_route;
struct session_cached;

enum client_state {
    CL_STARTUP,
    CL_AUTH,
    CL_WELCOME,
    CL_IDLE,
    CL_CACHE,
    CL_WAIT,
    CL_BUSY,
    CL_SHARED,
    CL_HELD,
    CL_ADMIN,
    CL_ENDING,
    CL_CLOSED,
};

/* of a request to stop another client (kill.c) */
enum kill_outcome {
    KILL_NONE,
    KILL_ASKED,  /* its worker has been asked */
    KILL_NOBODY, /* there is no such client */
    KILL_DENIED,
    KILL_SENT,
};

/* its transaction went with its server, and it has not ended it yet */
enum aborted {
    ABORTED_NOT,
    ABORTED_UNTOLD, /* nor heard of it */
    ABORTED_TOLD,
};

struct refusal { /* the next request is answered with this */
    bool set;
    enum cause cause;
    struct str code, text; /* borrowed for the duration of session_refuse */
};

struct client {
    struct conn conn; /* first */
    struct mortal mortal;
    struct list all;     /* in worker->clients */
    struct list in_pool; /* in pool->clients */
    enum client_state state;
    bool barrier; /* later requests wait until the current one and its asks are done */
    bool is_unix, replication, logged_in, admin_ok;
    bool passthrough; /* session mode: nothing is tracked, the server is reset afterwards */
    bool skipping;    /* a request was refused; its rest is being dropped */
    bool upload;      /* in COPY FROM STDIN */
    bool early;       /* has sent data for one before the server asked: held back until it does */
    uint8_t aborted;  /* enum aborted: its transaction went with its server */
    bool told_queued; /* query_wait_notify was sent */
    /* a cancel came while its BEGIN was on its way: it is for the statement behind that */
    bool cancel_later;
    struct refusal refusal;
    enum kill_outcome kill_outcome;
    uint8_t lost;      /* servers lost under the request that is being sent again */
    uint8_t timed_out; /* a cancel is under way because of a timeout: enum cause */
    uint32_t slot;     /* id in the cancel key */
    uint32_t dialect;
    uint64_t id;           /* for the console */
    uint8_t secret[32];    /* of the cancel key */
    uint8_t nsecret;       /* how many bytes of it the client was given */
    struct pool *pool;     /* borrowed; NULL before login */
    struct server *server; /* borrowed while BUSY, HELD or SHARED */
    /* for the duration of session_offered: its request is looked at although it waits, and */
    bool looking;
    struct server *offered; /* may be sent here; borrowed; NULL: not yet */
    struct waiter waiter;
    struct varset *vars;           /* wished settings */
    struct varset *startup;        /* those it came with: what RESET returns to */
    struct varset *told;           /* reported values it knows */
    struct listen_client *listen;  /* owned by listen.c; NULL until it listens */
    struct stmt_names *names;      /* owned; NULL until it prepares something */
    struct client_route *route;    /* owned by session_route.c; NULL: its pool has no cluster */
    struct session_cached *cached; /* owned; NULL until it asks for what a cache rule is about */
    struct login *login;           /* owned until logged in (client_login.c) */
    void *console;                 /* owned by proxy/admin; NULL for ordinary clients */
    struct db_shared *db_counted;  /* where it counts as a client; NULL: nowhere */
    struct user_shared *user_counted;
    struct timeout timeout;    /* of the state */
    struct timeout tx_timeout; /* transaction_timeout */
    usec_t request_at, xact_at, wait_at, held_at;
    usec_t first_start; /* its next request was sent before, and is sent again: since then; or 0 */
    usec_t waited;      /* for the server it has; of its next request */
    usec_t connect_wall;
    usec_t request_wall;
    struct sockaddr *peer; /* owned; as long as its family needs */
    char *user;            /* owned; NULL before login */
    void *wire_state;      /* behind the struct */
};

extern const char *const client_state_names[];

void client_accept(struct worker *w, int fd, const struct sockaddr_storage *peer, bool is_unix);
void client_set_state(struct client *c, enum client_state to);
/* Ends it now, without a word. why is for the log. */
void client_close(struct client *c, const char *why);
/* The one place where a client is told an error, and where that is logged. */
void client_tell(struct client *c, const struct wire_fault *f);
/* Tells it why (text empty: the cause's default), then closes. */
void client_fatal(struct client *c, enum cause cause, struct str text);
/* Its last words have been appended already: written, then closed. */
void client_end(struct client *c, const char *why);
/* Where the state's timer should stand; called by client_set_state and on reload. */
usec_t client_limit_us(const struct client *c, enum client_state st);

void clients_housekeeping(struct worker *w);
void clients_reconfigure(struct worker *w);
void clients_close_all(struct worker *w);

#endif
