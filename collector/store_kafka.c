/* Kafka's share of a batch: the stored offsets, moved before any event is written, and what can't
 * be taken of its messages, or of the spool, written last. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "collector/offsets.h"
#include "collector/origin.h"
#include "collector/spool.h"
#include "collector/spool_segment_internal.h"
#include "collector/store_commit_internal.h"
#include "collector/store_internal.h"

/* --------------------------------------------------------------------------- moving the offsets */

/* What the submissions of one partition move together. */
struct offset_range {
    const struct origin *first;
    const struct origin *last;
};

static bool offset_same_partition(const struct origin *a, const struct origin *b)
{
    return a->partition == b->partition && strcmp(a->topic, b->topic) == 0 &&
           strcmp(a->cluster, b->cluster) == 0;
}

static int offset_compare(const void *a, const void *b)
{
    const struct origin *left = ((const struct offset_range *)a)->first,
                        *right = ((const struct offset_range *)b)->first;
    int order = strcmp(left->cluster, right->cluster);

    if (order == 0)
        order = strcmp(left->topic, right->topic);
    return order ? order
                 : (left->partition > right->partition) - (left->partition < right->partition);
}

/* Puts the submission behind those of its partition. false: it does not follow on them, what came
 * between was given up. */
static bool offset_add(struct offset_range *ranges, uint32_t *len, const struct origin *origin)
{
    for (uint32_t i = 0; i < *len; i++) {
        const struct origin *last = ranges[i].last;

        if (!offset_same_partition(last, origin))
            continue;
        if (last->to.next != origin->from.next || last->to.incarnation != origin->from.incarnation)
            return false;
        ranges[i].last = origin;
        return true;
    }
    ranges[(*len)++] = (struct offset_range){ origin, origin };
    return true;
}

static void offset_write_texts(struct buf *sql, PGconn *conn, const struct offset_range *ranges,
                               uint32_t len, bool topics)
{
    buf_append_text(sql, "ARRAY[");
    for (uint32_t i = 0; i < len; i++) {
        const char *text = topics ? ranges[i].first->topic : ranges[i].first->cluster;
        char *quoted = PQescapeLiteral(conn, text, strlen(text));

        buf_append_fmt(sql, "%s%s", i ? "," : "", quoted ? quoted : "NULL");
        PQfreemem(quoted);
    }
    buf_append_text(sql, "]::text[]");
}

static void offset_write_numbers(struct buf *sql, const struct offset_range *ranges, uint32_t len,
                                 int64_t (*number)(const struct offset_range *range))
{
    buf_append_text(sql, ",'{");
    for (uint32_t i = 0; i < len; i++)
        buf_append_fmt(sql, "%s%lld", i ? "," : "", (long long)number(&ranges[i]));
    buf_append_text(sql, "}'");
}

static int64_t offset_partition(const struct offset_range *range)
{
    return range->first->partition;
}

static int64_t offset_incarnation(const struct offset_range *range)
{
    return range->first->from.incarnation;
}

static int64_t offset_next(const struct offset_range *range)
{
    return range->first->from.next;
}

static int64_t offset_new_incarnation(const struct offset_range *range)
{
    return range->last->to.incarnation;
}

static int64_t offset_new_next(const struct offset_range *range)
{
    return range->last->to.next;
}

static int64_t offset_mark_offset(const struct offset_range *range)
{
    return range->last->to.mark_offset;
}

static int64_t offset_mark(const struct offset_range *range)
{
    return range->last->to.mark;
}

static void offset_write(struct buf *sql, PGconn *conn, const struct offset_range *ranges,
                         uint32_t len)
{
    buf_append_text(sql, "SELECT * FROM kafka_advance(");
    offset_write_texts(sql, conn, ranges, len, false);
    buf_append_char(sql, ',');
    offset_write_texts(sql, conn, ranges, len, true);
    offset_write_numbers(sql, ranges, len, offset_partition);
    offset_write_numbers(sql, ranges, len, offset_incarnation);
    offset_write_numbers(sql, ranges, len, offset_next);
    offset_write_numbers(sql, ranges, len, offset_new_incarnation);
    offset_write_numbers(sql, ranges, len, offset_new_next);
    offset_write_numbers(sql, ranges, len, offset_mark_offset);
    offset_write_numbers(sql, ranges, len, offset_mark);
    buf_append_char(sql, ')');
}

static void offset_fence(struct batch *batch, const struct origin *of)
{
    for (struct submission *s = batch->submissions; s; s = s->next) {
        if (s->origin && offset_same_partition(s->origin, of))
            s->outcome = SUBMISSION_FENCED;
    }
}

/* The batch's ranges in the order in which Postgres locks them; owned. Those submissions that don't
 * follow on the one before are fenced, and *fenced says so. */
static struct offset_range *offset_ranges(struct batch *batch, uint32_t *len, bool *fenced)
{
    struct offset_range *ranges = xcalloc(batch->origins, sizeof(*ranges));

    *len = 0;
    *fenced = false;
    for (struct submission *s = batch->submissions; s; s = s->next) {
        if (!s->origin || offset_add(ranges, len, s->origin))
            continue;
        s->outcome = SUBMISSION_FENCED;
        *fenced = true;
    }
    qsort(ranges, *len, sizeof(*ranges), offset_compare);
    return ranges;
}

enum step offsets_write(struct attempt *attempt, struct buf *sql)
{
    uint32_t len;
    bool fenced;
    AUTO(mem_free) struct offset_range *ranges = offset_ranges(attempt->batch, &len, &fenced);

    offset_write(sql, attempt->store->conn, ranges, len);
    return fenced ? STEP_FENCED : STEP_DONE;
}

enum step offsets_advanced(struct attempt *attempt, const PGresult *result)
{
    uint32_t len;
    bool fenced;
    AUTO(mem_free) struct offset_range *ranges = offset_ranges(attempt->batch, &len, &fenced);

    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        (void)store_fail(attempt->store->conn, result, "kafka offsets", attempt->err);
        attempt->err->kind = ERR_RETRY;
        return STEP_FAIL;
    }
    for (int i = 0; i < PQntuples(result); i++) {
        offset_fence(attempt->batch, ranges[store_get_i64(result, i, 0) - 1].first);
        fenced = true;
    }
    return fenced ? STEP_FENCED : STEP_DONE;
}

enum step offsets_advance(struct attempt *attempt)
{
    AUTO(store_result_free) PGresult *result = NULL;
    AUTO(buf_done) struct buf sql;
    enum step step;

    buf_init(&sql, SIZE_MAX);
    step = offsets_write(attempt, &sql);
    if (step != STEP_DONE)
        return step;
    result = PQexec(attempt->store->conn, buf_text(&sql));
    return offsets_advanced(attempt, result);
}

/* ------------------------------------------------------------------------ what can't be taken */

static void reject_fields(struct copy *copy, const char *source, struct span origin,
                          const char *code, const char *why, struct span event)
{
    copy_row(copy, 5);
    copy_bytes(copy, span_of(source));
    copy_bytes(copy, origin);
    copy_bytes(copy, span_of(code));
    copy_bytes(copy, span_of(why));
    copy_bytes(copy, event);
}

static void reject_row(struct copy *copy, const struct origin *origin,
                       const struct origin_reject *reject, struct buf *text)
{
    struct span event = reject->event;

    if (event.len > origin->reject_bytes_max)
        event.len = origin->reject_bytes_max;
    if (!event.data)
        event = (struct span){ "", 0 };
    buf_clear(text);
    origin_write(origin, reject, text);
    reject_fields(copy, "kafka", buf_span(text), reject->code, reject->why, event);
}

/* What a group of the spool has that is no event. */
static int reject_spooled(struct copy *copy, const struct spool_group *group, struct buf *text,
                          struct err *err)
{
    for (uint32_t i = 0; i < group->rejects_len; i++) {
        const struct spool_reject *reject = &group->rejects[i];

        buf_clear(text);
        spool_origin_write(group, reject->at, reject->received_ms, text);
        reject_fields(copy, "spool", buf_span(text), reject->code, reject->why, reject->bytes);
        if (copy_flush(copy, err) < 0)
            return -1;
    }
    return 0;
}

/* An event of the spool that the database is against. */
static int reject_spooled_row(struct copy *copy, const struct batch_row *row, struct buf *text,
                              struct err *err)
{
    const struct spool_group *group = row->submission->group;
    const struct spool_place *place = &group->places[row->event->index];
    AUTO(buf_done) struct buf event, why;

    buf_init(&event, SIZE_MAX);
    buf_init(&why, SIZE_MAX);
    spool_event_write(&event, row->event);
    buf_append_fmt(&why, "%s%s%s", row->field ? row->field : "", row->field ? ": " : "",
                   row->message);
    buf_clear(text);
    spool_origin_write(group, place->at, place->received_ms, text);
    reject_fields(copy, "spool", buf_span(text), row->code, buf_text(&why), buf_span(&event));
    return copy_flush(copy, err);
}

static int reject_known(struct copy *copy, const struct batch *batch, struct buf *text,
                        struct err *err)
{
    for (const struct submission *s = batch->submissions; s; s = s->next) {
        if (s->group && reject_spooled(copy, s->group, text, err) < 0)
            return -1;
        for (uint32_t i = 0; s->origin && i < s->origin->rejects_len; i++) {
            reject_row(copy, s->origin, &s->origin->rejects[i], text);
            if (copy_flush(copy, err) < 0)
                return -1;
        }
    }
    return 0;
}

/* Rows that the database, or the batch beside them, is against. */
static int reject_found(struct copy *copy, const struct batch *batch, struct buf *text,
                        struct err *err)
{
    for (uint32_t i = 0; i < batch->rows_len; i++) {
        const struct batch_row *row = &batch->rows[i];
        const struct origin *origin = row->submission->origin;
        struct origin_reject reject = { .code = row->code };
        uint32_t index = row->event->index;

        if (row->fate == ROW_REJECTED && row->submission->group &&
            reject_spooled_row(copy, row, text, err) < 0)
            return -1;
        if (!origin || row->fate != ROW_REJECTED)
            continue;
        reject.message = origin_message_of(origin, index);
        reject.event =
            origin_event(&origin->messages[reject.message],
                         index - origin->messages[reject.message].index, &reject.element);
        reject.why =
            row->field ? xasprintf("%s: %s", row->field, row->message) : xstrdup(row->message);
        reject_row(copy, origin, &reject, text);
        free(reject.why);
        if (copy_flush(copy, err) < 0)
            return -1;
    }
    return 0;
}

bool rejects_any(const struct batch *batch)
{
    for (const struct submission *s = batch->submissions; s; s = s->next) {
        if ((s->origin && s->origin->rejects_len) || (s->group && s->group->rejects_len))
            return true;
    }
    for (uint32_t i = 0; i < batch->rows_len; i++) {
        const struct submission *submission = batch->rows[i].submission;

        if (batch->rows[i].fate == ROW_REJECTED && (submission->origin || submission->group))
            return true;
    }
    return false;
}

enum step rejects_write(struct attempt *attempt)
{
    struct copy *copy = &attempt->store->copy;
    struct copy_failure failure;
    AUTO(buf_done) struct buf text;

    buf_init(&text, SIZE_MAX);
    if (!rejects_any(attempt->batch))
        return STEP_DONE;
    if (copy_begin(copy, attempt->store->conn,
                   "COPY rejected_event (source, origin, code, message, event)"
                   " FROM STDIN (FORMAT binary)",
                   attempt->err) < 0 ||
        reject_known(copy, attempt->batch, &text, attempt->err) < 0 ||
        reject_found(copy, attempt->batch, &text, attempt->err) < 0 ||
        copy_end(copy, "COPY rejected_event", &failure, attempt->err) < 0) {
        attempt->err->kind = ERR_RETRY; /* never a reason to give up the events */
        return STEP_FAIL;
    }
    return STEP_DONE;
}

/* ------------------------------------------------------------------------------ reading offsets */

struct offsets {
    char *dsn;
    PGconn *conn; /* NULL while there is none */
};

struct offsets *offsets_new(const char *dsn)
{
    struct offsets *offsets = xcalloc(1, sizeof(*offsets));

    offsets->dsn = xstrdup(dsn);
    return offsets;
}

void offsets_free(struct offsets *offsets)
{
    if (!offsets)
        return;
    PQfinish(offsets->conn);
    free(offsets->dsn);
    free(offsets);
}

static PGresult *offsets_query(struct offsets *offsets, const char *sql,
                               const struct store_params *params, struct err *err)
{
    PGresult *result;

    if (!offsets->conn)
        offsets->conn = store_connect(offsets->dsn, "kafka", err);
    if (!offsets->conn)
        return NULL;
    result = store_query_params(offsets->conn, sql, params, "kafka_offset", err);
    if (!result) {
        PQfinish(TAKE(offsets->conn)); /* the next call begins with a new connection */
        err->kind = ERR_RETRY;
    }
    return result;
}

int offsets_read(struct offsets *offsets, const char *cluster, const char *topic, int32_t partition,
                 struct origin_offset *offset, struct err *err)
{
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    char number[16];

    (void)snprintf(number, sizeof(number), "%d", (int)partition);
    store_param_text(&params, cluster);
    store_param_text(&params, topic);
    store_param_text(&params, number);
    result = offsets_query(offsets,
                           "SELECT incarnation, next_offset, mark_offset, mark FROM kafka_offset"
                           " WHERE cluster = $1 AND topic = $2 AND partition = $3",
                           &params, err);
    if (!result)
        return -1;
    if (PQntuples(result) == 0)
        return 0;
    *offset = (struct origin_offset){ store_get_i64(result, 0, 0), store_get_i64(result, 0, 1),
                                      store_get_i64(result, 0, 2), store_get_i64(result, 0, 3) };
    return 1;
}

int offsets_make(struct offsets *offsets, const char *cluster, const char *topic, int32_t partition,
                 int64_t next, struct err *err)
{
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    char number[16], offset[32];

    (void)snprintf(number, sizeof(number), "%d", (int)partition);
    (void)snprintf(offset, sizeof(offset), "%lld", (long long)next);
    store_param_text(&params, cluster);
    store_param_text(&params, topic);
    store_param_text(&params, number);
    store_param_text(&params, offset);
    result = offsets_query(offsets,
                           "INSERT INTO kafka_offset (cluster, topic, partition, next_offset)"
                           " VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
                           &params, err);
    return result ? 0 : -1;
}
