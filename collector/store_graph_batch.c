#include "collector/store_graph_batch_internal.h"

#include <inttypes.h>
#include <stdio.h>

#include "collector/store_internal.h"

int graph_batch_lock(PGconn *conn, int64_t wait_ms_max, struct err *err)
{
    char sql[160];

    (void)snprintf(sql, sizeof(sql),
                   "BEGIN; SET LOCAL lock_timeout = %" PRId64
                   "; SELECT pg_advisory_xact_lock(%d, %d); SET LOCAL lock_timeout = 0",
                   wait_ms_max, STORE_LOCK_CLASS, STORE_LOCK_GRAPH);
    return store_exec(conn, sql, "lock graph", err);
}

int graph_batch_number(PGconn *conn, int64_t *batch_id, struct err *err)
{
    AUTO(store_result_free)
    PGresult *result = store_query(conn, "SELECT graph_begin()", "begin graph batch", err);

    if (!result)
        return -1;
    *batch_id = store_get_i64(result, 0, 0);
    return 0;
}

enum store_result graph_batch_commit(PGconn *conn, struct err *err)
{
    if (store_exec(conn, "COMMIT", "commit graph", err) == 0)
        return STORE_COMMITTED;
    return PQstatus(conn) == CONNECTION_OK ? STORE_NOT_STORED : STORE_UNKNOWN;
}

enum store_result graph_batch_settle(PGconn *conn, int64_t batch_id, int64_t wait_ms_max,
                                     struct err *err)
{
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    char number[24];

    (void)snprintf(number, sizeof(number), "%" PRId64, batch_id);
    store_param_text(&params, number);
    if (graph_batch_lock(conn, wait_ms_max, err) < 0)
        return STORE_UNKNOWN;
    result =
        store_query_params(conn,
                           "SELECT EXISTS (SELECT FROM graph_batch WHERE batch_id = $1::bigint)",
                           &params, "look for batch", err);
    if (!result)
        return STORE_UNKNOWN;
    if (store_get_bool(result, 0, 0))
        return STORE_COMMITTED;
    (void)err_set(err, ERR_RETRY, "the database went away before the change was stored");
    return STORE_NOT_STORED;
}
