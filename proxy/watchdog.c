/* watchdog.c - asks every worker and tells the service manager; see watchdog.h. */
#include "proxy/watchdog.h"

#include "base/log.h"
#include "proxy/worker.h"

#include <stdatomic.h>

/* On the worker. */
static void answer(struct worker *w, void *arg)
{
    struct watchdog *d = arg;
    atomic_store_explicit(&d->shared.asked[w->index], false, memory_order_relaxed);
}

static void on_timer(struct ev_loop *loop, ev_timer *t, int revents)
{
    (void)loop;
    (void)revents;
    struct watchdog *d = container_of(t, struct watchdog, timer);
    bool all = true;
    for (unsigned i = 0; i < d->process->nworkers; i++) {
        if (!atomic_load_explicit(&d->shared.asked[i], memory_order_relaxed))
            continue;
        all = false;
        LOG_LIMITED(LL_ERROR, "watchdog: worker %u does not answer", i);
    }
    if (!all)
        return;
    notify_send(d->notify, "WATCHDOG=1");
    for (unsigned i = 0; i < d->process->nworkers; i++) {
        atomic_store_explicit(&d->shared.asked[i], true, memory_order_relaxed);
        worker_post_call(d->process->workers[i], answer, d);
    }
}

void watchdog_start(struct watchdog *d, struct ev_loop *loop, struct process *p,
                    const struct notify *n)
{
    double quarter = (double)n->watchdog / USEC_PER_SEC / 4;
    ev_timer_init(&d->timer, on_timer, quarter, quarter);
    d->loop = loop;
    d->process = p;
    d->notify = n;
    if (n->watchdog > 0)
        ev_timer_start(loop, &d->timer);
}

void watchdog_stop(struct watchdog *d)
{
    if (d->loop != NULL)
        ev_timer_stop(d->loop, &d->timer);
}
