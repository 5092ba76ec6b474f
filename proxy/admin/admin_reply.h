/* admin_reply.h - a console command on its way to the main thread and its answer on the way back.
 *
 * Made by console.c on the client's worker, posted to the main thread, which runs the command and
 * posts the same object back; whoever holds it owns it.  The client is named by slot and id: it may
 * be gone when the answer comes.  Rows are a flat run of values, each a length (ADMIN_NULL: SQL's
 * null) and its bytes.
 */
#ifndef PENSTOCK_PROXY_ADMIN_REPLY_H
#define PENSTOCK_PROXY_ADMIN_REPLY_H

#include "base/base.h"
#include "base/buf.h"
#include "base/status.h"
#include "proxy/admin/admin_command.h"
#include "proxy/net/mailbox.h"

#define ADMIN_ROWS_MAX ((size_t)256 << 20) /* bytes of one answer */
#define ADMIN_NULL UINT32_MAX

enum admin_outcome {
    ADMIN_DONE,
    ADMIN_ERROR,     /* error */
    ADMIN_UNLOADED,  /* the same for RELOAD, which has a code of its own */
    ADMIN_CANCELLED, /* by the user */
    ADMIN_LEAVE,     /* no answer: the connection ends */
};

struct admin_reply {
    struct message m;
    uint32_t slot; /* whose it is */
    uint64_t client;
    enum admin_role role;
    struct admin_command cmd;
    /* the answer */
    enum admin_outcome outcome;
    struct error error;
    struct buf rows;
    const char *notice, *detail; /* constants; NULL: none */
};

struct admin_reply *admin_reply_new(void);
void admin_reply_free(struct admin_reply **r); /* NULL inside is fine */

/* Values of a row, in the order of the view's columns. */
void admin_reply_str(struct buf *b, struct str s); /* p NULL: null */
void admin_reply_text(struct buf *b, const char *z);
void admin_reply_int(struct buf *b, int64_t v);
void admin_reply_time(struct buf *b, int64_t wall_us); /* local time for people */
void admin_reply_null(struct buf *b);
void admin_reply_printf(struct buf *b, const char *fmt, ...) ATTR_PRINTF(2, 3);

/* Reads the next ncols values of *rest, which it shortens; false: no more. */
bool admin_reply_next(struct str *rest, struct str *values, int ncols);

#endif
