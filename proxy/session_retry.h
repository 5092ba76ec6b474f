/* session_retry.h - requests that go to another node of the cluster because this one would not or
 * could not: before their client has seen anything of an answer.
 *
 * A copy is kept of a request that is whole, one statement, small, and alone (no transaction is
 * open, nothing ties its client to the server).  What confirms and describes it is held back until
 * the first row, end or error shows that it has been run; it is put behind the copy.  Then:
 *   - an error that says no more than that this node is a standby takes the request to another;
 *     that of a write teaches the digest;
 *   - a lost server takes a read to another.  A write may be sent again only when it is certain
 *     that it was not committed: its server has said goodbye because it shuts down.
 * Nothing of this touches a client whose pool has no cluster.
 * Called by session.c, session_reply.c and session_share.c.  Thread: the worker's.
 */
#ifndef PENSTOCK_PROXY_SESSION_RETRY_H
#define PENSTOCK_PROXY_SESSION_RETRY_H

#include "proxy/session.h"

#define RETRY_MAX 20 /* so often a request may be refused by nodes */

/* A request of c is about to be sent to s as f: a copy is kept where it may be sent again. */
void session_retry_keep(struct client *c, struct server *s, struct flight *f,
                        const struct wire_req *r, const struct plan *plan);
/* Bytes that precede the answer of f: true when they are held back. */
bool session_retry_hold(struct worker *w, struct flight *f, struct str bytes);
/* What was held back; empty: nothing. It is not held any more. */
struct str session_retry_held(struct flight *f);
/* f, at the front of s, is answered with this error. True: its client looks for another node, and
 * what s still says of it is nobody's. */
bool session_retry(struct server *s, struct flight *f, enum server_error why);
/* s is lost: f may be sent again. */
bool session_retry_lost(const struct server *s, const struct flight *f);

#endif
