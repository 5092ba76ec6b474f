/* test_cache_redis.c - bytes of commands, replies whole and in pieces, and what they mean. */
#include "cache/cache_redis.h"
#include "cache/cache_refusal.h"

#include "base/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const struct cache_redis_where where = {
    .prefix = {"p:", 2},
    .database = {"db", 2},
    .rule = {"balance", 7},
    .name = {"balance:42", 10},
    .field = {"00112233445566aa", 16},
    .member = {"one", 3},
    .members = {"one,two", 7},
    .value = {"V", 1},
    .period_ms = 200,
    .definitions = 7,
    .defines = true,
};

/* The command as words with a bar between them. */
static const char *words(const struct cache_redis_scripts *s, const struct cache_cmd *c)
{
    static char line[4096];
    struct buf b;
    size_t at = 0;
    buf_init(&b, 1 << 16);
    cache_redis_command(s, c, &where, &b);
    assert_false(b.failed);
    struct str rest = buf_str(&b);
    struct str head = str_cut(&rest, '\n');
    int n = 0;
    assert_int_equal(sscanf(head.p, "*%d\r", &n), 1);
    for (int i = 0; i < n; i++) {
        int len = 0;
        head = str_cut(&rest, '\n');
        assert_int_equal(sscanf(head.p, "$%d\r", &len), 1);
        assert_true(rest.n >= (size_t)len + 2 && memcmp(rest.p + len, "\r\n", 2) == 0);
        at += (size_t)snprintf(line + at, sizeof(line) - at, "%s%.*s", i > 0 ? "|" : "", len,
                               rest.p);
        rest = (struct str){rest.p + len + 2, rest.n - (size_t)len - 2};
    }
    assert_int_equal(rest.n, 0);
    buf_fini(&b);
    return line;
}

static void plain_commands_name_their_keys(void **state)
{
    (void)state;
    static const struct {
        enum cache_cmd_kind kind;
        const char *want;
    } cases[] = {
        {CACHE_CMD_TIME, "TIME"},
        {CACHE_CMD_WORLD, "HMGET|p:penstock:world|e|m|q"},
        {CACHE_CMD_MEMBERS, "EXISTS|p:penstock:member:one|p:penstock:member:two"},
        {CACHE_CMD_RULE, "HMGET|p:penstock:rule:db:balance|g|!w"},
        {CACHE_CMD_ENTRY, "HMGET|p:balance:42|00112233445566aa|!w"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cache_cmd c = {.kind = cases[i].kind};
        assert_string_equal(words(NULL, &c), cases[i].want);
    }
}

static void scripts_go_by_name_or_by_text(void **state)
{
    (void)state;
    static const struct {
        enum cache_cmd_kind kind;
        const char *want;
    } cases[] = {
        {CACHE_CMD_TAKE_RULE, "|1|p:penstock:rule:db:balance|000000000000000b"},
        {CACHE_CMD_TAKE_ENTRY, "|1|p:balance:42|00112233445566aa|000000000000000a|50|1"},
        {CACHE_CMD_STORE, "|1|p:balance:42|00112233445566aa|000000000000000a|50|V"},
        {CACHE_CMD_GIVE, "|1|p:balance:42|00112233445566aa|000000000000000a"},
        {CACHE_CMD_KEEP, "|1|p:balance:42|00112233445566aa|50|V"},
        {CACHE_CMD_BEGIN, "|1|p:balance:42|000000000000000a|50"},
        {CACHE_CMD_END, "|1|p:balance:42|000000000000000a"},
        {CACHE_CMD_DROP, "|1|p:balance:42|000000000000000a"},
        {CACHE_CMD_RULE_BEGIN,
         "|1|p:penstock:rule:db:balance|000000000000000a|50|000000000000000b"},
        {CACHE_CMD_RULE_END, "|1|p:penstock:rule:db:balance|000000000000000a|000000000000000b"},
        {CACHE_CMD_RENEW, "|2|p:penstock:world|p:penstock:member:one|one|000000000000000a|50|"
                          "000000000000000b|1|200|7|1"},
        {CACHE_CMD_LEAVE, "|2|p:penstock:world|p:penstock:member:one|one|000000000000000b|1"},
    };
    struct cache_redis_scripts s;
    cache_redis_scripts(&s);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cache_cmd c = {
            .kind = cases[i].kind, .flag = true, .nonce = 10, .fresh = 11, .ms = 50};
        const char *got = words(&s, &c);
        assert_int_equal(strlen(s.sha[c.kind]), 40);
        assert_memory_equal(got, "EVALSHA|", 8);
        assert_memory_equal(got + 8, s.sha[c.kind], 40);
        assert_string_equal(got + 48, cases[i].want);
        got = words(NULL, &c);
        assert_memory_equal(got, "EVAL|", 5);
        assert_string_equal(got + strlen(got) - strlen(cases[i].want), cases[i].want);
    }
}

static const char *describe(const struct cache_reply *r)
{
    static char line[512];
    size_t at = (size_t)snprintf(line, sizeof(line), "%d " STR_FMT, (int)r->type,
                                 STR_ARG(r->text.p == NULL ? STR("") : r->text));
    for (int i = 0; i < r->nparts; i++)
        at += (size_t)snprintf(line + at, sizeof(line) - at, "[" STR_FMT "]",
                               STR_ARG(r->parts[i].p == NULL ? STR("nil") : r->parts[i]));
    return line;
}

#define STREAM                                                                                     \
    "+OK\r\n$5\r\nhello\r\n:42\r\n$-1\r\n*3\r\n$1\r\na\r\n$-1\r\n:7\r\n-ERR "                      \
    "no\r\n*0\r\n$0\r\n\r\n"

static void replies_come_whole_and_at_every_split(void **state)
{
    (void)state;
    static const char *const want[] = {"1 OK",          "1 hello",  "2 42", "0 ",
                                       "3 [a][nil][7]", "4 ERR no", "3 ",   "1 "};
    struct str all = STR(STREAM);
    for (size_t split = 0; split <= all.n; split++) {
        struct cache_redis_reader *r = cache_redis_reader_new(4096);
        struct cache_reply reply;
        struct error err;
        size_t n = 0;
        for (int half = 0; half < 2; half++) {
            struct str piece = half == 0 ? (struct str){all.p, split}
                                         : (struct str){all.p + split, all.n - split};
            assert_int_equal(cache_redis_feed(r, piece), ST_OK);
            while (cache_redis_next(r, &reply, &err) == ST_OK)
                assert_string_equal(describe(&reply), want[n++]);
        }
        assert_int_equal(n, ARRAY_LEN(want));
        cache_redis_reader_free(&r);
    }
}

static enum status read_all(const char *bytes, size_t n, size_t limit)
{
    struct cache_redis_reader *r = cache_redis_reader_new(limit);
    struct cache_reply reply;
    struct error err;
    enum status st = ST_OK;
    for (size_t i = 0; i < n && st == ST_OK; i++) {
        st = cache_redis_feed(r, (struct str){bytes + i, 1});
        enum status next = st == ST_OK ? cache_redis_next(r, &reply, &err) : st;
        st = next == ST_AGAIN ? ST_OK : next;
    }
    cache_redis_reader_free(&r);
    return st;
}

static void what_is_too_much_is_refused_before_it_is_held(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "*9\r\n", "*1000000000\r\n", "*1\r\n*1\r\n:1\r\n", "hello\r\n", "$x\r\n", ":\r\r\n",
    };
    char big[600];
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(read_all(bad[i], strlen(bad[i]), 4096), ST_INVALID);
    memset(big, 'x', sizeof(big));
    memcpy(big, "$900000000\r\n", 12);
    assert_int_equal(read_all(big, sizeof(big), 256), ST_LIMIT);
    assert_int_equal(read_all("$5\r\nhello\r\n", 11, 4), ST_LIMIT);
}

static struct cache_answer answer(enum cache_cmd_kind kind, const char *bytes)
{
    static char value[64];
    struct cache_redis_reader *r = cache_redis_reader_new(4096);
    struct cache_cmd c = {.kind = kind};
    struct cache_reply reply;
    struct error err;
    assert_int_equal(cache_redis_feed(r, str_of(bytes)), ST_OK);
    assert_int_equal(cache_redis_next(r, &reply, &err), ST_OK);
    struct cache_answer a = cache_redis_answer(&c, &reply);
    if (a.value.p != NULL) {
        (void)str_copy(value, sizeof(value), a.value);
        a.value = str_of(value);
    }
    cache_redis_reader_free(&r);
    return a;
}

static void answers_are_read_by_what_was_asked(void **state)
{
    (void)state;
    struct cache_answer a = answer(CACHE_CMD_TIME, "*2\r\n$2\r\n12\r\n$6\r\n345678\r\n");
    assert_true(a.state == CACHE_ANSWER_OK && a.ms == 12345);
    a = answer(CACHE_CMD_WORLD, "*3\r\n$2\r\nab\r\n$3\r\none\r\n$-1\r\n");
    assert_true(a.state == CACHE_ANSWER_OK && a.a == 0xab && !a.open);
    assert_int_equal(a.b, hash_bytes("one", 3, 0));
    a = answer(CACHE_CMD_WORLD, "*3\r\n$-1\r\n$-1\r\n$1\r\n9\r\n");
    assert_true(a.state == CACHE_ANSWER_OK && a.a == 0 && a.b == 0 && a.open);
    a = answer(CACHE_CMD_MEMBERS, ":2\r\n");
    assert_true(a.state == CACHE_ANSWER_OK && a.a == 2);
    a = answer(CACHE_CMD_RULE, "*2\r\n$2\r\nab\r\n$3\r\na=1\r\n");
    assert_true(a.a == 0xab && a.open);
    a = answer(CACHE_CMD_ENTRY, "*2\r\n$3\r\nxyz\r\n$-1\r\n");
    assert_true(str_eq(a.value, STR("xyz")) && !a.open);
    a = answer(CACHE_CMD_ENTRY, "*2\r\n$-1\r\n$-1\r\n");
    assert_true(a.state == CACHE_ANSWER_OK && a.value.p == NULL);
    a = answer(CACHE_CMD_TAKE_RULE, "*2\r\n$2\r\nab\r\n:1\r\n");
    assert_true(a.a == 0xab && a.open);
    a = answer(CACHE_CMD_TAKE_ENTRY, "*2\r\n:1\r\n:0\r\n");
    assert_true(a.state == CACHE_ANSWER_OK && a.a == 1 && !a.open && a.value.p == NULL);
    a = answer(CACHE_CMD_TAKE_ENTRY, "*3\r\n:0\r\n:0\r\n$1\r\nx\r\n");
    assert_true(a.a == 0 && str_eq(a.value, STR("x")));
    a = answer(CACHE_CMD_RENEW,
               "*5\r\n$2\r\nab\r\n$7\r\none,two\r\n:1\r\n$3\r\n777\r\n$1\r\n5\r\n");
    assert_true(a.a == 0xab && a.open && a.ms == 777 && a.c == 5 &&
                str_eq(a.value, STR("one,two")));
    a = answer(CACHE_CMD_STORE, ":0\r\n");
    assert_true(a.state == CACHE_ANSWER_OK && a.a == 0);
}

static void strange_answers_are_failures(void **state)
{
    (void)state;
    static const struct {
        enum cache_cmd_kind kind;
        const char *bytes;
        enum cache_answer_state want;
    } cases[] = {
        {CACHE_CMD_ENTRY, "-WRONGTYPE Operation against a key\r\n", CACHE_ANSWER_FOREIGN},
        {CACHE_CMD_BEGIN, "-ERR Error running script: WRONGTYPE x\r\n", CACHE_ANSWER_FOREIGN},
        {CACHE_CMD_BEGIN, "-OOM command not allowed\r\n", CACHE_ANSWER_REFUSED},
        {CACHE_CMD_RENEW, "-READONLY You can't write against a read only replica. script: x\r\n",
         CACHE_ANSWER_REFUSED},
        {CACHE_CMD_RENEW,
         "-ERR Error running script (call to f_x): @user_script:2: @user_script: 2: -MISCONF y\r\n",
         CACHE_ANSWER_REFUSED},
        {CACHE_CMD_RENEW, "-NOSCRIPT No matching script.\r\n", CACHE_ANSWER_REFUSED},
        {CACHE_CMD_RENEW, "-NOPERM User x has no permissions to run the 'evalsha' command\r\n",
         CACHE_ANSWER_REFUSED},
        {CACHE_CMD_RENEW, "-NOPERM User x has no permissions to run the 'pexpireat' command\r\n",
         CACHE_ANSWER_FAILED},
        {CACHE_CMD_RENEW, "-ERR upstream failure\r\n", CACHE_ANSWER_FAILED},
        {CACHE_CMD_RENEW, "-READONLYISH x\r\n", CACHE_ANSWER_FAILED},
        {CACHE_CMD_BEGIN, "$1\r\n1\r\n", CACHE_ANSWER_FAILED},
        {CACHE_CMD_BEGIN, ":-1\r\n", CACHE_ANSWER_FAILED},
        {CACHE_CMD_ENTRY, ":1\r\n", CACHE_ANSWER_FAILED},
        {CACHE_CMD_ENTRY, "*1\r\n:1\r\n", CACHE_ANSWER_FAILED},
        {CACHE_CMD_WORLD, "*2\r\n:1\r\n:1\r\n", CACHE_ANSWER_FAILED},
        {CACHE_CMD_TIME, "*2\r\n$1\r\nx\r\n$1\r\n1\r\n", CACHE_ANSWER_FAILED},
        {CACHE_CMD_RENEW, "*5\r\n$1\r\nz\r\n$1\r\na\r\n:0\r\n$1\r\n1\r\n$1\r\n0\r\n",
         CACHE_ANSWER_FAILED},
        {CACHE_CMD_TAKE_ENTRY, "*2\r\n$1\r\nx\r\n:0\r\n", CACHE_ANSWER_FAILED},
        {CACHE_CMD_STORE, "$-1\r\n", CACHE_ANSWER_FAILED},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(answer(cases[i].kind, cases[i].bytes).state, cases[i].want);
    struct cache_reply r = {.type = CACHE_REPLY_ERROR, .text = STR("NOSCRIPT No matching script")};
    assert_true(cache_redis_wants_script(&r) && !cache_redis_full(&r));
    r.text = STR("OOM command not allowed");
    assert_true(cache_redis_full(&r) && !cache_redis_wants_script(&r) &&
                !cache_refusal_astray(r.text));
    r.text = STR("LOADING Redis is loading the dataset in memory");
    assert_true(cache_refusal_astray(r.text) && cache_refusal_certain(r.text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_commands_name_their_keys),
        cmocka_unit_test(scripts_go_by_name_or_by_text),
        cmocka_unit_test(replies_come_whole_and_at_every_split),
        cmocka_unit_test(what_is_too_much_is_refused_before_it_is_held),
        cmocka_unit_test(answers_are_read_by_what_was_asked),
        cmocka_unit_test(strange_answers_are_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
