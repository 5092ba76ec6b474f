/* sql_classify.h - facts of the short session commands, from tokens alone.
 *
 * Called by sql_cache on a miss, before the grammar.  Knows BEGIN, COMMIT, SAVEPOINT, SET, RESET,
 * SHOW, DISCARD, LISTEN, NOTIFY, DEALLOCATE and the empty text, and only in exactly the forms it
 * checks to the last token; all else is left to the grammar.  Pure but for the draft; any thread.
 */
#ifndef PENSTOCK_SQL_CLASSIFY_H
#define PENSTOCK_SQL_CLASSIFY_H

#include "base/base.h"
#include "protocol/sql/sql_draft.h"

/* true: the text is one such command and the draft is complete. false: the draft is untouched. */
bool sql_classify(struct str text, uint32_t dialect, struct sql_draft *d);

/* For a text that is one PREPARE: the statement behind AS, which borrows from text. Its facts are
 * those of a later EXECUTE. false: not such a text. */
bool sql_classify_prepared_body(struct str text, uint32_t dialect, struct str *body) ATTR_NODISCARD;

#endif
