/* listen.c - LISTEN in transaction mode by way of a listening server: changing over, delivering;
 * see listen.h.  The tables are in listen_subs.c, the server in listen_host.c.  Thread: the
 * worker's. */
#include "proxy/listen_host.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/session.h"

#include <stdatomic.h>

#define QUEUE_MAX (16u * 1024 * 1024) /* held back for one client; more: it is closed */
#define RETRY_US USEC_PER_SEC         /* after a LISTEN or a marker failed */

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
    const struct wire *wire = conn_wire(&c->conn);
    if (c->state == CL_ENDING || c->state == CL_CLOSED)
        return;
    /* The listening server writes as the pool's fresh servers do (movable). */
    if ((!is_ascii(ev->payload) || !is_ascii(ev->channel)) &&
        !same_encoding(wire, c->told, c->pool->profile)) {
        client_fatal(c, C_UNSUPPORTED,
                     STR("notification cannot be converted to the client's encoding"));
        return;
    }
    wire->cl_notify(c->wire_state, ev->pid, ev->channel, ev->payload,
                    behind ? &x->behind : &x->held);
    if (x->held.len + x->behind.len + c->conn.out.len > QUEUE_MAX) {
        client_fatal(c, C_OVERLOAD, STR("too many notifications that the client does not read"));
        return;
    }
    if (!behind && listen_subs_may_hear(c))
        listen_subs_write_held(x);
}

/* The change is complete: from here on the listening server delivers. */
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
    conn_wire(&s->conn)->sv_listen(s->wire_state, STR(""), false, &s->conn.out);
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

void listen_subs_heard(struct listen *l, const struct wire_server_event *ev)
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
    if (l->unswept)
        listen_subs_sweep(l);
}

bool listen_notified(struct server *s, const struct wire_server_event *ev)
{
    if (s->shared_listener) {
        listen_host_heard(s->pool->listen->host, ev);
        return true;
    }
    struct client *c = s->client;
    if (c == NULL || c->listen == NULL)
        return false;
    struct listen_client *x = c->listen;
    if (s->pool->listen != NULL && str_eq(ev->channel, s->pool->listen->marker.name)) {
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

/* c's server becomes the listening server; it listens on c's channels already. */
static bool adopt(struct listen *l, struct client *c, struct server *s)
{
    struct list *it, *tmp;
    if (!listen_host_take(l, s))
        return false;
    session_detach(c);
    client_set_state(c, CL_IDLE);
    l->seat = l->host->seat;
    LIST_EACH(it, tmp, &c->listen->subs) {
        struct channel *ch = container_of(it, struct sub, in_client)->channel;
        ch->state = CHANNEL_ON;
        listen_host_has(l->host, ch->name);
    }
    listen_subs_ask_for(l, &l->marker); /* when it is confirmed, others follow (retry_others) */
    open_gates(c->listen);
    session_go_on(c);
    return true;
}

static void leave(struct listen *l, struct listen_client *x, struct server *s)
{
    const struct wire *wire = conn_wire(&s->conn);
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
           same_encoding(conn_wire(&s->conn), s->profile, c->pool->profile);
}

bool listen_may_move(const struct client *c, const struct server *s)
{
    return movable(c, s) && c->listen->listen->seat != 0;
}

static bool on_or_asked(struct listen *l, struct channel *ch)
{
    if (ch->state == CHANNEL_OFF)
        listen_subs_ask_for(l, ch);
    return ch->state == CHANNEL_ON;
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
    struct listen *l = x->listen;
    if (!listen_subs_join(l) && adopt(l, c, s))
        return true;
    if (!listen_subs_join(l)) /* another worker may have been faster */
        return false;
    if (x->ngated == 0) { /* it listens to nothing new */
        c->barrier = true;
        send_leave(x, s);
        return true;
    }
    struct list *it, *tmp;
    bool ready = on_or_asked(l, &l->marker);
    LIST_EACH(it, tmp, &x->subs)
        ready = on_or_asked(l, container_of(it, struct sub, in_client)->channel) && ready;
    if (ready)
        leave(l, x, s);
    return ready;
}

/* Does nothing, and keeps its server for channels that another could listen to. */
static bool waits_to_leave(const struct listen_client *x)
{
    const struct client *c = x->client;
    return x->ngated > 0 && c->state == CL_HELD && !list_linked(&x->leaving) && !c->barrier &&
           listen_subs_may_hear(c);
}

/* Those whose channels have been confirmed meanwhile, or who could not go before. Where nobody
 * listens, one of them begins, and the others follow when that is confirmed: what he does next may
 * end any other, so nobody is looked at after him. */
static void retry_others(struct listen *l)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &l->members) {
        struct listen_client *x = container_of(it, struct listen_client, member);
        bool first = l->seat == 0;
        if (waits_to_leave(x) && listen_settle(x->client, x->client->server) && first)
            return;
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

void listen_subs_answered(struct listen *l, struct str channel, uint32_t ticket, bool ok)
{
    struct list *it, *tmp;
    bool marker = str_eq(channel, l->marker.name);
    struct channel *ch = marker ? &l->marker : map_get(&l->channels, channel);
    if (ch == NULL || ch->state != CHANNEL_SENT || ch->ticket != ticket)
        return; /* nobody wanted it any more */
    ch->state = ok ? CHANNEL_ON : CHANNEL_OFF;
    if (ok && marker)
        retry_others(l);
    LIST_EACH(it, tmp, &ch->subs) {
        struct listen_client *x = container_of(it, struct sub, in_channel)->owner;
        if (!ok)
            x->retry_at = x->client->conn.worker->now + RETRY_US;
        else if (waits_to_leave(x))
            (void)listen_settle(x->client, x->client->server);
    }
}

void listen_done(struct server *s, struct flight *f, bool ok)
{
    struct client *c = f->client;
    if (s->fl_count == 1)
        timeout_stop(&s->timeout);
    if (s->shared_listener) {
        listen_host_done(s->pool->listen->host, f, ok);
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

void listen_subs_lost(struct listen *l)
{
    struct list *it, kept;
    listen_subs_forget(l);
    list_init(&kept);
    while ((it = list_pop_front(&l->members)) != NULL) {
        struct listen_client *x = container_of(it, struct listen_client, member);
        list_push_back(&kept, it);
        if (x->nsubs > x->ngated || list_linked(&x->leaving))
            client_fatal(x->client, C_SERVER_LOST,
                         STR("the server connection that listened for this client was lost"));
    }
    move_all(&l->members, &kept);
    retry_others(l); /* those whose own servers still deliver */
}

void listen_server_lost(struct server *s)
{
    listen_host_lost(s->pool->listen->host);
}

void listen_housekeeping(struct pool *p)
{
    if (p->listen == NULL)
        return;
    if (p->listen->host != NULL)
        listen_host_housekeeping(p->listen->host);
    retry_others(p->listen);
}

void listen_pool_left(struct pool *p)
{
    if (p->listen != NULL)
        listen_subs_lost(p->listen);
}

void listen_free(struct pool *p)
{
    if (p->listen == NULL)
        return;
    CHECK(p->listen->host == NULL && map_count(&p->listen->channels) == 0);
    listen_subs_dismiss(p->listen);
    map_fini(&p->listen->channels);
    mem_free(p->listen);
    p->listen = NULL;
}
