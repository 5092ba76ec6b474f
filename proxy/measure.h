/* measure.h - what a pool notes of its requests beside its counters: errors, timeouts, how deep it
 * shares, and how long things took.
 *
 * Each worker's pool has a struct measure that only its worker writes; readers ask the worker by
 * message and get a struct measured, a copy with the times folded into octaves.  All of it has a
 * fixed size, and noting allocates nothing: a pool gets its histograms when it is made, and only in
 * a process that shows them (http_listen), because they are large.
 * Thread: the owning worker's; functions on struct measured are pure.
 */
#ifndef PENSTOCK_PROXY_MEASURE_H
#define PENSTOCK_PROXY_MEASURE_H

#include "base/histogram.h"
#include "base/str.h"
#include "protocol/wire.h"

#define MEASURE_CODES 24 /* different codes of errors that are told apart; the rest is one number */
#define MEASURE_CODE_MAX 8
#define MEASURE_DEPTHS 7 /* up to 1, 2, 4, 8, 16, 32, 64 */

enum measure_timeout {
    MEASURE_QUERY_WAIT,
    MEASURE_QUERY,
    MEASURE_TRANSACTION,
    MEASURE_IDLE_TRANSACTION,
    MEASURE_CLIENT_IDLE,
    MEASURE_TIMEOUTS,
};
extern const char *const measure_timeout_names[MEASURE_TIMEOUTS];

enum measure_time { MEASURE_WAIT, MEASURE_REQUEST, MEASURE_XACT, MEASURE_TIMES };

struct measure_code {
    char text[MEASURE_CODE_MAX]; /* terminated; empty: not used */
    uint64_t n;
};

struct measure_counts {
    uint64_t told[CAUSES];                    /* errors of our own that clients were told */
    struct measure_code codes[MEASURE_CODES]; /* errors of the database in answers to clients */
    uint64_t other_codes;
    uint64_t timeouts[MEASURE_TIMEOUTS];
    uint64_t cancels;               /* requests that were asked to be stopped by their client */
    uint64_t logins, failed_logins; /* to the database */
    uint64_t depth[MEASURE_DEPTHS]; /* requests in flight on a shared server, the new one */
    uint64_t depth_sum;             /* included */
};

struct measure {
    struct measure_counts counts;
    struct histogram *times; /* owned array of MEASURE_TIMES; NULL: not noted */
};

struct measured {
    struct measure_counts counts;
    struct {
        uint64_t octaves[HISTOGRAM_OCTAVES], sum_us;
    } times[MEASURE_TIMES];
};

void measure_init(struct measure *m, bool times); /* m is zeroed */
void measure_fini(struct measure *m);

/* A time; nothing while times are not noted. */
void measure_took(struct measure *m, enum measure_time which, usec_t us);
void measure_error(struct measure *m, struct str code);
void measure_depth(struct measure *m, uint32_t in_flight); /* 1 or more */

/* A copy; all: MEASURE_TIMES arrays of HISTOGRAM_BUCKETS to add the times to, or NULL. */
void measure_read(const struct measure *m, struct measured *out,
                  uint64_t (*all)[HISTOGRAM_BUCKETS]);
void measure_add(struct measured *into, const struct measured *from);

#endif
