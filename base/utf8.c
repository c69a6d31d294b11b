#include "base/utf8.h"

static int utf8_is_tail(unsigned char c)
{
    return (c & 0xC0) == 0x80;
}

size_t utf8_char_len(const char *p, size_t left)
{
    const unsigned char *u = (const unsigned char *)p;
    unsigned char low = 0x80, high = 0xBF; /* what the second byte may be */

    if (u[0] < 0x80)
        return 1;
    if (u[0] < 0xC2 || u[0] > 0xF4)
        return 0;
    if (u[0] < 0xE0)
        return left >= 2 && utf8_is_tail(u[1]) ? 2 : 0;
    if (u[0] == 0xE0)
        low = 0xA0; /* shorter forms exist below it */
    else if (u[0] == 0xED)
        high = 0x9F; /* surrogates above it */
    else if (u[0] == 0xF0)
        low = 0x90;
    else if (u[0] == 0xF4)
        high = 0x8F; /* above U+10FFFF */
    if (left < 3 || u[1] < low || u[1] > high || !utf8_is_tail(u[2]))
        return 0;
    if (u[0] < 0xF0)
        return 3;
    return left >= 4 && utf8_is_tail(u[3]) ? 4 : 0;
}

struct span utf8_cut(struct span text, size_t bytes_max)
{
    if (text.len <= bytes_max)
        return text;
    while (bytes_max > 0 && utf8_is_tail((unsigned char)text.data[bytes_max]))
        bytes_max--;
    return (struct span){ text.data, bytes_max };
}

size_t utf8_put(char out[4], uint32_t codepoint)
{
    if (codepoint < 0x80) {
        out[0] = (char)codepoint;
        return 1;
    }
    if (codepoint < 0x800) {
        out[0] = (char)(0xC0 | codepoint >> 6);
        out[1] = (char)(0x80 | (codepoint & 0x3F));
        return 2;
    }
    if (codepoint < 0x10000) {
        out[0] = (char)(0xE0 | codepoint >> 12);
        out[1] = (char)(0x80 | (codepoint >> 6 & 0x3F));
        out[2] = (char)(0x80 | (codepoint & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | codepoint >> 18);
    out[1] = (char)(0x80 | (codepoint >> 12 & 0x3F));
    out[2] = (char)(0x80 | (codepoint >> 6 & 0x3F));
    out[3] = (char)(0x80 | (codepoint & 0x3F));
    return 4;
}
