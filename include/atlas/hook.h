/* What a hook of Atlas wants of the graph: a HookNotification, which atlas/message.h has taken out
 * of its envelope. Three things are wanted, by names of several kinds:
 *
 *     ENTITY_CREATE_V2, ENTITY_FULL_UPDATE_V2   {"entities": {"entities": [...], ...}}
 *     ENTITY_PARTIAL_UPDATE_V2                  {"entityId": REFERENCE, "entity": {"entity": ...}}
 *     ENTITY_DELETE_V2                          {"entities": [REFERENCE, ...]}
 *
 * and the same in the old form, in which an entity is a Referenceable (atlas/hook_old.c):
 *
 *     ENTITY_CREATE, ENTITY_FULL_UPDATE         {"entities": [{...}, ...]}
 *     ENTITY_PARTIAL_UPDATE                     {"typeName", "attribute", "attributeValue",
 *                                                "entity": {...}}
 *     ENTITY_DELETE                             {"typeName", "attribute", "attributeValue"}
 *
 * Other kinds, those that make types, are refused.
 *
 * Pure. */
#ifndef ATLAS_HOOK_H
#define ATLAS_HOOK_H

#include <jansson.h>

#include "atlas/entity_input.h"
#include "base/attr.h"

enum hook_action {
    HOOK_STORE,  /* make and change entities */
    HOOK_UPDATE, /* change the one that `target` names in part */
    HOOK_DELETE,
};

struct hook {
    enum hook_action action;
    const char *user; /* borrowed from the notification; "UNKNOWN" when it says none */
    json_t *body;     /* owned; for entity_input_parse; NULL: HOOK_DELETE */
    json_t *targets;  /* owned; array of references; of HOOK_UPDATE one; NULL: HOOK_STORE */
};

/* Borrows the notification until hook_done. -1: it can't be taken, and *hook is empty. */
int hook_read(const json_t *notification, struct hook *hook, struct entity_fault *fault) MUST_CHECK;
void hook_done(struct hook *hook);
static inline void hook_done_auto(struct hook *hook) /* AUTO(hook_done) */
{
    hook_done(hook);
}

/* Of HOOK_UPDATE: gives the entity in the body the guid and type that its target was found to
 * have. */
void hook_aim(struct hook *hook, const char *guid, const char *type_name);

#endif
