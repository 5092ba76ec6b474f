/* test_cache_l1.c - the first level: hits, invalidation, tickets, room, flights, and many
 * threads. */
#include "cache/cache_flight.h"
#include "cache/cache_l1.h"

#include "base/hash.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#include <cmocka.h>

#define TTL (10 * (usec_t)USEC_PER_SEC)

struct rig {
    struct cache_l1 *l1;
    struct cache_scope *scope, *other;
    usec_t now;
};

static void start(struct rig *r, size_t memory)
{
    r->l1 = cache_l1_new(memory);
    r->scope = cache_l1_scope(r->l1, STR("db"), STR("balance"));
    r->other = cache_l1_scope(r->l1, STR("db"), STR("other"));
    r->now = 1000;
}

static void make_key(struct cache_key *k, const char *name, const char *identity)
{
    size_t n = strlen(name), m = strlen(identity);
    memcpy(k->bytes, name, n);
    memcpy(k->bytes + CACHE_KEY_TEXT, identity, m);
    k->name = (struct str){k->bytes, n};
    k->identity = (struct str){k->bytes + CACHE_KEY_TEXT, m};
    k->hash = hash_bytes(name, n, 5);
}

static struct cache_entry *entry(const char *data)
{
    struct cache_entry_parts p = {.desc = STR("d"), .data = str_of(data), .complete = STR("c")};
    return cache_entry_new(&p);
}

static enum cache_l1_result look(struct rig *r, const char *name, struct cache_ticket *t)
{
    struct cache_key k;
    struct cache_entry *e = NULL;
    struct cache_ticket unused;
    make_key(&k, name, name);
    struct cache_l1_ask ask = {.scope = r->scope, .key = &k, .now = r->now, .want_desc = true};
    enum cache_l1_result res = cache_l1_lookup(r->l1, &ask, t != NULL ? t : &unused, &e);
    assert_int_equal(e != NULL, res == CACHE_L1_HIT);
    cache_entry_put(&e);
    return res;
}

static bool keep(struct rig *r, const char *name, struct cache_ticket t)
{
    struct cache_key k;
    struct cache_entry *e = entry(name);
    make_key(&k, name, name);
    struct cache_l1_put put = {
        .scope = r->scope, .key = &k, .ticket = t, .entry = e, .now = r->now, .ttl_us = TTL};
    bool ok = cache_l1_store(r->l1, &put);
    cache_entry_put(&e);
    return ok;
}

static void fill(struct rig *r, const char *name)
{
    struct cache_ticket t;
    assert_int_equal(look(r, name, &t), CACHE_L1_MISS);
    assert_true(keep(r, name, t));
    assert_int_equal(look(r, name, NULL), CACHE_L1_HIT);
}

static void begin(struct rig *r, const char *name, struct cache_write *w)
{
    struct cache_key k;
    if (name == NULL) {
        cache_l1_write_begin(r->l1, r->scope, NULL, w);
        return;
    }
    make_key(&k, name, "");
    cache_l1_write_begin(r->l1, r->scope, &k, w);
}

static void what_is_stored_is_found_until_its_time_is_over(void **state)
{
    (void)state;
    struct rig r;
    start(&r, 1 << 20);
    fill(&r, "k:1");
    assert_int_equal(cache_l1_entries(r.scope), 1);
    r.now += TTL - TTL / 10 - 1;
    assert_int_equal(look(&r, "k:1", NULL), CACHE_L1_HIT);
    assert_int_equal(look(&r, "k:2", NULL), CACHE_L1_MISS);
    r.now += TTL / 10 + 1;
    assert_int_equal(look(&r, "k:1", NULL), CACHE_L1_MISS);
    assert_int_equal(cache_l1_entries(r.scope), 0);
    cache_l1_free(&r.l1);
}

static void variants_below_a_name_go_together(void **state)
{
    (void)state;
    struct rig r;
    struct cache_key a, b;
    struct cache_ticket t;
    struct cache_entry *e = entry("x"), *out = NULL;
    start(&r, 1 << 20);
    make_key(&a, "k", "a");
    make_key(&b, "k", "b");
    struct cache_l1_ask ask = {.scope = r.scope, .key = &a, .now = 1};
    assert_int_equal(cache_l1_lookup(r.l1, &ask, &t, &out), CACHE_L1_MISS);
    struct cache_l1_put put = {
        .scope = r.scope, .key = &a, .ticket = t, .entry = e, .now = 1, .ttl_us = TTL};
    assert_true(cache_l1_store(r.l1, &put));
    ask.key = &b;
    assert_int_equal(cache_l1_lookup(r.l1, &ask, &t, &out), CACHE_L1_MISS);
    put.key = &b;
    assert_true(cache_l1_store(r.l1, &put) && cache_l1_store(r.l1, &put));
    assert_int_equal(cache_l1_entries(r.scope), 2);
    cache_l1_drop(r.l1, r.scope, &a);
    assert_int_equal(cache_l1_lookup(r.l1, &ask, &t, &out), CACHE_L1_MISS);
    assert_int_equal(cache_l1_entries(r.scope), 0);
    cache_entry_put(&e);
    cache_l1_free(&r.l1);
}

static void a_point_write_closes_its_key_and_no_other(void **state)
{
    (void)state;
    struct rig r;
    struct cache_write w, w2;
    start(&r, 1 << 20);
    fill(&r, "k:1");
    fill(&r, "k:2");
    begin(&r, "k:1", &w);
    begin(&r, "k:1", &w2);
    assert_int_equal(look(&r, "k:1", NULL), CACHE_L1_WRITE);
    assert_int_equal(look(&r, "k:2", NULL), CACHE_L1_HIT);
    cache_l1_write_end(r.l1, &w);
    assert_int_equal(look(&r, "k:1", NULL), CACHE_L1_WRITE);
    cache_l1_write_end(r.l1, &w2);
    fill(&r, "k:1");
    cache_l1_free(&r.l1);
}

static void a_table_write_closes_its_rule_and_no_other(void **state)
{
    (void)state;
    struct rig r;
    struct cache_write w;
    struct cache_ticket t;
    start(&r, 1 << 20);
    fill(&r, "k:1");
    struct cache_scope *mine = r.scope;
    r.scope = r.other;
    fill(&r, "k:1");
    r.scope = mine;
    begin(&r, NULL, &w);
    assert_int_equal(look(&r, "k:1", NULL), CACHE_L1_WRITE);
    assert_int_equal(look(&r, "k:9", NULL), CACHE_L1_WRITE);
    r.scope = r.other;
    assert_int_equal(look(&r, "k:1", NULL), CACHE_L1_HIT);
    r.scope = mine;
    cache_l1_write_end(r.l1, &w);
    assert_int_equal(look(&r, "k:1", &t), CACHE_L1_MISS);
    assert_true(keep(&r, "k:1", t));
    cache_l1_free(&r.l1);
}

/* The ticket is taken, then the write happens in every way a write can. */
static void a_ticket_is_void_after_any_write_since(void **state)
{
    (void)state;
    struct rig r;
    struct cache_write w;
    struct cache_ticket t;
    for (int how = 0; how < 6; how++) {
        start(&r, 1 << 20);
        const char *name = how % 2 == 0 ? "k:1" : NULL;
        assert_int_equal(look(&r, "k:1", &t), CACHE_L1_MISS);
        begin(&r, name, &w);
        if (how < 2) {
            assert_false(keep(&r, "k:1", t)); /* still open */
            cache_l1_write_end(r.l1, &w);
        } else if (how < 4) {
            cache_l1_write_end(r.l1, &w);
        } else {
            cache_l1_write_lost(r.l1, &w, r.now + 50);
            r.now += 51;
        }
        assert_false(keep(&r, "k:1", t));
        assert_int_equal(look(&r, "k:1", NULL), CACHE_L1_MISS);
        cache_l1_free(&r.l1);
    }
}

static void a_ticket_from_within_a_write_is_void(void **state)
{
    (void)state;
    struct rig r;
    struct cache_write w;
    struct cache_ticket t;
    start(&r, 1 << 20);
    begin(&r, "k:1", &w);
    assert_int_equal(look(&r, "k:1", &t), CACHE_L1_WRITE);
    cache_l1_write_end(r.l1, &w);
    assert_false(keep(&r, "k:1", t));
    begin(&r, NULL, &w);
    assert_int_equal(look(&r, "k:1", &t), CACHE_L1_WRITE);
    cache_l1_write_end(r.l1, &w);
    cache_l1_free(&r.l1);
}

static void a_lost_write_keeps_its_key_closed_until_the_deadline(void **state)
{
    (void)state;
    struct rig r;
    struct cache_write w;
    for (int whole = 0; whole < 2; whole++) {
        start(&r, 1 << 20);
        fill(&r, "k:1");
        begin(&r, whole ? NULL : "k:1", &w);
        cache_l1_write_lost(r.l1, &w, r.now + 100);
        assert_int_equal(look(&r, "k:1", NULL), CACHE_L1_WRITE);
        cache_l1_drop_all(r.l1);
        r.now += 99;
        assert_int_equal(look(&r, "k:1", NULL), CACHE_L1_WRITE);
        r.now += 1;
        assert_int_equal(look(&r, "k:1", NULL), CACHE_L1_MISS);
        cache_l1_free(&r.l1);
    }
}

/* More entries than there is room for. */
static void crowd_out(struct rig *r)
{
    char name[32];
    for (int i = 0; i < 10000; i++) {
        struct cache_ticket t;
        snprintf(name, sizeof(name), "crowd:%d", i);
        assert_int_equal(look(r, name, &t), CACHE_L1_MISS);
        assert_true(keep(r, name, t));
    }
}

static void what_was_forgotten_still_voids_tickets(void **state)
{
    (void)state;
    struct rig r;
    struct cache_write w;
    struct cache_ticket t;
    start(&r, 1 << 20);
    assert_int_equal(look(&r, "k:1", &t), CACHE_L1_MISS);
    begin(&r, "k:1", &w);
    cache_l1_write_end(r.l1, &w);
    crowd_out(&r); /* the line is gone, and its memory */
    assert_false(keep(&r, "k:1", t));
    cache_l1_free(&r.l1);
}

static void room_is_made_by_throwing_out_what_was_not_used(void **state)
{
    (void)state;
    struct rig r;
    struct cache_l1_counts c;
    char name[32];
    start(&r, 1 << 20);
    fill(&r, "k:used");
    for (int i = 0; i < 20000; i++) {
        struct cache_ticket t;
        snprintf(name, sizeof(name), "k:%d", i);
        assert_int_equal(look(&r, name, &t), CACHE_L1_MISS);
        assert_true(keep(&r, name, t));
        if (i % 100 == 0)
            assert_int_equal(look(&r, "k:used", NULL), CACHE_L1_HIT);
    }
    cache_l1_counts(r.l1, &c);
    assert_true(c.bytes <= 1 << 20 && c.evicted > 1000 && c.entries > 1000);
    assert_int_equal(c.entries, cache_l1_entries(r.scope));
    assert_int_equal(look(&r, "k:0", NULL), CACHE_L1_MISS);
    cache_l1_resize(r.l1, 1 << 16);
    struct cache_ticket t;
    assert_int_equal(look(&r, "k:new", &t), CACHE_L1_MISS);
    for (int i = 0; i < 1000 && !keep(&r, "k:new", t); i++) {
    }
    cache_l1_counts(r.l1, &c);
    assert_true(c.bytes <= 1 << 16);
    cache_l1_free(&r.l1);
}

static void an_entry_larger_than_its_share_is_not_kept(void **state)
{
    (void)state;
    static char big[400000];
    struct rig r;
    struct cache_ticket t;
    struct cache_key k;
    memset(big, 'x', sizeof(big) - 1);
    start(&r, 1 << 20);
    assert_int_equal(look(&r, "k:1", &t), CACHE_L1_MISS);
    struct cache_entry *e = entry(big);
    make_key(&k, "k:1", "k:1");
    struct cache_l1_put put = {
        .scope = r.scope, .key = &k, .ticket = t, .entry = e, .now = r.now, .ttl_us = TTL};
    assert_false(cache_l1_store(r.l1, &put));
    cache_entry_put(&e);
    cache_l1_free(&r.l1);
}

static bool is_void(struct rig *r, const char *name, struct cache_ticket t)
{
    struct cache_key k;
    make_key(&k, name, name);
    struct cache_l1_put put = {.scope = r->scope, .key = &k, .ticket = t, .now = r->now};
    return cache_l1_is_void(r->l1, &put);
}

/* What was read elsewhere with a ticket is judged by it, stored here or not. */
static void void_tickets_are_told_from_full_memory(void **state)
{
    (void)state;
    struct rig r;
    struct cache_write w;
    struct cache_ticket t, other;
    start(&r, 1 << 20);
    assert_int_equal(look(&r, "k:1", &t), CACHE_L1_MISS);
    assert_int_equal(look(&r, "k:2", &other), CACHE_L1_MISS);
    assert_false(is_void(&r, "k:1", t));
    begin(&r, "k:1", &w);
    assert_true(is_void(&r, "k:1", t) && !is_void(&r, "k:2", other));
    cache_l1_write_end(r.l1, &w);
    assert_true(is_void(&r, "k:1", t));
    begin(&r, NULL, &w);
    cache_l1_write_end(r.l1, &w);
    assert_true(is_void(&r, "k:2", other));
    assert_int_equal(look(&r, "k:1", &t), CACHE_L1_MISS);
    begin(&r, "k:1", &w);
    cache_l1_write_lost(r.l1, &w, r.now + 10);
    r.now += 20;
    assert_true(is_void(&r, "k:1", t));
    cache_l1_free(&r.l1);
}

static void a_ticket_of_a_hot_key_is_not_void_but_stores_nothing(void **state)
{
    (void)state;
    struct rig r;
    struct cache_write w;
    struct cache_ticket t;
    start(&r, 1 << 20);
    while (look(&r, "k:1", &t) != CACHE_L1_HOT) {
        (void)keep(&r, "k:1", t);
        begin(&r, "k:1", &w);
        cache_l1_write_end(r.l1, &w);
    }
    assert_false(is_void(&r, "k:1", t) || keep(&r, "k:1", t));
    assert_int_equal(cache_l1_entries(r.scope), 0);
    begin(&r, "k:1", &w);
    assert_true(is_void(&r, "k:1", t));
    cache_l1_write_end(r.l1, &w);
    cache_l1_free(&r.l1);
}

static void a_key_whose_entries_are_never_used_is_hot(void **state)
{
    (void)state;
    struct rig r;
    struct cache_write w;
    struct cache_ticket t;
    int kept = 0;
    start(&r, 1 << 20);
    for (int i = 0; i < 320; i++) {
        enum cache_l1_result res = look(&r, "k:1", &t);
        assert_true(res == CACHE_L1_MISS || res == CACHE_L1_HOT);
        if (res == CACHE_L1_MISS)
            kept += keep(&r, "k:1", t);
        begin(&r, "k:1", &w);
        cache_l1_write_end(r.l1, &w);
    }
    assert_in_range(kept, 10, 40);
    /* Once an entry is used the key is an ordinary one again. */
    while (look(&r, "k:1", &t) == CACHE_L1_HOT) {
    }
    assert_true(keep(&r, "k:1", t));
    assert_int_equal(look(&r, "k:1", NULL), CACHE_L1_HIT);
    begin(&r, "k:1", &w);
    cache_l1_write_end(r.l1, &w);
    fill(&r, "k:1");
    cache_l1_free(&r.l1);
}

static void an_entry_without_description_is_no_hit_for_who_wants_one(void **state)
{
    (void)state;
    struct rig r;
    struct cache_ticket t;
    struct cache_key k;
    struct cache_entry_parts p = {.data = STR("x"), .complete = STR("c")};
    struct cache_entry *e = cache_entry_new(&p), *out = NULL;
    start(&r, 1 << 20);
    assert_int_equal(look(&r, "k", &t), CACHE_L1_MISS);
    make_key(&k, "k", "k");
    struct cache_l1_put put = {
        .scope = r.scope, .key = &k, .ticket = t, .entry = e, .now = r.now, .ttl_us = TTL};
    assert_true(cache_l1_store(r.l1, &put));
    assert_int_equal(look(&r, "k", NULL), CACHE_L1_MISS);
    struct cache_l1_ask ask = {.scope = r.scope, .key = &k, .now = r.now};
    assert_int_equal(cache_l1_lookup(r.l1, &ask, &t, &out), CACHE_L1_HIT);
    cache_entry_put(&out);
    cache_entry_put(&e);
    cache_l1_free(&r.l1);
}

static void a_scope_is_one_for_its_names(void **state)
{
    (void)state;
    struct rig r;
    start(&r, 1 << 20);
    assert_ptr_equal(cache_l1_scope(r.l1, STR("db"), STR("balance")), r.scope);
    assert_ptr_not_equal(cache_l1_scope(r.l1, STR("db2"), STR("balance")), r.scope);
    cache_l1_free(&r.l1);
}

/* ---- many threads: a value is never older than a write that had ended before the lookup ------ */

#define KEYS 8
#define ROUNDS 500
#define HITS 300

struct stage {
    struct rig r;
    _Atomic uint32_t truth[KEYS], ended[KEYS];
    _Atomic bool stop;
    _Atomic uint64_t hits, stale;
};

static void *writer(void *arg)
{
    struct stage *s = arg;
    char name[16];
    for (int i = 0; i < ROUNDS || atomic_load(&s->hits) < HITS; i++) {
        int k = i % KEYS;
        struct cache_write w;
        snprintf(name, sizeof(name), "k:%d", k);
        begin(&s->r, i % 7 == 0 ? NULL : name, &w);
        uint32_t v = atomic_fetch_add(&s->truth[k], 1) + 1; /* the commit */
        cache_l1_write_end(s->r.l1, &w);
        uint32_t was = atomic_load(&s->ended[k]);
        while (was < v && !atomic_compare_exchange_weak(&s->ended[k], &was, v)) {
        }
        for (int pause = 0; pause < 5; pause++)
            (void)sched_yield();
    }
    atomic_store(&s->stop, true);
    return NULL;
}

static void *reader(void *arg)
{
    struct stage *s = arg;
    char name[16], data[16];
    for (unsigned i = 0; !atomic_load(&s->stop); i++) {
        int k = (int)(i % KEYS);
        struct cache_key key;
        struct cache_entry *e = NULL;
        struct cache_ticket t;
        unsigned got = 0;
        snprintf(name, sizeof(name), "k:%d", k);
        make_key(&key, name, name);
        uint32_t floor = atomic_load(&s->ended[k]);
        struct cache_l1_ask ask = {.scope = s->r.scope, .key = &key, .now = s->r.now};
        enum cache_l1_result res = cache_l1_lookup(s->r.l1, &ask, &t, &e);
        if (res == CACHE_L1_HIT) {
            assert_int_equal(sscanf(e->data.p, "%8u", &got), 1);
            atomic_fetch_add(&s->hits, 1);
            atomic_fetch_add(&s->stale, got < floor);
        } else if (res == CACHE_L1_MISS) {
            snprintf(data, sizeof(data), "%08u", atomic_load(&s->truth[k])); /* the query */
            e = entry(data);
            struct cache_l1_put put = {.scope = s->r.scope,
                                       .key = &key,
                                       .ticket = t,
                                       .entry = e,
                                       .now = s->r.now,
                                       .ttl_us = TTL};
            (void)cache_l1_store(s->r.l1, &put);
        }
        cache_entry_put(&e);
    }
    return NULL;
}

static void no_hit_is_older_than_a_write_that_had_ended(void **state)
{
    (void)state;
    struct stage s = {.stop = false};
    pthread_t t[4];
    start(&s.r, 1 << 20);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&t[i], NULL, writer, &s), 0);
    for (int i = 2; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, reader, &s), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(t[i], NULL), 0);
    assert_int_equal(s.stale, 0);
    cache_l1_free(&s.r.l1);
}

static void short_writes_are_told_from_long_ones(void **state)
{
    (void)state;
    struct rig r;
    struct cache_write w, all;
    struct cache_key k;
    start(&r, 1 << 20);
    make_key(&k, "k:1", "v");
    assert_false(cache_l1_ends_soon(r.l1, r.scope, &k, r.now));
    begin(&r, "k:1", &w);
    assert_true(cache_l1_ends_soon(r.l1, r.scope, &k, r.now));
    assert_false(cache_l1_ends_soon(r.l1, r.other, &k, r.now));
    begin(&r, NULL, &all); /* a write to the table beside it */
    assert_false(cache_l1_ends_soon(r.l1, r.scope, &k, r.now));
    cache_l1_write_end(r.l1, &all);
    assert_true(cache_l1_ends_soon(r.l1, r.scope, &k, r.now));
    cache_l1_write_lost(r.l1, &w, r.now + 100);
    begin(&r, "k:1", &w);
    assert_false(cache_l1_ends_soon(r.l1, r.scope, &k, r.now)); /* closed for long anyway */
    cache_l1_write_end(r.l1, &w);
    cache_l1_free(&r.l1);
}

/* ---- flights --------------------------------------------------------------------------------- */

struct flights_rig {
    struct cache_flights fs;
    struct cache_waiter w[5];
    struct cache_key a, b;
    struct list early, late;
};

static void take_off(struct flights_rig *r)
{
    list_init(&r->early);
    list_init(&r->late);
    cache_flight_init(&r->fs);
    for (size_t i = 0; i < ARRAY_LEN(r->w); i++)
        list_init(&r->w[i].node);
    make_key(&r->a, "k", "a");
    make_key(&r->b, "k", "b");
}

static void one_asks_and_the_others_wait(void **state)
{
    (void)state;
    struct flights_rig r;
    take_off(&r);
    struct cache_flight *fa = cache_flight_join(&r.fs, &r.a, &r.w[0]);
    struct cache_flight *fb = cache_flight_join(&r.fs, &r.b, &r.w[0]);
    assert_true(fa != NULL && fb != NULL && !list_linked(&r.w[0].node));
    assert_true(cache_flight_is_of(fa, &r.a) && !cache_flight_is_of(fa, &r.b));
    for (int i = 1; i < 4; i++)
        assert_null(cache_flight_join(&r.fs, &r.a, &r.w[i]));
    cache_flight_leave(&r.w[2]);
    cache_flight_leave(&r.w[2]);
    cache_flight_answered(fb, &r.early);
    cache_flight_land(&r.fs, &fb, &r.late);
    assert_true(list_empty(&r.early) && list_empty(&r.late) && fb == NULL);
    cache_flight_answered(fa, &r.early);
    cache_flight_land(&r.fs, &fa, &r.late);
    assert_true(list_empty(&r.early)); /* it was never sent */
    assert_ptr_equal(list_pop_front(&r.late), &r.w[1].node);
    assert_ptr_equal(list_pop_front(&r.late), &r.w[3].node);
    assert_true(list_empty(&r.late));
    fa = cache_flight_join(&r.fs, &r.a, &r.w[1]);
    assert_non_null(fa);
    cache_flight_land(&r.fs, &fa, &r.late);
    cache_flight_fini(&r.fs);
}

static void who_came_before_it_was_sent_is_told_apart(void **state)
{
    (void)state;
    struct flights_rig r;
    take_off(&r);
    struct cache_flight *f = cache_flight_join(&r.fs, &r.a, &r.w[0]);
    for (int i = 1; i < 3; i++)
        assert_null(cache_flight_join(&r.fs, &r.a, &r.w[i]));
    cache_flight_sent(f);
    for (int i = 3; i < 5; i++)
        assert_null(cache_flight_join(&r.fs, &r.a, &r.w[i]));
    cache_flight_leave(&r.w[1]);
    cache_flight_leave(&r.w[3]);
    cache_flight_answered(f, &r.early);
    cache_flight_land(&r.fs, &f, &r.late);
    assert_ptr_equal(list_pop_front(&r.early), &r.w[2].node);
    assert_ptr_equal(list_pop_front(&r.late), &r.w[4].node);
    assert_true(list_empty(&r.early) && list_empty(&r.late));
    cache_flight_fini(&r.fs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_stored_is_found_until_its_time_is_over),
        cmocka_unit_test(variants_below_a_name_go_together),
        cmocka_unit_test(a_point_write_closes_its_key_and_no_other),
        cmocka_unit_test(a_table_write_closes_its_rule_and_no_other),
        cmocka_unit_test(a_ticket_is_void_after_any_write_since),
        cmocka_unit_test(a_ticket_from_within_a_write_is_void),
        cmocka_unit_test(a_lost_write_keeps_its_key_closed_until_the_deadline),
        cmocka_unit_test(what_was_forgotten_still_voids_tickets),
        cmocka_unit_test(room_is_made_by_throwing_out_what_was_not_used),
        cmocka_unit_test(an_entry_larger_than_its_share_is_not_kept),
        cmocka_unit_test(void_tickets_are_told_from_full_memory),
        cmocka_unit_test(a_ticket_of_a_hot_key_is_not_void_but_stores_nothing),
        cmocka_unit_test(a_key_whose_entries_are_never_used_is_hot),
        cmocka_unit_test(an_entry_without_description_is_no_hit_for_who_wants_one),
        cmocka_unit_test(a_scope_is_one_for_its_names),
        cmocka_unit_test(no_hit_is_older_than_a_write_that_had_ended),
        cmocka_unit_test(one_asks_and_the_others_wait),
        cmocka_unit_test(who_came_before_it_was_sent_is_told_apart),
        cmocka_unit_test(short_writes_are_told_from_long_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
