/* test_pace_width.c - how long statements take, and on how many servers reads should share: the
 * two pure parts of the policy, the second against simulated databases. */
#include "proxy/pool/pace.h"
#include "proxy/pool/width.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

/* ---- pace ------------------------------------------------------------------------------------ */

#define DIGEST UINT64_C(0x123456789abcdef0)

static void unknown_statements_are_not_short(void **state)
{
    (void)state;
    struct pace *p = pace_new();
    for (uint64_t d = 0; d < 2000; d++)
        assert_false(pace_is_short(p, d * UINT64_C(0x9e3779b97f4a7c15)));
    assert_false(pace_is_short(p, 0));
    assert_false(pace_is_short(p, UINT64_MAX));
    pace_free(&p);
    assert_null(p);
}

static void first_execution_says_what_a_statement_is(void **state)
{
    (void)state;
    static const struct {
        usec_t took;
        bool is_short;
    } rows[] = {
        {0, true},
        {-1, true}, /* a clock that stood still or was set */
        {100, true},
        {PACE_SHORT_US, true},
        {PACE_SHORT_US + 1, false},
        {200000, false},
        {INT64_MAX, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct pace *p = pace_new();
        pace_note(p, DIGEST, rows[i].took);
        assert_int_equal(pace_is_short(p, DIGEST), rows[i].is_short);
        assert_false(pace_is_short(p, DIGEST ^ (UINT64_C(1) << 40)));
        pace_free(&p);
    }
}

static void one_slow_execution_makes_it_slow_and_quick_ones_quick_again(void **state)
{
    (void)state;
    struct pace *p = pace_new();
    for (int i = 0; i < 1000; i++)
        pace_note(p, DIGEST, 100);
    pace_note(p, DIGEST, 200000);
    assert_false(pace_is_short(p, DIGEST));
    int quick = 0;
    for (; !pace_is_short(p, DIGEST); quick++) {
        assert_in_range(quick, 0, 100);
        pace_note(p, DIGEST, 100);
    }
    assert_in_range(quick, 4, 60);
    pace_free(&p);
}

/* Few slow ones among many quick ones: the mean is small again before the next comes. */
static void mean_follows_what_is_usual(void **state)
{
    (void)state;
    struct pace *p = pace_new();
    for (int i = 0; i < 200; i++)
        pace_note(p, DIGEST, 4000);
    assert_true(pace_is_short(p, DIGEST));
    for (int i = 0; i < 200; i++)
        pace_note(p, DIGEST, 6000);
    assert_false(pace_is_short(p, DIGEST));
    for (int i = 0; i < 200; i++)
        pace_note(p, DIGEST, 7); /* less than the weight of one: it must not get stuck */
    assert_true(pace_is_short(p, DIGEST));
    pace_free(&p);
}

static void endless_digests_take_each_others_places_and_are_never_mixed_up(void **state)
{
    (void)state;
    struct pace *p = pace_new();
    uint64_t d = 1;
    int known = 0;
    for (int i = 0; i < 100000; i++) {
        d = d * UINT64_C(6364136223846793005) + 1;
        pace_note(p, d, i % 2 == 0 ? 100 : 100000);
        assert_int_equal(pace_is_short(p, d), i % 2 == 0);
    }
    d = 1;
    for (int i = 0; i < 100000; i++) {
        d = d * UINT64_C(6364136223846793005) + 1;
        known += pace_is_short(p, d);
    }
    assert_in_range(known, 50, 5000); /* bounded */
    pace_free(&p);
}

/* ---- width ----------------------------------------------------------------------------------- */

/* Requests a second at a width; what a database of so many cores could do. */
typedef double curve_fn(int width);

static double rises_to_eight(int n)
{
    return 10000.0 * MIN(n, 8);
}

static double rises_to_two_then_falls(int n)
{
    return n <= 2 ? 20000.0 * n : 40000.0 / (1 + 0.1 * (n - 2));
}

static double rises_to_twenty(int n)
{
    return 5000.0 * MIN(n, 20);
}

static double falls(int n)
{
    return 50000.0 / (1 + 0.08 * (n - 1));
}

static double saturates_slowly(int n)
{
    return 60000.0 * n / (n + 4.0) / (1 + 0.01 * n);
}

static double is_flat(int n)
{
    (void)n;
    return 30000.0;
}

struct simulation {
    curve_fn *curve;
    double noise; /* share of the rate, up and down */
    int max;
    uint64_t seed;
    struct width w;
    double drifts, drift; /* slower noise: how much, and where it is */
};

static double random_share(struct simulation *x)
{
    x->seed = x->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(x->seed >> 40) / (double)(1 << 24) * 2 - 1;
}

static void epoch(struct simulation *x, bool loaded)
{
    x->drift = x->drift * 0.98 + x->drifts * random_share(x);
    double rate = x->curve(x->w.now) * (1 + x->noise * random_share(x)) * (1 + x->drift);
    const struct width_measure m = {(uint64_t)(rate * 0.05), 50000};
    width_epoch(&x->w, m, loaded, x->w.now, x->max);
    assert_in_range(x->w.now, 1, x->max);
    assert_in_range(x->w.base, 1, x->max);
}

/* What is done on average in n epochs, in shares of the best. */
static double efficiency(struct simulation *x, int n)
{
    double best = 0, sum = 0;
    for (int i = 1; i <= x->max; i++)
        best = MAX(best, x->curve(i));
    for (int i = 0; i < n; i++) {
        sum += x->curve(x->w.now);
        epoch(x, true);
    }
    return sum / n / best;
}

static void width_comes_near_the_best_and_stays_there(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        curve_fn *curve;
        int start, max;
        int low, high; /* where base must stand */
    } rows[] = {
        {"8 cores", rises_to_eight, 8, 40, 7, 12},
        {"8 cores, from below", rises_to_eight, 1, 40, 7, 12},
        {"2 cores", rises_to_two_then_falls, 8, 20, 2, 3},
        {"20 cores", rises_to_twenty, 8, 64, 16, 27},
        {"the fewer the better", falls, 8, 20, 1, 2},
        {"slowly saturating", saturates_slowly, 8, 64, 8, 30},
        {"few servers", rises_to_twenty, 4, 4, 4, 4},
        {"one server", rises_to_twenty, 1, 1, 1, 1},
        {"all the same", is_flat, 8, 20, 1, 3},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (uint64_t seed = 1; seed <= 20; seed++) {
            struct simulation x = {rows[i].curve, 0.005, rows[i].max, seed, {0}, 0, 0};
            width_init(&x.w, rows[i].start);
            (void)efficiency(&x, 20 * 60); /* a minute */
            double share = efficiency(&x, 20 * 60);
            if (x.w.base < rows[i].low || x.w.base > rows[i].high || share < 0.93)
                fail_msg("%s, seed %d: width %d, %.3f of the best", rows[i].what, (int)seed,
                         x.w.base, share);
        }
    }
}

/* On a noisy machine it may wander, but not to where much is lost. */
static void noise_does_not_lead_far_away(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct simulation x = {rises_to_eight, 0.1, 40, seed, {0}, 0, 0};
        width_init(&x.w, 8);
        double share = efficiency(&x, 20 * 300);
        if (share < 0.85)
            fail_msg("seed %d: width %d, %.3f of the best", (int)seed, x.w.base, share);
    }
}

/* Once found it stays, however noisy and drifting the machine: a trial that chance has won is not
 * believed. */
static void noise_does_not_make_it_wander(void **state)
{
    (void)state;
    static curve_fn *const curves[] = {rises_to_eight, rises_to_two_then_falls, saturates_slowly,
                                       is_flat};
    int moves = 0;
    for (size_t i = 0; i < ARRAY_LEN(curves); i++) {
        for (uint64_t seed = 1; seed <= 10; seed++) {
            struct simulation x = {curves[i], 0.1, 20, seed, {0}, .drifts = 0.03};
            width_init(&x.w, 8);
            (void)efficiency(&x, 20 * 120);
            for (int n = 0; n < 20 * 300; n++) {
                int before = x.w.base;
                epoch(&x, true);
                moves += x.w.base != before;
            }
        }
    }
    assert_in_range(moves, 0, 40); /* in 40 times five minutes with some 80 trials each */
}

/* Found, it is tried rarely: most epochs are spent at the width that is best. */
static void trials_become_rare(void **state)
{
    (void)state;
    struct simulation x = {rises_to_two_then_falls, 0, 20, 1, {0}, 0, 0};
    width_init(&x.w, 8);
    for (int i = 0; i < 2000; i++)
        epoch(&x, true);
    int away = 0, changes = 0;
    for (int i = 0; i < 2000; i++) {
        int before = x.w.now;
        epoch(&x, true);
        changes += x.w.now != before;
        away += x.w.now != 2;
    }
    assert_in_range(away, 1, 200);
    assert_in_range(changes, 2, 100);
}

static void it_follows_a_database_that_changes(void **state)
{
    (void)state;
    struct simulation x = {rises_to_two_then_falls, 0.005, 20, 1, {0}, 0, 0};
    width_init(&x.w, 8);
    (void)efficiency(&x, 1000);
    x.curve = rises_to_twenty;
    (void)efficiency(&x, 20 * 180);
    assert_in_range(x.w.base, 15, 20);
    x.curve = rises_to_two_then_falls;
    (void)efficiency(&x, 20 * 180);
    assert_in_range(x.w.base, 2, 3);
}

static void epochs_without_load_change_nothing(void **state)
{
    (void)state;
    struct simulation x = {rises_to_eight, 0.005, 40, 1, {0}, 0, 0};
    width_init(&x.w, 8);
    for (int i = 0; i < 1000; i++) {
        epoch(&x, false);
        assert_int_equal(x.w.now, 8);
    }
    for (int i = 0; i < 500; i++) { /* a trial that was under way is given up */
        epoch(&x, true);
        int base = x.w.base;
        if (i % 7 == 0) {
            epoch(&x, false);
            assert_int_equal(x.w.now, base);
            assert_int_equal(x.w.base, base);
        }
    }
}

static void a_smaller_maximum_is_obeyed_at_once_in_every_phase(void **state)
{
    (void)state;
    for (int epochs = 0; epochs < 200; epochs++) {
        struct simulation x = {rises_to_twenty, 0.005, 40, (uint64_t)epochs, {0}, 0, 0};
        width_init(&x.w, 30);
        for (int i = 0; i < epochs; i++)
            epoch(&x, true);
        x.max = 5;
        epoch(&x, epochs % 2 == 0);
        assert_in_range(x.w.now, 1, 5);
        (void)efficiency(&x, 200);
        x.max = 1;
        epoch(&x, true);
        assert_int_equal(x.w.now, 1);
    }
}

static void epochs_in_which_nothing_was_done_are_survived(void **state)
{
    (void)state;
    struct width w;
    width_init(&w, 8);
    for (int i = 0; i < 1000; i++) {
        const struct width_measure m = {0, i % 3 == 0 ? 0 : 50000};
        width_epoch(&w, m, i % 5 != 0, 8, 16);
        assert_in_range(w.now, 1, 16);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_statements_are_not_short),
        cmocka_unit_test(first_execution_says_what_a_statement_is),
        cmocka_unit_test(one_slow_execution_makes_it_slow_and_quick_ones_quick_again),
        cmocka_unit_test(mean_follows_what_is_usual),
        cmocka_unit_test(endless_digests_take_each_others_places_and_are_never_mixed_up),
        cmocka_unit_test(width_comes_near_the_best_and_stays_there),
        cmocka_unit_test(noise_does_not_lead_far_away),
        cmocka_unit_test(noise_does_not_make_it_wander),
        cmocka_unit_test(trials_become_rare),
        cmocka_unit_test(it_follows_a_database_that_changes),
        cmocka_unit_test(epochs_without_load_change_nothing),
        cmocka_unit_test(a_smaller_maximum_is_obeyed_at_once_in_every_phase),
        cmocka_unit_test(epochs_in_which_nothing_was_done_are_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
