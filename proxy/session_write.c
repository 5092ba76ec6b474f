/* session_write.c - what may change cached answers: noted before it is sent, over before its end is
 * passed on; see session_cache.h.
 *
 * The notes hang on the server, because that is where a transaction is, whoever still waits for it.
 * Each names the flight that it belongs to.  A note is open when the cache knows of it: then what
 * it may change is neither served nor kept by anybody.  It is opened before anything that may make
 * the write visible is sent: at once outside of a transaction, otherwise with the request that ends
 * it. It is over when that flight, or a later one, was answered and no transaction is open.
 */
#include "proxy/session_cache.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdatomic.h>

#define POINTS_MAX 64 /* keys of one rule in one transaction; more count as all of them */
/* a statement may run on after its connection is lost */
#define LOST_US (300 * (int64_t)USEC_PER_SEC)

struct note {
    uint64_t flight; /* sequence number, as server.flights_done counts */
    struct cache_scope *scope;
    bool leased; /* entries are in Redis, and other processes must know of it too */
    bool open;   /* the cache knows of it, by one of */
    bool late;   /* since it was sent */
    struct cache_write write;
    struct session_intent *intent; /* borrowed: the server has it */
    bool whole;                    /* all of the scope; otherwise */
    struct cache_key *key;         /* owned: this name */
};

struct session_writes {
    struct note *notes; /* owned */
    size_t n, cap;
};

static struct session_cache *cache_of(const struct server *s)
{
    return s->conn.worker->cache;
}

/* Of the newest flight, or of the last one when nothing is in flight. */
static uint64_t newest(const struct server *s)
{
    return s->flights_done + s->fl_count;
}

/* ---- notes ----------------------------------------------------------------------------------- */

static struct session_writes *writes_of(struct server *s)
{
    if (s->writes == NULL)
        s->writes = mem_new(sizeof(*s->writes));
    return s->writes;
}

/* key NULL: all entries of the rule. flight: after which it is over. */
static void add(struct server *s, int rule, const struct cache_key *key, uint64_t flight)
{
    struct session_writes *ws = writes_of(s);
    const struct session_binding *b = s->pool->cache;
    struct cache_scope *scope = b->scopes[rule];
    bool leased = session_redis_leases(cache_of(s), cache_rule_at(b->set, rule));
    size_t points = 0;
    for (size_t i = 0; i < ws->n; i++) {
        struct note *old = &ws->notes[i];
        if (old->scope != scope)
            continue;
        points++;
        bool same = old->whole || (key != NULL && str_eq(old->key->name, key->name));
        /* One that is open belongs to what was sent before, one of a later flight ends later. */
        if (same && !old->open && old->flight <= flight) {
            old->flight = flight;
            old->leased = old->leased || leased;
            return;
        }
    }
    if (ws->n == ws->cap) {
        ws->cap = MAX(ws->cap * 2, (size_t)4);
        ws->notes = mem_resize(ws->notes, ws->cap * sizeof(*ws->notes));
    }
    struct note *note = &ws->notes[ws->n++];
    *note = (struct note){.flight = flight, .scope = scope, .leased = leased};
    note->whole = key == NULL || points >= POINTS_MAX;
    if (note->whole)
        return;
    note->key = mem_new(sizeof(*note->key));
    cache_key_copy(note->key, key);
}

static void add_all(struct server *s)
{
    const struct session_binding *b = s->pool->cache;
    for (int i = 0; i < cache_rule_count(b->set); i++)
        add(s, i, NULL, newest(s));
}

/* sent: what they are about is under way already. */
static void open_notes(struct server *s, bool sent)
{
    struct session_writes *ws = s->writes;
    for (size_t i = 0; ws != NULL && i < ws->n; i++) {
        struct note *x = &ws->notes[i];
        const struct cache_key *key = x->whole ? NULL : x->key;
        x->late = x->late || (sent && !x->open);
        if (!x->open && x->leased)
            x->intent = session_intent_new(s, x->scope, key, sent);
        else if (!x->open)
            cache_l1_write_begin(cache_of(s)->l1, x->scope, key, &x->write);
        x->open = true;
    }
    if (sent)
        session_intent_sent(s);
    else
        session_intent_wait(s);
}

/* Nobody waits for that: in mode lease it was rolled back, in mode ttl it is a courtesy. */
static void remove_from_redis(struct session_cache *sc, const struct note *x)
{
    if (sc->config->redis.host == NULL)
        return;
    if (x->whole)
        session_redis_drop_scope(sc, x->scope);
    else
        session_redis_remove(sc, x->scope, x->key);
}

/* What the cache was never told of begins and ends here. */
static void end_note(struct server *s, struct note *x)
{
    struct cache_l1 *l1 = cache_of(s)->l1;
    if (!x->open || !x->leased) /* first, so that what it closes is not open in between */
        remove_from_redis(cache_of(s), x);
    if (x->open && !x->leased)
        cache_l1_write_end(l1, &x->write);
    else if (!x->open)
        cache_l1_drop(l1, x->scope, x->whole ? NULL : x->key);
    mem_free(x->key);
}

/* ---- what a request may write ---------------------------------------------------------------- */

struct sent { /* a statement of a piece that is about to be sent */
    struct client *client;
    struct server *server;
    const struct wire_part *bind; /* NULL: a text */
    const struct stmt *stmt;
    struct facts *facts; /* NULL: nothing is known of it */
    struct str text;
};

static bool point_keys(const struct sent *x, const struct cache_impact *impact, int rule)
{
    const struct wire *wire = conn_wire(&x->client->conn);
    struct session_binding *b = x->server->pool->cache;
    struct cache_key keys[CACHE_POINTS_MAX];
    struct wire_value values[SQL_SLOTS_MAX];
    struct cache_request q = {.text = x->text, .dialect = x->client->dialect};
    if (x->bind != NULL) {
        q.nvalues = wire->bind_values(x->bind, x->stmt->text->types, values, SQL_SLOTS_MAX);
        if (q.nvalues < 0)
            return false;
        q.values = values;
    }
    int n = cache_deps_points(b->bound, impact, rule, &q, keys);
    for (int i = 0; i < n; i++)
        add(x->server, rule, &keys[i], newest(x->server));
    return n >= 0;
}

static void note_impact(const struct sent *x, const struct cache_impact *impact)
{
    struct session_binding *b = x->server->pool->cache;
    for (int i = 0; i < impact->nrules; i++) {
        if (impact->reach[i] == CACHE_REACH_NONE)
            continue;
        b->counts[i].invalidations++;
        if (impact->reach[i] == CACHE_REACH_ALL || !point_keys(x, impact, i))
            add(x->server, i, NULL, newest(x->server));
    }
}

#define HARMLESS (FX_READ | FX_SHOW | FX_EMPTY | FX_BEGIN | FX_TXCTL | FX_LOCAL)

static void note_statement(const struct sent *x)
{
    struct session_binding *b = x->server->pool->cache;
    if (x->facts == NULL || !x->facts->complete) {
        add_all(x->server);
        return;
    }
    if (!session_cache_current(b)) { /* what the catalog says may be out of date */
        uint32_t effects = sql_effects(x->facts, x->client->pool->catalog);
        if ((effects & ~(uint32_t)HARMLESS) != 0)
            add_all(x->server);
        return;
    }
    const struct cache_impact *impact = cache_deps_impact(cache_of(x->server)->memo, b->bound,
                                                          x->facts);
    if (!impact->harmless)
        note_impact(x, impact);
}

/* A statement that the client has prepared is run; stmt NULL: it is not known here. */
static void note_bound(const struct sent *x)
{
    const struct server *s = x->server;
    bool hidden = x->client->passthrough || s->unnamed_large ||
                  (s->pins & (PIN_LARGE | PIN_PREPARED)) != 0;
    if (x->stmt != NULL && !x->stmt->text->by_text)
        note_statement(x);
    else if (x->stmt != NULL || hidden) /* otherwise the database refuses it */
        add_all(x->server);
}

static uint32_t reshapes(const struct server *s)
{
    return atomic_load_explicit(&s->pool->shared->db->shared.reshaped, memory_order_acquire);
}

/* At most one request of a client is under way. */
static bool is_first(struct server *s)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->fl_count; i++)
        n += server_flight(s, i)->kind == FLIGHT_CLIENT;
    return n <= 1;
}

/* What is noted may become visible: no transaction is open, or something that is being sent or in
 * flight may end it. */
static bool may_end(struct server *s, const struct plan *plan, bool understood)
{
    bool ends = s->tx == TX_IDLE || !understood || (plan->effects & FX_END) != 0;
    for (uint32_t i = 0; i < s->fl_count && !ends; i++)
        ends = (server_flight(s, i)->effects & FX_END) != 0;
    return ends;
}

void session_write_note(struct client *c, struct server *s, const struct wire_req *r,
                        const struct plan *plan)
{
    struct stmt **stmts = c->conn.worker->part_stmts;
    bool understood = true, bound = false;
    if (s->tx == TX_IDLE && is_first(s))
        s->judged_at = reshapes(s);
    for (int i = 0; i < r->nparts; i++) {
        const struct wire_part *p = &r->parts[i];
        struct sent x = {.client = c, .server = s};
        if (p->kind == PART_QUERY) {
            /* the flight took them over if the request begins with this piece */
            x.facts = plan->facts != NULL ? plan->facts : server_back(s)->facts;
            x.facts = p->cut ? NULL : x.facts;
            x.text = plan->text;
            note_statement(&x);
        } else if (p->kind == PART_CALL) {
            add_all(s);
        } else if (p->kind == PART_BIND) {
            x.bind = p;
            bound = true;
            x.stmt = stmts[i];
            x.facts = x.stmt != NULL ? x.stmt->facts : NULL;
            x.text = x.stmt != NULL ? x.stmt->text->text : STR("");
            note_bound(&x);
        } else if (p->kind != PART_EXECUTE || bound) {
            continue;
        } /* what it runs was bound by a request before: it may be the end of the transaction */
        understood = understood && x.facts != NULL && x.facts->complete;
    }
    if (s->writes != NULL && s->writes->n > 0 && may_end(s, plan, understood))
        open_notes(s, false);
}

void session_write_unknown(struct server *s)
{
    if (s->pool->cache == NULL || (s->fl_count == 0 && s->tx == TX_IDLE))
        return;
    add_all(s);
    open_notes(s, true);
}

/* ---- over ------------------------------------------------------------------------------------ */

/* The catalog that is known may lack what was just defined. Inside a transaction others do not see
 * it yet, so the end of that counts as well. */
static void note_defined(struct server *s, const struct wire_server_event *ev)
{
    const struct flight *f = server_front(s);
    bool defines = (ev->tags & WT_DDL) != 0 && f != NULL &&
                   (f->effects & (FX_DDL | FX_UNKNOWN)) != 0;
    if (defines || (s->reshaping && ev->tx == TX_IDLE)) {
        registry_reshaped(s->conn.worker->process->registry);
        member_defined(s->conn.worker->process->member);
    }
    s->reshaping = (s->reshaping || defines) && ev->tx != TX_IDLE;
}

/* What ran may have done more than the catalog said when it was sent: a trigger may be new. */
static void check_judgement(struct server *s, uint64_t flight)
{
    const struct flight *f = server_front(s);
    if (s->pool->cache == NULL || s->state == SV_SHARED || f == NULL || f->kind != FLIGHT_CLIENT ||
        s->judged_at == reshapes(s))
        return;
    if (!cache_of(s)->config->leased)
        session_cache_drop(s->pool);
    for (int i = 0; cache_of(s)->config->leased && i < cache_rule_count(s->pool->cache->set); i++)
        add(s, i, NULL, flight);
    open_notes(s, true);
    if (is_first(s))
        s->judged_at = reshapes(s);
}

/* A read that was noted only because of what came to be known since it was sent waits for
 * nobody. */
static struct client *who_waits(struct server *s, uint64_t flight)
{
    const struct flight *f = server_front(s);
    if (f == NULL || f->kind != FLIGHT_CLIENT)
        return NULL;
    bool early = (f->effects & ~(uint32_t)HARMLESS) != 0;
    for (size_t i = 0; i < s->writes->n; i++) {
        const struct note *x = &s->writes->notes[i];
        early = early || (x->intent != NULL && x->flight <= flight && !x->late);
    }
    return early ? f->client : NULL;
}

/* Other processes must know of the end before the client does. */
static void end_intents(struct server *s, uint64_t flight)
{
    struct session_writes *ws = s->writes;
    struct session_ack *ack = NULL;
    for (size_t i = 0; i < ws->n; i++) {
        struct note *x = &ws->notes[i];
        if (x->intent == NULL || x->flight > flight)
            continue;
        if (ack == NULL)
            ack = session_ack_new(s->conn.worker, who_waits(s, flight));
        session_ack_add(ack, x->intent);
        x->intent = NULL;
    }
    if (ack != NULL)
        session_ack_start(ack, s);
}

/* A transaction has ended, although the next one is open already. */
static bool chained(struct server *s)
{
    const struct flight *f = server_front(s);
    return f != NULL && f->kind == FLIGHT_CLIENT && (f->effects & FX_END) != 0;
}

/* What nobody was told of is over: rolled back, most likely, but others shall not rely on that. */
static void open_forgotten(struct server *s, uint64_t flight)
{
    bool any = false;
    for (size_t i = 0; i < s->writes->n; i++) {
        const struct note *x = &s->writes->notes[i];
        any = any || (x->leased && !x->open && x->flight <= flight);
    }
    if (any)
        open_notes(s, true);
}

void session_write_done(struct server *s, const struct wire_server_event *ev)
{
    uint64_t flight = s->flights_done + 1;
    size_t left = 0;
    note_defined(s, ev);
    if (ev->tx != TX_IDLE && !chained(s))
        return;
    if (ev->tx == TX_IDLE)
        check_judgement(s, flight);
    else
        flight--; /* the same text may have written after its end of a transaction */
    struct session_writes *ws = s->writes;
    if (ws == NULL || ws->n == 0)
        return;
    open_forgotten(s, flight);
    end_intents(s, flight);
    for (size_t i = 0; i < ws->n; i++) {
        if (ws->notes[i].flight <= flight)
            end_note(s, &ws->notes[i]);
        else
            ws->notes[left++] = ws->notes[i];
    }
    ws->n = left;
    session_await_look(cache_of(s));
}

void session_write_lost(struct server *s, bool ended)
{
    struct session_writes *ws = s->writes;
    usec_t until = s->conn.worker->now + LOST_US;
    session_intent_lost(s, ended, until);
    for (size_t i = 0; ws != NULL && i < ws->n; i++) {
        struct note *x = &ws->notes[i];
        if (!ended && x->open && !x->leased) {
            cache_l1_write_lost(cache_of(s)->l1, &x->write, until);
            mem_free(x->key);
        } else {
            end_note(s, x);
        }
    }
    if (ws != NULL)
        ws->n = 0;
}

void session_write_free(struct server *s)
{
    struct session_writes *ws = s->writes;
    session_intent_free(s);
    if (ws == NULL)
        return;
    DCHECK(ws->n == 0);
    mem_free(ws->notes);
    mem_free(ws);
    s->writes = NULL;
}
