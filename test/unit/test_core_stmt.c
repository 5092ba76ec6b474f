/* test_core_stmt.c - prepared statements: identity, clients' names, servers' sets, hand-over. */
#include "base/base.h"

#include "base/mem.h"
#include "proxy/stmt.h"
#include "test/unit/support/toy_wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static const struct wire *const codecs[] = {&toy_wire, &pg_wire};

static struct stmt *find(struct stmt_registry *r, const char *text)
{
    struct stmt_key k = {str_of(text), STR_NONE, 0, false};
    return stmt_find(r, &k);
}

static void equal_statements_are_one_and_every_part_of_the_identity_counts(void **state)
{
    (void)state;
    static const struct stmt_key keys[] = {
        {STR_INIT("select 1"), {NULL, 0}, 0, false},
        {STR_INIT("select 2"), {NULL, 0}, 0, false},
        {STR_INIT("select 1"), STR_INIT("t"), 0, false},
        {STR_INIT("select 1"), {NULL, 0}, 1, false},
        {STR_INIT("select 1"), {NULL, 0}, 0, true},
        {STR_INIT("select 1t"), {NULL, 0}, 0, false},
        {STR_INIT(""), {NULL, 0}, 0, false},
        {STR_INIT("a\0b"), {NULL, 0}, 0, false},
        {STR_INIT("a\0c"), {NULL, 0}, 0, false},
    };
    struct stmt_registry r;
    struct stmt *s[ARRAY_LEN(keys)];
    stmt_registry_init(&r, 0, 0);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        s[i] = stmt_find(&r, &keys[i]);
        for (size_t k = 0; k < i; k++)
            assert_ptr_not_equal(s[i], s[k]);
    }
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        struct stmt *again = stmt_find(&r, &keys[i]);
        assert_ptr_equal(again, s[i]);
        assert_int_equal(again->refs, 2);
        stmt_put(&again);
        assert_null(again);
        stmt_put(&s[i]);
    }
    assert_int_equal(r.nunused, ARRAY_LEN(keys));
    stmt_registry_fini(&r);
}

static void unused_statement_is_found_again_and_leaves_the_unused_list(void **state)
{
    (void)state;
    struct stmt_registry r;
    stmt_registry_init(&r, 0, 0);
    struct stmt *s = find(&r, "select 1"), *was = s;
    stmt_put(&s);
    assert_int_equal(r.nunused, 1);
    assert_int_equal(r.unused_bytes, 8);
    s = find(&r, "select 1");
    assert_ptr_equal(s, was);
    assert_int_equal(r.nunused, 0);
    assert_int_equal(r.unused_bytes, 0);
    stmt_put(&s);
    stmt_registry_fini(&r);
}

/* As a client does that never repeats a text. */
static void endless_different_texts_stay_bounded(void **state)
{
    (void)state;
    struct stmt_registry r;
    char text[] = "select 000000";
    stmt_registry_init(&r, 0, 0);
    struct stmt *kept = find(&r, "kept");
    for (int i = 0; i < 200000; i++) {
        for (int k = 12, rest = i; rest > 0; k--, rest /= 10)
            text[k] = (char)('0' + rest % 10);
        struct stmt *s = find(&r, text);
        stmt_put(&s);
    }
    assert_in_range(r.count, 1, 4097);
    assert_in_range(r.nchains, 1, 8192);
    struct stmt *again = find(&r, "kept");
    assert_ptr_equal(again, kept);
    stmt_put(&again);
    stmt_put(&kept);
    stmt_registry_fini(&r);
}

static void large_unused_texts_are_bounded_by_their_bytes(void **state)
{
    (void)state;
    struct stmt_registry r;
    char *text = mem_new(1 << 20);
    memset(text, 'x', 1 << 20);
    stmt_registry_init(&r, 0, 0);
    for (int i = 0; i < 12; i++) {
        text[0] = (char)('A' + i);
        struct stmt_key k = {{text, 1 << 20}, STR_NONE, 0, false};
        struct stmt *s = stmt_find(&r, &k);
        stmt_put(&s);
        assert_in_range(r.unused_bytes, 1, 8 << 20);
    }
    assert_in_range(r.count, 1, 8);
    mem_free(text);
    stmt_registry_fini(&r);
}

static void no_memory_for_a_text_is_an_answer(void **state)
{
    (void)state;
    struct stmt_registry r;
    stmt_registry_init(&r, 0, 0);
    mem_fail_nth(1);
    assert_null(find(&r, "select 1"));
    mem_fail_nth(0);
    struct stmt *s = find(&r, "select 1");
    assert_non_null(s);
    stmt_put(&s);
    stmt_registry_fini(&r);
}

static void names_of_a_client_are_set_replaced_and_cleared(void **state)
{
    (void)state;
    struct stmt_registry r;
    struct stmt_names n;
    stmt_registry_init(&r, 0, 0);
    stmt_names_init(&n);
    struct stmt *a = find(&r, "a"), *b = find(&r, "b");
    assert_null(stmt_names_set(&n, STR("s"), stmt_get(a)));
    assert_null(stmt_names_set(&n, STR(""), stmt_get(b)));
    assert_ptr_equal(stmt_names_find(&n, STR("s")), a);
    assert_ptr_equal(stmt_names_find(&n, STR("")), b);
    assert_null(stmt_names_find(&n, STR("S")));
    assert_int_equal(stmt_names_count(&n), 1);
    struct stmt *old = stmt_names_set(&n, STR("s"), stmt_get(b));
    assert_ptr_equal(old, a);
    stmt_put(&old);
    assert_int_equal(a->refs, 1);
    old = stmt_names_set(&n, STR("s"), NULL);
    assert_ptr_equal(old, b);
    stmt_put(&old);
    assert_null(stmt_names_find(&n, STR("s")));
    assert_null(stmt_names_set(&n, STR("t"), stmt_get(a)));
    stmt_names_clear(&n);
    assert_int_equal(stmt_names_count(&n), 0);
    assert_null(stmt_names_find(&n, STR("")));
    assert_int_equal(a->refs, 1);
    assert_int_equal(b->refs, 1);
    stmt_names_fini(&n);
    stmt_put(&a);
    stmt_put(&b);
    stmt_registry_fini(&r);
}

static void set_of_a_server_gives_the_least_recently_used_first(void **state)
{
    (void)state;
    static const char *const texts[] = {"a", "b", "c", "d"};
    for (size_t w = 0; w < ARRAY_LEN(codecs); w++) {
        struct stmt_registry r;
        struct stmt_set set;
        struct stmt *s[4];
        stmt_registry_init(&r, 0, 99);
        stmt_set_init(&set);
        assert_null(stmt_set_oldest(&set));
        for (int i = 0; i < 4; i++) {
            s[i] = find(&r, texts[i]);
            stmt_set_add(&set, s[i], codecs[w]);
        }
        assert_int_equal(set.count, 4);
        assert_non_null(stmt_set_find(&set, s[0])); /* a and c are used again */
        assert_non_null(stmt_set_find(&set, s[2]));
        static const int order[] = {1, 3, 0, 2};
        for (int i = 0; i < 4; i++) {
            struct stmt_entry *e = stmt_set_oldest(&set);
            assert_ptr_equal(e->stmt, s[order[i]]);
            stmt_set_remove(&set, e);
            assert_null(stmt_set_find(&set, s[order[i]]));
        }
        assert_int_equal(set.count, 0);
        for (int i = 0; i < 4; i++) {
            assert_int_equal(s[i]->refs, 1);
            stmt_put(&s[i]);
        }
        stmt_set_fini(&set);
        stmt_registry_fini(&r);
    }
}

static void handles_differ_between_statements_workers_and_times(void **state)
{
    (void)state;
    for (size_t w = 0; w < ARRAY_LEN(codecs); w++) {
        struct wire_handle seen[8];
        int n = 0;
        for (unsigned worker = 0; worker < 2; worker++) {
            struct stmt_registry r;
            struct stmt_set set;
            stmt_registry_init(&r, worker, 99);
            stmt_set_init(&set);
            for (int i = 0; i < 4; i++) {
                struct stmt *s = find(&r, i % 2 == 0 ? "a" : "b");
                struct stmt_entry *e = stmt_set_add(&set, s, codecs[w]);
                for (int k = 0; k < n; k++)
                    assert_memory_not_equal(seen[k].b, e->handle.b, sizeof(e->handle.b));
                seen[n++] = e->handle;
                stmt_set_remove(&set, e);
                stmt_put(&s);
            }
            stmt_set_fini(&set);
            stmt_registry_fini(&r);
        }
    }
}

static void named_entries_are_found_by_name_and_not_counted(void **state)
{
    (void)state;
    struct stmt_registry r;
    struct stmt_set set;
    stmt_registry_init(&r, 0, 0);
    stmt_set_init(&set);
    struct stmt *s = find(&r, "a");
    stmt_set_add_named(&set, s, STR("mine"));
    assert_int_equal(set.count, 0);
    assert_null(stmt_set_oldest(&set));
    assert_null(stmt_set_find(&set, s));
    assert_ptr_equal(stmt_set_find_named(&set, STR("mine"))->stmt, s);
    assert_null(stmt_set_find_named(&set, STR("Mine")));
    stmt_set_remove(&set, stmt_set_find_named(&set, STR("mine")));
    assert_null(stmt_set_find_named(&set, STR("mine")));
    stmt_set_add_named(&set, s, STR("one"));
    stmt_set_add(&set, s, &toy_wire);
    stmt_set_clear(&set);
    assert_int_equal(map_count(&set.by_name), 0);
    assert_int_equal(set.count, 0);
    assert_int_equal(s->refs, 1);
    stmt_put(&s);
    stmt_set_fini(&set);
    stmt_registry_fini(&r);
}

static void parcel_carries_texts_handles_and_order_to_another_worker(void **state)
{
    (void)state;
    static const char *const texts[] = {"a", "b", "c"};
    struct stmt_registry here, there;
    struct stmt_set set, arrived;
    struct wire_handle handles[3];
    stmt_registry_init(&here, 0, 7);
    stmt_registry_init(&there, 1, 7);
    stmt_set_init(&set);
    stmt_set_init(&arrived);
    struct stmt *known = find(&there, "b"); /* one is known over there already */
    for (int i = 0; i < 3; i++) {
        struct stmt *s = find(&here, texts[i]);
        handles[i] = stmt_set_add(&set, s, &toy_wire)->handle;
        stmt_put(&s);
    }
    struct stmt_parcel *p = stmt_set_export(&set);
    assert_int_equal(set.count, 0);
    stmt_set_fini(&set);
    stmt_registry_fini(&here); /* nothing of it is needed any more */
    stmt_set_import(&arrived, &there, p);
    assert_int_equal(arrived.count, 3);
    assert_int_equal(there.count, 3);
    assert_ptr_equal(stmt_set_find(&arrived, known)->stmt, known);
    static const int order[] = {0, 2, 1}; /* b was looked at just now */
    for (int i = 0; i < 3; i++) {
        struct stmt_entry *e = stmt_set_oldest(&arrived);
        assert_true(str_eq(e->stmt->text->text, str_of(texts[order[i]])));
        assert_memory_equal(e->handle.b, handles[order[i]].b, sizeof(e->handle.b));
        stmt_set_remove(&arrived, e);
    }
    stmt_put(&known);
    stmt_set_fini(&arrived);
    stmt_registry_fini(&there);
}

static void parcel_that_is_not_delivered_is_freed(void **state)
{
    (void)state;
    struct stmt_registry r;
    struct stmt_set set;
    stmt_registry_init(&r, 0, 0);
    stmt_set_init(&set);
    struct stmt *s = find(&r, "a");
    stmt_set_add(&set, s, &toy_wire);
    stmt_put(&s);
    struct stmt_parcel *p = stmt_set_export(&set);
    stmt_set_fini(&set);
    stmt_registry_fini(&r);
    stmt_parcel_free(p);
    stmt_parcel_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_statements_are_one_and_every_part_of_the_identity_counts),
        cmocka_unit_test(unused_statement_is_found_again_and_leaves_the_unused_list),
        cmocka_unit_test(endless_different_texts_stay_bounded),
        cmocka_unit_test(large_unused_texts_are_bounded_by_their_bytes),
        cmocka_unit_test(no_memory_for_a_text_is_an_answer),
        cmocka_unit_test(names_of_a_client_are_set_replaced_and_cleared),
        cmocka_unit_test(set_of_a_server_gives_the_least_recently_used_first),
        cmocka_unit_test(handles_differ_between_statements_workers_and_times),
        cmocka_unit_test(named_entries_are_found_by_name_and_not_counted),
        cmocka_unit_test(parcel_carries_texts_handles_and_order_to_another_worker),
        cmocka_unit_test(parcel_that_is_not_delivered_is_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
