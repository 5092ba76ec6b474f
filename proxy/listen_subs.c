/* listen_subs.c - who listens to what: channels, subscriptions, UNLISTEN; see listen_subs.h.
 *
 * A channel exists while somebody subscribes to it.  What the database said after a LISTEN makes
 * subscriptions; UNLISTEN takes them away when its transaction is over.  How they change over to
 * the listening server is in listen.c.
 * Thread: the worker's.
 */
#include "proxy/listen_subs.h"

#include "base/mem.h"
#include "base/random.h"
#include "proxy/listen_post.h"
#include "proxy/session.h"

#include <stdatomic.h>

void listen_subs_put_hex(char *dst, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t v = random_u64();
    for (size_t i = 0; i < n; i++, v >>= 4)
        dst[i] = digits[v & 15];
}

static struct listen *listen_of(struct pool *p)
{
    static const char prefix[] = "penstock_";
    if (p->listen != NULL)
        return p->listen;
    struct listen *l = mem_new(sizeof(*l));
    l->pool = p;
    map_init(&l->channels);
    list_init(&l->members);
    list_init(&l->leaving);
    list_init(&l->marker.subs);
    memcpy(l->marker_name, prefix, sizeof(prefix) - 1);
    listen_subs_put_hex(l->marker_name + sizeof(prefix) - 1, HEX_ID);
    l->marker.name = str_of(l->marker_name);
    p->listen = l;
    return l;
}

/* ---- at the listening server ----------------------------------------------------------------- */

bool listen_subs_join(struct listen *l)
{
    if (l->seat == 0)
        l->seat = atomic_load_explicit(&l->pool->shared->shared.listener, memory_order_acquire);
    return l->seat != 0;
}

void listen_subs_ask_for(struct listen *l, struct channel *ch)
{
    ch->state = CHANNEL_SENT;
    ch->ticket = ++l->tickets;
    listen_post_want(l, ch->name, ch->ticket);
}

static void unwant(struct listen *l, struct channel *ch)
{
    if (ch->state != CHANNEL_OFF)
        listen_post_unwant(l, ch->name);
    ch->state = CHANNEL_OFF;
}

/* Whoever has no channels needs no markers, and no listening server. */
static void leave_if_empty(struct listen *l)
{
    if (map_count(&l->channels) > 0)
        return;
    unwant(l, &l->marker);
    l->seat = 0;
}

static void drop_if_empty(struct listen *l, struct channel *ch)
{
    if (!list_empty(&ch->subs))
        return;
    if (l->busy) {
        l->unswept = true;
        return;
    }
    unwant(l, ch);
    map_remove(&l->channels, ch->name);
    mem_free((void *)(uintptr_t)ch->name.p);
    mem_free(ch);
    leave_if_empty(l);
}

void listen_subs_sweep(struct listen *l)
{
    struct str name;
    void *v;
    l->unswept = false;
    for (size_t i = 0; map_next(&l->channels, &i, &name, &v);) {
        struct channel *ch = v;
        if (list_empty(&ch->subs))
            drop_if_empty(l, ch);
    }
}

void listen_subs_forget(struct listen *l)
{
    struct str name;
    void *v;
    for (size_t i = 0; map_next(&l->channels, &i, &name, &v);)
        ((struct channel *)v)->state = CHANNEL_OFF;
    l->marker.state = CHANNEL_OFF;
    l->seat = 0;
}

/* ---- subscriptions --------------------------------------------------------------------------- */

static struct listen_client *client_of(struct client *c)
{
    if (c->listen != NULL)
        return c->listen;
    struct listen_client *x = mem_new(sizeof(*x));
    x->client = c;
    list_init(&x->subs);
    list_init(&x->leaving);
    list_init(&x->member);
    outq_init(&x->held, &c->conn.worker->blocks);
    outq_init(&x->behind, &c->conn.worker->blocks);
    c->listen = x;
    return x;
}

static void join_pool(struct listen_client *x, struct pool *p)
{
    if (x->listen != NULL)
        return;
    x->listen = listen_of(p);
    list_push_back(&x->listen->members, &x->member);
}

static void leave_pool(struct listen_client *x)
{
    list_remove(&x->leaving);
    list_remove(&x->member);
    x->listen = NULL;
}

void listen_subs_dismiss(struct listen *l)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &l->members)
        leave_pool(container_of(it, struct listen_client, member));
}

struct sub *listen_subs_find(const struct listen_client *x, struct str channel)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &x->subs) {
        struct sub *sub = container_of(it, struct sub, in_client);
        if (str_eq(sub->channel->name, channel))
            return sub;
    }
    return NULL;
}

static void subscribe(struct listen_client *x, struct str name)
{
    struct listen *l = x->listen;
    struct channel *ch = map_get(&l->channels, name);
    if (ch == NULL) {
        ch = mem_new(sizeof(*ch));
        ch->name = (struct str){str_dup(name), name.n};
        list_init(&ch->subs);
        map_put(&l->channels, name, ch);
    }
    struct sub *sub = mem_new(sizeof(*sub));
    sub->channel = ch;
    sub->owner = x;
    sub->gated = sub->seen = true;
    list_init(&sub->in_channel);
    list_init(&sub->in_client);
    list_push_back(&ch->subs, &sub->in_channel);
    list_push_back(&x->subs, &sub->in_client);
    x->nsubs++;
    x->ngated++;
}

static void unsubscribe(struct sub *sub)
{
    struct listen_client *x = sub->owner;
    struct listen *l = x->listen;
    struct channel *ch = sub->channel;
    list_remove(&sub->in_channel);
    list_remove(&sub->in_client);
    x->nsubs--;
    x->ngated -= sub->gated;
    mem_free(sub);
    if (x->nsubs == 0 && !list_linked(&x->leaving))
        leave_pool(x);
    drop_if_empty(l, ch);
}

static void unsubscribe_all(struct listen_client *x)
{
    struct list *l;
    while ((l = list_first(&x->subs)) != NULL)
        unsubscribe(container_of(l, struct sub, in_client));
}

static void unsubscribe_name(struct listen_client *x, struct str name)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &x->subs) {
        struct sub *sub = container_of(it, struct sub, in_client);
        if (!sub->gated && (name.n == 0 || str_eq(sub->channel->name, name)))
            unsubscribe(sub);
    }
}

static void free_ops(struct listen_client *x)
{
    for (int i = 0; i < x->nops; i++)
        mem_free((void *)(uintptr_t)x->ops[i].name.p);
    mem_free(x->ops);
    x->ops = NULL;
    x->nops = 0;
}

void listen_client_gone(struct client *c)
{
    struct listen_client *x = c->listen;
    if (x == NULL)
        return;
    unsubscribe_all(x);
    leave_pool(x);
    free_ops(x);
    outq_clear(&x->held);
    outq_clear(&x->behind);
    c->listen = NULL;
    mem_free(x);
}

bool listen_is_moving(const struct client *c)
{
    return c->listen != NULL && list_linked(&c->listen->leaving);
}

/* ---- the answer of the client's own server --------------------------------------------------- */

bool listen_subs_wanted(const struct server *s)
{
    return s->client != NULL && !s->client->passthrough && conn_wire(&s->conn)->sv_notify != NULL &&
           !worker_options(s->conn.worker)->server_reset_query_always &&
           (s->client->listen == NULL || s->client->listen->listen == NULL ||
            s->client->listen->listen->pool == s->pool);
}

void listen_ask_begins(struct server *s)
{
    struct list *it, *tmp;
    if (!listen_subs_wanted(s) || s->client->listen == NULL)
        return;
    LIST_EACH(it, tmp, &s->client->listen->subs)
        container_of(it, struct sub, in_client)->seen = false;
}

void listen_ask_row(struct server *s, struct str channel)
{
    if (!listen_subs_wanted(s))
        return;
    struct listen_client *x = client_of(s->client);
    struct sub *sub = listen_subs_find(x, channel);
    join_pool(x, s->pool);
    if (sub == NULL)
        subscribe(x, channel);
    else
        sub->seen = true;
}

void listen_ask_done(struct server *s)
{
    struct list *it, *tmp;
    if (!listen_subs_wanted(s) || s->client->listen == NULL || listen_is_moving(s->client))
        return;
    LIST_EACH(it, tmp, &s->client->listen->subs) {
        struct sub *sub = container_of(it, struct sub, in_client);
        if (sub->gated && !sub->seen)
            unsubscribe(sub);
    }
}

/* ---- what is held back ----------------------------------------------------------------------- */

/* No answer of c is half-written, and it has no transaction open. */
bool listen_subs_may_hear(const struct client *c)
{
    if (c->state == CL_IDLE || c->state == CL_WAIT)
        return true;
    return c->state == CL_HELD && c->server->tx == TX_IDLE && c->server->fl_count == 0;
}

void listen_subs_write_held(struct listen_client *x)
{
    if (x->held.len == 0)
        return;
    outq_move(&x->client->conn.out, &x->held);
    conn_dirty(&x->client->conn);
}

void listen_flush(struct client *c)
{
    if (c->listen != NULL && listen_subs_may_hear(c))
        listen_subs_write_held(c->listen);
}

/* ---- UNLISTEN -------------------------------------------------------------------------------- */

static void note_op(struct listen_client *x, const struct facts *f)
{
    x->ops = mem_resize(x->ops, (size_t)(x->nops + 1) * sizeof(*x->ops));
    x->ops[x->nops++] = (struct op){{str_dup(f->channel), f->channel.n}, false};
}

void listen_note_unlisten(struct client *c, const struct wire_req *r, const struct plan *plan)
{
    if (c->listen == NULL)
        return;
    if (plan->facts != NULL && (plan->facts->effects & FX_UNLISTEN))
        note_op(c->listen, plan->facts);
    for (int i = 0; i < r->nparts; i++) {
        const struct stmt *stmt = c->conn.worker->part_stmts[i];
        if (r->parts[i].kind == PART_BIND && stmt != NULL && stmt->facts != NULL &&
            (stmt->facts->effects & FX_UNLISTEN))
            note_op(c->listen, stmt->facts);
    }
}

static void undo_ops(struct listen_client *x)
{
    while (x->nops > 0 && !x->ops[x->nops - 1].done)
        mem_free((void *)(uintptr_t)x->ops[--x->nops].name.p);
}

void listen_request_done(struct client *c, const struct wire_server_event *ev)
{
    struct listen_client *x = c->listen;
    if (x == NULL)
        return;
    if (ev->tx == TX_IDLE)
        listen_subs_write_held(x);
    if (ev->tags & WT_DISCARD)
        unsubscribe_all(x);
    if (x->nops == 0)
        return;
    if (ev->error != SE_NONE)
        undo_ops(x);
    for (int i = 0; i < x->nops; i++)
        x->ops[i].done = true;
    /* Of a rollback to a savepoint it is not known what it takes back: hearing too much is the
     * lesser evil. */
    bool lost = (ev->tags & WT_ROLLBACK) != 0 || (ev->error != SE_NONE && ev->tx == TX_IDLE);
    for (int i = 0; i < x->nops && !lost && ev->tx == TX_IDLE; i++)
        unsubscribe_name(x, x->ops[i].name);
    if (lost || ev->tx == TX_IDLE)
        free_ops(x);
}
