/* What the answers under /api/atlas share: a request under way, and its faults. */
#ifndef COLLECTOR_QUERY_ATLAS_INTERNAL_H
#define COLLECTOR_QUERY_ATLAS_INTERNAL_H

#include <jansson.h>
#include <libpq-fe.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"
#include "collector/query.h"
#include "collector/store.h"
#include "collector/store_atlas_internal.h"
#include "collector/store_pool.h"
#include "collector/store_tags_internal.h"

enum { ATLAS_SEGMENTS_MAX = 8 };

/* A request under way. */
struct atlas {
    struct query *query;
    struct span segments[ATLAS_SEGMENTS_MAX];
    size_t segments_len;
    struct store_pool *pool;
    PGconn *conn; /* owned, of the pool; NULL until it is needed */
    int64_t as_of_ms;
    struct atlas_view view; /* what is read, behind atlas_begin_read */
    struct buf *out;        /* for answers that are written as they are read */
    unsigned *status;       /* 200 unless changed */
    bool is_stale;          /* atlas_begin_read failed: the graph may be of types that are newer */
    struct err *err;
};

/* What answers at a path: sets *answer, owned, or writes to atlas->out. */
typedef int atlas_run(struct atlas *atlas, json_t **answer);

static inline const struct type_registry *atlas_types(const struct atlas *atlas)
{
    return atlas->query->types;
}

#define ATLAS_FAULT(atlas, status, code, ...)                                                      \
    fault_set(&(atlas)->query->fault, (status), (code), NULL, __VA_ARGS__)

/* The first of that name; data NULL when it was not given. A NUL stands behind it. */
struct span atlas_parameter(const struct atlas *atlas, const char *name);

/* For json_dump_callback: what is too much to wait for the rest is sent. `ctx` is the request. */
int atlas_write(const char *data, size_t len, void *ctx) MUST_CHECK;
/* Without white space. */
void atlas_append_json(struct buf *out, const json_t *json);

/* Who asks, by their word; nobody has to say. Borrowed. */
static inline const char *atlas_user(const struct atlas *atlas)
{
    return atlas->query->user ? atlas->query->user : "anonymous";
}

/* The body as JSON, read with these flags of jansson, owned; NULL: the fault is set. Its memory is
 * of the budget. */
json_t *atlas_read_body(struct atlas *atlas, size_t flags);
/* The same where a few MiB are enough. `advice`: what helps when it is too large. */
json_t *atlas_read_small_body(struct atlas *atlas, const char *advice);
int atlas_refuse(struct atlas *atlas, const struct type_fault *fault);
/* The fault that nothing has this guid. */
int atlas_no_guid(struct atlas *atlas, struct span guid);

/* Takes a connection, if there is none yet. */
int atlas_connect(struct atlas *atlas) MUST_CHECK;
/* The connection broke while a batch of the graph was committed: asks another one what came of it,
 * and has the types of now. STORE_UNKNOWN when that can't be known. */
enum store_result atlas_settle(struct atlas *atlas, int64_t batch_id) MUST_CHECK;
/* 0: it was committed. Else the fault is set, or err says so; `advice`: how to find out, where that
 * can't be known. */
int atlas_settle_or_fault(struct atlas *atlas, int64_t batch_id, const char *advice) MUST_CHECK;
/* Takes a connection and the snapshot of the request. Before anything is written or sent: if the
 * snapshot has newer types it fails, and the request begins anew with them. */
int atlas_begin_read(struct atlas *atlas) MUST_CHECK;
/* Adds the entity, or finds it in the list; that there is none is a fault. */
int atlas_find_guid(struct atlas *atlas, struct span guid, struct entity_list *list) MUST_CHECK;

/* The same for an entity by its guid, or where a type is named by its unique attribute, which is a
 * parameter attr:NAME. */
int atlas_find_wanted(struct atlas *atlas, struct span type_name, struct span guid,
                      struct entity_list *list) MUST_CHECK;

/* ---- query_entity.c: changes of the graph */

atlas_run query_entity_write;           /* POST v2/entity, v2/entity/bulk */
atlas_run query_entity_write_attribute; /* PUT v2/entity/guid/{guid}?name= */
atlas_run query_entity_write_named;     /* PUT v2/entity/uniqueAttribute/type/{type} */
atlas_run query_entity_delete;          /* DELETE of the same, and of v2/entity/bulk */
atlas_run query_entity_delete_bulk;
atlas_run query_entity_delete_named;

/* ---- query_lineage.c */

atlas_run query_lineage;           /* v2/lineage/{guid}, v2/lineage/uniqueAttribute/type/{type} */
atlas_run query_lineage_on_demand; /* POST v2/lineage/{guid} */

/* ---- query_relationship.c */

atlas_run query_relationship_make;   /* POST v2/relationship */
atlas_run query_relationship_change; /* PUT */
atlas_run query_relationship;        /* v2/relationship/guid/{guid} */
atlas_run query_relationship_delete; /* DELETE */
/* Puts the classifications of the entity at that place into what entity_json or
 * entity_header_json gave of it. */
void atlas_put_tags(json_t *object, const struct tags *tags, size_t place,
                    const struct type *entity);
/* The same for a header that is written; its lists are in `lists` until the next call. */
void atlas_head_tags(struct entity_header *header, const struct tags *tags, size_t place,
                     struct buf *lists);

/* ---- query_hook.c */

atlas_run query_hook; /* POST v2/notification/topic/{topic} */

/* ---- query_admin.c */

atlas_run query_admin_version; /* admin/version */
atlas_run query_admin_status;
atlas_run query_admin_session;
atlas_run query_admin_metrics;

/* ---- query_audit.c */

atlas_run query_audit; /* v2/entity/{guid}/audit */

/* ---- query_search.c */

atlas_run query_search_basic;       /* v2/search/basic */
atlas_run query_search_attribute;   /* v2/search/attribute */
atlas_run query_search_quick;       /* v2/search/quick */
atlas_run query_search_suggestions; /* v2/search/suggestions */

/* ---- query_tags.c */

atlas_run query_tags;     /* GET v2/entity/guid/{guid}/classifications, also by unique attribute */
atlas_run query_tags_add; /* POST */
atlas_run query_tags_update; /* PUT */
atlas_run query_tag;         /* GET .../classification/{name} */
atlas_run query_tag_remove;  /* DELETE */
atlas_run query_tags_bulk;   /* v2/entity/bulk/classification */

/* ---- query_tags_changed.c */

atlas_run query_tags_changed; /* v2/entity/bulk/headers */

/* ---- query_tags_set.c */

atlas_run query_tags_set; /* v2/entity/bulk/setClassifications */

/* ---- query_types.c */

atlas_run query_types_all;    /* v2/types/typedefs, v2/types/typedefs/headers */
atlas_run query_types_one;    /* v2/types/{what}/name/{name}, v2/types/{what}/guid/{guid} */
atlas_run query_types_change; /* POST, PUT and DELETE of v2/types/typedefs */
atlas_run query_types_delete; /* v2/types/typedef/name/{name} */

#endif
