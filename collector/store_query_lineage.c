/* What was said of builds, as it was said: GET /v1/lineage/builds/{crn}. */
#include <jansson.h>

#include "atlas/graph.h"
#include "base/mem.h"
#include "collector/queries.h"
#include "collector/store_internal.h"
#include "collector/store_pool.h"

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

int query_build(struct store_pool *pool, struct query *query, struct buf *out, unsigned *status,
                struct err *err)
{
    PGconn *conn = store_pool_take(pool, err);
    AUTO(mem_free)
    char *identity = xasprintf("%s %.*s", lineage_kind_name(LINEAGE_MODEL_BUILT),
                               (int)query->argument.len, query->argument.data);
    struct graph_facts facts = { 0 };
    int rc;

    (void)status;
    if (!conn)
        return -1;
    rc = build_read(conn, span_of(identity), &facts, err);
    store_pool_give(pool, conn, rc == 0);
    if (rc == 0 && facts.len == 0)
        rc = fault_set(&query->fault, 404, "not_found", NULL,
                       "no model_built event has the modelBuildCrn \"%.*s\"",
                       fault_quote_len(query->argument.len), query->argument.data);
    else if (rc == 0)
        rc = build_write(query, &facts.items[0], out, err);
    graph_facts_done(&facts);
    return rc;
}
