/* test_outq.c - bytes on their way to a socket: copied, borrowed, settled, moved, consumed. */
#include "base/buf.h"
#include "base/outq.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/uio.h>

#include <cmocka.h>

#define BIG 100000

static uint8_t big[BIG];

static void fill_big(void)
{
    for (size_t i = 0; i < BIG; i++)
        big[i] = (uint8_t)(i * 7 + i / 256);
}

/* Empties q through iovecs of at most max at a time, step bytes a time, and compares with want. */
static void drain(struct outq *q, const void *want, size_t n, int max, size_t step)
{
    assert_int_equal(q->len, n);
    const uint8_t *w = want;
    size_t at = 0;
    while (q->len > 0) {
        struct iovec iov[16];
        int k = outq_iov(q, iov, max);
        assert_in_range(k, 1, max);
        size_t left = step, seen = 0;
        for (int i = 0; i < k && left > 0; i++) {
            size_t piece = MIN(left, iov[i].iov_len);
            assert_true(iov[i].iov_len > 0);
            assert_true(at + seen + piece <= n);
            assert_memory_equal(iov[i].iov_base, w + at + seen, piece);
            seen += piece;
            left -= piece;
        }
        outq_consume(q, seen);
        at += seen;
    }
    assert_int_equal(at, n);
    assert_null(q->head);
    assert_null(q->tail);
    assert_false(q->borrowed);
}

static void empty_queue_owns_nothing(void **state)
{
    (void)state;
    struct outq_pool pool;
    struct outq q;
    struct iovec iov[2];
    outq_pool_init(&pool);
    outq_init(&q, &pool);
    outq_put(&q, "", 0);
    outq_put_borrowed(&q, big, 0);
    outq_settle(&q);
    outq_consume(&q, 0);
    assert_int_equal(outq_iov(&q, iov, 2), 0);
    assert_int_equal(pool.in_use, 0);
    outq_put(&q, "x", 1);
    assert_int_equal(pool.in_use, 1);
    outq_consume(&q, 1);
    assert_int_equal(pool.in_use, 0);
    assert_int_equal(pool.nfree, 1);
    outq_pool_fini(&pool);
}

static void small_pieces_share_a_block(void **state)
{
    (void)state;
    struct outq_pool pool;
    struct outq q;
    outq_pool_init(&pool);
    outq_init(&q, &pool);
    outq_put_u8(&q, 'Z');
    outq_put_be32(&q, 0x01020304);
    outq_put_be16(&q, 0x0506);
    outq_put_str(&q, STR("text"));
    uint8_t *to = outq_space(&q, 3);
    memcpy(to, "end", 3);
    assert_int_equal(pool.in_use, 1);
    drain(&q, "Z\1\2\3\4\5\6textend", 14, 4, 1000);
    outq_pool_fini(&pool);
}

/* borrow: 0 copied, 1 borrowed, 2 borrowed and settled. */
static void pass_through(size_t put, size_t step, int borrow)
{
    struct outq_pool pool;
    struct outq q;
    outq_pool_init(&pool);
    outq_init(&q, &pool);
    for (size_t at = 0; at < BIG; at += put) {
        size_t n = MIN(put, BIG - at);
        if (borrow > 0)
            outq_put_borrowed(&q, big + at, n);
        else
            outq_put(&q, big + at, n);
    }
    if (borrow == 2)
        outq_settle(&q);
    drain(&q, big, BIG, step == 1000 ? 1 : 16, step);
    outq_pool_fini(&pool);
}

static void any_append_size_survives_any_consume_size(void **state)
{
    (void)state;
    static const size_t puts[] = {1, 7, 1024, 4095, 4096, 5000, 16383, 16384, 40000, BIG};
    static const size_t steps[] = {1000, 16383, 20000, BIG};
    for (size_t i = 0; i < ARRAY_LEN(puts); i++) {
        for (size_t j = 0; j < ARRAY_LEN(steps); j++) {
            for (int borrow = 0; borrow < 3; borrow++)
                pass_through(puts[i], steps[j], borrow);
        }
    }
}

static void space_is_contiguous_across_the_end_of_a_block(void **state)
{
    (void)state;
    struct outq_pool pool;
    struct outq q;
    struct buf want;
    outq_pool_init(&pool);
    outq_init(&q, &pool);
    buf_init(&want, 10 * BIG);
    for (int i = 0; i < 60; i++) {
        size_t n = (size_t)(i * 37 % 1024 + 1);
        memcpy(outq_space(&q, n), big + i, n);
        buf_put(&want, big + i, n);
        outq_put(&q, big + i, (size_t)i);
        buf_put(&want, big + i, (size_t)i);
    }
    drain(&q, buf_data(&want), buf_len(&want), 16, 777);
    buf_fini(&want);
    outq_pool_fini(&pool);
}

static void long_piece_is_referred_to_and_short_one_copied(void **state)
{
    (void)state;
    struct outq_pool pool;
    struct outq q;
    struct iovec iov[4];
    outq_pool_init(&pool);
    outq_init(&q, &pool);
    outq_put_borrowed(&q, big, OUTQ_BORROW_MIN - 1);
    assert_false(q.borrowed);
    assert_int_equal(outq_iov(&q, iov, 4), 1);
    assert_ptr_not_equal(iov[0].iov_base, big);
    outq_put_borrowed(&q, big, OUTQ_BORROW_MIN);
    assert_true(q.borrowed);
    assert_int_equal(outq_iov(&q, iov, 4), 2);
    assert_ptr_equal(iov[1].iov_base, big);
    outq_put_borrowed(&q, big + OUTQ_BORROW_MIN, OUTQ_BORROW_MIN); /* adjacent: one piece */
    assert_int_equal(outq_iov(&q, iov, 4), 2);
    assert_int_equal(iov[1].iov_len, 2 * OUTQ_BORROW_MIN);
    outq_put(&q, "x", 1); /* must not be written over the borrowed bytes */
    assert_int_equal(outq_iov(&q, iov, 4), 3);
    assert_int_equal(outq_iov(&q, iov, 2), 2);
    outq_clear(&q);
    assert_false(q.borrowed);
    assert_int_equal(pool.in_use, 0);
    outq_pool_fini(&pool);
}

static void settled_bytes_do_not_change_with_their_source(void **state)
{
    (void)state;
    static uint8_t source[BIG];
    struct outq_pool pool;
    struct outq q;
    outq_pool_init(&pool);
    outq_init(&q, &pool);
    memcpy(source, big, BIG);
    outq_put(&q, big, 10);
    outq_put_borrowed(&q, source + 10, 50000);
    outq_put(&q, big + 50010, 10);
    outq_put_borrowed(&q, source + 50020, BIG - 50020);
    outq_consume(&q, 5000); /* partly written */
    outq_settle(&q);
    assert_false(q.borrowed);
    memset(source, 0xee, BIG);
    outq_put(&q, "tail", 4);
    struct buf want;
    buf_init(&want, 2 * BIG);
    buf_put(&want, big + 5000, BIG - 5000);
    buf_put(&want, "tail", 4);
    drain(&q, buf_data(&want), buf_len(&want), 3, 999);
    buf_fini(&want);
    outq_pool_fini(&pool);
}

static void borrowed_mark_goes_with_the_last_borrowed_block(void **state)
{
    (void)state;
    struct outq_pool pool;
    struct outq q;
    outq_pool_init(&pool);
    outq_init(&q, &pool);
    outq_put_borrowed(&q, big, 5000);
    outq_put(&q, "abc", 3);
    outq_put_borrowed(&q, big, 6000);
    outq_put(&q, "def", 3);
    outq_consume(&q, 5001);
    assert_true(q.borrowed);
    outq_consume(&q, 2 + 5999);
    assert_true(q.borrowed);
    outq_consume(&q, 1);
    assert_false(q.borrowed);
    drain(&q, "def", 3, 1, 2);
    outq_pool_fini(&pool);
}

static void move_appends_in_order_and_empties_the_source(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 3, 4096, 9000, 40000};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        for (size_t j = 0; j < ARRAY_LEN(sizes); j++) {
            for (int borrow = 0; borrow < 2; borrow++) {
                struct outq_pool pool;
                struct outq a, b;
                outq_pool_init(&pool);
                outq_init(&a, &pool);
                outq_init(&b, &pool);
                outq_put(&a, big, sizes[i]);
                if (borrow)
                    outq_put_borrowed(&b, big + sizes[i], sizes[j]);
                else
                    outq_put(&b, big + sizes[i], sizes[j]);
                outq_move(&a, &b);
                assert_int_equal(b.len, 0);
                assert_null(b.head);
                assert_null(b.tail);
                assert_false(b.borrowed);
                assert_true(a.borrowed == (borrow && sizes[j] >= OUTQ_BORROW_MIN));
                outq_put(&a, big + sizes[i] + sizes[j], 5);
                outq_put(&b, "own", 3);
                drain(&a, big, sizes[i] + sizes[j] + 5, 16, 5000);
                drain(&b, "own", 3, 1, 3);
                outq_pool_fini(&pool);
            }
        }
    }
}

static void small_move_into_a_block_with_room_takes_no_second_block(void **state)
{
    (void)state;
    struct outq_pool pool;
    struct outq a, b;
    outq_pool_init(&pool);
    outq_init(&a, &pool);
    outq_init(&b, &pool);
    outq_put(&a, "ab", 2);
    outq_put(&b, "xcd", 3);
    outq_consume(&b, 1);
    outq_move(&a, &b);
    assert_int_equal(pool.in_use, 1);
    drain(&a, "abcd", 4, 2, 1);
    outq_pool_fini(&pool);
}

static void burst_of_blocks_is_given_back_to_the_heap(void **state)
{
    (void)state;
    struct outq_pool pool;
    struct outq q;
    outq_pool_init(&pool);
    outq_init(&q, &pool);
    for (int i = 0; i < 150; i++)
        outq_put(&q, big, BIG);
    assert_int_equal(q.len, 150 * BIG);
    assert_true(pool.in_use > 900);
    outq_clear(&q);
    assert_int_equal(pool.in_use, 0);
    assert_true(pool.nfree <= 512);
    outq_pool_fini(&pool);
    assert_null(pool.free);
}

int main(void)
{
    fill_big();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_queue_owns_nothing),
        cmocka_unit_test(small_pieces_share_a_block),
        cmocka_unit_test(any_append_size_survives_any_consume_size),
        cmocka_unit_test(space_is_contiguous_across_the_end_of_a_block),
        cmocka_unit_test(long_piece_is_referred_to_and_short_one_copied),
        cmocka_unit_test(settled_bytes_do_not_change_with_their_source),
        cmocka_unit_test(borrowed_mark_goes_with_the_last_borrowed_block),
        cmocka_unit_test(move_appends_in_order_and_empties_the_source),
        cmocka_unit_test(small_move_into_a_block_with_room_takes_no_second_block),
        cmocka_unit_test(burst_of_blocks_is_given_back_to_the_heap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
