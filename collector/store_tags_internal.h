/* The classifications of entities: their own, and those that reach them over the graph as it is
 * read. What passes: atlas/propagation.h; over which edges: what `propagateTags` of their types
 * says, and from a build to its deployments, which metrics alone may know. Nothing passes over what
 * is deleted.
 *
 * With view->tags memory for a walk is of the budget (ERR_RETRY: there is no room), and what all
 * classifications reach is kept for those who ask next. */
#ifndef COLLECTOR_STORE_TAGS_INTERNAL_H
#define COLLECTOR_STORE_TAGS_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "atlas/classification.h"
#include "atlas/propagation.h"
#include "base/attr.h"
#include "base/buf.h"
#include "base/err.h"
#include "collector/store_atlas_internal.h"

enum {
    TAGS_EDGES_MAX = 1000000, /* that are looked at for one answer */
    TAGS_SHOWN_MAX = 1000000, /* of all entities of one answer */
};

/* ---- of some entities: what they have ---- */

/* A classification on the entity that it comes from. */
struct tag {
    int64_t entity_id;
    struct classification classification; /* owned */
    char guid[UUID_TEXT_LEN + 1];
    bool is_deleted; /* the entity */
    char *json;      /* owned; an AtlasClassification */
};

struct tags {
    const struct type_registry *types; /* borrowed */
    struct tag *items;                 /* owned, as are all arrays */
    size_t len;
    size_t bytes;      /* of their attributes, as text */
    uint32_t *places;  /* in items: of the first entity, of the second, ...; its own first */
    size_t *first;     /* of each entity: where in `places` it begins; one more than there are */
    bool is_truncated; /* there may be more: they come over more edges than are looked at, or are
                         * more than are shown */
};

/* Of these entities, none twice. ERR_INPUT: their attributes are larger than
 * ATLAS_ATTRIBUTES_BYTES_MAX. */
int tags_read(const struct atlas_view *view, const int64_t *ids, size_t len, struct tags *tags,
              struct err *err) MUST_CHECK;
/* The same without what reaches them from others. */
int tags_read_own(const struct atlas_view *view, const int64_t *ids, size_t len, struct tags *tags,
                  struct err *err) MUST_CHECK;
void tags_done(struct tags *tags);
static inline void tags_done_auto(struct tags *tags) /* AUTO(tags_done) */
{
    tags_done(tags);
}

/* Of the entity at that place of the ids that were asked for, which is of type `entity`: a list of
 * AtlasClassification, and one of the names, each once. What reaches it but can't be on entities of
 * its type is not among them. */
void tags_write(const struct tags *tags, size_t place, const struct type *entity, struct buf *out);
void tags_write_names(const struct tags *tags, size_t place, const struct type *entity,
                      struct buf *out);
/* Calls fn for each of these. */
typedef void tags_each_fn(void *ctx, const struct tag *tag);
void tags_each(const struct tags *tags, size_t place, const struct type *entity, tags_each_fn *fn,
               void *ctx);

/* The first `max` entities whose own classifications were changed at that time or later, also by
 * being taken away; *ids is owned. */
int tags_find_changed(const struct atlas_view *view, int64_t since_ms, size_t max, int64_t **ids,
                      size_t *len, struct err *err) MUST_CHECK;

/* ---- changes: store_tag_write.c ---- */

/* A classification that is to stand, or to go. All borrowed. */
struct tag_write {
    int64_t entity_id;
    const struct classification *classification;
};

/* Under the graph lock, in the batch of that number (0: one of its own is begun): all stand as they
 * are given, each (entity, type) once. */
int tag_write_put(PGconn *conn, const struct tag_write *writes, size_t len, const char *user,
                  int64_t *batch_id, struct err *err) MUST_CHECK;
/* The same: all of these types go. */
int tag_write_end(PGconn *conn, const struct tag_write *writes, size_t len, const char *user,
                  int64_t *batch_id, struct err *err) MUST_CHECK;

/* ---- of some classifications: who has them ---- */

/* Where they are, and the part of the graph that they reach. */
struct tag_origins {
    const struct type_registry *types; /* borrowed */
    const struct type **kinds;         /* owned, as are all; the classifications */
    size_t kinds_len;
    struct tag_origin {
        int64_t id;
        uint32_t kind; /* its place in kinds */
    } * items;         /* every entity that is classified so itself */
    size_t len;
    struct propagation_source *sources; /* those that pass theirs on; the mark is the kind */
    size_t sources_len;
    struct propagation *graph;
    struct tag_cache *cache; /* borrowed; NULL: nothing is counted */
    size_t reserved;         /* in its budget */
};

/* What is to be true of a classification, whose row is `e`: SQL that names its values, of which
 * there are some or none, as ($1::text[])[1] and so on. All borrowed. */
struct tags_condition {
    const char *sql;
    char *const *values;
    size_t values_len;
};

/* Of these classifications, of all where the list is empty; of those for which the condition holds,
 * if there is one. ERR_INPUT: they reach further than is looked at. */
int tags_find(const struct atlas_view *view, const struct type_list *kinds,
              struct tag_origins *origins, struct err *err) MUST_CHECK;
int tags_find_where(const struct atlas_view *view, const struct type_list *kinds,
                    const struct tags_condition *condition, struct tag_origins *origins,
                    struct err *err) MUST_CHECK;
void tag_origins_done(struct tag_origins *origins);
static inline void tag_origins_done_auto(struct tag_origins *origins) /* AUTO(tag_origins_done) */
{
    tag_origins_done(origins);
}

#endif
