/* watchdog.h - proves to the service manager that every thread still turns.
 *
 * The main thread asks all workers, four times in the period that the manager allows, and sends
 * WATCHDOG=1 only when each has answered: a worker that hangs is a process that hangs, for its
 * clients get no answer.  The manager then kills the process and starts it again.
 * Made by main.c, on the main thread; the workers only clear their own mark.
 */
#ifndef PENSTOCK_PROXY_WATCHDOG_H
#define PENSTOCK_PROXY_WATCHDOG_H

#include "proxy/notify.h"
#include "proxy/pool/registry.h"
#include "proxy/process.h"

#include <ev.h>

struct watchdog {
    struct ev_loop *loop;        /* borrowed */
    struct process *process;     /* borrowed */
    const struct notify *notify; /* borrowed */
    ev_timer timer;
    struct {
        _Atomic bool asked[WORKERS_MAX]; /* and not answered yet */
    } shared;
};

/* Does nothing when the manager wants no sign of life. The workers run already. */
void watchdog_start(struct watchdog *d, struct ev_loop *loop, struct process *p,
                    const struct notify *n);
/* also of one that was never started; before the workers end */
void watchdog_stop(struct watchdog *d);

#endif
