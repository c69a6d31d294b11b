/* Classifications of entities, as Atlas's clients add, change, read and remove them. Changes are
 * made under the graph lock, all of a request or none of it. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "atlas/classification.h"
#include "base/mem.h"
#include "collector/query_atlas_internal.h"
#include "collector/store_entity_internal.h"
#include "collector/store_graph_batch_internal.h"
#include "collector/store_internal.h"
#include "collector/store_types_internal.h"

#define TAGS_INVALID "ATLAS-400-00-01A"

/* ------------------------------------------------------------------------------------- reading */

static void tags_append_json(void *list, const struct tag *tag)
{
    (void)json_array_append_new(list, json_loads(tag->json, 0, NULL));
}

void atlas_put_tags(json_t *object, const struct tags *tags, size_t place,
                    const struct type *entity)
{
    json_t *list = json_array();
    struct buf names;

    tags_each(tags, place, entity, tags_append_json, list);
    (void)json_object_set_new(object, "classifications", list);
    if (!json_object_get(object, "classificationNames"))
        return;
    buf_init(&names, SIZE_MAX);
    tags_write_names(tags, place, entity, &names);
    (void)json_object_set_new(object, "classificationNames",
                              json_loadb(names.data, names.len, 0, NULL));
    buf_done(&names);
}

void atlas_head_tags(struct entity_header *header, const struct tags *tags, size_t place,
                     struct buf *lists)
{
    size_t names_len;

    if (tags->first[place] == tags->first[place + 1])
        return;
    buf_clear(lists);
    tags_write_names(tags, place, header->type, lists);
    names_len = lists->len;
    tags_write(tags, place, header->type, lists);
    header->classification_names = (struct span){ lists->data, names_len };
    header->classifications = (struct span){ lists->data + names_len, lists->len - names_len };
}

/* The entity that the path names: behind guid/, or behind uniqueAttribute/type/. */
static int tags_find_entity(struct atlas *atlas, struct entity_list *list)
{
    bool by_guid = span_is(atlas->segments[2], "guid");

    return atlas_find_wanted(atlas, by_guid ? (struct span){ 0 } : atlas->segments[4],
                             atlas->segments[3], list);
}

/* The classifications of that entity as a list, owned. */
static int tags_read_entity(struct atlas *atlas, json_t **list, bool *is_truncated)
{
    AUTO(entity_list_done) struct entity_list entities;
    AUTO(tags_done) struct tags tags = { 0 };

    entity_list_init(&entities);
    if (atlas_begin_read(atlas) < 0 || tags_find_entity(atlas, &entities) < 0 ||
        tags_read(&atlas->view, &entities.items[0].id, 1, &tags, atlas->err) < 0)
        return -1;
    *list = json_array();
    tags_each(&tags, 0, entities.items[0].type, tags_append_json, *list);
    *is_truncated = tags.is_truncated;
    return 0;
}

int query_tags(struct atlas *atlas, json_t **answer)
{
    bool is_truncated;
    json_t *list;

    if (tags_read_entity(atlas, &list, &is_truncated) < 0)
        return -1;
    *answer = json_pack("{s:i, s:I, s:I, s:s}", "startIndex", 0, "pageSize",
                        (json_int_t)json_array_size(list), "totalCount",
                        (json_int_t)json_array_size(list), "sortType", "NONE");
    (void)json_object_set_new(*answer, "list", list);
    if (is_truncated)
        (void)json_object_set_new(*answer, "classificationsTruncated", json_true());
    return 0;
}

/* Its own before one that reaches it. */
int query_tag(struct atlas *atlas, json_t **answer)
{
    struct span name = atlas->segments[atlas->segments_len - 1];
    json_auto_t *list = NULL;
    bool is_truncated;

    if (tags_read_entity(atlas, &list, &is_truncated) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *item = json_array_get(list, i);

        if (!span_is(name, json_string_value(json_object_get(item, "typeName"))))
            continue;
        *answer = json_incref(item);
        return 0;
    }
    return ATLAS_FAULT(atlas, 404, "ATLAS-404-00-008", "Given classification %.*s was invalid",
                       fault_quote_len(name.len), name.data);
}

/* ------------------------------------------------------------------------------------- changing */

/* A change under way. */
struct tagging {
    struct atlas *atlas;
    struct entity_list entities;
    struct tags own;              /* of these entities, as they stand */
    struct classification *given; /* owned; what is to stand */
    size_t given_len;
    struct tag_write *writes; /* owned */
    size_t writes_len;
};

static void tagging_init(struct tagging *tagging, struct atlas *atlas)
{
    *tagging = (struct tagging){ .atlas = atlas };
    entity_list_init(&tagging->entities);
}

static void tagging_done(struct tagging *tagging)
{
    for (size_t i = 0; i < tagging->given_len; i++)
        classification_done(&tagging->given[i]);
    entity_list_done(&tagging->entities);
    tags_done(&tagging->own);
    free(tagging->given);
    free(tagging->writes);
}

static void tagging_done_auto(struct tagging *tagging) /* AUTO(tagging_done) */
{
    tagging_done(tagging);
}

/* Under the lock nothing changes any more: neither the types nor the graph. Like entities, of which
 * half of all requests may be changes. */
static int tagging_begin(struct tagging *tagging)
{
    struct atlas *atlas = tagging->atlas;
    struct query *query = atlas->query;

    if (query_begin_write(query) < 0 || atlas_connect(atlas) < 0 ||
        entity_begin(atlas->conn, query->config->commit_timeout_ms, atlas->err) < 0 ||
        store_types_refresh(atlas->conn, query->type_cache, atlas->err) < 0)
        return -1;
    type_registry_free(query->types);
    query->types = type_cache_get(query->type_cache);
    atlas_view_init(&atlas->view, atlas->conn, query->types, ATLAS_NOW);
    return 0;
}

/* What the entities have themselves. */
static int tagging_read_own(struct tagging *tagging)
{
    struct atlas *atlas = tagging->atlas;
    size_t len = tagging->entities.len;
    AUTO(mem_free) int64_t *ids = xcalloc(len, sizeof(*ids));

    for (size_t i = 0; i < len; i++)
        ids[i] = tagging->entities.items[i].id;
    return tags_read_own(&atlas->view, ids, len, &tagging->own, atlas->err);
}

/* NULL: the entity has none of that name. */
static const struct tag *tagging_own(const struct tagging *tagging, size_t entity, struct span name)
{
    const struct tags *own = &tagging->own;

    for (size_t i = own->first[entity]; i < own->first[entity + 1]; i++) {
        const struct tag *tag = &own->items[own->places[i]];

        if (span_is(name, tag->classification.type->def->name))
            return tag;
    }
    return NULL;
}

static void tagging_add_write(struct tagging *tagging, size_t entity,
                              const struct classification *classification)
{
    tagging->writes =
        xreallocarray(tagging->writes, tagging->writes_len + 1, sizeof(*tagging->writes));
    tagging->writes[tagging->writes_len++] =
        (struct tag_write){ tagging->entities.items[entity].id, classification };
}

typedef int tagging_write(PGconn *conn, const struct tag_write *writes, size_t len,
                          const char *user, int64_t *batch_id, struct err *err);

static int tagging_commit(struct tagging *tagging, tagging_write *write)
{
    struct atlas *atlas = tagging->atlas;
    enum store_result result;
    int64_t batch_id = 0;

    *atlas->status = 204;
    if (!tagging->writes_len)
        return 0; /* the pool rolls back */
    if (write(atlas->conn, tagging->writes, tagging->writes_len, atlas_user(atlas), &batch_id,
              atlas->err) < 0)
        return -1;
    result = graph_batch_commit(atlas->conn, atlas->err);
    if (result == STORE_UNKNOWN)
        return atlas_settle_or_fault(atlas, batch_id, "ask for the classifications");
    return result == STORE_COMMITTED ? 0 : -1;
}

/* ---- to add ---- */

static int tagging_check_add(struct tagging *tagging, size_t entity,
                             const struct classification *classification)
{
    const struct entity *at = &tagging->entities.items[entity];
    const char *name = classification->type->def->name;
    struct type_fault fault;

    if (tagging_own(tagging, entity, span_of(name)))
        return ATLAS_FAULT(tagging->atlas, 400, TAGS_INVALID,
                           "invalid parameters: entity: %s, already associated with "
                           "classification: %s",
                           at->guid, name);
    if (classification_check_entity(atlas_types(tagging->atlas), classification->type, at->type,
                                    at->guid, &fault) < 0)
        return atlas_refuse(tagging->atlas, &fault);
    return 0;
}

/* Reads what is to be added: none of a type twice. */
static int tagging_parse(struct tagging *tagging, const json_t *list)
{
    const struct type_registry *types = atlas_types(tagging->atlas);
    struct type_fault fault;

    tagging->given = xcalloc(json_array_size(list), sizeof(*tagging->given));
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct classification *given = &tagging->given[i];

        if (classification_parse(given, types, json_array_get(list, i), &fault) < 0)
            return atlas_refuse(tagging->atlas, &fault);
        tagging->given_len++;
        for (size_t j = 0; j < i; j++) {
            if (tagging->given[j].type == given->type)
                return ATLAS_FAULT(tagging->atlas, 400, TAGS_INVALID,
                                   "invalid parameters: classification %s is there twice",
                                   given->type->def->name);
        }
    }
    return 0;
}

/* What reaches an entity from another one is not added to it, as in Atlas. */
static int tagging_add(struct tagging *tagging, const json_t *list)
{
    if (tagging_parse(tagging, list) < 0 || tagging_read_own(tagging) < 0)
        return -1;
    for (size_t i = 0; i < tagging->entities.len; i++) {
        for (size_t j = 0; j < tagging->given_len; j++) {
            if (classification_is_propagated(json_array_get(list, j),
                                             tagging->entities.items[i].guid))
                continue;
            if (tagging_check_add(tagging, i, &tagging->given[j]) < 0)
                return -1;
            tagging_add_write(tagging, i, &tagging->given[j]);
        }
    }
    return tagging_commit(tagging, tag_write_put);
}

/* ---- to change ---- */

/* The classification of the entity that is to become what is given. NULL: the fault is set. */
static const struct tag *tagging_find_update(struct tagging *tagging, const json_t *given)
{
    const char *guid = classification_guid(given);
    struct type_fault fault;
    const struct type *type = classification_type(atlas_types(tagging->atlas), given, &fault);
    const struct tag *tag;

    if (!type) {
        (void)atlas_refuse(tagging->atlas, &fault);
        return NULL;
    }
    if (guid && strcasecmp(guid, tagging->entities.items[0].guid) != 0) {
        (void)ATLAS_FAULT(tagging->atlas, 400, "ATLAS-400-00-06B",
                          "Update to classification %s is not allowed from propagated entity",
                          type->def->name);
        return NULL;
    }
    tag = tagging_own(tagging, 0, span_of(type->def->name));
    if (!tag)
        (void)ATLAS_FAULT(tagging->atlas, 400, "ATLAS-400-00-06D",
                          "Classification %s is not associated with entity", type->def->name);
    return tag;
}

/* A copy of what stands, changed by what is given. What was given before in this request it begins
 * with. */
static int tagging_update_one(struct tagging *tagging, const json_t *given)
{
    const struct tag *tag = tagging_find_update(tagging, given);
    struct classification *after = NULL;
    struct type_fault fault;

    if (!tag)
        return -1;
    for (size_t i = 0; i < tagging->given_len; i++) {
        if (tagging->given[i].type == tag->classification.type)
            after = &tagging->given[i];
    }
    if (!after) {
        after = &tagging->given[tagging->given_len++];
        *after = tag->classification;
        after->attributes = json_incref(after->attributes);
        after->periods = json_incref(after->periods);
    }
    if (classification_update(after, atlas_types(tagging->atlas), given, &fault) < 0)
        return atlas_refuse(tagging->atlas, &fault);
    return 0;
}

static int tagging_update(struct tagging *tagging, const json_t *list)
{
    if (tagging_read_own(tagging) < 0)
        return -1;
    tagging->given = xcalloc(json_array_size(list), sizeof(*tagging->given));
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (tagging_update_one(tagging, json_array_get(list, i)) < 0)
            return -1;
    }
    for (size_t i = 0; i < tagging->given_len; i++) {
        const struct classification *given = &tagging->given[i];
        const struct tag *tag = tagging_own(tagging, 0, span_of(given->type->def->name));

        if (!classification_is_same(given, &tag->classification))
            tagging_add_write(tagging, 0, given);
    }
    return tagging_commit(tagging, tag_write_put);
}

/* ---- paths ---- */

/* Of the entity in the path, and a list of classifications. */
static int tagging_run(struct atlas *atlas,
                       int (*change)(struct tagging *tagging, const json_t *list))
{
    json_auto_t *list = atlas_read_small_body(atlas, "send fewer classifications");
    AUTO(tagging_done) struct tagging tagging;

    tagging_init(&tagging, atlas);
    if (!list)
        return -1;
    if (!json_array_size(list))
        return ATLAS_FAULT(atlas, 400, TAGS_INVALID,
                           "invalid parameters: classifications(s) not specified");
    if (tagging_begin(&tagging) < 0 || tags_find_entity(atlas, &tagging.entities) < 0)
        return -1;
    return change(&tagging, list);
}

int query_tags_add(struct atlas *atlas, json_t **answer UNUSED)
{
    return tagging_run(atlas, tagging_add);
}

int query_tags_update(struct atlas *atlas, json_t **answer UNUSED)
{
    return tagging_run(atlas, tagging_update);
}

int query_tag_remove(struct atlas *atlas, json_t **answer UNUSED)
{
    struct span name = atlas->segments[atlas->segments_len - 1];
    struct span from = atlas_parameter(atlas, "associatedEntityGuid");
    AUTO(tagging_done) struct tagging tagging;
    const struct tag *tag;

    tagging_init(&tagging, atlas);
    if (tagging_begin(&tagging) < 0 || tags_find_entity(atlas, &tagging.entities) < 0 ||
        tagging_read_own(&tagging) < 0)
        return -1;
    if (from.len && strcasecmp(from.data, tagging.entities.items[0].guid) != 0)
        return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-87E",
                           "Removal of classification %.*s, which is propagated from entity %.*s, "
                           "is not supported",
                           fault_quote_len(name.len), name.data, fault_quote_len(from.len),
                           from.data);
    if (!tagging.own.len)
        return ATLAS_FAULT(atlas, 404, "ATLAS-404-00-003",
                           "No classifications associated with entity: %s",
                           tagging.entities.items[0].guid);
    tag = tagging_own(&tagging, 0, name);
    if (!tag)
        return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-06D",
                           "Classification %.*s is not associated with entity",
                           fault_quote_len(name.len), name.data);
    tagging_add_write(&tagging, 0, &tag->classification);
    return tagging_commit(&tagging, tag_write_end);
}

/* ---- one for many ---- */

/* All of them in one look-up; that one is not there is a fault. */
static int tagging_find_guids(struct tagging *tagging, const json_t *guids)
{
    struct atlas *atlas = tagging->atlas;
    size_t len = json_array_size(guids);
    AUTO(mem_free) struct uuid *uuids = xcalloc(len, sizeof(*uuids));
    size_t missing;

    for (size_t i = 0; i < len; i++) {
        const char *guid = json_string_value(json_array_get(guids, i));

        if (!guid || uuid_parse(&uuids[i], span_of(guid)) < 0)
            return atlas_no_guid(atlas, span_of(guid ? guid : ""));
    }
    if (atlas_read_guids(&atlas->view, uuids, len, &tagging->entities, &missing, atlas->err) < 0)
        return -1;
    return missing < len
               ? atlas_no_guid(atlas, span_of(json_string_value(json_array_get(guids, missing))))
               : 0;
}

int query_tags_bulk(struct atlas *atlas, json_t **answer UNUSED)
{
    json_auto_t *body = atlas_read_small_body(atlas, "classify fewer entities");
    json_t *given = json_object_get(body, "classification");
    const json_t *guids = json_object_get(body, "entityGuids");
    json_auto_t *list = json_array();
    AUTO(tagging_done) struct tagging tagging;

    tagging_init(&tagging, atlas);
    if (!body)
        return -1;
    if (!json_string_length(json_object_get(given, "typeName")))
        return ATLAS_FAULT(atlas, 400, TAGS_INVALID, "invalid parameters: no classification");
    if (!json_array_size(guids))
        return ATLAS_FAULT(atlas, 400, TAGS_INVALID, "invalid parameters: empty guid list");
    (void)json_array_append(list, given);
    if (tagging_begin(&tagging) < 0 || tagging_find_guids(&tagging, guids) < 0)
        return -1;
    return tagging_add(&tagging, list);
}
