/* test_http_server.c - the port's socket and server: to whom it belongs, and how long it is
 * held. */
#include "base/base.h"
#include "proxy/http/http_open.h"
#include "proxy/http/http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#define WAIT_MS 10000

static struct http_address free_port(void)
{
    struct http_address a = {.loopback = true, .len = sizeof(struct sockaddr_in)};
    struct sockaddr_in *in = (struct sockaddr_in *)&a.ss;
    socklen_t n = sizeof(*in);
    int s = socket(AF_INET, SOCK_STREAM, 0);
    in->sin_family = AF_INET;
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(s, (struct sockaddr *)in, sizeof(*in)), 0);
    assert_int_equal(getsockname(s, (struct sockaddr *)in, &n), 0);
    close(s);
    return a;
}

/* ---- the socket ------------------------------------------------------------------------------ */

static void a_port_belongs_to_one_process_and_its_heir(void **state)
{
    struct http_address a = free_port();
    struct error err = {""};
    int first = -1, second = -1, heir = -1, third = -1;
    (void)state;
    assert_int_equal(http_open(&a, false, &first, &err), ST_OK);
    assert_int_equal(http_open(&a, false, &second, &err), ST_IO);
    assert_non_null(strstr(err.text, "each process needs a port of its own"));
    assert_int_equal(http_open(&a, true, &heir, &err), ST_OK);
    close(first);
    assert_int_equal(http_open(&a, false, &second, &err), ST_IO); /* the heir has it now */
    assert_int_equal(http_open(&a, true, &third, &err), ST_OK);   /* and an heir of its own */
    close(heir);
    close(third);
    assert_int_equal(http_open(&a, false, &second, &err), ST_OK);
    close(second);
}

/* ---- the server ------------------------------------------------------------------------------ */

/* /slow waits, and is then in *arg. */
static bool begin(void *arg, struct http_request *r)
{
    struct http_request **waiting = arg;
    bool slow = strcmp(r->path, "/slow") == 0;
    r->answer.status = 200;
    r->answer.text = slow ? STR("done\n") : STR("ok\n");
    if (slow)
        *waiting = r;
    return !slow;
}

static void waits_or_finish(void *arg, struct http_request *r)
{
    (void)arg;
    (void)r;
}

static struct http_server *start_with(const struct http_address *a, struct http_request **waiting)
{
    const struct http_handler h = {begin, waits_or_finish, waits_or_finish, waits_or_finish,
                                   waiting};
    struct http_server *s = NULL;
    struct error err = {""};
    int fd = -1;
    assert_int_equal(http_open(a, false, &fd, &err), ST_OK);
    assert_int_equal(http_server_new(fd, &h, &s, &err), ST_OK);
    return s;
}

static struct http_server *start(const struct http_address *a)
{
    return start_with(a, NULL);
}

static int visit_from(const struct http_address *a, const char *from, const char *text)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    int s = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(inet_pton(AF_INET, from, &in.sin_addr), 1);
    assert_int_equal(bind(s, (struct sockaddr *)&in, sizeof(in)), 0);
    assert_int_equal(connect(s, (const struct sockaddr *)&a->ss, a->len), 0);
    assert_int_equal(write(s, text, strlen(text)), (ssize_t)strlen(text));
    return s;
}

static int visit(const struct http_address *a, const char *text)
{
    return visit_from(a, "127.0.0.1", text);
}

/* 1: something to read, 0: the end, -1: nothing. */
static int hear(int s, int limit_ms)
{
    struct pollfd p = {.fd = s, .events = POLLIN};
    char c;
    if (poll(&p, 1, limit_ms) != 1)
        return -1;
    return recv(s, &c, 1, 0) == 1 ? 1 : 0;
}

static void hear_all(int s, const char *end)
{
    char text[4096] = "";
    size_t n = 0;
    while (strstr(text, end) == NULL) {
        struct pollfd p = {.fd = s, .events = POLLIN};
        assert_int_equal(poll(&p, 1, WAIT_MS), 1);
        ssize_t got = recv(s, text + n, sizeof(text) - 1 - n, 0);
        assert_true(got > 0);
        n += (size_t)got;
        text[n] = '\0';
    }
}

#define REQUEST "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"

static void a_head_that_never_ends_is_ended(void **state)
{
    struct http_address a = free_port();
    struct http_server *s = start(&a);
    usec_t before = clock_mono_us(), limit = HTTP_SERVER_HEAD_S * (usec_t)USEC_PER_SEC;
    int silent = visit(&a, ""), slow = visit(&a, "GET /healthz HTTP/1.1\r\nHost: loc");
    int other = visit(&a, REQUEST);
    (void)state;
    hear_all(other, "ok\n"); /* by then the others have been accepted too */
    http_server_expire(s, before + limit);
    assert_int_equal(write(slow, "a", 1), 1);
    assert_int_equal(hear(slow, 0), -1);
    assert_int_equal(hear(silent, 0), -1);
    http_server_expire(s, clock_mono_us() + limit + 1);
    assert_int_equal(hear(slow, WAIT_MS), 0);
    assert_int_equal(hear(silent, WAIT_MS), 0);
    int next = visit(&a, REQUEST);
    hear_all(next, "ok\n");
    http_server_free(&s);
    close(silent);
    close(slow);
    close(other);
    close(next);
}

static void a_connection_lives_as_long_as_its_requests_end(void **state)
{
    struct http_address a = free_port();
    struct http_server *s = start(&a);
    usec_t limit = (HTTP_SERVER_IDLE_S + HTTP_SERVER_HEAD_S) * (usec_t)USEC_PER_SEC;
    int kept = visit(&a, REQUEST);
    (void)state;
    hear_all(kept, "ok\n");
    usec_t between = clock_mono_us();
    assert_int_equal(write(kept, REQUEST, strlen(REQUEST)), (ssize_t)strlen(REQUEST));
    hear_all(kept, "ok\n");
    int other = visit(&a, REQUEST);
    hear_all(other, "ok\n"); /* by then the second request is over for the server too */
    http_server_expire(s, between + limit);
    assert_int_equal(hear(kept, 0), -1);
    http_server_expire(s, clock_mono_us() + limit + 1);
    assert_int_equal(hear(kept, WAIT_MS), 0);
    http_server_free(&s);
    close(kept);
    close(other);
}

static void an_answer_has_a_minute(void **state)
{
    struct http_address a = free_port();
    struct http_request *waiting = NULL;
    struct http_server *s = start_with(&a, &waiting);
    usec_t before = clock_mono_us(), minute = HTTP_SERVER_REQUEST_S * (usec_t)USEC_PER_SEC;
    int slow = visit(&a, "GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n");
    int other = visit(&a, REQUEST);
    (void)state;
    hear_all(other, "ok\n");
    http_server_expire(s, before + minute);
    assert_int_equal(hear(slow, 0), -1);
    http_server_expire(s, clock_mono_us() + minute + 1);
    assert_int_equal(hear(slow, WAIT_MS), 0);
    http_server_wake(waiting);
    http_server_free(&s);
    close(slow);
    close(other);
}

/* ---- too many connections -------------------------------------------------------------------- */

/* A request of each is answered, so that it is known to have been accepted. */
static void visit_often(const struct http_address *a, const char *from, int *fds, int n)
{
    for (int i = 0; i < n; i++) {
        fds[i] = visit_from(a, from, REQUEST);
        hear_all(fds[i], "ok\n");
    }
}

static void whoever_has_most_connections_loses_one(void **state)
{
    enum { FEW = 3, MANY = HTTP_SERVER_CONNECTIONS - FEW };
    struct http_address a = free_port();
    struct http_server *s = start(&a);
    int few[FEW], many[MANY], more[HTTP_SERVER_SPARE * 2];
    (void)state;
    visit_often(&a, "127.0.0.2", few, FEW);
    visit_often(&a, "127.0.0.1", many, MANY);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(hear(many[i], 0), -1); /* as many as there may be */
    visit_often(&a, "127.0.0.1", more, HTTP_SERVER_SPARE * 2);
    for (int i = 0; i < MANY; i++) {
        bool goes = i < HTTP_SERVER_SPARE * 2;
        assert_int_equal(hear(many[i], goes ? WAIT_MS : 0), goes ? 0 : -1); /* the oldest go */
    }
    for (int i = 0; i < FEW; i++)
        assert_int_equal(hear(few[i], 0), -1);
    http_server_free(&s);
    for (int i = 0; i < FEW; i++)
        close(few[i]);
    for (int i = 0; i < MANY; i++)
        close(many[i]);
    for (int i = 0; i < HTTP_SERVER_SPARE * 2; i++)
        close(more[i]);
}

static void a_connection_with_a_request_goes_last(void **state)
{
    struct http_address a = free_port();
    struct http_request *waiting = NULL;
    struct http_server *s = start_with(&a, &waiting);
    int slow = visit(&a, "GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n");
    int others[HTTP_SERVER_CONNECTIONS];
    (void)state;
    visit_often(&a, "127.0.0.1", others, HTTP_SERVER_CONNECTIONS);
    assert_int_equal(hear(others[0], WAIT_MS), 0);
    assert_int_equal(hear(slow, 0), -1);
    http_server_wake(waiting);
    hear_all(slow, "done\n");
    http_server_free(&s);
    close(slow);
    for (int i = 0; i < HTTP_SERVER_CONNECTIONS; i++)
        close(others[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_port_belongs_to_one_process_and_its_heir),
        cmocka_unit_test(a_head_that_never_ends_is_ended),
        cmocka_unit_test(a_connection_lives_as_long_as_its_requests_end),
        cmocka_unit_test(an_answer_has_a_minute),
        cmocka_unit_test(whoever_has_most_connections_loses_one),
        cmocka_unit_test(a_connection_with_a_request_goes_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
