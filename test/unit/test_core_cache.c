/* test_core_cache.c - the result cache between clients and servers, on the toy codec: what is
 * answered without a server, what is kept, and when a write takes it away. */
#include "base/base.h"

#include "base/clock.h"
#include "proxy/session_cache.h"
#include "test/unit/support/cached_rig.h"

#include <stdatomic.h>
#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* ---- hits ------------------------------------------------------------------------------------ */

static void second_read_needs_no_server(void **state)
{
    (void)state;
    struct cached x;
    cached_begin(&x, RULES);
    cached_miss(&x, 0, 0, "a");
    cached_hit(&x, 0, "a");
    cached_hit(&x, 1, "a");
    assert_int_equal(rig_pool(x.r, 0)->nidle, 1);
    cached_end(&x);
}

static void bound_value_and_constant_are_one_question(void **state)
{
    (void)state;
    struct cached x;
    static const char ask[] = "P p SELECT v FROM app.accounts WHERE user_id = $1\nB p 5\nE 0\nS\n";
    cached_begin(&x, RULES);
    cached_miss(&x, 0, 0, "a");
    cached_say(&x, 1, ask);
    peer_hears(x.r, &x.c[1], "parsed\nbound\nrow a\nok read\ndone I\n");
    cached_say(&x, 1, "B p 5\nE 0\nS\n"); /* the name is known, though no server has heard of it */
    peer_hears(x.r, &x.c[1], "bound\nrow a\nok read\ndone I\n");
    cached_say(&x, 1, "B p 6\nE 0\nS\n");
    peer_hears_until(x.r, &x.s[0], "S", NULL, 0);
    cached_row(&x, 0, "b");
    cached_end(&x);
}

static void entry_ends_with_its_time(void **state)
{
    (void)state;
    struct cached x;
    cached_begin(&x, RULES);
    cached_miss(&x, 0, 0, "a");
    rig_wait(x.r, 80 * USEC_PER_SEC);
    cached_hit(&x, 0, "a");
    rig_wait(x.r, 21 * USEC_PER_SEC);
    cached_miss(&x, 0, 0, "b");
    cached_end(&x);
}

static void error_is_not_kept(void **state)
{
    (void)state;
    struct cached x;
    cached_begin(&x, RULES);
    for (int i = 0; i < 2; i++)
        cached_runs(&x, 0, 0, READ, "err other x\ndone I\n");
    cached_end(&x);
}

/* ---- one query for all who ask --------------------------------------------------------------- */

static void those_who_ask_meanwhile_wait_and_look_again(void **state)
{
    (void)state;
    struct cached x;
    cached_begin(&x, RULES);
    cached_asks(&x, 0, 0);
    cached_say(&x, 1, READ);
    cached_say(&x, 2, READ);
    rig_accepts_nothing(x.r);
    cached_row(&x, 0, "a");
    for (int i = 0; i < 3; i++)
        cached_hears(&x, i, "a");
    peer_hears_nothing(x.r, &x.s[0]);
    cached_end(&x);
}

static void waiting_client_that_leaves_disturbs_nobody(void **state)
{
    (void)state;
    struct cached x;
    cached_begin(&x, RULES);
    cached_asks(&x, 0, 0);
    cached_say(&x, 1, READ);
    cached_say(&x, 2, READ);
    peer_close(&x.c[1]);
    rig_settle(x.r);
    cached_row(&x, 0, "a");
    cached_hears(&x, 0, "a");
    cached_hears(&x, 2, "a");
    cached_end(&x);
}

/* Its query goes on in the database, and nobody takes its answer: those who waited ask. */
static void leader_whose_server_is_lost_lets_the_others_ask(void **state)
{
    (void)state;
    struct cached x;
    cached_begin(&x, RULES);
    cached_asks(&x, 0, 0);
    cached_say(&x, 1, READ);
    peer_close(&x.s[0]);
    peer_hears_until(x.r, &x.c[0], "done I", NULL, 0);
    rig_toy_server(x.r, &x.s[1]);
    peer_hears(x.r, &x.s[1], READ);
    cached_row(&x, 1, "b");
    cached_hears(&x, 1, "b");
    cached_end(&x);
}

/* An answer that could not be kept is not waited for again. */
static void nobody_waits_twice(void **state)
{
    (void)state;
    struct cached x;
    cached_begin(&x, RULES);
    cached_asks(&x, 0, 0);
    cached_say(&x, 1, READ);
    peer_say(&x.s[0], "err other x\ndone I\n");
    peer_hears(x.r, &x.c[0], "err other x\ndone I\n");
    peer_hears(x.r, &x.s[0], READ);
    cached_say(&x, 2, READ); /* waits for the second one now */
    cached_row(&x, 0, "b");
    cached_hears(&x, 1, "b");
    cached_hears(&x, 2, "b");
    cached_end(&x);
}

/* ---- writes ---------------------------------------------------------------------------------- */

static void write_takes_the_entry_before_it_is_answered(void **state)
{
    (void)state;
    struct cached x;
    cached_begin(&x, RULES);
    cached_miss(&x, 0, 0, "a");
    cached_say(&x, 1, WRITE);
    peer_hears(x.r, &x.s[0], WRITE);
    cached_say(&x, 0, READ); /* the database says what is true meanwhile */
    rig_toy_server(x.r, &x.s[1]);
    peer_hears(x.r, &x.s[1], READ);
    cached_row(&x, 1, "a");
    cached_hears(&x, 0, "a");
    peer_say(&x.s[0], "ok write\ndone I\n");
    peer_hears(x.r, &x.c[1], "ok write\ndone I\n");
    cached_say(&x, 0, READ); /* what it said then was not kept */
    rig_settle(x.r);
    int s = rig_pool(x.r, 0)->nidle == 1 && peer_pending(&x.s[0]) ? 0 : 1;
    peer_hears(x.r, &x.s[s], READ);
    cached_row(&x, s, "b");
    cached_hears(&x, 0, "b");
    cached_end(&x);
}

static void read_that_a_write_overtakes_is_not_kept(void **state)
{
    (void)state;
    struct cached x;
    cached_begin(&x, RULES);
    cached_asks(&x, 0, 0);
    cached_say(&x, 1, WRITE);
    rig_toy_server(x.r, &x.s[1]);
    peer_hears(x.r, &x.s[1], WRITE);
    peer_say(&x.s[1], "ok write\ndone I\n");
    peer_hears(x.r, &x.c[1], "ok write\ndone I\n");
    cached_row(&x, 0, "old");
    cached_hears(&x, 0, "old");
    int64_t before = atomic_load(&rig_pool(x.r, 0)->shared->shared.servers);
    assert_int_equal(before, 2);
    cached_say(&x, 2, READ);
    int s = peer_pending(&x.s[0]) ? 0 : 1;
    peer_hears(x.r, &x.s[s], READ);
    cached_row(&x, s, "new");
    cached_hears(&x, 2, "new");
    cached_end(&x);
}

static void write_of_another_row_leaves_the_entry(void **state)
{
    (void)state;
    struct cached x;
    cached_begin(&x, RULES);
    cached_miss(&x, 0, 0, "a");
    cached_runs(&x, 1, 0, "Q UPDATE app.accounts SET v = 1 WHERE user_id = 6\n",
                "ok write\ndone I\n");
    cached_runs(&x, 1, 0, "Q UPDATE app.other SET v = 1\n", "ok write\ndone I\n");
    cached_hit(&x, 0, "a");
    cached_runs(&x, 1, 0, "Q UPDATE app.accounts SET v = 1\n", "ok write\ndone I\n");
    cached_miss(&x, 0, 0, "b");
    cached_end(&x);
}

static void write_in_a_transaction_counts_with_its_end(void **state)
{
    (void)state;
    struct cached x;
    cached_begin(&x, RULES);
    cached_miss(&x, 0, 0, "a");
    cached_runs(&x, 1, 0, "Q BEGIN\n", "ok tx\ndone T\n");
    cached_runs(&x, 1, 0, WRITE, "ok write\ndone T\n");
    cached_hit(&x, 0, "a");                                  /* nobody else sees it yet */
    cached_runs(&x, 1, 0, READ, "row b\nok read\ndone T\n"); /* but who wrote it does */
    cached_say(&x, 1, "Q COMMIT\n");
    peer_hears(x.r, &x.s[0], "Q COMMIT\n");
    cached_say(&x, 0, READ);
    rig_toy_server(x.r, &x.s[1]);
    peer_hears(x.r, &x.s[1], READ);
    cached_row(&x, 1, "b");
    cached_hears(&x, 0, "b");
    peer_say(&x.s[0], "ok tx\ndone I\n");
    peer_hears(x.r, &x.c[1], "ok tx\ndone I\n");
    cached_end(&x);
}

static void rolled_back_write_in_a_transaction_takes_nothing_but_a_hit(void **state)
{
    (void)state;
    struct cached x;
    cached_begin(&x, RULES);
    cached_miss(&x, 0, 0, "a");
    cached_runs(&x, 1, 0, "Q BEGIN\n", "ok tx\ndone T\n");
    cached_runs(&x, 1, 0, WRITE, "ok write\ndone T\n");
    cached_runs(&x, 1, 0, "Q ROLLBACK\n", "ok tx\ndone I\n");
    cached_miss(&x, 0, 0, "a");
    cached_hit(&x, 0, "a");
    cached_end(&x);
}

/* The statement may run on in the database. */
static void write_whose_server_is_lost_keeps_its_row_closed(void **state)
{
    (void)state;
    struct cached x;
    cached_begin(&x, RULES);
    cached_miss(&x, 0, 0, "a");
    cached_say(&x, 1, WRITE);
    peer_hears(x.r, &x.s[0], WRITE);
    peer_close(&x.s[0]);
    peer_hears_until(x.r, &x.c[1], "done I", NULL, 0);
    cached_say(&x, 0, READ);
    rig_toy_server(x.r, &x.s[1]);
    peer_hears(x.r, &x.s[1], READ);
    cached_row(&x, 1, "a");
    cached_hears(&x, 0, "a");
    cached_miss(&x, 0, 1, "b");
    rig_wait(x.r, 301 * USEC_PER_SEC);
    rig_settle(x.r);
    cached_miss(&x, 0, 1, "c");
    cached_hit(&x, 2, "c");
    cached_end(&x);
}

static void unknown_code_takes_everything(void **state)
{
    (void)state;
    struct cached x;
    cached_begin(&x, RULES);
    cached_miss(&x, 0, 0, "a");
    cached_runs(&x, 1, 0, "Q DO 'x'\n", "ok code\ndone I\n");
    cached_say(&x, 0, READ);
    rig_settle(x.r);
    if (!peer_pending(&x.s[0]))
        fail_msg("the database was not asked");
    cached_end(&x);
}

static void changed_definitions_stop_hits_until_the_catalog_is_read_again(void **state)
{
    (void)state;
    struct cached x;
    cached_begin(&x, RULES);
    cached_miss(&x, 0, 0, "a");
    cached_runs(&x, 1, 0, "Q CREATE TABLE app.third (a int)\n", "ok ddl\ndone I\n");
    peer_hears(x.r, &x.s[0], "state all locks temp cursors prepared listen\n");
    peer_say(&x.s[0], "done I\n");
    rig_settle(x.r);
    cached_say(&x, 0, READ);
    peer_hears_until(x.r, &x.s[0], "Q SELECT", NULL, 0); /* behind what the server is cleaned of */
    peer_say(&x.s[0], "done I\n");
    cached_row(&x, 0, "b");
    cached_hears(&x, 0, "b");
    cached_miss(&x, 0, 0, "c");
    cached_know_catalog(&x);
    cached_miss(&x, 0, 0, "d");
    cached_hit(&x, 0, "d");
    cached_end(&x);
}

static void catalog_that_was_asked_for_earlier_and_comes_later_is_dropped(void **state)
{
    (void)state;
    struct cached x;
    cached_begin(&x, RULES);
    uint32_t before = cached_definitions(&x);
    session_cache_retarget(rig_pool(x.r, 0));
    cached_know_catalog(&x);
    cached_miss(&x, 0, 0, "a");
    cached_hit(&x, 0, "a");
    const struct catalog *newer = rig_pool(x.r, 0)->catalog;
    cached_know_catalog_of(&x, before);
    assert_ptr_equal(rig_pool(x.r, 0)->catalog, newer);
    cached_hit(&x, 0, "a");
    cached_end(&x);
}

/* ---- when nothing is served ------------------------------------------------------------------ */

static void two_processes_serve_nothing(void **state)
{
    (void)state;
    struct cached x;
    cached_begin(&x, RULES);
    cached_miss(&x, 0, 0, "a");
    atomic_store(&x.r->process.shared.upgrading, true);
    cached_miss(&x, 0, 0, "b");
    atomic_store(&x.r->process.shared.upgrading, false);
    atomic_store(&x.r->process.shared.predecessor, true);
    cached_miss(&x, 0, 0, "c");
    cached_end(&x);
}

static void answer_to_a_query_from_before_an_upgrade_is_not_kept(void **state)
{
    (void)state;
    struct cached x;
    cached_begin(&x, RULES);
    cached_asks(&x, 1, 0);
    atomic_store(&x.r->process.shared.upgrading, true);
    cached_row(&x, 0, "a");
    cached_hears(&x, 1, "a");
    atomic_store(&x.r->process.shared.upgrading, false);
    cached_miss(&x, 0, 0, "b");
    cached_hit(&x, 0, "b");
    cached_end(&x);
}

static void other_rules_begin_without_entries(void **state)
{
    (void)state;
    struct cached x;
    cached_begin(&x, RULES);
    cached_miss(&x, 0, 0, "a");
    rig_reload(x.r, OTHER_RULES, NULL);
    cached_know_catalog(&x);
    cached_miss(&x, 0, 0, "b");
    cached_hit(&x, 0, "b");
    rig_reload(x.r, POOL, NULL);
    cached_miss(&x, 0, 0, "c");
    cached_miss(&x, 0, 0, "d");
    cached_end(&x);
}

static void another_primary_is_asked_anew(void **state)
{
    (void)state;
    struct cached x;
    cached_begin(&x, RULES);
    cached_miss(&x, 0, 0, "a");
    session_cache_forget(&x.r->process);
    cached_miss(&x, 0, 0, "b");
    session_cache_retarget(rig_pool(x.r, 0));
    cached_miss(&x, 0, 0, "c"); /* and the catalog may be another, so nothing is kept */
    cached_miss(&x, 0, 0, "d");
    cached_know_catalog(&x);
    cached_miss(&x, 0, 0, "e");
    cached_hit(&x, 0, "e");
    cached_end(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(second_read_needs_no_server),
        cmocka_unit_test(bound_value_and_constant_are_one_question),
        cmocka_unit_test(entry_ends_with_its_time),
        cmocka_unit_test(error_is_not_kept),
        cmocka_unit_test(those_who_ask_meanwhile_wait_and_look_again),
        cmocka_unit_test(waiting_client_that_leaves_disturbs_nobody),
        cmocka_unit_test(leader_whose_server_is_lost_lets_the_others_ask),
        cmocka_unit_test(nobody_waits_twice),
        cmocka_unit_test(write_takes_the_entry_before_it_is_answered),
        cmocka_unit_test(read_that_a_write_overtakes_is_not_kept),
        cmocka_unit_test(write_of_another_row_leaves_the_entry),
        cmocka_unit_test(write_in_a_transaction_counts_with_its_end),
        cmocka_unit_test(rolled_back_write_in_a_transaction_takes_nothing_but_a_hit),
        cmocka_unit_test(write_whose_server_is_lost_keeps_its_row_closed),
        cmocka_unit_test(unknown_code_takes_everything),
        cmocka_unit_test(changed_definitions_stop_hits_until_the_catalog_is_read_again),
        cmocka_unit_test(catalog_that_was_asked_for_earlier_and_comes_later_is_dropped),
        cmocka_unit_test(two_processes_serve_nothing),
        cmocka_unit_test(answer_to_a_query_from_before_an_upgrade_is_not_kept),
        cmocka_unit_test(other_rules_begin_without_entries),
        cmocka_unit_test(another_primary_is_asked_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
