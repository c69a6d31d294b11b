/* Lineage events: kept as posted, compared with what is known of the same identity, and the
 * catalog completed from them. All of it under the GRAPH lock, so that what is compared can't
 * change before COMMIT. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atlas/event.h"
#include "base/map.h"
#include "base/mem.h"
#include "collector/store_commit_internal.h"
#include "collector/store_graph_batch_internal.h"
#include "collector/store_graph_internal.h"
#include "collector/store_internal.h"
#include "collector/type_cache.h"

#define LINEAGE_STORE_SQL                                                                          \
    "INSERT INTO lineage_event (batch_id, ordinal, kind, identity, hash, warnings, event,"         \
    " project_crn, build_crn, deployment_crn, received_at)"                                        \
    " SELECT b.batch_id, e.ordinal, e.kind, e.identity, sha256(convert_to(e.event, 'UTF8')),"      \
    " e.warnings::json, e.event::json, e.project, e.build, e.deployment, b.recorded_at"            \
    " FROM ingest_batch AS b, unnest($2::bigint[], $3::text[], $4::text[], $5::text[],"            \
    " $6::text[], $7::text[], $8::text[], $9::text[]) AS e(ordinal, kind, identity, event,"        \
    " warnings, project, build, deployment) WHERE b.batch_id = $1::bigint"
/* By number, as whoever writes several deployments. */
#define LINEAGE_COMPLETE_SQL                                                                       \
    "UPDATE model_deployment AS d SET declared = true, build_crn = said.build,"                    \
    " model_crn = coalesce(said.models[1], d.model_crn),"                                          \
    " project_crn = coalesce(said.projects[1], d.project_crn),"                                    \
    " model_deployment_id = coalesce(said.numbers[1], d.model_deployment_id)"                      \
    " FROM (SELECT d.deployment, e.* FROM (SELECT crn, min(build) AS build,"                       \
    "  array_agg(model ORDER BY place DESC) FILTER (WHERE model IS NOT NULL) AS models,"           \
    "  array_agg(project ORDER BY place DESC) FILTER (WHERE project IS NOT NULL) AS projects,"     \
    "  array_agg(number ORDER BY place DESC) FILTER (WHERE number IS NOT NULL) AS numbers"         \
    "  FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[])"                  \
    "  WITH ORDINALITY AS e(crn, build, model, project, number, place) GROUP BY crn) AS e"         \
    "  JOIN model_deployment AS d USING (crn) ORDER BY d.deployment FOR NO KEY UPDATE OF d"        \
    " ) AS said WHERE d.deployment = said.deployment"

/* What is known while a batch is being compared. */
struct lineage_known {
    struct map *
        events; /* identity -> json_t *, the members of all its events together; owned references */
    struct map *builds; /* deployment CRN -> char *, the build that model_deployed said; owned */
};

static void lineage_drop_event(struct span key, uint64_t value, void *ctx)
{
    (void)key;
    (void)ctx;
    json_decref((json_t *)(uintptr_t)value);
}

static void lineage_drop_build(struct span key, uint64_t value, void *ctx)
{
    (void)key;
    (void)ctx;
    free((char *)(uintptr_t)value);
}

static void lineage_known_done(struct lineage_known *known)
{
    map_each(known->events, lineage_drop_event, NULL);
    map_each(known->builds, lineage_drop_build, NULL);
    map_free(known->events);
    map_free(known->builds);
}

/* Adds the members of `event` that the identity lacks. Borrows event. */
static void lineage_learn(struct lineage_known *known, struct span identity, json_t *event)
{
    uint64_t *stands;
    bool added;
    const char *name;
    json_t *value;

    stands = map_put(known->events, identity, 0, &added);
    if (added)
        *stands = (uint64_t)(uintptr_t)json_object();
    json_object_foreach(event, name, value)
    {
        json_t *members = (json_t *)(uintptr_t)*stands;

        if (!json_is_null(value) && !json_object_get(members, name))
            (void)json_object_set(members, name, value);
    }
}

static void lineage_learn_build(struct lineage_known *known, const char *deployment,
                                const char *build)
{
    bool added;
    uint64_t *stands = map_put(known->builds, span_of(deployment), 0, &added);

    if (added)
        *stands = (uint64_t)(uintptr_t)xstrdup(build);
}

void lineage_prepare(const struct store_setup *setup, struct batch *batch)
{
    AUTO(type_registry_free) struct type_registry *types = type_cache_get(setup->types);
    struct lineage_limits any_time = { INT64_MIN, INT64_MAX, /* checked when it came in */
                                       types, setup->config->atlas_namespace };

    for (uint32_t i = 0; i < batch->lineage.len; i++) {
        struct batch_row *row = batch->lineage.items[i];
        struct lineage_note note = { 0 };

        if (row->lineage || row->barred)
            continue;
        row->lineage = xcalloc(1, sizeof(*row->lineage));
        row->lineage_warnings = xcalloc(1, sizeof(*row->lineage_warnings));
        if (lineage_event_parse(row->lineage, row->event->text, &any_time, row->lineage_warnings,
                                &note) < 0)
            batch_row_bar(row, note.code, NULL, note.message);
        else
            row->event->deployment_crn = span_of(row->lineage->deployment_crn);
    }
}

/* Types that were there when the events were decoded may be deleted by now. */
static void lineage_check_types(const struct type_registry *types, struct batch *batch)
{
    for (uint32_t i = 0; i < batch->lineage.len; i++) {
        struct batch_row *row = batch->lineage.items[i];
        const json_t *inputs = row->lineage ? json_object_get(row->lineage->json, "inputs") : NULL;

        for (size_t j = 0; !row->barred && j < json_array_size(inputs); j++) {
            const char *name =
                json_string_value(json_object_get(json_array_get(inputs, j), "typeName"));

            if (!type_by_name(types, span_of(name)))
                batch_row_bar(row, "invalid_field", "inputs", "the type of an input is deleted");
        }
    }
}

enum step lineage_lock(struct attempt *attempt)
{
    if (graph_batch_lock(attempt->store->conn, 0, attempt->err) < 0 ||
        graph_take_types(attempt->store, attempt->err) < 0)
        return STEP_FAIL;
    lineage_check_types(attempt->store->types, attempt->batch);
    return STEP_DONE;
}

/* -------------------------------------------------------------------------------- what is known */

static int lineage_read_events(struct attempt *attempt, struct lineage_known *known)
{
    const struct batch_rows *rows = &attempt->batch->lineage;
    AUTO(store_array_done) struct store_array identities;
    AUTO(store_array_done) struct store_array kinds;
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };

    store_array_init(&identities, STORE_OID_TEXT);
    store_array_init(&kinds, STORE_OID_TEXT);
    for (uint32_t i = 0; i < rows->len; i++)
        store_array_add_text(&identities, span_of(rows->items[i]->lineage->identity));
    for (int kind = 0; kind < LINEAGE_EVENT_KINDS; kind++)
        store_array_add_text(&kinds, span_of(lineage_kind_name((enum lineage_event_kind)kind)));
    store_param_binary(&params, store_array_end(&kinds));
    store_param_binary(&params, store_array_end(&identities));
    result = store_query_params(attempt->store->conn,
                                "SELECT identity, event FROM lineage_event WHERE kind = ANY ($1)"
                                " AND identity = ANY ($2) ORDER BY batch_id, ordinal",
                                &params, "read lineage events", attempt->err);
    if (!result)
        return -1;
    for (int i = 0; i < PQntuples(result); i++) {
        json_t *event = json_loads(PQgetvalue(result, i, 1), 0, NULL);

        if (event)
            lineage_learn(known, span_of(PQgetvalue(result, i, 0)), event);
        json_decref(event);
    }
    return 0;
}

static int lineage_read_builds(struct attempt *attempt, struct lineage_known *known)
{
    const struct batch_rows *rows = &attempt->batch->lineage;
    AUTO(store_array_done) struct store_array crns;
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };

    store_array_init(&crns, STORE_OID_TEXT);
    for (uint32_t i = 0; i < rows->len; i++) {
        if (rows->items[i]->lineage->deployment_crn)
            store_array_add_text(&crns, span_of(rows->items[i]->lineage->deployment_crn));
    }
    if (crns.len == 0)
        return 0;
    store_param_binary(&params, store_array_end(&crns));
    result = store_query_params(
        attempt->store->conn,
        "SELECT crn, build_crn FROM model_deployment WHERE declared AND crn = ANY ($1)", &params,
        "read deployments", attempt->err);
    if (!result)
        return -1;
    for (int i = 0; i < PQntuples(result); i++)
        lineage_learn_build(known, PQgetvalue(result, i, 0), PQgetvalue(result, i, 1));
    return 0;
}

/* ---------------------------------------------------------------------------------- what is new */

static void lineage_judge(struct lineage_known *known, struct batch_row *row)
{
    static const char *const identities[LINEAGE_EVENT_KINDS] = {
        [LINEAGE_PROJECT_CREATED] = "projectCrn",
        [LINEAGE_MODEL_BUILT] = "modelBuildCrn",
        [LINEAGE_MODEL_DEPLOYED] = "modelDeploymentCrn, status and statusAtMs",
    };
    const struct lineage_event *event = row->lineage;
    const uint64_t *stands = map_get(known->events, span_of(event->identity));
    const uint64_t *build =
        event->deployment_crn ? map_get(known->builds, span_of(event->deployment_crn)) : NULL;
    const char *member = NULL;

    if (build && strcmp((const char *)(uintptr_t)*build, event->build_crn) != 0) {
        batch_row_reject(
            row, "conflict", "modelBuildCrn",
            "this deployment is known with another modelBuildCrn: a deployment's build never "
            "changes, deploy the other build under a new modelDeploymentCrn");
        return;
    }
    if (stands) {
        enum lineage_comparison comparison =
            lineage_event_compare((const json_t *)(uintptr_t)*stands, event->json, &member);

        if (comparison == LINEAGE_SAME) {
            row->fate = ROW_DUPLICATE;
            return;
        }
        if (comparison == LINEAGE_CONFLICT) {
            free(row->refusal);
            row->refusal = xasprintf("an event with this %s is stored with another \"%s\"",
                                     identities[event->kind], member);
            batch_row_reject(row, "conflict", member, row->refusal);
            return;
        }
    }
    lineage_learn(known, span_of(event->identity), event->json);
    if (event->deployment_crn)
        lineage_learn_build(known, event->deployment_crn, event->build_crn);
}

static void lineage_write_warning(struct buf *out, const char *code, const char *field,
                                  const char *message, const struct lineage_note *place)
{
    buf_append_fmt(out, "%s{\"code\":\"%s\",\"field\":", out->len > 1 ? "," : "", code);
    buf_append_json(out, span_of(field));
    buf_append_text(out, ",\"message\":");
    buf_append_json(out, span_of(message));
    if (place && place->line)
        buf_append_fmt(out, ",\"line\":%u,\"column\":%u", place->line, place->column);
    buf_append_char(out, '}');
}

/* Into an empty buf. */
static void lineage_write_warnings(const struct batch_row *row, struct buf *out)
{
    const struct lineage_notes *warnings = row->lineage_warnings;
    struct event_note assumed;

    buf_append_char(out, '[');
    for (uint32_t i = 0; i < warnings->len; i++) {
        const struct lineage_note *warning = &warnings->items[i];

        lineage_write_warning(out, warning->code, warning->field, warning->message, warning);
    }
    if (row->is_assumed) {
        batch_note_assumed(row, &assumed);
        lineage_write_warning(out, assumed.code, assumed.field, assumed.message, NULL);
    }
    buf_append_char(out, ']');
}

static void lineage_array_add(struct store_array *array, const char *text)
{
    if (text)
        store_array_add_text(array, span_of(text));
    else
        store_array_add_null(array);
}

/* What events say of their deployments: ids only, names and states live in the graph. Of several
 * events the last that says something counts; they all say the same build. */
static int lineage_complete(struct attempt *attempt)
{
    const struct batch_rows *rows = &attempt->batch->lineage;
    AUTO(store_array_done) struct store_array crns, builds, models, projects, numbers;
    AUTO(store_result_free) PGresult *completed = NULL;
    struct store_params params = { 0 };

    store_array_init(&crns, STORE_OID_TEXT);
    store_array_init(&builds, STORE_OID_TEXT);
    store_array_init(&models, STORE_OID_TEXT);
    store_array_init(&projects, STORE_OID_TEXT);
    store_array_init(&numbers, STORE_OID_INT8);
    for (uint32_t i = 0; i < rows->len; i++) {
        const struct lineage_event *event = rows->items[i]->lineage;

        if (!attempt_wants(attempt, rows->items[i]) || event->kind != LINEAGE_MODEL_DEPLOYED)
            continue;
        lineage_array_add(&crns, event->deployment_crn);
        lineage_array_add(&builds, event->build_crn);
        lineage_array_add(&models, event->model_crn);
        lineage_array_add(&projects, event->project_crn);
        if (event->deployment_id.is_given)
            store_array_add_i64(&numbers, event->deployment_id.value);
        else
            store_array_add_null(&numbers);
    }
    if (crns.len == 0)
        return 0;
    store_param_binary(&params, store_array_end(&crns));
    store_param_binary(&params, store_array_end(&builds));
    store_param_binary(&params, store_array_end(&models));
    store_param_binary(&params, store_array_end(&projects));
    store_param_binary(&params, store_array_end(&numbers));
    completed = store_query_params(attempt->store->conn, LINEAGE_COMPLETE_SQL, &params,
                                   "complete deployments", attempt->err);
    return completed ? 0 : -1;
}

static void lineage_param_batch(struct store_params *params, const struct attempt *attempt,
                                char number[24])
{
    (void)snprintf(number, 24, "%lld", (long long)attempt->batch_id);
    store_param_text(params, number);
}

/* The batch's new events, as columns. */
struct lineage_columns {
    struct store_array ordinals, kinds, identities, events, warnings, projects, builds, deployments;
};

static void lineage_columns_init(struct lineage_columns *columns)
{
    store_array_init(&columns->ordinals, STORE_OID_INT8);
    store_array_init(&columns->kinds, STORE_OID_TEXT);
    store_array_init(&columns->identities, STORE_OID_TEXT);
    store_array_init(&columns->events, STORE_OID_TEXT);
    store_array_init(&columns->warnings, STORE_OID_TEXT);
    store_array_init(&columns->projects, STORE_OID_TEXT);
    store_array_init(&columns->builds, STORE_OID_TEXT);
    store_array_init(&columns->deployments, STORE_OID_TEXT);
}

static void lineage_columns_done(struct lineage_columns *columns)
{
    store_array_done(&columns->ordinals);
    store_array_done(&columns->kinds);
    store_array_done(&columns->identities);
    store_array_done(&columns->events);
    store_array_done(&columns->warnings);
    store_array_done(&columns->projects);
    store_array_done(&columns->builds);
    store_array_done(&columns->deployments);
}

static void lineage_columns_add(struct lineage_columns *columns, const struct batch_row *row)
{
    const struct lineage_event *event = row->lineage;
    AUTO(buf_done) struct buf warnings;

    buf_init(&warnings, SIZE_MAX);
    lineage_write_warnings(row, &warnings);
    store_array_add_i64(&columns->ordinals, row->ordinal);
    lineage_array_add(&columns->kinds, lineage_kind_name(event->kind));
    lineage_array_add(&columns->identities, event->identity);
    store_array_add_text(&columns->events, row->event->text);
    store_array_add_text(&columns->warnings, buf_span(&warnings));
    lineage_array_add(&columns->projects, event->project_crn);
    lineage_array_add(&columns->builds, event->build_crn);
    lineage_array_add(&columns->deployments, event->deployment_crn);
}

static int lineage_columns_write(struct attempt *attempt, struct lineage_columns *columns)
{
    AUTO(store_result_free) PGresult *stored = NULL;
    struct store_params params = { 0 };
    char batch_id[24];

    lineage_param_batch(&params, attempt, batch_id);
    store_param_binary(&params, store_array_end(&columns->ordinals));
    store_param_binary(&params, store_array_end(&columns->kinds));
    store_param_binary(&params, store_array_end(&columns->identities));
    store_param_binary(&params, store_array_end(&columns->events));
    store_param_binary(&params, store_array_end(&columns->warnings));
    store_param_binary(&params, store_array_end(&columns->projects));
    store_param_binary(&params, store_array_end(&columns->builds));
    store_param_binary(&params, store_array_end(&columns->deployments));
    stored = store_query_params(attempt->store->conn, LINEAGE_STORE_SQL, &params,
                                "store lineage events", attempt->err);
    return stored ? 0 : -1;
}

/* The events as posted. */
static int lineage_store(struct attempt *attempt)
{
    const struct batch_rows *rows = &attempt->batch->lineage;
    struct lineage_columns columns;
    int rc = 0;

    lineage_columns_init(&columns);
    for (uint32_t i = 0; i < rows->len; i++) {
        if (attempt_wants(attempt, rows->items[i]))
            lineage_columns_add(&columns, rows->items[i]);
    }
    if (columns.ordinals.len)
        rc = lineage_columns_write(attempt, &columns);
    lineage_columns_done(&columns);
    return rc == 0 ? lineage_complete(attempt) : -1;
}

/* What only the graph knew goes to the warnings of the events that are stored already. */
static int lineage_store_assumed(struct attempt *attempt)
{
    const struct batch_rows *rows = &attempt->batch->lineage;
    AUTO(store_array_done) struct store_array ordinals, warnings;
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    char batch_id[24];

    store_array_init(&ordinals, STORE_OID_INT8);
    store_array_init(&warnings, STORE_OID_TEXT);
    for (uint32_t i = 0; i < rows->len; i++) {
        AUTO(buf_done) struct buf text;

        buf_init(&text, SIZE_MAX);
        if (!attempt_wants(attempt, rows->items[i]) || !rows->items[i]->is_assumed)
            continue;
        lineage_write_warnings(rows->items[i], &text);
        store_array_add_i64(&ordinals, rows->items[i]->ordinal);
        store_array_add_text(&warnings, buf_span(&text));
    }
    if (ordinals.len == 0)
        return 0;
    lineage_param_batch(&params, attempt, batch_id);
    store_param_binary(&params, store_array_end(&ordinals));
    store_param_binary(&params, store_array_end(&warnings));
    result = store_query_params(attempt->store->conn,
                                "UPDATE lineage_event AS e SET warnings = w.warnings::json"
                                " FROM unnest($2::bigint[], $3::text[]) AS w(ordinal, warnings)"
                                " WHERE e.batch_id = $1::bigint AND e.ordinal = w.ordinal",
                                &params, "store warnings", attempt->err);
    return result ? 0 : -1;
}

enum step lineage_write(struct attempt *attempt)
{
    const struct batch_rows *rows = &attempt->batch->lineage;
    struct lineage_known known = { map_new(), map_new() };
    int rc = lineage_read_events(attempt, &known);

    if (rc == 0)
        rc = lineage_read_builds(attempt, &known);
    for (uint32_t i = 0; i < rows->len && rc == 0; i++) {
        struct batch_row *row = rows->items[i];

        if (row->fate == ROW_ACCEPTED)
            lineage_judge(&known, row);
    }
    if (rc == 0)
        rc = lineage_store(attempt);
    if (rc == 0)
        rc = graph_write_events(attempt);
    if (rc == 0)
        rc = lineage_store_assumed(attempt);
    lineage_known_done(&known);
    return rc < 0 ? attempt_failed(NULL, attempt->err) : STEP_DONE;
}
