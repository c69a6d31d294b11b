#include "atlas/entity_json.h"

#include <stdlib.h>
#include <string.h>

#include "base/attr.h"

bool entity_has_name(const struct type *type)
{
    return type_attribute(type, SPAN_LITERAL("qualifiedName")) != NULL;
}

json_t *entity_attributes_load(struct span text)
{
    json_t *attributes = json_loadb(text.data, text.len, 0, NULL);

    /* Postgres writes all digits of a large double, more than an integer has */
    return attributes ? attributes : json_loadb(text.data, text.len, JSON_DECODE_INT_AS_REAL, NULL);
}

void entity_done(struct entity *entity)
{
    free(entity->qualified_name);
    free(entity->created_by);
    free(entity->updated_by);
    json_decref(entity->attributes);
    *entity = (struct entity){ 0 };
}

static void entity_put(json_t *object, const char *name, json_t *value)
{
    (void)json_object_set_new_nocheck(object, name, value);
}

static void entity_put_text(json_t *object, const char *name, const char *text)
{
    entity_put(object, name, json_string_nocheck(text));
}

static const char *entity_status(bool is_deleted)
{
    return is_deleted ? "DELETED" : "ACTIVE";
}

static const char *entity_display_text(const struct entity *entity)
{
    static const char *const names[] = { "name", "displayName" };

    for (size_t i = 0; i < LENGTH(names); i++) {
        const char *text = json_string_value(json_object_get(entity->attributes, names[i]));

        if (text)
            return text;
    }
    return entity->qualified_name ? entity->qualified_name : entity->guid;
}

/* The attributes of a header: what names the entity and what a list of them shows. */
static json_t *entity_header_attributes(const struct entity *entity)
{
    static const char *const shown[] = { "name", "description", "owner", "createTime" };
    json_t *attributes = json_object();

    if (entity->qualified_name)
        entity_put_text(attributes, "qualifiedName", entity->qualified_name);
    for (size_t i = 0; i < LENGTH(shown); i++) {
        json_t *value = json_object_get(entity->attributes, shown[i]);

        if (value)
            entity_put(attributes, shown[i], json_incref(value));
    }
    return attributes;
}

json_t *entity_header_json(const struct entity *entity)
{
    json_t *header = json_object();

    entity_put_text(header, "typeName", entity->type->def->name);
    entity_put(header, "attributes", entity_header_attributes(entity));
    entity_put_text(header, "guid", entity->guid);
    entity_put_text(header, "status", entity_status(entity->is_deleted));
    entity_put_text(header, "displayText", entity_display_text(entity));
    entity_put(header, "classificationNames", json_array());
    entity_put(header, "classifications", json_array());
    entity_put(header, "meaningNames", json_array());
    entity_put(header, "meanings", json_array());
    entity_put(header, "isIncomplete", json_boolean(entity->is_incomplete));
    entity_put(header, "labels", json_array());
    return header;
}

static void entity_write_text(struct buf *out, const char *before, struct span text)
{
    buf_append_text(out, before);
    buf_append_json(out, text);
}

static void entity_write_json(struct buf *out, const char *before, struct span json)
{
    if (!json.data)
        return;
    if (out->len && out->data[out->len - 1] == '{') /* the first member has no comma */
        before++;
    buf_append_text(out, before);
    buf_append_span(out, json);
}

static void entity_write_list(struct buf *out, const char *before, struct span list)
{
    buf_append_text(out, before);
    buf_append_span(out, list.data ? list : SPAN_LITERAL("[]"));
}

static bool entity_is_text(struct span json)
{
    return json.len > 0 && json.data[0] == '"';
}

void entity_header_write(const struct entity_header *header, struct buf *out)
{
    entity_write_text(out, "{\"typeName\":", span_of(header->type->def->name));
    buf_append_text(out, ",\"attributes\":{");
    if (header->qualified_name.data)
        entity_write_text(out, "\"qualifiedName\":", header->qualified_name);
    entity_write_json(out, ",\"name\":", header->name);
    entity_write_json(out, ",\"description\":", header->description);
    entity_write_json(out, ",\"owner\":", header->owner);
    entity_write_json(out, ",\"createTime\":", header->create_time);
    buf_append_text(out, "},\"guid\":\"");
    buf_append(out, header->guid, UUID_TEXT_LEN);
    buf_append_text(out, header->is_deleted ? "\",\"status\":\"DELETED\",\"displayText\":"
                                            : "\",\"status\":\"ACTIVE\",\"displayText\":");
    if (entity_is_text(header->name))
        buf_append_span(out, header->name);
    else if (entity_is_text(header->display_name))
        buf_append_span(out, header->display_name);
    else if (header->qualified_name.data)
        buf_append_json(out, header->qualified_name);
    else
        buf_append_json(out, span_of(header->guid));
    entity_write_list(out, ",\"classificationNames\":", header->classification_names);
    entity_write_list(out, ",\"classifications\":", header->classifications);
    buf_append_text(out, ",\"meaningNames\":[],\"meanings\":[],\"isIncomplete\":");
    buf_append_text(out, header->is_incomplete ? "true,\"labels\":[]}" : "false,\"labels\":[]}");
}

const struct type_relation *entity_link_relation(const struct entity *entity,
                                                 const struct entity_link *link)
{
    for (size_t i = 0; i < entity->type->relations_len; i++) {
        const struct type_relation *relation = entity->type->relations[i];

        if (relation->relationship == link->relationship && relation->end == link->end)
            return relation;
    }
    return NULL;
}

/* An AtlasObjectId, which `attributes` hold. */
static json_t *entity_link_reference(const struct entity_link *link)
{
    json_t *reference = json_object();

    entity_put_text(reference, "guid", link->other->guid);
    entity_put_text(reference, "typeName", link->other->type->def->name);
    return reference;
}

/* An AtlasRelatedObjectId, which `relationshipAttributes` hold. */
static json_t *entity_link_json(const struct entity_link *link)
{
    json_t *reference = entity_link_reference(link), *own = json_object();

    entity_put_text(reference, "entityStatus", entity_status(link->other->is_deleted));
    entity_put_text(reference, "displayText", entity_display_text(link->other));
    entity_put_text(reference, "relationshipType", link->relationship->def->name);
    entity_put_text(reference, "relationshipGuid", link->guid);
    entity_put_text(reference, "relationshipStatus", entity_status(link->is_deleted));
    entity_put_text(own, "typeName", link->relationship->def->name);
    if (link->attributes)
        entity_put(own, "attributes", json_incref(link->attributes));
    entity_put(reference, "relationshipAttributes", own);
    if (link->other->qualified_name)
        entity_put_text(reference, "qualifiedName", link->other->qualified_name);
    return reference;
}

/* Sets or appends, as many as the attribute holds. */
static void entity_put_link(json_t *attributes, const struct type_attribute *attribute,
                            json_t *reference)
{
    json_t *list = json_object_get(attributes, attribute->name);

    if (attribute->cardinality == TYPE_SINGLE) {
        entity_put(attributes, attribute->name, reference);
        return;
    }
    if (!json_is_array(list)) {
        entity_put(attributes, attribute->name, json_array());
        list = json_object_get(attributes, attribute->name);
    }
    (void)json_array_append_new(list, reference);
}

/* Every attribute of the type. */
static json_t *entity_attributes(const struct entity *entity)
{
    json_t *attributes = json_object();

    for (size_t i = 0; i < entity->type->attributes_len; i++) {
        const char *name = entity->type->attributes[i]->name;
        json_t *value = json_object_get(entity->attributes, name);

        entity_put(attributes, name, value ? json_incref(value) : json_null());
    }
    return attributes;
}

/* What relationships may give the entity, with nothing in it yet. */
static json_t *entity_relationships(const struct entity *entity)
{
    json_t *relationships = json_object();

    for (size_t i = 0; i < entity->type->relations_len; i++) {
        const struct type_attribute *attribute = &entity->type->relations[i]->attribute;

        entity_put(relationships, attribute->name,
                   attribute->cardinality == TYPE_SINGLE ? json_null() : json_array());
    }
    return relationships;
}

static json_t *entity_frame(const struct entity *entity, json_t *attributes)
{
    json_t *object = json_object();

    entity_put_text(object, "typeName", entity->type->def->name);
    entity_put(object, "attributes", attributes);
    entity_put_text(object, "guid", entity->guid);
    entity_put(object, "isIncomplete", json_boolean(entity->is_incomplete));
    entity_put(object, "provenanceType", json_integer(0));
    entity_put_text(object, "status", entity_status(entity->is_deleted));
    entity_put_text(object, "createdBy", entity->created_by);
    entity_put_text(object, "updatedBy", entity->updated_by);
    entity_put(object, "createTime", json_integer(entity->created_ms));
    entity_put(object, "updateTime", json_integer(entity->updated_ms));
    entity_put(object, "version", json_integer(0));
    return object;
}

static void entity_put_tail(json_t *object)
{
    entity_put(object, "classifications", json_array());
    entity_put(object, "meanings", json_array());
    entity_put(object, "labels", json_array());
    entity_put(object, "proxy", json_false());
}

json_t *entity_plain_json(const struct entity *entity)
{
    json_t *object = entity_frame(entity, entity_attributes(entity));

    entity_put_tail(object);
    return object;
}

json_t *entity_json(const struct entity *entity, const struct entity_link *links, size_t links_len)
{
    json_t *attributes = entity_attributes(entity), *relationships = entity_relationships(entity);
    json_t *object;

    for (size_t i = 0; i < entity->type->relations_len; i++) {
        const struct type_relation *relation = entity->type->relations[i];

        if (relation->is_legacy && relation->attribute.cardinality != TYPE_SINGLE)
            entity_put(attributes, relation->attribute.name, json_array());
    }
    for (size_t i = 0; i < links_len; i++) {
        const struct type_relation *relation;

        if (links[i].entity_id != entity->id)
            continue;
        relation = entity_link_relation(entity, &links[i]);
        if (!relation)
            continue;
        entity_put_link(relationships, &relation->attribute, entity_link_json(&links[i]));
        if (relation->is_legacy)
            entity_put_link(attributes, &relation->attribute, entity_link_reference(&links[i]));
    }
    object = entity_frame(entity, attributes);
    entity_put(object, "relationshipAttributes", relationships);
    entity_put_tail(object);
    return object;
}
