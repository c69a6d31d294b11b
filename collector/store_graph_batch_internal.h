/* A transaction that changes the graph: its lock, its number, its end. Whoever changes the graph
 * begins with the lock, so that batches have the order of their numbers. */
#ifndef COLLECTOR_STORE_GRAPH_BATCH_INTERNAL_H
#define COLLECTOR_STORE_GRAPH_BATCH_INTERNAL_H

#include <libpq-fe.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "collector/store.h"

/* Begins the transaction and takes the GRAPH lock. ERR_RETRY when that takes longer than
 * wait_ms_max; 0: however long it takes. */
int graph_batch_lock(PGconn *conn, int64_t wait_ms_max, struct err *err) MUST_CHECK;
/* The number of a batch of its own, under the lock. */
int graph_batch_number(PGconn *conn, int64_t *batch_id, struct err *err) MUST_CHECK;
/* STORE_COMMITTED, STORE_NOT_STORED (err says why), or STORE_UNKNOWN: the connection broke, ask
 * graph_batch_settle on another one. */
enum store_result graph_batch_commit(PGconn *conn, struct err *err) MUST_CHECK;
/* Whether that batch is in. Waits for its transaction, and leaves one open, under the lock.
 * STORE_UNKNOWN: the server can't be asked, or that takes longer than wait_ms_max. */
enum store_result graph_batch_settle(PGconn *conn, int64_t batch_id, int64_t wait_ms_max,
                                     struct err *err) MUST_CHECK;

#endif
