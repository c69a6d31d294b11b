/* Rollups equal a recount: as they are asked for while deltas are pending, folded, and from SQL. */
#include <check.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/harness/dice.h"
#include "tests/harness/pg.h"
#include "tests/harness/runner.h"
#include "tests/harness/service.h"
#include "tests/harness/temp.h"
#include "tests/harness/wait.h"

Suite *rollups_suite(void);

#define CHURN                                                                                      \
    "crn:cdp:ml:us-west-1:8a1e15cd-04c2-48aa-8f35-b4a8c11997d3:workspace:"                         \
    "e4bc3658-32bb-4dc3-a22d-828150329c76/161e0983-e67e-486d-a296-7be081be2410"

enum { FOLD_SHARES = 4 }; /* deployments are folded by their number modulo this */

#define MINUTE_MS INT64_C(60000)
#define BASE_MS INT64_C(1700000040000) /* the start of a minute */

/* ---- asking ---- */

static void wait_folded(struct service *service)
{
    WAIT_UNTIL(30000, pg_query_i64(service->dsn, "SELECT count(*) FROM rollup_delta") == 0);
}

/* The only series of the answer to "?model_deployment_crn=<crn>&<rest>"; owned. */
static json_t *series_of(struct service *service, const char *crn, const char *rest)
{
    AUTO(mem_free)
    char *path = xasprintf("/v1/rollups?model_deployment_crn=%s&%s", crn, rest);
    json_auto_t *answer = service_get(service, 200, path);
    json_t *series = json_object_get(answer, "series");

    ck_assert_msg(json_array_size(series) == 1, "%s: %zu series", path, json_array_size(series));
    return json_incref(json_array_get(series, 0));
}

static json_t *window_of(const json_t *series, size_t i)
{
    json_t *window = json_array_get(json_object_get(series, "windows"), i);

    ck_assert_msg(window != NULL, "the series has no window %zu", i);
    return window;
}

static double number_of(const json_t *object, const char *member)
{
    const json_t *value = json_object_get(object, member);

    ck_assert_msg(json_is_number(value), "\"%s\" is no number", member);
    return json_number_value(value);
}

static int verify(struct service *service, char **output)
{
    const char *words[SERVICE_WORDS_MAX] = { "verify", "--database", service->dsn };

    return service_command(words, NULL, output);
}

static void check_verified(struct service *service)
{
    AUTO(mem_free) char *output = NULL;
    int code = verify(service, &output);

    ck_assert_msg(code == 0, "verify: %d: %s", code, output);
    ck_assert_msg(strstr(output, " 0 metrics in them differ") != NULL, "%s", output);
    ck_assert_msg(strncmp(output, "0 windows", 9) != 0, "%s", output);
}

/* ---- the capture ---- */

static void churn_check_minutes(struct service *service)
{
    json_auto_t *series = series_of(service, CHURN, "metric=probability&window=1m&quantile=0.5");
    double sum = 0, min = 1, max = 0;
    int64_t count = 0;
    size_t i;
    json_t *window;

    ck_assert_uint_eq(json_array_size(json_object_get(series, "windows")), 5);
    json_array_foreach(json_object_get(series, "windows"), i, window)
    {
        ck_assert_int_eq(service_number(window, "predictions"), service_number(window, "count"));
        ck_assert_int_eq(service_number(window, "failed"), 0);
        count += service_number(window, "count");
        sum += number_of(window, "sum");
        min = fmin(min, number_of(window, "min"));
        max = fmax(max, number_of(window, "max"));
    }
    ck_assert_int_eq(count, 999);
    ck_assert(fabs(sum / 258.97446393318404 - 1) < 1e-9);
    ck_assert(min == 0.0010951310425366214);
    ck_assert(max == 0.8553797049145889);
}

static void churn_check_day(struct service *service)
{
    json_auto_t *numbers = series_of(service, CHURN, "metric=probability&window=1d&quantile=0.5");
    json_auto_t *labels = series_of(service, CHURN, "metric=final_label&window=1d");
    json_t *median = json_object_get(json_object_get(window_of(numbers, 0), "quantiles"), "0.5");
    json_t *categories = json_object_get(window_of(labels, 0), "categories");

    ck_assert_int_eq(service_number(window_of(numbers, 0), "count"), 999);
    ck_assert(fabs(number_of(window_of(numbers, 0), "sum") / 258.97446393318404 - 1) < 1e-9);
    ck_assert(fabs(number_of(median, "value") / 0.18544962743773902 - 1) < 0.011);
    ck_assert(number_of(median, "low") <= 0.18544962743773902);
    ck_assert(number_of(median, "high") >= 0.18544962743773902);
    ck_assert_str_eq(service_text(labels, "type"), "category");
    ck_assert_int_eq(service_number(window_of(labels, 0), "predictions"), 999);
    ck_assert_int_eq(service_number(categories, "true"), 626);
    ck_assert_int_eq(service_number(categories, "false"), 373);
}

START_TEST(churn_is_counted)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *url = daemon_url(service->daemon, "");
    AUTO(mem_free) char *output = NULL;
    const char *words[SERVICE_WORDS_MAX] = { "ingest",
                                             "--url",
                                             url,
                                             "tests/data/churn/track.ndjson",
                                             "tests/data/churn/delayed.ndjson",
                                             "tests/data/churn/aggregate.ndjson" };

    ck_assert_int_eq(service_command(words, NULL, &output), 0);
    churn_check_minutes(service); /* whatever is folded by now */
    churn_check_day(service);
    wait_folded(service);
    churn_check_minutes(service);
    churn_check_day(service);
    check_verified(service);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT sum(count) FROM metric_1m"
                                                " WHERE metric = 'probability'"),
                     999);
    ck_assert_int_eq(pg_query_i64(service->dsn,
                                  "SELECT count(*) FROM metric_1d WHERE metric = 'probability'"
                                  " AND abs(rollup_quantile(state, min, max, 0.5)"
                                  " / 0.18544962743773902 - 1) < 0.011"),
                     1);
    ck_assert_int_eq(pg_query_i64(service->dsn,
                                  "SELECT ((rollup_categories(state)).categories->>'true')::bigint"
                                  " FROM metric_1d WHERE metric = 'final_label'"),
                     626);
}
END_TEST

/* ---- labels ---- */

static void take_prediction(struct service *service, const char *crn, int number, int64_t start_ms,
                            const char *metrics)
{
    AUTO(mem_free)
    char *event = xasprintf("{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"%s\","
                            "\"predictionUuid\":\"00000000-0000-4000-8000-%012d\","
                            "\"startTimestampMs\":%lld,\"endTimestampMs\":%lld,\"metrics\":%s}",
                            crn, number, (long long)start_ms, (long long)start_ms + 10, metrics);

    service_take(service, event);
}

static void take_label(struct service *service, int number, const char *metrics)
{
    AUTO(mem_free)
    char *event = xasprintf("{\"event\":\"delayed_metrics\","
                            "\"predictionUuid\":\"00000000-0000-4000-8000-%012d\",\"metrics\":%s}",
                            number, metrics);

    service_take(service, event);
}

/* Labels of one prediction, in order; what its minute then says of "x". */
static const struct {
    const char *name;
    const char *prediction;
    const char *labels[3];
    int before; /* so many of the labels come before their prediction */
    int64_t count;
    double sum;
} label_cases[] = {
    { "a new key", "{\"y\":1}", { "{\"x\":2}" }, 0, 1, 2 },
    { "before the prediction", "{\"y\":1}", { "{\"x\":2}" }, 1, 1, 2 },
    { "two keys", "{\"x\":1}", { "{\"y\":2}" }, 0, 1, 1 },
    { "corrects the prediction", "{\"x\":1}", { "{\"x\":5}" }, 0, 1, 5 },
    { "corrects a label", "{\"y\":1}", { "{\"x\":5}", "{\"x\":7}" }, 0, 1, 7 },
    { "corrects it away", "{\"x\":1}", { "{\"x\":\"gone\"}" }, 0, 0, 0 },
    { "corrects it in another spelling", "{\"x\":1}", { "{\"\\u0078\":3}" }, 0, 1, 3 },
    { "corrected before the prediction", "{\"x\":1}", { "{\"x\":5}", "{\"x\":6}" }, 2, 1, 6 },
    { "one before, one after", "{\"y\":1}", { "{\"x\":5}", "{\"x\":6}" }, 1, 1, 6 },
    { "the same value again", "{\"y\":1}", { "{\"x\":5}", "{\"x\":5}", "{\"x\":5}" }, 0, 1, 5 },
};

/* The deployment of a case. */
static void case_crn(char crn[16], size_t i)
{
    (void)snprintf(crn, 16, "crn:case%zu", i);
}

static void label_check(struct service *service, size_t i, const char *when)
{
    char crn[16];
    json_t *series, *window;

    case_crn(crn, i);
    series = series_of(service, crn, "metric=x&window=1m");
    window = window_of(series, 0);
    if (label_cases[i].count)
        ck_assert_msg(service_number(window, "startTimestampMs") == BASE_MS &&
                          service_number(window, "count") == label_cases[i].count &&
                          number_of(window, "sum") == label_cases[i].sum,
                      "%s, %s: count %lld, sum %g", label_cases[i].name, when,
                      (long long)service_number(window, "count"), number_of(window, "sum"));
    else
        ck_assert_msg(strcmp(service_text(series, "type"), "category") == 0, "%s, %s",
                      label_cases[i].name, when);
    json_decref(series);
}

START_TEST(labels_count_in_the_prediction_s_minute)
{
    AUTO(service_free) struct service *service = service_start();
    int labels = 0;

    for (size_t i = 0; i < LENGTH(label_cases); i++) {
        char crn[16];
        int n = 0;

        case_crn(crn, i);
        for (; n < label_cases[i].before; n++)
            take_label(service, (int)i, label_cases[i].labels[n]);
        take_prediction(service, crn, (int)i, BASE_MS + 5, label_cases[i].prediction);
        for (; n < 3 && label_cases[i].labels[n]; n++)
            take_label(service, (int)i, label_cases[i].labels[n]);
        labels += n;
        if (!label_cases[i].before) /* a label that waited lags behind until it is folded */
            label_check(service, i, "pending");
    }
    WAIT_UNTIL(30000, pg_query_i64(service->dsn, "SELECT count(*) FROM delayed_metric") == labels);
    wait_folded(service);
    for (size_t i = 0; i < LENGTH(label_cases); i++)
        label_check(service, i, "folded");
    check_verified(service);
}
END_TEST

/* ---- numbers at the edges ---- */

static const struct {
    const char *name;
    const char *values[3];
    double sum, mean, min, max; /* INFINITY: null */
} edge_cases[] = {
    { "negative zero", { "-0.0" }, 0, 0, 0, 0 },
    { "the smallest double", { "5e-324", "5e-324" }, 1e-323, 5e-324, 5e-324, 5e-324 },
    { "larger than any double", { "1e308", "1e308", "1e308" }, INFINITY, 1e308, 1e308, 1e308 },
    { "cancels out", { "1e308", "1e308", "-1e308" }, 1e308, 1e308 / 3, -1e308, 1e308 },
    { "small beside large", { "1e16", "1", "-1e16" }, 1, 1.0 / 3, -1e16, 1e16 },
    { "2^63", { "9223372036854775808" }, 0x1p63, 0x1p63, 0x1p63, 0x1p63 },
    { "written differently", { "1", "1.0", "10e-1" }, 3, 1, 1, 1 },
};

static void edge_check(const json_t *window, const char *member, double want, const char *name)
{
    const json_t *value = json_object_get(window, member);

    if (isinf(want))
        ck_assert_msg(json_is_null(value), "%s: %s is not null", name, member);
    else
        ck_assert_msg(number_of(window, member) == want, "%s: %s is %.17g", name, member,
                      number_of(window, member));
}

START_TEST(numbers_at_the_edges)
{
    AUTO(service_free) struct service *service = service_start();
    char crn[16];

    for (size_t i = 0; i < LENGTH(edge_cases); i++) {
        for (int n = 0; n < 3 && edge_cases[i].values[n]; n++) {
            AUTO(mem_free) char *metrics = xasprintf("{\"x\":%s}", edge_cases[i].values[n]);

            case_crn(crn, i);
            take_prediction(service, crn, (int)(3 * i) + n, BASE_MS + n, metrics);
        }
    }
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < LENGTH(edge_cases); i++) {
            json_t *series, *window;

            case_crn(crn, i);
            series = series_of(service, crn, "metric=x&window=1h&quantile=0.5");
            window = window_of(series, 0);
            edge_check(window, "sum", edge_cases[i].sum, edge_cases[i].name);
            edge_check(window, "mean", edge_cases[i].mean, edge_cases[i].name);
            edge_check(window, "min", edge_cases[i].min, edge_cases[i].name);
            edge_check(window, "max", edge_cases[i].max, edge_cases[i].name);
            json_decref(series);
        }
        wait_folded(service);
    }
    check_verified(service);
}
END_TEST

/* ---- names ---- */

START_TEST(names_beyond_the_limit_harm_nobody)
{
    const char *environment[] = { "PLUMBLINE_METRIC_NAMES_MAX=5", NULL };
    AUTO(service_free)
    struct service *service =
        service_start_with(&(struct daemon_options){ .environment = environment });

    for (int i = 0; i < 12; i++) {
        AUTO(mem_free) char *metrics = xasprintf("{\"n%d\":1,\"same\":%d,\"list\":[1,2]}", i, i);

        take_prediction(service, "crn:many", i, BASE_MS + i, metrics);
        take_prediction(service, "crn:few", 100 + i, BASE_MS + i, "{\"a\":1,\"b\":{\"c\":2}}");
    }
    {
        json_auto_t *same = series_of(service, "crn:many", "metric=same&window=1m");
        json_auto_t *nested = series_of(service, "crn:few", "metric=b.c&window=1m");

        ck_assert_int_eq(service_number(window_of(same, 0), "count"), 12);
        ck_assert_int_eq(service_number(window_of(nested, 0), "count"), 12);
    }
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM metric_name AS m JOIN"
                                                " model_deployment AS d USING (deployment)"
                                                " WHERE d.crn = 'crn:many'"),
                     5);
    /* 12 lists, and the names n4 to n11 */
    ck_assert_int_eq(service_sample(service, "plumbline_rollup_skipped_total"), 12 + 8);
    wait_folded(service);
    check_verified(service);
}
END_TEST

/* Deployments that are full, more than are remembered with all their names. */
START_TEST(many_full_deployments)
{
    enum { FULL = 3000, GROWTH_BYTES_MAX = 24 << 20 };
    AUTO(mem_free) char *lean = daemon_lean();
    const char *environment[] = { lean, NULL };
    AUTO(service_free)
    struct service *service =
        service_start_with(&(struct daemon_options){ .environment = environment });
    static const int looked_at[] = { 1, 100, 101, FULL };
    int64_t before;

    take_prediction(service, "crn:other", 1, BASE_MS, "{}");
    pg_exec(service->dsn,
            "INSERT INTO model_deployment (crn, metric_names_full)"
            " SELECT 'crn:' || n, true FROM generate_series(1, %d) AS n;"
            "INSERT INTO metric_name (deployment, metric, kind, name, first_batch)"
            " SELECT deployment, 2 + n, 'prediction', 'name' || n, 1"
            " FROM model_deployment, generate_series(1, 100) AS n"
            " WHERE metric_names_full",
            FULL);
    before = daemon_peak_bytes(service->daemon);
    for (int round = 1; round <= 2; round++) {
        AUTO(buf_done) struct buf body;

        buf_init(&body, SIZE_MAX);
        for (int i = 1; i <= FULL; i++)
            buf_append_fmt(&body,
                           "%c{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"crn:%d\","
                           "\"predictionUuid\":\"%08x-0000-4000-8000-00000000000%d\","
                           "\"startTimestampMs\":%lld,\"endTimestampMs\":%lld,"
                           "\"metrics\":{\"name%d\":1,\"more%d\":1}}",
                           i == 1 ? '[' : ',', i, (unsigned)i, round, (long long)BASE_MS,
                           (long long)BASE_MS, 7 * round, round);
        buf_append_char(&body, ']');
        service_take(service, buf_text(&body));
        ck_assert_int_eq(service_sample(service, "plumbline_rollup_skipped_total"), FULL * round);
    }
    daemon_check_growth(service->daemon, before, GROWTH_BYTES_MAX);
    for (size_t i = 0; i < LENGTH(looked_at); i++) {
        AUTO(mem_free) char *crn = xasprintf("crn:%d", looked_at[i]);
        json_auto_t *first = series_of(service, crn, "metric=name7&window=1m");
        json_auto_t *second = series_of(service, crn, "metric=name14&window=1m");

        ck_assert_int_eq(service_number(window_of(first, 0), "count"), 1);
        ck_assert_int_eq(service_number(window_of(second, 0), "count"), 1);
    }
    wait_folded(service);
    check_verified(service);
}
END_TEST

/* ---- questions ---- */

static const struct {
    const char *query, *code, *field, *message;
} query_cases[] = {
    { "window=1m", "missing_parameter", "model_deployment_crn",
      "one of model_deployment_crn, model_build_crn, model_crn is needed" },
    { "model_crn=a&model_build_crn=b&window=1m", "invalid_parameter", "model_crn",
      "\"model_build_crn\" and \"model_crn\" can't be given together" },
    { "model_crn=a", "missing_parameter", "window", "\"window\" is needed: 1m, 1h or 1d" },
    { "model_crn=a&window=5m", "invalid_parameter", "window",
      "\"window\" must be 1m, 1h or 1d: \"5m\"" },
    { "model_crn=a&window=1m&quantile=1.5", "invalid_parameter", "quantile",
      "\"quantile\" must be a number from 0 to 1: \"1.5\"" },
    { "model_crn=a&window=1m&quantile=nan", "invalid_parameter", "quantile",
      "\"quantile\" must be a number from 0 to 1: \"nan\"" },
    { "model_crn=a&window=1m&kind=label", "invalid_parameter", "kind",
      "\"kind\" must be prediction or aggregate: \"label\"" },
    { "model_crn=a&window=1m&start_timestamp_ms=2&end_timestamp_ms=1", "invalid_parameter",
      "end_timestamp_ms", "the end (1) is before the start (2)" },
    { "model_crn=&window=1m", "invalid_parameter", "model_crn",
      "\"model_crn\" must have from 1 to 1024 bytes: it has 0" },
};

START_TEST(wrong_questions)
{
    AUTO(service_free) struct service *service = service_start();

    for (size_t i = 0; i < LENGTH(query_cases); i++) {
        AUTO(mem_free) char *path = xasprintf("/v1/rollups?%s", query_cases[i].query);
        json_auto_t *answer = service_get(service, 400, path);

        service_check_error(answer, query_cases[i].code, query_cases[i].field,
                            query_cases[i].message, query_cases[i].query);
    }
    {
        json_auto_t *answer = service_get(service, 200, "/v1/rollups?model_crn=x&window=1d");

        ck_assert_uint_eq(json_array_size(json_object_get(answer, "series")), 0);
    }
}
END_TEST

/* Two deployments of one model, a gap, a window without the metric, nulls, and each format. */
START_TEST(formats_and_gaps)
{
    AUTO(service_free) struct service *service = service_start();

    for (int i = 0; i < 2; i++) {
        AUTO(mem_free)
        char *deployed =
            xasprintf("{\"event\":\"model_deployed\",\"modelDeploymentCrn\":\"crn:%d\","
                      "\"modelBuildCrn\":\"crn:b%d\",\"modelCrn\":\"crn:m\",\"userName\":\"ada\","
                      "\"status\":\"deployed\",\"statusAtMs\":1600000000000}",
                      i, i);

        service_take(service, deployed);
    }
    take_prediction(service, "crn:0", 1, BASE_MS, "{\"a\":1,\"t\":\"x\"}");
    take_prediction(service, "crn:1", 2, BASE_MS + 1, "{\"a\":3,\"t\":null}");
    take_prediction(service, "crn:1", 3, BASE_MS + 2 * MINUTE_MS, "{\"t\":\"y, \\\"z\\\"\"}");
    for (int round = 0; round < 2; round++) {
        AUTO(mem_free)
        char *csv = service_get_text(
            service, 200,
            "/v1/rollups?model_crn=crn:m&window=1m&quantile=0.5&quantile=0.5&metric=a"
            "&metric=t",
            "text/csv");
        AUTO(mem_free)
        char *lines =
            service_get_text(service, 200, "/v1/rollups?model_crn=crn:m&window=1m&metric=a",
                             "application/x-ndjson");

        ck_assert_str_eq(
            csv,
            "modelCrn,kind,metric,type,startTimestampMs,predictions,failed,count,nulls,sum,mean,"
            "stddev,min,max,quantiles.0.5.value,quantiles.0.5.low,quantiles.0.5.high,categories,"
            "other\n"
            "\"crn:m\",prediction,\"a\",number,1700000040000,2,0,2,0,4,2,1,1,3,1,1,1,,\n"
            "\"crn:m\",prediction,\"a\",number,1700000160000,1,0,0,0,0,,,,,,,,,\n"
            "\"crn:m\",prediction,\"t\",category,1700000040000,2,0,1,1,,,,,,,,,\"{\"\"x\"\":1}\","
            "0\n"
            "\"crn:m\",prediction,\"t\",category,1700000160000,1,0,1,0,,,,,,,,,"
            "\"{\"\"y, \\\"\"z\\\"\"\"\":1}\",0\n");
        ck_assert_str_eq(
            lines,
            "{\"modelCrn\":\"crn:m\",\"kind\":\"prediction\",\"metric\":\"a\",\"type\":\"number\","
            "\"startTimestampMs\":1700000040000,\"predictions\":2,\"failed\":0,\"count\":2,"
            "\"nulls\":0,\"sum\":4,\"mean\":2,\"stddev\":1,\"min\":1,\"max\":3}\n"
            "{\"modelCrn\":\"crn:m\",\"kind\":\"prediction\",\"metric\":\"a\",\"type\":\"number\","
            "\"startTimestampMs\":1700000160000,\"predictions\":1,\"failed\":0,\"count\":0,"
            "\"nulls\":0,\"sum\":0,\"mean\":null,\"stddev\":null,\"min\":null,\"max\":null}\n");
        wait_folded(service);
    }
}
END_TEST

/* ---- verify ---- */

START_TEST(verify_finds_damage)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *output = NULL;
    int code;

    for (int i = 0; i < 10; i++)
        take_prediction(service, "crn:d", i, BASE_MS + i * MINUTE_MS, "{\"x\":1.5}");
    wait_folded(service);
    check_verified(service);
    pg_exec(service->dsn,
            "UPDATE rollup_1m SET state = (SELECT state FROM rollup_1h WHERE metric = 3)"
            " WHERE metric = 3 AND window_at = to_timestamp(1700000040)");
    code = verify(service, &output);
    ck_assert_int_eq(code, 1);
    ck_assert_msg(strstr(output, "1m\t2023-11-14T22:14:00.000Z\tcrn:d\tprediction x\t1\t10\n") !=
                      NULL,
                  "%s", output);
}
END_TEST

/* ---- everything at once ---- */

enum { STREAM_PREDICTIONS = 600, STREAM_BATCH_MAX = 40, STREAM_MINUTES = 40 };

/* Events of one stream, shuffled, some of them twice. */
static uint32_t stream_events(uint64_t *seed, char **events)
{
    uint32_t len = 0;

    for (uint32_t i = 0; i < STREAM_PREDICTIONS; i++) {
        /* months apart, and many in the same minute */
        int64_t start_ms = BASE_MS + (int64_t)dice_roll(seed, STREAM_MINUTES) * 7919 * MINUTE_MS +
                           dice_roll(seed, 60000);
        uint32_t labels = dice_roll(seed, 4), copies = 1 + (dice_roll(seed, 5) == 0);
        uint32_t deployment = dice_roll(seed, 3), value = dice_roll(seed, 1000000);
        char *prediction = xasprintf(
            "{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"crn:%u\","
            "\"predictionUuid\":\"00000000-0000-4000-8000-%012u\",\"startTimestampMs\":%lld,"
            "\"endTimestampMs\":%lld,\"metrics\":{\"a\":%u.%03u,\"in\":{\"t\":\"c%u\",\"n\":%s},"
            "\"big\":1e%d}}",
            deployment, i, (long long)start_ms, (long long)start_ms + dice_roll(seed, 500),
            value / 1000, value % 1000, dice_roll(seed, 150), dice_roll(seed, 3) ? "null" : "-2.5",
            (int)dice_roll(seed, 600) - 300);

        for (uint32_t copy = 1; copy < copies; copy++)
            events[len++] = xstrdup(prediction);
        events[len++] = prediction;
        for (uint32_t label = 0; label < labels; label++)
            events[len++] =
                xasprintf("{\"event\":\"delayed_metrics\",\"predictionUuid\":\"00000000-0000-4000-"
                          "8000-%012u\","
                          "\"eventId\":\"00000000-0000-4000-9000-%012u\",\"metrics\":{\"%s\":%u}}",
                          i, 4 * i + label, dice_roll(seed, 2) ? "a" : "label",
                          dice_roll(seed, 100));
        if (i % 10 == 0)
            events[len++] =
                xasprintf("{\"event\":\"aggregate_metrics\",\"modelDeploymentCrn\":\"crn:%u\","
                          "\"startTimestampMs\":%lld,\"endTimestampMs\":%lld,"
                          "\"metrics\":{\"a\":0.%u}}",
                          deployment, (long long)start_ms, (long long)start_ms, value);
    }
    dice_shuffle(seed, (void **)events, len);
    return len;
}

static void stream_post(struct service *service, char *const *events, uint32_t len)
{
    AUTO(buf_done) struct buf body;
    json_t *receipt;

    buf_init(&body, SIZE_MAX);
    for (uint32_t i = 0; i < len; i++) {
        buf_append_char(&body, i ? ',' : '[');
        buf_append_text(&body, events[i]);
    }
    buf_append_char(&body, ']');
    receipt = service_post(service, 200, "/v1/events", buf_text(&body));
    ck_assert_uint_eq(json_array_size(json_object_get(receipt, "rejected")), 0);
    json_decref(receipt);
}

/* Every answer that the three deployments give, as one text; owned. */
static char *stream_answers(struct service *service)
{
    static const char *const windows[] = { "1m", "1h", "1d" };
    static const char *const kinds[] = { "prediction", "aggregate" };
    struct buf all;

    buf_init(&all, SIZE_MAX);
    for (uint32_t i = 0; i < 3 * 3 * 2; i++) {
        AUTO(mem_free)
        char *path = xasprintf("/v1/rollups?model_deployment_crn=crn:%u&window=%s&kind=%s"
                               "&quantile=0.01&quantile=0.5&quantile=0.99",
                               i % 3, windows[i / 3 % 3], kinds[i / 9]);
        AUTO(mem_free) char *answer = service_get_text(service, 200, path, NULL);

        buf_append_text(&all, answer);
    }
    (void)buf_text(&all);
    return all.data;
}

/* Counts and sums of "a" by a plain walk over the rows, without anything of the rollups' own. */
static void stream_check_plainly(struct service *service)
{
    json_auto_t *rows = service_rows(service, "?model_deployment_crn=crn:0&kind=prediction");
    json_auto_t *series = series_of(service, "crn:0", "metric=a&window=1m");
    size_t i, j;
    json_t *window, *row;

    json_array_foreach(json_object_get(series, "windows"), i, window)
    {
        int64_t start_ms = service_number(window, "startTimestampMs"), count = 0, predictions = 0;
        double sum = 0, min = INFINITY, max = -INFINITY;

        json_array_foreach(rows, j, row)
        {
            int64_t row_ms = service_number(row, "startTimeStampMs");
            const json_t *value = json_object_get(json_object_get(row, "metrics"), "a");

            if (row_ms < start_ms || row_ms >= start_ms + MINUTE_MS)
                continue;
            predictions++;
            if (!json_is_number(value))
                continue;
            count++;
            sum += json_number_value(value);
            min = fmin(min, json_number_value(value));
            max = fmax(max, json_number_value(value));
        }
        ck_assert_int_eq(service_number(window, "predictions"), predictions);
        ck_assert_int_eq(service_number(window, "count"), count);
        ck_assert(fabs(number_of(window, "sum") - sum) <= 1e-9 * fabs(sum));
        ck_assert(number_of(window, "min") == min);
        ck_assert(number_of(window, "max") == max);
    }
}

START_TEST(everything_at_once)
{
    AUTO(service_free) struct service *one = service_start();
    AUTO(service_free)
    struct service *two = service_start_with(&(struct daemon_options){ .dsn = one->dsn });
    AUTO(mem_free) char **events = xcalloc(STREAM_PREDICTIONS * 8, sizeof(*events));
    AUTO(mem_free) char *pending = NULL, *folded = NULL;
    uint64_t seed = 20231114 + (uint64_t)_i;
    uint32_t len = stream_events(&seed, events), at = 0, killed = 0;

    while (at < len) {
        uint32_t n = 1 + dice_roll(&seed, STREAM_BATCH_MAX);

        n = n < len - at ? n : len - at;
        stream_post(dice_roll(&seed, 2) ? one : two, events + at, n);
        at += n;
        if (at > (killed + 1) * len / 5 &&
            killed < 4) { /* in the middle of a fold, or beside one */
            struct service *victim = killed++ % 2 ? one : two;

            daemon_kill9(victim->daemon);
            daemon_resume(victim->daemon);
        }
    }
    WAIT_UNTIL(30000, pg_query_i64(one->dsn, "SELECT count(*) FROM delayed_metric_waiting") == 0);
    pending = stream_answers(one);
    wait_folded(one);
    folded = stream_answers(two);
    ck_assert_str_eq(pending, folded);
    check_verified(one);
    stream_check_plainly(one);
    for (uint32_t i = 0; i < len; i++)
        free(events[i]);
}
END_TEST

/* A COPY that the server refuses in the middle of a fold: nothing is lost, it is done again. */
START_TEST(fold_that_fails_is_repeated)
{
    AUTO(service_free) struct service *service = service_start();

    (void)daemon_stop(service->daemon);
    /* what the daemon stages in takes this over when it connects; a text has no sum */
    pg_exec(service->dsn, "ALTER TABLE rollup_1m ALTER sum SET NOT NULL");
    daemon_resume(service->daemon);
    service_take(service, "{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"crn:text\","
                          "\"predictionUuid\":\"00000000-0000-4000-8000-000000000001\","
                          "\"startTimestampMs\":1700000040000,\"endTimestampMs\":1700000040001,"
                          "\"metrics\":{\"colour\":\"red\"}}");
    WAIT_UNTIL(30000, daemon_log_has(service->daemon, "event=maintenance_failed name=fold"));
    ck_assert_int_eq(service_sample(service, "plumbline_postgres_up"), 1);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM rollup_delta"), 1);
    pg_exec(service->dsn, "ALTER TABLE rollup_1m ALTER sum DROP NOT NULL");
    wait_folded(service);
    check_verified(service);
}
END_TEST

/* `len` events of one deployment, each in a minute of its own. */
static void minutes_take(struct service *service, unsigned first, unsigned len)
{
    AUTO(buf_done) struct buf body;

    buf_init(&body, SIZE_MAX);
    for (unsigned i = first; i < first + len; i++)
        buf_append_fmt(&body,
                       "%s{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"crn:minutes\","
                       "\"predictionUuid\":\"00000000-0000-4000-8000-%012u\","
                       "\"startTimestampMs\":%" PRId64 ",\"endTimestampMs\":%" PRId64
                       ",\"metrics\":{\"p\":0.5}}",
                       i == first ? "[" : ",", i, BASE_MS + i * MINUTE_MS, BASE_MS + i * MINUTE_MS);
    buf_append_char(&body, ']');
    service_take(service, buf_text(&body));
}

/* More is pending of one deployment than a round takes: those behind it come before the rest of it.
 */
START_TEST(every_deployment_has_its_turn)
{
    AUTO(service_free) struct service *service = service_start();
    PGconn *holder = pg_connect(service->dsn);
    AUTO(mem_free) char *order = NULL;

    minutes_take(service, 0, 1);
    for (int i = 0; i < FOLD_SHARES; i++) { /* the last of them is in the same share */
        AUTO(mem_free) char *crn = xasprintf("crn:%d", i);

        take_prediction(service, crn, 900001 + i, BASE_MS, "{}");
    }
    wait_folded(service);
    pg_exec(service->dsn, "CREATE TABLE turn (deployment int, transaction text);"
                          "CREATE FUNCTION turn() RETURNS trigger LANGUAGE plpgsql AS"
                          " $$ BEGIN INSERT INTO turn VALUES (NEW.deployment,"
                          " pg_current_xact_id()::text); RETURN NULL; END $$;"
                          "CREATE TRIGGER turn AFTER INSERT ON rollup_1m FOR EACH ROW"
                          " EXECUTE FUNCTION turn()");
    PQclear(PQexec(holder, "SELECT pg_advisory_lock(7237, share) FROM generate_series(0, 15) AS"
                           " share"));
    for (unsigned i = 0; i < 3; i++)
        minutes_take(service, 1 + i * 3000, 3000);
    take_prediction(service, "crn:3", 900010, BASE_MS + MINUTE_MS, "{}");
    PQfinish(holder);
    wait_folded(service);
    order =
        pg_query_text(service->dsn,
                      "SELECT string_agg(crn || ' ' || (transactions > 1), ', ' ORDER BY last,"
                      " crn DESC)"
                      " FROM (SELECT crn, max(transaction::bigint) AS last,"
                      "  count(DISTINCT transaction) AS transactions"
                      "  FROM turn JOIN model_deployment USING (deployment) GROUP BY crn) AS t");
    ck_assert_str_eq(order, "crn:3 false, crn:minutes true");
    check_verified(service);
}
END_TEST

/* Folding hangs: batches wait as soon as too much is pending, whether it has looked or not. */
START_TEST(too_much_pending_slows_ingest)
{
    static const char *const environment[] = { "PLUMBLINE_ROLLUP_PENDING_MAX=100", NULL };
    AUTO(service_free)
    struct service *service =
        service_start_with(&(struct daemon_options){ .environment = environment });
    PGconn *holder = pg_connect(service->dsn);

    minutes_take(service, 0, 1);
    wait_folded(service);
    WAIT_UNTIL(10000, service_sample(service, "plumbline_rollup_pending") == 0);
    PQclear(PQexec(holder, "BEGIN; LOCK TABLE rollup_1m IN SHARE MODE"));
    minutes_take(service, 1, 1);
    WAIT_UNTIL(10000, pg_query_i64(service->dsn, "SELECT count(*) FROM pg_locks WHERE relation ="
                                                 " 'rollup_1m'::regclass AND NOT granted") == 1);
    ck_assert_int_eq(service_sample(service, "plumbline_rollup_slowed_total"), 0);
    minutes_take(service, 2, 150);
    ck_assert_int_gt(service_sample(service, "plumbline_rollup_pending"), 100);
    minutes_take(service, 152, 1);
    ck_assert_int_eq(service_sample(service, "plumbline_rollup_slowed_total"), 1);
    PQfinish(holder);
    wait_folded(service);
    WAIT_UNTIL(10000, service_sample(service, "plumbline_rollup_pending") == 0);
    check_verified(service);
}
END_TEST

/* ---- none are kept ---- */

#define PLAIN "\"modelDeploymentCrn\":\"crn:plain\""
#define PLAIN_TIMES "\"startTimestampMs\":1700000040000,\"endTimestampMs\":1700000040001"
#define PLAIN_UUID(n) "\"predictionUuid\":\"00000000-0000-4000-8000-00000000000" #n "\""

/* What a switched-on database would count, by every way: new rows, the same again (the slow path),
 * labels before and after, labels that correct. */
static void plain_send(struct service *service)
{
    static const char prediction[] =
        "[{\"event\":\"track_metrics\"," PLAIN "," PLAIN_TIMES
        "," PLAIN_UUID(1) ",\"metrics\":{\"p\":0.5}},"
                          "{\"event\":\"aggregate_metrics\"," PLAIN "," PLAIN_TIMES
                          ",\"metrics\":{\"auc\":0.9}}]";
    static const char again[] =
        "[{\"event\":\"track_metrics\"," PLAIN "," PLAIN_TIMES
        "," PLAIN_UUID(1) ",\"metrics\":{\"p\":0.5}},"
                          "{\"event\":\"track_metrics\"," PLAIN "," PLAIN_TIMES
                          "," PLAIN_UUID(2) ",\"metrics\":{\"p\":0.25}}]";
    json_t *receipt;

    service_take(service, "{\"event\":\"delayed_metrics\"," PLAIN_UUID(
                              2) ",\"metrics\":{\"p\":1,\"label\":true}}");
    service_take(service, prediction);
    receipt = service_post(service, 200, "/v1/events", again);
    ck_assert_int_eq(service_number(receipt, "duplicate"), 1);
    json_decref(receipt);
    service_take(service, "{\"event\":\"delayed_metrics\"," PLAIN_UUID(
                              1) ",\"metrics\":{\"p\":2,\"label\":false}}");
}

START_TEST(without_rollups)
{
    static const char *const off[] = { "PLUMBLINE_ROLLUPS=false", NULL };
    static const char *const on[] = { "PLUMBLINE_ROLLUPS=true", NULL };
    AUTO(service_free)
    struct service *service = service_start_with(&(struct daemon_options){ .environment = off });
    const char *const verify_words[] = { "verify", "--database", service->dsn, NULL };
    const char *const migrate_words[] = { "migrate", "--database", service->dsn, NULL };
    AUTO(mem_free) char *verified = NULL, *migrated = NULL;
    json_auto_t *refused = NULL, *rows = NULL;

    plain_send(service);
    service_check_balance(service, 5, 1, 0);
    WAIT_UNTIL(30000,
               pg_query_i64(service->dsn, "SELECT count(*) FROM delayed_metric_waiting") == 0);
    rows = service_rows(service, "?kind=prediction");
    ck_assert_uint_eq(json_array_size(rows), 2);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT (SELECT count(*) FROM rollup_delta)"
                                                " + (SELECT count(*) FROM rollup_1m)"
                                                " + (SELECT count(*) FROM metric_name)"),
                     0);
    refused = service_get(service, 404, "/v1/rollups?model_deployment_crn=crn:plain&window=1m");
    service_check_error(refused, "not_found", NULL,
                        "this database keeps no rollups: it was made with rollups: false",
                        "rollups");
    ck_assert_int_eq(service_command(verify_words, off, &verified), 1);
    ck_assert_msg(strstr(verified, "plumbline verify: this database keeps no rollups: it was made "
                                   "with rollups: false\n") != NULL,
                  "%s", verified);
    ck_assert_int_eq(service_command(migrate_words, on, &migrated), 1);
    ck_assert_str_eq(migrated, "plumbline migrate: rollups is false in this database and true in "
                               "the configuration: it is fixed when the database is made, put "
                               "false into the configuration\n");
}
END_TEST

/* A database from before there was a choice has rollups. */
START_TEST(rollups_of_an_older_database)
{
    AUTO(service_free) struct service *service = service_start();
    static const char *const off[] = { "PLUMBLINE_ROLLUPS=false", NULL };
    const char *const words[] = { "migrate", "--database", service->dsn, NULL };
    AUTO(mem_free) char *output = NULL;

    plain_send(service);
    pg_exec(service->dsn, "DELETE FROM setting WHERE name = 'rollups'");
    ck_assert_int_eq(service_command(words, off, &output), 1);
    ck_assert_str_eq(output, "plumbline migrate: rollups is true in this database and false in "
                             "the configuration: it is fixed when the database is made, put "
                             "true into the configuration\n");
    wait_folded(service); /* what a correction marked is not compared */
    check_verified(service);
}
END_TEST

Suite *rollups_suite(void)
{
    Suite *suite = suite_create("rollups");
    TCase *tcase = tcase_create("rollups");

    tcase_add_unchecked_fixture(tcase, pg_shared_start, NULL);
    tcase_add_test(tcase, churn_is_counted);
    tcase_add_test(tcase, labels_count_in_the_prediction_s_minute);
    tcase_add_test(tcase, numbers_at_the_edges);
    tcase_add_test(tcase, names_beyond_the_limit_harm_nobody);
    tcase_add_test(tcase, many_full_deployments);
    tcase_add_test(tcase, wrong_questions);
    tcase_add_test(tcase, formats_and_gaps);
    tcase_add_test(tcase, verify_finds_damage);
    tcase_add_test(tcase, fold_that_fails_is_repeated);
    tcase_add_test(tcase, every_deployment_has_its_turn);
    tcase_add_test(tcase, too_much_pending_slows_ingest);
    tcase_add_test(tcase, without_rollups);
    tcase_add_test(tcase, rollups_of_an_older_database);
    tcase_add_loop_test(tcase, everything_at_once, 0, runner_short() ? 1 : 2);
    suite_add_tcase(suite, tcase);
    return suite;
}
