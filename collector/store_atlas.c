#include "collector/store_atlas_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "collector/store_internal.h"

#define ATLAS_ENTITY_SQL                                                                           \
    "SELECT e.entity_id, e.guid, e.type, e.qualified_name, e.created_by, e.updated_by,"            \
    " e.attributes, (extract(epoch FROM c.recorded_at) * 1000)::bigint,"                           \
    " (extract(epoch FROM u.recorded_at) * 1000)::bigint, e.is_deleted, e.is_incomplete"           \
    " FROM entity AS e JOIN graph_batch AS c ON c.batch_id = e.created_batch"                      \
    " JOIN graph_batch AS u ON u.batch_id = e.from_batch WHERE e.to_batch IS NULL AND "

int atlas_begin(PGconn *conn, struct err *err)
{
    /* look-ups by keys, all of them */
    return store_exec(conn,
                      "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
                      "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off;"
                      "SET LOCAL enable_mergejoin = off;"
                      "SET LOCAL max_parallel_workers_per_gather = 0",
                      "read graph", err);
}

/* ------------------------------------------------------------------------------------- entities */

static struct span entity_list_key(const int64_t *id)
{
    return (struct span){ (const char *)id, sizeof(*id) };
}

void entity_list_init(struct entity_list *list)
{
    *list = (struct entity_list){ .places = map_new() };
}

void entity_list_done(struct entity_list *list)
{
    for (size_t i = 0; i < list->len; i++)
        entity_done(&list->items[i]);
    free(list->items);
    map_free(list->places);
    *list = (struct entity_list){ 0 };
}

const struct entity *entity_list_find(const struct entity_list *list, int64_t id)
{
    const uint64_t *place = map_get(list->places, entity_list_key(&id));

    return place ? &list->items[*place] : NULL;
}

static void atlas_add_entity(const struct type_registry *types, const PGresult *result, int row,
                             struct entity_list *list)
{
    struct entity entity = { .id = store_get_i64(result, row, 0),
                             .type = type_by_name(types, store_get_span(result, row, 2)) };
    bool added;

    if (!entity.type)
        return;
    (void)map_put(list->places, entity_list_key(&entity.id), list->len, &added);
    if (!added)
        return;
    (void)snprintf(entity.guid, sizeof(entity.guid), "%s", PQgetvalue(result, row, 1));
    entity.qualified_name = xstrdup(PQgetvalue(result, row, 3));
    entity.created_by = xstrdup(PQgetvalue(result, row, 4));
    entity.updated_by = xstrdup(PQgetvalue(result, row, 5));
    entity.attributes = json_loads(PQgetvalue(result, row, 6), 0, NULL);
    entity.created_ms = store_get_i64(result, row, 7);
    entity.updated_ms = store_get_i64(result, row, 8);
    entity.is_deleted = store_get_bool(result, row, 9);
    entity.is_incomplete = store_get_bool(result, row, 10);
    list->items = xreallocarray(list->items, list->len + 1, sizeof(*list->items));
    list->items[list->len++] = entity;
}

/* `sql` has its condition behind ATLAS_ENTITY_SQL. */
static int atlas_read_entities(PGconn *conn, const struct type_registry *types, const char *sql,
                               const struct store_params *params, struct entity_list *list,
                               struct err *err)
{
    AUTO(store_result_free)
    PGresult *result = store_query_params(conn, sql, params, "read entities", err);

    for (int row = 0; result && row < PQntuples(result); row++)
        atlas_add_entity(types, result, row, list);
    return result ? 0 : -1;
}

int atlas_read_guid(PGconn *conn, const struct type_registry *types, const struct uuid *guid,
                    struct entity_list *list, struct err *err)
{
    struct store_params params = { 0 };
    char text[UUID_TEXT_LEN + 1];

    uuid_format(guid, text);
    store_param_text(&params, text);
    return atlas_read_entities(conn, types, ATLAS_ENTITY_SQL "e.guid = $1::uuid", &params, list,
                               err);
}

int atlas_read_name(PGconn *conn, const struct type_registry *types, const struct type *type,
                    struct span qualified_name, struct entity_list *list, struct err *err)
{
    AUTO(store_array_done) struct store_array names, kinds;
    struct store_params params = { 0 };

    store_array_init(&kinds, STORE_OID_TEXT);
    store_array_init(&names, STORE_OID_TEXT);
    store_array_add_text(&kinds, span_of(type->def->name));
    for (size_t i = 0; i < type->sub_types.len; i++)
        store_array_add_text(&kinds, span_of(type->sub_types.items[i]->def->name));
    store_array_add_text(&names, qualified_name);
    store_param_binary(&params, store_array_end(&kinds));
    store_param_binary(&params, store_array_end(&names));
    return atlas_read_entities(conn, types,
                               ATLAS_ENTITY_SQL "NOT e.is_deleted AND e.type = ANY ($1)"
                                                " AND e.qualified_name = ANY ($2)"
                                                " ORDER BY e.entity_id LIMIT 1",
                               &params, list, err);
}

int atlas_read_ids(PGconn *conn, const struct type_registry *types, const int64_t *ids, size_t len,
                   struct entity_list *list, struct err *err)
{
    AUTO(store_array_done) struct store_array array;
    struct store_params params = { 0 };

    store_array_init(&array, STORE_OID_INT8);
    for (size_t i = 0; i < len; i++)
        store_array_add_i64(&array, ids[i]);
    store_param_binary(&params, store_array_end(&array));
    return atlas_read_entities(conn, types,
                               ATLAS_ENTITY_SQL "e.entity_id = ANY ($1) ORDER BY e.entity_id",
                               &params, list, err);
}

/* -------------------------------------------------------------------------------- relationships */

int atlas_read_links(PGconn *conn, const struct type_registry *types, const int64_t *ids,
                     size_t len, size_t max, struct atlas_links *links, struct err *err)
{
    AUTO(store_array_done) struct store_array array;
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    char limit[24];

    store_array_init(&array, STORE_OID_INT8);
    for (size_t i = 0; i < len; i++)
        store_array_add_i64(&array, ids[i]);
    (void)snprintf(limit, sizeof(limit), "%zu", max);
    store_param_binary(&params, store_array_end(&array));
    store_param_text(&params, limit);
    result = store_query_params(conn,
                                "SELECT type, 0, end1, end2, guid, is_deleted, relationship_id"
                                " FROM relationship WHERE to_batch IS NULL AND end1 = ANY ($1)"
                                " UNION ALL"
                                " SELECT type, 1, end2, end1, guid, is_deleted, relationship_id"
                                " FROM relationship WHERE to_batch IS NULL AND end2 = ANY ($1)"
                                " ORDER BY 7, 2 LIMIT $2::bigint",
                                &params, "read relationships", err);
    for (int row = 0; result && row < PQntuples(result); row++) {
        struct atlas_link link = { .relationship =
                                       type_by_name(types, store_get_span(result, row, 0)),
                                   .end = (size_t)store_get_i64(result, row, 1),
                                   .entity_id = store_get_i64(result, row, 2),
                                   .other_id = store_get_i64(result, row, 3),
                                   .is_deleted = store_get_bool(result, row, 5) };

        if (!link.relationship)
            continue;
        (void)snprintf(link.guid, sizeof(link.guid), "%s", PQgetvalue(result, row, 4));
        links->items = xreallocarray(links->items, links->len + 1, sizeof(*links->items));
        links->items[links->len++] = link;
    }
    return result ? 0 : -1;
}

/* Processes are the first end of both kinds of edges: inputs flow to them, outputs from them. */
static const char *atlas_walk_sql(const struct walk_frontier *frontier)
{
    bool is_upstream = frontier->direction == WALK_INPUT;

    if (is_upstream == frontier->is_process) /* between processes and what they read */
        return frontier->is_process
                   ? "SELECT relationship_id, end2, end1, guid FROM relationship"
                     " WHERE to_batch IS NULL AND type = 'dataset_process_inputs'"
                     " AND end1 = ANY ($1) ORDER BY relationship_id LIMIT $2::bigint"
                   : "SELECT relationship_id, end2, end1, guid FROM relationship"
                     " WHERE to_batch IS NULL AND type = 'dataset_process_inputs'"
                     " AND end2 = ANY ($1) ORDER BY relationship_id LIMIT $2::bigint";
    return frontier->is_process ? "SELECT relationship_id, end1, end2, guid FROM relationship"
                                  " WHERE to_batch IS NULL AND type = 'process_dataset_outputs'"
                                  " AND end1 = ANY ($1) ORDER BY relationship_id LIMIT $2::bigint"
                                : "SELECT relationship_id, end1, end2, guid FROM relationship"
                                  " WHERE to_batch IS NULL AND type = 'process_dataset_outputs'"
                                  " AND end2 = ANY ($1) ORDER BY relationship_id LIMIT $2::bigint";
}

int atlas_walk_step(void *ctx, const struct walk_frontier *frontier, struct walk *walk,
                    struct err *err)
{
    AUTO(store_array_done) struct store_array array;
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    char limit[24];

    store_array_init(&array, STORE_OID_INT8);
    for (size_t i = 0; i < frontier->len; i++)
        store_array_add_i64(&array, frontier->ids[i]);
    (void)snprintf(limit, sizeof(limit), "%zu", frontier->edges_max);
    store_param_binary(&params, store_array_end(&array));
    store_param_text(&params, limit);
    result = store_query_binary(ctx, atlas_walk_sql(frontier), &params, "walk", err);
    for (int row = 0; result && row < PQntuples(result); row++) {
        struct span guid = store_get_span(result, row, 3);
        struct walk_edge edge = { .id = store_get_i64(result, row, 0),
                                  .from = store_get_i64(result, row, 1),
                                  .to = store_get_i64(result, row, 2) };

        memcpy(edge.guid.bytes, guid.data, sizeof(edge.guid.bytes)); /* not null, by the table */
        walk_edge_add(walk, &edge);
    }
    return result ? 0 : -1;
}
