/* session_begin.h - a BEGIN that is answered before any server has it, so that the first statement
 * of its transaction decides on which node of a cluster both run (docs/adr/021).
 *
 * Held back is only what cannot fail and what a replica might have: BEGIN without READ WRITE and
 * without SERIALIZABLE, of a client that nothing ties to a server, and only while a READ ONLY
 * transaction of this client would go to a replica at this moment.  The client is told "BEGIN" and
 * has an open transaction as far as it can see; nothing of the database's is in use for it.  Then
 *   - its first statement is routed as one that begins a block, gets a server, and the BEGIN goes
 *     in front of it: in the same write before a proven read, otherwise its answer is awaited, for
 *     a statement must never run outside of the transaction it was meant for;
 *   - or begin_hold is over, and the BEGIN goes out by itself, to where it would have gone at once.
 * Whatever keeps it from a server (refused, lost) leaves the client with a failed transaction.
 * Called by session.c and session_reply.c.  Thread: the worker's.
 */
#ifndef PENSTOCK_PROXY_SESSION_BEGIN_H
#define PENSTOCK_PROXY_SESSION_BEGIN_H

#include "proxy/session.h"

/* c has been told of a transaction that no server knows of, */
bool session_begun(const struct client *c);
/* and has said nothing since: the BEGIN waits by itself for a server, or for its time. */
bool session_begun_alone(const struct client *c);
/* A BEGIN that was answered is in flight there. */
bool session_is_beginning(struct server *s);
/* What c takes its transaction for. */
enum tx_state session_tx(const struct client *c);

/* r, planned, of a client without a server, was a BEGIN: answered and held. */
bool session_begin_hold(struct client *c, const struct wire_req *r, const struct plan *plan);
/* The held BEGIN goes to s, which c has got and nothing is in flight on. glued: the first statement
 * follows at once; otherwise c->barrier is set until it is answered. */
void session_begin_send(struct client *c, struct server *s, bool glued);
/* c holds s, and has sent nothing yet that would take the BEGIN along. */
void session_begin_alone(struct client *c, struct server *s);
/* c, of session_begun_alone, could not be given a server: it is tried again. */
void session_begin_later(struct client *c);
/* A BEGIN of c on s has been answered: a cancel that came meanwhile is for what runs now. */
void session_begin_cancel(struct client *c, struct server *s);
/* f, the BEGIN, was answered. */
void session_begin_done(struct server *s, struct flight *f, const struct wire_server_event *ev);
/* Its transaction cannot be begun any more, which c is about to be told; or c goes. */
void session_begin_drop(struct client *c);
void session_begin_init(struct client *c); /* once, with c->route */

#endif
