/* metrics.h - the table of all metrics, and the page that is made from it.
 *
 * A metric is one row of metrics_table and a gatherer, which writes its samples; rows that differ
 * only in a field share one.  The counters of pools come from STATS_COUNTERS (proxy/stats.h), as
 * the console's do.  docs/metrics.md is made from the table too (metrics_print_manual).
 * Names end with their unit.  Labels never hold a secret: names of databases and users, states.
 * How many samples there are is bounded by the pools, databases, users and workers there are.
 * Pure: any thread.
 */
#ifndef PENSTOCK_PROXY_METRICS_H
#define PENSTOCK_PROXY_METRICS_H

#include "base/buf.h"
#include "proxy/metrics/metrics_out.h"
#include "proxy/metrics/metrics_process.h"
#include "proxy/metrics/metrics_sample.h"

#include <stdio.h>

#define METRICS_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"

enum metric_type { METRIC_GAUGE, METRIC_COUNTER, METRIC_HISTOGRAM, METRIC_INFO };

struct metrics_view { /* all there is to be shown */
    const struct metrics_sample *sample;
    const struct metrics_process *process;
    const struct str *pool_labels; /* of sample->pools, as of the others */
    const struct str *database_labels, *user_labels;
};

struct metric {
    const char *name;
    enum metric_type type;
    const char *unit;   /* empty: it has none */
    const char *labels; /* for people; empty: none */
    const char *help;
    void (*gather)(const struct metrics_view *v, const struct metric *m, struct metrics_out *o);
    size_t at; /* the gatherer's: which field, or which row of another table */
};

extern const struct metric metrics_table[];
extern const size_t metrics_count;

/* Appends the page. out->failed: it did not fit. */
void metrics_text(const struct metrics_sample *s, const struct metrics_process *p, struct buf *out);
/* The table of docs/metrics.md. */
void metrics_print_manual(FILE *out);

#endif
