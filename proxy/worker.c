/* worker.c - a thread with one loop and the turn that ends with writing; see worker.h. */
#include "proxy/worker.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/client.h"
#include "proxy/client_login.h"
#include "proxy/cluster/cluster_watch.h"
#include "proxy/cluster/route_counts.h"
#include "proxy/memory.h"
#include "proxy/net/sockopt.h"
#include "proxy/peer.h"
#include "proxy/pool/pool.h"
#include "proxy/server.h"
#include "proxy/session_cache.h"
#include "proxy/session_kept.h"

#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#define HOUSEKEEPING_US 333000
/* what the statement parser's nesting cap needs, with room */
#define WORKER_STACK (16u * 1024 * 1024)
#define NO_SLOT UINT32_MAX

/* ---- the turn -------------------------------------------------------------------------------- */

static void flush_list(struct list *dirty)
{
    struct list *l;
    while ((l = list_pop_front(dirty)) != NULL)
        conn_flush(container_of(l, struct conn, dirty));
}

static void turn_end(struct worker *w)
{
    do {
        pools_give(w);
        flush_list(&w->dirty[0]);
        flush_list(&w->dirty[1]);
    } while (!list_empty(&w->dirty[0]) || !list_empty(&w->dirty[1]) || !list_empty(&w->giving));
    memory_turn(w);
    struct list *l;
    while ((l = list_pop_front(&w->closed)) != NULL) {
        struct mortal *m = container_of(l, struct mortal, link);
        m->free(m);
    }
}

static void arm_timer(struct worker *w)
{
    usec_t next = timeouts_next(&w->timeouts);
    if (next == INT64_MAX) {
        ev_timer_stop(w->loop, &w->timer);
        return;
    }
    /* A timer that fires too early re-arms itself, so it is only moved when it would fire too late;
     * else each request that starts a timeout would cost heap operations. */
    double after = (double)MAX(next - w->now, 0) / USEC_PER_SEC;
    if (ev_is_active(&w->timer) && ev_timer_remaining(w->loop, &w->timer) <= after)
        return;
    ev_timer_stop(w->loop, &w->timer);
    ev_timer_set(&w->timer, after, 0.);
    ev_timer_start(w->loop, &w->timer);
}

static void on_prepare(struct ev_loop *loop, ev_prepare *p, int revents)
{
    (void)loop;
    (void)revents;
    struct worker *w = container_of(p, struct worker, prepare);
    turn_end(w);
    arm_timer(w);
}

static void on_check(struct ev_loop *loop, ev_check *c, int revents)
{
    (void)loop;
    (void)revents;
    container_of(c, struct worker, check)->now = clock_mono_us();
}

static void on_timer(struct ev_loop *loop, ev_timer *t, int revents)
{
    (void)loop;
    (void)revents;
    struct worker *w = container_of(t, struct worker, timer);
    w->now = clock_mono_us();
    timeouts_run(&w->timeouts, w->now);
}

static void on_housekeeping(struct timeout *t)
{
    struct worker *w = container_of(t, struct worker, housekeeping);
    memory_housekeeping(w);
    pools_housekeeping(w);
    clients_housekeeping(w);
    worker_timeout(w, &w->housekeeping, HOUSEKEEPING_US);
}

void worker_timeout(struct worker *w, struct timeout *t, usec_t length)
{
    timeout_start(&w->timeouts, t, w->now, length);
}

void worker_bury(struct worker *w, struct mortal *m)
{
    list_init(&m->link);
    list_push_back(&w->closed, &m->link);
}

const struct config *worker_config(const struct worker *w)
{
    return w->runtime->config;
}

const struct config_options *worker_options(const struct worker *w)
{
    return &w->runtime->config->opt;
}

struct sockopt_tcp worker_tcp(const struct config_options *o)
{
    return (struct sockopt_tcp){.keepalive = o->tcp_keepalive,
                                .keepcnt = o->tcp_keepcnt,
                                .keepidle_s = o->tcp_keepidle,
                                .keepintvl_s = o->tcp_keepintvl,
                                .user_timeout_ms = o->tcp_user_timeout,
                                .buffer = o->tcp_socket_buffer};
}

void worker_tune_server(struct worker *w, int fd)
{
    const struct sockopt_tcp t = worker_tcp(worker_options(w));
    struct error err;
    if (sockopt_tune(fd, &t, &err) != ST_OK)
        LOG_LIMITED(LL_WARNING, "socket options: %s", err.text);
}

/* ---- input buffers --------------------------------------------------------------------------- */

static const uint32_t in_class[WORKER_IN_CLASSES] = {512, 8192, CONN_IN_MAX + CONN_UNREAD_MAX};

uint8_t *worker_in_alloc(struct worker *w, uint32_t *cap)
{
    for (int i = 0; i < WORKER_IN_CLASSES; i++) {
        if (*cap > in_class[i])
            continue;
        *cap = in_class[i];
        void *p = w->in_free[i];
        if (p != NULL)
            memcpy(&w->in_free[i], p, sizeof(void *));
        else
            p = mem_try(in_class[i]);
        w->memory.in_bytes += p != NULL ? in_class[i] : 0;
        return p;
    }
    return NULL;
}

void worker_in_free(struct worker *w, uint8_t *p, uint32_t cap)
{
    for (int i = 0; i < WORKER_IN_CLASSES; i++) {
        if (cap != in_class[i])
            continue;
        memcpy(p, &w->in_free[i], sizeof(w->in_free[i]));
        w->in_free[i] = p;
        w->memory.in_bytes -= in_class[i];
        return;
    }
    UNREACHABLE();
}

/* ---- client slots ---------------------------------------------------------------------------- */

uint32_t worker_slot_take(struct worker *w, struct client *c)
{
    if (w->free_slot == NO_SLOT) {
        uint32_t n = MAX(w->nslots * 2, 64u);
        w->slots = mem_resize(w->slots, n * sizeof(*w->slots));
        for (uint32_t i = n; i-- > w->nslots;) {
            w->slots[i] = (struct client_slot){NULL, w->free_slot};
            w->free_slot = i;
        }
        w->nslots = n;
    }
    uint32_t i = w->free_slot;
    w->free_slot = w->slots[i].next_free;
    w->slots[i].client = c;
    struct process *p = w->process;
    uint32_t id = p->first_id + i * p->nworkers + w->index;
    uint32_t end = atomic_load_explicit(&p->shared.end_id, memory_order_relaxed);
    while (id >= end &&
           !atomic_compare_exchange_weak_explicit(&p->shared.end_id, &end, id + 1,
                                                  memory_order_relaxed, memory_order_relaxed))
        continue;
    return id;
}

void worker_slot_drop(struct worker *w, uint32_t id)
{
    uint32_t i = (id - w->process->first_id) / w->process->nworkers;
    w->slots[i] = (struct client_slot){NULL, w->free_slot};
    w->free_slot = i;
}

struct client *worker_slot_find(const struct worker *w, uint32_t id)
{
    uint32_t first = w->process->first_id;
    uint32_t i = (id - first) / w->process->nworkers;
    return id >= first && i < w->nslots ? w->slots[i].client : NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void configure_noting(struct worker *w)
{
    const struct config_options *o = worker_options(w);
    statements_configure(w->statements, o->track_statements, (size_t)o->track_statements_memory);
    bool logs = o->log_min_duration > 0 && o->log_min_duration_sample > 0;
    w->noting.on = o->track_statements || logs;
    w->noting.said = logs && o->log_parameters;
    w->noting.slow_us = logs ? o->log_min_duration : INT64_MAX;
    w->noting.percent = o->log_min_duration_sample;
}

struct worker *worker_new(struct process *p, unsigned index, struct runtime *rt)
{
    struct worker *w = mem_new(sizeof(*w));
    w->index = index;
    w->process = p;
    w->wire = p->wire;
    w->runtime = runtime_get(rt);
    w->loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    CHECK(w->loop != NULL);
    w->scratch = mem_new(CONN_SCRATCH);
    outq_pool_init(&w->blocks);
    list_init(&w->dirty[0]);
    list_init(&w->dirty[1]);
    list_init(&w->closed);
    list_init(&w->clients);
    list_init(&w->servers);
    list_init(&w->cancels);
    list_init(&w->peers);
    list_init(&w->pool_list);
    list_init(&w->giving);
    list_init(&w->watches);
    list_init(&w->routes);
    map_init(&w->pools);
    map_init(&w->verifiers);
    timeouts_init(&w->timeouts);
    varset_table_init(&w->vars, w->wire);
    stmt_registry_init(&w->stmts, index, p->salt);
    w->sql = sql_cache_new((size_t)rt->config->opt.sql_cache_memory);
    w->statements = statements_new();
    configure_noting(w);
    w->free_slot = NO_SLOT;
    w->now = clock_mono_us();
    ev_prepare_init(&w->prepare, on_prepare);
    ev_check_init(&w->check, on_check);
    ev_set_priority(&w->check, EV_MAXPRI);
    ev_timer_init(&w->timer, on_timer, 0., 0.);
    ev_prepare_start(w->loop, &w->prepare);
    ev_check_start(w->loop, &w->check);
    mailbox_init(&w->mailbox, w->loop, w);
    timeout_init(&w->housekeeping, on_housekeeping);
    worker_timeout(w, &w->housekeeping, HOUSEKEEPING_US);
    w->cache = session_cache_new(w);
    session_cache_adopt(w);
    return w;
}

static void *run(void *arg)
{
    struct worker *w = arg;
    cluster_watch_configure(w);
    ev_run(w->loop, 0);
    turn_end(w);
    return NULL;
}

enum status worker_start(struct worker *w, struct error *err)
{
    /* Signals belong to the main thread. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, WORKER_STACK);
    int rc = pthread_create(&w->thread, &attr, run, w);
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc == 0 ? ST_OK : error_set(err, ST_IO, "cannot start a worker thread (%d)", rc);
}

static void stop(struct worker *w, void *arg)
{
    (void)arg;
    cluster_watch_stop(w);
    clients_close_all(w);
    pools_close_all(w);
    turn_end(w);
    ev_break(w->loop, EVBREAK_ALL);
}

void worker_join(struct worker *w)
{
    worker_post_call(w, stop, NULL);
    pthread_join(w->thread, NULL);
}

void worker_free(struct worker **wp)
{
    struct worker *w = *wp;
    *wp = NULL;
    cluster_watch_stop(w);
    mailbox_close(&w->mailbox); /* what others posted meanwhile: sockets and servers get closed */
    clients_close_all(w);
    pools_close_all(w);
    turn_end(w);
    mailbox_fini(&w->mailbox);
    cluster_watch_free(w);
    pools_free(w);
    route_counts_free_all(w);
    peers_free(w);
    session_cache_free(&w->cache);
    map_fini(&w->pools);
    login_forget_verifiers(w);
    map_fini(&w->verifiers);
    timeouts_fini(&w->timeouts);
    session_kept_free(w);
    stmt_registry_fini(&w->stmts);
    sql_cache_free(&w->sql);
    statements_free(&w->statements);
    varset_table_fini(&w->vars);
    outq_pool_fini(&w->blocks);
    for (int i = 0; i < WORKER_IN_CLASSES; i++) {
        while (w->in_free[i] != NULL) {
            void *p = w->in_free[i];
            memcpy(&w->in_free[i], p, sizeof(void *));
            mem_free(p);
        }
    }
    mem_free(w->scratch);
    mem_free(w->slots);
    runtime_put(&w->runtime);
    ev_loop_destroy(w->loop);
    mem_free(w);
}

/* ---- messages -------------------------------------------------------------------------------- */

struct socket_message {
    struct message m;
    int fd;
    bool is_unix;
    struct sockaddr_storage peer;
};

static void on_socket(struct message *m, void *ctx)
{
    struct socket_message *s = container_of(m, struct socket_message, m);
    client_accept(ctx, s->fd, &s->peer, s->is_unix);
    mem_free(s);
}

void worker_post_socket(struct worker *w, int fd, const struct sockaddr_storage *peer, bool is_unix)
{
    struct socket_message *s = mem_new(sizeof(*s));
    s->m.deliver = on_socket;
    s->fd = fd;
    s->is_unix = is_unix;
    s->peer = *peer;
    atomic_fetch_add_explicit(&w->shared.clients, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&w->process->shared.login_clients, 1, memory_order_relaxed);
    if (!mailbox_post(&w->mailbox, &s->m)) {
        close(fd);
        mem_free(s);
    }
}

struct runtime_message {
    struct message m;
    struct runtime *rt;
};

static void on_runtime(struct message *m, void *ctx)
{
    struct runtime_message *r = container_of(m, struct runtime_message, m);
    struct worker *w = ctx;
    struct runtime *old = w->runtime;
    w->runtime = r->rt;
    mem_free(r);
    configure_noting(w);
    pools_reconfigure(w, old);
    clients_reconfigure(w);
    cluster_watch_configure(w);
    session_cache_adopt(w);
    runtime_put(&old);
}

void worker_post_runtime(struct worker *w, struct runtime *rt)
{
    struct runtime_message *r = mem_new(sizeof(*r));
    r->m.deliver = on_runtime;
    r->rt = rt;
    if (!mailbox_post(&w->mailbox, &r->m)) {
        runtime_put(&r->rt);
        mem_free(r);
    }
}

struct call_message {
    struct message m;
    void (*fn)(struct worker *w, void *arg);
    void *arg;
};

static void on_call(struct message *m, void *ctx)
{
    struct call_message *c = container_of(m, struct call_message, m);
    void (*fn)(struct worker * w, void *arg) = c->fn;
    void *arg = c->arg;
    mem_free(c);
    fn(ctx, arg);
}

void worker_post_call(struct worker *w, void (*fn)(struct worker *w, void *arg), void *arg)
{
    struct call_message *c = mem_new(sizeof(*c));
    c->m.deliver = on_call;
    c->fn = fn;
    c->arg = arg;
    if (!mailbox_post(&w->mailbox, &c->m))
        mem_free(c);
}
