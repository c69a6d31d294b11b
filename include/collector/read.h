/* Reading metrics back: rows in order of insertion, streamed from Postgres, one snapshot an answer.
 *
 * A read belongs to one thread and has a connection of its own. Memory does not grow with the
 * result. */
#ifndef COLLECTOR_READ_H
#define COLLECTOR_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/uuid.h"
#include "metrics/row.h"

struct strings { /* a growing list of owned texts */
    char **items;
    size_t len;
};

/* What to read. Filters of different kinds narrow together, values of one filter widen. */
struct read_query {
    struct strings deployment_crns;
    struct strings build_crns;
    struct strings model_crns;
    const struct strings *crn_prefixes; /* borrowed; only deployments that begin so; NULL: all */
    struct uuid *uuids;                 /* owned */
    size_t uuids_len;
    int64_t start_ms; /* both inclusive; INT64_MIN and INT64_MAX: no bound */
    int64_t end_ms;
    bool predictions; /* kinds wanted */
    bool aggregates;
    struct strings keys; /* only these top-level metrics; empty: all */
    int64_t limit; /* 0: no limit, everything committed; else a page up to the settled batch */
    char *cursor;  /* owned, NULL: from the start; as an earlier page gave it */
};

void read_query_init(struct read_query *query); /* everything, both kinds */
void read_query_done(struct read_query *query);
void strings_add(struct strings *strings, struct span text);
void strings_done(struct strings *strings);

struct read;
struct store_pool;

/* Connects; the first call after it takes the snapshot. `query` is borrowed until read_free.
 * ERR_INPUT: the cursor is not one, or belongs to another query. ERR_RETRY: the server is away or
 * busy. */
struct read *read_open(struct store_pool *pool, const struct read_query *query,
                       struct err *err) MUST_CHECK;
void read_free(struct read *read); /* cancels what is still running */
AUTO_DEFINE(struct read, read_free);

/* *before_ms: the query's span begins where rows are dropped, before this time there are none any
 * more; 0: it does not. Takes the snapshot if no row was read yet. */
int read_truncated_before(struct read *read, int64_t *before_ms, struct err *err) MUST_CHECK;
/* 1: a row, borrowed until the next call. 0: the end (of the page). -1: the server failed. */
int read_next(struct read *read, struct row *row, struct err *err) MUST_CHECK;
/* After the end of a page: the cursor of the next one, borrowed; NULL when there is no more. */
const char *read_next_cursor(const struct read *read);
/* Before the first read_next: the same as read_next_cursor will say, found by a query over the
 * index alone; for formats that have to say it in a header. */
int read_peek_cursor(struct read *read, const char **cursor, struct err *err) MUST_CHECK;
/* Starts the query once more in the same snapshot, for a second pass over the same rows. */
int read_rewind(struct read *read, struct err *err) MUST_CHECK;
/* From another thread: makes a blocked read_next return -1 soon. */
void read_cancel(struct read *read);

#endif
