/* One minute of one deployment out of a partition of ten million rows, in order of insertion. */
#include <check.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "tests/bench/bench.h"
#include "tests/bench/events.h"
#include "tests/bench/reader.h"

enum {
    ROWS = 10000000,
    ROWS_PER_BATCH = 500,
    READS = 100, /* in each round: other minutes of other deployments */
    MINUTES = 7 * 24 * 60,
    MINUTE_MS = 60000,
    PLAN_LINES_MAX = 12,
};

/* ---- the rows ---- */

static void deployments_make(const char *dsn)
{
    AUTO(buf_done) struct buf crns;

    buf_init(&crns, SIZE_MAX);
    for (uint32_t i = 0; i < EVENT_DEPLOYMENTS; i++) {
        buf_append_text(&crns, i ? "','" : "");
        event_write_crn(&crns, i);
    }
    pg_exec(dsn, "SELECT * FROM catalog_ensure(ARRAY['%s'], '{}', '{}', %d)", buf_text(&crns),
            EVENT_DEPLOYMENTS);
}

/* Row i lies where in the week its number says, up to half a minute late, so that order of
 * insertion is not order of time. A hash scatters the deployments. */
static void rows_insert(const char *dsn, const char *table, int64_t rows)
{
    pg_exec(dsn,
            "INSERT INTO %s (batch_id, start_at, end_at, deployment, ordinal, uuid, failed,"
            " metrics)"
            " SELECT i / %d + 1, start_at, start_at + interval '108 ms',"
            " 1 + (hashint8(i) & 65535) %% %d, i %% %d, gen_random_uuid(), false,"
            " ('{\"input_data\":{\"tenure\":' || i %% 72 ||"
            " '.0,\"Partner\":\"Yes\",\"Contract\":\"Month-to-month\",\"TotalCharges\":' || i %%"
            " 8000 || '.85,\"PaymentMethod\":\"Electronic check\",\"MonthlyCharges\":55.75,"
            "\"InternetService\":\"DSL\"},\"probability\":0.348' || i + 10000000 || '}')::json"
            " FROM (SELECT i, to_timestamp(%" PRId64 ")"
            " + (i * (604800000 - 60000) / %" PRId64
            " + (hashint8extended(i, 1) & 32767)) * interval '1 ms' AS start_at"
            " FROM generate_series(0::bigint, %" PRId64 ") AS i) AS rows",
            table, ROWS_PER_BATCH, EVENT_DEPLOYMENTS, ROWS_PER_BATCH, EVENT_WEEK_MS / 1000, rows,
            rows - 1);
}

/* The batches of these rows, so that the books balance and paged reads see the rows as settled. */
static void batches_insert(const char *dsn, int64_t rows)
{
    pg_exec(dsn,
            "INSERT INTO ingest_batch (batch_id, xid, recorded_at, formed_at, batch_key, source,"
            " received, accepted, duplicate, rejected)"
            " SELECT batch, pg_current_xact_id(), now(), now(), gen_random_uuid(), 'http',"
            " ARRAY[n, 0, 0, 0, 0], ARRAY[n, 0, 0, 0, 0], '{0,0,0,0,0}', '{0,0,0,0,0}'"
            " FROM (SELECT batch_id AS batch, count(*)::int AS n FROM prediction GROUP BY 1) AS b;"
            "SELECT setval('batch_number', %" PRId64 ")",
            rows / ROWS_PER_BATCH + 1);
}

/* Fills the week's partition apart from its parent, and makes its indexes afterwards: a third of
 * the time. */
static void rows_make(const char *dsn, int64_t rows)
{
    AUTO(mem_free)
    char *table = pg_query_text(dsn,
                                "SELECT 'prediction_' || suffix FROM time_partition"
                                " WHERE family = 'event' AND from_at = to_timestamp(%" PRId64 ")",
                                EVENT_WEEK_MS / 1000);

    deployments_make(dsn);
    pg_exec(dsn, "ALTER TABLE prediction DETACH PARTITION %s; DROP TABLE %s", table, table);
    pg_exec(dsn, "CREATE TABLE %s (LIKE prediction INCLUDING DEFAULTS INCLUDING STORAGE)", table);
    rows_insert(dsn, table, rows);
    pg_exec(dsn,
            "SET maintenance_work_mem = '512MB';"
            "ALTER TABLE %s ADD UNIQUE (uuid, deployment, start_at);"
            "CREATE INDEX ON %s (deployment, batch_id, ordinal, start_at);"
            "ALTER TABLE prediction ATTACH PARTITION %s FOR VALUES FROM (to_timestamp(%" PRId64
            ")) TO (to_timestamp(%" PRId64 "))",
            table, table, table, EVENT_WEEK_MS / 1000, EVENT_WEEK_MS / 1000 + INT64_C(7) * 86400);
    batches_insert(dsn, rows);
    pg_exec(dsn, "VACUUM (ANALYZE) prediction, ingest_batch");
}

/* ---- the reads ---- */

/* Owned. */
static char *minute_url(const struct daemon *daemon, uint32_t deployment, uint32_t minute)
{
    AUTO(buf_done) struct buf crn;
    int64_t from_ms = EVENT_WEEK_MS + (int64_t)minute * MINUTE_MS;
    AUTO(mem_free) char *path = NULL;

    buf_init(&crn, SIZE_MAX);
    event_write_crn(&crn, deployment);
    path = xasprintf("/v1/metrics?model_deployment_crn=%s&start_timestamp_ms=%" PRId64
                     "&end_timestamp_ms=%" PRId64,
                     buf_text(&crn), from_ms, from_ms + MINUTE_MS - 1);
    return daemon_url(daemon, path);
}

static int64_t minute_count(const char *dsn, uint32_t deployment, uint32_t minute)
{
    AUTO(buf_done) struct buf crn;
    int64_t from_s = (EVENT_WEEK_MS + (int64_t)minute * MINUTE_MS) / 1000;

    buf_init(&crn, SIZE_MAX);
    event_write_crn(&crn, deployment);
    return pg_query_i64(dsn,
                        "SELECT count(*) FROM prediction JOIN model_deployment USING (deployment)"
                        " WHERE crn = '%s' AND start_at >= to_timestamp(%" PRId64
                        ") AND start_at < to_timestamp(%" PRId64 ")",
                        buf_text(&crn), from_s, from_s + 60);
}

/* The slowest of READS. */
static void minute_round(struct bench *bench, const struct daemon *daemon, const char *dsn,
                         uint32_t round, struct bench_side *side)
{
    struct bench_meter meter;
    double worst_ms = 0, sum_ms = 0;

    bench_meter_start(&meter, bench, daemon);
    for (uint32_t i = 0; i < READS; i++) {
        uint32_t n = round * READS + i;
        uint32_t deployment = n * 37 % EVENT_DEPLOYMENTS, minute = n * 7919 % (MINUTES - 2);
        AUTO(mem_free) char *url = minute_url(daemon, deployment, minute);
        struct reader_result result;

        reader_get(url, &result);
        sum_ms += result.ms;
        if (result.ms > worst_ms)
            worst_ms = result.ms;
        if (i == 0)
            ck_assert_int_eq(result.rows, minute_count(dsn, deployment, minute));
    }
    bench_meter_stop(&meter, side);
    bench_say("%.1f ms, the slowest of %d %.1f ms", sum_ms / READS, READS, worst_ms);
    bench_side_add(side, worst_ms);
}

static void minute_run(struct bench *bench)
{
    int64_t rows = bench_scaled(ROWS);
    AUTO(mem_free)
    char *measure =
        xasprintf("one minute of one deployment out of %" PRId64 " rows, the slowest of %d", rows,
                  READS);
    AUTO(mem_free) char *dsn = bench_database_new(bench);
    struct daemon *daemon = bench_daemon_start(dsn); /* it makes the partitions of the ledger */
    AUTO(mem_free) char *url = NULL;
    struct bench_side side = { 0 };

    bench_say("making %" PRId64 " rows", rows);
    rows_make(dsn, rows);
    for (uint32_t round = 0; round < BENCH_ROUNDS; round++)
        minute_round(bench, daemon, dsn, round, &side);
    bench_row(&(struct bench_row){ .measure = measure,
                                   .unit = "ms",
                                   .decimals = 1,
                                   .ours = &side,
                                   .want = BENCH_VALUE_MAX,
                                   .limit = 20 });
    url = minute_url(daemon, EVENT_DEPLOYMENTS / 2, MINUTES / 2);
    bench_note_plan(bench, dsn, reader_drain, url, PLAN_LINES_MAX);
    bench_daemon_stop(bench, daemon);
}

int main(void)
{
    return bench_main("minute", minute_run);
}
