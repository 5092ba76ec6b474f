/* top.c - `penstock top`: asks the console again and again and shows the answers; see ctl.h.
 *
 * One connection, asked in turn for the counters, the pools and the view on the screen.  When it is
 * lost the last page stays with the reason on it, and the next look tries again.  Rates are between
 * two looks, so the first page has none.
 */
#include "proxy/ctl/ctl.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "proxy/ctl/top_page.h"
#include "proxy/ctl/top_screen.h"

#include <stdio.h>

#define LINES_MAX 500

struct top {
    const struct ctl_target *target;
    struct ctl_conn *conn; /* owned; NULL: lost */
    struct top_look now, before;
    struct top_wish wish;
    struct top_line *lines; /* owned */
    char where[256], clock[48], trouble[ERROR_TEXT_MAX];
    int width, height;
    usec_t interval, next;
    bool leave;
};

static void look_free(struct top_look *l)
{
    ctl_table_free(&l->stats);
    ctl_table_free(&l->pools);
    ctl_table_free(&l->rows);
    l->at = 0;
}

static enum status ask_all(struct top *t, struct top_look *l, struct error *err)
{
    enum status st = ST_OK;
    if (t->conn == NULL)
        st = ctl_conn_open(t->target, NULL, &t->conn, err);
    if (st == ST_OK)
        st = ctl_conn_ask(t->conn, "SHOW STATS", &l->stats, err);
    if (st == ST_OK)
        st = ctl_conn_ask(t->conn, "SHOW POOLS", &l->pools, err);
    if (st == ST_OK)
        st = ctl_conn_ask(t->conn, top_page_command(t->wish.view), &l->rows, err);
    if (st == ST_IO)
        ctl_conn_close(&t->conn);
    l->at = (double)clock_mono_us() / USEC_PER_SEC;
    return st;
}

static enum status look(struct top *t, struct error *err)
{
    struct top_look l = {0};
    enum status st = ask_all(t, &l, err);
    t->trouble[0] = '\0';
    t->next = clock_mono_us() + t->interval;
    clock_format(clock_wall_us(), t->clock, sizeof(t->clock));
    if (st != ST_OK) {
        snprintf(t->trouble, sizeof(t->trouble), "%s", err->text);
        look_free(&l);
        return st;
    }
    look_free(&t->before);
    t->before = t->now;
    t->now = l;
    return ST_OK;
}

/* The rows of another view are no rows to compare with. */
static void change_view(struct top *t, enum top_view view)
{
    t->wish.view = view;
    t->wish.first = 0;
    t->next = 0;
    ctl_table_free(&t->now.rows);
    ctl_table_free(&t->before.rows);
}

static void change_sort(struct top *t, int by)
{
    int *sort = &t->wish.sort[t->wish.view], n = top_page_columns(t->wish.view);
    *sort = (*sort + n + by) % n;
    t->wish.first = 0;
}

static void scroll_by(struct top *t, int rows)
{
    size_t n = t->now.rows != NULL ? t->now.rows->nrows : 0;
    size_t back = (size_t)MAX(-rows, 0), on = (size_t)MAX(rows, 0);
    t->wish.first -= MIN(back, t->wish.first);
    t->wish.first = MIN(t->wish.first + on, n > 0 ? n - 1 : 0);
}

static void press(struct top *t, int key)
{
    if (key == 'q')
        t->leave = true;
    else if (key == 'p')
        change_view(t, TOP_POOLS);
    else if (key == 's')
        change_view(t, TOP_STATEMENTS);
    else if (key == 'c')
        change_view(t, TOP_CLIENTS);
    else if (key == '<' || key == TOP_KEY_LEFT)
        change_sort(t, -1);
    else if (key == '>' || key == TOP_KEY_RIGHT)
        change_sort(t, 1);
    else if (key == 'r')
        t->wish.reverse = !t->wish.reverse;
    else if (key == ' ')
        t->next = 0;
    else if (key == TOP_KEY_UP || key == TOP_KEY_DOWN)
        scroll_by(t, key == TOP_KEY_UP ? -1 : 1);
    else if (key == TOP_KEY_PAGE_UP || key == TOP_KEY_PAGE_DOWN)
        scroll_by(t, key == TOP_KEY_PAGE_UP ? 6 - t->height : t->height - 6);
}

static void show(struct top *t)
{
    top_screen_size(&t->width, &t->height);
    t->height = MIN(t->height, LINES_MAX);
    top_page(&t->now, &t->before, &t->wish, t->width, t->height, t->lines);
    top_screen_show(t->lines, t->height);
}

static void loop(struct top *t)
{
    struct error err = {""};
    while (!t->leave) {
        if (clock_mono_us() >= t->next)
            (void)!look(t, &err); /* the reason is on the page */
        show(t);
        usec_t left = MAX(t->next - clock_mono_us(), (usec_t)0);
        int key = top_screen_key((int)(left / 1000) + 1);
        if (key != TOP_KEY_NONE)
            press(t, key);
    }
}

int top_run(const struct ctl_target *target, double interval_s)
{
    struct error err = {""};
    struct top *t = mem_new(sizeof(*t));
    int status = CTL_DONE;
    hash_seed_init();
    t->target = target;
    t->interval = (usec_t)(interval_s * USEC_PER_SEC);
    t->lines = mem_new(LINES_MAX * sizeof(*t->lines));
    snprintf(t->where, sizeof(t->where), "%s:%s", target->host, target->port);
    t->wish = (struct top_wish){.where = t->where, .now = t->clock, .trouble = t->trouble};
    for (int i = 0; i < TOP_VIEWS; i++)
        t->wish.sort[i] = top_page_sort((enum top_view)i);
    /* First whether there is a proxy at all: that is said without a screen. */
    if (look(t, &err) != ST_OK)
        status = CTL_AWAY;
    else if (top_screen_open(&err) != ST_OK)
        status = CTL_USAGE;
    if (status == CTL_DONE) {
        loop(t);
        top_screen_close();
    } else {
        fprintf(stderr, "penstock top: %s\n", err.text);
    }
    look_free(&t->now);
    look_free(&t->before);
    ctl_conn_close(&t->conn);
    mem_free(t->lines);
    mem_free(t);
    return status;
}
