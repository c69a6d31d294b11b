/* GET /v1/rollups: series of windows in three formats.
 *
 * The windows that have predictions (or aggregates) are read first; then each metric is one walk
 * over its windows, written as it comes. A window that has predictions but none with the metric is
 * shown with count 0, a window that has nothing is not shown. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/decimal.h"
#include "base/mem.h"
#include "collector/keyring.h"
#include "collector/queries.h"
#include "collector/query_watch_internal.h"
#include "collector/read.h"
#include "collector/store_delta_internal.h"
#include "collector/store_internal.h"
#include "collector/store_pool.h"
#include "collector/store_rollup_internal.h"

enum {
    ROLLUPS_WINDOWS_MAX = 100000, /* of one answer's series */
    ROLLUPS_QUANTILES_MAX = 32,
    ROLLUPS_CRN_BYTES_MAX = 1024,
    ROLLUPS_TEXTS_BITS = 10,
};

/* By what the windows are merged. */
static const struct rollups_scope {
    const char *parameter;
    const char *member;
    const char *column;
} rollups_scopes[] = {
    { "model_deployment_crn", "modelDeploymentCrn", "crn" },
    { "model_build_crn", "modelBuildCrn", "build_crn" },
    { "model_crn", "modelCrn", "model_crn" },
};

struct rollups_query {
    const struct rollups_scope *scope;
    struct span crn; /* borrowed */
    bool aggregates;
    struct strings metrics;
    struct rollup_span span;
    double quantiles[ROLLUPS_QUANTILES_MAX];
    char *quantile_texts[ROLLUPS_QUANTILES_MAX]; /* borrowed, as they were asked for */
    size_t quantiles_len;
};

/* A window that has predictions, or aggregates. */
struct rollups_window {
    int64_t start_ms;
    uint64_t count;
    uint64_t failed;
};

/* Numbers written lately. The bounds of quantiles are those of a histogram's buckets, so the same
 * few come again and again, and finding the shortest text of a number costs more than all else. */
struct rollups_text {
    double value;
    size_t len; /* 0: nothing yet */
    char text[DECIMAL_BYTES];
};

struct rollups_answer {
    struct query *query;
    const struct rollups_query *asked;
    struct rollup_span span;     /* what is asked for, without what is dropped */
    int64_t truncated_before_ms; /* 0: nothing of it is */
    struct buf *out;
    struct rollup_source *source;
    struct rollup_key *keys; /* of the metric that is being walked */
    size_t keys_len;
    int32_t *deployments; /* ascending */
    size_t deployments_len;
    struct rollups_window *windows; /* ascending */
    size_t windows_len, windows_cap;
    struct rollup rollup;
    struct rollup nothing;
    struct rollups_text *texts; /* 2^ROLLUPS_TEXTS_BITS, by a hash of their values */
    uint64_t series;            /* written so far */
    uint64_t lines;             /* of the series */
};

/* ---- what is asked for */

static int rollups_parse_scope(struct rollups_query *asked, const struct parameters *parameters,
                               struct fault *fault)
{
    for (size_t i = 0; i < LENGTH(rollups_scopes); i++) {
        struct span crn = parameters_get(parameters, rollups_scopes[i].parameter);

        if (!crn.data)
            continue;
        if (asked->scope)
            return fault_set(fault, 400, "invalid_parameter", rollups_scopes[i].parameter,
                             "\"%s\" and \"%s\" can't be given together", asked->scope->parameter,
                             rollups_scopes[i].parameter);
        if (!crn.len || crn.len > ROLLUPS_CRN_BYTES_MAX)
            return fault_set(fault, 400, "invalid_parameter", rollups_scopes[i].parameter,
                             "\"%s\" must have from 1 to %d bytes: it has %zu",
                             rollups_scopes[i].parameter, ROLLUPS_CRN_BYTES_MAX, crn.len);
        asked->scope = &rollups_scopes[i];
        asked->crn = crn;
    }
    if (asked->scope)
        return 0;
    return fault_set(fault, 400, "missing_parameter", "model_deployment_crn",
                     "one of model_deployment_crn, model_build_crn, model_crn is needed");
}

static int rollups_parse_quantile(struct rollups_query *asked, char *text, struct fault *fault)
{
    char *end;
    double q = strtod(text, &end);

    /* only digits and a point: "1e-1", "0x1" and "nan" are no names for members of an answer */
    if (end == text || *end || strspn(text, "0123456789.") != strlen(text) || !(q >= 0 && q <= 1))
        return fault_set(fault, 400, "invalid_parameter", "quantile",
                         "\"quantile\" must be a number from 0 to 1: \"%.*s\"",
                         fault_quote_len(strlen(text)), text);
    for (size_t i = 0; i < asked->quantiles_len; i++) {
        if (strcmp(asked->quantile_texts[i], text) == 0)
            return 0; /* or one name would stand twice in an object of the answer */
    }
    if (asked->quantiles_len == ROLLUPS_QUANTILES_MAX)
        return fault_set(fault, 400, "invalid_parameter", "quantile",
                         "at most %d quantiles can be asked for", ROLLUPS_QUANTILES_MAX);
    asked->quantiles[asked->quantiles_len] = q;
    asked->quantile_texts[asked->quantiles_len++] = text;
    return 0;
}

static int rollups_parse_lists(struct rollups_query *asked, const struct parameters *parameters,
                               struct fault *fault)
{
    for (size_t i = 0; i < parameters->len; i++) {
        const struct parameter_value *value = &parameters->items[i];

        if (strcmp(value->parameter->name, "metric") == 0)
            strings_add(&asked->metrics, (struct span){ value->text, value->len });
        else if (strcmp(value->parameter->name, "quantile") == 0 &&
                 rollups_parse_quantile(asked, value->text, fault) < 0)
            return -1;
    }
    return 0;
}

/* Both bounds are inclusive: the windows that hold them are the first and the last. */
static int rollups_parse_span(struct rollups_query *asked, const struct parameters *parameters,
                              struct fault *fault)
{
    struct span name = parameters_get(parameters, "window");
    int64_t start_ms = INT64_MIN, end_ms = INT64_MAX;

    if (!name.data)
        return fault_set(fault, 400, "missing_parameter", "window",
                         "\"window\" is needed: 1m, 1h or 1d");
    if (window_parse(&asked->span.window, name) < 0)
        return fault_set(fault, 400, "invalid_parameter", "window",
                         "\"window\" must be 1m, 1h or 1d: \"%.*s\"", fault_quote_len(name.len),
                         name.data);
    if (parameters_get_i64(parameters, "start_timestamp_ms", INT64_MIN, INT64_MAX, &start_ms,
                           fault) < 0 ||
        parameters_get_i64(parameters, "end_timestamp_ms", INT64_MIN, INT64_MAX, &end_ms, fault) <
            0)
        return -1;
    if (end_ms < start_ms)
        return fault_set(fault, 400, "invalid_parameter", "end_timestamp_ms",
                         "the end (%" PRId64 ") is before the start (%" PRId64 ")", end_ms,
                         start_ms);
    asked->span.from_ms = window_floor(store_clamp_ms(start_ms), asked->span.window);
    asked->span.to_ms = window_next(store_clamp_ms(end_ms), asked->span.window);
    return 0;
}

static int rollups_parse(struct rollups_query *asked, const struct parameters *parameters,
                         struct fault *fault)
{
    struct span kind = parameters_get(parameters, "kind");

    asked->aggregates = kind.data && span_is(kind, "aggregate");
    if (kind.data && !asked->aggregates && !span_is(kind, "prediction"))
        return fault_set(fault, 400, "invalid_parameter", "kind",
                         "\"kind\" must be prediction or aggregate: \"%.*s\"",
                         fault_quote_len(kind.len), kind.data);
    if (rollups_parse_scope(asked, parameters, fault) < 0 ||
        rollups_parse_span(asked, parameters, fault) < 0)
        return -1;
    return rollups_parse_lists(asked, parameters, fault);
}

/* ---- a window */

static void rollups_write_double(const struct rollups_answer *answer, double value)
{
    struct rollups_text *text;
    uint64_t bits;

    if (!isfinite(value)) {
        buf_append_text(answer->out, "null");
        return;
    }
    memcpy(&bits, &value, sizeof(bits));
    text = &answer->texts[(bits * UINT64_C(0x9e3779b97f4a7c15)) >> (64 - ROLLUPS_TEXTS_BITS)];
    if (!text->len || memcmp(&text->value, &value, sizeof(value)) != 0) {
        text->value = value;
        text->len = decimal_write(text->text, value);
    }
    buf_append(answer->out, text->text, text->len);
}

/* A member that counts something: `name` with its quotes and colon. */
static void rollups_write_count(struct buf *out, const char *name, uint64_t count)
{
    buf_append_text(out, name);
    buf_append_i64(out, (int64_t)count);
}

static void rollups_write_number(const struct rollups_answer *answer, const struct rollup *rollup)
{
    const struct rollups_query *asked = answer->asked;
    struct buf *out = answer->out;
    bool counts = rollup->count > 0;
    const struct {
        const char *name;
        double value;
    } members[] = {
        { ",\"sum\":", counts ? rollup_sum(rollup) : 0 },
        { ",\"mean\":", counts ? rollup_mean(rollup) : NAN },
        { ",\"stddev\":", counts ? rollup_stddev(rollup) : NAN },
        { ",\"min\":", counts ? rollup->min : NAN },
        { ",\"max\":", counts ? rollup->max : NAN },
    };

    for (size_t i = 0; i < LENGTH(members); i++) {
        buf_append_text(out, members[i].name);
        rollups_write_double(answer, members[i].value);
    }
    if (!asked->quantiles_len)
        return;
    buf_append_text(out, ",\"quantiles\":{");
    for (size_t i = 0; i < asked->quantiles_len; i++) {
        struct histogram_quantile quantile = { NAN, NAN, NAN };

        if (counts)
            quantile = rollup_quantile(rollup, asked->quantiles[i]);
        buf_append_text(out, i ? ",\"" : "\"");
        buf_append_text(out, asked->quantile_texts[i]);
        buf_append_text(out, "\":{\"value\":");
        rollups_write_double(answer, quantile.value);
        buf_append_text(out, ",\"low\":");
        rollups_write_double(answer, quantile.low);
        buf_append_text(out, ",\"high\":");
        rollups_write_double(answer, quantile.high);
        buf_append_char(out, '}');
    }
    buf_append_char(out, '}');
}

static void rollups_write_categories_object(struct buf *out, const struct categories *categories)
{
    buf_append_char(out, '{');
    for (uint32_t i = 0; i < categories->len; i++) {
        if (i)
            buf_append_char(out, ',');
        buf_append_json(out, categories_text(categories, i));
        rollups_write_count(out, ":", categories->entries[i].count);
    }
    buf_append_char(out, '}');
}

static void rollups_write_members(const struct rollups_answer *answer,
                                  const struct rollups_window *window, const struct rollup *rollup,
                                  bool is_category)
{
    struct buf *out = answer->out;

    buf_append_text(out, "\"startTimestampMs\":");
    buf_append_i64(out, window->start_ms);
    if (answer->asked->aggregates) {
        rollups_write_count(out, ",\"aggregates\":", window->count);
    } else {
        rollups_write_count(out, ",\"predictions\":", window->count);
        rollups_write_count(out, ",\"failed\":", window->failed);
    }
    rollups_write_count(out, ",\"count\":", is_category ? rollup->categories.count : rollup->count);
    rollups_write_count(out, ",\"nulls\":", rollup->nulls);
    if (!is_category) {
        rollups_write_number(answer, rollup);
        return;
    }
    buf_append_text(out, ",\"categories\":");
    rollups_write_categories_object(out, &rollup->categories);
    rollups_write_count(out, ",\"other\":", rollup->categories.other);
}

static void rollups_write_head(const struct rollups_answer *answer, struct span metric,
                               bool is_category)
{
    struct buf *out = answer->out;

    buf_append_fmt(out, "\"%s\":", answer->asked->scope->member);
    buf_append_json(out, answer->asked->crn);
    buf_append_fmt(out, ",\"kind\":\"%s\",\"metric\":",
                   answer->asked->aggregates ? "aggregate" : "prediction");
    buf_append_json(out, metric);
    buf_append_fmt(out, ",\"type\":\"%s\"", is_category ? "category" : "number");
}

/* RFC 4180: always in quotes. */
static void rollups_write_quoted(struct buf *out, struct span text)
{
    buf_append_char(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '"')
            buf_append_char(out, '"');
        buf_append_char(out, text.data[i]);
    }
    buf_append_char(out, '"');
}

static void rollups_write_cell(const struct rollups_answer *answer, bool there, double value)
{
    struct buf *out = answer->out;

    buf_append_char(out, ',');
    if (there && isfinite(value))
        rollups_write_double(answer, value);
}

static void rollups_write_csv_head(const struct rollups_answer *answer)
{
    const struct rollups_query *asked = answer->asked;

    buf_append_fmt(answer->out,
                   "%s,kind,metric,type,startTimestampMs,%s,count,nulls,sum,mean,"
                   "stddev,min,max",
                   asked->scope->member, asked->aggregates ? "aggregates" : "predictions,failed");
    for (size_t i = 0; i < asked->quantiles_len; i++)
        buf_append_fmt(answer->out, ",quantiles.%s.value,quantiles.%s.low,quantiles.%s.high",
                       asked->quantile_texts[i], asked->quantile_texts[i],
                       asked->quantile_texts[i]);
    buf_append_text(answer->out, ",categories,other\n");
}

static void rollups_write_csv(const struct rollups_answer *answer, struct span metric,
                              const struct rollups_window *window, const struct rollup *rollup,
                              bool is_category)
{
    const struct rollups_query *asked = answer->asked;
    bool counts = !is_category && rollup->count > 0;
    struct buf *out = answer->out;

    rollups_write_quoted(out, asked->crn);
    buf_append_text(out, asked->aggregates ? ",aggregate," : ",prediction,");
    rollups_write_quoted(out, metric);
    buf_append_fmt(out, ",%s,%" PRId64 ",%" PRIu64, is_category ? "category" : "number",
                   window->start_ms, window->count);
    if (!asked->aggregates)
        buf_append_fmt(out, ",%" PRIu64, window->failed);
    buf_append_fmt(out, ",%" PRIu64 ",%" PRIu64,
                   is_category ? rollup->categories.count : rollup->count, rollup->nulls);
    rollups_write_cell(answer, !is_category, rollup->count ? rollup_sum(rollup) : 0);
    rollups_write_cell(answer, counts, counts ? rollup_mean(rollup) : 0);
    rollups_write_cell(answer, counts, counts ? rollup_stddev(rollup) : 0);
    rollups_write_cell(answer, counts, rollup->min);
    rollups_write_cell(answer, counts, rollup->max);
    for (size_t i = 0; i < asked->quantiles_len; i++) {
        struct histogram_quantile quantile = { 0 };

        if (counts)
            quantile = rollup_quantile(rollup, asked->quantiles[i]);
        rollups_write_cell(answer, counts, quantile.value);
        rollups_write_cell(answer, counts, quantile.low);
        rollups_write_cell(answer, counts, quantile.high);
    }
    if (is_category) {
        AUTO(buf_done) struct buf categories;

        buf_init(&categories, QUERY_OUT_BYTES_MAX);
        rollups_write_categories_object(&categories, &rollup->categories);
        buf_append_char(out, ',');
        rollups_write_quoted(out, buf_span(&categories));
        buf_append_fmt(out, ",%" PRIu64 "\n", rollup->categories.other);
    } else {
        buf_append_text(out, ",,\n");
    }
}

static int rollups_write_window(struct rollups_answer *answer, struct span metric,
                                const struct rollups_window *window, const struct rollup *rollup,
                                bool is_category, struct err *err)
{
    struct buf *out = answer->out;

    if (answer->query->accept == MEDIA_CSV) {
        rollups_write_csv(answer, metric, window, rollup, is_category);
    } else if (answer->query->accept == MEDIA_NDJSON) {
        buf_append_char(out, '{');
        rollups_write_head(answer, metric, is_category);
        buf_append_char(out, ',');
        rollups_write_members(answer, window, rollup, is_category);
        buf_append_text(out, "}\n");
    } else {
        if (!answer->lines) {
            buf_append_text(out, answer->series++ ? ",{" : "{");
            rollups_write_head(answer, metric, is_category);
            buf_append_text(out, ",\"windows\":[");
        }
        buf_append_text(out, answer->lines ? ",{" : "{");
        rollups_write_members(answer, window, rollup, is_category);
        buf_append_char(out, '}');
    }
    answer->lines++;
    return out->len < QUERY_FLUSH_BYTES && !out->full ? 0 : query_flush(answer->query, out, err);
}

/* ---- a series */

/* What a walk over a metric has seen. */
struct rollups_seen {
    bool numbers, texts, nulls;
};

/* Writes windows in which nothing has the metric, up to (not with) `until_ms`. */
static int rollups_write_missing(struct rollups_answer *answer, struct span metric, size_t *next,
                                 int64_t until_ms, bool is_category, struct err *err)
{
    for (; *next < answer->windows_len && answer->windows[*next].start_ms < until_ms; (*next)++) {
        if (rollups_write_window(answer, metric, &answer->windows[*next], &answer->nothing,
                                 is_category, err) < 0)
            return -1;
    }
    return 0;
}

/* One walk: numbers or categories. Writes nothing when there are none, unless `always`. */
static int rollups_walk(struct rollups_answer *answer, struct span metric, bool is_category,
                        bool always, struct rollups_seen *seen, struct err *err)
{
    struct rollup *rollup = &answer->rollup;
    bool begun = always;
    size_t next = 0;
    int64_t start_ms;
    int rc;

    answer->lines = 0;
    if (rollup_source_begin(answer->source, answer->keys, answer->keys_len, err) < 0)
        return -1;
    while ((rc = rollup_source_next(answer->source, &start_ms, rollup, err)) > 0) {
        struct rollups_window window = { .start_ms = start_ms };

        seen->numbers = seen->numbers || rollup->count > 0;
        seen->texts = seen->texts || rollup->categories.count > 0;
        seen->nulls = seen->nulls || rollup->nulls > 0;
        begun = begun || (is_category ? seen->texts : seen->numbers);
        if (!begun)
            continue; /* it is written as missing when the first one comes */
        if (rollups_write_missing(answer, metric, &next, start_ms, is_category, err) < 0)
            return -1;
        if (next < answer->windows_len && answer->windows[next].start_ms == start_ms)
            window = answer->windows[next++];
        if (rollups_write_window(answer, metric, &window, rollup, is_category, err) < 0)
            return -1;
    }
    if (rc < 0 || !begun)
        return rc;
    if (rollups_write_missing(answer, metric, &next, INT64_MAX, is_category, err) < 0)
        return -1;
    if (answer->query->accept == MEDIA_JSON && answer->lines)
        buf_append_text(answer->out, "]}");
    return 0;
}

static int rollups_write_series(struct rollups_answer *answer, struct span metric, struct err *err)
{
    struct rollups_seen seen = { 0 };

    if (rollups_walk(answer, metric, false, false, &seen, err) < 0)
        return -1;
    if (seen.texts)
        return rollups_walk(answer, metric, true, false, &seen, err);
    if (seen.nulls && !seen.numbers)
        return rollups_walk(answer, metric, false, true, &seen, err);
    return 0;
}

/* The windows that have predictions or aggregates. */
static int rollups_load_windows(struct rollups_answer *answer, struct err *err)
{
    int64_t start_ms;
    int rc;

    for (size_t i = 0; i < answer->deployments_len; i++)
        answer->keys[i] = (struct rollup_key){ answer->deployments[i], answer->asked->aggregates
                                                                           ? METRIC_AGGREGATES
                                                                           : METRIC_PREDICTIONS };
    answer->keys_len = answer->deployments_len;
    if (rollup_source_begin(answer->source, answer->keys, answer->keys_len, err) < 0)
        return -1;
    while ((rc = rollup_source_next(answer->source, &start_ms, &answer->rollup, err)) > 0) {
        if (answer->windows_len == ROLLUPS_WINDOWS_MAX)
            return fault_set(&answer->query->fault, 400, "too_many_windows", "window",
                             "the answer would have more than %d windows: ask for a shorter span "
                             "or a wider window",
                             ROLLUPS_WINDOWS_MAX);
        if (answer->windows_len == answer->windows_cap) {
            answer->windows_cap = answer->windows_cap ? 2 * answer->windows_cap : 256;
            answer->windows =
                xreallocarray(answer->windows, answer->windows_cap, sizeof(*answer->windows));
        }
        answer->windows[answer->windows_len++] =
            (struct rollups_window){ start_ms, answer->rollup.count,
                                     (uint64_t)rollup_sum(&answer->rollup) };
    }
    return rc;
}

/* Rows (name, deployment, metric) of the metrics wanted, by name, then deployment. */
static int rollups_open_names(PGconn *conn, const struct rollups_answer *answer,
                              struct store_cursor *names, struct err *err)
{
    const struct rollups_query *asked = answer->asked;
    AUTO(store_array_done) struct store_array deployments, wanted;
    struct store_params params = { 0 };

    store_array_init(&deployments, STORE_OID_INT8);
    store_array_init(&wanted, STORE_OID_TEXT);
    for (size_t i = 0; i < answer->deployments_len; i++)
        store_array_add_i64(&deployments, answer->deployments[i]);
    for (size_t i = 0; i < asked->metrics.len; i++)
        store_array_add_text(&wanted, span_of(asked->metrics.items[i]));
    store_param_binary(&params, store_array_end(&deployments));
    store_param_binary(&params, store_array_end(&wanted));
    store_param_text(&params, asked->aggregates ? "aggregate" : "prediction");
    return store_cursor_open(
        names, conn, "metric_names",
        "SELECT name, deployment::bigint, metric::bigint FROM ("
        "SELECT name, deployment, metric FROM metric_name WHERE kind = $3"
        " AND deployment = ANY ($1::bigint[])"
        " UNION ALL SELECT '_latency_ms', deployment, 2 FROM unnest($1::bigint[]) AS d(deployment)"
        " WHERE $3 = 'prediction') AS n"
        " WHERE cardinality($2::text[]) = 0 OR name = ANY ($2)"
        " ORDER BY name COLLATE \"C\", deployment",
        &params, err);
}

/* `names` has the connection between two series. */
static int rollups_write_all(struct rollups_answer *answer, struct store_cursor *names,
                             struct err *err)
{
    AUTO(buf_done) struct buf metric;
    int rc;

    buf_init(&metric, METRIC_NAME_BYTES_MAX);
    rc = store_cursor_next(names, err);
    while (rc > 0) {
        buf_clear(&metric);
        buf_append_span(&metric, store_get_span(names->rows, names->row, 0));
        answer->keys_len = 0;
        do {
            answer->keys[answer->keys_len++] =
                (struct rollup_key){ (int32_t)store_get_i64(names->rows, names->row, 1),
                                     (int32_t)store_get_i64(names->rows, names->row, 2) };
            rc = store_cursor_next(names, err);
        } while (rc > 0 &&
                 span_equal(buf_span(&metric), store_get_span(names->rows, names->row, 0)));
        if (rc >= 0 && rollups_write_series(answer, buf_span(&metric), err) < 0)
            return -1;
    }
    return rc;
}

/* ---- the answer */

static int rollups_find_deployments(PGconn *conn, struct rollups_answer *answer, struct err *err)
{
    const struct rollups_query *asked = answer->asked;
    AUTO(store_array_done) struct store_array crns;
    AUTO(store_result_free) PGresult *rows = NULL;
    struct store_params params = { 0 };
    char sql[160];

    store_array_init(&crns, STORE_OID_TEXT);
    store_array_add_text(&crns, asked->crn);
    store_param_binary(&params, store_array_end(&crns));
    (void)snprintf(sql, sizeof(sql),
                   "SELECT deployment, crn FROM model_deployment WHERE %s = ANY ($1)"
                   " ORDER BY deployment",
                   asked->scope->column);
    rows = store_query_params(conn, sql, &params, "read deployments", err);
    if (!rows)
        return -1;
    answer->deployments = xcalloc((size_t)PQntuples(rows), sizeof(*answer->deployments));
    answer->keys = xcalloc((size_t)PQntuples(rows), sizeof(*answer->keys));
    for (int row = 0; row < PQntuples(rows); row++) {
        if (query_allows_crn(answer->query, store_get_span(rows, row, 1)))
            answer->deployments[answer->deployments_len++] = (int32_t)store_get_i64(rows, row, 0);
    }
    return 0;
}

/* Begins the snapshot and takes from the span what is dropped in it. */
static int rollups_begin(PGconn *conn, struct rollups_answer *answer, struct err *err)
{
    int64_t horizon_ms;

    if (rollup_read_begin(conn, answer->asked->span.window, &horizon_ms, err) < 0)
        return -1;
    answer->span = answer->asked->span;
    if (answer->span.from_ms >= horizon_ms)
        return 0;
    answer->truncated_before_ms = answer->span.from_ms = horizon_ms;
    if (answer->span.to_ms < horizon_ms)
        answer->span.to_ms = horizon_ms;
    return 0;
}

static void rollups_write_begin(const struct rollups_answer *answer)
{
    struct query *query = answer->query;

    query->content_type = media_type_name(query->accept);
    if (query->accept != MEDIA_JSON)
        query->truncated_before_ms = answer->truncated_before_ms;
    if (query->accept == MEDIA_CSV)
        rollups_write_csv_head(answer);
    if (query->accept != MEDIA_JSON)
        return;
    buf_append_fmt(answer->out,
                   "{\"window\":\"%s\",\"truncatedBeforeMs\":", window_name(answer->span.window));
    if (answer->truncated_before_ms)
        buf_append_fmt(answer->out, "%" PRId64, answer->truncated_before_ms);
    else
        buf_append_text(answer->out, "null");
    buf_append_text(answer->out, ",\"series\":[");
}

static int rollups_answer_write(PGconn *conn, struct rollups_answer *answer, struct err *err)
{
    struct query *query = answer->query;
    AUTO(store_cursor_done) struct store_cursor names = { 0 };

    if (rollups_begin(conn, answer, err) < 0 || rollups_find_deployments(conn, answer, err) < 0 ||
        rollups_open_names(conn, answer, &names, err) < 0)
        return -1;
    answer->source =
        rollup_source_open(conn, answer->deployments, answer->deployments_len, &answer->span, err);
    if (!answer->source || rollups_load_windows(answer, err) < 0)
        return -1;
    rollups_write_begin(answer);
    if (rollups_write_all(answer, &names, err) < 0)
        return -1;
    if (query->accept == MEDIA_JSON)
        buf_append_text(answer->out, "]}");
    return 0;
}

static int rollups_run(struct rollups_answer *answer, PGconn *conn, struct query_watch *watch,
                       struct err *err)
{
    int rc;

    query_watch_begin(watch, answer->query, conn);
    rc = rollups_answer_write(conn, answer, err);
    query_watch_end(watch, rc < 0); /* or the rest of a series would be read to its end */
    rollup_source_free(answer->source);
    return rc;
}

static int rollups_answer(struct store_pool *pool, struct query *query,
                          const struct rollups_query *asked, struct buf *out, struct err *err)
{
    struct rollups_answer answer = { .query = query, .asked = asked, .out = out };
    PGconn *conn = store_pool_take(pool, err);
    struct query_watch watch = { 0 };
    int rc = -1;

    rollup_init(&answer.rollup);
    rollup_init(&answer.nothing);
    answer.texts = xcalloc((size_t)1 << ROLLUPS_TEXTS_BITS, sizeof(*answer.texts));
    if (conn)
        rc = rollups_run(&answer, conn, &watch, err);
    store_pool_give(pool, conn, rc == 0 && !watch.is_cancelled);
    rollup_done(&answer.rollup);
    rollup_done(&answer.nothing);
    free(answer.deployments);
    free(answer.windows);
    free(answer.keys);
    free(answer.texts);
    return rc;
}

int query_rollups(struct store_pool *pool, struct query *query, struct buf *out, unsigned *status,
                  struct err *err)
{
    struct rollups_query asked = { 0 };
    int rc;

    (void)status;
    if (!query->config->rollups)
        return fault_set(&query->fault, 404, "not_found", NULL,
                         "this database keeps no rollups: it was made with rollups: false");
    rc = rollups_parse(&asked, &query->parameters, &query->fault);
    if (rc == 0)
        rc = rollups_answer(pool, query, &asked, out, err);
    strings_done(&asked.metrics);
    return rc;
}
