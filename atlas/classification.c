#include "atlas/classification.h"

#include <string.h>
#include <strings.h>
#include <time.h>

#include "atlas/type_value.h"

enum { CLASSIFICATION_ZONE_BYTES_MAX = 64 };

#define CLASSIFICATION_INVALID "ATLAS-400-00-01A"
#define CLASSIFICATION_QUOTE "%.64s" /* no more of a client's text in a message */

void classification_done(struct classification *classification)
{
    json_decref(classification->attributes);
    json_decref(classification->periods);
    *classification = (struct classification){ 0 };
}

/* -------------------------------------------------------------------------------- what is given */

const struct type *classification_type(const struct type_registry *types, const json_t *given,
                                       struct type_fault *fault)
{
    const char *name = json_string_value(json_object_get(given, "typeName"));
    const struct type *type = name ? type_by_name(types, span_of(name)) : NULL;

    if (type && type->def->category == TYPE_CLASSIFICATION)
        return type;
    (void)type_fault_set(fault, "ATLAS-404-00-008",
                         "Given classification " CLASSIFICATION_QUOTE " was invalid",
                         name ? name : "null");
    return NULL;
}

const char *classification_guid(const json_t *given)
{
    const char *guid = json_string_value(json_object_get(given, "entityGuid"));

    return guid && *guid ? guid : NULL;
}

bool classification_is_propagated(const json_t *given, const char *entity_guid)
{
    const char *guid = classification_guid(given);

    return guid && json_is_true(json_object_get(given, "propagate")) &&
           strcasecmp(guid, entity_guid) != 0;
}

/* *flag stays where there is none. */
static int classification_flag(const json_t *given, const char *name, bool *flag,
                               struct type_fault *fault)
{
    const json_t *value = json_object_get(given, name);

    if (!value || json_is_null(value))
        return 0;
    if (!json_is_boolean(value))
        return type_fault_set(fault, CLASSIFICATION_INVALID,
                              "invalid parameters: %s must be true or false", name);
    *flag = json_is_true(value);
    return 0;
}

/* yyyy/MM/dd HH:mm:ss, "" for none; NULL: it is something else. */
static const char *classification_time(const json_t *period, const char *name)
{
    static const char form[] = "0000/00/00 00:00:00";
    const json_t *value = json_object_get(period, name);
    const char *text = json_string_value(value), *end;
    struct tm tm = { 0 };
    int day;

    if (!value || json_is_null(value))
        return "";
    if (!text || json_string_length(value) != strlen(form))
        return NULL;
    for (size_t i = 0; form[i]; i++) { /* strptime takes white space for digits */
        if (form[i] == '0' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
            return NULL;
    }
    end = strptime(text, "%Y/%m/%d %H:%M:%S", &tm);
    if (!end || *end || tm.tm_sec > 59)
        return NULL;
    day = tm.tm_mday;
    (void)timegm(&tm); /* makes the 31st of February another day */
    return tm.tm_mday == day ? text : NULL;
}

/* Owned; NULL: the fault is set. */
static json_t *classification_period(const json_t *period, struct type_fault *fault)
{
    const char *start = classification_time(period, "startTime");
    const char *end = classification_time(period, "endTime");
    const json_t *zone_given = json_object_get(period, "timeZone");
    const char *zone = json_string_value(zone_given);
    json_t *kept = json_object();

    if (!json_is_object(period))
        (void)type_fault_set(fault, CLASSIFICATION_INVALID,
                             "invalid parameters: a validity period must be an object");
    else if (!start)
        (void)type_fault_set(fault, "ATLAS-400-00-87B", "Invalid startTime");
    else if (!end)
        (void)type_fault_set(fault, "ATLAS-400-00-87C", "Invalid endTime");
    else if (*start && *end && strcmp(start, end) >= 0)
        (void)type_fault_set(fault, "ATLAS-400-00-87D",
                             "Invalid dateRange: startTime %s must be before endTime %s", start,
                             end);
    else if (zone ? strlen(zone) > CLASSIFICATION_ZONE_BYTES_MAX
                  : zone_given && !json_is_null(zone_given))
        (void)type_fault_set(fault, "ATLAS-400-00-87A", "Invalid timezone " CLASSIFICATION_QUOTE,
                             zone ? zone : "");
    else {
        if (*start)
            (void)json_object_set_new(kept, "startTime", json_string(start));
        if (*end)
            (void)json_object_set_new(kept, "endTime", json_string(end));
        if (zone)
            (void)json_object_set_new(kept, "timeZone", json_string(zone));
        return kept;
    }
    json_decref(kept);
    return NULL;
}

/* *periods becomes a new list, owned, NULL where it is empty; it stays where there is none. */
static int classification_periods(const json_t *given, json_t **periods, struct type_fault *fault)
{
    const json_t *value = json_object_get(given, "validityPeriods");
    json_auto_t *kept = json_array();

    if (!value || json_is_null(value))
        return 0;
    if (!json_is_array(value) || json_array_size(value) > CLASSIFICATION_PERIODS_MAX)
        return type_fault_set(fault, CLASSIFICATION_INVALID,
                              "invalid parameters: validityPeriods must be a list of %d at most",
                              CLASSIFICATION_PERIODS_MAX);
    for (size_t i = 0; i < json_array_size(value); i++) {
        json_t *period = classification_period(json_array_get(value, i), fault);

        if (!period)
            return -1;
        (void)json_array_append_new(kept, period);
    }
    json_decref(*periods);
    *periods = json_array_size(kept) ? json_incref(kept) : NULL;
    return 0;
}

static int classification_attributes(struct classification *classification,
                                     const struct type_registry *types, const json_t *attributes,
                                     struct type_fault *fault)
{
    struct err err = { 0 };
    json_t *checked;

    if (type_values_check(types, classification->type, attributes, NULL, false, &checked, &err) < 0)
        return type_fault_set(fault, CLASSIFICATION_INVALID, "invalid parameters: [%s]", err.text);
    json_decref(classification->attributes);
    classification->attributes = checked;
    return 0;
}

static int classification_flags(struct classification *classification, const json_t *given,
                                struct type_fault *fault)
{
    if (classification_flag(given, "propagate", &classification->propagates, fault) < 0 ||
        classification_flag(given, "removePropagationsOnEntityDelete",
                            &classification->removes_propagations, fault) < 0)
        return -1;
    return classification_flag(given, "restrictPropagationThroughLineage",
                               &classification->is_restricted, fault);
}

int classification_parse(struct classification *classification, const struct type_registry *types,
                         const json_t *given, struct type_fault *fault)
{
    AUTO(classification_done)
    struct classification fresh = { .type = classification_type(types, given, fault),
                                    .propagates = true };

    if (!fresh.type || classification_flags(&fresh, given, fault) < 0 ||
        classification_periods(given, &fresh.periods, fault) < 0 ||
        classification_attributes(&fresh, types, json_object_get(given, "attributes"), fault) < 0)
        return -1;
    *classification = fresh;
    fresh = (struct classification){ 0 };
    return 0;
}

/* The attributes that stand with those that are given in their place. Owned. */
static json_t *classification_merge(const struct classification *classification,
                                    const json_t *given)
{
    json_t *merged = json_copy(classification->attributes);
    const char *name;
    json_t *value;

    /* jansson iterates over what it does not change as well only without const */
    json_object_foreach(json_object_get(given, "attributes"), name, value)
    {
        (void)json_object_set(merged, name, value);
    }
    return merged;
}

int classification_update(struct classification *classification, const struct type_registry *types,
                          const json_t *given, struct type_fault *fault)
{
    const json_t *attributes = json_object_get(given, "attributes");
    AUTO(classification_done) struct classification fresh = *classification;
    struct classification before = *classification;
    json_auto_t *merged = NULL;

    fresh.attributes = json_incref(before.attributes);
    fresh.periods = json_incref(before.periods);
    if (classification_flags(&fresh, given, fault) < 0 ||
        classification_periods(given, &fresh.periods, fault) < 0)
        return -1;
    if (attributes && !json_is_null(attributes)) {
        merged = json_is_object(attributes) ? classification_merge(&before, given)
                                            : json_deep_copy(attributes);
        if (classification_attributes(&fresh, types, merged, fault) < 0)
            return -1;
    }
    *classification = fresh;
    fresh = before;
    return 0;
}

int classification_check_entity(const struct type_registry *types, const struct type *type,
                                const struct type *entity, const char *guid,
                                struct type_fault *fault)
{
    if (type_classification_fits(types, type, entity))
        return 0;
    return type_fault_set(fault, "ATLAS-400-00-055",
                          "Entity (guid=\u2018%1$s\u2018,typename=\u2018%2$s\u2018) cannot be "
                          "classified by Classification \u2018%3$s\u2018, because "
                          "\u2018%2$s\u2018 is not in the ClassificationDefs restrictions.",
                          guid, entity->def->name, type->def->name);
}

static bool classification_equal(const json_t *a, const json_t *b)
{
    return (!a && !b) || json_equal(a, b);
}

bool classification_is_same(const struct classification *a, const struct classification *b)
{
    return a->type == b->type && a->propagates == b->propagates &&
           a->removes_propagations == b->removes_propagations &&
           a->is_restricted == b->is_restricted && classification_equal(a->periods, b->periods) &&
           classification_equal(a->attributes, b->attributes);
}

/* ----------------------------------------------------------------------------- what is answered */

/* Every attribute of the type. */
static json_t *classification_all(const struct classification *classification)
{
    json_t *attributes = json_object();

    for (size_t i = 0; i < classification->type->attributes_len; i++) {
        const char *name = classification->type->attributes[i]->name;
        json_t *value = json_object_get(classification->attributes, name);

        (void)json_object_set_new(attributes, name, value ? json_incref(value) : json_null());
    }
    return attributes;
}

json_t *classification_json(const struct classification *classification, const char *guid,
                            bool is_deleted)
{
    json_t *json = json_object();

    (void)json_object_set_new(json, "typeName", json_string(classification->type->def->name));
    (void)json_object_set_new(json, "attributes", classification_all(classification));
    (void)json_object_set_new(json, "entityGuid", json_string(guid));
    (void)json_object_set_new(json, "entityStatus", json_string(is_deleted ? "DELETED" : "ACTIVE"));
    (void)json_object_set_new(json, "propagate", json_boolean(classification->propagates));
    (void)json_object_set_new(json, "validityPeriods",
                              classification->periods ? json_incref(classification->periods)
                                                      : json_array());
    (void)json_object_set_new(json, "removePropagationsOnEntityDelete",
                              json_boolean(classification->removes_propagations));
    (void)json_object_set_new(json, "restrictPropagationThroughLineage",
                              json_boolean(classification->is_restricted));
    return json;
}
