#include "atlas/type_def.h"

#include <assert.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atlas/type_internal.h"
#include "atlas/type_value.h"
#include "base/buf.h"
#include "base/map.h"
#include "base/mem.h"

struct type_registry {
    atomic_uint refs;
    struct type *types;
    size_t len;
    struct type_list list; /* the same, as pointers */
    struct type_relation *relations;
    size_t relations_len;
    struct map *by_name, *by_guid; /* indexes into `types` */
    struct type_custom **customs;  /* owned references */
    size_t customs_len;
};

int type_fault_set(struct type_fault *fault, const char *code, const char *fmt, ...)
{
    va_list args;

    fault->status = (unsigned)strtoul(code + strlen("ATLAS-"), NULL, 10);
    fault->code = code;
    va_start(args, fmt);
    (void)vsnprintf(fault->message, sizeof(fault->message), fmt, args);
    va_end(args);
    return -1;
}

/* --------------------------------------------------------------------------------- definitions */

struct type_block {
    struct type_block *next;
    max_align_t data[];
};

struct type_custom *type_custom_new(void)
{
    struct type_custom *custom = xcalloc(1, sizeof(*custom));

    atomic_init(&custom->refs, 1);
    custom->bytes = sizeof(*custom);
    return custom;
}

void *type_custom_alloc(struct type_custom *custom, size_t count, size_t bytes)
{
    struct type_block *block;

    assert(!bytes || count <= (SIZE_MAX - sizeof(*block)) / bytes);
    block = xcalloc(1, sizeof(*block) + count * bytes);
    block->next = custom->blocks;
    custom->bytes += sizeof(*block) + count * bytes;
    custom->blocks = block;
    return block->data;
}

struct type_custom *type_custom_ref(struct type_custom *custom)
{
    (void)atomic_fetch_add(&custom->refs, 1);
    return custom;
}

void type_custom_free(struct type_custom *custom)
{
    if (!custom || atomic_fetch_sub(&custom->refs, 1) > 1)
        return;
    while (custom->blocks) {
        struct type_block *block = custom->blocks;

        custom->blocks = block->next;
        free(block);
    }
    free(custom);
}

/* --------------------------------------------------------------------------------- inheritance */

static void type_list_add(struct type_list *list, const struct type *type)
{
    list->items = xreallocarray(list->items, list->len + 1, sizeof(*list->items));
    list->items[list->len++] = type;
}

static void type_relation_add(struct type *type, const struct type_relation *relation)
{
    type->relations = xreallocarray(type->relations, type->relations_len + 1, sizeof(const void *));
    type->relations[type->relations_len++] = relation;
}

/* How types find what they inherit. */
struct type_heritage {
    struct type_registry *registry;
    struct type_fault *fault;
    size_t *depths;           /* of each type; 0: not known yet */
    const struct type **seen; /* of each type: the last one that was found to inherit from it */
    struct map *places;       /* of the attributes of one */
    size_t attributes_in_all;
};

static const struct type *type_super(const struct type_heritage *heritage, const char *name)
{
    return type_by_name(heritage->registry, span_of(name));
}

static void type_super_add(struct type_heritage *heritage, struct type *type,
                           const struct type *super)
{
    const struct type **seen = &heritage->seen[super - heritage->registry->types];

    if (*seen == type)
        return;
    *seen = type;
    type_list_add(&type->super_types, super);
}

/* Nobody changes what is inherited. */
static int type_fail_override(const struct type_heritage *heritage, const struct type *type,
                              const struct type_attribute *attribute)
{
    const char *const *names = type->def->super_types;

    while (!type_attribute(type_super(heritage, *names), span_of(attribute->name)))
        names++;
    return type_fault_set(heritage->fault, "ATLAS-400-00-09D",
                          "Invalid attribute name: %s.%s. Attribute already exists in parent type: "
                          "%s",
                          type->def->name, attribute->name, *names);
}

/* The attributes that `from` declares: the type itself, or one that it inherits from. Those that
 * have the same name in two of these are one attribute, if they are of one type. */
static int type_attributes_add(struct type_heritage *heritage, struct type *type,
                               const struct type_def *from)
{
    for (size_t i = 0; i < from->attributes_len; i++) {
        const struct type_attribute *attribute = &from->attributes[i];
        bool is_new;
        uint64_t place =
            *map_put(heritage->places, span_of(attribute->name), type->attributes_len, &is_new);

        if (!is_new && from == type->def)
            return type_fail_override(heritage, type, attribute);
        if (!is_new && strcmp(type->attributes[place]->type_name, attribute->type_name) != 0)
            return type_fault_set(heritage->fault, "ATLAS-400-00-029",
                                  "%s.%s: is inherited twice, as %.100s and as %.100s",
                                  type->def->name, attribute->name,
                                  type->attributes[place]->type_name, attribute->type_name);
        if (is_new && type->attributes_len == TYPE_ATTRIBUTES_MAX)
            return type_fault_set(heritage->fault, "ATLAS-400-00-029",
                                  "%s: has more than %d attributes", type->def->name,
                                  TYPE_ATTRIBUTES_MAX);
        if (is_new)
            type->attributes =
                xreallocarray(type->attributes, ++type->attributes_len, sizeof(const void *));
        type->attributes[place] = attribute;
    }
    return 0;
}

static int type_check_supers(const struct type_heritage *heritage, const struct type_def *def)
{
    for (size_t i = 0; def->super_types && def->super_types[i]; i++) {
        const struct type *parent = type_super(heritage, def->super_types[i]);

        if (!parent)
            return type_fault_set(heritage->fault, "ATLAS-404-00-001",
                                  "Given typename %s was invalid", def->super_types[i]);
        if (parent->def->category != def->category)
            return type_fault_set(heritage->fault, "ATLAS-400-00-003",
                                  "%s: incompatible supertype %s", parent->def->name, def->name);
    }
    return 0;
}

static int type_check_heritage(struct type_heritage *heritage, const struct type *type,
                               size_t depth)
{
    const char *name = type->def->name;

    heritage->attributes_in_all += type->attributes_len;
    if (depth > TYPE_DEPTH_MAX)
        return type_fault_set(heritage->fault, "ATLAS-400-00-029",
                              "%s: inherits through more than %d types", name, TYPE_DEPTH_MAX);
    if (type->super_types.len > TYPE_SUPER_TYPES_MAX)
        return type_fault_set(heritage->fault, "ATLAS-400-00-029",
                              "%s: inherits from more than %d types", name, TYPE_SUPER_TYPES_MAX);
    if (heritage->attributes_in_all > TYPE_ATTRIBUTES_IN_ALL_MAX)
        return type_fault_set(heritage->fault, "ATLAS-400-00-029",
                              "%s: all types together have more than %d attributes", name,
                              TYPE_ATTRIBUTES_IN_ALL_MAX);
    return 0;
}

/* Takes over what each super type has, then adds what is the type's own. 0 with its depth still 0:
 * a super type is not resolved yet, nothing was done. */
static int type_inherit(struct type_heritage *heritage, struct type *type)
{
    const char *const *names = type->def->super_types;
    size_t *depth = &heritage->depths[type - heritage->registry->types];
    size_t deepest = 0;

    for (size_t i = 0; names && names[i]; i++) {
        const struct type *parent = type_super(heritage, names[i]);
        size_t above = heritage->depths[parent - heritage->registry->types];

        if (!above)
            return 0;
        deepest = above > deepest ? above : deepest;
    }
    map_clear(heritage->places);
    for (size_t i = 0; names && names[i]; i++) {
        const struct type *parent = type_super(heritage, names[i]);

        for (size_t j = 0; j < parent->super_types.len; j++)
            type_super_add(heritage, type, parent->super_types.items[j]);
        type_super_add(heritage, type, parent);
    }
    for (size_t i = 0; i < type->super_types.len; i++) {
        if (type_attributes_add(heritage, type, type->super_types.items[i]->def) < 0)
            return -1;
    }
    if (type_attributes_add(heritage, type, type->def) < 0)
        return -1;
    *depth = deepest + 1;
    return type_check_heritage(heritage, type, deepest);
}

/* A type that inherits from itself is among those that are not resolved: goes up from `type`. */
static int type_fail_circle(const struct type_heritage *heritage, const struct type *type)
{
    AUTO(map_free) struct map *seen = map_new();
    AUTO(buf_done) struct buf path;
    bool is_new = true;

    buf_init(&path, TYPE_FAULT_BYTES / 2);
    for (;;) {
        const char *const *names = type->def->super_types;

        (void)map_put(seen, span_of(type->def->name), 0, &is_new);
        if (!is_new)
            break;
        buf_append_fmt(&path, "%s%s", path.len ? ", " : "", type->def->name);
        while (heritage->depths[type_super(heritage, *names) - heritage->registry->types])
            names++;
        type = type_super(heritage, *names);
    }
    return type_fault_set(heritage->fault, "ATLAS-400-00-002",
                          "%s: invalid supertypes - circular reference back to self [%s]",
                          type->def->name, buf_text(&path));
}

/* Types may be defined in any order: goes over them until every one has found its super types. */
static int type_registry_resolve(struct type_heritage *heritage)
{
    struct type_registry *registry = heritage->registry;
    size_t left = registry->len;

    for (size_t i = 0; i < registry->len; i++) {
        if (type_check_supers(heritage, registry->types[i].def) < 0)
            return -1;
    }
    while (left > 0) {
        size_t before = left, waiting = 0;

        for (size_t i = 0; i < registry->len; i++) {
            if (heritage->depths[i])
                continue;
            if (type_inherit(heritage, &registry->types[i]) < 0)
                return -1;
            if (heritage->depths[i])
                left--;
            else
                waiting = i;
        }
        if (left == before)
            return type_fail_circle(heritage, &registry->types[waiting]);
    }
    return 0;
}

static int type_registry_inherit(struct type_registry *registry, struct type_fault *fault)
{
    struct type_heritage heritage = { .registry = registry,
                                      .fault = fault,
                                      .depths = xcalloc(registry->len, sizeof(*heritage.depths)),
                                      .seen = xcalloc(registry->len, sizeof(*heritage.seen)),
                                      .places = map_new() };
    int rc = type_registry_resolve(&heritage);

    free(heritage.depths);
    free(heritage.seen);
    map_free(heritage.places);
    for (size_t i = 0; rc == 0 && i < registry->len; i++) {
        for (size_t j = 0; j < registry->types[i].super_types.len; j++) {
            size_t parent = (size_t)(registry->types[i].super_types.items[j] - registry->types);

            type_list_add(&registry->types[parent].sub_types, &registry->types[i]);
        }
    }
    return rc;
}

/* ------------------------------------------------------------------------------- relationships */

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
        .search_weight = TYPE_NO_WEIGHT,
    };
}

/* An attribute that is not there for references can't be one that a relationship gives. */
static int type_check_end(const struct type_registry *registry, const struct type *relationship,
                          const struct type_end *end, const struct type *near,
                          struct type_fault *fault)
{
    const struct type_attribute *declared = type_attribute(near, span_of(end->name));
    enum type_references references =
        declared ? type_value_references(registry, span_of(declared->type_name)) : TYPE_REFERENCE;

    if (references == TYPE_REFERENCE || references == TYPE_REFERENCE_LIST)
        return 0;
    return type_fault_set(fault, "ATLAS-400-00-044",
                          "Invalid relationshipDef: %s can't give %s the attribute %s, it has one "
                          "of type %.100s",
                          relationship->def->name, near->def->name, end->name, declared->type_name);
}

/* Those of one relationship, for its two ends and what inherits from them. */
static int type_relate(struct type_registry *registry, struct type *relationship, size_t *in_all,
                       struct type_fault *fault)
{
    const struct type *ends[2];

    for (size_t end = 0; end < 2; end++)
        ends[end] = type_by_name(registry, span_of(relationship->def->ends[end].type));
    *in_all += ends[0]->sub_types.len + ends[1]->sub_types.len + 2;
    if (*in_all > TYPE_RELATIONS_IN_ALL_MAX)
        return type_fault_set(
            fault, "ATLAS-400-00-029",
            "%s: relationships give more than %d attributes to all types together",
            relationship->def->name, TYPE_RELATIONS_IN_ALL_MAX);
    for (size_t end = 0; end < 2; end++) {
        struct type_relation *relation = &registry->relations[registry->relations_len++];

        if (type_check_end(registry, relationship, &relationship->def->ends[end], ends[end],
                           fault) < 0)
            return -1;
        type_relation_init(relation, relationship, end, ends[end], ends[1 - end]);
        type_relation_add(relationship, relation);
        type_relation_add(&registry->types[ends[end] - registry->types], relation);
        for (size_t i = 0; i < ends[end]->sub_types.len; i++) {
            const struct type *sub = ends[end]->sub_types.items[i];

            if (type_check_end(registry, relationship, &relationship->def->ends[end], sub, fault) <
                0)
                return -1;
            type_relation_add(&registry->types[sub - registry->types], relation);
        }
    }
    return 0;
}

static int type_registry_relate(struct type_registry *registry, struct type_fault *fault)
{
    size_t in_all = 0;

    registry->relations = xcalloc(registry->len * 2, sizeof(*registry->relations));
    for (size_t i = 0; i < registry->len; i++) {
        if (registry->types[i].def->category == TYPE_RELATIONSHIP &&
            type_relate(registry, &registry->types[i], &in_all, fault) < 0)
            return -1;
    }
    return 0;
}

/* -------------------------------------------------------------------------------- the registry */

/* A guid that follows from the name. */
static void type_guid(char guid[UUID_TEXT_LEN + 1], const char *name)
{
    AUTO(mem_free) char *text = xasprintf("atlas type %s", name);
    struct uuid uuid;

    uuid_named(&uuid, span_of(text));
    uuid_format(&uuid, guid);
}

static int type_registry_add(struct type_registry *registry, const struct type_def *def,
                             struct type_fault *fault)
{
    struct type *type = &registry->types[registry->len];
    bool is_new;

    (void)map_put(registry->by_name, span_of(def->name), registry->len, &is_new);
    if (!is_new)
        return type_fault_set(fault, "ATLAS-409-00-001", "Given type %s already exists", def->name);
    type->def = def;
    type_guid(type->guid, def->name);
    (void)map_put(registry->by_guid, span_of(type->guid), registry->len, &is_new);
    assert(is_new);
    type_list_add(&registry->list, type);
    registry->len++;
    return 0;
}

/* A description is short, those of all attributes of all types are not. */
static int type_registry_check_bytes(const struct type_registry *registry, struct type_fault *fault)
{
    size_t bytes = 0;

    for (size_t i = 0; i < registry->customs_len; i++)
        bytes += registry->customs[i]->bytes;
    if (bytes > TYPE_CUSTOMS_BYTES_MAX)
        return type_fault_set(fault, "ATLAS-400-00-029",
                              "the definitions of all types together take more than %d bytes",
                              TYPE_CUSTOMS_BYTES_MAX);
    return 0;
}

static int type_registry_fill(struct type_registry *registry, struct type_fault *fault)
{
    if (type_registry_check_bytes(registry, fault) < 0)
        return -1;
    for (size_t i = 0; i < type_builtin_len; i++) {
        if (type_registry_add(registry, &type_builtin[i], fault) < 0)
            return -1;
    }
    for (size_t i = 0; i < registry->customs_len; i++) {
        if (type_registry_add(registry, &registry->customs[i]->def, fault) < 0)
            return -1;
    }
    if (type_registry_inherit(registry, fault) < 0 || type_registry_check(registry, fault) < 0)
        return -1;
    return type_registry_relate(registry, fault);
}

struct type_registry *type_registry_make(struct type_custom *const *customs, size_t len,
                                         struct type_fault *fault)
{
    AUTO(type_registry_free) struct type_registry *registry = NULL;

    if (len > TYPE_CUSTOMS_MAX) {
        (void)type_fault_set(fault, "ATLAS-400-00-029", "more than %d types", TYPE_CUSTOMS_MAX);
        return NULL;
    }
    registry = xcalloc(1, sizeof(*registry));
    atomic_init(&registry->refs, 1);
    registry->by_name = map_new();
    registry->by_guid = map_new();
    registry->types = xcalloc(type_builtin_len + len, sizeof(*registry->types));
    registry->customs = xcalloc(len, sizeof(*registry->customs));
    for (size_t i = 0; i < len; i++)
        registry->customs[i] = type_custom_ref(customs[i]);
    registry->customs_len = len;
    return type_registry_fill(registry, fault) < 0 ? NULL : TAKE(registry);
}

struct type_registry *type_registry_new(void)
{
    struct type_fault fault;
    struct type_registry *registry = type_registry_make(NULL, 0, &fault);

    assert(registry);
    return registry;
}

struct type_registry *type_registry_ref(struct type_registry *registry)
{
    (void)atomic_fetch_add(&registry->refs, 1);
    return registry;
}

struct type_custom *const *type_registry_customs(const struct type_registry *registry, size_t *len)
{
    *len = registry->customs_len;
    return registry->customs;
}

void type_registry_free(struct type_registry *registry)
{
    if (!registry || atomic_fetch_sub(&registry->refs, 1) > 1)
        return;
    for (size_t i = 0; i < registry->len; i++) {
        free(registry->types[i].super_types.items);
        free(registry->types[i].sub_types.items);
        free(registry->types[i].attributes);
        free(registry->types[i].relations);
    }
    for (size_t i = 0; i < registry->relations_len; i++)
        free((void *)(uintptr_t)registry->relations[i].attribute.type_name);
    for (size_t i = 0; i < registry->customs_len; i++)
        type_custom_free(registry->customs[i]);
    free(registry->customs);
    free(registry->relations);
    free(registry->list.items);
    free(registry->types);
    map_free(registry->by_name);
    map_free(registry->by_guid);
    free(registry);
}

/* ------------------------------------------------------------------------------------- reading */

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

bool type_is_builtin(const struct type *type)
{
    return type->def->stamp.created_by == NULL;
}

/* Whether the entity is of one of the named types, or none is named. */
static bool type_list_has(const struct type_registry *registry, const char *const *names,
                          const struct type *entity)
{
    bool has = !names || !*names;

    for (; !has && *names; names++)
        has = type_is_a(entity, type_by_name(registry, span_of(*names)));
    return has;
}

bool type_classification_fits(const struct type_registry *registry,
                              const struct type *classification, const struct type *entity)
{
    bool fits = type_list_has(registry, classification->def->entity_types, entity);

    for (size_t i = 0; fits && i < classification->super_types.len; i++)
        fits = type_list_has(registry, classification->super_types.items[i]->def->entity_types,
                             entity);
    return fits;
}

int type_values_min(const struct type_attribute *attribute)
{
    if (!(attribute->flags & TYPE_MANDATORY))
        return 0;
    return attribute->cardinality == TYPE_SINGLE || attribute->values_min < 1
               ? 1
               : attribute->values_min;
}

int type_values_max(const struct type_attribute *attribute)
{
    if (attribute->cardinality == TYPE_SINGLE)
        return 1;
    return attribute->values_max < 2 ? INT_MAX : attribute->values_max;
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
