/* The SQL of a read, for read.c. */
#ifndef COLLECTOR_STORE_READ_INTERNAL_H
#define COLLECTOR_STORE_READ_INTERNAL_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/err.h"
#include "collector/read.h"

/* Where in the query's time the rows of a kind can be: the partitions that are not empty. */
struct read_range {
    int64_t partitions; /* 0: there are no rows */
    int64_t start_ms;   /* both inclusive */
    int64_t end_ms;
};

/* What the snapshot holds, as far as the query depends on it. */
struct read_facts {
    int64_t settled;    /* the largest batch that a page shows */
    bool has_labels;    /* delayed_metric has rows in the range */
    bool has_waiting;   /* labels wait */
    int64_t horizon_ms; /* rows that begin before it are dropped or about to be; INT64_MIN: none */
    struct read_range predictions, aggregates;
};

/* Where a page begins and how long it is. */
struct read_position {
    int64_t settled;  /* INT64_MAX: no page, everything committed */
    int64_t batch_id; /* rows behind (batch_id, ordinal); -1: from the start */
    int64_t ordinal;
    int64_t limit; /* 0: none */
};

/* The deployments that the query's CRNs mean. Of more than a query has streams only that they are
 * many is known: their rows are sorted, with the CRNs joined to them. */
struct read_deployments {
    PGresult *rows;    /* (deployment, crn, build_crn, model_crn), ascending; NULL: many */
    struct buf filter; /* of many: a condition on m.deployment; empty: all there are */
};
void read_deployments_free(struct read_deployments *deployments);
AUTO_DEFINE(struct read_deployments, read_deployments_free);

/* Begins the read's one transaction and asks for the facts. */
int store_read_begin(PGconn *conn, const struct read_query *query, struct read_facts *facts,
                     struct err *err) MUST_CHECK;
/* Owned. */
struct read_deployments *store_read_deployments(PGconn *conn, const struct read_query *query,
                                                struct err *err) MUST_CHECK;
/* No row can answer the query: there is nothing to select from. */
bool store_read_is_empty(const struct read_query *query, const struct read_facts *facts,
                         const struct read_deployments *deployments);
/* "COPY (SELECT batch_id, ordinal, deployment, start_at, end_at, uuid, metrics, labels ...) TO
 * STDOUT (FORMAT binary)", in order of insertion; of many deployments also crn, build_crn and
 * model_crn. *sorts: so many streams that Postgres has to sort instead of merging them. */
void store_read_write_copy(struct buf *sql, const struct read_query *query,
                           const struct read_facts *facts, const struct read_position *position,
                           const struct read_deployments *deployments, bool *sorts);
/* The query of which the COPY above is made; what EXPLAIN is asked in the tests. */
void store_read_write_select(struct buf *sql, const struct read_query *query,
                             const struct read_facts *facts, const struct read_position *position,
                             const struct read_deployments *deployments, bool *sorts);
/* (batch_id, ordinal) of the last row of the page, if there is one behind it: no row otherwise.
 * Owned. */
PGresult *store_read_page_end(PGconn *conn, const struct read_query *query,
                              const struct read_facts *facts, const struct read_position *position,
                              const struct read_deployments *deployments,
                              struct err *err) MUST_CHECK;
/* Tells the planner, for this transaction, to follow the index of insertion and never to sort,
 * unless `sorts`. */
int store_read_plan(PGconn *conn, bool sorts, struct err *err) MUST_CHECK;

#endif
