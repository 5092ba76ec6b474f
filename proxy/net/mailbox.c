/* mailbox.c - typed messages between threads; see mailbox.h.  Any thread posts, the owner
 * drains. */
#include "proxy/net/mailbox.h"

#include "base/check.h"

static void on_wake(struct ev_loop *loop, ev_async *w, int revents)
{
    (void)loop;
    (void)revents;
    mailbox_drain(container_of(w, struct mailbox, wake));
}

void mailbox_init(struct mailbox *mb, struct ev_loop *loop, void *ctx)
{
    mb->loop = loop;
    mb->ctx = ctx;
    CHECK(pthread_mutex_init(&mb->shared.lock, NULL) == 0);
    list_init(&mb->shared.queue);
    mb->shared.closed = false;
    ev_async_init(&mb->wake, on_wake);
    ev_async_start(loop, &mb->wake);
    ev_unref(loop);
}

void mailbox_fini(struct mailbox *mb)
{
    CHECK(list_empty(&mb->shared.queue));
    ev_ref(mb->loop);
    ev_async_stop(mb->loop, &mb->wake);
    pthread_mutex_destroy(&mb->shared.lock);
}

bool mailbox_post(struct mailbox *mb, struct message *m)
{
    list_init(&m->link);
    pthread_mutex_lock(&mb->shared.lock);
    bool open = !mb->shared.closed;
    if (open)
        list_push_back(&mb->shared.queue, &m->link);
    pthread_mutex_unlock(&mb->shared.lock);
    if (open)
        ev_async_send(mb->loop, &mb->wake);
    return open;
}

void mailbox_drain(struct mailbox *mb)
{
    pthread_mutex_lock(&mb->shared.lock);
    const struct list *last = list_last(&mb->shared.queue), *l = NULL;
    pthread_mutex_unlock(&mb->shared.lock);
    while (l != last) { /* only the owner takes any out, so it comes */
        pthread_mutex_lock(&mb->shared.lock);
        struct list *first = list_pop_front(&mb->shared.queue);
        pthread_mutex_unlock(&mb->shared.lock);
        if (first == NULL) /* a message drained this mailbox itself */
            return;
        l = first;
        struct message *m = container_of(first, struct message, link);
        m->deliver(m, mb->ctx);
    }
}

void mailbox_close(struct mailbox *mb)
{
    pthread_mutex_lock(&mb->shared.lock);
    mb->shared.closed = true;
    pthread_mutex_unlock(&mb->shared.lock);
    mailbox_drain(mb);
}
