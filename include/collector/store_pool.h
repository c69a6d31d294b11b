/* Connections for reads. A new one costs more than most reads do (a backend, and all that it has to
 * learn about partitions), so a few are kept for the next reader. Any thread. */
#ifndef COLLECTOR_STORE_POOL_H
#define COLLECTOR_STORE_POOL_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "base/attr.h"
#include "base/err.h"

struct store_pool;

/* Copies `dsn`; connects to nobody yet. */
struct store_pool *store_pool_new(const char *dsn);
/* All connections must have been given back. Accepts NULL. */
void store_pool_free(struct store_pool *pool);
AUTO_DEFINE(struct store_pool, store_pool_free);

const char *store_pool_dsn(const struct store_pool *pool);
/* Outside a transaction; the caller's until store_pool_give. Errors are those of store_connect. */
PGconn *store_pool_take(struct store_pool *pool, struct err *err) MUST_CHECK;
/* Takes the connection. `is_clean`: nothing is under way on it, nor a cancellation on its way to
 * it; an open transaction is rolled back. Anything else, and what was lost, is closed. Accepts
 * NULL. */
void store_pool_give(struct store_pool *pool, PGconn *conn, bool is_clean);

#endif
