/* What becomes of the types when somebody defines, changes or deletes some: all of it or nothing,
 * with the refusals of Atlas. Whether entities are of a type that is to go, its caller has to see.
 * Pure. */
#ifndef ATLAS_TYPE_CHANGE_H
#define ATLAS_TYPE_CHANGE_H

#include <stddef.h>

#include "atlas/type_def.h"
#include "atlas/type_parse.h"
#include "base/attr.h"

enum type_change_kind { TYPE_CREATE, TYPE_UPDATE, TYPE_DELETE };

struct type_change {
    struct type_registry *before; /* owned reference */
    struct type_registry *after;  /* owned reference */
    const struct type **changed; /* owned array: those that are new or not as they were, in `after`;
                                   * with TYPE_DELETE those that are gone, in `before` */
    size_t changed_len;
};

/* Takes the definitions out of the givens, which keep their names. An update that changes nothing
 * is none, also of a type that is built in. */
int type_change_make(struct type_change *change, struct type_registry *before,
                     struct type_givens *givens, enum type_change_kind kind,
                     struct type_fault *fault) MUST_CHECK;
void type_change_done(struct type_change *change);
static inline void type_change_done_auto(struct type_change *change)
{
    type_change_done(change);
}

#endif
