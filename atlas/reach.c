#include "atlas/reach.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum {
    REACH_FIRST_WORDS = 256,
    REACH_BITS = 64,
    REACH_WORD_BYTES = 4 + 8, /* as they are kept */
    /* Of an entity: its id and whether it is blocked with arrays that double, its slots in the hash
     * table, four at most, has_own and place. */
    REACH_ENTITY_BYTES = 2 * (8 + 1) + 4 * 4 + 1 + 4,
};

/* 64 sources, of the place `first` on, and those of them that reach an entity. */
struct reach_word {
    uint32_t place; /* of the entity */
    uint32_t first;
    uint64_t bits;
};

struct reach {
    struct propagation *entities; /* owned, as are all; without edges */
    struct propagation_source *sources;
    size_t sources_len;
    bool *has_own;   /* by place */
    uint32_t *place; /* of each entity its first word; one more than there are */
    uint32_t *first; /* of each word */
    uint64_t *bits;
    size_t bytes;
};

/* ----------------------------------------------------------------------------------- made of it */

/* An answer under way. */
struct reach_work {
    struct reach_word *words; /* owned; by source, then by entity */
    size_t len, cap, max;
    bool is_full;
};

static bool reach_add(void *ctx, size_t first, size_t place, uint64_t bits)
{
    struct reach_work *work = ctx;

    if (work->len == work->max) {
        work->is_full = true;
        return false;
    }
    if (work->len == work->cap) {
        work->cap = work->cap ? 2 * work->cap : REACH_FIRST_WORDS;
        work->words = xreallocarray(work->words, work->cap, sizeof(*work->words));
    }
    work->words[work->len++] = (struct reach_word){ (uint32_t)place, (uint32_t)first, bits };
    return true;
}

/* The words in the order of their entities. */
static void reach_sort(struct reach *reach, const struct reach_work *work)
{
    uint32_t *next;
    size_t len;

    (void)propagation_ids(reach->entities, &len);
    reach->place = xcalloc(len + 1, sizeof(*reach->place));
    reach->first = xcalloc(work->len, sizeof(*reach->first));
    reach->bits = xcalloc(work->len, sizeof(*reach->bits));
    for (size_t i = 0; i < work->len; i++)
        reach->place[work->words[i].place + 1]++;
    for (size_t i = 0; i < len; i++)
        reach->place[i + 1] += reach->place[i];
    next = xcalloc(len + 1, sizeof(*next));
    memcpy(next, reach->place, (len + 1) * sizeof(*next));
    for (size_t i = 0; i < work->len; i++) {
        uint32_t at = next[work->words[i].place]++;

        reach->first[at] = work->words[i].first;
        reach->bits[at] = work->words[i].bits;
    }
    free(next);
}

static void reach_add_own(struct reach *reach, const int64_t *own, size_t own_len)
{
    size_t len;

    for (size_t i = 0; i < own_len; i++)
        (void)propagation_add(reach->entities, own[i]);
    (void)propagation_ids(reach->entities, &len);
    reach->has_own = xcalloc(len, sizeof(*reach->has_own));
    for (size_t i = 0; i < own_len; i++)
        reach->has_own[propagation_place_of(reach->entities, own[i])] = true;
}

/* Of what is made of so many words, or a little more. */
static size_t reach_measure(const struct propagation *graph, size_t sources_len, size_t own_len,
                            size_t words_len)
{
    size_t len;

    (void)propagation_ids(graph, &len);
    return sizeof(struct reach) + sources_len * sizeof(struct propagation_source) +
           (len + own_len + 64) * REACH_ENTITY_BYTES + words_len * REACH_WORD_BYTES;
}

size_t reach_make_bytes(const struct propagation *graph, size_t sources_len, size_t own_len,
                        size_t bytes_max)
{
    size_t words, words_max = bytes_max / REACH_WORD_BYTES, bytes;

    (void)propagation_ids(graph, &words);
    words *= (sources_len + REACH_BITS - 1) / REACH_BITS;
    if (words > words_max)
        words = words_max;
    bytes = reach_measure(graph, sources_len, own_len, words);
    return 2 * (words + REACH_FIRST_WORDS) * sizeof(struct reach_word) +
           (bytes < bytes_max ? bytes : bytes_max);
}

struct reach *reach_make(struct propagation *graph, const struct propagation_source *sources,
                         size_t sources_len, const int64_t *own, size_t own_len, size_t bytes_max)
{
    struct reach_work work = { .max = bytes_max / REACH_WORD_BYTES };
    struct reach *reach;
    size_t bytes;

    propagation_run_bits(graph, sources, sources_len, reach_add, &work);
    bytes = reach_measure(graph, sources_len, own_len, work.len);
    if (work.is_full || bytes > bytes_max) {
        free(work.words);
        return NULL;
    }
    reach = xcalloc(1, sizeof(*reach));
    reach->entities = graph;
    reach->sources = xcalloc(sources_len, sizeof(*reach->sources));
    if (sources_len)
        memcpy(reach->sources, sources, sources_len * sizeof(*sources));
    reach->sources_len = sources_len;
    propagation_drop_edges(graph);
    reach_add_own(reach, own, own_len);
    reach_sort(reach, &work);
    reach->bytes = bytes;
    free(work.words);
    return reach;
}

void reach_free(struct reach *reach)
{
    if (!reach)
        return;
    propagation_free(reach->entities);
    free(reach->sources);
    free(reach->has_own);
    free(reach->place);
    free(reach->first);
    free(reach->bits);
    free(reach);
}

size_t reach_bytes(const struct reach *reach)
{
    return reach->bytes;
}

/* ------------------------------------------------------------------------------------- asked it */

const struct propagation_source *reach_sources(const struct reach *reach, size_t *len)
{
    *len = reach->sources_len;
    return reach->sources;
}

size_t reach_source(const struct reach *reach, int64_t id, bool is_restricted)
{
    size_t low = 0, high = reach->sources_len;

    while (low < high) {
        size_t at = low + (high - low) / 2;
        const struct propagation_source *source = &reach->sources[at];

        if (source->id < id || (source->id == id && source->is_restricted < is_restricted))
            low = at + 1;
        else
            high = at;
    }
    return low < reach->sources_len && reach->sources[low].id == id &&
                   reach->sources[low].is_restricted == is_restricted
               ? low
               : SIZE_MAX;
}

bool reach_has_own(const struct reach *reach, int64_t id)
{
    return propagation_knows(reach->entities, id) &&
           reach->has_own[propagation_place_of(reach->entities, id)];
}

void reach_each(const struct reach *reach, int64_t id, reach_found *found, void *ctx)
{
    size_t place;

    if (!propagation_knows(reach->entities, id))
        return;
    place = propagation_place_of(reach->entities, id);
    for (uint32_t i = reach->place[place]; i < reach->place[place + 1]; i++) {
        for (uint64_t bits = reach->bits[i]; bits; bits &= bits - 1)
            found(ctx, reach->first[i] + (size_t)__builtin_ctzll(bits));
    }
}
