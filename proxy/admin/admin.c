/* admin.c - console commands on the main thread: rights first, then the one that does it; see
 * admin.h. */
#include "proxy/admin/admin.h"

#include "base/log.h"
#include "base/mem.h"
#include "proxy/admin/admin_work.h"
#include "proxy/admin/console.h"
#include "proxy/worker.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

struct admin *admin_new(struct process *p, const struct admin_ops *ops)
{
    struct admin *a = mem_new(sizeof(*a));
    a->process = p;
    a->ops = ops;
    list_init(&a->gathers);
    admin_hold_init(a);
    return a;
}

void admin_free(struct admin **ap)
{
    struct admin *a = *ap;
    *ap = NULL;
    if (a == NULL)
        return;
    admin_reply_free(&a->upgrading);
    admin_hold_fini(a);
    admin_gather_free_all(a);
    admin_stats_fini(a);
    mem_free(a);
}

const struct config *admin_config(const struct admin *a)
{
    return a->ops->config(a->process);
}

/* ---- answers --------------------------------------------------------------------------------- */

void admin_answer(struct admin *a, struct admin_reply *r)
{
    struct worker *w = a->process->workers[r->slot % a->process->nworkers];
    r->m.deliver = console_answer;
    if (w == NULL || !mailbox_post(&w->mailbox, &r->m))
        admin_reply_free(&r);
}

void admin_answer_error(struct admin *a, struct admin_reply *r, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(r->error.text, sizeof(r->error.text), fmt, ap);
    va_end(ap);
    r->outcome = ADMIN_ERROR;
    admin_answer(a, r);
}

/* ---- commands that are done at once ---------------------------------------------------------- */

static void do_set(struct admin *a, struct admin_reply *r)
{
    struct error err = {""};
    if (a->ops->set(a->process, str_of(r->cmd.arg), str_of(r->cmd.value), &err) != ST_OK)
        admin_answer_error(a, r, "SET failed: %s", err.text);
    else
        admin_answer(a, r);
}

static void do_reload(struct admin *a, struct admin_reply *r)
{
    struct error err = {""};
    if (a->ops->reload(a->process, &err) != ST_OK) {
        r->outcome = ADMIN_UNLOADED;
        str_copy(r->error.text, sizeof(r->error.text),
                 STR("RELOAD failed, see logs for additional details"));
    }
    admin_answer(a, r);
}

static enum process_phase phase_of(enum admin_command_kind kind)
{
    if (kind == CMD_SHUTDOWN_CLIENTS)
        return PHASE_DRAIN_CLIENTS;
    return kind == CMD_SHUTDOWN_SERVERS ? PHASE_DRAIN_SERVERS : PHASE_STOP;
}

static void do_shutdown(struct admin *a, struct admin_reply *r)
{
    struct process *p = a->process;
    enum process_phase phase = phase_of(r->cmd.kind);
    if (phase != PHASE_STOP && process_phase(p) >= PHASE_DRAIN_CLIENTS) {
        admin_answer_error(a, r, "already shutting down");
        return;
    }
    if (phase == PHASE_STOP)
        r->outcome = ADMIN_LEAVE;
    admin_answer(a, r);
    a->ops->shutdown(p, phase, phase == PHASE_STOP);
}

static void do_upgrade(struct admin *a, struct admin_reply *r)
{
    struct error err = {""};
    if (a->ops->upgrade(a->process, &err) != ST_OK)
        admin_answer_error(a, r, "%s", err.text);
    else
        a->upgrading = r;
}

void admin_upgraded(struct admin *a, const char *why)
{
    struct admin_reply *r = a->upgrading;
    a->upgrading = NULL;
    if (r == NULL)
        return;
    if (why != NULL)
        admin_answer_error(a, r, "UPGRADE failed: %s", why);
    else
        admin_answer(a, r);
}

static void show_faked(struct admin *a, struct admin_reply *r)
{
    admin_reply_text(&r->rows, r->cmd.faked->value);
    admin_answer(a, r);
}

static void set_faked(struct admin *a, struct admin_reply *r)
{
    r->notice = "SET ignored";
    admin_answer(a, r);
}

static void do_cache(struct admin *a, struct admin_reply *r)
{
    if (r->cmd.kind == CMD_CACHE_FLUSH)
        admin_cache_flush(a, r);
    else
        admin_members_forget(a, r);
}

/* ---- the switch ------------------------------------------------------------------------------ */

static void dispatch(struct admin *a, struct admin_reply *r)
{
    switch (r->cmd.kind) {
    case CMD_CACHE_FLUSH:
    case CMD_CACHE_FORGET:
        do_cache(a, r);
        break;
    case CMD_DISABLE:
    case CMD_ENABLE:
        admin_hold_disable(a, r, r->cmd.kind == CMD_DISABLE);
        break;
    case CMD_DRAIN:
    case CMD_UNDRAIN:
        admin_nodes_drain(a, r, r->cmd.kind == CMD_DRAIN);
        break;
    case CMD_EXPLAIN:
        admin_route_explain(a, r);
        break;
    case CMD_KILL:
        admin_hold_kill(a, r);
        break;
    case CMD_KILL_CLIENT:
        admin_hold_kill_client(a, r);
        break;
    case CMD_PAUSE:
        admin_hold_pause(a, r);
        break;
    case CMD_RECONNECT:
        admin_hold_reconnect(a, r);
        break;
    case CMD_RELOAD:
        do_reload(a, r);
        break;
    case CMD_RESET:
        admin_statements_reset(a, r);
        break;
    case CMD_RESUME:
        admin_hold_resume(a, r);
        break;
    case CMD_SET:
        do_set(a, r);
        break;
    case CMD_SET_FAKED:
        set_faked(a, r);
        break;
    case CMD_SHOW:
        admin_show(a, r);
        break;
    case CMD_SHOW_FAKED:
        show_faked(a, r);
        break;
    case CMD_SHUTDOWN:
    case CMD_SHUTDOWN_CLIENTS:
    case CMD_SHUTDOWN_SERVERS:
        do_shutdown(a, r);
        break;
    case CMD_SUSPEND:
        admin_hold_suspend(a, r);
        break;
    case CMD_UPGRADE:
        do_upgrade(a, r);
        break;
    case CMD_WAIT_CLOSE:
        admin_hold_wait_close(a, r);
        break;
    case CMDS:
        break;
    }
}

static void log_command(const struct admin_reply *r)
{
    char tag[ADMIN_ARG_MAX + ADMIN_VALUE_MAX + 8];
    if (r->cmd.kind == CMD_SHOW || r->cmd.kind == CMD_SHOW_FAKED || r->cmd.kind == CMD_SET_FAKED ||
        r->cmd.kind == CMD_EXPLAIN)
        return;
    if (r->cmd.kind == CMD_SET) { /* values may be secrets */
        log_line(LL_LOG, "console: SET %s", r->cmd.arg);
        return;
    }
    admin_command_tag(&r->cmd, tag, sizeof(tag));
    log_line(LL_LOG, "console: %s %s", tag, r->cmd.arg);
}

void admin_run(struct message *m, void *ctx)
{
    struct admin_reply *r = container_of(m, struct admin_reply, m);
    struct process *p = ctx;
    struct admin *a = p->admin;
    if (p->workers[0] == NULL) { /* the workers have ended, and the client with them */
        admin_reply_free(&r);
        return;
    }
    a->console.queries++;
    a->console.xacts++;
    if (admin_command_refused(&r->cmd, r->role, &r->error)) {
        r->outcome = ADMIN_ERROR;
        admin_answer(a, r);
        return;
    }
    log_command(r);
    dispatch(a, r);
}

void admin_cancel(struct message *m, void *ctx)
{
    struct admin_reply *r = container_of(m, struct admin_reply, m);
    struct process *p = ctx;
    if (p->workers[0] != NULL)
        admin_hold_cancel(p->admin, r->client);
    admin_reply_free(&r);
}

void admin_client_gone(struct message *m, void *ctx)
{
    struct admin_reply *r = container_of(m, struct admin_reply, m);
    struct process *p = ctx;
    if (p->workers[0] != NULL)
        admin_hold_client_gone(p->admin, r->client);
    admin_reply_free(&r);
}

void admin_tick(struct admin *a)
{
    admin_stats_tick(a);
}
