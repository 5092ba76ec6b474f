/* test_config_url.c - the form without a file: a connection URL. */
#include "base/base.h"

#include "test/unit/test_config_support.h"

struct url_case {
    const char *url;
    const char *hosts; /* "host:port host:port", or the reason why it is refused */
    const char *user, *password, *dbname;
};

static const struct url_case urls[] = {
    {"postgres://joe:pw@db.example:5433/app", "db.example:5433", "joe", "pw", "app"},
    {"postgresql://joe@h/app", "h:5432", "joe", NULL, "app"},
    {"postgres://joe@h", "h:5432", "joe", NULL, "joe"},
    {"postgres://joe@/app", "localhost:5432", "joe", NULL, "app"},
    {"postgres://j%40e:p%3Aw%2F%22%22@h/a%20b", "h:5432", "j@e", "p:w/\"\"", "a b"},
    {"postgres://joe:a:b@c@h/x", "h:5432", "joe", "a:b@c", "x"},
    {"postgres://joe@[::1]:7/x", "::1:7", "joe", NULL, "x"},
    {"postgres://joe@[fe80::1%25eth0]/x", "fe80::1%eth0:5432", "joe", NULL, "x"},
    {"postgres://joe@a:1,b,[::2]:3/x", "a:1 b:5432 ::2:3", "joe", NULL, "x"},
    {"postgres://joe@%2Frun%2Fpg:6/x", "/run/pg:6", "joe", NULL, "x"},
    {"postgres://joe@/x?host=/run/pg&port=6", "/run/pg:6", "joe", NULL, "x"},
    {"postgres:///x?host=/a,/b&user=ann&password=p%26w", "/a:5432 /b:5432", "ann", "p&w", "x"},
    {"postgres://joe@h/x?dbname=y", "h:5432", "joe", NULL, "y"},
    {"mysql://joe@h/x", "the URL must begin with postgres:// or postgresql://", NULL, NULL, NULL},
    {"", "the URL must begin with postgres:// or postgresql://", NULL, NULL, NULL},
    {"postgres://joe@h:70000/x", "port must be from 1 to 65535", NULL, NULL, NULL},
    {"postgres://joe@h:x/x", "port must be from 1 to 65535", NULL, NULL, NULL},
    {"postgres://joe@[::1/x", "an address in the URL has no closing ]", NULL, NULL, NULL},
    {"postgres://joe@[::1]5/x", "after ] in the URL a :port is expected", NULL, NULL, NULL},
    {"postgres://joe@h/x%2", "bad %-code in the URL", NULL, NULL, NULL},
    {"postgres://joe@h/x%zz", "bad %-code in the URL", NULL, NULL, NULL},
    {"postgres://joe@h/x%00", "bad %-code in the URL", NULL, NULL, NULL},
    {"postgres://joe@h/x?sslmode=maybe",
     "sslmode: must be one of: disable, allow, prefer, require, verify-ca, verify-full", NULL, NULL,
     NULL},
    {"postgres://joe@h/x?nonsense=1", "unknown parameter \"nonsense\" in the URL", NULL, NULL,
     NULL},
    {"postgres://joe@h/x?=1", "a parameter in the URL has no name", NULL, NULL, NULL},
    {"postgres://joe@h/pgbouncer", "the database name \"pgbouncer\" is reserved", NULL, NULL, NULL},
    {"postgres://joe@h/%2A", "the database name \"*\" is reserved", NULL, NULL, NULL},
};

static void check_accepted(const struct url_case *c, const struct config *cfg)
{
    char hosts[200] = "";
    const struct config_database *d = config_find_database(cfg, str_of(c->dbname));
    assert_non_null(d);
    for (size_t i = 0; i < d->nhosts; i++) {
        size_t n = strlen(hosts);
        snprintf(hosts + n, sizeof(hosts) - n, "%s%s:%d", i > 0 ? " " : "", d->hosts[i].host,
                 d->hosts[i].port);
    }
    assert_string_equal(hosts, c->hosts);
    assert_string_equal(cfg->opt.auth_user, c->user);
    const struct secret *s = config_secret(cfg, str_of(c->user));
    assert_true((s != NULL) == (c->password != NULL));
    if (s != NULL) {
        assert_int_equal(s->len, strlen(c->password));
        assert_memory_equal(s->bytes, c->password, s->len);
    }
    assert_null(d->user); /* the URL's login is not lent to clients */
    assert_null(d->password);
    assert_null(config_find_database(cfg, STR("another")));
}

static void urls_are_understood_as_libpq_does_or_refused_with_a_reason(void **state)
{
    (void)state;
    unsetenv("PGUSER");
    unsetenv("PGPASSWORD");
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        struct config *cfg = NULL;
        struct error err = {.text = ""};
        enum status st = config_from_url(&toy_wire, urls[i].url, &cfg, &err);
        if ((st == ST_OK) != (urls[i].user != NULL))
            fail_msg("%s: %s", urls[i].url, err.text);
        if (st == ST_OK)
            check_accepted(&urls[i], cfg);
        else
            assert_string_equal(err.text, urls[i].hosts);
        config_put(&cfg);
    }
}

static void no_file_means_loopback_transaction_mode_and_scram(void **state)
{
    (void)state;
    struct config *cfg = NULL;
    struct error err;
    assert_int_equal(config_from_url(&toy_wire,
                                     "postgres://joe:pw@h/x?sslmode=verify-full&sslrootcert=/ca"
                                     "&connect_timeout=3&application_name=a%20b",
                                     &cfg, &err),
                     ST_OK);
    assert_string_equal(cfg->opt.listen_addr, "127.0.0.1");
    assert_int_equal(cfg->opt.listen_port, 6432);
    assert_int_equal(cfg->opt.pool_mode, CONFIG_POOL_TRANSACTION);
    assert_int_equal(cfg->opt.auth_type, CONFIG_AUTH_SCRAM);
    assert_string_equal(cfg->opt.auth_query, "WHO IS $1");
    assert_string_equal(cfg->opt.admin_users, "joe");
    assert_int_equal(cfg->opt.server_tls_sslmode, TLS_VERIFY_FULL);
    assert_string_equal(cfg->opt.server_tls_ca_file, "/ca");
    assert_int_equal(cfg->opt.server_connect_timeout, 3000000);
    assert_string_equal(config_find_database(cfg, STR("x"))->application_name, "a b");
    assert_true(cfg->penstock);
    struct config *next = NULL;
    assert_int_equal(config_load_reload(cfg, NULL, &next, &err), ST_UNSUPPORTED);
    assert_int_equal(config_set(cfg, STR("auth_type"), STR("md5"), &next, &err), ST_OK);
    assert_non_null(config_secret(next, STR("joe")));
    config_put(&next);
    config_put(&cfg);
}

static void login_that_the_url_leaves_out_comes_from_the_environment(void **state)
{
    (void)state;
    struct config *cfg = NULL;
    struct error err;
    setenv("PGUSER", "envuser", 1);
    setenv("PGPASSWORD", "envpw", 1);
    assert_int_equal(config_from_url(&toy_wire, "postgres://h", &cfg, &err), ST_OK);
    assert_string_equal(cfg->opt.auth_user, "envuser");
    assert_non_null(config_secret(cfg, STR("envuser")));
    assert_non_null(config_find_database(cfg, STR("envuser")));
    config_put(&cfg);
    unsetenv("PGUSER");
    unsetenv("PGPASSWORD");
    assert_int_equal(config_from_url(&toy_wire, "postgres://h/x", &cfg, &err), ST_OK);
    assert_true(cfg->opt.auth_user[0] != '\0');
    config_put(&cfg);
}

static void url_cut_at_any_point_is_no_crash(void **state)
{
    (void)state;
    static const char whole[] =
        "postgres://j%40e:p%3Aw@[::1]:7,b:8/a%20b?sslmode=require&host=/x&port=5";
    char cut[sizeof(whole)];
    for (size_t n = 0; n <= sizeof(whole); n++) {
        struct config *cfg = NULL;
        struct error err = {.text = ""};
        str_copy(cut, sizeof(cut), (struct str){whole, MIN(n, sizeof(whole) - 1)});
        enum status st = config_from_url(&toy_wire, cut, &cfg, &err);
        assert_true((st == ST_OK) == (cfg != NULL));
        assert_true((st == ST_OK) == (err.text[0] == '\0'));
        config_put(&cfg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_are_understood_as_libpq_does_or_refused_with_a_reason),
        cmocka_unit_test(no_file_means_loopback_transaction_mode_and_scram),
        cmocka_unit_test(login_that_the_url_leaves_out_comes_from_the_environment),
        cmocka_unit_test(url_cut_at_any_point_is_no_crash),
    };
    return cmocka_run_group_tests(tests, support_setup, support_teardown);
}
