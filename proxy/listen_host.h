/* listen_host.h - the listening server of a pool, on the worker that owns it.
 *
 * There is one for the whole process: pool_shared names its seat, which holds the owning worker's
 * index.  The workers whose clients listen are its subscribers; also the owning worker is one like
 * the others and talks to it by messages alone (listen_post.h), so that there is one order of
 * things and nobody is called while he walks his own lists.
 * It listens to a channel while some worker wants it, and it exists while there are channels.
 * It is set apart from the pool (pool_set_apart): it does not count in pool_size, or the listener
 * of a small pool would starve the clients.
 * Called by listen.c (taking the seat), listen_post.c (requests), and from the server's own events.
 * Thread: the owning worker's.
 */
#ifndef PENSTOCK_PROXY_LISTEN_HOST_H
#define PENSTOCK_PROXY_LISTEN_HOST_H

#include "base/map.h"
#include "proxy/listen_subs.h"

struct listen_host {
    struct listen *listen; /* borrowed: the owner */
    struct server *server; /* borrowed */
    uint64_t seat;
    struct map channels; /* name -> struct wanted, owned */
    uint32_t tickets;
    usec_t checked_at;
};

/* The worker that a seat is on. */
unsigned listen_host_worker(uint64_t seat);
/* s, held by nobody but its client, takes the seat of its pool. false: somebody else has it, or
 * the limits leave no room for one; nothing has changed then. */
bool listen_host_take(struct listen *l, struct server *s);
/* The new server listens to this channel already, and the worker wants it. */
void listen_host_has(struct listen_host *h, struct str channel);

/* ---- requests of the subscribers ---- */
void listen_host_want(struct listen_host *h, unsigned worker, struct str channel, uint32_t ticket);
/* The last one of the last channel ends the host. */
void listen_host_unwant(struct listen_host *h, unsigned worker, struct str channel);

/* ---- the server ---- */
void listen_host_heard(struct listen_host *h, const struct wire_server_event *ev);
/* An own statement was answered. */
void listen_host_done(struct listen_host *h, const struct flight *f, bool ok);
/* Is being closed: subscribers are told, h is freed. */
void listen_host_lost(struct listen_host *h);
void listen_host_housekeeping(struct listen_host *h); /* may close the server */

#endif
