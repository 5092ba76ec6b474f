/* test_freshness.c - which replica shows what a client must see: numbers, marks, tables, tokens. */
#include "base/mem.h"
#include "protocol/sql/sql_cache.h"
#include "router/freshness.h"
#include "test/unit/support/router_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define TIMELINE 3u

struct prober {
    struct router_rig r;
    struct freshness f;
    usec_t now;
};

static void prober_init(struct prober *p)
{
    router_rig_init(&p->r, 3);
    freshness_init(&p->f);
    freshness_reset(&p->f, p->r.live, 42, TIMELINE);
    p->now = 1000000;
}

static void prober_fini(struct prober *p)
{
    router_rig_fini(&p->r);
}

/* A probe of the primary that is answered at once. */
static uint64_t probe(struct prober *p, uint64_t position)
{
    uint64_t number = freshness_number(p->r.live);
    freshness_primary(
        &p->f, &(struct freshness_probe){.number = number, .position = position, .sent_at = p->now},
        TIMELINE);
    return number;
}

static void replays(struct prober *p, int node, uint64_t position)
{
    freshness_replica(&p->f, p->r.live, node, position, TIMELINE);
}

static uint64_t replayed(const struct prober *p, int node)
{
    return atomic_load(&p->r.live->nodes[node].replayed);
}

static void a_write_is_seen_by_who_has_replayed_a_later_probe(void **state)
{
    struct prober p;
    struct freshness_mark m = {0};
    (void)state;
    prober_init(&p);
    probe(&p, 100);
    replays(&p, 1, 100);
    assert_true(freshness_met(&m, p.r.live, 1)); /* nothing written, nothing asked for */
    freshness_wrote(&m, p.r.live);
    assert_false(freshness_met(&m, p.r.live, 1));
    /* Its position may be ahead of the write; that is not known until a later probe says so. */
    replays(&p, 1, 150);
    assert_false(freshness_met(&m, p.r.live, 1));
    probe(&p, 140);
    assert_false(freshness_met(&m, p.r.live, 1));
    replays(&p, 1, 150);
    assert_true(freshness_met(&m, p.r.live, 1));
    assert_false(freshness_met(&m, p.r.live, 2));
    prober_fini(&p);
}

static void a_probe_under_way_when_the_write_ends_proves_nothing(void **state)
{
    struct prober p;
    struct freshness_mark m = {0};
    (void)state;
    prober_init(&p);
    uint64_t early = freshness_number(p.r.live);
    freshness_wrote(&m, p.r.live);
    struct freshness_probe answer = {.number = early, .position = 500, .sent_at = 1};
    freshness_primary(&p.f, &answer, TIMELINE);
    replays(&p, 1, 900);
    assert_int_equal(replayed(&p, 1), early);
    assert_false(freshness_met(&m, p.r.live, 1));
    prober_fini(&p);
}

static void reads_of_one_client_never_go_backwards(void **state)
{
    struct prober p;
    struct freshness_mark m = {0};
    (void)state;
    prober_init(&p);
    probe(&p, 100);
    replays(&p, 1, 100);
    replays(&p, 2, 100);
    freshness_read(&m, p.r.live, 1);
    assert_true(freshness_met(&m, p.r.live, 1)); /* the same node does not step back */
    assert_false(freshness_met(&m, p.r.live, 2));
    probe(&p, 200);
    replays(&p, 2, 199);
    assert_false(freshness_met(&m, p.r.live, 2));
    replays(&p, 2, 200);
    assert_true(freshness_met(&m, p.r.live, 2));
    /* After a read of the primary every replica has to prove itself again. */
    freshness_read(&m, p.r.live, 0);
    assert_false(freshness_met(&m, p.r.live, 1));
    assert_false(freshness_met(&m, p.r.live, 2));
    assert_true(freshness_met(&m, p.r.live, 0));
    prober_fini(&p);
}

static void a_node_that_was_lost_proves_nothing_by_having_been_read(void **state)
{
    struct prober p;
    struct freshness_mark m = {0};
    (void)state;
    prober_init(&p);
    probe(&p, 100);
    replays(&p, 1, 100);
    freshness_read(&m, p.r.live, 1);
    freshness_forget(p.r.live, 1);
    assert_false(freshness_met(&m, p.r.live, 1));
    /* Nor one that has stepped back. */
    probe(&p, 200);
    replays(&p, 1, 200);
    freshness_read(&m, p.r.live, 1);
    assert_true(freshness_met(&m, p.r.live, 1));
    replays(&p, 1, 150);
    assert_false(freshness_met(&m, p.r.live, 1));
    prober_fini(&p);
}

static void a_change_of_primary_forgets_positions_and_keeps_marks(void **state)
{
    struct prober p;
    struct freshness_mark m = {0};
    (void)state;
    prober_init(&p);
    probe(&p, 1000);
    replays(&p, 1, 1000);
    freshness_wrote(&m, p.r.live);
    freshness_reset(&p.f, p.r.live, 42, TIMELINE + 1);
    assert_int_equal(replayed(&p, 1), 0);
    uint64_t number = freshness_number(p.r.live);
    struct freshness_probe a = {.number = number, .position = 900, .sent_at = 1};
    /* An answer of the old primary that comes late is not of this timeline. */
    freshness_primary(&p.f, &a, TIMELINE);
    assert_int_equal(p.f.n, 0);
    freshness_primary(&p.f, &a, TIMELINE + 1);
    /* One that stayed behind on the old timeline is ahead by number only. */
    freshness_replica(&p.f, p.r.live, 1, 1000, TIMELINE);
    assert_false(freshness_met(&m, p.r.live, 1));
    freshness_replica(&p.f, p.r.live, 1, 1000, 0);
    assert_false(freshness_met(&m, p.r.live, 1));
    freshness_replica(&p.f, p.r.live, 1, 1000, TIMELINE + 1);
    assert_true(freshness_met(&m, p.r.live, 1));
    prober_fini(&p);
}

static void late_repeated_and_backward_answers_are_dropped(void **state)
{
    static const struct {
        uint64_t number, position;
        bool kept;
    } rows[] = {
        {5, 100, true}, {5, 200, false}, {4, 200, false},
        {6, 99, false}, {7, 100, true},  {0, 300, false},
    };
    struct prober p;
    unsigned n = 0;
    (void)state;
    prober_init(&p);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct freshness_probe a = {.number = rows[i].number, .position = rows[i].position};
        freshness_primary(&p.f, &a, TIMELINE);
        n += rows[i].kept ? 1 : 0;
        assert_int_equal(p.f.n, n);
    }
    prober_fini(&p);
}

static void a_full_list_of_probes_is_thinned_and_never_too_kind(void **state)
{
    struct prober p;
    (void)state;
    prober_init(&p);
    for (uint64_t i = 1; i <= 20000; i++) {
        p.now += 1000;
        uint64_t number = probe(&p, i * 10);
        assert_int_equal(number, i);
        /* A replica half a list behind, and one far behind. */
        uint64_t behind = i > 250 ? i - 250 : 1, far = i / 2 + 1;
        replays(&p, 1, behind * 10);
        replays(&p, 2, far * 10 + 9);
        assert_true(replayed(&p, 1) <= behind && replayed(&p, 2) <= far);
        assert_true(i < 300 || replayed(&p, 1) + 8 > behind);
    }
    assert_true(p.f.n <= FRESHNESS_PROBES);
    assert_true(replayed(&p, 2) > 5000);
    prober_fini(&p);
}

static void lag_is_counted_from_the_first_probe_that_is_missing(void **state)
{
    static const struct {
        uint64_t position;
        usec_t us;
        int64_t bytes;
    } rows[] = {
        {300, 0, 0},      {999, 0, 0},      {299, 1000, 1},
        {200, 1000, 100}, {199, 2000, 101}, {0, 3000, 300},
    };
    struct prober p;
    usec_t us;
    int64_t bytes;
    (void)state;
    prober_init(&p);
    freshness_lag(&p.f, 100, p.now, &us, &bytes);
    assert_true(us == -1 && bytes == -1); /* no probe, no lag */
    for (uint64_t i = 1; i <= 3; i++) {
        probe(&p, i * 100);
        p.now += 1000;
    }
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        freshness_lag(&p.f, rows[i].position, p.now, &us, &bytes);
        assert_int_equal(us, rows[i].us);
        assert_int_equal(bytes, rows[i].bytes);
    }
    prober_fini(&p);
}

/* ---- tokens ---------------------------------------------------------------------------------- */

static void a_token_is_read_back_from_its_text(void **state)
{
    static const struct freshness_token tokens[] = {
        {1, 0, 1}, {UINT64_MAX, UINT64_MAX, UINT32_MAX}, {0x6f3a, 0x30000d8, 7}};
    char text[FRESHNESS_TOKEN_TEXT];
    struct freshness_token back;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(tokens); i++) {
        freshness_token_format(&tokens[i], text);
        assert_int_equal(freshness_token_parse(str_of(text), &back, NULL), ST_OK);
        assert_true(back.system == tokens[i].system && back.position == tokens[i].position &&
                    back.timeline == tokens[i].timeline);
    }
    freshness_token_format(&(struct freshness_token){0}, text);
    assert_string_equal(text, "");
    assert_int_equal(freshness_token_parse(STR(""), &back, NULL), ST_OK);
    assert_int_equal(back.system, 0);
}

static void other_texts_are_no_tokens(void **state)
{
    static const char *const texts[] = {"1",
                                        "1.1",
                                        "1.1.",
                                        ".1.1",
                                        "1..1",
                                        "0.1.1",
                                        "1.0.1",
                                        "1.1.1.1",
                                        "1.1.g",
                                        "01.1.1",
                                        "1.1.A",
                                        "1.100000000.1",
                                        "11111111111111111.1.1",
                                        "1.1.1 ",
                                        " 1.1.1",
                                        "1.1.-1",
                                        "x"};
    struct freshness_token t;
    struct error err;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        assert_int_equal(freshness_token_parse(str_of(texts[i]), &t, &err), ST_INVALID);
        assert_int_equal(t.system, 0);
    }
}

static void a_token_asks_for_its_position_on_its_timeline_or_a_later_one(void **state)
{
    struct prober p;
    struct freshness_mark m = {.token = {.system = 42, .timeline = TIMELINE, .position = 500}};
    (void)state;
    prober_init(&p);
    assert_false(freshness_met(&m, p.r.live, 1));
    replays(&p, 1, 499);
    assert_false(freshness_met(&m, p.r.live, 1));
    replays(&p, 1, 500);
    assert_true(freshness_met(&m, p.r.live, 1));
    freshness_replica(&p.f, p.r.live, 2, 600, TIMELINE - 1);
    assert_false(freshness_met(&m, p.r.live, 2));
    freshness_replica(&p.f, p.r.live, 2, 600, TIMELINE + 1);
    assert_true(freshness_met(&m, p.r.live, 2));
    prober_fini(&p);
}

/* ---- database scope -------------------------------------------------------------------------- */

struct tables {
    struct sql_cache *cache;
    struct catalog *cat;
    struct freshness_db *db;
};

static void add_row(struct catalog *c, const char *kind, const char *schema, const char *name,
                    const char *flags)
{
    struct str cols[4] = {str_of(kind), str_of(schema), str_of(name), str_of(flags)};
    assert_int_equal(catalog_add_row(c, cols, 4, NULL), ST_OK);
}

static void tables_init(struct tables *t)
{
    t->cache = sql_cache_new(1 << 20);
    t->cat = catalog_new(1);
    t->db = mem_new(sizeof(*t->db));
    add_row(t->cat, "r", "public", "a", "rwstp");
    add_row(t->cat, "r", "public", "b", "rwstp");
    add_row(t->cat, "r", "public", "v", "rwst");
    add_row(t->cat, "r", "public", "trg", "rst");
    add_row(t->cat, "r", "public", "trap", "");
    add_row(t->cat, "f", "pg_catalog", "count", "bqst");
    add_row(t->cat, "f", "pg_catalog", "nextval", "bq");
    add_row(t->cat, "f", "public", "stable_one", "t");
    add_row(t->cat, "f", "public", "volatile_one", "");
}

static void tables_fini(struct tables *t)
{
    sql_cache_free(&t->cache);
    catalog_put(&t->cat);
    mem_free(t->db);
}

static struct freshness_set written(struct tables *t, const char *text)
{
    struct freshness_set s = {0};
    struct facts *f = sql_cache_get(t->cache, str_of(text), 0);
    freshness_set_written(&s, f, t->cat);
    facts_put(&f);
    return s;
}

static struct freshness_set reading(struct tables *t, const char *text)
{
    struct freshness_set s = {.all = true, .n = 3}; /* whatever was there before */
    struct facts *f = sql_cache_get(t->cache, str_of(text), 0);
    freshness_set_read(&s, f, t->cat);
    facts_put(&f);
    return s;
}

static void what_a_statement_writes_is_known_or_everything(void **state)
{
    static const struct {
        const char *text;
        unsigned n;
        bool all;
    } rows[] = {
        {"SELECT * FROM a", 0, false},
        {"INSERT INTO a VALUES (1)", 1, false},
        {"INSERT INTO public.a SELECT * FROM b", 1, false},
        {"WITH w AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM w", 2, false},
        {"UPDATE a SET x = nextval('s')", 1, false},
        {"INSERT INTO a SELECT stable_one(1)", 1, false},
        {"INSERT INTO a SELECT * FROM v", 1, false},
        {"SELECT * FROM trap", 0, true}, /* a view that calls who knows what */
        {"INSERT INTO a SELECT volatile_one(1)", 1, true},
        {"SELECT volatile_one(1)", 0, true},
        {"INSERT INTO trg VALUES (1)", 1, true},
        {"DELETE FROM nowhere", 1, true},
        {"CREATE TABLE c (x int)", 0, true},
        {"DO $$BEGIN END$$", 0, true},
        {"EXECUTE p", 0, true},
        {"garbage", 0, true},
        {"BEGIN", 0, false},
        {"COMMIT PREPARED 'x'", 0, true},
        {"TRUNCATE a, b", 2, false},
        {"COPY a FROM STDIN", 1, false},
    };
    struct tables t;
    (void)state;
    tables_init(&t);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct freshness_set s = written(&t, rows[i].text);
        if (s.all != rows[i].all || (!s.all && s.n != rows[i].n))
            fail_msg("%s: all %d n %u", rows[i].text, s.all, s.n);
    }
    tables_fini(&t);
}

static void what_is_more_than_tables_reads_everything(void **state)
{
    static const struct {
        const char *text;
        bool all;
    } rows[] = {
        {"SELECT * FROM a", false},
        {"SELECT count(*) FROM a JOIN public.b USING (id)", false},
        {"SELECT 1", false},
        {"SELECT * FROM v", true},
        {"SELECT * FROM a, v", true},
        {"SELECT stable_one(1)", true}, /* may read any table */
        {"SELECT * FROM nowhere", true},
    };
    struct tables t;
    (void)state;
    tables_init(&t);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct freshness_set s = reading(&t, rows[i].text);
        if (s.all != rows[i].all)
            fail_msg("%s: all %d", rows[i].text, s.all);
    }
    tables_fini(&t);
}

static uint64_t need_of(struct tables *t, const char *text)
{
    uint64_t number = 77;
    struct freshness_set s = reading(t, text);
    assert_true(freshness_db_need(t->db, &s, &number));
    return number;
}

static void a_write_marks_its_tables_and_no_others(void **state)
{
    struct tables t;
    struct router_rig r;
    (void)state;
    tables_init(&t);
    router_rig_init(&r, 2);
    atomic_store(&r.live->sent, 5);
    struct freshness_set s = written(&t, "UPDATE a SET x = 1");
    freshness_db_open(t.db, &s);
    freshness_db_close(t.db, &s, r.live);
    assert_int_equal(need_of(&t, "SELECT * FROM public.a"), 5);
    assert_int_equal(need_of(&t, "SELECT * FROM b"), 0);
    assert_int_equal(need_of(&t, "SELECT * FROM a, b"), 5);
    assert_int_equal(need_of(&t, "SELECT * FROM v"), 5); /* a view may be of anything */
    atomic_store(&r.live->sent, 9);
    s = written(&t, "DO $$BEGIN END$$");
    freshness_db_open(t.db, &s);
    freshness_db_close(t.db, &s, r.live);
    assert_int_equal(need_of(&t, "SELECT * FROM b"), 9);
    assert_int_equal(need_of(&t, "SELECT * FROM a"), 9);
    /* Marks never go back, whoever closes last. */
    atomic_store(&r.live->sent, 7);
    s = written(&t, "UPDATE a SET x = 1");
    freshness_db_open(t.db, &s);
    freshness_db_close(t.db, &s, r.live);
    assert_int_equal(need_of(&t, "SELECT * FROM a"), 9);
    router_rig_fini(&r);
    tables_fini(&t);
}

static void reads_of_what_is_being_committed_need_the_primary(void **state)
{
    struct tables t;
    struct router_rig r;
    uint64_t number;
    (void)state;
    tables_init(&t);
    router_rig_init(&r, 2);
    struct freshness_set a = reading(&t, "SELECT * FROM a"), b = reading(&t, "SELECT * FROM b");
    struct freshness_set v = reading(&t, "SELECT * FROM v");
    struct freshness_set w = written(&t, "UPDATE a SET x = 1"), none = {0};
    freshness_db_open(t.db, &w);
    freshness_db_open(t.db, &w);
    freshness_db_open(t.db, &none);
    assert_false(freshness_db_need(t.db, &a, &number));
    assert_false(freshness_db_need(t.db, &v, &number));
    assert_true(freshness_db_need(t.db, &b, &number));
    freshness_db_close(t.db, &w, r.live);
    assert_false(freshness_db_need(t.db, &a, &number)); /* the other one is still under way */
    freshness_db_close(t.db, &w, r.live);
    freshness_db_close(t.db, &none, r.live);
    assert_true(freshness_db_need(t.db, &a, &number));
    router_rig_fini(&r);
    tables_fini(&t);
}

static void more_tables_than_fit_are_all_tables(void **state)
{
    struct tables t;
    char text[512] = "TRUNCATE ", name[16];
    (void)state;
    tables_init(&t);
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "t%d", i);
        add_row(t.cat, "r", "public", name, "rwstp");
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i == 0 ? "" : ", ",
                 name);
    }
    struct freshness_set s = written(&t, text);
    assert_true(s.all);
    assert_false(freshness_set_empty(&s));
    tables_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_write_is_seen_by_who_has_replayed_a_later_probe),
        cmocka_unit_test(a_probe_under_way_when_the_write_ends_proves_nothing),
        cmocka_unit_test(reads_of_one_client_never_go_backwards),
        cmocka_unit_test(a_node_that_was_lost_proves_nothing_by_having_been_read),
        cmocka_unit_test(a_change_of_primary_forgets_positions_and_keeps_marks),
        cmocka_unit_test(late_repeated_and_backward_answers_are_dropped),
        cmocka_unit_test(a_full_list_of_probes_is_thinned_and_never_too_kind),
        cmocka_unit_test(lag_is_counted_from_the_first_probe_that_is_missing),
        cmocka_unit_test(a_token_is_read_back_from_its_text),
        cmocka_unit_test(other_texts_are_no_tokens),
        cmocka_unit_test(a_token_asks_for_its_position_on_its_timeline_or_a_later_one),
        cmocka_unit_test(what_a_statement_writes_is_known_or_everything),
        cmocka_unit_test(what_is_more_than_tables_reads_everything),
        cmocka_unit_test(a_write_marks_its_tables_and_no_others),
        cmocka_unit_test(reads_of_what_is_being_committed_need_the_primary),
        cmocka_unit_test(more_tables_than_fit_are_all_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
