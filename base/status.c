/* status.c - reasons in words.
 *
 * Called by everything that reports a failure of the outside world.  Pure, any thread.
 */
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>

enum status error_set(struct error *err, enum status st, const char *fmt, ...)
{
    if (err == NULL)
        return st;
    /* A caller may wrap its own reason: error_set(err, st, "file x: %s", err->text). */
    char text[ERROR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (n < 0)
        text[0] = '\0';
    memcpy(err->text, text, strlen(text) + 1);
    return st;
}

const char *status_name(enum status st)
{
    switch (st) {
    case ST_OK:
        return "ok";
    case ST_AGAIN:
        return "again";
    case ST_INVALID:
        return "invalid";
    case ST_LIMIT:
        return "limit";
    case ST_MEMORY:
        return "memory";
    case ST_DENIED:
        return "denied";
    case ST_MISSING:
        return "missing";
    case ST_IO:
        return "io";
    case ST_UNSUPPORTED:
        return "unsupported";
    }
    return "unknown";
}
