/* session_look.c - a read is looked up in the cache before a server is asked for; see
 * session_cache.h.
 *
 * The order matters: the ticket is taken by the look-up, the query is sent after it, and the fill
 * is stored with that ticket, so that a write in between makes it void.  In front of Redis
 * (local_ttl) it is taken before Redis is asked, and counts for what Redis answers as well.
 */
#include "proxy/session_cache.h"

#include "base/check.h"
#include "base/mem.h"

struct look { /* one request */
    struct client *client;
    const struct wire_req *req;
    struct session_cache *cache;
    struct session_binding *binding;
    struct facts *facts; /* borrowed from the plan or the parts */
    struct str text;
    const struct wire_part *parse, *bind; /* NULL: a text, or prepared before */
    struct stmt *stmt;                    /* that bind is of */
    const struct cache_rule *rule;
    struct cache_key key;
};

/* ---- which statement ------------------------------------------------------------------------- */

static bool find_bound(struct look *k)
{
    struct stmt **stmts = k->client->conn.worker->part_stmts;
    for (int i = 0; i < k->req->nparts; i++) {
        const struct wire_part *p = &k->req->parts[i];
        if (p->kind == PART_PARSE)
            k->parse = p;
        if (p->kind != PART_BIND)
            continue;
        k->bind = p;
        k->stmt = stmts[i];
        break; /* with several the request does not fit */
    }
    if (k->stmt == NULL || k->stmt->text->by_text)
        return false;
    k->facts = k->stmt->facts;
    k->text = k->stmt->text->text;
    return k->facts != NULL;
}

static bool find_statement(struct look *k, const struct plan *plan)
{
    if (!(k->req->flags & REQ_SIMPLE))
        return find_bound(k);
    k->facts = plan->facts;
    k->text = plan->text;
    return k->facts != NULL;
}

/* ---- whose ----------------------------------------------------------------------------------- */

/* All settings that are known of the client's session, by what the database has reported where it
 * does. One reference. */
static struct varset *all_settings(struct client *c)
{
    const struct varset *own = c->vars, *told = c->told;
    struct wire_var all[2 * VARSET_MAX];
    int n = 0;
    CHECK(own != NULL && told != NULL); /* a client that has been welcomed has both */
    for (int i = 0; i < own->n; i++)
        all[n++] = own->vars[i];
    for (int i = 0; i < told->n; i++)
        all[n++] = told->vars[i];
    return varset_make(&c->conn.worker->vars, all, n);
}

static void note_settings(struct client *c, struct session_cached *x)
{
    const struct wire *wire = conn_wire(&c->conn);
    struct varset *set = all_settings(c);
    struct wire_var kept[2 * VARSET_MAX];
    int n = 0;
    x->serializable = x->other_role = false;
    for (int i = 0; i < c->vars->n; i++)
        x->other_role = x->other_role || wire->var_rank(c->vars->vars[i].name) != 0;
    for (int i = 0; i < set->n; i++) {
        const struct wire_var *v = &set->vars[i];
        x->serializable = x->serializable ||
                          (wire->var_serializable != NULL && wire->var_serializable(v));
        bool who = wire->var_rank(v->name) != 0; /* the user is a part of the key anyway */
        if (who || (wire->var_result != NULL && !wire->var_result(v->name)))
            continue;
        struct str wished = varset_find(c->vars, v->name);
        kept[n++] = *v;
        /* What was reported may be what a RESET left, until the next server is given the session's
         * own value; which of the two an answer would show is not asked here. */
        if (wished.p != NULL && !str_eq(wished, v->value))
            kept[n++] = (struct wire_var){v->name, wished};
    }
    memcpy(x->place, c->pool->cache->place, sizeof(x->place));
    cache_key_session((struct str){(const char *)x->place, sizeof(x->place)}, kept, n,
                      x->key.digest);
    varset_put(&set);
}

static struct session_cached *session_of(struct client *c)
{
    struct session_cached *x = c->cached;
    if (x == NULL) {
        x = c->cached = mem_new(sizeof(*x));
        x->client = c;
        x->key.user = str_of(c->user);
        list_init(&x->waiter.node);
        session_redis_init(x);
    }
    if (x->vars == c->vars && x->told == c->told && x->vars != NULL &&
        memcmp(x->place, c->pool->cache->place, sizeof(x->place)) == 0)
        return x;
    varset_put(&x->vars);
    varset_put(&x->told);
    x->vars = varset_get(c->vars);
    x->told = varset_get(c->told);
    note_settings(c, x);
    return x;
}

/* ---- whether --------------------------------------------------------------------------------- */

static bool limits_rows(const struct wire_req *r)
{
    for (int i = 0; i < r->nparts; i++)
        if (r->parts[i].kind == PART_EXECUTE && r->parts[i].row_limit != 0)
            return true;
    return false;
}

/* The name that the request gives is taken: that is for the database to refuse. */
static bool name_taken(const struct look *k)
{
    const struct client *c = k->client;
    return k->parse != NULL && k->parse->name.n > 0 && c->names != NULL &&
           stmt_names_find(c->names, k->parse->name) != NULL;
}

static enum cache_bypass gate(const struct look *k, const struct session_cached *x)
{
    const struct client *c = k->client;
    const struct server *s = c->server;
    bool checked = session_cache_ready(k->cache) && session_cache_current(k->binding);
    bool limited = limits_rows(k->req);
    struct cache_gate g = {
        .rule = k->rule,
        .bound = checked ? cache_deps_rule(k->binding->bound, k->rule->index) : NULL,
        .user = x->key.user,
        .hint = k->facts->hint,
        .tx_open = s != NULL && (s->tx != TX_IDLE || s->fl_count > 0),
        .serializable = x->serializable,
        .other_role = x->other_role,
        .settings_unknown = s != NULL && s->asks != 0,
        .temp_objects = s != NULL && (s->pins & PIN_TEMP) != 0,
        .pinned = s != NULL || c->passthrough,
        .not_alone = (!limited && !conn_wire(&c->conn)->answers->fits(NULL, k->req)) ||
                     name_taken(k),
        .row_limit = limited,
        .upgrading = !session_cache_alone(c->conn.worker),
    };
    return cache_gate_check(&g);
}

static enum cache_bypass make_key(struct look *k, const struct session_cached *x)
{
    const struct wire *wire = conn_wire(&k->client->conn);
    struct wire_value values[CACHE_RULE_PARAMS];
    struct cache_request q = {.text = k->text, .dialect = k->client->dialect};
    if (k->bind != NULL) {
        q.nvalues = wire->bind_values(k->bind, k->stmt->text->types, values, CACHE_RULE_PARAMS);
        if (q.nvalues < 0)
            return CACHE_BYPASS_VALUE;
        q.values = values;
        q.formats = wire->bind_formats(k->bind);
    }
    const struct cache_bound_rule *bound = cache_deps_rule(k->binding->bound, k->rule->index);
    return cache_gate_of_key(cache_key_make(k->rule, bound->types, &x->key, &q, &k->key));
}

/* ---- answered -------------------------------------------------------------------------------- */

/* What the request does to the client's names. */
static void note_names(struct look *k)
{
    struct client *c = k->client;
    if (k->parse != NULL)
        session_name(c, k->parse->name, k->stmt);
    else if (k->bind == NULL && c->names != NULL)
        stmt_put(&c->names->unnamed); /* a text ends the unnamed statement */
}

static void count_answer(struct client *c)
{
    struct stats *st = &c->pool->stats;
    st->queries++;
    st->xacts++;
    usec_t idle = client_limit_us(c, CL_IDLE);
    if (idle > 0)
        worker_timeout(c->conn.worker, &c->timeout, idle);
}

static void answer(struct look *k, const struct cache_entry *e)
{
    struct client *c = k->client;
    struct wire_kept kept = {
        .desc = e->desc, .rows = e->data, .complete = e->complete, .nrows = e->rows};
    note_names(k);
    count_answer(c);
    conn_wire(&c->conn)->answers->give(c->wire_state, k->req, &kept, &c->conn.out);
    conn_dirty(&c->conn);
    if (c->conn.out.borrowed) { /* a large answer: written from where it lies */
        conn_flush(&c->conn);
        outq_settle(&c->conn.out);
    }
    if (conn_is_open(&c->conn) && conn_above_high(&c->conn))
        conn_pause(&c->conn, PAUSE_OWN); /* it asks faster than it reads */
}

/* ---- looked up ------------------------------------------------------------------------------- */

static bool wants_description(const struct wire_req *r)
{
    if (r->flags & REQ_SIMPLE)
        return true;
    for (int i = 0; i < r->nparts; i++)
        if (r->parts[i].kind == PART_DESCRIBE_PORTAL)
            return true;
    return false;
}

/* Nobody may have asked yet, or somebody's query is on its way and this client waits for it. */
static enum session_read missed(struct look *k, struct session_cached *x,
                                struct cache_ticket ticket)
{
    struct cache_flight *flight = session_await_lead(x, &k->key);
    if (flight == NULL)
        flight = cache_flight_join(&k->cache->flights, &k->key, &x->waiter);
    if (flight == NULL && session_await_ride(x)) {
        x->waits = true;
        client_set_state(k->client, CL_CACHE);
        return READ_WAITS;
    }
    if (flight == NULL) {
        cache_flight_leave(&x->waiter);
        return READ_PASS;
    }
    x->fill = session_fill_new(k->client, k->binding, k->rule, &k->key);
    session_fill_lead(x->fill, ticket, flight);
    return READ_PASS;
}

static enum session_read hit(struct look *k, struct session_cached *x, struct cache_entry *e)
{
    answer(k, e);
    cache_entry_put(&e);
    x->hit = true;
    k->binding->counts[k->rule->index].hits++;
    return READ_ANSWERED;
}

static enum session_read not_to_be_had(struct session_cached *x, enum cache_bypass why)
{
    session_fill_drop(&x->fill);
    x->why = why;
    return READ_PASS;
}

static enum session_read local_hit(struct look *k, struct session_cached *x, struct cache_entry *e)
{
    k->binding->counts[k->rule->index].local_hits++;
    return hit(k, x, e);
}

static enum cache_l1_result look_in_memory(struct look *k, struct cache_ticket *ticket,
                                           struct cache_entry **e)
{
    struct cache_l1_ask ask = {.scope = k->binding->scopes[k->rule->index],
                               .key = &k->key,
                               .now = k->client->conn.worker->now,
                               .want_desc = wants_description(k->req)};
    return cache_l1_lookup(k->cache->l1, &ask, ticket, e);
}

/* A write to the key is under way, or somebody else fetches the answer. second: Redis says so. */
static enum session_read busy(struct look *k, struct session_cached *x, enum cache_bypass why,
                              bool second)
{
    const struct session_await_for f = {
        .scope = k->binding->scopes[k->rule->index], .key = &k->key, .second = second};
    if (session_await(k->cache, x, &f, session_fill_cede(&x->fill)))
        return READ_WAITS;
    x->why = why;
    return READ_PASS;
}

/* The answer is not worth to be kept, but those who ask before the query is sent are told it. */
static enum session_read hot(struct look *k, struct session_cached *x, struct cache_ticket ticket)
{
    x->why = CACHE_BYPASS_HOT;
    if (k->client->route != NULL)
        return READ_PASS; /* a replica may answer that, but not for others */
    enum session_read did = missed(k, x, ticket);
    if (did == READ_WAITS)
        x->why = CACHE_BYPASS_NONE;
    if (x->fill != NULL)
        session_fill_pass_on(x->fill);
    return did;
}

static enum session_read look_up(struct look *k, struct session_cached *x)
{
    struct cache_entry *e = NULL;
    struct cache_ticket ticket;
    switch (look_in_memory(k, &ticket, &e)) {
    case CACHE_L1_HIT:
        return local_hit(k, x, e);
    case CACHE_L1_MISS:
        return missed(k, x, ticket);
    case CACHE_L1_WRITE:
        return busy(k, x, CACHE_BYPASS_WRITE, false);
    case CACHE_L1_HOT:
        return hot(k, x, ticket);
    }
    return READ_PASS;
}

/* ---- in Redis -------------------------------------------------------------------------------- */

static enum session_read wait_for_redis(struct look *k)
{
    client_set_state(k->client, CL_CACHE);
    return READ_WAITS;
}

static struct session_redis_what what(const struct look *k)
{
    return (struct session_redis_what){k->binding, k->rule, &k->key};
}

/* It is not there: whoever leads the flight asks for a lease first. */
static enum session_read take(struct look *k, struct session_cached *x)
{
    const struct session_redis_what w = what(k);
    enum session_read did = missed(k, x, x->second.ticket);
    if (x->fill == NULL)
        return did;
    return session_redis_take(k->cache, x, &w) ? wait_for_redis(k)
                                               : not_to_be_had(x, CACHE_BYPASS_STORE);
}

static enum session_read fill(struct look *k, struct session_cached *x)
{
    enum session_read did = READ_PASS;
    if (x->fill == NULL) /* with a lease there is one */
        did = missed(k, x, x->second.ticket);
    if (x->fill != NULL)
        session_fill_read(x->fill, &x->second.read);
    return did;
}

/* The answer of Redis is for the first level, too. False: something was written since it was
 * asked. */
static bool still_true(struct look *k, struct session_cached *x, struct cache_entry *e)
{
    usec_t now = k->client->conn.worker->now;
    struct cache_l1_put put = {.scope = k->binding->scopes[k->rule->index],
                               .key = &k->key,
                               .ticket = x->second.ticket,
                               .entry = e,
                               .now = now,
                               .ttl_us = x->second.asked + k->rule->local_us - now};
    if (k->rule->local_us == 0 || (put.ttl_us > 0 && cache_l1_store(k->cache->l1, &put)))
        return true;
    return !cache_l1_is_void(k->cache->l1, &put);
}

/* Nothing can be had from there. The first level alone may still keep what the database says. */
static enum session_read without_redis(struct look *k, struct session_cached *x,
                                       enum cache_bypass why)
{
    if (k->rule->local_us == 0)
        return not_to_be_had(x, why);
    return x->second.ticket.hot ? hot(k, x, x->second.ticket) : missed(k, x, x->second.ticket);
}

/* Redis has answered what this request asks for. */
static enum session_read told_by_redis(struct look *k, struct session_cached *x)
{
    struct cache_entry *e = x->second.entry;
    bool taking = x->second.read.state != CACHE_READ_ASKED;
    x->second.entry = NULL;
    if (e != NULL && (e->desc.n > 0 || !wants_description(k->req))) {
        session_fill_drop(&x->fill);
        if (still_true(k, x, e))
            return hit(k, x, e);
        cache_entry_put(&e);
        return busy(k, x, CACHE_BYPASS_WRITE, false);
    }
    cache_entry_put(&e);
    switch (x->second.next) {
    case CACHE_READ_VALUE: /* without the description that is wanted */
        if (!x->second.leased)
            return fill(k, x);
        return taking ? not_to_be_had(x, CACHE_BYPASS_LEASED) : take(k, x);
    case CACHE_READ_TAKE:
        return take(k, x);
    case CACHE_READ_FILL:
        return fill(k, x);
    case CACHE_READ_BYPASS:
        if (x->second.leased && x->second.took)
            session_redis_give(k->cache, &k->key, &x->second.read);
        break;
    }
    if (x->second.ends_soon)
        return busy(k, x, x->second.why, true);
    return without_redis(k, x, x->second.why);
}

/* In front of Redis. False: it has to be asked. */
static bool look_local(struct look *k, struct session_cached *x, enum session_read *did)
{
    struct cache_entry *e = NULL;
    x->second.asked = k->client->conn.worker->now;
    switch (look_in_memory(k, &x->second.ticket, &e)) {
    case CACHE_L1_HIT:
        *did = local_hit(k, x, e);
        return true;
    case CACHE_L1_WRITE:
        *did = busy(k, x, CACHE_BYPASS_WRITE, false);
        return true;
    case CACHE_L1_MISS:
    case CACHE_L1_HOT: /* for others it may be worth keeping */
        break;
    }
    return false;
}

/* Redis is asked, and the request looked at again when it has answered. */
static enum session_read look_in_redis(struct look *k, struct session_cached *x)
{
    const struct session_redis_what w = what(k);
    enum session_read did;
    bool told = x->second.state == SECOND_ANSWERED &&
                str_eq(buf_str(&x->second.identity), k->key.identity) &&
                x->second.leased == session_redis_leases(k->cache, k->rule);
    x->second.state = SECOND_NONE;
    if (told)
        return told_by_redis(k, x);
    session_fill_drop(&x->fill);
    cache_entry_put(&x->second.entry);
    if (k->rule->local_us > 0 && look_local(k, x, &did))
        return did;
    enum cache_bypass why = session_redis_ask(k->cache, x, &w);
    return why == CACHE_BYPASS_NONE ? wait_for_redis(k) : without_redis(k, x, why);
}

/* Its request has been looked at, and was given a server meanwhile. */
static bool was_granted(const struct client *c)
{
    const struct server *s = c->server;
    return c->state == CL_BUSY && s->fl_count == 0 && !server_has_state(s) && !c->passthrough;
}

/* The query of another, sent after this client had asked, has brought the answer. */
static bool was_given(struct look *k, struct session_cached *x)
{
    uint8_t digest[CACHE_DIGEST_BYTES];
    struct cache_entry *e = x->given;
    if (e == NULL)
        return false;
    x->given = NULL;
    cache_key_digest(&k->key, digest);
    if (memcmp(digest, e->digest, sizeof(digest)) == 0 &&
        (e->desc.n > 0 || !wants_description(k->req))) {
        (void)hit(k, x, e);
        return true;
    }
    cache_entry_put(&e);
    return false;
}

static enum session_read look_at(struct look *k, struct session_cached *x)
{
    if (was_given(k, x))
        return READ_ANSWERED;
    return k->cache->config->redis.host != NULL ? look_in_redis(k, x) : look_up(k, x);
}

static bool has_waited(const struct session_cached *x)
{
    return x->patience != 0 || x->rides != 0;
}

static void forget_waits(struct session_cached *x)
{
    x->patience = 0;
    x->rides = 0;
    session_redis_forget(x);
    session_await_end(x);
    cache_entry_put(&x->given);
}

/* A read counts once, by how it was answered in the end; that it waits, at once. */
static void settle(struct look *k, struct session_cached *x, enum session_read did, bool waited)
{
    struct session_counts *n = &k->binding->counts[k->rule->index];
    n->waits += has_waited(x) && !waited;
    if (did == READ_WAITS)
        return;
    if (did == READ_PASS && !x->counted && x->why == CACHE_BYPASS_NONE)
        n->misses++;
    else if (did == READ_PASS && !x->counted)
        n->bypass[x->why]++;
    x->counted = did == READ_PASS; /* it may come back before it is sent */
    forget_waits(x);
}

enum session_read session_look(struct client *c, const struct wire_req *r, const struct plan *plan)
{
    struct session_cache *sc = c->conn.worker->cache;
    struct look k = {.client = c, .req = r, .cache = sc, .binding = c->pool->cache};
    if (c->state == CL_WAIT || was_granted(c))
        return READ_PASS; /* it has been here */
    if (find_statement(&k, plan))
        k.rule = cache_rule_find(sc->config->set, k.facts);
    if (k.rule == NULL) {
        if (c->cached != NULL)
            session_look_forget(c); /* it had one when it began to wait */
        return READ_PASS;
    }
    struct cache_request text = {.text = k.text, .dialect = c->dialect};
    k.rule = cache_key_rule(k.rule, &text);
    struct session_cached *x = session_of(c);
    enum session_read did = READ_PASS;
    bool waited = has_waited(x);
    if (x->second.state != SECOND_ANSWERED)
        session_fill_drop(&x->fill); /* its request was begun and came to nothing */
    x->hit = false;
    x->rule = k.rule->index;
    x->why = gate(&k, x);
    if (x->why == CACHE_BYPASS_NONE)
        x->why = make_key(&k, x);
    if (x->why == CACHE_BYPASS_NONE)
        did = look_at(&k, x);
    else
        session_fill_drop(&x->fill);
    settle(&k, x, did, waited);
    return did;
}

void session_look_alone(struct client *c)
{
    struct session_cached *x = c->cached;
    cache_flight_leave(&x->waiter);
    session_redis_forget(x);
    session_await_pause(x);
    x->waits = false;
    client_set_state(c, CL_IDLE);
    session_go_on_later(c);
}

void session_look_forget(struct client *c)
{
    struct session_cached *x = c->cached;
    if (x == NULL)
        return;
    if (x->waits)
        cache_flight_leave(&x->waiter);
    x->waits = x->counted = false;
    session_fill_drop(&x->fill);
    forget_waits(x);
}
