/* str.h - borrowed text: pointer and length, not terminated.
 *
 * A struct str owns nothing.  It is valid as long as what it was cut from.  The functions are pure
 * and may be called on any thread.  Case-insensitive comparison is ASCII only and does not ask the
 * locale.
 */
#ifndef PENSTOCK_STR_H
#define PENSTOCK_STR_H

#include "base/base.h"

struct str {
    const char *p;
    size_t n;
};

#define STR(lit) ((struct str){(lit), sizeof(lit) - 1})
/* STR for the initialisers of static tables, where ISO C wants constants. */
/* clang-format off */
#define STR_INIT(lit) {(lit), sizeof(lit) - 1}
/* clang-format on */
#define STR_NONE ((struct str){NULL, 0})
#define STR_FMT "%.*s"
#define STR_ARG(s) (int)(s).n, (s).p

struct str str_of(const char *z); /* NULL gives STR_NONE */
bool str_eq(struct str a, struct str b);
bool str_ieq(struct str a, struct str b);
bool str_starts(struct str s, struct str prefix);
bool str_istarts(struct str s, struct str prefix);
int str_cmp(struct str a, struct str b);      /* memcmp order, shorter first */
struct str str_trim(struct str s);            /* without blanks, tabs, CR, LF at both ends */
struct str str_cut(struct str *rest, char c); /* up to c; *rest moves behind it, or becomes empty */
ptrdiff_t str_find(struct str s, char c);     /* index or -1 */

/* Parses all of s as a decimal number. false: not a number, or outside [min, max]. */
bool str_to_i64(struct str s, int64_t min, int64_t max, int64_t *out) ATTR_NODISCARD;

/* All of s as lower-case hexadecimal digits, 1 to 16 of them. */
bool str_to_hex(struct str s, uint64_t *out) ATTR_NODISCARD;

/* Copies into dst as a terminated string, cut to cap - 1 bytes; returns false if it was cut. cap >
 * 0. */
bool str_copy(char *dst, size_t cap, struct str s);

/* Heap copy, terminated; the caller frees it with mem_free. Aborts when memory is out: for
 * configuration and other trusted sizes only. */
char *str_dup(struct str s);

#endif
