/* From events to the graph. What must be there follows from all events about a project, a build or
 * a deployment (atlas/graph.h), also those that were stored long ago, so each batch
 *
 *   reads    what was said of everything that its events are about
 *   derives  entities and relationships
 *   writes   those that are not there, or not like that: graph_put(), graph_link() in
 *            sql/006_graph.sql
 *   tells    others what it has changed: store_outbox.c
 *
 * under the GRAPH lock, so that what was read can't change before COMMIT. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atlas/event.h"
#include "atlas/graph.h"
#include "base/map.h"
#include "base/mem.h"
#include "collector/store_commit_internal.h"
#include "collector/store_graph_batch_internal.h"
#include "collector/store_graph_internal.h"
#include "collector/store_internal.h"
#include "collector/store_outbox_internal.h"
#include "collector/store_types_internal.h"

enum { GRAPH_ROUND_DEPLOYMENTS = 200 };

int graph_take_types(struct store *store, struct err *err)
{
    if (store_types_refresh(store->conn, store->setup.types, err) < 0)
        return -1;
    type_registry_free(store->types);
    store->types = type_cache_get(store->setup.types);
    return 0;
}

/* One change of the graph. */
struct graph_work {
    PGconn *conn; /* borrowed, as is setup */
    const struct store_setup *setup;
    const struct type_registry *types;
    int64_t batch_id;
    struct err *err;

    struct map *fresh;       /* identities whose event is new: what they describe is written */
    bool is_project;         /* there is a project_created among them */
    struct map *builds;      /* CRNs of builds that are new or that deployments name */
    struct map *deployments; /* CRNs of deployments to look at */
    struct map *served;      /* of those, where metrics alone say it: CRN -> char *, the build's */
    struct graph_facts facts;
    struct graph graph;
};

/* The store has taken the types. */
static void graph_work_init(struct graph_work *work, const struct store *store, struct err *err)
{
    *work = (struct graph_work){ .conn = store->conn,
                                 .setup = &store->setup,
                                 .types = store->types,
                                 .err = err,
                                 .fresh = map_new(),
                                 .builds = map_new(),
                                 .deployments = map_new(),
                                 .served = map_new() };
    graph_init(&work->graph, store->types, store->setup.config->atlas_namespace);
}

static void graph_drop_text(struct span key, uint64_t value, void *ctx)
{
    (void)key;
    (void)ctx;
    free((char *)(uintptr_t)value);
}

static void graph_work_done(struct graph_work *work)
{
    map_each(work->served, graph_drop_text, NULL);
    map_free(work->served);
    graph_done(&work->graph);
    graph_facts_done(&work->facts);
    map_free(work->fresh);
    map_free(work->builds);
    map_free(work->deployments);
}

static void graph_note(struct map *map, struct span key)
{
    bool added;

    (void)map_put(map, key, 0, &added);
}

static void graph_array_add(struct span key, uint64_t value, void *ctx)
{
    (void)value;
    store_array_add_text(ctx, key);
}

/* Runs a statement whose one parameter are the map's keys. */
static PGresult *graph_query_keys(struct graph_work *work, const char *sql, const struct map *keys,
                                  const char *what)
{
    AUTO(store_array_done) struct store_array array;
    struct store_params params = { 0 };

    store_array_init(&array, STORE_OID_TEXT);
    map_each(keys, graph_array_add, &array);
    store_param_binary(&params, store_array_end(&array));
    return store_query_params(work->conn, sql, &params, what, work->err);
}

/* ------------------------------------------------------------------------------- what was said */

#define GRAPH_EVENT_COLUMNS                                                                        \
    "identity, event, (extract(epoch FROM received_at) * 1000)::bigint, build_crn"

static void graph_learn(struct graph_work *work, const PGresult *result, int row,
                        enum lineage_event_kind kind)
{
    struct span identity = store_get_span(result, row, 0);
    json_auto_t *event = json_loads(PQgetvalue(result, row, 1), 0, NULL);
    struct graph_fact *fact;

    if (!event)
        return;
    fact = graph_facts_add(&work->facts, kind, identity, event, store_get_i64(result, row, 2));
    fact->is_background = kind != LINEAGE_MODEL_DEPLOYED && !map_get(work->fresh, identity);
}

/* A build's defaults and name are those of its deployments. */
static int graph_read_deployments_of_builds(struct graph_work *work)
{
    AUTO(store_result_free) PGresult *result = NULL;

    if (map_len(work->builds) == 0)
        return 0;
    result =
        graph_query_keys(work,
                         "SELECT crn FROM model_deployment WHERE declared AND build_crn = ANY ($1)",
                         work->builds, "read deployments of builds");
    for (int i = 0; result && i < PQntuples(result); i++)
        graph_note(work->deployments, store_get_span(result, i, 0));
    return result ? 0 : -1;
}

static int graph_read_deployments(struct graph_work *work)
{
    AUTO(store_result_free) PGresult *result = NULL;

    if (map_len(work->deployments) == 0)
        return 0;
    result = graph_query_keys(work,
                              "SELECT " GRAPH_EVENT_COLUMNS
                              " FROM lineage_event WHERE deployment_crn = ANY ($1)"
                              " ORDER BY batch_id, ordinal",
                              work->deployments, "read events of deployments");
    for (int i = 0; result && i < PQntuples(result); i++) {
        graph_learn(work, result, i, LINEAGE_MODEL_DEPLOYED);
        graph_note(work->builds, store_get_span(result, i, 3));
    }
    return result ? 0 : -1;
}

static int graph_read_builds(struct graph_work *work)
{
    AUTO(store_result_free) PGresult *result = NULL;

    if (map_len(work->builds) == 0)
        return 0;
    result = graph_query_keys(work,
                              "SELECT " GRAPH_EVENT_COLUMNS
                              " FROM unnest($1::text[]) AS said(crn), LATERAL (SELECT *"
                              "  FROM lineage_event WHERE identity = 'model_built ' || said.crn"
                              "  AND kind = 'model_built' OFFSET 0) AS told"
                              " ORDER BY batch_id, ordinal",
                              work->builds, "read events of builds");
    for (int i = 0; result && i < PQntuples(result); i++)
        graph_learn(work, result, i, LINEAGE_MODEL_BUILT);
    return result ? 0 : -1;
}

static int graph_read_projects(struct graph_work *work)
{
    AUTO(store_result_free) PGresult *result = NULL;

    if (!work->is_project)
        return 0;
    result = graph_query_keys(work,
                              "SELECT " GRAPH_EVENT_COLUMNS
                              " FROM lineage_event WHERE kind = 'project_created'"
                              " AND identity = ANY ($1) ORDER BY batch_id, ordinal",
                              work->fresh, "read events of projects");
    for (int i = 0; result && i < PQntuples(result); i++)
        graph_learn(work, result, i, LINEAGE_PROJECT_CREATED);
    return result ? 0 : -1;
}

/* Whom nobody has described, among the builds. */
struct graph_shells {
    const struct graph_facts *facts;
    struct map *builds;
};

static void graph_note_shell(struct span key, uint64_t value, void *ctx)
{
    const struct graph_shells *shells = ctx;
    AUTO(mem_free) char *crn = xmemdup0(key.data, key.len);

    (void)value;
    if (!graph_facts_find(shells->facts, LINEAGE_MODEL_BUILT, crn))
        graph_note(shells->builds, key);
}

/* Builds that nobody has described, and the project that deployments say they belong to; where they
 * disagree, the first in byte order. */
static int graph_read_shells(struct graph_work *work)
{
    AUTO(map_free) struct map *builds = map_new();
    AUTO(store_result_free) PGresult *result = NULL;
    struct graph_shells shells = { &work->facts, builds };

    map_each(work->builds, graph_note_shell, &shells);
    if (map_len(builds) == 0)
        return 0;
    result = graph_query_keys(work,
                              "SELECT build_crn, min(project_crn COLLATE \"C\") FROM lineage_event"
                              " WHERE kind = 'model_deployed' AND build_crn = ANY ($1)"
                              " GROUP BY build_crn",
                              builds, "read builds of deployments");
    for (int i = 0; result && i < PQntuples(result); i++)
        graph_add_build(&work->graph, PQgetvalue(result, i, 0),
                        PQgetisnull(result, i, 1) ? NULL : PQgetvalue(result, i, 1));
    return result ? 0 : -1;
}

static void graph_add_seen(struct span key, uint64_t value, void *ctx)
{
    struct graph_work *work = ctx;
    AUTO(mem_free) char *crn = xmemdup0(key.data, key.len);
    const uint64_t *build = map_get(work->served, key);

    (void)value;
    graph_add_deployment(&work->graph, crn, build ? (const char *)(uintptr_t)*build : NULL);
}

static int graph_read(struct graph_work *work)
{
    if (graph_read_deployments_of_builds(work) < 0 || graph_read_deployments(work) < 0 ||
        graph_read_builds(work) < 0 || graph_read_projects(work) < 0)
        return -1;
    graph_derive(&work->graph, &work->facts);
    map_each(work->deployments, graph_add_seen, work);
    return graph_read_shells(work);
}

/* --------------------------------------------------------------------------- what must be there */

static const char *graph_user(const char *user)
{
    return *user ? user : "plumbline";
}

static void graph_param_batch(struct store_params *params, const struct graph_work *work,
                              char number[24])
{
    (void)snprintf(number, 24, "%lld", (long long)work->batch_id);
    store_param_text(params, number);
}

/* The result has the entity_id of each entity, and whether it is new. Owned. */
static PGresult *graph_put_entities(struct graph_work *work)
{
    const struct graph *graph = &work->graph;
    AUTO(store_array_done) struct store_array types, names, complete, attributes, users;
    struct store_params params = { 0 };
    char batch_id[24];

    store_array_init(&types, STORE_OID_TEXT);
    store_array_init(&names, STORE_OID_TEXT);
    store_array_init(&complete, STORE_OID_BOOL);
    store_array_init(&attributes, STORE_OID_TEXT);
    store_array_init(&users, STORE_OID_TEXT);
    for (size_t i = 0; i < graph->entities_len; i++) {
        const struct graph_entity *entity = &graph->entities[i];
        AUTO(mem_free) char *text = json_dumps(entity->attributes, JSON_COMPACT);

        store_array_add_text(&types, span_of(entity->type));
        store_array_add_text(&names, span_of(entity->qualified_name));
        store_array_add_bool(&complete, entity->is_complete);
        store_array_add_text(&attributes, span_of(text));
        store_array_add_text(&users, span_of(graph_user(entity->user)));
    }
    graph_param_batch(&params, work, batch_id);
    store_param_binary(&params, store_array_end(&types));
    store_param_binary(&params, store_array_end(&names));
    store_param_binary(&params, store_array_end(&complete));
    store_param_binary(&params, store_array_end(&attributes));
    store_param_binary(&params, store_array_end(&users));
    return store_query_params(work->conn, "SELECT * FROM graph_put($1, $2, $3, $4, $5, $6)",
                              &params, "write entities", work->err);
}

static int graph_link_entities(struct graph_work *work, const PGresult *ids)
{
    const struct graph *graph = &work->graph;
    AUTO(store_array_done) struct store_array types, ends1, ends2, single, fresh, users;
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    char batch_id[24];

    store_array_init(&types, STORE_OID_TEXT);
    store_array_init(&ends1, STORE_OID_INT8);
    store_array_init(&ends2, STORE_OID_INT8);
    store_array_init(&single, STORE_OID_BOOL);
    store_array_init(&fresh, STORE_OID_BOOL);
    store_array_init(&users, STORE_OID_TEXT);
    for (size_t i = 0; i < graph->edges_len; i++) {
        const struct graph_edge *edge = &graph->edges[i];

        store_array_add_text(&types, span_of(edge->type));
        store_array_add_i64(&ends1, store_get_i64(ids, (int)edge->end1, 0));
        store_array_add_i64(&ends2, store_get_i64(ids, (int)edge->end2, 0));
        store_array_add_bool(&single, edge->is_single);
        store_array_add_bool(&fresh, store_get_bool(ids, (int)edge->end1, 1) ||
                                         store_get_bool(ids, (int)edge->end2, 1));
        store_array_add_text(&users, span_of(graph_user(graph->entities[edge->end2].user)));
    }
    graph_param_batch(&params, work, batch_id);
    store_param_binary(&params, store_array_end(&types));
    store_param_binary(&params, store_array_end(&ends1));
    store_param_binary(&params, store_array_end(&ends2));
    store_param_binary(&params, store_array_end(&single));
    store_param_binary(&params, store_array_end(&fresh));
    store_param_binary(&params, store_array_end(&users));
    result = store_query_params(work->conn, "SELECT graph_link($1, $2, $3, $4, $5, $6, $7)",
                                &params, "write relationships", work->err);
    return result ? 0 : -1;
}

/* What a model_built says goes to the catalog where no model_deployed says it. */
static int graph_complete_catalog(struct graph_work *work)
{
    AUTO(store_array_done) struct store_array deployments, builds, models, projects;
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };

    store_array_init(&deployments, STORE_OID_TEXT);
    store_array_init(&builds, STORE_OID_TEXT);
    store_array_init(&models, STORE_OID_TEXT);
    store_array_init(&projects, STORE_OID_TEXT);
    for (size_t i = 0; i < work->facts.len; i++) {
        const json_t *event = work->facts.items[i].event;

        if (work->facts.items[i].kind != LINEAGE_MODEL_BUILT)
            continue;
        store_array_add_text(&builds,
                             span_of(json_string_value(json_object_get(event, "modelBuildCrn"))));
        store_array_add_text(&models,
                             span_of(json_string_value(json_object_get(event, "modelCrn"))));
        store_array_add_text(&projects,
                             span_of(json_string_value(json_object_get(event, "projectCrn"))));
    }
    map_each(work->deployments, graph_array_add, &deployments);
    if (builds.len == 0 || deployments.len == 0)
        return 0;
    store_param_binary(&params, store_array_end(&deployments));
    store_param_binary(&params, store_array_end(&builds));
    store_param_binary(&params, store_array_end(&models));
    store_param_binary(&params, store_array_end(&projects));
    result = store_query_params(work->conn, "SELECT graph_complete_catalog($1, $2, $3, $4)",
                                &params, "complete deployments", work->err);
    return result ? 0 : -1;
}

/* What events have described and changed goes out as messages. */
static int graph_tell(struct graph_work *work, const PGresult *ids)
{
    const struct graph *graph = &work->graph;
    AUTO(store_array_done) struct store_array told;

    store_array_init(&told, STORE_OID_INT8);
    for (size_t i = 0; i < graph->entities_len; i++) {
        if (graph->entities[i].is_complete)
            store_array_add_i64(&told, store_get_i64(ids, (int)i, 0));
    }
    return outbox_write(work->conn, work->setup, work->types, work->batch_id, &told, work->err);
}

static int graph_write(struct graph_work *work)
{
    AUTO(store_result_free) PGresult *ids = NULL;

    if (graph_read(work) < 0)
        return -1;
    ids = graph_put_entities(work);
    if (!ids || graph_link_entities(work, ids) < 0 || graph_tell(work, ids) < 0)
        return -1;
    return graph_complete_catalog(work);
}

/* --------------------------------------------------------------------------------------- events */

static void graph_note_event(struct graph_work *work, const struct lineage_event *event)
{
    switch (event->kind) {
    case LINEAGE_MODEL_DEPLOYED:
        graph_note(work->deployments, span_of(event->deployment_crn));
        return;
    case LINEAGE_MODEL_BUILT:
        graph_note(work->builds, span_of(event->build_crn));
        break;
    case LINEAGE_PROJECT_CREATED:
        work->is_project = true;
        break;
    case LINEAGE_EVENT_KINDS:
        break;
    }
    graph_note(work->fresh, span_of(event->identity));
}

static void graph_mark_assumed(const struct graph_work *work, struct batch_row *row)
{
    const struct graph_entity *deployment;

    if (row->lineage->kind != LINEAGE_MODEL_DEPLOYED)
        return;
    deployment = graph_find_deployment(&work->graph, row->lineage->deployment_crn);
    row->is_assumed = deployment && deployment->is_assumed;
}

static int graph_write_batch(struct attempt *attempt, struct graph_work *work)
{
    const struct batch_rows *rows = &attempt->batch->lineage;
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    char batch_id[24];
    bool is_any = false;

    work->batch_id = attempt->batch_id;
    for (uint32_t i = 0; i < rows->len; i++) {
        if (!attempt_wants(attempt, rows->items[i]))
            continue;
        graph_note_event(work, rows->items[i]->lineage);
        is_any = true;
    }
    if (!is_any)
        return 0;
    graph_param_batch(&params, work, batch_id);
    result = store_query_params(work->conn,
                                "INSERT INTO graph_batch (batch_id, recorded_at) SELECT batch_id,"
                                " recorded_at FROM ingest_batch WHERE batch_id = $1::bigint",
                                &params, "begin graph batch", work->err);
    if (!result || graph_write(work) < 0)
        return -1;
    for (uint32_t i = 0; i < rows->len; i++) {
        if (attempt_wants(attempt, rows->items[i]))
            graph_mark_assumed(work, rows->items[i]);
    }
    return 0;
}

int graph_write_events(struct attempt *attempt)
{
    struct graph_work work;
    int rc;

    graph_work_init(&work, attempt->store, attempt->err);
    rc = graph_write_batch(attempt, &work);
    graph_work_done(&work);
    return rc;
}

/* ----------------------------------------------------------------------------------- background */

/* Deployments that are new to the graph, and those whose build metrics have named since. Of each
 * the build as far as metrics alone say it, whether it has one, whether it is new, and whether
 * somebody has deleted it: then metrics don't make it anew. */
#define GRAPH_UNSEEN_COLUMNS                                                                       \
    "SELECT crn, deployment, CASE WHEN NOT declared THEN build_crn END, build_crn IS NOT NULL, "
#define GRAPH_UNSEEN_DELETED                                                                       \
    ", EXISTS (SELECT FROM entity WHERE type = 'ml_model_deployment' AND is_deleted"               \
    " AND qualified_name COLLATE \"C\" = crn || $1 AND to_batch IS NULL)"
#define GRAPH_UNSEEN_SQL                                                                           \
    "(" GRAPH_UNSEEN_COLUMNS "true" GRAPH_UNSEEN_DELETED " FROM model_deployment"                  \
    " WHERE deployment > (SELECT deployment FROM graph_position) ORDER BY deployment LIMIT 200)"   \
    " UNION ALL (" GRAPH_UNSEEN_COLUMNS "false" GRAPH_UNSEEN_DELETED                               \
    " FROM graph_waiting JOIN model_deployment"                                                    \
    " USING (deployment) WHERE deployment <= (SELECT deployment FROM graph_position)"              \
    " ORDER BY deployment LIMIT 200)"

/* Owned. */
static PGresult *graph_read_unseen(PGconn *conn, const struct store_setup *setup, struct err *err)
{
    AUTO(mem_free) char *suffix = xasprintf("@%s", setup->config->atlas_namespace);
    struct store_params params = { 0 };

    store_param_text(&params, suffix);
    return store_query_params(conn, GRAPH_UNSEEN_SQL, &params, "read new deployments", err);
}

static void graph_note_unseen(struct graph_work *work, const PGresult *unseen, int row)
{
    struct span crn = store_get_span(unseen, row, 0);
    uint64_t *build;
    bool added;

    graph_note(work->deployments, crn);
    if (PQgetisnull(unseen, row, 2))
        return;
    build = map_put(work->served, crn, 0, &added);
    if (added)
        *build = (uint64_t)(uintptr_t)xstrdup(PQgetvalue(unseen, row, 2));
}

/* They are in the graph now. One whose build was not there yet may wait again by now. */
static int graph_settle_unseen(struct graph_work *work, const PGresult *unseen)
{
    AUTO(store_array_done) struct store_array settled;
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    int64_t last = 0;
    char number[24];

    store_array_init(&settled, STORE_OID_INT8);
    for (int i = 0; i < PQntuples(unseen); i++) {
        if (store_get_bool(unseen, i, 3))
            store_array_add_i64(&settled, store_get_i64(unseen, i, 1));
        if (store_get_bool(unseen, i, 4))
            last = store_get_i64(unseen, i, 1);
    }
    (void)snprintf(number, sizeof(number), "%lld", (long long)last);
    store_param_text(&params, number);
    store_param_binary(&params, store_array_end(&settled));
    result = store_query_params(work->conn,
                                "WITH moved AS (UPDATE graph_position SET deployment = $1::int"
                                " WHERE deployment < $1::int)"
                                " DELETE FROM graph_waiting WHERE deployment = ANY ($2::bigint[])",
                                &params, "move graph position", work->err);
    return result ? 0 : -1;
}

/* In a transaction and under the lock. */
static int graph_write_unseen(struct graph_work *work, bool *more)
{
    AUTO(store_result_free)
    PGresult *unseen = graph_read_unseen(work->conn, work->setup, work->err);
    int len = unseen ? PQntuples(unseen) : 0;

    if (len == 0) /* somebody else was faster */
        return unseen ? 0 : -1;
    for (int i = 0; i < len; i++) {
        if (!store_get_bool(unseen, i, 5))
            graph_note_unseen(work, unseen, i);
    }
    if (map_len(work->deployments)) {
        if (graph_batch_number(work->conn, &work->batch_id, work->err) < 0 || graph_write(work) < 0)
            return -1;
    }
    if (graph_settle_unseen(work, unseen) < 0)
        return -1;
    *more = *more || len >= GRAPH_ROUND_DEPLOYMENTS;
    return 0;
}

int graph_round(struct store *store, bool *more, struct err *err)
{
    AUTO(store_result_free)
    PGresult *unseen = graph_read_unseen(store->conn, &store->setup, err);
    struct graph_work work;
    int rc;

    if (!unseen || PQntuples(unseen) == 0)
        return unseen ? 0 : -1;
    if (graph_batch_lock(store->conn, 0, err) < 0 || graph_take_types(store, err) < 0)
        return -1;
    graph_work_init(&work, store, err);
    rc = graph_write_unseen(&work, more);
    graph_work_done(&work);
    return rc < 0 ? -1 : store_exec(store->conn, "COMMIT", "graph", err);
}
