#include "collector/verify.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "collector/store_delta_internal.h"
#include "collector/store_internal.h"
#include "collector/store_recount_internal.h"

/* A walk over windows in the order of (deployment, window): rows of a table added up to `width`,
 * with what is pending between them; or raw rows counted. */
struct walk {
    PGconn *conn;
    enum window_width width;
    struct rollup_group *group; /* of the window */
    int32_t deployment;
    int64_t window_ms;
    bool is_over;
    bool is_marked; /* what is pending says that the window is to be counted anew */

    struct recount *recount; /* raw rows */
    struct metric_counter *counter;
    PGconn *names; /* to read the names that are counted while conn is in use */

    PGresult *row;         /* a table: the first of the next window */
    struct rollup scratch; /* in use while conn is a table's */
};

/* In the place of a metric: a delta of the whole window, and one that marks it. */
enum { WALK_DELTA = -1, WALK_MARK = -2 };

/* What is being verified. */
struct verification {
    struct verify *verify;
    PGconn *expected, *found, *names; /* three connections, one snapshot */
    struct metric_counter counter;
    struct rollup_group *expected_group, *found_group;
    int64_t horizon_ms[WINDOW_WIDTHS]; /* windows before it have lost what they were counted from */
    struct buf expected_bytes, found_bytes;
    struct err *err;
};

/* ---------------------------------------------------------------------------------------- walks */

static int walk_fail(struct err *err, int32_t deployment, int64_t window_ms)
{
    return err_set(err, ERR_FATAL,
                   "a rollup of deployment %" PRId32 " at %" PRId64 " can't be read", deployment,
                   window_ms);
}

static int walk_advance(struct walk *walk, struct err *err)
{
    PQclear(walk->row);
    walk->row = PQgetResult(walk->conn);
    if (PQresultStatus(walk->row) == PGRES_SINGLE_TUPLE)
        return 0;
    if (PQresultStatus(walk->row) != PGRES_TUPLES_OK) {
        (void)store_fail(walk->conn, walk->row, "verify", err);
        err->kind = ERR_RETRY;
        return -1;
    }
    PQclear(TAKE(walk->row));
    return 0;
}

/* Of minutes also what is pending. */
static int walk_begin_table(struct walk *walk, const char *table, bool adds_pending,
                            int64_t from_ms, int64_t to_ms, struct err *err)
{
    AUTO(buf_done) struct buf sql;
    char from[CLOCK_TEXT_BYTES], to[CLOCK_TEXT_BYTES];

    clock_format(from_ms, from);
    clock_format(to_ms, to);
    buf_init(&sql, SIZE_MAX);
    buf_append_fmt(&sql,
                   "SELECT deployment, (extract(epoch FROM window_at) * 1000)::bigint, metric,"
                   " state FROM (SELECT deployment, window_at, metric, state FROM %s"
                   " WHERE window_at >= timestamptz '%s' AND window_at < timestamptz '%s'",
                   table, from, to);
    if (adds_pending)
        buf_append_fmt(&sql,
                       " UNION ALL SELECT deployment, window_at, CASE WHEN recount THEN %d ELSE %d"
                       " END, delta FROM rollup_delta"
                       " WHERE window_at >= timestamptz '%s' AND window_at < timestamptz '%s'",
                       WALK_MARK, WALK_DELTA, from, to);
    buf_append_text(&sql, ") AS t ORDER BY deployment, window_at, metric");
    rollup_init(&walk->scratch);
    if (PQsendQueryParams(walk->conn, buf_text(&sql), 0, NULL, NULL, NULL, NULL, 1) != 1 ||
        PQsetSingleRowMode(walk->conn) != 1)
        return store_fail(walk->conn, NULL, "verify", err);
    return walk_advance(walk, err);
}

static void walk_end(struct walk *walk)
{
    PGresult *rest;

    if (walk->recount) {
        recount_free(TAKE(walk->recount));
        return;
    }
    PQclear(TAKE(walk->row));
    while ((rest = PQgetResult(walk->conn)))
        PQclear(rest);
    rollup_done(&walk->scratch);
}

static bool walk_row_is(const struct walk *walk)
{
    return walk->row && store_get_i64(walk->row, 0, 0) == walk->deployment &&
           window_floor(store_get_i64(walk->row, 0, 1), walk->width) == walk->window_ms;
}

static int walk_add_row(struct walk *walk)
{
    int64_t metric = store_get_i64(walk->row, 0, 2);
    struct span bytes = store_get_span(walk->row, 0, 3);

    if (metric == WALK_MARK) {
        walk->is_marked = true;
        return 0;
    }
    if (metric == WALK_DELTA)
        return rollup_group_merge_packed(walk->group, bytes);
    return rollup_merge_bytes(rollup_group_get(walk->group, (uint32_t)metric), &walk->scratch,
                              bytes);
}

static int walk_count(struct walk *walk, struct err *err)
{
    int32_t deployment = recount_deployment(walk->recount);
    int rc;

    if (deployment && metric_counter_load(walk->counter, walk->names, deployment, err) < 0)
        return -1;
    rc = recount_next(walk->recount, &walk->deployment, &walk->window_ms, err);
    walk->is_over = rc == 0;
    return rc < 0 ? -1 : 0;
}

static int walk_next(struct walk *walk, struct err *err)
{
    if (walk->recount)
        return walk_count(walk, err);
    rollup_group_clear(walk->group);
    walk->is_over = !walk->row;
    walk->is_marked = false;
    if (walk->is_over)
        return 0;
    walk->deployment = (int32_t)store_get_i64(walk->row, 0, 0);
    walk->window_ms = window_floor(store_get_i64(walk->row, 0, 1), walk->width);
    while (walk_row_is(walk)) {
        if (walk_add_row(walk) < 0)
            return walk_fail(err, walk->deployment, walk->window_ms);
        if (walk_advance(walk, err) < 0)
            return -1;
    }
    return 0;
}

/* ------------------------------------------------------------------------------------ comparing */

static uint64_t rollup_values(const struct rollup *rollup)
{
    return rollup ? rollup->count + rollup->categories.count + rollup->nulls : 0;
}

static void verify_note(struct verification *v, const struct walk *at, uint32_t metric,
                        const struct rollup *expected, const struct rollup *found)
{
    struct verify *verify = v->verify;

    verify->differing++;
    if (verify->differences_len == VERIFY_DIFFERENCES_MAX)
        return;
    if (!verify->differences)
        verify->differences = xcalloc(VERIFY_DIFFERENCES_MAX, sizeof(*verify->differences));
    verify->differences[verify->differences_len++] = (struct verify_difference){
        .width = at->width,
        .deployment = at->deployment,
        .metric = metric,
        .window_ms = at->window_ms,
        .expected = rollup_values(expected),
        .found = rollup_values(found),
    };
}

static bool verify_rollup_equal(struct verification *v, const struct rollup *expected,
                                const struct rollup *found)
{
    buf_clear(&v->expected_bytes);
    buf_clear(&v->found_bytes);
    if (expected && !rollup_is_empty(expected))
        rollup_write(expected, &v->expected_bytes);
    if (found && !rollup_is_empty(found))
        rollup_write(found, &v->found_bytes);
    return span_equal(buf_span(&v->expected_bytes), buf_span(&v->found_bytes));
}

/* The same window on both sides; a side that has nothing there is NULL. */
static void verify_compare(struct verification *v, const struct walk *at,
                           struct rollup_group *expected, struct rollup_group *found)
{
    uint32_t id;

    v->verify->windows++;
    for (uint32_t i = 0; expected && i < rollup_group_len(expected); i++) {
        const struct rollup *rollup = rollup_group_at(expected, i, &id);
        const struct rollup *other = found ? rollup_group_find(found, id) : NULL;

        if (!verify_rollup_equal(v, rollup, other))
            verify_note(v, at, id, rollup, other);
    }
    for (uint32_t i = 0; found && i < rollup_group_len(found); i++) {
        const struct rollup *rollup = rollup_group_at(found, i, &id);

        if (!expected || !rollup_group_find(expected, id)) {
            if (!verify_rollup_equal(v, NULL, rollup))
                verify_note(v, at, id, NULL, rollup);
        }
    }
}

static int walk_order(const struct walk *a, const struct walk *b)
{
    if (a->is_over || b->is_over)
        return (int)a->is_over - (int)b->is_over;
    if (a->deployment != b->deployment)
        return a->deployment < b->deployment ? -1 : 1;
    return (a->window_ms > b->window_ms) - (a->window_ms < b->window_ms);
}

static int verify_walks(struct verification *v, struct walk *expected, struct walk *found)
{
    if (walk_next(expected, v->err) < 0 || walk_next(found, v->err) < 0)
        return -1;
    while (!expected->is_over || !found->is_over) {
        int order = walk_order(expected, found);
        const struct walk *at = order <= 0 ? expected : found;

        if (order >= 0 && found->is_marked)
            v->verify->recounts++;
        else
            verify_compare(v, at, order <= 0 ? expected->group : NULL,
                           order >= 0 ? found->group : NULL);
        if ((order <= 0 && walk_next(expected, v->err) < 0) ||
            (order >= 0 && walk_next(found, v->err) < 0))
            return -1;
    }
    return 0;
}

/* --------------------------------------------------------------------------------------- chunks */

/* Minutes of the tables, with what is pending, against raw rows. */
static int verify_minutes(struct verification *v, int64_t from_ms, int64_t to_ms)
{
    struct walk expected = {
        .conn = v->expected, .group = v->counter.group, .counter = &v->counter, .names = v->names
    };
    struct walk found = { .conn = v->found, .group = v->found_group };
    int rc = -1;

    expected.recount = recount_begin(v->expected, &v->counter, 0, from_ms, to_ms, v->err);
    if (!expected.recount)
        return -1;
    if (walk_begin_table(&found, "rollup_1m", true, from_ms, to_ms, v->err) == 0)
        rc = verify_walks(v, &expected, &found);
    walk_end(&expected);
    walk_end(&found);
    return rc;
}

/* A table against the next finer one. What is pending is in neither. */
static int verify_wider(struct verification *v, enum window_width width, int64_t from_ms,
                        int64_t to_ms)
{
    struct walk expected = { .conn = v->expected, .width = width, .group = v->expected_group };
    struct walk found = { .conn = v->found, .width = width, .group = v->found_group };
    int rc = -1;

    if (walk_begin_table(&expected, width == WINDOW_HOUR ? "rollup_1m" : "rollup_1h", false,
                         from_ms, to_ms, v->err) == 0 &&
        walk_begin_table(&found, width == WINDOW_HOUR ? "rollup_1h" : "rollup_1d", false, from_ms,
                         to_ms, v->err) == 0)
        rc = verify_walks(v, &expected, &found);
    walk_end(&expected);
    walk_end(&found);
    return rc;
}

/* One width over the whole span, a day at a time: what is sorted stays small. */
static int verify_width(struct verification *v, enum window_width width, const PGresult *days)
{
    struct verify *verify = v->verify;

    for (int i = 0; i < PQntuples(days); i++) {
        int64_t at_ms = store_get_i64(days, i, 0), next_ms = window_next(at_ms, WINDOW_DAY);

        if (next_ms <= verify->from_ms || at_ms > verify->to_ms || at_ms < v->horizon_ms[width])
            continue;
        if (verify->progress)
            verify->progress(verify->ctx, verify, width, at_ms);
        if ((width == WINDOW_MINUTE ? verify_minutes(v, at_ms, next_ms)
                                    : verify_wider(v, width, at_ms, next_ms)) < 0)
            return -1;
    }
    return 0;
}

/* Three connections with one snapshot, so that one can be read beside the others. */
static int verify_connect(struct verification *v, const char *dsn)
{
    AUTO(store_result_free) PGresult *snapshot = NULL;
    AUTO(buf_done) struct buf sql;

    buf_init(&sql, SIZE_MAX);
    v->expected = store_connect(dsn, "verify", v->err);
    v->found = v->expected ? store_connect(dsn, "verify", v->err) : NULL;
    v->names = v->found ? store_connect(dsn, "verify", v->err) : NULL;
    if (!v->names)
        return -1;
    snapshot = store_query(v->expected, STORE_BEGIN_READ "SELECT pg_export_snapshot()",
                           "begin verify", v->err);
    if (!snapshot)
        return -1;
    buf_append_fmt(&sql,
                   "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT "
                   "'%s';" STORE_IDLE_READ,
                   PQgetvalue(snapshot, 0, 0));
    if (store_exec(v->names, buf_text(&sql), "begin verify", v->err) < 0)
        return -1;
    return store_exec(v->found, buf_text(&sql), "begin verify", v->err);
}

static int verify_load_horizons(struct verification *v)
{
    static const char *const counted_from[] = {
        [WINDOW_MINUTE] = "event", [WINDOW_HOUR] = "rollup_1m", [WINDOW_DAY] = "rollup_1h"
    };
    AUTO(store_result_free)
    PGresult *rows = store_query(v->found,
                                 "SELECT family, (extract(epoch FROM at) * 1000)::bigint"
                                 " FROM retention_horizon",
                                 "read horizons", v->err);

    if (!rows)
        return -1;
    for (size_t width = 0; width < WINDOW_WIDTHS; width++) {
        v->horizon_ms[width] = INT64_MIN;
        for (int i = 0; i < PQntuples(rows); i++) {
            if (strcmp(PQgetvalue(rows, i, 0), counted_from[width]) == 0)
                v->horizon_ms[width] = store_get_i64(rows, i, 1);
        }
    }
    return 0;
}

/* The days that can have windows of a width: those of the partitions that are not empty, of its own
 * and of what it is counted from. Partitions by hour and by day are wide, so days are asked of the
 * rows, of which there are few. */
static PGresult *verify_read_days(struct verification *v, enum window_width width)
{
#define PARTITION_DAYS(families)                                                                   \
    "SELECT day FROM time_partition, generate_series(from_at, to_at - interval '1 ms',"            \
    " interval '1 day') AS day WHERE family IN (" families ") AND EXISTS (SELECT FROM"             \
    " unnest(partition_parents(family)) AS parent"                                                 \
    " WHERE pg_relation_size(to_regclass(format('%I', parent || '_' || suffix))) > 0)"
    static const char *const days[] = {
        [WINDOW_MINUTE] = PARTITION_DAYS("'event', 'rollup_1m'"),
        [WINDOW_HOUR] = (PARTITION_DAYS(
            "'rollup_1m'") " UNION SELECT date_trunc('day', window_at) FROM rollup_1h"),
        [WINDOW_DAY] = "SELECT date_trunc('day', window_at) FROM rollup_1h"
                       " UNION SELECT window_at FROM rollup_1d",
    };
    AUTO(buf_done) struct buf sql;

    buf_init(&sql, SIZE_MAX);
    buf_append_text(&sql, "SELECT DISTINCT (extract(epoch FROM day) * 1000)::bigint FROM (");
    buf_append_text(&sql, days[width]);
    buf_append_text(&sql, ") AS days(day) ORDER BY 1");
    return store_query(v->found, buf_text(&sql), "read days", v->err);
}

/* The database says it, whatever the configuration of this command is. */
static int verify_check_kept(struct verification *v)
{
    AUTO(store_result_free)
    PGresult *kept = store_query(v->found,
                                 "SELECT NOT EXISTS (SELECT FROM setting"
                                 " WHERE name = 'rollups' AND value = 'false')",
                                 "setting", v->err);

    if (!kept)
        return -1;
    if (!store_get_bool(kept, 0, 0))
        return err_set(v->err, ERR_INPUT,
                       "this database keeps no rollups: it was made with rollups: false");
    return 0;
}

static int verify_all(struct verification *v)
{
    if (verify_check_kept(v) < 0 || verify_load_horizons(v) < 0)
        return -1;
    for (enum window_width width = WINDOW_MINUTE; width < WINDOW_WIDTHS; width++) {
        AUTO(store_result_free) PGresult *days = verify_read_days(v, width);

        if (!days || verify_width(v, width, days) < 0)
            return -1;
    }
    return 0;
}

int verify_run(struct verify *verify, const char *dsn, struct err *err)
{
    struct verification v = { .verify = verify, .err = err };
    int rc = -1;

    metric_counter_init(&v.counter);
    v.expected_group = rollup_group_new();
    v.found_group = rollup_group_new();
    buf_init(&v.expected_bytes, SIZE_MAX);
    buf_init(&v.found_bytes, SIZE_MAX);
    if (verify_connect(&v, dsn) == 0)
        rc = verify_all(&v);
    PQfinish(v.expected);
    PQfinish(v.found);
    PQfinish(v.names);
    metric_counter_done(&v.counter);
    rollup_group_free(v.expected_group);
    rollup_group_free(v.found_group);
    buf_done(&v.expected_bytes);
    buf_done(&v.found_bytes);
    return rc;
}

int verify_name(const char *dsn, const struct verify_difference *difference, char **crn,
                char **metric, struct err *err)
{
    AUTO(store_close) PGconn *conn = store_connect(dsn, "verify", err);
    AUTO(store_result_free) PGresult *row = NULL;
    AUTO(mem_free) char *sql = NULL;

    if (!conn)
        return -1;
    sql = xasprintf("SELECT (SELECT crn FROM model_deployment WHERE deployment = %" PRId32 "),"
                    " coalesce((SELECT kind || ' ' || name FROM metric_name"
                    " WHERE deployment = %" PRId32 " AND metric = %" PRIu32 "),"
                    " (ARRAY['predictions', 'aggregates', 'prediction _latency_ms'])[%" PRIu32
                    " + 1], '')",
                    difference->deployment, difference->deployment, difference->metric,
                    difference->metric);
    row = store_query(conn, sql, "read names", err);
    if (!row)
        return -1;
    *crn = xstrdup(PQgetvalue(row, 0, 0));
    *metric = xstrdup(PQgetvalue(row, 0, 1));
    return 0;
}

void verify_done(struct verify *verify)
{
    free(verify->differences);
    verify->differences = NULL;
}
