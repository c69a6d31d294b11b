/* Counts of texts, bounded: the CATEGORIES_MAX texts with the smallest hash (XXH3, 64 bits, no
 * seed; equal hashes by their bytes) are counted each, all others together.
 *
 * A text that is among the smallest of the whole was among the smallest of every part, so its count
 * is exact, and the result is the same in whatever order texts come and parts are merged. Which
 * texts are kept says nothing about how often they come.
 *
 * Pure. Memory: at most CATEGORIES_MAX entries and about 64 KB of text. */
#ifndef METRICS_CATEGORIES_H
#define METRICS_CATEGORIES_H

#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/span.h"

enum {
    CATEGORIES_MAX = 100,
    CATEGORIES_TEXT_BYTES_MAX = 256, /* a longer text is counted with the others */
};

struct categories_entry {
    uint64_t hash;
    uint64_t count; /* never 0 */
    uint32_t at;    /* its text in `texts` */
    uint32_t len;
};

struct categories {
    struct categories_entry *entries; /* owned, ascending by hash, then bytes */
    uint32_t len;
    uint32_t cap;
    char *texts; /* owned; those that were pushed out leave holes until it is packed */
    uint32_t texts_len;
    uint32_t texts_cap;
    uint64_t other; /* values whose text is not among the entries */
    uint64_t count; /* of all entries and other; the caller keeps it below 2^48 */
};

void categories_init(struct categories *categories);
void categories_done(struct categories *categories);
/* Empty again; keeps the memory unless it is much. */
void categories_clear(struct categories *categories);

/* Counts a text, unescaped; what is longer than CATEGORIES_TEXT_BYTES_MAX is not even looked at. */
void categories_add(struct categories *categories, struct span text, uint64_t times);
void categories_merge(struct categories *categories, const struct categories *other);
/* The text of entries[i]; borrowed until the next change. */
struct span categories_text(const struct categories *categories, uint32_t i);

/* The encoding, the same for the same counts however they came about (varints as in
 * metrics/exact.h):
 *
 *     varint  other
 *     varint  number of entries
 *     for each entry, in their order
 *         varint  length of the text * 2 + 1 when the count is more than 1
 *         bytes   text
 *         varint  count - 2, when it is more than 1 */
void categories_write(const struct categories *categories, struct buf *out);
/* Reads an encoding at the front of `from`, which then begins behind it. -1: not an encoding that
 * categories_write makes, or more than 2^48 values; `categories` is then empty, *from as it was. */
int categories_read(struct categories *categories, struct span *from) MUST_CHECK;

#endif
