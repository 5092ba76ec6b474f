/* sql_normalize.h - one pass over a statement text: constants out, caps checked, key and digest
 * made.
 *
 * Called by sql_cache for every statement a client sends (hot), and once more on a cache miss to
 * write the text that the grammar reads.  Nothing is allocated; the output goes to the caller's
 * scratch.
 *
 * Two texts with the same normalised text, hint and dialect have the same facts.  So constants stay
 * in where facts hang on them: in SET and NOTIFY commands, in calls of set_config (all but the new
 * value), pg_notify and the session-level pg_advisory functions, and behind U&"..." (UESCAPE).  The
 * placeholder "$?" is no token of SQL and is the same for constants and parameters.
 */
#ifndef PENSTOCK_SQL_NORMALIZE_H
#define PENSTOCK_SQL_NORMALIZE_H

#include "base/base.h"
#include "base/str.h"
#include "protocol/sql/sql_lex.h"

/* Caps under which libpg_query is known not to overflow SQL_PARSE_STACK_BYTES (see
 * sql_pgparse.h). */
#define SQL_TEXT_MAX 65536u
#define SQL_DEPTH_MAX 200u   /* of ( [ CASE */
#define SQL_CHAIN_MAX 16000u /* words and operators in one text */

/* Scratch that fits what any text under the caps becomes. */
#define SQL_SCRATCH_BYTES (3 * SQL_TEXT_MAX + 32)

enum sql_normal_state {
    SQL_NORMAL_OK,
    SQL_NORMAL_BAD,      /* unterminated or no SQL: the server decides, we know nothing */
    SQL_NORMAL_TOO_DEEP, /* over a cap */
};

struct sql_normal {
    struct str text;      /* in the scratch; only when state is SQL_NORMAL_OK */
    struct str hint;      /* in the source text */
    uint64_t digest;      /* of text */
    uint32_t nstatements; /* by semicolons; empty ones do not count */
    bool params;          /* holds $n */
    bool kept;            /* a constant stayed in, because facts hang on it; so of every SET, ALTER
                          * ROLE ... SET and their like, whose value may be a word */
    bool operators;       /* holds an operator other than a lone asterisk */
    enum sql_normal_state state;
};

/* cap: at least 16. A text that does not fit the scratch is SQL_NORMAL_TOO_DEEP. */
void sql_normalize(struct str text, uint32_t dialect, char *scratch, size_t cap,
                   struct sql_normal *out);

/* The same without any constant, for people: what is shown and logged, and its digest. */
void sql_normalize_shown(struct str text, uint32_t dialect, char *scratch, size_t cap,
                         struct sql_normal *out);

/* The same statement for the grammar, terminated: constants that were taken out become short ones
 * of their class, those kept are spelled for standard_conforming_strings = on, comments are
 * gone. */
void sql_normalize_for_grammar(struct str text, uint32_t dialect, char *scratch, size_t cap,
                               struct sql_normal *out);

#endif
