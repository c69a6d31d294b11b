/* Relationships: those of entities that are written, and each by itself. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atlas/entity_json.h"
#include "base/map.h"
#include "base/mem.h"
#include "collector/store_entity_internal.h"
#include "collector/store_internal.h"

struct edge_columns {
    struct store_array types, end1, end2, single, attributes, guids;
    struct store_array held_types, held_ends, held_ids;
    struct map *taken; /* edges that are in, and who is at the end that can have one only */
};

static void edge_columns_init(struct edge_columns *columns)
{
    store_array_init(&columns->types, STORE_OID_TEXT);
    store_array_init(&columns->end1, STORE_OID_INT8);
    store_array_init(&columns->end2, STORE_OID_INT8);
    store_array_init(&columns->single, STORE_OID_INT8);
    store_array_init(&columns->attributes, STORE_OID_TEXT);
    store_array_init(&columns->guids, STORE_OID_UUID);
    store_array_init(&columns->held_types, STORE_OID_TEXT);
    store_array_init(&columns->held_ends, STORE_OID_INT8);
    store_array_init(&columns->held_ids, STORE_OID_INT8);
    columns->taken = map_new();
}

static void edge_columns_done(struct edge_columns *columns)
{
    store_array_done(&columns->types);
    store_array_done(&columns->end1);
    store_array_done(&columns->end2);
    store_array_done(&columns->single);
    store_array_done(&columns->attributes);
    store_array_done(&columns->guids);
    store_array_done(&columns->held_types);
    store_array_done(&columns->held_ends);
    store_array_done(&columns->held_ids);
    map_free(columns->taken);
}

/* Bit 0: the entity at the first end has at most one such relationship, bit 1: the one at the
 * second. */
static int64_t edge_single(const struct type_def *def)
{
    return (def->ends[0].cardinality == TYPE_SINGLE ? 1 : 0) |
           (def->ends[1].cardinality == TYPE_SINGLE ? 2 : 0);
}

/* The request itself may want two where there can be one. */
static int edge_check_single(struct edge_columns *columns, const struct type_def *def,
                             const int64_t ends[2], struct entity_fault *fault)
{
    AUTO(buf_done) struct buf key;
    bool added;

    buf_init(&key, SIZE_MAX);
    for (size_t end = 0; end < 2; end++) {
        uint64_t other = (uint64_t)ends[1 - end];

        if (def->ends[end].cardinality != TYPE_SINGLE)
            continue;
        buf_clear(&key);
        buf_append_fmt(&key, "s%s %zu %" PRId64, def->name, end, ends[end]);
        if (*map_put(columns->taken, buf_span(&key), other, &added) != other)
            return entity_fault_set(fault, 400, "ATLAS-400-00-029",
                                    "one %s can have one %s only, the request has two",
                                    def->ends[end].type, def->ends[end].name);
    }
    return 0;
}

/* guid: NULL, a random one. */
static int edge_columns_add(struct edge_columns *columns, const struct entity_input *input,
                            const struct entity_edge *edge, const struct uuid *guid,
                            struct entity_fault *fault)
{
    const struct type_def *def = edge->relation->relationship->def;
    int64_t ends[2];
    AUTO(buf_done) struct buf key;
    bool added;

    ends[edge->relation->end] = entity_input_node(input, edge->holder)->id;
    ends[1 - edge->relation->end] = entity_input_node(input, edge->other)->id;
    buf_init(&key, SIZE_MAX);
    buf_append_fmt(&key, "e%s %" PRId64 " %" PRId64, def->name, ends[0], ends[1]);
    (void)map_put(columns->taken, buf_span(&key), 0, &added);
    if (!added)
        return 0;
    if (edge_check_single(columns, def, ends, fault) < 0)
        return -1;
    store_array_add_text(&columns->types, span_of(def->name));
    store_array_add_i64(&columns->end1, ends[0]);
    store_array_add_i64(&columns->end2, ends[1]);
    store_array_add_i64(&columns->single, edge_single(def));
    store_array_add_json(&columns->attributes, edge->attributes);
    if (guid)
        store_array_add_uuid(&columns->guids, guid);
    else
        store_array_add_null(&columns->guids);
    return 0;
}

static int edge_columns_fill(struct edge_columns *columns, const struct entity_input *input,
                             struct entity_fault *fault)
{
    /* one that both ends tell of is added once: with its attributes, if one of them gives some */
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < input->edges_len; i++) {
            if (!input->edges[i].attributes == (pass == 1) &&
                edge_columns_add(columns, input, &input->edges[i], NULL, fault) < 0)
                return -1;
        }
    }
    for (size_t i = 0; i < input->holds_len; i++) {
        const struct entity_hold *hold = &input->holds[i];
        const struct entity_node *holder = entity_input_node(input, hold->holder);

        if (holder->is_made)
            continue;
        store_array_add_text(&columns->held_types,
                             span_of(hold->relation->relationship->def->name));
        store_array_add_i64(&columns->held_ends, (int64_t)hold->relation->end);
        store_array_add_i64(&columns->held_ids, holder->id);
    }
    return 0;
}

/* The ends of all that changed; owned. */
static PGresult *writer_put_edges(struct entity_writer *writer, struct edge_columns *columns)
{
    struct store_params params = { 0 };
    char number[24];

    if (writer_begin(writer, number) < 0)
        return NULL;
    store_param_text(&params, number);
    store_param_binary(&params, store_array_end(&columns->types));
    store_param_binary(&params, store_array_end(&columns->end1));
    store_param_binary(&params, store_array_end(&columns->end2));
    store_param_binary(&params, store_array_end(&columns->single));
    store_param_binary(&params, store_array_end(&columns->attributes));
    store_param_binary(&params, store_array_end(&columns->guids));
    store_param_binary(&params, store_array_end(&columns->held_types));
    store_param_binary(&params, store_array_end(&columns->held_ends));
    store_param_binary(&params, store_array_end(&columns->held_ids));
    store_param_text(&params, writer->user);
    return store_query_params(writer->conn,
                              "SELECT * FROM relationship_put($1, $2, $3, $4, $5, $6, $7, $8, $9,"
                              " $10, $11)",
                              &params, "write relationships", writer->err);
}

static int writer_refuse_end(struct entity_writer *writer, const char *type)
{
    return entity_fault_set(writer->fault, 403, "ATLAS-403-00-001",
                            "%s is not authorized to perform removal of %s: an event set it",
                            writer->user, type);
}

int writer_write_edges(struct entity_writer *writer, struct entity_input *input,
                       struct map *touched)
{
    struct edge_columns columns;
    AUTO(store_result_free) PGresult *result = NULL;
    bool is_any, added;
    int rc;

    edge_columns_init(&columns);
    rc = edge_columns_fill(&columns, input, writer->fault);
    is_any = columns.types.len || columns.held_types.len;
    if (rc == 0 && is_any)
        result = writer_put_edges(writer, &columns);
    edge_columns_done(&columns);
    if (rc < 0 || (is_any && !result))
        return -1;
    for (int row = 0; result && row < PQntuples(result); row++) {
        if (!PQgetisnull(result, row, 2))
            return writer_refuse_end(writer, PQgetvalue(result, row, 2));
        for (int end = 0; end < 2; end++) {
            int64_t id = store_get_i64(result, row, end);

            (void)map_put(touched, writer_key(&id), 0, &added);
        }
    }
    return 0;
}

/* ------------------------------------------------------------------------------- by themselves */

void relationship_done(struct relationship *relationship)
{
    json_decref(relationship->attributes);
    free(relationship->created_by);
    free(relationship->updated_by);
    *relationship = (struct relationship){ 0 };
}

int relationship_read(PGconn *conn, const struct type_registry *types, const struct uuid *guid,
                      struct relationship *relationship, bool *found, struct err *err)
{
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    struct span attributes;

    *relationship = (struct relationship){ 0 };
    uuid_format(guid, relationship->guid);
    store_param_text(&params, relationship->guid);
    result = store_query_params(
        conn,
        "SELECT r.relationship_id, r.type, r.end1, r.end2, r.is_deleted, r.by_client,"
        " r.attributes, r.created_by, r.updated_by,"
        " floor(extract(epoch FROM c.recorded_at) * 1000)::bigint,"
        " floor(extract(epoch FROM u.recorded_at) * 1000)::bigint FROM relationship AS r"
        " JOIN graph_batch AS c ON c.batch_id = r.created_batch"
        " JOIN graph_batch AS u ON u.batch_id = r.from_batch"
        " WHERE r.guid = $1::uuid AND r.to_batch IS NULL",
        &params, "read relationship", err);
    if (!result)
        return -1;
    *found = PQntuples(result) > 0;
    if (*found)
        relationship->type = type_by_name(types, store_get_span(result, 0, 1));
    *found = relationship->type != NULL;
    if (!*found)
        return 0;
    relationship->id = store_get_i64(result, 0, 0);
    relationship->ends[0] = store_get_i64(result, 0, 2);
    relationship->ends[1] = store_get_i64(result, 0, 3);
    relationship->is_deleted = store_get_bool(result, 0, 4);
    relationship->by_client = store_get_bool(result, 0, 5);
    attributes = store_get_span(result, 0, 6);
    if (attributes.data)
        relationship->attributes = entity_attributes_load(attributes);
    relationship->created_by = xstrdup(PQgetvalue(result, 0, 7));
    relationship->updated_by = xstrdup(PQgetvalue(result, 0, 8));
    relationship->created_ms = store_get_i64(result, 0, 9);
    relationship->updated_ms = store_get_i64(result, 0, 10);
    return 0;
}

/* The guid of the edge that is there between the two; empty: none. */
static int relationship_find(struct entity_writer *writer, const struct entity_input *input,
                             char guid[UUID_TEXT_LEN + 1])
{
    const struct entity_edge *edge = &input->edges[0];
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    char end1[24], end2[24];

    guid[0] = '\0';
    (void)snprintf(end1, sizeof(end1), "%" PRId64, entity_input_node(input, edge->holder)->id);
    (void)snprintf(end2, sizeof(end2), "%" PRId64, entity_input_node(input, edge->other)->id);
    store_param_text(&params, edge->relation->relationship->def->name);
    store_param_text(&params, end1);
    store_param_text(&params, end2);
    result =
        store_query_params(writer->conn,
                           "SELECT guid FROM relationship WHERE type = $1 AND end1 = $2::bigint"
                           " AND end2 = $3::bigint AND NOT is_deleted AND to_batch IS NULL",
                           &params, "find relationship", writer->err);
    if (result && PQntuples(result) > 0)
        (void)snprintf(guid, UUID_TEXT_LEN + 1, "%s", PQgetvalue(result, 0, 0));
    return result ? 0 : -1;
}

/* The edge is not there: makes it. */
static int relationship_put(struct entity_writer *writer, const struct entity_input *input,
                            const struct uuid *guid)
{
    struct edge_columns columns;
    AUTO(store_result_free) PGresult *result = NULL;
    int rc;

    edge_columns_init(&columns);
    rc = edge_columns_add(&columns, input, &input->edges[0], guid, writer->fault);
    if (rc == 0)
        result = writer_put_edges(writer, &columns);
    edge_columns_done(&columns);
    if (rc < 0 || !result)
        return -1;
    for (int row = 0; row < PQntuples(result); row++) {
        if (!PQgetisnull(result, row, 2))
            return writer_refuse_end(writer, PQgetvalue(result, row, 2));
    }
    return 0;
}

int relationship_make(struct entity_writer *writer, struct entity_input *input,
                      const struct uuid *guid)
{
    char there[UUID_TEXT_LEN + 1], own[UUID_TEXT_LEN + 1], ends[2][UUID_TEXT_LEN + 1];

    if (writer_resolve_nodes(writer, input) < 0 ||
        entity_input_check_relation(input, writer->fault) < 0 ||
        relationship_find(writer, input, there) < 0)
        return -1;
    uuid_format(guid, own);
    if (strcmp(there, own) == 0) /* an attempt before this one made it */
        return 0;
    if (!there[0])
        return relationship_put(writer, input, guid);
    uuid_format(&entity_input_node(input, input->edges[0].holder)->guid, ends[0]);
    uuid_format(&entity_input_node(input, input->edges[0].other)->guid, ends[1]);
    return entity_fault_set(writer->fault, 409, "ATLAS-409-00-004",
                            "relationship %s already exists between entities %s and %s",
                            input->edges[0].relation->relationship->def->name, ends[0], ends[1]);
}

int relationship_change(struct entity_writer *writer, const struct relationship *relationship,
                        const json_t *attributes)
{
    AUTO(mem_free) char *text = attributes ? json_dumps(attributes, JSON_COMPACT) : NULL;
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    char number[24], id[24];

    if (json_object_size(attributes) == json_object_size(relationship->attributes) &&
        (!json_object_size(attributes) || json_equal(attributes, relationship->attributes)))
        return 0;
    if (writer_begin(writer, number) < 0)
        return -1;
    (void)snprintf(id, sizeof(id), "%" PRId64, relationship->id);
    store_param_text(&params, number);
    store_param_text(&params, id);
    store_param_text(&params, text);
    store_param_text(&params, writer->user);
    result = store_query_params(
        writer->conn,
        "WITH old AS (UPDATE relationship SET to_batch = $1::bigint"
        " WHERE relationship_id = $2::bigint AND to_batch IS NULL RETURNING *)"
        " INSERT INTO relationship (relationship_id, from_batch, created_batch, guid, type, end1,"
        " end2, created_by, updated_by, attributes, by_client)"
        " SELECT relationship_id, $1::bigint, created_batch, guid, type, end1, end2, created_by, "
        "$4,"
        " $3::jsonb, by_client FROM old",
        &params, "change relationship", writer->err);
    return result ? 0 : -1;
}

int relationship_remove(struct entity_writer *writer, const struct relationship *relationship)
{
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    char number[24], id[24];

    if (!relationship->by_client)
        return writer_refuse_end(writer, relationship->type->def->name);
    if (writer_begin(writer, number) < 0)
        return -1;
    (void)snprintf(id, sizeof(id), "%" PRId64, relationship->id);
    store_param_text(&params, number);
    store_param_text(&params, id);
    store_param_text(&params, writer->user);
    result = store_query_params(writer->conn,
                                "SELECT relationship_end($1, array_agg(ctid), $3) FROM relationship"
                                " WHERE relationship_id = $2::bigint AND to_batch IS NULL",
                                &params, "end relationship", writer->err);
    return result ? 0 : -1;
}
