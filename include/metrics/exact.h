/* Exact sums of doubles and of their squares: a number wide enough that nothing is ever rounded, so
 * that sums taken in any order, and merged in any order, are the same to the last bit.
 *
 * The accumulator is a fixed-point number in base 2^32, after Radford M. Neal, "Fast exact
 * summation using small and large superaccumulators" (2015): digit i weighs 2^(32 * (i - 68)), and
 * each digit has an int64_t, so that carries are settled only once in 2^30 additions. It reaches
 * from below the smallest square, 2^-2148, to 2^64 times the largest, 2^2112.
 *
 * Pure. Plain data of about 1.1 KB; copy it by assignment. */
#ifndef METRICS_EXACT_H
#define METRICS_EXACT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/span.h"

enum {
    EXACT_CHUNKS = 136,
    EXACT_ONE = 68, /* the digit that weighs 1 */
    /* No encoding is longer: sign and length, place, magnitude. */
    EXACT_BYTES_MAX = 2 + 2 + EXACT_CHUNKS * 4,
};

struct exact {
    int64_t chunks[EXACT_CHUNKS];
    /* Chunks outside [from, to) are zero; what is far from the values costs nothing. */
    uint32_t from;
    uint32_t to;
    uint32_t weight; /* no chunk is beyond weight * 2^32 */
};

/* Zero, whatever was there. */
void exact_init(struct exact *exact);
/* Zero, for one that was exact_init'ed: clears only what was used. */
void exact_clear(struct exact *exact);

/* `value` must be finite, `times` at most 2^48. At most 2^64 values may be summed up in all. */
void exact_add(struct exact *exact, double value);
void exact_add_square(struct exact *exact, double value);
void exact_add_times(struct exact *exact, double value, uint64_t times);
void exact_add_square_times(struct exact *exact, double value, uint64_t times);
void exact_merge(struct exact *exact, const struct exact *other);

/* Whether |exact| < count * 2^exponent; the exponent is a multiple of 32 from 0 to 2048. With it a
 * reader makes sure that a sum of `count` values that came as bytes is one that could have come
 * about: merging what is below such a bound stays below it, and never overflows. */
bool exact_is_below(const struct exact *exact, uint64_t count, int exponent);
bool exact_is_negative(const struct exact *exact);

/* The encoding, the same for the same value however it came about:
 *
 *     varint  length of the magnitude in bytes * 2 + 1 when negative; 0 is zero, nothing follows
 *     varint  place of the lowest byte: byte 0 weighs 1, byte p weighs 2^(8 p); zigzag
 *     bytes   magnitude, the lowest first; neither the first nor the last is zero
 *
 * A varint is LEB128, 7 bits a byte, the lowest first, no longer than it needs to be; zigzag maps
 * 0, -1, 1, -2 to 0, 1, 2, 3. A sum of values of 17 digits takes 10 to 12 bytes. */
void exact_write(const struct exact *exact, struct buf *out);
/* Reads an encoding at the front of `from`, which then begins behind it. -1: not an encoding that
 * exact_write makes; *exact (which must be exact_init'ed) is then zero, *from as it was. */
int exact_read(struct exact *exact, struct span *from) MUST_CHECK;

/* The nearest double, ties to even; infinite when it is beyond the largest one. Zero is +0.0. */
double exact_round(const struct exact *exact);
/* sum / count, rounded once: the nearest double. Never infinite for a sum of `count` finite
 * values. `count` is 1 to 2^64 - 1. */
double exact_mean(const struct exact *sum, uint64_t count);
/* The population's standard deviation, sqrt(count * squares - sum^2) / count. The difference is
 * taken exactly, so nothing cancels and nothing overflows; it, its root and the quotient are
 * rounded once each: the relative error is below 2^-51 (where the result is no subnormal). 0 when
 * the two sums belong to no set of values. `count` is 1 to 2^48. */
double exact_stddev(const struct exact *sum, const struct exact *squares, uint64_t count);

#endif
