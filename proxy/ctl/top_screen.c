/* top_screen.c - ncurses' only user; see top_screen.h.
 *
 * newterm and not initscr: that one ends the process itself when it does not know the terminal.
 */
#include "proxy/ctl/top_screen.h"

#include <curses.h>
#include <locale.h>
#include <stdlib.h>
#include <unistd.h>

enum status top_screen_open(struct error *err)
{
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return error_set(err, ST_UNSUPPORTED,
                         "this is no terminal; for scripts there is penstock ctl");
    setlocale(LC_CTYPE, ""); /* NOLINT(concurrency-mt-unsafe): there is one thread */
    if (newterm(NULL, stdout, stdin) == NULL)
        return error_set(err, ST_UNSUPPORTED, "the terminal (TERM) is not known");
    cbreak();
    noecho();
    nonl();
    keypad(stdscr, TRUE);
    set_escdelay(25);
    curs_set(0);
    if (has_colors()) {
        start_color();
        use_default_colors();
        init_pair(1, COLOR_RED, -1);
    }
    return ST_OK;
}

void top_screen_close(void)
{
    endwin();
}

void top_screen_size(int *width, int *height)
{
    getmaxyx(stdscr, *height, *width);
}

static chtype attribute(enum top_style style)
{
    switch (style) {
    case TOP_PLAIN:
        break;
    case TOP_TITLE:
        return A_BOLD;
    case TOP_HEAD:
        return A_REVERSE;
    case TOP_ALARM:
        return A_BOLD | (has_colors() ? (chtype)COLOR_PAIR(1) : 0);
    }
    return A_NORMAL;
}

void top_screen_show(const struct top_line *lines, int height)
{
    erase();
    for (int y = 0; y < height; y++) {
        attrset((int)attribute(lines[y].style));
        mvaddstr(y, 0, lines[y].text);
    }
    attrset(A_NORMAL);
    refresh();
}

int top_screen_key(int timeout_ms)
{
    timeout(timeout_ms);
    int ch = getch();
    switch (ch) {
    case ERR:
        return TOP_KEY_NONE;
    case KEY_UP:
        return TOP_KEY_UP;
    case KEY_DOWN:
        return TOP_KEY_DOWN;
    case KEY_LEFT:
        return TOP_KEY_LEFT;
    case KEY_RIGHT:
        return TOP_KEY_RIGHT;
    case KEY_PPAGE:
        return TOP_KEY_PAGE_UP;
    case KEY_NPAGE:
        return TOP_KEY_PAGE_DOWN;
    case KEY_RESIZE:
        return TOP_KEY_RESIZE;
    default:
        return ch;
    }
}
