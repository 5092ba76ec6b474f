/* cluster_node.c - which nodes there are, and asking one; see cluster_node.h. */
#include "proxy/cluster/cluster_node.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/net/sockopt.h"
#include "proxy/server.h"

#include <arpa/inet.h>
#include <stdio.h>

#define GAP_US 1000

/* ---- asking ---------------------------------------------------------------------------------- */

static void on_row(struct job *j, const struct str *cols, int ncols)
{
    struct watch_node *n = container_of(j, struct watch_node, job);
    n->answered = n->watch->worker->wire->probe_row(cols, ncols, &n->seen) == ST_OK;
}

static enum health_failure reason(const struct watch_node *n)
{
    if (n->silent)
        return HEALTH_SILENT;
    switch (n->pool->failed_as) {
    case SE_NONE:
        return HEALTH_LOST;
    case SE_STARTING:
    case SE_SHUTDOWN:
        return HEALTH_STARTING;
    case SE_AUTH:
    case SE_NO_DB:
    case SE_TOO_MANY:
        return HEALTH_LOGIN;
    case SE_OTHER:
    case SE_READ_ONLY:
    case SE_STANDBY_CONFLICT:
    case SE_STMT_UNKNOWN:
    case SE_STMT_EXISTS:
    case SE_PLAN_CHANGED:
    case SE_CANCELLED:
    case SE_DEADLOCK:
    case SE_UNABLE:
        return HEALTH_REFUSED;
    }
    return HEALTH_REFUSED;
}

static void on_done(struct job *j, bool ok, struct str message)
{
    struct watch_node *n = container_of(j, struct watch_node, job);
    struct watch *x = n->watch;
    usec_t now = x->worker->now;
    n->asking = false;
    if (x->stopped || n->pool == NULL)
        return;
    if (ok && n->answered) {
        bool standby = n->seen.in_recovery;
        n->timeline = standby ? MAX(n->timeline, n->seen.timeline) : n->seen.timeline;
        const struct health_answer a = {.in_recovery = n->seen.in_recovery,
                                        .system = n->seen.system_id,
                                        .timeline = n->timeline,
                                        .position = n->seen.position,
                                        .settled = standby ? 0 : n->seen.settled,
                                        .number = n->number,
                                        .sent_at = n->sent_at};
        watch_changed(x, health_answer(&x->health, n->index, &a, now));
        watch_answered(x, n);
        return;
    }
    n->silent = now - n->sent_at >= j->limit;
    n->timeline = 0;
    LOG_LIMITED(LL_WARNING, "cluster %s: %s does not answer the probe: " STR_FMT, x->cluster->name,
                n->name, STR_ARG(message));
    watch_changed(x, health_failed(&x->health, n->index, reason(n), now));
}

void watch_node_ask(struct watch_node *n)
{
    struct watch *x = n->watch;
    if (n->silent)
        pool_close_servers(n->pool, "the probe was not answered");
    n->silent = n->answered = false;
    n->asking = true;
    n->number = health_ask(&x->health, n->index, x->worker->now);
    n->sent_at = x->worker->now;
    n->pool->retry_at = 0;
    n->pool->failed_as = SE_NONE;
    n->job.text = str_of(x->worker->wire->probe_query);
    n->job.row = on_row;
    n->job.done = on_done;
    n->job.limit = x->health.rules.silent_us;
    job_start(n->pool, &n->job);
}

void watch_node_close(struct watch_node *n)
{
    if (n->asking && n->job.server == NULL)
        job_cancel(&n->job);
    pool_close_servers(n->pool, "no longer watched");
    n->asking = false;
}

void watch_node_free(struct watch_node **np)
{
    struct watch_node *n = *np;
    *np = NULL;
    pool_free(n->pool);
    mem_free(n);
}

/* ---- which nodes there are ------------------------------------------------------------------- */

struct question {
    struct list link;    /* in watch->questions */
    struct watch *watch; /* borrowed; NULL: nobody waits any more */
    struct worker *worker;
    struct resolver_addrs addrs;
    bool ok;
    int port;
    char host[WATCH_TEXT]; /* as configured */
};

/* The login of the probes, in an entry of their own. */
static void fill_entry(struct watch_node *n)
{
    const struct config_cluster *c = n->watch->config;
    struct config_database *d = &n->db;
    memset(d, 0, sizeof(*d));
    memset(&d->limits, 0xff, sizeof(d->limits)); /* all unset */
    n->host.host = n->address;
    d->name = c->name;
    d->dbname = c->probe_dbname;
    d->hosts = &n->host;
    d->nhosts = 1;
    d->user = c->probe_user;
    d->password = c->probe_password[0] != '\0' ? c->probe_password : NULL;
    d->limits.pool_mode = CONFIG_POOL_TRANSACTION;
    d->limits.pool_size = 1;
    d->limits.min_pool_size = d->limits.reserve_pool_size = d->limits.max_connections = 0;
    d->limits.multiplex_depth = 1;
}

/* Its own where it has had one, then one that nobody has had: who has not heard yet that a node is
 * gone must not take another for it. */
static int free_index(struct watch *x, const char *name)
{
    int fresh = TOPOLOGY_NONE, hole = TOPOLOGY_NONE;
    for (int i = (int)TOPOLOGY_NODES_MAX - 1; i >= 0; i--) {
        if (x->names[i] == NULL)
            fresh = i;
        else if (strcmp(x->names[i], name) == 0)
            return i;
        else if (x->nodes[i] == NULL)
            hole = i;
    }
    return fresh != TOPOLOGY_NONE ? fresh : hole;
}

static void name_index(struct watch *x, int i, const char *name)
{
    const uint64_t bit = UINT64_C(1) << i;
    if (x->names[i] != NULL && strcmp(x->names[i], name) == 0)
        return;
    mem_free(x->names[i]);
    x->names[i] = str_dup(str_of(name));
    /* Who had it before was taken out, not this one. */
    atomic_fetch_and_explicit(&x->cluster->shared.drained, ~bit, memory_order_relaxed);
}

static void make_pool(struct watch_node *n)
{
    struct watch *x = n->watch;
    char name[CONFIG_CLUSTER_NAME_MAX + 16], key[WATCH_TEXT + CONFIG_CLUSTER_NAME_MAX + 16];
    snprintf(name, sizeof(name), "cluster %s", x->config->name);
    /* shaped as that of a node's pool, without the user that each of those has */
    int len = snprintf(key, sizeof(key), "%s%c%c%s", name, 0, 0, n->name);
    fill_entry(n);
    n->pool = pool_for_probes(x->worker, &n->db, str_of(name), (struct str){key, (size_t)len});
    n->pool->mode = CONFIG_POOL_TRANSACTION;
    const struct topology_node place = {
        .name = str_of(n->name), .host = str_of(n->address), .port = (uint16_t)n->host.port};
    pool_set_place(n->pool, &place);
}

static void add_node(struct watch *x, const char *name, const char *address, int port)
{
    int i = free_index(x, name);
    if (i == TOPOLOGY_NONE) {
        LOG_LIMITED(LL_ERROR, "cluster %s: more than %u nodes", x->cluster->name,
                    TOPOLOGY_NODES_MAX);
        return;
    }
    name_index(x, i, name);
    struct watch_node *n = x->nodes[i] = mem_new(sizeof(*n));
    n->watch = x;
    n->index = i;
    n->gap = GAP_US;
    n->wanted = true;
    n->host.port = port;
    str_copy(n->name, sizeof(n->name), str_of(name));
    str_copy(n->address, sizeof(n->address), str_of(address));
    make_pool(n);
    health_add(&x->health, i, x->worker->now);
}

static void drop_node(struct watch *x, int i)
{
    struct watch_node *n = x->nodes[i];
    log_line(LL_LOG, "cluster %s: %s is no node any more", x->cluster->name, n->name);
    watch_node_close(n);
    watch_node_free(&x->nodes[i]);
    (void)health_remove(&x->health, i, x->worker->now);
}

static struct watch_node *find(struct watch *x, const char *name)
{
    for (int i = 0; i < (int)TOPOLOGY_NODES_MAX; i++)
        if (x->nodes[i] != NULL && strcmp(x->nodes[i]->name, name) == 0)
            return x->nodes[i];
    return NULL;
}

/* "host:port", with brackets where the host has colons; and "@address" for one of several. */
static void name_node(const char *host, int port, const char *address, char *dst)
{
    bool colons = strchr(host, ':') != NULL;
    snprintf(dst, WATCH_TEXT, "%s%.200s%s:%d%s%.60s", colons ? "[" : "", host, colons ? "]" : "",
             port, address != NULL ? "@" : "", address != NULL ? address : "");
}

static bool belongs(const struct watch_node *n, const char *host, int port)
{
    char name[WATCH_TEXT];
    name_node(host, port, NULL, name);
    size_t len = strlen(name);
    return strncmp(n->name, name, len) == 0 && (n->name[len] == '\0' || n->name[len] == '@');
}

static bool is_name(const char *host)
{
    struct in6_addr any;
    return host[0] != '/' && host[0] != '@' && inet_pton(AF_INET, host, &any) != 1 &&
           inet_pton(AF_INET6, host, &any) != 1;
}

/* The addresses of a host as they are now. True: nodes have come or gone. */
static bool compare(struct watch *x, const char *host, int port, const struct resolver_addrs *a)
{
    bool changed = false;
    char name[WATCH_TEXT], address[SOCKOPT_TEXT_MAX];
    for (int i = 0; i < (int)TOPOLOGY_NODES_MAX; i++)
        if (x->nodes[i] != NULL)
            x->nodes[i]->wanted = !belongs(x->nodes[i], host, port);
    for (int i = 0; i < a->n; i++) {
        sockopt_format((const struct sockaddr *)&a->addr[i], 0, address, sizeof(address));
        name_node(host, port, address, name);
        struct watch_node *n = find(x, name);
        if (n != NULL)
            n->wanted = true;
        else
            add_node(x, name, address, port);
        changed = changed || n == NULL;
    }
    for (int i = 0; i < (int)TOPOLOGY_NODES_MAX; i++) {
        if (x->nodes[i] == NULL || x->nodes[i]->wanted)
            continue;
        drop_node(x, i);
        changed = true;
    }
    return changed;
}

static void on_names(struct worker *w, void *arg)
{
    struct question *q = arg;
    struct watch *x = q->watch;
    (void)w;
    if (x != NULL) {
        list_remove(&q->link);
        if (q->ok && q->addrs.n > 0 && compare(x, q->host, q->port, &q->addrs)) {
            watch_nodes_renew(x);
            watch_changed(x, HEALTH_STATE);
        }
    }
    mem_free(q);
}

/* A name that cannot be looked up for now says nothing about its nodes. Resolver thread. */
static void resolved(void *arg, const struct resolver_addrs *addrs, const struct error *err)
{
    struct question *q = arg;
    (void)err;
    q->ok = addrs != NULL;
    if (addrs != NULL)
        q->addrs = *addrs;
    worker_post_call(q->worker, on_names, q);
}

static void look_up(struct watch *x, const struct config_host *h)
{
    struct question *q = mem_new(sizeof(*q));
    struct error err = {""};
    struct resolver_ask ask = {resolved, q};
    q->watch = x;
    q->worker = x->worker;
    q->port = h->port;
    str_copy(q->host, sizeof(q->host), str_of(h->host));
    list_init(&q->link);
    list_push_back(&x->questions, &q->link);
    if (!resolver_ask(x->worker->process->resolver, h->host, &q->addrs, &err, ask))
        return;
    q->ok = q->addrs.n > 0;
    on_names(x->worker, q);
}

void watch_look_up(struct watch *x)
{
    x->looked_up_at = x->worker->now;
    if (!list_empty(&x->questions))
        return; /* still being asked */
    for (size_t i = 0; i < x->config->nhosts; i++)
        if (is_name(x->config->hosts[i].host))
            look_up(x, &x->config->hosts[i]);
}

void watch_abandon_questions(struct watch *x)
{
    struct list *l;
    while ((l = list_pop_front(&x->questions)) != NULL)
        container_of(l, struct question, link)->watch = NULL;
}

/* Weight, zone and login of a node; NULL: it is not configured any more. */
static const struct config_host *renew(struct watch *x, struct watch_node *n)
{
    const struct config_cluster *c = x->config;
    for (size_t i = 0; i < c->nhosts; i++) {
        if (!belongs(n, c->hosts[i].host, c->hosts[i].port))
            continue;
        n->weight = c->host_facts[i].weight;
        n->zone = c->host_facts[i].zone;
        fill_entry(n);
        pool_reconfigure(n->pool, &n->db);
        return &c->hosts[i];
    }
    return NULL;
}

void watch_nodes_renew(struct watch *x)
{
    const struct config_cluster *c = x->config;
    char name[WATCH_TEXT];
    for (size_t i = 0; i < c->nhosts; i++) {
        name_node(c->hosts[i].host, c->hosts[i].port, NULL, name);
        if (!is_name(c->hosts[i].host) && find(x, name) == NULL)
            add_node(x, name, c->hosts[i].host, c->hosts[i].port);
    }
    for (int i = 0; i < (int)TOPOLOGY_NODES_MAX; i++)
        if (x->nodes[i] != NULL && renew(x, x->nodes[i]) == NULL)
            drop_node(x, i);
}
