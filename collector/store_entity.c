#include "collector/store_entity_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atlas/entity_json.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "collector/store_graph_batch_internal.h"
#include "collector/store_internal.h"
#include "collector/store_tags_internal.h"

void entity_changes_done(struct entity_changes *changes)
{
    for (int i = 0; i < ENTITY_CHANGES; i++)
        free(changes->ids[i]);
    *changes = (struct entity_changes){ 0 };
}

static void entity_changes_add(struct entity_changes *changes, enum entity_change change,
                               int64_t id)
{
    size_t len = changes->len[change];

    if ((len & (len - 1)) == 0)
        changes->ids[change] =
            xreallocarray(changes->ids[change], len ? 2 * len : 1, sizeof(int64_t));
    changes->ids[change][changes->len[change]++] = id;
}

int entity_begin(PGconn *conn, int64_t wait_ms_max, struct err *err)
{
    char sql[256];

    (void)snprintf(sql, sizeof(sql),
                   "BEGIN; SET LOCAL enable_seqscan = off; SET LOCAL enable_mergejoin = off;"
                   " SET LOCAL lock_timeout = %" PRId64
                   "; SELECT pg_advisory_xact_lock(%d, %d); SET LOCAL lock_timeout = 0",
                   wait_ms_max, STORE_LOCK_CLASS, STORE_LOCK_GRAPH);
    return store_exec(conn, sql, "lock graph", err);
}

int writer_begin(struct entity_writer *writer, char number[24])
{
    if (!writer->batch_id && graph_batch_number(writer->conn, &writer->batch_id, writer->err) < 0)
        return -1;
    (void)snprintf(number, 24, "%" PRId64, writer->batch_id);
    return 0;
}

/* ------------------------------------------------------------------------------- what is there */

enum find_column {
    FIND_PLACE,
    FIND_ID,
    FIND_SINCE,
    FIND_GUID,
    FIND_TYPE,
    FIND_IS_DELETED,
    FIND_FROM_EVENTS,
    FIND_ATTRIBUTES,
    FIND_BY_CLIENTS
};

/* What events have said of entities that the input wants to change: rows of the result. */
struct writer_found {
    PGresult *result;
    int *rows;        /* by node: its row, -1: none */
    struct map *keys; /* key -> the first wanted node of those that are not there */
    size_t *next;     /* by node: the next one with its key, ENTITY_NODE_NONE: none */
};

static void writer_found_init(struct writer_found *found, const struct entity_input *input)
{
    *found = (struct writer_found){ .rows = xcalloc(input->nodes_len + 1, sizeof(*found->rows)),
                                    .keys = map_new(),
                                    .next = xcalloc(input->nodes_len + 1, sizeof(*found->next)) };
}

static void writer_found_done_auto(struct writer_found *found) /* AUTO(writer_found_done) */
{
    PQclear(found->result);
    free(found->rows);
    free(found->next);
    map_free(found->keys);
}

static bool node_is_sought_by_key(const struct entity_input *input, const struct entity_node *node)
{
    return node->key && !(node->is_wanted && node->is_assigned && input->is_partial);
}

static PGresult *writer_find(struct entity_writer *writer, const struct entity_input *input)
{
    AUTO(store_array_done) struct store_array names, guids;
    struct store_params params = { 0 };

    store_array_init(&names, STORE_OID_TEXT);
    store_array_init(&guids, STORE_OID_UUID);
    for (size_t i = 0; i < input->nodes_len; i++) {
        const struct entity_node *node = &input->nodes[i];

        if (node->same == i && node_is_sought_by_key(input, node))
            store_array_add_text(&names, span_of(node->key));
        else
            store_array_add_null(&names);
        if (node->same == i && (node->is_assigned || (node->is_wanted && !node->key)))
            store_array_add_uuid(&guids, &node->guid);
        else
            store_array_add_null(&guids);
    }
    store_param_binary(&params, store_array_end(&names));
    store_param_binary(&params, store_array_end(&guids));
    return store_query_params(writer->conn, "SELECT * FROM entity_find($1, $2)", &params,
                              "find entities", writer->err);
}

/* Whether the row has the guid that the node is known by. */
static bool node_has_guid(const struct entity_node *node, const struct uuid *guid)
{
    return (node->is_assigned || (node->is_wanted && !node->key)) &&
           uuid_compare(guid, &node->guid) == 0;
}

/* Whether the row has the node's key: its own type goes before one that inherits from it. */
static bool node_has_key(const struct entity_node *node, const struct type *type)
{
    if (!node->key || (node->is_assigned && node->id) || !node->type)
        return false;
    if (type == node->type)
        return true;
    return !node->is_wanted && !node->id && type_is_a(type, node->type);
}

static int writer_take(struct entity_writer *writer, struct entity_input *input,
                       struct writer_found *found, int row, bool by_guid)
{
    size_t place = (size_t)store_get_i64(found->result, row, FIND_PLACE) - 1;
    struct entity_node *node = &input->nodes[place];
    const struct type *type =
        type_by_name(writer->types, store_get_span(found->result, row, FIND_TYPE));
    char text[UUID_TEXT_LEN + 1];
    struct uuid guid;

    if (store_get_uuid(found->result, row, FIND_GUID, &guid) < 0 || !type ||
        !(by_guid ? node_has_guid(node, &guid) : node_has_key(node, type)))
        return 0;
    if (store_get_bool(found->result, row, FIND_IS_DELETED)) {
        uuid_format(&guid, text);
        return entity_fault_set(writer->fault, 404, "ATLAS-404-00-012",
                                "Given instance guid %s has been deleted", text);
    }
    if (node->is_wanted && !type_is_a(type, node->type)) {
        uuid_format(&guid, text);
        return entity_fault_set(writer->fault, 400, "ATLAS-400-00-029",
                                "the entity %s is of type %s, not %s", text, type->def->name,
                                node->type->def->name);
    }
    node->id = store_get_i64(found->result, row, FIND_ID);
    node->is_made = node->is_wanted && !node->is_assigned && /* by an attempt before this one */
                    uuid_compare(&guid, &node->guid) == 0;
    node->guid = guid;
    node->type = type;
    found->rows[place] = row;
    return 0;
}

/* Nodes that turned out to be the same entity are one from here on. */
static void writer_join(struct entity_input *input)
{
    AUTO(map_free) struct map *ids = map_new();
    bool added;

    for (size_t i = 0; i < input->nodes_len; i++) {
        struct entity_node *node = &input->nodes[i];
        uint64_t place;

        if (node->same != i || !node->id)
            continue;
        place = *map_put(ids, writer_key(&node->id), i, &added);
        if (!added)
            entity_input_merge(input, i, (size_t)place);
    }
}

/* Nobody has it: another entity of the request may, and where that is wanted it becomes a shell. */
static int writer_miss(struct entity_writer *writer, struct entity_input *input, size_t place,
                       const struct writer_found *found)
{
    struct entity_node *node = &input->nodes[place];
    const uint64_t *first = node->key ? map_get(found->keys, span_of(node->key)) : NULL;
    const char *key;

    for (size_t i = first ? (size_t)*first : ENTITY_NODE_NONE; i != ENTITY_NODE_NONE;
         i = found->next[i]) {
        if (type_is_a(input->nodes[i].type, node->type)) {
            entity_input_merge(input, place, i);
            return 0;
        }
    }
    if (!writer->makes_shells || !node->key)
        return entity_fault_not_found(writer->fault, node);
    key = entity_key_attribute(node->type)->name;
    node->is_wanted = node->is_shell = true;
    entity_input_guid(input, place, &node->guid);
    node->attributes = json_object();
    (void)json_object_set_new(node->attributes, key, json_string(node->key));
    if (type_attribute(node->type, SPAN_LITERAL("name")))
        (void)json_object_set_new(node->attributes, "name", json_string(node->key));
    return 0;
}

/* Notes the wanted nodes that are not there by their keys. */
static int writer_note_keys(struct entity_writer *writer, const struct entity_input *input,
                            struct writer_found *found)
{
    bool added;

    for (size_t i = input->nodes_len; i-- > 0;) {
        const struct entity_node *node = &input->nodes[i];
        uint64_t *first;

        if (node->same != i || node->id || !node->is_wanted)
            continue;
        if (node->is_assigned)
            return entity_fault_not_found(writer->fault,
                                          &(struct entity_node){ .guid = node->guid,
                                                                 .is_assigned = true });
        if (!node->key)
            continue;
        first = map_put(found->keys, span_of(node->key), i, &added);
        found->next[i] = added ? ENTITY_NODE_NONE : (size_t)*first;
        *first = i;
    }
    return 0;
}

/* Gives each node its entity, or that it is to be made. A guid goes before a key. */
static int writer_resolve(struct entity_writer *writer, struct entity_input *input,
                          struct writer_found *found)
{
    found->result = writer_find(writer, input);
    if (!found->result)
        return -1;
    for (int pass = 0; pass < 2; pass++) {
        for (int row = 0; row < PQntuples(found->result); row++) {
            if (writer_take(writer, input, found, row, pass == 0) < 0)
                return -1;
        }
    }
    writer_join(input);
    if (writer_note_keys(writer, input, found) < 0)
        return -1;
    for (size_t i = 0; i < input->nodes_len; i++) {
        const struct entity_node *node = &input->nodes[i];

        if (node->same == i && !node->id && !node->is_wanted &&
            writer_miss(writer, input, i, found) < 0)
            return -1;
    }
    return 0;
}

int writer_resolve_nodes(struct entity_writer *writer, struct entity_input *input)
{
    AUTO(writer_found_done) struct writer_found found;

    writer_found_init(&found, input);
    return writer_resolve(writer, input, &found);
}

/* ------------------------------------------------------------------------- what events have set */

enum { OWN_QUOTE_BYTES_MAX = 64 }; /* of a name in a message */

/* Clients set it, if nobody else did. */
static bool own_has(const json_t *own, const char *prefix, const char *name)
{
    AUTO(mem_free) char *full = xasprintf("%s%s", prefix, name);

    for (size_t i = 0; i < json_array_size(own); i++) {
        const char *text = json_string_value(json_array_get(own, i));

        if (text && strcmp(text, full) == 0)
            return true;
    }
    return false;
}

/* -1: what stands is the events'. Else notes that a client set it. */
static int own_claim(json_t *own, const char *prefix, const char *name, const json_t *stands,
                     const json_t *wanted)
{
    if (stands ? json_equal(stands, wanted) : json_is_null(wanted))
        return 0;
    if (own_has(own, prefix, name))
        return 0;
    if (stands)
        return -1;
    (void)json_array_append_new(own, json_sprintf("%s%s", prefix, name));
    return 0;
}

static int own_refuse(struct entity_writer *writer, const struct entity_node *node,
                      const char *prefix, const char *name)
{
    struct span cut = utf8_cut(span_of(name), OWN_QUOTE_BYTES_MAX);

    return entity_fault_set(writer->fault, 403, "ATLAS-403-00-001",
                            "%s is not authorized to perform update of %s.%s%.*s: an event set it",
                            writer->user, node->type->def->name, prefix, (int)cut.len, cut.data);
}

/* Each key of metadata by itself. `keeps`: keys that are not named stay. */
static int own_claim_metadata(struct entity_writer *writer, const struct entity_node *node,
                              json_t *own, const json_t *stands, const json_t *wanted, bool keeps)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)wanted, key, value)
    {
        if (own_claim(own, "metadata.", key, json_object_get(stands, key), value) < 0)
            return own_refuse(writer, node, "metadata.", key);
    }
    if (keeps)
        return 0;
    json_object_foreach((json_t *)(uintptr_t)stands, key, value)
    {
        if (!json_object_get(wanted, key) && !own_has(own, "metadata.", key))
            return own_refuse(writer, node, "metadata.", key);
    }
    return 0;
}

/* What clients own of an entity that events have described, when the node's attributes are in.
 * Owned; NULL: one of them is the events'. A description is everybody's. */
static json_t *own_of_node(struct entity_writer *writer, const struct entity_node *node,
                           const PGresult *result, int row)
{
    struct span text = store_get_span(result, row, FIND_ATTRIBUTES);
    struct span said = store_get_span(result, row, FIND_BY_CLIENTS);
    json_auto_t *stands = entity_attributes_load(text);
    json_auto_t *own = said.data ? json_loadb(said.data, said.len, 0, NULL) : json_array();
    const char *name;
    json_t *value;

    json_object_foreach(node->attributes, name, value)
    {
        const json_t *there = json_object_get(stands, name);

        if (strcmp(name, "description") == 0)
            continue;
        if (strcmp(name, "metadata") == 0) {
            if (own_claim_metadata(writer, node, own, there, value, false) < 0)
                return NULL;
        } else if (own_claim(own, "", name, there, value) < 0) {
            (void)own_refuse(writer, node, "", name);
            return NULL;
        }
    }
    if (own_claim_metadata(writer, node, own, json_object_get(stands, "metadata"),
                           json_object_get(node->joined, "metadata"), true) < 0)
        return NULL;
    return json_incref(own);
}

/* ---------------------------------------------------------------------------------- entities */

static int writer_make_entities(struct entity_writer *writer, struct entity_input *input,
                                struct entity_changes *changes)
{
    AUTO(store_array_done) struct store_array guids, types, names, shells, attributes;
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    char number[24];
    int row = 0;

    store_array_init(&guids, STORE_OID_UUID);
    store_array_init(&types, STORE_OID_TEXT);
    store_array_init(&names, STORE_OID_TEXT);
    store_array_init(&shells, STORE_OID_BOOL);
    store_array_init(&attributes, STORE_OID_TEXT);
    for (size_t i = 0; i < input->nodes_len; i++) {
        const struct entity_node *node = &input->nodes[i];

        if (node->same == i && node->is_made)
            entity_changes_add(changes, ENTITY_MADE, node->id);
        if (node->same != i || node->id)
            continue;
        store_array_add_uuid(&guids, &node->guid);
        store_array_add_text(&types, span_of(node->type->def->name));
        if (node->key)
            store_array_add_text(&names, span_of(node->key));
        else
            store_array_add_null(&names);
        store_array_add_bool(&shells, node->is_shell);
        store_array_add_json(&attributes, node->attributes);
    }
    if (guids.len == 0)
        return 0;
    if (writer_begin(writer, number) < 0)
        return -1;
    store_param_text(&params, number);
    store_param_binary(&params, store_array_end(&guids));
    store_param_binary(&params, store_array_end(&types));
    store_param_binary(&params, store_array_end(&names));
    store_param_binary(&params, store_array_end(&shells));
    store_param_binary(&params, store_array_end(&attributes));
    store_param_text(&params, writer->user);
    result = store_query_params(writer->conn, "SELECT entity_make($1, $2, $3, $4, $5, $6, $7)",
                                &params, "make entities", writer->err);
    for (size_t i = 0; result && i < input->nodes_len; i++) {
        struct entity_node *node = &input->nodes[i];

        if (node->same != i || node->id)
            continue;
        node->id = store_get_i64(result, row++, 0);
        node->is_made = true;
        entity_changes_add(changes, ENTITY_MADE, node->id);
    }
    return result ? 0 : -1;
}

struct change_columns {
    struct store_array ids, names, attributes, joined, owned;
};

static void change_columns_init(struct change_columns *columns)
{
    store_array_init(&columns->ids, STORE_OID_INT8);
    store_array_init(&columns->names, STORE_OID_TEXT);
    store_array_init(&columns->attributes, STORE_OID_TEXT);
    store_array_init(&columns->joined, STORE_OID_TEXT);
    store_array_init(&columns->owned, STORE_OID_TEXT);
}

static void change_columns_done(struct change_columns *columns)
{
    store_array_done(&columns->ids);
    store_array_done(&columns->names);
    store_array_done(&columns->attributes);
    store_array_done(&columns->joined);
    store_array_done(&columns->owned);
}

static int change_columns_add(struct change_columns *columns, struct entity_writer *writer,
                              const struct entity_node *node, const PGresult *found, int row)
{
    json_auto_t *own = NULL;

    if (store_get_bool(found, row, FIND_FROM_EVENTS)) {
        own = own_of_node(writer, node, found, row);
        if (!own)
            return -1;
    }
    store_array_add_i64(&columns->ids, node->id);
    if (node->key)
        store_array_add_text(&columns->names, span_of(node->key));
    else
        store_array_add_null(&columns->names);
    store_array_add_json(&columns->attributes, node->attributes);
    store_array_add_json(&columns->joined, node->joined);
    store_array_add_json(&columns->owned, json_array_size(own) ? own : NULL);
    return 0;
}

/* Notes in `touched` whom it changed. */
static int writer_change_columns(struct entity_writer *writer, struct change_columns *columns,
                                 bool is_partial, struct map *touched)
{
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    char number[24];
    bool added;

    if (columns->ids.len == 0)
        return 0;
    if (writer_begin(writer, number) < 0)
        return -1;
    store_param_text(&params, number);
    store_param_binary(&params, store_array_end(&columns->ids));
    store_param_binary(&params, store_array_end(&columns->names));
    store_param_binary(&params, store_array_end(&columns->attributes));
    store_param_binary(&params, store_array_end(&columns->joined));
    store_param_binary(&params, store_array_end(&columns->owned));
    store_param_text(&params, is_partial ? "f" : "t");
    store_param_text(&params, writer->user);
    result =
        store_query_params(writer->conn, "SELECT entity_change($1, $2, $3, $4, $5, $6, $7, $8)",
                           &params, "change entities", writer->err);
    if (!result && writer->err->kind == ERR_INPUT)
        return entity_fault_set(writer->fault, 409, "ATLAS-409-00-003",
                                "failed to update entity: another one of its type has this name");
    for (int row = 0; result && row < PQntuples(result); row++) {
        int64_t id = store_get_i64(result, row, 0);

        (void)map_put(touched, writer_key(&id), 1, &added);
    }
    return result ? 0 : -1;
}

static int writer_change_entities(struct entity_writer *writer, struct entity_input *input,
                                  const struct writer_found *found, struct map *touched)
{
    struct change_columns columns;
    int rc = 0;

    change_columns_init(&columns);
    for (size_t i = 0; rc == 0 && i < input->nodes_len; i++) {
        const struct entity_node *node = &input->nodes[i];

        if (node->same == i && node->is_wanted && !node->is_made)
            rc = change_columns_add(&columns, writer, node, found->result, found->rows[i]);
    }
    if (rc == 0)
        rc = writer_change_columns(writer, &columns, input->is_partial, touched);
    change_columns_done(&columns);
    return rc;
}

/* ------------------------------------------------------------------------------------ the whole */

struct writer_touched {
    struct map *made, *wanted; /* ids */
    struct entity_changes *changes;
    struct store_array *audited;
};

static void writer_note_touched(struct span key, uint64_t value, void *ctx)
{
    struct writer_touched *touched = ctx;
    int64_t id;

    (void)value;
    if (map_get(touched->made, key))
        return;
    memcpy(&id, key.data, sizeof(id));
    entity_changes_add(touched->changes, ENTITY_CHANGED, id);
    if (map_get(touched->wanted, key))
        store_array_add_i64(touched->audited, id);
}

static int ids_compare(const void *a, const void *b)
{
    const int64_t *one = a, *two = b;

    return (*one > *two) - (*one < *two);
}

/* Whom the request names and changed has that in its audit; whom it only linked to has not. */
static int writer_audit(struct entity_writer *writer, const struct entity_input *input,
                        const struct map *touched, struct entity_changes *changes)
{
    AUTO(map_free) struct map *made = map_new();
    AUTO(map_free) struct map *wanted = map_new();
    AUTO(store_array_done) struct store_array audited;
    AUTO(store_result_free) PGresult *result = NULL;
    struct writer_touched all = { made, wanted, changes, &audited };
    struct store_params params = { 0 };
    char number[24];
    bool added;

    store_array_init(&audited, STORE_OID_INT8);
    for (size_t i = 0; i < input->nodes_len; i++) {
        const struct entity_node *node = &input->nodes[i];

        if (node->same == i && node->is_wanted)
            (void)map_put(node->is_made ? made : wanted, writer_key(&node->id), 0, &added);
    }
    map_each(touched, writer_note_touched, &all);
    if (changes->len[ENTITY_CHANGED])
        qsort(changes->ids[ENTITY_CHANGED], changes->len[ENTITY_CHANGED], sizeof(int64_t),
              ids_compare);
    if (audited.len == 0)
        return 0;
    if (writer_begin(writer, number) < 0)
        return -1;
    store_param_text(&params, number);
    store_param_binary(&params, store_array_end(&audited));
    store_param_text(&params, writer->user);
    result = store_query_params(writer->conn,
                                "INSERT INTO entity_audit (entity_id, batch_id, action, user_name)"
                                " SELECT w.id, $1::bigint, 'ENTITY_UPDATE', $3"
                                " FROM unnest($2::bigint[]) AS w(id)",
                                &params, "audit entities", writer->err);
    return result ? 0 : -1;
}

/* What was made gets its classifications: its own batch has them from the first. */
static int writer_classify(struct entity_writer *writer, const struct entity_input *input)
{
    AUTO(mem_free) struct tag_write *writes = NULL;
    size_t len = 0;

    for (size_t i = 0; i < input->nodes_len; i++)
        len += input->nodes[i].classifications_len;
    if (!len)
        return 0;
    writes = xcalloc(len, sizeof(*writes));
    len = 0;
    for (size_t i = 0; i < input->nodes_len; i++) {
        const struct entity_node *node = &input->nodes[i];

        for (size_t j = 0; j < node->classifications_len; j++)
            writes[len++] = (struct tag_write){ node->id, &node->classifications[j] };
    }
    return tag_write_put(writer->conn, writes, len, writer->user, &writer->batch_id, writer->err);
}

static int writer_store(struct entity_writer *writer, struct entity_input *input,
                        struct writer_found *found, struct entity_changes *changes)
{
    AUTO(map_free) struct map *touched = map_new();
    size_t made = 0;

    if (writer_resolve(writer, input, found) < 0 || entity_input_check(input, writer->fault) < 0)
        return -1;
    for (size_t i = 0; i < input->nodes_len; i++)
        made += input->nodes[i].same == i && !input->nodes[i].id;
    if (writer_make_entities(writer, input, changes) < 0 || writer_classify(writer, input) < 0 ||
        writer_change_entities(writer, input, found, touched) < 0 ||
        writer_write_edges(writer, input, touched) < 0 ||
        writer_audit(writer, input, touched, changes) < 0)
        return -1;
    if (!made && !map_len(touched))
        writer->batch_id = 0; /* begun for nothing: not to be committed */
    return 0;
}

int entity_store(struct entity_writer *writer, struct entity_input *input,
                 struct entity_changes *changes)
{
    AUTO(writer_found_done) struct writer_found found;

    writer_found_init(&found, input);
    return writer_store(writer, input, &found, changes);
}

/* ------------------------------------------------------------------------------------- deleting */

int entity_find_guids(PGconn *conn, const struct uuid *guids, size_t len, int64_t **ids,
                      size_t *ids_len, struct err *err)
{
    AUTO(store_array_done) struct store_array array;
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };

    *ids = NULL;
    *ids_len = 0;
    store_array_init(&array, STORE_OID_UUID);
    for (size_t i = 0; i < len; i++)
        store_array_add_uuid(&array, &guids[i]);
    store_param_binary(&params, store_array_end(&array));
    result = store_query_params(conn,
                                "SELECT e.entity_id FROM unnest($1::uuid[]) WITH ORDINALITY"
                                " AS w(guid, place) CROSS JOIN LATERAL (SELECT entity_id"
                                " FROM entity WHERE guid = w.guid AND to_batch IS NULL OFFSET 0)"
                                " AS e ORDER BY w.place",
                                &params, "find entities", err);
    if (!result)
        return -1;
    *ids_len = (size_t)PQntuples(result);
    *ids = xcalloc(*ids_len, sizeof(**ids));
    for (size_t i = 0; i < *ids_len; i++)
        (*ids)[i] = store_get_i64(result, (int)i, 0);
    return 0;
}

int entity_find_names(struct entity_writer *writer, struct entity_name *names, size_t len)
{
    AUTO(store_array_done) struct store_array keys;
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };

    store_array_init(&keys, STORE_OID_TEXT);
    for (size_t i = 0; i < len; i++)
        store_array_add_text(&keys, span_of(names[i].key));
    store_param_binary(&params, store_array_end(&keys));
    result = store_query_params(writer->conn, "SELECT * FROM entity_find($1, '{}')", &params,
                                "find entities", writer->err);
    if (!result)
        return -1;
    for (int row = 0; row < PQntuples(result); row++) {
        struct entity_name *name = &names[store_get_i64(result, row, FIND_PLACE) - 1];
        const struct type *type =
            type_by_name(writer->types, store_get_span(result, row, FIND_TYPE));

        if (!type || !type_is_a(type, name->type) || (name->id && type != name->type))
            continue;
        name->id = store_get_i64(result, row, FIND_ID);
        name->found = type;
        if (store_get_uuid(result, row, FIND_GUID, &name->guid) < 0)
            name->id = 0;
    }
    return 0;
}

/* The compositions, and at which end of each the owner is. */
static void writer_list_owners(const struct type_registry *types, struct store_array *names,
                               struct store_array *ends)
{
    struct type_list list = type_registry_types(types);

    for (size_t i = 0; i < list.len; i++) {
        const struct type_def *def = list.items[i]->def;

        if (def->category != TYPE_RELATIONSHIP || def->ownership != TYPE_COMPOSITION)
            continue;
        store_array_add_text(names, span_of(def->name));
        store_array_add_i64(ends, def->ends[0].is_container ? 0 : 1);
    }
}

int entity_remove(struct entity_writer *writer, const int64_t *ids, size_t len,
                  struct entity_changes *changes)
{
    AUTO(store_array_done) struct store_array array, owners, ends;
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    char number[24], max[24];

    store_array_init(&array, STORE_OID_INT8);
    store_array_init(&owners, STORE_OID_TEXT);
    store_array_init(&ends, STORE_OID_INT8);
    for (size_t i = 0; i < len; i++)
        store_array_add_i64(&array, ids[i]);
    writer_list_owners(writer->types, &owners, &ends);
    if (writer_begin(writer, number) < 0)
        return -1;
    (void)snprintf(max, sizeof(max), "%d", ENTITY_REMOVE_MAX);
    store_param_text(&params, number);
    store_param_binary(&params, store_array_end(&array));
    store_param_binary(&params, store_array_end(&owners));
    store_param_binary(&params, store_array_end(&ends));
    store_param_text(&params, max);
    store_param_text(&params, writer->user);
    result = store_query_params(writer->conn, "SELECT entity_remove($1, $2, $3, $4, $5, $6)",
                                &params, "delete entities", writer->err);
    if (!result && strstr(writer->err->text, "(SQLSTATE 54000"))
        return entity_fault_set(writer->fault, 400, "ATLAS-400-00-029",
                                "more than %d entities would be deleted: delete what they own "
                                "before",
                                ENTITY_REMOVE_MAX);
    for (int row = 0; result && row < PQntuples(result); row++)
        entity_changes_add(changes, ENTITY_REMOVED, store_get_i64(result, row, 0));
    if (result && PQntuples(result) == 0)
        writer->batch_id = 0;
    return result ? 0 : -1;
}
