#include "atlas/lineage_demand.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static const struct {
    const char *name;
    enum walk_direction direction;
} lineage_directions[] = {
    { "BOTH", WALK_BOTH },
    { "INPUT", WALK_INPUT },
    { "OUTPUT", WALK_OUTPUT },
};

enum walk_direction lineage_direction_by_name(struct span name)
{
    for (size_t i = 0; i < LENGTH(lineage_directions); i++) {
        if (span_is(name, lineage_directions[i].name))
            return lineage_directions[i].direction;
    }
    return 0;
}

const char *lineage_direction_name(enum walk_direction direction)
{
    size_t i = 0;

    while (lineage_directions[i].direction != direction)
        i++;
    return lineage_directions[i].name;
}

static int lineage_fail(struct lineage_fault *fault, const char *code, const char *text,
                        const char *name)
{
    fault->code = code;
    (void)snprintf(fault->message, sizeof(fault->message), "%s%.64s", text, name);
    return -1;
}

#define LINEAGE_BAD_REQUEST "ATLAS-400-00-029"
#define LINEAGE_BAD_PARAMETER "ATLAS-400-00-026"

static int lineage_read_number(const json_t *object, const char *name, int usual, int *number,
                               struct lineage_fault *fault)
{
    const json_t *value = json_object_get(object, name);
    json_int_t given = json_integer_value(value);

    if ((value && !json_is_integer(value) && !json_is_null(value)) || given < INT32_MIN ||
        given > INT32_MAX)
        return lineage_fail(fault, LINEAGE_BAD_PARAMETER,
                            "Invalid lineage query parameters passed ", name);
    *number = given ? (int)given : usual;
    return 0;
}

static int lineage_read_constraints(const json_t *object, struct lineage_constraints *constraints,
                                    struct lineage_fault *fault)
{
    const json_t *direction = json_object_get(object, "direction");
    const char *name = json_string_value(direction);

    constraints->direction = WALK_BOTH;
    if (name)
        constraints->direction = lineage_direction_by_name(span_of(name));
    if (!constraints->direction || (direction && !name && !json_is_null(direction)))
        return lineage_fail(fault, LINEAGE_BAD_PARAMETER,
                            "Invalid lineage query parameters passed direction: ",
                            name ? name : "");
    if (lineage_read_number(object, "inputRelationsLimit", LINEAGE_DEMAND_RELATIONS,
                            &constraints->inputs, fault) < 0 ||
        lineage_read_number(object, "outputRelationsLimit", LINEAGE_DEMAND_RELATIONS,
                            &constraints->outputs, fault) < 0 ||
        lineage_read_number(object, "depth", LINEAGE_DEMAND_DEPTH, &constraints->depth, fault) < 0)
        return -1;
    return 0;
}

static int lineage_read(struct lineage_demand *demand, const json_t *body,
                        struct lineage_fault *fault)
{
    const char *guid;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)body, guid, value)
    {
        struct lineage_constraints *constraints = &demand->items[demand->len];

        if (!json_is_object(value) && !json_is_null(value))
            return lineage_fail(fault, LINEAGE_BAD_REQUEST,
                                "constraints must be an object: ", guid);
        if (lineage_read_constraints(value, constraints, fault) < 0)
            return -1;
        if (uuid_parse(&constraints->guid, span_of(guid)) == 0)
            demand->len++;
    }
    return 0;
}

int lineage_demand_parse(struct lineage_demand *demand, const json_t *body,
                         struct lineage_fault *fault)
{
    *demand = (struct lineage_demand){ 0 };
    if (!json_is_object(body))
        return lineage_fail(fault, LINEAGE_BAD_REQUEST, "the body must be a JSON object", "");
    if (json_object_size(body) > LINEAGE_DEMANDS_MAX)
        return lineage_fail(fault, LINEAGE_BAD_REQUEST, "constraints of more than 1000 guids", "");
    demand->items = xcalloc(json_object_size(body), sizeof(*demand->items));
    if (lineage_read(demand, body, fault) == 0)
        return 0;
    lineage_demand_done(demand);
    return -1;
}

struct lineage_constraints lineage_demand_of(const struct lineage_demand *demand,
                                             const struct uuid *guid)
{
    for (size_t i = 0; i < demand->len; i++) {
        if (memcmp(&demand->items[i].guid, guid, sizeof(*guid)) == 0)
            return demand->items[i];
    }
    return (struct lineage_constraints){ .guid = *guid,
                                         .direction = WALK_BOTH,
                                         .inputs = LINEAGE_DEMAND_RELATIONS,
                                         .outputs = LINEAGE_DEMAND_RELATIONS,
                                         .depth = LINEAGE_DEMAND_DEPTH };
}

static void lineage_put_json(json_t *map, const struct lineage_constraints *constraints)
{
    char guid[UUID_TEXT_LEN + 1];

    uuid_format(&constraints->guid, guid);
    (void)json_object_set_new(map, guid,
                              json_pack("{s:s, s:i, s:i, s:i}", "direction",
                                        lineage_direction_name(constraints->direction),
                                        "inputRelationsLimit", constraints->inputs,
                                        "outputRelationsLimit", constraints->outputs, "depth",
                                        constraints->depth));
}

json_t *lineage_demand_json(const struct lineage_demand *demand, const struct uuid *base)
{
    struct lineage_constraints usual = lineage_demand_of(demand, base);
    json_t *map = json_object();

    for (size_t i = 0; i < demand->len; i++)
        lineage_put_json(map, &demand->items[i]);
    if (!demand->len)
        lineage_put_json(map, &usual);
    return map;
}

struct walk_limit lineage_limit(const struct lineage_constraints *constraints)
{
    return (struct walk_limit){
        .inputs = constraints->inputs < 0 ? SIZE_MAX : (size_t)constraints->inputs,
        .outputs = constraints->outputs < 0 ? SIZE_MAX : (size_t)constraints->outputs,
    };
}

void lineage_demand_done(struct lineage_demand *demand)
{
    free(demand->items);
    *demand = (struct lineage_demand){ 0 };
}
