/* session_share.h - requests of several clients on one server: sent, answered, taken away.
 *
 * What may be shared is decided in one place (session_share_reads) from facts, and where it may
 * stand in another (server_may_share); where it should is the pool's (pool_share.c).  A request
 * that is shared leaves a copy with its flight, so that it can be sent again as long as nothing of
 * its answer has reached the client.  That is what makes neighbours harmless: whenever one of them
 * is slow, is cancelled, times out or does not read, the others are taken away (session_unshare)
 * and the server is that one's alone; what comes for the others is swallowed.
 * Called by session.c, session_reply.c, session_end.c, client.c and pool_share.c.
 * Thread: the worker's.
 */
#ifndef PENSTOCK_PROXY_SESSION_SHARE_H
#define PENSTOCK_PROXY_SESSION_SHARE_H

#include "proxy/session.h"

/* r is whole, and one statement that is a repeatable read of a client that nothing ties to a
 * server: its facts (borrowed from plan or the parts), and in *stmt the prepared statement it uses,
 * if any.
 * NULL: it needs a server alone. */
const struct facts *session_share_reads(struct client *c, const struct wire_req *r,
                                        const struct plan *plan, const struct stmt **stmt);
/* A request that will have its server alone: notes in plan whether it could be repeated. */
void session_share_note(struct client *c, const struct wire_req *r, struct plan *plan);
/* A new request of an idle client, planned. True: sent, or the client waits for a place. */
bool session_share(struct client *c, const struct wire_req *r, struct plan *plan);
/* The same for one that waits and was offered c->offered. True: it was sent. */
bool session_share_offered(struct client *c, const struct wire_req *r, struct plan *plan);
/* waiter.offered of clients. */
bool session_offered(struct waiter *w, struct server *s);
/* The front of a shared server's queue has been answered: ev, of kind SV_DONE. */
void session_shared_done(struct server *s);
/* c's request is to be stopped and may not harm its neighbours. True: c holds the server alone now.
 * False: the request was not being run yet; it is answered with `why`. */
bool session_share_stop(struct client *c, enum cause why);
/* The request is kept with f, in flight on w, so that it can be sent again: it is a repeatable
 * read, and whole. */
void session_share_keep(struct worker *w, struct flight *f, struct str raw);
/* Room for so many bytes where the copy is. */
void session_share_room(struct worker *w, struct flight *f, uint32_t n);
/* The request of f, whose client holds s no more, is that client's next one again, on another node
 * of its cluster. */
void session_share_take_back(struct server *s, struct flight *f);
/* An answer of s, which is held, is complete. True: what is still in flight had been taken away
 * from others; its client does not wait for that and holds s no more. */
bool session_share_let_go(struct server *s);
/* s is lost, and its client had it alone. True: all that was in flight for the client is a read
 * that it has seen nothing of and has not cancelled; it is sent again. */
bool session_share_lost_alone(struct server *s);
/* c leaves: its answer will be swallowed. */
void session_share_leave(struct client *c);
/* The server is lost: what gave no output is sent again, within bounds. */
void session_share_lost(struct server *s, struct str code, struct str text);

#endif
