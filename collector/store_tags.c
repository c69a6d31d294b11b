#include "collector/store_tags_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atlas/reach.h"
#include "base/mem.h"
#include "collector/store_internal.h"
#include "collector/tag_cache.h"

enum {
    TAGS_IDS_AT_ONCE = 20000, /* in one question of a step */
    TAGS_FORWARD_MAX = 1000,  /* entities: where more are classified one answer does not ask what
                               * all reach */
    TAGS_KEPT_MAX = 50000,    /* likewise to keep it */
    TAGS_FAR = 10000,         /* edges of one answer that are worth keeping what all reach */
    TAGS_OFTEN = 100000,      /* edges of all answers of a moment that are */
    TAGS_FREE_BYTES = 256 * 1024, /* that are not asked of the budget */
};

/* ------------------------------------------------------------------------------------ the graph */

/* A part of the graph that grows by steps, against the edges or along them. */
struct tags_side {
    const struct atlas_view *view;
    bool is_forward;
    struct propagation *graph; /* owned */
    size_t expanded;           /* of its entities so many are left behind */
    bool is_full;              /* there are more edges than are looked at */
    size_t reserved;           /* in the budget */
};

static bool tags_side_ended(const struct tags_side *side)
{
    size_t len;

    (void)propagation_ids(side->graph, &len);
    return side->expanded == len && !side->is_full;
}

static size_t tags_side_frontier(const struct tags_side *side)
{
    size_t len;

    (void)propagation_ids(side->graph, &len);
    return len - side->expanded;
}

#define TAGS_BUILD_DEPLOYMENT "ml_build_deployment" /* metrics alone may know of it */

/* Names of the relationships over which classifications pass from their first end to the second, or
 * the reverse. */
static void tags_add_kinds(struct store_array *array, const struct type_registry *types,
                           enum type_propagation way)
{
    struct type_list all = type_registry_types(types);

    for (size_t i = 0; i < all.len; i++) {
        const struct type_def *def = all.items[i]->def;

        if (def->category == TYPE_RELATIONSHIP &&
            (def->propagation == way || def->propagation == TYPE_PROPAGATE_BOTH ||
             (way == TYPE_ONE_TO_TWO && strcmp(def->name, TAGS_BUILD_DEPLOYMENT) == 0)))
            store_array_add_text(array, span_of(def->name));
    }
}

/* From, to, whether it is lineage, whether a process is there. */
static void tags_write_step(struct buf *sql, const struct tags_side *side)
{
    static const char columns[] =
        "type IN ('dataset_process_inputs', 'process_dataset_outputs', '" TAGS_BUILD_DEPLOYMENT
        "'), type = 'dataset_process_inputs'"
        " FROM relationship WHERE NOT is_deleted AND";

    for (size_t i = 0; i < side->view->parts_len; i++)
        buf_append_fmt(sql,
                       "%sSELECT end1, end2, %s %s AND type = ANY ($2) AND %s = ANY ($1)"
                       " UNION ALL SELECT end2, end1, %s %s AND type = ANY ($3) AND %s = ANY ($1)",
                       i ? " UNION ALL " : "", columns, side->view->parts[i],
                       side->is_forward ? "end1" : "end2", columns, side->view->parts[i],
                       side->is_forward ? "end2" : "end1");
    buf_append_text(sql, " LIMIT $4::bigint");
}

/* Asks for the edges of some entities of the frontier, from that place on. */
static int tags_ask_step(const struct tags_side *side, size_t from, size_t len, struct err *err)
{
    AUTO(store_array_done) struct store_array ids, along, against;
    AUTO(buf_done) struct buf sql;
    struct store_params params = { 0 };
    PGconn *conn = side->view->conn;
    char limit[24];
    size_t all;

    store_array_init(&ids, STORE_OID_INT8);
    store_array_init(&along, STORE_OID_TEXT);
    store_array_init(&against, STORE_OID_TEXT);
    buf_init(&sql, SIZE_MAX);
    for (size_t i = 0; i < len; i++)
        store_array_add_i64(&ids, propagation_ids(side->graph, &all)[from + i]);
    tags_add_kinds(&along, side->view->types, TYPE_ONE_TO_TWO);
    tags_add_kinds(&against, side->view->types, TYPE_TWO_TO_ONE);
    (void)snprintf(limit, sizeof(limit), "%zu",
                   TAGS_EDGES_MAX - propagation_edges(side->graph) + 1);
    store_param_binary(&params, store_array_end(&ids));
    store_param_binary(&params, store_array_end(&along));
    store_param_binary(&params, store_array_end(&against));
    store_param_text(&params, limit);
    tags_write_step(&sql, side);
    if (PQsendQueryParams(conn, buf_text(&sql), params.len, NULL, params.values, params.lengths,
                          params.formats, 1) != 1)
        return store_fail(conn, NULL, "walk classifications", err);
    (void)PQsetSingleRowMode(conn);
    return 0;
}

/* Room for the graph as it is now. */
static int tags_reserve(struct tags_side *side, struct err *err)
{
    size_t bytes = propagation_bytes(side->graph);

    if (bytes <= TAGS_FREE_BYTES || bytes <= side->reserved || !side->view->tags)
        return 0;
    if (!tag_cache_reserve(side->view->tags, bytes - side->reserved))
        return err_set(err, ERR_RETRY,
                       "the memory budget is full: the walk over classifications found no room");
    side->reserved = bytes;
    return 0;
}

static int tags_add_edge(struct tags_side *side, const PGresult *row, struct err *err)
{
    unsigned flags = (store_get_bool(row, 0, 2) ? PROPAGATION_LINEAGE : 0) |
                     (store_get_bool(row, 0, 3) ? PROPAGATION_INTO_PROCESS : 0);

    side->is_full = side->is_full || propagation_edges(side->graph) == TAGS_EDGES_MAX;
    if (side->is_full)
        return 0;
    propagation_add_edge(side->graph, store_get_i64(row, 0, 0), store_get_i64(row, 0, 1), flags);
    return tags_reserve(side, err);
}

/* The rows one by one: what is kept of an edge is a tenth of what libpq holds of it. */
static int tags_take_step(struct tags_side *side, struct err *err)
{
    PGconn *conn = side->view->conn;
    PGresult *result;
    int rc = 0;

    while ((result = PQgetResult(conn))) {
        ExecStatusType status = PQresultStatus(result);

        if (rc == 0 && status == PGRES_SINGLE_TUPLE)
            rc = tags_add_edge(side, result, err);
        else if (rc == 0 && status != PGRES_TUPLES_OK)
            rc = store_fail(conn, result, "walk classifications", err);
        PQclear(result);
    }
    return rc;
}

static int tags_step(struct tags_side *side, struct err *err)
{
    size_t end = side->expanded + tags_side_frontier(side);

    while (side->expanded < end && !side->is_full) {
        size_t len =
            end - side->expanded < TAGS_IDS_AT_ONCE ? end - side->expanded : TAGS_IDS_AT_ONCE;

        if (tags_ask_step(side, side->expanded, len, err) < 0 || tags_take_step(side, err) < 0)
            return -1;
        side->expanded += len;
    }
    return 0;
}

/* Nothing passes over those that are deleted. */
static int tags_block(struct tags_side *side, struct err *err)
{
    AUTO(mem_free)
    char *sql = xasprintf("SELECT entity_id FROM entity WHERE is_deleted AND %s"
                          " AND entity_id = ANY ($1)",
                          side->view->stands);
    size_t len;
    const int64_t *all = propagation_ids(side->graph, &len);

    for (size_t from = 0; from < len; from += TAGS_IDS_AT_ONCE) {
        AUTO(store_array_done) struct store_array ids;
        AUTO(store_result_free) PGresult *result = NULL;
        struct store_params params = { 0 };

        store_array_init(&ids, STORE_OID_INT8);
        for (size_t i = from; i < len && i < from + TAGS_IDS_AT_ONCE; i++)
            store_array_add_i64(&ids, all[i]);
        store_param_binary(&params, store_array_end(&ids));
        result = store_query_binary(side->view->conn, sql, &params, "read deleted", err);
        if (!result)
            return -1;
        for (int row = 0; row < PQntuples(result); row++)
            propagation_block(side->graph, store_get_i64(result, row, 0));
    }
    return 0;
}

/* --------------------------------------------------------------------------- what entities have */

/* An entity that is classified itself. */
struct tags_origin {
    int64_t id;
    bool passes, passes_restricted; /* it has some that pass, and some that do not over lineage */
};

/* A question under way. */
struct tags_work {
    const struct atlas_view *view;
    const int64_t *ids;
    size_t len;
    struct tags *tags;
    struct tags_origin *classified; /* owned; in the order of their ids */
    size_t classified_len;
    bool knows_classified; /* these are all */
    bool any_deleted;      /* some entity is or was */
    struct tags_side forward, backward;
    struct tags_side *side; /* of the two the one that is used */
    struct tag_moment moment;
    struct tag_reach *kept; /* owned reference: what all reach. NULL: the sides have to tell */
    bool keeps;             /* what is found may be kept */
    size_t spent;           /* of the edges walked over so many are told to the others */
    struct tags_pair {
        uint32_t target, item;
    } * pairs; /* owned */
    size_t pairs_len, pairs_cap;
};

static void tags_sides_init(struct tags_work *work)
{
    work->forward =
        (struct tags_side){ .view = work->view, .is_forward = true, .graph = propagation_new() };
    work->backward = (struct tags_side){ .view = work->view, .graph = propagation_new() };
    for (size_t i = 0; i < work->len; i++)
        (void)propagation_add(work->backward.graph, work->ids[i]);
}

static void tags_work_done(struct tags_work *work)
{
    struct tag_cache *cache = work->view->tags;

    propagation_free(work->forward.graph);
    propagation_free(work->backward.graph);
    if (cache)
        tag_cache_release(cache, work->forward.reserved + work->backward.reserved);
    if (work->kept)
        tag_cache_give(cache, work->kept);
    free(work->classified);
    free(work->pairs);
}

/* Who is classified at all, as far as there are no more than `max`; the first look, and mostly the
 * only one. */
static int tags_look(struct tags_work *work, size_t max, struct err *err)
{
    AUTO(mem_free)
    char *sql = xasprintf("SELECT entity_id, bool_or(propagates AND NOT is_restricted),"
                          " bool_or(propagates AND is_restricted), EXISTS (SELECT FROM entity WHERE"
                          " is_deleted) FROM classification WHERE %s GROUP BY entity_id ORDER BY"
                          " entity_id LIMIT %zu",
                          work->view->stands, max + 1);
    AUTO(store_result_free)
    PGresult *result = store_query_binary(work->view->conn, sql, NULL, "look for tags", err);
    size_t len = result ? (size_t)PQntuples(result) : 0;

    if (!result)
        return -1;
    work->knows_classified = len <= max;
    work->classified_len = len <= max ? len : max;
    work->any_deleted = len && store_get_bool(result, 0, 3);
    work->classified =
        xreallocarray(work->classified, work->classified_len + 1, sizeof(*work->classified));
    for (size_t i = 0; i < work->classified_len; i++) {
        struct tags_origin *origin = &work->classified[i];

        *origin = (struct tags_origin){ store_get_i64(result, (int)i, 0),
                                        store_get_bool(result, (int)i, 1),
                                        store_get_bool(result, (int)i, 2) };
        if (origin->passes || origin->passes_restricted)
            (void)propagation_add(work->forward.graph, origin->id);
    }
    return 0;
}

/* ---- what all reach, for others too ---- */

/* Behind the last step forward: what is found is kept, and used. */
static int tags_keep(struct tags_work *work, struct err *err)
{
    struct tag_cache *cache = work->view->tags;
    size_t len = work->classified_len, sources_len = 0;
    AUTO(mem_free) struct propagation_source *sources = NULL;
    AUTO(mem_free) int64_t *own = NULL;
    struct reach *reach;
    size_t bytes;

    work->keeps = false;
    if (work->any_deleted && tags_block(&work->forward, err) < 0)
        return -1;
    sources = xcalloc(2 * len, sizeof(*sources));
    own = xcalloc(len, sizeof(*own));
    for (size_t i = 0; i < len; i++) {
        const struct tags_origin *origin = &work->classified[i];

        own[i] = origin->id;
        if (origin->passes)
            sources[sources_len++] = (struct propagation_source){ .id = origin->id };
        if (origin->passes_restricted)
            sources[sources_len++] =
                (struct propagation_source){ .id = origin->id, .is_restricted = true };
    }
    bytes = reach_make_bytes(work->forward.graph, sources_len, len, tag_cache_bytes_max(cache));
    if (!tag_cache_reserve(cache, bytes))
        return 0; /* the sides tell it as well */
    reach =
        reach_make(work->forward.graph, sources, sources_len, own, len, tag_cache_bytes_max(cache));
    tag_cache_release(cache, bytes);
    if (!reach) {
        tag_cache_bar(cache, &work->moment);
        return 0;
    }
    work->forward.graph = propagation_new(); /* what it was is in the reach */
    work->kept = tag_cache_put(cache, &work->moment, reach);
    return 0;
}

/* Forward to the end. */
static int tags_find_all(struct tags_work *work, struct err *err)
{
    struct tags_side *forward = &work->forward;

    if (!work->knows_classified) {
        if (tags_look(work, TAGS_KEPT_MAX, err) < 0)
            return -1;
        forward->is_full = !work->knows_classified;
    }
    while (!tags_side_ended(forward) && !forward->is_full) {
        if (tags_step(forward, err) < 0)
            return -1;
    }
    if (!forward->is_full)
        return tags_keep(work, err);
    work->keeps = false;
    tag_cache_bar(work->view->tags, &work->moment);
    return 0;
}

/* What others have kept. */
static void tags_take_kept(struct tags_work *work)
{
    if (work->keeps)
        work->keeps =
            tag_cache_take(work->view->tags, &work->moment, &work->kept) != TAG_CACHE_TOO_LARGE;
}

/* Where this answer walks far, or all do together, one of them finds what all reach. Those that
 * walk far wait for it. */
static int tags_share(struct tags_work *work, struct err *err)
{
    struct tag_cache *cache = work->view->tags;
    size_t walked =
        propagation_edges(work->forward.graph) + propagation_edges(work->backward.graph);
    size_t all;
    int rc = 0;

    if (!work->keeps || walked == work->spent)
        return 0;
    all = tag_cache_spend(cache, &work->moment, walked - work->spent);
    work->spent = walked;
    if ((walked <= TAGS_FAR && all <= TAGS_OFTEN) || !tag_cache_enter(cache, walked > TAGS_FAR))
        return 0;
    tags_take_kept(work);
    if (work->keeps && !work->kept)
        rc = tags_find_all(work, err);
    tag_cache_leave(cache);
    return rc;
}

/* From both ends, where there is less to do, until one has come to an end: that is work->side; or
 * until it is known what all reach. */
static int tags_walk(struct tags_work *work, struct err *err)
{
    struct tags_side *forward = &work->forward, *backward = &work->backward;

    work->side = backward;
    forward->is_full = !work->knows_classified;
    while (!tags_side_ended(forward) && !tags_side_ended(backward)) {
        struct tags_side *next = backward;

        if (tags_share(work, err) < 0)
            return -1;
        if (work->kept)
            return 0;
        if (forward->is_full && backward->is_full) {
            work->tags->is_truncated = true;
            return 0;
        }
        if (backward->is_full ||
            (!forward->is_full && tags_side_frontier(forward) < tags_side_frontier(backward)))
            next = forward;
        if (tags_step(next, err) < 0)
            return -1;
    }
    if (!tags_side_ended(forward))
        return 0;
    work->side = forward;
    return work->keeps ? tags_keep(work, err) : 0;
}

/* ---- what there is ---- */

static int tags_add(struct tags *tags, const PGresult *result, int row, struct err *err)
{
    struct span attributes = store_get_span(result, row, 2);
    struct span periods = store_get_span(result, row, 3);
    struct tag tag = { .entity_id = store_get_i64(result, row, 0),
                       .classification = { .type = type_by_name(tags->types,
                                                                store_get_span(result, row, 1)),
                                           .propagates = store_get_bool(result, row, 4),
                                           .removes_propagations = store_get_bool(result, row, 5),
                                           .is_restricted = store_get_bool(result, row, 6) },
                       .is_deleted = store_get_bool(result, row, 8) };
    json_auto_t *json = NULL;

    if (!tag.classification.type)
        return 0;
    tags->bytes += attributes.len + periods.len;
    if (tags->bytes > ATLAS_ATTRIBUTES_BYTES_MAX)
        return err_set(err, ERR_INPUT,
                       "the classifications have more than %d bytes of attributes: ask for fewer "
                       "entities at a time",
                       ATLAS_ATTRIBUTES_BYTES_MAX);
    tag.classification.attributes = json_loadb(attributes.data, attributes.len, 0, NULL);
    if (periods.data)
        tag.classification.periods = json_loadb(periods.data, periods.len, 0, NULL);
    (void)snprintf(tag.guid, sizeof(tag.guid), "%s", PQgetvalue(result, row, 7));
    json = classification_json(&tag.classification, tag.guid, tag.is_deleted);
    tag.json = json_dumps(json, JSON_COMPACT);
    tags->items = xreallocarray(tags->items, tags->len + 1, sizeof(*tags->items));
    tags->items[tags->len++] = tag;
    return 0;
}

/* The classifications of these entities. */
static int tags_load(const struct atlas_view *view, struct store_array *ids, struct tags *tags,
                     struct err *err)
{
    AUTO(mem_free)
    char *sql =
        xasprintf("SELECT c.entity_id, c.type, c.attributes::text, c.periods::text, c.propagates,"
                  " c.removes_propagations, c.is_restricted, e.guid, e.is_deleted"
                  " FROM (SELECT * FROM classification WHERE %1$s AND entity_id = ANY ($1)) AS c"
                  " CROSS JOIN LATERAL (SELECT guid, is_deleted FROM entity"
                  "  WHERE entity_id = c.entity_id AND %1$s) AS e"
                  " ORDER BY c.created_batch, c.entity_id, c.type",
                  view->stands);
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    int rc = 0;

    store_param_binary(&params, store_array_end(ids));
    result = store_query_params(view->conn, sql, &params, "read classifications", err);
    for (int row = 0; rc == 0 && result && row < PQntuples(result); row++)
        rc = tags_add(tags, result, row, err);
    return result ? rc : -1;
}

/* Those of all that were asked for, and of all from which some may come. */
static int tags_load_all(struct tags_work *work, const struct tags_side *side, struct err *err)
{
    AUTO(store_array_done) struct store_array ids;
    size_t len;
    const int64_t *all = propagation_ids(work->backward.graph, &len);

    store_array_init(&ids, STORE_OID_INT8);
    for (size_t i = 0; !work->knows_classified && i < len; i++)
        store_array_add_i64(&ids, all[i]);
    for (size_t i = 0; work->knows_classified && i < work->classified_len; i++) {
        int64_t id = work->classified[i].id;

        if (propagation_knows(side->graph, id) || propagation_knows(work->backward.graph, id))
            store_array_add_i64(&ids, id);
    }
    return tags_load(work->view, &ids, work->tags, err);
}

static void tags_add_pair(struct tags_work *work, uint32_t target, uint32_t item)
{
    if (work->pairs_len == TAGS_SHOWN_MAX) {
        work->tags->is_truncated = true;
        return;
    }
    if (work->pairs_len == work->pairs_cap) {
        work->pairs_cap = work->pairs_cap ? 2 * work->pairs_cap : 64;
        work->pairs = xreallocarray(work->pairs, work->pairs_cap, sizeof(*work->pairs));
    }
    work->pairs[work->pairs_len++] = (struct tags_pair){ target, item };
}

/* Its place among those that were asked for: they stand first in the graph that began with them.
 * More than there are: it is none of them. */
static size_t tags_target(const struct tags_work *work, int64_t id)
{
    const struct propagation *graph = work->backward.graph;

    return propagation_knows(graph, id) ? propagation_place_of(graph, id) : SIZE_MAX;
}

/* What reaches it from elsewhere; its own it has anyway. */
static void tags_found(void *ctx, uint32_t mark, size_t place)
{
    struct tags_work *work = ctx;
    size_t len;
    int64_t id = propagation_ids(work->side->graph, &len)[place];
    size_t target = tags_target(work, id);

    if (target < work->len && id != work->tags->items[mark].entity_id)
        tags_add_pair(work, (uint32_t)target, mark);
}

/* The pairs in the order of their targets. */
static void tags_sort(struct tags_work *work)
{
    struct tags *tags = work->tags;
    size_t *next = xcalloc(work->len + 1, sizeof(*next));

    tags->places = xcalloc(work->pairs_len, sizeof(*tags->places));
    for (size_t i = 0; i < work->pairs_len; i++)
        tags->first[work->pairs[i].target + 1]++;
    for (size_t i = 0; i < work->len; i++)
        tags->first[i + 1] += tags->first[i];
    memcpy(next, tags->first, (work->len + 1) * sizeof(*next));
    for (size_t i = 0; i < work->pairs_len; i++)
        tags->places[next[work->pairs[i].target]++] = work->pairs[i].item;
    free(next);
}

/* What entities have themselves, before anything else. */
static void tags_add_own(struct tags_work *work)
{
    for (size_t i = 0; i < work->tags->len; i++) {
        size_t target = tags_target(work, work->tags->items[i].entity_id);

        if (target < work->len)
            tags_add_pair(work, (uint32_t)target, (uint32_t)i);
    }
}

static void tags_spread(struct tags_work *work)
{
    struct tags_side *side = work->side;
    struct tags *tags = work->tags;
    AUTO(mem_free)
    struct propagation_source *sources = xcalloc(tags->len, sizeof(*sources));
    size_t len = 0;

    for (size_t i = 0; i < tags->len; i++) {
        const struct tag *tag = &tags->items[i];

        if (tag->classification.propagates && !tag->is_deleted &&
            propagation_knows(side->graph, tag->entity_id))
            sources[len++] = (struct propagation_source){ tag->entity_id, (uint32_t)i,
                                                          tag->classification.is_restricted };
    }
    propagation_run(side->graph, sources, len, tags_found, work);
}

/* ---- what is kept, used ---- */

/* Of the sources that are kept. */
struct tags_kept {
    const struct reach *reach;
    const struct tags *tags;
    bool *used;      /* by source, as is `first`; owned, as are all */
    uint32_t *first; /* in `items`; one more than there are */
    uint32_t *items; /* the classifications of a source that pass, by their places in tags */
    int64_t target;
    uint32_t *found; /* what reaches the target */
    size_t found_len;
};

static void tags_kept_done(struct tags_kept *kept)
{
    free(kept->used);
    free(kept->first);
    free(kept->items);
    free(kept->found);
}

static void tags_kept_use(void *ctx, size_t source)
{
    ((struct tags_kept *)ctx)->used[source] = true;
}

/* Those from which something is shown. */
static int tags_kept_load(struct tags_work *work, struct tags_kept *kept, struct err *err)
{
    AUTO(store_array_done) struct store_array ids;
    size_t sources_len;
    const struct propagation_source *sources = reach_sources(kept->reach, &sources_len);

    kept->used = xcalloc(sources_len + 1, sizeof(*kept->used));
    store_array_init(&ids, STORE_OID_INT8);
    for (size_t i = 0; i < work->len; i++) {
        reach_each(kept->reach, work->ids[i], tags_kept_use, kept);
        if (reach_has_own(kept->reach, work->ids[i]))
            store_array_add_i64(&ids, work->ids[i]);
    }
    for (size_t i = 0; i < sources_len; i++) {
        if (kept->used[i])
            store_array_add_i64(&ids, sources[i].id);
    }
    return ids.len ? tags_load(work->view, &ids, work->tags, err) : 0;
}

/* SIZE_MAX: it does not pass. */
static size_t tags_kept_source(const struct tags_kept *kept, const struct tag *tag)
{
    return tag->classification.propagates
               ? reach_source(kept->reach, tag->entity_id, tag->classification.is_restricted)
               : SIZE_MAX;
}

static void tags_kept_sort(struct tags_kept *kept)
{
    const struct tags *tags = kept->tags;
    size_t sources_len;
    uint32_t *next;

    (void)reach_sources(kept->reach, &sources_len);
    kept->first = xcalloc(sources_len + 1, sizeof(*kept->first));
    kept->items = xcalloc(tags->len, sizeof(*kept->items));
    kept->found = xcalloc(tags->len, sizeof(*kept->found));
    for (size_t i = 0; i < tags->len; i++) {
        size_t source = tags_kept_source(kept, &tags->items[i]);

        if (source != SIZE_MAX)
            kept->first[source + 1]++;
    }
    for (size_t i = 0; i < sources_len; i++)
        kept->first[i + 1] += kept->first[i];
    next = xcalloc(sources_len + 1, sizeof(*next));
    memcpy(next, kept->first, (sources_len + 1) * sizeof(*next));
    for (size_t i = 0; i < tags->len; i++) {
        size_t source = tags_kept_source(kept, &tags->items[i]);

        if (source != SIZE_MAX)
            kept->items[next[source]++] = (uint32_t)i;
    }
    free(next);
}

static void tags_kept_find(void *ctx, size_t source)
{
    struct tags_kept *kept = ctx;

    for (uint32_t i = kept->first[source]; i < kept->first[source + 1]; i++) {
        if (kept->tags->items[kept->items[i]].entity_id != kept->target)
            kept->found[kept->found_len++] = kept->items[i];
    }
}

static int tags_compare_items(const void *a, const void *b)
{
    const uint32_t *one = a, *two = b;

    return (*one > *two) - (*one < *two);
}

static int tags_use_kept(struct tags_work *work, struct err *err)
{
    struct tags_kept kept = { .reach = tag_reach_of(work->kept), .tags = work->tags };
    int rc = tags_kept_load(work, &kept, err);

    if (rc == 0) {
        tags_kept_sort(&kept);
        tags_add_own(work);
        for (size_t i = 0; i < work->len; i++) {
            kept.target = work->ids[i];
            kept.found_len = 0;
            reach_each(kept.reach, work->ids[i], tags_kept_find, &kept);
            if (kept.found_len)
                qsort(kept.found, kept.found_len, sizeof(*kept.found), tags_compare_items);
            for (size_t j = 0; j < kept.found_len; j++)
                tags_add_pair(work, (uint32_t)i, kept.found[j]);
        }
        tags_sort(work);
    }
    tags_kept_done(&kept);
    return rc;
}

/* ---- the question ---- */

static int tags_work_run(struct tags_work *work, struct err *err)
{
    const struct atlas_view *view = work->view;

    work->moment = (struct tag_moment){ view->batch_id == ATLAS_NOW ? view->newest : view->batch_id,
                                        view->types };
    work->keeps = view->tags != NULL;
    tags_take_kept(work);
    if (work->kept)
        return tags_use_kept(work, err);
    if (tags_look(work, TAGS_FORWARD_MAX, err) < 0)
        return -1;
    if (!work->classified_len)
        return 0;
    if (tags_walk(work, err) < 0)
        return -1;
    if (work->kept)
        return tags_use_kept(work, err);
    if ((work->any_deleted && tags_block(work->side, err) < 0) ||
        tags_load_all(work, work->side, err) < 0)
        return -1;
    tags_add_own(work);
    tags_spread(work);
    tags_sort(work);
    return 0;
}

static int tags_work_run_own(struct tags_work *work, struct err *err)
{
    AUTO(store_array_done) struct store_array ids;

    store_array_init(&ids, STORE_OID_INT8);
    for (size_t i = 0; i < work->len; i++)
        store_array_add_i64(&ids, work->ids[i]);
    if (tags_load(work->view, &ids, work->tags, err) < 0)
        return -1;
    tags_add_own(work);
    tags_sort(work);
    return 0;
}

static int tags_ask(const struct atlas_view *view, const int64_t *ids, size_t len,
                    int (*run)(struct tags_work *work, struct err *err), struct tags *tags,
                    struct err *err)
{
    struct tags_work *work = xcalloc(1, sizeof(*work));
    int rc;

    *tags = (struct tags){ .types = view->types, .first = xcalloc(len + 1, sizeof(*tags->first)) };
    work->view = view;
    work->ids = ids;
    work->len = len;
    work->tags = tags;
    tags_sides_init(work);
    rc = len ? run(work, err) : 0;
    tags_work_done(work);
    free(work);
    if (rc < 0)
        tags_done(tags);
    return rc;
}

int tags_read(const struct atlas_view *view, const int64_t *ids, size_t len, struct tags *tags,
              struct err *err)
{
    return tags_ask(view, ids, len, tags_work_run, tags, err);
}

int tags_read_own(const struct atlas_view *view, const int64_t *ids, size_t len, struct tags *tags,
                  struct err *err)
{
    return tags_ask(view, ids, len, tags_work_run_own, tags, err);
}

void tags_done(struct tags *tags)
{
    for (size_t i = 0; i < tags->len; i++) {
        classification_done(&tags->items[i].classification);
        free(tags->items[i].json);
    }
    free(tags->items);
    free(tags->places);
    free(tags->first);
    *tags = (struct tags){ 0 };
}

/* ------------------------------------------------------------------------------- how it is said */

void tags_each(const struct tags *tags, size_t place, const struct type *entity, tags_each_fn *fn,
               void *ctx)
{
    for (size_t i = tags->first[place]; i < tags->first[place + 1]; i++) {
        const struct tag *tag = &tags->items[tags->places[i]];

        if (type_classification_fits(tags->types, tag->classification.type, entity))
            fn(ctx, tag);
    }
}

/* A list under way. */
struct tags_list {
    struct buf *out;
    size_t from; /* where it begins */
};

static void tags_append(void *ctx, const struct tag *tag)
{
    struct tags_list *list = ctx;

    if (list->out->len > list->from)
        buf_append_char(list->out, ',');
    buf_append_text(list->out, tag->json);
}

void tags_write(const struct tags *tags, size_t place, const struct type *entity, struct buf *out)
{
    struct tags_list list = { out, 0 };

    buf_append_char(out, '[');
    list.from = out->len;
    tags_each(tags, place, entity, tags_append, &list);
    buf_append_char(out, ']');
}

void tags_write_names(const struct tags *tags, size_t place, const struct type *entity,
                      struct buf *out)
{
    size_t shown = 0;

    buf_append_char(out, '[');
    for (size_t i = tags->first[place]; i < tags->first[place + 1]; i++) {
        const struct type *type = tags->items[tags->places[i]].classification.type;
        bool is_new = type_classification_fits(tags->types, type, entity);

        for (size_t j = tags->first[place]; is_new && j < i; j++)
            is_new = tags->items[tags->places[j]].classification.type != type;
        if (!is_new)
            continue;
        buf_append_text(out, shown++ ? "," : "");
        buf_append_json(out, span_of(type->def->name));
    }
    buf_append_char(out, ']');
}

/* --------------------------------------------------------------------------------- who has them */

static void origins_add_kinds(struct store_array *array, const struct type_list *kinds)
{
    for (size_t i = 0; i < kinds->len; i++)
        store_array_add_text(array, span_of(kinds->items[i]->def->name));
}

/* By type, of one type those that are restricted behind the others. */
static PGresult *origins_ask(const struct atlas_view *view, const struct type_list *kinds,
                             const struct tags_condition *condition, struct err *err)
{
    bool has_values = condition && condition->values_len;
    AUTO(mem_free)
    char *sql = xasprintf(
        "SELECT c.entity_id, c.type, c.propagates AND NOT e.is_deleted, c.is_restricted"
        " FROM (SELECT * FROM classification AS e WHERE %1$s%2$s AND %3$s LIMIT %4$d) AS c"
        " CROSS JOIN LATERAL (SELECT is_deleted FROM entity"
        "  WHERE entity_id = c.entity_id AND %1$s) AS e"
        " ORDER BY c.type, c.is_restricted",
        view->stands,
        !kinds->len  ? ""
        : has_values ? " AND type = ANY ($2)"
                     : " AND type = ANY ($1)",
        condition ? condition->sql : "true", TAGS_EDGES_MAX + 1);
    AUTO(store_array_done) struct store_array names, values;
    struct store_params params = { 0 };

    store_array_init(&names, STORE_OID_TEXT);
    store_array_init(&values, STORE_OID_TEXT);
    for (size_t i = 0; condition && i < condition->values_len; i++)
        store_array_add_text(&values, span_of(condition->values[i]));
    if (has_values)
        store_param_binary(&params, store_array_end(&values));
    origins_add_kinds(&names, kinds);
    if (kinds->len)
        store_param_binary(&params, store_array_end(&names));
    return store_query_binary(view->conn, sql, &params, "read classified", err);
}

static void origins_fill(struct tag_origins *origins, const struct atlas_view *view,
                         const PGresult *result)
{
    size_t rows = (size_t)PQntuples(result);

    origins->kinds = xcalloc(rows, sizeof(*origins->kinds));
    origins->items = xcalloc(rows, sizeof(*origins->items));
    origins->sources = xcalloc(rows, sizeof(*origins->sources));
    for (int row = 0; row < PQntuples(result); row++) {
        const struct type *type = type_by_name(view->types, store_get_span(result, row, 1));
        int64_t id = store_get_i64(result, row, 0);

        if (!type)
            continue;
        if (!origins->kinds_len || origins->kinds[origins->kinds_len - 1] != type)
            origins->kinds[origins->kinds_len++] = type;
        origins->items[origins->len++] =
            (struct tag_origin){ id, (uint32_t)(origins->kinds_len - 1) };
        if (!store_get_bool(result, row, 2))
            continue;
        (void)propagation_add(origins->graph, id);
        origins->sources[origins->sources_len++] =
            (struct propagation_source){ id, (uint32_t)(origins->kinds_len - 1),
                                         store_get_bool(result, row, 3) };
    }
}

static int origins_read(const struct atlas_view *view, const struct type_list *kinds,
                        const struct tags_condition *condition, struct tag_origins *origins,
                        struct err *err)
{
    AUTO(store_result_free) PGresult *result = origins_ask(view, kinds, condition, err);
    struct tags_side side = { .view = view, .is_forward = true, .graph = origins->graph };
    int rc = 0;

    if (!result)
        return -1;
    side.is_full = PQntuples(result) > TAGS_EDGES_MAX;
    if (!side.is_full)
        origins_fill(origins, view, result);
    while (rc == 0 && !side.is_full && !tags_side_ended(&side))
        rc = tags_step(&side, err);
    origins->reserved = side.reserved;
    if (rc < 0)
        return -1;
    if (side.is_full)
        return err_set(err, ERR_INPUT,
                       "the classification is on, or passes over, more than %d entities",
                       TAGS_EDGES_MAX);
    return tags_block(&side, err);
}

int tags_find_where(const struct atlas_view *view, const struct type_list *kinds,
                    const struct tags_condition *condition, struct tag_origins *origins,
                    struct err *err)
{
    *origins = (struct tag_origins){ .types = view->types,
                                     .graph = propagation_new(),
                                     .cache = view->tags };
    if (origins_read(view, kinds, condition, origins, err) == 0)
        return 0;
    tag_origins_done(origins);
    return -1;
}

int tags_find(const struct atlas_view *view, const struct type_list *kinds,
              struct tag_origins *origins, struct err *err)
{
    return tags_find_where(view, kinds, NULL, origins, err);
}

void tag_origins_done(struct tag_origins *origins)
{
    free(origins->kinds);
    free(origins->items);
    free(origins->sources);
    propagation_free(origins->graph);
    if (origins->cache)
        tag_cache_release(origins->cache, origins->reserved);
    *origins = (struct tag_origins){ 0 };
}
