/* top_page.h - what `penstock top` shows, as lines of text.
 *
 * Called by top.c; pure: answers of the console in, lines for a screen of any size out.
 */
#ifndef PENSTOCK_PROXY_TOP_PAGE_H
#define PENSTOCK_PROXY_TOP_PAGE_H

#include "base/base.h"
#include "proxy/ctl/ctl_conn.h"

#define TOP_WIDTH_MAX 500 /* characters; a wider screen stays empty at its right */
#define TOP_WIDTH_MIN 40  /* and a smaller one is cut */
#define TOP_HEIGHT_MIN 8

enum top_view { TOP_POOLS, TOP_STATEMENTS, TOP_CLIENTS, TOP_VIEWS };

struct top_look {                           /* at the console; all owned, each may be NULL */
    struct ctl_table *stats, *pools, *rows; /* rows: of the view */
    double at;                              /* seconds on any clock; 0: never */
};

struct top_wish {
    enum top_view view;
    int sort[TOP_VIEWS]; /* column of each view */
    bool reverse;
    size_t first;        /* row on top */
    const char *where;   /* whom we ask */
    const char *now;     /* the time of day */
    const char *trouble; /* why there is nothing new; empty: there is */
};

enum top_style { TOP_PLAIN, TOP_TITLE, TOP_HEAD, TOP_ALARM };

struct top_line {
    enum top_style style;
    char text[TOP_WIDTH_MAX * 4 + 1]; /* characters may have 4 bytes */
};

/* The command that fills rows for a view. */
const char *top_page_command(enum top_view view);
/* Columns of a view by which it can be sorted. */
int top_page_columns(enum top_view view);
/* The column by which a view is sorted at first. */
int top_page_sort(enum top_view view);
/* Fills height lines, each at most width characters. before: the look before, for rates. */
void top_page(const struct top_look *now, const struct top_look *before,
              const struct top_wish *wish, int width, int height, struct top_line *lines);

#endif
