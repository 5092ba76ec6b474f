/* listen_post.c - messages about a pool's listening server; see listen_post.h. */
#include "proxy/listen_post.h"

#include "base/mem.h"

enum what { WANT, UNWANT, ANSWER, HEARD, LOST };

struct news {
    struct message m;
    struct pool_shared *pool; /* borrowed from the registry */
    uint64_t seat;
    enum what what;
    unsigned from; /* WANT, UNWANT: the worker that asks */
    uint32_t ticket;
    uint32_t pid;
    bool ok;
    size_t nchannel, npayload;
    char text[]; /* channel, then payload */
};

static void deliver(struct message *m, void *ctx);

static void post(const struct process *proc, unsigned to, const struct news *head,
                 struct str channel, struct str payload)
{
    struct news *n = mem_new(sizeof(*n) + channel.n + payload.n);
    *n = *head;
    n->m.deliver = deliver;
    n->nchannel = channel.n;
    n->npayload = payload.n;
    if (channel.n > 0)
        memcpy(n->text, channel.p, channel.n);
    if (payload.n > 0)
        memcpy(n->text + channel.n, payload.p, payload.n);
    if (!mailbox_post(&proc->workers[to]->mailbox, &n->m))
        mem_free(n);
}

static void to_host(const struct listen *l, const struct news *head, struct str channel)
{
    post(l->pool->worker->process, listen_host_worker(l->seat), head, channel, STR_NONE);
}

void listen_post_want(const struct listen *l, struct str channel, uint32_t ticket)
{
    const struct news n = {.pool = l->pool->shared,
                           .seat = l->seat,
                           .what = WANT,
                           .from = l->pool->worker->index,
                           .ticket = ticket};
    to_host(l, &n, channel);
}

void listen_post_unwant(const struct listen *l, struct str channel)
{
    const struct news n = {
        .pool = l->pool->shared, .seat = l->seat, .what = UNWANT, .from = l->pool->worker->index};
    to_host(l, &n, channel);
}

static const struct process *process_of(const struct listen_host *h)
{
    return h->listen->pool->worker->process;
}

static struct news news_of(const struct listen_host *h, enum what what)
{
    return (struct news){.pool = h->listen->pool->shared, .seat = h->seat, .what = what};
}

void listen_post_answer(const struct listen_host *h, unsigned to, struct str channel,
                        uint32_t ticket, bool ok)
{
    struct news n = news_of(h, ANSWER);
    n.ticket = ticket;
    n.ok = ok;
    post(process_of(h), to, &n, channel, STR_NONE);
}

void listen_post_heard(const struct listen_host *h, unsigned to, const struct wire_server_event *ev)
{
    struct news n = news_of(h, HEARD);
    n.pid = ev->pid;
    post(process_of(h), to, &n, ev->channel, ev->payload);
}

void listen_post_lost(const struct listen_host *h)
{
    const struct news n = news_of(h, LOST);
    for (unsigned i = 0; i < process_of(h)->nworkers; i++)
        post(process_of(h), i, &n, STR_NONE, STR_NONE);
}

/* ---- arriving -------------------------------------------------------------------------------- */

static void at_host(struct worker *w, struct listen *l, const struct news *n, struct str channel)
{
    struct listen_host *h = l == NULL ? NULL : l->host;
    if (h != NULL && h->seat == n->seat) {
        if (n->what == WANT)
            listen_host_want(h, n->from, channel, n->ticket);
        else
            listen_host_unwant(h, n->from, channel);
        return;
    }
    const struct news lost = {.pool = n->pool, .seat = n->seat, .what = LOST};
    if (n->what == WANT)
        post(w->process, n->from, &lost, STR_NONE, STR_NONE);
}

static void at_subscriber(struct listen *l, const struct news *n, struct str channel)
{
    if (l == NULL || l->seat != n->seat)
        return;
    if (n->what == ANSWER) {
        listen_subs_answered(l, channel, n->ticket, n->ok);
    } else if (n->what == HEARD) {
        const struct wire_server_event ev = {.kind = SV_NOTIFY,
                                             .pid = n->pid,
                                             .channel = channel,
                                             .payload = {n->text + n->nchannel, n->npayload}};
        listen_subs_heard(l, &ev);
    } else {
        listen_subs_lost(l);
    }
}

static void deliver(struct message *m, void *ctx)
{
    struct news *n = container_of(m, struct news, m);
    struct worker *w = ctx;
    struct pool *p = pool_by_shared(w, n->pool);
    struct listen *l = p == NULL ? NULL : p->listen;
    struct str channel = {n->text, n->nchannel};
    if (n->what == WANT || n->what == UNWANT)
        at_host(w, l, n, channel);
    else
        at_subscriber(l, n, channel);
    mem_free(n);
}
