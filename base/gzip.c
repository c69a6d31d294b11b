#include "base/gzip.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#define ZLIB_CONST /* next_in points to const bytes */
#include <zlib.h>

#include "base/mem.h"

enum {
    GZIP_WINDOW_BITS = 15 + 16, /* the largest window, gzip framing only */
    GZIP_MEMORY_LEVEL = 8,      /* zlib's default */
    GZIP_STEP_BYTES_MIN = 4096,
};

static void *gzip_alloc(void *opaque UNUSED, uInt count, uInt bytes)
{
    return xcalloc(count, bytes);
}

static void gzip_free(void *opaque UNUSED, void *p)
{
    free(p);
}

static z_stream gzip_stream(struct span bytes)
{
    assert(bytes.len <= UINT_MAX);
    return (z_stream){ .next_in = (const Bytef *)bytes.data,
                       .avail_in = (uInt)bytes.len,
                       .zalloc = gzip_alloc,
                       .zfree = gzip_free };
}

/* Room behind what is there, for at least one byte unless the buffer is at its maximum. */
static void gzip_room(z_stream *stream, struct buf *out)
{
    size_t left = out->max - out->len;

    (void)buf_reserve(out, left < GZIP_STEP_BYTES_MIN ? left : GZIP_STEP_BYTES_MIN);
    left = out->cap - out->len;
    if (left > out->max - out->len)
        left = out->max - out->len;
    stream->next_out = (Bytef *)out->data + out->len;
    stream->avail_out = left > UINT_MAX ? UINT_MAX : (uInt)left;
}

void gzip_deflate(struct span bytes, struct buf *out)
{
    z_stream stream = gzip_stream(bytes);
    size_t before = out->len;
    int rc;

    if (out->full)
        return;
    rc = deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW_BITS,
                      GZIP_MEMORY_LEVEL, Z_DEFAULT_STRATEGY);
    assert(rc == Z_OK); /* its memory can't fail, its arguments are right */
    do {
        uInt room;

        if (out->len == out->max) {
            out->full = true;
            break;
        }
        gzip_room(&stream, out);
        room = stream.avail_out;
        rc = deflate(&stream, Z_FINISH);
        out->len += room - stream.avail_out;
    } while (rc != Z_STREAM_END);
    if (out->full)
        out->len = before;
    (void)deflateEnd(&stream);
}

static int gzip_broken(const z_stream *stream, int rc, size_t offset, struct err *err)
{
    if (rc == Z_OK || rc == Z_BUF_ERROR)
        return err_set(err, ERR_INPUT, "gzip stream is cut short after %zu bytes", offset);
    return err_set(err, ERR_INPUT, "gzip stream is broken near byte %zu: %s", offset,
                   stream->msg ? stream->msg : "needs a dictionary");
}

/* One member after the other (RFC 1952 2.2), until the input ends with one. */
static int gzip_members(z_stream *stream, size_t len, struct buf *out, struct err *err)
{
    for (;;) {
        bool is_at_max = out->len == out->max;
        Bytef spare; /* where a byte too much shows itself */
        uInt room;
        int rc;

        if (is_at_max) {
            stream->next_out = &spare;
            stream->avail_out = 1;
        } else {
            gzip_room(stream, out);
        }
        room = stream->avail_out;
        rc = inflate(stream, Z_NO_FLUSH);
        if (is_at_max && stream->avail_out < room) {
            out->full = true;
            return 0;
        }
        out->len += room - stream->avail_out;
        if (rc == Z_STREAM_END) {
            if (stream->avail_in == 0)
                return 0;
            if (*stream->next_in != 0x1f)
                return err_set(err, ERR_INPUT,
                               "bytes behind the end of the gzip stream at byte %zu",
                               len - stream->avail_in);
            (void)inflateReset(stream);
        } else if (rc != Z_OK || (stream->avail_in == 0 && stream->avail_out > 0)) {
            return gzip_broken(stream, rc, len - stream->avail_in, err);
        }
    }
}

int gzip_inflate(struct span bytes, struct buf *out, struct err *err)
{
    z_stream stream = gzip_stream(bytes);
    int rc;

    if (out->full)
        return 0;
    if (bytes.len == 0)
        return err_set(err, ERR_INPUT, "gzip stream is empty");
    rc = inflateInit2(&stream, GZIP_WINDOW_BITS);
    assert(rc == Z_OK);
    rc = gzip_members(&stream, bytes.len, out, err);
    (void)inflateEnd(&stream);
    return rc;
}
