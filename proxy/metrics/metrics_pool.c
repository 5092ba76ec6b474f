/* metrics_pool.c - gatherers of pools; see metrics_gather.h.  Pure. */
#include "proxy/metrics/metrics_gather.h"

/* ---- pools ----------------------------------------------------------------------------------- */

static void of_pools(const struct metrics_view *v, const struct metric *m, struct metrics_out *o,
                     enum metrics_form form)
{
    for (size_t i = 0; i < v->sample->npools; i++)
        metrics_out_line(
            o, &(struct metrics_line){.labels = v->pool_labels[i],
                                      .form = form,
                                      .value = metrics_out_number(&v->sample->pools[i], m->at)});
}

void metrics_pool_number(const struct metrics_view *v, const struct metric *m,
                         struct metrics_out *o)
{
    of_pools(v, m, o, METRICS_WHOLE);
}

void metrics_pool_time(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)
{
    of_pools(v, m, o, METRICS_SECONDS);
}

void metrics_pool_stat(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)
{
    const struct stats_name *n = &stats_names[m->at];
    for (size_t i = 0; i < v->sample->npools; i++)
        metrics_out_line(o, &(struct metrics_line){
                                .labels = v->pool_labels[i],
                                .form = n->unit == STATS_USEC ? METRICS_SECONDS : METRICS_WHOLE,
                                .value = stats_value(&v->sample->pools[i].stats, (int)m->at)});
}

struct state { /* a number of a pool and the word for it */
    const char *word;
    size_t at;
};

static void of_states(const struct metrics_view *v, struct metrics_out *o,
                      const struct state *states, size_t n)
{
    for (size_t i = 0; i < v->sample->npools; i++)
        for (size_t k = 0; k < n; k++)
            metrics_out_line(o, &(struct metrics_line){.labels = v->pool_labels[i],
                                                       .extra = "state",
                                                       .extra_value = states[k].word,
                                                       .value = metrics_out_number(
                                                           &v->sample->pools[i], states[k].at)});
}

#define ROW(field) offsetof(struct admin_pool_row, field)

void metrics_pool_clients(const struct metrics_view *v, const struct metric *m,
                          struct metrics_out *o)
{
    static const struct state states[] = {{"idle", ROW(cl_idle)},
                                          {"waiting", ROW(cl_waiting)},
                                          {"active", ROW(cl_busy)},
                                          {"sharing", ROW(cl_sharing)},
                                          {"holding", ROW(cl_held)}};
    (void)m;
    of_states(v, o, states, ARRAY_LEN(states));
}

void metrics_pool_servers(const struct metrics_view *v, const struct metric *m,
                          struct metrics_out *o)
{
    static const struct state states[] = {
        {"connecting", ROW(sv_login)}, {"idle", ROW(sv_idle)},
        {"active", ROW(sv_alone)},     {"shared", ROW(sv_shared)},
        {"cleaning", ROW(sv_tested)},  {"cancelling", ROW(sv_canceled)}};
    (void)m;
    of_states(v, o, states, ARRAY_LEN(states));
}

/* Only reasons that there are: the rest would be a dozen zeros for each pool. */
void metrics_pool_pins(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)
{
    (void)m;
    for (size_t i = 0; i < v->sample->npools; i++)
        for (int k = 0; k < ADMIN_PINS; k++)
            if (v->sample->pools[i].pins[k] > 0)
                metrics_out_line(
                    o, &(struct metrics_line){.labels = v->pool_labels[i],
                                              .extra = "reason",
                                              .extra_value = admin_names_pin[k],
                                              .value = (uint64_t)v->sample->pools[i].pins[k]});
}

/* ---- measures of pools ----------------------------------------------------------------------- */

static void pool_count(const struct metrics_view *v, size_t i, const char *label, const char *word,
                       uint64_t n, struct metrics_out *o)
{
    metrics_out_line(
        o, &(struct metrics_line){
               .labels = v->pool_labels[i], .extra = label, .extra_value = word, .value = n});
}

/* Codes and causes: only those that have come up. */
void metrics_pool_errors(const struct metrics_view *v, const struct metric *m,
                         struct metrics_out *o)
{
    (void)m;
    for (size_t i = 0; i < v->sample->npools; i++) {
        const struct measure_counts *c = &v->sample->pools[i].measured.counts;
        for (int k = 0; k < MEASURE_CODES && c->codes[k].n > 0; k++)
            pool_count(v, i, "code", c->codes[k].text, c->codes[k].n, o);
        if (c->other_codes > 0)
            pool_count(v, i, "code", "other", c->other_codes, o);
    }
}

void metrics_pool_refusals(const struct metrics_view *v, const struct metric *m,
                           struct metrics_out *o)
{
    (void)m;
    for (size_t i = 0; i < v->sample->npools; i++)
        for (int k = 0; k < CAUSES; k++)
            if (v->sample->pools[i].measured.counts.told[k] > 0)
                pool_count(v, i, "cause", cause_name((enum cause)k),
                           v->sample->pools[i].measured.counts.told[k], o);
}

void metrics_pool_timeouts(const struct metrics_view *v, const struct metric *m,
                           struct metrics_out *o)
{
    (void)m;
    for (size_t i = 0; i < v->sample->npools; i++)
        for (int k = 0; k < MEASURE_TIMEOUTS; k++)
            pool_count(v, i, "timeout", measure_timeout_names[k],
                       v->sample->pools[i].measured.counts.timeouts[k], o);
}

void metrics_pool_histogram(const struct metrics_view *v, const struct metric *m,
                            struct metrics_out *o)
{
    for (size_t i = 0; i < v->sample->npools; i++) {
        const struct measured *x = &v->sample->pools[i].measured;
        (m->at == MEASURE_WAIT ? metrics_out_waits : metrics_out_times)(
            o, v->pool_labels[i], x->times[m->at].octaves, x->times[m->at].sum_us);
    }
}

void metrics_pool_depth(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)
{
    static const struct metrics_bound bounds[] = {{1, "1.0"},  {2, "2.0"},  {3, "4.0"},
                                                  {4, "8.0"},  {5, "16.0"}, {6, "32.0"},
                                                  {7, "64.0"}, {7, "+Inf"}};
    (void)m;
    for (size_t i = 0; i < v->sample->npools; i++) {
        const struct measure_counts *c = &v->sample->pools[i].measured.counts;
        if (c->depth_sum == 0)
            continue; /* it does not share */
        metrics_out_histogram(o, v->pool_labels[i], c->depth, bounds, ARRAY_LEN(bounds));
        metrics_out_line(o, &(struct metrics_line){.suffix = "_sum",
                                                   .labels = v->pool_labels[i],
                                                   .value = c->depth_sum});
    }
}
