/* What the table of routes says, for tests that must not forget one. */
#ifndef COLLECTOR_HTTP_FACTS_INTERNAL_H
#define COLLECTOR_HTTP_FACTS_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>

struct http_facts {
    const char *method, *path;
    unsigned scopes;
    bool is_atlas, is_by_crn;
};

/* Of the i-th route; false behind the last. */
bool http_facts_read(size_t i, struct http_facts *facts);

#endif
