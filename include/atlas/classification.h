/* Classifications of entities, as Atlas's clients give and get them. Pure. */
#ifndef ATLAS_CLASSIFICATION_H
#define ATLAS_CLASSIFICATION_H

#include <jansson.h>
#include <stdbool.h>

#include "atlas/type_def.h"
#include "base/attr.h"

enum { CLASSIFICATION_PERIODS_MAX = 100 }; /* validityPeriods of one */

/* What stands, or is to stand, on an entity. */
struct classification {
    const struct type *type; /* borrowed from the registry */
    json_t *attributes;      /* owned; nothing is null */
    json_t *periods;         /* owned list: validityPeriods; NULL: always */
    bool propagates;
    bool removes_propagations; /* removePropagationsOnEntityDelete: kept, and shown */
    bool is_restricted;        /* restrictPropagationThroughLineage */
};

void classification_done(struct classification *classification);
static inline void classification_done_auto(struct classification *classification)
{
    classification_done(classification);
}

/* The type that an AtlasClassification names. NULL: the fault is set. */
const struct type *classification_type(const struct type_registry *types, const json_t *given,
                                       struct type_fault *fault);
/* The entityGuid of one; NULL: none. Borrowed. */
const char *classification_guid(const json_t *given);
/* Whether it says that it reaches the entity from another one: it was read of an entity, and is
 * sent back with it. */
bool classification_is_propagated(const json_t *given, const char *entity_guid);

/* Reads an AtlasClassification that is to be added. */
int classification_parse(struct classification *classification, const struct type_registry *types,
                         const json_t *given, struct type_fault *fault) MUST_CHECK;
/* Changes what stands by what is given: members that are absent or null stay, but an attribute that
 * is null goes. -1: it is as it was. */
int classification_update(struct classification *classification, const struct type_registry *types,
                          const json_t *given, struct type_fault *fault) MUST_CHECK;
/* That it may be on an entity of the type, which has that guid. */
int classification_check_entity(const struct type_registry *types, const struct type *type,
                                const struct type *entity, const char *guid,
                                struct type_fault *fault) MUST_CHECK;
bool classification_is_same(const struct classification *a, const struct classification *b);

/* An AtlasClassification on that entity. Owned. */
json_t *classification_json(const struct classification *classification, const char *guid,
                            bool is_deleted);

#endif
