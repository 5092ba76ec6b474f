/* main.c - flags, signals, and the order of start and stop.
 *
 * The main thread accepts connections and hands each to the worker with the fewest clients; it runs
 * signals, the console's commands, reload and statistics.  It owns the only mutable globals'
 * substitute, struct program, and everything in it.
 * Signals: HUP reload and reopen the log; TERM wait for clients, or with shutdown_timeout let their
 * transactions finish for so long, again: exit now; INT wait for servers, again: exit now; QUIT
 * exit now; USR1 PAUSE; USR2 RESUME.
 */
#include "base/check.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "proxy/admin/admin.h"
#include "proxy/cluster/cluster.h"
#include "proxy/ctl/ctl.h"
#include "proxy/drain.h"
#include "proxy/http/http.h"
#include "proxy/inherit.h"
#include "proxy/net/listener.h"
#include "proxy/notify.h"
#include "proxy/options.h"
#include "proxy/pool/registry.h"
#include "proxy/predecessor.h"
#include "proxy/process.h"
#include "proxy/session_cache.h"
#include "proxy/upgrade.h"
#include "proxy/watchdog.h"
#include "proxy/worker.h"

#include <ev.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIGNALS 6
#define AFTER_UPGRADE_US                                                                           \
    (30 * (usec_t)USEC_PER_SEC) /* for transactions, without a shutdown_timeout */
#define LOG_FLUSH_S 1.          /* how late it is said that lines were left out */
#define RESOLVER_THREADS 2
#define IDS_APART 1024 /* between the clients of a process and those of its successor */

struct program {
    struct process process; /* first: the mailbox's context */
    struct ev_loop *loop;
    struct mailbox mailbox;
    struct listener *listener;
    struct runtime *runtime;
    const struct options *cli;
    struct tls_ticket_keys *tickets;
    ev_signal signals[SIGNALS];
    ev_timer stats, flush;
    struct drain drain;
    struct inherit inherit;
    struct notify notify;
    struct watchdog watchdog;
    char file[PATH_MAX]; /* of the program */
    int pidfile;         /* locked; -1: none */
    bool in_charge;      /* the pid file and the Unix socket's file are this process's */
    bool now;            /* stop without waiting */
};

/* ---- reload ---------------------------------------------------------------------------------- */

static enum status configure_log(const struct config_options *o, const struct options *cli,
                                 struct error *err)
{
    int level = LL_LOG + o->verbose + cli->verbose;
    struct log_config lc = {.file = o->logfile,
                            .to_stderr = o->logfile[0] == '\0' && !o->syslog && !cli->quiet,
                            .to_syslog = o->syslog,
                            .ident = o->syslog_ident,
                            .facility = o->syslog_facility,
                            .level = (enum log_level)MIN(level, (int)LL_NOISE),
                            .format = o->log_format};
    return log_configure(&lc, err);
}

static enum status publish(struct program *g, struct config *cfg, struct error *err)
{
    struct runtime *rt = NULL;
    enum status st = runtime_new(cfg, g->tickets, &rt, err);
    if (st == ST_OK)
        st = configure_log(&cfg->opt, g->cli, err);
    if (st != ST_OK) {
        runtime_put(&rt);
        return st;
    }
    resolver_set_ttl(g->process.resolver, cfg->opt.dns_max_ttl, cfg->opt.dns_nxdomain_ttl);
    session_cache_retire(&g->process, g->runtime->config->cache, cfg->cache);
    atomic_store_explicit(&g->process.shared.newest, rt, memory_order_release);
    if (g->listener != NULL)
        listener_set_tcp(g->listener, worker_tcp(&cfg->opt), cfg->opt.tcp_defer_accept);
    http_publish(g->process.http, cfg);
    for (unsigned i = 0; i < g->process.nworkers; i++)
        worker_post_runtime(g->process.workers[i], runtime_get(rt));
    runtime_put(&g->runtime);
    g->runtime = rt;
    return ST_OK;
}

static enum status reload(struct process *p, struct error *err)
{
    struct program *g = container_of(p, struct program, process);
    struct config *cfg = NULL;
    notify_reloading(&g->notify);
    log_reopen();
    predecessor_reopen_log(p->predecessor);
    enum status st = config_load_reload(g->runtime->config, NULL, &cfg, err);
    if (st == ST_OK)
        st = publish(g, cfg, err);
    if (st != ST_OK)
        log_line(LL_ERROR, "reload failed, the old configuration stays: %s", err->text);
    else
        log_line(LL_LOG, "configuration reloaded");
    notify_send(&g->notify, "READY=1\nSTATUS=%s%s",
                st == ST_OK ? "serving" : "serving; the last reload failed: ",
                st == ST_OK ? "" : err->text);
    return st;
}

static enum status set_option(struct process *p, struct str key, struct str value,
                              struct error *err)
{
    struct program *g = container_of(p, struct program, process);
    struct config *cfg = NULL;
    enum status st = config_set(g->runtime->config, key, value, &cfg, err);
    return st == ST_OK ? publish(g, cfg, err) : st;
}

static const struct config *current(struct process *p)
{
    return container_of(p, struct program, process)->runtime->config;
}

/* SUSPEND leaves new clients in the kernel's queue. */
static void set_accepting(struct process *p, bool on)
{
    struct program *g = container_of(p, struct program, process);
    if (on)
        listener_resume(g->listener);
    else
        listener_pause(g->listener);
}

/* ---- stopping -------------------------------------------------------------------------------- */

static void shut_down(struct process *p, enum process_phase phase, bool now)
{
    struct program *g = container_of(p, struct program, process);
    if (now || phase == PHASE_STOP) {
        g->now = true;
        atomic_store(&p->shared.phase, PHASE_STOP);
        ev_break(g->loop, EVBREAK_ALL);
        return;
    }
    upgrade_stop(p->upgrade);
    if (process_phase(p) == PHASE_HANDED_OVER)
        drain_limit(&g->drain, 0); /* upgrade_timeout does not count any more */
    if (atomic_load(&p->shared.phase) < (int)phase)
        atomic_store(&p->shared.phase, (int)phase);
    listener_close(g->listener, LISTENER_TCP); /* the Unix socket stays for the console */
    drain_start(&g->drain);
    notify_send(&g->notify, "STOPPING=1\nSTATUS=draining, %d clients are connected",
                atomic_load(&p->shared.clients));
}

static void on_left(void *arg)
{
    shut_down(&((struct program *)arg)->process, PHASE_STOP, true);
}

/* Who is not in a transaction is sent away at once, the others at its end or when the time is over.
 */
static void drain_transactions(struct program *g, usec_t limit)
{
    shut_down(&g->process, PHASE_DRAIN_TRANSACTIONS, false);
    drain_limit(&g->drain, limit);
}

static void on_late(void *arg)
{
    struct program *g = arg;
    int clients = atomic_load(&g->process.shared.clients);
    if (process_phase(&g->process) != PHASE_HANDED_OVER) {
        log_line(LL_WARNING, "shutdown_timeout is over, %d clients are closed", clients);
        shut_down(&g->process, PHASE_STOP, true);
        return;
    }
    log_line(LL_WARNING, "upgrade_timeout is over, %d clients are sent to the new process",
             clients);
    usec_t limit = g->runtime->config->opt.shutdown_timeout;
    drain_transactions(g, limit > 0 ? limit : AFTER_UPGRADE_US);
}

/* SIGTERM: as PgBouncer does, or within the time that the configuration gives. */
static void terminate(struct program *g)
{
    usec_t limit = g->runtime->config->opt.shutdown_timeout;
    if (process_phase(&g->process) >= PHASE_DRAIN_CLIENTS) {
        log_line(LL_LOG, "got SIGTERM again, ending now");
        shut_down(&g->process, PHASE_STOP, true);
        return;
    }
    if (limit == 0) {
        log_line(LL_LOG, "got SIGTERM, shutting down when all clients have left");
        shut_down(&g->process, PHASE_DRAIN_CLIENTS, false);
        return;
    }
    log_line(LL_LOG, "got SIGTERM, shutting down when all transactions have ended, or in %g s",
             (double)limit / USEC_PER_SEC);
    drain_transactions(g, limit);
}

/* ---- upgrade --------------------------------------------------------------------------------- */

/* Below ours if nobody has those numbers any more and there is room, else above. */
static uint32_t successor_ids(const struct process *p)
{
    uint32_t end = MAX(atomic_load(&p->shared.end_id), p->first_id);
    uint32_t used = end - p->first_id;
    if (!predecessor_lives(p->predecessor) && p->first_id >= MAX(2 * used, IDS_APART))
        return 0;
    return end + IDS_APART;
}

static enum status upgrade(struct process *p, struct error *err)
{
    struct program *g = container_of(p, struct program, process);
    int sockets[LISTENER_SOCKETS_MAX];
    if (process_phase(p) != PHASE_RUN)
        return error_set(err, ST_INVALID, "this process ends");
    if (admin_holds(p->admin))
        return error_set(err, ST_INVALID,
                         "something is paused or disabled, which a new process would not know");
    if (getpid() == 1)
        return error_set(err, ST_INVALID, "process 1 cannot be replaced, replace its container");
    struct upgrade_plan plan = {.program = g->file,
                                .argv = g->cli->argv,
                                .sockets = sockets,
                                .nsockets = listener_fds(g->listener, sockets),
                                .activated = g->inherit.activated,
                                .pidfile = g->pidfile,
                                .first_id = successor_ids(p)};
    enum status st = upgrade_start(p->upgrade, &plan, err);
    if (st == ST_OK)
        log_line(LL_LOG, "upgrade: a new process of %s is started", g->file);
    return st;
}

static void upgrade_by_signal(struct program *g)
{
    struct error err;
    if (upgrade(&g->process, &err) != ST_OK)
        log_line(LL_ERROR, "%s has been replaced, but: %s", g->file, err.text);
}

/* The file that we were started from is another one now. */
static bool is_replaced(const struct program *g)
{
    struct stat ours, there;
    return stat("/proc/self/exe", &ours) == 0 && stat(g->file, &there) == 0 &&
           (ours.st_dev != there.st_dev || ours.st_ino != there.st_ino);
}

static void hand_over(struct program *g, int pid)
{
    log_line(LL_LOG, "process %d has taken over, this one ends when its clients have left", pid);
    atomic_store(&g->process.shared.phase, PHASE_HANDED_OVER);
    g->in_charge = false;
    listener_leave(g->listener);
    http_stop(g->process.http);
    watchdog_stop(&g->watchdog);
    notify_send(&g->notify, "MAINPID=%d\nREADY=1\nSTATUS=serving", pid);
    notify_fini(&g->notify); /* from now on the manager listens to the other one */
    drain_start(&g->drain);
    drain_limit(&g->drain, g->runtime->config->opt.upgrade_timeout);
}

static void on_upgraded(void *arg, int pid, const char *why)
{
    struct program *g = arg;
    if (why == NULL) {
        hand_over(g, pid);
    } else {
        log_line(LL_ERROR, "the upgrade failed and this process goes on: %s", why);
        notify_send(&g->notify, "STATUS=serving; the last upgrade failed: %s", why);
    }
    admin_upgraded(g->process.admin, why);
}

static void on_reopen_log(void *arg)
{
    (void)arg;
    log_reopen();
}

/* Our turn, after everything has started. An heir is in charge once it has said so: the other one
 * has closed its listeners by then, so nothing that goes wrong behind that may end this one. */
static enum status take_charge(struct program *g, struct error *err)
{
    if (g->inherit.heir && !predecessor_take_over(g->process.predecessor))
        return error_set(err, ST_IO, "the process that started this one has ended");
    g->in_charge = true;
    if (g->inherit.heir) { /* who was in charge has told the service manager */
        if (options_write_pid(&g->runtime->config->opt, g->pidfile, err) != ST_OK)
            log_line(LL_ERROR, "the pid file still names the process before this one: %s",
                     err->text);
        return ST_OK;
    }
    notify_send(&g->notify, "READY=1\nMAINPID=%d\nSTATUS=serving", (int)getpid());
    return ST_OK;
}

static void find_file(struct program *g)
{
    ssize_t n = readlink("/proc/self/exe", g->file, sizeof(g->file) - 1);
    g->file[MAX(n, 0)] = '\0';
}

/* ---- signals --------------------------------------------------------------------------------- */

static void on_signal(struct ev_loop *loop, ev_signal *s, int revents)
{
    (void)revents;
    struct program *g = s->data;
    struct error err;
    enum process_phase phase = process_phase(&g->process);
    (void)loop;
    switch (s->signum) {
    case SIGHUP:
        if (reload(&g->process, &err) == ST_OK && phase == PHASE_RUN && is_replaced(g))
            upgrade_by_signal(g);
        break;
    case SIGTERM:
        terminate(g);
        break;
    case SIGINT:
        log_line(LL_LOG, "got SIGINT, shutting down when no server is in use");
        shut_down(&g->process, PHASE_DRAIN_SERVERS, phase >= PHASE_DRAIN_CLIENTS);
        break;
    case SIGQUIT:
        shut_down(&g->process, PHASE_STOP, true);
        break;
    case SIGUSR1:
        admin_pause_all(g->process.admin);
        break;
    case SIGUSR2:
        if (phase != PHASE_RUN)
            log_line(LL_LOG, "got SIGUSR2 while shutting down, ignoring");
        else
            admin_resume_all(g->process.admin);
        break;
    }
}

/* ---- accepting ------------------------------------------------------------------------------- */

static void on_accept(void *arg, int fd, const struct sockaddr_storage *peer, int unix_pid)
{
    struct program *g = arg;
    struct worker *best = g->process.workers[0];
    int fewest = INT32_MAX;
    (void)unix_pid;
    for (unsigned i = 0; i < g->process.nworkers; i++) {
        struct worker *w = g->process.workers[i];
        int n = atomic_load_explicit(&w->shared.clients, memory_order_relaxed);
        if (n < fewest) {
            fewest = n;
            best = w;
        }
    }
    worker_post_socket(best, fd, peer, peer->ss_family == AF_UNIX);
}

static enum status listen_all(struct program *g, struct error *err)
{
    const struct config_options *o = &g->runtime->config->opt;
    struct listener_config lc = {
        .addrs = o->listen_addr,
        .unix_dir = o->unix_socket_dir,
        .unix_group = o->unix_socket_group,
        .unix_mode = o->unix_socket_mode,
        .port = (uint16_t)o->listen_port,
        .backlog = o->listen_backlog,
        .defer_accept_s = o->tcp_defer_accept,
        .reuseport = o->so_reuseport,
        .tcp = worker_tcp(o),
        .given = {g->inherit.sockets, g->inherit.nsockets, g->inherit.activated}};
    return listener_new(g->loop, &lc, (struct listener_handler){on_accept, g}, &g->listener, err);
}

/* ---- start and stop -------------------------------------------------------------------------- */

static void on_stats(struct ev_loop *loop, ev_timer *t, int revents)
{
    (void)loop;
    (void)revents;
    admin_tick(container_of(t, struct program, stats)->process.admin);
}

static void on_flush(struct ev_loop *loop, ev_timer *t, int revents)
{
    (void)loop;
    (void)t;
    (void)revents;
    log_flush_sites();
}

static void watch(struct program *g)
{
    static const int numbers[SIGNALS] = {SIGHUP, SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2};
    for (int i = 0; i < SIGNALS; i++) {
        ev_signal_init(&g->signals[i], on_signal, numbers[i]);
        g->signals[i].data = g;
        ev_signal_start(g->loop, &g->signals[i]);
    }
    double period = (double)g->runtime->config->opt.stats_period / USEC_PER_SEC;
    ev_timer_init(&g->stats, on_stats, period, period);
    ev_timer_start(g->loop, &g->stats);
    ev_timer_init(&g->flush, on_flush, LOG_FLUSH_S, LOG_FLUSH_S);
    ev_timer_start(g->loop, &g->flush);
    g->drain = (struct drain){
        .loop = g->loop, .process = &g->process, .left = on_left, .late = on_late, .arg = g};
    drain_init(&g->drain);
}

static enum status start(struct program *g, struct error *err)
{
    struct process *p = &g->process;
    const struct config_options *o = &g->runtime->config->opt;
    static const struct admin_ops ops = {reload,  set_option, shut_down,
                                         upgrade, current,    set_accepting};
    p->started_wall = clock_wall_us();
    p->salt = random_u64();
    p->resolver = resolver_new(RESOLVER_THREADS);
    resolver_set_ttl(p->resolver, o->dns_max_ttl, o->dns_nxdomain_ttl);
    p->registry = registry_new();
    p->clusters = cluster_set_new();
    p->answers = cache_l1_new((size_t)g->runtime->config->cache->opt.memory);
    p->main_box = &g->mailbox;
    mailbox_init(&g->mailbox, g->loop, p);
    p->admin = admin_new(p, &ops);
    p->nworkers = process_worker_count(o);
    p->first_id = (g->inherit.first_id + p->nworkers - 1) / p->nworkers * p->nworkers;
    p->upgrade = upgrade_new(
        g->loop, p,
        (struct upgrade_handler){.done = on_upgraded, .reopen_log = on_reopen_log, .arg = g});
    if (g->inherit.heir) {
        p->predecessor = predecessor_new(g->loop, p, g->inherit.channel);
        g->inherit.channel = -1;
    }
    p->workers = mem_new(p->nworkers * sizeof(struct worker *));
    atomic_store(&p->shared.next_id, 1);
    process_raise_fd_limit(o);
    enum status st = listen_all(g, err);
    if (st != ST_OK)
        return st;
    for (unsigned i = 0; i < p->nworkers; i++)
        p->workers[i] = worker_new(p, i, g->runtime);
    for (unsigned i = 0; i < p->nworkers && st == ST_OK; i++)
        st = worker_start(p->workers[i], err);
    if (st == ST_OK)
        st = http_start(p, g->runtime->config, g->inherit.heir, &p->http, err);
    if (st == ST_OK)
        watchdog_start(&g->watchdog, g->loop, p, &g->notify);
    return st;
}

static void stop(struct program *g)
{
    struct process *p = &g->process;
    watchdog_stop(&g->watchdog);
    upgrade_free(&p->upgrade);
    predecessor_free(&p->predecessor);
    http_stop(p->http);
    if (g->listener != NULL && !g->in_charge)
        listener_leave(g->listener);
    if (g->listener != NULL)
        listener_free(&g->listener);
    for (unsigned i = 0; i < p->nworkers && p->workers[i] != NULL; i++)
        worker_join(p->workers[i]);
    resolver_free(&p->resolver);
    for (unsigned i = 0; i < p->nworkers && p->workers[i] != NULL; i++)
        worker_free(&p->workers[i]);
    mailbox_close(&g->mailbox);
    http_free(&p->http);
    admin_free(&p->admin);
    mailbox_fini(&g->mailbox);
    mem_free(p->workers);
    cache_l1_free(&p->answers);
    registry_free(&p->registry);
    cluster_set_free(&p->clusters);
}

static enum status load(const struct options *o, struct config **cfg, struct error *err)
{
    if (o->url != NULL)
        return config_from_url(&pg_wire, o->url, cfg, err);
    return config_load(&pg_wire, o->file, cfg, err);
}

static int run(const struct options *o, struct config *cfg)
{
    struct program *g = mem_new(sizeof(*g));
    struct error err = {""};
    g->pidfile = -1;
    g->cli = o;
    find_file(g);
    g->process.wire = &pg_wire;
    g->tickets = tls_ticket_keys_new();
    enum status given = inherit_read(&g->inherit, &err);
    notify_init(&g->notify, g->inherit.heir);
    g->loop = ev_default_loop(EVFLAG_NOENV);
    enum status st = runtime_new(cfg, g->tickets, &g->runtime, given == ST_OK ? &err : NULL);
    atomic_store_explicit(&g->process.shared.newest, g->runtime, memory_order_release);
    if (st == ST_OK)
        st = given;
    if (st == ST_OK)
        st = configure_log(&cfg->opt, o, &err);
    if (st == ST_OK)
        st = options_become(o, &cfg->opt, &g->inherit, &g->pidfile, &err);
    g->in_charge = !g->inherit.heir;
    if (st == ST_OK && g->in_charge)
        st = options_write_pid(&cfg->opt, g->pidfile, &err);
    if (st == ST_OK) {
        watch(g); /* first: whoever can connect must also be able to signal */
        st = start(g, &err);
        if (st == ST_OK)
            st = take_charge(g, &err);
        if (st == ST_OK) {
            log_line(LL_LOG, "process up: penstock %s, %u workers", PENSTOCK_VERSION,
                     g->process.nworkers);
            ev_run(g->loop, 0);
        } else {
            log_line(LL_FATAL, "%s", err.text);
        }
        stop(g);
    } else {
        fprintf(stderr, "penstock: %s\n", err.text);
    }
    if (g->runtime != NULL && g->in_charge)
        options_remove_pidfile(&g->runtime->config->opt, g->pidfile);
    else if (g->pidfile >= 0)
        close(g->pidfile);
    runtime_put(&g->runtime);
    tls_ticket_keys_free(&g->tickets);
    inherit_fini(&g->inherit);
    notify_fini(&g->notify);
    ev_loop_destroy(g->loop);
    mem_free(g);
    return st == ST_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct options o;
    struct error err = {""};
    int rc = 0;
    if (ctl_run(argc - 1, argv + 1, &rc))
        return rc;
    rc = options_parse(argc, argv, &o);
    if (rc >= 0)
        return rc;
    signal(SIGPIPE, SIG_IGN);
    hash_seed_init();
    struct config *cfg = NULL;
    if (load(&o, &cfg, &err) != ST_OK) {
        fprintf(stderr, "penstock: cannot load config: %s\n", err.text);
        return 1;
    }
    if (o.upgrade) {
        rc = options_upgrade(&cfg->opt);
        config_put(&cfg);
        return rc;
    }
    if (o.check)
        return options_check(&o, cfg);
    return run(&o, cfg);
}
