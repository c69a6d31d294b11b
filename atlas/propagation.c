#include "atlas/propagation.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum {
    PROPAGATION_FIRST_SLOTS = 64, /* a power of two */
    PROPAGATION_MARKS_AT_ONCE = 64,
};

#define PROPAGATION_NONE UINT32_MAX

struct propagation_edge {
    uint32_t from, to; /* places */
    unsigned flags;
};

struct propagation {
    int64_t *ids; /* owned, as are all arrays */
    bool *blocked;
    size_t len;
    size_t cap;
    uint32_t *slots; /* of a hash table by id: places, PROPAGATION_NONE: free */
    size_t slots_len;
    struct propagation_edge *edges;
    size_t edges_len;
    size_t edges_cap;
    size_t *first; /* of each place its first edge in the order of `from`; NULL: not in order */
};

/* ------------------------------------------------------------------------------------ the graph */

struct propagation *propagation_new(void)
{
    struct propagation *graph = xcalloc(1, sizeof(*graph));

    graph->slots_len = PROPAGATION_FIRST_SLOTS;
    graph->slots = xreallocarray(NULL, graph->slots_len, sizeof(*graph->slots));
    memset(graph->slots, 0xff, graph->slots_len * sizeof(*graph->slots));
    return graph;
}

void propagation_free(struct propagation *graph)
{
    if (!graph)
        return;
    free(graph->ids);
    free(graph->blocked);
    free(graph->slots);
    free(graph->edges);
    free(graph->first);
    free(graph);
}

/* Ids come from a sequence: nobody outside chooses them. */
static size_t propagation_slot(const struct propagation *graph, int64_t id)
{
    size_t slot = (size_t)(((uint64_t)id * UINT64_C(0x9e3779b97f4a7c15)) >> 32);

    for (slot &= graph->slots_len - 1; graph->slots[slot] != PROPAGATION_NONE;
         slot = (slot + 1) & (graph->slots_len - 1)) {
        if (graph->ids[graph->slots[slot]] == id)
            break;
    }
    return slot;
}

static void propagation_grow(struct propagation *graph)
{
    if (graph->len == graph->cap) {
        graph->cap = graph->cap ? 2 * graph->cap : PROPAGATION_FIRST_SLOTS;
        graph->ids = xreallocarray(graph->ids, graph->cap, sizeof(*graph->ids));
        graph->blocked = xreallocarray(graph->blocked, graph->cap, sizeof(*graph->blocked));
    }
    if (2 * (graph->len + 1) <= graph->slots_len)
        return;
    graph->slots_len *= 2;
    graph->slots = xreallocarray(graph->slots, graph->slots_len, sizeof(*graph->slots));
    memset(graph->slots, 0xff, graph->slots_len * sizeof(*graph->slots));
    for (size_t i = 0; i < graph->len; i++)
        graph->slots[propagation_slot(graph, graph->ids[i])] = (uint32_t)i;
}

static uint32_t propagation_place(const struct propagation *graph, int64_t id)
{
    return graph->slots[propagation_slot(graph, id)];
}

bool propagation_add(struct propagation *graph, int64_t id)
{
    if (propagation_knows(graph, id))
        return false;
    assert(graph->len < PROPAGATION_NONE);
    propagation_grow(graph);
    free(graph->first);
    graph->first = NULL;
    graph->slots[propagation_slot(graph, id)] = (uint32_t)graph->len;
    graph->ids[graph->len] = id;
    graph->blocked[graph->len++] = false;
    return true;
}

bool propagation_knows(const struct propagation *graph, int64_t id)
{
    return propagation_place(graph, id) != PROPAGATION_NONE;
}

size_t propagation_place_of(const struct propagation *graph, int64_t id)
{
    assert(propagation_knows(graph, id));
    return propagation_place(graph, id);
}

void propagation_add_edge(struct propagation *graph, int64_t from, int64_t to, unsigned flags)
{
    (void)propagation_add(graph, from);
    (void)propagation_add(graph, to);
    if (graph->edges_len == graph->edges_cap) {
        graph->edges_cap = graph->edges_cap ? 2 * graph->edges_cap : PROPAGATION_FIRST_SLOTS;
        graph->edges = xreallocarray(graph->edges, graph->edges_cap, sizeof(*graph->edges));
    }
    graph->edges[graph->edges_len++] =
        (struct propagation_edge){ propagation_place(graph, from), propagation_place(graph, to),
                                   flags };
    free(graph->first);
    graph->first = NULL;
}

void propagation_block(struct propagation *graph, int64_t id)
{
    uint32_t place = propagation_place(graph, id);

    if (place != PROPAGATION_NONE)
        graph->blocked[place] = true;
}

const int64_t *propagation_ids(const struct propagation *graph, size_t *len)
{
    *len = graph->len;
    return graph->ids;
}

size_t propagation_edges(const struct propagation *graph)
{
    return graph->edges_len;
}

size_t propagation_bytes(const struct propagation *graph)
{
    size_t entity = sizeof(*graph->ids) + sizeof(*graph->blocked);
    size_t walk = 2 * (sizeof(size_t) + sizeof(uint64_t)) + sizeof(uint32_t);

    return sizeof(*graph) + graph->cap * (entity + walk) +
           graph->slots_len * sizeof(*graph->slots) +
           2 * graph->edges_cap * sizeof(*graph->edges); /* while they are put in order */
}

void propagation_drop_edges(struct propagation *graph)
{
    free(graph->edges);
    free(graph->first);
    graph->edges = NULL;
    graph->first = NULL;
    graph->edges_len = graph->edges_cap = 0;
}

/* Puts the edges in the order of the places that they leave. */
static void propagation_sort(struct propagation *graph)
{
    struct propagation_edge *sorted;
    size_t *next;

    if (graph->first)
        return;
    graph->first = xcalloc(graph->len + 1, sizeof(*graph->first));
    for (size_t i = 0; i < graph->edges_len; i++)
        graph->first[graph->edges[i].from + 1]++;
    for (size_t i = 0; i < graph->len; i++)
        graph->first[i + 1] += graph->first[i];
    next = xcalloc(graph->len + 1, sizeof(*next));
    memcpy(next, graph->first, (graph->len + 1) * sizeof(*next));
    sorted = xcalloc(graph->edges_len, sizeof(*sorted));
    for (size_t i = 0; i < graph->edges_len; i++)
        sorted[next[graph->edges[i].from]++] = graph->edges[i];
    free(next);
    free(graph->edges);
    graph->edges = sorted;
    graph->edges_cap = graph->edges_len;
}

/* ----------------------------------------------------------------------------------- who has it */

/* As many marks as have a bit each. */
struct propagation_pass {
    struct propagation *graph;
    uint32_t marks[PROPAGATION_MARKS_AT_ONCE]; /* of the bits */
    unsigned len;
    uint64_t restricted; /* the bits that do not pass over lineage */
    uint64_t *has;       /* by place */
    uint64_t *fresh;     /* of these what is not passed on yet */
    uint32_t *queue;     /* a ring of places that have something fresh, each once */
    size_t head, queued;
};

static void pass_give(struct propagation_pass *pass, uint32_t place, uint64_t bits)
{
    bits &= ~pass->has[place];
    if (!bits || pass->graph->blocked[place])
        return;
    pass->has[place] |= bits;
    if (!pass->fresh[place])
        pass->queue[(pass->head + pass->queued++) % pass->graph->len] = place;
    pass->fresh[place] |= bits;
}

static void pass_run(struct propagation_pass *pass)
{
    const struct propagation *graph = pass->graph;

    while (pass->queued) {
        uint32_t place = pass->queue[pass->head];
        uint64_t bits = pass->fresh[place];

        pass->head = (pass->head + 1) % graph->len;
        pass->queued--;
        pass->fresh[place] = 0;
        for (size_t i = graph->first[place]; i < graph->first[place + 1]; i++) {
            const struct propagation_edge *edge = &graph->edges[i];

            pass_give(pass, edge->to,
                      edge->flags & PROPAGATION_LINEAGE ? bits & ~pass->restricted : bits);
        }
    }
}

static void pass_tell(struct propagation_pass *pass, propagation_found *found, void *ctx)
{
    for (size_t place = 0; place < pass->graph->len; place++) {
        for (uint64_t bits = pass->has[place]; bits; bits &= bits - 1)
            found(ctx, pass->marks[__builtin_ctzll(bits)], place);
    }
}

/* The bit of the source: that of the one before, if they are alike. PROPAGATION_MARKS_AT_ONCE: no
 * bit is left. */
static unsigned pass_bit(struct propagation_pass *pass, const struct propagation_source *source)
{
    bool was_restricted = pass->len && pass->restricted >> (pass->len - 1) & 1;

    if (pass->len && pass->marks[pass->len - 1] == source->mark &&
        was_restricted == source->is_restricted)
        return pass->len - 1;
    if (pass->len == PROPAGATION_MARKS_AT_ONCE)
        return pass->len;
    pass->restricted |= (uint64_t)source->is_restricted << pass->len;
    pass->marks[pass->len] = source->mark;
    return pass->len++;
}

static void pass_init(struct propagation_pass *pass, struct propagation *graph)
{
    *pass = (struct propagation_pass){ .graph = graph };
    propagation_sort(graph);
    pass->has = xcalloc(graph->len, sizeof(*pass->has));
    pass->fresh = xcalloc(graph->len, sizeof(*pass->fresh));
    pass->queue = xcalloc(graph->len, sizeof(*pass->queue));
}

static void pass_done(struct propagation_pass *pass)
{
    free(pass->has);
    free(pass->fresh);
    free(pass->queue);
}

static void pass_clear(struct propagation_pass *pass)
{
    pass->len = 0;
    pass->restricted = 0;
    memset(pass->has, 0, pass->graph->len * sizeof(*pass->has));
}

void propagation_run(struct propagation *graph, const struct propagation_source *sources,
                     size_t len, propagation_found *found, void *ctx)
{
    struct propagation_pass pass;

    pass_init(&pass, graph);
    for (size_t i = 0; i < len;) {
        pass_clear(&pass);
        for (; i < len; i++) {
            unsigned bit = pass_bit(&pass, &sources[i]);

            if (bit == PROPAGATION_MARKS_AT_ONCE)
                break;
            pass_give(&pass, propagation_place(graph, sources[i].id), UINT64_C(1) << bit);
        }
        pass_run(&pass);
        pass_tell(&pass, found, ctx);
    }
    pass_done(&pass);
}

void propagation_run_bits(struct propagation *graph, const struct propagation_source *sources,
                          size_t len, propagation_found_bits *found, void *ctx)
{
    struct propagation_pass pass;
    bool goes_on = true;

    pass_init(&pass, graph);
    for (size_t first = 0; goes_on && first < len; first += PROPAGATION_MARKS_AT_ONCE) {
        pass_clear(&pass);
        for (unsigned bit = 0; bit < PROPAGATION_MARKS_AT_ONCE && first + bit < len; bit++) {
            const struct propagation_source *source = &sources[first + bit];

            pass.restricted |= (uint64_t)source->is_restricted << bit;
            pass_give(&pass, propagation_place(graph, source->id), UINT64_C(1) << bit);
        }
        pass_run(&pass);
        for (size_t place = 0; goes_on && place < graph->len; place++)
            goes_on = !pass.has[place] || found(ctx, first, place, pass.has[place]);
    }
    pass_done(&pass);
}

/* ------------------------------------------------------------------------------------- how far */

/* From some of the sources: those that are restricted, or those that are not. */
struct propagation_measure {
    struct propagation *graph;
    bool is_restricted;
    const bool *stops;
    int32_t hops_max;
    int32_t *hops;       /* -1: not reached yet */
    uint32_t *frontier;  /* reached with `at` hops */
    uint32_t *following; /* with one more */
    size_t frontier_len, following_len, cap;
};

/* An entity is in a list again when a shorter way to it is found. */
static void measure_reach(struct propagation_measure *measure, uint32_t place, int32_t hops,
                          bool is_next)
{
    size_t *len = is_next ? &measure->following_len : &measure->frontier_len;

    if (measure->graph->blocked[place] ||
        (measure->hops[place] >= 0 && measure->hops[place] <= hops) ||
        (measure->hops_max && hops > measure->hops_max))
        return;
    measure->hops[place] = hops;
    if (*len == measure->cap) {
        measure->cap *= 2;
        measure->frontier =
            xreallocarray(measure->frontier, measure->cap, sizeof(*measure->frontier));
        measure->following =
            xreallocarray(measure->following, measure->cap, sizeof(*measure->following));
    }
    (is_next ? measure->following : measure->frontier)[(*len)++] = place;
}

static void measure_pass(struct propagation_measure *measure, uint32_t place, int32_t at)
{
    const struct propagation *graph = measure->graph;

    if (at && measure->stops && measure->stops[place])
        return;
    for (size_t i = graph->first[place]; i < graph->first[place + 1]; i++) {
        const struct propagation_edge *edge = &graph->edges[i];
        bool is_next = !(edge->flags & PROPAGATION_INTO_PROCESS);

        if (!measure->is_restricted || !(edge->flags & PROPAGATION_LINEAGE))
            measure_reach(measure, edge->to, at + is_next, is_next);
    }
}

static void measure_run(struct propagation_measure *measure,
                        const struct propagation_source *sources, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (sources[i].is_restricted == measure->is_restricted)
            measure_reach(measure, propagation_place(measure->graph, sources[i].id), 0, false);
    }
    for (int32_t at = 0; measure->frontier_len; at++) {
        uint32_t *over;

        for (size_t i = 0; i < measure->frontier_len; i++) {
            if (measure->hops[measure->frontier[i]] == at) /* else a shorter way was found */
                measure_pass(measure, measure->frontier[i], at);
        }
        over = measure->frontier;
        measure->frontier = measure->following;
        measure->frontier_len = measure->following_len;
        measure->following = over;
        measure->following_len = 0;
    }
}

void propagation_measure(struct propagation *graph, const struct propagation_source *sources,
                         size_t len, const bool *stops, int32_t hops_max, int32_t *hops)
{
    struct propagation_measure measure = {
        .graph = graph, .stops = stops, .hops_max = hops_max, .cap = PROPAGATION_FIRST_SLOTS
    };

    propagation_sort(graph);
    measure.frontier = xcalloc(measure.cap, sizeof(*measure.frontier));
    measure.following = xcalloc(measure.cap, sizeof(*measure.following));
    measure.hops = xcalloc(graph->len, sizeof(*measure.hops));
    for (size_t i = 0; i < graph->len; i++)
        hops[i] = -1;
    for (int restricted = 0; restricted < 2; restricted++) {
        measure.is_restricted = restricted;
        for (size_t i = 0; i < graph->len; i++)
            measure.hops[i] = -1;
        measure_run(&measure, sources, len);
        for (size_t i = 0; i < graph->len; i++) {
            if (measure.hops[i] >= 0 && (hops[i] < 0 || measure.hops[i] < hops[i]))
                hops[i] = measure.hops[i];
        }
    }
    free(measure.frontier);
    free(measure.following);
    free(measure.hops);
}
