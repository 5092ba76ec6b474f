/* test_cache_key.c - which requests are one: values in every spelling, constants, variants. */
#include "test/unit/support/cache_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const struct sql_slot param = {.kind = SQL_SLOT_PARAM, .param = 1};

static const char *canonical(enum cache_type type, const struct sql_slot *slot,
                             const struct wire_value *v)
{
    static char text[CACHE_VALUE_MAX + 1];
    char dst[CACHE_VALUE_MAX];
    struct str out;
    struct cache_request q = {.values = v, .nvalues = v == NULL ? 0 : 1};
    if (cache_key_value(type, slot, &q, dst, &out) != CACHE_KEY_OK)
        return "refused";
    (void)str_copy(text, sizeof(text), out);
    return text;
}

static const char *of_text(enum cache_type type, const char *literal)
{
    struct sql_slot slots[2];
    int n = sql_slots_read(str_of(literal), 0, slots, 2);
    assert_int_equal(n, 1);
    return canonical(type, &slots[0], NULL);
}

#define UUID_TEXT "0123abcd-4567-89ab-cdef-0123456789ab"

static void literals_have_one_form_or_none(void **state)
{
    (void)state;
    static const struct {
        enum cache_type type;
        const char *literal, *want;
    } cases[] = {
        {CACHE_TYPE_INT8, "42", "42"},
        {CACHE_TYPE_INT8, "042", "42"},
        {CACHE_TYPE_INT8, "'42'", "42"},
        {CACHE_TYPE_INT8, "' +042 '", "42"},
        {CACHE_TYPE_INT8, "'-7'", "-7"},
        {CACHE_TYPE_INT8, "42.0", "refused"},
        {CACHE_TYPE_INT8, "4e1", "refused"},
        {CACHE_TYPE_INT8, "0x2a", "refused"},
        {CACHE_TYPE_INT8, "4_2", "refused"},
        {CACHE_TYPE_INT8, "'4 2'", "refused"},
        {CACHE_TYPE_INT8, "''", "refused"},
        {CACHE_TYPE_INT8, "E'42'", "refused"},
        {CACHE_TYPE_INT8, "9223372036854775807", "9223372036854775807"},
        {CACHE_TYPE_INT8, "9223372036854775808", "refused"},
        {CACHE_TYPE_INT4, "2147483647", "2147483647"},
        {CACHE_TYPE_INT4, "2147483648", "refused"},
        {CACHE_TYPE_INT4, "'-2147483648'", "-2147483648"},
        {CACHE_TYPE_INT2, "32768", "refused"},
        {CACHE_TYPE_INT8, "0", "0"},
        {CACHE_TYPE_INT8, "'-9223372036854775808'", "-9223372036854775808"},
        {CACHE_TYPE_TEXT, "'it''s'", "it's"},
        {CACHE_TYPE_TEXT, "' x '", " x "},
        {CACHE_TYPE_TEXT, "42", "refused"},
        {CACHE_TYPE_TEXT, "$$x$$", "refused"},
        {CACHE_TYPE_TEXT, "'a'\n'b'", "refused"},
        {CACHE_TYPE_UUID, "'" UUID_TEXT "'", UUID_TEXT},
        {CACHE_TYPE_UUID, "'0123ABCD456789ABCDEF0123456789AB'", UUID_TEXT},
        {CACHE_TYPE_UUID, "'0123-abcd456789abcdef0123456789ab'", "refused"},
        {CACHE_TYPE_UUID, "'0123abcd-4567-89ab-cdef-0123456789a'", "refused"},
        {CACHE_TYPE_UUID, "'0123abcd-4567-89ab-cdef--123456789ab'", "refused"},
        {CACHE_TYPE_UUID, "'0123abcd-4567-89ab-cdef-0123456789abc'", "refused"},
        {CACHE_TYPE_NONE, "42", "refused"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_string_equal(of_text(cases[i].type, cases[i].literal), cases[i].want);
}

static const char *bound(enum cache_type type, enum wire_type declared, bool binary, struct str b)
{
    struct wire_value v = {.type = declared, .binary = binary, .bytes = b};
    return canonical(type, &param, &v);
}

static void bound_values_have_the_same_form(void **state)
{
    (void)state;
    const struct str two = {"\0\x2a", 2}, four = {"\0\0\0\x2a", 4}, three = {"\0\0\x2a", 3};
    const struct str eight = {"\xff\xff\xff\xff\xff\xff\xff\xf9", 8};
    const struct str uuid = {"\x01\x23\xab\xcd\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab",
                             16};
    struct wire_value null = {.null = true};
    assert_string_equal(bound(CACHE_TYPE_INT8, WIRE_TYPE_OPEN, false, STR("42")), "42");
    assert_string_equal(bound(CACHE_TYPE_INT8, WIRE_TYPE_INT, true, two), "42");
    assert_string_equal(bound(CACHE_TYPE_INT8, WIRE_TYPE_INT, true, four), "42");
    assert_string_equal(bound(CACHE_TYPE_INT4, WIRE_TYPE_OPEN, true, eight), "-7");
    assert_string_equal(bound(CACHE_TYPE_INT8, WIRE_TYPE_INT, true, three), "refused");
    assert_string_equal(bound(CACHE_TYPE_INT8, WIRE_TYPE_TEXT, false, STR("42")), "refused");
    assert_string_equal(bound(CACHE_TYPE_INT8, WIRE_TYPE_OTHER, false, STR("42")), "refused");
    assert_string_equal(bound(CACHE_TYPE_UUID, WIRE_TYPE_UUID, true, uuid), UUID_TEXT);
    assert_string_equal(bound(CACHE_TYPE_UUID, WIRE_TYPE_UUID, true, eight), "refused");
    assert_string_equal(bound(CACHE_TYPE_TEXT, WIRE_TYPE_TEXT, true, STR("x")), "x");
    assert_string_equal(bound(CACHE_TYPE_TEXT, WIRE_TYPE_INT, true, STR("x")), "refused");
    assert_string_equal(bound(CACHE_TYPE_TEXT, WIRE_TYPE_OPEN, false, (struct str){"a\0b", 3}),
                        "refused");
    assert_string_equal(canonical(CACHE_TYPE_TEXT, &param, &null), "refused");
    assert_string_equal(canonical(CACHE_TYPE_TEXT, &param, NULL), "refused");
}

struct request {
    const char *text;
    const char *values[3];
    int n; /* 0: simple */
    const char *formats;
};

static enum cache_key_result make(const struct cache_rule *r, const struct request *in,
                                  const char *user, struct cache_key *out)
{
    static const enum cache_type types[] = {CACHE_TYPE_INT8, CACHE_TYPE_TEXT};
    struct cache_session s = {.digest = {1}, .user = str_of(user)};
    struct wire_value values[3] = {{.null = false}};
    for (int i = 0; i < in->n; i++)
        values[i].bytes = str_of(in->values[i]);
    struct cache_request q = {.text = str_of(in->text),
                              .values = in->n > 0 ? values : NULL,
                              .nvalues = in->n,
                              .formats = str_of(in->formats)};
    return cache_key_make(r, types, &s, &q, out);
}

#define RULE "SELECT x FROM t WHERE id = $1 AND name = $2 AND state = 'open' LIMIT 5"

static void constants_are_compared_and_parameters_taken(void **state)
{
    (void)state;
    static const struct {
        struct request in;
        enum cache_key_result want;
    } cases[] = {
        {{.text = "SELECT x FROM t WHERE id = 1 AND name = 'n' AND state = 'open' LIMIT 5"}, 0},
        {{.text = "select x from t where id=1 and name='n' and state='open' limit 5;"}, 0},
        {{.text = RULE, .values = {"1", "n"}, .n = 2}, 0},
        {{.text = "SELECT x FROM t WHERE id = $2 AND name = $1 AND state = 'open' LIMIT 5",
          .values = {"n", "1"},
          .n = 2},
         0},
        {{.text = "SELECT x FROM t WHERE id = $1 AND name = 'n' AND state = 'open' LIMIT 5",
          .values = {"1"},
          .n = 1},
         0},
        {{.text = "SELECT x FROM t WHERE id = 1 AND name = 'n' AND state = 'closed' LIMIT 5"},
         CACHE_KEY_CONSTANT},
        {{.text = "SELECT x FROM t WHERE id = 1 AND name = 'n' AND state = 'open' LIMIT 6"},
         CACHE_KEY_CONSTANT},
        {{.text = "SELECT x FROM t WHERE id = $1 AND name = $2 AND state = $3 LIMIT 5",
          .values = {"1", "n", "open"},
          .n = 3},
         CACHE_KEY_CONSTANT},
        {{.text = RULE, .values = {"1", "n", "more"}, .n = 3}, CACHE_KEY_VALUE},
        {{.text = RULE, .values = {"x", "n"}, .n = 2}, CACHE_KEY_VALUE},
        {{.text = RULE}, CACHE_KEY_VALUE},
    };
    struct cache_rig rig;
    struct cache_key first, k;
    cache_rig_init(&rig);
    assert_true(cache_rig_rule(&rig, "r", RULE, "r:$1:$2"));
    const struct cache_rule *r = cache_rule_at(rig.rules, 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cache_key *to = i == 0 ? &first : &k;
        assert_int_equal(make(r, &cases[i].in, "u", to), cases[i].want);
        if (cases[i].want != CACHE_KEY_OK)
            continue;
        assert_true(str_eq(to->name, STR("r:1:n")));
        assert_true(str_eq(to->identity, first.identity));
        assert_int_equal(to->hash, first.hash);
    }
    cache_rig_fini(&rig);
}

static void the_rule_with_the_same_constants_is_chosen(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int want;
    } cases[] = {
        {"SELECT x FROM t WHERE id = 1 AND s = 'a'", 0},
        {"SELECT x FROM t WHERE id = $1 AND s = 'b'", 1},
        {"SELECT x FROM t WHERE id = 2 AND s = 3", 2},
        {"SELECT x FROM t WHERE id = 1 AND s = 'c'", 0},
        {"SELECT x FROM t WHERE id = $1 AND s = $2", 0},
    };
    struct cache_rig rig;
    cache_rig_init(&rig);
    assert_true(cache_rig_rule(&rig, "a", "SELECT x FROM t WHERE id = $1 AND s = 'a'", NULL));
    assert_true(cache_rig_rule(&rig, "b", "SELECT x FROM t WHERE id = $1 AND s = 'b'", NULL));
    assert_true(cache_rig_rule(&rig, "c", "SELECT x FROM t WHERE id = $1 AND s = 3", NULL));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cache_request q = {.text = str_of(cases[i].text)};
        assert_ptr_equal(cache_key_rule(cache_rule_at(rig.rules, 0), &q),
                         cache_rule_at(rig.rules, cases[i].want));
    }
    cache_rig_fini(&rig);
}

static void variants_share_a_name_and_nothing_else(void **state)
{
    (void)state;
    struct cache_rig rig;
    struct cache_key a, b;
    struct request text = {.text = RULE, .values = {"1", "n"}, .n = 2};
    struct request binary = {.text = RULE, .values = {"1", "n"}, .n = 2, .formats = "b"};
    uint8_t da[CACHE_DIGEST_BYTES], db[CACHE_DIGEST_BYTES];
    cache_rig_init(&rig);
    assert_true(cache_rig_rule(&rig, "r", RULE, "r:$1:$2"));
    const struct cache_rule *r = cache_rule_at(rig.rules, 0);
    assert_int_equal(make(r, &text, "u", &a), CACHE_KEY_OK);
    assert_int_equal(make(r, &binary, "u", &b), CACHE_KEY_OK);
    assert_true(str_eq(a.name, b.name) && !str_eq(a.identity, b.identity));
    cache_key_digest(&a, da);
    cache_key_digest(&b, db);
    assert_memory_not_equal(da, db, sizeof(da));
    struct cache_key c;
    struct request other = {.text = RULE, .values = {"1", "n"}, .n = 2, .formats = "c"};
    assert_int_equal(make(r, &other, "u", &c), CACHE_KEY_OK);
    assert_false(str_eq(b.identity, c.identity));
    assert_int_equal(make(r, &text, "v", &b), CACHE_KEY_OK);
    assert_true(str_eq(a.name, b.name) && !str_eq(a.identity, b.identity));
    cache_key_copy(&b, &a);
    assert_true(str_eq(a.name, b.name) && str_eq(a.identity, b.identity));
    assert_true(b.identity.p > b.bytes && b.identity.p < b.bytes + sizeof(b.bytes));
    cache_rig_fini(&rig);
}

static void a_rule_that_lists_users_shares_their_entries(void **state)
{
    (void)state;
    struct cache_rig rig;
    struct cache_key a, b;
    struct request in = {.text = RULE, .values = {"1", "n"}, .n = 2};
    struct str users[] = {STR("u"), STR("v")};
    struct cache_rule_text text = {.name = STR("r"),
                                   .query = STR(RULE),
                                   .key = STR("r:$1"),
                                   .mode = CACHE_TTL,
                                   .ttl_us = 1,
                                   .users = users,
                                   .nusers = 2};
    cache_rig_init(&rig);
    assert_true(cache_rig_add(&rig, &text));
    const struct cache_rule *r = cache_rule_at(rig.rules, 0);
    assert_int_equal(make(r, &in, "u", &a), CACHE_KEY_OK);
    assert_int_equal(make(r, &in, "v", &b), CACHE_KEY_OK);
    assert_true(str_eq(a.identity, b.identity));
    assert_true(cache_rule_has_user(r, STR("v")) && !cache_rule_has_user(r, STR("w")));
    cache_rig_fini(&rig);
}

static void one_parameter_twice_must_have_one_value(void **state)
{
    (void)state;
    struct cache_rig rig;
    struct cache_key k;
    struct request same = {.text = "SELECT x FROM t WHERE id = 1 OR other = 1"};
    struct request two = {.text = "SELECT x FROM t WHERE id = 1 OR other = 2"};
    cache_rig_init(&rig);
    assert_true(cache_rig_rule(&rig, "r", "SELECT x FROM t WHERE id = $1 OR other = $1", "r:$1"));
    const struct cache_rule *r = cache_rule_at(rig.rules, 0);
    assert_int_equal(make(r, &same, "u", &k), CACHE_KEY_OK);
    assert_int_equal(make(r, &two, "u", &k), CACHE_KEY_CONSTANT);
    cache_rig_fini(&rig);
}

static void long_values_are_refused(void **state)
{
    (void)state;
    struct cache_rig rig;
    struct cache_key k;
    char name[400], text[600];
    memset(name, 'n', sizeof(name) - 1);
    name[CACHE_VALUE_MAX] = '\0';
    struct request in = {.text = text};
    cache_rig_init(&rig);
    assert_true(cache_rig_rule(&rig, "r", RULE, "r:$1:$2:$2"));
    const struct cache_rule *r = cache_rule_at(rig.rules, 0);
    snprintf(text, sizeof(text),
             "SELECT x FROM t WHERE id = 1 AND name = '%s' AND state = 'open' LIMIT 5", name);
    assert_int_equal(make(r, &in, "u", &k), CACHE_KEY_LENGTH); /* the name */
    name[CACHE_VALUE_MAX] = 'n';
    name[CACHE_VALUE_MAX + 1] = '\0';
    snprintf(text, sizeof(text),
             "SELECT x FROM t WHERE id = 1 AND name = '%s' AND state = 'open' LIMIT 5", name);
    assert_int_equal(make(r, &in, "u", &k), CACHE_KEY_LENGTH); /* the value */
    cache_rig_fini(&rig);
}

static void backslashes_keep_their_meaning(void **state)
{
    (void)state;
    struct sql_slot slots[4];
    char dst[8];
    struct str out;
    assert_int_equal(sql_slots_read(STR("SELECT 'a\\', $1"), 0, slots, 4), 2);
    assert_true(sql_slots_string(&slots[0], dst, sizeof(dst), &out));
    assert_true(str_eq(out, STR("a\\")));
    assert_int_equal(slots[1].param, 1);
    assert_int_equal(sql_slots_read(STR("SELECT 'a\\'', $1"), SQL_DIALECT_BACKSLASH, slots, 4), 2);
    assert_false(sql_slots_string(&slots[0], dst, sizeof(dst), &out));
    assert_int_equal(sql_slots_read(STR("SELECT 'a"), 0, slots, 4), -1);
    assert_int_equal(sql_slots_read(STR("SELECT 1,2,3,4,5"), 0, slots, 4), -1);
}

static void sessions_differ_by_database_and_settings(void **state)
{
    (void)state;
    struct wire_var a[] = {{STR("DateStyle"), STR("ISO")}}, b[] = {{STR("datestyle"), STR("ISO")}};
    struct wire_var c[] = {{STR("datestyle"), STR("SQL")}};
    uint8_t d[5][CACHE_DIGEST_BYTES];
    cache_key_session(STR("db"), a, 1, d[0]);
    cache_key_session(STR("db"), b, 1, d[1]);
    cache_key_session(STR("db"), c, 1, d[2]);
    cache_key_session(STR("other"), a, 1, d[3]);
    cache_key_session(STR("db"), NULL, 0, d[4]);
    assert_memory_equal(d[0], d[1], CACHE_DIGEST_BYTES);
    for (int i = 2; i < 5; i++)
        assert_memory_not_equal(d[0], d[i], CACHE_DIGEST_BYTES);
}

static void the_field_is_the_head_of_the_digest(void **state)
{
    (void)state;
    uint8_t digest[CACHE_DIGEST_BYTES] = {0x01, 0x23, 0xab, 0xcd, 0xef, 0x45, 0x67, 0x89, 0xff};
    char field[CACHE_FIELD_BYTES + 1];
    cache_key_field(digest, field);
    assert_string_equal(field, "0123abcdef456789");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(literals_have_one_form_or_none),
        cmocka_unit_test(bound_values_have_the_same_form),
        cmocka_unit_test(constants_are_compared_and_parameters_taken),
        cmocka_unit_test(the_rule_with_the_same_constants_is_chosen),
        cmocka_unit_test(variants_share_a_name_and_nothing_else),
        cmocka_unit_test(a_rule_that_lists_users_shares_their_entries),
        cmocka_unit_test(one_parameter_twice_must_have_one_value),
        cmocka_unit_test(long_values_are_refused),
        cmocka_unit_test(backslashes_keep_their_meaning),
        cmocka_unit_test(sessions_differ_by_database_and_settings),
        cmocka_unit_test(the_field_is_the_head_of_the_digest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
