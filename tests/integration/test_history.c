/* as_of: the graph as Plumbline knew it at a moment. */
#include <check.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/harness/pg.h"
#include "tests/harness/service.h"
#include "tests/harness/wait.h"

Suite *history_suite(void);

#define ATLAS "/api/atlas/v2/"

#define DEPLOYED(build, deployment, status, at, more)                                              \
    "{\"event\":\"model_deployed\",\"modelBuildCrn\":\"" build "\",\"modelDeploymentCrn\":\""      \
    "" deployment "\",\"status\":\"" status "\",\"statusAtMs\":" at "," more                       \
    "\"cpuMillicores\":1,\"createdAtMs\":1704067202000,\"userName\":\"eve\"}"

/* The last millisecond of what is known, which is over when this returns: what comes next is later.
 */
static int64_t moment_now(struct service *service)
{
    int64_t ms = pg_query_i64(service->dsn,
                              "SELECT floor(extract(epoch FROM greatest(clock_timestamp(), (SELECT"
                              " max(recorded_at) FROM graph_batch))) * 1000)::bigint");

    WAIT_UNTIL(10000, pg_query_i64(service->dsn, "SELECT floor(extract(epoch FROM"
                                                 " clock_timestamp()) * 1000)::bigint") > ms);
    return ms;
}

static json_t *get_as_of(struct service *service, long status, const char *path, int64_t ms)
{
    AUTO(mem_free)
    char *whole = xasprintf("%s%cas_of=%" PRId64, path, strchr(path, '?') ? '&' : '?', ms);

    return service_get(service, status, whole);
}

static const char *attribute(const json_t *answer, const char *name)
{
    return service_text(json_object_get(json_object_get(answer, "entity"), "attributes"), name);
}

/* How many entities and relations a walk upstream from the deployment meets. */
static void check_lineage(struct service *service, int64_t ms, size_t entities, size_t relations)
{
    json_auto_t *answer =
        get_as_of(service, 200,
                  ATLAS "lineage/uniqueAttribute/type/ml_model_deployment?attr:qualifiedName=d@cm"
                        "&direction=INPUT&depth=0",
                  ms);

    ck_assert_uint_eq(json_object_size(json_object_get(answer, "guidEntityMap")), entities);
    ck_assert_uint_eq(json_array_size(json_object_get(answer, "relations")), relations);
}

#define BY_NAME(type, name) ATLAS "entity/uniqueAttribute/type/" type "?attr:qualifiedName=" name

START_TEST(before_between_and_after)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *guid = NULL, *by_guid = NULL, *bulk = NULL;
    json_auto_t *none = NULL, *first = NULL, *second = NULL, *now = NULL, *many = NULL;
    json_auto_t *updated = NULL, *earlier = NULL;
    int64_t before = moment_now(service), deploying, deployed, updated_ms;

    service_take(service, DEPLOYED("b", "d", "deploying", "1704067203000", ""));
    deploying = moment_now(service);
    service_take(service, DEPLOYED("b", "d", "deployed", "1704067204000", ""));
    deployed = moment_now(service);
    service_take(service, DEPLOYED("b", "d", "stopped", "1704067205000", ""));

    guid = pg_query_text(service->dsn, "SELECT DISTINCT guid FROM entity WHERE type ="
                                       " 'ml_model_deployment'");
    by_guid = xasprintf(ATLAS "entity/guid/%s", guid);
    bulk = xasprintf(ATLAS "entity/bulk?guid=%s", guid);
    none = get_as_of(service, 404, by_guid, before);
    ck_assert_str_eq(service_text(none, "errorCode"), "ATLAS-404-00-005");
    json_decref(none);
    none = get_as_of(service, 404, BY_NAME("ml_model_deployment", "d@cm"), before);
    ck_assert_str_eq(service_text(none, "errorCode"), "ATLAS-404-00-009");
    first = get_as_of(service, 200, by_guid, deploying);
    ck_assert_str_eq(attribute(first, "status"), "deploying");
    second = get_as_of(service, 200, BY_NAME("DataSet", "d@cm"), deployed);
    ck_assert_str_eq(attribute(second, "status"), "deployed");
    many = get_as_of(service, 200, bulk, deployed);
    service_check_same(json_array_get(json_object_get(many, "entities"), 0),
                       json_object_get(second, "entity"), "bulk");
    now = get_as_of(service, 200, by_guid, INT64_MAX);
    ck_assert_str_eq(attribute(now, "status"), "stopped");
    /* the millisecond of a change is the first that shows it */
    updated_ms = service_number(json_object_get(now, "entity"), "updateTime");
    updated = get_as_of(service, 200, by_guid, updated_ms);
    ck_assert_str_eq(attribute(updated, "status"), "stopped");
    earlier = get_as_of(service, 200, by_guid, updated_ms - 1);
    ck_assert_str_eq(attribute(earlier, "status"), "deployed");
    ck_assert_int_eq(service_number(json_object_get(earlier, "entity"), "createTime"),
                     service_number(json_object_get(now, "entity"), "createTime"));
}
END_TEST

/* What was done later is not in the answer of an earlier moment, nor on its pages. */
START_TEST(audit_of_a_moment)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *guid = NULL, *path = NULL, *page = NULL;
    json_auto_t *first = NULL, *second = NULL, *now = NULL, *older = NULL;
    int64_t deploying, deployed;

    service_take(service, DEPLOYED("b", "d", "deploying", "1704067203000", ""));
    deploying = moment_now(service);
    service_take(service, DEPLOYED("b", "d", "deployed", "1704067204000", ""));
    deployed = moment_now(service);
    service_take(service, DEPLOYED("b", "d", "stopped", "1704067205000", ""));

    guid = pg_query_text(service->dsn, "SELECT DISTINCT guid FROM entity WHERE type ="
                                       " 'ml_model_deployment'");
    path = xasprintf(ATLAS "entity/%s/audit", guid);
    first = get_as_of(service, 200, path, deploying);
    ck_assert_uint_eq(json_array_size(first), 1);
    second = get_as_of(service, 200, path, deployed);
    ck_assert_uint_eq(json_array_size(second), 2);
    now = get_as_of(service, 200, path, INT64_MAX);
    ck_assert_uint_eq(json_array_size(now), 3);
    service_check_same(json_array_get(second, 0), json_array_get(now, 1), "the second event");
    page = xasprintf("%s?startKey=%s", path, service_text(json_array_get(now, 0), "eventKey"));
    older = get_as_of(service, 200, page, deploying);
    service_check_same(older, first, "a page that begins later");
}
END_TEST

START_TEST(shells_completed_later)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *shell = NULL, *complete = NULL, *header = NULL;
    int64_t as_shell;

    service_take(service, DEPLOYED("b", "d", "deployed", "1704067203000", ""));
    as_shell = moment_now(service);
    service_take(service,
                 "{\"event\":\"model_built\",\"projectCrn\":\"p\",\"modelCrn\":\"m\",\"modelName\":"
                 "\"Model\",\"modelBuildCrn\":\"b\",\"buildNumber\":7,\"userName\":\"bob\","
                 "\"linkingFile\":\"Model:\\n  hive_table_qualified_names: [x.t, x.u]\\n\"}");
    shell = get_as_of(service, 200, BY_NAME("ml_model_build", "b@cm"), as_shell);
    complete = service_get(service, 200, BY_NAME("ml_model_build", "b@cm"));
    ck_assert(json_is_true(json_object_get(json_object_get(shell, "entity"), "isIncomplete")));
    ck_assert(json_is_false(json_object_get(json_object_get(complete, "entity"), "isIncomplete")));
    ck_assert_str_eq(service_text(json_object_get(shell, "entity"), "guid"),
                     service_text(json_object_get(complete, "entity"), "guid"));
    ck_assert_uint_eq(json_array_size(
                          json_object_get(json_object_get(json_object_get(shell, "entity"),
                                                          "relationshipAttributes"),
                                          "outputFromProcesses")),
                      0);
    header = get_as_of(service, 200,
                       ATLAS "entity/uniqueAttribute/type/ml_model_build/header"
                             "?attr:qualifiedName=b@cm",
                       as_shell);
    ck_assert(json_is_true(json_object_get(header, "isIncomplete")));
    check_lineage(service, as_shell, 3, 2);  /* d, deploy, b */
    check_lineage(service, INT64_MAX, 7, 6); /* train_build, p, x.t, x.u */
}
END_TEST

static const char *build_project(const json_t *answer)
{
    return service_text(json_object_get(json_object_get(json_object_get(answer, "entity"),
                                                        "relationshipAttributes"),
                                        "project"),
                        "qualifiedName");
}

/* A relationship that was replaced by another. */
START_TEST(relationships_that_ended)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *first = NULL, *second = NULL;
    int64_t at_r;

    service_take(service, DEPLOYED("b", "d", "deployed", "1704067203000", "\"projectCrn\":\"r\","));
    at_r = moment_now(service);
    service_take(service, DEPLOYED("b", "e", "deployed", "1704067203000", "\"projectCrn\":\"p\","));
    first = get_as_of(service, 200, BY_NAME("ml_model_build", "b@cm"), at_r);
    second = service_get(service, 200, BY_NAME("ml_model_build", "b@cm"));
    ck_assert_str_eq(build_project(first), "r@cm");
    ck_assert_str_eq(build_project(second), "p@cm");
}
END_TEST

/* A server whose clock was ahead and is no longer: what comes later is not earlier. */
START_TEST(time_does_not_step_back)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *first = NULL, *second = NULL;
    int64_t ahead_ms;

    service_take(service, DEPLOYED("b", "d", "deploying", "1704067203000", ""));
    ahead_ms =
        pg_query_i64(service->dsn, "SELECT setval('batch_clock', last_value + 3600000000) / 1000"
                                   " FROM batch_clock");
    service_take(service, DEPLOYED("b", "d", "deployed", "1704067204000", ""));
    service_take(service, DEPLOYED("b", "d", "stopped", "1704067205000", ""));
    first = get_as_of(service, 200, BY_NAME("ml_model_deployment", "d@cm"), ahead_ms - 1);
    second = get_as_of(service, 200, BY_NAME("ml_model_deployment", "d@cm"), ahead_ms);
    ck_assert_str_eq(attribute(first, "status"), "deploying");
    ck_assert_str_eq(attribute(second, "status"), "stopped"); /* of the same moment the last */
    ck_assert_int_eq(pg_query_i64(service->dsn,
                                  "SELECT count(*) FROM graph_batch AS a JOIN graph_batch AS b"
                                  " ON a.batch_id < b.batch_id AND a.recorded_at > b.recorded_at"),
                     0);
}
END_TEST

struct asked {
    struct service *service;
    char *url;
    struct http_answer *answer;
};

static void *ask(void *ctx)
{
    struct asked *asked = ctx;
    AUTO(http_free) struct http *http = http_new();

    asked->answer = http_get(http, asked->url);
    return NULL;
}

/* A change that has its time and is not committed yet belongs to that time: whoever asks waits, or
 * the same question would have another answer later. */
START_TEST(a_change_on_its_way)
{
    AUTO(service_free) struct service *service = service_start();
    PGconn *conn = pg_connect(service->dsn);
    PGresult *begun = NULL;
    AUTO(mem_free) char *path = NULL;
    struct asked asked = { .service = service };
    pthread_t thread;

    begun = PQexec(conn, "BEGIN; SELECT pg_advisory_xact_lock(7236, 4);"
                         "SELECT graph_put(graph_begin(), '{hive_table}', '{x.t@cm}', '{f}',"
                         " ARRAY['{\"name\": \"t\"}'], '{eve}');"
                         "SELECT max(floor(extract(epoch FROM recorded_at) * 1000)::bigint)"
                         " FROM graph_batch");
    ck_assert_msg(PQresultStatus(begun) == PGRES_TUPLES_OK, "%s", PQerrorMessage(conn));
    path = xasprintf(BY_NAME("hive_table", "x.t@cm") "&as_of=%s", PQgetvalue(begun, 0, 0));
    asked.url = daemon_url(service->daemon, path);
    ck_assert_int_eq(pthread_create(&thread, NULL, ask, &asked), 0);
    WAIT_UNTIL(10000, pg_query_i64(service->dsn, "SELECT count(*) FROM pg_locks WHERE NOT granted"
                                                 " AND locktype = 'advisory' AND objid = 4") == 1);
    PQclear(begun);
    PQclear(PQexec(conn, "COMMIT"));
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_msg(asked.answer->status == 200, "%s", asked.answer->body);
    http_answer_free(asked.answer);
    free(asked.url);
    PQfinish(conn);
}
END_TEST

static const struct {
    const char *path, *message;
} refused[] = {
    { ATLAS "entity/guid/x?as_of=abc",
      "\"as_of\" must be a whole number of milliseconds: \"abc\"" },
    { ATLAS "entity/guid/x?as_of=", "\"as_of\" must be a whole number of milliseconds: \"\"" },
    { ATLAS "lineage/x?as_of=1.5", "\"as_of\" must be a whole number of milliseconds: \"1.5\"" },
    { ATLAS "lineage/x?as_of=99999999999999999999",
      "\"as_of\" must be a whole number of milliseconds: \"99999999999999999999\"" },
    { ATLAS "types/typedefs?as_of=1",
      "\"as_of\" is for entities, their audit and lineage: this has no history" },
    { ATLAS "types/typedef/name/hive_table?as_of=1",
      "\"as_of\" is for entities, their audit and lineage: this has no history" },
};

START_TEST(refused_where_it_means_nothing)
{
    AUTO(service_free) struct service *service = service_start();
    static const char *const others[] = { "/v1/metrics", "/v1/rollups", "/v1/deployments",
                                          "/v1/balance", "/v1/limits",  "/healthz" };

    for (size_t i = 0; i < LENGTH(refused); i++) {
        json_auto_t *answer = service_get(service, 400, refused[i].path);

        service_check_fault(answer, "ATLAS-400-00-029", refused[i].message);
    }
    for (size_t i = 0; i < LENGTH(others); i++) {
        json_auto_t *answer = get_as_of(service, 400, others[i], 1);

        service_check_error(answer, "unknown_parameter", "as_of",
                            "unknown query parameter \"as_of\"", others[i]);
    }
}
END_TEST

Suite *history_suite(void)
{
    Suite *suite = suite_create("history");
    TCase *tc = tcase_create("history");

    tcase_add_unchecked_fixture(tc, pg_shared_start, NULL);
    tcase_add_test(tc, before_between_and_after);
    tcase_add_test(tc, audit_of_a_moment);
    tcase_add_test(tc, shells_completed_later);
    tcase_add_test(tc, relationships_that_ended);
    tcase_add_test(tc, time_does_not_step_back);
    tcase_add_test(tc, a_change_on_its_way);
    tcase_add_test(tc, refused_where_it_means_nothing);
    suite_add_tcase(suite, tc);
    return suite;
}
