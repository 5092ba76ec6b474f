/* fuzz_cache_redis.c - libFuzzer target: replies of anything that calls itself Redis.
 *
 * The first byte says where the stream is cut in two, the second which command is taken to have
 * been asked.  What comes out must lie within the limits, whole or not at all.
 */
#include "base/base.h"

#include "base/check.h"
#include "cache/cache_redis.h"

#define LIMIT 4096u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_reply(const struct cache_cmd *c, const struct cache_reply *reply)
{
    CHECK(reply->text.n <= LIMIT && reply->nparts >= 0 && reply->nparts <= CACHE_REDIS_PARTS);
    for (int i = 0; i < reply->nparts; i++)
        CHECK(reply->parts[i].n <= LIMIT);
    struct cache_answer a = cache_redis_answer(c, reply);
    CHECK(a.state != CACHE_ANSWER_OK || a.value.n <= LIMIT);
    (void)cache_redis_wants_script(reply);
    (void)cache_redis_full(reply);
}

static bool drain(struct cache_redis_reader *r, const struct cache_cmd *c)
{
    struct cache_reply reply;
    struct error err = {{0}};
    enum status st;
    while ((st = cache_redis_next(r, &reply, &err)) == ST_OK)
        check_reply(c, &reply);
    CHECK(st == ST_AGAIN || err.text[0] != '\0');
    return st == ST_AGAIN;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct str in = {(const char *)data + 2, size - 2};
    size_t cut = MIN((size_t)data[0], in.n);
    struct cache_cmd c = {.kind = (enum cache_cmd_kind)(data[1] % CACHE_CMD_COUNT)};
    struct cache_redis_reader *r = cache_redis_reader_new(LIMIT);
    struct str pieces[2] = {{in.p, cut}, {in.p + cut, in.n - cut}};
    for (int i = 0; i < 2; i++)
        if (cache_redis_feed(r, pieces[i]) != ST_OK || !drain(r, &c))
            break;
    cache_redis_reader_free(&r);
    return 0;
}
