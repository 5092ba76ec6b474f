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

struct histogram {
    _Atomic uint64_t count[HISTOGRAM_BUCKETS];
    _Atomic uint64_t total, sum_us;
};

void histogram_add(struct histogram *h, usec_t us);
void histogram_merge(struct histogram *into, const struct histogram *from);
usec_t histogram_quantile(const struct histogram *h, double q); /* 0 when empty; 0 <= q <= 1 */

#endif
