/* sql_pgparse.h - what the real grammar says of a statement.
 *
 * The only user of libpg_query (PostgreSQL 15's parser as a library).  Called by sql_cache on a
 * miss with the text that sql_normalize_for_grammar wrote, so within the caps of sql_normalize.h.
 * The library keeps its state per thread and frees it when the thread ends; any thread, no locks.
 *
 * The stack: measured on amd64, a chain of operators costs 129 bytes a link, a right-hand nesting
 * at most 400 and ends at the parser's own limit of 10,000 symbols (1.3 MB).  With SQL_CHAIN_MAX
 * words and operators that is 3.4 MB in the worst case; an 8 MB stack holds 64,000 links and a 1 MB
 * stack 8,100. A thread that calls this has at least SQL_PARSE_STACK_BYTES.
 */
#ifndef PENSTOCK_SQL_PGPARSE_H
#define PENSTOCK_SQL_PGPARSE_H

#include "base/base.h"
#include "protocol/sql/sql_draft.h"

#define SQL_PARSE_STACK_BYTES ((size_t)6 << 20)

/* Fills the draft from a zero-terminated text. When the grammar refuses it, complete stays
 * false. */
void sql_pgparse(const char *text, struct sql_draft *d);

#endif
