#include "nearest_internal.h"

#include <string.h>

enum { NEAREST_CHARS_MAX = 64 };

/* Levenshtein's distance from what was written to a known word, both of at most NEAREST_CHARS_MAX
 * characters: a character left out costs 1, one too many or another one costs 2, because a part of
 * a name that was forgotten (memory_max) is likelier than one that was invented. One row of the
 * table is kept: row[j] is the distance of the first i characters of a from the first j of b. */
static size_t nearest_distance(const char *a, const char *b)
{
    size_t row[NEAREST_CHARS_MAX + 1], b_len = strlen(b);

    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];

        row[0] = 2 * (i + 1);
        for (size_t j = 0; j < b_len; j++) {
            size_t best = diagonal + (a[i] != b[j] ? 2 : 0);

            diagonal = row[j + 1];
            if (row[j + 1] + 2 < best)
                best = row[j + 1] + 2;
            if (row[j] + 1 < best)
                best = row[j] + 1;
            row[j + 1] = best;
        }
    }
    return row[b_len];
}

const char *nearest_word(const char *word, const char *(*at)(size_t i, const void *ctx),
                         const void *ctx)
{
    size_t word_len = strlen(word), best = word_len * 2 / 3 + 1;
    const char *nearest = NULL;

    if (word_len == 0 || word_len > NEAREST_CHARS_MAX)
        return NULL;
    for (size_t i = 0; at(i, ctx); i++) {
        const char *known = at(i, ctx);
        size_t distance;

        if (strlen(known) > NEAREST_CHARS_MAX)
            continue;
        distance = nearest_distance(word, known);
        if (distance < best || (distance == best && !nearest)) {
            best = distance;
            nearest = known;
        }
    }
    return nearest;
}
