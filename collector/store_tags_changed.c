#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "collector/store_internal.h"
#include "collector/store_tags_internal.h"

int tags_find_changed(const struct atlas_view *view, int64_t since_ms, size_t max, int64_t **ids,
                      size_t *len, struct err *err)
{
    AUTO(store_result_free) PGresult *result = NULL;
    struct store_params params = { 0 };
    char batch[24], limit[24];
    int64_t batch_id;

    *ids = NULL;
    *len = 0;
    if (atlas_find_batch(view->conn, since_ms > 0 ? since_ms - 1 : 0, &batch_id, err) < 0)
        return -1;
    (void)snprintf(batch, sizeof(batch), "%" PRId64, batch_id);
    (void)snprintf(limit, sizeof(limit), "%zu", max);
    store_param_text(&params, batch);
    store_param_text(&params, limit);
    result = store_query_params(view->conn,
                                "SELECT DISTINCT entity_id FROM classification"
                                " WHERE from_batch > $1::bigint OR to_batch > $1::bigint"
                                " ORDER BY entity_id LIMIT $2::bigint",
                                &params, "find changed classifications", err);
    if (!result)
        return -1;
    *ids = xcalloc((size_t)PQntuples(result), sizeof(**ids));
    for (int row = 0; row < PQntuples(result); row++)
        (*ids)[(*len)++] = store_get_i64(result, row, 0);
    return 0;
}
