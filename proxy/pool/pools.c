/* pools.c - all pools of a worker: upkeep, reconfiguration, end; see pool.h.  Worker thread. */
#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/cancel_conn.h"
#include "proxy/client.h"
#include "proxy/listen.h"
#include "proxy/pool/pool_cluster.h"
#include "proxy/server.h"
#include "proxy/session_cache.h"

#include <limits.h>
#include <stdatomic.h>

#define HANDED_OVER_IDLE_US 5000000

static struct pool *pool_of(struct list *l)
{
    return container_of(l, struct pool, link);
}

struct pool *pool_by_shared(struct worker *w, const struct pool_shared *sh)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &w->pool_list)
        if (pool_of(it)->shared == sh)
            return pool_of(it);
    return NULL;
}

/* A process that is ending keeps none in stock. */
static int minimum(const struct pool *p)
{
    if (process_phase(p->worker->process) != PHASE_RUN)
        return 0;
    return config_min_pool_size(worker_config(p->worker), p->db);
}

static const char *idle_server_unwanted(const struct server *s, int total, int min)
{
    const struct pool *p = s->pool;
    usec_t now = p->worker->now;
    usec_t idle = p->limits[CONFIG_SERVER_IDLE];
    if (process_phase(p->worker->process) == PHASE_HANDED_OVER) /* the successor's pool grows */
        idle = idle > 0 ? MIN(idle, HANDED_OVER_IDLE_US) : HANDED_OVER_IDLE_US;
    if (atomic_load_explicit(&p->shared->db->shared.epoch, memory_order_relaxed) != s->epoch)
        return "database configuration changed";
    if (p->gone)
        return "database removed";
    if (s->dns_stale)
        return "host name resolves to other addresses";
    if (pool_paused(p))
        return "database paused";
    if (pool_too_large(p))
        return "too many servers in the pool";
    if (process_phase(p->worker->process) >= PHASE_DRAIN_SERVERS)
        return "shutting down";
    if (server_too_old(s))
        return "server lifetime over";
    if (idle > 0 && now - s->idle_since > idle && total > min)
        return "server idle timeout";
    return NULL;
}

/* Servers made at the same time would all die at the same time; one per pass and pool keeps the
 * others serving. */
static void close_unwanted(struct pool *p)
{
    struct list *it, *tmp;
    int min = minimum(p);
    int aged = 0;
    LIST_EACH(it, tmp, &p->idle) {
        struct server *s = container_of(it, struct server, link);
        int total = atomic_load_explicit(&p->shared->shared.servers, memory_order_relaxed);
        const char *why = idle_server_unwanted(s, total, min);
        if (why == NULL || (server_too_old(s) && aged++ > 0))
            continue;
        server_quit(s, why);
    }
}

/* server_fast_close: a session that is idle must let go of a server that has to go. */
static void close_fast(struct pool *p)
{
    struct list *it, *tmp;
    uint32_t epoch = atomic_load_explicit(&p->shared->db->shared.epoch, memory_order_relaxed);
    if (!worker_options(p->worker)->server_fast_close)
        return;
    LIST_EACH(it, tmp, &p->active) {
        struct server *s = container_of(it, struct server, link);
        const struct client *c = s->client;
        if (c != NULL && c->passthrough && c->state == CL_HELD && s->tx == TX_IDLE &&
            s->fl_count == 0 && (s->epoch != epoch || s->dns_stale || server_too_old(s)))
            server_quit(s, "server_fast_close");
    }
}

static void open_minimum(struct pool *p)
{
    int min = minimum(p);
    if (min == 0 || pool_paused(p) || p->gone || p->replication[0] != '\0' || p->probes)
        return;
    if (p->db->user == NULL && (p->home != NULL ? p->home : p)->nclients == 0)
        return;
    if (p->cluster != NULL || (p->home != NULL && !pool_cluster_usable(p->home, p->node)))
        return;
    int have = atomic_load_explicit(&p->shared->shared.servers, memory_order_relaxed);
    if (have < min && p->nconnecting == 0)
        pool_open_one(p);
}

/* A waiter that has waited for a while hears that it is queued. */
static void notify_waiting(struct pool *p)
{
    usec_t after = worker_options(p->worker)->query_wait_notify;
    struct list *it, *tmp;
    if (after == 0)
        return;
    LIST_EACH(it, tmp, &p->clients) {
        struct client *c = container_of(it, struct client, in_pool);
        if (c->state != CL_WAIT || c->told_queued || p->worker->now - c->wait_at < after)
            continue;
        c->told_queued = true;
        p->worker->wire->cl_notice(
            c->wire_state,
            STR("No server connection available in postgres backend, client being queued"),
            STR_NONE, &c->conn.out);
        conn_dirty(&c->conn);
    }
}

/* While all pools of the process are being counted, none may go: its counts would be found twice,
 * in it and where pool_free leaves them. */
static bool being_counted(const struct pool *p)
{
    return atomic_load_explicit(&p->worker->process->shared.gathers, memory_order_acquire) > 0;
}

static bool disposable(struct pool *p)
{
    if (p->probes || p->home != NULL)
        return false; /* for those it belongs to to say */
    if (p->nclients > 0 || p->nwaiters > 0 || pool_cluster_servers(p) > 0) {
        p->empty_since = 0;
        return false;
    }
    if (p->empty_since == 0)
        p->empty_since = p->worker->now;
    if (being_counted(p))
        return false;
    if (p->gone || p->replication[0] != '\0')
        return true;
    usec_t empty = p->worker->now - p->empty_since,
           idle = worker_options(p->worker)->pool_idle_timeout;
    if (idle > 0 && empty > idle)
        return true;
    usec_t after = worker_options(p->worker)->autodb_idle_timeout;
    return p->db->is_auto && after > 0 && empty > after;
}

/* min_pool_size with a login of its own needs no client to be known; one worker sees to it. */
static void make_wanted(struct worker *w)
{
    const struct config *cfg = worker_config(w);
    if (w->index != 0 || process_phase(w->process) != PHASE_RUN)
        return;
    for (size_t i = 0; i < cfg->entries->ndatabases; i++) {
        const struct config_database *db = cfg->entries->databases[i];
        if (db->user != NULL && !str_eq(str_of(db->name), STR("*")) &&
            config_min_pool_size(cfg, db) > 0)
            (void)pool_for(w, db, str_of(db->name), str_of(db->user));
    }
}

void pools_housekeeping(struct worker *w)
{
    struct list *it, *tmp;
    make_wanted(w);
    LIST_EACH(it, tmp, &w->pool_list) {
        struct pool *p = pool_of(it);
        pool_dns_check(p);
        close_unwanted(p);
        close_fast(p);
        pool_share_check(p);
        listen_housekeeping(p);
        open_minimum(p);
        notify_waiting(p);
        p->steal_pending = 0; /* an answer may have been lost with a worker's change of mind */
        if (p->nwaiters > 0)
            pool_schedule(p);
        if (p->nclients > 0 && !p->probes)
            catalog_wanted(p);
        if (disposable(p))
            pool_free(p);
    }
}

/* ---- reload ---------------------------------------------------------------------------------- */

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* Which nodes a cluster has is not decided by the entry. */
static bool same_hosts(const struct config_database *a, const struct config_database *b)
{
    if (a->cluster_name != NULL || b->cluster_name != NULL)
        return same_text(a->cluster_name, b->cluster_name);
    if (a->nhosts != b->nhosts)
        return false;
    for (size_t i = 0; i < a->nhosts; i++)
        if (a->hosts[i].port != b->hosts[i].port || !same_text(a->hosts[i].host, b->hosts[i].host))
            return false;
    return true;
}

static bool same_target(const struct config_database *a, const struct config_database *b)
{
    return same_hosts(a, b) && same_text(a->dbname, b->dbname) && same_text(a->user, b->user) &&
           same_text(a->password, b->password) && same_text(a->connect_query, b->connect_query) &&
           same_text(a->client_encoding, b->client_encoding) &&
           same_text(a->datestyle, b->datestyle) && same_text(a->timezone, b->timezone) &&
           same_text(a->application_name, b->application_name);
}

static void drop_clients(struct pool *p)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &p->clients)
        client_fatal(container_of(it, struct client, in_pool), C_KILLED, STR("database removed"));
}

void pools_reconfigure(struct worker *w, const struct runtime *old)
{
    struct list *it, *tmp;
    bool tls = config_diff_tls(old->config, w->runtime->config, true);
    LIST_EACH(it, tmp, &w->pool_list) {
        struct pool *p = pool_of(it);
        const struct config_database *was = p->entry;
        if (p->probes)
            continue;
        const struct config_database *db = config_find_database(w->runtime->config,
                                                                str_of(p->shared->db->name));
        if (db == NULL) {
            drop_clients(p);
            pool_close_servers(p, "database removed");
            pool_fail_waiters(p, C_KILLED, STR("database removed"));
            pool_free_when_empty(p);
            continue;
        }
        bool keep = !tls && same_target(was, db);
        pool_reconfigure(p, db);
        if (p->home == NULL && p->place == NULL)
            pool_cluster_configure(p);
        if (!keep) {
            pool_retire_servers(p);
            session_cache_retarget(p);
        }
        pool_schedule(p);
    }
}

void pool_retire_servers(struct pool *p)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &p->active)
        /* differs from the database's: closed on release */
        container_of(it, struct server, link)->epoch--;
    LIST_EACH(it, tmp, &p->sharing)
        container_of(it, struct server, link)->epoch--;
    pool_share_check(p);
    LIST_EACH(it, tmp, &p->idle)
        server_quit(container_of(it, struct server, link), "settings changed");
}

void pool_close_servers(struct pool *p, const char *why)
{
    struct list *l;
    while ((l = list_first(&p->connecting)) != NULL)
        server_close(container_of(l, struct server, link), why);
    while ((l = list_first(&p->active)) != NULL)
        server_close(container_of(l, struct server, link), why);
    while ((l = list_first(&p->sharing)) != NULL)
        server_close(container_of(l, struct server, link), why);
    while ((l = list_first(&p->idle)) != NULL)
        server_quit(container_of(l, struct server, link), why);
}

void pool_free_when_empty(struct pool *p)
{
    if (p->nclients == 0 && p->nwaiters == 0 && p->home == NULL && !being_counted(p))
        pool_free(p);
    else
        p->gone = true;
}

void pools_close_all(struct worker *w)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &w->pool_list)
        pool_close_servers(pool_of(it), "shutting down");
    LIST_EACH(it, tmp, &w->cancels)
        cancel_conn_abandon(it);
}

void pools_free(struct worker *w)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &w->pool_list)
        pool_free(pool_of(it));
}
