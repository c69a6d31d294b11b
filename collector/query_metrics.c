/* Metrics back to readers: GET /v1/metrics in three formats, and POST /read-metrics. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "collector/keyring.h"
#include "collector/queries.h"
#include "collector/read.h"

enum { METRICS_CRN_BYTES_MAX = 1024, METRICS_LIMIT_MAX = 1000000000 };

/* ---- what is asked for: the URL of /v1/metrics */

static int metrics_add_uuid(struct read_query *read, struct span text, struct fault *fault)
{
    struct uuid uuid;

    if (uuid_parse(&uuid, text) < 0)
        return fault_set(fault, 400, "invalid_parameter", "prediction_uuid",
                         "\"prediction_uuid\" is not a UUID: \"%.*s\"", fault_quote_len(text.len),
                         text.data);
    read->uuids = xreallocarray(read->uuids, read->uuids_len + 1, sizeof(*read->uuids));
    read->uuids[read->uuids_len++] = uuid;
    return 0;
}

static int metrics_add_crn(struct strings *crns, const char *code, const char *name,
                           struct span text, struct fault *fault)
{
    if (!text.len || text.len > METRICS_CRN_BYTES_MAX)
        return fault_set(fault, 400, code, name, "\"%s\" must have from 1 to %d bytes: it has %zu",
                         name, METRICS_CRN_BYTES_MAX, text.len);
    strings_add(crns, text);
    return 0;
}

/* The parameters that can be repeated. */
static int metrics_add_lists(struct read_query *read, const struct parameters *parameters,
                             struct fault *fault)
{
    for (size_t i = 0; i < parameters->len; i++) {
        const char *name = parameters->items[i].parameter->name;
        struct span text = { parameters->items[i].text, parameters->items[i].len };
        struct strings *crns = NULL;

        if (strcmp(name, "model_deployment_crn") == 0)
            crns = &read->deployment_crns;
        else if (strcmp(name, "model_build_crn") == 0)
            crns = &read->build_crns;
        else if (strcmp(name, "model_crn") == 0)
            crns = &read->model_crns;
        else if (strcmp(name, "key") == 0)
            strings_add(&read->keys, text);
        else if (strcmp(name, "prediction_uuid") == 0 && metrics_add_uuid(read, text, fault) < 0)
            return -1;
        if (crns && metrics_add_crn(crns, "invalid_parameter", name, text, fault) < 0)
            return -1;
    }
    return 0;
}

static int metrics_set_kind(struct read_query *read, struct span kind, struct fault *fault)
{
    if (!kind.data)
        return 0;
    read->predictions = span_is(kind, "prediction");
    read->aggregates = span_is(kind, "aggregate");
    if (read->predictions || read->aggregates)
        return 0;
    return fault_set(fault, 400, "invalid_parameter", "kind",
                     "\"kind\" must be prediction or aggregate: \"%.*s\"",
                     fault_quote_len(kind.len), kind.data);
}

static int metrics_check_span(const struct read_query *read, const char *field, struct fault *fault)
{
    if (read->start_ms <= read->end_ms)
        return 0;
    return fault_set(fault, 400, "invalid_parameter", field,
                     "the end (%" PRId64 ") is before the start (%" PRId64 ")", read->end_ms,
                     read->start_ms);
}

static int metrics_parse_url(struct read_query *read, const struct parameters *parameters,
                             struct fault *fault)
{
    struct span cursor = parameters_get(parameters, "cursor");

    if (metrics_add_lists(read, parameters, fault) < 0 ||
        metrics_set_kind(read, parameters_get(parameters, "kind"), fault) < 0 ||
        parameters_get_i64(parameters, "start_timestamp_ms", INT64_MIN, INT64_MAX, &read->start_ms,
                           fault) < 0 ||
        parameters_get_i64(parameters, "end_timestamp_ms", INT64_MIN, INT64_MAX, &read->end_ms,
                           fault) < 0 ||
        parameters_get_i64(parameters, "limit", 1, METRICS_LIMIT_MAX, &read->limit, fault) < 0)
        return -1;
    if (cursor.data && !read->limit)
        return fault_set(fault, 400, "invalid_parameter", "cursor", "\"cursor\" needs \"limit\"");
    if (cursor.data)
        read->cursor = xmemdup0(cursor.data, cursor.len);
    return metrics_check_span(read, "end_timestamp_ms", fault);
}

/* ---- what is asked for: the body of /read-metrics */

/* The member, or the one of its other spelling; NULL when both are absent or null. */
static json_t *metrics_member(const json_t *object, const char *name, const char *other)
{
    json_t *value = json_object_get(object, name);

    if ((!value || json_is_null(value)) && other)
        value = json_object_get(object, other);
    return value && !json_is_null(value) ? value : NULL;
}

static int metrics_parse_crn(struct strings *crns, const json_t *object, const char *name,
                             struct fault *fault)
{
    json_t *value = metrics_member(object, name, NULL);

    if (!value)
        return 0;
    if (!json_is_string(value))
        return fault_set(fault, 400, "invalid_field", name, "\"%s\" must be a string", name);
    return metrics_add_crn(crns, "invalid_field", name,
                           (struct span){ json_string_value(value), json_string_length(value) },
                           fault);
}

static int metrics_parse_ms(int64_t *ms, const json_t *object, const char *name, const char *other,
                            struct fault *fault)
{
    json_t *value = metrics_member(object, name, other);

    if (!value)
        return 0;
    if (!json_is_integer(value))
        return fault_set(fault, 400, "invalid_field", name,
                         "\"%s\" must be a whole number of milliseconds", name);
    *ms = json_integer_value(value);
    return 0;
}

static int metrics_parse_object(struct read_query *read, const json_t *object, struct fault *fault)
{
    if (!json_is_object(object))
        return fault_set(fault, 400, "invalid_json", NULL, "the body must be a JSON object");
    read->start_ms = 0;
    if (metrics_parse_crn(&read->deployment_crns, object, "modelDeploymentCrn", fault) < 0 ||
        metrics_parse_crn(&read->build_crns, object, "modelBuildCrn", fault) < 0 ||
        metrics_parse_crn(&read->model_crns, object, "modelCrn", fault) < 0 ||
        metrics_parse_ms(&read->start_ms, object, "startTimestampMs", "startTimeStampMs", fault) <
            0 ||
        metrics_parse_ms(&read->end_ms, object, "endTimestampMs", "endTimeStampMs", fault) < 0)
        return -1;
    return metrics_check_span(read, "endTimestampMs", fault);
}

static int metrics_parse_body(struct read_query *read, struct span body, struct fault *fault)
{
    json_error_t error;
    json_t *object = json_loadb(body.data ? body.data : "", body.len, 0, &error);
    int rc;

    if (!object)
        return fault_set(fault, 400, "invalid_json", NULL, "line %d, column %d: %s", error.line,
                         error.column, error.text);
    rc = metrics_parse_object(read, object, fault);
    json_decref(object);
    return rc;
}

/* ---- the answer */

/* The first row leaves at once, the others when there are enough of them. */
static int metrics_flush(struct query *query, struct buf *out, uint64_t rows, struct err *err)
{
    if (rows > 1 && out->len < QUERY_FLUSH_BYTES && !out->full)
        return 0;
    return query_flush(query, out, err);
}

static int metrics_write_json(struct query *query, struct read *read, struct buf *out,
                              struct err *err)
{
    const char *cursor;
    struct row row;
    uint64_t rows = 0;
    int64_t truncated_ms;
    int rc;

    buf_append_text(out, "{\"metrics\":[");
    while ((rc = read_next(read, &row, err)) > 0) {
        if (rows++)
            buf_append_char(out, ',');
        row_write_json(out, &row);
        if (metrics_flush(query, out, rows, err) < 0)
            return -1;
    }
    if (rc < 0 || read_truncated_before(read, &truncated_ms, err) < 0)
        return -1;
    stats_add(query->stats, STAT_READ_ROWS, (int64_t)rows);
    buf_append_char(out, ']');
    if (truncated_ms)
        buf_append_fmt(out, ",\"truncatedBeforeMs\":%" PRId64, truncated_ms);
    cursor = read_next_cursor(read);
    if (cursor) {
        buf_append_text(out, ",\"nextCursor\":");
        buf_append_json(out, span_of(cursor));
    }
    buf_append_char(out, '}');
    return 0;
}

/* Formats without a place for the cursor have it in a header, which goes before the rows. */
static int metrics_peek(struct query *query, struct read *read, const struct read_query *asked,
                        struct err *err)
{
    const char *cursor = NULL;

    if (!asked->limit)
        return 0;
    if (read_peek_cursor(read, &cursor, err) < 0)
        return -1;
    if (cursor)
        query->next_cursor = xstrdup(cursor);
    return 0;
}

static int metrics_write_lines(struct query *query, struct read *read, struct row_columns *columns,
                               struct buf *out, struct err *err)
{
    struct row row;
    uint64_t rows = 0;
    int rc;

    while ((rc = read_next(read, &row, err)) > 0) {
        rows++;
        if (columns) {
            row_columns_write(columns, out, &row);
        } else {
            row_write_json(out, &row);
            buf_append_char(out, '\n');
        }
        if (metrics_flush(query, out, rows, err) < 0)
            return -1;
    }
    stats_add(query->stats, STAT_READ_ROWS, (int64_t)rows);
    return rc;
}

static int metrics_write_csv(struct query *query, struct read *read, struct buf *out,
                             struct err *err)
{
    AUTO(row_columns_free)
    struct row_columns *columns = row_columns_new((size_t)query->config->csv_columns_max);
    struct row row;
    int rc;

    while ((rc = read_next(read, &row, err)) > 0) {
        if (row_columns_add(columns, row.metrics) < 0)
            return fault_set(&query->fault, 400, "too_many_columns", "key",
                             "the rows have more than %" PRId64 " different columns "
                             "(csv_columns_max): name those you want with \"key\"",
                             query->config->csv_columns_max);
    }
    if (rc < 0 || read_rewind(read, err) < 0)
        return -1;
    row_columns_write_header(columns, out);
    return metrics_write_lines(query, read, columns, out, err);
}

static void metrics_cancel(void *ctx)
{
    read_cancel(ctx);
}

static int metrics_write(struct query *query, struct read *read, const struct read_query *asked,
                         struct buf *out, struct err *err)
{
    query->content_type = media_type_name(query->accept);
    if (query->accept == MEDIA_JSON)
        return metrics_write_json(query, read, out, err);
    if (read_truncated_before(read, &query->truncated_before_ms, err) < 0 ||
        metrics_peek(query, read, asked, err) < 0)
        return -1;
    if (query->accept == MEDIA_CSV)
        return metrics_write_csv(query, read, out, err);
    return metrics_write_lines(query, read, NULL, out, err);
}

static int metrics_read(struct store_pool *pool, struct query *query,
                        const struct read_query *asked, struct buf *out, struct err *err)
{
    AUTO(read_free) struct read *read = read_open(pool, asked, err);
    int rc;

    if (!read)
        return -1;
    query_cancel_set(query, metrics_cancel, read);
    rc = metrics_write(query, read, asked, out, err);
    query_cancel_set(query, NULL, NULL);
    return rc;
}

/* Of a key that is restricted only its own deployments. */
static void metrics_begin(struct read_query *asked, const struct query *query)
{
    read_query_init(asked);
    if (query->key && query->key->prefixes.len)
        asked->crn_prefixes = &query->key->prefixes;
}

int query_metrics(struct store_pool *pool, struct query *query, struct buf *out, unsigned *status,
                  struct err *err)
{
    struct read_query asked;
    int rc;

    (void)status;
    metrics_begin(&asked, query);
    rc = metrics_parse_url(&asked, &query->parameters, &query->fault);
    if (rc == 0)
        rc = metrics_read(pool, query, &asked, out, err);
    read_query_done(&asked);
    return rc;
}

int query_read_metrics(struct store_pool *pool, struct query *query, struct buf *out,
                       unsigned *status, struct err *err)
{
    struct read_query asked;
    int rc;

    (void)status;
    metrics_begin(&asked, query);
    rc = metrics_parse_body(&asked, query->body, &query->fault);
    if (rc == 0)
        rc = metrics_read(pool, query, &asked, out, err);
    read_query_done(&asked);
    return rc;
}
