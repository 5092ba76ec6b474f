/* mailbox.h - typed messages between threads: a locked list and a wake-up.
 *
 * A message is embedded in what it carries; posting hands ownership over.  The receiver's loop is
 * woken through ev_async once per batch.  Any thread posts; only the owner drains.
 * This mutex is one of the named exceptions of design.md ("Threads"): it is held for a few
 * instructions, and only while something moves between threads, never for a request.
 */
#ifndef PENSTOCK_PROXY_MAILBOX_H
#define PENSTOCK_PROXY_MAILBOX_H

#include "base/base.h"
#include "base/list.h"

#include <ev.h>
#include <pthread.h>

struct message {
    struct list link;
    /* Runs on the receiving thread and takes the message over. ctx: given to mailbox_init. */
    void (*deliver)(struct message *m, void *ctx);
};

struct mailbox {
    struct ev_loop *loop; /* borrowed */
    ev_async wake;
    void *ctx;
    struct {
        pthread_mutex_t lock;
        struct list queue;
        bool closed; /* posts are refused from now on */
    } shared;
};

void mailbox_init(struct mailbox *mb, struct ev_loop *loop, void *ctx);
void mailbox_fini(struct mailbox *mb);
/* false: the receiver has closed; the caller still owns m. */
bool mailbox_post(struct mailbox *mb, struct message *m);
/* Delivers what is there now; what that posts comes with the next turn. Owner only; also called by
 * the wake-up. */
void mailbox_drain(struct mailbox *mb);
void mailbox_close(struct mailbox *mb); /* owner only; delivers what is there, refuses the rest */

#endif
