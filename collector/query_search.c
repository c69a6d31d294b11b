/* Basic, attribute and quick search, as Atlas's clients ask and are answered. Entities are written
 * one by one, so that memory does not grow with the answer. */
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
    json_t *metrics; /* borrowed; NULL: nothing is counted by type and so on */
    size_t entities_len;
    bool is_truncated; /* their classifications */
    int64_t count;     /* without limit and offset */
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

/* What is asked of Postgres, in the transaction of a search. */
typedef int search_work(void *ctx, struct err *err);

/* Ends when the client leaves, or after a while. */
static int search_watch(struct atlas *atlas, search_work *work, void *ctx)
{
    struct query_watch watch;
    int rc;

    if (atlas_connect(atlas) < 0)
        return -1;
    query_watch_begin(&watch, atlas->query, atlas->conn);
    rc = store_search_begin(atlas->conn, atlas->err);
    if (rc == 0)
        rc = work(ctx, atlas->err);
    query_watch_end(&watch, false);
    if (watch.is_cancelled) {
        store_pool_give(atlas->pool, atlas->conn, false);
        atlas->conn = NULL;
    }
    if (rc < 0 && !watch.is_cancelled && store_is_cancelled(atlas->err))
        return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-029",
                           "the search takes too long: name a type, or words or names that begin "
                           "with what is looked for");
    return rc;
}

/* ---- counts, for quick search ---- */

static const char *const search_facets[] = {
    [SEARCH_BY_TYPE] = "__typeName",
    [SEARCH_BY_STATE] = "__state",
    [SEARCH_BY_OWNER] = "Asset.owner",
};

static void search_count_service(json_t *services, const char *service, int64_t count)
{
    json_t *entry;
    size_t i;

    json_array_foreach(services, i, entry)
    {
        json_t *sum = json_object_get(entry, "count");

        if (strcmp(json_string_value(json_object_get(entry, "name")), service) == 0) {
            (void)json_integer_set(sum, json_integer_value(sum) + count);
            return;
        }
    }
    (void)json_array_append_new(services, json_pack("{s:s, s:I}", "name", service, "count",
                                                    (json_int_t)count));
}

static void search_counted_one(void *ctx, enum search_facet facet, struct span name, int64_t count)
{
    const struct search_answer *answer = ctx;
    json_t *list = json_object_get(answer->metrics, search_facets[facet]);
    const struct type *type =
        facet == SEARCH_BY_TYPE ? type_by_name(atlas_types(answer->atlas), name) : NULL;

    (void)json_array_append_new(list, json_pack("{s:s%, s:I}", "name", name.data, name.len, "count",
                                                (json_int_t)count));
    if (type && type->def->service)
        search_count_service(json_object_get(answer->metrics, "ServiceType"), type->def->service,
                             count);
}

static json_t *search_metrics_json(void)
{
    json_t *metrics = json_object();

    for (size_t i = 0; i < LENGTH(search_facets); i++)
        (void)json_object_set_new(metrics, search_facets[i], json_array());
    (void)json_object_set_new(metrics, "ServiceType", json_array());
    return metrics;
}

static int search_find(void *ctx, struct err *err)
{
    struct search_answer *answer = ctx;
    struct atlas *atlas = answer->atlas;

    if (answer->metrics &&
        store_search_count(atlas->conn, answer->search, search_counted_one, answer, err) < 0)
        return -1;
    return store_search(atlas->conn, atlas_types(atlas), atlas->query->tag_cache, answer->search,
                        search_add, answer, &answer->count, err);
}

/* Without an entity there is no "entities", as in Atlas. */
static int search_write(struct search_answer *answer)
{
    struct buf *out = answer->atlas->out;
    const json_t *query = json_object_get(answer->search->parameters, "query");

    buf_append_text(out, "{\"queryType\":\"BASIC\",\"searchParameters\":");
    atlas_append_json(out, answer->search->parameters);
    if (query) {
        buf_append_text(out, ",\"queryText\":");
        buf_append_json(out, span_of(json_string_value(query)));
    }
    if (search_watch(answer->atlas, search_find, answer) < 0)
        return -1;
    buf_append_text(out, answer->entities_len ? "]" : "");
    if (answer->is_truncated)
        buf_append_text(out, ",\"classificationsTruncated\":true");
    buf_append_text(out, ",\"approximateCount\":");
    buf_append_i64(out, answer->count);
    buf_append_char(out, '}');
    return 0;
}

static int search_answer(struct atlas *atlas, const json_t *parameters)
{
    struct search_fault fault;
    struct search search;
    struct search_answer answer = { .atlas = atlas, .search = &search };
    int rc;

    if (search_parse(&search, atlas_types(atlas), parameters, &fault) < 0)
        return ATLAS_FAULT(atlas, 400, fault.code, "%s", fault.message);
    rc = search_write(&answer);
    search_done(&search);
    return rc;
}

/* {"searchResults": ..., "aggregationMetrics": ...} */
static int search_answer_quick(struct atlas *atlas, const json_t *parameters)
{
    json_auto_t *metrics = search_metrics_json();
    struct search_fault fault;
    struct search search;
    struct search_answer answer = { .atlas = atlas, .search = &search, .metrics = metrics };
    int rc;

    if (search_parse_quick(&search, atlas_types(atlas), parameters, &fault) < 0)
        return ATLAS_FAULT(atlas, 400, fault.code, "%s", fault.message);
    buf_append_text(atlas->out, "{\"searchResults\":");
    rc = search_write(&answer);
    search_done(&search);
    if (rc < 0)
        return -1;
    buf_append_text(atlas->out, ",\"aggregationMetrics\":");
    atlas_append_json(atlas->out, metrics);
    buf_append_char(atlas->out, '}');
    return 0;
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

int query_search_quick(struct atlas *atlas, json_t **answer UNUSED)
{
    static const char *const names[] = { "query",     "typeName", "excludeDeletedEntities",
                                         "limit",     "offset",   "sortBy",
                                         "sortOrder", NULL };
    json_auto_t *parameters = NULL;

    if (atlas->query->method == QUERY_POST) {
        parameters = search_from_body(atlas);
        return parameters ? search_answer_quick(atlas, parameters) : -1;
    }
    parameters = json_object();
    return search_from_query(atlas, names, parameters) < 0 ? -1
                                                           : search_answer_quick(atlas, parameters);
}

/* ---------------------------------------------------------------------------------- suggestions */

struct search_suggestions {
    struct atlas *atlas;
    const char *prefix, *field;
    json_t *words; /* borrowed */
};

static void search_suggested_one(void *ctx, struct span word)
{
    const struct search_suggestions *suggestions = ctx;

    (void)json_array_append_new(suggestions->words, json_stringn(word.data, word.len));
}

static int search_suggest(void *ctx, struct err *err)
{
    struct search_suggestions *suggestions = ctx;

    return store_search_suggest(suggestions->atlas->conn, suggestions->prefix, suggestions->field,
                                search_suggested_one, suggestions, err);
}

/* Words that begin with what somebody types. */
int query_search_suggestions(struct atlas *atlas, json_t **answer)
{
    struct span prefix = atlas_parameter(atlas, "prefixString");
    struct span field = atlas_parameter(atlas, "fieldName");
    json_auto_t *words = json_array();
    struct search_suggestions suggestions = { atlas, prefix.data, field.len ? field.data : NULL,
                                              words };

    if (!prefix.len)
        return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-01A", "invalid parameters: prefixString : %s",
                           prefix.data ? "" : "null");
    if (suggestions.field && !store_search_suggests(suggestions.field))
        return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-029", "nothing is suggested of fieldName %.*s",
                           fault_quote_len(field.len), field.data);
    if (search_watch(atlas, search_suggest, &suggestions) < 0)
        return -1;
    *answer = json_pack("{s:O, s:s}", "suggestions", words, "prefixString", prefix.data);
    if (!*answer)
        return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-029", "prefixString is not UTF-8");
    if (suggestions.field)
        (void)json_object_set_new(*answer, "fieldName", json_string(suggestions.field));
    return 0;
}
