/* pg_error.h - error and notice messages: what a server's mean, and how ours look.
 *
 * Called by pg_server*.c (reading) and pg_client*.c (writing).  Every field of a message from a
 * server is optional; a message that is cut gives the fields that were complete.  Pure; any thread.
 */
#ifndef PENSTOCK_PG_ERROR_H
#define PENSTOCK_PG_ERROR_H

#include "base/base.h"
#include "base/outq.h"
#include "base/str.h"
#include "protocol/wire.h"

struct pg_error {
    struct str severity; /* V if present, else S; empty when missing */
    struct str code;     /* empty when missing */
    struct str message, detail;
    struct str routine; /* name of the function in the server that raised it */
};

/* Reads the fields of the body of an ErrorResponse or NoticeResponse, which may be cut anywhere. */
void pg_error_read(struct str body, struct pg_error *e);
/* The session ends with this error (FATAL, PANIC). */
bool pg_error_is_fatal(const struct pg_error *e);
/* What it means to the core. 40001 is SE_STANDBY_CONFLICT: on a primary it is a serialization
 * failure, and only the core knows which node it came from. */
enum server_error pg_error_class(const struct pg_error *e);

struct str pg_error_code(enum cause c);
struct str pg_error_text(enum cause c); /* default text */

/* Appends an ErrorResponse. fatal chooses the severity. */
void pg_error_write(struct outq *q, bool fatal, struct str code, struct str text);
/* Appends a NoticeResponse; detail may be empty. */
void pg_error_notice(struct outq *q, struct str text, struct str detail);

#endif
