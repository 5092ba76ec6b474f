/* test_core_share_rules.c - the rules of sharing one by one: each thing that forbids a request to
 * stand behind others, or a server to be shared, on the toy codec. */
#include "base/base.h"

#include "test/unit/support/share_rig.h"

#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define ONE_SERVER "default_pool_size = 1\n"
#define H0 "h0000000000001000"

static struct client *client_of(struct share_rig *x, int i)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &rig_worker(x->r)->clients) {
        if (i-- == 0)
            return container_of(it, struct client, all);
    }
    fail();
    return NULL;
}

static struct server *server_of(struct share_rig *x)
{
    return container_of(list_first(&rig_worker(x->r)->servers), struct server, all);
}

/* ---- which servers --------------------------------------------------------------------------- */

static void is_used(struct server *s, bool on)
{
    if (on)
        server_push(s, FLIGHT_CLIENT, NULL);
    else
        server_pop(s);
}

static void has_half_a_request(struct server *s, bool on)
{
    s->half_request = on;
}

static void is_in_doubt(struct server *s, bool on)
{
    s->doubtful = on;
}

static void listens(struct server *s, bool on)
{
    s->shared_listener = on;
}

static void may_be_hit_by_a_cancel(struct server *s, bool on)
{
    s->cancels = on;
}

static void is_in_a_transaction(struct server *s, bool on)
{
    s->tx = on ? TX_OPEN : TX_IDLE;
}

static void must_be_asked(struct server *s, bool on)
{
    s->asks = on ? ASK_LOCKS : 0;
}

static void has_a_pin(struct server *s, bool on)
{
    s->pins = on ? PIN_TEMP : 0;
}

static void must_be_cleaned(struct server *s, bool on)
{
    s->reset.due = on;
}

static void is_held(struct server *s, bool on)
{
    struct list *first = list_first(&s->conn.worker->clients);
    s->client = on ? container_of(first, struct client, all) : NULL;
}

static void is_tainted(struct server *s, bool on)
{
    s->tainted_by = on;
}

static struct stmt *a_statement(struct server *s)
{
    struct stmt_key k = {STR("select 1"), STR(""), 0, false};
    return stmt_find(&s->conn.worker->stmts, &k);
}

static void has_a_name_of_a_client(struct server *s, bool on)
{
    if (on) {
        struct stmt *stmt = a_statement(s);
        (void)stmt_set_add_named(&s->stmts, stmt, STR("a"));
        stmt_put(&stmt);
    } else {
        stmt_set_remove(&s->stmts, stmt_set_find_named(&s->stmts, STR("a")));
    }
}

static void server_with_anything_on_it_is_not_shared(void **state)
{
    (void)state;
    static void (*const rows[])(struct server *, bool) = {
        is_used,       has_half_a_request,    is_in_doubt, listens,         may_be_hit_by_a_cancel,
        must_be_asked, is_in_a_transaction,   has_a_pin,   must_be_cleaned, is_held,
        is_tainted,    has_a_name_of_a_client};
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 1);
    struct server *s = server_of(&x);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_true(server_may_share(s, s->vars, NULL));
        rows[i](s, true);
        assert_false(server_may_share(s, s->vars, NULL));
        rows[i](s, false);
    }
    assert_true(server_may_share(s, s->vars, NULL));
    struct varset *other = varset_get(s->vars);
    varset_change(&other, STR("color"), STR("red"));
    assert_false(server_may_share(s, other, NULL));
    varset_put(&other);
    share_round(&x, "0");
    share_free(&x);
}

/* What a neighbour prepares may fail; what an answered request has prepared is there. */
static void statement_that_is_being_prepared_is_not_shared(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 1);
    struct server *s = server_of(&x);
    struct stmt *stmt = a_statement(s);
    assert_true(server_may_share(s, s->vars, stmt)); /* it would be prepared first */
    struct stmt_entry *e = stmt_set_add(&s->stmts, stmt, conn_wire(&s->conn));
    e->flight = s->flights_done + 1;
    assert_false(server_may_share(s, s->vars, stmt));
    e->flight = s->flights_done;
    assert_true(server_may_share(s, s->vars, stmt));
    stmt_set_remove(&s->stmts, e);
    stmt_put(&stmt);
    share_free(&x);
}

/* ---- which requests -------------------------------------------------------------------------- */

/* The request, known to be short, is not sent while client 0's read is in flight. */
static void waits_behind_a_read(struct share_rig *x, const char *text)
{
    share_ask(x, "0");
    share_heard(x, 0, "0");
    peer_say(&x->c[1], text);
    peer_hears_nothing(x->r, &x->s[0]);
    share_answer(x, 0, "0");
    share_answered(x, "0");
}

static void large_request_stands_alone(void **state)
{
    (void)state;
    static char text[4200] = "Q select '";
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 2);
    memset(text + 10, 'a', 4100);
    memcpy(text + 4110, "'\n", 3);
    waits_behind_a_read(&x, text);
    peer_hears(x.r, &x.s[0], text);
    assert_int_equal(server_front(server_of(&x))->copy.n, 0); /* nor could it be sent again */
    share_answer(&x, 0, "1");
    share_answered(&x, "1");
    share_free(&x);
}

static void listening_client_stands_alone(void **state)
{
    (void)state;
    static int something;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 2);
    share_ask(&x, "0");
    share_heard(&x, 0, "0");
    client_of(&x, 1)->listen = (struct listen_client *)(void *)&something;
    share_ask(&x, "1");
    peer_hears_nothing(x.r, &x.s[0]);
    client_of(&x, 1)->listen = NULL;
    share_answer(&x, 0, "0");
    share_heard(&x, 0, "1");
    share_answer(&x, 0, "1");
    share_answered(&x, "01");
    share_free(&x);
}

/* Which name it got is known only when it has been confirmed. */
static void batch_that_gives_a_name_stands_alone(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 2);
    waits_behind_a_read(&x, "P a select '1'\nB a\nE 0\nS\n");
    peer_hears(x.r, &x.s[0], "P " H0 " select '1'\nB " H0 "\nE 0\nS\n");
    peer_say(&x.s[0], "parsed\nbound\nrow 1\nok read\ndone I\n");
    peer_hears(x.r, &x.c[1], "parsed\nbound\nrow 1\nok read\ndone I\n");
    share_free(&x);
}

static void batch_of_two_portals_stands_alone(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 2);
    waits_behind_a_read(&x, "P - select '1'\nB - 1\nB - 2\nE 0\nS\n");
    peer_hears(x.r, &x.s[0], "P - select '1'\nB - 1\nB - 2\nE 0\nS\n");
    share_free(&x);
}

/* Those behind it would wait for its reading. */
static void client_that_has_not_read_stands_alone(void **state)
{
    (void)state;
    static char much[300 * 1024];
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 2);
    share_ask(&x, "0");
    share_heard(&x, 0, "0");
    outq_put(&client_of(&x, 1)->conn.out, much, sizeof(much));
    share_ask(&x, "1");
    peer_hears_nothing(x.r, &x.s[0]);
    outq_clear(&client_of(&x, 1)->conn.out);
    share_answer(&x, 0, "0");
    share_heard(&x, 0, "1");
    share_answer(&x, 0, "1");
    share_answered(&x, "01");
    share_free(&x);
}

/* Two statements, of which one is executed. */
static void batch_about_two_statements_stands_alone(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 2);
    peer_say(&x.c[1], "P a select '2'\nS\n");
    peer_hears(x.r, &x.s[0], "P " H0 " select '2'\nS\n");
    peer_say(&x.s[0], "parsed\ndone I\n");
    peer_hears(x.r, &x.c[1], "parsed\ndone I\n");
    waits_behind_a_read(&x, "D a\nP - select '1'\nB -\nE 0\nS\n");
    peer_hears(x.r, &x.s[0], "D " H0 "\nP - select '1'\nB -\nE 0\nS\n");
    peer_say(&x.s[0], "described\nparsed\nbound\nrow 1\nok read\ndone I\n");
    peer_hears(x.r, &x.c[1], "described\nparsed\nbound\nrow 1\nok read\ndone I\n");
    share_free(&x);
}

/* A statement that was prepared by text is under the client's own spelling on one server only. */
static void statement_prepared_by_text_stands_alone(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 2);
    peer_say(&x.c[1], "Q prepare a as select '1'\n");
    peer_hears(x.r, &x.s[0], "Q prepare a as select '1'\n");
    peer_say(&x.s[0], "ok prepare\ndone I\n");
    peer_hears(x.r, &x.c[1], "ok prepare\ndone I\n");
    peer_say(&x.c[1], "B a\nE 0\nS\n");
    peer_hears_until(x.r, &x.s[0], "S", NULL, 0);
    assert_int_equal(server_of(&x)->state, SV_ACTIVE);
    assert_int_equal(server_back(server_of(&x))->copy.n, 0);
    share_free(&x);
}

/* Whether it is short is looked at again when its turn has come. */
static void statement_that_became_slow_while_it_waited_gets_no_place(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER "multiplex_depth = 2\n", 3);
    share_ask(&x, "012");
    share_heard(&x, 0, "01");
    for (int i = 0; i < 20; i++)
        pace_note(rig_pool(x.r, 0)->share.pace, server_front(server_of(&x))->digest,
                  200 * SHARE_MSEC);
    share_answer(&x, 0, "0");
    share_answered(&x, "0");
    peer_hears_nothing(x.r, &x.s[0]);
    share_answer(&x, 0, "1");
    share_heard(&x, 0, "2");
    share_free(&x);
}

/* ---- what is kept ---------------------------------------------------------------------------- */

static void read_in_a_transaction_is_not_kept(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 1);
    peer_say(&x.c[0], "Q begin\n");
    peer_hears(x.r, &x.s[0], "Q begin\n");
    peer_say(&x.s[0], "ok tx\ndone T\n");
    peer_hears(x.r, &x.c[0], "ok tx\ndone T\n");
    share_ask(&x, "0");
    share_heard(&x, 0, "0");
    assert_int_equal(server_front(server_of(&x))->copy.n, 0);
    share_free(&x);
}

/* Its time would be that of what it was sent behind, too. */
static void read_sent_in_advance_is_not_kept(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 1);
    peer_say(&x.c[0], "Q update t set a = 1\nQ select '0'\n");
    peer_hears(x.r, &x.s[0], "Q update t set a = 1\nQ select '0'\n");
    assert_int_equal(server_back(server_of(&x))->copy.n, 0);
    share_free(&x);
}

static void read_of_a_client_whose_session_is_its_own_is_not_kept(void **state)
{
    (void)state;
    struct share_rig x;
    share_new(&x, 1, ONE_SERVER, 1);
    client_of(&x, 0)->passthrough = true; /* it came before a reload changed the mode */
    share_ask(&x, "0");
    share_heard(&x, 0, "0");
    assert_int_equal(server_of(&x)->state, SV_ACTIVE);
    assert_int_equal(server_front(server_of(&x))->copy.n, 0);
    share_free(&x);
}

/* ---- when the others are taken away ---------------------------------------------------------- */

/* Its server still works for those who were taken away: nothing is sent behind them. */
static void next_request_of_the_slow_one_waits_for_its_answer(void **state)
{
    (void)state;
    struct share_rig x;
    share_three(&x, ONE_SERVER);
    rig_wait(x.r, 40 * SHARE_MSEC);
    assert_int_equal(share_stats(&x)->unshared, 1);
    peer_say(&x.c[0], "Q update t set a = 1\n");
    share_silent(&x, "012");
    peer_hears_nothing(x.r, &x.s[0]);
    share_answer(&x, 0, "0");
    share_answered(&x, "0");
    peer_hears_nothing(x.r, &x.s[0]);
    share_answer(&x, 0, "12");
    for (int i = 1; i < 3; i++) { /* they have waited longer */
        char who[2] = {(char)('0' + i), '\0'};
        share_heard(&x, 0, who);
        share_answer(&x, 0, who);
        share_answered(&x, who);
    }
    peer_hears(x.r, &x.s[0], "Q update t set a = 1\n");
    share_free(&x);
}

/* How long a client takes to read says nothing of the statement. */
static void slow_reader_does_not_make_its_statement_slow(void **state)
{
    (void)state;
    static const char row[] = "row 0123456789012345678901234567890123456789012345678901234567890\n";
    struct share_rig x;
    share_new(&x, 1, SHARE_TWO_SERVERS, 4);
    share_ask(&x, "01");
    share_heard(&x, 0, "01");
    size_t rows = 0;
    for (; rows < 1000000 && share_stats(&x)->unshared == 0; rows++) {
        ssize_t n = 0;
        while (n < (ssize_t)sizeof(row) - 1) {
            ssize_t k = send(x.s[0].fd, row + n, sizeof(row) - 1 - (size_t)n, MSG_NOSIGNAL);
            n += MAX(k, 0);
            rig_turn(x.r);
        }
    }
    share_elsewhere(&x, "1");
    rig_wait(x.r, (usec_t)USEC_PER_SEC);
    for (size_t left = rows * (sizeof(row) - 1); left > 0;) { /* now it reads */
        char text[4096];
        ssize_t n = recv(x.c[0].fd, text, MIN(left, sizeof(text)), 0);
        left -= (size_t)MAX(n, 0);
        rig_turn(x.r);
    }
    peer_say(&x.s[0], "ok read\ndone I\n");
    peer_hears(x.r, &x.c[0], "ok read\ndone I\n");
    uint64_t before = share_stats(&x)->shared;
    share_ask(&x, "012");
    assert_true(share_stats(&x)->shared > before);
    share_free(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(server_with_anything_on_it_is_not_shared),
        cmocka_unit_test(statement_that_is_being_prepared_is_not_shared),
        cmocka_unit_test(large_request_stands_alone),
        cmocka_unit_test(listening_client_stands_alone),
        cmocka_unit_test(batch_that_gives_a_name_stands_alone),
        cmocka_unit_test(batch_of_two_portals_stands_alone),
        cmocka_unit_test(client_that_has_not_read_stands_alone),
        cmocka_unit_test(batch_about_two_statements_stands_alone),
        cmocka_unit_test(statement_prepared_by_text_stands_alone),
        cmocka_unit_test(statement_that_became_slow_while_it_waited_gets_no_place),
        cmocka_unit_test(next_request_of_the_slow_one_waits_for_its_answer),
        cmocka_unit_test(read_in_a_transaction_is_not_kept),
        cmocka_unit_test(read_sent_in_advance_is_not_kept),
        cmocka_unit_test(read_of_a_client_whose_session_is_its_own_is_not_kept),
        cmocka_unit_test(slow_reader_does_not_make_its_statement_slow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
