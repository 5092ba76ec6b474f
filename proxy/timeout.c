/* timeout.c - deadlines as FIFO lists; see timeout.h.  Worker thread. */
#include "proxy/timeout.h"

#include "base/mem.h"

struct timeout_list {
    usec_t length;
    struct list *head; /* owned; on the heap, because nodes point at it while the array grows */
};

void timeouts_init(struct timeouts *ts)
{
    ts->lists = NULL;
    ts->nlists = 0;
}

void timeouts_fini(struct timeouts *ts)
{
    for (size_t i = 0; i < ts->nlists; i++) {
        while (list_pop_front(ts->lists[i].head) != NULL) {
        }
        mem_free(ts->lists[i].head);
    }
    mem_free(ts->lists);
    timeouts_init(ts);
}

static struct list *list_for(struct timeouts *ts, usec_t length)
{
    for (size_t i = 0; i < ts->nlists; i++)
        if (ts->lists[i].length == length)
            return ts->lists[i].head;
    ts->lists = mem_resize(ts->lists, (ts->nlists + 1) * sizeof(*ts->lists));
    struct timeout_list *l = &ts->lists[ts->nlists++];
    l->length = length;
    l->head = mem_new(sizeof(*l->head));
    list_init(l->head);
    return l->head;
}

void timeouts_run(struct timeouts *ts, usec_t now)
{
    for (size_t i = 0; i < ts->nlists; i++) {
        struct list *first;
        while ((first = list_first(ts->lists[i].head)) != NULL) {
            struct timeout *t = container_of(first, struct timeout, link);
            if (t->deadline > now)
                break;
            timeout_stop(t);
            t->expired(t);
        }
    }
}

usec_t timeouts_next(const struct timeouts *ts)
{
    usec_t next = INT64_MAX;
    for (size_t i = 0; i < ts->nlists; i++) {
        struct list *first = list_first(ts->lists[i].head);
        if (first == NULL)
            continue;
        const struct timeout *t = container_of(first, struct timeout, link);
        next = MIN(next, t->deadline);
    }
    return next;
}

void timeout_init(struct timeout *t, void (*expired)(struct timeout *t))
{
    list_init(&t->link);
    t->deadline = 0;
    t->expired = expired;
}

void timeout_start(struct timeouts *ts, struct timeout *t, usec_t now, usec_t length)
{
    list_remove(&t->link);
    if (length <= 0)
        return;
    t->deadline = now + length;
    list_push_back(list_for(ts, length), &t->link);
}

void timeout_stop(struct timeout *t)
{
    list_remove(&t->link);
}

bool timeout_running(const struct timeout *t)
{
    return list_linked(&t->link);
}
