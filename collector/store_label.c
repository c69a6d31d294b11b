/* Labels: found by UUID alone, in any order with their predictions, across daemons.
 *
 * The look-up goes where hints point and into the newest partitions, before the batch's first
 * write. A label that it does not find, or that stands behind others that wait, waits in
 * delayed_metric_waiting: written under the LABELS lock, which every batch with predictions
 * holds shared. So of a label and a prediction that are on their way at the same time one sees
 * the other. */
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "collector/store_commit_internal.h"
#include "collector/store_internal.h"
#include "metrics/row.h"

enum {
    LABEL_PARTITIONS_NEWEST = 8,
    LABEL_PARTITIONS_MAX =
        64, /* with those that hints point to; what lies elsewhere is found in the background */
};

/* Where the labels of one UUID go. */
struct label_home {
    bool found; /* its prediction is stored, or is in this batch */
    bool waits; /* labels wait for it: later ones have to stand behind them */
    int32_t deployment;
    int32_t revision; /* of the next label */
    int32_t waiting;  /* how many wait */
    int64_t start_us;
    int64_t batch_id; /* of the prediction, to tell the first inserted */
    int64_t ordinal;
    struct span metrics; /* of the prediction */
    int32_t labels;      /* the last label before the next one, as an index of priors; -1: none */
};

/* A label that a prediction has, or gets in this batch: later ones may correct it. */
struct label_prior {
    struct span metrics;
    int32_t before; /* the label before it, -1: none */
};

struct label_lookup {
    struct attempt *attempt;
    struct map *places; /* uuid -> index of its home */
    struct label_home *homes;
    struct label_prior *priors;
    uint32_t priors_len, priors_cap;
    PGresult *found; /* what spans of homes and priors point into */
    int64_t from_ms[LABEL_PARTITIONS_MAX];
    uint32_t from_len;
};

static struct span uuid_span(const struct uuid *uuid)
{
    return (struct span){ (const char *)uuid->bytes, sizeof(uuid->bytes) };
}

static struct label_home *label_home_of(struct label_lookup *lookup, const struct uuid *uuid)
{
    const uint64_t *place = map_get(lookup->places, uuid_span(uuid));

    return place ? &lookup->homes[*place] : NULL;
}

/* -------------------------------------------------------------------------------- where to look */

static void lookup_add_partition(struct label_lookup *lookup, int64_t ms)
{
    struct partitions *partitions = lookup->attempt->store->setup.partitions;
    int64_t from_ms = partitions_floor(partitions, PARTITION_EVENT, ms);

    for (uint32_t i = 0; i < lookup->from_len; i++) {
        if (lookup->from_ms[i] == from_ms)
            return;
    }
    if (lookup->from_len < LABEL_PARTITIONS_MAX &&
        partitions_has(partitions, PARTITION_EVENT, from_ms))
        lookup->from_ms[lookup->from_len++] = from_ms;
}

static void lookup_add_hint(struct label_lookup *lookup, const struct event *event)
{
    int64_t ms;

    if (event->has_start)
        lookup_add_partition(lookup, event->start_ms);
    else if (uuid_v7_ms(&event->uuid, &ms))
        lookup_add_partition(lookup, ms);
}

/* The batch's own predictions: a label may stand beside its prediction in one request. */
static void lookup_add_own(struct label_lookup *lookup)
{
    const struct batch_rows *predictions = &lookup->attempt->batch->predictions;

    for (uint32_t i = 0; i < predictions->len; i++) {
        const struct batch_row *row = predictions->items[i];
        struct label_home *home = label_home_of(lookup, &row->event->uuid);

        if (!home || !row->is_first)
            continue;
        lookup_add_partition(lookup, row->event->start_ms);
        if (home->found && home->ordinal < row->ordinal)
            continue; /* two predictions of one uuid in the batch: the first */
        *home = (struct label_home){ .found = true,
                                     .deployment = row->deployment,
                                     .batch_id = INT64_MAX,
                                     .ordinal = row->ordinal,
                                     .start_us = row->event->start_ms * 1000,
                                     .metrics = row->event->metrics,
                                     .labels = -1 };
    }
}

static void lookup_init(struct label_lookup *lookup, struct attempt *attempt)
{
    const struct store_setup *setup = &attempt->store->setup;
    const struct batch_rows *labels = &attempt->batch->labels;
    bool added;

    lookup->attempt = attempt;
    lookup->places = map_new();
    lookup->homes = xcalloc(labels->len, sizeof(*lookup->homes));
    for (uint32_t i = 0; i < labels->len; i++)
        lookup->homes[i].labels = -1;
    lookup->from_len =
        partitions_newest(setup->partitions, clock_now_ms() + setup->config->event_ahead_ms_max,
                          lookup->from_ms, LABEL_PARTITIONS_NEWEST);
    for (uint32_t i = 0; i < labels->len; i++) {
        (void)map_put(lookup->places, uuid_span(&labels->items[i]->event->uuid),
                      map_len(lookup->places), &added);
        lookup_add_hint(lookup, labels->items[i]->event);
    }
    lookup_add_own(lookup);
}

static void lookup_done(struct label_lookup *lookup)
{
    map_free(lookup->places);
    free(lookup->homes);
    free(lookup->priors);
    PQclear(lookup->found);
}

/* "(p.start_at >= ... AND p.start_at < ... OR ...)": constants, so that the planner leaves the
 * other partitions out. */
static void lookup_write_ranges(const struct label_lookup *lookup, struct buf *sql,
                                const char *alias)
{
    int64_t width_ms =
        partitions_width_ms(lookup->attempt->store->setup.partitions, PARTITION_EVENT);

    buf_append_char(sql, '(');
    for (uint32_t i = 0; i < lookup->from_len; i++) {
        char from[CLOCK_TEXT_BYTES], to[CLOCK_TEXT_BYTES];

        clock_format(lookup->from_ms[i], from);
        clock_format(lookup->from_ms[i] + width_ms, to);
        buf_append_fmt(sql, "%s%s.start_at >= timestamptz '%s' AND %s.start_at < timestamptz '%s'",
                       i ? " OR " : "", alias, from, alias, to);
    }
    buf_append_text(sql, lookup->from_len ? ")" : "false)");
}

/* ------------------------------------------------------------------------------------ the query */

/* One row for each prediction found (what = 0), each uuid with labels that wait (1), each label
 * whose eventId waits already (2), and each label that a prediction has (3, in order of revision):
 * n counts the given labels from 1. */
static void lookup_write_sql(const struct label_lookup *lookup, struct buf *sql)
{
    buf_append_text(
        sql, "WITH given AS (SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[])"
             " WITH ORDINALITY AS g(uuid, event_id, metrics, n)),"
             " firsts AS (SELECT uuid, min(n) AS n FROM given GROUP BY uuid)"
             " SELECT 0, g.n, p.deployment, (extract(epoch FROM p.start_at) * 1000000)::bigint,"
             " p.batch_id, p.ordinal, 0, p.metrics FROM firsts AS g JOIN prediction AS p"
             " ON p.uuid = g.uuid AND ");
    lookup_write_ranges(lookup, sql, "p");
    buf_append_text(
        sql,
        " UNION ALL SELECT 1, g.n, 0, 0, 0, 0, count(*), NULL FROM given AS g"
        " JOIN delayed_metric_waiting AS w ON w.uuid = g.uuid GROUP BY g.n"
        " UNION ALL SELECT 2, g.n, (w.metrics::jsonb = g.metrics::jsonb)::int, 0, 0, 0, 0, NULL"
        " FROM given AS g JOIN delayed_metric_waiting AS w"
        " ON w.uuid = g.uuid AND w.event_id = g.event_id"
        " UNION ALL SELECT 3, g.n, d.deployment,"
        " (extract(epoch FROM d.start_at) * 1000000)::bigint, 0, 0, d.revision, d.metrics"
        " FROM firsts AS g JOIN delayed_metric AS d ON d.uuid = g.uuid AND ");
    lookup_write_ranges(lookup, sql, "d");
    buf_append_text(sql, " ORDER BY 1, 7");
}

static void lookup_take_prediction(struct label_home *home, const PGresult *result, int row)
{
    int64_t batch_id = store_get_i64(result, row, 4), ordinal = store_get_i64(result, row, 5);

    if (home->found &&
        (home->batch_id < batch_id || (home->batch_id == batch_id && home->ordinal <= ordinal)))
        return;
    home->found = true;
    home->deployment = (int32_t)store_get_i64(result, row, 2);
    home->start_us = store_get_i64(result, row, 3);
    home->batch_id = batch_id;
    home->ordinal = ordinal;
    home->revision = 0;
    home->metrics = store_get_span(result, row, 7);
}

static void lookup_add_prior(struct label_lookup *lookup, struct label_home *home,
                             struct span metrics)
{
    if (lookup->priors_len == lookup->priors_cap) {
        lookup->priors_cap = lookup->priors_cap ? 2 * lookup->priors_cap : 64;
        lookup->priors = xreallocarray(lookup->priors, lookup->priors_cap, sizeof(*lookup->priors));
    }
    lookup->priors[lookup->priors_len] = (struct label_prior){ metrics, home->labels };
    home->labels = (int32_t)lookup->priors_len++;
    home->revision++;
}

/* A label of the prediction that was chosen; predictions come first in the result. */
static void lookup_take_label(struct label_lookup *lookup, struct label_home *home,
                              const PGresult *result, int row)
{
    if (home->found && home->deployment == store_get_i64(result, row, 2) &&
        home->start_us == store_get_i64(result, row, 3))
        lookup_add_prior(lookup, home, store_get_span(result, row, 7));
}

static void lookup_take_identity(struct batch_row *row, bool same)
{
    if (same)
        row->fate = ROW_DUPLICATE;
    else
        batch_row_reject(
            row, "conflict", "eventId",
            "delayed metrics with this eventId and predictionUuid are stored with other content");
}

static int lookup_query(struct label_lookup *lookup, struct err *err)
{
    const struct batch_rows *labels = &lookup->attempt->batch->labels;
    AUTO(store_array_done) struct store_array uuids, event_ids, metrics;
    AUTO(store_result_free) PGresult *result = NULL;
    AUTO(buf_done) struct buf sql;
    struct store_params params = { 0 };

    buf_init(&sql, SIZE_MAX);
    lookup_write_sql(lookup, &sql);
    store_array_init(&uuids, STORE_OID_UUID);
    store_array_init(&event_ids, STORE_OID_UUID);
    store_array_init(&metrics, STORE_OID_TEXT);
    for (uint32_t i = 0; i < labels->len; i++) {
        const struct event *event = labels->items[i]->event;

        store_array_add_uuid(&uuids, &event->uuid);
        if (event->has_event_id)
            store_array_add_uuid(&event_ids, &event->event_id);
        else
            store_array_add_null(&event_ids);
        store_array_add_text(&metrics, event->has_event_id ? event->metrics : (struct span){ 0 });
    }
    store_param_binary(&params, store_array_end(&uuids));
    store_param_binary(&params, store_array_end(&event_ids));
    store_param_binary(&params, store_array_end(&metrics));
    result = store_query_params(lookup->attempt->store->conn, buf_text(&sql), &params,
                                "look up labels", err);
    if (!result)
        return -1;
    for (int i = 0; i < PQntuples(result); i++) {
        struct batch_row *row = labels->items[store_get_i64(result, i, 1) - 1];
        struct label_home *home = label_home_of(lookup, &row->event->uuid);

        switch (store_get_i64(result, i, 0)) {
        case 0:
            lookup_take_prediction(home, result, i);
            break;
        case 1:
            home->waits = true;
            home->waiting = (int32_t)store_get_i64(result, i, 6);
            break;
        case 2:
            lookup_take_identity(row, store_get_i64(result, i, 2) != 0);
            break;
        default:
            lookup_take_label(lookup, home, result, i);
        }
    }
    lookup->found = TAKE(result);
    return 0;
}

/* The label with this eventId may be stored outside the partitions looked at, brought there in the
 * background, with or without another prediction of its uuid inside: once means once, so all
 * partitions are asked. Behind the first query: a label that stops waiting between the two is seen
 * by one of them. */
static int lookup_query_identities(struct label_lookup *lookup, struct err *err)
{
    const struct batch_rows *labels = &lookup->attempt->batch->labels;
    AUTO(mem_free) struct batch_row **rows = xcalloc(labels->len, sizeof(*rows));
    AUTO(store_array_done) struct store_array uuids, event_ids, metrics;
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    uint32_t len = 0;

    store_array_init(&uuids, STORE_OID_UUID);
    store_array_init(&event_ids, STORE_OID_UUID);
    store_array_init(&metrics, STORE_OID_TEXT);
    for (uint32_t i = 0; i < labels->len; i++) {
        const struct event *event = labels->items[i]->event;

        if (labels->items[i]->fate != ROW_ACCEPTED || !event->has_event_id)
            continue;
        rows[len++] = labels->items[i];
        store_array_add_uuid(&uuids, &event->uuid);
        store_array_add_uuid(&event_ids, &event->event_id);
        store_array_add_text(&metrics, event->metrics);
    }
    if (!len)
        return 0;
    store_param_binary(&params, store_array_end(&uuids));
    store_param_binary(&params, store_array_end(&event_ids));
    store_param_binary(&params, store_array_end(&metrics));
    result = store_query_params(lookup->attempt->store->conn,
                                "SELECT g.n, d.metrics::jsonb = g.metrics::jsonb"
                                " FROM unnest($1::uuid[], $2::uuid[], $3::text[])"
                                " WITH ORDINALITY AS g(uuid, event_id, metrics, n)"
                                " JOIN delayed_metric AS d"
                                " ON d.uuid = g.uuid AND d.event_id = g.event_id",
                                &params, "look up eventIds", err);
    if (!result)
        return -1;
    for (int i = 0; i < PQntuples(result); i++)
        lookup_take_identity(rows[store_get_i64(result, i, 0) - 1], store_get_bool(result, i, 1));
    return 0;
}

/* ---------------------------------------------------------------------------------------- fates */

/* The same eventId for the same prediction twice in one batch. Asks Postgres only when the bytes
 * differ. */
static int label_check_twins(struct attempt *attempt, struct err *err)
{
    const struct batch_rows *labels = &attempt->batch->labels;
    AUTO(map_free) struct map *seen = map_new();

    for (uint32_t i = 0; i < labels->len; i++) {
        struct batch_row *row = labels->items[i];
        struct uuid identity[2] = { row->event->uuid, row->event->event_id };
        struct span key = { (const char *)identity, sizeof(identity) };
        AUTO(store_result_free) PGresult *result = NULL;
        AUTO(mem_free) char *mine = NULL, *first = NULL;
        struct store_params params = { 0 };
        uint64_t *place;
        bool added;

        if (!row->event->has_event_id || row->fate != ROW_ACCEPTED)
            continue;
        place = map_put(seen, key, i, &added);
        if (added)
            continue;
        mine = xmemdup0(row->event->metrics.data, row->event->metrics.len);
        first = xmemdup0(labels->items[*place]->event->metrics.data,
                         labels->items[*place]->event->metrics.len);
        store_param_text(&params, mine);
        store_param_text(&params, first);
        result = store_query_params(attempt->store->conn, "SELECT $1::jsonb = $2::jsonb", &params,
                                    "compare labels", err);
        if (!result)
            return -1;
        lookup_take_identity(row, store_get_bool(result, 0, 0));
    }
    return 0;
}

/* Whether the label replaces something that its prediction or an earlier label said. */
static bool label_corrects(const struct label_lookup *lookup, const struct label_home *home,
                           struct span metrics)
{
    bool corrects = row_shares_key(home->metrics, metrics);

    for (int32_t i = home->labels; i >= 0 && !corrects; i = lookup->priors[i].before)
        corrects = row_shares_key(lookup->priors[i].metrics, metrics);
    return corrects;
}

/* Gives each label its home and revision. The number of those that have to wait. */
static uint32_t label_assign(struct label_lookup *lookup)
{
    const struct config *config = lookup->attempt->store->setup.config;
    const struct batch_rows *labels = &lookup->attempt->batch->labels;
    uint32_t left = 0;

    for (uint32_t i = 0; i < labels->len; i++) {
        struct batch_row *row = labels->items[i];
        struct label_home *home = label_home_of(lookup, &row->event->uuid);
        int32_t before = home->found && !home->waits ? home->revision : home->waiting;

        if (row->fate != ROW_ACCEPTED)
            continue;
        if (before >= config->labels_per_prediction_max) {
            batch_row_reject(
                row, "too_many_labels", "predictionUuid",
                "the limit labels_per_prediction_max is reached: this prediction takes no "
                "further delayed metrics");
            continue;
        }
        row->found = home->found && !home->waits;
        if (row->found) {
            row->deployment = home->deployment;
            row->start_us = home->start_us;
            row->revision = home->revision;
            row->corrects = label_corrects(lookup, home, row->event->metrics);
            lookup_add_prior(lookup, home, row->event->metrics);
        } else {
            home->waits = true;
            home->waiting++;
            left++;
        }
    }
    return left;
}

static int label_look(struct attempt *attempt, uint32_t *left, struct err *err)
{
    struct label_lookup lookup = { 0 };
    int rc;

    lookup_init(&lookup, attempt);
    rc = lookup_query(&lookup, err);
    if (rc == 0)
        rc = lookup_query_identities(&lookup, err);
    if (rc == 0)
        rc = label_check_twins(attempt, err);
    if (rc == 0)
        *left = label_assign(&lookup);
    lookup_done(&lookup);
    return rc;
}

/* Labels that wait are bounded; the count is that of the moment, taken under the LABELS lock. */
static int label_check_waiting(struct attempt *attempt, struct err *err)
{
    const struct batch_rows *labels = &attempt->batch->labels;
    int64_t max = attempt->store->setup.config->labels_waiting_max;
    AUTO(mem_free)
    char *sql =
        xasprintf("SELECT count(*) FROM (SELECT FROM delayed_metric_waiting LIMIT %lld) AS w",
                  (long long)max);
    AUTO(store_result_free) PGresult *result = NULL;
    int64_t room;

    if (attempt->store->labels_waiting + labels->len < max / 2)
        return 0; /* far from it: not worth counting */
    result = store_query(attempt->store->conn, sql, "count labels", err);
    if (!result)
        return -1;
    attempt->store->labels_waiting = store_get_i64(result, 0, 0);
    room = max - attempt->store->labels_waiting;
    for (uint32_t i = 0; i < labels->len; i++) {
        struct batch_row *row = labels->items[i];

        if (row->fate == ROW_ACCEPTED && !row->found && room-- <= 0)
            batch_row_reject(
                row, "too_many_waiting_labels", "predictionUuid",
                "no prediction with this predictionUuid is stored, and the limit "
                "labels_waiting_max of delayed metrics that wait for theirs is reached");
    }
    return 0;
}

static void labels_back(struct batch *batch)
{
    for (uint32_t i = 0; i < batch->labels.len; i++) {
        struct batch_row *row = batch->labels.items[i];

        if (row->barred)
            continue;
        row->fate = ROW_ACCEPTED;
        row->found = false;
    }
}

/* What the labels add to the rollups is known as soon as their predictions are. */
static enum step label_count(struct attempt *attempt)
{
    if (attempt->trial)
        return STEP_DONE;
    delta_count_labels(attempt);
    return attempt->store->counter.missing_len ? STEP_AGAIN : STEP_DONE;
}

enum step label_lookup(struct attempt *attempt)
{
    PGconn *conn = attempt->store->conn;
    bool open = attempt->batch->lineage.len > 0; /* lineage_lock began the transaction */
    uint32_t left = 0;
    char sql[96];

    if (!open && store_exec(conn, "BEGIN", "begin", attempt->err) < 0)
        return STEP_FAIL;
    if (label_look(attempt, &left, attempt->err) < 0)
        return attempt_failed(NULL, attempt->err);
    if (!left && !attempt->batch->predictions.len)
        return label_count(attempt);
    /* nothing is written yet, so nobody waits for this batch while it waits here */
    (void)snprintf(sql, sizeof(sql), "SELECT pg_advisory_xact_lock%s(%d, %d)",
                   left ? "" : "_shared", STORE_LOCK_CLASS, STORE_LOCK_LABELS);
    if (store_exec(conn, sql, "lock labels", attempt->err) < 0)
        return STEP_FAIL;
    labels_back(attempt->batch);
    if (!left) { /* what was committed while this batch waited for the lock was not seen yet */
        if (label_look(attempt, &left, attempt->err) < 0)
            return attempt_failed(NULL, attempt->err);
        return left ? STEP_AGAIN : label_count(attempt);
    }
    if (partitions_refresh(attempt->store->setup.partitions, conn, attempt->err) < 0 ||
        label_look(attempt, &left, attempt->err) < 0 ||
        label_check_waiting(attempt, attempt->err) < 0)
        return attempt_failed(NULL, attempt->err);
    return label_count(attempt);
}

/* -------------------------------------------------------------------------------------- writing */

static int ordinal_compare(const void *a, const void *b)
{
    const struct batch_row *left = *(struct batch_row *const *)a,
                           *right = *(struct batch_row *const *)b;

    return left->ordinal < right->ordinal ? -1 : left->ordinal > right->ordinal;
}

static int label_compare(const void *a, const void *b)
{
    const struct batch_row *left = *(struct batch_row *const *)a,
                           *right = *(struct batch_row *const *)b;

    int order;

    if (left->start_us != right->start_us)
        return left->start_us < right->start_us ? -1 : 1;
    order = uuid_compare(&left->event->uuid, &right->event->uuid);
    return order ? order : ordinal_compare(a, b);
}

static void label_fields(struct copy *copy, const struct attempt *attempt,
                         const struct batch_row *row)
{
    const struct event *event = row->event;

    copy_row(copy, row->found ? 8 : 6);
    copy_i64(copy, attempt->batch_id);
    copy_i32(copy, (int32_t)row->ordinal);
    copy_uuid(copy, &event->uuid);
    if (event->has_event_id)
        copy_uuid(copy, &event->event_id);
    else
        copy_null(copy);
    copy_bytes(copy, event->metrics);
    if (row->found) {
        copy_time_us(copy, row->start_us);
        copy_i32(copy, row->deployment);
        copy_i32(copy, row->revision);
    } else if (event->has_start) {
        copy_time_ms(copy, event->start_ms);
    } else {
        copy_null(copy);
    }
}

static enum step label_copy(struct attempt *attempt, struct batch_row **rows, uint32_t len,
                            const char *sql)
{
    struct copy *copy = &attempt->store->copy;
    struct copy_failure failure;

    if (len == 0)
        return STEP_DONE;
    if (copy_begin(copy, attempt->store->conn, sql, attempt->err) < 0)
        return STEP_FAIL;
    for (uint32_t i = 0; i < len; i++) {
        label_fields(copy, attempt, rows[i]);
        if (copy_flush(copy, attempt->err) < 0)
            return STEP_FAIL;
    }
    if (copy_end(copy, "COPY delayed_metric", &failure, attempt->err) < 0)
        return attempt_failed(&failure, attempt->err);
    return STEP_DONE;
}

enum step label_write(struct attempt *attempt)
{
    const struct batch_rows *labels = &attempt->batch->labels;
    AUTO(mem_free) struct batch_row **rows = xcalloc(labels->len, sizeof(*rows));
    uint32_t found = 0, waiting = labels->len;
    enum step step;

    for (uint32_t i = 0; i < labels->len;
         i++) { /* found ones from the front, the others from the back */
        struct batch_row *row = labels->items[i];

        if (!attempt_wants(attempt, row))
            continue;
        if (row->found)
            rows[found++] = row;
        else
            rows[--waiting] = row;
    }
    qsort(rows, found, sizeof(struct batch_row *), label_compare);
    qsort(rows + waiting, labels->len - waiting, sizeof(struct batch_row *), label_compare);
    attempt->store->labels_waiting += labels->len - waiting;
    step = label_copy(
        attempt, rows, found,
        "COPY delayed_metric (batch_id, ordinal, uuid, event_id, metrics, start_at, deployment,"
        " revision) FROM STDIN (FORMAT binary)");
    if (step == STEP_DONE)
        step = label_copy(
            attempt, rows + waiting, labels->len - waiting,
            "COPY delayed_metric_waiting (batch_id, ordinal, uuid, event_id, metrics, hint_at)"
            " FROM STDIN (FORMAT binary)");
    return step;
}

enum step label_claim(struct attempt *attempt)
{
    const struct batch_rows *predictions = &attempt->batch->predictions;
    AUTO(mem_free) struct batch_row **rows = xcalloc(predictions->len, sizeof(*rows));
    AUTO(store_array_done) struct store_array uuids, deployments, starts;
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    uint32_t len = 0;

    for (uint32_t i = 0; i < predictions->len; i++) {
        if (attempt_wants(attempt, predictions->items[i]))
            rows[len++] = predictions->items[i];
    }
    /* of two predictions with one uuid the first that arrived, as for a label that comes later */
    qsort(rows, len, sizeof(*rows), ordinal_compare);
    store_array_init(&uuids, STORE_OID_UUID);
    store_array_init(&deployments, STORE_OID_INT8);
    store_array_init(&starts, STORE_OID_INT8);
    for (uint32_t i = 0; i < len; i++) {
        store_array_add_uuid(&uuids, &rows[i]->event->uuid);
        store_array_add_i64(&deployments, rows[i]->deployment);
        store_array_add_i64(&starts, rows[i]->event->start_ms * 1000);
    }
    store_param_binary(&params, store_array_end(&uuids));
    store_param_binary(&params, store_array_end(&deployments));
    store_param_binary(&params, store_array_end(&starts));
    result =
        store_query_params(attempt->store->conn, "SELECT labels_claim($1, $2::bigint[]::int[], $3)",
                           &params, "claim labels", attempt->err);
    if (!result) {
        attempt->err->kind = ERR_RETRY; /* a revision that somebody else took: again */
        return PQtransactionStatus(attempt->store->conn) == PQTRANS_INERROR ? STEP_AGAIN
                                                                            : STEP_FAIL;
    }
    stats_add(attempt->store->setup.stats, STAT_LABELS_RESOLVED, store_get_i64(result, 0, 0));
    return STEP_DONE;
}
