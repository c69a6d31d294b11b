#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "collector/store_graph_batch_internal.h"
#include "collector/store_internal.h"
#include "collector/store_tags_internal.h"

/* One array for each column. */
struct tag_arrays {
    struct store_array entities, types, attributes, periods, propagates, removes, restricted;
};

static void tag_arrays_init(struct tag_arrays *arrays)
{
    store_array_init(&arrays->entities, STORE_OID_INT8);
    store_array_init(&arrays->types, STORE_OID_TEXT);
    store_array_init(&arrays->attributes, STORE_OID_TEXT);
    store_array_init(&arrays->periods, STORE_OID_TEXT);
    store_array_init(&arrays->propagates, STORE_OID_BOOL);
    store_array_init(&arrays->removes, STORE_OID_BOOL);
    store_array_init(&arrays->restricted, STORE_OID_BOOL);
}

static void tag_arrays_done(struct tag_arrays *arrays)
{
    store_array_done(&arrays->entities);
    store_array_done(&arrays->types);
    store_array_done(&arrays->attributes);
    store_array_done(&arrays->periods);
    store_array_done(&arrays->propagates);
    store_array_done(&arrays->removes);
    store_array_done(&arrays->restricted);
}

static void tag_arrays_done_auto(struct tag_arrays *arrays) /* AUTO(tag_arrays_done) */
{
    tag_arrays_done(arrays);
}

static void tag_arrays_add(struct tag_arrays *arrays, const struct tag_write *write)
{
    const struct classification *classification = write->classification;

    store_array_add_i64(&arrays->entities, write->entity_id);
    store_array_add_text(&arrays->types, span_of(classification->type->def->name));
    store_array_add_json(&arrays->attributes, classification->attributes);
    store_array_add_json(&arrays->periods, classification->periods);
    store_array_add_bool(&arrays->propagates, classification->propagates);
    store_array_add_bool(&arrays->removes, classification->removes_propagations);
    store_array_add_bool(&arrays->restricted, classification->is_restricted);
}

/* Of the writer's function, whose first parameters are batch, entities and types and whose last is
 * the user; with `all` the other columns are between them. */
static int tag_write_run(PGconn *conn, const struct tag_write *writes, size_t len, bool all,
                         const char *user, int64_t *batch_id, struct err *err)
{
    AUTO(tag_arrays_done) struct tag_arrays arrays;
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    char number[24];

    tag_arrays_init(&arrays);
    if (!*batch_id && graph_batch_number(conn, batch_id, err) < 0)
        return -1;
    for (size_t i = 0; i < len; i++)
        tag_arrays_add(&arrays, &writes[i]);
    (void)snprintf(number, sizeof(number), "%" PRId64, *batch_id);
    store_param_text(&params, number);
    store_param_binary(&params, store_array_end(&arrays.entities));
    store_param_binary(&params, store_array_end(&arrays.types));
    if (all) {
        store_param_binary(&params, store_array_end(&arrays.attributes));
        store_param_binary(&params, store_array_end(&arrays.periods));
        store_param_binary(&params, store_array_end(&arrays.propagates));
        store_param_binary(&params, store_array_end(&arrays.removes));
        store_param_binary(&params, store_array_end(&arrays.restricted));
    }
    store_param_text(&params, user);
    result =
        store_query_params(conn,
                           all ? "SELECT classification_put($1, $2, $3, $4, $5, $6, $7, $8, $9)"
                               : "SELECT classification_end($1, $2, $3, $4)",
                           &params, "write classifications", err);
    return result ? 0 : -1;
}

int tag_write_put(PGconn *conn, const struct tag_write *writes, size_t len, const char *user,
                  int64_t *batch_id, struct err *err)
{
    return tag_write_run(conn, writes, len, true, user, batch_id, err);
}

int tag_write_end(PGconn *conn, const struct tag_write *writes, size_t len, const char *user,
                  int64_t *batch_id, struct err *err)
{
    return tag_write_run(conn, writes, len, false, user, batch_id, err);
}
