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
#include "collector/store_graph_internal.h"
#include "collector/store_internal.h"

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
    struct lineage_limits any_time = { INT64_MIN, INT64_MAX, /* checked when it came in */
                                       setup->types, setup->config->atlas_namespace };

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

enum step lineage_lock(struct attempt *attempt)
{
    char sql[96];

    (void)snprintf(sql, sizeof(sql), "BEGIN; SELECT pg_advisory_xact_lock(%d, %d)",
                   STORE_LOCK_CLASS, STORE_LOCK_GRAPH);
    return store_exec(attempt->store->conn, sql, "lock graph", attempt->err) < 0 ? STEP_FAIL
                                                                                 : STEP_DONE;
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

static void lineage_write_warnings(const struct batch_row *row, struct buf *out)
{
    const struct lineage_notes *warnings = row->lineage_warnings;

    buf_append_char(out, '[');
    for (uint32_t i = 0; i < warnings->len; i++) {
        const struct lineage_note *warning = &warnings->items[i];

        buf_append_fmt(out, "%s{\"code\":\"%s\",\"field\":", i ? "," : "", warning->code);
        buf_append_json(out, span_of(warning->field));
        buf_append_text(out, ",\"message\":");
        buf_append_json(out, span_of(warning->message));
        if (warning->line)
            buf_append_fmt(out, ",\"line\":%u,\"column\":%u", warning->line, warning->column);
        buf_append_char(out, '}');
    }
    buf_append_char(out, ']');
}

/* What an event says of its deployment: ids only, names and states live in the graph. */
static int lineage_complete(struct attempt *attempt, const struct lineage_event *event)
{
    AUTO(store_result_free) PGresult *completed = NULL;
    struct store_params params = { 0 };
    char number[24];

    (void)snprintf(number, sizeof(number), "%lld", (long long)event->deployment_id.value);
    store_param_text(&params, event->deployment_crn);
    store_param_text(&params, event->build_crn);
    store_param_text(&params, event->model_crn);
    store_param_text(&params, event->project_crn);
    store_param_text(&params, event->deployment_id.is_given ? number : NULL);
    completed = store_query_params(attempt->store->conn,
                                   "UPDATE model_deployment SET declared = true, build_crn = $2, "
                                   "model_crn = coalesce($3, model_crn),"
                                   " project_crn = coalesce($4, project_crn), model_deployment_id "
                                   "= coalesce($5::bigint, model_deployment_id)"
                                   " WHERE crn = $1",
                                   &params, "complete deployment", attempt->err);
    return completed ? 0 : -1;
}

/* The event as posted. */
static int lineage_store(struct attempt *attempt, const struct batch_row *row)
{
    const struct lineage_event *event = row->lineage;
    AUTO(store_result_free) PGresult *stored = NULL;
    AUTO(mem_free) char *text = xmemdup0(row->event->text.data, row->event->text.len);
    AUTO(buf_done) struct buf warnings;
    struct store_params params = { 0 };
    char batch_id[24], ordinal[24];

    buf_init(&warnings, SIZE_MAX);
    lineage_write_warnings(row, &warnings);
    (void)snprintf(batch_id, sizeof(batch_id), "%lld", (long long)attempt->batch_id);
    (void)snprintf(ordinal, sizeof(ordinal), "%u", row->ordinal);
    store_param_text(&params, batch_id);
    store_param_text(&params, ordinal);
    store_param_text(&params, event->identity);
    store_param_text(&params, text);
    store_param_text(&params, buf_text(&warnings));
    store_param_text(&params, lineage_kind_name(event->kind));
    store_param_text(&params, event->project_crn);
    store_param_text(&params, event->build_crn);
    store_param_text(&params, event->deployment_crn);
    stored = store_query_params(
        attempt->store->conn,
        "INSERT INTO lineage_event (batch_id, ordinal, kind, identity, hash, warnings, event,"
        " project_crn, build_crn, deployment_crn, received_at)"
        " SELECT $1, $2, $6, $3, sha256(convert_to($4, 'UTF8')), $5, $4::json, $7, $8, $9,"
        " recorded_at FROM ingest_batch WHERE batch_id = $1::bigint",
        &params, "store lineage event", attempt->err);
    if (!stored)
        return -1;
    return event->kind == LINEAGE_MODEL_DEPLOYED ? lineage_complete(attempt, event) : 0;
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
        if (attempt_wants(attempt, row))
            rc = lineage_store(attempt, row);
    }
    if (rc == 0)
        rc = graph_write_events(attempt);
    lineage_known_done(&known);
    return rc < 0 ? attempt_failed(NULL, attempt->err) : STEP_DONE;
}
