/* measure.c - errors, timeouts, depth and times of a pool; see measure.h. */
#include "proxy/measure.h"

#include "base/mem.h"

#include <ctype.h>

const char *const measure_timeout_names[MEASURE_TIMEOUTS] = {"query_wait", "query", "transaction",
                                                             "idle_transaction", "client_idle"};

void measure_init(struct measure *m, bool times)
{
    if (times)
        m->times = mem_new(MEASURE_TIMES * sizeof(*m->times));
}

void measure_fini(struct measure *m)
{
    mem_free(m->times);
    m->times = NULL;
}

void measure_took(struct measure *m, enum measure_time which, usec_t us)
{
    if (m->times != NULL)
        histogram_add(&m->times[which], us);
}

/* The place of that code: its own, a free one, or NULL. */
static struct measure_code *place_of(struct measure_counts *c, struct str code)
{
    for (int i = 0; i < MEASURE_CODES; i++) {
        struct measure_code *p = &c->codes[i];
        if (p->text[0] == '\0' || str_eq(str_of(p->text), code))
            return p;
    }
    return NULL;
}

/* A code comes from a server, which may send anything, and ends as a label. */
static bool is_plain(struct str code)
{
    for (size_t i = 0; i < code.n; i++)
        if (!isalnum((unsigned char)code.p[i]))
            return false;
    return code.n > 0 && code.n < MEASURE_CODE_MAX;
}

static void add_code(struct measure_counts *c, struct str code, uint64_t n)
{
    struct measure_code *p = is_plain(code) ? place_of(c, code) : NULL;
    if (p == NULL) {
        c->other_codes += n;
        return;
    }
    (void)str_copy(p->text, sizeof(p->text), code);
    p->n += n;
}

void measure_error(struct measure *m, struct str code)
{
    add_code(&m->counts, code, 1);
}

void measure_depth(struct measure *m, uint32_t in_flight)
{
    unsigned i = in_flight > 1 ? 32u - (unsigned)__builtin_clz(in_flight - 1) : 0;
    m->counts.depth[MIN(i, MEASURE_DEPTHS - 1u)]++;
    m->counts.depth_sum += in_flight;
}

/* ---- copies ---------------------------------------------------------------------------------- */

void measure_read(const struct measure *m, struct measured *out, uint64_t (*all)[HISTOGRAM_BUCKETS])
{
    memset(out, 0, sizeof(*out));
    out->counts = m->counts;
    for (int i = 0; i < MEASURE_TIMES && m->times != NULL; i++)
        out->times[i].sum_us = histogram_fold(&m->times[i], out->times[i].octaves,
                                              all != NULL ? all[i] : NULL);
}

static void add_counts(struct measure_counts *into, const struct measure_counts *from)
{
    for (int i = 0; i < CAUSES; i++)
        into->told[i] += from->told[i];
    for (int i = 0; i < MEASURE_CODES && from->codes[i].text[0] != '\0'; i++)
        add_code(into, str_of(from->codes[i].text), from->codes[i].n);
    into->other_codes += from->other_codes;
    for (int i = 0; i < MEASURE_TIMEOUTS; i++)
        into->timeouts[i] += from->timeouts[i];
    into->cancels += from->cancels;
    into->logins += from->logins;
    into->failed_logins += from->failed_logins;
    for (int i = 0; i < MEASURE_DEPTHS; i++)
        into->depth[i] += from->depth[i];
    into->depth_sum += from->depth_sum;
}

void measure_add(struct measured *into, const struct measured *from)
{
    add_counts(&into->counts, &from->counts);
    for (int i = 0; i < MEASURE_TIMES; i++) {
        for (int k = 0; k < HISTOGRAM_OCTAVES; k++)
            into->times[i].octaves[k] += from->times[i].octaves[k];
        into->times[i].sum_us += from->times[i].sum_us;
    }
}
