/* crc32c.h - the checksum of Castagnoli: finds bytes that were damaged, not those that were forged.
 *
 * Any thread, no state.
 */
#ifndef PENSTOCK_CRC32C_H
#define PENSTOCK_CRC32C_H

#include "base/base.h"

/* Goes on from crc, which is 0 at the start. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);
/* The same without the processor's instruction, for tests and other processors. */
uint32_t crc32c_plain(uint32_t crc, const void *p, size_t n);

#endif
