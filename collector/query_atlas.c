/* What Atlas's clients read of entities, and all that they may ask for: at the paths of its REST
 * interface and with its errors. Unknown parameters and slashes too many are as good as none. */
#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "atlas/entity_input.h"
#include "atlas/entity_json.h"
#include "atlas/message.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "collector/queries.h"
#include "collector/query_atlas_internal.h"
#include "collector/store_graph_batch_internal.h"
#include "collector/store_internal.h"
#include "collector/store_types_internal.h"

enum {
    /* What a client may send: the values of its JSON are what costs memory. */
    ATLAS_BODY_BYTES_MAX = 4 * 1024 * 1024,
    ATLAS_BODY_VALUES_MAX = 100000,

    ATLAS_TRIES_MAX = 5,     /* with newer types */
    ATLAS_GUIDS_MAX = 1000,  /* of one request */
    ATLAS_LINKS_MAX = 10000, /* relationships in one answer about entities */
};

int atlas_no_guid(struct atlas *atlas, struct span guid)
{
    return ATLAS_FAULT(atlas, 404, "ATLAS-404-00-005",
                       "Given instance guid %.*s is invalid/not found", fault_quote_len(guid.len),
                       guid.data);
}

int atlas_connect(struct atlas *atlas)
{
    if (!atlas->conn)
        atlas->conn = store_pool_take(atlas->pool, atlas->err);
    return atlas->conn ? 0 : -1;
}

static int atlas_refresh_types(struct atlas *atlas)
{
    struct query *query = atlas->query;

    if (atlas_connect(atlas) < 0 ||
        store_types_refresh(atlas->conn, query->type_cache, atlas->err) < 0)
        return -1;
    type_registry_free(query->types);
    query->types = type_cache_get(query->type_cache);
    return 0;
}

int atlas_begin_read(struct atlas *atlas)
{
    struct query *query = atlas->query;
    int64_t generation;

    if (atlas_connect(atlas) < 0 || atlas_begin(&atlas->view, atlas->conn, query->types,
                                                atlas->as_of_ms, &generation, atlas->err) < 0)
        return -1;
    atlas->view.tags = query->tag_cache;
    if (type_cache_knows(query->type_cache, query->types, generation))
        return 0;
    atlas->is_stale = true;
    return err_set(atlas->err, ERR_RETRY, "the types change all the time");
}

enum store_result atlas_settle(struct atlas *atlas, int64_t batch_id)
{
    enum store_result result = STORE_UNKNOWN;

    store_pool_give(atlas->pool, TAKE(atlas->conn), false);
    if (atlas_connect(atlas) == 0)
        result = graph_batch_settle(atlas->conn, batch_id, atlas->query->config->commit_timeout_ms,
                                    atlas->err);
    if (result != STORE_UNKNOWN &&
        store_types_refresh(atlas->conn, atlas->query->type_cache, atlas->err) < 0)
        return STORE_UNKNOWN;
    return result;
}

int atlas_settle_or_fault(struct atlas *atlas, int64_t batch_id, const char *advice)
{
    enum store_result result = atlas_settle(atlas, batch_id);

    if (result != STORE_UNKNOWN)
        return result == STORE_COMMITTED ? 0 : -1;
    return ATLAS_FAULT(atlas, 500, "ATLAS-500-00-001",
                       "Internal server error the database went away while the change was "
                       "committed: %s",
                       advice);
}

/* ----------------------------------------------------------------------------------- parameters */

struct span atlas_parameter(const struct atlas *atlas, const char *name)
{
    return parameters_get_other(&atlas->query->parameters, name);
}

static bool atlas_flag(const struct atlas *atlas, const char *name)
{
    struct span text = atlas_parameter(atlas, name);

    return text.len == 4 && strncasecmp(text.data, "true", 4) == 0;
}

/* The entity type that a path names; NULL: the fault is set. */
static const struct type *atlas_entity_type(struct atlas *atlas, struct span name)
{
    const struct type *type = type_by_name(atlas_types(atlas), name);

    if (type && type->def->category == TYPE_ENTITY)
        return type;
    (void)ATLAS_FAULT(atlas, 400, "ATLAS-400-00-014", "Type ENTITY with name %.*s does not exist",
                      fault_quote_len(name.len), name.data);
    return NULL;
}

/* ----------------------------------------------------------------------------------------- body */

/* At least as many values as the text can hold. */
static size_t atlas_count_values(struct span body)
{
    size_t count = 1;

    for (size_t i = 0; i < body.len; i++)
        count += body.data[i] == ',' || body.data[i] == '[' || body.data[i] == '{';
    return count;
}

json_t *atlas_read_body(struct atlas *atlas, size_t flags)
{
    struct span body = atlas->query->body;
    size_t cost = message_cost(body), most = (size_t)atlas->query->config->memory_bytes_max;
    json_error_t error;
    json_t *json;

    if (cost > most) {
        (void)ATLAS_FAULT(atlas, 413, "too_large",
                          "the body has too many values to be read within memory_bytes_max: send "
                          "it in parts");
        return NULL;
    }
    if (query_reserve(atlas->query, cost) < 0)
        return NULL;
    json = json_loadb(body.data ? body.data : "", body.len, flags, &error);
    if (!json)
        (void)ATLAS_FAULT(atlas, 400, "ATLAS-400-00-029", "line %d, column %d: %s", error.line,
                          error.column, error.text);
    return json;
}

json_t *atlas_read_small_body(struct atlas *atlas, const char *advice)
{
    struct span body = atlas->query->body;

    if (body.len <= ATLAS_BODY_BYTES_MAX && atlas_count_values(body) <= ATLAS_BODY_VALUES_MAX)
        return atlas_read_body(atlas, 0);
    (void)ATLAS_FAULT(atlas, 413, "too_large",
                      "the body has more than %d bytes or %d values: %s at a time",
                      ATLAS_BODY_BYTES_MAX, ATLAS_BODY_VALUES_MAX, advice);
    return NULL;
}

int atlas_refuse(struct atlas *atlas, const struct type_fault *fault)
{
    return ATLAS_FAULT(atlas, fault->status, fault->code, "%s", fault->message);
}

/* ------------------------------------------------------------------------------------- entities */

int atlas_find_guid(struct atlas *atlas, struct span guid, struct entity_list *list)
{
    char text[UUID_TEXT_LEN + 1];
    struct uuid uuid;

    if (uuid_parse(&uuid, guid) < 0)
        return atlas_no_guid(atlas, guid);
    if (atlas_read_guid(&atlas->view, &uuid, list, atlas->err) < 0)
        return -1;
    uuid_format(&uuid, text);
    for (size_t i = list->len; i > 0; i--) {
        if (strcmp(list->items[i - 1].guid, text) == 0)
            return 0;
    }
    return atlas_no_guid(atlas, guid);
}

/* Whether Postgres takes it for a text. */
static bool atlas_is_text(struct span text)
{
    size_t len;

    for (size_t i = 0; i < text.len; i += len) {
        len = text.data[i] ? utf8_char_len(text.data + i, text.len - i) : 0;
        if (!len)
            return false;
    }
    return true;
}

/* *found: whether there is one. */
static int entities_add_name(struct atlas *atlas, const struct type *type, struct span name,
                             struct entity_list *list, bool *found)
{
    size_t before = list->len;

    if (!atlas_is_text(name))
        return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-029", "qualifiedName is not UTF-8");
    if (atlas_read_name(&atlas->view, type, name, list, atlas->err) < 0)
        return -1;
    *found = list->len > before;
    return 0;
}

int atlas_find_wanted(struct atlas *atlas, struct span type_name, struct span guid,
                      struct entity_list *list)
{
    AUTO(mem_free) char *parameter = NULL;
    const struct type_attribute *key;
    const struct type *type;
    struct span name;
    bool found = false;

    if (!type_name.data)
        return atlas_find_guid(atlas, guid, list);
    type = atlas_entity_type(atlas, type_name);
    if (!type)
        return -1;
    key = entity_key_attribute(type);
    parameter = xasprintf("attr:%s", key ? key->name : "qualifiedName");
    name = key ? atlas_parameter(atlas, parameter) : (struct span){ 0 };
    if (!name.data)
        return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-013",
                           "Type %s with unique attribute %s does not exist", type->def->name,
                           parameter);
    if (entities_add_name(atlas, type, name, list, &found) < 0)
        return -1;
    if (!found)
        return ATLAS_FAULT(atlas, 404, "ATLAS-404-00-009",
                           "Instance %s with unique attribute {%s=%.*s} does not exist",
                           type->def->name, key->name, fault_quote_len(name.len), name.data);
    return 0;
}

/* What an answer about entities is made of. The entities asked for come first in `list`, what they
 * own behind them. */
struct entity_answer {
    struct entity_list list;
    size_t wanted_len;
    struct entity_list others; /* at the other ends of links, by name alone */
    struct atlas_links links;
    bool is_truncated;
    struct tags tags; /* of the list */
};

static void entity_answer_init(struct entity_answer *answer)
{
    *answer = (struct entity_answer){ 0 };
    entity_list_init(&answer->list);
    entity_list_init(&answer->others);
}

static void entity_answer_done(struct entity_answer *answer)
{
    entity_list_done(&answer->list);
    entity_list_done(&answer->others);
    atlas_links_done(&answer->links);
    tags_done(&answer->tags);
}

static void entity_answer_done_auto(struct entity_answer *answer) /* AUTO(entity_answer_done) */
{
    entity_answer_done(answer);
}

/* Whether what is at the other end belongs to the entity. */
static bool atlas_link_owns(const struct entity *entity, const struct atlas_link *link)
{
    struct entity_link shown = { .relationship = link->relationship, .end = link->end };
    const struct type_relation *relation = entity_link_relation(entity, &shown);

    return relation && relation->is_owner;
}

/* Reads the links of the entities from the place `from` on, and what they own, which goes behind
 * them. */
static int entity_answer_expand(struct atlas *atlas, struct entity_answer *answer, size_t from,
                                bool with_owned)
{
    size_t len = answer->list.len - from, first = answer->links.len, owned = 0;
    AUTO(mem_free) int64_t *ids = xcalloc(len, sizeof(*ids));
    AUTO(mem_free) int64_t *others = NULL;

    for (size_t i = 0; i < len; i++)
        ids[i] = answer->list.items[from + i].id;
    if (atlas_read_links(&atlas->view, ids, len, ATLAS_LINKS_MAX - first + 1, &answer->links,
                         atlas->err) < 0)
        return -1;
    if (answer->links.len > ATLAS_LINKS_MAX) {
        json_decref(answer->links.items[ATLAS_LINKS_MAX].attributes);
        answer->links.len = ATLAS_LINKS_MAX;
        answer->is_truncated = true;
    }
    others = xcalloc(answer->links.len - first, sizeof(*others));
    for (size_t i = first; i < answer->links.len; i++) {
        const struct atlas_link *link = &answer->links.items[i];
        const struct entity *entity = entity_list_find(&answer->list, link->entity_id);

        if (with_owned && entity && atlas_link_owns(entity, link))
            others[owned++] = link->other_id;
    }
    return owned ? atlas_read_ids(&atlas->view, others, owned, &answer->list, atlas->err) : 0;
}

/* Relationships, and what they lead to. */
static int entity_answer_read_links(struct atlas *atlas, struct entity_answer *answer)
{
    bool with_owned = !atlas_flag(atlas, "minExtInfo");
    AUTO(mem_free) int64_t *ids = NULL;
    size_t from = 0, len;

    answer->wanted_len = answer->list.len;
    if (atlas_flag(atlas, "ignoreRelationships"))
        return 0;
    while (from < answer->list.len && !answer->is_truncated) {
        len = answer->list.len;
        if (entity_answer_expand(atlas, answer, from, with_owned) < 0)
            return -1;
        from = len;
    }
    ids = xcalloc(answer->links.len, sizeof(*ids));
    for (size_t i = 0; i < answer->links.len; i++)
        ids[i] = answer->links.items[i].other_id;
    return atlas_read_ends(&atlas->view, ids, answer->links.len, &answer->others, atlas->err);
}

static int entity_answer_read_tags(struct atlas *atlas, struct entity_answer *answer)
{
    AUTO(mem_free) int64_t *ids = xcalloc(answer->list.len, sizeof(*ids));

    for (size_t i = 0; i < answer->list.len; i++)
        ids[i] = answer->list.items[i].id;
    return tags_read(&atlas->view, ids, answer->list.len, &answer->tags, atlas->err);
}

static int entity_answer_read(struct atlas *atlas, struct entity_answer *answer)
{
    if (entity_answer_read_links(atlas, answer) < 0)
        return -1;
    return entity_answer_read_tags(atlas, answer);
}

/* The links as JSON wants them; owned. */
static struct entity_link *entity_answer_links(const struct entity_answer *answer, size_t *len)
{
    struct entity_link *links = xcalloc(answer->links.len, sizeof(*links));

    *len = 0;
    for (size_t i = 0; i < answer->links.len; i++) {
        const struct atlas_link *from = &answer->links.items[i];
        const struct entity *other = entity_list_find(&answer->others, from->other_id);
        struct entity_link *to = &links[*len];

        if (!other)
            continue;
        *to = (struct entity_link){ .relationship = from->relationship,
                                    .end = from->end,
                                    .is_deleted = from->is_deleted,
                                    .entity_id = from->entity_id,
                                    .other = other,
                                    .attributes = from->attributes };
        memcpy(to->guid, from->guid, sizeof(to->guid));
        (*len)++;
    }
    return links;
}

/* {"entity": ...} or {"entities": [...]}, with "referredEntities". */
static json_t *entity_answer_json(struct atlas *atlas, const struct entity_answer *answer,
                                  bool is_list)
{
    json_t *json = json_object(), *referred = json_object(), *entities = json_array();
    size_t len;
    AUTO(mem_free) struct entity_link *links = entity_answer_links(answer, &len);

    for (size_t i = 0; i < answer->list.len; i++) {
        const struct entity *entity = &answer->list.items[i];
        json_t *object = atlas_flag(atlas, "ignoreRelationships") ? entity_plain_json(entity)
                                                                  : entity_json(entity, links, len);

        atlas_put_tags(object, &answer->tags, i, entity->type);
        if (i < answer->wanted_len)
            (void)json_array_append_new(entities, object);
        else
            (void)json_object_set_new(referred, entity->guid, object);
    }
    (void)json_object_set_new(json, "referredEntities", referred);
    if (is_list)
        (void)json_object_set(json, "entities", entities);
    else
        (void)json_object_set(json, "entity", json_array_get(entities, 0));
    json_decref(entities);
    if (answer->is_truncated)
        (void)json_object_set_new(json, "truncated", json_true());
    if (answer->tags.is_truncated)
        (void)json_object_set_new(json, "classificationsTruncated", json_true());
    return json;
}

static int entity_header(struct atlas *atlas, struct entity_answer *answer, json_t **header)
{
    const struct entity *entity = &answer->list.items[0];

    if (entity_answer_read_tags(atlas, answer) < 0)
        return -1;
    *header = entity_header_json(entity);
    atlas_put_tags(*header, &answer->tags, 0, entity->type);
    if (answer->tags.is_truncated)
        (void)json_object_set_new(*header, "classificationsTruncated", json_true());
    return 0;
}

/* v2/entity/guid/X[/header], v2/entity/uniqueAttribute/type/T[/header] */
static int entity_one(struct atlas *atlas, json_t **answer)
{
    bool by_guid = span_is(atlas->segments[2], "guid");
    struct span type = by_guid ? (struct span){ 0 } : atlas->segments[4];
    AUTO(entity_answer_done) struct entity_answer entity;

    entity_answer_init(&entity);
    if (atlas_begin_read(atlas) < 0 ||
        atlas_find_wanted(atlas, type, atlas->segments[3], &entity.list) < 0)
        return -1;
    if (span_is(atlas->segments[atlas->segments_len - 1], "header") &&
        atlas->segments_len == (by_guid ? 5 : 6))
        return entity_header(atlas, &entity, answer);
    if (entity_answer_read(atlas, &entity) < 0)
        return -1;
    *answer = entity_answer_json(atlas, &entity, false);
    return 0;
}

static int entity_bulk_finish(struct atlas *atlas, struct entity_answer *entities, json_t **answer)
{
    if (entity_answer_read(atlas, entities) < 0)
        return -1;
    *answer = entity_answer_json(atlas, entities, true);
    return 0;
}

/* v2/entity/bulk?guid=X&guid=Y */
static int entity_bulk(struct atlas *atlas, json_t **answer)
{
    const struct parameters *parameters = &atlas->query->parameters;
    AUTO(entity_answer_done) struct entity_answer entities;
    size_t asked = 0;

    entity_answer_init(&entities);
    if (atlas_begin_read(atlas) < 0)
        return -1;
    for (size_t i = 0; i < parameters->others_len; i++) {
        if (strcmp(parameters->others[i].name, "guid") != 0)
            continue;
        if (++asked > ATLAS_GUIDS_MAX)
            return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-029", "more than %d guids",
                               ATLAS_GUIDS_MAX);
        if (atlas_find_guid(atlas, span_of(parameters->others[i].text), &entities.list) < 0)
            return -1;
    }
    if (!asked)
        return atlas_no_guid(atlas, SPAN_LITERAL(""));
    return entity_bulk_finish(atlas, &entities, answer);
}

/* v2/entity/bulk/uniqueAttribute/type/T?attr_0:qualifiedName=X&attr_1:qualifiedName=Y; names that
 * nobody has are left out, as Atlas does. */
static int entity_bulk_names(struct atlas *atlas, json_t **answer)
{
    const struct parameters *parameters = &atlas->query->parameters;
    const struct type *type = atlas_entity_type(atlas, atlas->segments[5]);
    AUTO(entity_answer_done) struct entity_answer entities;
    size_t asked = 0;

    entity_answer_init(&entities);
    if (!type || atlas_begin_read(atlas) < 0)
        return -1;
    for (size_t i = 0; i < parameters->others_len; i++) {
        const char *name = parameters->others[i].name, *colon = strchr(name, ':');
        bool found;

        if (strncmp(name, "attr_", 5) != 0 || !colon || strcmp(colon, ":qualifiedName") != 0)
            continue;
        if (++asked > ATLAS_GUIDS_MAX)
            return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-029", "more than %d names",
                               ATLAS_GUIDS_MAX);
        if (entities_add_name(atlas, type, span_of(parameters->others[i].text), &entities.list,
                              &found) < 0)
            return -1;
    }
    if (!asked)
        return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-013",
                           "Type %s with unique attribute %s does not exist", type->def->name,
                           "attr_0:qualifiedName");
    return entity_bulk_finish(atlas, &entities, answer);
}

/* ---------------------------------------------------------------------------------------- paths */

/* What is answered where; "*" is any one segment. */
static const struct {
    const char *path;
    unsigned methods; /* enum query_method */
    atlas_run *run;
    bool takes_as_of;
} atlas_paths[] = {
    { "v2/types/typedefs", QUERY_GET, query_types_all, false },
    { "v2/types/typedefs", QUERY_POST | QUERY_PUT | QUERY_DELETE, query_types_change, false },
    { "v2/types/typedefs/headers", QUERY_GET, query_types_all, false },
    { "v2/types/*/name/*", QUERY_GET, query_types_one, false },
    { "v2/types/typedef/name/*", QUERY_DELETE, query_types_delete, false },
    { "v2/types/*/guid/*", QUERY_GET, query_types_one, false },
    { "v2/entity/guid/*", QUERY_GET, entity_one, true },
    { "v2/entity/guid/*/header", QUERY_GET, entity_one, true },
    { "v2/entity/uniqueAttribute/type/*", QUERY_GET, entity_one, true },
    { "v2/entity/uniqueAttribute/type/*/header", QUERY_GET, entity_one, true },
    { "v2/entity/bulk", QUERY_GET, entity_bulk, true },
    { "v2/entity/bulk/uniqueAttribute/type/*", QUERY_GET, entity_bulk_names, true },
    { "v2/entity/guid/*/classifications", QUERY_GET, query_tags, true },
    { "v2/entity/guid/*/classification/*", QUERY_GET, query_tag, true },
    { "v2/entity/uniqueAttribute/type/*/classifications", QUERY_GET, query_tags, true },
    { "v2/entity/uniqueAttribute/type/*/classification/*", QUERY_GET, query_tag, true },
    { "v2/entity/guid/*/classifications", QUERY_POST, query_tags_add, false },
    { "v2/entity/guid/*/classifications", QUERY_PUT, query_tags_update, false },
    { "v2/entity/guid/*/classification/*", QUERY_DELETE, query_tag_remove, false },
    { "v2/entity/uniqueAttribute/type/*/classifications", QUERY_POST, query_tags_add, false },
    { "v2/entity/uniqueAttribute/type/*/classifications", QUERY_PUT, query_tags_update, false },
    { "v2/entity/uniqueAttribute/type/*/classification/*", QUERY_DELETE, query_tag_remove, false },
    { "v2/entity/bulk/classification", QUERY_POST, query_tags_bulk, false },
    { "v2/entity/bulk/setClassifications", QUERY_POST, query_tags_set, false },
    { "v2/entity/bulk/headers", QUERY_GET, query_tags_changed, false },
    { "v2/entity/*/audit", QUERY_GET, query_audit, true },
    { "v2/entity", QUERY_POST, query_entity_write, false },
    { "v2/entity/bulk", QUERY_POST, query_entity_write, false },
    { "v2/entity/bulk", QUERY_DELETE, query_entity_delete_bulk, false },
    { "v2/entity/guid/*", QUERY_PUT, query_entity_write_attribute, false },
    { "v2/entity/guid/*", QUERY_DELETE, query_entity_delete, false },
    { "v2/entity/uniqueAttribute/type/*", QUERY_PUT, query_entity_write_named, false },
    { "v2/entity/uniqueAttribute/type/*", QUERY_DELETE, query_entity_delete_named, false },
    { "v2/relationship", QUERY_POST, query_relationship_make, false },
    { "v2/relationship", QUERY_PUT, query_relationship_change, false },
    { "v2/relationship/guid/*", QUERY_GET, query_relationship, false },
    { "v2/relationship/guid/*", QUERY_DELETE, query_relationship_delete, false },
    { "v2/notification/topic/*", QUERY_POST, query_hook, false },
    { "v2/lineage/*", QUERY_GET, query_lineage, true },
    { "v2/lineage/uniqueAttribute/type/*", QUERY_GET, query_lineage, true },
    { "v2/lineage/*", QUERY_POST, query_lineage_on_demand, true },
    { "v2/search/basic", QUERY_GET | QUERY_POST, query_search_basic, false },
    { "v2/search/attribute", QUERY_GET, query_search_attribute, false },
    { "v2/search/quick", QUERY_GET | QUERY_POST, query_search_quick, false },
    { "v2/search/suggestions", QUERY_GET, query_search_suggestions, false },
    { "admin/version", QUERY_GET, query_admin_version, false },
    { "admin/status", QUERY_GET, query_admin_status, false },
    { "admin/session", QUERY_GET, query_admin_session, false },
    { "admin/metrics", QUERY_GET, query_admin_metrics, false },
};

/* -1: there are more than any path has. */
static int atlas_split(struct atlas *atlas, struct span path)
{
    size_t start = 0;

    for (size_t i = 0; i <= path.len; i++) {
        if (i < path.len && path.data[i] != '/')
            continue;
        if (i > start) {
            if (atlas->segments_len == ATLAS_SEGMENTS_MAX)
                return -1;
            atlas->segments[atlas->segments_len++] = (struct span){ path.data + start, i - start };
        }
        start = i + 1;
    }
    return 0;
}

static bool atlas_matches(const struct atlas *atlas, const char *path)
{
    size_t n = 0;

    for (; *path && n < atlas->segments_len; n++) {
        size_t len = strcspn(path, "/");
        struct span part = { path, len };

        if (!span_is(part, "*") && !span_equal(part, atlas->segments[n]))
            return false;
        path += len + (path[len] == '/');
    }
    return !*path && n == atlas->segments_len;
}

/* The moment that is asked for. */
static int atlas_parse_as_of(struct atlas *atlas, bool takes_as_of)
{
    struct span text = atlas_parameter(atlas, "as_of");
    char *end;
    long long number;

    atlas->as_of_ms = ATLAS_NOW;
    if (!text.data)
        return 0;
    if (!takes_as_of)
        return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-029",
                           "\"as_of\" is for entities, their audit and lineage: this has no "
                           "history");
    errno = 0;
    number = strtoll(text.data, &end, 10);
    if (!text.len || strspn(text.data, "-0123456789") != text.len || *end || errno)
        return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-029",
                           "\"as_of\" must be a whole number of milliseconds: \"%.*s\"",
                           fault_quote_len(text.len), text.data);
    atlas->as_of_ms = number < 0 ? 0 : number;
    return 0;
}

static int atlas_append(const char *data, size_t len, void *out)
{
    buf_append(out, data, len);
    return 0;
}

void atlas_append_json(struct buf *out, const json_t *json)
{
    (void)json_dump_callback(json, atlas_append, out, JSON_COMPACT);
}

int atlas_write(const char *data, size_t len, void *ctx)
{
    struct atlas *atlas = ctx;

    buf_append(atlas->out, data, len);
    return atlas->out->len > QUERY_FLUSH_BYTES || atlas->out->full
               ? query_flush(atlas->query, atlas->out, atlas->err)
               : 0;
}

/* The place of the path in the table, for one of the method if there is one; *methods: those that
 * the path has, 0: it is none. */
static size_t atlas_find_path(const struct atlas *atlas, unsigned method, unsigned *methods)
{
    size_t found = 0;

    for (size_t i = 0; i < LENGTH(atlas_paths); i++) {
        if (!atlas_matches(atlas, atlas_paths[i].path))
            continue;
        *methods |= atlas_paths[i].methods;
        if (atlas_paths[i].methods & method)
            found = i;
    }
    return found;
}

/* As an Allow header has them. */
static const char *atlas_allow(unsigned methods)
{
    static const char *const names[] = {
        "",
        "GET, HEAD",
        "POST",
        "GET, HEAD, POST",
        "PUT",
        "GET, HEAD, PUT",
        "POST, PUT",
        "GET, HEAD, POST, PUT",
        "DELETE",
        "GET, HEAD, DELETE",
        "POST, DELETE",
        "GET, HEAD, POST, DELETE",
        "PUT, DELETE",
        "GET, HEAD, PUT, DELETE",
        "POST, PUT, DELETE",
        "GET, HEAD, POST, PUT, DELETE",
    };

    return names[methods];
}

bool query_atlas_takes(struct span path, unsigned methods, const char **allow)
{
    struct atlas atlas = { 0 };
    unsigned taken = 0;

    if (atlas_split(&atlas, path) == 0)
        (void)atlas_find_path(&atlas, 0, &taken);
    *allow = taken ? atlas_allow(taken) : NULL;
    return taken & methods;
}

bool query_atlas_writes(struct span path, enum query_method method)
{
    struct atlas atlas = { 0 };
    const struct span *segments = atlas.segments;

    if (method != QUERY_POST)
        return method != QUERY_GET;
    if (atlas_split(&atlas, path) < 0 || atlas.segments_len < 3 || !span_is(segments[0], "v2"))
        return true;
    /* searches can be saved in Atlas */
    return !span_is(segments[1], "lineage") &&
           !(span_is(segments[1], "search") && !span_is(segments[2], "saved"));
}

/* With types of the last second, or as new as what is read. */
static int atlas_run_path(struct atlas *atlas, size_t place, json_t **answer)
{
    bool is_fresh = strncmp(atlas_paths[place].path, "v2/", 3) != 0 ||
                    type_cache_is_fresh(atlas->query->type_cache, clock_mono_ms());
    int rc = is_fresh ? 0 : atlas_refresh_types(atlas);

    if (rc == 0)
        rc = atlas_paths[place].run(atlas, answer);
    for (int tries = 1; atlas->is_stale && tries < ATLAS_TRIES_MAX; tries++) {
        atlas->is_stale = false;
        atlas->query->fault = (struct fault){ 0 };
        buf_clear(atlas->out);
        json_decref(*answer);
        *answer = NULL;
        store_pool_give(atlas->pool, TAKE(atlas->conn), true); /* ends the transaction */
        rc = atlas_refresh_types(atlas);
        if (rc == 0)
            rc = atlas_paths[place].run(atlas, answer);
    }
    return rc;
}

int query_atlas(struct store_pool *pool, struct query *query, struct buf *out, unsigned *status,
                struct err *err)
{
    struct atlas atlas = { .query = query, .pool = pool, .out = out, .status = status, .err = err };
    unsigned methods = 0;
    json_auto_t *answer = NULL;
    size_t place;
    int rc = atlas_split(&atlas, query->argument);

    assert(rc == 0); /* query_atlas_takes has found it */
    place = atlas_find_path(&atlas, query->method, &methods);
    assert(methods & query->method);
    if (atlas_parse_as_of(&atlas, atlas_paths[place].takes_as_of) < 0)
        return -1;
    rc = atlas_run_path(&atlas, place, &answer);
    store_pool_give(pool, atlas.conn, rc == 0 || query->fault.status);
    if (rc == 0 && answer)
        rc = json_dump_callback(answer, atlas_write, &atlas, JSON_COMPACT);
    return rc;
}
