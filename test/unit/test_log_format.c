/* test_log_format.c - one log line as text and as JSON, whatever is in it. */
#include "base/log_format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define WALL (INT64_C(1767225599) * USEC_PER_SEC + 123456) /* 2025-12-31 23:59:59.123 */

static struct log_entry entry(const char *text, const struct log_field *fields, size_t n)
{
    return (struct log_entry){.wall = WALL,
                              .pid = 7,
                              .level = "LOG",
                              .text = str_of(text),
                              .fields = fields,
                              .nfields = n};
}

static void as_text(const char *text, const struct log_field *fields, size_t n, const char *want)
{
    char line[4096];
    size_t at, len;
    struct log_entry e = entry(text, fields, n);
    len = log_format_text(&e, line, sizeof(line), &at);
    assert_int_equal(len, strlen(line));
    assert_string_equal(line + at, want);
}

static void as_json(const char *text, const struct log_field *fields, size_t n, const char *want)
{
    char line[4096], all[4096];
    struct log_entry e = entry(text, fields, n);
    size_t len = log_format_json(&e, line, sizeof(line));
    assert_int_equal(len, strlen(line));
    snprintf(all, sizeof(all),
             "{\"time\":\"2025-12-31T23:59:59.123Z\",\"pid\":7,\"level\":\"LOG\",\"message\":%s}",
             want);
    assert_string_equal(line, all);
}

static void members_follow_the_text(void **state)
{
    (void)state;
    const struct log_field fields[] = {
        {.name = "word", .text = STR_INIT("db.one:5")},
        {.name = "empty", .text = STR_INIT("")},
        {.name = "said", .text = STR_INIT("a \"b\" \\ \n=")},
        {.name = "n", .kind = LOG_NUMBER, .number = -5},
        {.name = "ms", .kind = LOG_USEC, .number = 1234567},
    };
    as_text("slow", fields, ARRAY_LEN(fields),
            "slow word=db.one:5 empty=\"\" said=\"a \\\"b\\\" \\\\ \\x0a=\" n=-5 ms=1234.567");
    as_json("slow", fields, ARRAY_LEN(fields),
            "\"slow\",\"word\":\"db.one:5\",\"empty\":\"\",\"said\":\"a \\\"b\\\" "
            "\\\\ \\u000a=\",\"n\":-5,\"ms\":1234.567");
}

static void hostile_texts_stay_inside_their_line(void **state)
{
    (void)state;
    as_text("a\nb\x7f\x1b", NULL, 0, "a\\x0ab\\x7f\\x1b");
    as_json("a\"\\\n\x7f", NULL, 0, "\"a\\\"\\\\\\u000a\\u007f\"");
    /* whole characters as they are; what is none is replaced, byte by byte */
    as_json("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", NULL, 0,
            "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"");
    static const char *const broken[] = {
        "\xff", "\xc3", "\x80", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"};
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        char line[512];
        struct log_entry e = entry(broken[i], NULL, 0);
        log_format_json(&e, line, sizeof(line));
        const char *said = strstr(line, "message") + 10;
        for (size_t k = 0; k < strlen(broken[i]); k++, said += 3)
            assert_memory_equal(said, "\xef\xbf\xbd", 3);
        assert_string_equal(said, "\"}");
    }
}

/* Whatever the length of what is in it, a line that had to be cut is still well-formed. */
static void cut_lines_are_well_formed(void **state)
{
    (void)state;
    char text[600], line[300];
    for (size_t n = 0; n < sizeof(text) - 1; n++) {
        memset(text, '"', sizeof(text));
        text[n] = '\0';
        const struct log_field fields[] = {{.name = "query", .text = {text, n}},
                                           {.name = "n", .kind = LOG_NUMBER, .number = 1}};
        struct log_entry e = entry(n % 2 ? text : "short", fields, 2);
        size_t len = log_format_json(&e, line, sizeof(line));
        assert_true(len < sizeof(line));
        assert_int_equal(line[len], '\0');
        int quotes = 0;
        for (size_t i = 0; i < len; i++) {
            if (line[i] == '\\')
                i++;
            else
                quotes += line[i] == '"';
        }
        assert_int_equal(quotes % 2, 0);
        assert_int_equal(line[len - 1], '}');
        size_t at;
        len = log_format_text(&e, line, sizeof(line), &at);
        assert_true(len < sizeof(line) && line[len] == '\0');
    }
}

int main(void)
{
    setenv("TZ", "UTC", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_follow_the_text),
        cmocka_unit_test(hostile_texts_stay_inside_their_line),
        cmocka_unit_test(cut_lines_are_well_formed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
