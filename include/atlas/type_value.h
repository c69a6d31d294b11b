/* What an attribute may hold, and how it is stored. A value that clients send is checked against
 * the type of its attribute, and made what is kept of it: a number in a text becomes a number, a
 * date milliseconds, an enum's value the spelling of its definition. Pure.
 *
 * null is the same as absent, everywhere: also in lists and maps. Two things are refused that Atlas
 * would take and change in silence: a number with a fraction for a whole one, and a list or map for
 * a string. */
#ifndef ATLAS_TYPE_VALUE_H
#define ATLAS_TYPE_VALUE_H

#include <jansson.h>
#include <stdbool.h>

#include "atlas/type_def.h"
#include "base/attr.h"
#include "base/err.h"
#include "base/span.h"

/* Values nest no deeper. */
enum { TYPE_VALUE_DEPTH_MAX = 32 };

enum type_name_kind { TYPE_NAME_PLAIN, TYPE_NAME_ARRAY, TYPE_NAME_MAP };

/* The name of a type of values, apart: "array<int>", "map<string,array<int>>". */
struct type_name {
    enum type_name_kind kind;
    struct span key;     /* of a map */
    struct span element; /* of an array; of a map the value; else the whole name */
};
struct type_name type_name_split(struct span name);

/* What values of a type hold of other entities. */
enum type_references {
    TYPE_NO_REFERENCES,
    TYPE_REFERENCE,       /* the value is one: an entity type, or objectid */
    TYPE_REFERENCE_LIST,  /* array<...> of them */
    TYPE_REFERENCE_MAP,   /* map<...,...> to them */
    TYPE_REFERENCE_INNER, /* somewhere deeper: in a struct, or array<array<...>> */
};
/* `types` are those that say what the name means. */
enum type_references type_value_references(const struct type_registry *types, struct span name);

/* Whether a reference says whom it means: a guid, or a type with unique attributes. */
bool type_reference_is_valid(const json_t *reference);

/* Checks one value of the type `type_name`, of an attribute that messages call `name` (such as
 * "ml_model_build.version"). *out: what is stored, owned; NULL for a null. References are checked
 * by type_reference_is_valid() and are those of `value`: not to be changed in place.
 * ERR_INPUT: it does not fit; the text is the one that Atlas gives, with long values cut. */
int type_value_check(const struct type_registry *types, struct span type_name, const char *name,
                     const json_t *value, json_t **out, struct err *err) MUST_CHECK;

/* The same for a value of an attribute: also the number of values, and those of a SET are there
 * once. */
int type_value_check_attribute(const struct type_registry *types,
                               const struct type_attribute *attribute, const char *name,
                               const json_t *value, json_t **out, struct err *err) MUST_CHECK;

/* Checks all attributes of an entity, a classification, a relationship or a struct of `type`: an
 * object, or NULL for none. Those that the type does not have are left out, as Atlas does; those in
 * which a relationship's ends are declared anew (Process.inputs) are among them. `is_update`: what
 * is mandatory may be absent. `elsewhere` (NULL: nothing): an object whose members need not be in
 * `attributes`, mandatory or not: relationshipAttributes. *out: what is stored, owned. */
int type_values_check(const struct type_registry *types, const struct type *type,
                      const json_t *attributes, const json_t *elsewhere, bool is_update,
                      json_t **out, struct err *err) MUST_CHECK;

#endif
