#include "collector/store_audit_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "collector/store_internal.h"

/* Batches have the order of time. */
static const char *audit_order_sql(const struct audit_request *request)
{
    switch (request->order) {
    case AUDIT_BY_USER:
        return request->is_ascending
                   ? "a.user_name COLLATE \"C\", a.batch_id DESC, a.action, a.subject"
                   : "a.user_name COLLATE \"C\" DESC, a.batch_id DESC, a.action, a.subject";
    case AUDIT_BY_ACTION:
        return request->is_ascending ? "a.action, a.batch_id DESC, a.subject"
                                     : "a.action DESC, a.batch_id DESC, a.subject";
    default:
        return request->is_ascending ? "a.batch_id, a.action, a.subject"
                                     : "a.batch_id DESC, a.action, a.subject";
    }
}

/* What the classification was made then. */
static void audit_read_classification(const PGresult *rows, int row,
                                      const struct audit_request *request,
                                      struct classification *classification)
{
    struct span attributes = store_get_span(rows, row, 12), periods = store_get_span(rows, row, 13);
    const struct type *type = type_by_name(request->types, store_get_span(rows, row, 11));

    if (!attributes.data || !type)
        return;
    *classification =
        (struct classification){ .type = type,
                                 .attributes = json_loadb(attributes.data, attributes.len, 0, NULL),
                                 .propagates = store_get_bool(rows, row, 14),
                                 .removes_propagations = store_get_bool(rows, row, 15),
                                 .is_restricted = store_get_bool(rows, row, 16) };
    if (periods.data)
        classification->periods = json_loadb(periods.data, periods.len, 0, NULL);
}

static int audit_give(const struct store_cursor *cursor, const struct audit_request *request,
                      audit_found *found, void *ctx, struct err *err)
{
    const PGresult *rows = cursor->rows;
    int row = cursor->row;
    struct span attributes = store_get_span(rows, row, 8);
    struct entity entity = { .id = request->entity->id,
                             .type = request->entity->type,
                             .qualified_name = entity_has_name(request->entity->type)
                                                   ? PQgetvalue(rows, row, 4)
                                                   : NULL,
                             .created_by = PQgetvalue(rows, row, 5),
                             .updated_by = PQgetvalue(rows, row, 1),
                             .created_ms = store_get_i64(rows, row, 6),
                             .updated_ms = store_get_i64(rows, row, 7),
                             .is_deleted = store_get_bool(rows, row, 9),
                             .is_incomplete = store_get_bool(rows, row, 10) };
    struct audit_event event = { .action = PQgetvalue(rows, row, 0),
                                 .user = PQgetvalue(rows, row, 1),
                                 .recorded_ms = store_get_i64(rows, row, 2),
                                 .batch_id = store_get_i64(rows, row, 3),
                                 .entity = &entity,
                                 .subject = PQgetvalue(rows, row, 11) };
    AUTO(classification_done) struct classification classification = { 0 };
    int rc;

    memcpy(entity.guid, request->entity->guid, sizeof(entity.guid));
    entity.attributes = entity_attributes_load(attributes);
    audit_read_classification(rows, row, request, &classification);
    if (classification.type)
        event.classification = &classification;
    rc = found(ctx, &event, err);
    json_decref(entity.attributes);
    return rc;
}

int store_audit_read(PGconn *conn, const struct audit_request *request, audit_found *found,
                     void *ctx, struct err *err)
{
    AUTO(mem_free)
    char *sql = xasprintf(
        "SELECT a.action, a.user_name, floor(extract(epoch FROM b.recorded_at) * 1000)::bigint,"
        " a.batch_id, entity_name(e.qualified_name, e.attributes), e.created_by,"
        " floor(extract(epoch FROM c.recorded_at) * 1000)::bigint,"
        " floor(extract(epoch FROM u.recorded_at) * 1000)::bigint, e.attributes::text,"
        " e.is_deleted, e.is_incomplete, a.subject, t.attributes::text, t.periods::text,"
        " t.propagates, t.removes_propagations, t.is_restricted"
        " FROM entity_audit AS a JOIN graph_batch AS b ON b.batch_id = a.batch_id"
        " JOIN entity AS e ON e.entity_id = a.entity_id AND e.from_batch <= a.batch_id"
        " AND (e.to_batch IS NULL OR e.to_batch > a.batch_id)"
        " JOIN graph_batch AS c ON c.batch_id = e.created_batch"
        " JOIN graph_batch AS u ON u.batch_id = e.from_batch"
        " LEFT JOIN classification AS t ON t.entity_id = a.entity_id AND t.type = a.subject"
        " AND t.from_batch = a.batch_id"
        " WHERE a.entity_id = %" PRId64 " AND a.batch_id BETWEEN %" PRId64 " AND %" PRId64
        " AND ($1::text IS NULL OR a.action = $1) ORDER BY %s LIMIT %" PRId64 " OFFSET %" PRId64,
        request->entity->id, request->batch_min, request->batch_max, audit_order_sql(request),
        request->limit, request->offset);
    AUTO(store_cursor_done) struct store_cursor cursor = { 0 };
    struct store_params params = { 0 };
    int rc;

    store_param_text(&params, request->action);
    if (store_cursor_open(&cursor, conn, "audit", sql, &params, err) < 0)
        return -1;
    while ((rc = store_cursor_next(&cursor, err)) > 0) {
        if (audit_give(&cursor, request, found, ctx, err) < 0)
            return -1;
    }
    return rc;
}

static int audit_count(PGconn *conn, const char *sql, audit_counted *counted, void *ctx,
                       struct err *err)
{
    AUTO(store_result_free) PGresult *result = store_query(conn, sql, "count entities", err);

    for (int row = 0; result && row < PQntuples(result); row++)
        counted(ctx, PQgetvalue(result, row, 0), store_get_bool(result, row, 1),
                store_get_i64(result, row, 2));
    return result ? 0 : -1;
}

int store_audit_count(PGconn *conn, audit_counted *counted, void *ctx, struct err *err)
{
    return audit_count(conn,
                       "SELECT type, is_deleted, count(*) FROM entity"
                       " WHERE to_batch IS NULL GROUP BY 1, 2 ORDER BY 1, 2",
                       counted, ctx, err);
}

int store_audit_count_tags(PGconn *conn, audit_counted *counted, void *ctx, struct err *err)
{
    return audit_count(conn,
                       "SELECT c.type, e.is_deleted, count(*) FROM classification AS c"
                       " CROSS JOIN LATERAL (SELECT is_deleted FROM entity"
                       "  WHERE entity_id = c.entity_id AND to_batch IS NULL) AS e"
                       " WHERE c.to_batch IS NULL GROUP BY 1, 2 ORDER BY 1, 2",
                       counted, ctx, err);
}
