/* cache_redis_answer.c - what a reply means to the command that asked; see cache_redis.h.
 *
 * A reply of another shape than the command's is a failure: whoever answers so is no Redis with our
 * scripts, and nothing may be concluded from it.  Pure; worker thread.
 */
#include "cache/cache_redis.h"

#include "base/hash.h"
#include "cache/cache_refusal.h"

/* 0: nothing that we would have written. */
static uint64_t hex_of(struct str s)
{
    uint64_t v;
    return str_to_hex(s, &v) ? v : 0;
}

static bool number_of(struct str s, uint64_t *out)
{
    int64_t v;
    if (s.p == NULL || !str_to_i64(s, 0, INT64_MAX, &v))
        return false;
    *out = (uint64_t)v;
    return true;
}

static uint64_t names_of(struct str s)
{
    return s.n == 0 ? 0 : hash_bytes(s.p, s.n, 0);
}

static bool read_time(const struct cache_reply *r, struct cache_answer *a)
{
    uint64_t sec, usec;
    if (r->nparts != 2 || !number_of(r->parts[0], &sec) || !number_of(r->parts[1], &usec))
        return false;
    a->ms = sec * 1000 + usec / 1000;
    return true;
}

static bool read_renew(const struct cache_reply *r, struct cache_answer *a)
{
    uint64_t open;
    if (r->nparts != 5 || !number_of(r->parts[2], &open) || !number_of(r->parts[3], &a->ms) ||
        !number_of(r->parts[4], &a->c))
        return false;
    a->a = hex_of(r->parts[0]);
    a->b = names_of(r->parts[1]);
    a->value = r->parts[1];
    a->open = open != 0;
    return a->a != 0;
}

static bool read_take_entry(const struct cache_reply *r, struct cache_answer *a)
{
    uint64_t open;
    if (r->nparts < 2 || r->nparts > 3 || !number_of(r->parts[0], &a->a) ||
        !number_of(r->parts[1], &open))
        return false;
    a->open = open != 0;
    a->value = r->nparts == 3 ? r->parts[2] : STR_NONE;
    return true;
}

static bool read_asked(enum cache_cmd_kind kind, const struct cache_reply *r,
                       struct cache_answer *a)
{
    if (r->nparts != (kind == CACHE_CMD_WORLD ? 3 : 2))
        return false;
    if (kind == CACHE_CMD_ENTRY) {
        a->value = r->parts[0];
        a->open = r->parts[1].p != NULL;
        return true;
    }
    a->a = hex_of(r->parts[0]);
    if (kind == CACHE_CMD_WORLD) {
        a->b = names_of(r->parts[1]);
        a->open = r->parts[2].p != NULL;
    } else if (kind == CACHE_CMD_RULE) {
        a->open = r->parts[1].p != NULL;
    } else { /* TAKE_RULE */
        a->open = !str_eq(r->parts[1], STR("0"));
    }
    return true;
}

static bool read_array(enum cache_cmd_kind kind, const struct cache_reply *r,
                       struct cache_answer *a)
{
    switch (kind) {
    case CACHE_CMD_TIME:
        return read_time(r, a);
    case CACHE_CMD_RENEW:
        return read_renew(r, a);
    case CACHE_CMD_TAKE_ENTRY:
        return read_take_entry(r, a);
    case CACHE_CMD_WORLD:
    case CACHE_CMD_RULE:
    case CACHE_CMD_ENTRY:
    case CACHE_CMD_TAKE_RULE:
        return read_asked(kind, r, a);
    case CACHE_CMD_MEMBERS:
    case CACHE_CMD_STORE:
    case CACHE_CMD_GIVE:
    case CACHE_CMD_KEEP:
    case CACHE_CMD_BEGIN:
    case CACHE_CMD_END:
    case CACHE_CMD_RULE_BEGIN:
    case CACHE_CMD_RULE_END:
    case CACHE_CMD_LEAVE:
    case CACHE_CMD_DROP:
    case CACHE_CMD_CENSUS:
    case CACHE_CMD_FORGET:
    case CACHE_CMD_COUNT:
        break;
    }
    return false;
}

struct cache_answer cache_redis_answer(const struct cache_cmd *c, const struct cache_reply *reply)
{
    struct cache_answer a = {.state = CACHE_ANSWER_FAILED};
    if (reply->type == CACHE_REPLY_ERROR) {
        if (memmem(reply->text.p, reply->text.n, "WRONGTYPE", 9) != NULL)
            a.state = CACHE_ANSWER_FOREIGN;
        else if (cache_refusal_certain(reply->text))
            a.state = CACHE_ANSWER_REFUSED;
        return a;
    }
    bool ok = false;
    if (reply->type == CACHE_REPLY_ARRAY) {
        ok = read_array(c->kind, reply, &a);
    } else if (reply->type == CACHE_REPLY_INT && reply->integer >= 0) {
        a.a = (uint64_t)reply->integer;
        ok = c->kind == CACHE_CMD_MEMBERS || c->kind == CACHE_CMD_STORE ||
             c->kind == CACHE_CMD_KEEP || c->kind == CACHE_CMD_GIVE || c->kind == CACHE_CMD_BEGIN ||
             c->kind == CACHE_CMD_END || c->kind == CACHE_CMD_RULE_BEGIN ||
             c->kind == CACHE_CMD_RULE_END || c->kind == CACHE_CMD_LEAVE ||
             c->kind == CACHE_CMD_DROP || c->kind == CACHE_CMD_FORGET;
    } else if (reply->type == CACHE_REPLY_TEXT && c->kind == CACHE_CMD_CENSUS) {
        a.value = reply->text;
        ok = true;
    }
    a.state = ok ? CACHE_ANSWER_OK : CACHE_ANSWER_FAILED;
    return a;
}
