/* mem.c - the heap behind two contracts.
 *
 * Called by everything that allocates.  Any thread.  Invariant: only the mem_try family can return
 * NULL, and only it listens to the test hook, so that an injected failure always lands in a path
 * that has to handle it.
 */
#include "base/mem.h"

#include "base/check.h"

#include <stdlib.h>

static _Thread_local unsigned fail_countdown;

static bool must_fail(void)
{
    return UNLIKELY(fail_countdown > 0) && --fail_countdown == 0;
}

void *mem_new(size_t n)
{
    void *p = calloc(1, MAX(n, (size_t)1));
    CHECK(p != NULL);
    return p;
}

void *mem_try(size_t n)
{
    return must_fail() ? NULL : malloc(MAX(n, (size_t)1));
}

void *mem_resize(void *p, size_t n)
{
    void *q = realloc(p, MAX(n, (size_t)1));
    CHECK(q != NULL);
    return q;
}

void *mem_try_resize(void *p, size_t n)
{
    return must_fail() ? NULL : realloc(p, MAX(n, (size_t)1));
}

void *mem_copy(const void *p, size_t n)
{
    if (n == 0)
        return NULL;
    void *q = mem_resize(NULL, n);
    memcpy(q, p, n);
    return q;
}

void mem_free(void *p)
{
    free(p);
}

void mem_wipe(void *p, size_t n)
{
    if (n > 0)
        explicit_bzero(p, n);
}

void mem_fail_nth(unsigned n)
{
    fail_countdown = n;
}
