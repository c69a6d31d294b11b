/* CRC32C (Castagnoli), the checksum of RFC 3720: by the processor's instruction where there is
 * one. */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* `crc` is that of the bytes before, 0 to begin with. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);
/* The same from a table, for processors without the instruction. */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len);

#endif
