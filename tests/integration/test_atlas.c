/* The graph as clients of Apache Atlas read it. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/harness/pg.h"
#include "tests/harness/service.h"

Suite *atlas_suite(void);

#define ATLAS "/api/atlas/v2/"

/* p -> b1, b2 (table x.t, and x.u for b1) -> d1 and d2; b2 is trained on b1 as well. */
static const char graph_events[] =
    "[{\"event\":\"project_created\",\"projectCrn\":\"p\",\"projectName\":\"Churn\",\"userName\":"
    "\"ada\",\"description\":\"who leaves\",\"createdAtMs\":1704067200000},"
    "{\"event\":\"model_built\",\"projectCrn\":\"p\",\"modelCrn\":\"m\",\"modelName\":\"Model\","
    "\"modelBuildCrn\":\"b1\",\"buildNumber\":1,\"userName\":\"bob\",\"createdAtMs\":1704067200000,"
    "\"linkingFile\":\"Model:\\n  hive_table_qualified_names: [x.t, x.u]\\n\"},"
    "{\"event\":\"model_built\",\"projectCrn\":\"p\",\"modelCrn\":\"m\",\"modelName\":\"Model\","
    "\"modelBuildCrn\":\"b2\",\"buildNumber\":2,\"userName\":\"bob\",\"createdAtMs\":1704067200000,"
    "\"linkingFile\":\"Model:\\n  hive_table_qualified_names: [x.t]\\n\","
    "\"inputs\":[{\"typeName\":\"ml_model_build\",\"qualifiedName\":\"b1@cm\"}]},"
    "{\"event\":\"model_deployed\",\"modelBuildCrn\":\"b1\",\"modelDeploymentCrn\":\"d1\","
    "\"status\":\"stopped\",\"statusAtMs\":1704067200000,\"createdAtMs\":1704067200000,"
    "\"cpuMillicores\":1,\"userName\":\"eve\"},"
    "{\"event\":\"model_deployed\",\"modelBuildCrn\":\"b2\",\"modelDeploymentCrn\":\"d2\","
    "\"status\":\"deployed\",\"statusAtMs\":1704067200000,\"createdAtMs\":1704067200000,"
    "\"cpuMillicores\":1,\"userName\":\"eve\"}]";

static struct service *atlas_start(void)
{
    struct service *service = service_start();

    service_take(service, graph_events);
    return service;
}

/* Owned. */
static char *guid_of(struct service *service, const char *qualified_name)
{
    char *guid = pg_query_text(service->dsn,
                               "SELECT guid FROM entity WHERE to_batch IS NULL"
                               " AND qualified_name = '%s'",
                               qualified_name);

    ck_assert_msg(guid != NULL, "no %s", qualified_name);
    return guid;
}

static json_t *get_guid(struct service *service, const char *before, const char *name,
                        const char *after)
{
    AUTO(mem_free) char *guid = guid_of(service, name);
    AUTO(mem_free) char *path = xasprintf("%s%s%s", before, guid, after);

    return service_get(service, 200, path);
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Texts joined by blanks in their order, which they get. */
static void check_texts(const char **texts, size_t len, const char *want, const char *name)
{
    AUTO(buf_done) struct buf have;

    buf_init(&have, SIZE_MAX);
    if (len)
        qsort(texts, len, sizeof(*texts), compare_texts);
    for (size_t i = 0; i < len; i++)
        buf_append_fmt(&have, "%s%s", i ? " " : "", texts[i]);
    ck_assert_msg(strcmp(buf_text(&have), want) == 0, "%s: %s and not %s", name, buf_text(&have),
                  want);
}

/* ---- types ---- */

START_TEST(types)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *all = service_get(service, 200, ATLAS "types/typedefs/?x=1");
    json_auto_t *headers = service_get(service, 200, ATLAS "types//typedefs/headers?type=entity");
    json_auto_t *one = service_get(service, 200, ATLAS "types/entitydef/name/ml_model_build");
    json_auto_t *same = NULL, *some = NULL;
    AUTO(mem_free) char *path = xasprintf(ATLAS "types/typedef/guid/%s", service_text(one, "guid"));

    same = service_get(service, 200, path);
    service_check_same(same, one, "by guid");
    ck_assert_str_eq(service_text(one, "category"), "ENTITY");
    ck_assert_uint_gt(json_array_size(json_object_get(all, "entityDefs")), 10);
    ck_assert(json_is_array(json_object_get(all, "businessMetadataDefs")));
    ck_assert_uint_eq(json_array_size(headers),
                      json_array_size(json_object_get(all, "entityDefs")));
    some = service_get(service, 200, ATLAS "types/typedefs?type=ENTITY&supertype=Process");
    ck_assert_uint_gt(json_array_size(json_object_get(some, "entityDefs")), 3);
    ck_assert_uint_eq(json_array_size(json_object_get(some, "enumDefs")), 0);
}
END_TEST

/* ---- entities ---- */

START_TEST(entity_with_what_it_owns)
{
    AUTO(service_free) struct service *service = atlas_start();
    json_auto_t *answer = get_guid(service, ATLAS "entity/guid/", "p@cm", "?minExtInfo=False");
    json_auto_t *lean = get_guid(service, ATLAS "entity/guid/", "p@cm", "?minExtInfo=True");
    json_auto_t *bare =
        get_guid(service, ATLAS "entity/guid/", "p@cm", "?ignoreRelationships=TRUE");
    const json_t *entity = json_object_get(answer, "entity"), *other;
    const char *names[8];
    const char *guid;
    size_t len = 0;

    ck_assert_str_eq(service_text(entity, "typeName"), "ml_project");
    ck_assert_str_eq(service_text(entity, "createdBy"), "ada");
    ck_assert_str_eq(service_text(json_object_get(entity, "attributes"), "description"),
                     "who leaves");
    ck_assert(json_is_null(json_object_get(json_object_get(entity, "attributes"), "displayName")));
    ck_assert_int_gt(service_number(entity, "createTime"), 1704067200000);
    ck_assert_uint_eq(json_array_size(
                          json_object_get(json_object_get(entity, "relationshipAttributes"),
                                          "builds")),
                      2);
    /* its builds, and their deployments */
    json_object_foreach(json_object_get(answer, "referredEntities"), guid, other)
    {
        names[len++] = service_text(json_object_get(other, "attributes"), "qualifiedName");
        ck_assert_uint_lt(len, LENGTH(names));
    }
    check_texts(names, len, "b1@cm b2@cm d1@cm d2@cm", "referred");
    ck_assert_uint_eq(json_object_size(json_object_get(lean, "referredEntities")), 0);
    ck_assert_ptr_null(json_object_get(json_object_get(bare, "entity"), "relationshipAttributes"));
}
END_TEST

START_TEST(entity_by_name)
{
    AUTO(service_free) struct service *service = atlas_start();
    json_auto_t *answer =
        service_get(service, 200,
                    ATLAS "entity/uniqueAttribute/type/DataSet?attr%3AqualifiedName=x.t%40cm");
    json_auto_t *header =
        service_get(service, 200,
                    ATLAS
                    "/entity/uniqueAttribute/type/hive_table/header/?attr:qualifiedName=x.t@cm");
    json_auto_t *same = get_guid(service, ATLAS "entity/guid/", "x.t@cm", "/header");
    const json_t *entity = json_object_get(answer, "entity");

    ck_assert_str_eq(service_text(entity, "typeName"), "hive_table");
    ck_assert(json_is_true(json_object_get(entity, "isIncomplete")));
    ck_assert_uint_eq(json_array_size(
                          json_object_get(json_object_get(entity, "relationshipAttributes"),
                                          "inputToProcesses")),
                      2);
    service_check_same(header, same, "header");
    ck_assert_str_eq(service_text(header, "displayText"), "t");
}
END_TEST

/* A project whose builds have 600 KB of attributes each. */
static void large_builds(struct service *service, int from, int to)
{
    AUTO(buf_done) struct buf events;

    buf_init(&events, SIZE_MAX);
    for (int i = from; i < to; i++)
        buf_append_fmt(&events,
                       "%s{\"event\":\"model_built\",\"projectCrn\":\"p\",\"modelCrn\":\"m\","
                       "\"modelName\":\"Model\",\"modelBuildCrn\":\"b%d\",\"buildNumber\":%d,"
                       "\"userName\":\"bob\",\"createdAtMs\":1704067200000}",
                       i > from ? "," : "[", i, i);
    buf_append_char(&events, ']');
    service_take(service, buf_text(&events));
    pg_exec(service->dsn, "UPDATE entity SET attributes = attributes ||"
                          " jsonb_build_object('exampleRequest', repeat('x', 600000))"
                          " WHERE type = 'ml_model_build' AND to_batch IS NULL");
}

/* What is linked is shown by its name, and read no further. */
START_TEST(entity_with_large_ones_around_it)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *whole = NULL, *lean = NULL, *refused = NULL;
    AUTO(mem_free) char *guid = NULL;
    AUTO(mem_free) char *path = NULL;
    const json_t *builds;

    large_builds(service, 0, 30);
    whole = get_guid(service, ATLAS "entity/guid/", "p@cm", "");
    ck_assert_uint_eq(json_object_size(json_object_get(whole, "referredEntities")), 30);
    large_builds(service, 30, 120);
    guid = guid_of(service, "p@cm");
    path = xasprintf(ATLAS "entity/guid/%s", guid);
    refused = service_get(service, 400, path);
    service_check_fault(
        refused, "ATLAS-400-00-029",
        "the entities have more than 67108864 bytes of attributes: ask for fewer at a "
        "time, or with minExtInfo=true");
    lean = get_guid(service, ATLAS "entity/guid/", "p@cm", "?minExtInfo=true");
    builds =
        json_object_get(json_object_get(json_object_get(lean, "entity"), "relationshipAttributes"),
                        "builds");
    ck_assert_uint_eq(json_array_size(builds), 120);
    ck_assert_str_eq(service_text(json_array_get(builds, 0), "displayText"), "Model");
}
END_TEST

START_TEST(many_entities)
{
    AUTO(service_free) struct service *service = atlas_start();
    AUTO(mem_free) char *t = guid_of(service, "x.t@cm");
    AUTO(mem_free) char *u = guid_of(service, "x.u@cm");
    AUTO(mem_free)
    char *path = xasprintf(ATLAS "entity/bulk/?guid=%s&guid=%s&guid=%s&minExtInfo=False", t, u, t);
    json_auto_t *answer = service_get(service, 200, path);
    json_auto_t *named =
        service_get(service, 200,
                    ATLAS "entity/bulk/uniqueAttribute/type/hive_table?attr_0%3AqualifiedName="
                          "x.t%40cm&attr_1%3AqualifiedName=x.none%40cm&attr_2%3AqualifiedName="
                          "x.u%40cm");

    ck_assert_uint_eq(json_array_size(json_object_get(answer, "entities")), 2);
    ck_assert_uint_eq(json_array_size(json_object_get(named, "entities")), 2);
}
END_TEST

/* ---- lineage ---- */

static const struct {
    const char *name, *start, *query;
    const char *entities; /* without their namespace */
    size_t relations;
} lineage_cases[] = {
    { "upstream, one hop", "d2@cm", "direction=INPUT&depth=1", "b2 d2 d2:deploy", 2 },
    { "upstream, two hops", "d2@cm", "direction=INPUT&depth=2",
      "b1 b2 b2:train_build d2 d2:deploy p x.t", 6 },
    { "upstream, three by default", "d2@cm", "direction=INPUT",
      "b1 b1:train_build b2 b2:train_build d2 d2:deploy p p:create x.t x.u", 11 },
    { "upstream of a table", "x.u@cm", "direction=INPUT&depth=0", "", 0 },
    { "downstream of a table, all of it", "x.u@cm", "direction=OUTPUT&depth=0",
      "b1 b1:train_build b2 b2:train_build d1 d1:deploy d2 d2:deploy x.u", 8 },
    { "downstream of a process", "d1:deploy@cm", "direction=OUTPUT&depth=-1", "d1 d1:deploy", 1 },
    { "both ways", "b2@cm", "depth=1&unknown=x", "b1 b2 b2:train_build d2 d2:deploy p x.t", 6 },
};

START_TEST(lineage_of_everything)
{
    AUTO(service_free) struct service *service = atlas_start();

    for (size_t i = 0; i < LENGTH(lineage_cases); i++) {
        AUTO(mem_free) char *query = xasprintf("?%s", lineage_cases[i].query);
        json_auto_t *answer = get_guid(service, ATLAS "lineage/", lineage_cases[i].start, query);
        char *names[16];
        const json_t *entity;
        const char *guid;
        size_t len = 0;

        json_object_foreach(json_object_get(answer, "guidEntityMap"), guid, entity)
        {
            const char *name = service_text(json_object_get(entity, "attributes"), "qualifiedName");

            names[len++] = xmemdup0(name, strcspn(name, "@"));
            ck_assert_uint_lt(len, LENGTH(names));
        }
        check_texts((const char **)(uintptr_t)names, len, lineage_cases[i].entities,
                    lineage_cases[i].name);
        ck_assert_msg(json_array_size(json_object_get(answer, "relations")) ==
                          lineage_cases[i].relations,
                      "%s: %zu relations", lineage_cases[i].name,
                      json_array_size(json_object_get(answer, "relations")));
        ck_assert(json_is_false(json_object_get(answer, "truncated")));
        while (len)
            free(names[--len]);
    }
}
END_TEST

START_TEST(lineage_by_name_and_cut)
{
    static const char *const environment[] = { "PLUMBLINE_LINEAGE_RELATIONS_MAX=3", NULL };
    AUTO(service_free)
    struct service *service =
        service_start_with(&(struct daemon_options){ .environment = environment });
    json_auto_t *answer = NULL;

    service_take(service, graph_events);
    answer = service_get(service, 200,
                         ATLAS "lineage/uniqueAttribute/type/ml_model_deployment"
                               "?attr%3AqualifiedName=d2%40cm&direction=INPUT&depth=0");
    ck_assert_str_eq(service_text(answer, "lineageDirection"), "INPUT");
    ck_assert_int_eq(service_number(answer, "lineageDepth"), 0);
    ck_assert_uint_eq(json_array_size(json_object_get(answer, "relations")), 3);
    ck_assert(json_is_true(json_object_get(answer, "truncated")));
}
END_TEST

/* ---- errors ---- */

#define UNKNOWN "12f34405-38fa-42de-9ed4-68dbd82d36f6"

static const struct {
    const char *path;
    long status;
    const char *code, *message;
} error_cases[] = {
    { "nothing/here", 404, "ATLAS-404-00-000", "no such path: v2/nothing/here" },
    { "types/typedef/name/none", 404, "ATLAS-404-00-001", "Given typename none was invalid" },
    { "types/enumdef/name/hive_table", 404, "ATLAS-404-00-001",
      "Given typename hive_table was invalid" },
    { "types/typedef/guid/none", 404, "ATLAS-404-00-002", "Given type guid none was invalid" },
    { "entity/guid/" UNKNOWN, 404, "ATLAS-404-00-005",
      "Given instance guid " UNKNOWN " is invalid/not found" },
    { "entity/guid/abc/header", 404, "ATLAS-404-00-005",
      "Given instance guid abc is invalid/not found" },
    { "entity/bulk", 404, "ATLAS-404-00-005", "Given instance guid  is invalid/not found" },
    { "entity/uniqueAttribute/type/none?attr:qualifiedName=x", 400, "ATLAS-400-00-014",
      "Type ENTITY with name none does not exist" },
    { "entity/uniqueAttribute/type/hive_table?attr:name=x", 400, "ATLAS-400-00-013",
      "Type hive_table with unique attribute attr:qualifiedName does not exist" },
    { "entity/uniqueAttribute/type/hive_table?attr:qualifiedName=%ff", 400, "ATLAS-400-00-029",
      "qualifiedName is not UTF-8" },
    { "entity/bulk/uniqueAttribute/type/hive_table?attr_0:qualifiedName=x%ff", 400,
      "ATLAS-400-00-029", "qualifiedName is not UTF-8" },
    { "entity/uniqueAttribute/type/hive_table?attr:qualifiedName=x@cm", 404, "ATLAS-404-00-009",
      "Instance hive_table with unique attribute {qualifiedName=x@cm} does not exist" },
    { "lineage/" UNKNOWN, 404, "ATLAS-404-00-005",
      "Given instance guid " UNKNOWN " is invalid/not found" },
    { "lineage/" UNKNOWN "?direction=UP", 400, "ATLAS-400-00-026",
      "Invalid lineage query parameters passed direction: UP" },
    { "lineage/" UNKNOWN "?depth=deep", 400, "ATLAS-400-00-026",
      "Invalid lineage query parameters passed depth: deep" },
    { "lineage/" UNKNOWN "?depth=%zz", 400, "ATLAS-400-00-029",
      "\"depth\" is not properly percent-encoded" },
};

START_TEST(errors_are_those_of_atlas)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *refused = NULL;

    for (size_t i = 0; i < LENGTH(error_cases); i++) {
        AUTO(mem_free) char *path = xasprintf(ATLAS "%s", error_cases[i].path);
        json_auto_t *answer = service_get(service, error_cases[i].status, path);

        service_check_fault(answer, error_cases[i].code, error_cases[i].message);
    }
    refused = service_post(service, 405, ATLAS "entity/guid/" UNKNOWN, "{}");
    ck_assert_str_eq(service_text(refused, "errorCode"), "ATLAS-405-00-001");
}
END_TEST

static const struct {
    const char *path;
    long status;
    const char *allow, *message;
} put_cases[] = {
    { "entity/guid/" UNKNOWN "/header", 405, "GET, HEAD",
      "v2/entity/guid/" UNKNOWN "/header takes GET, HEAD" },
    { "search/basic", 405, "GET, HEAD, POST", "v2/search/basic takes GET, HEAD, POST" },
    { "lineage/" UNKNOWN, 405, "GET, HEAD, POST", "v2/lineage/" UNKNOWN " takes GET, HEAD, POST" },
    { "entity", 405, "POST", "v2/entity takes POST" },
    { "entity/bulk", 405, "GET, HEAD, POST, DELETE",
      "v2/entity/bulk takes GET, HEAD, POST, DELETE" },
    { "types/typedef/name/hive_table", 405, "GET, HEAD, DELETE",
      "v2/types/typedef/name/hive_table takes GET, HEAD, DELETE" },
    { "types/entitydef/name/hive_table", 405, "GET, HEAD",
      "v2/types/entitydef/name/hive_table takes GET, HEAD" },
    { "entity/guid/" UNKNOWN "/none", 404, NULL, "no such path: v2/entity/guid/" UNKNOWN "/none" },
};

/* What no path takes is answered with what this one does, whatever the body is. */
START_TEST(other_methods)
{
    AUTO(service_free) struct service *service = service_start();
    const char *const packed[] = { "Content-Type: application/json", "Content-Encoding: gzip",
                                   NULL };

    for (size_t i = 0; i < LENGTH(put_cases); i++) {
        AUTO(mem_free) char *path = xasprintf(ATLAS "%s", put_cases[i].path);
        AUTO(mem_free) char *url = daemon_url(service->daemon, path);
        AUTO(http_answer_free)
        struct http_answer *answer =
            http_send(service->http,
                      &(struct http_request){
                          .method = "PUT", .url = url, .body = "no gzip", .headers = packed });
        AUTO(mem_free) char *allow = http_header(answer, "Allow");
        json_auto_t *error = http_json(answer);

        ck_assert_int_eq(answer->status, put_cases[i].status);
        ck_assert_str_eq(service_text(error, "errorMessage"), put_cases[i].message);
        ck_assert((allow != NULL) == (put_cases[i].allow != NULL));
        ck_assert(!allow || strcmp(allow, put_cases[i].allow) == 0);
    }
}
END_TEST

Suite *atlas_suite(void)
{
    Suite *suite = suite_create("atlas");
    TCase *tc = tcase_create("atlas");

    tcase_add_unchecked_fixture(tc, pg_shared_start, NULL);
    tcase_add_test(tc, types);
    tcase_add_test(tc, entity_with_what_it_owns);
    tcase_add_test(tc, entity_by_name);
    tcase_add_test(tc, entity_with_large_ones_around_it);
    tcase_add_test(tc, many_entities);
    tcase_add_test(tc, lineage_of_everything);
    tcase_add_test(tc, lineage_by_name_and_cut);
    tcase_add_test(tc, errors_are_those_of_atlas);
    tcase_add_test(tc, other_methods);
    suite_add_tcase(suite, tc);
    return suite;
}
