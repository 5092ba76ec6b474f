/* metrics_out.c - writes samples as OpenMetrics text; see metrics_out.h.  Pure. */
#include "proxy/metrics/metrics_out.h"

#include "proxy/metrics/metrics.h"

#include "base/histogram.h"

#include <stdio.h>

#define LINE_ROOM 160 /* for all of a line that is neither name nor labels */

static const char *const type_names[] = {"gauge", "counter", "histogram", "info"};

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

void metrics_out_label(struct buf *to, const char *name, const char *value)
{
    size_t n = strlen(value), len;
    buf_printf(to, "%s%s=\"", buf_len(to) > 0 ? "," : "", name);
    for (size_t i = 0; i < n; i += MAX(len, (size_t)1)) {
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

static char *put_text(char *at, const char *text)
{
    while (*text != '\0')
        *at++ = *text++;
    return at;
}

static char *put_number(char *at, uint64_t v)
{
    char digits[20];
    size_t n = 0;
    do {
        digits[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    while (n > 0)
        *at++ = digits[--n];
    return at;
}

static char *put_seconds(char *at, uint64_t us)
{
    at = put_number(at, us / USEC_PER_SEC);
    *at++ = '.';
    uint64_t rest = us % USEC_PER_SEC;
    for (uint64_t unit = USEC_PER_SEC / 10; unit > 0; unit /= 10)
        *at++ = (char)('0' + rest / unit % 10);
    return at;
}

static char *put_labels(char *at, const struct metrics_line *l)
{
    if (l->labels.n == 0 && l->extra == NULL)
        return at;
    *at++ = '{';
    memcpy(at, l->labels.n > 0 ? l->labels.p : "", l->labels.n);
    at += l->labels.n;
    if (l->extra != NULL) {
        if (l->labels.n > 0)
            *at++ = ',';
        at = put_text(at, l->extra);
        at = put_text(at, "=\"");
        at = put_text(at, l->extra_value);
        *at++ = '"';
    }
    *at++ = '}';
    return at;
}

/* Written by hand: a scrape of many pools is nothing but these lines. */
void metrics_out_line(struct metrics_out *o, const struct metrics_line *l)
{
    const char *suffix = l->suffix != NULL ? l->suffix : "";
    if (o->metric->type == METRIC_COUNTER)
        suffix = "_total";
    else if (o->metric->type == METRIC_INFO)
        suffix = "_info";
    size_t extra = l->extra != NULL ? strlen(l->extra) + strlen(l->extra_value) : 0;
    uint8_t *start = buf_reserve(o->to, strlen(o->metric->name) + l->labels.n + extra + LINE_ROOM);
    if (start == NULL)
        return; /* the buffer has failed, which its owner looks at in the end */
    char *at = put_text((char *)start, o->metric->name);
    at = put_text(at, suffix);
    at = put_labels(at, l);
    *at++ = ' ';
    at = l->form == METRICS_SECONDS ? put_seconds(at, l->value) : put_number(at, l->value);
    *at++ = '\n';
    buf_commit(o->to, (size_t)(at - (char *)start));
}

void metrics_out_head(struct metrics_out *o, const struct metric *m)
{
    o->metric = m;
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

void metrics_out_histogram(struct metrics_out *o, struct str labels, const uint64_t *counts,
                           const struct metrics_bound *bounds, size_t nbounds)
{
    uint64_t n = 0;
    int at = 0;
    struct metrics_line l = {.suffix = "_bucket", .labels = labels, .extra = "le"};
    for (size_t i = 0; i < nbounds; i++) {
        while (at < bounds[i].next)
            n += counts[at++];
        l.extra_value = bounds[i].le;
        l.value = n;
        metrics_out_line(o, &l);
    }
    metrics_out_line(o, &(struct metrics_line){.suffix = "_count", .labels = labels, .value = n});
}

void metrics_out_times(struct metrics_out *o, struct str labels, const uint64_t *octaves,
                       uint64_t sum_us)
{
    static const struct metrics_bound bounds[] = {
        {8, "0.000128"},  {9, "0.000256"},   {10, "0.000512"},           {11, "0.001024"},
        {12, "0.002048"}, {13, "0.004096"},  {14, "0.008192"},           {15, "0.016384"},
        {16, "0.032768"}, {17, "0.065536"},  {18, "0.131072"},           {19, "0.262144"},
        {20, "0.524288"}, {21, "1.048576"},  {22, "2.097152"},           {23, "4.194304"},
        {24, "8.388608"}, {25, "16.777216"}, {HISTOGRAM_OCTAVES, "+Inf"}};
    metrics_out_histogram(o, labels, octaves, bounds, ARRAY_LEN(bounds));
    metrics_out_line(
        o, &(struct metrics_line){
               .suffix = "_sum", .labels = labels, .form = METRICS_SECONDS, .value = sum_us});
}
