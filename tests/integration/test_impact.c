/* What an entity has fed: deployments downstream, when they served, what they predicted. */
#include <check.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tests/harness/dice.h"
#include "tests/harness/pg.h"
#include "tests/harness/service.h"
#include "tests/harness/wait.h"

Suite *impact_suite(void);

#define T0 INT64_C(1704067200000) /* a day's beginning */
#define MINUTE_MS INT64_C(60000)
#define HOUR_MS INT64_C(3600000)
#define DAY_MS INT64_C(86400000)

#define BUILT(build, number, tables, more)                                                         \
    "{\"event\":\"model_built\",\"projectCrn\":\"p\",\"modelCrn\":\"m\",\"modelName\":\"Model\","  \
    "\"modelBuildCrn\":\"" build "\",\"buildNumber\":" number ",\"userName\":\"bob\"," more        \
    "\"linkingFile\":\"Model:\\n  hive_table_qualified_names: [" tables "]\\n\"}"
#define DEPLOYED(build, deployment, status, at)                                                    \
    "{\"event\":\"model_deployed\",\"modelBuildCrn\":\"" build "\",\"modelDeploymentCrn\":\""      \
    "" deployment "\",\"status\":\"" status "\",\"statusAtMs\":" at ",\"cpuMillicores\":1,"        \
    "\"userName\":\"eve\"}"

/* x.t -> b1, b2; x.u -> b1 -> b2; b1 -> d1, b2 -> d2 and d3. */
static const char *const graph_events[] = {
    BUILT("b1", "1", "x.t, x.u", ""),
    BUILT("b2", "2", "x.t",
          "\"inputs\":[{\"typeName\":\"ml_model_build\",\"qualifiedName\":\"b1@cm\"}],"),
    DEPLOYED("b1", "d1", "deployed", "1704067300000"),
    DEPLOYED("b1", "d1", "stopped", "1704067400000"),
    DEPLOYED("b2", "d2", "deployed", "1704067350000"),
    DEPLOYED("b2", "d3", "deploying", "1704067350000"),
};

static void take_all(struct service *service, const char *const *events, size_t len)
{
    for (size_t i = 0; i < len; i++)
        service_take(service, events[i]);
}

static struct service *impact_start(void)
{
    struct service *service = service_start();

    take_all(service, graph_events, LENGTH(graph_events));
    return service;
}

static json_t *impact_get(struct service *service, long status, const char *query)
{
    AUTO(mem_free) char *path = xasprintf("/v1/impact?%s", query);

    return service_get(service, status, path);
}

/* The deployment's object; fails the test when it is not there. Borrowed. */
static const json_t *impact_of(const json_t *answer, const char *crn)
{
    const json_t *deployment;
    size_t i;

    json_array_foreach(json_object_get(answer, "deployments"), i, deployment)
    {
        if (strcmp(service_text(deployment, "modelDeploymentCrn"), crn) == 0)
            return deployment;
    }
    ck_abort_msg("no %s", crn);
}

/* ---- who is there ---- */

static const struct {
    const char *name, *query;
    const char *want; /* CRN and hops */
} reach_cases[] = {
    { "a table", "type=hive_table&qualifiedName=x.t@cm", "d1:2 d2:2 d3:2! " },
    { "behind another build", "type=hive_table&qualifiedName=x.u@cm", "d1:2 d2:3 d3:3! " },
    { "directly", "type=hive_table&qualifiedName=x.u@cm&direct=true", "d1:2 " },
    { "both directly", "type=hive_table&qualifiedName=x.t@cm&direct=true", "d1:2 d2:2 d3:2! " },
    { "not only directly", "type=DataSet&qualifiedName=x.u@cm&direct=false", "d1:2 d2:3 d3:3! " },
    { "a build", "type=ml_model_build&qualifiedName=b1@cm", "d1:1 d2:2 d3:2! " },
    { "a build, directly", "type=ml_model_build&qualifiedName=b2@cm&direct=true", "d2:1 d3:1! " },
    { "a process", "type=Process&qualifiedName=b1:train_build@cm", "d1:2 d2:3 d3:3! " },
    { "a process, directly", "type=Process&qualifiedName=b1:train_build@cm&direct=true", "d1:2 " },
    { "a project", "type=ml_project&qualifiedName=p@cm", "d1:2 d2:2 d3:2! " },
    { "a deployment", "type=ml_model_deployment&qualifiedName=d1@cm", "" },
};

START_TEST(all_that_are_downstream)
{
    AUTO(service_free) struct service *service = impact_start();

    /* or the background would find d3 to be missing */
    WAIT_UNTIL(10000, pg_query_i64(service->dsn, "SELECT deployment FROM graph_position") == 3);
    pg_exec(service->dsn, "UPDATE entity SET is_deleted = true WHERE qualified_name = 'd3@cm'");
    for (size_t i = 0; i < LENGTH(reach_cases); i++) {
        json_auto_t *answer = impact_get(service, 200, reach_cases[i].query);
        AUTO(buf_done) struct buf have;
        const json_t *deployment;
        size_t n;

        buf_init(&have, SIZE_MAX);
        json_array_foreach(json_object_get(answer, "deployments"), n, deployment)
            buf_append_fmt(&have, "%s:%" PRId64 "%s ",
                           service_text(deployment, "modelDeploymentCrn"),
                           service_number(deployment, "hops"),
                           json_is_true(json_object_get(deployment, "deleted")) ? "!" : "");
        ck_assert_msg(strcmp(buf_text(&have), reach_cases[i].want) == 0, "%s: %s",
                      reach_cases[i].name, buf_text(&have));
        ck_assert(json_is_null(json_object_get(answer, "nextCursor")));
    }
}
END_TEST

/* A data set that is made from what came from itself. */
START_TEST(a_cycle_ends)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *answer = NULL;

    service_take(service, BUILT("b1", "1", "x.t",
                                "\"inputs\":[{\"typeName\":\"ml_model_deployment\","
                                "\"qualifiedName\":\"d1@cm\"}],"));
    service_take(service, DEPLOYED("b1", "d1", "deployed", "1704067300000"));
    answer = impact_get(service, 200, "type=hive_table&qualifiedName=x.t@cm");
    ck_assert_int_eq(service_number(impact_of(answer, "d1"), "hops"), 2);
    json_decref(answer);
    answer = impact_get(service, 200, "type=ml_model_deployment&qualifiedName=d1@cm");
    ck_assert_uint_eq(json_array_size(json_object_get(answer, "deployments")), 0);
}
END_TEST

#define PREDICTED(deployment, number, at)                                                          \
    "{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"" deployment                            \
    "\",\"predictionUuid\":\"00000000-0000-4000-8000-0000000000" number                            \
    "\",\"startTimestampMs\":" at ",\"endTimestampMs\":" at ",\"metrics\":{\"p\":1}}"
#define AGGREGATED(deployment, at, metrics)                                                        \
    "{\"event\":\"aggregate_metrics\",\"modelDeploymentCrn\":\"" deployment                        \
    "\",\"startTimestampMs\":" at ",\"endTimestampMs\":1704069999999,\"metrics\":" metrics "}"

START_TEST(the_whole_answer)
{
    AUTO(service_free) struct service *service = impact_start();
    json_auto_t *answer = NULL, *want = NULL;
    AUTO(mem_free) char *table = NULL, *guid = NULL, *text = NULL;

    service_take(service, PREDICTED("d1", "01", "1704067310000"));
    service_take(service, PREDICTED("d1", "02", "1704067320123"));
    service_take(service, PREDICTED("d1", "03", "1704067300001"));
    service_take(service, AGGREGATED("d1", "1704067210000",
                                     "{\"accuracy\":0.10,\"old\\u00e9\":[1e22, null]}"));
    service_take(service, AGGREGATED("d1", "1704067200000", "{\"accuracy\":0.790,\"auc\":\"a\"}"));
    service_take(service, AGGREGATED("d1", "1704067100000", "{\"accuracy\":0.8}"));
    answer = impact_get(service, 200,
                        "type=DataSet&qualifiedName=x.u@cm&direct=true"
                        "&start_timestamp_ms=1704067200000");
    table = pg_query_text(service->dsn, "SELECT guid FROM entity WHERE qualified_name = 'x.u@cm'");
    guid = pg_query_text(service->dsn, "SELECT DISTINCT guid FROM entity WHERE qualified_name ="
                                       " 'd1@cm'");
    text = xasprintf("{\"entity\":{\"guid\":\"%s\",\"typeName\":\"hive_table\",\"qualifiedName\":"
                     "\"x.u@cm\"},\"deployments\":[{\"modelDeploymentCrn\":\"d1\",\"modelBuildCrn\""
                     ":\"b1\",\"modelCrn\":\"m\",\"guid\":\"%s\",\"modelName\":\"Model\","
                     "\"buildNumber\":1,\"status\":\"stopped\",\"deleted\":false,\"hops\":2,"
                     "\"inService\":[{\"fromMs\":1704067300000,\"toMs\":1704067400000}],"
                     "\"predictions\":3,\"lastPredictionMs\":1704067320123,\"latest\":{"
                     "\"accuracy\":{\"value\":0.790,\"startTimestampMs\":1704067200000,"
                     "\"endTimestampMs\":1704069999999},\"auc\":{\"value\":\"a\","
                     "\"startTimestampMs\":1704067200000,\"endTimestampMs\":1704069999999},"
                     "\"old\\u00e9\":{\"value\":[1e22,null],\"startTimestampMs\":1704067210000,"
                     "\"endTimestampMs\":1704069999999}}}],\"truncatedBeforeMs\":null,"
                     "\"nextCursor\":null}",
                     table, guid);
    want = service_json(text);
    service_check_same(answer, want, "impact");
    free(TAKE(table));
    table = service_get_text(service, 200,
                             "/v1/impact?type=DataSet&qualifiedName=x.u@cm&direct=true"
                             "&start_timestamp_ms=1704067200000",
                             NULL);
    ck_assert_str_eq(table, text); /* members in their order, numbers as they were posted */
}
END_TEST

/* What nobody has said is empty, and not a guess. */
START_TEST(what_is_not_known)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *answer = NULL;
    const json_t *deployment;

    service_take(service, DEPLOYED("b", "d", "deployed", "1704067300000"));
    answer = impact_get(service, 200, "type=ml_model_build&qualifiedName=b@cm");
    deployment = impact_of(answer, "d");
    ck_assert_str_eq(service_text(deployment, "modelBuildCrn"), "b");
    ck_assert_str_eq(service_text(deployment, "modelCrn"), "");
    ck_assert_str_eq(service_text(deployment, "modelName"), "");
    ck_assert(json_is_null(json_object_get(deployment, "buildNumber")));
    ck_assert(json_is_null(json_object_get(deployment, "lastPredictionMs")));
    ck_assert_int_eq(service_number(deployment, "predictions"), 0);
    ck_assert_uint_eq(json_object_size(json_object_get(deployment, "latest")), 0);
}
END_TEST

static const char *const metrics_alone_cases[] = {
    "type=hive_table&qualifiedName=x.t@cm", "type=hive_table&qualifiedName=x.t@cm&direct=true",
    "type=ml_model_build&qualifiedName=b@cm", "type=Process&qualifiedName=b:train_build@cm"
};

/* Of a build that predictions name the deployment is downstream, at the place of others of it. */
START_TEST(known_by_metrics_alone)
{
    AUTO(service_free) struct service *service = service_start();

    service_take(service, BUILT("b", "1", "x.t", ""));
    service_take(service, DEPLOYED("b", "d", "deployed", "1704067300000"));
    service_take(
        service,
        "{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"e\",\"modelBuildCrn\":\"b\","
        "\"predictionUuid\":\"00000000-0000-4000-8000-000000000001\",\"startTimestampMs\":"
        "1704067310000,\"endTimestampMs\":1704067310000,\"metrics\":{}}");
    WAIT_UNTIL(10000, pg_query_i64(service->dsn, "SELECT count(*) FROM relationship WHERE type ="
                                                 " 'ml_build_deployment'") == 2);
    for (size_t i = 0; i < LENGTH(metrics_alone_cases); i++) {
        json_auto_t *answer = impact_get(service, 200, metrics_alone_cases[i]);
        const json_t *e = impact_of(answer, "e");

        ck_assert_int_eq(service_number(e, "hops"), service_number(impact_of(answer, "d"), "hops"));
        ck_assert_str_eq(service_text(e, "modelBuildCrn"), "b");
        ck_assert_str_eq(service_text(e, "status"), "unknown");
        ck_assert_int_eq(service_number(e, "predictions"), 1);
        ck_assert_uint_eq(json_array_size(json_object_get(answer, "deployments")), 2);
    }
}
END_TEST

/* ---- when it was in service ---- */

static const struct {
    const char *name, *query, *want;
} service_cases[] = {
    { "all of it", "",
      "[1704067201000,1704067202000] [1704067203000,1704067205000] [1704067207000,null] " },
    { "clipped", "&start_timestamp_ms=1704067201500&end_timestamp_ms=1704067204000",
      "[1704067201500,1704067202000] [1704067203000,1704067204000] " },
    { "clipped to what is not over", "&start_timestamp_ms=1704067208000", "[1704067208000,null] " },
    { "the end of what is not over", "&end_timestamp_ms=1704067208000",
      "[1704067201000,1704067202000] [1704067203000,1704067205000] "
      "[1704067207000,1704067208000] " },
    { "between", "&start_timestamp_ms=1704067202000&end_timestamp_ms=1704067202999", "" },
    { "before", "&end_timestamp_ms=1704067200999", "" },
    { "begins at the end", "&end_timestamp_ms=1704067201000", "[1704067201000,1704067201000] " },
    { "over at the start", "&start_timestamp_ms=1704067205000&end_timestamp_ms=1704067206000", "" },
    { "an end that is to come", "&start_timestamp_ms=1704067206000&end_timestamp_ms=4102444800000",
      "[1704067207000,null] " },
};

START_TEST(in_service)
{
    AUTO(service_free) struct service *service = service_start();

    /* 1704067206000 began and ended at once; 1704067203500 changes nothing */
    static const char *const events[] = {
        DEPLOYED("b", "d", "stopped", "1704067202000"),
        DEPLOYED("b", "d", "deployed", "1704067203500"),
        DEPLOYED("b", "d", "deployed", "1704067201000"),
        DEPLOYED("b", "d", "deployed", "1704067207000"),
        DEPLOYED("b", "d", "deployed", "1704067206000"),
        DEPLOYED("b", "d", "stopping", "1704067206000"),
        DEPLOYED("b", "d", "unknown", "1704067205000"),
        DEPLOYED("b", "d", "deployed", "1704067203000"),
        DEPLOYED("b", "d", "deploying", "1704067200500"),
    };

    take_all(service, events, LENGTH(events));
    for (size_t i = 0; i < LENGTH(service_cases); i++) {
        AUTO(mem_free)
        char *query = xasprintf("type=ml_model_build&qualifiedName=b@cm%s", service_cases[i].query);
        json_auto_t *answer = impact_get(service, 200, query);
        AUTO(buf_done) struct buf have;
        const json_t *interval;
        size_t n;

        buf_init(&have, SIZE_MAX);
        json_array_foreach(json_object_get(impact_of(answer, "d"), "inService"), n, interval)
        {
            AUTO(mem_free)
            char *to = json_dumps(json_object_get(interval, "toMs"), JSON_ENCODE_ANY);

            buf_append_fmt(&have, "[%" PRId64 ",%s] ", service_number(interval, "fromMs"), to);
        }
        ck_assert_msg(strcmp(buf_text(&have), service_cases[i].want) == 0, "%s: %s",
                      service_cases[i].name, buf_text(&have));
    }
}
END_TEST

/* ---- how much it predicted ---- */

enum { COUNT_PREDICTIONS = 600, COUNT_ROUNDS = 3, COUNT_SPANS = 25 };

/* Over two days, many of them in the same minutes, of d1 and d2; not in order. Labels that correct
 * have their minute counted anew. */
static void count_events(struct service *service, uint64_t *seed, int round)
{
    AUTO(buf_done) struct buf body;

    buf_init(&body, SIZE_MAX);
    for (int i = 0; i < COUNT_PREDICTIONS; i++) {
        int number = round * COUNT_PREDICTIONS + i;
        int64_t at_ms = T0 - HOUR_MS + dice_roll(seed, 50) * HOUR_MS;

        at_ms += dice_roll(seed, 3) * MINUTE_MS + dice_roll(seed, (uint32_t)MINUTE_MS);
        buf_append_fmt(&body,
                       "%s{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"d%u\","
                       "\"predictionUuid\":\"00000000-0000-4000-8000-%012x\",\"startTimestampMs\":"
                       "%" PRId64 ",\"endTimestampMs\":%" PRId64 ",\"metrics\":{\"p\":1}}",
                       i ? "," : "[", 1 + dice_roll(seed, 2), (unsigned)number, at_ms, at_ms);
        if (dice_roll(seed, 20) == 0)
            buf_append_fmt(&body,
                           ",{\"event\":\"delayed_metrics\",\"predictionUuid\":"
                           "\"00000000-0000-4000-8000-%012x\",\"metrics\":{\"p\":2}}",
                           (unsigned)number / 2);
    }
    buf_append_char(&body, ']');
    json_decref(service_post(service, 200, "/v1/events", buf_text(&body)));
}

static void count_check(struct service *service, const char *crn, const json_t *deployment,
                        const char *where, const char *what)
{
    AUTO(mem_free)
    char *want = pg_query_text(service->dsn,
                               "SELECT count(*) || ' ' || coalesce((extract(epoch FROM"
                               " max(start_at)) * 1000)::bigint::text, 'null') FROM prediction JOIN"
                               " model_deployment USING (deployment) WHERE crn = '%s' AND %s",
                               crn, where);
    AUTO(mem_free)
    char *last = json_dumps(json_object_get(deployment, "lastPredictionMs"), JSON_ENCODE_ANY);
    AUTO(mem_free)
    char *have = xasprintf("%" PRId64 " %s", service_number(deployment, "predictions"), last);

    ck_assert_msg(strcmp(have, want) == 0, "%s, %s where %s: %s and not %s", what, crn, where, have,
                  want);
}

/* A moment of the two days: any, or the bound of a minute, an hour or a day, or beside it. */
static int64_t count_moment(uint64_t *seed)
{
    static const int64_t widths[] = { 1, MINUTE_MS, HOUR_MS, DAY_MS };
    int64_t at_ms = T0 + dice_roll(seed, (uint32_t)(2 * DAY_MS));
    int64_t width_ms = widths[dice_roll(seed, LENGTH(widths))];

    return at_ms - at_ms % width_ms + dice_roll(seed, 3) - 1;
}

static void count_spans(struct service *service, uint64_t *seed, const char *more,
                        const char *condition, const char *what)
{
    for (int i = 0; i < COUNT_SPANS; i++) {
        int64_t one = count_moment(seed), two = count_moment(seed);
        int64_t from = one < two ? one : two, to = one < two ? two : one;
        AUTO(mem_free)
        char *query = xasprintf("type=hive_table&qualifiedName=x.t@cm&start_timestamp_ms=%" PRId64
                                "&end_timestamp_ms=%" PRId64 "%s",
                                from, to, more);
        AUTO(mem_free)
        char *where = xasprintf("start_at >= timestamptz 'epoch' + %" PRId64
                                " * interval '1 ms' AND start_at <= timestamptz 'epoch' + %" PRId64
                                " * interval '1 ms' AND %s",
                                from, to, condition);
        json_auto_t *answer = impact_get(service, 200, query);

        count_check(service, "d1", impact_of(answer, "d1"), where, what);
        count_check(service, "d2", impact_of(answer, "d2"), where, what);
    }
}

static void count_whole(struct service *service, const char *what)
{
    json_auto_t *answer = impact_get(service, 200, "type=hive_table&qualifiedName=x.t@cm");

    count_check(service, "d1", impact_of(answer, "d1"), "true", what);
    count_check(service, "d2", impact_of(answer, "d2"), "true", what);
    ck_assert_int_eq(service_number(impact_of(answer, "d3"), "predictions"), 0);
    ck_assert(json_is_null(json_object_get(answer, "truncatedBeforeMs")));
}

/* While deltas are pending (nobody folds: the table of minutes is locked), and when there are none.
 */
START_TEST(predictions_are_counted_exactly)
{
    AUTO(service_free) struct service *service = impact_start();
    uint64_t seed = 9;

    for (int round = 0; round < COUNT_ROUNDS; round++) {
        PGconn *conn = pg_connect(service->dsn);

        PQclear(PQexec(conn, "BEGIN; LOCK TABLE rollup_1m IN SHARE MODE"));
        count_events(service, &seed, round);
        ck_assert_int_gt(pg_query_i64(service->dsn, "SELECT count(*) FROM rollup_delta"), 0);
        count_whole(service, "pending");
        count_spans(service, &seed, "", "true", "pending");
        PQfinish(conn);
        WAIT_UNTIL(60000, pg_query_i64(service->dsn, "SELECT count(*) FROM rollup_delta") == 0);
        count_whole(service, "folded");
        count_spans(service, &seed, "", "true", "folded");
    }
}
END_TEST

START_TEST(counted_without_rollups)
{
    static const char *const environment[] = { "PLUMBLINE_ROLLUPS=false", NULL };
    AUTO(service_free)
    struct service *service =
        service_start_with(&(struct daemon_options){ .environment = environment });
    uint64_t seed = 10;

    take_all(service, graph_events, LENGTH(graph_events));
    count_events(service, &seed, 0);
    count_whole(service, "without rollups");
    count_spans(service, &seed, "", "true", "without rollups");
}
END_TEST

/* ---- what was known ---- */

static int64_t moment_now(struct service *service)
{
    int64_t ms = pg_query_i64(service->dsn, "SELECT floor(extract(epoch FROM greatest("
                                            "clock_timestamp(), (SELECT max(recorded_at)"
                                            " FROM ingest_batch))) * 1000)::bigint");

    WAIT_UNTIL(10000, pg_query_i64(service->dsn, "SELECT floor(extract(epoch FROM"
                                                 " clock_timestamp()) * 1000)::bigint") > ms);
    return ms;
}

START_TEST(as_of_a_moment)
{
    AUTO(service_free) struct service *service = service_start();
    int64_t moments[COUNT_ROUNDS + 1];
    uint64_t seed = 11;

    moments[0] = moment_now(service);
    take_all(service, graph_events, LENGTH(graph_events));
    for (int round = 0; round < COUNT_ROUNDS; round++) {
        count_events(service, &seed, round);
        if (round == 1) {
            service_take(service, DEPLOYED("b2", "d2", "stopped", "1704067500000"));
            service_take(service, AGGREGATED("d1", "1704067210000", "{\"accuracy\":0.1}"));
        }
        if (round == 2)
            service_take(service, AGGREGATED("d1", "1704067210000", "{\"accuracy\":0.2}"));
        moments[round + 1] = moment_now(service);
    }
    for (int i = 0; i <= COUNT_ROUNDS; i++) {
        AUTO(mem_free)
        char *query = xasprintf("type=hive_table&qualifiedName=x.t@cm&as_of=%" PRId64, moments[i]);
        AUTO(mem_free)
        char *condition =
            xasprintf("batch_id <= (SELECT max(batch_id) FROM ingest_batch WHERE"
                      " recorded_at < timestamptz 'epoch' + %" PRId64 " * interval '1 ms')",
                      moments[i] + 1);
        AUTO(mem_free) char *more = xasprintf("&as_of=%" PRId64, moments[i]);
        json_auto_t *answer = impact_get(service, i ? 200 : 404, query);
        const json_t *d2, *accuracy;

        if (i == 0)
            continue;
        d2 = impact_of(answer, "d2");
        ck_assert_str_eq(service_text(d2, "status"), i == 1 ? "deployed" : "stopped");
        ck_assert(json_is_null(json_object_get(json_array_get(json_object_get(d2, "inService"), 0),
                                               "toMs")) == (i == 1));
        accuracy = json_object_get(json_object_get(impact_of(answer, "d1"), "latest"), "accuracy");
        ck_assert((accuracy == NULL) == (i == 1));
        if (accuracy)
            ck_assert_double_eq_tol(json_real_value(json_object_get(accuracy, "value")),
                                    i == 2 ? 0.1 : 0.2, 1e-9);
        count_check(service, "d1", impact_of(answer, "d1"), condition, "as of");
        count_spans(service, &seed, more, condition, "as of");
    }
}
END_TEST

struct asked {
    char *url; /* owned */
    struct http_answer *answer;
};

static void *ask(void *ctx)
{
    struct asked *asked = ctx;
    AUTO(http_free) struct http *http = http_new();

    asked->answer = http_get(http, asked->url);
    return NULL;
}

/* A batch that has its time and is not committed yet, with an aggregate of d1. */
static char *batch_begin(PGconn *conn)
{
    PGresult *begun = PQexec(
        conn, "BEGIN; CREATE TEMPORARY TABLE begun ON COMMIT DROP AS SELECT out_batch_id AS id FROM"
              " batch_begin(gen_random_uuid(), now(), 'http', '{0,0,1,0,0}', '{0,0,1,0,0}',"
              " '{0,0,0,0,0}', '{0,0,0,0,0}');"
              "INSERT INTO aggregate_metric (batch_id, start_at, end_at, deployment, ordinal,"
              " metrics) SELECT id, timestamptz '2024-01-01', timestamptz '2024-01-01', deployment,"
              " 0, '{\"late\": 1}' FROM begun, model_deployment WHERE crn = 'd1';"
              "SELECT floor(extract(epoch FROM recorded_at) * 1000)::bigint FROM ingest_batch JOIN"
              " begun ON id = batch_id");
    char *ms;

    ck_assert_msg(PQresultStatus(begun) == PGRES_TUPLES_OK, "%s", PQerrorMessage(conn));
    ms = xstrdup(PQgetvalue(begun, 0, 0));
    PQclear(begun);
    return ms;
}

/* It belongs to its time, as in the graph: whoever asks waits, although a later one is there. */
START_TEST(a_batch_on_its_way)
{
    AUTO(service_free) struct service *service = impact_start();
    AUTO(mem_free) char *ms = NULL, *path = NULL;
    PGconn *conn = pg_connect(service->dsn);

    service_take(service, AGGREGATED("d1", "1704067200000", "{\"accuracy\":0.1}"));
    ms = batch_begin(conn);
    WAIT_UNTIL(10000, pg_query_i64(service->dsn,
                                   "SELECT floor(extract(epoch FROM"
                                   " clock_timestamp()) * 1000)::bigint") > strtoll(ms, NULL, 10));
    path = xasprintf("/v1/impact?type=hive_table&qualifiedName=x.t@cm&as_of=%s", ms);
    for (int later = 0; later < 2; later++) {
        struct asked asked = { .url = daemon_url(service->daemon, path) };
        json_auto_t *answer = NULL;
        pthread_t thread;

        ck_assert_int_eq(pthread_create(&thread, NULL, ask, &asked), 0);
        WAIT_UNTIL(10000,
                   pg_query_i64(service->dsn, "SELECT count(*) FROM pg_stat_activity WHERE query"
                                              " LIKE 'SELECT ingest_settle(%%' AND state ="
                                              " 'active'") == 1);
        PQclear(PQexec(conn, "COMMIT"));
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        ck_assert_msg(asked.answer->status == 200, "%s", asked.answer->body);
        answer = service_json(asked.answer->body);
        ck_assert_ptr_nonnull(json_object_get(json_object_get(impact_of(answer, "d1"), "latest"),
                                              later ? "later" : "late"));
        http_answer_free(asked.answer);
        free(asked.url);
        if (later)
            break;
        free(ms);
        free(path);
        ms = batch_begin(conn);
        service_take(service, AGGREGATED("d1", "1704067200000", "{\"later\":1}"));
        path = xasprintf("/v1/impact?type=hive_table&qualifiedName=x.t@cm&as_of=%" PRId64,
                         moment_now(service));
    }
    PQfinish(conn);
}
END_TEST

START_TEST(a_batch_that_never_comes)
{
    AUTO(service_free) struct service *service = impact_start();
    AUTO(mem_free) char *ms = NULL, *query = NULL;
    PGconn *conn = pg_connect(service->dsn);
    json_auto_t *answer = NULL;

    service_take(service, AGGREGATED("d1", "1704067200000", "{\"accuracy\":0.1}"));
    ms = batch_begin(conn);
    query = xasprintf("type=hive_table&qualifiedName=x.t@cm&as_of=%s", ms);
    answer = impact_get(service, 503, query);
    ck_assert_str_eq(service_text(json_object_get(answer, "error"), "code"), "unavailable");
    PQfinish(conn);
}
END_TEST

/* Every batch has its moment, whatever the clock did and however many came in one millisecond. */
START_TEST(the_batch_of_a_moment)
{
    AUTO(service_free) struct service *service = service_start();

    for (int i = 0; i < 30; i++) {
        AUTO(mem_free)
        char *event = xasprintf(PREDICTED("d", "%02x", "1704067310000"), (unsigned)i);

        service_take(service, event);
        if (i % 10 == 5) /* numbers that nobody has */
            pg_exec(service->dsn, "SELECT setval('batch_number', last_value + 1000)"
                                  " FROM batch_number");
        if (i % 10 == 7)
            pg_exec(service->dsn, "SELECT setval('batch_clock', last_value + 60000000)"
                                  " FROM batch_clock");
    }
    ck_assert_int_eq(
        pg_query_i64(service->dsn,
                     "SELECT count(*) FROM (SELECT recorded_at, floor(extract(epoch FROM"
                     " recorded_at) * 1000)::bigint + shift AS ms FROM ingest_batch,"
                     " generate_series(-1, 1) AS shift) AS m WHERE ingest_batch_at(ms) <>"
                     " coalesce((SELECT max(batch_id) FROM ingest_batch WHERE recorded_at <"
                     " timestamptz 'epoch' + (ms + 1) * interval '1 ms'), 0)"),
        0);
}
END_TEST

/* ---- pages ---- */

enum { PAGE_DEPLOYMENTS = 23 };

START_TEST(pages_are_of_one_moment)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *cursor = NULL;
    size_t seen = 0, pages = 0;

    service_take(service, BUILT("b", "1", "x.t", ""));
    for (int i = 0; i < PAGE_DEPLOYMENTS; i++) {
        AUTO(mem_free)
        char *event = xasprintf(DEPLOYED("b", "d%02d", "deployed", "1704067201000"), i);

        service_take(service, event);
    }
    do {
        AUTO(mem_free)
        char *query = xasprintf("type=hive_table&qualifiedName=x.t@cm&limit=5%s%s",
                                cursor ? "&cursor=" : "", cursor ? cursor : "");
        AUTO(mem_free)
        char *event = xasprintf(DEPLOYED("b", "e%02zu", "deployed", "1704067201000"), pages);
        json_auto_t *answer = impact_get(service, 200, query);
        const json_t *deployment;
        const char *next = json_string_value(json_object_get(answer, "nextCursor"));
        size_t i;

        json_array_foreach(json_object_get(answer, "deployments"), i, deployment)
        {
            AUTO(mem_free) char *want = xasprintf("d%02zu", seen++);

            ck_assert_str_eq(service_text(deployment, "modelDeploymentCrn"), want);
            ck_assert_str_eq(service_text(deployment, "status"), "deployed");
        }
        ck_assert_uint_eq(i, next ? 5 : PAGE_DEPLOYMENTS % 5);
        free(cursor);
        cursor = next ? xstrdup(next) : NULL;
        pages++;
        /* what comes meanwhile is of no page */
        service_take(service, event);
        if (pages == 1)
            service_take(service, DEPLOYED("b", "d22", "stopped", "1704067202000"));
    } while (cursor && pages < 9);
    ck_assert_uint_eq(seen, PAGE_DEPLOYMENTS);
    ck_assert_uint_eq(pages, 5);
}
END_TEST

/* Of a moment to come as well: what the first page counts up to all of them do. */
START_TEST(pages_count_up_to_the_same)
{
    AUTO(service_free) struct service *service = impact_start();
    json_auto_t *first =
        impact_get(service, 200,
                   "type=hive_table&qualifiedName=x.t@cm&as_of=4102444800000&limit=1");
    AUTO(mem_free)
    char *query =
        xasprintf("type=hive_table&qualifiedName=x.t@cm&as_of=4102444800000&limit=9&cursor=%s",
                  service_text(first, "nextCursor"));
    json_auto_t *second = NULL;

    service_take(service, PREDICTED("d2", "01", "1704067310000"));
    second = impact_get(service, 200, query);
    ck_assert_int_eq(service_number(impact_of(second, "d2"), "predictions"), 0);
}
END_TEST

/* ---- what is gone ---- */

#define DAILY "PLUMBLINE_PARTITION_DAYS=1"

/* Noon of so many days ago. */
static int64_t days_ago(int64_t days)
{
    int64_t now_ms = clock_now_ms();

    return now_ms - now_ms % DAY_MS - days * DAY_MS + 12 * HOUR_MS;
}

static const char *const forever[] = { DAILY, NULL };
static const char *const dropping[] = { DAILY, "PLUMBLINE_RETENTION_RAW=30d",
                                        "PLUMBLINE_RETENTION_1M=50d", "PLUMBLINE_RETENTION_1H=70d",
                                        NULL };

/* Two predictions in the past 10, 40, 60 and 80 days each, and one half an hour after noon in the
 * past 45; the rows of all but the first two of them are gone, of the last four the minutes, too,
 * and of the last two the hours. */
static struct service *dropped_start(void)
{
    struct service *service =
        service_start_with(&(struct daemon_options){ .environment = forever });
    AUTO(mem_free) char *dsn = xstrdup(service->dsn);
    AUTO(mem_free)
    char *later =
        xasprintf(PREDICTED("d", "ff", "%1$lld"), (long long)(days_ago(45) + HOUR_MS / 2));
    static const int64_t days[] = { 10, 40, 60, 80 };

    service_take(service, later);
    service_take(service, BUILT("b", "1", "x.t", ""));
    service_take(service, DEPLOYED("b", "d", "deployed", "1704067300000"));
    for (size_t i = 0; i < LENGTH(days); i++) {
        AUTO(mem_free)
        char *one =
            xasprintf(PREDICTED("d", "%1$02zx", "%2$lld"), 2 * i, (long long)days_ago(days[i]) + 3);
        AUTO(mem_free)
        char *two = xasprintf(PREDICTED("d", "%1$02zx", "%2$lld"), 2 * i + 1,
                              (long long)days_ago(days[i]) + 2 * MINUTE_MS + 7);

        service_take(service, one);
        service_take(service, two);
    }
    WAIT_UNTIL(60000, pg_query_i64(service->dsn, "SELECT count(*) FROM rollup_delta") == 0);
    service_free(service);
    service = service_start_with(&(struct daemon_options){ .dsn = dsn, .environment = dropping });
    WAIT_UNTIL(60000, pg_query_i64(dsn, "SELECT count(*) FROM prediction") == 2);
    WAIT_UNTIL(60000, pg_query_i64(dsn, "SELECT count(*) FROM retention_horizon") == 3);
    return service;
}

START_TEST(where_rows_are_dropped)
{
    struct {
        int64_t from_ms, to_ms; /* to_ms 0: none */
        int64_t truncated_ms, predictions, last_ms;
    } cases[] = {
        { 0, 0, INT64_MIN, 9, days_ago(10) + 2 * MINUTE_MS + 7 },
        { days_ago(10) + 5, 0, INT64_MIN, 1, days_ago(10) + 2 * MINUTE_MS + 7 },
        /* rows are gone: from the next minute on; of the last one only its minute is known */
        { days_ago(40) + 5, days_ago(39) - 1, days_ago(40) + MINUTE_MS, 1,
          days_ago(40) + 2 * MINUTE_MS },
        { days_ago(40), days_ago(39) - 1, INT64_MIN, 2, days_ago(40) + 2 * MINUTE_MS },
        /* minutes, too: of the last one only its hour */
        { days_ago(60) + MINUTE_MS, days_ago(59) - 1, days_ago(60) + HOUR_MS, 0, INT64_MIN },
        { days_ago(60), days_ago(59) - 1, INT64_MIN, 2, days_ago(60) },
        { days_ago(80) - 12 * HOUR_MS, days_ago(79) - 12 * HOUR_MS - 1, INT64_MIN, 2,
          days_ago(80) - 12 * HOUR_MS },
        /* the end is in an hour, or a day, that has later ones */
        { days_ago(60), days_ago(45) + 10 * MINUTE_MS - 1, INT64_MIN, 2, days_ago(60) },
        { days_ago(80) - 12 * HOUR_MS, days_ago(60) - 1, INT64_MIN, 2,
          days_ago(80) - 12 * HOUR_MS },
    };
    AUTO(service_free) struct service *service = dropped_start();

    for (size_t i = 0; i < LENGTH(cases); i++) {
        AUTO(mem_free) char *end = xasprintf("&end_timestamp_ms=%" PRId64, cases[i].to_ms);
        AUTO(mem_free)
        char *query =
            xasprintf("type=hive_table&qualifiedName=x.t@cm&start_timestamp_ms=%" PRId64 "%s",
                      cases[i].from_ms, cases[i].to_ms ? end : "");
        json_auto_t *answer = impact_get(service, 200, query);
        const json_t *truncated = json_object_get(answer, "truncatedBeforeMs");
        const json_t *d = impact_of(answer, "d"), *last = json_object_get(d, "lastPredictionMs");

        ck_assert_msg(service_number(d, "predictions") == cases[i].predictions,
                      "%zu: %" PRId64 " predictions", i, service_number(d, "predictions"));
        ck_assert_msg((json_is_null(truncated) ? INT64_MIN : json_integer_value(truncated)) ==
                          cases[i].truncated_ms,
                      "%zu: truncated", i);
        ck_assert_msg((json_is_null(last) ? INT64_MIN : json_integer_value(last)) ==
                          cases[i].last_ms,
                      "%zu: last %" PRId64, i, (int64_t)json_integer_value(last));
    }
}
END_TEST

START_TEST(an_end_that_is_gone)
{
    AUTO(service_free) struct service *service = dropped_start();
    AUTO(mem_free)
    char *query = xasprintf("type=hive_table&qualifiedName=x.t@cm&end_timestamp_ms=%" PRId64,
                            days_ago(40) + 5);
    AUTO(mem_free)
    char *message = xasprintf("rows of that time are dropped, only whole windows can be counted: "
                              "the end can be %" PRId64,
                              days_ago(40) - 1);
    AUTO(mem_free) char *inside = xasprintf("%s&start_timestamp_ms=%" PRId64, query, days_ago(40));
    AUTO(mem_free)
    char *behind = xasprintf("rows of that time are dropped, only whole windows can be counted: "
                             "the end can be %" PRId64,
                             days_ago(40) + MINUTE_MS - 1);
    json_auto_t *answer = impact_get(service, 400, query);
    json_auto_t *second = impact_get(service, 400, inside);

    service_check_error(answer, "invalid_parameter", "end_timestamp_ms", message, "end");
    service_check_error(second, "invalid_parameter", "end_timestamp_ms", behind,
                        "not before start");
}
END_TEST

/* ---- errors ---- */

static const struct {
    const char *query;
    long status;
    const char *code, *field, *message;
} error_cases[] = {
    { "", 400, "missing_parameter", "type",
      "\"type\" is needed: the entity's type, as hive_table" },
    { "type=hive_table", 400, "missing_parameter", "qualifiedName",
      "\"qualifiedName\" is needed: the entity's name, as default.telco_churn@cm" },
    { "type=none&qualifiedName=x", 400, "invalid_parameter", "type",
      "no type of entities is called \"none\"" },
    { "type=ml_model_deployment_status&qualifiedName=x", 400, "invalid_parameter", "type",
      "no type of entities is called \"ml_model_deployment_status\"" },
    { "type=hive_table&qualifiedName=x@cm", 404, "not_found", "qualifiedName",
      "no hive_table is called \"x@cm\"" },
    { "type=hive_table&qualifiedName=x.t@cm&as_of=0", 404, "not_found", "qualifiedName",
      "no hive_table is called \"x.t@cm\"" },
    { "type=hive_table&qualifiedName=x&direct=yes", 400, "invalid_parameter", "direct",
      "\"direct\" must be true or false: \"yes\"" },
    { "type=hive_table&qualifiedName=x&start_timestamp_ms=2&end_timestamp_ms=1", 400,
      "invalid_parameter", "end_timestamp_ms", "the end (1) is before the start (2)" },
    { "type=hive_table&qualifiedName=x&as_of=-1", 400, "invalid_parameter", "as_of",
      "\"as_of\" must be from 0 to 9223372036854775807: -1" },
    { "type=hive_table&qualifiedName=x&limit=0", 400, "invalid_parameter", "limit",
      "\"limit\" must be from 1 to 100000: 0" },
    { "type=hive_table&qualifiedName=x&cursor=1", 400, "invalid_parameter", "cursor",
      "\"cursor\" needs \"limit\"" },
    { "type=hive_table&qualifiedName=x&limit=1&cursor=1-2", 400, "invalid_parameter", "cursor",
      "not a cursor: take \"nextCursor\" of the page before as it is" },
    { "type=hive_table&qualifiedName=x&limit=1&cursor=1-2-2-2", 400, "invalid_parameter", "cursor",
      "not a cursor: take \"nextCursor\" of the page before as it is" },
    { "type=hive_table&qualifiedName=x&limit=1&cursor=2-2-2-2-2", 400, "invalid_parameter",
      "cursor",
      "the cursor belongs to another query: only \"limit\" may change from page to page" },
    { "type=hive_table&qualifiedName=x&depth=1", 400, "unknown_parameter", "depth",
      "unknown query parameter \"depth\"" },
};

START_TEST(errors)
{
    AUTO(service_free) struct service *service = impact_start();
    json_auto_t *unlinked = NULL;

    for (size_t i = 0; i < LENGTH(error_cases); i++) {
        json_auto_t *answer = impact_get(service, error_cases[i].status, error_cases[i].query);

        service_check_error(answer, error_cases[i].code, error_cases[i].field,
                            error_cases[i].message, error_cases[i].query);
    }
    pg_exec(service->dsn,
            "SELECT graph_put((SELECT max(batch_id) FROM graph_batch), '{hive_db}', '{x@cm}',"
            " '{f}', ARRAY['{\"name\": \"x\"}'], '{eve}')");
    unlinked = impact_get(service, 400, "type=hive_db&qualifiedName=x@cm");
    service_check_error(unlinked, "invalid_parameter", "type",
                        "hive_db has no lineage: only data sets and processes have", "hive_db");
}
END_TEST

Suite *impact_suite(void)
{
    Suite *suite = suite_create("impact");
    TCase *tc = tcase_create("impact");

    tcase_add_unchecked_fixture(tc, pg_shared_start, NULL);
    tcase_add_test(tc, all_that_are_downstream);
    tcase_add_test(tc, a_cycle_ends);
    tcase_add_test(tc, the_whole_answer);
    tcase_add_test(tc, what_is_not_known);
    tcase_add_test(tc, known_by_metrics_alone);
    tcase_add_test(tc, in_service);
    tcase_add_test(tc, predictions_are_counted_exactly);
    tcase_add_test(tc, counted_without_rollups);
    tcase_add_test(tc, as_of_a_moment);
    tcase_add_test(tc, a_batch_on_its_way);
    tcase_add_test(tc, a_batch_that_never_comes);
    tcase_add_test(tc, the_batch_of_a_moment);
    tcase_add_test(tc, pages_are_of_one_moment);
    tcase_add_test(tc, pages_count_up_to_the_same);
    tcase_add_test(tc, where_rows_are_dropped);
    tcase_add_test(tc, an_end_that_is_gone);
    tcase_add_test(tc, errors);
    suite_add_tcase(suite, tc);
    return suite;
}
