/* Windows: the minutes, hours and days (UTC, no leap seconds) that event time is cut into. A window
 * is named by its start and holds [start, next start). Times are milliseconds since 1970, negative
 * before. */
#ifndef METRICS_WINDOW_H
#define METRICS_WINDOW_H

#include <stdint.h>

#include "base/attr.h"
#include "base/span.h"

enum window_width {
    WINDOW_MINUTE,
    WINDOW_HOUR,
    WINDOW_DAY,
    WINDOW_WIDTHS,
};

int64_t window_ms(enum window_width width);
/* "1m", "1h", "1d". */
const char *window_name(enum window_width width);
/* -1 for any other text; *width is then unchanged. */
int window_parse(enum window_width *width, struct span text) MUST_CHECK;

/* The start of the window that holds `ms`. The first window of all has no start that fits: its
 * times give INT64_MIN. */
int64_t window_floor(int64_t ms, enum window_width width);
/* The start of the window behind the one that holds `ms`; INT64_MAX for the last of all. */
int64_t window_next(int64_t ms, enum window_width width);

#endif
