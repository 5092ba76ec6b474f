/* session_route.h - which node of a cluster a request goes to, and what its answer teaches.
 *
 * Called by session.c when a client that nothing ties to a server begins a request, and by
 * session_reply.c when one is done.  The decision itself is router/route.h; here it is given what
 * the session knows: the verdict on the statement, wishes, marks of what the client has written and
 * seen.  A request that no node may have now is held: it waits in the client's own pool
 * (pool_cluster.h) for a while that begins with its first failure, and is planned again.
 * Clients whose pool has no cluster have no struct client_route, and nothing of this touches them.
 * Thread: the worker's.
 */
#ifndef PENSTOCK_PROXY_SESSION_ROUTE_H
#define PENSTOCK_PROXY_SESSION_ROUTE_H

#include "proxy/pool/pool_cluster.h"
#include "proxy/session.h"
#include "router/route.h"

struct route_kept;
struct token_question;

struct client_route {      /* of a client whose pool has a cluster */
    struct client *client; /* borrowed */
    struct freshness_mark mark;
    struct varset *seen; /* reference: the settings that the wishes below were read from */
    enum rules_wish setting, startup;
    bool read_only, serializable;    /* its transactions, by default */
    uint64_t avoid;                  /* nodes that have failed the request under way: bit = index */
    usec_t held_since;               /* since when it cannot be served; 0: it can */
    struct route_choice last;        /* of the last request */
    struct token_question *question; /* owned by session_ours.c; NULL: none */
    struct route_kept *kept;         /* owned by session_kept.c; NULL: no request waits */
    struct {                         /* session_begin.c */
        struct facts *facts; /* reference: of a BEGIN that was answered and is held; NULL: none */
        struct facts *modes; /* likewise, behind it: SET TRANSACTION READ ONLY; NULL: none */
        struct timeout late;
    } begin;
};

enum routed { ROUTED, ROUTE_HELD, ROUTE_REFUSED };

/* The client has logged in; vars: what it came with. False: one of them names no kind of node. */
bool session_route_begin(struct client *c, const struct wire_var *vars, int nvars);
void session_route_end(struct client *c);

/* It may change something in the database, as far as anybody can tell. */
bool session_route_may_write(const struct plan *plan);
/* What may be said of the request, before anything is decided: plan->verdict. */
void session_route_judge(struct client *c, const struct wire_req *r, struct plan *plan);
/* The request under way is over without an answer of the database's: the next one begins afresh. */
void session_route_over(struct client *c);
/* ROUTED: plan->to is where it goes. HELD: it waits. REFUSED: *fault says why. */
enum routed session_route(struct client *c, const struct wire_req *r, struct plan *plan,
                          struct wire_fault *fault);
/* A READ ONLY transaction that began with plan's BEGIN would go to a replica now. */
bool session_route_may_read(struct client *c, const struct plan *plan);
/* Where the BEGIN that is held goes by itself; NULL: nowhere now. */
struct pool *session_route_begin_to(struct client *c);
/* c was waiting and shall look again. failed: no connection could be made to the node. */
void session_route_again(struct client *c, bool failed);
/* The request of c, which is unread again, was lost with its server on that node. */
void session_route_lost(struct client *c, int node);
/* f of c, planned, is sent to s. */
void session_route_sent(struct client *c, struct server *s, struct flight *f,
                        const struct plan *plan);
/* A further piece of it is sent: what that does is not known. */
void session_route_more(struct server *s, struct flight *f);
/* c, or another client of its pool, has written where no node's numbers are known for it: as far as
 * anybody can tell it is newer than all that has been heard of the nodes. */
void session_route_wrote_elsewhere(struct client *c);
/* f is over: answered, or lost with its server. */
void session_route_done(struct server *s, struct flight *f, enum tx_state tx, bool lost);
/* A planned request of c begins on the server that it holds. false: it may not run there, an
 * advisory lock in a transaction on a replica. */
bool session_route_bound(struct client *c, const struct plan *plan) ATTR_NODISCARD;
/* c, which is held, has waited long enough; what it is to be told. */
enum cause session_route_give_up(struct client *c);
/* How long c may wait (CL_WAIT): less when it is held. */
usec_t session_route_patience(const struct client *c);

#endif
