/* What clients of Apache Atlas ask about the server, and about who did what. */
#include <check.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/harness/pg.h"
#include "tests/harness/service.h"

Suite *audit_suite(void);

#define API "/api/atlas/"
#define UNKNOWN "12f34405-38fa-42de-9ed4-68dbd82d36f6"

#define DEPLOYED(user, status, at)                                                                 \
    "{\"event\":\"model_deployed\",\"modelBuildCrn\":\"b\",\"modelDeploymentCrn\":\"d\","          \
    "\"status\":\"" status "\",\"statusAtMs\":" at ",\"createdAtMs\":1704067200000,"               \
    "\"cpuMillicores\":1,\"userName\":\"" user "\"}"

/* Owned: the guid of the deployment, which three users changed in turn. */
static char *deployment_made(struct service *service)
{
    service_take(service, DEPLOYED("eve", "deploying", "1704067200000"));
    service_take(service, DEPLOYED("ada", "deployed", "1704067200001"));
    service_take(service, DEPLOYED("bob", "stopped", "1704067200002"));
    return pg_query_text(service->dsn, "SELECT guid FROM entity WHERE qualified_name = 'd@cm'"
                                       " AND to_batch IS NULL");
}

static json_t *get_audit(struct service *service, const char *guid, const char *query)
{
    AUTO(mem_free) char *path = xasprintf(API "v2/entity/%s/audit%s", guid, query);

    return service_get(service, 200, path);
}

static void check_users(const json_t *events, const char *want, const char *what)
{
    AUTO(buf_done) struct buf have;
    const json_t *event;
    size_t i;

    buf_init(&have, SIZE_MAX);
    json_array_foreach(events, i, event)
        buf_append_fmt(&have, "%s%s", i ? " " : "", service_text(event, "user"));
    ck_assert_msg(json_is_array(events) && strcmp(buf_text(&have), want) == 0, "%s: %s", what,
                  buf_text(&have));
}

static const struct {
    const char *query, *want;
} audit_cases[] = {
    { "", "bob ada eve" },
    { "?count=2&unknown=x", "bob ada" },
    { "?count=2&offset=1&startKey=", "ada eve" },
    { "?startKey=null&offset=-1", "bob ada eve" },
    { "?auditAction=ENTITY_UPDATE", "bob ada" },
    { "?auditAction=ENTITY_CREATE", "eve" },
    { "?auditAction=CLASSIFICATION_ADD", "" },
    { "?sortBy=timestamp&sortOrder=asc", "eve ada bob" },
    { "?sortBy=user&sortOrder=asc", "ada bob eve" },
    { "?sortBy=user", "eve bob ada" },
    { "?sortBy=action&sortOrder=asc", "eve bob ada" },
    { "?sortBy=action&sortOrder=desc", "bob ada eve" },
};

START_TEST(audit_in_every_order)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *guid = deployment_made(service);

    for (size_t i = 0; i < LENGTH(audit_cases); i++) {
        json_auto_t *events = get_audit(service, guid, audit_cases[i].query);

        check_users(events, audit_cases[i].want, audit_cases[i].query);
    }
}
END_TEST

/* As many as one wants and one more, whose key is where the next page begins. */
START_TEST(pages_of_an_audit)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *guid = deployment_made(service);
    json_auto_t *newest = get_audit(service, guid, "?count=2");
    json_auto_t *oldest = get_audit(service, guid, "?sortOrder=asc&count=2");
    const char *newest_key = service_text(json_array_get(newest, 1), "eventKey");
    const char *oldest_key = service_text(json_array_get(oldest, 1), "eventKey");
    AUTO(mem_free) char *down = xasprintf("?startKey=%s", newest_key);
    AUTO(mem_free) char *up = xasprintf("?sortOrder=asc&startKey=%s", oldest_key);
    AUTO(mem_free) char *large = xasprintf("?startKey=%s", newest_key);
    AUTO(mem_free)
    char *by_user = xasprintf(API "v2/entity/%s/audit?sortBy=user&startKey=%s", guid, newest_key);
    json_auto_t *below = get_audit(service, guid, down);
    json_auto_t *above = get_audit(service, guid, up);
    json_auto_t *same = NULL, *refused = service_get(service, 400, by_user);

    check_users(below, "ada eve", "below");
    check_users(above, "ada bob", "above");
    for (char *c = strchr(large, '=') + 1; *c; c++)
        *c = (char)toupper((unsigned char)*c);
    same = get_audit(service, guid, large);
    check_users(same, "ada eve", "capital letters");
    ck_assert_str_eq(service_text(refused, "errorMessage"),
                     "startKey goes with sortBy=timestamp alone: page by offset");
}
END_TEST

START_TEST(audit_tells_what_was)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *guid = deployment_made(service);
    json_auto_t *events = get_audit(service, guid, "");
    const json_t *made = json_array_get(events, 2), *changed = json_array_get(events, 1);
    AUTO(mem_free)
    char *key =
        xasprintf("%s:%lld:0:%lld", guid, (long long)service_number(made, "timestamp"),
                  (long long)pg_query_i64(service->dsn, "SELECT min(batch_id) FROM entity_audit"));
    json_auto_t *was = NULL;

    ck_assert_uint_eq(json_object_size(made), 8);
    ck_assert_str_eq(service_text(made, "entityId"), guid);
    ck_assert_str_eq(service_text(made, "action"), "ENTITY_CREATE");
    ck_assert_str_eq(service_text(made, "eventKey"), key);
    ck_assert_str_eq(service_text(made, "type"), "ENTITY_AUDIT_V2");
    ck_assert(json_is_null(json_object_get(made, "entity")));
    ck_assert_int_eq(strncmp(service_text(made, "details"), "Created: {", 10), 0);
    ck_assert_int_eq(strncmp(service_text(changed, "details"), "Updated: {", 10), 0);
    was = service_json(service_text(changed, "details") + strlen("Updated: "));
    ck_assert_str_eq(service_text(was, "guid"), guid);
    ck_assert_str_eq(service_text(was, "createdBy"), "eve");
    ck_assert_str_eq(service_text(was, "updatedBy"), "ada");
    ck_assert_int_eq(service_number(was, "createTime"), service_number(made, "timestamp"));
    ck_assert_int_eq(service_number(was, "updateTime"), service_number(changed, "timestamp"));
    ck_assert_str_eq(service_text(json_object_get(was, "attributes"), "status"), "deployed");
}
END_TEST

/* ---- the server ---- */

START_TEST(server_tells_of_itself)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *version = service_get(service, 200, API "admin/version");
    json_auto_t *status = service_get(service, 200, API "/admin/status/");
    json_auto_t *session = service_get(service, 200, API "admin/session");
    json_auto_t *metrics = NULL;
    const json_t *data, *general, *active;

    mem_free(deployment_made(service));
    metrics = service_get(service, 200, API "admin/metrics?x=1");
    data = json_object_get(metrics, "data");
    general = json_object_get(data, "general");
    active = json_object_get(json_object_get(data, "entity"), "entityActive");
    ck_assert_str_eq(service_text(version, "Name"), "plumbline");
    ck_assert_str_eq(service_text(version, "Version"), service_text(version, "Revision"));
    ck_assert_str_ne(service_text(version, "Description"), "");
    ck_assert_str_eq(service_text(status, "Status"), "ACTIVE");
    ck_assert_str_eq(service_text(session, "userName"), "anonymous");
    ck_assert(json_is_array(json_object_get(session, "groups")));
    ck_assert(json_is_true(json_object_get(session, "atlas.entity.update.allowed")));
    ck_assert_int_eq(service_number(active, "ml_model_deployment"), 1);
    ck_assert_int_eq(service_number(general, "entityCount"),
                     pg_query_i64(service->dsn,
                                  "SELECT count(*) FROM entity WHERE to_batch IS NULL"));
    ck_assert_int_eq(service_number(general, "tagCount"), 0);
    ck_assert_uint_eq(json_object_size(
                          json_object_get(json_object_get(data, "tag"), "tagEntities")),
                      0);
    ck_assert_int_gt(service_number(general, "typeUnusedCount"), 10);
    pg_exec(service->dsn, "UPDATE entity SET is_deleted = true WHERE to_batch IS NULL");
    json_decref(metrics);
    metrics = service_get(service, 200, API "admin/metrics");
    data = json_object_get(metrics, "data");
    active = json_object_get(json_object_get(data, "entity"), "entityActive");
    ck_assert_uint_eq(json_object_size(active), 0);
    ck_assert_int_eq(service_number(json_object_get(json_object_get(data, "entity"),
                                                    "entityDeleted"),
                                    "ml_model_deployment"),
                     1);
    ck_assert_int_eq(service_number(json_object_get(data, "general"), "entityCount"), 0);
}
END_TEST

/* ---- errors ---- */

static const struct {
    const char *path, *body; /* NULL: a GET */
    long status;
    const char *code, *message;
} error_cases[] = {
    { "v2/entity/abc/audit", NULL, 404, "ATLAS-404-00-005",
      "Given instance guid abc is invalid/not found" },
    { "v2/entity/" UNKNOWN "/audit", NULL, 404, "ATLAS-404-00-005",
      "Given instance guid " UNKNOWN " is invalid/not found" },
    { "v2/entity/" UNKNOWN "/audit?count=0", NULL, 400, "ATLAS-400-00-029",
      "count must be a whole number from 1 to 1000" },
    { "v2/entity/" UNKNOWN "/audit?count=x", NULL, 400, "ATLAS-400-00-029",
      "count must be a whole number from 1 to 1000" },
    { "v2/entity/" UNKNOWN "/audit?offset=-2", NULL, 400, "ATLAS-400-00-029",
      "offset must be a whole number from -1 to 2147483647" },
    { "v2/entity/" UNKNOWN "/audit?sortBy=size", NULL, 400, "ATLAS-400-00-029",
      "sortBy must be timestamp, user or action: \"size\"" },
    { "v2/entity/" UNKNOWN "/audit?sortOrder=up", NULL, 400, "ATLAS-400-00-029",
      "sortOrder must be asc or desc: \"up\"" },
    { "v2/entity/" UNKNOWN "/audit?auditAction=LOOK", NULL, 400, "ATLAS-400-00-029",
      "unknown auditAction: \"LOOK\"" },
    { "v2/lineage/" UNKNOWN, "{}", 404, "ATLAS-404-00-005",
      "Given instance guid " UNKNOWN " is invalid/not found" },
    { "v2/lineage/" UNKNOWN, "[]", 400, "ATLAS-400-00-029", "the body must be a JSON object" },
    { "v2/lineage/" UNKNOWN, "{\"a\":{\"direction\":\"UP\"}}", 400, "ATLAS-400-00-026",
      "Invalid lineage query parameters passed direction: UP" },
    { "v2/lineage/" UNKNOWN, "{", 400, "ATLAS-400-00-029",
      "line 1, column 1: string or '}' expected near end of file" },
    { "v2/lineage/" UNKNOWN "?as_of=x", "{}", 400, "ATLAS-400-00-029",
      "\"as_of\" must be a whole number of milliseconds: \"x\"" },
    { "v2/search/dsl?query=from+DataSet", NULL, 404, "ATLAS-404-00-000",
      "no such path: v2/search/dsl" },
    { "v2/search/fulltext?query=x", NULL, 404, "ATLAS-404-00-000",
      "no such path: v2/search/fulltext" },
    { "v2/glossary", NULL, 404, "ATLAS-404-00-000", "no such path: v2/glossary" },
    { "admin/stack", NULL, 404, "ATLAS-404-00-000", "no such path: admin/stack" },
    { "admin/version", "{}", 405, "ATLAS-405-00-001", "admin/version takes GET, HEAD" },
};

START_TEST(errors_are_those_of_atlas)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *guid = deployment_made(service);
    AUTO(mem_free)
    char *path = xasprintf(API "v2/entity/%s/audit?startKey=%s:1:0:2x", guid, guid);
    AUTO(mem_free)
    char *want =
        xasprintf("startKey is no eventKey of this entity: \"%.64s\"", strchr(path, '=') + 1);
    json_auto_t *wrong = service_get(service, 400, path);

    ck_assert_str_eq(service_text(wrong, "errorMessage"), want);
    for (size_t i = 0; i < LENGTH(error_cases); i++) {
        AUTO(mem_free) char *url = xasprintf(API "%s", error_cases[i].path);
        json_auto_t *answer =
            error_cases[i].body
                ? service_post(service, error_cases[i].status, url, error_cases[i].body)
                : service_get(service, error_cases[i].status, url);

        service_check_fault(answer, error_cases[i].code, error_cases[i].message);
    }
}
END_TEST

Suite *audit_suite(void)
{
    Suite *suite = suite_create("audit");
    TCase *tc = tcase_create("audit");

    tcase_add_unchecked_fixture(tc, pg_shared_start, NULL);
    tcase_add_test(tc, audit_in_every_order);
    tcase_add_test(tc, pages_of_an_audit);
    tcase_add_test(tc, audit_tells_what_was);
    tcase_add_test(tc, server_tells_of_itself);
    tcase_add_test(tc, errors_are_those_of_atlas);
    suite_add_tcase(suite, tc);
    return suite;
}
