/* test_sql_lex.c - cutting SQL into tokens. */
#include "base/mem.h"
#include "protocol/sql/sql_lex.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* Kinds as letters, in the order of enum sql_token_kind. */
static const char letters[] = ".!wquSEUNBDnpoCs";

/* "w:select n:1": kind and text of each token, the kind alone when text is false. */
static const char *tokens(struct str text, uint32_t dialect, char *dst, size_t cap)
{
    struct sql_lex lx;
    struct sql_token t;
    size_t n = 0;

    dst[0] = '\0';
    sql_lex_init(&lx, text, dialect);
    do {
        (void)sql_lex_next(&lx, &t);
        int w = snprintf(dst + n, cap - n, "%s%c", n > 0 ? " " : "", letters[t.kind]);
        n += (size_t)w;
        if (t.kind > SQL_TOK_BAD) {
            w = snprintf(dst + n, cap - n, ":" STR_FMT, STR_ARG(t.text));
            n += (size_t)w;
        }
        assert_true(n < cap);
    } while (t.kind != SQL_TOK_END && t.kind != SQL_TOK_BAD);
    return dst;
}

struct lex_case {
    const char *text, *want;
};

static void check_all(const struct lex_case *c, size_t n, uint32_t dialect)
{
    char got[1024];

    for (size_t i = 0; i < n; i++)
        assert_string_equal(tokens(str_of(c[i].text), dialect, got, sizeof(got)), c[i].want);
}

static void tokens_are_cut_as_the_server_cuts_them(void **state)
{
    static const struct lex_case cases[] = {
        {"", "."},
        {" \t\r\n\f", "."},
        {"SELECT 1", "w:SELECT n:1 ."},
        {"a1_$b\xc3\xa9 c", "w:a1_$b\xc3\xa9 w:c ."},
        {"a.b.c", "w:a s:. w:b s:. w:c ."},
        {"a.5", "w:a n:.5 ."},
        {"1.5 .5 5. 1e5 1E-5 1.5e+5", "n:1.5 n:.5 n:5. n:1e5 n:1E-5 n:1.5e+5 ."},
        {"1e 1e+ 1..2", "n:1 w:e n:1 w:e o:+ n:1 s:. n:.2 ."},
        {"0x1F 0b01 0o17 1_000 1_0e1_0", "n:0x1F n:0b01 n:0o17 n:1_000 n:1_0e1_0 ."},
        {"1a 1__0", "n:1 w:a n:1 w:__0 ."},
        {"0o$$ 1_0$$", "n:0o$$ n:1_0$$ ."}, /* no quote opens here on any version */
        {"$1 $12a", "p:$1 p:$12 w:a ."},
        {"'a' 'it''s' ''", "S:'a' S:'it''s' S:'' ."},
        {"'a\\' 'b'", "S:'a\\' S:'b' ."},
        {"E'a\\'b' e'\\\\'", "E:E'a\\'b' E:e'\\\\' ."},
        {"xE'a'", "w:xE S:'a' ."},
        {"N'a' B'1' x'f' U&'a\\'", "N:N'a' B:B'1' B:x'f' U:U&'a\\' ."},
        {"B'1''0'", "B:B'1' S:'0' ."},
        {"\"a\" \"a\"\"b\" U&\"c\"", "q:\"a\" q:\"a\"\"b\" u:U&\"c\" ."},
        {"u & \"c\"", "w:u o:& q:\"c\" ."},
        {"'a'\n'b'", "S:'a'\n'b' ."},
        {"'a' \t -- x\n  -- y\n 'b' 'c'", "S:'a' \t -- x\n  -- y\n 'b' S:'c' ."},
        {"'a' 'b'", "S:'a' S:'b' ."},
        {"'a' /*\n*/ 'b'", "S:'a' S:'b' ."},
        {"E'a'\n'\\'b'", "E:E'a'\n'\\'b' ."},
        {"'a'\n\"b\"", "S:'a' q:\"b\" ."},
        {"$$a$$ $x$ $$ $y$ $x$", "D:$$a$$ D:$x$ $$ $y$ $x$ ."},
        {"a$$b$$", "w:a$$b$$ ."},
        {"$a$ $A$ $a$", "D:$a$ $A$ $a$ ."},
        {"1$$a$$", "n:1 D:$$a$$ ."},
        {"-- x\n1 -- y", "n:1 ."},
        {"-- x\r1", "n:1 ."},
        {"/* a /* b */ c */ 1", "n:1 ."},
        {"1/**/2", "n:1 n:2 ."},
        {"a+/*x*/b a*--x", "w:a o:+ w:b w:a o:* ."},
        {"a<=b a<>b !=", "w:a o:<= w:b w:a o:<> w:b o:!= ."},
        {"a*-1 a@-1 a+-1", "w:a o:* o:- n:1 w:a o:@- n:1 w:a o:+ o:- n:1 ."},
        {"->> #>> ?| ||/ @>", "o:->> o:#>> o:?| o:||/ o:@> ."},
        {"a::b :c := [1:2]", "w:a C::: w:b s:: w:c o::= s:[ n:1 s:: n:2 s:] ."},
        {"f(a,b);", "w:f s:( w:a s:, w:b s:) s:; ."},
    };

    (void)state;
    check_all(cases, ARRAY_LEN(cases), 0);
}

static void what_is_not_closed_or_no_token_is_bad_to_the_end(void **state)
{
    static const struct lex_case cases[] = {
        {"1 'a", "n:1 !"},
        {"E'a\\'", "!"},
        {"E'a\\", "!"},
        {"\"a", "!"},
        {"U&\"a", "!"},
        {"$$a", "!"},
        {"$x$ $y$", "!"},
        {"$", "!"},
        {"$x", "!"},
        {"/* a", "!"},
        {"/* /* */", "!"},
        {"/*/", "!"},
        {"\\ 1", "!"},
        {"{", "!"},
        {"\x01", "!"},
        {"\x7f", "!"},
        {"1 'a'\n'b", "n:1 !"},
        {"B'1", "!"},
        {"a /*", "w:a !"},
    };
    struct sql_lex lx;
    struct sql_token t;

    (void)state;
    check_all(cases, ARRAY_LEN(cases), 0);
    sql_lex_init(&lx, STR("{ select"), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(sql_lex_next(&lx, &t), SQL_TOK_BAD);
    sql_lex_init(&lx, STR("select 'a\0b'"), 0);
    assert_int_equal(sql_lex_next(&lx, &t), SQL_TOK_BAD);
    sql_lex_init(&lx, STR_NONE, 0);
    assert_int_equal(sql_lex_next(&lx, &t), SQL_TOK_END);
}

static void backslash_dialect_moves_the_end_of_plain_strings_only(void **state)
{
    static const struct lex_case cases[] = {
        {"'a\\'b'", "S:'a\\'b' ."},           {"'a\\'; x'", "S:'a\\'; x' ."},
        {"N'a\\'b'", "N:N'a\\'b' ."},         {"'a\\\\' b", "S:'a\\\\' w:b ."},
        {"'a'\n'\\'b'", "S:'a'\n'\\'b' ."},   {"B'1\\' x", "B:B'1\\' w:x ."},
        {"\"a\\\" x", "q:\"a\\\" w:x ."},     {"$$\\$$ x", "D:$$\\$$ w:x ."},
        {"U&\"a\\\" x", "u:U&\"a\\\" w:x ."}, {"U&'a'", "!"}, /* the server refuses it as unsafe */
    };

    (void)state;
    check_all(cases, ARRAY_LEN(cases), SQL_DIALECT_BACKSLASH);
}

static void high_bytes_are_bad_in_encodings_with_ascii_inside(void **state)
{
    char got[64];

    (void)state;
    assert_string_equal(tokens(STR("'\x95\\' x"), SQL_DIALECT_MULTIBYTE, got, sizeof(got)), "!");
    assert_string_equal(tokens(STR("'a' x"), SQL_DIALECT_MULTIBYTE, got, sizeof(got)),
                        "S:'a' w:x .");
}

static struct str hint_of(const char *text)
{
    struct sql_lex lx;
    struct sql_token t;

    sql_lex_init(&lx, str_of(text), 0);
    while (sql_lex_next(&lx, &t) > SQL_TOK_BAD)
        ;
    return sql_lex_hint(&lx);
}

static void hint_stands_before_or_behind_everything(void **state)
{
    static const struct lex_case cases[] = {
        {"/* penstock: route=replica */ select 1", "penstock: route=replica"},
        {"/*penstock:a*/ select 1", "penstock:a"},
        {"select 1 /* PENSTOCK:a */", "PENSTOCK:a"},
        {"select 1; /* penstock:a */ -- x", "penstock:a"},
        {"-- x\n/* y */ /* penstock:a */ /* penstock:b */ select 1", "penstock:a"},
        {"select 1 /* penstock:a */ /* penstock:b */", "penstock:b"},
        {"/* penstock:a */", "penstock:a"},
        {"select /* penstock:a */ 1", ""},
        {"select 1 /* penstock:a */ ;", ""},
        {"select '/* penstock:a */'", ""},
        {"/* x penstock:a */ select 1", ""},
        {"-- penstock:a\nselect 1", ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_true(str_eq(hint_of(cases[i].text), str_of(cases[i].want)));
}

static void names_are_folded_or_unquoted_and_bounded(void **state)
{
    struct sql_lex lx;
    struct sql_token t;
    struct str name;
    char buf[8];

    (void)state;
    sql_lex_init(&lx, STR("AbC \"A\"\"b\" \"\" 1 abcdefg abcdefgh \"abcdefg\" \"abcdefgh\""), 0);
    (void)sql_lex_next(&lx, &t);
    assert_true(sql_lex_name(&t, buf, sizeof(buf), &name) && str_eq(name, STR("abc")));
    (void)sql_lex_next(&lx, &t);
    assert_true(sql_lex_name(&t, buf, sizeof(buf), &name) && str_eq(name, STR("A\"b")));
    for (int i = 0; i < 2; i++) {
        (void)sql_lex_next(&lx, &t);
        assert_false(sql_lex_name(&t, buf, sizeof(buf), &name));
    }
    for (int i = 0; i < 2; i++) {
        (void)sql_lex_next(&lx, &t);
        assert_true(sql_lex_name(&t, buf, sizeof(buf), &name) && name.n == 7);
        (void)sql_lex_next(&lx, &t);
        assert_false(sql_lex_name(&t, buf, sizeof(buf), &name));
    }
}

/* Text comes whole, but where it ends is the peer's choice: no cut may read past its end. */
static void every_prefix_ends_inside_its_bytes(void **state)
{
    static const char text[] =
        "/* penstock:a /* b */ */ SELECT E'a\\'b' 'c'\n'd', $x$ $$ $x$, U&\"e\", N'f', B'1', 0x1F, "
        "1.5e-5, 1_0, a::b, $1, @-, [1:2], -- x\n := \"g\"\"h\" /* penstock:z */";
    struct sql_lex lx;
    struct sql_token t;

    (void)state;
    for (uint32_t dialect = 0; dialect < 4; dialect++) {
        for (size_t n = 0; n < sizeof(text); n++) {
            char *exact = mem_copy(n > 0 ? text : "x", n > 0 ? n : 1); /* for the sanitizer */
            const char *last = exact;
            sql_lex_init(&lx, (struct str){exact, n}, dialect);
            while (sql_lex_next(&lx, &t) > SQL_TOK_BAD) {
                assert_true(t.text.p >= last && t.text.n > 0);
                last = t.text.p + t.text.n;
                assert_true(last <= exact + n);
            }
            (void)sql_lex_hint(&lx);
            mem_free(exact);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_are_cut_as_the_server_cuts_them),
        cmocka_unit_test(what_is_not_closed_or_no_token_is_bad_to_the_end),
        cmocka_unit_test(backslash_dialect_moves_the_end_of_plain_strings_only),
        cmocka_unit_test(high_bytes_are_bad_in_encodings_with_ascii_inside),
        cmocka_unit_test(hint_stands_before_or_behind_everything),
        cmocka_unit_test(names_are_folded_or_unquoted_and_bounded),
        cmocka_unit_test(every_prefix_ends_inside_its_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
