/* stats.c - the table of pool counters; see stats.h.  Pure. */
#include "proxy/stats.h"

const struct stats_name stats_names[STATS_N] = {
#define X(field, name, total, metric, unit, side, help)                                            \
    {name, total, metric, unit, help, offsetof(struct stats, field)},
    STATS_COUNTERS(X)
#undef X
};

uint64_t stats_value(const struct stats *s, int i)
{
    uint64_t v;
    memcpy(&v, (const char *)s + stats_names[i].offset, sizeof(v));
    return v;
}

void stats_add(struct stats *into, const struct stats *from)
{
#define X(field, name, total, metric, unit, side, help) into->field += from->field;
    STATS_COUNTERS(X)
#undef X
}
