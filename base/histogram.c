/* histogram.c - latencies in fixed buckets.
 *
 * Called by workers (add, on their own histogram) and by statistics (merge, quantile).  One writer,
 * any readers; a reader may see a count a few events behind another, never a torn one.
 * Buckets 0 to 7 are exact; from 8 us on each power of two has 8 of equal width, so a value lies
 * within 12.5 per cent of its bucket's ends.  The last bucket takes everything longer.
 */
#include "base/histogram.h"

#include "base/check.h"

#include <stdatomic.h>

#define STEPS 8 /* per power of two */
#define STEPS_LOG2 3

static unsigned bucket_of(uint64_t us)
{
    if (us < STEPS)
        return (unsigned)us;
    unsigned octave = 63u - (unsigned)__builtin_clzll(us);
    unsigned step = (unsigned)(us >> (octave - STEPS_LOG2)) & (STEPS - 1);
    return MIN((octave - STEPS_LOG2 + 1) * STEPS + step, HISTOGRAM_BUCKETS - 1u);
}

uint64_t histogram_bucket_begin(unsigned i)
{
    if (i < STEPS)
        return i;
    return (uint64_t)(STEPS + i % STEPS) << (i / STEPS - 1);
}

/* The value in the middle of bucket i. */
static usec_t bucket_middle(unsigned i)
{
    if (i < STEPS)
        return (usec_t)i;
    return (usec_t)(histogram_bucket_begin(i) + ((uint64_t)1 << (i / STEPS - 1)) / 2);
}

/* The owner is the only writer: a plain add on an atomic, without the locked instruction. */
static void add(_Atomic uint64_t *to, uint64_t n)
{
    uint64_t was = atomic_load_explicit(to, memory_order_relaxed);
    atomic_store_explicit(to, was + n, memory_order_relaxed);
}

void histogram_add(struct histogram *h, usec_t us)
{
    uint64_t v = us < 0 ? 0 : (uint64_t)us;
    add(&h->count[bucket_of(v)], 1);
    add(&h->total, 1);
    add(&h->sum_us, v);
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        add(&into->count[i], atomic_load_explicit(&from->count[i], memory_order_relaxed));
    add(&into->total, atomic_load_explicit(&from->total, memory_order_relaxed));
    add(&into->sum_us, atomic_load_explicit(&from->sum_us, memory_order_relaxed));
}

/* From STEPS on the buckets of an octave stand together, STEPS of them. */
static unsigned octave_of(unsigned i)
{
    if (i >= STEPS)
        return i / STEPS + STEPS_LOG2;
    return i == 0 ? 0 : 32u - (unsigned)__builtin_clz(i);
}

uint64_t histogram_fold(const struct histogram *h, uint64_t *octaves, uint64_t *all)
{
    for (unsigned from = 0; from < HISTOGRAM_BUCKETS; from += STEPS) {
        uint64_t n[STEPS], any = 0;
        for (unsigned k = 0; k < STEPS; k++)
            any |= n[k] = atomic_load_explicit(&h->count[from + k], memory_order_relaxed);
        if (any == 0)
            continue;
        for (unsigned k = 0; k < STEPS; k++) {
            octaves[octave_of(from + k)] += n[k];
            if (all != NULL)
                all[from + k] += n[k];
        }
    }
    return atomic_load_explicit(&h->sum_us, memory_order_relaxed);
}

usec_t histogram_quantile(const struct histogram *h, double q)
{
    CHECK(q >= 0 && q <= 1);
    /* One copy, for the writer goes on while the sum is compared with its parts. */
    uint64_t count[HISTOGRAM_BUCKETS], total = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        count[i] = atomic_load_explicit(&h->count[i], memory_order_relaxed);
        total += count[i];
    }
    if (total == 0)
        return 0;
    double rank = q * (double)total;
    uint64_t seen = 0;
    unsigned last = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        if (count[i] == 0)
            continue;
        last = i;
        seen += count[i];
        if ((double)seen >= rank)
            break;
    }
    return bucket_middle(last);
}
