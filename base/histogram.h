/* histogram.h - latencies in fixed buckets: log2 with 8 steps each, 1 us to over 4 hours.
 *
 * One writer thread, any readers: counts are relaxed atomics.  Quantiles err by at most 12.5 per
 * cent.
 */
#ifndef PENSTOCK_HISTOGRAM_H
#define PENSTOCK_HISTOGRAM_H

#include "base/base.h"
#include "base/clock.h"

#define HISTOGRAM_BUCKETS 256
#define HISTOGRAM_OCTAVES 35 /* [0]: 0; [k]: below 2^k us and not below half of that */

struct histogram {
    _Atomic uint64_t count[HISTOGRAM_BUCKETS];
    _Atomic uint64_t total, sum_us;
};

void histogram_add(struct histogram *h, usec_t us);
void histogram_merge(struct histogram *into, const struct histogram *from);
/* Adds the counts to octaves (HISTOGRAM_OCTAVES of them) and, unless NULL, to all
 * (HISTOGRAM_BUCKETS); returns the sum of the times, in us. The owner's thread, or any. */
uint64_t histogram_fold(const struct histogram *h, uint64_t *octaves, uint64_t *all);
/* The first value of bucket i, in us: of bucket i + 1 it is where bucket i ends. */
uint64_t histogram_bucket_begin(unsigned i);
usec_t histogram_quantile(const struct histogram *h, double q); /* 0 when empty; 0 <= q <= 1 */

#endif
