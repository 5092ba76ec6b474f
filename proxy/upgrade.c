/* upgrade.c - starting a successor and serving it; see upgrade.h. */
#include "proxy/upgrade.h"

#include "base/log.h"
#include "base/mem.h"
#include "proxy/cancel.h"
#include "proxy/handover.h"
#include "proxy/inherit.h"
#include "proxy/session_cache.h"
#include "proxy/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY_WITHIN_S 60. /* reading a large configuration and resolving its names takes a while */
#define HIGH_FD 256        /* copies are made above the numbers that the successor gets */
#define PASSED_MAX (LISTENER_SOCKETS_MAX + 2)
#define VARIABLE_MAX 160

struct upgrade {
    struct ev_loop *loop;    /* borrowed */
    struct process *process; /* borrowed */
    struct upgrade_handler handler;
    ev_io io;
    ev_timer limit;
    ev_child child; /* holds its number */
    int fd;         /* to the successor, owned; -1: there is none */
    bool ready;     /* it serves, or did */
};

/* ---- starting -------------------------------------------------------------------------------- */

struct passing { /* descriptors for the child, in order: copies, owned */
    int fds[PASSED_MAX];
    int n;
};

static void close_all(struct passing *p)
{
    for (int i = 0; i < p->n; i++)
        close(p->fds[i]);
    p->n = 0;
}

static bool add(struct passing *p, int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, HIGH_FD);
    if (copy >= 0)
        p->fds[p->n++] = copy;
    return copy >= 0;
}

static bool add_all(struct passing *p, const struct upgrade_plan *plan, int channel)
{
    if (!add(p, channel) || (plan->pidfile >= 0 && !add(p, plan->pidfile)))
        return false;
    for (int i = 0; i < plan->nsockets; i++)
        if (!add(p, plan->sockets[i]))
            return false;
    return true;
}

static void describe(char *dst, size_t cap, const struct upgrade_plan *plan)
{
    snprintf(dst, cap, INHERIT_VARIABLE "=pidfile=%d sockets=%d activated=%d first_id=%u",
             plan->pidfile >= 0, plan->nsockets, plan->activated, plan->first_id);
}

/* Ours without what says which process it is meant for; the caller frees the array. */
static char **environment(char *variable)
{
    size_t n = 0, out = 0;
    while (environ[n] != NULL)
        n++;
    char **env = mem_new((n + 2) * sizeof(*env));
    for (size_t i = 0; i < n; i++)
        if (!str_starts(str_of(environ[i]), STR(INHERIT_VARIABLE "=")))
            env[out++] = environ[i];
    env[out] = variable;
    return env;
}

static int spawn(const struct upgrade_plan *plan, const struct passing *p, pid_t *pid)
{
    char variable[VARIABLE_MAX];
    posix_spawn_file_actions_t actions;
    describe(variable, sizeof(variable), plan);
    char **env = environment(variable);
    int rc = posix_spawn_file_actions_init(&actions);
    for (int i = 0; i < p->n && rc == 0; i++)
        rc = posix_spawn_file_actions_adddup2(&actions, p->fds[i], INHERIT_FIRST + i);
    if (rc == 0)
        rc = posix_spawn(pid, plan->program, &actions, NULL, plan->argv, env);
    posix_spawn_file_actions_destroy(&actions);
    mem_free(env);
    return rc;
}

static void watch(struct upgrade *u, int fd, pid_t pid)
{
    u->fd = fd;
    ev_child_set(&u->child, pid, 0);
    ev_child_start(u->loop, &u->child);
    ev_io_set(&u->io, fd, EV_READ);
    ev_io_start(u->loop, &u->io);
    ev_timer_stop(u->loop, &u->limit);
    ev_timer_set(&u->limit, READY_WITHIN_S, 0.);
    ev_timer_start(u->loop, &u->limit);
}

enum status upgrade_start(struct upgrade *u, const struct upgrade_plan *plan, struct error *err)
{
    struct passing p = {.n = 0};
    int ends[2];
    pid_t pid = 0;
    if (u->fd >= 0 || u->ready)
        return error_set(err, ST_INVALID, "process %d takes over already", u->child.pid);
    enum status st = handover_pair(ends, err);
    if (st != ST_OK)
        return st;
    atomic_store(&u->process->shared.upgrading, true);
    session_cache_step_aside(u->process);
    int rc = add_all(&p, plan, ends[1]) ? spawn(plan, &p, &pid) : errno;
    close_all(&p);
    close(ends[1]);
    if (rc != 0) {
        session_cache_step_back(u->process);
        atomic_store(&u->process->shared.upgrading, false);
        close(ends[0]);
        return error_set(err, ST_IO, "cannot start %s: %s", plan->program, strerrordesc_np(rc));
    }
    watch(u, ends[0], pid);
    return ST_OK;
}

/* ---- its life -------------------------------------------------------------------------------- */

static void forget(struct upgrade *u)
{
    ev_io_stop(u->loop, &u->io);
    ev_timer_stop(u->loop, &u->limit);
    close(u->fd);
    u->fd = -1;
}

static void failed(struct upgrade *u, const char *why)
{
    forget(u);
    session_cache_step_back(u->process);
    session_cache_forget(u->process); /* it may have passed on a write before it failed */
    atomic_store(&u->process->shared.upgrading, false);
    u->handler.done(u->handler.arg, 0, why);
}

static void on_child(struct ev_loop *loop, ev_child *w, int revents)
{
    (void)revents;
    struct upgrade *u = container_of(w, struct upgrade, child);
    char why[ERROR_TEXT_MAX];
    ev_child_stop(loop, w);
    if (u->ready) {
        /* whoever started us starts the next one; our clients are served to their end */
        log_line(LL_ERROR, "the successor, process %d, has ended", w->rpid);
        if (u->fd >= 0)
            forget(u);
        return;
    }
    if (WIFEXITED(w->rstatus))
        snprintf(why, sizeof(why), "process %d ended with status %d, the log says why", w->rpid,
                 WEXITSTATUS(w->rstatus));
    else
        snprintf(why, sizeof(why), "process %d was killed by signal %d", w->rpid,
                 WTERMSIG(w->rstatus));
    failed(u, why);
}

static void give_up(struct upgrade *u, const char *why)
{
    ev_child_stop(u->loop, &u->child);
    kill(u->child.pid, SIGKILL);
    failed(u, why);
}

static void on_limit(struct ev_loop *loop, ev_timer *t, int revents)
{
    (void)loop;
    (void)revents;
    struct upgrade *u = container_of(t, struct upgrade, limit);
    give_up(u, "the new process was not ready in time");
}

/* Nothing more will be said; that it ended is heard from on_child. */
static void hung_up(struct upgrade *u)
{
    if (u->ready)
        forget(u);
    else
        ev_io_stop(u->loop, &u->io);
}

struct passed_cancel { /* for the worker that looks for the client */
    struct wire_key key;
    uint32_t number;
};

static void look(struct worker *w, void *arg)
{
    struct passed_cancel *c = arg;
    cancel_passed(w, &c->key, c->number);
    mem_wipe(c, sizeof(*c));
    mem_free(c);
}

static void receive(struct upgrade *u, const struct handover_message *m)
{
    switch (m->kind) {
    case HANDOVER_READY:
        u->ready = true;
        ev_timer_stop(u->loop, &u->limit);
        u->handler.done(u->handler.arg, u->child.pid, NULL);
        break;
    case HANDOVER_CANCEL: {
        struct passed_cancel *c = mem_new(sizeof(*c));
        c->key = m->key;
        c->number = m->number;
        worker_post_call(u->process->workers[0], look, c);
        break;
    }
    case HANDOVER_REOPEN:
        u->handler.reopen_log(u->handler.arg);
        break;
    default:
        break;
    }
}

static void on_readable(struct ev_loop *loop, ev_io *io, int revents)
{
    (void)loop;
    (void)revents;
    struct upgrade *u = container_of(io, struct upgrade, io);
    struct handover_message m;
    enum status st = ST_OK;
    while (u->fd >= 0 && (st = handover_receive(u->fd, &m)) == ST_OK)
        receive(u, &m);
    mem_wipe(&m, sizeof(m));
    if (u->fd >= 0 && st == ST_IO)
        hung_up(u);
}

void upgrade_stop(struct upgrade *u)
{
    if (u->fd >= 0 && !u->ready)
        give_up(u, "this process was told to end");
}

/* ---- answers --------------------------------------------------------------------------------- */

struct answer {
    struct message m;
    uint32_t number;
};

static void deliver(struct message *m, void *ctx)
{
    struct answer *a = container_of(m, struct answer, m);
    const struct upgrade *u = ((struct process *)ctx)->upgrade;
    struct handover_message out = {.kind = HANDOVER_CANCELLED, .number = a->number};
    if (u != NULL && u->fd >= 0 && handover_send(u->fd, &out) != ST_OK)
        LOG_LIMITED(LL_WARNING, "the successor does not read answers to its cancel requests");
    mem_free(a);
}

void upgrade_answer(struct worker *w, uint32_t number)
{
    struct answer *a = mem_new(sizeof(*a));
    a->m.deliver = deliver;
    a->number = number;
    if (!mailbox_post(w->process->main_box, &a->m))
        mem_free(a);
}

/* ---- life ------------------------------------------------------------------------------------ */

struct upgrade *upgrade_new(struct ev_loop *loop, struct process *p, struct upgrade_handler h)
{
    struct upgrade *u = mem_new(sizeof(*u));
    u->loop = loop;
    u->process = p;
    u->handler = h;
    u->fd = -1;
    ev_io_init(&u->io, on_readable, -1, EV_READ);
    ev_timer_init(&u->limit, on_limit, 0., 0.);
    ev_child_init(&u->child, on_child, 0, 0);
    return u;
}

void upgrade_free(struct upgrade **up)
{
    struct upgrade *u = *up;
    *up = NULL;
    if (u == NULL)
        return;
    ev_child_stop(u->loop, &u->child);
    if (u->fd >= 0 && !u->ready)
        kill(u->child.pid, SIGKILL);
    if (u->fd >= 0)
        forget(u);
    mem_free(u);
}
