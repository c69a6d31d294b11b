/* Which time ranges have their partitions: a cache of table time_partition, one a daemon, shared
 * by its committers. Any thread; the connections belong to their callers. */
#ifndef COLLECTOR_STORE_PARTITION_INTERNAL_H
#define COLLECTOR_STORE_PARTITION_INTERNAL_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "collector/config.h"

enum partition_family {
    PARTITION_EVENT, /* prediction, delayed_metric, aggregate_metric: by start_at */
    PARTITION_LEDGER,
    PARTITION_ROLLUP_1M, /* by window_at, as are the next two */
    PARTITION_ROLLUP_1H, /* 16 times as wide: as many rows, about */
    PARTITION_ROLLUP_1D, /* 104 times as wide */
    PARTITION_FAMILIES,
};

struct partitions;

struct partitions *partitions_new(const struct config *config); /* borrows config */
void partitions_free(struct partitions *partitions);
AUTO_DEFINE(struct partitions, partitions_free);

/* The lower bound of the partition that an instant falls in. Milliseconds since 1970. */
int64_t partitions_floor(const struct partitions *partitions, enum partition_family family,
                         int64_t ms);
int64_t partitions_width_ms(const struct partitions *partitions, enum partition_family family);

/* Makes the partition that begins at from_ms unless it is there, in a transaction of its own.
 * *made is false when partitions_max stands in the way. ERR_RETRY: the server is away or the
 * lock was not to be had. */
int partitions_ensure(struct partitions *partitions, PGconn *conn, enum partition_family family,
                      int64_t from_ms, bool *made, struct err *err) MUST_CHECK;
/* Makes the partitions of the present and `partitions_ahead` more, of events and the ledger. */
int partitions_ensure_ahead(struct partitions *partitions, PGconn *conn, int64_t now_ms,
                            struct err *err) MUST_CHECK;
/* Reads the table again: at start, and when Postgres says that a partition is missing. */
int partitions_refresh(struct partitions *partitions, PGconn *conn, struct err *err) MUST_CHECK;

/* The lower bounds of the newest event partitions that begin at or before until_ms, newest
 * first; how many there were room for. */
uint32_t partitions_newest(struct partitions *partitions, int64_t until_ms, int64_t *from_ms,
                           uint32_t max);
/* Whether a partition begins at from_ms, by what the cache knows. */
bool partitions_has(struct partitions *partitions, enum partition_family family, int64_t from_ms);
uint32_t partitions_len(struct partitions *partitions);

#endif
