/* Content-Encoding: gzip. The whole text is made in memory, within the budget. */
#ifndef COLLECTOR_INFLATE_H
#define COLLECTOR_INFLATE_H

#include "base/attr.h"
#include "base/err.h"
#include "collector/body.h"

enum inflate_result {
    INFLATE_OK,
    INFLATE_TOO_LARGE, /* the text would be longer than out->max: a bomb is not inflated further */
    INFLATE_NO_MEMORY, /* the budget is full */
    INFLATE_BROKEN,    /* not gzip, cut short, wrong checksum, bytes behind the end: err says */
};

/* Appends the text of all members of `in` to `out`, which the caller has initialised and frees
 * whatever the result. err is set for INFLATE_BROKEN only. */
enum inflate_result inflate_body(const struct body *in, struct body *out,
                                 struct err *err) MUST_CHECK;

#endif
