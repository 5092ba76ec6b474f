/* test_userlist.c - unit tests of protocol/auth/userlist.c. */
#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "protocol/auth/userlist.h"

struct warnings {
    int count;
    char last[200];
};

static void keep_warning(void *arg, const char *text)
{
    struct warnings *w = arg;
    w->count++;
    (void)str_copy(w->last, sizeof(w->last), str_of(text));
}

static enum status parse_n(struct userlist *u, struct str text, struct warnings *w,
                           struct error *err)
{
    struct userlist_hook hook = {keep_warning, w};
    *w = (struct warnings){0};
    userlist_init(u);
    return userlist_parse(u, text, "users.txt", &hook, err);
}

static void assert_plain(const struct userlist *u, const char *name, const char *secret, int line)
{
    const struct userlist_entry *e = userlist_find(u, str_of(name));
    assert_non_null(e);
    assert_string_equal(e->name, name);
    assert_int_equal(e->line, line);
    assert_int_equal(e->secret.kind, *secret == 0 ? SECRET_NONE : SECRET_PLAIN);
    assert_true(str_eq(secret_plain(&e->secret), str_of(secret)));
}

static void lines_of_every_shape_are_understood(void **state)
{
    (void)state;
    struct userlist u;
    struct warnings w;
    struct error err;
    struct str text = STR("; a comment \"x\" \"y\"\n"
                          "\"alice\" \"secret\"\n"
                          "\n"
                          "  \t\"bob\"\t \"p;w # d\" trailing words\r\n"
                          "\"quo\"\"te\" \"a\"\"\"\"b\"\"\"\n"
                          "   ; indented comment\r\n"
                          "\r\n"
                          "\"empty\" \"\"\n"
                          "\"old\"\"\" \"three\" \"columns\"\n"
                          "\"#hash\" \"# not special\"\n"
                          "\"glued\"\"\"\"\"\"x\" \"y\"\n"
                          "\"last\" \"no newline\"");
    assert_int_equal(parse_n(&u, text, &w, &err), ST_OK);
    assert_int_equal(w.count, 0);
    assert_int_equal(userlist_count(&u), 8);
    assert_plain(&u, "alice", "secret", 2);
    assert_plain(&u, "bob", "p;w # d", 4);
    assert_plain(&u, "quo\"te", "a\"\"b\"", 5);
    assert_plain(&u, "empty", "", 8);
    assert_plain(&u, "old\"", "three", 9);
    assert_plain(&u, "#hash", "# not special", 10);
    assert_plain(&u, "glued\"\"\"x", "y", 11);
    assert_plain(&u, "last", "no newline", 12);
    assert_null(userlist_find(&u, STR("nobody")));
    userlist_fini(&u);
    assert_int_equal(userlist_count(&u), 0);
}

static void secrets_of_every_kind_are_told_apart(void **state)
{
    (void)state;
    struct userlist u;
    struct warnings w;
    struct str text = STR("\"m\" \"md5b8c8f3ef4d0dbd6bc0c0f4c9d42ee0c1\"\n"
                          "\"s\" \"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
                          "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
                          "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\"\n");
    assert_int_equal(parse_n(&u, text, &w, NULL), ST_OK);
    assert_int_equal(userlist_find(&u, STR("m"))->secret.kind, SECRET_MD5);
    assert_int_equal(userlist_find(&u, STR("s"))->secret.kind, SECRET_SCRAM);
    userlist_fini(&u);
}

static void broken_files_are_refused_whole_with_file_and_line(void **state)
{
    (void)state;
    const struct {
        struct str text;
        const char *where;
    } rows[] = {
        {STR("\"a\" \"b\"\nfoo\n"), "users.txt:2: "},
        {STR("# hash is no comment\n"), "users.txt:1: "},
        {STR("\"a\" \"b\"\n\n\"c\"\n"), "users.txt:3: "},
        {STR("\"a\" \"b\n\"c\" \"d\"\n"), "users.txt:1: "},
        {STR("\"a\n"), "users.txt:1: "},
        {STR("\""), "users.txt:1: "},
        {STR("\"a\" \"\"\""), "users.txt:1: "},
        {STR("\"a\", \"b\"\n"), "users.txt:1: "},
        {STR("\"a\" md5\n"), "users.txt:1: "},
        {STR("\"a\" \"b\0c\"\n"), "users.txt:1: "},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct userlist u;
        struct warnings w;
        struct error err;
        assert_int_equal(parse_n(&u, rows[i].text, &w, &err), ST_INVALID);
        assert_memory_equal(err.text, rows[i].where, strlen(rows[i].where));
        assert_int_equal(userlist_count(&u), 0);
        userlist_fini(&u);
    }
}

static void odd_entries_are_warned_about(void **state)
{
    (void)state;
    struct userlist u;
    struct warnings w;
    assert_int_equal(parse_n(&u, STR("\"a\" \"1\"\n\"b\" \"2\"\n\"a\" \"3\"\n"), &w, NULL), ST_OK);
    assert_int_equal(w.count, 1);
    assert_memory_equal(w.last, "users.txt:3: ", 13);
    assert_plain(&u, "a", "3", 3);
    assert_int_equal(userlist_count(&u), 2);
    userlist_fini(&u);
    assert_int_equal(parse_n(&u, STR("\"\" \"1\"\n"), &w, NULL), ST_OK);
    assert_int_equal(w.count, 1);
    assert_int_equal(userlist_count(&u), 0);
    userlist_fini(&u);
    assert_int_equal(parse_n(&u, STR("\"v\" \"SCRAM-SHA-256$x\"\n"), &w, NULL), ST_OK);
    assert_int_equal(w.count, 1);
    assert_int_equal(userlist_find(&u, STR("v"))->secret.kind, SECRET_NONE);
    userlist_fini(&u);
    /* and without a hook */
    userlist_init(&u);
    assert_int_equal(userlist_parse(&u, STR("\"a\" \"1\"\n\"a\" \"2\"\n"), "f", NULL, NULL), ST_OK);
    assert_plain(&u, "a", "2", 2);
    userlist_fini(&u);
}

static enum status parse_long(size_t nname, size_t nsecret, struct userlist *u, struct error *err)
{
    struct buf b;
    struct warnings w;
    buf_init(&b, 1 << 20);
    buf_put_u8(&b, '"');
    for (size_t i = 0; i < nname; i++)
        buf_put_u8(&b, 'n');
    buf_put_text(&b, "\" \"");
    for (size_t i = 0; i < nsecret; i++)
        buf_put_text(&b, "\"\"");
    buf_put_text(&b, "\"\n");
    assert_false(b.failed);
    enum status st = parse_n(u, buf_str(&b), &w, err);
    buf_fini(&b);
    return st;
}

static void long_lines_work_up_to_the_limits(void **state)
{
    (void)state;
    struct userlist u;
    struct error err;
    assert_int_equal(parse_long(USERLIST_NAME_MAX, SECRET_PLAIN_MAX, &u, &err), ST_OK);
    char name[USERLIST_NAME_MAX];
    memset(name, 'n', sizeof(name));
    const struct userlist_entry *e = userlist_find(&u, (struct str){name, sizeof(name)});
    assert_non_null(e);
    assert_int_equal(e->secret.len, SECRET_PLAIN_MAX);
    userlist_fini(&u);
    assert_int_equal(parse_long(USERLIST_NAME_MAX + 1, 1, &u, &err), ST_LIMIT);
    assert_int_equal(parse_long(1, SECRET_PLAIN_MAX + 1, &u, &err), ST_LIMIT);
    assert_memory_equal(err.text, "users.txt:1: ", 13);
}

static void cut_at_every_point_it_is_parsed_or_refused(void **state)
{
    (void)state;
    static const char text[] = "\"al\"\"ice\" \"se\"\"cret\" x\r\n;c\n\"b\" \"\"\n";
    for (size_t n = 0; n < sizeof(text); n++) {
        struct userlist u;
        struct warnings w;
        char *copy = mem_copy(text, MAX(n, 1u)); /* exact size, so that sanitizers see more */
        enum status st = parse_n(&u, (struct str){copy, n}, &w, NULL);
        assert_true(st == ST_OK || st == ST_INVALID);
        assert_true(st == ST_OK || userlist_count(&u) == 0);
        userlist_fini(&u);
        mem_free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_every_shape_are_understood),
        cmocka_unit_test(secrets_of_every_kind_are_told_apart),
        cmocka_unit_test(broken_files_are_refused_whole_with_file_and_line),
        cmocka_unit_test(odd_entries_are_warned_about),
        cmocka_unit_test(long_lines_work_up_to_the_limits),
        cmocka_unit_test(cut_at_every_point_it_is_parsed_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
