/* test_route.c - where a statement goes and why: the order of wishes, freshness, what is
 * missing. */
#include "protocol/sql/sql_cache.h"
#include "router/route.h"
#include "test/unit/support/router_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static struct route_ask plain(const struct router_rig *r, enum sql_standby verdict)
{
    return (struct route_ask){.topology = r->now, .verdict = verdict, .bound = TOPOLOGY_NONE};
}

static struct route_choice decide(const struct route_ask *a)
{
    struct route_choice c;
    route_decide(a, &c);
    return c;
}

static void goes(const struct route_ask *a, enum route_target target, bool replica,
                 enum route_reason reason)
{
    struct route_choice c = decide(a);
    if (c.target != target || c.replica != replica || c.reason != reason)
        fail_msg("target %d replica %d reason %s, not %d %d %s", c.target, c.replica,
                 route_reason_name(c.reason), target, replica, route_reason_name(reason));
    assert_int_equal(c.node != TOPOLOGY_NONE, target == ROUTE_NODE);
    assert_true(target != ROUTE_NODE || (c.node != a->topology->primary) == replica);
}

static void reads_go_to_replicas_and_the_rest_to_the_primary(void **state)
{
    struct router_rig r;
    (void)state;
    router_rig_init(&r, 3);
    for (int v = 0; v <= STANDBY_LEARNED; v++) {
        struct route_ask a = plain(&r, (enum sql_standby)v);
        goes(&a, ROUTE_NODE, v == STANDBY_OK, ROUTE_BY_ANALYSIS);
        assert_int_equal(decide(&a).verdict, v);
        assert_string_not_equal(sql_standby_name((enum sql_standby)v), "?");
    }
    router_rig_fini(&r);
}

static void the_first_wish_in_the_order_decides(void **state)
{
    static const struct {
        enum rules_wish hint, setting, rule, startup, entry;
        bool replica; /* of a write that is demanded there: the demand shows */
        enum route_reason reason;
    } rows[] = {
        {WISH_PRIMARY, WISH_REPLICA, WISH_REPLICA, WISH_REPLICA, WISH_REPLICA, false,
         ROUTE_BY_HINT},
        {WISH_REPLICA, WISH_PRIMARY, WISH_PRIMARY, WISH_PRIMARY, WISH_PRIMARY, true, ROUTE_BY_HINT},
        {0, WISH_REPLICA, WISH_PRIMARY, WISH_PRIMARY, WISH_PRIMARY, true, ROUTE_BY_SETTING},
        {0, 0, WISH_REPLICA, WISH_PRIMARY, WISH_PRIMARY, true, ROUTE_BY_RULE},
        {0, 0, 0, WISH_REPLICA, WISH_PRIMARY, true, ROUTE_BY_STARTUP},
        {0, 0, 0, 0, WISH_REPLICA, true, ROUTE_BY_ENTRY},
        {0, 0, 0, 0, 0, false, ROUTE_BY_ANALYSIS},
        {WISH_AUTO, WISH_REPLICA, WISH_REPLICA, 0, 0, false, ROUTE_BY_ANALYSIS},
        {0, WISH_AUTO, WISH_REPLICA, 0, WISH_REPLICA, false, ROUTE_BY_ANALYSIS},
        {0, 0, 0, WISH_PREFER, 0, false, ROUTE_BY_ANALYSIS},
    };
    struct router_rig r;
    (void)state;
    router_rig_init(&r, 2);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct route_ask a = plain(&r, STANDBY_WRITE);
        a.hint = rows[i].hint;
        a.setting = rows[i].setting;
        a.rule = rows[i].rule;
        a.startup = rows[i].startup;
        a.entry = rows[i].entry;
        goes(&a, ROUTE_NODE, rows[i].replica, rows[i].reason);
        assert_int_equal(decide(&a).demanded, rows[i].replica);
    }
    struct route_ask a = plain(&r, STANDBY_OK);
    a.startup = WISH_PREFER;
    goes(&a, ROUTE_NODE, true, ROUTE_BY_STARTUP);
    assert_false(decide(&a).demanded);
    router_rig_fini(&r);
}

static void an_open_transaction_and_a_pin_stay_where_they_are(void **state)
{
    struct router_rig r;
    (void)state;
    router_rig_init(&r, 3);
    for (int node = 0; node < 3; node++) {
        struct route_ask a = plain(&r, STANDBY_WRITE);
        a.bound = (int16_t)node;
        a.hint = WISH_REPLICA;
        goes(&a, ROUTE_NODE, node != 0, ROUTE_BOUND_TRANSACTION);
        assert_int_equal(decide(&a).node, node);
        a.bound_by_pin = true;
        goes(&a, ROUTE_NODE, node != 0, ROUTE_BOUND_PIN);
        /* An advisory lock on a replica would be a lock that nobody else sees. */
        a.bound_by_pin = false;
        a.verdict = STANDBY_ADVISORY_LOCK;
        if (node == 0)
            goes(&a, ROUTE_NODE, false, ROUTE_BOUND_TRANSACTION);
        else
            assert_int_equal(decide(&a).reason, ROUTE_LOCK_IN_READ_ONLY);
    }
    router_rig_fini(&r);
}

static void only_read_only_blocks_begin_on_a_replica(void **state)
{
    static const struct {
        bool read_only, serializable;
        enum sql_standby verdict;
        bool replica;
        enum route_reason reason;
    } rows[] = {
        {true, false, STANDBY_OK, true, ROUTE_READ_ONLY},
        {false, false, STANDBY_OK, false, ROUTE_BY_ANALYSIS},
        {true, true, STANDBY_OK, false, ROUTE_BY_ANALYSIS},
        {true, false, STANDBY_VOLATILE, false, ROUTE_BY_ANALYSIS},
    };
    struct router_rig r;
    (void)state;
    router_rig_init(&r, 2);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct route_ask a = plain(&r, rows[i].verdict);
        a.begins_block = true;
        a.read_only = rows[i].read_only;
        a.serializable = rows[i].serializable;
        goes(&a, ROUTE_NODE, rows[i].replica, rows[i].reason);
    }
    router_rig_fini(&r);
}

static void what_a_standby_has_refused_is_not_sent_there_again(void **state)
{
    struct router_rig r;
    (void)state;
    router_rig_init(&r, 2);
    struct route_ask a = plain(&r, STANDBY_OK);
    a.learned = true;
    goes(&a, ROUTE_NODE, false, ROUTE_BY_ANALYSIS);
    assert_int_equal(decide(&a).verdict, STANDBY_LEARNED);
    router_rig_fini(&r);
}

static void a_client_that_has_written_reads_the_primary_until_a_replica_is_fresh(void **state)
{
    struct router_rig r;
    struct freshness_mark m = {.wrote = 5};
    (void)state;
    router_rig_init(&r, 3);
    struct route_ask a = plain(&r, STANDBY_OK);
    a.mark = &m;
    goes(&a, ROUTE_NODE, false, ROUTE_NOT_FRESH);
    router_rig_replayed(&r, 1, 5);
    goes(&a, ROUTE_NODE, false, ROUTE_NOT_FRESH);
    router_rig_replayed(&r, 2, 6);
    for (a.random = 0; a.random < 20; a.random++)
        assert_int_equal(decide(&a).node, 2);
    a.unsettled = true;
    goes(&a, ROUTE_NODE, false, ROUTE_UNSETTLED);
    /* Nothing of that counts when consistency is off. */
    r.model.policy.consistency = CONSISTENCY_OFF;
    router_rig_publish(&r);
    a.topology = r.now;
    m.wrote = 100;
    goes(&a, ROUTE_NODE, true, ROUTE_BY_ANALYSIS);
    router_rig_fini(&r);
}

static void a_demanded_replica_is_waited_for(void **state)
{
    struct router_rig r;
    struct freshness_mark m = {.wrote = 5};
    (void)state;
    router_rig_init(&r, 2);
    struct route_ask a = plain(&r, STANDBY_OK);
    a.mark = &m;
    a.entry = WISH_REPLICA;
    goes(&a, ROUTE_WAIT, false, ROUTE_NOT_FRESH);
    router_rig_replayed(&r, 1, 6);
    goes(&a, ROUTE_NODE, true, ROUTE_BY_ENTRY);
    router_rig_fini(&r);
}

static void database_scope_asks_for_the_tables_of_the_read(void **state)
{
    struct router_rig r;
    struct freshness_db *db = test_calloc(1, sizeof(*db));
    struct freshness_set a_set = {.n = 1, .slots = {1}}, b_set = {.n = 1, .slots = {2}};
    (void)state;
    router_rig_init(&r, 2);
    r.model.policy.consistency = CONSISTENCY_DATABASE;
    router_rig_publish(&r);
    struct route_ask a = plain(&r, STANDBY_OK);
    a.db = db;
    a.reads = &b_set;
    atomic_store(&r.live->sent, 7);
    freshness_db_open(db, &a_set);
    goes(&a, ROUTE_NODE, true, ROUTE_BY_ANALYSIS);
    a.reads = &a_set;
    goes(&a, ROUTE_NODE, false, ROUTE_WRITING);
    freshness_db_close(db, &a_set, r.live);
    goes(&a, ROUTE_NODE, false, ROUTE_NOT_FRESH);
    router_rig_replayed(&r, 1, 8);
    goes(&a, ROUTE_NODE, true, ROUTE_BY_ANALYSIS);
    test_free(db);
    router_rig_fini(&r);
}

static void what_is_missing_is_waited_for_replaced_or_refused(void **state)
{
    static const struct {
        bool primary, replica, is_error;
        enum rules_wish hint;
        enum sql_standby verdict;
        enum route_target target;
        enum route_reason reason;
    } rows[] = {
        {true, false, false, 0, STANDBY_OK, ROUTE_NODE, ROUTE_NO_REPLICA},
        {true, false, true, 0, STANDBY_OK, ROUTE_ERROR, ROUTE_NO_REPLICA},
        {true, false, true, WISH_PREFER, STANDBY_OK, ROUTE_NODE, ROUTE_NO_REPLICA},
        {true, false, false, WISH_REPLICA, STANDBY_OK, ROUTE_NODE, ROUTE_NO_REPLICA},
        {true, false, true, WISH_REPLICA, STANDBY_OK, ROUTE_ERROR, ROUTE_NO_REPLICA},
        {true, false, true, 0, STANDBY_WRITE, ROUTE_NODE, ROUTE_BY_ANALYSIS},
        {false, true, false, 0, STANDBY_WRITE, ROUTE_WAIT, ROUTE_NO_PRIMARY},
        {false, true, false, WISH_PRIMARY, STANDBY_OK, ROUTE_WAIT, ROUTE_NO_PRIMARY},
        {false, false, false, 0, STANDBY_OK, ROUTE_WAIT, ROUTE_NO_PRIMARY},
        {false, false, true, 0, STANDBY_OK, ROUTE_ERROR, ROUTE_NO_REPLICA},
    };
    struct router_rig r;
    (void)state;
    router_rig_init(&r, 2);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        r.nodes[0].state = rows[i].primary ? NODE_UP : NODE_DOWN;
        r.nodes[1].state = rows[i].replica ? NODE_UP : NODE_LAGGING;
        r.model.policy.no_replica_is_error = rows[i].is_error;
        router_rig_publish(&r);
        struct route_ask a = plain(&r, rows[i].verdict);
        a.hint = rows[i].hint;
        goes(&a, rows[i].target, false, rows[i].reason);
    }
    /* Reads go on without a primary. */
    r.nodes[1].state = NODE_UP;
    r.model.primary = TOPOLOGY_NONE;
    router_rig_publish(&r);
    struct route_ask a = plain(&r, STANDBY_OK);
    assert_int_equal(decide(&a).node, 1);
    router_rig_fini(&r);
}

static void nodes_where_a_request_has_failed_are_avoided(void **state)
{
    struct router_rig r;
    (void)state;
    router_rig_init(&r, 3);
    struct route_ask a = plain(&r, STANDBY_OK);
    a.avoid = 1u << 1;
    for (a.random = 0; a.random < 50; a.random++)
        assert_int_equal(decide(&a).node, 2);
    a.avoid |= 1u << 2;
    goes(&a, ROUTE_NODE, false, ROUTE_NO_REPLICA);
    a.avoid |= 1u << 0;
    goes(&a, ROUTE_WAIT, false, ROUTE_NO_PRIMARY);
    router_rig_fini(&r);
}

static void hints_are_read_from_the_comment(void **state)
{
    static const struct {
        const char *text;
        enum rules_wish wish;
    } rows[] = {
        {"/* penstock: route=replica */ SELECT 1", WISH_REPLICA},
        {"/* penstock:route=primary */ SELECT 1", WISH_PRIMARY},
        {"/* penstock: route=auto */ SELECT 1", WISH_AUTO},
        {"/* penstock: route=prefer-replica */ SELECT 1", WISH_PREFER},
        {"/* penstock: cache=no, ROUTE=Replica */ SELECT 1", WISH_REPLICA},
        {"SELECT 1 /* penstock: route=replica */", WISH_REPLICA},
        {"SELECT 1 -- penstock: route=replica", WISH_NONE},
        {"/* penstock: route=nowhere */ SELECT 1", WISH_NONE},
        {"/* penstock: route */ SELECT 1", WISH_NONE},
        {"/* penstock: */ SELECT 1", WISH_NONE},
        {"/* route=replica */ SELECT 1", WISH_NONE},
        {"SELECT '/* penstock: route=replica */'", WISH_NONE},
        {"SELECT 1", WISH_NONE},
    };
    struct sql_cache *c = sql_cache_new(1 << 20);
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct facts *f = sql_cache_get(c, str_of(rows[i].text), 0);
        if (route_hint(f) != rows[i].wish)
            fail_msg("%s: %s", rows[i].text, rules_wish_name(route_hint(f)));
        facts_put(&f);
    }
    sql_cache_free(&c);
}

static void every_reason_has_a_name(void **state)
{
    (void)state;
    for (int i = 0; i < ROUTE_REASONS; i++)
        assert_string_not_equal(route_reason_name((enum route_reason)i), "?");
    assert_string_equal(route_reason_name(ROUTE_REASONS), "?");
}

/* ---- rules ----------------------------------------------------------------------------------- */

static enum rules_wish match(struct rules *r, struct sql_cache *c, const char *text,
                             struct str *name)
{
    struct facts *f = sql_cache_get(c, str_of(text), 0);
    enum rules_wish w = rules_match(r, f, name);
    assert_int_equal(rules_match(r, f, NULL), w); /* from the memo */
    facts_put(&f);
    return w;
}

static void patterns_match_the_normalised_text(void **state)
{
    static const struct {
        const char *pattern, *text;
        bool matches;
    } rows[] = {
        {"select * from t where id = $1", "SELECT * FROM t WHERE id = 7", true},
        {"select * from t where id = $1", "SELECT * FROM t WHERE id =  'x'", true},
        {"select f($1, $22) from t", "select f('a', $3) from t", true},
        {"select f($?) from t", "select f(2) from t", true},
        {"SELECT   *\nFROM t", "select * from t", true},
        {"select * from t", "select * from t2", false},
        {"select * from t", "select a, b from t", true}, /* the star is any text */
        {"select * from t", "select * from t where x = 1", false},
        {"select*report*", "SELECT a FROM report_daily", true},
        {"*report*", "SELECT a FROM Report", true},
        {"*report*", "SELECT a FROM t", false},
        {"*a*b*c", "select aaabbbabc", true},
        {"*a*b*c", "select aaabbbabd", false},
        {"*", "anything", true},
        {"refresh", "REFRESH", true},
        {"refresh", "REFRESH x", false},
    };
    struct sql_cache *c = sql_cache_new(1 << 20);
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct rules *r = rules_new();
        assert_int_equal(rules_add(r, STR("x"), str_of(rows[i].pattern), WISH_PRIMARY, NULL),
                         ST_OK);
        enum rules_wish want = rows[i].matches ? WISH_PRIMARY : WISH_NONE;
        if (match(r, c, rows[i].text, NULL) != want)
            fail_msg("%s on %s", rows[i].pattern, rows[i].text);
        rules_put(&r);
    }
    sql_cache_free(&c);
}

static void the_first_rule_that_matches_decides(void **state)
{
    struct sql_cache *c = sql_cache_new(1 << 20);
    struct rules *r = rules_new();
    struct facts *f = sql_cache_get(c, STR("SELECT 1"), 0);
    char digest[64];
    struct str name;
    (void)state;
    snprintf(digest, sizeof(digest), " digest:%016llX ", (unsigned long long)f->digest);
    facts_put(&f);
    assert_int_equal(match(r, c, "SELECT 1", &name), WISH_NONE);
    assert_int_equal(rules_add(r, STR("by digest"), str_of(digest), WISH_REPLICA, NULL), ST_OK);
    assert_int_equal(rules_add(r, STR("all"), STR("select*"), WISH_PRIMARY, NULL), ST_OK);
    assert_int_equal(rules_match(NULL, NULL, &name), WISH_NONE);
    struct rules *other = rules_new();
    assert_int_equal(rules_add(other, STR("other"), STR("*"), WISH_AUTO, NULL), ST_OK);
    assert_int_equal(match(r, c, "SELECT 2", &name), WISH_REPLICA);
    assert_true(str_eq(name, STR("by digest")));
    assert_int_equal(match(other, c, "SELECT 2", &name), WISH_AUTO);
    assert_int_equal(match(r, c, "SELECT a FROM t", &name), WISH_PRIMARY);
    assert_true(str_eq(name, STR("all")));
    assert_int_equal(match(r, c, "DELETE FROM t", &name), WISH_NONE);
    assert_int_equal(name.n, 0);
    rules_put(&other);
    rules_put(&r);
    sql_cache_free(&c);
}

static void rules_that_say_nothing_are_refused(void **state)
{
    static const char *const bad[] = {
        "", "  ", "digest:", "digest:12", "digest:00000000000000zz", "digest:00000000000000000"};
    struct rules *r = rules_new();
    struct error err;
    enum rules_wish w;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(rules_add(r, STR("x"), str_of(bad[i]), WISH_PRIMARY, &err), ST_INVALID);
    assert_false(rules_wish_of(STR("standby"), &w));
    assert_true(rules_wish_of(STR("Prefer-Replica"), &w));
    assert_int_equal(w, WISH_PREFER);
    rules_put(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_go_to_replicas_and_the_rest_to_the_primary),
        cmocka_unit_test(the_first_wish_in_the_order_decides),
        cmocka_unit_test(an_open_transaction_and_a_pin_stay_where_they_are),
        cmocka_unit_test(only_read_only_blocks_begin_on_a_replica),
        cmocka_unit_test(what_a_standby_has_refused_is_not_sent_there_again),
        cmocka_unit_test(a_client_that_has_written_reads_the_primary_until_a_replica_is_fresh),
        cmocka_unit_test(a_demanded_replica_is_waited_for),
        cmocka_unit_test(database_scope_asks_for_the_tables_of_the_read),
        cmocka_unit_test(what_is_missing_is_waited_for_replaced_or_refused),
        cmocka_unit_test(nodes_where_a_request_has_failed_are_avoided),
        cmocka_unit_test(hints_are_read_from_the_comment),
        cmocka_unit_test(every_reason_has_a_name),
        cmocka_unit_test(patterns_match_the_normalised_text),
        cmocka_unit_test(the_first_rule_that_matches_decides),
        cmocka_unit_test(rules_that_say_nothing_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
