/* cluster_watch.c - when which node is asked, and what is published; see cluster_watch.h. */
#include "proxy/cluster/cluster_watch.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/cluster/cluster_node.h"
#include "proxy/session_cache.h"

#include <stdatomic.h>

#define WROTE_GAP_US 1000 /* between two probes of the primary for the sake of writes */
#define LOOKUP_US USEC_PER_SEC

/* ---- publishing ------------------------------------------------------------------------------ */

static void tell_node(const struct watch *x, int i, const struct topology_node *n)
{
    const struct health_node *h = &x->health.nodes[i];
    log_line(LL_LOG, "cluster %s: " STR_FMT " is %s, %s%s%s", x->cluster->name, STR_ARG(n->name),
             topology_role_name(n->role), topology_state_name(n->state),
             n->state == NODE_DOWN && h->failures > 0 ? ": " : "",
             n->state == NODE_DOWN && h->failures > 0 ? health_failure_name(h->failure) : "");
}

static void tell_alarms(const struct watch *x, uint32_t raised)
{
    static const struct {
        uint32_t bit;
        const char *text;
    } texts[] = {
        {TOPOLOGY_TWO_PRIMARIES, "two nodes take writes on one timeline"},
        {TOPOLOGY_OTHER_SYSTEM, "a node belongs to another cluster"},
        {TOPOLOGY_OLD_PRIMARY, "a fenced node still takes writes on an older timeline"},
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (raised & texts[i].bit)
            log_line(LL_ERROR, "cluster %s: %s", x->cluster->name, texts[i].text);
}

static void tell_changes(const struct watch *x, const struct topology *was,
                         const struct topology *is)
{
    for (int i = 0; i < is->nnodes; i++) {
        const struct topology_node *a = was != NULL && i < was->nnodes ? &was->nodes[i] : NULL;
        const struct topology_node *b = &is->nodes[i];
        if (b->used && (a == NULL || !a->used || a->role != b->role || a->state != b->state))
            tell_node(x, i, b);
    }
    tell_alarms(x, is->alarms & ~(was != NULL ? was->alarms : 0));
    if (was != NULL && was->primary != is->primary && is->primary >= 0) {
        session_cache_forget(x->worker->process);
        log_line(LL_LOG, "cluster %s: the primary is " STR_FMT, x->cluster->name,
                 STR_ARG(is->nodes[is->primary].name));
    }
}

/* What the machine does not know: names, weights, who is drained. */
static void fill_model(struct watch *x, struct topology *t, struct topology_node *nodes)
{
    uint64_t drained = atomic_load_explicit(&x->cluster->shared.drained, memory_order_relaxed);
    t->name = str_of(x->cluster->name);
    t->zone = str_of(x->config->zone);
    t->policy = x->health.policy;
    t->live = x->live;
    t->nodes = nodes;
    t->primary = TOPOLOGY_NONE;
    for (int i = 0; i < (int)TOPOLOGY_NODES_MAX; i++) {
        const struct watch_node *n = x->nodes[i];
        if (n == NULL)
            continue;
        nodes[i] = (struct topology_node){.name = str_of(n->name),
                                          .host = str_of(n->address),
                                          .zone = str_of(n->zone),
                                          .port = (uint16_t)n->host.port,
                                          .weight = (uint16_t)n->weight,
                                          .used = true,
                                          .drained = (drained >> i & 1) != 0};
        t->nnodes = (uint16_t)(i + 1);
    }
}

static void publish(struct watch *x)
{
    struct topology_node nodes[TOPOLOGY_NODES_MAX];
    struct topology model;
    memset(nodes, 0, sizeof(nodes));
    memset(&model, 0, sizeof(model));
    fill_model(x, &model, nodes);
    struct topology *t = health_publish(&x->health, &model);
    tell_changes(x, x->published, t);
    topology_put(&x->published);
    x->published = topology_get(t);
    cluster_publish(x->cluster, x->worker->process, t);
}

void watch_changed(struct watch *x, unsigned changes)
{
    if (changes != 0 && !x->stopped)
        publish(x);
}

/* ---- whom to ask when ------------------------------------------------------------------------ */

static struct watch_node *primary_of(const struct watch *x)
{
    return x->health.primary < 0 ? NULL : x->nodes[x->health.primary];
}

static void ask_soon(struct watch *x)
{
    if (!timeout_running(&x->soon))
        worker_timeout(x->worker, &x->soon, WROTE_GAP_US);
}

/* A write was acknowledged: a probe is sent whose number is taken after that. */
static void ask_for_write(struct watch *x)
{
    struct watch_node *n = primary_of(x);
    if (n == NULL) { /* the next write asks again */
        atomic_store_explicit(&x->cluster->shared.wrote, false, memory_order_release);
        return;
    }
    if (n->asking || x->worker->now - n->sent_at < WROTE_GAP_US) {
        x->wanted = true;
        if (!n->asking)
            ask_soon(x);
        return;
    }
    x->wanted = false;
    atomic_store_explicit(&x->cluster->shared.wrote, false, memory_order_release);
    watch_node_ask(n);
}

/* The replicas are asked until they have what the primary has told. */
static void chase(struct watch *x)
{
    usec_t now = x->worker->now;
    bool more = false;
    for (int i = 0; i < (int)TOPOLOGY_NODES_MAX; i++) {
        struct watch_node *n = x->nodes[i];
        if (n == NULL || i == x->health.primary || x->health.nodes[i].state == NODE_DOWN ||
            atomic_load_explicit(&x->live->nodes[i].replayed, memory_order_relaxed) >= x->answered)
            continue;
        if (!n->asking && now >= n->sent_at + n->gap)
            watch_node_ask(n);
        more = true;
    }
    if (more)
        ask_soon(x);
}

static void on_soon(struct timeout *t)
{
    struct watch *x = container_of(t, struct watch, soon);
    if (x->wanted)
        ask_for_write(x);
    chase(x);
}

static void note_lag(struct watch *x, const struct watch_node *n)
{
    usec_t us;
    int64_t bytes;
    freshness_lag(&x->health.freshness, n->seen.position, x->worker->now, &us, &bytes);
    atomic_store_explicit(&x->cluster->shared.lag_us[n->index], us, memory_order_relaxed);
    atomic_store_explicit(&x->cluster->shared.lag_bytes[n->index], bytes, memory_order_relaxed);
}

void watch_answered(struct watch *x, struct watch_node *n)
{
    note_lag(x, n);
    if (n->index != x->health.primary) {
        uint64_t has = atomic_load_explicit(&x->live->nodes[n->index].replayed,
                                            memory_order_relaxed);
        n->gap = has >= x->answered ? WROTE_GAP_US : MIN(n->gap * 2, x->config->check_interval);
        cluster_moved(x->cluster, x->worker->process);
        return;
    }
    x->answered = n->number;
    if (x->wanted)
        ask_for_write(x);
    chase(x);
}

static void on_tick(struct timeout *t)
{
    struct watch *x = container_of(t, struct watch, tick);
    usec_t now = x->worker->now;
    worker_timeout(x->worker, &x->tick, x->config->check_interval);
    if (atomic_load_explicit(&x->worker->process->shared.suspended, memory_order_relaxed))
        return; /* nothing is read, so nothing can answer */
    watch_changed(x, health_tick(&x->health, now));
    if (now - x->looked_up_at >= LOOKUP_US)
        watch_look_up(x);
    for (int i = 0; i < (int)TOPOLOGY_NODES_MAX; i++)
        if (x->nodes[i] != NULL && !x->nodes[i]->asking)
            watch_node_ask(x->nodes[i]);
}

/* ---- what other workers ask for -------------------------------------------------------------- */

static struct watch *watch_of(struct worker *w, const struct cluster *c)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &w->watches) {
        struct watch *x = container_of(it, struct watch, link);
        if (x->cluster == c && !x->stopped)
            return x;
    }
    return NULL;
}

static void on_wrote(struct worker *w, void *arg)
{
    struct watch *x = watch_of(w, arg);
    if (x != NULL)
        ask_for_write(x);
}

void cluster_wrote(struct cluster *c, struct worker *w)
{
    if (!atomic_exchange_explicit(&c->shared.wrote, true, memory_order_acq_rel))
        worker_post_call(w->process->workers[CLUSTER_WATCHER], on_wrote, c);
}

struct failure {
    struct cluster *cluster;
    int node;
    enum health_failure why;
};

static void on_failure(struct worker *w, void *arg)
{
    struct failure f = *(struct failure *)arg;
    struct watch *x = watch_of(w, f.cluster);
    mem_free(arg);
    if (x == NULL || x->nodes[f.node] == NULL)
        return;
    /* a connection may be lost for reasons of its own: the node is asked */
    if (f.why != HEALTH_LOST)
        watch_changed(x, health_failed(&x->health, f.node, f.why, w->now));
    if (!x->nodes[f.node]->asking)
        watch_node_ask(x->nodes[f.node]);
}

void cluster_failed(struct cluster *c, struct worker *w, int node, enum health_failure why)
{
    struct failure *f = mem_new(sizeof(*f));
    *f = (struct failure){c, node, why};
    worker_post_call(w->process->workers[CLUSTER_WATCHER], on_failure, f);
}

static void on_drained(struct worker *w, void *arg)
{
    struct watch *x = watch_of(w, arg);
    if (x != NULL)
        publish(x);
}

void cluster_drain(struct cluster *c, struct process *p, int node, bool on)
{
    uint64_t bit = UINT64_C(1) << node;
    if (on)
        atomic_fetch_or_explicit(&c->shared.drained, bit, memory_order_relaxed);
    else
        atomic_fetch_and_explicit(&c->shared.drained, ~bit, memory_order_relaxed);
    worker_post_call(p->workers[CLUSTER_WATCHER], on_drained, c);
}

/* ---- beginning and end ----------------------------------------------------------------------- */

static void configure(struct watch *x, const struct config_cluster *c)
{
    struct health_rules rules;
    x->config = c;
    health_rules_default(&rules, c->check_interval);
    x->health.rules = rules;
    x->health.policy = (struct topology_policy){
        .consistency = (enum consistency)c->consistency,
        .no_replica_is_error = c->no_replica == CONFIG_NO_REPLICA_ERROR,
        .max_lag_us = c->max_replica_lag,
        .max_lag_bytes = (uint64_t)c->max_replica_lag_bytes};
    watch_look_up(x);
    watch_nodes_renew(x);
    publish(x);
    worker_timeout(x->worker, &x->tick, 1);
}

static void begin(struct worker *w, struct config_cluster *c)
{
    struct watch *x = mem_new(sizeof(*x));
    struct health_rules rules;
    struct topology_policy none = {.consistency = CONSISTENCY_SESSION};
    x->worker = w;
    x->cluster = cluster_of(w->process->clusters, str_of(c->name));
    x->live = topology_live_new(0);
    list_init(&x->questions);
    list_init(&x->link);
    list_push_back(&w->watches, &x->link);
    timeout_init(&x->tick, on_tick);
    timeout_init(&x->soon, on_soon);
    health_rules_default(&rules, c->check_interval);
    health_init(&x->health, &rules, &none, x->live, w->now);
    configure(x, c);
}

static void end(struct watch *x)
{
    x->stopped = true;
    timeout_stop(&x->tick);
    timeout_stop(&x->soon);
    for (int i = 0; i < (int)TOPOLOGY_NODES_MAX; i++)
        if (x->nodes[i] != NULL)
            watch_node_close(x->nodes[i]);
}

static void forget(struct watch *x)
{
    watch_abandon_questions(x);
    for (int i = 0; i < (int)TOPOLOGY_NODES_MAX; i++) {
        if (x->nodes[i] != NULL)
            watch_node_free(&x->nodes[i]);
        mem_free(x->names[i]);
    }
    topology_put(&x->published);
    topology_live_put(&x->live);
    list_remove(&x->link);
    mem_free(x);
}

void cluster_watch_configure(struct worker *w)
{
    const struct config *cfg = worker_config(w);
    struct list *it, *tmp;
    if (w->index != CLUSTER_WATCHER || w->wire->probe_query == NULL)
        return;
    LIST_EACH(it, tmp, &w->watches) {
        struct watch *x = container_of(it, struct watch, link);
        const struct config_cluster *c = config_find_cluster(cfg, str_of(x->cluster->name));
        if (c != NULL) {
            configure(x, c);
            continue;
        }
        end(x);
        forget(x);
    }
    for (size_t i = 0; i < cfg->entries->nclusters; i++) {
        struct config_cluster *c = cfg->entries->clusters[i];
        if (watch_of(w, cluster_of(w->process->clusters, str_of(c->name))) == NULL)
            begin(w, c);
    }
}

void cluster_watch_stop(struct worker *w)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &w->watches)
        end(container_of(it, struct watch, link));
}

void cluster_watch_free(struct worker *w)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &w->watches)
        forget(container_of(it, struct watch, link));
}
