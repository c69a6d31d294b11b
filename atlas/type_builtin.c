/* The types that are built in. A name, a type or a cardinality here is what clients of Atlas know;
 * the descriptions are our own. A row of attributes: name, type, cardinality, flags, options,
 * description. */
#include "atlas/type_internal.h"

enum { TYPE_MANDATORY_INDEXED = TYPE_MANDATORY | TYPE_INDEXED };

#define ATTRIBUTE(of_name, of_type, of_cardinality, of_flags, of_options, of_description)          \
    {                                                                                              \
        .name = (of_name), .type_name = (of_type), .cardinality = (of_cardinality),                \
        .flags = (of_flags), .options = (of_options), .description = (of_description),             \
        .search_weight = TYPE_NO_WEIGHT                                                            \
    }
#define ATTRIBUTES(table) .attributes = table, .attributes_len = LENGTH(table)
#define ELEMENTS(table) .elements = table, .elements_len = LENGTH(table)

static const struct type_option type_append[] = { { "isAppendOnPartialUpdate", "true" }, { 0 } };
static const struct type_option type_soft[] = { { "isSoftReference", "true" }, { 0 } };

static const char *const type_of_referenceable[] = { "Referenceable", NULL };
static const char *const type_of_asset[] = { "Asset", NULL };
static const char *const type_of_data_set[] = { "DataSet", NULL };
static const char *const type_of_process[] = { "Process", NULL };
static const char *const type_of_process_execution[] = { "ProcessExecution", NULL };
static const char *const type_of_path[] = { "Path", NULL };
static const char *const type_of_fs_path[] = { "fs_path", NULL };
static const char *const type_of_ddl[] = { "ddl", NULL };

/* The base model. */

static const struct type_attribute type_referenceable[] = {
    ATTRIBUTE("qualifiedName", "string", TYPE_SINGLE, TYPE_MANDATORY_INDEXED | TYPE_UNIQUE, NULL,
              "Names the entity: no other active entity of its type has it"),
    ATTRIBUTE("replicatedFrom", "array<AtlasServer>", TYPE_SET, TYPE_OPTIONAL, type_soft, NULL),
    ATTRIBUTE("replicatedTo", "array<AtlasServer>", TYPE_SET, TYPE_OPTIONAL, type_soft, NULL),
};

static const struct type_attribute type_asset[] = {
    ATTRIBUTE("name", "string", TYPE_SINGLE, TYPE_MANDATORY_INDEXED | TYPE_TEXT_INDEX, NULL, NULL),
    ATTRIBUTE("displayName", "string", TYPE_SINGLE, TYPE_INDEXED | TYPE_TEXT_INDEX, NULL, NULL),
    ATTRIBUTE("description", "string", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("userDescription", "string", TYPE_SINGLE, TYPE_INDEXED | TYPE_TEXT_INDEX, NULL, NULL),
    ATTRIBUTE("owner", "string", TYPE_SINGLE, TYPE_INDEXED | TYPE_TEXT_INDEX, NULL, NULL),
};

static const struct type_attribute type_process[] = {
    ATTRIBUTE("inputs", "array<DataSet>", TYPE_SET, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("outputs", "array<DataSet>", TYPE_SET, TYPE_OPTIONAL, NULL, NULL),
};

static const struct type_attribute type_server[] = {
    ATTRIBUTE("name", "string", TYPE_SINGLE, TYPE_MANDATORY_INDEXED, NULL, NULL),
    ATTRIBUTE("displayName", "string", TYPE_SINGLE, TYPE_MANDATORY_INDEXED, NULL, NULL),
    ATTRIBUTE("fullName", "string", TYPE_SINGLE, TYPE_MANDATORY_INDEXED | TYPE_UNIQUE, NULL, NULL),
    ATTRIBUTE("urls", "array<string>", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("additionalInfo", "map<string,string>", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
};

static const struct type_attribute type_ddl[] = {
    ATTRIBUTE("queryText", "string", TYPE_SINGLE, TYPE_MANDATORY, NULL, NULL),
    ATTRIBUTE("execTime", "date", TYPE_SINGLE, TYPE_MANDATORY, NULL, NULL),
    ATTRIBUTE("userName", "string", TYPE_SINGLE, TYPE_MANDATORY_INDEXED, NULL, NULL),
    ATTRIBUTE("serviceType", "string", TYPE_SINGLE, TYPE_MANDATORY_INDEXED, NULL, NULL),
};

/* The file system. */

static const struct type_element type_file_action[] = {
    { "NONE", 0, NULL },          { "EXECUTE", 1, NULL }, { "WRITE", 2, NULL },
    { "WRITE_EXECUTE", 3, NULL }, { "READ", 4, NULL },    { "READ_EXECUTE", 5, NULL },
    { "READ_WRITE", 6, NULL },    { "ALL", 7, NULL },
};

static const struct type_attribute type_fs_permissions[] = {
    ATTRIBUTE("group", "file_action", TYPE_SINGLE, TYPE_MANDATORY_INDEXED, NULL, NULL),
    ATTRIBUTE("user", "file_action", TYPE_SINGLE, TYPE_MANDATORY_INDEXED, NULL, NULL),
    ATTRIBUTE("sticky", "boolean", TYPE_SINGLE, TYPE_MANDATORY_INDEXED, NULL, NULL),
    ATTRIBUTE("others", "file_action", TYPE_SINGLE, TYPE_MANDATORY_INDEXED, NULL, NULL),
};

static const struct type_attribute type_fs_path[] = {
    ATTRIBUTE("path", "string", TYPE_SINGLE, TYPE_MANDATORY_INDEXED | TYPE_NOTIFIED, NULL, NULL),
    ATTRIBUTE("createTime", "date", TYPE_SINGLE, TYPE_INDEXED, NULL, NULL),
    ATTRIBUTE("modifiedTime", "date", TYPE_SINGLE, TYPE_INDEXED, NULL, NULL),
    ATTRIBUTE("isFile", "boolean", TYPE_SINGLE, TYPE_INDEXED, NULL, NULL),
    ATTRIBUTE("isSymlink", "boolean", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("fileSize", "long", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("group", "string", TYPE_SINGLE, TYPE_INDEXED, NULL, NULL),
    ATTRIBUTE("posixPermissions", "fs_permissions", TYPE_SINGLE, TYPE_INDEXED, NULL, NULL),
};

static const struct type_attribute type_hdfs_path[] = {
    ATTRIBUTE("clusterName", "string", TYPE_SINGLE, TYPE_INDEXED | TYPE_NOTIFIED, NULL, NULL),
    ATTRIBUTE("numberOfReplicas", "int", TYPE_SINGLE, TYPE_INDEXED, NULL, NULL),
    ATTRIBUTE("extendedAttributes", "map<string,string>", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("nameServiceId", "string", TYPE_SINGLE, TYPE_NOTIFIED, NULL, NULL),
};

/* Hive. */

static const struct type_element type_hive_principal_type[] = {
    { "USER", 1, NULL },
    { "ROLE", 2, NULL },
    { "GROUP", 3, NULL },
};

static const struct type_attribute type_hive_order[] = {
    ATTRIBUTE("order", "int", TYPE_SINGLE, TYPE_MANDATORY, NULL, NULL),
    ATTRIBUTE("col", "string", TYPE_SINGLE, TYPE_MANDATORY, NULL, NULL),
};

static const struct type_attribute type_hive_serde[] = {
    ATTRIBUTE("name", "string", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("serializationLib", "string", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("parameters", "map<string,string>", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
};

static const struct type_attribute type_hive_db[] = {
    ATTRIBUTE("clusterName", "string", TYPE_SINGLE, TYPE_MANDATORY_INDEXED | TYPE_NOTIFIED, NULL,
              NULL),
    ATTRIBUTE("location", "string", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("parameters", "map<string,string>", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("ownerType", "hive_principal_type", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("managedLocation", "string", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
};

static const struct type_option type_hive_table_options[] = {
    { "schemaElementsAttribute", "columns" },
    { 0 },
};

static const struct type_attribute type_hive_table[] = {
    ATTRIBUTE("createTime", "date", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("lastAccessTime", "date", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("comment", "string", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("retention", "int", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("aliases", "array<string>", TYPE_SET, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("parameters", "map<string,string>", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("viewOriginalText", "string", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("viewExpandedText", "string", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("tableType", "string", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("temporary", "boolean", TYPE_SINGLE, TYPE_INDEXED, NULL, NULL),
};

static const struct type_attribute type_hive_storagedesc[] = {
    ATTRIBUTE("location", "string", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("inputFormat", "string", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("outputFormat", "string", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("compressed", "boolean", TYPE_SINGLE, TYPE_MANDATORY, NULL, NULL),
    ATTRIBUTE("numBuckets", "int", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("serdeInfo", "hive_serde", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("bucketCols", "array<string>", TYPE_SET, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("sortCols", "array<hive_order>", TYPE_SET, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("parameters", "map<string,string>", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("storedAsSubDirectories", "boolean", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
};

static const struct type_option type_hive_column_options[] = {
    { "schemaAttributes",
      "[\"name\", \"description\", \"owner\", \"type\", \"comment\", \"position\"]" },
    { 0 },
};

static const struct type_attribute type_hive_column[] = {
    ATTRIBUTE("type", "string", TYPE_SINGLE, TYPE_MANDATORY_INDEXED, NULL, NULL),
    ATTRIBUTE("comment", "string", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("position", "int", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
};

static const struct type_attribute type_hive_process[] = {
    ATTRIBUTE("startTime", "date", TYPE_SINGLE, TYPE_MANDATORY, NULL, NULL),
    ATTRIBUTE("endTime", "date", TYPE_SINGLE, TYPE_MANDATORY, NULL, NULL),
    ATTRIBUTE("userName", "string", TYPE_SINGLE, TYPE_MANDATORY_INDEXED, NULL, NULL),
    ATTRIBUTE("operationType", "string", TYPE_SINGLE, TYPE_MANDATORY_INDEXED, NULL, NULL),
    ATTRIBUTE("queryText", "string", TYPE_SINGLE, TYPE_MANDATORY, NULL, NULL),
    ATTRIBUTE("queryPlan", "string", TYPE_SINGLE, TYPE_MANDATORY, NULL, NULL),
    ATTRIBUTE("queryId", "string", TYPE_SINGLE, TYPE_MANDATORY, NULL, NULL),
    ATTRIBUTE("recentQueries", "array<string>", TYPE_LIST, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("clusterName", "string", TYPE_SINGLE, TYPE_NOTIFIED, NULL, NULL),
    ATTRIBUTE("queryGraph", "string", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
};

/* "depenendencyType" is how the hook of Hive spells it. */
static const struct type_attribute type_hive_column_lineage[] = {
    ATTRIBUTE("depenendencyType", "string", TYPE_SINGLE, TYPE_MANDATORY, NULL, NULL),
    ATTRIBUTE("expression", "string", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
};

static const struct type_option type_hive_execution_options[] = {
    { "displayTextAttribute", "queryText" },
    { 0 },
};

static const struct type_attribute type_hive_process_execution[] = {
    ATTRIBUTE("startTime", "date", TYPE_SINGLE, TYPE_MANDATORY, NULL, NULL),
    ATTRIBUTE("endTime", "date", TYPE_SINGLE, TYPE_MANDATORY, NULL, NULL),
    ATTRIBUTE("userName", "string", TYPE_SINGLE, TYPE_MANDATORY_INDEXED, NULL, NULL),
    ATTRIBUTE("queryText", "string", TYPE_SINGLE, TYPE_MANDATORY, NULL, NULL),
    ATTRIBUTE("queryGraph", "string", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("queryId", "string", TYPE_SINGLE, TYPE_MANDATORY, NULL, NULL),
    ATTRIBUTE("queryPlan", "string", TYPE_SINGLE, TYPE_MANDATORY, NULL, NULL),
    ATTRIBUTE("hostName", "string", TYPE_SINGLE, TYPE_MANDATORY_INDEXED, NULL, NULL),
};

/* Machine learning. There is no table type of its own: training data is any DataSet. */

static const struct type_element type_ml_status[] = {
    { "unknown", 0, NULL },  { "deploying", 1, NULL }, { "deployed", 2, NULL },
    { "stopping", 3, NULL }, { "stopped", 4, NULL },
};

static const struct type_attribute type_ml_project[] = {
    ATTRIBUTE("metadata", "map<string,string>", TYPE_SINGLE, TYPE_OPTIONAL, type_append,
              "What else is known of the project, as names and values"),
    ATTRIBUTE("createTime", "date", TYPE_SINGLE, TYPE_INDEXED, NULL, NULL),
    ATTRIBUTE("modifiedTime", "date", TYPE_SINGLE, TYPE_INDEXED, NULL, NULL),
};

static const struct type_attribute type_ml_model_build[] = {
    ATTRIBUTE("version", "int", TYPE_SINGLE, TYPE_MANDATORY_INDEXED, NULL, NULL),
    ATTRIBUTE("metadata", "map<string,string>", TYPE_SINGLE, TYPE_OPTIONAL, type_append,
              "What else is known of the build, as names and values; its part of the linking file"),
    ATTRIBUTE("defaultCpuMillicores", "int", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("defaultMemoryMb", "int", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("defaultGpus", "int", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("imageTag", "string", TYPE_SINGLE, TYPE_OPTIONAL, NULL,
              "Where the container image of the build can be pulled"),
    ATTRIBUTE("imageHash", "string", TYPE_SINGLE, TYPE_OPTIONAL, NULL,
              "Digest of the image: with imageTag it tells the build from every other"),
    ATTRIBUTE("exampleRequest", "string", TYPE_SINGLE, TYPE_OPTIONAL, NULL,
              "A request that the model understands, as JSON"),
    ATTRIBUTE("exampleResponse", "string", TYPE_SINGLE, TYPE_OPTIONAL, NULL,
              "What the model answers to exampleRequest, as JSON"),
    ATTRIBUTE("createTime", "date", TYPE_SINGLE, TYPE_INDEXED, NULL, NULL),
};

static const struct type_attribute type_ml_model_deployment[] = {
    ATTRIBUTE("createTime", "date", TYPE_SINGLE, TYPE_MANDATORY, NULL, NULL),
    ATTRIBUTE("deployedTime", "date", TYPE_SINGLE, TYPE_MANDATORY, NULL, NULL),
    ATTRIBUTE("metadata", "map<string,string>", TYPE_SINGLE, TYPE_OPTIONAL, type_append,
              "What else is known of the deployment, as names and values"),
    ATTRIBUTE("modelEndpointURL", "string", TYPE_SINGLE, TYPE_OPTIONAL, NULL,
              "Where requests for a prediction are sent"),
    ATTRIBUTE("status", "ml_model_deployment_status", TYPE_SINGLE, TYPE_MANDATORY_INDEXED, NULL,
              NULL),
    ATTRIBUTE("cpuMillicores", "int", TYPE_SINGLE, TYPE_MANDATORY, NULL, NULL),
    ATTRIBUTE("memoryMb", "int", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("gpus", "int", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
    ATTRIBUTE("replicas", "int", TYPE_SINGLE, TYPE_OPTIONAL, NULL, NULL),
};

static const struct type_attribute type_ml_process[] = {
    ATTRIBUTE("userName", "string", TYPE_SINGLE, TYPE_MANDATORY_INDEXED, NULL, NULL),
};

/* clang-format off */
const struct type_def type_builtin[] = {
    { .category = TYPE_ENUM, .name = "file_action", .service = "file_system",
      .description = "What somebody may do with a file", ELEMENTS(type_file_action) },
    { .category = TYPE_ENUM, .name = "hive_principal_type", .service = "hive",
      .description = "What kind of owner a database has", ELEMENTS(type_hive_principal_type) },
    { .category = TYPE_ENUM, .name = "ml_model_deployment_status", .service = "ml",
      .description = "How far the deployment of a model build has come",
      ELEMENTS(type_ml_status) },

    { .category = TYPE_STRUCT, .name = "fs_permissions", .service = "file_system",
      .description = "Who may do what with a file", ATTRIBUTES(type_fs_permissions) },
    { .category = TYPE_STRUCT, .name = "hive_order", .service = "hive",
      .description = "A column by which a table is sorted", ATTRIBUTES(type_hive_order) },
    { .category = TYPE_STRUCT, .name = "hive_serde", .service = "hive",
      .description = "How the rows of a table become bytes and rows again",
      ATTRIBUTES(type_hive_serde) },

    { .category = TYPE_ENTITY, .name = "Referenceable", .service = "atlas_core",
      .description = "Whatever has a name of its own", ATTRIBUTES(type_referenceable) },
    { .category = TYPE_ENTITY, .name = "Asset", .service = "atlas_core",
      .description = "Whatever people call by a name and somebody owns",
      .super_types = type_of_referenceable, ATTRIBUTES(type_asset) },
    { .category = TYPE_ENTITY, .name = "DataSet", .service = "atlas_core",
      .description = "Data: what a process reads and writes", .super_types = type_of_asset },
    { .category = TYPE_ENTITY, .name = "Infrastructure", .service = "atlas_core",
      .description = "What data and processes stand on, such as a host",
      .super_types = type_of_asset },
    { .category = TYPE_ENTITY, .name = "Process", .service = "atlas_core",
      .description = "What makes data of other data", .super_types = type_of_asset,
      ATTRIBUTES(type_process) },
    { .category = TYPE_ENTITY, .name = "ProcessExecution", .service = "atlas_core",
      .description = "One run of a process", .super_types = type_of_asset },
    { .category = TYPE_ENTITY, .name = "Path", .service = "atlas_core",
      .description = "Data at a place in a file system or an object store",
      .super_types = type_of_data_set },
    { .category = TYPE_ENTITY, .name = "ddl", .service = "atlas_core",
      .description = "A statement that made or changed a definition",
      .super_types = type_of_referenceable, ATTRIBUTES(type_ddl) },
    { .category = TYPE_ENTITY, .name = "AtlasServer", .service = "atlas_core",
      .description = "Another catalog that entities come from or go to",
      ATTRIBUTES(type_server) },

    { .category = TYPE_ENTITY, .name = "fs_path", .service = "file_system",
      .description = "A file or a folder", .super_types = type_of_path,
      ATTRIBUTES(type_fs_path) },
    { .category = TYPE_ENTITY, .name = "hdfs_path", .service = "file_system",
      .description = "A file or a folder in HDFS", .super_types = type_of_fs_path,
      ATTRIBUTES(type_hdfs_path) },

    { .category = TYPE_ENTITY, .name = "hive_db", .service = "hive",
      .description = "A database in Hive", .super_types = type_of_asset,
      ATTRIBUTES(type_hive_db) },
    { .category = TYPE_ENTITY, .name = "hive_table", .service = "hive",
      .description = "A table or view in Hive", .options = type_hive_table_options,
      .super_types = type_of_data_set, ATTRIBUTES(type_hive_table) },
    { .category = TYPE_ENTITY, .name = "hive_storagedesc", .service = "hive",
      .description = "How and where a table's rows are stored",
      .super_types = type_of_referenceable, ATTRIBUTES(type_hive_storagedesc) },
    { .category = TYPE_ENTITY, .name = "hive_column", .service = "hive",
      .description = "A column of a table", .options = type_hive_column_options,
      .super_types = type_of_data_set, ATTRIBUTES(type_hive_column) },
    { .category = TYPE_ENTITY, .name = "hive_process", .service = "hive",
      .description = "A query that reads tables and writes others",
      .super_types = type_of_process, ATTRIBUTES(type_hive_process) },
    { .category = TYPE_ENTITY, .name = "hive_column_lineage", .service = "hive",
      .description = "Which columns a query makes a column of",
      .super_types = type_of_process, ATTRIBUTES(type_hive_column_lineage) },
    { .category = TYPE_ENTITY, .name = "hive_process_execution", .service = "hive",
      .description = "One run of a query", .options = type_hive_execution_options,
      .super_types = type_of_process_execution, ATTRIBUTES(type_hive_process_execution) },
    { .category = TYPE_ENTITY, .name = "hive_db_ddl", .service = "hive",
      .description = "A statement that made or changed a database",
      .super_types = type_of_ddl },
    { .category = TYPE_ENTITY, .name = "hive_table_ddl", .service = "hive",
      .description = "A statement that made or changed a table", .super_types = type_of_ddl },

    { .category = TYPE_ENTITY, .name = "ml_project", .service = "ml",
      .description = "Source code and all else that models are built from",
      .super_types = type_of_data_set, ATTRIBUTES(type_ml_project) },
    { .category = TYPE_ENTITY, .name = "ml_model_build", .service = "ml",
      .description = "A model, trained and packed into an image that never changes",
      .super_types = type_of_data_set, ATTRIBUTES(type_ml_model_build) },
    { .category = TYPE_ENTITY, .name = "ml_model_deployment", .service = "ml",
      .description = "A model build that serves predictions",
      .super_types = type_of_data_set, ATTRIBUTES(type_ml_model_deployment) },
    { .category = TYPE_ENTITY, .name = "ml_project_create_process", .service = "ml",
      .description = "The making of a project", .super_types = type_of_process,
      ATTRIBUTES(type_ml_process) },
    { .category = TYPE_ENTITY, .name = "ml_model_train_build_process", .service = "ml",
      .description = "The training of a model and the building of its image",
      .super_types = type_of_process, ATTRIBUTES(type_ml_process) },
    { .category = TYPE_ENTITY, .name = "ml_model_deploy_process", .service = "ml",
      .description = "The deploying of a model build", .super_types = type_of_process,
      ATTRIBUTES(type_ml_process) },

    { .category = TYPE_RELATIONSHIP, .name = "dataset_process_inputs", .service = "atlas_core",
      .ownership = TYPE_AGGREGATION, .propagation = TYPE_TWO_TO_ONE,
      .ends = { { "Process", "inputs", TYPE_SET, true, true, NULL },
                { "DataSet", "inputToProcesses", TYPE_SET, false, false, NULL } } },
    { .category = TYPE_RELATIONSHIP, .name = "process_dataset_outputs", .service = "atlas_core",
      .ownership = TYPE_AGGREGATION, .propagation = TYPE_ONE_TO_TWO,
      .ends = { { "Process", "outputs", TYPE_SET, true, true, NULL },
                { "DataSet", "outputFromProcesses", TYPE_SET, false, false, NULL } } },

    { .category = TYPE_RELATIONSHIP, .name = "hive_table_db", .service = "hive",
      .ownership = TYPE_AGGREGATION, .label = "__hive_table.db",
      .ends = { { "hive_table", "db", TYPE_SINGLE, false, true, NULL },
                { "hive_db", "tables", TYPE_SET, true, false, NULL } } },
    { .category = TYPE_RELATIONSHIP, .name = "hive_table_columns", .service = "hive",
      .ownership = TYPE_COMPOSITION, .label = "__hive_table.columns",
      .ends = { { "hive_table", "columns", TYPE_SET, true, true, NULL },
                { "hive_column", "table", TYPE_SINGLE, false, true, NULL } } },
    { .category = TYPE_RELATIONSHIP, .name = "hive_table_partitionkeys", .service = "hive",
      .ownership = TYPE_COMPOSITION, .label = "__hive_table.partitionKeys",
      .ends = { { "hive_table", "partitionKeys", TYPE_SET, true, true, NULL },
                { "hive_column", "table", TYPE_SINGLE, false, true, NULL } } },
    { .category = TYPE_RELATIONSHIP, .name = "hive_table_storagedesc", .service = "hive",
      .ownership = TYPE_COMPOSITION, .label = "__hive_table.sd",
      .ends = { { "hive_table", "sd", TYPE_SINGLE, true, true, NULL },
                { "hive_storagedesc", "table", TYPE_SINGLE, false, true, NULL } } },
    { .category = TYPE_RELATIONSHIP, .name = "hive_process_column_lineage", .service = "hive",
      .ownership = TYPE_COMPOSITION, .label = "__hive_column_lineage.query",
      .ends = { { "hive_column_lineage", "query", TYPE_SINGLE, false, true, NULL },
                { "hive_process", "columnLineages", TYPE_SET, true, false, NULL } } },
    { .category = TYPE_RELATIONSHIP, .name = "hive_process_process_executions",
      .service = "hive", .ownership = TYPE_COMPOSITION,
      .ends = { { "hive_process", "processExecutions", TYPE_SET, true, false, NULL },
                { "hive_process_execution", "process", TYPE_SINGLE, false, false, NULL } } },
    { .category = TYPE_RELATIONSHIP, .name = "hive_db_ddl_queries", .service = "hive",
      .ownership = TYPE_COMPOSITION,
      .ends = { { "hive_db", "ddlQueries", TYPE_SET, true, false, NULL },
                { "hive_db_ddl", "db", TYPE_SINGLE, false, false, NULL } } },
    { .category = TYPE_RELATIONSHIP, .name = "hive_table_ddl_queries", .service = "hive",
      .ownership = TYPE_COMPOSITION,
      .ends = { { "hive_table", "ddlQueries", TYPE_SET, true, false, NULL },
                { "hive_table_ddl", "table", TYPE_SINGLE, false, false, NULL } } },

    { .category = TYPE_RELATIONSHIP, .name = "ml_project_model_build", .service = "ml",
      .ownership = TYPE_COMPOSITION, .label = "__ml_project.builds",
      .ends = { { "ml_project", "builds", TYPE_SET, true, false, NULL },
                { "ml_model_build", "project", TYPE_SINGLE, false, false, NULL } } },
    { .category = TYPE_RELATIONSHIP, .name = "ml_build_deployment", .service = "ml",
      .ownership = TYPE_COMPOSITION, .label = "__ml_build.deployments",
      .ends = { { "ml_model_build", "deployments", TYPE_SET, true, false, NULL },
                { "ml_model_deployment", "build", TYPE_SINGLE, false, false, NULL } } },
};
/* clang-format on */

const size_t type_builtin_len = LENGTH(type_builtin);
