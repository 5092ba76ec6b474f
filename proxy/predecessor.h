/* predecessor.h - the newer of two processes, towards the older one whose place it takes.
 *
 * As long as the older one lives, a cancel request that names none of our clients may be for one of
 * its own: it is passed on, and answered when that one has acted on it.
 * Made by main.c when the process is an heir (inherit.h).  Thread: main, but for
 * predecessor_cancel.
 */
#ifndef PENSTOCK_PROXY_PREDECESSOR_H
#define PENSTOCK_PROXY_PREDECESSOR_H

#include "proxy/cancel.h"
#include "proxy/process.h"

#include <ev.h>

struct predecessor;

/* Takes channel over. */
struct predecessor *predecessor_new(struct ev_loop *loop, struct process *p, int channel);
void predecessor_free(struct predecessor **x); /* NULL inside is fine */

/* We serve; it may leave. false: it has gone already, and with it the reason why we were
 * started. */
bool predecessor_take_over(struct predecessor *x) ATTR_NODISCARD;
bool predecessor_lives(const struct predecessor *x); /* x may be NULL */
void predecessor_reopen_log(struct predecessor *x);  /* x may be NULL */

/* Any worker: passes the request on, if there is somebody; false: there is not. The asker gets its
 * cancel_answer. */
bool predecessor_cancel(struct worker *w, const struct wire_key *key,
                        const struct cancel_asker *asker);

#endif
