/* test_config_full.c - a file as PgBouncer 1.25 takes it, with every key, none at its default. */
#include "base/base.h"

#include "test/unit/test_config_support.h"

#include "proxy/config/hba.h"

struct key_case {
    const char *key, *text;
};

static const struct key_case keys[] = {
    {"admin_users", "postgres, ops"},
    {"application_name_add_host", "1"},
    {"auth_dbname", "authdb"},
    {"auth_file", "userlist.txt"},
    {"auth_hba_file", "pg_hba.conf"},
    {"auth_ident_file", "pg_ident.conf"},
    {"auth_ldap_options", "ldapurl=\"ldap://127.0.0.1/dc=example,dc=net?uid?sub\""},
    {"auth_query", "SELECT * FROM auth.get($1) ; -- one"},
    {"auth_type", "hba"},
    {"auth_user", "authuser"},
    {"autodb_idle_timeout", "1800"},
    {"cancel_wait_timeout", "5"},
    {"client_idle_timeout", "900.5"},
    {"client_login_timeout", "30"},
    {"client_tls13_ciphers", "TLS_AES_256_GCM_SHA384"},
    {"client_tls_ca_file", "/etc/tls/ca.crt"},
    {"client_tls_cert_file", "/etc/tls/server.crt"},
    {"client_tls_ciphers", "HIGH:!aNULL"},
    {"client_tls_dheparams", "legacy"},
    {"client_tls_ecdhcurve", "prime256v1"},
    {"client_tls_key_file", "/etc/tls/server.key"},
    {"client_tls_protocols", "tlsv1.2,tlsv1.3"},
    {"client_tls_sslmode", "require"},
    {"conffile", "/etc/pgbouncer/other.ini"},
    {"default_pool_size", "25"},
    {"disable_pqexec", "1"},
    {"dns_max_ttl", "20"},
    {"dns_nxdomain_ttl", "10"},
    {"dns_zone_check_period", "60"},
    {"idle_transaction_timeout", "45"},
    {"ignore_startup_parameters", "extra_float_digits, options"},
    {"job_name", "bouncer"},
    {"listen_addr", "*"},
    {"listen_backlog", "256"},
    {"listen_port", "6543"},
    {"log_connections", "0"},
    {"log_disconnections", "0"},
    {"log_pooler_errors", "0"},
    {"log_stats", "0"},
    {"logfile", "/var/log/pgbouncer/pgbouncer.log"},
    {"login_notify_message", "Welcome; you are pooled"},
    {"max_client_conn", "5000"},
    {"max_db_client_connections", "4000"},
    {"max_db_connections", "200"},
    {"max_packet_size", "1073741824"},
    {"max_prepared_statements", "500"},
    {"max_user_client_connections", "300"},
    {"max_user_connections", "150"},
    {"min_pool_size", "2"},
    {"peer_id", "3"},
    {"pidfile", "/run/pgbouncer/pgbouncer.pid"},
    {"pkt_buf", "8192"},
    {"pool_mode", "transaction"},
    {"pool_idle_timeout", "7200"},
    {"query_timeout", "120"},
    {"query_wait_notify", "3"},
    {"query_wait_timeout", "60"},
    {"reserve_pool_size", "5"},
    {"reserve_pool_timeout", "2.5"},
    {"resolv_conf", "/etc/pgbouncer/resolv.conf"},
    {"sbuf_loopcnt", "10"},
    {"scram_iterations", "8192"},
    {"server_check_delay", "15"},
    {"server_check_query", "select 1"},
    {"server_connect_timeout", "7"},
    {"server_fast_close", "1"},
    {"server_idle_timeout", "300"},
    {"server_lifetime", "1200"},
    {"server_login_retry", "4"},
    {"server_reset_query", "DISCARD ALL; SELECT 1"},
    {"server_reset_query_always", "1"},
    {"server_round_robin", "1"},
    {"server_tls13_ciphers", "TLS_AES_128_GCM_SHA256"},
    {"server_tls_ca_file", "/etc/tls/root.crt"},
    {"server_tls_cert_file", "/etc/tls/client.crt"},
    {"server_tls_ciphers", "secure"},
    {"server_tls_key_file", "/etc/tls/client.key"},
    {"server_tls_protocols", "secure"},
    {"server_tls_sslmode", "verify-full"},
    {"service_name", "bouncer"},
    {"so_reuseport", "1"},
    {"stats_period", "30"},
    {"stats_users", "stats, monitor"},
    {"suspend_timeout", "8"},
    {"syslog", "1"},
    {"syslog_facility", "local0"},
    {"syslog_ident", "bouncer"},
    {"tcp_defer_accept", "45"},
    {"tcp_keepalive", "0"},
    {"tcp_keepcnt", "4"},
    {"tcp_keepidle", "60"},
    {"tcp_keepintvl", "15"},
    {"tcp_socket_buffer", "262144"},
    {"tcp_user_timeout", "12500"},
    {"track_extra_parameters", "IntervalStyle, search_path"},
    {"transaction_timeout", "600"},
    {"unix_socket_dir", "/run/pgbouncer"},
    {"unix_socket_group", "postgres"},
    {"unix_socket_mode", "0770"},
    {"user", "pgbouncer"},
    {"verbose", "1"},
};

static const char entries[] =
    ";;;\n;;; Administrative settings and so on\n;;;\n\n"
    "[databases]\n"
    "; foodb over Unix socket\n"
    "foodb =\n"
    "; redirect bardb to bazdb on localhost\n"
    "bardb = host=localhost dbname=bazdb\n"
    "forcedb = host=localhost port=300 user=baz password=foo client_encoding=UNICODE "
    "datestyle=ISO connect_query='SELECT 1; SELECT 2'\n"
    "nondefaultdb = pool_size=50 reserve_pool=10\n"
    "every = dbname='e db' host=a,/run/b,@c port=6000 user=u password='p ''q''' auth_user=au "
    "auth_query='SELECT $1' auth_dbname=ad pool_size=1 min_pool_size=2 reserve_pool_size=3 "
    "pool_mode=session max_db_connections=4 max_db_client_connections=5 server_lifetime=6 "
    "query_wait_timeout=7.5 load_balance_hosts=disable connect_query='SELECT 1' "
    "client_encoding=UTF8 datestyle='ISO, DMY' timezone=UTC application_name='my app'\n"
    "* = host=testserver auth_user=authuser\n"
    "\n[users]\n"
    ";user1 = pool_mode=transaction max_user_connections=10\n"
    "user2 = pool_mode=statement pool_size=1 reserve_pool_size=2 max_user_connections=3 "
    "max_user_client_connections=4 query_timeout=5 query_wait_timeout=6 "
    "idle_transaction_timeout=7 transaction_timeout=8 client_idle_timeout=9\n"
    "\n[peers]\n"
    "1 = host=host1.example.com\n"
    "2 = host=/tmp/pgbouncer-2 port=5555 pool_size=9\n";

/* The whole file; freed by the caller. */
static char *whole_file(size_t *n)
{
    struct buf ini;
    buf_init(&ini, 1 << 20);
    buf_put_text(&ini, entries);
    buf_put_text(&ini, "\n[pgbouncer]\n");
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        buf_printf(&ini, "%s%s%s\n", keys[i].key, i % 2 == 0 ? " = " : "=", keys[i].text);
    buf_put_u8(&ini, 0);
    char *text = mem_copy(buf_data(&ini), buf_len(&ini));
    *n = buf_len(&ini) - 1;
    buf_fini(&ini);
    support_write("userlist.txt", "\"joe\" \"pw\"\n");
    support_write("pg_ident.conf", "m a b\n");
    support_write("pg_hba.conf", "local all all peer map=m\n");
    return text;
}

/* Files that conffile would look for elsewhere are named in full. */
static struct config *load_whole(void)
{
    size_t n = 0;
    char *text = whole_file(&n);
    struct buf ini;
    buf_init(&ini, 1 << 20);
    buf_printf(&ini, "%sauth_file = %s\n", text, support_path("userlist.txt"));
    buf_printf(&ini, "auth_hba_file = %s\n", support_path("pg_hba.conf"));
    buf_printf(&ini, "auth_ident_file = %s\n", support_path("pg_ident.conf"));
    buf_put_u8(&ini, 0);
    struct config *cfg = support_load((const char *)buf_data(&ini));
    buf_fini(&ini);
    mem_free(text);
    return cfg;
}

static void every_key_of_pgbouncer_is_taken_with_its_value(void **state)
{
    (void)state;
    struct config *cfg = load_whole();
    size_t seen = 0;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const char *shown = support_shown(cfg, keys[i].key);
        const struct config_option *o = config_option_find(str_of(keys[i].key));
        const char *def = config_schema_default(o, false, &toy_wire);
        seen += !o->ours;
        if (o->type == CONFIG_MODE)
            assert_string_equal(shown, "504");
        else if (strncmp(keys[i].key, "auth_", 5) != 0 || strstr(keys[i].key, "_file") == NULL)
            assert_string_equal(shown, keys[i].text);
        if (strcmp(keys[i].text, def) == 0 && strcmp(keys[i].key, "server_tls_protocols") != 0)
            fail_msg("%s is at its default", keys[i].key);
    }
    assert_int_equal(seen, 101);
    assert_int_equal(ARRAY_LEN(keys), 101);
    assert_non_null(config_secret(cfg, STR("joe")));
    assert_int_equal(hba_count(cfg->hba), 1);
    config_put(&cfg);
}

static void order_is_that_of_show_config(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        assert_string_equal(config_schema[i].name, keys[i].key);
}

static void every_key_of_a_database_is_taken(void **state)
{
    (void)state;
    struct config *cfg = load_whole();
    const struct config_database *d = config_find_database(cfg, STR("every"));
    assert_string_equal(d->dbname, "e db");
    assert_int_equal(d->nhosts, 3);
    assert_string_equal(d->hosts[1].host, "/run/b");
    assert_string_equal(d->hosts[2].host, "@c");
    assert_int_equal(d->hosts[2].port, 6000);
    assert_string_equal(d->user, "u");
    assert_string_equal(d->password, "p 'q'");
    assert_string_equal(d->auth_user, "au");
    assert_string_equal(d->auth_query, "SELECT $1");
    assert_string_equal(d->auth_dbname, "ad");
    assert_int_equal(d->limits.pool_size, 1);
    assert_int_equal(d->limits.min_pool_size, 2);
    assert_int_equal(d->limits.reserve_pool_size, 3);
    assert_int_equal(d->limits.pool_mode, CONFIG_POOL_SESSION);
    assert_int_equal(d->limits.max_connections, 4);
    assert_int_equal(d->limits.max_client_connections, 5);
    assert_int_equal(d->limits.timeout[CONFIG_SERVER_LIFETIME], 6000000);
    assert_int_equal(d->limits.timeout[CONFIG_QUERY_WAIT], 7500000);
    assert_int_equal(d->limits.timeout[CONFIG_QUERY], -1);
    assert_int_equal(d->load_balance, CONFIG_NO_BALANCE);
    assert_string_equal(d->connect_query, "SELECT 1");
    assert_string_equal(d->client_encoding, "UTF8");
    assert_string_equal(d->datestyle, "ISO, DMY");
    assert_string_equal(d->timezone, "UTC");
    assert_string_equal(d->application_name, "my app");
    assert_string_equal(config_find_database(cfg, STR("foodb"))->hosts[0].host, "/run/pgbouncer");
    assert_int_equal(config_find_database(cfg, STR("nondefaultdb"))->limits.reserve_pool_size, 10);
    assert_string_equal(config_find_database(cfg, STR("unknown"))->hosts[0].host, "testserver");
    assert_int_equal(cfg->entries->ndatabases, 6);
    assert_string_equal(cfg->entries->databases[0]->name, "*");
    assert_string_equal(cfg->entries->databases[5]->name, "nondefaultdb");
    config_put(&cfg);
}

static void every_key_of_a_user_is_taken(void **state)
{
    (void)state;
    struct config *cfg = load_whole();
    const struct config_user *u = config_find_user(cfg, STR("user2"));
    assert_null(config_find_user(cfg, STR("user1")));
    assert_int_equal(u->limits.pool_mode, CONFIG_POOL_STATEMENT);
    assert_int_equal(u->limits.pool_size, 1);
    assert_int_equal(u->limits.reserve_pool_size, 2);
    assert_int_equal(u->limits.max_connections, 3);
    assert_int_equal(u->limits.max_client_connections, 4);
    assert_int_equal(u->limits.timeout[CONFIG_QUERY], 5000000);
    assert_int_equal(u->limits.timeout[CONFIG_QUERY_WAIT], 6000000);
    assert_int_equal(u->limits.timeout[CONFIG_IDLE_TRANSACTION], 7000000);
    assert_int_equal(u->limits.timeout[CONFIG_TRANSACTION], 8000000);
    assert_int_equal(u->limits.timeout[CONFIG_CLIENT_IDLE], 9000000);
    assert_int_equal(config_find_peer(cfg, 2)->port, 5555);
    config_put(&cfg);
}

static void file_cut_at_any_point_is_taken_or_refused(void **state)
{
    (void)state;
    size_t n = 0;
    char *text = whole_file(&n);
    const struct config *none = NULL;
    for (size_t cut = 0; cut < n; cut += 7) {
        struct config *cfg = NULL;
        struct error err = {.text = ""};
        char *part = str_dup((struct str){text, cut});
        enum status st = config_load(&toy_wire, support_write("cut.ini", part), &cfg, &err);
        assert_true((st == ST_OK) == (cfg != none));
        assert_true((st == ST_OK) == (err.text[0] == '\0'));
        config_put(&cfg);
        mem_free(part);
    }
    mem_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_of_pgbouncer_is_taken_with_its_value),
        cmocka_unit_test(order_is_that_of_show_config),
        cmocka_unit_test(every_key_of_a_database_is_taken),
        cmocka_unit_test(every_key_of_a_user_is_taken),
        cmocka_unit_test(file_cut_at_any_point_is_taken_or_refused),
    };
    return cmocka_run_group_tests(tests, support_setup, support_teardown);
}
