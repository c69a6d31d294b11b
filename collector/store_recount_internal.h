/* Counting minutes anew from raw rows: what a rollup must be equal to. Folding does it where
 * something was corrected, verify everywhere. */
#ifndef COLLECTOR_STORE_RECOUNT_INTERNAL_H
#define COLLECTOR_STORE_RECOUNT_INTERNAL_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "collector/store_delta_internal.h"

struct recount;

/* Begins to read the raw rows with from_ms <= start < to_ms, both whole minutes, of one deployment,
 * or of all (deployment 0), in the transaction that is open. Nothing else may use the connection
 * until recount_free. `counter` is borrowed; names that it does not know are not counted. */
struct recount *recount_begin(PGconn *conn, struct metric_counter *counter, int32_t deployment,
                              int64_t from_ms, int64_t to_ms, struct err *err) MUST_CHECK;
/* Of the minute that comes next; 0: there is none. */
int32_t recount_deployment(const struct recount *recount);
void recount_free(struct recount *recount);
AUTO_DEFINE(struct recount, recount_free);

/* 1: counter->group is the next minute that has rows, ascending by (deployment, minute). 0: no
 * more. */
int recount_next(struct recount *recount, int32_t *deployment, int64_t *window_ms,
                 struct err *err) MUST_CHECK;

#endif
