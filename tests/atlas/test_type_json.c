#include "atlas/type_json.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

static struct type_registry *registry;

static void setup(void)
{
    registry = type_registry_new();
}

static void teardown(void)
{
    type_registry_free(registry);
}

/* What the JSON of a definition begins with. */
#define HEAD(category, guid, name, description, service)                                           \
    "{\"category\":\"" category "\",\"guid\":\"" guid "\",\"createdBy\":\"plumbline\","            \
    "\"updatedBy\":\"plumbline\",\"createTime\":1795219200000,\"updateTime\":1795219200000,"       \
    "\"version\":1,\"name\":\"" name "\"," description "\"typeVersion\":\"1.0\","                  \
    "\"serviceType\":\"" service "\","

#define COUNTS(min, max) "\"valuesMinCount\":" #min ",\"valuesMaxCount\":" #max ","
#define PLAIN                                                                                      \
    "\"isUnique\":false,\"isIndexable\":false,\"includeInNotification\":false,"                    \
    "\"searchWeight\":-1"
#define INDEXED                                                                                    \
    "\"isUnique\":false,\"isIndexable\":true,\"includeInNotification\":false,\"searchWeight\":-1"

#define RELATION_TO_PROCESS(name, relationship)                                                    \
    "{\"name\":\"" name "\",\"typeName\":\"array<Process>\",\"isOptional\":true,"                  \
    "\"cardinality\":\"SET\"," COUNTS(-1, -1) PLAIN ",\"relationshipTypeName\":\"" relationship    \
                                                    "\",\"isLegacyAttribute\":false}"
#define RELATIONS_OF_DATA_SET                                                                      \
    RELATION_TO_PROCESS("inputToProcesses", "dataset_process_inputs")                              \
    "," RELATION_TO_PROCESS("outputFromProcesses", "process_dataset_outputs")

static const struct {
    const char *name, *json;
} exact_cases[] = {
    { "ml_model_deployment_status",
      HEAD("ENUM", "9ad5881b-ff03-8d48-b24c-2a5677407ca9", "ml_model_deployment_status",
           "\"description\":\"How far the deployment of a model build has come\",",
           "ml") "\"elementDefs\":[{\"value\":\"unknown\",\"ordinal\":0},"
                 "{\"value\":\"deploying\",\"ordinal\":1},{\"value\":\"deployed\",\"ordinal\":2},"
                 "{\"value\":\"stopping\",\"ordinal\":3},{\"value\":\"stopped\",\"ordinal\":4}]}" },
    { "hive_order", HEAD("STRUCT", "408586d5-b4d4-8148-afb8-82a5b46cd478", "hive_order",
                         "\"description\":\"A column by which a table is sorted\",",
                         "hive") "\"attributeDefs\":[{\"name\":\"order\",\"typeName\":\"int\","
                                 "\"isOptional\":false,"
                                 "\"cardinality\":\"SINGLE\"," COUNTS(1, 1) PLAIN
      "},"
      "{\"name\":\"col\",\"typeName\":\"string\",\"isOptional\":false,"
      "\"cardinality\":\"SINGLE\"," COUNTS(1, 1) PLAIN "}]}" },
    { "Referenceable",
      HEAD("ENTITY", "293372e5-0573-8dde-8d22-01f15441a1f1", "Referenceable",
           "\"description\":\"Whatever has a name of its own\",",
           "atlas_core") "\"attributeDefs\":[{\"name\":\"qualifiedName\",\"typeName\":\"string\","
                         "\"isOptional\":false,\"cardinality\":\"SINGLE\"," COUNTS(
                             1, 1) "\"isUnique\":true,\"isIndexable\":true,"
                                   "\"includeInNotification\":false,"
                                   "\"description\":\"Names the entity: no other active entity of "
                                   "its type has it\","
                                   "\"searchWeight\":-1},"
                                   "{\"name\":\"replicatedFrom\",\"typeName\":\"array<AtlasServer>"
                                   "\",\"isOptional\":true,"
                                   "\"cardinality\":\"SET\"," COUNTS(0, 2147483647) PLAIN
      ",\"options\":{\"isSoftReference\":\"true\"}},"
      "{\"name\":\"replicatedTo\",\"typeName\":\"array<AtlasServer>\",\"isOptional\":true,"
      "\"cardinality\":\"SET\"," COUNTS(0, 2147483647) PLAIN
      ",\"options\":{\"isSoftReference\":\"true\"}}],"
      "\"superTypes\":[],\"subTypes\":[\"Asset\",\"ddl\",\"hive_storagedesc\"],"
      "\"relationshipAttributeDefs\":[],\"businessAttributeDefs\":{}}" },
    { "Process",
      HEAD("ENTITY", "7f3300e4-0ab3-8b48-94cb-9fd3d6950975", "Process",
           "\"description\":\"What makes data of other data\",",
           "atlas_core") "\"attributeDefs\":[{\"name\":\"inputs\",\"typeName\":\"array<DataSet>\","
                         "\"isOptional\":true,\"cardinality\":\"SET\"," COUNTS(0, 2147483647) PLAIN
      "},"
      "{\"name\":\"outputs\",\"typeName\":\"array<DataSet>\",\"isOptional\":true,"
      "\"cardinality\":\"SET\"," COUNTS(0, 2147483647) PLAIN
      "}],\"superTypes\":[\"Asset\"],"
      "\"subTypes\":[\"hive_process\",\"hive_column_lineage\",\"ml_project_create_process\","
      "\"ml_model_train_build_process\",\"ml_model_deploy_process\"],"
      "\"relationshipAttributeDefs\":["
      "{\"name\":\"inputs\",\"typeName\":\"array<DataSet>\",\"isOptional\":true,"
      "\"cardinality\":\"SET\"," COUNTS(0, 2147483647) PLAIN
      ",\"relationshipTypeName\":\"dataset_process_inputs\",\"isLegacyAttribute\":true},"
      "{\"name\":\"outputs\",\"typeName\":\"array<DataSet>\",\"isOptional\":true,"
      "\"cardinality\":\"SET\"," COUNTS(0, 2147483647) PLAIN
      ",\"relationshipTypeName\":\"process_dataset_outputs\",\"isLegacyAttribute\":true}],"
      "\"businessAttributeDefs\":{}}" },
    { "ml_project",
      HEAD(
          "ENTITY", "a96fa1df-76f2-862e-a2b1-456d9468d2aa", "ml_project",
          "\"description\":\"Source code and all else that models are built from\",",
          "ml") "\"attributeDefs\":[{\"name\":\"metadata\",\"typeName\":\"map<string,string>\","
                "\"isOptional\":true,\"cardinality\":\"SINGLE\"," COUNTS(
                    0,
                    1) "\"isUnique\":false,\"isIndexable\":false,\"includeInNotification\":false,"
                       "\"description\":\"What else is known of the project, as names and values\","
                       "\"searchWeight\":-1,\"options\":{\"isAppendOnPartialUpdate\":\"true\"}},"
                       "{\"name\":\"createTime\",\"typeName\":\"date\",\"isOptional\":true,"
                       "\"cardinality\":\"SINGLE\"," COUNTS(0, 1) INDEXED
      "},"
      "{\"name\":\"modifiedTime\",\"typeName\":\"date\",\"isOptional\":true,"
      "\"cardinality\":\"SINGLE\"," COUNTS(0, 1) INDEXED
      "}],"
      "\"superTypes\":[\"DataSet\"],\"subTypes\":[],"
      "\"relationshipAttributeDefs\":[" RELATIONS_OF_DATA_SET ","
      "{\"name\":\"builds\",\"typeName\":\"array<ml_model_build>\",\"isOptional\":true,"
      "\"cardinality\":\"SET\"," COUNTS(-1, -1) PLAIN
      ",\"constraints\":[{\"type\":\"ownedRef\"}],"
      "\"relationshipTypeName\":\"ml_project_model_build\",\"isLegacyAttribute\":false}],"
      "\"businessAttributeDefs\":{}}" },
    { "ml_build_deployment",
      HEAD("RELATIONSHIP", "19a7c130-ed9e-8c20-9b5f-633343fa7324", "ml_build_deployment", "",
           "ml") "\"attributeDefs\":[],\"relationshipCategory\":\"COMPOSITION\","
                 "\"relationshipLabel\":\"__ml_build.deployments\",\"propagateTags\":\"NONE\","
                 "\"endDef1\":{\"type\":\"ml_model_build\",\"name\":\"deployments\","
                 "\"isContainer\":true,"
                 "\"cardinality\":\"SET\",\"isLegacyAttribute\":false},"
                 "\"endDef2\":{\"type\":\"ml_model_deployment\",\"name\":\"build\",\"isContainer\":"
                 "false,"
                 "\"cardinality\":\"SINGLE\",\"isLegacyAttribute\":false}}" },
    { "dataset_process_inputs",
      HEAD("RELATIONSHIP", "c5bcf6e3-a039-8349-a18a-7aed75da8172", "dataset_process_inputs", "",
           "atlas_core") "\"attributeDefs\":[],\"relationshipCategory\":\"AGGREGATION\","
                         "\"propagateTags\":\"TWO_TO_ONE\","
                         "\"endDef1\":{\"type\":\"Process\",\"name\":\"inputs\",\"isContainer\":"
                         "true,"
                         "\"cardinality\":\"SET\",\"isLegacyAttribute\":true},"
                         "\"endDef2\":{\"type\":\"DataSet\",\"name\":\"inputToProcesses\","
                         "\"isContainer\":false,"
                         "\"cardinality\":\"SET\",\"isLegacyAttribute\":false}}" },
};

START_TEST(exact_case)
{
    const struct type *type = type_by_name(registry, span_of(exact_cases[_i].name));
    json_auto_t *json = type_json(type);
    AUTO(mem_free) char *text = json_dumps(json, JSON_COMPACT);

    ck_assert_str_eq(text, exact_cases[_i].json);
}
END_TEST

/* The attribute of a definition, from "attributeDefs" or "relationshipAttributeDefs". */
static json_t *attribute_of(json_t *def, const char *member, const char *name)
{
    size_t i;
    json_t *attribute;

    json_array_foreach(json_object_get(def, member), i, attribute)
    {
        if (strcmp(json_string_value(json_object_get(attribute, "name")), name) == 0)
            return attribute;
    }
    ck_abort_msg("no %s in %s", name, member);
}

static const struct {
    const char *type, *member, *attribute, *json;
} attribute_cases[] = {
    { "Asset", "attributeDefs", "name",
      "{\"name\":\"name\",\"typeName\":\"string\",\"isOptional\":false,"
      "\"cardinality\":\"SINGLE\"," COUNTS(1, 1) INDEXED ",\"indexType\":\"STRING\"}" },
    { "hive_db", "attributeDefs", "clusterName",
      "{\"name\":\"clusterName\",\"typeName\":\"string\",\"isOptional\":false,"
      "\"cardinality\":\"SINGLE\"," COUNTS(
          1, 1) "\"isUnique\":false,\"isIndexable\":true,\"includeInNotification\":true,"
                "\"searchWeight\":-1}" },
    { "hive_process", "attributeDefs", "recentQueries",
      "{\"name\":\"recentQueries\",\"typeName\":\"array<string>\",\"isOptional\":true,"
      "\"cardinality\":\"LIST\"," COUNTS(0, 2147483647) PLAIN "}" },
    { "ml_model_build", "attributeDefs", "version",
      "{\"name\":\"version\",\"typeName\":\"int\",\"isOptional\":false,"
      "\"cardinality\":\"SINGLE\"," COUNTS(1, 1) INDEXED "}" },
    { "ml_model_build", "relationshipAttributeDefs", "project",
      "{\"name\":\"project\",\"typeName\":\"ml_project\",\"isOptional\":false,"
      "\"cardinality\":\"SINGLE\"," COUNTS(-1, -1) PLAIN
      ",\"relationshipTypeName\":\"ml_project_model_build\",\"isLegacyAttribute\":false}" },
    { "hive_table", "relationshipAttributeDefs", "db",
      "{\"name\":\"db\",\"typeName\":\"hive_db\",\"isOptional\":true,"
      "\"cardinality\":\"SINGLE\"," COUNTS(-1, -1) PLAIN
      ",\"relationshipTypeName\":\"hive_table_db\",\"isLegacyAttribute\":true}" },
    { "hive_table", "relationshipAttributeDefs", "sd",
      "{\"name\":\"sd\",\"typeName\":\"hive_storagedesc\",\"isOptional\":true,"
      "\"cardinality\":\"SINGLE\"," COUNTS(-1, -1) PLAIN
      ",\"constraints\":[{\"type\":\"ownedRef\"}],"
      "\"relationshipTypeName\":\"hive_table_storagedesc\",\"isLegacyAttribute\":true}" },
    { "ml_model_deploy_process", "relationshipAttributeDefs", "inputs",
      "{\"name\":\"inputs\",\"typeName\":\"array<DataSet>\",\"isOptional\":true,"
      "\"cardinality\":\"SET\"," COUNTS(0, 2147483647) PLAIN
      ",\"relationshipTypeName\":\"dataset_process_inputs\",\"isLegacyAttribute\":true}" },
};

START_TEST(attribute_case)
{
    json_auto_t *def = type_json(type_by_name(registry, span_of(attribute_cases[_i].type)));
    json_t *json = attribute_of(def, attribute_cases[_i].member, attribute_cases[_i].attribute);
    AUTO(mem_free) char *text = json_dumps(json, JSON_COMPACT);

    ck_assert_str_eq(text, attribute_cases[_i].json);
}
END_TEST

START_TEST(options_of_a_type)
{
    json_auto_t *table = type_json(type_by_name(registry, span_of("hive_table")));
    json_auto_t *column = type_json(type_by_name(registry, span_of("hive_column")));
    json_t *names = json_object_get(json_object_get(column, "options"), "schemaAttributes");
    json_auto_t *schema = json_loads(json_string_value(names), 0, NULL);
    AUTO(mem_free) char *text = json_dumps(json_object_get(table, "options"), JSON_COMPACT);

    ck_assert_str_eq(text, "{\"schemaElementsAttribute\":\"columns\"}");
    ck_assert_uint_eq(json_array_size(schema), 6); /* a list of names, itself JSON */
}
END_TEST

#define RELATIONSHIPS                                                                              \
    "dataset_process_inputs process_dataset_outputs hive_table_db hive_table_columns "             \
    "hive_table_partitionkeys hive_table_storagedesc hive_process_column_lineage "                 \
    "hive_process_process_executions hive_db_ddl_queries hive_table_ddl_queries "                  \
    "ml_project_model_build ml_build_deployment"

/* Names without quotes, in the order of the answer; "|" begins a member of the AtlasTypesDef. */
static const struct {
    const char *name;
    struct type_filter filter;
    const char *want;
} filter_cases[] = {
    { "enums",
      { .type = SPAN_LITERAL("ENUM") },
      "file_action hive_principal_type ml_model_deployment_status|||||" },
    { "in any case",
      { .type = SPAN_LITERAL("eNuM") },
      "file_action hive_principal_type ml_model_deployment_status|||||" },
    { "structs", { .type = SPAN_LITERAL("struct") }, "|fs_permissions hive_order hive_serde||||" },
    { "no classifications", { .type = SPAN_LITERAL("CLASSIFICATION") }, "|||||" },
    { "no traits", { .type = SPAN_LITERAL("TRAIT") }, "|||||" },
    { "no business metadata", { .type = SPAN_LITERAL("BUSINESS_METADATA") }, "|||||" },
    { "relationships", { .type = SPAN_LITERAL("RELATIONSHIP") }, "||||" RELATIONSHIPS "|" },
    { "unknown category", { .type = SPAN_LITERAL("ENUMS") }, "|||||" },
    { "cut category", { .type = SPAN_LITERAL("ENU") }, "|||||" },
    { "name", { .name = SPAN_LITERAL("DataSet") }, "|||DataSet||" },
    { "unknown name", { .name = SPAN_LITERAL("dataset") }, "|||||" },
    { "name of another category",
      { .type = SPAN_LITERAL("ENUM"), .name = SPAN_LITERAL("DataSet") },
      "|||||" },
    { "blank is absent",
      { .type = SPAN_LITERAL(" "),
        .name = SPAN_LITERAL("DataSet"),
        .super_type = SPAN_LITERAL("") },
      "|||DataSet||" },
    { "super type", { .super_type = SPAN_LITERAL("Path") }, "|||fs_path hdfs_path||" },
    { "older name of a category",
      { .type = SPAN_LITERAL("class"), .super_type = SPAN_LITERAL("ddl") },
      "|||hive_db_ddl hive_table_ddl||" },
    { "not a super type",
      { .type = SPAN_LITERAL("ENTITY"), .not_super_type = SPAN_LITERAL("Referenceable") },
      "|||Referenceable AtlasServer||" },
    { "service",
      { .type = SPAN_LITERAL("ENTITY"),
        .service_type = SPAN_LITERAL("ml"),
        .not_super_type = SPAN_LITERAL("Process") },
      "|||ml_project ml_model_build ml_model_deployment||" },
    { "other services",
      { .type = SPAN_LITERAL("ENUM"), .not_service_type = SPAN_LITERAL("ml") },
      "file_action hive_principal_type|||||" },
    { "all but one",
      { .super_type = SPAN_LITERAL("Path"), .not_name = SPAN_LITERAL("fs_path") },
      "|||hdfs_path||" },
};

static int append_piece(const char *data, size_t len, void *ctx)
{
    buf_append(ctx, data, len);
    return 0;
}

/* Owned. */
static json_t *defs_json(const struct type_filter *filter)
{
    struct type_list types = type_registry_types(registry);
    AUTO(buf_done) struct buf text;
    json_t *json;

    buf_init(&text, SIZE_MAX);
    ck_assert_int_eq(type_defs_write(types.items, types.len, filter, append_piece, &text), 0);
    json = json_loadb(text.data, text.len, 0, NULL);
    ck_assert_ptr_nonnull(json);
    return json;
}

static void append_names(struct buf *buf, const json_t *array, bool *is_first)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        json_t *name = json_object_get(json_array_get(array, i), "name");

        buf_append_fmt(buf, "%s%s", *is_first ? "" : " ", json_string_value(name));
        *is_first = false;
    }
}

START_TEST(filter_case)
{
    static const char *const members[] = {
        "enumDefs",   "structDefs",       "classificationDefs",
        "entityDefs", "relationshipDefs", "businessMetadataDefs"
    };
    json_auto_t *json = defs_json(&filter_cases[_i].filter);
    json_auto_t *headers = type_headers_json(registry, &filter_cases[_i].filter);
    AUTO(buf_done) struct buf have;
    AUTO(buf_done) struct buf names;
    AUTO(buf_done) struct buf header_names;
    bool is_first = true;
    size_t at = 0;
    const char *key;
    json_t *value;

    buf_init(&have, 10000);
    buf_init(&names, 10000);
    buf_init(&header_names, 10000);
    json_object_foreach(json, key, value)
    {
        bool is_first_of_member = true;

        ck_assert_str_eq(key, members[at]);
        buf_append_text(&have, at++ ? "|" : "");
        append_names(&have, value, &is_first_of_member);
        append_names(&names, value, &is_first);
    }
    ck_assert_uint_eq(at, LENGTH(members));
    ck_assert_msg(strcmp(buf_text(&have), filter_cases[_i].want) == 0, "%s: %s",
                  filter_cases[_i].name, buf_text(&have));
    is_first = true;
    append_names(&header_names, headers, &is_first);
    ck_assert_str_eq(buf_text(&header_names), buf_text(&names));
}
END_TEST

START_TEST(no_filter_is_all)
{
    struct type_filter filter = { 0 };
    struct type_list types = type_registry_types(registry);
    json_auto_t *json = defs_json(&filter);
    json_auto_t *headers = type_headers_json(registry, &filter);
    size_t count = 0;
    const char *key;
    json_t *value;

    json_object_foreach(json, key, value) count += json_array_size(value);
    ck_assert_uint_eq(count, types.len);
    ck_assert_uint_eq(json_array_size(headers), types.len);
    for (size_t i = 0; i < types.len; i++) {
        json_t *guid = json_object_get(json_array_get(headers, i), "guid");

        ck_assert_str_eq(json_string_value(guid), types.items[i]->guid);
    }
}
END_TEST

START_TEST(headers_exact)
{
    struct type_filter filter = { .service_type = SPAN_LITERAL("ml"),
                                  .not_super_type = SPAN_LITERAL("Asset") };
    json_auto_t *headers = type_headers_json(registry, &filter);
    AUTO(mem_free) char *text = json_dumps(headers, JSON_COMPACT);

    ck_assert_str_eq(
        text,
        "[{\"guid\":\"9ad5881b-ff03-8d48-b24c-2a5677407ca9\",\"name\":\"ml_model_deployment_"
        "status\","
        "\"serviceType\":\"ml\",\"category\":\"ENUM\"},"
        "{\"guid\":\"fb20dab0-dd45-81b1-b083-37eb2e351c6b\",\"name\":\"ml_project_model_build\","
        "\"serviceType\":\"ml\",\"category\":\"RELATIONSHIP\"},"
        "{\"guid\":\"19a7c130-ed9e-8c20-9b5f-633343fa7324\",\"name\":\"ml_build_deployment\","
        "\"serviceType\":\"ml\",\"category\":\"RELATIONSHIP\"}]");
}
END_TEST

Suite *type_json_suite(void); /* called from the table that tools/suites writes */

Suite *type_json_suite(void)
{
    Suite *suite = suite_create("atlas/type_json");
    TCase *tc = tcase_create("type_json");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, exact_case, 0, LENGTH(exact_cases));
    tcase_add_loop_test(tc, attribute_case, 0, LENGTH(attribute_cases));
    tcase_add_test(tc, options_of_a_type);
    tcase_add_loop_test(tc, filter_case, 0, LENGTH(filter_cases));
    tcase_add_test(tc, no_filter_is_all);
    tcase_add_test(tc, headers_exact);
    suite_add_tcase(suite, tc);
    return suite;
}
