/* test_base.c - the small foundations: list, memory, status, random bytes, hashes, clock,
 * histogram, CHECK. */
#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/histogram.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/status.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- list ------------------------------------------------------------------------------------ */

struct item {
    int id;
    struct list link;
};

static int id_of(struct list *l)
{
    return l == NULL ? -1 : container_of(l, struct item, link)->id;
}

static void list_keeps_the_order_of_its_pushes(void **state)
{
    (void)state;
    struct list head;
    struct item items[4] = {{.id = 0}, {.id = 1}, {.id = 2}, {.id = 3}};
    list_init(&head);
    assert_null(list_first(&head));
    assert_null(list_last(&head));
    assert_null(list_pop_front(&head));
    for (size_t i = 0; i < 4; i++)
        list_init(&items[i].link);
    list_push_back(&head, &items[1].link);
    list_push_back(&head, &items[3].link);
    list_push_front(&head, &items[0].link);
    list_insert_before(&items[3].link, &items[2].link);
    assert_int_equal(list_count(&head), 4);
    assert_int_equal(id_of(list_last(&head)), 3);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(id_of(list_first(&head)), i);
        assert_int_equal(id_of(list_pop_front(&head)), i);
    }
    assert_true(list_empty(&head));
}

static void removing_twice_or_while_walking_is_safe(void **state)
{
    (void)state;
    struct list head, *it, *tmp;
    struct item items[5] = {{.id = 0}, {.id = 1}, {.id = 2}, {.id = 3}, {.id = 4}};
    list_init(&head);
    for (size_t i = 0; i < 5; i++) {
        list_init(&items[i].link);
        assert_false(list_linked(&items[i].link));
        list_push_back(&head, &items[i].link);
        assert_true(list_linked(&items[i].link));
    }
    int walked = 0;
    LIST_EACH(it, tmp, &head) {
        assert_int_equal(id_of(it), walked++);
        if (id_of(it) % 2 == 0)
            list_remove(it);
    }
    assert_int_equal(walked, 5);
    assert_int_equal(list_count(&head), 2);
    list_remove(&items[0].link);
    assert_false(list_linked(&items[0].link));
    assert_int_equal(list_count(&head), 2);
    list_remove(&items[1].link);
    list_remove(&items[3].link);
    assert_true(list_empty(&head));
}

/* ---- memory, status, random ------------------------------------------------------------------ */

static void nth_attempt_fails_once_and_only_then(void **state)
{
    (void)state;
    mem_fail_nth(2);
    void *a = mem_try(10);
    assert_non_null(a);
    assert_null(mem_try_resize(a, 1000)); /* a stays */
    memset(a, 1, 10);
    void *b = mem_try_resize(a, 1000);
    assert_non_null(b);
    mem_fail_nth(1);
    void *c = mem_new(10); /* never fails */
    assert_non_null(c);
    assert_null(mem_try(1));
    void *d = mem_try(1);
    assert_non_null(d);
    mem_fail_nth(1);
    mem_fail_nth(0);
    void *e = mem_try(0);
    assert_non_null(e);
    mem_free(b);
    mem_free(c);
    mem_free(d);
    mem_free(e);
    mem_free(NULL);
}

static void new_memory_is_zero_and_wiped_memory_too(void **state)
{
    (void)state;
    uint8_t *p = mem_new(100);
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(p[i], 0);
    memset(p, 7, 100);
    mem_wipe(p, 99);
    assert_int_equal(p[98], 0);
    assert_int_equal(p[99], 7);
    mem_wipe(NULL, 0);
    uint8_t *q = mem_copy(p, 100);
    assert_memory_equal(p, q, 100);
    q = mem_resize(q, 2000);
    assert_memory_equal(p, q, 100);
    mem_free(p);
    mem_free(q);
    assert_null(mem_copy(NULL, 0));
}

static void error_text_is_bounded_and_may_wrap_itself(void **state)
{
    (void)state;
    struct error err;
    assert_int_equal(error_set(&err, ST_LIMIT, "%d over", 3), ST_LIMIT);
    assert_string_equal(err.text, "3 over");
    assert_int_equal(error_set(&err, ST_IO, "file: %s", err.text), ST_IO);
    assert_string_equal(err.text, "file: 3 over");
    assert_int_equal(error_set(NULL, ST_DENIED, "x"), ST_DENIED);
    char longer[2 * ERROR_TEXT_MAX];
    memset(longer, 'a', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    (void)error_set(&err, ST_IO, "%s", longer);
    assert_int_equal(strlen(err.text), ERROR_TEXT_MAX - 1);
}

static void every_status_has_a_name(void **state)
{
    (void)state;
    for (int st = ST_OK; st <= ST_UNSUPPORTED; st++) {
        assert_string_not_equal(status_name((enum status)st), "unknown");
        for (int other = ST_OK; other < st; other++)
            assert_string_not_equal(status_name((enum status)st), status_name((enum status)other));
    }
}

static void random_bytes_fill_all_and_differ(void **state)
{
    (void)state;
    uint8_t a[1000] = {0}, b[1000] = {0};
    random_bytes(a, sizeof(a));
    random_bytes(b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    assert_memory_not_equal(a + 984, b + 984, 16);
    uint8_t zero[16] = {0};
    assert_memory_not_equal(a + 984, zero, 16);
    assert_true(random_u64() != random_u64());
    random_bytes(a, 0);
}

/* ---- hashes ---------------------------------------------------------------------------------- */

static void siphash_agrees_with_the_published_vectors(void **state)
{
    (void)state;
    static const struct {
        size_t n;
        uint64_t want;
    } vectors[] = {
        {0, 0x726fdb47dd0e0e31u}, {1, 0x74f839c593dc67fdu},  {7, 0xab0200f58b01d137u},
        {8, 0x93f5f5799a932462u}, {15, 0xa129ca6149be45e5u},
    };
    uint8_t key[16], in[64];
    for (size_t i = 0; i < 16; i++)
        key[i] = (uint8_t)i;
    for (size_t i = 0; i < 64; i++)
        in[i] = (uint8_t)i;
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++)
        assert_true(hash_siphash(key, in, vectors[i].n) == vectors[i].want);
}

static void seeded_hash_changes_with_the_process_secret(void **state)
{
    (void)state;
    hash_seed_init();
    uint64_t a = hash_seeded("abc", 3);
    assert_true(a == hash_seeded("abc", 3));
    hash_seed_init();
    assert_true(a != hash_seeded("abc", 3));
}

static void content_hash_sees_every_bit_at_every_length(void **state)
{
    (void)state;
    uint8_t in[80];
    for (size_t i = 0; i < sizeof(in); i++)
        in[i] = (uint8_t)(i * 31);
    for (size_t n = 0; n <= sizeof(in); n++) {
        uint64_t h = hash_bytes(in, n, 1);
        assert_true(h == hash_bytes(in, n, 1));
        assert_true(h != hash_bytes(in, n, 2));
        if (n < sizeof(in))
            assert_true(h != hash_bytes(in, n + 1, 1));
        for (size_t bit = 0; bit < 8 * n; bit++) {
            in[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_true(h != hash_bytes(in, n, 1));
            in[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    }
}

static void content_hash_does_not_depend_on_alignment(void **state)
{
    (void)state;
    uint8_t room[128];
    const char *text = "SELECT balance FROM accounts WHERE user_id = $1 AND kind = $2";
    size_t n = strlen(text);
    uint64_t want = hash_bytes(text, n, 0);
    for (size_t at = 0; at < 16; at++) {
        memcpy(room + at, text, n);
        assert_true(hash_bytes(room + at, n, 0) == want);
    }
}

static void content_hash_spreads_over_low_bits(void **state)
{
    (void)state;
    unsigned count[64] = {0};
    for (uint32_t i = 0; i < 6400; i++)
        count[hash_bytes(&i, sizeof(i), 0) & 63]++;
    for (size_t i = 0; i < 64; i++)
        assert_in_range(count[i], 50, 150);
}

/* ---- clock ----------------------------------------------------------------------------------- */

static void monotonic_clock_can_be_pushed_by_a_test(void **state)
{
    (void)state;
    usec_t a = clock_mono_us();
    usec_t wall = clock_wall_us();
    assert_true(clock_mono_us() >= a);
    clock_test_advance(3600 * (usec_t)USEC_PER_SEC);
    usec_t b = clock_mono_us();
    assert_true(b - a >= 3600 * (usec_t)USEC_PER_SEC && b - a < 3660 * (usec_t)USEC_PER_SEC);
    assert_true(clock_wall_us() - wall < 60 * (usec_t)USEC_PER_SEC);
    clock_test_advance(-3600 * (usec_t)USEC_PER_SEC);
}

static void stopped_clock_goes_on_when_it_is_read_or_pushed(void **state)
{
    (void)state;
    clock_test_stop();
    usec_t a = clock_mono_us();
    assert_int_equal(clock_mono_us() - a, 1);
    clock_test_advance(1000);
    assert_int_equal(clock_mono_us() - a, 1002);
    clock_test_advance(-1000);
}

static void times_are_printed_in_local_time_with_zone(void **state)
{
    (void)state;
    char text[48];
    setenv("TZ", "UTC", 1);
    tzset();
    clock_format(0, text, sizeof(text));
    assert_string_equal(text, "1970-01-01 00:00:00 UTC");
    clock_format_ms(1700000000123999, text, sizeof(text));
    assert_string_equal(text, "2023-11-14 22:13:20.123 UTC");
    clock_format_ms(-1, text, sizeof(text));
    assert_string_equal(text, "1969-12-31 23:59:59.999 UTC");
    setenv("TZ", "XYZ-5:30", 1);
    tzset();
    clock_format(1700000000000000, text, sizeof(text));
    assert_string_equal(text, "2023-11-15 03:43:20 XYZ");
    clock_format_ms(INT64_MAX, text, sizeof(text));
    assert_true(strlen(text) < sizeof(text));
    unsetenv("TZ");
    tzset();
}

/* ---- histogram ------------------------------------------------------------------------------- */

static void quantile_of_one_value_errs_by_an_eighth_at_most(void **state)
{
    (void)state;
    for (usec_t us = 0; us < (usec_t)70 * 60 * USEC_PER_SEC; us = us + us / 9 + 1) {
        struct histogram h = {0};
        histogram_add(&h, us);
        for (int i = 0; i <= 4; i++) {
            double off = fabs((double)(histogram_quantile(&h, i / 4.0) - us));
            assert_true(off * 8 <= (double)us);
        }
    }
}

static void quantiles_rank_the_values(void **state)
{
    (void)state;
    struct histogram h = {0};
    assert_int_equal(histogram_quantile(&h, 0.5), 0);
    for (int i = 0; i < 99; i++)
        histogram_add(&h, 5);
    histogram_add(&h, 1000000);
    assert_int_equal(histogram_quantile(&h, 0), 5);
    assert_int_equal(histogram_quantile(&h, 0.5), 5);
    assert_int_equal(histogram_quantile(&h, 0.99), 5);
    assert_in_range(histogram_quantile(&h, 1), 875000, 1125000);
    assert_int_equal(h.total, 100);
    assert_int_equal(h.sum_us, 99 * 5 + 1000000);
}

static void merge_adds_and_extremes_stay_in_bounds(void **state)
{
    (void)state;
    struct histogram a = {0}, b = {0};
    histogram_add(&a, -5);
    histogram_add(&a, INT64_MAX);
    histogram_add(&b, 3);
    histogram_merge(&b, &a);
    assert_int_equal(b.total, 3);
    assert_int_equal(histogram_quantile(&b, 0), 0);
    assert_int_equal(histogram_quantile(&b, 0.5), 3);
    assert_true(histogram_quantile(&b, 1) > (usec_t)70 * 60 * USEC_PER_SEC);
}

static void an_octave_ends_below_a_power_of_two(void **state)
{
    (void)state;
    for (unsigned k = 0; k < 33; k++) {
        struct histogram h = {0};
        uint64_t octaves[HISTOGRAM_OCTAVES] = {0}, all[HISTOGRAM_BUCKETS] = {0};
        uint64_t first = k == 0 ? 0 : (uint64_t)1 << (k - 1), last = ((uint64_t)1 << k) - 1;
        histogram_add(&h, (usec_t)first);
        histogram_add(&h, (usec_t)last);
        assert_int_equal(histogram_fold(&h, octaves, all), first + last);
        assert_int_equal(octaves[k], 2);
        unsigned i = 0;
        while (all[i] == 0)
            i++;
        assert_in_range(first, histogram_bucket_begin(i), histogram_bucket_begin(i + 1) - 1);
    }
}

/* ---- check ----------------------------------------------------------------------------------- */

static void failed_check_names_its_place_and_aborts(void **state)
{
    (void)state;
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(fd[1], STDERR_FILENO);
        CHECK(1 + 1 == 3);
        _exit(0);
    }
    close(fd[1]);
    char text[4096];
    size_t n = 0;
    for (ssize_t got; n < sizeof(text) - 1; n += (size_t)got) {
        got = read(fd[0], text + n, sizeof(text) - 1 - n);
        if (got <= 0)
            break;
    }
    text[n] = '\0';
    close(fd[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(text, "CHECK failed: 1 + 1 == 3 (test/unit/test_base.c:"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(list_keeps_the_order_of_its_pushes),
        cmocka_unit_test(removing_twice_or_while_walking_is_safe),
        cmocka_unit_test(nth_attempt_fails_once_and_only_then),
        cmocka_unit_test(new_memory_is_zero_and_wiped_memory_too),
        cmocka_unit_test(error_text_is_bounded_and_may_wrap_itself),
        cmocka_unit_test(every_status_has_a_name),
        cmocka_unit_test(random_bytes_fill_all_and_differ),
        cmocka_unit_test(siphash_agrees_with_the_published_vectors),
        cmocka_unit_test(seeded_hash_changes_with_the_process_secret),
        cmocka_unit_test(content_hash_sees_every_bit_at_every_length),
        cmocka_unit_test(content_hash_does_not_depend_on_alignment),
        cmocka_unit_test(content_hash_spreads_over_low_bits),
        cmocka_unit_test(monotonic_clock_can_be_pushed_by_a_test),
        cmocka_unit_test(stopped_clock_goes_on_when_it_is_read_or_pushed),
        cmocka_unit_test(times_are_printed_in_local_time_with_zone),
        cmocka_unit_test(quantile_of_one_value_errs_by_an_eighth_at_most),
        cmocka_unit_test(quantiles_rank_the_values),
        cmocka_unit_test(merge_adds_and_extremes_stay_in_bounds),
        cmocka_unit_test(an_octave_ends_below_a_power_of_two),
        cmocka_unit_test(failed_check_names_its_place_and_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
