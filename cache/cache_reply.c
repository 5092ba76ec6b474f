/* cache_reply.c - bytes to answers: the only file that knows hiredis; see cache_redis.h.
 *
 * hiredis calls the functions below for each piece of a reply, in order; they copy it into one
 * buffer and note where.  Returning NULL makes hiredis give up, which is how replies that are
 * nested or have too many parts are refused before anything is allocated for them.  An array's
 * announced size is looked at before hiredis's own function would allocate by it.
 */
#include "cache/cache_redis.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "cache/cache_refusal.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- replies --------------------------------------------------------------------------------- */

struct piece {
    size_t at, n;
    bool nil;
};

struct cache_redis_reader {
    redisReader *reader;                 /* owned */
    redisReplyObjectFunctions functions; /* that it calls */
    size_t limit;
    bool whole;                 /* the reply has been handed out: the next one begins */
    enum cache_reply_type type; /* of the reply being read */
    int64_t integer;
    int got; /* parts of an array so far */
    struct piece text, parts[CACHE_REDIS_PARTS];
    struct buf bytes;
};

static struct cache_redis_reader *reader_of(const redisReadTask *task)
{
    return task->privdata;
}

/* Where the next piece goes; NULL: deeper or more than we take. */
static struct piece *place(struct cache_redis_reader *r, const redisReadTask *task)
{
    if (task->parent == NULL)
        return &r->text;
    if (task->parent->parent != NULL || r->got >= CACHE_REDIS_PARTS)
        return NULL;
    return &r->parts[r->got++];
}

static void *put_bytes(const redisReadTask *task, const char *p, size_t n,
                       enum cache_reply_type type)
{
    struct cache_redis_reader *r = reader_of(task);
    struct piece *piece = place(r, task);
    if (piece == NULL)
        return NULL;
    *piece = (struct piece){.at = buf_len(&r->bytes), .n = n, .nil = type == CACHE_REPLY_NIL};
    buf_put(&r->bytes, p, n);
    if (task->parent == NULL)
        r->type = type;
    return r->bytes.failed ? NULL : r;
}

static void *on_string(const redisReadTask *task, char *p, size_t n)
{
    return put_bytes(task, p, n,
                     task->type == REDIS_REPLY_ERROR ? CACHE_REPLY_ERROR : CACHE_REPLY_TEXT);
}

static void *begin_array(const redisReadTask *task, size_t n)
{
    struct cache_redis_reader *r = reader_of(task);
    if (task->parent != NULL || n > CACHE_REDIS_PARTS)
        return NULL;
    r->type = CACHE_REPLY_ARRAY;
    return r;
}

static void *on_integer(const redisReadTask *task, long long v)
{
    char text[24];
    int n = snprintf(text, sizeof(text), "%lld", v);
    void *res = put_bytes(task, text, (size_t)n, CACHE_REPLY_INT);
    reader_of(task)->integer = v;
    return res;
}

static void *on_nil(const redisReadTask *task)
{
    return put_bytes(task, "", 0, CACHE_REPLY_NIL);
}

/* All pieces belong to the reader. */
static void on_free(void *object)
{
    (void)object;
}

#if HIREDIS_MAJOR >= 1
static void *on_array(const redisReadTask *task, size_t n)
{
    return begin_array(task, n);
}

static void *on_double(const redisReadTask *task, double v, char *p, size_t n)
{
    (void)v;
    return put_bytes(task, p, n, CACHE_REPLY_TEXT);
}

static void *on_bool(const redisReadTask *task, int v)
{
    return on_integer(task, v);
}
#else
static void *on_array(const redisReadTask *task, int n)
{
    return begin_array(task, n < 0 ? SIZE_MAX : (size_t)n);
}
#endif

struct cache_redis_reader *cache_redis_reader_new(size_t limit)
{
    struct cache_redis_reader *r = mem_new(sizeof(*r));
    r->functions = (redisReplyObjectFunctions)
    {
        .createString = on_string, .createArray = on_array, .createInteger = on_integer,
        .createNil = on_nil, .freeObject = on_free,
#if HIREDIS_MAJOR >= 1
        .createDouble = on_double, .createBool = on_bool,
#endif
    };
    r->limit = limit;
    buf_init(&r->bytes, limit);
    r->reader = redisReaderCreateWithFunctions(&r->functions);
    CHECK(r->reader != NULL);
    r->reader->privdata = r;
    return r;
}

void cache_redis_reader_free(struct cache_redis_reader **r)
{
    struct cache_redis_reader *it = *r;
    *r = NULL;
    if (it == NULL)
        return;
    redisReaderFree(it->reader);
    buf_fini(&it->bytes);
    mem_free(it);
}

enum status cache_redis_feed(struct cache_redis_reader *r, struct str bytes)
{
    if (r->reader->len - r->reader->pos > r->limit)
        return ST_LIMIT;
    return redisReaderFeed(r->reader, bytes.p, bytes.n) == REDIS_OK ? ST_OK : ST_INVALID;
}

static struct str text_of(const struct cache_redis_reader *r, const struct piece *p)
{
    if (p->nil)
        return STR_NONE;
    return (struct str){(const char *)buf_data(&r->bytes) + p->at, p->n};
}

/* The pieces are where they stay: the addresses can be told. */
static void finish(struct cache_redis_reader *r, struct cache_reply *out)
{
    buf_put_u8(&r->bytes, 0); /* so that an empty text has an address too */
    out->type = r->type;
    out->integer = r->type == CACHE_REPLY_INT ? r->integer : 0;
    if (r->type != CACHE_REPLY_ARRAY) {
        out->text = text_of(r, &r->text);
        return;
    }
    out->nparts = r->got;
    for (int i = 0; i < r->got; i++)
        out->parts[i] = text_of(r, &r->parts[i]);
}

enum status cache_redis_next(struct cache_redis_reader *r, struct cache_reply *out,
                             struct error *err)
{
    void *object = NULL;
    *out = (struct cache_reply){0};
    /* A reply may arrive in pieces: what is read of it stays until it is whole. */
    if (r->whole) {
        buf_reset(&r->bytes);
        r->got = 0;
        r->whole = false;
    }
    if (redisReaderGetReply(r->reader, &object) != REDIS_OK)
        return error_set(err, ST_INVALID, "Redis: %s", r->reader->errstr);
    if (object == NULL)
        return ST_AGAIN;
    r->whole = true;
    finish(r, out);
    return ST_OK;
}

bool cache_redis_wants_script(const struct cache_reply *reply)
{
    return reply->type == CACHE_REPLY_ERROR && str_starts(reply->text, STR("NOSCRIPT"));
}

bool cache_redis_full(const struct cache_reply *reply)
{
    return reply->type == CACHE_REPLY_ERROR &&
           memmem(reply->text.p, reply->text.n, "OOM ", 4) != NULL;
}

/* ---- answers --------------------------------------------------------------------------------- */

static uint64_t hex_of(struct str s)
{
    uint64_t v = 0;
    if (s.n == 0 || s.n > 16)
        return 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c >= '0' && c <= '9')
            v = v << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            v = v << 4 | (uint64_t)(c - 'a' + 10);
        else
            return 0;
    }
    return v;
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
             c->kind == CACHE_CMD_DROP;
    }
    a.state = ok ? CACHE_ANSWER_OK : CACHE_ANSWER_FAILED;
    return a;
}
