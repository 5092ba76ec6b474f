/* metrics_cache.c - gatherers of the result cache and Redis; see metrics_gather.h.  Pure. */
#include "proxy/metrics/metrics_gather.h"

#include <stdio.h>

#define LABELS_MAX ((size_t)1 << 16)

/* ---- rules ----------------------------------------------------------------------------------- */

static struct str labels_of(const struct metrics_cache *c, struct buf *mem)
{
    buf_init(mem, LABELS_MAX);
    metrics_out_label(mem, "rule", c->rule);
    metrics_out_label(mem, "database", c->database);
    return buf_str(mem);
}

static void put_number(const struct metrics_cache *c, const struct metric *m, struct metrics_out *o)
{
    struct buf mem;
    metrics_out_line(o, &(struct metrics_line){.labels = labels_of(c, &mem),
                                               .value = metrics_out_number(c, m->at)});
    buf_fini(&mem);
}

void metrics_cache_number(const struct metrics_view *v, const struct metric *m,
                          struct metrics_out *o)
{
    for (size_t i = 0; i < v->sample->ncache; i++)
        put_number(&v->sample->cache[i], m, o);
}

void metrics_cache_memory(const struct metrics_view *v, const struct metric *m,
                          struct metrics_out *o)
{
    for (size_t i = 0; i < v->sample->ncache; i++)
        if (v->sample->cache[i].in_memory)
            put_number(&v->sample->cache[i], m, o);
}

/* Only reasons that have come up. */
void metrics_cache_bypasses(const struct metrics_view *v, const struct metric *m,
                            struct metrics_out *o)
{
    struct buf mem;
    (void)m;
    for (size_t i = 0; i < v->sample->ncache; i++) {
        const struct metrics_cache *c = &v->sample->cache[i];
        struct str labels = labels_of(c, &mem);
        for (int k = CACHE_BYPASS_NONE + 1; k < CACHE_BYPASS_COUNT; k++)
            if (c->counts.bypass[k] > 0)
                metrics_out_line(
                    o, &(struct metrics_line){.labels = labels,
                                              .extra = "reason",
                                              .extra_value = cache_gate_word((enum cache_bypass)k),
                                              .value = c->counts.bypass[k]});
        buf_fini(&mem);
    }
}

void metrics_cache_store(const struct metrics_view *v, const struct metric *m,
                         struct metrics_out *o)
{
    if (v->sample->store.used)
        metrics_out_line(
            o, &(struct metrics_line){.value = metrics_out_number(&v->sample->store, m->at)});
}

/* ---- Redis, by worker ------------------------------------------------------------------------ */

void metrics_cache_redis(const struct metrics_view *v, const struct metric *m,
                         struct metrics_out *o)
{
    char index[16];
    for (unsigned i = 0; i < v->sample->nworkers; i++) {
        const struct redis_counts *r = &v->sample->workers[i].redis;
        snprintf(index, sizeof(index), "%u", i);
        if (r->wanted)
            metrics_out_line(o, &(struct metrics_line){.extra = "worker",
                                                       .extra_value = index,
                                                       .value = metrics_out_number(r, m->at)});
    }
}

void metrics_cache_redis_times(const struct metrics_view *v, const struct metric *m,
                               struct metrics_out *o)
{
    struct buf mem;
    char index[16];
    (void)m;
    for (unsigned i = 0; i < v->sample->nworkers; i++) {
        const struct redis_counts *r = &v->sample->workers[i].redis;
        if (!r->wanted)
            continue;
        snprintf(index, sizeof(index), "%u", i);
        buf_init(&mem, LABELS_MAX);
        metrics_out_label(&mem, "worker", index);
        metrics_out_times(o, buf_str(&mem), (const uint64_t *)r->octaves, (uint64_t)r->sum_us);
        buf_fini(&mem);
    }
}
