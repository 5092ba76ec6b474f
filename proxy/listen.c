/* listen.c - LISTEN in transaction mode by way of a shared listener: changing over, delivering,
 * upkeep; see listen.h.  The tables are in listen_subs.c.  Thread: the worker's. */
#include "proxy/listen_subs.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/session.h"

#include <stdatomic.h>

#define QUEUE_MAX (16u * 1024 * 1024) /* held back for one client; more: it is closed */
#define RETRY_US USEC_PER_SEC         /* after a marker could not be sent */

static const struct wire *wire_of(const struct server *s)
{
    return s->conn.worker->wire;
}

/* ---- delivering ------------------------------------------------------------------------------ */

static bool is_ascii(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] >= 0x80)
            return false;
    return true;
}

/* Both servers write text in the same encoding, as far as they report one. */
static bool same_encoding(const struct wire *wire, const struct varset *a, const struct varset *b)
{
    if (wire->encoding_var == NULL || a == NULL || b == NULL)
        return true;
    return str_eq(varset_find(a, str_of(wire->encoding_var)),
                  varset_find(b, str_of(wire->encoding_var)));
}

static void deliver(struct listen_client *x, bool behind, const struct wire_server_event *ev)
{
    struct client *c = x->client;
    struct server *s = c->pool->listen->server;
    if (c->state == CL_ENDING || c->state == CL_CLOSED)
        return;
    if ((!is_ascii(ev->payload) || !is_ascii(ev->channel)) &&
        !same_encoding(wire_of(s), c->told, s->profile)) {
        client_fatal(c, C_UNSUPPORTED,
                     STR("notification cannot be converted to the client's encoding"));
        return;
    }
    wire_of(s)->cl_notify(c->wire_state, ev->pid, ev->channel, ev->payload,
                          behind ? &x->behind : &x->held);
    if (x->held.len + x->behind.len + c->conn.out.len > QUEUE_MAX) {
        client_fatal(c, C_OVERLOAD, STR("too many notifications that the client does not read"));
        return;
    }
    if (!behind && listen_subs_may_hear(c))
        listen_subs_write_held(x);
}

/* The change is complete: from here on the shared listener delivers. */
static void open_gates(struct listen_client *x)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &x->subs)
        container_of(it, struct sub, in_client)->gated = false;
    x->ngated = 0;
    list_remove(&x->leaving);
    x->here = x->there = false;
    if (x->behind.len > 0)
        outq_move(&x->held, &x->behind);
    listen_flush(x->client);
}

static void send_leave(struct listen_client *x, struct server *s)
{
    wire_of(s)->sv_listen(s->wire_state, STR(""), false, &s->conn.out);
    server_push(s, FLIGHT_LISTEN, x->client)->effects = WHAT_LEAVE;
    server_arm(s);
}

static bool is_marker_of(const struct listen_client *x, struct str payload)
{
    return payload.n == HEX_ID && memcmp(payload.p, x->marker, HEX_ID) == 0;
}

static void marker_there(struct listen *l, struct str payload)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &l->leaving) {
        struct listen_client *x = container_of(it, struct listen_client, leaving);
        if (!is_marker_of(x, payload))
            continue;
        x->there = true;
        if (!x->here)
            return;
        open_gates(x);
        if (x->client->server != NULL && x->client->server->fl_count == 0)
            send_leave(x, x->client->server);
        return;
    }
}

static void move_all(struct list *to, struct list *from)
{
    struct list *it;
    while ((it = list_pop_front(from)) != NULL)
        list_push_back(to, it);
}

static void dispatch(struct listen *l, const struct wire_server_event *ev)
{
    if (str_eq(ev->channel, l->marker.name)) {
        marker_there(l, ev->payload);
        return;
    }
    struct channel *ch = map_get(&l->channels, ev->channel);
    struct list *it, told;
    if (ch == NULL)
        return;
    /* Closing one client may make others go: each is moved on before anything is done with it. */
    l->busy = true;
    list_init(&told);
    while ((it = list_pop_front(&ch->subs)) != NULL) {
        struct sub *sub = container_of(it, struct sub, in_channel);
        list_push_back(&told, it);
        if (!sub->gated || sub->owner->there)
            deliver(sub->owner, sub->gated, ev);
    }
    move_all(&ch->subs, &told);
    l->busy = false;
    if (list_empty(&ch->subs))
        listen_subs_sweep(l);
}

bool listen_notified(struct server *s, const struct wire_server_event *ev)
{
    if (s->shared_listener) {
        dispatch(s->pool->listen, ev);
        return true;
    }
    struct client *c = s->client;
    if (c == NULL || c->listen == NULL)
        return false;
    struct listen_client *x = c->listen;
    if (str_eq(ev->channel, c->pool->listen->marker.name)) {
        if (list_linked(&x->leaving) && is_marker_of(x, ev->payload)) {
            x->here = true;
            if (x->there)
                open_gates(x);
        }
        return true;
    }
    if (list_linked(&x->leaving) && x->here)
        return true;
    const struct sub *sub = listen_subs_find(x, ev->channel);
    return sub != NULL && !sub->gated;
}

/* ---- changing over --------------------------------------------------------------------------- */

/* One server is left for the clients, whatever the number of workers. */
static bool take_place(struct pool *p)
{
    int before = atomic_fetch_add_explicit(&p->shared->shared.listeners, 1, memory_order_relaxed);
    if (before + 1 < pool_limit(p))
        return true;
    atomic_fetch_sub_explicit(&p->shared->shared.listeners, 1, memory_order_relaxed);
    return false;
}

/* Settings of the client that made it must not bend what others are told. */
static bool reset(struct server *s)
{
    struct wire_var delta[64];
    int n = varset_diff(s->vars, s->conn.worker->vars.empty, delta, 64);
    if (n > 64)
        return false;
    if (n > 0) {
        wire_of(s)->sv_vars(s->wire_state, delta, n, &s->conn.out);
        server_push(s, FLIGHT_VARS, NULL);
    }
    if (s->tainted_by != 0) {
        wire_of(s)->sv_clean(s->wire_state, CLEAN_SETTINGS, &s->conn.out);
        server_push(s, FLIGHT_CLEAN, NULL);
        s->tainted_by = 0;
    }
    varset_put(&s->vars);
    s->vars = varset_empty(&s->conn.worker->vars);
    return true;
}

static void retry_others(struct listen *l);

/* c's server becomes the shared listener; it listens on c's channels already. */
static bool adopt(struct listen *l, struct client *c, struct server *s)
{
    struct list *it, *tmp;
    if (!take_place(l->pool))
        return false;
    if (!reset(s)) {
        atomic_fetch_sub_explicit(&l->pool->shared->shared.listeners, 1, memory_order_relaxed);
        return false;
    }
    session_detach(c);
    client_set_state(c, CL_IDLE);
    l->server = s;
    l->checked_at = s->conn.worker->now;
    s->shared_listener = true;
    LIST_EACH(it, tmp, &c->listen->subs) {
        struct channel *ch = container_of(it, struct sub, in_client)->channel;
        if (container_of(it, struct sub, in_client)->gated)
            ch->state = CHANNEL_ON;
        else if (ch->state == CHANNEL_OFF)
            listen_subs_ask_for(l, ch);
    }
    listen_subs_ask_for(l, &l->marker);
    open_gates(c->listen);
    retry_others(l);
    session_go_on(c);
    return true;
}

static void leave(struct listen *l, struct listen_client *x, struct server *s)
{
    const struct wire *wire = wire_of(s);
    listen_subs_put_hex(x->marker, HEX_ID);
    x->here = x->there = false;
    list_push_back(&l->leaving, &x->leaving);
    x->client->barrier = true;
    wire->sv_listen(s->wire_state, l->marker.name, true, &s->conn.out);
    server_push(s, FLIGHT_LISTEN, x->client)->effects = WHAT_OTHER;
    wire->sv_notify(s->wire_state, l->marker.name, (struct str){x->marker, HEX_ID}, &s->conn.out);
    server_push(s, FLIGHT_LISTEN, x->client)->effects = WHAT_MARK;
    server_arm(s);
}

static bool movable(const struct client *c, const struct server *s)
{
    const struct listen_client *x = c->listen;
    return x != NULL && x->nsubs > 0 && s->pins == PIN_LISTEN && listen_subs_wanted(s) &&
           same_encoding(wire_of(s), s->profile, c->pool->profile);
}

bool listen_may_move(const struct client *c, const struct server *s)
{
    return movable(c, s) && c->pool->listen->server != NULL;
}

bool listen_settle(struct client *c, struct server *s)
{
    struct listen_client *x = c->listen;
    if (!movable(c, s) || x->retry_at > s->conn.worker->now)
        return false;
    if (list_linked(&x->leaving)) { /* the marker has not come everywhere */
        c->barrier = true;
        return true;
    }
    struct listen *l = c->pool->listen;
    if (l->server == NULL)
        return adopt(l, c, s);
    if (x->ngated == 0) { /* it listens to nothing new */
        c->barrier = true;
        send_leave(x, s);
        return true;
    }
    struct list *it, *tmp;
    bool ready = l->marker.state == CHANNEL_ON;
    LIST_EACH(it, tmp, &x->subs) {
        struct channel *ch = container_of(it, struct sub, in_client)->channel;
        if (ch->state == CHANNEL_OFF)
            listen_subs_ask_for(l, ch);
        ready = ready && ch->state == CHANNEL_ON;
    }
    if (ready)
        leave(l, x, s);
    return ready;
}

/* Those whose channels have been confirmed meanwhile, and who do nothing, can go now. */
static void retry_others(struct listen *l)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &l->members) {
        struct listen_client *x = container_of(it, struct listen_client, member);
        struct client *c = x->client;
        if (x->ngated > 0 && c->state == CL_HELD && !list_linked(&x->leaving) && !c->barrier &&
            listen_subs_may_hear(c))
            (void)listen_settle(c, c->server);
    }
}

static void mark_done(struct server *s, struct listen_client *x, bool ok)
{
    if (!list_linked(&x->leaving)) { /* both markers have come */
        send_leave(x, s);
        return;
    }
    if (ok && x->here) {
        server_arm(s); /* for the other one */
        return;
    }
    /* The database's queue may be full: nothing has changed, the server is kept a while longer. */
    list_remove(&x->leaving);
    x->here = x->there = false;
    outq_clear(&x->behind);
    x->retry_at = s->conn.worker->now + RETRY_US;
}

static void confirmed(struct listen *l, uint32_t ticket, bool ok)
{
    struct channel *ch = l->marker.ticket == ticket ? &l->marker : NULL;
    struct str name;
    void *v;
    for (size_t i = 0; ch == NULL && map_next(&l->channels, &i, &name, &v);)
        if (((struct channel *)v)->ticket == ticket)
            ch = v;
    if (ch == NULL || ch->state != CHANNEL_SENT)
        return; /* nobody wanted it any more */
    ch->state = ok ? CHANNEL_ON : CHANNEL_OFF;
    if (ok)
        retry_others(l);
}

void listen_done(struct server *s, struct flight *f, bool ok)
{
    struct client *c = f->client;
    if (s->fl_count == 1)
        timeout_stop(&s->timeout);
    if (s->shared_listener) {
        if (f->effects & WHAT_TICKET)
            confirmed(s->pool->listen, f->effects, ok);
        return;
    }
    if (!ok && f->effects == WHAT_LEAVE)
        s->doubtful = true;
    else if (f->effects == WHAT_LEAVE)
        s->pins &= ~(uint32_t)PIN_LISTEN;
    else if (f->effects == WHAT_MARK && c != NULL && c->listen != NULL)
        mark_done(s, c->listen, ok);
}

/* ---- upkeep ---------------------------------------------------------------------------------- */

static void stay(struct listen_client *x)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &x->subs)
        container_of(it, struct sub, in_client)->channel->state = CHANNEL_OFF;
}

void listen_server_lost(struct server *s)
{
    struct listen *l = s->pool->listen;
    struct list *it, kept;
    l->server = NULL;
    l->marker.state = CHANNEL_OFF;
    s->shared_listener = false;
    atomic_fetch_sub_explicit(&l->pool->shared->shared.listeners, 1, memory_order_relaxed);
    list_init(&kept);
    while ((it = list_pop_front(&l->members)) != NULL) {
        struct listen_client *x = container_of(it, struct listen_client, member);
        list_push_back(&kept, it);
        if (x->nsubs > x->ngated || list_linked(&x->leaving))
            client_fatal(x->client, C_SERVER_LOST,
                         STR("the server connection that listened for this client was lost"));
        else
            stay(x); /* its own server still delivers */
    }
    move_all(&l->members, &kept);
}

/* A peer that vanished without a word would leave the clients deaf: it is asked from time to
 * time. */
void listen_housekeeping(struct pool *p)
{
    struct listen *l = p->listen;
    usec_t every = worker_options(p->worker)->server_check_delay;
    if (l == NULL || l->server == NULL)
        return;
    /* PAUSE ends when no server is left, and the others listen to the wrong place. */
    bool suspended = atomic_load_explicit(&p->worker->process->shared.suspended,
                                          memory_order_relaxed);
    bool paused = pool_paused(p) && !suspended;
    if (paused || l->server->dns_stale ||
        l->server->epoch !=
            atomic_load_explicit(&p->shared->db->shared.epoch, memory_order_relaxed)) {
        server_quit(l->server, "database paused or its configuration changed");
        return;
    }
    if (l->server->fl_count > 0 || every == 0 || p->worker->now - l->checked_at < every)
        return;
    l->checked_at = p->worker->now;
    wire_of(l->server)->sv_ping(l->server->wire_state, &l->server->conn.out);
    server_push(l->server, FLIGHT_LISTEN, NULL)->effects = WHAT_OTHER;
    server_arm(l->server);
}

void listen_free(struct pool *p)
{
    if (p->listen == NULL)
        return;
    CHECK(p->listen->server == NULL && list_empty(&p->listen->members));
    map_fini(&p->listen->channels);
    mem_free(p->listen);
    p->listen = NULL;
}
