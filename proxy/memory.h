/* memory.h - max_buffer_memory: the buffers of all connections together.
 *
 * Each worker counts what its connections hold, in blocks of output and kept input, and publishes
 * it once a turn.  While the sum of all workers is past the limit, a worker stops reading for those
 * of its clients that hold most, from them and from their servers; everybody else goes on.  When
 * that does not help for some seconds, because what is there is not taken by its reader, the
 * largest is closed. Called by worker.c: memory_turn at the end of each turn, memory_housekeeping
 * on its timer.
 * Thread: the worker's.
 */
#ifndef PENSTOCK_PROXY_MEMORY_H
#define PENSTOCK_PROXY_MEMORY_H

#include "proxy/worker.h"

void memory_turn(struct worker *w);
void memory_housekeeping(struct worker *w);

#endif
