/* What the store_*.c files share: connections, results, and how a failure of Postgres becomes a
 * struct err. */
#ifndef COLLECTOR_STORE_INTERNAL_H
#define COLLECTOR_STORE_INTERNAL_H

#include <jansson.h>
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/uuid.h"

static inline void store_result_free(PGresult *result)
{
    PQclear(result);
}
AUTO_DEFINE(PGresult, store_result_free);

static inline void store_close(PGconn *conn)
{
    PQfinish(conn);
}
AUTO_DEFINE(PGconn, store_close);

/* Advisory locks, (STORE_LOCK_CLASS, n). sql/ names the first by number. */
enum {
    STORE_LOCK_CLASS = 7236,
    STORE_LOCK_STAMP = 1,      /* session: xid, batch_id and recorded_at are taken together */
    STORE_LOCK_MIGRATE = 2,    /* session: one daemon migrates */
    STORE_LOCK_LABELS = 3,     /* transaction: labels that wait against predictions that arrive */
    STORE_LOCK_GRAPH = 4,      /* transaction: lineage events and the graph */
    STORE_LOCK_PARTITIONS = 5, /* transaction: one daemon makes partitions */
    STORE_LOCK_CATALOG =
        6, /* transaction: one daemon adds deployments, so that their number is bounded */
    STORE_LOCK_RESOLVE = 7,       /* transaction: one daemon resolves labels */
    STORE_LOCK_NAMES = 8,         /* transaction: one daemon admits metric names */
    STORE_LOCK_RELAY = 9,         /* session: one daemon publishes lineage messages */
    STORE_LOCK_FOLD_CLASS = 7237, /* transaction: (this, share), one daemon folds a share */
};

/* Event time begins here in the tables: microseconds between 1970 and 2000, as timestamptz
 * counts. */
#define STORE_EPOCH_US INT64_C(946684800000000)
/* Event times are between 2000 and a day ahead; bounds outside would only overflow timestamptz. */
#define STORE_MS_MAX INT64_C(32503680000000) /* the year 3000 */

static inline int64_t store_clamp_ms(int64_t ms)
{
    return ms < 0 ? 0 : ms > STORE_MS_MAX ? STORE_MS_MAX : ms;
}

/* A read waits in its transaction for whoever takes its rows, or for another connection, and
 * nobody waits for it: it may do so longer than a batch. */
#define STORE_IDLE_READ "SET LOCAL idle_in_transaction_session_timeout = '1h';"
/* How a read begins: the tables' lightest lock before its snapshot, so that nothing is dropped
 * between the two. Partitions of an event's tables are dropped under locks on all of them. */
#define STORE_BEGIN_READ                                                                           \
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;" STORE_IDLE_READ                             \
    "LOCK TABLE ONLY prediction, ONLY rollup_1m, ONLY rollup_1h, ONLY rollup_1d"                   \
    " IN ACCESS SHARE MODE;"

enum { STORE_CONNECT_S = 10 };

/* Opens a connection with the settings every session of ours has; `role` ends up in
 * application_name. Owned. ERR_RETRY: the server is away. ERR_INPUT: it will never work like
 * this (wrong DSN, password, database). */
PGconn *store_connect(const char *dsn, const char *role, struct err *err) MUST_CHECK;
/* The same with a time for it other than STORE_CONNECT_S, unless the DSN has one. */
PGconn *store_connect_within(const char *dsn, const char *role, int seconds,
                             struct err *err) MUST_CHECK;

/* SQLSTATE of a result, "" when it has none (the connection broke). Borrowed. */
const char *store_sqlstate(const PGresult *result);
/* Sets err from a failed result (NULL: from the connection): class 22 and 23 are ERR_INPUT, all
 * else ERR_RETRY. */
int store_fail(PGconn *conn, const PGresult *result, const char *what, struct err *err);

/* The error is that of two transactions in each other's way (class 40): one of them begins anew. */
bool store_is_conflict(const struct err *err);
/* The error is that of a statement that was ended: by a time-out, or by somebody's wish. */
bool store_is_cancelled(const struct err *err);

/* Runs one or more statements, wants no rows. */
int store_exec(PGconn *conn, const char *sql, const char *what, struct err *err) MUST_CHECK;
/* Runs one statement that gives rows, in text format. Owned. */
PGresult *store_query(PGconn *conn, const char *sql, const char *what, struct err *err) MUST_CHECK;

/* Parameters of one statement, each in text or binary form. */
enum { STORE_PARAMS_MAX = 12 };
struct store_params {
    int len;
    const char *values[STORE_PARAMS_MAX]; /* borrowed, NULL: null */
    int lengths[STORE_PARAMS_MAX];
    int formats[STORE_PARAMS_MAX];
};
void store_param_text(struct store_params *params, const char *value);
void store_param_binary(struct store_params *params, const struct buf *value);
/* As store_query, with parameters; also for statements without rows. */
PGresult *store_query_params(PGconn *conn, const char *sql, const struct store_params *params,
                             const char *what, struct err *err) MUST_CHECK;

/* The same with rows in binary format; `params` may be NULL. */
PGresult *store_query_binary(PGconn *conn, const char *sql, const struct store_params *params,
                             const char *what, struct err *err) MUST_CHECK;

/* The rows of a query, in binary format and a few at a time: between them the connection serves
 * other statements of the same transaction. */
struct store_cursor {
    PGconn *conn;     /* borrowed */
    const char *name; /* borrowed; of this cursor alone in its transaction */
    PGresult *rows;   /* the one that stands is `row` */
    int row;
    int rows_at_once; /* 100 unless changed; few where each may be large */
};
int store_cursor_open(struct store_cursor *cursor, PGconn *conn, const char *name, const char *sql,
                      const struct store_params *params, struct err *err) MUST_CHECK;
/* The same with any number of parameters, all of them texts. */
int store_cursor_open_texts(struct store_cursor *cursor, PGconn *conn, const char *name,
                            const char *sql, const char *const *texts, int texts_len,
                            struct err *err) MUST_CHECK;
/* 1: the next row stands. 0: there is no more. -1: the server failed. */
int store_cursor_next(struct store_cursor *cursor, struct err *err) MUST_CHECK;
/* The server's side ends with the transaction. */
void store_cursor_done(struct store_cursor *cursor);
static inline void store_cursor_done_auto(struct store_cursor *cursor)
{
    store_cursor_done(cursor);
}

/* Arrays in Postgres's binary form, written element by element into a buf. */
struct store_array {
    struct buf buf;
    uint32_t len;
};
enum {
    STORE_OID_BOOL = 16,
    STORE_OID_INT8 = 20,
    STORE_OID_TID = 27,
    STORE_OID_INT4 = 23,
    STORE_OID_TEXT = 25,
    STORE_OID_UUID = 2950
};
void store_array_init(struct store_array *array, uint32_t element_oid);
void store_array_done(struct store_array *array);
void store_array_add_null(struct store_array *array);
void store_array_add_uuid(struct store_array *array, const struct uuid *uuid);
void store_array_add_i64(struct store_array *array, int64_t value);
/* Text, or any other element whose binary form is given. */
void store_array_add_text(struct store_array *array, struct span text);
void store_array_add_bool(struct store_array *array, bool value);
/* As compact text; NULL: null. */
void store_array_add_json(struct store_array *array, const json_t *json);
/* Finishes the header; the buf is borrowed from the array. */
const struct buf *store_array_end(struct store_array *array);
static inline void store_array_done_auto(struct store_array *array)
{
    store_array_done(array);
}

/* The bytes of a field, NULL data for null. Borrowed from the result. */
struct span store_get_span(const PGresult *result, int row, int column);
/* A number or truth value of either format. */
int64_t store_get_i64(const PGresult *result, int row, int column);
bool store_get_bool(const PGresult *result, int row, int column);
int store_get_uuid(const PGresult *result, int row, int column, struct uuid *uuid) MUST_CHECK;

#endif
