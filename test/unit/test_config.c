/* test_config.c - the table of options: every row, its default, its values and its limits. */
#include "base/base.h"

#include "test/unit/test_config_support.h"

#include "proxy/config/config_schema.h"

static void every_option_takes_its_default_and_shows_it_again(void **state)
{
    (void)state;
    for (int penstock = 0; penstock < 2; penstock++) {
        struct buf ini;
        buf_init(&ini, 1 << 20);
        buf_put_text(&ini, penstock ? "[penstock]\n" : "[pgbouncer]\n");
        for (size_t i = 0; i < config_schema_count; i++)
            buf_printf(&ini, "%s = %s\n", config_schema[i].name,
                       config_schema_default(&config_schema[i], penstock, &toy_wire));
        buf_put_u8(&ini, 0);
        struct config *set = support_load((const char *)buf_data(&ini));
        struct config *unset = support_load(penstock ? "[penstock]\n" : "[pgbouncer]\n");
        for (size_t i = 0; i < config_schema_count; i++) {
            char want[512];
            str_copy(want, sizeof(want), str_of(support_shown(unset, config_schema[i].name)));
            assert_string_equal(support_shown(set, config_schema[i].name), want);
        }
        config_put(&set);
        config_put(&unset);
        buf_fini(&ini);
    }
}

static void every_row_is_complete_and_named_once(void **state)
{
    (void)state;
    size_t pgbouncer = 0;
    for (size_t i = 0; i < config_schema_count; i++) {
        const struct config_option *o = &config_schema[i];
        pgbouncer += !o->ours;
        assert_ptr_equal(config_option_find(str_of(o->name)), o);
        assert_true(o->help != NULL && o->help[strlen(o->help) - 1] == '.');
        assert_true((o->type == CONFIG_ENUM) == (o->values != NULL));
        assert_true((o->def == NULL) == (o->codec != CONFIG_CODEC_NONE));
        if (o->type == CONFIG_INT || o->type == CONFIG_TIME || o->type == CONFIG_SIZE)
            assert_true(o->max > o->min);
    }
    assert_int_equal(pgbouncer, 101);
    assert_null(config_option_find(STR("no_such_key")));
    assert_null(config_option_find(STR("")));
}

struct value_case {
    const char *key, *text, *shown; /* shown NULL: refused */
};

static const struct value_case values[] = {
    {"log_connections", "1", "1"},
    {"log_connections", "0", "0"},
    {"log_connections", "7", "1"},
    {"log_connections", "yes", "1"},
    {"log_connections", "Off", "0"},
    {"log_connections", "maybe", NULL},
    {"log_connections", "", NULL},
    {"listen_port", "6432", "6432"},
    {"listen_port", "0x10", "16"},
    {"listen_port", "010", "8"},
    {"listen_port", "09", NULL},
    {"listen_port", "0", NULL},
    {"listen_port", "65536", NULL},
    {"listen_port", "99999999999999999999", NULL},
    {"listen_port", "-1", NULL},
    {"listen_port", "12a", NULL},
    {"listen_port", "", NULL},
    {"unix_socket_mode", "0700", "448"},
    {"unix_socket_mode", "08", NULL},
    {"query_timeout", "0", "0"},
    {"query_timeout", "1.5", "1.5"},
    {"query_timeout", ".25", "0.25"},
    {"query_timeout", "2.", "2"},
    {"query_timeout", "0.0000001", "0"},
    {"query_timeout", "0x10", "16"},
    {"query_timeout", "1234567", "1234567"},
    {"query_timeout", "-1", NULL},
    {"query_timeout", "1s", NULL},
    {"query_timeout", ".", NULL},
    {"query_timeout", "", NULL},
    {"query_timeout", "1000000000000", NULL},
    {"query_timeout", "99999999999999999999999", NULL},
    {"stats_period", "0.5", NULL},
    {"stats_period", "1", "1"},
    {"pool_mode", "Statement", "statement"},
    {"pool_mode", "sessions", NULL},
    {"auth_type", "scram-sha-256", "scram-sha-256"},
    {"auth_type", "any", "any"},
    {"auth_type", "crypt", NULL},
    {"server_tls_sslmode", "verify-full", "verify-full"},
    {"server_tls_sslmode", "on", NULL},
    {"max_buffer_memory", "64MB", "64MB"},
    {"max_buffer_memory", "65536 kB", "64MB"},
    {"max_buffer_memory", "1GB", "1GB"},
    {"max_buffer_memory", "1000", "1000"},
    {"max_buffer_memory", "10XB", NULL},
    {"max_buffer_memory", "MB", NULL},
    {"max_buffer_memory", "99999999999GB", NULL},
    {"max_buffer_memory", "-1", NULL},
    {"proxy_protocol", "optional", "optional"},
    {"workers", "64", "64"},
    {"workers", "65", NULL},
    {"verbose", "4", NULL},
    {"server_check_query", "", ""},
    {"server_check_query", "<empty>", "<empty>"},
    {"admin_users", "a, b ; c", "a, b ; c"},
    {"max_packet_size", "2147483647", "2147483647"},
    {"max_packet_size", "2147483648", NULL},
};

static void values_are_read_within_their_limits_and_shown_as_pgbouncer_does(void **state)
{
    (void)state;
    struct config *cfg = support_load("[pgbouncer]\n");
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        const struct value_case *v = &values[i];
        const struct config_option *o = config_option_find(str_of(v->key));
        struct config_options opt = cfg->opt;
        struct config_arena arena;
        struct error err = {.text = ""};
        struct buf b;
        config_arena_init(&arena);
        buf_init(&b, 1000);
        enum status st = config_option_set(&opt, &arena, o, str_of(v->text), &err);
        if ((st == ST_OK) != (v->shown != NULL))
            fail_msg("%s = %s: %s", v->key, v->text, err.text);
        assert_true((st == ST_OK) == (err.text[0] == '\0'));
        config_option_format(&opt, o, &b);
        if (v->shown != NULL && !str_eq(buf_str(&b), str_of(v->shown)))
            fail_msg("%s = %s is shown as %.*s", v->key, v->text, (int)buf_len(&b),
                     (const char *)buf_data(&b));
        if (v->shown == NULL)
            assert_memory_equal(&opt, &cfg->opt, sizeof(opt));
        buf_fini(&b);
        config_arena_fini(&arena);
    }
    config_put(&cfg);
}

static void refused_enum_names_what_is_allowed(void **state)
{
    (void)state;
    support_refused("[pgbouncer]\npool_mode = sessions\n",
                    "@:2: pool_mode: must be one of: session, transaction, statement");
}

static void defaults_follow_the_section(void **state)
{
    (void)state;
    struct config *ours = support_load("[penstock]\n");
    struct config *theirs = support_load("[pgbouncer]\n");
    struct config *both = support_load("[penstock]\nworkers = 2\n[pgbouncer]\n");
    struct config *none = support_load("[databases]\n");
    assert_int_equal(ours->opt.pool_mode, CONFIG_POOL_TRANSACTION);
    assert_int_equal(ours->opt.auth_type, CONFIG_AUTH_SCRAM);
    assert_string_equal(ours->opt.listen_addr, "127.0.0.1");
    assert_int_equal(theirs->opt.pool_mode, CONFIG_POOL_SESSION);
    assert_int_equal(theirs->opt.auth_type, CONFIG_AUTH_MD5);
    assert_string_equal(theirs->opt.listen_addr, "");
    assert_int_equal(both->opt.pool_mode, CONFIG_POOL_SESSION);
    assert_int_equal(both->opt.workers, 2);
    assert_int_equal(none->opt.pool_mode, CONFIG_POOL_TRANSACTION);
    assert_string_equal(ours->opt.server_reset_query, "RESET IT ALL");
    assert_string_equal(theirs->opt.auth_query, "WHO IS $1");
    assert_int_equal(theirs->opt.listen_port, 6432);
    assert_int_equal(theirs->opt.sql_cache_memory, 16 << 20);
    config_put(&ours);
    config_put(&theirs);
    config_put(&both);
    config_put(&none);
}

static void sample_is_accepted_as_it_is_and_with_every_option_switched_on(void **state)
{
    (void)state;
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    config_print_sample(f);
    fclose(f);
    struct config *cfg = support_load(text);
    assert_int_equal(cfg->opt.pool_mode, CONFIG_POOL_TRANSACTION);
    config_put(&cfg);
    for (char *p = text; (p = strchr(p, ';')) != NULL;) {
        if (p[1] == ';' || p[-1] != '\n')
            p += p[1] == ';' ? 2 : 1;
        else
            *p = ' ';
    }
    cfg = support_load(text);
    assert_int_equal(cfg->entries->ndatabases, 3);
    assert_int_equal(cfg->entries->nusers, 1);
    assert_int_equal(cfg->entries->npeers, 1);
    config_put(&cfg);
    free(text);
}

/* Compares a file of the source tree, when the test runs in it. */
static void committed_samples_are_up_to_date(void **state)
{
    (void)state;
    struct config *cfg = NULL;
    struct error err;
    char *text = NULL;
    char line[512], want[512];
    size_t n = 0;
    FILE *sample = fopen("etc/penstock.ini", "r");
    if (sample == NULL)
        skip();
    FILE *f = open_memstream(&text, &n);
    config_print_sample(f);
    fclose(f);
    struct str rest = {text, n};
    while (rest.n > 0) {
        str_copy(want, sizeof(want), str_cut(&rest, '\n'));
        assert_non_null(fgets(line, sizeof(line), sample));
        line[strcspn(line, "\n")] = '\0';
        assert_string_equal(line, want);
    }
    assert_null(fgets(line, sizeof(line), sample));
    fclose(sample);
    free(text);
    if (config_load(&toy_wire, "etc/minimal.ini", &cfg, &err) != ST_OK)
        fail_msg("%s", err.text);
    assert_non_null(config_find_database(cfg, STR("app")));
    config_put(&cfg);
}

static void manual_has_a_row_for_every_option(void **state)
{
    (void)state;
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    config_print_manual(f);
    fclose(f);
    for (size_t i = 0; i < config_schema_count; i++) {
        char row[128];
        snprintf(row, sizeof(row), "\n| %s | ", config_schema[i].name);
        if (strstr(text, row) == NULL)
            fail_msg("no row for %s", config_schema[i].name);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_complete_and_named_once),
        cmocka_unit_test(every_option_takes_its_default_and_shows_it_again),
        cmocka_unit_test(values_are_read_within_their_limits_and_shown_as_pgbouncer_does),
        cmocka_unit_test(refused_enum_names_what_is_allowed),
        cmocka_unit_test(defaults_follow_the_section),
        cmocka_unit_test(sample_is_accepted_as_it_is_and_with_every_option_switched_on),
        cmocka_unit_test(committed_samples_are_up_to_date),
        cmocka_unit_test(manual_has_a_row_for_every_option),
    };
    return cmocka_run_group_tests(tests, support_setup, support_teardown);
}
