/* The lines of a file, one at a time, in memory that is bounded by the longest line allowed. */
#ifndef COLLECTOR_LINES_INTERNAL_H
#define COLLECTOR_LINES_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/span.h"

struct lines {
    int fd;     /* borrowed */
    char *data; /* owned: read, from `begin` to `end` not yet given out */
    size_t begin;
    size_t end;
    size_t cap;
    size_t bytes_max;
    uint64_t number; /* of the line given out last, from 1 */
    bool eof;
};

void lines_init(struct lines *lines, int fd, size_t bytes_max);
void lines_done(struct lines *lines);

/* 1: a line without its line feed, borrowed until the next call; the last one needs no line feed.
 * *too_long: it has more than bytes_max bytes, they were skipped and *line is empty. 0: the end.
 * -1: it can't be read (ERR_FATAL). */
int lines_next(struct lines *lines, struct span *line, bool *too_long, struct err *err) MUST_CHECK;

#endif
