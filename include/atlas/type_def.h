/* Atlas's type system: definitions of enums, structs, entities and relationships, and the registry
 * that knows what follows from them: who inherits from whom, all attributes of an entity type, and
 * those that relationships give it. What a definition looks like as JSON is in atlas/type_json.h.
 *
 * Pure. A registry never changes once it is made, so any thread may read it without a lock. */
#ifndef ATLAS_TYPE_DEF_H
#define ATLAS_TYPE_DEF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/span.h"
#include "base/uuid.h"

/* In the order in which Atlas lists them. Nothing that is built in is a classification or business
 * metadata. */
enum type_category {
    TYPE_ENUM,
    TYPE_STRUCT,
    TYPE_CLASSIFICATION,
    TYPE_ENTITY,
    TYPE_RELATIONSHIP,
    TYPE_BUSINESS_METADATA,
    TYPE_CATEGORIES
};

enum type_cardinality { TYPE_SINGLE, TYPE_LIST, TYPE_SET };

enum type_flags {
    TYPE_OPTIONAL = 0,
    TYPE_MANDATORY = 1,
    TYPE_UNIQUE = 2, /* among the active entities of the type */
    TYPE_INDEXED = 4,
    TYPE_TEXT_INDEX = 8, /* indexed as one string, not as words: `indexType` STRING */
    TYPE_NOTIFIED = 16,  /* in the short form of an entity that notifications carry */
};

struct type_option {
    const char *name, *value;
};

struct type_attribute {
    const char *name;
    const char *type_name; /* string, int, long, boolean, date, an enum, struct or entity type,
                            * array<...>, map<...,...> */
    enum type_cardinality cardinality;
    unsigned flags;                    /* enum type_flags */
    const struct type_option *options; /* the last has no name; NULL: none */
    const char *description;           /* NULL: none */
};

struct type_element { /* of an enum */
    const char *value;
    int ordinal;
};

enum type_ownership {
    TYPE_ASSOCIATION,
    TYPE_AGGREGATION,
    TYPE_COMPOSITION, /* the container owns: its children come and go with it */
};

/* Which way a classification passes over an edge. */
enum type_propagation { TYPE_PROPAGATE_NONE, TYPE_ONE_TO_TWO, TYPE_TWO_TO_ONE };

/* One end of a relationship: entities of `type` get an attribute `name` for what is at the other
 * end. */
struct type_end {
    const char *type;
    const char *name;
    enum type_cardinality cardinality;
    bool is_container;
    bool is_legacy; /* its values are in `attributes` too, not only in `relationshipAttributes` */
};

/* A definition as somebody wrote it. */
struct type_def {
    enum type_category category;
    const char *name;
    const char *service; /* `serviceType`: "atlas_core", "hive", ... */
    const char *description;
    const struct type_option *options;
    const char *const *super_types;          /* TYPE_ENTITY: NULL behind the last, or NULL */
    const struct type_attribute *attributes; /* its own, of a TYPE_STRUCT or TYPE_ENTITY */
    size_t attributes_len;
    const struct type_element *elements; /* TYPE_ENUM */
    size_t elements_len;
    enum type_ownership ownership; /* TYPE_RELATIONSHIP, and what follows */
    enum type_propagation propagation;
    const char *label; /* of the edge; NULL: not given */
    struct type_end ends[2];
};

struct type;

struct type_list {
    const struct type **items;
    size_t len;
};

/* What a relationship means for the entities at one of its ends. */
struct type_relation {
    const struct type *relationship;
    const struct type *other;        /* the entity type at the other end */
    size_t end;                      /* the entity's own, 0 or 1 */
    struct type_attribute attribute; /* what the entity gets; `array<other>` for a set */
    bool is_declared;                /* the entity type declares that attribute itself as well */
    bool is_legacy;                  /* as in struct type_end, and whatever is declared */
    bool is_owner;                   /* what is at the other end belongs to the entity */
};

/* A definition with what follows from it. All is borrowed from the registry. */
struct type {
    const struct type_def *def;
    char guid[UUID_TEXT_LEN + 1]; /* the same in every registry */
    struct type_list super_types; /* direct or not, each behind its own; without the type itself */
    struct type_list sub_types;   /* direct or not, as they were defined */
    const struct type_attribute **attributes; /* the inherited ones first */
    size_t attributes_len;
    const struct type_relation **relations; /* an entity type's; of a relationship its two ends */
    size_t relations_len;
};

struct type_registry;

/* The types that are built in: Atlas's base model, file system, Hive and machine learning. */
struct type_registry *type_registry_new(void);

struct type_list type_registry_types(const struct type_registry *registry);
/* NULL: there is none. Names are case-sensitive, guids in lower case. */
const struct type *type_by_name(const struct type_registry *registry, struct span name);
const struct type *type_by_guid(const struct type_registry *registry, struct span guid);

/* Whether `type` is `ancestor` or inherits from it. */
bool type_is_a(const struct type *type, const struct type *ancestor);
/* Own or inherited; NULL: there is none. */
const struct type_attribute *type_attribute(const struct type *type, struct span name);
/* The attribute `name` that `relationship` gives the entity type, or with NULL the first
 * relationship that gives one: hive_column.table comes from two. NULL: there is none. */
const struct type_relation *type_relation(const struct type *type, struct span name,
                                          const struct type *relationship);
/* NULL: there is no such option. */
const char *type_option(const struct type_option *options, const char *name);

void type_registry_free(struct type_registry *registry);
AUTO_DEFINE(struct type_registry, type_registry_free);

#endif
