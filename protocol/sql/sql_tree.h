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

/* Fills d from the whole tree (the value behind "stmts" and all below) and sets d->complete. text:
 * what was parsed, for the places of its constants. */
void sql_tree_read(const struct sql_json *j, struct str text, struct sql_draft *d);

/* sql_tree_stmt.c: the effects that hang on the kind of the statement; value is its node. */
struct sql_tree_scan; /* what the nodes below it said */
void sql_tree_statement(const struct sql_json *j, uint32_t value, struct sql_tree_scan *scan);

/* sql_tree_match.c: what columns are compared with or set to, and the shape of the whole. Only for
 * the one statement of a text; to: the first value behind it. */
void sql_tree_match(const struct sql_json *j, uint32_t value, uint32_t to,
                    struct sql_tree_scan *scan);

struct sql_tree_scan {
    struct sql_draft *d;
    struct str text;     /* what was parsed */
    uint32_t changes;    /* statements that change rows: INSERT and the like, also below WITH */
    uint32_t effects;    /* of the nodes: functions called, rows changed or locked, INTO */
    uint32_t with_steps; /* work left for looking up WITH names */
    bool has_with;
    bool names_only; /* PREPARE: nothing below is executed now */
    bool locks, into, modifies;
    bool pg_temp; /* the name of a temporary schema is in it */
};

#endif
