/* The rows of rejected_event, for the command that shows and replays them. */
#ifndef COLLECTOR_REJECTED_H
#define COLLECTOR_REJECTED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/span.h"

/* All texts are borrowed from whoever gives the row. */
struct rejected {
    int64_t id;
    const char *at; /* "2026-11-21T10:00:00Z" */
    const char *source;
    const char *origin; /* JSON */
    const char *place;  /* "topic/partition@offset", or "" */
    const char *code;
    const char *message;
    bool is_cut;       /* only the beginning of it was kept */
    struct span event; /* absent in a list */
};

struct rejects;

/* Connects. ERR_RETRY: the server is away. */
struct rejects *rejects_open(const char *dsn, struct err *err) MUST_CHECK;
void rejects_close(struct rejects *rejects);
AUTO_DEFINE(struct rejects, rejects_close);

/* Calls fn for `max` rows with an id over `after`, by id, until it returns -1. The last id given in
 * *last; that of `after` when there is none. */
int rejects_list(struct rejects *rejects, int64_t after, int64_t max,
                 int (*fn)(void *ctx, const struct rejected *row), void *ctx, int64_t *last,
                 struct err *err) MUST_CHECK;
/* One row, borrowed until the next call. ERR_INPUT: there is none. */
int rejects_read(struct rejects *rejects, int64_t id, struct rejected *row,
                 struct err *err) MUST_CHECK;
/* `actor` is who stands in the audit. */
int rejects_remove(struct rejects *rejects, int64_t id, const char *actor,
                   struct err *err) MUST_CHECK;

#endif
