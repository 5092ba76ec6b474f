/* random.c - the kernel's generator.
 *
 * Called for keys, salts, nonces and hash seeds; never in the hot path.  Any thread.  Weak
 * randomness would be a silent hole, so no byte is ever made up: without the kernel's the process
 * ends.
 */
#include "base/random.h"

#include "base/check.h"

#include <errno.h>
#include <sys/random.h>

void random_bytes(void *p, size_t n)
{
    uint8_t *to = p;
    while (n > 0) {
        ssize_t got = getrandom(to, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        CHECK(got > 0);
        to += got;
        n -= (size_t)got;
    }
}

uint64_t random_u64(void)
{
    uint64_t v;
    random_bytes(&v, sizeof(v));
    return v;
}
