/* Relationships by themselves, as Atlas's clients make, read, change and delete them. */
#include <jansson.h>
#include <string.h>

#include "base/mem.h"
#include "collector/query_write_internal.h"

static int relationship_unknown(struct atlas *atlas, struct span guid)
{
    if (!guid.data)
        guid = SPAN_LITERAL("null");
    return ATLAS_FAULT(atlas, 404, "ATLAS-404-00-00C",
                       "Given relationship guid %.*s is invalid/not found",
                       fault_quote_len(guid.len), guid.data);
}

/* ----------------------------------------------------------------------------------- the answer */

static void relationship_put_text(json_t *object, const char *name, const char *text)
{
    (void)json_object_set_new(object, name, json_string(text));
}

/* What Atlas calls the edge where its definition does not say it. Owned. */
static char *relationship_label(const struct type_def *def)
{
    if (def->label)
        return xstrdup(def->label);
    for (size_t i = 0; i < 2; i++) {
        if (def->ends[i].is_legacy)
            return xasprintf("__%s.%s", def->ends[i].type, def->ends[i].name);
    }
    return xasprintf("r:%s", def->name);
}

static json_t *relationship_end_json(const struct entity *entity)
{
    json_t *end = json_object(), *unique = json_object();

    relationship_put_text(end, "guid", entity->guid);
    relationship_put_text(end, "typeName", entity->type->def->name);
    if (entity->qualified_name) {
        relationship_put_text(unique, "qualifiedName", entity->qualified_name);
        (void)json_object_set(end, "uniqueAttributes", unique);
    }
    json_decref(unique);
    return end;
}

static const char *relationship_propagation(const struct type_def *def)
{
    static const char *const names[] = { [TYPE_PROPAGATE_NONE] = "NONE",
                                         [TYPE_ONE_TO_TWO] = "ONE_TO_TWO",
                                         [TYPE_TWO_TO_ONE] = "TWO_TO_ONE",
                                         [TYPE_PROPAGATE_BOTH] = "BOTH" };

    return names[def->propagation];
}

static json_t *relationship_json(const struct relationship *relationship, const struct entity *end1,
                                 const struct entity *end2)
{
    const struct type_def *def = relationship->type->def;
    AUTO(mem_free) char *label = relationship_label(def);
    json_t *json = json_object();

    relationship_put_text(json, "typeName", def->name);
    (void)json_object_set_new(json, "attributes",
                              relationship->attributes ? json_incref(relationship->attributes)
                                                       : json_object());
    relationship_put_text(json, "guid", relationship->guid);
    (void)json_object_set_new(json, "provenanceType", json_integer(0));
    (void)json_object_set_new(json, "end1", relationship_end_json(end1));
    (void)json_object_set_new(json, "end2", relationship_end_json(end2));
    relationship_put_text(json, "label", label);
    relationship_put_text(json, "propagateTags", relationship_propagation(def));
    relationship_put_text(json, "status", relationship->is_deleted ? "DELETED" : "ACTIVE");
    relationship_put_text(json, "createdBy", relationship->created_by);
    relationship_put_text(json, "updatedBy", relationship->updated_by);
    (void)json_object_set_new(json, "createTime", json_integer(relationship->created_ms));
    (void)json_object_set_new(json, "updateTime", json_integer(relationship->updated_ms));
    (void)json_object_set_new(json, "version", json_integer(0));
    (void)json_object_set_new(json, "propagatedClassifications", json_array());
    (void)json_object_set_new(json, "blockedPropagatedClassifications", json_array());
    return json;
}

/* The ends of the relationship, in `list`. */
static int relationship_read_ends(const struct atlas_view *view,
                                  const struct relationship *relationship, struct entity_list *list,
                                  const struct entity **ends, struct err *err)
{
    if (atlas_read_ids(view, relationship->ends, 2, list, err) < 0)
        return -1;
    for (int i = 0; i < 2; i++) {
        ends[i] = entity_list_find(list, relationship->ends[i]);
        if (!ends[i])
            return err_set(err, ERR_FATAL, "relationship %s: an end of it is of an unknown type",
                           relationship->guid);
    }
    return 0;
}

/* As it stands within the attempt's transaction. */
static int relationship_answer(struct write *write, struct entity_writer *writer,
                               const struct uuid *guid)
{
    AUTO(relationship_done) struct relationship relationship = { 0 };
    AUTO(entity_list_done) struct entity_list list;
    const struct entity *ends[2];
    struct atlas_view view;
    json_t *json;
    bool found;

    entity_list_init(&list);
    atlas_view_init(&view, writer->conn, writer->types, ATLAS_NOW);
    if (relationship_read(writer->conn, writer->types, guid, &relationship, &found, writer->err) <
            0 ||
        !found || relationship_read_ends(&view, &relationship, &list, ends, writer->err) < 0)
        return -1;
    json = relationship_json(&relationship, ends[0], ends[1]);
    atlas_append_json(&write->answer, json);
    json_decref(json);
    return 0;
}

/* -------------------------------------------------------------------------------------- changes */

/* That some classifications do not pass over this one would not be kept. */
static int relationship_check_blocked(struct entity_writer *writer, const json_t *body)
{
    const json_t *blocked = json_object_get(body, "blockedPropagatedClassifications");

    if (!blocked || json_is_null(blocked) || (json_is_array(blocked) && !json_array_size(blocked)))
        return 0;
    return entity_fault_set(writer->fault, 400, "ATLAS-400-00-029",
                            "blockedPropagatedClassifications: classifications can't be blocked "
                            "on one relationship");
}

/* Which way they pass says its type. What was read of it can be sent back; where one is made
 * clients send NONE for nothing, and Atlas does not look at it. */
static int relationship_check_propagation(struct entity_writer *writer, const json_t *body,
                                          const struct type_def *def)
{
    const json_t *given = json_object_get(body, "propagateTags");
    const char *text = json_string_value(given), *own = relationship_propagation(def);

    if (!given || json_is_null(given) || (text && strcmp(text, own) == 0))
        return relationship_check_blocked(writer, body);
    return entity_fault_set(writer->fault, 400, "ATLAS-400-00-029",
                            "propagateTags of a %s is %s: it can't be another one for one "
                            "relationship",
                            def->name, own);
}

static int relationship_attempt_make(struct write *write, struct entity_writer *writer)
{
    AUTO(entity_input_done) struct entity_input input = { 0 };

    if (entity_input_relate(&input, writer->types, write->body, writer->fault) < 0 ||
        relationship_check_blocked(writer, write->body) < 0 ||
        relationship_make(writer, &input, &write->seed) < 0)
        return -1;
    return relationship_answer(write, writer, &write->seed);
}

int query_relationship_make(struct atlas *atlas, json_t **unused)
{
    AUTO(write_done) struct write write;

    (void)unused;
    write_init(&write, atlas, relationship_attempt_make, NULL);
    if (write_read_body(&write) < 0)
        return -1;
    return write_run(&write);
}

/* The relationship that the request means, as it stands. */
static int relationship_find_wanted(struct entity_writer *writer, const struct uuid *guid,
                                    struct relationship *relationship)
{
    bool found = false;

    if (relationship_read(writer->conn, writer->types, guid, relationship, &found, writer->err) < 0)
        return -1;
    if (!found)
        return entity_fault_set(writer->fault, 404, "ATLAS-404-00-00C",
                                "Given relationship guid %s is invalid/not found",
                                relationship->guid);
    return 0;
}

/* Neither its type nor what it relates can be changed. */
static int relationship_check_same(struct entity_writer *writer, const json_t *body,
                                   const struct relationship *relationship,
                                   const struct entity *const *ends)
{
    static const char *const names[] = { "end1", "end2" };
    const struct type_def *def = relationship->type->def;
    const char *type = json_string_value(json_object_get(body, "typeName"));

    if (type && strcmp(type, def->name) != 0)
        return entity_fault_set(writer->fault, 404, "ATLAS-400-00-06A",
                                "change of relationship type is not permitted. "
                                "relationship-guid=%s, current-type=%s, new-type=%.64s",
                                relationship->guid, def->name, type);
    for (size_t i = 0; i < 2; i++) {
        const json_t *end = json_object_get(body, names[i]);
        const char *guid = json_string_value(json_object_get(end, "guid"));

        if (guid && strcmp(guid, ends[i]->guid) != 0)
            return entity_fault_set(writer->fault, 404, "ATLAS-400-00-069",
                                    "change of relationship end is not permitted. "
                                    "relationship-type=%s, relationship-guid=%s, end-guid=%s, "
                                    "updated-end-guid=%.64s",
                                    def->name, relationship->guid, ends[i]->guid, guid);
    }
    return 0;
}

static int relationship_attempt_change(struct write *write, struct entity_writer *writer)
{
    const struct uuid *guid = write->ctx;
    AUTO(relationship_done) struct relationship relationship = { 0 };
    AUTO(entity_list_done) struct entity_list list;
    json_auto_t *attributes = NULL;
    const struct entity *ends[2];
    struct atlas_view view;

    entity_list_init(&list);
    atlas_view_init(&view, writer->conn, writer->types, ATLAS_NOW);
    if (relationship_find_wanted(writer, guid, &relationship) < 0 ||
        relationship_read_ends(&view, &relationship, &list, ends, writer->err) < 0 ||
        relationship_check_same(writer, write->body, &relationship, ends) < 0 ||
        relationship_check_propagation(writer, write->body, relationship.type->def) < 0 ||
        entity_input_values(writer->types, relationship.type,
                            json_object_get(write->body, "attributes"), &attributes,
                            writer->fault) < 0 ||
        relationship_change(writer, &relationship, attributes) < 0)
        return -1;
    return relationship_answer(write, writer, guid);
}

int query_relationship_change(struct atlas *atlas, json_t **unused)
{
    AUTO(write_done) struct write write;
    struct uuid guid;
    const char *text;

    (void)unused;
    write_init(&write, atlas, relationship_attempt_change, &guid);
    if (write_read_body(&write) < 0)
        return -1;
    text = json_string_value(json_object_get(write.body, "guid"));
    if (!text || uuid_parse(&guid, span_of(text)) < 0)
        return relationship_unknown(atlas, span_of(text));
    return write_run(&write);
}

static int relationship_attempt_delete(struct write *write, struct entity_writer *writer)
{
    AUTO(relationship_done) struct relationship relationship = { 0 };

    if (relationship_find_wanted(writer, write->ctx, &relationship) < 0)
        return -1;
    if (relationship.is_deleted && write->is_again)
        return 0;
    if (relationship.is_deleted)
        return entity_fault_set(writer->fault, 404, "ATLAS-404-00-00F",
                                "Attempting to delete a relationship which is already deleted : %s",
                                relationship.guid);
    return relationship_remove(writer, &relationship);
}

int query_relationship_delete(struct atlas *atlas, json_t **unused)
{
    AUTO(write_done) struct write write;
    struct uuid guid;

    (void)unused;
    write_init(&write, atlas, relationship_attempt_delete, &guid);
    write.status = 204;
    if (uuid_parse(&guid, atlas->segments[3]) < 0)
        return relationship_unknown(atlas, atlas->segments[3]);
    return write_run(&write);
}

/* -------------------------------------------------------------------------------------- reading */

/* v2/relationship/guid/X[?extendedInfo=true] */
int query_relationship(struct atlas *atlas, json_t **answer)
{
    AUTO(relationship_done) struct relationship relationship = { 0 };
    AUTO(entity_list_done) struct entity_list list;
    struct span extended = atlas_parameter(atlas, "extendedInfo");
    const struct entity *ends[2];
    json_t *referred;
    struct uuid guid;
    bool found;

    entity_list_init(&list);
    if (uuid_parse(&guid, atlas->segments[3]) < 0)
        return relationship_unknown(atlas, atlas->segments[3]);
    if (atlas_begin_read(atlas) < 0 || relationship_read(atlas->conn, atlas_types(atlas), &guid,
                                                         &relationship, &found, atlas->err) < 0)
        return -1;
    if (!found)
        return relationship_unknown(atlas, atlas->segments[3]);
    if (relationship_read_ends(&atlas->view, &relationship, &list, ends, atlas->err) < 0)
        return -1;
    *answer = json_object();
    referred = json_object();
    for (size_t i = 0; i < list.len && extended.len == 4; i++)
        (void)json_object_set_new(referred, list.items[i].guid, entity_header_json(&list.items[i]));
    (void)json_object_set_new(*answer, "relationship",
                              relationship_json(&relationship, ends[0], ends[1]));
    (void)json_object_set_new(*answer, "referredEntities", referred);
    return 0;
}
