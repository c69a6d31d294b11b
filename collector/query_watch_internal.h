/* A client that leaves ends its query in Postgres. */
#ifndef COLLECTOR_QUERY_WATCH_INTERNAL_H
#define COLLECTOR_QUERY_WATCH_INTERNAL_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "collector/query.h"

struct query_watch {
    struct query *query; /* borrowed */
    PGcancel *cancel;    /* owned */
    bool is_cancelled;   /* read behind query_watch_end: nobody can use the connection again */
};

/* What runs on the connection is cancelled when the client leaves, until query_watch_end. The watch
 * stays where it is meanwhile. */
void query_watch_begin(struct query_watch *watch, struct query *query, PGconn *conn);
/* `cancels`: what still runs is cancelled as well. */
void query_watch_end(struct query_watch *watch, bool cancels);

#endif
