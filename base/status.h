/* status.h - what comes back from a function that deals with the outside world.
 *
 * A function that can fail because of a peer, a file, a clock or a limit returns enum status and,
 * where a person must read the reason, fills a struct error.  The text is bounded and holds no
 * secret.
 */
#ifndef PENSTOCK_STATUS_H
#define PENSTOCK_STATUS_H

#include "base/base.h"

enum status {
    ST_OK = 0,
    ST_AGAIN,   /* not now: would block, or more input is needed */
    ST_INVALID, /* malformed input */
    ST_LIMIT,   /* a configured limit or a hard cap was reached */
    ST_MEMORY,  /* no memory for a size that a peer chose */
    ST_DENIED,  /* authentication or authorization refused */
    ST_MISSING, /* the thing that was named does not exist */
    ST_IO,      /* system call failed, peer is gone */
    ST_UNSUPPORTED,
};

#define ERROR_TEXT_MAX 512

struct error {
    char text[ERROR_TEXT_MAX]; /* always terminated; empty when there is nothing to say */
};

/* Formats the reason into err (which may be NULL) and returns st, so that a failing path is one
 * line: return error_set(err, ST_INVALID, "..."). Text that does not fit is cut. Any thread. */
enum status error_set(struct error *err, enum status st, const char *fmt, ...) ATTR_PRINTF(3, 4);

/* A short English word for st ("invalid", "limit", ...), for logs. Never NULL. */
const char *status_name(enum status st);

#endif
