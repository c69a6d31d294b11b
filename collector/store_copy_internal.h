/* Binary COPY: rows written field by field, sent as they fill up. Rows are in when copy_end says
 * so, and not before. */
#ifndef COLLECTOR_STORE_COPY_INTERNAL_H
#define COLLECTOR_STORE_COPY_INTERNAL_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/uuid.h"

struct copy {
    PGconn *conn; /* borrowed */
    struct buf buf;
    uint64_t rows;
};

/* Sends "COPY ... FROM STDIN (FORMAT binary)". Inside a transaction of the caller's. */
int copy_begin(struct copy *copy, PGconn *conn, const char *sql, struct err *err) MUST_CHECK;
/* The same when the server has answered a COPY that stands among other statements of one query. */
void copy_begin_answered(struct copy *copy, PGconn *conn);
/* A row: copy_row, then each of its fields in the order of the columns. */
void copy_row(struct copy *copy, uint16_t fields);
void copy_null(struct copy *copy);
void copy_bool(struct copy *copy, bool value);
void copy_i32(struct copy *copy, int32_t value);
void copy_i64(struct copy *copy, int64_t value);
void copy_time_ms(struct copy *copy, int64_t ms);
void copy_time_us(struct copy *copy, int64_t us);
void copy_uuid(struct copy *copy, const struct uuid *uuid);
/* text, json, bytea: the bytes as they are; absent (data NULL): null. */
void copy_bytes(struct copy *copy, struct span bytes);
/* Sends what is buffered once it is large; call it after each row. */
int copy_flush(struct copy *copy, struct err *err) MUST_CHECK;
/* Why the server refused: sqlstate (5 characters and NUL, "" when the connection broke), and the
 * table and constraint with which a row clashed, "" when it names none. */
struct copy_failure {
    char sqlstate[6];
    char table[64];
    char constraint[64];
};
void copy_failure_set(struct copy_failure *failure, const PGresult *result);
/* Ends the COPY and waits for the server's word. 0: exactly the rows written are in. On failure
 * *failure is set. */
int copy_end(struct copy *copy, const char *what, struct copy_failure *failure,
             struct err *err) MUST_CHECK;
/* The same for a COPY among other statements: takes its result, those of the others are to come. */
int copy_end_answered(struct copy *copy, const char *what, struct copy_failure *failure,
                      struct err *err) MUST_CHECK;
/* Frees the buffer; a COPY that was begun and not ended is for the caller to end by ROLLBACK. */
void copy_done(struct copy *copy);

#endif
