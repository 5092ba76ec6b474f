/* test_core_timeout.c - deadlines as FIFO lists. Time is an argument here, so nothing waits. */
#include "base/base.h"

#include "proxy/timeout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define MANY 1000

struct probe {
    struct timeout t;
    struct timeouts *set;
    int id, *order, *count; /* writes id to order[(*count)++] */
    usec_t again;           /* restarts itself with this length */
    struct probe *stops;    /* stops this one when it expires */
    usec_t now;
};

static void on_expired(struct timeout *t)
{
    struct probe *p = container_of(t, struct probe, t);
    assert_false(timeout_running(t));
    p->order[(*p->count)++] = p->id;
    if (p->again > 0)
        timeout_start(p->set, t, p->now, p->again);
    if (p->stops != NULL)
        timeout_stop(&p->stops->t);
}

struct probes {
    struct timeouts set;
    struct probe p[MANY];
    int order[2 * MANY], count;
};

static void set_up(struct probes *x, int n)
{
    memset(x, 0, sizeof(*x));
    timeouts_init(&x->set);
    for (int i = 0; i < n; i++) {
        x->p[i].set = &x->set;
        x->p[i].id = i;
        x->p[i].order = x->order;
        x->p[i].count = &x->count;
        timeout_init(&x->p[i].t, on_expired);
    }
}

static struct probes x; /* large; each test sets it up anew */

static void timeouts_of_one_length_expire_in_the_order_of_their_start(void **state)
{
    (void)state;
    set_up(&x, MANY);
    for (int i = 0; i < MANY; i++)
        timeout_start(&x.set, &x.p[i].t, i, 50);
    assert_int_equal(timeouts_next(&x.set), 50);
    timeouts_run(&x.set, 49);
    assert_int_equal(x.count, 0);
    timeouts_run(&x.set, 50 + MANY / 2);
    assert_int_equal(x.count, MANY / 2 + 1);
    assert_int_equal(timeouts_next(&x.set), 50 + MANY / 2 + 1);
    timeouts_run(&x.set, 50 + MANY);
    assert_int_equal(x.count, MANY);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(x.order[i], i);
    assert_int_equal(timeouts_next(&x.set), INT64_MAX);
    timeouts_fini(&x.set);
}

static void restarted_timeout_goes_to_the_end_and_expires_once(void **state)
{
    (void)state;
    set_up(&x, 3);
    for (int i = 0; i < 3; i++)
        timeout_start(&x.set, &x.p[i].t, 0, 100);
    timeout_start(&x.set, &x.p[0].t, 10, 100);
    timeouts_run(&x.set, 100);
    assert_int_equal(x.count, 2);
    assert_int_equal(x.order[0], 1);
    assert_int_equal(timeouts_next(&x.set), 110);
    timeouts_run(&x.set, 110);
    assert_int_equal(x.count, 3);
    assert_int_equal(x.order[2], 0);
    timeouts_run(&x.set, 1000);
    assert_int_equal(x.count, 3);
    timeouts_fini(&x.set);
}

static void restart_with_another_length_moves_to_that_list(void **state)
{
    (void)state;
    set_up(&x, 2);
    timeout_start(&x.set, &x.p[0].t, 0, 10);
    timeout_start(&x.set, &x.p[1].t, 0, 20);
    timeout_start(&x.set, &x.p[0].t, 0, 500);
    assert_int_equal(timeouts_next(&x.set), 20);
    timeouts_run(&x.set, 20);
    assert_int_equal(x.count, 1);
    assert_int_equal(x.order[0], 1);
    assert_int_equal(timeouts_next(&x.set), 500);
    timeouts_fini(&x.set);
}

static void stopped_timeout_does_not_expire(void **state)
{
    (void)state;
    set_up(&x, 3);
    for (int i = 0; i < 3; i++)
        timeout_start(&x.set, &x.p[i].t, 0, 10);
    timeout_stop(&x.p[1].t);
    assert_false(timeout_running(&x.p[1].t));
    timeout_stop(&x.p[1].t); /* twice is fine */
    timeouts_run(&x.set, 10);
    assert_int_equal(x.count, 2);
    assert_int_equal(x.order[0], 0);
    assert_int_equal(x.order[1], 2);
    timeouts_fini(&x.set);
}

static void length_of_zero_or_less_stops(void **state)
{
    (void)state;
    static const usec_t none[] = {0, -1, INT64_MIN};
    set_up(&x, 1);
    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        timeout_start(&x.set, &x.p[0].t, 0, 10);
        assert_true(timeout_running(&x.p[0].t));
        timeout_start(&x.set, &x.p[0].t, 0, none[i]);
        assert_false(timeout_running(&x.p[0].t));
    }
    assert_int_equal(timeouts_next(&x.set), INT64_MAX);
    timeouts_fini(&x.set);
}

static void many_lengths_each_expire_in_time(void **state)
{
    (void)state;
    set_up(&x, 200);
    for (int i = 0; i < 200; i++)
        timeout_start(&x.set, &x.p[i].t, 0, 200 - i);
    for (int now = 1; now <= 200; now++) {
        assert_int_equal(timeouts_next(&x.set), now);
        timeouts_run(&x.set, now);
        assert_int_equal(x.count, now);
        assert_int_equal(x.order[now - 1], 200 - now);
    }
    timeouts_fini(&x.set);
}

static void one_length_needs_one_list_however_often_it_is_used(void **state)
{
    (void)state;
    set_up(&x, MANY);
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < MANY; i++)
            timeout_start(&x.set, &x.p[i].t, round, 7);
    assert_int_equal(x.set.nlists, 1);
    timeouts_fini(&x.set);
}

static void timeout_that_restarts_itself_expires_once_a_run(void **state)
{
    (void)state;
    set_up(&x, 1);
    x.p[0].again = 5;
    timeout_start(&x.set, &x.p[0].t, 0, 5);
    for (usec_t now = 5; now <= 50; now += 5) {
        x.p[0].now = now;
        timeouts_run(&x.set, now);
        assert_int_equal(x.count, now / 5);
    }
    timeouts_fini(&x.set);
}

static void expiry_may_make_new_lists(void **state)
{
    (void)state;
    set_up(&x, 100);
    for (int i = 0; i < 100; i++) {
        x.p[i].again = 1000 + i;
        timeout_start(&x.set, &x.p[i].t, 0, 10);
    }
    timeouts_run(&x.set, 10);
    assert_int_equal(x.count, 100);
    assert_int_equal(timeouts_next(&x.set), 1000);
    timeouts_fini(&x.set);
}

static void timeout_stopped_by_another_that_expires_with_it_stays_quiet(void **state)
{
    (void)state;
    set_up(&x, 3);
    for (int i = 0; i < 3; i++)
        timeout_start(&x.set, &x.p[i].t, 0, 10);
    x.p[0].stops = &x.p[1];
    timeouts_run(&x.set, 99);
    assert_int_equal(x.count, 2);
    assert_int_equal(x.order[1], 2);
    timeouts_fini(&x.set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timeouts_of_one_length_expire_in_the_order_of_their_start),
        cmocka_unit_test(restarted_timeout_goes_to_the_end_and_expires_once),
        cmocka_unit_test(restart_with_another_length_moves_to_that_list),
        cmocka_unit_test(stopped_timeout_does_not_expire),
        cmocka_unit_test(length_of_zero_or_less_stops),
        cmocka_unit_test(many_lengths_each_expire_in_time),
        cmocka_unit_test(one_length_needs_one_list_however_often_it_is_used),
        cmocka_unit_test(timeout_that_restarts_itself_expires_once_a_run),
        cmocka_unit_test(expiry_may_make_new_lists),
        cmocka_unit_test(timeout_stopped_by_another_that_expires_with_it_stays_quiet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
