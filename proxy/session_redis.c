/* session_redis.c - entries in Redis: asked for, stored and removed; see session_cache.h.
 *
 * An entry is a field of the hash that bears its name, so that whoever deletes the key deletes all
 * variants.  A hash lives as long as its first field may: what is stored later does not prolong it.
 * Mode ttl only: nothing here waits for Redis but the look-up, and that within redis_timeout.
 */
#include "proxy/session_cache.h"

#include "base/buf.h"
#include "base/log.h"
#include "proxy/redis.h"

#include <stdio.h>

#define KEY_MAX (CACHE_KEY_TEXT + CONFIG_CACHE_PREFIX_MAX)

static const char store_script[] =
    "redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) "
    "if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end";

struct place {
    char key[KEY_MAX];
    char field[CACHE_FIELD_BYTES + 1];
};

static struct str key_of(const struct config_cache *cfg, struct str name, char *dst)
{
    size_t n = strlen(cfg->opt.prefix);
    memcpy(dst, cfg->opt.prefix, n);
    memcpy(dst + n, name.p, name.n);
    return (struct str){dst, n + name.n};
}

/* ---- asked ----------------------------------------------------------------------------------- */

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
        if (conn_wire(&x->client->conn)->answers->whole(&kept))
            return;
        cache_entry_put(&x->second.entry);
    }
    x->second.foreign = true;
    LOG_LIMITED(LL_WARNING, "Redis holds a value under a key of the cache that is not an entry");
}

static void answered(struct redis_ask *a, const struct cache_reply *reply)
{
    struct session_cached *x = container_of(a, struct session_cached, second.ask);
    x->second.state = SECOND_ANSWERED;
    x->second.failed = reply == NULL;
    x->second.foreign = false;
    if (reply != NULL && reply->type == CACHE_REPLY_TEXT)
        read_entry(x, reply->text);
    else if (reply != NULL && reply->type != CACHE_REPLY_NIL)
        x->second.foreign = true; /* another type has this name */
    client_set_state(x->client, CL_IDLE);
    session_go_on(x->client);
}

bool session_redis_ask(struct session_cache *sc, struct session_cached *x,
                       const struct cache_rule *rule, const struct cache_key *key)
{
    struct place p;
    cache_key_digest(key, x->second.digest);
    cache_key_field(x->second.digest, p.field);
    struct str argv[] = {STR("HGET"), key_of(sc->config, key->name, p.key), str_of(p.field)};
    x->second.ask.done = answered;
    x->second.max = rule->max_result + SESSION_ANSWER_EXTRA;
    if (!redis_ask(sc->redis, &x->second.ask, argv, 3))
        return false;
    x->second.state = SECOND_ASKED;
    return true;
}

void session_redis_forget(struct session_cached *x)
{
    redis_forget(&x->second.ask);
    cache_entry_put(&x->second.entry);
    x->second.state = SECOND_NONE;
}

/* ---- stored and removed ---------------------------------------------------------------------- */

/* Up to a tenth less, by the entry itself, so that many do not end at once. */
static uint64_t shortened(usec_t ttl, const struct cache_entry *e)
{
    uint64_t ms = (uint64_t)MAX(ttl / 1000, 1);
    return ms - (e->digest[0] * 256u + e->digest[1]) % (ms / 10 + 1);
}

bool session_redis_store(struct session_cache *sc, const struct cache_rule *rule,
                         const struct cache_key *key, const struct cache_entry *e)
{
    struct place p;
    struct buf value;
    char ttl[24];
    if (!redis_is_up(sc->redis))
        return false;
    buf_init(&value, cache_entry_bytes(e) + CACHE_ENTRY_HEADER);
    cache_entry_encode(e, &value);
    cache_key_field(e->digest, p.field);
    snprintf(ttl, sizeof(ttl), "%llu", (unsigned long long)shortened(rule->ttl_us, e));
    struct str argv[] = {
        STR("EVAL"),     str_of(store_script), STR("1"),   key_of(sc->config, key->name, p.key),
        str_of(p.field), buf_str(&value),      str_of(ttl)};
    if (!value.failed)
        redis_tell(sc->redis, argv, 7);
    buf_fini(&value);
    return true;
}

void session_redis_remove(struct session_cache *sc, struct str name)
{
    char key[KEY_MAX];
    struct str argv[] = {STR("UNLINK"), key_of(sc->config, name, key)};
    redis_tell(sc->redis, argv, 2);
}
