/* pace.c - how long statements take, by digest; see pace.h.  Worker thread. */
#include "proxy/pool/pace.h"

#include "base/mem.h"

#define PLACES 512 /* a power of two; 4 KiB per pool that shares */
#define WEIGHT 8   /* a new time counts for an eighth */
#define KNOWN_MAX_US (UINT32_C(1) << 30)

struct place {
    uint32_t tag; /* upper half of the digest, never 0; 0: free */
    uint32_t mean_us;
};

struct pace {
    struct place places[PLACES];
};

static uint32_t tag_of(uint64_t digest)
{
    return (uint32_t)(digest >> 32) | 1u;
}

static struct place *place_of(struct pace *p, uint64_t digest)
{
    return &p->places[digest & (PLACES - 1)];
}

struct pace *pace_new(void)
{
    return mem_new(sizeof(struct pace));
}

void pace_free(struct pace **p)
{
    mem_free(*p);
    *p = NULL;
}

void pace_note(struct pace *p, uint64_t digest, usec_t took)
{
    struct place *x = place_of(p, digest);
    uint32_t us = (uint32_t)MIN(MAX(took, 0), (usec_t)KNOWN_MAX_US);
    if (x->tag != tag_of(digest))
        *x = (struct place){tag_of(digest), us};
    else
        x->mean_us = x->mean_us - x->mean_us / WEIGHT + us / WEIGHT;
}

bool pace_is_short(const struct pace *p, uint64_t digest)
{
    const struct place *x = &p->places[digest & (PLACES - 1)];
    return x->tag == tag_of(digest) && x->mean_us <= PACE_SHORT_US;
}
