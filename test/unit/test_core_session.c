/* test_core_session.c - clients and servers bound for a transaction, on the toy codec: who hears
 * what, what is put in front of a request, what waits for what, and what happens when somebody
 * leaves. */
#include "base/base.h"

#include "proxy/session.h"
#include "test/unit/support/core_rig.h"
#include "test/unit/support/toy_wire.h"

#include <sys/socket.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define ONE_SERVER "default_pool_size = 1\n"

static struct rig *rig(const char *options)
{
    return rig_new(&toy_wire, 1, options, NULL);
}

static void leave(struct rig *r, struct peer *a, struct peer *b)
{
    peer_close(a);
    if (b != NULL)
        peer_close(b);
    rig_free(&r);
}

static struct server *first_server(struct rig *r)
{
    struct list *l = list_first(&rig_worker(r)->servers);
    assert_non_null(l);
    return container_of(l, struct server, all);
}

/* ---- requests -------------------------------------------------------------------------------- */

static void answers_go_to_the_client_that_asked(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER);
    struct peer a, b, s;
    rig_toy_client(r, 0, &a, &s);
    rig_toy_client(r, 0, &b, NULL);
    peer_say(&a, "Q select 'a'\n");
    rig_settle(r);
    peer_say(&b, "Q select 'b'\n");
    peer_hears(r, &s, "Q select 'a'\n"); /* one at a time */
    peer_say(&s, "row a\nok read\n");
    peer_hears(r, &a, "row a\nok read\n"); /* at once, not at the end */
    peer_hears_nothing(r, &b);
    peer_say(&s, "done I\n");
    peer_hears(r, &a, "done I\n");
    peer_hears(r, &s, "Q select 'b'\n");
    peer_say(&s, "row b\nok read\ndone I\n");
    peer_hears(r, &b, "row b\nok read\ndone I\n");
    peer_hears_nothing(r, &a);
    peer_close(&b);
    leave(r, &a, &s);
}

static void request_is_understood_at_every_split(void **state)
{
    (void)state;
    static const char text[] = "Q select 1\nP - select 2\nB -\nE 0\nS\n";
    struct rig *r = rig(ONE_SERVER);
    struct peer c, s;
    rig_toy_client(r, 0, &c, &s);
    for (size_t at = 1; at < sizeof(text) - 1; at++) {
        peer_say_bytes(&c, text, at);
        rig_settle(r);
        peer_say_bytes(&c, text + at, sizeof(text) - 1 - at);
        peer_hears(r, &s, text);
        peer_say(&s, "row 1\nok read\ndone I\nparsed\nbound\nrow 2\nok read\ndone I\n");
        peer_hears(r, &c, "row 1\nok read\ndone I\nparsed\nbound\nrow 2\nok read\ndone I\n");
    }
    leave(r, &c, &s);
}

static void answer_is_forwarded_at_every_split(void **state)
{
    (void)state;
    static const char text[] = "note hm\nrow a|b\nok read\nvar zone utc\ndone I\n";
    struct rig *r = rig(ONE_SERVER);
    struct peer c, s;
    rig_toy_client(r, 0, &c, &s);
    for (size_t at = 1; at < sizeof(text) - 1; at++) {
        peer_say(&c, "Q select 1\n");
        peer_hears(r, &s, "Q select 1\n");
        peer_say_bytes(&s, text, at);
        rig_settle(r);
        peer_say_bytes(&s, text + at, sizeof(text) - 1 - at);
        peer_hears(r, &c, "note hm\nrow a|b\nok read\ndone I\n"); /* nothing new in the setting */
    }
    leave(r, &c, &s);
}

static void requests_sent_in_advance_are_all_passed_on_in_one_transaction(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER);
    struct peer c, s;
    rig_toy_client(r, 0, &c, &s);
    peer_say(&c, "Q select 1\nQ select 2\nQ select 3\n");
    peer_hears(r, &s, "Q select 1\nQ select 2\nQ select 3\n");
    peer_say(&s, "row 1\ndone I\nrow 2\ndone I\nerr other x\ndone I\n");
    peer_hears(r, &c, "row 1\ndone I\nrow 2\ndone I\nerr other x\ndone I\n");
    rig_toy_ask(r, &c, &s);
    leave(r, &c, &s);
}

static void lone_end_of_a_request_needs_no_server(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER);
    struct peer c, s;
    rig_toy_client(r, 0, &c, &s);
    peer_say(&c, "S\n");
    peer_hears(r, &c, "done I\n");
    peer_hears_nothing(r, &s);
    leave(r, &c, &s);
}

static void open_transaction_keeps_its_server(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER);
    struct peer a, b, s;
    rig_toy_client(r, 0, &a, &s);
    rig_toy_client(r, 0, &b, NULL);
    peer_say(&a, "Q begin\n");
    peer_hears(r, &s, "Q begin\n");
    peer_say(&s, "ok tx\ndone T\n");
    peer_hears(r, &a, "ok tx\ndone T\n");
    peer_say(&b, "Q select 2\n");
    peer_hears_nothing(r, &s);
    peer_say(&a, "Q commit\n");
    peer_hears(r, &s, "Q commit\n");
    peer_say(&s, "ok tx\ndone I\n");
    peer_hears(r, &a, "ok tx\ndone I\n");
    peer_hears(r, &s, "Q select 2\n");
    peer_close(&b);
    leave(r, &a, &s);
}

static void nonsense_ends_its_own_connection_alone(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER);
    struct peer a, b, s;
    rig_toy_client(r, 0, &a, &s);
    rig_toy_client(r, 0, &b, NULL);
    peer_say(&a, "what is this\n");
    peer_hears(r, &a, "bye protocol not a request\n");
    peer_hears_end(r, &a);
    rig_toy_ask(r, &b, &s);
    leave(r, &b, &s);
}

static void answer_without_a_request_closes_the_server(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER);
    struct peer c, s;
    rig_toy_client(r, 0, &c, &s);
    peer_say(&s, "row 1\n");
    peer_hears_end(r, &s);
    peer_say(&c, "Q select 1\n");
    rig_toy_server(r, &s);
    peer_hears(r, &s, "Q select 1\n");
    leave(r, &c, &s);
}

static void text_larger_than_the_buffer_goes_through_and_is_not_trusted(void **state)
{
    (void)state;
    static char big[100000], heard[100000];
    struct rig *r = rig(ONE_SERVER);
    struct peer c, s;
    rig_toy_client(r, 0, &c, &s);
    memset(big, 'x', sizeof(big));
    memcpy(big, "Q ", 2);
    big[sizeof(big) - 1] = '\n';
    size_t sent = 0, n = 0;
    for (int i = 0; i < 200 && n < sizeof(big); i++) {
        ssize_t k = send(c.fd, big + sent, sizeof(big) - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        sent += k > 0 ? (size_t)k : 0;
        rig_settle(r);
        k = recv(s.fd, heard + n, sizeof(heard) - n, MSG_DONTWAIT);
        n += k > 0 ? (size_t)k : 0;
    }
    assert_int_equal(n, sizeof(big));
    assert_memory_equal(heard, big, n);
    peer_say(&s, "ok read\ndone I\n");
    peer_hears(r, &c, "ok read\ndone I\n");
    peer_hears(r, &s, "state all locks temp cursors prepared listen\n");
    peer_say(&s, "done I\n");
    rig_toy_ask(r, &c, &s);
    leave(r, &c, &s);
}

static void upload_reaches_the_server_and_ends_the_request(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER);
    struct peer c, s;
    rig_toy_client(r, 0, &c, &s);
    for (int failed = 0; failed < 2; failed++) {
        peer_say(&c, "Q select 1\n");
        peer_hears(r, &s, "Q select 1\n");
        peer_say(&s, "up\n");
        peer_hears(r, &c, "up\n");
        peer_say(&c, "+1\n+2\n");
        peer_hears(r, &s, "+1\n+2\n");
        if (failed) { /* while the client still sends: the rest of it goes nowhere */
            peer_say(&s, "err other x\ndone I\n");
            peer_hears(r, &c, "err other x\ndone I\n");
            peer_say(&c, "+3\n.\n");
            peer_hears_nothing(r, &s);
        } else {
            peer_say(&c, "+3\n.\n");
            peer_hears(r, &s, "+3\n.\n");
            peer_say(&s, "ok copy\ndone I\n");
            peer_hears(r, &c, "ok copy\ndone I\n");
        }
        rig_toy_ask(r, &c, &s);
    }
    leave(r, &c, &s);
}

/* ---- settings -------------------------------------------------------------------------------- */

static void
start_up_setting_is_tried_before_the_welcome_and_then_goes_out_with_requests(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER);
    struct peer a, b, s;
    rig_toy_client(r, 0, &b, &s);
    rig_toy_client_with(r, &a, &s, "zone=x");
    peer_say(&b, "Q select 2\n"); /* a reset cannot fail */
    peer_hears(r, &s, "set zone;\nQ select 2\n");
    peer_say(&s, "var zone utc\ndone I\nrow 2\ndone I\n");
    peer_hears(r, &b, "row 2\ndone I\n");
    peer_say(&a, "Q select 3\n"); /* and this database has taken the value before */
    peer_hears(r, &s, "set zone=x;\nQ select 3\n");
    peer_say(&s, "var zone x\ndone I\nrow 3\ndone I\n");
    peer_hears(r, &a, "row 3\ndone I\n");
    rig_toy_ask(r, &a, &s); /* now it is there */
    peer_close(&b);
    leave(r, &a, &s);
}

static void start_up_setting_that_is_refused_refuses_the_login(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER);
    struct peer a, b, s;
    rig_toy_client(r, 0, &b, &s);
    rig_client(r, 0, &a);
    peer_say(&a, "hello u d zone=x\n");
    peer_hears(r, &s, "set zone=x;\n");
    peer_say(&s, "err other no such zone\ndone I\n");
    peer_hears(r, &a, "bye other no such zone\n");
    peer_hears_end(r, &a);
    peer_close(&b);
    leave(r, &b, &s);
}

/* Both have used the server, so that it has b's settings and not a's role. */
static void set_up_role(struct rig *r, struct peer *a, struct peer *b, struct peer *s)
{
    rig_toy_client(r, 0, b, s);
    rig_toy_client_with(r, a, s, "role=x");
    peer_say(b, "Q select 1\n");
    peer_hears(r, s, "set role;\n"); /* a setting with a rank is waited for in both directions */
    peer_say(s, "done I\n");
    peer_hears(r, s, "Q select 1\n");
    peer_say(s, "done I\n");
    peer_hears(r, b, "done I\n");
}

static void setting_with_a_rank_is_always_waited_for(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER);
    struct peer a, b, s;
    set_up_role(r, &a, &b, &s);
    peer_say(&a, "Q select 1\nQ select 2\n");
    peer_hears(r, &s, "set role=x;\n");
    peer_say(&s, "done I\n");
    peer_hears(r, &s, "Q select 1\nQ select 2\n");
    peer_say(&s, "done I\ndone I\n");
    peer_hears(r, &a, "done I\ndone I\n");
    peer_close(&b);
    leave(r, &a, &s);
}

static void request_is_not_run_when_its_settings_are_refused(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER);
    struct peer a, b, s;
    set_up_role(r, &a, &b, &s);
    peer_say(&a, "Q select 1\n");
    peer_hears(r, &s, "set role=x;\n");
    peer_say(&s, "err other not allowed\ndone I\n");
    peer_hears(r, &a, "bye other not allowed\n");
    peer_hears_end(r, &a);
    peer_hears_end(r, &s);
    peer_say(&b, "Q select 2\n");
    rig_toy_server(r, &s);
    peer_hears(r, &s, "Q select 2\n");
    leave(r, &b, &s);
}

static void glued_request_under_refused_settings_is_not_believed(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER);
    struct peer a, b, s;
    rig_toy_client(r, 0, &b, &s);
    rig_toy_client_with(r, &a, &s, "zone=x");
    peer_say(&b, "Q select 2\n");
    peer_hears(r, &s, "set zone;\nQ select 2\n");
    peer_say(&s, "var zone utc\ndone I\ndone I\n");
    peer_hears(r, &b, "done I\n");
    peer_say(&a, "Q select 3\n");
    peer_hears(r, &s, "set zone=x;\nQ select 3\n");
    peer_say(&s, "err other not today\ndone I\nrow 3\ndone I\n");
    peer_hears(r, &a, "bye other not today\n");
    peer_hears_end(r, &a);
    peer_close(&b);
    leave(r, &b, &s);
}

static void client_is_told_of_a_setting_that_changed_under_it(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER);
    struct peer c, s;
    rig_toy_client(r, 0, &c, &s);
    peer_say(&c, "Q select 1\n");
    peer_hears(r, &s, "Q select 1\n");
    peer_say(&s, "row 1\nvar zone other\nok read\ndone I\n");
    peer_hears(r, &c, "row 1\nvar zone other\nok read\ndone I\n");
    leave(r, &c, &s);
}

/* ---- barrier --------------------------------------------------------------------------------- */

static void nothing_follows_a_lasting_effect_before_its_outcome_is_known(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER);
    struct peer a, b, s;
    rig_toy_client(r, 0, &a, &s);
    rig_toy_client(r, 0, &b, NULL);
    peer_say(&a, "Q set zone to 'x'\nQ select 1\n");
    peer_hears(r, &s, "Q set zone to 'x'\n");
    peer_say(&s, "ok set\ndone I\n");
    peer_hears(r, &a, "ok set\ndone I\n");
    peer_hears(r, &s, "state vars:zone\n");
    peer_say(&b, "Q select 2\n");
    peer_hears_nothing(r, &s);
    peer_say(&s, "row var|zone|x\ndone I\n");
    peer_hears(r, &s,
               "set zone;\nQ select 2\n"); /* b has waited longer; nothing of a is left for it */
    peer_say(&s, "done I\ndone I\n");
    peer_hears(r, &b, "done I\n");
    peer_hears(r, &s, "set zone=x;\nQ select 1\n");
    peer_say(&s, "done I\ndone I\n");
    peer_hears(r, &a, "done I\n");
    peer_close(&b);
    leave(r, &a, &s);
}

static void lasting_effect_behind_other_requests_waits_for_them(void **state)
{
    (void)state;
    struct rig *r = rig(ONE_SERVER);
    struct peer c, s;
    rig_toy_client(r, 0, &c, &s);
    peer_say(&c, "Q select 1\nQ set zone to 'x'\nQ select 2\n");
    peer_hears(r, &s, "Q select 1\n");
    peer_say(&s, "done I\n");
    peer_hears(r, &c, "done I\n");
    peer_hears(r, &s, "Q set zone to 'x'\n");
    peer_say(&s, "ok set\ndone I\n");
    peer_hears(r, &c, "ok set\ndone I\n");
    peer_hears(r, &s, "state vars:zone\n");
    peer_say(&s, "row var|zone|~\ndone I\n");
    peer_hears(r, &s, "Q select 2\n");
    leave(r, &c, &s);
}

static void pins_hold_the_server_until_they_are_gone(void **state)
{
    (void)state;
    static const struct {
        const char *kind, *row;
    } pins[] = {{"locks", "row locks|yes\n"},
                {"temp", "row temp|yes\n"},
                {"cursors", "row cursors|yes\n"},
                {"listen", "row listen|news\n"},
                {"prepared", "row prepared|x\n"}};
    for (size_t i = 0; i < ARRAY_LEN(pins); i++) {
        struct rig *r = rig(ONE_SERVER);
        struct peer a, b, s;
        rig_toy_client(r, 0, &a, &s);
        rig_toy_client(r, 0, &b, NULL);
        peer_say(&a, "Q select who_knows()\n");
        peer_hears(r, &s, "Q select who_knows()\n");
        peer_say(&s, "done I\n");
        peer_hears(r, &a, "done I\n");
        peer_hears(r, &s, "state all locks temp cursors prepared listen\n");
        peer_say(&s, pins[i].row);
        peer_say(&s, "done I\n");
        peer_say(&b, "Q select 2\n");
        peer_hears_nothing(r, &s); /* b waits */
        rig_toy_ask(r, &a, &s);
        peer_close(&a);
        peer_hears(r, &s, "clean full\n");
        peer_say(&s, "done I\n");
        peer_hears_until(r, &s, "Q select 2", NULL, 0);
        leave(r, &b, &s);
    }
}

/* ---- the release test ------------------------------------------------------------------------ */

static void term_fl_count(struct server *s, bool on)
{
    if (on)
        server_push(s, FLIGHT_CLIENT, NULL);
    else
        server_pop(s);
}

static void term_tx(struct server *s, bool on)
{
    s->tx = on ? TX_OPEN : TX_IDLE;
}

static void term_failed_tx(struct server *s, bool on)
{
    s->tx = on ? TX_FAILED : TX_IDLE;
}

static void term_pins(struct server *s, bool on)
{
    s->pins = on ? PIN_TEMP : 0;
}

static void term_asks(struct server *s, bool on)
{
    s->asks = on ? ASK_LOCKS : 0;
}

static void term_upload(struct server *s, bool on)
{
    s->upload = on;
}

static void term_half_request(struct server *s, bool on)
{
    s->half_request = on;
}

static void term_half_message(struct server *s, bool on)
{
    s->half_message = on;
}

static void term_doubtful(struct server *s, bool on)
{
    s->doubtful = on;
}

static void term_must_clean(struct server *s, bool on)
{
    s->reset.due = on;
}

static void term_cancels(struct server *s, bool on)
{
    s->cancels = on;
}

static void term_output(struct server *s, bool on)
{
    if (on)
        outq_put(&s->conn.out, "x", 1);
    else
        outq_clear(&s->conn.out);
}

static void term_pending(struct server *s, bool on)
{
    struct wire_server_event ev;
    if (on) {
        conn_wire(&s->conn)->sv_ping(s->wire_state, &s->conn.out);
        outq_clear(&s->conn.out);
    } else {
        conn_wire(&s->conn)->sv_feed(s->wire_state, STR("done I\n"), false, &ev);
    }
}

static void server_with_anything_of_anybody_left_has_work(void **state)
{
    (void)state;
    static void (*const terms[])(struct server *, bool) = {
        term_fl_count, term_tx,           term_failed_tx,    term_pins,     term_asks,
        term_upload,   term_half_request, term_half_message, term_doubtful, term_must_clean,
        term_cancels,  term_output,       term_pending};
    struct rig *r = rig(ONE_SERVER);
    struct peer c, peer;
    rig_toy_client(r, 0, &c, &peer);
    struct server *s = first_server(r);
    for (size_t i = 0; i < ARRAY_LEN(terms); i++) {
        assert_int_equal(server_work(s), WORK_NONE);
        terms[i](s, true);
        assert_int_not_equal(server_work(s), WORK_NONE);
        terms[i](s, false);
    }
    assert_int_equal(server_work(s), WORK_NONE);
    rig_toy_ask(r, &c, &peer);
    leave(r, &c, &peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_go_to_the_client_that_asked),
        cmocka_unit_test(request_is_understood_at_every_split),
        cmocka_unit_test(answer_is_forwarded_at_every_split),
        cmocka_unit_test(requests_sent_in_advance_are_all_passed_on_in_one_transaction),
        cmocka_unit_test(lone_end_of_a_request_needs_no_server),
        cmocka_unit_test(open_transaction_keeps_its_server),
        cmocka_unit_test(nonsense_ends_its_own_connection_alone),
        cmocka_unit_test(answer_without_a_request_closes_the_server),
        cmocka_unit_test(text_larger_than_the_buffer_goes_through_and_is_not_trusted),
        cmocka_unit_test(upload_reaches_the_server_and_ends_the_request),
        cmocka_unit_test(
            start_up_setting_is_tried_before_the_welcome_and_then_goes_out_with_requests),
        cmocka_unit_test(start_up_setting_that_is_refused_refuses_the_login),
        cmocka_unit_test(setting_with_a_rank_is_always_waited_for),
        cmocka_unit_test(request_is_not_run_when_its_settings_are_refused),
        cmocka_unit_test(glued_request_under_refused_settings_is_not_believed),
        cmocka_unit_test(client_is_told_of_a_setting_that_changed_under_it),
        cmocka_unit_test(nothing_follows_a_lasting_effect_before_its_outcome_is_known),
        cmocka_unit_test(lasting_effect_behind_other_requests_waits_for_them),
        cmocka_unit_test(pins_hold_the_server_until_they_are_gone),
        cmocka_unit_test(server_with_anything_of_anybody_left_has_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
