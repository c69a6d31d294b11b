#include "atlas/graph.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atlas/linking_file.h"
#include "base/buf.h"
#include "base/decimal.h"
#include "base/map.h"
#include "base/mem.h"

#define GRAPH_PROJECT "ml_project"
#define GRAPH_BUILD "ml_model_build"
#define GRAPH_DEPLOYMENT "ml_model_deployment"
#define GRAPH_INPUT "dataset_process_inputs"
#define GRAPH_OUTPUT "process_dataset_outputs"

/* ---------------------------------------------------------------------------------------- facts */

struct graph_fact *graph_facts_add(struct graph_facts *facts, enum lineage_event_kind kind,
                                   struct span identity, const json_t *event, int64_t received_ms)
{
    struct graph_fact *fact;
    const char *name;
    json_t *value;
    uint64_t *place;
    bool added;

    if (!facts->places)
        facts->places = map_new();
    place = map_put(facts->places, identity, facts->len, &added);
    if (added) {
        facts->items = xreallocarray(facts->items, facts->len + 1, sizeof(*facts->items));
        facts->items[facts->len++] =
            (struct graph_fact){ .kind = kind, .event = json_object(), .received_ms = received_ms };
    }
    fact = &facts->items[*place];
    json_object_foreach((json_t *)(uintptr_t)event, name, value)
    {
        if (!json_is_null(value) && !json_object_get(fact->event, name))
            (void)json_object_set_new(fact->event, name, json_deep_copy(value));
    }
    return fact;
}

const struct graph_fact *graph_facts_find(const struct graph_facts *facts,
                                          enum lineage_event_kind kind, const char *crn)
{
    AUTO(mem_free) char *identity = xasprintf("%s %s", lineage_kind_name(kind), crn);
    const uint64_t *place = facts->places ? map_get(facts->places, span_of(identity)) : NULL;

    return place ? &facts->items[*place] : NULL;
}

void graph_facts_done(struct graph_facts *facts)
{
    for (size_t i = 0; i < facts->len; i++)
        json_decref(facts->items[i].event);
    free(facts->items);
    map_free(facts->places);
    *facts = (struct graph_facts){ 0 };
}

/* A member's text; NULL: the fact has none. */
static const char *fact_text(const struct graph_fact *fact, const char *member)
{
    return fact ? json_string_value(json_object_get(fact->event, member)) : NULL;
}

/* A text that every event of the kind has. */
static const char *fact_name(const struct graph_fact *fact, const char *member)
{
    const char *text = fact_text(fact, member);

    assert(text);
    return text;
}

/* false: the fact has no such number. */
static bool fact_number(const struct graph_fact *fact, const char *member, int64_t *number)
{
    const json_t *value = fact ? json_object_get(fact->event, member) : NULL;

    if (!json_is_integer(value))
        return false;
    *number = json_integer_value(value);
    return true;
}

/* ----------------------------------------------------------------------------------- attributes */

/* Any value as text, which is all that `metadata` takes; texts as they are. Owned. */
static char *value_text(const json_t *value)
{
    if (json_is_string(value))
        return xmemdup0(json_string_value(value), json_string_length(value));
    if (json_is_real(value)) {
        char text[DECIMAL_BYTES];

        return xmemdup0(text, decimal_write(text, json_real_value(value)));
    }
    return json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
}

static void attribute_set_text(json_t *attributes, const char *name, const char *text)
{
    if (text)
        (void)json_object_set_new(attributes, name, json_string(text));
}

static void attribute_set_number(json_t *attributes, const char *name, int64_t number)
{
    (void)json_object_set_new(attributes, name, json_integer(number));
}

/* What an event calls `member` is the attribute `name`, if it is there. */
static void attribute_copy(json_t *attributes, const char *name, const struct graph_fact *fact,
                           const char *member)
{
    const json_t *value = json_object_get(fact->event, member);

    if (value)
        (void)json_object_set_new(attributes, name, json_deep_copy(value));
}

/* The same where Atlas has text and an event may have any JSON. */
static void attribute_copy_text(json_t *attributes, const char *name, const struct graph_fact *fact,
                                const char *member)
{
    const json_t *value = fact ? json_object_get(fact->event, member) : NULL;
    AUTO(mem_free) char *text = value ? value_text(value) : NULL;

    attribute_set_text(attributes, name, text);
}

static void metadata_add(json_t *metadata, const struct graph_fact *fact)
{
    const char *key;
    json_t *value;

    json_object_foreach(json_object_get(fact->event, "metadata"), key, value)
    {
        AUTO(mem_free) char *text = value_text(value);

        attribute_set_text(metadata, key, text);
    }
}

/* Takes metadata. */
static void attribute_set_metadata(json_t *attributes, json_t *metadata)
{
    if (json_object_size(metadata))
        (void)json_object_set_new(attributes, "metadata", metadata);
    else
        json_decref(metadata);
}

/* ------------------------------------------------------------------------------ entities, edges */

void graph_init(struct graph *graph, const struct type_registry *types, const char *name_space)
{
    *graph = (struct graph){
        .types = types, .name_space = name_space, .places = map_new(), .taken = map_new()
    };
}

void graph_done(struct graph *graph)
{
    for (size_t i = 0; i < graph->entities_len; i++) {
        free(graph->entities[i].qualified_name);
        json_decref(graph->entities[i].attributes);
    }
    free(graph->entities);
    free(graph->edges);
    map_free(graph->places);
    map_free(graph->taken);
    *graph = (struct graph){ 0 };
}

/* `role` is "" or ":train_build" and the like. Owned. */
static char *graph_name(const struct graph *graph, const char *crn, const char *role)
{
    return xasprintf("%s%s@%s", crn, role, graph->name_space);
}

/* Of two names for a shell the first in byte order, so that their order means nothing; a name that
 * is the qualified name was none. */
static void graph_meet_shells(struct graph_entity *stands, json_t *attributes)
{
    const char *old = json_string_value(json_object_get(stands->attributes, "name"));
    const char *name = json_string_value(json_object_get(attributes, "name"));

    if (strcmp(name, stands->qualified_name) != 0 &&
        (strcmp(old, stands->qualified_name) == 0 || strcmp(name, old) < 0))
        (void)json_object_set(stands->attributes, "name", json_object_get(attributes, "name"));
}

/* Takes attributes and returns the entity's place. */
static size_t graph_put(struct graph *graph, const char *type, const char *qualified_name,
                        bool is_complete, json_t *attributes, const char *user)
{
    AUTO(mem_free) char *key = xasprintf("%s %s", type, qualified_name);
    bool added;
    size_t place = *map_put(graph->places, span_of(key), graph->entities_len, &added);
    struct graph_entity *entity;

    attribute_set_text(attributes, "qualifiedName", qualified_name);
    if (added) {
        graph->entities =
            xreallocarray(graph->entities, graph->entities_len + 1, sizeof(*graph->entities));
        graph->entities[graph->entities_len++] =
            (struct graph_entity){ .type = type,
                                   .qualified_name = xstrdup(qualified_name),
                                   .is_complete = is_complete,
                                   .attributes = attributes,
                                   .user = user ? user : "" };
        return place;
    }
    entity = &graph->entities[place];
    if (is_complete) {
        json_decref(entity->attributes);
        entity->attributes = json_incref(attributes);
        entity->is_complete = true;
        entity->user = user ? user : "";
    } else if (!entity->is_complete) {
        graph_meet_shells(entity, attributes);
    }
    json_decref(attributes);
    return place;
}

/* What is known by its CRN only, and maybe by a name. */
static size_t graph_put_shell(struct graph *graph, const char *type, const char *crn,
                              const char *name, const char *user)
{
    AUTO(mem_free) char *qualified_name = graph_name(graph, crn, "");
    json_t *attributes = json_object();

    attribute_set_text(attributes, "name", name ? name : qualified_name);
    return graph_put(graph, type, qualified_name, false, attributes, user);
}

static size_t graph_put_process(struct graph *graph, const char *type, const char *crn,
                                const char *role, const char *name, const char *user)
{
    AUTO(mem_free) char *qualified_name = graph_name(graph, crn, role);
    json_t *attributes = json_object();

    attribute_set_text(attributes, "name", name);
    attribute_set_text(attributes, "userName", user);
    return graph_put(graph, type, qualified_name, true, attributes, user);
}

static void graph_link(struct graph *graph, const char *type, size_t end1, size_t end2)
{
    AUTO(mem_free) char *key = xasprintf("%s %zu %zu", type, end1, end2);
    bool added;

    (void)map_put(graph->taken, span_of(key), 0, &added);
    if (!added)
        return;
    graph->edges = xreallocarray(graph->edges, graph->edges_len + 1, sizeof(*graph->edges));
    graph->edges[graph->edges_len++] = (struct graph_edge){
        .type = type, .end1 = end1, .end2 = end2, .is_single = strncmp(type, "ml_", 3) == 0
    };
}

/* ------------------------------------------------------------------------------------- projects */

static void graph_derive_project(struct graph *graph, const struct graph_fact *created)
{
    const char *crn = fact_name(created, "projectCrn"), *name = fact_name(created, "projectName");
    const char *user = fact_name(created, "userName");
    AUTO(mem_free) char *qualified_name = graph_name(graph, crn, "");
    AUTO(mem_free) char *title = xasprintf("create %s", name);
    json_t *attributes = json_object(), *metadata = json_object();
    int64_t created_ms = created->received_ms;
    size_t project, process;

    (void)fact_number(created, "createdAtMs", &created_ms);
    metadata_add(metadata, created);
    attribute_set_text(attributes, "name", name);
    attribute_set_text(attributes, "owner", user);
    attribute_copy(attributes, "description", created, "description");
    attribute_set_number(attributes, "createTime", created_ms);
    attribute_set_metadata(attributes, metadata);
    project = graph_put(graph, GRAPH_PROJECT, qualified_name, true, attributes, user);
    process = graph_put_process(graph, "ml_project_create_process", crn, ":create", title, user);
    graph_link(graph, GRAPH_OUTPUT, process, project);
}

/* --------------------------------------------------------------------------------------- builds */

/* A data set that training read: at least its name is known. "default.telco_churn@cm" is called
 * telco_churn, all else what stands before the '@'. */
static size_t graph_put_input(struct graph *graph, struct span type_name,
                              const char *qualified_name, const char *user)
{
    const struct type *type = type_by_name(graph->types, type_name);
    const char *at = strrchr(qualified_name, '@');
    size_t len = at && at > qualified_name ? (size_t)(at - qualified_name) : strlen(qualified_name);
    AUTO(mem_free) char *name = xmemdup0(qualified_name, len);
    const char *dot = strcmp(type->def->name, "hive_table") == 0 ? strrchr(name, '.') : NULL;
    json_t *attributes = json_object();

    attribute_set_text(attributes, "name", dot && dot[1] ? dot + 1 : name);
    return graph_put(graph, type->def->name, qualified_name, false, attributes, user);
}

static void graph_link_inputs(struct graph *graph, const struct graph_fact *built, size_t process)
{
    const json_t *inputs = json_object_get(built->event, "inputs");

    for (size_t i = 0; i < json_array_size(inputs); i++) {
        const json_t *input = json_array_get(inputs, i);
        const char *type = json_string_value(json_object_get(input, "typeName"));
        const char *name = json_string_value(json_object_get(input, "qualifiedName"));

        graph_link(graph, GRAPH_INPUT, process,
                   graph_put_input(graph, span_of(type), name, fact_name(built, "userName")));
    }
}

/* What the linking file says of the model: its tables are inputs, its pairs metadata. */
static void graph_link_file(struct graph *graph, const struct graph_fact *built, size_t process,
                            json_t *metadata)
{
    const char *text = fact_text(built, "linkingFile"), *space = fact_text(built, "namespace");
    AUTO(linking_notes_done) struct linking_notes notes = { 0 };
    AUTO(linking_file_done) struct linking_file file = { 0 };
    struct linking_source source = { .name = "linkingFile",
                                     .text = span_of(text),
                                     .name_space = space ? space : graph->name_space };
    const struct linking_model *model;
    struct err err = { 0 };

    /* it was read when the event came in */
    if (!text || linking_file_parse(&file, &source, &notes, &err) < 0)
        return;
    model = linking_file_find(&file, fact_name(built, "modelName"));
    for (size_t i = 0; model && i < model->tables_len; i++)
        graph_link(graph, GRAPH_INPUT, process,
                   graph_put_input(graph, SPAN_LITERAL("hive_table"),
                                   model->tables[i].qualified_name, fact_name(built, "userName")));
    for (size_t i = 0; model && i < model->metadata_len; i++)
        attribute_set_text(metadata, model->metadata[i].key, model->metadata[i].value);
}

/* Takes metadata: the pairs of the linking file, which the event's own go before. */
static json_t *graph_build_attributes(const struct graph_fact *built, json_t *metadata)
{
    static const char *const same[] = { "imageTag", "imageHash", "defaultCpuMillicores",
                                        "defaultMemoryMb", "defaultGpus" };
    json_t *attributes = json_object();
    int64_t created_ms = built->received_ms;

    (void)fact_number(built, "createdAtMs", &created_ms);
    metadata_add(metadata, built);
    attribute_set_text(metadata, "plumbline.modelCrn", fact_name(built, "modelCrn"));
    attribute_copy_text(metadata, "plumbline.registeredModelVersion", built,
                        "registeredModelVersion");
    attribute_set_text(attributes, "name", fact_name(built, "modelName"));
    attribute_set_text(attributes, "owner", fact_name(built, "userName"));
    attribute_copy(attributes, "version", built, "buildNumber");
    attribute_set_number(attributes, "createTime", created_ms);
    for (size_t i = 0; i < LENGTH(same); i++)
        attribute_copy(attributes, same[i], built, same[i]);
    attribute_copy_text(attributes, "exampleRequest", built, "exampleRequest");
    attribute_copy_text(attributes, "exampleResponse", built, "exampleResponse");
    attribute_set_metadata(attributes, metadata);
    return attributes;
}

static void graph_derive_build(struct graph *graph, const struct graph_fact *built)
{
    const char *crn = fact_name(built, "modelBuildCrn"), *user = fact_name(built, "userName");
    AUTO(mem_free) char *qualified_name = graph_name(graph, crn, "");
    AUTO(mem_free) char *title = NULL;
    json_t *metadata = json_object();
    size_t project, build, process;
    int64_t number = 0;

    (void)fact_number(built, "buildNumber", &number);
    title = xasprintf("train_build %s #%" PRId64, fact_name(built, "modelName"), number);
    project = graph_put_shell(graph, GRAPH_PROJECT, fact_name(built, "projectCrn"),
                              fact_text(built, "projectName"), user);
    process =
        graph_put_process(graph, "ml_model_train_build_process", crn, ":train_build", title, user);
    graph_link(graph, GRAPH_INPUT, process, project);
    graph_link_file(graph, built, process, metadata);
    graph_link_inputs(graph, built, process);
    build = graph_put(graph, GRAPH_BUILD, qualified_name, true,
                      graph_build_attributes(built, metadata), user);
    graph_link(graph, GRAPH_OUTPUT, process, build);
    graph_link(graph, "ml_project_model_build", project, build);
}

void graph_add_build(struct graph *graph, const char *crn, const char *project_crn)
{
    size_t build = graph_put_shell(graph, GRAPH_BUILD, crn, NULL, NULL);
    size_t project;

    if (!project_crn)
        return;
    project = graph_put_shell(graph, GRAPH_PROJECT, project_crn, NULL, NULL);
    graph_link(graph, "ml_project_model_build", project, build);
}

/* ---------------------------------------------------------------------------------- deployments */

/* One deployment's facts in the order of its statuses. */
struct graph_history {
    const struct graph_fact **facts;
    size_t len;
};

static int64_t graph_status_ms(const struct graph_fact *fact)
{
    int64_t at_ms = fact->received_ms;

    (void)fact_number(fact, "statusAtMs", &at_ms);
    return at_ms;
}

/* Facts lie in one array in order of insertion, which decides where the times are the same. */
static int graph_compare_statuses(const void *a, const void *b)
{
    const struct graph_fact *one = *(const struct graph_fact *const *)a;
    const struct graph_fact *two = *(const struct graph_fact *const *)b;
    int64_t one_ms = graph_status_ms(one), two_ms = graph_status_ms(two);

    if (one_ms != two_ms)
        return one_ms < two_ms ? -1 : 1;
    return (one > two) - (one < two);
}

/* The last fact that has the member; NULL: none has. */
static const struct graph_fact *history_last(const struct graph_history *history,
                                             const char *member)
{
    for (size_t i = history->len; i > 0; i--) {
        if (json_object_get(history->facts[i - 1]->event, member))
            return history->facts[i - 1];
    }
    return NULL;
}

static int64_t history_created_ms(const struct graph_history *history)
{
    int64_t said_ms = INT64_MAX, received_ms = INT64_MAX;

    for (size_t i = 0; i < history->len; i++) {
        int64_t ms;

        if (fact_number(history->facts[i], "createdAtMs", &ms) && ms < said_ms)
            said_ms = ms;
        if (history->facts[i]->received_ms < received_ms)
            received_ms = history->facts[i]->received_ms;
    }
    return said_ms < INT64_MAX ? said_ms : received_ms;
}

static int64_t history_deployed_ms(const struct graph_history *history)
{
    int64_t ms;

    if (fact_number(history_last(history, "deployedAtMs"), "deployedAtMs", &ms))
        return ms;
    for (size_t i = 0; i < history->len; i++) {
        if (strcmp(fact_name(history->facts[i], "status"), "deployed") == 0)
            return graph_status_ms(history->facts[i]);
    }
    return history_created_ms(history);
}

static json_t *history_metadata(const struct graph_history *history, const struct graph_fact *built)
{
    const struct graph_fact *model = history_last(history, "modelCrn");
    json_t *metadata = json_object();

    for (size_t i = 0; i < history->len; i++)
        metadata_add(metadata, history->facts[i]);
    attribute_set_text(metadata, "plumbline.modelCrn",
                       fact_text(model ? model : built, "modelCrn"));
    attribute_copy_text(metadata, "plumbline.modelDeploymentId",
                        history_last(history, "modelDeploymentId"), "modelDeploymentId");
    attribute_copy_text(metadata, "plumbline.environment", history_last(history, "environment"),
                        "environment");
    return metadata;
}

/* Sets *is_assumed. */
static json_t *history_attributes(const struct graph_history *history,
                                  const struct graph_fact *built, const char *name,
                                  bool *is_assumed)
{
    static const struct {
        const char *attribute, *member;
    } same[] = { { "memoryMb", "memoryMb" },
                 { "gpus", "gpus" },
                 { "replicas", "replicas" },
                 { "modelEndpointURL", "endpointUrl" } };
    json_t *attributes = json_object();
    int64_t millicores = 0;

    *is_assumed =
        !fact_number(history_last(history, "cpuMillicores"), "cpuMillicores", &millicores) &&
        !fact_number(built, "defaultCpuMillicores", &millicores);
    attribute_set_text(attributes, "name", name);
    attribute_set_text(attributes, "owner", fact_text(history->facts[0], "userName"));
    attribute_set_text(attributes, "status", fact_text(history->facts[history->len - 1], "status"));
    attribute_set_number(attributes, "createTime", history_created_ms(history));
    attribute_set_number(attributes, "deployedTime", history_deployed_ms(history));
    attribute_set_number(attributes, "cpuMillicores", millicores);
    for (size_t i = 0; i < LENGTH(same); i++) {
        const struct graph_fact *fact = history_last(history, same[i].member);

        if (fact)
            attribute_copy(attributes, same[i].attribute, fact, same[i].member);
    }
    attribute_set_metadata(attributes, history_metadata(history, built));
    return attributes;
}

/* Builds and projects that a deployment names are there, if only as shells. */
static size_t graph_put_parents(struct graph *graph, const struct graph_history *history)
{
    size_t build = 0;

    for (size_t i = 0; i < history->len; i++) {
        const struct graph_fact *fact = history->facts[i];
        const char *user = fact_name(fact, "userName"), *project = fact_text(fact, "projectCrn");

        build = graph_put_shell(graph, GRAPH_BUILD, fact_name(fact, "modelBuildCrn"),
                                fact_text(fact, "modelName"), user);
        if (project)
            (void)graph_put_shell(graph, GRAPH_PROJECT, project, fact_text(fact, "projectName"),
                                  user);
    }
    return build; /* the same for all: a deployment's build never changes */
}

static void graph_derive_deployment(struct graph *graph, const struct graph_facts *facts,
                                    const struct graph_history *history)
{
    const struct graph_fact *first = history->facts[0], *named = history_last(history, "modelName");
    const char *crn = fact_name(first, "modelDeploymentCrn"), *name, *user;
    const struct graph_fact *built =
        graph_facts_find(facts, LINEAGE_MODEL_BUILT, fact_name(first, "modelBuildCrn"));
    AUTO(mem_free) char *qualified_name = graph_name(graph, crn, "");
    AUTO(mem_free) char *title = NULL;
    size_t build, deployment, process;
    bool is_assumed;
    json_t *attributes;

    name = fact_text(named ? named : built, "modelName");
    name = name ? name : qualified_name;
    title = xasprintf("deploy %s", name);
    user = fact_text(history->facts[history->len - 1], "userName");
    build = graph_put_parents(graph, history);
    attributes = history_attributes(history, built, name, &is_assumed);
    deployment = graph_put(graph, GRAPH_DEPLOYMENT, qualified_name, true, attributes, user);
    graph->entities[deployment].is_assumed = is_assumed;
    process = graph_put_process(graph, "ml_model_deploy_process", crn, ":deploy", title,
                                fact_name(first, "userName"));
    graph_link(graph, GRAPH_INPUT, process, build);
    graph_link(graph, GRAPH_OUTPUT, process, deployment);
    graph_link(graph, "ml_build_deployment", build, deployment);
}

void graph_add_deployment(struct graph *graph, const char *crn, const char *build_crn)
{
    size_t deployment = graph_put_shell(graph, GRAPH_DEPLOYMENT, crn, NULL, NULL);

    if (build_crn)
        graph_link(graph, "ml_build_deployment",
                   graph_put_shell(graph, GRAPH_BUILD, build_crn, NULL, NULL), deployment);
}

const struct graph_entity *graph_find_deployment(const struct graph *graph, const char *crn)
{
    AUTO(mem_free) char *qualified_name = graph_name(graph, crn, "");
    AUTO(mem_free) char *key = xasprintf("%s %s", GRAPH_DEPLOYMENT, qualified_name);
    const uint64_t *place = map_get(graph->places, span_of(key));

    return place ? &graph->entities[*place] : NULL;
}

/* ------------------------------------------------------------------------------------------ all */

static int graph_compare_deployments(const void *a, const void *b)
{
    const struct graph_fact *one = *(const struct graph_fact *const *)a;
    const struct graph_fact *two = *(const struct graph_fact *const *)b;
    int order = strcmp(fact_name(one, "modelDeploymentCrn"), fact_name(two, "modelDeploymentCrn"));

    return order ? order : graph_compare_statuses(a, b);
}

static void graph_derive_deployments(struct graph *graph, const struct graph_facts *facts)
{
    AUTO(mem_free) const struct graph_fact **deployed = xcalloc(facts->len, sizeof(*deployed));
    size_t len = 0, end;

    for (size_t i = 0; i < facts->len; i++) {
        if (facts->items[i].kind == LINEAGE_MODEL_DEPLOYED)
            deployed[len++] = &facts->items[i];
    }
    if (len)
        qsort(deployed, len, sizeof(*deployed), graph_compare_deployments);
    for (size_t from = 0; from < len; from = end) {
        const char *crn = fact_name(deployed[from], "modelDeploymentCrn");
        struct graph_history history = { .facts = &deployed[from] };

        for (end = from; end < len; end++) {
            if (strcmp(fact_name(deployed[end], "modelDeploymentCrn"), crn) != 0)
                break;
        }
        history.len = end - from;
        graph_derive_deployment(graph, facts, &history);
    }
}

void graph_derive(struct graph *graph, const struct graph_facts *facts)
{
    if (facts->len == 0)
        return;
    for (size_t i = 0; i < facts->len; i++) {
        const struct graph_fact *fact = &facts->items[i];

        if (!fact->is_background && fact->kind == LINEAGE_PROJECT_CREATED)
            graph_derive_project(graph, fact);
        else if (!fact->is_background && fact->kind == LINEAGE_MODEL_BUILT)
            graph_derive_build(graph, fact);
    }
    graph_derive_deployments(graph, facts);
}
