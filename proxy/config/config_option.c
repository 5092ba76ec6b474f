/* config_option.c - see config_option.h.
 *
 * Numbers are read as PgBouncer reads them (0x hexadecimal, leading 0 octal), because a file that
 * works there must mean the same here; unlike there, negative values and trailing rubbish are
 * refused.
 */
#include "base/base.h"

#include "proxy/config/config_option.h"

#include "base/buf.h"

#include <stdio.h>

#define TIME_WHOLE_MAX INT64_C(100000000000) /* seconds */

const struct config_option *config_option_find(struct str name)
{
    for (size_t i = 0; i < config_schema_count; i++) {
        if (str_eq(name, str_of(config_schema[i].name)))
            return &config_schema[i];
    }
    return NULL;
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return 99;
}

/* Unsigned number in the notation of C; false when it is none or does not fit. */
static bool read_number(struct str s, int64_t *out)
{
    int base = 10;
    if (s.n > 2 && s.p[0] == '0' && (s.p[1] == 'x' || s.p[1] == 'X')) {
        base = 16;
        s = (struct str){s.p + 2, s.n - 2};
    } else if (s.n > 1 && s.p[0] == '0') {
        base = 8;
    }
    int64_t v = 0;
    for (size_t i = 0; i < s.n; i++) {
        int d = digit_of(s.p[i]);
        if (d >= base || v > (INT64_MAX - d) / base)
            return false;
        v = v * base + d;
    }
    *out = v;
    return s.n > 0;
}

enum status config_option_int(struct str s, int64_t min, int64_t max, int64_t *out,
                              struct error *err)
{
    int64_t v = 0;
    bool negative = s.n > 1 && s.p[0] == '-';
    struct str digits = negative ? (struct str){s.p + 1, s.n - 1} : s;
    if (!read_number(digits, &v))
        return error_set(err, ST_INVALID, "not a number");
    if (negative)
        v = -v;
    if (v < min || v > max)
        return error_set(err, ST_INVALID, "must be from %lld to %lld", (long long)min,
                         (long long)max);
    *out = v;
    return ST_OK;
}

enum status config_option_time(struct str s, usec_t *out, struct error *err)
{
    int64_t whole = 0;
    usec_t part = 0;
    usec_t unit = USEC_PER_SEC;
    bool digits = false;
    size_t i = 0;
    for (; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++) {
        whole = whole * 10 + (s.p[i] - '0');
        digits = true;
        if (whole > TIME_WHOLE_MAX)
            return error_set(err, ST_INVALID, "too long a time");
    }
    if (i < s.n && s.p[i] == '.') {
        for (i++; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++) {
            unit /= 10; /* beyond microseconds this is 0 and adds nothing */
            part += (s.p[i] - '0') * unit;
            digits = true;
        }
    }
    if (i < s.n || !digits) {
        if (!read_number(s, &whole) || whole > TIME_WHOLE_MAX) /* 0x10 */
            return error_set(err, ST_INVALID, "not a time in seconds");
        part = 0;
    }
    *out = whole * USEC_PER_SEC + part;
    return ST_OK;
}

static const struct {
    const char *name;
    int64_t bytes;
} units[] = {
    {"GB", INT64_C(1) << 30}, {"MB", INT64_C(1) << 20}, {"kB", INT64_C(1) << 10}, {"B", 1}};

enum status config_option_size(struct str s, int64_t min, int64_t max, int64_t *out,
                               struct error *err)
{
    int64_t factor = 1;
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        size_t n = strlen(units[i].name);
        if (s.n > n && str_ieq((struct str){s.p + s.n - n, n}, str_of(units[i].name))) {
            factor = units[i].bytes;
            s = str_trim((struct str){s.p, s.n - n});
            break;
        }
    }
    int64_t v = 0;
    if (!read_number(s, &v))
        return error_set(err, ST_INVALID, "not a size in bytes, kB, MB or GB");
    if (v > INT64_MAX / factor || v * factor < min || v * factor > max)
        return error_set(err, ST_INVALID, "size is out of range");
    *out = v * factor;
    return ST_OK;
}

enum status config_option_enum(struct str s, const struct config_enum *values, int *out,
                               struct error *err)
{
    char names[256] = "";
    size_t used = 0;
    for (const struct config_enum *v = values; v->name != NULL; v++) {
        if (str_ieq(s, str_of(v->name))) {
            *out = v->value;
            return ST_OK;
        }
        if (v != values)
            (void)str_copy(names + used, sizeof(names) - used, STR(", "));
        used += strlen(names + used);
        (void)str_copy(names + used, sizeof(names) - used, str_of(v->name));
        used += strlen(names + used);
    }
    return error_set(err, ST_INVALID, "must be one of: %s", names);
}

static enum status read_bool(struct str s, bool *out, struct error *err)
{
    static const struct config_enum words[] = {{"yes", 1}, {"on", 1},    {"true", 1}, {"no", 0},
                                               {"off", 0}, {"false", 0}, {NULL, 0}};
    int64_t number = 0;
    int word = 0;
    /* PgBouncer's switches are integers, so any other number than 0 is "on" */
    if (config_option_int(s, INT32_MIN, INT32_MAX, &number, NULL) == ST_OK)
        *out = number != 0;
    else if (config_option_enum(s, words, &word, NULL) == ST_OK)
        *out = word != 0;
    else
        return error_set(err, ST_INVALID, "must be 0 or 1");
    return ST_OK;
}

enum status config_option_set(struct config_options *opt, struct config_arena *arena,
                              const struct config_option *o, struct str text, struct error *err)
{
    return config_option_read(opt, arena, o, text, err);
}

enum status config_option_read(void *base, struct config_arena *arena,
                               const struct config_option *o, struct str text, struct error *err)
{
    void *field = (char *)base + o->offset;
    enum status st = ST_OK;
    int64_t number = 0;
    int value = 0;
    const char *copy = NULL;
    switch (o->type) {
    case CONFIG_BOOL:
        return read_bool(text, field, err);
    case CONFIG_TIME:
        st = config_option_time(text, &number, err);
        if (st == ST_OK && (number < o->min || number > o->max))
            st = error_set(err, ST_INVALID, "time is out of range");
        if (st == ST_OK)
            memcpy(field, &number, sizeof(number));
        return st;
    case CONFIG_INT:
    case CONFIG_MODE:
        st = config_option_int(text, o->min, o->max, &number, err);
        value = (int)number;
        break;
    case CONFIG_ENUM:
        st = config_option_enum(text, o->values, &value, err);
        break;
    case CONFIG_SIZE:
        st = config_option_size(text, o->min, o->max, &number, err);
        if (st == ST_OK)
            memcpy(field, &number, sizeof(number));
        return st;
    case CONFIG_STRING:
        copy = config_arena_dup(arena, text);
        memcpy(field, &copy, sizeof(copy));
        return ST_OK;
    }
    if (st == ST_OK)
        memcpy(field, &value, sizeof(value));
    return st;
}

void config_option_put_time(struct buf *out, usec_t us)
{
    char text[48];
    int n = snprintf(text, sizeof(text), "%lld.%06lld", (long long)(us / USEC_PER_SEC),
                     (long long)(us % USEC_PER_SEC));
    while (n > 0 && text[n - 1] == '0')
        n--;
    if (n > 0 && text[n - 1] == '.')
        n--;
    buf_put(out, text, (size_t)n);
}

static void put_size(struct buf *out, int64_t bytes)
{
    for (size_t i = 0; i < ARRAY_LEN(units) - 1; i++) {
        if (bytes > 0 && bytes % units[i].bytes == 0) {
            buf_printf(out, "%lld%s", (long long)(bytes / units[i].bytes), units[i].name);
            return;
        }
    }
    buf_printf(out, "%lld", (long long)bytes);
}

static void put_enum(struct buf *out, const struct config_enum *values, int value)
{
    for (const struct config_enum *v = values; v->name != NULL; v++) {
        if (v->value == value) {
            buf_put_text(out, v->name);
            return;
        }
    }
}

void config_option_format(const struct config_options *opt, const struct config_option *o,
                          struct buf *out)
{
    config_option_write(opt, o, out);
}

void config_option_write(const void *base, const struct config_option *o, struct buf *out)
{
    const char *field = (const char *)base + o->offset;
    bool flag = false;
    int value = 0;
    int64_t number = 0;
    const char *text = NULL;
    switch (o->type) {
    case CONFIG_BOOL:
        memcpy(&flag, field, sizeof(flag));
        buf_put_text(out, flag ? "1" : "0");
        break;
    case CONFIG_INT:
    case CONFIG_MODE:
        memcpy(&value, field, sizeof(value));
        buf_printf(out, "%d", value);
        break;
    case CONFIG_ENUM:
        memcpy(&value, field, sizeof(value));
        put_enum(out, o->values, value);
        break;
    case CONFIG_SIZE:
        memcpy(&number, field, sizeof(number));
        put_size(out, number);
        break;
    case CONFIG_TIME:
        memcpy(&number, field, sizeof(number));
        config_option_put_time(out, number);
        break;
    case CONFIG_STRING:
        memcpy(&text, field, sizeof(text));
        buf_put_text(out, text);
        break;
    }
}
