/* A span of event time as whole days, hours and minutes, as large as they fit, and what is left at
 * its edges:
 *
 *     from ·|· : · : ·|---|---|---|· : ·|· to
 *      rows  min hour     day      hour min rows
 *
 * What is counted of the span comes from the rollups of these windows and from raw rows, as far as
 * retention has left them. Times are milliseconds since 1970; spans hold [from, to). Pure. */
#ifndef METRICS_COVER_H
#define METRICS_COVER_H

#include <stddef.h>
#include <stdint.h>

#include "metrics/window.h"

enum { COVER_ROWS = WINDOW_WIDTHS, COVER_KINDS, COVER_PIECES_MAX = 2 * WINDOW_WIDTHS + 1 };

struct cover_piece {
    int kind; /* enum window_width, or COVER_ROWS */
    int64_t from_ms;
    int64_t to_ms;
};

struct cover {
    struct cover_piece pieces[COVER_PIECES_MAX];
    size_t len;
};

/* From where on each kind is kept, at most INT64_MIN: for ever. Bounds of whole days; wider windows
 * are kept longer. */
struct cover_horizons {
    int64_t from_ms[COVER_KINDS];
};

void cover_split(struct cover *cover, int64_t from_ms, int64_t to_ms);

/* The first moment, not before from_ms, from which on a span can be counted. */
int64_t cover_first(const struct cover_horizons *horizons, int64_t from_ms);
/* The last moment, not behind to_ms, up to which a span can be counted that begins before it. */
int64_t cover_last(const struct cover_horizons *horizons, int64_t to_ms);

#endif
