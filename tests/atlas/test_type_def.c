#include "atlas/type_def.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"

enum { TEXT_BYTES_MAX = 10000 };

static struct type_registry *registry;

static void setup(void)
{
    registry = type_registry_new();
}

static void teardown(void)
{
    type_registry_free(registry);
}

static const struct type *the(const char *name)
{
    const struct type *type = type_by_name(registry, span_of(name));

    ck_assert_msg(type != NULL, "no type %s", name);
    return type;
}

/* "version int mandatory indexed; aliases array<string> set", with the options as "name=value". */
static void append_attribute(struct buf *buf, const struct type_attribute *attribute)
{
    static const char *const cardinalities[] = { "", " list", " set" };
    static const struct {
        unsigned flag;
        const char *text;
    } flags[] = {
        { TYPE_MANDATORY, " mandatory" },      { TYPE_UNIQUE, " unique" },
        { TYPE_INDEXED, " indexed" },          { TYPE_TEXT_INDEX, " text" },
        { TYPE_NOTIFIED, " in-notification" },
    };

    buf_append_fmt(buf, "%s%s %s%s", buf->len ? "; " : "", attribute->name, attribute->type_name,
                   cardinalities[attribute->cardinality]);
    for (size_t i = 0; i < LENGTH(flags); i++) {
        if (attribute->flags & flags[i].flag)
            buf_append_text(buf, flags[i].text);
    }
    for (const struct type_option *option = attribute->options; option && option->name; option++)
        buf_append_fmt(buf, " %s=%s", option->name, option->value);
}

static const struct {
    const char *type, *super_type, *service, *attributes;
} attribute_cases[] = {
    { "Referenceable", NULL, "atlas_core",
      "qualifiedName string mandatory unique indexed; "
      "replicatedFrom array<AtlasServer> set isSoftReference=true; "
      "replicatedTo array<AtlasServer> set isSoftReference=true" },
    { "Asset", "Referenceable", "atlas_core",
      "name string mandatory indexed text; displayName string indexed text; description string; "
      "userDescription string indexed text; owner string indexed text" },
    { "DataSet", "Asset", "atlas_core", "" },
    { "Infrastructure", "Asset", "atlas_core", "" },
    { "ProcessExecution", "Asset", "atlas_core", "" },
    { "Path", "DataSet", "atlas_core", "" },
    { "Process", "Asset", "atlas_core", "inputs array<DataSet> set; outputs array<DataSet> set" },
    { "AtlasServer", NULL, "atlas_core",
      "name string mandatory indexed; displayName string mandatory indexed; "
      "fullName string mandatory unique indexed; urls array<string>; "
      "additionalInfo map<string,string>" },
    { "ddl", "Referenceable", "atlas_core",
      "queryText string mandatory; execTime date mandatory; userName string mandatory indexed; "
      "serviceType string mandatory indexed" },

    { "fs_permissions", NULL, "file_system",
      "group file_action mandatory indexed; user file_action mandatory indexed; "
      "sticky boolean mandatory indexed; others file_action mandatory indexed" },
    { "fs_path", "Path", "file_system",
      "path string mandatory indexed in-notification; createTime date indexed; "
      "modifiedTime date indexed; isFile boolean indexed; isSymlink boolean; fileSize long; "
      "group string indexed; posixPermissions fs_permissions indexed" },
    { "hdfs_path", "fs_path", "file_system",
      "clusterName string indexed in-notification; numberOfReplicas int indexed; "
      "extendedAttributes map<string,string>; nameServiceId string in-notification" },

    { "hive_order", NULL, "hive", "order int mandatory; col string mandatory" },
    { "hive_serde", NULL, "hive",
      "name string; serializationLib string; parameters map<string,string>" },
    { "hive_db", "Asset", "hive",
      "clusterName string mandatory indexed in-notification; location string; "
      "parameters map<string,string>; ownerType hive_principal_type; managedLocation string" },
    { "hive_table", "DataSet", "hive",
      "createTime date; lastAccessTime date; comment string; retention int; "
      "aliases array<string> set; parameters map<string,string>; viewOriginalText string; "
      "viewExpandedText string; tableType string; temporary boolean indexed" },
    { "hive_storagedesc", "Referenceable", "hive",
      "location string; inputFormat string; outputFormat string; compressed boolean mandatory; "
      "numBuckets int; serdeInfo hive_serde; bucketCols array<string> set; "
      "sortCols array<hive_order> set; parameters map<string,string>; "
      "storedAsSubDirectories boolean" },
    { "hive_column", "DataSet", "hive",
      "type string mandatory indexed; comment string; position int" },
    { "hive_process", "Process", "hive",
      "startTime date mandatory; endTime date mandatory; userName string mandatory indexed; "
      "operationType string mandatory indexed; queryText string mandatory; "
      "queryPlan string mandatory; queryId string mandatory; recentQueries array<string> list; "
      "clusterName string in-notification; queryGraph string" },
    { "hive_column_lineage", "Process", "hive",
      "depenendencyType string mandatory; expression string" },
    { "hive_process_execution", "ProcessExecution", "hive",
      "startTime date mandatory; endTime date mandatory; userName string mandatory indexed; "
      "queryText string mandatory; queryGraph string; queryId string mandatory; "
      "queryPlan string mandatory; hostName string mandatory indexed" },
    { "hive_db_ddl", "ddl", "hive", "" },
    { "hive_table_ddl", "ddl", "hive", "" },

    { "ml_project", "DataSet", "ml",
      "metadata map<string,string> isAppendOnPartialUpdate=true; createTime date indexed; "
      "modifiedTime date indexed" },
    { "ml_model_build", "DataSet", "ml",
      "version int mandatory indexed; metadata map<string,string> isAppendOnPartialUpdate=true; "
      "defaultCpuMillicores int; defaultMemoryMb int; defaultGpus int; imageTag string; "
      "imageHash string; exampleRequest string; exampleResponse string; createTime date indexed" },
    { "ml_model_deployment", "DataSet", "ml",
      "createTime date mandatory; deployedTime date mandatory; "
      "metadata map<string,string> isAppendOnPartialUpdate=true; modelEndpointURL string; "
      "status ml_model_deployment_status mandatory indexed; cpuMillicores int mandatory; "
      "memoryMb int; gpus int; replicas int" },
    { "ml_project_create_process", "Process", "ml", "userName string mandatory indexed" },
    { "ml_model_train_build_process", "Process", "ml", "userName string mandatory indexed" },
    { "ml_model_deploy_process", "Process", "ml", "userName string mandatory indexed" },
};

START_TEST(attribute_case)
{
    const struct type *type = the(attribute_cases[_i].type);
    const char *super_type = attribute_cases[_i].super_type;
    AUTO(buf_done) struct buf buf;

    buf_init(&buf, TEXT_BYTES_MAX);
    for (size_t i = 0; i < type->def->attributes_len; i++)
        append_attribute(&buf, &type->def->attributes[i]);
    ck_assert_str_eq(buf_text(&buf), attribute_cases[_i].attributes);
    ck_assert_str_eq(type->def->service, attribute_cases[_i].service);
    ck_assert_ptr_nonnull(type->def->description);
    if (!super_type) {
        ck_assert_ptr_null(type->def->super_types);
        return;
    }
    ck_assert_str_eq(type->def->super_types[0], super_type);
    ck_assert_ptr_null(type->def->super_types[1]);
}
END_TEST

static const struct {
    const char *type, *elements;
} element_cases[] = {
    { "file_action",
      "NONE=0 EXECUTE=1 WRITE=2 WRITE_EXECUTE=3 READ=4 READ_EXECUTE=5 READ_WRITE=6 ALL=7" },
    { "hive_principal_type", "USER=1 ROLE=2 GROUP=3" },
    { "ml_model_deployment_status", "unknown=0 deploying=1 deployed=2 stopping=3 stopped=4" },
};

START_TEST(element_case)
{
    const struct type *type = the(element_cases[_i].type);
    AUTO(buf_done) struct buf buf;

    buf_init(&buf, TEXT_BYTES_MAX);
    for (size_t i = 0; i < type->def->elements_len; i++)
        buf_append_fmt(&buf, "%s%s=%d", i ? " " : "", type->def->elements[i].value,
                       type->def->elements[i].ordinal);
    ck_assert_str_eq(buf_text(&buf), element_cases[_i].elements);
    ck_assert_int_eq(type->def->category, TYPE_ENUM);
}
END_TEST

/* "hive_table.columns set container legacy, hive_column.table legacy" */
static void append_ends(struct buf *buf, const struct type_def *def)
{
    for (size_t i = 0; i < 2; i++) {
        const struct type_end *end = &def->ends[i];

        ck_assert_int_ne(end->cardinality, TYPE_LIST);
        buf_append_fmt(buf, "%s%s.%s%s%s%s", i ? ", " : "", end->type, end->name,
                       end->cardinality == TYPE_SET ? " set" : "",
                       end->is_container ? " container" : "", end->is_legacy ? " legacy" : "");
    }
}

static const struct {
    const char *type;
    enum type_ownership ownership;
    enum type_propagation propagation;
    const char *label, *ends;
} relationship_cases[] = {
    { "dataset_process_inputs", TYPE_AGGREGATION, TYPE_TWO_TO_ONE, NULL,
      "Process.inputs set container legacy, DataSet.inputToProcesses set" },
    { "process_dataset_outputs", TYPE_AGGREGATION, TYPE_ONE_TO_TWO, NULL,
      "Process.outputs set container legacy, DataSet.outputFromProcesses set" },
    { "hive_table_db", TYPE_AGGREGATION, TYPE_PROPAGATE_NONE, "__hive_table.db",
      "hive_table.db legacy, hive_db.tables set container" },
    { "hive_table_columns", TYPE_COMPOSITION, TYPE_PROPAGATE_NONE, "__hive_table.columns",
      "hive_table.columns set container legacy, hive_column.table legacy" },
    { "hive_table_partitionkeys", TYPE_COMPOSITION, TYPE_PROPAGATE_NONE,
      "__hive_table.partitionKeys",
      "hive_table.partitionKeys set container legacy, hive_column.table legacy" },
    { "hive_table_storagedesc", TYPE_COMPOSITION, TYPE_PROPAGATE_NONE, "__hive_table.sd",
      "hive_table.sd container legacy, hive_storagedesc.table legacy" },
    { "hive_process_column_lineage", TYPE_COMPOSITION, TYPE_PROPAGATE_NONE,
      "__hive_column_lineage.query",
      "hive_column_lineage.query legacy, hive_process.columnLineages set container" },
    { "hive_process_process_executions", TYPE_COMPOSITION, TYPE_PROPAGATE_NONE, NULL,
      "hive_process.processExecutions set container, hive_process_execution.process" },
    { "hive_db_ddl_queries", TYPE_COMPOSITION, TYPE_PROPAGATE_NONE, NULL,
      "hive_db.ddlQueries set container, hive_db_ddl.db" },
    { "hive_table_ddl_queries", TYPE_COMPOSITION, TYPE_PROPAGATE_NONE, NULL,
      "hive_table.ddlQueries set container, hive_table_ddl.table" },
    { "ml_project_model_build", TYPE_COMPOSITION, TYPE_PROPAGATE_NONE, "__ml_project.builds",
      "ml_project.builds set container, ml_model_build.project" },
    { "ml_build_deployment", TYPE_COMPOSITION, TYPE_PROPAGATE_NONE, "__ml_build.deployments",
      "ml_model_build.deployments set container, ml_model_deployment.build" },
};

START_TEST(relationship_case)
{
    const struct type *type = the(relationship_cases[_i].type);
    AUTO(buf_done) struct buf buf;

    buf_init(&buf, TEXT_BYTES_MAX);
    append_ends(&buf, type->def);
    ck_assert_str_eq(buf_text(&buf), relationship_cases[_i].ends);
    ck_assert_int_eq(type->def->category, TYPE_RELATIONSHIP);
    ck_assert_int_eq(type->def->ownership, relationship_cases[_i].ownership);
    ck_assert_int_eq(type->def->propagation, relationship_cases[_i].propagation);
    ck_assert_pstr_eq(type->def->label, relationship_cases[_i].label);
    ck_assert_uint_eq(type->relations_len, 2);
    for (size_t i = 0; i < 2; i++) {
        ck_assert_ptr_eq(type->relations[i]->relationship, type);
        ck_assert_uint_eq(type->relations[i]->end, i);
        ck_assert_ptr_eq(type->relations[i]->other, the(type->def->ends[1 - i].type));
    }
}
END_TEST

START_TEST(no_type_is_left_out)
{
    ck_assert_uint_eq(type_registry_types(registry).len,
                      LENGTH(attribute_cases) + LENGTH(element_cases) + LENGTH(relationship_cases));
}
END_TEST

#define OF_ASSET                                                                                   \
    "qualifiedName replicatedFrom replicatedTo name displayName description userDescription owner"

static const struct {
    const char *type, *attributes;
} inherited_cases[] = {
    { "Referenceable", "qualifiedName replicatedFrom replicatedTo" },
    { "DataSet", OF_ASSET },
    { "ml_model_train_build_process", OF_ASSET " inputs outputs userName" },
    { "ml_project", OF_ASSET " metadata createTime modifiedTime" },
    { "hdfs_path", OF_ASSET " path createTime modifiedTime isFile isSymlink fileSize group "
                            "posixPermissions clusterName numberOfReplicas extendedAttributes "
                            "nameServiceId" },
    { "hive_db_ddl", "qualifiedName replicatedFrom replicatedTo queryText execTime userName "
                     "serviceType" },
    { "hive_order", "order col" },
    { "ml_model_deployment_status", "" },
    { "ml_build_deployment", "" },
};

START_TEST(inherited_case)
{
    const struct type *type = the(inherited_cases[_i].type);
    AUTO(buf_done) struct buf buf;

    buf_init(&buf, TEXT_BYTES_MAX);
    for (size_t i = 0; i < type->attributes_len; i++) {
        const char *name = type->attributes[i]->name;

        buf_append_fmt(&buf, "%s%s", i ? " " : "", name);
        ck_assert_ptr_eq(type_attribute(type, span_of(name)), type->attributes[i]);
    }
    ck_assert_str_eq(buf_text(&buf), inherited_cases[_i].attributes);
}
END_TEST

/* "inputs array<DataSet> set (dataset_process_inputs, declared legacy)" */
static void append_relation(struct buf *buf, const struct type_relation *relation)
{
    append_attribute(buf, &relation->attribute);
    buf_append_fmt(buf, " (%s%s%s%s)", relation->relationship->def->name,
                   relation->is_declared ? " declared" : "", relation->is_legacy ? " legacy" : "",
                   relation->is_owner ? " owner" : "");
}

#define OF_DATA_SET                                                                                \
    "inputToProcesses array<Process> set (dataset_process_inputs); "                               \
    "outputFromProcesses array<Process> set (process_dataset_outputs)"
#define OF_PROCESS                                                                                 \
    "inputs array<DataSet> set (dataset_process_inputs declared legacy); "                         \
    "outputs array<DataSet> set (process_dataset_outputs declared legacy)"

static const struct {
    const char *type, *relations;
} relation_cases[] = {
    { "Asset", "" },
    { "DataSet", OF_DATA_SET },
    { "fs_path", OF_DATA_SET },
    { "Process", OF_PROCESS },
    { "ml_model_deploy_process", OF_PROCESS },
    { "ml_project",
      OF_DATA_SET "; builds array<ml_model_build> set (ml_project_model_build owner)" },
    { "ml_model_build",
      OF_DATA_SET "; project ml_project mandatory (ml_project_model_build); "
                  "deployments array<ml_model_deployment> set (ml_build_deployment owner)" },
    { "ml_model_deployment", OF_DATA_SET "; build ml_model_build mandatory (ml_build_deployment)" },
    { "hive_db", "tables array<hive_table> set (hive_table_db); "
                 "ddlQueries array<hive_db_ddl> set (hive_db_ddl_queries owner)" },
    { "hive_table",
      OF_DATA_SET "; db hive_db (hive_table_db legacy); "
                  "columns array<hive_column> set (hive_table_columns legacy owner); "
                  "partitionKeys array<hive_column> set (hive_table_partitionkeys legacy owner); "
                  "sd hive_storagedesc (hive_table_storagedesc legacy owner); "
                  "ddlQueries array<hive_table_ddl> set (hive_table_ddl_queries owner)" },
    { "hive_column", OF_DATA_SET "; table hive_table mandatory (hive_table_columns legacy); "
                                 "table hive_table mandatory (hive_table_partitionkeys legacy)" },
    { "hive_process", OF_PROCESS
      "; columnLineages array<hive_column_lineage> set (hive_process_column_lineage owner); "
      "processExecutions array<hive_process_execution> set "
      "(hive_process_process_executions owner)" },
    { "hive_order", "" },
};

START_TEST(relation_case)
{
    const struct type *type = the(relation_cases[_i].type);
    AUTO(buf_done) struct buf buf;

    buf_init(&buf, TEXT_BYTES_MAX);
    for (size_t i = 0; i < type->relations_len; i++) {
        const struct type_relation *relation = type->relations[i];

        append_relation(&buf, relation);
        ck_assert_ptr_eq(type_relation(type, span_of(relation->attribute.name),
                                       relation->relationship),
                         relation);
    }
    ck_assert_str_eq(buf_text(&buf), relation_cases[_i].relations);
}
END_TEST

START_TEST(first_relation_of_a_name)
{
    const struct type *column = the("hive_column");
    const struct span table = SPAN_LITERAL("table");

    ck_assert_ptr_eq(type_relation(column, table, NULL)->relationship, the("hive_table_columns"));
    ck_assert_ptr_null(type_relation(column, table, the("hive_table_db")));
    ck_assert_ptr_null(type_relation(column, SPAN_LITERAL("tables"), NULL));
    ck_assert_ptr_null(type_relation(the("Asset"), table, NULL));
}
END_TEST

static const struct {
    const char *type, *ancestor;
    bool want;
} is_a_cases[] = {
    { "DataSet", "DataSet", true },
    { "ml_model_build", "DataSet", true },
    { "ml_model_build", "Referenceable", true },
    { "hdfs_path", "DataSet", true },
    { "hive_process", "Process", true },
    { "ml_model_build", "Process", false },
    { "DataSet", "ml_model_build", false },
    { "hive_db", "DataSet", false },
    { "hive_storagedesc", "Asset", false },
    { "hive_storagedesc", "Referenceable", true },
    { "AtlasServer", "Referenceable", false },
    { "hive_order", "Referenceable", false },
    { "ml_build_deployment", "ml_model_build", false },
};

START_TEST(is_a_case)
{
    ck_assert_msg(type_is_a(the(is_a_cases[_i].type), the(is_a_cases[_i].ancestor)) ==
                      is_a_cases[_i].want,
                  "%s is a %s", is_a_cases[_i].type, is_a_cases[_i].ancestor);
}
END_TEST

static const struct {
    const char *type, *super_types, *sub_types;
} family_cases[] = {
    { "Process", "Referenceable Asset",
      "hive_process hive_column_lineage ml_project_create_process ml_model_train_build_process "
      "ml_model_deploy_process" },
    { "DataSet", "Referenceable Asset",
      "Path fs_path hdfs_path hive_table hive_column ml_project ml_model_build "
      "ml_model_deployment" },
    { "hdfs_path", "Referenceable Asset DataSet Path fs_path", "" },
    { "Referenceable", "",
      "Asset DataSet Infrastructure Process ProcessExecution Path ddl fs_path hdfs_path hive_db "
      "hive_table hive_storagedesc hive_column hive_process hive_column_lineage "
      "hive_process_execution hive_db_ddl hive_table_ddl ml_project ml_model_build "
      "ml_model_deployment ml_project_create_process ml_model_train_build_process "
      "ml_model_deploy_process" },
    { "AtlasServer", "", "" },
    { "ml_model_deployment_status", "", "" },
};

static void check_names(struct type_list list, const char *want)
{
    AUTO(buf_done) struct buf buf;

    buf_init(&buf, TEXT_BYTES_MAX);
    for (size_t i = 0; i < list.len; i++)
        buf_append_fmt(&buf, "%s%s", i ? " " : "", list.items[i]->def->name);
    ck_assert_str_eq(buf_text(&buf), want);
}

START_TEST(family_case)
{
    check_names(the(family_cases[_i].type)->super_types, family_cases[_i].super_types);
    check_names(the(family_cases[_i].type)->sub_types, family_cases[_i].sub_types);
}
END_TEST

static const struct {
    struct span name;
} unknown_cases[] = {
    { { NULL, 0 } },
    { SPAN_LITERAL("") },
    { SPAN_LITERAL("dataset") },
    { SPAN_LITERAL("DataSet ") },
    { SPAN_LITERAL("DataSet\0") },
    { SPAN_LITERAL("DataSe") },
    { SPAN_LITERAL("ml_table") },
    { SPAN_LITERAL("string") },
    { SPAN_LITERAL("array<string>") },
    { SPAN_LITERAL("00000000-0000-0000-0000-000000000000") },
};

START_TEST(unknown_case)
{
    ck_assert_ptr_null(type_by_name(registry, unknown_cases[_i].name));
    ck_assert_ptr_null(type_by_guid(registry, unknown_cases[_i].name));
    ck_assert_ptr_null(type_attribute(the("ml_project"), unknown_cases[_i].name));
    ck_assert_ptr_null(type_relation(the("ml_project"), unknown_cases[_i].name, NULL));
}
END_TEST

/* "array<hive_order>" and "map<string,string>" are made of what is in the brackets. */
static void check_type_name(const char *name)
{
    static const char *const primitives[] = { "string", "int", "long", "boolean", "date" };
    const char *open = strchr(name, '<');
    struct span inner = span_of(name);

    if (strcmp(name, "map<string,string>") == 0)
        return;
    if (open) {
        ck_assert_uint_eq(strcspn(name, "<"), strlen("array"));
        inner = (struct span){ open + 1, strlen(open) - 2 };
    }
    for (size_t i = 0; i < LENGTH(primitives); i++) {
        if (span_is(inner, primitives[i]))
            return;
    }
    ck_assert_msg(type_by_name(registry, inner) != NULL, "%s", name);
}

START_TEST(attributes_are_of_known_types)
{
    struct type_list types = type_registry_types(registry);

    for (size_t i = 0; i < types.len; i++) {
        for (size_t j = 0; j < types.items[i]->attributes_len; j++)
            check_type_name(types.items[i]->attributes[j]->type_name);
        for (size_t j = 0; j < types.items[i]->relations_len; j++)
            check_type_name(types.items[i]->relations[j]->attribute.type_name);
    }
}
END_TEST

START_TEST(guids_are_found_and_stable)
{
    struct type_list types = type_registry_types(registry);
    AUTO(type_registry_free) struct type_registry *other = type_registry_new();

    for (size_t i = 0; i < types.len; i++) {
        struct span name = span_of(types.items[i]->def->name);

        ck_assert_ptr_eq(type_by_guid(registry, span_of(types.items[i]->guid)), types.items[i]);
        ck_assert_str_eq(type_by_name(other, name)->guid, types.items[i]->guid);
    }
    ck_assert_str_eq(the("DataSet")->guid, "fb1256ca-c65b-8753-bfa4-8deeafac8957");
    ck_assert_str_eq(the("ml_model_build")->guid, "62f30a5e-977c-8074-b390-e157b9e7046f");
}
END_TEST

START_TEST(options_are_found)
{
    ck_assert_str_eq(type_option(the("hive_table")->def->options, "schemaElementsAttribute"),
                     "columns");
    ck_assert_str_eq(type_option(the("hive_process_execution")->def->options,
                                 "displayTextAttribute"),
                     "queryText");
    ck_assert_ptr_null(type_option(the("hive_table")->def->options, "displayTextAttribute"));
    ck_assert_ptr_null(type_option(NULL, "displayTextAttribute"));
}
END_TEST

Suite *type_def_suite(void); /* called from the table that tools/suites writes */

Suite *type_def_suite(void)
{
    Suite *suite = suite_create("atlas/type_def");
    TCase *tc = tcase_create("type_def");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, attribute_case, 0, LENGTH(attribute_cases));
    tcase_add_loop_test(tc, element_case, 0, LENGTH(element_cases));
    tcase_add_loop_test(tc, relationship_case, 0, LENGTH(relationship_cases));
    tcase_add_test(tc, no_type_is_left_out);
    tcase_add_loop_test(tc, inherited_case, 0, LENGTH(inherited_cases));
    tcase_add_loop_test(tc, relation_case, 0, LENGTH(relation_cases));
    tcase_add_test(tc, first_relation_of_a_name);
    tcase_add_loop_test(tc, is_a_case, 0, LENGTH(is_a_cases));
    tcase_add_loop_test(tc, family_case, 0, LENGTH(family_cases));
    tcase_add_loop_test(tc, unknown_case, 0, LENGTH(unknown_cases));
    tcase_add_test(tc, attributes_are_of_known_types);
    tcase_add_test(tc, guids_are_found_and_stable);
    tcase_add_test(tc, options_are_found);
    suite_add_tcase(suite, tc);
    return suite;
}
