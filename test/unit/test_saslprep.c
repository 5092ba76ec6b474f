/* test_saslprep.c - unit tests of protocol/auth/saslprep.c.
 *
 * Vectors: RFC 4013 section 3, Unicode's examples of normalisation, and PostgreSQL's own
 * deviations.
 */
#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "protocol/auth/saslprep.h"

static void texts_are_prepared_as_postgresql_does(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out; /* out NULL: cannot be prepared */
    } rows[] = {
        {"", ""},
        {"user", "user"},
        {"USER", "USER"},
        {"a\x01z", "a\x01z"},      /* pure ASCII is not looked at */
        {"I\xc2\xadX", "IX"},      /* soft hyphen: nothing */
        {"\xc2\xad", NULL},        /* empty after mapping */
        {"a\xc2\xa0z", "a z"},     /* no-break space */
        {"a\xe2\x80\x8bz", "a z"}, /* U+200B is a space here */
        {"\xc2\xaa", "a"},         /* feminine ordinal */
        {"\xe2\x85\xa8", "IX"},    /* roman nine */
        {"\xef\xac\x81", "fi"},    /* ligature */
        {"e\xcc\x81", "\xc3\xa9"}, /* composed */
        {"\xc3\xa9", "\xc3\xa9"},
        {"\xe2\x84\xab", "\xc3\x85"},                             /* angstrom sign */
        {"q\xcc\x87\xcc\xa3", "q\xcc\xa3\xcc\x87"},               /* marks ordered by class */
        {"q\xcc\x81\xcc\x88", "q\xcc\x81\xcc\x88"},               /* same class: order kept */
        {"s\xcc\xa3\xcc\x87", "\xe1\xb9\xa9"},                    /* two steps to one */
        {"\xe1\xba\x9b\xcc\xa3", "\xe1\xb9\xa9"},                 /* long s with dots */
        {"\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8", "\xea\xb0\x81"}, /* Hangul */
        {"\xea\xb0\x80\xe1\x86\xa8", "\xea\xb0\x81"},
        {"\xea\xb0\x80", "\xea\xb0\x80"}, /* two parts: must not be given room for three */
        {"\xcc\x81\x65\xcc\x81", "\xcc\x81\xc3\xa9"}, /* a mark without base first */
        {"\xe0\xa5\x98", "\xe0\xa4\x95\xe0\xa4\xbc"}, /* excluded from composition */
        {"\xd8\xa7\x31", NULL},                       /* right-to-left, ends otherwise */
        {"\xd8\xa7\x31\xd8\xa8", "\xd8\xa7\x31\xd8\xa8"},
        {"\xd8\xa7\x61\xd8\xa8", NULL}, /* both directions */
        {"1\xd8\xa8", NULL},
        {"\xc3\xa9\x07", NULL}, /* control character */
        {"\xc3\xa9\xc2\x85", NULL},
        {"\xee\x80\x80", NULL},                   /* private use */
        {"\xef\xbf\xbd", NULL},                   /* replacement character */
        {"\xe2\x80\x8e", NULL},                   /* direction mark */
        {"\xc8\xa1", NULL},                       /* unassigned in 3.2 */
        {"\xf0\xaf\xa0\x80", "\xe4\xb8\xbd"},     /* four bytes in */
        {"\xf0\x90\x90\x80", "\xf0\x90\x90\x80"}, /* four bytes out */
        {"\xf0\xaf\xa1\xa8", "\xe3\x9b\xbc"},     /* corrected after 3.2, as PostgreSQL has it */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *out;
        size_t n;
        enum status st = saslprep_prepare(str_of(rows[i].in), &out, &n);
        assert_int_equal(st, rows[i].out == NULL ? ST_INVALID : ST_OK);
        if (st == ST_OK) {
            assert_string_equal(out, rows[i].out);
            assert_int_equal(n, strlen(out));
        }
        saslprep_free(&out, n);
        /* what cannot be prepared is used raw */
        assert_int_equal(saslprep_password(str_of(rows[i].in), &out, &n), ST_OK);
        assert_string_equal(out, rows[i].out == NULL ? rows[i].in : rows[i].out);
        saslprep_free(&out, n);
        assert_null(out);
    }
}

static void illegal_utf8_is_used_raw(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "\x80",
        "a\xff",
        "\xc0\x80",
        "\xc1\xbf",
        "\xc3",
        "\xc3(",
        "\xe0\x80\x80",
        "\xe2\x82",
        "\xed\xa0\x80",
        "\xf0\x80\x80\x80",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xf0\x90\x90",
        "\xe2\x82\xac\xe2",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *out;
        size_t n, len = strlen(rows[i]);
        char *copy = mem_copy(rows[i], len); /* exact size, so that sanitizers see more */
        assert_int_equal(saslprep_prepare((struct str){copy, len}, &out, &n), ST_INVALID);
        assert_null(out);
        assert_int_equal(saslprep_password((struct str){copy, len}, &out, &n), ST_OK);
        assert_int_equal(n, len);
        assert_memory_equal(out, rows[i], len);
        saslprep_free(&out, n);
        mem_free(copy);
    }
}

static void longest_expansion_and_long_runs_of_marks_fit(void **state)
{
    (void)state;
    struct buf b;
    char *out;
    size_t n;
    buf_init(&b, 70000);
    for (int i = 0; i < 20000; i++)
        buf_put_text(&b, "\xef\xb7\xba"); /* U+FDFA becomes 18 characters */
    assert_int_equal(saslprep_prepare(buf_str(&b), &out, &n), ST_OK);
    assert_int_equal(n, 20000 * 33);
    saslprep_free(&out, n);
    buf_reset(&b);
    buf_put_text(&b, "a");
    for (int i = 0; i < 16000; i++)
        buf_put_text(&b, i % 2 == 0 ? "\xcc\x87" : "\xcc\xa3");
    assert_int_equal(saslprep_prepare(buf_str(&b), &out, &n), ST_OK);
    /* one mark of the lower class combined with the base; the other class is blocked by the rest */
    assert_memory_equal(out, "\xe1\xba\xa1\xcc\xa3", 5);
    saslprep_free(&out, n);
    buf_fini(&b);
}

static void lack_of_memory_is_reported_at_every_allocation(void **state)
{
    (void)state;
    char *out;
    size_t n;
    int failures = 0;
    for (unsigned i = 1; i < 10; i++) {
        mem_fail_nth(i);
        enum status st = saslprep_password(STR("e\xcc\x81"), &out, &n);
        mem_fail_nth(0);
        failures += st == ST_MEMORY;
        assert_true(st == ST_OK || (st == ST_MEMORY && out == NULL));
        saslprep_free(&out, n);
    }
    assert_int_equal(failures, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_prepared_as_postgresql_does),
        cmocka_unit_test(illegal_utf8_is_used_raw),
        cmocka_unit_test(longest_expansion_and_long_runs_of_marks_fit),
        cmocka_unit_test(lack_of_memory_is_reported_at_every_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
