/* metrics_process.h - what the kernel says of this process.
 *
 * Called by whoever prints it, on any thread but a worker's: counting descriptors reads a folder.
 */
#ifndef PENSTOCK_PROXY_METRICS_PROCESS_H
#define PENSTOCK_PROXY_METRICS_PROCESS_H

#include "base/base.h"
#include "base/clock.h"

struct metrics_process { /* 0: not known */
    int64_t resident_bytes, virtual_bytes;
    int64_t open_fds, max_fds;
    usec_t cpu;
};

void metrics_process_read(struct metrics_process *p);

#endif
