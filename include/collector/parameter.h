/* Query parameters: what a route accepts, and what one request gave, decoded. */
#ifndef COLLECTOR_PARAMETER_H
#define COLLECTOR_PARAMETER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/span.h"
#include "collector/fault.h"

/* One that a route accepts; a table of them ends with name NULL. */
struct parameter {
    const char *name;
    bool repeatable;
};

struct parameter_value {
    const struct parameter *parameter;
    char *text; /* owned, decoded, a NUL behind it */
    size_t len;
};

/* One of any name. */
struct parameter_other {
    char *name; /* both owned, decoded, a NUL behind them */
    char *text;
};

/* Bounded by the memory that holds a request's headers. */
struct parameters {
    struct parameter_value *items; /* owned */
    size_t len;
    struct parameter_other *others; /* owned; of routes that take any name */
    size_t others_len;
};

void parameters_done(struct parameters *parameters);

/* Decodes %XX in `text` into `out`, which has room for text.len bytes. -1: a '%' without two
 * digits, or a NUL. */
int parameter_decode(struct span text, char *out, size_t *len) MUST_CHECK;

/* Adds one as it stands in the URL ('+' already made a space). -1 and a 400 that names it: it is
 * not in `accepted` (NULL: none is), not repeatable and here again, or not properly encoded. */
int parameters_add(struct parameters *parameters, const struct parameter *accepted,
                   struct span name, struct span value, struct fault *fault) MUST_CHECK;

/* The same for a route that takes any name, any number of times. */
int parameters_add_other(struct parameters *parameters, struct span name, struct span value,
                         struct fault *fault) MUST_CHECK;
/* The first of that name; data NULL when it was not given. A NUL stands behind it. */
struct span parameters_get_other(const struct parameters *parameters, const char *name);

/* The value of a parameter that is not repeatable; data NULL when it was not given. */
struct span parameters_get(const struct parameters *parameters, const char *name);
/* *value stays as it is when the parameter was not given. -1 and a 400: not a whole number from
 * min to max. */
int parameters_get_i64(const struct parameters *parameters, const char *name, int64_t min,
                       int64_t max, int64_t *value, struct fault *fault) MUST_CHECK;

#endif
