/* pg_values.h - the values and formats of a Bind message, for the result cache.
 *
 * Called by the codec's table (pg_wire.c).  Pure; what is returned borrows from the message.  Any
 * thread.
 */
#ifndef PENSTOCK_PG_VALUES_H
#define PENSTOCK_PG_VALUES_H

#include "base/base.h"
#include "protocol/wire.h"

/* As bind_values and bind_formats in wire.h. types: the tail of a Parse message. */
int pg_values_bind(const struct wire_part *part, struct str types, struct wire_value *out, int max);
struct str pg_values_formats(const struct wire_part *part);
/* As var_result in wire.h. */
bool pg_values_var_result(struct str name);

#endif
