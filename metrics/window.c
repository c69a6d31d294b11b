#include "metrics/window.h"

#include <assert.h>

static const struct {
    const char *name;
    int64_t ms;
} window_widths[WINDOW_WIDTHS] = {
    [WINDOW_MINUTE] = { "1m", 60 * 1000 },
    [WINDOW_HOUR] = { "1h", 60 * 60 * 1000 },
    [WINDOW_DAY] = { "1d", 24 * 60 * 60 * 1000 },
};

int64_t window_ms(enum window_width width)
{
    assert(width < WINDOW_WIDTHS);
    return window_widths[width].ms;
}

const char *window_name(enum window_width width)
{
    assert(width < WINDOW_WIDTHS);
    return window_widths[width].name;
}

int window_parse(enum window_width *width, struct span text)
{
    for (size_t i = 0; i < WINDOW_WIDTHS; i++) {
        if (span_is(text, window_widths[i].name)) {
            *width = (enum window_width)i;
            return 0;
        }
    }
    return -1;
}

int64_t window_floor(int64_t ms, enum window_width width)
{
    int64_t rest = ms % window_ms(width);
    int64_t start;

    if (rest < 0)
        rest += window_ms(width);
    return __builtin_sub_overflow(ms, rest, &start) ? INT64_MIN : start;
}

int64_t window_next(int64_t ms, enum window_width width)
{
    int64_t rest = ms % window_ms(width);
    int64_t next;

    if (rest < 0)
        rest += window_ms(width);
    return __builtin_add_overflow(ms, window_ms(width) - rest, &next) ? INT64_MAX : next;
}
