/* sql_quick.h - the skeleton of a plain text: a cheap key in front of the normaliser.
 *
 * Called by sql_cache.c alone.  Most statements that reach a proxy again and again differ in
 * decimal numbers and simple strings only, letter for letter the same otherwise.  The skeleton is
 * the text with exactly those replaced by a byte that cannot occur, made in one pass of a few
 * instructions per byte. Two texts of one skeleton have the same normalised text; the reverse need
 * not hold. Whatever is not plain (comments, backslashes, parameters, dollar quotes, numbers with
 * points or exponents, doubled quotes, prefixed strings) is left to the real lexer: false.
 * Pure, any thread, no allocation.
 */
#ifndef PENSTOCK_SQL_QUICK_H
#define PENSTOCK_SQL_QUICK_H

#include "base/str.h"

#define SQL_QUICK_MAX 1024 /* longer texts are left to the real lexer */

/* Writes at most SQL_QUICK_MAX bytes to dst. The text must be in no dialect (sql_facts.h). */
bool sql_quick(struct str text, char *dst, size_t *n);

#endif
