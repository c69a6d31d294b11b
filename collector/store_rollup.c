#include "collector/store_rollup_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "collector/store_delta_internal.h"
#include "collector/store_internal.h"
#include "collector/store_recount_internal.h"

static const char *const source_tables[] = {
    [WINDOW_MINUTE] = "rollup_1m", [WINDOW_HOUR] = "rollup_1h", [WINDOW_DAY] = "rollup_1d"
};

struct rollup_source {
    PGconn *conn; /* borrowed */
    struct rollup_span span;
    struct metric_counter counter; /* for recounts */
    struct rollup_group *group;
    struct rollup scratch;
    /* What comes on top of the tables, by (window, deployment); is_recount: instead of them. */
    struct deltas extras;
    size_t recounts;

    /* The series that was begun. */
    const struct rollup_key *keys;
    size_t keys_len;
    size_t extra;  /* the next of the extras */
    PGresult *row; /* the next of the table; NULL: no more */
};

enum { EXTRAS_BYTES_MAX = 64 << 20 };

/* The windows of a series are all over the table, and the planner would rather collect and sort
 * them: nothing would be written before the last of them is read. */
#define SOURCE_AS_INDEXED "SET LOCAL enable_sort = off;"

/* ------------------------------------------------------------------------------ what is pending */

enum pending_column {
    PENDING_DEPLOYMENT,
    PENDING_WINDOW,
    PENDING_DELTA,
    PENDING_MARKED,  /* the minute is to be counted anew */
    PENDING_REBUILDS /* some minute of the wide window is */
};

/* The wide window that is being added up. */
struct pending {
    const struct store_cursor *cursor;
    int32_t deployment; /* 0: none yet */
    int64_t window_ms;
    bool rebuilds;
    int64_t counted_ms; /* the minute counted anew last */
};

static int source_damaged(struct err *err, int32_t deployment, int64_t window_ms)
{
    return err_set(err, ERR_FATAL,
                   "a rollup of deployment %" PRId32 " at %" PRId64
                   " is damaged: run plumbline verify",
                   deployment, window_ms);
}

static int source_advance(struct rollup_source *source, struct err *err)
{
    PQclear(source->row);
    source->row = PQgetResult(source->conn);
    if (PQresultStatus(source->row) == PGRES_SINGLE_TUPLE)
        return 0;
    if (PQresultStatus(source->row) != PGRES_TUPLES_OK) {
        (void)store_fail(source->conn, source->row, "read rollups", err);
        err->kind = ERR_RETRY;
        return -1;
    }
    PQclear(TAKE(source->row));
    return 0;
}

/* Takes what is left of the answer. */
static void source_drain(struct rollup_source *source)
{
    PGresult *rest;

    PQclear(TAKE(source->row));
    while ((rest = PQgetResult(source->conn)))
        PQclear(rest);
}

/* Minutes of a wide window that stand in the table and are not marked. */
static int source_send_minutes(struct rollup_source *source, int32_t deployment, int64_t window_ms,
                               struct err *err)
{
    AUTO(buf_done) struct buf sql;
    char from[CLOCK_TEXT_BYTES], to[CLOCK_TEXT_BYTES];

    clock_format(window_ms, from);
    clock_format(window_next(window_ms, source->span.window), to);
    buf_init(&sql, SIZE_MAX);
    buf_append_fmt(&sql,
                   "SELECT m.metric, r.state FROM"
                   " (SELECT metric FROM metric_name WHERE deployment = %1$" PRId32
                   " UNION ALL VALUES (0), (1), (2)) AS m JOIN rollup_1m AS r"
                   " ON r.deployment = %1$" PRId32 " AND r.metric = m.metric"
                   " AND r.window_at >= timestamptz '%2$s' AND r.window_at < timestamptz '%3$s'"
                   " WHERE r.window_at NOT IN (SELECT window_at FROM rollup_delta"
                   "  WHERE deployment = %1$" PRId32 " AND recount"
                   "  AND window_at >= timestamptz '%2$s' AND window_at < timestamptz '%3$s')",
                   deployment, from, to);
    if (PQsendQueryParams(source->conn, buf_text(&sql), 0, NULL, NULL, NULL, NULL, 1) != 1 ||
        PQsetSingleRowMode(source->conn) != 1)
        return store_fail(source->conn, NULL, "read rollups", err);
    return source_advance(source, err);
}

static int source_add_minutes(struct rollup_source *source, int32_t deployment, int64_t window_ms,
                              struct err *err)
{
    int rc = source_send_minutes(source, deployment, window_ms, err);

    while (rc == 0 && source->row) {
        struct rollup *rollup =
            rollup_group_get(source->group, (uint32_t)store_get_i64(source->row, 0, 0));

        if (rollup_merge_bytes(rollup, &source->scratch, store_get_span(source->row, 0, 1)) < 0)
            rc = source_damaged(err, deployment, window_ms);
        else
            rc = source_advance(source, err);
    }
    source_drain(source);
    return rc;
}

static int source_add_recount(struct rollup_source *source, int32_t deployment, int64_t minute_ms,
                              struct err *err)
{
    AUTO(recount_free) struct recount *recount = NULL;
    AUTO(buf_done) struct buf bytes;
    int64_t window_ms;

    buf_init(&bytes, SIZE_MAX);
    if (metric_counter_load(&source->counter, source->conn, deployment, err) < 0)
        return -1;
    recount = recount_begin(source->conn, &source->counter, deployment, minute_ms,
                            window_next(minute_ms, WINDOW_MINUTE), err);
    rollup_group_clear(source->counter.group);
    if (!recount || recount_next(recount, &deployment, &window_ms, err) < 0)
        return -1;
    source->recounts++;
    rollup_group_write(source->counter.group, &bytes);
    if (rollup_group_merge_packed(source->group, buf_span(&bytes)) < 0)
        return source_damaged(err, deployment, minute_ms);
    return 0;
}

/* A row of the wide window that is being added up. One with marked minutes is added up from its
 * minutes, these counted anew. */
static int source_add_pending(struct rollup_source *source, struct pending *pending,
                              struct err *err)
{
    const PGresult *rows = pending->cursor->rows;
    int row = pending->cursor->row;
    int64_t minute_ms = store_get_i64(rows, row, PENDING_WINDOW);
    bool is_counted = minute_ms == pending->counted_ms;

    if (store_get_bool(rows, row, PENDING_MARKED)) {
        pending->counted_ms = minute_ms;
        return is_counted ? 0 : source_add_recount(source, pending->deployment, minute_ms, err);
    }
    if (rollup_group_merge_packed(source->group, store_get_span(rows, row, PENDING_DELTA)) < 0)
        return source_damaged(err, pending->deployment, minute_ms);
    return 0;
}

static int source_begin_window(struct rollup_source *source, struct pending *pending,
                               int32_t deployment, int64_t window_ms, struct err *err)
{
    pending->deployment = deployment;
    pending->window_ms = window_ms;
    pending->counted_ms = INT64_MIN;
    pending->rebuilds =
        store_get_bool(pending->cursor->rows, pending->cursor->row, PENDING_REBUILDS);
    rollup_group_clear(source->group);
    return pending->rebuilds ? source_add_minutes(source, deployment, window_ms, err) : 0;
}

static int source_end_window(struct rollup_source *source, const struct pending *pending,
                             struct err *err)
{
    size_t offset = source->extras.bytes.len;

    rollup_group_write(source->group, &source->extras.bytes);
    deltas_add(&source->extras, pending->deployment, pending->window_ms, offset);
    source->extras.items[source->extras.len - 1].is_recount = pending->rebuilds;
    if (source->extras.bytes.len + source->extras.len * sizeof(struct delta) <= EXTRAS_BYTES_MAX)
        return 0;
    return err_set(
        err, ERR_RETRY,
        "more than %d bytes of rollups are pending in the span: once they are folded, or "
        "for a shorter span, it can be answered",
        EXTRAS_BYTES_MAX);
}

static int extra_compare(const void *a, const void *b)
{
    const struct delta *left = a, *right = b;

    if (left->window_ms != right->window_ms)
        return left->window_ms < right->window_ms ? -1 : 1;
    return (left->deployment > right->deployment) - (left->deployment < right->deployment);
}

static int source_open_pending(struct rollup_source *source, struct store_cursor *cursor,
                               const int32_t *deployments, size_t deployments_len, struct err *err)
{
    static const char *const units[] = {
        [WINDOW_MINUTE] = "minute", [WINDOW_HOUR] = "hour", [WINDOW_DAY] = "day"
    };
    AUTO(store_array_done) struct store_array ids;
    AUTO(buf_done) struct buf sql;
    struct store_params params = { 0 };
    char from[CLOCK_TEXT_BYTES], to[CLOCK_TEXT_BYTES];

    store_array_init(&ids, STORE_OID_INT8);
    for (size_t i = 0; i < deployments_len; i++)
        store_array_add_i64(&ids, deployments[i]);
    store_param_binary(&params, store_array_end(&ids));
    clock_format(source->span.from_ms, from);
    clock_format(source->span.to_ms, to);
    buf_init(&sql, SIZE_MAX);
    buf_append_fmt(&sql,
                   "SELECT deployment, (extract(epoch FROM window_at) * 1000)::bigint, delta,"
                   " bool_or(recount) OVER (PARTITION BY deployment, window_at),"
                   " bool_or(recount) OVER (PARTITION BY deployment,"
                   "  date_trunc('%s', window_at, 'UTC'))"
                   " FROM rollup_delta WHERE deployment = ANY ($1::bigint[]::int[])"
                   " AND window_at >= timestamptz '%s' AND window_at < timestamptz '%s'"
                   " ORDER BY deployment, window_at",
                   units[source->span.window], from, to);
    return store_cursor_open(cursor, source->conn, "deltas", buf_text(&sql), &params, err);
}

static int source_load(struct rollup_source *source, const int32_t *deployments,
                       size_t deployments_len, struct err *err)
{
    AUTO(store_cursor_done) struct store_cursor cursor = { 0 };
    struct pending pending = { .cursor = &cursor };
    int rc;

    if (source_open_pending(source, &cursor, deployments, deployments_len, err) < 0)
        return -1;
    while ((rc = store_cursor_next(&cursor, err)) > 0) {
        const PGresult *rows = cursor.rows;
        int32_t deployment = (int32_t)store_get_i64(rows, cursor.row, PENDING_DEPLOYMENT);
        int64_t window_ms =
            window_floor(store_get_i64(rows, cursor.row, PENDING_WINDOW), source->span.window);
        bool is_new = deployment != pending.deployment || window_ms != pending.window_ms;

        if (is_new && pending.deployment && source_end_window(source, &pending, err) < 0)
            return -1;
        if (is_new && source_begin_window(source, &pending, deployment, window_ms, err) < 0)
            return -1;
        if (source_add_pending(source, &pending, err) < 0)
            return -1;
    }
    if (rc == 0 && pending.deployment)
        rc = source_end_window(source, &pending, err);
    if (source->extras.len)
        qsort(source->extras.items, source->extras.len, sizeof(struct delta), extra_compare);
    return rc;
}

int rollup_read_begin(PGconn *conn, enum window_width window, int64_t *horizon_ms, struct err *err)
{
    AUTO(store_result_free) PGresult *horizon = NULL;
    AUTO(buf_done) struct buf sql;

    buf_init(&sql, SIZE_MAX);
    buf_append_fmt(&sql,
                   STORE_BEGIN_READ SOURCE_AS_INDEXED
                   "SELECT (extract(epoch FROM at) * 1000)::bigint"
                   " FROM retention_horizon WHERE family = '%s'",
                   source_tables[window]);
    horizon = store_query(conn, buf_text(&sql), "begin read", err);
    if (!horizon)
        return -1;
    *horizon_ms = PQntuples(horizon) ? store_get_i64(horizon, 0, 0) : INT64_MIN;
    return 0;
}

struct rollup_source *rollup_source_open(PGconn *conn, const int32_t *deployments,
                                         size_t deployments_len, const struct rollup_span *span,
                                         struct err *err)
{
    AUTO(rollup_source_free) struct rollup_source *source = xcalloc(1, sizeof(*source));

    source->conn = conn;
    source->span = *span;
    source->group = rollup_group_new();
    rollup_init(&source->scratch);
    metric_counter_init(&source->counter);
    deltas_init(&source->extras);
    return source_load(source, deployments, deployments_len, err) < 0 ? NULL : TAKE(source);
}

static void source_end_series(struct rollup_source *source)
{
    if (source->keys)
        source_drain(source);
    source->keys = NULL;
}

void rollup_source_free(struct rollup_source *source)
{
    if (!source)
        return;
    source_end_series(source);
    rollup_group_free(source->group);
    rollup_done(&source->scratch);
    metric_counter_done(&source->counter);
    deltas_done(&source->extras);
    free(source);
}

size_t rollup_source_recounts(const struct rollup_source *source)
{
    return source->recounts;
}

/* ------------------------------------------------------------------------------------- a series */

/* Rows (deployment, window, state) of the keys in order of time. Those of one key stand in this
 * order in the index: the first ones leave before the last are read, and nothing is sorted. */
static void source_write_query(const struct rollup_source *source, struct store_params *params,
                               struct store_array *deployments, struct store_array *metrics,
                               struct buf *sql)
{
    const struct rollup_key *keys = source->keys;
    const char *table = source_tables[source->span.window];
    char from[CLOCK_TEXT_BYTES], to[CLOCK_TEXT_BYTES];

    clock_format(source->span.from_ms, from);
    clock_format(source->span.to_ms, to);
    buf_append_text(sql, "SELECT r.deployment, r.window_at, r.state FROM ");
    if (source->keys_len == 1) {
        buf_append_fmt(sql,
                       "%s AS r WHERE r.deployment = %" PRId32 " AND r.metric = %" PRId32 " AND",
                       table, keys->deployment, keys->metric);
    } else {
        for (size_t i = 0; i < source->keys_len; i++) {
            store_array_add_i64(deployments, keys[i].deployment);
            store_array_add_i64(metrics, keys[i].metric);
        }
        store_param_binary(params, store_array_end(deployments));
        store_param_binary(params, store_array_end(metrics));
        buf_append_fmt(sql,
                       "unnest($1::bigint[]::int[], $2::bigint[]::int[]) AS k(deployment, metric)"
                       " JOIN %s AS r USING (deployment, metric) WHERE",
                       table);
    }
    buf_append_fmt(sql,
                   " r.window_at >= timestamptz '%s' AND r.window_at < timestamptz '%s'"
                   " ORDER BY r.window_at",
                   from, to);
}

int rollup_source_begin(struct rollup_source *source, const struct rollup_key *keys,
                        size_t keys_len, struct err *err)
{
    AUTO(store_array_done) struct store_array deployments, metrics;
    AUTO(buf_done) struct buf sql;
    struct store_params params = { 0 };

    source_end_series(source);
    source->keys = keys;
    source->keys_len = keys_len;
    source->extra = 0;
    store_array_init(&deployments, STORE_OID_INT8);
    store_array_init(&metrics, STORE_OID_INT8);
    buf_init(&sql, SIZE_MAX);
    source_write_query(source, &params, &deployments, &metrics, &sql);
    if (PQsendQueryParams(source->conn, buf_text(&sql), params.len, NULL, params.values,
                          params.lengths, params.formats, 1) != 1 ||
        PQsetSingleRowMode(source->conn) != 1)
        return store_fail(source->conn, NULL, "read rollups", err);
    return source_advance(source, err);
}

static int key_compare(const void *a, const void *b)
{
    const struct rollup_key *left = a, *right = b;

    return (left->deployment > right->deployment) - (left->deployment < right->deployment);
}

/* The metric's bytes in an extra of its deployment; data NULL when there are none. */
static struct span source_extra_bytes(const struct rollup_source *source, const struct delta *extra)
{
    struct rollup_key wanted = { .deployment = extra->deployment };
    const struct rollup_key *key =
        bsearch(&wanted, source->keys, source->keys_len, sizeof(*key), key_compare);
    struct rollup_packed packed;
    struct span bytes;
    uint32_t metric;

    if (!key)
        return (struct span){ 0 };
    packed = rollup_packed_begin(deltas_bytes(&source->extras, extra));
    while (rollup_packed_next(&packed, &metric, &bytes) > 0) {
        if (metric == (uint32_t)key->metric)
            return bytes;
    }
    return (struct span){ 0 };
}

/* Whether what stands in the table is replaced by an extra. */
static bool source_is_replaced(const struct rollup_source *source, int32_t deployment,
                               int64_t window_ms)
{
    struct delta wanted = { .deployment = deployment, .window_ms = window_ms };
    const struct delta *extra = NULL;

    if (source->extras.len)
        extra = bsearch(&wanted, source->extras.items, source->extras.len, sizeof(*extra),
                        extra_compare);
    return extra && extra->is_recount;
}

static int source_merge_extras(struct rollup_source *source, int64_t window_ms,
                               struct rollup *rollup, struct err *err)
{
    const struct deltas *extras = &source->extras;

    for (; source->extra < extras->len && extras->items[source->extra].window_ms == window_ms;
         source->extra++) {
        struct span bytes = source_extra_bytes(source, &extras->items[source->extra]);

        if (bytes.data && rollup_merge_bytes(rollup, &source->scratch, bytes) < 0)
            return source_damaged(err, extras->items[source->extra].deployment, window_ms);
    }
    return 0;
}

/* Of the row that stands. */
static int64_t source_row_ms(const struct rollup_source *source)
{
    return (store_get_i64(source->row, 0, 1) + STORE_EPOCH_US) / 1000;
}

static int source_merge_rows(struct rollup_source *source, int64_t window_ms, struct rollup *rollup,
                             struct err *err)
{
    while (source->row && source_row_ms(source) == window_ms) {
        int32_t deployment = (int32_t)store_get_i64(source->row, 0, 0);

        if (!source_is_replaced(source, deployment, window_ms) &&
            rollup_merge_bytes(rollup, &source->scratch, store_get_span(source->row, 0, 2)) < 0)
            return source_damaged(err, deployment, window_ms);
        if (source_advance(source, err) < 0)
            return -1;
    }
    return 0;
}

int rollup_source_next(struct rollup_source *source, int64_t *window_ms, struct rollup *rollup,
                       struct err *err)
{
    const struct deltas *extras = &source->extras;

    rollup_clear(rollup);
    while (rollup_is_empty(rollup)) {
        bool has_extra = source->extra < extras->len;

        if (!source->row && !has_extra) {
            source_end_series(source); /* the connection is free again */
            return 0;
        }
        *window_ms = source->row ? source_row_ms(source) : INT64_MAX;
        if (has_extra && extras->items[source->extra].window_ms < *window_ms)
            *window_ms = extras->items[source->extra].window_ms;
        if (source_merge_rows(source, *window_ms, rollup, err) < 0 ||
            source_merge_extras(source, *window_ms, rollup, err) < 0)
            return -1;
    }
    return 1;
}
