/* session_kept.h - a client of a cluster that waits with its request: as it was read, and its plan.
 *
 * Which node a request goes to, and so in which queue its client waits, is known only when it has
 * been read and planned.  All that is remembered here, so that it is done once.  The bytes stay in
 * the client's input buffer; the client has at most one such request, and it is the first in there.
 * Called by session.c.  Thread: the worker's.
 */
#ifndef PENSTOCK_PROXY_SESSION_KEPT_H
#define PENSTOCK_PROXY_SESSION_KEPT_H

#include "proxy/session.h"

#define KEPT_PARTS 8u /* of a longer request nothing is kept */

/* The request at the front of the input buffer while it waits (CL_WAIT), as it was read, and its
 * plan: what has been found out about its bytes stays true, so when its turn comes they are not
 * looked at again. Unused ones are kept by the worker. */
struct route_kept {
    struct route_kept *next; /* in worker->kept_free */
    struct wire_req req;     /* its pointers are those of the first look */
    struct wire_part parts[KEPT_PARTS];
    struct plan plan;  /* facts and batch are owned here; text and statement are found again */
    struct stmt *stmt; /* reference: of the one statement that it is about; NULL: of a text */
    uint64_t about;    /* the parts that are about it: bit = index */
    uint64_t catalog;  /* generation of the one it was judged by */
};

/* c has to wait with the request r that plan was made for. */
void session_kept_put(struct client *c, const struct wire_req *r, struct plan *plan);
/* The request at the front, which begins at data, was kept: it is as cl_feed would have it. */
bool session_kept_reread(struct client *c, struct str data, struct wire_client_event *ev);
/* And its plan is filled and judged, in place of session_plan. false: there is none, or what it was
 * judged by has changed. */
bool session_kept_recall(struct client *c, const struct wire_req *r, struct plan *plan);
/* It is another request that comes next. */
void session_kept_drop(struct client *c);
void session_kept_free(struct worker *w); /* what is unused */

#endif
