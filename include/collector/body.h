/* The bytes of one request body, or of its inflated text: memory that grows in steps, each reserved
 * in the budget before it is taken. */
#ifndef COLLECTOR_BODY_H
#define COLLECTOR_BODY_H

#include <stddef.h>

#include "base/attr.h"
#include "collector/budget.h"

struct body {
    char *data; /* owned; NULL while empty */
    size_t len;
    size_t cap;            /* = what is reserved in the budget */
    size_t max;            /* never more than these */
    struct budget *budget; /* borrowed */
};

enum body_result {
    BODY_OK,
    BODY_TOO_LARGE, /* beyond max */
    BODY_NO_MEMORY, /* the budget is full */
};

void body_init(struct body *body, struct budget *budget, size_t bytes_max);
/* Frees the bytes and gives the reservation back. */
void body_done(struct body *body);
/* Room for `bytes` behind what is there. `total` is what the whole will be where that is known,
 * else 0; it keeps a small body from taking more than it needs. On failure nothing has changed. */
enum body_result body_reserve(struct body *body, size_t bytes, size_t total) MUST_CHECK;
enum body_result body_append(struct body *body, const void *data, size_t len,
                             size_t total) MUST_CHECK;

#endif
