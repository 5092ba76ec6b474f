/* admin_hold.c - commands that hold databases back, and those that wait.
 *
 * PAUSE without a database sets process->shared.paused, which every pool obeys, those made later
 * too; with one it sets the database's own bit, as KILL does.  A command that waits (PAUSE,
 * WAIT_CLOSE, SUSPEND) is a struct admin_wait: a timer asks the workers again until its condition
 * holds.  Cancelling PAUSE or SUSPEND takes its effect back; so does the end of the console
 * connection for SUSPEND.
 * Thread: main.
 */
#include "base/log.h"
#include "base/mem.h"
#include "proxy/admin/admin_work.h"
#include "proxy/worker.h"

#include <stdatomic.h>

#define POLL_S 0.05

enum wait_kind { WAIT_PAUSE, WAIT_CLOSING, WAIT_SUSPEND };

struct admin_wait {
    struct list link; /* in admin->waits */
    enum wait_kind kind;
    struct admin_reply *reply; /* owned; NULL when it is over */
    struct db_shared *db;      /* NULL: all */
    usec_t deadline;           /* WAIT_SUSPEND */
    bool busy;                 /* a gather names it: it lives until that has come back */
    bool over;
};

/* ---- what is in scope ------------------------------------------------------------------------ */

struct search {
    struct str name;
    struct db_shared *found;
};

static void match(void *arg, struct db_shared *d)
{
    struct search *s = arg;
    if (str_eq(str_of(d->name), s->name))
        s->found = d;
}

/* The database of the command; false: there is none of that name, which has been answered. An empty
 * name gives NULL. */
static bool find_scope(struct admin *a, struct admin_reply *r, struct db_shared **db)
{
    struct search s = {str_of(r->cmd.arg), NULL};
    *db = NULL;
    if (s.name.n == 0)
        return true;
    if (str_eq(s.name, STR(ADMIN_DATABASE)) || str_eq(s.name, STR("penstock"))) {
        admin_answer_error(a, r, "the console itself cannot be held: %s", r->cmd.arg);
        return false;
    }
    if (config_find_database(admin_config(a), s.name) != NULL)
        s.found = registry_db(a->process->registry, s.name);
    else
        registry_each_db(a->process->registry, match, &s);
    if (s.found == NULL)
        admin_answer_error(a, r, "no such database: %s", r->cmd.arg);
    *db = s.found;
    return s.found != NULL;
}

static void count_servers(void *arg, struct db_shared *d)
{
    *(int *)arg += atomic_load_explicit(&d->shared.servers, memory_order_relaxed);
}

static int servers_of(struct admin *a, struct db_shared *db)
{
    int n = 0;
    if (db != NULL)
        count_servers(&n, db);
    else
        registry_each_db(a->process->registry, count_servers, &n);
    return n;
}

static void answer_gathered(struct admin_gather *g)
{
    if (g->reply == NULL)
        return;
    admin_answer(g->admin, g->reply);
    g->reply = NULL;
}

static void ask_workers(struct admin *a, struct admin_reply *r, struct db_shared *db,
                        void (*collect)(struct worker *, struct admin_gather *,
                                        struct admin_part *))
{
    struct admin_gather *g = admin_gather_new(a, r);
    g->scope.db = db;
    g->collect = collect;
    g->finish = answer_gathered;
    admin_gather_start(g);
}

/* ---- waiting --------------------------------------------------------------------------------- */

static void wait_free(struct admin_wait *w)
{
    list_remove(&w->link);
    admin_reply_free(&w->reply);
    mem_free(w);
}

/* Ends it; the answer (if anybody waits for one) goes out as it stands. */
static void wait_end(struct admin *a, struct admin_wait *w, bool answer)
{
    if (answer && w->reply != NULL) {
        admin_answer(a, w->reply);
        w->reply = NULL;
    }
    w->over = true;
    if (!w->busy)
        wait_free(w);
}

static void wait_gathered(struct admin_gather *g)
{
    struct admin_wait *w = g->wait;
    struct admin_counts n;
    w->busy = false;
    if (w->over) {
        wait_free(w);
        return;
    }
    admin_gather_counts(g, &n);
    bool done = w->kind == WAIT_PAUSE ? servers_of(g->admin, w->db) == 0 : n.found == 0;
    if (done || g->last_call)
        wait_end(g->admin, w, true);
}

static void wait_ask(struct admin *a, struct admin_wait *w)
{
    struct admin_gather *g = admin_gather_new(a, NULL);
    g->wait = w;
    g->scope.db = w->db;
    g->finish = wait_gathered;
    switch (w->kind) {
    case WAIT_PAUSE:
        g->collect = admin_hold_work_close_idle;
        break;
    case WAIT_CLOSING:
        g->collect = admin_hold_work_count_closing;
        break;
    case WAIT_SUSPEND:
        g->collect = admin_hold_work_suspend;
        g->last_call = w->deadline > 0 && clock_mono_us() > w->deadline;
        break;
    }
    w->busy = true;
    admin_gather_start(g);
}

static void on_poll(struct ev_loop *loop, ev_timer *t, int revents)
{
    (void)revents;
    struct admin *a = t->data;
    struct list *it, *tmp;
    if (list_empty(&a->waits)) {
        ev_timer_stop(loop, t);
        return;
    }
    LIST_EACH(it, tmp, &a->waits) {
        struct admin_wait *w = container_of(it, struct admin_wait, link);
        if (!w->busy)
            wait_ask(a, w);
    }
}

static void wait_begin(struct admin *a, enum wait_kind kind, struct admin_reply *r,
                       struct db_shared *db)
{
    struct admin_wait *w = mem_new(sizeof(*w));
    usec_t limit = config_globals(admin_config(a))->suspend_timeout;
    w->kind = kind;
    w->reply = r;
    w->db = db;
    w->deadline = limit > 0 ? clock_mono_us() + limit : 0;
    list_init(&w->link);
    list_push_back(&a->waits, &w->link);
    wait_ask(a, w);
    if (!ev_is_active(&a->poll))
        ev_timer_start(a->process->main_box->loop, &a->poll);
}

void admin_hold_init(struct admin *a)
{
    list_init(&a->waits);
    ev_timer_init(&a->poll, on_poll, POLL_S, POLL_S);
    a->poll.data = a;
}

void admin_hold_fini(struct admin *a)
{
    struct list *l;
    ev_timer_stop(a->process->main_box->loop, &a->poll);
    while ((l = list_first(&a->waits)) != NULL)
        wait_free(container_of(l, struct admin_wait, link));
}

/* ---- pause and resume ------------------------------------------------------------------------ */

static void set_pause(struct admin *a, struct db_shared *db, bool on)
{
    if (db == NULL) {
        a->global_pause = on;
        atomic_store(&a->process->shared.paused, on);
    } else if (on) {
        atomic_fetch_or(&db->shared.hold, DB_PAUSED);
    } else {
        atomic_fetch_and(&db->shared.hold, ~(uint32_t)DB_PAUSED);
    }
}

static bool is_paused(struct admin *a, struct db_shared *db)
{
    if (db == NULL)
        return a->global_pause || atomic_load(&a->process->shared.suspended);
    return (atomic_load(&db->shared.hold) & DB_PAUSED) != 0;
}

static void note_hold(void *arg, struct db_shared *d)
{
    if (atomic_load(&d->shared.hold) != 0)
        *(bool *)arg = true;
}

bool admin_holds(struct admin *a)
{
    bool held = is_paused(a, NULL);
    registry_each_db(a->process->registry, note_hold, &held);
    return held;
}

void admin_hold_pause(struct admin *a, struct admin_reply *r)
{
    struct db_shared *db;
    if (!find_scope(a, r, &db))
        return;
    if (is_paused(a, db)) {
        if (db == NULL)
            admin_answer_error(a, r, "already suspended/paused");
        else
            admin_answer_error(a, r, "database %s is already paused", db->name);
        return;
    }
    set_pause(a, db, true);
    wait_begin(a, WAIT_PAUSE, r, db);
}

static void unsuspend(struct admin *a)
{
    a->suspended_by = 0;
    atomic_store(&a->process->shared.suspended, false);
    if (a->ops->accepting != NULL)
        a->ops->accepting(a->process, true);
}

/* Those who wait for a pause or suspension that has been taken back hear of it. */
static void end_waits(struct admin *a, struct db_shared *db)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &a->waits) {
        struct admin_wait *w = container_of(it, struct admin_wait, link);
        if (w->over || w->kind == WAIT_CLOSING || w->db != db)
            continue;
        w->reply->outcome = ADMIN_ERROR;
        str_copy(w->reply->error.text, sizeof(w->reply->error.text),
                 STR("resumed before it was complete"));
        wait_end(a, w, true);
    }
}

/* r NULL: nobody waits for an answer. */
static void resume(struct admin *a, struct db_shared *db, struct admin_reply *r)
{
    bool suspended = db == NULL && atomic_load(&a->process->shared.suspended);
    end_waits(a, db);
    if (suspended)
        unsuspend(a);
    set_pause(a, db, false);
    ask_workers(a, r, db, suspended ? admin_hold_work_unsuspend : admin_hold_work_wake);
}

void admin_hold_resume(struct admin *a, struct admin_reply *r)
{
    struct db_shared *db;
    if (!find_scope(a, r, &db))
        return;
    if (process_phase(a->process) != PHASE_RUN)
        admin_answer_error(a, r, "pooler is shutting down");
    else if (is_paused(a, db))
        resume(a, db, r);
    else if (db != NULL)
        admin_answer_error(a, r, "database %s is not paused", db->name);
    else
        admin_answer_error(a, r, "pooler is not paused/suspended");
}

void admin_pause_all(struct admin *a)
{
    if (is_paused(a, NULL)) {
        log_line(LL_LOG, "got PAUSE by signal, already suspended/paused");
        return;
    }
    log_line(LL_LOG, "PAUSE by signal");
    set_pause(a, NULL, true);
    ask_workers(a, NULL, NULL, admin_hold_work_close_idle);
}

void admin_resume_all(struct admin *a)
{
    log_line(LL_LOG, "RESUME by signal");
    if (is_paused(a, NULL))
        resume(a, NULL, NULL);
}

void admin_hold_suspend(struct admin *a, struct admin_reply *r)
{
    if (is_paused(a, NULL)) {
        admin_answer_error(a, r, "already suspended/paused");
        return;
    }
    a->suspended_by = r->client;
    atomic_store(&a->process->shared.suspended, true);
    if (a->ops->accepting != NULL)
        a->ops->accepting(a->process, false);
    wait_begin(a, WAIT_SUSPEND, r, NULL);
}

/* ---- closing --------------------------------------------------------------------------------- */

void admin_hold_wait_close(struct admin *a, struct admin_reply *r)
{
    struct db_shared *db;
    if (find_scope(a, r, &db))
        wait_begin(a, WAIT_CLOSING, r, db);
}

static void next_epoch(void *arg, struct db_shared *d)
{
    (void)arg;
    atomic_fetch_add(&d->shared.epoch, 1);
}

void admin_hold_reconnect(struct admin *a, struct admin_reply *r)
{
    struct db_shared *db;
    if (!find_scope(a, r, &db))
        return;
    if (db != NULL)
        next_epoch(NULL, db);
    else
        registry_each_db(a->process->registry, next_epoch, NULL);
    ask_workers(a, r, db, admin_hold_work_reconnect);
}

void admin_hold_kill(struct admin *a, struct admin_reply *r)
{
    struct db_shared *db;
    if (!find_scope(a, r, &db))
        return;
    set_pause(a, db, true);
    ask_workers(a, r, db, admin_hold_work_kill);
}

static void killed(struct admin_gather *g)
{
    struct admin_counts n;
    struct admin_reply *r = g->reply;
    admin_gather_counts(g, &n);
    g->reply = NULL;
    if (n.found > 0)
        admin_answer(g->admin, r);
    else
        admin_answer_error(g->admin, r, "client not found");
}

void admin_hold_kill_client(struct admin *a, struct admin_reply *r)
{
    struct admin_gather *g = admin_gather_new(a, r);
    g->client = r->cmd.client;
    g->collect = admin_hold_work_kill_client;
    g->finish = killed;
    admin_gather_start(g);
}

void admin_hold_disable(struct admin *a, struct admin_reply *r, bool on)
{
    struct db_shared *db;
    if (!find_scope(a, r, &db))
        return;
    if (on)
        atomic_fetch_or(&db->shared.hold, DB_DISABLED);
    else
        atomic_fetch_and(&db->shared.hold, ~(uint32_t)DB_DISABLED);
    admin_answer(a, r);
}

/* ---- consoles that want out ------------------------------------------------------------------ */

static struct admin_wait *wait_of(struct admin *a, uint64_t client)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &a->waits) {
        struct admin_wait *w = container_of(it, struct admin_wait, link);
        if (!w->over && w->reply->client == client)
            return w;
    }
    return NULL;
}

void admin_hold_cancel(struct admin *a, uint64_t client)
{
    struct admin_wait *w = wait_of(a, client);
    if (w == NULL)
        return;
    enum wait_kind kind = w->kind;
    struct db_shared *db = w->db;
    w->reply->outcome = ADMIN_CANCELLED;
    wait_end(a, w, true);
    if (kind != WAIT_CLOSING)
        resume(a, db, NULL);
}

void admin_hold_client_gone(struct admin *a, uint64_t client)
{
    struct admin_wait *w = wait_of(a, client);
    if (w != NULL)
        wait_end(a, w, false);
    if (a->suspended_by == client)
        resume(a, NULL, NULL);
}
