/* test_cache_entry.c - entries in memory and on their way to Redis; the checksum. */
#include "base/crc32c.h"
#include "base/mem.h"
#include "cache/cache_entry.h"
#include "protocol/auth/digest.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const uint8_t digest[CACHE_DIGEST_BYTES] = {9, 8, 7};

static struct cache_entry *sample(void)
{
    struct cache_entry_parts p = {.epoch = 1,
                                  .stamp = 0x0102030405060708u,
                                  .created_ms = 77,
                                  .rows = 2,
                                  .desc = STR("desc"),
                                  .data = STR("rows rows"),
                                  .complete = STR("done")};
    memcpy(p.digest, digest, sizeof(digest));
    return cache_entry_new(&p);
}

static void the_checksum_is_castagnolis(void **state)
{
    (void)state;
    uint8_t zeros[32] = {0}, ones[32], up[32];
    memset(ones, 0xff, sizeof(ones));
    for (size_t i = 0; i < sizeof(up); i++)
        up[i] = (uint8_t)i;
    uint32_t (*const each[])(uint32_t, const void *, size_t) = {crc32c, crc32c_plain};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(each[i](0, "", 0), 0);
        assert_int_equal(each[i](0, "123456789", 9), 0xe3069283);
        assert_int_equal(each[i](0, zeros, 32), 0x8a9136aa); /* RFC 3720, B.4 */
        assert_int_equal(each[i](0, ones, 32), 0x62a8ab43);
        assert_int_equal(each[i](0, up, 32), 0x46dd794e);
        assert_int_equal(each[i](each[i](0, "1234", 4), "56789", 5), 0xe3069283);
    }
}

static void the_digest_is_sha256(void **state)
{
    (void)state;
    static const uint8_t abc[4] = {0xba, 0x78, 0x16, 0xbf};
    uint8_t out[DIGEST_BYTES];
    digest_sha256("abc", 3, out);
    assert_memory_equal(out, abc, sizeof(abc));
}

static void an_entry_holds_copies_until_the_last_reference(void **state)
{
    (void)state;
    struct cache_entry *e = sample(), *again = cache_entry_get(e);
    cache_entry_put(&e);
    assert_null(e);
    assert_true(str_eq(again->desc, STR("desc")) && str_eq(again->data, STR("rows rows")));
    assert_true(str_eq(again->complete, STR("done")));
    assert_int_equal(cache_entry_bytes(again), sizeof(*again) + 17);
    cache_entry_put(&again);
    mem_fail_nth(1);
    assert_null(sample());
    mem_fail_nth(0);
}

static void what_is_encoded_comes_back(void **state)
{
    (void)state;
    struct cache_entry *e = sample(), *back = NULL;
    struct buf b;
    struct error err;
    buf_init(&b, 4096);
    cache_entry_encode(e, &b);
    assert_int_equal(buf_len(&b), CACHE_ENTRY_HEADER + 17);
    assert_int_equal(cache_entry_decode(buf_str(&b), digest, 17, &back, &err), ST_OK);
    assert_int_equal(back->stamp, e->stamp);
    assert_int_equal(back->epoch, 1);
    assert_int_equal(back->created_ms, 77);
    assert_int_equal(back->rows, 2);
    assert_memory_equal(back->digest, digest, sizeof(digest));
    assert_true(str_eq(back->desc, e->desc) && str_eq(back->data, e->data));
    assert_true(str_eq(back->complete, e->complete));
    cache_entry_put(&back);
    assert_int_equal(cache_entry_decode(buf_str(&b), digest, 16, &back, &err), ST_LIMIT);
    assert_null(back);
    mem_fail_nth(1);
    assert_int_equal(cache_entry_decode(buf_str(&b), digest, 17, &back, &err), ST_MEMORY);
    mem_fail_nth(0);
    cache_entry_put(&e);
    buf_fini(&b);
}

static void every_damaged_byte_and_every_cut_is_found(void **state)
{
    (void)state;
    struct cache_entry *e = sample(), *back = NULL;
    struct buf b;
    struct error err;
    buf_init(&b, 4096);
    cache_entry_encode(e, &b);
    size_t n = buf_len(&b);
    char *copy = mem_copy(buf_data(&b), n);
    for (size_t i = 0; i < n; i++) {
        for (int bit = 0; bit < 8; bit++) {
            copy[i] = (char)(copy[i] ^ 1 << bit);
            assert_int_equal(cache_entry_decode((struct str){copy, n}, digest, 4096, &back, &err),
                             ST_INVALID);
            copy[i] = (char)(copy[i] ^ 1 << bit);
        }
        assert_int_equal(cache_entry_decode((struct str){copy, i}, digest, 4096, &back, &err),
                         ST_INVALID);
    }
    uint8_t other[CACHE_DIGEST_BYTES] = {1};
    assert_int_equal(cache_entry_decode((struct str){copy, n}, other, 4096, &back, &err),
                     ST_INVALID);
    assert_string_equal(err.text, "entry of another request");
    mem_free(copy);
    cache_entry_put(&e);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_checksum_is_castagnolis),
        cmocka_unit_test(the_digest_is_sha256),
        cmocka_unit_test(an_entry_holds_copies_until_the_last_reference),
        cmocka_unit_test(what_is_encoded_comes_back),
        cmocka_unit_test(every_damaged_byte_and_every_cut_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
