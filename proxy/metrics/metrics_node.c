/* metrics_node.c - gatherers of clusters, their nodes and routing; see metrics_gather.h.  Pure. */
#include "proxy/metrics/metrics_gather.h"

#include "base/mem.h"

#define LABELS_MAX ((size_t)1 << 16)

/* ---- clusters -------------------------------------------------------------------------------- */

static void of_cluster(struct metrics_out *o, const struct admin_cluster_row *c, const char *label,
                       const char *word, uint64_t value)
{
    struct buf b;
    buf_init(&b, LABELS_MAX);
    metrics_out_label(&b, "cluster", c->cluster->name);
    metrics_out_line(
        o, &(struct metrics_line){
               .labels = buf_str(&b), .extra = label, .extra_value = word, .value = value});
    buf_fini(&b);
}

void metrics_node_epoch(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)
{
    const struct admin_nodes *all = &v->sample->nodes;
    (void)m;
    for (size_t i = 0; i < all->nclusters; i++)
        of_cluster(o, &all->clusters[i], NULL, NULL, all->clusters[i].topology->epoch);
}

void metrics_node_alarms(const struct metrics_view *v, const struct metric *m,
                         struct metrics_out *o)
{
    static const struct {
        uint32_t bit;
        const char *word;
    } alarms[] = {{TOPOLOGY_TWO_PRIMARIES, "two_primaries"},
                  {TOPOLOGY_OTHER_SYSTEM, "other_system"},
                  {TOPOLOGY_OLD_PRIMARY, "old_primary"}};
    const struct admin_nodes *all = &v->sample->nodes;
    (void)m;
    for (size_t i = 0; i < all->nclusters; i++)
        for (size_t k = 0; k < ARRAY_LEN(alarms); k++)
            of_cluster(o, &all->clusters[i], "alarm", alarms[k].word,
                       (all->clusters[i].topology->alarms & alarms[k].bit) != 0);
}

void metrics_node_held(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)
{
    const struct admin_nodes *all = &v->sample->nodes;
    (void)m;
    for (size_t i = 0; i < all->nclusters; i++)
        of_cluster(o, &all->clusters[i], NULL, NULL, (uint64_t)all->clusters[i].waiting);
}

static void put_reasons(struct metrics_out *o, struct str labels, const int64_t *counts)
{
    for (int i = 0; i < ROUTE_REASONS; i++)
        if (counts[i] > 0)
            metrics_out_line(
                o, &(struct metrics_line){.labels = labels,
                                          .extra = "reason",
                                          .extra_value = route_reason_name((enum route_reason)i),
                                          .value = (uint64_t)counts[i]});
}

void metrics_node_reasons(const struct metrics_view *v, const struct metric *m,
                          struct metrics_out *o)
{
    const struct admin_nodes *all = &v->sample->nodes;
    struct buf b;
    for (size_t i = 0; i < all->nclusters; i++) {
        int64_t counts[ROUTE_REASONS];
        memcpy(counts, (const char *)&all->clusters[i] + m->at, sizeof(counts));
        buf_init(&b, LABELS_MAX);
        metrics_out_label(&b, "cluster", all->clusters[i].cluster->name);
        put_reasons(o, buf_str(&b), counts);
        buf_fini(&b);
    }
}

/* ---- nodes ----------------------------------------------------------------------------------- */

/* To be freed with buf_fini. */
static struct str labels_of(const struct metrics_view *v, size_t i, struct buf *mem)
{
    const struct admin_nodes *all = &v->sample->nodes;
    const struct admin_node_row *r = &all->nodes[i];
    char *name = str_dup(r->node->name);
    buf_init(mem, LABELS_MAX);
    metrics_out_label(mem, "cluster", all->clusters[r->cluster].cluster->name);
    metrics_out_label(mem, "node", name);
    mem_free(name);
    return buf_str(mem);
}

static void of_node(const struct metrics_view *v, size_t i, struct metrics_out *o,
                    struct metrics_line line)
{
    struct buf mem;
    line.labels = labels_of(v, i, &mem);
    metrics_out_line(o, &line);
    buf_fini(&mem);
}

/* One sample for each word, 1 for the one that holds. */
static void of_words(const struct metrics_view *v, size_t i, struct metrics_out *o,
                     const char *label, const char *word, bool holds)
{
    of_node(v, i, o,
            (struct metrics_line){.extra = label, .extra_value = word, .value = holds ? 1 : 0});
}

void metrics_node_role(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)
{
    (void)m;
    for (size_t i = 0; i < v->sample->nodes.nnodes; i++)
        for (int role = NODE_UNKNOWN; role <= NODE_REPLICA; role++)
            of_words(v, i, o, "role", topology_role_name((enum node_role)role),
                     (int)v->sample->nodes.nodes[i].node->role == role);
}

void metrics_node_state(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)
{
    (void)m;
    for (size_t i = 0; i < v->sample->nodes.nnodes; i++)
        for (int state = NODE_UP; state <= NODE_FENCED; state++)
            of_words(v, i, o, "state", topology_state_name((enum node_state)state),
                     (int)v->sample->nodes.nodes[i].node->state == state);
}

void metrics_node_drained(const struct metrics_view *v, const struct metric *m,
                          struct metrics_out *o)
{
    (void)m;
    for (size_t i = 0; i < v->sample->nodes.nnodes; i++)
        of_node(v, i, o, (struct metrics_line){.value = v->sample->nodes.nodes[i].node->drained});
}

void metrics_node_weight(const struct metrics_view *v, const struct metric *m,
                         struct metrics_out *o)
{
    (void)m;
    for (size_t i = 0; i < v->sample->nodes.nnodes; i++)
        of_node(v, i, o, (struct metrics_line){.value = v->sample->nodes.nodes[i].node->weight});
}

static void of_numbers(const struct metrics_view *v, const struct metric *m, struct metrics_out *o,
                       enum metrics_form form)
{
    for (size_t i = 0; i < v->sample->nodes.nnodes; i++) {
        int64_t n;
        memcpy(&n, (const char *)&v->sample->nodes.nodes[i] + m->at, sizeof(n));
        if (n >= 0)
            of_node(v, i, o, (struct metrics_line){.form = form, .value = (uint64_t)n});
    }
}

void metrics_node_number(const struct metrics_view *v, const struct metric *m,
                         struct metrics_out *o)
{
    of_numbers(v, m, o, METRICS_WHOLE);
}

void metrics_node_time(const struct metrics_view *v, const struct metric *m, struct metrics_out *o)
{
    of_numbers(v, m, o, METRICS_SECONDS);
}

void metrics_node_servers(const struct metrics_view *v, const struct metric *m,
                          struct metrics_out *o)
{
    (void)m;
    for (size_t i = 0; i < v->sample->nodes.nnodes; i++) {
        const struct admin_node_row *r = &v->sample->nodes.nodes[i];
        const struct {
            const char *word;
            int64_t n;
        } states[] = {{"connecting", r->sv_login}, {"idle", r->sv_idle},
                      {"active", r->sv_alone},     {"shared", r->sv_shared},
                      {"cleaning", r->sv_tested},  {"cancelling", r->sv_canceled}};
        for (size_t k = 0; k < ARRAY_LEN(states); k++)
            of_node(v, i, o,
                    (struct metrics_line){.extra = "state",
                                          .extra_value = states[k].word,
                                          .value = (uint64_t)states[k].n});
    }
}

void metrics_node_requests(const struct metrics_view *v, const struct metric *m,
                           struct metrics_out *o)
{
    struct buf mem;
    (void)m;
    for (size_t i = 0; i < v->sample->nodes.nnodes; i++) {
        put_reasons(o, labels_of(v, i, &mem), v->sample->nodes.nodes[i].requests);
        buf_fini(&mem);
    }
}
