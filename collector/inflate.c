#include "collector/inflate.h"

#include <limits.h>
#include <stdbool.h>

#define ZLIB_CONST /* next_in points to const bytes */
#include <zlib.h>

enum {
    INFLATE_WINDOW_BITS = 15 + 16, /* the largest window, gzip framing only */
    INFLATE_STEP_BYTES_MIN = 1024,
};

static enum inflate_result inflate_from_body(enum body_result result)
{
    return result == BODY_TOO_LARGE ? INFLATE_TOO_LARGE : INFLATE_NO_MEMORY;
}

/* Room to write into: more than one byte may be missing when `out` is at its maximum; then a single
 * spare byte on the stack tells whether the text ends here or is too large. */
static enum inflate_result inflate_room(struct body *out, z_stream *stream, Bytef *spare)
{
    size_t left = out->max - out->len;
    enum body_result result;

    if (left == 0) {
        stream->next_out = spare;
        stream->avail_out = 1;
        return INFLATE_OK;
    }
    result = body_reserve(out, left < INFLATE_STEP_BYTES_MIN ? left : INFLATE_STEP_BYTES_MIN, 0);
    if (result != BODY_OK)
        return inflate_from_body(result);
    left = out->cap - out->len;
    stream->next_out = (Bytef *)out->data + out->len;
    stream->avail_out = left > UINT_MAX ? UINT_MAX : (uInt)left;
    return INFLATE_OK;
}

static enum inflate_result inflate_broken(const z_stream *stream, int rc, size_t offset,
                                          struct err *err)
{
    if (rc == Z_BUF_ERROR)
        (void)err_set(err, ERR_INPUT, "gzip stream is cut short after %zu bytes", offset);
    else
        (void)err_set(err, ERR_INPUT, "gzip stream is broken near byte %zu: %s", offset,
                      stream->msg ? stream->msg : "needs a dictionary");
    return INFLATE_BROKEN;
}

/* One member after the other (RFC 1952 2.2), until the input ends with one. */
static enum inflate_result inflate_members(z_stream *stream, const struct body *in,
                                           struct body *out, struct err *err)
{
    Bytef spare;

    for (;;) {
        enum inflate_result result = inflate_room(out, stream, &spare);
        uInt room = stream->avail_out;
        int rc;

        if (result != INFLATE_OK)
            return result;
        rc = inflate(stream, Z_NO_FLUSH);
        if (out->len == out->max && stream->avail_out < room)
            return INFLATE_TOO_LARGE;
        out->len += room - stream->avail_out;
        if (rc == Z_STREAM_END) {
            if (stream->avail_in == 0)
                return INFLATE_OK;
            if (*stream->next_in != 0x1f) {
                (void)err_set(err, ERR_INPUT, "bytes behind the end of the gzip stream at byte %zu",
                              in->len - stream->avail_in);
                return INFLATE_BROKEN;
            }
            (void)inflateReset(stream);
        } else if (rc != Z_OK || (stream->avail_in == 0 && stream->avail_out > 0)) {
            return inflate_broken(stream, rc == Z_OK ? Z_BUF_ERROR : rc, in->len - stream->avail_in,
                                  err);
        }
    }
}

enum inflate_result inflate_body(const struct body *in, struct body *out, struct err *err)
{
    z_stream stream = { .next_in = (const Bytef *)in->data, .avail_in = (uInt)in->len };
    enum inflate_result result;

    if (in->len == 0) {
        (void)err_set(err, ERR_INPUT, "gzip stream is empty");
        return INFLATE_BROKEN;
    }
    if (inflateInit2(&stream, INFLATE_WINDOW_BITS) != Z_OK)
        return INFLATE_NO_MEMORY;
    result = inflate_members(&stream, in, out, err);
    (void)inflateEnd(&stream);
    return result;
}
