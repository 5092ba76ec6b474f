/* test_core_pool.c - who gets a server and when one is opened, on the toy codec: limits, order,
 * failures, time, pause, and servers that move between two workers of one process. */
#include "base/base.h"

#include "test/unit/support/core_rig.h"
#include "test/unit/support/toy_wire.h"

#include <stdatomic.h>
#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define SEC ((usec_t)USEC_PER_SEC)

static void let_go(struct rig *r, struct peer *p, int n)
{
    for (int i = 0; i < n; i++)
        peer_close(&p[i]);
    if (r != NULL)
        rig_free(&r);
}

static int servers(struct rig *r)
{
    return atomic_load(&rig_pool(r, 0)->shared->shared.servers);
}

/* ---- limits and order ------------------------------------------------------------------------ */

static void pool_size_is_never_exceeded(void **state)
{
    (void)state;
    struct rig *r = rig_new(&toy_wire, 1, "default_pool_size = 3\n", NULL);
    struct peer c[10], s[3];
    rig_toy_client(r, 0, &c[0], &s[0]);
    for (int i = 1; i < 10; i++)
        rig_toy_client(r, 0, &c[i], NULL);
    for (int i = 0; i < 10; i++)
        peer_say(&c[i], "Q select 1\n");
    rig_toy_server(r, &s[1]);
    rig_toy_server(r, &s[2]);
    rig_accepts_nothing(r);
    assert_int_equal(servers(r), 3);
    for (int done = 0; done < 10; done++) {
        assert_in_range(servers(r), 1, 3);
        peer_hears(r, &s[done % 3], "Q select 1\n");
        peer_say(&s[done % 3], "done I\n");
        rig_settle(r);
    }
    for (int i = 0; i < 10; i++)
        peer_hears(r, &c[i], "done I\n");
    assert_int_equal(rig_pool(r, 0)->nidle, 3);
    rig_accepts_nothing(r);
    let_go(NULL, c, 10);
    let_go(r, s, 3);
}

static void waiters_are_served_in_their_order(void **state)
{
    (void)state;
    struct rig *r = rig_new(&toy_wire, 1, "default_pool_size = 1\n", NULL);
    struct peer c[5], s;
    char text[32];
    rig_toy_client(r, 0, &c[0], &s);
    for (int i = 1; i < 5; i++)
        rig_toy_client(r, 0, &c[i], NULL);
    static const int order[] = {3, 0, 4, 1, 2};
    for (int i = 0; i < 5; i++) {
        snprintf(text, sizeof(text), "Q select %d\n", order[i]);
        peer_say(&c[order[i]], text);
        rig_settle(r);
    }
    for (int i = 0; i < 5; i++) {
        snprintf(text, sizeof(text), "Q select %d\n", order[i]);
        peer_hears(r, &s, text);
        peer_say(&s, "done I\n");
        peer_hears(r, &c[order[i]], "done I\n");
    }
    let_go(NULL, &s, 1);
    let_go(r, c, 5);
}

static void full_queue_refuses_the_request_and_keeps_the_client(void **state)
{
    (void)state;
    struct rig *r = rig_new(&toy_wire, 1, "default_pool_size = 1\nmax_waiting = 1\n", NULL);
    struct peer c[3], s;
    rig_toy_client(r, 0, &c[0], &s);
    rig_toy_client(r, 0, &c[1], NULL);
    rig_toy_client(r, 0, &c[2], NULL);
    for (int i = 0; i < 3; i++) {
        peer_say(&c[i], "Q select 1\n");
        rig_settle(r);
    }
    peer_hears(r, &c[2], "err pool_full -\ndone I\n");
    peer_say(&c[2], "P - select 1\n"); /* half a request is refused too, and ends at its end */
    peer_hears(r, &c[2], "err pool_full -\n");
    peer_say(&c[2], "B -\nS\n");
    peer_hears(r, &c[2], "done I\n");
    peer_hears(r, &s, "Q select 1\n");
    peer_say(&s, "done I\n");
    peer_hears(r, &s, "Q select 1\n");
    peer_say(&s, "done I\n");
    rig_settle(r);
    c[1].n = 0;
    rig_toy_ask(r, &c[2], &s);
    let_go(NULL, &s, 1);
    let_go(r, c, 3);
}

static void servers_of_a_database_are_limited_across_its_pools(void **state)
{
    (void)state;
    struct rig *r = rig_new(&toy_wire, 1, "max_db_connections = 1\n", NULL);
    struct peer a, b, s;
    rig_toy_client(r, 0, &a, &s);
    rig_client(r, 0, &b);
    peer_say(&b, "hello v d\n"); /* another user: another pool of the same database */
    rig_settle(r);
    peer_hears(r, &s, "bye\n"); /* the idle server of the other pool makes room */
    peer_hears_end(r, &s);
    rig_accept(r, &s);
    peer_hears(r, &s, "hello v d\n");
    peer_say(&s, "var server_version 1\nhi key\n");
    peer_hears_until(r, &b, "done I", NULL, 0);
    let_go(NULL, &a, 1);
    let_go(NULL, &b, 1);
    let_go(r, &s, 1);
}

/* ---- failures -------------------------------------------------------------------------------- */

static void cold_pool_with_a_dead_server_fails_fast(void **state)
{
    (void)state;
    struct rig *r = rig_new(&toy_wire, 1, NULL, NULL);
    struct peer c;
    rig_stop_listening(r);
    rig_client(r, 0, &c);
    peer_say(&c, "hello u d\n");
    peer_hears_until(r, &c, "bye server_down", NULL, 0);
    peer_hears_end(r, &c);
    rig_free(&r);
}

static void refused_login_is_told_in_the_servers_own_words(void **state)
{
    (void)state;
    struct rig *r = rig_new(&toy_wire, 1, NULL, NULL);
    struct peer c, s;
    rig_client(r, 0, &c);
    peer_say(&c, "hello u d\n");
    rig_accept(r, &s);
    peer_hears(r, &s, "hello u d\n");
    peer_say(&s, "bye nodb there is no such thing\n");
    peer_hears(r, &c, "bye nodb there is no such thing\n");
    peer_hears_end(r, &c);
    let_go(r, &s, 1);
}

static void nonsense_instead_of_a_login_fails_it(void **state)
{
    (void)state;
    static const char *const says[] = {"done I\n", "row 1\n", "\n", "ask something\n",
                                       "ask password\n"};
    for (size_t i = 0; i < ARRAY_LEN(says); i++) {
        struct rig *r = rig_new(&toy_wire, 1, NULL, NULL);
        struct peer c, s;
        rig_client(r, 0, &c);
        peer_say(&c, "hello u d\n");
        rig_accept(r, &s);
        peer_hears(r, &s, "hello u d\n");
        peer_say(&s, says[i]);
        peer_hears_until(r, &c, "bye server_down", NULL, 0);
        peer_hears_end(r, &s);
        peer_hears_end(r, &c);
        rig_free(&r);
    }
}

static void starting_server_is_tried_again_within_the_clients_wait(void **state)
{
    (void)state;
    struct rig *r = rig_new(&toy_wire, 1, NULL, NULL);
    struct peer c, s;
    rig_client(r, 0, &c);
    peer_say(&c, "hello u d\n");
    for (int i = 0; i < 4; i++) {
        rig_accept(r, &s);
        peer_hears(r, &s, "hello u d\n");
        peer_say(&s, "bye starting wait\n");
        peer_hears_end(r, &s);
        rig_accepts_nothing(r); /* not at once */
        rig_wait(r, 500000);
    }
    rig_toy_server(r, &s);
    peer_hears_until(r, &c, "done I", NULL, 0);
    let_go(NULL, &c, 1);
    let_go(r, &s, 1);
}

static void warm_pool_backs_off_and_recovers(void **state)
{
    (void)state;
    struct rig *r = rig_new(&toy_wire, 1, "server_login_retry = 10\n", NULL);
    struct peer c, s;
    rig_toy_client(r, 0, &c, &s);
    peer_close(&s);
    rig_settle(r);
    rig_stop_listening(r);
    peer_say(&c, "Q select 1\n");
    rig_settle(r);
    struct pool *p = rig_pool(r, 0);
    usec_t last = 0;
    for (int i = 0; i < 6; i++) { /* each wait is longer, up to the limit */
        assert_int_equal(p->nwaiters, 1);
        assert_true(p->backoff > last || p->backoff == 10 * SEC);
        last = p->backoff;
        rig_wait(r, p->backoff + 1000);
    }
    peer_hears_nothing(r, &c);
    rig_listen_again(r);
    rig_wait(r, 10 * SEC);
    rig_toy_server(r, &s);
    assert_int_equal(p->backoff, 0);
    peer_hears(r, &s, "Q select 1\n");
    let_go(NULL, &c, 1);
    let_go(r, &s, 1);
}

static void connection_that_comes_to_nothing_gives_its_place_back(void **state)
{
    (void)state;
    struct rig *r = rig_new(&toy_wire, 1, "server_connect_timeout = 2\n", NULL);
    struct peer c, s;
    rig_client(r, 0, &c);
    peer_say(&c, "hello u d\n");
    rig_accept(r, &s);
    peer_hears(r, &s, "hello u d\n");
    assert_int_equal(servers(r), 1);
    rig_wait(r, 2 * SEC); /* it never answers */
    peer_hears_end(r, &s);
    assert_int_equal(servers(r), 0);
    peer_hears_until(r, &c, "bye server_down", NULL, 0);
    let_go(r, &c, 1);
}

/* ---- time ------------------------------------------------------------------------------------ */

static void idle_servers_are_closed_in_time_and_the_minimum_stays(void **state)
{
    (void)state;
    struct rig *r = rig_new(
        &toy_wire, 1, "server_idle_timeout = 10\nmin_pool_size = 1\nserver_lifetime = 0\n", NULL);
    struct peer c[2], s[2];
    rig_toy_client(r, 0, &c[0], &s[0]);
    rig_toy_client(r, 0, &c[1], NULL);
    peer_say(&c[0], "Q select 1\n");
    peer_hears(r, &s[0], "Q select 1\n");
    peer_say(&c[1], "Q select 2\n");
    rig_toy_server(r, &s[1]);
    peer_hears(r, &s[1], "Q select 2\n");
    peer_say(&s[0], "done I\n");
    peer_say(&s[1], "done I\n");
    rig_settle(r);
    rig_wait(r, 9 * SEC);
    assert_int_equal(rig_pool(r, 0)->nidle, 2);
    for (int i = 0; i < 4; i++)
        rig_wait(r, SEC);
    assert_int_equal(rig_pool(r, 0)->nidle, 1);
    let_go(NULL, s, 2);
    let_go(r, c, 2);
}

static void server_past_its_lifetime_is_replaced_when_it_is_free(void **state)
{
    (void)state;
    struct rig *r = rig_new(&toy_wire, 1, "server_lifetime = 10\ndefault_pool_size = 1\n", NULL);
    struct peer c, s;
    rig_toy_client(r, 0, &c, &s);
    peer_say(&c, "Q select 1\n");
    peer_hears(r, &s, "Q select 1\n");
    rig_wait(r, 11 * SEC);
    peer_hears_nothing(r, &s); /* not while it works */
    peer_say(&s, "done I\n");
    peer_hears(r, &c, "done I\n");
    peer_hears(r, &s, "bye\n");
    peer_hears_end(r, &s);
    peer_say(&c, "Q select 1\n");
    rig_toy_server(r, &s);
    peer_hears(r, &s, "Q select 1\n");
    let_go(NULL, &c, 1);
    let_go(r, &s, 1);
}

static void server_that_was_idle_for_long_is_checked_before_it_is_lent(void **state)
{
    (void)state;
    for (int broken = 0; broken < 2; broken++) {
        struct rig *r = rig_new(&toy_wire, 1,
                                "server_check_query = select 5\nserver_check_delay = 5\n"
                                "server_idle_timeout = 0\ndefault_pool_size = 1\n",
                                NULL);
        struct peer c, s;
        rig_toy_client(r, 0, &c, &s);
        rig_wait(r, 6 * SEC);
        peer_say(&c, "Q select 1\n");
        peer_hears(r, &s, "Q select 5\n");
        peer_say(&s, broken ? "err other x\ndone I\n" : "row 5\nok read\ndone I\n");
        if (!broken)
            peer_hears(r, &s, "Q select 1\n");
        else
            peer_hears_end(r, &s);
        let_go(NULL, &c, 1);
        let_go(r, &s, broken ? 0 : 1);
    }
}

/* ---- pause ----------------------------------------------------------------------------------- */

static void paused_pool_grants_nothing_until_it_is_resumed(void **state)
{
    (void)state;
    struct rig *r = rig_new(&toy_wire, 1, "default_pool_size = 2\n", NULL);
    struct peer c[2], s, t;
    rig_toy_client(r, 0, &c[0], &s);
    rig_toy_client(r, 0, &c[1], NULL);
    peer_say(&c[0], "Q select 1\n");
    peer_hears(r, &s, "Q select 1\n");
    struct pool *p = rig_pool(r, 0);
    atomic_fetch_or(&p->shared->db->shared.hold, (uint32_t)DB_PAUSED);
    peer_say(&c[1], "Q select 2\n");
    rig_accepts_nothing(r);
    peer_say(&s, "done I\n"); /* what runs is finished */
    peer_hears(r, &c[0], "done I\n");
    peer_say(&c[0], "Q select 3\n");
    peer_hears_nothing(r, &s);
    assert_int_equal(p->nwaiters, 2);
    rig_wait(r, SEC);
    rig_settle(r);
    peer_hears(r, &s, "bye\n"); /* idle servers of a paused database are closed */
    peer_hears_end(r, &s);
    rig_accepts_nothing(r);
    atomic_fetch_and(&p->shared->db->shared.hold, ~(uint32_t)DB_PAUSED);
    pool_schedule(p);
    rig_toy_server(r, &s);
    rig_toy_server(r, &t);
    peer_hears(r, &s, "Q select 2\n");
    peer_hears(r, &t, "Q select 3\n");
    let_go(NULL, &s, 1);
    let_go(NULL, &t, 1);
    let_go(r, c, 2);
}

/* ---- two workers ----------------------------------------------------------------------------- */

static void two_workers_share_one_server_both_ways(void **state)
{
    (void)state;
    struct rig *r = rig_new(&toy_wire, 2, "default_pool_size = 1\n", NULL);
    struct peer c[2], s;
    rig_toy_client(r, 0, &c[0], &s);
    rig_toy_client(r, 1, &c[1], NULL);
    for (int i = 0; i < 3; i++) { /* asked for while it is idle elsewhere */
        rig_toy_ask(r, &c[1], &s);
        assert_int_equal(rig_pool(r, 1)->nidle, 1);
        assert_int_equal(rig_pool(r, 0)->nidle, 0);
        rig_toy_ask(r, &c[0], &s);
        assert_int_equal(rig_pool(r, 0)->nidle, 1);
        assert_int_equal(rig_pool(r, 1)->nidle, 0);
    }
    rig_accepts_nothing(r);
    assert_int_equal(servers(r), 1);
    let_go(NULL, c, 2);
    let_go(r, &s, 1);
}

static void released_server_goes_to_the_worker_that_waits(void **state)
{
    (void)state;
    struct rig *r = rig_new(&toy_wire, 2, "default_pool_size = 1\n", NULL);
    struct peer c[2], s;
    rig_toy_client(r, 0, &c[0], &s);
    rig_toy_client(r, 1, &c[1], NULL);
    for (int i = 0; i < 3; i++) {
        struct peer *mine = &c[i % 2], *other = &c[1 - i % 2];
        peer_say(mine, "Q select 1\n");
        peer_hears(r, &s, "Q select 1\n");
        peer_say(other, "Q select 2\n");
        peer_hears_nothing(r, &s);
        peer_say(&s, "done I\n");
        peer_hears(r, mine, "done I\n");
        peer_hears(r, &s, "Q select 2\n");
        peer_say(&s, "done I\n");
        peer_hears(r, other, "done I\n");
    }
    let_go(NULL, c, 2);
    let_go(r, &s, 1);
}

static void moved_server_keeps_its_settings_and_statements(void **state)
{
    (void)state;
    struct rig *r = rig_new(&toy_wire, 2, "default_pool_size = 1\n", NULL);
    struct peer a, b, c, s;
    rig_toy_client(r, 0, &c, &s);
    rig_toy_client_with(r, &a, &s, "zone=x");
    rig_toy_client(r, 1, &b, NULL);
    peer_say(&a, "P s select 1\nS\n");
    peer_hears(r, &s, "P h0000000000001000 select 1\nS\n");
    peer_say(&s, "parsed\ndone I\n");
    peer_hears(r, &a, "parsed\ndone I\n");
    peer_say(&b, "P t select 1\nB t\nS\n"); /* not prepared again, and without a's setting */
    peer_hears(r, &s, "set zone;\nB h0000000000001000\nS\n");
    peer_say(&s, "var zone utc\ndone I\nbound\ndone I\n");
    peer_hears(r, &b, "parsed\nbound\ndone I\n");
    let_go(NULL, &c, 1);
    let_go(NULL, &a, 1);
    let_go(NULL, &b, 1);
    let_go(r, &s, 1);
}

static void limit_holds_across_workers(void **state)
{
    (void)state;
    struct rig *r = rig_new(&toy_wire, 2, "default_pool_size = 2\n", NULL);
    struct peer c[6], s[2];
    rig_toy_client(r, 0, &c[0], &s[0]);
    for (unsigned i = 1; i < 6; i++)
        rig_toy_client(r, i % 2, &c[i], NULL);
    for (int i = 0; i < 6; i++)
        peer_say(&c[i], "Q select 1\n");
    rig_toy_server(r, &s[1]);
    for (int i = 0; i < 6; i++) {
        rig_accepts_nothing(r);
        peer_hears(r, &s[i % 2], "Q select 1\n");
        peer_say(&s[i % 2], "done I\n");
        rig_settle(r);
    }
    for (int i = 0; i < 6; i++)
        peer_hears(r, &c[i], "done I\n");
    assert_int_equal(servers(r), 2);
    let_go(NULL, c, 6);
    let_go(r, s, 2);
}

static void larger_pool_keeps_the_servers_of_workers_that_do_not_know_yet(void **state)
{
    (void)state;
    struct rig *r = rig_new(&toy_wire, 2, "default_pool_size = 1\n", NULL);
    struct peer c[2], s[2];
    rig_toy_client(r, 0, &c[0], &s[0]);
    rig_toy_client(r, 1, &c[1], NULL);
    peer_say(&c[1], "Q select 1\n");
    peer_hears(r, &s[0], "Q select 1\n");
    rig_reload_begins(r, "default_pool_size = 2\n", NULL);
    peer_say(&c[0], "Q select 2\n");
    rig_toy_server(r, &s[1]);
    peer_hears(r, &s[1], "Q select 2\n");
    peer_say(&s[0], "done I\n"); /* released by a worker that still believes in a limit of 1 */
    peer_hears(r, &c[1], "done I\n");
    peer_hears_nothing(r, &s[0]);
    rig_wait(r, SEC);
    rig_settle(r);
    peer_hears_nothing(r, &s[0]);
    peer_say(&s[1], "done I\n");
    peer_hears(r, &c[0], "done I\n");
    rig_reload_ends(r);
    assert_int_equal(servers(r), 2);
    rig_reload(r, "default_pool_size = 1\n", NULL); /* and a smaller one still comes down */
    rig_wait(r, SEC);
    rig_settle(r);
    assert_int_equal(servers(r), 1);
    let_go(NULL, c, 2);
    let_go(r, s, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pool_size_is_never_exceeded),
        cmocka_unit_test(waiters_are_served_in_their_order),
        cmocka_unit_test(full_queue_refuses_the_request_and_keeps_the_client),
        cmocka_unit_test(servers_of_a_database_are_limited_across_its_pools),
        cmocka_unit_test(cold_pool_with_a_dead_server_fails_fast),
        cmocka_unit_test(refused_login_is_told_in_the_servers_own_words),
        cmocka_unit_test(nonsense_instead_of_a_login_fails_it),
        cmocka_unit_test(starting_server_is_tried_again_within_the_clients_wait),
        cmocka_unit_test(warm_pool_backs_off_and_recovers),
        cmocka_unit_test(connection_that_comes_to_nothing_gives_its_place_back),
        cmocka_unit_test(idle_servers_are_closed_in_time_and_the_minimum_stays),
        cmocka_unit_test(server_past_its_lifetime_is_replaced_when_it_is_free),
        cmocka_unit_test(server_that_was_idle_for_long_is_checked_before_it_is_lent),
        cmocka_unit_test(paused_pool_grants_nothing_until_it_is_resumed),
        cmocka_unit_test(two_workers_share_one_server_both_ways),
        cmocka_unit_test(released_server_goes_to_the_worker_that_waits),
        cmocka_unit_test(moved_server_keeps_its_settings_and_statements),
        cmocka_unit_test(limit_holds_across_workers),
        cmocka_unit_test(larger_pool_keeps_the_servers_of_workers_that_do_not_know_yet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
