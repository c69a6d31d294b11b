#include "base/crc32c.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

enum { CRC32C_LANES = 8 };
static const uint32_t crc32c_polynomial = 0x82f63b78; /* reflected */

/* table[k][b]: what byte b does to the remainder when k bytes follow it. */
static uint32_t crc32c_table[CRC32C_LANES][256];
static bool crc32c_has_instruction;
static pthread_once_t crc32c_once = PTHREAD_ONCE_INIT;

static void crc32c_prepare(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t rest = byte;

        for (int bit = 0; bit < 8; bit++)
            rest = (rest >> 1) ^ (rest & 1 ? crc32c_polynomial : 0);
        crc32c_table[0][byte] = rest;
    }
    for (uint32_t byte = 0; byte < 256; byte++) {
        for (int lane = 1; lane < CRC32C_LANES; lane++) {
            uint32_t before = crc32c_table[lane - 1][byte];

            crc32c_table[lane][byte] = (before >> 8) ^ crc32c_table[0][before & 0xff];
        }
    }
#if defined(__x86_64__)
    crc32c_has_instruction = __builtin_cpu_supports("sse4.2");
#endif
}

uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len)
{
    const unsigned char *p = data;

    (void)pthread_once(&crc32c_once, crc32c_prepare);
    crc = ~crc;
    for (; len >= CRC32C_LANES; len -= CRC32C_LANES, p += CRC32C_LANES) {
        uint32_t low = crc ^ ((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
                              (uint32_t)p[3] << 24);

        crc = crc32c_table[7][low & 0xff] ^ crc32c_table[6][low >> 8 & 0xff] ^
              crc32c_table[5][low >> 16 & 0xff] ^ crc32c_table[4][low >> 24] ^
              crc32c_table[3][p[4]] ^ crc32c_table[2][p[5]] ^ crc32c_table[1][p[6]] ^
              crc32c_table[0][p[7]];
    }
    for (; len; len--)
        crc = (crc >> 8) ^ crc32c_table[0][(crc ^ *p++) & 0xff];
    return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc32c_instruction(uint32_t crc, const void *data,
                                                                     size_t len)
{
    const unsigned char *p = data;
    uint64_t wide = ~crc;

    for (; len >= sizeof(wide); len -= sizeof(wide), p += sizeof(wide)) {
        uint64_t word;

        memcpy(&word, p, sizeof(word));
        wide = __builtin_ia32_crc32di(wide, word);
    }
    crc = (uint32_t)wide;
    for (; len; len--)
        crc = __builtin_ia32_crc32qi(crc, *p++);
    return ~crc;
}
#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
    (void)pthread_once(&crc32c_once, crc32c_prepare);
#if defined(__x86_64__)
    if (crc32c_has_instruction)
        return crc32c_instruction(crc, data, len);
#endif
    return crc32c_portable(crc, data, len);
}
