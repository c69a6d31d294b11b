/* What a batch adds to the rollups: a packed delta for each minute of each deployment, counted from
 * exactly the rows that the batch writes, and written in its transaction. */
#ifndef COLLECTOR_STORE_DELTA_INTERNAL_H
#define COLLECTOR_STORE_DELTA_INTERNAL_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"
#include "collector/metric_names.h"
#include "metrics/leaf.h"
#include "metrics/rollup.h"

struct attempt;
struct batch_row;
struct stats;

struct delta {
    int32_t deployment;
    int64_t window_ms; /* of the minute */
    bool is_recount;   /* the minute is to be counted anew; no bytes */
    size_t offset;     /* in deltas.bytes */
    size_t len;
};

struct deltas {
    struct delta *items; /* owned; ascending by (deployment, window_ms) */
    size_t len;
    size_t cap;
    struct buf bytes;
};

void deltas_init(struct deltas *deltas);
void deltas_done(struct deltas *deltas);
void deltas_clear(struct deltas *deltas);
/* What was written behind `offset` of deltas->bytes is the new delta's. */
void deltas_add(struct deltas *deltas, int32_t deployment, int64_t window_ms, size_t offset);
void deltas_add_recount(struct deltas *deltas, int32_t deployment, int64_t window_ms);
struct span deltas_bytes(const struct deltas *deltas, const struct delta *delta);

/* Adds an encoded rollup; `scratch` is any other one. -1: not a rollup. */
int rollup_merge_bytes(struct rollup *rollup, struct rollup *scratch, struct span bytes) MUST_CHECK;

/* Counts metrics into a group: names to numbers, values to their kind. One a connection. */
struct metric_counter {
    struct metric_names *names;
    struct rollup_group *group;
    struct leaf_walk walk;
    struct buf missing; /* names that the cache does not know: deployment, kind, length, bytes */
    uint32_t missing_len;
    uint64_t skipped; /* values that are not rolled up: lists, names too long, no room for a name */
};

void metric_counter_init(struct metric_counter *counter);
void metric_counter_done(struct metric_counter *counter);
/* A prediction's or an aggregate's row, with the labels merged into `metrics` or without any. */
void metric_counter_add_prediction(struct metric_counter *counter, int32_t deployment,
                                   struct span metrics, bool failed, int64_t latency_ms);
void metric_counter_add_aggregate(struct metric_counter *counter, int32_t deployment,
                                  struct span metrics);
/* The values of a label alone. */
void metric_counter_add_label(struct metric_counter *counter, int32_t deployment,
                              struct span metrics);
/* Between batches: forgets the names when there are too many. */
void metric_counter_trim(struct metric_counter *counter);
/* Has the missing names admitted or refused, in a transaction of its own, unless none is
 * missing. */
int metric_counter_ask(struct metric_counter *counter, PGconn *conn, int64_t names_max,
                       struct err *err) MUST_CHECK;

/* Learns all names of the deployment, and that there are no others, unless they are known: nothing
 * of it is missing afterwards. Forgets the names of others when there are too many. */
int metric_counter_load(struct metric_counter *counter, PGconn *conn, int32_t deployment,
                        struct err *err) MUST_CHECK;

/* Counts the predictions and aggregates that the attempt writes into store->row_deltas; afterwards
 * names may be missing. */
void delta_count_rows(struct attempt *attempt);
/* Likewise the labels whose prediction was found, into store->label_deltas. */
void delta_count_labels(struct attempt *attempt);
#define DELTA_COPY_SQL                                                                             \
    "COPY rollup_delta (batch_id, deployment, window_at, recount, delta)"                          \
    " FROM STDIN (FORMAT binary)"
/* The rows of a COPY that is under way. */
int delta_send(struct attempt *attempt, const struct deltas *deltas) MUST_CHECK;
/* Writes both. */
int delta_write(struct attempt *attempt) MUST_CHECK;

#endif
