/* width.h - on how many servers of a pool reads should share: found by measurement.
 *
 * The more servers are fed, the more the database does at once; the fewer, the more requests each
 * of them finds waiting in its socket, which saves it sleeping and waking.  Where the best lies
 * depends on the database's cores, the network and the statements, so it is looked for while the
 * work goes on: the rate of finished requests at the width in force is compared with that at a
 * neighbouring width, which is tried for a moment and kept if it is better - or, when it is the
 * smaller one, not worse.  A trial that failed makes the next one rarer.  docs/adr/011 has the
 * reasons. Called by pool_share.c.  Pure: knows no clock and no servers.
 * Thread: the worker's that owns the pool.
 */
#ifndef PENSTOCK_PROXY_WIDTH_H
#define PENSTOCK_PROXY_WIDTH_H

#include "base/base.h"

enum width_phase {
    WIDTH_HOLD,   /* the rate at `base` is measured */
    WIDTH_SETTLE, /* `now` has just changed: what was sent before still counts for the old one */
    WIDTH_TRY,    /* the rate at the tried width is measured */
};

struct width {
    int now;  /* how many servers to feed, in force */
    int base; /* the best known; differs from now during a trial */
    enum width_phase phase;
    bool down;        /* direction of the next trial */
    int epochs;       /* of this phase so far */
    int hold;         /* epochs to hold before the next trial */
    uint64_t done;    /* finished requests of this phase, and */
    uint64_t span_us; /* the time they took */
    double base_rate; /* per microsecond */
};

void width_init(struct width *w, int start);
/* An epoch is over in which `done` requests were finished within span_us.  loaded: requests stood
 * behind others for much of it; without that the epoch tells nothing.  max: servers there could
 * be. */
void width_epoch(struct width *w, uint64_t done, uint64_t span_us, bool loaded, int max);

#endif
