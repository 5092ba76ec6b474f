/* session_redis.c - entries in Redis: asked for, leased, stored and removed; see session_cache.h.
 *
 * An entry is a field of the hash that bears its name, so that whoever deletes the key deletes all
 * variants.  A hash lives as long as its first field may: what is stored later does not prolong it.
 * The rule's generation is read before the entry and kept in each entry as it was before the query,
 * so that all entries of a rule can be dropped at once.
 *
 * In front of Redis a rule of mode ttl may have the first level (local_ttl).  Its part of the
 * rule's time is what entries live less in Redis.  Workers have connections of their own, so a
 * removal keeps it closed until Redis has answered, or another worker might fetch there what is
 * just being removed; and an entry that a removal may have overtaken is removed once more.
 *
 * Mode ttl asks for these two.  Mode lease asks for the world and its members too, and a miss takes
 * a lease before the database is asked (cache_lease.h says when an entry counts).  Nothing here
 * waits for Redis but the look-up, and each of its questions within redis_timeout.
 */
#include "proxy/session_cache.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"

#define VALUE_KEPT 4096      /* bytes of memory that a client keeps for the next value */
#define LEASE_MS 3000        /* after it somebody else may fetch the answer */
#define LATE_US USEC_PER_SEC /* a removal without an answer in time may be carried out so late */
#define MISSING_US (10 * (int64_t)USEC_PER_SEC) /* between two complaints */

static struct cache_redis_where where(const struct session_cache *sc, struct str name)
{
    return (struct cache_redis_where){.prefix = str_of(sc->config->opt.prefix), .name = name};
}

static void set_rule(struct cache_redis_where *w, const struct session_binding *b,
                     const struct cache_rule *rule)
{
    w->database = str_of(b->dbname);
    w->rule = rule->name;
}

bool session_redis_leases(const struct session_cache *sc, const struct cache_rule *rule)
{
    return sc->config->redis.host != NULL && rule->mode == CACHE_LEASE;
}

/* What is known of the members, as far as this worker's own connection leads to the same server. */
static struct cache_view view_of(struct session_cache *sc)
{
    member_look(sc->worker->process->member, &sc->members);
    struct cache_view v = sc->members.view;
    if (redis_server(sc->redis) != v.server)
        v.members = 0;
    return v;
}

/* ---- asked ----------------------------------------------------------------------------------- */

/* true: it is of now. */
static bool counts(const struct session_cached *x, const struct cache_entry *e)
{
    return x->second.leased ? cache_lease_counts(&x->second.read, e)
                            : e->stamp == x->second.read.generation;
}

/* What is there may be anybody's: only a whole entry of ours for this very question counts. */
static void read_entry(struct session_cached *x, struct str bytes)
{
    struct error err;
    struct wire_kept kept;
    enum status st = cache_entry_decode(bytes, x->second.digest, x->second.max, &x->second.entry,
                                        &err);
    if (st == ST_OK) {
        const struct cache_entry *e = x->second.entry;
        kept = (struct wire_kept){e->desc, e->data, e->complete, e->rows};
        bool whole = conn_wire(&x->client->conn)->answers->whole(&kept);
        if (whole && counts(x, e))
            return;
        cache_entry_put(&x->second.entry);
        if (whole)
            return; /* it was true once */
    }
    x->second.foreign = true;
    LOG_LIMITED(LL_WARNING, "Redis holds a value under a key of the cache that is not an entry");
}

static enum cache_read_next judge(struct session_cached *x, const struct cache_answer *in)
{
    const struct cache_answer *rule = &in[0], *entry = &in[1];
    x->second.read = (struct cache_read){.generation = rule->a};
    if (rule->state != CACHE_ANSWER_OK || entry->state != CACHE_ANSWER_OK)
        return CACHE_READ_BYPASS;
    if (entry->value.p != NULL)
        read_entry(x, entry->value);
    if (x->second.entry != NULL)
        return CACHE_READ_VALUE;
    return x->second.foreign ? CACHE_READ_BYPASS : CACHE_READ_FILL;
}

/* Somebody has to look after that: nothing is served until they are back. */
static void tell_missing(struct worker *w, uint64_t there, uint32_t members)
{
    struct session_cache *sc = w->cache;
    if (w->now < sc->missing_told + MISSING_US)
        return;
    sc->missing_told = w->now;
    LOG_LIMITED(LL_WARNING, "cache: %llu of the %u processes that share Redis are there: %s",
                (unsigned long long)there, members, sc->members.names);
}

/* Why nothing may be served. */
static enum cache_bypass why_not(struct session_cached *x, const struct cache_answer *in)
{
    const struct cache_view *v = &x->second.view;
    const struct cache_answer *world = &in[0], *members = &in[1];
    for (int i = 0; i < CACHE_READ_CMDS; i++)
        if (in[i].state != CACHE_ANSWER_OK)
            return CACHE_BYPASS_STORE;
    if (world->b == v->names && members->a < v->members)
        tell_missing(x->client->conn.worker, members->a, v->members);
    if (world->a == 0 || world->open || world->b != v->names || members->a != v->members)
        return CACHE_BYPASS_MEMBERS;
    return in[2].open || in[3].open ? CACHE_BYPASS_WRITE : CACHE_BYPASS_LEASED;
}

void session_redis_give(struct session_cache *sc, const struct cache_key *key,
                        const struct cache_read *read)
{
    uint8_t digest[CACHE_DIGEST_BYTES];
    char field[CACHE_FIELD_BYTES + 1];
    struct cache_redis_where w = where(sc, key->name);
    struct cache_cmd c;
    cache_key_digest(key, digest);
    cache_key_field(digest, field);
    w.field = str_of(field);
    cache_lease_give(read, &c);
    (void)redis_tell(sc->redis, &c, &w);
}

static enum cache_read_next judge_leased(struct session_cached *x, const struct cache_answer *in)
{
    const struct cache_view *v = &x->second.view;
    bool taking = x->second.read.state == CACHE_READ_TAKING;
    enum cache_read_next next = taking ? cache_lease_taken(&x->second.read, v, in)
                                       : cache_lease_asked(&x->second.read, v, in);
    if (next == CACHE_READ_VALUE) {
        read_entry(x, in[3].value);
        if (x->second.entry == NULL)
            next = taking || x->second.foreign ? CACHE_READ_BYPASS : CACHE_READ_TAKE;
    }
    x->second.took = taking && in[3].state == CACHE_ANSWER_OK && in[3].a == 1;
    if (next == CACHE_READ_BYPASS && !x->second.foreign)
        x->second.why = why_not(x, in);
    /* A write to all of the rule takes its time; one to the key, or another's query, does not. */
    x->second.ends_soon = next == CACHE_READ_BYPASS && !in[2].open &&
                          (x->second.why == CACHE_BYPASS_WRITE ||
                           x->second.why == CACHE_BYPASS_LEASED);
    return next;
}

static void answered(struct cache_batch *b)
{
    struct session_cached *x = container_of(b, struct session_cached, second.batch);
    x->second.state = SECOND_ANSWERED;
    x->second.foreign = x->second.ends_soon = false;
    x->second.why = CACHE_BYPASS_STORE;
    x->second.next = x->second.leased ? judge_leased(x, b->answers) : judge(x, b->answers);
    client_set_state(x->client, CL_IDLE);
    session_go_on(x->client);
}

void session_redis_init(struct session_cached *x)
{
    cache_batch_init(&x->second.batch, answered);
    buf_init(&x->second.identity, CACHE_IDENTITY_MAX);
}

void session_redis_fini(struct session_cached *x)
{
    cache_batch_fini(&x->second.batch);
    buf_fini(&x->second.identity);
}

void session_redis_forget(struct session_cached *x)
{
    cache_batch_forget(&x->second.batch);
    if (x->second.batch.values.cap > VALUE_KEPT)
        buf_fini(&x->second.batch.values);
    cache_entry_put(&x->second.entry);
    x->second.state = SECOND_NONE;
}

static bool ask(struct session_cache *sc, struct session_cached *x,
                const struct session_redis_what *what, int ncmds)
{
    char field[CACHE_FIELD_BYTES + 1];
    struct cache_redis_where w = where(sc, what->key->name);
    set_rule(&w, what->binding, what->rule);
    buf_reset(&x->second.identity);
    buf_put_str(&x->second.identity, what->key->identity);
    cache_key_digest(what->key, x->second.digest);
    cache_key_field(x->second.digest, field);
    w.field = str_of(field);
    w.members = str_of(sc->members.names);
    w.server = redis_server(sc->redis);
    x->second.max = what->rule->max_result + SESSION_ANSWER_EXTRA;
    if (x->second.identity.failed || !redis_send(sc->redis, &x->second.batch, ncmds, &w))
        return false;
    x->second.state = SECOND_ASKED;
    return true;
}

enum cache_bypass session_redis_ask(struct session_cache *sc, struct session_cached *x,
                                    const struct session_redis_what *what)
{
    struct cache_cmd *cmds = x->second.batch.cmds;
    int n = 2;
    x->second.leased = session_redis_leases(sc, what->rule);
    if (x->second.leased) {
        x->second.view = view_of(sc);
        if (x->second.view.members == 0)
            return redis_is_up(sc->redis) ? CACHE_BYPASS_MEMBERS : CACHE_BYPASS_STORE;
        cache_lease_ask(&x->second.read, cmds);
        n = CACHE_READ_CMDS;
    } else {
        cmds[0] = (struct cache_cmd){.kind = CACHE_CMD_RULE};
        cmds[1] = (struct cache_cmd){.kind = CACHE_CMD_ENTRY};
    }
    return ask(sc, x, what, n) ? CACHE_BYPASS_NONE : CACHE_BYPASS_STORE;
}

bool session_redis_take(struct session_cache *sc, struct session_cached *x,
                        const struct session_redis_what *what)
{
    x->second.view = view_of(sc);
    cache_lease_take(&x->second.read, random_u64() | 1u, random_u64() | 1u, LEASE_MS,
                     x->second.batch.cmds);
    return ask(sc, x, what, CACHE_READ_CMDS);
}

/* ---- stored and removed ---------------------------------------------------------------------- */

/* Up to a tenth less, by the entry itself, so that many do not end at once. */
static uint64_t shortened(usec_t ttl, const struct cache_entry *e)
{
    uint64_t ms = (uint64_t)MAX(ttl / 1000, 1);
    return ms - (e->digest[0] * 256u + e->digest[1]) % (ms / 10 + 1);
}

struct keeping { /* an entry under way to Redis, of a rule with a first level */
    struct cache_batch batch;
    struct session_cache *cache; /* borrowed: of the worker, which ends later */
    struct cache_scope *scope;   /* borrowed from the store */
    struct cache_ticket ticket;
    struct cache_key key;
};

static void kept(struct cache_batch *b)
{
    struct keeping *k = container_of(b, struct keeping, batch);
    const struct cache_l1_put put = {
        .scope = k->scope, .key = &k->key, .ticket = k->ticket, .now = k->cache->worker->now};
    /* What was not answered in time may arrive after the removal of a later write. */
    bool doubtful = b->answers[0].state == CACHE_ANSWER_FAILED ||
                    cache_l1_is_void(k->cache->l1, &put);
    if (k->cache->redis != NULL && doubtful) /* NULL: the worker ends */
        session_redis_remove(k->cache, k->scope, &k->key);
    cache_batch_fini(&k->batch);
    mem_free(k);
}

static bool keep_watched(struct session_cache *sc, const struct session_redis_what *what,
                         struct cache_ticket ticket, const struct cache_cmd *c,
                         const struct cache_redis_where *w)
{
    struct keeping *k = mem_new(sizeof(*k));
    cache_batch_init(&k->batch, kept);
    k->batch.cmds[0] = *c;
    k->cache = sc;
    k->scope = what->binding->scopes[what->rule->index];
    k->ticket = ticket;
    cache_key_copy(&k->key, what->key);
    if (redis_send(sc->redis, &k->batch, 1, w))
        return true;
    cache_batch_fini(&k->batch);
    mem_free(k);
    return false;
}

bool session_redis_store(struct session_cache *sc, const struct session_redis_what *what,
                         struct cache_read *read, struct cache_ticket ticket,
                         const struct cache_entry *e)
{
    char field[CACHE_FIELD_BYTES + 1];
    struct cache_redis_where w = where(sc, what->key->name);
    uint64_t ms = shortened(what->rule->ttl_us - what->rule->local_us, e);
    struct cache_cmd c = {.kind = CACHE_CMD_KEEP, .ms = ms};
    struct buf value;
    if (read->state == CACHE_READ_LEASED)
        cache_lease_store(read, ms, &c);
    buf_init(&value, cache_entry_bytes(e) + CACHE_ENTRY_HEADER);
    cache_entry_encode(e, &value);
    cache_key_field(e->digest, field);
    w.field = str_of(field);
    w.value = buf_str(&value);
    bool sent = !value.failed && (what->rule->local_us > 0 ? keep_watched(sc, what, ticket, &c, &w)
                                                           : redis_tell(sc->redis, &c, &w));
    buf_fini(&value);
    return sent;
}

struct removal { /* under way to Redis */
    struct cache_batch batch;
    struct session_cache *cache; /* borrowed: of the worker, which ends later */
    struct cache_write write;    /* open until the answer */
    bool sent;
};

static void removed(struct cache_batch *b)
{
    struct removal *r = container_of(b, struct removal, batch);
    bool late = r->sent && b->answers[0].state == CACHE_ANSWER_FAILED;
    struct session_cache *sc = r->cache;
    cache_l1_write_lost(sc->l1, &r->write, late ? sc->worker->now + LATE_US : 0);
    cache_batch_fini(&r->batch);
    mem_free(r);
    if (sc->redis != NULL) /* the worker goes on */
        session_await_look(sc);
}

/* key NULL: all of the scope. */
static void remove_from(struct session_cache *sc, struct cache_scope *scope,
                        const struct cache_key *key, const struct cache_cmd *c,
                        const struct cache_redis_where *w)
{
    if (!sc->config->local || scope == NULL) {
        (void)redis_tell(sc->redis, c, w);
        return;
    }
    struct removal *r = mem_new(sizeof(*r));
    cache_batch_init(&r->batch, removed);
    r->cache = sc;
    r->batch.cmds[0] = *c;
    cache_l1_write_begin(sc->l1, scope, key, &r->write);
    r->sent = redis_send(sc->redis, &r->batch, 1, w);
    if (!r->sent)
        removed(&r->batch);
}

void session_redis_remove(struct session_cache *sc, struct cache_scope *scope,
                          const struct cache_key *key)
{
    const struct cache_cmd c = {.kind = CACHE_CMD_DROP};
    struct cache_redis_where w = where(sc, key->name);
    remove_from(sc, scope, key, &c, &w);
}

void session_redis_drop_scope(struct session_cache *sc, struct cache_scope *scope)
{
    const struct cache_cmd c = {.kind = CACHE_CMD_RULE_END, .fresh = random_u64() | 1u};
    struct cache_redis_where w = where(sc, STR(""));
    const char *database, *rule;
    cache_l1_scope_names(scope, &database, &rule);
    w.database = str_of(database);
    w.rule = str_of(rule);
    remove_from(sc, scope, NULL, &c, &w);
}

void session_redis_drop_rule(struct session_cache *sc, const struct session_binding *b, int rule)
{
    session_redis_drop_scope(sc, b->scopes[rule]);
}
