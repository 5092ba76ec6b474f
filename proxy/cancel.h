/* cancel.h - cancel requests: from clients, and to servers.
 *
 * Called by client_login.c (a connection that is nothing but a cancel request), kill.c, and by
 * whoever has to stop what a server runs.  A server with a request on its way to it is not released
 * before that has arrived (server->cancels).
 * Thread: the worker's, unless it says otherwise.
 */
#ifndef PENSTOCK_PROXY_CANCEL_H
#define PENSTOCK_PROXY_CANCEL_H

#include "proxy/client.h"
#include "proxy/server.h"

/* ---- to a server ---- */
/* Opens a connection that carries the request. When it cannot, the server is doubtful. */
void cancel_server(struct server *s);
void cancel_forget_server(struct server *s); /* it is being freed */
void cancel_abandon(struct list *link);      /* shutting down: one of worker->cancels */

/* ---- from a client ---- */
/* The key may be any client's, on any worker; one that names nobody does nothing. */
void cancel_request(struct worker *w, const struct wire_key *key);
/* What c's own cancel request would do; c is of this worker. */
void cancel_client(struct client *c);
/* The key that c is given at its login; how long it is depends on the protocol's minor version. */
void cancel_make_key(struct client *c, int minor, struct wire_key *key);

#endif
