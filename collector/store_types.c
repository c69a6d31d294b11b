/* Types that people define: read when others have changed them, changed under the graph lock, so
 * that whoever writes the graph knows them as they are. */
#include "collector/store_types_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "atlas/type_json.h"
#include "atlas/type_parse.h"
#include "base/clock.h"
#include "base/mem.h"
#include "collector/store_graph_batch_internal.h"
#include "collector/store_internal.h"

/* ------------------------------------------------------------------------------------- reading */

/* Definitions as they were read. */
struct types_read {
    struct type_custom **customs; /* owned references */
    size_t len;
};

static void types_read_done(struct types_read *read)
{
    for (size_t i = 0; i < read->len; i++)
        type_custom_free(read->customs[i]);
    free(read->customs);
}

/* What is stored was checked when it was written: that it can't be read is a matter of another
 * release. */
static int types_fail(const struct type_fault *fault, struct err *err)
{
    return err_set(err, ERR_RETRY, "stored types can't be used: %.200s", fault->message);
}

static int types_parse(const PGresult *result, struct types_read *read, struct err *err)
{
    struct type_fault fault;

    read->customs = xcalloc((size_t)PQntuples(result), sizeof(*read->customs));
    for (int row = 0; row < PQntuples(result); row++) {
        struct span text = store_get_span(result, row, 1);
        json_auto_t *definition = NULL;
        struct type_custom *custom;

        if (!text.data) /* there is none */
            continue;
        definition = json_loadb(text.data, text.len, 0, NULL);
        custom = type_parse_stored(definition, &fault);
        if (!custom)
            return types_fail(&fault, err);
        read->customs[read->len++] = custom;
    }
    return 0;
}

/* Generation and definitions of one snapshot. */
static int types_load(PGconn *conn, struct type_cache *cache, struct err *err)
{
    AUTO(store_result_free)
    PGresult *result = store_query(
        conn,
        "SELECT g.generation, d.definition FROM type_generation AS g LEFT JOIN type_definition AS d"
        " ON d.to_batch IS NULL ORDER BY d.type_id",
        "read types", err);
    struct types_read read = { 0 };
    struct type_registry *types = NULL;
    struct type_fault fault;
    int rc = result ? types_parse(result, &read, err) : -1;

    if (rc == 0) {
        types = type_registry_make(read.customs, read.len, &fault);
        rc = types ? 0 : types_fail(&fault, err);
    }
    types_read_done(&read);
    if (rc == 0)
        type_cache_put(cache, types, store_get_i64(result, 0, 0));
    return rc;
}

int store_types_refresh(PGconn *conn, struct type_cache *cache, struct err *err)
{
    int64_t asked_ms = clock_mono_ms(), generation;
    AUTO(store_result_free)
    PGresult *result =
        store_query(conn, "SELECT generation FROM type_generation", "read types", err);
    int rc = 0;

    if (!result)
        return -1;
    generation = store_get_i64(result, 0, 0);
    if (generation > type_cache_generation(cache)) {
        type_cache_enter(cache, TYPE_CACHE_LOAD);
        if (generation > type_cache_generation(cache)) /* nobody was faster */
            rc = types_load(conn, cache, err);
        type_cache_leave(cache, TYPE_CACHE_LOAD);
    }
    if (rc == 0)
        type_cache_confirm(cache, asked_ms);
    return rc;
}

/* ------------------------------------------------------------------------------------ changing */

/* A change under way. */
struct types_work {
    PGconn *conn;
    struct type_cache *cache;
    struct type_change *change;
    struct type_fault *fault;
    struct err *err;
};

/* Those that are to go must be the types of nothing. */
static enum store_types_result types_check_use(const struct types_work *work)
{
    AUTO(store_array_done) struct store_array names;
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };

    store_array_init(&names, STORE_OID_TEXT);
    for (size_t i = 0; i < work->change->changed_len; i++)
        store_array_add_text(&names, span_of(work->change->changed[i]->def->name));
    store_param_binary(&params, store_array_end(&names));
    result = store_query_params(work->conn, "SELECT type_in_use($1)", &params, "look for entities",
                                work->err);
    if (!result)
        return STORE_TYPES_FAILED;
    if (PQgetisnull(result, 0, 0))
        return STORE_TYPES_DONE;
    (void)type_fault_set(work->fault, "ATLAS-409-00-002", "Given type %s has references",
                         PQgetvalue(result, 0, 0));
    return STORE_TYPES_REFUSED;
}

static int types_write(const struct types_work *work, enum type_change_kind kind, int64_t *batch_id)
{
    AUTO(store_array_done) struct store_array names, categories, definitions;
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    char number[24];

    store_array_init(&names, STORE_OID_TEXT);
    store_array_init(&categories, STORE_OID_TEXT);
    store_array_init(&definitions, STORE_OID_TEXT);
    if (graph_batch_number(work->conn, batch_id, work->err) < 0)
        return -1;
    for (size_t i = 0; i < work->change->changed_len; i++) {
        const struct type_def *def = work->change->changed[i]->def;
        json_auto_t *json = type_def_json(def);
        AUTO(mem_free) char *text = json_dumps(json, JSON_COMPACT);

        store_array_add_text(&names, span_of(def->name));
        store_array_add_text(&categories, span_of(type_category_name(def->category)));
        if (kind == TYPE_DELETE)
            store_array_add_null(&definitions);
        else
            store_array_add_text(&definitions, span_of(text));
    }
    (void)snprintf(number, sizeof(number), "%" PRId64, *batch_id);
    store_param_text(&params, number);
    store_param_binary(&params, store_array_end(&names));
    store_param_binary(&params, store_array_end(&categories));
    store_param_binary(&params, store_array_end(&definitions));
    result = store_query_params(work->conn, "SELECT type_write($1, $2, $3, $4)", &params,
                                "write types", work->err);
    return result ? 0 : -1;
}

/* In the transaction, under the lock. */
static enum store_types_result types_change(const struct types_work *work,
                                            struct type_givens *givens, enum type_change_kind kind,
                                            int64_t *batch_id)
{
    AUTO(type_registry_free) struct type_registry *before = NULL;
    enum store_types_result result = STORE_TYPES_DONE;

    if (store_types_refresh(work->conn, work->cache, work->err) < 0)
        return STORE_TYPES_FAILED;
    before = type_cache_get(work->cache);
    if (type_change_make(work->change, before, givens, kind, work->fault) < 0)
        return STORE_TYPES_REFUSED;
    if (!work->change->changed_len)
        return STORE_TYPES_DONE;
    if (kind == TYPE_DELETE)
        result = types_check_use(work);
    if (result == STORE_TYPES_DONE && types_write(work, kind, batch_id) < 0)
        result = STORE_TYPES_FAILED;
    return result;
}

enum store_types_result store_types_change(PGconn *conn, struct type_cache *cache,
                                           struct type_givens *givens, enum type_change_kind kind,
                                           int64_t wait_ms_max, struct type_change *change,
                                           int64_t *batch_id, struct type_fault *fault,
                                           struct err *err)
{
    struct types_work work = { conn, cache, change, fault, err };
    enum store_types_result result;
    enum store_result committed;

    *change = (struct type_change){ 0 };
    if (graph_batch_lock(conn, wait_ms_max, err) < 0)
        return STORE_TYPES_FAILED;
    result = types_change(&work, givens, kind, batch_id);
    if (result != STORE_TYPES_DONE || !change->changed_len)
        return result; /* the pool rolls back */
    committed = graph_batch_commit(conn, err);
    if (committed != STORE_COMMITTED)
        return committed == STORE_UNKNOWN ? STORE_TYPES_UNKNOWN : STORE_TYPES_FAILED;
    type_cache_put(cache, type_registry_ref(change->after), *batch_id);
    return STORE_TYPES_DONE;
}
