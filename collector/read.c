/* A read: one connection, one snapshot, rows as they come from a binary COPY. */
#include "collector/read.h"

#include <endian.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/map.h"
#include "base/mem.h"
#include "collector/store_internal.h"
#include "collector/store_pool.h"
#include "collector/store_read_internal.h"

enum {
    READ_COLUMNS = 8,
    READ_CRN_COLUMNS = 3,   /* behind them, of many deployments */
    READ_HEADER_BYTES = 19, /* before the first row of a binary COPY */
    READ_CURSOR_BYTES_MAX = 128,
    READ_LABELS_INIT = 8,
};

struct read {
    const struct read_query *query; /* borrowed */
    struct store_pool *pool;        /* borrowed */
    PGconn *conn;
    PGcancel *cancel;
    _Atomic bool is_cancelled;
    struct read_facts facts;
    struct read_position position;
    struct read_deployments *deployments; /* NULL until the snapshot is taken */
    bool is_copying;
    bool is_first; /* the next message begins with the header */
    int64_t rows;  /* given out */
    int64_t last_batch_id, last_ordinal;
    char *message; /* libpq's, the row that stands */
    char uuid[UUID_TEXT_LEN + 1];
    struct span *keys;   /* of the query, as spans */
    struct span *labels; /* of the row that stands */
    size_t labels_cap;
    struct buf merged;
    uint64_t hash; /* of the query, so that a cursor goes with it */
    char cursor[READ_CURSOR_BYTES_MAX];
};

void strings_add(struct strings *strings, struct span text)
{
    strings->items = xreallocarray(strings->items, strings->len + 1, sizeof(*strings->items));
    strings->items[strings->len++] = xmemdup0(text.data, text.len);
}

void strings_done(struct strings *strings)
{
    for (size_t i = 0; i < strings->len; i++)
        free(strings->items[i]);
    free(strings->items);
    *strings = (struct strings){ 0 };
}

void read_query_init(struct read_query *query)
{
    *query = (struct read_query){
        .start_ms = INT64_MIN, .end_ms = INT64_MAX, .predictions = true, .aggregates = true
    };
}

void read_query_done(struct read_query *query)
{
    strings_done(&query->deployment_crns);
    strings_done(&query->build_crns);
    strings_done(&query->model_crns);
    strings_done(&query->keys);
    free(query->uuids);
    free(query->cursor);
}

/* -------------------------------------------------------------------------------------- cursors */

static void query_hash_strings(XXH3_state_t *state, const struct strings *strings)
{
    (void)XXH3_64bits_update(state, &strings->len, sizeof(strings->len));
    for (size_t i = 0; i < strings->len; i++)
        (void)XXH3_64bits_update(state, strings->items[i], strlen(strings->items[i]) + 1);
}

/* Everything that decides which rows there are; the limit may change from page to page. */
static uint64_t query_hash(const struct read_query *query)
{
    const int64_t numbers[] = { query->start_ms, query->end_ms, query->predictions,
                                query->aggregates };
    XXH3_state_t state;

    (void)XXH3_64bits_reset(&state);
    query_hash_strings(&state, &query->deployment_crns);
    query_hash_strings(&state, &query->build_crns);
    query_hash_strings(&state, &query->model_crns);
    query_hash_strings(&state, &query->keys);
    (void)XXH3_64bits_update(&state, query->uuids, query->uuids_len * sizeof(*query->uuids));
    (void)XXH3_64bits_update(&state, numbers, sizeof(numbers));
    return XXH3_64bits_digest(&state);
}

/* "1-<settled>-<batch>-<ordinal>-<hash>": opaque to clients. */
static void read_write_cursor(const struct read *read, int64_t batch_id, int64_t ordinal,
                              char *cursor)
{
    (void)snprintf(cursor, READ_CURSOR_BYTES_MAX,
                   "1-%" PRIx64 "-%" PRIx64 "-%" PRIx64 "-%016" PRIx64,
                   (uint64_t)read->position.settled, (uint64_t)batch_id, (uint64_t)ordinal,
                   read->hash);
}

static int read_parse_cursor(struct read *read, const char *cursor, struct err *err)
{
    uint64_t numbers[5];
    const char *at = cursor;
    char *end;

    for (size_t i = 0; i < LENGTH(numbers); i++) {
        numbers[i] = strtoull(at, &end, 16);
        if (end == at || *end != (i + 1 < LENGTH(numbers) ? '-' : '\0') || *at == '-' || *at == '+')
            return err_set(err, ERR_INPUT,
                           "not a cursor: take \"nextCursor\" of the page before as it is");
        at = end + 1;
    }
    if (numbers[0] != 1 || numbers[1] > INT64_MAX || numbers[2] > INT64_MAX ||
        numbers[3] > INT32_MAX)
        return err_set(err, ERR_INPUT,
                       "not a cursor: take \"nextCursor\" of the page before as it is");
    if (numbers[4] != read->hash)
        return err_set(err, ERR_INPUT,
                       "the cursor belongs to another query: only \"limit\" may change "
                       "from page to page");
    read->position.settled = (int64_t)numbers[1];
    read->position.batch_id = (int64_t)numbers[2];
    read->position.ordinal = (int64_t)numbers[3];
    return 0;
}

/* ------------------------------------------------------------------------------- open and close */

static int read_connect(struct read *read, struct store_pool *pool, struct err *err)
{
    const struct read_query *query = read->query;

    read->hash = query_hash(query);
    read->position =
        (struct read_position){ .settled = INT64_MAX, .batch_id = -1, .limit = query->limit };
    if (query->cursor && read_parse_cursor(read, query->cursor, err) < 0)
        return -1;
    read->pool = pool;
    read->conn = store_pool_take(pool, err);
    if (!read->conn)
        return -1;
    read->cancel = PQgetCancel(read->conn);
    return 0;
}

/* Takes the snapshot, unless it is taken: that can block, so not before it can be cancelled. */
static int read_begin(struct read *read, struct err *err)
{
    const struct read_query *query = read->query;

    if (read->deployments)
        return 0;
    if (store_read_begin(read->conn, query, &read->facts, err) < 0)
        return -1;
    if (query->limit && !query->cursor)
        read->position.settled = read->facts.settled;
    read->deployments = store_read_deployments(read->conn, query, err);
    return read->deployments ? 0 : -1;
}

struct read *read_open(struct store_pool *pool, const struct read_query *query, struct err *err)
{
    AUTO(read_free) struct read *read = xcalloc(1, sizeof(*read));

    read->query = query;
    buf_init(&read->merged, SIZE_MAX);
    read->keys = xcalloc(query->keys.len, sizeof(*read->keys));
    for (size_t i = 0; i < query->keys.len; i++)
        read->keys[i] = span_of(query->keys.items[i]);
    read->labels_cap = READ_LABELS_INIT;
    read->labels = xcalloc(read->labels_cap, sizeof(*read->labels));
    if (read_connect(read, pool, err) < 0)
        return NULL;
    return TAKE(read);
}

void read_free(struct read *read)
{
    if (!read)
        return;
    if (read->is_copying && read->cancel) {
        char text[128];

        (void)PQcancel(read->cancel, text,
                       sizeof(text)); /* or the server goes on until its socket is full */
    }
    PQfreeCancel(read->cancel);
    read_deployments_free(read->deployments);
    PQfreemem(read->message);
    store_pool_give(read->pool, read->conn, !read->is_copying && !read->is_cancelled);
    buf_done(&read->merged);
    free(read->keys);
    free(read->labels);
    free(read);
}

void read_cancel(struct read *read)
{
    char text[128];

    read->is_cancelled = true;
    if (read->cancel)
        (void)PQcancel(read->cancel, text, sizeof(text));
}

/* ----------------------------------------------------------------------------------------- rows */

static int read_start(struct read *read, struct err *err)
{
    AUTO(buf_done) struct buf sql;
    AUTO(store_result_free) PGresult *result = NULL;
    bool sorts;

    buf_init(&sql, SIZE_MAX);
    store_read_write_copy(&sql, read->query, &read->facts, &read->position, read->deployments,
                          &sorts);
    if (store_read_plan(read->conn, sorts, err) < 0)
        return -1;
    result = PQexec(read->conn, buf_text(&sql));
    if (PQresultStatus(result) != PGRES_COPY_OUT) {
        (void)store_fail(read->conn, result, "read", err);
        err->kind = ERR_RETRY;
        return -1;
    }
    read->is_copying = read->is_first = true;
    return 0;
}

/* One field of the row's message: *field.data is NULL for null. */
static bool read_field(struct span *message, struct span *field)
{
    uint32_t len;

    if (message->len < 4)
        return false;
    memcpy(&len, message->data, 4);
    len = be32toh(len);
    message->data += 4;
    message->len -= 4;
    *field = (struct span){ NULL, 0 };
    if (len == UINT32_MAX)
        return true;
    if (len > message->len)
        return false;
    *field = (struct span){ message->data, len };
    message->data += len;
    message->len -= len;
    return true;
}

static int64_t read_i64(struct span field)
{
    uint64_t value;

    memcpy(&value, field.data, 8);
    return (int64_t)be64toh(value);
}

static int32_t read_i32(struct span field)
{
    uint32_t value;

    memcpy(&value, field.data, 4);
    return (int32_t)be32toh(value);
}

/* An array of json: dimensions, flags, type, then length and lower bound of the one dimension,
 * then the elements. */
static bool read_labels(struct read *read, struct span array, size_t *len)
{
    *len = 0;
    if (!array.data)
        return true;
    if (array.len < 20)
        return false;
    array.data += 20;
    array.len -= 20;
    while (array.len) {
        if (*len == read->labels_cap) {
            read->labels_cap *= 2;
            read->labels = xreallocarray(read->labels, read->labels_cap, sizeof(*read->labels));
        }
        if (!read_field(&array, &read->labels[*len]))
            return false;
        (*len)++;
    }
    return true;
}

/* The deployment's row in the catalog's answer, by bisection. */
static int read_deployment(const PGresult *deployments, int32_t deployment)
{
    int low = 0, high = PQntuples(deployments);

    while (low + 1 < high) {
        int middle = (low + high) / 2;

        if (store_get_i64(deployments, middle, 0) <= deployment)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Many deployments have their CRNs in the row. */
static void read_fill_crns(const struct read *read, const struct span *fields, struct row *row)
{
    const PGresult *deployments = read->deployments->rows;
    int at;

    if (!deployments) {
        row->deployment_crn = fields[READ_COLUMNS];
        row->build_crn = fields[READ_COLUMNS + 1];
        row->model_crn = fields[READ_COLUMNS + 2];
        return;
    }
    at = read_deployment(deployments, read_i32(fields[2]));
    row->deployment_crn = store_get_span(deployments, at, 1);
    row->build_crn = store_get_span(deployments, at, 2);
    row->model_crn = store_get_span(deployments, at, 3);
}

static void read_fill(struct read *read, const struct span *fields, size_t labels_len,
                      struct row *row)
{
    struct uuid uuid;

    read_fill_crns(read, fields, row);
    row->start_ms = (read_i64(fields[3]) + STORE_EPOCH_US) / 1000;
    row->end_ms = (read_i64(fields[4]) + STORE_EPOCH_US) / 1000;
    row->uuid = SPAN_LITERAL("");
    if (fields[5].data) {
        memcpy(uuid.bytes, fields[5].data, sizeof(uuid.bytes));
        uuid_format(&uuid, read->uuid);
        row->uuid = (struct span){ read->uuid, UUID_TEXT_LEN };
    }
    row->metrics = fields[6];
    if (labels_len || read->query->keys.len) {
        buf_clear(&read->merged);
        row_merge(&read->merged, fields[6], read->labels, labels_len, read->keys,
                  read->query->keys.len);
        row->metrics = buf_span(&read->merged);
    }
}

static int read_parse(struct read *read, struct span message, struct row *row, struct err *err)
{
    struct span fields[READ_COLUMNS + READ_CRN_COLUMNS];
    size_t columns = READ_COLUMNS + (read->deployments->rows ? 0 : READ_CRN_COLUMNS);
    size_t labels_len = 0;
    bool whole = message.len >= 2;

    message.data += 2; /* the number of fields */
    message.len -= 2;
    for (size_t i = 0; i < columns && whole; i++)
        whole = read_field(&message, &fields[i]);
    if (!whole || !read_labels(read, fields[7], &labels_len))
        return err_set(err, ERR_RETRY, "postgres: read: a row is cut short");
    read->last_batch_id = read_i64(fields[0]);
    read->last_ordinal = read_i32(fields[1]);
    read_fill(read, fields, labels_len, row);
    return 0;
}

/* The COPY is over: its word, and the end of its results. */
static int read_finish(struct read *read, struct err *err)
{
    AUTO(store_result_free) PGresult *result = PQgetResult(read->conn);
    PGresult *more;

    read->is_copying = false;
    while ((more = PQgetResult(read->conn)))
        PQclear(more);
    if (PQresultStatus(result) == PGRES_COMMAND_OK)
        return 0;
    (void)store_fail(read->conn, result, "read", err);
    err->kind = ERR_RETRY;
    return -1;
}

int read_next(struct read *read, struct row *row, struct err *err)
{
    struct span message;
    int len;

    if (read->is_cancelled)
        return err_set(err, ERR_RETRY, "the read was cancelled");
    if (!read->rows && !read->is_copying) {
        if (read_begin(read, err) < 0)
            return -1;
        if (store_read_is_empty(read->query, &read->facts, read->deployments))
            return 0;
        if (read_start(read, err) < 0)
            return -1;
    }
    if (!read->is_copying)
        return 0;
    PQfreemem(read->message);
    read->message = NULL;
    len = PQgetCopyData(read->conn, &read->message, 0);
    if (len == -1)
        return read_finish(read, err);
    if (len < 0)
        return store_fail(read->conn, NULL, "read", err);
    message = (struct span){ read->message, (size_t)len };
    if (read->is_first) {
        message.data += READ_HEADER_BYTES;
        message.len -= READ_HEADER_BYTES;
        read->is_first = false;
    }
    if (message.len == 2) /* the trailer; what follows is the end */
        return read_next(read, row, err);
    if (read->position.limit && read->rows == read->position.limit) {
        read_write_cursor(read, read->last_batch_id, read->last_ordinal, read->cursor);
        return 0; /* the row behind the page */
    }
    read->rows++;
    return read_parse(read, message, row, err) < 0 ? -1 : 1;
}

int read_truncated_before(struct read *read, int64_t *before_ms, struct err *err)
{
    if (read_begin(read, err) < 0)
        return -1;
    *before_ms = read->query->start_ms < read->facts.horizon_ms ? read->facts.horizon_ms : 0;
    return 0;
}

const char *read_next_cursor(const struct read *read)
{
    return read->cursor[0] ? read->cursor : NULL;
}

int read_peek_cursor(struct read *read, const char **cursor, struct err *err)
{
    AUTO(store_result_free) PGresult *end = NULL;

    *cursor = NULL;
    if (read_begin(read, err) < 0)
        return -1;
    if (!read->position.limit || store_read_is_empty(read->query, &read->facts, read->deployments))
        return 0;
    end = store_read_page_end(read->conn, read->query, &read->facts, &read->position,
                              read->deployments, err);
    if (!end)
        return -1;
    if (PQntuples(end) == 2) {
        read_write_cursor(read, store_get_i64(end, 0, 0), store_get_i64(end, 0, 1), read->cursor);
        *cursor = read->cursor;
    }
    return 0;
}

int read_rewind(struct read *read, struct err *err)
{
    int rc = 0;

    while (read->is_copying && rc == 0) { /* a page may have stopped before the COPY's end */
        PQfreemem(read->message);
        read->message = NULL;
        rc = PQgetCopyData(read->conn, &read->message, 0);
        rc = rc == -1 ? read_finish(read, err)
             : rc < 0 ? store_fail(read->conn, NULL, "read", err)
                      : 0;
    }
    read->rows = 0;
    return rc;
}
