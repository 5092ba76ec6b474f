/* random.h - bytes from the kernel's generator.  Any thread.  Aborts when the kernel gives none. */
#ifndef PENSTOCK_RANDOM_H
#define PENSTOCK_RANDOM_H

#include "base/base.h"

void random_bytes(void *p, size_t n);
uint64_t random_u64(void);

#endif
