/* test_core_varset.c - sets of settings, interned, on the toy codec and on PostgreSQL's. */
#include "base/base.h"

#include "base/mem.h"
#include "proxy/varset.h"
#include "test/unit/support/toy_wire.h"

#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define V(name, value)                                                                             \
    {                                                                                              \
        STR_INIT(name), STR_INIT(value)                                                            \
    }

static const struct wire *const codecs[] = {&toy_wire, &pg_wire};

static struct varset *make(struct varset_table *t, const struct wire_var *vars, size_t n)
{
    return varset_make(t, vars, (int)n);
}

static void assert_value(const struct varset *v, const char *name, const char *value)
{
    struct str got = varset_find(v, str_of(name));
    assert_true(str_eq(got, str_of(value)));
    assert_int_equal(got.p == NULL, value == NULL);
}

static void equal_sets_are_one_pointer_in_any_order(void **state)
{
    (void)state;
    static const struct wire_var ab[] = {V("a", "1"), V("b", "2"), V("c", "3")};
    static const struct wire_var ba[] = {V("c", "3"), V("a", "1"), V("b", "2")};
    static const struct wire_var other[] = {V("a", "1"), V("b", "2"), V("c", "4")};
    struct varset_table t;
    varset_table_init(&t, &toy_wire);
    struct varset *x = make(&t, ab, 3), *y = make(&t, ba, 3), *z = make(&t, other, 3);
    assert_ptr_equal(x, y);
    assert_ptr_not_equal(x, z);
    assert_int_equal(t.count, 3); /* with the empty one */
    varset_put(&x);
    assert_null(x);
    assert_int_equal(t.count, 3);
    varset_put(&y);
    assert_int_equal(t.count, 2);
    varset_put(&z);
    varset_put(&z); /* NULL is fine */
    varset_table_fini(&t);
}

static void names_are_compared_without_case_and_values_with(void **state)
{
    (void)state;
    static const struct wire_var low[] = {V("datestyle", "iso")}, up[] = {V("DateStyle", "iso")};
    static const struct wire_var value[] = {V("datestyle", "ISO")};
    struct varset_table t;
    varset_table_init(&t, &toy_wire);
    struct varset *x = make(&t, low, 1), *y = make(&t, up, 1), *z = make(&t, value, 1);
    assert_ptr_equal(x, y);
    assert_ptr_not_equal(x, z);
    assert_value(y, "DATESTYLE", "iso");
    assert_value(z, "dateSTYLE", "ISO");
    varset_put(&x);
    varset_put(&y);
    varset_put(&z);
    varset_table_fini(&t);
}

static void last_of_equal_names_wins(void **state)
{
    (void)state;
    static const struct wire_var many[] = {V("a", "1"), V("b", "x"), V("A", "2"), V("a", "3")};
    static const struct wire_var one[] = {V("b", "x"), V("a", "3")};
    struct varset_table t;
    varset_table_init(&t, &toy_wire);
    struct varset *x = make(&t, many, 4), *y = make(&t, one, 2);
    assert_int_equal(x->n, 2);
    assert_ptr_equal(x, y);
    varset_put(&x);
    varset_put(&y);
    varset_table_fini(&t);
}

static void change_adds_replaces_and_removes(void **state)
{
    (void)state;
    static const struct wire_var want[] = {V("a", "1"), V("m", "2"), V("z", "3")};
    struct varset_table t;
    varset_table_init(&t, &toy_wire);
    struct varset *expected = make(&t, want, 3), *v = varset_empty(&t);
    varset_change(&v, STR("z"), STR("9"));
    varset_change(&v, STR("a"), STR("1"));
    varset_change(&v, STR("m"), STR("2"));
    varset_change(&v, STR("Z"), STR("3"));
    assert_ptr_equal(v, expected);
    varset_change(&v, STR("m"), STR("2")); /* nothing new */
    assert_ptr_equal(v, expected);
    varset_change(&v, STR("none"), STR_NONE);
    assert_ptr_equal(v, expected);
    varset_change(&v, STR("A"), STR_NONE);
    varset_change(&v, STR("m"), STR(""));
    assert_value(v, "m", ""); /* empty is not absent */
    varset_change(&v, STR("m"), STR_NONE);
    varset_change(&v, STR("z"), STR_NONE);
    assert_ptr_equal(v, t.empty);
    varset_put(&v);
    varset_put(&expected);
    assert_int_equal(t.count, 1);
    varset_table_fini(&t);
}

static void apply(struct varset **v, const struct wire_var *delta, int n)
{
    for (int i = 0; i < n; i++)
        varset_change(v, delta[i].name, delta[i].value);
}

/* Every pair of sets out of all subsets of four settings with two values each. */
static void difference_leads_from_one_set_to_the_other(void **state)
{
    (void)state;
    static const struct str names[] = {STR_INIT("a"), STR_INIT("B"), STR_INIT("c"), STR_INIT("d")};
    static const struct str values[] = {STR_INIT("0"), STR_INIT("1")};
    struct varset *all[81];
    struct varset_table t;
    varset_table_init(&t, &toy_wire);
    for (int i = 0; i < 81; i++) {
        all[i] = varset_empty(&t);
        for (int k = 0, rest = i; k < 4; k++, rest /= 3)
            if (rest % 3 > 0)
                varset_change(&all[i], names[k], values[rest % 3 - 1]);
    }
    for (int i = 0; i < 81; i++) {
        for (int k = 0; k < 81; k++) {
            struct wire_var delta[4];
            int n = varset_diff(all[i], all[k], delta, 4);
            assert_in_range(n, 0, 4);
            assert_int_equal(n == 0, i == k);
            struct varset *v = varset_get(all[i]);
            apply(&v, delta, n);
            assert_ptr_equal(v, all[k]);
            varset_put(&v);
        }
    }
    for (int i = 0; i < 81; i++)
        varset_put(&all[i]);
    assert_int_equal(t.count, 1);
    varset_table_fini(&t);
}

static void difference_counts_what_does_not_fit(void **state)
{
    (void)state;
    static const struct wire_var many[] = {V("a", "1"), V("b", "2"), V("c", "3")};
    struct varset_table t;
    varset_table_init(&t, &toy_wire);
    struct varset *v = make(&t, many, 3);
    struct wire_var delta[2] = {{STR_NONE, STR_NONE}, V("guard", "")};
    assert_int_equal(varset_diff(t.empty, v, delta, 1), 3);
    assert_true(str_eq(delta[0].name, STR("a")));
    assert_true(str_eq(delta[1].name, STR("guard")));
    varset_put(&v);
    varset_table_fini(&t);
}

static void exported_set_is_interned_anew_by_another_table(void **state)
{
    (void)state;
    static const struct wire_var vars[] = {V("search_path", "x"), V("b", "")};
    struct varset_table from, to;
    varset_table_init(&from, &toy_wire);
    varset_table_init(&to, &toy_wire);
    struct varset *v = make(&from, vars, 2), *copy = varset_export(v);
    struct varset *none = varset_export(from.empty);
    uint64_t analysis = v->analysis_hash;
    varset_put(&v);
    varset_table_fini(&from); /* the copy needs nothing of it */
    struct varset *there = make(&to, vars, 2), *came = varset_import(&to, copy);
    mem_free(copy);
    assert_ptr_equal(came, there);
    assert_int_equal(came->analysis_hash, analysis);
    struct varset *empty = varset_import(&to, none);
    mem_free(none);
    assert_ptr_equal(empty, to.empty);
    varset_put(&empty);
    varset_put(&came);
    varset_put(&there);
    assert_int_equal(to.count, 1);
    varset_table_fini(&to);
}

static void analysis_hash_follows_only_what_decides_analysis(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
        struct varset_table t;
        varset_table_init(&t, codecs[i]);
        struct varset *v = varset_empty(&t);
        assert_int_equal(v->analysis_hash, 0);
        varset_change(&v, STR("application_name"), STR("me"));
        assert_int_equal(v->analysis_hash, 0);
        assert_false(v->analysis);
        varset_change(&v, STR("Search_Path"), STR("x"));
        uint64_t x = v->analysis_hash;
        assert_int_not_equal(x, 0);
        assert_true(v->analysis);
        varset_change(&v, STR("application_name"), STR("you"));
        assert_int_equal(v->analysis_hash, x);
        varset_change(&v, STR("search_path"), STR("y"));
        assert_int_not_equal(v->analysis_hash, x);
        varset_change(&v, STR("search_path"), STR("x"));
        assert_int_equal(v->analysis_hash, x);
        varset_change(&v, STR("search_path"), STR_NONE);
        assert_int_equal(v->analysis_hash, 0);
        varset_put(&v);
        varset_table_fini(&t);
    }
}

static void large_sets_keep_every_setting_up_to_the_limit(void **state)
{
    (void)state;
    struct varset_table t;
    char name[16], value[16];
    varset_table_init(&t, &toy_wire);
    struct varset *v = varset_empty(&t);
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof(name), "n%d", (i * 7) % 300);
        snprintf(value, sizeof(value), "v%d", (i * 7) % 300);
        varset_change(&v, str_of(name), str_of(value));
    }
    assert_int_equal(v->n, 300);
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof(name), "N%d", i);
        snprintf(value, sizeof(value), "v%d", i);
        assert_value(v, name, value);
    }
    for (int i = 1; i < v->n; i++)
        assert_false(str_eq(v->vars[i - 1].name, v->vars[i].name));
    for (int i = 0; i < 230; i++) { /* beyond it nothing breaks */
        snprintf(name, sizeof(name), "m%d", i);
        varset_change(&v, str_of(name), STR("x"));
    }
    assert_in_range(v->n, 300, 512);
    varset_put(&v);
    assert_int_equal(t.count, 1);
    varset_table_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_sets_are_one_pointer_in_any_order),
        cmocka_unit_test(names_are_compared_without_case_and_values_with),
        cmocka_unit_test(last_of_equal_names_wins),
        cmocka_unit_test(change_adds_replaces_and_removes),
        cmocka_unit_test(difference_leads_from_one_set_to_the_other),
        cmocka_unit_test(difference_counts_what_does_not_fit),
        cmocka_unit_test(exported_set_is_interned_anew_by_another_table),
        cmocka_unit_test(analysis_hash_follows_only_what_decides_analysis),
        cmocka_unit_test(large_sets_keep_every_setting_up_to_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
