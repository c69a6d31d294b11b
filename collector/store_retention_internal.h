/* Retention, a part of the maintenance round. */
#ifndef COLLECTOR_STORE_RETENTION_INTERNAL_H
#define COLLECTOR_STORE_RETENTION_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"

struct store;

/* Drops what has expired, gives up labels that waited too long, moves the horizons. The store is
 * connected, its partitions refreshed. ERR_RETRY: the server is away. */
int retention_round(struct store *store, int64_t now_ms, bool *more, struct err *err) MUST_CHECK;

#endif
