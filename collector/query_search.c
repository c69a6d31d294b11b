/* Basic and attribute search, as Atlas's clients ask and are answered. Entities are written one by
 * one, so that memory does not grow with the answer. */
#include <jansson.h>
#include <string.h>

#include "atlas/entity_json.h"
#include "atlas/search.h"
#include "collector/query_atlas_internal.h"
#include "collector/query_watch_internal.h"
#include "collector/store_search_internal.h"

enum { SEARCH_BODY_BYTES_MAX = 1024 * 1024 };

/* ----------------------------------------------------------------------------------- the search */

/* The parameters of a GET as the body of a POST has them: all of them texts. The last name is
 * NULL. */
static int search_from_query(struct atlas *atlas, const char *const *names, json_t *parameters)
{
    for (; *names; names++) {
        struct span text = atlas_parameter(atlas, *names);

        if (text.data &&
            json_object_set_new(parameters, *names, json_stringn(text.data, text.len)) < 0)
            return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-029", "%s is not UTF-8", *names);
    }
    return 0;
}

static json_t *search_from_body(struct atlas *atlas)
{
    struct span body = atlas->query->body;
    json_error_t error;
    json_t *parameters;

    if (body.len > SEARCH_BODY_BYTES_MAX) {
        (void)ATLAS_FAULT(atlas, 413, "too_large", "the body is larger than %d bytes",
                          SEARCH_BODY_BYTES_MAX);
        return NULL;
    }
    parameters = json_loadb(body.data ? body.data : "", body.len, JSON_REJECT_DUPLICATES, &error);
    if (!parameters)
        (void)ATLAS_FAULT(atlas, 400, "ATLAS-400-00-029", "line %d, column %d: %s", error.line,
                          error.column, error.text);
    return parameters;
}

/* ----------------------------------------------------------------------------------- the answer */

/* An answer under way. */
struct search_answer {
    struct atlas *atlas;
    const struct search *search;
    size_t entities_len;
    bool is_truncated; /* their classifications */
};

static int search_add(void *ctx, const struct entity *entity, const struct tags *tags, size_t place,
                      struct err *err)
{
    struct search_answer *answer = ctx;
    struct buf *out = answer->atlas->out;
    json_t *header = entity_header_json(entity);
    json_t *attributes = json_object_get(header, "attributes");

    for (size_t i = 0; i < answer->search->attributes_len; i++) {
        const char *name = answer->search->attributes[i];
        json_t *value = json_object_get(entity->attributes, name);

        if (value)
            (void)json_object_set(attributes, name, value);
    }
    atlas_put_tags(header, tags, place, entity->type);
    answer->is_truncated |= tags->is_truncated;
    buf_append_text(out, answer->entities_len++ ? "," : ",\"entities\":[");
    atlas_append_json(out, header);
    json_decref(header);
    if (out->full)
        return err_set(err, ERR_INPUT, "the attributes of %s are larger than an answer",
                       entity->guid);
    return out->len > QUERY_FLUSH_BYTES ? query_flush(answer->atlas->query, out, err) : 0;
}

static int search_run(struct atlas *atlas, const struct search *search)
{
    struct search_answer answer = { .atlas = atlas, .search = search };
    struct query_watch watch;
    int64_t count = 0;
    int rc;

    query_watch_begin(&watch, atlas->query, atlas->conn);
    rc = store_search_begin(atlas->conn, atlas->err);
    if (rc == 0)
        rc = store_search(atlas->conn, atlas_types(atlas), atlas->query->tag_cache, search,
                          search_add, &answer, &count, atlas->err);
    query_watch_end(&watch, false);
    if (watch.is_cancelled) {
        store_pool_give(atlas->pool, atlas->conn, false);
        atlas->conn = NULL;
    }
    if (rc < 0 && !watch.is_cancelled && store_is_cancelled(atlas->err))
        return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-029",
                           "the search takes too long: name a type, or words or names that begin "
                           "with what is looked for");
    if (rc < 0)
        return -1;
    buf_append_text(atlas->out, answer.entities_len ? "]" : "");
    if (answer.is_truncated)
        buf_append_text(atlas->out, ",\"classificationsTruncated\":true");
    buf_append_text(atlas->out, ",\"approximateCount\":");
    buf_append_i64(atlas->out, count);
    buf_append_char(atlas->out, '}');
    return 0;
}

/* Without an entity there is no "entities", as in Atlas. */
static int search_answer(struct atlas *atlas, const json_t *parameters)
{
    struct search_fault fault;
    struct search search;
    const json_t *query;
    int rc = -1;

    if (search_parse(&search, atlas_types(atlas), parameters, &fault) < 0)
        return ATLAS_FAULT(atlas, 400, fault.code, "%s", fault.message);
    query = json_object_get(search.parameters, "query");
    buf_append_text(atlas->out, "{\"queryType\":\"BASIC\",\"searchParameters\":");
    atlas_append_json(atlas->out, search.parameters);
    if (query) {
        buf_append_text(atlas->out, ",\"queryText\":");
        buf_append_json(atlas->out, span_of(json_string_value(query)));
    }
    if (atlas_connect(atlas) == 0)
        rc = search_run(atlas, &search);
    search_done(&search);
    return rc;
}

int query_search_basic(struct atlas *atlas, json_t **answer)
{
    static const char *const names[] = { "query",
                                         "typeName",
                                         "classification",
                                         "includeSubTypes",
                                         "includeSubClassifications",
                                         "sortBy",
                                         "sortOrder",
                                         "excludeDeletedEntities",
                                         "limit",
                                         "offset",
                                         "marker",
                                         "excludeHeaderAttributes",
                                         NULL };
    json_auto_t *parameters = NULL;

    (void)answer;
    if (atlas->query->method == QUERY_POST) {
        parameters = search_from_body(atlas);
        return parameters ? search_answer(atlas, parameters) : -1;
    }
    parameters = json_object();
    return search_from_query(atlas, names, parameters) < 0 ? -1 : search_answer(atlas, parameters);
}

/* Those whose attribute begins with a text. */
int query_search_attribute(struct atlas *atlas, json_t **answer)
{
    static const char *const names[] = { "typeName", "limit", "offset", NULL };
    struct span name = atlas_parameter(atlas, "attrName");
    struct span prefix = atlas_parameter(atlas, "attrValuePrefix");
    json_auto_t *parameters = json_object();
    json_t *filter;

    (void)answer;
    if (!name.len && !prefix.len)
        return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-01A",
                           "invalid parameters: attrName : %s, attrValue: %s for attribute search.",
                           name.data ? "" : "null", prefix.data ? "" : "null");
    filter = json_pack("{s:s, s:s, s:s}", "attributeName", name.len ? name.data : "qualifiedName",
                       "operator", "startsWith", "attributeValue", prefix.data ? prefix.data : "");
    if (!filter)
        return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-029",
                           "attrName or attrValuePrefix is not UTF-8");
    (void)json_object_set_new(parameters, "entityFilters", filter);
    return search_from_query(atlas, names, parameters) < 0 ? -1 : search_answer(atlas, parameters);
}
