/* cache_redis_reply.c - bytes to answers: the only file that knows hiredis; see cache_redis.h.
 *
 * hiredis calls the functions below for each piece of a reply, in order; they copy it into one
 * buffer and note where.  Returning NULL makes hiredis give up, which is how replies that are
 * nested or have too many parts are refused before anything is allocated for them.  An array's
 * announced size is looked at before hiredis's own function would allocate by it.
 */
#include "cache/cache_redis.h"

#include "base/check.h"
#include "base/mem.h"

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
