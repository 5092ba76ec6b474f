/* test_core_conn.c - one socket on a worker's loop: pieces, back-pressure, borrowed output,
 * ends. */
#include "base/base.h"

#include "test/unit/support/core_rig.h"
#include "test/unit/support/toy_wire.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

struct end { /* a conn that takes whole lines and remembers them, and its peer's descriptor */
    struct conn conn; /* first */
    struct rig *r;
    int peer;
    char got[4096];
    size_t n, calls, drained, gone, connected;
    bool hold, saw_full;
    size_t longest;
};

static size_t on_data(struct conn *c, struct str data, bool full)
{
    struct end *e = (struct end *)c;
    e->calls++;
    e->saw_full = e->saw_full || full;
    e->longest = MAX(e->longest, data.n);
    if (e->hold)
        return 0;
    const char *last = memrchr(data.p, '\n', data.n);
    size_t used = last == NULL ? 0 : (size_t)(last + 1 - data.p);
    if (e->n + used <= sizeof(e->got))
        memcpy(e->got + e->n, data.p, used);
    e->n += used;
    return used;
}

static void on_gone(struct conn *c, const char *why)
{
    ((struct end *)c)->gone++;
    assert_non_null(why);
    conn_close(c);
}

static void on_drained(struct conn *c)
{
    ((struct end *)c)->drained++;
}

static void on_connected(struct conn *c)
{
    ((struct end *)c)->connected++;
}

static const struct conn_ops ops = {on_data, on_gone, on_drained, on_connected, NULL};

static struct end e; /* large; each test sets it up anew */

static void set_up_type(unsigned nworkers, int type)
{
    int fds[2];
    memset(&e, 0, sizeof(e));
    e.r = rig_new(&toy_wire, nworkers, NULL, NULL);
    assert_int_equal(socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    e.peer = fds[1];
    conn_init(&e.conn, rig_worker(e.r), &ops, fds[0]);
    conn_start(&e.conn);
    rig_settle(e.r);
}

static void set_up(void)
{
    set_up_type(1, SOCK_STREAM);
}

static void tear_down(void)
{
    conn_close(&e.conn);
    conn_close(&e.conn); /* twice is fine */
    if (e.peer >= 0)
        close(e.peer);
    rig_settle(e.r);
    rig_free(&e.r);
}

static void say(const void *p, size_t n)
{
    assert_int_equal(send(e.peer, p, n, MSG_NOSIGNAL), (ssize_t)n);
    rig_turn(e.r);
}

/* All that can be read now. */
static size_t hear(char *dst, size_t cap)
{
    size_t n = 0;
    for (int i = 0; i < 1000 && n < cap; i++) {
        ssize_t k = recv(e.peer, dst + n, cap - n, MSG_DONTWAIT);
        if (k > 0)
            n += (size_t)k;
        else if (k == 0)
            break;
        rig_turn(e.r);
    }
    return n;
}

/* ---- reading --------------------------------------------------------------------------------- */

static void input_is_complete_at_every_split(void **state)
{
    (void)state;
    static const char text[] = "one\ntwo\n\nthree and more\n";
    size_t all = sizeof(text) - 1;
    set_up();
    for (size_t i = 1; i < all; i++) {
        for (size_t k = i; k < all; k++) {
            e.n = 0;
            say(text, i);
            if (k > i)
                say(text + i, k - i);
            assert_int_equal(e.conn.in_len, k - e.n);
            assert_int_equal(e.conn.in == NULL, e.conn.in_len == 0);
            say(text + k, all - k);
            assert_int_equal(e.n, all);
            assert_memory_equal(e.got, text, all);
            assert_null(e.conn.in); /* an idle connection keeps no buffer */
        }
    }
    tear_down();
}

static void input_is_complete_byte_by_byte(void **state)
{
    (void)state;
    set_up();
    char text[3000];
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\n';
    for (size_t i = 0; i < sizeof(text); i++)
        say(text + i, 1);
    assert_int_equal(e.n, sizeof(text));
    assert_memory_equal(e.got, text, sizeof(text));
    tear_down();
}

static void what_is_not_consumed_grows_to_the_limit_and_not_beyond(void **state)
{
    (void)state;
    static char text[10000];
    set_up();
    memset(text, 'x', sizeof(text));
    for (int i = 0; i < 30; i++)
        if (send(e.peer, text, sizeof(text), MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
            rig_settle(e.r);
    assert_true(e.saw_full);
    assert_int_equal(e.longest, CONN_IN_MAX);
    assert_int_equal(e.conn.in_len, CONN_IN_MAX);
    assert_true((e.conn.paused & PAUSE_WAIT) != 0);
    size_t calls = e.calls;
    rig_settle(e.r);
    assert_int_equal(e.calls, calls); /* it does not spin */
    tear_down();
}

static void held_back_input_is_shown_again_and_reading_goes_on(void **state)
{
    (void)state;
    set_up();
    e.hold = true;
    say("a\nb\n", 4);
    assert_int_equal(e.calls, 1);
    rig_settle(e.r);
    assert_int_equal(e.calls, 1);
    e.hold = false;
    conn_kick(&e.conn);
    assert_int_equal(e.n, 4);
    conn_kick(&e.conn); /* nothing is left */
    assert_int_equal(e.calls, 2);
    say("c\n", 2);
    assert_int_equal(e.n, 6);
    assert_memory_equal(e.got, "a\nb\nc\n", 6);
    tear_down();
}

static void no_byte_is_read_while_any_reason_to_pause_is_left(void **state)
{
    (void)state;
    set_up();
    conn_pause(&e.conn, PAUSE_PEER);
    conn_pause(&e.conn, PAUSE_ADMIN);
    say("a\n", 2);
    rig_settle(e.r);
    assert_int_equal(e.calls, 0);
    conn_resume(&e.conn, PAUSE_PEER);
    rig_settle(e.r);
    assert_int_equal(e.calls, 0);
    conn_resume(&e.conn, PAUSE_ADMIN);
    conn_resume(&e.conn, PAUSE_ADMIN);
    rig_settle(e.r);
    assert_int_equal(e.n, 2);
    tear_down();
}

/* ---- writing --------------------------------------------------------------------------------- */

static void output_of_one_turn_leaves_in_one_write(void **state)
{
    (void)state;
    char got[64];
    set_up_type(1, SOCK_SEQPACKET); /* where each write is a message of its own */
    for (int i = 0; i < 5; i++) {
        outq_put(&e.conn.out, "0123456789", 10);
        conn_dirty(&e.conn);
    }
    assert_int_equal(recv(e.peer, got, sizeof(got), MSG_DONTWAIT),
                     -1); /* not before the turn's end */
    rig_turn(e.r);
    assert_int_equal(recv(e.peer, got, sizeof(got), MSG_DONTWAIT), 50);
    assert_int_equal(e.conn.bytes_out, 50);
    tear_down();
}

static void full_destination_is_noticed_and_its_draining_is_told_once(void **state)
{
    (void)state;
    static char chunk[32768], got[CONN_OUT_HIGH + 4 * sizeof(chunk)];
    set_up();
    size_t put = 0;
    while (!conn_above_high(&e.conn)) {
        outq_put(&e.conn.out, chunk, sizeof(chunk));
        put += sizeof(chunk);
        conn_dirty(&e.conn);
        rig_turn(e.r);
        assert_in_range(put, 1, 4 << 20);
    }
    assert_int_equal(e.drained, 0);
    size_t n = 0;
    while (n < put) { /* the peer reads */
        size_t k = hear(got, MIN(sizeof(got), put - n));
        assert_true(k > 0);
        n += k;
    }
    rig_settle(e.r);
    assert_int_equal(e.drained, 1);
    assert_int_equal(e.conn.out.len, 0);
    assert_false(conn_above_high(&e.conn));
    tear_down();
}

static void draining_is_not_told_when_it_never_was_too_much(void **state)
{
    (void)state;
    char got[100];
    set_up();
    outq_put(&e.conn.out, "x", 1);
    conn_dirty(&e.conn);
    assert_int_equal(hear(got, 1), 1);
    rig_settle(e.r);
    assert_int_equal(e.drained, 0);
    tear_down();
}

static void borrowed_output_is_settled_before_its_bytes_change(void **state)
{
    (void)state;
    enum { N = 3 << 20 };
    char *big = malloc(N), *want = malloc(N), *got = malloc(N);
    set_up();
    for (size_t i = 0; i < N; i++)
        big[i] = (char)(i * 31 % 251);
    memcpy(want, big, N);
    outq_put_borrowed(&e.conn.out, big, N);
    assert_true(e.conn.out.borrowed);
    conn_flush(&e.conn); /* takes what the socket takes */
    assert_true(e.conn.out.len > 0 && e.conn.out.len < N);
    outq_settle(&e.conn.out);
    assert_false(e.conn.out.borrowed);
    memset(big, 0, N); /* the buffer is used for the next thing */
    conn_dirty(&e.conn);
    size_t n = 0;
    for (int i = 0; i < 1000 && n < N; i++)
        n += hear(got + n, N - n);
    assert_int_equal(n, N);
    assert_memory_equal(got, want, N);
    free(big);
    free(want);
    free(got);
    tear_down();
}

/* ---- ends ------------------------------------------------------------------------------------ */

static void last_words_are_delivered_before_the_end(void **state)
{
    (void)state;
    static char big[400000], got[400000];
    set_up();
    memset(big, 'w', sizeof(big));
    say("unread", 6); /* must not turn the end into a reset */
    outq_put(&e.conn.out, big, sizeof(big));
    conn_dirty(&e.conn);
    conn_close_after_flush(&e.conn);
    (void)!send(e.peer, "more\n", 5, MSG_NOSIGNAL);
    size_t n = 0;
    for (int i = 0; i < 1000 && n < sizeof(big); i++)
        n += hear(got + n, sizeof(got) - n);
    assert_int_equal(n, sizeof(big));
    rig_settle(e.r);
    assert_int_equal(recv(e.peer, got, 1, MSG_DONTWAIT), 0);
    assert_int_equal(e.n, 0); /* what it said meanwhile was dropped */
    assert_int_equal(e.gone, 0);
    close(e.peer);
    e.peer = -1;
    rig_settle(e.r);
    assert_int_equal(e.gone, 1);
    tear_down();
}

static void end_without_last_words_is_told_to_the_peer(void **state)
{
    (void)state;
    char got[1];
    set_up();
    conn_close_after_flush(&e.conn);
    rig_settle(e.r);
    assert_int_equal(recv(e.peer, got, 1, MSG_DONTWAIT), 0);
    tear_down();
}

static void peer_that_closes_is_noticed_once(void **state)
{
    (void)state;
    set_up();
    say("whole\nhal", 9);
    close(e.peer);
    e.peer = -1;
    rig_settle(e.r);
    assert_int_equal(e.n, 6);
    assert_int_equal(e.gone, 1);
    assert_false(conn_is_open(&e.conn));
    outq_put(&e.conn.out, "x", 1); /* nothing is kept for a closed connection */
    conn_dirty(&e.conn);
    assert_int_equal(e.conn.out.len, 0);
    tear_down();
}

static void failing_write_ends_the_connection(void **state)
{
    (void)state;
    set_up();
    conn_pause(&e.conn, PAUSE_PEER); /* so that reading does not notice it first */
    close(e.peer);
    e.peer = -1;
    outq_put(&e.conn.out, "x", 1);
    conn_dirty(&e.conn);
    rig_settle(e.r);
    assert_int_equal(e.gone, 1);
    tear_down();
}

static void closed_connection_hears_nothing_more(void **state)
{
    (void)state;
    set_up();
    say("a\n", 2);
    conn_close(&e.conn);
    (void)!send(e.peer, "b\n", 2, MSG_NOSIGNAL);
    rig_settle(e.r);
    assert_int_equal(e.n, 2);
    assert_int_equal(e.gone, 0);
    tear_down();
}

/* ---- connecting and moving ------------------------------------------------------------------- */

static void connect_to_rig(bool listening)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct error err;
    sin.sin_port = htons((uint16_t)e.r->port);
    conn_close(&e.conn);
    if (!listening)
        rig_stop_listening(e.r);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    conn_init(&e.conn, rig_worker(e.r), &ops, fd);
    if (conn_connect(&e.conn, (struct sockaddr *)&sin, sizeof(sin), &err) != ST_OK)
        fail_msg("%s", err.text);
    assert_int_equal(e.connected + e.gone, 0); /* never from inside the call */
    rig_settle(e.r);
}

static void connecting_ends_in_one_of_two_ways(void **state)
{
    (void)state;
    set_up();
    connect_to_rig(true);
    assert_int_equal(e.connected, 1);
    assert_int_equal(e.gone, 0);
    tear_down();
    set_up();
    connect_to_rig(false);
    assert_int_equal(e.connected, 0);
    assert_int_equal(e.gone, 1);
    tear_down();
}

static void connection_with_anything_in_its_buffers_does_not_move(void **state)
{
    (void)state;
    char got[1];
    set_up();
    assert_true(conn_can_move(&e.conn));
    say("half", 4);
    assert_false(conn_can_move(&e.conn));
    say("\n", 1);
    assert_true(conn_can_move(&e.conn));
    outq_put(&e.conn.out, "x", 1);
    conn_dirty(&e.conn);
    assert_false(conn_can_move(&e.conn));
    assert_int_equal(hear(got, 1), 1);
    assert_true(conn_can_move(&e.conn));
    conn_pause(&e.conn, PAUSE_PEER);
    assert_false(conn_can_move(&e.conn));
    tear_down();
}

static void moved_connection_works_on_its_new_loop(void **state)
{
    (void)state;
    char got[8];
    set_up_type(2, SOCK_STREAM);
    for (unsigned i = 0; i < 4; i++) {
        struct worker *to = e.r->workers[(i + 1) % 2];
        conn_detach(&e.conn);
        assert_int_equal(send(e.peer, "in\n", 3, MSG_NOSIGNAL), 3); /* between the two */
        rig_turn(e.r);
        conn_attach(&e.conn, to);
        rig_turn(e.r);
        assert_int_equal(e.n, 3 * (i + 1));
        outq_put(&e.conn.out, "out", 3);
        conn_dirty(&e.conn);
        assert_int_equal(hear(got, 3), 3);
        assert_int_equal(to->blocks.in_use, 0);
    }
    tear_down();
}

static void look_at_a_quiet_connection_takes_nothing(void **state)
{
    (void)state;
    set_up();
    assert_true(conn_peek_quiet(&e.conn));
    assert_int_equal(send(e.peer, "a\n", 2, MSG_NOSIGNAL), 2);
    assert_false(conn_peek_quiet(&e.conn));
    rig_turn(e.r);
    assert_int_equal(e.n, 2);
    assert_true(conn_peek_quiet(&e.conn));
    close(e.peer);
    e.peer = -1;
    assert_false(conn_peek_quiet(&e.conn));
    tear_down();
}

/* ---- between a client and its server --------------------------------------------------------- */

/* Says total bytes of lines to from while to does not read, then reads all of them; out is what the
 * proxy holds for to. */
static void pump(struct rig *r, const struct peer *from, const struct peer *to,
                 const struct outq *out, const char *line)
{
    enum { TOTAL = 6 << 20, CHUNK = 16384 };
    static char chunk[CHUNK], sink[CHUNK * 4];
    size_t sent = 0, heard = 0, stuck = 0, most = 0;
    memset(chunk, 'x', sizeof(chunk));
    memcpy(chunk, line, strlen(line));
    chunk[CHUNK - 1] = '\n';
    for (size_t i = 0; i < 100000 && heard < TOTAL; i++) {
        ssize_t k = 0;
        if (sent < TOTAL)
            k = send(from->fd, chunk + sent % CHUNK, CHUNK - sent % CHUNK,
                     MSG_NOSIGNAL | MSG_DONTWAIT);
        sent += k > 0 ? (size_t)k : 0;
        stuck = k > 0 ? 0 : stuck + 1;
        rig_turn(r);
        most = MAX(most, out->len);
        if (stuck < 20 && sent < TOTAL)
            continue;
        k = recv(to->fd, sink, sizeof(sink), MSG_DONTWAIT);
        heard += k > 0 ? (size_t)k : 0;
    }
    assert_int_equal(heard, TOTAL);
    assert_in_range(most, CONN_OUT_HIGH, CONN_OUT_HIGH + 2 * CONN_SCRATCH);
    assert_int_equal(out->len, 0);
}

static void neither_side_fills_the_memory_when_the_other_does_not_read(void **state)
{
    (void)state;
    struct rig *r = rig_new(&toy_wire, 1, "default_pool_size = 1\n", NULL);
    struct peer c, s;
    rig_toy_client(r, 0, &c, &s);
    const struct client *client = container_of(list_first(&rig_worker(r)->clients), struct client,
                                               all);
    const struct server *server = container_of(list_first(&rig_worker(r)->servers), struct server,
                                               all);
    peer_say(&c, "Q select 1\n");
    peer_hears(r, &s, "Q select 1\n");
    pump(r, &s, &c, &client->conn.out, "row ");
    peer_say(&s, "up\n");
    peer_hears(r, &c, "up\n");
    pump(r, &c, &s, &server->conn.out, "+");
    peer_say(&c, ".\n");
    peer_hears(r, &s, ".\n");
    peer_say(&s, "done I\n");
    peer_hears(r, &c, "done I\n");
    rig_toy_ask(r, &c, &s);
    peer_close(&c);
    peer_close(&s);
    rig_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(input_is_complete_at_every_split),
        cmocka_unit_test(input_is_complete_byte_by_byte),
        cmocka_unit_test(what_is_not_consumed_grows_to_the_limit_and_not_beyond),
        cmocka_unit_test(held_back_input_is_shown_again_and_reading_goes_on),
        cmocka_unit_test(no_byte_is_read_while_any_reason_to_pause_is_left),
        cmocka_unit_test(output_of_one_turn_leaves_in_one_write),
        cmocka_unit_test(full_destination_is_noticed_and_its_draining_is_told_once),
        cmocka_unit_test(draining_is_not_told_when_it_never_was_too_much),
        cmocka_unit_test(borrowed_output_is_settled_before_its_bytes_change),
        cmocka_unit_test(last_words_are_delivered_before_the_end),
        cmocka_unit_test(end_without_last_words_is_told_to_the_peer),
        cmocka_unit_test(peer_that_closes_is_noticed_once),
        cmocka_unit_test(failing_write_ends_the_connection),
        cmocka_unit_test(closed_connection_hears_nothing_more),
        cmocka_unit_test(connecting_ends_in_one_of_two_ways),
        cmocka_unit_test(connection_with_anything_in_its_buffers_does_not_move),
        cmocka_unit_test(moved_connection_works_on_its_new_loop),
        cmocka_unit_test(look_at_a_quiet_connection_takes_nothing),
        cmocka_unit_test(neither_side_fills_the_memory_when_the_other_does_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
