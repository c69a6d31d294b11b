/* A question that needs the database: runs in a thread of its own, and its answer goes through a
 * bounded pipe to whoever asked.
 *
 * The function that answers writes into `out`. As long as it fits it just returns; what is large is
 * sent on the way with query_flush, after which nothing but more of the same can follow. */
#ifndef COLLECTOR_QUERY_H
#define COLLECTOR_QUERY_H

#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"
#include "collector/config.h"
#include "collector/fault.h"
#include "collector/media.h"
#include "collector/parameter.h"
#include "collector/stats.h"

/* `out` holds at most so much: one row, or one answer that is not flushed. */
enum { QUERY_OUT_BYTES_MAX = 16 * 1024 * 1024 };
/* What is worth a flush once the first row has left. */
enum { QUERY_FLUSH_BYTES = 32 * 1024 };

struct key;
struct query_sender; /* in http_query.c */
struct spool;
struct tag_cache;
struct type_cache;
struct type_registry;

/* For those that answer to several; GET is HEAD as well. */
enum query_method { QUERY_GET = 1, QUERY_POST = 2, QUERY_PUT = 4, QUERY_DELETE = 8 };

struct query {
    const struct config *config; /* borrowed, as is all but what is marked */
    struct stats *stats;
    struct type_cache *type_cache;
    struct tag_cache *tag_cache;
    struct spool *spool;          /* NULL: none */
    struct type_registry *types;  /* owned reference; those of the time of the question */
    struct span argument;         /* of the path, decoded: the {crn} */
    struct parameters parameters; /* of the URL, those that the route accepts */
    struct span body;             /* of all but a GET */
    enum query_method method;
    char *user; /* owned; whose key it is; with keys off who asks, by their word; NULL: unknown */
    struct key *key;        /* a reference; NULL: keys are off */
    enum media_type accept; /* what the client wants rows as */

    /* Set by the answering function before its first flush. */
    const char *content_type;    /* static; application/json unless changed */
    char *next_cursor;           /* owned; becomes the header Plumbline-Next-Cursor */
    int64_t truncated_before_ms; /* likewise Plumbline-Truncated-Before-Ms; 0: none */

    struct fault fault; /* what to answer when the function returns -1 without having flushed */
    bool is_unknown;    /* the same, but nobody knows what was done: the connection is closed */
    struct query_sender *sender;
};

struct store_pool;

/* Answers `query`. 0: `out` (what is left of it) is the answer, with *status (200 unless changed)
 * if nothing was flushed. -1: query->fault is the answer if it was set, else err: ERR_INPUT is 400
 * invalid_query, ERR_RETRY 503, ERR_FATAL 500; after a flush the connection is closed, so that the
 * client sees a broken transfer. */
typedef int query_run(struct store_pool *pool, struct query *query, struct buf *out,
                      unsigned *status, struct err *err);

/* Sends what is in `out` and empties it; waits while the client is slow. -1: the client is gone or
 * was dropped: give up. */
int query_flush(struct query *query, struct buf *out, struct err *err) MUST_CHECK;
/* What the answering function needs besides `out`, from the budget until it has returned. -1: the
 * fault is set. */
int query_reserve(struct query *query, size_t bytes) MUST_CHECK;
/* Before a change of the graph: such changes wait for each other, and may be half of all that is
 * under way. -1: the fault is set. */
int query_begin_write(struct query *query) MUST_CHECK;
/* While set, fn(ctx) is called once from another thread when the client is gone or the daemon
 * stops; if that has happened already, at once. Set NULL before ctx is freed: when that returns, fn
 * does not run. */
void query_cancel_set(struct query *query, void (*fn)(void *ctx), void *ctx);

#endif
