/* Lineage as Atlas's clients ask for it: written as it is read. */
#include <stdlib.h>
#include <string.h>

#include "atlas/entity_json.h"
#include "atlas/lineage_demand.h"
#include "atlas/walk.h"
#include "base/mem.h"
#include "collector/query_atlas_internal.h"

enum { ATLAS_DEPTH_DEFAULT = 3 };

static int lineage_request(struct atlas *atlas, struct walk_request *request)
{
    struct span direction = atlas_parameter(atlas, "direction");
    struct span depth = atlas_parameter(atlas, "depth");
    char *end;
    long number;

    request->depth = ATLAS_DEPTH_DEFAULT;
    request->direction = direction.len ? lineage_direction_by_name(direction) : WALK_BOTH;
    if (!request->direction)
        return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-026",
                           "Invalid lineage query parameters passed direction: %.*s",
                           fault_quote_len(direction.len), direction.data);
    if (!depth.len)
        return 0;
    number = strtol(depth.data, &end, 10);
    if (*end || number < INT32_MIN || number > INT32_MAX)
        return ATLAS_FAULT(atlas, 400, "ATLAS-400-00-026",
                           "Invalid lineage query parameters passed depth: %.*s",
                           fault_quote_len(depth.len), depth.data);
    request->depth = (int)number;
    return 0;
}

/* "guidEntityMap", the nearest first, some at a time. Their guids go to `guids`, "" for those of a
 * type that nobody knows. */
static int lineage_write_entities(struct atlas *atlas, const struct walk_result *result,
                                  const struct tags *tags, char (*guids)[UUID_TEXT_LEN + 1])
{
    AUTO(atlas_headers_done) struct atlas_headers headers = { 0 };
    AUTO(buf_done) struct buf lists;
    const char *separator = "";
    int rc;

    buf_init(&lists, SIZE_MAX);
    if (atlas_headers_open(&headers, &atlas->view, result->entities, result->entities_len,
                           atlas->err) < 0)
        return -1;
    while ((rc = atlas_headers_next(&headers, atlas->err)) > 0) {
        for (int row = 0; row < PQntuples(headers.rows); row++) {
            struct entity_header header;
            size_t place = atlas_headers_get(&headers, row, &header);

            if (!header.type)
                continue;
            memcpy(guids[place], header.guid, sizeof(header.guid));
            buf_append_text(atlas->out, separator);
            buf_append_char(atlas->out, '"');
            buf_append(atlas->out, header.guid, UUID_TEXT_LEN);
            buf_append_text(atlas->out, "\":");
            atlas_head_tags(&header, tags, place, &lists);
            entity_header_write(&header, atlas->out);
            separator = ",";
            if (atlas_write("", 0, atlas) < 0)
                return -1;
        }
    }
    return rc;
}

static int lineage_write_relations(struct atlas *atlas, const struct walk_result *result,
                                   char (*guids)[UUID_TEXT_LEN + 1])
{
    struct buf *out = atlas->out;
    const char *separator = "{\"fromEntityId\":\"";

    for (size_t i = 0; i < result->relations_len; i++) {
        const char *from = guids[result->ends[i][0]], *to = guids[result->ends[i][1]];
        char guid[UUID_TEXT_LEN + 1];

        if (!*from || !*to)
            continue;
        uuid_format(&result->relations[i].guid, guid);
        buf_append_text(out, separator);
        buf_append(out, from, UUID_TEXT_LEN);
        buf_append_text(out, "\",\"toEntityId\":\"");
        buf_append(out, to, UUID_TEXT_LEN);
        buf_append_text(out, "\",\"relationshipId\":\"");
        buf_append(out, guid, UUID_TEXT_LEN);
        buf_append_text(out, "\"}");
        separator = ",{\"fromEntityId\":\"";
        if (atlas_write("", 0, atlas) < 0)
            return -1;
    }
    return 0;
}

/* "relationsOnDemand": entities that have more relations than are shown. */
static void lineage_write_more(struct atlas *atlas, const struct walk_result *result,
                               char (*guids)[UUID_TEXT_LEN + 1])
{
    const char *separator = "";

    for (size_t i = 0; result->counts && i < result->entities_len; i++) {
        const struct walk_count *count = &result->counts[i];

        if (!*guids[i] || (!count->more_inputs && !count->more_outputs))
            continue;
        buf_append_fmt(atlas->out,
                       "%s\"%s\":{\"hasMoreInputs\":%s,\"hasMoreOutputs\":%s,"
                       "\"inputRelationsCount\":%zu,\"outputRelationsCount\":%zu}",
                       separator, guids[i], count->more_inputs ? "true" : "false",
                       count->more_outputs ? "true" : "false", count->inputs, count->outputs);
        separator = ",";
    }
}

/* `payload`: what was asked for on demand, or NULL. */
static int lineage_write(struct atlas *atlas, const struct entity *base,
                         const struct walk_request *request, const struct walk_result *result,
                         const json_t *payload)
{
    struct buf *out = atlas->out;
    AUTO(mem_free) void *guids = xcalloc(result->entities_len, UUID_TEXT_LEN + 1);
    AUTO(tags_done) struct tags tags = { 0 };

    if (tags_read(&atlas->view, result->entities, result->entities_len, &tags, atlas->err) < 0)
        return -1;
    buf_append_fmt(out,
                   "{\"baseEntityGuid\":\"%s\",\"lineageDirection\":\"%s\",\"lineageDepth\":%d,"
                   "\"guidEntityMap\":{",
                   base->guid, lineage_direction_name(request->direction), request->depth);
    if (lineage_write_entities(atlas, result, &tags, guids) < 0)
        return -1;
    buf_append_text(out, "},\"relations\":[");
    if (lineage_write_relations(atlas, result, guids) < 0)
        return -1;
    buf_append_text(out, "],\"relationsOnDemand\":{");
    lineage_write_more(atlas, result, guids);
    buf_append_text(out, payload ? "},\"lineageOnDemandPayload\":" : "}");
    if (payload)
        atlas_append_json(out, payload);
    buf_append_fmt(out, ",\"truncated\":%s%s}", result->truncated ? "true" : "false",
                   tags.is_truncated ? ",\"classificationsTruncated\":true" : "");
    return 0;
}

static int lineage_walk(struct atlas *atlas, const struct entity *base,
                        const struct walk_request *request, const json_t *payload)
{
    struct walk_result result;
    int rc;

    if (walk_run(request, atlas_walk_step, &atlas->view, &result, atlas->err) < 0)
        return -1;
    rc = lineage_write(atlas, base, request, &result, payload);
    walk_result_done(&result);
    return rc;
}

/* Where the walk begins. */
static int lineage_find_start(struct atlas *atlas, struct entity_list *list,
                              struct walk_request *request)
{
    struct span type = atlas->segments_len == 5 ? atlas->segments[4] : (struct span){ 0 };
    const struct entity *base;

    if (atlas_begin_read(atlas) < 0 || atlas_find_wanted(atlas, type, atlas->segments[2], list) < 0)
        return -1;
    base = &list->items[0];
    request->start = base->id;
    request->start_is_process =
        type_is_a(base->type, type_by_name(atlas_types(atlas), SPAN_LITERAL("Process")));
    request->relations_max = (size_t)atlas->query->config->lineage_relations_max;
    if (!request->start_is_process &&
        !type_is_a(base->type, type_by_name(atlas_types(atlas), SPAN_LITERAL("DataSet"))))
        return ATLAS_FAULT(
            atlas, 404, "ATLAS-404-00-011",
            "Given instance guid %s with type %s is not a valid lineage entity type.", base->guid,
            base->type->def->name);
    return 0;
}

/* v2/lineage/X, v2/lineage/uniqueAttribute/type/T; written as it is read. */
int query_lineage(struct atlas *atlas, json_t **answer UNUSED)
{
    AUTO(entity_list_done) struct entity_list list;
    struct walk_request request = { 0 };

    entity_list_init(&list);
    if (lineage_request(atlas, &request) < 0 || lineage_find_start(atlas, &list, &request) < 0)
        return -1;
    return lineage_walk(atlas, &list.items[0], &request, NULL);
}

/* ---- on demand ---- */

static int lineage_compare_exceptions(const void *a, const void *b)
{
    const struct walk_exception *one = a, *two = b;

    return (one->id > two->id) - (one->id < two->id);
}

/* The limits of those that the demand names; *exceptions is owned. */
static int lineage_find_limits(struct atlas *atlas, const struct lineage_demand *demand,
                               struct walk_exception **exceptions, size_t *len)
{
    AUTO(mem_free) struct uuid *guids = xcalloc(demand->len, sizeof(*guids));
    AUTO(entity_list_done) struct entity_list list;
    size_t missing;

    entity_list_init(&list);
    *len = 0;
    for (size_t i = 0; i < demand->len; i++)
        guids[i] = demand->items[i].guid;
    if (demand->len &&
        atlas_read_guids(&atlas->view, guids, demand->len, &list, &missing, atlas->err) < 0)
        return -1;
    *exceptions = xcalloc(list.len, sizeof(**exceptions));
    for (size_t i = 0; i < list.len; i++) {
        struct lineage_constraints constraints;
        struct uuid guid;

        if (uuid_parse(&guid, span_of(list.items[i].guid)) < 0)
            continue;
        constraints = lineage_demand_of(demand, &guid);
        (*exceptions)[(*len)++] =
            (struct walk_exception){ list.items[i].id, lineage_limit(&constraints) };
    }
    if (*len)
        qsort(*exceptions, *len, sizeof(**exceptions), lineage_compare_exceptions);
    return 0;
}

static int lineage_walk_demand(struct atlas *atlas, const struct lineage_demand *demand)
{
    AUTO(mem_free) struct walk_exception *exceptions = NULL;
    AUTO(entity_list_done) struct entity_list list;
    struct walk_limits limits = { .usual = { LINEAGE_DEMAND_RELATIONS, LINEAGE_DEMAND_RELATIONS } };
    struct walk_request request = { .limits = &limits };
    struct lineage_constraints start;
    json_auto_t *payload = NULL;
    struct uuid guid;

    entity_list_init(&list);
    if (lineage_find_start(atlas, &list, &request) < 0 ||
        lineage_find_limits(atlas, demand, &exceptions, &limits.exceptions_len) < 0)
        return -1;
    if (uuid_parse(&guid, span_of(list.items[0].guid)) < 0)
        return atlas_no_guid(atlas, atlas->segments[2]);
    limits.exceptions = exceptions;
    start = lineage_demand_of(demand, &guid);
    request.direction = start.direction;
    request.depth = start.depth;
    payload = lineage_demand_json(demand, &guid);
    return lineage_walk(atlas, &list.items[0], &request, payload);
}

/* POST v2/lineage/X: of each entity a few relations, of those that a client wants more more. */
int query_lineage_on_demand(struct atlas *atlas, json_t **answer UNUSED)
{
    AUTO(lineage_demand_done) struct lineage_demand demand = { 0 };
    struct lineage_fault fault;
    json_auto_t *body = atlas->query->body.len ? atlas_read_small_body(atlas, "ask for fewer guids")
                                               : json_object();

    if (!body)
        return -1;
    if (lineage_demand_parse(&demand, body, &fault) < 0)
        return ATLAS_FAULT(atlas, 400, fault.code, "%s", fault.message);
    return lineage_walk_demand(atlas, &demand);
}
