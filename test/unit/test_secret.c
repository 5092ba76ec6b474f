/* test_secret.c - unit tests of protocol/auth/secret.c and b64.c. */
#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "protocol/auth/b64.h"
#include "protocol/auth/secret.h"

#define STORED "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
#define SERVER "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
#define VERIFIER "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$" STORED ":" SERVER

static enum status parse(struct secret *s, const char *text)
{
    secret_init(s);
    return secret_parse(s, str_of(text), NULL);
}

static void kinds_are_told_apart_as_postgresql_does(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum secret_kind kind;
    } rows[] = {
        {"", SECRET_NONE},
        {"x", SECRET_PLAIN},
        {"md5", SECRET_PLAIN},
        {"md5b8c8f3ef4d0dbd6bc0c0f4c9d42ee0c1", SECRET_MD5},
        {"md5b8c8f3ef4d0dbd6bc0c0f4c9d42ee0c", SECRET_PLAIN},
        {"md5b8c8f3ef4d0dbd6bc0c0f4c9d42ee0c11", SECRET_PLAIN},
        {"md5B8C8F3EF4D0DBD6BC0C0F4C9D42EE0C1", SECRET_PLAIN},
        {"md5g8c8f3ef4d0dbd6bc0c0f4c9d42ee0c1", SECRET_PLAIN},
        {"SCRAM-SHA-256", SECRET_PLAIN},
        {"scram-sha-256$4096:x", SECRET_PLAIN},
        {VERIFIER, SECRET_SCRAM},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct secret s;
        assert_int_equal(parse(&s, rows[i].text), ST_OK);
        assert_int_equal(s.kind, rows[i].kind);
        struct str plain = secret_plain(&s);
        if (s.kind == SECRET_PLAIN)
            assert_true(str_eq(plain, str_of(rows[i].text)));
        else
            assert_int_equal(plain.n, 0);
        secret_fini(&s);
        assert_int_equal(s.kind, SECRET_NONE);
        assert_null(s.bytes);
    }
}

static void verifier_survives_parsing_and_formatting(void **state)
{
    (void)state;
    struct secret s;
    struct buf out;
    assert_int_equal(parse(&s, VERIFIER), ST_OK);
    assert_int_equal(s.iterations, 4096);
    assert_int_equal(s.len, 16);
    assert_int_equal(s.bytes[0], 0x5b);
    assert_int_equal(s.stored_key[0], 0x58);
    assert_int_equal(s.server_key[31], 0xd5);
    buf_init(&out, 1000);
    assert_int_equal(secret_format_scram(&s, &out), ST_OK);
    assert_true(str_eq(buf_str(&out), STR(VERIFIER)));
    buf_fini(&out);
    buf_init(&out, 20);
    assert_int_equal(secret_format_scram(&s, &out), ST_MEMORY);
    buf_fini(&out);
    secret_fini(&s);
    assert_int_equal(secret_format_scram(&s, &out), ST_UNSUPPORTED);
}

static void malformed_verifiers_are_refused_and_not_taken_for_passwords(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "SCRAM-SHA-256$",
        "SCRAM-SHA-256$4096",
        "SCRAM-SHA-256$4096:",
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==",
        "SCRAM-SHA-256$4096:$" STORED ":" SERVER,
        "SCRAM-SHA-256$0:W22ZaJ0SNY7soEsUEjb6gQ==$" STORED ":" SERVER,
        "SCRAM-SHA-256$-1:W22ZaJ0SNY7soEsUEjb6gQ==$" STORED ":" SERVER,
        "SCRAM-SHA-256$+1:W22ZaJ0SNY7soEsUEjb6gQ==$" STORED ":" SERVER,
        "SCRAM-SHA-256$10000001:W22ZaJ0SNY7soEsUEjb6gQ==$" STORED ":" SERVER,
        "SCRAM-SHA-256$99999999999999999999:W22ZaJ0SNY7soEsUEjb6gQ==$" STORED ":" SERVER,
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gR==$" STORED ":" SERVER,
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ=$" STORED ":" SERVER,
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$" STORED,
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$" STORED ":",
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$" STORED ":" SERVER " ",
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$" STORED STORED ":" SERVER,
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$AAAA:" SERVER,
    };
    struct secret s;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(parse(&s, rows[i]), ST_INVALID);
        assert_int_equal(s.kind, SECRET_NONE);
        assert_null(s.bytes);
    }
    /* cut at every point */
    for (size_t n = sizeof("SCRAM-SHA-256$") - 1; n < sizeof(VERIFIER) - 1; n++) {
        struct error err;
        secret_init(&s);
        assert_int_equal(secret_parse(&s, (struct str){VERIFIER, n}, &err), ST_INVALID);
        assert_null(strstr(err.text, "W22"));
    }
}

static void sizes_are_bounded(void **state)
{
    (void)state;
    struct secret s;
    size_t n = SECRET_PLAIN_MAX + 1;
    char *text = mem_new(n);
    memset(text, 'p', n);
    secret_init(&s);
    assert_int_equal(secret_parse(&s, (struct str){text, n}, NULL), ST_LIMIT);
    assert_int_equal(secret_parse(&s, (struct str){text, n - 1}, NULL), ST_OK);
    assert_int_equal(s.len, SECRET_PLAIN_MAX);
    secret_fini(&s);
    text[7] = 0;
    assert_int_equal(secret_parse(&s, (struct str){text, 10}, NULL), ST_INVALID);
    mem_fail_nth(1);
    assert_int_equal(secret_parse(&s, STR("abc"), NULL), ST_MEMORY);
    mem_fail_nth(0);
    assert_int_equal(s.kind, SECRET_NONE);
    mem_free(text);
}

static void comparison_sees_every_difference(void **state)
{
    (void)state;
    assert_true(secret_same(STR("abc"), STR("abc")));
    assert_true(secret_same(STR_NONE, STR("")));
    assert_false(secret_same(STR("abc"), STR("abd")));
    assert_false(secret_same(STR("abc"), STR("ab")));
    assert_false(secret_same(STR("xbc"), STR("abc")));
}

static void base64_round_trips_and_is_strict(void **state)
{
    (void)state;
    uint8_t raw[64], back[64];
    char text[B64_LEN(64)];
    size_t n;
    for (size_t i = 0; i < sizeof(raw); i++)
        raw[i] = (uint8_t)(i * 37 + 11);
    for (size_t len = 0; len <= sizeof(raw); len++) {
        b64_encode(text, raw, len);
        assert_true(b64_decode(back, sizeof(back), &n, (struct str){text, B64_LEN(len)}));
        assert_int_equal(n, len);
        assert_memory_equal(back, raw, len);
        if (len > 0)
            assert_false(b64_decode(back, len - 1, &n, (struct str){text, B64_LEN(len)}));
    }
    b64_encode(text, "any carnal pleas", 16);
    assert_memory_equal(text, "YW55IGNhcm5hbCBwbGVhcw==", 24);
    static const char *const bad[] = {"A",      "AA",   "AAA",     "A===", "AA=A",
                                      "AB==",   "AAB=", "====",    "A A=", "AA==AAAA",
                                      "AAAA\n", "AA-_", "AAA\xff", "=AAA"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(b64_decode(back, sizeof(back), &n, str_of(bad[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_are_told_apart_as_postgresql_does),
        cmocka_unit_test(verifier_survives_parsing_and_formatting),
        cmocka_unit_test(malformed_verifiers_are_refused_and_not_taken_for_passwords),
        cmocka_unit_test(sizes_are_bounded),
        cmocka_unit_test(comparison_sees_every_difference),
        cmocka_unit_test(base64_round_trips_and_is_strict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
