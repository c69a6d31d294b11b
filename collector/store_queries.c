/* The small questions that the database answers: the books, a deployment's CRN. */
#include "collector/queries.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "collector/balance.h"
#include "collector/keyring.h"
#include "collector/spool.h"
#include "collector/store.h"
#include "collector/store_internal.h"
#include "collector/store_pool.h"

enum { BALANCE_LOOKS_MAX = 5 };

int query_balance(struct store_pool *pool, struct query *query, struct buf *out, unsigned *status,
                  struct err *err)
{
    struct balance balance = { 0 };
    uint64_t drops = 0;

    (void)status;
    /* what leaves the spool between two looks would be in neither: look again */
    for (int i = 0; i < BALANCE_LOOKS_MAX; i++) {
        if (query->spool)
            drops = spool_drops(query->spool);
        balance = (struct balance){ 0 };
        if (store_balance_read(store_pool_dsn(pool), &balance, err) < 0)
            return -1;
        if (query->spool)
            spool_balance_add(query->spool, &balance);
        if (!query->spool || spool_drops(query->spool) == drops)
            break;
    }
    balance_write_json(&balance, true, out);
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
    int row = 0;

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
                           " ORDER BY deployment DESC",
                           &params, "deployment", err);
    store_pool_give(pool, conn, true);
    if (!result)
        return -1;
    while (row < PQntuples(result) && !query_allows_crn(query, store_get_span(result, row, 0)))
        row++;
    if (row == PQntuples(result))
        return fault_set(&query->fault, 404, "not_found", "modelDeploymentID",
                         "no deployment with modelDeploymentID %" PRId64
                         " is known: a model_deployed event makes it known",
                         id);
    buf_append_text(out, "{\"modelDeploymentCrn\":");
    buf_append_json(out, store_get_span(result, row, 0));
    buf_append_char(out, '}');
    return 0;
}
