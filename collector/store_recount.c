#include "collector/store_recount_internal.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "collector/store_internal.h"
#include "metrics/row.h"
#include "metrics/window.h"

enum column {
    COLUMN_DEPLOYMENT,
    COLUMN_WINDOW,
    COLUMN_KIND,
    COLUMN_FAILED,
    COLUMN_LATENCY,
    COLUMN_METRICS
};
enum kind { KIND_PREDICTION = 0, KIND_LABEL = 1, KIND_AGGREGATE = 2 };

struct recount {
    PGconn *conn; /* borrowed */
    struct metric_counter *counter;
    PGresult *row; /* read ahead: the first of the next minute; NULL: the end */
    struct buf prediction, labels, merged;
    struct span *spans;
    size_t *ends; /* of each label in `labels` */
    size_t labels_len, labels_cap;
};

/* Labels stand behind their prediction. */
static void recount_write_sql(struct buf *sql, int32_t deployment, int64_t from_ms, int64_t to_ms)
{
    char from[CLOCK_TEXT_BYTES], to[CLOCK_TEXT_BYTES], only[64] = "";

    clock_format(from_ms, from);
    clock_format(to_ms, to);
    if (deployment)
        (void)snprintf(only, sizeof(only), " AND m.deployment = %" PRId32, deployment);
    buf_append_fmt(
        sql,
        "SELECT deployment::bigint, (extract(epoch FROM date_trunc('minute', start_at)) * "
        "1000)::bigint,"
        " kind::bigint, failed, latency_ms, metrics::text FROM ("
        "SELECT m.deployment, m.start_at, m.uuid, v.kind, v.revision, m.failed,"
        " ((extract(epoch FROM m.end_at) - extract(epoch FROM m.start_at)) * 1000)::bigint AS "
        "latency_ms,"
        " v.metrics FROM prediction AS m CROSS JOIN LATERAL"
        " (SELECT %d AS kind, -1 AS revision, m.metrics UNION ALL"
        " SELECT %d, l.revision, l.metrics FROM delayed_metric AS l WHERE l.uuid = m.uuid"
        " AND l.deployment = m.deployment AND l.start_at = m.start_at"
        " AND l.start_at >= timestamptz '%s' AND l.start_at < timestamptz '%s') AS v"
        " WHERE m.start_at >= timestamptz '%s' AND m.start_at < timestamptz '%s'%s"
        " UNION ALL SELECT m.deployment, m.start_at, NULL, %d, 0, false, 0, m.metrics"
        " FROM aggregate_metric AS m"
        " WHERE m.start_at >= timestamptz '%s' AND m.start_at < timestamptz '%s'%s"
        ") AS raw ORDER BY deployment, date_trunc('minute', start_at), start_at, uuid, kind, "
        "revision",
        KIND_PREDICTION, KIND_LABEL, from, to, from, to, only, KIND_AGGREGATE, from, to, only);
}

static int recount_advance(struct recount *recount, struct err *err)
{
    PQclear(recount->row);
    recount->row = PQgetResult(recount->conn);
    if (PQresultStatus(recount->row) == PGRES_SINGLE_TUPLE)
        return 1;
    if (PQresultStatus(recount->row) != PGRES_TUPLES_OK) {
        (void)store_fail(recount->conn, recount->row, "recount", err);
        err->kind = ERR_RETRY;
        return -1;
    }
    PQclear(recount->row);
    recount->row = NULL;
    return 0;
}

struct recount *recount_begin(PGconn *conn, struct metric_counter *counter, int32_t deployment,
                              int64_t from_ms, int64_t to_ms, struct err *err)
{
    AUTO(recount_free) struct recount *recount = xcalloc(1, sizeof(*recount));
    AUTO(buf_done) struct buf sql;

    recount->conn = conn;
    recount->counter = counter;
    buf_init(&recount->prediction, SIZE_MAX);
    buf_init(&recount->labels, SIZE_MAX);
    buf_init(&recount->merged, SIZE_MAX);
    buf_init(&sql, SIZE_MAX);
    recount_write_sql(&sql, deployment, from_ms, to_ms);
    if (PQsendQueryParams(conn, buf_text(&sql), 0, NULL, NULL, NULL, NULL, 1) != 1 ||
        PQsetSingleRowMode(conn) != 1) {
        (void)store_fail(conn, NULL, "recount", err);
        return NULL;
    }
    return recount_advance(recount, err) < 0 ? NULL : TAKE(recount);
}

void recount_free(struct recount *recount)
{
    PGresult *rest;

    if (!recount)
        return;
    PQclear(recount->row);
    while ((rest = PQgetResult(recount->conn)))
        PQclear(rest);
    buf_done(&recount->prediction);
    buf_done(&recount->labels);
    buf_done(&recount->merged);
    free(recount->spans);
    free(recount->ends);
    free(recount);
}

static int recount_take_labels(struct recount *recount, struct err *err)
{
    int rc;

    recount->labels_len = 0;
    buf_clear(&recount->labels);
    while ((rc = recount_advance(recount, err)) > 0 &&
           store_get_i64(recount->row, 0, COLUMN_KIND) == KIND_LABEL) {
        if (recount->labels_len == recount->labels_cap) {
            recount->labels_cap = recount->labels_cap ? 2 * recount->labels_cap : 8;
            recount->ends =
                xreallocarray(recount->ends, recount->labels_cap, sizeof(*recount->ends));
            recount->spans =
                xreallocarray(recount->spans, recount->labels_cap, sizeof(*recount->spans));
        }
        buf_append_span(&recount->labels, store_get_span(recount->row, 0, COLUMN_METRICS));
        recount->ends[recount->labels_len++] = recount->labels.len;
    }
    return rc;
}

/* The row that stands, its labels with it; afterwards the next one stands. */
static int recount_take_prediction(struct recount *recount, struct err *err)
{
    int32_t deployment = (int32_t)store_get_i64(recount->row, 0, COLUMN_DEPLOYMENT);
    bool failed = store_get_bool(recount->row, 0, COLUMN_FAILED);
    int64_t latency_ms = store_get_i64(recount->row, 0, COLUMN_LATENCY);
    size_t from = 0;
    int rc;

    buf_clear(&recount->prediction);
    buf_append_span(&recount->prediction, store_get_span(recount->row, 0, COLUMN_METRICS));
    rc = recount_take_labels(recount, err);
    if (rc < 0)
        return -1;
    for (size_t i = 0; i < recount->labels_len; i++) {
        recount->spans[i] = (struct span){ recount->labels.data + from, recount->ends[i] - from };
        from = recount->ends[i];
    }
    buf_clear(&recount->merged);
    row_merge(&recount->merged, buf_span(&recount->prediction), recount->spans, recount->labels_len,
              NULL, 0);
    metric_counter_add_prediction(recount->counter, deployment, buf_span(&recount->merged), failed,
                                  latency_ms);
    return 0;
}

int32_t recount_deployment(const struct recount *recount)
{
    return recount->row ? (int32_t)store_get_i64(recount->row, 0, COLUMN_DEPLOYMENT) : 0;
}

int recount_next(struct recount *recount, int32_t *deployment, int64_t *window_ms, struct err *err)
{
    if (!recount->row)
        return 0;
    *deployment = (int32_t)store_get_i64(recount->row, 0, COLUMN_DEPLOYMENT);
    *window_ms = store_get_i64(recount->row, 0, COLUMN_WINDOW);
    rollup_group_clear(recount->counter->group);
    while (recount->row && store_get_i64(recount->row, 0, COLUMN_DEPLOYMENT) == *deployment &&
           store_get_i64(recount->row, 0, COLUMN_WINDOW) == *window_ms) {
        if (store_get_i64(recount->row, 0, COLUMN_KIND) == KIND_PREDICTION) {
            if (recount_take_prediction(recount, err) < 0)
                return -1;
            continue;
        }
        metric_counter_add_aggregate(recount->counter, *deployment,
                                     store_get_span(recount->row, 0, COLUMN_METRICS));
        if (recount_advance(recount, err) < 0)
            return -1;
    }
    return 1;
}
