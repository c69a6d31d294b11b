/* What an Atlas hook says when entities were made or changed: a HookNotification, which
 * atlas/message.h sends in an envelope. Who reads it finds every entity by its type and qualified
 * name: guids here are places in this one notification, "-1" for the first.
 *
 * Pure. */
#ifndef ATLAS_NOTIFICATION_H
#define ATLAS_NOTIFICATION_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "atlas/type_def.h"

/* All is borrowed. */
struct notification_entity {
    const struct type *type;
    json_t *attributes; /* "qualifiedName" among them */
};

/* What an entity of the notification refers to. */
struct notification_reference {
    size_t holder; /* its place among the entities */
    const struct type *relationship;
    size_t end;   /* the holder's, 0 or 1 */
    size_t other; /* the place of the entity that is meant; SIZE_MAX: it is not among them */
    const char *type_name;
    const char *qualified_name;
};

#define NOTIFICATION_ELSEWHERE SIZE_MAX

/* An ENTITY_CREATE_V2, or an ENTITY_FULL_UPDATE_V2 when none of the entities is new: of each entity
 * all attributes that it has, and all references of it that are given, in their order. Owned. */
json_t *notification_json(bool is_new, const char *user, const struct notification_entity *entities,
                          size_t entities_len, const struct notification_reference *references,
                          size_t references_len);

#endif
