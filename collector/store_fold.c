/* Folding pending deltas into the rollup tables.
 *
 *   BEGIN, REPEATABLE READ; a share of the deployments, by advisory lock
 *     rollup_delta          the oldest of them, by (deployment, minute); not of minutes to recount
 *     rollup_1m, 1h, 1d     what stands + what the deltas add, through a staging table
 *     DELETE FROM rollup_delta
 *   COMMIT                  40001: another daemon was at it; the next round sees what it left
 *
 * A minute that is to be recounted is counted from raw rows; all its deltas go, whatever they say,
 * and its hour and day are added up anew from their minutes and hours. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "collector/store_commit_internal.h"
#include "collector/store_internal.h"
#include "collector/store_recount_internal.h"
#include "metrics/window.h"

enum {
    FOLD_DELTAS_MAX = 4000,
    FOLD_BYTES_MAX = 8 << 20,
    FOLD_RECOUNTS_MAX = 50,
    FOLD_COPY_COLUMNS = 11,
    FOLD_VACUUM_EVERY = 50000, /* deltas folded */
    FOLD_REST_TIMES = 10,      /* of what a round took, so that folding takes a tenth of the time */
    FOLD_REST_MS_MAX = 5000,
};

static const struct {
    const char *table;
    enum window_width window;
    enum partition_family family;
} fold_tables[] = {
    { "rollup_1m", WINDOW_MINUTE, PARTITION_ROLLUP_1M },
    { "rollup_1h", WINDOW_HOUR, PARTITION_ROLLUP_1H },
    { "rollup_1d", WINDOW_DAY, PARTITION_ROLLUP_1D },
};

/* One transaction's work. */
struct fold {
    struct store *store;
    PGconn *conn;
    int share;
    struct rollup_group *group;
    struct rollup rollup, scratch;
    struct buf bytes;
    struct err *err;
};

/* ----------------------------------------------------------------------------------- the tables */

/* The keys of all metrics in `deltas`, and after the query what stands of each, in their order. */
static PGresult *fold_read_standing(struct fold *fold, const char *table,
                                    const struct deltas *deltas)
{
    AUTO(store_array_done) struct store_array deployments, metrics, windows;
    AUTO(buf_done) struct buf sql;
    struct store_params params = { 0 };

    store_array_init(&deployments, STORE_OID_INT8);
    store_array_init(&metrics, STORE_OID_INT8);
    store_array_init(&windows, STORE_OID_INT8);
    for (size_t i = 0; i < deltas->len; i++) {
        struct rollup_packed packed = rollup_packed_begin(deltas_bytes(deltas, &deltas->items[i]));
        struct span bytes;
        uint32_t metric;

        while (rollup_packed_next(&packed, &metric, &bytes) > 0) {
            store_array_add_i64(&deployments, deltas->items[i].deployment);
            store_array_add_i64(&metrics, metric);
            store_array_add_i64(&windows, deltas->items[i].window_ms);
        }
    }
    store_param_binary(&params, store_array_end(&deployments));
    store_param_binary(&params, store_array_end(&metrics));
    store_param_binary(&params, store_array_end(&windows));
    buf_init(&sql, SIZE_MAX);
    buf_append_fmt(
        &sql,
        "SELECT r.state FROM unnest($1::bigint[], $2::bigint[], $3::bigint[])"
        " WITH ORDINALITY AS k(deployment, metric, window_ms, n)"
        " LEFT JOIN %s AS r ON r.deployment = k.deployment::int AND r.metric = k.metric::int"
        " AND r.window_at = timestamptz 'epoch' + k.window_ms * interval '1 ms'"
        " ORDER BY k.n",
        table);
    return store_query_binary(fold->conn, buf_text(&sql), &params, "read rollups", fold->err);
}

static void copy_double(struct copy *copy, bool there, double value)
{
    uint64_t bits;

    if (!there || !isfinite(value)) {
        copy_null(copy);
        return;
    }
    memcpy(&bits, &value, sizeof(bits));
    copy_i64(copy, (int64_t)bits);
}

static int fold_copy_row(struct fold *fold, struct copy *copy, const struct delta *delta,
                         uint32_t metric)
{
    const struct rollup *rollup = &fold->rollup;
    bool counts = rollup->count > 0;

    buf_clear(&fold->bytes);
    rollup_write(rollup, &fold->bytes);
    copy_row(copy, FOLD_COPY_COLUMNS);
    copy_i32(copy, delta->deployment);
    copy_i32(copy, (int32_t)metric);
    copy_time_ms(copy, delta->window_ms);
    copy_i64(copy, (int64_t)rollup->count);
    copy_i64(copy, (int64_t)rollup->nulls);
    copy_double(copy, counts, counts ? rollup_sum(rollup) : 0);
    copy_double(copy, counts, counts ? rollup_mean(rollup) : 0);
    copy_double(copy, counts, counts ? rollup_stddev(rollup) : 0);
    copy_double(copy, counts, rollup->min);
    copy_double(copy, counts, rollup->max);
    copy_bytes(copy, buf_span(&fold->bytes));
    return copy_flush(copy, fold->err);
}

static int fold_broken(struct fold *fold, const struct delta *delta, const char *what)
{
    return err_set(fold->err, ERR_FATAL,
                   "%s of deployment %d at %" PRId64 " is damaged: run plumbline verify", what,
                   delta->deployment, delta->window_ms);
}

/* Which rows a COPY writes. */
enum fold_rows {
    FOLD_FRESH,   /* that nothing stands of yet */
    FOLD_CHANGED, /* the others */
};

static int fold_copy_all(struct fold *fold, struct copy *copy, const struct deltas *deltas,
                         const PGresult *standing, enum fold_rows which)
{
    int row = 0;

    for (size_t i = 0; i < deltas->len; i++) {
        const struct delta *delta = &deltas->items[i];
        struct rollup_packed packed = rollup_packed_begin(deltas_bytes(deltas, delta));
        struct span bytes;
        uint32_t metric;

        for (; rollup_packed_next(&packed, &metric, &bytes) > 0; row++) {
            bool stands = standing && !PQgetisnull(standing, row, 0);

            if (stands != (which == FOLD_CHANGED))
                continue;
            rollup_clear(&fold->rollup);
            if (stands && rollup_merge_bytes(&fold->rollup, &fold->scratch,
                                             store_get_span(standing, row, 0)) < 0)
                return fold_broken(fold, delta, "a rollup");
            if (rollup_merge_bytes(&fold->rollup, &fold->scratch, bytes) < 0)
                return fold_broken(fold, delta, "a delta");
            if (fold_copy_row(fold, copy, delta, metric) < 0)
                return -1;
        }
    }
    return 0;
}

static int fold_copy(struct fold *fold, const char *table, const struct deltas *deltas,
                     const PGresult *standing, enum fold_rows which)
{
    struct copy *copy = &fold->store->copy;
    struct copy_failure failure;
    AUTO(buf_done) struct buf sql;

    buf_init(&sql, SIZE_MAX);
    buf_append_fmt(&sql,
                   "COPY %s (deployment, metric, window_at, count, nulls, sum, mean, stddev, min,"
                   " max, state) FROM STDIN (FORMAT binary)",
                   table);
    if (copy_begin(copy, fold->conn, buf_text(&sql), fold->err) < 0 ||
        fold_copy_all(fold, copy, deltas, standing, which) < 0)
        return -1;
    return copy_end(copy, "COPY rollups", &failure, fold->err);
}

static int fold_update(struct fold *fold, const char *table, const struct deltas *deltas,
                       const PGresult *standing)
{
    AUTO(buf_done) struct buf sql;

    buf_init(&sql, SIZE_MAX);
    if (fold_copy(fold, "staged_rollup", deltas, standing, FOLD_CHANGED) < 0)
        return -1;
    buf_append_fmt(&sql,
                   "INSERT INTO %s SELECT * FROM staged_rollup"
                   " ON CONFLICT (deployment, metric, window_at) DO UPDATE SET"
                   " count = excluded.count, nulls = excluded.nulls, sum = excluded.sum,"
                   " mean = excluded.mean, stddev = excluded.stddev, min = excluded.min,"
                   " max = excluded.max, state = excluded.state;"
                   "DELETE FROM staged_rollup",
                   table);
    return store_exec(fold->conn, buf_text(&sql), "write rollups", fold->err);
}

/* Writes the rows of one table: `standing` (NULL: nothing stands) + `deltas`. Always an insert or
 * an update of the rollup row itself, so that of two that do it at the same time one fails. */
static int fold_write(struct fold *fold, const char *table, const struct deltas *deltas,
                      const PGresult *standing)
{
    int rows = standing ? PQntuples(standing) : 0, changed = 0;

    for (int i = 0; i < rows; i++)
        changed += !PQgetisnull(standing, i, 0);
    if (deltas->len && (!standing || changed < rows) &&
        fold_copy(fold, table, deltas, standing, FOLD_FRESH) < 0)
        return -1;
    return changed ? fold_update(fold, table, deltas, standing) : 0;
}

/* Somebody else was there first. */
static bool fold_collided(const struct err *err)
{
    return store_is_conflict(err) || strstr(err->text, "(SQLSTATE 23505") != NULL;
}

/* ----------------------------------------------------------------------------------- the deltas */

/* Those of one wider window become one. */
static int fold_widen(struct fold *fold, const struct deltas *from, enum window_width window,
                      struct deltas *to)
{
    size_t i = 0;

    deltas_clear(to);
    while (i < from->len) {
        int32_t deployment = from->items[i].deployment;
        int64_t window_ms = window_floor(from->items[i].window_ms, window);
        size_t offset = to->bytes.len;

        rollup_group_clear(fold->group);
        for (; i < from->len && from->items[i].deployment == deployment &&
               window_floor(from->items[i].window_ms, window) == window_ms;
             i++) {
            if (rollup_group_merge_packed(fold->group, deltas_bytes(from, &from->items[i])) < 0)
                return fold_broken(fold, &from->items[i], "a delta");
        }
        rollup_group_write(fold->group, &to->bytes);
        deltas_add(to, deployment, window_ms, offset);
    }
    return 0;
}

/* Rows (ctid, deployment, milliseconds, delta), by (deployment, minute), from behind the deployment
 * that was the last one before: none of them waits for ever when more comes than is folded. Minutes
 * to recount are left out by a window function: a join would be a nested loop here, thousands by
 * thousands. */
static PGresult *fold_read_deltas(struct fold *fold)
{
    int32_t behind = fold->store->fold_behind[fold->share];
    AUTO(buf_done) struct buf sql;

    buf_init(&sql, SIZE_MAX);
    buf_append_fmt(
        &sql,
        "WITH pending AS (SELECT ctid, *,"
        " bool_or(recount) OVER (PARTITION BY deployment, window_at) AS is_marked"
        " FROM rollup_delta WHERE deployment %% %d = %d),"
        " counted AS (SELECT *, deployment <= %d AS had_turn,"
        " sum(length(delta)) OVER (ORDER BY deployment <= %d, deployment, window_at, ctid) AS"
        " bytes FROM pending WHERE NOT is_marked)"
        " SELECT ctid, deployment::bigint, (extract(epoch FROM window_at) * 1000)::bigint, delta"
        " FROM counted WHERE bytes - length(delta) < %d"
        " ORDER BY had_turn, deployment, window_at LIMIT %d",
        STORE_FOLD_SHARES, fold->share, behind, behind, FOLD_BYTES_MAX, FOLD_DELTAS_MAX);
    return store_query_binary(fold->conn, buf_text(&sql), NULL, "read deltas", fold->err);
}

static int fold_delete(struct fold *fold, const PGresult *rows)
{
    AUTO(store_array_done) struct store_array ctids;
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };

    store_array_init(&ctids, STORE_OID_TID);
    for (int i = 0; i < PQntuples(rows); i++)
        store_array_add_text(&ctids, store_get_span(rows, i, 0));
    store_param_binary(&params, store_array_end(&ctids));
    result = store_query_params(fold->conn, "DELETE FROM rollup_delta WHERE ctid = ANY ($1)",
                                &params, "delete deltas", fold->err);
    return result ? 0 : -1;
}

/* The deltas, those of one minute merged. */
static int fold_gather(struct fold *fold, const PGresult *rows, struct deltas *minutes)
{
    struct deltas single;
    int rc;

    deltas_init(&single);
    for (int i = 0; i < PQntuples(rows); i++) {
        size_t offset = single.bytes.len;

        buf_append_span(&single.bytes, store_get_span(rows, i, 3));
        deltas_add(&single, (int32_t)store_get_i64(rows, i, 1), store_get_i64(rows, i, 2), offset);
    }
    rc = fold_widen(fold, &single, WINDOW_MINUTE, minutes);
    deltas_done(&single);
    return rc;
}

/* Partitions are made before, in transactions of their own. 1: all are there. 0: some had to be
 * made, so the transaction has to begin anew. */
static int fold_partitions(struct fold *fold, const struct deltas *deltas)
{
    struct partitions *partitions = fold->store->setup.partitions;
    bool are_there = true, made;

    for (size_t t = 0; t < LENGTH(fold_tables); t++) {
        for (size_t i = 0; i < deltas->len; i++) {
            int64_t from_ms =
                partitions_floor(partitions, fold_tables[t].family, deltas->items[i].window_ms);

            if (partitions_has(partitions, fold_tables[t].family, from_ms))
                continue;
            if (are_there && attempt_rollback(fold->store) < 0)
                return -1;
            are_there = false;
            if (partitions_ensure(partitions, fold->conn, fold_tables[t].family, from_ms, &made,
                                  fold->err) < 0)
                return -1;
        }
    }
    return are_there;
}

/* 1: folded. 0: to be done again. */
static int fold_deltas(struct fold *fold, const PGresult *rows)
{
    struct deltas minutes, wide;
    int rc;

    deltas_init(&minutes);
    deltas_init(&wide);
    rc = fold_gather(fold, rows, &minutes);
    if (rc == 0)
        rc = fold_partitions(fold, &minutes);
    for (size_t t = 0; t < LENGTH(fold_tables) && rc > 0; t++) {
        AUTO(store_result_free) PGresult *standing = NULL;

        if (fold_widen(fold, &minutes, fold_tables[t].window, &wide) < 0 ||
            !(standing = fold_read_standing(fold, fold_tables[t].table, &wide)) ||
            fold_write(fold, fold_tables[t].table, &wide, standing) < 0)
            rc = -1;
    }
    if (rc > 0 && fold_delete(fold, rows) < 0)
        rc = -1;
    deltas_done(&minutes);
    deltas_done(&wide);
    return rc;
}

/* --------------------------------------------------------------------------------- the recounts */

/* Every metric of one deployment: the key of the rollup tables begins with it. */
#define FOLD_METRICS                                                                               \
    "(SELECT metric FROM metric_name WHERE deployment = %1$d UNION ALL VALUES (0), (1), (2)) AS m"

/* Adds up the rows of `from` that lie in the window into fold->group. */
static int fold_add_up(struct fold *fold, const char *from, int32_t deployment, int64_t start_ms,
                       int64_t end_ms)
{
    AUTO(store_result_free) PGresult *rows = NULL;
    AUTO(buf_done) struct buf sql;
    char start[CLOCK_TEXT_BYTES], end[CLOCK_TEXT_BYTES];

    clock_format(start_ms, start);
    clock_format(end_ms, end);
    buf_init(&sql, SIZE_MAX);
    buf_append_fmt(&sql,
                   "SELECT m.metric::bigint, r.state FROM " FOLD_METRICS
                   " JOIN %2$s AS r ON r.deployment = %1$d AND r.metric = m.metric"
                   " AND r.window_at >= timestamptz '%3$s' AND r.window_at < timestamptz '%4$s'",
                   deployment, from, start, end);
    rows = store_query_binary(fold->conn, buf_text(&sql), NULL, "read rollups", fold->err);
    if (!rows)
        return -1;
    rollup_group_clear(fold->group);
    for (int i = 0; i < PQntuples(rows); i++) {
        struct delta delta = { .deployment = deployment, .window_ms = start_ms };
        struct rollup *rollup = rollup_group_get(fold->group, (uint32_t)store_get_i64(rows, i, 0));

        if (rollup_merge_bytes(rollup, &fold->scratch, store_get_span(rows, i, 1)) < 0)
            return fold_broken(fold, &delta, "a rollup");
    }
    return 0;
}

/* What `group` holds becomes the window's rows, and nothing else stays. */
static int fold_replace(struct fold *fold, struct rollup_group *group, const char *table,
                        int32_t deployment, int64_t window_ms)
{
    struct deltas fresh;
    AUTO(buf_done) struct buf sql;
    char window[CLOCK_TEXT_BYTES];
    int rc;

    clock_format(window_ms, window);
    buf_init(&sql, SIZE_MAX);
    buf_append_fmt(&sql,
                   "DELETE FROM %2$s AS r USING " FOLD_METRICS
                   " WHERE r.deployment = %1$d AND r.metric = m.metric"
                   " AND r.window_at = timestamptz '%3$s'",
                   deployment, table, window);
    deltas_init(&fresh);
    rollup_group_write(group, &fresh.bytes);
    deltas_add(&fresh, deployment, window_ms, 0);
    rc = store_exec(fold->conn, buf_text(&sql), "write rollups", fold->err);
    if (rc == 0)
        rc = fold_write(fold, table, &fresh, NULL);
    deltas_done(&fresh);
    return rc;
}

/* Whatever is pending for these minutes. The one statement of folding where a join of two lists is
 * right to hash. */
static int fold_delete_minutes(struct fold *fold, const struct deltas *minutes)
{
    AUTO(store_array_done) struct store_array deployments, windows;
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };

    store_array_init(&deployments, STORE_OID_INT8);
    store_array_init(&windows, STORE_OID_INT8);
    if (store_exec(fold->conn, "SET LOCAL enable_hashjoin = on", "delete deltas", fold->err) < 0)
        return -1;
    for (size_t i = 0; i < minutes->len; i++) {
        store_array_add_i64(&deployments, minutes->items[i].deployment);
        store_array_add_i64(&windows, minutes->items[i].window_ms);
    }
    store_param_binary(&params, store_array_end(&deployments));
    store_param_binary(&params, store_array_end(&windows));
    result = store_query_params(
        fold->conn,
        "DELETE FROM rollup_delta AS d USING unnest($1::bigint[]::int[], $2::bigint[])"
        " AS m(deployment, window_ms) WHERE d.deployment = m.deployment"
        " AND d.window_at = timestamptz 'epoch' + m.window_ms * interval '1 ms'",
        &params, "delete deltas", fold->err);
    if (!result)
        return -1;
    return store_exec(fold->conn, "SET LOCAL enable_hashjoin = off", "delete deltas", fold->err);
}

/* 1: the minute is counted anew, its hour and day with it. 0: to be done again. */
static int fold_recount(struct fold *fold, int32_t deployment, int64_t window_ms)
{
    AUTO(recount_free) struct recount *recount = NULL;
    int32_t counted_deployment;
    int64_t counted_ms, hour_ms = window_floor(window_ms, WINDOW_HOUR),
                        day_ms = window_floor(window_ms, WINDOW_DAY);

    recount = recount_begin(fold->conn, &fold->store->counter, deployment, window_ms,
                            window_next(window_ms, WINDOW_MINUTE), fold->err);
    if (!recount)
        return -1;
    rollup_group_clear(fold->store->counter.group);
    if (recount_next(recount, &counted_deployment, &counted_ms, fold->err) < 0)
        return -1;
    recount_free(TAKE(recount));
    if (fold->store->counter.missing_len) {
        if (attempt_rollback(fold->store) < 0 ||
            metric_counter_ask(&fold->store->counter, fold->conn,
                               fold->store->setup.config->metric_names_max, fold->err) < 0)
            return -1;
        return 0;
    }
    if (fold_replace(fold, fold->store->counter.group, "rollup_1m", deployment, window_ms) < 0 ||
        fold_add_up(fold, "rollup_1m", deployment, hour_ms, window_next(hour_ms, WINDOW_HOUR)) <
            0 ||
        fold_replace(fold, fold->group, "rollup_1h", deployment, hour_ms) < 0 ||
        fold_add_up(fold, "rollup_1h", deployment, day_ms, window_next(day_ms, WINDOW_DAY)) < 0 ||
        fold_replace(fold, fold->group, "rollup_1d", deployment, day_ms) < 0)
        return -1;
    return 1;
}

/* 1: what there was is recounted, *len of them. 0: to be done again. */
static int fold_recounts(struct fold *fold, int *len)
{
    AUTO(store_result_free) PGresult *windows = NULL;
    AUTO(buf_done) struct buf sql;
    struct deltas minutes;
    int rc;

    metric_counter_trim(&fold->store->counter);
    buf_init(&sql, SIZE_MAX);
    buf_append_fmt(
        &sql,
        "SELECT DISTINCT deployment::bigint, (extract(epoch FROM window_at) * 1000)::bigint"
        " FROM rollup_delta WHERE recount AND deployment %% %d = %d LIMIT %d",
        STORE_FOLD_SHARES, fold->share, FOLD_RECOUNTS_MAX);
    windows = store_query_binary(fold->conn, buf_text(&sql), NULL, "read recounts", fold->err);
    if (!windows)
        return -1;
    *len = PQntuples(windows);
    deltas_init(&minutes);
    for (int i = 0; i < *len; i++)
        deltas_add_recount(&minutes, (int32_t)store_get_i64(windows, i, 0),
                           store_get_i64(windows, i, 1));
    rc = fold_partitions(fold, &minutes);
    for (size_t i = 0; i < minutes.len && rc > 0; i++)
        rc = fold_recount(fold, minutes.items[i].deployment, minutes.items[i].window_ms);
    if (rc > 0 && minutes.len && fold_delete_minutes(fold, &minutes) < 0)
        rc = -1;
    deltas_done(&minutes);
    return rc;
}

/* ------------------------------------------------------------------------------------ the round */

/* Begins the transaction. 1: the share is ours. 0: another daemon has it. */
static int fold_begin(struct fold *fold)
{
    AUTO(store_result_free) PGresult *result = NULL;
    char sql[128];

    (void)
        snprintf(sql, sizeof(sql),
                 "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_try_advisory_xact_lock(%d, %d)",
                 STORE_LOCK_FOLD_CLASS, fold->share);
    result = store_query(fold->conn, sql, "begin fold", fold->err);
    if (!result)
        return -1;
    return store_get_bool(result, 0, 0);
}

/* *folded: so many deltas or windows. What another daemon changed meanwhile is left for the next
 * time. */
static int fold_share(struct fold *fold, uint64_t *folded)
{
    AUTO(store_result_free) PGresult *rows = NULL;
    int recounts = 0, rc = fold_begin(fold);

    if (rc > 0)
        rc = fold_recounts(fold, &recounts);
    if (rc > 0) {
        rows = fold_read_deltas(fold);
        rc = !rows ? -1 : PQntuples(rows) ? fold_deltas(fold, rows) : 1;
    }
    if (rc > 0 && store_exec(fold->conn, "COMMIT", "fold", fold->err) == 0) {
        if (PQntuples(rows))
            fold->store->fold_behind[fold->share] =
                (int32_t)store_get_i64(rows, PQntuples(rows) - 1, 1);
        *folded += (uint64_t)(recounts + PQntuples(rows));
        stats_add(fold->store->setup.stats, STAT_ROLLUP_PENDING, -PQntuples(rows));
        return 0;
    }
    if (rc >= 0 || fold_collided(fold->err))
        return attempt_rollback(fold->store);
    return -1;
}

/* How much there is to fold, and how old it is. */
static int fold_gauges(struct fold *fold)
{
    struct stats *stats = fold->store->setup.stats;
    AUTO(store_result_free)
    PGresult *result = store_query(
        fold->conn,
        "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() -"
        " (SELECT recorded_at FROM ingest_batch WHERE batch_id = min(d.batch_id)))::bigint,"
        " 0) FROM rollup_delta AS d",
        "gauges", fold->err);

    if (!result)
        return -1;
    stats_set(stats, STAT_ROLLUP_PENDING, store_get_i64(result, 0, 0));
    stats_set(stats, STAT_ROLLUP_LAG_SECONDS, store_get_i64(result, 0, 1));
    return 0;
}

/* Deltas are written once and deleted: without this the table would grow until autovacuum looks. */
static int fold_vacuum(struct fold *fold, uint64_t folded)
{
    fold->store->folded += folded;
    if (fold->store->folded < FOLD_VACUUM_EVERY)
        return 0;
    fold->store->folded = 0;
    return store_exec(fold->conn, "VACUUM rollup_delta", "vacuum", fold->err);
}

/* Half of what makes batches wait. */
static bool fold_is_due(const struct store *store)
{
    return stats_get(store->setup.stats, STAT_ROLLUP_PENDING) >
           store->setup.config->rollup_pending_max / 2;
}

static int fold_round(struct fold *fold, bool *more)
{
    uint64_t folded = 0;

    if (store_ready(fold->store, fold->err) < 0)
        return -1;
    fold->conn = fold->store->conn;
    for (fold->share = 0; fold->share < STORE_FOLD_SHARES; fold->share++) {
        if (fold_share(fold, &folded) < 0)
            return -1;
    }
    stats_add(fold->store->setup.stats, STAT_ROLLUP_FOLDED, (int64_t)folded);
    if (fold_vacuum(fold, folded) < 0 || fold_gauges(fold) < 0)
        return -1;
    *more = fold_is_due(fold->store);
    return 0;
}

/* Many deltas at a time are cheaper: what meets in one minute is added to it once, and a burst is
 * over before it is folded. So a long round is followed by a long rest, unless too much is pending
 * already. */
static int64_t fold_rest_until(int64_t began_ms)
{
    int64_t now_ms = clock_mono_ms(), rest_ms = (now_ms - began_ms) * FOLD_REST_TIMES;

    return now_ms + (rest_ms < FOLD_REST_MS_MAX ? rest_ms : FOLD_REST_MS_MAX);
}

int store_fold(struct store *store, int64_t now_ms, bool *more, struct err *err)
{
    struct fold fold = { .store = store, .err = err };
    int64_t began_ms = clock_mono_ms();
    int rc;

    (void)now_ms;
    *more = false;
    if (began_ms < store->fold_after_ms && !fold_is_due(store))
        return 0;
    fold.group = rollup_group_new();
    rollup_init(&fold.rollup);
    rollup_init(&fold.scratch);
    buf_init(&fold.bytes, SIZE_MAX);
    store_busy(store, true);
    rc = fold_round(&fold, more);
    store_busy(store, false);
    store->fold_after_ms = rc < 0 ? 0 : fold_rest_until(began_ms);
    if (rc < 0)
        store_disconnect(store);
    rollup_group_free(fold.group);
    rollup_done(&fold.rollup);
    rollup_done(&fold.scratch);
    buf_done(&fold.bytes);
    return rc;
}
