/* peer.h - cancel requests for other processes of a group ([peers]), passed on to them.
 *
 * A client's cancel request is a connection of its own, and where several processes share a port or
 * stand behind one address it may come to any of them.  The key says which process gave it out;
 * that one gets the request, over a connection that carries nothing else, and the client's
 * connection is closed when the peer has closed this one.  All requests for one peer are passed on
 * by one worker, so that pool_size of the entry is exact: the others wait, up to
 * cancel_wait_timeout. Keys count how often they were passed on, so that wrong numbers cannot make
 * a request go round. Called by cancel.c, by the worker at its end, and by the console.
 */
#ifndef PENSTOCK_PROXY_PEER_H
#define PENSTOCK_PROXY_PEER_H

#include "proxy/cancel.h"

/* Takes the request over: asker gets its cancel_answer. peer is a number of the configuration; w:
 * the calling worker, any. */
void peer_pass_on(struct worker *w, int peer, const struct wire_key *key,
                  const struct cancel_asker *asker);

struct peer_counts {
    int64_t sent;       /* the peer has the request and has not closed yet */
    int64_t connecting; /* or being looked up */
    int64_t waiting;    /* for one of the others to end */
};
/* The worker that passes requests on to this peer. Any thread. */
unsigned peer_worker(const struct process *p, int peer);
/* Only on that worker. */
void peer_count(const struct worker *w, int peer, struct peer_counts *out);

void peers_free(struct worker *w); /* the worker ends; its connections are abandoned already */

#endif
