#include "atlas/hook.h"

#include <string.h>

#include "base/span.h"
#include "base/utf8.h"
#include "hook_internal.h"

enum {
    HOOK_QUOTE_BYTES_MAX = 64,
    HOOK_USER_BYTES_MAX = 1024, /* stands in every row that it changes */
};

typedef int hook_read_kind(const json_t *notification, struct hook *hook,
                           struct entity_fault *fault);

int hook_invalid(struct entity_fault *fault, const char *what)
{
    return entity_fault_set(fault, 400, "invalid_message", "notification: %s", what);
}

/* Of createOrUpdate: both kinds are one. */
static int hook_read_store(const json_t *notification, struct hook *hook,
                           struct entity_fault *fault)
{
    json_t *with = json_object_get(notification, "entities");

    if (!json_is_object(with) || !json_is_array(json_object_get(with, "entities")))
        return hook_invalid(fault, "entities is not an object with an array of entities in it");
    hook->action = HOOK_STORE;
    hook->body = json_incref(with);
    return 0;
}

/* The body is a copy: it gets what is found out about its target. */
static int hook_read_update(const json_t *notification, struct hook *hook,
                            struct entity_fault *fault)
{
    json_t *target = json_object_get(notification, "entityId");
    const json_t *with = json_object_get(notification, "entity");
    const json_t *entity = json_object_get(with, "entity");
    json_t *own;

    if (!json_is_object(target))
        return hook_invalid(fault, "entityId is not an object");
    if (!json_is_object(entity))
        return hook_invalid(fault, "entity is not an object with an entity in it");
    hook->action = HOOK_UPDATE;
    hook->body = json_copy((json_t *)(uintptr_t)with);
    own = json_copy((json_t *)(uintptr_t)entity);
    (void)json_object_set_new(hook->body, "entity", own);
    hook->targets = json_array();
    (void)json_array_append(hook->targets, target);
    return 0;
}

static int hook_read_delete(const json_t *notification, struct hook *hook,
                            struct entity_fault *fault)
{
    json_t *targets = json_object_get(notification, "entities");

    if (!json_is_array(targets) || !json_array_size(targets))
        return hook_invalid(fault, "entities is not an array of references");
    hook->action = HOOK_DELETE;
    hook->targets = json_incref(targets);
    return 0;
}

/* ---- in the old form ---- */

/* By the one attribute that it names. */
static int hook_read_target_old(const json_t *notification, struct hook *hook,
                                struct entity_fault *fault)
{
    const char *type = json_string_value(json_object_get(notification, "typeName"));
    const char *attribute = json_string_value(json_object_get(notification, "attribute"));
    json_t *value = json_object_get(notification, "attributeValue");

    if (!type || !attribute || !json_is_string(value))
        return hook_invalid(fault, "typeName, attribute and attributeValue are not all strings");
    hook->targets =
        json_pack("[{s:s, s:{s:O}}]", "typeName", type, "uniqueAttributes", attribute, value);
    return 0;
}

static int hook_read_store_old(const json_t *notification, struct hook *hook,
                               struct entity_fault *fault)
{
    const json_t *entities = json_object_get(notification, "entities");

    if (!json_is_array(entities))
        return hook_invalid(fault, "entities is not an array of entities");
    hook->action = HOOK_STORE;
    return hook_old_entities(entities, &hook->body, fault);
}

static int hook_read_update_old(const json_t *notification, struct hook *hook,
                                struct entity_fault *fault)
{
    const json_t *entity = json_object_get(notification, "entity");

    if (!json_is_object(entity))
        return hook_invalid(fault, "entity is not an object");
    if (hook_old_entity(entity, &hook->body, fault) < 0)
        return -1;
    hook->action = HOOK_UPDATE;
    if (hook_read_target_old(notification, hook, fault) == 0)
        return 0;
    json_decref(hook->body);
    hook->body = NULL;
    return -1;
}

static int hook_read_delete_old(const json_t *notification, struct hook *hook,
                                struct entity_fault *fault)
{
    hook->action = HOOK_DELETE;
    return hook_read_target_old(notification, hook, fault);
}

static const struct {
    const char *name;
    hook_read_kind *read; /* NULL: a kind of Atlas's that is not taken */
} hook_kinds[] = {
    { "ENTITY_CREATE_V2", hook_read_store },
    { "ENTITY_FULL_UPDATE_V2", hook_read_store },
    { "ENTITY_PARTIAL_UPDATE_V2", hook_read_update },
    { "ENTITY_DELETE_V2", hook_read_delete },
    { "ENTITY_DELETE", hook_read_delete_old },
    { "ENTITY_CREATE", hook_read_store_old },
    { "ENTITY_FULL_UPDATE", hook_read_store_old },
    { "ENTITY_PARTIAL_UPDATE", hook_read_update_old },
    { "TYPE_CREATE", NULL },
    { "TYPE_UPDATE", NULL },
    { "IMPORT_TYPES_DEF", NULL },
    { "IMPORT_ENTITY", NULL },
};

int hook_read(const json_t *notification, struct hook *hook, struct entity_fault *fault)
{
    const char *kind = json_string_value(json_object_get(notification, "type"));
    const char *user = json_string_value(json_object_get(notification, "user"));
    struct span quote;

    *hook = (struct hook){ .user = user && *user ? user : "UNKNOWN" };
    if (!kind)
        return hook_invalid(fault, "there is no type in it");
    if (strlen(hook->user) > HOOK_USER_BYTES_MAX)
        return hook_invalid(fault, "user is longer than 1024 bytes");
    for (size_t i = 0; i < LENGTH(hook_kinds); i++) {
        if (strcmp(hook_kinds[i].name, kind) != 0)
            continue;
        if (!hook_kinds[i].read)
            return entity_fault_set(fault, 400, "unsupported_kind",
                                    "notification: %s is not taken, only what becomes of entities",
                                    kind);
        return hook_kinds[i].read(notification, hook, fault);
    }
    quote = utf8_cut(span_of(kind), HOOK_QUOTE_BYTES_MAX);
    return entity_fault_set(fault, 400, "unknown_kind",
                            "notification: there is no type of notification \"%.*s\"",
                            (int)quote.len, quote.data);
}

void hook_done(struct hook *hook)
{
    if (!hook)
        return;
    json_decref(hook->body);
    json_decref(hook->targets);
    *hook = (struct hook){ 0 };
}

void hook_aim(struct hook *hook, const char *guid, const char *type_name)
{
    json_t *entity = json_object_get(hook->body, "entity");

    (void)json_object_set_new(entity, "guid", json_string(guid));
    (void)json_object_set_new(entity, "typeName", json_string(type_name));
}
