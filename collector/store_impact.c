#include "collector/store_impact_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { IMPACT_STEP_IDS_MAX = 20000 }; /* in one question of a step */

/* ------------------------------------------------------------------------------------- the walk */

/* Entities by their numbers, which come from one sequence and so lie close together. */
struct impact_set {
    uint64_t *words; /* owned */
    size_t words_len;
};

struct impact_ids {
    int64_t *items; /* owned */
    size_t len;
    size_t cap;
};

struct impact_walk {
    const struct atlas_view *view;
    bool is_direct;
    int32_t hops; /* of the data sets that are being met */
    struct impact_set met;
    struct impact_ids frontier;  /* of this step */
    struct impact_ids following; /* of the next one */
    struct impact_ids served;    /* deployments of the builds of the step before, as the graph says
                                  * without a process: metrics alone may know them */
    struct impact_reach *reach;
    size_t reach_cap;
};

/* False: it was in it. */
static bool impact_set_add(struct impact_set *set, int64_t id)
{
    size_t word = (size_t)id / 64;
    uint64_t bit = UINT64_C(1) << (id % 64);

    if (word >= set->words_len) {
        size_t len = word + word / 2 + 64;

        set->words = xreallocarray(set->words, len, sizeof(*set->words));
        memset(set->words + set->words_len, 0, (len - set->words_len) * sizeof(*set->words));
        set->words_len = len;
    }
    if (set->words[word] & bit)
        return false;
    set->words[word] |= bit;
    return true;
}

static void impact_ids_add(struct impact_ids *ids, int64_t id)
{
    if (ids->len == ids->cap) {
        ids->cap = ids->cap ? 2 * ids->cap : 64;
        ids->items = xreallocarray(ids->items, ids->cap, sizeof(*ids->items));
    }
    ids->items[ids->len++] = id;
}

static void impact_reach_add(struct impact_walk *walk, int64_t id)
{
    struct impact_reach *reach = walk->reach;

    if (reach->len == walk->reach_cap) {
        walk->reach_cap = walk->reach_cap ? 2 * walk->reach_cap : 64;
        reach->items = xreallocarray(reach->items, walk->reach_cap, sizeof(*reach->items));
    }
    reach->items[reach->len++] = (struct impact_place){ id, walk->hops };
}

/* The type and all that inherit from it. */
static void impact_add_kinds(struct store_array *array, const struct atlas_view *view,
                             const char *name)
{
    const struct type *type = type_by_name(view->types, span_of(name));

    store_array_add_text(array, span_of(type->def->name));
    for (size_t i = 0; i < type->sub_types.len; i++)
        store_array_add_text(array, span_of(type->sub_types.items[i]->def->name));
}

/* Processes that read these data sets, and (true) deployments of those of them that are builds. */
static void impact_write_from_data(struct buf *sql, const struct atlas_view *view,
                                   const struct walk_frontier *frontier)
{
    buf_append_text(sql, "SELECT DISTINCT end1, false FROM (");
    atlas_write_edges(sql, view, frontier, "end1");
    buf_append_text(sql, ") AS met");
    for (size_t i = 0; i < view->parts_len; i++)
        buf_append_fmt(sql,
                       " UNION ALL SELECT end2, true FROM relationship WHERE %s"
                       " AND type = 'ml_build_deployment' AND end1 = ANY ($1)",
                       view->parts[i]);
}

/* The far ends of edges from these entities: of data sets also whether they are deployments or
 * builds. */
static PGresult *impact_read_step(const struct impact_walk *walk,
                                  const struct walk_frontier *frontier, struct err *err)
{
    const struct atlas_view *view = walk->view;
    AUTO(store_array_done) struct store_array ids, deployments, builds;
    AUTO(buf_done) struct buf sql;
    struct store_params params = { 0 };

    store_array_init(&ids, STORE_OID_INT8);
    store_array_init(&deployments, STORE_OID_TEXT);
    store_array_init(&builds, STORE_OID_TEXT);
    buf_init(&sql, SIZE_MAX);
    for (size_t i = 0; i < frontier->len; i++)
        store_array_add_i64(&ids, frontier->ids[i]);
    store_param_binary(&params, store_array_end(&ids));
    if (!frontier->is_process) {
        impact_write_from_data(&sql, view, frontier);
        return store_query_binary(view->conn, buf_text(&sql), &params, "walk", err);
    }
    impact_add_kinds(&deployments, view, "ml_model_deployment");
    impact_add_kinds(&builds, view, "ml_model_build");
    store_param_binary(&params, store_array_end(&deployments));
    store_param_binary(&params, store_array_end(&builds));
    buf_append_text(&sql, "SELECT met.end2, type = ANY ($2), type = ANY ($3)"
                          " FROM (SELECT DISTINCT end2 FROM (");
    atlas_write_edges(&sql, view, frontier, "end2");
    buf_append_fmt(&sql, ") AS edges) AS met JOIN entity ON entity_id = met.end2 WHERE %s",
                   view->stands);
    return store_query_binary(view->conn, buf_text(&sql), &params, "walk", err);
}

static void impact_meet_process(struct impact_walk *walk, const PGresult *result, int row)
{
    int64_t id = store_get_i64(result, row, 0);

    if (store_get_bool(result, row, 1))
        impact_ids_add(&walk->served, id);
    else if (impact_set_add(&walk->met, id))
        impact_ids_add(&walk->following, id);
}

static void impact_meet_data(struct impact_walk *walk, int64_t id, bool is_deployment,
                             bool is_build)
{
    if (!impact_set_add(&walk->met, id))
        return;
    if (is_deployment)
        impact_reach_add(walk, id);
    if (!walk->is_direct || is_build)
        impact_ids_add(&walk->following, id);
}

/* One step, from the frontier to the next one. */
static int impact_step(struct impact_walk *walk, bool is_process, struct err *err)
{
    struct impact_ids over = walk->frontier;

    for (size_t at = 0; at < walk->frontier.len; at += IMPACT_STEP_IDS_MAX) {
        size_t left = walk->frontier.len - at;
        struct walk_frontier part = { .direction = WALK_OUTPUT,
                                      .is_process = is_process,
                                      .ids = walk->frontier.items + at,
                                      .len =
                                          left < IMPACT_STEP_IDS_MAX ? left : IMPACT_STEP_IDS_MAX };
        AUTO(store_result_free) PGresult *result = impact_read_step(walk, &part, err);

        if (!result)
            return -1;
        for (int row = 0; row < PQntuples(result); row++) {
            if (is_process)
                impact_meet_data(walk, store_get_i64(result, row, 0),
                                 store_get_bool(result, row, 1), store_get_bool(result, row, 2));
            else
                impact_meet_process(walk, result, row);
        }
    }
    for (size_t i = 0; is_process && i < walk->served.len; i++)
        impact_meet_data(walk, walk->served.items[i], true, false);
    if (is_process)
        walk->served.len = 0;
    walk->frontier = walk->following;
    over.len = 0;
    walk->following = over;
    return 0;
}

static int impact_compare_places(const void *a, const void *b)
{
    const struct impact_place *one = a, *two = b;

    return (one->entity_id > two->entity_id) - (one->entity_id < two->entity_id);
}

int impact_walk(const struct atlas_view *view, const struct entity *start, bool is_direct,
                struct impact_reach *reach, struct err *err)
{
    struct impact_walk walk = { .view = view, .is_direct = is_direct, .reach = reach };
    bool is_process = type_is_a(start->type, type_by_name(view->types, SPAN_LITERAL("Process")));
    int rc = 0;

    *reach = (struct impact_reach){ 0 };
    (void)impact_set_add(&walk.met, start->id);
    impact_ids_add(&walk.frontier, start->id);
    /* an entity, a build of it, a deployment of that */
    while (rc == 0 && walk.frontier.len + walk.served.len && !(is_direct && walk.hops == 2)) {
        walk.hops += is_process;
        rc = impact_step(&walk, is_process, err);
        is_process = !is_process;
    }
    if (reach->len)
        qsort(reach->items, reach->len, sizeof(*reach->items), impact_compare_places);
    free(walk.met.words);
    free(walk.frontier.items);
    free(walk.following.items);
    free(walk.served.items);
    return rc;
}

/* ------------------------------------------------------------------------- what is classified */

/* What entities of the graph are, by place. */
struct impact_kinds {
    bool *is_deployment; /* owned, both */
    bool *stops;         /* neither builds nor processes */
};

static int impact_read_kinds(const struct atlas_view *view, const struct propagation *graph,
                             struct impact_kinds *kinds, struct err *err)
{
    static const char *const names[] = { "ml_model_deployment", "ml_model_build", "Process" };
    AUTO(mem_free)
    char *sql = xasprintf("SELECT entity_id, type = ANY ($2), type = ANY ($3) OR type = ANY ($4)"
                          " FROM entity WHERE entity_id = ANY ($1) AND %s",
                          view->stands);
    size_t len;
    const int64_t *ids = propagation_ids(graph, &len);

    kinds->is_deployment = xcalloc(len, sizeof(*kinds->is_deployment));
    kinds->stops = xcalloc(len, sizeof(*kinds->stops));
    for (size_t from = 0; from < len; from += IMPACT_STEP_IDS_MAX) {
        struct store_array arrays[1 + LENGTH(names)];
        struct store_params params = { 0 };
        PGresult *result;

        store_array_init(&arrays[0], STORE_OID_INT8);
        for (size_t i = from; i < len && i < from + IMPACT_STEP_IDS_MAX; i++)
            store_array_add_i64(&arrays[0], ids[i]);
        for (size_t i = 0; i < LENGTH(names); i++) {
            store_array_init(&arrays[i + 1], STORE_OID_TEXT);
            impact_add_kinds(&arrays[i + 1], view, names[i]);
        }
        for (size_t i = 0; i < LENGTH(arrays); i++)
            store_param_binary(&params, store_array_end(&arrays[i]));
        result = store_query_binary(view->conn, sql, &params, "read types of entities", err);
        for (size_t i = 0; i < LENGTH(arrays); i++)
            store_array_done(&arrays[i]);
        if (!result)
            return -1;
        for (int row = 0; row < PQntuples(result); row++) {
            size_t place = propagation_place_of(graph, store_get_i64(result, row, 0));

            kinds->is_deployment[place] = store_get_bool(result, row, 1);
            kinds->stops[place] = !store_get_bool(result, row, 2);
        }
        PQclear(result);
    }
    return 0;
}

/* Those of the classified entities that pass nothing on are in the graph as well; how many they
 * are. */
static size_t impact_add_origins(struct tag_origins *origins)
{
    AUTO(propagation_free) struct propagation *distinct = propagation_new();
    size_t len;

    for (size_t i = 0; i < origins->len; i++) {
        (void)propagation_add(origins->graph, origins->items[i].id);
        (void)propagation_add(distinct, origins->items[i].id);
    }
    (void)propagation_ids(distinct, &len);
    return len;
}

int impact_walk_tags(const struct atlas_view *view, const struct type_list *kinds, bool is_direct,
                     struct impact_reach *reach, size_t *entities, struct err *err)
{
    AUTO(tag_origins_done) struct tag_origins origins = { 0 };
    struct impact_walk walk = { .view = view, .reach = reach };
    struct impact_kinds are = { 0 };
    const int64_t *ids;
    int32_t *hops;
    size_t len;
    int rc;

    *reach = (struct impact_reach){ 0 };
    if (tags_find(view, kinds, &origins, err) < 0)
        return -1;
    *entities = impact_add_origins(&origins);
    ids = propagation_ids(origins.graph, &len);
    hops = xcalloc(len, sizeof(*hops));
    rc = impact_read_kinds(view, origins.graph, &are, err);
    if (rc == 0) {
        /* an entity, a build of it, a deployment of that */
        propagation_measure(origins.graph, origins.sources, origins.sources_len,
                            is_direct ? are.stops : NULL, is_direct ? 2 : 0, hops);
        for (size_t i = 0; i < origins.len; i++)
            hops[propagation_place_of(origins.graph, origins.items[i].id)] = 0;
    }
    for (size_t i = 0; rc == 0 && i < len; i++) {
        walk.hops = hops[i];
        if (hops[i] >= 0 && are.is_deployment[i])
            impact_reach_add(&walk, ids[i]);
    }
    if (reach->len)
        qsort(reach->items, reach->len, sizeof(*reach->items), impact_compare_places);
    free(hops);
    free(are.is_deployment);
    free(are.stops);
    return rc;
}

void impact_reach_done(struct impact_reach *reach)
{
    free(reach->items);
    *reach = (struct impact_reach){ 0 };
}

/* ------------------------------------------------------------------------------ the deployments */

void impact_rows_done(struct impact_rows *rows)
{
    for (size_t i = 0; i < rows->len; i++) {
        struct impact_row *row = &rows->items[i];

        free(row->crn);
        free(row->build_crn);
        free(row->model_crn);
        free(row->model_name);
        free(row->build_number);
        free(row->status);
        free(row->in_service);
    }
    free(rows->items);
    *rows = (struct impact_rows){ 0 };
}

enum rows_column {
    ROWS_PLACE,
    ROWS_GUID,
    ROWS_NAME,
    ROWS_BUILD_NAME,
    ROWS_MODEL_CRN,
    ROWS_MODEL_NAME,
    ROWS_BUILD_NUMBER,
    ROWS_STATUS,
    ROWS_IS_DELETED,
    ROWS_DEPLOYMENT
};

/* A name that is the qualified name is none. Of a deployment that was moved to another build the
 * edge that stands counts; of several the oldest. */
static void impact_write_rows_sql(struct buf *sql, const struct atlas_view *view)
{
    buf_append_fmt(sql,
                   "SELECT w.place, d.guid, d.qualified_name, b.qualified_name,"
                   " coalesce(d.attributes -> 'metadata' ->> 'plumbline.modelCrn',"
                   "  b.attributes -> 'metadata' ->> 'plumbline.modelCrn'),"
                   " coalesce(nullif(d.attributes ->> 'name', d.qualified_name),"
                   "  nullif(b.attributes ->> 'name', b.qualified_name)),"
                   " b.attributes ->> 'version', d.attributes ->> 'status', d.is_deleted,"
                   " c.deployment"
                   " FROM unnest($1::bigint[]) WITH ORDINALITY AS w(id, place)"
                   " CROSS JOIN LATERAL (SELECT * FROM entity WHERE entity_id = w.id AND %1$s) AS d"
                   " LEFT JOIN LATERAL (SELECT end1 FROM (",
                   view->stands);
    for (size_t i = 0; i < view->parts_len; i++)
        buf_append_fmt(sql,
                       "%sSELECT end1, is_deleted, relationship_id FROM relationship WHERE %s"
                       " AND type = 'ml_build_deployment' AND end2 = w.id",
                       i ? " UNION ALL " : "", view->parts[i]);
    buf_append_fmt(sql,
                   ") AS r ORDER BY is_deleted, relationship_id LIMIT 1) AS r ON true"
                   " LEFT JOIN LATERAL (SELECT * FROM entity WHERE entity_id = r.end1 AND %s) AS b"
                   " ON true LEFT JOIN model_deployment AS c ON c.crn = CASE"
                   " WHEN right(d.qualified_name, length($2)) = $2"
                   " THEN left(d.qualified_name, -length($2)) ELSE d.qualified_name END"
                   " ORDER BY w.place",
                   view->stands);
}

/* The CRN that an entity is named by; owned. */
static char *impact_crn(struct span qualified_name, struct span suffix)
{
    size_t len = qualified_name.len;

    if (len > suffix.len &&
        memcmp(qualified_name.data + len - suffix.len, suffix.data, suffix.len) == 0)
        len -= suffix.len;
    return xmemdup0(qualified_name.data ? qualified_name.data : "", len);
}

static char *impact_text(const PGresult *result, int row, int column)
{
    return xstrdup(PQgetvalue(result, row, column)); /* "" for null */
}

static void impact_fill_row(struct impact_row *row, const PGresult *result, int i,
                            struct span suffix)
{
    (void)snprintf(row->guid, sizeof(row->guid), "%s", PQgetvalue(result, i, ROWS_GUID));
    row->crn = impact_crn(store_get_span(result, i, ROWS_NAME), suffix);
    row->build_crn = impact_crn(store_get_span(result, i, ROWS_BUILD_NAME), suffix);
    row->model_crn = impact_text(result, i, ROWS_MODEL_CRN);
    row->model_name = impact_text(result, i, ROWS_MODEL_NAME);
    if (!PQgetisnull(result, i, ROWS_BUILD_NUMBER))
        row->build_number = impact_text(result, i, ROWS_BUILD_NUMBER);
    row->status = PQgetisnull(result, i, ROWS_STATUS) ? xstrdup("unknown")
                                                      : impact_text(result, i, ROWS_STATUS);
    row->is_deleted = store_get_bool(result, i, ROWS_IS_DELETED);
    row->deployment = (int32_t)store_get_i64(result, i, ROWS_DEPLOYMENT);
    row->last_ms = INT64_MIN;
}

/* ----------------------------------------------------------------------------------- in service */

static void impact_serve(struct impact_row *row, int64_t from_ms)
{
    row->in_service =
        xreallocarray(row->in_service, row->in_service_len + 1, sizeof(*row->in_service));
    row->in_service[row->in_service_len++] = (struct impact_interval){ from_ms, INT64_MAX };
}

/* The next status in the row's history. */
static void impact_add_status(struct impact_row *row, bool is_deployed, int64_t at_ms)
{
    struct impact_interval *last =
        row->in_service_len ? &row->in_service[row->in_service_len - 1] : NULL;
    bool is_serving = last && last->to_ms == INT64_MAX;

    if (is_deployed && !is_serving) {
        if (last && last->to_ms == at_ms)
            last->to_ms = INT64_MAX;
        else
            impact_serve(row, at_ms);
    } else if (!is_deployed && is_serving) {
        last->to_ms = at_ms;
        if (last->from_ms == at_ms) /* of the same moment the later in order of insertion counts */
            row->in_service_len--;
    }
}

/* Members of an event that comes again are those of its first row. */
static int impact_read_history(const struct atlas_view *view, struct impact_rows *rows,
                               struct err *err)
{
    AUTO(store_array_done) struct store_array crns;
    AUTO(store_result_free) PGresult *result = NULL;
    AUTO(mem_free)
    char *sql =
        xasprintf("SELECT w.place, h.status = 'deployed', h.at_ms"
                  " FROM unnest($1::text[]) WITH ORDINALITY AS w(crn, place) CROSS JOIN LATERAL"
                  " (SELECT DISTINCT ON (identity) batch_id, ordinal, event ->> 'status' AS status,"
                  "  coalesce((event ->> 'statusAtMs')::bigint,"
                  "   (extract(epoch FROM received_at) * 1000)::bigint) AS at_ms"
                  "  FROM lineage_event WHERE deployment_crn = w.crn"
                  "  AND batch_id <= %" PRId64 " ORDER BY identity, batch_id, ordinal) AS h"
                  " ORDER BY w.place, h.at_ms, h.batch_id, h.ordinal",
                  view->batch_id);
    struct store_params params = { 0 };

    store_array_init(&crns, STORE_OID_TEXT);
    for (size_t i = 0; i < rows->len; i++)
        store_array_add_text(&crns, span_of(rows->items[i].crn));
    store_param_binary(&params, store_array_end(&crns));
    result = store_query_binary(view->conn, sql, &params, "read statuses", err);
    for (int i = 0; result && i < PQntuples(result); i++)
        impact_add_status(&rows->items[store_get_i64(result, i, 0) - 1],
                          store_get_bool(result, i, 1), store_get_i64(result, i, 2));
    return result ? 0 : -1;
}

int impact_read_rows(const struct atlas_view *view, const char *name_space,
                     const struct impact_place *places, size_t len, struct impact_rows *rows,
                     struct err *err)
{
    AUTO(mem_free) char *suffix = xasprintf("@%s", name_space);
    AUTO(store_array_done) struct store_array ids;
    AUTO(store_result_free) PGresult *result = NULL;
    AUTO(buf_done) struct buf sql;
    struct store_params params = { 0 };

    *rows = (struct impact_rows){ 0 };
    store_array_init(&ids, STORE_OID_INT8);
    buf_init(&sql, SIZE_MAX);
    for (size_t i = 0; i < len; i++)
        store_array_add_i64(&ids, places[i].entity_id);
    store_param_binary(&params, store_array_end(&ids));
    store_param_text(&params, suffix);
    impact_write_rows_sql(&sql, view);
    result = store_query_params(view->conn, buf_text(&sql), &params, "read deployments", err);
    if (!result)
        return -1;
    rows->len = (size_t)PQntuples(result);
    rows->items = xcalloc(rows->len, sizeof(*rows->items));
    for (size_t i = 0; i < rows->len; i++) {
        rows->items[i].place = places[store_get_i64(result, (int)i, ROWS_PLACE) - 1];
        impact_fill_row(&rows->items[i], result, (int)i, span_of(suffix));
    }
    return impact_read_history(view, rows, err);
}
