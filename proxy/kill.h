/* kill.h - cancelling or terminating another client of Penstock by the number it was given as its
 * own.
 *
 * A client knows itself by the number in its cancel key, which no database has.  A statement that
 * names such a number is answered here; one that names any other goes to the database unchanged.
 * Thread: the worker's of the client that asks; the target may live on another one.
 */
#ifndef PENSTOCK_PROXY_KILL_H
#define PENSTOCK_PROXY_KILL_H

#include "proxy/client.h"
#include "proxy/session.h"

enum kill_step {
    KILL_PASS, /* none of ours: to the database */
    /* another worker was asked; c->barrier is set, the request is looked at again later */
    KILL_WAIT,
    KILL_DONE, /* c was answered */
};

/* The piece has FX_KILL, c holds a server, and nothing is in flight; or, without REQ_START, nothing
 * but the request's first pieces, which have been answered: then KILL_DONE has answered this piece
 * but for the idle marker, which is the server's. */
enum kill_step kill_request(struct client *c, const struct wire_req *r);

#endif
