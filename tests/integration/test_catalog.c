/* GET /v1/deployments: what the graph and the metrics know of each deployment, and finding them by
 * it. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/harness/pg.h"
#include "tests/harness/service.h"
#include "tests/harness/wait.h"

Suite *catalog_suite(void);

#define BUILT(build, name, more)                                                                   \
    "{\"event\":\"model_built\",\"projectCrn\":\"p\",\"modelCrn\":\"m\",\"modelName\":\"" name     \
    "\",\"modelBuildCrn\":\"" build "\",\"buildNumber\":7," more "\"userName\":\"bob\"}"
#define DEPLOYED(build, deployment, status, more)                                                  \
    "{\"event\":\"model_deployed\",\"modelBuildCrn\":\"" build "\",\"modelDeploymentCrn\":\""      \
    "" deployment "\",\"status\":\"" status "\"," more "\"cpuMillicores\":1,\"userName\":\"eve\"}"
#define TRACK(deployment, n, at, more)                                                             \
    "{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"" deployment "\"," more                 \
    "\"predictionUuid\":\"00000000-0000-4000-8000-00000000000" n "\",\"startTimestampMs\":" at     \
    ",\"endTimestampMs\":" at ",\"metrics\":{}}"

/* In order of first sight. d1: trained on a table; d2: on a file; d3: on nothing that is known; d4:
 * seen in metrics only, of the build of d1; d5: of a build that nobody described. */
static const char *const company[] = {
    BUILT("b1", "Churn", "\"linkingFile\":\"Churn:\\n  hive_table_qualified_names: [x.t]\\n\","),
    BUILT("b2", "Price", "\"inputs\":[{\"typeName\":\"fs_path\",\"qualifiedName\":\"/f\"}],"),
    BUILT("b3", "Churn", "\"linkingFile\":\"Other:\\n  hive_table_qualified_names: [x.t]\\n\","),
    DEPLOYED("b1", "d1", "deployed", "\"environment\":\"prod\","),
    DEPLOYED("b2", "d2", "stopped", "\"environment\":{\"zone\":\"a\",\"cpu\":\"x\"},"),
    DEPLOYED("b3", "d3", "deployed", ""),
    TRACK("d4", "1", "1704067200000", "\"modelBuildCrn\":\"b1\","),
    DEPLOYED("b9", "d5", "unknown", "\"modelName\":\"Nine\",\"environment\":\"prod\","),
    TRACK("d1", "2", "1704070800123", ""),
    TRACK("d1", "3", "1704067200456", ""), /* stored later, but not the last */
    TRACK("d1", "5", "1704070800100", ""), /* nor is this, of the same minute */
    TRACK("d2", "4", "1717372800789", ""), /* in another partition */
};

static void company_post(struct service *service)
{
    for (size_t i = 0; i < LENGTH(company); i++)
        service_take(service, company[i]);
    WAIT_UNTIL(10000, pg_query_i64(service->dsn, "SELECT deployment FROM graph_position") == 5 &&
                          pg_query_i64(service->dsn, "SELECT count(*) FROM graph_waiting") == 0);
}

/* "d1 d2": the CRNs of an answer. Owned. */
static char *answer_crns(const json_t *answer)
{
    AUTO(buf_done) struct buf out;
    size_t i;
    json_t *deployment;

    buf_init(&out, SIZE_MAX);
    json_array_foreach(json_object_get(answer, "deployments"), i, deployment)
        buf_append_fmt(&out, "%s%s", i ? " " : "", service_text(deployment, "modelDeploymentCrn"));
    return xstrdup(buf_text(&out));
}

static const struct {
    const char *query, *want;
} filter_cases[] = {
    { "", "d1 d2 d3 d4 d5" },
    { "?status=deployed", "d1 d3" },
    { "?status=deploying", "" },
    { "?status=unknown", "d4 d5" }, /* nobody said one of d4 */
    { "?status=unknown&environment=prod", "d5" },
    { "?environment=prod", "d1 d5" },
    { "?environment=%7B%22cpu%22%3A%22x%22%2C%22zone%22%3A%22a%22%7D", "d2" },
    { "?environment=prod&status=deployed", "d1" },
    { "?model_name=Churn", "d1 d3" },
    { "?model_name=Nine", "d5" },
    { "?model_name=churn", "" },
    { "?training_data=known", "d1 d2 d4" },
    { "?training_data=unknown", "d3 d5" },
    { "?training_data=unknown&status=deployed", "d3" },
    { "?last_prediction_from_ms=1704067200000", "d1 d2 d4" },
    { "?last_prediction_from_ms=1704070800123", "d1 d2" },
    { "?last_prediction_from_ms=1704070800124", "d2" },
    { "?last_prediction_to_ms=1704070800123", "d1 d3 d4 d5" },
    { "?last_prediction_to_ms=1704067200000&training_data=known", "d4" },
    { "?last_prediction_from_ms=1704067200000&last_prediction_to_ms=1704070800123", "d1 d4" },
    { "?limit=5", "d1 d2 d3 d4 d5" },
    { "?limit=2&status=unknown", "d4 d5" },
};

/* The five of them, whatever has been folded into rollups so far. */
static void check_filters(struct service *service, const char *when)
{
    for (size_t i = 0; i < LENGTH(filter_cases); i++) {
        AUTO(mem_free) char *path = xasprintf("/v1/deployments%s", filter_cases[i].query);
        json_auto_t *answer = service_get(service, 200, path);
        AUTO(mem_free) char *have = answer_crns(answer);

        ck_assert_msg(strcmp(have, filter_cases[i].want) == 0, "%s, %s: %s", when,
                      filter_cases[i].query, have);
        ck_assert(json_is_null(json_object_get(answer, "nextCursor")));
    }
}

START_TEST(found_by_what_is_known)
{
    AUTO(service_free) struct service *service = service_start();

    company_post(service);
    WAIT_UNTIL(20000, pg_query_i64(service->dsn, "SELECT count(*) FROM rollup_delta") == 0);
    check_filters(service, "folded");
}
END_TEST

/* Nobody folds: the table of minutes is locked. */
START_TEST(found_before_it_is_folded)
{
    AUTO(service_free) struct service *service = service_start();
    PGconn *conn = pg_connect(service->dsn);

    PQclear(PQexec(conn, "BEGIN; LOCK TABLE rollup_1m IN SHARE MODE"));
    company_post(service);
    ck_assert_int_gt(pg_query_i64(service->dsn, "SELECT count(*) FROM rollup_delta"), 0);
    check_filters(service, "pending");
    PQfinish(conn);
}
END_TEST

START_TEST(found_without_rollups)
{
    static const char *const environment[] = { "PLUMBLINE_ROLLUPS=false", NULL };
    AUTO(service_free)
    struct service *service =
        service_start_with(&(struct daemon_options){ .environment = environment });
    json_auto_t *one = NULL;

    company_post(service);
    check_filters(service, "without rollups");
    one = service_get(service, 200, "/v1/deployments/d1");
    ck_assert_int_eq(service_number(one, "lastPredictionMs"), 1704070800123);
    json_decref(one);
    /* a backfill, into another partition */
    service_take(service, TRACK("d1", "6", "1577836800000", ""));
    one = service_get(service, 200, "/v1/deployments/d1");
    ck_assert_int_eq(service_number(one, "lastPredictionMs"), 1704070800123);
}
END_TEST

START_TEST(each_says_what_is_known)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *one = NULL, *none = NULL, *five = NULL;

    company_post(service);
    WAIT_UNTIL(20000, pg_query_i64(service->dsn, "SELECT count(*) FROM rollup_delta") == 0);
    one = service_get(service, 200, "/v1/deployments/d1");
    ck_assert_str_eq(service_text(one, "modelName"), "Churn");
    ck_assert_str_eq(service_text(one, "status"), "deployed");
    ck_assert_str_eq(service_text(one, "environment"), "prod");
    ck_assert_str_eq(service_text(one, "trainingData"), "known");
    ck_assert_int_eq(service_number(one, "lastPredictionMs"), 1704070800123);
    none = service_get(service, 200, "/v1/deployments/d4");
    ck_assert_str_eq(service_text(none, "status"), "unknown");
    json_decref(none);
    none = service_get(service, 200, "/v1/deployments/d3");
    ck_assert(json_is_null(json_object_get(none, "lastPredictionMs")));
    ck_assert_str_eq(service_text(none, "environment"), "");
    five = service_get(service, 200, "/v1/deployments/d5");
    ck_assert_str_eq(service_text(five, "modelName"), "Nine");
    ck_assert_str_eq(service_text(five, "trainingData"), "unknown");
}
END_TEST

/* An entity of another namespace is another deployment. */
START_TEST(names_of_another_namespace)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *answer = NULL;

    company_post(service);
    pg_exec(service->dsn,
            "SELECT graph_put((SELECT max(batch_id) FROM graph_batch), '{ml_model_deployment}',"
            " '{d3@xx}', '{t}', ARRAY['{\"status\": \"stopping\"}'], '{eve}')");
    answer = service_get(service, 200, "/v1/deployments?status=stopping");
    ck_assert_uint_eq(json_array_size(json_object_get(answer, "deployments")), 0);
}
END_TEST

/* Deployments that the graph has not seen yet. */
START_TEST(unknown_without_an_entity)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *have = NULL;
    json_auto_t *answer = NULL;

    pg_exec(service->dsn, "UPDATE graph_position SET deployment = 1000000;"
                          "INSERT INTO model_deployment (crn) VALUES ('d')");
    answer = service_get(service, 200, "/v1/deployments?status=unknown");
    have = answer_crns(answer);
    ck_assert_str_eq(have, "d");
}
END_TEST

/* Page by page with this query, until there is no more. Owned. */
static char *pages_crns(struct service *service, const char *query)
{
    AUTO(buf_done) struct buf out;
    AUTO(mem_free) char *cursor = NULL;
    bool is_first = true;

    buf_init(&out, SIZE_MAX);
    while (is_first || cursor) {
        AUTO(mem_free)
        char *path = xasprintf("/v1/deployments?%s%s%s", query, cursor ? "&cursor=" : "",
                               cursor ? cursor : "");
        json_auto_t *answer = service_get(service, 200, path);
        AUTO(mem_free) char *crns = answer_crns(answer);
        const char *next = json_string_value(json_object_get(answer, "nextCursor"));

        buf_append_fmt(&out, "%s%s", is_first ? "" : " | ", crns);
        free(cursor);
        cursor = next ? xstrdup(next) : NULL;
        is_first = false;
    }
    return xstrdup(buf_text(&out));
}

static const struct {
    const char *query, *want;
} page_cases[] = {
    { "limit=2", "d1 d2 | d3 d4 | d5" },
    { "limit=1&status=deployed", "d1 | d3" },
    { "limit=2&training_data=known", "d1 d2 | d4" },
    { "limit=3&training_data=known", "d1 d2 d4" },
};

static const struct {
    const char *query, *field, *message;
} wrong_cases[] = {
    { "status=stoped", "status",
      "\"status\" must be deploying, deployed, stopping, stopped or unknown: \"stoped\"" },
    { "training_data=yes", "training_data", "\"training_data\" must be known or unknown: \"yes\"" },
    { "limit=0", "limit", "\"limit\" must be from 1 to 100000: 0" },
    { "cursor=1", "cursor", "\"cursor\" needs \"limit\"" },
    { "limit=1&cursor=x", "cursor", "\"cursor\" must be a whole number: \"x\"" },
    { "last_prediction_to_ms=now", "last_prediction_to_ms",
      "\"last_prediction_to_ms\" must be a whole number: \"now\"" },
};

START_TEST(in_pages)
{
    AUTO(service_free) struct service *service = service_start();

    company_post(service);
    for (size_t i = 0; i < LENGTH(page_cases); i++) {
        AUTO(mem_free) char *have = pages_crns(service, page_cases[i].query);

        ck_assert_str_eq(have, page_cases[i].want);
    }
    for (size_t i = 0; i < LENGTH(wrong_cases); i++) {
        AUTO(mem_free) char *path = xasprintf("/v1/deployments?%s", wrong_cases[i].query);
        json_auto_t *answer = service_get(service, 400, path);

        service_check_error(answer, "invalid_parameter", wrong_cases[i].field,
                            wrong_cases[i].message, wrong_cases[i].query);
    }
}
END_TEST

/* More than are looked at for one page, most of them without an entity: a page may be short, none
 * is left out, and what few have is found at once. */
START_TEST(among_many)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *by_training = NULL, *by_status = NULL;
    json_auto_t *answer = NULL;

    pg_exec(service->dsn, "UPDATE graph_position SET deployment = 1000000;"
                          "INSERT INTO model_deployment (crn) SELECT 'many:' || n FROM"
                          " generate_series(1, 45000) AS n");
    service_take(service, "[" BUILT("b1", "Churn",
                                    "\"inputs\":[{\"typeName\":\"fs_path\",\"qualifiedName\":"
                                    "\"/f\"}],") "," DEPLOYED("b1", "last", "stopped", "") "]");
    by_training = pages_crns(service, "limit=10&training_data=known");
    ck_assert_str_eq(by_training, " |  |  |  | last");
    by_status = pages_crns(service, "limit=10&status=stopped");
    ck_assert_str_eq(by_status, "last");
    answer = service_get(service, 200, "/v1/deployments");
    ck_assert_uint_eq(json_array_size(json_object_get(answer, "deployments")), 45001);
}
END_TEST

Suite *catalog_suite(void)
{
    Suite *suite = suite_create("catalog");
    TCase *tc = tcase_create("catalog");

    tcase_add_unchecked_fixture(tc, pg_shared_start, NULL);
    tcase_add_test(tc, found_by_what_is_known);
    tcase_add_test(tc, found_before_it_is_folded);
    tcase_add_test(tc, found_without_rollups);
    tcase_add_test(tc, each_says_what_is_known);
    tcase_add_test(tc, names_of_another_namespace);
    tcase_add_test(tc, unknown_without_an_entity);
    tcase_add_test(tc, in_pages);
    tcase_add_test(tc, among_many);
    suite_add_tcase(suite, tc);
    return suite;
}
