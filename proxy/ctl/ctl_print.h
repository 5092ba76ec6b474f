/* ctl_print.h - an answer of the console as a table for people, as CSV or as JSON.
 *
 * Called by ctl.c; pure.
 */
#ifndef PENSTOCK_PROXY_CTL_PRINT_H
#define PENSTOCK_PROXY_CTL_PRINT_H

#include "base/buf.h"
#include "proxy/ctl/ctl_conn.h"

enum ctl_format { CTL_TABLE, CTL_CSV, CTL_JSON };

/* Appends t to out. The table is psql's; control characters in it are escaped, for it goes to a
 * terminal.  JSON is one array of objects, numbers as numbers. */
void ctl_print(const struct ctl_table *t, enum ctl_format format, struct buf *out);

#endif
