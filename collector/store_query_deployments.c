/* GET /v1/deployments: the catalog, with what the graph and the metrics know of each deployment.
 *
 *   candidates   a chunk of deployments in order of first sight, each with its entity; where the
 *                entity is asked for something that few have, those few
 *   training     whether the build's process read anything but its project
 *   last         the greatest start of a prediction, found as /v1/impact finds it
 *
 * What is behind the candidates is a look-up by an index for each of them (LATERAL, OFFSET 0). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "collector/keyring.h"
#include "collector/queries.h"
#include "collector/store_impact_internal.h"
#include "collector/store_internal.h"
#include "collector/store_pool.h"

enum {
    DEPLOYMENTS_CHUNK = 1000,
    DEPLOYMENTS_FEW =
        5000, /* entities that are begun with; of more, one of the next is among them */
    DEPLOYMENTS_LOOKED_AT_MAX = 10000, /* for one page, which is then shorter */
    DEPLOYMENTS_LIMIT_MAX = 100000,
};

#define DEPLOYMENT_ENTITY " type = 'ml_model_deployment' AND NOT is_deleted AND to_batch IS NULL"
/* What is asked of the entity; each has an index of its own in sql/009_builds.sql. A status that
 * nobody said, and that of a deployment without an entity, is unknown. */
#define DEPLOYMENT_WANTED                                                                          \
    " ($1::text IS NULL OR attributes ->> 'status' = $1::text"                                     \
    "  OR $1::text = 'unknown' AND attributes ->> 'status' IS NULL)"                               \
    " AND ($2::text IS NULL OR attributes #>> '{metadata,plumbline.environment}' = $2::text"       \
    "  AND left(attributes #>> '{metadata,plumbline.environment}', 300) = left($2::text, 300))"    \
    " AND ($3::text IS NULL OR attributes ->> 'name' = $3::text"                                   \
    "  AND left(attributes ->> 'name', 300) = left($3::text, 300))"

#define DEPLOYMENT_COUNT_SQL                                                                       \
    "SELECT count(*) FROM (SELECT FROM entity WHERE" DEPLOYMENT_ENTITY " AND" DEPLOYMENT_WANTED    \
    " LIMIT $4::bigint) AS found"

/* The candidates. $4: at most so many; $5: what stands behind the CRN in an entity's name; $6:
 * behind this deployment, or (text) the CRN of the only one. */
#define DEPLOYMENT_BY_CATALOG                                                                      \
    "SELECT d.*, e.attributes FROM model_deployment AS d LEFT JOIN LATERAL (SELECT attributes"     \
    " FROM entity WHERE" DEPLOYMENT_ENTITY " AND qualified_name = d.crn || $5::text OFFSET 0)"     \
    " AS e ON true WHERE d.deployment > $6::bigint AND" DEPLOYMENT_WANTED                          \
    " ORDER BY d.deployment LIMIT $4::bigint"
#define DEPLOYMENT_BY_ENTITY                                                                       \
    "SELECT d.*, e.attributes FROM (SELECT left(qualified_name, -length($5::text)) AS crn,"        \
    " attributes FROM entity WHERE" DEPLOYMENT_ENTITY " AND" DEPLOYMENT_WANTED                     \
    " AND right(qualified_name, length($5::text)) = $5::text OFFSET 0) AS e"                       \
    " JOIN LATERAL (SELECT * FROM model_deployment WHERE crn = e.crn AND deployment > $6::bigint"  \
    " OFFSET 0) AS d ON true ORDER BY d.deployment LIMIT $4::bigint"
#define DEPLOYMENT_BY_CRN                                                                          \
    "SELECT d.*, e.attributes FROM model_deployment AS d LEFT JOIN LATERAL (SELECT attributes"     \
    " FROM entity WHERE" DEPLOYMENT_ENTITY " AND qualified_name = d.crn || $5::text OFFSET 0)"     \
    " AS e ON true WHERE d.crn = $6::text AND" DEPLOYMENT_WANTED " LIMIT $4::bigint"

#define DEPLOYMENT_EDGE " AND NOT is_deleted AND to_batch IS NULL"
#define DEPLOYMENT_TRAINING                                                                        \
    " LEFT JOIN LATERAL (SELECT entity_id FROM entity WHERE type = 'ml_model_build'"               \
    " AND qualified_name = d.build_crn || $5::text" DEPLOYMENT_EDGE " OFFSET 0) AS build ON true"  \
    " LEFT JOIN LATERAL (SELECT end1 AS process FROM relationship WHERE end2 = build.entity_id"    \
    " AND type = 'process_dataset_outputs'" DEPLOYMENT_EDGE " LIMIT 1) AS trained ON true"         \
    " CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM relationship AS r CROSS JOIN LATERAL"         \
    " (SELECT FROM entity WHERE entity_id = r.end2 AND to_batch IS NULL AND type <> 'ml_project'"  \
    " OFFSET 0) AS input WHERE r.end1 = trained.process AND r.type = 'dataset_process_inputs'"     \
    " AND NOT r.is_deleted AND r.to_batch IS NULL) AS is_known OFFSET 0) AS training"

#define DEPLOYMENT_COLUMNS                                                                         \
    "SELECT d.crn, coalesce(d.build_crn, ''), coalesce(d.model_crn, ''),"                          \
    " coalesce(d.project_crn, ''), d.model_deployment_id,"                                         \
    " (extract(epoch FROM d.first_seen_at) * 1000)::bigint,"                                       \
    " coalesce(nullif(d.attributes ->> 'name', d.crn || $5::text), ''),"                           \
    " coalesce(d.attributes ->> 'status', 'unknown'),"                                             \
    " coalesce(d.attributes #>> '{metadata,plumbline.environment}', ''), training.is_known,"       \
    " d.deployment"

enum { DEPLOYMENT_COLUMN_KNOWN = 9, DEPLOYMENT_COLUMN_NUMBER };

#define DEPLOYMENT_SQL(candidates)                                                                 \
    DEPLOYMENT_COLUMNS " FROM (" candidates ") AS d" DEPLOYMENT_TRAINING
#define DEPLOYMENT_ORDER " ORDER BY d.deployment"

static const char deployments_begin_sql[] = STORE_BEGIN_READ
    "SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off;"
    "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;"
    "SET LOCAL enable_seqscan = off; SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL jit "
    "= off";

/* ---------------------------------------------------------------------------- what is asked for */

enum training { TRAINING_ANY, TRAINING_KNOWN, TRAINING_UNKNOWN };

struct deployments_ask {
    const char *status, *environment, *model_name; /* borrowed; NULL: any */
    char *behind;                                  /* owned; "@cm" */
    enum training training;
    int64_t last_from_ms, last_to_ms; /* INT64_MIN, INT64_MAX: any */
    int64_t after, limit;             /* limit 0: all */
    bool is_few;                      /* the entities are begun with */
    bool has_rollups;
    const struct query *query; /* whose key may be restricted to CRNs */
};

static int ask_parse_status(struct deployments_ask *ask, struct fault *fault)
{
    static const char *const statuses[] = { "deploying", "deployed", "stopping", "stopped",
                                            "unknown" };

    for (size_t i = 0; ask->status && i < LENGTH(statuses); i++) {
        if (strcmp(ask->status, statuses[i]) == 0)
            return 0;
    }
    if (!ask->status)
        return 0;
    return fault_set(fault, 400, "invalid_parameter", "status",
                     "\"status\" must be deploying, deployed, stopping, stopped or unknown: "
                     "\"%.*s\"",
                     fault_quote_len(strlen(ask->status)), ask->status);
}

static int ask_parse_training(struct deployments_ask *ask, struct span text, struct fault *fault)
{
    if (!text.data)
        return 0;
    ask->training = span_is(text, "known") ? TRAINING_KNOWN : TRAINING_UNKNOWN;
    if (ask->training == TRAINING_KNOWN || span_is(text, "unknown"))
        return 0;
    return fault_set(fault, 400, "invalid_parameter", "training_data",
                     "\"training_data\" must be known or unknown: \"%.*s\"",
                     fault_quote_len(text.len), text.data);
}

static int ask_parse(struct deployments_ask *ask, const struct parameters *parameters,
                     struct fault *fault)
{
    ask->status = parameters_get(parameters, "status").data;
    ask->environment = parameters_get(parameters, "environment").data;
    ask->model_name = parameters_get(parameters, "model_name").data;
    if (ask_parse_status(ask, fault) < 0 ||
        ask_parse_training(ask, parameters_get(parameters, "training_data"), fault) < 0)
        return -1;
    if (parameters_get_i64(parameters, "last_prediction_from_ms", INT64_MIN, INT64_MAX,
                           &ask->last_from_ms, fault) < 0 ||
        parameters_get_i64(parameters, "last_prediction_to_ms", INT64_MIN, INT64_MAX,
                           &ask->last_to_ms, fault) < 0 ||
        parameters_get_i64(parameters, "limit", 1, DEPLOYMENTS_LIMIT_MAX, &ask->limit, fault) < 0)
        return -1;
    if (!ask->limit && parameters_get(parameters, "cursor").data)
        return fault_set(fault, 400, "invalid_parameter", "cursor", "\"cursor\" needs \"limit\"");
    return parameters_get_i64(parameters, "cursor", 0, INT32_MAX, &ask->after, fault);
}

/* Whether rows that were read have to be left out. */
static bool ask_is_picky(const struct deployments_ask *ask)
{
    return (ask->query->key && ask->query->key->prefixes.len) || ask->training != TRAINING_ANY ||
           ask->last_from_ms != INT64_MIN || ask->last_to_ms != INT64_MAX;
}

/* Who never predicted did nothing since any time, and nothing at any. */
static bool ask_wants(const struct deployments_ask *ask, const PGresult *result, int row,
                      int64_t last_ms)
{
    bool is_known = store_get_bool(result, row, DEPLOYMENT_COLUMN_KNOWN);

    if (!query_allows_crn(ask->query, store_get_span(result, row, 0)))
        return false;
    if (ask->training != TRAINING_ANY && is_known != (ask->training == TRAINING_KNOWN))
        return false;
    return last_ms >= ask->last_from_ms && last_ms <= ask->last_to_ms;
}

/* ----------------------------------------------------------------------------------- the answer */

static void ask_params(const struct deployments_ask *ask, struct store_params *params,
                       const char *rows)
{
    store_param_text(params, ask->status);
    store_param_text(params, ask->environment);
    store_param_text(params, ask->model_name);
    store_param_text(params, rows);
}

/* A chunk of at most `rows` candidates. */
static PGresult *deployments_read(PGconn *conn, const struct deployments_ask *ask, int64_t rows,
                                  struct err *err)
{
    struct store_params params = { 0 };
    char after[24], limit[24];

    (void)snprintf(after, sizeof(after), "%" PRId64, ask->after);
    (void)snprintf(limit, sizeof(limit), "%" PRId64, rows);
    ask_params(ask, &params, limit);
    store_param_text(&params, ask->behind);
    store_param_text(&params, after);
    return store_query_params(conn,
                              ask->is_few ? DEPLOYMENT_SQL(DEPLOYMENT_BY_ENTITY) DEPLOYMENT_ORDER
                                          : DEPLOYMENT_SQL(DEPLOYMENT_BY_CATALOG) DEPLOYMENT_ORDER,
                              &params, "deployments", err);
}

/* When each of the result last predicted. */
static int deployments_find_last(PGconn *conn, const PGresult *result, bool has_rollups,
                                 struct impact_rows *rows, struct err *err)
{
    rows->len = (size_t)PQntuples(result);
    rows->items = xcalloc(rows->len, sizeof(*rows->items));
    for (size_t i = 0; i < rows->len; i++)
        rows->items[i].deployment =
            (int32_t)store_get_i64(result, (int)i, DEPLOYMENT_COLUMN_NUMBER);
    return impact_find_last_of_all(conn, has_rollups, rows, err);
}

static void deployment_write(struct buf *out, const PGresult *result, int row, int64_t last_ms)
{
    static const char *const crns[] = { "{\"modelDeploymentCrn\":", ",\"modelBuildCrn\":",
                                        ",\"modelCrn\":", ",\"projectCrn\":" };
    static const char *const texts[] = { ",\"modelName\":", ",\"status\":", ",\"environment\":" };
    int column = 0;

    for (size_t i = 0; i < LENGTH(crns); i++) {
        buf_append_text(out, crns[i]);
        buf_append_json(out, span_of(PQgetvalue(result, row, column++)));
    }
    buf_append_fmt(out, ",\"modelDeploymentId\":%s",
                   PQgetisnull(result, row, column) ? "null" : PQgetvalue(result, row, column));
    column++;
    buf_append_fmt(out, ",\"firstSeenMs\":%s", PQgetvalue(result, row, column++));
    for (size_t i = 0; i < LENGTH(texts); i++) {
        buf_append_text(out, texts[i]);
        buf_append_json(out, span_of(PQgetvalue(result, row, column++)));
    }
    buf_append_fmt(out, ",\"trainingData\":\"%s\"",
                   store_get_bool(result, row, column) ? "known" : "unknown");
    if (last_ms == INT64_MIN)
        buf_append_text(out, ",\"lastPredictionMs\":null}");
    else
        buf_append_fmt(out, ",\"lastPredictionMs\":%" PRId64 "}", last_ms);
}

/* A page under way. */
struct deployments_page {
    int64_t shown, looked_at;
    bool is_over;   /* there is no more to look at, or no more is wanted */
    int64_t cursor; /* 0: there is nothing behind it */
};

static void deployments_write_rows(const struct deployments_ask *ask, struct deployments_page *page,
                                   const PGresult *result, const struct impact_rows *rows,
                                   struct buf *out)
{
    for (int row = 0; row < (int)rows->len; row++) {
        int64_t last_ms = rows->items[row].last_ms;

        if (!ask_wants(ask, result, row, last_ms))
            continue;
        if (ask->limit && page->shown == ask->limit) {
            page->is_over = true; /* the cursor is that of the row before */
            return;
        }
        if (page->shown++)
            buf_append_char(out, ',');
        deployment_write(out, result, row, last_ms);
        page->cursor = store_get_i64(result, row, DEPLOYMENT_COLUMN_NUMBER);
    }
}

static int deployments_write_chunk(PGconn *conn, struct deployments_ask *ask,
                                   struct deployments_page *page, struct buf *out, struct err *err)
{
    int64_t want = DEPLOYMENTS_CHUNK;
    AUTO(store_result_free) PGresult *result = NULL;
    AUTO(impact_rows_done) struct impact_rows rows = { 0 };

    if (ask->limit && !ask_is_picky(ask) && ask->limit - page->shown < want)
        want = ask->limit - page->shown + 1;
    result = deployments_read(conn, ask, want, err);
    if (!result || deployments_find_last(conn, result, ask->has_rollups, &rows, err) < 0)
        return -1;
    deployments_write_rows(ask, page, result, &rows, out);
    if (page->is_over)
        return 0;
    page->looked_at += (int64_t)rows.len;
    if ((int64_t)rows.len < want) {
        page->is_over = true;
        page->cursor = 0;
        return 0;
    }
    ask->after = store_get_i64(result, (int)rows.len - 1, DEPLOYMENT_COLUMN_NUMBER);
    if (ask->limit && page->looked_at >= DEPLOYMENTS_LOOKED_AT_MAX) {
        page->is_over = true;
        page->cursor = ask->after;
    }
    return 0;
}

/* Few entities are what is asked for: then the catalog need not be gone through for them. Who is
 * unknown may have none. */
static int deployments_count(PGconn *conn, struct deployments_ask *ask, struct err *err)
{
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    char limit[24];

    if (!ask->environment && !ask->model_name &&
        (!ask->status || strcmp(ask->status, "unknown") == 0))
        return 0;
    (void)snprintf(limit, sizeof(limit), "%d", DEPLOYMENTS_FEW + 1);
    ask_params(ask, &params, limit);
    result = store_query_params(conn, DEPLOYMENT_COUNT_SQL, &params, "deployments", err);
    if (!result)
        return -1;
    ask->is_few = store_get_i64(result, 0, 0) <= DEPLOYMENTS_FEW;
    return 0;
}

static int deployments_write(PGconn *conn, struct deployments_ask *ask, struct query *query,
                             struct buf *out, struct err *err)
{
    struct deployments_page page = { 0 };

    if (store_exec(conn, deployments_begin_sql, "deployments", err) < 0 ||
        deployments_count(conn, ask, err) < 0)
        return -1;
    buf_append_text(out, "{\"deployments\":[");
    while (!page.is_over) {
        if (deployments_write_chunk(conn, ask, &page, out, err) < 0)
            return -1;
        if (out->len > QUERY_FLUSH_BYTES && query_flush(query, out, err) < 0)
            return -1;
    }
    if (page.cursor)
        buf_append_fmt(out, "],\"nextCursor\":\"%" PRId64 "\"}", page.cursor);
    else
        buf_append_text(out, "],\"nextCursor\":null}");
    return 0;
}

static void ask_init(struct deployments_ask *ask, const struct query *query)
{
    *ask = (struct deployments_ask){ .behind = xasprintf("@%s", query->config->atlas_namespace),
                                     .last_from_ms = INT64_MIN,
                                     .last_to_ms = INT64_MAX,
                                     .has_rollups = query->config->rollups,
                                     .query = query };
}

int query_deployments(struct store_pool *pool, struct query *query, struct buf *out,
                      unsigned *status, struct err *err)
{
    struct deployments_ask ask;
    PGconn *conn = NULL;
    int rc;

    (void)status;
    ask_init(&ask, query);
    rc = ask_parse(&ask, &query->parameters, &query->fault);
    if (rc == 0) {
        conn = store_pool_take(pool, err);
        rc = conn ? deployments_write(conn, &ask, query, out, err) : -1;
        store_pool_give(pool, conn, rc == 0);
    }
    free(ask.behind);
    return rc;
}

static int deployment_unknown(struct query *query)
{
    return fault_set(&query->fault, 404, "not_found", NULL, "no deployment has the CRN \"%.*s\"",
                     fault_quote_len(query->argument.len), query->argument.data);
}

/* Writes it when it is there; its fault is set when it is not. */
static int deployment_answer(PGconn *conn, const struct deployments_ask *ask, const char *crn,
                             struct query *query, struct buf *out, struct err *err)
{
    AUTO(store_result_free) PGresult *result = NULL;
    AUTO(impact_rows_done) struct impact_rows rows = { 0 };
    struct store_params params = { 0 };

    if (store_exec(conn, deployments_begin_sql, "deployment", err) < 0)
        return -1;
    ask_params(ask, &params, "1");
    store_param_text(&params, ask->behind);
    store_param_text(&params, crn);
    result =
        store_query_params(conn, DEPLOYMENT_SQL(DEPLOYMENT_BY_CRN), &params, "deployment", err);
    if (!result || deployments_find_last(conn, result, ask->has_rollups, &rows, err) < 0)
        return -1;
    if (rows.len == 0)
        return deployment_unknown(query);
    deployment_write(out, result, 0, rows.items[0].last_ms);
    return 0;
}

int query_deployment(struct store_pool *pool, struct query *query, struct buf *out,
                     unsigned *status, struct err *err)
{
    AUTO(mem_free) char *crn = xmemdup0(query->argument.data, query->argument.len);
    struct deployments_ask ask;
    PGconn *conn;
    int rc;

    (void)status;
    if (!query_allows_crn(query, query->argument)) /* how long it takes tells nothing either */
        return deployment_unknown(query);
    conn = store_pool_take(pool, err);
    if (!conn)
        return -1;
    ask_init(&ask, query);
    rc = deployment_answer(conn, &ask, crn, query, out, err);
    free(ask.behind);
    store_pool_give(pool, conn, rc == 0 || query->fault.status);
    return rc;
}
