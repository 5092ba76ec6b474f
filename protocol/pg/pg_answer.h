/* pg_answer.h - answers that are kept and given again; see protocol/wire_answer.h.
 *
 * A kept answer is one complete result as the server sent it: a RowDescription, or none when nobody
 * had asked for it, the rows, and the completion.  What belongs to one request alone
 * (confirmations, the idle marker, the formats in a description) is made anew each time.
 * Called through the table in pg_wire.c only.  Pure; any thread.
 */
#ifndef PENSTOCK_PG_ANSWER_H
#define PENSTOCK_PG_ANSWER_H

#include "protocol/wire_answer.h"

extern const struct wire_answers pg_answers;

#endif
