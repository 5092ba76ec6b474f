/* b64.h - base64 as SCRAM uses it: with padding, without line breaks, strict.
 *
 * Called by: secret.c and the SCRAM files.  The decoder accepts exactly one text for each byte
 * string (no blanks, full padding, unused bits zero), so that changing any character of a message
 * changes what it means or makes it invalid.  Pure; any thread.
 */
#ifndef PENSTOCK_B64_H
#define PENSTOCK_B64_H

#include "base/base.h"
#include "base/str.h"

#define B64_LEN(n) (((n) + 2) / 3 * 4) /* characters for n bytes */

/* Writes B64_LEN(n) characters to dst, no terminator. */
void b64_encode(char *dst, const void *src, size_t n);

/* Decodes all of text into dst; *n is how many bytes that made. false: not strict base64, or more
 * than cap bytes. */
bool b64_decode(uint8_t *dst, size_t cap, size_t *n, struct str text) ATTR_NODISCARD;

#endif
