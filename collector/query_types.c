/* Types as Atlas's clients read, make, change and delete them. */
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "atlas/type_json.h"
#include "base/clock.h"
#include "base/mem.h"
#include "collector/query_atlas_internal.h"
#include "collector/store_internal.h"
#include "collector/store_types_internal.h"
#include "collector/type_cache.h"

/* ------------------------------------------------------------------------------------- reading */

int query_types_all(struct atlas *atlas, json_t **answer)
{
    struct type_list types = type_registry_types(atlas_types(atlas));
    struct type_filter filter = {
        .type = atlas_parameter(atlas, "type"),
        .name = atlas_parameter(atlas, "name"),
        .not_name = atlas_parameter(atlas, "notname"),
        .super_type = atlas_parameter(atlas, "supertype"),
        .not_super_type = atlas_parameter(atlas, "notsupertype"),
        .service_type = atlas_parameter(atlas, "servicetype"),
        .not_service_type = atlas_parameter(atlas, "notservicetype"),
    };

    if (atlas->segments_len == 3)
        return type_defs_write(types.items, types.len, &filter, atlas_write, atlas);
    *answer = type_headers_json(atlas_types(atlas), &filter);
    return 0;
}

/* "entitydef" and the like name a category, "typedef" any. */
static bool types_fits(const struct type *type, struct span segment)
{
    static const char *const names[TYPE_CATEGORIES] = {
        [TYPE_ENUM] = "enumdef",
        [TYPE_STRUCT] = "structdef",
        [TYPE_CLASSIFICATION] = "classificationdef",
        [TYPE_ENTITY] = "entitydef",
        [TYPE_RELATIONSHIP] = "relationshipdef",
        [TYPE_BUSINESS_METADATA] = "businessmetadatadef",
    };

    return span_is(segment, "typedef") || span_is(segment, names[type->def->category]);
}

int query_types_one(struct atlas *atlas, json_t **answer)
{
    bool by_guid = span_is(atlas->segments[3], "guid");
    struct span key = atlas->segments[4];
    const struct type *type =
        by_guid ? type_by_guid(atlas_types(atlas), key) : type_by_name(atlas_types(atlas), key);

    if (!type || !types_fits(type, atlas->segments[2]))
        return ATLAS_FAULT(atlas, 404, by_guid ? "ATLAS-404-00-002" : "ATLAS-404-00-001",
                           "Given type%s %.*s was invalid", by_guid ? " guid" : "name",
                           fault_quote_len(key.len), key.data);
    *answer = type_json(type);
    return 0;
}

/* ------------------------------------------------------------------------------------ changing */

static int types_change(struct atlas *atlas, struct type_givens *givens, enum type_change_kind kind,
                        struct type_change *change)
{
    enum store_types_result result;
    struct type_fault fault;
    int64_t batch_id = 0;

    if (query_begin_write(atlas->query) < 0 || atlas_connect(atlas) < 0)
        return -1;
    result = store_types_change(atlas->conn, atlas->query->type_cache, givens, kind,
                                atlas->query->config->commit_timeout_ms, change, &batch_id, &fault,
                                atlas->err);
    switch (result) {
    case STORE_TYPES_DONE:
        return 0;
    case STORE_TYPES_REFUSED:
        return atlas_refuse(atlas, &fault);
    case STORE_TYPES_FAILED:
        return -1;
    case STORE_TYPES_UNKNOWN:
        break;
    }
    return atlas_settle_or_fault(atlas, batch_id, "ask whether the types are there");
}

static const enum type_change_kind types_kinds[] = {
    [QUERY_POST] = TYPE_CREATE,
    [QUERY_PUT] = TYPE_UPDATE,
    [QUERY_DELETE] = TYPE_DELETE,
};

/* Those that the client gave, as they are now. */
static int types_write_made(struct atlas *atlas, const struct type_change *change,
                            const struct type_givens *givens)
{
    AUTO(mem_free) const struct type **types = xcalloc(givens->len, sizeof(*types));

    for (size_t i = 0; i < givens->len; i++)
        types[i] = type_by_name(change->after, span_of(givens->items[i].name));
    return type_defs_write(types, givens->len, NULL, atlas_write, atlas);
}

/* What the body says; its JSON is gone when this returns. */
static int types_parse(struct atlas *atlas, enum type_change_kind kind, struct type_givens *givens)
{
    int64_t now_ms = clock_now_ms();
    struct type_stamp stamp = { atlas_user(atlas), atlas_user(atlas), now_ms, now_ms, 1 };
    json_auto_t *body = atlas_read_small_body(atlas, "define fewer types");
    struct type_fault fault;

    if (!body)
        return -1;
    if (kind == TYPE_DELETE ? type_parse_names(givens, body, &fault) < 0
                            : type_parse(givens, body, &stamp, &fault) < 0)
        return atlas_refuse(atlas, &fault);
    return 0;
}

int query_types_change(struct atlas *atlas, json_t **answer UNUSED)
{
    struct type_cache *cache = atlas->query->type_cache;
    enum type_change_kind kind = types_kinds[atlas->query->method];
    AUTO(type_givens_done) struct type_givens givens = { 0 };
    AUTO(type_change_done) struct type_change change = { 0 };
    int rc;

    type_cache_enter(cache, TYPE_CACHE_CHANGE);
    rc = types_parse(atlas, kind, &givens) < 0 ? -1 : types_change(atlas, &givens, kind, &change);
    type_cache_leave(cache, TYPE_CACHE_CHANGE);
    if (rc < 0)
        return -1;
    if (kind != TYPE_DELETE)
        return types_write_made(atlas, &change, &givens);
    *atlas->status = 204;
    return 0;
}

int query_types_delete(struct atlas *atlas, json_t **answer UNUSED)
{
    struct span name = atlas->segments[4];
    AUTO(type_givens_done) struct type_givens givens = { 0 };
    AUTO(type_change_done) struct type_change change = { 0 };

    if (name.len > TYPE_NAME_BYTES_MAX || memchr(name.data, '\0', name.len))
        return ATLAS_FAULT(atlas, 404, "ATLAS-404-00-001", "Given typename %.*s was invalid",
                           fault_quote_len(name.len), name.data);
    givens.items = xcalloc(1, sizeof(*givens.items));
    givens.len = 1;
    givens.items[0] =
        (struct type_given){ .category = TYPE_CATEGORIES, .name = xmemdup0(name.data, name.len) };
    if (types_change(atlas, &givens, TYPE_DELETE, &change) < 0)
        return -1;
    *atlas->status = 204;
    return 0;
}
