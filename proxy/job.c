/* job.c - statements of the proxy's own on some server of a pool; see job.h.  Worker thread. */
#include "proxy/job.h"

#include "proxy/cancel.h"
#include "proxy/pool/pool_cluster.h"
#include "proxy/session.h"

#define JOB_VARS_MAX 300

/* What a job needs the server's settings to be: those it tries, or none. False: too many. */
static bool job_vars(struct server *s, const struct job *j)
{
    const struct wire *wire = conn_wire(&s->conn);
    struct wire_var delta[JOB_VARS_MAX];
    struct varset *want = j->vars != NULL ? j->vars : s->conn.worker->vars.empty;
    int n = session_vars_delta(s, want, delta, JOB_VARS_MAX);
    if (n > JOB_VARS_MAX)
        return false;
    if (n > 0)
        wire->sv_vars(s->wire_state, delta, n, &s->conn.out);
    else if (j->vars != NULL)
        wire->sv_ping(s->wire_state, &s->conn.out);
    varset_put(&s->vars);
    s->vars = varset_get(want);
    if (n > 0 && j->vars == NULL)
        server_push(s, FLIGHT_VARS, NULL);
    return true;
}

static void job_granted(struct waiter *wt, struct server *s)
{
    job_run(container_of(wt, struct job, waiter), s);
}

void job_run(struct job *j, struct server *s)
{
    j->server = s;
    if (session_lift_limits(s, NULL, j))
        return;
    session_forget_unlisted(s);
    if (!job_vars(s, j)) { /* nothing that a client has set may bend a question of ours */
        job_lost(j);
        s->doubtful = true;
        server_release(s);
        return;
    }
    if (j->vars == NULL)
        conn_wire(&s->conn)->sv_text(s->wire_state, OWN_ROWS, j->text, &s->conn.out);
    struct flight *f = server_push(s, FLIGHT_JOB, NULL);
    f->job = j;
    conn_dirty(&s->conn);
}

static void job_failed(struct waiter *wt, enum cause cause, struct str code, struct str text)
{
    (void)code;
    struct job *j = container_of(wt, struct job, waiter);
    timeout_stop(&j->timeout);
    j->done(j, false, text.n > 0 ? text : str_of(cause_name(cause)));
}

static void on_job_timeout(struct timeout *t)
{
    struct job *j = container_of(t, struct job, timeout);
    job_cancel(j);
    j->done(j, false, STR("timed out"));
}

/* Of a cluster, the job may run on any node; while there is none it is held. */
static void enqueue(struct job *j)
{
    bool refused = false;
    struct pool *p = pool_cluster_any(j->pool);
    if (p == NULL) {
        if (!pool_cluster_hold(j->pool, &j->waiter, j->pool->worker->now))
            job_failed(&j->waiter, C_POOL_FULL, STR_NONE, STR_NONE);
        return;
    }
    struct server *s = pool_take(p, &j->waiter, p->worker->vars.empty, &refused);
    if (s != NULL)
        job_granted(&j->waiter, s);
    else if (refused)
        job_failed(&j->waiter, C_POOL_FULL, STR_NONE, STR_NONE);
}

static void job_look_again(struct waiter *wt, bool failed)
{
    (void)failed;
    enqueue(container_of(wt, struct job, waiter));
}

void job_start(struct pool *p, struct job *j)
{
    j->pool = p;
    j->waiter.again = job_look_again;
    j->waiter.bytes = 0;
    j->waiter.kind = WAIT_ALONE;
    j->waiter.granted = job_granted;
    j->waiter.failed = job_failed;
    j->server = NULL;
    timeout_init(&j->timeout, on_job_timeout);
    usec_t limit = j->limit > 0 ? j->limit : worker_options(p->worker)->query_wait_timeout;
    worker_timeout(p->worker, &j->timeout, limit);
    enqueue(j);
}

void job_again(struct job *j)
{
    j->server = NULL;
    enqueue(j);
}

void job_cancel(struct job *j)
{
    timeout_stop(&j->timeout);
    if (j->server == NULL) {
        pool_leave_queue(&j->waiter);
        return;
    }
    struct server *s = j->server;
    j->server = NULL;
    for (uint32_t i = 0; i < s->fl_count; i++)
        if (server_flight(s, i)->job == j)
            server_flight(s, i)->job = NULL;
    cancel_server(s);
}

void job_lost(struct job *j)
{
    timeout_stop(&j->timeout);
    j->server = NULL;
    j->done(j, false, STR("server connection lost"));
}

void job_done(struct server *s, struct flight *f, const struct wire_server_event *ev)
{
    struct job *j = f->job;
    if (ev->error != SE_NONE)
        s->asks |= ASK_VARS_ALL; /* it may have been about settings */
    if (j == NULL)
        return;
    f->job = NULL;
    timeout_stop(&j->timeout);
    j->server = NULL;
    j->code = ev->code;
    j->profile = s->profile;
    if (j->vars != NULL && ev->error == SE_NONE)
        session_vars_accepted(s);
    /* In doubt: what went before it failed, and it ran under a stranger's settings. */
    j->done(j, ev->error == SE_NONE && !s->doubtful, ev->message);
}
