/* pg_kill.h - recognises the statement that cancels or terminates another session by its number.
 *
 * It is nothing but SELECT pg_cancel_backend(N) or pg_terminate_backend(N), where N is a decimal
 * number or, in the extended protocol, $1; either may have a cast to integer.
 */
#ifndef PENSTOCK_PG_KILL_H
#define PENSTOCK_PG_KILL_H

#include "protocol/wire.h"

/* See kill_read in wire.h. */
bool pg_kill_read(const struct wire_kill_ask *ask, struct wire_kill *out);

#endif
