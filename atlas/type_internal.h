/* What the making of a registry needs: the definitions that are built in, and checks. */
#ifndef ATLAS_TYPE_INTERNAL_H
#define ATLAS_TYPE_INTERNAL_H

#include "atlas/type_def.h"

extern const struct type_def type_builtin[];
extern const size_t type_builtin_len;

/* How enums are written: the names, in their order; the last is NULL. */
extern const char *const type_cardinalities[];
extern const char *const type_ownerships[];
extern const char *const type_propagations[];

/* Names of values that need no definition. */
bool type_name_is_primitive(struct span name);
/* Whether the types fit together, once they know what they inherit: types of attributes, ends of
 * relationships, entity types of classifications. */
int type_registry_check(const struct type_registry *registry, struct type_fault *fault) MUST_CHECK;

#endif
