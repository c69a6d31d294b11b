/* Base-2 exponential histograms, sparse, at a fixed scale: OpenTelemetry's layout (metrics data
 * model, "ExponentialHistogram") at scale 5, which is Prometheus' native histogram of schema 5.
 *
 * With base = 2^(2^-5) bucket `index` holds the values in (base^index, base^(index + 1)]; negative
 * values have buckets of their absolute values, zero (-0.0 too) has one of its own. The index is
 * exact at every boundary and for subnormals: it is found by comparing with constants, without
 * libm. The middle of a bucket is never further than (base - 1) / (base + 1) = 1.083 % from what it
 * holds.
 *
 * Pure. Memory: 16 bytes a bucket, at most one bucket a value and HISTOGRAM_BUCKETS_MAX in all. */
#ifndef METRICS_HISTOGRAM_H
#define METRICS_HISTOGRAM_H

#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/span.h"

enum {
    HISTOGRAM_SCALE = 5,
    HISTOGRAM_INDEX_MIN = -1074 * 32 - 1, /* of 2^-1074 */
    HISTOGRAM_INDEX_MAX = 1024 * 32 - 1,  /* of DBL_MAX */
    HISTOGRAM_KEY_MAX = HISTOGRAM_INDEX_MAX - HISTOGRAM_INDEX_MIN + 1,
    HISTOGRAM_BUCKETS_MAX = 2 * HISTOGRAM_KEY_MAX + 1,
};

/* Buckets of both signs and zero stand in one row, ordered as their values are, by a key: 0 is
 * zero's, index - HISTOGRAM_INDEX_MIN + 1 that of positive values, its opposite that of negative
 * ones. */
struct histogram_bucket {
    int32_t key;
    uint64_t count; /* never 0 */
};

struct histogram {
    struct histogram_bucket *buckets; /* owned, ascending */
    uint32_t len;
    uint32_t cap;
    uint64_t count; /* of all buckets; the caller keeps it below 2^48 */
};

void histogram_init(struct histogram *histogram);
void histogram_done(struct histogram *histogram);
/* Empty again; keeps the memory unless it is much. */
void histogram_clear(struct histogram *histogram);

/* The key of a finite value's bucket. */
int32_t histogram_key(double value);
/* OpenTelemetry's index of the bucket that holds |value|; a finite value other than zero. */
int32_t histogram_index(double value);
/* The lowest and highest value of a bucket: (low, high] for positive ones, [low, high) for negative
 * ones, each bound rounded to the nearest double below 2^-1022 and towards zero above; DBL_MAX
 * stands for 2^1024. */
void histogram_bounds(int32_t key, double *low, double *high);

void histogram_add(struct histogram *histogram, double value, uint64_t times);
void histogram_merge(struct histogram *histogram, const struct histogram *other);

/* A quantile and where the true one lies: low <= true <= high. */
struct histogram_quantile {
    double value; /* within 1.083 % of the true one (of subnormals: or the nearest subnormal) */
    double low;
    double high;
};

/* The quantile q (0 to 1) by nearest rank: the value at rank ceil(q * count), at least 1, of the
 * values in ascending order. `min` and `max` are the smallest and largest value that were added:
 * they are known exactly, are what the first and last rank give, and cut every other result. The
 * histogram must not be empty. */
struct histogram_quantile histogram_quantile(const struct histogram *histogram, double q,
                                             double min, double max);

/* The encoding, the same for the same counts however they came about (varints as in
 * metrics/exact.h):
 *
 *     varint  number of buckets
 *     for each bucket, in ascending order of keys
 *         varint  step * 2 + 1 when the count is more than 1; the step is the difference to the key
 *                 of 1.0, zigzag, for the first bucket, and that to the key before less 1 for each
 *                 other one
 *         varint  count - 2, when it is more than 1 */
void histogram_write(const struct histogram *histogram, struct buf *out);
/* Reads an encoding at the front of `from`, which then begins behind it. -1: not an encoding that
 * histogram_write makes, or more than 2^48 values; the histogram is then empty, *from as it was. */
int histogram_read(struct histogram *histogram, struct span *from) MUST_CHECK;

#endif
