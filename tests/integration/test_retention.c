/* Retention: partitions go while everybody works, nothing that was accepted is lost before its
 * time, answers say where they are cut, and rollups stay what they were. */
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tests/harness/pg.h"
#include "tests/harness/runner.h"
#include "tests/harness/service.h"
#include "tests/harness/wait.h"

Suite *retention_suite(void);

#define DAY_MS (INT64_C(24) * 3600 * 1000)
#define HOUR_MS (INT64_C(3600) * 1000)

/* A partition a day, so that weeks of them fit into a test. */
#define DAILY "PLUMBLINE_PARTITION_DAYS=1"
static const char *const forever[] = { DAILY, NULL };
static const char *const thirty_days[] = { DAILY, "PLUMBLINE_RETENTION_RAW=30d", NULL };

static struct service *daily_start(const char *dsn, const char *const *environment)
{
    return service_start_with(&(struct daemon_options){ .dsn = dsn, .environment = environment });
}

/* The same database under another configuration. */
static struct service *daily_restart(struct service *service, const char *const *environment)
{
    AUTO(mem_free) char *dsn = xstrdup(service->dsn);

    service_free(service);
    return daily_start(dsn, environment);
}

/* ---- events ---- */

/* Noon of so many days ago: far from both ends of a partition. */
static int64_t days_ago(int64_t days)
{
    int64_t now_ms = clock_now_ms();

    return now_ms - now_ms % DAY_MS - days * DAY_MS + 12 * HOUR_MS;
}

static char *prediction(unsigned number, int64_t start_ms, const char *metrics)
{
    return xasprintf("{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"crn:r\","
                     "\"predictionUuid\":\"00000000-0000-4000-8000-%012x\","
                     "\"startTimestampMs\":%lld,\"endTimestampMs\":%lld,\"metrics\":%s}",
                     number, (long long)start_ms, (long long)start_ms + 7, metrics);
}

static char *aggregate(int64_t start_ms, const char *metrics)
{
    return xasprintf("{\"event\":\"aggregate_metrics\",\"modelDeploymentCrn\":\"crn:r\","
                     "\"startTimestampMs\":%lld,\"endTimestampMs\":%lld,\"metrics\":%s}",
                     (long long)start_ms, (long long)start_ms + 7, metrics);
}

static char *label(unsigned number, const char *metrics)
{
    return xasprintf("{\"event\":\"delayed_metrics\","
                     "\"predictionUuid\":\"00000000-0000-4000-8000-%012x\",\"metrics\":%s}",
                     number, metrics);
}

static void take(struct service *service, char *event)
{
    service_take(service, event);
    free(event);
}

/* One day: two predictions, one of them with a label, and an aggregate. */
static void take_day(struct service *service, int64_t days)
{
    unsigned number = 10 * (unsigned)days;

    AUTO(mem_free) char *first = prediction(number, days_ago(days), "{\"p\":0.25,\"c\":\"x\"}");
    AUTO(mem_free) char *second = prediction(number + 1, days_ago(days) + 61000, "{\"p\":0.1}");
    AUTO(mem_free) char *late = label(number, "{\"y\":true}");
    AUTO(mem_free) char *sum = aggregate(days_ago(days), "{\"accuracy\":0.5}");

    take(service, xasprintf("[%s,%s,%s,%s]", first, second, late, sum));
}

static const int64_t all_days[] = { 1, 5, 28, 33, 40, 47, 90 };
enum { YOUNG_DAYS = 3 }; /* of these are within thirty days */

static void take_all_days(struct service *service)
{
    for (size_t i = 0; i < LENGTH(all_days); i++)
        take_day(service, all_days[i]);
}

/* ---- what came of it ---- */

static void wait_folded(struct service *service)
{
    WAIT_UNTIL(30000, pg_query_i64(service->dsn, "SELECT count(*) FROM rollup_delta") == 0);
}

static int64_t horizon_of(struct service *service, const char *family)
{
    return pg_query_i64(service->dsn,
                        "SELECT coalesce((SELECT (extract(epoch FROM at) * 1000)::bigint"
                        " FROM retention_horizon WHERE family = '%s'), 0)",
                        family);
}

static int64_t partitions_before_horizon(const char *dsn)
{
    return pg_query_i64(dsn, "SELECT count(*) FROM time_partition JOIN retention_horizon"
                             " USING (family) WHERE to_at <= at");
}

static void wait_dropped(struct service *service)
{
    WAIT_UNTIL(20000, horizon_of(service, "event") > 0);
    WAIT_UNTIL(20000, partitions_before_horizon(service->dsn) == 0);
}

/* Tables of a partition that no row of time_partition names. */
static int64_t orphans(struct service *service)
{
    return pg_query_i64(
        service->dsn,
        "SELECT count(*) FROM pg_class AS c WHERE c.relkind = 'r' AND c.relnamespace = "
        "'public'::regnamespace AND c.relname ~ '_p[0-9]{8}$' AND NOT EXISTS (SELECT FROM"
        " time_partition AS t, unnest(partition_parents(t.family)) AS p"
        " WHERE c.relname = p || '_' || t.suffix)");
}

static char *rollups_text(struct service *service, const char *window, const char *kind)
{
    AUTO(mem_free)
    char *path = xasprintf("/v1/rollups?model_deployment_crn=crn:r&window=%s&kind=%s"
                           "&quantile=0.5",
                           window, kind);

    return service_get_text(service, 200, path, NULL);
}

static void check_verified(struct service *service)
{
    const char *words[] = { "verify", "--database", service->dsn, NULL };
    AUTO(mem_free) char *output = NULL;
    int code = service_command(words, forever, &output);

    ck_assert_msg(code == 0, "verify: %d: %s", code, output);
    ck_assert_msg(strstr(output, " 0 metrics in them differ, 0 minutes"), "%s", output);
}

/* The last thing of a round is the question for its gauges; then the session is idle for a second.
 * When that began tells rounds apart. */
static int64_t round_seen(const char *dsn)
{
    return pg_query_i64(dsn, "SELECT coalesce(max((extract(epoch FROM query_start) * 1e6)::bigint),"
                             " 0) FROM pg_stat_activity WHERE state = 'idle'"
                             " AND application_name = 'plumbline maintenance'"
                             " AND datname = current_database()"
                             " AND query LIKE '%%FROM model_deployment)'");
}

/* The round, while nobody stands in a queue for a table. */
static int64_t round_watched(const char *dsn)
{
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT count(*) FROM pg_locks"
                                       " WHERE locktype = 'relation' AND NOT granted"),
                     0);
    return round_seen(dsn);
}

/* Looks on while at least `rounds` whole rounds of maintenance go by. */
static void watch_rounds(struct service *service, int rounds)
{
    int64_t seen = 0;

    for (; rounds >= 0; rounds--) {
        int64_t now = 0;

        WAIT_UNTIL(20000, (now = round_watched(service->dsn)) != seen && now != 0);
        seen = now;
    }
}

/* ---- too old ---- */

static void check_rejected(const json_t *receipt, size_t at, int64_t index, int64_t horizon_ms)
{
    const json_t *note = json_array_get(json_object_get(receipt, "rejected"), at);
    char horizon[CLOCK_TEXT_BYTES];
    AUTO(mem_free) char *message = NULL;

    clock_format(horizon_ms, horizon);
    message = xasprintf("\"startTimestampMs\" is before %lld (%s): older events are no longer kept "
                        "(retention_raw)",
                        (long long)horizon_ms, horizon);
    ck_assert_int_eq(service_number(note, "index"), index);
    ck_assert_str_eq(service_text(note, "code"), "too_old");
    ck_assert_str_eq(service_text(note, "field"), "startTimestampMs");
    ck_assert_str_eq(service_text(note, "message"), message);
}

START_TEST(what_is_too_old_is_rejected)
{
    struct service *service = daily_start(NULL, thirty_days);
    AUTO(mem_free) char *body = NULL, *single = NULL;
    int64_t horizon_ms;

    WAIT_UNTIL(20000, horizon_of(service, "event") > 0);
    horizon_ms = horizon_of(service, "event");
    ck_assert_int_eq(horizon_ms % DAY_MS, 0);
    ck_assert_int_le(horizon_ms, clock_now_ms() - 30 * DAY_MS);
    ck_assert_int_ge(horizon_ms, clock_now_ms() - 32 * DAY_MS);
    {
        AUTO(mem_free) char *before = prediction(1, horizon_ms - 1, "{}");
        AUTO(mem_free) char *at = prediction(2, horizon_ms, "{}");
        AUTO(mem_free) char *late = aggregate(horizon_ms - 1, "{\"a\":1}");
        AUTO(mem_free) char *alone = label(3, "{\"y\":1}");

        body = xasprintf("[%s,%s,%s,%s]", before, at, late, alone);
        single = TAKE(before);
    }
    for (int again = 0; again < 2; again++) { /* also when everything is to be kept from now on */
        json_auto_t *receipt = service_post(service, 200, "/v1/events", body);
        json_auto_t *refusal = service_post(service, 400, "/v1/events", single);

        ck_assert_int_eq(service_number(receipt, "received"), 4);
        ck_assert_int_eq(service_number(receipt, "accepted") + service_number(receipt, "duplicate"),
                         2);
        check_rejected(receipt, 0, 0, horizon_ms);
        check_rejected(receipt, 1, 2, horizon_ms);
        ck_assert_str_eq(service_text(json_object_get(refusal, "error"), "code"), "too_old");
        if (!again)
            service = daily_restart(service, forever);
    }
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM time_partition JOIN"
                                                " retention_horizon USING (family)"
                                                " WHERE from_at < at"),
                     0);
    service_check_balance(service, 3, 1, 6);
    service_free(service);
}
END_TEST

/* Another daemon moves the horizon, and there is a partition behind it that this one knows: the
 * batch itself has to see it. */
START_TEST(a_horizon_that_just_moved_is_seen)
{
    AUTO(service_free) struct service *service = daily_start(NULL, forever);
    int64_t first_ms = INT64_C(1262304000000); /* 2010-01-01 */

    for (unsigned i = 0; i < 20; i++) {
        int64_t horizon_ms = first_ms + (int64_t)i * DAY_MS;
        AUTO(mem_free) char *before = prediction(2 * i, horizon_ms - 1, "{\"p\":1}");
        AUTO(mem_free) char *at = prediction(2 * i + 1, horizon_ms, "{\"p\":1}");
        AUTO(mem_free) char *body = xasprintf("[%s,%s]", at, before);
        json_auto_t *receipt = NULL;

        ck_assert_int_eq(pg_query_i64(service->dsn,
                                      "SELECT horizon_move('event', to_timestamp(%lld), 1)::int",
                                      (long long)(horizon_ms / 1000)),
                         1);
        receipt = service_post(service, 200, "/v1/events", body);
        ck_assert_int_eq(service_number(receipt, "accepted"), 1);
        check_rejected(receipt, 0, 1, horizon_ms);
    }
    service_check_balance(service, 20, 0, 20);
}
END_TEST

/* ---- dropping ---- */

static void check_rows(struct service *service, const char *path, size_t rows, int64_t truncated_ms)
{
    json_auto_t *answer = service_get(service, 200, path);
    const json_t *member = json_object_get(answer, "truncatedBeforeMs");

    ck_assert_msg(json_array_size(json_object_get(answer, "metrics")) == rows, "%s: %zu rows", path,
                  json_array_size(json_object_get(answer, "metrics")));
    if (truncated_ms)
        ck_assert_int_eq(json_integer_value(member), truncated_ms);
    else
        ck_assert_msg(!member, "%s: truncatedBeforeMs", path);
}

static void check_header(struct service *service, const char *path, const char *accept,
                         int64_t truncated_ms)
{
    AUTO(mem_free) char *url = daemon_url(service->daemon, path);
    const char *const headers[] = { accept, NULL };
    struct http_request request = { .url = url, .headers = headers };
    AUTO(http_answer_free) struct http_answer *answer = http_send(service->http, &request);
    AUTO(mem_free) char *value = http_header(answer, "Plumbline-Truncated-Before-Ms");

    ck_assert_int_eq(answer->status, 200);
    ck_assert_msg(truncated_ms ? value && strtoll(value, NULL, 10) == truncated_ms : !value,
                  "%s %s: %s", path, accept, value ? value : "no header");
}

static void check_answers_are_cut(struct service *service, int64_t horizon_ms)
{
    AUTO(mem_free)
    char *from = xasprintf("/v1/metrics?start_timestamp_ms=%lld", (long long)horizon_ms);
    json_auto_t *old_protocol = service_post(service, 200, "/read-metrics", "{}");

    check_rows(service, "/v1/metrics", (size_t)3 * YOUNG_DAYS, horizon_ms);
    check_rows(service, from, (size_t)3 * YOUNG_DAYS, 0);
    ck_assert_int_eq(service_number(old_protocol, "truncatedBeforeMs"), horizon_ms);
    check_header(service, "/v1/metrics", "Accept: text/csv", horizon_ms);
    check_header(service, "/v1/metrics", "Accept: application/x-ndjson", horizon_ms);
    check_header(service, "/v1/metrics?model_crn=none", "Accept: text/csv", horizon_ms);
    check_header(service, from, "Accept: application/x-ndjson", 0);
}

START_TEST(rows_go_and_rollups_stay)
{
    static const char *const questions[][2] = { { "1m", "prediction" },
                                                { "1h", "prediction" },
                                                { "1d", "prediction" },
                                                { "1m", "aggregate" },
                                                { "1d", "aggregate" } };
    struct service *service = daily_start(NULL, forever);
    char *before[LENGTH(questions)];
    int64_t ahead;

    take_all_days(service);
    wait_folded(service);
    check_rows(service, "/v1/metrics", 3 * LENGTH(all_days), 0);
    for (size_t i = 0; i < LENGTH(questions); i++)
        before[i] = rollups_text(service, questions[i][0], questions[i][1]);
    ck_assert_ptr_nonnull(strstr(before[0], "{\"window\":\"1m\",\"truncatedBeforeMs\":null,"));

    service = daily_restart(service, thirty_days);
    wait_dropped(service);
    check_answers_are_cut(service, horizon_of(service, "event"));
    ahead = pg_query_i64(service->dsn, "SELECT count(*) FROM time_partition WHERE family = 'event'"
                                       " AND to_at > now()");
    ck_assert_int_eq(pg_query_i64(service->dsn,
                                  "SELECT count(*) FROM time_partition WHERE family = 'event'"),
                     YOUNG_DAYS + ahead);
    ck_assert_int_eq(orphans(service), 0);
    WAIT_UNTIL(20000, service_sample(service, "plumbline_partitions_expired") == 0);
    ck_assert_int_eq(service_sample(service, "plumbline_partitions_dropped_total"),
                     LENGTH(all_days) - YOUNG_DAYS);
    /* a correction of what is gone waits for a prediction, and changes nothing */
    take(service, label(10 * 40, "{\"y\":false}"));
    take(service, label(10 * 40, "{\"p\":7}"));
    watch_rounds(service, 1);
    wait_folded(service);
    for (size_t i = 0; i < LENGTH(questions); i++) {
        AUTO(mem_free) char *now = rollups_text(service, questions[i][0], questions[i][1]);

        ck_assert_str_eq(now, before[i]);
        free(before[i]);
    }
    check_verified(service);
    service_check_balance(service, 4 * LENGTH(all_days) + 2, 0, 0);
    service_free(service);
}
END_TEST

/* ---- each table by its own retention ---- */

static void check_window(struct service *service, const char *window, const char *family)
{
    AUTO(mem_free)
    char *path = xasprintf("/v1/rollups?model_deployment_crn=crn:r&metric=p&window=%s", window);
    AUTO(mem_free) char *late = NULL;
    int64_t horizon_ms = horizon_of(service, family);
    json_auto_t *answer = service_get(service, 200, path);
    json_auto_t *tail = NULL;
    const json_t *windows =
        json_object_get(json_array_get(json_object_get(answer, "series"), 0), "windows");

    ck_assert_int_gt(horizon_ms, 0);
    ck_assert_int_eq(service_number(answer, "truncatedBeforeMs"), horizon_ms);
    ck_assert_uint_gt(json_array_size(windows), 0);
    ck_assert_int_ge(service_number(json_array_get(windows, 0), "startTimestampMs"), horizon_ms);
    check_header(service, path, "Accept: text/csv", horizon_ms);
    check_header(service, path, "Accept: application/x-ndjson", horizon_ms);
    late = xasprintf("%s&start_timestamp_ms=%lld", path, (long long)horizon_ms);
    tail = service_get(service, 200, late);
    ck_assert(json_is_null(json_object_get(tail, "truncatedBeforeMs")));
    service_check_same(json_object_get(tail, "series"), json_object_get(answer, "series"), late);
}

START_TEST(every_table_by_its_own_retention)
{
    static const char *const staged[] = { DAILY,
                                          "PLUMBLINE_RETENTION_RAW=30d",
                                          "PLUMBLINE_RETENTION_1M=45d",
                                          "PLUMBLINE_RETENTION_1H=60d",
                                          "PLUMBLINE_RETENTION_1D=300d",
                                          NULL };
    struct service *service = daily_start(NULL, forever);

    take_all_days(service);
    take_day(service, 600);
    take_day(service, 900);
    wait_folded(service);
    service = daily_restart(service, staged);
    wait_dropped(service);
    WAIT_UNTIL(20000, horizon_of(service, "rollup_1d") > 0);
    WAIT_UNTIL(20000, partitions_before_horizon(service->dsn) == 0);
    check_window(service, "1m", "rollup_1m");
    check_window(service, "1h", "rollup_1h");
    check_window(service, "1d", "rollup_1d");
    ck_assert_int_eq(orphans(service), 0);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM rollup_1m WHERE window_at <"
                                                " now() - interval '47 days'"),
                     0);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM rollup_1d WHERE window_at <"
                                                " now() - interval '600 days'"),
                     0);
    check_verified(service);
    service_free(service);
}
END_TEST

/* ---- what a drop waits for ---- */

static int64_t query_i64(PGconn *conn, const char *sql)
{
    PGresult *result = PQexec(conn, sql);
    int64_t value;

    ck_assert_msg(PQresultStatus(result) == PGRES_TUPLES_OK, "%s: %s", sql, PQerrorMessage(conn));
    value = strtoll(PQgetvalue(result, PQntuples(result) - 1, 0), NULL, 10);
    PQclear(result);
    return value;
}

START_TEST(a_long_reader_delays_the_drop_and_nobody_else)
{
    struct service *service = daily_start(NULL, forever);
    int64_t rows = 2 * LENGTH(all_days);
    PGconn *reader;

    take_all_days(service);
    wait_folded(service);
    reader = pg_connect(service->dsn);
    ck_assert_int_eq(query_i64(reader, "BEGIN ISOLATION LEVEL REPEATABLE READ;"
                                       "SELECT count(*) FROM prediction"),
                     rows);
    service = daily_restart(service, thirty_days);
    WAIT_UNTIL(20000, horizon_of(service, "event") > 0);
    WAIT_UNTIL(20000, service_sample(service, "plumbline_partitions_expired") > 0);
    watch_rounds(service, 1);
    take(service, prediction(1, days_ago(2), "{\"p\":1}")); /* writers and readers go on */
    check_rows(service, "/v1/metrics", 3 * YOUNG_DAYS + 1, horizon_of(service, "event"));
    ck_assert_int_eq(service_sample(service, "plumbline_partitions_dropped_total"), 0);
    ck_assert_int_eq(query_i64(reader, "SELECT count(*) FROM prediction"), rows);
    PQfinish(reader);
    wait_dropped(service);
    service_free(service);
}
END_TEST

/* A batch that began before the horizon moved may still write behind it: no table is locked by it
 * yet, its xid alone tells. */
START_TEST(a_batch_from_before_the_move_delays_the_drop)
{
    struct service *service = daily_start(NULL, forever);
    PGconn *batch;

    take_all_days(service);
    wait_folded(service);
    batch = pg_connect(service->dsn);
    ck_assert_int_gt(query_i64(batch, "BEGIN; SELECT out_batch_id FROM batch_begin("
                                      "'00000000-0000-4000-8000-00000000abcd', now(), 'http',"
                                      " '{1,0,0,0,0}', '{1,0,0,0,0}', '{0,0,0,0,0}', '{0,0,0,0,0}')"
                                      " WHERE out_horizon_ms IS NULL"),
                     0);
    service = daily_restart(service, thirty_days);
    WAIT_UNTIL(20000, horizon_of(service, "event") > 0);
    watch_rounds(service, 1);
    ck_assert_int_eq(partitions_before_horizon(service->dsn), LENGTH(all_days) - YOUNG_DAYS);
    ck_assert_int_eq(query_i64(batch, "INSERT INTO prediction (batch_id, start_at, end_at,"
                                      " deployment, ordinal, uuid, failed, metrics)"
                                      " SELECT batch_id, start_at + interval '1 ms', end_at,"
                                      " deployment, 99, gen_random_uuid(), false, metrics"
                                      " FROM prediction WHERE start_at < now() - interval '35 days'"
                                      " LIMIT 1 RETURNING ordinal"),
                     99);
    ck_assert_int_eq(query_i64(batch, "COMMIT; SELECT 1"), 1);
    PQfinish(batch);
    wait_dropped(service);
    service_free(service);
}
END_TEST

/* A session that keeps all daemons from folding. */
static PGconn *folding_held(struct service *service)
{
    PGconn *conn = pg_connect(service->dsn);

    (void)query_i64(conn, "SELECT count(pg_advisory_lock(7237, share)::text)"
                          " FROM generate_series(0, 15) AS share");
    return conn;
}

/* A minute that was corrected is counted from its rows: they stay until it is. */
START_TEST(a_recount_that_is_due_delays_the_drop)
{
    const char *question = "/v1/rollups?model_deployment_crn=crn:r&metric=p&window=1h";
    struct service *service = daily_start(NULL, forever);
    AUTO(mem_free) char *before = NULL, *after = NULL;
    PGconn *folding;

    take_day(service, 40);
    take_day(service, 50);
    wait_folded(service);
    folding = folding_held(service);
    take(service, label(10 * 40, "{\"p\":100}"));
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM rollup_delta WHERE recount"),
                     1);
    service = daily_restart(service, thirty_days);
    WAIT_UNTIL(20000, horizon_of(service, "event") > 0);
    WAIT_UNTIL(20000, partitions_before_horizon(service->dsn) == 1); /* of day 50 is gone */
    watch_rounds(service, 1);
    ck_assert_int_eq(partitions_before_horizon(service->dsn), 1);
    before = service_get_text(service, 200, question, NULL);
    ck_assert_ptr_nonnull(strstr(before, "\"max\":100}"));
    /* a correction from now on changes nothing */
    take(service, label(10 * 40 + 1, "{\"p\":1000}"));
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM rollup_delta"), 1);
    PQfinish(folding);
    wait_dropped(service);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM rollup_delta"), 0);
    after = service_get_text(service, 200, question, NULL);
    ck_assert_str_eq(after, before);
    check_verified(service);
    service_free(service);
}
END_TEST

/* A correction for a day whose rollups were never written: they are, if only for the hour and the
 * day to be right, and then the minutes go. */
START_TEST(what_is_pending_behind_the_horizon_is_folded)
{
    static const char *const both[] = { DAILY, "PLUMBLINE_RETENTION_RAW=30d",
                                        "PLUMBLINE_RETENTION_1M=30d", NULL };
    struct service *service = daily_start(NULL, forever);
    AUTO(mem_free) char *pending = NULL, *folded = NULL, *minutes = NULL;
    PGconn *folding = folding_held(service);

    take_day(service, 40);
    take(service, label(10 * 40, "{\"p\":100}"));
    take_day(service, 50);
    pending = rollups_text(service, "1h", "prediction");
    service = daily_restart(service, both);
    WAIT_UNTIL(20000, horizon_of(service, "rollup_1m") > 0);
    WAIT_UNTIL(20000, partitions_before_horizon(service->dsn) == 1);
    PQfinish(folding);
    wait_folded(service);
    wait_dropped(service);
    folded = rollups_text(service, "1h", "prediction");
    ck_assert_str_eq(folded, pending);
    ck_assert_ptr_nonnull(strstr(folded, "\"max\":100,"));
    minutes = rollups_text(service, "1m", "prediction");
    ck_assert_ptr_nonnull(strstr(minutes, ",\"series\":[]}"));
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM rollup_1m"), 0);
    check_verified(service);
    service_free(service);
}
END_TEST

/* ---- everybody at work ---- */

enum { WORK_DAYS = 45, WRITERS = 3, READERS = 2 };

struct work {
    struct service *service;
    unsigned writer;
    _Atomic bool *stops;
    int64_t accepted, too_old; /* of the writer */
    int64_t answers;           /* of the reader */
};

/* Events of every age, a request of a few at a time; what is refused is too old. */
static void *work_write(void *arg)
{
    struct work *work = arg;
    unsigned number = 0;

    while (!*work->stops) {
        AUTO(buf_done) struct buf body;
        json_auto_t *receipt = NULL;
        size_t i;
        json_t *note;

        buf_init(&body, SIZE_MAX);
        for (int n = 0; n < 4; n++, number++) {
            AUTO(mem_free)
            char *event = prediction(work->writer * 1000000 + number,
                                     days_ago((number * 7) % WORK_DAYS), "{\"p\":0.5}");

            buf_append_fmt(&body, "%s%s", n ? "," : "[", event);
        }
        buf_append_char(&body, ']');
        receipt = service_post(work->service, 200, "/v1/events", buf_text(&body));
        work->accepted += service_number(receipt, "accepted");
        ck_assert_int_eq(service_number(receipt, "duplicate"), 0);
        json_array_foreach(json_object_get(receipt, "rejected"), i, note)
        {
            ck_assert_str_eq(service_text(note, "code"), "too_old");
            work->too_old++;
        }
        wait_nap(); /* all are one deployment's: folding it has to keep up */
    }
    return NULL;
}

/* Either the whole of a day is in an answer, or the answer says that it is cut behind it. */
static void *work_read(void *arg)
{
    struct work *work = arg;

    while (!*work->stops) {
        json_auto_t *answer =
            service_get(work->service, 200, "/v1/metrics?model_deployment_crn=crn:base");
        const json_t *before = json_object_get(answer, "truncatedBeforeMs");
        int64_t from_ms = json_integer_value(before);
        const json_t *rows = json_object_get(answer, "metrics");
        size_t want = 0;

        for (int64_t days = 0; days < WORK_DAYS; days++)
            want += days_ago(days) >= from_ms;
        ck_assert_msg(json_array_size(rows) == want, "%zu rows from %lld on, not %zu",
                      json_array_size(rows), (long long)from_ms, want);
        work->answers++;
    }
    return NULL;
}

static void take_base(struct service *service)
{
    for (unsigned days = 0; days < WORK_DAYS; days++)
        take(service, xasprintf("{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"crn:base\","
                                "\"predictionUuid\":\"00000000-0000-4000-8000-%012x\","
                                "\"startTimestampMs\":%lld,\"endTimestampMs\":%lld,"
                                "\"metrics\":{\"b\":%u}}",
                                0xb0000000U + days, (long long)days_ago(days),
                                (long long)days_ago(days), days));
}

/* The client of a thread; the daemon is the test's. */
static struct service *service_of_thread(const struct service *service)
{
    struct service *own = xcalloc(1, sizeof(*own));

    *own = *service;
    own->http = http_new();
    return own;
}

static void check_work(struct service *first, struct service *second, const struct work *work)
{
    int64_t accepted = WORK_DAYS, too_old = 0;

    for (int i = 0; i < WRITERS; i++) {
        accepted += work[i].accepted;
        too_old += work[i].too_old;
    }
    ck_assert_int_gt(too_old, 0);
    service_check_balance(first, accepted, 0, too_old);
    ck_assert_int_eq(pg_query_i64(first->dsn, "SELECT count(*) FROM prediction WHERE start_at <"
                                              " (SELECT at FROM retention_horizon"
                                              "  WHERE family = 'event')"),
                     0);
    wait_folded(first);
    check_verified(first);
    /* each partition is dropped by one of them */
    ck_assert_int_eq(service_sample(first, "plumbline_partitions_dropped_total") +
                         service_sample(second, "plumbline_partitions_dropped_total"),
                     WORK_DAYS - (int64_t)((clock_now_ms() - horizon_of(first, "event")) / DAY_MS) -
                         1);
    /* rollups count every event that was ever accepted */
    ck_assert_int_eq(pg_query_i64(first->dsn, "SELECT sum(count) FROM rollup_1d WHERE metric = 0"),
                     accepted);
    ck_assert_int_eq(orphans(first), 0);
}

/* Two daemons learn of the retention while writers and readers are at work through both. */
START_TEST(two_daemons_drop_under_load)
{
    struct service *first = daily_start(NULL, forever);
    struct service *second = daily_start(first->dsn, forever);
    struct service *own[WRITERS + READERS];
    struct work work[WRITERS + READERS] = { 0 };
    pthread_t threads[WRITERS + READERS];
    _Atomic bool stops = false;
    AUTO(mem_free) char *dsn = xstrdup(first->dsn);

    take_base(first);
    wait_folded(first);
    service_free(first);
    service_free(second);
    first = daily_start(dsn, forever);
    second = daily_start(dsn, thirty_days);
    for (unsigned i = 0; i < WRITERS + READERS; i++) {
        own[i] = service_of_thread(i % 2 ? second : first);
        work[i] = (struct work){ .service = own[i], .writer = i + 1, .stops = &stops };
        ck_assert_int_eq(pthread_create(&threads[i], NULL, i < WRITERS ? work_write : work_read,
                                        &work[i]),
                         0);
    }
    wait_dropped(first);
    watch_rounds(first, 1);
    stops = true;
    for (unsigned i = 0; i < WRITERS + READERS; i++) {
        (void)pthread_join(threads[i], NULL);
        ck_assert_int_gt(i < WRITERS ? work[i].accepted : work[i].answers, 0);
        http_free(own[i]->http);
        free(own[i]);
    }
    wait_dropped(first);
    check_work(first, second, work);
    service_free(first);
    service_free(second);
}
END_TEST

/* ---- labels ---- */

START_TEST(a_label_without_a_prediction_is_given_up)
{
    static const char *const impatient[] = { DAILY, "PLUMBLINE_LABEL_WAIT=1s", NULL };
    AUTO(service_free) struct service *service = daily_start(NULL, impatient);
    const char *event =
        "{\"event\":\"delayed_metrics\","
        "\"predictionUuid\":\"AAAAAAAA-0000-4000-8000-000000000001\","
        "\"eventId\":\"00000000-0000-4000-8000-0000000000EE\","
        "\"startTimestampMs\":1596185125125,\"metrics\":{ \"y\" : 1.0, \"z\":1e22}}";
    AUTO(mem_free) char *kept = NULL, *origin = NULL, *rows = NULL;

    take(service, prediction(1, days_ago(1), "{\"p\":1}"));
    take(service, label(1, "{\"y\":1}"));
    service_take(service, event);
    take(service, label(2, "{\"y\":\"\\u00e9 \\\"é\"}"));
    WAIT_UNTIL(20000,
               pg_query_i64(service->dsn, "SELECT count(*) FROM delayed_metric_waiting") == 0);
    WAIT_UNTIL(20000, service_sample(service, "plumbline_labels_given_up_total") == 2);
    kept = pg_query_text(service->dsn, "SELECT string_agg(source || ' ' || code || ' ' ||"
                                       " convert_from(event, 'UTF8'), E'\\n' ORDER BY"
                                       " rejected_event) FROM rejected_event");
    ck_assert_str_eq(kept,
                     "label no_prediction {\"event\":\"delayed_metrics\","
                     "\"predictionUuid\":\"aaaaaaaa-0000-4000-8000-000000000001\","
                     "\"eventId\":\"00000000-0000-4000-8000-0000000000ee\","
                     "\"startTimestampMs\":1596185125125,\"metrics\":{\"y\":1.0,\"z\":1e22}}\n"
                     "label no_prediction {\"event\":\"delayed_metrics\","
                     "\"predictionUuid\":\"00000000-0000-4000-8000-000000000002\","
                     "\"metrics\":{\"y\":\"\\u00e9 \\\"é\"}}");
    /* the third batch and the fourth; one that had to be tried twice leaves a number out */
    origin = pg_query_text(service->dsn, "SELECT string_agg((SELECT count(*) FROM ingest_batch"
                                         " WHERE batch_id <= (origin->>'batch')::bigint) || '/' ||"
                                         " (origin->>'ordinal'), ' ' ORDER BY rejected_event)"
                                         " FROM rejected_event");
    ck_assert_str_eq(origin, "3/0 4/0");
    /* it is as if it had never been there: its prediction comes without, and it can come again */
    take(service, prediction(2, days_ago(1), "{\"p\":2}"));
    service_take(service, event);
    rows = service_get_text(service, 200, "/v1/metrics?key=p&key=y", "application/x-ndjson");
    ck_assert_ptr_nonnull(strstr(rows, "\"metrics\":{\"p\":1,\"y\":1}}"));
    ck_assert_ptr_nonnull(strstr(rows, "\"metrics\":{\"p\":2}}"));
    service_check_balance(service, 6, 0, 0);
}
END_TEST

/* ---- the functions ---- */

START_TEST(the_horizon_moves_forward_and_by_two_clocks)
{
    AUTO(service_free) struct service *service = daily_start(NULL, forever);
    const char *dsn = service->dsn;

    /* a daemon whose clock is ahead would have two days kept for a day */
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT horizon_move('event', now() - interval '23 hours',"
                                       " 86400000)::int"),
                     0);
    ck_assert_int_eq(horizon_of(service, "event"), 0);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT horizon_move('event', '2010-01-01', 86400000)::int"),
                     1);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT horizon_move('event', '2009-01-01', 86400000)::int"),
                     0);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT horizon_move('event', '2010-01-01', 86400000)::int"),
                     0);
    ck_assert_int_eq(horizon_of(service, "event"), INT64_C(1262304000000));
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT (partition_make('event', '2009-12-31', '2010-01-01',"
                                       " 1000) IS NULL)::int"),
                     1);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT partition_make('event', '2010-01-01', '2010-01-02',"
                                       " 1000)::int"),
                     1);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT partition_make('rollup_1m', '2009-12-31',"
                                       " '2010-01-01', 1000)::int"),
                     1);
    ck_assert_int_eq(pg_query_i64(dsn, "SELECT (partition_drop('event', '2010-01-01', 200) ="
                                       " 'gone')::int"),
                     1);
}
END_TEST

Suite *retention_suite(void)
{
    Suite *suite = suite_create("retention");
    TCase *tcase = tcase_create("retention");

    tcase_add_unchecked_fixture(tcase, pg_shared_start, NULL);
    tcase_add_test(tcase, what_is_too_old_is_rejected);
    tcase_add_test(tcase, a_horizon_that_just_moved_is_seen);
    tcase_add_test(tcase, rows_go_and_rollups_stay);
    if (!runner_short()) {
        tcase_add_test(tcase, every_table_by_its_own_retention);
        tcase_add_test(tcase, a_long_reader_delays_the_drop_and_nobody_else);
        tcase_add_test(tcase, a_batch_from_before_the_move_delays_the_drop);
        tcase_add_test(tcase, a_recount_that_is_due_delays_the_drop);
        tcase_add_test(tcase, what_is_pending_behind_the_horizon_is_folded);
    }
    tcase_add_test(tcase, two_daemons_drop_under_load);
    tcase_add_test(tcase, a_label_without_a_prediction_is_given_up);
    tcase_add_test(tcase, the_horizon_moves_forward_and_by_two_clocks);
    suite_add_tcase(suite, tcase);
    return suite;
}
