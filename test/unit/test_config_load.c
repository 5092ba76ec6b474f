/* test_config_load.c - files: what is accepted, what is refused and where the blame goes; reload
 * and SET. */
#include "base/base.h"

#include "test/unit/test_config_support.h"

#include "cache/cache_rule.h"
#include "proxy/config/hba.h"

#define REDIS_RULE                                                                                 \
    "[cache]\nstore = redis://h\n[cache a]\nquery = SELECT v FROM t WHERE i = $1\nkey = k:$1\n"

struct refusal {
    const char *text, *reason;
};

static const struct refusal refusals[] = {
    {"[pgbouncer]\nno_such = 1\n", "@:2: no_such: unknown key"},
    {"[pgbouncer]\n\n; c\nlisten_port = x\n", "@:4: listen_port: not a number"},
    {"[pgbouncer]\nlisten_port = 70000\n", "@:2: listen_port: must be from 1 to 65535"},
    {"[pgbouncer]\nquery_timeout = 5 ; five\n",
     "@:2: query_timeout: not a time in seconds (a comment needs a line of its own)"},
    {"[other]\n", "@:1: unknown section [other]"},
    {"[cluster]\n", "@:1: unknown section [cluster]"},
    {"[cluster main]\n", "@: [databases]: [cluster main]: hosts is missing"},
    {"[cluster main]\nhost = x\n", "@:2: host: unknown key"},
    {"[cluster main]\nrule = SELECT 1\n",
     "@:2: rule: must begin with primary, replica, prefer-replica or auto"},
    {"[cluster main]\nrule = primary\n", "@:2: rule: a pattern or digest is missing"},
    {"[cluster main]\nconsistency = x\n",
     "@:2: consistency: must be one of: off, session, database"},
    {"[cluster main]\ncheck_interval = 0\n", "@:2: check_interval: time is out of range"},
    {"[cluster main]\nhosts = a,,b\n",
     "@: [databases]: [cluster main]: hosts: empty item in the list"},
    {"[cluster main]\nhosts = a:0\n",
     "@: [databases]: [cluster main]: hosts: port must be from 1 to 65535"},
    {"[cluster main]\nhosts = a, b\nweights = 1\n",
     "@: [databases]: [cluster main]: weights: 1 for 2 hosts"},
    {"[cluster main]\nhosts = a\nweights = 101\n",
     "@: [databases]: [cluster main]: weights: must be numbers from 0 to 100"},
    {"[cluster main]\nhosts = a, b\nzones = x\n",
     "@: [databases]: [cluster main]: zones: 1 for 2 hosts"},
    {"[cluster main]\nhosts = a\n", "@: [databases]: [cluster main]: probe_user is missing, and no "
                                    "database entry of it has a user"},
    {"[databases]\na = cluster=x\n", "@: [databases]: a: there is no section [cluster x]"},
    {"[databases]\na = cluster=c host=x\n[cluster c]\nhosts = a\nprobe_user = u\n",
     "@: [databases]: a: host beside cluster"},
    {"[databases]\na = host=x route=replica\n", "@: [databases]: a: route without cluster"},
    {"[databases]\na = cluster=c route=x\n",
     "@:2: a: route: must be one of: auto, primary, replica"},
    {"[cachet]\n", "@:1: unknown section [cachet]"},
    {"[cache]\nmode = strict\n", "@:2: mode: strict is not in this release: off, ttl or lease"},
    {"[cache]\nstore = nowhere\n", "@:2: store: must be memory or redis://HOST:PORT/DATABASE"},
    {"[cache]\nstore = rediss://h:x\n", "@:2: store: port must be from 1 to 65535"},
    {"[cache]\nredis_tls_sslmode = prefer\n",
     "@:2: redis_tls_sslmode: must be one of: require, verify-ca, verify-full"},
    {"[cache]\nstore = redis://\n", "@:2: store: has no host"},
    {"[cache]\nstore = redis://h:x\n", "@:2: store: port must be from 1 to 65535"},
    {"[cache]\nstore = redis://h/x\n", "@:2: store: the database must be a number"},
    {"[cache]\nstore = redis://u:p%20@h\n", "@:2: store: % is not understood: use redis_password"},
    {"[cache]\nstore = redis://h\nredis_name = a,b\n",
     "@:3: redis_name: may have letters, digits and . _ : -"},
    {"[cache]\nwrite_without_redis = wait\n",
     "@:2: write_without_redis: must be one of: proceed, hold, refuse"},
    {"[cache]\nttl = 5\n", "@:2: ttl: unknown key"},
    {"[cache a b]\n", "@:1: [cache NAME]: the name has 1 to 63 letters, digits, _ - and ."},
    {"[cache a]\n\n[cache a]\n", "@:3: [cache a] is there twice"},
    {"[cache a]\nkey = k:$1\n", "@:1: query: [cache a]: must be given"},
    {"[cache a]\nquery = SELECT v FROM t WHERE i = $1\n", "@:2: key: [cache a]: must be given"},
    {"[cache a]\nttl = 0\n", "@:2: ttl: time is out of range"},
    {"[cache a]\ntable. = x\n", "@:2: table.: must be table.NAME = COLUMN or table.NAME = *"},
    {"[peers]\n2 = host=h\n[cache a]\nquery = SELECT v FROM t WHERE i = $1\nkey = k:$1\n",
     "@:4: mode: [cache a]: lease with store = memory is for one process alone, but there is "
     "[peers]"},
    {"[penstock]\nso_reuseport = 1\n[cache a]\nquery = SELECT v FROM t WHERE i = $1\nkey = "
     "k:$1\n",
     "@:4: mode: [cache a]: lease with store = memory is for one process alone, but there is "
     "so_reuseport"},
    {"[cache a]\nlocal_ttl = -1\n", "@:2: local_ttl: not a time in seconds"},
    {REDIS_RULE "local_ttl = 10\n",
     "@:4: local_ttl: [cache a]: is for mode ttl: in mode lease Redis must be asked each time, "
     "because others may have written"},
    {REDIS_RULE "[cache]\nlocal_ttl = 10\n",
     "@:4: local_ttl: [cache a]: is for mode ttl: in mode lease Redis must be asked each time, "
     "because others may have written"},
    {REDIS_RULE "mode = ttl\nttl = 10\nlocal_ttl = 10\n",
     "@:4: local_ttl: [cache a]: must be below ttl, which it is a part of"},
    {"[service x]\n", "@:1: section [service x] is not implemented in this release"},
    {"[services]\n", "@:1: unknown section [services]"},
    {"[pgbouncer\n", "@:1: [section] has no closing ]"},
    {"listen_port = 1\n", "@:1: listen_port: stands before the first [section]"},
    {"[pgbouncer]\nlisten_port\n", "@:2: not a key = value, [section], comment or %include"},
    {"[pgbouncer]\n= 5\n", "@:2: name before = is empty"},
    {"[databases]\na b = host=x\n", "@:2: a name with blanks or quotes must be \"quoted\""},
    {"[databases]\n\"a = host=x\n", "@:2: not \"name\" = value"},
    {"[databases]\n\"a\" host=x\n", "@:2: not \"name\" = value"},
    {"[databases]\n\"\" = host=x\n", "@:2: name before = is empty"},
    {"[databases]\npgbouncer = host=x\n", "@:2: pgbouncer: this name belongs to the console"},
    {"[databases]\n\"penstock\" = host=x\n", "@:2: penstock: this name belongs to the console"},
    {"[databases]\na = hots=x\n", "@:2: a: unknown key \"hots\""},
    {"[databases]\na = host\n", "@:2: a: connection string is not a list of key=value"},
    {"[databases]\na = =x\n", "@:2: a: connection string is not a list of key=value"},
    {"[databases]\na = host='x\n", "@:2: a: host: the value has no closing quote"},
    {"[databases]\na = host='x'y\n", "@:2: a: host: a blank must follow the closing quote"},
    {"[databases]\na = host=x,,y\n", "@:2: a: host: empty item in the list"},
    {"[databases]\na = host=x,y port=1,2,3\n", "@:2: a: port: 3 ports for 2 hosts"},
    {"[databases]\na = port=0\n", "@:2: a: port must be from 1 to 65535"},
    {"[databases]\na = port=''\n", "@:2: a: port: is empty"},
    {"[databases]\na = pool_size=-1\n", "@:2: a: pool_size: must be a number from 0 to 2147483647"},
    {"[databases]\na = pool_mode=x\n",
     "@:2: a: pool_mode: must be one of: session, transaction, statement"},
    {"[databases]\na = query_timeout=x\n", "@:2: a: query_timeout: not a time in seconds"},
    {"[databases]\na = load_balance_hosts=x\n",
     "@:2: a: load_balance_hosts: must be one of: round-robin, disable"},
    {"[databases]\na = max_user_connections=1\n", "@:2: a: unknown key \"max_user_connections\""},
    {"[databases]\na = password=env:PENSTOCK_NO_SUCH_NAME\n",
     "@:2: a: password: environment variable PENSTOCK_NO_SUCH_NAME is not set"},
    {"[databases]\na = password=file:/nonexistent/x\n",
     "@:2: a: password: cannot open /nonexistent/x: no such file"},
    {"[users]\nu = max_db_connections=1\n", "@:2: u: unknown key \"max_db_connections\""},
    {"[users]\nu = pool_size=x\n", "@:2: u: pool_size: must be a number from 0 to 2147483647"},
    {"[peers]\nx = host=a\n", "@:2: x: a peer is named by a number from 1 to 65535"},
    {"[peers]\n0 = host=a\n", "@:2: 0: a peer is named by a number from 1 to 65535"},
    {"[peers]\n1 = port=5\n", "@:2: 1: host is missing"},
    {"[peers]\n1 = host=a port=x\n", "@:2: 1: port: port must be from 1 to 65535"},
    {"[peers]\n1 = host=a name=x\n", "@:2: 1: unknown key \"name\""},
    {"[pgbouncer]\n%include\n", "@:2: %include: must be followed by a file name"},
    {"[pgbouncer]\n%include /nonexistent/x\n",
     "@:2: %include: cannot open /nonexistent/x: no such file"},
    {"[pgbouncer]\n%include /dev/null\n", "@:2: %include: /dev/null is not a regular file"},
    {"[pgbouncer]\nauth_type = hba\n", "@:2: auth_type: hba needs an auth_hba_file"},
    {"[pgbouncer]\nauth_type = hba\nauth_hba_file = /nonexistent/x\n",
     "@:3: auth_hba_file: cannot open /nonexistent/x: no such file"},
    {"[databases]\na =\n[pgbouncer]\nunix_socket_dir =\n",
     "@: [databases]: a: has no host, and unix_socket_dir is empty"},
};

static void bad_file_is_refused_with_file_line_key_and_reason(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++)
        support_refused(refusals[i].text, refusals[i].reason);
}

static void missing_file_is_refused(void **state)
{
    (void)state;
    struct config *cfg = NULL;
    struct error err;
    assert_int_equal(config_load(&toy_wire, "/nonexistent/a.ini", &cfg, &err), ST_MISSING);
    assert_string_equal(err.text, "cannot open /nonexistent/a.ini: no such file");
    assert_null(cfg);
}

static void pgbouncers_lexing_rules_hold(void **state)
{
    (void)state;
    struct config *cfg = support_load("\xef\xbb\xbf; comment\r\n"
                                      "  # comment\n"
                                      "[databases] ; and more\n"
                                      "foo = host=h connect_query='select 1 ; select ''2''' "
                                      "password='a b;c#d'\r\n"
                                      "\"a b\" = host=x ; comment\n"
                                      "  \"q\"\"=;[\"=port = 77 host = y\n"
                                      "we:ird = dbname=w\n"
                                      "emp =\n"
                                      "no-blanks=host=z\n"
                                      "[ users ]\n"
                                      "joe@example.com = pool_size=3\n"
                                      "[pgbouncer] listen_addr = ::1,*\n"
                                      "admin_users = a;b # c\n"
                                      "listen_port=6000");
    const struct config_database *d = config_find_database(cfg, STR("foo"));
    assert_string_equal(d->connect_query, "select 1 ; select '2'");
    assert_string_equal(d->password, "a b;c#d");
    assert_string_equal(d->hosts[0].host, "h");
    assert_int_equal(d->hosts[0].port, 5432);
    assert_null(d->dbname);
    d = config_find_database(cfg, STR("a b"));
    assert_string_equal(d->hosts[0].host, "x");
    d = config_find_database(cfg, STR("q\"=;["));
    assert_int_equal(d->hosts[0].port, 77);
    assert_string_equal(d->hosts[0].host, "y");
    d = config_find_database(cfg, STR("we:ird"));
    assert_string_equal(d->dbname, "w");
    assert_string_equal(d->hosts[0].host, "/tmp");
    assert_non_null(config_find_database(cfg, STR("emp")));
    assert_non_null(config_find_database(cfg, STR("no-blanks")));
    assert_null(config_find_database(cfg, STR("other")));
    assert_int_equal(config_find_user(cfg, STR("joe@example.com"))->limits.pool_size, 3);
    assert_string_equal(cfg->opt.listen_addr, "::1,*");
    assert_string_equal(cfg->opt.admin_users, "a;b # c");
    assert_int_equal(cfg->opt.listen_port, 6000);
    config_put(&cfg);
}

static const char *const cache_rule = "[cache balance]\n"
                                      "query =\n"
                                      "  SELECT balance\r\n"
                                      "\tFROM app.accounts\n"
                                      "  WHERE user_id = $1\n"
                                      "key = balance:$1\n"
                                      "  ; a comment ends a value\n"
                                      "  ttl = 5\n"
                                      "table.app.accounts = user_id\n"
                                      "[cache]\nmax_result = 2kB\nmode = ttl\n";

static void values_of_cache_rules_go_on_in_indented_lines(void **state)
{
    (void)state;
    struct config *cfg = support_load(cache_rule);
    const struct config_cache_rule *r = cfg->cache->rules[0];
    assert_int_equal(cfg->cache->nrules, 1);
    assert_string_equal(r->query, "SELECT balance\r\n\tFROM app.accounts\n  WHERE user_id = $1");
    assert_string_equal(r->key, "balance:$1");
    assert_int_equal(r->ttl, 5 * USEC_PER_SEC);
    assert_int_equal(r->max_result, 2048); /* what a rule leaves out is that of [cache] */
    assert_int_equal(r->mode, CONFIG_CACHE_TTL);
    assert_int_equal(r->ntables, 1);
    assert_string_equal(r->tables[0].table, "app.accounts");
    config_put(&cfg);
    support_refused("[users]\nu =\n  pool_size=3\n",
                    "@:3: pool_size: connection string is not a list of key=value");
}

static void address_of_redis_is_taken_apart(void **state)
{
    (void)state;
    static const struct {
        const char *store, *host, *user, *password;
        int port, database;
    } rows[] = {{"memory", NULL, "", "", 0, 0},
                {"redis://h", "h", "", "", 6379, 0},
                {"redis://10.0.0.1:7000/3", "10.0.0.1", "", "", 7000, 3},
                {"redis://[::1]:7000", "::1", "", "", 7000, 0},
                {"redis://:s@cret@h:1", "h", "", "s@cret", 1, 0},
                {"redis://u:p@h/0", "h", "u", "p", 6379, 0}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[200];
        snprintf(text, sizeof(text), "[cache]\nstore = %s\n", rows[i].store);
        struct config *cfg = support_load(text);
        const struct config_cache_redis *r = &cfg->cache->redis;
        assert_int_equal(r->host == NULL, rows[i].host == NULL);
        if (r->host != NULL)
            assert_string_equal(r->host, rows[i].host);
        assert_string_equal(r->user, rows[i].user);
        assert_string_equal(r->password, rows[i].password);
        assert_int_equal(r->port, rows[i].port);
        assert_int_equal(r->database, rows[i].database);
        config_put(&cfg);
    }
}

static void time_in_memory_is_part_of_the_time_in_redis(void **state)
{
    (void)state;
    static const struct {
        const char *more;
        usec_t local;
    } rows[] = {{"", 0},
                {"[cache]\nlocal_ttl = 2\n", 2 * USEC_PER_SEC},
                {"local_ttl = 9.999\n[cache]\nlocal_ttl = 2\n", 9999000},
                {"local_ttl = 0\n[cache]\nlocal_ttl = 2\n", 0},
                {"mode = off\n[cache]\nlocal_ttl = 20\n", 0}, /* what is off says nothing */
                {"[cache]\nlocal_ttl = 2\nstore = memory\n", 0}};
    struct config *first = support_load(REDIS_RULE "mode = ttl\nttl = 10\n");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[400];
        snprintf(text, sizeof(text), REDIS_RULE "mode = ttl\nttl = 10\n%s", rows[i].more);
        struct config *cfg = support_load(text);
        assert_int_equal(cfg->cache->rules[0]->local_ttl, rows[i].local);
        assert_int_equal(cache_rule_at(cfg->cache->set, 0)->local_us, rows[i].local);
        assert_int_equal(cfg->cache->local, rows[i].local > 0);
        assert_true(config_cache_differs(first->cache, cfg->cache) || i == 0 || i == 3);
        config_put(&cfg);
    }
    config_put(&first);
}

static void cache_of_an_unchanged_file_is_the_same_object(void **state)
{
    (void)state;
    struct config *cfg = support_load(cache_rule), *again = NULL;
    struct config *other = support_load("[penstock]\n");
    struct error err;
    assert_int_equal(config_set(cfg, STR("verbose"), STR("1"), &again, &err), ST_OK);
    assert_ptr_equal(again->cache, cfg->cache);
    assert_false(config_cache_differs(cfg->cache, again->cache));
    assert_true(config_cache_differs(cfg->cache, other->cache));
    config_put(&again);
    config_put(&other);
    config_put(&cfg);
}

static void long_values_and_names_arrive_whole(void **state)
{
    (void)state;
    static const size_t lengths[] = {49, 50, 194, 195, 196, 200, 2000, 60000};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        size_t n = lengths[i];
        char *value = mem_new(n + 1);
        struct buf ini;
        for (size_t k = 0; k < n; k++)
            value[k] = (char)('a' + k % 26);
        buf_init(&ini, 1 << 20);
        buf_printf(&ini, "[databases]\nlong = host=x connect_query='%s' password=%s\n", value,
                   value);
        buf_printf(&ini, "[pgbouncer]\nadmin_users = %s\n", value);
        buf_put_u8(&ini, 0);
        struct config *cfg = support_load((const char *)buf_data(&ini));
        const struct config_database *d = config_find_database(cfg, STR("long"));
        assert_string_equal(d->connect_query, value);
        assert_string_equal(d->password, value);
        assert_string_equal(cfg->opt.admin_users, value);
        config_put(&cfg);
        buf_fini(&ini);
        mem_free(value);
    }
}

static void names_have_pgbouncers_limits(void **state)
{
    (void)state;
    char name[130], text[400], want[400];
    memset(name, 'n', sizeof(name));
    snprintf(text, sizeof(text), "[databases]\n%.63s = host=x\n[users]\n%.127s = pool_size=1\n",
             name, name);
    struct config *cfg = support_load(text);
    assert_non_null(config_find_database(cfg, (struct str){name, 63}));
    assert_non_null(config_find_user(cfg, (struct str){name, 127}));
    config_put(&cfg);
    snprintf(text, sizeof(text), "[databases]\n%.64s = host=x\n", name);
    snprintf(want, sizeof(want), "@:2: %.64s: the name must have 1 to 63 bytes", name);
    support_refused(text, want);
    snprintf(text, sizeof(text), "[users]\n%.128s = pool_size=1\n", name);
    snprintf(want, sizeof(want), "@:2: %.80s: the name must have 1 to 127 bytes", name);
    support_refused(text, want);
    snprintf(text, sizeof(text), "[cluster %.100s]\n", name);
    support_refused(text, "@:1: the name of a cluster must have 1 to 63 bytes");
}

static void included_file_is_read_in_its_place_and_blamed_by_its_own_name(void **state)
{
    (void)state;
    char want[400];
    struct config *cfg = NULL;
    struct error err;
    support_write("users.inc", "[users]\njoe = pool_size=3\n");
    support_write("more.inc", "; first\n%include users.inc\nann = pool_size=4\n");
    cfg = support_load("[pgbouncer]\n%include  more.inc \nbob = pool_size=5\n");
    assert_int_equal(config_find_user(cfg, STR("joe"))->limits.pool_size, 3);
    assert_int_equal(config_find_user(cfg, STR("ann"))->limits.pool_size, 4);
    assert_int_equal(config_find_user(cfg, STR("bob"))->limits.pool_size, 5);
    config_put(&cfg);
    support_write("bad.inc", "\n\nlisten_port = x\n");
    const char *path = support_write("main.ini", "[pgbouncer]\n%include bad.inc\n");
    assert_int_equal(config_load(&toy_wire, path, &cfg, &err), ST_INVALID);
    snprintf(want, sizeof(want), "%s:3: listen_port: not a number", support_path("bad.inc"));
    assert_string_equal(err.text, want);
}

static void includes_nest_ten_deep_and_not_deeper(void **state)
{
    (void)state;
    char name[32], text[64];
    struct config *cfg = NULL;
    struct error err;
    for (int i = 1; i <= 11; i++) {
        snprintf(name, sizeof(name), "n%d.inc", i);
        snprintf(text, sizeof(text), "%s n%d.inc\n", i < 10 ? "%include" : ";", i + 1);
        support_write(name, text);
    }
    cfg = support_load("%include n1.inc\n[pgbouncer]\nverbose = 2\n");
    assert_int_equal(cfg->opt.verbose, 2);
    config_put(&cfg);
    support_write("n10.inc", "%include n11.inc\n");
    support_write("n11.inc", "[pgbouncer]\n");
    const char *path = support_write("main.ini", "%include n1.inc\n");
    assert_int_equal(config_load(&toy_wire, path, &cfg, &err), ST_LIMIT);
    support_write("loop.inc", "%include loop.inc\n");
    path = support_write("main.ini", "%include loop.inc\n");
    assert_int_equal(config_load(&toy_wire, path, &cfg, &err), ST_LIMIT);
    assert_non_null(strstr(err.text, "loop.inc:1: %include: nested too deeply"));
}

static void secrets_come_from_files_and_the_environment(void **state)
{
    (void)state;
    char text[300];
    setenv("PENSTOCK_TEST_SECRET", "s3cret x", 1);
    const char *path = support_write("pw", "from file\n");
    snprintf(
        text, sizeof(text),
        "[databases]\na = host=x password=file:%s\nb = host=x password=env:PENSTOCK_TEST_SECRET\n"
        "c = host=x password=''\n",
        path);
    struct config *cfg = support_load(text);
    assert_string_equal(config_find_database(cfg, STR("a"))->password, "from file");
    assert_string_equal(config_find_database(cfg, STR("b"))->password, "s3cret x");
    assert_string_equal(config_find_database(cfg, STR("c"))->password, "");
    config_put(&cfg);
    support_write("pw", "two\nlines\n");
    struct error err;
    assert_int_equal(config_load(&toy_wire, support_path("main.ini"), &cfg, &err), ST_INVALID);
    assert_non_null(strstr(err.text, ":2: a: password: "));
    assert_null(strstr(err.text, "two"));
    unsetenv("PENSTOCK_TEST_SECRET");
}

static void auth_file_is_read_and_a_missing_one_is_only_a_warning(void **state)
{
    (void)state;
    support_write("users.txt", "\"joe\" \"pw\"\n");
    struct config *cfg = support_load("[pgbouncer]\nauth_file = users.txt\n");
    assert_non_null(config_secret(cfg, STR("joe")));
    assert_null(config_secret(cfg, STR("ann")));
    config_put(&cfg);
    cfg = support_load("[pgbouncer]\nauth_file = nothing.txt\n");
    assert_null(config_secret(cfg, STR("joe")));
    config_put(&cfg);
    support_write("users.txt", "\"joe\" \"pw\"\n\"ann\n");
    struct error err;
    const char *path = support_write("main.ini", "[pgbouncer]\n\nauth_file = users.txt\n");
    assert_int_equal(config_load(&toy_wire, path, &cfg, &err), ST_INVALID);
    assert_non_null(strstr(err.text, "main.ini:3: auth_file: "));
    assert_non_null(strstr(err.text, "users.txt:2: "));
}

static void user_comes_before_database_and_database_before_global(void **state)
{
    (void)state;
    struct config *cfg = support_load(
        "[databases]\nd = host=x pool_size=2 reserve_pool=9 pool_mode=statement "
        "query_wait_timeout=2 "
        "server_lifetime=7 max_db_connections=4 max_db_client_connections=5 min_pool_size=1 "
        "auth_user=au query_timeout=0\nplain = host=x\n"
        "[users]\nu = pool_size=3 pool_mode=transaction query_wait_timeout=3.5 "
        "max_user_connections=6 max_user_client_connections=8 reserve_pool_size=0\n"
        "[pgbouncer]\ndefault_pool_size=1\nquery_wait_timeout=1\nauth_user=g\nauth_dbname=gd\n"
        "query_timeout=11\nmax_user_connections=12\nmin_pool_size=3\nreserve_pool_size=4\n");
    const struct config_database *d = config_find_database(cfg, STR("d"));
    const struct config_database *p = config_find_database(cfg, STR("plain"));
    const struct config_user *u = config_find_user(cfg, STR("u"));
    assert_int_equal(config_pool_size(cfg, d, u), 3);
    assert_int_equal(config_pool_size(cfg, d, NULL), 2);
    assert_int_equal(config_pool_size(cfg, p, NULL), 1);
    assert_int_equal(config_pool_size(cfg, NULL, NULL), 1);
    assert_int_equal(config_pool_mode(cfg, d, u), CONFIG_POOL_TRANSACTION);
    assert_int_equal(config_pool_mode(cfg, d, NULL), CONFIG_POOL_STATEMENT);
    assert_int_equal(config_pool_mode(cfg, p, NULL), CONFIG_POOL_SESSION);
    assert_int_equal(config_timeout(cfg, CONFIG_QUERY_WAIT, d, u), 3500000);
    assert_int_equal(config_timeout(cfg, CONFIG_QUERY_WAIT, d, NULL), 2000000);
    assert_int_equal(config_timeout(cfg, CONFIG_QUERY_WAIT, p, NULL), 1000000);
    assert_int_equal(config_timeout(cfg, CONFIG_SERVER_LIFETIME, d, u), 7000000);
    assert_int_equal(config_timeout(cfg, CONFIG_QUERY, d, u), 0);
    assert_int_equal(config_timeout(cfg, CONFIG_QUERY, p, u), 11000000);
    assert_int_equal(config_reserve_pool_size(cfg, d, NULL), 9);
    assert_int_equal(config_reserve_pool_size(cfg, d, u), 0);
    assert_int_equal(config_reserve_pool_size(cfg, p, NULL), 4);
    assert_int_equal(config_min_pool_size(cfg, d), 1);
    assert_int_equal(config_min_pool_size(cfg, p), 3);
    assert_int_equal(config_max_db_connections(cfg, d), 4);
    assert_int_equal(config_max_db_connections(cfg, p), 0);
    assert_int_equal(config_max_db_client_connections(cfg, d), 5);
    assert_int_equal(config_max_user_connections(cfg, u), 6);
    assert_int_equal(config_max_user_connections(cfg, NULL), 12);
    assert_int_equal(config_max_user_client_connections(cfg, u), 8);
    assert_string_equal(config_auth_user(cfg, d), "au");
    assert_string_equal(config_auth_user(cfg, p), "g");
    assert_string_equal(config_auth_dbname(cfg, d), "gd");
    assert_string_equal(config_auth_query(cfg, d), "WHO IS $1");
    config_put(&cfg);
}

static void star_entry_serves_the_names_that_are_not_listed(void **state)
{
    (void)state;
    struct config *cfg = support_load("[databases]\na = host=x\n* = host=star,[::1] port=1,2\n");
    const struct config_database *d = config_find_database(cfg, STR("other"));
    assert_true(d->is_auto);
    assert_string_equal(d->hosts[0].host, "star");
    assert_int_equal(d->hosts[0].port, 1);
    assert_string_equal(d->hosts[1].host, "::1");
    assert_int_equal(d->hosts[1].port, 2);
    assert_ptr_equal(config_find_database(cfg, STR("*")), d);
    assert_false(config_find_database(cfg, STR("a"))->is_auto);
    config_put(&cfg);
}

static void peers_are_found_by_number(void **state)
{
    (void)state;
    struct config *cfg = support_load(
        "[peers]\n2 = host=b\n1 = host=a port=7 pool_size=3\n2 = host=c\n");
    assert_int_equal(cfg->entries->npeers, 2);
    assert_int_equal(cfg->entries->peers[0]->id, 1);
    assert_int_equal(config_find_peer(cfg, 1)->port, 7);
    assert_string_equal(config_find_peer(cfg, 2)->host, "c");
    assert_int_equal(config_find_peer(cfg, 2)->port, 6432);
    assert_int_equal(config_find_peer(cfg, 2)->pool_size, -1);
    assert_null(config_find_peer(cfg, 3));
    config_put(&cfg);
}

static void list_membership_is_exact(void **state)
{
    (void)state;
    assert_true(config_list_has("a, bc ,d", STR("bc")));
    assert_true(config_list_has("a", STR("a")));
    assert_false(config_list_has("abc", STR("ab")));
    assert_false(config_list_has("a,,b", STR("")));
    assert_false(config_list_has("", STR("a")));
}

static void reload_keeps_what_needs_a_restart(void **state)
{
    (void)state;
    struct config *old = support_load("[pgbouncer]\nlisten_port = 6000\nunix_socket_dir = /one\n"
                                      "unix_socket_mode = 0700\ndefault_pool_size = 5\n"
                                      "[databases]\na =\n");
    struct config *fresh = NULL;
    struct error err;
    support_write("main.ini", "[pgbouncer]\nlisten_port = 6001\nunix_socket_dir = /two\n"
                              "default_pool_size = 6\nworkers = 3\n[databases]\na =\nb =\n");
    assert_int_equal(config_load_reload(old, NULL, &fresh, &err), ST_OK);
    assert_int_equal(fresh->opt.listen_port, 6000);
    assert_int_equal(fresh->opt.workers, 0);
    assert_int_equal(fresh->opt.unix_socket_mode, 0700);
    assert_string_equal(fresh->opt.unix_socket_dir, "/one");
    assert_string_equal(config_find_database(fresh, STR("b"))->hosts[0].host, "/one");
    assert_int_equal(fresh->opt.default_pool_size, 6);
    config_put(&fresh);
    support_write("main.ini", "[pgbouncer]\nlisten_port = x\n");
    assert_int_equal(config_load_reload(old, NULL, &fresh, &err), ST_INVALID);
    assert_null(fresh);
    assert_int_equal(old->opt.default_pool_size, 5);
    config_put(&old);
}

static void set_changes_a_copy_and_nothing_else(void **state)
{
    (void)state;
    struct config *old = support_load("[pgbouncer]\nadmin_users = x\n[databases]\na = host=h\n");
    struct config *changed = NULL;
    struct error err;
    assert_int_equal(config_set(old, STR("query_timeout"), STR("2.5"), &changed, &err), ST_OK);
    assert_int_equal(changed->opt.query_timeout, 2500000);
    assert_int_equal(old->opt.query_timeout, 0);
    struct config *held = config_get(changed);
    config_put(&old); /* what is shared must outlive the first owner */
    assert_string_equal(changed->opt.admin_users, "x");
    assert_string_equal(config_find_database(changed, STR("a"))->hosts[0].host, "h");
    struct config *none = NULL;
    assert_int_equal(config_set(changed, STR("nonsense"), STR("1"), &none, &err), ST_MISSING);
    assert_string_equal(err.text, "unknown key: nonsense");
    assert_int_equal(config_set(changed, STR("listen_port"), STR("1"), &none, &err),
                     ST_UNSUPPORTED);
    assert_int_equal(config_set(changed, STR("verbose"), STR("9"), &none, &err), ST_INVALID);
    assert_string_equal(err.text, "verbose: must be from 0 to 3");
    assert_int_equal(config_set(changed, STR("auth_type"), STR("hba"), &none, &err), ST_INVALID);
    assert_null(none);
    config_put(&changed);
    config_put(&held);
}

static void set_of_an_auth_file_reads_it_at_once(void **state)
{
    (void)state;
    struct config *old = support_load("[pgbouncer]\n");
    struct config *one = NULL, *two = NULL;
    struct error err;
    const char *hba = support_write("hba.conf", "local all all trust\n");
    assert_int_equal(config_set(old, STR("auth_hba_file"), str_of(hba), &one, &err), ST_OK);
    assert_null(one->hba);
    assert_int_equal(config_set(one, STR("auth_type"), STR("hba"), &two, &err), ST_OK);
    assert_int_equal(hba_count(two->hba), 1);
    config_put(&old);
    config_put(&one);
    config_put(&two);
}

struct changes {
    char text[300];
};

static void note(void *arg, const char *name, enum config_change change)
{
    static const char marks[] = "+-!~";
    struct changes *c = arg;
    size_t n = strlen(c->text);
    snprintf(c->text + n, sizeof(c->text) - n, "%c%s ", marks[change], name);
}

static void a_clustered_entry_has_its_clusters_nodes(void **state)
{
    (void)state;
    struct config *cfg = support_load(
        "[databases]\nbank = cluster=main dbname=b user=u password=p\n"
        "ro = cluster=main route=replica\n[cluster main]\n"
        "hosts = 10.0.0.1:5433, [::1]:5434, ::2, /tmp/s:5435, name\nweights = 1,2,0,4,5\n"
        "rule = primary SELECT * FROM queue*\nrule = replica digest:0123456789abcdef\n"
        "zones = a,b,,d,e\nconsistency = database\nmax_replica_lag_bytes = 1MB\n");
    const struct config_cluster *c = config_find_cluster(cfg, STR("main"));
    const struct config_database *d = config_find_database(cfg, STR("bank"));
    static const struct {
        const char *host;
        int port, weight;
        const char *zone;
    } want[] = {{"10.0.0.1", 5433, 1, "a"},
                {"::1", 5434, 2, "b"},
                {"::2", 5432, 0, ""},
                {"/tmp/s", 5435, 4, "d"},
                {"name", 5432, 5, "e"}};
    assert_non_null(c);
    assert_ptr_equal(d->cluster, c);
    assert_int_equal(d->nhosts, ARRAY_LEN(want));
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        assert_string_equal(d->hosts[i].host, want[i].host);
        assert_int_equal(d->hosts[i].port, want[i].port);
        assert_int_equal(c->host_facts[i].weight, want[i].weight);
        assert_string_equal(c->host_facts[i].zone, want[i].zone);
    }
    assert_int_equal(c->consistency, CONFIG_CONSISTENCY_DATABASE);
    assert_int_equal(c->check_interval, USEC_PER_SEC / 10);
    assert_int_equal(c->max_replica_lag_bytes, 1 << 20);
    assert_non_null(c->rules);
    assert_string_equal(c->probe_user, "u");
    assert_string_equal(c->probe_password, "p");
    assert_int_equal(config_find_database(cfg, STR("ro"))->route, CONFIG_ROUTE_REPLICA);
    config_put(&cfg);
}

static void diff_tells_new_targets_from_new_limits(void **state)
{
    (void)state;
    struct changes c = {.text = ""};
    struct config *a = support_load(
        "[databases]\nadd0 = host=x\ncred = host=x password=a\ngone = host=x\nhost = host=x\n"
        "lim = host=x pool_size=1\nport = host=x port=1\nsame = host=x pool_mode=session\n"
        "tmo = host=x query_timeout=1\n");
    struct config *b = support_load(
        "[pgbouncer]\nserver_tls_sslmode = require\n[databases]\nadd0 = host=x\nadd1 = host=x\n"
        "cred = host=x password=b\nhost = host=x,y\nlim = host=x pool_size=2\nport = host=x "
        "port=2\n"
        "same = host=x pool_mode=session\ntmo = host=x\n");
    config_diff(a, b, note, &c);
    assert_string_equal(c.text, "+add1 !cred -gone !host ~lim !port ~tmo ");
    assert_true(config_diff_tls(a, b, true));
    assert_false(config_diff_tls(a, b, false));
    config_put(&a);
    config_put(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_file_is_refused_with_file_line_key_and_reason),
        cmocka_unit_test(missing_file_is_refused),
        cmocka_unit_test(values_of_cache_rules_go_on_in_indented_lines),
        cmocka_unit_test(address_of_redis_is_taken_apart),
        cmocka_unit_test(time_in_memory_is_part_of_the_time_in_redis),
        cmocka_unit_test(cache_of_an_unchanged_file_is_the_same_object),
        cmocka_unit_test(pgbouncers_lexing_rules_hold),
        cmocka_unit_test(long_values_and_names_arrive_whole),
        cmocka_unit_test(names_have_pgbouncers_limits),
        cmocka_unit_test(included_file_is_read_in_its_place_and_blamed_by_its_own_name),
        cmocka_unit_test(includes_nest_ten_deep_and_not_deeper),
        cmocka_unit_test(secrets_come_from_files_and_the_environment),
        cmocka_unit_test(auth_file_is_read_and_a_missing_one_is_only_a_warning),
        cmocka_unit_test(user_comes_before_database_and_database_before_global),
        cmocka_unit_test(star_entry_serves_the_names_that_are_not_listed),
        cmocka_unit_test(peers_are_found_by_number),
        cmocka_unit_test(list_membership_is_exact),
        cmocka_unit_test(reload_keeps_what_needs_a_restart),
        cmocka_unit_test(set_changes_a_copy_and_nothing_else),
        cmocka_unit_test(set_of_an_auth_file_reads_it_at_once),
        cmocka_unit_test(a_clustered_entry_has_its_clusters_nodes),
        cmocka_unit_test(diff_tells_new_targets_from_new_limits),
    };
    return cmocka_run_group_tests(tests, support_setup, support_teardown);
}
