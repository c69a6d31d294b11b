/* Whether types fit together, with the words of Atlas where they don't. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "atlas/type_internal.h"
#include "atlas/type_value.h"
#include "base/buf.h"
#include "base/mem.h"

/* As Atlas writes them. */
#define CHECK_QUOTED "\u2018%s\u2018"
#define CHECK_LISTED "\u2018[%s]\u2018"

/* A check under way. */
struct type_check {
    const struct type_registry *registry;
    struct type_fault *fault;
};

static const char *const type_primitives[] = {
    "boolean", "byte",   "short",      "int",        "long", "float",
    "double",  "string", "biginteger", "bigdecimal", "date", "objectid",
};

bool type_name_is_primitive(struct span name)
{
    for (size_t i = 0; i < LENGTH(type_primitives); i++) {
        if (span_is(name, type_primitives[i]))
            return true;
    }
    return false;
}

/* ---------------------------------------------------------------------------------- attributes */

/* One of the names that the type of an attribute is made of. */
static int check_name(const struct type_check *check, const struct type_def *def,
                      const struct type_attribute *attribute, struct span name)
{
    const struct type *type;

    if (type_name_is_primitive(name))
        return 0;
    type = type_by_name(check->registry, name);
    if (!type)
        return type_fault_set(check->fault, "ATLAS-404-00-001", "Given typename %.*s was invalid",
                              (int)name.len, name.data);
    if (type->def->category == TYPE_CLASSIFICATION)
        return type_fault_set(
            check->fault, "ATLAS-400-00-081",
            "%s.%s: invalid attribute type. Attribute cannot be of type classification", def->name,
            attribute->name);
    if (type->def->category == TYPE_RELATIONSHIP)
        return type_fault_set(check->fault, "ATLAS-400-00-00A", "%s: Unknown/invalid typename",
                              attribute->type_name);
    if (def->category == TYPE_RELATIONSHIP && type->def->category == TYPE_ENTITY)
        return type_fault_set(check->fault, "ATLAS-400-00-02F",
                              "Cannot set an Attribute with type %s on relationship def %s, as it "
                              "is not a primitive type ",
                              attribute->type_name, def->name);
    return 0;
}

static int check_attribute(const struct type_check *check, const struct type_def *def,
                           const struct type_attribute *attribute)
{
    struct type_name name = type_name_split(span_of(attribute->type_name));

    if (attribute->cardinality != TYPE_SINGLE && name.kind != TYPE_NAME_ARRAY)
        return type_fault_set(check->fault, "ATLAS-400-00-012",
                              "Cardinality of attribute %s.%s requires a list or set type",
                              def->name, attribute->name);
    while (name.kind != TYPE_NAME_PLAIN) {
        if (name.kind == TYPE_NAME_MAP && check_name(check, def, attribute, name.key) < 0)
            return -1;
        name = type_name_split(name.element);
    }
    return check_name(check, def, attribute, name.element);
}

/* ------------------------------------------------------------------------------- relationships */

static int check_end(const struct type_check *check, const struct type_def *def,
                     const struct type_end *end)
{
    const struct type *type = type_by_name(check->registry, span_of(end->type));

    if (!type && !type_name_is_primitive(span_of(end->type)))
        return type_fault_set(check->fault, "ATLAS-404-00-001", "Given typename %s was invalid",
                              end->type);
    if (!type || type->def->category != TYPE_ENTITY)
        return type_fault_set(check->fault, "ATLAS-400-00-035",
                              "relationshipDef %s has invalid end type %s", def->name, end->type);
    return 0;
}

static int check_containers(const struct type_check *check, const struct type_def *def)
{
    const struct type_end *ends = def->ends;
    bool is_contained = ends[0].is_container || ends[1].is_container;

    if (ends[0].is_container && ends[1].is_container)
        return type_fault_set(check->fault, "ATLAS-400-00-02D",
                              "relationshipDef %s creation attempted with both ends as containers",
                              def->name);
    if (is_contained && def->ownership == TYPE_ASSOCIATION)
        return type_fault_set(
            check->fault, "ATLAS-400-00-030",
            "ASSOCIATION relationshipDef %s creation attempted with an end specifying isContainer",
            def->name);
    if (!is_contained && def->ownership != TYPE_ASSOCIATION) {
        bool is_composition = def->ownership == TYPE_COMPOSITION;

        return type_fault_set(
            check->fault, is_composition ? "ATLAS-400-00-031" : "ATLAS-400-00-032",
            "%s relationshipDef %s creation attempted without an end specifying isContainer",
            is_composition ? "COMPOSITION" : "AGGREGATION", def->name);
    }
    return 0;
}

static int check_relationship(const struct type_check *check, const struct type_def *def)
{
    for (size_t i = 0; i < 2; i++) {
        if (check_end(check, def, &def->ends[i]) < 0)
            return -1;
    }
    if (def->ends[0].cardinality == TYPE_LIST || def->ends[1].cardinality == TYPE_LIST)
        return type_fault_set(check->fault, "ATLAS-400-00-034",
                              "relationshipDef %s cannot have a LIST cardinality on an end",
                              def->name);
    if (check_containers(check, def) < 0)
        return -1;
    for (size_t i = 0; def->ownership == TYPE_COMPOSITION && i < 2; i++) {
        if (def->ends[i].cardinality == TYPE_SET && !def->ends[i].is_container)
            return type_fault_set(check->fault, "ATLAS-400-00-033",
                                  "COMPOSITION relationshipDef %s can only have one parent; so "
                                  "cannot have SET cardinality on children",
                                  def->name);
    }
    return 0;
}

/* ----------------------------------------------------------------------------- classifications */

/* On which types of entities a classification may be by its own `entityTypes`: a bit for each type
 * of the registry. */
struct check_sets {
    const struct type_check *check;
    struct type_list types;
    uint64_t **own; /* owned; NULL: on any */
    size_t words;
    size_t covered; /* in all */
};

static size_t check_place(const struct check_sets *sets, const struct type *type)
{
    return (size_t)(type - sets->types.items[0]);
}

static void check_set_add(const struct check_sets *sets, uint64_t *set, const struct type *type)
{
    size_t place = check_place(sets, type);

    set[place / 64] |= UINT64_C(1) << place % 64;
}

static bool check_set_has(const struct check_sets *sets, const uint64_t *set,
                          const struct type *type)
{
    size_t place = check_place(sets, type);

    return (set[place / 64] >> place % 64 & 1) != 0;
}

static int check_make_set(struct check_sets *sets, const struct type *type)
{
    const char *const *names = type->def->entity_types;
    struct type_fault *fault = sets->check->fault;
    uint64_t *set;

    if (!names || !*names)
        return 0;
    set = sets->own[check_place(sets, type)] = xcalloc(sets->words, sizeof(*set));
    for (; *names; names++) {
        const struct type *entity = type_by_name(sets->check->registry, span_of(*names));

        if (!entity || entity->def->category != TYPE_ENTITY)
            return type_fault_set(fault, "ATLAS-400-00-052",
                                  "ClassificationDef " CHECK_QUOTED " has invalid " CHECK_QUOTED
                                  " in entityTypes",
                                  type->def->name, *names);
        sets->covered += entity->sub_types.len + 1;
        if (sets->covered > TYPE_RELATIONS_IN_ALL_MAX)
            return type_fault_set(fault, "ATLAS-400-00-029",
                                  "%s: the entityTypes of all classifications together are more "
                                  "than %d types",
                                  type->def->name, TYPE_RELATIONS_IN_ALL_MAX);
        check_set_add(sets, set, entity);
        for (size_t i = 0; i < entity->sub_types.len; i++)
            check_set_add(sets, set, entity->sub_types.items[i]);
    }
    return 0;
}

static int check_fail_subset(const struct check_sets *sets, const struct type_def *def)
{
    AUTO(buf_done) struct buf all;

    buf_init(&all, TYPE_FAULT_BYTES / 2);
    for (size_t i = 0; def->entity_types[i]; i++)
        buf_append_fmt(&all, "%s%s", i ? ", " : "", def->entity_types[i]);
    return type_fault_set(sets->check->fault, "ATLAS-400-00-054",
                          "ClassificationDef " CHECK_QUOTED " has entityTypes " CHECK_LISTED
                          " which are not subsets of it's supertypes entityTypes",
                          def->name, buf_text(&all));
}

/* What a classification allows, those above it must allow; and together they must allow
 * something. `both`: room for a set. */
static int check_classification(const struct check_sets *sets, const struct type *type,
                                uint64_t *both)
{
    const char *const *names = type->def->entity_types;
    bool is_empty = false;

    memset(both, 0xff, sets->words * sizeof(*both));
    for (size_t i = 0; i < type->super_types.len; i++) {
        const uint64_t *set = sets->own[check_place(sets, type->super_types.items[i])];

        if (!set)
            continue;
        is_empty = true;
        for (size_t word = 0; word < sets->words; word++) {
            both[word] &= set[word];
            is_empty = is_empty && !both[word];
        }
    }
    if (is_empty)
        return type_fault_set(
            sets->check->fault, "ATLAS-400-00-053",
            "ClassificationDef " CHECK_QUOTED
            " has supertypes whose entityTypes are disjoint; e.g. 2 supertypes that are not "
            "related by inheritance specify different non empty entityType lists. This means the "
            "child cannot honour the restrictions specified in both parents.",
            type->def->name);
    for (; names && *names; names++) {
        if (!check_set_has(sets, both, type_by_name(sets->check->registry, span_of(*names))))
            return check_fail_subset(sets, type->def);
    }
    return 0;
}

static int check_classifications(const struct type_check *check)
{
    struct check_sets sets = { .check = check, .types = type_registry_types(check->registry) };
    uint64_t *both;
    int rc = 0;

    sets.words = sets.types.len / 64 + 1;
    sets.own = xcalloc(sets.types.len, sizeof(*sets.own));
    both = xcalloc(sets.words, sizeof(*both));
    for (size_t i = 0; rc == 0 && i < sets.types.len; i++) {
        if (sets.types.items[i]->def->category == TYPE_CLASSIFICATION)
            rc = check_make_set(&sets, sets.types.items[i]);
    }
    for (size_t i = 0; rc == 0 && i < sets.types.len; i++) {
        if (sets.types.items[i]->def->category == TYPE_CLASSIFICATION)
            rc = check_classification(&sets, sets.types.items[i], both);
    }
    for (size_t i = 0; i < sets.types.len; i++)
        free(sets.own[i]);
    free(sets.own);
    free(both);
    return rc;
}

int type_registry_check(const struct type_registry *registry, struct type_fault *fault)
{
    struct type_check check = { registry, fault };
    struct type_list types = type_registry_types(registry);

    for (size_t i = 0; i < types.len; i++) {
        const struct type_def *def = types.items[i]->def;

        for (size_t j = 0; j < def->attributes_len; j++) {
            if (check_attribute(&check, def, &def->attributes[j]) < 0)
                return -1;
        }
        if (def->category == TYPE_RELATIONSHIP && check_relationship(&check, def) < 0)
            return -1;
    }
    return check_classifications(&check);
}
