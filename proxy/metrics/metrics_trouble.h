/* metrics_trouble.h - what is wrong just now, in words.
 *
 * Called for the page.  Lines come in the order of their weight: the process first, then clusters
 * and nodes, then pools in which clients wait, longest first, then the rest; at most
 * METRICS_TROUBLE_MAX of them.
 * Pure: any thread.
 */
#ifndef PENSTOCK_PROXY_METRICS_TROUBLE_H
#define PENSTOCK_PROXY_METRICS_TROUBLE_H

#include "base/buf.h"
#include "proxy/metrics/metrics_process.h"
#include "proxy/metrics/metrics_sample.h"

#define METRICS_TROUBLE_MAX 20

/* Appends lines, each ended with LF. */
void metrics_trouble(const struct metrics_sample *s, const struct metrics_process *p,
                     struct buf *out);

#endif
