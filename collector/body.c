#include "collector/body.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { BODY_STEP_BYTES = 4096 };

void body_init(struct body *body, struct budget *budget, size_t bytes_max)
{
    *body = (struct body){ .max = bytes_max, .budget = budget };
}

void body_done(struct body *body)
{
    free(body->data);
    if (body->cap)
        budget_release(body->budget, body->cap);
    body->data = NULL;
    body->len = body->cap = 0;
}

/* Doubles, so that a large body is not moved at every step, but never past what it will be: what a
 * client merely announces takes no memory. */
static size_t body_cap_next(const struct body *body, size_t need, size_t total)
{
    size_t limit = total && total < body->max ? total : body->max;
    size_t cap = body->cap ? body->cap * 2 : BODY_STEP_BYTES;

    if (cap > limit)
        cap = limit;
    return cap < need ? need : cap;
}

enum body_result body_reserve(struct body *body, size_t bytes, size_t total)
{
    size_t need, cap;

    if (bytes > body->max - body->len)
        return BODY_TOO_LARGE;
    need = body->len + bytes;
    if (need <= body->cap)
        return BODY_OK;
    cap = body_cap_next(body, need, total);
    if (!budget_reserve(body->budget, cap - body->cap))
        return BODY_NO_MEMORY;
    body->data = xrealloc(body->data, cap);
    body->cap = cap;
    return BODY_OK;
}

enum body_result body_append(struct body *body, const void *data, size_t len, size_t total)
{
    enum body_result result = body_reserve(body, len, total);

    if (result == BODY_OK && len) {
        memcpy(body->data + body->len, data, len);
        body->len += len;
    }
    return result;
}
