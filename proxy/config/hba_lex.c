/* hba_lex.c - see hba_lex.h. */
#include "base/base.h"

#include "proxy/config/hba_lex.h"

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct str skip(struct str s)
{
    while (s.n > 0 && blank(s.p[0]))
        s = (struct str){s.p + 1, s.n - 1};
    return s;
}

/* Where the word at the beginning of s ends; more than s.n: it has no closing quote. */
static size_t word_end(struct str s)
{
    bool inside = false;
    size_t i = 0;
    for (; i < s.n; i++) {
        if (s.p[i] == '"')
            inside = !inside; /* "" closes and opens again */
        else if (!inside && (blank(s.p[i]) || s.p[i] == ',' || s.p[i] == '#'))
            break;
    }
    return inside ? s.n + 1 : i;
}

enum status hba_lex_word(struct str *line, struct config_arena *arena, struct hba_word *out,
                         struct error *err)
{
    struct str s = skip(*line);
    *out = (struct hba_word){.quoted = false};
    if (s.n == 0 || s.p[0] == '#') {
        *line = STR_NONE;
        return ST_OK;
    }
    size_t end = word_end(s);
    if (end > s.n)
        return error_set(err, ST_INVALID, "a quoted word has no closing quote");
    if (memchr(s.p, '\0', end) != NULL)
        return error_set(err, ST_INVALID, "line holds a zero byte");
    char *text = config_arena_new(arena, end + 1);
    size_t n = 0;
    bool inside = false;
    for (size_t i = 0; i < end; i++) {
        if (s.p[i] != '"') {
            text[n++] = s.p[i];
            continue;
        }
        out->quoted = true;
        if (inside && i + 1 < end && s.p[i + 1] == '"')
            text[n++] = s.p[i++];
        else
            inside = !inside;
    }
    if (n == 0 && !out->quoted)
        return error_set(err, ST_INVALID, "empty item in a list");
    out->text = (struct str){text, n};
    s = skip((struct str){s.p + end, s.n - end});
    if (s.n > 0 && s.p[0] == ',') {
        out->more = true;
        s = (struct str){s.p + 1, s.n - 1};
    }
    *line = s;
    return ST_OK;
}

enum status hba_lex_blame(const char *file, int line, enum status st, struct error *err)
{
    struct error reason = {.text = ""};
    if (err != NULL)
        reason = *err;
    return error_set(err, st, "%.200s:%d: %.280s", file, line, reason.text);
}
