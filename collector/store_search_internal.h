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

enum {
    SEARCH_COUNT_MAX = 100000,  /* what is found is counted up to this number, */
    SEARCH_COUNT_BEYOND = 1000, /* by the beginning of a name so far beyond the page */
};

/* A statement that is written, and its parameters, $1 and so on: texts, owned. */
struct search_sql {
    struct buf text;
    char **values;
    int values_len;
    bool has_one; /* all of them are elements of $1 */
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
/* What the transaction is told before: what is found by the beginning of a name an index has in
 * order, and Postgres, which knows little of how many there are, would rather sort all of it. */
const char *store_search_plans(const struct search *search);

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

/* What those that are found are counted by. */
enum search_facet { SEARCH_BY_TYPE, SEARCH_BY_STATE, SEARCH_BY_OWNER };

enum {
    SEARCH_OWNERS_MAX = 100, /* the most frequent ones */
    SEARCH_SUGGESTIONS_MAX = 5,
};

/* `name` is borrowed for the call. */
typedef void search_counted(void *ctx, enum search_facet facet, struct span name, int64_t count);

/* Calls `counted` for each type, state and owner among what the search finds, the most frequent
 * first; of more than SEARCH_COUNT_MAX some are looked at. Before store_search in its transaction.
 * ERR_INPUT as there. */
int store_search_count(PGconn *conn, const struct search *search, search_counted *counted,
                       void *ctx, struct err *err) MUST_CHECK;

/* Whether words are suggested of this attribute. */
bool store_search_suggests(const char *field);
typedef void search_suggested(void *ctx, struct span word);
/* Calls `suggested` for the most frequent words that begin with the prefix in one attribute, or
 * with NULL in all that words are looked for in. In a transaction of store_search_begin. */
int store_search_suggest(PGconn *conn, const char *prefix, const char *field,
                         search_suggested *suggested, void *ctx, struct err *err) MUST_CHECK;

#endif
