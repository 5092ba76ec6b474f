/* ready.h - whether new clients can be served, and if not, why.
 *
 * Ready is a process that accepts clients, is neither paused nor full, and can connect to the host
 * of at least one of its databases.  That is tried here, when somebody asks and the last try is
 * older than a second: a proxy that nobody is sent to would never learn otherwise that its database
 * is back.  A connection is opened and closed again without a byte; at most READY_HOSTS_MAX hosts
 * are tried.
 * Thread: main.
 */
#ifndef PENSTOCK_PROXY_READY_H
#define PENSTOCK_PROXY_READY_H

#include "base/buf.h"
#include "proxy/process.h"

#define READY_HOSTS_MAX 64

struct ready;

/* done: the tries that ready_refresh began are over. */
struct ready *ready_new(struct process *p, void (*done)(void *arg), void *arg);
/* Nothing is tried any more, and done is not called. */
void ready_stop(struct ready *r);
void ready_free(struct ready **r); /* the resolver has ended */

/* true: ready_report can answer now; false: done will be called. */
bool ready_refresh(struct ready *r, const struct config *cfg);
/* Appends a line for each reason or remark. */
bool ready_report(const struct ready *r, const struct config *cfg, struct buf *why);

#endif
