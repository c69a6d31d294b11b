#include "collector/rejected.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "collector/store_internal.h"

struct rejects {
    PGconn *conn;
    PGresult *result; /* what the row given last points into */
    unsigned char *event;
};

#define REJECTED_COLUMNS                                                                           \
    "rejected_event, to_char(rejected_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),"   \
    " source, origin, coalesce((origin->>'topic') || '/' || (origin->>'partition') || '@'"         \
    " || (origin->>'offset') || coalesce('[' || (origin->>'index') || ']', ''), ''),"              \
    " code, message, coalesce((origin->>'bytes')::bigint > length(event), false)"

struct rejects *rejects_open(const char *dsn, struct err *err)
{
    PGconn *conn = store_connect(dsn, "rejected", err);
    struct rejects *rejects;

    if (!conn)
        return NULL;
    rejects = xcalloc(1, sizeof(*rejects));
    rejects->conn = conn;
    return rejects;
}

static void rejects_clear(struct rejects *rejects)
{
    PQclear(TAKE(rejects->result));
    PQfreemem(TAKE(rejects->event));
}

void rejects_close(struct rejects *rejects)
{
    if (!rejects)
        return;
    rejects_clear(rejects);
    PQfinish(rejects->conn);
    free(rejects);
}

static PGresult *rejects_query(struct rejects *rejects, const char *sql, int64_t a, int64_t b,
                               struct err *err)
{
    struct store_params params = { 0 };
    char first[32], second[32];

    (void)snprintf(first, sizeof(first), "%lld", (long long)a);
    (void)snprintf(second, sizeof(second), "%lld", (long long)b);
    store_param_text(&params, first);
    if (b)
        store_param_text(&params, second);
    return store_query_params(rejects->conn, sql, &params, "rejected_event", err);
}

static void rejects_row(const PGresult *result, int i, struct rejected *row)
{
    *row = (struct rejected){
        .id = store_get_i64(result, i, 0),
        .at = PQgetvalue(result, i, 1),
        .source = PQgetvalue(result, i, 2),
        .origin = PQgetvalue(result, i, 3),
        .place = PQgetvalue(result, i, 4),
        .code = PQgetvalue(result, i, 5),
        .message = PQgetvalue(result, i, 6),
        .is_cut = store_get_bool(result, i, 7),
    };
}

int rejects_list(struct rejects *rejects, int64_t after, int64_t max,
                 int (*fn)(void *ctx, const struct rejected *row), void *ctx, int64_t *last,
                 struct err *err)
{
    AUTO(store_result_free)
    PGresult *result = rejects_query(rejects,
                                     "SELECT " REJECTED_COLUMNS " FROM rejected_event"
                                     " WHERE rejected_event > $1 ORDER BY rejected_event LIMIT $2",
                                     after, max, err);

    *last = after;
    if (!result)
        return -1;
    for (int i = 0; i < PQntuples(result); i++) {
        struct rejected row;

        rejects_row(result, i, &row);
        if (fn(ctx, &row) < 0)
            return -1;
        *last = row.id;
    }
    return 0;
}

int rejects_read(struct rejects *rejects, int64_t id, struct rejected *row, struct err *err)
{
    size_t len;

    rejects_clear(rejects);
    rejects->result = rejects_query(rejects,
                                    "SELECT " REJECTED_COLUMNS ", event FROM rejected_event"
                                    " WHERE rejected_event = $1",
                                    id, 0, err);
    if (!rejects->result)
        return -1;
    if (PQntuples(rejects->result) == 0)
        return err_set(err, ERR_INPUT, "there is no rejected event %lld", (long long)id);
    rejects_row(rejects->result, 0, row);
    rejects->event =
        PQunescapeBytea((const unsigned char *)PQgetvalue(rejects->result, 0, 8), &len);
    row->event = (struct span){ (const char *)rejects->event, len };
    return 0;
}

int rejects_remove(struct rejects *rejects, int64_t id, const char *actor, struct err *err)
{
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    char number[32];

    (void)snprintf(number, sizeof(number), "%lld", (long long)id);
    store_param_text(&params, number);
    store_param_text(&params, actor);
    result = store_query_params(
        rejects->conn,
        "WITH gone AS (DELETE FROM rejected_event WHERE rejected_event = $1::bigint RETURNING *)"
        " INSERT INTO admin_audit (actor, action, subject, details)"
        " SELECT $2, 'rejected.remove', rejected_event::text, jsonb_build_object('source', source,"
        " 'code', code) FROM gone",
        &params, "rejected_event", err);
    return result ? 0 : -1;
}
