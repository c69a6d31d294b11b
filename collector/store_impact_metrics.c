/* How much deployments have predicted in a span, and when last.
 *
 *     whole windows    rollups, and what is pending of them     SUM by index
 *     a minute at an edge, one that is to be counted anew,
 *     the last one     raw rows of that minute                  backwards by insertion, as many as
 *                                                               the minute has
 *
 * Without rollups, and of an earlier moment, everything is counted from raw rows. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "collector/metric_names.h"
#include "collector/store_impact_internal.h"
#include "metrics/json.h"
#include "metrics/rollup.h"

#define IMPACT_MS(column) "(extract(epoch FROM " column ") * 1000)::bigint"

static const char *const impact_tables[] = {
    [WINDOW_MINUTE] = "rollup_1m", [WINDOW_HOUR] = "rollup_1h", [WINDOW_DAY] = "rollup_1d"
};

/* A minute of the deployment of a row. */
struct impact_minute {
    size_t row;
    int64_t at_ms;
    int64_t rows_max;  /* it has no more predictions */
    int64_t predicted; /* of them in the span */
    int64_t last_ms;   /* the last of these; INT64_MIN: there is none */
};

/* What is pending. */
struct impact_pending {
    size_t row;
    int64_t at_ms;
    int64_t predictions;
    bool is_recount; /* the minute is to be counted anew */
};

struct impact_count {
    const struct impact_scope *scope;
    struct impact_rows *rows;
    struct impact_pending *pending; /* owned; ascending by (row, at_ms), each once */
    size_t pending_len;
    struct err *err;
};

/* ------------------------------------------------------------------------------------ the scope */

static bool impact_counts_rows(const struct impact_scope *scope)
{
    return !scope->has_rollups || scope->batch_id != ATLAS_NOW;
}

int impact_find_batch(PGconn *conn, int64_t as_of_ms, int64_t *batch_id, struct err *err)
{
    AUTO(store_result_free) PGresult *settling = NULL;
    AUTO(store_result_free) PGresult *settled = NULL;
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 }, before = { 0 };
    char number[24];

    *batch_id = ATLAS_NOW;
    if (as_of_ms == ATLAS_NOW)
        return 0;
    (void)snprintf(number, sizeof(number), "%" PRId64, store_clamp_ms(as_of_ms));
    store_param_text(&params, number);
    settling =
        store_query_params(conn, "SELECT ingest_settle_before($1)", &params, "find moment", err);
    if (!settling)
        return -1;
    store_param_text(&before, PQgetvalue(settling, 0, 0));
    settled = store_query_params(conn, "SELECT ingest_settle($1)", &before, "settle moment", err);
    if (!settled)
        return -1;
    result = store_query_params(conn, "SELECT ingest_batch_at($1)", &params, "find moment", err);
    if (!result)
        return -1;
    *batch_id = store_get_i64(result, 0, 0);
    return 0;
}

static int impact_read_horizons(struct impact_scope *scope, struct err *err)
{
    static const char *const families[COVER_KINDS] = { [WINDOW_MINUTE] = "rollup_1m",
                                                       [WINDOW_HOUR] = "rollup_1h",
                                                       [WINDOW_DAY] = "rollup_1d",
                                                       [COVER_ROWS] = "event" };
    AUTO(store_result_free)
    PGresult *result =
        store_query(scope->conn, "SELECT family, " IMPACT_MS("at") " FROM retention_horizon",
                    "read horizons", err);

    if (!result)
        return -1;
    for (int kind = 0; kind < COVER_KINDS; kind++) {
        scope->horizons.from_ms[kind] = INT64_MIN;
        for (int row = 0; row < PQntuples(result); row++) {
            if (strcmp(PQgetvalue(result, row, 0), families[kind]) == 0)
                scope->horizons.from_ms[kind] = store_get_i64(result, row, 1);
        }
    }
    for (int kind = 0; impact_counts_rows(scope) && kind < COVER_ROWS; kind++)
        scope->horizons.from_ms[kind] = scope->horizons.from_ms[COVER_ROWS];
    return 0;
}

int impact_scope_begin(struct impact_scope *scope, struct err *err)
{
    int64_t first_ms;

    if (store_exec(scope->conn,
                   STORE_BEGIN_READ ATLAS_PLANS ";SET LOCAL enable_bitmapscan = off;"
                                                "SET LOCAL enable_sort = off",
                   "read impact", err) < 0 ||
        impact_read_horizons(scope, err) < 0)
        return -1;
    first_ms = cover_first(&scope->horizons, scope->from_ms);
    scope->truncated_before_ms = first_ms > scope->from_ms ? first_ms : INT64_MIN;
    scope->from_ms = first_ms;
    return 0;
}

/* ------------------------------------------------------------------------------------- raw rows */

static void impact_write_bound(struct buf *sql, const char *before, int64_t ms)
{
    char text[CLOCK_TEXT_BYTES];

    clock_format(store_clamp_ms(ms), text);
    buf_append_fmt(sql, "%stimestamptz '%s'", before, text);
}

/* $1: the deployments of the rows in their order. */
static void impact_param_rows(struct store_params *params, struct store_array *array,
                              const struct impact_rows *rows)
{
    store_array_init(array, STORE_OID_INT8);
    for (size_t i = 0; i < rows->len; i++)
        store_array_add_i64(array, rows->items[i].deployment);
    store_param_binary(params, store_array_end(array));
}

#define IMPACT_ROWS_SQL " FROM unnest($1::bigint[]::int[]) WITH ORDINALITY AS w(deployment, place)"

/* Everything from raw rows. */
static int impact_count_rows(struct impact_count *count)
{
    const struct impact_scope *scope = count->scope;
    AUTO(store_array_done) struct store_array deployments;
    AUTO(store_result_free) PGresult *result = NULL;
    AUTO(buf_done) struct buf sql;
    struct store_params params = { 0 };

    impact_param_rows(&params, &deployments, count->rows);
    buf_init(&sql, SIZE_MAX);
    buf_append_text(&sql, "SELECT w.place, p.len, " IMPACT_MS("p.last_at") IMPACT_ROWS_SQL
                    " CROSS JOIN LATERAL (SELECT count(*) AS len, max(start_at) AS last_at"
                    " FROM prediction WHERE deployment = w.deployment");
    impact_write_bound(&sql, " AND start_at >= ", scope->from_ms);
    impact_write_bound(&sql, " AND start_at < ", scope->to_ms);
    buf_append_fmt(&sql, " AND batch_id <= %" PRId64 ") AS p WHERE p.len > 0", scope->batch_id);
    result =
        store_query_binary(scope->conn, buf_text(&sql), &params, "count predictions", count->err);
    for (int i = 0; result && i < PQntuples(result); i++) {
        struct impact_row *row = &count->rows->items[store_get_i64(result, i, 0) - 1];

        row->predictions = store_get_i64(result, i, 1);
        row->last_ms = store_get_i64(result, i, 2);
    }
    return result ? 0 : -1;
}

/* $1 to $3: deployment, minute and rows_max of each. */
static void impact_param_minutes(struct store_params *params, struct store_array arrays[3],
                                 const struct impact_count *count,
                                 const struct impact_minute *minutes, size_t len)
{
    for (int i = 0; i < 3; i++)
        store_array_init(&arrays[i], STORE_OID_INT8);
    for (size_t i = 0; i < len; i++) {
        store_array_add_i64(&arrays[0], count->rows->items[minutes[i].row].deployment);
        store_array_add_i64(&arrays[1], minutes[i].at_ms);
        store_array_add_i64(&arrays[2], minutes[i].rows_max);
    }
    for (int i = 0; i < 3; i++)
        store_param_binary(params, store_array_end(&arrays[i]));
}

static void impact_arrays_done(struct store_array arrays[3])
{
    for (int i = 0; i < 3; i++)
        store_array_done(&arrays[i]);
}

/* The bounds of all minutes stand in the statement, so that only their partitions are planned. */
static void impact_write_minutes_sql(struct buf *sql, const struct impact_scope *scope,
                                     const struct impact_minute *minutes, size_t len)
{
    int64_t first_ms = INT64_MAX, last_ms = INT64_MIN;

    for (size_t i = 0; i < len; i++) {
        first_ms = minutes[i].at_ms < first_ms ? minutes[i].at_ms : first_ms;
        last_ms = minutes[i].at_ms > last_ms ? minutes[i].at_ms : last_ms;
    }
    buf_append_text(
        sql,
        "SELECT m.place, count(*), " IMPACT_MS(
            "max(p.start_at)") " FROM (SELECT deployment::int, rows_max, place,"
                               "  timestamptz 'epoch' + at_ms * interval '1 millisecond' AS at"
                               "  FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) WITH "
                               "ORDINALITY"
                               "  AS m(deployment, at_ms, rows_max, place)) AS m"
                               " CROSS JOIN LATERAL (SELECT start_at FROM prediction"
                               " WHERE deployment = m.deployment"
                               " AND start_at >= m.at AND start_at < m.at + interval '1 minute'");
    impact_write_bound(sql, " AND start_at >= ", first_ms);
    impact_write_bound(sql, " AND start_at < ", window_next(last_ms, WINDOW_MINUTE));
    buf_append_text(sql, " ORDER BY batch_id DESC, ordinal DESC LIMIT m.rows_max) AS p");
    impact_write_bound(sql, " WHERE p.start_at >= ", scope->from_ms);
    impact_write_bound(sql, " AND p.start_at < ", scope->to_ms);
    buf_append_text(sql, " GROUP BY m.place");
}

/* Counts the predictions of these minutes that are in the span. */
static int impact_read_minutes(const struct impact_count *count, struct impact_minute *minutes,
                               size_t len)
{
    struct store_array arrays[3];
    AUTO(store_result_free) PGresult *result = NULL;
    AUTO(buf_done) struct buf sql;
    struct store_params params = { 0 };

    buf_init(&sql, SIZE_MAX);
    for (size_t i = 0; i < len; i++) {
        minutes[i].predicted = 0;
        minutes[i].last_ms = INT64_MIN;
    }
    if (len == 0)
        return 0;
    impact_param_minutes(&params, arrays, count, minutes, len);
    impact_write_minutes_sql(&sql, count->scope, minutes, len);
    result = store_query_binary(count->scope->conn, buf_text(&sql), &params, "count minutes",
                                count->err);
    for (int i = 0; result && i < PQntuples(result); i++) {
        struct impact_minute *minute = &minutes[store_get_i64(result, i, 0) - 1];

        minute->predicted = store_get_i64(result, i, 1);
        minute->last_ms = store_get_i64(result, i, 2);
    }
    impact_arrays_done(arrays);
    return result ? 0 : -1;
}

/* Sets rows_max to what the table of minutes has. */
static int impact_read_table_minutes(const struct impact_count *count,
                                     struct impact_minute *minutes, size_t len)
{
    struct store_array arrays[3];
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };

    if (len == 0)
        return 0;
    impact_param_minutes(&params, arrays, count, minutes, len);
    for (size_t i = 0; i < len; i++)
        minutes[i].rows_max = 0;
    result = store_query_binary(
        count->scope->conn,
        "SELECT m.place, r.count FROM unnest($1::bigint[], $2::bigint[], $3::bigint[])"
        " WITH ORDINALITY AS m(deployment, at_ms, rows_max, place) JOIN rollup_1m AS r"
        " ON r.deployment = m.deployment::int AND r.metric = 0"
        " AND r.window_at = timestamptz 'epoch' + m.at_ms * interval '1 millisecond'",
        &params, "read minutes", count->err);
    for (int i = 0; result && i < PQntuples(result); i++)
        minutes[store_get_i64(result, i, 0) - 1].rows_max = store_get_i64(result, i, 1);
    impact_arrays_done(arrays);
    return result ? 0 : -1;
}

/* -------------------------------------------------------------------------------------- pending */

/* Predictions in a packed delta; -1: it is none. */
static int64_t impact_delta_predictions(struct rollup *rollup, struct span delta)
{
    struct rollup_packed packed = rollup_packed_begin(delta);
    struct span bytes;
    uint32_t metric;
    int rc = rollup_packed_next(&packed, &metric, &bytes);

    if (rc <= 0 || metric != METRIC_PREDICTIONS)
        return rc < 0 ? -1 : 0;
    return rollup_read(rollup, bytes) < 0 ? -1 : (int64_t)rollup->count;
}

static struct impact_pending *impact_pending_at(struct impact_count *count, size_t row,
                                                int64_t at_ms)
{
    size_t len = count->pending_len;
    struct impact_pending *last = len ? &count->pending[len - 1] : NULL;

    if (last && last->row == row && last->at_ms == at_ms)
        return last;
    if ((len & (len - 1)) == 0) /* a power of two, or nothing: it is full */
        count->pending = xreallocarray(count->pending, 2 * len + 1, sizeof(*count->pending));
    last = &count->pending[count->pending_len++];
    *last = (struct impact_pending){ .row = row, .at_ms = at_ms };
    return last;
}

static int impact_take_pending(struct impact_count *count, const struct store_cursor *cursor,
                               struct rollup *rollup)
{
    const PGresult *rows = cursor->rows;
    struct impact_pending *pending =
        impact_pending_at(count, (size_t)store_get_i64(rows, cursor->row, 0) - 1,
                          store_get_i64(rows, cursor->row, 1));
    int64_t predictions;

    if (store_get_bool(rows, cursor->row, 2)) {
        pending->is_recount = true;
        return 0;
    }
    predictions = impact_delta_predictions(rollup, store_get_span(rows, cursor->row, 3));
    if (predictions < 0)
        return err_set(count->err, ERR_FATAL,
                       "a rollup of deployment %" PRId32 " at %" PRId64
                       " is damaged: run plumbline verify",
                       count->rows->items[pending->row].deployment, pending->at_ms);
    pending->predictions += predictions;
    return 0;
}

/* Of all minutes that the span touches. */
static int impact_read_pending(struct impact_count *count)
{
    const struct impact_scope *scope = count->scope;
    AUTO(store_cursor_done) struct store_cursor cursor = { 0 };
    AUTO(store_array_done) struct store_array deployments;
    AUTO(buf_done) struct buf sql;
    struct store_params params = { 0 };
    struct rollup rollup;
    int rc;

    impact_param_rows(&params, &deployments, count->rows);
    buf_init(&sql, SIZE_MAX);
    buf_append_text(&sql,
                    "SELECT w.place, " IMPACT_MS(
                        "d.window_at") ", d.recount, d.delta" IMPACT_ROWS_SQL
                                       " JOIN rollup_delta AS d ON d.deployment = w.deployment");
    impact_write_bound(&sql, " WHERE d.window_at >= ", window_floor(scope->from_ms, WINDOW_MINUTE));
    impact_write_bound(&sql, " AND d.window_at < ", scope->to_ms);
    buf_append_text(&sql, " ORDER BY w.place, d.window_at");
    if (store_cursor_open(&cursor, scope->conn, "pending", buf_text(&sql), &params, count->err) < 0)
        return -1;
    rollup_init(&rollup);
    do {
        rc = store_cursor_next(&cursor, count->err);
        if (rc > 0 && impact_take_pending(count, &cursor, &rollup) < 0)
            rc = -1;
    } while (rc > 0);
    rollup_done(&rollup);
    return rc < 0 ? -1 : store_exec(scope->conn, "CLOSE pending", "pending", count->err);
}

/* The first of the row that is not before that minute, or where it would be. */
static size_t impact_pending_from(const struct impact_count *count, size_t row, int64_t at_ms)
{
    size_t from = 0, to = count->pending_len;

    while (from < to) {
        size_t middle = from + (to - from) / 2;
        const struct impact_pending *pending = &count->pending[middle];

        if (pending->row < row || (pending->row == row && pending->at_ms < at_ms))
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

/* NULL: there is none. */
static const struct impact_pending *impact_find_pending(const struct impact_count *count,
                                                        size_t row, int64_t at_ms)
{
    size_t place = impact_pending_from(count, row, at_ms);
    const struct impact_pending *pending;

    if (place == count->pending_len)
        return NULL;
    pending = &count->pending[place];
    return pending->row == row && pending->at_ms == at_ms ? pending : NULL;
}

/* How many predictions a minute may have, when the table has `rows_max`. */
static int64_t impact_rows_max(const struct impact_pending *pending, int64_t rows_max)
{
    if (!pending)
        return rows_max;
    return pending->is_recount ? INT64_MAX : rows_max + pending->predictions;
}

/* -------------------------------------------------------------------------------- whole windows */

/* What the tables have of the windows that are wholly in the span. */
static int impact_count_windows(struct impact_count *count, const struct cover *cover)
{
    AUTO(store_array_done) struct store_array deployments;
    AUTO(store_result_free) PGresult *result = NULL;
    AUTO(buf_done) struct buf sql;
    struct store_params params = { 0 };

    impact_param_rows(&params, &deployments, count->rows);
    buf_init(&sql, SIZE_MAX);
    buf_append_text(&sql, "SELECT w.place, 0");
    for (size_t i = 0; i < cover->len; i++) {
        const struct cover_piece *piece = &cover->pieces[i];

        if (piece->kind == COVER_ROWS)
            continue;
        buf_append_fmt(&sql,
                       " + coalesce((SELECT sum(count)::bigint FROM %s"
                       " WHERE deployment = w.deployment AND metric = %d",
                       impact_tables[piece->kind], METRIC_PREDICTIONS);
        impact_write_bound(&sql, " AND window_at >= ", piece->from_ms);
        impact_write_bound(&sql, " AND window_at < ", piece->to_ms);
        buf_append_text(&sql, "), 0)");
    }
    buf_append_text(&sql, IMPACT_ROWS_SQL);
    result = store_query_binary(count->scope->conn, buf_text(&sql), &params, "count windows",
                                count->err);
    for (int i = 0; result && i < PQntuples(result); i++)
        count->rows->items[store_get_i64(result, i, 0) - 1].predictions +=
            store_get_i64(result, i, 1);
    return result ? 0 : -1;
}

static bool impact_is_inner(const struct impact_scope *scope, int64_t minute_ms)
{
    return minute_ms >= scope->from_ms && window_next(minute_ms, WINDOW_MINUTE) <= scope->to_ms;
}

/* Whole minutes with something pending: it is added, or the minute counted anew. */
static int impact_count_pending(struct impact_count *count)
{
    AUTO(mem_free)
    struct impact_minute *anew = xcalloc(count->pending_len, sizeof(*anew));
    size_t len = 0;

    for (size_t i = 0; i < count->pending_len; i++) {
        const struct impact_pending *pending = &count->pending[i];

        if (!impact_is_inner(count->scope, pending->at_ms))
            continue;
        if (pending->is_recount)
            anew[len++] = (struct impact_minute){ .row = pending->row, .at_ms = pending->at_ms };
        else
            count->rows->items[pending->row].predictions += pending->predictions;
    }
    if (impact_read_table_minutes(count, anew, len) < 0)
        return -1;
    for (size_t i = 0; i < len; i++) {
        count->rows->items[anew[i].row].predictions -= anew[i].rows_max;
        anew[i].rows_max = INT64_MAX;
    }
    if (impact_read_minutes(count, anew, len) < 0)
        return -1;
    for (size_t i = 0; i < len; i++)
        count->rows->items[anew[i].row].predictions += anew[i].predicted;
    return 0;
}

/* The minutes at both ends, of which only a part is in the span; raw rows of those that have any.
 */
static int impact_count_edges(struct impact_count *count)
{
    const struct impact_scope *scope = count->scope;
    int64_t first_ms = window_floor(scope->from_ms, WINDOW_MINUTE);
    int64_t last_ms = window_floor(scope->to_ms - 1, WINDOW_MINUTE);
    AUTO(mem_free)
    struct impact_minute *edges = xcalloc(2 * count->rows->len, sizeof(*edges));
    size_t len = 0, kept = 0;

    for (size_t i = 0; i < count->rows->len; i++) {
        if (!impact_is_inner(scope, first_ms))
            edges[len++] = (struct impact_minute){ .row = i, .at_ms = first_ms };
        if (last_ms != first_ms && !impact_is_inner(scope, last_ms))
            edges[len++] = (struct impact_minute){ .row = i, .at_ms = last_ms };
    }
    if (impact_read_table_minutes(count, edges, len) < 0)
        return -1;
    for (size_t i = 0; i < len; i++) {
        edges[i].rows_max =
            impact_rows_max(impact_find_pending(count, edges[i].row, edges[i].at_ms),
                            edges[i].rows_max);
        if (edges[i].rows_max > 0)
            edges[kept++] = edges[i];
    }
    if (impact_read_minutes(count, edges, kept) < 0)
        return -1;
    for (size_t i = 0; i < kept; i++)
        count->rows->items[edges[i].row].predictions += edges[i].predicted;
    return 0;
}

/* ----------------------------------------------------------------------------- the last of them */

/* The last window of the table, before at_ms, that has predictions: at_ms and rows_max become its
 * own, or INT64_MIN and 0. */
static int impact_read_last(const struct impact_count *count, enum window_width width,
                            struct impact_minute *minutes, size_t len)
{
    struct store_array arrays[3];
    AUTO(store_result_free) PGresult *result = NULL;
    AUTO(buf_done) struct buf sql;
    struct store_params params = { 0 };

    buf_init(&sql, SIZE_MAX);
    impact_param_minutes(&params, arrays, count, minutes, len);
    for (size_t i = 0; i < len; i++) {
        minutes[i].at_ms = INT64_MIN;
        minutes[i].rows_max = 0;
    }
    buf_append_fmt(
        &sql,
        "SELECT m.place, " IMPACT_MS(
            "r.window_at") ", r.count FROM (SELECT place,"
                           "  deployment::int, timestamptz 'epoch' + at_ms * interval '1 "
                           "millisecond' AS at"
                           "  FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) WITH ORDINALITY"
                           "  AS m(deployment, at_ms, rows_max, place)) AS m CROSS JOIN LATERAL"
                           " (SELECT window_at, count FROM %s WHERE deployment = m.deployment"
                           "  AND metric = %d AND window_at < m.at AND count > 0",
        impact_tables[width], METRIC_PREDICTIONS);
    impact_write_bound(&sql, " AND window_at >= ", window_floor(count->scope->from_ms, width));
    impact_write_bound(&sql, " AND window_at < ", count->scope->to_ms);
    buf_append_text(&sql, " ORDER BY window_at DESC LIMIT 1) AS r");
    result =
        store_query_binary(count->scope->conn, buf_text(&sql), &params, "find last", count->err);
    for (int i = 0; result && i < PQntuples(result); i++) {
        struct impact_minute *minute = &minutes[store_get_i64(result, i, 0) - 1];

        minute->at_ms = store_get_i64(result, i, 1);
        minute->rows_max = store_get_i64(result, i, 2);
    }
    impact_arrays_done(arrays);
    return result ? 0 : -1;
}

/* What is pending may be later than what the table has. */
static void impact_raise_last(const struct impact_count *count, struct impact_minute *minute,
                              int64_t before_ms)
{
    size_t first = impact_pending_from(count, minute->row, minute->at_ms);

    for (size_t i = impact_pending_from(count, minute->row, before_ms); i > first; i--) {
        const struct impact_pending *pending = &count->pending[i - 1];

        if (!pending->predictions && !pending->is_recount)
            continue;
        if (pending->at_ms > minute->at_ms)
            minute->rows_max = 0;
        minute->at_ms = pending->at_ms;
        minute->rows_max = impact_rows_max(pending, minute->rows_max);
        return;
    }
}

/* One round: the last minute with predictions before at_ms of each, and in it the last of them.
 * Those that have one are done; *len become those whose minute has none in the span. */
static int impact_last_round(struct impact_count *count, struct impact_minute *minutes, size_t *len)
{
    AUTO(mem_free) int64_t *before_ms = xcalloc(*len, sizeof(*before_ms));
    size_t found = 0, left = 0;

    for (size_t i = 0; i < *len; i++)
        before_ms[i] = minutes[i].at_ms;
    if (impact_read_last(count, WINDOW_MINUTE, minutes, *len) < 0)
        return -1;
    for (size_t i = 0; i < *len; i++) {
        impact_raise_last(count, &minutes[i], before_ms[i]);
        if (minutes[i].at_ms == INT64_MIN)
            continue;
        count->rows->items[minutes[i].row].last_ms = minutes[i].at_ms;
        if (minutes[i].at_ms >= count->scope->horizons.from_ms[COVER_ROWS])
            minutes[found++] = minutes[i];
    }
    if (impact_read_minutes(count, minutes, found) < 0)
        return -1;
    for (size_t i = 0; i < found; i++) {
        count->rows->items[minutes[i].row].last_ms = minutes[i].last_ms;
        if (minutes[i].last_ms == INT64_MIN)
            minutes[left++] = minutes[i];
    }
    *len = left;
    return 0;
}

/* Where minutes are no longer kept the beginning of an hour, or of a day, is all that is known;
 * later ones may reach beyond the span. */
static int impact_last_window(struct impact_count *count, enum window_width width,
                              struct impact_minute *minutes)
{
    int64_t before_ms = count->scope->horizons.from_ms[width - 1];
    size_t len = 0;

    if (count->scope->from_ms >= before_ms)
        return 0;
    if (count->scope->to_ms < before_ms)
        before_ms = count->scope->to_ms;
    for (size_t i = 0; i < count->rows->len; i++) {
        if (count->rows->items[i].last_ms == INT64_MIN && count->rows->items[i].predictions)
            minutes[len++] = (struct impact_minute){ .row = i, .at_ms = before_ms };
    }
    if (len == 0)
        return 0;
    if (impact_read_last(count, width, minutes, len) < 0)
        return -1;
    for (size_t i = 0; i < len; i++)
        count->rows->items[minutes[i].row].last_ms = minutes[i].at_ms;
    return 0;
}

static int impact_find_last(struct impact_count *count)
{
    AUTO(mem_free)
    struct impact_minute *minutes = xcalloc(count->rows->len, sizeof(*minutes));
    size_t len = 0;

    for (size_t i = 0; i < count->rows->len; i++) {
        if (count->rows->items[i].predictions)
            minutes[len++] = (struct impact_minute){ .row = i, .at_ms = count->scope->to_ms };
    }
    while (len) {
        if (impact_last_round(count, minutes, &len) < 0)
            return -1;
    }
    if (impact_last_window(count, WINDOW_HOUR, minutes) < 0)
        return -1;
    return impact_last_window(count, WINDOW_DAY, minutes);
}

/* ------------------------------------------------------------------------------------------ all */

static int impact_count_all(struct impact_count *count)
{
    struct cover cover;

    if (impact_counts_rows(count->scope))
        return impact_count_rows(count);
    cover_split(&cover, count->scope->from_ms, count->scope->to_ms);
    if (impact_read_pending(count) < 0 || impact_count_windows(count, &cover) < 0 ||
        impact_count_pending(count) < 0 || impact_count_edges(count) < 0)
        return -1;
    return impact_find_last(count);
}

int impact_count(const struct impact_scope *scope, struct impact_rows *rows, struct err *err)
{
    struct impact_count count = { .scope = scope, .rows = rows, .err = err };
    int rc = 0;

    if (rows->len && scope->from_ms < scope->to_ms)
        rc = impact_count_all(&count);
    free(count.pending);
    return rc;
}

/* Without rollups: partition by partition from the newest one, and in the first that has any. */
static int impact_last_rows(const struct impact_count *count)
{
    AUTO(store_array_done) struct store_array deployments;
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };

    impact_param_rows(&params, &deployments, count->rows);
    result = store_query_binary(
        count->scope->conn,
        "SELECT w.place, " IMPACT_MS("p.last_at") IMPACT_ROWS_SQL
        " CROSS JOIN LATERAL (SELECT last_at FROM time_partition AS t CROSS JOIN LATERAL"
        "  (SELECT max(start_at) AS last_at FROM prediction WHERE deployment = w.deployment"
        "   AND start_at >= t.from_at AND start_at < t.to_at OFFSET 0) AS m"
        "  WHERE t.family = 'event' AND last_at IS NOT NULL ORDER BY t.from_at DESC LIMIT 1) AS p",
        &params, "find last", count->err);
    for (int i = 0; result && i < PQntuples(result); i++)
        count->rows->items[store_get_i64(result, i, 0) - 1].last_ms = store_get_i64(result, i, 1);
    return result ? 0 : -1;
}

int impact_find_last_of_all(PGconn *conn, bool has_rollups, struct impact_rows *rows,
                            struct err *err)
{
    struct impact_scope scope = {
        .conn = conn, .has_rollups = has_rollups, .to_ms = STORE_MS_MAX, .batch_id = ATLAS_NOW
    };
    struct impact_count count = { .scope = &scope, .rows = rows, .err = err };
    int rc;

    for (size_t i = 0; i < rows->len; i++) {
        rows->items[i].last_ms = INT64_MIN;
        rows->items[i].predictions = 1; /* as far as is known yet */
    }
    if (rows->len == 0)
        return 0;
    if (!has_rollups)
        return impact_last_rows(&count);
    rc = impact_read_horizons(&scope, err);
    if (rc == 0)
        rc = impact_read_pending(&count);
    if (rc == 0)
        rc = impact_find_last(&count);
    free(count.pending);
    return rc;
}

/* --------------------------------------------------------------------------------------- latest */

enum latest_column { LATEST_PLACE, LATEST_METRICS, LATEST_START, LATEST_END };

static int impact_latest_step(struct impact_latest *latest, struct err *err)
{
    PQclear(TAKE(latest->row));
    latest->row = PQgetResult(latest->conn);
    if (PQresultStatus(latest->row) == PGRES_SINGLE_TUPLE)
        return 0;
    if (PQresultStatus(latest->row) != PGRES_TUPLES_OK) {
        (void)store_fail(latest->conn, latest->row, "read aggregates", err);
        err->kind = ERR_RETRY;
        return -1;
    }
    PQclear(TAKE(latest->row));
    return 0;
}

int impact_latest_open(struct impact_latest *latest, const struct impact_scope *scope,
                       const struct impact_rows *rows, struct err *err)
{
    int64_t from_ms = scope->from_ms, rows_ms = scope->horizons.from_ms[COVER_ROWS];
    AUTO(store_array_done) struct store_array deployments;
    AUTO(buf_done) struct buf sql;
    struct store_params params = { 0 };

    *latest = (struct impact_latest){ .conn = scope->conn, .names = map_new() };
    buf_init(&latest->name, SIZE_MAX);
    impact_param_rows(&params, &deployments, rows);
    buf_init(&sql, SIZE_MAX);
    buf_append_text(&sql, "SELECT w.place, a.metrics, a.start_at, a.end_at" IMPACT_ROWS_SQL
                          " JOIN aggregate_metric AS a ON a.deployment = w.deployment");
    impact_write_bound(&sql, " WHERE a.start_at >= ", from_ms > rows_ms ? from_ms : rows_ms);
    impact_write_bound(&sql, " AND a.start_at < ", scope->to_ms);
    buf_append_fmt(&sql,
                   " AND a.batch_id <= %" PRId64
                   " ORDER BY w.place, a.batch_id DESC, a.ordinal DESC",
                   scope->batch_id);
    if (PQsendQueryParams(scope->conn, buf_text(&sql), params.len, NULL, params.values,
                          params.lengths, params.formats, 1) != 1 ||
        PQsetSingleRowMode(scope->conn) != 1)
        return store_fail(scope->conn, NULL, "read aggregates", err);
    return impact_latest_step(latest, err);
}

static int64_t impact_latest_ms(const struct impact_latest *latest, int column)
{
    return (store_get_i64(latest->row, 0, column) + STORE_EPOCH_US) / 1000;
}

/* Those members of the aggregate that stands that no later one has. */
static void impact_latest_add(struct impact_latest *latest, struct buf *out)
{
    struct json_walk walk = json_walk_begin(store_get_span(latest->row, 0, LATEST_METRICS));
    struct json_member member;

    while (json_walk_next(&walk, &member)) {
        bool added;

        buf_clear(&latest->name);
        if (!buf_reserve(&latest->name, member.raw.len + 1))
            return;
        latest->name.len = json_unescape(latest->name.data, member.raw);
        (void)map_put(latest->names, buf_span(&latest->name), 0, &added);
        if (!added)
            continue;
        buf_append_text(out, map_len(latest->names) > 1 ? ",\"" : "\"");
        buf_append_span(out, member.raw);
        buf_append_text(out, "\":{\"value\":");
        buf_append_span(out, member.value.text);
        buf_append_fmt(out, ",\"startTimestampMs\":%" PRId64 ",\"endTimestampMs\":%" PRId64 "}",
                       impact_latest_ms(latest, LATEST_START),
                       impact_latest_ms(latest, LATEST_END));
    }
}

int impact_latest_write(struct impact_latest *latest, size_t place, struct buf *out,
                        struct err *err)
{
    map_clear(latest->names);
    while (latest->row && store_get_i64(latest->row, 0, LATEST_PLACE) <= (int64_t)place + 1) {
        impact_latest_add(latest, out);
        if (impact_latest_step(latest, err) < 0)
            return -1;
    }
    return 0;
}

void impact_latest_done(struct impact_latest *latest)
{
    PGresult *rest;

    PQclear(TAKE(latest->row));
    while ((rest = PQgetResult(latest->conn)))
        PQclear(rest);
    map_free(latest->names);
    buf_done(&latest->name);
}
