/* base.h - the first include of every file: attributes and small macros.
 *
 * Called by: everything.  Knows nothing of databases, sockets or threads.
 * Invariant: nothing in here allocates or keeps state.
 */
#ifndef PENSTOCK_BASE_H
#define PENSTOCK_BASE_H

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ATTR_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define ATTR_NODISCARD __attribute__((warn_unused_result))
#define ATTR_NORETURN __attribute__((noreturn))
#define ATTR_UNUSED __attribute__((unused))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* Functions that overflow, are not thread-safe or hide errors (strcpy, strcat, sprintf, strtok,
 * atoi and their kin) are refused by `make lint`. */

#endif
