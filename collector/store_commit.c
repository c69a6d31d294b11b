/* The way of a batch into Postgres.
 *
 *   commit_prepare   deployments and partitions, in short transactions of their own
 *   commit_attempt   BEGIN
 *                      labels looked up, LABELS lock        store_label.c
 *                      batch_begin(): number, ledger row    sql/001_core.sql
 *                      Kafka offsets, moved on              store_kafka.c
 *                      COPY predictions, aggregates         fast: straight in; slow: staged
 *                      COPY labels, claim those that waited store_label.c
 *                      what all that adds to rollups        store_delta.c
 *                      lineage events                       store_lineage.c
 *                      what Kafka or the spool brought and
 *                      can't be taken                       store_kafka.c
 *                    COMMIT
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "collector/crash_point.h"
#include "collector/kafka_publish.h"
#include "collector/store_commit_internal.h"
#include "collector/store_hook_internal.h"
#include "collector/store_internal.h"
#include "collector/type_cache.h"

enum {
    SLOW_MS = 5000,     /* how long batches begin on the slow path after a duplicate */
    WAITING_MS = 1000,  /* how long batches don't go in one query after labels were seen to wait */
    ATTEMPTS_MAX = 100, /* of one batch, before it is given up as "not now" */
};

/* The committer's queries are index look-ups by arrays of keys: a plan that reads a table is
 * never right. */
static const char commit_session_sql[] =
    "SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_seqscan = off;"
    "SET plan_cache_mode = force_custom_plan; SET max_parallel_workers_per_gather = 0;"
    "CREATE TEMP TABLE staged_prediction (position int, is_first boolean, LIKE prediction)"
    " ON COMMIT DELETE ROWS;"
    "CREATE TEMP TABLE staged_aggregate (position int, is_first boolean, LIKE aggregate_metric)"
    " ON COMMIT DELETE ROWS;"
    "CREATE TEMP TABLE staged_rollup (LIKE rollup_1m) ON COMMIT DELETE ROWS";

struct store *store_new(const struct store_setup *setup, const char *role)
{
    struct store *store = xcalloc(1, sizeof(*store));

    store->setup = *setup;
    store->role = xstrdup(role);
    store->socket = -1;
    store->connect_s = STORE_CONNECT_S;
    store->labels_waiting = INT32_MAX; /* not known: count when it first matters */
    (void)pthread_mutex_init(&store->lock, NULL);
    buf_init(&store->copy.buf, SIZE_MAX);
    metric_counter_init(&store->counter);
    deltas_init(&store->row_deltas);
    deltas_init(&store->label_deltas);
    return store;
}

void store_disconnect(struct store *store)
{
    (void)pthread_mutex_lock(&store->lock);
    store->socket = -1;
    (void)pthread_mutex_unlock(&store->lock);
    if (store->relay.is_ours) /* the lock goes with the session: nothing is sent behind it */
        publisher_drop(store->setup.publisher);
    store->relay.is_ours = store->relay.is_sent = false;
    PQfinish(TAKE(store->conn));
}

void store_free(struct store *store)
{
    if (!store)
        return;
    store_disconnect(store);
    type_registry_free(store->types);
    copy_done(&store->copy);
    metric_counter_done(&store->counter);
    deltas_done(&store->row_deltas);
    deltas_done(&store->label_deltas);
    free(store->hook_stop.topic);
    (void)pthread_mutex_destroy(&store->lock);
    free(store->role);
    free(store);
}

static int store_reconnect(struct store *store, struct err *err)
{
    store_disconnect(store);
    store->conn = store_connect_within(store->setup.dsn, store->role, store->connect_s, err);
    if (!store->conn)
        return -1;
    (void)pthread_mutex_lock(&store->lock);
    store->socket = PQsocket(store->conn);
    (void)pthread_mutex_unlock(&store->lock);
    if (store_exec(store->conn, commit_session_sql, "session settings", err) < 0 ||
        partitions_refresh(store->setup.partitions, store->conn, err) < 0) {
        err->kind = ERR_RETRY;
        store_disconnect(store);
        return -1;
    }
    return 0;
}

int store_ready(struct store *store, struct err *err)
{
    int rc;

    if (store->conn && PQstatus(store->conn) == CONNECTION_OK)
        return 0;
    rc = store_reconnect(store, err);
    stats_set(store->setup.stats, STAT_POSTGRES_UP, rc == 0);
    return rc;
}

void store_hurry(struct store *store, int64_t ms)
{
    store->connect_s = ms < 1000 * STORE_CONNECT_S ? (int)((ms + 999) / 1000) : STORE_CONNECT_S;
}

void store_busy(struct store *store, bool busy)
{
    (void)pthread_mutex_lock(&store->lock);
    store->busy_since_ms = busy ? clock_mono_ms() : 0;
    (void)pthread_mutex_unlock(&store->lock);
}

bool store_interrupt(struct store *store, int64_t now_mono_ms, int64_t age_ms_max)
{
    bool late;

    (void)pthread_mutex_lock(&store->lock);
    late = store->busy_since_ms && store->socket >= 0 &&
           now_mono_ms - store->busy_since_ms > age_ms_max;
    if (late)
        (void)shutdown(store->socket,
                       SHUT_RDWR); /* libpq sees a lost connection, and owns the descriptor */
    (void)pthread_mutex_unlock(&store->lock);
    return late;
}

int attempt_rollback(struct store *store)
{
    AUTO(store_result_free) PGresult *result = NULL;

    if (!store->conn)
        return -1;
    if (PQtransactionStatus(store->conn) == PQTRANS_ACTIVE) {
        store_disconnect(store); /* in the middle of a COPY: cheaper to begin anew than to drain */
        return -1;
    }
    /* an error inside batch_begin() may have left the stamp's session lock held */
    result = PQexec(store->conn, PQtransactionStatus(store->conn) == PQTRANS_IDLE
                                     ? "SELECT pg_advisory_unlock_all()"
                                     : "ROLLBACK; SELECT pg_advisory_unlock_all()");
    if (PQresultStatus(result) == PGRES_TUPLES_OK)
        return 0;
    store_disconnect(store);
    return -1;
}

bool attempt_wants(const struct attempt *attempt, const struct batch_row *row)
{
    if (row->fate != ROW_ACCEPTED || row->twin)
        return false;
    return !attempt->trial ||
           (row->ordinal >= attempt->ordinal_from && row->ordinal < attempt->ordinal_to);
}

enum step attempt_failed(const struct copy_failure *failure, const struct err *err)
{
    if (failure && strcmp(failure->sqlstate, "23505") == 0) {
        bool identity = strncmp(failure->table, "prediction", 10) == 0 ||
                        strncmp(failure->table, "aggregate_metric", 16) == 0;

        return identity ? STEP_SLOW : STEP_AGAIN; /* a label's revision: look again */
    }
    /* no partition: it was dropped, or another daemon knows better; a check of somebody's own
     * has a name */
    if (failure && strcmp(failure->sqlstate, "23514") == 0 && !failure->constraint[0])
        return STEP_AGAIN;
    return err->kind == ERR_INPUT ? STEP_INPUT : STEP_FAIL;
}

/* --------------------------------------------------------------------------------------- before */

static unsigned event_says(const struct event *event)
{
    return (event->build_crn.data ? CATALOG_BUILD : 0U) |
           (event->model_crn.data ? CATALOG_MODEL : 0U);
}

/* Asks the database for the deployments that the cache does not know, or knows without their
 * CRNs. */
static int prepare_catalog_ask(struct store *store, struct batch_row **rows, uint32_t len,
                               struct err *err)
{
    AUTO(store_array_done) struct store_array crns, builds, models;
    AUTO(store_result_free) PGresult *result = NULL;
    AUTO(mem_free) char *max = xasprintf("%lld", (long long)store->setup.config->deployments_max);
    struct store_params params = { 0 };

    store_array_init(&crns, STORE_OID_TEXT);
    store_array_init(&builds, STORE_OID_TEXT);
    store_array_init(&models, STORE_OID_TEXT);
    for (uint32_t i = 0; i < len; i++) {
        store_array_add_text(&crns, rows[i]->event->deployment_crn);
        store_array_add_text(&builds, rows[i]->event->build_crn);
        store_array_add_text(&models, rows[i]->event->model_crn);
    }
    store_param_binary(&params, store_array_end(&crns));
    store_param_binary(&params, store_array_end(&builds));
    store_param_binary(&params, store_array_end(&models));
    store_param_text(&params, max);
    result = store_query_params(store->conn, "SELECT * FROM catalog_ensure($1, $2, $3, $4)",
                                &params, "deployments", err);
    if (!result)
        return -1;
    for (int i = 0; i < PQntuples(result); i++)
        catalog_add(store->setup.catalog, span_of(PQgetvalue(result, i, 1)),
                    (int32_t)store_get_i64(result, i, 0),
                    store_get_bool(result, i, 2) ? CATALOG_BUILD | CATALOG_MODEL : 0);
    for (uint32_t i = 0; i < len;
         i++) { /* what the event says stands there now, or something else */
        const struct event *event = rows[i]->event;
        unsigned known, said = event_says(event);

        if (catalog_find(store->setup.catalog, event->deployment_crn, &rows[i]->deployment, &known))
            catalog_add(store->setup.catalog, event->deployment_crn, rows[i]->deployment, said);
    }
    stats_set(store->setup.stats, STAT_DEPLOYMENTS, catalog_len(store->setup.catalog));
    return 0;
}

/* The row's deployment from the cache. false: it has to be asked for. */
static bool prepare_catalog_row(struct store *store, struct batch_row *row)
{
    const struct event *event = row->event;
    unsigned known;

    if (!event->deployment_crn.data || event->kind == EVENT_DELAYED_METRICS)
        return true; /* a label's prediction tells the deployment, whatever the label says */
    if (!catalog_find(store->setup.catalog, event->deployment_crn, &row->deployment, &known))
        return false;
    return event->kind == EVENT_MODEL_DEPLOYED || !(event_says(event) & ~known);
}

static int prepare_catalog(struct store *store, struct batch *batch, struct err *err)
{
    AUTO(mem_free) struct batch_row **missing = xcalloc(batch->rows_len, sizeof(*missing));
    AUTO(map_free) struct map *asked = NULL;
    uint32_t len = 0, ask = 0;

    for (uint32_t i = 0; i < batch->rows_len; i++) {
        if (!batch->rows[i].barred && !prepare_catalog_row(store, &batch->rows[i]))
            missing[len++] = &batch->rows[i];
    }
    if (len == 0)
        return 0;
    asked = map_new();
    for (uint32_t i = 0; i < len;
         i++) { /* of rows that say nothing more than another, one is enough */
        const struct event *event = missing[i]->event;
        bool added = true;

        if (!event->build_crn.data && !event->model_crn.data)
            (void)map_put(asked, event->deployment_crn, 1, &added);
        if (added) {
            struct batch_row *row = missing[i];

            missing[i] = missing[ask];
            missing[ask++] = row;
        }
    }
    if (prepare_catalog_ask(store, missing, ask, err) < 0)
        return -1;
    for (uint32_t i = 0; i < len; i++) {
        unsigned known;

        if (!catalog_find(store->setup.catalog, missing[i]->event->deployment_crn,
                          &missing[i]->deployment, &known))
            batch_row_bar(missing[i], "too_many_deployments", "modelDeploymentCrn",
                          "the limit deployments_max is reached: a new deployment can't be added");
    }
    return 0;
}

/* Events before the horizon are no longer taken: where they belong is dropped, or will be. */
static bool prepare_is_too_old(struct batch_row *row, int64_t horizon_ms)
{
    char horizon[CLOCK_TEXT_BYTES];
    AUTO(mem_free) char *message = NULL;

    if (row->event->start_ms >= horizon_ms)
        return false;
    clock_format(horizon_ms, horizon);
    message = xasprintf("\"startTimestampMs\" is before %lld (%s): older events are no longer kept "
                        "(retention_raw)",
                        (long long)horizon_ms, horizon);
    batch_row_bar(row, "too_old", "startTimestampMs", message);
    return true;
}

static int prepare_partitions_of(struct store *store, struct batch_rows *rows, struct err *err)
{
    int64_t last_ms = INT64_MIN;
    bool made = true;

    for (uint32_t i = 0; i < rows->len; i++) {
        struct batch_row *row = rows->items[i];

        if (row->barred || prepare_is_too_old(row, store->horizon_ms))
            continue;
        row->partition_ms =
            partitions_floor(store->setup.partitions, PARTITION_EVENT, row->event->start_ms);
        if (row->partition_ms != last_ms &&
            partitions_ensure(store->setup.partitions, store->conn, PARTITION_EVENT,
                              row->partition_ms, &made, err) < 0)
            return -1;
        last_ms = row->partition_ms;
        if (made)
            continue;
        /* the rows before this one were checked against store->horizon_ms: that stays as it is */
        if (!prepare_is_too_old(row, partitions_horizon(store->setup.partitions, PARTITION_EVENT)))
            batch_row_bar(
                row, "too_many_partitions", "startTimestampMs",
                "the limit partitions_max is reached: no partition can be made for this time");
    }
    return 0;
}

static int commit_prepare(struct store *store, struct batch *batch, struct err *err)
{
    int64_t ledger_ms =
        partitions_floor(store->setup.partitions, PARTITION_LEDGER, batch->formed_ms);
    bool made;

    lineage_prepare(&store->setup, batch);
    if (store_ready(store, err) < 0)
        return -1;
    store->horizon_ms = partitions_horizon(store->setup.partitions, PARTITION_EVENT);
    if (prepare_catalog(store, batch, err) < 0 ||
        prepare_partitions_of(store, &batch->predictions, err) < 0 ||
        prepare_partitions_of(store, &batch->aggregates, err) < 0 ||
        partitions_ensure(store->setup.partitions, store->conn, PARTITION_LEDGER, ledger_ms, &made,
                          err) < 0)
        return -1;
    stats_set(store->setup.stats, STAT_PARTITIONS, partitions_len(store->setup.partitions));
    batch_arrange(batch);
    return 0;
}

/* ------------------------------------------------------------------------------- the ledger row */

static void counts_write(struct buf *sql, const uint32_t counts[EVENT_KINDS])
{
    buf_append_text(sql, "'{");
    for (int kind = 0; kind < EVENT_KINDS; kind++)
        buf_append_fmt(sql, "%s%u", kind ? "," : "", counts[kind]);
    buf_append_text(sql, "}'");
}

static void counts_write_all(struct buf *sql, const struct batch *batch, const char *separators[4])
{
    struct batch_counts counts;

    batch_count(batch, &counts);
    buf_append_text(sql, separators[0]);
    counts_write(sql, counts.received);
    buf_append_text(sql, separators[1]);
    counts_write(sql, counts.accepted);
    buf_append_text(sql, separators[2]);
    counts_write(sql, counts.duplicate);
    buf_append_text(sql, separators[3]);
    counts_write(sql, counts.rejected);
}

static void ledger_write_begin(struct buf *sql, const struct batch *batch)
{
    const char *separators[] = { ", ", ", ", ", ", ", " };
    char key[UUID_TEXT_LEN + 1];

    uuid_format(&batch->key, key);
    buf_append_fmt(
        sql, "SELECT * FROM batch_begin('%s', timestamptz 'epoch' + %lld * interval '1 ms', '%s'",
        key, (long long)batch->formed_ms, batch->source);
    counts_write_all(sql, batch, separators);
    buf_append_text(sql, ")");
}

static enum step ledger_begun(struct attempt *attempt, const PGresult *result)
{
    if (PQresultStatus(result) == PGRES_TUPLES_OK) {
        attempt->batch_id = store_get_i64(result, 0, 0);
        attempt->labels_wait = store_get_bool(result, 0, 1);
        attempt->horizon_ms = PQgetisnull(result, 0, 2) ? INT64_MIN : store_get_i64(result, 0, 2);
        return STEP_DONE;
    }
    (void)store_fail(attempt->store->conn, result, "begin batch", attempt->err);
    if (strcmp(store_sqlstate(result), "23505") == 0)
        return STEP_THERE;
    attempt->err->kind = ERR_RETRY;
    return strcmp(store_sqlstate(result), "23514") == 0 ? STEP_AGAIN : STEP_FAIL;
}

/* `before` runs in the same round trip: BEGIN and locks. */
static enum step ledger_begin(struct attempt *attempt, const char *before)
{
    AUTO(buf_done) struct buf sql;
    AUTO(store_result_free) PGresult *result = NULL;

    buf_init(&sql, SIZE_MAX);
    buf_append_text(&sql, before);
    ledger_write_begin(&sql, attempt->batch);
    result = PQexec(attempt->store->conn, buf_text(&sql));
    return ledger_begun(attempt, result);
}

/* On the slow path the counts are known only now. */
static enum step ledger_correct(struct attempt *attempt)
{
    const struct batch *batch = attempt->batch;
    AUTO(buf_done) struct buf sql;
    const char *separators[] = { "UPDATE ingest_batch SET received = ", ", accepted = ",
                                 ", duplicate = ", ", rejected = " };
    char key[UUID_TEXT_LEN + 1];

    uuid_format(&batch->key, key);
    buf_init(&sql, SIZE_MAX);
    counts_write_all(&sql, batch, separators);
    buf_append_fmt(
        &sql,
        " WHERE batch_key = '%s' AND formed_at = timestamptz 'epoch' + %lld * interval '1 ms'", key,
        (long long)batch->formed_ms);
    return store_exec(attempt->store->conn, buf_text(&sql), "ledger", attempt->err) < 0 ? STEP_FAIL
                                                                                        : STEP_DONE;
}

/* ----------------------------------------------------------------------------------------- rows */

#define PREDICTION_COLUMNS                                                                         \
    "batch_id, start_at, end_at, deployment, ordinal, uuid, failed, replica, metrics"
#define AGGREGATE_COLUMNS                                                                          \
    "batch_id, start_at, end_at, deployment, ordinal, event_id, replica, metrics"

static void prediction_fields(struct copy *copy, const struct batch_row *row, int64_t batch_id)
{
    const struct event *event = row->event;

    copy_i64(copy, batch_id);
    copy_time_ms(copy, event->start_ms);
    copy_time_ms(copy, event->end_ms);
    copy_i32(copy, row->deployment);
    copy_i32(copy, (int32_t)row->ordinal);
    copy_uuid(copy, &event->uuid);
    copy_bool(copy, event->failed);
    copy_bytes(copy, event->replica);
    copy_bytes(copy, event->metrics);
}

static void aggregate_fields(struct copy *copy, const struct batch_row *row, int64_t batch_id)
{
    const struct event *event = row->event;

    copy_i64(copy, batch_id);
    copy_time_ms(copy, event->start_ms);
    copy_time_ms(copy, event->end_ms);
    copy_i32(copy, row->deployment);
    copy_i32(copy, (int32_t)row->ordinal);
    if (event->has_event_id)
        copy_uuid(copy, &event->event_id);
    else
        copy_null(copy);
    copy_bytes(copy, event->replica);
    copy_bytes(copy, event->metrics);
}

/* The two tables whose rows have an identity that Postgres enforces, and how each is written. */
static const struct row_table {
    const char *what;
    uint16_t columns;
    void (*fields)(struct copy *copy, const struct batch_row *row, int64_t batch_id);
    const char *copy_sql;
    const char *stage_sql; /* the same rows behind (position, is_first) */
    const char
        *insert_sql; /* the first of each identity, in the order of COPY, or two daemons deadlock */
    const char
        *losers_sql; /* position of each row that is not in, and whether what stands is the same */
} row_tables[] = {
    { "COPY prediction", 9, prediction_fields,
      "COPY prediction (" PREDICTION_COLUMNS ") FROM STDIN (FORMAT binary)",
      "COPY staged_prediction (position, is_first, " PREDICTION_COLUMNS
      ") FROM STDIN (FORMAT binary)",
      "INSERT INTO prediction (" PREDICTION_COLUMNS ") SELECT " PREDICTION_COLUMNS
      " FROM staged_prediction WHERE is_first ORDER BY position"
      " ON CONFLICT (uuid, deployment, start_at) DO NOTHING",
      "SELECT s.position, p.end_at = s.end_at AND p.failed = s.failed"
      " AND p.replica IS NOT DISTINCT FROM s.replica"
      " AND (p.metrics::text = s.metrics::text OR p.metrics::jsonb = s.metrics::jsonb)"
      " FROM staged_prediction AS s JOIN prediction AS p USING (uuid, deployment, start_at)"
      " WHERE (p.batch_id, p.ordinal) <> (s.batch_id, s.ordinal)" },
    { "COPY aggregate_metric", 8, aggregate_fields,
      "COPY aggregate_metric (" AGGREGATE_COLUMNS ") FROM STDIN (FORMAT binary)",
      "COPY staged_aggregate (position, is_first, " AGGREGATE_COLUMNS
      ") FROM STDIN (FORMAT binary)",
      "INSERT INTO aggregate_metric (" AGGREGATE_COLUMNS ") SELECT " AGGREGATE_COLUMNS
      " FROM staged_aggregate WHERE is_first ORDER BY position"
      " ON CONFLICT (deployment, start_at, event_id) DO NOTHING",
      "SELECT s.position, a.end_at = s.end_at AND a.replica IS NOT DISTINCT FROM s.replica"
      " AND (a.metrics::text = s.metrics::text OR a.metrics::jsonb = s.metrics::jsonb)"
      " FROM staged_aggregate AS s JOIN aggregate_metric AS a USING (deployment, start_at, "
      "event_id)"
      " WHERE (a.batch_id, a.ordinal) <> (s.batch_id, s.ordinal)" },
};

/* Sends the wanted rows; staged ones carry their position in `rows` in front. */
static int rows_send(struct attempt *attempt, const struct batch_rows *rows,
                     const struct row_table *table, bool staged)
{
    struct copy *copy = &attempt->store->copy;

    for (uint32_t i = 0; i < rows->len; i++) {
        const struct batch_row *row = rows->items[i];

        if (!attempt_wants(attempt, row))
            continue;
        copy_row(copy, (uint16_t)(table->columns + (staged ? 2 : 0)));
        if (staged) {
            copy_i32(copy, (int32_t)i);
            copy_bool(copy, row->is_first);
        }
        table->fields(copy, row, attempt->batch_id);
        if (copy_flush(copy, attempt->err) < 0)
            return -1;
    }
    return 0;
}

static enum step rows_copy(struct attempt *attempt, const struct batch_rows *rows,
                           const struct row_table *table, bool staged)
{
    struct copy *copy = &attempt->store->copy;
    struct copy_failure failure;

    if (copy_begin(copy, attempt->store->conn, staged ? table->stage_sql : table->copy_sql,
                   attempt->err) < 0 ||
        rows_send(attempt, rows, table, staged) < 0)
        return STEP_FAIL;
    if (copy_end(copy, table->what, &failure, attempt->err) < 0)
        return attempt_failed(&failure, attempt->err);
    return STEP_DONE;
}

static enum step rows_insert_staged(struct attempt *attempt, const struct batch_rows *rows,
                                    const struct row_table *table)
{
    PGconn *conn = attempt->store->conn;
    AUTO(store_result_free) PGresult *result = PQexec(conn, table->insert_sql);
    AUTO(store_result_free) PGresult *losers = NULL;

    if (PQresultStatus(result) != PGRES_COMMAND_OK) {
        struct copy_failure failure;

        copy_failure_set(&failure, result);
        (void)store_fail(conn, result, table->what, attempt->err);
        return attempt_failed(&failure, attempt->err);
    }
    losers = store_query(conn, table->losers_sql, table->what, attempt->err);
    if (!losers)
        return STEP_FAIL;
    for (int i = 0; i < PQntuples(losers); i++) {
        struct batch_row *row = rows->items[store_get_i64(losers, i, 0)];

        if (store_get_bool(losers, i, 1))
            row->fate = ROW_DUPLICATE;
        else if (row->event->kind == EVENT_TRACK_METRICS)
            batch_row_reject(row, "conflict", "predictionUuid",
                             "a prediction with this predictionUuid, modelDeploymentCrn and "
                             "startTimestampMs is stored with other content");
        else
            batch_row_reject(row, "conflict", "eventId",
                             "aggregate metrics with this eventId, modelDeploymentCrn and "
                             "startTimestampMs are stored with other content");
    }
    return STEP_DONE;
}

static enum step rows_write(struct attempt *attempt, const struct batch_rows *rows,
                            const struct row_table *table)
{
    enum step step;

    if (rows->len == 0)
        return STEP_DONE;
    step = rows_copy(attempt, rows, table, attempt->slow);
    return step == STEP_DONE && attempt->slow ? rows_insert_staged(attempt, rows, table) : step;
}

/* ------------------------------------------------------------------------------ the transaction */

/* A prediction of this batch met another with its identity that came in a moment ago: whether its
 * labels correct anything is for a recount to see. */
static void rollups_doubt_labels(struct attempt *attempt)
{
    const struct batch_rows *predictions = &attempt->batch->predictions;
    struct deltas *labels = &attempt->store->label_deltas;
    bool doubt = false;

    for (uint32_t i = 0; i < predictions->len; i++)
        doubt = doubt || predictions->items[i]->fate == ROW_REJECTED;
    for (size_t i = 0; i < labels->len && doubt; i++) {
        labels->items[i].is_recount = true;
        labels->items[i].len = 0;
    }
}

/* On the fast path the rows were counted before the transaction began. */
static enum step rollups_write(struct attempt *attempt)
{
    if (attempt->trial)
        return STEP_DONE;
    if (attempt->slow) {
        delta_count_rows(attempt);
        rollups_doubt_labels(attempt);
    }
    if (attempt->store->counter.missing_len)
        return STEP_AGAIN;
    return delta_write(attempt) < 0 ? STEP_FAIL : STEP_DONE;
}

/* The horizon moved since the batch was checked against it: what is too old now must not go in.
 * It can't move past this transaction unseen, batch_begin() read it after the xid was taken. */
static enum step commit_check_horizon(struct attempt *attempt)
{
    struct store *store = attempt->store;

    if (attempt->horizon_ms <= store->horizon_ms)
        return STEP_DONE;
    partitions_horizon_raise(store->setup.partitions, PARTITION_EVENT, attempt->horizon_ms);
    return STEP_AGAIN;
}

static enum step commit_body(struct attempt *attempt)
{
    struct batch *batch = attempt->batch;
    enum step step = STEP_DONE;

    if (batch->lineage.len)
        step = lineage_lock(attempt);
    if (step == STEP_DONE && batch->labels.len)
        step = label_lookup(attempt);
    if (step == STEP_DONE) {
        bool begun = batch->lineage.len || batch->labels.len;

        batch_settle_twins(
            batch); /* as if all first ones went in: what COPY finds out corrects it */
        /* without labels of its own a batch takes the LABELS lock shared, in the same round trip */
        step = ledger_begin(attempt,
                            begun ? "" : "BEGIN; SELECT pg_advisory_xact_lock_shared(7236, 3);");
    }
    if (step == STEP_DONE && !attempt->trial)
        crash_at(CRASH_COMMIT_BEGUN);
    /* behind the stamp, which takes the transaction's number: its order is that of the batches */
    if (step == STEP_DONE && batch->origins)
        step = offsets_advance(attempt);
    if (step == STEP_DONE)
        step = commit_check_horizon(attempt);
    if (step == STEP_DONE)
        step = rows_write(attempt, &batch->predictions, &row_tables[0]);
    if (step == STEP_DONE)
        step = rows_write(attempt, &batch->aggregates, &row_tables[1]);
    if (step == STEP_DONE && batch->labels.len)
        step = label_write(attempt);
    if (step == STEP_DONE && batch->predictions.len && attempt->labels_wait)
        step = label_claim(attempt);
    if (step == STEP_DONE)
        step = rollups_write(attempt);
    if (step == STEP_DONE && batch->lineage.len)
        step = lineage_write(attempt);
    batch_settle_twins(batch);
    if (step == STEP_DONE && (attempt->slow || batch->lineage.len))
        step = ledger_correct(attempt);
    if (step == STEP_DONE && (batch->origins || batch->is_replay) && !attempt->trial)
        step = rejects_write(attempt);
    if (step == STEP_DONE && !attempt->trial)
        crash_at(CRASH_COMMIT_WRITTEN);
    return step;
}

/* COMMIT went out: from here on only batch_key knows. */
static enum store_result commit_send(struct attempt *attempt)
{
    AUTO(store_result_free) PGresult *result = PQexec(attempt->store->conn, "COMMIT");

    if (PQresultStatus(result) == PGRES_COMMAND_OK && strcmp(PQcmdStatus(result), "COMMIT") == 0)
        return STORE_COMMITTED;
    (void)store_fail(attempt->store->conn, result, "COMMIT", attempt->err);
    store_disconnect(attempt->store);
    return STORE_UNKNOWN;
}

/* --------------------------------------------------------------------------- in one round trip */

/* A batch of nothing but new predictions and aggregates goes as one query:
 *
 *   BEGIN; LABELS shared; batch_begin(); kafka_advance(); COPY prediction;
 *   COPY aggregate_metric; COPY rollup_delta; COMMIT
 *
 * Postgres runs on to the next statement by itself, so that a small batch does not wait for six
 * answers one after the other. What a statement fails with ends all of them. */
static bool plain_is_wanted(const struct attempt *attempt)
{
    const struct batch *batch = attempt->batch;

    return !attempt->slow && !attempt->store->counter.missing_len && !batch->labels.len &&
           !batch->lineage.len && !rejects_any(batch) &&
           batch->predictions.len + batch->aggregates.len > 0 &&
           clock_mono_ms() >= attempt->store->waiting_until_ms;
}

static enum step plain_send(struct attempt *attempt)
{
    const struct batch *batch = attempt->batch;
    AUTO(buf_done) struct buf sql;

    buf_init(&sql, SIZE_MAX);
    buf_append_text(&sql, "BEGIN; SELECT pg_advisory_xact_lock_shared(7236, 3);");
    ledger_write_begin(&sql, batch);
    if (batch->origins) {
        buf_append_char(&sql, ';');
        if (offsets_write(attempt, &sql) != STEP_DONE)
            return STEP_FENCED;
    }
    if (batch->predictions.len)
        buf_append_fmt(&sql, ";%s", row_tables[0].copy_sql);
    if (batch->aggregates.len)
        buf_append_fmt(&sql, ";%s", row_tables[1].copy_sql);
    if (attempt->store->row_deltas.len)
        buf_append_text(&sql, ";" DELTA_COPY_SQL);
    buf_append_text(&sql, ";COMMIT");
    if (PQsendQuery(attempt->store->conn, buf_text(&sql)) == 1)
        return STEP_DONE;
    (void)store_fail(attempt->store->conn, NULL, "send batch", attempt->err);
    return STEP_FAIL;
}

/* The next statement's result must be this one. */
static enum step plain_expect(struct attempt *attempt, ExecStatusType status, const char *what)
{
    AUTO(store_result_free) PGresult *result = PQgetResult(attempt->store->conn);

    if (PQresultStatus(result) == status)
        return STEP_DONE;
    (void)store_fail(attempt->store->conn, result, what, attempt->err);
    return attempt_failed(NULL, attempt->err);
}

static enum step plain_copy(struct attempt *attempt, const struct batch_rows *rows,
                            const struct row_table *table)
{
    struct copy *copy = &attempt->store->copy;
    struct copy_failure failure;
    enum step step;

    if (!rows->len)
        return STEP_DONE;
    step = plain_expect(attempt, PGRES_COPY_IN, table->what);
    if (step != STEP_DONE)
        return step;
    copy_begin_answered(copy, attempt->store->conn);
    if (rows_send(attempt, rows, table, false) < 0)
        return STEP_FAIL;
    if (copy_end_answered(copy, table->what, &failure, attempt->err) < 0)
        return attempt_failed(&failure, attempt->err);
    return STEP_DONE;
}

static enum step plain_deltas(struct attempt *attempt)
{
    struct copy *copy = &attempt->store->copy;
    struct copy_failure failure;
    enum step step;

    if (!attempt->store->row_deltas.len)
        return STEP_DONE;
    step = plain_expect(attempt, PGRES_COPY_IN, "COPY rollup_delta");
    if (step != STEP_DONE)
        return step;
    copy_begin_answered(copy, attempt->store->conn);
    if (delta_send(attempt, &attempt->store->row_deltas) < 0)
        return STEP_FAIL;
    if (copy_end_answered(copy, "COPY rollup_delta", &failure, attempt->err) < 0)
        return attempt_failed(NULL, attempt->err);
    return STEP_DONE;
}

/* Makes the next COPY fail, and with it everything; `why` is the step then. */
static enum step plain_give_up(struct attempt *attempt, enum step why)
{
    enum step step = plain_expect(attempt, PGRES_COPY_IN, "COPY");

    if (step == STEP_DONE && PQputCopyEnd(attempt->store->conn, "not in one go") == 1)
        return why;
    return STEP_FAIL;
}

static enum step plain_ledger(struct attempt *attempt)
{
    AUTO(store_result_free) PGresult *result = PQgetResult(attempt->store->conn);

    return ledger_begun(attempt, result);
}

static enum step plain_offsets(struct attempt *attempt)
{
    AUTO(store_result_free) PGresult *result = NULL;

    if (!attempt->batch->origins)
        return STEP_DONE;
    result = PQgetResult(attempt->store->conn);
    return offsets_advanced(attempt, result);
}

/* Whether what the first statements gave lets the rest go on. */
static enum step plain_check(struct attempt *attempt)
{
    enum step step = plain_ledger(attempt);

    if (step == STEP_DONE)
        step = plain_offsets(attempt);
    if (step == STEP_FENCED)
        return plain_give_up(attempt, step);
    if (step != STEP_DONE)
        return step;
    if (attempt->labels_wait) /* maybe for these predictions: not in one go, now and for a while */
        attempt->store->waiting_until_ms = clock_mono_ms() + WAITING_MS;
    else if (commit_check_horizon(attempt) == STEP_DONE)
        return STEP_DONE;
    return plain_give_up(attempt, STEP_AGAIN);
}

static enum step plain_begin(struct attempt *attempt)
{
    enum step step = plain_expect(attempt, PGRES_COMMAND_OK, "begin");

    if (step == STEP_DONE)
        step = plain_expect(attempt, PGRES_TUPLES_OK, "lock labels");
    if (step == STEP_DONE)
        step = plain_check(attempt);
    if (step == STEP_DONE)
        crash_at(CRASH_COMMIT_BEGUN);
    return step;
}

static enum step plain_rows(struct attempt *attempt)
{
    const struct batch *batch = attempt->batch;
    enum step step = plain_copy(attempt, &batch->predictions, &row_tables[0]);

    if (step == STEP_DONE)
        step = plain_copy(attempt, &batch->aggregates, &row_tables[1]);
    if (step == STEP_DONE)
        step = plain_deltas(attempt);
    if (step == STEP_DONE) /* the last COPY is over: Postgres goes on to COMMIT by itself */
        crash_at(CRASH_COMMIT_SENT);
    if (step == STEP_DONE)
        step = plain_expect(attempt, PGRES_COMMAND_OK, "COMMIT");
    return step;
}

/* STEP_DONE: *result says what became of it; anything else as commit_body. */
static enum step commit_plain(struct attempt *attempt, enum store_result *result)
{
    PGconn *conn = attempt->store->conn;
    PGresult *rest;
    enum step step;

    batch_settle_twins(attempt->batch);
    step = plain_send(attempt);
    if (step != STEP_DONE)
        return step;
    step = plain_begin(attempt);
    if (step == STEP_FAIL) /* Postgres still waits for rows, and so can't have come to COMMIT */
        return step;
    if (step == STEP_DONE)
        step = plain_rows(attempt);
    while (step != STEP_FAIL && (rest = PQgetResult(conn)))
        PQclear(rest);
    if (PQstatus(conn) == CONNECTION_OK && PQtransactionStatus(conn) != PQTRANS_ACTIVE) {
        *result = STORE_COMMITTED;
        return step;
    }
    /* COMMIT was part of what was sent: only batch_key knows */
    *result = STORE_UNKNOWN;
    store_disconnect(attempt->store);
    return STEP_DONE;
}

/* Tries the rows from <= ordinal < to and, when Postgres refuses them, each half, down to the rows
 * that it refuses alone. */
static enum step refused_search(struct attempt *trial, uint32_t from, uint32_t to)
{
    struct batch *batch = trial->batch;
    uint32_t middle = from + (to - from) / 2;
    enum step step;

    trial->ordinal_from = from;
    trial->ordinal_to = to;
    if (attempt_rollback(trial->store) < 0)
        return STEP_FAIL;
    batch_reset(batch);
    step = commit_body(trial);
    if (step != STEP_INPUT)
        return step;
    if (to - from == 1) {
        AUTO(mem_free)
        char *message = xasprintf("the database refused the event: %s", trial->err->text);

        batch_row_bar(&batch->rows[from], "refused", NULL, message);
        return STEP_DONE;
    }
    step = refused_search(trial, from, middle);
    return step == STEP_DONE ? refused_search(trial, middle, to) : step;
}

/* Finds the events that Postgres refuses and bars them. */
static enum step commit_find_refused(struct attempt *attempt)
{
    struct attempt trial = *attempt;
    struct err refusal = { 0 };
    enum step step;

    trial.trial = trial.slow = true;
    trial.err = &refusal;
    step = refused_search(&trial, 0, attempt->batch->rows_len);
    return step == STEP_DONE ? STEP_AGAIN : step;
}

/* Names that are missing are asked for, and what could not be counted for want of them is counted
 * again. */
static int commit_count(struct attempt *attempt)
{
    struct store *store = attempt->store;
    int64_t names_max = store->setup.config->metric_names_max;

    deltas_clear(&store->row_deltas);
    deltas_clear(&store->label_deltas);
    if (metric_counter_ask(&store->counter, store->conn, names_max, attempt->err) < 0)
        return -1;
    store->counter.skipped = 0;
    if (attempt->slow)
        return 0;
    delta_count_rows(attempt);
    if (!store->counter.missing_len)
        return 0;
    if (metric_counter_ask(&store->counter, store->conn, names_max, attempt->err) < 0)
        return -1;
    store->counter.skipped = 0;
    delta_count_rows(attempt);
    return 0;
}

/* What the batch added is pending from now on, and not only when folding looks: a round of folding
 * may take long enough for a full-speed client to add several times what may be pending. */
static void commit_note(struct attempt *attempt)
{
    struct store *store = attempt->store;
    struct stats *stats = store->setup.stats;

    stats_add(stats, STAT_COMMIT_SLOW, attempt->slow);
    stats_add(stats, STAT_ROLLUP_SKIPPED, (int64_t)store->counter.skipped);
    stats_add(stats, STAT_ROLLUP_PENDING,
              (int64_t)(store->row_deltas.len + store->label_deltas.len));
}

static enum store_result commit_attempts(struct attempt *attempt)
{
    struct store *store = attempt->store;

    metric_counter_trim(&store->counter);
    for (int i = 0; i < ATTEMPTS_MAX; i++) {
        enum store_result result = STORE_NOT_STORED;
        enum step step;
        bool plain;

        crash_at(CRASH_COMMIT_PREPARED);
        batch_reset(attempt->batch);
        attempt->slow = attempt->batch->must_stage || clock_mono_ms() < store->slow_until_ms;
        if (commit_count(attempt) < 0)
            return STORE_NOT_STORED;
        plain = plain_is_wanted(attempt);
        step = plain ? commit_plain(attempt, &result) : commit_body(attempt);
        attempt->batch->batch_id = attempt->batch_id;
        if (step == STEP_DONE) {
            commit_note(attempt);
            return plain ? result : commit_send(attempt);
        }
        if (step == STEP_INPUT)
            step = commit_find_refused(attempt);
        if (step == STEP_SLOW)
            store->slow_until_ms = clock_mono_ms() + SLOW_MS;
        /* a batch whose COMMIT went out is settled before it comes here, so its key can't be in */
        if (step == STEP_FENCED) {
            (void)attempt_rollback(store);
            return STORE_FENCED;
        }
        if (step == STEP_THERE && attempt->batch->is_replay) { /* by a process that is gone */
            (void)attempt_rollback(store);
            attempt->batch->was_there = true;
            return STORE_COMMITTED;
        }
        if (attempt_rollback(store) < 0 || step == STEP_FAIL || step == STEP_THERE)
            return STORE_NOT_STORED;
        stats_add(store->setup.stats, STAT_COMMIT_RETRIES, 1);
        if (partitions_refresh(store->setup.partitions, store->conn, attempt->err) < 0 ||
            commit_prepare(store, attempt->batch, attempt->err) < 0)
            return STORE_NOT_STORED;
    }
    (void)err_set(attempt->err, ERR_RETRY, "postgres: %d attempts at one batch", ATTEMPTS_MAX);
    return STORE_NOT_STORED;
}

static void commit_count_deleted(struct store *store, const struct batch *batch)
{
    AUTO(mem_free) int32_t *ids = xcalloc(batch->rows_len, sizeof(*ids));
    size_t len = 0;

    for (uint32_t i = 0; i < batch->rows_len; i++) {
        const struct batch_row *row = &batch->rows[i];

        if (row->fate == ROW_ACCEPTED && row->event->kind == EVENT_TRACK_METRICS)
            ids[len++] = row->deployment;
    }
    stats_add(store->setup.stats, STAT_DELETED_PREDICTIONS,
              (int64_t)catalog_count_deleted(store->setup.catalog, ids, len));
}

enum store_result store_commit(struct store *store, struct batch *batch, struct err *err)
{
    struct attempt attempt = { .store = store, .batch = batch, .err = err };
    enum store_result result = STORE_NOT_STORED;

    store_busy(store, true);
    if (batch->is_hook)
        result = hooks_commit(store, batch, err);
    else if (commit_prepare(store, batch, err) == 0)
        result = commit_attempts(&attempt);
    else if (store->conn && PQstatus(store->conn) != CONNECTION_OK)
        store_disconnect(store);
    store_busy(store, false);
    if (result == STORE_COMMITTED && !batch->was_there)
        commit_count_deleted(store, batch);
    return result;
}

enum store_result store_settle(struct store *store, struct batch *batch, struct err *err)
{
    struct attempt attempt = { .store = store, .batch = batch, .err = err };
    enum store_result result = STORE_UNKNOWN;

    store_busy(store, true);
    if (batch->is_hook) {
        result = hooks_settle(store, batch, err);
    } else if (store_ready(store, err) == 0) {
        enum step step = ledger_begin(&attempt, "BEGIN;");

        if (step == STEP_THERE)
            result = STORE_COMMITTED;
        else if (step == STEP_DONE)
            result =
                STORE_NOT_STORED; /* the key was free: the attempt is dead, this one rolled back */
        if (attempt_rollback(store) < 0 && step == STEP_DONE)
            result = STORE_NOT_STORED;
    }
    store_busy(store, false);
    if (result == STORE_COMMITTED)
        commit_count_deleted(store, batch);
    return result;
}
