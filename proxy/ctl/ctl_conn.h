/* ctl_conn.h - a connection to the console, and its answers as tables.
 *
 * The one place that knows libpq (docs/adr/020).  Blocking; for the command line only, never in the
 * process that serves clients.  Passwords come from where libpq looks for them: PGPASSWORD,
 * PGPASSFILE.
 */
#ifndef PENSTOCK_PROXY_CTL_CONN_H
#define PENSTOCK_PROXY_CTL_CONN_H

#include "base/base.h"
#include "base/status.h"

struct ctl_target {
    const char *host, *port, *user, *database;
};

struct ctl_column {
    const char *name;
    bool number;
};

struct ctl_table { /* an answer; without rows ncols is 0 */
    size_t ncols, nrows;
    struct ctl_column *cols;
    const char **cells; /* row by row; NULL: null */
    void *owner;        /* of all the text */
};

struct ctl_conn;

/* notice: gets what the console says besides (SHOW HELP); NULL: nobody does. ST_IO with the reason
 * when there is no connection. */
enum status ctl_conn_open(const struct ctl_target *t, void (*notice)(const char *text),
                          struct ctl_conn **out, struct error *err) ATTR_NODISCARD;
void ctl_conn_close(struct ctl_conn **c);
/* ST_INVALID: the console refused it; ST_IO: the connection is lost. *out is the caller's. */
enum status ctl_conn_ask(struct ctl_conn *c, const char *command, struct ctl_table **out,
                         struct error *err) ATTR_NODISCARD;
void ctl_table_free(struct ctl_table **t);
/* The number of a column; -1: there is none. */
int ctl_table_column(const struct ctl_table *t, const char *name);
/* Never NULL: a null and a column that is not there are empty. */
const char *ctl_table_text(const struct ctl_table *t, size_t row, int col);
double ctl_table_number(const struct ctl_table *t, size_t row, int col); /* 0: not one */

#endif
