#include "collector/store_copy_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/store_internal.h"

enum { COPY_FLUSH_BYTES = 128 * 1024 };

static const char copy_header[] =
    "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0"; /* and the NUL that ends it: 19 bytes */

int copy_begin(struct copy *copy, PGconn *conn, const char *sql, struct err *err)
{
    AUTO(store_result_free) PGresult *result = PQexec(conn, sql);

    if (PQresultStatus(result) != PGRES_COPY_IN)
        return store_fail(conn, result, "COPY", err);
    copy_begin_answered(copy, conn);
    return 0;
}

void copy_begin_answered(struct copy *copy, PGconn *conn)
{
    copy->conn = conn;
    copy->rows = 0;
    buf_clear(&copy->buf);
    buf_append(&copy->buf, copy_header, sizeof(copy_header));
}

void copy_row(struct copy *copy, uint16_t fields)
{
    buf_append_be16(&copy->buf, fields);
    copy->rows++;
}

void copy_null(struct copy *copy)
{
    buf_append_be32(&copy->buf, UINT32_MAX);
}

void copy_bool(struct copy *copy, bool value)
{
    buf_append_be32(&copy->buf, 1);
    buf_append_char(&copy->buf, value ? 1 : 0);
}

void copy_i32(struct copy *copy, int32_t value)
{
    buf_append_be32(&copy->buf, 4);
    buf_append_be32(&copy->buf, (uint32_t)value);
}

void copy_i64(struct copy *copy, int64_t value)
{
    buf_append_be32(&copy->buf, 8);
    buf_append_be64(&copy->buf, (uint64_t)value);
}

void copy_time_us(struct copy *copy, int64_t us)
{
    copy_i64(copy, us - STORE_EPOCH_US);
}

void copy_time_ms(struct copy *copy, int64_t ms)
{
    copy_time_us(copy, ms * 1000);
}

void copy_uuid(struct copy *copy, const struct uuid *uuid)
{
    buf_append_be32(&copy->buf, sizeof(uuid->bytes));
    buf_append(&copy->buf, uuid->bytes, sizeof(uuid->bytes));
}

void copy_bytes(struct copy *copy, struct span bytes)
{
    if (!bytes.data) {
        copy_null(copy);
        return;
    }
    buf_append_be32(&copy->buf, (uint32_t)bytes.len);
    buf_append_span(&copy->buf, bytes);
}

static int copy_send(struct copy *copy, struct err *err)
{
    /* 1 only means that libpq took the bytes; what the server makes of them is known at copy_end */
    if (PQputCopyData(copy->conn, copy->buf.data, (int)copy->buf.len) != 1)
        return store_fail(copy->conn, NULL, "COPY", err);
    buf_clear(&copy->buf);
    return 0;
}

int copy_flush(struct copy *copy, struct err *err)
{
    return copy->buf.len < COPY_FLUSH_BYTES ? 0 : copy_send(copy, err);
}

void copy_failure_set(struct copy_failure *failure, const PGresult *result)
{
    const char *table = result ? PQresultErrorField(result, PG_DIAG_TABLE_NAME) : NULL;
    const char *constraint = result ? PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME) : NULL;

    (void)snprintf(failure->sqlstate, sizeof(failure->sqlstate), "%s", store_sqlstate(result));
    (void)snprintf(failure->table, sizeof(failure->table), "%s", table ? table : "");
    (void)snprintf(failure->constraint, sizeof(failure->constraint), "%s",
                   constraint ? constraint : "");
}

static int copy_send_end(struct copy *copy, const char *what, struct copy_failure *failure,
                         struct err *err)
{
    buf_append_be16(&copy->buf, UINT16_MAX); /* the trailer */
    memset(failure, 0, sizeof(*failure));
    if (copy_send(copy, err) < 0 || PQputCopyEnd(copy->conn, NULL) != 1)
        return store_fail(copy->conn, NULL, what, err);
    return 0;
}

static int copy_judge(struct copy *copy, PGresult *result, const char *what,
                      struct copy_failure *failure, struct err *err)
{
    if (PQresultStatus(result) != PGRES_COMMAND_OK) {
        copy_failure_set(failure, result);
        return store_fail(copy->conn, result, what, err);
    }
    if (strtoull(PQcmdTuples(result), NULL, 10) != copy->rows)
        return err_set(err, ERR_RETRY, "postgres: %s: %llu rows were sent, %s are in", what,
                       (unsigned long long)copy->rows, PQcmdTuples(result));
    return 0;
}

int copy_end_answered(struct copy *copy, const char *what, struct copy_failure *failure,
                      struct err *err)
{
    AUTO(store_result_free) PGresult *result = NULL;

    if (copy_send_end(copy, what, failure, err) < 0)
        return -1;
    result = PQgetResult(copy->conn);
    return copy_judge(copy, result, what, failure, err);
}

int copy_end(struct copy *copy, const char *what, struct copy_failure *failure, struct err *err)
{
    AUTO(store_result_free) PGresult *result = NULL;
    PGresult *more;

    if (copy_send_end(copy, what, failure, err) < 0)
        return -1;
    while ((more = PQgetResult(copy->conn))) {
        /* the first failure is the one to report, otherwise the last result counts */
        if (result && PQresultStatus(result) == PGRES_FATAL_ERROR) {
            PQclear(more);
            continue;
        }
        PQclear(result);
        result = more;
    }
    return copy_judge(copy, result, what, failure, err);
}

void copy_done(struct copy *copy)
{
    buf_done(&copy->buf);
}
