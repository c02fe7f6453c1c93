/* crc32c.h - a checksum that finds what disks and memory do to bytes. */

#ifndef CRC32C_H
#define CRC32C_H

#include "ground/base.h"

/** crc32c(crc, bytes): The CRC-32C (Castagnoli) of what ${crc} is of (0: nothing), then ${bytes}.
 */
uint32_t crc32c(uint32_t crc, struct slice bytes);

#endif
