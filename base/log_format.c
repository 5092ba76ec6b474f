/* log_format.c - log lines as text and as JSON; see log_format.h.  Any thread. */
#include "base/log_format.h"

#include "base/check.h"
#include "base/str.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#define TAIL 8 /* kept free for what closes a value and the line */

struct line {
    char *p;
    size_t n, cap;
    bool full; /* something was left out */
};

static size_t room(const struct line *l)
{
    return l->n < l->cap - TAIL ? l->cap - TAIL - l->n : 0;
}

static void put_raw(struct line *l, const char *p, size_t n)
{
    if (l->full || n > room(l)) {
        l->full = true;
        return;
    }
    memcpy(l->p + l->n, p, n);
    l->n += n;
}

static void put_z(struct line *l, const char *z)
{
    put_raw(l, z, strlen(z));
}

static void put_fmt(struct line *l, const char *fmt, ...) ATTR_PRINTF(2, 3);
static void put_fmt(struct line *l, const char *fmt, ...)
{
    char text[128];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    put_z(l, text);
}

/* What closes a value or the line: there is always room for it. */
static void close_with(struct line *l, const char *z)
{
    size_t n = MIN(strlen(z), l->cap - 1 - l->n);
    memcpy(l->p + l->n, z, n);
    l->n += n;
}

/* Bytes of the character that begins at p; 0: what is there is none. */
static size_t utf8_length(const char *p, size_t n)
{
    static const struct {
        unsigned char mask, lead;
        uint32_t least;
    } forms[] = {{0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
    const unsigned char *u = (const unsigned char *)p;
    for (size_t len = 1; len <= ARRAY_LEN(forms) && len <= n; len++) {
        if ((u[0] & forms[len - 1].mask) != forms[len - 1].lead)
            continue;
        uint32_t code = u[0] & (uint32_t)~forms[len - 1].mask & 0xff;
        for (size_t i = 1; i < len; i++) {
            if ((u[i] & 0xc0) != 0x80)
                return 0;
            code = code << 6 | (u[i] & 0x3fu);
        }
        bool surrogate = code >= 0xd800 && code < 0xe000;
        return code < forms[len - 1].least || surrogate || code > 0x10ffff ? 0 : len;
    }
    return 0;
}

/* ---- text ------------------------------------------------------------------------------------ */

/* quotes: the text stands in double quotes. */
static void put_escaped(struct line *l, struct str s, bool quotes)
{
    for (size_t i = 0; i < s.n && !l->full;) {
        size_t len = MAX(utf8_length(s.p + i, s.n - i), (size_t)1);
        unsigned char c = (unsigned char)s.p[i];
        if (c < ' ' || c == 0x7f)
            put_fmt(l, "\\x%02x", c);
        else if (quotes && (c == '"' || c == '\\'))
            put_fmt(l, "\\%c", c);
        else
            put_raw(l, s.p + i, len);
        i += len;
    }
}

static bool is_bare(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool word = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!word && (c == '\0' || strchr("_.:/-[]@", c) == NULL))
            return false;
    }
    return s.n > 0;
}

static void put_number(struct line *l, const struct log_field *f)
{
    if (f->kind == LOG_USEC)
        put_fmt(l, "%" PRId64 ".%03" PRId64, f->number / 1000, f->number % 1000);
    else
        put_fmt(l, "%" PRId64, f->number);
}

static void put_text_field(struct line *l, const struct log_field *f)
{
    put_fmt(l, " %s=", f->name);
    if (f->kind != LOG_TEXT) {
        put_number(l, f);
    } else if (is_bare(f->text)) {
        put_escaped(l, f->text, false);
    } else {
        put_z(l, "\"");
        bool open = !l->full;
        put_escaped(l, f->text, true);
        if (open)
            close_with(l, "\"");
    }
}

size_t log_format_text(const struct log_entry *e, char *dst, size_t cap, size_t *text_at)
{
    CHECK(cap >= 256);
    struct line l = {dst, 0, cap, false};
    char when[48];
    clock_format_ms(e->wall, when, sizeof(when));
    put_fmt(&l, "%s [%d] %s ", when, e->pid, e->level);
    *text_at = l.n;
    put_escaped(&l, e->text, false);
    for (size_t i = 0; i < e->nfields && !l.full; i++)
        put_text_field(&l, &e->fields[i]);
    dst[l.n] = '\0';
    return l.n;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void put_json_text(struct line *l, struct str s)
{
    put_z(l, "\"");
    bool open = !l->full;
    for (size_t i = 0; i < s.n && !l->full;) {
        size_t len = utf8_length(s.p + i, s.n - i);
        unsigned char c = (unsigned char)s.p[i];
        if (len == 0)
            put_z(l, "\xef\xbf\xbd"); /* the character for what is none */
        else if (c == '"' || c == '\\')
            put_fmt(l, "\\%c", c);
        else if (c < ' ' || c == 0x7f)
            put_fmt(l, "\\u%04x", c);
        else
            put_raw(l, s.p + i, len);
        i += MAX(len, (size_t)1);
    }
    if (open)
        close_with(l, "\"");
}

static void put_json_field(struct line *l, const struct log_field *f)
{
    /* A name without a value would break the object: either both or none. */
    if (room(l) < strlen(f->name) + 64) {
        l->full = true;
        return;
    }
    put_fmt(l, ",\"%s\":", f->name);
    if (f->kind == LOG_TEXT)
        put_json_text(l, f->text);
    else
        put_number(l, f);
}

static void put_json_time(struct line *l, usec_t wall)
{
    struct tm tm;
    time_t at = (time_t)(wall / USEC_PER_SEC);
    char text[32];
    gmtime_r(&at, &tm);
    if (strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        text[0] = '\0';
    put_fmt(l, "{\"time\":\"%s.%03dZ\"", text, (int)(wall % USEC_PER_SEC / 1000));
}

size_t log_format_json(const struct log_entry *e, char *dst, size_t cap)
{
    CHECK(cap >= 256);
    struct line l = {dst, 0, cap, false};
    put_json_time(&l, e->wall);
    put_fmt(&l, ",\"pid\":%d,\"level\":\"%s\",\"message\":", e->pid, e->level);
    put_json_text(&l, e->text);
    for (size_t i = 0; i < e->nfields && !l.full; i++)
        put_json_field(&l, &e->fields[i]);
    close_with(&l, "}");
    dst[l.n] = '\0';
    return l.n;
}
