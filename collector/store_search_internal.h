/* Entities found by what a search wants of them, in one statement. */
#ifndef COLLECTOR_STORE_SEARCH_INTERNAL_H
#define COLLECTOR_STORE_SEARCH_INTERNAL_H

#include <libpq-fe.h>
#include <stdint.h>

#include "atlas/entity_json.h"
#include "atlas/search.h"
#include "base/attr.h"
#include "base/buf.h"
#include "base/err.h"
#include "collector/store_internal.h"
#include "collector/store_tags_internal.h"

/* What is found is counted up to this number. */
enum { SEARCH_COUNT_MAX = 100000 };

/* A statement that is written, and its parameters, $1 and so on: texts, owned. */
struct search_sql {
    struct buf text;
    char **values;
    int values_len;
    const struct tag_origins
        *origins; /* borrowed; of the classifications that are searched for, and
                                        * what they reach; NULL: nobody is classified */
};

void search_sql_init(struct search_sql *sql);
void search_sql_done(struct search_sql *sql);
static inline void search_sql_done_auto(struct search_sql *sql) /* AUTO(search_sql_done) */
{
    search_sql_done(sql);
}

/* The statement of store_search, below; what EXPLAIN is asked in the tests. */
void store_search_write(struct search_sql *sql, const struct search *search);

/* Begins the transaction of a search, each statement of which takes 30 seconds at most: one that
 * takes longer ends as store_is_cancelled. ERR_RETRY: the server is away. */
int store_search_begin(PGconn *conn, struct err *err) MUST_CHECK;

/* One that was found: of its attributes there are those of headers and of search->attributes; its
 * users and times are not there. Its classifications are those of `place`. Borrowed for the call.
 * -1 with err set ends the search. */
typedef int search_found(void *ctx, const struct entity *entity, const struct tags *tags,
                         size_t place, struct err *err);

/* Calls `found` for each entity of the page that the search wants. *count: how many there are
 * without limit and offset. ERR_INPUT: the statement would be larger than any that is sent, or a
 * classification reaches further than is looked at. cache: as in atlas_view. */
int store_search(PGconn *conn, const struct type_registry *types, struct tag_cache *cache,
                 const struct search *search, search_found *found, void *ctx, int64_t *count,
                 struct err *err) MUST_CHECK;

#endif
