/* The answers that are read from the database. */
#ifndef COLLECTOR_QUERIES_H
#define COLLECTOR_QUERIES_H

#include <stdbool.h>

#include "collector/query.h"

/* GET /v1/metrics: every parameter of it, three formats. */
query_run query_metrics;
/* POST /read-metrics: the older clients' request and answer. */
query_run query_read_metrics;

/* GET /v1/rollups. */
query_run query_rollups;

/* GET /v1/deployments. */
query_run query_deployments;
/* GET /v1/deployments/{crn}: query->argument. */
query_run query_deployment;
/* GET /v1/lineage/messages: the outbox as NDJSON. */
query_run query_messages;
/* GET /v1/lineage/builds/{crn}: query->argument. */
query_run query_build;
/* GET /v1/lineage/warnings: a page of them. */
query_run query_lineage_warnings;
/* GET /v1/impact. */
query_run query_impact;
/* GET /v1/balance. */
query_run query_balance;
/* POST /get-model-deployment-crn: query->body. */
query_run query_deployment_crn;

/* Whatever is under /api/atlas: query->argument is the path behind it, which takes the method. */
query_run query_atlas;
/* Whether a request of this path and method changes the graph, or may: paths that are not known do.
 * A search that is POSTed does not. */
bool query_atlas_writes(struct span path, enum query_method method);
/* Whether that path takes one of the methods (enum query_method), as query_atlas wants it. *allow
 * is what it takes, as a 405 says it, static; NULL: there is no such path. */
bool query_atlas_takes(struct span path, unsigned methods, const char **allow);

#endif
