/* Atlas's type system: definitions of enums, structs, classifications, entities and relationships,
 * and the registry that knows what follows from them: who inherits from whom, all attributes of a
 * type, and those that relationships give to entities. What a definition looks like as JSON is in
 * atlas/type_json.h, how one comes of JSON in atlas/type_parse.h.
 *
 * Pure. A registry never changes once it is made, so any thread may read it without a lock. */
#ifndef ATLAS_TYPE_DEF_H
#define ATLAS_TYPE_DEF_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/span.h"
#include "base/uuid.h"

/* In the order in which Atlas lists them. No classification is built in, and there is no business
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
    TYPE_OWNED = 32,     /* the constraint `ownedRef` */
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
    const char *description;           /* NULL: none, as with all texts below */
    const char *display_name;
    const char *default_value;
    const char *inverse;        /* of the constraint `inverseRef`: the attribute there */
    int values_min, values_max; /* of a LIST or SET; 0: as type_values_min() and _max() say */
    int search_weight;
};

enum { TYPE_NO_WEIGHT = -1 };

struct type_element { /* of an enum */
    const char *value;
    int ordinal;
    const char *description;
};

enum type_ownership {
    TYPE_ASSOCIATION,
    TYPE_AGGREGATION,
    TYPE_COMPOSITION, /* the container owns: its children come and go with it */
};

/* Which way a classification passes over an edge. */
enum type_propagation {
    TYPE_PROPAGATE_NONE,
    TYPE_ONE_TO_TWO,
    TYPE_TWO_TO_ONE,
    TYPE_PROPAGATE_BOTH
};

/* One end of a relationship: entities of `type` get an attribute `name` for what is at the other
 * end. */
struct type_end {
    const char *type;
    const char *name;
    enum type_cardinality cardinality;
    bool is_container;
    bool is_legacy; /* its values are in `attributes` too, not only in `relationshipAttributes` */
    const char *description;
};

/* Who made a definition, and when. All zero: it is built in. */
struct type_stamp {
    const char *created_by, *updated_by;
    int64_t created_ms, updated_ms;
    int64_t version; /* 1, and one more with each change */
};

/* A definition as somebody wrote it. */
struct type_def {
    enum type_category category;
    const char *name;
    const char *service; /* `serviceType`: "atlas_core", "hive", ...; NULL: none */
    const char *description;
    const char *type_version; /* as its writer counts; NULL: "1.0" */
    const struct type_option *options;
    struct type_stamp stamp;
    const char *const *super_types;          /* NULL behind the last, or NULL */
    const char *const *entity_types;         /* TYPE_CLASSIFICATION: on what it may be, likewise */
    const struct type_attribute *attributes; /* its own, of all but enums */
    size_t attributes_len;
    const struct type_element *elements; /* TYPE_ENUM */
    size_t elements_len;
    const char *default_value;     /* TYPE_ENUM; NULL: none */
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

/* A definition that is not built in, with all that it points to. It never changes; registries share
 * it. */
struct type_custom {
    struct type_def def;
    atomic_uint refs;
    struct type_block *blocks; /* owned; the memory of what is behind def */
    size_t bytes;              /* of all of it */
};

/* A new one, all zero. Owned. */
struct type_custom *type_custom_new(void);
/* Memory that is the definition's, zeroed. */
void *type_custom_alloc(struct type_custom *custom, size_t count, size_t bytes);
struct type_custom *type_custom_ref(struct type_custom *custom);
/* Gives one reference back. */
void type_custom_free(struct type_custom *custom);
AUTO_DEFINE(struct type_custom, type_custom_free);

/* Why types can't be as somebody wants them: an error of Atlas. */
enum { TYPE_FAULT_BYTES = 640 };
struct type_fault {
    unsigned status;
    const char *code; /* static */
    char message[TYPE_FAULT_BYTES];
};

/* Sets all of it and returns -1; the status is the one in the code. */
int type_fault_set(struct type_fault *fault, const char *code, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* Bounds of what people define, so that whatever they do costs little time and memory. */
enum {
    TYPE_CUSTOMS_MAX = 5000,
    TYPE_CUSTOMS_BYTES_MAX = 16 * 1024 * 1024, /* in memory, with what malloc adds, or nearly */
    TYPE_ATTRIBUTES_MAX = 1000,                /* of a type, with those inherited */
    TYPE_SUPER_TYPES_MAX = 200,                /* of a type, direct or not */
    TYPE_DEPTH_MAX = 32,                       /* of inheritance */
    TYPE_ATTRIBUTES_IN_ALL_MAX = 500000,       /* over all types, with those inherited */
    TYPE_RELATIONS_IN_ALL_MAX = 500000,        /* likewise what relationships give */
};

struct type_registry;

/* The types that are built in: Atlas's base model, file system, Hive and machine learning. */
struct type_registry *type_registry_new(void);
/* The same and these, which it takes a reference of. NULL: they don't fit together, *fault says
 * why. */
struct type_registry *type_registry_make(struct type_custom *const *customs, size_t len,
                                         struct type_fault *fault) MUST_CHECK;
/* Another reference, for any thread. */
struct type_registry *type_registry_ref(struct type_registry *registry);
/* Its definitions that are not built in, in their order. Borrowed. */
struct type_custom *const *type_registry_customs(const struct type_registry *registry, size_t *len);

struct type_list type_registry_types(const struct type_registry *registry);
/* NULL: there is none. Names are case-sensitive, guids in lower case. */
const struct type *type_by_name(const struct type_registry *registry, struct span name);
const struct type *type_by_guid(const struct type_registry *registry, struct span guid);

/* Whether `type` is `ancestor` or inherits from it. */
bool type_is_a(const struct type *type, const struct type *ancestor);
bool type_is_builtin(const struct type *type);
/* Whether the classification may be on entities of that type. */
bool type_classification_fits(const struct type_registry *registry,
                              const struct type *classification, const struct type *entity);
/* How many values a LIST or SET has at least, and at most. */
int type_values_min(const struct type_attribute *attribute);
int type_values_max(const struct type_attribute *attribute);
/* Own or inherited; NULL: there is none. */
const struct type_attribute *type_attribute(const struct type *type, struct span name);
/* The attribute `name` that `relationship` gives the entity type, or with NULL the first
 * relationship that gives one: hive_column.table comes from two. NULL: there is none. */
const struct type_relation *type_relation(const struct type *type, struct span name,
                                          const struct type *relationship);
/* NULL: there is no such option. */
const char *type_option(const struct type_option *options, const char *name);

/* Gives one reference back; the last one frees it. Accepts NULL. */
void type_registry_free(struct type_registry *registry);
AUTO_DEFINE(struct type_registry, type_registry_free);

#endif
