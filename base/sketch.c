/* sketch.c - a small histogram of latencies; see sketch.h.
 *
 * Called by statistics of statements.  Buckets 0 to 3 are exact; from 4 us on each power of two has
 * 4 of equal width, so that a value lies within 12.5 per cent of its bucket's middle.
 */
#include "base/sketch.h"

#include "base/check.h"

#define STEPS 4 /* per power of two */
#define STEPS_LOG2 2

static unsigned bucket_of(uint64_t us)
{
    if (us < STEPS)
        return (unsigned)us;
    unsigned octave = 63u - (unsigned)__builtin_clzll(us);
    unsigned step = (unsigned)(us >> (octave - STEPS_LOG2)) & (STEPS - 1);
    return MIN((octave - STEPS_LOG2 + 1) * STEPS + step, SKETCH_BUCKETS - 1u);
}

static usec_t bucket_middle(unsigned i)
{
    if (i < STEPS)
        return (usec_t)i;
    unsigned shift = i / STEPS - 1;
    uint64_t low = (uint64_t)(STEPS + i % STEPS) << shift;
    return (usec_t)(low + ((uint64_t)1 << shift) / 2);
}

static void add(uint32_t *to, uint32_t n)
{
    *to = n > UINT32_MAX - *to ? UINT32_MAX : *to + n;
}

void sketch_add(struct sketch *s, usec_t us, uint32_t n)
{
    add(&s->count[bucket_of(us < 0 ? 0 : (uint64_t)us)], n);
}

void sketch_merge(struct sketch *into, const struct sketch *from)
{
    for (unsigned i = 0; i < SKETCH_BUCKETS; i++)
        add(&into->count[i], from->count[i]);
}

usec_t sketch_quantile(const struct sketch *s, double q)
{
    CHECK(q >= 0 && q <= 1);
    uint64_t total = 0, seen = 0;
    for (unsigned i = 0; i < SKETCH_BUCKETS; i++)
        total += s->count[i];
    double rank = q * (double)total;
    for (unsigned i = 0; i < SKETCH_BUCKETS; i++) {
        seen += s->count[i];
        if (s->count[i] > 0 && (double)seen >= rank)
            return bucket_middle(i);
    }
    return 0;
}
