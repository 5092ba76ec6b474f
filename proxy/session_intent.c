/* session_intent.c - writes that other processes must know of: mode lease with Redis; see
 * session_cache.h.
 *
 * Before a write is sent Redis holds an intent for each name, or rule, that it may change; before
 * its end is told to the client all of them are gone (cache_lease.h).  Both waits are corks: the
 * request stands in the server's output, the end in the client's, and neither is written before
 * Redis has answered or was given up.  So nothing of how requests are followed changes.
 *
 * The intents of a server hang on it (struct session_claims) until their write is over; then they
 * move to an acknowledgement (struct session_ack), which belongs to the worker, because the server
 * is somebody else's by then and the client may leave.
 *
 * What could not be recorded lets this process's membership lapse (hold), or ends the server
 * connection before anything was sent (refuse), or goes on (proceed): cache_lease_may_write and
 * cache_lease_may_ack decide, here is only when they are asked.
 *
 * A server that is lost with a write under way leaves its intents to their deadlines: the database
 * may still be at it.  For one that Redis has not recorded, or proves not to have when it answers,
 * the membership lapses for as long.  Whose end did not reach Redis is ended later: when there is a
 * new connection, and now and then.  Thread: the worker's.
 */
#include "proxy/session_cache.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/random.h"

#define INTENT_MS 300000     /* a statement may run on after its proxy is gone */
#define JOIN_US USEC_PER_SEC /* a process that has just started becomes a member meanwhile */
#define AGAIN_US 20000       /* what has failed is tried again */
#define LEFT_US USEC_PER_SEC /* and what nobody waits for */
#define STEP_US 10000        /* times are rounded up to: there is a list for each */
#define SOON_US 1            /* at the next turn */
#define UNHEARD_US (2 * (int64_t)USEC_PER_SEC) /* an end of who is no member and cannot lapse */
#define LEFT_MAX 4096 /* intents that are ended later; more wait for their deadlines */

struct session_intent {
    struct list link; /* of its claims, or of its acknowledgement */
    struct cache_batch batch;
    struct cache_intent state;
    struct worker *worker;         /* borrowed */
    struct session_claims *claims; /* borrowed; NULL: the write is over, */
    struct session_ack *ack;       /* borrowed: and this waits for the end */
    const char *database, *rule;   /* borrowed from the scope */
    char *name;                    /* owned; NULL: the whole rule */
    bool sent;                     /* the write is on its way, or was when it was found out */
    bool reached;                  /* Redis may know of it */
    bool free;                     /* of a process that nobody relies on: it is not a member yet */
    bool deserted;                 /* its server is lost; only the answer to its begin matters */
    usec_t deadline;               /* after it Redis has forgotten it too */
};

struct session_claims {
    struct server *server; /* borrowed: owns this */
    struct list intents;
    struct timeout timer;
    usec_t since, until; /* corked; the membership has lapsed */
    bool corked, holding;
};

struct session_ack {
    struct list link; /* in session_cache.acks */
    struct worker *worker;
    struct list intents;
    struct timeout timer;
    usec_t since, until, lapsed; /* made; not before; the membership has lapsed */
    usec_t lost; /* until then the database may be at what its deserted intents are about */
    bool corked, holding;
    uint32_t slot; /* of the client, */
    uint64_t id;   /* if it is still this one */
};

static struct session_intent *intent_of(struct list *l)
{
    return container_of(l, struct session_intent, link);
}

static struct member *member_of(const struct worker *w)
{
    return w->process->member;
}

static enum cache_without_redis policy_of(const struct worker *w)
{
    return w->cache->config->opt.write_without_redis;
}

static void consider(struct session_claims *c);
static void settle(struct session_ack *a);

static void wake_at(struct worker *w, struct timeout *t, usec_t at)
{
    usec_t length = MAX(at - w->now, STEP_US);
    worker_timeout(w, t, (length + STEP_US - 1) / STEP_US * STEP_US);
}

/* The membership will have lapsed at `at`, or sooner if a renewal was refused meanwhile. */
static usec_t look_again(const struct worker *w, usec_t at)
{
    return at == CACHE_MEMBER_NEVER ? at : MIN(at, member_forgotten(member_of(w)));
}

/* ---- what Redis is told ---------------------------------------------------------------------- */

static void told(struct session_intent *i, const struct cache_answer *a)
{
    struct worker *w = i->worker;
    bool begins = i->state.state == CACHE_INTENT_BEGINNING;
    if (begins)
        cache_lease_begun(&i->state, a);
    else
        cache_lease_ended(&i->state, a);
    if (i->state.state == CACHE_INTENT_MISSED)
        i->free = !w->cache->members.joined;
    bool failed = i->state.state == CACHE_INTENT_MISSED || i->state.state == CACHE_INTENT_UNCLEAR;
    if (failed && policy_of(w) == CACHE_PROCEED)
        member_dirty(member_of(w));
}

static void tell(struct session_intent *i)
{
    struct session_cache *sc = i->worker->cache;
    struct cache_redis_where w = {.prefix = str_of(sc->config->opt.prefix),
                                  .database = str_of(i->database),
                                  .rule = str_of(i->rule)};
    const struct cache_answer failed = {.state = CACHE_ANSWER_FAILED};
    if (i->name != NULL)
        w.name = str_of(i->name);
    member_look(member_of(i->worker), &sc->members);
    /* The members that watch over this process's writes must be on the same server. */
    bool same = redis_server(sc->redis) == sc->members.view.server;
    if (same && redis_send(sc->redis, &i->batch, 1, &w))
        i->reached = true;
    else
        told(i, &failed);
}

static void start_end(struct session_intent *i)
{
    cache_lease_end(&i->state, random_u64() | 1u, &i->batch.cmds[0]);
    tell(i);
}

static bool waits(const struct session_intent *i)
{
    return i->state.state == CACHE_INTENT_BEGINNING || i->state.state == CACHE_INTENT_ENDING;
}

static void intent_free(struct session_intent *i)
{
    list_remove(&i->link);
    cache_batch_fini(&i->batch);
    mem_free(i->name);
    mem_free(i);
}

/* The server of i, which was sent, is lost. In Redis it stays until its deadline; if it is not
 * there, the others are closed for as long. */
static void desert(struct session_ack *a, const struct session_intent *i)
{
    struct worker *w = i->worker;
    bool relied_on = a->holding || (!i->free && policy_of(w) != CACHE_PROCEED);
    if (i->state.state != CACHE_INTENT_MISSED || !relied_on)
        return;
    a->until = a->lost;
    if (!a->holding)
        a->lapsed = member_lapse(member_of(w), w->now);
    a->holding = true;
}

static void on_deserted(struct session_intent *i)
{
    struct session_ack *a = i->ack;
    desert(a, i);
    intent_free(i);
    settle(a);
}

static void answered(struct cache_batch *b)
{
    struct session_intent *i = container_of(b, struct session_intent, batch);
    told(i, &b->answers[0]);
    if (i->claims != NULL) {
        consider(i->claims);
        return;
    }
    if (i->deserted) {
        on_deserted(i);
        return;
    }
    if (i->state.state == CACHE_INTENT_HELD || i->state.state == CACHE_INTENT_MISSED)
        start_end(i); /* its write was over before */
    if (i->ack != NULL) {
        settle(i->ack);
    } else if (i->state.state == CACHE_INTENT_CLEAR) {
        i->worker->cache->nleft--;
        intent_free(i);
    }
}

/* Nobody waits for it any more; as long as it is in Redis its name is closed. */
static void leave_behind(struct session_intent *i)
{
    struct session_cache *sc = i->worker->cache;
    i->ack = NULL;
    if (i->state.state != CACHE_INTENT_UNCLEAR || !i->reached || sc->nleft == LEFT_MAX) {
        intent_free(i);
        return;
    }
    list_remove(&i->link);
    list_push_back(&sc->left, &i->link);
    if (sc->nleft++ == 0)
        worker_timeout(i->worker, &sc->again, LEFT_US);
}

void session_intent_clear(struct session_cache *sc)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &sc->left) {
        struct session_intent *i = intent_of(it);
        if (waits(i))
            continue;
        if (i->deadline > sc->worker->now) {
            start_end(i);
            continue;
        }
        sc->nleft--;
        intent_free(i);
    }
}

/* What Redis has refused, or was too late for, needs no new connection. */
void session_intent_again(struct timeout *t)
{
    struct session_cache *sc = container_of(t, struct session_cache, again);
    if (redis_is_up(sc->redis))
        session_intent_clear(sc);
    if (sc->nleft > 0)
        worker_timeout(sc->worker, &sc->again, LEFT_US);
}

/* ---- before a write -------------------------------------------------------------------------- */

static void on_claims_timer(struct timeout *t)
{
    consider(container_of(t, struct session_claims, timer));
}

static struct session_claims *claims_of(struct server *s)
{
    struct session_claims *c = s->claims;
    if (c == NULL) {
        c = s->claims = mem_new(sizeof(*c));
        c->server = s;
        list_init(&c->intents);
        timeout_init(&c->timer, on_claims_timer);
    }
    return c;
}

struct session_intent *session_intent_new(struct server *s, const struct cache_scope *scope,
                                          const struct cache_key *key, bool sent)
{
    struct session_claims *c = claims_of(s);
    struct session_intent *i = mem_new(sizeof(*i));
    cache_batch_init(&i->batch, answered);
    list_init(&i->link);
    list_push_back(&c->intents, &i->link);
    i->worker = s->conn.worker;
    i->claims = c;
    i->sent = sent;
    i->deadline = i->worker->now + INTENT_MS * 1000ll;
    cache_l1_scope_names(scope, &i->database, &i->rule);
    i->name = key != NULL ? str_dup(key->name) : NULL;
    cache_lease_begin(&i->state, key == NULL, random_u64() | 1u, random_u64() | 1u, INTENT_MS,
                      &i->batch.cmds[0]);
    tell(i);
    return i;
}

static void release(struct session_claims *c)
{
    struct list *it, *tmp;
    timeout_stop(&c->timer);
    LIST_EACH(it, tmp, &c->intents)
        intent_of(it)->sent = true;
    if (c->corked)
        conn_uncork(&c->server->conn);
    c->corked = false;
}

/* Nothing of the write was sent, and nothing will be. */
static void refuse(struct session_claims *c)
{
    struct server *s = c->server;
    int requests = 0; /* what is in flight before it was sent */
    for (uint32_t i = 0; i < s->fl_count; i++)
        requests += server_flight(s, i)->kind == FLIGHT_CLIENT;
    if (s->client != NULL && requests == 1)
        s->client->timed_out = C_NOT_RECORDED;
    server_close(s, "a write could not be recorded in Redis");
}

static enum cache_write_next may_write(const struct session_intent *i,
                                       enum cache_without_redis policy, bool joined)
{
    enum cache_write_next next = cache_lease_may_write(&i->state, 1, policy, joined);
    if (next == CACHE_WRITE_REFUSE && i->sent) /* it cannot be taken back */
        return joined ? CACHE_WRITE_LAPSE : CACHE_WRITE_GO;
    return next;
}

/* What all intents of the server together ask for. */
static enum cache_write_next together(const struct session_claims *c)
{
    struct worker *w = c->server->conn.worker;
    enum cache_write_next all = CACHE_WRITE_GO;
    struct list *it, *tmp;
    member_look(member_of(w), &w->cache->members);
    LIST_EACH(it, tmp, &c->intents) {
        enum cache_write_next next = may_write(intent_of(it), policy_of(w),
                                               w->cache->members.joined);
        if (next == CACHE_WRITE_WAIT)
            return next;
        all = MAX(all, next);
    }
    return all;
}

static void lapse(struct session_claims *c)
{
    struct worker *w = c->server->conn.worker;
    c->until = c->holding ? look_again(w, c->until) : member_lapse(member_of(w), w->now);
    c->holding = true;
    if (c->until <= w->now)
        release(c);
    else if (c->corked)
        wake_at(w, &c->timer, MIN(c->until, w->now + AGAIN_US));
}

static void consider(struct session_claims *c)
{
    struct worker *w = c->server->conn.worker;
    switch (together(c)) {
    case CACHE_WRITE_WAIT:
        break;
    case CACHE_WRITE_GO:
        release(c);
        break;
    case CACHE_WRITE_LAPSE:
        lapse(c);
        break;
    case CACHE_WRITE_REFUSE:
        if (policy_of(w) == CACHE_HOLD && w->now - c->since < JOIN_US)
            worker_timeout(w, &c->timer, AGAIN_US);
        else
            refuse(c);
        break;
    }
}

void session_intent_wait(struct server *s)
{
    struct session_claims *c = s->claims;
    enum cache_write_next next = c != NULL ? together(c) : CACHE_WRITE_GO;
    if (next == CACHE_WRITE_GO || c->corked)
        return;
    c->corked = true;
    c->since = s->conn.worker->now;
    conn_cork(&s->conn);
    if (next != CACHE_WRITE_WAIT) /* not from inside the request that is being sent */
        worker_timeout(s->conn.worker, &c->timer, SOON_US);
}

void session_intent_sent(struct server *s)
{
    if (s->claims != NULL && together(s->claims) == CACHE_WRITE_LAPSE)
        lapse(s->claims);
}

/* ---- after it -------------------------------------------------------------------------------- */

static void on_ack_timer(struct timeout *t)
{
    struct session_ack *a = container_of(t, struct session_ack, timer);
    struct list *it, *tmp;
    if (a->lapsed == CACHE_MEMBER_NEVER) { /* nobody would notice our absence: the end it must be */
        LIST_EACH(it, tmp, &a->intents)
            if (intent_of(it)->state.state == CACHE_INTENT_UNCLEAR)
                start_end(intent_of(it));
    }
    settle(a);
}

struct session_ack *session_ack_new(struct worker *w, struct client *c)
{
    struct session_ack *a = mem_new(sizeof(*a));
    a->worker = w;
    a->since = w->now;
    list_init(&a->link);
    list_init(&a->intents);
    list_push_back(&w->cache->acks, &a->link);
    timeout_init(&a->timer, on_ack_timer);
    if (c == NULL || !conn_is_open(&c->conn))
        return a;
    a->corked = true;
    a->slot = c->slot;
    a->id = c->id;
    conn_cork(&c->conn);
    return a;
}

static void move_to(struct session_ack *a, struct session_intent *i)
{
    list_remove(&i->link);
    list_push_back(&a->intents, &i->link);
    i->claims = NULL;
    i->ack = a;
}

void session_ack_add(struct session_ack *a, struct session_intent *i)
{
    move_to(a, i);
    if (!waits(i))
        start_end(i);
}

static void ack_free(struct session_ack *a)
{
    struct list *l;
    list_remove(&a->link);
    timeout_stop(&a->timer);
    while ((l = list_first(&a->intents)) != NULL)
        leave_behind(intent_of(l));
    if (a->holding)
        member_resume(member_of(a->worker));
    mem_free(a);
}

static void pass_on(struct session_ack *a)
{
    struct client *c = a->corked ? worker_slot_find(a->worker, a->slot) : NULL;
    if (c != NULL && c->id == a->id)
        conn_uncork(&c->conn);
    ack_free(a);
}

static void settle(struct session_ack *a)
{
    struct worker *w = a->worker;
    enum cache_write_next all = CACHE_WRITE_GO;
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &a->intents) {
        if (waits(intent_of(it)))
            return;
        if (!intent_of(it)->free)
            all = MAX(all, cache_lease_may_ack(&intent_of(it)->state, 1, policy_of(w)));
    }
    if (a->holding)
        a->lapsed = look_again(w, a->lapsed);
    else if (all == CACHE_WRITE_LAPSE)
        a->lapsed = member_lapse(member_of(w), w->now);
    a->holding = a->holding || all == CACHE_WRITE_LAPSE;
    /* As long as Redis has the intent nobody is served from it, and after that nobody can fill it
     * with what was before: a client need not wait for ever. */
    bool over = a->lapsed == CACHE_MEMBER_NEVER && w->now - a->since > UNHEARD_US;
    if (all == CACHE_WRITE_GO && a->lapsed == CACHE_MEMBER_NEVER)
        a->lapsed = 0;
    if (MAX(a->until, over ? 0 : a->lapsed) <= w->now)
        pass_on(a);
    else
        wake_at(w, &a->timer, a->lapsed > w->now ? MIN(a->lapsed, w->now + AGAIN_US) : a->until);
}

static void take_over(struct session_ack *a, struct session_claims *c)
{
    if (!c->holding)
        return;
    a->holding = true; /* until the ends are known */
    a->lapsed = c->until;
    c->holding = false;
}

void session_ack_start(struct session_ack *a, struct server *s)
{
    struct session_claims *c = s->claims;
    if (c != NULL && list_empty(&c->intents))
        take_over(a, c);
    settle(a);
}

void session_intent_lost(struct server *s, bool ended, usec_t until)
{
    struct session_claims *c = s->claims;
    if (c == NULL)
        return;
    timeout_stop(&c->timer);
    if (list_empty(&c->intents) && !c->holding)
        return;
    struct session_ack *a = session_ack_new(s->conn.worker, NULL);
    struct list *l;
    a->lost = until;
    take_over(a, c);
    while ((l = list_first(&c->intents)) != NULL) {
        struct session_intent *i = intent_of(l);
        if (ended || !i->sent) {
            session_ack_add(a, i);
            continue;
        }
        if (waits(i)) {
            move_to(a, i);
            i->deserted = true;
            continue;
        }
        /* The membership has not lapsed yet if others were waited for, or were refused. */
        desert(a, i);
        intent_free(i);
    }
    session_ack_start(a, s);
}

void session_intent_free(struct server *s)
{
    if (s->claims == NULL)
        return;
    DCHECK(list_empty(&s->claims->intents) && !s->claims->holding);
    timeout_stop(&s->claims->timer);
    mem_free(s->claims);
    s->claims = NULL;
}

void session_ack_drop_all(struct session_cache *sc)
{
    struct list *l;
    while ((l = list_first(&sc->acks)) != NULL)
        ack_free(container_of(l, struct session_ack, link));
    while ((l = list_first(&sc->left)) != NULL)
        intent_free(intent_of(l));
    timeout_stop(&sc->again);
}
