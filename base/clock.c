/* clock.c - the two clocks and how times are printed.
 *
 * Called once per loop turn by a worker, and by whoever logs.  Any thread.  The monotonic clock can
 * be pushed forward or stopped by a test, on all threads at once; outside tests the offset is zero
 * and the clock runs for ever.
 */
#include "base/clock.h"

#include "base/check.h"

#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

static _Atomic usec_t test_offset;
static _Atomic usec_t test_stopped; /* where it stands; 0: it runs */

static usec_t read_clock(clockid_t id)
{
    struct timespec ts;
    CHECK(clock_gettime(id, &ts) == 0);
    return (usec_t)ts.tv_sec * USEC_PER_SEC + ts.tv_nsec / 1000;
}

usec_t clock_mono_us(void)
{
    usec_t at = atomic_load_explicit(&test_stopped, memory_order_relaxed);
    if (at == 0)
        at = read_clock(CLOCK_MONOTONIC);
    else
        at = atomic_fetch_add_explicit(&test_stopped, 1, memory_order_relaxed);
    return at + atomic_load_explicit(&test_offset, memory_order_relaxed);
}

usec_t clock_wall_us(void)
{
    return read_clock(CLOCK_REALTIME);
}

static void format(usec_t wall_us, bool with_ms, char *dst, size_t cap)
{
    CHECK(cap >= 48);
    /* Rounded down, also before 1970. */
    usec_t us = wall_us % USEC_PER_SEC;
    if (us < 0)
        us += USEC_PER_SEC;
    time_t sec = (time_t)((wall_us - us) / USEC_PER_SEC);
    struct tm tm;
    if (localtime_r(&sec, &tm) == NULL) {
        dst[0] = '\0';
        return;
    }
    char zone[16] = "";
    if (strftime(zone, sizeof(zone), "%Z", &tm) == 0)
        zone[0] = '\0';
    char ms[8] = "";
    if (with_ms)
        snprintf(ms, sizeof(ms), ".%03u", (unsigned)(us / 1000) % 1000);
    int n = snprintf(dst, cap, "%04d-%02d-%02d %02d:%02d:%02d%s %s", tm.tm_year + 1900,
                     tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, ms, zone);
    if (n < 0)
        dst[0] = '\0';
}

void clock_format(usec_t wall_us, char *dst, size_t cap)
{
    format(wall_us, false, dst, cap);
}

void clock_format_ms(usec_t wall_us, char *dst, size_t cap)
{
    format(wall_us, true, dst, cap);
}

void clock_test_advance(usec_t d)
{
    atomic_fetch_add_explicit(&test_offset, d, memory_order_relaxed);
}

void clock_test_stop(void)
{
    atomic_store_explicit(&test_stopped, read_clock(CLOCK_MONOTONIC), memory_order_relaxed);
}
