/* What was probably meant: the known word nearest to one that is not known. */
#ifndef COLLECTOR_NEAREST_INTERNAL_H
#define COLLECTOR_NEAREST_INTERNAL_H

#include <stddef.h>

/* The nearest of the words that at(0), at(1), ... give until NULL, by edit distance; NULL when none
 * is near enough to be worth saying. Borrowed from `at`. */
const char *nearest_word(const char *word, const char *(*at)(size_t i, const void *ctx),
                         const void *ctx);

#endif
