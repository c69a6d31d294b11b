/* A read in SQL. Each (deployment, kind) is one stream in order of insertion, from one index in
 * each partition; all of them are merged. Labels are gathered beside each prediction.
 *
 *   SELECT r.*, (labels of r)
 *   FROM (SELECT ... FROM prediction WHERE deployment = 1 AND ...   index prediction_insertion
 *         UNION ALL SELECT ... FROM aggregate_metric WHERE deployment = 1 AND ...
 *         UNION ALL ...) AS r
 *   ORDER BY batch_id, ordinal                                      MergeAppend, no Sort
 */
#include "collector/store_read_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "collector/store_internal.h"

/* Index scans merged in one query; more are sorted. It is also how many deployments a read knows by
 * name (3 MB of CRNs at most). */
enum { READ_STREAMS_MAX = 1024 };

/* Both bounds inclusive. */
static void read_write_bounds(struct buf *sql, int64_t start_ms, int64_t end_ms, const char *alias)
{
    char from[CLOCK_TEXT_BYTES], to[CLOCK_TEXT_BYTES];

    clock_format(store_clamp_ms(start_ms), from);
    clock_format(store_clamp_ms(end_ms), to);
    buf_append_fmt(sql, "%s.start_at >= timestamptz '%s' AND %s.start_at <= timestamptz '%s'",
                   alias, from, alias, to);
}

static void read_get_range(const PGresult *result, int column, const struct read_query *query,
                           int64_t horizon_ms, struct read_range *range)
{
    int64_t from_ms = store_get_i64(result, 0, column + 1);
    int64_t to_ms = store_get_i64(result, 0, column + 2);

    range->partitions = store_get_i64(result, 0, column);
    range->start_ms = query->start_ms > from_ms ? query->start_ms : from_ms;
    if (range->start_ms < horizon_ms) /* what is not dropped yet is gone for readers already */
        range->start_ms = horizon_ms;
    range->end_ms = query->end_ms < to_ms ? query->end_ms : to_ms - 1;
}

int store_read_begin(PGconn *conn, const struct read_query *query, struct read_facts *facts,
                     struct err *err)
{
    AUTO(store_result_free) PGresult *result = NULL;
    AUTO(buf_done) struct buf sql;
    char from[CLOCK_TEXT_BYTES], to[CLOCK_TEXT_BYTES];

    buf_init(&sql, SIZE_MAX);
    clock_format(store_clamp_ms(query->start_ms), from);
    clock_format(store_clamp_ms(query->end_ms), to);
    buf_append_text(&sql, STORE_BEGIN_READ
                    "SELECT settled_batch(), EXISTS (SELECT FROM delayed_metric AS d WHERE ");
    read_write_bounds(&sql, query->start_ms, query->end_ms, "d");
    buf_append_fmt(&sql,
                   "), EXISTS (SELECT FROM delayed_metric_waiting), p.*, a.*,"
                   " (SELECT (extract(epoch FROM at) * 1000)::bigint FROM retention_horizon"
                   "  WHERE family = 'event')"
                   " FROM partition_span('prediction', '%s', '%s') AS p,"
                   " partition_span('aggregate_metric', '%s', '%s') AS a",
                   from, to, from, to);
    result = store_query(conn, buf_text(&sql), "begin read", err);
    if (!result)
        return -1;
    facts->settled = store_get_i64(result, 0, 0);
    facts->has_labels = store_get_bool(result, 0, 1);
    facts->has_waiting = store_get_bool(result, 0, 2);
    facts->horizon_ms = PQgetisnull(result, 0, 9) ? INT64_MIN : store_get_i64(result, 0, 9);
    read_get_range(result, 3, query, facts->horizon_ms, &facts->predictions);
    read_get_range(result, 6, query, facts->horizon_ms, &facts->aggregates);
    return 0;
}

static void read_add_crns(struct store_params *params, struct store_array *array,
                          const struct strings *crns)
{
    store_array_init(array, STORE_OID_TEXT);
    for (size_t i = 0; i < crns->len; i++)
        store_array_add_text(array, span_of(crns->items[i]));
    store_param_binary(params, store_array_end(array));
}

/* " AND column IN ('...', ...)": a COPY takes no parameters. */
static int read_write_crns(PGconn *conn, struct buf *sql, const char *column,
                           const struct strings *crns, struct err *err)
{
    if (!crns->len)
        return 0;
    buf_append_fmt(sql, " AND d.%s IN (", column);
    for (size_t i = 0; i < crns->len; i++) {
        char *literal = PQescapeLiteral(conn, crns->items[i], strlen(crns->items[i]));

        if (!literal)
            return store_fail(conn, NULL, "read deployments", err);
        buf_append_fmt(sql, "%s%s", i ? ", " : "", literal);
        PQfreemem(literal);
    }
    buf_append_char(sql, ')');
    return 0;
}

/* " AND (starts_with(d.crn, '...') OR ...)" */
static int read_write_prefixes(PGconn *conn, struct buf *sql, const struct strings *prefixes,
                               struct err *err)
{
    if (!prefixes || !prefixes->len)
        return 0;
    for (size_t i = 0; i < prefixes->len; i++) {
        char *literal = PQescapeLiteral(conn, prefixes->items[i], strlen(prefixes->items[i]));

        if (!literal)
            return store_fail(conn, NULL, "read deployments", err);
        buf_append_fmt(sql, "%sstarts_with(d.crn, %s)", i ? " OR " : " AND (", literal);
        PQfreemem(literal);
    }
    buf_append_char(sql, ')');
    return 0;
}

static int read_write_filter(PGconn *conn, const struct read_query *query, struct buf *filter,
                             struct err *err)
{
    if (!query->deployment_crns.len && !query->build_crns.len && !query->model_crns.len &&
        !query->crn_prefixes)
        return 0;
    buf_append_text(filter, " AND m.deployment IN (SELECT d.deployment FROM model_deployment AS d"
                            " WHERE true");
    if (read_write_crns(conn, filter, "crn", &query->deployment_crns, err) < 0 ||
        read_write_crns(conn, filter, "build_crn", &query->build_crns, err) < 0 ||
        read_write_crns(conn, filter, "model_crn", &query->model_crns, err) < 0 ||
        read_write_prefixes(conn, filter, query->crn_prefixes, err) < 0)
        return -1;
    buf_append_char(filter, ')');
    return 0;
}

struct read_deployments *store_read_deployments(PGconn *conn, const struct read_query *query,
                                                struct err *err)
{
    AUTO(read_deployments_free)
    struct read_deployments *deployments = xcalloc(1, sizeof(*deployments));
    AUTO(store_array_done)
    struct store_array crns = { 0 }, builds = { 0 }, models = { 0 }, prefixes = { 0 };
    const struct strings any = { 0 };
    struct store_params params = { 0 };
    char max[24];

    buf_init(&deployments->filter, SIZE_MAX);
    read_add_crns(&params, &crns, &query->deployment_crns);
    read_add_crns(&params, &builds, &query->build_crns);
    read_add_crns(&params, &models, &query->model_crns);
    read_add_crns(&params, &prefixes, query->crn_prefixes ? query->crn_prefixes : &any);
    (void)snprintf(max, sizeof(max), "%d", READ_STREAMS_MAX + 1);
    store_param_text(&params, max);
    deployments->rows =
        store_query_params(conn,
                           "SELECT deployment, crn, coalesce(build_crn, ''),"
                           " coalesce(model_crn, '')"
                           " FROM model_deployment"
                           " WHERE (cardinality($1::text[]) = 0 OR crn = ANY ($1))"
                           " AND (cardinality($2::text[]) = 0 OR build_crn = ANY ($2))"
                           " AND (cardinality($3::text[]) = 0 OR model_crn = ANY ($3))"
                           " AND (cardinality($4::text[]) = 0 OR EXISTS (SELECT"
                           " FROM unnest($4) AS p(prefix) WHERE starts_with(crn, p.prefix)))"
                           " ORDER BY deployment LIMIT $5::int",
                           &params, "read deployments", err);
    if (!deployments->rows)
        return NULL;
    if (PQntuples(deployments->rows) > READ_STREAMS_MAX) {
        PQclear(TAKE(deployments->rows));
        if (read_write_filter(conn, query, &deployments->filter, err) < 0)
            return NULL;
    }
    return TAKE(deployments);
}

void read_deployments_free(struct read_deployments *deployments)
{
    if (!deployments)
        return;
    PQclear(deployments->rows);
    buf_done(&deployments->filter);
    free(deployments);
}

/* -------------------------------------------------------------------------------------- streams */

static void read_write_where(struct buf *sql, const struct read_range *range,
                             const struct read_position *position)
{
    read_write_bounds(sql, range->start_ms, range->end_ms, "m");
    if (position->settled != INT64_MAX)
        buf_append_fmt(sql, " AND m.batch_id <= %" PRId64, position->settled);
    if (position->batch_id >= 0)
        buf_append_fmt(sql, " AND (m.batch_id, m.ordinal) > (%" PRId64 ", %" PRId64 ")",
                       position->batch_id, position->ordinal);
}

static void read_write_uuids(struct buf *sql, const struct read_query *query)
{
    buf_append_text(sql, " AND m.uuid = ANY ('{");
    for (size_t i = 0; i < query->uuids_len; i++) {
        char text[UUID_TEXT_LEN + 1];

        uuid_format(&query->uuids[i], text);
        buf_append_fmt(sql, "%s%s", i ? "," : "", text);
    }
    buf_append_text(sql, "}')");
}

static bool read_has_predictions(const struct read_query *query, const struct read_facts *facts)
{
    return query->predictions && facts->predictions.partitions > 0;
}

static bool read_has_aggregates(const struct read_query *query, const struct read_facts *facts)
{
    return query->aggregates && !query->uuids_len && facts->aggregates.partitions > 0;
}

static void read_write_deployments(struct buf *sql, const struct read_deployments *deployments)
{
    if (!deployments->rows) {
        buf_append_span(sql, buf_span(&deployments->filter));
        return;
    }
    buf_append_text(sql, " AND m.deployment = ANY ('{");
    for (int i = 0; i < PQntuples(deployments->rows); i++)
        buf_append_fmt(sql, "%s%s", i ? "," : "", PQgetvalue(deployments->rows, i, 0));
    buf_append_text(sql, "}')");
}

/* The rows of one kind: a stream a deployment, each in order; all in one without order when they
 * are to be sorted. */
static void read_write_kind(struct buf *sql, const struct read_query *query,
                            const struct read_position *position, const struct read_range *range,
                            const char *columns, const struct read_deployments *deployments,
                            const char *separator, bool sorts)
{
    for (int i = 0; i < (sorts ? 1 : PQntuples(deployments->rows)); i++) {
        buf_append_text(sql, i ? " UNION ALL " : separator);
        buf_append_fmt(sql,
                       "(SELECT m.batch_id, m.ordinal, m.deployment, m.start_at, m.end_at, %s AS m"
                       " WHERE ",
                       columns);
        read_write_where(sql, range, position);
        if (sorts)
            read_write_deployments(sql, deployments);
        else
            buf_append_fmt(sql, " AND m.deployment = %s", PQgetvalue(deployments->rows, i, 0));
        if (query->uuids_len)
            read_write_uuids(sql, query);
        buf_append_text(sql, sorts ? ")" : " ORDER BY m.batch_id, m.ordinal)");
    }
}

bool store_read_is_empty(const struct read_query *query, const struct read_facts *facts,
                         const struct read_deployments *deployments)
{
    return (deployments->rows && PQntuples(deployments->rows) == 0) ||
           (!read_has_predictions(query, facts) && !read_has_aggregates(query, facts));
}

static void read_write_streams(struct buf *sql, const struct read_query *query,
                               const struct read_facts *facts, const struct read_position *position,
                               const struct read_deployments *deployments, bool *sorts)
{
    bool predictions = read_has_predictions(query, facts);
    bool aggregates = read_has_aggregates(query, facts);
    int64_t partitions = (predictions ? facts->predictions.partitions : 0) +
                         (aggregates ? facts->aggregates.partitions : 0);

    *sorts = query->uuids_len || !deployments->rows ||
             PQntuples(deployments->rows) * partitions > READ_STREAMS_MAX;
    if (predictions)
        read_write_kind(sql, query, position, &facts->predictions,
                        "m.uuid, m.metrics FROM prediction", deployments, "", *sorts);
    if (aggregates)
        read_write_kind(sql, query, position, &facts->aggregates,
                        "NULL::uuid AS uuid, m.metrics FROM aggregate_metric", deployments,
                        predictions ? " UNION ALL " : "", *sorts);
}

/* --------------------------------------------------------------------------------------- labels */

/* Labels in order of revision, then those that still wait in order of arrival, beside the
 * prediction where they will go; null where there are none. */
static void read_write_labels(struct buf *sql, const struct read_facts *facts,
                              const struct read_position *position)
{
    AUTO(buf_done) struct buf settled;

    buf_init(&settled, 64);
    if ((!facts->has_labels && !facts->has_waiting) || !facts->predictions.partitions) {
        buf_append_text(sql, "NULL::json[]");
        return;
    }
    if (position->settled != INT64_MAX)
        buf_append_fmt(&settled, " AND l.batch_id <= %" PRId64, position->settled);
    if (!facts->has_waiting) {
        buf_append_text(sql,
                        "(SELECT array_agg(l.metrics ORDER BY l.revision) FROM delayed_metric AS l"
                        " WHERE l.uuid = r.uuid AND l.deployment = r.deployment"
                        " AND l.start_at = r.start_at AND ");
        read_write_bounds(sql, facts->predictions.start_ms, facts->predictions.end_ms, "l");
        buf_append_fmt(sql, "%s)", buf_text(&settled));
        return;
    }
    buf_append_text(
        sql,
        "(SELECT array_agg(a.metrics ORDER BY a.waits, a.revision, a.batch_id, a.ordinal) FROM"
        " (SELECT 0 AS waits, l.revision, l.batch_id, l.ordinal, l.metrics FROM delayed_metric AS l"
        " WHERE l.uuid = r.uuid AND l.deployment = r.deployment"
        " AND l.start_at = r.start_at AND ");
    read_write_bounds(sql, facts->predictions.start_ms, facts->predictions.end_ms, "l");
    buf_append_fmt(sql,
                   "%s UNION ALL SELECT 1, 0, l.batch_id, l.ordinal, l.metrics FROM "
                   "delayed_metric_waiting AS l"
                   " WHERE l.uuid = r.uuid%s"
                   " AND prediction_is_first(l.uuid, r.batch_id, r.ordinal)) AS a)",
                   buf_text(&settled), buf_text(&settled));
}

/* "ORDER BY ... LIMIT": one more than the page tells whether there is a next one. */
static void read_write_order(struct buf *sql, const char *alias,
                             const struct read_position *position)
{
    buf_append_fmt(sql, " ORDER BY %s.batch_id, %s.ordinal", alias, alias);
    if (position->limit)
        buf_append_fmt(sql, " LIMIT %" PRId64, position->limit + 1);
}

/* Of many deployments the rows are sorted without what is gathered beside each, which then comes by
 * a walk over them in order: OFFSET 0 leaves the planner nothing but a nested loop. */
void store_read_write_select(struct buf *sql, const struct read_query *query,
                             const struct read_facts *facts, const struct read_position *position,
                             const struct read_deployments *deployments, bool *sorts)
{
    bool is_many = !deployments->rows;

    buf_append_text(
        sql,
        "SELECT r.batch_id, r.ordinal, r.deployment, r.start_at, r.end_at, r.uuid, r.metrics, ");
    read_write_labels(sql, facts, position);
    buf_append_text(sql, is_many ? ", d.crn, d.build_crn, d.model_crn FROM (SELECT * FROM ("
                                 : " FROM (");
    read_write_streams(sql, query, facts, position, deployments, sorts);
    if (is_many) {
        buf_append_text(sql, ") AS s");
        read_write_order(sql, "s", position);
        buf_append_text(sql, ") AS r CROSS JOIN LATERAL (SELECT d.crn, coalesce(d.build_crn, '')"
                             " AS build_crn, coalesce(d.model_crn, '') AS model_crn"
                             " FROM model_deployment AS d WHERE d.deployment = r.deployment"
                             " OFFSET 0) AS d");
    } else {
        buf_append_text(sql, ") AS r");
    }
    read_write_order(sql, "r", position);
}

void store_read_write_copy(struct buf *sql, const struct read_query *query,
                           const struct read_facts *facts, const struct read_position *position,
                           const struct read_deployments *deployments, bool *sorts)
{
    buf_append_text(sql, "COPY (");
    store_read_write_select(sql, query, facts, position, deployments, sorts);
    buf_append_text(sql, ") TO STDOUT (FORMAT binary)");
}

PGresult *store_read_page_end(PGconn *conn, const struct read_query *query,
                              const struct read_facts *facts, const struct read_position *position,
                              const struct read_deployments *deployments, struct err *err)
{
    AUTO(buf_done) struct buf sql;
    bool sorts;

    buf_init(&sql, SIZE_MAX);
    buf_append_text(&sql, "SELECT r.batch_id, r.ordinal FROM (");
    read_write_streams(&sql, query, facts, position, deployments, &sorts);
    buf_append_fmt(&sql, ") AS r ORDER BY r.batch_id, r.ordinal LIMIT 2 OFFSET %" PRId64,
                   position->limit - 1);
    if (store_read_plan(conn, sorts, err) < 0)
        return NULL;
    return store_query(conn, buf_text(&sql), "page end", err);
}

int store_read_plan(PGconn *conn, bool sorts, struct err *err)
{
    if (sorts)
        return store_exec(conn, "SET LOCAL max_parallel_workers_per_gather = 0", "plan", err);
    return store_exec(
        conn,
        "SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off;"
        "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off;"
        "SET LOCAL enable_mergejoin = off; SET LOCAL max_parallel_workers_per_gather = 0",
        "plan", err);
}
