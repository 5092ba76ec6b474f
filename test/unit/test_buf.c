/* test_buf.c - the growable byte queue and its hard maximum. */
#include "base/buf.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void everything_appended_comes_out_in_order(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    assert_int_equal(buf_len(&b), 0);
    assert_non_null(buf_data(&b));
    buf_put(&b, "ab", 2);
    buf_put_str(&b, STR("cd"));
    buf_put_z(&b, "e");
    buf_put_text(&b, "f");
    buf_put_u8(&b, 0x80);
    buf_put_be16(&b, 0x1234);
    buf_put_be32(&b, 0x89abcdef);
    buf_printf(&b, "%d-%s", 7, "x");
    buf_put_str(&b, STR_NONE);
    static const char want[] = "abcde\0f\x80\x12\x34\x89\xab\xcd\xef"
                               "7-x";
    assert_int_equal(buf_len(&b), sizeof(want) - 1);
    assert_memory_equal(buf_data(&b), want, sizeof(want) - 1);
    assert_false(b.failed);
    buf_fini(&b);
    assert_null(b.mem);
    assert_int_equal(b.max, 1000);
}

static void length_can_be_patched_in_later(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    buf_put_text(&b, "skip");
    buf_put_u8(&b, 'T');
    buf_put_be32(&b, 0);
    buf_put_text(&b, "xyz");
    buf_consume(&b, 4);
    buf_patch_be32(&b, 1, 0x01020304);
    assert_memory_equal(buf_data(&b), "T\1\2\3\4xyz", 8);
    buf_patch_be32(&b, 4, 0x61626364); /* the last place that fits */
    assert_memory_equal(buf_data(&b), "T\1\2\3abcd", 8);
    buf_fini(&b);
}

static void append_past_the_maximum_fails_for_good_and_leaves_the_rest(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 8);
    buf_put(&b, "12345", 5);
    buf_put(&b, "6789", 4);
    assert_true(b.failed);
    assert_int_equal(buf_len(&b), 5);
    buf_put(&b, "x", 1); /* would fit, but would follow a hole */
    buf_printf(&b, "y");
    buf_patch_be32(&b, 6, 1);
    assert_null(buf_reserve(&b, 1));
    assert_int_equal(buf_len(&b), 5);
    buf_reset(&b);
    assert_false(b.failed);
    buf_put(&b, "12345678", 8);
    assert_false(b.failed);
    buf_put_u8(&b, 0);
    assert_true(b.failed);
    buf_fini(&b);
}

static void maximum_counts_held_bytes_not_consumed_ones(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 8);
    for (int i = 0; i < 1000; i++) {
        buf_put(&b, "1234567", 7);
        assert_false(b.failed);
        buf_consume(&b, 7);
    }
    assert_true(b.cap <= 256);
    buf_fini(&b);
}

static void printf_may_fill_to_the_last_byte(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 200);
    for (int i = 0; i < 20; i++)
        buf_printf(&b, "%010d", i);
    assert_false(b.failed);
    assert_int_equal(buf_len(&b), 200);
    assert_memory_equal(buf_data(&b) + 190, "0000000019", 10);
    buf_printf(&b, "%s", "");
    assert_false(b.failed);
    buf_printf(&b, "x");
    assert_true(b.failed);
    assert_int_equal(buf_len(&b), 200);
    buf_fini(&b);
}

static void queue_survives_any_mix_of_put_and_consume(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100000);
    uint8_t in = 0, out = 0;
    unsigned x = 12345;
    for (int i = 0; i < 3000; i++) {
        x = x * 1103515245u + 12345u;
        size_t n = x >> 16 & 127;
        uint8_t *to = buf_reserve(&b, n + 5);
        assert_non_null(to);
        for (size_t j = 0; j < n; j++)
            to[j] = in++;
        buf_commit(&b, n);
        size_t eat = MIN(buf_len(&b), (size_t)(x >> 24 & 127));
        const uint8_t *p = buf_data(&b);
        for (size_t j = 0; j < eat; j++)
            assert_int_equal(p[j], out++);
        buf_consume(&b, eat);
        assert_true(b.start <= b.end && b.end <= b.cap);
    }
    for (size_t j = 0, n = buf_len(&b); j < n; j++)
        assert_int_equal(buf_data(&b)[j], out++);
    assert_int_equal(in, out);
    buf_fini(&b);
}

static void lack_of_memory_is_reported_not_fatal(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, SIZE_MAX);
    buf_put_text(&b, "kept");
    mem_fail_nth(1);
    assert_null(buf_reserve(&b, 5000));
    assert_true(b.failed);
    assert_memory_equal(buf_data(&b), "kept", 4);
    buf_reset(&b);
    buf_put_text(&b, "kept");
    assert_null(buf_reserve(&b, SIZE_MAX - 2)); /* length would wrap */
    assert_true(b.failed);
    buf_fini(&b);
    mem_fail_nth(1);
    buf_init(&b, 100);
    buf_printf(&b, "x");
    assert_true(b.failed);
    assert_int_equal(buf_len(&b), 0);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_appended_comes_out_in_order),
        cmocka_unit_test(length_can_be_patched_in_later),
        cmocka_unit_test(append_past_the_maximum_fails_for_good_and_leaves_the_rest),
        cmocka_unit_test(maximum_counts_held_bytes_not_consumed_ones),
        cmocka_unit_test(printf_may_fill_to_the_last_byte),
        cmocka_unit_test(queue_survives_any_mix_of_put_and_consume),
        cmocka_unit_test(lack_of_memory_is_reported_not_fatal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
