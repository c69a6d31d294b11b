/* What the hook*.c files share. */
#ifndef ATLAS_HOOK_INTERNAL_H
#define ATLAS_HOOK_INTERNAL_H

#include <jansson.h>

#include "atlas/entity_input.h"
#include "base/attr.h"

/* "notification: <what>"; -1. */
int hook_invalid(struct entity_fault *fault, const char *what);

/* Entities in the old form become a body for entity_input_parse, as Atlas converts them. *body is
 * owned; {"entities": [...], "referredEntities": {...}}, and of one {"entity": ...}. */
int hook_old_entities(const json_t *entities, json_t **body, struct entity_fault *fault) MUST_CHECK;
int hook_old_entity(const json_t *entity, json_t **body, struct entity_fault *fault) MUST_CHECK;

#endif
