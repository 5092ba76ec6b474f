/* test_core_cache.c - the result cache between clients and servers, on the toy codec: what is
 * answered without a server, what is kept, and when a write takes it away. */
#include "base/base.h"

#include "base/clock.h"
#include "proxy/session_cache.h"
#include "test/unit/support/core_rig.h"
#include "test/unit/support/toy_wire.h"

#include <stdatomic.h>
#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define CLIENTS 4
#define SERVERS 3
#define MSEC ((usec_t)1000)

/* servers are left alone, however long a test pretends to wait */
#define POOL                                                                                       \
    "default_pool_size = 3\nmultiplex_depth = 1\nserver_check_delay = 100000\n"                    \
    "server_idle_timeout = 0\nserver_lifetime = 0\n"
#define RULES                                                                                      \
    POOL "[cache]\n[cache one]\nquery = SELECT v FROM app.accounts WHERE user_id = $1\n"           \
         "key = one:$1\nttl = 100\n"
#define OTHER_RULES                                                                                \
    RULES "[cache two]\nquery = SELECT w FROM app.accounts WHERE user_id = $1\nkey = two:$1\n"

struct cached { /* a rig with clients of the first worker */
    struct rig *r;
    struct peer c[CLIENTS], s[SERVERS];
};

/* As if the catalog had been asked for when definitions were at that number; the toy codec has
 * none. */
static void know_catalog_of(struct cached *x, uint32_t definitions)
{
    static const char *const rows[][4] = {
        {"r", "app", "accounts", "rws"},         {"r", "app", "other", "rws"},
        {"relation", "app", "accounts", "1 r "}, {"relation", "app", "other", "2 r "},
        {"column", "1", "user_id", "int8"},      {"end", "", "", ""}};
    struct db_shared *db = rig_pool(x->r, 0)->shared->db;
    struct catalog *c = catalog_new(1);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct str cols[4] = {str_of(rows[i][0]), str_of(rows[i][1]), str_of(rows[i][2]),
                              str_of(rows[i][3])};
        assert_int_equal(catalog_add_row(c, cols, 4, NULL), ST_OK);
    }
    registry_set_catalog(x->r->process.registry, db, c, definitions);
    for (unsigned i = 0; i < x->r->process.nworkers; i++)
        if (rig_pool(x->r, i) != NULL)
            catalog_wanted(rig_pool(x->r, i));
}

static uint32_t definitions_of(struct cached *x)
{
    return atomic_load(&rig_pool(x->r, 0)->shared->db->shared.definitions);
}

static void know_catalog(struct cached *x)
{
    know_catalog_of(x, definitions_of(x));
}

static void begin(struct cached *x)
{
    *x = (struct cached){0};
    clock_test_stop();
    for (int i = 0; i < CLIENTS; i++)
        x->c[i].fd = -1;
    for (int i = 0; i < SERVERS; i++)
        x->s[i].fd = -1;
    x->r = rig_new(&toy_wire, 1, RULES, NULL);
    rig_toy_client(x->r, 0, &x->c[0], &x->s[0]);
    for (int i = 1; i < CLIENTS; i++)
        rig_toy_client(x->r, 0, &x->c[i], NULL);
    know_catalog(x);
}

static void end(struct cached *x)
{
    for (int i = 0; i < CLIENTS; i++)
        peer_close(&x->c[i]);
    for (int i = 0; i < SERVERS; i++)
        peer_close(&x->s[i]);
    rig_free(&x->r);
}

#define READ "Q SELECT v FROM app.accounts WHERE user_id = 5\n"
#define WRITE "Q UPDATE app.accounts SET v = 1 WHERE user_id = 5\n"

static void say(struct cached *x, int c, const char *text)
{
    peer_say(&x->c[c], text);
    rig_settle(x->r);
}

/* Client c asks for row 5, and the database is asked: s hears it. */
static void asks(struct cached *x, int c, int s)
{
    say(x, c, READ);
    peer_hears(x->r, &x->s[s], READ);
}

static void row(struct cached *x, int s, const char *value)
{
    char text[64];
    snprintf(text, sizeof(text), "row %s\nok read\ndone I\n", value);
    peer_say(&x->s[s], text);
    rig_settle(x->r);
}

static void hears(struct cached *x, int c, const char *value)
{
    char text[64];
    snprintf(text, sizeof(text), "row %s\nok read\ndone I\n", value);
    peer_hears(x->r, &x->c[c], text);
}

/* The answer is the cache's: no server hears of it. */
static void hit(struct cached *x, int c, const char *value)
{
    say(x, c, READ);
    hears(x, c, value);
    for (int i = 0; i < SERVERS; i++)
        if (x->s[i].fd >= 0)
            peer_hears_nothing(x->r, &x->s[i]);
}

static void miss(struct cached *x, int c, int s, const char *value)
{
    asks(x, c, s);
    row(x, s, value);
    hears(x, c, value);
}

static void runs(struct cached *x, int c, int s, const char *text, const char *answer)
{
    say(x, c, text);
    peer_hears(x->r, &x->s[s], text);
    peer_say(&x->s[s], answer);
    peer_hears(x->r, &x->c[c], answer);
}

/* ---- hits ------------------------------------------------------------------------------------ */

static void second_read_needs_no_server(void **state)
{
    (void)state;
    struct cached x;
    begin(&x);
    miss(&x, 0, 0, "a");
    hit(&x, 0, "a");
    hit(&x, 1, "a");
    assert_int_equal(rig_pool(x.r, 0)->nidle, 1);
    end(&x);
}

static void bound_value_and_constant_are_one_question(void **state)
{
    (void)state;
    struct cached x;
    static const char ask[] = "P p SELECT v FROM app.accounts WHERE user_id = $1\nB p 5\nE 0\nS\n";
    begin(&x);
    miss(&x, 0, 0, "a");
    say(&x, 1, ask);
    peer_hears(x.r, &x.c[1], "parsed\nbound\nrow a\nok read\ndone I\n");
    say(&x, 1, "B p 5\nE 0\nS\n"); /* the name is known, though no server has heard of it */
    peer_hears(x.r, &x.c[1], "bound\nrow a\nok read\ndone I\n");
    say(&x, 1, "B p 6\nE 0\nS\n");
    peer_hears_until(x.r, &x.s[0], "S", NULL, 0);
    row(&x, 0, "b");
    end(&x);
}

static void entry_ends_with_its_time(void **state)
{
    (void)state;
    struct cached x;
    begin(&x);
    miss(&x, 0, 0, "a");
    rig_wait(x.r, 80 * USEC_PER_SEC);
    hit(&x, 0, "a");
    rig_wait(x.r, 21 * USEC_PER_SEC);
    miss(&x, 0, 0, "b");
    end(&x);
}

static void error_is_not_kept(void **state)
{
    (void)state;
    struct cached x;
    begin(&x);
    for (int i = 0; i < 2; i++)
        runs(&x, 0, 0, READ, "err other x\ndone I\n");
    end(&x);
}

/* ---- one query for all who ask --------------------------------------------------------------- */

static void those_who_ask_meanwhile_wait_and_look_again(void **state)
{
    (void)state;
    struct cached x;
    begin(&x);
    asks(&x, 0, 0);
    say(&x, 1, READ);
    say(&x, 2, READ);
    rig_accepts_nothing(x.r);
    row(&x, 0, "a");
    for (int i = 0; i < 3; i++)
        hears(&x, i, "a");
    peer_hears_nothing(x.r, &x.s[0]);
    end(&x);
}

static void waiting_client_that_leaves_disturbs_nobody(void **state)
{
    (void)state;
    struct cached x;
    begin(&x);
    asks(&x, 0, 0);
    say(&x, 1, READ);
    say(&x, 2, READ);
    peer_close(&x.c[1]);
    rig_settle(x.r);
    row(&x, 0, "a");
    hears(&x, 0, "a");
    hears(&x, 2, "a");
    end(&x);
}

/* Its query goes on in the database, and nobody takes its answer: those who waited ask. */
static void leader_whose_server_is_lost_lets_the_others_ask(void **state)
{
    (void)state;
    struct cached x;
    begin(&x);
    asks(&x, 0, 0);
    say(&x, 1, READ);
    peer_close(&x.s[0]);
    peer_hears_until(x.r, &x.c[0], "done I", NULL, 0);
    rig_toy_server(x.r, &x.s[1]);
    peer_hears(x.r, &x.s[1], READ);
    row(&x, 1, "b");
    hears(&x, 1, "b");
    end(&x);
}

/* An answer that could not be kept is not waited for again. */
static void nobody_waits_twice(void **state)
{
    (void)state;
    struct cached x;
    begin(&x);
    asks(&x, 0, 0);
    say(&x, 1, READ);
    peer_say(&x.s[0], "err other x\ndone I\n");
    peer_hears(x.r, &x.c[0], "err other x\ndone I\n");
    peer_hears(x.r, &x.s[0], READ);
    say(&x, 2, READ); /* waits for the second one now */
    row(&x, 0, "b");
    hears(&x, 1, "b");
    hears(&x, 2, "b");
    end(&x);
}

/* ---- writes ---------------------------------------------------------------------------------- */

static void write_takes_the_entry_before_it_is_answered(void **state)
{
    (void)state;
    struct cached x;
    begin(&x);
    miss(&x, 0, 0, "a");
    say(&x, 1, WRITE);
    peer_hears(x.r, &x.s[0], WRITE);
    say(&x, 0, READ); /* the database says what is true meanwhile */
    rig_toy_server(x.r, &x.s[1]);
    peer_hears(x.r, &x.s[1], READ);
    row(&x, 1, "a");
    hears(&x, 0, "a");
    peer_say(&x.s[0], "ok write\ndone I\n");
    peer_hears(x.r, &x.c[1], "ok write\ndone I\n");
    say(&x, 0, READ); /* what it said then was not kept */
    rig_settle(x.r);
    int s = rig_pool(x.r, 0)->nidle == 1 && peer_pending(&x.s[0]) ? 0 : 1;
    peer_hears(x.r, &x.s[s], READ);
    row(&x, s, "b");
    hears(&x, 0, "b");
    end(&x);
}

static void read_that_a_write_overtakes_is_not_kept(void **state)
{
    (void)state;
    struct cached x;
    begin(&x);
    asks(&x, 0, 0);
    say(&x, 1, WRITE);
    rig_toy_server(x.r, &x.s[1]);
    peer_hears(x.r, &x.s[1], WRITE);
    peer_say(&x.s[1], "ok write\ndone I\n");
    peer_hears(x.r, &x.c[1], "ok write\ndone I\n");
    row(&x, 0, "old");
    hears(&x, 0, "old");
    int64_t before = atomic_load(&rig_pool(x.r, 0)->shared->shared.servers);
    assert_int_equal(before, 2);
    say(&x, 2, READ);
    int s = peer_pending(&x.s[0]) ? 0 : 1;
    peer_hears(x.r, &x.s[s], READ);
    row(&x, s, "new");
    hears(&x, 2, "new");
    end(&x);
}

static void write_of_another_row_leaves_the_entry(void **state)
{
    (void)state;
    struct cached x;
    begin(&x);
    miss(&x, 0, 0, "a");
    runs(&x, 1, 0, "Q UPDATE app.accounts SET v = 1 WHERE user_id = 6\n", "ok write\ndone I\n");
    runs(&x, 1, 0, "Q UPDATE app.other SET v = 1\n", "ok write\ndone I\n");
    hit(&x, 0, "a");
    runs(&x, 1, 0, "Q UPDATE app.accounts SET v = 1\n", "ok write\ndone I\n");
    miss(&x, 0, 0, "b");
    end(&x);
}

static void write_in_a_transaction_counts_with_its_end(void **state)
{
    (void)state;
    struct cached x;
    begin(&x);
    miss(&x, 0, 0, "a");
    runs(&x, 1, 0, "Q BEGIN\n", "ok tx\ndone T\n");
    runs(&x, 1, 0, WRITE, "ok write\ndone T\n");
    hit(&x, 0, "a");                                  /* nobody else sees it yet */
    runs(&x, 1, 0, READ, "row b\nok read\ndone T\n"); /* but who wrote it does */
    say(&x, 1, "Q COMMIT\n");
    peer_hears(x.r, &x.s[0], "Q COMMIT\n");
    say(&x, 0, READ);
    rig_toy_server(x.r, &x.s[1]);
    peer_hears(x.r, &x.s[1], READ);
    row(&x, 1, "b");
    hears(&x, 0, "b");
    peer_say(&x.s[0], "ok tx\ndone I\n");
    peer_hears(x.r, &x.c[1], "ok tx\ndone I\n");
    end(&x);
}

static void rolled_back_write_in_a_transaction_takes_nothing_but_a_hit(void **state)
{
    (void)state;
    struct cached x;
    begin(&x);
    miss(&x, 0, 0, "a");
    runs(&x, 1, 0, "Q BEGIN\n", "ok tx\ndone T\n");
    runs(&x, 1, 0, WRITE, "ok write\ndone T\n");
    runs(&x, 1, 0, "Q ROLLBACK\n", "ok tx\ndone I\n");
    miss(&x, 0, 0, "a");
    hit(&x, 0, "a");
    end(&x);
}

/* The statement may run on in the database. */
static void write_whose_server_is_lost_keeps_its_row_closed(void **state)
{
    (void)state;
    struct cached x;
    begin(&x);
    miss(&x, 0, 0, "a");
    say(&x, 1, WRITE);
    peer_hears(x.r, &x.s[0], WRITE);
    peer_close(&x.s[0]);
    peer_hears_until(x.r, &x.c[1], "done I", NULL, 0);
    say(&x, 0, READ);
    rig_toy_server(x.r, &x.s[1]);
    peer_hears(x.r, &x.s[1], READ);
    row(&x, 1, "a");
    hears(&x, 0, "a");
    miss(&x, 0, 1, "b");
    rig_wait(x.r, 301 * USEC_PER_SEC);
    rig_settle(x.r);
    miss(&x, 0, 1, "c");
    hit(&x, 2, "c");
    end(&x);
}

static void unknown_code_takes_everything(void **state)
{
    (void)state;
    struct cached x;
    begin(&x);
    miss(&x, 0, 0, "a");
    runs(&x, 1, 0, "Q DO 'x'\n", "ok code\ndone I\n");
    say(&x, 0, READ);
    rig_settle(x.r);
    if (!peer_pending(&x.s[0]))
        fail_msg("the database was not asked");
    end(&x);
}

static void changed_definitions_stop_hits_until_the_catalog_is_read_again(void **state)
{
    (void)state;
    struct cached x;
    begin(&x);
    miss(&x, 0, 0, "a");
    runs(&x, 1, 0, "Q CREATE TABLE app.third (a int)\n", "ok ddl\ndone I\n");
    peer_hears(x.r, &x.s[0], "state all locks temp cursors prepared listen\n");
    peer_say(&x.s[0], "done I\n");
    rig_settle(x.r);
    say(&x, 0, READ);
    peer_hears_until(x.r, &x.s[0], "Q SELECT", NULL, 0); /* behind what the server is cleaned of */
    peer_say(&x.s[0], "done I\n");
    row(&x, 0, "b");
    hears(&x, 0, "b");
    miss(&x, 0, 0, "c");
    know_catalog(&x);
    miss(&x, 0, 0, "d");
    hit(&x, 0, "d");
    end(&x);
}

static void catalog_that_was_asked_for_earlier_and_comes_later_is_dropped(void **state)
{
    (void)state;
    struct cached x;
    begin(&x);
    uint32_t before = definitions_of(&x);
    session_cache_retarget(rig_pool(x.r, 0));
    know_catalog(&x);
    miss(&x, 0, 0, "a");
    hit(&x, 0, "a");
    const struct catalog *newer = rig_pool(x.r, 0)->catalog;
    know_catalog_of(&x, before);
    assert_ptr_equal(rig_pool(x.r, 0)->catalog, newer);
    hit(&x, 0, "a");
    end(&x);
}

/* ---- when nothing is served ------------------------------------------------------------------ */

static void two_processes_serve_nothing(void **state)
{
    (void)state;
    struct cached x;
    begin(&x);
    miss(&x, 0, 0, "a");
    atomic_store(&x.r->process.shared.upgrading, true);
    miss(&x, 0, 0, "b");
    atomic_store(&x.r->process.shared.upgrading, false);
    atomic_store(&x.r->process.shared.predecessor, true);
    miss(&x, 0, 0, "c");
    end(&x);
}

static void answer_to_a_query_from_before_an_upgrade_is_not_kept(void **state)
{
    (void)state;
    struct cached x;
    begin(&x);
    asks(&x, 1, 0);
    atomic_store(&x.r->process.shared.upgrading, true);
    row(&x, 0, "a");
    hears(&x, 1, "a");
    atomic_store(&x.r->process.shared.upgrading, false);
    miss(&x, 0, 0, "b");
    hit(&x, 0, "b");
    end(&x);
}

static void other_rules_begin_without_entries(void **state)
{
    (void)state;
    struct cached x;
    begin(&x);
    miss(&x, 0, 0, "a");
    rig_reload(x.r, OTHER_RULES, NULL);
    know_catalog(&x);
    miss(&x, 0, 0, "b");
    hit(&x, 0, "b");
    rig_reload(x.r, POOL, NULL);
    miss(&x, 0, 0, "c");
    miss(&x, 0, 0, "d");
    end(&x);
}

static void another_primary_is_asked_anew(void **state)
{
    (void)state;
    struct cached x;
    begin(&x);
    miss(&x, 0, 0, "a");
    session_cache_forget(&x.r->process);
    miss(&x, 0, 0, "b");
    session_cache_retarget(rig_pool(x.r, 0));
    miss(&x, 0, 0, "c"); /* and the catalog may be another, so nothing is kept */
    miss(&x, 0, 0, "d");
    know_catalog(&x);
    miss(&x, 0, 0, "e");
    hit(&x, 0, "e");
    end(&x);
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
