/* cancel.h - cancel requests: from clients, and to servers.
 *
 * Called by client_login.c (a connection that is nothing but a cancel request), kill.c, and by
 * whoever has to stop what a server runs.  A server with a request on its way to it is not released
 * before that has arrived (server->cancels).  peer.c passes on what is for another process.
 * Thread: the worker's, unless it says otherwise.
 */
#ifndef PENSTOCK_PROXY_CANCEL_H
#define PENSTOCK_PROXY_CANCEL_H

#include "proxy/client.h"
#include "proxy/server.h"

/* ---- to a server ---- */
/* Opens a connection that carries the request, with TLS if the server's own has it. When it cannot,
 * the server is doubtful. */
void cancel_server(struct server *s);
void cancel_forget_server(struct server *s); /* it is being freed */

/* ---- from a client ---- */

/* The connection that asked for a cancel; it waits for cancel_answer and reads nothing more. */
struct cancel_asker {
    uint32_t slot;
    uint64_t id; /* 0: the successor has asked (upgrade.h), and slot is its number */
};

/* from is a connection that has just said so; it is closed when the request has been acted on. The
 * key may be any client's, on any worker or of any peer; one that names nobody does nothing. */
void cancel_request(struct client *from, const struct wire_key *key);
/* The same for a request that the successor could not place. */
void cancel_passed(struct worker *w, const struct wire_key *key, uint32_t number);
/* Acted on: the asker, if it is still there, is closed. w: the calling worker, any. */
void cancel_answer(struct worker *w, const struct cancel_asker *a);
/* What c's own cancel request would do; c is of this worker. */
void cancel_client(struct client *c);
/* The key that c is given at its login; how long it is depends on the protocol's minor version. */
void cancel_make_key(struct client *c, int minor, struct wire_key *key);

#endif
