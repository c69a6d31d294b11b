#include "collector/query_watch_internal.h"

static void watch_cancel(void *ctx)
{
    struct query_watch *watch = ctx;
    char text[128];

    watch->is_cancelled = true;
    (void)PQcancel(watch->cancel, text, sizeof(text));
}

void query_watch_begin(struct query_watch *watch, struct query *query, PGconn *conn)
{
    *watch = (struct query_watch){ .query = query, .cancel = PQgetCancel(conn) };
    query_cancel_set(query, watch_cancel, watch);
}

void query_watch_end(struct query_watch *watch, bool cancels)
{
    query_cancel_set(watch->query, NULL, NULL);
    if (cancels)
        watch_cancel(watch);
    PQfreeCancel(watch->cancel);
    watch->cancel = NULL;
}
