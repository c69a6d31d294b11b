/* The graph in Postgres, read as it stands or as it stood: what answers under /api/atlas are made
 * of. All reads of one answer are in one transaction, begun by atlas_begin, and so see one graph.
 */
#ifndef COLLECTOR_STORE_ATLAS_INTERNAL_H
#define COLLECTOR_STORE_ATLAS_INTERNAL_H

#include <libpq-fe.h>
#include <stddef.h>
#include <stdint.h>

#include "atlas/entity_json.h"
#include "atlas/type_def.h"
#include "atlas/walk.h"
#include "base/attr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"
#include "base/uuid.h"

/* What the attributes of a list may have together, as text. */
enum { ATLAS_ATTRIBUTES_BYTES_MAX = 64 * 1024 * 1024 };

struct tag_cache;

/* Entities, each once. */
struct entity_list {
    struct entity *items; /* owned */
    size_t len;
    size_t bytes;       /* of their attributes, as text */
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
    json_t *attributes; /* owned; NULL: none */
};

struct atlas_links {
    struct atlas_link *items; /* owned */
    size_t len;
};
void atlas_links_done(struct atlas_links *links);

/* The graph at one moment. */
struct atlas_view {
    PGconn *conn; /* borrowed, as are the types */
    const struct type_registry *types;
    int64_t batch_id; /* after which it stood so; ATLAS_NOW: as it stands */
    /* What is true of the versions of that moment: of all of them, and of parts that together are
     * all of them and have an index each. */
    char stands[128];
    char parts[2][128];
    size_t parts_len;
    struct tag_cache *tags; /* borrowed; what classifications reach. NULL: nothing is kept */
    int64_t newest;         /* with tags: the last batch of the snapshot */
};

#define ATLAS_NOW INT64_MAX

/* The last batch of the graph that was recorded by the end of that millisecond; ATLAS_NOW for
 * ATLAS_NOW. Waits for a change that is being committed, if it may be of that time; not in a
 * transaction. ERR_RETRY: the server is away, or that wait was too long. */
int atlas_find_batch(PGconn *conn, int64_t as_of_ms, int64_t *batch_id, struct err *err) MUST_CHECK;
/* The last batch of the graph in this snapshot. */
int atlas_find_newest(PGconn *conn, int64_t *batch_id, struct err *err) MUST_CHECK;
void atlas_view_init(struct atlas_view *view, PGconn *conn, const struct type_registry *types,
                     int64_t batch_id);
/* What the transaction of a reader is told before it reads: look-ups by keys, all of them, planned
 * without a look at thousands of keys. */
#define ATLAS_PLANS                                                                                \
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off;"                             \
    "SET LOCAL enable_mergejoin = off; SET LOCAL max_parallel_workers_per_gather = 0;"             \
    "SET LOCAL plan_cache_mode = force_generic_plan"
/* Takes the snapshot of a request; view->newest is known then. as_of_ms: what was known at that
 * moment, or ATLAS_NOW. *generation: that of the types in the snapshot. */
int atlas_begin(struct atlas_view *view, PGconn *conn, const struct type_registry *types,
                int64_t as_of_ms, int64_t *generation, struct err *err) MUST_CHECK;

/* Each appends what it finds; entities of types that are not known to the registry are left out.
 * ERR_INPUT: their attributes are larger than ATLAS_ATTRIBUTES_BYTES_MAX; the transaction is over.
 */
int atlas_read_guid(const struct atlas_view *view, const struct uuid *guid,
                    struct entity_list *list, struct err *err) MUST_CHECK;
/* Those with these guids, without their attributes. *missing: the place of the first guid that none
 * has, len: there is none. */
int atlas_read_guids(const struct atlas_view *view, const struct uuid *guids, size_t len,
                     struct entity_list *list, size_t *missing, struct err *err) MUST_CHECK;
/* The active entity of the type, or of one that inherits from it. */
int atlas_read_name(const struct atlas_view *view, const struct type *type,
                    struct span qualified_name, struct entity_list *list,
                    struct err *err) MUST_CHECK;
int atlas_read_ids(const struct atlas_view *view, const int64_t *ids, size_t len,
                   struct entity_list *list, struct err *err) MUST_CHECK;
/* The same with those attributes alone that name an entity. */
int atlas_read_ends(const struct atlas_view *view, const int64_t *ids, size_t len,
                    struct entity_list *list, struct err *err) MUST_CHECK;
/* Headers of many entities, some at a time: while these are written the server looks for the next.
 * Nothing else may use the connection until atlas_headers_done. */
struct atlas_places;

struct atlas_headers {
    const struct atlas_view *view; /* borrowed, as are the ids */
    const int64_t *ids;
    size_t len;
    size_t asked;                /* as many of the ids are asked for */
    char *sql;                   /* owned */
    PGresult *rows;              /* owned; by id */
    struct atlas_places *places; /* owned; of the ids whose rows these are */
    struct atlas_places *next;   /* owned; of those that the server is looking for */
};

int atlas_headers_open(struct atlas_headers *headers, const struct atlas_view *view,
                       const int64_t *ids, size_t len, struct err *err) MUST_CHECK;
/* 1: `rows` are the next. 0: there are no more. */
int atlas_headers_next(struct atlas_headers *headers, struct err *err) MUST_CHECK;
/* Returns the place in ids of the entity in that row. header->type is NULL where the registry does
 * not know it. Borrowed until the next call of atlas_headers_next. */
size_t atlas_headers_get(const struct atlas_headers *headers, int row,
                         struct entity_header *header);
void atlas_headers_done(struct atlas_headers *headers);
static inline void atlas_headers_done_auto(struct atlas_headers *headers)
{
    atlas_headers_done(headers);
}

/* Relationships of these entities, at most `max`, the oldest first. */
int atlas_read_links(const struct atlas_view *view, const int64_t *ids, size_t len, size_t max,
                     struct atlas_links *links, struct err *err) MUST_CHECK;

/* The edges that a step of a walk asks for: statements of `columns` with the frontier's ids as $1,
 * and UNION ALL between them. Processes are the first end of both kinds of edges: inputs flow to
 * them, outputs from them. */
void atlas_write_edges(struct buf *sql, const struct atlas_view *view,
                       const struct walk_frontier *frontier, const char *columns);
/* A walk_source; ctx is the view. */
walk_source atlas_walk_step;

#endif
