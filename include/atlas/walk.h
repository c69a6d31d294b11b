/* The lineage of one entity: an exact breadth-first walk along the edges between data sets and
 * processes.
 *
 *     hops of data sets upstream of the deployment, its depth:
 *          2                          1                          0
 *        table --> train_build --> build --> deploy --> deployment
 *     step    4              3         2        1
 *
 * Each step follows all edges of a frontier at once, so every entity is met on its shortest way and
 * the answer does not depend on the order of edges. A process costs no depth: a walk of depth 1 has
 * the processes that made a data set, also one that has no inputs, and what these read. Whether an
 * entity or an edge is deleted means nothing here.
 *
 * With limits the walk goes no further along an edge for which one of its ends has no room; the end
 * that it comes from, or that is full, then has more. Edges with small ids come first.
 *
 * Pure, iterative. Time: O(V + E) where the source gives edges in the order of their ids, else
 * a sort of each step's edges on top. Memory: by relations_max, whatever the graph. */
#ifndef ATLAS_WALK_H
#define ATLAS_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/uuid.h"

enum walk_direction {
    WALK_INPUT = 1,  /* upstream: what it came from */
    WALK_OUTPUT = 2, /* downstream: what came from it */
    WALK_BOTH = WALK_INPUT | WALK_OUTPUT,
};

/* From a data set to a process that reads it, or from a process to a data set that it writes. */
struct walk_edge {
    int64_t id;       /* of the relationship: parallel edges differ in it */
    int64_t from, to; /* entities, in the direction in which data flows */
    struct uuid guid; /* of the relationship; carried along, not looked at */
};

/* How many relations of an entity the answer may have: those that lead to it, those that lead from
 * it. At least 1; SIZE_MAX: no limit. */
struct walk_limit {
    size_t inputs, outputs;
};

/* Of every entity, and of some others than that. */
struct walk_limits {
    struct walk_limit usual;
    const struct walk_exception { /* by id */
        int64_t id;
        struct walk_limit limit;
    } * exceptions;
    size_t exceptions_len;
};

struct walk_request {
    int64_t start;
    bool start_is_process;
    enum walk_direction direction;
    int depth;                        /* hops of data sets; 0 or less: no limit */
    size_t relations_max;             /* the answer has no more */
    const struct walk_limits *limits; /* borrowed; NULL: none */
};

/* What a source is asked for: every edge that leads to (WALK_INPUT) or from (WALK_OUTPUT) one of
 * the entities. These are all processes or all data sets, in ascending order, and none comes twice
 * in one direction. */
struct walk_frontier {
    enum walk_direction direction; /* never WALK_BOTH */
    bool is_process;
    const int64_t *ids;
    size_t len;
    size_t edges_max; /* only the edges with the smallest ids matter, up to this number */
    /* With limits: of each entity only so many edges are wanted, those with the smallest ids, and
     * no others may come. NULL: all. */
    const size_t *each_max;
};

struct walk;

/* Calls walk_edge_add for each edge, in any order (again does no harm); -1 with err set ends the
 * walk. It is called once a step and direction. */
typedef int walk_source(void *ctx, const struct walk_frontier *frontier, struct walk *walk,
                        struct err *err);

void walk_edge_add(struct walk *walk, const struct walk_edge *edge);

struct walk_result {
    struct walk_edge *relations; /* owned; each edge once: by step, upstream first, then by id */
    size_t relations_len;
    int64_t *entities; /* owned; all ends of relations, the start first; none without relations */
    size_t entities_len;
    uint32_t (*ends)[2];        /* owned; of each relation: where from and to are in `entities` */
    struct walk_count {         /* owned; with limits: of each of the entities */
        size_t inputs, outputs; /* relations in the answer */
        bool more_inputs, more_outputs; /* the walk met others, for which a limit left no room */
    } * counts;
    bool truncated; /* there are more relations: these are the first of their order */
};

/* Fills the result, which is made new. -1: the source failed, err is its own, the result empty. */
int walk_run(const struct walk_request *request, walk_source *source, void *ctx,
             struct walk_result *result, struct err *err) MUST_CHECK;
void walk_result_done(struct walk_result *result);

#endif
