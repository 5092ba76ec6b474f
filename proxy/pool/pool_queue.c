/* pool_queue.c - who waits for a server of a pool; see pool.h.
 *
 * One FIFO per kind of waiter, so that whoever may be served next is found without looking at those
 * who may not; seniority (waiter.since) decides between the kinds.
 * Thread: the owning worker's.
 */
#include "base/check.h"
#include "proxy/pool/pool_cluster.h"

#include <stdatomic.h>

static struct waiter *waiter_of(struct list *l)
{
    return l == NULL ? NULL : container_of(l, struct waiter, link);
}

int pool_wanting(const struct pool *p)
{
    return p->nwaiters - p->nwaiting[WAIT_PROFILE];
}

struct waiter *pool_oldest(const struct pool *p, unsigned kinds)
{
    struct waiter *best = NULL;
    if (p->nwaiters == 0)
        return NULL;
    for (int k = 0; k < WAITER_KINDS; k++) {
        struct waiter *w = kinds & (1u << k) ? waiter_of(list_first(&p->waiting[k])) : NULL;
        if (w != NULL && (best == NULL || w->since < best->since))
            best = w;
    }
    return best;
}

/* Among its kind by seniority. Nearly always it is the youngest, or older than all. */
static void insert(struct pool *p, struct waiter *w)
{
    struct list *queue = &p->waiting[w->kind];
    const struct waiter *last = waiter_of(list_last(queue));
    struct list *it, *tmp;
    if (last == NULL || last->since <= w->since) {
        list_push_back(queue, &w->link);
        return;
    }
    LIST_EACH(it, tmp, queue) {
        if (waiter_of(it)->since > w->since) {
            list_insert_before(it, &w->link);
            return;
        }
    }
    UNREACHABLE();
}

static void enter(struct pool *p, struct waiter *w, usec_t since)
{
    w->pool = p;
    w->since = since;
    list_init(&w->link);
    insert(p, w);
    p->nwaiting[w->kind]++;
    p->nwaiters++;
    atomic_fetch_add_explicit(&p->shared->shared.waiting, 1, memory_order_relaxed);
    if (p->cluster != NULL)
        pool_cluster_count(p, w, 1);
    else
        pool_publish(p);
}

bool pool_join_queue(struct pool *p, struct waiter *w)
{
    int max = worker_options(p->worker)->max_waiting;
    if (max > 0 && atomic_load_explicit(&p->shared->shared.waiting, memory_order_relaxed) >= max)
        return false;
    enter(p, w, p->worker->now);
    return true;
}

void pool_rejoin_queue(struct pool *p, struct waiter *w, usec_t since)
{
    DCHECK(!list_linked(&w->link));
    enter(p, w, since);
}

void pool_leave_queue(struct waiter *w)
{
    struct pool *p = w->pool;
    if (!list_linked(&w->link))
        return;
    list_remove(&w->link);
    p->nwaiting[w->kind]--;
    p->nwaiters--;
    atomic_fetch_sub_explicit(&p->shared->shared.waiting, 1, memory_order_relaxed);
    if (p->cluster != NULL)
        pool_cluster_count(p, w, -1);
    else
        pool_publish(p);
}

void pool_requeue_as(struct pool *p, struct waiter *w, enum waiter_kind kind)
{
    if (w->kind == kind)
        return;
    list_remove(&w->link);
    p->nwaiting[w->kind]--;
    w->kind = kind;
    p->nwaiting[kind]++;
    insert(p, w);
    pool_publish(p);
    if (kind == WAIT_ALONE) /* nothing may have been opened for it yet */
        pool_schedule(p);
}

/* Those that wait now, oldest first, and not those who come meanwhile. */
static void take_all(struct pool *p, struct list *all)
{
    struct waiter *w;
    list_init(all);
    while ((w = pool_oldest(p, WAIT_ANY)) != NULL) {
        pool_leave_queue(w);
        list_push_back(all, &w->link);
    }
}

void pool_fail_all(struct pool *p, enum cause cause, struct str code, struct str text)
{
    struct list all, *l;
    take_all(p, &all);
    while ((l = list_pop_front(&all)) != NULL)
        waiter_of(l)->failed(waiter_of(l), cause, code, text);
}

void pool_send_away(struct pool *p, bool failed)
{
    struct list all, *l;
    take_all(p, &all);
    while ((l = list_pop_front(&all)) != NULL)
        waiter_of(l)->again(waiter_of(l), failed);
}

void pool_fail_waiters(struct pool *p, enum cause cause, struct str text)
{
    while (p->nwaiters > 0)
        pool_fail_all(p, cause, STR_NONE, text);
}
