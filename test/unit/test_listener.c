/* test_listener.c - listening sockets on a real loop: accept, tune, close, reopen, shortage, stale
 * files. */
#include "base/base.h"

#include "base/log.h"
#include "proxy/net/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define HELD_MAX 128

struct fixture {
    struct ev_loop *loop;
    struct listener *l;
    char dir[32];
    int held[HELD_MAX]; /* accepted */
    int n;
    int pid;
    struct sockaddr_storage peer;
    bool close_at_first;
};

static void on_accept(void *arg, int fd, const struct sockaddr_storage *peer, int pid)
{
    struct fixture *f = arg;
    assert_true(f->n < HELD_MAX);
    f->held[f->n++] = fd;
    f->peer = *peer;
    f->pid = pid;
    if (f->close_at_first)
        listener_close(f->l, LISTENER_ALL);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->loop = ev_loop_new(EVFLAG_AUTO);
    snprintf(f->dir, sizeof(f->dir), "/tmp/pslXXXXXX");
    *state = f;
    return mkdtemp(f->dir) == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    listener_free(&f->l);
    for (int i = 0; i < f->n; i++)
        close(f->held[i]);
    ev_loop_destroy(f->loop);
    int rc = rmdir(f->dir); /* fails when a file was left behind */
    free(f);
    return rc;
}

static enum status open_with(struct fixture *f, const char *addrs, bool with_unix,
                             struct error *err)
{
    const struct listener_config cfg = {
        .addrs = addrs,
        .unix_dir = with_unix ? f->dir : NULL,
        .unix_mode = 0750,
        .backlog = 128,
        .rest_s = 0.01,
        .tcp = {.keepalive = true, .keepidle_s = 77},
    };
    return listener_new(f->loop, &cfg, (struct listener_handler){on_accept, f}, &f->l, err);
}

static int dial_tcp(const char *addr, uint16_t port)
{
    struct sockaddr_storage ss;
    uint32_t len = 0;
    assert_true(sockopt_parse(str_of(addr), port, &ss, &len));
    int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (const struct sockaddr *)&ss, len) == 0)
        return fd;
    close(fd);
    return -1;
}

static int dial_unix(const char *dir)
{
    struct sockaddr_storage ss;
    uint32_t len = 0;
    assert_int_equal(sockopt_unix_addr(dir, 0, &ss, &len, NULL), ST_OK);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (const struct sockaddr *)&ss, len) == 0)
        return fd;
    close(fd);
    return -1;
}

static void turn(struct fixture *f)
{
    for (int i = 0; i < 4; i++)
        ev_run(f->loop, EVRUN_NOWAIT);
}

static void tcp_clients_arrive_non_blocking_tuned_and_with_their_address(void **state)
{
    struct fixture *f = *state;
    struct error err = {""};
    char text[SOCKOPT_TEXT_MAX];
    assert_int_equal(open_with(f, "127.0.0.1", false, &err), ST_OK);
    int c = dial_tcp("127.0.0.1", listener_port(f->l));
    assert_true(c >= 0);
    turn(f);
    assert_int_equal(f->n, 1);
    assert_true((fcntl(f->held[0], F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(f->held[0], F_GETFD) & FD_CLOEXEC) != 0);
    int v = 0;
    socklen_t len = sizeof(v);
    getsockopt(f->held[0], IPPROTO_TCP, TCP_KEEPIDLE, &v, &len);
    assert_int_equal(v, 77);
    getsockopt(f->held[0], IPPROTO_TCP, TCP_NODELAY, &v, &len);
    assert_int_equal(v, 1);
    uint16_t port = sockopt_format((const struct sockaddr *)&f->peer, 0, text, sizeof(text));
    assert_string_equal(text, "127.0.0.1");
    struct sockaddr_in mine;
    len = sizeof(mine);
    getsockname(c, (struct sockaddr *)&mine, &len);
    assert_int_equal(port, ntohs(mine.sin_port));
    assert_int_equal(f->pid, 0);
    close(c);
}

static void a_burst_is_accepted_over_several_turns(void **state)
{
    struct fixture *f = *state;
    struct error err = {""};
    int c[100];
    assert_int_equal(open_with(f, "127.0.0.1", false, &err), ST_OK);
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        assert_true((c[i] = dial_tcp("127.0.0.1", listener_port(f->l))) >= 0);
    ev_run(f->loop, EVRUN_NOWAIT);
    assert_int_equal(f->n, 64);
    ev_run(f->loop, EVRUN_NOWAIT);
    assert_int_equal(f->n, 100);
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        close(c[i]);
}

static void unix_clients_arrive_with_their_pid(void **state)
{
    struct fixture *f = *state;
    struct error err = {""};
    assert_int_equal(open_with(f, NULL, true, &err), ST_OK);
    int c = dial_unix(f->dir);
    turn(f);
    assert_int_equal(f->n, 1);
    assert_int_equal(f->pid, getpid());
    assert_int_equal(f->peer.ss_family, AF_UNIX);
    close(c);
}

static void the_unix_socket_has_the_mode_asked_for_and_goes_with_the_listener(void **state)
{
    struct fixture *f = *state;
    struct error err = {""};
    struct stat sb;
    char path[64];
    snprintf(path, sizeof(path), "%s/.s.PGSQL.0", f->dir);
    assert_int_equal(open_with(f, NULL, true, &err), ST_OK);
    assert_int_equal(stat(path, &sb), 0);
    assert_int_equal(sb.st_mode & 07777, 0750);
    listener_close(f->l, LISTENER_UNIX);
    assert_int_equal(stat(path, &sb), -1);
}

static void a_stale_socket_file_is_replaced(void **state)
{
    struct fixture *f = *state;
    struct error err = {""};
    struct sockaddr_storage ss;
    uint32_t len = 0;
    assert_int_equal(sockopt_unix_addr(f->dir, 0, &ss, &len, &err), ST_OK);
    int dead = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(dead, (const struct sockaddr *)&ss, len), 0);
    close(dead); /* the file stays */
    assert_int_equal(open_with(f, NULL, true, &err), ST_OK);
    int c = dial_unix(f->dir);
    assert_true(c >= 0);
    close(c);
}

static void a_living_socket_is_not_taken_away(void **state)
{
    struct fixture *f = *state;
    struct error err = {""};
    struct listener *first = NULL;
    assert_int_equal(open_with(f, NULL, true, &err), ST_OK);
    first = f->l;
    assert_int_equal(open_with(f, NULL, true, &err), ST_IO);
    assert_non_null(strstr(err.text, "another process"));
    assert_null(f->l);
    f->l = first;
    int c = dial_unix(f->dir);
    assert_true(c >= 0);
    close(c);
}

static void a_file_that_is_no_socket_is_an_error_and_stays(void **state)
{
    struct fixture *f = *state;
    struct error err = {""};
    char path[64];
    snprintf(path, sizeof(path), "%s/.s.PGSQL.0", f->dir);
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    assert_int_equal(open_with(f, NULL, true, &err), ST_INVALID);
    assert_int_equal(unlink(path), 0);
}

static void the_socket_file_of_a_successor_is_not_removed(void **state)
{
    struct fixture *f = *state;
    struct error err = {""};
    char path[64];
    snprintf(path, sizeof(path), "%s/.s.PGSQL.0", f->dir);
    assert_int_equal(open_with(f, NULL, true, &err), ST_OK);
    struct listener *old = f->l;
    assert_int_equal(unlink(path), 0);
    assert_int_equal(open_with(f, NULL, true, &err), ST_OK);
    listener_free(&old);
    int c = dial_unix(f->dir);
    assert_true(c >= 0);
    close(c);
}

static void count_row(void *arg, const char *where, uint16_t port)
{
    int *n = arg;
    assert_true(strlen(where) > 0);
    (void)port;
    (*n)++;
}

static void a_list_of_addresses_is_opened_and_repetitions_are_not(void **state)
{
    struct fixture *f = *state;
    struct error err = {""};
    int rows = 0;
    assert_int_equal(open_with(f, " 127.0.0.1 , 127.0.0.2,, 127.0.0.1, [::1]", true, &err), ST_OK);
    listener_each(f->l, count_row, &rows);
    assert_int_equal(rows, 4);
    int a = dial_tcp("127.0.0.2", listener_port(f->l));
    int b = dial_tcp("::1", listener_port(f->l));
    assert_true(a >= 0 && b >= 0);
    turn(f);
    assert_int_equal(f->n, 2);
    close(a);
    close(b);
}

static void a_star_means_both_families_on_one_port(void **state)
{
    struct fixture *f = *state;
    struct error err = {""};
    int rows = 0;
    assert_int_equal(open_with(f, "*", false, &err), ST_OK);
    listener_each(f->l, count_row, &rows);
    assert_int_equal(rows, 2);
    int a = dial_tcp("127.0.0.1", listener_port(f->l));
    turn(f);
    assert_int_equal(f->peer.ss_family, AF_INET); /* not a mapped IPv6 address */
    int b = dial_tcp("::1", listener_port(f->l));
    turn(f);
    assert_int_equal(f->peer.ss_family, AF_INET6);
    close(a);
    close(b);
}

static void a_taken_port_is_an_error_and_nothing_stays_open(void **state)
{
    struct fixture *f = *state;
    struct error err = {""};
    assert_int_equal(open_with(f, "127.0.0.1", false, &err), ST_OK);
    struct listener *first = f->l;
    const struct listener_config cfg = {
        .addrs = "127.0.0.3, 127.0.0.1", .port = listener_port(first), .backlog = 5};
    assert_int_equal(
        listener_new(f->loop, &cfg, (struct listener_handler){on_accept, f}, &f->l, &err), ST_IO);
    assert_non_null(strstr(err.text, "127.0.0.1"));
    assert_int_equal(dial_tcp("127.0.0.3", listener_port(first)), -1);
    f->l = first;
    struct listener *none = NULL;
    const struct listener_config nowhere = {.addrs = "192.0.2.1", .backlog = 5};
    assert_int_equal(
        listener_new(f->loop, &nowhere, (struct listener_handler){on_accept, f}, &none, &err),
        ST_IO);
    const struct listener_config nothing = {.addrs = "no such..name", .backlog = 5};
    assert_int_equal(
        listener_new(f->loop, &nothing, (struct listener_handler){on_accept, f}, &none, &err),
        ST_INVALID);
}

static void closed_listeners_refuse_and_can_be_opened_again(void **state)
{
    struct fixture *f = *state;
    struct error err = {""};
    assert_int_equal(open_with(f, "127.0.0.1", true, &err), ST_OK);
    uint16_t port = listener_port(f->l);
    listener_close(f->l, LISTENER_TCP);
    listener_close(f->l, LISTENER_TCP);
    assert_int_equal(dial_tcp("127.0.0.1", port), -1);
    int u = dial_unix(f->dir); /* the console's way in stays */
    assert_true(u >= 0);
    assert_int_equal(listener_reopen(f->l, LISTENER_ALL, &err), ST_OK);
    int c = dial_tcp("127.0.0.1", listener_port(f->l));
    assert_true(c >= 0);
    turn(f);
    assert_int_equal(f->n, 2);
    close(u);
    close(c);
}

/* Two listeners after each other on the same sockets, as a process and its successor. */
static void a_given_socket_is_taken_by_its_address_and_others_are_left(void **state)
{
    struct fixture *f = *state;
    struct error err = {""};
    struct listener *old = NULL, *other = NULL;
    struct listener_config cfg = {
        .addrs = "127.0.0.1", .unix_dir = f->dir, .unix_mode = 0700, .backlog = 8};
    struct listener_handler h = {on_accept, f};
    assert_int_equal(listener_new(f->loop, &cfg, h, &old, &err), ST_OK);
    const struct listener_config elsewhere = {.addrs = "127.0.0.2", .backlog = 8};
    assert_int_equal(listener_new(f->loop, &elsewhere, h, &other, &err), ST_OK);
    cfg.port = listener_port(old);
    int fds[LISTENER_SOCKETS_MAX], n = listener_fds(old, fds);
    n += listener_fds(other, fds + n);
    assert_int_equal(n, 3);
    for (int i = 0; i < n; i++)
        fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
    cfg.given = (struct listener_given){fds, n, false};
    /* the unix socket's name holds the port, so it is another one: its file is made anew */
    assert_int_equal(listener_new(f->loop, &cfg, h, &f->l, &err), ST_OK);
    assert_int_equal(fds[0], -1);
    assert_true(fds[1] >= 0 && fds[2] >= 0);
    listener_leave(old);
    int c = dial_tcp("127.0.0.1", cfg.port);
    assert_true(c >= 0);
    turn(f);
    assert_int_equal(f->n, 1);
    close(c);
    close(fds[1]);
    close(fds[2]);
    listener_free(&old);
    listener_free(&other);
    char path[64];
    snprintf(path, sizeof(path), "%s/.s.PGSQL.0", f->dir);
    assert_int_equal(unlink(path), 0); /* left behind by listener_leave, as it should be */
}

static void given_sockets_can_stand_in_for_those_of_the_configuration(void **state)
{
    struct fixture *f = *state;
    struct error err = {""};
    struct listener *none;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct listener_config cfg = {.addrs = "no such..name", .given = {&fd, 1, true}};
    struct listener_handler h = {on_accept, f};
    assert_int_equal(bind(fd, (struct sockaddr *)&any, sizeof(any)), 0);
    int deaf = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    assert_int_equal(listener_new(f->loop, &cfg, h, &none, &err), ST_INVALID); /* not listening */
    assert_int_equal(fd, -1);
    fd = deaf;
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(listener_new(f->loop, &cfg, h, &f->l, &err), ST_OK);
    int c = dial_tcp("127.0.0.1", listener_port(f->l));
    assert_true(c >= 0);
    turn(f);
    assert_int_equal(f->n, 1);
    close(c);
}

static void a_handler_may_close_the_listener(void **state)
{
    struct fixture *f = *state;
    struct error err = {""};
    assert_int_equal(open_with(f, "127.0.0.1", false, &err), ST_OK);
    uint16_t port = listener_port(f->l);
    int a = dial_tcp("127.0.0.1", port), b = dial_tcp("127.0.0.1", port);
    f->close_at_first = true;
    turn(f);
    assert_int_equal(f->n, 1);
    close(a);
    close(b);
}

static void a_paused_listener_leaves_clients_waiting(void **state)
{
    struct fixture *f = *state;
    struct error err = {""};
    assert_int_equal(open_with(f, "127.0.0.1", false, &err), ST_OK);
    listener_pause(f->l);
    int c = dial_tcp("127.0.0.1", listener_port(f->l));
    assert_true(c >= 0);
    turn(f);
    assert_int_equal(f->n, 0);
    listener_resume(f->l);
    turn(f);
    assert_int_equal(f->n, 1);
    close(c);
}

static void without_descriptors_clients_are_turned_away_until_a_rest_is_over(void **state)
{
    struct fixture *f = *state;
    struct error err = {""};
    struct rlimit old, tight;
    char byte = 0;
    assert_int_equal(open_with(f, "127.0.0.1", false, &err), ST_OK);
    int a = dial_tcp("127.0.0.1", listener_port(f->l));
    int b = dial_tcp("127.0.0.1", listener_port(f->l));
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    tight = old;
    tight.rlim_cur = (rlim_t)b + 1; /* every lower number is taken */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    turn(f);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(f->n, 0);
    assert_int_equal(read(a, &byte, 1), 0); /* both were closed by us */
    assert_int_equal(read(b, &byte, 1), 0);
    int c = dial_tcp("127.0.0.1", listener_port(f->l));
    while (f->n == 0) /* the timer, not a retry, brings the listener back */
        ev_run(f->loop, EVRUN_ONCE);
    assert_int_equal(f->n, 1);
    close(a);
    close(b);
    close(c);
}

int main(void)
{
    struct error err = {""};
    const struct log_config quiet = {.level = LL_FATAL};
    if (log_configure(&quiet, &err) != ST_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            tcp_clients_arrive_non_blocking_tuned_and_with_their_address, setup, teardown),
        cmocka_unit_test_setup_teardown(a_burst_is_accepted_over_several_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(unix_clients_arrive_with_their_pid, setup, teardown),
        cmocka_unit_test_setup_teardown(
            the_unix_socket_has_the_mode_asked_for_and_goes_with_the_listener, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stale_socket_file_is_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(a_living_socket_is_not_taken_away, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_that_is_no_socket_is_an_error_and_stays, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_socket_file_of_a_successor_is_not_removed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_list_of_addresses_is_opened_and_repetitions_are_not,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_star_means_both_families_on_one_port, setup, teardown),
        cmocka_unit_test_setup_teardown(a_taken_port_is_an_error_and_nothing_stays_open, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(closed_listeners_refuse_and_can_be_opened_again, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_handler_may_close_the_listener, setup, teardown),
        cmocka_unit_test_setup_teardown(a_given_socket_is_taken_by_its_address_and_others_are_left,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(given_sockets_can_stand_in_for_those_of_the_configuration,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_paused_listener_leaves_clients_waiting, setup, teardown),
        cmocka_unit_test_setup_teardown(
            without_descriptors_clients_are_turned_away_until_a_rest_is_over, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
