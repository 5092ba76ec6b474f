/* test_log.c - log lines: form, escaping, levels, sinks, reopening, floods. */
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

struct world {
    char dir[64], file[96], moved[96];
};

static int set_up(void **state)
{
    static struct world w;
    snprintf(w.dir, sizeof(w.dir), "/tmp/penstock-log-XXXXXX");
    if (mkdtemp(w.dir) == NULL)
        return -1;
    snprintf(w.file, sizeof(w.file), "%s/log", w.dir);
    snprintf(w.moved, sizeof(w.moved), "%s/log.1", w.dir);
    *state = &w;
    struct error err;
    struct log_config cfg = {.file = w.file, .level = LL_LOG};
    return log_configure(&cfg, &err) == ST_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    struct error err;
    struct log_config none = {.level = LL_LOG};
    unlink(w->file);
    unlink(w->moved);
    rmdir(w->dir);
    return log_configure(&none, &err) == ST_OK ? 0 : -1;
}

static const char *read_all(const char *file)
{
    static char text[65536];
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    ssize_t n = read(fd, text, sizeof(text) - 1);
    assert_true(n >= 0);
    close(fd);
    text[n] = '\0';
    return text;
}

static int count_lines(const char *text)
{
    int n = 0;
    for (; *text != '\0'; text++)
        n += *text == '\n';
    return n;
}

static void line_has_the_form_that_tools_parse(void **state)
{
    struct world *w = *state;
    setenv("TZ", "UTC", 1);
    log_line(LL_WARNING, "C-0x1: %s/%s@%s:%d hello", "db", "user", "10.0.0.1", 5);
    const char *text = read_all(w->file);
    int y, mo, d, h, mi, s, ms, pid, at = 0;
    char zone[8], level[16];
    assert_int_equal(sscanf(text, "%4d-%2d-%2d %2d:%2d:%2d.%3d %7[A-Z] [%d] %15[A-Z] %n", &y, &mo,
                            &d, &h, &mi, &s, &ms, zone, &pid, level, &at),
                     10);
    assert_int_equal(pid, getpid());
    assert_string_equal(zone, "UTC");
    assert_string_equal(level, "WARNING");
    assert_string_equal(text + at, "C-0x1: db/user@10.0.0.1:5 hello\n");
}

static void control_characters_cannot_forge_a_line(void **state)
{
    struct world *w = *state;
    log_line(LL_LOG, "user \"%s\"", "x\n2026-01-01 FATAL\r\t\x1b[31m\x7f\xc3\xa9");
    const char *text = read_all(w->file);
    assert_int_equal(count_lines(text), 1);
    assert_non_null(
        strstr(text, "user \"x\\x0a2026-01-01 FATAL\\x0d\\x09\\x1b[31m\\x7f\xc3\xa9\"\n"));
}

static void level_decides_what_is_printed(void **state)
{
    struct world *w = *state;
    assert_true(log_enabled(LL_FATAL));
    assert_true(log_enabled(LL_LOG));
    assert_false(log_enabled(LL_DEBUG));
    log_line(LL_DEBUG, "not this");
    log_line(LL_LOG, "but this");
    struct error err;
    struct log_config cfg = {.file = w->file, .level = LL_NOISE};
    assert_int_equal(log_configure(&cfg, &err), ST_OK);
    log_line(LL_NOISE, "and this");
    const char *text = read_all(w->file);
    assert_null(strstr(text, "not this"));
    assert_non_null(strstr(text, "LOG but this"));
    assert_non_null(strstr(text, "NOISE and this"));
}

static void overlong_text_is_cut_and_still_one_line(void **state)
{
    struct world *w = *state;
    char longer[5000];
    memset(longer, '\1', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    log_line(LL_LOG, "%s", longer);
    const char *text = read_all(w->file);
    assert_int_equal(count_lines(text), 1);
    assert_non_null(strstr(text, "\\x01...\n"));
    assert_true(strlen(text) < 9000);
}

static void reopen_follows_a_moved_file(void **state)
{
    struct world *w = *state;
    log_line(LL_LOG, "first");
    assert_int_equal(rename(w->file, w->moved), 0);
    log_line(LL_LOG, "second");
    log_reopen();
    log_line(LL_LOG, "third");
    assert_int_equal(count_lines(read_all(w->moved)), 2);
    const char *text = read_all(w->file);
    assert_int_equal(count_lines(text), 1);
    assert_non_null(strstr(text, "third"));
}

static void bad_settings_change_nothing(void **state)
{
    struct world *w = *state;
    struct error err;
    struct log_config cfg = {.file = "/nonexistent/dir/log", .level = LL_NOISE};
    assert_int_equal(log_configure(&cfg, &err), ST_IO);
    assert_non_null(strstr(err.text, "/nonexistent/dir/log"));
    cfg = (struct log_config){.facility = "nowhere", .level = LL_NOISE};
    assert_int_equal(log_configure(&cfg, &err), ST_INVALID);
    assert_non_null(strstr(err.text, "nowhere"));
    assert_false(log_enabled(LL_DEBUG));
    log_line(LL_LOG, "still here");
    assert_non_null(strstr(read_all(w->file), "still here"));
    cfg = (struct log_config){.file = w->file, .facility = "LOCAL3", .ident = "p", .level = LL_LOG};
    assert_int_equal(log_configure(&cfg, &err), ST_OK);
}

static void standard_error_gets_the_line_as_well(void **state)
{
    struct world *w = *state;
    struct error err;
    struct log_config cfg = {.file = w->file, .to_stderr = true, .level = LL_LOG};
    assert_int_equal(log_configure(&cfg, &err), ST_OK);
    int saved = dup(STDERR_FILENO), to = open(w->moved, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    dup2(to, STDERR_FILENO);
    errno = EDOM;
    log_line(LL_ERROR, "both");
    int after = errno;
    dup2(saved, STDERR_FILENO);
    close(to);
    close(saved);
    assert_int_equal(after, EDOM); /* logging an error does not lose it */
    assert_non_null(strstr(read_all(w->moved), "ERROR both\n"));
    assert_non_null(strstr(read_all(w->file), "ERROR both\n"));
}

static void flood(int n)
{
    for (int i = 0; i < n; i++)
        LOG_LIMITED(LL_LOG, "server is down");
}

static void flood_from_one_place_is_limited_and_counted(void **state)
{
    struct world *w = *state;
    /* A second may turn over on the way: at most two windows then. */
    flood(1000);
    int lines = count_lines(read_all(w->file));
    assert_in_range(lines, 10, 21);
    clock_test_advance(2 * USEC_PER_SEC);
    flood(1);
    const char *text = read_all(w->file);
    assert_non_null(strstr(text, "similar lines left out"));
    if (lines == 10)
        assert_non_null(strstr(text, "LOG 990 similar lines left out\n"));
}

static void what_was_left_out_is_said_when_the_site_falls_silent(void **state)
{
    struct world *w = *state;
    flood(1000);
    log_flush_sites();
    clock_test_advance(2 * USEC_PER_SEC);
    log_flush_sites();
    const char *text = read_all(w->file);
    int lines = count_lines(text);
    assert_non_null(strstr(text, " lines left out like: server is down\n"));
    clock_test_advance(2 * USEC_PER_SEC);
    log_flush_sites(); /* once */
    assert_int_equal(count_lines(read_all(w->file)), lines);
}

static void lines_are_objects_when_that_is_configured(void **state)
{
    struct world *w = *state;
    struct error err;
    struct log_config cfg = {.file = w->file, .level = LL_LOG, .format = LOG_FORMAT_JSON};
    assert_int_equal(log_configure(&cfg, &err), ST_OK);
    const struct log_field field = {.name = "n", .kind = LOG_NUMBER, .number = 5};
    log_event(LL_WARNING, "said \"so\"", &field, 1);
    log_event(LL_DEBUG, "not this", NULL, 0);
    const char *text = read_all(w->file);
    assert_int_equal(count_lines(text), 1);
    assert_memory_equal(text, "{\"time\":\"", 9);
    assert_non_null(
        strstr(text, "\"level\":\"WARNING\",\"message\":\"said \\\"so\\\"\",\"n\":5}\n"));
}

static void *chatter(void *arg)
{
    for (int i = 0; i < 100; i++)
        log_line(LL_LOG, "thread %s line %d end", (const char *)arg, i);
    return NULL;
}

static void lines_of_threads_do_not_mix_even_while_reopening(void **state)
{
    struct world *w = *state;
    pthread_t t[2];
    char names[2][2] = {"a", "b"};
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&t[i], NULL, chatter, names[i]), 0);
    for (int i = 0; i < 20; i++)
        log_reopen();
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    const char *text = read_all(w->file);
    assert_int_equal(count_lines(text), 200);
    for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1) {
        const char *end = strchr(line, '\n');
        assert_true(end != NULL && end - line > 4 && memcmp(end - 4, " end", 4) == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(line_has_the_form_that_tools_parse, set_up, tear_down),
        cmocka_unit_test_setup_teardown(control_characters_cannot_forge_a_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(level_decides_what_is_printed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(overlong_text_is_cut_and_still_one_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reopen_follows_a_moved_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_settings_change_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(standard_error_gets_the_line_as_well, set_up, tear_down),
        cmocka_unit_test_setup_teardown(flood_from_one_place_is_limited_and_counted, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_was_left_out_is_said_when_the_site_falls_silent,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(lines_are_objects_when_that_is_configured, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(lines_of_threads_do_not_mix_even_while_reopening, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
