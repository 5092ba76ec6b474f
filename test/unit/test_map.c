/* test_map.c - the hash map, also under removal and with keys that look alike. */
#include "base/hash.h"
#include "base/map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static int values[5000];

static struct str name(char *buf, size_t cap, int i)
{
    snprintf(buf, cap, "key-%d", i);
    return str_of(buf);
}

static void missing_key_is_null_also_in_an_empty_map(void **state)
{
    (void)state;
    struct map m;
    map_init(&m);
    assert_null(map_get(&m, STR("a")));
    assert_null(map_remove(&m, STR("a")));
    size_t i = 0;
    struct str key;
    void *value;
    assert_false(map_next(&m, &i, &key, &value));
    assert_null(m.slots);
    map_put(&m, STR("a"), &values[0]);
    assert_null(map_get(&m, STR("b")));
    map_fini(&m);
    assert_int_equal(map_count(&m), 0);
}

static void put_returns_what_was_there(void **state)
{
    (void)state;
    struct map m;
    map_init(&m);
    assert_null(map_put(&m, STR("a"), &values[1]));
    assert_ptr_equal(map_put(&m, STR("a"), &values[2]), &values[1]);
    assert_ptr_equal(map_get(&m, STR("a")), &values[2]);
    assert_int_equal(map_count(&m), 1);
    assert_ptr_equal(map_remove(&m, STR("a")), &values[2]);
    assert_null(map_remove(&m, STR("a")));
    assert_int_equal(map_count(&m), 0);
    map_fini(&m);
}

static void key_is_copied_and_compared_whole(void **state)
{
    (void)state;
    struct map m;
    map_init(&m);
    char key[] = "a\0b";
    map_put(&m, (struct str){key, 3}, &values[1]);
    key[2] = 'c';
    assert_ptr_equal(map_get(&m, STR("a\0b")), &values[1]);
    assert_null(map_get(&m, STR("a\0c")));
    assert_null(map_get(&m, STR("a")));
    assert_null(map_get(&m, STR("A\0b")));
    map_put(&m, STR(""), &values[2]);
    assert_ptr_equal(map_get(&m, STR_NONE), &values[2]);
    assert_ptr_equal(map_remove(&m, STR_NONE), &values[2]);
    map_fini(&m);
}

static void thousands_of_keys_survive_growth_and_removal(void **state)
{
    (void)state;
    struct map m;
    char b[32];
    map_init(&m);
    for (int i = 0; i < 5000; i++)
        map_put(&m, name(b, sizeof(b), i), &values[i]);
    assert_int_equal(map_count(&m), 5000);
    for (int i = 0; i < 5000; i += 3)
        assert_ptr_equal(map_remove(&m, name(b, sizeof(b), i)), &values[i]);
    for (int i = 0; i < 5000; i++)
        assert_ptr_equal(map_get(&m, name(b, sizeof(b), i)), i % 3 == 0 ? NULL : &values[i]);
    map_fini(&m);
}

static void churn_does_not_grow_the_table(void **state)
{
    (void)state;
    struct map m;
    char b[32];
    map_init(&m);
    for (int i = 0; i < 20000; i++) {
        map_put(&m, name(b, sizeof(b), i), &values[i % 5000]);
        if (i >= 20)
            assert_ptr_equal(map_remove(&m, name(b, sizeof(b), i - 20)), &values[(i - 20) % 5000]);
        assert_true(m.used + m.dead <= m.cap / 4 * 3);
    }
    assert_int_equal(map_count(&m), 20);
    assert_true(m.cap <= 64);
    map_fini(&m);
}

static void iteration_meets_each_key_once_even_when_it_removes(void **state)
{
    (void)state;
    struct map m;
    char b[32];
    static char seen[1000];
    memset(seen, 0, sizeof(seen));
    map_init(&m);
    for (int i = 0; i < 1000; i++)
        map_put(&m, name(b, sizeof(b), i), &values[i]);
    struct str key;
    void *value;
    for (size_t i = 0; map_next(&m, &i, &key, &value);) {
        ptrdiff_t at = (int *)value - values;
        assert_true(str_eq(key, name(b, sizeof(b), (int)at)));
        assert_int_equal(seen[at]++, 0);
        if (at % 2 == 0)
            assert_ptr_equal(map_remove(&m, key), value);
    }
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(seen[i], 1);
        assert_ptr_equal(map_get(&m, name(b, sizeof(b), i)), i % 2 == 0 ? NULL : &values[i]);
    }
    map_fini(&m);
}

/* A thousand operations against the plainest possible model. */
static void map_agrees_with_an_array(void **state)
{
    (void)state;
    struct map m;
    char b[32];
    void *model[50] = {0};
    unsigned x = 99;
    map_init(&m);
    for (int i = 0; i < 20000; i++) {
        x = x * 1103515245u + 12345u;
        int k = (int)(x >> 16) % 50;
        struct str key = name(b, sizeof(b), k);
        if (x >> 8 & 1) {
            assert_ptr_equal(map_put(&m, key, &values[i % 5000]), model[k]);
            model[k] = &values[i % 5000];
        } else {
            assert_ptr_equal(map_remove(&m, key), model[k]);
            model[k] = NULL;
        }
        assert_ptr_equal(map_get(&m, key), model[k]);
    }
    size_t n = 0;
    for (int k = 0; k < 50; k++)
        n += model[k] != NULL;
    assert_int_equal(map_count(&m), n);
    map_fini(&m);
}

int main(void)
{
    hash_seed_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(missing_key_is_null_also_in_an_empty_map),
        cmocka_unit_test(put_returns_what_was_there),
        cmocka_unit_test(key_is_copied_and_compared_whole),
        cmocka_unit_test(thousands_of_keys_survive_growth_and_removal),
        cmocka_unit_test(churn_does_not_grow_the_table),
        cmocka_unit_test(iteration_meets_each_key_once_even_when_it_removes),
        cmocka_unit_test(map_agrees_with_an_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
