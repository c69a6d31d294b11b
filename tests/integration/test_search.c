/* Search as clients of Apache Atlas ask for it. */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atlas/search.h"
#include "base/mem.h"
#include "collector/store_search_internal.h"
#include "tests/harness/pg.h"
#include "tests/harness/service.h"
#include "tests/harness/wait.h"

Suite *search_suite(void);

#define SEARCH "/api/atlas/v2/search/"

/* Two projects with a model each; the tables x.t and y.t_2. A request for each deployment, or the
 * background might see them first and number them in an order of its own. */
static const char *const search_events[] = {
    "[{\"event\":\"project_created\",\"projectCrn\":\"p1\",\"projectName\":\"Churn 100%\","
    "\"userName\":\"ada\",\"description\":\"Who leaves, and why\",\"createdAtMs\":1704067200000},"
    "{\"event\":\"project_created\",\"projectCrn\":\"p2\",\"projectName\":\"Fraud\",\"userName\":"
    "\"bob\",\"createdAtMs\":1704067200001},"
    "{\"event\":\"model_built\",\"projectCrn\":\"p1\",\"modelCrn\":\"m1\",\"modelName\":\"Churn "
    "model\",\"modelBuildCrn\":\"b1\",\"buildNumber\":7,\"userName\":\"ada\",\"createdAtMs\":"
    "1704067200002,\"linkingFile\":\"Churn model:\\n  hive_table_qualified_names: [x.t, y.t_2]\\n"
    "  metadata: {query: select}\\n\"},"
    "{\"event\":\"model_built\",\"projectCrn\":\"p2\",\"modelCrn\":\"m2\",\"modelName\":\"fraud_"
    "a\","
    "\"modelBuildCrn\":\"b2\",\"buildNumber\":10,\"userName\":\"bob\",\"createdAtMs\":"
    "1704067200003,\"imageTag\":\"r/x:10\"}]",
    "{\"event\":\"model_deployed\",\"modelBuildCrn\":\"b1\",\"modelDeploymentCrn\":\"d1\","
    "\"status\":\"stopped\",\"statusAtMs\":1704067200004,\"createdAtMs\":1704067200004,"
    "\"cpuMillicores\":1,\"userName\":\"eve\"}",
    "{\"event\":\"model_deployed\",\"modelBuildCrn\":\"b2\",\"modelDeploymentCrn\":\"d2\","
    "\"status\":\"deployed\",\"statusAtMs\":1704067200005,\"createdAtMs\":1704067200005,"
    "\"cpuMillicores\":2,\"userName\":\"eve\"}",
};

static struct service *search_start(void)
{
    struct service *service = service_start();

    for (size_t i = 0; i < LENGTH(search_events); i++)
        service_take(service, search_events[i]);
    return service;
}

/* The names of what was found, without their namespaces, in the answer's order. */
static void check_found(const json_t *answer, const char *want, int64_t count, const char *what)
{
    AUTO(buf_done) struct buf have;
    const json_t *entity;
    size_t i;

    buf_init(&have, SIZE_MAX);
    json_array_foreach(json_object_get(answer, "entities"), i, entity)
    {
        const char *name = service_text(json_object_get(entity, "attributes"), "qualifiedName");

        buf_append_fmt(&have, "%s%.*s", i ? " " : "", (int)strcspn(name, "@"), name);
    }
    ck_assert_msg(strcmp(buf_text(&have), want) == 0, "%s: \"%s\" and not \"%s\"", what,
                  buf_text(&have), want);
    ck_assert_msg(service_number(answer, "approximateCount") == count, "%s: count", what);
    ck_assert_msg((json_object_get(answer, "entities") != NULL) == (*want != '\0'), "%s: entities",
                  what);
}

static const struct {
    const char *query, *want;
    int64_t count;
} get_cases[] = {
    { "basic?typeName=ml_project", "p1 p2", 2 },
    { "basic/?typeName=ml_project&excludeDeletedEntities=True&unknown=x", "p1 p2", 2 },
    { "basic?typeName=ml_project,hive_table&limit=3&offset=1", "x.t y.t_2 p2", 4 },
    { "basic?typeName=hive_table&offset=5", "", 2 },
    { "basic?typeName=hive_db", "", 0 },
    { "basic?typeName=DataSet&sortBy=qualifiedName&sortOrder=DESCENDING&limit=4", "y.t_2 x.t p2 p1",
      8 },
    { "basic?typeName=ml_project&sortBy=createTime&sortOrder=DESCENDING", "p2 p1", 2 },
    { "basic?typeName=DataSet&sortBy=description", "p1 x.t y.t_2 b1 p2 b2 d1 d2", 8 },
    { "basic?query=churn&sortBy=qualifiedName", "b1:train_build b1 d1:deploy d1 p1:create p1", 6 },
    { "basic?query=CHURN+who", "p1", 1 },
    { "basic?query=chur", "", 0 },
    { "basic?query=chur*+m?del&typeName=ml_model_build", "b1", 1 },
    { "basic?query=*leave*", "p1", 1 },
    { "basic?query=100%25&typeName=ml_project", "p1", 1 },
    { "basic?query=t_2%40cm", "y.t_2", 1 },
    { "basic?query=b1:train_build@cm", "b1:train_build", 1 },
    { "basic?query=eve&typeName=Process", "d1:deploy d2:deploy", 2 },
    { "basic?query=(.*)", "", 0 },
    { "basic?query=*&typeName=ml_project", "p1 p2", 2 },
    { "basic?classification=_CLASSIFIED", "", 0 },
    { "attribute?attrName=name&attrValuePrefix=Chu&typeName=ml_model_build", "b1", 1 },
    { "attribute?attrValuePrefix=y.t_&limit=5&query=ignored", "y.t_2", 1 },
    { "attribute?attrValuePrefix=y_t", "", 0 },
    { "attribute?attrName=name&attrValuePrefix='+OR+''%3D'", "", 0 },
    { "attribute?attrName=status&attrValuePrefix=dep", "d2", 1 },
};

START_TEST(searches_by_get)
{
    AUTO(service_free) struct service *service = search_start();

    for (size_t i = 0; i < LENGTH(get_cases); i++) {
        AUTO(mem_free) char *path = xasprintf(SEARCH "%s", get_cases[i].query);
        json_auto_t *answer = service_get(service, 200, path);

        check_found(answer, get_cases[i].want, get_cases[i].count, get_cases[i].query);
    }
}
END_TEST

#define TEST(attribute, operator, value)                                                           \
    "{'attributeName':'" attribute "','operator':'" operator"','attributeValue':'" value "'}"
#define OF(type, filter)                                                                           \
    "{'typeName':'" type "','sortBy':'qualifiedName','entityFilters':" filter "}"

static const struct {
    const char *body, *want;
} filter_cases[] = {
    { OF("ml_model_deployment", TEST("status", "eq", "deployed")), "d2" },
    { OF("ml_model_deployment", TEST("status", "neq", "deployed")), "d1" },
    { OF("ml_model_deployment", TEST("status", "in", "deployed,stopped")), "d1 d2" },
    { OF("ml_model_build", TEST("version", "<", "10")), "b1" },
    { OF("ml_model_build", TEST("version", "lte", "10")), "b1 b2" },
    { OF("ml_model_build", TEST("version", ">", "7.5")), "b2" },
    { OF("ml_model_build", TEST("version", "=", "7")), "b1" },
    { OF("ml_model_build", TEST("version", "!=", "7")), "b2" },
    { OF("ml_model_build", TEST("createTime", "timerange", "0,1704067200002")), "b1" },
    { OF("ml_model_build", TEST("createTime", "gte", "2024-01-01T00:00:00.003Z")), "b2" },
    { OF("ml_model_build", TEST("name", "startsWith", "Churn")), "b1" },
    { OF("ml_model_build", TEST("name", "endsWith", "_a")), "b2" },
    { OF("ml_model_build", TEST("name", "contains", "aud_")), "b2" },
    { OF("ml_model_build", TEST("name", "not_contains", "aud_")), "b1" },
    { OF("ml_model_build", TEST("name", "like", "?raud*")), "b2" },
    { OF("ml_model_build", TEST("name", "like", "mod")), "b1" },
    { OF("ml_model_build", TEST("name", "containsAny", "nothing,odel")), "b1" },
    { OF("ml_model_build", TEST("name", "containsAll", "raud,odel")), "" },
    { OF("ml_model_build", TEST("imageTag", "isNull", "")), "b1" },
    { OF("ml_model_build", TEST("imageTag", "notNull", "")), "b2" },
    { OF("ml_model_build", TEST("imageTag", "neq", "x")), "b1 b2" },
    { OF("ml_model_build", TEST("imageTag", "not_contains", "r/")), "b1" },
    { OF("ml_project", TEST("description", "notEmpty", "")), "p1" },
    { OF("ml_model_build", TEST("metadata", "notEmpty", "")), "b1 b2" },
    { OF("hive_table", TEST("parameters", "is_null", "")), "x.t y.t_2" },
    { OF("DataSet", TEST("__isIncomplete", "eq", "true")), "x.t y.t_2" },
    { OF("Process", TEST("__createdBy", "eq", "eve")), "d1:deploy d2:deploy" },
    { OF("Process", TEST("__typeName", "endsWith", "create_process")), "p1:create p2:create" },
    { OF("ml_project", TEST("__timestamp", "gt", "1704067200000")), "p1 p2" },
    { OF("ml_project", TEST("__modificationTimestamp", "lt", "1704067200000")), "" },
    { OF("ml_project", TEST("__state", "eq", "ACTIVE")), "p1 p2" },
    { OF("hive_table", TEST("qualifiedName", ">=", "y")), "y.t_2" },
    { OF("ml_model_build",
         "{'condition':'OR','criterion':[" TEST(
             "version", "eq", "10") ",{'condition':'AND',"
                                    "'criterion':[" TEST("version", "eq", "7") "," TEST(
                                        "name", "eq", "other") "]}]}"),
      "b2" },
    { "{'typeName':'ml_model_build','entityFilters':{'attributeName':'version','operator':'gt',"
      "'attributeValue':7}}",
      "b2" },
    { OF("ml_model_build", TEST("version", "gt", "1e-1000")), "b1 b2" },
    { "{'query':'ada','sortBy':'name','entityFilters':" TEST("userName", "notNull", "") "}",
      "p1:create b1:train_build" },
};

START_TEST(searches_by_filters)
{
    AUTO(service_free) struct service *service = search_start();

    for (size_t i = 0; i < LENGTH(filter_cases); i++) {
        json_auto_t *answer =
            service_ask(service, 200, "POST", SEARCH "basic", filter_cases[i].body);
        const char *want = filter_cases[i].want;
        int64_t count = *want != '\0';

        for (const char *c = want; *c; c++)
            count += *c == ' ';
        check_found(answer, want, count, filter_cases[i].body);
    }
}
END_TEST

/* ---- classifications ---- */

#define TAG_TYPES                                                                                  \
    "{'classificationDefs':[{'name':'PII','attributeDefs':[{'name':'level','typeName':'int',"      \
    "'isOptional':true},{'name':'why','typeName':'string','isOptional':true}]},"                   \
    "{'name':'EMAIL','superTypes':['PII']}]}"

static void classify(struct service *service, const char *table, const char *body)
{
    AUTO(mem_free)
    char *path = xasprintf("/api/atlas/v2/entity/uniqueAttribute/type/hive_table/classifications"
                           "?attr:qualifiedName=%s",
                           table);

    ck_assert_ptr_null(service_ask(service, 204, "POST", path, body));
}

/* x.t, and so b1, is PII of level 3; y.t_2, and so b1 too, EMAIL of level 1. */
static struct service *search_start_classified(void)
{
    struct service *service = search_start();

    json_decref(service_ask(service, 200, "POST", "/api/atlas/v2/types/typedefs", TAG_TYPES));
    classify(service, "x.t@cm", "[{'typeName':'PII','attributes':{'level':3,'why':'it\\u0027s'}}]");
    classify(service, "y.t_2@cm", "[{'typeName':'EMAIL','attributes':{'level':1}}]");
    return service;
}

#define TAGGED(classification, types, filter)                                                      \
    "{'classification':'" classification "','typeName':'" types "','sortBy':'qualifiedName',"      \
    "'tagFilters':" filter "}"
#define TABLES_BUILDS "hive_table,ml_model_build"

static const struct {
    const char *body, *want;
} tagged_cases[] = {
    { TAGGED("PII", TABLES_BUILDS, TEST("level", "gte", "2")), "b1 x.t" },
    { TAGGED("PII", TABLES_BUILDS, TEST("level", "lt", "2")), "b1 y.t_2" },
    { TAGGED("PII", TABLES_BUILDS, TEST("level", "eq", "2")), "" },
    { TAGGED("EMAIL", "hive_table", TEST("level", "gt", "0")), "y.t_2" },
    { TAGGED("PII", "hive_table", TEST("why", "startsWith", "it")), "x.t" },
    { TAGGED("PII", "hive_table", TEST("why", "isNull", "")), "y.t_2" },
    { TAGGED("PII", "hive_table", TEST("why", "eq", "it\\u0027s")), "x.t" },
    { TAGGED("PII", "hive_table", TEST("why", "eq", "\\u0027) OR true --")), "" },
    { TAGGED("*", "hive_table", TEST("level", "in", "1")), NULL },
    { TAGGED("*", "hive_table", TEST("__typeName", "eq", "PII")), "x.t" },
    { TAGGED("_CLASSIFIED", "hive_table", TEST("__createdBy", "eq", "anonymous")), "x.t y.t_2" },
    { TAGGED("_CLASSIFIED", "hive_table", TEST("__timestamp", "gt", "1704067200000")),
      "x.t y.t_2" },
    { TAGGED("PII", "hive_table", TEST("__modificationTimestamp", "lt", "1704067200000")), "" },
    /* of one classification, not of several */
    { TAGGED("PII", "ml_model_build",
             "{'criterion':[" TEST("level", "eq", "1") "," TEST("why", "notNull", "") "]}"),
      "" },
    { TAGGED("PII", "ml_model_build",
             "{'criterion':[" TEST("level", "eq", "3") "," TEST("why", "notNull", "") "]}"),
      "b1" },
    { TAGGED("PII", "ml_model_build",
             "{'condition':'OR','criterion':[" TEST("level", "eq", "7") "," TEST("level", "eq",
                                                                                 "1") "]}"),
      "b1" },
    { "{'classification':'PII','typeName':'ml_model_deployment','query':'d*','tagFilters':" TEST(
          "level", "eq", "3") ",'entityFilters':" TEST("status", "eq", "stopped") "}",
      "d1" },
};

START_TEST(searches_by_filters_of_classifications)
{
    AUTO(service_free) struct service *service = search_start_classified();

    for (size_t i = 0; i < LENGTH(tagged_cases); i++) {
        const char *want = tagged_cases[i].want;
        json_auto_t *answer =
            service_ask(service, want ? 200 : 400, "POST", SEARCH "basic", tagged_cases[i].body);
        int64_t count = want && *want != '\0';

        for (const char *c = want; c && *c; c++)
            count += *c == ' ';
        if (want)
            check_found(answer, want, count, tagged_cases[i].body);
        else
            ck_assert_str_eq(service_text(answer, "errorMessage"),
                             "operator in does not go with attribute level");
    }
}
END_TEST

/* A body may be compressed, as that of events. */
START_TEST(searches_by_compressed_filters)
{
    static const char *const gzip[] = { "Content-Type: application/json", "Content-Encoding: gzip",
                                        NULL };
    static const char *const other[] = { "Content-Type: application/json", "Content-Encoding: br",
                                         NULL };
    static const char body[] = "{\"typeName\":\"ml_project\"}";
    AUTO(service_free) struct service *service = search_start();
    AUTO(mem_free) char *url = daemon_url(service->daemon, SEARCH "basic");
    struct http_request request = { .method = "POST", .url = url, .headers = gzip };
    AUTO(mem_free) char *packed = http_gzip(body, strlen(body), &request.len);
    AUTO(http_answer_free) struct http_answer *answer = NULL, *refused = NULL;
    json_auto_t *found = NULL, *error = NULL;

    request.body = packed;
    answer = http_send(service->http, &request);
    ck_assert_msg(answer->status == 200, "%s", answer->body);
    found = http_json(answer);
    check_found(found, "p1 p2", 2, "gzip");
    request.headers = other;
    refused = http_send(service->http, &request);
    ck_assert_int_eq(refused->status, 415);
    error = http_json(refused);
    ck_assert_str_eq(service_text(error, "errorMessage"),
                     "Content-Encoding \"br\" is not known: send gzip or identity");
}
END_TEST

/* ---- quick search ---- */

#define BUILDS_NAMED "'typeName':'ml_model_build','entityFilters':" TEST("name", "eq", "fraud_a")

static const struct {
    const char *query, *body; /* NULL: a GET */
    const char *want;
    int64_t count;
} quick_cases[] = {
    { "quick?query=chur&typeName=ml_project", NULL, "p1", 1 },
    { "quick?query=chur&limit=2&sortBy=qualifiedName", NULL, "b1:train_build b1", 6 },
    { "quick?query=churn+model&typeName=ml_model_build", NULL, "b1", 1 },
    { "quick?query=churn+mod&typeName=ml_model_build", NULL, "", 0 },
    { "quick?query=t_2@c&typeName=hive_table", NULL, "", 0 },
    { "quick?query=t_2@c*&typeName=hive_table", NULL, "y.t_2", 1 },
    { "quick?typeName=hive_table&offset=1", NULL, "y.t_2", 2 },
    { "quick?typeName=DataSet", NULL, "", 0 },
    { "quick", "{'typeName':'DataSet','query':'fra','includeSubTypes':true}", "p2 b2 d2", 3 },
    { "quick", "{'typeName':'DataSet','query':'fra','includeSubTypes':null}", "", 0 },
    { "quick", "{'query':null,'classification':'none'," BUILDS_NAMED "}", "b2", 1 },
};

START_TEST(searches_quickly)
{
    AUTO(service_free) struct service *service = search_start();

    for (size_t i = 0; i < LENGTH(quick_cases); i++) {
        AUTO(mem_free) char *path = xasprintf(SEARCH "%s", quick_cases[i].query);
        const char *body = quick_cases[i].body;
        json_auto_t *answer = service_ask(service, 200, body ? "POST" : "GET", path, body);

        check_found(json_object_get(answer, "searchResults"), quick_cases[i].want,
                    quick_cases[i].count, body ? body : path);
        ck_assert(json_is_object(json_object_get(answer, "aggregationMetrics")));
    }
}
END_TEST

/* All that are found are counted, not the page alone. */
START_TEST(quick_search_counts)
{
    AUTO(service_free) struct service *service = search_start();
    AUTO(mem_free)
    char *text = service_quoted(
        "{'__typeName':[{'name':'ml_model_deployment','count':2},{'name':'ml_project','count':2}],"
        "'__state':[{'name':'ACTIVE','count':3},{'name':'DELETED','count':1}],"
        "'Asset.owner':[{'name':'eve','count':2},{'name':'ada','count':1},{'name':'bob','count':1}"
        "],'ServiceType':[{'name':'ml','count':4}]}");
    AUTO(mem_free)
    char *body =
        service_quoted("{'typeName':'ml_project,ml_model_deployment','limit':1,'query':'*'}");
    json_auto_t *want = service_json(text);
    json_auto_t *answer = NULL, *none = NULL;
    const json_t *results;

    pg_exec(service->dsn, "UPDATE entity SET is_deleted = true WHERE qualified_name = 'p1@cm'");
    answer = service_post(service, 200, SEARCH "quick", body);
    results = json_object_get(answer, "searchResults");
    check_found(results, "p1", 4, "counted");
    ck_assert_str_eq(service_text(results, "queryType"), "BASIC");
    ck_assert_str_eq(service_text(results, "queryText"), "*");
    service_check_same(json_object_get(answer, "aggregationMetrics"), want, "counts");

    none = service_get(service, 200, SEARCH "quick?query=nothing");
    json_decref(want);
    free(text);
    text = service_quoted("{'__typeName':[],'__state':[],'Asset.owner':[],'ServiceType':[]}");
    want = service_json(text);
    service_check_same(json_object_get(none, "aggregationMetrics"), want, "nothing");
    ck_assert_str_eq(service_text(json_object_get(none, "searchResults"), "queryText"), "nothing*");
}
END_TEST

static const struct {
    const char *query, *want; /* suggestions, with spaces between them */
} suggest_cases[] = {
    { "prefixString=chu", "churn" },
    { "prefixString=CHU&fieldName=name", "churn" },
    { "prefixString=c", "cm churn create" },
    { "prefixString=b&fieldName=qualifiedName", "b1 b2" },
    { "prefixString=e&fieldName=owner", "eve" },
    { "prefixString=t", "train_build t t_2" },
    { "prefixString=x.t", "" },
    { "prefixString=%27%29", "" },
    { "prefixString=zzz&fieldName=", "" },
};

START_TEST(suggests_words)
{
    AUTO(service_free) struct service *service = search_start();

    for (size_t i = 0; i < LENGTH(suggest_cases); i++) {
        AUTO(mem_free)
        char *path = xasprintf(SEARCH "suggestions?%s", suggest_cases[i].query);
        json_auto_t *answer = service_get(service, 200, path);
        const json_t *words = json_object_get(answer, "suggestions"), *word;
        AUTO(buf_done) struct buf have;
        size_t n;

        buf_init(&have, SIZE_MAX);
        json_array_foreach(words, n, word)
            buf_append_fmt(&have, "%s%s", n ? " " : "", json_string_value(word));
        ck_assert_msg(strcmp(buf_text(&have), suggest_cases[i].want) == 0, "%s: \"%s\"", path,
                      buf_text(&have));
        ck_assert_ptr_nonnull(json_object_get(answer, "prefixString"));
    }
}
END_TEST

/* ---- the answer ---- */

START_TEST(answer_is_that_of_atlas)
{
    AUTO(service_free) struct service *service = search_start();
    AUTO(mem_free)
    char *guid = pg_query_text(service->dsn, "SELECT guid FROM entity WHERE qualified_name ="
                                             " 'b1@cm' AND to_batch IS NULL");
    AUTO(mem_free)
    char *body =
        service_quoted("{'typeName':'ml_model_build','query':'churn','classification':null,"
                       "'attributes':['metadata','imageTag'],'limit':25}");
    AUTO(mem_free)
    char *text = xasprintf(
        "{\"queryType\":\"BASIC\",\"searchParameters\":{\"query\":\"churn\",\"typeName\":"
        "\"ml_model_build\",\"excludeDeletedEntities\":false,\"includeClassificationAttributes\":"
        "false,\"includeSubTypes\":true,\"includeSubClassifications\":true,"
        "\"excludeHeaderAttributes\":false,\"limit\":25,\"offset\":0,\"attributes\":[\"metadata\","
        "\"imageTag\"]},\"queryText\":\"churn\",\"entities\":[{\"typeName\":\"ml_model_build\","
        "\"attributes\":{\"qualifiedName\":\"b1@cm\",\"name\":\"Churn model\",\"owner\":\"ada\","
        "\"createTime\":1704067200002,\"metadata\":{\"query\":\"select\"}},\"guid\":\"%s\","
        "\"status\":\"ACTIVE\",\"displayText\":\"Churn model\",\"classificationNames\":[],"
        "\"classifications\":[],\"meaningNames\":[],\"meanings\":[],\"isIncomplete\":false,"
        "\"labels\":[]}],\"approximateCount\":1}",
        guid);
    json_auto_t *want = service_json(text);
    json_auto_t *answer = service_post(service, 200, SEARCH "basic", body);
    json_t *metadata =
        json_object_get(json_object_get(json_array_get(json_object_get(answer, "entities"), 0),
                                        "attributes"),
                        "metadata");

    ck_assert_str_eq(service_text(metadata, "query"), "select");
    (void)json_object_clear(metadata); /* and what Plumbline puts beside it */
    (void)json_object_set_new(metadata, "query", json_string("select"));
    service_check_same(answer, want, "answer");
}
END_TEST

START_TEST(deleted_ones_are_found_unless_excluded)
{
    AUTO(service_free) struct service *service = search_start();
    json_auto_t *with = NULL, *without = NULL;
    const json_t *entity;

    pg_exec(service->dsn, "UPDATE entity SET is_deleted = true WHERE qualified_name = 'p1@cm'");
    with = service_get(service, 200, SEARCH "basic?typeName=ml_project");
    without =
        service_get(service, 200, SEARCH "basic?typeName=ml_project&excludeDeletedEntities=true");
    check_found(with, "p1 p2", 2, "with");
    check_found(without, "p2", 1, "without");
    entity = json_array_get(json_object_get(with, "entities"), 0);
    ck_assert_str_eq(service_text(entity, "status"), "DELETED");
}
END_TEST

/* The page of those that are called z, and what is in it: z.00001 and so on from `from` on. All of
 * them sort alike. */
static void check_page(struct service *service, int from, int len)
{
    AUTO(mem_free)
    char *path = xasprintf(SEARCH "basic?query=z&sortBy=name&limit=1700&offset=%d", from);
    json_auto_t *page = service_get(service, 200, path);
    const json_t *entities = json_object_get(page, "entities"), *entity;
    size_t i;

    ck_assert_uint_eq(json_array_size(entities), (size_t)len);
    json_array_foreach(entities, i, entity)
    {
        AUTO(mem_free) char *want = xasprintf("z.%05d@cm", from + (int)i + 1);

        ck_assert_str_eq(service_text(json_object_get(entity, "attributes"), "qualifiedName"),
                         want);
    }
}

/* Pages fit together, and an answer of more than one flush is whole. */
START_TEST(pages_of_many)
{
    AUTO(service_free) struct service *service = search_start();
    json_auto_t *all = NULL, *rest = NULL;

    pg_exec(service->dsn,
            "INSERT INTO entity (entity_id, from_batch, created_batch, guid, type, qualified_name,"
            " is_incomplete, created_by, updated_by, attributes)"
            " SELECT 1000 + i, e.from_batch, e.created_batch, gen_random_uuid(), e.type,"
            " 'z.' || lpad(i::text, 5, '0') || '@cm', true, 'ada', 'ada', '{\"name\": \"z\"}'"
            " FROM entity AS e, generate_series(1, 3000) AS i WHERE e.qualified_name = 'x.t@cm'");
    all = service_get(service, 200,
                      SEARCH "basic?typeName=hive_table&sortBy=qualifiedName&limit=2500");
    rest =
        service_get(service, 200, SEARCH "basic?query=z&sortBy=qualifiedName&limit=3&offset=2998");
    ck_assert_uint_eq(json_array_size(json_object_get(all, "entities")), 2500);
    ck_assert_int_eq(service_number(all, "approximateCount"), 3002);
    check_found(rest, "z.02999 z.03000", 3000, "rest");
    check_page(service, 0, 1700);
    check_page(service, 1700, 1300);
}
END_TEST

/* By the beginning of a name in the order of names, whatever was made first, and counted not far
 * beyond the page. */
START_TEST(names_in_order)
{
    AUTO(service_free) struct service *service = search_start();
    json_auto_t *qualified = NULL, *named = NULL, *nested = NULL, *last = NULL;

    pg_exec(service->dsn,
            "INSERT INTO entity (entity_id, from_batch, created_batch, guid, type, qualified_name,"
            " is_incomplete, created_by, updated_by, attributes)"
            " SELECT 1000 + i, e.from_batch, e.created_batch, gen_random_uuid(), e.type,"
            " 'z.' || lpad((3001 - i)::text, 5, '0') || '@cm', true, 'ada', 'ada',"
            " jsonb_build_object('name', 'n%%_' || lpad((i * 7 %% 3001)::text, 5, '0'))"
            " FROM entity AS e, generate_series(1, 3000) AS i WHERE e.qualified_name = 'x.t@cm'");
    qualified = service_get(service, 200, SEARCH "attribute?attrValuePrefix=z.&limit=2&offset=1");
    check_found(qualified, "z.00002 z.00003", 1003, "qualified");
    named = service_get(service, 200,
                        SEARCH "attribute?attrName=name&attrValuePrefix=n%25_&limit=2"
                               "&typeName=hive_table,ml_project");
    check_found(named, "z.01286 z.02572", 1002, "named");
    nested =
        service_post(service, 200, SEARCH "basic",
                     "{\"limit\":1,\"entityFilters\":{\"condition\":\"AND\",\"criterion\":[{"
                     "\"attributeName\":\"name\",\"operator\":\"startsWith\",\"attributeValue\":"
                     "\"n%_0300\"}]}}");
    check_found(nested, "z.01715", 1, "nested");
    last = service_get(service, 200, SEARCH "attribute?attrValuePrefix=z.02&limit=5&offset=997");
    check_found(last, "z.02997 z.02998 z.02999", 1000, "last");
}
END_TEST

/* What an index can't hold is no reason to refuse an event; the beginning is found. */
START_TEST(long_texts_are_found_by_their_beginning)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *text = xcalloc(60001, 1);
    AUTO(mem_free) char *events = NULL;
    json_auto_t *start = NULL, *end = NULL, *wide = NULL;

    memset(text, 'x', 60000);
    (void)memcpy(text + 1000, " end", 4);
    events = xasprintf("[{\"event\":\"project_created\",\"projectCrn\":\"p1\",\"projectName\":"
                       "\"P\",\"userName\":\"ada\",\"description\":\"begin %s\"}]",
                       text);
    service_take(service, events);
    for (size_t i = 0; i < 60000; i += 2)
        (void)memcpy(text + i, "\xc3\xa4", 2);
    free(events);
    events = xasprintf("[{\"event\":\"project_created\",\"projectCrn\":\"p2\",\"projectName\":"
                       "\"P\",\"userName\":\"ada\",\"description\":\"%s\"}]",
                       text);
    service_take(service, events);
    start = service_get(service, 200, SEARCH "basic?query=begin+xxx*&typeName=ml_project");
    end = service_get(service, 200, SEARCH "basic?query=end");
    wide = service_get(service, 200, SEARCH "basic?query=%C3%A4*");
    check_found(start, "p1", 1, "start");
    check_found(end, "", 0, "end");
    check_found(wide, "p2", 1, "wide");
}
END_TEST

/* ---- plans ---- */

static const struct {
    const char *parameters, *index; /* that finds what is counted and shown */
    bool by_text;                   /* what the index finds is read, too */
} plan_cases[] = {
    { "{'typeName':'hive_table'}", "entity_type", false },
    { "{'typeName':'hive_table,ml_project'}", "entity_type", false },
    { "{'typeName':'hive_table','sortBy':'qualifiedName'}", "entity_prefix", false },
    { "{'query':'name77'}", "entity_word", false },
    { "{'query':'x.t@cm'}", "entity_word", true },
    { "{'query':'name77* z'}", "entity_word", false },
    { "{'query':'NAME_7*'}", "entity_word", false },
    { "{'query':'name77?'}", "entity_word", true },
    { "{'query':'name77**'}", "entity_word", true },
    { "{'query':'name77*0'}", "entity_word", true },
    { "{'typeName':'hive_table','entityFilters':" TEST("qualifiedName", "startsWith", "z.000") "}",
      "entity_prefix", false },
    { "{'typeName':'hive_table','entityFilters':" TEST("qualifiedName", "startsWith", "z") "}",
      "entity_prefix", false },
    { "{'typeName':'hive_table','entityFilters':" TEST("name", "startsWith", "name77") "}",
      "entity_label", false },
    { "{'entityFilters':{'criterion':[" TEST("name", "startsWith", "n") "]}}", "entity_label",
      false },
    { "{'entityFilters':" TEST("qualifiedName", "eq", "z.00001@cm") "}", "entity_prefix", false },
};

/* Whatever an attribute is called, it stays a name: a statement that is another one fails, or finds
 * something. */
START_TEST(names_are_quoted)
{
    static const char *const names[] = {
        "it's", "') OR true OR ('' = '", "a\\", "\\' OR true --", "a\"b", "100%s", "a;b"
    };
    AUTO(mem_free) char *dsn = pg_database_new(pg_shared());
    AUTO(service_free)
    struct service *service = service_start_with(&(struct daemon_options){ .dsn = dsn });
    PGconn *conn = pg_connect(dsn);

    for (size_t i = 0; i < LENGTH(search_events); i++)
        service_take(service, search_events[i]);
    for (size_t i = 0; i < LENGTH(names); i++) {
        char *value = xstrdup("x");
        const char *shown = names[i];
        struct search_field field = { SEARCH_IN_ATTRIBUTES, SEARCH_TEXT, names[i] };
        struct search search = {
            .has_filter = true,
            .filter = { .field = field, .operator= SEARCH_EQ, .values = &value, .values_len = 1 },
            .has_sort = true,
            .sort = field,
            .attributes = &shown,
            .attributes_len = 1,
            .limit = 10
        };
        AUTO(search_sql_done) struct search_sql sql;
        AUTO(store_result_free) PGresult *result = NULL;

        search_sql_init(&sql);
        store_search_write(&sql, &search);
        result = PQexecParams(conn, buf_text(&sql.text), sql.values_len, NULL,
                              (const char *const *)sql.values, NULL, NULL, 0);
        ck_assert_msg(PQresultStatus(result) == PGRES_TUPLES_OK, "%s: %s", names[i],
                      PQerrorMessage(conn));
        ck_assert_msg(strcmp(PQgetvalue(result, 0, 0), "0") == 0, "%s finds", names[i]);
        free(value);
    }
    PQfinish(conn);
}
END_TEST

/* Owned. */
static char *plan_of(PGconn *conn, const struct search *search)
{
    AUTO(search_sql_done) struct search_sql sql;
    AUTO(mem_free) char *explain = NULL;
    AUTO(store_result_free) PGresult *result = NULL;
    AUTO(buf_done) struct buf plan;

    search_sql_init(&sql);
    buf_init(&plan, SIZE_MAX);
    store_search_write(&sql, search);
    PQclear(PQexec(conn, "BEGIN"));
    PQclear(PQexec(conn, store_search_plans(search)));
    explain = xasprintf("EXPLAIN %s", buf_text(&sql.text));
    result = PQexecParams(conn, explain, sql.values_len, NULL, (const char *const *)sql.values,
                          NULL, NULL, 0);
    ck_assert_msg(PQresultStatus(result) == PGRES_TUPLES_OK, "%s", PQerrorMessage(conn));
    for (int row = 0; row < PQntuples(result); row++)
        buf_append_fmt(&plan, "%s\n", PQgetvalue(result, row, 0));
    PQclear(PQexec(conn, "ROLLBACK"));
    return xstrdup(buf_text(&plan));
}

/* Nobody looks at all entities for what an index can find. */
START_TEST(indexes_are_used)
{
    AUTO(service_free) struct service *service = search_start();
    AUTO(type_registry_free) struct type_registry *types = type_registry_new();
    AUTO(store_close) PGconn *conn = pg_connect(service->dsn);

    pg_exec(service->dsn, "INSERT INTO entity (entity_id, from_batch, created_batch, guid, type,"
                          " qualified_name, is_incomplete, created_by, updated_by, attributes)"
                          " SELECT 1000 + i, e.from_batch, e.created_batch, gen_random_uuid(),"
                          " CASE WHEN i %% 5 = 0 THEN 'hive_table' ELSE 'fs_path' END,"
                          " 'z.' || lpad(i::text, 5, '0') || '@cm', true, 'ada', 'ada',"
                          " jsonb_build_object('name', 'name' || i)"
                          " FROM entity AS e, generate_series(1, 5000) AS i"
                          " WHERE e.qualified_name = 'x.t@cm'");
    pg_exec(service->dsn, "VACUUM ANALYZE entity");
    for (size_t i = 0; i < LENGTH(plan_cases); i++) {
        AUTO(mem_free) char *text = service_quoted(plan_cases[i].parameters);
        json_auto_t *parameters = service_json(text);
        AUTO(mem_free) char *plan = NULL;
        struct search_fault fault;
        struct search search;

        ck_assert_int_eq(search_parse(&search, types, parameters, &fault), 0);
        plan = plan_of(conn, &search);
        ck_assert_msg(strstr(plan, plan_cases[i].index) != NULL &&
                          strstr(plan, "Seq Scan on entity ") == NULL,
                      "%s:\n%s", plan_cases[i].parameters, plan);
        ck_assert_msg((strstr(plan, "(?n)") != NULL) == plan_cases[i].by_text, "%s:\n%s",
                      plan_cases[i].parameters, plan);
        search_done(&search);
    }
}
END_TEST

/* ---- limits ---- */

/* Owned: a filter of `count` values of `name`. */
static json_t *filter_of(const char *operator, int count)
{
    AUTO(buf_done) struct buf values;

    buf_init(&values, SIZE_MAX);
    for (int i = 0; i < count; i++)
        buf_append_fmt(&values, "%sv%d", i ? "," : "", i);
    return json_pack("{s:s, s:s, s:s}", "attributeName", "name", "operator", operator,
                     "attributeValue", buf_text(&values));
}

/* As many values as there may be are answered, and one more is refused, be it in another filter:
 * Postgres has what it needs for each of them in memory. */
START_TEST(values_have_a_limit)
{
    AUTO(service_free) struct service *service = search_start();
    json_auto_t *parameters =
        json_pack("{s:s, s:{s:[o, o]}}", "typeName", "ml_model_build", "entityFilters", "criterion",
                  filter_of("in", SEARCH_VALUES_MAX / 2),
                  filter_of("containsAny", SEARCH_VALUES_MAX / 2));
    json_t *criterion = json_object_get(json_object_get(parameters, "entityFilters"), "criterion");
    AUTO(mem_free) char *most = json_dumps(parameters, 0);
    AUTO(mem_free) char *more = NULL;
    json_auto_t *answer = service_post(service, 200, SEARCH "basic", most);
    json_auto_t *refused = NULL;

    check_found(answer, "", 0, "most");
    (void)json_array_append_new(criterion, filter_of("eq", 1));
    more = json_dumps(parameters, 0);
    refused = service_post(service, 400, SEARCH "basic", more);
    service_check_fault(refused, "ATLAS-400-00-029",
                        "more than 200 values in all filters: ask for some of them at a time");
}
END_TEST

static int found_none(void *ctx, const struct entity *entity, const struct tags *tags, size_t place,
                      struct err *err)
{
    (void)ctx;
    (void)tags;
    (void)place;
    return err_set(err, ERR_FATAL, "%s was found", entity->guid);
}

/* A statement that does not fit is not sent: cut, it would be another one. */
START_TEST(no_statement_is_cut)
{
    enum { ATTRIBUTES = 100 * 1000 };
    AUTO(service_free) struct service *service = service_start();
    AUTO(type_registry_free) struct type_registry *types = type_registry_new();
    AUTO(store_close) PGconn *conn = pg_connect(service->dsn);
    json_auto_t *parameters = service_json("{\"typeName\":\"ml_project\"}");
    struct search_fault fault;
    struct search search;
    struct err err = { 0 };
    int64_t count = 0;

    ck_assert_int_eq(search_parse(&search, types, parameters, &fault), 0);
    search.attributes = xreallocarray(search.attributes, ATTRIBUTES, sizeof(*search.attributes));
    while (search.attributes_len < ATTRIBUTES)
        search.attributes[search.attributes_len++] = "description";
    ck_assert_int_eq(store_search_begin(conn, &err), 0);
    ck_assert_int_eq(store_search(conn, types, NULL, &search, found_none, NULL, &count, &err), -1);
    ck_assert_int_eq(err.kind, ERR_INPUT);
    ck_assert_str_eq(err.text, "the search is larger than any that is looked for");
    search_done(&search);
}
END_TEST

static int found_any(void *ctx, const struct entity *entity, const struct tags *tags, size_t place,
                     struct err *err)
{
    (void)entity;
    (void)tags;
    (void)place;
    (void)err;
    ++*(int *)ctx;
    return 0;
}

/* Where attributes are shown, which may be large, few rows are in memory at once. */
START_TEST(large_rows_come_a_few_at_a_time)
{
    AUTO(service_free) struct service *service = search_start();
    AUTO(type_registry_free) struct type_registry *types = type_registry_new();
    AUTO(store_close) PGconn *conn = pg_connect(service->dsn);
    json_auto_t *parameters =
        service_json("{\"typeName\":\"ml_project\",\"attributes\":[\"description\"]}");
    AUTO(mem_free) char *said = NULL;
    size_t said_len = 0;
    FILE *trace = open_memstream(&said, &said_len);
    struct search_fault fault;
    struct search search;
    struct err err = { 0 };
    int64_t count = 0;
    int found = 0;

    ck_assert_int_eq(search_parse(&search, types, parameters, &fault), 0);
    ck_assert_int_eq(store_search_begin(conn, &err), 0);
    PQtrace(conn, trace);
    ck_assert_int_eq(store_search(conn, types, NULL, &search, found_any, &found, &count, &err), 0);
    PQuntrace(conn);
    (void)fclose(trace);
    ck_assert_int_eq(found, 2);
    ck_assert_msg(strstr(said, "FETCH 8 FROM search") != NULL, "%s", said);
    search_done(&search);
}
END_TEST

/* No statement of a search takes for ever. */
START_TEST(statements_have_a_time_out)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(store_close) PGconn *conn = pg_connect(service->dsn);
    AUTO(store_result_free) PGresult *result = NULL;
    struct err err = { 0 };

    ck_assert_int_eq(store_search_begin(conn, &err), 0);
    result = store_query(conn, "SHOW statement_timeout", "show", &err);
    ck_assert_msg(result != NULL, "%s", err.text);
    ck_assert_str_eq(PQgetvalue(result, 0, 0), "30s");
}
END_TEST

static void *search_projects(void *url)
{
    AUTO(http_free) struct http *http = http_new();

    return http_get(http, url);
}

/* Ended here by a wish: 30 seconds are too long for a test, and the server does the same. */
START_TEST(a_search_that_takes_too_long_is_told)
{
    AUTO(service_free) struct service *service = search_start();
    AUTO(mem_free)
    char *url = daemon_url(service->daemon, SEARCH "basic?typeName=ml_project");
    PGconn *conn = pg_connect(service->dsn);
    json_auto_t *answer = NULL, *again = NULL;
    struct http_answer *told = NULL;
    pthread_t thread;
    void *returned;

    PQclear(PQexec(conn, "BEGIN; LOCK TABLE entity IN ACCESS EXCLUSIVE MODE"));
    ck_assert_int_eq(PQtransactionStatus(conn), PQTRANS_INTRANS);
    ck_assert_int_eq(pthread_create(&thread, NULL, search_projects, url), 0);
    WAIT_UNTIL(20000, pg_query_i64(service->dsn,
                                   "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity"
                                   " WHERE datname = current_database() AND application_name ="
                                   " 'plumbline read' AND wait_event_type = 'Lock'") == 1);
    ck_assert_int_eq(pthread_join(thread, &returned), 0);
    PQfinish(conn);
    told = returned;
    ck_assert_msg(told->status == 400, "%s", told->body);
    answer = http_json(told);
    service_check_fault(answer, "ATLAS-400-00-029",
                        "the search takes too long: name a type, or words or names that begin with "
                        "what is looked for");
    http_answer_free(told);
    again = service_get(service, 200, SEARCH "basic?typeName=ml_project");
    check_found(again, "p1 p2", 2, "again");
}
END_TEST

/* Whoever writes to the graph waits for what he wrote himself, and for no one's list. */
START_TEST(words_have_no_pending_list)
{
    AUTO(service_free) struct service *service = service_start();

    ck_assert_int_eq(pg_query_i64(service->dsn,
                                  "SELECT count(*) FROM pg_class WHERE relname = 'entity_word'"
                                  " AND reloptions = '{fastupdate=off}'"),
                     1);
}
END_TEST

/* ---- errors ---- */

static const struct {
    const char *path, *body; /* NULL: a GET */
    long status;
    const char *code, *message;
} error_cases[] = {
    { "basic", NULL, 400, "ATLAS-400-00-047",
      "No search parameter was found. One of the following MUST be specified in the request; "
      "typeName, classification, termName or queryText" },
    { "basic?typeName=none", NULL, 400, "ATLAS-400-00-00A", "none: Unknown/invalid typename" },
    { "basic?typeName=hive_table&limit=-1", NULL, 400, "ATLAS-400-00-029",
      "Limit/offset should be non-negative" },
    { "basic?query=%ff", NULL, 400, "ATLAS-400-00-029", "query is not UTF-8" },
    { "basic", "{\"typeName\":", 400, "ATLAS-400-00-029",
      "line 1, column 12: unexpected token near end of file" },
    { "basic", "", 400, "ATLAS-400-00-029",
      "line 1, column 0: '[' or '{' expected near end of file" },
    { "basic", "[]", 400, "ATLAS-400-00-029", "the body must be a JSON object" },
    { "basic?typeName=hive_table&marker=*", NULL, 400, "ATLAS-400-00-029",
      "marker is not supported" },
    { "basic?typeName=hive_table&excludeHeaderAttributes=true", NULL, 400, "ATLAS-400-00-029",
      "excludeHeaderAttributes is not supported" },
    { "basic?typeName=,", NULL, 400, "ATLAS-400-00-00A", ",: Unknown/invalid typename" },
    { "basic",
      "{\"typeName\":\"ml_model_build\",\"entityFilters\":{\"attributeName\":\"version\","
      "\"operator\":\"gt\",\"attributeValue\":\"1e-99999\"}}",
      400, "ATLAS-400-00-028", "invalid value: 1e-99999" },
    { "attribute", NULL, 400, "ATLAS-400-00-01A",
      "invalid parameters: attrName : null, attrValue: null for attribute search." },
    { "attribute?attrName=name", NULL, 400, "ATLAS-400-00-029",
      "attributeValue of name is missing" },
    { "attribute?attrName=%ff&attrValuePrefix=x", NULL, 400, "ATLAS-400-00-029",
      "attrName or attrValuePrefix is not UTF-8" },
    { "attribute", "{}", 405, "ATLAS-405-00-001", "v2/search/attribute takes GET, HEAD" },
    { "quick", NULL, 400, "ATLAS-400-00-047",
      "No search parameter was found. One of the following MUST be specified in the request; "
      "typeName, classification, termName or queryText" },
    { "quick",
      "{\"query\":\"x\",\"entityFilters\":{\"attributeName\":\"name\",\"operator\":\"eq\","
      "\"attributeValue\":\"x\"}}",
      400, "ATLAS-400-00-029", "EntityFilters specified without Type name" },
    { "quick", "[]", 400, "ATLAS-400-00-029", "the body must be a JSON object" },
    { "quick", "{\"query\":\"x\",\"limit\":-1}", 400, "ATLAS-400-00-029",
      "Limit/offset should be non-negative" },
    { "quick?query=x&offset=-1", NULL, 400, "ATLAS-400-00-029",
      "Limit/offset should be non-negative" },
    { "quick?typeName=none", NULL, 400, "ATLAS-400-00-00A", "none: Unknown/invalid typename" },
    { "quick", "{\"query\":\"x\",\"excludeHeaderAttributes\":true}", 400, "ATLAS-400-00-029",
      "excludeHeaderAttributes is not supported" },
    { "quick?query=x&as_of=5", NULL, 400, "ATLAS-400-00-029",
      "\"as_of\" is for entities, their audit and lineage: this has no history" },
    { "suggestions", NULL, 400, "ATLAS-400-00-01A", "invalid parameters: prefixString : null" },
    { "suggestions?prefixString=a&fieldName=comment", NULL, 400, "ATLAS-400-00-029",
      "nothing is suggested of fieldName comment" },
    { "suggestions?prefixString=%ff", NULL, 400, "ATLAS-400-00-029", "prefixString is not UTF-8" },
    { "suggestions?prefixString=a&as_of=5", NULL, 400, "ATLAS-400-00-029",
      "\"as_of\" is for entities, their audit and lineage: this has no history" },
    { "suggestions", "{}", 405, "ATLAS-405-00-001", "v2/search/suggestions takes GET, HEAD" },
};

START_TEST(errors_are_those_of_atlas)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *large = xcalloc(1024 * 1024 + 2, 1);
    json_auto_t *refused = NULL;

    for (size_t i = 0; i < LENGTH(error_cases); i++) {
        AUTO(mem_free) char *path = xasprintf(SEARCH "%s", error_cases[i].path);
        json_auto_t *answer =
            error_cases[i].body
                ? service_post(service, error_cases[i].status, path, error_cases[i].body)
                : service_get(service, error_cases[i].status, path);

        service_check_fault(answer, error_cases[i].code, error_cases[i].message);
    }
    memset(large, ' ', 1024 * 1024 + 1);
    refused = service_post(service, 413, SEARCH "basic", large);
    service_check_fault(refused, "ATLAS-413-00-001", "the body is larger than 1048576 bytes");
}
END_TEST

Suite *search_suite(void)
{
    Suite *suite = suite_create("search");
    TCase *tc = tcase_create("search");

    tcase_add_unchecked_fixture(tc, pg_shared_start, NULL);
    tcase_add_test(tc, searches_by_get);
    tcase_add_test(tc, searches_by_filters);
    tcase_add_test(tc, searches_by_filters_of_classifications);
    tcase_add_test(tc, searches_by_compressed_filters);
    tcase_add_test(tc, searches_quickly);
    tcase_add_test(tc, quick_search_counts);
    tcase_add_test(tc, suggests_words);
    tcase_add_test(tc, answer_is_that_of_atlas);
    tcase_add_test(tc, deleted_ones_are_found_unless_excluded);
    tcase_add_test(tc, pages_of_many);
    tcase_add_test(tc, names_in_order);
    tcase_add_test(tc, long_texts_are_found_by_their_beginning);
    tcase_add_test(tc, names_are_quoted);
    tcase_add_test(tc, indexes_are_used);
    tcase_add_test(tc, values_have_a_limit);
    tcase_add_test(tc, no_statement_is_cut);
    tcase_add_test(tc, large_rows_come_a_few_at_a_time);
    tcase_add_test(tc, statements_have_a_time_out);
    tcase_add_test(tc, a_search_that_takes_too_long_is_told);
    tcase_add_test(tc, words_have_no_pending_list);
    tcase_add_test(tc, errors_are_those_of_atlas);
    suite_add_tcase(suite, tc);
    return suite;
}
