/* pg_kill.h - recognises the statement that cancels or terminates another session by its number. */
#ifndef PENSTOCK_PG_KILL_H
#define PENSTOCK_PG_KILL_H

#include "protocol/wire.h"

/* text is nothing but SELECT pg_cancel_backend(N) or pg_terminate_backend(N) with a decimal N that
 * is the pid of a client of this process; peer is the process's number, 0: it has none. */
bool pg_kill_read(struct str text, uint16_t peer, struct wire_kill *out);

#endif
