/* Which time ranges have their partitions, and before what time they are dropped: a cache of the
 * tables time_partition and retention_horizon, one a daemon, shared by its committers. Any thread;
 * the connections belong to their callers. */
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
 * *made is false when partitions_max or the horizon stands in the way; the latter is known
 * afterwards. ERR_RETRY: the server is away or the lock was not to be had. */
int partitions_ensure(struct partitions *partitions, PGconn *conn, enum partition_family family,
                      int64_t from_ms, bool *made, struct err *err) MUST_CHECK;
/* Makes the partitions of the present and `partitions_ahead` more, of events and the ledger. */
int partitions_ensure_ahead(struct partitions *partitions, PGconn *conn, int64_t now_ms,
                            struct err *err) MUST_CHECK;
/* Reads the tables again: at start, and when Postgres says that a partition is missing. */
int partitions_refresh(struct partitions *partitions, PGconn *conn, struct err *err) MUST_CHECK;

/* The lower bounds of the newest event partitions that begin at or before until_ms, newest
 * first; how many there were room for. */
uint32_t partitions_newest(struct partitions *partitions, int64_t until_ms, int64_t *from_ms,
                           uint32_t max);
/* Whether a partition begins at from_ms, by what the cache knows. */
bool partitions_has(struct partitions *partitions, enum partition_family family, int64_t from_ms);
uint32_t partitions_len(struct partitions *partitions);

/* What lies before it is dropped or will be, and nothing is taken there; a bound of partitions.
 * INT64_MIN: everything is kept. It never moves back. */
int64_t partitions_horizon(struct partitions *partitions, enum partition_family family);
/* Somebody saw the horizon there. */
void partitions_horizon_raise(struct partitions *partitions, enum partition_family family,
                              int64_t horizon_ms);
/* As the tables spell it. Static. */
const char *partitions_family_name(enum partition_family family);

#endif
