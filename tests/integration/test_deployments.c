/* The catalog, which model_deployed completes whenever it comes, and what the daemon says of
 * itself. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/harness/pg.h"
#include "tests/harness/service.h"
#include "tests/harness/wait.h"

Suite *deployments_suite(void);

/* In the texts below '@' stands for the deployment's CRN, which is that of the case. */
#define TRACK(uuid, more)                                                                          \
    "{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"@\"," more                              \
    "\"predictionUuid\":\"00000000-0000-4000-8000-0000000000" uuid                                 \
    "\",\"startTimestampMs\":1704067200000,\"endTimestampMs\":1704067200001,\"metrics\":{}}"
#define AGGREGATE                                                                                  \
    "{\"event\":\"aggregate_metrics\",\"modelDeploymentCrn\":\"@\","                               \
    "\"startTimestampMs\":1704067200000,\"endTimestampMs\":1704067200001,\"metrics\":{}}"
#define SAID(build, model) "\"modelBuildCrn\":\"" build "\",\"modelCrn\":\"" model "\","
#define DEPLOYED(build, more)                                                                      \
    "{\"event\":\"model_deployed\",\"modelDeploymentCrn\":\"@\",\"modelBuildCrn\":\"" build        \
    "\"," more "\"cpuMillicores\":5,\"userName\":\"ada\",\"status\":\"deployed\"}"

static char *expand(const char *text, const char *crn)
{
    AUTO(buf_done) struct buf out;

    buf_init(&out, SIZE_MAX);
    for (; *text; text++) {
        if (*text == '@')
            buf_append_text(&out, crn);
        else
            buf_append_char(&out, *text);
    }
    return xstrdup(buf_text(&out));
}

static char *case_crn(size_t number)
{
    return xasprintf("crn:cdp:ml:::workspace:dev/case-%zu", number);
}

/* "%3A" and "%2F" where it must be. */
static char *deployment_path(const char *crn)
{
    AUTO(buf_done) struct buf path;

    buf_init(&path, SIZE_MAX);
    buf_append_text(&path, "/v1/deployments/");
    for (; *crn; crn++) {
        if (*crn == ':' || *crn == '/')
            buf_append_fmt(&path, "%%%02X", (unsigned)*crn);
        else
            buf_append_char(&path, *crn);
    }
    return xstrdup(buf_text(&path));
}

/* ---- build and model ---- */

enum { STEPS_MAX = 4 };

static const struct {
    const char *name;
    const char *steps[STEPS_MAX]; /* a request each */
    const char *build, *model;
} completion_cases[] = {
    { "nobody says it", { TRACK("01", ""), AGGREGATE }, "", "" },
    { "deployed afterwards",
      { TRACK("01", ""), AGGREGATE, DEPLOYED("crn:b", "\"modelCrn\":\"crn:m\",") },
      "crn:b",
      "crn:m" },
    { "deployed before",
      { DEPLOYED("crn:b", "\"modelCrn\":\"crn:m\","), AGGREGATE, TRACK("01", "") },
      "crn:b",
      "crn:m" },
    { "deployed in between",
      { TRACK("01", ""), DEPLOYED("crn:b", "\"modelCrn\":\"crn:m\","), TRACK("02", "") },
      "crn:b",
      "crn:m" },
    { "in one request, behind",
      { "[" TRACK("01", "") "," AGGREGATE "," DEPLOYED("crn:b", "\"modelCrn\":\"crn:m\",") "]" },
      "crn:b",
      "crn:m" },
    { "in one request, in front",
      { "[" DEPLOYED("crn:b", "\"modelCrn\":\"crn:m\",") "," AGGREGATE "," TRACK("01", "") "]" },
      "crn:b",
      "crn:m" },
    { "without a model", { TRACK("01", ""), DEPLOYED("crn:b", "") }, "crn:b", "" },
    { "the model comes later",
      { DEPLOYED("crn:b", ""), TRACK("01", ""), DEPLOYED("crn:b", "\"modelCrn\":\"crn:m\",") },
      "crn:b",
      "crn:m" },
    { "a replica says it", { TRACK("01", SAID("crn:rb", "crn:rm")) }, "crn:rb", "crn:rm" },
    { "a replica says it later",
      { TRACK("01", ""), TRACK("02", SAID("crn:rb", "crn:rm")) },
      "crn:rb",
      "crn:rm" },
    { "of two replicas the first",
      { TRACK("01", SAID("crn:rb", "crn:rm")), TRACK("02", SAID("crn:xb", "crn:xm")) },
      "crn:rb",
      "crn:rm" },
    { "of two replicas in one request the first",
      { "[" TRACK("01", SAID("crn:rb", "crn:rm")) "," TRACK("02", SAID("crn:xb", "crn:xm")) "]" },
      "crn:rb",
      "crn:rm" },
    { "each says a half",
      { TRACK("01", "\"modelBuildCrn\":\"crn:rb\","), TRACK("02", "\"modelCrn\":\"crn:rm\",") },
      "crn:rb",
      "crn:rm" },
    { "model_deployed before replicas",
      { DEPLOYED("crn:b", "\"modelCrn\":\"crn:m\","), TRACK("01", SAID("crn:rb", "crn:rm")) },
      "crn:b",
      "crn:m" },
    { "model_deployed over replicas",
      { TRACK("01", SAID("crn:rb", "crn:rm")), DEPLOYED("crn:b", "\"modelCrn\":\"crn:m\",") },
      "crn:b",
      "crn:m" },
    { "model_deployed without a model over replicas",
      { TRACK("01", SAID("crn:rb", "crn:rm")), DEPLOYED("crn:b", "") },
      "crn:b",
      "crn:rm" },
};

static void check_completed(struct service *service, size_t i, const char *crn)
{
    AUTO(mem_free) char *query = xasprintf("?model_deployment_crn=%s", crn);
    AUTO(mem_free) char *path = deployment_path(crn);
    json_auto_t *rows = service_rows(service, query);
    json_auto_t *deployment = service_get(service, 200, path);
    size_t n;
    json_t *row;

    ck_assert_uint_gt(json_array_size(rows), 0);
    json_array_foreach(rows, n, row)
    {
        ck_assert_msg(strcmp(service_text(row, "modelBuildCrn"), completion_cases[i].build) == 0 &&
                          strcmp(service_text(row, "modelCrn"), completion_cases[i].model) == 0,
                      "%s: row %zu: %s, %s", completion_cases[i].name, n,
                      service_text(row, "modelBuildCrn"), service_text(row, "modelCrn"));
    }
    ck_assert_str_eq(service_text(deployment, "modelDeploymentCrn"), crn);
    ck_assert_str_eq(service_text(deployment, "modelBuildCrn"), completion_cases[i].build);
    ck_assert_str_eq(service_text(deployment, "modelCrn"), completion_cases[i].model);
}

START_TEST(completed_in_every_order)
{
    AUTO(service_free) struct service *service = service_start();

    for (size_t i = 0; i < LENGTH(completion_cases); i++) {
        AUTO(mem_free) char *crn = case_crn(i);

        for (int n = 0; n < STEPS_MAX && completion_cases[i].steps[n]; n++) {
            AUTO(mem_free) char *body = expand(completion_cases[i].steps[n], crn);

            service_take(service, body);
        }
        check_completed(service, i, crn);
    }
    /* once more after a restart: none of it was in memory alone */
    ck_assert_int_eq(daemon_stop(service->daemon), 0);
    daemon_resume(service->daemon);
    for (size_t i = 0; i < LENGTH(completion_cases); i++) {
        AUTO(mem_free) char *crn = case_crn(i);

        check_completed(service, i, crn);
    }
}
END_TEST

/* ---- once, and conflicts ---- */

#define AT(ms) "\"statusAtMs\":" ms ","
#define FIRST DEPLOYED("crn:b", AT("1704067200000") "\"modelCrn\":\"crn:m\",\"replicas\":2,")
#define OTHER_CONTENT(member)                                                                      \
    "an event with this modelDeploymentCrn, status and statusAtMs is stored with another "         \
    "\"" member "\""

enum verdict { TAKEN, DUPLICATE, CONFLICT };

static const struct {
    const char *name, *second;
    enum verdict verdict;
    const char *field, *message;
} again_cases[] = {
    { "the same", FIRST, DUPLICATE, NULL, NULL },
    { "in another order and spacing",
      "{ \"status\": \"deployed\", \"replicas\": 2, \"userName\": \"ada\", "
      "\"statusAtMs\": 1704067200000, \"modelCrn\": \"crn:m\", \"modelBuildCrn\": \"crn:b\", "
      "\"modelDeploymentCrn\": \"@\", \"event\": \"model_deployed\" }",
      DUPLICATE, NULL, NULL },
    { "with escapes",
      "{\"event\":\"model_deployed\",\"modelDeploymentCrn\":\"@\",\"modelBuildCrn\":\"crn:b\","
      "\"statusAtMs\":1704067200000,\"userName\":\"\\u0061da\",\"status\":\"deployed\"}",
      DUPLICATE, NULL, NULL },
    { "with less", DEPLOYED("crn:b", AT("1704067200000")), DUPLICATE, NULL, NULL },
    { "with null for a member",
      DEPLOYED("crn:b", AT("1704067200000") "\"modelCrn\":null,\"replicas\":2,"), DUPLICATE, NULL,
      NULL },
    { "with more", DEPLOYED("crn:b", AT("1704067200000") "\"modelCrn\":\"crn:m\",\"gpus\":1,"),
      TAKEN, NULL, NULL },
    { "at another time", DEPLOYED("crn:b", AT("1704067200001")), TAKEN, NULL, NULL },
    { "without a time", DEPLOYED("crn:b", ""), TAKEN, NULL, NULL },
    { "another number of replicas", DEPLOYED("crn:b", AT("1704067200000") "\"replicas\":3,"),
      CONFLICT, "replicas", OTHER_CONTENT("replicas") },
    { "another model", DEPLOYED("crn:b", AT("1704067200000") "\"modelCrn\":\"crn:x\","), CONFLICT,
      "modelCrn", OTHER_CONTENT("modelCrn") },
    { "another build", DEPLOYED("crn:x", AT("1704067200000")), CONFLICT, "modelBuildCrn",
      "this deployment is known with another modelBuildCrn: a deployment's build never changes, "
      "deploy the other build under a new modelDeploymentCrn" },
    { "another build at another time", DEPLOYED("crn:x", AT("1704067200001")), CONFLICT,
      "modelBuildCrn",
      "this deployment is known with another modelBuildCrn: a deployment's build never changes, "
      "deploy the other build under a new modelDeploymentCrn" },
};

/* A batch has a number when something of it was taken. */
static json_t *again_receipt(size_t i, int64_t received, json_t *batch)
{
    bool taken = again_cases[i].verdict == TAKEN, alone = received == 1;
    json_t *rejected = json_array();

    if (again_cases[i].verdict == CONFLICT)
        (void)json_array_append_new(rejected, json_pack("{s:i,s:s,s:s,s:s}", "index", 1, "code",
                                                        "conflict", "field", again_cases[i].field,
                                                        "message", again_cases[i].message));
    ck_assert(json_is_integer(batch) == (taken || !alone));
    return json_pack("{s:O,s:I,s:i,s:i,s:o,s:[]}", "batch", batch, "received", received, "accepted",
                     (int)(!alone) + taken, "duplicate", (int)(again_cases[i].verdict == DUPLICATE),
                     "rejected", rejected, "warnings");
}

/* Alone: its own status. Beside the first, in one request: in the receipt. */
static void again_send(struct service *service, size_t i, bool alone)
{
    AUTO(mem_free) char *crn = case_crn(2 * i + alone);
    AUTO(mem_free) char *first = expand(FIRST, crn);
    AUTO(mem_free) char *second = expand(again_cases[i].second, crn);
    AUTO(mem_free) char *both = xasprintf("[%s,%s]", first, second);
    bool refused = alone && again_cases[i].verdict == CONFLICT;
    json_auto_t *answer = NULL;
    json_auto_t *want = NULL;

    if (alone)
        service_take(service, first);
    answer = service_post(service, refused ? 409 : 200, "/v1/events", alone ? second : both);
    if (refused) {
        service_check_error(answer, "conflict", again_cases[i].field, again_cases[i].message,
                            again_cases[i].name);
        return;
    }
    want = again_receipt(i, alone ? 1 : 2, json_object_get(answer, "batch"));
    service_check_same(answer, want, again_cases[i].name);
}

START_TEST(deployed_again)
{
    AUTO(service_free) struct service *service = service_start();
    int64_t count[] = { [TAKEN] = 0, [DUPLICATE] = 0, [CONFLICT] = 0 };

    for (size_t i = 0; i < LENGTH(again_cases); i++) {
        again_send(service, i, true);
        again_send(service, i, false);
        count[TAKEN] += 2;
        count[again_cases[i].verdict] += 2;
    }
    service_check_balance(service, count[TAKEN], count[DUPLICATE], count[CONFLICT]);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM lineage_event"),
                     count[TAKEN]);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM model_deployment"
                                                " WHERE declared AND build_crn = 'crn:b'"),
                     2 * LENGTH(again_cases));
}
END_TEST

/* ---- the catalog ---- */

static void check_crn_of(struct service *service, const char *id, const char *crn)
{
    AUTO(mem_free) char *body = xasprintf("{\"modelDeploymentID\":%s}", id);
    json_auto_t *answer = service_post(service, 200, "/get-model-deployment-crn", body);
    json_auto_t *want = json_pack("{s:s}", "modelDeploymentCrn", crn);

    service_check_same(answer, want, id);
}

static const struct {
    const char *body, *code, *field, *message;
    long status;
} id_cases[] = {
    { "{\"modelDeploymentID\":43}", "not_found", "modelDeploymentID",
      "no deployment with modelDeploymentID 43 is known: a model_deployed event makes it known",
      404 },
    { "{}", "missing_field", "modelDeploymentID", "\"modelDeploymentID\" is missing", 400 },
    { "{\"modelDeploymentID\":\"42\"}", "invalid_field", "modelDeploymentID",
      "\"modelDeploymentID\" must be an integer", 400 },
    { "[]", "invalid_json", NULL, "the body must be a JSON object", 400 },
};

START_TEST(numbers_of_deployments)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free)
    char *first = expand(DEPLOYED("crn:b", "\"modelDeploymentId\":42,"), "crn:one");
    AUTO(mem_free) char *tracked = expand(TRACK("01", ""), "crn:two");
    AUTO(mem_free) char *bare = expand(DEPLOYED("crn:b", ""), "crn:two");
    AUTO(mem_free)
    char *supplied =
        expand(DEPLOYED("crn:b", "\"modelDeploymentId\":9223372036854775807,"), "crn:two");
    AUTO(mem_free)
    char *later = expand(DEPLOYED("crn:b", "\"modelDeploymentId\":42,"), "crn:three");

    service_take(service, first);
    check_crn_of(service, "42", "crn:one");
    for (size_t i = 0; i < LENGTH(id_cases); i++) {
        json_auto_t *answer = service_post(service, id_cases[i].status, "/get-model-deployment-crn",
                                           id_cases[i].body);

        service_check_error(answer, id_cases[i].code, id_cases[i].field, id_cases[i].message,
                            id_cases[i].body);
    }
    service_take(service, tracked);
    service_take(service, bare);
    service_take(service, supplied);
    check_crn_of(service, "9223372036854775807", "crn:two");
    service_take(service, later); /* another workspace with the same number: the later */
    check_crn_of(service, "42", "crn:three");
}
END_TEST

/* The moment of first sight is checked, and taken away so that the rest can be compared. */
static void take_first_seen(struct service *service, json_t *deployment)
{
    int64_t want = pg_query_i64(
        service->dsn,
        "SELECT (extract(epoch FROM first_seen_at) * 1000)::bigint FROM model_deployment"
        " WHERE crn = '%s'",
        service_text(deployment, "modelDeploymentCrn"));

    ck_assert_int_eq(service_number(deployment, "firstSeenMs"), want);
    (void)json_object_del(deployment, "firstSeenMs");
}

START_TEST(catalog_lists_them)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *tracked = expand(TRACK("01", ""), "crn:z/with/slashes");
    AUTO(mem_free)
    char *deployed = expand(
        DEPLOYED("crn:b",
                 "\"modelCrn\":\"crn:m\",\"projectCrn\":\"crn:p\",\"modelDeploymentId\":-7,"),
        "crn:a \xC3\xA9\\\"");
    json_auto_t *none = service_get(service, 200, "/v1/deployments");
    json_auto_t *want_none = service_json("{\"deployments\":[],\"nextCursor\":null}");
    json_auto_t *want =
        json_pack("{s:[{s:s,s:s,s:s,s:s,s:n,s:s,s:s,s:s,s:s,s:I},"
                  "{s:s,s:s,s:s,s:s,s:i,s:s,s:s,s:s,s:s,s:n}],s:n}",
                  "deployments", "modelDeploymentCrn", "crn:z/with/slashes", "modelBuildCrn", "",
                  "modelCrn", "", "projectCrn", "", "modelDeploymentId", "modelName", "", "status",
                  "unknown", "environment", "", "trainingData", "unknown", "lastPredictionMs",
                  (json_int_t)1704067200000, "modelDeploymentCrn", "crn:a \xC3\xA9\"",
                  "modelBuildCrn", "crn:b", "modelCrn", "crn:m", "projectCrn", "crn:p",
                  "modelDeploymentId", -7, "modelName", "", "status", "deployed", "environment", "",
                  "trainingData", "unknown", "lastPredictionMs", "nextCursor");
    json_auto_t *all = NULL;
    json_auto_t *one = NULL;
    json_auto_t *same = NULL;
    json_auto_t *unknown = NULL;

    service_check_same(none, want_none, "none");
    service_take(service, tracked);
    service_take(service, deployed);
    all = service_get(service, 200, "/v1/deployments");
    for (size_t i = 0; i < 2; i++)
        take_first_seen(service, json_array_get(json_object_get(all, "deployments"), i));
    service_check_same(all, want, "all");
    one = service_get(service, 200, "/v1/deployments/crn%3Az%2Fwith%2Fslashes");
    same = service_get(service, 200, "/v1/deployments/crn:z/with/slashes");
    service_check_same(one, same, "slashes, as they are and encoded");
    take_first_seen(service, one);
    service_check_same(one, json_array_get(json_object_get(want, "deployments"), 0), "one");
    unknown = service_get(service, 404, "/v1/deployments/crn%3Az");
    service_check_error(unknown, "not_found", NULL, "no deployment has the CRN \"crn:z\"",
                        "unknown");
}
END_TEST

/* ---- the daemon about itself ---- */

#define ATLAS "/api/atlas/v2/"

/* What each path answers when it is asked for nothing in particular. */
static const struct {
    const char *path, *method, *ask; /* ask: where it differs from path */
    long status;
} routes[] = {
    { "/track-metrics", "post", NULL, 400 },
    { "/track-delayed-metrics", "post", NULL, 400 },
    { "/track-aggregate-metrics", "post", NULL, 400 },
    { "/read-metrics", "post", NULL, 200 },
    { "/get-model-deployment-crn", "post", NULL, 400 },
    { "/v1/events", "post", NULL, 400 },
    { "/v1/metrics", "get", NULL, 200 },
    { "/v1/deployments", "get", NULL, 200 },
    { "/v1/rollups", "get", "/v1/rollups?model_crn=crn:m&window=1h", 200 },
    { "/v1/deployments/{crn}", "get", "/v1/deployments/crn%3Anone", 404 },
    { "/v1/lineage/builds/{crn}", "get", "/v1/lineage/builds/crn%3Anone", 404 },
    { "/v1/lineage/warnings", "get", NULL, 200 },
    { ATLAS "types/typedefs", "get", NULL, 200 },
    { ATLAS "types/typedefs/headers", "get", NULL, 200 },
    { ATLAS "types/{kind}/{by}/{key}", "get", ATLAS "types/typedef/name/none", 404 },
    { ATLAS "types/typedef/name/{name}", "delete", ATLAS "types/typedef/name/none", 404 },
    { ATLAS "notification/topic/{topic}", "post", ATLAS "notification/topic/none", 400 },
    { ATLAS "entity", "post", NULL, 400 },
    { ATLAS "relationship", "post", NULL, 400 },
    { ATLAS "relationship/guid/{guid}", "get", ATLAS "relationship/guid/none", 404 },
    { ATLAS "entity/guid/{guid}", "get", ATLAS "entity/guid/none", 404 },
    { ATLAS "entity/guid/{guid}/header", "get", ATLAS "entity/guid/none/header", 404 },
    { ATLAS "entity/uniqueAttribute/type/{type}", "get",
      ATLAS "entity/uniqueAttribute/type/hive_table", 400 },
    { ATLAS "entity/uniqueAttribute/type/{type}/header", "get",
      ATLAS "entity/uniqueAttribute/type/hive_table/header", 400 },
    { ATLAS "entity/bulk", "get", NULL, 404 },
    { ATLAS "entity/bulk/uniqueAttribute/type/{type}", "get",
      ATLAS "entity/bulk/uniqueAttribute/type/hive_table", 400 },
    { ATLAS "entity/guid/{guid}/classifications", "get", ATLAS "entity/guid/none/classifications",
      404 },
    { ATLAS "entity/guid/{guid}/classification/{classification}", "get",
      ATLAS "entity/guid/none/classification/PII", 404 },
    { ATLAS "entity/uniqueAttribute/type/{type}/classifications", "get",
      ATLAS "entity/uniqueAttribute/type/hive_table/classifications", 400 },
    { ATLAS "entity/uniqueAttribute/type/{type}/classification/{classification}", "get",
      ATLAS "entity/uniqueAttribute/type/hive_table/classification/PII", 400 },
    { ATLAS "entity/bulk/classification", "post", NULL, 400 },
    { ATLAS "entity/bulk/setClassifications", "post", NULL, 400 },
    { ATLAS "entity/bulk/headers", "get", NULL, 200 },
    { ATLAS "entity/{guid}/audit", "get", ATLAS "entity/none/audit", 404 },
    { ATLAS "lineage/{guid}", "get", ATLAS "lineage/none", 404 },
    { ATLAS "lineage/uniqueAttribute/type/{type}", "get",
      ATLAS "lineage/uniqueAttribute/type/hive_table", 400 },
    { ATLAS "search/basic", "get", NULL, 400 },
    { ATLAS "search/attribute", "get", NULL, 400 },
    { ATLAS "search/quick", "get", NULL, 400 },
    { ATLAS "search/suggestions", "get", NULL, 400 },
    { "/api/atlas/admin/version", "get", NULL, 200 },
    { "/api/atlas/admin/status", "get", NULL, 200 },
    { "/api/atlas/admin/session", "get", NULL, 200 },
    { "/api/atlas/admin/metrics", "get", NULL, 200 },
    { "/v1/lineage/messages", "get", NULL, 200 },
    { "/v1/impact", "get", "/v1/impact?type=hive_table&qualifiedName=x.t@cm", 404 },
    { "/v1/balance", "get", NULL, 200 },
    { "/v1/limits", "get", NULL, 200 },
    { "/healthz", "get", NULL, 200 },
    { "/readyz", "get", NULL, 200 },
    { "/metrics", "get", NULL, 200 },
    { "/openapi.yaml", "get", NULL, 200 },
};

/* The line of the file that begins so, or NULL. */
static const char *line_find(const char *text, const char *start)
{
    AUTO(mem_free) char *sought = xasprintf("\n%s", start);
    const char *found = strstr(text, sought);

    return found ? found + 1 : NULL;
}

static size_t count_lines(const char *text, const char *start)
{
    size_t count = 0;

    for (; (text = line_find(text, start)); text++)
        count++;
    return count;
}

static void check_route(struct service *service, const char *openapi, size_t i)
{
    const char *ask = routes[i].ask ? routes[i].ask : routes[i].path;
    AUTO(mem_free) char *head = xasprintf("  %s:\n    %s:\n", routes[i].path, routes[i].method);
    const char *section = line_find(openapi, head), *next;
    AUTO(mem_free) char *status = xasprintf("        '%ld':", routes[i].status);
    AUTO(mem_free) char *text = NULL;
    AUTO(mem_free) char *body = NULL;
    json_auto_t *answer = NULL;

    ck_assert_msg(section != NULL, "openapi.yaml lacks %s", head);
    if (strcmp(routes[i].method, "post") == 0)
        answer = service_post(service, routes[i].status, ask, "{}");
    else if (strcmp(routes[i].method, "delete") == 0)
        answer = service_call(service, routes[i].status, "DELETE", ask, NULL, NULL);
    else
        text = service_get_text(service, routes[i].status, ask, NULL);
    /* up to the next path; those of one event have their answers in common */
    next = strstr(section + 1, "\n  /");
    body = xmemdup0(section, next ? (size_t)(next - section) : strlen(section));
    ck_assert_msg(strstr(body, status) || strstr(body, "responses: *oneEvent") ||
                      strstr(body, "responses: *atlas"),
                  "%s: no %s", routes[i].path, status);
}

/* "required: [a, b,\n   c]" of a schema: every name in it is a member. */
static void check_required(const char *openapi, const char *schema, const json_t *object)
{
    AUTO(mem_free) char *head = xasprintf("    %s:\n      type: object\n", schema);
    const char *at = line_find(openapi, head);
    size_t names = 0;

    ck_assert_ptr_nonnull(at);
    at = strstr(at, "required: [");
    ck_assert_ptr_nonnull(at);
    for (at += strlen("required: ["); *at != ']'; at += strspn(at, ", \n")) {
        size_t len = strcspn(at, ", \n]");
        AUTO(mem_free) char *name = xmemdup0(at, len);

        ck_assert_msg(json_object_get(object, name) != NULL, "%s: no %s", schema, name);
        names++;
        at += len;
    }
    ck_assert_uint_gt(names, 0);
}

START_TEST(openapi_tells_the_truth)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *openapi = service_get_text(service, 200, "/openapi.yaml", NULL);
    AUTO(mem_free) char *tracked = expand(TRACK("01", ""), "crn:one");
    json_auto_t *receipt = service_post(service, 200, "/v1/events", tracked);
    json_auto_t *limits = service_get(service, 200, "/v1/limits");
    json_auto_t *balance = service_get(service, 200, "/v1/balance");
    json_auto_t *deployment = service_get(service, 200, "/v1/deployments/crn%3Aone");
    json_auto_t *deployments = service_get(service, 200, "/v1/deployments");
    json_auto_t *rows = service_rows(service, "");
    json_auto_t *error = service_get(service, 404, "/none");

    for (size_t i = 0; i < LENGTH(routes); i++)
        check_route(service, openapi, i);
    ck_assert_uint_eq(count_lines(openapi, "  /"), LENGTH(routes));
    check_required(openapi, "Receipt", receipt);
    check_required(openapi, "Limits", limits);
    check_required(openapi, "Balance", balance);
    check_required(openapi, "BalanceCounts", json_object_get(balance, "total"));
    check_required(openapi, "Deployment", deployment);
    check_required(openapi, "Row", json_array_get(rows, 0));
    check_required(openapi, "Error", error);
    ck_assert(json_is_null(json_object_get(deployments, "nextCursor")));
}
END_TEST

static const struct {
    const char *name;
    int64_t value;
} limit_cases[] = {
    { "eventTimestampMsMin", 946684800000 },
    { "metricsBytesMax", 102400 },
    { "bodyBytesMax", 16 << 20 },
    { "eventsMax", 100000 },
    { "memoryBytesMax", 64 << 20 },
    { "jsonDepthMax", 32 },
    { "deploymentsMax", 3 }, /* as configured below */
    { "partitionsMax", 600 },
    { "labelsPerPredictionMax", 1000 },
    { "labelsWaitingMax", 1000000 },
    { "metricNamesMax", 1000 },
    { "rollupPendingMax", 100000 },
    { "eventAheadMsMax", 86400000 },
    { "csvColumnsMax", 2000 },
    { "lineageRelationsMax", 10000 },
    { "outboxMessagesMax", 1000000 },
    { "hookMessageBytesMax", 32 << 20 },
    { "hookMemoryBytesMax", 384 << 20 },
    { "connectionsMax", 4096 },
    { "connectionsPerAddressMax", 0 },
    { "readsMax", 16 },
    { "requestTimeoutMs", 60000 },
    { "idleTimeoutMs", 60000 },
    { "spoolBytesMax", 0 }, /* as daemons of tests have it */
    { "spoolAfterMs", 2000 },
    { "commitTimeoutMs", 10000 },
    { "readStallTimeoutMs", 30000 },
};

START_TEST(limits_are_served_and_hold)
{
    static const char *const environment[] = { "PLUMBLINE_DEPLOYMENTS_MAX=3", NULL };
    AUTO(service_free)
    struct service *service =
        service_start_with(&(struct daemon_options){ .environment = environment });
    json_auto_t *limits = service_get(service, 200, "/v1/limits");
    AUTO(mem_free) char *fourth = expand(TRACK("04", ""), "crn:4");
    json_auto_t *refused = NULL;

    for (size_t i = 0; i < LENGTH(limit_cases); i++)
        ck_assert_msg(service_number(limits, limit_cases[i].name) == limit_cases[i].value, "%s",
                      limit_cases[i].name);
    ck_assert_uint_eq(json_object_size(limits), LENGTH(limit_cases));
    for (int i = 1; i < 4; i++) {
        AUTO(mem_free) char *crn = xasprintf("crn:%d", i);
        AUTO(mem_free) char *tracked = expand(TRACK("01", ""), crn);

        service_take(service, tracked);
    }
    refused = service_post(service, 400, "/v1/events", fourth);
    service_check_error(refused, "too_many_deployments", "modelDeploymentCrn",
                        "the limit deployments_max is reached: a new deployment can't be added",
                        "a fourth");
}
END_TEST

/* The sample's value, or 0 while it is not there: routes are counted from their first answer on. */
static int64_t sample_or_0(struct service *service, const char *name)
{
    AUTO(mem_free) char *text = service_get_text(service, 200, "/metrics", NULL);
    AUTO(mem_free) char *start = xasprintf("%s ", name);
    const char *line = line_find(text, start);

    return line ? strtoll(line + strlen(start), NULL, 10) : 0;
}

#define EVENTS(kind, fate) "plumbline_events_total{kind=\"" kind "\",fate=\"" fate "\"}"
#define RESPONSES(route, status)                                                                   \
    "plumbline_http_responses_total{route=\"" route "\",status=\"" status "\"}"

static const struct {
    const char *name;
    int64_t growth;
} sample_cases[] = {
    { EVENTS("track_metrics", "received"), 3 },   { EVENTS("track_metrics", "accepted"), 1 },
    { EVENTS("track_metrics", "duplicate"), 1 },  { EVENTS("track_metrics", "rejected"), 1 },
    { EVENTS("track_metrics", "not_stored"), 0 }, { EVENTS("delayed_metrics", "received"), 1 },
    { EVENTS("delayed_metrics", "accepted"), 1 }, { EVENTS("aggregate_metrics", "accepted"), 1 },
    { EVENTS("model_deployed", "accepted"), 1 },  { EVENTS("unknown", "received"), 1 },
    { EVENTS("unknown", "rejected"), 1 },         { RESPONSES("/v1/events", "200"), 5 },
    { RESPONSES("/v1/events", "400"), 1 },        { RESPONSES("/v1/metrics", "200"), 1 },
    { RESPONSES("/v1/metrics", "400"), 1 },       { RESPONSES("unknown", "404"), 1 },
    { "plumbline_read_rows_total", 2 },           { "plumbline_deployments", 1 },
};

static void sample_traffic(struct service *service)
{
    static const char *const events[] = {
        TRACK("01", ""),
        TRACK("01", ""),
        "[" TRACK("xx", "") ",{\"event\":\"none\"}]",
        "[{\"event\":\"delayed_metrics\",\"predictionUuid\":"
        "\"00000000-0000-4000-8000-000000000001\",\"metrics\":{}}," AGGREGATE "]",
        DEPLOYED("crn:b", ""),
    };
    json_auto_t *broken = service_post(service, 400, "/v1/events", "{");
    json_auto_t *query = service_get(service, 400, "/v1/metrics?x=1");
    json_auto_t *path = service_get(service, 404, "/none");
    json_auto_t *rows = NULL;

    ck_assert(broken && query && path);
    for (size_t i = 0; i < LENGTH(events); i++) {
        AUTO(mem_free) char *body = expand(events[i], "crn:one");
        json_auto_t *receipt = service_post(service, 200, "/v1/events", body);

        ck_assert_ptr_nonnull(receipt);
    }
    rows = service_rows(service, "");
    ck_assert_uint_eq(json_array_size(rows), 2);
}

START_TEST(prometheus_counts)
{
    AUTO(service_free) struct service *service = service_start();
    int64_t before[LENGTH(sample_cases)];
    int64_t commits = service_sample(service, "plumbline_commits_total");
    AUTO(mem_free) char *text = NULL;

    for (size_t i = 0; i < LENGTH(sample_cases); i++)
        before[i] = sample_or_0(service, sample_cases[i].name);
    sample_traffic(service);
    for (size_t i = 0; i < LENGTH(sample_cases); i++) {
        int64_t growth = sample_or_0(service, sample_cases[i].name) - before[i];

        ck_assert_msg(growth == sample_cases[i].growth, "%s grew by %lld", sample_cases[i].name,
                      (long long)growth);
    }
    ck_assert_int_ge(service_sample(service, "plumbline_commits_total"), commits + 4);
    ck_assert_int_eq(service_sample(service, "plumbline_commit_seconds_count"),
                     service_sample(service, "plumbline_commits_total"));
    ck_assert_int_eq(service_sample(service, "plumbline_commit_seconds_bucket{le=\"+Inf\"}"),
                     service_sample(service, "plumbline_commit_seconds_count"));
    ck_assert_int_eq(service_sample(service, "plumbline_postgres_up"), 1);
    ck_assert_int_ge(service_sample(service, "plumbline_http_connections"), 1);
    ck_assert_int_ge(service_sample(service, "plumbline_partitions"), 1);
    text = service_get_text(service, 200, "/metrics", NULL);
    ck_assert_int_eq(strncmp(text, "# HELP ", 7), 0); /* the only one without a line before it */
    ck_assert_uint_eq(count_lines(text, "# TYPE "), count_lines(text, "# HELP ") + 1);
}
END_TEST

static void check_status(struct service *service, const char *path, const char *status)
{
    json_auto_t *answer = service_get(service, 200, path);
    json_auto_t *want = json_pack("{s:s}", "status", status);

    service_check_same(answer, want, path);
}

/* One event, whatever becomes of it; its status. */
static long try_event(struct service *service, const char *event)
{
    AUTO(mem_free) char *url = daemon_url(service->daemon, "/v1/events");
    AUTO(http_answer_free) struct http_answer *answer = http_post(service->http, url, event);

    return answer->status;
}

START_TEST(health_and_readiness)
{
    static const char *const environment[] = { "PLUMBLINE_COMMIT_TIMEOUT_MS=300", NULL };
    AUTO(pg_free) struct pg *pg = pg_start(&(struct pg_options){ .unsafe = true });
    AUTO(mem_free) char *dsn = pg_database_new(pg);
    AUTO(service_free)
    struct service *service =
        service_start_with(&(struct daemon_options){ .dsn = dsn, .environment = environment });
    AUTO(mem_free) char *event = expand(TRACK("01", ""), "crn:one");
    json_auto_t *not_ready = NULL;

    check_status(service, "/healthz", "ok");
    check_status(service, "/readyz", "ready");
    pg_stop(pg, PG_STOP_FAST);
    ck_assert_int_eq(try_event(service, event), 503);
    check_status(service, "/healthz", "ok");
    not_ready = service_get(service, 503, "/readyz");
    service_check_error(not_ready, "not_ready", NULL,
                        "Postgres can't be reached: events are not committed", "not ready");
    ck_assert_int_eq(service_sample(service, "plumbline_postgres_up"), 0);
    pg_resume(pg);
    WAIT_UNTIL(10000, try_event(service, event) == 200);
    check_status(service, "/readyz", "ready");
    ck_assert_int_eq(service_sample(service, "plumbline_postgres_up"), 1);
}
END_TEST

Suite *deployments_suite(void)
{
    Suite *suite = suite_create("deployments");
    TCase *tcase = tcase_create("deployments");

    tcase_add_unchecked_fixture(tcase, pg_shared_start, NULL);
    tcase_add_test(tcase, completed_in_every_order);
    tcase_add_test(tcase, deployed_again);
    tcase_add_test(tcase, numbers_of_deployments);
    tcase_add_test(tcase, catalog_lists_them);
    tcase_add_test(tcase, openapi_tells_the_truth);
    tcase_add_test(tcase, limits_are_served_and_hold);
    tcase_add_test(tcase, prometheus_counts);
    tcase_add_test(tcase, health_and_readiness);
    suite_add_tcase(suite, tcase);
    return suite;
}
