#include "metrics/histogram.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "metrics/varint_internal.h"

enum {
    HISTOGRAM_SUBBUCKETS = 1 << HISTOGRAM_SCALE, /* in each power of two */
    HISTOGRAM_FIRST_BUCKETS = 8,
    HISTOGRAM_KEPT_BUCKETS_MAX = 1024, /* memory beyond it is given back by histogram_clear */
    HISTOGRAM_KEY_ONE = -HISTOGRAM_INDEX_MIN, /* of 1.0, around which values lie */
    HISTOGRAM_FRACTION_BITS = 52,
    HISTOGRAM_EXPONENT_MAX = 0x7FF,
};

#define HISTOGRAM_COUNT_MAX ((uint64_t)1 << 48)

/* The fraction bits of the largest double that is not above 2^(i/32). All but the first of these
 * powers are irrational, so a double is above the power exactly when it is above this. */
static const uint64_t histogram_fractions[HISTOGRAM_SUBBUCKETS] = {
    0x0000000000000, 0x059b0d3158574, 0x0b5586cf9890f, 0x11301d0125b50, 0x172b83c7d517a,
    0x1d4873168b9aa, 0x2387a6e756238, 0x29e9df51fdee1, 0x306fe0a31b715, 0x371a7373aa9ca,
    0x3dea64c123422, 0x44e086061892d, 0x4bfdad5362a27, 0x5342b569d4f81, 0x5ab07dd485429,
    0x6247eb03a5584, 0x6a09e667f3bcc, 0x71f75e8ec5f73, 0x7a11473eb0186, 0x82589994cce12,
    0x8ace5422aa0db, 0x93737b0cdc5e4, 0x9c49182a3f090, 0xa5503b23e255c, 0xae89f995ad3ad,
    0xb7f76f2fb5e46, 0xc199bdd85529c, 0xcb720dcef9069, 0xd5818dcfba487, 0xdfc97337b9b5e,
    0xea4afa2a490d9, 0xf50765b6e4540,
};

void histogram_init(struct histogram *histogram)
{
    *histogram = (struct histogram){ 0 };
}

void histogram_done(struct histogram *histogram)
{
    if (!histogram)
        return;
    free(histogram->buckets);
    histogram_init(histogram);
}

void histogram_clear(struct histogram *histogram)
{
    if (histogram->cap > HISTOGRAM_KEPT_BUCKETS_MAX)
        histogram_done(histogram);
    histogram->len = 0;
    histogram->count = 0;
}

int32_t histogram_index(double value)
{
    uint64_t bits, fraction;
    int32_t exponent, i;

    memcpy(&bits, &value, sizeof(bits));
    fraction = bits & (((uint64_t)1 << HISTOGRAM_FRACTION_BITS) - 1);
    exponent = (int32_t)(bits >> HISTOGRAM_FRACTION_BITS & HISTOGRAM_EXPONENT_MAX);
    assert(exponent < HISTOGRAM_EXPONENT_MAX && (exponent > 0 || fraction > 0));
    if (exponent == 0) {
        int shift = __builtin_clzll(fraction) - (63 - HISTOGRAM_FRACTION_BITS);

        fraction = fraction << shift & (((uint64_t)1 << HISTOGRAM_FRACTION_BITS) - 1);
        exponent = 1 - shift;
    }
    /* log2(1 + f) is never below f and at most 0.087 above it, so a few steps up are all. */
    i = (int32_t)(fraction >> (HISTOGRAM_FRACTION_BITS - HISTOGRAM_SCALE));
    while (i + 1 < HISTOGRAM_SUBBUCKETS && fraction > histogram_fractions[i + 1])
        i++;
    return (exponent - 1023) * HISTOGRAM_SUBBUCKETS + i - (fraction <= histogram_fractions[i]);
}

int32_t histogram_key(double value)
{
    int32_t key;

    if (value == 0)
        return 0;
    key = histogram_index(value) - HISTOGRAM_INDEX_MIN + 1;
    return value < 0 ? -key : key;
}

/* base^index, the largest double that is not above it. */
static double histogram_power(int32_t index)
{
    int32_t exponent = index >> HISTOGRAM_SCALE;
    uint64_t mantissa = histogram_fractions[index & (HISTOGRAM_SUBBUCKETS - 1)] |
                        (uint64_t)1 << HISTOGRAM_FRACTION_BITS;
    double power = ldexp((double)mantissa, exponent - HISTOGRAM_FRACTION_BITS);

    return isfinite(power) ? power : DBL_MAX;
}

void histogram_bounds(int32_t key, double *low, double *high)
{
    int32_t index = abs(key) + HISTOGRAM_INDEX_MIN - 1;

    if (key == 0) {
        *low = *high = 0;
    } else if (key > 0) {
        *low = histogram_power(index);
        *high = histogram_power(index + 1);
    } else {
        *low = -histogram_power(index + 1);
        *high = -histogram_power(index);
    }
}

static void histogram_reserve(struct histogram *histogram, uint32_t len)
{
    uint32_t cap = histogram->cap ? histogram->cap : HISTOGRAM_FIRST_BUCKETS;

    if (len <= histogram->cap)
        return;
    while (cap < len)
        cap *= 2;
    histogram->buckets = xreallocarray(histogram->buckets, cap, sizeof(*histogram->buckets));
    histogram->cap = cap;
}

/* The first bucket at `from` or behind it whose key is not below `key`. */
static uint32_t histogram_find(const struct histogram *histogram, uint32_t from, int32_t key)
{
    const struct histogram_bucket *buckets = histogram->buckets;
    uint32_t len = histogram->len - from;

    while (len > 0) {
        uint32_t half = len / 2;
        bool below = buckets[from + half].key < key;

        from += below ? half + 1 : 0;
        len = below ? len - half - 1 : half;
    }
    return from;
}

void histogram_add(struct histogram *histogram, double value, uint64_t times)
{
    int32_t key = histogram_key(value);
    uint32_t i = histogram_find(histogram, 0, key);

    if (times == 0)
        return;
    histogram->count += times;
    if (i < histogram->len && histogram->buckets[i].key == key) {
        histogram->buckets[i].count += times;
        return;
    }
    histogram_reserve(histogram, histogram->len + 1);
    memmove(&histogram->buckets[i + 1], &histogram->buckets[i],
            (histogram->len - i) * sizeof(*histogram->buckets));
    histogram->buckets[i] = (struct histogram_bucket){ key, times };
    histogram->len++;
}

/* Adds the counts of buckets that both have; how many others `other` has. */
static uint32_t histogram_merge_common(struct histogram *histogram, const struct histogram *other)
{
    struct histogram_bucket *buckets = histogram->buckets;
    uint32_t from = 0, missing = 0;

    for (uint32_t k = 0; k < other->len; k++) {
        int32_t key = other->buckets[k].key;

        from = histogram_find(histogram, from, key);
        if (from < histogram->len && buckets[from].key == key)
            buckets[from].count += other->buckets[k].count;
        else
            missing++;
    }
    return missing;
}

void histogram_merge(struct histogram *histogram, const struct histogram *other)
{
    uint32_t missing = histogram_merge_common(histogram, other);
    uint32_t i = histogram->len, to = i + missing;
    struct histogram_bucket *buckets;

    histogram->count += other->count;
    histogram_reserve(histogram, to);
    buckets = histogram->buckets;
    histogram->len = to;
    /* From the top down, so that nothing is overwritten before it is moved. */
    for (uint32_t k = other->len; i < to; k--) {
        const struct histogram_bucket *theirs = &other->buckets[k - 1];

        while (i > 0 && buckets[i - 1].key > theirs->key)
            buckets[--to] = buckets[--i];
        if (i == 0 || buckets[i - 1].key < theirs->key)
            buckets[--to] = *theirs;
    }
}

static double histogram_clamp(double value, double min, double max)
{
    return value < min ? min : value > max ? max : value;
}

struct histogram_quantile histogram_quantile(const struct histogram *histogram, double q,
                                             double min, double max)
{
    struct histogram_quantile result;
    double rank = ceil(q * (double)histogram->count), low, high;
    uint64_t left;
    uint32_t i = 0;

    assert(histogram->count > 0 && q >= 0 && q <= 1);
    if (rank <= 1)
        return (struct histogram_quantile){ min, min, min };
    if (rank >= (double)histogram->count)
        return (struct histogram_quantile){ max, max, max };
    for (left = (uint64_t)rank; histogram->buckets[i].count < left; i++)
        left -= histogram->buckets[i].count;
    histogram_bounds(histogram->buckets[i].key, &low, &high);
    result.low = histogram_clamp(low, min, max);
    result.high = histogram_clamp(high, min, max);
    result.value = low;
    /* 2 l h / (l + h), which is as far from l as from h in proportion; halved against overflow. */
    if (low != 0)
        result.value = low / (low / 2 + high / 2) * high;
    result.value = histogram_clamp(result.value, result.low, result.high);
    return result;
}

void histogram_write(const struct histogram *histogram, struct buf *out)
{
    int64_t next = 0;

    varint_append(out, histogram->len);
    for (uint32_t i = 0; i < histogram->len; i++) {
        const struct histogram_bucket *bucket = &histogram->buckets[i];
        uint64_t step =
            i > 0 ? (uint64_t)(bucket->key - next) : varint_zigzag(bucket->key - HISTOGRAM_KEY_ONE);

        varint_append(out, step * 2 + (bucket->count > 1));
        if (bucket->count > 1)
            varint_append(out, bucket->count - 2);
        next = (int64_t)bucket->key + 1;
    }
}

/* The next bucket; `next` is the smallest key it may have, or INT64_MIN for the first one. */
static int histogram_read_bucket(struct span *from, int64_t next, struct histogram_bucket *bucket)
{
    uint64_t head, count = 1;
    int64_t key;

    if (varint_take(from, &head) < 0 || head / 2 > 2 * (uint64_t)HISTOGRAM_BUCKETS_MAX)
        return -1;
    key = next == INT64_MIN ? varint_unzigzag(head / 2) + HISTOGRAM_KEY_ONE
                            : next + (int64_t)(head / 2);
    if (key < -HISTOGRAM_KEY_MAX || key > HISTOGRAM_KEY_MAX)
        return -1;
    if (head % 2) {
        if (varint_take(from, &count) < 0 || count > HISTOGRAM_COUNT_MAX)
            return -1;
        count += 2;
    }
    *bucket = (struct histogram_bucket){ (int32_t)key, count };
    return 0;
}

int histogram_read(struct histogram *histogram, struct span *from)
{
    struct span rest = *from;
    int64_t next = INT64_MIN;
    uint64_t len;

    histogram_clear(histogram);
    if (varint_take(&rest, &len) < 0 || len > rest.len || len > HISTOGRAM_BUCKETS_MAX)
        return -1;
    histogram_reserve(histogram, (uint32_t)len);
    for (uint64_t i = 0; i < len; i++) {
        struct histogram_bucket *bucket = &histogram->buckets[i];

        if (histogram_read_bucket(&rest, next, bucket) < 0 ||
            bucket->count > HISTOGRAM_COUNT_MAX - histogram->count) {
            histogram_clear(histogram);
            return -1;
        }
        histogram->count += bucket->count;
        next = (int64_t)bucket->key + 1;
    }
    histogram->len = (uint32_t)len;
    *from = rest;
    return 0;
}
