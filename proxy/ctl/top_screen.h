/* top_screen.h - the terminal of `penstock top`.  The one place that knows ncurses. */
#ifndef PENSTOCK_PROXY_TOP_SCREEN_H
#define PENSTOCK_PROXY_TOP_SCREEN_H

#include "base/base.h"
#include "base/status.h"
#include "proxy/ctl/top_page.h"

/* keys other than characters */
#define TOP_KEY_NONE (-1)
#define TOP_KEY_UP 1001
#define TOP_KEY_DOWN 1002
#define TOP_KEY_LEFT 1003
#define TOP_KEY_RIGHT 1004
#define TOP_KEY_PAGE_UP 1005
#define TOP_KEY_PAGE_DOWN 1006
#define TOP_KEY_RESIZE 1007

/* ST_UNSUPPORTED with the reason when there is no terminal that can do it. */
enum status top_screen_open(struct error *err) ATTR_NODISCARD;
void top_screen_close(void);
void top_screen_size(int *width, int *height);
void top_screen_show(const struct top_line *lines, int height);
/* The next key, or TOP_KEY_NONE after so long. */
int top_screen_key(int timeout_ms);

#endif
