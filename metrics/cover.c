#include "metrics/cover.h"

#include <assert.h>

static void cover_add(struct cover *cover, int kind, int64_t from_ms, int64_t to_ms)
{
    if (from_ms >= to_ms)
        return;
    assert(cover->len < COVER_PIECES_MAX);
    cover->pieces[cover->len++] = (struct cover_piece){ kind, from_ms, to_ms };
}

/* The first window that begins at `ms` or behind it. */
static int64_t cover_ceil(int64_t ms, enum window_width width)
{
    int64_t floor_ms = window_floor(ms, width);

    return floor_ms == ms ? ms : window_next(ms, width);
}

/* From outside to inside: what is beside the whole minutes, then what of them is beside the whole
 * hours. */
void cover_split(struct cover *cover, int64_t from_ms, int64_t to_ms)
{
    int narrower = COVER_ROWS;

    *cover = (struct cover){ 0 };
    for (int width = WINDOW_MINUTE; width < WINDOW_WIDTHS; width++) {
        int64_t head_ms = cover_ceil(from_ms, (enum window_width)width);
        int64_t tail_ms = window_floor(to_ms, (enum window_width)width);

        if (head_ms >= tail_ms)
            break;
        cover_add(cover, narrower, from_ms, head_ms);
        cover_add(cover, narrower, tail_ms, to_ms);
        from_ms = head_ms;
        to_ms = tail_ms;
        narrower = width;
    }
    cover_add(cover, narrower, from_ms, to_ms);
}

int64_t cover_first(const struct cover_horizons *horizons, int64_t from_ms)
{
    int kind = COVER_ROWS;

    for (int width = WINDOW_MINUTE; width < WINDOW_WIDTHS; width++) {
        if (from_ms < horizons->from_ms[kind])
            from_ms = cover_ceil(from_ms, (enum window_width)width);
        kind = width;
    }
    return from_ms < horizons->from_ms[WINDOW_DAY] ? horizons->from_ms[WINDOW_DAY] : from_ms;
}

int64_t cover_last(const struct cover_horizons *horizons, int64_t to_ms)
{
    int kind = COVER_ROWS;

    for (int width = WINDOW_MINUTE; width < WINDOW_WIDTHS; width++) {
        int64_t floor_ms = window_floor(to_ms, (enum window_width)width);

        if (floor_ms < horizons->from_ms[kind])
            to_ms = floor_ms;
        kind = width;
    }
    return to_ms;
}
