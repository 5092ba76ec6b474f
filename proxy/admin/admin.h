/* admin.h - the console's back end on the main thread: what main.c makes and drives.
 *
 * Console commands arrive in the main thread's mailbox (admin_run) and are run there, one table of
 * roles in front of all (admin_command.h); answers go back to the worker of the client (console.c).
 * Views of what workers own are gathered by message (admin_gather.c), holds and waits are in
 * admin_hold.c, statistics per period in admin_stats.c.
 * Thread: main only.
 */
#ifndef PENSTOCK_PROXY_ADMIN_H
#define PENSTOCK_PROXY_ADMIN_H

#include "base/base.h"
#include "base/status.h"
#include "base/str.h"
#include "proxy/process.h"

#define ADMIN_COMPATIBLE "1.25.2" /* the version whose console this is */
#define ADMIN_SERVER_VERSION ADMIN_COMPATIBLE "/bouncer"

struct admin;

struct admin_ops { /* what main.c does for the console */
    enum status (*reload)(struct process *p, struct error *err);
    enum status (*set)(struct process *p, struct str key, struct str value, struct error *err);
    void (*shutdown)(struct process *p, enum process_phase phase, bool now);
    /* Starts a successor; admin_upgraded follows. */
    enum status (*upgrade)(struct process *p, struct error *err);
    const struct config *(*config)(struct process *p); /* borrowed until the next reload or set */
    void (*accepting)(struct process *p, bool on); /* SUSPEND leaves clients in the kernel's queue;
                                                          may be NULL */
};

/* p->main_box must be there. */
struct admin *admin_new(struct process *p, const struct admin_ops *ops);
void admin_free(struct admin **a); /* after the workers have ended and main_box was closed */

/* Each stats_period: takes the snapshot that averages are made from and logs the statistics
 * line. */
void admin_tick(struct admin *a);

/* SIGUSR1 and SIGUSR2: as PAUSE and RESUME without a database. */
void admin_pause_all(struct admin *a);
void admin_resume_all(struct admin *a);

/* Something is held back by PAUSE, SUSPEND, KILL or DISABLE, of which a successor would not
 * know. */
bool admin_holds(struct admin *a);
/* The successor serves (why NULL), or it did not come to that: answers who asked for it. */
void admin_upgraded(struct admin *a, const char *why);

/* Messages from console.c; each takes its struct admin_reply. */
void admin_run(struct message *m, void *ctx);
void admin_cancel(struct message *m, void *ctx);
void admin_client_gone(struct message *m, void *ctx);

#endif
