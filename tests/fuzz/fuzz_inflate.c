/* Fuzzing Content-Encoding: gzip beside zlib's own loop. The first byte chooses: the bytes as they
 * came; as a deflate stream that gets a right head and tail, which chance does not find; as a text
 * that is packed in members and must come back. The second one sets the limits. */
#include <stdlib.h>
#include <string.h>

#define ZLIB_CONST
#include <zlib.h>

#include "base/mem.h"
#include "collector/inflate.h"
#include "fuzz.h"

enum { TEXT_BYTES_MAX = 1 << 20, PACKED_BYTES_MAX = 1 << 20, WINDOW_BITS = 15 };

static void fuzz_expect(bool is_true)
{
    if (!is_true)
        abort();
}

/* What the members hold, TEXT_BYTES_MAX at most; -1: they are not sound, or hold more. */
static ssize_t fuzz_oracle(const uint8_t *data, size_t len, uint8_t *text)
{
    z_stream stream = {
        .next_in = data, .avail_in = (uInt)len, .next_out = text, .avail_out = TEXT_BYTES_MAX
    };
    int rc = Z_OK;

    if (len == 0)
        return -1;
    fuzz_expect(inflateInit2(&stream, WINDOW_BITS + 16) == Z_OK);
    while (rc == Z_OK) {
        rc = inflate(&stream, Z_NO_FLUSH);
        if (rc == Z_STREAM_END && stream.avail_in)
            rc = *stream.next_in == 0x1f ? inflateReset(&stream) : Z_DATA_ERROR;
    }
    (void)inflateEnd(&stream);
    return rc == Z_STREAM_END ? (ssize_t)(TEXT_BYTES_MAX - stream.avail_out) : -1;
}

/* `text` NULL: it is not sound. Whatever the limits, they hold and all memory is given back. */
static void fuzz_inflate(const uint8_t *packed, size_t len, const uint8_t *text, size_t text_len,
                         uint8_t limits)
{
    size_t max = limits % 2 ? TEXT_BYTES_MAX : (size_t)limits * limits;
    size_t memory = limits % 4 < 3 ? 4 * TEXT_BYTES_MAX : (size_t)limits * 1024;
    AUTO(budget_free) struct budget *budget = budget_new(memory);
    const struct body in = { .data = (char *)(uintptr_t)packed, .len = len };
    struct err err = { 0 };
    enum inflate_result result;
    struct body out;

    body_init(&out, budget, max);
    result = inflate_body(&in, &out, &err);
    fuzz_expect(out.len <= max && out.cap == budget_used(budget) && out.cap <= memory);
    fuzz_expect((result == INFLATE_BROKEN) == (*err.text != '\0'));
    if (result == INFLATE_OK)
        fuzz_expect(text && out.len == text_len && (!text_len || !memcmp(out.data, text, out.len)));
    if (result == INFLATE_BROKEN)
        fuzz_expect(!text);
    if (result == INFLATE_TOO_LARGE && text)
        fuzz_expect(text_len > max);
    if (result == INFLATE_NO_MEMORY)
        fuzz_expect(limits % 4 == 3);
    body_done(&out);
    fuzz_expect(budget_used(budget) == 0);
}

static void fuzz_as_it_came(const uint8_t *data, size_t len, uint8_t *text, uint8_t limits)
{
    ssize_t text_len = fuzz_oracle(data, len, text);

    fuzz_inflate(data, len, text_len < 0 ? NULL : text, (size_t)text_len, limits);
}

/* head of ten bytes, deflate stream, CRC-32 and length of the text */
static void fuzz_as_deflate(const uint8_t *data, size_t len, uint8_t *text, uint8_t limits)
{
    static const uint8_t head[10] = { 0x1f, 0x8b, 8 };
    AUTO(mem_free) uint8_t *packed = xmalloc(sizeof(head) + len + 8);
    z_stream stream = {
        .next_in = data, .avail_in = (uInt)len, .next_out = text, .avail_out = TEXT_BYTES_MAX
    };
    size_t at = sizeof(head);
    uint32_t tail[2];
    int rc;

    fuzz_expect(inflateInit2(&stream, -WINDOW_BITS) == Z_OK);
    rc = inflate(&stream, Z_FINISH);
    (void)inflateEnd(&stream);
    if (rc != Z_STREAM_END)
        return;
    tail[1] = (uint32_t)(TEXT_BYTES_MAX - stream.avail_out);
    tail[0] = (uint32_t)crc32(0, text, tail[1]);
    memcpy(packed, head, sizeof(head));
    memcpy(packed + at, data, len - stream.avail_in);
    at += len - stream.avail_in;
    for (size_t i = 0; i < 8; i++)
        packed[at++] = (uint8_t)(tail[i / 4] >> 8 * (i % 4));
    fuzz_inflate(packed, at, text, tail[1], limits);
    fuzz_inflate(packed, at - 1, NULL, 0, limits);
}

/* Members of 1 + limits bytes each. */
static void fuzz_as_text(const uint8_t *data, size_t len, uint8_t limits)
{
    AUTO(mem_free) uint8_t *packed = xmalloc(PACKED_BYTES_MAX);
    size_t at = 0, step = 1 + (size_t)limits;

    for (size_t from = 0; from < len; from += step) {
        size_t part = len - from < step ? len - from : step;
        z_stream stream = { .next_in = data + from,
                            .avail_in = (uInt)part,
                            .next_out = packed + at,
                            .avail_out = (uInt)(PACKED_BYTES_MAX - at) };

        fuzz_expect(deflateInit2(&stream, 1, Z_DEFLATED, WINDOW_BITS + 16, 1, Z_FIXED) == Z_OK);
        fuzz_expect(deflate(&stream, Z_FINISH) == Z_STREAM_END);
        at += stream.total_out;
        (void)deflateEnd(&stream);
    }
    fuzz_inflate(packed, at, len ? data : NULL, len, limits);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(mem_free) uint8_t *text = NULL;

    if (size < 2 || size > 8192)
        return 0;
    text = xmalloc(TEXT_BYTES_MAX);
    switch (data[0] % 3) {
    case 0:
        fuzz_as_it_came(data + 2, size - 2, text, data[1]);
        break;
    case 1:
        fuzz_as_deflate(data + 2, size - 2, text, data[1]);
        break;
    default:
        fuzz_as_text(data + 2, size - 2, data[1]);
        break;
    }
    return 0;
}
