#include "atlas/graph.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

enum { EVENTS_MAX = 6, LINES_MAX = 64 };

#define RECEIVED_MS INT64_C(1700000000000)

#define PROJECT(more)                                                                              \
    "{\"event\":\"project_created\",\"projectCrn\":\"p\",\"projectName\":\"Churn\"," more          \
    "\"userName\":\"ada\"}"
#define BUILT(more)                                                                                \
    "{\"event\":\"model_built\",\"projectCrn\":\"p\",\"modelCrn\":\"m\",\"modelName\":\"Model\","  \
    "\"modelBuildCrn\":\"b\",\"buildNumber\":7," more "\"userName\":\"bob\"}"
#define DEPLOYED(status, more)                                                                     \
    "{\"event\":\"model_deployed\",\"modelBuildCrn\":\"b\",\"modelDeploymentCrn\":\"d\","          \
    "\"status\":\"" status "\"," more "\"userName\":\"eve\"}"
#define AT(ms) "\"statusAtMs\":" ms ","

/* Lines of a graph, '+' for what is complete and '-' for a shell. */
#define PROJECT_LINE                                                                               \
    "+ ml_project p@cm {\"createTime\":1700000000000,\"name\":\"Churn\",\"owner\":\"ada\"}\n"
#define CREATE_LINE                                                                                \
    "+ ml_project_create_process p:create@cm "                                                     \
    "{\"name\":\"create Churn\",\"userName\":\"ada\"}\n"
#define CREATE_EDGE "process_dataset_outputs p:create@cm p@cm\n"
#define PROJECT_SHELL "- ml_project p@cm {\"name\":\"p@cm\"}\n"
#define BUILD_LINE                                                                                 \
    "+ ml_model_build b@cm {\"createTime\":1700000000000,\"metadata\":{\"plumbline.modelCrn\":"    \
    "\"m\"},\"name\":\"Model\",\"owner\":\"bob\",\"version\":7}\n"
#define BUILD_SHELL "- ml_model_build b@cm {\"name\":\"b@cm\"}\n"
#define TRAIN_LINE                                                                                 \
    "+ ml_model_train_build_process b:train_build@cm "                                             \
    "{\"name\":\"train_build Model #7\",\"userName\":\"bob\"}\n"
#define TRAIN_EDGES "dataset_process_inputs b:train_build@cm p@cm\n"
#define BUILD_EDGE "ml_project_model_build p@cm b@cm\n"
#define TRAINED_EDGE "process_dataset_outputs b:train_build@cm b@cm\n"
#define DEPLOYMENT_LINE(name, status, times, cpu, more)                                            \
    "+ ml_model_deployment d@cm {\"cpuMillicores\":" cpu ",\"createTime\":" times "," more         \
    "\"name\":\"" name "\",\"owner\":\"eve\",\"status\":\"" status "\"}\n"
#define DEPLOY_LINE(name)                                                                          \
    "+ ml_model_deploy_process d:deploy@cm {\"name\":\"deploy " name "\",\"userName\":\"eve\"}\n"
#define DEPLOY_EDGES                                                                               \
    "dataset_process_inputs d:deploy@cm b@cm\n"                                                    \
    "ml_build_deployment b@cm d@cm\n"                                                              \
    "process_dataset_outputs d:deploy@cm d@cm\n"

static void facts_take(struct graph_facts *facts, const char *text)
{
    AUTO(type_registry_free) struct type_registry *types = type_registry_new();
    struct lineage_limits limits = { INT64_MIN, INT64_MAX, types, "cm" };
    struct lineage_notes warnings = { 0 };
    struct lineage_event event;
    struct lineage_note note;

    ck_assert_msg(lineage_event_parse(&event, span_of(text), &limits, &warnings, &note) == 0,
                  "%s: %s", note.field, note.message);
    (void)graph_facts_add(facts, event.kind, span_of(event.identity), event.json, RECEIVED_MS);
    lineage_event_done(&event);
    lineage_notes_done(&warnings);
}

static int line_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Its lines in byte order: '+' entities, '-' shells, edges. Owned. */
static char *graph_text(const struct graph *graph)
{
    AUTO(buf_done) struct buf out;
    char *lines[LINES_MAX];
    size_t len = 0;

    ck_assert_uint_le(graph->entities_len + graph->edges_len, LINES_MAX);
    for (size_t i = 0; i < graph->entities_len; i++) {
        const struct graph_entity *entity = &graph->entities[i];
        AUTO(mem_free) char *attributes = NULL;

        ck_assert_str_eq(json_string_value(json_object_get(entity->attributes, "qualifiedName")),
                         entity->qualified_name);
        (void)json_object_del(entity->attributes, "qualifiedName");
        attributes = json_dumps(entity->attributes, JSON_COMPACT | JSON_SORT_KEYS);
        lines[len++] = xasprintf("%c %s %s %s\n", entity->is_complete ? '+' : '-', entity->type,
                                 entity->qualified_name, attributes);
    }
    for (size_t i = 0; i < graph->edges_len; i++) {
        const struct graph_edge *edge = &graph->edges[i];

        lines[len++] =
            xasprintf("%s %s %s\n", edge->type, graph->entities[edge->end1].qualified_name,
                      graph->entities[edge->end2].qualified_name);
    }
    qsort(lines, len, sizeof(lines[0]), line_compare);
    buf_init(&out, SIZE_MAX);
    for (size_t i = 0; i < len; i++) {
        buf_append_text(&out, lines[i]);
        free(lines[i]);
    }
    return xstrdup(buf_text(&out));
}

/* The same of a text with a line feed behind each line. */
static char *sorted(const char *text)
{
    AUTO(mem_free) char *copy = xstrdup(text);
    AUTO(buf_done) struct buf out;
    char *lines[LINES_MAX], *rest = copy, *line;
    size_t len = 0;

    while ((line = strsep(&rest, "\n")) && *line) {
        ck_assert_uint_lt(len, LINES_MAX);
        lines[len++] = line;
    }
    qsort(lines, len, sizeof(lines[0]), line_compare);
    buf_init(&out, SIZE_MAX);
    for (size_t i = 0; i < len; i++)
        buf_append_fmt(&out, "%s\n", lines[i]);
    return xstrdup(buf_text(&out));
}

/* What follows from the events in this order. Owned. */
static char *derive(const char *const *events, size_t len)
{
    AUTO(type_registry_free) struct type_registry *types = type_registry_new();
    AUTO(graph_done) struct graph graph;
    struct graph_facts facts = { 0 };
    char *text;

    for (size_t i = 0; i < len; i++)
        facts_take(&facts, events[i]);
    graph_init(&graph, types, "cm");
    graph_derive(&graph, &facts);
    text = graph_text(&graph);
    graph_facts_done(&facts);
    return text;
}

static const struct {
    const char *name;
    const char *events[EVENTS_MAX];
    const char *want;
} derive_cases[] = {
    { "nothing", { NULL }, "" },
    { "a project", { PROJECT("") }, PROJECT_LINE CREATE_LINE CREATE_EDGE },
    { "a project with all it may have",
      { PROJECT("\"createdAtMs\":1704067200000,\"description\":\"who leaves\",\"metadata\":"
                "{\"a\":\"x\",\"b\":0.1,\"c\":true,\"d\":12345678901234567,\"e\":1e22},") },
      "+ ml_project p@cm {\"createTime\":1704067200000,\"description\":\"who leaves\","
      "\"metadata\":{\"a\":\"x\",\"b\":\"0.1\",\"c\":\"true\",\"d\":\"12345678901234567\","
      "\"e\":\"1e+22\"},\"name\":\"Churn\",\"owner\":\"ada\"}\n" CREATE_LINE CREATE_EDGE },
    { "a build alone",
      { BUILT("") },
      BUILD_LINE TRAIN_LINE PROJECT_SHELL TRAIN_EDGES BUILD_EDGE TRAINED_EDGE },
    { "a build that names its project",
      { BUILT("\"projectName\":\"Churn\",") },
      BUILD_LINE TRAIN_LINE
      "- ml_project p@cm {\"name\":\"Churn\"}\n" TRAIN_EDGES BUILD_EDGE TRAINED_EDGE },
    { "a build with all it may have",
      { BUILT("\"createdAtMs\":1704067200000,\"imageTag\":\"r/x:7\",\"imageHash\":\"sha256:1\","
              "\"exampleRequest\":{\"b\":1,\"a\":[0.5]},\"exampleResponse\":\"yes\","
              "\"defaultCpuMillicores\":500,\"defaultMemoryMb\":256,\"defaultGpus\":0,"
              "\"registeredModelVersion\":3,\"metadata\":{\"k\":\"event\",\"l\":1},"
              "\"linkingFile\":\"Model:\\n  metadata: {k: file, n: 0.990}\\n\",") },
      "+ ml_model_build b@cm {\"createTime\":1704067200000,\"defaultCpuMillicores\":500,"
      "\"defaultGpus\":0,\"defaultMemoryMb\":256,\"exampleRequest\":\"{\\\"a\\\":[0.5],"
      "\\\"b\\\":1}\",\"exampleResponse\":\"yes\",\"imageHash\":\"sha256:1\",\"imageTag\":"
      "\"r/x:7\",\"metadata\":{\"k\":\"event\",\"l\":\"1\",\"n\":\"0.990\",\"plumbline.modelCrn\":"
      "\"m\",\"plumbline.registeredModelVersion\":\"3\"},\"name\":\"Model\",\"owner\":\"bob\","
      "\"version\":7}\n" TRAIN_LINE PROJECT_SHELL TRAIN_EDGES BUILD_EDGE TRAINED_EDGE },
    { "tables and other data sets",
      { BUILT(
          "\"namespace\":\"prod\",\"linkingFile\":\"Model:\\n  hive_table_qualified_names:\\n"
          "    - Default.Telco\\n    - a.b@x\\nOther:\\n  hive_table_qualified_names: [c.d]\\n\","
          "\"inputs\":[{\"typeName\":\"fs_path\",\"qualifiedName\":\"/data/x.csv@cm\"},"
          "{\"typeName\":\"ml_model_build\",\"qualifiedName\":\"crn@other\"},"
          "{\"typeName\":\"hive_table\",\"qualifiedName\":\"a.b@x\"}],") },
      BUILD_LINE TRAIN_LINE
      "- fs_path /data/x.csv@cm {\"name\":\"/data/x.csv\"}\n"
      "- hive_table a.b@x {\"name\":\"b\"}\n"
      "- hive_table default.telco@prod {\"name\":\"telco\"}\n"
      "- ml_model_build crn@other {\"name\":\"crn\"}\n" PROJECT_SHELL
      "dataset_process_inputs b:train_build@cm /data/x.csv@cm\n"
      "dataset_process_inputs b:train_build@cm a.b@x\n"
      "dataset_process_inputs b:train_build@cm crn@other\n"
      "dataset_process_inputs b:train_build@cm default.telco@prod\n" TRAIN_EDGES BUILD_EDGE
          TRAINED_EDGE },
    { "a model that is not in the file",
      { BUILT("\"linkingFile\":\"Other:\\n  hive_table_qualified_names: [c.d]\\n\",") },
      BUILD_LINE TRAIN_LINE PROJECT_SHELL TRAIN_EDGES BUILD_EDGE TRAINED_EDGE },
    { "a deployment alone",
      { DEPLOYED("deployed", "") },
      DEPLOY_LINE("d@cm") DEPLOYMENT_LINE("d@cm", "deployed",
                                          "1700000000000,\"deployedTime\":1700000000000", "0", "")
          BUILD_SHELL DEPLOY_EDGES },
    { "a deployment that names its parents",
      { DEPLOYED("deployed", "\"projectCrn\":\"p\",\"projectName\":\"Churn\",\"modelName\":\"M\","
                             "\"modelCrn\":\"m\",\"modelDeploymentId\":42,\"environment\":"
                             "{\"name\":\"prod\"},") },
      DEPLOY_LINE("M")
          DEPLOYMENT_LINE("M", "deployed", "1700000000000,\"deployedTime\":1700000000000", "0",
                          "\"metadata\":{\"plumbline.environment\":\"{\\\"name\\\":"
                          "\\\"prod\\\"}\","
                          "\"plumbline.modelCrn\":\"m\",\"plumbline.modelDeploymentId\":"
                          "\"42\"},") "- ml_model_build b@cm {\"name\":\"M\"}\n"
                                      "- ml_project p@cm "
                                      "{\"name\":\"Churn\"}\n" DEPLOY_EDGES },
    { "statuses in time, resources from the last that has them",
      { DEPLOYED("stopped", AT("3000")),
        DEPLOYED("deploying", AT("1000") "\"cpuMillicores\":100,\"gpus\":1,\"createdAtMs\":900,"),
        DEPLOYED("deployed",
                 AT("2000") "\"cpuMillicores\":200,\"memoryMb\":64,"
                            "\"endpointUrl\":\"http://x\",\"metadata\":{\"a\":\"b\"},") },
      DEPLOY_LINE("d@cm") DEPLOYMENT_LINE("d@cm", "stopped", "900,\"deployedTime\":2000", "200",
                                          "\"gpus\":1,\"memoryMb\":64,\"metadata\":{\"a\":\"b\"},"
                                          "\"modelEndpointURL\":\"http://x\",")
          BUILD_SHELL DEPLOY_EDGES },
    { "restarted: the first time counts",
      { DEPLOYED("deployed", AT("2000")), DEPLOYED("stopped", AT("3000")),
        DEPLOYED("deployed", AT("4000") "\"createdAtMs\":900,") },
      DEPLOYMENT_LINE("d@cm", "deployed", "900,\"deployedTime\":2000", "0", "") DEPLOY_LINE("d@cm")
          BUILD_SHELL DEPLOY_EDGES },
    { "not deployed yet",
      { DEPLOYED("deploying", AT("2000") "\"createdAtMs\":900,") },
      DEPLOYMENT_LINE("d@cm", "deploying", "900,\"deployedTime\":900", "0", "") DEPLOY_LINE("d@cm")
          BUILD_SHELL DEPLOY_EDGES },
    { "the time said goes before the time seen",
      { DEPLOYED("deployed", AT("2000") "\"createdAtMs\":900,\"deployedAtMs\":1500,") },
      DEPLOYMENT_LINE("d@cm", "deployed", "900,\"deployedTime\":1500", "0", "") DEPLOY_LINE("d@cm")
          BUILD_SHELL DEPLOY_EDGES },
    { "of two at one time the later",
      { DEPLOYED("deployed", AT("2000") "\"createdAtMs\":900,"), DEPLOYED("stopped", AT("2000")) },
      DEPLOYMENT_LINE("d@cm", "stopped", "900,\"deployedTime\":2000", "0", "") DEPLOY_LINE("d@cm")
          BUILD_SHELL DEPLOY_EDGES },
    { "the build's default, and its name",
      { BUILT("\"createdAtMs\":800,\"defaultCpuMillicores\":300,"),
        DEPLOYED("deployed", AT("2000") "\"createdAtMs\":900,") },
      "+ ml_model_build b@cm {\"createTime\":800,\"defaultCpuMillicores\":300,\"metadata\":"
      "{\"plumbline.modelCrn\":\"m\"},\"name\":\"Model\",\"owner\":\"bob\",\"version\":7}"
      "\n" TRAIN_LINE PROJECT_SHELL TRAIN_EDGES BUILD_EDGE TRAINED_EDGE DEPLOYMENT_LINE(
          "Model", "deployed", "900,\"deployedTime\":2000", "300",
          "\"metadata\":{\"plumbline.modelCrn\":\"m\"},") DEPLOY_LINE("Model") DEPLOY_EDGES },
    { "supplied later",
      { BUILT(""), BUILT("\"projectName\":\"Churn\",") },
      BUILD_LINE TRAIN_LINE
      "- ml_project p@cm {\"name\":\"Churn\"}\n" TRAIN_EDGES BUILD_EDGE TRAINED_EDGE },
};

static size_t events_count(const char *const *events)
{
    size_t len = 0;

    while (len < EVENTS_MAX && events[len])
        len++;
    return len;
}

START_TEST(derive_case)
{
    size_t len = events_count(derive_cases[_i].events);
    AUTO(mem_free) char *have = derive(derive_cases[_i].events, len);
    AUTO(mem_free) char *want = sorted(derive_cases[_i].want);

    ck_assert_msg(strcmp(have, want) == 0, "%s:\n%s\nand not\n%s", derive_cases[_i].name, have,
                  want);
}
END_TEST

/* Everything about one project, with times: no two orders of it differ. */
static const char *const order_events[] = {
    PROJECT("\"createdAtMs\":700,"),
    BUILT("\"createdAtMs\":800,\"projectName\":\"Shell\",\"defaultCpuMillicores\":300,"
          "\"linkingFile\":\"Model:\\n  hive_table_qualified_names: [a.b, c.d]\\n\","),
    DEPLOYED("deployed", AT("2000") "\"createdAtMs\":900,\"projectCrn\":\"p\","
                                    "\"projectName\":\"Other\",\"modelName\":\"M\","),
    DEPLOYED("stopped", AT("3000") "\"replicas\":0,\"projectCrn\":\"q\","),
    DEPLOYED("deployed", AT("4000") "\"replicas\":2,"),
    ("{\"event\":\"model_deployed\",\"modelBuildCrn\":\"x\",\"modelDeploymentCrn\":\"e\","
     "\"status\":\"deployed\",\"createdAtMs\":900,\"userName\":\"eve\"}"),
};

static void check_orders(const char **events, size_t len, size_t from, const char *want)
{
    if (from == len) {
        AUTO(mem_free) char *have = derive(events, len);

        ck_assert_str_eq(have, want);
    }
    for (size_t i = from; i < len; i++) {
        const char *first = events[from];

        events[from] = events[i];
        events[i] = first;
        check_orders(events, len, from + 1, want);
        events[i] = events[from];
        events[from] = first;
    }
}

START_TEST(any_order)
{
    const char *events[LENGTH(order_events)];
    AUTO(mem_free) char *want = derive(order_events, LENGTH(order_events));

    memcpy(events, order_events, sizeof(events));
    check_orders(events, LENGTH(events), 0, want);
}
END_TEST

/* What was there before is looked at for what follows from the rest, and not made again. */
START_TEST(background_adds_nothing)
{
    AUTO(type_registry_free) struct type_registry *types = type_registry_new();
    AUTO(graph_done) struct graph graph;
    AUTO(mem_free) char *have = NULL;
    AUTO(mem_free)
    char *want = sorted(DEPLOYMENT_LINE("Model", "deployed", "900,\"deployedTime\":2000", "300",
                                        "\"metadata\":{\"plumbline.modelCrn\":\"m\"},")
                            DEPLOY_LINE("Model") BUILD_SHELL DEPLOY_EDGES);
    struct graph_facts facts = { 0 };

    facts_take(&facts, BUILT("\"defaultCpuMillicores\":300,"));
    facts.items[0].is_background = true;
    facts_take(&facts, DEPLOYED("deployed", AT("2000") "\"createdAtMs\":900,"));
    graph_init(&graph, types, "cm");
    graph_derive(&graph, &facts);
    have = graph_text(&graph);
    ck_assert_str_eq(have, want);
    graph_facts_done(&facts);
}
END_TEST

START_TEST(shells)
{
    AUTO(type_registry_free) struct type_registry *types = type_registry_new();
    AUTO(graph_done) struct graph graph;
    AUTO(mem_free) char *have = NULL;

    graph_init(&graph, types, "prod");
    graph_add_deployment(&graph, "d", NULL);
    graph_add_deployment(&graph, "e", "c");
    graph_add_build(&graph, "b", "p");
    graph_add_build(&graph, "c", NULL);
    graph_add_build(&graph, "b", "p");
    ck_assert(!graph_find_deployment(&graph, "d")->is_complete);
    ck_assert_ptr_null(graph_find_deployment(&graph, "b"));
    have = graph_text(&graph);
    ck_assert_str_eq(have, "- ml_model_build b@prod {\"name\":\"b@prod\"}\n"
                           "- ml_model_build c@prod {\"name\":\"c@prod\"}\n"
                           "- ml_model_deployment d@prod {\"name\":\"d@prod\"}\n"
                           "- ml_model_deployment e@prod {\"name\":\"e@prod\"}\n"
                           "- ml_project p@prod {\"name\":\"p@prod\"}\n"
                           "ml_build_deployment c@prod e@prod\n"
                           "ml_project_model_build p@prod b@prod\n");
}
END_TEST

/* Nobody said how much CPU it has: who asks can tell. */
START_TEST(assumed)
{
    AUTO(type_registry_free) struct type_registry *types = type_registry_new();
    AUTO(graph_done) struct graph graph;
    struct graph_facts facts = { 0 };

    facts_take(&facts, DEPLOYED("deployed", ""));
    facts_take(&facts, "{\"event\":\"model_deployed\",\"modelBuildCrn\":\"b\","
                       "\"modelDeploymentCrn\":\"e\",\"status\":\"deployed\","
                       "\"cpuMillicores\":0,\"userName\":\"eve\"}");
    graph_init(&graph, types, "cm");
    graph_derive(&graph, &facts);
    ck_assert(graph_find_deployment(&graph, "d")->is_assumed);
    ck_assert(!graph_find_deployment(&graph, "e")->is_assumed);
    graph_facts_done(&facts);
}
END_TEST

Suite *graph_suite(void); /* called from the table that tools/suites writes */

Suite *graph_suite(void)
{
    Suite *suite = suite_create("atlas/graph");
    TCase *tc = tcase_create("graph");

    tcase_add_loop_test(tc, derive_case, 0, LENGTH(derive_cases));
    tcase_add_test(tc, any_order);
    tcase_add_test(tc, background_adds_nothing);
    tcase_add_test(tc, shells);
    tcase_add_test(tc, assumed);
    suite_add_tcase(suite, tc);
    return suite;
}
