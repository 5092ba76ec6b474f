/* session_ours.h - statements that the proxy answers itself, for clients of a cluster or with
 * a result cache.
 *
 *   SHOW LAST             where the last statement went, and why; what the cache did with the last
 *                         one that has a rule (also SHOW penstock.last)
 *   SHOW penstock.token   a mark to be carried to another connection, which is given it with
 *                         SET penstock.token: asked from the primary (identity, timeline, position)
 *
 * What they are is for the codec to read; the settings penstock.route and penstock.token need
 * nothing here, for the database keeps them as it keeps any custom setting (session_route.c).
 * Called by session.c.  Thread: the worker's.
 */
#ifndef PENSTOCK_PROXY_SESSION_OURS_H
#define PENSTOCK_PROXY_SESSION_OURS_H

#include "proxy/session.h"

enum ours {
    OURS_NOT,      /* it is for a server */
    OURS_ANSWERED, /* it was answered, or refused */
    OURS_WAITS,    /* it stays unread until the primary has answered */
};

/* A planned request of a client with c->route, or of a pool with cache rules. */
enum ours session_ours(struct client *c, const struct wire_req *r, const struct plan *plan);
void session_ours_end(struct client *c); /* it has gone */

#endif
