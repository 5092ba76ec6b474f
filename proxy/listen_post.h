/* listen_post.h - what a pool's listening server and its subscribers tell each other.
 *
 * Messages between workers, also from one to itself.  Each carries the seat of the server that is
 * meant; the receiver drops what concerns another one, and a request for a server that is gone is
 * answered with "lost".  What one worker sends to another arrives in order, so a marker tells the
 * same place of the database's queue there as it does here.
 * Thread: the sender's; what arrives is acted on by the receiver (listen_host.h, listen_subs.h).
 */
#ifndef PENSTOCK_PROXY_LISTEN_POST_H
#define PENSTOCK_PROXY_LISTEN_POST_H

#include "proxy/listen_host.h"

/* ---- to the listening server of l->seat ---- */
void listen_post_want(const struct listen *l, struct str channel, uint32_t ticket);
void listen_post_unwant(const struct listen *l, struct str channel);

/* ---- to a subscriber ---- */
void listen_post_answer(const struct listen_host *h, unsigned to, struct str channel,
                        uint32_t ticket, bool ok);
void listen_post_heard(const struct listen_host *h, unsigned to,
                       const struct wire_server_event *ev);
void listen_post_lost(const struct listen_host *h); /* to all workers */

#endif
