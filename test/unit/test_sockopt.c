/* test_sockopt.c - options, addresses and peer credentials of sockets. */
#include "base/base.h"

#include "proxy/net/sockopt.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static void numeric_addresses_survive_parsing_and_formatting(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
        int family;
    } rows[] = {
        {"127.0.0.1", "127.0.0.1", AF_INET},
        {"0.0.0.0", "0.0.0.0", AF_INET},
        {"::1", "::1", AF_INET6},
        {"[2001:DB8::1]", "2001:db8::1", AF_INET6},
        {"::", "::", AF_INET6},
        {"fe80::1%1", "fe80::1", AF_INET6},
        {"::ffff:1.2.3.4", "::ffff:1.2.3.4", AF_INET6},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct sockaddr_storage ss;
        uint32_t len = 0;
        char text[SOCKOPT_TEXT_MAX];
        assert_true(sockopt_parse(str_of(rows[i].in), 6432, &ss, &len));
        assert_int_equal(ss.ss_family, rows[i].family);
        assert_int_equal(len, sockopt_len((const struct sockaddr *)&ss));
        assert_int_equal(sockopt_format((const struct sockaddr *)&ss, 0, text, sizeof(text)), 6432);
        assert_string_equal(text, rows[i].out);
    }
}

static void names_and_broken_addresses_are_not_numeric(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        "localhost",
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "::1::",
        "[::1",
        "[]",
        "1.2.3.4 ",
        "%lo",
        "::1%",
        "fe80::1%nosuchinterface",
        "0x7f.1",
        "[127.0.0.1]",
        "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc:dddd:eeee:ffff",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct sockaddr_storage ss;
        uint32_t len = 1;
        if (sockopt_parse(str_of(rows[i]), 1, &ss, &len))
            fail_msg("\"%s\" was taken for an address", rows[i]);
        assert_int_equal(len, 0);
    }
    struct sockaddr_storage ss;
    uint32_t len = 0;
    assert_false(sockopt_parse((struct str){"127.0.0.1\0x", 11}, 1, &ss, &len));
}

static void the_scope_of_a_link_local_address_is_kept(void **state)
{
    (void)state;
    struct sockaddr_storage ss;
    struct sockaddr_in6 v6;
    uint32_t len = 0;
    assert_true(sockopt_parse(STR("fe80::1%lo"), 1, &ss, &len));
    memcpy(&v6, &ss, sizeof(v6));
    assert_int_not_equal(v6.sin6_scope_id, 0);
}

static void the_port_of_an_address_can_be_set(void **state)
{
    (void)state;
    struct sockaddr_storage ss;
    uint32_t len = 0;
    char text[SOCKOPT_TEXT_MAX];
    static const char *const rows[] = {"10.0.0.1", "2001:db8::7"};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_true(sockopt_parse(str_of(rows[i]), 0, &ss, &len));
        sockopt_set_port(&ss, 5433);
        assert_int_equal(sockopt_format((const struct sockaddr *)&ss, 0, text, sizeof(text)), 5433);
        assert_string_equal(text, rows[i]);
    }
}

static void unix_peers_are_shown_by_pid(void **state)
{
    (void)state;
    struct sockaddr_storage ss;
    char text[SOCKOPT_TEXT_MAX];
    memset(&ss, 0, sizeof(ss));
    ss.ss_family = AF_UNIX;
    assert_int_equal(sockopt_format((const struct sockaddr *)&ss, 1234, text, sizeof(text)), 0);
    assert_string_equal(text, "unix(1234)");
}

static void unix_paths_are_made_of_directory_and_port(void **state)
{
    (void)state;
    struct sockaddr_storage ss;
    struct sockaddr_un un;
    struct error err = {""};
    uint32_t len = 0;
    assert_int_equal(sockopt_unix_addr("/run/x", 6432, &ss, &len, &err), ST_OK);
    memcpy(&un, &ss, sizeof(un));
    assert_string_equal(un.sun_path, "/run/x/.s.PGSQL.6432");
    assert_int_equal(sockopt_unix_addr("@x", 5, &ss, &len, &err), ST_OK);
    memcpy(&un, &ss, sizeof(un));
    assert_memory_equal(un.sun_path, "\0x/.s.PGSQL.5", 13);
    assert_int_equal(len, offsetof(struct sockaddr_un, sun_path) + 13);
}

static void a_unix_path_that_does_not_fit_is_refused_not_cut(void **state)
{
    (void)state;
    struct sockaddr_storage ss;
    struct error err = {""};
    uint32_t len = 0;
    char dir[200];
    size_t fits = sizeof(((struct sockaddr_un *)0)->sun_path) - sizeof("/.s.PGSQL.6432");
    memset(dir, 'd', sizeof(dir));
    dir[fits] = '\0';
    assert_int_equal(sockopt_unix_addr(dir, 6432, &ss, &len, &err), ST_OK);
    dir[fits] = 'd';
    dir[fits + 1] = '\0';
    assert_int_equal(sockopt_unix_addr(dir, 6432, &ss, &len, &err), ST_LIMIT);
}

static int option(int fd, int level, int name)
{
    int v = -1;
    socklen_t len = sizeof(v);
    assert_int_equal(getsockopt(fd, level, name, &v, &len), 0);
    return v;
}

static void tcp_options_reach_the_socket(void **state)
{
    (void)state;
    struct error err = {""};
    const struct sockopt_tcp o = {.keepalive = true,
                                  .keepcnt = 3,
                                  .keepidle_s = 41,
                                  .keepintvl_s = 7,
                                  .user_timeout_ms = 5000,
                                  .buffer = 32768};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(sockopt_tune(fd, &o, &err), ST_OK);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPCNT), 3);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 41);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPINTVL), 7);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 5000);
    assert_true(option(fd, SOL_SOCKET, SO_SNDBUF) >= 32768);
    close(fd);
}

static void an_option_out_of_range_is_reported_and_the_rest_is_set(void **state)
{
    (void)state;
    struct error err = {""};
    const struct sockopt_tcp o = {.keepalive = true, .keepcnt = 1000, .user_timeout_ms = 7000};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(sockopt_tune(fd, &o, &err), ST_IO);
    assert_non_null(strstr(err.text, "TCP_KEEPCNT"));
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 7000);
    close(fd);
}

static void unix_sockets_are_left_alone_and_tell_their_peer(void **state)
{
    (void)state;
    struct error err = {""};
    struct sockopt_cred cred;
    char name[64], tiny[2];
    const struct sockopt_tcp o = {.keepalive = true, .keepcnt = 3};
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
    assert_int_equal(sockopt_tune(fd[0], &o, &err), ST_OK);
    assert_int_equal(sockopt_peer_cred(fd[0], &cred, &err), ST_OK);
    assert_int_equal(cred.pid, getpid());
    assert_int_equal(cred.uid, geteuid());
    assert_int_equal(cred.gid, getegid());
    close(fd[0]);
    close(fd[1]);
    assert_int_equal(sockopt_user_name(0, name, sizeof(name), &err), ST_OK);
    assert_string_equal(name, "root");
    assert_int_equal(sockopt_user_name(0, tiny, sizeof(tiny), &err), ST_LIMIT);
    assert_string_equal(tiny, "");
    assert_int_equal(sockopt_user_name(3999999999u, name, sizeof(name), &err), ST_MISSING);
    assert_string_equal(name, "");
}

static void a_tcp_socket_has_no_credentials(void **state)
{
    (void)state;
    struct error err = {""};
    struct sockopt_cred cred;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_not_equal(sockopt_peer_cred(fd, &cred, &err), ST_OK);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numeric_addresses_survive_parsing_and_formatting),
        cmocka_unit_test(names_and_broken_addresses_are_not_numeric),
        cmocka_unit_test(the_scope_of_a_link_local_address_is_kept),
        cmocka_unit_test(the_port_of_an_address_can_be_set),
        cmocka_unit_test(unix_peers_are_shown_by_pid),
        cmocka_unit_test(unix_paths_are_made_of_directory_and_port),
        cmocka_unit_test(a_unix_path_that_does_not_fit_is_refused_not_cut),
        cmocka_unit_test(tcp_options_reach_the_socket),
        cmocka_unit_test(an_option_out_of_range_is_reported_and_the_rest_is_set),
        cmocka_unit_test(unix_sockets_are_left_alone_and_tell_their_peer),
        cmocka_unit_test(a_tcp_socket_has_no_credentials),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
