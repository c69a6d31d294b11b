/* Background work in Postgres, a round at a time. Any number of daemons do it side by side: each
 * round is a transaction that either finds something to do or leaves it to whoever is faster. */
#include <string.h>

#include "base/mem.h"
#include "collector/balance.h"
#include "collector/store_commit_internal.h"
#include "collector/store_graph_internal.h"
#include "collector/store_hook_internal.h"
#include "collector/store_internal.h"
#include "collector/store_outbox_internal.h"
#include "collector/store_retention_internal.h"
#include "collector/store_types_internal.h"

enum { RESOLVE_LABELS_MAX = 500 };

int store_call(PGconn *conn, const char *sql, PGresult **result, struct err *err)
{
    if (store_exec(conn, "BEGIN ISOLATION LEVEL REPEATABLE READ", "maintenance", err) < 0)
        return -1;
    *result = PQexec(conn, sql);
    if (PQresultStatus(*result) == PGRES_TUPLES_OK)
        return store_exec(conn, "COMMIT", "maintenance", err) < 0 ? -1 : 1;
    (void)store_fail(conn, *result, "maintenance", err);
    if (store_exec(conn, "ROLLBACK", "maintenance", &(struct err){ 0 }) < 0)
        return -1;
    /* 40001, 40P01: the row changed meanwhile; 23505: a revision was taken. The next round sees
     * it. */
    return strncmp(store_sqlstate(*result), "40", 2) == 0 ||
                   strcmp(store_sqlstate(*result), "23505") == 0
               ? 0
               : -1;
}

static int maintain_labels(struct store *store, PGconn *conn, bool *more, struct err *err)
{
    AUTO(store_result_free) PGresult *result = NULL;
    char sql[64];
    int rc;

    (void)snprintf(sql, sizeof(sql), "SELECT * FROM labels_resolve(%d)", RESOLVE_LABELS_MAX);
    rc = store_call(conn, sql, &result, err);
    if (rc > 0) {
        int64_t resolved = store_get_i64(result, 0, 0), searched = store_get_i64(result, 0, 1);

        stats_add(store->setup.stats, STAT_LABELS_RESOLVED, resolved);
        *more = *more || resolved + searched >= RESOLVE_LABELS_MAX;
    }
    return rc < 0 ? -1 : 0;
}

/* Whose predictions are counted by themselves; deleting a deployment's entity changes nothing in
 * the catalog. */
static int maintain_deleted(struct store *store, struct err *err)
{
    AUTO(mem_free) char *suffix = xasprintf("@%s", store->setup.config->atlas_namespace);
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    int32_t *ids;
    int len;

    store_param_text(&params, suffix);
    result = store_query_params(
        store->conn,
        "SELECT DISTINCT d.deployment FROM entity AS e JOIN model_deployment AS d"
        " ON d.crn = left(e.qualified_name, -length($1))"
        " WHERE e.type = 'ml_model_deployment' AND e.is_deleted AND e.to_batch IS NULL"
        " AND right(e.qualified_name, length($1)) = $1"
        " AND NOT EXISTS (SELECT FROM entity AS o WHERE o.type = 'ml_model_deployment'"
        " AND o.qualified_name = e.qualified_name AND NOT o.is_deleted AND o.to_batch IS NULL)"
        " ORDER BY 1",
        &params, "deleted deployments", err);
    if (!result)
        return -1;
    len = PQntuples(result);
    ids = xcalloc((size_t)len, sizeof(*ids));
    for (int i = 0; i < len; i++)
        ids[i] = (int32_t)store_get_i64(result, i, 0);
    catalog_set_deleted(store->setup.catalog, ids, (size_t)len);
    stats_set(store->setup.stats, STAT_DEPLOYMENTS_DELETED, len);
    return 0;
}

static int maintain_gauges(struct store *store, PGconn *conn, struct err *err)
{
    struct stats *stats = store->setup.stats;
    AUTO(store_result_free)
    PGresult *result = store_query(
        conn,
        "SELECT (SELECT count(*) FROM delayed_metric_waiting),"
        " (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(recorded_at)), 0)::bigint"
        "  FROM delayed_metric_waiting WHERE NOT searched),"
        " (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(xact_start)), 0)::bigint"
        "  FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND datname = current_database()),"
        " (SELECT count(*) FROM hook_message WHERE state = 'waiting'),"
        " (SELECT count(*) FROM model_deployment)",
        "gauges", err);

    if (!result)
        return -1;
    stats_set(stats, STAT_LABELS_WAITING, store_get_i64(result, 0, 0));
    stats_set(stats, STAT_LABELS_WAITING_OLDEST_SECONDS, store_get_i64(result, 0, 1));
    stats_set(stats, STAT_SETTLED_AGE_SECONDS, store_get_i64(result, 0, 2));
    stats_set(stats, STAT_HOOK_WAITING, store_get_i64(result, 0, 3));
    stats_set(stats, STAT_DEPLOYMENTS, store_get_i64(result, 0, 4));
    stats_set(stats, STAT_PARTITIONS, partitions_len(store->setup.partitions));
    return 0;
}

static int maintain_round(struct store *store, int64_t now_ms, bool *more, struct err *err)
{
    AUTO(store_result_free) PGresult *folded = NULL;

    if (store_ready(store, err) < 0 ||
        partitions_refresh(store->setup.partitions, store->conn, err) < 0 ||
        partitions_ensure_ahead(store->setup.partitions, store->conn, now_ms, err) < 0 ||
        store_types_refresh(store->conn, store->setup.types, err) < 0 ||
        maintain_labels(store, store->conn, more, err) < 0 || graph_round(store, more, err) < 0 ||
        store_call(store->conn, "SELECT ledger_fold()", &folded, err) < 0 ||
        maintain_deleted(store, err) < 0 || retention_round(store, now_ms, more, err) < 0 ||
        outbox_retention_round(store, now_ms, more, err) < 0 || hook_round(store, more, err) < 0)
        return -1;
    return maintain_gauges(store, store->conn, err);
}

int store_maintain(struct store *store, int64_t now_ms, bool *more, struct err *err)
{
    int rc;

    *more = false;
    store_busy(store, true);
    rc = maintain_round(store, now_ms, more, err);
    store_busy(store, false);
    if (rc < 0)
        store_disconnect(store); /* whatever state it is in, the next round begins anew */
    return rc;
}

int store_balance_read(const char *dsn, struct balance *balance, struct err *err)
{
    AUTO(store_close) PGconn *conn = store_connect(dsn, "balance", err);
    AUTO(store_result_free) PGresult *result = NULL;

    if (!conn)
        return -1;
    /* one statement, one snapshot: the books balance at any moment */
    result = store_query(
        conn,
        "SELECT k.place - 1, coalesce(b.received, 0), coalesce(b.accepted, 0),"
        " coalesce(b.duplicate, 0), coalesce(b.rejected, 0),"
        " (SELECT coalesce(sum(batches), 0)::bigint FROM ingest_total WHERE kind = 'unknown')"
        " + (SELECT count(*) FROM ingest_batch"
        "    WHERE batch_id > (SELECT batch_id FROM ledger_position))"
        " FROM generate_series(1, 7) AS k(place)"
        " LEFT JOIN ingest_balance AS b ON b.kind = event_kind(k.place)",
        "balance", err);
    if (!result)
        return -1;
    for (int row = 0; row < PQntuples(result); row++) {
        balance->kinds[store_get_i64(result, row, 0)] = (struct balance_counts){
            .received = store_get_i64(result, row, 1),
            .accepted = store_get_i64(result, row, 2),
            .duplicate = store_get_i64(result, row, 3),
            .rejected = store_get_i64(result, row, 4),
        };
        balance->batches = store_get_i64(result, row, 5);
    }
    return 0;
}
