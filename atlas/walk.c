#include "atlas/walk.h"

#include <assert.h>
#include <stdlib.h>

#include "base/map.h"
#include "base/mem.h"

enum { WALK_FIRST_ITEMS = 64 };

struct walk_ids {
    int64_t *items;
    size_t len;
    size_t cap;
};

/* One direction of the walk. */
struct walk_side {
    enum walk_direction direction;
    struct map *reached;       /* entities that are or were in the frontier */
    struct walk_ids frontier;  /* to be expanded in this step */
    struct walk_ids following; /* in the next one */
};

struct walk {
    const struct walk_request *request;
    struct walk_result *result;
    struct map *taken;       /* ids of result->relations */
    size_t relations_cap;    /* of result->relations */
    struct walk_side *side;  /* whose edges are being added */
    struct walk_edge *fresh; /* edges of this step that are not taken yet: at least the `room` + 1
                                with the smallest ids, at most twice as many in all */
    size_t fresh_len;
    size_t fresh_cap;
    int64_t fresh_id_max; /* an edge behind it can't be taken in this step */
    struct map *counted;  /* with limits: entities, where in `counts` */
    struct walk_count *counts;
    size_t counts_len;
    size_t counts_cap;
    struct walk_side upstream;
    struct walk_side downstream;
};

static struct span walk_key(const int64_t *id)
{
    return (struct span){ (const char *)id, sizeof(*id) };
}

/* Makes room for one more in an array of `len`; it doubles, but not beyond `max`. */
static void *walk_grow(void *items, size_t len, size_t *cap, size_t max, size_t bytes)
{
    if (len < *cap)
        return items;
    *cap = *cap ? *cap * 2 : WALK_FIRST_ITEMS;
    if (*cap > max)
        *cap = max;
    assert(len < *cap);
    return xreallocarray(items, *cap, bytes);
}

static int walk_compare_ids(const void *a, const void *b)
{
    const int64_t *one = a, *two = b;

    return (*one > *two) - (*one < *two);
}

static int walk_compare_edges(const void *a, const void *b)
{
    const struct walk_edge *one = a, *two = b;

    return (one->id > two->id) - (one->id < two->id);
}

/* How many relations may still be taken. */
static size_t walk_room(const struct walk *walk)
{
    return walk->request->relations_max - walk->result->relations_len;
}

static void walk_reach(struct walk_side *side, int64_t id)
{
    struct walk_ids *ids = &side->following;
    bool added;

    (void)map_put(side->reached, walk_key(&id), 0, &added);
    if (!added)
        return;
    ids->items = walk_grow(ids->items, ids->len, &ids->cap, SIZE_MAX, sizeof(*ids->items));
    ids->items[ids->len++] = id;
}

static int64_t walk_far_end(const struct walk_side *side, const struct walk_edge *edge)
{
    return side->direction == WALK_INPUT ? edge->from : edge->to;
}

/* Puts the fresh edges in order, each once, and forgets those that can't be taken any more; one
 * beyond the room stays, to tell that there are more. */
static void walk_fresh_sort(struct walk *walk)
{
    struct walk_edge *edges = walk->fresh;
    size_t len = 0, ascending = 1;

    while (ascending < walk->fresh_len && edges[ascending - 1].id < edges[ascending].id)
        ascending++;
    if (ascending < walk->fresh_len)
        qsort(edges, walk->fresh_len, sizeof(*edges), walk_compare_edges);
    for (size_t i = 0; i < walk->fresh_len && len <= walk_room(walk); i++) {
        if (len == 0 || edges[len - 1].id != edges[i].id)
            edges[len++] = edges[i];
    }
    walk->fresh_len = len;
    if (len > walk_room(walk))
        walk->fresh_id_max = edges[len - 1].id;
}

void walk_edge_add(struct walk *walk, const struct walk_edge *edge)
{
    const struct walk_side *side = walk->side;
    size_t fresh_max = 2 * (walk_room(walk) + 1);

    assert(
        map_get(side->reached, walk_key(side->direction == WALK_INPUT ? &edge->to : &edge->from)));
    /* More than the room are there already, so the walk ends with this step. */
    if (edge->id > walk->fresh_id_max)
        return;
    /* The other direction went along here already. */
    if (map_get(walk->taken, walk_key(&edge->id))) {
        walk_reach(walk->side, walk_far_end(side, edge));
        return;
    }
    if (walk->fresh_len == fresh_max)
        walk_fresh_sort(walk);
    walk->fresh = walk_grow(walk->fresh, walk->fresh_len, &walk->fresh_cap,
                            2 * (walk->request->relations_max + 1), sizeof(*walk->fresh));
    walk->fresh[walk->fresh_len++] = *edge;
}

static void walk_take(struct walk *walk, const struct walk_edge *edge)
{
    struct walk_result *result = walk->result;
    bool added;

    (void)map_put(walk->taken, walk_key(&edge->id), 0, &added);
    result->relations = walk_grow(result->relations, result->relations_len, &walk->relations_cap,
                                  walk->request->relations_max, sizeof(*result->relations));
    result->relations[result->relations_len++] = *edge;
    walk_reach(walk->side, walk_far_end(walk->side, edge));
}

/* ---- limits ---- */

static int walk_compare_exceptions(const void *key, const void *exception)
{
    return walk_compare_ids(key, &((const struct walk_exception *)exception)->id);
}

static struct walk_limit walk_limit_of(const struct walk_limits *limits, int64_t id)
{
    const struct walk_exception *exception =
        limits->exceptions_len ? bsearch(&id, limits->exceptions, limits->exceptions_len,
                                         sizeof(*limits->exceptions), walk_compare_exceptions)
                               : NULL;

    return exception ? exception->limit : limits->usual;
}

/* Its counts; NULL: it is not in the answer yet. */
static struct walk_count *walk_counts_find(const struct walk *walk, int64_t id)
{
    const uint64_t *place = map_get(walk->counted, walk_key(&id));

    return place ? &walk->counts[*place] : NULL;
}

static struct walk_count *walk_counts_add(struct walk *walk, int64_t id)
{
    bool added;
    uint64_t *place = map_put(walk->counted, walk_key(&id), walk->counts_len, &added);

    if (!added)
        return &walk->counts[*place];
    walk->counts = walk_grow(walk->counts, walk->counts_len, &walk->counts_cap, SIZE_MAX,
                             sizeof(*walk->counts));
    walk->counts[walk->counts_len] = (struct walk_count){ 0 };
    return &walk->counts[walk->counts_len++];
}

/* Whether both ends have room for the edge; if not, who has more is noted. */
static bool walk_admit(struct walk *walk, const struct walk_edge *edge)
{
    const struct walk_limits *limits = walk->request->limits;
    bool upstream = walk->side->direction == WALK_INPUT;
    struct walk_count *from, *to;
    bool from_full, to_full;

    if (!limits)
        return true;
    from = walk_counts_find(walk, edge->from);
    to = walk_counts_find(walk, edge->to);
    from_full = from && from->outputs >= walk_limit_of(limits, edge->from).outputs;
    to_full = to && to->inputs >= walk_limit_of(limits, edge->to).inputs;
    if (!from_full && !to_full) {
        walk_counts_add(walk, edge->from)->outputs++;
        walk_counts_add(walk, edge->to)->inputs++;
        return true;
    }
    if (to && (to_full || upstream))
        to->more_inputs = true;
    if (from && (from_full || !upstream))
        from->more_outputs = true;
    return false;
}

/* As many edges of each entity of the frontier as there may be, and one that tells of more. Owned;
 * NULL: all. */
static size_t *walk_each_max(const struct walk *walk, const struct walk_side *side)
{
    const struct walk_limits *limits = walk->request->limits;
    size_t *each;

    if (!limits)
        return NULL;
    each = xcalloc(side->frontier.len, sizeof(*each));
    for (size_t i = 0; i < side->frontier.len; i++) {
        struct walk_limit limit = walk_limit_of(limits, side->frontier.items[i]);

        each[i] = side->direction == WALK_INPUT ? limit.inputs : limit.outputs;
        each[i] += each[i] < SIZE_MAX;
    }
    return each;
}

/* ---- steps ---- */

/* One step of one direction: its whole frontier in one call. */
static int walk_expand(struct walk *walk, struct walk_side *side, bool is_process,
                       walk_source *source, void *ctx, struct err *err)
{
    AUTO(mem_free) size_t *each_max = walk_each_max(walk, side);
    struct walk_frontier frontier = {
        .direction = side->direction,
        .is_process = is_process,
        .ids = side->frontier.items,
        .len = side->frontier.len,
        .edges_max = walk->request->relations_max + 1,
        .each_max = each_max,
    };
    struct walk_ids expanded = side->frontier;
    size_t room = walk_room(walk);

    if (side->frontier.len == 0)
        return 0;
    walk->side = side;
    walk->fresh_len = 0;
    walk->fresh_id_max = INT64_MAX;
    if (source(ctx, &frontier, walk, err) < 0)
        return -1;
    walk_fresh_sort(walk);
    walk->result->truncated = walk->fresh_len > room;
    for (size_t i = 0; i < walk->fresh_len && i < room; i++) {
        if (walk_admit(walk, &walk->fresh[i]))
            walk_take(walk, &walk->fresh[i]);
    }
    side->frontier = side->following;
    if (side->frontier.len)
        qsort(side->frontier.items, side->frontier.len, sizeof(int64_t), walk_compare_ids);
    expanded.len = 0;
    side->following = expanded;
    return 0;
}

static int walk_steps(struct walk *walk, walk_source *source, void *ctx, struct err *err)
{
    const struct walk_request *request = walk->request;
    uint64_t steps = UINT64_MAX;
    bool is_process = request->start_is_process;

    if (request->depth > 0)
        steps = 2 * (uint64_t)request->depth - is_process;
    for (uint64_t step = 0; step < steps; step++, is_process = !is_process) {
        if (walk->upstream.frontier.len == 0 && walk->downstream.frontier.len == 0)
            return 0;
        if (walk_expand(walk, &walk->upstream, is_process, source, ctx, err) < 0)
            return -1;
        if (walk->result->truncated)
            return 0;
        if (walk_expand(walk, &walk->downstream, is_process, source, ctx, err) < 0)
            return -1;
        if (walk->result->truncated)
            return 0;
    }
    return 0;
}

/* Its place in the entities. */
static uint32_t walk_entity_add(struct walk_result *result, struct map *known, int64_t id)
{
    bool added;
    uint64_t *place = map_put(known, walk_key(&id), result->entities_len, &added);

    if (added)
        result->entities[result->entities_len++] = id;
    return (uint32_t)*place;
}

/* Everything that was taken hangs together, so there is at most one entity more than relations. */
static void walk_list_entities(struct walk_result *result, int64_t start)
{
    AUTO(map_free) struct map *known = NULL;

    if (result->relations_len == 0)
        return;
    known = map_new();
    result->entities = xreallocarray(NULL, result->relations_len + 1, sizeof(*result->entities));
    result->ends = xreallocarray(NULL, result->relations_len, sizeof(*result->ends));
    (void)walk_entity_add(result, known, start);
    for (size_t i = 0; i < result->relations_len; i++) {
        result->ends[i][0] = walk_entity_add(result, known, result->relations[i].from);
        result->ends[i][1] = walk_entity_add(result, known, result->relations[i].to);
    }
}

static void walk_list_counts(const struct walk *walk, struct walk_result *result)
{
    if (!walk->request->limits)
        return;
    result->counts = xcalloc(result->entities_len, sizeof(*result->counts));
    for (size_t i = 0; i < result->entities_len; i++)
        result->counts[i] = *walk_counts_find(walk, result->entities[i]);
}

static void walk_side_init(struct walk_side *side, enum walk_direction direction,
                           const struct walk_request *request)
{
    *side = (struct walk_side){ .direction = direction, .reached = map_new() };
    if (!(request->direction & direction))
        return;
    walk_reach(side, request->start);
    side->frontier = side->following;
    side->following = (struct walk_ids){ 0 };
}

static void walk_side_done(struct walk_side *side)
{
    map_free(side->reached);
    free(side->frontier.items);
    free(side->following.items);
}

int walk_run(const struct walk_request *request, walk_source *source, void *ctx,
             struct walk_result *result, struct err *err)
{
    struct walk walk = {
        .request = request, .result = result, .taken = map_new(), .counted = map_new()
    };
    int rc;

    assert(request->relations_max < UINT32_MAX);
    *result = (struct walk_result){ 0 };
    walk_side_init(&walk.upstream, WALK_INPUT, request);
    walk_side_init(&walk.downstream, WALK_OUTPUT, request);
    rc = walk_steps(&walk, source, ctx, err);
    if (rc < 0) {
        walk_result_done(result);
    } else {
        walk_list_entities(result, request->start);
        walk_list_counts(&walk, result);
    }
    walk_side_done(&walk.upstream);
    walk_side_done(&walk.downstream);
    map_free(walk.taken);
    map_free(walk.counted);
    free(walk.counts);
    free(walk.fresh);
    return rc;
}

void walk_result_done(struct walk_result *result)
{
    if (!result)
        return;
    free(result->relations);
    free(result->entities);
    free(result->ends);
    free(result->counts);
    *result = (struct walk_result){ 0 };
}
