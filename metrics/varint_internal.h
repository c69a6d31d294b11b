/* Varints: LEB128, 7 bits a byte, the lowest first, the high bit says that more follow. Read only
 * in their shortest form, so that equal numbers are equal bytes. */
#ifndef METRICS_VARINT_INTERNAL_H
#define METRICS_VARINT_INTERNAL_H

#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/span.h"

enum { VARINT_BYTES_MAX = 10 };

/* Returns how many bytes it wrote. */
static inline size_t varint_put(char *out, uint64_t value)
{
    size_t len = 0;

    for (; value >= 0x80; value >>= 7)
        out[len++] = (char)(value | 0x80);
    out[len++] = (char)value;
    return len;
}

static inline void varint_append(struct buf *out, uint64_t value)
{
    char bytes[VARINT_BYTES_MAX];

    buf_append(out, bytes, varint_put(bytes, value));
}

/* Takes a number from the front of `from`. -1: none in its shortest form; nothing is taken. */
MUST_CHECK static inline int varint_take(struct span *from, uint64_t *value)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < from->len && i < VARINT_BYTES_MAX; i++) {
        uint64_t byte = (unsigned char)from->data[i];

        if (i == VARINT_BYTES_MAX - 1 && byte > 1)
            return -1; /* more than 64 bits */
        sum |= (byte & 0x7F) << (7 * i);
        if (byte & 0x80)
            continue;
        if (byte == 0 && i > 0)
            return -1; /* could be shorter */
        *value = sum;
        *from = (struct span){ from->data + i + 1, from->len - i - 1 };
        return 0;
    }
    return -1;
}

static inline uint64_t varint_zigzag(int64_t value)
{
    return ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
}

static inline int64_t varint_unzigzag(uint64_t value)
{
    return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

#endif
