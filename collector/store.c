#include "collector/store.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "collector/secret.h"
#include "collector/store_internal.h"

enum { CURSOR_ROWS = 100 };

#define STORE_DSN_IS_DELICATE                                                                      \
    "no connection, and why is not told: it would quote the DSN, and what may be its password; "   \
    "in a URI write @ and / of a password as %40 and %2F, else put it in quotes"

/* Defaults in front of the DSN, so that whoever writes the DSN has the last word. A server that
 * is gone without saying so is noticed within half a minute. */
static const char *const store_keywords[] = {
    "application_name",    "connect_timeout",  "keepalives", "keepalives_idle", "keepalives_count",
    "keepalives_interval", "tcp_user_timeout", "dbname",     "client_encoding", NULL,
};

/* synchronous_commit: acknowledged means kept, whatever the server's default is. The time-out
 * ends a transaction whose daemon is stopped in the middle, so that it can't hold the LABELS
 * lock for ever. Keepalives, of the server's side: a session whose host is gone ends within half a
 * minute, and with it its locks; where there is no TCP they are nothing. Isolation: who waits for a
 * lock has to see what was committed meanwhile. */
static const char store_session_sql[] =
    "SELECT set_config('synchronous_commit', 'on', false)"
    " WHERE current_setting('synchronous_commit') IN ('off', 'local');"
    "SET idle_in_transaction_session_timeout = '60s';"
    "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 3; SET tcp_keepalives_count = 5;"
    "SET tcp_user_timeout = '30s';"
    "SET default_transaction_isolation = 'read committed';"
    "SET statement_timeout = 0; SET lock_timeout = 0;"
    "SET timezone = 'UTC'; SET datestyle = 'ISO, YMD'; SET bytea_output = 'hex';"
    "SET standard_conforming_strings = on; SET jit = off";

static void store_ignore_notice(void *ctx, const PGresult *result)
{
    (void)ctx;
    (void)result;
}

/* The first line of a libpq message, without its full stop and line feed. */
static void store_first_line(const char *message, char *text, size_t bytes)
{
    size_t len = strcspn(message, "\n");

    if (len >= bytes)
        len = bytes - 1;
    memcpy(text, message, len);
    text[len] = '\0';
}

/* The same options, whatever their secrets are, which libpq shows as asterisks. */
static bool store_options_are_same(const PQconninfoOption *a, const PQconninfoOption *b)
{
    for (; a->keyword; a++, b++) {
        if (!strchr(a->dispchar, '*') && strcmp(a->val ? a->val : "", b->val ? b->val : "") != 0)
            return false;
    }
    return true;
}

/* libpq quotes what it can't read of a DSN, or a host and a port that it can't find. That may be
 * what somebody meant to be the password, or the rest of it behind an '@' or a '/'. */
static bool store_dsn_is_delicate(const char *dsn)
{
    AUTO(mem_free) char *masked = xstrdup(dsn);
    PQconninfoOption *options, *others;
    bool is_plain;

    if (!secret_mask_dsn(masked))
        return false;
    options = PQconninfoParse(dsn, NULL);
    others = PQconninfoParse(masked, NULL);
    is_plain = options && others && store_options_are_same(options, others);
    PQconninfoFree(options);
    PQconninfoFree(others);
    return !is_plain;
}

PGconn *store_connect(const char *dsn, const char *role, struct err *err)
{
    return store_connect_within(dsn, role, STORE_CONNECT_S, err);
}

PGconn *store_connect_within(const char *dsn, const char *role, int seconds, struct err *err)
{
    AUTO(mem_free) char *name = xasprintf("plumbline %s", role);
    AUTO(mem_free) char *timeout = xasprintf("%d", seconds);
    const char *values[] = { name, timeout, "1", "10", "3", "5", "30000", dsn, "UTF8", NULL };
    AUTO(store_close) PGconn *conn = PQconnectdbParams(store_keywords, values, 1);
    char line[256];

    if (!conn) {
        (void)err_set(err, ERR_RETRY, "postgres: out of memory");
        return NULL;
    }
    if (PQstatus(conn) != CONNECTION_OK) {
        store_first_line(PQerrorMessage(conn), line, sizeof(line));
        (void)err_set(err, ERR_RETRY, "postgres: %s",
                      store_dsn_is_delicate(dsn) ? STORE_DSN_IS_DELICATE : line);
        return NULL;
    }
    (void)PQsetNoticeReceiver(conn, store_ignore_notice, NULL);
    if (store_exec(conn, store_session_sql, "session settings", err) < 0)
        return NULL;
    return TAKE(conn);
}

const char *store_sqlstate(const PGresult *result)
{
    const char *state = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;

    return state ? state : "";
}

int store_fail(PGconn *conn, const PGresult *result, const char *what, struct err *err)
{
    const char *state = store_sqlstate(result);
    const char *message = result ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : NULL;
    bool input = strncmp(state, "22", 2) == 0 || strncmp(state, "23", 2) == 0;
    char line[256];

    store_first_line(message ? message : PQerrorMessage(conn), line, sizeof(line));
    if (!state[0])
        return err_set(err, ERR_RETRY, "postgres: %s: %s", what,
                       line[0] ? line : "connection lost");
    return err_set(err, input ? ERR_INPUT : ERR_RETRY, "postgres: %s: %s (SQLSTATE %s)", what, line,
                   state);
}

bool store_is_conflict(const struct err *err)
{
    return strstr(err->text, "(SQLSTATE 40") != NULL; /* as store_fail writes it */
}

bool store_is_cancelled(const struct err *err)
{
    return strstr(err->text, "(SQLSTATE 57014)") != NULL;
}

int store_exec(PGconn *conn, const char *sql, const char *what, struct err *err)
{
    AUTO(store_result_free) PGresult *result = PQexec(conn, sql);
    ExecStatusType status = PQresultStatus(result);

    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_EMPTY_QUERY)
        return store_fail(conn, result, what, err);
    return 0;
}

PGresult *store_query(PGconn *conn, const char *sql, const char *what, struct err *err)
{
    AUTO(store_result_free) PGresult *result = PQexec(conn, sql);

    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        (void)store_fail(conn, result, what, err);
        return NULL;
    }
    return TAKE(result);
}

void store_param_text(struct store_params *params, const char *value)
{
    assert(params->len < STORE_PARAMS_MAX);
    params->values[params->len] = value;
    params->lengths[params->len] = 0;
    params->formats[params->len] = 0;
    params->len++;
}

void store_param_binary(struct store_params *params, const struct buf *value)
{
    store_param_text(params, value->data);
    params->lengths[params->len - 1] = (int)value->len;
    params->formats[params->len - 1] = 1;
}

static PGresult *store_query_format(PGconn *conn, const char *sql,
                                    const struct store_params *params, int format, const char *what,
                                    struct err *err)
{
    AUTO(store_result_free)
    PGresult *result = PQexecParams(conn, sql, params->len, NULL, params->values, params->lengths,
                                    params->formats, format);
    ExecStatusType status = PQresultStatus(result);

    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
        (void)store_fail(conn, result, what, err);
        return NULL;
    }
    return TAKE(result);
}

PGresult *store_query_params(PGconn *conn, const char *sql, const struct store_params *params,
                             const char *what, struct err *err)
{
    return store_query_format(conn, sql, params, 0, what, err);
}

PGresult *store_query_binary(PGconn *conn, const char *sql, const struct store_params *params,
                             const char *what, struct err *err)
{
    static const struct store_params none;

    return store_query_format(conn, sql, params ? params : &none, 1, what, err);
}

int store_cursor_open(struct store_cursor *cursor, PGconn *conn, const char *name, const char *sql,
                      const struct store_params *params, struct err *err)
{
    AUTO(mem_free) char *declare = xasprintf("DECLARE %s NO SCROLL CURSOR FOR %s", name, sql);
    AUTO(store_result_free)
    PGresult *result = store_query_format(conn, declare, params, 1, name, err);

    if (!result)
        return -1;
    *cursor = (struct store_cursor){ .conn = conn, .name = name, .rows_at_once = CURSOR_ROWS };
    return 0;
}

int store_cursor_open_texts(struct store_cursor *cursor, PGconn *conn, const char *name,
                            const char *sql, const char *const *texts, int texts_len,
                            struct err *err)
{
    AUTO(mem_free) char *declare = xasprintf("DECLARE %s NO SCROLL CURSOR FOR %s", name, sql);
    AUTO(store_result_free)
    PGresult *result = PQexecParams(conn, declare, texts_len, NULL, texts, NULL, NULL, 1);

    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        return store_fail(conn, result, name, err);
    *cursor = (struct store_cursor){ .conn = conn, .name = name, .rows_at_once = CURSOR_ROWS };
    return 0;
}

int store_cursor_next(struct store_cursor *cursor, struct err *err)
{
    char fetch[64];
    PGresult *rows;

    if (cursor->rows && ++cursor->row < PQntuples(cursor->rows))
        return 1;
    (void)snprintf(fetch, sizeof(fetch), "FETCH %d FROM %s", cursor->rows_at_once, cursor->name);
    rows = store_query_binary(cursor->conn, fetch, NULL, cursor->name, err);
    if (!rows)
        return -1;
    PQclear(cursor->rows);
    cursor->rows = rows;
    cursor->row = 0;
    return PQntuples(rows) > 0;
}

void store_cursor_done(struct store_cursor *cursor)
{
    PQclear(cursor->rows);
}

/* One dimension, lower bound 1; the flag says that nulls may be inside. */
void store_array_init(struct store_array *array, uint32_t element_oid)
{
    buf_init(&array->buf, SIZE_MAX);
    array->len = 0;
    buf_append_be32(&array->buf, 1);
    buf_append_be32(&array->buf, 1);
    buf_append_be32(&array->buf, element_oid);
    buf_append_be32(&array->buf, 0); /* the length, known at the end */
    buf_append_be32(&array->buf, 1);
}

void store_array_done(struct store_array *array)
{
    buf_done(&array->buf);
}

void store_array_add_null(struct store_array *array)
{
    buf_append_be32(&array->buf, UINT32_MAX);
    array->len++;
}

void store_array_add_uuid(struct store_array *array, const struct uuid *uuid)
{
    buf_append_be32(&array->buf, sizeof(uuid->bytes));
    buf_append(&array->buf, uuid->bytes, sizeof(uuid->bytes));
    array->len++;
}

void store_array_add_i64(struct store_array *array, int64_t value)
{
    buf_append_be32(&array->buf, 8);
    buf_append_be64(&array->buf, (uint64_t)value);
    array->len++;
}

void store_array_add_text(struct store_array *array, struct span text)
{
    if (!text.data) {
        store_array_add_null(array);
        return;
    }
    buf_append_be32(&array->buf, (uint32_t)text.len);
    buf_append_span(&array->buf, text);
    array->len++;
}

void store_array_add_bool(struct store_array *array, bool value)
{
    store_array_add_text(array, (struct span){ value ? "\1" : "\0", 1 });
}

void store_array_add_json(struct store_array *array, const json_t *json)
{
    AUTO(mem_free) char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

    if (text)
        store_array_add_text(array, span_of(text));
    else
        store_array_add_null(array);
}

const struct buf *store_array_end(struct store_array *array)
{
    uint32_t len = htobe32(array->len);

    memcpy(array->buf.data + 12, &len, sizeof(len));
    return &array->buf;
}

struct span store_get_span(const PGresult *result, int row, int column)
{
    if (PQgetisnull(result, row, column))
        return (struct span){ 0 };
    return (struct span){ PQgetvalue(result, row, column),
                          (size_t)PQgetlength(result, row, column) };
}

int64_t store_get_i64(const PGresult *result, int row, int column)
{
    const char *value = PQgetvalue(result, row, column);
    uint64_t wide;
    uint32_t narrow;

    if (PQfformat(result, column) == 0)
        return strtoll(value, NULL, 10);
    if (PQgetlength(result, row, column) == sizeof(narrow)) {
        memcpy(&narrow, value, sizeof(narrow));
        return (int32_t)be32toh(narrow);
    }
    memcpy(&wide, value, sizeof(wide));
    return (int64_t)be64toh(wide);
}

bool store_get_bool(const PGresult *result, int row, int column)
{
    const char *value = PQgetvalue(result, row, column);

    return PQfformat(result, column) == 0 ? value[0] == 't' : value[0] != 0;
}

int store_get_uuid(const PGresult *result, int row, int column, struct uuid *uuid)
{
    return uuid_parse(uuid, span_of(PQgetvalue(result, row, column)));
}
