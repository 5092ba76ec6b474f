/* metrics_out.c - writes samples as OpenMetrics text; see metrics_out.h.  Pure. */
#include "proxy/metrics/metrics_out.h"

#include "proxy/metrics/metrics.h"

#include "base/check.h"
#include "base/histogram.h"

#include <stdio.h>

#define LINE_ROOM 160 /* for all of a line that is neither name nor labels */

static const char *const type_names[] = {"gauge", "counter", "histogram", "info"};
static const char *const type_suffixes[] = {"", "_total", "", "_info"};

/* ---- UTF-8 ----------------------------------------------------------------------------------- */

/* How many bytes the character at p has; 0: what stands there is none. */
static size_t utf8_length(const uint8_t *p, size_t n)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (len == 0 || p[0] > 0xf4 || len > n)
        return 0;
    uint32_t c = len == 1 ? p[0] : p[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3fu);
    }
    if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return 0;
    return len;
}

/* ---- labels ---------------------------------------------------------------------------------- */

/* How many bytes at p are in a label as they are: ASCII that needs no escape. */
static size_t plain_length(const char *p)
{
    size_t n = 0;
    while (p[n] != '\0' && (uint8_t)p[n] < 0x80 && p[n] != '\n' && p[n] != '"' && p[n] != '\\')
        n++;
    return n;
}

void metrics_out_label(struct buf *to, const char *name, const char *value)
{
    size_t n = strlen(value), len;
    if (buf_len(to) > 0)
        buf_put_u8(to, ',');
    buf_put_text(to, name);
    buf_put(to, "=\"", 2);
    for (size_t i = 0; i < n; i += MAX(len, (size_t)1)) {
        len = plain_length(value + i);
        if (len == 0)
            len = utf8_length((const uint8_t *)value + i, n - i);
        if (len == 0)
            buf_printf(to, "\\\\x%02x", (unsigned)(uint8_t)value[i]);
        else if (value[i] == '\n')
            buf_put_text(to, "\\n");
        else if (value[i] == '"' || value[i] == '\\')
            buf_printf(to, "\\%c", value[i]);
        else
            buf_put(to, value + i, len);
    }
    buf_put_u8(to, '"');
}

void metrics_out_json(struct buf *to, const char *text)
{
    size_t n = strlen(text), len;
    buf_put_u8(to, '"');
    for (size_t i = 0; i < n; i += MAX(len, (size_t)1)) {
        len = utf8_length((const uint8_t *)text + i, n - i);
        if (len == 0)
            buf_printf(to, "\\\\x%02x", (unsigned)(uint8_t)text[i]);
        else if ((uint8_t)text[i] < 0x20 || text[i] == 0x7f)
            buf_printf(to, "\\u%04x", (unsigned)text[i]);
        else if (text[i] == '"' || text[i] == '\\')
            buf_printf(to, "\\%c", text[i]);
        else
            buf_put(to, text + i, len);
    }
    buf_put_u8(to, '"');
}

/* ---- lines ----------------------------------------------------------------------------------- */

static char *put_bytes(char *at, const char *p, size_t n)
{
    memcpy(at, p, n);
    return at + n;
}

static char *put_number(char *at, uint64_t v)
{
    char digits[20];
    size_t n = sizeof(digits);
    if (v < 10) {
        *at = (char)('0' + v);
        return at + 1;
    }
    do {
        digits[--n] = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    return put_bytes(at, digits + n, sizeof(digits) - n);
}

static char *put_seconds(char *at, uint64_t us)
{
    at = put_number(at, us / USEC_PER_SEC);
    *at = '.';
    uint32_t rest = (uint32_t)(us % USEC_PER_SEC);
    for (int i = 6; i > 0; i--) {
        at[i] = (char)('0' + rest % 10);
        rest /= 10;
    }
    return at + 7;
}

void metrics_out_begin(struct metrics_out *o, const struct metric *m)
{
    int n = snprintf(o->name, sizeof(o->name), "%s%s", m->name, type_suffixes[m->type]);
    o->metric = m;
    o->name_n = MIN((size_t)MAX(n, 0), sizeof(o->name) - 1);
}

/* Written by hand: a scrape of many pools is nothing but these lines. */
void metrics_out_line(struct metrics_out *o, const struct metrics_line *l)
{
    size_t suffix = l->suffix != NULL ? strlen(l->suffix) : 0;
    size_t extra = l->extra != NULL ? strlen(l->extra) : 0;
    size_t value = l->extra != NULL ? strlen(l->extra_value) : 0;
    uint8_t *start = buf_reserve(o->to,
                                 o->name_n + suffix + l->labels.n + extra + value + LINE_ROOM);
    if (start == NULL)
        return; /* the buffer has failed, which its owner looks at in the end */
    char *at = put_bytes((char *)start, o->name, o->name_n);
    if (suffix > 0)
        at = put_bytes(at, l->suffix, suffix);
    if (l->labels.n > 0 || l->extra != NULL)
        *at++ = '{';
    if (l->labels.n > 0)
        at = put_bytes(at, l->labels.p, l->labels.n);
    if (l->labels.n > 0 && l->extra != NULL)
        *at++ = ',';
    if (l->extra != NULL) {
        at = put_bytes(at, l->extra, extra);
        at = put_bytes(at, "=\"", 2);
        at = put_bytes(at, l->extra_value, value);
        *at++ = '"';
    }
    if (l->labels.n > 0 || l->extra != NULL)
        *at++ = '}';
    *at++ = ' ';
    at = l->form == METRICS_SECONDS ? put_seconds(at, l->value) : put_number(at, l->value);
    *at++ = '\n';
    buf_commit(o->to, (size_t)(at - (char *)start));
}

void metrics_out_head(struct metrics_out *o, const struct metric *m)
{
    metrics_out_begin(o, m);
    buf_printf(o->to, "# TYPE %s %s\n", m->name, type_names[m->type]);
    if (m->unit[0] != '\0')
        buf_printf(o->to, "# UNIT %s %s\n", m->name, m->unit);
    buf_printf(o->to, "# HELP %s %s\n", m->name, m->help);
}

/* ---- what gatherers share -------------------------------------------------------------------- */

uint64_t metrics_out_number(const void *row, size_t at)
{
    int64_t v;
    memcpy(&v, (const char *)row + at, sizeof(v));
    return v > 0 ? (uint64_t)v : 0;
}

#define BUCKET_ROOM 48 /* for what follows the labels in a bucket's line */

/* name_bucket{labels,le=" */
static char *put_bucket_head(const struct metrics_out *o, struct str labels, char *at)
{
    at = put_bytes(at, o->name, o->name_n);
    at = put_bytes(at, "_bucket{", 8);
    if (labels.n > 0) {
        at = put_bytes(at, labels.p, labels.n);
        *at++ = ',';
    }
    return put_bytes(at, "le=\"", 4);
}

/* Half of a page are these lines: they differ only from le on, and the rest is copied. */
static void put_buckets(struct metrics_out *o, struct str labels, const uint64_t *sums,
                        const struct metrics_bound *bounds, size_t nbounds)
{
    size_t line = o->name_n + labels.n + BUCKET_ROOM;
    uint8_t *start = buf_reserve(o->to, nbounds * line);
    if (start == NULL)
        return;
    char *at = put_bucket_head(o, labels, (char *)start);
    size_t head = (size_t)(at - (char *)start);
    for (size_t i = 0; i < nbounds; i++) {
        if (i > 0)
            at = put_bytes(at, (const char *)start, head);
        at = put_bytes(at, bounds[i].le, strlen(bounds[i].le));
        at = put_bytes(at, "\"} ", 3);
        at = put_number(at, sums[i]);
        *at++ = '\n';
    }
    buf_commit(o->to, (size_t)(at - (char *)start));
}

void metrics_out_histogram(struct metrics_out *o, struct str labels, const uint64_t *counts,
                           const struct metrics_bound *bounds, size_t nbounds)
{
    uint64_t n = 0, sums[METRICS_BOUNDS_MAX];
    int at = 0;
    CHECK(nbounds <= METRICS_BOUNDS_MAX);
    for (size_t i = 0; i < nbounds; i++) {
        while (at < bounds[i].next)
            n += counts[at++];
        sums[i] = n;
    }
    put_buckets(o, labels, sums, bounds, nbounds);
    metrics_out_line(o, &(struct metrics_line){.suffix = "_count", .labels = labels, .value = n});
}

static void put_sum(struct metrics_out *o, struct str labels, uint64_t us)
{
    metrics_out_line(o,
                     &(struct metrics_line){
                         .suffix = "_sum", .labels = labels, .form = METRICS_SECONDS, .value = us});
}

/* Where answers of a database lie each bucket is a power of two, so that a quantile errs by less
 * than that; farther out, and of waits, which are short or trouble, it is a power of four. */
void metrics_out_times(struct metrics_out *o, struct str labels, const uint64_t *octaves,
                       uint64_t sum_us)
{
    static const struct metrics_bound bounds[] = {
        {8, "0.000128"},  {9, "0.000256"},  {10, "0.000512"},  {11, "0.001024"},
        {12, "0.002048"}, {13, "0.004096"}, {14, "0.008192"},  {15, "0.016384"},
        {16, "0.032768"}, {17, "0.065536"}, {18, "0.131072"},  {19, "0.262144"},
        {21, "1.048576"}, {23, "4.194304"}, {25, "16.777216"}, {HISTOGRAM_OCTAVES, "+Inf"}};
    metrics_out_histogram(o, labels, octaves, bounds, ARRAY_LEN(bounds));
    put_sum(o, labels, sum_us);
}

void metrics_out_waits(struct metrics_out *o, struct str labels, const uint64_t *octaves,
                       uint64_t sum_us)
{
    static const struct metrics_bound bounds[] = {
        {9, "0.000256"},   {11, "0.001024"},           {13, "0.004096"}, {15, "0.016384"},
        {17, "0.065536"},  {19, "0.262144"},           {21, "1.048576"}, {23, "4.194304"},
        {25, "16.777216"}, {HISTOGRAM_OCTAVES, "+Inf"}};
    metrics_out_histogram(o, labels, octaves, bounds, ARRAY_LEN(bounds));
    put_sum(o, labels, sum_us);
}
