/* 30 days of one metric by hour, with three quantiles, over a million and over ten million rows. */
#include <check.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "metrics/rollup.h"
#include "tests/bench/bench.h"
#include "tests/bench/events.h"
#include "tests/harness/http.h"
#include "tests/harness/wait.h"

enum {
    ROWS = 1000000, /* and ten times as many */
    DEPLOYMENTS = 100,
    DAYS = 30,
    HOURS = DAYS * 24,
    READS = 200, /* in each round, each deployment in turn */
    LATENCY_MS = 108,
    VALUES = 999983,      /* different values of the metric */
    METRICS = 3,          /* that a window has */
    COPY_BYTES = 1 << 20, /* to send at once */
    ROWS_PER_BATCH = 500,
};

#define HOUR_MS INT64_C(3600000)

/* In the rollup tables: predictions, _latency_ms, and the metric that is read. */
static const uint32_t metric_numbers[METRICS] = { 0, 2, 3 };

/* ---- the rows ---- */

/* Row i is of deployment i % 100 + 1, at this time, with this millionth of 1 as its value. SQL
 * below computes the same. */
static int64_t row_start_ms(int64_t i, int64_t rows)
{
    return EVENT_WEEK_MS + i * (DAYS * INT64_C(86400000)) / rows;
}

static int64_t row_value(int64_t i)
{
    return i * 7919 % VALUES;
}

/* One event of each deployment in each week through the daemon: catalog, names of metrics and
 * partitions are as it makes them. Then the rows themselves go. */
static void schema_make(const struct daemon *daemon, const char *dsn)
{
    AUTO(http_free) struct http *http = http_new();
    AUTO(mem_free) char *url = daemon_url(daemon, "/v1/events");
    AUTO(buf_done) struct buf body;
    struct http_answer *answer;

    buf_init(&body, SIZE_MAX);
    for (uint32_t i = 0; i < DEPLOYMENTS * (DAYS / 7 + 1); i++) {
        int64_t ms = EVENT_WEEK_MS + (i / DEPLOYMENTS) * INT64_C(7) * 86400000;

        buf_append_text(&body,
                        i ? ",{\"event\":\"track_metrics\"," : "[{\"event\":\"track_metrics\",");
        buf_append_text(&body, "\"modelDeploymentCrn\":\"");
        event_write_crn(&body, i % DEPLOYMENTS);
        buf_append_fmt(&body,
                       "\",\"startTimestampMs\":%" PRId64 ",\"endTimestampMs\":%" PRId64
                       ",\"predictionUuid\":\"00000000-0000-4000-8000-%012" PRIx32
                       "\",\"metrics\":{\"probability\":0.5}}",
                       ms, ms, i);
    }
    buf_append_char(&body, ']');
    answer = http_post(http, url, buf_text(&body));
    ck_assert_msg(answer->status == 200, "%s", answer->body);
    http_answer_free(answer);
    WAIT_UNTIL(60000, pg_query_i64(dsn, "SELECT count(*) FROM rollup_delta") == 0);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM metric_name WHERE metric = 3"
                                       " AND name = 'probability'"),
                     DEPLOYMENTS);
    pg_exec(dsn, "TRUNCATE prediction, rollup_1m, rollup_1h, rollup_1d");
}

static void rows_insert(const char *dsn, int64_t rows)
{
    pg_exec(dsn,
            "INSERT INTO prediction (batch_id, start_at, end_at, deployment, ordinal, uuid, failed,"
            " metrics)"
            " SELECT i / %d + 1, start_at, start_at + interval '%d ms', deployment,"
            " i %% %d, ('00000000-0000-4000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, false,"
            " ('{\"probability\":0.' || lpad((i * 7919 %% %d)::text, 6, '0') || '}')::json"
            " FROM (SELECT i, to_timestamp(%" PRId64 ") + (i * %" PRId64 " / %" PRId64
            ") * interval '1 ms' AS start_at"
            " FROM generate_series(0::bigint, %" PRId64 ") AS i) AS rows,"
            " LATERAL (SELECT deployment FROM deployment_of WHERE n = i %% %d) AS d",
            ROWS_PER_BATCH, LATENCY_MS, ROWS_PER_BATCH, VALUES, EVENT_WEEK_MS / 1000,
            DAYS * INT64_C(86400000), rows, rows - 1, DEPLOYMENTS);
}

/* ---- their rollups ---- */

static void copy_send(PGconn *conn, struct buf *text)
{
    ck_assert_msg(PQputCopyData(conn, text->data, (int)text->len) == 1, "%s", PQerrorMessage(conn));
    buf_clear(text);
}

static void rollup_write_row(struct buf *text, int deployment, uint32_t metric, int64_t hour_ms,
                             const struct rollup *rollup, struct buf *state)
{
    char at[CLOCK_TEXT_BYTES];

    clock_format(hour_ms, at);
    buf_clear(state);
    rollup_write(rollup, state);
    buf_append_fmt(text, "%d\t%" PRIu32 "\t%s\t%" PRIu64 "\t0\t%.17g\t%.17g\t%.17g\t%.17g\t%.17g\t",
                   deployment, metric, at, rollup->count, rollup_sum(rollup), rollup_mean(rollup),
                   rollup_stddev(rollup), rollup->min, rollup->max);
    buf_append_text(text, "\\\\x");
    for (size_t i = 0; i < state->len; i++)
        buf_append_fmt(text, "%02x", (unsigned)(unsigned char)state->data[i]);
    buf_append_char(text, '\n');
}

static void rollup_add_row(struct rollup *rollups, int64_t i)
{
    char value[16];

    (void)snprintf(value, sizeof(value), "0.%06" PRId64, row_value(i));
    rollup_add_number(&rollups[0], 0);
    rollup_add_number(&rollups[1], LATENCY_MS);
    rollup_add_number(&rollups[2], strtod(value, NULL));
}

/* The rows of one hour, all deployments. */
static void hour_write(struct buf *text, struct buf *state, const int *deployments, int hour,
                       int64_t *next, int64_t rows)
{
    int64_t hour_ms = EVENT_WEEK_MS + hour * HOUR_MS;
    static struct rollup rollups[DEPLOYMENTS][METRICS];
    static bool is_made;

    for (int d = 0; d < DEPLOYMENTS; d++) {
        for (int m = 0; m < METRICS; m++) {
            if (!is_made)
                rollup_init(&rollups[d][m]);
            rollup_clear(&rollups[d][m]);
        }
    }
    is_made = true;
    for (; *next < rows && row_start_ms(*next, rows) < hour_ms + HOUR_MS; (*next)++)
        rollup_add_row(rollups[*next % DEPLOYMENTS], *next);
    for (int d = 0; d < DEPLOYMENTS; d++) {
        for (int m = 0; m < METRICS; m++) {
            if (!rollup_is_empty(&rollups[d][m]))
                rollup_write_row(text, deployments[d], metric_numbers[m], hour_ms, &rollups[d][m],
                                 state);
        }
    }
}

/* As folding would leave them. */
static void rollups_insert(const char *dsn, int64_t rows)
{
    PGconn *conn = pg_connect(dsn);
    AUTO(buf_done) struct buf text, state;
    PGresult *result;
    int deployments[DEPLOYMENTS];
    int64_t next = 0;

    buf_init(&text, SIZE_MAX);
    buf_init(&state, SIZE_MAX);
    for (int d = 0; d < DEPLOYMENTS; d++)
        deployments[d] =
            (int)pg_query_i64(dsn, "SELECT deployment FROM deployment_of WHERE n = %d", d);
    result = PQexec(conn, "COPY rollup_1h (deployment, metric, window_at, count, nulls, sum, mean,"
                          " stddev, min, max, state) FROM STDIN");
    ck_assert_int_eq(PQresultStatus(result), PGRES_COPY_IN);
    PQclear(result);
    for (int hour = 0; hour < HOURS; hour++) {
        hour_write(&text, &state, deployments, hour, &next, rows);
        if (text.len > COPY_BYTES)
            copy_send(conn, &text);
    }
    copy_send(conn, &text);
    ck_assert_int_eq(PQputCopyEnd(conn, NULL), 1);
    result = PQgetResult(conn);
    ck_assert_msg(PQresultStatus(result) == PGRES_COMMAND_OK, "%s", PQerrorMessage(conn));
    PQclear(result);
    PQfinish(conn);
    ck_assert_int_eq(next, rows);
}

static void database_fill(const struct daemon *daemon, const char *dsn, int64_t rows)
{
    AUTO(buf_done) struct buf crns;

    schema_make(daemon, dsn);
    buf_init(&crns, SIZE_MAX);
    for (uint32_t d = 0; d < DEPLOYMENTS; d++) {
        buf_append_fmt(&crns, "%s(%" PRIu32 ", '", d ? ", " : "", d);
        event_write_crn(&crns, d);
        buf_append_text(&crns, "')");
    }
    pg_exec(dsn,
            "CREATE TABLE deployment_of AS SELECT n, deployment"
            " FROM (VALUES %s) AS v(n, crn) JOIN model_deployment USING (crn)",
            buf_text(&crns));
    bench_say("making %" PRId64 " rows", rows);
    rows_insert(dsn, rows);
    rollups_insert(dsn, rows);
    pg_exec(dsn, "VACUUM (ANALYZE) prediction, rollup_1h");
}

/* ---- the reads ---- */

/* Owned. */
static char *month_url(const struct daemon *daemon, uint32_t deployment)
{
    AUTO(buf_done) struct buf crn;
    AUTO(mem_free) char *path = NULL;

    buf_init(&crn, SIZE_MAX);
    event_write_crn(&crn, deployment);
    path = xasprintf("/v1/rollups?model_deployment_crn=%s&metric=probability&window=1h"
                     "&start_timestamp_ms=%" PRId64 "&end_timestamp_ms=%" PRId64
                     "&quantile=0.5&quantile=0.9&quantile=0.99",
                     buf_text(&crn), EVENT_WEEK_MS, EVENT_WEEK_MS + HOURS * HOUR_MS - 1);
    return daemon_url(daemon, path);
}

/* The answer is that of the raw rows. */
static void month_check(const struct http_answer *answer, const char *dsn, uint32_t deployment)
{
    json_auto_t *root = http_json(answer);
    json_t *windows =
        json_object_get(json_array_get(json_object_get(root, "series"), 0), "windows");
    json_t *window;
    int64_t count = 0;
    double max = 0;
    size_t i;
    AUTO(mem_free)
    char *want = pg_query_text(dsn,
                               "SELECT count(*) || ' ' || max((metrics->>'probability')::float8)"
                               " || ' ' || count(DISTINCT date_trunc('hour', start_at))"
                               " FROM prediction JOIN deployment_of USING (deployment)"
                               " WHERE n = %" PRIu32,
                               deployment);
    AUTO(mem_free) char *have = NULL;

    json_array_foreach(windows, i, window)
    {
        double value = json_number_value(json_object_get(window, "max"));

        count += json_integer_value(json_object_get(window, "count"));
        max = value > max ? value : max;
        ck_assert_uint_eq(json_object_size(json_object_get(window, "quantiles")), 3);
    }
    have = xasprintf("%" PRId64 " %.6g %zu", count, max, json_array_size(windows));
    ck_assert_str_eq(have, want);
}

static int double_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* p99 of READS over one keep-alive connection. */
static void month_round(struct bench *bench, const struct daemon *daemon, struct bench_side *side)
{
    AUTO(http_free) struct http *http = http_new();
    struct bench_meter meter;
    double ms[READS];

    bench_meter_start(&meter, bench, daemon);
    for (uint32_t i = 0; i < READS; i++) {
        AUTO(mem_free) char *url = month_url(daemon, i % DEPLOYMENTS);
        int64_t start_us = clock_mono_us();
        struct http_answer *answer = http_get(http, url);

        ms[i] = (double)(clock_mono_us() - start_us) / 1e3;
        ck_assert_int_eq(answer->status, 200);
        http_answer_free(answer);
    }
    bench_meter_stop(&meter, side);
    qsort(ms, READS, sizeof(*ms), double_compare);
    bench_say("median %.1f ms, p99 %.1f ms", ms[READS / 2], ms[READS * 99 / 100]);
    bench_side_add(side, ms[READS * 99 / 100]);
}

struct month {
    int64_t rows;
    char *dsn;
    struct daemon *daemon;
    struct bench_side side;
};

static void month_open(struct month *month, struct bench *bench, int64_t rows)
{
    AUTO(http_free) struct http *http = http_new();
    AUTO(mem_free) char *url = NULL;
    struct http_answer *answer;

    *month = (struct month){ .rows = rows, .dsn = bench_database_new(bench) };
    month->daemon = bench_daemon_start(month->dsn);
    database_fill(month->daemon, month->dsn, rows);
    url = month_url(month->daemon, 7);
    answer = http_get(http, url);
    ck_assert_msg(answer->status == 200, "%s", answer->body);
    month_check(answer, month->dsn, 7);
    http_answer_free(answer);
}

static void rollup_read_run(struct bench *bench)
{
    struct month months[2];
    AUTO(mem_free) char *measure = NULL, *beside = NULL;

    month_open(&months[0], bench, bench_scaled(ROWS));
    month_open(&months[1], bench, 10 * months[0].rows);
    for (int round = 0; round < BENCH_ROUNDS; round++) {
        month_round(bench, months[0].daemon, &months[0].side);
        month_round(bench, months[1].daemon, &months[1].side);
    }
    measure = xasprintf("30 days of a metric by hour, three quantiles, p99, %" PRId64 " raw rows",
                        months[1].rows);
    beside = xasprintf("%" PRId64 " raw rows", months[0].rows);
    bench_row(&(struct bench_row){ .measure = measure,
                                   .unit = "ms",
                                   .decimals = 1,
                                   .ours = &months[1].side,
                                   .against = beside,
                                   .theirs = &months[0].side,
                                   .want = BENCH_VALUE_MAX,
                                   .limit = 10 });
    for (int i = 0; i < 2; i++) {
        bench_daemon_stop(bench, months[i].daemon);
        free(months[i].dsn);
    }
}

int main(void)
{
    return bench_main("rollup_read", rollup_read_run);
}
