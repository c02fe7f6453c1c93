/* crc32c.h - a checksum that finds damage done by disks and memory. */

#ifndef CRC32C_H
#define CRC32C_H

#include "ground/base.h"

/** crc32c(crc, bytes): Continue the CRC-32C (Castagnoli) ${crc} (0: start) over ${bytes}. */
uint32_t crc32c(uint32_t crc, struct slice bytes);

#endif
