/* What classifications reach, kept as long as the graph stays as it is: between changes it is found
 * once. Kept for several moments of the graph, each within a part of the memory budget. Any thread.
 *
 *     a reader's snapshot: batch 17 --> kept for 17: look it up
 *                                   --> not kept: walk; who walks far keeps it for all */
#ifndef COLLECTOR_TAG_CACHE_H
#define COLLECTOR_TAG_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "atlas/reach.h"
#include "atlas/type_def.h"
#include "base/attr.h"

struct budget;
struct tag_cache;

/* bytes_max: all that is kept. Borrows the budget. */
struct tag_cache *tag_cache_new(struct budget *budget, size_t bytes_max);
/* Nobody holds a tag_reach any more. */
void tag_cache_free(struct tag_cache *cache);
AUTO_DEFINE(struct tag_cache, tag_cache_free);

size_t tag_cache_bytes_max(const struct tag_cache *cache);

/* A state of the graph, as these types read it. */
struct tag_moment {
    int64_t batch_id;
    const struct type_registry *types; /* borrowed */
};

enum tag_cache_state {
    TAG_CACHE_NONE,
    TAG_CACHE_KEPT,
    TAG_CACHE_TOO_LARGE, /* somebody has tried */
};

/* A reference to what is kept. */
struct tag_reach;

/* TAG_CACHE_KEPT: *kept is a reference, owned: tag_cache_give. */
enum tag_cache_state tag_cache_take(struct tag_cache *cache, const struct tag_moment *moment,
                                    struct tag_reach **kept);
void tag_cache_give(struct tag_cache *cache, struct tag_reach *kept);
const struct reach *tag_reach_of(const struct tag_reach *kept);
/* Takes the reach, which is kept if there is room; returns a reference, owned, in any case. */
struct tag_reach *tag_cache_put(struct tag_cache *cache, const struct tag_moment *moment,
                                struct reach *reach) MUST_CHECK;
/* It is larger than bytes_max, or comes over more edges than are looked at. */
void tag_cache_bar(struct tag_cache *cache, const struct tag_moment *moment);

/* Edges were walked over for want of it; returns how many there were for this moment in all. */
size_t tag_cache_spend(struct tag_cache *cache, const struct tag_moment *moment, size_t edges);

/* One finds it at a time. Where somebody is at it already: waits, or returns false. */
bool tag_cache_enter(struct tag_cache *cache, bool waits) MUST_CHECK;
void tag_cache_leave(struct tag_cache *cache);

/* From the budget, for the time of a walk. */
bool tag_cache_reserve(struct tag_cache *cache, size_t bytes) MUST_CHECK;
void tag_cache_release(struct tag_cache *cache, size_t bytes);

#endif
