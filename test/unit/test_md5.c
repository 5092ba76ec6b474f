/* test_md5.c - unit tests of protocol/auth/md5.c.
 *
 * Expected texts were computed with another implementation of MD5.
 */
#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/str.h"
#include "protocol/auth/md5.h"

#define STORED_ALICE "md54a0a68b43b6cd5cf266fa02f196e2371"
#define RESPONSE_ALICE "md5219241086d97207b1680e30a8d1e9331"

static const uint8_t salt[4] = {0x01, 0x02, 0xfe, 0x00};

static struct secret parsed(const char *text)
{
    struct secret s;
    secret_init(&s);
    assert_int_equal(secret_parse(&s, str_of(text), NULL), ST_OK);
    return s;
}

static void stored_form_of_a_password_is_as_in_pg_authid(void **state)
{
    (void)state;
    char out[MD5_TEXT_LEN + 1];
    assert_true(md5_hash_password(STR("secret"), STR("alice"), out));
    assert_string_equal(out, STORED_ALICE);
}

static void plain_and_stored_secret_give_the_same_response(void **state)
{
    (void)state;
    char a[MD5_TEXT_LEN + 1], b[MD5_TEXT_LEN + 1];
    struct secret plain = parsed("secret"), stored = parsed(STORED_ALICE);
    assert_int_equal(stored.kind, SECRET_MD5);
    assert_int_equal(md5_response(&plain, STR("alice"), salt, a), ST_OK);
    assert_int_equal(md5_response(&stored, STR("alice"), salt, b), ST_OK);
    assert_string_equal(a, RESPONSE_ALICE);
    assert_string_equal(b, RESPONSE_ALICE);
    assert_true(md5_verify(&plain, STR("alice"), salt, str_of(a)));
    assert_true(md5_verify(&stored, STR("alice"), salt, str_of(a)));
    secret_fini(&plain);
    secret_fini(&stored);
}

static void any_changed_byte_of_the_response_is_refused(void **state)
{
    (void)state;
    char text[] = RESPONSE_ALICE;
    struct secret stored = parsed(STORED_ALICE);
    for (size_t i = 0; i < MD5_TEXT_LEN; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            text[i] = (char)(text[i] ^ (1 << bit));
            assert_false(md5_verify(&stored, STR("alice"), salt, (struct str){text, MD5_TEXT_LEN}));
            text[i] = (char)(text[i] ^ (1 << bit));
        }
        assert_false(md5_verify(&stored, STR("alice"), salt, (struct str){text, i}));
    }
    assert_false(md5_verify(&stored, STR("alice"), salt, STR(RESPONSE_ALICE "0")));
    assert_false(md5_verify(&stored, STR("alice"), salt, STR_NONE));
    const uint8_t other[4] = {1, 2, 3, 4};
    assert_false(md5_verify(&stored, STR("alice"), other, STR(RESPONSE_ALICE)));
    secret_fini(&stored);
    struct secret plain = parsed("secret");
    assert_false(md5_verify(&plain, STR("bob"), salt, STR(RESPONSE_ALICE)));
    secret_fini(&plain);
}

static void unknown_users_and_other_secrets_never_verify(void **state)
{
    (void)state;
    char text[MD5_TEXT_LEN + 1];
    struct secret none, mock = parsed("no password");
    secret_init(&none);
    /* the response that the stand-in for unknown users would accept */
    assert_int_equal(md5_response(&mock, STR("ghost"), salt, text), ST_OK);
    assert_false(md5_verify(NULL, STR("ghost"), salt, str_of(text)));
    assert_false(md5_verify(&none, STR("ghost"), salt, str_of(text)));
    assert_int_equal(md5_response(&none, STR("ghost"), salt, text), ST_DENIED);
    struct secret scram = parsed("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
                                 "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
                                 "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=");
    assert_int_equal(md5_response(&scram, STR("ghost"), salt, text), ST_DENIED);
    assert_false(md5_verify(&scram, STR("ghost"), salt, STR(RESPONSE_ALICE)));
    secret_fini(&scram);
    secret_fini(&mock);
}

static void plain_password_is_checked_against_a_stored_hash(void **state)
{
    (void)state;
    struct secret stored = parsed(STORED_ALICE), plain = parsed("secret");
    assert_true(md5_check_password(&stored, STR("alice"), STR("secret")));
    assert_false(md5_check_password(&stored, STR("alice"), STR("secreT")));
    assert_false(md5_check_password(&stored, STR("alic"), STR("secret")));
    assert_false(md5_check_password(&stored, STR("secretalice"), STR("")));
    assert_false(md5_check_password(&plain, STR("alice"), STR("secret")));
    secret_fini(&stored);
    secret_fini(&plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stored_form_of_a_password_is_as_in_pg_authid),
        cmocka_unit_test(plain_and_stored_secret_give_the_same_response),
        cmocka_unit_test(any_changed_byte_of_the_response_is_refused),
        cmocka_unit_test(unknown_users_and_other_secrets_never_verify),
        cmocka_unit_test(plain_password_is_checked_against_a_stored_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
