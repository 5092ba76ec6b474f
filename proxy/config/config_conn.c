/* config_conn.c - see config_conn.h. */
#include "base/base.h"

#include "proxy/config/config_conn.h"

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct str skip_blanks(struct str s)
{
    while (s.n > 0 && blank(s.p[0]))
        s = (struct str){s.p + 1, s.n - 1};
    return s;
}

/* s begins behind the opening quote. */
static enum status quoted(struct str *s, struct config_arena *arena, struct config_pair *out,
                          struct error *err)
{
    size_t end = 0;
    while (end < s->n && (s->p[end] != '\'' || (end + 1 < s->n && s->p[end + 1] == '\'')))
        end += s->p[end] == '\'' ? 2 : 1;
    if (end >= s->n)
        return error_set(err, ST_INVALID, "%.*s: the value has no closing quote",
                         (int)MIN(out->key.n, 60u), out->key.p);
    char *text = config_arena_new(arena, end + 1);
    size_t n = 0;
    for (size_t i = 0; i < end; i++) {
        text[n++] = s->p[i];
        i += s->p[i] == '\''; /* the second one of a pair */
    }
    out->value = (struct str){text, n};
    *s = (struct str){s->p + end + 1, s->n - end - 1};
    if (s->n > 0 && !blank(s->p[0]))
        return error_set(err, ST_INVALID, "%.*s: a blank must follow the closing quote",
                         (int)MIN(out->key.n, 60u), out->key.p);
    return ST_OK;
}

enum status config_conn_next(struct str *rest, struct config_arena *arena, struct config_pair *out,
                             struct error *err)
{
    struct str s = skip_blanks(*rest);
    *out = (struct config_pair){STR_NONE, STR_NONE};
    if (s.n == 0 || s.p[0] == ';' || s.p[0] == '#') {
        *rest = STR_NONE;
        return ST_OK;
    }
    size_t n = 0;
    while (n < s.n && s.p[n] != '=' && !blank(s.p[n]))
        n++;
    out->key = (struct str){s.p, n};
    s = skip_blanks((struct str){s.p + n, s.n - n});
    if (n == 0 || s.n == 0 || s.p[0] != '=')
        return error_set(err, ST_INVALID, "connection string is not a list of key=value");
    s = skip_blanks((struct str){s.p + 1, s.n - 1});
    *rest = s;
    if (s.n > 0 && s.p[0] == '\'') {
        *rest = (struct str){s.p + 1, s.n - 1};
        return quoted(rest, arena, out, err);
    }
    n = 0;
    while (n < s.n && !blank(s.p[n]))
        n++;
    out->value = (struct str){config_arena_dup(arena, (struct str){s.p, n}), n};
    *rest = (struct str){s.p + n, s.n - n};
    return ST_OK;
}
