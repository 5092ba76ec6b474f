/* clock.h - time: microseconds, monotonic for intervals, wall for people.
 *
 * The data path does not call these: it uses the worker's time of the loop turn.
 */
#ifndef PENSTOCK_CLOCK_H
#define PENSTOCK_CLOCK_H

#include "base/base.h"

typedef int64_t usec_t; /* the project's only typedef: a unit, not a structure */

#define USEC_PER_SEC 1000000

usec_t clock_mono_us(void);
usec_t clock_wall_us(void); /* since 1970 */

/* "YYYY-MM-DD HH:MM:SS ZONE" in local time; cap >= 48. Thread-safe. */
void clock_format(usec_t wall_us, char *dst, size_t cap);
/* the same with ".mmm" before the zone, as log lines have it */
void clock_format_ms(usec_t wall_us, char *dst, size_t cap);

/* Test hook: adds d to what clock_mono_us returns, on all threads. */
void clock_test_advance(usec_t d);
/* Test hook: from now on the monotonic clock goes on by one microsecond whenever it is read and by
 * what clock_test_advance adds, so that a busy machine makes nothing late. */
void clock_test_stop(void);

#endif
