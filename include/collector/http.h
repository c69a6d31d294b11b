/* The HTTP server: everything between the socket and the ingest queue, and between a reader of
 * metrics and the socket.
 *
 * An event's way: http.c (callbacks) -> http_request.c (body) -> http_route.c (which handler) ->
 * http_ingest.c (decode, queue_push) -> committer -> http_ingest.c (answer). */
#ifndef COLLECTOR_HTTP_H
#define COLLECTOR_HTTP_H

#include <stdbool.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/err.h"
#include "collector/budget.h"
#include "collector/config.h"
#include "collector/queue.h"
#include "collector/stats.h"

struct spool;
struct store_pool;
struct type_cache;

/* All borrowed until http_stop has returned. */
struct http_setup {
    const struct config *config;
    struct budget *budget;
    struct stats *stats;
    struct queue *queue;       /* metrics */
    struct queue *graph_queue; /* submissions that hold a lineage event */
    struct store_pool *pool;   /* for reads; a connection each */
    struct type_cache *types;
    struct spool *spool; /* NULL: none */
    /* Can events be committed? Writes the reason into `why` if not, or what else is amiss. Any
     * thread, never blocks. */
    bool (*ready)(void *ctx, struct buf *why);
    void *ready_ctx;
};

struct http;

/* Listens and serves. ERR_FATAL: the address can't be had; the text says what to do. */
struct http *http_start(const struct http_setup *setup, struct err *err) MUST_CHECK;
/* ADDR:PORT as bound. Borrowed. */
const char *http_address(const struct http *http);
/* Waits until every request that has begun is answered, at most until deadline_mono_ms. From here
 * on new requests, on new connections too, get 503. */
void http_drain(struct http *http, int64_t deadline_mono_ms);
/* Ends reads, waits until the committer has answered every submission it holds (it must go on until
 * then), closes all connections and frees. Accepts NULL. */
void http_stop(struct http *http);
AUTO_DEFINE(struct http, http_stop);

#endif
