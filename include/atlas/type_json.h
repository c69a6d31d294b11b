/* The types as JSON, with the member names, their order and the defaults of Atlas's REST interface.
 * Pure; all results are owned. */
#ifndef ATLAS_TYPE_JSON_H
#define ATLAS_TYPE_JSON_H

#include <jansson.h>
#include <stdbool.h>

#include "atlas/type_def.h"
#include "base/attr.h"
#include "base/span.h"

/* Which types: all conditions together. One that is absent or blank says nothing. */
struct type_filter {
    struct span type; /* a category as in the JSON, in any case; one that is unknown fits no type */
    struct span name;
    struct span not_name;
    struct span super_type; /* those that inherit from it, without itself */
    struct span not_super_type;
    struct span service_type;
    struct span not_service_type;
};

/* "ENUM", "STRUCT", "ENTITY", ... */
const char *type_category_name(enum type_category category);
/* Its older name, which some errors have: "CLASS" for entities, "TRAIT" for classifications. */
const char *type_category_old_name(enum type_category category);
/* Of an AtlasTypesDef: "enumDefs", "structDefs", ... */
const char *type_category_member(enum type_category category);

/* One definition, as `types/typedef/name/X` answers. */
json_t *type_json(const struct type *type);
/* The same without what follows from other types. */
json_t *type_def_json(const struct type_def *def);
/* Whether they say the same, whoever made them and when. */
bool type_def_is_same(const struct type_def *a, const struct type_def *b);
/* Writes an AtlasTypesDef, {"enumDefs": [...], "structDefs": [...], ...}, every member there: of
 * these types those that fit (NULL: all). A type at a time, in pieces: all of them together may be
 * large. -1: write() said so. */
int type_defs_write(const struct type *const *types, size_t len, const struct type_filter *filter,
                    json_dump_callback_t write, void *ctx) MUST_CHECK;
/* The short list of `types/typedefs/headers`. */
json_t *type_headers_json(const struct type_registry *registry, const struct type_filter *filter);

#endif
