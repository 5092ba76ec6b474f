/* check.c - where a bug ends the process.
 *
 * Called by CHECK, DCHECK and UNREACHABLE on any thread.  Uses nothing that could itself be broken:
 * no heap, no log configuration, no locks of ours.  The addresses of the stack follow the message,
 * so that a core file is not needed to find the place.
 */
#include "base/check.h"

#include <execinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FRAMES_MAX 48

void check_failed(const char *expr, const char *file, int line)
{
    char text[512];
    int n = snprintf(text, sizeof(text), "CHECK failed: %s (%s:%d)\n", expr, file, line);
    size_t len = n < 0 ? 0 : MIN((size_t)n, sizeof(text) - 1);
    if (write(STDERR_FILENO, text, len) >= 0) {
        void *frames[FRAMES_MAX];
        backtrace_symbols_fd(frames, backtrace(frames, FRAMES_MAX), STDERR_FILENO);
    }
    abort();
}
