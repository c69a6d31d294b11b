/* Definitions of types from JSON, as clients of Atlas write them. What is wrong with one alone is
 * found here; whether they fit together is what type_registry_make() says. Pure. */
#ifndef ATLAS_TYPE_PARSE_H
#define ATLAS_TYPE_PARSE_H

#include <jansson.h>
#include <stddef.h>

#include "atlas/type_def.h"
#include "base/attr.h"

/* Bounds of one definition. */
enum {
    TYPE_NAME_BYTES_MAX = 256,   /* of a type, an attribute, an option, a user */
    TYPE_TEXT_BYTES_MAX = 10000, /* of a description and the like */
    TYPE_NESTING_MAX = 8,        /* of array<...> and map<...,...> in each other */
    TYPE_OPTIONS_MAX = 100,
    TYPE_ELEMENTS_MAX = 10000,
    TYPE_NAMES_MAX = 200, /* in superTypes, in entityTypes */
};

/* A type that a client names, to define it or to delete it. */
struct type_given {
    enum type_category category; /* TYPE_CATEGORIES: any, of one that is to be deleted */
    char *name;                  /* owned, as is the guid; NULL: not given */
    char *guid;                  /* NULL: none, or one that means nothing (such as "-1") */
    struct type_custom *custom;  /* owned reference; NULL: it is to be deleted */
};

struct type_givens {
    struct type_given *items; /* owned */
    size_t len;
};

void type_givens_done(struct type_givens *givens);
static inline void type_givens_done_auto(struct type_givens *givens)
{
    type_givens_done(givens);
}

/* Reads an AtlasTypesDef: {"enumDefs": [...], ...}, in the order of the categories. `stamp` is
 * that of the definitions; its texts are copied. *givens is empty on failure. */
int type_parse(struct type_givens *givens, const json_t *types, const struct type_stamp *stamp,
               struct type_fault *fault) MUST_CHECK;
/* The same where only names and guids count. */
int type_parse_names(struct type_givens *givens, const json_t *types,
                     struct type_fault *fault) MUST_CHECK;
/* What type_def_json() wrote. Owned; NULL: it is nothing of the kind. */
struct type_custom *type_parse_stored(const json_t *definition, struct type_fault *fault);

#endif
