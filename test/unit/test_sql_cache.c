/* test_sql_cache.c - statement texts to facts, bounded and shared. */
#include "base/mem.h"
#include "protocol/sql/sql_cache.h"
#include "protocol/sql/sql_normalize.h"
#include "protocol/sql/sql_pgparse.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct sql_cache_stats stats_of(struct sql_cache *c)
{
    struct sql_cache_stats st;

    sql_cache_stats(c, &st);
    return st;
}

static void same_statement_with_other_constants_is_a_hit(void **state)
{
    struct sql_cache *c = sql_cache_new(1 << 20);
    struct facts *a = sql_cache_get(c, STR("SELECT a FROM t WHERE b = 1"), 0);
    struct facts *b = sql_cache_get(c, STR("select A from T where b='x' ; -- y"), 0);
    struct facts *p = sql_cache_get(c, STR("select A from T where b=$1"), 0);

    (void)state;
    assert_ptr_equal(a, b);
    assert_ptr_equal(a, p);
    assert_int_equal(a->refs, 4);
    struct sql_cache_stats st = stats_of(c);
    assert_int_equal(st.hits, 2);
    assert_int_equal(st.misses, 1);
    assert_int_equal(st.parsed, 1);
    assert_int_equal(st.entries, 1);
    facts_put(&b);
    facts_put(&p);
    sql_cache_free(&c);
    assert_null(c);
    assert_int_equal(a->refs, 1); /* lives on */
    assert_true(str_eq(a->relations[0].name, STR("t")));
    facts_put(&a);
    facts_put(&a);
}

static void dialect_hint_and_kept_constants_part_entries(void **state)
{
    static const char *const texts[] = {
        "SELECT 1",
        "/* penstock: a */ SELECT 1",
        "/* penstock: b */ SELECT 1",
        "SELECT set_config('a', 'x', false)",
        "SELECT set_config('b', 'x', false)",
        "SELECT set_config('b', 'x', true)",
        "SET x = 1",
        "SET x = 2",
        "SELECT ? 1",
        "SELECT \"A\" FROM t",
        "SELECT a FROM t",
    };
    struct sql_cache *c = sql_cache_new(1 << 20);
    struct facts *got[2 * ARRAY_LEN(texts)];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(got); i++)
        got[i] = sql_cache_get(c, str_of(texts[i / 2]), (uint32_t)(i % 2));
    for (size_t i = 0; i < ARRAY_LEN(got); i++) {
        for (size_t k = 0; k < i; k++)
            assert_ptr_not_equal(got[i], got[k]);
    }
    assert_true(str_eq(got[2]->hint, STR("penstock: a")));
    assert_true(str_eq(got[2]->text, got[0]->text));
    assert_int_equal(got[2]->digest, got[0]->digest);
    assert_int_equal(stats_of(c).hits, 0);
    for (size_t i = 0; i < ARRAY_LEN(got); i++)
        facts_put(&got[i]);
    sql_cache_free(&c);
}

/* Refused texts are remembered by their bytes: they cost no second parse and spoil nothing. */
static void refused_text_does_not_spoil_its_likes(void **state)
{
    struct sql_cache *c = sql_cache_new(1 << 20);
    struct facts *bad = sql_cache_get(c, STR("SELECT interval 5"), 0);
    struct facts *again = sql_cache_get(c, STR("SELECT interval 5"), 0);
    struct facts *other = sql_cache_get(c, STR("SELECT interval 6"), 0);

    (void)state;
    assert_false(bad->complete);
    assert_true((bad->effects & FX_UNKNOWN) != 0);
    assert_ptr_equal(bad, again);
    assert_ptr_not_equal(bad, other);
    assert_int_equal(stats_of(c).parsed, 2);
    struct facts *good = sql_cache_get(c, STR("SELECT interval '5'"), 0);
    assert_true(good->complete);
    assert_int_equal(good->effects, FX_READ);
    facts_put(&bad);
    facts_put(&again);
    facts_put(&other);
    facts_put(&good);
    sql_cache_free(&c);
}

static void oldest_goes_first_and_use_keeps(void **state)
{
    struct sql_cache *c = sql_cache_new(8192);
    char text[64];

    (void)state;
    for (int i = 0; i < 200; i++) {
        struct facts *keep = sql_cache_get(c, STR("SELECT keep FROM me"), 0);
        facts_put(&keep);
        (void)snprintf(text, sizeof(text), "SELECT c%d FROM t", i);
        struct facts *f = sql_cache_get(c, str_of(text), 0);
        assert_true(f->complete);
        facts_put(&f);
        assert_true(stats_of(c).bytes <= 8192);
    }
    struct sql_cache_stats st = stats_of(c);
    assert_int_equal(st.misses, 201); /* the one in use was never lost */
    assert_true(st.evicted > 150);
    assert_int_equal(st.entries, 201 - st.evicted);
    struct facts *first = sql_cache_get(c, STR("SELECT c0 FROM t"), 0);
    facts_put(&first);
    assert_int_equal(stats_of(c).misses, 202);
    sql_cache_free(&c);
}

static void cache_smaller_than_any_entry_still_answers(void **state)
{
    struct sql_cache *c = sql_cache_new(16);
    struct facts *f = sql_cache_get(c, STR("SELECT a FROM t"), 0);

    (void)state;
    assert_true(f->complete);
    assert_int_equal(f->refs, 1);
    assert_int_equal(stats_of(c).entries, 0);
    facts_put(&f);
    sql_cache_free(&c);
}

static void twenty_thousand_texts_stay_within_the_bytes(void **state)
{
    const size_t max = 256 * 1024;
    struct sql_cache *c = sql_cache_new(max);
    char text[96];

    (void)state;
    for (int i = 0; i < 20000; i++) {
        /* short commands, refused texts, and now and then one for the grammar */
        const char *form = i % 64 == 0 ? "SELECT c" : i % 2 == 0 ? "SET x = v" : "{";
        (void)snprintf(text, sizeof(text), "%s%d", form, i);
        struct facts *f = sql_cache_get(c, str_of(text), 0);
        facts_put(&f);
    }
    struct sql_cache_stats st = stats_of(c);
    assert_true(st.bytes <= max && st.bytes > max / 2);
    assert_true(st.entries > 100 && st.entries < 20000);
    assert_int_equal(st.misses, 20000);
    sql_cache_free(&c);
}

static struct str repeated(const char *head, const char *piece, size_t times, const char *tail)
{
    size_t h = strlen(head);
    size_t n = strlen(piece);
    size_t t = strlen(tail);
    char *p = mem_new(h + n * times + t + 1);

    memcpy(p, head, h);
    if (n == 1)
        memset(p + h, *piece, times);
    for (size_t i = 0; n > 1 && i < times; i++)
        memcpy(p + h + i * n, piece, n);
    memcpy(p + h + n * times, tail, t);
    return (struct str){p, h + n * times + t};
}

struct shape {
    const char *head, *piece, *tail;
    size_t times;
    bool complete;
};

static const struct shape shapes[] = {
    {"select ", "1+", "1", 40000, false}, /* 80 KB */
    {"select ", "1+", "1", 15900, true},  /* the longest chain that passes */
    {"select ", "- ", "1", 9000, true},
    {"select ", "- ", "1", 15900, false}, /* over the parser's own limit */
    {"select ", "not ", "true", 9000, true},
    {"select 1", "::int", "", 7900, true},
    {"select 1", " is null", "", 7900, true},
    {"select 1 from a", " cross join a", "", 4900, true},
    {"select 1", " union select 1", "", 4300, true},
    {"select ", "(select ", "1", 200, false}, /* never closed */
    {"select ", "(", "1", 10000, false},
    {"select ", "[", "1", 10000, false},
    {"select ", "array[", "1", 190, false},
    {"select ", "case when ", "1", 6000, false},
    {"insert into t values (1)", ",(1)", "", 16000, true},
    {"select 1 in (1", ",1", ")", 32000, true},
    {"", "select 1;", "", 7000, true},
    {"", "begin;", "", 10000, true},
    {"select '", "x", "'", 10u << 20, false}, /* 10 MB */
    {"", "(", "", 10u << 20, false},
    {"", "'", "", (10u << 20) + 1, false},
    {"", "/*", "", 5u << 20, false},
    {"select 1 /*", " ", "*/", 60000, true},
};

static void *try_shapes(void *arg)
{
    struct sql_cache *c = sql_cache_new(4 << 20);
    size_t *failed = arg;

    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        const struct shape *s = &shapes[i];
        struct str text = repeated(s->head, s->piece, s->times, s->tail);
        struct facts *f = sql_cache_get(c, text, (uint32_t)(i % 2));
        bool unknown = (f->effects & FX_UNKNOWN) != 0;
        if (f->complete != s->complete || (!f->complete && !unknown))
            *failed = i + 1;
        facts_put(&f);
        mem_free((char *)(uintptr_t)text.p);
    }
    sql_cache_free(&c);
    return NULL;
}

static void deep_and_huge_texts_fit_the_promised_stack(void **state)
{
    pthread_attr_t attr;
    pthread_t t;
    size_t failed = 0;

    (void)state;
    assert_int_equal(pthread_attr_init(&attr), 0);
    assert_int_equal(pthread_attr_setstacksize(&attr, SQL_PARSE_STACK_BYTES), 0);
    assert_int_equal(pthread_create(&t, &attr, try_shapes, &failed), 0);
    assert_int_equal(pthread_join(t, NULL), 0);
    assert_int_equal(pthread_attr_destroy(&attr), 0);
    if (failed > 0)
        fail_msg("%s %s...", shapes[failed - 1].head, shapes[failed - 1].piece);
}

static void texts_over_the_caps_are_counted_and_not_kept(void **state)
{
    struct sql_cache *c = sql_cache_new(1 << 20);
    struct str text = repeated("select ", "(", 300, "1");
    struct facts *a = sql_cache_get(c, text, 0);
    struct facts *b = sql_cache_get(c, text, 0);

    (void)state;
    assert_false(a->complete);
    assert_int_equal(a->effects, FX_UNKNOWN);
    assert_ptr_equal(a, b);
    assert_int_equal(stats_of(c).too_deep, 2);
    assert_int_equal(stats_of(c).entries, 0);
    facts_put(&a);
    facts_put(&b);
    mem_free((char *)(uintptr_t)text.p);
    sql_cache_free(&c);
}

static void *worker(void *arg)
{
    struct sql_cache *c = sql_cache_new(1 << 16);
    char text[64];

    (void)arg;
    for (int i = 0; i < 500; i++) {
        (void)snprintf(text, sizeof(text), "SELECT c%d FROM t%s", i, i % 3 == 0 ? " WHERE" : "");
        struct facts *f = sql_cache_get(c, str_of(text), 0);
        facts_put(&f);
    }
    sql_cache_free(&c);
    return NULL;
}

static void workers_parse_side_by_side(void **state)
{
    pthread_t t[4];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        assert_int_equal(pthread_create(&t[i], NULL, worker, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        assert_int_equal(pthread_join(t[i], NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_statement_with_other_constants_is_a_hit),
        cmocka_unit_test(dialect_hint_and_kept_constants_part_entries),
        cmocka_unit_test(refused_text_does_not_spoil_its_likes),
        cmocka_unit_test(oldest_goes_first_and_use_keeps),
        cmocka_unit_test(cache_smaller_than_any_entry_still_answers),
        cmocka_unit_test(twenty_thousand_texts_stay_within_the_bytes),
        cmocka_unit_test(deep_and_huge_texts_fit_the_promised_stack),
        cmocka_unit_test(texts_over_the_caps_are_counted_and_not_kept),
        cmocka_unit_test(workers_parse_side_by_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
