/* test_hba.c - access rules and user name maps. */
#include "base/base.h"

#include "test/unit/test_config_support.h"

#include "proxy/config/hba.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

static struct hba *parse(const char *text, const struct hba_ident *ident)
{
    struct hba *h = NULL;
    struct error err = {.text = ""};
    if (hba_parse("hba.conf", str_of(text), ident, &h, &err) != ST_OK)
        fail_msg("%s", err.text);
    return h;
}

/* from: "unix", an address, or an address with "+tls" behind it. The line that matches, 0: none. */
static int ask(const struct hba *h, const char *from, const char *db, const char *user,
               bool replication)
{
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } a;
    struct str addr = str_of(from);
    struct str host = str_cut(&addr, '+');
    char text[64];
    memset(&a, 0, sizeof(a));
    str_copy(text, sizeof(text), host);
    if (inet_pton(AF_INET, text, &a.in.sin_addr) == 1)
        a.sa.sa_family = AF_INET;
    else if (inet_pton(AF_INET6, text, &a.in6.sin6_addr) == 1)
        a.sa.sa_family = AF_INET6;
    else
        assert_string_equal(text, "unix");
    const struct hba_query q = {.is_unix = strcmp(from, "unix") == 0,
                                .addr = &a.sa,
                                .tls = addr.n > 0,
                                .replication = replication,
                                .database = str_of(db),
                                .user = str_of(user)};
    const struct hba_rule *r = hba_find(h, &q);
    return r != NULL ? r->line : 0;
}

static const char rules_text[] =
    "# comment\n"
    "local   all          admin                            peer\n"              /* 2 */
    "local   all          all                              scram-sha-256 # x\n" /* 3 */
    "\n"
    "host    replication  repl        10.0.0.0/8           md5\n"                   /* 5 */
    "hostssl one,\"two 2\", three joe,ann 192.168.1.0 255.255.255.0 password\n"     /* 6 */
    "hostnossl sameuser   all         192.168.1.77/24      reject\n"                /* 7 */
    "host    \"all\"      \"all\"     all                  trust\n"                 /* 8 */
    "host    all          six         2001:db8::/33        scram-sha-256\n"         /* 9 */
    "host    all          six         ::1/128              trust\n"                 /* 10 */
    "host    db           bits        10.1.2.3/31          trust\n"                 /* 11 */
    "hostssl certs        all         0.0.0.0/0            cert\r\n"                /* 12 */
    "host    l            all         all   ldap ldapserver=\"a b\" ldapport=3 \n"; /* 13 */

struct rule_case {
    const char *from, *db, *user;
    bool replication;
    int line;
};

static const struct rule_case cases[] = {
    {"unix", "x", "admin", false, 2},
    {"unix", "x", "joe", false, 3},
    {"unix", "x", "joe", true, 0},
    {"10.9.9.9", "x", "repl", true, 5},
    {"11.9.9.9", "x", "repl", true, 0},
    {"10.9.9.9", "replication", "repl", false, 0},
    {"192.168.1.5+tls", "one", "joe", false, 6},
    {"192.168.1.5+tls", "two 2", "ann", false, 6},
    {"192.168.1.5+tls", "three", "ann", false, 6},
    {"192.168.1.5+tls", "three", "bob", false, 0},
    {"192.168.2.5+tls", "one", "joe", false, 0},
    {"192.168.1.5", "one", "joe", false, 0},
    {"::ffff:192.168.1.5+tls", "one", "joe", false, 6},
    {"192.168.1.5", "joe", "joe", false, 7},
    {"192.168.1.5+tls", "joe", "joe", false, 0},
    {"1.2.3.4", "all", "all", false, 8},
    {"::5", "all", "all", false, 8},
    {"2001:db8:7fff::1", "x", "six", false, 9},
    {"2001:db8:8000::1", "x", "six", false, 0},
    {"::1", "x", "six", false, 10},
    {"::2", "x", "six", false, 0},
    {"10.1.2.2", "db", "bits", false, 11},
    {"10.1.2.3", "db", "bits", false, 11},
    {"10.1.2.4", "db", "bits", false, 0},
    {"9.9.9.9+tls", "certs", "x", false, 12},
    {"9.9.9.9", "certs", "x", false, 0},
    {"::9+tls", "certs", "x", false, 0},
    {"9.9.9.9", "l", "x", false, 13},
};

static void first_matching_line_decides(void **state)
{
    (void)state;
    struct hba *h = parse(rules_text, NULL);
    assert_int_equal(hba_count(h), 11);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct rule_case *c = &cases[i];
        int line = ask(h, c->from, c->db, c->user, c->replication);
        if (line != c->line)
            fail_msg("%s %s %s: line %d, not %d", c->from, c->db, c->user, line, c->line);
    }
    hba_put(&h);
}

static void rule_carries_method_and_options(void **state)
{
    (void)state;
    struct hba *h = parse(rules_text, NULL);
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr sa;
    memcpy(&sa, &in, sizeof(sa));
    struct hba_query q = {.addr = &sa, .database = STR("l"), .user = STR("x")};
    const struct hba_rule *r = hba_find(h, &q);
    assert_int_equal(r->method, HBA_LDAP);
    assert_string_equal(r->options, "ldapserver=\"a b\" ldapport=3");
    assert_null(r->map);
    q.is_unix = true;
    q.user = STR("admin");
    r = hba_find(h, &q);
    assert_int_equal(r->method, HBA_PEER);
    assert_string_equal(r->options, "");
    assert_string_equal(hba_method_name(HBA_SCRAM), "scram-sha-256");
    assert_string_equal(hba_method_name(HBA_PAM), "pam");
    hba_put(&h);
}

struct refusal {
    const char *text, *reason;
};

static const struct refusal refusals[] = {
    {"\nnothost all all trust\n",
     "f:2: a line must begin with local, host, hostssl or hostnossl, not \"nothost\""},
    {"local", "f:1: database is missing"},
    {"local all", "f:1: user is missing"},
    {"local all all", "f:1: method is missing"},
    {"local all, all trust", "f:1: method is missing"},
    {"local all all trust,md5", "f:1: method must not be a list"},
    {"host all all trust", "f:1: \"trust\" is not an IPv4 or IPv6 address (host names are not "
                           "supported)"},
    {"host all all", "f:1: address is missing"},
    {"host all all 10.0.0.1", "f:1: mask of the address is missing"},
    {"host all all 10.0.0.1 trust", "f:1: bad address mask \"trust\""},
    {"host all all 10.0.0.1 ::", "f:1: bad address mask \"::\""},
    {"host all all 10.0.0.1 255.0.255.0 trust", "f:1: address mask \"255.0.255.0\" has a hole"},
    {"host all all 10.0.0.1/33 trust",
     "f:1: the prefix length of the address must be from 0 to 32"},
    {"host all all ::/129 trust", "f:1: the prefix length of the address must be from 0 to 128"},
    {"host all all 10.0.0.1/ trust", "f:1: the prefix length of the address must be from 0 to 32"},
    {"host all all samehost trust", "f:1: samehost and samenet are not supported"},
    {"host all all samenet trust", "f:1: samehost and samenet are not supported"},
    {"host samerole all all trust", "f:1: samerole is not supported"},
    {"host all +grp all trust", "f:1: group names (+name) are not supported"},
    {"host /^a all all trust", "f:1: regular expressions are not supported here"},
    {"host all all all magic", "f:1: unknown method \"magic\""},
    {"host all all all peer", "f:1: peer works on local lines only"},
    {"host all all all cert", "f:1: cert works on hostssl lines only"},
    {"local all all trust map=x", "f:1: map= goes with peer and cert only"},
    {"local all all peer map=x", "f:1: there is no user name map \"x\" (auth_ident_file)"},
    {"local all all md5 shiny=1", "f:1: option \"shiny=1\" is not supported"},
    {"local \"all all trust", "f:1: a quoted word has no closing quote"},
    {"local all,,x all trust", "f:1: empty item in a list"},
    {"local @/nonexistent/x all trust", "f:1: cannot open /nonexistent/x: no such file"},
};

static void bad_line_refuses_the_file_with_line_and_reason(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        struct hba *h = NULL;
        struct error err = {.text = ""};
        enum status st = hba_parse("f", str_of(refusals[i].text), NULL, &h, &err);
        if (st == ST_OK)
            fail_msg("accepted: %s", refusals[i].text);
        assert_null(h);
        assert_string_equal(err.text, refusals[i].reason);
    }
    struct hba *h = NULL;
    struct error err;
    const char zero[] = "local all a\0l trust";
    assert_int_equal(hba_parse("f", (struct str){zero, sizeof(zero) - 1}, NULL, &h, &err),
                     ST_INVALID);
}

static void names_come_from_a_file_beside_the_rules(void **state)
{
    (void)state;
    struct hba *h = NULL;
    struct error err;
    support_write("names", "joe, \"an n\"\n# all\n\nall bob # end\n");
    const char *path = support_write("hba.conf", "local @names x,@names trust\n");
    assert_int_equal(hba_load(path, NULL, &h, &err), ST_OK);
    assert_int_equal(ask(h, "unix", "joe", "bob", false), 1);
    assert_int_equal(ask(h, "unix", "an n", "x", false), 1);
    assert_int_equal(ask(h, "unix", "x", "x", false), 0);
    assert_int_equal(ask(h, "unix", "all", "all", false), 1);
    assert_int_equal(ask(h, "unix", "joe", "nobody", false), 0);
    hba_put(&h);
}

static void rules_cut_at_any_point_are_read_or_refused(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof(rules_text); n++) {
        struct hba *h = NULL;
        struct error err = {.text = ""};
        char *exact = mem_copy(rules_text, n + 1); /* no byte more than is given */
        enum status st = hba_parse("f", (struct str){exact, n}, NULL, &h, &err);
        assert_true((st == ST_OK) == (h != NULL));
        assert_true((st == ST_OK) == (err.text[0] == '\0'));
        hba_put(&h);
        mem_free(exact);
    }
}

static const char map_text[] = "# map system user\n"
                               "m  os-joe       joe\n"
                               "m  os-joe       ann\n"
                               "m  root         all\n"
                               "m  quoted       \"all\"\n"
                               "re /^(.*)@example\\.com$  \\1\n"
                               "re /^(.*)@example\\.org$  x_\\1_y\n"
                               "re /^guest$     guest\n"
                               "\"m 2\" \"a b\" \"c d\"\n";

struct map_case {
    const char *map, *system, *user;
    bool match;
};

static const struct map_case map_cases[] = {
    {NULL, "joe", "joe", true},
    {NULL, "joe", "ann", false},
    {NULL, "", "", false},
    {"m", "os-joe", "joe", true},
    {"m", "os-joe", "ann", true},
    {"m", "os-joe", "bob", false},
    {"m", "joe", "joe", false},
    {"m", "root", "anyone", true},
    {"m", "quoted", "all", true},
    {"m", "quoted", "anyone", false},
    {"re", "os-joe", "joe", false},
    {"re", "joe@example.com", "joe", true},
    {"re", "joe@example.com", "ann", false},
    {"re", "@example.com", "", false},
    {"re", "joe@exampleXcom", "joe", false},
    {"re", "joe@example.org", "x_joe_y", true},
    {"re", "joe@example.org", "x_jo_y", false},
    {"re", "guest", "guest", true},
    {"re", "guests", "guest", false},
    {"m 2", "a b", "c d", true},
    {"none", "joe", "joe", false},
};

static void user_name_maps_allow_what_they_list(void **state)
{
    (void)state;
    struct hba_ident *ident = NULL;
    struct error err;
    assert_int_equal(hba_ident_parse("f", str_of(map_text), &ident, &err), ST_OK);
    for (size_t i = 0; i < ARRAY_LEN(map_cases); i++) {
        const struct map_case *c = &map_cases[i];
        if (hba_ident_match(ident, c->map, str_of(c->system), str_of(c->user)) != c->match)
            fail_msg("%s: %s as %s", c->map != NULL ? c->map : "-", c->system, c->user);
    }
    /* a zero byte in a certificate's name does not end it */
    assert_false(hba_ident_match(ident, "m", (struct str){"os-joe\0x", 8}, STR("joe")));
    assert_false(hba_ident_match(NULL, "m", STR("joe"), STR("joe")));
    struct hba *h = parse("local all all peer map=m\nhostssl all all all cert map=re\n", ident);
    assert_int_equal(ask(h, "unix", "d", "u", false), 1);
    struct hba *more = hba_get(h);
    hba_put(&h);
    assert_int_equal(hba_count(more), 2);
    hba_put(&more);
    hba_ident_put(&ident);
}

static const struct refusal map_refusals[] = {
    {"m a", "f:1: a line must have a map, a system name and a user name"},
    {"\nm a b c", "f:2: a line must have a map, a system name and a user name"},
    {"m a,b c", "f:1: lists are not supported here"},
    {"m /( x", "f:1: bad regular expression \"(\": Unmatched ( or \\("},
    {"m /^a$ \\1", "f:1: \\1 needs a (group) in the regular expression"},
    {"m a +g", "f:1: +group and regular expressions are not supported as user name"},
};

static void bad_map_line_refuses_the_file(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(map_refusals); i++) {
        struct hba_ident *ident = NULL;
        struct error err = {.text = ""};
        assert_int_not_equal(hba_ident_parse("f", str_of(map_refusals[i].text), &ident, &err),
                             ST_OK);
        assert_null(ident);
        assert_string_equal(err.text, map_refusals[i].reason);
    }
}

static void configuration_reads_rules_and_maps_together(void **state)
{
    (void)state;
    support_write("ident.conf", "m os-joe joe\n");
    support_write("hba.conf", "local all all peer map=m\n");
    const char text[] = "[pgbouncer]\nauth_type = hba\nauth_hba_file = hba.conf\n"
                        "auth_ident_file = ident.conf\n";
    struct config *cfg = support_load(text);
    assert_int_equal(hba_count(cfg->hba), 1);
    assert_true(hba_ident_match(cfg->ident, "m", STR("os-joe"), STR("joe")));
    config_put(&cfg);
    support_write("hba.conf", "local all all peer map=other\n");
    struct error err;
    const char *path = support_write("main.ini", text);
    assert_int_equal(config_load(&toy_wire, path, &cfg, &err), ST_INVALID);
    assert_non_null(strstr(err.text, "main.ini:3: auth_hba_file: "));
    assert_non_null(strstr(err.text, "hba.conf:1: there is no user name map \"other\""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_matching_line_decides),
        cmocka_unit_test(rule_carries_method_and_options),
        cmocka_unit_test(bad_line_refuses_the_file_with_line_and_reason),
        cmocka_unit_test(names_come_from_a_file_beside_the_rules),
        cmocka_unit_test(rules_cut_at_any_point_are_read_or_refused),
        cmocka_unit_test(user_name_maps_allow_what_they_list),
        cmocka_unit_test(bad_map_line_refuses_the_file),
        cmocka_unit_test(configuration_reads_rules_and_maps_together),
    };
    return cmocka_run_group_tests(tests, support_setup, support_teardown);
}
