/* Entities as hooks say them that are older than Atlas 1.0, or made for those: a Referenceable.
 *
 *     {"jsonClass": "...$_Reference", "typeName": "hive_table",
 *      "id": {"jsonClass": "...$_Id", "id": "-7", "typeName": "hive_table", ...},
 *      "values": {"name": "t", "db": {"jsonClass": "...$_Reference", ...}, ...},
 *      "traitNames": ["PII"], "traits": {"PII": {"typeName": "PII", "values": {...}}}}
 *
 * Whom it refers to stands in its values whole, or as its Id alone; what a value is its jsonClass
 * tells, and one without is a map. Traits are classifications. */
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "base/mem.h"
#include "hook_internal.h"

#define OLD_CLASS "org.apache.atlas.typesystem.json.InstanceSerialization$_"

/* A body under way. */
struct old {
    json_t *referred; /* guid -> entity */
    json_t *known;    /* guid -> true: of all that are read */
    const char *why;  /* NULL: all is well; static */
};

static json_t *old_value(struct old *old, json_t *value);

/* The guid of an Id, number or text. Owned; NULL: none. */
static char *old_guid(struct old *old, const json_t *id)
{
    const json_t *guid = json_object_get(id, "id");

    if (json_is_integer(guid))
        return xasprintf("%" PRId64, (int64_t)json_integer_value(guid));
    if (json_string_length(guid))
        return xstrdup(json_string_value(guid));
    old->why = "an entity has no id with an id in it";
    return NULL;
}

static json_t *old_values(struct old *old, const json_t *holder)
{
    json_t *attributes = json_object(), *value;
    const char *name;

    json_object_foreach(json_object_get(holder, "values"), name, value)
    {
        (void)json_object_set_new(attributes, name, old_value(old, value));
    }
    return attributes;
}

static json_t *old_struct(struct old *old, const json_t *from, json_t *type)
{
    return json_pack("{s:O*, s:o}", "typeName", type, "attributes", old_values(old, from));
}

static json_t *old_traits(struct old *old, const json_t *entity)
{
    const json_t *traits = json_object_get(entity, "traits");
    json_t *classifications = json_array(), *name;
    size_t i;

    json_array_foreach(json_object_get(entity, "traitNames"), i, name)
    {
        const json_t *trait =
            json_is_string(name) ? json_object_get(traits, json_string_value(name)) : NULL;

        (void)json_array_append_new(classifications, old_struct(old, trait, name));
    }
    return classifications;
}

static json_t *old_entity(struct old *old, const json_t *entity, const char *guid)
{
    json_t *type = json_object_get(entity, "typeName");
    json_t *made;

    if (!json_is_string(type)) {
        old->why = "an entity has no typeName";
        return NULL;
    }
    made = old_struct(old, entity, type);
    (void)json_object_set_new(made, "guid", json_string(guid));
    if (json_array_size(json_object_get(entity, "traitNames")))
        (void)json_object_set_new(made, "classifications", old_traits(old, entity));
    return made;
}

/* Whether the guid comes for the first time. */
static bool old_note(struct old *old, const char *guid)
{
    if (json_object_get(old->known, guid))
        return false;
    (void)json_object_set_new(old->known, guid, json_true());
    return true;
}

static bool old_has_values(const json_t *entity)
{
    const char *name;
    json_t *value;

    json_object_foreach(json_object_get(entity, "values"), name, value)
    {
        if (!json_is_null(value))
            return true;
    }
    return false;
}

static json_t *old_id(struct old *old, const json_t *id, json_t *type)
{
    AUTO(mem_free) char *guid = old_guid(old, id);

    return guid ? json_pack("{s:s, s:O*}", "guid", guid, "typeName", type) : json_null();
}

/* An entity in a value is referred to; one that says nothing of itself is no more than that. */
static json_t *old_reference(struct old *old, const json_t *entity)
{
    const json_t *id = json_object_get(entity, "id");
    AUTO(mem_free) char *guid = old_guid(old, id);
    json_t *type = json_object_get(entity, "typeName");

    if (guid && old_has_values(entity) && old_note(old, guid)) {
        json_t *made = old_entity(old, entity, guid);

        if (made)
            (void)json_object_set_new(old->referred, guid, made);
    }
    return old_id(old, id, type);
}

/* {"value": "OWNER", "ordinal": 1} */
static bool old_is_enum(const json_t *value)
{
    size_t members = json_object_get(value, "jsonClass") ? 3 : 2;

    return json_object_size(value) == members && json_is_string(json_object_get(value, "value")) &&
           json_is_integer(json_object_get(value, "ordinal"));
}

static json_t *old_object(struct old *old, json_t *value)
{
    const char *class = json_string_value(json_object_get(value, "jsonClass"));
    json_t *map, *item;
    const char *key;

    if (class && strcmp(class, OLD_CLASS "Id") == 0)
        return old_id(old, value, json_object_get(value, "typeName"));
    if (class && strcmp(class, OLD_CLASS "Reference") == 0)
        return old_reference(old, value);
    if (class && strcmp(class, OLD_CLASS "Struct") == 0) {
        json_t *type = json_object_get(value, "typeName");

        return old_struct(old, value, json_is_string(type) ? type : NULL);
    }
    if (old_is_enum(value))
        return json_incref(json_object_get(value, "value"));
    map = json_object();
    json_object_foreach(value, key, item)
    {
        (void)json_object_set_new(map, key, old_value(old, item));
    }
    return map;
}

/* Owned. */
static json_t *old_value(struct old *old, json_t *value)
{
    json_t *list, *item;
    size_t i;

    if (json_is_object(value))
        return old_object(old, value);
    if (!json_is_array(value))
        return json_incref(value);
    list = json_array();
    json_array_foreach(value, i, item)
    {
        (void)json_array_append_new(list, old_value(old, item));
    }
    return list;
}

/* What is read at the top; NULL: an entity before it had it among its values, or it can't be read.
 */
static json_t *old_top(struct old *old, const json_t *entity)
{
    AUTO(mem_free) char *guid = old_guid(old, json_object_get(entity, "id"));

    return guid && old_note(old, guid) ? old_entity(old, entity, guid) : NULL;
}

static void old_begin(struct old *old)
{
    *old = (struct old){ .referred = json_object(), .known = json_object() };
}

/* Takes what was read of "entities" or "entity". */
static int old_end(struct old *old, const char *name, json_t *read, json_t **body,
                   struct entity_fault *fault)
{
    json_decref(old->known);
    *body = NULL;
    if (old->why) {
        json_decref(read);
        json_decref(old->referred);
        return hook_invalid(fault, old->why);
    }
    *body = json_pack("{s:o, s:o}", name, read, "referredEntities", old->referred);
    return 0;
}

int hook_old_entities(const json_t *entities, json_t **body, struct entity_fault *fault)
{
    json_t *list = json_array(), *entity;
    struct old old;
    size_t i;

    old_begin(&old);
    json_array_foreach(entities, i, entity)
    {
        json_t *made = old_top(&old, entity);

        if (made)
            (void)json_array_append_new(list, made);
    }
    return old_end(&old, "entities", list, body, fault);
}

int hook_old_entity(const json_t *entity, json_t **body, struct entity_fault *fault)
{
    struct old old;

    old_begin(&old);
    return old_end(&old, "entity", old_top(&old, entity), body, fault);
}
