#include "atlas/type_def.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "atlas/type_internal.h"
#include "base/map.h"
#include "base/mem.h"

struct type_registry {
    struct type *types;
    size_t len;
    struct type_list list; /* the same, as pointers */
    struct type_relation *relations;
    size_t relations_len;
    struct map *by_name, *by_guid; /* indexes into `types` */
};

static void type_list_add(struct type_list *list, const struct type *type)
{
    for (size_t i = 0; i < list->len; i++) {
        if (list->items[i] == type)
            return;
    }
    list->items = xreallocarray(list->items, list->len + 1, sizeof(*list->items));
    list->items[list->len++] = type;
}

/* An attribute takes the place of an inherited one of its name. */
static void type_attribute_add(struct type *type, const struct type_attribute *attribute)
{
    for (size_t i = 0; i < type->attributes_len; i++) {
        if (strcmp(type->attributes[i]->name, attribute->name) == 0) {
            type->attributes[i] = attribute;
            return;
        }
    }
    type->attributes =
        xreallocarray(type->attributes, type->attributes_len + 1, sizeof(const void *));
    type->attributes[type->attributes_len++] = attribute;
}

static void type_relation_add(struct type *type, const struct type_relation *relation)
{
    type->relations = xreallocarray(type->relations, type->relations_len + 1, sizeof(const void *));
    type->relations[type->relations_len++] = relation;
}

/* Takes over what each super type has, then adds what is the type's own. False: a super type is not
 * resolved yet, nothing was done. */
static bool type_inherit(const struct type_registry *registry, struct type *type,
                         const bool *is_resolved)
{
    const char *const *names = type->def->super_types;

    for (size_t i = 0; names && names[i]; i++) {
        const struct type *parent = type_by_name(registry, span_of(names[i]));

        assert(parent && parent->def->category == TYPE_ENTITY);
        if (!is_resolved[parent - registry->types])
            return false;
    }
    for (size_t i = 0; names && names[i]; i++) {
        const struct type *parent = type_by_name(registry, span_of(names[i]));

        for (size_t j = 0; j < parent->super_types.len; j++)
            type_list_add(&type->super_types, parent->super_types.items[j]);
        type_list_add(&type->super_types, parent);
        for (size_t j = 0; j < parent->attributes_len; j++)
            type_attribute_add(type, parent->attributes[j]);
    }
    for (size_t i = 0; i < type->def->attributes_len; i++)
        type_attribute_add(type, &type->def->attributes[i]);
    return true;
}

/* Types may be defined in any order: goes over them until every one has found its super types. */
static void type_registry_inherit(struct type_registry *registry)
{
    bool *is_resolved = xcalloc(registry->len, sizeof(*is_resolved));
    size_t left = registry->len;

    while (left > 0) {
        size_t before = left;

        for (size_t i = 0; i < registry->len; i++) {
            if (is_resolved[i] || !type_inherit(registry, &registry->types[i], is_resolved))
                continue;
            is_resolved[i] = true;
            left--;
        }
        assert(left < before); /* else types inherit from each other */
    }
    free(is_resolved);
    for (size_t i = 0; i < registry->len; i++) {
        for (size_t j = 0; j < registry->types[i].super_types.len; j++) {
            size_t parent = (size_t)(registry->types[i].super_types.items[j] - registry->types);

            type_list_add(&registry->types[parent].sub_types, &registry->types[i]);
        }
    }
}

/* What the entity type `near` gets from `relationship`. As in Atlas a child of a composition can't
 * be without its container, and a declared attribute stays as it was declared. */
static void type_relation_init(struct type_relation *relation, const struct type *relationship,
                               size_t end, const struct type *near, const struct type *other)
{
    const struct type_def *def = relationship->def;
    const struct type_end *mine = &def->ends[end];
    const struct type_attribute *declared = type_attribute(near, span_of(mine->name));
    bool is_composition = def->ownership == TYPE_COMPOSITION;

    *relation = (struct type_relation){
        .relationship = relationship,
        .other = other,
        .end = end,
        .is_declared = declared != NULL,
        .is_legacy = declared || mine->is_legacy,
        .is_owner = is_composition && mine->is_container,
    };
    if (declared) {
        relation->attribute = *declared;
        relation->attribute.type_name = xstrdup(declared->type_name);
        return;
    }
    relation->attribute = (struct type_attribute){
        .name = mine->name,
        .type_name = mine->cardinality == TYPE_SINGLE ? xstrdup(other->def->name)
                                                      : xasprintf("array<%s>", other->def->name),
        .cardinality = mine->cardinality,
        .flags = is_composition && !mine->is_container ? TYPE_MANDATORY : TYPE_OPTIONAL,
    };
}

static void type_registry_relate(struct type_registry *registry)
{
    registry->relations = xcalloc(registry->len * 2, sizeof(*registry->relations));
    for (size_t i = 0; i < registry->len; i++) {
        struct type *relationship = &registry->types[i];
        const struct type *ends[2];

        if (relationship->def->category != TYPE_RELATIONSHIP)
            continue;
        for (size_t end = 0; end < 2; end++) {
            ends[end] = type_by_name(registry, span_of(relationship->def->ends[end].type));
            assert(ends[end] && ends[end]->def->category == TYPE_ENTITY);
        }
        for (size_t end = 0; end < 2; end++) {
            struct type_relation *relation = &registry->relations[registry->relations_len++];

            type_relation_init(relation, relationship, end, ends[end], ends[1 - end]);
            type_relation_add(relationship, relation);
            for (size_t j = 0; j < registry->len; j++) {
                if (type_is_a(&registry->types[j], ends[end]))
                    type_relation_add(&registry->types[j], relation);
            }
        }
    }
}

/* A guid that follows from the name. */
static void type_guid(char guid[UUID_TEXT_LEN + 1], const char *name)
{
    AUTO(mem_free) char *text = xasprintf("atlas type %s", name);
    struct uuid uuid;

    uuid_named(&uuid, span_of(text));
    uuid_format(&uuid, guid);
}

struct type_registry *type_registry_new(void)
{
    struct type_registry *registry = xcalloc(1, sizeof(*registry));
    bool is_new;

    registry->by_name = map_new();
    registry->by_guid = map_new();
    registry->len = type_builtin_len;
    registry->types = xcalloc(registry->len, sizeof(*registry->types));
    for (size_t i = 0; i < registry->len; i++) {
        struct type *type = &registry->types[i];

        type->def = &type_builtin[i];
        type_guid(type->guid, type->def->name);
        (void)map_put(registry->by_name, span_of(type->def->name), i, &is_new);
        assert(is_new);
        (void)map_put(registry->by_guid, span_of(type->guid), i, &is_new);
        assert(is_new);
        type_list_add(&registry->list, type);
    }
    type_registry_inherit(registry);
    type_registry_relate(registry);
    return registry;
}

void type_registry_free(struct type_registry *registry)
{
    if (!registry)
        return;
    for (size_t i = 0; i < registry->len; i++) {
        free(registry->types[i].super_types.items);
        free(registry->types[i].sub_types.items);
        free(registry->types[i].attributes);
        free(registry->types[i].relations);
    }
    for (size_t i = 0; i < registry->relations_len; i++)
        free((void *)(uintptr_t)registry->relations[i].attribute.type_name);
    free(registry->relations);
    free(registry->list.items);
    free(registry->types);
    map_free(registry->by_name);
    map_free(registry->by_guid);
    free(registry);
}

struct type_list type_registry_types(const struct type_registry *registry)
{
    return registry->list;
}

const struct type *type_by_name(const struct type_registry *registry, struct span name)
{
    const uint64_t *index = map_get(registry->by_name, name);

    return index ? &registry->types[*index] : NULL;
}

const struct type *type_by_guid(const struct type_registry *registry, struct span guid)
{
    const uint64_t *index = map_get(registry->by_guid, guid);

    return index ? &registry->types[*index] : NULL;
}

bool type_is_a(const struct type *type, const struct type *ancestor)
{
    if (type == ancestor)
        return true;
    for (size_t i = 0; i < type->super_types.len; i++) {
        if (type->super_types.items[i] == ancestor)
            return true;
    }
    return false;
}

const struct type_attribute *type_attribute(const struct type *type, struct span name)
{
    for (size_t i = 0; i < type->attributes_len; i++) {
        if (span_is(name, type->attributes[i]->name))
            return type->attributes[i];
    }
    return NULL;
}

const struct type_relation *type_relation(const struct type *type, struct span name,
                                          const struct type *relationship)
{
    for (size_t i = 0; i < type->relations_len; i++) {
        const struct type_relation *relation = type->relations[i];

        if (span_is(name, relation->attribute.name) &&
            (!relationship || relation->relationship == relationship))
            return relation;
    }
    return NULL;
}

const char *type_option(const struct type_option *options, const char *name)
{
    for (size_t i = 0; options && options[i].name; i++) {
        if (strcmp(options[i].name, name) == 0)
            return options[i].value;
    }
    return NULL;
}
