/* metrics_json.h - the same sample as /metrics, as the page wants it: /state.json.
 *
 * Counters are totals since the start; the page makes rates of two answers.  Times are
 * microseconds. At most METRICS_JSON_POOLS pools, those with clients that wait first and then the
 * busiest; the totals are those of all.  Not an interface for others: it changes with the page.
 * Pure: any thread.
 */
#ifndef PENSTOCK_PROXY_METRICS_JSON_H
#define PENSTOCK_PROXY_METRICS_JSON_H

#include "base/buf.h"
#include "proxy/metrics/metrics_process.h"
#include "proxy/metrics/metrics_sample.h"

#define METRICS_JSON_POOLS 50

/* out->failed: it did not fit. */
void metrics_json(const struct metrics_sample *s, const struct metrics_process *p, struct buf *out);

#endif
