#include "lines_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

enum { LINES_READ_BYTES = 65536 };

void lines_init(struct lines *lines, int fd, size_t bytes_max)
{
    *lines = (struct lines){ .fd = fd, .bytes_max = bytes_max, .cap = 2 * LINES_READ_BYTES };
    lines->data = xmalloc(lines->cap);
}

void lines_done(struct lines *lines)
{
    free(lines->data);
    *lines = (struct lines){ .fd = -1 };
}

/* Reads some more behind what is there, which moves to the front. */
static int lines_fill(struct lines *lines, struct err *err)
{
    ssize_t len;

    if (lines->begin > 0)
        memmove(lines->data, lines->data + lines->begin, lines->end - lines->begin);
    lines->end -= lines->begin;
    lines->begin = 0;
    if (lines->cap - lines->end < LINES_READ_BYTES) {
        lines->cap *= 2;
        lines->data = xrealloc(lines->data, lines->cap);
    }
    do {
        len = read(lines->fd, lines->data + lines->end, lines->cap - lines->end);
    } while (len < 0 && errno == EINTR);
    if (len < 0)
        return err_set(err, ERR_FATAL, "%s", strerror(errno));
    lines->eof = len == 0;
    lines->end += (size_t)len;
    return 0;
}

int lines_next(struct lines *lines, struct span *line, bool *too_long, struct err *err)
{
    size_t seen = 0; /* bytes behind begin that hold no line feed */

    *too_long = false;
    for (;;) {
        const char *from = lines->data + lines->begin;
        size_t have = lines->end - lines->begin;
        const char *feed = have > seen ? memchr(from + seen, '\n', have - seen) : NULL;
        size_t len = feed ? (size_t)(feed - from) : have;

        if (len > lines->bytes_max)
            *too_long = true;
        if (feed || (lines->eof && (have > 0 || *too_long))) {
            *line = (struct span){ from, *too_long ? 0 : len };
            lines->begin += feed ? len + 1 : len;
            lines->number++;
            return 1;
        }
        if (lines->eof)
            return 0;
        seen = have;
        if (*too_long) {
            lines->begin = lines->end;
            seen = 0;
        }
        if (lines_fill(lines, err) < 0)
            return -1;
    }
}
