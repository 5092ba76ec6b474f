/* config_ini.c - see config_ini.h.
 *
 * ini_parse_stream pulls lines through next_line; each call finds the next meaningful line in the
 * stack of open files.  A failure is kept in the context and ends the input, because inih has no
 * way to stop early; whatever inih itself thinks of the stand-ins is checked at the end.
 */
#include "base/base.h"

#include "proxy/config/config_ini.h"

#include "base/buf.h"
#include "base/mem.h"
#include "proxy/config/config_arena.h"
#include "proxy/config/config_file.h"

#include <ini.h>
#include <stdio.h>
#include <stdlib.h>

struct source {
    const char *name;
    struct config_text text; /* owned; empty when the text is the caller's */
    struct str rest;         /* not yet read */
    int line;
};

struct reader {
    struct source stack[CONFIG_INI_DEPTH_MAX + 1];
    int depth; /* open files */
    int includes;
    const struct config_ini_sink *sink;
    struct config_arena arena; /* names of files, the current section */
    struct buf quoted;         /* the current key without its quotes */
    struct str tail;           /* what follows a "]" on its line */
    struct str section;
    unsigned section_no;
    struct config_item item; /* what the stand-in that inih holds means */
    bool pending;            /* item was given to inih, its callback is due */
    int continued;           /* lines that belong to the item beyond its first */
    enum status st;
    struct error *err;
};

static void fail(struct reader *r, enum status st, struct str key, const char *reason)
{
    const struct source *s = &r->stack[r->depth - 1];
    struct error whole;
    if (key.n > 0)
        error_set(&whole, st, "%.200s:%d: %.*s: %.200s", s->name, s->line, (int)MIN(key.n, 80u),
                  key.p, reason);
    else
        error_set(&whole, st, "%.200s:%d: %.280s", s->name, s->line, reason);
    r->st = st;
    if (r->err != NULL)
        *r->err = whole;
}

static void deliver(struct reader *r)
{
    struct error reason = {.text = ""};
    r->item.file = r->stack[r->depth - 1].name;
    r->item.line = r->stack[r->depth - 1].line;
    r->item.section = r->section;
    enum status st = r->sink->item(r->sink->arg, &r->item, &reason);
    if (st != ST_OK)
        fail(r, st, r->item.key, reason.text);
    r->stack[r->depth - 1].line += r->continued;
    r->continued = 0;
}

static void push(struct reader *r, const char *name, struct config_text text, struct str rest)
{
    if (str_starts(rest, STR("\xef\xbb\xbf"))) /* byte order mark of some editors */
        rest = (struct str){rest.p + 3, rest.n - 3};
    r->stack[r->depth++] = (struct source){.name = name, .text = text, .rest = rest};
}

static void on_include(struct reader *r, struct str line)
{
    struct str path = str_trim((struct str){line.p + 8, line.n - 8});
    struct config_text text;
    struct error reason = {.text = ""};
    if (path.n == 0 || path.n == line.n - 8) {
        fail(r, ST_INVALID, STR("%include"), "must be followed by a file name");
        return;
    }
    if (r->depth > CONFIG_INI_DEPTH_MAX || ++r->includes > CONFIG_INI_INCLUDES_MAX) {
        fail(r, ST_LIMIT, STR("%include"), "nested too deeply (limit 10) or too many files");
        return;
    }
    const char *name = config_file_beside(&r->arena, r->stack[r->depth - 1].name, path);
    enum status st = config_file_read(name, CONFIG_FILE_MAX, &text, &reason);
    if (st != ST_OK)
        fail(r, st, STR("%include"), reason.text);
    else
        push(r, name, text, (struct str){text.p, text.n});
}

/* Cuts "name" off the front of *line; "" inside is one quote. false: no closing quote. */
static bool quoted_key(struct reader *r, struct str *line)
{
    size_t i = 1;
    buf_reset(&r->quoted);
    for (; i < line->n; i++) {
        if (line->p[i] == '"' && (i + 1 == line->n || line->p[i + 1] != '"'))
            break;
        if (line->p[i] == '"')
            i++;
        buf_put_u8(&r->quoted, (uint8_t)line->p[i]);
    }
    if (i >= line->n)
        return false;
    *line = str_trim((struct str){line->p + i + 1, line->n - i - 1});
    r->item.key = buf_str(&r->quoted);
    return true;
}

/* The value with the indented lines that follow it, as they stand. */
static struct str continued(struct reader *r, struct str value)
{
    struct source *s = &r->stack[r->depth - 1];
    const char *begin = value.n > 0 ? value.p : s->rest.p;
    const char *end = value.n > 0 ? value.p + value.n : s->rest.p;
    if (r->sink->continues == NULL || !r->sink->continues(r->section))
        return value;
    while (s->rest.n > 0 && (s->rest.p[0] == ' ' || s->rest.p[0] == '\t')) {
        struct str after = s->rest;
        struct str line = str_trim(str_cut(&after, '\n'));
        if (line.n == 0 || line.p[0] == ';' || line.p[0] == '#')
            break;
        if ((size_t)(line.p + line.n - begin) > CONFIG_INI_LINE_MAX ||
            memchr(line.p, '\0', line.n) != NULL)
            break; /* the next look at this line refuses it */
        end = line.p + line.n;
        s->rest = after;
        r->continued++;
    }
    return str_trim((struct str){begin, (size_t)(end - begin)});
}

static bool on_key(struct reader *r, struct str line, char *out, size_t cap)
{
    r->item = (struct config_item){.quoted = line.p[0] == '"'};
    ptrdiff_t eq = str_find(line, '=');
    if (r->item.quoted) {
        if (!quoted_key(r, &line) || line.n == 0 || line.p[0] != '=') {
            fail(r, ST_INVALID, STR_NONE, "not \"name\" = value");
            return false;
        }
        eq = 0;
    } else if (eq < 0) {
        fail(r, ST_INVALID, STR_NONE, "not a key = value, [section], comment or %include");
        return false;
    } else {
        r->item.key = str_trim((struct str){line.p, (size_t)eq});
    }
    if (r->item.key.n == 0) {
        fail(r, ST_INVALID, STR_NONE, "name before = is empty");
        return false;
    }
    for (size_t i = 0; i < r->item.key.n && !r->item.quoted; i++) {
        if (strchr(" \t\"", r->item.key.p[i]) != NULL) {
            fail(r, ST_INVALID, STR_NONE, "a name with blanks or quotes must be \"quoted\"");
            return false;
        }
    }
    r->item.value = str_trim((struct str){line.p + eq + 1, line.n - (size_t)eq - 1});
    if (r->section_no == 0) {
        fail(r, ST_INVALID, r->item.key, "stands before the first [section]");
        return false;
    }
    r->item.value = continued(r, r->item.value);
    r->pending = true;
    snprintf(out, cap, "k = v\n");
    return true;
}

static bool on_section(struct reader *r, struct str line, char *out, size_t cap)
{
    ptrdiff_t end = str_find(line, ']');
    if (end < 0) {
        fail(r, ST_INVALID, STR_NONE, "[section] has no closing ]");
        return false;
    }
    struct str name = str_trim((struct str){line.p + 1, (size_t)end - 1});
    r->section = (struct str){config_arena_dup(&r->arena, name), name.n};
    r->section_no++;
    r->tail = (struct str){line.p + end + 1, line.n - (size_t)end - 1};
    r->item = (struct config_item){.quoted = false};
    deliver(r);
    snprintf(out, cap, "[%u]\n", r->section_no);
    return r->st == ST_OK;
}

/* The next line that is not blank and not a comment; false at the end of everything. */
static bool next_text(struct reader *r, struct str *line)
{
    while (r->depth > 0) {
        struct source *s = &r->stack[r->depth - 1];
        *line = str_trim(r->tail);
        r->tail = STR_NONE;
        if (line->n == 0 && s->rest.n == 0) {
            if (r->depth == 1)
                return false;
            config_file_free(&s->text);
            r->depth--;
            continue;
        }
        if (line->n == 0) {
            *line = str_trim(str_cut(&s->rest, '\n'));
            s->line++;
        }
        if (line->n > CONFIG_INI_LINE_MAX) {
            fail(r, ST_LIMIT, STR_NONE, "line is longer than 1 MiB");
            return false;
        }
        if (line->n > 0 && memchr(line->p, '\0', line->n) != NULL) {
            fail(r, ST_INVALID, STR_NONE, "line holds a zero byte");
            return false;
        }
        if (line->n > 0 && line->p[0] != ';' && line->p[0] != '#')
            return true;
    }
    return false;
}

/* inih's fgets: writes one stand-in line, or returns NULL at the end or after a failure. */
static char *next_line(char *out, int cap, void *arg)
{
    struct reader *r = arg;
    struct str line;
    bool more = false;
    while (r->st == ST_OK && next_text(r, &line)) {
        if (str_starts(line, STR("%include"))) {
            on_include(r, line);
            continue;
        }
        if (line.p[0] == '[')
            more = on_section(r, line, out, (size_t)cap);
        else
            more = on_key(r, line, out, (size_t)cap);
        break;
    }
    return more ? out : NULL;
}

static int on_pair(void *arg, const char *section, const char *name, const char *value)
{
    struct reader *r = arg;
    unsigned no = (unsigned)strtoul(section, NULL, 10);
    if (r->st == ST_OK && (!r->pending || no != r->section_no || name[0] != 'k' || value[0] != 'v'))
        fail(r, ST_INVALID, STR_NONE, "the ini library lost its place");
    r->pending = false;
    if (r->st == ST_OK)
        deliver(r);
    return r->st == ST_OK;
}

static enum status run(struct reader *r)
{
    int rc = ini_parse_stream(next_line, r, on_pair, r);
    if (r->st == ST_OK && (rc != 0 || r->pending))
        fail(r, ST_INVALID, STR_NONE, "the ini library refused the line");
    while (r->depth > 0)
        config_file_free(&r->stack[--r->depth].text);
    buf_fini(&r->quoted);
    config_arena_fini(&r->arena);
    return r->st;
}

static void reader_init(struct reader *r, const struct config_ini_sink *sink, struct error *err)
{
    memset(r, 0, sizeof(*r));
    r->sink = sink;
    r->err = err;
    config_arena_init(&r->arena);
    buf_init(&r->quoted, CONFIG_INI_LINE_MAX);
}

enum status config_ini_parse(const char *name, struct str text, const struct config_ini_sink *sink,
                             struct error *err)
{
    struct reader r;
    reader_init(&r, sink, err);
    push(&r, name, (struct config_text){NULL, 0}, text);
    return run(&r);
}

enum status config_ini_read(const char *path, const struct config_ini_sink *sink, struct error *err)
{
    struct config_text text;
    enum status st = config_file_read(path, CONFIG_FILE_MAX, &text, err);
    if (st != ST_OK)
        return st;
    struct reader r;
    reader_init(&r, sink, err);
    push(&r, path, text, (struct str){text.p, text.n});
    return run(&r);
}
