/* metrics_out.h - writes samples in the text format of OpenMetrics 1.0.
 *
 * Called by the gatherers of metrics.c, through metrics_text.  Whole numbers only: times are
 * microseconds and are written as seconds with six decimals, so that nothing is rounded.  Labels
 * are prepared once per row (metrics_out_label), because a row appears in many families.
 * Pure: any thread, one user at a time.
 */
#ifndef PENSTOCK_PROXY_METRICS_OUT_H
#define PENSTOCK_PROXY_METRICS_OUT_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/str.h"

struct metric;

#define METRICS_NAME_MAX 96 /* of a sample without its labels; what does not fit is cut off */

struct metrics_out { /* to is set by whoever makes one; the rest by metrics_out_begin */
    struct buf *to;
    const struct metric *metric; /* the family being written, and */
    size_t name_n;               /* the name of its samples */
    char name[METRICS_NAME_MAX];
};

enum metrics_form { METRICS_WHOLE, METRICS_SECONDS };

/* One sample: name, suffix, {labels, one more label}, value. Parts that are empty are left out.
 * labels are from metrics_out_label; extra and its value need no escaping. */
struct metrics_line {
    const char *suffix; /* "", "_bucket", "_count", "_sum"; counters and infos have theirs anyway */
    struct str labels;
    const char *extra, *extra_value;
    enum metrics_form form;
    uint64_t value;
};

/* The lines that follow are of m. */
void metrics_out_begin(struct metrics_out *o, const struct metric *m);
void metrics_out_line(struct metrics_out *o, const struct metrics_line *l);
/* name="value" with what must be escaped; bytes that are no UTF-8 become \xHH. A comma stands in
 * front when there is something in `to` already. */
void metrics_out_label(struct buf *to, const char *name, const char *value);
/* metrics_out_begin, and # TYPE, # UNIT, # HELP */
void metrics_out_head(struct metrics_out *o, const struct metric *m);

/* ---- what gatherers share ---- */
/* The int64_t at that offset of a row; nothing below 0 is shown. */
uint64_t metrics_out_number(const void *row, size_t at);

struct metrics_bound { /* of a histogram's buckets: those before next, which is up to le */
    int next;
    const char *le; /* short */
};
#define METRICS_BOUNDS_MAX 24
/* All samples of a histogram but its sum.  Histograms of one family have the same bounds and all of
 * their buckets, also empty ones: sums over several, by le, count on that. */
void metrics_out_histogram(struct metrics_out *o, struct str labels, const uint64_t *counts,
                           const struct metrics_bound *bounds, size_t nbounds);
/* All samples of one of times: HISTOGRAM_OCTAVES counts, as histogram_fold makes them. */
void metrics_out_times(struct metrics_out *o, struct str labels, const uint64_t *octaves,
                       uint64_t sum_us);
/* The same with half the buckets: of times for which their size matters more than their digits. */
void metrics_out_waits(struct metrics_out *o, struct str labels, const uint64_t *octaves,
                       uint64_t sum_us);

/* A text as JSON, with its quotes. */
void metrics_out_json(struct buf *to, const char *text);

#endif
