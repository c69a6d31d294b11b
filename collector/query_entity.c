/* Entities that clients make, change and delete, answered as Atlas does: what was done to which,
 * and the guids of what they called by names of their own. */
#include <jansson.h>
#include <string.h>

#include "base/mem.h"
#include "collector/query_write_internal.h"

enum { ENTITY_GUIDS_MAX = 1000 }; /* of one request to delete */

/* What an attempt is to do. */
struct entity_write {
    bool is_partial;
    const struct uuid *guids; /* to be deleted; borrowed */
    size_t guids_len;
};

/* ----------------------------------------------------------------------------------- the answer */

static int entity_answer_changes(struct write *write, struct entity_writer *writer,
                                 const struct entity_changes *changes, bool is_partial)
{
    const char *const names[ENTITY_CHANGES] = {
        "\"CREATE\":", is_partial ? "\"PARTIAL_UPDATE\":" : "\"UPDATE\":", "\"DELETE\":"
    };
    const char *separator = "{\"mutatedEntities\":{";

    for (int i = 0; i < ENTITY_CHANGES; i++) {
        if (!changes->len[i])
            continue;
        buf_append_text(&write->answer, separator);
        buf_append_text(&write->answer, names[i]);
        if (write_headers(write, writer, changes->ids[i], changes->len[i]) < 0)
            return -1;
        separator = ",";
    }
    buf_append_text(&write->answer, write->answer.len ? "}" : "{");
    return 0;
}

static void entity_answer_guids(struct write *write, const struct entity_input *input)
{
    const char *separator =
        write->answer.len > 1 ? ",\"guidAssignments\":{" : "\"guidAssignments\":{";
    char guid[UUID_TEXT_LEN + 1];

    if (!input->aliases_len) {
        buf_append_text(&write->answer, "}");
        return;
    }
    for (size_t i = 0; i < input->aliases_len; i++) {
        uuid_format(&entity_input_node(input, input->aliases[i].node)->guid, guid);
        buf_append_text(&write->answer, separator);
        buf_append_json(&write->answer, span_of(input->aliases[i].text));
        buf_append_fmt(&write->answer, ":\"%s\"", guid);
        separator = ",";
    }
    buf_append_text(&write->answer, "}}");
}

/* -------------------------------------------------------------------------------------- writing */

static int entity_attempt_write(struct write *write, struct entity_writer *writer)
{
    const struct entity_write *want = write->ctx;
    AUTO(entity_changes_done) struct entity_changes changes = { 0 };
    AUTO(entity_input_done) struct entity_input input = { 0 };

    if (entity_input_parse(&input, writer->types, write->body, want->is_partial, &write->seed,
                           writer->fault) < 0 ||
        entity_store(writer, &input, &changes) < 0 ||
        entity_answer_changes(write, writer, &changes, want->is_partial) < 0)
        return -1;
    entity_answer_guids(write, &input);
    return 0;
}

int query_entity_write(struct atlas *atlas, json_t **unused)
{
    struct entity_write want = { 0 };
    AUTO(write_done) struct write write;

    (void)unused;
    write_init(&write, atlas, entity_attempt_write, &want);
    if (write_read_body(&write) < 0)
        return -1;
    return write_run(&write);
}

/* The entity that the path names, to be changed in part; *guid: the one that it has. */
static int entity_read_named(struct atlas *atlas, struct span type, struct span guid,
                             struct entity_list *list)
{
    int rc = atlas_begin_read(atlas);

    if (rc == 0)
        rc = atlas_find_wanted(atlas, type, guid, list);
    store_pool_give(atlas->pool, TAKE(atlas->conn), rc == 0 || atlas->query->fault.status);
    return rc;
}

/* v2/entity/guid/X?name=A, and the body is the value. */
int query_entity_write_attribute(struct atlas *atlas, json_t **unused)
{
    struct entity_write want = { .is_partial = true };
    struct span name = atlas_parameter(atlas, "name");
    AUTO(entity_list_done) struct entity_list list;
    AUTO(write_done) struct write write;
    const struct entity *entity;

    (void)unused;
    entity_list_init(&list);
    write_init(&write, atlas, entity_attempt_write, &want);
    if (write_read_body(&write) < 0 ||
        entity_read_named(atlas, (struct span){ 0 }, atlas->segments[3], &list) < 0)
        return -1;
    entity = &list.items[0];
    if (!type_attribute(entity->type, name) && !type_relation(entity->type, name, NULL))
        return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-023", "Attribute %.*s not found for type %s",
                           fault_quote_len(name.len), name.data ? name.data : "null",
                           entity->type->def->name);
    write.body = json_pack("{s:{s:s, s:s, s:{s:o}}}", "entity", "typeName", entity->type->def->name,
                           "guid", entity->guid, "attributes", name.data, write.body);
    return write_run(&write);
}

/* v2/entity/uniqueAttribute/type/T?attr:A=X; what the body does not name stays as it is. */
int query_entity_write_named(struct atlas *atlas, json_t **unused)
{
    struct entity_write want = { .is_partial = true };
    AUTO(entity_list_done) struct entity_list list;
    AUTO(write_done) struct write write;
    json_t *entity;

    (void)unused;
    entity_list_init(&list);
    write_init(&write, atlas, entity_attempt_write, &want);
    if (write_read_body(&write) < 0 ||
        entity_read_named(atlas, atlas->segments[4], (struct span){ 0 }, &list) < 0)
        return -1;
    entity = json_object_get(write.body, "entity");
    if (!json_is_object(entity))
        return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-01A",
                           "invalid parameters: no entity to update.");
    (void)json_object_set_new(entity, "typeName", json_string(list.items[0].type->def->name));
    (void)json_object_set_new(entity, "guid", json_string(list.items[0].guid));
    return write_run(&write);
}

/* ------------------------------------------------------------------------------------- deleting */

static int entity_attempt_delete(struct write *write, struct entity_writer *writer)
{
    const struct entity_write *want = write->ctx;
    AUTO(entity_changes_done) struct entity_changes changes = { 0 };
    AUTO(mem_free) int64_t *ids = NULL;
    size_t len;

    if (entity_find_guids(writer->conn, want->guids, want->guids_len, &ids, &len, writer->err) < 0)
        return -1;
    if (len && entity_remove(writer, ids, len, &changes) < 0)
        return -1;
    if (entity_answer_changes(write, writer, &changes, false) < 0)
        return -1;
    buf_append_text(&write->answer, "}");
    return 0;
}

static int entity_delete(struct atlas *atlas, const struct uuid *guids, size_t len)
{
    struct entity_write want = { .guids = guids, .guids_len = len };
    AUTO(write_done) struct write write;

    write_init(&write, atlas, entity_attempt_delete, &want);
    return write_run(&write);
}

/* A guid that nobody has is no error. */
int query_entity_delete(struct atlas *atlas, json_t **unused)
{
    struct uuid guid;

    (void)unused;
    return entity_delete(atlas, &guid, uuid_parse(&guid, atlas->segments[3]) == 0 ? 1 : 0);
}

int query_entity_delete_bulk(struct atlas *atlas, json_t **unused)
{
    const struct parameters *parameters = &atlas->query->parameters;
    AUTO(mem_free) struct uuid *guids = xcalloc(ENTITY_GUIDS_MAX, sizeof(*guids));
    size_t asked = 0, len = 0;

    (void)unused;
    for (size_t i = 0; i < parameters->others_len; i++) {
        if (strcmp(parameters->others[i].name, "guid") != 0)
            continue;
        if (++asked > ENTITY_GUIDS_MAX)
            return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-029", "more than %d guids",
                               ENTITY_GUIDS_MAX);
        if (uuid_parse(&guids[len], span_of(parameters->others[i].text)) == 0)
            len++;
    }
    if (!asked)
        return ATLAS_FAULT(atlas, 404, "ATLAS-404-00-005",
                           "Given instance guid  is invalid/not found");
    return entity_delete(atlas, guids, len);
}

int query_entity_delete_named(struct atlas *atlas, json_t **unused)
{
    AUTO(entity_list_done) struct entity_list list;
    struct uuid guid;

    (void)unused;
    entity_list_init(&list);
    if (entity_read_named(atlas, atlas->segments[4], (struct span){ 0 }, &list) < 0)
        return -1;
    return entity_delete(atlas, &guid, uuid_parse(&guid, span_of(list.items[0].guid)) == 0 ? 1 : 0);
}
