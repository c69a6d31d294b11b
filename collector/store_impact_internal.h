/* What an entity has fed: the deployments downstream of it, what the graph knows of them and what
 * they have predicted. */
#ifndef COLLECTOR_STORE_IMPACT_INTERNAL_H
#define COLLECTOR_STORE_IMPACT_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/err.h"
#include "collector/store_atlas_internal.h"
#include "collector/store_internal.h"
#include "collector/store_tags_internal.h"
#include "metrics/cover.h"

/* ---- the graph: store_impact.c ---- */

/* A deployment that the walk has met. */
struct impact_place {
    int64_t entity_id;
    int32_t hops; /* of data sets */
};

/* By entity_id, which is the order in which Plumbline came to know them. */
struct impact_reach {
    struct impact_place *items; /* owned */
    size_t len;
};

/* Walks downstream from the entity without a limit, or, `is_direct`, only through builds that have
 * it as an input themselves. Takes memory for the widest step, and a bit for each entity. */
int impact_walk(const struct atlas_view *view, const struct entity *start, bool is_direct,
                struct impact_reach *reach, struct err *err) MUST_CHECK;
/* The same from all entities that are classified as one of these, as far as that passes; a
 * deployment that is classified itself is 0 hops away. *entities: how many are. ERR_INPUT: they
 * reach further than is looked at. */
int impact_walk_tags(const struct atlas_view *view, const struct type_list *kinds, bool is_direct,
                     struct impact_reach *reach, size_t *entities, struct err *err) MUST_CHECK;
void impact_reach_done(struct impact_reach *reach);
static inline void impact_reach_done_auto(struct impact_reach *reach)
{
    impact_reach_done(reach);
}

struct impact_interval {
    int64_t from_ms;
    int64_t to_ms; /* INT64_MAX: not over */
};

struct impact_row {
    struct impact_place place;
    char guid[UUID_TEXT_LEN + 1];
    char *crn; /* owned, as are all texts; "" while unknown */
    char *build_crn;
    char *model_crn;
    char *model_name;
    char *build_number; /* digits; NULL while unknown */
    char *status;
    bool is_deleted;
    struct impact_interval *in_service; /* owned; ascending, apart from each other */
    size_t in_service_len;

    int32_t deployment; /* 0: no metrics know it */
    int64_t predictions;
    int64_t last_ms; /* start of the last prediction; INT64_MIN: there is none */
};

struct impact_rows {
    struct impact_row *items; /* owned */
    size_t len;
};

void impact_rows_done(struct impact_rows *rows);
static inline void impact_rows_done_auto(struct impact_rows *rows) /* AUTO(impact_rows_done) */
{
    impact_rows_done(rows);
}
/* What the graph knows of these deployments, and when they were in service; in their order, without
 * those that are not entities of that moment. `name_space` is that of qualified names. */
int impact_read_rows(const struct atlas_view *view, const char *name_space,
                     const struct impact_place *places, size_t len, struct impact_rows *rows,
                     struct err *err) MUST_CHECK;

/* ---- the metrics: store_impact_metrics.c ---- */

/* What is counted. */
struct impact_scope {
    PGconn *conn; /* borrowed */
    bool has_rollups;
    int64_t from_ms; /* the span, without its end */
    int64_t to_ms;
    int64_t batch_id; /* predictions and aggregates up to this batch; ATLAS_NOW: all */

    /* As impact_scope_begin finds it. */
    int64_t truncated_before_ms; /* what of the span is gone, and taken from it; INT64_MIN: none */
    struct cover_horizons horizons;
};

/* The last batch of events that was recorded by the end of that millisecond; ATLAS_NOW for
 * ATLAS_NOW. Waits for batches of that time that are being committed; not in a transaction.
 * ERR_RETRY: the server is away, or that wait was too long. */
int impact_find_batch(PGconn *conn, int64_t as_of_ms, int64_t *batch_id,
                      struct err *err) MUST_CHECK;
/* Begins the transaction. */
int impact_scope_begin(struct impact_scope *scope, struct err *err) MUST_CHECK;
/* Predictions and the last of them, of every row. */
int impact_count(const struct impact_scope *scope, struct impact_rows *rows,
                 struct err *err) MUST_CHECK;
/* The last of all predictions of every row, of which only the deployment is looked at. In a
 * transaction of the caller's that neither sorts nor reads tables whole. */
int impact_find_last_of_all(PGconn *conn, bool has_rollups, struct impact_rows *rows,
                            struct err *err) MUST_CHECK;

/* The newest aggregates, row by row, as the server sends them: nothing else may use the connection
 * until impact_latest_done. */
struct impact_latest {
    PGconn *conn;      /* borrowed */
    PGresult *row;     /* owned; the aggregate that comes next, NULL behind the last one */
    struct map *names; /* of the row that is being written */
    struct buf name;
};

int impact_latest_open(struct impact_latest *latest, const struct impact_scope *scope,
                       const struct impact_rows *rows, struct err *err) MUST_CHECK;
/* Appends the members of "latest" for the row at this place, which is not before that of the call
 * before: `"NAME":{"value":...,"startTimestampMs":...,"endTimestampMs":...}`. */
int impact_latest_write(struct impact_latest *latest, size_t place, struct buf *out,
                        struct err *err) MUST_CHECK;
void impact_latest_done(struct impact_latest *latest);

#endif
