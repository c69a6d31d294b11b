#include "collector/query_write_internal.h"

#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "collector/store_graph_batch_internal.h"
#include "collector/store_internal.h"
#include "collector/store_types_internal.h"

enum {
    WRITE_AGAIN_MS = 100, /* between attempts to find out what became of one */
    WRITE_PIECE_BYTES = 256 * 1024,
};

void write_init(struct write *write, struct atlas *atlas, write_attempt *attempt, void *ctx)
{
    *write = (struct write){ .atlas = atlas, .attempt = attempt, .ctx = ctx, .status = 200 };
    uuid_random(&write->seed);
    buf_init(&write->answer, WRITE_ANSWER_BYTES_MAX);
}

void write_done(struct write *write)
{
    json_decref(write->body);
    buf_done(&write->answer);
}

/* ------------------------------------------------------------------------------------- the body */

int write_read_body(struct write *write)
{
    write->body = atlas_read_body(write->atlas, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY);
    return write->body ? 0 : -1;
}

/* --------------------------------------------------------------------------------- the attempts */

enum write_outcome { WRITE_DONE, WRITE_REFUSED, WRITE_UNKNOWN };

static int write_set_fault(struct write *write, const struct entity_fault *fault)
{
    return fault->status
               ? ATLAS_FAULT(write->atlas, fault->status, fault->code, "%s", fault->message)
               : -1;
}

static enum write_outcome write_commit(struct write *write, PGconn *conn)
{
    struct atlas *atlas = write->atlas;

    if (query_reserve(atlas->query, write->answer.cap) < 0)
        return WRITE_REFUSED;
    switch (graph_batch_commit(conn, atlas->err)) {
    case STORE_COMMITTED:
        return WRITE_DONE;
    case STORE_UNKNOWN:
        return WRITE_UNKNOWN;
    default:
        return WRITE_REFUSED;
    }
}

static enum write_outcome write_try_on(struct write *write, PGconn *conn)
{
    struct atlas *atlas = write->atlas;
    AUTO(type_registry_free) struct type_registry *types = NULL;
    struct entity_fault fault = { 0 };
    struct entity_writer writer = {
        .conn = conn,
        .user = atlas_user(atlas),
        .fault = &fault,
        .err = atlas->err,
    };

    buf_clear(&write->answer);
    write->has_written = false;
    if (entity_begin(conn, atlas->query->config->commit_timeout_ms, atlas->err) < 0 ||
        store_types_refresh(conn, atlas->query->type_cache, atlas->err) < 0)
        return WRITE_REFUSED;
    types = type_cache_get(atlas->query->type_cache);
    writer.types = types;
    if (write->attempt(write, &writer) < 0) {
        (void)write_set_fault(write, &fault);
        return WRITE_REFUSED;
    }
    if (write->answer.full) {
        (void)ATLAS_FAULT(atlas, 413, "too_large", "the answer would be larger than %d bytes",
                          WRITE_ANSWER_BYTES_MAX);
        return WRITE_REFUSED;
    }
    write->batch_id = writer.batch_id;
    return writer.batch_id || write->has_written ? write_commit(write, conn) : WRITE_DONE;
}

static enum write_outcome write_try(struct write *write)
{
    struct atlas *atlas = write->atlas;
    enum write_outcome outcome;

    if (atlas_connect(atlas) < 0)
        return WRITE_REFUSED;
    outcome = write_try_on(write, atlas->conn);
    store_pool_give(atlas->pool, TAKE(atlas->conn),
                    outcome == WRITE_DONE || atlas->query->fault.status);
    return outcome;
}

/* The connection broke during COMMIT. What has a batch is looked for: when that is in, its answer
 * is the one that was written. What has none is done again: what is in is not changed by it. */
static enum write_outcome write_again(struct write *write)
{
    struct atlas *atlas = write->atlas;
    enum store_result result;

    atlas->query->fault = (struct fault){ 0 };
    write->is_again = true;
    if (!write->batch_id)
        return write_try(write);
    result = atlas_settle(atlas, write->batch_id);
    store_pool_give(atlas->pool, TAKE(atlas->conn), result != STORE_UNKNOWN);
    if (result == STORE_COMMITTED)
        return WRITE_DONE;
    if (result != STORE_NOT_STORED)
        return WRITE_UNKNOWN;
    write->is_again = false;
    return write_try(write);
}

static int write_until_known(struct write *write)
{
    struct query *query = write->atlas->query;
    int64_t deadline_ms = clock_mono_ms() + query->config->commit_timeout_ms;
    enum write_outcome outcome = write_try(write);

    if (outcome != WRITE_UNKNOWN)
        return outcome == WRITE_DONE ? 0 : -1;
    while (clock_mono_ms() < deadline_ms) {
        struct timespec pause = { .tv_nsec = WRITE_AGAIN_MS * 1000000L };

        (void)nanosleep(&pause, NULL);
        outcome = write_again(write);
        if (outcome == WRITE_DONE)
            return 0;
        if (outcome == WRITE_REFUSED && !write->is_again)
            return -1;
    }
    query->is_unknown = true;
    return -1;
}

/* A piece at a time: behind COMMIT nothing can be too much. */
static int write_send(struct write *write)
{
    struct atlas *atlas = write->atlas;
    struct buf *answer = &write->answer;

    for (size_t sent = 0, len; sent < answer->len; sent += len) {
        len = answer->len - sent < WRITE_PIECE_BYTES ? answer->len - sent : WRITE_PIECE_BYTES;
        buf_append(atlas->out, answer->data + sent, len);
        if (len < answer->len && query_flush(atlas->query, atlas->out, atlas->err) < 0)
            return -1;
    }
    *atlas->status = write->status;
    return 0;
}

int write_run(struct write *write)
{
    if (query_begin_write(write->atlas->query) < 0 || write_until_known(write) < 0)
        return -1;
    return write_send(write);
}

/* ----------------------------------------------------------------------------------- the answer */

int write_headers(struct write *write, struct entity_writer *writer, const int64_t *ids, size_t len)
{
    struct atlas_view view; /* the headers use it to the end */
    AUTO(atlas_headers_done) struct atlas_headers headers = { 0 };
    const char *separator = "";
    int rc;

    atlas_view_init(&view, writer->conn, writer->types, ATLAS_NOW);
    buf_append_char(&write->answer, '[');
    if (atlas_headers_open(&headers, &view, ids, len, writer->err) < 0)
        return -1;
    while ((rc = atlas_headers_next(&headers, writer->err)) > 0) {
        for (int row = 0; row < PQntuples(headers.rows); row++) {
            struct entity_header header;

            (void)atlas_headers_get(&headers, row, &header);
            if (!header.type)
                continue;
            buf_append_text(&write->answer, separator);
            entity_header_write(&header, &write->answer);
            separator = ",";
        }
    }
    buf_append_char(&write->answer, ']');
    return rc;
}
