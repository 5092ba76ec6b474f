/* test_sql_quick.c - skeletons: the same skeleton means the same normalised text. */
#include "base/hash.h"
#include "protocol/sql/sql_normalize.h"
#include "protocol/sql/sql_quick.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static char scratch[SQL_SCRATCH_BYTES];

static bool skeleton(const char *text, char *dst, size_t *n)
{
    return sql_quick(str_of(text), dst, n);
}

static void same_but_for_numbers_and_strings_is_one_skeleton(void **state)
{
    static const char *const pairs[][2] = {
        {"SELECT a FROM t WHERE id = 1", "SELECT a FROM t WHERE id = 99999"},
        {"UPDATE t SET x='abc' WHERE y=2;", "UPDATE t SET x='' WHERE y=20;"},
        {"SELECT \"T1\".\"c2\" FROM \"T1\" LIMIT 5", "SELECT \"T1\".\"c2\" FROM \"T1\" LIMIT 50"},
        {"select x - 5, y/2 from t2", "select x - 6, y/20 from t2"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        char a[SQL_QUICK_MAX], b[SQL_QUICK_MAX];
        size_t na, nb;
        assert_true(skeleton(pairs[i][0], a, &na));
        assert_true(skeleton(pairs[i][1], b, &nb));
        assert_int_equal(na, nb);
        assert_memory_equal(a, b, na);
    }
}

static void names_with_digits_are_kept_apart(void **state)
{
    char a[SQL_QUICK_MAX], b[SQL_QUICK_MAX];
    size_t na, nb;
    (void)state;
    assert_true(skeleton("select * from t1", a, &na));
    assert_true(skeleton("select * from t2", b, &nb));
    assert_true(na != nb || memcmp(a, b, na) != 0);
}

static void what_is_not_plain_is_left_to_the_lexer(void **state)
{
    static const char *const texts[] = {
        "select 1 -- x", "select /* c */ 1", "select $1",    "select $$x$$", "select E'a'",
        "select 'a''b'", "select 'a\\'",     "select 1.5",   "select 1e5",   "select .5",
        "select 0x1f",   "select 'abc",      "select \"abc", "select n'a'",  "select U&\"a\"",
        "select 'a'b",   "select 1_000",     "select b'01'", "select x\\y",  "",
        "select 1$a",    "select \1",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        char a[SQL_QUICK_MAX];
        size_t n;
        if (skeleton(texts[i], a, &n))
            fail_msg("taken for plain: %s", texts[i]);
    }
}

/* Texts made at random from pieces that matter; equal skeletons must have equal normal forms. */
static void equal_skeletons_have_equal_normal_forms(void **state)
{
    static const char *const pieces[] = {"select ", "1",  "22", "'a'", "'bb'", "t",    "t1",
                                         " ",       ",",  "-",  "+",   "(",    ")",    ".",
                                         "\"q\"",   " e", "'",  "\n",  ";",    "::int"};
    struct {
        char skel[256];
        size_t n;
        char norm[256];
        size_t nn;
    } seen[512];
    size_t count = 0, matches = 0;
    unsigned seed = 7;
    (void)state;
    for (int round = 0; round < 40000; round++) {
        char text[200] = "";
        size_t len = 0;
        for (int i = 0; i < 4; i++) {
            seed = seed * 1103515245u + 12345u;
            const char *p = pieces[(seed >> 16) % ARRAY_LEN(pieces)];
            len += (size_t)snprintf(text + len, sizeof(text) - len, "%s", p);
        }
        char a[SQL_QUICK_MAX];
        size_t n;
        if (!skeleton(text, a, &n))
            continue;
        struct sql_normal norm;
        sql_normalize(str_of(text), 0, scratch, sizeof(scratch), &norm);
        size_t slot = hash_bytes(a, n, 0) % ARRAY_LEN(seen);
        if (seen[slot].n == n && memcmp(seen[slot].skel, a, n) == 0) {
            matches++;
            if (seen[slot].nn != norm.text.n ||
                memcmp(seen[slot].norm, norm.text.p, norm.text.n) != 0)
                fail_msg("skeleton of \"%s\" has two normal forms", text);
        }
        memcpy(seen[slot].skel, a, n);
        seen[slot].n = n;
        memcpy(seen[slot].norm, norm.text.p, norm.text.n);
        seen[slot].nn = norm.text.n;
        count++;
    }
    assert_true(count > 1000);
    assert_true(matches > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_but_for_numbers_and_strings_is_one_skeleton),
        cmocka_unit_test(names_with_digits_are_kept_apart),
        cmocka_unit_test(what_is_not_plain_is_left_to_the_lexer),
        cmocka_unit_test(equal_skeletons_have_equal_normal_forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
