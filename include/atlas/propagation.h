/* How classifications pass over a graph: from the entity that has one along the edges to all that
 * can be reached.
 *
 *     table (PII) --> train_build --> build --> deploy --> deployment
 *                     has it too      and it    and it     and it
 *
 * An edge is one way; whoever fills the graph leaves out those over which nothing passes. A
 * restricted classification does not pass over lineage. What is blocked neither gives nor takes.
 *
 * Pure, iterative, exact over cycles. Memory: by the entities and edges that were added. */
#ifndef ATLAS_PROPAGATION_H
#define ATLAS_PROPAGATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

enum propagation_flags {
    PROPAGATION_LINEAGE = 1,      /* an edge between a data set and a process */
    PROPAGATION_INTO_PROCESS = 2, /* such an edge costs no hop */
};

struct propagation;

struct propagation *propagation_new(void);
void propagation_free(struct propagation *graph);
AUTO_DEFINE(struct propagation, propagation_free);

/* Makes the entity known; true: it was not yet. */
bool propagation_add(struct propagation *graph, int64_t id);
bool propagation_knows(const struct propagation *graph, int64_t id);
/* Where a known one stands in propagation_ids. */
size_t propagation_place_of(const struct propagation *graph, int64_t id);
/* The ends become known. */
void propagation_add_edge(struct propagation *graph, int64_t from, int64_t to, unsigned flags);
/* Nothing passes over the entity any more; if it is not known, nothing happens. */
void propagation_block(struct propagation *graph, int64_t id);

/* All that are known, in the order in which they came. Borrowed until the next one comes. */
const int64_t *propagation_ids(const struct propagation *graph, size_t *len);
size_t propagation_edges(const struct propagation *graph);
/* What the graph takes, and a walk over it. */
size_t propagation_bytes(const struct propagation *graph);
/* The entities stay. */
void propagation_drop_edges(struct propagation *graph);

/* What begins at a known entity. Several may have one mark. */
struct propagation_source {
    int64_t id;
    uint32_t mark;
    bool is_restricted;
};

/* The entity that is `place` in propagation_ids has what `mark` says: by way of another one, or
 * because it begins there. Called at most twice for the same. */
typedef void propagation_found(void *ctx, uint32_t mark, size_t place);

/* The sources are sorted by mark, of one mark those that are restricted behind the others. Time: a
 * walk over the graph for every 64 marks. */
void propagation_run(struct propagation *graph, const struct propagation_source *sources,
                     size_t len, propagation_found *found, void *ctx);

/* The same for 64 sources together, each with a mark of its own, its place: `bits` are those of the
 * sources from the place `first` on that reach the entity. In the order of the sources; false: that
 * is enough. */
typedef bool propagation_found_bits(void *ctx, size_t first, size_t place, uint64_t bits);
void propagation_run_bits(struct propagation *graph, const struct propagation_source *sources,
                          size_t len, propagation_found_bits *found, void *ctx);

/* How many hops each entity is from the nearest of the sources: hops[place], -1 where none reaches.
 * `stops`: by place, what is reached and does not pass it on, unless a source is there; NULL: none.
 * hops_max: no further; 0: no limit. */
void propagation_measure(struct propagation *graph, const struct propagation_source *sources,
                         size_t len, const bool *stops, int32_t hops_max, int32_t *hops);

#endif
