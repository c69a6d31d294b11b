/* Entities as JSON, as Atlas's REST interface gives them: whole, as headers, as references.
 * Pure; all results are owned. */
#ifndef ATLAS_ENTITY_JSON_H
#define ATLAS_ENTITY_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "atlas/type_def.h"
#include "base/buf.h"
#include "base/span.h"
#include "base/uuid.h"

/* An entity as it stands in the graph. */
struct entity {
    int64_t id;
    char guid[UUID_TEXT_LEN + 1];
    const struct type *type; /* borrowed from the registry */
    char *qualified_name;    /* owned, as are the next three; NULL: its type has no such name */
    char *created_by;
    char *updated_by;
    json_t *attributes; /* what the entity has of its own; nothing is null */
    int64_t created_ms;
    int64_t updated_ms;
    bool is_deleted;
    bool is_incomplete;
};

void entity_done(struct entity *entity);

/* Whether entities of the type have a qualified name. */
bool entity_has_name(const struct type *type);
/* Attributes as Postgres writes them. */
json_t *entity_attributes_load(struct span text);

/* A relationship, seen from one of its ends. */
struct entity_link {
    const struct type *relationship;
    size_t end; /* this entity's, 0 or 1 */
    char guid[UUID_TEXT_LEN + 1];
    bool is_deleted;
    int64_t entity_id;          /* this entity */
    const struct entity *other; /* borrowed */
    json_t *attributes;         /* of the relationship, borrowed; NULL: none */
};

/* An AtlasEntityHeader. */
json_t *entity_header_json(const struct entity *entity);

/* What a header shows of an entity, for answers that have thousands of them. All borrowed. */
struct entity_header {
    const struct type *type;
    char guid[UUID_TEXT_LEN + 1];
    struct span qualified_name; /* data NULL: its type has none */
    /* JSON, as it stands in the attributes; data NULL: it has none */
    struct span name, display_name, description, owner, create_time;
    struct span classification_names, classifications; /* lists, as JSON; data NULL: empty */
    bool is_deleted;
    bool is_incomplete;
};

/* The same text as that of entity_header_json. */
void entity_header_write(const struct entity_header *header, struct buf *out);
/* An AtlasEntity: every attribute of its type, null where it has none, and what its links give it.
 * Only those of the links that are of this entity count. */
json_t *entity_json(const struct entity *entity, const struct entity_link *links, size_t links_len);
/* The same without relationships. */
json_t *entity_plain_json(const struct entity *entity);

/* The attribute that the link gives its entity; NULL: its type has none. */
const struct type_relation *entity_link_relation(const struct entity *entity,
                                                 const struct entity_link *link);

#endif
