/* hba_ident.c - user name maps; see hba.h.
 *
 * Regular expressions are compiled while the file is read, so that a bad one refuses the file.
 * regexec on a compiled expression is thread-safe.
 */
#include "base/base.h"

#include "base/refs.h"
#include "proxy/config/hba.h"

#include "base/mem.h"
#include "proxy/config/config_file.h"
#include "proxy/config/hba_lex.h"

#include <regex.h>

#define NAME_MAX_BYTES 1024 /* of a system name that is matched */

struct line {
    struct line *next;
    struct str map, system, user;
    bool is_regex, any_user;
    regex_t regex; /* of is_regex */
};

struct hba_ident {
    struct refs refs;
    struct config_arena arena;
    struct line *first;
};

struct hba_ident *hba_ident_get(struct hba_ident *i)
{
    refs_get(&i->refs);
    return i;
}

void hba_ident_put(struct hba_ident **i)
{
    struct hba_ident *x = *i;
    *i = NULL;
    if (x == NULL || !refs_put(&x->refs))
        return;
    for (struct line *l = x->first; l != NULL; l = l->next) {
        if (l->is_regex)
            regfree(&l->regex);
    }
    config_arena_fini(&x->arena);
    mem_free(x);
}

static enum status compile(struct line *l, struct error *err)
{
    char why[128];
    int rc = regcomp(&l->regex, l->system.p + 1, REG_EXTENDED);
    if (rc != 0) {
        regerror(rc, &l->regex, why, sizeof(why));
        return error_set(err, ST_INVALID, "bad regular expression \"%.100s\": %s", l->system.p + 1,
                         why);
    }
    l->is_regex = true;
    const char *slot = strstr(l->user.p, "\\1");
    if (slot != NULL && l->regex.re_nsub == 0)
        return error_set(err, ST_INVALID, "\\1 needs a (group) in the regular expression");
    return ST_OK;
}

/* *out is NULL for a line without content. */
static enum status read_line(struct hba_ident *i, struct str s, struct line **out,
                             struct error *err)
{
    struct hba_word w[4];
    for (size_t k = 0; k < ARRAY_LEN(w); k++) {
        enum status st = hba_lex_word(&s, &i->arena, &w[k], err);
        if (st != ST_OK)
            return st;
        if (w[k].more)
            return error_set(err, ST_INVALID, "lists are not supported here");
    }
    if (w[0].text.p == NULL)
        return ST_OK;
    if (w[2].text.p == NULL || w[3].text.p != NULL)
        return error_set(err, ST_INVALID, "a line must have a map, a system name and a user name");
    struct line *l = config_arena_new(&i->arena, sizeof(*l));
    l->map = w[0].text;
    l->system = w[1].text;
    l->user = w[2].text;
    l->any_user = !w[2].quoted && str_eq(l->user, STR("all"));
    enum status st = ST_OK;
    if (!w[2].quoted && l->user.n > 0 && (l->user.p[0] == '+' || l->user.p[0] == '/'))
        st = error_set(err, ST_UNSUPPORTED,
                       "+group and regular expressions are not supported as "
                       "user name");
    else if (!w[1].quoted && l->system.p[0] == '/')
        st = compile(l, err);
    *out = l; /* also on error: the expression must be freed */
    return st;
}

enum status hba_ident_parse(const char *name, struct str text, struct hba_ident **out,
                            struct error *err)
{
    struct hba_ident *i = mem_new(sizeof(*i));
    struct line **tail = &i->first;
    enum status st = ST_OK;
    refs_init(&i->refs);
    config_arena_init(&i->arena);
    for (int no = 1; text.n > 0 && st == ST_OK; no++) {
        struct line *l = NULL;
        st = read_line(i, str_cut(&text, '\n'), &l, err);
        if (st != ST_OK)
            st = hba_lex_blame(name, no, st, err);
        if (l != NULL) {
            *tail = l;
            tail = &l->next;
        }
    }
    if (st == ST_OK)
        *out = i;
    else
        hba_ident_put(&i);
    return st;
}

enum status hba_ident_load(const char *path, struct hba_ident **out, struct error *err)
{
    struct config_text text;
    enum status st = config_file_read(path, CONFIG_FILE_MAX, &text, err);
    if (st != ST_OK)
        return st;
    st = hba_ident_parse(path, (struct str){text.p, text.n}, out, err);
    config_file_free(&text);
    return st;
}

bool hba_ident_has_map(const struct hba_ident *i, const char *map)
{
    for (const struct line *l = i->first; l != NULL; l = l->next) {
        if (str_eq(l->map, str_of(map)))
            return true;
    }
    return false;
}

/* user == template, where the first \1 in template stands for group? */
static bool expands_to(struct str tmpl, struct str group, struct str user)
{
    const char *slot = strstr(tmpl.p, "\\1");
    if (slot == NULL)
        return str_eq(tmpl, user);
    struct str head = {tmpl.p, (size_t)(slot - tmpl.p)};
    struct str tail = {slot + 2, tmpl.n - head.n - 2};
    if (user.n != head.n + group.n + tail.n)
        return false;
    return str_starts(user, head) && memcmp(user.p + head.n, group.p, group.n) == 0 &&
           memcmp(user.p + head.n + group.n, tail.p, tail.n) == 0;
}

static bool line_matches(const struct line *l, const char *system, struct str user)
{
    regmatch_t m[2];
    if (!l->is_regex)
        return str_eq(l->system, str_of(system)) && (l->any_user || str_eq(l->user, user));
    if (regexec(&l->regex, system, ARRAY_LEN(m), m, 0) != 0)
        return false;
    struct str group = {system, 0};
    if (l->regex.re_nsub > 0 && m[1].rm_so >= 0)
        group = (struct str){system + m[1].rm_so, (size_t)(m[1].rm_eo - m[1].rm_so)};
    return l->any_user || expands_to(l->user, group, user);
}

bool hba_ident_match(const struct hba_ident *i, const char *map, struct str system, struct str user)
{
    char name[NAME_MAX_BYTES];
    if (user.n == 0 || system.n == 0)
        return false;
    if (map == NULL)
        return str_eq(system, user);
    /* a zero byte in a certificate's name must not end the comparison early */
    if (i == NULL || memchr(system.p, '\0', system.n) != NULL ||
        !str_copy(name, sizeof(name), system))
        return false;
    for (const struct line *l = i->first; l != NULL; l = l->next) {
        if (str_eq(l->map, str_of(map)) && line_matches(l, name, user))
            return true;
    }
    return false;
}
