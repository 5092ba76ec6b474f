/* test_cache_link.c - the connection without a socket: greeting, batches, late and lost answers. */
#include "cache/cache_link.h"
#include "cache/cache_script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define MS 1000

static const struct cache_link_setup setup = {.user = {"app", 3},
                                              .password = {"secret", 6},
                                              .database = 2,
                                              .timeout = 2 * MS,
                                              .greet_timeout = 500 * MS,
                                              .pause_max = 640 * MS,
                                              .reply_max = 65536};
static const struct cache_redis_where where = {.database = {"db", 2},
                                               .rule = {"r", 1},
                                               .name = {"k:1", 3},
                                               .field = {"f", 1},
                                               .members = {"one", 3}};

struct asker {
    struct cache_batch batch;
    int done;
    char value[64];
};

static void on_done(struct cache_batch *b)
{
    struct asker *a = container_of(b, struct asker, batch);
    struct str value = b->answers[b->n - 1].value;
    a->done++;
    (void)str_copy(a->value, sizeof(a->value), value.p == NULL ? STR("none") : value);
}

static enum status in(struct cache_link *l, const char *bytes, usec_t now)
{
    return cache_link_input(l, str_of(bytes), now);
}

/* Replies to all of the greeting but INFO, that is to AUTH, SELECT and the scripts. */
static void greet(struct cache_link *l, usec_t now)
{
    char info[128];
    cache_link_connected(l, now);
    assert_int_equal(l->state, CACHE_LINK_GREETING);
    assert_true(str_starts(buf_str(&l->out), STR("*3\r\n$4\r\nAUTH\r\n$3\r\napp\r\n$6\r\nsecret")));
    buf_reset(&l->out);
    for (int i = l->greetings; i > 1; i--)
        assert_int_equal(in(l, "+OK\r\n", now), ST_OK);
    const char *text = "# Server\r\nredis_version:7.0\r\nrun_id:abc\r\n";
    snprintf(info, sizeof(info), "$%zu\r\n%s\r\n", strlen(text), text);
    assert_int_equal(in(l, info, now), ST_OK);
    assert_int_equal(l->state, CACHE_LINK_UP);
    assert_true(l->server != 0);
}

static void ask(struct asker *a)
{
    *a = (struct asker){.done = 0};
    cache_batch_init(&a->batch, on_done);
    a->batch.cmds[0] = (struct cache_cmd){.kind = CACHE_CMD_MEMBERS};
    a->batch.cmds[1] = (struct cache_cmd){.kind = CACHE_CMD_ENTRY};
}

static void batches_get_their_answers_in_order(void **state)
{
    (void)state;
    struct cache_link l;
    struct asker a, b;
    cache_link_init(&l, &setup);
    ask(&a);
    ask(&b);
    assert_false(cache_link_send(&l, &a.batch, 2, &where, 0));
    greet(&l, 0);
    assert_true(cache_link_send(&l, &a.batch, 2, &where, 0));
    assert_true(cache_link_send(&l, &b.batch, 1, &where, 0));
    assert_true(str_starts(buf_str(&l.out), STR("*2\r\n$6\r\nEXISTS\r\n")));
    assert_int_equal(in(&l, ":1\r\n*2\r\n$3\r\nxyz", 0), ST_OK);
    assert_int_equal(a.done, 0);
    assert_int_equal(in(&l, "\r\n$-1\r\n:7\r\n", 0), ST_OK);
    assert_true(a.done == 1 && b.done == 1);
    assert_string_equal(a.value, "xyz");
    assert_true(a.batch.answers[0].a == 1 && b.batch.answers[0].a == 7);
    assert_int_equal(cache_link_due(&l), INT64_MAX);
    assert_int_equal(in(&l, ":7\r\n", 0), ST_INVALID); /* nobody asked */
    cache_batch_fini(&a.batch);
    cache_batch_fini(&b.batch);
    cache_link_fini(&l);
}

static void a_late_batch_fails_and_its_answers_are_thrown_away(void **state)
{
    (void)state;
    struct cache_link l;
    struct asker a, b;
    cache_link_init(&l, &setup);
    ask(&a);
    ask(&b);
    greet(&l, 0);
    assert_true(cache_link_send(&l, &a.batch, 2, &where, 0));
    assert_true(cache_link_send(&l, &b.batch, 2, &where, MS));
    assert_int_equal(in(&l, ":1\r\n", 0), ST_OK);
    assert_int_equal(cache_link_due(&l), 2 * MS);
    assert_true(cache_link_step(&l, 2 * MS - 1));
    assert_int_equal(a.done, 0);
    assert_true(cache_link_step(&l, 2 * MS));
    assert_int_equal(a.done, 1);
    assert_int_equal(a.batch.answers[0].state, CACHE_ANSWER_OK);
    assert_int_equal(a.batch.answers[1].state, CACHE_ANSWER_FAILED);
    /* It may ask again while the old answer is still to come. */
    assert_true(cache_link_send(&l, &a.batch, 1, &where, 2 * MS));
    assert_int_equal(in(&l, "*2\r\n$3\r\nold\r\n$-1\r\n:1\r\n*2\r\n$1\r\nb\r\n$-1\r\n:9\r\n", 0),
                     ST_OK);
    assert_int_equal(a.done, 2);
    assert_int_equal(a.batch.answers[0].a, 9);
    assert_string_equal(b.value, "b");
    assert_int_equal(l.counts.late, 1);
    cache_batch_fini(&a.batch);
    cache_batch_fini(&b.batch);
    cache_link_fini(&l);
}

static void a_batch_that_is_forgotten_disturbs_nobody(void **state)
{
    (void)state;
    struct cache_link l;
    struct asker a, b;
    cache_link_init(&l, &setup);
    ask(&a);
    ask(&b);
    greet(&l, 0);
    assert_true(cache_link_send(&l, &a.batch, 2, &where, 0));
    assert_true(cache_link_send(&l, &b.batch, 1, &where, 0));
    cache_batch_fini(&a.batch);
    assert_int_equal(in(&l, ":1\r\n*2\r\n$-1\r\n$-1\r\n:3\r\n", 0), ST_OK);
    assert_true(a.done == 0 && b.done == 1);
    cache_batch_fini(&b.batch);
    cache_link_fini(&l);
}

static void failures_in_a_row_open_the_breaker(void **state)
{
    (void)state;
    struct cache_link l;
    struct asker a;
    usec_t now = 0;
    cache_link_init(&l, &setup);
    ask(&a);
    greet(&l, now);
    for (int i = 0; i < CACHE_LINK_FAILURES; i++) {
        assert_true(cache_link_send(&l, &a.batch, 1, &where, now));
        now += 2 * MS;
        assert_int_equal(cache_link_step(&l, now), i < CACHE_LINK_FAILURES - 1);
    }
    cache_link_lost(&l, NULL, now);
    assert_non_null(strstr(l.reason, "late"));
    assert_false(cache_link_send(&l, &a.batch, 1, &where, now));
    assert_int_equal(cache_link_due(&l), now + 10 * MS);
    cache_batch_fini(&a.batch);
    cache_link_fini(&l);
}

static void a_lost_connection_fails_all_and_pauses_longer_each_time(void **state)
{
    (void)state;
    struct cache_link l;
    struct asker a, b;
    cache_link_init(&l, &setup);
    ask(&a);
    ask(&b);
    greet(&l, 0);
    assert_true(cache_link_send(&l, &a.batch, 2, &where, 0));
    assert_true(cache_link_send(&l, &b.batch, 2, &where, 0));
    cache_link_lost(&l, "gone", 0);
    assert_true(a.done == 1 && b.done == 1 && l.server == 0 && buf_len(&l.out) == 0);
    assert_string_equal(l.reason, "gone");
    usec_t pause = cache_link_due(&l);
    cache_link_lost(&l, "refused", 0);
    assert_int_equal(cache_link_due(&l), 2 * pause);
    for (int i = 0; i < 20; i++)
        cache_link_lost(&l, "refused", 0);
    assert_int_equal(cache_link_due(&l), setup.pause_max);
    greet(&l, 0);
    cache_link_lost(&l, "gone", 0);
    assert_int_equal(cache_link_due(&l), pause);
    cache_batch_fini(&a.batch);
    cache_batch_fini(&b.batch);
    cache_link_fini(&l);
}

static void a_greeting_that_fails_says_why(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *why;
    } cases[] = {
        {"-WRONGPASS invalid username-password pair\r\n", "refused: WRONGPASS"},
        {"$x\r\n", "Redis: "},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cache_link l;
        cache_link_init(&l, &setup);
        cache_link_connected(&l, 0);
        assert_int_not_equal(in(&l, cases[i].bytes, 0), ST_OK);
        assert_non_null(strstr(l.reason, cases[i].why));
        assert_null(strstr(l.reason, "secret"));
        cache_link_lost(&l, NULL, 0);
        cache_link_fini(&l);
    }
    struct cache_link l;
    cache_link_init(&l, &setup);
    cache_link_connected(&l, 0);
    assert_true(cache_link_step(&l, 499 * MS));
    assert_false(cache_link_step(&l, 500 * MS));
    assert_string_equal(l.reason, "no greeting in time");
    cache_link_fini(&l);
}

static void scripts_that_were_flushed_are_loaded_again(void **state)
{
    (void)state;
    struct cache_link l;
    struct asker a;
    cache_link_init(&l, &setup);
    ask(&a);
    a.batch.cmds[0] = (struct cache_cmd){.kind = CACHE_CMD_END, .nonce = 1};
    greet(&l, 0);
    assert_true(cache_link_send(&l, &a.batch, 1, &where, 0));
    buf_reset(&l.out);
    assert_int_equal(in(&l, "-NOSCRIPT No matching script.\r\n", 0), ST_OK);
    assert_true(a.done == 1 && a.batch.answers[0].state == CACHE_ANSWER_REFUSED);
    assert_true(str_starts(buf_str(&l.out), STR("*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n")));
    assert_int_equal(l.state, CACHE_LINK_UP);
    assert_true(cache_link_send(&l, &a.batch, 1, &where, 0));
    for (int i = l.greetings; i > 0; i--)
        assert_int_equal(in(&l, "$1\r\nx\r\n", 0), ST_OK);
    assert_int_equal(in(&l, ":1\r\n", 0), ST_OK);
    assert_true(a.done == 2 && a.batch.answers[0].state == CACHE_ANSWER_OK);
    cache_batch_fini(&a.batch);
    cache_link_fini(&l);
}

static const char readonly[] = "-READONLY You can't write against a read only replica.\r\n";

/* Writes that are refused, with answers to reads between them. */
static void is_refused(struct cache_link *l, struct asker *a, int n)
{
    for (int i = 0; i < n; i++) {
        bool last = i == CACHE_LINK_ASTRAY - 1;
        a->batch.cmds[0] = (struct cache_cmd){.kind = CACHE_CMD_BEGIN, .nonce = 1};
        assert_true(cache_link_send(l, &a->batch, 1, &where, 0));
        assert_int_equal(in(l, readonly, 0), last ? ST_DENIED : ST_OK);
        assert_int_equal(a->batch.answers[0].state, CACHE_ANSWER_REFUSED);
        a->batch.cmds[0] = (struct cache_cmd){.kind = CACHE_CMD_MEMBERS};
        assert_true(last || cache_link_send(l, &a->batch, 1, &where, 0));
        assert_int_equal(last ? ST_OK : in(l, ":1\r\n", 0), ST_OK);
    }
}

static void a_server_that_takes_no_writes_is_given_up(void **state)
{
    (void)state;
    struct cache_link l;
    struct asker a;
    usec_t pause = 0;
    cache_link_init(&l, &setup);
    ask(&a);
    for (int i = 0; i < 4; i++) { /* that it greets proves nothing */
        greet(&l, 0);
        is_refused(&l, &a, CACHE_LINK_ASTRAY);
        assert_non_null(strstr(l.reason, "takes no writes: READONLY"));
        cache_link_lost(&l, NULL, 0);
        assert_true(cache_link_due(&l) > pause);
        pause = cache_link_due(&l);
    }
    greet(&l, 0);
    is_refused(&l, &a, CACHE_LINK_ASTRAY - 1);
    a.batch.cmds[0] = (struct cache_cmd){.kind = CACHE_CMD_BEGIN, .nonce = 1};
    assert_true(cache_link_send(&l, &a.batch, 1, &where, 0));
    assert_int_equal(in(&l, ":1\r\n", 0), ST_OK);
    is_refused(&l, &a, CACHE_LINK_ASTRAY - 1); /* counted anew */
    cache_link_lost(&l, "gone", 0);
    assert_true(cache_link_due(&l) < pause);
    /* also by those that nobody waits for */
    const struct cache_cmd drop = {.kind = CACHE_CMD_DROP};
    greet(&l, 0);
    for (int i = 0; i < CACHE_LINK_ASTRAY; i++) {
        assert_true(cache_link_tell(&l, &drop, &where));
        assert_int_equal(in(&l, readonly, 0), i < CACHE_LINK_ASTRAY - 1 ? ST_OK : ST_DENIED);
    }
    cache_link_lost(&l, NULL, 0);
    cache_batch_fini(&a.batch);
    cache_link_fini(&l);
}

static void what_is_told_keeps_its_place_and_nobody_waits(void **state)
{
    (void)state;
    struct cache_link l;
    struct asker a;
    const struct cache_cmd drop = {.kind = CACHE_CMD_DROP};
    cache_link_init(&l, &setup);
    ask(&a);
    assert_false(cache_link_tell(&l, &drop, &where));
    greet(&l, 0);
    assert_true(cache_link_tell(&l, &drop, &where));
    assert_int_equal(cache_link_due(&l), INT64_MAX);
    assert_true(cache_link_send(&l, &a.batch, 1, &where, 0));
    assert_int_equal(in(&l, "-OOM command not allowed\r\n:7\r\n", 0), ST_OK);
    assert_true(a.done == 1 && a.batch.answers[0].a == 7);
    assert_int_equal(l.counts.full, 1);
    assert_true(cache_link_send(&l, &a.batch, 1, &where, 0));
    cache_batch_forget(&a.batch);
    assert_true(cache_link_send(&l, &a.batch, 1, &where, 0));
    assert_int_equal(in(&l, ":8\r\n:9\r\n", 0), ST_OK);
    assert_true(a.done == 2 && a.batch.answers[0].a == 9);
    cache_batch_fini(&a.batch);
    cache_link_fini(&l);
}

static void more_than_it_can_hold_is_refused(void **state)
{
    (void)state;
    static char big[33 << 20];
    struct cache_link l;
    struct asker a;
    struct cache_redis_where w = where;
    cache_link_init(&l, &setup);
    ask(&a);
    greet(&l, 0);
    w.value = (struct str){big, sizeof(big)};
    assert_false(cache_link_send(&l, &a.batch, 1, &w, 0));
    assert_int_equal(buf_len(&l.out), 0);
    cache_batch_fini(&a.batch);
    cache_link_fini(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_get_their_answers_in_order),
        cmocka_unit_test(a_late_batch_fails_and_its_answers_are_thrown_away),
        cmocka_unit_test(a_batch_that_is_forgotten_disturbs_nobody),
        cmocka_unit_test(failures_in_a_row_open_the_breaker),
        cmocka_unit_test(a_lost_connection_fails_all_and_pauses_longer_each_time),
        cmocka_unit_test(a_greeting_that_fails_says_why),
        cmocka_unit_test(scripts_that_were_flushed_are_loaded_again),
        cmocka_unit_test(a_server_that_takes_no_writes_is_given_up),
        cmocka_unit_test(what_is_told_keeps_its_place_and_nobody_waits),
        cmocka_unit_test(more_than_it_can_hold_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
