#include "atlas/notification.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>

static void notification_put(json_t *object, const char *name, json_t *value)
{
    (void)json_object_set_new_nocheck(object, name, value);
}

static void notification_put_text(json_t *object, const char *name, const char *text)
{
    notification_put(object, name, json_string_nocheck(text));
}

static void notification_put_guid(json_t *object, size_t place)
{
    char guid[24];

    (void)snprintf(guid, sizeof(guid), "-%zu", place + 1);
    notification_put_text(object, "guid", guid);
}

/* An AtlasRelatedObjectId. With a guid the reader looks for nothing. */
static json_t *notification_reference_json(const struct notification_reference *reference)
{
    json_t *object = json_object(), *unique = json_object();

    if (reference->other != NOTIFICATION_ELSEWHERE)
        notification_put_guid(object, reference->other);
    notification_put_text(object, "typeName", reference->type_name);
    notification_put_text(unique, "qualifiedName", reference->qualified_name);
    notification_put(object, "uniqueAttributes", unique);
    notification_put_text(object, "relationshipType", reference->relationship->def->name);
    return object;
}

/* The attribute that the relationship gives its holder. */
static const struct type_attribute *notification_attribute(
    const struct type *type, const struct notification_reference *reference)
{
    for (size_t i = 0; i < type->relations_len; i++) {
        const struct type_relation *relation = type->relations[i];

        if (relation->relationship == reference->relationship && relation->end == reference->end)
            return &relation->attribute;
    }
    return NULL;
}

static void notification_refer(json_t *relationships, const struct type *type,
                               const struct notification_reference *reference)
{
    const struct type_attribute *attribute = notification_attribute(type, reference);
    json_t *list;

    assert(attribute);
    if (attribute->cardinality == TYPE_SINGLE) {
        notification_put(relationships, attribute->name, notification_reference_json(reference));
        return;
    }
    list = json_object_get(relationships, attribute->name);
    if (!list) {
        list = json_array();
        notification_put(relationships, attribute->name, list);
    }
    (void)json_array_append_new(list, notification_reference_json(reference));
}

static json_t *notification_entity_json(const struct notification_entity *entity, size_t place)
{
    json_t *object = json_object();

    notification_put_text(object, "typeName", entity->type->def->name);
    notification_put(object, "attributes", json_incref(entity->attributes));
    notification_put_guid(object, place);
    notification_put(object, "isIncomplete", json_false());
    notification_put(object, "provenanceType", json_integer(0));
    notification_put(object, "version", json_integer(0));
    notification_put(object, "relationshipAttributes", json_object());
    notification_put(object, "proxy", json_false());
    return object;
}

json_t *notification_json(bool is_new, const char *user, const struct notification_entity *entities,
                          size_t entities_len, const struct notification_reference *references,
                          size_t references_len)
{
    json_t *object = json_object(), *with = json_object(), *list = json_array();

    for (size_t i = 0; i < entities_len; i++)
        (void)json_array_append_new(list, notification_entity_json(&entities[i], i));
    for (size_t i = 0; i < references_len; i++) {
        size_t holder = references[i].holder;
        json_t *relationships =
            json_object_get(json_array_get(list, holder), "relationshipAttributes");

        notification_refer(relationships, entities[holder].type, &references[i]);
    }
    notification_put_text(object, "type", is_new ? "ENTITY_CREATE_V2" : "ENTITY_FULL_UPDATE_V2");
    notification_put_text(object, "user", user);
    notification_put(with, "referredEntities", json_object());
    notification_put(with, "entities", list);
    notification_put(object, "entities", with);
    return object;
}
