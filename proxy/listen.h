/* listen.h - LISTEN in transaction mode: one server per pool listens for all of its clients.
 *
 * A client that listens would keep its server for as long as it is connected.  Instead its channels
 * are subscribed at the pool's listening server, and its own is given back:
 *
 *   1. A transaction with LISTEN was committed; the question after it (ASK_LISTEN) names the
 *      channels the server listens on.  Each becomes a subscription of the client that is still
 *      `gated`: notifications come over the client's own server.
 *   2. The first such server of a pool becomes the listening server itself.  For later ones the
 *      listening server is told to LISTEN; until that is confirmed the client keeps its server
 *      (PIN_LISTEN).
 *   3. A marker, a NOTIFY of ours that both servers receive at the same place of the database's one
 *      queue, says where to change over: up to it the client's own server is believed, behind it
 *      the listening server.  So each notification is delivered once and in order, without
 *      comparing contents.
 *   4. UNLISTEN * on the client's server, which is then released.
 *
 * There is one listening server for all workers (listen_host.h): it belongs to the worker whose
 * client was first, and the others hear from it by messages.
 * A notification is written between the answers of a client, as PostgreSQL does it: never inside
 * one and not while it has a transaction open (client_may_hear).
 * What a rollback takes back was never subscribed, for only the database's answer subscribes.
 * UNLISTEN of a channel that is subscribed here is noted when it is sent and acted on when its
 * transaction is over.
 * In a cluster all of this is about the pool of a node, the primary, for LISTEN runs only there;
 * clients that listen are closed when that node is the primary no more (its servers are).
 * Not here: session mode, and clients whose text encoding differs from that of the pool's
 * fresh servers, and databases whose limits leave no second server; these clients stay pinned.
 * Thread: the worker's that owns pool, clients and servers.
 */
#ifndef PENSTOCK_PROXY_LISTEN_H
#define PENSTOCK_PROXY_LISTEN_H

#include "base/base.h"
#include "proxy/client.h"
#include "proxy/server.h"

struct listen;        /* of a pool: pool->listen */
struct listen_client; /* of a client: client->listen */
struct plan;

/* ---- what the client's own server says ---- */
void listen_ask_begins(struct server *s);
void listen_ask_row(struct server *s, struct str channel);
void listen_ask_done(struct server *s);
/* A notification came in on s; true: it was dealt with, or must not be shown. */
bool listen_notified(struct server *s, const struct wire_server_event *ev);

/* ---- what the client does ---- */
/* A piece with FX_UNLISTEN is about to be sent: remembers which channels. */
void listen_note_unlisten(struct client *c, const struct wire_req *r, const struct plan *plan);
/* A request of the client was answered. Also the place to deliver what was held back. */
void listen_request_done(struct client *c, const struct wire_server_event *ev);
/* s is settled and c holds it: moves c's channels to the listening server. true: c has left s, or
 * is leaving it (c->barrier is set). */
bool listen_settle(struct client *c, struct server *s);
/* c may be between two answers now: what was held back goes out. */
void listen_flush(struct client *c);
/* c holds s for nothing but LISTEN, and will leave it soon. */
bool listen_may_move(const struct client *c, const struct server *s);
void listen_client_gone(struct client *c);
/* c is in the middle of leaving its server: when that is lost, what c missed is not known. */
bool listen_is_moving(const struct client *c);

/* ---- servers ---- */
/* An own statement of kind FLIGHT_LISTEN was answered. */
void listen_done(struct server *s, struct flight *f, bool ok);
/* s, a listening server, is lost: its clients are closed rather than left deaf, on all workers. */
void listen_server_lost(struct server *s);
void listen_housekeeping(struct pool *p);
/* p is no node of its cluster any more: whoever listens there is closed. */
void listen_pool_left(struct pool *p);
void listen_free(struct pool *p);

#endif
