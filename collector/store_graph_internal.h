/* The graph in Postgres: what events make of it. */
#ifndef COLLECTOR_STORE_GRAPH_INTERNAL_H
#define COLLECTOR_STORE_GRAPH_INTERNAL_H

#include "base/attr.h"
#include "base/err.h"
#include "collector/store_commit_internal.h"

/* Under the GRAPH lock: store->types are those of now. */
int graph_take_types(struct store *store, struct err *err) MUST_CHECK;

/* Behind the storing of the batch's lineage events, in their transaction, under the GRAPH lock:
 * brings the graph to what all events say, and the catalog with it. Rows of deployments whose CPU
 * nobody has told are marked. */
int graph_write_events(struct attempt *attempt) MUST_CHECK;

/* Background: deployments that the catalog has and the graph has not yet, a round of them. *more:
 * there are others. */
int graph_round(struct store *store, bool *more, struct err *err) MUST_CHECK;

#endif
