/* metrics_pool.c - gatherers of pools; see metrics_gather.h.
 *
 * The pool of an entry with a cluster has its clients, and a pool for each node has the servers;
 * any other pool has both.  What clients do is shown of the one, what servers do of the others,
 * which have the label node; the other side of each is left out while it is 0, as it nearly always
 * is.  A family belongs to the servers when node is among its labels.  Pure.
 */
#include "proxy/metrics/metrics_gather.h"

#include "base/histogram.h"

struct pools { /* a family being written */
    const struct metrics_view *v;
    struct metrics_out *o;
    bool of_servers;
};

static struct pools pools_of(const struct metrics_view *v, const struct metric *m,
                             struct metrics_out *o)
{
    return (struct pools){v, o, strstr(m->labels, "node") != NULL};
}

/* Whether pool i is of the side of which the family tells. */
static bool is_its_side(const struct pools *p, size_t i)
{
    const struct admin_pool_row *r = &p->v->sample->pools[i];
    bool node = r->shared->node[0] != '\0';
    bool entry = r->cluster != NULL && !node;
    return p->of_servers ? !entry : !node;
}

static void put(const struct pools *p, size_t i, struct metrics_line *l)
{
    if (l->value == 0 && !is_its_side(p, i))
        return;
    l->labels = p->v->pool_labels[i];
    metrics_out_line(p->o, l);
}

/* ---- pools ----------------------------------------------------------------------------------- */

static void of_pools(const struct metrics_view *v, const struct metric *m, struct metrics_out *o,
                     enum metrics_form form)
{
    const struct pools p = pools_of(v, m, o);
    for (size_t i = 0; i < v->sample->npools; i++)
        put(&p, i,
            &(struct metrics_line){.form = form,
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
    const struct pools p = pools_of(v, m, o);
    for (size_t i = 0; i < v->sample->npools; i++)
        put(&p, i,
            &(struct metrics_line){.form = n->unit == STATS_USEC ? METRICS_SECONDS : METRICS_WHOLE,
                                   .value = stats_value(&v->sample->pools[i].stats, (int)m->at)});
}

/* What an entry has too, without servers, for each of its nodes to have: limits. */
void metrics_pool_limit(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)
{
    const struct pools p = pools_of(v, m, o);
    for (size_t i = 0; i < v->sample->npools; i++)
        if (is_its_side(&p, i))
            put(&p, i,
                &(struct metrics_line){.value = metrics_out_number(&v->sample->pools[i], m->at)});
}

struct state { /* a number of a pool and the word for it */
    const char *word;
    size_t at;
};

static void of_states(const struct pools *p, const struct state *states, size_t n)
{
    for (size_t i = 0; i < p->v->sample->npools; i++)
        for (size_t k = 0; k < n; k++)
            put(p, i,
                &(struct metrics_line){
                    .extra = "state",
                    .extra_value = states[k].word,
                    .value = metrics_out_number(&p->v->sample->pools[i], states[k].at)});
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
    const struct pools p = pools_of(v, m, o);
    of_states(&p, states, ARRAY_LEN(states));
}

void metrics_pool_servers(const struct metrics_view *v, const struct metric *m,
                          struct metrics_out *o)
{
    static const struct state states[] = {
        {"connecting", ROW(sv_login)}, {"idle", ROW(sv_idle)},
        {"active", ROW(sv_alone)},     {"shared", ROW(sv_shared)},
        {"cleaning", ROW(sv_tested)},  {"cancelling", ROW(sv_canceled)}};
    const struct pools p = pools_of(v, m, o);
    of_states(&p, states, ARRAY_LEN(states));
}

/* Only reasons that there are: the rest would be a dozen zeros for each pool. */
void metrics_pool_pins(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)
{
    const struct pools p = pools_of(v, m, o);
    for (size_t i = 0; i < v->sample->npools; i++)
        for (int k = 0; k < ADMIN_PINS; k++)
            if (v->sample->pools[i].pins[k] > 0)
                put(&p, i,
                    &(struct metrics_line){.extra = "reason",
                                           .extra_value = admin_names_pin[k],
                                           .value = (uint64_t)v->sample->pools[i].pins[k]});
}

/* ---- measures of pools ----------------------------------------------------------------------- */

static void put_count(const struct pools *p, size_t i, const char *label, const char *word,
                      uint64_t n)
{
    put(p, i, &(struct metrics_line){.extra = label, .extra_value = word, .value = n});
}

/* Codes and causes: only those that have come up. */
void metrics_pool_errors(const struct metrics_view *v, const struct metric *m,
                         struct metrics_out *o)
{
    const struct pools p = pools_of(v, m, o);
    for (size_t i = 0; i < v->sample->npools; i++) {
        const struct measure_counts *c = &v->sample->pools[i].measured.counts;
        for (int k = 0; k < MEASURE_CODES && c->codes[k].n > 0; k++)
            put_count(&p, i, "code", c->codes[k].text, c->codes[k].n);
        if (c->other_codes > 0)
            put_count(&p, i, "code", "other", c->other_codes);
    }
}

void metrics_pool_refusals(const struct metrics_view *v, const struct metric *m,
                           struct metrics_out *o)
{
    const struct pools p = pools_of(v, m, o);
    for (size_t i = 0; i < v->sample->npools; i++)
        for (int k = 0; k < CAUSES; k++)
            if (v->sample->pools[i].measured.counts.told[k] > 0)
                put_count(&p, i, "cause", cause_name((enum cause)k),
                          v->sample->pools[i].measured.counts.told[k]);
}

void metrics_pool_timeouts(const struct metrics_view *v, const struct metric *m,
                           struct metrics_out *o)
{
    const struct pools p = pools_of(v, m, o);
    for (size_t i = 0; i < v->sample->npools; i++)
        for (int k = 0; k < MEASURE_TIMEOUTS; k++)
            put_count(&p, i, "timeout", measure_timeout_names[k],
                      v->sample->pools[i].measured.counts.timeouts[k]);
}

static bool is_empty(const uint64_t *octaves)
{
    uint64_t any = 0;
    for (int i = 0; i < HISTOGRAM_OCTAVES; i++)
        any |= octaves[i];
    return any == 0;
}

void metrics_pool_histogram(const struct metrics_view *v, const struct metric *m,
                            struct metrics_out *o)
{
    const struct pools p = pools_of(v, m, o);
    for (size_t i = 0; i < v->sample->npools; i++) {
        const struct measured *x = &v->sample->pools[i].measured;
        const uint64_t *octaves = x->times[m->at].octaves;
        if (!is_its_side(&p, i) && is_empty(octaves))
            continue;
        (m->at == MEASURE_WAIT ? metrics_out_waits : metrics_out_times)(
            o, v->pool_labels[i], octaves, x->times[m->at].sum_us);
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
