/* test_external_auth.c - PAM with a private service directory; LDAP as far as it goes without a
 * server.
 *
 * The service runs a script (pam_exec) that reads the password, so that a right and a wrong one are
 * told apart by real PAM code.
 */
#include "base/base.h"

#include "proxy/net/external_auth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void put_file(const char *dir, const char *name, mode_t mode, const char *text)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(path, mode), 0);
}

static void drop_file(const char *dir, const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    (void)unlink(path);
}

/* A service that accepts user bob with the password "right". */
static void put_service(const char *dir, const char *name)
{
    char text[512];
    put_file(dir, "check.sh", 0755,
             "#!/bin/sh\nread -r p\n[ \"$p\" = right ] && [ \"$PAM_USER\" = bob ]\n");
    snprintf(text, sizeof(text),
             "auth required pam_exec.so quiet expose_authtok %s/check.sh\n"
             "account required pam_permit.so\n",
             dir);
    put_file(dir, name, 0644, text);
}

static int setup(void **state)
{
    static char dir[32];
    snprintf(dir, sizeof(dir), "/tmp/pspamXXXXXX");
    *state = mkdtemp(dir);
    return *state == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    const char *dir = *state;
    drop_file(dir, "check.sh");
    drop_file(dir, "penstock");
    drop_file(dir, "pgbouncer");
    return rmdir(dir);
}

static void pam_accepts_the_right_password_only(void **state)
{
    const char *dir = *state;
    struct error err = {""};
    if (!external_auth_has_pam())
        skip();
    put_service(dir, "penstock");
    if (!external_auth_pam_from(dir, "bob", "right", &err))
        fail_msg("%s", err.text);
    assert_false(external_auth_pam_from(dir, "bob", "wrong", &err));
    assert_non_null(strstr(err.text, "PAM authentication"));
    assert_false(external_auth_pam_from(dir, "eve", "right", &err));
}

static void pam_falls_back_to_the_service_of_pgbouncer(void **state)
{
    const char *dir = *state;
    struct error err = {""};
    if (!external_auth_has_pam())
        skip();
    put_service(dir, "pgbouncer");
    assert_true(external_auth_pam_from(dir, "bob", "right", &err));
    put_file(dir, "penstock", 0644, "auth required pam_deny.so\naccount required pam_deny.so\n");
    assert_false(external_auth_pam_from(dir, "bob", "right", &err));
}

static void an_account_that_is_closed_is_refused_in_spite_of_its_password(void **state)
{
    const char *dir = *state;
    struct error err = {""};
    if (!external_auth_has_pam())
        skip();
    put_file(dir, "penstock", 0644, "auth required pam_permit.so\naccount required pam_deny.so\n");
    assert_false(external_auth_pam_from(dir, "bob", "right", &err));
    assert_non_null(strstr(err.text, "PAM account"));
}

static void an_empty_password_is_refused_before_anybody_is_asked(void **state)
{
    const char *dir = *state;
    struct error err = {""};
    struct ldap_options o;
    put_file(dir, "penstock", 0644,
             "auth required pam_permit.so\naccount required pam_permit.so\n");
    assert_false(external_auth_pam_from(dir, "bob", "", &err));
    ldap_options_init(&o);
    assert_int_equal(ldap_options_parse(&o, "ldapserver=127.0.0.1 ldapport=1 ldapprefix=cn=", &err),
                     ST_OK);
    err.text[0] = '\0';
    assert_false(external_auth_ldap(&o, "bob", "", &err));
    if (external_auth_has_ldap())
        assert_non_null(strstr(err.text, "empty"));
    assert_false(external_auth_ldap(&o, "", "secret", &err));
    if (external_auth_has_ldap())
        assert_non_null(strstr(err.text, "empty"));
    ldap_options_fini(&o);
}

static void an_ldap_server_that_is_not_there_is_a_refusal_with_a_reason(void **state)
{
    (void)state;
    struct error err = {""};
    struct ldap_options o;
    static const char *const rows[] = {
        "ldapserver=127.0.0.1 ldapport=1 ldapprefix=cn=",
        "ldapserver=127.0.0.1 ldapport=1 ldapbasedn=dc=x",
        "ldapserver=127.0.0.1 ldapport=1 ldapbasedn=dc=x ldaptls=1",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        ldap_options_init(&o);
        assert_int_equal(ldap_options_parse(&o, rows[i], &err), ST_OK);
        assert_false(external_auth_ldap(&o, "bob", "secret", &err));
        assert_non_null(strstr(err.text, "LDAP"));
        assert_null(strstr(err.text, "secret"));
        ldap_options_fini(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(pam_accepts_the_right_password_only, setup, teardown),
        cmocka_unit_test_setup_teardown(pam_falls_back_to_the_service_of_pgbouncer, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            an_account_that_is_closed_is_refused_in_spite_of_its_password, setup, teardown),
        cmocka_unit_test_setup_teardown(an_empty_password_is_refused_before_anybody_is_asked, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_ldap_server_that_is_not_there_is_a_refusal_with_a_reason,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
