#include "collector/store_atlas_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "collector/store_internal.h"

/* ------------------------------------------------------------------------------------- the view */

void atlas_view_init(struct atlas_view *view, PGconn *conn, const struct type_registry *types,
                     int64_t batch_id)
{
    *view =
        (struct atlas_view){ .conn = conn, .types = types, .batch_id = batch_id, .parts_len = 1 };
    (void)snprintf(view->stands, sizeof(view->stands), "to_batch IS NULL");
    (void)snprintf(view->parts[0], sizeof(view->parts[0]), "to_batch IS NULL");
    if (batch_id == ATLAS_NOW)
        return;
    view->parts_len = 2;
    (void)snprintf(view->stands, sizeof(view->stands),
                   "from_batch <= %1$" PRId64 " AND (to_batch IS NULL OR to_batch > %1$" PRId64 ")",
                   batch_id);
    (void)snprintf(view->parts[0], sizeof(view->parts[0]),
                   "to_batch IS NULL AND from_batch <= %" PRId64, batch_id);
    (void)snprintf(view->parts[1], sizeof(view->parts[1]),
                   "to_batch IS NOT NULL AND to_batch > %1$" PRId64 " AND from_batch <= %1$" PRId64,
                   batch_id);
}

int atlas_find_batch(PGconn *conn, int64_t as_of_ms, int64_t *batch_id, struct err *err)
{
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    char number[24];

    *batch_id = ATLAS_NOW;
    if (as_of_ms == ATLAS_NOW)
        return 0;
    (void)snprintf(number, sizeof(number), "%" PRId64, store_clamp_ms(as_of_ms));
    store_param_text(&params, number);
    result = store_query_params(conn, "SELECT graph_batch_at($1)", &params, "find moment", err);
    if (!result)
        return -1;
    *batch_id = store_get_i64(result, 0, 0);
    return 0;
}

int atlas_find_newest(PGconn *conn, int64_t *batch_id, struct err *err)
{
    AUTO(store_result_free)
    PGresult *result =
        store_query(conn, "SELECT coalesce(max(batch_id), 0) FROM graph_batch", "find newest", err);

    if (!result)
        return -1;
    *batch_id = store_get_i64(result, 0, 0);
    return 0;
}

int atlas_begin(struct atlas_view *view, PGconn *conn, const struct type_registry *types,
                int64_t as_of_ms, int64_t *generation, struct err *err)
{
    AUTO(store_result_free) PGresult *result = NULL;
    int64_t batch_id;

    if (atlas_find_batch(conn, as_of_ms, &batch_id, err) < 0)
        return -1;
    atlas_view_init(view, conn, types, batch_id);
    result = store_query(conn,
                         "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;" ATLAS_PLANS
                         ";SELECT generation, (SELECT coalesce(max(batch_id), 0) FROM graph_batch)"
                         " FROM type_generation",
                         "read graph", err);
    if (!result)
        return -1;
    *generation = store_get_i64(result, 0, 0);
    view->newest = store_get_i64(result, 0, 1);
    return 0;
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

static int atlas_add_entity(const struct type_registry *types, const PGresult *result, int row,
                            struct entity_list *list, struct err *err)
{
    struct entity entity = { .id = store_get_i64(result, row, 0),
                             .type = type_by_name(types, store_get_span(result, row, 2)) };
    struct span attributes = store_get_span(result, row, 6);
    bool added;

    if (!entity.type)
        return 0;
    if (attributes.len > ATLAS_ATTRIBUTES_BYTES_MAX - list->bytes)
        return err_set(err, ERR_INPUT,
                       "the entities have more than %d bytes of attributes: ask for fewer at a "
                       "time, or with minExtInfo=true",
                       ATLAS_ATTRIBUTES_BYTES_MAX);
    (void)map_put(list->places, entity_list_key(&entity.id), list->len, &added);
    if (!added)
        return 0;
    list->bytes += attributes.len;
    (void)snprintf(entity.guid, sizeof(entity.guid), "%s", PQgetvalue(result, row, 1));
    if (entity_has_name(entity.type))
        entity.qualified_name = xstrdup(PQgetvalue(result, row, 3));
    entity.created_by = xstrdup(PQgetvalue(result, row, 4));
    entity.updated_by = xstrdup(PQgetvalue(result, row, 5));
    entity.attributes = entity_attributes_load(attributes);
    entity.created_ms = store_get_i64(result, row, 7);
    entity.updated_ms = store_get_i64(result, row, 8);
    entity.is_deleted = store_get_bool(result, row, 9);
    entity.is_incomplete = store_get_bool(result, row, 10);
    list->items = xreallocarray(list->items, list->len + 1, sizeof(*list->items));
    list->items[list->len++] = entity;
    return 0;
}

/* Ends what the server sends: nobody wants the rest. */
static void atlas_stop(PGconn *conn)
{
    PGcancel *cancel = PQgetCancel(conn);
    char text[128];

    (void)PQcancel(cancel, text, sizeof(text));
    PQfreeCancel(cancel);
}

/* The rows one by one, so that no more of them is in memory than what is kept. */
static int atlas_take_entities(const struct atlas_view *view, struct entity_list *list,
                               struct err *err)
{
    PGresult *result;
    int rc = 0;

    (void)PQsetSingleRowMode(view->conn);
    while ((result = PQgetResult(view->conn))) {
        ExecStatusType status = PQresultStatus(result);

        if (rc == 0 && status == PGRES_SINGLE_TUPLE) {
            rc = atlas_add_entity(view->types, result, 0, list, err);
            if (rc < 0)
                atlas_stop(view->conn);
        } else if (rc == 0 && status != PGRES_TUPLES_OK) {
            rc = store_fail(view->conn, result, "read entities", err);
        }
        PQclear(result);
    }
    return rc;
}

/* Of the entities that `condition`, of the version `e`, is true of. Times are cut to milliseconds:
 * as_of of a time shown shows what it tells of. */
static int atlas_read_entities(const struct atlas_view *view, const char *attributes,
                               const char *condition, const struct store_params *params,
                               struct entity_list *list, struct err *err)
{
    AUTO(mem_free)
    char *sql = xasprintf(
        "SELECT e.entity_id, e.guid, e.type, entity_name(e.qualified_name, e.attributes),"
        " e.created_by, e.updated_by,"
        " %s, floor(extract(epoch FROM c.recorded_at) * 1000)::bigint,"
        " floor(extract(epoch FROM u.recorded_at) * 1000)::bigint, e.is_deleted, e.is_incomplete"
        " FROM entity AS e JOIN graph_batch AS c ON c.batch_id = e.created_batch"
        " JOIN graph_batch AS u ON u.batch_id = e.from_batch WHERE %s AND %s",
        attributes, view->stands, condition);

    if (PQsendQueryParams(view->conn, sql, params->len, NULL, params->values, params->lengths,
                          params->formats, 0) != 1)
        return store_fail(view->conn, NULL, "read entities", err);
    return atlas_take_entities(view, list, err);
}

int atlas_read_guid(const struct atlas_view *view, const struct uuid *guid,
                    struct entity_list *list, struct err *err)
{
    struct store_params params = { 0 };
    char text[UUID_TEXT_LEN + 1];

    uuid_format(guid, text);
    store_param_text(&params, text);
    /* all versions have it */
    return atlas_read_entities(view, "e.attributes",
                               "e.entity_id = (SELECT entity_id FROM entity"
                               " WHERE guid = $1::uuid AND to_batch IS NULL)",
                               &params, list, err);
}

/* The place of the first guid that no entity of the list has. */
static size_t atlas_find_missing(const struct entity_list *list, const struct uuid *guids,
                                 size_t len)
{
    AUTO(map_free) struct map *known = map_new();
    bool added;

    for (size_t i = 0; i < list->len; i++)
        (void)map_put(known, span_of(list->items[i].guid), 0, &added);
    for (size_t i = 0; i < len; i++) {
        char text[UUID_TEXT_LEN + 1];

        uuid_format(&guids[i], text);
        if (!map_get(known, span_of(text)))
            return i;
    }
    return len;
}

int atlas_read_guids(const struct atlas_view *view, const struct uuid *guids, size_t len,
                     struct entity_list *list, size_t *missing, struct err *err)
{
    AUTO(store_array_done) struct store_array array;
    struct store_params params = { 0 };

    store_array_init(&array, STORE_OID_UUID);
    for (size_t i = 0; i < len; i++)
        store_array_add_uuid(&array, &guids[i]);
    store_param_binary(&params, store_array_end(&array));
    if (atlas_read_entities(view, "'{}'::jsonb",
                            "e.entity_id = ANY (ARRAY (SELECT entity_id FROM entity"
                            " WHERE guid = ANY ($1) AND to_batch IS NULL)) ORDER BY e.entity_id",
                            &params, list, err) < 0)
        return -1;
    *missing = atlas_find_missing(list, guids, len);
    return 0;
}

/* Of the entities that had this name at that moment the first. Owned. */
static char *atlas_name_condition(const struct atlas_view *view)
{
    AUTO(buf_done) struct buf sql;

    buf_init(&sql, SIZE_MAX);
    buf_append_text(&sql, "e.entity_id = (SELECT min(entity_id) FROM (");
    for (size_t i = 0; i < view->parts_len; i++)
        buf_append_fmt(&sql,
                       "%sSELECT entity_id FROM entity WHERE NOT is_deleted AND %s"
                       " AND type = ANY ($1) AND qualified_name = entity_key($2)",
                       i ? " UNION ALL " : "", view->parts[i]);
    buf_append_text(&sql, ") AS named)");
    return xstrdup(buf_text(&sql));
}

int atlas_read_name(const struct atlas_view *view, const struct type *type,
                    struct span qualified_name, struct entity_list *list, struct err *err)
{
    AUTO(store_array_done) struct store_array kinds;
    AUTO(mem_free) char *name = xmemdup0(qualified_name.data, qualified_name.len);
    AUTO(mem_free) char *condition = atlas_name_condition(view);
    struct store_params params = { 0 };

    store_array_init(&kinds, STORE_OID_TEXT);
    store_array_add_text(&kinds, span_of(type->def->name));
    for (size_t i = 0; i < type->sub_types.len; i++)
        store_array_add_text(&kinds, span_of(type->sub_types.items[i]->def->name));
    store_param_binary(&params, store_array_end(&kinds));
    store_param_text(&params, name);
    return atlas_read_entities(view, "e.attributes", condition, &params, list, err);
}

static int atlas_read_some(const struct atlas_view *view, const char *attributes,
                           const int64_t *ids, size_t len, struct entity_list *list,
                           struct err *err)
{
    AUTO(store_array_done) struct store_array array;
    struct store_params params = { 0 };

    store_array_init(&array, STORE_OID_INT8);
    for (size_t i = 0; i < len; i++)
        store_array_add_i64(&array, ids[i]);
    store_param_binary(&params, store_array_end(&array));
    return atlas_read_entities(view, attributes, "e.entity_id = ANY ($1) ORDER BY e.entity_id",
                               &params, list, err);
}

int atlas_read_ids(const struct atlas_view *view, const int64_t *ids, size_t len,
                   struct entity_list *list, struct err *err)
{
    return atlas_read_some(view, "e.attributes", ids, len, list, err);
}

int atlas_read_ends(const struct atlas_view *view, const int64_t *ids, size_t len,
                    struct entity_list *list, struct err *err)
{
    return atlas_read_some(view,
                           "jsonb_strip_nulls(jsonb_build_object('name', e.attributes -> 'name',"
                           " 'displayName', e.attributes -> 'displayName'))",
                           ids, len, list, err);
}

/* -------------------------------------------------------------------------------------- headers */

enum { HEADERS_AT_ONCE = 1000 };

enum headers_column {
    HEADERS_ID,
    HEADERS_GUID,
    HEADERS_TYPE,
    HEADERS_QUALIFIED_NAME,
    HEADERS_IS_DELETED,
    HEADERS_IS_INCOMPLETE,
    HEADERS_NAME,
    HEADERS_DISPLAY_NAME,
    HEADERS_DESCRIPTION,
    HEADERS_OWNER,
    HEADERS_CREATE_TIME
};

/* Where ids stand in the list, by id. */
struct atlas_places {
    size_t len;
    struct {
        int64_t id;
        size_t place;
    } items[HEADERS_AT_ONCE];
};

static int places_compare(const void *a, const void *b)
{
    const int64_t *one = a, *two = b; /* the first members */

    return (*one > *two) - (*one < *two);
}

/* Asks for the next ids, if there are any. */
static int atlas_headers_ask(struct atlas_headers *headers, struct err *err)
{
    PGconn *conn = headers->view->conn;
    struct atlas_places *places = headers->next;
    AUTO(store_array_done) struct store_array ids;
    struct store_params params = { 0 };

    store_array_init(&ids, STORE_OID_INT8);
    for (places->len = 0; places->len < HEADERS_AT_ONCE && headers->asked < headers->len;
         places->len++) {
        places->items[places->len].id = headers->ids[headers->asked];
        places->items[places->len].place = headers->asked++;
    }
    if (places->len == 0)
        return 0;
    qsort(places->items, places->len, sizeof(*places->items), places_compare);
    for (size_t i = 0; i < places->len; i++)
        store_array_add_i64(&ids, places->items[i].id);
    store_param_binary(&params, store_array_end(&ids));
    if (PQsendQueryParams(conn, headers->sql, params.len, NULL, params.values, params.lengths,
                          params.formats, 1) != 1)
        return store_fail(conn, NULL, "read headers", err);
    return 0;
}

int atlas_headers_open(struct atlas_headers *headers, const struct atlas_view *view,
                       const int64_t *ids, size_t len, struct err *err)
{
    *headers = (struct atlas_headers){ .view = view, .ids = ids, .len = len };
    headers->places = xcalloc(1, sizeof(*headers->places));
    headers->next = xcalloc(1, sizeof(*headers->next));
    headers->sql =
        xasprintf("SELECT entity_id, guid, type, entity_name(qualified_name, attributes),"
                  " is_deleted,"
                  " is_incomplete, (attributes -> 'name')::text,"
                  " (attributes -> 'displayName')::text,"
                  " (attributes -> 'description')::text,"
                  " (attributes -> 'owner')::text, (attributes -> 'createTime')::text"
                  " FROM entity WHERE entity_id = ANY ($1) AND %s ORDER BY entity_id",
                  view->stands);
    return atlas_headers_ask(headers, err);
}

int atlas_headers_next(struct atlas_headers *headers, struct err *err)
{
    PGconn *conn = headers->view->conn;
    struct atlas_places *places = headers->places;
    PGresult *rest;

    PQclear(TAKE(headers->rows));
    headers->rows = PQgetResult(conn);
    if (!headers->rows)
        return 0;
    while ((rest = PQgetResult(conn)))
        PQclear(rest);
    if (PQresultStatus(headers->rows) != PGRES_TUPLES_OK)
        return store_fail(conn, headers->rows, "read headers", err);
    headers->places = headers->next;
    headers->next = places;
    return atlas_headers_ask(headers, err) < 0 ? -1 : 1;
}

size_t atlas_headers_get(const struct atlas_headers *headers, int row, struct entity_header *header)
{
    const PGresult *rows = headers->rows;
    int64_t id = store_get_i64(rows, row, HEADERS_ID);
    const struct atlas_places *places = headers->places;
    size_t low = 0, high = places->len;
    struct uuid guid;

    *header = (struct entity_header){
        .type = type_by_name(headers->view->types, store_get_span(rows, row, HEADERS_TYPE)),
        .qualified_name = store_get_span(rows, row, HEADERS_QUALIFIED_NAME),
        .name = store_get_span(rows, row, HEADERS_NAME),
        .display_name = store_get_span(rows, row, HEADERS_DISPLAY_NAME),
        .description = store_get_span(rows, row, HEADERS_DESCRIPTION),
        .owner = store_get_span(rows, row, HEADERS_OWNER),
        .create_time = store_get_span(rows, row, HEADERS_CREATE_TIME),
        .is_deleted = store_get_bool(rows, row, HEADERS_IS_DELETED),
        .is_incomplete = store_get_bool(rows, row, HEADERS_IS_INCOMPLETE),
    };
    if (header->type && !entity_has_name(header->type))
        header->qualified_name = (struct span){ 0 };
    memcpy(guid.bytes, PQgetvalue(rows, row, HEADERS_GUID), sizeof(guid.bytes));
    uuid_format(&guid, header->guid);
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;

        if (places->items[middle].id <= id)
            low = middle;
        else
            high = middle;
    }
    return places->items[low].place;
}

void atlas_headers_done(struct atlas_headers *headers)
{
    PGresult *rest;

    PQclear(headers->rows);
    while (headers->view && (rest = PQgetResult(headers->view->conn)))
        PQclear(rest);
    free(headers->sql);
    free(headers->places);
    free(headers->next);
    *headers = (struct atlas_headers){ 0 };
}

/* -------------------------------------------------------------------------------- relationships */

void atlas_links_done(struct atlas_links *links)
{
    for (size_t i = 0; i < links->len; i++)
        json_decref(links->items[i].attributes);
    free(links->items);
    *links = (struct atlas_links){ 0 };
}

static void atlas_write_links(struct buf *sql, const struct atlas_view *view)
{
    for (size_t i = 0; i < view->parts_len; i++)
        buf_append_fmt(sql,
                       "%1$sSELECT type, 0, end1, end2, guid, is_deleted, relationship_id,"
                       " attributes"
                       " FROM relationship WHERE %2$s AND end1 = ANY ($1)"
                       " UNION ALL"
                       " SELECT type, 1, end2, end1, guid, is_deleted, relationship_id,"
                       " attributes"
                       " FROM relationship WHERE %2$s AND end2 = ANY ($1)",
                       i ? " UNION ALL " : "", view->parts[i]);
    buf_append_text(sql, " ORDER BY 7, 2 LIMIT $2::bigint");
}

int atlas_read_links(const struct atlas_view *view, const int64_t *ids, size_t len, size_t max,
                     struct atlas_links *links, struct err *err)
{
    AUTO(store_array_done) struct store_array array;
    AUTO(store_result_free) PGresult *result = NULL;
    AUTO(buf_done) struct buf sql;
    struct store_params params = { 0 };
    char limit[24];

    store_array_init(&array, STORE_OID_INT8);
    buf_init(&sql, SIZE_MAX);
    for (size_t i = 0; i < len; i++)
        store_array_add_i64(&array, ids[i]);
    (void)snprintf(limit, sizeof(limit), "%zu", max);
    store_param_binary(&params, store_array_end(&array));
    store_param_text(&params, limit);
    atlas_write_links(&sql, view);
    result = store_query_params(view->conn, buf_text(&sql), &params, "read relationships", err);
    for (int row = 0; result && row < PQntuples(result); row++) {
        struct atlas_link link = { .relationship =
                                       type_by_name(view->types, store_get_span(result, row, 0)),
                                   .end = (size_t)store_get_i64(result, row, 1),
                                   .entity_id = store_get_i64(result, row, 2),
                                   .other_id = store_get_i64(result, row, 3),
                                   .is_deleted = store_get_bool(result, row, 5) };

        if (!link.relationship)
            continue;
        (void)snprintf(link.guid, sizeof(link.guid), "%s", PQgetvalue(result, row, 4));
        if (!PQgetisnull(result, row, 7))
            link.attributes = entity_attributes_load(store_get_span(result, row, 7));
        links->items = xreallocarray(links->items, links->len + 1, sizeof(*links->items));
        links->items[links->len++] = link;
    }
    return result ? 0 : -1;
}

void atlas_write_edges(struct buf *sql, const struct atlas_view *view,
                       const struct walk_frontier *frontier, const char *columns)
{
    bool is_inputs = (frontier->direction == WALK_INPUT) == frontier->is_process;

    for (size_t i = 0; i < view->parts_len; i++)
        buf_append_fmt(sql,
                       "%sSELECT %s FROM relationship WHERE %s AND type = '%s' AND %s = ANY ($1)",
                       i ? " UNION ALL " : "", columns, view->parts[i],
                       is_inputs ? "dataset_process_inputs" : "process_dataset_outputs",
                       frontier->is_process ? "end1" : "end2");
}

/* The same, of each entity so many as $3 says. */
static void atlas_write_edges_of_each(struct buf *sql, const struct atlas_view *view,
                                      const struct walk_frontier *frontier, const char *columns)
{
    bool is_inputs = (frontier->direction == WALK_INPUT) == frontier->is_process;

    buf_append_text(sql, "SELECT e.* FROM unnest($1::bigint[], $3::bigint[]) AS f(id, most)"
                         " CROSS JOIN LATERAL (");
    for (size_t i = 0; i < view->parts_len; i++)
        buf_append_fmt(sql, "%sSELECT %s FROM relationship WHERE %s AND type = '%s' AND %s = f.id",
                       i ? " UNION ALL " : "", columns, view->parts[i],
                       is_inputs ? "dataset_process_inputs" : "process_dataset_outputs",
                       frontier->is_process ? "end1" : "end2");
    buf_append_text(sql, " ORDER BY relationship_id LIMIT f.most) AS e");
}

int atlas_walk_step(void *ctx, const struct walk_frontier *frontier, struct walk *walk,
                    struct err *err)
{
    const struct atlas_view *view = ctx;
    bool is_inputs = (frontier->direction == WALK_INPUT) == frontier->is_process;
    const char *columns =
        is_inputs ? "relationship_id, end2, end1, guid" : "relationship_id, end1, end2, guid";
    AUTO(store_array_done) struct store_array array, most;
    AUTO(store_result_free) PGresult *result = NULL;
    AUTO(buf_done) struct buf sql;
    struct store_params params = { 0 };
    char limit[24];

    store_array_init(&array, STORE_OID_INT8);
    store_array_init(&most, STORE_OID_INT8);
    buf_init(&sql, SIZE_MAX);
    for (size_t i = 0; i < frontier->len; i++)
        store_array_add_i64(&array, frontier->ids[i]);
    for (size_t i = 0; frontier->each_max && i < frontier->len; i++)
        store_array_add_i64(&most, frontier->each_max[i] < frontier->edges_max
                                       ? (int64_t)frontier->each_max[i]
                                       : (int64_t)frontier->edges_max);
    (void)snprintf(limit, sizeof(limit), "%zu", frontier->edges_max);
    store_param_binary(&params, store_array_end(&array));
    store_param_text(&params, limit);
    if (frontier->each_max) {
        store_param_binary(&params, store_array_end(&most));
        atlas_write_edges_of_each(&sql, view, frontier, columns);
    } else {
        atlas_write_edges(&sql, view, frontier, columns);
    }
    buf_append_text(&sql, " ORDER BY relationship_id LIMIT $2::bigint");
    result = store_query_binary(view->conn, buf_text(&sql), &params, "walk", err);
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
