/* The small questions that the database answers: the catalog, the books, a deployment's CRN. */
#include "collector/queries.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "collector/balance.h"
#include "collector/store.h"
#include "collector/store_internal.h"
#include "collector/store_pool.h"

enum { DEPLOYMENTS_FETCH = 1000 };

#define DEPLOYMENT_COLUMNS                                                                         \
    "crn, coalesce(build_crn, ''), coalesce(model_crn, ''), coalesce(project_crn, ''),"            \
    " model_deployment_id, (extract(epoch FROM first_seen_at) * 1000)::bigint"

static void deployment_write(struct buf *out, const PGresult *result, int row)
{
    static const char *const names[] = { "{\"modelDeploymentCrn\":", ",\"modelBuildCrn\":",
                                         ",\"modelCrn\":", ",\"projectCrn\":" };

    for (int column = 0; column < (int)LENGTH(names); column++) {
        buf_append_text(out, names[column]);
        buf_append_json(out, span_of(PQgetvalue(result, row, column)));
    }
    buf_append_text(out, ",\"modelDeploymentId\":");
    buf_append_text(out, PQgetisnull(result, row, 4) ? "null" : PQgetvalue(result, row, 4));
    buf_append_fmt(out, ",\"firstSeenMs\":%s}", PQgetvalue(result, row, 5));
}

static int deployments_write(PGconn *conn, struct query *query, struct buf *out, struct err *err)
{
    const char *separator = "";
    int rows;

    if (store_exec(conn,
                   "BEGIN READ ONLY; DECLARE c CURSOR FOR SELECT " DEPLOYMENT_COLUMNS
                   " FROM model_deployment ORDER BY deployment",
                   "deployments", err) < 0)
        return -1;
    buf_append_text(out, "{\"deployments\":[");
    do {
        AUTO(store_result_free)
        PGresult *result = store_query(conn, "FETCH 1000 FROM c", "deployments", err);

        if (!result)
            return -1;
        rows = PQntuples(result);
        for (int row = 0; row < rows; row++) {
            buf_append_text(out, separator);
            deployment_write(out, result, row);
            separator = ",";
        }
        if (out->len > QUERY_FLUSH_BYTES && query_flush(query, out, err) < 0)
            return -1;
    } while (rows == DEPLOYMENTS_FETCH);
    buf_append_text(out, "],\"nextCursor\":null}");
    return 0;
}

int query_deployments(struct store_pool *pool, struct query *query, struct buf *out,
                      unsigned *status, struct err *err)
{
    PGconn *conn = store_pool_take(pool, err);
    int rc = conn ? deployments_write(conn, query, out, err) : -1;

    (void)status;
    store_pool_give(pool, conn, rc == 0);
    return rc;
}

int query_deployment(struct store_pool *pool, struct query *query, struct buf *out,
                     unsigned *status, struct err *err)
{
    PGconn *conn = store_pool_take(pool, err);
    AUTO(store_array_done) struct store_array crn;
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };

    (void)status;
    store_array_init(&crn, STORE_OID_TEXT);
    if (!conn)
        return -1;
    store_array_add_text(&crn, query->argument);
    store_param_binary(&params, store_array_end(&crn));
    result = store_query_params(conn,
                                "SELECT " DEPLOYMENT_COLUMNS
                                " FROM model_deployment WHERE crn = ANY ($1)",
                                &params, "deployment", err);
    store_pool_give(pool, conn, true);
    if (!result)
        return -1;
    if (PQntuples(result) == 0)
        return fault_set(&query->fault, 404, "not_found", NULL,
                         "no deployment has the CRN \"%.*s\"", fault_quote_len(query->argument.len),
                         query->argument.data);
    deployment_write(out, result, 0);
    return 0;
}

int query_balance(struct store_pool *pool, struct query *query, struct buf *out, unsigned *status,
                  struct err *err)
{
    struct balance balance = { 0 };

    (void)query;
    (void)status;
    if (store_balance_read(store_pool_dsn(pool), &balance, err) < 0)
        return -1;
    balance_write_json(&balance, out);
    return 0;
}

/* The integer id that the platform gives a deployment: from "modelDeploymentID" of the body. */
static int query_parse_id(struct query *query, int64_t *id)
{
    json_error_t error;
    json_t *body = json_loadb(query->body.data ? query->body.data : "", query->body.len, 0, &error);
    const json_t *member = json_object_get(body, "modelDeploymentID");
    int rc = -1;

    if (!body)
        return fault_set(&query->fault, 400, "invalid_json", NULL, "line %d, column %d: %s",
                         error.line, error.column, error.text);
    if (!json_is_object(body))
        (void)fault_set(&query->fault, 400, "invalid_json", NULL, "the body must be a JSON object");
    else if (!member || json_is_null(member))
        (void)fault_set(&query->fault, 400, "missing_field", "modelDeploymentID",
                        "\"modelDeploymentID\" is missing");
    else if (!json_is_integer(member))
        (void)fault_set(&query->fault, 400, "invalid_field", "modelDeploymentID",
                        "\"modelDeploymentID\" must be an integer");
    else
        rc = 0;
    *id = json_integer_value(member);
    json_decref(body);
    return rc;
}

int query_deployment_crn(struct store_pool *pool, struct query *query, struct buf *out,
                         unsigned *status, struct err *err)
{
    PGconn *conn = NULL;
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    char number[24];
    int64_t id = 0;

    (void)status;
    if (query_parse_id(query, &id) < 0)
        return -1;
    conn = store_pool_take(pool, err);
    if (!conn)
        return -1;
    (void)snprintf(number, sizeof(number), "%" PRId64, id);
    store_param_text(&params, number);
    /* ids are one workspace's own: of two deployments that say the same, the later */
    result =
        store_query_params(conn,
                           "SELECT crn FROM model_deployment WHERE model_deployment_id = $1::bigint"
                           " ORDER BY deployment DESC LIMIT 1",
                           &params, "deployment", err);
    store_pool_give(pool, conn, true);
    if (!result)
        return -1;
    if (PQntuples(result) == 0)
        return fault_set(&query->fault, 404, "not_found", "modelDeploymentID",
                         "no deployment with modelDeploymentID %" PRId64
                         " is known: a model_deployed event makes it known",
                         id);
    buf_append_text(out, "{\"modelDeploymentCrn\":");
    buf_append_json(out, span_of(PQgetvalue(result, 0, 0)));
    buf_append_char(out, '}');
    return 0;
}
