/* GET /v1/impact: what an entity has fed. The graph is walked first; then its deployments come a
 * few at a time, and are written as they come. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/clock.h"
#include "base/mem.h"
#include "collector/queries.h"
#include "collector/query_watch_internal.h"
#include "collector/store_impact_internal.h"
#include "collector/store_pool.h"
#include "collector/store_types_internal.h"

enum {
    IMPACT_LIMIT_MAX = 100000,
    IMPACT_ROWS_AT_ONCE = 1000, /* deployments that are read together */
    IMPACT_CURSOR_BYTES_MAX = 64,
};

struct impact_query {
    const struct type *classification; /* NULL: an entity is asked for, by the next two */
    const struct type *type;
    struct span qualified_name; /* borrowed */
    int64_t start_ms;
    int64_t end_ms; /* inclusive */
    int64_t as_of_ms;
    bool is_direct;
    int64_t limit; /* 0: none */
    struct span cursor;
    int64_t batch_id;        /* of the graph, as the cursor says; ATLAS_NOW */
    int64_t events_batch_id; /* of events, likewise */
    int64_t after;           /* an entity_id, likewise; 0 */
};

struct impact_answer {
    struct query *query;
    const struct impact_query *asked;
    struct buf *out;
    struct atlas_view view;
    struct impact_scope scope;
    int64_t moment_ms;      /* that is answered of */
    int64_t graph_batch_id; /* what a cursor keeps */
    uint64_t written;
    int64_t last_id;
};

/* ---- what is asked for */

static int impact_parse_name(struct impact_query *asked, const struct query *query,
                             struct fault *fault)
{
    struct span type = parameters_get(&query->parameters, "type");
    struct span name = parameters_get(&query->parameters, "qualifiedName");

    if (!type.data)
        return fault_set(fault, 400, "missing_parameter", "type",
                         "\"type\" is needed: the entity's type, as hive_table");
    if (!name.data)
        return fault_set(fault, 400, "missing_parameter", "qualifiedName",
                         "\"qualifiedName\" is needed: the entity's name, as "
                         "default.telco_churn@cm");
    asked->qualified_name = name;
    asked->type = type_by_name(query->types, type);
    if (asked->type && asked->type->def->category == TYPE_ENTITY)
        return 0;
    return fault_set(fault, 400, "invalid_parameter", "type",
                     "no type of entities is called \"%.*s\"", fault_quote_len(type.len),
                     type.data);
}

/* All entities that are classified so, in the place of one. */
static int impact_parse_classification(struct impact_query *asked, const struct query *query,
                                       struct span name, struct fault *fault)
{
    if (parameters_get(&query->parameters, "type").data ||
        parameters_get(&query->parameters, "qualifiedName").data)
        return fault_set(fault, 400, "invalid_parameter", "classification",
                         "\"classification\" stands in the place of \"type\" and "
                         "\"qualifiedName\"");
    asked->classification = type_by_name(query->types, name);
    if (asked->classification && asked->classification->def->category == TYPE_CLASSIFICATION)
        return 0;
    return fault_set(fault, 400, "invalid_parameter", "classification",
                     "no classification is called \"%.*s\"", fault_quote_len(name.len), name.data);
}

static int impact_parse_what(struct impact_query *asked, const struct query *query,
                             struct fault *fault)
{
    struct span classification = parameters_get(&query->parameters, "classification");

    return classification.data ? impact_parse_classification(asked, query, classification, fault)
                               : impact_parse_name(asked, query, fault);
}

static int impact_parse_span(struct impact_query *asked, const struct parameters *parameters,
                             struct fault *fault)
{
    asked->start_ms = INT64_MIN;
    asked->end_ms = INT64_MAX;
    asked->as_of_ms = ATLAS_NOW;
    if (parameters_get_i64(parameters, "start_timestamp_ms", INT64_MIN, INT64_MAX, &asked->start_ms,
                           fault) < 0 ||
        parameters_get_i64(parameters, "end_timestamp_ms", INT64_MIN, INT64_MAX, &asked->end_ms,
                           fault) < 0 ||
        parameters_get_i64(parameters, "as_of", 0, INT64_MAX, &asked->as_of_ms, fault) < 0)
        return -1;
    if (asked->end_ms >= asked->start_ms)
        return 0;
    return fault_set(fault, 400, "invalid_parameter", "end_timestamp_ms",
                     "the end (%" PRId64 ") is before the start (%" PRId64 ")", asked->end_ms,
                     asked->start_ms);
}

/* Everything that decides which deployments there are, and what is said of them. */
static uint64_t impact_hash(const struct impact_query *asked)
{
    const int64_t numbers[] = { asked->start_ms, asked->end_ms, asked->as_of_ms, asked->is_direct };
    const struct type *type = asked->classification ? asked->classification : asked->type;
    XXH3_state_t state;

    (void)XXH3_64bits_reset(&state);
    (void)XXH3_64bits_update(&state, type->def->name, strlen(type->def->name) + 1);
    if (!asked->classification)
        (void)XXH3_64bits_update(&state, asked->qualified_name.data, asked->qualified_name.len);
    (void)XXH3_64bits_update(&state, numbers, sizeof(numbers));
    return XXH3_64bits_digest(&state);
}

/* "2-<batch of the graph>-<batch of events>-<entity>-<hash>": opaque to clients. */
static int impact_parse_cursor(struct impact_query *asked, struct fault *fault)
{
    uint64_t numbers[5];
    const char *at = asked->cursor.data;
    char *end;

    for (size_t i = 0; i < LENGTH(numbers); i++) {
        numbers[i] = strtoull(at, &end, 16);
        if (end == at || *end != (i + 1 < LENGTH(numbers) ? '-' : '\0') || *at == '-' || *at == '+')
            return fault_set(fault, 400, "invalid_parameter", "cursor",
                             "not a cursor: take \"nextCursor\" of the page before as it is");
        at = end + 1;
    }
    if (numbers[0] != 2 || numbers[1] > INT64_MAX || numbers[2] > INT64_MAX ||
        numbers[3] > INT64_MAX)
        return fault_set(fault, 400, "invalid_parameter", "cursor",
                         "not a cursor: take \"nextCursor\" of the page before as it is");
    if (numbers[4] != impact_hash(asked))
        return fault_set(fault, 400, "invalid_parameter", "cursor",
                         "the cursor belongs to another query: only \"limit\" may change from page "
                         "to page");
    asked->batch_id = (int64_t)numbers[1];
    asked->events_batch_id = (int64_t)numbers[2];
    asked->after = (int64_t)numbers[3];
    return 0;
}

static int impact_parse(struct impact_query *asked, const struct query *query, struct fault *fault)
{
    struct span direct = parameters_get(&query->parameters, "direct");

    *asked = (struct impact_query){ .batch_id = ATLAS_NOW, .events_batch_id = ATLAS_NOW };
    if (impact_parse_what(asked, query, fault) < 0 ||
        impact_parse_span(asked, &query->parameters, fault) < 0)
        return -1;
    asked->is_direct = direct.data && span_is(direct, "true");
    if (direct.data && !asked->is_direct && !span_is(direct, "false"))
        return fault_set(fault, 400, "invalid_parameter", "direct",
                         "\"direct\" must be true or false: \"%.*s\"", fault_quote_len(direct.len),
                         direct.data);
    if (parameters_get_i64(&query->parameters, "limit", 1, IMPACT_LIMIT_MAX, &asked->limit, fault) <
        0)
        return -1;
    asked->cursor = parameters_get(&query->parameters, "cursor");
    if (!asked->cursor.data)
        return 0;
    if (!asked->limit)
        return fault_set(fault, 400, "invalid_parameter", "cursor", "\"cursor\" needs \"limit\"");
    return impact_parse_cursor(asked, fault);
}

/* ---- what is answered */

static void impact_write_ms(struct buf *out, int64_t ms, int64_t none)
{
    if (ms == none)
        buf_append_text(out, "null");
    else
        buf_append_i64(out, ms);
}

/* The intervals as far as they are in the span, both of whose ends are in it; of an interval the
 * end is not. What comes behind the moment that is answered of nobody knows. */
static void impact_write_service(const struct impact_answer *answer, const struct impact_row *row)
{
    const struct impact_query *asked = answer->asked;
    struct buf *out = answer->out;
    const char *separator = "";

    buf_append_text(out, ",\"inService\":[");
    for (size_t i = 0; i < row->in_service_len; i++) {
        struct impact_interval interval = row->in_service[i];

        if (interval.from_ms < asked->start_ms)
            interval.from_ms = asked->start_ms;
        if (interval.from_ms > asked->end_ms || interval.from_ms >= interval.to_ms)
            continue;
        if (interval.to_ms > asked->end_ms &&
            (interval.to_ms != INT64_MAX || asked->end_ms <= answer->moment_ms))
            interval.to_ms = asked->end_ms;
        buf_append_fmt(out, "%s{\"fromMs\":%" PRId64 ",\"toMs\":", separator, interval.from_ms);
        impact_write_ms(out, interval.to_ms, INT64_MAX);
        buf_append_char(out, '}');
        separator = ",";
    }
    buf_append_char(out, ']');
}

static void impact_write_text(struct buf *out, const char *before, const char *text)
{
    buf_append_text(out, before);
    buf_append_json(out, span_of(text));
}

/* Up to "latest" and its brace. */
static void impact_write_row(const struct impact_answer *answer, const struct impact_row *row)
{
    struct buf *out = answer->out;

    impact_write_text(out,
                      answer->written ? ",{\"modelDeploymentCrn\":" : "{\"modelDeploymentCrn\":",
                      row->crn);
    impact_write_text(out, ",\"modelBuildCrn\":", row->build_crn);
    impact_write_text(out, ",\"modelCrn\":", row->model_crn);
    impact_write_text(out, ",\"guid\":", row->guid);
    impact_write_text(out, ",\"modelName\":", row->model_name);
    buf_append_fmt(out, ",\"buildNumber\":%s", row->build_number ? row->build_number : "null");
    impact_write_text(out, ",\"status\":", row->status);
    buf_append_fmt(out, ",\"deleted\":%s,\"hops\":%" PRId32, row->is_deleted ? "true" : "false",
                   row->place.hops);
    impact_write_service(answer, row);
    buf_append_fmt(out, ",\"predictions\":%" PRId64 ",\"lastPredictionMs\":", row->predictions);
    impact_write_ms(out, row->last_ms, INT64_MIN);
    buf_append_text(out, ",\"latest\":{");
}

static int impact_write_rows(struct impact_answer *answer, const struct impact_rows *rows,
                             struct impact_latest *latest, struct err *err)
{
    for (size_t i = 0; i < rows->len; i++) {
        impact_write_row(answer, &rows->items[i]);
        if (impact_latest_write(latest, i, answer->out, err) < 0)
            return -1;
        buf_append_text(answer->out, "}}");
        answer->written++;
        answer->last_id = rows->items[i].place.entity_id;
        if ((answer->out->len > QUERY_FLUSH_BYTES || answer->out->full) &&
            query_flush(answer->query, answer->out, err) < 0)
            return -1;
    }
    return 0;
}

static int impact_answer_some(struct impact_answer *answer, const struct impact_place *places,
                              size_t len, struct err *err)
{
    AUTO(impact_rows_done) struct impact_rows rows = { 0 };
    struct impact_latest latest;
    int rc;

    if (impact_read_rows(&answer->view, answer->query->config->atlas_namespace, places, len, &rows,
                         err) < 0 ||
        impact_count(&answer->scope, &rows, err) < 0)
        return -1;
    rc = impact_latest_open(&latest, &answer->scope, &rows, err);
    if (rc == 0)
        rc = impact_write_rows(answer, &rows, &latest, err);
    impact_latest_done(&latest);
    return rc;
}

static void impact_write_end(const struct impact_answer *answer, bool has_more)
{
    struct buf *out = answer->out;

    buf_append_text(out, "],\"truncatedBeforeMs\":");
    impact_write_ms(out, answer->scope.truncated_before_ms, INT64_MIN);
    buf_append_text(out, ",\"nextCursor\":");
    if (has_more)
        buf_append_fmt(out, "\"2-%" PRIx64 "-%" PRIx64 "-%" PRIx64 "-%016" PRIx64 "\"}",
                       (uint64_t)answer->graph_batch_id, (uint64_t)answer->scope.batch_id,
                       (uint64_t)answer->last_id, impact_hash(answer->asked));
    else
        buf_append_text(out, "null}");
}

/* The deployments behind the cursor, as many as a page holds. */
static int impact_answer_write(struct impact_answer *answer, const struct impact_reach *reach,
                               struct err *err)
{
    const struct impact_query *asked = answer->asked;
    size_t from = 0, to = reach->len;

    while (from < reach->len && reach->items[from].entity_id <= asked->after)
        from++;
    if (asked->limit && (size_t)asked->limit < to - from)
        to = from + (size_t)asked->limit;
    buf_append_text(answer->out, "\"deployments\":[");
    for (size_t at = from; at < to; at += IMPACT_ROWS_AT_ONCE) {
        size_t len = to - at < IMPACT_ROWS_AT_ONCE ? to - at : IMPACT_ROWS_AT_ONCE;

        if (impact_answer_some(answer, reach->items + at, len, err) < 0)
            return -1;
    }
    impact_write_end(answer, to < reach->len);
    return 0;
}

/* ---- how it is found */

static int impact_find(struct impact_answer *answer, struct entity_list *list, struct err *err)
{
    const struct impact_query *asked = answer->asked;
    const struct type *type;

    if (atlas_read_name(&answer->view, asked->type, asked->qualified_name, list, err) < 0)
        return -1;
    if (list->len == 0)
        return fault_set(&answer->query->fault, 404, "not_found", "qualifiedName",
                         "no %s is called \"%.*s\"", asked->type->def->name,
                         fault_quote_len(asked->qualified_name.len), asked->qualified_name.data);
    type = list->items[0].type;
    if (type_is_a(type, type_by_name(answer->view.types, SPAN_LITERAL("DataSet"))) ||
        type_is_a(type, type_by_name(answer->view.types, SPAN_LITERAL("Process"))))
        return 0;
    return fault_set(&answer->query->fault, 400, "invalid_parameter", "type",
                     "%s has no lineage: only data sets and processes have", type->def->name);
}

/* Behind the last moment up to which a span can be counted its end is of no use. Where that leaves
 * nothing of the span the next such moment is told. */
static int impact_check_end(struct impact_answer *answer)
{
    const struct impact_scope *scope = &answer->scope;
    int64_t last_ms = cover_last(&scope->horizons, scope->to_ms);

    if (scope->from_ms >= scope->to_ms || last_ms == scope->to_ms || !scope->has_rollups ||
        scope->batch_id != ATLAS_NOW)
        return 0;
    if (last_ms <= scope->from_ms)
        last_ms = cover_first(&scope->horizons, scope->to_ms);
    return fault_set(&answer->query->fault, 400, "invalid_parameter", "end_timestamp_ms",
                     "rows of that time are dropped, only whole windows can be counted: the end "
                     "can be %" PRId64,
                     last_ms - 1);
}

/* The transaction: one snapshot of graph and metrics. */
static int impact_begin(struct impact_answer *answer, PGconn *conn, struct err *err)
{
    const struct impact_query *asked = answer->asked;
    int64_t batch_id = asked->batch_id, events_batch_id = asked->events_batch_id;

    answer->moment_ms = clock_now_ms();
    if (asked->as_of_ms < answer->moment_ms)
        answer->moment_ms = asked->as_of_ms;
    if (batch_id == ATLAS_NOW && atlas_find_batch(conn, asked->as_of_ms, &batch_id, err) < 0)
        return -1;
    if (events_batch_id == ATLAS_NOW &&
        impact_find_batch(conn, asked->as_of_ms, &events_batch_id, err) < 0)
        return -1;
    atlas_view_init(&answer->view, conn, answer->query->types, batch_id);
    answer->view.tags = answer->query->tag_cache;
    answer->scope = (struct impact_scope){
        .conn = conn,
        .has_rollups = answer->query->config->rollups,
        .from_ms = asked->start_ms < 0 ? 0 : asked->start_ms,
        .to_ms = asked->end_ms < STORE_MS_MAX ? asked->end_ms + 1 : STORE_MS_MAX,
        .batch_id = events_batch_id,
    };
    if (impact_scope_begin(&answer->scope, err) < 0 || impact_check_end(answer) < 0)
        return -1;
    answer->graph_batch_id = batch_id;
    if (batch_id != ATLAS_NOW || !asked->limit)
        return 0;
    return atlas_find_newest(conn, &answer->graph_batch_id, err);
}

/* What the entity has fed, and the entity. */
static int impact_of_entity(struct impact_answer *answer, struct impact_reach *reach,
                            struct err *err)
{
    AUTO(entity_list_done) struct entity_list list;
    const struct entity *entity;

    entity_list_init(&list);
    if (impact_find(answer, &list, err) < 0 ||
        impact_walk(&answer->view, &list.items[0], answer->asked->is_direct, reach, err) < 0)
        return -1;
    entity = &list.items[0];
    impact_write_text(answer->out, "{\"entity\":{\"guid\":", entity->guid);
    impact_write_text(answer->out, ",\"typeName\":", entity->type->def->name);
    impact_write_text(answer->out, ",\"qualifiedName\":", entity->qualified_name);
    buf_append_text(answer->out, "},");
    return 0;
}

/* The same of the classification and all that inherit from it. */
static int impact_of_classification(struct impact_answer *answer, struct impact_reach *reach,
                                    struct err *err)
{
    const struct type *type = answer->asked->classification;
    size_t len = type->sub_types.len, entities;
    AUTO(mem_free) const struct type **kinds = xcalloc(len + 1, sizeof(*kinds));

    kinds[0] = type;
    for (size_t i = 0; i < len; i++)
        kinds[i + 1] = type->sub_types.items[i];
    if (impact_walk_tags(&answer->view, &(struct type_list){ kinds, len + 1 },
                         answer->asked->is_direct, reach, &entities, err) < 0)
        return -1;
    impact_write_text(answer->out, "{\"classification\":{\"typeName\":", type->def->name);
    buf_append_fmt(answer->out, ",\"entities\":%zu},", entities);
    return 0;
}

static int impact_run(struct impact_answer *answer, PGconn *conn, struct err *err)
{
    AUTO(impact_reach_done) struct impact_reach reach = { 0 };

    if (impact_begin(answer, conn, err) < 0 ||
        (answer->asked->classification ? impact_of_classification(answer, &reach, err)
                                       : impact_of_entity(answer, &reach, err)) < 0)
        return -1;
    return impact_answer_write(answer, &reach, err);
}

/* The question is about the types of the last second. */
static int impact_freshen_types(struct store_pool *pool, struct query *query, struct err *err)
{
    PGconn *conn;
    int rc;

    if (type_cache_is_fresh(query->type_cache, clock_mono_ms()))
        return 0;
    conn = store_pool_take(pool, err);
    rc = conn ? store_types_refresh(conn, query->type_cache, err) : -1;
    store_pool_give(pool, conn, rc == 0);
    type_registry_free(query->types);
    query->types = type_cache_get(query->type_cache);
    return rc;
}

int query_impact(struct store_pool *pool, struct query *query, struct buf *out, unsigned *status,
                 struct err *err)
{
    struct impact_query asked;
    struct impact_answer answer = { .query = query, .asked = &asked, .out = out };
    struct query_watch watch;
    PGconn *conn;
    int rc;

    (void)status;
    if (impact_freshen_types(pool, query, err) < 0 ||
        impact_parse(&asked, query, &query->fault) < 0)
        return -1;
    conn = store_pool_take(pool, err);
    if (!conn)
        return -1;
    query_watch_begin(&watch, query, conn);
    rc = impact_run(&answer, conn, err);
    query_watch_end(&watch, false);
    store_pool_give(pool, conn, (rc == 0 || query->fault.status) && !watch.is_cancelled);
    return rc;
}
