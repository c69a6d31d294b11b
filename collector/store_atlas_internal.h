/* The graph in Postgres, read as it stands: what answers under /api/atlas are made of. All reads of
 * one answer are in one transaction, begun by atlas_begin, and so see one graph. */
#ifndef COLLECTOR_STORE_ATLAS_INTERNAL_H
#define COLLECTOR_STORE_ATLAS_INTERNAL_H

#include <libpq-fe.h>
#include <stddef.h>
#include <stdint.h>

#include "atlas/entity_json.h"
#include "atlas/type_def.h"
#include "atlas/walk.h"
#include "base/attr.h"
#include "base/err.h"
#include "base/span.h"
#include "base/uuid.h"

/* Entities, each once. */
struct entity_list {
    struct entity *items; /* owned */
    size_t len;
    struct map *places; /* owned: id -> place in items */
};

void entity_list_init(struct entity_list *list);
void entity_list_done(struct entity_list *list);
static inline void entity_list_done_auto(struct entity_list *list) /* AUTO(entity_list_done) */
{
    entity_list_done(list);
}
/* NULL: it is not there. Borrowed until the list grows. */
const struct entity *entity_list_find(const struct entity_list *list, int64_t id);

/* A relationship of one of the entities that were asked for. */
struct atlas_link {
    const struct type *relationship;
    size_t end; /* of the entity asked for */
    int64_t entity_id, other_id;
    char guid[UUID_TEXT_LEN + 1];
    bool is_deleted;
};

struct atlas_links {
    struct atlas_link *items; /* owned */
    size_t len;
};

/* Takes the snapshot of a request. ERR_RETRY: the server is away. */
int atlas_begin(PGconn *conn, struct err *err) MUST_CHECK;

/* Each appends what it finds; entities of types that are not known to the registry are left out. */
int atlas_read_guid(PGconn *conn, const struct type_registry *types, const struct uuid *guid,
                    struct entity_list *list, struct err *err) MUST_CHECK;
/* The active entity of the type, or of one that inherits from it. */
int atlas_read_name(PGconn *conn, const struct type_registry *types, const struct type *type,
                    struct span qualified_name, struct entity_list *list,
                    struct err *err) MUST_CHECK;
int atlas_read_ids(PGconn *conn, const struct type_registry *types, const int64_t *ids, size_t len,
                   struct entity_list *list, struct err *err) MUST_CHECK;
/* Relationships of these entities, at most `max`, the oldest first. */
int atlas_read_links(PGconn *conn, const struct type_registry *types, const int64_t *ids,
                     size_t len, size_t max, struct atlas_links *links, struct err *err) MUST_CHECK;

/* A walk_source; ctx is the connection. */
walk_source atlas_walk_step;

#endif
