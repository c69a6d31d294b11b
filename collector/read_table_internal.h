/* `plumbline read --format table`: rows of NDJSON as lines for people, as they arrive. */
#ifndef COLLECTOR_READ_TABLE_INTERNAL_H
#define COLLECTOR_READ_TABLE_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"

struct read_table {
    FILE *out;          /* borrowed */
    size_t columns;     /* of the terminal; 0: lines are as long as they are */
    struct buf partial; /* a line whose end has not come yet */
    uint64_t rows;
};

void read_table_init(struct read_table *table, FILE *out, size_t columns);
void read_table_done(struct read_table *table);
/* Takes a piece of the answer, prints the lines that are complete. -1: a row that is none, or
 * longer than can be held (ERR_INPUT). Errors of `out` are for the caller to look at. */
int read_table_write(struct read_table *table, const char *data, size_t len,
                     struct err *err) MUST_CHECK;

/* Milliseconds since 1970 from a number of them or from 2020-07-31[T08:45[:25[.125]]][Z|+02:00];
 * without a zone it is UTC. A day, minute or second that is not divided further stands for its last
 * millisecond when `is_end`. */
int read_time_parse(const char *text, bool is_end, int64_t *ms, struct err *err) MUST_CHECK;

#endif
