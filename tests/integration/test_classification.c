/* Classifications: added, changed and removed by REST, found on what they reach over the graph, at
 * any moment. How they pass is in tests/atlas/test_propagation.c. */
#include <check.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/uuid.h"
#include "tests/harness/dice.h"
#include "tests/harness/pg.h"
#include "tests/harness/service.h"
#include "tests/harness/wait.h"

Suite *classification_suite(void);

#define ATLAS "/api/atlas/v2/"
#define TYPEDEFS ATLAS "types/typedefs"
#define TABLE(name) ATLAS "entity/uniqueAttribute/type/hive_table" name "?attr:qualifiedName="

enum { WAIT_MS = 30000 };

/* ---- requests ---- */

static void change(struct service *service, const char *method, const char *path, const char *body)
{
    ck_assert_ptr_null(service_ask(service, 204, method, path, body));
}

#define TAGS                                                                                       \
    "{'classificationDefs': [{'name': 'PII', 'attributeDefs': [{'name': 'level', 'typeName': "     \
    "'int', 'isOptional': true}, {'name': 'since', 'typeName': 'date', 'isOptional': true}]},"     \
    "{'name': 'EMAIL', 'superTypes': ['PII']}, {'name': 'OLD'},"                                   \
    "{'name': 'STRICT', 'attributeDefs': [{'name': 'why', 'typeName': 'string', 'isOptional': "    \
    "false}]},"                                                                                    \
    "{'name': 'TABLES', 'entityTypes': ['hive_table', 'ml_model_build']}]}"

#define BUILT(build, more)                                                                         \
    "{\"event\":\"model_built\",\"projectCrn\":\"p\",\"modelCrn\":\"m\",\"modelName\":\"Model\","  \
    "\"modelBuildCrn\":\"" build "\",\"buildNumber\":1,\"userName\":\"bob\",\"createdAtMs\":"      \
    "1704067200000," more "}"
#define DEPLOYED(build, deployment)                                                                \
    "{\"event\":\"model_deployed\",\"modelBuildCrn\":\"" build "\",\"modelDeploymentCrn\":\""      \
    "" deployment "\",\"status\":\"deployed\",\"statusAtMs\":1704067200000,\"cpuMillicores\":1,"   \
    "\"createdAtMs\":1704067202000,\"userName\":\"eve\"}"

#define LINKED(tables) "\"linkingFile\":\"Model:\\n  hive_table_qualified_names: [" tables "]\\n\""
#define MADE_OF(build)                                                                             \
    "\"inputs\":[{\"typeName\":\"ml_model_build\",\"qualifiedName\":\"" build "\"}]"

/* x.t -> b1 -> d1, x.t and x.u -> b2 -> d2, b2 -> b3 -> d3. */
static const char *const events[] = {
    BUILT("b1", LINKED("x.t")),    BUILT("b2", LINKED("x.t, x.u")),
    BUILT("b3", MADE_OF("b2@cm")), DEPLOYED("b1", "d1"),
    DEPLOYED("b2", "d2"),          DEPLOYED("b3", "d3"),
};

static void take_events(struct service *service)
{
    for (size_t i = 0; i < LENGTH(events); i++)
        service_take(service, events[i]);
}

static struct service *tags_start(void)
{
    struct service *service = service_start();

    json_decref(service_ask(service, 200, "POST", TYPEDEFS, TAGS));
    take_events(service);
    return service;
}

/* ---- what is found ---- */

/* Owned. */
static char *guid_of(struct service *service, const char *name)
{
    return pg_query_text(service->dsn,
                         "SELECT DISTINCT guid FROM entity WHERE qualified_name = '%s@cm'", name);
}

/* "PII<x.t OLD": the classifications of an entity, those of others with their names; owned. */
static char *describe(struct service *service, const char *guid, const json_t *list)
{
    AUTO(buf_done) struct buf text;

    buf_init(&text, SIZE_MAX);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *tag = json_array_get(list, i);
        const char *from = service_text(tag, "entityGuid");

        buf_append_fmt(&text, "%s%s", text.len ? " " : "", service_text(tag, "typeName"));
        if (strcmp(from, guid) != 0) {
            AUTO(mem_free)
            char *name = pg_query_text(service->dsn,
                                       "SELECT DISTINCT split_part(qualified_name, '@', 1) FROM"
                                       " entity WHERE guid = '%s'",
                                       from);

            buf_append_fmt(&text, "<%s", name);
        }
    }
    return xstrdup(buf_text(&text));
}

/* In its own answer and in its header the same. as_of_ms < 0: now. */
static void check_tags_as_of(struct service *service, const char *name, int64_t as_of_ms,
                             const char *want)
{
    AUTO(mem_free) char *guid = guid_of(service, name);
    AUTO(mem_free)
    char *as_of = as_of_ms < 0 ? xstrdup("") : xasprintf("?as_of=%" PRId64, as_of_ms);
    AUTO(mem_free) char *path = xasprintf(ATLAS "entity/guid/%s%s", guid, as_of);
    AUTO(mem_free) char *header_path = xasprintf(ATLAS "entity/guid/%s/header%s", guid, as_of);
    AUTO(mem_free)
    char *list_path = xasprintf(ATLAS "entity/guid/%s/classifications%s", guid, as_of);
    json_auto_t *entity = service_get(service, 200, path);
    json_auto_t *header = service_get(service, 200, header_path);
    json_auto_t *list = service_get(service, 200, list_path);
    json_t *tags = json_object_get(json_object_get(entity, "entity"), "classifications");
    AUTO(mem_free) char *have = describe(service, guid, tags);

    ck_assert_msg(strcmp(have, want) == 0, "%s: %s, not %s", name, have, want);
    service_check_same(json_object_get(header, "classifications"), tags, "header");
    service_check_same(json_object_get(list, "list"), tags, "list");
    ck_assert_uint_eq(json_array_size(json_object_get(header, "classificationNames")) > 0,
                      *want != '\0');
}

static void check_tags(struct service *service, const char *name, const char *want)
{
    check_tags_as_of(service, name, -1, want);
}

/* The CRNs of the deployments that the impact has, in their order. */
static void check_impact(struct service *service, const char *query, const char *want)
{
    AUTO(mem_free) char *path = xasprintf("/v1/impact?%s", query);
    json_auto_t *answer = service_get(service, 200, path);
    const json_t *deployments = json_object_get(answer, "deployments");
    AUTO(buf_done) struct buf have;

    buf_init(&have, SIZE_MAX);
    for (size_t i = 0; i < json_array_size(deployments); i++)
        buf_append_fmt(&have, "%s%s/%d", i ? " " : "",
                       service_text(json_array_get(deployments, i), "modelDeploymentCrn"),
                       (int)service_number(json_array_get(deployments, i), "hops"));
    ck_assert_msg(strcmp(buf_text(&have), want) == 0, "%s: %s, not %s", query, buf_text(&have),
                  want);
}

/* Qualified names without their namespace. */
static void check_search(struct service *service, const char *query, const char *want, int count)
{
    AUTO(mem_free) char *path = xasprintf(ATLAS "search/basic?%s", query);
    json_auto_t *answer = service_get(service, 200, path);
    const json_t *entities = json_object_get(answer, "entities");
    AUTO(buf_done) struct buf have;

    buf_init(&have, SIZE_MAX);
    for (size_t i = 0; i < json_array_size(entities); i++) {
        const char *name = service_text(json_object_get(json_array_get(entities, i), "attributes"),
                                        "qualifiedName");

        buf_append_fmt(&have, "%s%.*s", i ? " " : "", (int)strcspn(name, "@"), name);
    }
    ck_assert_msg(strcmp(buf_text(&have), want) == 0, "%s: %s, not %s", query, buf_text(&have),
                  want);
    ck_assert_int_eq(service_number(answer, "approximateCount"), count);
}

/* ---- one entity ---- */

START_TEST(added_changed_removed)
{
    AUTO(service_free) struct service *service = tags_start();
    AUTO(mem_free) char *guid = guid_of(service, "x.t");
    AUTO(mem_free) char *path = xasprintf(ATLAS "entity/guid/%s/classifications", guid);
    AUTO(mem_free) char *one = xasprintf(ATLAS "entity/guid/%s/classification/PII", guid);
    AUTO(mem_free) char *audit = xasprintf(ATLAS "entity/%s/audit", guid);
    json_auto_t *got = NULL, *want = NULL, *list = NULL, *changed = NULL, *events_of = NULL;

    change(service, "POST", path,
           "[{'typeName': 'PII', 'attributes': {'level': '3', 'since': "
           "'2026-01-01T00:00:00.000Z'}, 'entityGuid': null, 'validityPeriods': [{'startTime': "
           "'2026/01/01 00:00:00', 'endTime': '2027/01/01 00:00:00', 'timeZone': 'UTC'}]},"
           "{'typeName': 'OLD', 'propagate': false}]");
    got = service_get(service, 200, one);
    want =
        json_pack("{s:s, s:{s:i, s:I}, s:s, s:s, s:b, s:[{s:s, s:s, s:s}], s:b, s:b}", "typeName",
                  "PII", "attributes", "level", 3, "since", (json_int_t)1767225600000, "entityGuid",
                  guid, "entityStatus", "ACTIVE", "propagate", 1, "validityPeriods", "startTime",
                  "2026/01/01 00:00:00", "endTime", "2027/01/01 00:00:00", "timeZone", "UTC",
                  "removePropagationsOnEntityDelete", 0, "restrictPropagationThroughLineage", 0);
    service_check_same(got, want, "one");
    list = service_get(service, 200, path);
    ck_assert_int_eq(service_number(list, "totalCount"), 2);
    check_tags(service, "x.t", "OLD PII");
    check_tags(service, "b1", "PII<x.t");

    change(service, "PUT", TABLE("/classifications") "x.t@cm",
           "[{'typeName': 'PII', 'attributes': {'level': null}, 'propagate': false,"
           " 'validityPeriods': []}]");
    changed = service_get(service, 200, TABLE("/classification/PII") "x.t@cm");
    ck_assert(json_is_null(json_object_get(json_object_get(changed, "attributes"), "level")));
    ck_assert_int_eq(service_number(json_object_get(changed, "attributes"), "since"),
                     1767225600000);
    ck_assert_uint_eq(json_array_size(json_object_get(changed, "validityPeriods")), 0);
    check_tags(service, "b1", "");
    /* what changes nothing makes no version */
    change(service, "PUT", path, "[{'typeName': 'PII', 'propagate': false}]");
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM classification"), 3);

    change(service, "DELETE", one, NULL);
    check_tags(service, "x.t", "OLD");
    change(service, "DELETE", TABLE("/classification/OLD") "x.t@cm", NULL);
    check_tags(service, "x.t", "");

    events_of = service_get(service, 200, audit);
    ck_assert_uint_eq(json_array_size(events_of), 6); /* two added, one changed, two removed */
    ck_assert_str_eq(service_text(json_array_get(events_of, 0), "details"),
                     "Deleted classification: OLD");
    ck_assert_str_eq(service_text(json_array_get(events_of, 1), "action"), "CLASSIFICATION_DELETE");
    ck_assert_ptr_nonnull(strstr(service_text(json_array_get(events_of, 2), "details"),
                                 "Updated classification: {\"typeName\":\"PII\",\"attributes\":{"
                                 "\"level\":null,\"since\":1767225600000}"));
    ck_assert_ptr_nonnull(strstr(service_text(json_array_get(events_of, 4), "details"),
                                 "Added classification: {\"typeName\":\"PII\",\"attributes\":{"
                                 "\"level\":3"));
    ck_assert_str_eq(service_text(json_array_get(events_of, 5), "action"), "ENTITY_CREATE");
    /* classifications are not what events say */
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM outbox WHERE notification"
                                                " LIKE '%%PII%%'"),
                     0);
}
END_TEST

static const struct {
    const char *method, *path, *body, *code, *message;
} refused_cases[] = {
    { "POST", TABLE("/classifications") "x.t@cm", "[]", "ATLAS-400-00-01A",
      "invalid parameters: classifications(s) not specified" },
    { "POST", TABLE("/classifications") "x.t@cm", "{'typeName': 'PII'}", "ATLAS-400-00-01A",
      "invalid parameters: classifications(s) not specified" },
    { "POST", TABLE("/classifications") "x.t@cm", "[{'typeName': 'none'}]", "ATLAS-404-00-008",
      "Given classification none was invalid" },
    { "POST", TABLE("/classifications") "x.t@cm", "[{'typeName': 'hive_table'}]",
      "ATLAS-404-00-008", "Given classification hive_table was invalid" },
    { "POST", TABLE("/classifications") "x.t@cm", "[7]", "ATLAS-404-00-008",
      "Given classification null was invalid" },
    { "POST", TABLE("/classifications") "x.t@cm",
      "[{'typeName': 'PII', 'attributes': {'level': "
      "'x'}}]",
      "ATLAS-400-00-01A", "invalid parameters: [PII.level=x: invalid value for type int]" },
    { "POST", TABLE("/classifications") "x.t@cm", "[{'typeName': 'STRICT'}]", "ATLAS-400-00-01A",
      "invalid parameters: [STRICT.why: mandatory attribute value missing in type STRICT]" },
    { "POST", TABLE("/classifications") "x.t@cm", "[{'typeName': 'OLD', 'propagate': 'maybe'}]",
      "ATLAS-400-00-01A", "invalid parameters: propagate must be true or false" },
    { "POST", TABLE("/classifications") "x.t@cm",
      "[{'typeName': 'OLD', 'validityPeriods': [{'startTime': '2026-01-01'}]}]", "ATLAS-400-00-87B",
      "Invalid startTime" },
    { "POST", TABLE("/classifications") "x.t@cm",
      "[{'typeName': 'OLD', 'validityPeriods': [{'startTime': '2026/01/02 00:00:00', 'endTime': "
      "'2026/01/01 00:00:00'}]}]",
      "ATLAS-400-00-87D",
      "Invalid dateRange: startTime 2026/01/02 00:00:00 must be before endTime 2026/01/01 "
      "00:00:00" },
    { "POST", TABLE("/classifications") "x.t@cm",
      "[{'typeName': 'OLD', 'validityPeriods': [{'startTime': '2026/02/31 00:00:00'}]}]",
      "ATLAS-400-00-87B", "Invalid startTime" },
    { "POST", TABLE("/classifications") "x.t@cm",
      "[{'typeName': 'OLD', 'validityPeriods': [{'startTime': '2026/02/01  0:00:00'}]}]",
      "ATLAS-400-00-87B", "Invalid startTime" },
    { "POST", TABLE("/classifications") "x.t@cm",
      "[{'typeName': 'OLD', 'validityPeriods': [{'endTime': '2026/02/01 00:00:60'}]}]",
      "ATLAS-400-00-87C", "Invalid endTime" },
    { "POST", TABLE("/classifications") "x.t@cm",
      "[{'typeName': 'OLD', 'validityPeriods': [{'endTime': 7}]}]", "ATLAS-400-00-87C",
      "Invalid endTime" },
    { "POST", TABLE("/classifications") "x.t@cm",
      "[{'typeName': 'OLD', 'validityPeriods': [{'timeZone': 7}]}]", "ATLAS-400-00-87A",
      "Invalid timezone " },
    { "POST", TABLE("/classifications") "x.t@cm", "[{'typeName': 'OLD', 'validityPeriods': [7]}]",
      "ATLAS-400-00-01A", "invalid parameters: a validity period must be an object" },
    { "POST", TABLE("/classifications") "x.t@cm", "[{'typeName': 'OLD', 'validityPeriods': 7}]",
      "ATLAS-400-00-01A", "invalid parameters: validityPeriods must be a list of 100 at most" },
    { "POST", TABLE("/classifications") "x.t@cm", "[{'typeName': 'OLD', 'attributes': 7}]",
      "ATLAS-400-00-01A", "invalid parameters: [OLD=7: invalid value for type OLD]" },
    { "POST", TABLE("/classifications") "x.t@cm", "[{'typeName': 'OLD'}, {'typeName': 'OLD'}]",
      "ATLAS-400-00-01A", "invalid parameters: classification OLD is there twice" },
    { "POST", TABLE("/classifications") "x.none@cm", "[{'typeName': 'OLD'}]", "ATLAS-404-00-009",
      "Instance hive_table with unique attribute {qualifiedName=x.none@cm} does not exist" },
    { "POST", ATLAS "entity/guid/00000000-0000-4000-8000-000000000000/classifications",
      "[{'typeName': 'OLD'}]", "ATLAS-404-00-005",
      "Given instance guid 00000000-0000-4000-8000-000000000000 is invalid/not found" },
    { "POST", ATLAS "entity/bulk/classification", "{'entityGuids': ['a']}", "ATLAS-400-00-01A",
      "invalid parameters: no classification" },
    { "POST", ATLAS "entity/bulk/classification", "{'classification': {'typeName': 'OLD'}}",
      "ATLAS-400-00-01A", "invalid parameters: empty guid list" },
    { "PUT", TABLE("/classifications") "x.t@cm", "[{'typeName': 'OLD'}]", "ATLAS-400-00-06D",
      "Classification OLD is not associated with entity" },
    { "PUT", TABLE("/classifications") "x.t@cm",
      "[{'typeName': 'PII', 'attributes': {'level': []}}]", "ATLAS-400-00-01A",
      "invalid parameters: [PII.level=[]: invalid value for type int]" },
    { "PUT", TABLE("/classifications") "x.t@cm",
      "[{'typeName': 'PII', 'entityGuid': '00000000-0000-4000-8000-000000000000'}]",
      "ATLAS-400-00-06B", "Update to classification PII is not allowed from propagated entity" },
    { "DELETE", TABLE("/classification/OLD") "x.t@cm", NULL, "ATLAS-400-00-06D",
      "Classification OLD is not associated with entity" },
    { "DELETE", TABLE("/classification/PII") "x.u@cm", NULL, "ATLAS-404-00-003", NULL },
    { "DELETE",
      ATLAS "entity/uniqueAttribute/type/ml_model_build/classification/PII?attr:qualifiedName="
            "b1@cm&associatedEntityGuid=00000000-0000-4000-8000-000000000000",
      NULL, "ATLAS-400-00-87E",
      "Removal of classification PII, which is propagated from entity "
      "00000000-0000-4000-8000-000000000000, is not supported" },
    /* where it is propagated to it can't be removed, as long as nothing else is there */
    { "DELETE",
      ATLAS "entity/uniqueAttribute/type/hive_table/classification/none?attr:qualifiedName=x.t@cm",
      NULL, "ATLAS-400-00-06D", "Classification none is not associated with entity" },
    { "GET", TABLE("/classification/OLD") "x.t@cm", NULL, "ATLAS-404-00-008",
      "Given classification OLD was invalid" },
    { "GET", ATLAS "search/basic?classification=none", NULL, "ATLAS-400-00-046",
      "none: Unknown/invalid classification" },
};

/* Nothing of a request that is refused is stored. */
START_TEST(refused)
{
    AUTO(service_free) struct service *service = tags_start();
    AUTO(mem_free) char *guid = guid_of(service, "x.t");
    AUTO(mem_free) char *other = guid_of(service, "p");
    AUTO(mem_free) char *bulk = NULL, *message = NULL, *misfit = NULL, *unfit = NULL;

    change(service, "POST", TABLE("/classifications") "x.t@cm", "[{'typeName': 'PII'}]");
    for (size_t i = 0; i < LENGTH(refused_cases); i++) {
        AUTO(mem_free) char *empty = guid_of(service, "x.u");
        AUTO(mem_free)
        char *none = xasprintf("No classifications associated with entity: %s", empty);

        service_check_refused(service, refused_cases[i].method, refused_cases[i].path,
                              refused_cases[i].body, refused_cases[i].code,
                              refused_cases[i].message ? refused_cases[i].message : none);
    }
    /* one that has it already, and one that can't have it: none gets it */
    bulk = xasprintf("{'classification': {'typeName': 'PII'}, 'entityGuids': ['%s', '%s']}", other,
                     guid);
    message = xasprintf("invalid parameters: entity: %s, already associated with classification: "
                        "PII",
                        guid);
    service_check_refused(service, "POST", ATLAS "entity/bulk/classification", bulk,
                          "ATLAS-400-00-01A", message);
    misfit = xasprintf("{'classification': {'typeName': 'TABLES'}, 'entityGuids': ['%s', '%s']}",
                       guid, other);
    unfit = xasprintf("Entity (guid=\u2018%s\u2018,typename=\u2018ml_project\u2018) cannot be "
                      "classified by Classification \u2018TABLES\u2018, because "
                      "\u2018ml_project\u2018 is not in the ClassificationDefs restrictions.",
                      other);
    service_check_refused(service, "POST", ATLAS "entity/bulk/classification", misfit,
                          "ATLAS-400-00-055", unfit);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM classification"), 1);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM entity_audit WHERE action"
                                                " LIKE 'CLASSIFICATION%%'"),
                     1);
}
END_TEST

START_TEST(many_at_once)
{
    enum { TABLES = 2500 };
    AUTO(service_free) struct service *service = tags_start();
    AUTO(buf_done) struct buf body;
    PGresult *guids;
    PGconn *conn;

    pg_exec(service->dsn,
            "INSERT INTO entity (entity_id, from_batch, created_batch, guid, type, qualified_name,"
            " is_incomplete, created_by, updated_by, attributes)"
            " SELECT nextval('entity_number'), b, b, gen_random_uuid(), 'hive_table', 'y.' || i ||"
            " '@cm', false, 'ada', 'ada', '{}' FROM (SELECT max(batch_id) AS b FROM graph_batch)"
            " AS batch, generate_series(1, %d) AS i",
            TABLES);
    conn = pg_connect(service->dsn);
    guids = PQexec(conn, "SELECT guid FROM entity WHERE qualified_name LIKE 'y.%'");
    ck_assert_int_eq(PQntuples(guids), TABLES);
    buf_init(&body, SIZE_MAX);
    buf_append_text(&body, "{'classification': {'typeName': 'PII'}, 'entityGuids': [");
    for (int i = 0; i < TABLES; i++)
        buf_append_fmt(&body, "%s'%s'", i ? "," : "", PQgetvalue(guids, i, 0));
    buf_append_text(&body, "]}");
    change(service, "POST", ATLAS "entity/bulk/classification", buf_text(&body));
    PQclear(guids);
    PQfinish(conn);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM classification"), TABLES);
    check_search(service, "classification=PII&limit=2&offset=2498", "y.2499 y.2500", TABLES);
    /* more are classified than are looked at from their side */
    change(service, "POST", TABLE("/classifications") "x.u@cm", "[{'typeName': 'OLD'}]");
    check_tags(service, "d3", "OLD<x.u");
    check_tags(service, "d1", "");
}
END_TEST

/* ---- as entities are made ---- */

#define BULK ATLAS "entity/bulk"
#define MADE(type, name, guid, tags)                                                               \
    "{'typeName': '" type "', 'guid': '" guid "', 'attributes': {'qualifiedName': '" name          \
    "@cm', 'name': '" name "'}, 'classifications': " tags "}"
#define LIST(entities) "{'entities': [" entities "]}"
/* p.u is made of p.t. */
#define PIPE(tags)                                                                                 \
    LIST(MADE("hive_table", "p.t", "-1", tags) "," MADE(                                           \
        "hive_table", "p.u", "-2",                                                                 \
        "null") ",{"                                                                               \
                "'typeName': 'Process', 'attributes': {'qualifiedName': 'p@cm', 'name': 'p'},"     \
                "'relationshipAttributes': {'inputs': [{'guid': '-1'}], 'outputs': [{'guid': "     \
                "'-2'}]}}")

/* The graph may have batches of the daemon's own beside. */
static int64_t versions(struct service *service)
{
    return pg_query_i64(service->dsn,
                        "SELECT (SELECT count(*) FROM entity WHERE NOT from_events) + (SELECT"
                        " count(*) FROM classification) + (SELECT count(*) FROM entity_audit WHERE"
                        " user_name IN ('anonymous', 'plumbline'))");
}

/* With the first of its versions, in its batch; another write of it says nothing of them. */
START_TEST(made_with_them)
{
    AUTO(service_free) struct service *service = tags_start();
    json_auto_t *audit = NULL;
    AUTO(mem_free) char *guid = NULL, *path = NULL;
    int64_t before;

    json_decref(service_ask(service, 200, "POST", BULK,
                            PIPE("[{'typeName': 'PII', 'attributes': {'level': '3'}},"
                                 " {'typeName': 'OLD', 'propagate': false, 'entityGuid': '-1'},"
                                 " {'typeName': 'EMAIL', 'entityGuid': '-2'}]")));
    check_tags(service, "p.t", "OLD PII"); /* what is on another does not count */
    check_tags(service, "p.u", "PII<p.t");
    guid = guid_of(service, "p.t");
    path = xasprintf(ATLAS "entity/%s/audit", guid);
    audit = service_get(service, 200, path);
    ck_assert_uint_eq(json_array_size(audit), 3);
    ck_assert_int_eq(pg_query_i64(service->dsn,
                                  "SELECT count(*) FROM entity AS e JOIN classification AS c"
                                  " USING (entity_id, from_batch) WHERE e.guid = '%s'"
                                  " AND c.created_by = e.created_by",
                                  guid),
                     2);

    before = versions(service);
    json_decref(service_ask(service, 200, "POST", BULK, PIPE("[{'typeName': 'EMAIL'}]")));
    json_decref(service_ask(service, 200, "POST", BULK, PIPE("[{'typeName': 'unknown'}]")));
    json_decref(service_ask(service, 200, "POST", BULK, PIPE("[]")));
    json_decref(service_ask(service, 200, "PUT", TABLE("") "p.t@cm",
                            "{'entity': {'classifications': [{'typeName': 'EMAIL'}]}}"));
    ck_assert_int_eq(versions(service), before);
    check_tags(service, "p.t", "OLD PII");
}
END_TEST

/* What a build made known is there; what was deleted is made anew. */
START_TEST(made_before_and_again)
{
    AUTO(service_free) struct service *service = tags_start();
    AUTO(mem_free) char *state = NULL;

    json_decref(service_ask(service, 200, "POST", BULK,
                            LIST(MADE("hive_table", "x.t", "-1", "[{'typeName': 'PII'}]"))));
    check_tags(service, "x.t", "");
    json_decref(service_ask(service, 200, "POST", BULK,
                            LIST(MADE("hive_table", "p.t", "-1", "[{'typeName': 'PII'}]"))));
    json_decref(service_ask(service, 200, "DELETE", TABLE("") "p.t@cm", NULL));
    json_decref(service_ask(service, 200, "POST", BULK,
                            LIST(MADE("hive_table", "p.t", "-1", "[{'typeName': 'OLD'}]"))));
    state = pg_query_text(service->dsn,
                          "SELECT string_agg(c.type || ' ' || e.is_deleted, ', ' ORDER BY c.type)"
                          " FROM classification AS c JOIN entity AS e USING (entity_id)"
                          " WHERE c.to_batch IS NULL AND e.to_batch IS NULL");
    ck_assert_str_eq(state, "OLD false, PII true");
    /* of two views of one entity the latter's */
    json_decref(
        service_ask(service, 200, "POST", BULK,
                    LIST(MADE("hive_table", "p.v", "-1",
                              "[{'typeName': 'PII', 'attributes': {'level': 1}}, {'typeName': "
                              "'OLD'}]") "," MADE("hive_table", "p.v", "-2",
                                                  "[{'typeName': 'PII', 'attributes': {'level': "
                                                  "2}}]"))));
    check_tags(service, "p.v", "OLD PII");
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT (attributes ->> 'level')::int FROM"
                                                " classification WHERE attributes ? 'level'"),
                     2);
}
END_TEST

static const struct {
    const char *tags, *code, *message;
} unmade_cases[] = {
    { "7", "ATLAS-400-00-029", "classifications must be a list" },
    { "[7]", "ATLAS-404-00-008", "Given classification null was invalid" },
    { "[{'typeName': 'NONE'}]", "ATLAS-404-00-008", "Given classification NONE was invalid" },
    { "[{'typeName': 'hive_table'}]", "ATLAS-404-00-008",
      "Given classification hive_table was invalid" },
    { "[{'typeName': 'OLD'}, {'typeName': 'PII'}, {'typeName': 'OLD'}]", "ATLAS-400-00-01A",
      "invalid parameters: classification OLD is there twice" },
    { "[{'typeName': 'STRICT'}]", "ATLAS-400-00-01A",
      "invalid parameters: [STRICT.why: mandatory attribute value missing in type STRICT]" },
    { "[{'typeName': 'TABLES'}]", "ATLAS-400-00-055", NULL },
};

/* All of the request or nothing. */
START_TEST(not_made_with_them)
{
    AUTO(service_free) struct service *service = tags_start();
    int64_t before = versions(service);

    for (size_t i = 0; i < LENGTH(unmade_cases); i++) {
        AUTO(mem_free)
        char *body =
            xasprintf("{'entities': [" MADE("hive_table", "p.t", "-1",
                                            "[]") "," MADE("Process", "p", "-2", "%s") "]}",
                      unmade_cases[i].tags);
        const char *code = unmade_cases[i].code;
        json_auto_t *answer =
            service_ask(service, strtol(code + strlen("ATLAS-"), NULL, 10), "POST", BULK, body);

        service_check_fault(answer, code, unmade_cases[i].message);
    }
    ck_assert_int_eq(versions(service), before);
}
END_TEST

/* ---- set for many ---- */

#define SET BULK "/setClassifications"
#define HEADER(type, name, more)                                                                   \
    "{'typeName': '" type "', 'attributes': {'qualifiedName': '" name "@cm'}" more "}"

/* What is answered, with an asterisk for each guid. */
static void check_set(struct service *service, const char *body, const char *want)
{
    json_auto_t *answer = service_ask(service, 200, "POST", SET, body);
    AUTO(mem_free) char *have = json_dumps(answer, JSON_COMPACT);
    AUTO(buf_done) struct buf text;
    struct uuid uuid;

    buf_init(&text, SIZE_MAX);
    for (const char *at = have; *at; at++) {
        bool is_guid = uuid_parse(&uuid, (struct span){ at, strnlen(at, UUID_TEXT_LEN) }) == 0;

        buf_append_char(&text, is_guid ? '*' : *at);
        at += is_guid ? UUID_TEXT_LEN - 1 : 0;
    }
    ck_assert_str_eq(buf_text(&text), want);
}

START_TEST(set_for_many)
{
    AUTO(service_free) struct service *service = tags_start();
    AUTO(mem_free) char *level = NULL;
    int64_t before;

    change(service, "POST", TABLE("/classifications") "x.t@cm",
           "[{'typeName': 'OLD'}, {'typeName': 'PII', 'attributes': {'level': 3}}]");
    check_set(service,
              "{'guidHeaderMap': {'1': " HEADER(
                  "hive_table", "x.t",
                  ", 'guid': 'G', 'classifications': [{'typeName': 'PII', 'attributes': {'since': "
                  "7}}, {'typeName': 'EMAIL', 'entityGuid': 'g'}, {'typeName': 'STRICT', "
                  "'entityGuid': 'x'}, {'typeName': 'TABLES'}]") "}}",
              "[\"Delete:*:hive_table:x.t@cm -> OLD:(Done)\","
              "\"Update:*:hive_table:x.t@cm -> PII:(Done)\","
              "\"Add:*:hive_table:x.t@cm -> EMAIL, TABLES:(Done)\"]");
    check_tags(service, "x.t", "PII EMAIL TABLES");
    check_tags(service, "d1", "PII<x.t EMAIL<x.t");
    level = pg_query_text(service->dsn, "SELECT attributes::text FROM classification WHERE type ="
                                        " 'PII' AND to_batch IS NULL");
    ck_assert_str_eq(level, "{\"level\": 3, \"since\": 7}");
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(DISTINCT batch_id) FROM entity_audit"
                                                " WHERE action LIKE 'CLASSIFICATION%%'"),
                     2);

    before = versions(service); /* again: nothing is done, and that is said alike */
    check_set(service,
              "{'guidHeaderMap': {'1': " HEADER(
                  "DataSet", "x.t",
                  ", 'classifications': [{'typeName': 'PII'}, {'typeName': 'EMAIL'}, {'typeName': "
                  "'TABLES'}]") "}}",
              "[\"Update:*:DataSet:x.t@cm -> PII, EMAIL, TABLES:(Done)\"]");
    ck_assert_int_eq(versions(service), before);
    check_set(service, "{'guidHeaderMap': {'1': " HEADER("hive_table", "x.t", "") "}}",
              "[\"Delete:*:hive_table:x.t@cm -> PII, EMAIL, TABLES:(Done)\"]");
    check_tags(service, "x.t", "");
    check_set(service, "{'guidHeaderMap': {'1': " HEADER("hive_table", "x.t", "") "}}", "[]");
}
END_TEST

/* What can't be is left out, list by list, and the rest is done. */
START_TEST(set_in_part)
{
    AUTO(service_free) struct service *service = tags_start();
    int64_t before;

    change(service, "POST",
           ATLAS "entity/uniqueAttribute/type/ml_project/classifications?attr:qualifiedName=p@cm",
           "[{'typeName': 'OLD'}, {'typeName': 'PII'}]");
    check_set(service,
              "{'guidHeaderMap': {'1': {'typeName': 'none'}, '2': {}, '3': {'typeName': 'PII'},"
              "'4': {'typeName': 'hive_table'}, '5': " HEADER(
                  "hive_table", "x.none",
                  "") ","
                      "'6': " HEADER(
                          "ml_project", "p",
                          ", 'classifications': [{'typeName': 'PII', 'attributes': {'level': 'x'}},"
                          "{'typeName': 'EMAIL'}, {'typeName': 'TABLES'}]") ","
                                                                            "'7': " HEADER(
                                                                                "hive_table", "x.u",
                                                                                ", "
                                                                                "'classifications':"
                                                                                " [{'typeName': "
                                                                                "'OLD'}]") "}}",
              "[\"none: (Skipped)\",\"null: (Skipped)\",\"PII: (Skipped)\","
              "\"Entity:hive_table:<no unique name>:[Not found]:(Skipped)\","
              "\"Entity:hive_table:x.none@cm:[Not found]:(Skipped)\","
              "\"Delete:*:ml_project:p@cm -> OLD:(Done)\","
              "\"Update:*:ml_project:p@cm -> PII:(Partial)\","
              "\"Add:*:ml_project:p@cm -> EMAIL, TABLES:(Partial)\","
              "\"Add:*:hive_table:x.u@cm -> OLD:(Done)\"]");
    check_tags(service, "p", "PII");
    check_tags(service, "x.u", "OLD");

    before = versions(service);
    service_check_refused(service, "POST", SET,
                          "{'guidHeaderMap': {'1': " HEADER("DataSet", "x.u",
                                                            "") ",'2': " HEADER("hive_table", "x.u",
                                                                                "") "}}",
                          "ATLAS-400-00-01A",
                          "invalid parameters: entity hive_table x.u@cm is there twice");
    service_check_refused(service, "POST", SET, "[]", "ATLAS-400-00-01A",
                          "invalid parameters: guidHeaderMap not specified");
    service_check_refused(service, "GET", SET, NULL, "ATLAS-405-00-001",
                          "v2/entity/bulk/setClassifications takes POST");
    check_set(service, "{'guidHeaderMap': {}}", "[]");
    ck_assert_int_eq(versions(service), before);
}
END_TEST

/* How many entities the answer has; *x_t: whether x.t is one, with what it is classified by. */
static size_t changed_since(struct service *service, int64_t since_ms, const char *x_t)
{
    AUTO(mem_free)
    char *path = xasprintf(BULK "/headers?tagUpdateStartTime=%" PRId64, since_ms);
    json_auto_t *answer = service_get(service, 200, path);
    AUTO(mem_free) char *guid = guid_of(service, "x.t");
    const json_t *map = json_object_get(answer, "guidHeaderMap"), *header;

    ck_assert(json_is_object(map));
    header = json_object_get(map, guid);
    ck_assert_int_eq(header != NULL, x_t != NULL);
    if (x_t) {
        AUTO(mem_free)
        char *have = describe(service, guid, json_object_get(header, "classifications"));

        ck_assert_str_eq(have, x_t);
        ck_assert_str_eq(service_text(header, "guid"), guid);
    }
    return json_object_size(map);
}

/* Those of which one was added, changed or taken away, not those that it reached. */
START_TEST(changed_since_then)
{
    AUTO(service_free) struct service *service = tags_start();
    int64_t then_ms;

    ck_assert_uint_eq(changed_since(service, 0, NULL), 0);
    change(service, "POST", TABLE("/classifications") "x.t@cm",
           "[{'typeName': 'OLD'}, {'typeName': 'PII'}]");
    change(service, "POST", TABLE("/classifications") "x.u@cm", "[{'typeName': 'PII'}]");
    ck_assert_uint_eq(changed_since(service, 0, "OLD PII"), 2);
    pg_exec(service->dsn, "UPDATE graph_batch SET recorded_at = recorded_at - interval '1 hour'");
    /* the newest batch may be one of the background's */
    then_ms = pg_query_i64(service->dsn, "SELECT floor(extract(epoch FROM max(recorded_at)) *"
                                         " 1000)::bigint FROM graph_batch"
                                         " JOIN classification ON from_batch = batch_id");
    change(service, "DELETE", TABLE("/classification/OLD") "x.t@cm", NULL);
    ck_assert_uint_eq(changed_since(service, then_ms + 1, "PII"), 1);
    change(service, "DELETE", TABLE("/classification/PII") "x.t@cm", NULL);
    ck_assert_uint_eq(changed_since(service, then_ms, ""), 2);
    service_check_refused(service, "GET", BULK "/headers?tagUpdateStartTime=x", NULL,
                          "ATLAS-400-00-029",
                          "tagUpdateStartTime must be a whole number of milliseconds: \"x\"");
    service_check_refused(service, "GET", BULK "/headers?tagUpdateStartTime=99999999999999", NULL,
                          "ATLAS-400-00-029", "fromTimestamp should be less than toTimestamp");
}
END_TEST

/* ---- what it reaches ---- */

START_TEST(reaches_what_was_made_of_it)
{
    AUTO(service_free) struct service *service = tags_start();

    check_impact(service, "classification=PII", "");
    change(service, "POST", TABLE("/classifications") "x.u@cm", "[{'typeName': 'EMAIL'}]");
    check_tags(service, "x.u", "EMAIL");
    check_tags(service, "x.t", "");
    check_tags(service, "b1", "");
    check_tags(service, "b2:train_build", "EMAIL<x.u");
    check_tags(service, "d3", "EMAIL<x.u");
    change(service, "POST", TABLE("/classifications") "x.t@cm",
           "[{'typeName': 'PII'}, {'typeName': 'TABLES'}]");
    check_tags(service, "d3", "EMAIL<x.u PII<x.t");
    check_tags(service, "b3", "EMAIL<x.u PII<x.t TABLES<x.t"); /* not the process, not d3 */

    check_search(service, "classification=PII&typeName=ml_model_deployment", "d1 d2 d3", 3);
    check_search(service, "classification=PII&typeName=ml_model_deployment&limit=1&offset=1", "d2",
                 3);
    check_search(service, "classification=EMAIL&typeName=ml_model_deployment", "d2 d3", 2);
    check_search(service, "classification=PII&includeSubClassifications=false&typeName=hive_table",
                 "x.t", 1);
    check_search(service, "classification=PII&typeName=hive_table", "x.t x.u", 2);
    check_search(service, "classification=TABLES", "x.t b1 b2 b3", 4);
    check_search(service, "classification=OLD,EMAIL&typeName=ml_model_build", "b2 b3", 2);
    check_search(service, "classification=_NOT_CLASSIFIED", "p", 1);
    check_search(service, "classification=OLD", "", 0);
    check_search(service, "classification=*&typeName=ml_project", "", 0);
    check_search(service, "classification=_CLASSIFIED&query=train*",
                 "b1:train_build b2:train_build b3:train_build", 3);

    check_impact(service, "classification=PII", "d1/2 d2/2 d3/3");
    check_impact(service, "classification=EMAIL", "d2/2 d3/3");
    check_impact(service, "classification=EMAIL&direct=true", "d2/2");
    check_impact(service, "classification=TABLES",
                 "d1/2 d2/2 d3/3"); /* are behind it all the same */
    check_impact(service, "classification=OLD", "");
}
END_TEST

/* What is changed behind the daemon's back has a batch of its own as well: by it is known that what
 * was kept of the graph is old. */
#define IN_A_BATCH "SELECT graph_begin();"

static void relationship_delete(struct service *service, const char *from, const char *to)
{
    pg_exec(service->dsn,
            IN_A_BATCH "UPDATE relationship SET is_deleted = true WHERE to_batch IS NULL"
                       " AND end1 = (SELECT entity_id FROM entity WHERE qualified_name = '%s@cm')"
                       " AND end2 = (SELECT entity_id FROM entity WHERE qualified_name = '%s@cm')",
            from, to);
}

static void entity_delete(struct service *service, const char *name)
{
    pg_exec(service->dsn,
            IN_A_BATCH
            "UPDATE entity SET is_deleted = true WHERE to_batch IS NULL AND qualified_name ="
            " '%s@cm'",
            name);
}

START_TEST(passes_over_nothing_deleted)
{
    AUTO(service_free) struct service *service = tags_start();

    change(service, "POST", TABLE("/classifications") "x.u@cm", "[{'typeName': 'PII'}]");
    check_tags(service, "d3", "PII<x.u");
    relationship_delete(service, "b3:train_build", "b2");
    check_tags(service, "b3", "");
    check_tags(service, "d2", "PII<x.u");
    check_impact(service, "classification=PII", "d2/2");
    check_search(service, "classification=PII&typeName=ml_model_deployment", "d2", 1);
    entity_delete(service, "b2");
    check_tags(service, "b2", "");
    check_tags(service, "d2", "");
    check_impact(service, "classification=PII", "");
    change(service, "POST", TABLE("/classifications") "x.t@cm", "[{'typeName': 'PII'}]");
    check_tags(service, "d1", "PII<x.t");
    entity_delete(service, "x.t");
    check_tags(service, "d1", "");
    check_search(service, "classification=PII", "x.t b2:train_build x.u", 3);
}
END_TEST

START_TEST(restricted)
{
    AUTO(service_free) struct service *service = tags_start();

    change(service, "POST", TABLE("/classifications") "x.t@cm",
           "[{'typeName': 'PII', 'restrictPropagationThroughLineage': true}, "
           "{'typeName': 'OLD', 'propagate': false}]");
    check_tags(service, "x.t", "OLD PII");
    check_tags(service, "d1", "");
    check_impact(service, "classification=PII", "");
    check_search(service, "classification=PII,OLD", "x.t", 1);

    /* not over lineage, but over what is none */
    json_decref(
        service_ask(service, 200, "POST", TYPEDEFS,
                    "{'relationshipDefs': [{'name': 'copy_of', 'relationshipCategory': "
                    "'ASSOCIATION', 'propagateTags': 'TWO_TO_ONE', 'endDef1': {'type': "
                    "'hive_table', 'name': 'copyOf', 'cardinality': 'SINGLE'}, 'endDef2': {'type': "
                    "'hive_table', 'name': 'copies', 'cardinality': 'SET'}}]}"));
    pg_exec(service->dsn, IN_A_BATCH
            "INSERT INTO relationship (relationship_id, from_batch, created_batch, guid, type,"
            " end1, end2, created_by, updated_by)"
            " SELECT nextval('relationship_number'), t.from_batch, t.from_batch, gen_random_uuid(),"
            " 'copy_of', u.entity_id, t.entity_id, 'ada', 'ada' FROM entity AS t, entity AS u"
            " WHERE t.qualified_name = 'x.t@cm' AND u.qualified_name = 'x.u@cm'");
    check_tags(service, "x.u", "PII<x.t");
    check_tags(service, "d2", "");
    change(service, "PUT", TABLE("/classifications") "x.t@cm",
           "[{'typeName': 'PII', 'restrictPropagationThroughLineage': false}]");
    check_tags(service, "d3", "PII<x.t");
    check_impact(service, "classification=PII", "d1/2 d2/2 d3/3");
}
END_TEST

static int64_t moment_now(struct service *service)
{
    int64_t ms = pg_query_i64(service->dsn,
                              "SELECT floor(extract(epoch FROM greatest(clock_timestamp(), (SELECT"
                              " max(recorded_at) FROM graph_batch))) * 1000)::bigint");

    WAIT_UNTIL(WAIT_MS, pg_query_i64(service->dsn, "SELECT floor(extract(epoch FROM"
                                                   " clock_timestamp()) * 1000)::bigint") > ms);
    return ms;
}

static void entity_remove(struct service *service, const char *name)
{
    AUTO(mem_free) char *guid = guid_of(service, name);
    AUTO(mem_free) char *path = xasprintf(ATLAS "entity/guid/%s", guid);

    json_decref(service_ask(service, 200, "DELETE", path, NULL));
}

/* removePropagationsOnEntityDelete is shown as it was given: what is deleted passes nothing on
 * whatever it says. */
START_TEST(deleted_by_clients)
{
    AUTO(service_free) struct service *service = tags_start();
    AUTO(mem_free) char *guid = guid_of(service, "x.u"), *path = NULL;
    json_auto_t *made = NULL, *got = NULL, *other = NULL;
    int64_t before;

    change(service, "POST", TABLE("/classifications") "x.t@cm",
           "[{'typeName': 'PII', 'removePropagationsOnEntityDelete': false},"
           " {'typeName': 'OLD', 'removePropagationsOnEntityDelete': true}]");
    change(service, "POST", TABLE("/classifications") "x.u@cm", "[{'typeName': 'EMAIL'}]");
    check_tags(service, "d2", "OLD<x.t PII<x.t EMAIL<x.u");
    before = moment_now(service);
    entity_remove(service, "x.t");
    check_tags(service, "d2", "EMAIL<x.u");
    check_tags_as_of(service, "d2", before, "OLD<x.t PII<x.t EMAIL<x.u");
    check_tags(service, "x.t", "OLD PII");
    check_search(service, "classification=OLD", "x.t", 1);
    check_search(service, "classification=OLD&excludeDeletedEntities=true", "", 0);
    check_impact(service, "classification=OLD", "");

    /* one that is deleted can be classified as well, and the other can be again */
    entity_remove(service, "x.u");
    check_tags(service, "d2", "");
    path = xasprintf(ATLAS "entity/guid/%s/classifications", guid);
    change(service, "POST", path, "[{'typeName': 'OLD'}]");
    check_tags(service, "x.u", "EMAIL OLD");
    got = service_get(service, 200, path);
    ck_assert_str_eq(service_text(json_array_get(json_object_get(got, "list"), 0), "entityStatus"),
                     "DELETED");
    made =
        service_ask(service, 200, "POST", ATLAS "entity",
                    "{'entity': {'typeName': 'hive_table', 'attributes': {'name': 'u', 'db': null,"
                    " 'qualifiedName': 'x.u@cm'}}}");
    other = service_get(service, 200, TABLE("/classifications") "x.u@cm");
    ck_assert_uint_eq(json_array_size(json_object_get(other, "list")), 0); /* is another one */
}
END_TEST

/* What was read of an entity can be sent back to it, or to another one. */
START_TEST(sent_back)
{
    AUTO(service_free) struct service *service = tags_start();
    AUTO(mem_free) char *build = guid_of(service, "b1"), *table = guid_of(service, "x.u");
    AUTO(mem_free) char *path = xasprintf(ATLAS "entity/guid/%s/classifications", build);
    AUTO(mem_free) char *sent = NULL, *bulk = NULL;
    json_auto_t *read = NULL;

    change(service, "POST", TABLE("/classifications") "x.t@cm", "[{'typeName': 'PII'}]");
    read = service_get(service, 200, path);
    sent = json_dumps(json_object_get(read, "list"), JSON_COMPACT);
    ck_assert_ptr_nonnull(strstr(sent, "\"typeName\":\"PII\""));
    change(service, "POST", path, sent);
    check_tags(service, "b1", "PII<x.t");
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM classification"), 1);
    /* the tables are of another entity; without `propagate` it is meant */
    bulk = xasprintf("{'classification': {'typeName': 'OLD', 'propagate': true, 'entityGuid': '%s'}"
                     ", 'entityGuids': ['%s', '%s']}",
                     table, table, build);
    change(service, "POST", ATLAS "entity/bulk/classification", bulk);
    check_tags(service, "b1", "PII<x.t");
    check_tags(service, "x.u", "OLD");
    mem_free(sent);
    sent = xasprintf("[{'typeName': 'OLD', 'entityGuid': '%s'}]", table);
    change(service, "POST", path, sent);
    check_tags(service, "b1", "OLD PII<x.t");
}
END_TEST

/* What is known by its name alone keeps what it was classified by when it is described; tables of
 * linking files, which are counted as well. */
START_TEST(shell_completed)
{
    AUTO(service_free) struct service *service = tags_start();
    AUTO(mem_free) char *guid = NULL, *same = NULL;
    json_auto_t *metrics = NULL;
    json_t *tag;

    service_take(service, DEPLOYED("s1", "e1"));
    guid = guid_of(service, "s1");
    change(service, "POST",
           ATLAS "entity/uniqueAttribute/type/ml_model_build/classifications?attr:qualifiedName="
                 "s1@cm",
           "[{'typeName': 'PII'}]");
    check_tags(service, "e1", "PII<s1");
    service_take(service, BUILT("s1", LINKED("x.u")));
    change(service, "POST", TABLE("/classifications") "x.u@cm", "[{'typeName': 'PII'}]");
    same = guid_of(service, "s1");
    ck_assert_str_eq(same, guid);
    check_tags(service, "s1", "PII PII<x.u");
    check_tags(service, "e1", "PII<s1 PII<x.u");

    entity_delete(service, "x.u");
    metrics = service_get(service, 200, "/api/atlas/admin/metrics");
    tag = json_object_get(json_object_get(json_object_get(metrics, "data"), "tag"), "tagEntities");
    ck_assert_uint_eq(json_object_size(tag), 1);
    ck_assert_int_eq(service_number(tag, "PII"), 1); /* that of the build alone is active */
    ck_assert_int_eq(service_number(json_object_get(json_object_get(metrics, "data"), "general"),
                                    "tagCount"),
                     5);
}
END_TEST

/* Whoever says who they are stands in the audit and in the types, for all kinds of changes. */
START_TEST(by_whom)
{
    static const char *const ada[] = { "Authorization: Basic YWRhOng=", NULL }; /* ada:x */
    static const struct {
        const char *method, *path, *body;
    } changes[] = {
        { "POST", TYPEDEFS, "{\"classificationDefs\":[{\"name\":\"HERS\"}]}" },
        { "POST", TABLE("/classifications") "x.t@cm", "[{\"typeName\":\"HERS\"}]" },
        { "PUT", TABLE("/classifications") "x.t@cm",
          "[{\"typeName\":\"HERS\",\"propagate\":false}]" },
        { "DELETE", TABLE("/classification/HERS") "x.t@cm", NULL },
    };
    AUTO(service_free) struct service *service = tags_start();
    AUTO(http_free) struct http *http = http_new();
    json_auto_t *type = NULL;

    for (size_t i = 0; i < LENGTH(changes); i++) {
        AUTO(mem_free) char *url = daemon_url(service->daemon, changes[i].path);
        AUTO(http_answer_free)
        struct http_answer *answer =
            http_send(http, &(struct http_request){ .method = changes[i].method,
                                                    .url = url,
                                                    .body = changes[i].body,
                                                    .headers = ada });

        ck_assert_int_eq(answer->status, i ? 204 : 200);
    }
    ck_assert_int_eq(pg_query_i64(service->dsn,
                                  "SELECT count(*) FROM entity_audit WHERE user_name = 'ada'"
                                  " AND action LIKE 'CLASSIFICATION%%'"),
                     3);
    type = service_get(service, 200, ATLAS "types/classificationdef/name/HERS");
    ck_assert_str_eq(service_text(type, "createdBy"), "ada");
    change(service, "POST", TABLE("/classifications") "x.t@cm", "[{'typeName': 'OLD'}]");
    ck_assert_int_eq(pg_query_i64(service->dsn,
                                  "SELECT count(*) FROM entity_audit WHERE user_name = 'anonymous'"
                                  " AND action LIKE 'CLASSIFICATION%%'"),
                     1);
}
END_TEST

/* Each kind of change waits for the graph no longer than any other. */
START_TEST(waits_are_bounded)
{
    static const char *const environment[] = { "PLUMBLINE_COMMIT_TIMEOUT_MS=200ms", NULL };
    static const struct {
        const char *method, *path, *body;
    } changes[] = {
        { "POST", TYPEDEFS, "{'classificationDefs': [{'name': 'LATE'}]}" },
        { "POST", TABLE("/classifications") "x.t@cm", "[{'typeName': 'PII'}]" },
        { "DELETE", ATLAS "types/typedef/name/OLD", NULL },
    };
    AUTO(service_free) struct service *one = tags_start();
    AUTO(service_free)
    struct service *service =
        service_start_with(&(struct daemon_options){ .dsn = one->dsn, .environment = environment });
    PGconn *conn = pg_connect(one->dsn);

    PQclear(PQexec(conn, "BEGIN; SELECT pg_advisory_xact_lock(7236, 4)"));
    ck_assert_int_eq(PQtransactionStatus(conn), PQTRANS_INTRANS);
    for (size_t i = 0; i < LENGTH(changes); i++)
        json_decref(service_ask(service, 503, changes[i].method, changes[i].path, changes[i].body));
    PQclear(PQexec(conn, "ROLLBACK"));
    PQfinish(conn);
    for (size_t i = 0; i < LENGTH(changes); i++)
        json_decref(service_ask(service, i ? 204 : 200, changes[i].method, changes[i].path,
                                changes[i].body));
}
END_TEST

/* A deployment of which metrics alone tell has no process, but a build. */
START_TEST(metrics_alone)
{
    AUTO(service_free) struct service *service = tags_start();

    service_take(service, "[{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"e\","
                          "\"modelBuildCrn\":\"b1\",\"predictionUuid\":"
                          "\"00000000-0000-4000-8000-000000000001\",\"startTimestampMs\":"
                          "1704067200000,\"endTimestampMs\":1704067200001,\"metrics\":{}}]");
    WAIT_UNTIL(WAIT_MS, pg_query_i64(service->dsn, "SELECT count(*) FROM relationship AS r JOIN"
                                                   " entity AS e ON e.entity_id = r.end2 WHERE"
                                                   " e.qualified_name = 'e@cm'") > 0);
    change(service, "POST", TABLE("/classifications") "x.t@cm", "[{'typeName': 'PII'}]");
    check_tags(service, "e", "PII<x.t");
    check_search(service, "classification=PII&query=e@cm", "e", 1);
    check_impact(service, "classification=PII", "d1/2 d2/2 d3/3 e/2");
}
END_TEST

/* Each header of a lineage has what the entity itself has. */
START_TEST(shown_in_lineage)
{
    AUTO(service_free) struct service *service = tags_start();
    json_auto_t *lineage = NULL, *bulk = NULL;
    AUTO(mem_free) char *guid = guid_of(service, "d3");
    AUTO(mem_free) char *path = xasprintf(ATLAS "lineage/%s?direction=INPUT&depth=2", guid);
    AUTO(mem_free) char *bulk_path = xasprintf(ATLAS "entity/bulk?guid=%s", guid);
    const char *key;
    json_t *header;

    change(service, "POST", TABLE("/classifications") "x.t@cm",
           "[{'typeName': 'PII'}, {'typeName': 'TABLES'}]");
    change(service, "POST", TABLE("/classifications") "x.u@cm", "[{'typeName': 'PII'}]");
    lineage = service_get(service, 200, path); /* the tables are beyond it */
    ck_assert_uint_ge(json_object_size(json_object_get(lineage, "guidEntityMap")), 4);
    json_object_foreach(json_object_get(lineage, "guidEntityMap"), key, header)
    {
        AUTO(mem_free) char *one = xasprintf(ATLAS "entity/guid/%s/header", key);
        json_auto_t *want = service_get(service, 200, one);

        service_check_same(header, want, key);
    }
    header = json_object_get(json_object_get(lineage, "guidEntityMap"), guid);
    ck_assert_uint_eq(json_array_size(json_object_get(header, "classificationNames")), 1);
    ck_assert_uint_eq(json_array_size(json_object_get(header, "classifications")), 2);
    bulk = service_get(service, 200, bulk_path);
    service_check_same(json_object_get(json_array_get(json_object_get(bulk, "entities"), 0),
                                       "classifications"),
                       json_object_get(header, "classifications"), "bulk");
}
END_TEST

/* ---- at other moments, and by others ---- */

START_TEST(as_of)
{
    AUTO(service_free) struct service *service = tags_start();
    int64_t none = moment_now(service), tagged, changed, removed;
    AUTO(mem_free) char *impact_none = NULL, *impact_tagged = NULL, *impact_changed = NULL;
    AUTO(mem_free) char *guid = guid_of(service, "d1"), *path = NULL, *later = NULL;
    json_auto_t *first = NULL, *second = NULL;

    change(service, "POST", TABLE("/classifications") "x.t@cm",
           "[{'typeName': 'PII', 'attributes': {'level': 1}}]");
    tagged = moment_now(service);
    change(service, "PUT", TABLE("/classifications") "x.t@cm",
           "[{'typeName': 'PII', 'propagate': false}]");
    changed = moment_now(service);
    change(service, "DELETE", TABLE("/classification/PII") "x.t@cm", NULL);
    removed = moment_now(service);
    change(service, "POST", TABLE("/classifications") "x.t@cm", "[{'typeName': 'OLD'}]");

    check_tags_as_of(service, "d1", none, "");
    check_tags_as_of(service, "d1", tagged, "PII<x.t");
    check_tags_as_of(service, "d1", changed, "");
    check_tags_as_of(service, "x.t", changed, "PII");
    check_tags_as_of(service, "x.t", removed, "");
    check_tags(service, "d1", "OLD<x.t");
    impact_none = xasprintf("classification=PII&as_of=%" PRId64, none);
    check_impact(service, impact_none, "");
    impact_tagged = xasprintf("classification=PII&as_of=%" PRId64, tagged);
    check_impact(service, impact_tagged, "d1/2 d2/2 d3/3");
    impact_changed = xasprintf("classification=PII&as_of=%" PRId64, changed);
    check_impact(service, impact_changed, "");
    path = xasprintf(ATLAS "lineage/%s?as_of=%" PRId64, guid, tagged);
    first = service_get(service, 200, path);
    ck_assert_str_eq(json_string_value(json_array_get(
                         json_object_get(json_object_get(json_object_get(first, "guidEntityMap"),
                                                         guid),
                                         "classificationNames"),
                         0)),
                     "PII");
    later = xasprintf(ATLAS "lineage/%s?as_of=%" PRId64, guid, removed);
    second = service_get(service, 200, later);
    ck_assert_uint_eq(json_array_size(json_object_get(
                          json_object_get(json_object_get(second, "guidEntityMap"), guid),
                          "classifications")),
                      0);
}
END_TEST

/* All pages of a walk are of the graph of the first one. */
START_TEST(impact_in_pages)
{
    AUTO(service_free) struct service *service = tags_start();
    AUTO(mem_free) char *next = NULL, *other = NULL;
    json_auto_t *page = NULL, *rest = NULL, *refusal = NULL, *both = NULL, *unknown = NULL;

    change(service, "POST", TABLE("/classifications") "x.t@cm", "[{'typeName': 'PII'}]");
    page = service_get(service, 200, "/v1/impact?classification=PII&limit=2");
    ck_assert_uint_eq(json_array_size(json_object_get(page, "deployments")), 2);
    ck_assert_str_eq(service_text(json_object_get(page, "classification"), "typeName"), "PII");
    ck_assert_int_eq(service_number(json_object_get(page, "classification"), "entities"), 1);
    change(service, "DELETE", TABLE("/classification/PII") "x.t@cm", NULL);
    next = xasprintf("/v1/impact?classification=PII&limit=2&cursor=%s",
                     service_text(page, "nextCursor"));
    rest = service_get(service, 200, next);
    ck_assert_str_eq(service_text(json_array_get(json_object_get(rest, "deployments"), 0),
                                  "modelDeploymentCrn"),
                     "d3");
    other = xasprintf("/v1/impact?classification=OLD&limit=2&cursor=%s",
                      service_text(page, "nextCursor"));
    refusal = service_get(service, 400, other);
    service_check_error(refusal, "invalid_parameter", "cursor",
                        "the cursor belongs to another query: only \"limit\" may change from page "
                        "to page",
                        "another classification");
    both = service_get(service, 400, "/v1/impact?classification=PII&type=hive_table");
    service_check_error(both, "invalid_parameter", "classification",
                        "\"classification\" stands in the place of \"type\" and \"qualifiedName\"",
                        "both");
    unknown = service_get(service, 400, "/v1/impact?classification=none");
    service_check_error(unknown, "invalid_parameter", "classification",
                        "no classification is called \"none\"", "unknown");
}
END_TEST

/* A type that something is classified by stays; what once was does not hold it. */
START_TEST(types_in_use)
{
    AUTO(service_free) struct service *service = tags_start();

    change(service, "POST", TABLE("/classifications") "x.t@cm", "[{'typeName': 'OLD'}]");
    service_check_refused(service, "DELETE", ATLAS "types/typedef/name/OLD", NULL,
                          "ATLAS-409-00-002", "Given type OLD has references");
    change(service, "DELETE", TABLE("/classification/OLD") "x.t@cm", NULL);
    change(service, "DELETE", ATLAS "types/typedef/name/OLD", NULL);
    check_tags(service, "x.t", "");
}
END_TEST

struct building {
    struct service *service;
    pthread_t thread;
};

enum { BUILDS = 40 };

static void *building_run(void *arg)
{
    struct building *building = arg;
    AUTO(http_free) struct http *http = http_new();
    AUTO(mem_free) char *url = daemon_url(building->service->daemon, "/v1/events");

    for (int i = 0; i < BUILDS; i++) {
        AUTO(mem_free)
        char *body =
            xasprintf("[" BUILT("c%d", LINKED("x.t")) "," DEPLOYED("c%d", "f%d") "]", i, i, i);
        AUTO(http_answer_free) struct http_answer *answer = http_post(http, url, body);

        ck_assert_int_eq(answer->status, 200);
    }
    return NULL;
}

/* While a build links to the table, by another daemon, the table is classified, and by two at
 * once. */
START_TEST(tagged_while_builds_link)
{
    AUTO(service_free) struct service *one = tags_start();
    AUTO(service_free)
    struct service *two = service_start_with(&(struct daemon_options){ .dsn = one->dsn });
    struct building building = { .service = one };

    ck_assert_int_eq(pthread_create(&building.thread, NULL, building_run, &building), 0);
    for (int i = 0; i < BUILDS; i++) {
        AUTO(mem_free)
        char *body = xasprintf("[{'typeName': 'PII', 'attributes': {'level': %d}}]", i);

        change(i % 2 ? one : two, "POST", TABLE("/classifications") "x.t@cm", body);
        if (i + 1 < BUILDS)
            change(i % 3 ? two : one, "DELETE", TABLE("/classification/PII") "x.t@cm", NULL);
    }
    ck_assert_int_eq(pthread_join(building.thread, NULL), 0);
    for (int i = 0; i < BUILDS; i++) {
        AUTO(mem_free) char *name = xasprintf("f%d", i);

        check_tags(i % 2 ? one : two, name, "PII<x.t");
    }
    ck_assert_int_eq(pg_query_i64(one->dsn, "SELECT count(*) FROM classification WHERE to_batch IS"
                                            " NULL"),
                     1);
}
END_TEST

struct race {
    struct service *service;
    pthread_t thread;
    long status;
};

static void *race_run(void *arg)
{
    struct race *race = arg;
    AUTO(http_free) struct http *http = http_new();
    AUTO(mem_free)
    char *url = daemon_url(race->service->daemon, TABLE("/classifications") "x.t@cm");
    AUTO(http_answer_free)
    struct http_answer *answer = http_post(http, url, "[{\"typeName\": \"PII\"}]");

    race->status = answer->status;
    return NULL;
}

START_TEST(added_at_once)
{
    enum { RACES = 6 };
    AUTO(service_free) struct service *one = tags_start();
    AUTO(service_free)
    struct service *two = service_start_with(&(struct daemon_options){ .dsn = one->dsn });
    struct race races[RACES];
    int added = 0, late = 0;

    for (int i = 0; i < RACES; i++) {
        races[i] = (struct race){ .service = i % 2 ? one : two };
        ck_assert_int_eq(pthread_create(&races[i].thread, NULL, race_run, &races[i]), 0);
    }
    for (int i = 0; i < RACES; i++) {
        ck_assert_int_eq(pthread_join(races[i].thread, NULL), 0);
        added += races[i].status == 204;
        late += races[i].status == 400;
    }
    ck_assert_int_eq(added, 1);
    ck_assert_int_eq(late, RACES - 1);
    check_tags(one, "x.t", "PII");
}
END_TEST

/* The connection breaks while the change is committed: the answer is what became of it. */
START_TEST(lost_commit)
{
    AUTO(service_free)
    struct service *service = service_start_proxied(&(struct daemon_options){ 0 });
    long status = proxy_cuts[_i].commits ? 204 : 503; /* not stored, and never will be */

    json_decref(service_ask(service, 200, "POST", TYPEDEFS, TAGS));
    take_events(service);
    proxy_aim(service->proxy, "plumbline read");
    proxy_arm(service->proxy, proxy_cuts[_i].mode, 0);
    json_decref(service_ask(service, status, "POST", TABLE("/classifications") "x.t@cm",
                            "[{'typeName': 'PII'}]"));
    ck_assert(proxy_sprung(service->proxy));
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM classification"),
                     status == 204);
}
END_TEST

/* And nobody can be asked what became of it. */
START_TEST(lost_for_good)
{
    AUTO(service_free)
    struct service *service = service_start_proxied(&(struct daemon_options){ 0 });

    json_decref(service_ask(service, 200, "POST", TYPEDEFS, TAGS));
    take_events(service);
    proxy_aim(service->proxy, "plumbline read");
    proxy_refuse_then(service->proxy);
    proxy_arm(service->proxy, PROXY_CUT_AFTER, 0);
    service_check_refused(service, "POST", TABLE("/classifications") "x.t@cm",
                          "[{'typeName': 'PII'}]", "ATLAS-500-00-001",
                          "Internal server error the database went away while the change was "
                          "committed: ask for the classifications");
    proxy_refuse(service->proxy, false);
}
END_TEST

/* ---- any graph ---- */

enum { NODES = 30, ROUNDS = 25, FAR = 6000 };

static void graph_exec(PGconn *conn, const char *format, ...) PRINTF_LIKE(2, 3);
static void graph_exec(PGconn *conn, const char *format, ...)
{
    AUTO(mem_free) char *sql = NULL;
    PGresult *result;
    va_list args;

    va_start(args, format);
    ck_assert_int_ge(vasprintf(&sql, format, args), 0);
    va_end(args);
    result = PQexec(conn, sql);
    ck_assert_msg(PQresultStatus(result) == PGRES_COMMAND_OK ||
                      PQresultStatus(result) == PGRES_TUPLES_OK,
                  "%s", PQerrorMessage(conn));
    PQclear(result);
}

/* Even ones are tables, odd ones processes; edges with flow, cycles too. */
static void graph_roll(PGconn *conn, uint64_t *seed)
{
    graph_exec(
        conn,
        IN_A_BATCH
        "TRUNCATE entity, relationship, classification;"
        "INSERT INTO entity (entity_id, from_batch, created_batch, guid, type, qualified_name,"
        " is_incomplete, is_deleted, created_by, updated_by, attributes)"
        " SELECT i, b, b, gen_random_uuid(), CASE WHEN i %% 2 = 0 THEN 'hive_table' ELSE"
        " 'hive_process' END, 'n' || i || '@cm', false, false, 'ada', 'ada', '{}'"
        " FROM (SELECT max(batch_id) AS b FROM graph_batch) AS batch,"
        " generate_series(1, %d) AS i",
        NODES);
    for (int i = 0; i < NODES + 5; i++) {
        uint32_t table = 2 + 2 * dice_roll(seed, NODES / 2);
        uint32_t process = 1 + 2 * dice_roll(seed, NODES / 2);

        graph_exec(
            conn,
            "INSERT INTO relationship (relationship_id, from_batch, created_batch, guid, type,"
            " end1, end2, is_deleted, created_by, updated_by)"
            " SELECT %d, b, b, gen_random_uuid(), '%s', %u, %u, %s, 'ada', 'ada'"
            " FROM (SELECT max(batch_id) AS b FROM graph_batch) AS batch ON CONFLICT DO NOTHING",
            i, i % 2 ? "dataset_process_inputs" : "process_dataset_outputs", process, table,
            dice_roll(seed, 8) ? "false" : "true");
    }
    for (int i = 0; i < 5; i++)
        graph_exec(
            conn,
            "INSERT INTO classification SELECT %u, '%s', b, NULL, b, '{}', NULL, %s, false, %s,"
            " 'ada', 'ada' FROM (SELECT max(batch_id) AS b FROM graph_batch) AS batch"
            " ON CONFLICT DO NOTHING",
            1 + dice_roll(seed, NODES), dice_roll(seed, 2) ? "PII" : "OLD",
            dice_roll(seed, 5) ? "true" : "false", dice_roll(seed, 5) ? "false" : "true");
    for (int i = 0; i < 2; i++)
        graph_exec(conn, "UPDATE entity SET is_deleted = true WHERE entity_id = %u",
                   1 + dice_roll(seed, NODES));
}

/* By the plainest recursion: what each entity has, as "PII<n4", by entity. */
static const char oracle_sql[] =
    "WITH RECURSIVE flow AS (SELECT CASE WHEN type = 'dataset_process_inputs' THEN end2 ELSE end1"
    "  END AS one, CASE WHEN type = 'dataset_process_inputs' THEN end1 ELSE end2 END AS two"
    "  FROM relationship WHERE NOT is_deleted), has (id, tag, origin) AS ("
    " SELECT entity_id, type, entity_id FROM classification UNION"
    " SELECT f.two, h.tag, h.origin FROM has AS h JOIN flow AS f ON f.one = h.id"
    "  JOIN classification AS c ON c.entity_id = h.origin AND c.type = h.tag AND c.propagates"
    "  AND NOT c.is_restricted JOIN entity AS a ON a.entity_id = h.id AND NOT a.is_deleted"
    "  JOIN entity AS b ON b.entity_id = f.two AND NOT b.is_deleted)"
    " SELECT coalesce(string_agg(DISTINCT tag || '<n' || origin, ' ' ORDER BY tag || '<n' ||"
    "  origin), ''), e.guid FROM entity AS e LEFT JOIN has ON has.id = e.entity_id"
    " GROUP BY e.entity_id, e.guid ORDER BY e.entity_id";

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The number of the entity in the rows of the oracle. */
static int node_of(const PGresult *oracle, const char *guid)
{
    for (int i = 0; i < NODES; i++) {
        if (strcmp(PQgetvalue(oracle, i, 1), guid) == 0)
            return i + 1;
    }
    ck_abort_msg("no entity has the guid %s", guid);
}

/* Of the header, its classifications in the order of their names. Owned. */
static char *header_describe(const PGresult *oracle, const json_t *header)
{
    const json_t *list = json_object_get(header, "classifications");
    char *items[2 * NODES];
    AUTO(buf_done) struct buf text;

    buf_init(&text, SIZE_MAX);
    ck_assert_uint_lt(json_array_size(list), LENGTH(items));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *tag = json_array_get(list, i);

        items[i] = xasprintf("%s<n%d", service_text(tag, "typeName"),
                             node_of(oracle, service_text(tag, "entityGuid")));
    }
    qsort(items, json_array_size(list), sizeof(*items), compare_texts);
    for (size_t i = 0; i < json_array_size(list); i++) {
        buf_append_fmt(&text, "%s%s", i ? " " : "", items[i]);
        free(items[i]);
    }
    return xstrdup(buf_text(&text));
}

/* All entities in one answer, each in an answer of its own, and a search for one classification. */
static void graph_check(struct service *service, PGconn *conn, int round)
{
    PGresult *oracle = PQexec(conn, oracle_sql);
    AUTO(mem_free) char *moment = xasprintf("?as_of=%" PRId64, moment_now(service));
    json_auto_t *all = service_get(service, 200, ATLAS "search/basic?typeName=Asset&limit=100");
    json_auto_t *pii = service_get(service, 200, ATLAS "search/basic?classification=PII&limit=100");
    const json_t *entities = json_object_get(all, "entities");
    size_t with_pii = 0;

    ck_assert_int_eq(PQntuples(oracle), NODES);
    ck_assert_uint_eq(json_array_size(entities), NODES);
    for (int i = 0; i < NODES; i++) {
        const json_t *header = json_array_get(entities, (size_t)i);
        const char *want = PQgetvalue(oracle, i, 0);
        AUTO(mem_free) char *have = header_describe(oracle, header);
        AUTO(mem_free)
        char *path = xasprintf(ATLAS "entity/guid/%s/header%s", service_text(header, "guid"),
                               i % 3 ? "" : moment);
        json_auto_t *alone = NULL;
        AUTO(mem_free) char *have_alone = NULL;

        if (round % 2) /* nothing is kept of this moment */
            PQclear(PQexec(conn, "SELECT graph_begin()"));
        alone = service_get(service, 200, path);
        have_alone = header_describe(oracle, alone);
        ck_assert_msg(strcmp(have, want) == 0, "round %d, n%d: %s, not %s", round, i + 1, have,
                      want);
        ck_assert_msg(strcmp(have_alone, want) == 0, "round %d, n%d alone: %s, not %s", round,
                      i + 1, have_alone, want);
        with_pii += strstr(want, "PII") != NULL;
    }
    ck_assert_uint_eq(json_array_size(json_object_get(pii, "entities")), with_pii);
    PQclear(oracle);
}

START_TEST(random_graphs)
{
    AUTO(service_free) struct service *service = service_start();
    PGconn *conn = pg_connect(service->dsn);
    uint64_t seed = 5;

    json_decref(service_ask(service, 200, "POST", TYPEDEFS, TAGS));
    for (int round = 0; round < ROUNDS; round++) {
        graph_roll(conn, &seed);
        graph_check(service, conn, round);
    }
    PQfinish(conn);
}
END_TEST

/* n1 -> n2 -> thousands of tables -> n3 -> n4: further than one answer walks by itself. */
static void far_make(struct service *service)
{
    pg_exec(service->dsn,
            IN_A_BATCH
            "INSERT INTO entity (entity_id, from_batch, created_batch, guid, type, qualified_name,"
            " is_incomplete, is_deleted, created_by, updated_by, attributes)"
            " SELECT i, b, b, gen_random_uuid(), CASE WHEN i IN (2, 3) THEN 'hive_process' ELSE"
            " 'hive_table' END, 'n' || i || '@cm', false, false, 'ada', 'ada', '{}'"
            " FROM (SELECT max(batch_id) AS b FROM graph_batch) AS batch,"
            " generate_series(1, %d) AS i;"
            "INSERT INTO relationship (relationship_id, from_batch, created_batch, guid, type,"
            " end1, end2, created_by, updated_by)"
            " SELECT i, b, b, gen_random_uuid(), r.type, r.end1, r.end2, 'ada', 'ada'"
            " FROM (SELECT max(batch_id) AS b FROM graph_batch) AS batch,"
            " (SELECT row_number() OVER () AS i, type, end1, end2 FROM (VALUES"
            " ('dataset_process_inputs', 2, 1), ('process_dataset_outputs', 3, 4)"
            " UNION ALL SELECT 'process_dataset_outputs', 2, i FROM generate_series(5, %d) AS i"
            " UNION ALL SELECT 'dataset_process_inputs', 3, i FROM generate_series(5, %d) AS i)"
            " AS v(type, end1, end2)) AS r",
            FAR, FAR, FAR);
}

/* What is kept after the first long walk is right for its moment alone. */
START_TEST(kept_when_far)
{
    AUTO(service_free) struct service *service = service_start();
    int64_t tagged, untagged;

    json_decref(service_ask(service, 200, "POST", TYPEDEFS, TAGS));
    far_make(service);
    change(service, "POST", TABLE("/classifications") "n1@cm", "[{'typeName': 'PII'}]");
    tagged = moment_now(service);
    change(service, "POST", TABLE("/classifications") "n7@cm",
           "[{'typeName': 'OLD'}, {'typeName': 'PII', 'restrictPropagationThroughLineage': true},"
           " {'typeName': 'TABLES', 'propagate': false}]");
    for (int i = 0; i < 2; i++) {
        check_tags(service, "n4", "PII<n1 OLD<n7");
        check_tags(service, "n7", "OLD PII TABLES PII<n1");
        check_tags(service, "n8", "PII<n1");
        check_tags(service, "n1", "PII");
    }
    change(service, "DELETE", TABLE("/classification/PII") "n1@cm", NULL);
    untagged = moment_now(service);
    check_tags(service, "n4", "OLD<n7");
    change(service, "PUT", TABLE("/classifications") "n7@cm",
           "[{'typeName': 'OLD', 'propagate': false}]");
    for (int i = 0; i < 2; i++) {
        check_tags(service, "n4", "");
        check_tags_as_of(service, "n4", tagged, "PII<n1");
        check_tags_as_of(service, "n4", untagged, "OLD<n7");
        check_tags_as_of(service, "n7", untagged, "OLD PII TABLES");
    }
}
END_TEST

Suite *classification_suite(void)
{
    Suite *suite = suite_create("classification");
    TCase *tc = tcase_create("classification"), *graphs = tcase_create("graphs");

    tcase_add_unchecked_fixture(tc, pg_shared_start, NULL);
    tcase_add_test(tc, added_changed_removed);
    tcase_add_test(tc, refused);
    tcase_add_test(tc, many_at_once);
    tcase_add_test(tc, made_with_them);
    tcase_add_test(tc, made_before_and_again);
    tcase_add_test(tc, not_made_with_them);
    tcase_add_test(tc, set_for_many);
    tcase_add_test(tc, set_in_part);
    tcase_add_test(tc, changed_since_then);
    tcase_add_test(tc, reaches_what_was_made_of_it);
    tcase_add_test(tc, passes_over_nothing_deleted);
    tcase_add_test(tc, restricted);
    tcase_add_test(tc, metrics_alone);
    tcase_add_test(tc, deleted_by_clients);
    tcase_add_test(tc, sent_back);
    tcase_add_test(tc, shell_completed);
    tcase_add_test(tc, by_whom);
    tcase_add_test(tc, waits_are_bounded);
    tcase_add_test(tc, shown_in_lineage);
    tcase_add_test(tc, as_of);
    tcase_add_test(tc, impact_in_pages);
    tcase_add_test(tc, types_in_use);
    tcase_add_test(tc, tagged_while_builds_link);
    tcase_add_test(tc, added_at_once);
    tcase_add_loop_test(tc, lost_commit, 0, PROXY_CUTS);
    tcase_add_test(tc, lost_for_good);
    suite_add_tcase(suite, tc);
    tcase_add_unchecked_fixture(graphs, pg_shared_start, NULL);
    tcase_add_test(graphs, random_graphs);
    tcase_add_test(graphs, kept_when_far);
    suite_add_tcase(suite, graphs);
    return suite;
}
