/* predecessor.c - passing cancel requests on to the process before us; see predecessor.h. */
#include "proxy/predecessor.h"

#include "base/log.h"
#include "base/mem.h"
#include "proxy/handover.h"
#include "proxy/worker.h"

#include <stdatomic.h>
#include <unistd.h>

#define LOOK_S 1.
#define GIVE_UP_US 10000000 /* it is on this machine: it answers at once or hangs */

struct predecessor {
    struct ev_loop *loop;    /* borrowed */
    struct process *process; /* borrowed */
    ev_io io;
    ev_timer look;     /* for requests that got no answer */
    int fd;            /* owned; -1: it has ended */
    struct list asked; /* struct asked, oldest first */
    uint32_t next_number;
};

struct asked {
    struct message m;
    struct list link;
    struct wire_key key;
    struct cancel_asker asker;
    uint32_t number;
    usec_t since;
};

static void asked_free(struct asked *a)
{
    mem_wipe(a, sizeof(*a)); /* the key */
    mem_free(a);
}

/* ---- answers --------------------------------------------------------------------------------- */

static void answer(struct worker *w, void *arg)
{
    struct asked *a = arg;
    cancel_answer(w, &a->asker);
    asked_free(a);
}

static void over(struct predecessor *x, struct asked *a)
{
    list_remove(&a->link);
    worker_post_call(x->process->workers[0], answer, a);
}

static void all_over(struct predecessor *x, usec_t before)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &x->asked) {
        struct asked *a = container_of(it, struct asked, link);
        if (a->since <= before)
            over(x, a);
    }
}

static void on_look(struct ev_loop *loop, ev_timer *t, int revents)
{
    (void)loop;
    (void)revents;
    struct predecessor *x = container_of(t, struct predecessor, look);
    all_over(x, clock_mono_us() - GIVE_UP_US);
}

static void gone(struct predecessor *x)
{
    atomic_store(&x->process->shared.predecessor, false);
    ev_io_stop(x->loop, &x->io);
    ev_timer_stop(x->loop, &x->look);
    close(x->fd);
    x->fd = -1;
    all_over(x, INT64_MAX);
}

static void on_readable(struct ev_loop *loop, ev_io *io, int revents)
{
    (void)loop;
    (void)revents;
    struct predecessor *x = container_of(io, struct predecessor, io);
    struct handover_message m;
    struct list *it, *tmp;
    enum status st;
    while ((st = handover_receive(x->fd, &m)) == ST_OK) {
        if (m.kind != HANDOVER_CANCELLED)
            continue;
        LIST_EACH(it, tmp, &x->asked) {
            struct asked *a = container_of(it, struct asked, link);
            if (a->number == m.number)
                over(x, a);
        }
    }
    if (st != ST_IO)
        return;
    log_line(LL_LOG, "the process before this one has ended");
    gone(x);
}

/* ---- requests -------------------------------------------------------------------------------- */

static void take(struct message *m, void *ctx)
{
    struct asked *a = container_of(m, struct asked, m);
    struct predecessor *x = ((struct process *)ctx)->predecessor;
    if (x == NULL) { /* the process ends, and the asker with it */
        asked_free(a);
        return;
    }
    a->number = x->next_number++;
    a->since = clock_mono_us();
    list_push_back(&x->asked, &a->link);
    struct handover_message out = {.kind = HANDOVER_CANCEL, .number = a->number, .key = a->key};
    if (x->fd < 0 || handover_send(x->fd, &out) != ST_OK)
        over(x, a);
    mem_wipe(&out, sizeof(out));
}

bool predecessor_cancel(struct worker *w, const struct wire_key *key,
                        const struct cancel_asker *asker)
{
    if (!atomic_load(&w->process->shared.predecessor))
        return false;
    struct asked *a = mem_new(sizeof(*a));
    a->m.deliver = take;
    list_init(&a->link);
    a->key = *key;
    a->asker = *asker;
    if (mailbox_post(w->process->main_box, &a->m))
        return true;
    asked_free(a);
    return false;
}

/* ---- life ------------------------------------------------------------------------------------ */

struct predecessor *predecessor_new(struct ev_loop *loop, struct process *p, int channel)
{
    struct predecessor *x = mem_new(sizeof(*x));
    x->loop = loop;
    x->process = p;
    x->fd = channel;
    atomic_store(&p->shared.upgrading, true);
    list_init(&x->asked);
    ev_io_init(&x->io, on_readable, channel, EV_READ);
    ev_timer_init(&x->look, on_look, LOOK_S, LOOK_S);
    return x;
}

bool predecessor_take_over(struct predecessor *x)
{
    struct handover_message out = {.kind = HANDOVER_READY};
    if (handover_send(x->fd, &out) != ST_OK)
        return false;
    atomic_store(&x->process->shared.predecessor, true);
    atomic_store(&x->process->shared.upgrading, false);
    ev_io_start(x->loop, &x->io);
    ev_timer_start(x->loop, &x->look);
    return true;
}

bool predecessor_lives(const struct predecessor *x)
{
    return x != NULL && x->fd >= 0;
}

void predecessor_reopen_log(struct predecessor *x)
{
    struct handover_message out = {.kind = HANDOVER_REOPEN};
    if (predecessor_lives(x) && handover_send(x->fd, &out) != ST_OK)
        log_line(LL_WARNING, "the process before this one did not hear that log files have moved");
}

void predecessor_free(struct predecessor **xp)
{
    struct predecessor *x = *xp;
    struct list *first;
    *xp = NULL;
    if (x == NULL)
        return;
    while ((first = list_first(&x->asked)) != NULL) {
        struct asked *a = container_of(first, struct asked, link);
        list_remove(&a->link);
        asked_free(a);
    }
    if (x->fd >= 0)
        gone(x);
    mem_free(x);
}
