/* pool.c - who gets a server, and when one is opened; see pool.h.  Worker thread. */
#include "proxy/pool/pool_cluster.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/client.h"
#include "proxy/cluster/route_counts.h"
#include "proxy/listen.h"
#include "proxy/server.h"
#include "proxy/session_cache.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>

#define BACKOFF_MIN_US 20000
#define PEEK_AFTER_US 200000 /* a server idle for longer is looked at before it is lent */
#define LIKE_SEARCH 4        /* idle servers looked at for one with the wished settings */

/* ---- limits ---------------------------------------------------------------------------------- */

static const struct config_user *user_of(const struct pool *p)
{
    return config_find_user(worker_config(p->worker), str_of(p->shared->user->name));
}

int pool_limit(const struct pool *p)
{
    int n = config_pool_size(worker_config(p->worker), p->db, user_of(p));
    return n == 0 ? INT_MAX : n;
}

/* While a reload is under way, another worker may have opened what a limit allows that is not known
 * here yet. */
static bool limits_are_current(const struct pool *p)
{
    return atomic_load_explicit(&p->worker->process->shared.newest, memory_order_acquire) ==
           p->worker->runtime;
}

bool pool_too_large(const struct pool *p)
{
    int limit = pool_limit(p);
    int have = atomic_load_explicit(&p->shared->shared.servers, memory_order_acquire);
    return have > limit &&
           have - limit > config_reserve_pool_size(worker_config(p->worker), p->db, user_of(p)) &&
           limits_are_current(p);
}

enum config_pool_mode pool_mode(const struct pool *p)
{
    return p->mode;
}

bool pool_paused(const struct pool *p)
{
    const struct process *proc = p->worker->process;
    if (p->probes)
        return false; /* a node must not seem to be silent for that */
    return (atomic_load_explicit(&p->shared->db->shared.hold, memory_order_relaxed) & DB_PAUSED) !=
               0 ||
           atomic_load_explicit(&proc->shared.suspended, memory_order_relaxed) ||
           atomic_load_explicit(&proc->shared.paused, memory_order_relaxed);
}

/* The count never is above the limit, not even for a moment: who looks at it would close a server
 * for that (pool_too_large). */
static bool take_place(_Atomic int *count, int limit)
{
    int have = atomic_load_explicit(count, memory_order_relaxed);
    while (have < limit)
        if (atomic_compare_exchange_weak_explicit(count, &have, have + 1, memory_order_acq_rel,
                                                  memory_order_relaxed))
            return true;
    return false;
}

static int unlimited(int n)
{
    return n == 0 ? INT_MAX : n;
}

static int database_limit(const struct pool *p)
{
    return unlimited(config_max_db_connections(worker_config(p->worker), p->db));
}

static int user_limit(const struct pool *p)
{
    return unlimited(config_max_user_connections(worker_config(p->worker), user_of(p)));
}

/* Exact across workers: what was taken is given back when another limit is reached. */
static bool reserve_place(struct pool *p)
{
    const struct config *cfg = worker_config(p->worker);
    int limit = pool_limit(p);
    usec_t after = worker_options(p->worker)->reserve_pool_timeout;
    const struct waiter *first = pool_oldest(p, WAIT_ANY);
    if (first != NULL && after > 0 && limit != INT_MAX && p->worker->now - first->since >= after)
        limit += config_reserve_pool_size(cfg, p->db, user_of(p));
    if (!take_place(&p->shared->shared.servers, limit))
        return false;
    if (take_place(&p->shared->db->shared.servers, database_limit(p))) {
        if (take_place(&p->shared->user->shared.servers, user_limit(p)))
            return true;
        atomic_fetch_sub_explicit(&p->shared->db->shared.servers, 1, memory_order_acq_rel);
    }
    atomic_fetch_sub_explicit(&p->shared->shared.servers, 1, memory_order_acq_rel);
    return false;
}

/* ---- opening --------------------------------------------------------------------------------- */

/* A server that is not here yet could be had: opened, or from another worker, which has one to
 * spare or would give one to somebody who has waited longer than its own. A hint. */
static bool may_get_another(const struct pool *p)
{
    if (atomic_load_explicit(&p->shared->shared.servers, memory_order_relaxed) < pool_limit(p))
        return true;
    const struct waiter *first = pool_oldest(p, 1u << WAIT_UNSEEN);
    return p->worker->process->nworkers > 1 && first != NULL &&
           (p->worker->now - first->since > POOL_SLACK_US || pool_idle_elsewhere(p));
}

/* A first login needs one, too. */
static int servers_needed(const struct pool *p)
{
    return MAX(pool_servers_wanted(p), p->nwaiting[WAIT_PROFILE] > 0);
}

/* Opens servers in parallel, as many as there are waiters that would use one and have none on its
 * way. */
static void open_for_waiters(struct pool *p)
{
    if (p->cluster != NULL || pool_paused(p) || p->retry_at > p->worker->now)
        return;
    if (p->nwaiting[WAIT_UNSEEN] > 0 && may_get_another(p))
        pool_look_at_unseen(p);
    int need = servers_needed(p);
    while (p->nconnecting < need) {
        if (!reserve_place(p)) {
            pool_ask_others(p);
            return;
        }
        int before = p->nconnecting;
        server_open(p);
        if (p->nconnecting <= before)
            return; /* failed at once; pool_connect_failed has dealt with the waiters */
        need = servers_needed(p);
    }
}

void pool_open_one(struct pool *p)
{
    if (p->cluster == NULL && p->retry_at <= p->worker->now && reserve_place(p))
        server_open(p);
}

/* The node has failed, and somebody else may do what was asked of it. A refusal that another node
 * would repeat, and one because it is full, are dealt with as without a cluster. */
static bool node_failed(struct pool *p, enum server_error se)
{
    p->failed_as = se;
    if ((p->home == NULL && !p->probes) || se == SE_AUTH || se == SE_NO_DB || se == SE_TOO_MANY)
        return false;
    if (p->home != NULL)
        pool_cluster_node_failed(p, se);
    return true;
}

void pool_connect_failed(struct pool *p, enum server_error se, struct str code, struct str text)
{
    char told[ERROR_TEXT_MAX];
    if (code.n == 0) { /* not the database's own words */
        snprintf(told, sizeof(told), "cannot connect to the database server: " STR_FMT,
                 STR_ARG(text));
        text = str_of(told);
    }
    usec_t longest = MAX(worker_options(p->worker)->server_login_retry, BACKOFF_MIN_US);
    p->measure.counts.failed_logins++;
    p->backoff = p->backoff == 0 ? BACKOFF_MIN_US : MIN(p->backoff * 2, longest);
    p->retry_at = p->worker->now + p->backoff;
    if (node_failed(p, se)) {
        if (p->probes)
            pool_fail_all(p, C_SERVER_DOWN, code, text);
        else
            pool_send_away(p, true);
    } else if (se == SE_AUTH || se == SE_NO_DB) {
        pool_fail_all(p, C_SERVER_DOWN, code, text);
    } else if (se == SE_TOO_MANY && p->nidle + p->nactive > 0) {
        return; /* others of ours are in use; the waiters get those */
    } else if (se != SE_STARTING && !p->ever_ready && p->nconnecting == 0 && p->db->nhosts <= 1) {
        pool_fail_all(p, C_SERVER_DOWN, code, text); /* cold pool, dead server: no hanging */
    } else if (se != SE_STARTING && !p->ever_ready && p->nconnecting == 0) {
        usec_t now = p->worker->now;
        bool all_down = true;
        for (size_t i = 0; i < MIN(p->db->nhosts, (size_t)POOL_HOSTS_MAX); i++)
            all_down = all_down && p->host_down_until[i] > now;
        if (all_down)
            pool_fail_all(p, C_SERVER_DOWN, code, text);
        else
            p->retry_at = now; /* another host may do */
    }
    if (p->nwaiters > 0)
        worker_timeout(p->worker, &p->scheduled, MAX(p->retry_at - p->worker->now, 1));
}

/* ---- granting -------------------------------------------------------------------------------- */

static bool usable(struct server *s)
{
    struct pool *p = s->pool;
    if (p->worker->now - s->idle_since < PEEK_AFTER_US || conn_peek_quiet(&s->conn))
        return true;
    server_close(s, "server closed or spoke while idle");
    return false;
}

struct server *pool_pick_idle(struct pool *p, const struct varset *like)
{
    struct list *it, *tmp;
    struct server *first = NULL;
    int looked = 0;
    LIST_EACH(it, tmp, &p->idle) {
        struct server *s = container_of(it, struct server, link);
        if (!usable(s))
            continue;
        if (first == NULL)
            first = s;
        if (like == NULL || s->vars == like || worker_options(p->worker)->server_round_robin)
            return s;
        if (++looked == LIKE_SEARCH)
            break;
    }
    return first;
}

static void lend(struct server *s)
{
    s->was_idle = s->state == SV_IDLE;
    if (s->state != SV_ACTIVE)
        server_set_state(s, SV_ACTIVE);
    s->session_begun = false;
    s->written = s->conn.bytes_out;
}

void pool_grant(struct pool *p, struct waiter *w, struct server *s)
{
    pool_leave_queue(w);
    lend(s);
    pool_publish(p); /* one idle less: whoever asks us for it would not ask the others */
    w->granted(w, s);
}

bool pool_would_wait(const struct pool *p)
{
    return (p->nidle == 0 && !pool_has_room(p)) || pool_wanting(p) > p->nwaiting[WAIT_ALONE] ||
           pool_paused(p);
}

struct server *pool_take(struct pool *p, struct waiter *w, const struct varset *like, bool *refused)
{
    if (pool_wanting(p) == 0 && !pool_paused(p) && w->kind != WAIT_PROFILE) {
        struct server *s = pool_pick_idle(p, like);
        if (s != NULL) {
            lend(s);
            pool_publish(p);
            return s;
        }
    }
    if (!pool_join_queue(p, w)) {
        *refused = true;
        return NULL;
    }
    if (pool_wanting(p) > p->nconnecting || p->nwaiting[WAIT_PROFILE] > 0)
        pool_schedule(p);
    return NULL;
}

void pool_dispatch(struct pool *p)
{
    if (pool_paused(p))
        return;
    while (pool_wanting(p) > 0) {
        struct server *s = pool_pick_idle(p, NULL);
        if (s == NULL)
            break;
        pool_hand(p, s);
        if (s->state == SV_IDLE)
            break; /* nobody here needs it */
    }
    if (p->nwaiters > 0)
        open_for_waiters(p);
}

void pool_put(struct pool *p, struct server *s)
{
    if (pool_too_large(p)) {
        server_quit(s, "too many servers in the pool");
        return;
    }
    if (pool_cleans_to_give(p, s))
        return;
    if (pool_gives_away(p, s) || pool_paused(p)) {
        server_set_state(s, SV_IDLE);
        pool_publish(p);
        return;
    }
    pool_hand(p, s);
}

/* ---- a server set apart ---------------------------------------------------------------------- */

static void place_is_free(struct pool *p)
{
    pool_publish(p);
    if (p->nwaiters > 0)
        pool_schedule(p);
    if (servers_needed(p) == 0)
        pool_poke_others(p);
}

static void give_back_apart(const struct pool *p)
{
    atomic_fetch_sub_explicit(&p->shared->db->shared.apart, 1, memory_order_acq_rel);
    atomic_fetch_sub_explicit(&p->shared->user->shared.apart, 1, memory_order_acq_rel);
}

bool pool_set_apart(struct pool *p)
{
    if (!take_place(&p->shared->db->shared.apart, database_limit(p) - 1))
        return false;
    if (!take_place(&p->shared->user->shared.apart, user_limit(p) - 1)) {
        atomic_fetch_sub_explicit(&p->shared->db->shared.apart, 1, memory_order_acq_rel);
        return false;
    }
    atomic_fetch_sub_explicit(&p->shared->shared.servers, 1, memory_order_acq_rel);
    place_is_free(p);
    return true;
}

bool pool_take_in(struct pool *p)
{
    if (!take_place(&p->shared->shared.servers, pool_limit(p)))
        return false;
    give_back_apart(p);
    return true;
}

bool pool_has_room_beside_those_apart(const struct pool *p)
{
    return atomic_load_explicit(&p->shared->db->shared.apart, memory_order_relaxed) <
               database_limit(p) &&
           atomic_load_explicit(&p->shared->user->shared.apart, memory_order_relaxed) <
               user_limit(p);
}

/* ---- a server's beginning and end ------------------------------------------------------------ */

static void welcome_all(struct pool *p)
{
    int n = p->nwaiting[WAIT_PROFILE]; /* not those who come meanwhile */
    struct waiter *w;
    while (n-- > 0 && (w = pool_oldest(p, 1u << WAIT_PROFILE)) != NULL) {
        pool_leave_queue(w);
        w->granted(w, NULL);
    }
}

/* Another worker's server may have brought the settings that logins here wait for. */
static void adopt_profile(struct pool *p)
{
    const struct profile *pr = atomic_load_explicit(&p->shared->shared.profile,
                                                    memory_order_acquire);
    if (p->profile == NULL && pr != NULL)
        p->profile = varset_make(&p->worker->vars, pr->vars, pr->n);
    if (p->profile != NULL)
        welcome_all(p);
}

/* What one node's servers report is what the clients of the entry are welcomed with. */
static void note_profile(struct pool *p, const struct server *s)
{
    struct registry *r = p->worker->process->registry;
    registry_set_profile(r, p->shared, s->profile->vars, s->profile->n);
    if (p->home == NULL)
        return;
    p->home->ever_ready = true;
    registry_set_profile(r, p->home->shared, s->profile->vars, s->profile->n);
    adopt_profile(p->home);
}

void pool_server_ready(struct pool *p, struct server *s)
{
    p->ever_ready = true;
    p->measure.counts.logins++;
    p->backoff = 0;
    p->retry_at = 0;
    p->host_down_until[s->host_index] = 0;
    if (p->home != NULL && p->worker->wire->sv_split != NULL)
        p->worker->wire->sv_split(s->wire_state);
    note_profile(p, s);
    server_set_state(s, SV_IDLE);
    s->idle_since = p->worker->now;
    adopt_profile(p);
    catalog_wanted(p->home != NULL ? p->home : p);
    pool_dispatch(p);
    if (s->state == SV_IDLE) {
        pool_publish(p);
        if (pool_servers_wanted(p) == 0 && atomic_load(&p->shared->shared.waiting) > p->nwaiters) {
            server_set_state(s, SV_ACTIVE);
            pool_put(p, s);
        }
    }
}

void pool_forget(struct pool *p, struct server *s)
{
    if (s->shared_listener)
        give_back_apart(p);
    else
        atomic_fetch_sub_explicit(&p->shared->shared.servers, 1, memory_order_acq_rel);
    atomic_fetch_sub_explicit(&p->shared->db->shared.servers, 1, memory_order_acq_rel);
    atomic_fetch_sub_explicit(&p->shared->user->shared.servers, 1, memory_order_acq_rel);
    place_is_free(p);
}

/* ---- finding --------------------------------------------------------------------------------- */

static void configure(struct pool *p)
{
    p->mode = config_pool_mode(worker_config(p->worker), p->db, user_of(p));
    if (p->replication[0] != '\0')
        p->mode = CONFIG_POOL_SESSION;
    for (int i = 0; i < CONFIG_TIMEOUTS; i++)
        p->limits[i] = config_timeout(worker_config(p->worker), (enum config_timeout)i, p->db,
                                      user_of(p));
    pool_share_configure(p);
}

static void on_scheduled(struct timeout *t)
{
    struct pool *p = container_of(t, struct pool, scheduled);
    if (p->cluster != NULL) {
        pool_send_away(p, false);
        return;
    }
    if (p->home != NULL)
        adopt_profile(p->home);
    adopt_profile(p);
    pool_dispatch(p);
    if (p->share.wants_more)
        pool_open_one(p);
    p->share.wants_more = false;
}

/* Opening may fail at once and fail the waiters, which pool_take must not do from inside; so it
 * happens at the end of this turn of timers. */
void pool_schedule(struct pool *p)
{
    if (!timeout_running(&p->scheduled))
        worker_timeout(p->worker, &p->scheduled, 1);
}

struct pool *pool_make(struct worker *w, const struct config_database *db, struct pool_shared *sh,
                       struct str key)
{
    struct pool *p = mem_new(sizeof(*p));
    p->worker = w;
    p->db = p->entry = db;
    p->node = TOPOLOGY_NONE;
    p->shared = sh;
    p->key = mem_copy(key.p, key.n);
    p->key_len = key.n;
    list_init(&p->idle);
    list_init(&p->active);
    list_init(&p->connecting);
    list_init(&p->sharing);
    for (int i = 0; i < WAITER_KINDS; i++)
        list_init(&p->waiting[i]);
    list_init(&p->clients);
    list_init(&p->giving);
    list_init(&p->link);
    list_push_back(&w->pool_list, &p->link);
    p->serial = ++w->pools_made;
    map_init(&p->accepted);
    measure_init(&p->measure, worker_options(w)->http_listen[0] != '\0');
    timeout_init(&p->scheduled, on_scheduled);
    map_put(&w->pools, key, p);
    configure(p);
    return p;
}

struct pool *pool_for(struct worker *w, const struct config_database *db, struct str name,
                      struct str user)
{
    char key[512];
    struct str server_user = db->user != NULL ? str_of(db->user) : user;
    if (name.n + server_user.n + 2 > sizeof(key))
        return NULL;
    memcpy(key, name.p, name.n);
    key[name.n] = '\0';
    memcpy(key + name.n + 1, server_user.p, server_user.n);
    struct str k = {key, name.n + 1 + server_user.n};
    struct pool *p = map_get(&w->pools, k);
    if (p != NULL)
        return p;
    struct pool_shared *sh = registry_pool(w->process->registry, name, server_user, k);
    p = pool_make(w, db, sh, k);
    pool_cluster_configure(p);
    adopt_profile(p);
    p->catalog = registry_catalog(w->process->registry, sh->db);
    session_cache_bind(p);
    return p;
}

struct pool *pool_private(struct worker *w, const struct config_database *db, struct str name,
                          struct str user, uint64_t id)
{
    char key[64];
    struct buf b;
    buf_init(&b, sizeof(key));
    buf_printf(&b, "replication %llu", (unsigned long long)id);
    /* One entry in the registry for all of a user's: it stays there for good. */
    struct str as = db->user != NULL ? str_of(db->user) : user;
    struct buf all;
    buf_init(&all, 1024);
    buf_printf(&all, "replication " STR_FMT "/" STR_FMT, STR_ARG(name), STR_ARG(as));
    struct pool_shared *sh = registry_pool(w->process->registry, name, as, buf_str(&all));
    buf_fini(&all);
    struct pool *p = pool_make(w, db, sh, buf_str(&b));
    buf_fini(&b);
    return p;
}

void pool_reconfigure(struct pool *p, const struct config_database *db)
{
    p->db = p->entry = db;
    pool_renew_place(p);
    configure(p);
    p->retry_at = 0;
    memset(p->host_down_until, 0, sizeof(p->host_down_until));
    session_cache_bind(p);
}

static void leave_counts(struct pool *p)
{
    struct measured m;
    measure_read(&p->measure, &m, NULL);
    registry_leave(p->worker->process->registry, p->shared, &p->stats, &m);
    measure_fini(&p->measure);
    if (p->routed != NULL)
        p->routed->transactions += p->stats.xacts;
}

void pool_free(struct pool *p)
{
    struct worker *w = p->worker;
    CHECK(p->nidle + p->nactive + p->nconnecting + p->nsharing == 0);
    leave_counts(p);
    catalog_abandon(p);
    listen_free(p);
    pool_cluster_free(p);
    for (struct waiter *x; (x = pool_oldest(p, WAIT_ANY)) != NULL;)
        pool_leave_queue(x);
    pool_share_free(p);
    timeout_stop(&p->scheduled);
    map_remove(&w->pools, (struct str){p->key, p->key_len});
    list_remove(&p->link);
    list_remove(&p->giving);
    map_fini(&p->accepted);
    varset_put(&p->profile);
    varset_put(&p->direct_vars);
    catalog_put(&p->catalog);
    scram_client_cache_wipe(&p->scram_cache);
    topology_live_put(&p->live);
    mem_free(p->place);
    mem_free(p->key);
    mem_free(p);
}
