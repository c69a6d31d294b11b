#include "atlas/type_json.h"

#include <ctype.h>
#include <stdint.h>
#include <strings.h>

#include "atlas/type_internal.h"
#include "base/mem.h"

/* What is built in is the same in every database, who made it and when included: 2026-11-21. */
#define TYPE_USER "plumbline"
#define TYPE_TIME_MS INT64_C(1795219200000)
#define TYPE_VERSION "1.0"

static const struct {
    const char *name;
    const char *alias;  /* an older name that filters may use */
    const char *member; /* of an AtlasTypesDef */
} type_categories[TYPE_CATEGORIES] = {
    [TYPE_ENUM] = { "ENUM", NULL, "enumDefs" },
    [TYPE_STRUCT] = { "STRUCT", NULL, "structDefs" },
    [TYPE_CLASSIFICATION] = { "CLASSIFICATION", "TRAIT", "classificationDefs" },
    [TYPE_ENTITY] = { "ENTITY", "CLASS", "entityDefs" },
    [TYPE_RELATIONSHIP] = { "RELATIONSHIP", NULL, "relationshipDefs" },
    [TYPE_BUSINESS_METADATA] = { "BUSINESS_METADATA", NULL, "businessMetadataDefs" },
};

const char *const type_cardinalities[] = { "SINGLE", "LIST", "SET", NULL };
const char *const type_ownerships[] = { "ASSOCIATION", "AGGREGATION", "COMPOSITION", NULL };
const char *const type_propagations[] = { "NONE", "ONE_TO_TWO", "TWO_TO_ONE", "BOTH", NULL };

const char *type_category_name(enum type_category category)
{
    return type_categories[category].name;
}

const char *type_category_member(enum type_category category)
{
    return type_categories[category].member;
}

const char *type_category_old_name(enum type_category category)
{
    const char *alias = type_categories[category].alias;

    return alias ? alias : type_categories[category].name;
}

static void type_put(json_t *object, const char *name, json_t *value)
{
    (void)json_object_set_new_nocheck(object, name, value);
}

static void type_put_text(json_t *object, const char *name, const char *text)
{
    if (text)
        type_put(object, name, json_string_nocheck(text));
}

static void type_put_options(json_t *object, const struct type_option *options)
{
    json_t *map;

    if (!options)
        return;
    map = json_object();
    for (; options->name; options++)
        type_put_text(map, options->name, options->value);
    type_put(object, "options", map);
}

/* How many values: an attribute keeps its bounds, one that comes of a relationship alone has none
 * (-1). */
static void type_put_counts(json_t *object, const struct type_attribute *attribute, bool is_bounded)
{
    int min = type_values_min(attribute), max = type_values_max(attribute);

    type_put(object, "valuesMinCount", json_integer(is_bounded ? min : -1));
    type_put(object, "valuesMaxCount", json_integer(is_bounded ? max : -1));
}

static json_t *type_attribute_json(const struct type_attribute *attribute, bool is_bounded,
                                   bool is_owner)
{
    unsigned flags = attribute->flags;
    json_t *object = json_object(), *constraints = json_array();

    type_put_text(object, "name", attribute->name);
    type_put_text(object, "typeName", attribute->type_name);
    type_put(object, "isOptional", json_boolean(!(flags & TYPE_MANDATORY)));
    type_put_text(object, "cardinality", type_cardinalities[attribute->cardinality]);
    type_put_counts(object, attribute, is_bounded);
    type_put(object, "isUnique", json_boolean(flags & TYPE_UNIQUE));
    type_put(object, "isIndexable", json_boolean(flags & TYPE_INDEXED));
    type_put(object, "includeInNotification", json_boolean(flags & TYPE_NOTIFIED));
    type_put_text(object, "defaultValue", attribute->default_value);
    type_put_text(object, "description", attribute->description);
    type_put(object, "searchWeight", json_integer(attribute->search_weight));
    type_put_text(object, "indexType", flags & TYPE_TEXT_INDEX ? "STRING" : NULL);
    if (is_owner || flags & TYPE_OWNED)
        (void)json_array_append_new(constraints, json_pack("{s:s}", "type", "ownedRef"));
    if (attribute->inverse)
        (void)json_array_append_new(constraints,
                                    json_pack("{s:s, s:{s:s}}", "type", "inverseRef", "params",
                                              "attribute", attribute->inverse));
    if (json_array_size(constraints))
        (void)json_object_set(object, "constraints", constraints);
    json_decref(constraints);
    type_put_options(object, attribute->options);
    type_put_text(object, "displayName", attribute->display_name);
    return object;
}

static json_t *type_attributes_json(const struct type_def *def)
{
    json_t *array = json_array();

    for (size_t i = 0; i < def->attributes_len; i++)
        (void)json_array_append_new(array, type_attribute_json(&def->attributes[i], true, false));
    return array;
}

static json_t *type_relations_json(const struct type *type)
{
    json_t *array = json_array();

    for (size_t i = 0; i < type->relations_len; i++) {
        const struct type_relation *relation = type->relations[i];
        json_t *object = type_attribute_json(&relation->attribute, relation->is_declared,
                                             relation->is_owner && !relation->is_declared);

        type_put_text(object, "relationshipTypeName", relation->relationship->def->name);
        type_put(object, "isLegacyAttribute", json_boolean(relation->is_legacy));
        (void)json_array_append_new(array, object);
    }
    return array;
}

static json_t *type_names_json(const char *const *names)
{
    json_t *array = json_array();

    for (; names && *names; names++)
        (void)json_array_append_new(array, json_string_nocheck(*names));
    return array;
}

/* The direct ones. */
static json_t *type_sub_types_json(const struct type *type)
{
    json_t *array = json_array();

    for (size_t i = 0; i < type->sub_types.len; i++) {
        const struct type_def *sub = type->sub_types.items[i]->def;

        for (size_t j = 0; sub->super_types[j]; j++) {
            if (strcmp(sub->super_types[j], type->def->name) == 0)
                (void)json_array_append_new(array, json_string_nocheck(sub->name));
        }
    }
    return array;
}

static json_t *type_elements_json(const struct type_def *def)
{
    json_t *array = json_array();

    for (size_t i = 0; i < def->elements_len; i++)
        (void)json_array_append_new(array,
                                    json_pack("{s:s, s:s*, s:i}", "value", def->elements[i].value,
                                              "description", def->elements[i].description,
                                              "ordinal", def->elements[i].ordinal));
    return array;
}

static json_t *type_end_json(const struct type_end *end)
{
    return json_pack("{s:s, s:s, s:s*, s:b, s:s, s:b}", "type", end->type, "name", end->name,
                     "description", end->description, "isContainer", end->is_container,
                     "cardinality", type_cardinalities[end->cardinality], "isLegacyAttribute",
                     end->is_legacy);
}

static void type_put_stamp(json_t *object, const struct type_def *def)
{
    static const struct type_stamp builtin = { TYPE_USER, TYPE_USER, TYPE_TIME_MS, TYPE_TIME_MS,
                                               1 };
    const struct type_stamp *stamp = def->stamp.created_by ? &def->stamp : &builtin;

    type_put_text(object, "createdBy", stamp->created_by);
    type_put_text(object, "updatedBy", stamp->updated_by);
    type_put(object, "createTime", json_integer(stamp->created_ms));
    type_put(object, "updateTime", json_integer(stamp->updated_ms));
    type_put(object, "version", json_integer(stamp->version));
}

/* `type` is NULL for what the definition alone says. */
static json_t *type_make_json(const struct type_def *def, const struct type *type)
{
    json_t *object = json_object();

    type_put_text(object, "category", type_category_name(def->category));
    type_put_text(object, "guid", type ? type->guid : NULL);
    type_put_stamp(object, def);
    type_put_text(object, "name", def->name);
    type_put_text(object, "description", def->description);
    type_put_text(object, "typeVersion", def->type_version ? def->type_version : TYPE_VERSION);
    type_put_text(object, "serviceType", def->service);
    type_put_options(object, def->options);
    if (def->category == TYPE_ENUM) {
        type_put(object, "elementDefs", type_elements_json(def));
        type_put_text(object, "defaultValue", def->default_value);
    } else {
        type_put(object, "attributeDefs", type_attributes_json(def));
    }
    if (def->category == TYPE_ENTITY || def->category == TYPE_CLASSIFICATION)
        type_put(object, "superTypes", type_names_json(def->super_types));
    if (def->category == TYPE_CLASSIFICATION)
        type_put(object, "entityTypes", type_names_json(def->entity_types));
    if (type && (def->category == TYPE_ENTITY || def->category == TYPE_CLASSIFICATION))
        type_put(object, "subTypes", type_sub_types_json(type));
    if (type && def->category == TYPE_ENTITY) {
        type_put(object, "relationshipAttributeDefs", type_relations_json(type));
        type_put(object, "businessAttributeDefs", json_object());
    }
    if (def->category == TYPE_RELATIONSHIP) {
        type_put_text(object, "relationshipCategory", type_ownerships[def->ownership]);
        type_put_text(object, "relationshipLabel", def->label);
        type_put_text(object, "propagateTags", type_propagations[def->propagation]);
        type_put(object, "endDef1", type_end_json(&def->ends[0]));
        type_put(object, "endDef2", type_end_json(&def->ends[1]));
    }
    return object;
}

json_t *type_json(const struct type *type)
{
    return type_make_json(type->def, type);
}

json_t *type_def_json(const struct type_def *def)
{
    return type_make_json(def, NULL);
}

/* Two of the same category. */
bool type_def_is_same(const struct type_def *a, const struct type_def *b)
{
    static const char *const stamps[] = { "createdBy", "updatedBy", "createTime", "updateTime",
                                          "version" };
    json_auto_t *left = type_def_json(a);
    json_auto_t *right = type_def_json(b);

    for (size_t i = 0; i < LENGTH(stamps); i++) {
        (void)json_object_del(left, stamps[i]);
        (void)json_object_del(right, stamps[i]);
    }
    return json_equal(left, right);
}

static bool type_span_is_blank(struct span text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!isspace((unsigned char)text.data[i]))
            return false;
    }
    return true;
}

static bool type_span_is_case(struct span text, const char *name)
{
    return name && text.len == strlen(name) && strncasecmp(text.data, name, text.len) == 0;
}

static bool type_inherits(const struct type *type, struct span super_type)
{
    for (size_t i = 0; i < type->super_types.len; i++) {
        if (span_is(super_type, type->super_types.items[i]->def->name))
            return true;
    }
    return false;
}

static bool type_fits(const struct type *type, const struct type_filter *filter)
{
    const struct type_def *def = type->def;

    if (!type_span_is_blank(filter->type) &&
        !type_span_is_case(filter->type, type_categories[def->category].name) &&
        !type_span_is_case(filter->type, type_categories[def->category].alias))
        return false;
    if (!type_span_is_blank(filter->name) && !span_is(filter->name, def->name))
        return false;
    if (!type_span_is_blank(filter->not_name) && span_is(filter->not_name, def->name))
        return false;
    if (!type_span_is_blank(filter->super_type) && !type_inherits(type, filter->super_type))
        return false;
    if (!type_span_is_blank(filter->not_super_type) && type_inherits(type, filter->not_super_type))
        return false;
    if (!type_span_is_blank(filter->service_type) && !span_is(filter->service_type, def->service))
        return false;
    if (!type_span_is_blank(filter->not_service_type) &&
        span_is(filter->not_service_type, def->service))
        return false;
    return true;
}

/* Those of one category, as its member. */
static int type_write_category(enum type_category category, const struct type *const *types,
                               size_t len, const struct type_filter *filter,
                               json_dump_callback_t write, void *ctx)
{
    AUTO(mem_free)
    char *before = xasprintf("%s\"%s\":[", category ? "]," : "{", type_categories[category].member);
    size_t before_len = strlen(before);

    if (write(before, before_len, ctx) < 0)
        return -1;
    before_len = 0;
    for (size_t i = 0; i < len; i++) {
        json_auto_t *json = NULL;

        if (types[i]->def->category != category || !type_fits(types[i], filter))
            continue;
        json = type_json(types[i]);
        if (write(",", before_len, ctx) < 0 ||
            json_dump_callback(json, write, ctx, JSON_COMPACT) < 0)
            return -1;
        before_len = 1;
    }
    return 0;
}

int type_defs_write(const struct type *const *types, size_t len, const struct type_filter *filter,
                    json_dump_callback_t write, void *ctx)
{
    static const struct type_filter any = { 0 };

    for (int i = 0; i < TYPE_CATEGORIES; i++) {
        if (type_write_category((enum type_category)i, types, len, filter ? filter : &any, write,
                                ctx) < 0)
            return -1;
    }
    return write("]}", 2, ctx);
}

static json_t *type_header_json(const struct type *type)
{
    return json_pack("{s:s, s:s, s:s*, s:s}", "guid", type->guid, "name", type->def->name,
                     "serviceType", type->def->service, "category",
                     type_category_name(type->def->category));
}

json_t *type_headers_json(const struct type_registry *registry, const struct type_filter *filter)
{
    struct type_list types = type_registry_types(registry);
    json_t *array = json_array();

    for (size_t i = 0; i < types.len; i++) {
        if (type_fits(types.items[i], filter))
            (void)json_array_append_new(array, type_header_json(types.items[i]));
    }
    return array;
}
