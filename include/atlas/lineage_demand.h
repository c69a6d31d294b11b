/* Lineage on demand: what a client asks for of each entity, the rest of which it fetches when
 * somebody wants to see it. Atlas's map of guids to LineageOnDemandConstraints. Pure. */
#ifndef ATLAS_LINEAGE_DEMAND_H
#define ATLAS_LINEAGE_DEMAND_H

#include <jansson.h>
#include <stddef.h>

#include "atlas/walk.h"
#include "base/attr.h"
#include "base/span.h"
#include "base/uuid.h"

enum {
    /* Where nothing, or 0, is asked for. */
    LINEAGE_DEMAND_RELATIONS = 3,
    LINEAGE_DEMAND_DEPTH = 3,

    LINEAGE_DEMANDS_MAX = 1000,
};

/* Of one entity. Below 0: no limit. */
struct lineage_constraints {
    struct uuid guid;
    enum walk_direction direction; /* this and the depth count where the walk starts */
    int inputs, outputs, depth;
};

struct lineage_demand {
    struct lineage_constraints *items; /* owned */
    size_t len;
};

/* Of status 400. */
struct lineage_fault {
    const char *code; /* static; Atlas's */
    char message[256];
};

/* 0: no such direction. */
enum walk_direction lineage_direction_by_name(struct span name);
const char *lineage_direction_name(enum walk_direction direction);

/* Reads the map; what has no guid is left out, as it is nobody's. -1: the fault says why. */
int lineage_demand_parse(struct lineage_demand *demand, const json_t *body,
                         struct lineage_fault *fault) MUST_CHECK;
/* What is asked for of that entity, or of any other. */
struct lineage_constraints lineage_demand_of(const struct lineage_demand *demand,
                                             const struct uuid *guid);
/* The map as it is understood; of `base` alone where it is empty. Owned. */
json_t *lineage_demand_json(const struct lineage_demand *demand, const struct uuid *base);
struct walk_limit lineage_limit(const struct lineage_constraints *constraints);
void lineage_demand_done(struct lineage_demand *demand);
static inline void lineage_demand_done_auto(struct lineage_demand *demand)
{
    lineage_demand_done(demand);
}

#endif
