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

struct keyring;
struct spool;
struct store_pool;
struct tag_cache;
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
    struct tag_cache *tags;
    struct keyring *keyring; /* NULL: keys are not asked for */
    struct spool *spool;     /* NULL: none */
    /* Can events be committed? Writes the reason into `why` if not, or what else is amiss. Any
     * thread, never blocks. */
    bool (*ready)(void *ctx, struct buf *why);
    void *ready_ctx;
};

struct http;

/* The certificate, its key and the clients' authorities can be used; true without TLS. ERR_INPUT:
 * the text names the key of the configuration and the file. */
int http_tls_check(const struct config *config, struct err *err) MUST_CHECK;

/* What can be known to fail before anything is started: the limit of files is raised to what the
 * connections need, and http_tls_check. ERR_FATAL: so many files can't be had. */
int http_prepare(const struct config *config, struct err *err) MUST_CHECK;
/* Listens and serves. ERR_FATAL: the address can't be had; ERR_INPUT: what TLS needs can't be used.
 * The text says what to do. */
struct http *http_start(const struct http_setup *setup, struct err *err) MUST_CHECK;
/* ADDR:PORT as bound. Borrowed. */
const char *http_address(const struct http *http);
/* From now on new requests go by this configuration, which is borrowed until http_stop has
 * returned, and new connections get the certificate that is in its files now; those that are there
 * keep theirs. ERR_INPUT: a file can't be used, and everything stays as it was. What can't change
 * while the server runs (config_merge) must be as it was. One thread at a time. */
int http_reload(struct http *http, const struct config *config, struct err *err) MUST_CHECK;
/* Waits until every request that has begun is answered, at most until deadline_mono_ms; false: not
 * all are. From here on new requests, on new connections too, get 503. */
bool http_drain(struct http *http, int64_t deadline_mono_ms);
/* Ends reads, waits until the committer has answered every submission it holds (it must go on until
 * then), closes all connections and frees. Accepts NULL. */
void http_stop(struct http *http);
AUTO_DEFINE(struct http, http_stop);

#endif
