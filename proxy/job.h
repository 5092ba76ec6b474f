/* job.h - a statement of the proxy's own that is run on some server of a pool.
 *
 * auth_query, the catalog, start-up settings to be tried.  Whoever needs one embeds a struct job,
 * fills in what it wants and starts it; `done` is called exactly once, and not at all after
 * job_cancel.  It may be called from inside job_start when the job cannot be queued or run.  A job
 * runs under the settings of a fresh session, or those it is to try: nothing that a client has set
 * may bend a question of ours. Called by login_auth.c, client_login.c and pool_catalog.c; answered
 * by session_reply.c.
 * Thread: the worker's that owns the pool.
 */
#ifndef PENSTOCK_PROXY_JOB_H
#define PENSTOCK_PROXY_JOB_H

#include "proxy/pool/pool.h"
#include "proxy/server.h"

struct job {
    struct waiter waiter;
    struct pool *pool;      /* borrowed: that it was started in */
    struct server *server;  /* borrowed: that runs it */
    struct str text;        /* owned by the job's maker until done */
    struct varset *vars;    /* instead of text: settings to be tried; borrowed from the maker */
    struct varset *profile; /* with done, when vars were taken: what the server reports; borrowed */
    struct str code;        /* with done: the database's own code of the failure, or empty */
    usec_t limit;           /* until it is given up; 0: query_wait_timeout */
    struct timeout timeout;
    void (*row)(struct job *j, const struct str *cols, int ncols);
    void (*done)(struct job *j, bool ok, struct str message); /* takes the job back */
};

void job_start(struct pool *p, struct job *j);
void job_cancel(struct job *j); /* its answer will be swallowed; done is not called */

/* ---- from the server that runs it ---- */
void job_run(struct job *j, struct server *s); /* its turn has come */
void job_again(struct job *j);                 /* not on this server */
void job_lost(struct job *j);                  /* there will be no answer */
void job_done(struct server *s, struct flight *f, const struct wire_server_event *ev);

#endif
