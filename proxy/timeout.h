/* timeout.h - deadlines as FIFO lists: one list per kind and length.
 *
 * Called by the client and server machines.  Timeouts of one length expire in the order in which
 * they began, so starting and stopping one is a list operation, and the worker needs a single libev
 * timer for all lists.  Lengths come from configuration, so there are few lists.
 * Invariant: a node is on at most one list; its list is sorted by deadline.
 * Thread: the owning worker's.
 */
#ifndef PENSTOCK_PROXY_TIMEOUT_H
#define PENSTOCK_PROXY_TIMEOUT_H

#include "base/base.h"
#include "base/clock.h"
#include "base/list.h"

struct timeout {
    struct list link;
    usec_t deadline;
    void (*expired)(struct timeout *t); /* called with the node already stopped */
};

struct timeout_list; /* one per length */

struct timeouts {
    struct timeout_list *lists; /* owned array */
    size_t nlists;
};

void timeouts_init(struct timeouts *ts);
void timeouts_fini(struct timeouts *ts);
/* Runs what is due at now. */
void timeouts_run(struct timeouts *ts, usec_t now);
/* The earliest deadline, or INT64_MAX. */
usec_t timeouts_next(const struct timeouts *ts);

void timeout_init(struct timeout *t, void (*expired)(struct timeout *t));
/* (Re)starts t to expire at now + length; length <= 0 stops it. */
void timeout_start(struct timeouts *ts, struct timeout *t, usec_t now, usec_t length);
void timeout_stop(struct timeout *t);
bool timeout_running(const struct timeout *t);

#endif
