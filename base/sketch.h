/* sketch.h - a small histogram of latencies: 4 steps per power of two, 1 us to over an hour.
 *
 * For things of which there are thousands (statistics of statements), where struct histogram would
 * be too large.  One thread.  Quantiles err by at most 12.5 per cent; what is longer than the last
 * bucket counts in it.
 */
#ifndef PENSTOCK_SKETCH_H
#define PENSTOCK_SKETCH_H

#include "base/base.h"
#include "base/clock.h"

#define SKETCH_BUCKETS 124

struct sketch {
    uint32_t count[SKETCH_BUCKETS]; /* each stops at its maximum */
};

/* n times us; below 0 is 0. */
void sketch_add(struct sketch *s, usec_t us, uint32_t n);
void sketch_merge(struct sketch *into, const struct sketch *from);
usec_t sketch_quantile(const struct sketch *s, double q); /* 0 when empty; 0 <= q <= 1 */

#endif
