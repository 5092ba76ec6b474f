/* listen.c - LISTEN in transaction mode by way of a shared listener; see listen.h. */
#include "proxy/listen.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "proxy/session.h"

#include <stdatomic.h>

#define QUEUE_MAX (16u * 1024 * 1024) /* held back for one client; more: it is closed */
#define RETRY_US USEC_PER_SEC         /* after a marker could not be sent */
#define HEX_ID 16

enum channel_state { CHANNEL_OFF, CHANNEL_SENT, CHANNEL_ON };

struct channel {
    enum channel_state state; /* at the shared listener */
    uint32_t ticket;          /* of the LISTEN whose answer is awaited */
    struct list subs;
    struct str name;          /* owned */
};

struct sub {
    struct list in_channel, in_client;
    struct channel *channel;     /* borrowed */
    struct listen_client *owner; /* borrowed */
    bool gated;                  /* the client's own server still delivers */
    bool seen;                   /* named by the answer that is being read */
};

struct op { /* UNLISTEN of a transaction that is not over */
    struct str name; /* owned; empty: all */
    bool done;       /* its request has succeeded */
};

struct listen_client {
    struct client *client; /* borrowed */
    struct list subs;
    struct list leaving; /* in listen->leaving: a marker is under way */
    struct list member;  /* in listen->members */
    int ngated, nsubs;
    bool here, there;    /* the marker has come over the own server, over the shared listener */
    char marker[HEX_ID];
    usec_t retry_at;
    struct outq held;    /* to be delivered between two answers */
    struct outq behind;  /* of gated channels: came behind the marker, which the own server has not shown */
    struct op *ops;      /* owned */
    int nops;
};

struct listen {
    struct pool *pool;     /* borrowed */
    struct server *server; /* borrowed; NULL: none */
    struct map channels;   /* name -> struct channel, owned */
    struct list members, leaving;
    struct channel marker; /* its name: the channel of markers */
    char marker_name[32];
    uint32_t tickets;
    bool busy;             /* channels are being walked: none may be freed */
    usec_t checked_at;
};

/* What an own statement of kind FLIGHT_LISTEN is, in flight.effects. */
#define WHAT_OTHER 0u
#define WHAT_MARK 1u  /* NOTIFY of the marker, on the client's server */
#define WHAT_LEAVE 2u /* UNLISTEN * there */
#define WHAT_TICKET (1u << 31)

static const struct wire *wire_of(const struct server *s)
{
    return s->conn.worker->wire;
}

static void put_hex(char *dst, size_t n)
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
    put_hex(l->marker_name + sizeof(prefix) - 1, HEX_ID);
    l->marker.name = str_of(l->marker_name);
    p->listen = l;
    return l;
}

struct server *listen_server(const struct pool *p)
{
    return p->listen != NULL ? p->listen->server : NULL;
}

/* ---- at the shared listener ----------------------------------------------------------------------- */

static void tell(struct listen *l, struct str name, bool on, uint32_t what)
{
    struct server *s = l->server;
    wire_of(s)->sv_listen(s->wire_state, name, on, &s->conn.out);
    server_push(s, FLIGHT_LISTEN, NULL)->effects = what;
    server_arm(s);
}

static void ask_for(struct listen *l, struct channel *ch)
{
    ch->state = CHANNEL_SENT;
    ch->ticket = WHAT_TICKET | ++l->tickets;
    tell(l, ch->name, true, ch->ticket);
}

/* Nobody listens any more: the server goes back to its pool, clean. */
static void give_back(struct listen *l)
{
    struct server *s = l->server;
    if (s == NULL || l->busy || map_count(&l->channels) > 0)
        return;
    l->server = NULL;
    l->marker.state = CHANNEL_OFF;
    s->shared_listener = false;
    s->must_clean = true;
    atomic_fetch_sub_explicit(&l->pool->shared->shared.listeners, 1, memory_order_relaxed);
    if (s->fl_count == 0)
        session_settle(s);
}

static void drop_if_empty(struct listen *l, struct channel *ch)
{
    if (!list_empty(&ch->subs) || l->busy)
        return;
    if (ch->state != CHANNEL_OFF && l->server != NULL)
        tell(l, ch->name, false, WHAT_OTHER);
    map_remove(&l->channels, ch->name);
    mem_free((void *)(uintptr_t)ch->name.p);
    mem_free(ch);
    give_back(l);
}

/* After a walk: what lost its last subscriber meanwhile. */
static void sweep(struct listen *l)
{
    struct str name;
    void *v;
    for (size_t i = 0; map_next(&l->channels, &i, &name, &v);) {
        struct channel *ch = v;
        if (list_empty(&ch->subs))
            drop_if_empty(l, ch);
    }
    give_back(l);
}

/* ---- subscriptions -------------------------------------------------------------------------------- */

static struct listen_client *client_of(struct client *c)
{
    if (c->listen != NULL)
        return c->listen;
    struct listen_client *x = mem_new(sizeof(*x));
    x->client = c;
    list_init(&x->subs);
    list_init(&x->leaving);
    list_init(&x->member);
    list_push_back(&listen_of(c->pool)->members, &x->member);
    outq_init(&x->held, &c->conn.worker->blocks);
    outq_init(&x->behind, &c->conn.worker->blocks);
    c->listen = x;
    return x;
}

static struct sub *find_sub(const struct listen_client *x, struct str channel)
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
    struct listen *l = x->client->pool->listen;
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
    struct channel *ch = sub->channel;
    list_remove(&sub->in_channel);
    list_remove(&sub->in_client);
    x->nsubs--;
    x->ngated -= sub->gated;
    mem_free(sub);
    drop_if_empty(x->client->pool->listen, ch);
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
    list_remove(&x->leaving);
    list_remove(&x->member);
    unsubscribe_all(x);
    free_ops(x);
    outq_clear(&x->held);
    outq_clear(&x->behind);
    c->listen = NULL;
    mem_free(x);
}

int listen_count(const struct client *c)
{
    return c->listen == NULL ? 0 : c->listen->nsubs;
}

bool listen_is_moving(const struct client *c)
{
    return c->listen != NULL && list_linked(&c->listen->leaving);
}

/* ---- the answer of the client's own server -------------------------------------------------------- */

static bool of_interest(const struct server *s)
{
    return s->client != NULL && !s->client->passthrough && wire_of(s)->sv_notify != NULL &&
           !worker_options(s->conn.worker)->server_reset_query_always;
}

void listen_ask_begins(struct server *s)
{
    struct list *it, *tmp;
    if (!of_interest(s) || s->client->listen == NULL)
        return;
    LIST_EACH(it, tmp, &s->client->listen->subs) container_of(it, struct sub, in_client)->seen = false;
}

void listen_ask_row(struct server *s, struct str channel)
{
    if (!of_interest(s))
        return;
    struct listen_client *x = client_of(s->client);
    struct sub *sub = find_sub(x, channel);
    if (sub == NULL)
        subscribe(x, channel);
    else
        sub->seen = true;
}

void listen_ask_done(struct server *s)
{
    struct list *it, *tmp;
    if (!of_interest(s) || s->client->listen == NULL || listen_is_moving(s->client))
        return;
    LIST_EACH(it, tmp, &s->client->listen->subs) {
        struct sub *sub = container_of(it, struct sub, in_client);
        if (sub->gated && !sub->seen)
            unsubscribe(sub);
    }
}

/* ---- delivering ----------------------------------------------------------------------------------- */

/* No answer of c is half-written, and it has no transaction open. */
static bool may_hear(const struct client *c)
{
    if (c->state == CL_IDLE || c->state == CL_WAIT)
        return true;
    return c->state == CL_HELD && c->server->tx == TX_IDLE && c->server->fl_count == 0;
}

static void write_held(struct listen_client *x)
{
    if (x->held.len == 0)
        return;
    outq_move(&x->client->conn.out, &x->held);
    conn_dirty(&x->client->conn);
}

void listen_flush(struct client *c)
{
    if (c->listen != NULL && may_hear(c))
        write_held(c->listen);
}

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
    return str_eq(varset_find(a, str_of(wire->encoding_var)), varset_find(b, str_of(wire->encoding_var)));
}

static void deliver(struct listen_client *x, bool behind, const struct wire_server_event *ev)
{
    struct client *c = x->client;
    struct server *s = c->pool->listen->server;
    if (c->state == CL_ENDING || c->state == CL_CLOSED)
        return;
    if ((!is_ascii(ev->payload) || !is_ascii(ev->channel)) &&
        !same_encoding(wire_of(s), c->told, s->profile)) {
        client_fatal(c, C_UNSUPPORTED, STR("notification cannot be converted to the client's encoding"));
        return;
    }
    wire_of(s)->cl_notify(c->wire_state, ev->pid, ev->channel, ev->payload, behind ? &x->behind : &x->held);
    if (x->held.len + x->behind.len + c->conn.out.len > QUEUE_MAX) {
        client_fatal(c, C_OVERLOAD, STR("too many notifications that the client does not read"));
        return;
    }
    if (!behind && may_hear(c))
        write_held(x);
}

/* The change is complete: from here on the shared listener delivers. */
static void open_gates(struct listen_client *x)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &x->subs) container_of(it, struct sub, in_client)->gated = false;
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
        sweep(l);
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
    const struct sub *sub = find_sub(x, ev->channel);
    return sub != NULL && !sub->gated;
}

/* ---- changing over -------------------------------------------------------------------------------- */

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
            ask_for(l, ch);
    }
    ask_for(l, &l->marker);
    open_gates(c->listen);
    retry_others(l);
    session_go_on(c);
    return true;
}

static void leave(struct listen *l, struct listen_client *x, struct server *s)
{
    const struct wire *wire = wire_of(s);
    put_hex(x->marker, HEX_ID);
    x->here = x->there = false;
    list_push_back(&l->leaving, &x->leaving);
    x->client->barrier = true;
    wire->sv_listen(s->wire_state, l->marker.name, true, &s->conn.out);
    server_push(s, FLIGHT_LISTEN, x->client)->effects = WHAT_OTHER;
    wire->sv_notify(s->wire_state, l->marker.name, (struct str){x->marker, HEX_ID}, &s->conn.out);
    server_push(s, FLIGHT_LISTEN, x->client)->effects = WHAT_MARK;
    server_arm(s);
}

bool listen_settle(struct client *c, struct server *s)
{
    struct listen_client *x = c->listen;
    if (x == NULL || x->nsubs == 0 || s->pins != PIN_LISTEN || x->retry_at > s->conn.worker->now ||
        !of_interest(s) || !same_encoding(wire_of(s), s->profile, c->pool->profile))
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
            ask_for(l, ch);
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
        if (x->ngated > 0 && c->state == CL_HELD && !list_linked(&x->leaving) && !c->barrier && may_hear(c))
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

/* ---- UNLISTEN ------------------------------------------------------------------------------------- */

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
        write_held(x);
    if (ev->tags & WT_DISCARD)
        unsubscribe_all(x);
    if (x->nops == 0)
        return;
    if (ev->error != SE_NONE)
        undo_ops(x);
    for (int i = 0; i < x->nops; i++)
        x->ops[i].done = true;
    /* Of a rollback to a savepoint it is not known what it takes back: hearing too much is the lesser
     * evil. */
    bool lost = (ev->tags & WT_ROLLBACK) != 0 || (ev->error != SE_NONE && ev->tx == TX_IDLE);
    for (int i = 0; i < x->nops && !lost && ev->tx == TX_IDLE; i++)
        unsubscribe_name(x, x->ops[i].name);
    if (lost || ev->tx == TX_IDLE)
        free_ops(x);
}

/* ---- upkeep --------------------------------------------------------------------------------------- */

static void stay(struct listen_client *x)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &x->subs) container_of(it, struct sub, in_client)->channel->state = CHANNEL_OFF;
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

/* A peer that vanished without a word would leave the clients deaf: it is asked from time to time. */
void listen_housekeeping(struct pool *p)
{
    struct listen *l = p->listen;
    usec_t every = worker_options(p->worker)->server_check_delay;
    if (l == NULL || l->server == NULL || l->server->fl_count > 0 || every == 0 ||
        p->worker->now - l->checked_at < every)
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
