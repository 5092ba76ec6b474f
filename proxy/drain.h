/* drain.h - the end of a process that still has clients: who is waited for, and how long.
 *
 * Used by main.c for every way to end but the immediate one: a shutdown in one of its phases, and a
 * successor that has taken over.  Looks 20 times a second; when nobody is left, `left` is called,
 * and `late` when the time is over before.
 * Thread: main.
 */
#ifndef PENSTOCK_PROXY_DRAIN_H
#define PENSTOCK_PROXY_DRAIN_H

#include "base/clock.h"
#include "proxy/process.h"

#include <ev.h>

struct drain {
    struct ev_loop *loop;    /* borrowed */
    struct process *process; /* borrowed */
    ev_timer look, limit;
    void (*left)(void *arg);
    void (*late)(void *arg);
    void *arg;
};

/* d: its members above the timers, and those below, are set. */
void drain_init(struct drain *d);
/* The process is in the phase whose end is waited for; it may go on to a later one. */
void drain_start(struct drain *d);
/* How long it is waited for from now on; 0: as long as it takes. */
void drain_limit(struct drain *d, usec_t length);

#endif
