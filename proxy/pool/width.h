/* width.h - on how many servers of a pool reads should share: found by measurement.
 *
 * The more servers are fed, the more the database does at once; the fewer, the more requests each
 * of them finds waiting in its socket, which saves it sleeping and waking.  Where the best lies
 * depends on the database's cores, the network and the statements, so it is looked for while the
 * work goes on.
 *
 * Widths are the steps of a ladder, each a third above the one below.  A trial measures a
 * neighbouring step between two measurements of the step in force, so that what drifts meanwhile
 * cancels out; how far those two lie apart says how much chance there is in such a comparison.
 * What a step up gains is kept for each pair of neighbours, as a mean of the last trials: on a
 * noisy machine no single trial decides.  A step up must gain WIDTH_WORTH for certain, a step is
 * taken down when it certainly gains less, and in between the width stays as it is.  The longer
 * nothing changed, the rarer are the trials.  docs/adr/011 has the reasons.
 *
 * Called by pool_share.c.  Pure: knows no clock and no servers.
 * Thread: the worker's that owns the pool.
 */
#ifndef PENSTOCK_PROXY_WIDTH_H
#define PENSTOCK_PROXY_WIDTH_H

#include "base/base.h"

#define WIDTH_STEPS 24
#define WIDTH_WORTH 0.01 /* what a third more servers must add to the rate of answers */

enum width_phase {
    WIDTH_HOLD,        /* at `base`; its last epochs are measured */
    WIDTH_SETTLE,      /* `now` is the tried width: what was sent before still counts for the old */
    WIDTH_TRY,         /* the tried width is measured */
    WIDTH_SETTLE_BACK, /* at `base` again, likewise */
    WIDTH_AFTER,       /* `base` is measured once more */
};

struct width_measure {
    uint64_t done;    /* finished requests, and */
    uint64_t span_us; /* the time they took */
};

struct width_gain { /* of one step of the ladder to the next */
    double mean;    /* as a share of the rate */
    int trials;     /* that it is made of; 0: not known */
};

struct width {
    int now;  /* how many servers to feed, in force */
    int base; /* the best known; differs from now during a trial */
    int step; /* of the ladder, where base stands */
    enum width_phase phase;
    bool down;  /* direction of the trial */
    int epochs; /* of this phase so far */
    int hold;   /* epochs to hold before the next trial */
    struct width_measure before, tried, after;
    double noise; /* variance of what one trial says */
    int trials;   /* that noise is made of */
    struct width_gain gain[WIDTH_STEPS];
};

void width_init(struct width *w, int start);
/* An epoch is over in which m was done. loaded: requests stood behind others for much of it;
 * without that the epoch tells nothing. fed: servers that were fed; max: that there could be. */
void width_epoch(struct width *w, struct width_measure m, bool loaded, int fed, int max);

#endif
