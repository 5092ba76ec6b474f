/* test_ldap_options.c - the ldap* options: words, quotes, URLs, rules, escaping. */
#include "base/base.h"

#include "proxy/net/ldap_options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void parse_ok(struct ldap_options *o, const char *text)
{
    struct error err = {""};
    ldap_options_init(o);
    if (ldap_options_parse(o, text, &err) != ST_OK)
        fail_msg("%s: %s", text, err.text);
}

static void words_and_quotes_are_read_as_pg_hba_has_them(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "ldapserver=ldap.example ldapprefix=\"cn=\" ldapsuffix=\", dc=example, dc=net\"",
        "ldapserver=ldap.example \"ldapprefix=cn=\"\t \"ldapsuffix=, dc=example, dc=net\" ",
        "  ldapsuffix=\", dc=exa\"mple\", dc=net\" ldapprefix=cn= ldapserver=ldap.example\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct ldap_options o;
        parse_ok(&o, rows[i]);
        assert_string_equal(o.server, "ldap.example");
        assert_string_equal(o.prefix, "cn=");
        assert_string_equal(o.suffix, ", dc=example, dc=net");
        assert_null(o.basedn);
        ldap_options_fini(&o);
        assert_null(o.server);
    }
    struct ldap_options o;
    parse_ok(&o, "ldapserver=\"a b\" ldapbasedn=x ldapbindpasswd=\"say \"\"hi\"\" now\" ldaptls=1 "
                 "ldapport=1389 ldapscheme=ldap");
    assert_string_equal(o.bindpasswd, "say \"hi\" now");
    assert_true(o.tls);
    assert_int_equal(o.port, 1389);
    assert_int_equal(o.scope, 2);
    ldap_options_fini(&o);
}

static void urls_are_taken_apart(void **state)
{
    (void)state;
    static const struct {
        const char *url, *server, *basedn, *attr, *filter, *scheme;
        int port, scope;
    } rows[] = {
        {"ldap://h/dc=example,dc=net?uid?sub", "h", "dc=example,dc=net", "uid", NULL, "ldap", 0, 2},
        {"ldaps://h:1636/dc=x??one?(uid=$username)", "h", "dc=x", NULL, "(uid=$username)", "ldaps",
         1636, 1},
        {"LDAP://127.0.0.1:12345/dc=a%20b%2Cc?cn,mail?base", "127.0.0.1", "dc=a b,c", "cn", NULL,
         "ldap", 12345, 0},
        {"ldap://[::1]:390/dc=x?uid", "[::1]", "dc=x", "uid", NULL, "ldap", 390, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct ldap_options o;
        char text[256];
        snprintf(text, sizeof(text), "ldapurl=\"%s\"", rows[i].url);
        parse_ok(&o, text);
        assert_string_equal(o.server, rows[i].server);
        assert_string_equal(o.basedn, rows[i].basedn);
        assert_int_equal(o.searchattribute == NULL, rows[i].attr == NULL);
        if (rows[i].attr != NULL)
            assert_string_equal(o.searchattribute, rows[i].attr);
        assert_int_equal(o.searchfilter == NULL, rows[i].filter == NULL);
        if (rows[i].filter != NULL)
            assert_string_equal(o.searchfilter, rows[i].filter);
        assert_string_equal(o.scheme, rows[i].scheme);
        assert_int_equal(o.port, rows[i].port);
        assert_int_equal(o.scope, rows[i].scope);
        ldap_options_fini(&o);
    }
}

static void options_that_make_no_sense_are_refused_with_a_reason(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        "ldapserver=h",
        "ldapbasedn=dc=x",
        "ldapserver= ldapprefix=cn=",
        "ldapserver=h ldapprefix=cn= ldapbasedn=dc=x",
        "ldapserver=h ldapsuffix=x ldapbinddn=y",
        "ldapprefix=cn= ldapurl=ldap://h/dc=x",
        "ldapserver=h ldapbasedn=x ldapsearchattribute=uid ldapsearchfilter=(uid=$username)",
        "ldapserver=h ldapprefix=cn= ldapport=0",
        "ldapserver=h ldapprefix=cn= ldapport=65536",
        "ldapserver=h ldapprefix=cn= ldapport=x",
        "ldapserver=h ldapprefix=cn= ldaptls=yes",
        "ldapserver=h ldapprefix=cn= ldapscheme=http",
        "ldapserver=h ldapprefix=cn= ldapscheme=ldaps ldaptls=1",
        "ldapserver=h ldapprefix=cn= colour=red",
        "ldapserver=h ldapprefix",
        "ldapserver=h ldapprefix=\"cn=",
        "ldapurl=http://h/dc=x",
        "ldapurl=ldap://h/dc=x?uid?all",
        "ldapurl=ldap://h/dc=%4",
        "ldapurl=ldap://h/dc=%zz",
        "ldapurl=ldap://h/dc=%00",
        "ldapurl=ldap://h:99999/dc=x",
        "ldapurl=ldap://[::1/dc=x",
        "ldapurl=ldap://h/dc=x?uid?sub?(a=b)?!ext",
        "ldapurl=ldap:///dc=x",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct ldap_options o;
        struct error err = {""};
        ldap_options_init(&o);
        if (ldap_options_parse(&o, rows[i], &err) != ST_INVALID || err.text[0] == '\0')
            fail_msg("\"%s\" was not refused", rows[i]);
        ldap_options_fini(&o);
    }
}

static void servers_become_uris(void **state)
{
    (void)state;
    static const struct {
        const char *options, *uri;
    } rows[] = {
        {"ldapserver=h ldapprefix=x", "ldap://h:389"},
        {"ldapserver=\"a  b\" ldapprefix=x ldapport=1", "ldap://a:1 ldap://b:1"},
        {"ldapserver=::1 ldapprefix=x ldapscheme=ldaps", "ldaps://[::1]:636"},
        {"ldapurl=ldaps://[::1]/dc=x", "ldaps://[::1]:636"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct ldap_options o;
        struct error err = {""};
        char uri[64], tiny[5];
        parse_ok(&o, rows[i].options);
        assert_int_equal(ldap_options_uri(&o, uri, sizeof(uri), &err), ST_OK);
        assert_string_equal(uri, rows[i].uri);
        assert_int_equal(ldap_options_uri(&o, tiny, sizeof(tiny), &err), ST_LIMIT);
        ldap_options_fini(&o);
    }
}

static void users_cannot_leave_their_place_in_a_dn(void **state)
{
    (void)state;
    static const struct {
        const char *user, *dn;
    } rows[] = {
        {"bob", "cn=bob,dc=x"},
        {"bob,dc=admins", "cn=bob\\2cdc\\3dadmins,dc=x"},
        {"#a", "cn=\\23a,dc=x"},
        {" a b ", "cn=\\20a b\\20,dc=x"},
        {"a\\b\"c+d<e>f;g", "cn=a\\5cb\\22c\\2bd\\3ce\\3ef\\3bg,dc=x"},
        {"a\nb", "cn=a\\0ab,dc=x"},
        {"b\xc3\xb6", "cn=b\xc3\xb6,dc=x"},
    };
    struct ldap_options o;
    struct error err = {""};
    char dn[128], tiny[8];
    parse_ok(&o, "ldapserver=h ldapprefix=cn= ldapsuffix=,dc=x");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(ldap_options_simple_dn(&o, rows[i].user, dn, sizeof(dn), &err), ST_OK);
        assert_string_equal(dn, rows[i].dn);
    }
    assert_int_equal(ldap_options_simple_dn(&o, "longer", tiny, sizeof(tiny), &err), ST_LIMIT);
    assert_string_equal(tiny, "");
    ldap_options_fini(&o);
    parse_ok(&o, "ldapserver=h ldapprefix=CORP\\ ");
    assert_int_equal(ldap_options_simple_dn(&o, "bob", dn, sizeof(dn), &err), ST_OK);
    assert_string_equal(dn, "CORP\\bob");
    ldap_options_fini(&o);
}

static void users_cannot_leave_their_place_in_a_filter(void **state)
{
    (void)state;
    static const struct {
        const char *options, *user, *filter;
    } rows[] = {
        {"ldapserver=h ldapbasedn=x", "bob", "(uid=bob)"},
        {"ldapserver=h ldapbasedn=x ldapsearchattribute=cn", "*", "(cn=\\2a)"},
        {"ldapserver=h ldapbasedn=x ldapsearchfilter=\"(|(uid=$username)(mail=$username))\"",
         "a)(b=*", "(|(uid=a\\29\\28b=\\2a)(mail=a\\29\\28b=\\2a))"},
        {"ldapserver=h ldapbasedn=x ldapsearchfilter=(uid=$user)", "bob", "(uid=$user)"},
        {"ldapserver=h ldapbasedn=x", "$username\\", "(uid=$username\\5c)"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct ldap_options o;
        struct error err = {""};
        char filter[128];
        parse_ok(&o, rows[i].options);
        assert_int_equal(ldap_options_filter(&o, rows[i].user, filter, sizeof(filter), &err),
                         ST_OK);
        assert_string_equal(filter, rows[i].filter);
        ldap_options_fini(&o);
    }
}

static void the_keys_are_known_by_name(void **state)
{
    (void)state;
    assert_true(ldap_options_is_key(STR("ldapserver")));
    assert_true(ldap_options_is_key(STR("ldaptls")));
    assert_false(ldap_options_is_key(STR("map")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_and_quotes_are_read_as_pg_hba_has_them),
        cmocka_unit_test(urls_are_taken_apart),
        cmocka_unit_test(options_that_make_no_sense_are_refused_with_a_reason),
        cmocka_unit_test(servers_become_uris),
        cmocka_unit_test(users_cannot_leave_their_place_in_a_dn),
        cmocka_unit_test(users_cannot_leave_their_place_in_a_filter),
        cmocka_unit_test(the_keys_are_known_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
