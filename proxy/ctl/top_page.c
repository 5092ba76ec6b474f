/* top_page.c - the pages of `penstock top`; see top_page.h.
 *
 * A page is three lines about the whole proxy, a head and rows.  A view is a table of columns, each
 * with the column of the console that it is made from; the last one gets what is left of the line.
 */
#include "proxy/ctl/top_page.h"

#include "base/check.h"
#include "base/map.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define HEAD_LINES 5 /* above the rows */
#define KEY_MAX 300
#define CONSOLE "pgbouncer" /* as it calls itself in its views */

enum kind {
    TEXT,
    COUNT,
    MSEC,     /* microseconds */
    MSEC_TWO, /* seconds in the first column, microseconds in the second */
    MEAN,     /* the first divided by the second, microseconds */
    RATE,     /* growth of the first in a second */
};

struct column {
    const char *title;
    int width; /* 0: what is left */
    enum kind kind;
    const char *first, *second;
};

/* A title leaves room for the mark of the sorted column. */
static const struct column pools[] = {
    {"database", 12, TEXT, "database", NULL}, {"user", 9, TEXT, "user", NULL},
    {"mode", 5, TEXT, "pool_mode", NULL},     {"cl act", 7, COUNT, "cl_active", NULL},
    {"wait", 5, COUNT, "cl_waiting", NULL},   {"wait ms", 8, MSEC_TWO, "maxwait", "maxwait_us"},
    {"sv act", 7, COUNT, "sv_active", NULL},  {"idle", 5, COUNT, "sv_idle", NULL},
    {"pin", 4, COUNT, "sv_pinned", NULL},     {"flight", 7, COUNT, "in_flight", NULL},
    {"node", 0, TEXT, "node", NULL},
};
static const struct column statements[] = {
    {"call/s", 7, RATE, "calls", NULL},      {"calls", 7, COUNT, "calls", NULL},
    {"err", 4, COUNT, "errors", NULL},       {"total ms", 9, MSEC, "total_time", NULL},
    {"mean", 7, MSEC, "mean_time", NULL},    {"p95", 7, MSEC, "p95_time", NULL},
    {"wait", 7, MEAN, "wait_time", "calls"}, {"statement", 0, TEXT, "query", NULL},
};
static const struct column clients[] = {
    {"id", 6, COUNT, "id", NULL},
    {"user", 9, TEXT, "user", NULL},
    {"database", 9, TEXT, "database", NULL},
    {"state", 7, TEXT, "state", NULL},
    {"address", 15, TEXT, "addr", NULL},
    {"wait ms", 8, MSEC_TWO, "wait", "wait_us"},
    {"pins", 11, TEXT, "pins", NULL},
    {"application", 0, TEXT, "application_name", NULL},
};

static const struct {
    const char *command, *name;
    const struct column *cols;
    int ncols, sort;
} views[TOP_VIEWS] = {
    [TOP_POOLS] = {"SHOW POOLS", "pools", pools, ARRAY_LEN(pools), 5},
    [TOP_STATEMENTS] = {"SHOW STATEMENTS", "statements", statements, ARRAY_LEN(statements), 3},
    [TOP_CLIENTS] = {"SHOW CLIENTS", "clients", clients, ARRAY_LEN(clients), 5},
};

const char *top_page_command(enum top_view view)
{
    return views[view].command;
}

int top_page_columns(enum top_view view)
{
    return views[view].ncols;
}

int top_page_sort(enum top_view view)
{
    return views[view].sort;
}

/* ---- writing --------------------------------------------------------------------------------- */

struct pen { /* writes one line */
    struct top_line *line;
    size_t n; /* bytes */
    int left; /* characters that still fit */
};

static void put_n(struct pen *p, char c, int n)
{
    for (; n > 0 && p->left > 0; n--, p->left--)
        p->line->text[p->n++] = c;
    p->line->text[p->n] = '\0';
}

static int width_of(const char *z)
{
    int n = 0;
    for (; *z != '\0'; z++)
        n += ((unsigned char)*z & 0xc0) != 0x80;
    return n;
}

/* At most width characters of z, what controls a terminal as a question mark. */
static void put_text(struct pen *p, const char *z, int width)
{
    int room = MIN(width, p->left);
    while (*z != '\0') {
        unsigned char c = (unsigned char)*z;
        bool begins = (c & 0xc0) != 0x80;
        if (begins && room-- <= 0)
            break;
        p->left -= begins;
        if (p->n + 1 >= sizeof(p->line->text))
            break;
        p->line->text[p->n++] = c < ' ' || c == 0x7f ? '?' : *z;
        z++;
    }
    p->line->text[p->n] = '\0';
}

static void put_cell(struct pen *p, const char *z, int width, bool right)
{
    int fill = width - MIN(width, width_of(z));
    if (right)
        put_n(p, ' ', fill);
    put_text(p, z, width);
    if (!right)
        put_n(p, ' ', fill);
}

/* v in at most width characters: with a letter for thousands when it is long. */
static void number(double v, int digits, int width, char *dst, size_t cap)
{
    static const char letters[] = "kMGT";
    int n = snprintf(dst, cap, "%.*f", digits, v);
    for (size_t i = 0; n > width && i < sizeof(letters) - 1; i++) {
        v /= 1000;
        n = snprintf(dst, cap, "%.*f%c", v < 10 ? 1 : 0, v, letters[i]);
    }
}

/* ---- values ---------------------------------------------------------------------------------- */

struct view { /* one page's rows with what is needed to read them */
    const struct ctl_table *t;
    const struct column *cols;
    int ncols;
    int first[16], second[16]; /* columns of t */
    int sort;
    double *rates; /* owned; of each row, NULL: none */
};

/* What tells a row from others of its view. */
static struct str key_of(const struct ctl_table *t, size_t row, char *dst)
{
    static const char *const names[] = {"database", "host", "digest"};
    int n = 0;
    for (size_t i = 0; i < ARRAY_LEN(names) && n < KEY_MAX; i++)
        n += snprintf(dst + n, (size_t)(KEY_MAX - n), "%s|",
                      ctl_table_text(t, row, ctl_table_column(t, names[i])));
    return (struct str){dst, (size_t)MIN(n, KEY_MAX - 1)};
}

static double *rates_of(const struct ctl_table *now, const struct ctl_table *before, double seconds,
                        const char *source)
{
    if (before == NULL || seconds <= 0)
        return NULL;
    char key[KEY_MAX];
    struct map rows;
    double *rates = mem_new((now->nrows + 1) * sizeof(*rates));
    int now_col = ctl_table_column(now, source), before_col = ctl_table_column(before, source);
    map_init(&rows);
    for (size_t r = 0; r < before->nrows; r++)
        map_put(&rows, key_of(before, r, key), (void *)(uintptr_t)(r + 1));
    for (size_t r = 0; r < now->nrows; r++) {
        uintptr_t at = (uintptr_t)map_get(&rows, key_of(now, r, key));
        double was = at > 0 ? ctl_table_number(before, at - 1, before_col) : 0;
        double is = ctl_table_number(now, r, now_col);
        rates[r] = (is >= was ? is - was : is) / seconds; /* it was reset meanwhile */
    }
    map_fini(&rows);
    return rates;
}

static double value_of(const struct view *v, size_t row, int col)
{
    double first = ctl_table_number(v->t, row, v->first[col]);
    double second = ctl_table_number(v->t, row, v->second[col]);
    switch (v->cols[col].kind) {
    case TEXT:
        break;
    case COUNT:
        return first;
    case MSEC:
        return first / 1000;
    case MSEC_TWO:
        return first * 1000 + second / 1000;
    case MEAN:
        return second > 0 ? first / second / 1000 : 0;
    case RATE:
        return v->rates != NULL ? v->rates[row] : 0;
    }
    return 0;
}

static void view_init(struct view *v, const struct top_look *now, const struct top_look *before,
                      const struct top_wish *wish)
{
    double seconds = before->at > 0 ? now->at - before->at : 0;
    *v = (struct view){.t = now->rows,
                       .cols = views[wish->view].cols,
                       .ncols = views[wish->view].ncols,
                       .sort = wish->sort[wish->view]};
    CHECK(v->ncols <= (int)ARRAY_LEN(v->first));
    for (int i = 0; i < v->ncols; i++) {
        const struct column *c = &v->cols[i];
        v->first[i] = ctl_table_column(v->t, c->first);
        v->second[i] = c->second != NULL ? ctl_table_column(v->t, c->second) : -1;
        if (c->kind == RATE)
            v->rates = rates_of(v->t, before->rows, seconds, c->first);
    }
}

/* ---- rows ------------------------------------------------------------------------------------ */

static int compare(const void *x, const void *y, void *arg)
{
    const struct view *v = arg;
    size_t a = *(const size_t *)x, b = *(const size_t *)y;
    int d;
    if (v->cols[v->sort].kind == TEXT) {
        d = strcmp(ctl_table_text(v->t, a, v->first[v->sort]),
                   ctl_table_text(v->t, b, v->first[v->sort]));
    } else { /* the largest first */
        double p = value_of(v, a, v->sort), q = value_of(v, b, v->sort);
        d = p < q ? 1 : p > q ? -1 : 0;
    }
    return d != 0 ? d : a < b ? -1 : a > b;
}

static void put_value(struct pen *p, const struct view *v, size_t row, int col, int width)
{
    char text[64];
    const struct column *c = &v->cols[col];
    if (c->kind == TEXT) {
        put_cell(p, ctl_table_text(v->t, row, v->first[col]), width, false);
        return;
    }
    number(value_of(v, row, col), c->kind == COUNT ? 0 : 1, width, text, sizeof(text));
    put_cell(p, text, width, true);
}

static int width_left(const struct pen *p, const struct column *c)
{
    return c->width > 0 ? c->width : p->left;
}

static void put_head(struct pen *p, const struct view *v)
{
    char title[32];
    p->line->style = TOP_HEAD;
    for (int i = 0; i < v->ncols; i++) {
        const struct column *c = &v->cols[i];
        int width = width_left(p, c);
        snprintf(title, sizeof(title), "%s%s", i == v->sort ? "*" : "", c->title);
        put_cell(p, title, width, c->kind != TEXT);
        put_n(p, ' ', 1);
    }
    put_n(p, ' ', p->left);
}

static void put_row(struct pen *p, const struct view *v, size_t row)
{
    for (int i = 0; i < v->ncols; i++) {
        const struct column *c = &v->cols[i];
        put_value(p, v, row, i, width_left(p, c));
        put_n(p, ' ', 1);
    }
}

static void put_rows(const struct view *v, const struct top_wish *wish, int width, int height,
                     struct top_line *lines)
{
    size_t n = v->t != NULL ? v->t->nrows : 0;
    size_t *order = mem_new((n + 1) * sizeof(*order));
    for (size_t i = 0; i < n; i++)
        order[i] = i;
    struct view sorted = *v;
    if (n > 0)
        qsort_r(order, n, sizeof(*order), compare, &sorted);
    size_t first = MIN(wish->first, n > 0 ? n - 1 : 0);
    for (int y = 0; y < height && first + (size_t)y < n; y++) {
        size_t at = first + (size_t)y;
        struct pen p = {&lines[y], 0, width};
        put_row(&p, v, order[wish->reverse ? n - 1 - at : at]);
    }
    mem_free(order);
}

/* ---- the top --------------------------------------------------------------------------------- */

/* Over all databases but the console, where we are the busiest ourselves. */
static double sum(const struct ctl_table *t, const char *column)
{
    double total = 0;
    int col = ctl_table_column(t, column), db = ctl_table_column(t, "database");
    for (size_t r = 0; t != NULL && col >= 0 && r < t->nrows; r++)
        if (strcmp(ctl_table_text(t, r, db), CONSOLE) != 0)
            total += ctl_table_number(t, r, col);
    return total;
}

static double growth(const struct top_look *now, const struct top_look *before, const char *column)
{
    if (before->stats == NULL)
        return 0;
    double d = sum(now->stats, column) - sum(before->stats, column);
    return d > 0 ? d : 0;
}

static double longest_wait(const struct ctl_table *t)
{
    double most = 0;
    int s = ctl_table_column(t, "maxwait"), us = ctl_table_column(t, "maxwait_us");
    for (size_t r = 0; t != NULL && r < t->nrows; r++)
        most = fmax(most, ctl_table_number(t, r, s) * 1000 + ctl_table_number(t, r, us) / 1000);
    return most;
}

static void put_totals(const struct top_look *now, const struct top_look *before,
                       const struct top_wish *wish, struct pen *lines)
{
    char text[TOP_WIDTH_MAX];
    double seconds = before->at > 0 ? now->at - before->at : 0;
    double per = seconds > 0 ? 1 / seconds : 0;
    double xacts = growth(now, before, "total_xact_count");
    double queries = growth(now, before, "total_query_count");
    double waiting = sum(now->pools, "cl_waiting");
    lines[0].line->style = TOP_TITLE;
    snprintf(text, sizeof(text), "penstock top  %s  %s", wish->where, wish->now);
    put_text(&lines[0], text, TOP_WIDTH_MAX);
    snprintf(
        text, sizeof(text),
        "clients %.0f, waiting %.0f, longest %.0f ms; servers %.0f in use, %.0f idle, %.0f pinned",
        sum(now->pools, "cl_active") + waiting, waiting, longest_wait(now->pools),
        sum(now->pools, "sv_active"), sum(now->pools, "sv_idle"), sum(now->pools, "sv_pinned"));
    lines[1].line->style = waiting > 0 ? TOP_ALARM : TOP_PLAIN;
    put_text(&lines[1], text, TOP_WIDTH_MAX);
    snprintf(text, sizeof(text),
             "%.0f tx/s, %.0f requests/s, %.1f ms/tx, %.1f ms/request, in %.2f MB/s, out %.2f MB/s",
             xacts * per, queries * per,
             xacts > 0 ? growth(now, before, "total_xact_time") / xacts / 1000 : 0,
             queries > 0 ? growth(now, before, "total_query_time") / queries / 1000 : 0,
             growth(now, before, "total_received") * per / 1e6,
             growth(now, before, "total_sent") * per / 1e6);
    put_text(&lines[2], text, TOP_WIDTH_MAX);
}

static void put_keys(struct pen *p, const struct top_wish *wish)
{
    char text[TOP_WIDTH_MAX];
    if (wish->trouble[0] != '\0') {
        p->line->style = TOP_ALARM;
        put_text(p, wish->trouble, TOP_WIDTH_MAX);
        return;
    }
    snprintf(text, sizeof(text),
             "[%s] p pools, s statements, c clients, < > sort, r reverse, q quit",
             views[wish->view].name);
    put_text(p, text, TOP_WIDTH_MAX);
}

void top_page(const struct top_look *now, const struct top_look *before,
              const struct top_wish *wish, int width, int height, struct top_line *lines)
{
    struct pen pens[HEAD_LINES];
    struct view v;
    width = MIN(width, TOP_WIDTH_MAX);
    for (int i = 0; i < height; i++) {
        lines[i].style = TOP_PLAIN;
        lines[i].text[0] = '\0';
    }
    if (width < TOP_WIDTH_MIN || height < TOP_HEIGHT_MIN) {
        struct pen p = {&lines[0], 0, width};
        put_text(&p, "too small", TOP_WIDTH_MAX);
        return;
    }
    for (int i = 0; i < HEAD_LINES; i++)
        pens[i] = (struct pen){&lines[i], 0, width};
    put_totals(now, before, wish, pens);
    put_keys(&pens[3], wish);
    view_init(&v, now, before, wish);
    put_head(&pens[4], &v);
    put_rows(&v, wish, width, height - HEAD_LINES, lines + HEAD_LINES);
    mem_free(v.rates);
}
