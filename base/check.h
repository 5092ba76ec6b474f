/* check.h - assertions for bugs: never for what comes from outside.
 *
 * CHECK stays on in release builds and aborts with file, line and expression.  DCHECK exists only
 * in debug and sanitizer builds (-DPENSTOCK_DEBUG) and may stand in the hot path.  A value that a
 * peer, a file or a clock decides must never reach either: that is a status (status.h).
 */
#ifndef PENSTOCK_CHECK_H
#define PENSTOCK_CHECK_H

#include "base/base.h"

/* Prints "CHECK failed: EXPR (FILE:LINE)" to standard error and aborts.  Any thread. */
ATTR_NORETURN void check_failed(const char *expr, const char *file, int line);

#define CHECK(x) (LIKELY(x) ? (void)0 : check_failed(#x, __FILE__, __LINE__))
#define UNREACHABLE() check_failed("unreachable", __FILE__, __LINE__)

#ifdef PENSTOCK_DEBUG
#define DCHECK(x) CHECK(x)
#else
#define DCHECK(x) ((void)sizeof(!(x)))
#endif

#endif
