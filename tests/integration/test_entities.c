/* Entities and relationships as clients of Atlas make, change and delete them. */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/harness/pg.h"
#include "tests/harness/service.h"
#include "tests/harness/wait.h"

Suite *entities_suite(void);

#define API "/api/atlas/v2/"
#define UNKNOWN "12f34405-38fa-42de-9ed4-68dbd82d36f6"

#define DB(name)                                                                                   \
    "{\"typeName\":\"hive_db\",\"guid\":\"-1\",\"attributes\":{\"qualifiedName\":\"" name          \
    "@cm\",\"name\":\"" name "\",\"clusterName\":\"cm\"}}"
#define TABLE(guid, name, more)                                                                    \
    "{\"typeName\":\"hive_table\",\"guid\":" guid ",\"attributes\":{\"qualifiedName\":\"" name     \
    "@cm\",\"name\":\"" name "\"" more "}}"
#define COLUMN(guid, name, table)                                                                  \
    "{\"typeName\":\"hive_column\",\"guid\":\"" guid                                               \
    "\",\"attributes\":{\"qualifiedName\":\"" name "@cm\",\"name\":\"" name                        \
    "\",\"type\":\"int\"},\"relationshipAttributes\":{\"table\":{"                                 \
    "\"guid\":\"" table "\"}}}"
#define ENTITY(one) "{\"entity\":" one "}"
#define ENTITIES(list) "{\"entities\":[" list "]}"

/* Three columns, their table, its database, and a view that is made of the table. */
#define MODEL                                                                                      \
    ENTITIES(DB("d") "," TABLE("-2", "d.t", "") "," COLUMN("-3", "d.t.a", "-2") "," COLUMN(        \
        "-4", "d.t.b", "-2") "," TABLE("-5", "d.v", "") ",{\"typeName\":\"hive_process\","         \
                                                        "\"guid\":\"-6\",\"attributes\":{"         \
                                                        "\"qualifiedName\":\"p@cm\",\"name\":"     \
                                                        "\"p\",\"userName\":\"ada\","              \
                                                        "\"operationType\":\"CTAS\","              \
                                                        "\"queryText\":\"q\",\"queryPlan\":"       \
                                                        "\"x\",\"queryId\":\"1\",\"startTime\":"   \
                                                        "1704067200000,\"endTime\":"               \
                                                        "1704067200000,\"inputs\":[{\"guid\":"     \
                                                        "\"-2\"}],\"outputs\":[{\"guid\":-5}]}}")

#define BUILT                                                                                      \
    "[{\"event\":\"project_created\",\"projectCrn\":\"p\",\"projectName\":\"P\",\"userName\":"     \
    "\"ada\",\"createdAtMs\":1704067200000},{\"event\":\"model_built\",\"projectCrn\":\"p\","      \
    "\"modelCrn\":\"m\",\"modelName\":\"Model\",\"modelBuildCrn\":\"b\",\"buildNumber\":1,"        \
    "\"userName\":\"bob\",\"createdAtMs\":1704067200000,\"metadata\":{\"k\":\"v\"},"               \
    "\"linkingFile\":\"Model:\\n  hive_table_qualified_names: [d.t]\\n\"},"                        \
    "{\"event\":\"model_deployed\",\"modelBuildCrn\":\"b\",\"modelDeploymentCrn\":\"x\","          \
    "\"status\":\"deployed\",\"statusAtMs\":1704067200000,\"createdAtMs\":1704067200000,"          \
    "\"cpuMillicores\":1,\"userName\":\"eve\"}]"

/* How many entities the answer says were made, changed or deleted. */
static size_t count(const json_t *answer, const char *what)
{
    return json_array_size(json_object_get(json_object_get(answer, "mutatedEntities"), what));
}

static const char *assigned(const json_t *answer, const char *guid)
{
    return service_text(json_object_get(answer, "guidAssignments"), guid);
}

static json_t *write_entities(struct service *service, long status, const char *body)
{
    return service_call(service, status, "POST", API "entity/bulk", body, "ada");
}

static char *guid_of(struct service *service, const char *type, const char *name)
{
    return pg_query_text(service->dsn,
                         "SELECT guid FROM entity WHERE type = '%s' AND qualified_name = '%s'"
                         " AND to_batch IS NULL AND NOT is_deleted",
                         type, name);
}

static int64_t versions(struct service *service)
{
    return pg_query_i64(service->dsn, "SELECT (SELECT count(*) FROM entity) + (SELECT count(*)"
                                      " FROM relationship) + (SELECT count(*) FROM entity_audit)"
                                      " + (SELECT count(*) FROM graph_batch)");
}

/* ---- making and changing ---- */

START_TEST(made_once)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *made = write_entities(service, 200, MODEL), *again = NULL, *table = NULL;
    AUTO(mem_free) char *path = xasprintf(API "entity/guid/%s", assigned(made, "-2"));
    const json_t *entity, *relations;
    int64_t before = versions(service);

    ck_assert_uint_eq(count(made, "CREATE"), 6);
    ck_assert_uint_eq(count(made, "UPDATE"), 0);
    again = write_entities(service, 200, MODEL);
    ck_assert_ptr_null(json_object_get(again, "mutatedEntities"));
    ck_assert(json_equal(json_object_get(made, "guidAssignments"),
                         json_object_get(again, "guidAssignments")));
    ck_assert_int_eq(versions(service), before);
    table = service_get(service, 200, path);
    entity = json_object_get(table, "entity");
    relations = json_object_get(entity, "relationshipAttributes");
    ck_assert_str_eq(service_text(entity, "createdBy"), "ada");
    ck_assert_str_eq(service_text(entity, "status"), "ACTIVE");
    ck_assert_uint_eq(json_array_size(json_object_get(relations, "columns")), 2);
    ck_assert_uint_eq(json_array_size(json_object_get(relations, "inputToProcesses")), 1);
    ck_assert_uint_eq(json_object_size(json_object_get(table, "referredEntities")), 2);
}
END_TEST

/* What was read is written back, null members and all: nothing changes. */
START_TEST(an_echo_changes_nothing)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *made = write_entities(service, 200, MODEL);
    static const char *const names[] = { "-1", "-2", "-3", "-6" };

    for (size_t i = 0; i < LENGTH(names); i++) {
        AUTO(mem_free) char *path = xasprintf(API "entity/guid/%s", assigned(made, names[i]));
        json_auto_t *read = service_get(service, 200, path);
        AUTO(mem_free) char *text = json_dumps(read, 0);
        int64_t before = versions(service);
        json_auto_t *answer = service_call(service, 200, "POST", API "entity", text, "eve");

        ck_assert_ptr_null(json_object_get(answer, "mutatedEntities"));
        ck_assert_int_eq(versions(service), before);
    }
}
END_TEST

START_TEST(changed_in_full_and_in_part)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *made = write_entities(service, 200, MODEL), *full = NULL, *part = NULL;
    json_auto_t *named = NULL, *wrong = NULL, *gone = NULL, *table = NULL, *audit = NULL;
    AUTO(mem_free) char *guid = xstrdup(assigned(made, "-2"));
    AUTO(mem_free) char *path = xasprintf(API "entity/guid/%s", guid);
    AUTO(mem_free) char *attribute = xasprintf("%s?name=comment", path);
    AUTO(mem_free) char *unknown = xasprintf("%s?name=colour", path);
    AUTO(mem_free) char *history = xasprintf(API "entity/%s/audit", guid);
    const json_t *attributes;

    full =
        service_call(service, 200, "POST", API "entity",
                     ENTITY(TABLE("\"-9\"", "d.t", ",\"retention\":\"7\",\"owner\":\"x\"")), "bob");
    ck_assert_uint_eq(count(full, "UPDATE"), 1);
    ck_assert_str_eq(assigned(full, "-9"), guid);
    part = service_call(service, 200, "PUT", attribute, "\"a comment\"", "eve");
    ck_assert_uint_eq(count(part, "PARTIAL_UPDATE"), 1);
    named = service_call(service, 200, "PUT",
                         API "entity/uniqueAttribute/type/hive_table?attr:qualifiedName=d.t@cm",
                         "{\"entity\":{\"attributes\":{\"owner\":null,\"aliases\":[\"a\",\"a\"]}}}",
                         NULL);
    ck_assert_uint_eq(count(named, "PARTIAL_UPDATE"), 1);
    table = service_get(service, 200, path);
    attributes = json_object_get(json_object_get(table, "entity"), "attributes");
    ck_assert_int_eq(service_number(attributes, "retention"), 7);
    ck_assert_str_eq(service_text(attributes, "comment"), "a comment");
    ck_assert(json_is_null(json_object_get(attributes, "owner")));
    ck_assert_uint_eq(json_array_size(json_object_get(attributes, "aliases")), 1);
    ck_assert_str_eq(service_text(json_object_get(table, "entity"), "updatedBy"), "anonymous");
    wrong = service_call(service, 400, "PUT", unknown, "1", NULL);
    service_check_fault(wrong, "ATLAS-400-00-023",
                        "Attribute colour not found for type hive_table");
    audit = service_get(service, 200, history);
    ck_assert_uint_eq(json_array_size(audit), 4);
    ck_assert_str_eq(service_text(json_array_get(audit, 2), "user"), "bob");
    gone = service_call(service, 404, "PUT",
                        API "entity/uniqueAttribute/type/hive_table?attr:qualifiedName=no@cm",
                        "{\"entity\":{}}", NULL);
    service_check_fault(
        gone, "ATLAS-404-00-009",
        "Instance hive_table with unique attribute {qualifiedName=no@cm} does not exist");
}
END_TEST

/* A full update replaces the relationships of an attribute, what it does not name stays. */
START_TEST(sets_are_replaced)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *made = write_entities(service, 200, MODEL), *answer = NULL, *process = NULL;
    AUTO(mem_free) char *path = xasprintf(API "entity/guid/%s", assigned(made, "-6"));
    AUTO(mem_free) char *attribute = xasprintf("%s?name=inputs", path);
    AUTO(mem_free) char *value = xasprintf("[{\"guid\":\"%s\"}]", assigned(made, "-5"));
    const json_t *inputs;

    answer = service_call(service, 200, "PUT", attribute, value, NULL);
    ck_assert_uint_eq(count(answer, "PARTIAL_UPDATE"), 3); /* the process and both tables */
    process = service_get(service, 200, path);
    inputs = json_object_get(json_object_get(json_object_get(process, "entity"),
                                             "relationshipAttributes"),
                             "inputs");
    ck_assert_uint_eq(json_array_size(inputs), 2);
    ck_assert_str_eq(service_text(json_array_get(inputs, 0), "relationshipStatus"), "DELETED");
    ck_assert_str_eq(service_text(json_array_get(inputs, 1), "relationshipStatus"), "ACTIVE");
    ck_assert_str_eq(service_text(json_array_get(inputs, 1), "guid"), assigned(made, "-5"));
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM relationship WHERE type ="
                                                " 'process_dataset_outputs' AND NOT is_deleted"
                                                " AND to_batch IS NULL"),
                     1);
}
END_TEST

/* Of referredEntities what is referred to is made, by way of others as well, in any circle. */
START_TEST(only_what_is_referred_to)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *db = service_call(service, 200, "POST", API "entity", ENTITY(DB("d")), NULL);
    json_auto_t *made = service_call(
        service, 200, "POST", "/api/atlas//v2//entity//",
        "{\"entity\":{\"typeName\":\"hive_table\",\"attributes\":{\"qualifiedName\":\"d.t@cm\","
        "\"name\":\"t\"},\"relationshipAttributes\":{\"columns\":[{\"guid\":-2}],\"db\":{\"guid\":"
        "null,\"typeName\":\"hive_db\",\"uniqueAttributes\":{\"qualifiedName\":\"d@cm\"}}}},"
        "\"referredEntities\":{\"-2\":{\"typeName\":\"hive_column\",\"attributes\":{"
        "\"qualifiedName\":\"d.t.a@cm\",\"name\":\"a\",\"type\":\"int\"},"
        "\"relationshipAttributes\":{\"table\":{\"typeName\":\"hive_table\",\"uniqueAttributes\":{"
        "\"qualifiedName\":\"d.t@cm\"}},\"inputToProcesses\":[{\"guid\":\"-3\"}]}},"
        "\"-3\":{\"typeName\":\"Process\",\"attributes\":{\"qualifiedName\":\"p@cm\",\"name\":"
        "\"p\"},\"relationshipAttributes\":{\"inputs\":[{\"guid\":\"-2\"}],\"outputs\":[{"
        "\"guid\":\"-2\"}]}},\"-4\":{\"typeName\":\"hive_db\",\"attributes\":{}}}}",
        NULL);

    (void)db;
    ck_assert_uint_eq(count(made, "CREATE"), 3);
    ck_assert_uint_eq(count(made, "UPDATE"), 1); /* the database */
    ck_assert_uint_eq(json_object_size(json_object_get(made, "guidAssignments")), 2);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM relationship"), 4);
}
END_TEST

/* One entity that the request has twice, and one that it means by two names. */
START_TEST(two_views_of_one_entity)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *made =
        write_entities(service, 200,
                       ENTITIES(
                           TABLE("\"-1\"", "t", "") "," TABLE("\"-2\"", "t", ",\"owner\":\"x\"")));
    AUTO(mem_free) char *guid = xstrdup(assigned(made, "-1"));
    AUTO(mem_free)
    char *body = xasprintf("{\"entities\":[{\"typeName\":\"hive_table\",\"guid\":\"%s\","
                           "\"attributes\":{\"qualifiedName\":\"t@cm\",\"name\":\"t\","
                           "\"comment\":\"c\"}},{\"typeName\":\"hive_table\",\"guid\":\"x\","
                           "\"attributes\":{\"qualifiedName\":\"t@cm\",\"name\":\"t\","
                           "\"retention\":3}}]}",
                           guid);
    json_auto_t *both = NULL;

    ck_assert_str_eq(assigned(made, "-2"), guid);
    ck_assert_uint_eq(count(made, "CREATE"), 1);
    both = write_entities(service, 200, body);
    ck_assert_uint_eq(count(both, "UPDATE"), 1);
    ck_assert_str_eq(assigned(both, "x"), guid);
    ck_assert_int_eq(pg_query_i64(service->dsn,
                                  "SELECT count(*) FROM entity WHERE to_batch IS NULL AND"
                                  " attributes @> '{\"owner\":\"x\",\"comment\":\"c\","
                                  "\"retention\":3}'"),
                     1);
}
END_TEST

/* Types without a qualified name: known by another unique attribute. */
START_TEST(without_a_qualified_name)
{
    AUTO(service_free) struct service *service = service_start();
    static const char body[] =
        ENTITY("{\"typeName\":\"AtlasServer\",\"guid\":\"-1\",\"attributes\":{\"name\":\"n\","
               "\"displayName\":\"N\",\"fullName\":\"f\"}}");
    json_auto_t *made = service_call(service, 200, "POST", API "entity", body, NULL);
    json_auto_t *again = service_call(service, 200, "POST", API "entity", body, NULL);
    json_auto_t *read = service_get(service, 200,
                                    API "entity/uniqueAttribute/type/AtlasServer"
                                        "?attr:fullName=f");
    const json_t *header =
        json_array_get(json_object_get(json_object_get(made, "mutatedEntities"), "CREATE"), 0);

    ck_assert_str_eq(assigned(made, "-1"), assigned(again, "-1"));
    ck_assert_ptr_null(json_object_get(again, "mutatedEntities"));
    ck_assert_str_eq(service_text(header, "displayText"), "n");
    ck_assert_ptr_null(json_object_get(json_object_get(header, "attributes"), "qualifiedName"));
    ck_assert_str_eq(service_text(json_object_get(read, "entity"), "guid"), assigned(made, "-1"));
}
END_TEST

#define TREE                                                                                       \
    "{\"entityDefs\":[{\"name\":\"node\",\"superTypes\":[\"DataSet\"],\"attributeDefs\":[]}],"     \
    "\"relationshipDefs\":[{\"name\":\"node_tree\",\"relationshipCategory\":\"COMPOSITION\","      \
    "\"propagateTags\":\"NONE\",\"attributeDefs\":[{\"name\":\"since\",\"typeName\":\"int\","      \
    "\"isOptional\":true}],\"endDef1\":{\"type\":\"node\",\"name\":\"children\",\"isContainer\":"  \
    "true,"                                                                                        \
    "\"cardinality\":\"SET\"},\"endDef2\":{\"type\":\"node\",\"name\":\"parent\",\"isContainer\":" \
    "false,\"cardinality\":\"SINGLE\"}}]}"
#define NODE(name, relations)                                                                      \
    "{\"typeName\":\"node\",\"guid\":\"-" name "\",\"attributes\":{\"qualifiedName\":\"" name      \
    "\",\"name\":\"" name "\"},\"relationshipAttributes\":{" relations "}}"

/* Each of three owns the next, the last one the first; both ends tell of it, one of them knows
 * since when. All are read, and go together. */
START_TEST(owned_in_a_circle)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *types = service_call(service, 200, "POST", API "types/typedefs", TREE, NULL);
    json_auto_t *made = write_entities(
        service, 200,
        ENTITIES(
            NODE("1", "\"children\":[{\"guid\":\"-2\"}],\"parent\":{\"guid\":\"-3\"}") "," NODE(
                "2",
                "\"children\":[{\"guid\":\"-3\"}],\"parent\":{\"guid\":\"-1\","
                "\"relationshipAttributes\":{\"typeName\":\"node_tree\",\"attributes\":{\"since\":"
                "7}}}") "," NODE("3", "\"children\":[{\"guid\":\"-1\"}]")));
    AUTO(mem_free) char *path = xasprintf(API "entity/guid/%s", assigned(made, "-1"));
    json_auto_t *read = service_get(service, 200, path), *gone = NULL;

    ck_assert_uint_eq(count(made, "CREATE"), 3);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM relationship"), 3);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM relationship"
                                                " WHERE attributes = '{\"since\":7}'"),
                     1);
    ck_assert_uint_ge(json_object_size(json_object_get(read, "referredEntities")), 2);
    gone = service_call(service, 200, "DELETE", path, NULL, NULL);
    ck_assert_uint_eq(count(gone, "DELETE"), 3);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM relationship WHERE to_batch"
                                                " IS NULL AND NOT is_deleted"),
                     0);
    (void)types;
}
END_TEST

/* ---- names of any length ---- */

static char *long_name(char last, size_t len)
{
    char *name = xmalloc(len + 1);

    for (size_t i = 0; i < len; i++)
        name[i] = (char)('a' + (i * 7919 + i / 26) % 26);
    name[len - 1] = last;
    name[len] = '\0';
    return name;
}

START_TEST(names_of_kilobytes)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *one = long_name('x', 40000);
    AUTO(mem_free) char *two = long_name('y', 40000);
    AUTO(mem_free)
    char *body =
        xasprintf(ENTITIES(TABLE("-1", "%s", "") "," TABLE("-2", "%s", "")), one, one, two, two);
    json_auto_t *made = write_entities(service, 200, body);
    json_auto_t *again = write_entities(service, 200, body);
    AUTO(mem_free) char *path = xasprintf(API "entity/guid/%s/header", assigned(made, "-2"));
    json_auto_t *header = service_get(service, 200, path);
    AUTO(mem_free) char *full = xasprintf("%s@cm", two);

    ck_assert_uint_eq(count(made, "CREATE"), 2);
    ck_assert_ptr_null(json_object_get(again, "mutatedEntities"));
    ck_assert_str_eq(service_text(json_object_get(header, "attributes"), "qualifiedName"), full);
}
END_TEST

/* The first is as long as a name that an index takes, the others are a little longer. */
START_TEST(names_around_the_longest_key)
{
    AUTO(service_free) struct service *service = service_start();

    for (size_t len = 1290; len < 1310; len++) {
        AUTO(mem_free) char *name = long_name('x', len);
        AUTO(mem_free) char *body = xasprintf(ENTITY(TABLE("-1", "%s", "")), name, name);
        AUTO(mem_free)
        char *path = xasprintf(API "entity/uniqueAttribute/type/hive_table/header"
                                   "?attr:qualifiedName=%s@cm",
                               name);
        json_auto_t *made = service_call(service, 200, "POST", API "entity", body, NULL);
        json_auto_t *read = service_get(service, 200, path);

        ck_assert_uint_eq(count(made, "CREATE"), 1);
        ck_assert_str_eq(service_text(read, "guid"), assigned(made, "-1"));
    }
}
END_TEST

/* ---- refused ---- */

static const struct {
    const char *method, *path, *body;
    long status;
    const char *code, *message;
} refusals[] = {
    { "POST", "entity", "{", 400, "ATLAS-400-00-029",
      "line 1, column 1: string or '}' expected near end of file" },
    { "POST", "entity", "{}", 400, "ATLAS-400-00-01A",
      "invalid parameters: no entities to create/update." },
    { "POST", "entity/bulk", "[]", 400, "ATLAS-400-00-01A",
      "invalid parameters: no entities to create/update." },
    { "POST", "entity/bulk", "{\"entities\":[7]}", 400, "ATLAS-400-00-029",
      "an entity must be an object" },
    { "POST", "entity", "{\"entity\":{}}", 400, "ATLAS-400-00-014",
      "Type ENTITY with name null does not exist" },
    { "POST", "entity", "{\"entity\":{\"typeName\":\"nothing\"}}", 400, "ATLAS-400-00-014",
      "Type ENTITY with name nothing does not exist" },
    { "POST", "entity", "{\"entity\":{\"typeName\":\"hive_serde\"}}", 400, "ATLAS-400-00-014",
      "Type ENTITY with name hive_serde does not exist" },
    { "POST", "entity", "{\"entity\":{\"typeName\":\"hive_table\"}}", 404, "ATLAS-404-00-007",
      "Invalid instance creation/updation parameters passed : hive_table.qualifiedName: mandatory "
      "attribute value missing in type Referenceable" },
    { "POST", "entity", ENTITY(TABLE("-1", "t", ",\"retention\":\"abc\"")), 404, "ATLAS-404-00-007",
      "Invalid instance creation/updation parameters passed : hive_table.retention=abc: invalid "
      "value for type int" },
    { "POST", "entity",
      "{\"entity\":{\"typeName\":\"hive_column\",\"attributes\":{\"qualifiedName\":\"c\",\"name\":"
      "\"c\",\"type\":\"int\"}}}",
      404, "ATLAS-404-00-007",
      "Invalid instance creation/updation parameters passed : hive_column.table: mandatory "
      "attribute value missing in type hive_column" },
    { "POST", "entity", ENTITY(COLUMN("-1", "c", "-7")), 404, "ATLAS-404-00-00A",
      "Referenced entity -7 is not found" },
    { "POST", "entity", ENTITY(COLUMN("-1", "c", UNKNOWN)), 404, "ATLAS-404-00-00A",
      "Referenced entity " UNKNOWN " is not found" },
    { "POST", "entity",
      "{\"entity\":{\"typeName\":\"hive_table\",\"guid\":\"" UNKNOWN
      "\",\"attributes\":{\"qualifiedName\":\"t\",\"name\":\"t\"}}}",
      404, "ATLAS-404-00-00A", "Referenced entity " UNKNOWN " is not found" },
    { "POST", "entity",
      "{\"entity\":{\"typeName\":\"Process\",\"attributes\":{\"qualifiedName\":\"p\",\"name\":"
      "\"p\",\"inputs\":[{\"typeName\":\"hive_table\",\"uniqueAttributes\":{\"qualifiedName\":"
      "\"no\"}}]}}}",
      404, "ATLAS-404-00-00A",
      "Referenced entity AtlasObjectId{guid='null', typeName='hive_table', "
      "uniqueAttributes={qualifiedName:no}} is not found" },
    { "POST", "entity",
      "{\"entity\":{\"typeName\":\"Process\",\"attributes\":{\"qualifiedName\":\"p\",\"name\":"
      "\"p\"},\"relationshipAttributes\":{\"inputs\":[{\"typeName\":\"hive_table\"}]}}}",
      400, "ATLAS-400-00-021", "ObjectId is not valid {\"typeName\":\"hive_table\"}" },
    { "POST", "entity/bulk",
      ENTITIES(DB("d") ",{\"typeName\":\"Process\",\"attributes\":{\"qualifiedName\":\"p\","
                       "\"name\":\"p\",\"inputs\":[{\"guid\":\"-1\"}]}}"),
      400, "ATLAS-400-00-045", NULL },
    { "DELETE", "entity/bulk", NULL, 404, "ATLAS-404-00-005",
      "Given instance guid  is invalid/not found" },
    { "DELETE", "entity/uniqueAttribute/type/hive_table?attr:qualifiedName=no", NULL, 404,
      "ATLAS-404-00-009",
      "Instance hive_table with unique attribute {qualifiedName=no} does not exist" },
    { "PUT", "entity/guid/" UNKNOWN "?name=owner", "\"x\"", 404, "ATLAS-404-00-005",
      "Given instance guid " UNKNOWN " is invalid/not found" },
    { "PUT", "entity/bulk", "{}", 405, "ATLAS-405-00-001",
      "v2/entity/bulk takes GET, HEAD, POST, DELETE" },
    { "POST", "entity?as_of=1", "{}", 400, "ATLAS-400-00-029",
      "\"as_of\" is for entities, their audit and lineage: this has no history" },
    { "POST", "relationship", "{\"typeName\":\"no\"}", 400, "ATLAS-400-00-028",
      "invalid value: unknown relationship type 'no'" },
    { "POST", "relationship", "{\"typeName\":\"hive_table_db\"}", 400, "ATLAS-400-00-028",
      "invalid value: end1 is null" },
    { "PUT", "relationship", "{\"typeName\":\"hive_table_db\"}", 404, "ATLAS-404-00-00C",
      "Given relationship guid null is invalid/not found" },
    { "DELETE", "relationship/guid/" UNKNOWN, NULL, 404, "ATLAS-404-00-00C",
      "Given relationship guid " UNKNOWN " is invalid/not found" },
    { "GET", "relationship/guid/x", NULL, 404, "ATLAS-404-00-00C",
      "Given relationship guid x is invalid/not found" },
};

START_TEST(refused_as_atlas_does)
{
    AUTO(service_free) struct service *service = service_start();

    for (size_t i = 0; i < LENGTH(refusals); i++) {
        AUTO(mem_free) char *path = xasprintf(API "%s", refusals[i].path);
        json_auto_t *answer = service_call(service, refusals[i].status, refusals[i].method, path,
                                           refusals[i].body, NULL);

        service_check_fault(answer, refusals[i].code, refusals[i].message);
    }
    ck_assert_int_eq(versions(service), 0);
}
END_TEST

/* What it would take to read it is more than the daemon may have, whatever it is for. */
START_TEST(more_values_than_memory)
{
    static const char *const environment[] = { "PLUMBLINE_MEMORY_BYTES_MAX=8MiB",
                                               "PLUMBLINE_BODY_BYTES_MAX=1MiB", NULL };
    AUTO(mem_free) char *dsn = pg_database_new(pg_shared());
    AUTO(service_free)
    struct service *service =
        service_start_with(&(struct daemon_options){ .dsn = dsn, .environment = environment });
    AUTO(buf_done) struct buf body;
    json_auto_t *answer = NULL, *types = NULL;

    buf_init(&body, SIZE_MAX);
    buf_append_text(&body, "{\"entities\":[");
    for (int i = 0; i < 20000; i++)
        buf_append_text(&body, "{},");
    buf_append_text(&body, "{}]}");
    answer = write_entities(service, 413, buf_text(&body));
    service_check_fault(
        answer, "ATLAS-413-00-001",
        "the body has too many values to be read within memory_bytes_max: send it in "
        "parts");
    types = service_post(service, 413, "/api/atlas/v2/types/typedefs", buf_text(&body));
    ck_assert(json_equal(types, answer));
}
END_TEST

/* Of ten thousand entities the last refers to nobody: nothing is stored. */
START_TEST(one_bad_reference_of_many)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(buf_done) struct buf body;
    json_auto_t *answer = NULL, *good = NULL;

    buf_init(&body, SIZE_MAX);
    buf_append_text(&body, "{\"entities\":[");
    for (int i = 0; i < 10000; i++)
        buf_append_fmt(&body,
                       "{\"typeName\":\"hive_table\",\"guid\":\"-%d\",\"attributes\":{"
                       "\"qualifiedName\":\"t%d\",\"name\":\"t\"}},",
                       i + 1, i);
    buf_append_text(&body,
                    "{\"typeName\":\"Process\",\"guid\":\"-0\",\"attributes\":{"
                    "\"qualifiedName\":\"p\",\"name\":\"p\",\"inputs\":[{\"guid\":\"-10000\"},"
                    "{\"typeName\":\"hive_table\",\"uniqueAttributes\":{\"qualifiedName\":"
                    "\"bad\"}}]}}]}");
    answer = write_entities(service, 404, buf_text(&body));
    service_check_fault(answer, "ATLAS-404-00-00A",
                        "Referenced entity AtlasObjectId{guid='null', typeName='hive_table', "
                        "uniqueAttributes={qualifiedName:bad}} is not found");
    ck_assert_int_eq(versions(service), 0);
    memcpy(strstr(body.data, "\"bad\""), "\"t17\"", 5);
    good = write_entities(service, 200, buf_text(&body));
    ck_assert_uint_eq(count(good, "CREATE"), 10001);
    ck_assert_uint_eq(json_object_size(json_object_get(good, "guidAssignments")), 10001);
}
END_TEST

/* It waits for "100 Continue" on every request, and doubles slashes. */
START_TEST(as_the_java_client_sends)
{
    AUTO(service_free) struct service *service = service_start();
    static const char *const headers[] = { "Expect: 100-continue",
                                           "Content-Type: application/json; charset=UTF-8",
                                           "Accept: application/json", NULL };
    static const struct {
        const char *method, *path, *body;
        long status;
    } requests[] = {
        { "POST", "entity//", ENTITY(TABLE("-1", "t", "")), 200 },
        { "POST", "/entity//bulk/", ENTITIES(TABLE("-1", "t", "")), 200 },
        { "GET", "entity//uniqueAttribute/type//hive_table?attr:qualifiedName=t@cm", NULL, 200 },
        { "PUT", "entity/uniqueAttribute/type/hive_table?attr%3AqualifiedName=t%40cm",
          "{\"entity\":{\"attributes\":{\"owner\":\"o\"}}}", 200 },
        { "DELETE", "entity/uniqueAttribute//type/hive_table?attr:qualifiedName=t@cm", NULL, 200 },
        { "DELETE", "entity/guid/" UNKNOWN, NULL, 200 },
    };

    for (size_t i = 0; i < LENGTH(requests); i++) {
        AUTO(mem_free) char *path = xasprintf(API "%s", requests[i].path);
        AUTO(mem_free) char *url = daemon_url(service->daemon, path);
        AUTO(http_answer_free)
        struct http_answer *answer =
            http_send(service->http, &(struct http_request){ .method = requests[i].method,
                                                             .url = url,
                                                             .body = requests[i].body,
                                                             .headers = headers });

        ck_assert_msg(answer->status == requests[i].status, "%s: %ld %s", path, answer->status,
                      answer->body);
    }
}
END_TEST

/* ---- deleting ---- */

START_TEST(deleted_with_what_it_owns)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *made = write_entities(service, 200, MODEL), *gone = NULL, *again = NULL;
    json_auto_t *table = NULL, *anew = NULL, *lineage = NULL, *refused = NULL;
    AUTO(mem_free) char *guid = xstrdup(assigned(made, "-2"));
    AUTO(mem_free) char *path = xasprintf(API "entity/guid/%s", guid);
    AUTO(mem_free) char *walk = xasprintf(API "lineage/%s", assigned(made, "-5"));
    AUTO(mem_free) char *comment = xasprintf("%s?name=comment", path);
    AUTO(mem_free) char *message = xasprintf("Given instance guid %s has been deleted", guid);
    const json_t *entity;

    gone = service_call(service, 200, "DELETE", path, NULL, "eve");
    ck_assert_uint_eq(count(gone, "DELETE"), 3);
    ck_assert_str_eq(
        service_text(
            json_array_get(json_object_get(json_object_get(gone, "mutatedEntities"), "DELETE"), 0),
            "status"),
        "DELETED");
    again = service_call(service, 200, "DELETE", path, NULL, "eve");
    ck_assert_uint_eq(json_object_size(again), 0);
    table = service_get(service, 200, path);
    entity = json_object_get(table, "entity");
    ck_assert_str_eq(service_text(entity, "status"), "DELETED");
    ck_assert_str_eq(service_text(entity, "updatedBy"), "eve");
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM relationship WHERE"
                                                " to_batch IS NULL AND is_deleted"),
                     3);
    lineage = service_get(service, 200, walk);
    ck_assert_uint_eq(json_object_size(json_object_get(lineage, "guidEntityMap")), 3);
    refused = service_call(service, 404, "PUT", comment, "\"c\"", NULL);
    service_check_fault(refused, "ATLAS-404-00-012", message);
    anew = service_call(service, 200, "POST", API "entity", ENTITY(TABLE("-2", "d.t", "")), NULL);
    ck_assert_uint_eq(count(anew, "CREATE"), 1);
    ck_assert_str_ne(assigned(anew, "-2"), guid);
}
END_TEST

START_TEST(deleted_in_every_way)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *made = write_entities(service, 200, MODEL), *bulk = NULL, *named = NULL;
    json_auto_t *unknown = NULL, *strange = NULL;
    AUTO(mem_free)
    char *path = xasprintf(API "entity/bulk/?guid=%s&guid=" UNKNOWN "&guid=%s",
                           assigned(made, "-1"), assigned(made, "-5"));

    unknown = service_call(service, 200, "DELETE", API "entity/guid/" UNKNOWN, NULL, NULL);
    strange = service_call(service, 200, "DELETE", API "entity/guid/x", NULL, NULL);
    ck_assert_uint_eq(json_object_size(unknown) + json_object_size(strange), 0);
    bulk = service_call(service, 200, "DELETE", path, NULL, NULL);
    ck_assert_uint_eq(count(bulk, "DELETE"), 2);
    named = service_call(service, 200, "DELETE",
                         API "entity/uniqueAttribute/type/hive_table?attr:qualifiedName=d.t@cm",
                         NULL, NULL);
    ck_assert_uint_eq(count(named, "DELETE"), 3);
}
END_TEST

/* ---- relationships ---- */

/* What would not be kept: which classifications pass over this relationship alone. */
static const struct {
    const char *name, *value, *message;
} blocking[] = {
    { "propagateTags", "\"BOTH\"",
      "propagateTags of a hive_table_db is NONE: it can't be another one for one relationship" },
    { "propagateTags", "7",
      "propagateTags of a hive_table_db is NONE: it can't be another one for one relationship" },
    { "blockedPropagatedClassifications", "[{\"typeName\":\"PII\"}]",
      "blockedPropagatedClassifications: classifications can't be blocked on one relationship" },
    { "blockedPropagatedClassifications", "7",
      "blockedPropagatedClassifications: classifications can't be blocked on one relationship" },
};

START_TEST(relationships_by_themselves)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *made = write_entities(service, 200, MODEL), *edge = NULL, *twice = NULL;
    json_auto_t *read = NULL, *same = NULL, *moved = NULL, *gone = NULL, *again = NULL;
    json_auto_t *wrong = NULL;
    AUTO(mem_free)
    char *body = xasprintf("{\"typeName\":\"hive_table_db\",\"attributes\":{},\"guid\":\"-100\","
                           "\"end1\":{\"guid\":\"%s\"},\"end2\":{\"typeName\":\"hive_db\","
                           "\"uniqueAttributes\":{\"qualifiedName\":\"d@cm\"}}}",
                           assigned(made, "-2"));
    AUTO(mem_free)
    char *turned = xasprintf("{\"typeName\":\"hive_table_db\",\"end2\":{\"guid\":\"%s\"},"
                             "\"end1\":{\"typeName\":\"hive_db\",\"uniqueAttributes\":{"
                             "\"qualifiedName\":\"d@cm\"}}}",
                             assigned(made, "-2"));
    AUTO(mem_free) char *path = NULL;
    AUTO(mem_free) char *message = NULL;
    AUTO(mem_free) char *text = NULL;

    edge = service_call(service, 200, "POST", API "relationship", body, "ada");
    ck_assert_str_eq(service_text(edge, "status"), "ACTIVE");
    ck_assert_str_eq(service_text(edge, "createdBy"), "ada");
    ck_assert_str_eq(service_text(edge, "label"), "__hive_table.db");
    ck_assert_str_eq(service_text(json_object_get(edge, "end2"), "guid"), assigned(made, "-1"));
    message = xasprintf("relationship hive_table_db already exists between entities %s and %s",
                        assigned(made, "-2"), assigned(made, "-1"));
    twice = service_call(service, 409, "POST", API "relationship", body, "ada");
    service_check_fault(twice, "ATLAS-409-00-004", message);
    wrong = service_call(service, 400, "POST", API "relationship", turned, NULL);
    service_check_fault(wrong, "ATLAS-400-00-036",
                        "invalid relationshipDef: hive_table_db: end type 1: hive_db, end type 2: "
                        "hive_table");
    path = xasprintf(API "relationship/guid/%s?extendedInfo=true", service_text(edge, "guid"));
    read = service_get(service, 200, path);
    ck_assert(json_equal(json_object_get(read, "relationship"), edge));
    ck_assert_uint_eq(json_object_size(json_object_get(read, "referredEntities")), 2);
    text = json_dumps(edge, 0);
    same = service_call(service, 200, "PUT", API "relationship", text, "eve");
    ck_assert(json_equal(same, edge));
    for (size_t i = 0; i < LENGTH(blocking); i++) {
        json_auto_t *blocked = json_deep_copy(edge), *refused = NULL;

        (void)json_object_set_new(blocked, blocking[i].name,
                                  json_loads(blocking[i].value, JSON_DECODE_ANY, NULL));
        mem_free(text);
        text = json_dumps(blocked, 0);
        refused = service_call(service, 400, "PUT", API "relationship", text, "eve");
        service_check_fault(refused, "ATLAS-400-00-029", blocking[i].message);
    }
    (void)json_object_set_new(json_object_get(edge, "end1"), "guid", json_string(UNKNOWN));
    mem_free(text);
    text = json_dumps(edge, 0);
    moved = service_call(service, 404, "PUT", API "relationship", text, "eve");
    ck_assert_str_eq(service_text(moved, "errorCode"), "ATLAS-400-00-069");
    gone = service_call(service, 204, "DELETE", path, NULL, NULL);
    ck_assert_ptr_null(gone);
    again = service_call(service, 404, "DELETE", path, NULL, NULL);
    ck_assert_str_eq(service_text(again, "errorCode"), "ATLAS-404-00-00F");
}
END_TEST

/* ---- what events have set ---- */

START_TEST(what_events_set_stays)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *guid = NULL;
    static const struct {
        const char *name, *value;
        long status;
        const char *message;
    } cases[] = {
        { "description", "\"d\"", 200, NULL },
        { "userDescription", "\"u\"", 200, NULL },
        { "userDescription", "\"w\"", 200, NULL },
        { "imageTag", "\"i\"", 200, NULL },
        { "imageTag", "\"j\"", 200, NULL },
        { "version", "1", 200, NULL },
        { "metadata", "{\"mine\":\"1\"}", 200, NULL },
        { "metadata", "{\"mine\":\"2\",\"k\":\"v\"}", 200, NULL },
        { "version", "2", 403,
          "eve is not authorized to perform update of ml_model_build.version: an event set it" },
        { "owner", "null", 403,
          "eve is not authorized to perform update of ml_model_build.owner: an event set it" },
        { "metadata", "{\"k\":\"w\"}", 403,
          "eve is not authorized to perform update of ml_model_build.metadata.k: an event set it" },
    };

    service_take(service, BUILT);
    guid = guid_of(service, "ml_model_build", "b@cm");
    for (size_t i = 0; i < LENGTH(cases); i++) {
        AUTO(mem_free) char *path = xasprintf(API "entity/guid/%s?name=%s", guid, cases[i].name);
        json_auto_t *answer =
            service_call(service, cases[i].status, "PUT", path, cases[i].value, "eve");

        if (cases[i].message)
            service_check_fault(answer, "ATLAS-403-00-001", cases[i].message);
    }
    ck_assert_int_eq(pg_query_i64(service->dsn,
                                  "SELECT count(*) FROM entity WHERE guid = '%s' AND to_batch IS"
                                  " NULL AND attributes @> '{\"imageTag\":\"j\",\"version\":1,"
                                  "\"metadata\":{\"k\":\"v\",\"mine\":\"2\"}}'",
                                  guid),
                     1);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM outbox"), 3);
}
END_TEST

/* What a client set before events described the entity stays its own, unless they set it too; what
 * they set later becomes theirs. */
START_TEST(what_clients_set_before_stays_theirs)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *guid = NULL;
    static const struct {
        const char *name, *value;
        long status;
    } cases[] = {
        { "userDescription", "\"v\"", 200 },
        { "displayName", "null", 200 },
        { "metadata", "{\"mine\":\"2\"}", 200 },
        { "metadata", "{\"k\":\"w\"}", 403 },
        { "owner", "\"z\"", 403 },
        { "version", "3", 403 },
    };
    json_auto_t *made = write_entities(
        service, 200,
        ENTITIES("{\"typeName\":\"ml_project\",\"guid\":\"-2\",\"attributes\":{"
                 "\"qualifiedName\":\"p@cm\",\"name\":\"P\"}},{\"typeName\":\"ml_model_build\","
                 "\"guid\":\"-1\",\"relationshipAttributes\":{\"project\":{\"guid\":\"-2\"}},"
                 "\"attributes\":{"
                 "\"qualifiedName\":\"b@cm\",\"name\":\"n\",\"version\":7,\"owner\":\"o\","
                 "\"userDescription\":\"u\",\"displayName\":\"d\",\"metadata\":{\"mine\":\"1\","
                 "\"k\":\"mine\"}}}"));

    service_take(service, BUILT);
    guid = guid_of(service, "ml_model_build", "b@cm");
    ck_assert_str_eq(guid, assigned(made, "-1"));
    for (size_t i = 0; i < LENGTH(cases); i++) {
        AUTO(mem_free) char *path = xasprintf(API "entity/guid/%s?name=%s", guid, cases[i].name);
        json_auto_t *answer =
            service_call(service, cases[i].status, "PUT", path, cases[i].value, "eve");

        (void)answer;
    }
}
END_TEST

/* What a client made and events have told of since is theirs. */
START_TEST(told_by_events_as_well)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *made = write_entities(
        service, 200,
        ENTITIES("{\"typeName\":\"ml_project\",\"guid\":\"-1\",\"attributes\":{"
                 "\"qualifiedName\":\"p@cm\",\"name\":\"P\"}},{\"typeName\":\"ml_model_build\","
                 "\"guid\":\"-2\",\"attributes\":{\"qualifiedName\":\"b@cm\",\"name\":\"n\","
                 "\"version\":1},\"relationshipAttributes\":{\"project\":{\"guid\":\"-1\"}}}"));
    AUTO(mem_free) char *edge = NULL;
    json_auto_t *refused = NULL;
    int64_t before;

    service_take(service, BUILT);
    edge =
        pg_query_text(service->dsn, "SELECT '" API "relationship/guid/' || guid FROM relationship"
                                    " WHERE type = 'ml_project_model_build' AND to_batch IS NULL");
    refused = service_call(service, 403, "DELETE", edge, NULL, "eve");
    service_check_fault(
        refused, "ATLAS-403-00-001",
        "eve is not authorized to perform removal of ml_project_model_build: an event "
        "set it");
    WAIT_UNTIL(20000, pg_query_i64(service->dsn, "SELECT deployment FROM graph_position") == 1);
    before = versions(service);
    json_decref(service_post(service, 200, "/v1/events", BUILT));
    ck_assert_int_eq(versions(service), before);
    (void)made;
}
END_TEST

/* An attribute that nobody had set, then a client, then an event. */
START_TEST(set_by_events_later)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *guid = NULL;
    AUTO(mem_free) char *path = NULL;
    json_auto_t *own = NULL, *refused = NULL;

    service_take(service, BUILT);
    guid = guid_of(service, "ml_model_deployment", "x@cm");
    path = xasprintf(API "entity/guid/%s?name=replicas", guid);
    own = service_call(service, 200, "PUT", path, "2", "eve");
    ck_assert_uint_eq(count(own, "PARTIAL_UPDATE"), 1);
    service_take(service,
                 "{\"event\":\"model_deployed\",\"modelBuildCrn\":\"b\",\"modelDeploymentCrn\":"
                 "\"x\",\"status\":\"stopped\",\"statusAtMs\":1704067300000,\"createdAtMs\":"
                 "1704067200000,\"cpuMillicores\":1,\"replicas\":3,\"userName\":\"eve\"}");
    refused = service_call(service, 403, "PUT", path, "4", "eve");
    service_check_fault(
        refused, "ATLAS-403-00-001",
        "eve is not authorized to perform update of ml_model_deployment.replicas: an "
        "event set it");
}
END_TEST

#define PROJECT                                                                                    \
    "{\"event\":\"project_created\",\"projectCrn\":\"p\",\"projectName\":\"P\","                   \
    "\"userName\":\"ada\",\"description\":\"theirs\",\"createdAtMs\":1704067200000}"
#define BUILD(crn, number)                                                                         \
    "{\"event\":\"model_built\",\"projectCrn\":\"p\",\"modelCrn\":\"m\",\"modelName\":\"Model\","  \
    "\"modelBuildCrn\":\"" crn "\",\"buildNumber\":" number                                        \
    ",\"userName\":\"bob\",\"createdAtMs\":1704067200000}"

/* A description that a client wrote is not undone by events about something else. */
START_TEST(described_by_clients)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *guid = NULL;
    AUTO(mem_free) char *path = NULL;
    AUTO(mem_free) char *stands = NULL;
    json_auto_t *answer = NULL, *removed = NULL;

    service_take(service, PROJECT);
    guid = guid_of(service, "ml_project", "p@cm");
    path = xasprintf(API "entity/guid/%s?name=description", guid);
    answer = service_call(service, 200, "PUT", path, "\"ours\"", "eve");
    service_take(service, BUILD("b", "1"));
    stands = pg_query_text(service->dsn,
                           "SELECT attributes ->> 'description' || ' ' || (attributes ->> 'name')"
                           " FROM entity WHERE guid = '%s' AND to_batch IS NULL",
                           guid);
    ck_assert_str_eq(stands, "ours P");
    removed = service_call(service, 200, "PUT", path, "null", "eve");
    service_take(service, BUILD("c", "2"));
    ck_assert_int_eq(pg_query_i64(service->dsn,
                                  "SELECT count(*) FROM entity WHERE guid = '%s' AND to_batch IS"
                                  " NULL AND NOT attributes ? 'description'",
                                  guid),
                     1);
}
END_TEST

/* The guid says whom the request means, whatever name it gives. */
START_TEST(guids_go_before_names)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *made = write_entities(service, 200, MODEL), *taken = NULL, *free_name = NULL;
    AUTO(mem_free) char *guid = xstrdup(assigned(made, "-2"));
    AUTO(mem_free)
    char *clash = xasprintf(ENTITY(TABLE("\"%s\"", "d.v", ",\"comment\":\"c\"")), guid);
    AUTO(mem_free) char *rename = xasprintf(ENTITY(TABLE("\"%s\"", "d.w", "")), guid);
    AUTO(mem_free)
    char *both = xasprintf(ENTITIES(TABLE("\"%s\"", "d.x", "") "," TABLE("\"%s\"", "d.x", "")),
                           guid, assigned(made, "-5"));
    AUTO(mem_free) char *found = NULL;
    json_auto_t *two = NULL;

    taken = service_call(service, 409, "POST", API "entity", clash, NULL);
    service_check_fault(taken, "ATLAS-409-00-003",
                        "failed to update entity: another one of its type has this name");
    free_name = service_call(service, 200, "POST", API "entity", rename, NULL);
    ck_assert_uint_eq(count(free_name, "UPDATE"), 1);
    found = guid_of(service, "hive_table", "d.w@cm");
    ck_assert_str_eq(found, guid);
    two = write_entities(service, 409, both);
    ck_assert_str_eq(service_text(two, "errorCode"), "ATLAS-409-00-003");
}
END_TEST

/* What a partial update brings along is made, and needs what any entity needs. */
START_TEST(made_by_a_partial_update)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *made = write_entities(service, 200, MODEL), *refused = NULL, *taken = NULL;
    int64_t before = versions(service);
    static const char path[] =
        API "entity/uniqueAttribute/type/hive_table?attr:qualifiedName=d.t@cm";

    refused = service_call(service, 404, "PUT", path,
                           "{\"entity\":{\"attributes\":{\"db\":{\"guid\":\"-8\"}}},"
                           "\"referredEntities\":{\"-8\":{\"typeName\":\"hive_db\","
                           "\"attributes\":{\"name\":\"e\",\"clusterName\":\"cm\"}}}}",
                           NULL);
    service_check_fault(
        refused, "ATLAS-404-00-007",
        "Invalid instance creation/updation parameters passed : hive_db.qualifiedName: "
        "mandatory attribute value missing in type Referenceable");
    ck_assert_int_eq(versions(service), before);
    taken = service_call(service, 200, "PUT", path,
                         "{\"entity\":{\"attributes\":{\"outputFromProcesses\":[{\"guid\":\"-8\"}]"
                         "}},\"referredEntities\":{\"-8\":{\"typeName\":\"ml_project_create_process"
                         "\",\"attributes\":{\"qualifiedName\":\"c\",\"name\":\"c\",\"userName\":"
                         "\"u\",\"outputs\":[{\"guid\":\"-9\"}]}},\"-9\":{\"typeName\":"
                         "\"ml_project\",\"attributes\":{\"qualifiedName\":\"j\",\"name\":\"j\","
                         "\"metadata\":{\"k\":\"v\"}}}}}",
                         NULL);
    ck_assert_uint_eq(count(taken, "CREATE"), 2);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM entity WHERE type ="
                                                " 'ml_project' AND attributes @>"
                                                " '{\"metadata\":{\"k\":\"v\"}}'"),
                     1);
    (void)made;
}
END_TEST

/* A reference may name a type above: of two with that name it means the one that fits. */
START_TEST(named_by_a_type_above)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *made = write_entities(
        service, 200,
        ENTITIES("{\"typeName\":\"Process\",\"guid\":\"-1\",\"attributes\":{\"qualifiedName\":"
                 "\"s@cm\",\"name\":\"s\",\"outputs\":[{\"typeName\":\"DataSet\","
                 "\"uniqueAttributes\":{\"qualifiedName\":\"s@cm\"}}]}}," TABLE("-2", "s", "")));

    ck_assert_uint_eq(count(made, "CREATE"), 2);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM relationship"), 1);
}
END_TEST

/* A text that is cut in a message is cut between characters, and a guid is answered once. */
START_TEST(answers_are_json)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *guid = NULL;
    AUTO(mem_free) char *path = NULL;
    AUTO(mem_free) char *key = NULL;
    AUTO(mem_free) char *built = NULL;
    AUTO(mem_free) char *value = NULL;
    json_auto_t *twice = NULL, *refused = NULL;

    twice = write_entities(service, 200, ENTITIES(TABLE("-1", "t", "") "," TABLE("-1", "t", "")));
    ck_assert_uint_eq(count(twice, "CREATE"), 1);
    key = xasprintf("%0*d\xc3\xa9", 63, 0);
    built = xasprintf("{\"event\":\"model_built\",\"projectCrn\":\"p\",\"modelCrn\":\"m\","
                      "\"modelName\":\"Model\",\"modelBuildCrn\":\"b\",\"buildNumber\":1,"
                      "\"userName\":\"bob\",\"createdAtMs\":1704067200000,\"metadata\":{\"%s\":"
                      "\"v\"}}",
                      key);
    service_take(service, built);
    guid = guid_of(service, "ml_model_build", "b@cm");
    path = xasprintf(API "entity/guid/%s?name=metadata", guid);
    value = xasprintf("{\"%s\":\"w\"}", key);
    refused = service_call(service, 403, "PUT", path, value, "eve");
    mem_free(key);
    key = xasprintf("eve is not authorized to perform update of ml_model_build.metadata.%0*d: an "
                    "event set it",
                    63, 0);
    service_check_fault(refused, "ATLAS-403-00-001", key);
}
END_TEST

START_TEST(relations_of_events_stay)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *guid = NULL;
    AUTO(mem_free) char *path = NULL;
    AUTO(mem_free) char *edge = NULL;
    json_auto_t *refused = NULL, *kept = NULL, *table = NULL;

    service_take(service, BUILT);
    guid = guid_of(service, "ml_model_train_build_process", "b:train_build@cm");
    path = xasprintf(API "entity/guid/%s?name=inputs", guid);
    refused = service_call(service, 403, "PUT", path, "[]", "eve");
    service_check_fault(
        refused, "ATLAS-403-00-001",
        "eve is not authorized to perform removal of dataset_process_inputs: an event set "
        "it");
    edge =
        pg_query_text(service->dsn, "SELECT '" API "relationship/guid/' || guid FROM relationship"
                                    " WHERE type = 'ml_build_deployment'");
    kept = service_call(service, 403, "DELETE", edge, NULL, NULL);
    /* the table is known by its name alone: anybody may describe it */
    table = service_call(service, 200, "POST", API "entity", ENTITY(TABLE("-1", "d.t", "")), NULL);
    ck_assert_uint_eq(count(table, "UPDATE"), 1);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM entity WHERE type ="
                                                " 'hive_table' AND NOT is_incomplete AND to_batch"
                                                " IS NULL"),
                     1);
}
END_TEST

#define PREDICTION(uuid)                                                                           \
    "{\"event\":\"track_metrics\",\"modelDeploymentCrn\":\"x\",\"predictionUuid\":\"" uuid         \
    "\",\"startTimestampMs\":1704067200000,\"endTimestampMs\":1704067200001,\"metrics\":{\"a\":1}" \
    "}"

/* A deleted build takes its deployments along, and neither metrics nor the catalog. What came is
 * not done again; something new makes what it tells of anew. */
START_TEST(deleted_builds_and_their_events)
{
    AUTO(service_free) struct service *service = service_start();
    AUTO(mem_free) char *guid = NULL;
    AUTO(mem_free) char *path = NULL;
    AUTO(mem_free) char *anew = NULL;
    json_auto_t *gone = NULL, *again = NULL, *deployments = NULL, *rows = NULL;
    int64_t before;

    service_take(service, BUILT);
    service_take(service, PREDICTION("12f34405-38fa-42de-9ed4-68dbd82d36f6"));
    guid = guid_of(service, "ml_model_build", "b@cm");
    path = xasprintf(API "entity/guid/%s", guid);
    gone = service_call(service, 200, "DELETE", path, NULL, NULL);
    ck_assert_uint_eq(count(gone, "DELETE"), 2);
    WAIT_UNTIL(20000, pg_query_i64(service->dsn, "SELECT deployment FROM graph_position") == 1);
    before = versions(service);
    again = service_post(service, 200, "/v1/events", BUILT);
    ck_assert_int_eq(service_number(again, "duplicate"), 3);
    ck_assert_int_eq(versions(service), before);
    WAIT_UNTIL(20000, service_sample(service, "plumbline_deployments_deleted") == 1);
    service_take(service, PREDICTION("22f34405-38fa-42de-9ed4-68dbd82d36f6"));
    ck_assert_int_eq(service_sample(service, "plumbline_predictions_of_deleted_deployments_total"),
                     1);
    rows = service_rows(service, "");
    ck_assert_uint_eq(json_array_size(rows), 2);
    deployments = service_get(service, 200, "/v1/deployments");
    ck_assert_uint_eq(json_array_size(json_object_get(deployments, "deployments")), 1);
    service_take(service,
                 "{\"event\":\"model_deployed\",\"modelBuildCrn\":\"b\",\"modelDeploymentCrn\":"
                 "\"x\",\"status\":\"stopped\",\"statusAtMs\":1704067300000,\"createdAtMs\":"
                 "1704067200000,\"cpuMillicores\":1,\"userName\":\"eve\"}");
    anew = guid_of(service, "ml_model_build", "b@cm");
    ck_assert_str_ne(anew, guid);
    WAIT_UNTIL(20000, service_sample(service, "plumbline_deployments_deleted") == 0);
    service_check_balance(service, 6, 3, 0);
}
END_TEST

/* ---- the graph before ---- */

START_TEST(as_it_stood)
{
    AUTO(service_free) struct service *service = service_start();
    json_auto_t *made = write_entities(service, 200, MODEL), *gone = NULL, *was = NULL, *is = NULL;
    AUTO(mem_free) char *path = xasprintf(API "entity/guid/%s", assigned(made, "-2"));
    AUTO(mem_free)
    char *before = pg_query_text(service->dsn,
                                 "SELECT '%s?as_of=' || floor(extract(epoch FROM recorded_at)"
                                 " * 1000) FROM graph_batch",
                                 path);

    WAIT_UNTIL(10000, pg_query_i64(service->dsn,
                                   "SELECT (clock_timestamp() > recorded_at + interval '2 ms')::int"
                                   " FROM graph_batch") == 1);
    gone = service_call(service, 200, "DELETE", path, NULL, NULL);
    was = service_get(service, 200, before);
    is = service_get(service, 200, path);
    ck_assert_str_eq(service_text(json_object_get(was, "entity"), "status"), "ACTIVE");
    ck_assert_str_eq(service_text(json_object_get(is, "entity"), "status"), "DELETED");
}
END_TEST

/* ---- together, and in between ---- */

struct writer {
    struct service service; /* an HTTP client of its own */
    pthread_t thread;
    int n;
};

static void *writer_run(void *arg)
{
    struct writer *writer = arg;

    for (int i = 0; i < 20; i++) {
        AUTO(mem_free)
        char *body = xasprintf(ENTITIES(TABLE("-1", "t",
                                              ",\"comment\":\"%d %d\"") "," TABLE("-2", "u%d", "")),
                               writer->n, i, i, i);
        json_auto_t *answer =
            service_call(&writer->service, 200, "POST", API "entity/bulk", body, NULL);

        ck_assert_ptr_nonnull(json_object_get(answer, "guidAssignments"));
    }
    return NULL;
}

/* By two daemons at a time: one entity for each name. */
START_TEST(written_at_the_same_time)
{
    AUTO(service_free) struct service *one = service_start();
    AUTO(service_free)
    struct service *two = service_start_with(&(struct daemon_options){ .dsn = one->dsn });
    struct writer writers[4];

    for (int i = 0; i < 4; i++) {
        writers[i] = (struct writer){ .service = i % 2 ? *one : *two, .n = i };
        writers[i].service.http = http_new();
        ck_assert_int_eq(pthread_create(&writers[i].thread, NULL, writer_run, &writers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(writers[i].thread, NULL);
        http_free(writers[i].service.http);
    }
    ck_assert_int_eq(pg_query_i64(one->dsn, "SELECT count(DISTINCT entity_id) FROM entity"), 21);
    ck_assert_int_eq(pg_query_i64(one->dsn, "SELECT count(*) FROM entity WHERE to_batch IS NULL"),
                     21);
}
END_TEST

/* The connection is lost around COMMIT: what is answered is what became of it. */
START_TEST(cut_at_commit)
{
    AUTO(service_free)
    struct service *service = service_start_proxied(&(struct daemon_options){ 0 });
    const struct proxy_cut *cut = &proxy_cuts[_i];
    json_auto_t *made = NULL, *other = NULL, *changed = NULL, *server = NULL;

    proxy_aim(service->proxy, "plumbline read");
    proxy_arm(service->proxy, cut->mode, 0);
    made = write_entities(service, 200, MODEL);
    ck_assert_msg(proxy_sprung(service->proxy) && count(made, "CREATE") == 6, "%s", cut->name);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM entity"), 6);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM relationship"), 4);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM graph_batch"), 1);
    other = write_entities(service, 200, ENTITIES(TABLE("-1", "u", "")));
    proxy_arm(service->proxy, cut->mode, 0);
    changed = write_entities(service, 200, ENTITIES(TABLE("-1", "u", ",\"comment\":\"c\"")));
    ck_assert_msg(proxy_sprung(service->proxy) && count(changed, "UPDATE") == 1, "%s", cut->name);
    ck_assert_int_eq(pg_query_i64(service->dsn, "SELECT count(*) FROM graph_batch"), 3);
    proxy_refuse(service->proxy, true);
    server = write_entities(service, 503, MODEL);
    ck_assert_str_eq(service_text(server, "errorCode"), "ATLAS-503-00-001");
}
END_TEST

/* Killed at any moment: each request is in as a whole or not at all. */
START_TEST(killed_in_between)
{
    AUTO(service_free) struct service *service = service_start();

    for (int round = 0; round < 4; round++) {
        AUTO(buf_done) struct buf body;
        AUTO(mem_free) char *url = daemon_url(service->daemon, API "entity/bulk");
        AUTO(http_answer_free) struct http_answer *answer = NULL;
        int64_t before = pg_query_i64(service->dsn, "SELECT count(*) FROM entity"), after;

        buf_init(&body, SIZE_MAX);
        buf_append_text(&body, "{\"entities\":[");
        for (int i = 0; i < 3000; i++)
            buf_append_fmt(&body,
                           "%s{\"typeName\":\"hive_table\",\"guid\":\"-%d\",\"attributes\":{"
                           "\"qualifiedName\":\"t%d.%d\",\"name\":\"t\"}}",
                           i ? "," : "", i + 1, round, i);
        buf_append_text(&body, "]}");
        answer = http_send(service->http, &(struct http_request){ .url = url,
                                                                  .body = buf_text(&body),
                                                                  .timeout_ms = 20 + 60 * round });
        daemon_kill9(service->daemon);
        daemon_resume(service->daemon);
        WAIT_UNTIL(20000, pg_query_i64(service->dsn,
                                       "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
                                       " AND classid = 7236 AND objid = 4") == 0);
        after = pg_query_i64(service->dsn, "SELECT count(*) FROM entity");
        ck_assert_int_eq((after - before) % 3000, 0);
        ck_assert(answer->status != 200 || after - before == 3000);
    }
}
END_TEST

Suite *entities_suite(void)
{
    Suite *suite = suite_create("entities");
    TCase *tc = tcase_create("entities");

    tcase_add_unchecked_fixture(tc, pg_shared_start, NULL);
    tcase_add_test(tc, made_once);
    tcase_add_test(tc, an_echo_changes_nothing);
    tcase_add_test(tc, changed_in_full_and_in_part);
    tcase_add_test(tc, sets_are_replaced);
    tcase_add_test(tc, only_what_is_referred_to);
    tcase_add_test(tc, two_views_of_one_entity);
    tcase_add_test(tc, without_a_qualified_name);
    tcase_add_test(tc, owned_in_a_circle);
    tcase_add_test(tc, names_of_kilobytes);
    tcase_add_test(tc, names_around_the_longest_key);
    tcase_add_test(tc, refused_as_atlas_does);
    tcase_add_test(tc, more_values_than_memory);
    tcase_add_test(tc, one_bad_reference_of_many);
    tcase_add_test(tc, as_the_java_client_sends);
    tcase_add_test(tc, deleted_with_what_it_owns);
    tcase_add_test(tc, deleted_in_every_way);
    tcase_add_test(tc, relationships_by_themselves);
    tcase_add_test(tc, what_events_set_stays);
    tcase_add_test(tc, relations_of_events_stay);
    tcase_add_test(tc, what_clients_set_before_stays_theirs);
    tcase_add_test(tc, told_by_events_as_well);
    tcase_add_test(tc, set_by_events_later);
    tcase_add_test(tc, described_by_clients);
    tcase_add_test(tc, guids_go_before_names);
    tcase_add_test(tc, made_by_a_partial_update);
    tcase_add_test(tc, named_by_a_type_above);
    tcase_add_test(tc, answers_are_json);
    tcase_add_test(tc, deleted_builds_and_their_events);
    tcase_add_test(tc, as_it_stood);
    tcase_add_test(tc, written_at_the_same_time);
    tcase_add_loop_test(tc, cut_at_commit, 0, PROXY_CUTS);
    tcase_add_test(tc, killed_in_between);
    suite_add_tcase(suite, tc);
    return suite;
}
