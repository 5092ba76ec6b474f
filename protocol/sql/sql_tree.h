/* sql_tree.h - reads facts out of the parser's tree; private to protocol/sql.
 *
 * Called by sql_pgparse with the tree as a table of JSON values (sql_json.h), one call per text.
 * Pure but for the draft.  What the tree holds that is not known here makes the facts FX_UNKNOWN or
 * FX_DDL.
 */
#ifndef PENSTOCK_SQL_TREE_H
#define PENSTOCK_SQL_TREE_H

#include "base/base.h"
#include "protocol/sql/sql_draft.h"
#include "protocol/sql/sql_json.h"

/* Fills d from the whole tree (the value behind "stmts" and all below) and sets d->complete. */
void sql_tree_read(const struct sql_json *j, struct sql_draft *d);

/* sql_tree_stmt.c: the effects that hang on the kind of the statement; value is its node. */
struct sql_tree_scan; /* what the nodes below it said */
void sql_tree_statement(const struct sql_json *j, uint32_t value, struct sql_tree_scan *scan);

struct sql_tree_scan {
    struct sql_draft *d;
    uint32_t effects;    /* of the nodes: functions called, rows changed or locked, INTO */
    uint32_t with_steps; /* work left for looking up WITH names */
    bool has_with;
    bool names_only; /* PREPARE: nothing below is executed now */
    bool locks, into, modifies;
    bool pg_temp; /* the name of a temporary schema is in it */
};

#endif
