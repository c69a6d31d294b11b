#include "base/base64.h"

#include <stdint.h>

enum { BASE64_BAD = 64 };

static const char base64_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(struct span bytes, struct buf *out)
{
    const unsigned char *in = (const unsigned char *)bytes.data;
    size_t len = (bytes.len + 2) / 3 * 4;
    char *p = buf_reserve(out, len);

    if (!p)
        return;
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t left = bytes.len - i;
        uint32_t group = (uint32_t)in[i] << 16;

        if (left > 1)
            group |= (uint32_t)in[i + 1] << 8;
        if (left > 2)
            group |= in[i + 2];
        *p++ = base64_alphabet[group >> 18];
        *p++ = base64_alphabet[group >> 12 & 63];
        *p++ = left > 1 ? base64_alphabet[group >> 6 & 63] : '=';
        *p++ = left > 2 ? base64_alphabet[group & 63] : '=';
    }
    out->len += len;
}

static uint32_t base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (uint32_t)(c - 'A');
    if (c >= 'a' && c <= 'z')
        return (uint32_t)(c - 'a' + 26);
    if (c >= '0' && c <= '9')
        return (uint32_t)(c - '0' + 52);
    return c == '+' ? 62 : c == '/' ? 63 : BASE64_BAD;
}

/* Four characters, of which the last `padding` are '='. Returns -1, or the 3 bytes as a number. */
static int64_t base64_group(const char *text, size_t padding)
{
    uint32_t group = 0;

    for (size_t i = 0; i < 4; i++) {
        uint32_t value = i < 4 - padding ? base64_value(text[i]) : 0;

        if (value == BASE64_BAD)
            return -1;
        group = group << 6 | value;
    }
    /* The bits that no byte needs are 0, so that there is one text for some bytes. */
    if (padding > 0 && group & (padding == 2 ? 0xFFFFU : 0xFFU))
        return -1;
    return group;
}

int base64_decode(struct span text, struct buf *out)
{
    size_t padding = 0, len;
    char *p;

    if (text.len % 4 != 0)
        return -1;
    while (padding < 2 && padding < text.len && text.data[text.len - 1 - padding] == '=')
        padding++;
    len = text.len / 4 * 3 - padding;
    p = buf_reserve(out, len);
    if (!p)
        return 0;
    for (size_t i = 0; i < text.len; i += 4) {
        size_t missing = i + 4 == text.len ? padding : 0;
        int64_t group = base64_group(text.data + i, missing);

        if (group < 0)
            return -1;
        *p++ = (char)(group >> 16);
        if (missing < 2)
            *p++ = (char)(group >> 8);
        if (missing < 1)
            *p++ = (char)group;
    }
    out->len += len;
    return 0;
}
