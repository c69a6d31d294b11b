/* What lineage events said, and what was said of them: GET /v1/lineage/builds/{crn} and GET
 * /v1/lineage/warnings. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "atlas/graph.h"
#include "base/mem.h"
#include "collector/keyring.h"
#include "collector/queries.h"
#include "collector/store_internal.h"
#include "collector/store_pool.h"

/* --------------------------------------------------------------------------------------- builds */

/* The members of all events of one identity together. *facts has one or none. */
static int build_read(PGconn *conn, struct span identity, struct graph_facts *facts,
                      struct err *err)
{
    AUTO(store_array_done) struct store_array identities;
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };

    store_array_init(&identities, STORE_OID_TEXT);
    store_array_add_text(&identities, identity);
    store_param_binary(&params, store_array_end(&identities));
    result = store_query_params(conn,
                                "SELECT event FROM lineage_event WHERE kind = 'model_built'"
                                " AND identity = ANY ($1) ORDER BY batch_id, ordinal",
                                &params, "read build", err);
    for (int i = 0; result && i < PQntuples(result); i++) {
        json_auto_t *event = json_loads(PQgetvalue(result, i, 0), 0, NULL);

        if (event)
            (void)graph_facts_add(facts, LINEAGE_MODEL_BUILT, identity, event, 0);
    }
    return result ? 0 : -1;
}

/* It may hold a linking file, and examples: in pieces, so that its size does not matter. */
static int build_write(struct query *query, const struct graph_fact *fact, struct buf *out,
                       struct err *err)
{
    AUTO(mem_free) char *text = json_dumps(fact->event, JSON_COMPACT);
    struct span rest = span_of(text);

    while (rest.len) {
        struct span piece = { rest.data,
                              rest.len < QUERY_FLUSH_BYTES ? rest.len : QUERY_FLUSH_BYTES };

        buf_append_span(out, piece);
        rest.data += piece.len;
        rest.len -= piece.len;
        if (rest.len && query_flush(query, out, err) < 0)
            return -1;
    }
    return 0;
}

static int build_unknown(struct query *query)
{
    return fault_set(&query->fault, 404, "not_found", NULL,
                     "no model_built event has the modelBuildCrn \"%.*s\"",
                     fault_quote_len(query->argument.len), query->argument.data);
}

int query_build(struct store_pool *pool, struct query *query, struct buf *out, unsigned *status,
                struct err *err)
{
    AUTO(mem_free)
    char *identity = xasprintf("%s %.*s", lineage_kind_name(LINEAGE_MODEL_BUILT),
                               (int)query->argument.len, query->argument.data);
    struct graph_facts facts = { 0 };
    PGconn *conn;
    int rc;

    (void)status;
    if (!query_allows_crn(query, query->argument)) /* how long it takes tells nothing either */
        return build_unknown(query);
    conn = store_pool_take(pool, err);
    if (!conn)
        return -1;
    rc = build_read(conn, span_of(identity), &facts, err);
    store_pool_give(pool, conn, rc == 0);
    if (rc == 0 && facts.len == 0)
        rc = build_unknown(query);
    else if (rc == 0)
        rc = build_write(query, &facts.items[0], out, err);
    graph_facts_done(&facts);
    return rc;
}

/* ------------------------------------------------------------------------------------- warnings */

enum { WARNINGS_LIMIT = 1000, WARNING_CURSOR_BYTES_MAX = 64, WARNING_COLUMNS = 13 };

/* A warning's place: batches of lineage events are committed in the order of their numbers, so that
 * nothing comes in before a place that was shown. */
struct warning_place {
    int64_t batch_id, ordinal, place;
};

struct warnings_page {
    struct warning_place after;
    int64_t limit;
    struct span build_crn, deployment_crn, code; /* data NULL: any */
};

static int warnings_parse_cursor(struct warning_place *place, struct span text, struct fault *fault)
{
    char *end;

    if (!text.data)
        return 0;
    place->batch_id = strtoll(text.data, &end, 10);
    if (*end == '.')
        place->ordinal = strtoll(end + 1, &end, 10);
    if (*end == '.')
        place->place = strtoll(end + 1, &end, 10);
    if (*end == '\0' && place->batch_id > 0 && place->ordinal >= 0 && place->place > 0 &&
        text.len < WARNING_CURSOR_BYTES_MAX)
        return 0;
    return fault_set(fault, 400, "invalid_parameter", "cursor",
                     "\"cursor\" is not one of an answer: \"%.*s\"", fault_quote_len(text.len),
                     text.data);
}

static int warnings_parse(struct warnings_page *page, const struct parameters *parameters,
                          struct fault *fault)
{
    *page = (struct warnings_page){ .limit = WARNINGS_LIMIT };
    page->build_crn = parameters_get(parameters, "model_build_crn");
    page->deployment_crn = parameters_get(parameters, "model_deployment_crn");
    page->code = parameters_get(parameters, "code");
    if (parameters_get_i64(parameters, "limit", 1, WARNINGS_LIMIT, &page->limit, fault) < 0)
        return -1;
    return warnings_parse_cursor(&page->after, parameters_get(parameters, "cursor"), fault);
}

/* One more than the page has, to know whether there is another. */
static PGresult *warnings_read(PGconn *conn, const struct warnings_page *page, struct err *err)
{
    struct store_params params = { 0 };
    char batch_id[24], ordinal[24], place[24], limit[24];

    (void)snprintf(batch_id, sizeof(batch_id), "%" PRId64, page->after.batch_id);
    (void)snprintf(ordinal, sizeof(ordinal), "%" PRId64, page->after.ordinal);
    (void)snprintf(place, sizeof(place), "%" PRId64, page->after.place);
    (void)snprintf(limit, sizeof(limit), "%" PRId64, page->limit + 1);
    store_param_text(&params, batch_id);
    store_param_text(&params, ordinal);
    store_param_text(&params, place);
    store_param_text(&params, limit);
    store_param_text(&params, page->build_crn.data);
    store_param_text(&params, page->deployment_crn.data);
    store_param_text(&params, page->code.data);
    return store_query_params(
        conn,
        "SELECT e.batch_id, e.ordinal, w.place, (extract(epoch FROM e.received_at) * 1000)::bigint,"
        " e.kind, e.project_crn, e.build_crn, e.deployment_crn, w.value ->> 'code',"
        " w.value ->> 'field', w.value ->> 'message', w.value ->> 'line', w.value ->> 'column'"
        " FROM lineage_event AS e, json_array_elements(e.warnings) WITH ORDINALITY AS w(value, "
        "place) WHERE json_array_length(e.warnings) > 0 AND (e.batch_id, e.ordinal) >="
        " ($1::bigint, $2::bigint) AND (e.batch_id, e.ordinal, w.place) > ($1::bigint, $2::bigint,"
        " $3::bigint) AND ($5::text IS NULL OR e.build_crn = $5::text)"
        " AND ($6::text IS NULL OR e.deployment_crn = $6::text)"
        " AND ($7::text IS NULL OR w.value ->> 'code' = $7::text)"
        " ORDER BY e.batch_id, e.ordinal, w.place LIMIT $4::bigint",
        &params, "read warnings", err);
}

static void warning_write(struct buf *out, const PGresult *result, int row)
{
    static const struct {
        const char *name;
        bool is_text, is_null; /* is_null: written as null where there is none, else left out */
    } members[WARNING_COLUMNS] = {
        { "batch", false, true },
        { 0 }, /* its place */
        { 0 },
        { "receivedAtMs", false, true },
        { "event", true, true },
        { "projectCrn", true, true },
        { "modelBuildCrn", true, true },
        { "modelDeploymentCrn", true, true },
        { "code", true, true },
        { "field", true, false },
        { "message", true, true },
        { "line", false, false },
        { "column", false, false },
    };
    const char *separator = "{";

    for (int column = 0; column < WARNING_COLUMNS; column++) {
        struct span text = store_get_span(result, row, column);

        if (!members[column].name || (!text.data && !members[column].is_null))
            continue;
        buf_append_fmt(out, "%s\"%s\":", separator, members[column].name);
        if (!text.data)
            buf_append_text(out, "null");
        else if (members[column].is_text)
            buf_append_json(out, text);
        else
            buf_append_span(out, text);
        separator = ",";
    }
    buf_append_char(out, '}');
}

static void warnings_write(struct query *query, const struct warnings_page *page,
                           const PGresult *result, struct buf *out)
{
    bool is_json = query->accept == MEDIA_JSON;
    int rows = PQntuples(result), shown = rows > page->limit ? (int)page->limit : rows;
    AUTO(mem_free) char *cursor = NULL;

    if (shown < rows)
        cursor = xasprintf("%s.%s.%s", PQgetvalue(result, shown - 1, 0),
                           PQgetvalue(result, shown - 1, 1), PQgetvalue(result, shown - 1, 2));
    if (is_json)
        buf_append_text(out, "{\"warnings\":[");
    for (int row = 0; row < shown; row++) {
        if (is_json && row)
            buf_append_char(out, ',');
        warning_write(out, result, row);
        if (!is_json)
            buf_append_char(out, '\n');
    }
    if (is_json && cursor)
        buf_append_fmt(out, "],\"nextCursor\":\"%s\"}", cursor);
    else if (is_json)
        buf_append_text(out, "],\"nextCursor\":null}");
    query->content_type = media_type_name(query->accept);
    query->next_cursor = TAKE(cursor);
}

int query_lineage_warnings(struct store_pool *pool, struct query *query, struct buf *out,
                           unsigned *status, struct err *err)
{
    AUTO(store_result_free) PGresult *result = NULL;
    struct warnings_page page;
    PGconn *conn;

    (void)status;
    if (query->accept == MEDIA_CSV)
        return fault_set(&query->fault, 406, "not_acceptable", "Accept",
                         "warnings are given as application/json or application/x-ndjson");
    if (warnings_parse(&page, &query->parameters, &query->fault) < 0)
        return -1;
    conn = store_pool_take(pool, err);
    if (!conn)
        return -1;
    result = warnings_read(conn, &page, err);
    store_pool_give(pool, conn, result != NULL);
    if (!result)
        return -1;
    warnings_write(query, &page, result, out);
    return 0;
}
