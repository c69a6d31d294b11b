/* What somebody wants of the graph, as clients of Atlas say it: entities to be made or changed, and
 * relationships between them.
 *
 *     {"entities": [{"typeName": ..., "guid": "-1", "attributes": {...},
 *                    "relationshipAttributes": {"inputs": [REFERENCE, ...]}}, ...],
 *      "referredEntities": {"-2": {...}}}
 *
 * A REFERENCE names an entity of the request by its temporary guid (a text or number that is no
 * UUID), one that is there by its guid, and either by its type and unique attribute. Of
 * referredEntities those count that are referred to, from `entities` or by way of others.
 *
 * What is read becomes nodes and edges between them. Which of the nodes are there is for the store
 * to say (entity_input_merge, entity_input_check). Pure. */
#ifndef ATLAS_ENTITY_INPUT_H
#define ATLAS_ENTITY_INPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "atlas/classification.h"
#include "atlas/type_def.h"
#include "base/attr.h"
#include "base/map.h"
#include "base/span.h"
#include "base/uuid.h"

enum {
    ENTITY_INPUT_ENTITIES_MAX = 20000,
    ENTITY_INPUT_REFERENCES_MAX = 200000,
    ENTITY_INPUT_QUOTE_BYTES_MAX = 256, /* of a client's text in a message */
    ENTITY_FAULT_BYTES = 640,
};

/* Why it can't be: the status, code and text that Atlas answers with. */
struct entity_fault {
    unsigned status;
    const char *code; /* static */
    char message[ENTITY_FAULT_BYTES];
};

/* Sets all of it and returns -1. */
int entity_fault_set(struct entity_fault *fault, unsigned status, const char *code, const char *fmt,
                     ...) PRINTF_LIKE(4, 5);

#define ENTITY_NODE_NONE SIZE_MAX

/* An entity that the request has or refers to. */
struct entity_node {
    const struct type *type; /* borrowed; NULL: it is referred to by its guid alone */
    bool is_wanted;          /* the request says what it is to be; else it must be there */
    bool is_shell;           /* only its name is known */
    bool is_assigned;   /* the client gave the guid; else it is the one of an entity to be made */
    struct uuid guid;   /* of a wanted one, or is_assigned */
    char *key;          /* owned: the value of its type's key attribute; NULL: none */
    json_t *attributes; /* owned; as stored, null for those to be removed; NULL: not wanted */
    json_t *joined;     /* owned, may be NULL: maps of which what stands is kept */
    json_t *given; /* owned lists of the classifications that it is to be made with; NULL: none */
    struct classification *classifications; /* owned, those of one that is made; of each type one */
    size_t classifications_len;
    char *lacks; /* owned: why what the request says is not enough to make it; NULL: it is */
    const json_t *source; /* of the request, borrowed while it is read */
    size_t same;          /* the node that this one is the same entity as, or itself */

    /* The store's. */
    int64_t id; /* 0: it is not there */
    bool is_made;
};

struct entity_edge {
    const struct type_relation *relation; /* as the first of the nodes has it */
    size_t holder, other;                 /* nodes */
    json_t *attributes;                   /* owned; NULL: none */
};

/* The relationships of that kind that the node has are to be those of the edges, no others. */
struct entity_hold {
    const struct type_relation *relation;
    size_t holder;
};

/* A name that the client gave a node. */
struct entity_alias {
    char *text; /* owned */
    size_t node;
};

/* A reference in a value that is no relationship: gets its guid when that is known. */
struct entity_inner {
    json_t *value; /* owned together with the attributes */
    size_t node;
};

struct entity_input {
    const struct type_registry *types; /* borrowed */
    bool is_partial; /* what is mandatory need not be there; some attributes are added to */
    bool keeps_back; /* a classification that does not say whether it propagates does not */
    struct entity_node *nodes; /* all owned */
    size_t nodes_len;
    size_t wanted_len;
    struct entity_edge *edges;
    size_t edges_len;
    struct entity_hold *holds;
    size_t holds_len;
    struct entity_alias *aliases;
    size_t aliases_len;
    struct entity_inner *inners;
    size_t inners_len;
    struct map *places;   /* "t" temporary guid, "g" guid, "k" type and key -> node */
    struct map *referred; /* while it is read: guid -> json_t * */
    size_t references_len;
    struct uuid seed; /* guids of what is to be made begin with it */
};

/* The attribute by which an entity of the type is known: qualifiedName, or else its first unique
 * one. NULL: none, such an entity is known by its guid alone. */
const struct type_attribute *entity_key_attribute(const struct type *type);

/* Of a reference by {"typeName": ..., "uniqueAttributes": {...}}: the type that it says, and the
 * key of the entity, owned. */
int entity_reference_read(const struct type_registry *types, const json_t *reference,
                          const struct type **type, char **key,
                          struct entity_fault *fault) MUST_CHECK;

/* Reads {"entity": ...} or {"entities": ...}; whatever the body is, *input is to be freed. Borrows
 * the registry until then, and not the body. The same body and seed give the same guids. */
int entity_input_parse(struct entity_input *input, const struct type_registry *types,
                       const json_t *body, bool is_partial, const struct uuid *seed,
                       struct entity_fault *fault) MUST_CHECK;
/* Reads {"typeName": ..., "end1": REFERENCE, "end2": REFERENCE, "attributes": ...}: one edge, whose
 * holder is end1. As above, whatever the body is. */
int entity_input_relate(struct entity_input *input, const struct type_registry *types,
                        const json_t *body, struct entity_fault *fault) MUST_CHECK;
/* The attributes of a relationship; *out is owned, NULL when there are none. */
int entity_input_values(const struct type_registry *types, const struct type *relationship,
                        const json_t *attributes, json_t **out,
                        struct entity_fault *fault) MUST_CHECK;
/* When its nodes have their types: they are those of the relationship. */
int entity_input_check_relation(const struct entity_input *input,
                                struct entity_fault *fault) MUST_CHECK;
/* A guid that no other node has. */
void entity_input_guid(const struct entity_input *input, size_t node, struct uuid *guid);
void entity_input_done(struct entity_input *input);
static inline void entity_input_done_auto(struct entity_input *input) /* AUTO(entity_input_done) */
{
    entity_input_done(input);
}

/* The node that stands for the entity of `place`. */
struct entity_node *entity_input_node(const struct entity_input *input, size_t place);
/* Both are one entity: what is wanted of `from` goes before what is wanted of `into`. */
void entity_input_merge(struct entity_input *input, size_t from, size_t into);
/* When each node is there or is one to be made, with its type and guid: the ends of edges fit, what
 * is new has its owner and can be classified as it is to be; fills in the guids of inner
 * references. */
int entity_input_check(struct entity_input *input, struct entity_fault *fault) MUST_CHECK;
/* That a node that must be there is not. */
int entity_fault_not_found(struct entity_fault *fault, const struct entity_node *node);

#endif
