/* Types that people define: made, changed and deleted by REST, known to every daemon, used by the
 * graph. What definitions may say is in tests/atlas/test_type_parse.c. */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tests/harness/pg.h"
#include "tests/harness/service.h"
#include "tests/harness/wait.h"

Suite *types_suite(void);

#define TYPES "/api/atlas/v2/types/"
#define TYPEDEFS TYPES "typedefs/"

enum { WAIT_MS = 30000 };

static void change(struct service *service, const char *method, long status, const char *body)
{
    json_decref(service_ask(service, status, method, TYPEDEFS, body));
}

#define FEATURE_SET                                                                                \
    "{'enumDefs': [{'name': 'fs_kind', 'elementDefs': [{'value': 'batch', 'ordinal': 0}]}],"       \
    "'classificationDefs': [{'name': 'PII', 'entityTypes': ['DataSet'], 'attributeDefs': "         \
    "[{'name': 'level', 'typeName': 'int', 'isOptional': true}]}],"                                \
    "'entityDefs': [{'name': 'feature_set', 'superTypes': ['DataSet'], 'serviceType': 'mine',"     \
    "'attributeDefs': [{'name': 'kind', 'typeName': 'fs_kind', 'isOptional': true}]}],"            \
    "'relationshipDefs': [{'name': 'feature_set_table', 'relationshipCategory': 'AGGREGATION', "   \
    "'propagateTags': 'ONE_TO_TWO', "                                                              \
    "'endDef1': {'type': 'hive_table', 'name': 'featureSets', 'isContainer': true, "               \
    "'cardinality': 'SET'}, 'endDef2': {'type': 'feature_set', 'name': 'table', 'cardinality': "   \
    "'SINGLE'}}]}"

START_TEST(made_changed_deleted)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *made = service_ask(service, 200, "POST", TYPEDEFS, FEATURE_SET);
    json_t *entity = json_array_get(json_object_get(made, "entityDefs"), 0);
    json_auto_t *got = service_get(service, 200, TYPES "entitydef/name/feature_set");
    json_auto_t *tag = service_get(service, 200, TYPES "classificationdef/name/PII");
    json_auto_t *table = service_get(service, 200, TYPES "typedef/name/hive_table");
    json_auto_t *same = NULL, *changed = NULL, *again = NULL, *headers = NULL;
    AUTO(mem_free)
    char *by_guid = xasprintf(TYPES "classificationdef/guid/%s", service_text(tag, "guid"));
    bool is_there = false;

    service_check_same(entity, got, "what POST answers");
    ck_assert_int_eq(service_number(got, "version"), 1);
    ck_assert_str_eq(service_text(got, "createdBy"), "anonymous");
    ck_assert_str_eq(service_text(got, "serviceType"), "mine");
    same = service_get(service, 200, by_guid);
    service_check_same(same, tag, "by guid");
    ck_assert_str_eq(service_text(tag, "category"), "CLASSIFICATION");
    for (size_t i = 0; i < json_array_size(json_object_get(table, "relationshipAttributeDefs"));
         i++) {
        json_t *relation = json_array_get(json_object_get(table, "relationshipAttributeDefs"), i);

        is_there = is_there || strcmp(service_text(relation, "name"), "featureSets") == 0;
    }
    ck_assert(is_there);
    headers = service_get(service, 200, TYPEDEFS "headers?type=classification");
    ck_assert_uint_eq(json_array_size(headers), 1);

    changed = service_ask(
        service, 200, "PUT", TYPEDEFS,
        "{'entityDefs': [{'name': 'feature_set', 'superTypes': ['DataSet'], "
        "'serviceType': 'mine', 'attributeDefs': [{'name': 'kind', 'typeName': 'fs_kind',"
        " 'isOptional': true}, {'name': 'rows', 'typeName': 'long', 'isOptional': "
        "true}]}]}");
    entity = json_array_get(json_object_get(changed, "entityDefs"), 0);
    ck_assert_int_eq(service_number(entity, "version"), 2);
    again = service_get(service, 200, TYPES "entitydef/name/feature_set");
    service_check_same(again, entity, "what PUT answers");

    service_check_refused(service, "DELETE", TYPES "typedef/name/fs_kind", NULL, "ATLAS-409-00-002",
                          "Given type fs_kind has references");
    service_check_refused(service, "DELETE", TYPES "typedef/name/feature_set", NULL,
                          "ATLAS-409-00-005",
                          "Given type feature_set has associated relationshipDefs");
    ck_assert_ptr_null(
        service_ask(service, 204, "DELETE", TYPES "typedef/name/feature_set_table", NULL));
    ck_assert_ptr_null(
        service_ask(service, 204, "DELETE", TYPEDEFS,
                    "{'entityDefs': [{'name': 'feature_set'}], 'enumDefs': [{'name': "
                    "'fs_kind'}], 'classificationDefs': [{'name': 'PII'}]}"));
    service_check_refused(service, "GET", TYPES "entitydef/name/feature_set", NULL,
                          "ATLAS-404-00-001", "Given typename feature_set was invalid");
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM type_definition"), 5);
    ck_assert_int_eq(pg_query_i64(service->dsn,
                                  "SELECT count(*) FROM type_definition WHERE to_batch IS NULL"),
                     0);
}
END_TEST

static const struct {
    const char *method, *path, *body;
    const char *code, *message;
} refused_cases[] = {
    { "POST", TYPEDEFS, "{", "ATLAS-400-00-029",
      "line 1, column 1: string or '}' expected near end of file" },
    { "POST", TYPEDEFS, "", "ATLAS-400-00-029",
      "line 1, column 0: '[' or '{' expected near end of file" },
    { "POST", TYPEDEFS, "[]", "ATLAS-400-00-029", "the body must be an AtlasTypesDef" },
    { "POST", TYPEDEFS, "{'entityDefs': [{'name': 'hive_table'}]}", "ATLAS-409-00-001",
      "Given type hive_table already exists" },
    { "POST", TYPEDEFS, "{'businessMetadataDefs': [{'name': 'b'}]}", "ATLAS-400-00-029",
      "business metadata is not supported" },
    { "POST", TYPEDEFS, "{'entityDefs': [{'name': 'a', 'superTypes': ['none']}]}",
      "ATLAS-404-00-001", "Given typename none was invalid" },
    { "PUT", TYPEDEFS, "{'entityDefs': [{'name': 'none'}]}", "ATLAS-404-00-001",
      "Given typename none was invalid" },
    { "PUT", TYPEDEFS, "{'entityDefs': [{'name': 'hive_table'}]}", "ATLAS-403-00-001",
      "nobody is authorized to perform update entity-def hive_table: it is built in" },
    { "DELETE", TYPEDEFS, "{'entityDefs': [{'name': 'hive_table'}]}", "ATLAS-403-00-001",
      "nobody is authorized to perform delete entity-def hive_table: it is built in" },
    { "DELETE", TYPES "typedef/name/hive_table", NULL, "ATLAS-403-00-001",
      "nobody is authorized to perform delete entity-def hive_table: it is built in" },
    { "DELETE", TYPES "typedef/name/none", NULL, "ATLAS-404-00-001",
      "Given typename none was invalid" },
    { "DELETE", TYPES "entitydef/name/none", NULL, "ATLAS-405-00-001",
      "v2/types/entitydef/name/none takes GET, HEAD" },
    { "PUT", TYPES "typedef/name/none", NULL, "ATLAS-405-00-001",
      "v2/types/typedef/name/none takes GET, HEAD, DELETE" },
};

/* Nothing of a request that is refused is stored. */
START_TEST(refused)
{
    AUTO(service_free) struct service *service = service_start();

    for (size_t i = 0; i < LENGTH(refused_cases); i++)
        service_check_refused(service, refused_cases[i].method, refused_cases[i].path,
                              refused_cases[i].body, refused_cases[i].code,
                              refused_cases[i].message);
    service_check_refused(
        service, "POST", TYPEDEFS,
        "{'entityDefs': [{'name': 'good'}, {'name': 'bad', 'attributeDefs': [{'name': "
        "'a', 'typeName': 'none'}]}]}",
        "ATLAS-404-00-001", "Given typename none was invalid");
    service_check_refused(service, "GET", TYPES "typedef/name/good", NULL, "ATLAS-404-00-001",
                          "Given typename good was invalid");
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM type_definition"), 0);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM graph_batch"), 0);
}
END_TEST

/* What changes nothing makes no version. */
START_TEST(unchanged)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *built_in = service_get(service, 200, TYPES "entitydef/name/hive_table");
    AUTO(mem_free) char *text = json_dumps(built_in, 0);
    AUTO(mem_free) char *body = xasprintf("{\"entityDefs\": [%s]}", text);

    change(service, "POST", 200, FEATURE_SET);
    service_check_refused(service, "POST", TYPEDEFS, FEATURE_SET, "ATLAS-409-00-001",
                          "Given type fs_kind already exists");
    change(service, "PUT", 200, FEATURE_SET);
    change(service, "PUT", 200, body);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM type_definition"), 4);
}
END_TEST

/* Trained on data of a type that people define; b is the build's name. */
static void train(struct service *service, const char *b, long status)
{
    AUTO(mem_free)
    char *event = xasprintf("{\"event\":\"model_built\",\"projectCrn\":\"p\",\"modelCrn\":\"m\","
                            "\"modelName\":\"Model\",\"modelBuildCrn\":\"%s\",\"buildNumber\":1,"
                            "\"userName\":\"bob\",\"createdAtMs\":1704067200000,\"inputs\":[{"
                            "\"typeName\":\"feature_set\",\"qualifiedName\":\"f@cm\"}]}",
                            b);

    json_decref(service_post(service, status, "/v1/events", event));
}

START_TEST(the_graph_uses_them)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *found = NULL, *lineage = NULL;
    AUTO(mem_free) char *path = NULL;

    train(service, "b1", 400);
    change(service, "POST", 200, FEATURE_SET);
    train(service, "b1", 200);
    found = service_get(service, 200,
                        "/api/atlas/v2/entity/uniqueAttribute/type/feature_set?attr:"
                        "qualifiedName=f@cm");
    path = xasprintf("/api/atlas/v2/lineage/%s?direction=OUTPUT",
                     service_text(json_object_get(found, "entity"), "guid"));
    lineage = service_get(service, 200, path);
    ck_assert_uint_eq(json_array_size(json_object_get(lineage, "relations")), 2);
    /* one that has ended can still be asked for */
    pg_exec(service->dsn, "INSERT INTO relationship (relationship_id, from_batch, to_batch, "
                          "created_batch, guid, type, end1, end2, created_by, updated_by) VALUES "
                          "(0, 1, 2, 1, gen_random_uuid(), 'feature_set_table', 1, 2, 'a', 'a')");
    service_check_refused(service, "DELETE", TYPES "typedef/name/feature_set_table", NULL,
                          "ATLAS-409-00-002", "Given type feature_set_table has references");
    pg_exec(service->dsn, "DELETE FROM relationship WHERE relationship_id = 0");
    change(service, "DELETE", 204, "{'relationshipDefs': [{'name': 'feature_set_table'}]}");
    service_check_refused(service, "DELETE", TYPES "typedef/name/feature_set", NULL,
                          "ATLAS-409-00-002", "Given type feature_set has references");
    /* an entity that is deleted can still be asked for */
    pg_exec(service->dsn, "UPDATE entity SET is_deleted = true WHERE type = 'feature_set'");
    service_check_refused(service, "DELETE", TYPES "typedef/name/feature_set", NULL,
                          "ATLAS-409-00-002", "Given type feature_set has references");
}
END_TEST

/* However large the graph is: the lock on it is held meanwhile. */
START_TEST(use_is_looked_up)
{
    AUTO(service_free) struct service *service = service_start();
    PGconn *conn = pg_connect(service->dsn);
    PGresult *scans;

    PQclear(PQexec(conn, "BEGIN"));
    PQclear(PQexec(conn, "SELECT type_in_use('{one,two}')"));
    scans = PQexec(conn, "SELECT sum(seq_scan), sum(idx_scan) FROM pg_stat_xact_user_tables"
                         " WHERE relname IN ('entity', 'relationship')");
    ck_assert_str_eq(PQgetvalue(scans, 0, 0), "0");
    ck_assert_str_eq(PQgetvalue(scans, 0, 1), "10");
    PQclear(scans);
    PQfinish(conn);
}
END_TEST

START_TEST(another_daemon_sees_them)
{
    AUTO(service_free) struct service *one = service_start();
    AUTO(service_free)
    struct service *two = service_start_with(&(struct daemon_options){ .dsn = one->dsn });
    int64_t asked_ms;

    change(one, "POST", 200, FEATURE_SET);
    asked_ms = clock_mono_ms();
    for (;;) { /* a second at most; what is asked within it may be older */
        json_auto_t *types = service_get(two, 200, TYPEDEFS "headers?type=classification");

        if (json_array_size(types) == 1)
            break;
        ck_assert_int_lt(clock_mono_ms() - asked_ms, WAIT_MS);
    }
    train(two, "b1", 200);
    /* the change of one is at once what the change of the other stands on */
    change(two, "PUT", 200,
           "{'enumDefs': [{'name': 'fs_kind', 'elementDefs': [{'value': 'batch', 'ordinal': 0}, "
           "{'value': 'online', 'ordinal': 1}]}]}");
    service_check_refused(
        one, "PUT", TYPEDEFS,
        "{'enumDefs': [{'name': 'fs_kind', 'elementDefs': [{'value': 'batch', 'ordinal': "
        "0}]}]}",
        "ATLAS-400-00-00D", "fs_kind.online : attribute delete not supported");
    service_check_refused(one, "DELETE", TYPEDEFS,
                          "{'entityDefs': [{'name': 'feature_set'}], "
                          "'relationshipDefs': [{'name': 'feature_set_table'}]}",
                          "ATLAS-409-00-002", "Given type feature_set has references");
}
END_TEST

static void check_told_whole(struct service *one, struct service *two)
{
    static const char whole[] = "/api/atlas/v2/lineage/uniqueAttribute/type/ml_model_build?attr:"
                                "qualifiedName=b1@cm&direction=INPUT";
    json_auto_t *want = service_get(one, 200, whole);
    json_auto_t *have = service_get(two, 200, whole);

    ck_assert_uint_eq(json_array_size(json_object_get(want, "relations")), 3);
    service_check_same(have, want, "lineage at the other daemon");
}

/* A daemon tells all of a graph whose types it has not heard of yet, and deletes them. */
START_TEST(another_daemon_tells_all)
{
    AUTO(service_free) struct service *one = service_start();
    AUTO(service_free)
    struct service *two = service_start_with(&(struct daemon_options){ .dsn = one->dsn });
    const char *const impact = "/v1/impact?type=feature_set&qualifiedName=f@cm";
    int64_t asked_ms = clock_mono_ms();
    long status;

    json_decref(service_get(two, 200, TYPEDEFS "headers")); /* what it knows is new */
    change(one, "POST", 200, FEATURE_SET);
    train(one, "b1", 200);
    check_told_whole(one, two);
    for (status = 400; status != 200;) { /* a second at most */
        AUTO(mem_free) char *url = daemon_url(two->daemon, impact);
        AUTO(http_answer_free) struct http_answer *answer = http_get(two->http, url);

        status = answer->status;
        ck_assert_int_lt(clock_mono_ms() - asked_ms, WAIT_MS);
    }
    change(one, "POST", 200, "{'entityDefs': [{'name': 'brief'}, {'name': 'lived'}]}");
    ck_assert_ptr_null(service_ask(two, 204, "DELETE", TYPES "typedef/name/brief", NULL));
    ck_assert_ptr_null(service_ask(one, 204, "DELETE", TYPES "typedef/name/lived", NULL));
    service_check_refused(two, "DELETE", TYPES "typedef/name/lived", NULL, "ATLAS-404-00-001",
                          "Given typename lived was invalid");
}
END_TEST

START_TEST(a_restart_keeps_them)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *before = NULL, *after = NULL;

    change(service, "POST", 200, FEATURE_SET);
    change(service, "PUT", 200,
           "{'classificationDefs': [{'name': 'PII', 'description': 'personal', 'entityTypes': "
           "['DataSet'], 'attributeDefs': [{'name': 'level', 'typeName': 'int', 'isOptional': "
           "true}]}]}");
    before = service_get(service, 200, TYPEDEFS);
    daemon_kill9(service->daemon);
    daemon_resume(service->daemon);
    after = service_get(service, 200, TYPEDEFS);
    service_check_same(after, before, "after a restart");
}
END_TEST

struct race {
    struct service *service;
    pthread_t thread;
    const char *name;
    long status;
};

static void *race_run(void *arg)
{
    struct race *race = arg;
    AUTO(http_free) struct http *http = http_new();
    AUTO(mem_free) char *url = daemon_url(race->service->daemon, TYPEDEFS);
    AUTO(mem_free) char *body = xasprintf("{\"entityDefs\": [{\"name\": \"%s\"}]}", race->name);
    AUTO(http_answer_free) struct http_answer *answer = http_post(http, url, body);

    race->status = answer->status;
    return NULL;
}

/* Of many who make the same type at once, one does; and those who make others lose nothing. */
START_TEST(made_at_once)
{
    static const char *const names[] = { "same", "same", "same", "one", "two", "three" };
    AUTO(service_free) struct service *first = service_start();
    AUTO(service_free)
    struct service *second = service_start_with(&(struct daemon_options){ .dsn = first->dsn });
    struct race races[LENGTH(names)];
    long made = 0, late = 0;

    for (size_t i = 0; i < LENGTH(races); i++) {
        races[i] = (struct race){ .service = i % 2 ? first : second, .name = names[i] };
        ck_assert_int_eq(pthread_create(&races[i].thread, NULL, race_run, &races[i]), 0);
    }
    for (size_t i = 0; i < LENGTH(races); i++) {
        ck_assert_int_eq(pthread_join(races[i].thread, NULL), 0);
        made += races[i].status == 200;
        late += races[i].status == 409;
    }
    ck_assert_int_eq(made, 4);
    ck_assert_int_eq(late, 2);
    ck_assert_int_eq(pg_query_i64(first->dsn, "SELECT count(*) FROM type_definition"), 4);
}
END_TEST

/* A definition of 40,000 attributes, or of lists in lists: refused, at once and in little
 * memory. */
START_TEST(hostile_definitions)
{
    AUTO(mem_free) char *lean = daemon_lean();
    const char *const environment[] = { lean, NULL };
    AUTO(service_free)
    struct service *service =
        service_start_with(&(struct daemon_options){ .environment = environment });
    AUTO(buf_done) struct buf body;
    int64_t before = daemon_peak_bytes(service->daemon);

    buf_init(&body, SIZE_MAX);
    buf_append_text(&body, "{'entityDefs': [{'name': 'T', 'attributeDefs': [");
    for (size_t i = 0; i < 40000; i++)
        buf_append_fmt(&body, "%s{'name': 'a%zu'}", i ? "," : "", i);
    buf_append_text(&body, "]}]}");
    service_check_refused(service, "POST", TYPEDEFS, buf_text(&body), "ATLAS-400-00-029",
                          "T: \"attributeDefs\" is too long");
    buf_clear(&body);
    for (size_t i = 0; i < 1000000; i++)
        buf_append_char(&body, '[');
    service_check_refused(
        service, "POST", TYPEDEFS, buf_text(&body), "ATLAS-413-00-001",
        "the body has more than 4194304 bytes or 100000 values: define fewer types at a "
        "time");
    buf_clear(&body);
    for (size_t i = 0; i < 5000; i++)
        buf_append_char(&body, '[');
    change(service, "POST", 400, buf_text(&body));
    /* nearly as many values as there may be */
    buf_clear(&body);
    buf_append_text(&body, "{'entityDefs': [");
    for (size_t i = 0; i < 4000; i++) {
        buf_append_fmt(&body, "%s{'name': 'F%zu', 'attributeDefs': [", i ? "," : "", i);
        for (size_t j = 0; j < 7; j++)
            buf_append_fmt(&body, "%s{'name':'a%zu','typeName':'string'}", j ? "," : "", j);
        buf_append_text(&body, "]}");
    }
    buf_append_text(&body, "]}");
    change(service, "POST", 200, buf_text(&body));
    daemon_check_growth(service->daemon, before, 120 * 1024 * 1024);
    change(service, "POST", 200, FEATURE_SET);
}
END_TEST

/* What relationships give to many types is much to tell: it is told a type at a time. */
START_TEST(many_relations_are_told)
{
    AUTO(mem_free) char *lean = daemon_lean();
    const char *const environment[] = { lean, NULL };
    AUTO(service_free)
    struct service *service =
        service_start_with(&(struct daemon_options){ .environment = environment });
    int64_t before = daemon_peak_bytes(service->daemon);
    AUTO(buf_done) struct buf body;
    json_auto_t *made = NULL, *all = NULL;
    json_t *list;

    buf_init(&body, SIZE_MAX);
    buf_append_text(&body, "{'entityDefs': [{'name': 'base'}");
    for (size_t i = 0; i < 1000; i++)
        buf_append_fmt(&body, ", {'name': 'sub%zu', 'superTypes': ['base']}", i);
    buf_append_text(&body, "], 'relationshipDefs': [");
    for (size_t i = 0; i < 50; i++)
        buf_append_fmt(&body,
                       "%s{'name': 'r%zu', 'endDef1': {'type': 'base', 'name': 'to%zu'}, "
                       "'endDef2': {'type': 'fs_path', 'name': 'from%zu'}}",
                       i ? ", " : "", i, i, i);
    buf_append_text(&body, "]}");
    made = service_ask(service, 200, "POST", TYPEDEFS, buf_text(&body));
    all = service_get(service, 200, TYPEDEFS "?type=entity");
    daemon_check_growth(service->daemon, before, 48 * 1024 * 1024);
    list = json_object_get(all, "entityDefs");
    service_check_same(json_array_get(list, json_array_size(list) - 1),
                       json_array_get(json_object_get(made, "entityDefs"), 1000), "the last one");
    ck_assert_uint_eq(json_array_size(
                          json_object_get(json_array_get(list, json_array_size(list) - 1),
                                          "relationshipAttributeDefs")),
                      50);
}
END_TEST

/* Posts events while the test goes on. */
struct posting {
    struct service *service;
    const char *body;
    pthread_t thread;
    json_t *answer; /* owned */
};

static void *posting_run(void *arg)
{
    struct posting *posting = arg;
    AUTO(http_free) struct http *http = http_new();
    AUTO(mem_free) char *url = daemon_url(posting->service->daemon, "/v1/events");
    AUTO(http_answer_free) struct http_answer *answer = http_post(http, url, posting->body);

    posting->answer = http_json(answer);
    return NULL;
}

/* Somebody deletes a type while a build that was trained on it waits for the graph. */
START_TEST(deleted_meanwhile)
{
    static const char built[] =
        "[{\"event\":\"model_built\",\"projectCrn\":\"p\",\"modelCrn\":\"m\",\"modelName\":\"M\","
        "\"modelBuildCrn\":\"b1\",\"buildNumber\":1,\"userName\":\"bob\",\"createdAtMs\":"
        "1704067200000,"
        "\"inputs\":[{\"typeName\":\"feature_set\",\"qualifiedName\":\"f@cm\"}]},"
        "{\"event\":\"model_built\",\"projectCrn\":\"p\",\"modelCrn\":\"m\",\"modelName\":\"M\","
        "\"modelBuildCrn\":\"b2\",\"buildNumber\":2,\"userName\":\"bob\",\"createdAtMs\":"
        "1704067200000}]";
    AUTO(service_free) struct service *service = service_start();
    PGconn *conn = PQconnectdb(service->dsn);
    struct posting posting = { .service = service, .body = built };
    json_t *refusal;

    change(service, "POST", 200, FEATURE_SET);
    PQclear(PQexec(conn, "BEGIN; SELECT pg_advisory_xact_lock(7236, 4)"));
    ck_assert_int_eq(pthread_create(&posting.thread, NULL, posting_run, &posting), 0);
    WAIT_UNTIL(WAIT_MS, pg_query_i64(service->dsn, "SELECT count(*) FROM pg_locks WHERE NOT granted"
                                                   " AND locktype = 'advisory' AND objid = 4") > 0);
    PQclear(PQexec(conn, "SELECT type_write(graph_begin(), '{feature_set_table,feature_set}', "
                         "'{RELATIONSHIP,ENTITY}', '{NULL,NULL}'); COMMIT"));
    PQfinish(conn);
    ck_assert_int_eq(pthread_join(posting.thread, NULL), 0);
    refusal = json_array_get(json_object_get(posting.answer, "rejected"), 0);
    ck_assert_str_eq(service_text(refusal, "message"), "the type of an input is deleted");
    json_decref(posting.answer);
    ck_assert_int_eq(pg_query_i64(service->dsn,
                                  "SELECT count(*) FROM entity WHERE qualified_name = 'b2@cm'"),
                     1);
    ck_assert_int_eq(pg_query_i64(service->dsn,
                                  "SELECT count(*) FROM entity WHERE type = 'feature_set'"),
                     0);
}
END_TEST

/* The connection breaks while the types are committed: the answer is what became of them. */
START_TEST(lost_commit)
{
    AUTO(service_free)
    struct service *service = service_start_proxied(&(struct daemon_options){ 0 });
    long status = proxy_cuts[_i].commits ? 200 : 503; /* not stored, and never will be */

    proxy_aim(service->proxy, "plumbline read");
    proxy_arm(service->proxy, proxy_cuts[_i].mode, 0);
    change(service, "POST", status, FEATURE_SET);
    ck_assert(proxy_sprung(service->proxy));
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM type_definition"),
                     status == 200 ? 4 : 0);
    json_decref(
        service_ask(service, status == 200 ? 200 : 404, "GET", TYPES "typedef/name/PII", NULL));
    change(service, "POST", status == 200 ? 409 : 200, FEATURE_SET);
}
END_TEST

/* And nobody can be asked what became of them. */
START_TEST(lost_for_good)
{
    AUTO(service_free)
    struct service *service = service_start_proxied(&(struct daemon_options){ 0 });

    proxy_aim(service->proxy, "plumbline read");
    proxy_refuse_then(service->proxy);
    proxy_arm(service->proxy, PROXY_CUT_AFTER, 0);
    service_check_refused(service, "POST", TYPEDEFS, FEATURE_SET, "ATLAS-500-00-001",
                          "Internal server error the database went away while the change was "
                          "committed: ask whether the types are there");
    proxy_refuse(service->proxy, false);
}
END_TEST

START_TEST(postgres_away)
{
    AUTO(pg_free) struct pg *pg = pg_start(&(struct pg_options){ .unsafe = true });
    AUTO(mem_free) char *dsn = pg_database_new(pg);
    AUTO(service_free)
    struct service *service = service_start_with(&(struct daemon_options){ .dsn = dsn });

    change(service, "POST", 200, FEATURE_SET);
    pg_stop(pg, PG_STOP_FAST);
    change(service, "PUT", 503, FEATURE_SET);
    pg_resume(pg);
    change(service, "PUT", 200, FEATURE_SET);
    change(service, "POST", 409, FEATURE_SET);
}
END_TEST

Suite *types_suite(void)
{
    Suite *suite = suite_create("types");
    TCase *tc = tcase_create("types");

    tcase_add_unchecked_fixture(tc, pg_shared_start, NULL);
    tcase_add_test(tc, made_changed_deleted);
    tcase_add_test(tc, refused);
    tcase_add_test(tc, unchanged);
    tcase_add_test(tc, the_graph_uses_them);
    tcase_add_test(tc, use_is_looked_up);
    tcase_add_test(tc, another_daemon_sees_them);
    tcase_add_test(tc, another_daemon_tells_all);
    tcase_add_test(tc, a_restart_keeps_them);
    tcase_add_test(tc, made_at_once);
    tcase_add_test(tc, hostile_definitions);
    tcase_add_test(tc, many_relations_are_told);
    tcase_add_test(tc, deleted_meanwhile);
    tcase_add_loop_test(tc, lost_commit, 0, PROXY_CUTS);
    tcase_add_test(tc, lost_for_good);
    tcase_add_test(tc, postgres_away);
    suite_add_tcase(suite, tc);
    return suite;
}
