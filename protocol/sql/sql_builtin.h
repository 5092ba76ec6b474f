/* sql_builtin.h - what PostgreSQL itself brings along: types, operators, functions with effects.
 *
 * Called by sql_pgparse.  Names are folded as the server has them.  Constant tables, any thread.
 */
#ifndef PENSTOCK_SQL_BUILTIN_H
#define PENSTOCK_SQL_BUILTIN_H

#include "base/base.h"
#include "base/str.h"
#include "protocol/sql_facts.h"

bool sql_builtin_type(struct str name);     /* a type of pg_catalog */
bool sql_builtin_operator(struct str name); /* an operator of pg_catalog has this name */

/* FX_ bits of calling the built-in function of that name; 0 when it only reads. set_config is not
 * here: its effect is in its arguments. */
uint32_t sql_builtin_function(struct str name);
/* It takes, tries or gives back an advisory lock, of the session or of the transaction. */
bool sql_builtin_advisory(struct str name);

#endif
