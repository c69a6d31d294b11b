#include "atlas/type_parse.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "atlas/type_internal.h"
#include "atlas/type_json.h"
#include "atlas/type_value.h"
#include "base/decimal.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/utf8.h"

/* A definition under way. Its name stands in what is said of it. */
struct parse {
    struct type_custom *custom;
    const char *name;
    struct type_fault *fault;
};

static int parse_fail(const struct parse *parse, const char *member, const char *why)
{
    return type_fault_set(parse->fault, "ATLAS-400-00-029", "%s: \"%s\" %s", parse->name, member,
                          why);
}

/* -------------------------------------------------------------------------------------- values */

/* A scalar as text, as Atlas reads it; NULL: it is none, or too long. `room`: for numbers. */
static const char *parse_scalar(const json_t *value, char room[static DECIMAL_BYTES])
{
    if (json_is_string(value))
        return json_string_length(value) <= TYPE_TEXT_BYTES_MAX ? json_string_value(value) : NULL;
    if (json_is_boolean(value))
        return json_is_true(value) ? "true" : "false";
    if (json_is_integer(value))
        (void)snprintf(room, DECIMAL_BYTES, "%" PRId64, (int64_t)json_integer_value(value));
    else if (json_is_real(value))
        (void)decimal_write(room, json_real_value(value));
    else
        return NULL;
    return room;
}

static const char *parse_copy(const struct parse *parse, const char *text)
{
    size_t bytes = strlen(text) + 1;

    return memcpy(type_custom_alloc(parse->custom, 1, bytes), text, bytes);
}

/* *text is of the definition; as it was when there is no such member. */
static int parse_text(const struct parse *parse, const json_t *object, const char *member,
                      const char **text)
{
    const json_t *value = json_object_get(object, member);
    char room[DECIMAL_BYTES];
    const char *scalar;

    if (!value || json_is_null(value))
        return 0;
    scalar = parse_scalar(value, room);
    if (!scalar)
        return parse_fail(parse, member, "must be a text of at most 10000 bytes");
    *text = parse_copy(parse, scalar);
    return 0;
}

/* A name that stands in paths and messages. */
static int parse_name(const struct parse *parse, const json_t *object, const char *member,
                      const char **name)
{
    if (parse_text(parse, object, member, name) < 0)
        return -1;
    if (*name && strlen(*name) > TYPE_NAME_BYTES_MAX)
        return parse_fail(parse, member, "is longer than 256 bytes");
    return 0;
}

static int parse_bool(const struct parse *parse, const json_t *object, const char *member,
                      bool *value)
{
    const json_t *given = json_object_get(object, member);
    const char *text = json_string_value(given);

    if (!given || json_is_null(given))
        return 0;
    if (json_is_true(given) || (text && strcasecmp(text, "true") == 0))
        *value = true;
    else if (json_is_false(given) || (text && strcasecmp(text, "false") == 0))
        *value = false;
    else
        return parse_fail(parse, member, "must be true or false");
    return 0;
}

static int parse_int(const struct parse *parse, const json_t *object, const char *member,
                     int *value)
{
    const json_t *given = json_object_get(object, member);
    json_int_t number = json_integer_value(given);

    if (!given || json_is_null(given))
        return 0;
    if (!json_is_integer(given) || number < INT32_MIN || number > INT32_MAX)
        return parse_fail(parse, member, "must be a whole number of 32 bits");
    *value = (int)number;
    return 0;
}

/* One of a list of names. */
static int parse_choice(const struct parse *parse, const json_t *object, const char *member,
                        const char *const *names, int *choice)
{
    const json_t *given = json_object_get(object, member);
    const char *text = json_string_value(given);

    if (!given || json_is_null(given))
        return 0;
    for (int i = 0; text && names[i]; i++) {
        if (strcmp(text, names[i]) == 0) {
            *choice = i;
            return 0;
        }
    }
    return parse_fail(parse, member, "is none of its values");
}

/* An array, or nothing: *array is NULL. */
static int parse_array(const struct parse *parse, const json_t *object, const char *member,
                       size_t max, const json_t **array)
{
    const json_t *given = json_object_get(object, member);

    *array = NULL;
    if (!given || json_is_null(given))
        return 0;
    if (!json_is_array(given))
        return parse_fail(parse, member, "must be a list");
    if (json_array_size(given) > max)
        return parse_fail(parse, member, "is too long");
    *array = given;
    return 0;
}

/* The texts of a list, each once, with NULL behind them. */
static int parse_names(const struct parse *parse, const json_t *object, const char *member,
                       const char *const **names)
{
    const json_t *array;
    const char **texts;
    size_t len = 0;
    AUTO(map_free) struct map *seen = map_new();

    if (parse_array(parse, object, member, TYPE_NAMES_MAX, &array) < 0)
        return -1;
    texts = type_custom_alloc(parse->custom, json_array_size(array) + 1, sizeof(*texts));
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *item = json_array_get(array, i);
        bool is_new;

        if (!json_is_string(item) || json_string_length(item) > TYPE_NAME_BYTES_MAX)
            return parse_fail(parse, member, "must be a list of names");
        (void)map_put(seen, span_of(json_string_value(item)), 0, &is_new);
        if (is_new)
            texts[len++] = parse_copy(parse, json_string_value(item));
    }
    *names = texts;
    return 0;
}

static int parse_options(const struct parse *parse, const json_t *object,
                         const struct type_option **options)
{
    json_t *given = json_object_get(object, "options"), *value;
    struct type_option *to;
    const char *key;

    if (!given || json_is_null(given))
        return 0;
    if (!json_is_object(given) || json_object_size(given) > TYPE_OPTIONS_MAX)
        return parse_fail(parse, "options", "must be at most 100 names with texts");
    *options = to = type_custom_alloc(parse->custom, json_object_size(given) + 1, sizeof(*to));
    json_object_foreach(given, key, value)
    {
        char room[DECIMAL_BYTES];
        const char *text = parse_scalar(value, room);

        if (json_is_null(value))
            continue;
        if (!text || strlen(key) > TYPE_NAME_BYTES_MAX)
            return parse_fail(parse, "options", "must be at most 100 names with texts");
        to->name = parse_copy(parse, key);
        to->value = parse_copy(parse, text);
        to++;
    }
    return 0;
}

/* ---------------------------------------------------------------------------------- attributes */

static int parse_missing(const struct parse *parse, const char *member)
{
    return type_fault_set(parse->fault, "ATLAS-400-00-02B",
                          "Mandatory field %s.%s has empty/null value", parse->name, member);
}

/* Names of attributes are parts of paths of JSON. */
static int parse_attribute_name(const struct parse *parse, const char *name)
{
    if (!name || !*name)
        return parse_missing(parse, "name");
    for (const char *c = name; *c; c++) {
        if ((unsigned char)*c < ' ' || strchr("\"'\\`", *c))
            return type_fault_set(parse->fault, "ATLAS-400-00-020",
                                  "%s: invalid name. Attribute name must not contain quotes, "
                                  "backslashes or control characters",
                                  name);
    }
    return 0;
}

static int parse_type_name(const struct parse *parse, const char *text)
{
    struct type_name name;

    if (!text || !*text)
        return parse_missing(parse, "typeName");
    name = type_name_split(span_of(text));
    for (int depth = 0; name.kind != TYPE_NAME_PLAIN; depth++) {
        if (depth == TYPE_NESTING_MAX)
            return parse_fail(parse, "typeName", "is nested too deeply");
        if (name.kind == TYPE_NAME_MAP && name.key.len > TYPE_NAME_BYTES_MAX)
            return parse_fail(parse, "typeName", "is longer than 256 bytes");
        name = type_name_split(name.element);
    }
    return name.element.len <= TYPE_NAME_BYTES_MAX
               ? 0
               : parse_fail(parse, "typeName", "is longer than 256 bytes");
}

static int parse_constraints(const struct parse *parse, const json_t *object,
                             struct type_attribute *attribute)
{
    const json_t *array;

    if (parse_array(parse, object, "constraints", TYPE_OPTIONS_MAX, &array) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *item = json_array_get(array, i);
        const char *type = json_string_value(json_object_get(item, "type"));

        if (type && strcmp(type, "ownedRef") == 0)
            attribute->flags |= TYPE_OWNED;
        else if (type && strcmp(type, "inverseRef") == 0) {
            if (parse_name(parse, json_object_get(item, "params"), "attribute",
                           &attribute->inverse) < 0)
                return -1;
        } else
            return type_fault_set(parse->fault, "ATLAS-400-00-004", "%s.%s: unknown constraint %s",
                                  parse->name, attribute->name, attribute->name);
    }
    return 0;
}

static int parse_flags(const struct parse *parse, const json_t *object,
                       struct type_attribute *attribute)
{
    static const char *const index_types[] = { "DEFAULT", "STRING", NULL };
    bool is_optional = false, is_unique = false, is_indexed = false, is_notified = false;
    int index_type = 0;

    if (parse_bool(parse, object, "isOptional", &is_optional) < 0 ||
        parse_bool(parse, object, "isUnique", &is_unique) < 0 ||
        parse_bool(parse, object, "isIndexable", &is_indexed) < 0 ||
        parse_bool(parse, object, "includeInNotification", &is_notified) < 0 ||
        parse_choice(parse, object, "indexType", index_types, &index_type) < 0)
        return -1;
    attribute->flags = (is_optional ? TYPE_OPTIONAL : TYPE_MANDATORY) |
                       (is_unique ? TYPE_UNIQUE : 0U) | (is_indexed ? TYPE_INDEXED : 0U) |
                       (is_notified ? TYPE_NOTIFIED : 0U) | (index_type ? TYPE_TEXT_INDEX : 0U);
    return 0;
}

static int parse_attribute(const struct parse *parse, const json_t *object,
                           struct type_attribute *attribute)
{
    int cardinality = TYPE_SINGLE;

    attribute->search_weight = TYPE_NO_WEIGHT;
    if (!json_is_object(object))
        return parse_fail(parse, "attributeDefs", "must be a list of objects");
    if (parse_name(parse, object, "name", &attribute->name) < 0 ||
        parse_attribute_name(parse, attribute->name) < 0 ||
        parse_text(parse, object, "typeName", &attribute->type_name) < 0 ||
        parse_type_name(parse, attribute->type_name) < 0 ||
        parse_choice(parse, object, "cardinality", type_cardinalities, &cardinality) < 0 ||
        parse_flags(parse, object, attribute) < 0 ||
        parse_int(parse, object, "valuesMinCount", &attribute->values_min) < 0 ||
        parse_int(parse, object, "valuesMaxCount", &attribute->values_max) < 0 ||
        parse_int(parse, object, "searchWeight", &attribute->search_weight) < 0 ||
        parse_text(parse, object, "defaultValue", &attribute->default_value) < 0 ||
        parse_text(parse, object, "description", &attribute->description) < 0 ||
        parse_text(parse, object, "displayName", &attribute->display_name) < 0 ||
        parse_constraints(parse, object, attribute) < 0)
        return -1;
    attribute->cardinality = (enum type_cardinality)cardinality;
    return parse_options(parse, object, &attribute->options);
}

static int parse_attributes(const struct parse *parse, const json_t *object)
{
    struct type_def *def = &parse->custom->def;
    AUTO(map_free) struct map *seen = map_new();
    struct type_attribute *attributes;
    const json_t *array;

    if (parse_array(parse, object, "attributeDefs", TYPE_ATTRIBUTES_MAX, &array) < 0)
        return -1;
    def->attributes_len = json_array_size(array);
    def->attributes = attributes =
        type_custom_alloc(parse->custom, def->attributes_len + 1, sizeof(*attributes));
    for (size_t i = 0; i < def->attributes_len; i++) {
        bool is_new;

        if (parse_attribute(parse, json_array_get(array, i), &attributes[i]) < 0)
            return -1;
        (void)map_put(seen, span_of(attributes[i].name), 0, &is_new);
        if (!is_new)
            return type_fault_set(parse->fault, "ATLAS-400-00-029",
                                  "%s.%s: the attribute is defined twice", parse->name,
                                  attributes[i].name);
    }
    if (def->category == TYPE_STRUCT && !def->attributes_len)
        return type_fault_set(parse->fault, "ATLAS-400-00-029", "Missing attributes for structdef");
    return 0;
}

/* ------------------------------------------------------------------------ enums, relationships */

static int parse_element(const struct parse *parse, const json_t *object,
                         struct type_element *element)
{
    const json_t *ordinal = json_object_get(object, "ordinal");

    if (parse_name(parse, object, "value", &element->value) < 0)
        return -1;
    if (!element->value || !*element->value || !ordinal || json_is_null(ordinal))
        return parse_missing(parse, "elementValue");
    if (parse_int(parse, object, "ordinal", &element->ordinal) < 0)
        return -1;
    return parse_text(parse, object, "description", &element->description);
}

/* Values are told apart whatever their case. */
static int parse_elements(const struct parse *parse, const json_t *object)
{
    struct type_def *def = &parse->custom->def;
    AUTO(map_free) struct map *seen = map_new();
    struct type_element *elements;
    const json_t *array;

    if (parse_array(parse, object, "elementDefs", TYPE_ELEMENTS_MAX, &array) < 0)
        return -1;
    if (!json_array_size(array))
        return parse_missing(parse, "values");
    def->elements_len = json_array_size(array);
    def->elements = elements =
        type_custom_alloc(parse->custom, def->elements_len, sizeof(*elements));
    for (size_t i = 0; i < def->elements_len; i++) {
        bool is_new;

        if (parse_element(parse, json_array_get(array, i), &elements[i]) < 0)
            return -1;
        (void)map_put(seen, span_of(elements[i].value), 0, &is_new);
        if (!is_new)
            return type_fault_set(parse->fault, "ATLAS-400-00-029",
                                  "%s.%s: the value is defined twice", parse->name,
                                  elements[i].value);
    }
    return parse_name(parse, object, "defaultValue", &def->default_value);
}

static int parse_end(const struct parse *parse, const json_t *object, struct type_end *end)
{
    int cardinality = TYPE_SINGLE;

    if (!json_is_object(object))
        return type_fault_set(parse->fault, "ATLAS-400-00-02C",
                              "relationshipDef %s creation attempted without 2 ends", parse->name);
    if (parse_name(parse, object, "type", &end->type) < 0 ||
        parse_name(parse, object, "name", &end->name) < 0)
        return -1;
    if (!end->type || !*end->type || !end->name || !*end->name)
        return type_fault_set(parse->fault, "ATLAS-400-00-044",
                              "Invalid relationshipDef: an end of %s has no type or no name",
                              parse->name);
    if (parse_attribute_name(parse, end->name) < 0 ||
        parse_text(parse, object, "description", &end->description) < 0 ||
        parse_bool(parse, object, "isContainer", &end->is_container) < 0 ||
        parse_bool(parse, object, "isLegacyAttribute", &end->is_legacy) < 0 ||
        parse_choice(parse, object, "cardinality", type_cardinalities, &cardinality) < 0)
        return -1;
    end->cardinality = (enum type_cardinality)cardinality;
    return 0;
}

static int parse_relationship(const struct parse *parse, const json_t *object)
{
    struct type_def *def = &parse->custom->def;
    int ownership = TYPE_ASSOCIATION, propagation = TYPE_PROPAGATE_NONE;

    if (parse_choice(parse, object, "relationshipCategory", type_ownerships, &ownership) < 0 ||
        parse_choice(parse, object, "propagateTags", type_propagations, &propagation) < 0 ||
        parse_name(parse, object, "relationshipLabel", &def->label) < 0 ||
        parse_end(parse, json_object_get(object, "endDef1"), &def->ends[0]) < 0 ||
        parse_end(parse, json_object_get(object, "endDef2"), &def->ends[1]) < 0)
        return -1;
    def->ownership = (enum type_ownership)ownership;
    def->propagation = (enum type_propagation)propagation;
    return 0;
}

/* --------------------------------------------------------------------------------- definitions */

static bool parse_is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* A letter, then letters, digits, '_' and ' '; those of classifications have '.' as well. A
 * character beyond ASCII is taken for a letter. */
static bool parse_is_type_name(const char *name, enum type_category category)
{
    const char *others = category == TYPE_CLASSIFICATION ? "_ ." : "_ ";

    for (const char *c = name; *c; c++) {
        if (parse_is_letter(*c) || (unsigned char)*c >= 0x80)
            continue;
        if (c == name || !((*c >= '0' && *c <= '9') || strchr(others, *c)))
            return false;
    }
    return *name != '\0';
}

static int parse_check_name(const struct parse *parse, enum type_category category)
{
    if (type_name_is_primitive(span_of(parse->name)))
        return type_fault_set(parse->fault, "ATLAS-400-00-107",
                              "Forbidden type: Can not pass builtin type %s", parse->name);
    if (strlen(parse->name) > TYPE_NAME_BYTES_MAX)
        return type_fault_set(parse->fault, "ATLAS-400-00-029",
                              "%.64s...: the name is longer than %d bytes", parse->name,
                              TYPE_NAME_BYTES_MAX);
    if (!parse_is_type_name(parse->name, category))
        return type_fault_set(
            parse->fault, "ATLAS-400-00-019",
            "%s: invalid name for %s.  Names must consist of a letter followed by a sequence of "
            "letter, number, or '_' characters",
            parse->name, type_category_name(category));
    return 0;
}

static int parse_body(const struct parse *parse, const json_t *object)
{
    struct type_def *def = &parse->custom->def;

    if (parse_text(parse, object, "description", &def->description) < 0 ||
        parse_name(parse, object, "typeVersion", &def->type_version) < 0 ||
        parse_name(parse, object, "serviceType", &def->service) < 0 ||
        parse_options(parse, object, &def->options) < 0)
        return -1;
    if (def->category == TYPE_ENUM)
        return parse_elements(parse, object);
    if (parse_attributes(parse, object) < 0)
        return -1;
    if (def->category == TYPE_RELATIONSHIP)
        return parse_relationship(parse, object);
    if (def->category == TYPE_STRUCT)
        return 0;
    if (parse_names(parse, object, "superTypes", &def->super_types) < 0)
        return -1;
    return def->category == TYPE_CLASSIFICATION
               ? parse_names(parse, object, "entityTypes", &def->entity_types)
               : 0;
}

static struct type_custom *parse_definition(enum type_category category, const json_t *object,
                                            const struct type_stamp *stamp,
                                            struct type_fault *fault)
{
    AUTO(type_custom_free) struct type_custom *custom = type_custom_new();
    const char *name = json_string_value(json_object_get(object, "name"));
    struct parse parse = { custom, name ? name : "", fault };
    struct type_def *def = &custom->def;

    if (parse_check_name(&parse, category) < 0)
        return NULL;
    def->category = category;
    def->name = parse_copy(&parse, name);
    def->stamp = *stamp;
    def->stamp.created_by = parse_copy(&parse, stamp->created_by);
    def->stamp.updated_by = parse_copy(&parse, stamp->updated_by);
    return parse_body(&parse, object) < 0 ? NULL : TAKE(custom);
}

struct type_custom *type_parse_stored(const json_t *definition, struct type_fault *fault)
{
    const char *category = json_string_value(json_object_get(definition, "category"));
    const json_t *created_by = json_object_get(definition, "createdBy");
    const json_t *updated_by = json_object_get(definition, "updatedBy");
    struct type_stamp stamp = {
        .created_by = json_is_string(created_by) ? json_string_value(created_by) : "",
        .updated_by = json_is_string(updated_by) ? json_string_value(updated_by) : "",
        .created_ms = json_integer_value(json_object_get(definition, "createTime")),
        .updated_ms = json_integer_value(json_object_get(definition, "updateTime")),
        .version = json_integer_value(json_object_get(definition, "version")),
    };

    for (int i = 0; category && i < TYPE_CATEGORIES; i++) {
        if (strcmp(category, type_category_name((enum type_category)i)) == 0)
            return parse_definition((enum type_category)i, definition, &stamp, fault);
    }
    (void)type_fault_set(fault, "ATLAS-400-00-015", "Type Category %s is invalid",
                         category ? category : "null");
    return NULL;
}

/* ------------------------------------------------------------------------------- AtlasTypesDef */

void type_givens_done(struct type_givens *givens)
{
    for (size_t i = 0; i < givens->len; i++) {
        free(givens->items[i].name);
        free(givens->items[i].guid);
        type_custom_free(givens->items[i].custom);
    }
    free(givens->items);
    *givens = (struct type_givens){ 0 };
}

static char *given_text(const json_t *object, const char *member)
{
    const char *text = json_string_value(json_object_get(object, member));

    return text && *text && strlen(text) <= TYPE_NAME_BYTES_MAX ? xstrdup(text) : NULL;
}

/* stamp NULL: names alone. */
static int givens_add(struct type_givens *givens, enum type_category category, const json_t *object,
                      const struct type_stamp *stamp, struct type_fault *fault)
{
    struct type_given given = { .category = category };

    if (givens->len >= TYPE_CUSTOMS_MAX)
        return type_fault_set(fault, "ATLAS-400-00-029", "more than %d types", TYPE_CUSTOMS_MAX);
    if (!json_is_object(object))
        return type_fault_set(fault, "ATLAS-400-00-029", "%s must be a list of objects",
                              type_category_member(category));
    if (stamp && !(given.custom = parse_definition(category, object, stamp, fault)))
        return -1;
    given.name = given_text(object, "name");
    given.guid = given_text(object, "guid");
    if (given.guid && *given.guid == '-') {
        free(given.guid);
        given.guid = NULL;
    }
    givens->items = xreallocarray(givens->items, givens->len + 1, sizeof(*givens->items));
    givens->items[givens->len++] = given;
    return 0;
}

static int givens_add_category(struct type_givens *givens, enum type_category category,
                               const json_t *types, const struct type_stamp *stamp,
                               struct type_fault *fault)
{
    const char *member = type_category_member(category);
    const json_t *array = json_object_get(types, member);

    if (!array || json_is_null(array))
        return 0;
    if (!json_is_array(array))
        return type_fault_set(fault, "ATLAS-400-00-029", "%s must be a list", member);
    if (category == TYPE_BUSINESS_METADATA && json_array_size(array))
        return type_fault_set(fault, "ATLAS-400-00-029", "business metadata is not supported");
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (givens_add(givens, category, json_array_get(array, i), stamp, fault) < 0)
            return -1;
    }
    return 0;
}

static int givens_parse(struct type_givens *givens, const json_t *types,
                        const struct type_stamp *stamp, struct type_fault *fault)
{
    *givens = (struct type_givens){ 0 };
    if (!json_is_object(types))
        return type_fault_set(fault, "ATLAS-400-00-029", "the body must be an AtlasTypesDef");
    for (int i = 0; i < TYPE_CATEGORIES; i++) {
        if (givens_add_category(givens, (enum type_category)i, types, stamp, fault) < 0) {
            type_givens_done(givens);
            return -1;
        }
    }
    return 0;
}

int type_parse(struct type_givens *givens, const json_t *types, const struct type_stamp *stamp,
               struct type_fault *fault)
{
    return givens_parse(givens, types, stamp, fault);
}

int type_parse_names(struct type_givens *givens, const json_t *types, struct type_fault *fault)
{
    return givens_parse(givens, types, NULL, fault);
}
