/* log_format.h - one log line as text or as JSON.
 *
 * Called by log.c only, on any thread; pure but for the local time zone.  A line is written into
 * the caller's memory and never exceeds it: values are cut between characters, and the line is
 * always well-formed.  What a peer said may be in it: nothing in it can end the line or forge
 * another.
 */
#ifndef PENSTOCK_LOG_FORMAT_H
#define PENSTOCK_LOG_FORMAT_H

#include "base/base.h"
#include "base/clock.h"
#include "base/log.h"

struct log_entry {
    usec_t wall;
    int pid;
    const char *level; /* its word */
    struct str text;
    const struct log_field *fields;
    size_t nfields;
};

/* "YYYY-MM-DD HH:MM:SS.mmm ZONE [pid] LEVEL text name=value ...". Returns the length; *text_at is
 * where the part without time and process begins. No end of line; cap >= 256. */
size_t log_format_text(const struct log_entry *e, char *dst, size_t cap, size_t *text_at);
/* {"time":"2026-01-31T23:59:59.123Z","pid":1,"level":"LOG","message":"text","name":value,...} */
size_t log_format_json(const struct log_entry *e, char *dst, size_t cap);

#endif
