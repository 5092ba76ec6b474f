/* mem.h - heap memory with two contracts: mem_new aborts, mem_try can fail.
 *
 * mem_new is for sizes the program chooses; mem_try is for sizes a peer chooses, and its NULL must
 * be handled.  Everything is freed with mem_free.  Any thread.
 */
#ifndef PENSTOCK_MEM_H
#define PENSTOCK_MEM_H

#include "base/base.h"

void *mem_new(size_t n);                                /* zeroed, never NULL */
void *mem_try(size_t n) ATTR_NODISCARD;                 /* not zeroed, NULL when out of memory */
void *mem_resize(void *p, size_t n);                    /* never NULL; p may be NULL */
void *mem_try_resize(void *p, size_t n) ATTR_NODISCARD; /* NULL leaves p as it was */
void *mem_copy(const void *p, size_t n);                /* heap copy, never NULL for n > 0 */
void mem_free(void *p);                                 /* NULL is fine */
void mem_wipe(void *p, size_t n); /* overwrites; not removed by the optimiser */

/* Test hook: the n-th mem_try/mem_try_resize from now on this thread fails once (0 = off). */
void mem_fail_nth(unsigned n);

#endif
