#include "base/buf.h"

#include <assert.h>
#include <endian.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

enum { BUF_FIRST_BYTES = 256 };

void buf_init(struct buf *buf, size_t bytes_max)
{
    *buf = (struct buf){ .max = bytes_max };
}

void buf_done(struct buf *buf)
{
    if (!buf)
        return;
    free(buf->data);
    buf_init(buf, buf->max);
}

void buf_clear(struct buf *buf)
{
    buf->len = 0;
    buf->full = false;
}

/* Doubles until `bytes` fit; the caller has checked them against max. */
static void buf_grow(struct buf *buf, size_t bytes)
{
    size_t cap = buf->cap ? buf->cap : BUF_FIRST_BYTES;

    while (cap < bytes && cap <= SIZE_MAX / 2)
        cap *= 2;
    if (cap < bytes)
        cap = bytes;
    buf->data = xrealloc(buf->data, cap);
    buf->cap = cap;
}

char *buf_reserve(struct buf *buf, size_t len)
{
    if (buf->full || len > buf->max || buf->len > buf->max - len) {
        buf->full = true;
        return NULL;
    }
    if (!buf->data || buf->cap - buf->len < len)
        buf_grow(buf, buf->len + len);
    return buf->data + buf->len;
}

void buf_append(struct buf *buf, const void *data, size_t len)
{
    char *room = buf_reserve(buf, len);

    if (!room || !len)
        return;
    memcpy(room, data, len);
    buf->len += len;
}

void buf_append_span(struct buf *buf, struct span span)
{
    buf_append(buf, span.data, span.len);
}

void buf_append_text(struct buf *buf, const char *text)
{
    buf_append(buf, text, strlen(text));
}

void buf_append_char(struct buf *buf, char c)
{
    char *room = buf_reserve(buf, 1);

    if (!room)
        return;
    *room = c;
    buf->len++;
}

void buf_append_fmt(struct buf *buf, const char *fmt, ...)
{
    char text[BUF_FIRST_BYTES]; /* the usual case is formatted once */
    va_list args;
    int len;

    va_start(args, fmt);
    len = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    assert(len >= 0);
    if ((size_t)len < sizeof(text)) {
        buf_append(buf, text, (size_t)len);
        return;
    }
    if (!buf_reserve(buf, (size_t)len))
        return;
    buf_grow(buf, buf->len + (size_t)len + 1); /* vsnprintf writes a NUL that is not counted */
    va_start(args, fmt);
    (void)vsnprintf(buf->data + buf->len, (size_t)len + 1, fmt, args);
    va_end(args);
    buf->len += (size_t)len;
}

void buf_append_i64(struct buf *buf, int64_t value)
{
    static const char pairs[] = "00010203040506070809101112131415161718192021222324"
                                "25262728293031323334353637383940414243444546474849"
                                "50515253545556575859606162636465666768697071727374"
                                "75767778798081828384858687888990919293949596979899";
    char digits[20]; /* -9223372036854775808 */
    char *p = digits + sizeof(digits);
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;

    for (; rest >= 100; rest /= 100) {
        p -= 2;
        memcpy(p, pairs + rest % 100 * 2, 2);
    }
    if (rest >= 10) {
        p -= 2;
        memcpy(p, pairs + rest * 2, 2);
    } else {
        *--p = (char)('0' + rest);
    }
    if (value < 0)
        *--p = '-';
    buf_append(buf, p, (size_t)(digits + sizeof(digits) - p));
}

/* One character that can't stand in a JSON string as it is. Returns the bytes it takes in
 * `text`. */
static size_t buf_append_json_char(struct buf *buf, struct span text)
{
    static const char hex[] = "0123456789abcdef";
    static const char shorts[] = "\bb\tt\nn\ff\rr\"\"\\\\"; /* byte, letter, byte, letter */
    unsigned char c = (unsigned char)text.data[0];
    size_t len;

    if (c >= 0x80) {
        len = utf8_char_len(text.data, text.len);
        buf_append(buf, len ? text.data : "\xEF\xBF\xBD", len ? len : 3);
        return len ? len : 1;
    }
    for (size_t i = 0; i + 1 < sizeof(shorts); i += 2) {
        if ((char)c == shorts[i]) {
            buf_append(buf, (const char[]){ '\\', shorts[i + 1] }, 2);
            return 1;
        }
    }
    buf_append(buf, (const char[]){ '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] }, 6);
    return 1;
}

void buf_append_json(struct buf *buf, struct span text)
{
    size_t at = 0, plain = 0;

    buf_append_char(buf, '"');
    while (at < text.len) {
        unsigned char c = (unsigned char)text.data[at];

        if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\') {
            at++;
            continue;
        }
        buf_append(buf, text.data + plain, at - plain);
        at += buf_append_json_char(buf, (struct span){ text.data + at, text.len - at });
        plain = at;
    }
    buf_append(buf, at ? text.data + plain : "", at - plain);
    buf_append_char(buf, '"');
}

void buf_append_be16(struct buf *buf, uint16_t value)
{
    uint16_t wire = htobe16(value);

    buf_append(buf, &wire, sizeof(wire));
}

void buf_append_be32(struct buf *buf, uint32_t value)
{
    uint32_t wire = htobe32(value);

    buf_append(buf, &wire, sizeof(wire));
}

void buf_append_be64(struct buf *buf, uint64_t value)
{
    uint64_t wire = htobe64(value);

    buf_append(buf, &wire, sizeof(wire));
}

const char *buf_text(struct buf *buf)
{
    if (buf->cap <= buf->len)
        buf_grow(buf, buf->len + 1);
    buf->data[buf->len] = '\0';
    return buf->data;
}

struct span buf_span(const struct buf *buf)
{
    return (struct span){ buf->data ? buf->data : "", buf->len };
}
