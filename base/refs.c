/* refs.c - see refs.h. */
#include "base/refs.h"

#include "base/check.h"

void refs_init(struct refs *r)
{
    atomic_init(&r->n, 1u);
}

void refs_get(struct refs *r)
{
    unsigned before = atomic_fetch_add_explicit(&r->n, 1u, memory_order_relaxed);
    CHECK(before > 0);
}

bool refs_put(struct refs *r)
{
    unsigned before = atomic_fetch_sub_explicit(&r->n, 1u, memory_order_acq_rel);
    CHECK(before > 0);
    return before == 1;
}
