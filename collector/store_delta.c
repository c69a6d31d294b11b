#include "collector/store_delta_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "collector/store_commit_internal.h"
#include "collector/store_internal.h"
#include "metrics/window.h"

enum { NAMES_CACHED_MAX = 500000 }; /* some 50 MB */

/* --------------------------------------------------------------------------------------- deltas */

void deltas_init(struct deltas *deltas)
{
    *deltas = (struct deltas){ 0 };
    buf_init(&deltas->bytes, SIZE_MAX);
}

void deltas_done(struct deltas *deltas)
{
    free(deltas->items);
    buf_done(&deltas->bytes);
}

void deltas_clear(struct deltas *deltas)
{
    deltas->len = 0;
    buf_clear(&deltas->bytes);
}

static void deltas_put(struct deltas *deltas, const struct delta *delta)
{
    if (deltas->len == deltas->cap) {
        deltas->cap = deltas->cap ? 2 * deltas->cap : 64;
        deltas->items = xreallocarray(deltas->items, deltas->cap, sizeof(*deltas->items));
    }
    deltas->items[deltas->len++] = *delta;
}

void deltas_add(struct deltas *deltas, int32_t deployment, int64_t window_ms, size_t offset)
{
    struct delta delta = { .deployment = deployment,
                           .window_ms = window_ms,
                           .offset = offset,
                           .len = deltas->bytes.len - offset };

    deltas_put(deltas, &delta);
}

void deltas_add_recount(struct deltas *deltas, int32_t deployment, int64_t window_ms)
{
    struct delta delta = { .deployment = deployment, .window_ms = window_ms, .is_recount = true };

    deltas_put(deltas, &delta);
}

struct span deltas_bytes(const struct deltas *deltas, const struct delta *delta)
{
    return (struct span){ delta->len ? deltas->bytes.data + delta->offset : "", delta->len };
}

int rollup_merge_bytes(struct rollup *rollup, struct rollup *scratch, struct span bytes)
{
    if (rollup_is_empty(rollup))
        return rollup_read(rollup, bytes);
    return rollup_read(scratch, bytes) < 0 ? -1 : rollup_merge(rollup, scratch);
}

/* ------------------------------------------------------------------------------------- counting */

void metric_counter_init(struct metric_counter *counter)
{
    *counter = (struct metric_counter){ 0 };
    counter->names = metric_names_new(NAMES_CACHED_MAX);
    counter->group = rollup_group_new();
    buf_init(&counter->missing, SIZE_MAX);
}

void metric_counter_done(struct metric_counter *counter)
{
    metric_names_free(counter->names);
    rollup_group_free(counter->group);
    buf_done(&counter->missing);
}

void metric_counter_trim(struct metric_counter *counter)
{
    metric_names_trim(counter->names);
}

static void counter_miss(struct metric_counter *counter, int32_t deployment, bool is_aggregate,
                         struct span name)
{
    uint32_t len = (uint32_t)name.len;

    buf_append(&counter->missing, &deployment, sizeof(deployment));
    buf_append_char(&counter->missing, (char)is_aggregate);
    buf_append(&counter->missing, &len, sizeof(len));
    buf_append_span(&counter->missing, name);
    counter->missing_len++;
}

static void counter_add_leaves(struct metric_counter *counter, int32_t deployment,
                               bool is_aggregate, struct span metrics)
{
    struct leaf leaf;

    leaf_walk_begin(&counter->walk, metrics);
    while (leaf_walk_next(&counter->walk, &leaf)) {
        int32_t metric;

        if (leaf.type >= LEAF_ARRAY) {
            counter->skipped++;
            continue;
        }
        metric = metric_names_find(counter->names, deployment, is_aggregate, leaf.name);
        if (metric == METRIC_UNKNOWN)
            counter_miss(counter, deployment, is_aggregate, leaf.name);
        else if (metric == METRIC_REFUSED ||
                 !rollup_add_leaf(rollup_group_get(counter->group, (uint32_t)metric), &leaf))
            counter->skipped++;
    }
}

void metric_counter_add_prediction(struct metric_counter *counter, int32_t deployment,
                                   struct span metrics, bool failed, int64_t latency_ms)
{
    rollup_add_number(rollup_group_get(counter->group, METRIC_PREDICTIONS), failed ? 1 : 0);
    rollup_add_number(rollup_group_get(counter->group, METRIC_LATENCY), (double)latency_ms);
    counter_add_leaves(counter, deployment, false, metrics);
}

void metric_counter_add_aggregate(struct metric_counter *counter, int32_t deployment,
                                  struct span metrics)
{
    rollup_add_number(rollup_group_get(counter->group, METRIC_AGGREGATES), 0);
    counter_add_leaves(counter, deployment, true, metrics);
}

void metric_counter_add_label(struct metric_counter *counter, int32_t deployment,
                              struct span metrics)
{
    counter_add_leaves(counter, deployment, false, metrics);
}

static void counter_learn(struct metric_counter *counter, const PGresult *result)
{
    for (int i = 0; i < PQntuples(result); i++) {
        int32_t deployment = (int32_t)store_get_i64(result, i, 0);
        bool refuses = PQgetisnull(result, i, 1);

        if (PQgetisnull(result, i, 3))
            metric_names_set_full(counter->names, deployment);
        else
            metric_names_add(counter->names, deployment, store_get_bool(result, i, 2),
                             store_get_span(result, i, 3),
                             refuses ? METRIC_REFUSED : (int32_t)store_get_i64(result, i, 1));
    }
}

static int counter_ask_missing(struct metric_counter *counter, PGconn *conn, int64_t names_max,
                               struct err *err)
{
    AUTO(store_array_done) struct store_array deployments = { 0 }, kinds = { 0 }, names = { 0 };
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    const char *at = counter->missing.data;
    char max[24];

    store_array_init(&deployments, STORE_OID_INT8);
    store_array_init(&kinds, STORE_OID_TEXT);
    store_array_init(&names, STORE_OID_TEXT);
    for (uint32_t i = 0; i < counter->missing_len; i++) {
        int32_t deployment;
        uint32_t len;
        bool is_aggregate = at[4] != 0;

        memcpy(&deployment, at, sizeof(deployment));
        memcpy(&len, at + 5, sizeof(len));
        store_array_add_i64(&deployments, deployment);
        store_array_add_text(&kinds,
                             is_aggregate ? SPAN_LITERAL("aggregate") : SPAN_LITERAL("prediction"));
        store_array_add_text(&names, (struct span){ at + 9, len });
        at += 9 + len;
    }
    buf_clear(&counter->missing);
    counter->missing_len = 0;
    (void)snprintf(max, sizeof(max), "%lld", (long long)names_max);
    store_param_binary(&params, store_array_end(&deployments));
    store_param_binary(&params, store_array_end(&kinds));
    store_param_binary(&params, store_array_end(&names));
    store_param_text(&params, max);
    result =
        store_query_params(conn,
                           "SELECT out_deployment, out_metric, out_kind = 'aggregate', out_name"
                           " FROM metric_names_ensure($1::bigint[]::int[], $2, $3, $4)",
                           &params, "metric names", err);
    if (!result) {
        err->kind = ERR_RETRY; /* no event is to blame */
        return -1;
    }
    counter_learn(counter, result);
    return 0;
}

int metric_counter_ask(struct metric_counter *counter, PGconn *conn, int64_t names_max,
                       struct err *err)
{
    return counter->missing_len ? counter_ask_missing(counter, conn, names_max, err) : 0;
}

int metric_counter_load(struct metric_counter *counter, PGconn *conn, int32_t deployment,
                        struct err *err)
{
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    char number[16];

    if (metric_names_is_full(counter->names, deployment))
        return 0;
    metric_names_trim(counter->names);
    (void)snprintf(number, sizeof(number), "%" PRId32, deployment);
    store_param_text(&params, number);
    result = store_query_params(conn,
                                "SELECT deployment, metric, kind = 'aggregate', name"
                                " FROM metric_name WHERE deployment = $1"
                                " UNION ALL SELECT $1, NULL, NULL, NULL",
                                &params, "metric names", err);
    if (!result)
        return -1;
    counter_learn(counter, result);
    return 0;
}

/* ---------------------------------------------------------------------------- what a batch adds */

/* A row and the minute that it counts in. */
struct counted {
    int64_t window_ms;
    const struct batch_row *row;
};

static int counted_compare(const void *a, const void *b)
{
    const struct counted *left = a, *right = b;

    if (left->row->deployment != right->row->deployment)
        return left->row->deployment < right->row->deployment ? -1 : 1;
    if (left->window_ms != right->window_ms)
        return left->window_ms < right->window_ms ? -1 : 1;
    return 0;
}

static size_t counted_gather(const struct attempt *attempt, const struct batch_rows *rows,
                             struct counted *counted)
{
    size_t len = 0;

    for (uint32_t i = 0; i < rows->len; i++) {
        const struct batch_row *row = rows->items[i];
        bool is_label = row->event->kind == EVENT_DELAYED_METRICS;

        if (!attempt_wants(attempt, row) || (is_label && !row->found))
            continue;
        counted[len].row = row;
        counted[len++].window_ms =
            window_floor(is_label ? row->start_us / 1000 : row->event->start_ms, WINDOW_MINUTE);
    }
    return len;
}

static void counted_add(struct metric_counter *counter, const struct batch_row *row)
{
    const struct event *event = row->event;

    switch (event->kind) {
    case EVENT_TRACK_METRICS:
        metric_counter_add_prediction(counter, row->deployment, event->metrics, event->failed,
                                      event->end_ms - event->start_ms);
        break;
    case EVENT_AGGREGATE_METRICS:
        metric_counter_add_aggregate(counter, row->deployment, event->metrics);
        break;
    default:
        metric_counter_add_label(counter, row->deployment, event->metrics);
    }
}

/* One minute of one deployment. A label that corrects has all of it counted anew. */
static void counted_pack(struct metric_counter *counter, const struct counted *counted, size_t len,
                         struct deltas *deltas)
{
    int32_t deployment = counted->row->deployment;
    size_t offset = deltas->bytes.len;

    rollup_group_clear(counter->group);
    for (size_t i = 0; i < len; i++) {
        if (counted[i].row->corrects) {
            deltas_add_recount(deltas, deployment, counted->window_ms);
            return;
        }
        counted_add(counter, counted[i].row);
    }
    rollup_group_write(counter->group, &deltas->bytes);
    deltas_add(deltas, deployment, counted->window_ms, offset);
}

static void counted_pack_all(struct metric_counter *counter, struct counted *counted, size_t len,
                             struct deltas *deltas)
{
    size_t from = 0;

    deltas_clear(deltas);
    qsort(counted, len, sizeof(*counted), counted_compare);
    for (size_t i = 1; i <= len; i++) {
        if (i < len && counted_compare(&counted[from], &counted[i]) == 0)
            continue;
        counted_pack(counter, counted + from, i - from, deltas);
        from = i;
    }
}

void delta_count_rows(struct attempt *attempt)
{
    const struct batch *batch = attempt->batch;
    struct store *store = attempt->store;
    AUTO(mem_free) struct counted *counted = NULL;
    size_t len;

    if (!store->setup.config->rollups)
        return;
    counted = xcalloc(batch->predictions.len + batch->aggregates.len, sizeof(*counted));
    len = counted_gather(attempt, &batch->predictions, counted);
    len += counted_gather(attempt, &batch->aggregates, counted + len);
    counted_pack_all(&store->counter, counted, len, &store->row_deltas);
}

void delta_count_labels(struct attempt *attempt)
{
    const struct batch_rows *labels = &attempt->batch->labels;
    struct store *store = attempt->store;
    AUTO(mem_free) struct counted *counted = NULL;
    size_t len;

    if (!store->setup.config->rollups)
        return;
    counted = xcalloc(labels->len, sizeof(*counted));
    len = counted_gather(attempt, labels, counted);
    counted_pack_all(&store->counter, counted, len, &store->label_deltas);
}

/* -------------------------------------------------------------------------------------- writing */

int delta_send(struct attempt *attempt, const struct deltas *deltas)
{
    struct copy *copy = &attempt->store->copy;

    for (size_t i = 0; i < deltas->len; i++) {
        const struct delta *delta = &deltas->items[i];

        /* what there is to count from goes: a correction so late changes no rollup */
        if (delta->is_recount && delta->window_ms < attempt->store->horizon_ms)
            continue;
        copy_row(copy, 5);
        copy_i64(copy, attempt->batch_id);
        copy_i32(copy, delta->deployment);
        copy_time_ms(copy, delta->window_ms);
        copy_bool(copy, delta->is_recount);
        copy_bytes(copy, deltas_bytes(deltas, delta));
        if (copy_flush(copy, attempt->err) < 0)
            return -1;
    }
    return 0;
}

static int delta_copy(struct attempt *attempt, const struct deltas *deltas)
{
    struct copy *copy = &attempt->store->copy;
    struct copy_failure failure;

    if (!deltas->len)
        return 0;
    if (copy_begin(copy, attempt->store->conn, DELTA_COPY_SQL, attempt->err) < 0 ||
        delta_send(attempt, deltas) < 0)
        return -1;
    return copy_end(copy, "COPY rollup_delta", &failure, attempt->err);
}

int delta_write(struct attempt *attempt)
{
    if (delta_copy(attempt, &attempt->store->row_deltas) == 0 &&
        delta_copy(attempt, &attempt->store->label_deltas) == 0)
        return 0;
    attempt->err->kind = ERR_RETRY; /* no event is to blame */
    return -1;
}
