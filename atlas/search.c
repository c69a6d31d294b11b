#include "atlas/search.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/mem.h"

/* What filters are about, and may name attributes of. */
struct search_scope {
    enum type_category category;
    const char *all; /* what all types are called */
    const struct search_field *system;
    size_t system_len;
    struct type_list named; /* owned list; the types that the client named */
};

/* A search that is read. */
struct search_reader {
    struct search *search;
    const struct type_registry *types;
    struct search_scope entities, tags;
    size_t filters_len; /* of both */
    size_t values_len;  /* of all filters */
    struct search_fault *fault;
};

static int search_fail(struct search_fault *fault, const char *code, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

static int search_fail(struct search_fault *fault, const char *code, const char *fmt, ...)
{
    va_list args;

    fault->code = code;
    va_start(args, fmt);
    (void)vsnprintf(fault->message, sizeof(fault->message), fmt, args);
    va_end(args);
    return -1;
}

#define SEARCH_BAD_REQUEST "ATLAS-400-00-029"
#define SEARCH_QUOTE "%.64s" /* no more of a client's text in a message */

/* ----------------------------------------------------------------------------------- parameters */

/* A number with as few digits as give the same one. Owned. */
static char *search_real_text(double number)
{
    char *text = xasprintf("%.15g", number);

    for (int digits = 16; digits <= 17 && strtod(text, NULL) - number != 0; digits++) {
        free(text);
        text = xasprintf("%.*g", digits, number);
    }
    return text;
}

/* A number or a boolean as a text, as Atlas takes them; NULL: it is neither. */
static json_t *search_scalar_json(const json_t *value)
{
    AUTO(mem_free) char *text = NULL;

    if (json_is_boolean(value))
        return json_string(json_is_true(value) ? "true" : "false");
    if (json_is_integer(value))
        text = xasprintf("%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        text = search_real_text(json_real_value(value));
    return text ? json_string(text) : NULL;
}

/* Absent, null and "" are the same: *text is NULL. What can be a text becomes one. */
static int search_get_text(json_t *object, const char *name, const char **text,
                           struct search_fault *fault)
{
    const json_t *value = json_object_get(object, name);
    json_t *scalar = search_scalar_json(value);

    if (scalar) {
        (void)json_object_set_new(object, name, scalar);
        value = scalar;
    }
    *text = json_string_value(value);
    if (value && !*text && !json_is_null(value))
        return search_fail(fault, SEARCH_BAD_REQUEST, "%s must be a text", name);
    if (*text && !**text)
        *text = NULL;
    if (*text && json_string_length(value) > SEARCH_TEXT_BYTES_MAX)
        return search_fail(fault, "ATLAS-400-00-057", "Length of query param %s exceeds the limit",
                           name);
    if (*text && strlen(*text) != json_string_length(value))
        return search_fail(fault, SEARCH_BAD_REQUEST, "%s must not hold NUL", name);
    return 0;
}

/* *flag stays where there is none. */
static int search_get_flag(const json_t *object, const char *name, bool *flag,
                           struct search_fault *fault)
{
    const json_t *value = json_object_get(object, name);
    const char *text = json_string_value(value);

    if (!value || json_is_null(value) || (text && !*text))
        return 0;
    if (text)
        *flag = strcasecmp(text, "true") == 0; /* as Atlas: anything else is false */
    else if (json_is_boolean(value))
        *flag = json_is_true(value);
    else
        return search_fail(fault, SEARCH_BAD_REQUEST, "%s must be true or false", name);
    return 0;
}

/* 0 where there is none. */
static int search_get_count(const json_t *object, const char *name, int64_t *count,
                            struct search_fault *fault)
{
    const json_t *value = json_object_get(object, name);
    const char *text = json_string_value(value);
    char *end = NULL;

    *count = json_integer_value(value);
    if (text)
        *count = strtoll(text, &end, 10);
    if ((text && *end) || (value && !text && !json_is_integer(value) && !json_is_null(value)) ||
        *count > INT32_MAX || *count < INT32_MIN)
        return search_fail(fault, SEARCH_BAD_REQUEST, "%s must be a whole number of 32 bits", name);
    if (*count < 0)
        return search_fail(fault, SEARCH_BAD_REQUEST, "Limit/offset should be non-negative");
    return 0;
}

/* ---------------------------------------------------------------------------------------- types */

static void search_list_add(struct type_list *list, const struct type *type)
{
    for (size_t i = 0; i < list->len; i++) {
        if (list->items[i] == type)
            return;
    }
    list->items = xreallocarray(list->items, list->len + 1, sizeof(*list->items));
    list->items[list->len++] = type;
}

/* Names with commas between them; *len is 0 behind the last. */
static const char *search_next_name(const char *text, size_t *len)
{
    text += strspn(text, ", ");
    *len = strcspn(text, ",");
    while (*len && text[*len - 1] == ' ')
        (*len)--;
    return text;
}

static int search_read_types(struct search_reader *reader, json_t *parameters)
{
    struct search *search = reader->search;
    bool with_sub_types = true;
    const char *text;
    size_t len;

    if (search_get_text(parameters, "typeName", &text, reader->fault) < 0 ||
        search_get_flag(parameters, "includeSubTypes", &with_sub_types, reader->fault) < 0)
        return -1;
    if (!text || strcmp(text, "_ALL_ENTITY_TYPES") == 0)
        return 0;
    (void)search_next_name(text, &len);
    if (!len)
        return search_fail(reader->fault, "ATLAS-400-00-00A",
                           SEARCH_QUOTE ": Unknown/invalid typename", text);
    for (text = search_next_name(text, &len); len; text = search_next_name(text + len, &len)) {
        const struct type *type = type_by_name(reader->types, (struct span){ text, len });

        if (!type || type->def->category != TYPE_ENTITY)
            return search_fail(reader->fault, "ATLAS-400-00-00A", "%.*s: Unknown/invalid typename",
                               (int)(len < 64 ? len : 64), text);
        search_list_add(&reader->entities.named, type);
        if (reader->entities.named.len > SEARCH_TYPES_MAX)
            return search_fail(reader->fault, SEARCH_BAD_REQUEST, "typeName has more than %d types",
                               SEARCH_TYPES_MAX);
        search_list_add(&search->types, type);
        for (size_t i = 0; with_sub_types && i < type->sub_types.len; i++)
            search_list_add(&search->types, type->sub_types.items[i]);
    }
    return 0;
}

static int search_read_tag_types(struct search_reader *reader, const char *text,
                                 bool with_sub_types)
{
    struct search *search = reader->search;
    size_t len;

    (void)search_next_name(text, &len);
    if (!len)
        return search_fail(reader->fault, "ATLAS-400-00-046",
                           SEARCH_QUOTE ": Unknown/invalid classification", text);
    for (text = search_next_name(text, &len); len; text = search_next_name(text + len, &len)) {
        const struct type *type = type_by_name(reader->types, (struct span){ text, len });

        if (!type || type->def->category != TYPE_CLASSIFICATION)
            return search_fail(reader->fault, "ATLAS-400-00-046",
                               "%.*s: Unknown/invalid classification", (int)(len < 64 ? len : 64),
                               text);
        search_list_add(&reader->tags.named, type);
        if (reader->tags.named.len > SEARCH_TYPES_MAX)
            return search_fail(reader->fault, SEARCH_BAD_REQUEST,
                               "classification has more than %d types", SEARCH_TYPES_MAX);
        search_list_add(&search->tag_types, type);
        for (size_t i = 0; with_sub_types && i < type->sub_types.len; i++)
            search_list_add(&search->tag_types, type->sub_types.items[i]);
    }
    return 0;
}

static int search_read_classification(struct search_reader *reader, json_t *parameters)
{
    static const char *const any[] = { "*", "_CLASSIFIED", "_ALL_CLASSIFICATION_TYPES" };
    struct search *search = reader->search;
    bool with_sub_types = true;
    const char *text;

    if (search_get_text(parameters, "classification", &text, reader->fault) < 0 ||
        search_get_flag(parameters, "includeSubClassifications", &with_sub_types, reader->fault) <
            0)
        return -1;
    if (!text)
        return 0;
    search->tags = SEARCH_CLASSIFIED;
    if (strcmp(text, "_NOT_CLASSIFIED") == 0) {
        search->tags = SEARCH_NOT_CLASSIFIED;
        return 0;
    }
    for (size_t i = 0; i < LENGTH(any); i++) {
        if (strcmp(text, any[i]) == 0)
            return 0;
    }
    return search_read_tag_types(reader, text, with_sub_types);
}

/* --------------------------------------------------------------------------------------- fields */

static const struct search_field search_system[] = {
    { SEARCH_IN_GUID, SEARCH_TEXT, "__guid" },
    { SEARCH_IN_TYPE_NAME, SEARCH_TEXT, "__typeName" },
    { SEARCH_IN_STATE, SEARCH_TEXT, "__state" },
    { SEARCH_IN_CREATED_BY, SEARCH_TEXT, "__createdBy" },
    { SEARCH_IN_MODIFIED_BY, SEARCH_TEXT, "__modifiedBy" },
    { SEARCH_IN_TIMESTAMP, SEARCH_DATE, "__timestamp" },
    { SEARCH_IN_MODIFICATION_TIMESTAMP, SEARCH_DATE, "__modificationTimestamp" },
    { SEARCH_IN_INCOMPLETE, SEARCH_BOOLEAN, "__isIncomplete" },
};

/* Of a classification. */
static const struct search_field search_tag_system[] = {
    { SEARCH_IN_TYPE_NAME, SEARCH_TEXT, "__typeName" },
    { SEARCH_IN_CREATED_BY, SEARCH_TEXT, "__createdBy" },
    { SEARCH_IN_MODIFIED_BY, SEARCH_TEXT, "__modifiedBy" },
    { SEARCH_IN_TIMESTAMP, SEARCH_DATE, "__timestamp" },
    { SEARCH_IN_MODIFICATION_TIMESTAMP, SEARCH_DATE, "__modificationTimestamp" },
};

static enum search_kind search_kind_of(const struct search_reader *reader, const char *type_name)
{
    static const struct {
        const char *name;
        enum search_kind kind;
    } kinds[] = {
        { "string", SEARCH_TEXT },        { "int", SEARCH_NUMBER },  { "long", SEARCH_NUMBER },
        { "short", SEARCH_NUMBER },       { "byte", SEARCH_NUMBER }, { "float", SEARCH_NUMBER },
        { "double", SEARCH_NUMBER },      { "date", SEARCH_DATE },   { "boolean", SEARCH_BOOLEAN },
        { "array<string>", SEARCH_LIST },
    };
    const struct type *type;

    for (size_t i = 0; i < LENGTH(kinds); i++) {
        if (strcmp(type_name, kinds[i].name) == 0)
            return kinds[i].kind;
    }
    type = type_by_name(reader->types, span_of(type_name));
    return type && type->def->category == TYPE_ENUM ? SEARCH_TEXT : SEARCH_OTHER;
}

/* NULL: nothing of that category has it. */
static const struct type_attribute *search_attribute_of(const struct type_list *list,
                                                        enum type_category category,
                                                        struct span name)
{
    for (size_t i = 0; i < list->len; i++) {
        const struct type_attribute *attribute =
            list->items[i]->def->category == category ? type_attribute(list->items[i], name) : NULL;

        if (attribute)
            return attribute;
    }
    return NULL;
}

static bool search_is_relation(const struct type_list *list, struct span name)
{
    for (size_t i = 0; i < list->len; i++) {
        if (type_relation(list->items[i], name, NULL))
            return true;
    }
    return false;
}

/* The types whose attributes a search without a type may name. */
static struct type_list search_types(const struct search_reader *reader,
                                     const struct search_scope *scope)
{
    return scope->named.len ? scope->named : type_registry_types(reader->types);
}

static int search_find_field(struct search_reader *reader, const struct search_scope *scope,
                             const char *name, struct search_field *field)
{
    struct type_list types = search_types(reader, scope);
    bool of_entities = scope->category == TYPE_ENTITY;
    const struct type_attribute *attribute;

    for (size_t i = 0; i < scope->system_len; i++) {
        if (strcmp(name, scope->system[i].name) == 0) {
            *field = scope->system[i];
            return 0;
        }
    }
    if (strncmp(name, "__", 2) == 0)
        return search_fail(reader->fault, SEARCH_BAD_REQUEST,
                           "attribute " SEARCH_QUOTE " can't be searched by", name);
    if (of_entities && search_is_relation(&types, span_of(name)))
        return search_fail(reader->fault, SEARCH_BAD_REQUEST,
                           "attribute " SEARCH_QUOTE " is a relationship, which can't be searched "
                           "by: read the entity",
                           name);
    for (size_t i = 0; i < scope->named.len; i++) {
        if (!type_attribute(scope->named.items[i], span_of(name)))
            return search_fail(reader->fault, "ATLAS-400-00-023",
                               "Attribute " SEARCH_QUOTE " not found for type %s", name,
                               scope->named.items[i]->def->name);
    }
    attribute = search_attribute_of(&types, scope->category, span_of(name));
    if (!attribute)
        return search_fail(reader->fault, "ATLAS-400-00-023",
                           "Attribute " SEARCH_QUOTE " not found for type %s", name, scope->all);
    *field = (struct search_field){ .place = of_entities && strcmp(name, "qualifiedName") == 0
                                                 ? SEARCH_IN_QUALIFIED_NAME
                                                 : SEARCH_IN_ATTRIBUTES,
                                    .kind = search_kind_of(reader, attribute->type_name),
                                    .name = attribute->name };
    return 0;
}

/* -------------------------------------------------------------------------------------- filters */

enum {
    SEARCH_FOR_TEXT = 1 << SEARCH_TEXT,
    SEARCH_FOR_NUMBER = 1 << SEARCH_NUMBER,
    SEARCH_FOR_DATE = 1 << SEARCH_DATE,
    SEARCH_FOR_BOOLEAN = 1 << SEARCH_BOOLEAN,
    SEARCH_FOR_LIST = 1 << SEARCH_LIST,
    SEARCH_FOR_ORDERED = SEARCH_FOR_TEXT | SEARCH_FOR_NUMBER | SEARCH_FOR_DATE,
    SEARCH_FOR_SINGLE = SEARCH_FOR_ORDERED | SEARCH_FOR_BOOLEAN,
    SEARCH_FOR_TEXTS = SEARCH_FOR_TEXT | SEARCH_FOR_LIST,
    SEARCH_FOR_ALL = ~0,
};

/* How many values an operator takes. */
enum search_arity { SEARCH_NONE, SEARCH_ONE, SEARCH_SOME, SEARCH_TWO };

/* In small letters; others do as well. */
static const struct {
    enum search_arity arity;
    int kinds;
    const char *spellings[3];
} search_operators[SEARCH_OPERATORS] = {
    [SEARCH_LT] = { SEARCH_ONE, SEARCH_FOR_ORDERED, { "<", "lt" } },
    [SEARCH_GT] = { SEARCH_ONE, SEARCH_FOR_ORDERED, { ">", "gt" } },
    [SEARCH_LTE] = { SEARCH_ONE, SEARCH_FOR_ORDERED, { "<=", "lte" } },
    [SEARCH_GTE] = { SEARCH_ONE, SEARCH_FOR_ORDERED, { ">=", "gte" } },
    [SEARCH_EQ] = { SEARCH_ONE, SEARCH_FOR_SINGLE, { "=", "eq" } },
    [SEARCH_NEQ] = { SEARCH_ONE, SEARCH_FOR_SINGLE, { "!=", "neq" } },
    [SEARCH_IN] = { SEARCH_SOME, SEARCH_FOR_TEXT, { "in" } },
    [SEARCH_LIKE] = { SEARCH_ONE, SEARCH_FOR_TEXT, { "like" } },
    [SEARCH_STARTS_WITH] = { SEARCH_ONE, SEARCH_FOR_TEXT, { "startswith", "begins_with" } },
    [SEARCH_ENDS_WITH] = { SEARCH_ONE, SEARCH_FOR_TEXT, { "endswith", "ends_with" } },
    [SEARCH_CONTAINS] = { SEARCH_ONE, SEARCH_FOR_TEXTS, { "contains" } },
    [SEARCH_NOT_CONTAINS] = { SEARCH_ONE, SEARCH_FOR_TEXTS, { "not_contains" } },
    [SEARCH_CONTAINS_ANY] = { SEARCH_SOME, SEARCH_FOR_TEXTS, { "containsany", "contains_any" } },
    [SEARCH_CONTAINS_ALL] = { SEARCH_SOME, SEARCH_FOR_TEXTS, { "containsall", "contains_all" } },
    [SEARCH_IS_NULL] = { SEARCH_NONE, SEARCH_FOR_ALL, { "isnull", "is_null" } },
    [SEARCH_NOT_NULL] = { SEARCH_NONE, SEARCH_FOR_ALL, { "notnull", "not_null" } },
    [SEARCH_TIME_RANGE] = { SEARCH_TWO, SEARCH_FOR_DATE, { "timerange", "time_range" } },
    [SEARCH_NOT_EMPTY] = { SEARCH_NONE, SEARCH_FOR_ALL, { "notempty", "not_empty" } },
};

/* No double is beyond; Postgres's numbers end at 16383 digits behind the point. */
enum { SEARCH_EXPONENT_MAX = 1000 };

/* SEARCH_OPERATORS: there is none of that name. */
static enum search_operator search_find_operator(const char *text)
{
    for (size_t i = 0; i < SEARCH_OPERATORS; i++) {
        for (size_t j = 0; search_operators[i].spellings[j]; j++) {
            if (strcasecmp(text, search_operators[i].spellings[j]) == 0)
                return (enum search_operator)i;
        }
    }
    return SEARCH_OPERATORS;
}

/* Milliseconds, or 2026-11-21T10:00:00.000Z; NULL: neither. Owned, as are the next two. */
static char *search_date_json(const char *text)
{
    struct tm tm = { 0 };
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    int ms = 0, len = 0;

    if (!end)
        return strspn(text, "-0123456789") == strlen(text) ? xstrdup(text) : NULL;
    if (strcmp(end, "Z") != 0 && (sscanf(end, ".%3dZ%n", &ms, &len) != 1 || len != 5 || end[len]))
        return NULL;
    return xasprintf("%lld", (long long)timegm(&tm) * 1000 + ms);
}

/* A number as JSON has it and Postgres can: what else it holds is no business of the database. */
static char *search_number_json(char *text)
{
    AUTO(mem_free) char *owned = text;
    json_t *number =
        text ? json_loads(text, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, NULL) : NULL;
    const char *exponent = text ? strpbrk(text, "eE") : NULL;
    bool is_number = json_is_number(number);

    if (exponent && labs(strtol(exponent + 1, NULL, 10)) > SEARCH_EXPONENT_MAX)
        is_number = false;
    json_decref(number);
    return is_number ? TAKE(owned) : NULL;
}

static char *search_value_json(enum search_kind kind, const char *text)
{
    switch (kind) {
    case SEARCH_NUMBER:
        return search_number_json(xstrdup(text));
    case SEARCH_DATE:
        return search_number_json(search_date_json(text));
    case SEARCH_BOOLEAN:
        if (strcasecmp(text, "true") == 0)
            return xstrdup("true");
        return strcasecmp(text, "false") == 0 ? xstrdup("false") : NULL;
    default:
        return xstrdup(text);
    }
}

static int search_add_value(struct search_reader *reader, struct search_filter *filter,
                            const char *text, size_t len)
{
    AUTO(mem_free) char *copy = xmemdup0(text, len);
    char *value;

    if (++reader->values_len > SEARCH_VALUES_MAX)
        return search_fail(reader->fault, SEARCH_BAD_REQUEST,
                           "more than %d values in all filters: ask for some of them at a time",
                           SEARCH_VALUES_MAX);
    value = search_value_json(filter->field.kind, copy);
    if (!value)
        return search_fail(reader->fault, "ATLAS-400-00-028", "invalid value: " SEARCH_QUOTE, copy);
    filter->values = xreallocarray(filter->values, filter->values_len + 1, sizeof(*filter->values));
    filter->values[filter->values_len++] = value;
    return 0;
}

static int search_read_values(struct search_reader *reader, struct search_filter *filter,
                              const char *text)
{
    struct search_fault *fault = reader->fault;
    enum search_arity arity = search_operators[filter->operator].arity;
    size_t len;

    if (arity == SEARCH_NONE)
        return 0;
    if (!text)
        return search_fail(fault, SEARCH_BAD_REQUEST, "attributeValue of %s is missing",
                           filter->field.name);
    if (arity == SEARCH_ONE)
        return search_add_value(reader, filter, text, strlen(text));
    for (const char *name = search_next_name(text, &len); len;
         name = search_next_name(name + len, &len)) {
        if (search_add_value(reader, filter, name, len) < 0)
            return -1;
    }
    if (arity == SEARCH_TWO && filter->values_len != 2)
        return search_fail(fault, "ATLAS-400-00-028",
                           "invalid value: " SEARCH_QUOTE " (a time range is two times with a "
                           "comma between them)",
                           text);
    if (!filter->values_len)
        return search_fail(fault, SEARCH_BAD_REQUEST, "attributeValue of %s is missing",
                           filter->field.name);
    return 0;
}

static int search_read_test(struct search_reader *reader, const struct search_scope *scope,
                            json_t *json, struct search_filter *filter)
{
    const char *name, *operator, * value;

    if (search_get_text(json, "attributeName", &name, reader->fault) < 0 ||
        search_get_text(json, "operator", &operator, reader->fault) < 0 ||
        search_get_text(json, "attributeValue", &value, reader->fault) < 0)
        return -1;
    if (!name)
        return search_fail(reader->fault, SEARCH_BAD_REQUEST, "a filter has no attributeName");
    if (search_find_field(reader, scope, name, &filter->field) < 0)
        return -1;
    filter->operator= operator? search_find_operator(operator) : SEARCH_OPERATORS;
    if (filter->operator== SEARCH_OPERATORS)
        return search_fail(reader->fault, SEARCH_BAD_REQUEST,
                           "unknown operator of %s: \"" SEARCH_QUOTE "\"", name,
                           operator ? operator : "");
    if (!(search_operators[filter->operator].kinds & 1 << filter->field.kind))
        return search_fail(reader->fault, SEARCH_BAD_REQUEST,
                           "operator %s does not go with attribute %s", operator, name);
    return search_read_values(reader, filter, value);
}

static int search_read_filter(struct search_reader *reader, const struct search_scope *scope,
                              json_t *json, int depth, struct search_filter *filter);

static int search_read_criterion(struct search_reader *reader, const struct search_scope *scope,
                                 json_t *json, int depth, struct search_filter *filter)
{
    const json_t *criterion = json_object_get(json, "criterion");
    const char *condition;

    if (search_get_text(json, "condition", &condition, reader->fault) < 0)
        return -1;
    filter->is_or = condition && strcasecmp(condition, "OR") == 0;
    if (condition && !filter->is_or && strcasecmp(condition, "AND") != 0)
        return search_fail(reader->fault, SEARCH_BAD_REQUEST,
                           "condition must be AND or OR: \"" SEARCH_QUOTE "\"", condition);
    filter->children = xcalloc(json_array_size(criterion), sizeof(*filter->children));
    for (size_t i = 0; i < json_array_size(criterion); i++) {
        filter->children_len++;
        if (search_read_filter(reader, scope, json_array_get(criterion, i), depth + 1,
                               &filter->children[i]) < 0)
            return -1;
    }
    return 0;
}

static int search_read_filter(struct search_reader *reader, const struct search_scope *scope,
                              json_t *json, int depth, struct search_filter *filter)
{
    const json_t *criterion = json_object_get(json, "criterion");

    if (!json_is_object(json))
        return search_fail(reader->fault, SEARCH_BAD_REQUEST, "a filter must be an object");
    if (++reader->filters_len > SEARCH_FILTERS_MAX || depth > SEARCH_DEPTH_MAX)
        return search_fail(reader->fault, SEARCH_BAD_REQUEST,
                           "more than %d filters, or more than %d in each other",
                           SEARCH_FILTERS_MAX, SEARCH_DEPTH_MAX);
    if (criterion && !json_is_null(criterion) && !json_is_array(criterion))
        return search_fail(reader->fault, SEARCH_BAD_REQUEST, "criterion must be a list");
    if (json_array_size(criterion))
        return search_read_criterion(reader, scope, json, depth, filter);
    return search_read_test(reader, scope, json, filter);
}

/* Neither criterion nor attribute: as good as not there. */
static bool search_filter_is_empty(const json_t *json)
{
    const char *name = json_string_value(json_object_get(json, "attributeName"));

    return !json || json_is_null(json) ||
           (json_is_object(json) && (!name || !*name) &&
            !json_array_size(json_object_get(json, "criterion")));
}

static int search_read_filters(struct search_reader *reader, const json_t *parameters)
{
    json_t *entities = json_object_get(parameters, "entityFilters");
    json_t *tags = json_object_get(parameters, "tagFilters");
    struct search *search = reader->search;

    if (search->has_filter &&
        search_read_filter(reader, &reader->entities, entities, 1, &search->filter) < 0)
        return -1;
    search->has_tag_filter = !search_filter_is_empty(tags);
    if (!search->has_tag_filter)
        return 0;
    if (!search->tags)
        return search_fail(reader->fault, SEARCH_BAD_REQUEST,
                           "TagFilters specified without tag name");
    if (search->tags == SEARCH_NOT_CLASSIFIED)
        return search_fail(reader->fault, SEARCH_BAD_REQUEST,
                           "tagFilters do not go with classification _NOT_CLASSIFIED");
    return search_read_filter(reader, &reader->tags, tags, 1, &search->tag_filter);
}

/* ---------------------------------------------------------------------------------------- words */

static void search_add_word(struct search *search, const char *text, size_t len)
{
    search->words = xreallocarray(search->words, search->words_len + 1, sizeof(*search->words));
    search->words[search->words_len++] = xmemdup0(text, len);
}

/* AND is what holds anyway; what else the query language of Atlas's index has is refused. */
static int search_read_query(struct search_reader *reader, const char *query)
{
    size_t wildcards = 0, len;

    for (const char *c = query; c && *c; c++)
        wildcards += *c == '*' || *c == '?';

    for (; query && *query; query += len) {
        query += strspn(query, " \t\r\n");
        len = strcspn(query, " \t\r\n");
        if (!len || (len == 3 && strncmp(query, "AND", 3) == 0))
            continue;
        if (memchr(query, '"', len) || (len == 2 && strncmp(query, "OR", 2) == 0) ||
            (len == 3 && strncmp(query, "NOT", 3) == 0))
            return search_fail(reader->fault, SEARCH_BAD_REQUEST,
                               "a query has words with the wildcards * and ?, all of which are "
                               "wanted; OR, NOT and quotes are not taken");
        if (strspn(query, "*") < len)
            search_add_word(reader->search, query, len);
    }
    if (reader->search->words_len > SEARCH_WORDS_MAX || wildcards > SEARCH_WILDCARDS_MAX)
        return search_fail(reader->fault, SEARCH_BAD_REQUEST,
                           "a query of more than %d words or %d wildcards", SEARCH_WORDS_MAX,
                           SEARCH_WILDCARDS_MAX);
    return 0;
}

/* ----------------------------------------------------------------------------------------- rest */

static int search_read_sort(struct search_reader *reader, json_t *parameters)
{
    struct search *search = reader->search;
    const char *by, *order;

    if (search_get_text(parameters, "sortBy", &by, reader->fault) < 0 ||
        search_get_text(parameters, "sortOrder", &order, reader->fault) < 0)
        return -1;
    search->is_descending = order && strcasecmp(order, "DESCENDING") == 0;
    if (order && !search->is_descending && strcasecmp(order, "ASCENDING") != 0)
        return search_fail(reader->fault, SEARCH_BAD_REQUEST,
                           "sortOrder must be ASCENDING or DESCENDING: \"" SEARCH_QUOTE "\"",
                           order);
    if (!by)
        return 0;
    if (search_find_field(reader, &reader->entities, by, &search->sort) < 0)
        return -1;
    if (search->sort.kind >= SEARCH_LIST)
        return search_fail(reader->fault, SEARCH_BAD_REQUEST,
                           "attribute %s has no order to sort by", by);
    search->has_sort = true;
    return 0;
}

/* Each is shown once. */
static void search_add_attribute(struct search *search, const char *name)
{
    for (size_t i = 0; i < search->attributes_len; i++) {
        if (strcmp(search->attributes[i], name) == 0)
            return;
    }
    search->attributes[search->attributes_len++] = name;
}

static int search_read_attributes(struct search_reader *reader, const json_t *parameters)
{
    const json_t *list = json_object_get(parameters, "attributes");
    struct search *search = reader->search;
    const struct search_scope *scope = &reader->entities;
    struct type_list types = search->types.len ? search->types : search_types(reader, scope);

    if (list && !json_is_null(list) && !json_is_array(list))
        return search_fail(reader->fault, SEARCH_BAD_REQUEST, "attributes must be a list");
    if (json_array_size(list) > SEARCH_ATTRIBUTES_MAX)
        return search_fail(reader->fault, SEARCH_BAD_REQUEST, "more than %d attributes",
                           SEARCH_ATTRIBUTES_MAX);
    search->attributes = xcalloc(json_array_size(list), sizeof(*search->attributes));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        const struct type_attribute *attribute =
            name ? search_attribute_of(&types, TYPE_ENTITY, span_of(name)) : NULL;

        if (!attribute)
            return search_fail(reader->fault, "ATLAS-400-00-023",
                               "Attribute " SEARCH_QUOTE " not found for type %s", name ? name : "",
                               scope->named.len ? scope->named.items[0]->def->name : scope->all);
        if (search_is_relation(&types, span_of(name)))
            return search_fail(reader->fault, SEARCH_BAD_REQUEST,
                               "attribute %s is a relationship, which a search does not show: read "
                               "the entity",
                               name);
        search_add_attribute(search, attribute->name);
    }
    return 0;
}

/* What Atlas has and this graph has not. */
static int search_refuse(struct search_reader *reader, json_t *parameters)
{
    static const char *const refused[] = { "relationshipName", "marker" };
    bool is_bare = false;
    const char *text;

    if (search_get_text(parameters, "termName", &text, reader->fault) < 0)
        return -1;
    if (text)
        return search_fail(reader->fault, "ATLAS-400-00-06E",
                           SEARCH_QUOTE ": Unknown/invalid glossary term", text);
    for (size_t i = 0; i < LENGTH(refused); i++) {
        if (search_get_text(parameters, refused[i], &text, reader->fault) < 0)
            return -1;
        if (text)
            return search_fail(reader->fault, SEARCH_BAD_REQUEST, "%s is not supported",
                               refused[i]);
    }
    if (!search_filter_is_empty(json_object_get(parameters, "relationshipFilters")))
        return search_fail(reader->fault, SEARCH_BAD_REQUEST,
                           "relationshipFilters are not supported");
    if (search_get_flag(parameters, "excludeHeaderAttributes", &is_bare, reader->fault) < 0)
        return -1;
    return is_bare ? search_fail(reader->fault, SEARCH_BAD_REQUEST,
                                 "excludeHeaderAttributes is not supported")
                   : 0;
}

/* As they are answered: what was given, and the defaults of what was not. */
static json_t *search_parameters_json(const struct search *search, const json_t *parameters)
{
    static const char *const texts[] = { "query", "typeName", "classification", "sortBy",
                                         "sortOrder" };
    bool with_sub_types = true, with_sub_classifications = true;
    struct search_fault fault;
    json_t *json = json_object();

    for (size_t i = 0; i < LENGTH(texts); i++) {
        json_t *value = json_object_get(parameters, texts[i]);

        if (json_string_length(value))
            (void)json_object_set(json, texts[i], value);
    }
    (void)!search_get_flag(parameters, "includeSubTypes", &with_sub_types, &fault);
    (void)!search_get_flag(parameters, "includeSubClassifications", &with_sub_classifications,
                           &fault);
    (void)json_object_set_new(json, "excludeDeletedEntities",
                              json_boolean(search->excludes_deleted));
    (void)json_object_set_new(json, "includeClassificationAttributes", json_false());
    (void)json_object_set_new(json, "includeSubTypes", json_boolean(with_sub_types));
    (void)json_object_set_new(json, "includeSubClassifications",
                              json_boolean(with_sub_classifications));
    (void)json_object_set_new(json, "excludeHeaderAttributes", json_false());
    (void)json_object_set_new(json, "limit", json_integer(search->limit));
    (void)json_object_set_new(json, "offset", json_integer(search->offset));
    if (search->has_filter)
        (void)json_object_set(json, "entityFilters", json_object_get(parameters, "entityFilters"));
    if (search->has_tag_filter)
        (void)json_object_set(json, "tagFilters", json_object_get(parameters, "tagFilters"));
    if (search->attributes_len)
        (void)json_object_set(json, "attributes", json_object_get(parameters, "attributes"));
    return json;
}

static int search_read(struct search_reader *reader, json_t *parameters)
{
    json_t *filter = json_object_get(parameters, "entityFilters");
    struct search *search = reader->search;
    const char *query, *type_name;

    if (search_get_count(parameters, "limit", &search->limit, reader->fault) < 0 ||
        search_get_count(parameters, "offset", &search->offset, reader->fault) < 0 ||
        search_get_text(parameters, "query", &query, reader->fault) < 0 ||
        search_get_text(parameters, "typeName", &type_name, reader->fault) < 0 ||
        search_refuse(reader, parameters) < 0 || search_read_classification(reader, parameters) < 0)
        return -1;
    if (!search->limit || search->limit > SEARCH_LIMIT_MAX)
        search->limit = SEARCH_LIMIT_DEFAULT;
    search->has_filter = !search_filter_is_empty(filter);
    if (!query && !type_name && !search->tags && !search->has_filter)
        return search_fail(reader->fault, "ATLAS-400-00-047",
                           "No search parameter was found. One of the following MUST be specified "
                           "in the request; typeName, classification, termName or queryText");
    if (search_get_flag(parameters, "excludeDeletedEntities", &search->excludes_deleted,
                        reader->fault) < 0 ||
        search_read_types(reader, parameters) < 0 || search_read_query(reader, query) < 0 ||
        search_read_filters(reader, parameters) < 0 || search_read_sort(reader, parameters) < 0 ||
        search_read_attributes(reader, parameters) < 0)
        return -1;
    search->parameters = search_parameters_json(search, parameters);
    return 0;
}

int search_parse(struct search *search, const struct type_registry *types, const json_t *parameters,
                 struct search_fault *fault)
{
    struct search_reader reader = { .search = search,
                                    .types = types,
                                    .entities = { TYPE_ENTITY,
                                                  "_ALL_ENTITY_TYPES",
                                                  search_system,
                                                  LENGTH(search_system),
                                                  { 0 } },
                                    .tags = { TYPE_CLASSIFICATION,
                                              "_ALL_CLASSIFICATION_TYPES",
                                              search_tag_system,
                                              LENGTH(search_tag_system),
                                              { 0 } },
                                    .fault = fault };
    json_auto_t *own = NULL;
    int rc;

    *search = (struct search){ 0 };
    if (!json_is_object(parameters))
        return search_fail(fault, SEARCH_BAD_REQUEST, "the body must be a JSON object");
    own = json_deep_copy(parameters);
    rc = search_read(&reader, own);
    free(reader.entities.named.items);
    free(reader.tags.named.items);
    if (rc < 0)
        search_done(search);
    return rc;
}

/* ---------------------------------------------------------------------------------------- quick */

static bool search_is_letter(char c)
{
    return isalpha((unsigned char)c) || (unsigned char)c >= 0x80;
}

/* Whether Atlas's index has it as one word: a point, colon or apostrophe parts no letters. */
static bool search_is_one_word(const char *text)
{
    for (const char *c = text; *c; c++) {
        if (search_is_letter(*c) || isdigit((unsigned char)*c) || *c == '_')
            continue;
        if (!strchr(".:'", *c) || c == text || !search_is_letter(c[-1]) || !search_is_letter(c[1]))
            return false;
    }
    return *text != '\0';
}

/* The parameters as those of a basic search. Owned. */
static json_t *search_quick_json(const json_t *parameters)
{
    static const char *const names[] = { "query",
                                         "typeName",
                                         "entityFilters",
                                         "limit",
                                         "offset",
                                         "excludeDeletedEntities",
                                         "sortBy",
                                         "sortOrder",
                                         "includeSubTypes",
                                         "attributes",
                                         "excludeHeaderAttributes" };
    json_t *json = json_object();
    const char *query;

    for (size_t i = 0; i < LENGTH(names); i++) {
        json_t *value = json_object_get(parameters, names[i]);

        if (value && !json_is_null(value))
            (void)json_object_set(json, names[i], value);
    }
    if (!json_object_get(json, "includeSubTypes"))
        (void)json_object_set_new(json, "includeSubTypes", json_false());
    query = json_string_value(json_object_get(json, "query"));
    if (query && search_is_one_word(query)) {
        AUTO(mem_free) char *begun = xasprintf("%s*", query);

        (void)json_object_set_new(json, "query", json_string(begun));
    }
    return json;
}

int search_parse_quick(struct search *search, const struct type_registry *types,
                       const json_t *parameters, struct search_fault *fault)
{
    json_auto_t *basic = NULL;

    *search = (struct search){ 0 };
    if (!json_is_object(parameters))
        return search_fail(fault, SEARCH_BAD_REQUEST, "the body must be a JSON object");
    basic = search_quick_json(parameters);
    if (search_parse(search, types, basic, fault) < 0)
        return -1;
    if (!search->has_filter || json_object_get(search->parameters, "typeName"))
        return 0;
    search_done(search);
    return search_fail(fault, SEARCH_BAD_REQUEST, "EntityFilters specified without Type name");
}

static void search_filter_done(struct search_filter *filter)
{
    for (size_t i = 0; i < filter->children_len; i++)
        search_filter_done(&filter->children[i]);
    for (size_t i = 0; i < filter->values_len; i++)
        free(filter->values[i]);
    free(filter->children);
    free(filter->values);
}

void search_done(struct search *search)
{
    for (size_t i = 0; i < search->words_len; i++)
        free(search->words[i]);
    free(search->words);
    search_filter_done(&search->filter);
    search_filter_done(&search->tag_filter);
    free(search->types.items);
    free(search->tag_types.items);
    free(search->attributes);
    json_decref(search->parameters);
    *search = (struct search){ 0 };
}
