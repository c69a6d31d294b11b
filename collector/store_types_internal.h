/* Types that people define, in Postgres. */
#ifndef COLLECTOR_STORE_TYPES_INTERNAL_H
#define COLLECTOR_STORE_TYPES_INTERNAL_H

#include <libpq-fe.h>
#include <stdint.h>

#include "atlas/type_change.h"
#include "base/attr.h"
#include "base/err.h"
#include "collector/type_cache.h"

/* Reads the types anew if they are not those of the cache. In a transaction or not: under the graph
 * lock nothing newer can be there when it returns. */
int store_types_refresh(PGconn *conn, struct type_cache *cache, struct err *err) MUST_CHECK;

enum store_types_result {
    STORE_TYPES_DONE,
    STORE_TYPES_REFUSED, /* the fault says why; nothing is changed */
    STORE_TYPES_FAILED,  /* err says why; nothing is changed */
    STORE_TYPES_UNKNOWN, /* the connection broke during COMMIT: ask graph_batch_settle */
};

/* Makes, changes or deletes types, in a transaction of its own under the graph lock, for which it
 * waits no longer than wait_ms_max (then it has failed). *batch_id is
 * set with STORE_TYPES_UNKNOWN and, when something was changed, with STORE_TYPES_DONE. The cache
 * has them when it returns. */
enum store_types_result store_types_change(PGconn *conn, struct type_cache *cache,
                                           struct type_givens *givens, enum type_change_kind kind,
                                           int64_t wait_ms_max, struct type_change *change,
                                           int64_t *batch_id, struct type_fault *fault,
                                           struct err *err) MUST_CHECK;

#endif
