/* A byte buffer that grows up to a maximum given at its making. The first append that does not fit
 * sets `full` and changes nothing, and so does every later one: write what there is to write, then
 * ask once. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/span.h"

struct buf {
    char *data; /* NULL while nothing was reserved; no NUL behind the bytes unless buf_text() put it
                 */
    size_t len;
    size_t cap;
    size_t max;
    bool full; /* something did not fit: what is here is not the whole */
};

void buf_init(struct buf *buf, size_t bytes_max);
void buf_done(struct buf *buf);
/* Forgets the bytes and `full`, keeps the memory. */
void buf_clear(struct buf *buf);

/* Room for `len` bytes behind what is there, or NULL and `full`. Add to buf->len what you wrote. */
char *buf_reserve(struct buf *buf, size_t len);
void buf_append(struct buf *buf, const void *data, size_t len);
void buf_append_span(struct buf *buf, struct span span);
void buf_append_text(struct buf *buf, const char *text);
void buf_append_char(struct buf *buf, char c);
void buf_append_fmt(struct buf *buf, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Decimal digits of a number; what reading a million rows does most. */
void buf_append_i64(struct buf *buf, int64_t value);
/* A JSON string with its quotes: `"`, `\` and control characters escaped, the rest as it is. Bytes
 * that are not UTF-8 become U+FFFD, so that the answer is always JSON. */
void buf_append_json(struct buf *buf, struct span text);
/* Network order, as binary COPY wants it. */
void buf_append_be16(struct buf *buf, uint16_t value);
void buf_append_be32(struct buf *buf, uint32_t value);
void buf_append_be64(struct buf *buf, uint64_t value);
/* The bytes with a NUL behind them (not counted in len). Borrowed until the next change. */
const char *buf_text(struct buf *buf);
struct span buf_span(const struct buf *buf);

static inline void buf_done_auto(struct buf *buf) /* AUTO(buf_done) struct buf buf; */
{
    buf_done(buf);
}

#endif
