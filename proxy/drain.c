/* drain.c - see drain.h.  Main thread. */
#include "proxy/drain.h"

#include "proxy/pool/registry.h"

#include <stdatomic.h>

#define LOOK_S 0.05

static void count_used(void *arg, struct db_shared *d)
{
    *(int *)arg += atomic_load_explicit(&d->shared.servers, memory_order_relaxed);
}

static bool nobody_left(const struct process *p)
{
    int servers = 0;
    bool done = atomic_load(&p->shared.clients) == 0;
    if (process_phase(p) == PHASE_HANDED_OVER) /* they are nobody else's either */
        done = done && atomic_load(&p->shared.login_clients) == 0;
    registry_each_db(p->registry, count_used, &servers);
    if (process_phase(p) >= PHASE_DRAIN_SERVERS)
        done = done || servers == 0;
    return done;
}

static void on_look(struct ev_loop *loop, ev_timer *t, int revents)
{
    (void)loop;
    (void)revents;
    struct drain *d = container_of(t, struct drain, look);
    if (nobody_left(d->process))
        d->left(d->arg);
}

static void on_limit(struct ev_loop *loop, ev_timer *t, int revents)
{
    (void)loop;
    (void)revents;
    struct drain *d = container_of(t, struct drain, limit);
    d->late(d->arg);
}

void drain_init(struct drain *d)
{
    ev_timer_init(&d->look, on_look, LOOK_S, LOOK_S);
    ev_timer_init(&d->limit, on_limit, 0., 0.);
}

void drain_start(struct drain *d)
{
    ev_timer_start(d->loop, &d->look);
}

void drain_limit(struct drain *d, usec_t length)
{
    ev_timer_stop(d->loop, &d->limit);
    if (length <= 0)
        return;
    ev_timer_set(&d->limit, (double)length / USEC_PER_SEC, 0.);
    ev_timer_start(d->loop, &d->limit);
}
