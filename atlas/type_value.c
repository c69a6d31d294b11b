#include "atlas/type_value.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/buf.h"
#include "base/decimal.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/utf8.h"

enum { VALUE_QUOTE_BYTES_MAX = 96, VALUE_PLACE_BYTES_MAX = 240, VALUE_NUMBER_BYTES_MAX = 400 };

/* Where a value is: the attribute, then an index, a key or a struct's attribute for each level. */
struct value_place {
    const struct value_place *above;
    const char *name; /* NULL: an index */
    size_t index;
    size_t depth;
};

/* A check under way. */
struct value_check {
    const struct type_registry *types;
    struct err *err;
};

/* Puts the value for its type into *out, owned. */
typedef int value_run(const struct value_check *check, const struct value_place *place,
                      struct span type_name, const json_t *value, json_t **out);

static value_run value_any;

/* ---------------------------------------------------------------------------------- type names */

static struct span span_trim(struct span text)
{
    while (text.len && text.data[0] == ' ')
        text = (struct span){ text.data + 1, text.len - 1 };
    while (text.len && text.data[text.len - 1] == ' ')
        text.len--;
    return text;
}

/* What stands between `prefix` and ">". */
static bool type_name_inside(struct span name, struct span prefix, struct span *inside)
{
    if (name.len <= prefix.len || memcmp(name.data, prefix.data, prefix.len) != 0 ||
        name.data[name.len - 1] != '>')
        return false;
    *inside = (struct span){ name.data + prefix.len, name.len - prefix.len - 1 };
    return true;
}

struct type_name type_name_split(struct span name)
{
    struct span inside;
    const char *comma;

    name = span_trim(name);
    if (type_name_inside(name, SPAN_LITERAL("array<"), &inside))
        return (struct type_name){ TYPE_NAME_ARRAY, { 0 }, span_trim(inside) };
    if (type_name_inside(name, SPAN_LITERAL("map<"), &inside) &&
        (comma = memchr(inside.data, ',', inside.len))) { /* no key type has a comma */
        struct span key = { inside.data, (size_t)(comma - inside.data) };
        struct span value = { comma + 1, inside.len - key.len - 1 };

        return (struct type_name){ TYPE_NAME_MAP, span_trim(key), span_trim(value) };
    }
    return (struct type_name){ TYPE_NAME_PLAIN, { 0 }, name };
}

static bool type_is_reference(const struct type_registry *types, struct span name)
{
    const struct type *type = type_by_name(types, name);

    return span_is(name, "objectid") || (type && type->def->category == TYPE_ENTITY);
}

/* Whether references are anywhere in values of the type; `seen`: structs that were looked at. */
static bool type_refers(const struct type_registry *types, struct span name, struct map *seen)
{
    struct type_name parts = type_name_split(name);
    const struct type *type;
    bool is_new = false;

    while (parts.kind != TYPE_NAME_PLAIN)
        parts = type_name_split(parts.element);
    if (type_is_reference(types, parts.element))
        return true;
    type = type_by_name(types, parts.element);
    if (!type || type->def->category != TYPE_STRUCT)
        return false;
    (void)map_put(seen, parts.element, 0, &is_new);
    for (size_t i = 0; is_new && i < type->attributes_len; i++) {
        if (type_refers(types, span_of(type->attributes[i]->type_name), seen))
            return true;
    }
    return false;
}

enum type_references type_value_references(const struct type_registry *types, struct span name)
{
    static const enum type_references direct[] = {
        [TYPE_NAME_PLAIN] = TYPE_REFERENCE,
        [TYPE_NAME_ARRAY] = TYPE_REFERENCE_LIST,
        [TYPE_NAME_MAP] = TYPE_REFERENCE_MAP,
    };
    struct type_name parts = type_name_split(name);
    AUTO(map_free) struct map *seen = NULL;

    if (type_is_reference(types, parts.element))
        return direct[parts.kind];
    seen = map_new();
    return type_refers(types, name, seen) ? TYPE_REFERENCE_INNER : TYPE_NO_REFERENCES;
}

/* ------------------------------------------------------------------------------------ messages */

/* Cut where a character begins. */
static void value_cut(struct buf *text, size_t bytes_max)
{
    size_t len = 0, next;

    if (text->len <= bytes_max)
        return;
    while (len < text->len && (next = utf8_char_len(text->data + len, text->len - len)) > 0 &&
           len + next <= bytes_max)
        len += next;
    text->len = len;
    text->full = false;
    buf_append_text(text, "...");
}

static void value_write_place(const struct value_place *place, struct buf *out)
{
    if (place->above)
        value_write_place(place->above, out);
    if (place->name)
        buf_append_fmt(out, "%s%s", place->above ? "." : "", place->name);
    else
        buf_append_fmt(out, "[%zu]", place->index);
}

static void value_write_scalar(const json_t *value, struct buf *out)
{
    char text[DECIMAL_BYTES];

    if (json_is_string(value))
        buf_append(out, json_string_value(value), json_string_length(value));
    else if (json_is_integer(value))
        buf_append_i64(out, json_integer_value(value));
    else if (json_is_real(value))
        buf_append(out, text, decimal_write(text, json_real_value(value)));
    else
        buf_append_text(out, json_is_true(value)    ? "true"
                             : json_is_false(value) ? "false"
                                                    : "null");
}

/* As Java prints lists and maps: [1, 2], {a=1}. Ends early where nothing more is shown. */
static void value_write(const json_t *value, struct buf *out)
{
    json_t *inner = (json_t *)(uintptr_t)value, *item;
    const char *key, *separator = "";
    size_t i;

    if (out->len > VALUE_QUOTE_BYTES_MAX)
        return;
    if (json_is_array(value)) {
        buf_append_char(out, '[');
        for (i = 0; i < json_array_size(value) && out->len <= VALUE_QUOTE_BYTES_MAX; i++) {
            buf_append_text(out, i ? ", " : "");
            value_write(json_array_get(value, i), out);
        }
        buf_append_char(out, ']');
    } else if (json_is_object(value)) {
        buf_append_char(out, '{');
        json_object_foreach(inner, key, item)
        {
            if (out->len > VALUE_QUOTE_BYTES_MAX)
                break;
            buf_append_fmt(out, "%s%s=", separator, key);
            value_write(item, out);
            separator = ", ";
        }
        buf_append_char(out, '}');
    } else {
        value_write_scalar(value, out);
    }
}

/* `fmt` is what follows the place and, with `value`, what it holds. */
static int value_fail(const struct value_check *check, const struct value_place *place,
                      const json_t *value, const char *fmt, struct span argument)
{
    AUTO(buf_done) struct buf where, what;

    buf_init(&where, SIZE_MAX);
    buf_init(&what, SIZE_MAX);
    value_write_place(place, &where);
    value_cut(&where, VALUE_PLACE_BYTES_MAX);
    if (value) {
        value_write(value, &what);
        value_cut(&what, VALUE_QUOTE_BYTES_MAX);
    }
    return err_set(check->err, ERR_INPUT, "%s%s%s: %s%.*s", buf_text(&where), value ? "=" : "",
                   buf_text(&what), fmt,
                   (int)(argument.len < VALUE_QUOTE_BYTES_MAX ? argument.len
                                                              : VALUE_QUOTE_BYTES_MAX),
                   argument.data);
}

static int value_invalid(const struct value_check *check, const struct value_place *place,
                         struct span type_name, const json_t *value)
{
    return value_fail(check, place, value, "invalid value for type ", type_name);
}

/* ------------------------------------------------------------------------------------- numbers */

/* A whole number, given as such, as a double without a fraction, or as a text of digits. */
static bool value_get_integer(const json_t *value, int64_t *number)
{
    const char *text = json_string_value(value);
    char *end;

    if (json_is_integer(value)) {
        *number = json_integer_value(value);
        return true;
    }
    if (json_is_real(value)) {
        double real = json_real_value(value);

        if (real < -0x1p63 || real >= 0x1p63 || trunc(real) != real)
            return false;
        *number = (int64_t)real;
        return true;
    }
    if (!text || !*text || strspn(text, "+-0123456789") != strlen(text))
        return false;
    errno = 0;
    *number = strtoll(text, &end, 10);
    return !*end && !errno;
}

/* A text is a decimal number, without white space, NaN or infinity. */
static bool value_is_decimal(const char *text)
{
    size_t len = strlen(text);
    char *end;

    if (!len || len > VALUE_NUMBER_BYTES_MAX || strspn(text, "+-.0123456789eE") != len)
        return false;
    (void)strtod(text, &end);
    return !*end;
}

static bool value_get_real(const json_t *value, double *number)
{
    const char *text = json_string_value(value);

    if (json_is_number(value))
        *number = json_number_value(value);
    else if (text && value_is_decimal(text))
        *number = strtod(text, NULL);
    else
        return false;
    return isfinite(*number);
}

static const struct {
    const char *name;
    int64_t min, max;
} value_integers[] = {
    { "byte", INT8_MIN, INT8_MAX },
    { "short", INT16_MIN, INT16_MAX },
    { "int", INT32_MIN, INT32_MAX },
    { "long", INT64_MIN, INT64_MAX },
};

static json_t *value_integer(struct span type_name, const json_t *value)
{
    int64_t number;

    if (!value_get_integer(value, &number))
        return NULL;
    for (size_t i = 0; i < LENGTH(value_integers); i++) {
        if (span_is(type_name, value_integers[i].name) &&
            (number < value_integers[i].min || number > value_integers[i].max))
            return NULL;
    }
    return json_integer(number);
}

static json_t *value_real(struct span type_name, const json_t *value)
{
    double number;

    if (!value_get_real(value, &number) ||
        (span_is(type_name, "float") && !isfinite((float)number)))
        return NULL;
    return json_real(number);
}

/* Of any size: what JSON's numbers can't hold here stays a text. */
static json_t *value_big(struct span type_name, const json_t *value)
{
    const char *text = json_string_value(value);
    int64_t number;

    if (value_get_integer(value, &number))
        return json_integer(number);
    if (span_is(type_name, "biginteger")) {
        size_t sign = text && (*text == '-' || *text == '+');
        size_t digits = text ? strspn(text + sign, "0123456789") : 0;

        return digits && digits <= VALUE_NUMBER_BYTES_MAX && !text[sign + digits]
                   ? json_string(text)
                   : NULL;
    }
    if (text)
        return value_is_decimal(text) ? json_string(text) : NULL;
    return json_is_real(value) ? json_real(json_real_value(value)) : NULL;
}

/* -------------------------------------------------------------------------- other plain values */

static json_t *value_boolean(struct span type_name UNUSED, const json_t *value)
{
    const char *text = json_string_value(value);

    if (json_is_boolean(value))
        return json_boolean(json_is_true(value));
    if (text && strcasecmp(text, "true") == 0)
        return json_true();
    return text && strcasecmp(text, "false") == 0 ? json_false() : NULL;
}

static json_t *value_string(struct span type_name UNUSED, const json_t *value)
{
    AUTO(buf_done) struct buf text;

    buf_init(&text, DECIMAL_BYTES);
    if (json_is_string(value))
        return json_stringn_nocheck(json_string_value(value), json_string_length(value));
    if (json_is_array(value) || json_is_object(value))
        return NULL;
    value_write_scalar(value, &text);
    return json_string(buf_text(&text));
}

/* `digits` digits at *text, which moves behind them and the one character `behind`. */
static bool date_number(const char **text, int digits, char behind, int *number)
{
    *number = 0;
    for (; digits > 0; digits--, (*text)++) {
        if (**text < '0' || **text > '9')
            return false;
        *number = *number * 10 + (**text - '0');
    }
    return *(*text)++ == behind;
}

static int date_month_days(int year, int month)
{
    static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return days[month - 1] + (month == 2 && is_leap);
}

/* "2026-11-21T10:00:00.000Z" */
static bool date_parse(const char *text, int64_t *ms)
{
    int year, month, day, hour, minute, second, fraction;
    struct tm tm = { 0 };

    if (!date_number(&text, 4, '-', &year) || !date_number(&text, 2, '-', &month) ||
        !date_number(&text, 2, 'T', &day) || !date_number(&text, 2, ':', &hour) ||
        !date_number(&text, 2, ':', &minute) || !date_number(&text, 2, '.', &second) ||
        !date_number(&text, 3, 'Z', &fraction) || *text)
        return false;
    if (month < 1 || month > 12 || day < 1 || day > date_month_days(year, month) || hour > 23 ||
        minute > 59 || second > 59)
        return false;
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    tm.tm_mday = day;
    tm.tm_hour = hour;
    tm.tm_min = minute;
    tm.tm_sec = second;
    *ms = (int64_t)timegm(&tm) * 1000 + fraction;
    return true;
}

static json_t *value_date(struct span type_name UNUSED, const json_t *value)
{
    const char *text = json_string_value(value);
    int64_t ms;

    if (value_get_integer(value, &ms) || (text && date_parse(text, &ms)))
        return json_integer(ms);
    return NULL;
}

/* What is stored, owned; NULL: the value is none of the type. */
static const struct {
    const char *name;
    json_t *(*make)(struct span type_name, const json_t *value);
} value_plain[] = {
    { "string", value_string },  { "int", value_integer },    { "long", value_integer },
    { "short", value_integer },  { "byte", value_integer },   { "boolean", value_boolean },
    { "date", value_date },      { "float", value_real },     { "double", value_real },
    { "biginteger", value_big }, { "bigdecimal", value_big },
};

/* ------------------------------------------------------------------------- definitions, nested */

/* In any case of its letters, but for values that differ in nothing else. */
static int value_enum(const struct value_check *check, const struct value_place *place,
                      const struct type *type, const json_t *value, json_t **out)
{
    const struct type_def *def = type->def;
    const char *text = json_string_value(value), *found = NULL;
    bool is_exact = false;

    for (size_t i = 0; text && !is_exact && i < def->elements_len; i++) {
        const char *element = def->elements[i].value;

        is_exact = strcmp(text, element) == 0;
        if (is_exact || (!found && strcasecmp(text, element) == 0))
            found = element;
    }
    if (!found)
        return value_invalid(check, place, span_of(def->name), value);
    *out = json_string_nocheck(found);
    return 0;
}

/* The type that declares the attribute: the one that Atlas names when it is missing. */
static const char *value_declarer(const struct type *type, const struct type_attribute *attribute)
{
    for (size_t i = 0; i < type->super_types.len; i++) {
        const struct type_def *def = type->super_types.items[i]->def;

        for (size_t j = 0; j < def->attributes_len; j++) {
            if (&def->attributes[j] == attribute)
                return def->name;
        }
    }
    return type->def->name;
}

static bool value_is_there(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);

    return value && !json_is_null(value);
}

static int value_attribute(const struct value_check *check, const struct value_place *place,
                           const struct type_attribute *attribute, const json_t *value,
                           json_t **out);

static int value_attributes(const struct value_check *check, const struct value_place *place,
                            const struct type *type, const json_t *attributes,
                            const json_t *elsewhere, bool is_update, json_t *out)
{
    for (size_t i = 0; i < type->attributes_len; i++) {
        const struct type_attribute *attribute = type->attributes[i];
        struct value_place inner = { place, attribute->name, 0, place->depth + 1 };
        json_t *stored = NULL;

        if (value_attribute(check, &inner, attribute, json_object_get(attributes, attribute->name),
                            &stored) < 0)
            return -1;
        if (stored)
            (void)json_object_set_new_nocheck(out, attribute->name, stored);
        else if ((attribute->flags & TYPE_MANDATORY) && !is_update &&
                 !value_is_there(elsewhere, attribute->name))
            return value_fail(check, &inner, NULL, "mandatory attribute value missing in type ",
                              span_of(value_declarer(type, attribute)));
    }
    return 0;
}

/* {"typeName": ..., "attributes": {...}}, or the attributes alone; the former is stored. */
static int value_struct(const struct value_check *check, const struct value_place *place,
                        const struct type *type, const json_t *value, json_t **out)
{
    const json_t *attributes = json_object_get(value, "attributes");
    json_t *stored;

    if (!json_is_object(value))
        return value_invalid(check, place, span_of(type->def->name), value);
    if (!json_is_object(attributes) || !json_object_get(value, "typeName"))
        attributes = value;
    stored = json_object();
    if (value_attributes(check, place, type, attributes, NULL, false, stored) < 0) {
        json_decref(stored);
        return -1;
    }
    *out = json_pack("{s:s, s:o}", "typeName", type->def->name, "attributes", stored);
    return 0;
}

bool type_reference_is_valid(const json_t *reference)
{
    const json_t *guid = json_object_get(reference, "guid");
    const char *type_name = json_string_value(json_object_get(reference, "typeName"));

    if (json_is_integer(guid) || json_string_length(guid) > 0)
        return true;
    return type_name && *type_name &&
           json_object_size(json_object_get(reference, "uniqueAttributes")) > 0;
}

static int value_reference(const struct value_check *check, const struct value_place *place,
                           const json_t *value, json_t **out)
{
    if (!type_reference_is_valid(value))
        return value_invalid(check, place, SPAN_LITERAL("objectid"), value);
    *out = json_incref((json_t *)(uintptr_t)value);
    return 0;
}

static int value_named(const struct value_check *check, const struct value_place *place,
                       struct span type_name, const json_t *value, json_t **out)
{
    const struct type *type;

    for (size_t i = 0; i < LENGTH(value_plain); i++) {
        if (!span_is(type_name, value_plain[i].name))
            continue;
        *out = value_plain[i].make(type_name, value);
        return *out ? 0 : value_invalid(check, place, type_name, value);
    }
    if (type_is_reference(check->types, type_name))
        return value_reference(check, place, value, out);
    type = type_by_name(check->types, type_name);
    if (type && type->def->category == TYPE_ENUM)
        return value_enum(check, place, type, value, out);
    if (type && type->def->category == TYPE_STRUCT)
        return value_struct(check, place, type, value, out);
    return value_fail(check, place, NULL, "Unknown/invalid typename ", type_name);
}

static int value_array(const struct value_check *check, const struct value_place *place,
                       struct span type_name, const json_t *value, json_t **out)
{
    struct type_name parts = type_name_split(type_name);
    json_t *stored;

    if (!json_is_array(value))
        return value_invalid(check, place, type_name, value);
    stored = json_array();
    for (size_t i = 0; i < json_array_size(value); i++) {
        struct value_place inner = { place, NULL, i, place->depth + 1 };
        json_t *element = NULL;

        if (value_any(check, &inner, parts.element, json_array_get(value, i), &element) < 0) {
            json_decref(stored);
            return -1;
        }
        if (element)
            (void)json_array_append_new(stored, element);
    }
    *out = stored;
    return 0;
}

/* A key is a text in JSON, whatever its type: it must read as one. */
static bool value_key_fits(const struct value_check *check, struct span type_name, const char *key)
{
    struct err ignored = { 0 };
    struct value_check alone = { check->types, &ignored };
    struct value_place place = { NULL, "", 0, 0 };
    json_auto_t *text = json_string_nocheck(key);
    json_auto_t *stored = NULL;

    return value_any(&alone, &place, type_name, text, &stored) == 0;
}

static int value_map(const struct value_check *check, const struct value_place *place,
                     struct span type_name, const json_t *value, json_t **out)
{
    struct type_name parts = type_name_split(type_name);
    json_t *members = (json_t *)(uintptr_t)value, *member, *stored;
    const char *key;

    if (!json_is_object(value))
        return value_invalid(check, place, type_name, value);
    stored = json_object();
    json_object_foreach(members, key, member)
    {
        struct value_place inner = { place, key, 0, place->depth + 1 };
        json_t *element = NULL;
        int rc = 0;

        if (!value_key_fits(check, parts.key, key))
            rc = value_fail(check, &inner, NULL, "invalid key for type ", type_name);
        if (rc < 0 || value_any(check, &inner, parts.element, member, &element) < 0) {
            json_decref(stored);
            return -1;
        }
        if (element)
            (void)json_object_set_new_nocheck(stored, key, element);
    }
    *out = stored;
    return 0;
}

static int value_any(const struct value_check *check, const struct value_place *place,
                     struct span type_name, const json_t *value, json_t **out)
{
    *out = NULL;
    if (!value || json_is_null(value))
        return 0;
    if (place->depth > TYPE_VALUE_DEPTH_MAX)
        return value_fail(check, place, NULL, "nested too deeply", SPAN_LITERAL(""));
    switch (type_name_split(type_name).kind) {
    case TYPE_NAME_ARRAY:
        return value_array(check, place, type_name, value, out);
    case TYPE_NAME_MAP:
        return value_map(check, place, type_name, value, out);
    case TYPE_NAME_PLAIN:
        break;
    }
    return value_named(check, place, span_trim(type_name), value, out);
}

/* ---------------------------------------------------------------------------------- attributes */

/* Each element once, the first of those that are equal. */
static void value_make_set(json_t *array)
{
    AUTO(map_free) struct map *seen = map_new();
    size_t len = 0;

    for (size_t i = 0; i < json_array_size(array); i++) {
        json_t *element = json_array_get(array, i);
        AUTO(mem_free)
        char *text = json_dumps(element, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
        bool is_new;

        (void)map_put(seen, span_of(text), 0, &is_new);
        if (is_new)
            (void)json_array_set(array, len++, element);
    }
    while (json_array_size(array) > len)
        (void)json_array_remove(array, json_array_size(array) - 1);
}

static int value_check_count(const struct value_check *check, const struct value_place *place,
                             const struct type_attribute *attribute, const json_t *value)
{
    char text[128];
    size_t found = json_array_size(value);
    int min = type_values_min(attribute), max = type_values_max(attribute);

    if (attribute->cardinality == TYPE_SINGLE || !json_is_array(value) ||
        (found >= (size_t)min && found <= (size_t)max))
        return 0;
    (void)snprintf(text, sizeof(text),
                   "incorrect number of values. found=%zu; expected: minCount=%d, maxCount=%d",
                   found, min, max);
    return value_fail(check, place, NULL, text, SPAN_LITERAL(""));
}

static int value_attribute(const struct value_check *check, const struct value_place *place,
                           const struct type_attribute *attribute, const json_t *value,
                           json_t **out)
{
    if (value_check_count(check, place, attribute, value) < 0 ||
        value_any(check, place, span_of(attribute->type_name), value, out) < 0)
        return -1;
    if (attribute->cardinality == TYPE_SET && json_is_array(*out))
        value_make_set(*out);
    return 0;
}

int type_value_check(const struct type_registry *types, struct span type_name, const char *name,
                     const json_t *value, json_t **out, struct err *err)
{
    struct value_check check = { types, err };
    struct value_place place = { NULL, name, 0, 0 };

    return value_any(&check, &place, type_name, value, out);
}

int type_value_check_attribute(const struct type_registry *types,
                               const struct type_attribute *attribute, const char *name,
                               const json_t *value, json_t **out, struct err *err)
{
    struct value_check check = { types, err };
    struct value_place place = { NULL, name, 0, 0 };

    return value_attribute(&check, &place, attribute, value, out);
}

int type_values_check(const struct type_registry *types, const struct type *type,
                      const json_t *attributes, const json_t *elsewhere, bool is_update,
                      json_t **out, struct err *err)
{
    struct value_check check = { types, err };
    struct value_place place = { NULL, type->def->name, 0, 0 };
    json_t *stored;

    if (attributes && !json_is_object(attributes) && !json_is_null(attributes))
        return value_invalid(&check, &place, span_of(type->def->name), attributes);
    stored = json_object();
    if (value_attributes(&check, &place, type, attributes, elsewhere, is_update, stored) < 0) {
        json_decref(stored);
        return -1;
    }
    *out = stored;
    return 0;
}
