/* What classifications reach, found once: of every entity the sources that reach it, whatever the
 * edges were. It is not changed any more, so that many threads may ask it.
 *
 * Pure. Memory: by the entities that are reached, and 12 bytes for every 64 sources of each. */
#ifndef ATLAS_REACH_H
#define ATLAS_REACH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "atlas/propagation.h"
#include "base/attr.h"

struct reach;

/* Takes the graph, if there is an answer. The sources are in the order of their ids, of one that
 * which is restricted behind the other, and each once; `own`: all who are classified, whether they
 * pass it on or not. NULL: it would be larger than bytes_max, the graph is as it was. */
struct reach *reach_make(struct propagation *graph, const struct propagation_source *sources,
                         size_t sources_len, const int64_t *own, size_t own_len, size_t bytes_max);
/* What reach_make takes at most while it is at work, besides a walk over the graph. */
size_t reach_make_bytes(const struct propagation *graph, size_t sources_len, size_t own_len,
                        size_t bytes_max);
void reach_free(struct reach *reach);
AUTO_DEFINE(struct reach, reach_free);

size_t reach_bytes(const struct reach *reach);

/* All sources, in their order. Borrowed. */
const struct propagation_source *reach_sources(const struct reach *reach, size_t *len);
/* The place of the source among them; SIZE_MAX: it is none. */
size_t reach_source(const struct reach *reach, int64_t id, bool is_restricted);

/* Whether the entity is classified itself. */
bool reach_has_own(const struct reach *reach, int64_t id);
/* Calls found for the place of each source that reaches the entity, in their order; also where it
 * is that source. */
typedef void reach_found(void *ctx, size_t source);
void reach_each(const struct reach *reach, int64_t id, reach_found *found, void *ctx);

#endif
