/* Who is there: what clients of Atlas ask before anything else. */
#include <jansson.h>

#include "atlas/type_def.h"
#include "base/clock.h"
#include "base/map.h"
#include "collector/query_atlas_internal.h"
#include "collector/store_audit_internal.h"
#include "collector/version.h"

int query_admin_version(struct atlas *atlas, json_t **answer)
{
    (void)atlas;
    *answer =
        json_pack("{s:s, s:s, s:s, s:s}", "Description",
                  "Metrics and lineage of models in production, read as Apache Atlas v2",
                  "Revision", PLUMBLINE_VERSION, "Version", PLUMBLINE_VERSION, "Name", "plumbline");
    return 0;
}

/* Active is who can answer. */
int query_admin_status(struct atlas *atlas, json_t **answer)
{
    if (atlas_begin_read(atlas) < 0)
        return -1;
    *answer = json_pack("{s:s}", "Status", "ACTIVE");
    return 0;
}

/* Anybody may change what no event has set. */
int query_admin_session(struct atlas *atlas, json_t **answer)
{
    (void)atlas;
    *answer = json_pack("{s:b, s:b, s:b, s:s, s:b, s:s, s:[]}", "atlas.rest-csrf.enabled", false,
                        "atlas.entity.create.allowed", true, "atlas.entity.update.allowed", true,
                        "atlas.ui.editable.entity.types", "", "atlas.lineage.on.demand.enabled",
                        true, "userName", "anonymous", "groups");
    return 0;
}

/* Counts under way. */
struct admin_counts {
    const struct type_registry *types;
    json_t *active, *deleted; /* borrowed; type -> number */
    int64_t entities, types_used;
};

static void admin_count(void *ctx, const char *type, bool is_deleted, int64_t count)
{
    struct admin_counts *counts = ctx;

    (void)json_object_set_new(is_deleted ? counts->deleted : counts->active, type,
                              json_integer(count));
    if (is_deleted)
        return;
    counts->entities += count;
    counts->types_used += type_by_name(counts->types, span_of(type)) != NULL;
}

static void admin_count_tags(void *ctx, const char *type, bool is_deleted, int64_t count)
{
    if (!is_deleted)
        (void)json_object_set_new(ctx, type, json_integer(count));
}

static int64_t admin_count_types(const struct type_registry *types, enum type_category category)
{
    struct type_list list = type_registry_types(types);
    int64_t count = 0;

    for (size_t i = 0; i < list.len; i++)
        count += list.items[i]->def->category == category;
    return count;
}

/* Entities by type, and how many have a classification themselves; as in Atlas tags are the
 * definitions. */
int query_admin_metrics(struct atlas *atlas, json_t **answer)
{
    const struct type_registry *types = atlas_types(atlas);
    json_t *active = json_object(), *deleted = json_object(), *tagged = json_object();
    struct admin_counts counts = { .types = types, .active = active, .deleted = deleted };
    int rc = atlas_begin_read(atlas);

    if (rc == 0)
        rc = store_audit_count(atlas->conn, admin_count, &counts, atlas->err);
    if (rc == 0)
        rc = store_audit_count_tags(atlas->conn, admin_count_tags, tagged, atlas->err);
    *answer = json_pack("{s:{s:{s:I, s:I, s:I, s:I, s:I}, s:{s:o, s:o}, s:{s:o}}}", "data",
                        "general", "entityCount", (json_int_t)counts.entities, "tagCount",
                        (json_int_t)admin_count_types(types, TYPE_CLASSIFICATION), "typeCount",
                        (json_int_t)type_registry_types(types).len, "typeUnusedCount",
                        (json_int_t)(admin_count_types(types, TYPE_ENTITY) - counts.types_used),
                        "collectionTime", (json_int_t)clock_now_ms(), "entity", "entityActive",
                        active, "entityDeleted", deleted, "tag", "tagEntities", tagged);
    return rc;
}
